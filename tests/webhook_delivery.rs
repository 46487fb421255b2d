//! The outbox worker against real receivers on loopback.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sha2::Sha256;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;
use wazap::{
    clock::Millis,
    store::{
        Error, Store,
        events::NewEvent,
        hooks::{Change, Pause, Place, Wanted},
    },
    webhook::{self, Keep, Options, Retry},
};

const INSTANCE: Uuid = Uuid::from_u128(0x550e_8400_e29b_41d4_a716_4466_5544_0000);
const NOW: Millis = Millis(1_767_115_800_000);

/// One request as it came in.
#[derive(Clone, Debug)]
struct Post {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Post {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Bodies of these tests are `{"chat":"…","n":…}`.
    fn chat(&self) -> (String, u64) {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        let body = if body["data"].is_object() { &body["data"] } else { &body };
        (body["chat"].as_str().unwrap().to_owned(), body["n"].as_u64().unwrap())
    }
}

enum Answer {
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
struct Receiver {
    address: SocketAddr,
    posts: watch::Receiver<Vec<Post>>,
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
    async fn start(decide: impl FnMut(&Post) -> Answer + Send + 'static) -> Self {
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

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until what arrived is as wanted, and returns it.
    async fn until(&mut self, wanted: impl FnMut(&Vec<Post>) -> bool) -> Vec<Post> {
        let arrived = tokio::time::timeout(Duration::from_secs(30), self.posts.wait_for(wanted)).await;
        arrived.expect("in time").unwrap().clone()
    }
}

/// As the contract says, only faster.
fn quick() -> Options {
    let pauses = [1, 2, 5, 10].map(Duration::from_millis).to_vec();
    let retry = Retry { pauses, refused: Duration::from_millis(10), ..Retry::default() };
    let user_retry = retry.clone();
    Options { retry, user_retry, timeout: Duration::from_secs(5), ..Options::new(INSTANCE) }
}

struct Worker {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Worker {
    fn start(store: &Store, options: Options) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(webhook::run(store.clone(), options, stop.clone()));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

async fn set_platform(store: &Store, url: String, secret: Option<&'static str>) {
    store.write(move |tx| tx.hooks().set_platform(&url, secret, NOW)).await.unwrap();
}

/// A message in a chat, in the platform's form as far as these tests look.
fn message(chat: &str, n: u64) -> NewEvent {
    let body = format!(r#"{{"chat":"{chat}","n":{n}}}"#);
    NewEvent {
        kind: "message.received",
        lane: Some(chat.into()),
        data: body.clone(),
        platform: Some(("incoming", body)),
    }
}

fn instance(path: &'static str, n: u64) -> NewEvent {
    let body = format!(r#"{{"chat":"","n":{n}}}"#);
    NewEvent { kind: "instance.qr", lane: None, data: body.clone(), platform: Some((path, body)) }
}

async fn push(store: &Store, events: Vec<NewEvent>) {
    store
        .write(move |tx| events.iter().try_for_each(|event| tx.events().push(event, NOW).map(drop)))
        .await
        .unwrap();
}

/// Resolves when the hook has stored that it has had everything.
async fn settled(store: &Store) {
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
fn orders(posts: &[Post]) -> HashMap<String, Vec<u64>> {
    let mut seen = HashSet::new();
    let mut orders: HashMap<String, Vec<u64>> = HashMap::new();
    for (chat, n) in posts.iter().map(Post::chat) {
        if seen.insert((chat.clone(), n)) {
            orders.entry(chat).or_default().push(n);
        }
    }
    orders
}

#[tokio::test]
async fn a_post_carries_the_stored_bytes_its_headers_and_a_signature() {
    let store = Store::in_memory().unwrap();
    let mut answers = VecDeque::from([Answer::Status(503), Answer::Long, Answer::Status(204)]);
    let mut receiver = Receiver::start(move |_| answers.pop_front().unwrap()).await;
    set_platform(&store, format!("{}/", receiver.url()), Some("platform secret")).await;
    let worker = Worker::start(&store, quick());
    let body = r#"{"message":{"conversation":"Olá 👍 / \"ok\"\nfim"},"z":1,"a":null}"#;
    let mut event = message("chat", 1);
    event.platform = Some(("incoming", body.into()));
    push(&store, vec![event.clone()]).await;
    event.platform = None; // not for the platform: skipped
    push(&store, vec![event, instance("qr", 2)]).await;
    let posts = receiver.until(|posts| posts.len() == 3).await;
    settled(&store).await;
    let [first, again, qr] = &posts[..] else { panic!("three posts") };
    let (first, again, qr) =
        if again.header("x-webhook-event") == "qr" { (first, qr, again) } else { (first, again, qr) };

    assert_eq!(first.path, format!("/webhooks/instance/{INSTANCE}/incoming"));
    assert_eq!(qr.path, format!("/webhooks/instance/{INSTANCE}/qr"));
    assert_eq!(first.header("content-type"), "application/json");
    assert_eq!(first.header("user-agent"), concat!("wazap/", env!("CARGO_PKG_VERSION")));
    assert_eq!(first.header("x-instance-uuid"), "550e8400-e29b-41d4-a716-446655440000");
    assert_eq!((first.header("x-webhook-event"), qr.header("x-webhook-event")), ("incoming", "qr"));
    let id = Uuid::parse_str(first.header("x-webhook-id")).unwrap();
    assert_eq!(again.header("x-webhook-id"), id.to_string(), "the same on the retry");
    assert_ne!(qr.header("x-webhook-id"), id.to_string());
    for post in [first, again] {
        assert_eq!(post.body, body.as_bytes());
        let mut mac = Hmac::<Sha256>::new_from_slice(b"platform secret").unwrap();
        mac.update(&post.body);
        mac.verify_slice(&hex::decode(post.header("x-webhook-signature")).unwrap()).unwrap();
    }
    // Without a secret there is no signature; the worker takes the change up by itself.
    let mut receiver = Receiver::start(|_| Answer::Status(200)).await;
    set_platform(&store, receiver.url(), None).await;
    push(&store, vec![message("chat", 3)]).await;
    let posts = receiver.until(|posts| posts.len() == 1).await;
    assert!(posts[0].headers.get("x-webhook-signature").is_none());
    worker.stop().await;
}

#[tokio::test]
async fn every_chat_keeps_its_order_under_random_failures() {
    let store = Store::in_memory().unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    let delivered = Arc::new(Mutex::new(Vec::new()));
    let log = delivered.clone();
    let mut receiver = Receiver::start(move |post| {
        let status = [200, 201, 204, 200, 200, 500, 502, 404, 429][rng.random_range(0..9)];
        if status < 300 {
            log.lock().unwrap().push(post.chat());
        }
        Answer::Status(status)
    })
    .await;
    set_platform(&store, receiver.url(), None).await;
    let worker = Worker::start(&store, quick());
    let chats = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    for n in 0..25 {
        push(&store, chats.iter().map(|chat| message(chat, n)).collect()).await;
    }
    let log = delivered.clone();
    receiver.until(|_| log.lock().unwrap().len() >= 300).await;
    settled(&store).await;
    worker.stop().await;
    let delivered = delivered.lock().unwrap().clone();
    assert_eq!(delivered.len(), 300, "each succeeded once");
    for chat in chats {
        let order: Vec<u64> = delivered.iter().filter(|(c, _)| c == chat).map(|(_, n)| *n).collect();
        assert_eq!(order, (0..25).collect::<Vec<_>>(), "chat {chat}");
    }
}

#[tokio::test]
async fn a_chat_whose_posts_hang_delays_neither_the_others_nor_the_writer() {
    let store = Store::in_memory().unwrap();
    let mut receiver =
        Receiver::start(|post| if post.chat().0 == "slow" { Answer::Hang } else { Answer::Status(200) })
            .await;
    set_platform(&store, receiver.url(), None).await;
    let worker = Worker::start(&store, quick());
    push(&store, vec![message("slow", 0), message("slow", 1)]).await;
    receiver.until(|posts| posts.len() == 1).await;
    for n in 0..100 {
        push(&store, vec![message("fast", n), message("other", n), instance("qr", n)]).await;
    }
    // The five seconds of the hanging post are far from over when all of these have arrived.
    let posts = receiver.until(|posts| posts.len() == 301).await;
    let orders = orders(&posts);
    assert_eq!(orders["slow"], [0]);
    for chat in ["fast", "other", ""] {
        assert_eq!(orders[chat], (0..100).collect::<Vec<_>>());
    }
    // A stop waits for what is in flight, but not for long.
    worker.stop().await;
    let (hook, lanes) = store.read(|tx| tx.hooks().load(1)).await.unwrap().unwrap();
    assert_eq!((hook.cursor, hook.last_error), (0, None));
    assert_eq!(lanes.len(), 3, "each of the others is known to be ahead");
}

#[tokio::test]
async fn a_silent_receiver_is_given_up_after_the_timeout_and_asked_again() {
    let store = Store::in_memory().unwrap();
    let mut answers = VecDeque::from([Answer::Hang, Answer::Status(200)]);
    let mut receiver = Receiver::start(move |_| answers.pop_front().unwrap()).await;
    set_platform(&store, receiver.url(), None).await;
    let worker = Worker::start(&store, Options { timeout: Duration::from_millis(50), ..quick() });
    push(&store, vec![message("chat", 0)]).await;
    receiver.until(|posts| posts.len() == 2).await;
    settled(&store).await;
    worker.stop().await;
}

#[tokio::test]
async fn redirects_are_failures_and_are_not_followed() {
    let store = Store::in_memory().unwrap();
    let elsewhere = Receiver::start(|_| Answer::Status(200)).await;
    let to = elsewhere.url();
    let mut answers = VecDeque::from([Answer::Redirect(to), Answer::Status(200)]);
    let mut receiver = Receiver::start(move |_| answers.pop_front().unwrap()).await;
    set_platform(&store, receiver.url(), None).await;
    let worker = Worker::start(&store, quick());
    push(&store, vec![message("chat", 0)]).await;
    receiver.until(|posts| posts.len() == 2).await;
    settled(&store).await;
    assert!(elsewhere.posts.borrow().is_empty());
    worker.stop().await;
}

#[tokio::test]
async fn a_restart_in_the_middle_leaves_no_gap_and_keeps_what_was_put_off() {
    let folder = tempfile::tempdir().unwrap();
    let mended = Arc::new(AtomicBool::new(false));
    let works = mended.clone();
    let mut receiver = Receiver::start(move |post| match post.chat() {
        (chat, 3) if chat == "bad" && !works.load(Ordering::SeqCst) => Answer::Status(500),
        _ => Answer::Status(200),
    })
    .await;
    let store = Store::open(folder.path()).unwrap();
    set_platform(&store, receiver.url(), None).await;
    // A pause longer than the test: what failed is put off beyond the restart.
    let patient = || {
        let hour = Duration::from_hours(1);
        let retry = Retry { pauses: vec![hour], refused: hour, ..Retry::default() };
        Options { retry, ..quick() }
    };
    let worker = Worker::start(&store, patient());
    let numbers = |range: std::ops::Range<u64>| {
        range.flat_map(|n| [message("good", n), message("bad", n)]).collect::<Vec<_>>()
    };
    push(&store, numbers(0..20)).await;
    receiver.until(|posts| posts.len() >= 24).await;
    worker.stop().await;
    store.close().await;

    let (hook, lanes, store) = reopen(folder.path()).await;
    assert_eq!((hook, lanes.len()), (40, 1), "the cursor has gone on without the failing chat");
    assert_eq!((lanes[0].lane.as_str(), lanes[0].attempts), ("bad", 1));
    assert_eq!(lanes[0].error.as_deref(), Some("http 500"));
    let worker = Worker::start(&store, patient());
    push(&store, numbers(20..30)).await;
    let posts = receiver.until(|posts| posts.len() >= 34).await;
    assert_eq!(orders(&posts)["good"], (0..30).collect::<Vec<_>>());
    assert_eq!(orders(&posts)["bad"], [0, 1, 2, 3], "not before its time");
    worker.stop().await;
    store.close().await;

    // Once more, with a receiver that works, and with shorter pauses than those already stored: these then count as
    // a clock set back.
    mended.store(true, Ordering::SeqCst);
    let (_, _, store) = reopen(folder.path()).await;
    let worker = Worker::start(&store, quick());
    let posts = receiver.until(|posts| posts.len() == 61).await;
    assert_eq!(orders(&posts)["bad"], (0..30).collect::<Vec<_>>());
    assert_eq!(
        posts[34].header("x-webhook-id"),
        posts.iter().find(|post| post.chat() == ("bad".into(), 3)).unwrap().header("x-webhook-id")
    );
    settled(&store).await;
    worker.stop().await;
}

async fn reopen(folder: &Path) -> (u64, Vec<wazap::store::hooks::Lane>, Store) {
    let store = Store::open(folder).unwrap();
    let (hook, lanes) = store.read(|tx| tx.hooks().load(1)).await.unwrap().unwrap();
    (hook.cursor, lanes, store)
}

#[tokio::test]
async fn a_platform_that_was_down_gets_every_message_and_only_the_newest_code() {
    let store = Store::in_memory().unwrap();
    let up = Arc::new(AtomicBool::new(false));
    let answers = up.clone();
    let mut receiver =
        Receiver::start(move |_| Answer::Status(if answers.load(Ordering::SeqCst) { 200 } else { 503 }))
            .await;
    set_platform(&store, receiver.url(), None).await;
    let worker = Worker::start(&store, quick());
    let mut events: Vec<NewEvent> = (0..5).map(|n| instance("qr", n)).collect();
    events.push(instance("connection", 5));
    events.extend((0..10).map(|n| message("chat", n)));
    push(&store, events).await;
    // It is tried until the newest code is known to be the newest.
    receiver.until(|posts| posts.iter().any(|post| post.chat() == (String::new(), 4))).await;
    up.store(true, Ordering::SeqCst);
    settled(&store).await;
    let posts = receiver.posts.borrow().clone();
    let messages: HashSet<u64> =
        posts.iter().map(Post::chat).filter(|(chat, _)| chat == "chat").map(|(_, n)| n).collect();
    assert_eq!(messages, (0..10).collect(), "every message");
    // The first code was posted before anybody knew that nothing arrives; of the others only the last.
    assert_eq!(orders(&posts)["chat"], (0..10).collect::<Vec<_>>());
    assert_eq!(orders(&posts)[""], [0, 4, 5]);
    settled(&store).await;
    worker.stop().await;
}

/// Configures the user's hook; its id.
async fn set_user(store: &Store, url: String, wanted: Option<Wanted>) -> i64 {
    let secret = Some("your_webhook_secret".to_owned());
    let change = Change { url, secret, wanted, active: None, spare_secret: String::new() };
    store.write(move |tx| tx.hooks().set_user(&change, NOW)).await.unwrap().hook.id
}

fn kinds(names: &[&str]) -> Option<Wanted> {
    Some(Wanted::Kinds(names.iter().map(|name| (*name).to_owned()).collect()))
}

async fn paused(store: &Store) -> Option<Pause> {
    store.read(|tx| tx.hooks().user()).await.unwrap().unwrap().paused
}

#[tokio::test]
async fn a_user_gets_the_outgoing_form_signed_and_numbered() {
    let store = Store::in_memory().unwrap();
    let mut answers = VecDeque::from([Answer::Status(500), Answer::Status(200)]);
    let mut receiver = Receiver::start(move |_| answers.pop_front().unwrap()).await;
    set_user(&store, format!("{}/hook?key=1", receiver.url()), None).await;
    let worker = Worker::start(&store, quick());
    let data = serde_json::json!({
        "content": "Olá 👍 / \"ok\"\n\u{1f}\u{7f}\u{2028}<fim>", "media_type": null, "conversation_id": 9_007_199_254_740_991_u64,
    });
    let event = NewEvent { data: data.to_string(), ..message("chat", 1) };
    push(&store, vec![event]).await;
    let posts = receiver.until(|posts| posts.len() == 2).await;
    settled(&store).await;
    worker.stop().await;
    let expected = format!(
        "{{\"event\":\"message.received\",\"instance_uuid\":\"{INSTANCE}\",\"timestamp\":\"2025-12-30T17:30:00+00:00\",\
         \"data\":{{\"content\":\"Olá 👍 / \\\"ok\\\"\\n\\u001f\u{7f}\u{2028}<fim>\",\"media_type\":null,\
         \"conversation_id\":9007199254740991}}}}"
    );
    for (n, post) in posts.iter().enumerate() {
        assert_eq!(String::from_utf8_lossy(&post.body), expected);
        assert_eq!(post.path, "/hook");
        assert_eq!(post.header("content-type"), "application/json");
        assert_eq!(post.header("user-agent"), "Zapini-Webhook/1.0");
        assert_eq!(post.header("x-webhook-event"), "message.received");
        assert_eq!(post.header("x-instance-uuid"), INSTANCE.to_string());
        assert_eq!(post.header("x-webhook-attempt"), (n + 1).to_string());
        assert_eq!(post.header("x-webhook-id"), posts[0].header("x-webhook-id"));
        assert_eq!(post.header("x-webhook-signature").len(), 64);
        let mut mac = Hmac::<Sha256>::new_from_slice(b"your_webhook_secret").unwrap();
        mac.update(&post.body);
        mac.verify_slice(&hex::decode(post.header("x-webhook-signature")).unwrap()).unwrap();
    }
}

#[tokio::test]
async fn a_user_gets_the_kinds_that_were_named() {
    let cases = [
        (None, vec!["message.received", "instance.qr"]),
        (kinds(&["message.reaction"]), vec!["message.reaction"]),
        (Some(Wanted::All), vec!["message.reaction", "message.received", "instance.qr", "chat.updated"]),
    ];
    for (wanted, expected) in cases {
        let store = Store::in_memory().unwrap();
        let mut receiver = Receiver::start(|_| Answer::Status(200)).await;
        set_user(&store, receiver.url(), wanted).await;
        let worker = Worker::start(&store, quick());
        let kind = |kind, n| NewEvent { kind, platform: None, ..message("chat", n) };
        let events =
            ["message.reaction", "message.received", "instance.qr", "chat.updated"].into_iter().zip(0..);
        push(&store, events.map(|(name, n)| kind(name, n)).collect()).await;
        let posts = receiver.until(|posts| posts.len() == expected.len()).await;
        settled(&store).await;
        worker.stop().await;
        let got: Vec<_> = posts.iter().map(|post| post.header("x-webhook-event")).collect();
        assert_eq!(got, expected);
        assert_eq!(receiver.posts.borrow().len(), expected.len());
    }
}

#[tokio::test]
async fn a_users_receiver_that_was_down_gets_everything_in_order() {
    let store = Store::in_memory().unwrap();
    let up = Arc::new(AtomicBool::new(false));
    let answers = up.clone();
    let mut receiver =
        Receiver::start(move |_| Answer::Status(if answers.load(Ordering::SeqCst) { 200 } else { 503 }))
            .await;
    let id = set_user(&store, receiver.url(), Some(Wanted::All)).await;
    let worker = Worker::start(&store, quick());
    for n in 0..20 {
        push(&store, vec![message("a", n), message("b", n), instance("qr", n), instance("connection", n)])
            .await;
    }
    // Long enough for each lane to fail far more often than an event may that is at fault itself.
    receiver.until(|posts| posts.len() >= 60).await;
    up.store(true, Ordering::SeqCst);
    settled(&store).await;
    worker.stop().await;
    let orders = orders(&receiver.posts.borrow());
    assert_eq!(orders["a"], (0..20).collect::<Vec<_>>());
    assert_eq!(orders["b"], (0..20).collect::<Vec<_>>());
    assert_eq!(orders[""], (0..20).collect::<Vec<_>>(), "codes and states too, none superseded");
    assert_eq!(store.read(move |tx| tx.hooks().letters(id, 10)).await.unwrap(), (vec![], 0));
}

#[tokio::test]
async fn a_poisonous_event_goes_aside_and_can_be_sent_again() {
    let store = Store::in_memory().unwrap();
    let mended = Arc::new(AtomicBool::new(false));
    let works = mended.clone();
    let mut receiver = Receiver::start(move |post| match post.chat() {
        (chat, 0) if chat == "bad" && !works.load(Ordering::SeqCst) => Answer::Status(500),
        _ => Answer::Status(200),
    })
    .await;
    let id = set_user(&store, receiver.url(), None).await;
    let worker = Worker::start(&store, quick());
    push(&store, vec![message("bad", 0), message("bad", 1)]).await;
    // Others arrive between its attempts.
    for n in 0.. {
        push(&store, vec![message("good", n)]).await;
        receiver.until(|posts| posts.iter().any(|post| post.chat() == ("good".into(), n))).await;
        if receiver.posts.borrow().iter().any(|post| post.chat() == ("bad".into(), 1)) {
            break;
        }
    }
    settled(&store).await;
    let (letters, count) = store.read(move |tx| tx.hooks().letters(id, 10)).await.unwrap();
    let bad = |posts: &[Post]| {
        let bad = |post: &&Post| post.chat() == ("bad".into(), 0);
        posts.iter().filter(bad).map(|post| post.header("x-webhook-id").to_owned()).collect::<Vec<_>>()
    };
    let failures = bad(&receiver.posts.borrow());
    assert!(failures.len() >= 6, "only {}", failures.len());
    assert_eq!((count, letters[0].event.seq, letters[0].error.as_str()), (1, 1, "http 500"));
    assert_eq!(letters[0].attempts as usize, failures.len());

    // Once more in vain: it stays.
    let redeliver = || store.write(move |tx| tx.hooks().redeliver(id));
    assert_eq!(redeliver().await.unwrap(), Some(1));
    receiver.until(|posts| bad(posts).len() == failures.len() + 1).await;
    // Even when the log has forgotten it.
    mended.store(true, Ordering::SeqCst);
    store.write(|tx| tx.events().prune(NOW + Duration::from_secs(1), 1)).await.unwrap();
    assert!(store.read(|tx| tx.events().find(1)).await.unwrap().is_none());
    loop {
        redeliver().await.unwrap();
        tokio::task::yield_now().await;
        if store.read(move |tx| tx.hooks().letters(id, 10)).await.unwrap().1 == 0 {
            break;
        }
    }
    let ids = bad(&receiver.posts.borrow());
    assert!(ids.iter().all(|id| *id == ids[0]), "the same id each time");
    worker.stop().await;
}

#[tokio::test]
async fn gone_pauses_a_users_hook_and_loses_nothing() {
    let store = Store::in_memory().unwrap();
    let mut answers = VecDeque::from([Answer::Status(410)]);
    let mut receiver = Receiver::start(move |_| answers.pop_front().unwrap_or(Answer::Status(200))).await;
    let id = set_user(&store, receiver.url(), None).await;
    let worker = Worker::start(&store, Options { user_retry: Retry::user(), ..quick() });
    push(&store, vec![message("chat", 0)]).await;
    let mut changed = store.hooks_changed();
    while paused(&store).await.is_none() {
        changed.changed().await.unwrap();
    }
    assert_eq!(paused(&store).await, Some(Pause::Gone));
    push(&store, vec![message("chat", 1)]).await;
    assert!(store.write(move |tx| tx.hooks().resume(id)).await.unwrap());
    // At once, and not when it would have been tried again.
    let posts = receiver.until(|posts| posts.len() == 3).await;
    assert_eq!(posts.iter().map(|post| post.chat().1).collect::<Vec<_>>(), [0, 0, 1]);
    assert!(!store.write(move |tx| tx.hooks().pause(9, Pause::Requested)).await.unwrap());
    worker.stop().await;
}

#[tokio::test]
async fn a_pause_that_the_receiver_asks_for_is_kept() {
    let store = Store::in_memory().unwrap();
    let mut answers = VecDeque::from([Answer::Later(600)]);
    let mut receiver = Receiver::start(move |_| answers.pop_front().unwrap_or(Answer::Status(200))).await;
    let id = set_user(&store, receiver.url(), None).await;
    let user_retry = Retry { obey: Duration::from_hours(1), ..quick().user_retry };
    let worker = Worker::start(&store, Options { user_retry, ..quick() });
    let before = Millis::now();
    push(&store, vec![message("asks", 0)]).await;
    receiver.until(|posts| posts.len() == 1).await;
    push(&store, (0..20).map(|n| message("other", n)).collect()).await;
    receiver.until(|posts| posts.len() == 21).await;
    worker.stop().await;
    let (_, lanes) = store.read(move |tx| tx.hooks().load(id)).await.unwrap().unwrap();
    assert!(lanes[0].next_at >= before + Duration::from_secs(600), "{lanes:?}");
    assert_eq!(receiver.posts.borrow().len(), 21);
}

#[tokio::test]
async fn a_rewound_hook_gets_the_same_again_under_the_same_ids() {
    let store = Store::in_memory().unwrap();
    let mut receiver = Receiver::start(|_| Answer::Status(200)).await;
    let id = set_user(&store, receiver.url(), None).await;
    let worker = Worker::start(&store, quick());
    push(&store, (0..10).map(|n| message("chat", n)).collect()).await;
    receiver.until(|posts| posts.len() == 10).await;
    settled(&store).await;
    let rewind = |to| store.write(move |tx| tx.hooks().rewind(id, to));
    assert_eq!(rewind(Place::Seq(8)).await.unwrap(), Some(8));
    let posts = receiver.until(|posts| posts.len() == 13).await;
    settled(&store).await;
    let ids =
        |posts: &[Post]| posts.iter().map(|post| post.header("x-webhook-id").to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&posts[7..10]), ids(&posts[10..]));
    assert_eq!(rewind(Place::Time(NOW)).await.unwrap(), Some(1));
    let posts = receiver.until(|posts| posts.len() == 23).await;
    settled(&store).await;
    assert_eq!(ids(&posts[..10]), ids(&posts[13..]));
    // To the future, and to what does not exist: nothing is skipped.
    assert_eq!(rewind(Place::Time(NOW + Duration::from_secs(1))).await.unwrap(), Some(11));
    assert_eq!(rewind(Place::Seq(u64::MAX)).await.unwrap(), Some(11));
    assert_eq!(store.write(move |tx| tx.hooks().rewind(99, Place::Seq(1))).await.unwrap(), None);
    push(&store, vec![message("chat", 10)]).await;
    receiver.until(|posts| posts.len() == 24).await;
    worker.stop().await;
}

#[tokio::test]
async fn what_a_hook_has_not_had_is_counted() {
    let store = Store::in_memory().unwrap();
    let receiver = Receiver::start(|_| Answer::Status(200)).await;
    let id = set_user(&store, receiver.url(), kinds(&["message.received"])).await;
    set_platform(&store, receiver.url(), None).await;
    push(&store, vec![message("a", 0), instance("qr", 0), message("b", 0), message("a", 1)]).await;
    let lag = |id| {
        let store = store.clone();
        async move { store.read(move |tx| tx.hooks().lag(id, NOW + Duration::from_secs(90))).await.unwrap() }
    };
    assert_eq!((lag(id).await.events, lag(id).await.age), (3, Duration::from_secs(90)));
    assert_eq!(lag(2).await.events, 4);
    // One lane ahead of the cursor, one behind it.
    use wazap::store::hooks::{Lane, Progress};
    let lane = |lane: &str, done, behind| Lane {
        lane: lane.into(),
        done,
        behind,
        attempts: 0,
        strikes: 0,
        next_at: Millis(0),
        error: None,
    };
    let progress = Progress {
        epoch: 0,
        cursor: 3,
        set: vec![lane("a", 4, false), lane("b", 0, true)],
        ..Progress::default()
    };
    store.write(move |tx| tx.hooks().progress(id, &progress)).await.unwrap();
    assert_eq!(lag(id).await.events, 1);
    // Deactivated, it forgets them.
    let change = |active| Change {
        url: "http://127.0.0.1:1".into(),
        secret: None,
        wanted: None,
        active: Some(active),
        spare_secret: String::new(),
    };
    for active in [false, true] {
        let change = change(active);
        let configured = store.write(move |tx| tx.hooks().set_user(&change, NOW)).await.unwrap();
        assert!(!configured.generated && configured.hook.secret.is_some());
        assert_eq!(configured.hook.wanted.names(), ["message.received"]);
    }
    assert_eq!(lag(id).await, wazap::store::hooks::Lag::default());
    assert_eq!(lag(2).await.events, 4);
}

/// Of two receivers one is as bad as can be: it hangs, refuses, and takes what it says it does not. The other hears of
/// everything at once, and the bad one loses nothing either.
#[tokio::test]
async fn a_receiver_that_is_as_bad_as_can_be_delays_no_other_and_loses_nothing() {
    let store = Store::in_memory().unwrap();
    let mut rng = StdRng::seed_from_u64(11);
    let well = Arc::new(AtomicBool::new(false));
    let recovered = well.clone();
    let mut bad = Receiver::start(move |_| {
        if recovered.load(Ordering::SeqCst) {
            return Answer::Status(200);
        }
        match rng.random_range(0..4) {
            0 => Answer::Hang,
            1 => Answer::Later(1),
            _ => Answer::Status([500, 502, 404, 429, 302, 408][rng.random_range(0..6)]),
        }
    })
    .await;
    let mut good = Receiver::start(|_| Answer::Status(200)).await;
    set_platform(&store, bad.url(), None).await;
    set_user(&store, good.url(), kinds(&["message.received"])).await;
    let worker = Worker::start(&store, Options { timeout: Duration::from_millis(300), ..quick() });
    let chats = ["a", "b", "c", "d"];
    for n in 0..50 {
        push(&store, chats.iter().map(|chat| message(chat, n)).collect()).await;
    }
    // Nothing was taken by the one, and all by the other.
    let posts = good.until(|posts| posts.len() == 200).await;
    let whole: Vec<u64> = (0..50).collect();
    for chat in chats {
        assert_eq!(orders(&posts)[chat], whole, "chat {chat} at the good one");
    }
    well.store(true, Ordering::SeqCst);
    let last = |chat: &'static str| move |post: &Post| post.chat() == (chat.to_owned(), 49);
    let posts = bad.until(|posts| chats.iter().all(|chat| posts.iter().any(last(chat)))).await;
    settled(&store).await;
    worker.stop().await;
    for chat in chats {
        assert_eq!(orders(&posts)[chat], whole, "chat {chat} at the bad one");
    }
}

/// Time goes on by hand only: whatever happens in between happens in no time.
struct ByHand {
    _hold: std::sync::mpsc::Sender<()>,
}

impl ByHand {
    fn new() -> Self {
        tokio::time::pause();
        // The clock does not jump by itself while something blocks.
        let (hold, held) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || held.recv().is_err());
        Self { _hold: hold }
    }

    async fn pass(&self, store: &Store, time: Duration) {
        tokio::time::advance(time).await;
        // Whoever was waiting for it gets its turn.
        for _ in 0..20 {
            store.write(|_| Ok::<_, Error>(())).await.unwrap();
            tokio::task::yield_now().await;
        }
    }
}

/// One receiver is down for a whole day; the other one gets everything at once. The log may forget what is an hour old, and
/// does not forget this.
async fn down_for_a_day(platform_is_down: bool) {
    const ROUNDS: u64 = 48;
    const CHATS: u64 = 25;
    let store = Store::in_memory().unwrap();
    let clock = ByHand::new();
    let up = Arc::new(AtomicBool::new(false));
    let (answers, mut asked) = (up.clone(), 0);
    let bad = Receiver::start(move |_| {
        asked += 1;
        if answers.load(Ordering::SeqCst) {
            return Answer::Status(200);
        }
        if asked % 3 == 0 { Answer::Hang } else { Answer::Status(503) }
    })
    .await;
    let mut good = Receiver::start(|_| Answer::Status(200)).await;
    let (platform, user) = if platform_is_down { (&bad, &good) } else { (&good, &bad) };
    set_platform(&store, platform.url(), None).await;
    set_user(&store, user.url(), kinds(&["message.received"])).await;
    let worker = Worker::start(&store, Options::new(INSTANCE));
    let keep = Keep { at_least: Duration::from_secs(3600), at_most: 1_000_000 };
    let stop = CancellationToken::new();
    let retention = tokio::spawn(webhook::retain(store.clone(), keep, stop.clone()));
    let mut pushed = 0;
    for n in 0..ROUNDS {
        push(&store, (0..CHATS).map(|chat| message(&chat.to_string(), n)).collect()).await;
        pushed += CHATS as usize;
        // Not a moment passes.
        good.until(|posts| posts.len() == pushed).await;
        clock.pass(&store, Duration::from_secs(24 * 3600 / ROUNDS)).await;
    }
    let tried = bad.posts.borrow().len();
    assert!(tried >= 24, "tried only {tried} times in a day");
    up.store(true, Ordering::SeqCst);
    let all = |posts: &[Post]| orders(posts).values().map(Vec::len).sum::<usize>() == pushed;
    let mut minutes = 0;
    while !all(&bad.posts.borrow()[tried..]) {
        assert!(minutes < 180, "not even three hours later: {} posts", bad.posts.borrow().len());
        clock.pass(&store, Duration::from_secs(60)).await;
        minutes += 1;
    }
    let whole: Vec<u64> = (0..ROUNDS).collect();
    for (who, posts) in [("bad", &bad.posts.borrow()[tried..]), ("good", &good.posts.borrow()[..])] {
        let orders = orders(posts);
        for chat in 0..CHATS {
            assert_eq!(orders[&chat.to_string()], whole, "chat {chat} at the {who} one");
        }
    }
    settled(&store).await;
    assert_eq!(good.posts.borrow().len(), pushed, "nothing twice");
    let dropped = store.read(|tx| tx.events().read_after(0, 10, &["events.dropped".into()])).await.unwrap();
    assert_eq!(dropped.events.len(), 0);
    let letters = store.read(|tx| tx.hooks().letters(2, 10)).await.unwrap();
    assert_eq!(letters, (vec![], 0), "it was the receiver, and no event of them");
    // Now that everybody has had it, it may go.
    for _ in 0..3 {
        clock.pass(&store, Duration::from_secs(3600)).await;
    }
    let kept = store.read(|tx| tx.events().read_after(0, 5_000, &[])).await.unwrap().events.len();
    assert_eq!(kept, 0, "the log was never tidied");
    stop.cancel();
    worker.stop().await;
    retention.await.unwrap();
}

#[tokio::test]
async fn a_platform_that_is_down_for_a_day_gets_everything_and_delays_nobody() {
    down_for_a_day(true).await;
}

#[tokio::test]
async fn a_users_receiver_that_is_down_for_a_day_gets_everything_and_delays_nobody() {
    down_for_a_day(false).await;
}
