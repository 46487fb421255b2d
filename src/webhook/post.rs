//! One delivery: bytes from the log, headers, signature, POST, outcome.
use std::{fmt::Write as _, sync::Arc};

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Client, header::CONTENT_TYPE, redirect::Policy};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{
    Options,
    plan::{Outcome, Refused},
};
use crate::store::{self, Store, hooks::Hook};

const USER_AGENT: &str = concat!("wazap/", env!("CARGO_PKG_VERSION"));
/// Of an answer's body this much is read, so that the connection can be used again (platform-webhooks.md §4.3).
const ANSWER: usize = 64 * 1024;
/// Idle connections per receiver, as many as can be in flight.
const IDLE: usize = 8;
const IDLE_FOR: std::time::Duration = std::time::Duration::from_secs(30);
/// Answers that trying again soon will not change: a receiver that is being set up (platform-webhooks.md §2).
const REFUSED: [u16; 4] = [400, 401, 404, 422];

/// Where one hook's events go.
pub(super) struct Target {
    hook: i64,
    base: String,
    secret: Option<String>,
    options: Arc<Options>,
    /// Made with the first post: TLS roots cost time and memory that an idle instance need not spend.
    client: OnceCell<Client>,
}

impl Target {
    pub(super) fn new(hook: &Hook, options: Arc<Options>) -> Self {
        let base = hook.url.trim_end_matches('/').to_owned();
        Self { hook: hook.id, base, secret: hook.secret.clone(), options, client: OnceCell::new() }
    }

    /// Posts one event; never fails otherwise than in its outcome.
    pub(super) async fn deliver(&self, store: &Store, seq: u64) -> Outcome {
        let failed = |error: &str| Outcome::Failed { error: error.to_owned(), refused: Refused(false) };
        let (path, body) = match store.read(move |tx| tx.events().platform(seq)).await {
            Ok(Some(found)) => found,
            Ok(None) => return Outcome::Gone,
            Err(store::Error::Closed) => return failed("shutting down"),
            Err(_) => return failed("the event cannot be read"),
        };
        let client = match self.client.get_or_try_init(async || client(&self.base)).await {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "no HTTP client for webhooks");
                return failed("no HTTP client");
            }
        };
        match tokio::time::timeout(self.options.timeout, self.post(client, seq, &path, body)).await {
            Ok(Ok(200..=299)) => Outcome::Delivered,
            Ok(Ok(status)) => Outcome::Failed {
                error: format!("http {status}"),
                refused: Refused(REFUSED.contains(&status)),
            },
            Ok(Err(error)) => failed(label(&error)),
            Err(_) => failed("timeout"),
        }
    }

    /// Resolves with the status once the answer has been read.
    async fn post(&self, client: &Client, seq: u64, path: &str, body: String) -> Result<u16, reqwest::Error> {
        let instance = self.options.instance;
        let mut request = client
            .post(format!("{}/webhooks/instance/{instance}/{path}", self.base))
            .header(CONTENT_TYPE, "application/json")
            .header("X-Instance-UUID", instance.to_string())
            .header("X-Webhook-Event", path)
            .header("X-Webhook-Id", delivery_id(instance, self.hook, seq).to_string());
        if let Some(secret) = &self.secret {
            request = request.header("X-Webhook-Signature", signature(secret, body.as_bytes()));
        }
        let mut answer = request.body(body).send().await?;
        let status = answer.status().as_u16();
        let mut read = 0;
        while let Some(chunk) = answer.chunk().await? {
            read += chunk.len();
            if read > ANSWER {
                break;
            }
        }
        Ok(status)
    }
}

/// What is kept and shown of an error: no address, which may carry a secret.
fn label(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "timeout"
    } else if error.is_builder() {
        "bad address"
    } else if error.is_connect() {
        "cannot connect"
    } else {
        "connection broken"
    }
}

/// The same on every retry and after every restart: made of what identifies the delivery.
fn delivery_id(instance: Uuid, hook: i64, seq: u64) -> Uuid {
    let digest = Sha256::new()
        .chain_update(b"wazap delivery")
        .chain_update(instance.as_bytes())
        .chain_update(hook.to_be_bytes())
        .chain_update(seq.to_be_bytes())
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// HMAC-SHA256 of the exact body, lower-case hex (platform-webhooks.md §4.2).
fn signature(secret: &str, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(body);
    mac.finalize().into_bytes().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[derive(Debug, thiserror::Error)]
enum ClientError {
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("HTTP: {0}")]
    Http(#[from] reqwest::Error),
}

/// A client for one receiver. Neither redirects nor the environment's proxies: the address is the one configured.
fn client(base: &str) -> Result<Client, ClientError> {
    let mut roots = RootCertStore::empty();
    if base.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:")) {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        // What the system trusts besides, such as a company's own root; a certificate that cannot be read is not one.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(USER_AGENT)
        .redirect(Policy::none())
        .no_proxy()
        .http1_only()
        .pool_max_idle_per_host(IDLE)
        .pool_idle_timeout(IDLE_FOR)
        .build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Second vector of platform-webhooks.md §4.2.
    #[test]
    fn the_signature_is_that_of_the_contract() {
        let body = r#"{"event":"message.received","data":{"content":"Olá 👍 / \"ok\"\nfim"}}"#;
        assert_eq!(body.len(), 73);
        let expected = "3e6ed4cf25a7573e110c0db808a0f6d2f71aa511acf69ee8be0d92d49668b704";
        assert_eq!(signature("your_webhook_secret", body.as_bytes()), expected);
    }

    #[test]
    fn a_delivery_keeps_its_id_and_shares_it_with_no_other() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(delivery_id(one, 1, 7), delivery_id(one, 1, 7));
        let ids = [
            delivery_id(one, 1, 7),
            delivery_id(one, 1, 8),
            delivery_id(one, 2, 7),
            delivery_id(other, 1, 7),
        ];
        assert!((0..4).all(|i| (0..i).all(|j| ids[i] != ids[j])));
        assert_eq!(ids[0].get_version_num(), 8);
    }
}
