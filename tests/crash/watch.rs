//! Whoever looks on during the run: a reader of the event log that goes on where it was after every death of the instance,
//! by page, by long poll, and by stream; and one reader a phone of what that phone received.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::Client;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use wazap::sandbox::{Admin, MediaView};

use super::{
    load::Where,
    process::{OWN, TOKEN, get},
};

/// What was read of the event log.
#[derive(Default)]
pub struct Log {
    /// A digest of each event, from number 1 on.
    digests: Vec<u64>,
    /// How often each was told: type and id of the message, or, of deliveries, `delivered` and the id.
    told: BTreeMap<(String, String), usize>,
    /// What is wrong with it.
    pub wrong: Vec<String>,
}

impl Log {
    pub fn told(&self, kind: &str, id: &str) -> usize {
        self.told.get(&(kind.to_owned(), id.to_owned())).copied().unwrap_or_default()
    }

    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        self.told.keys().filter(move |(other, _)| other == kind).map(|(_, id)| id.as_str())
    }

    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// One event as it was read; what was read before must be the same again.
    fn read(&mut self, event: &Value) {
        let mut hasher = DefaultHasher::new();
        event.to_string().hash(&mut hasher);
        let digest = hasher.finish();
        let seq = event["seq"].as_u64().unwrap_or_default();
        let Some(at) = usize::try_from(seq).ok().and_then(|seq| seq.checked_sub(1)) else {
            return self.wrong.push(format!("an event without a number: {event}"));
        };
        if let Some(before) = self.digests.get(at) {
            if *before != digest {
                self.wrong.push(format!("event {seq} was another one before"));
            }
            return;
        }
        if at != self.digests.len() {
            self.wrong.push(format!("event {seq} follows {}", self.digests.len()));
            self.digests.resize(at, 0);
        }
        self.digests.push(digest);
        let data = &event["data"];
        let kind = match event["type"].as_str().unwrap_or_default() {
            "message.status" if data["new_status"] == "delivered" => "delivered",
            "message.status" => return,
            kind => kind,
        };
        if let Some(id) = data["whatsapp_message_id"].as_str() {
            *self.told.entry((kind.to_owned(), id.to_owned())).or_default() += 1;
        }
    }
}

/// Reads the log until it is stopped.
pub async fn follow(
    log: Arc<Mutex<Log>>,
    http: Client,
    mut instance: Where,
    stop: CancellationToken,
    seed: u64,
) {
    let mut rng = StdRng::seed_from_u64(seed);
    while !stop.is_cancelled() {
        let url = match timeout(Duration::from_millis(200), instance.wait_for(Option::is_some)).await {
            Ok(Ok(url)) => url.clone().unwrap_or_default(),
            Ok(Err(_)) => return,
            Err(_) => continue,
        };
        let after = log.lock().unwrap().len();
        let read = if rng.random_bool(0.5) {
            let wait = rng.random_range(0..2);
            page(&log, &http, &format!("{url}/events?after={after}&limit=500&wait={wait}")).await
        } else {
            let patience = Duration::from_millis(rng.random_range(50..1500));
            timeout(patience, stream(&log, &http, &url, after)).await.unwrap_or(true)
        };
        if !read {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn page(log: &Mutex<Log>, http: &Client, url: &str) -> bool {
    let Some(page) = get(http, url).await else { return false };
    let mut log = log.lock().unwrap();
    page["events"].as_array().into_iter().flatten().for_each(|event| log.read(event));
    true
}

async fn stream(log: &Mutex<Log>, http: &Client, url: &str, after: usize) -> bool {
    let request = http.get(format!("{url}/events/stream")).bearer_auth(TOKEN);
    let Ok(answer) = request.header("Last-Event-ID", after.to_string()).send().await else { return false };
    if answer.status() != 200 {
        return false;
    }
    let mut bytes = answer.bytes_stream();
    let mut waiting: Vec<u8> = Vec::new();
    while let Some(Ok(more)) = bytes.next().await {
        waiting.extend_from_slice(&more);
        // An event ends with an empty line; one that was cut short is not one.
        while let Some(end) = waiting.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = waiting.drain(..end + 2).collect();
            let event = String::from_utf8_lossy(&event).into_owned();
            let data = event.lines().find_map(|line| line.strip_prefix("data:"));
            if let Some(event) = data.and_then(|data| serde_json::from_str(data.trim()).ok()) {
                log.lock().unwrap().read(&event);
            }
        }
    }
    false
}

/// The whole log once more, after the end: what was ever shown must still be there, and the same.
pub async fn read_again(log: &Mutex<Log>, http: &Client, url: &str) {
    let mut after = 0;
    loop {
        let address = format!("{url}/events?after={after}&limit=1000");
        let Some(page) = get(http, &address).await else {
            return log.lock().unwrap().wrong.push("the log cannot be read".into());
        };
        let mut log = log.lock().unwrap();
        let events = page["events"].as_array().cloned().unwrap_or_default();
        events.iter().for_each(|event| log.read(event));
        after = page["next"].as_u64().unwrap_or_default();
        if events.is_empty() {
            if (after as usize) < log.len() {
                let missing = log.len() as u64 - after;
                log.wrong.push(format!("{missing} events that were read are gone"));
            }
            return;
        }
    }
}

/// What a phone received from the instance: ids and texts, in order. A file's text counts only if its bytes are whole.
pub type Inbox = Arc<Mutex<Vec<(String, String)>>>;

/// Reads what a phone receives until it is stopped.
pub async fn inbox(phone: &'static str, inbox: Inbox, admin: Admin, stop: CancellationToken) {
    let mut last: Option<String> = None;
    let own = format!("{OWN}@s.whatsapp.net");
    let lid = admin.phone(OWN).expect("there is such a phone").lid;
    while !stop.is_cancelled() {
        let wait = Duration::from_millis(200);
        let page = admin.messages(phone, None, last.as_deref(), wait).await.expect("the phone's messages");
        if let Some(newest) = page.last() {
            last = Some(newest.id.clone());
        }
        let ours = page.into_iter().filter(|m| m.sender == own || m.sender == lid);
        let mut inbox = inbox.lock().unwrap();
        for message in ours {
            let place = &message.message["locationMessage"]["name"];
            let file = &message.message["documentWithCaptionMessage"]["message"]["documentMessage"];
            let text = place.as_str().or(file["caption"].as_str()).map(str::to_owned);
            let mut text = message.text.clone().or(text).unwrap_or_default();
            if file.is_object() && !matches!(message.media, Some(MediaView::Good { .. })) {
                text = format!("a broken file: {:?}", message.media);
            }
            inbox.push((message.id, text));
        }
    }
}
