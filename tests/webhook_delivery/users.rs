//! A user's own webhook: what it is sent, what goes aside, pauses, and how to get something again.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use wazap::{
    clock::Millis,
    store::{
        Store,
        events::NewEvent,
        hooks::{Change, Pause, Place, Wanted},
    },
    webhook::{Options, Retry},
};

use super::support::{
    Answer, INSTANCE, NOW, Post, Receiver, Worker, instance, kinds, message, orders, paused, push, quick,
    set_platform, set_user, settled,
};

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
