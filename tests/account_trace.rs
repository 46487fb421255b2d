//! What happened to one message, step by step: out, in, in after trouble, and what is known of its posts to hooks.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, ECHO, Pair};
use serde_json::Value;
use wazap::{
    account::Viewer,
    clock::Millis,
    store::{
        hooks::{Change, NewLetter, Pause, Progress, Wanted},
        trace::Attempt,
    },
    wire::Jid,
};

fn trace(pair: &Pair, id: &str) -> Vec<Value> {
    let id = id.to_owned();
    let steps = pair.store(move |tx| {
        let message = tx.messages().find_anywhere(&id)?.unwrap();
        Viewer::new(tx, "")?.trace(&message)
    });
    steps.as_array().unwrap().clone()
}

fn names(steps: &[Value]) -> Vec<&str> {
    steps.iter().map(|step| step["step"].as_str().unwrap()).collect()
}

fn step<'a>(steps: &'a [Value], name: &str) -> &'a Value {
    steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("{name}: {steps:?}"))
}

fn in_order(steps: &[Value]) -> bool {
    let times: Vec<&str> = steps.iter().filter_map(|step| step["at"].as_str()).collect();
    times.is_sorted()
        && steps.iter().skip_while(|step| !step["at"].is_null()).all(|step| step["at"].is_null())
}

