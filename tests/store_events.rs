//! The event log: pages and filters, and what retention keeps for whom.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::time::Duration;

use wazap::{
    clock::Millis,
    store::{
        Error, Store,
        events::{NewEvent, PRUNE_STEP, Pruned},
        hooks::{Lane, Progress},
    },
};

const NOW: Millis = Millis(1_767_115_800_000);

fn at(seq: u64) -> Millis {
    NOW + Duration::from_secs(seq)
}

/// Event `n` happens at second `n`, in chat `n % 3`; every fourth is not for the platform.
async fn fill(store: &Store, count: u64) {
    store
        .write(move |tx| {
            for n in 1..=count {
                let kind = if n % 2 == 0 { "message.status" } else { "message.received" };
                let event = NewEvent {
                    kind,
                    lane: (n % 3 != 0).then(|| format!("chat {}", n % 3)),
                    data: n.to_string(),
                    platform: (n % 4 != 0).then(|| ("incoming", n.to_string())),
                };
                assert_eq!(tx.events().push(&event, at(n))?, n);
            }
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
}

async fn prune(store: &Store, older_than: Millis, max_rows: u64) -> (Pruned, Option<u64>) {
    store
        .write(move |tx| Ok::<_, Error>((tx.events().prune(older_than, max_rows)?, tx.events().oldest()?)))
        .await
        .unwrap()
}

#[tokio::test]
async fn pages_follow_each_other_and_filters_skip_without_rereading() {
    let store = Store::in_memory().unwrap();
    let read = async |after, limit, kinds: &[&str]| {
        let kinds: Vec<String> = kinds.iter().map(|kind| (*kind).into()).collect();
        let page = store.read(move |tx| tx.events().read_after(after, limit, &kinds)).await.unwrap();
        (page.events.iter().map(|event| event.seq).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(read(0, 10, &[]).await, (vec![], 0));
    fill(&store, 9).await;
    assert_eq!(read(0, 4, &[]).await, (vec![1, 2, 3, 4], 4));
    assert_eq!(read(4, 10, &[]).await, (vec![5, 6, 7, 8, 9], 9));
    assert_eq!(read(0, 2, &["message.status"]).await, (vec![2, 4], 4));
    assert_eq!(read(4, 9, &["message.status"]).await, (vec![6, 8], 9), "what was left out is not read again");
    assert_eq!(read(0, 9, &["call.received"]).await, (vec![], 9));
    assert_eq!(read(50, 9, &[]).await, (vec![], 50));
    let page = store.read(|tx| tx.events().read_after(2, 2, &[])).await.unwrap();
    let [own, chat] = &page.events[..] else { panic!("two events") };
    assert_eq!((own.lane.as_deref(), own.at, own.data.as_str()), (None, at(3), "3"));
    assert_eq!(chat.lane.as_deref(), Some("chat 1"));
}

#[tokio::test]
async fn numbers_are_never_used_again() {
    let store = Store::in_memory().unwrap();
    fill(&store, 5).await;
    let (pruned, oldest) = prune(&store, at(100), 1000).await;
    assert_eq!((pruned, oldest), (Pruned { removed: 5, undelivered: 0, more: false }, None));
    let event = NewEvent { kind: "instance.qr", lane: None, data: "{}".into(), platform: None };
    assert_eq!(store.write(move |tx| tx.events().push(&event, NOW)).await.unwrap(), 6);
}

#[tokio::test]
async fn retention_waits_for_a_hook_but_not_beyond_the_bound() {
    let store = Store::in_memory().unwrap();
    let hook = store.write(|tx| tx.hooks().set_platform("http://127.0.0.1:1", None, NOW)).await.unwrap();
    fill(&store, 100).await;
    // Age alone removes nothing that the hook has not had.
    assert_eq!(prune(&store, at(51), 1000).await, (Pruned::default(), Some(1)));
    let lane = |lane: &str, done, behind| Lane {
        lane: lane.into(),
        done,
        behind,
        strikes: 0,
        attempts: 3,
        next_at: NOW,
        error: Some("http 500".into()),
    };
    let progress = |cursor, set| Progress { cursor, set, ..Progress::default() };
    let step = progress(60, vec![lane("chat 1", 22, true), lane("chat 2", 71, false)]);
    store.write(move |tx| tx.hooks().progress(hook, &step)).await.unwrap();
    // Of the hook's cursor (60), the failing lane (22) and the age (50), the smallest decides.
    let (pruned, oldest) = prune(&store, at(51), 1000).await;
    assert_eq!((pruned, oldest), (Pruned { removed: 22, undelivered: 0, more: false }, Some(23)));
    // At the bound the oldest go. Up to 65, chat 1 (numbers 1 mod 3) still misses 25 to 64, and beyond the cursor
    // nothing of the lane without a row (0 mod 3) was delivered: 63. Numbers of the fourth kind are not for it.
    let missed = (23..=65).filter(|n| n % 4 != 0 && (n % 3 == 1 || (n % 3 == 0 && *n > 60))).count() as u64;
    let (pruned, oldest) = prune(&store, at(51), 35).await;
    assert_eq!((pruned, oldest), (Pruned { removed: 43, undelivered: missed, more: false }, Some(66)));
    let (found, lanes) = store.read(move |tx| tx.hooks().load(hook)).await.unwrap().unwrap();
    assert_eq!(found.cursor, 65);
    let lanes: Vec<_> = lanes.iter().map(|lane| (lane.lane.as_str(), lane.done, lane.attempts)).collect();
    assert_eq!(lanes, [("chat 1", 65, 0), ("chat 2", 71, 3)]);
    // Without the hook nothing holds them.
    assert!(store.write(|tx| tx.hooks().remove_platform()).await.unwrap());
    assert_eq!(prune(&store, at(91), 1000).await.1, Some(91));
}

#[tokio::test]
async fn a_long_log_is_removed_in_steps() {
    let store = Store::in_memory().unwrap();
    fill(&store, PRUNE_STEP + 10).await;
    let (pruned, oldest) = prune(&store, at(PRUNE_STEP + 6), 1_000_000).await;
    assert_eq!((pruned.removed, pruned.more, oldest), (PRUNE_STEP, true, Some(PRUNE_STEP + 1)));
    let (pruned, oldest) = prune(&store, at(PRUNE_STEP + 6), 1_000_000).await;
    assert_eq!((pruned.removed, pruned.more, oldest), (5, false, Some(PRUNE_STEP + 6)));
}

#[tokio::test]
async fn a_hook_starts_at_the_present_and_keeps_its_place_when_it_moves() {
    let store = Store::in_memory().unwrap();
    fill(&store, 7).await;
    let mut changed = store.hooks_changed();
    let set = async |url: &'static str, secret: Option<&'static str>| {
        let id = store.write(move |tx| tx.hooks().set_platform(url, secret, NOW)).await.unwrap();
        (id, store.read(move |tx| tx.hooks().load(id)).await.unwrap().unwrap().0.cursor)
    };
    let (id, cursor) = set("https://one.example", None).await;
    assert_eq!(cursor, 7);
    assert!(changed.has_changed().unwrap());
    fill_more(&store).await;
    changed.mark_unchanged();
    assert_eq!(set("https://one.example", None).await, (id, 7));
    assert!(!changed.has_changed().unwrap(), "the same again is no change");
    assert_eq!(set("https://two.example", Some("secret")).await, (id, 7));
    assert!(changed.has_changed().unwrap());
    let hook = store.read(|tx| tx.hooks().list()).await.unwrap().remove(0);
    assert_eq!((hook.url.as_str(), hook.secret.as_deref()), ("https://two.example", Some("secret")));
    assert!(!format!("{hook:?}").contains("secret") && !format!("{hook:?}").contains("two.example"));
}

async fn fill_more(store: &Store) {
    let event = NewEvent { kind: "instance.qr", lane: None, data: "{}".into(), platform: None };
    store.write(move |tx| tx.events().push(&event, NOW)).await.unwrap();
}
