//! Can the far ends be reached? For the doctor. Nothing is posted and nobody logs in.

use std::{error::Error as _, time::Duration};

use reqwest::{Client, redirect::Policy};

use crate::{config::Config, net};

/// The WhatsApp server as the instance would reach it: the name, TCP, the proxy, TLS with its roots, the WebSocket.
pub(super) async fn whatsapp(config: &Config, patience: Duration) -> Result<(), String> {
    let mut options = net::Options::new(&config.server);
    options.proxy =
        config.proxy.as_deref().map(str::parse).transpose().map_err(|_| "the proxy's URL is wrong")?;
    options.connect_timeout = patience;
    if let Some(path) = &config.server_ca {
        options.extra_roots = Some(std::fs::read(path).map_err(|error| error.to_string())?);
    }
    net::connect(&options).await.map(drop).map_err(|error| error.to_string())
}

/// The platform. Any HTTP answer will do: whether it knows this instance shows when something is posted.
pub(super) async fn platform(url: &str, patience: Duration) -> Result<(), String> {
    let client = Client::builder().timeout(patience).redirect(Policy::none()).http1_only();
    let client = client.build().map_err(|error| why(&error))?;
    client.head(url).send().await.map(drop).map_err(|error| why(&error))
}

/// The innermost cause says most.
fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}
