//! Receivers on loopback that answer as a story decides, the worker, and the events that stories push.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;
use wazap::{
    clock::Millis,
    store::{
        Error, Store,
        events::NewEvent,
        hooks::{Change, Pause, Wanted},
    },
    webhook::{self, Options, Retry},
};

pub(super) const INSTANCE: Uuid = Uuid::from_u128(0x550e_8400_e29b_41d4_a716_4466_5544_0000);
pub(super) const NOW: Millis = Millis(1_767_115_800_000);

/// One request as it came in.
#[derive(Clone, Debug)]
pub(super) struct Post {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Post {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Bodies of these tests are `{"chat":"…","n":…}`.
    pub(super) fn chat(&self) -> (String, u64) {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        let body = if body["data"].is_object() { &body["data"] } else { &body };
        (body["chat"].as_str().unwrap().to_owned(), body["n"].as_u64().unwrap())
    }
}

pub(super) enum Answer {
    Status(u16),
    Redirect(String),
    /// 503, not before so many seconds.
    Later(u32),
    /// Never, as far as the sender can tell.
    Hang,
    /// Success, with a body longer than the sender reads.
    Long,
}

type Decide = Box<dyn FnMut(&Post) -> Answer + Send>;

/// A receiver that answers as the test decides, and lets it wait for what arrived.
pub(super) struct Receiver {
    address: SocketAddr,
    pub(super) posts: watch::Receiver<Vec<Post>>,
    _stop: DropGuard,
}

#[derive(Clone)]
struct Shared {
    decide: Arc<Mutex<Decide>>,
    posts: watch::Sender<Vec<Post>>,
}

async fn receive(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let post = Post { path: parts.uri.path().to_owned(), headers: parts.headers, body };
    let answer = (shared.decide.lock().unwrap())(&post);
    shared.posts.send_modify(|posts| posts.push(post));
    match answer {
        Answer::Status(code) => StatusCode::from_u16(code).unwrap().into_response(),
        Answer::Later(seconds) => {
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, seconds)]).into_response()
        }
        Answer::Redirect(to) => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response(),
        Answer::Hang => std::future::pending().await,
        Answer::Long => "x".repeat(1 << 20).into_response(),
    }
}

impl Receiver {
    pub(super) async fn start(decide: impl FnMut(&Post) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, posts) = watch::channel(Vec::new());
        let shared = Shared { decide: Arc::new(Mutex::new(Box::new(decide))), posts: sender };
        let app = Router::new().fallback(receive).with_state(shared);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, app) => served.unwrap(),
                () = stopped.cancelled() => {}
            }
        });
        Self { address, posts, _stop: stop.drop_guard() }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until what arrived is as wanted, and returns it.
    pub(super) async fn until(&mut self, wanted: impl FnMut(&Vec<Post>) -> bool) -> Vec<Post> {
        let arrived = tokio::time::timeout(Duration::from_secs(30), self.posts.wait_for(wanted)).await;
        arrived.expect("in time").unwrap().clone()
    }
}

/// As the contract says, only faster.
pub(super) fn quick() -> Options {
    let pauses = [1, 2, 5, 10].map(Duration::from_millis).to_vec();
    let retry = Retry { pauses, refused: Duration::from_millis(10), ..Retry::default() };
    let user_retry = retry.clone();
    Options { retry, user_retry, timeout: Duration::from_secs(5), ..Options::new(INSTANCE) }
}

pub(super) struct Worker {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Worker {
    pub(super) fn start(store: &Store, options: Options) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(webhook::run(store.clone(), options, stop.clone()));
        Self { stop, task }
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

pub(super) async fn set_platform(store: &Store, url: String, secret: Option<&'static str>) {
    store.write(move |tx| tx.hooks().set_platform(&url, secret, NOW)).await.unwrap();
}

/// A message in a chat, in the platform's form as far as these tests look.
pub(super) fn message(chat: &str, n: u64) -> NewEvent {
    let body = format!(r#"{{"chat":"{chat}","n":{n}}}"#);
    NewEvent {
        kind: "message.received",
        lane: Some(chat.into()),
        data: body.clone(),
        platform: Some(("incoming", body)),
    }
}

pub(super) fn instance(path: &'static str, n: u64) -> NewEvent {
    let body = format!(r#"{{"chat":"","n":{n}}}"#);
    NewEvent { kind: "instance.qr", lane: None, data: body.clone(), platform: Some((path, body)) }
}

pub(super) async fn push(store: &Store, events: Vec<NewEvent>) {
    store
        .write(move |tx| events.iter().try_for_each(|event| tx.events().push(event, NOW).map(drop)))
        .await
        .unwrap();
}

/// Resolves when the hook has stored that it has had everything.
pub(super) async fn settled(store: &Store) {
    let mut last = None;
    for _ in 0..10_000 {
        let (newest, hooks) =
            store.read(|tx| Ok::<_, Error>((tx.events().newest()?, tx.hooks().list()?))).await.unwrap();
        let lanes = store.read(|tx| Ok::<_, Error>(tx.hooks().load(1)?.unwrap().1)).await.unwrap();
        if hooks[0].cursor == newest && lanes.is_empty() {
            return;
        }
        last = Some((hooks, lanes));
        // Storing is a work like ours: ours comes after those that wait.
        store.write(|_| Ok::<_, Error>(())).await.unwrap();
        tokio::task::yield_now().await;
    }
    panic!("never settled: {last:?}");
}

/// Per chat, the order in which numbers first arrived with a success.
pub(super) fn orders(posts: &[Post]) -> HashMap<String, Vec<u64>> {
    let mut seen = HashSet::new();
    let mut orders: HashMap<String, Vec<u64>> = HashMap::new();
    for (chat, n) in posts.iter().map(Post::chat) {
        if seen.insert((chat.clone(), n)) {
            orders.entry(chat).or_default().push(n);
        }
    }
    orders
}

/// Configures the user's hook; its id.
pub(super) async fn set_user(store: &Store, url: String, wanted: Option<Wanted>) -> i64 {
    let secret = Some("your_webhook_secret".to_owned());
    let change = Change { url, secret, wanted, active: None, spare_secret: String::new() };
    store.write(move |tx| tx.hooks().set_user(&change, NOW)).await.unwrap().hook.id
}

pub(super) fn kinds(names: &[&str]) -> Option<Wanted> {
    Some(Wanted::Kinds(names.iter().map(|name| (*name).to_owned()).collect()))
}

pub(super) async fn paused(store: &Store) -> Option<Pause> {
    store.read(|tx| tx.hooks().user()).await.unwrap().unwrap().paused
}
