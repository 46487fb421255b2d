//! One delivery: bytes from the log, headers, signature, POST, outcome.
use std::{fmt::Write as _, sync::Arc, time::Duration};

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{
    Client,
    header::{self, CONTENT_TYPE, RETRY_AFTER},
    redirect::Policy,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{
    Options,
    plan::{Outcome, Refused},
};
use crate::{
    clock::Millis,
    store::{
        self, Store,
        events::Event,
        hooks::{Hook, Kind},
    },
};

const USER_AGENT: &str = concat!("wazap/", env!("CARGO_PKG_VERSION"));
/// On posts to users' hooks (platform-webhooks.md §4.1: the name is part of what receivers know).
const USERS_AGENT: &str = "Zapini-Webhook/1.0";
/// A user's receiver that wants no more (platform-webhooks.md §4.3).
const GONE: u16 = 410;
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
    kind: Kind,
    base: String,
    secret: Option<String>,
    options: Arc<Options>,
    /// Made with the first post: TLS roots cost time and memory that an idle instance need not spend.
    client: OnceCell<Client>,
}

/// One request, but for what all have in common.
struct Post<'a> {
    seq: u64,
    url: String,
    /// `X-Webhook-Event`.
    event: &'a str,
    /// `X-Webhook-Attempt`, where the contract has it.
    attempt: Option<u32>,
    agent: &'static str,
    body: String,
}

impl Target {
    pub(super) fn new(hook: &Hook, options: Arc<Options>) -> Self {
        let base = match hook.kind {
            Kind::Platform => hook.url.trim_end_matches('/').to_owned(),
            Kind::User => hook.url.clone(),
        };
        let secret = hook.secret.clone();
        Self { hook: hook.id, kind: hook.kind, base, secret, options, client: OnceCell::new() }
    }

    /// Posts one event for the `attempt`th time; never fails otherwise than in its outcome.
    pub(super) async fn deliver(&self, store: &Store, seq: u64, attempt: u32) -> Outcome {
        let read = match self.kind {
            Kind::Platform => match store.read(move |tx| tx.events().platform(seq)).await {
                Ok(Some((path, body))) => return self.post_to_platform(seq, &path, body).await,
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            },
            Kind::User => store.read(move |tx| tx.events().find(seq)).await,
        };
        match read {
            Ok(Some(event)) => self.deliver_event(&event, attempt).await,
            Ok(None) => Outcome::Gone,
            Err(store::Error::Closed) => failed("shutting down"),
            Err(_) => failed("the event cannot be read"),
        }
    }

    async fn post_to_platform(&self, seq: u64, path: &str, body: String) -> Outcome {
        let instance = self.options.instance;
        let url = format!("{}/webhooks/instance/{instance}/{path}", self.base);
        self.post(Post { seq, url, event: path, attempt: None, agent: USER_AGENT, body }).await
    }

    /// Posts an event to a user's URL, in the outgoing form (platform-webhooks.md §4.1, §5).
    pub(super) async fn deliver_event(&self, event: &Event, attempt: u32) -> Outcome {
        let (seq, attempt) = (event.seq, Some(attempt));
        let body = outgoing(event, self.options.instance);
        let url = self.base.clone();
        self.post(Post { seq, url, event: &event.kind, attempt, agent: USERS_AGENT, body }).await
    }