#[test]
fn a_send_is_followed_from_its_row_to_the_readers() {
    let mut pair = Pair::linked(61);
    let id = pair.send(ALICE, "hello");
    pair.pass(Duration::from_secs(2));
    let read = pair.inbox_of(ALICE).pop().unwrap().0;
    pair.lab.read(ALICE, &read, pair.now).unwrap();
    pair.drive();
    let steps = trace(&pair, &id);
    assert!(in_order(&steps), "{steps:?}");
    let done: Vec<&str> = names(&steps).into_iter().filter(|step| *step != "event").collect();
    assert_eq!(done, ["accepted", "encrypted", "acknowledged", "delivered", "read"]);
    // Alice's phone and the own one.
    assert_eq!(step(&steps, "encrypted")["devices"], 2);
    assert_eq!(step(&steps, "read")["phone"], ALICE);
    let told: Vec<_> = steps.iter().filter(|step| step["step"] == "event").collect();
    assert_eq!(told[0]["type"], "message.sent");
    let statuses: Vec<_> = told.iter().filter_map(|step| step["status"].as_str()).collect();
    assert_eq!(statuses, ["sent", "delivered", "read"]);
    let seqs: Vec<u64> = told.iter().map(|step| step["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted() && seqs[0] > 0);
}

#[test]
fn a_send_that_cannot_leave_says_what_it_waits_for() {
    let mut pair = Pair::linked(62);
    let known = pair.send(ALICE, "hello");
    pair.deaf = true;
    let id = pair.send(ALICE, "is anybody there?");
    let steps = trace(&pair, &id);
    assert_eq!(steps.last().unwrap()["step"], "waiting");
    assert_eq!(steps.last().unwrap()["for"], "acknowledgement");
    assert!(steps.last().unwrap()["at"].is_null());
    assert!(!names(&trace(&pair, &known)).contains(&"waiting"));
}

#[test]
fn a_message_that_could_not_be_read_at_first_says_so() {
    let mut pair = Pair::linked(63);
    let easy = pair.phone_sends(ALICE, "one");
    pair.drive();
    pair.send(ALICE, "answer");
    pair.phone_sends(ALICE, "two");
    pair.drive();
    pair.store(|tx| {
        let address = tx.people().signal_address(&Jid::pn(ALICE))?;
        tx.signal().forget(&address)
    });
    let hard = pair.phone_sends(ALICE, "three");
    pair.pass(Duration::from_secs(5));
    assert_eq!(names(&trace(&pair, &easy)), ["sent", "received", "event"]);
    let steps = trace(&pair, &hard);
    let done: Vec<&str> = names(&steps).into_iter().filter(|step| *step != "event").collect();
    assert_eq!(done, ["sent", "undecryptable", "received"]);
    let trouble = step(&steps, "undecryptable");
    assert_eq!((&trouble["attempts"], &trouble["reason"]), (&1.into(), &"no_session".into()));
    let told: Vec<_> = steps
        .iter()
        .filter(|step| step["step"] == "event")
        .map(|step| step["type"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["message.undecryptable", "message.received"]);
    // Another chat's messages are another chat's.
    assert!(names(&trace(&pair, &easy)).iter().all(|step| *step != "undecryptable"));
}

#[test]
fn posts_to_hooks_are_told_with_what_is_still_to_come() {
    let mut pair = Pair::linked(64);
    let start = pair.now;
    let hook = pair.store(move |tx| {
        let change = Change {
            url: "https://hooks.example/x".into(),
            secret: None,
            wanted: Some(Wanted::All),
            active: None,
            spare_secret: "spare".into(),
        };
        Ok(tx.hooks().set_user(&change, start)?.hook)
    });
    let id = pair.phone_sends(ECHO, "hello");
    pair.drive();
    let steps = trace(&pair, &id);
    let (seq, waiting) = (step(&steps, "event")["seq"].as_u64().unwrap(), steps.last().unwrap().clone());
    assert_eq!((&waiting["step"], &waiting["result"]), (&"webhook".into(), &"waiting".into()));
    assert_eq!((&waiting["hook"], &waiting["kind"]), (&hook.id.into(), &"user".into()));

    let attempt = move |n: u32, result: &str, next: Option<u64>| Attempt {
        seq,
        at: Millis(start.0 + 60_000 * u64::from(n)),
        attempt: n,
        took: Duration::from_millis(12),
        result: result.into(),
        next_at: next.map(|seconds| start + Duration::from_secs(seconds)),
    };
    let stored = Progress { epoch: hook.epoch, cursor: hook.cursor, ..Progress::default() };
    let failing = stored.clone();
    pair.store(move |tx| {
        let attempts = (1..=50).map(|n| attempt(n, "http 500", Some(u64::from(n + 1) * 60))).collect();
        tx.hooks().progress(hook.id, &Progress { attempts, ..failing })
    });
    let posts = |pair: &Pair| -> Vec<Value> {
        trace(pair, &id)
            .into_iter()
            .filter(|step| step["step"] == "webhook" && !step["at"].is_null())
            .collect()
    };
    let failed = posts(&pair);
    let numbers: Vec<u64> = failed.iter().map(|post| post["attempt"].as_u64().unwrap()).collect();
    assert_eq!(numbers.len(), 21, "the first, and the latest twenty");
    assert_eq!((numbers[0], numbers[1], numbers[20]), (1, 31, 50));
    assert_eq!((&failed[0]["result"], &failed[0]["took_ms"]), (&"http 500".into(), &12.into()));
    assert!(failed[0]["next_at"].is_string());

    pair.store(move |tx| tx.hooks().pause(hook.id, Pause::Requested));
    assert_eq!(trace(&pair, &id).last().unwrap()["paused"], "requested");

    // Put aside, and delivered in the end.
    let aside = NewLetter { seq, at: start, attempts: 50, error: "http 500".into() };
    pair.store(move |tx| {
        let attempts = vec![attempt(51, "delivered", None)];
        tx.hooks()
            .progress(hook.id, &Progress { attempts, cursor: seq + 100, letters: vec![aside], ..stored })
    });
    let steps = trace(&pair, &id);
    assert_eq!(step(&steps, "put_aside")["attempts"], 50);
    assert_eq!(posts(&pair).last().unwrap()["result"], "delivered");
    assert!(steps.iter().all(|step| !step["at"].is_null()), "nothing is still to come: {steps:?}");

    // With the log goes what was kept beside it.
    pair.store(move |tx| tx.events().prune(Millis(u64::MAX), 1));
    assert_eq!(names(&trace(&pair, &id)), ["sent"]);
    assert_eq!(pair.store(move |tx| tx.trace().posted(seq)), []);
    // A hook that has gone takes no more notes.
    pair.store(move |tx| {
        tx.hooks().remove_user()?;
        tx.hooks().progress(
            hook.id,
            &Progress { attempts: vec![attempt(52, "delivered", None)], ..Progress::default() },
        )
    });
    assert_eq!(pair.store(move |tx| tx.trace().posted(seq)), []);
}
