//! Of two receivers one is in trouble, for long: the other one hears of everything at once, and nothing is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio_util::sync::CancellationToken;
use wazap::{
    store::{Error, Store},
    webhook::{self, Keep, Options},
};

use super::support::{
    Answer, INSTANCE, Post, Receiver, Worker, kinds, message, orders, push, quick, set_platform, set_user,
    settled,
};

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
