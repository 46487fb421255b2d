//! Load in both directions: bots that call the API, each request under its own key until it is answered; and phones that
//! write to the instance's number. Both remember what they did.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use wazap::sandbox::{Admin, FileKind, FileToSend, Sending};

use super::process::{OWN, TOKEN};

/// Between one message and the next of one writer, on the average.
const PACE: Duration = Duration::from_millis(110);
/// A call that is not answered for so long never will be. On a slow machine few lives last until an answer.
const PATIENCE: Duration = Duration::from_secs(600);

/// Stanzas at the server that the instance has not answered, from which on phones wait: a phone keeps its last 10,000
/// messages and can help with no others, so that on a machine where lives are too short for all that is written, what
/// it is asked for would be gone.
const BACKLOG: usize = 1_000;

/// Edits and reactions concern one of so many.
const RECENT: usize = 30;

/// Where the instance answers just now; changes with every life.
pub type Where = watch::Receiver<Option<String>>;

/// What both kinds of writers share.
#[derive(Clone)]
pub struct Common {
    pub http: Client,
    pub instance: Where,
    pub done: Arc<AtomicBool>,
    /// Answers that said that they repeat an earlier one.
    pub replays: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Text,
    File,
    Place,
    Edit,
    Reaction,
}

/// One message, sent by either side.
#[derive(Clone, Debug)]
pub struct Sent {
    pub what: What,
    /// Its own.
    pub id: String,
    /// Of the message that it edits or reacts to.
    pub target: Option<String>,
    /// Of texts, files and places: tells whether it is the message that was meant.
    pub text: String,
}

impl Sent {
    /// The event that reports it when it comes in: its type, and the id that it names.
    pub fn event(&self) -> (&'static str, String) {
        let target = || self.target.clone().unwrap_or_default();
        match self.what {
            What::Text | What::File | What::Place => ("message.received", self.id.clone()),
            What::Edit => ("message.edited", target()),
            What::Reaction => ("message.reaction", target()),
        }
    }
}

/// What comes next: mostly texts; edits and reactions concern texts of the same writer, each of them once.
fn next(rng: &mut StdRng, sent: &[Sent], edited: &mut usize, reacted: &mut usize) -> (What, Option<String>) {
    let drawn = match rng.random_range(0..100) {
        0..8 => What::File,
        8..13 => What::Place,
        13..23 => What::Edit,
        23..33 => What::Reaction,
        _ => What::Text,
    };
    let from = match drawn {
        What::Edit => edited,
        What::Reaction => reacted,
        _ => return (drawn, None),
    };
    // A text can be edited for some minutes only.
    let recent = sent.len().saturating_sub(RECENT).max(*from);
    let target = sent.iter().enumerate().skip(recent).find(|(_, sent)| sent.what == What::Text);
    match target {
        Some((at, target)) => {
            *from = at + 1;
            (drawn, Some(target.id.clone()))
        }
        None => (What::Text, None),
    }
}

async fn pause(rng: &mut StdRng) {
    sleep(PACE.mul_f64(rng.random_range(0.2..1.8))).await;
}

/// A client of the API; `to` is a number or a group. What was answered with an id; and why it gave up, if it did.
pub async fn bot(to: String, common: Common, seed: u64) -> (Vec<Sent>, Option<String>) {
    let mut sent = Vec::new();
    let end = write(&to, &common, seed, &mut sent).await;
    (sent, end.err())
}

async fn write(to: &str, common: &Common, seed: u64, sent: &mut Vec<Sent>) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut edited, mut reacted) = (0, 0);
    while !common.done.load(Ordering::Relaxed) {
        let (what, target) = next(&mut rng, sent, &mut edited, &mut reacted);
        let text = format!("out {} to {to}", sent.len());
        let key = format!("{to}-{}", sent.len());
        let call = Call::new(what, to, &text, target.as_deref());
        let at_once = rng.random_bool(0.3);
        let id = common.ask(&call, &key, at_once).await?;
        if rng.random_bool(0.15) {
            let again = common.ask(&call, &key, at_once).await?;
            if again != id {
                return Err(format!("{key}: the same key gave {id} and then {again}"));
            }
        }
        sent.push(Sent { what, id, target, text });
        pause(&mut rng).await;
    }
    Ok(())
}

struct Call {
    method: Method,
    path: String,
    body: String,
}