    async fn post(&self, post: Post<'_>) -> Outcome {
        let client = match self.client.get_or_try_init(async || client(&self.base)).await {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "no HTTP client for webhooks");
                return failed("no HTTP client");
            }
        };
        match tokio::time::timeout(self.options.timeout, self.request(client, post)).await {
            Ok(Ok((200..=299, _))) => Outcome::Delivered,
            Ok(Ok((GONE, _))) if self.kind == Kind::User => Outcome::Unwanted,
            Ok(Ok((status, after))) => Outcome::Failed {
                error: format!("http {status}"),
                refused: Refused(self.kind == Kind::Platform && REFUSED.contains(&status)),
                after: after.filter(|_| self.kind == Kind::User),
            },
            Ok(Err(error)) => failed(label(&error)),
            Err(_) => failed("timeout"),
        }
    }

    /// Resolves with the status, and how long the receiver asks for, once the answer has been read.
    async fn request(
        &self,
        client: &Client,
        post: Post<'_>,
    ) -> Result<(u16, Option<Duration>), reqwest::Error> {
        let Post { seq, url, event, attempt, agent, body } = post;
        let instance = self.options.instance;
        let mut request = client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, agent)
            .header("X-Instance-UUID", instance.to_string())
            .header("X-Webhook-Event", event)
            .header("X-Webhook-Id", delivery_id(instance, self.hook, seq).to_string());
        if let Some(attempt) = attempt {
            request = request.header("X-Webhook-Attempt", attempt);
        }
        if let Some(secret) = &self.secret {
            request = request.header("X-Webhook-Signature", signature(secret, body.as_bytes()));
        }
        let mut answer = request.body(body).send().await?;
        let status = answer.status().as_u16();
        let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = asked
            .and_then(|text| pause_asked_for(text, Millis::now()))
            .map(|pause| pause.min(self.options.user_retry.obey));
        let mut read = 0;
        while let Some(chunk) = answer.chunk().await? {
            read += chunk.len();
            if read > ANSWER {
                break;
            }
        }
        Ok((status, after))
    }
}

fn failed(error: &str) -> Outcome {
    Outcome::Failed { error: error.to_owned(), refused: Refused(false), after: None }
}

/// `Retry-After`: seconds, or a date of HTTP.
fn pause_asked_for(text: &str, now: Millis) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    Some(Millis(u64::try_from(at).ok()?).since(now))
}

/// The body of an event in the outgoing form: frame and members in the order of platform-webhooks.md §5, compact, with
/// `data` as it was rendered when it happened. Nothing here needs an escape.
fn outgoing(event: &Event, instance: Uuid) -> String {
    let Event { kind, at, data, .. } = event;
    let at = at.rfc3339_offset();
    format!(r#"{{"event":"{kind}","instance_uuid":"{instance}","timestamp":"{at}","data":{data}}}"#)
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

    /// First vector of platform-webhooks.md §4.2: the sample of §5.1 as this program renders it.
    #[test]
    fn the_sample_of_the_contract_is_rendered_byte_for_byte() {
        let data = serde_json::json!({
            "message_id": "055f01b2-da7b-476b-9a5d-dcecb3fe510c",
            "whatsapp_message_id": "3EB0ABC123456789",
            "sender_number": "5511999999999",
            "sender_name": "John Doe",
            "content": "Hello, I need help!",
            "media_type": null,
            "media_url": null,
            "timestamp": Millis(1_736_937_000_000).rfc3339_offset(),
            "conversation_id": 123,
        });
        let event = Event {
            seq: 1,
            at: Millis(1_736_937_000_000),
            kind: "message.received".into(),
            lane: None,
            data: data.to_string(),
        };
        let body = outgoing(&event, Uuid::from_u128(0x550e_8400_e29b_41d4_a716_4466_5544_0000));
        assert_eq!(body.len(), 411);
        let expected = "c965276948b15bac23a8c7c8c01be4c694bbb5b61040566378c7629192b16a17";
        assert_eq!(signature("your_webhook_secret", body.as_bytes()), expected);
    }

    #[test]
    fn a_receiver_asks_for_a_pause_in_seconds_or_by_date() {
        let now = Millis(1_445_412_420_000); // 2015-10-21T07:27:00Z
        let pause = |text| pause_asked_for(text, now).map(|pause| pause.as_secs());
        assert_eq!(pause("120"), Some(120));
        assert_eq!(pause(" 0 "), Some(0));
        assert_eq!(pause("Wed, 21 Oct 2015 07:28:00 GMT"), Some(60));
        assert_eq!(pause("Wed, 21 Oct 2015 07:26:00 GMT"), Some(0));
        for wrong in ["", "-1", "soon", "1.5", "99999999999999999999"] {
            assert_eq!(pause(wrong), None, "{wrong}");
        }
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
