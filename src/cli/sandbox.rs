//! `wazap sandbox`: flags → [`sandbox::Options`].

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{Failure, block_on, logging, on_signal};
use crate::{config::LogFormat, sandbox};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Address of the simulated WhatsApp, IP:PORT; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Serve ws:// and http:// on the same address too, besides TLS
    #[arg(long)]
    plain: bool,
    /// Folder that keeps phones and linked devices over a restart [default: in memory]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Makes every generated number, name and id repeatable [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How long chat states are kept for a device that is offline, in seconds
    #[arg(long, value_name = "SECONDS", env = "CHATSTATE_TTL_SECS", default_value_t = 25)]
    chatstate_ttl: u64,
    /// Whether signed device identities are checked
    #[arg(long, value_name = "strict|off", default_value = "strict", value_parser = ["strict", "off"])]
    adv_check: String,
    /// Allow an address beyond loopback; the control API has no authentication
    #[arg(long)]
    allow_remote: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if !args.listen.ip().is_loopback() && !args.allow_remote {
        return Err(Failure::Usage(
            "setting listen (flag --listen) is wrong: allowed is a loopback address, or any with --allow-remote".into(),
        ));
    }
    let options = sandbox::Options {
        listen: args.listen,
        plain: args.plain,
        state: args.state.clone(),
        seed: args.seed,
        chatstate_ttl: Duration::from_secs(args.chatstate_ttl),
        adv_strict: args.adv_check == "strict",
        allow_remote: args.allow_remote,
    };
    let filter = super::variable("WAZAP_LOG").unwrap_or_else(|| "info".to_owned());
    logging::start(&filter, LogFormat::Text);
    block_on(async move {
        let stop = on_signal()?;
        sandbox::run(options, stop.cancelled_owned())
            .await
            .map_err(|error| Failure::Unexpected(format!("sandbox: {error}")))
    })
}
