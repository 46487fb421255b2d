//! Tokens, idempotency keys and the audit, also from a second process's point of view.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{collections::HashSet, time::Duration};

use rand::{SeedableRng as _, rngs::StdRng};
use wazap::{
    clock::Millis,
    store::{
        Error, Store,
        access::IdempotencyKey,
        tokens::{Caller, Configured, NewToken, Scope, Scopes, Secret},
    },
};

const NOW: Millis = Millis(1_767_115_800_000);

fn new(name: &str, expires: Option<Millis>) -> NewToken {
    NewToken { name: name.into(), scopes: "send,read".parse().unwrap(), expires }
}

async fn create(store: &Store, secret: Secret, new: NewToken) -> i64 {
    store.write(move |tx| tx.tokens().create(&secret, &new, "command line", NOW)).await.unwrap()
}

#[test]
fn tokens_have_the_form_of_the_contract_and_never_repeat() {
    let mut rng = StdRng::seed_from_u64(7);
    let tokens: HashSet<String> = (0..100).map(|_| Secret::random(&mut rng).expose().to_owned()).collect();
    assert_eq!(tokens.len(), 100);
    for token in &tokens {
        let secret = token.strip_prefix("sk_").unwrap();
        assert!(secret.len() == 40 && secret.bytes().all(|b| b.is_ascii_alphanumeric()), "{token}");
    }
    let secret = Secret::random(&mut rng);
    assert!(!format!("{secret:?}").contains(&secret.expose()[3..]));
}

#[tokio::test]
async fn a_token_made_and_revoked_beside_a_running_instance_counts_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let instance = Store::open(folder.path()).unwrap();
    let beside = Store::open_beside(folder.path(), None).unwrap();
    let secret = Secret::random(&mut StdRng::seed_from_u64(1));
    let token = secret.expose().to_owned();
    assert_eq!(instance.authenticate(&token, NOW).await.unwrap(), None);

    let id = create(&beside, secret, new("bot", None)).await;
    let caller = instance.authenticate(&token, NOW).await.unwrap().unwrap();
    assert_eq!(
        caller,
        Caller { id, name: "bot".into(), scopes: [Scope::Send, Scope::Read].into_iter().collect() }
    );
    assert!(!caller.scopes.contains(Scope::Manage));
    assert_eq!(instance.authenticate("sk_other", NOW).await.unwrap(), None);

    let revoke = move |tx: &mut wazap::store::Tx<'_>| tx.tokens().revoke(id, "command line", NOW);
    assert!(beside.write(revoke).await.unwrap());
    assert_eq!(instance.authenticate(&token, NOW).await.unwrap(), None);
    assert!(!beside.write(revoke).await.unwrap(), "only once");
    let (listed, any, audit) = instance
        .read(|tx| Ok::<_, Error>((tx.tokens().list()?, tx.tokens().any()?, tx.audit().newest(10)?)))
        .await
        .unwrap();
    assert!(listed.is_empty() && any);
    let acts: Vec<_> = audit.iter().map(|row| (row.actor.as_str(), row.action.as_str())).collect();
    assert_eq!(acts, [("command line", "token.revoke"), ("command line", "token.create")]);
}

#[tokio::test]
async fn only_a_hash_reaches_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let secret = Secret::random(&mut StdRng::seed_from_u64(1));
    let token = secret.expose().to_owned();
    create(&store, secret, new("bot", None)).await;
    store.authenticate(&token, NOW).await.unwrap().unwrap();
    store.close().await;
    let file = std::fs::read(folder.path().join("instance.db")).unwrap();
    assert!(!file.windows(20).any(|part| part == &token.as_bytes()[3..23]));
}

