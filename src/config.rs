//! Every knob of `wazap run`: type, unit, default, reason. Read once, checked here.
//!
//! A value comes from the first of: flag, environment variable, `wazap.toml`, default. Owns the names, the defaults and
//! what is allowed; knows nothing of sub-commands (`cli`) and of what a setting does.

mod layers;
mod settings;
mod value;

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use zeroize::Zeroizing;

pub use layers::{ConfigError, Layers, Source};
pub use settings::{Settings, VARIABLES};

/// The WhatsApp server.
pub const SERVER: &str = "wss://web.whatsapp.com/ws/chat";

/// X25519 public key at the root of WhatsApp's Noise certificates ("WhatsAppLongTerm1", serial 0).
pub const SERVER_ROOT: [u8; 32] = [
    0x14, 0x23, 0x75, 0x57, 0x4d, 0x0a, 0x58, 0x71, 0x66, 0xaa, 0xe7, 0x1e, 0xbe, 0x51, 0x64, 0x37, 0xc4,
    0xa2, 0x8b, 0x73, 0xe3, 0x69, 0x5c, 0x6c, 0xe1, 0xf7, 0xf9, 0x54, 0x5d, 0xa8, 0xee, 0x6b,
];

/// The WhatsApp Web version announced under `--wa-version auto`; the one that Baileys 7.0.0-rc14 announces.
pub const WA_VERSION: (u32, u32, u32) = (2, 3000, 1_043_857_760);

/// How log lines look on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// What becomes of incoming calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RejectCalls {
    /// They ring.
    Off,
    /// They are rejected.
    Silently,
    /// They are rejected, and the caller is sent this.
    Saying(String),
}

/// Settings of one instance, checked.
#[derive(Clone)]
pub struct Config {
    /// Everything the instance keeps: `instance.db` and what lies beside it.
    pub data: PathBuf,
    /// Where the instance API listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Base of absolute links, without a slash at the end; `None`: `http://` and the address listened on.
    pub public_url: Option<String>,
    /// `None`: the one kept in the database, made at the first start.
    pub instance_id: Option<uuid::Uuid>,
    /// Base of the platform's webhook paths, without a slash at the end.
    pub platform_url: Option<String>,
    /// Key of the HMAC-SHA256 signature on posts to the platform.
    pub platform_secret: Option<String>,
    /// A token to accept besides those in the database; it may do everything.
    pub token: Option<String>,
    /// The WhatsApp server, `wss://` or `ws://`.
    pub server: String,
    /// PEM file of a further TLS root.
    pub server_ca: Option<PathBuf>,
    /// Who must have signed the server's Noise certificate.
    pub server_root: [u8; 32],
    /// Digits: link by a code typed on this number's phone.
    pub pair_phone: Option<String>,
    /// `socks5://`, `http://` or `https://` proxy for the WhatsApp socket.
    pub proxy: Option<String>,
    /// What the phone shows under linked devices.
    pub device_name: String,
    /// WhatsApp Web version announced: (primary, secondary, tertiary).
    pub wa_version: (u32, u32, u32),
    /// Whether the instance shows itself online. Online silences the phone's notifications.
    pub available: bool,
    /// What becomes of incoming calls.
    pub reject_calls: RejectCalls,
    /// How long the event log is kept. Shorter saves disk; a receiver that was away for longer misses events.
    pub event_retention: Duration,
    /// Rows of the event log at which even undelivered events are dropped.
    pub event_max: u64,
    /// Encrypts the database; `None`: it stays as it is.
    pub db_key: Option<Zeroizing<String>>,
    /// Requests and window; `None`: off.
    pub rate_limit: Option<(u32, Duration)>,
    /// Whether a document must be of a listed format.
    pub documents_listed: bool,
    /// Whether callers' URLs may lead to addresses that are not public.
    pub media_allow_private: bool,
    /// A tracing filter, already checked.
    pub log: String,
    pub log_format: LogFormat,
    /// Start a simulated WhatsApp in the same process and link to it.
    pub sandbox: bool,
}

impl Config {
    /// Settles every setting of `run`.
    ///
    /// # Errors
    /// The first wrong value, with its setting, its source and what is allowed.
    pub fn read(layers: &Layers<'_>, sandbox: bool) -> Result<Self, ConfigError> {
        let root = layers.optional("server-root-key", value::key)?;
        Ok(Self {
            data: Self::data_folder(layers, sandbox)?,
            listen: layers.required("listen", "127.0.0.1:3000", value::address)?,
            public_url: layers.optional("public-url", value::http_url)?,
            instance_id: layers.optional("instance-id", value::uuid)?,
            platform_url: layers.optional("platform-url", value::http_url)?,
            platform_secret: layers.optional("platform-secret", value::text)?,
            token: layers.optional("token", value::token)?,
            server: layers.required("server", SERVER, value::socket_url)?,
            server_ca: layers.optional("server-ca", value::pem_file)?,
            server_root: root.unwrap_or(SERVER_ROOT),
            pair_phone: layers.optional("pair-phone", value::phone)?,
            proxy: layers.optional("proxy", value::proxy_url)?,
            device_name: layers.required("device-name", "wazap", value::device_name)?,
            wa_version: layers.required("wa-version", "auto", value::version)?.unwrap_or(WA_VERSION),
            available: layers.required("presence", "unavailable", value::presence)?,
            reject_calls: layers.required("reject-calls", "off", value::reject_calls)?,
            event_retention: layers.required("event-retention", "7d", value::duration)?,
            event_max: layers.required("event-max", "1000000", value::count)?,
            db_key: Self::db_key(layers)?,
            rate_limit: layers.required("rate-limit", "100/900", value::rate)?,
            documents_listed: layers.required("documents", "any", value::documents)?,
            media_allow_private: layers.required("media-allow-private", "off", value::switch)?,
            log: layers.required("log", "info", value::log_filter)?,
            log_format: layers.required("log-format", "text", value::log_format)?,
            sandbox,
        })
    }

    /// Settles `--data` alone, for the sub-commands that need nothing else. Under `--sandbox` the default is a folder of
    /// its own, so that a simulated WhatsApp never meets the keys of a real number.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn data_folder(layers: &Layers<'_>, sandbox: bool) -> Result<PathBuf, ConfigError> {
        layers.required("data", if sandbox { "./data/sandbox" } else { "./data" }, value::path)
    }

    /// Settles the key of the database alone: it goes with the folder.
    ///
    /// # Errors
    /// As [`Config::read`], and for two keys at once.
    pub fn db_key(layers: &Layers<'_>) -> Result<Option<Zeroizing<String>>, ConfigError> {
        let text = layers.optional("db-key", value::text)?.map(Zeroizing::new);
        // Whichever stands in two places, only one of them can be meant.
        match (text, layers.optional("db-key-file", value::key_file)?) {
            (Some(_), Some(_)) => Err(ConfigError::TwoKeys),
            (text, file) => Ok(text.or(file)),
        }
    }
}

/// Shows no secret.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("data", &self.data)
            .field("listen", &self.listen)
            .field("server", &self.server)
            .field("sandbox", &self.sandbox)
            .finish_non_exhaustive()
    }
}

/// Reads a duration such as `7d`, `12h`, `30m`, `30s`: a whole number of at least 1 and a unit.
pub fn duration(text: &str) -> Option<Duration> {
    value::duration(text).ok()
}

/// Reads a key from a file, as `db-key-file` does: the text without the line break at its end.
pub fn key_file(path: &str) -> Option<Zeroizing<String>> {
    value::key_file(path).ok()
}

#[cfg(test)]
mod tests;
