//! The log on standard error.

use tracing_subscriber::{EnvFilter, fmt, util::SubscriberInitExt as _};

use crate::config::LogFormat;

/// Starts it. `filter` was checked by the configuration; a second start in one process changes nothing.
pub(super) fn start(filter: &str, format: LogFormat) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let _ = match format {
        LogFormat::Text => log.with_ansi(colours).finish().try_init(),
        LogFormat::Json => log.json().flatten_event(true).finish().try_init(),
    };
}
