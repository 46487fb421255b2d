//! A receiver of webhooks that has bad moments: it answers 500, takes a post and says 500 all the same, is slow, or never
//! answers. What counts is what it took: answered with 2xx, or took and denied.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longer than the instance waits for an answer.
const FOR_EVER: Duration = Duration::from_secs(20);

/// What was taken of one message.
#[derive(Clone, Default)]
pub struct Taken {
    /// Different webhooks about it: more than one is a message told twice.
    pub webhooks: BTreeSet<String>,
    /// Posts; more than one webhook's worth are repetitions, which a receiver tells by their id.
    pub posts: usize,
}

#[derive(Default)]
struct Desk {
    /// By the id of the message or reaction; `true`: the account's own.
    taken: BTreeMap<(bool, String), Taken>,
    /// Ids of received messages by chat, in the order in which they were taken first.
    order: BTreeMap<String, Vec<String>>,
}

struct Shared {
    desk: Mutex<Desk>,
    rng: Mutex<StdRng>,
    calm: AtomicBool,
    refused: AtomicU64,
}

pub struct Receiver {
    pub url: String,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

enum Mood {
    Takes,
    Refuses,
    TakesAndDenies,
    Slow(Duration),
    Silent,
}

async fn receive(State(shared): State<Arc<Shared>>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 1 << 22).await else { return StatusCode::BAD_REQUEST };
    let header =
        |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let mood = shared.mood();
    match mood {
        Mood::Refuses => {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        Mood::Silent => {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            sleep(FOR_EVER).await;
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        Mood::Slow(time) => sleep(time).await,
        Mood::Takes | Mood::TakesAndDenies => {}
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    shared.take(&header("x-webhook-event"), header("x-webhook-id"), &body);
    if matches!(mood, Mood::TakesAndDenies) { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
}

impl Shared {
    /// A chat's posts wait behind one that failed, for a second at least: more bad moments than this, and no chat would ever
    /// be up to date.
    fn mood(&self) -> Mood {
        if self.calm.load(Ordering::Relaxed) {
            return Mood::Takes;
        }
        let mut rng = self.rng.lock().unwrap();
        match rng.random_range(0..2000) {
            0..4 => Mood::Refuses,
            4..7 => Mood::TakesAndDenies,
            7..12 => Mood::Slow(Duration::from_millis(rng.random_range(100..800))),
            12 => Mood::Silent,
            _ => Mood::Takes,
        }
    }

    fn take(&self, kind: &str, webhook: String, body: &Value) {
        let (key, id, own) = match kind {
            "incoming" => (&body["key"], body["key"]["id"].as_str(), body["key"]["fromMe"] == true),
            // The key of the reaction itself stands inside.
            "reaction" => {
                let key = &body["reaction"]["key"];
                (key, key["id"].as_str(), key["fromMe"] == true)
            }
            _ => return,
        };
        let id = id.expect("an id").to_owned();
        let desk = &mut *self.desk.lock().unwrap();
        let taken = desk.taken.entry((own, id.clone())).or_default();
        if taken.posts == 0 && !own && kind == "incoming" {
            let chat = key["remoteJid"].as_str().expect("a chat").to_owned();
            desk.order.entry(chat).or_default().push(id);
        }
        taken.posts += 1;
        taken.webhooks.insert(webhook);
    }
}

impl Receiver {
    pub async fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            desk: Mutex::default(),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            calm: AtomicBool::new(true),
            refused: AtomicU64::new(0),
        });
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let app = Router::new().fallback(receive).with_state(shared.clone());
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, app) => served.unwrap(),
                () = stopped.cancelled() => {}
            }
        });
        Self { url, shared, _stop: stop.drop_guard() }
    }

    /// Whether it always answers.
    pub fn calm(&self, calm: bool) {
        self.shared.calm.store(calm, Ordering::Relaxed);
    }

    /// What was taken of a message or reaction.
    pub fn taken(&self, own: bool, id: &str) -> Option<Taken> {
        self.shared.desk.lock().unwrap().taken.get(&(own, id.to_owned())).cloned()
    }

    /// Messages told twice, under two ids.
    pub fn doubled(&self) -> Vec<String> {
        let desk = self.shared.desk.lock().unwrap();
        desk.taken
            .iter()
            .filter(|(_, taken)| taken.webhooks.len() > 1)
            .map(|((_, id), _)| id.clone())
            .collect()
    }

    /// Posts of a webhook beyond its first.
    pub fn repeated(&self) -> usize {
        self.shared.desk.lock().unwrap().taken.values().map(|taken| taken.posts - taken.webhooks.len()).sum()
    }

    /// Received messages of a chat, in the order in which they came.
    pub fn order(&self, chat: &str) -> Vec<String> {
        self.shared.desk.lock().unwrap().order.get(chat).cloned().unwrap_or_default()
    }

    /// Posts that were not taken.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}