impl Call {
    fn new(what: What, to: &str, text: &str, target: Option<&str>) -> Self {
        let target = target.unwrap_or_default();
        let (method, path, body) = match what {
            What::Text => (Method::POST, "/send-message".into(), json!({ "recipient": to, "message": text })),
            What::File => (
                Method::POST,
                "/send-media".into(),
                json!({
                    "recipient": to, "media_type": "document", "filename": "note.txt", "caption": text,
                    "media_base64": BASE64_STANDARD.encode(text.repeat(100)),
                }),
            ),
            What::Place => (
                Method::POST,
                "/send-location".into(),
                json!({ "recipient": to, "latitude": -23.5, "longitude": -46.6, "name": text }),
            ),
            What::Edit => {
                (Method::PATCH, format!("/messages/{target}"), json!({ "recipient": to, "message": text }))
            }
            What::Reaction => (
                Method::POST,
                "/send-reaction".into(),
                json!({ "recipient": to, "messageId": target, "fromMe": true, "emoji": "👍" }),
            ),
        };
        Self { method, path, body: body.to_string() }
    }
}

impl Common {
    /// Asks until there is an answer; the id in it.
    async fn ask(&self, call: &Call, key: &str, at_once: bool) -> Result<String, String> {
        let mut instance = self.instance.clone();
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::from("nothing");
        loop {
            if Instant::now() > deadline {
                return Err(format!(
                    "{key} ({} {}) is never answered; at last: {last}",
                    call.method, call.path
                ));
            }
            let url = match instance.wait_for(Option::is_some).await {
                Ok(url) => url.clone().unwrap_or_default(),
                Err(_) => return Err("no instance any more".into()),
            };
            let mut request = self
                .http
                .request(call.method.clone(), format!("{url}{}", call.path))
                .bearer_auth(TOKEN)
                .header("Idempotency-Key", key)
                .header("Content-Type", "application/json")
                .body(call.body.clone());
            if at_once {
                request = request.header("Prefer", "respond-async");
            }
            // Killed in the middle: whether it was taken, nobody knows.
            let answer = match request.send().await {
                Ok(answer) => answer,
                Err(error) => {
                    last = error.to_string();
                    sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            let (status, replayed) =
                (answer.status().as_u16(), answer.headers().contains_key("Idempotent-Replayed"));
            let Ok(body) = answer.bytes().await else { continue };
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            match (status, body["message_id"].as_str()) {
                (200 | 202, Some(id)) => {
                    self.replays.fetch_add(u64::from(replayed), Ordering::Relaxed);
                    return Ok(id.to_owned());
                }
                // Not connected in time, or ending, or the media server is not reached: nothing was stored.
                (502..=504, _) => {
                    last = format!("{status} {body}");
                    sleep(Duration::from_millis(10)).await;
                }
                _ => return Err(format!("{key} ({} {}): {status} {body}", call.method, call.path)),
            }
        }
    }
}

/// A phone that writes to the instance's number, or to a group. What it sent, in order.
pub async fn phone(
    from: &'static str,
    to: String,
    admin: Admin,
    done: Arc<AtomicBool>,
    seed: u64,
) -> Vec<Sent> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut sent, mut edited, mut reacted) = (Vec::new(), 0, 0);
    while !done.load(Ordering::Relaxed) {
        if admin.stats().queued > BACKLOG {
            pause(&mut rng).await;
            continue;
        }
        let (what, target) = next(&mut rng, &sent, &mut edited, &mut reacted);
        let text = format!("in {} from {from}", sent.len());
        let of = || target.clone().unwrap_or_default();
        let sending = match what {
            What::Text => Sending::Text { text: text.clone(), quote: None },
            What::Place => {
                Sending::Location { latitude: 1.0, longitude: 2.0, name: Some(text.clone()), address: None }
            }
            What::Edit => Sending::Edit { id: of(), text: text.clone() },
            What::Reaction => Sending::Reaction { id: of(), emoji: "❤".into() },
            What::File => {
                let file = FileToSend::new(FileKind::Document, text.repeat(100).into_bytes());
                let file = FileToSend { caption: Some(text.clone()), ..file };
                let id = admin.send_file(from, &to, file).await.expect("a phone can send a file");
                sent.push(Sent { what, id, target, text });
                pause(&mut rng).await;
                continue;
            }
        };
        let id = admin.send(from, &to, sending).expect("a phone can send");
        sent.push(Sent { what, id, target, text });
        pause(&mut rng).await;
    }
    sent
}

/// A phone that loses its Signal session with the instance now and then: what it is sent next it cannot read, and asks for
/// again.
pub async fn forgetful(phone: &'static str, admin: Admin, done: Arc<AtomicBool>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    while !done.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(rng.random_range(500..4000))).await;
        if let Ok(own) = admin.phone(OWN)
            && let Some(device) = own.companions.first()
        {
            let _ = admin.forget_session(phone, &device.jid);
        }
    }
}