#[tokio::test]
async fn a_token_expires_and_its_use_is_noted_once_a_minute() {
    let store = Store::in_memory().unwrap();
    let secret = Secret::random(&mut StdRng::seed_from_u64(1));
    let token = secret.expose().to_owned();
    let expires = NOW + Duration::from_secs(3600);
    create(&store, secret, new("short", Some(expires))).await;
    let last_used = async || store.read(|tx| tx.tokens().list()).await.unwrap()[0].last_used;
    assert_eq!(last_used().await, None);
    for (seconds, noted) in [(0, 0), (59, 0), (60, 60), (119, 60), (3599, 3599)] {
        let at = NOW + Duration::from_secs(seconds);
        assert!(store.authenticate(&token, at).await.unwrap().is_some());
        assert_eq!(last_used().await, Some(NOW + Duration::from_secs(noted)), "after {seconds} s");
    }
    assert_eq!(store.authenticate(&token, expires).await.unwrap(), None);
}

#[test]
fn the_configured_token_is_nobody_elses() {
    let configured = Configured::new("sk_mine");
    let caller = configured.verify("sk_mine").unwrap();
    assert_eq!((caller.id, caller.scopes), (Configured::ID, Scopes::ALL));
    assert!(configured.verify("sk_mine2").is_none() && configured.verify("").is_none());
    assert!(!format!("{configured:?}").contains("mine"));
}

#[tokio::test]
async fn tokens_can_be_made_before_the_first_run() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let secret = Secret::random(&mut StdRng::seed_from_u64(1));
    let token = secret.expose().to_owned();
    let beside = Store::open_beside(&folder, None).unwrap();
    create(&beside, secret, new("early", None)).await;
    // The command line is still open; the instance starts all the same.
    let instance = Store::open(&folder).unwrap();
    assert_eq!(instance.authenticate(&token, NOW).await.unwrap().unwrap().name, "early");
}

#[tokio::test]
async fn writers_of_two_processes_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let instance = Store::open(folder.path()).unwrap();
    let beside = Store::open_beside(folder.path(), None).unwrap();
    let write = async |store: &Store, name: &'static str| {
        for n in 0..50 {
            store.write(move |tx| tx.settings().set(&format!("{name} {n}"), "")).await?;
        }
        Ok::<_, Error>(())
    };
    let (one, other) = futures_util::future::join(write(&instance, "one"), write(&beside, "other")).await;
    one.unwrap();
    other.unwrap();
    assert!(instance.read(|tx| tx.settings().get("other 49")).await.unwrap().is_some());
}

#[tokio::test]
async fn an_idempotency_key_is_remembered_for_a_day() {
    let store = Store::in_memory().unwrap();
    let key = |token, body| IdempotencyKey { token, key: "order 17".into(), body_hash: [body; 32] };
    let day = Duration::from_hours(24);
    let bind = async |key: IdempotencyKey, id: &'static str, at| {
        store.write(move |tx| tx.idempotency().bind(&key, id, false, at)).await.unwrap();
    };
    let find = async |key: IdempotencyKey, at| {
        store
            .read(move |tx| tx.idempotency().find(&key, at))
            .await
            .unwrap()
            .map(|bound| (bound.message_id, bound.body_hash))
    };
    assert_eq!(find(key(1, 1), NOW).await, None);
    bind(key(1, 1), "3EB0AA", NOW).await;
    let bound = Some(("3EB0AA".to_owned(), [1; 32]));
    assert_eq!(find(key(1, 1), NOW).await, bound);
    assert_eq!(find(key(1, 2), NOW).await, bound, "the body is for the caller to compare");
    assert_eq!(find(key(2, 1), NOW).await, None, "another token, another key");
    assert_eq!(find(key(1, 1), Millis(NOW.0 + 86_399_999)).await, bound);
    assert_eq!(find(key(1, 1), NOW + day).await, None);
    bind(key(1, 3), "3EB0BB", NOW + day).await;
    assert_eq!(find(key(1, 3), NOW + day).await, Some(("3EB0BB".to_owned(), [3; 32])));
    let pruned = async |at| store.write(move |tx| tx.idempotency().prune(at)).await.unwrap();
    assert_eq!(pruned(NOW + day).await, 0);
    assert_eq!(pruned(NOW + 2 * day).await, 1);
}
