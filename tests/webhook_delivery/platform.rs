//! The platform's webhooks: what a post carries, order, failures, restarts.

use std::{
    collections::{HashSet, VecDeque},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sha2::Sha256;
use uuid::Uuid;
use wazap::{
    store::{Store, events::NewEvent},
    webhook::{Options, Retry},
};

use super::support::{
    Answer, INSTANCE, Post, Receiver, Worker, instance, message, orders, push, quick, set_platform, settled,
};

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
