//! A connection that is open and carries nothing, or not all that it should: noticed within 45 seconds and replaced, for
//! every way to be deaf; and what ended it can be read.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, Pair};
use serde_json::json;
use wazap::{
    account::{Answer, Command, Evidence, Status},
    clock::Millis,
    sandbox::DeviceCommand,
    wire::Node,
};

/// Within this a dead connection must be given up (a ping every 25 s at most, its answer within 20 s).
const NOTICED: Duration = Duration::from_secs(45);
const SECOND: Duration = Duration::from_secs(1);

fn evidence(pair: &mut Pair) -> Evidence {
    let ticket = pair.ask(Command::Evidence);
    pair.drive();
    match pair.answer(ticket) {
        Some(Answer::Evidence(evidence)) => (**evidence).clone(),
        other => panic!("evidence was answered with {other:?}"),
    }
}

/// Lets time pass until the connection was given up; after how long, and why.
fn given_up(pair: &mut Pair, before: u64) -> (Duration, &'static str) {
    let start = pair.now;
    while pair.now.since(start) <= 2 * NOTICED {
        pair.pass(SECOND);
        let seen = evidence(pair);
        if seen.ended > before {
            return (seen.ends[0].at.since(start), seen.ends[0].cause);
        }
    }
    panic!("nobody noticed: {:?}", evidence(pair));
}

/// A story for each: what makes the connection deaf, and the word for it.
fn deaf(seed: u64, cause: &str, make: impl FnOnce(&mut Pair), mend: impl FnOnce(&mut Pair)) {
    let mut pair = Pair::linked(seed);
    // Wherever the keepalive stands.
    pair.pass(Duration::from_millis(seed * 3_700 % 60_000));
    let before = evidence(&mut pair).ended;
    make(&mut pair);
    let (after, why) = given_up(&mut pair, before);
    assert_eq!(why, cause);
    assert!(after <= NOTICED, "{cause}: only after {after:?}");
    mend(&mut pair);
    pair.pass(Duration::from_secs(60));
    assert_eq!(pair.status(), Status::Connected);
    let id = pair.phone_sends(ALICE, "can you hear me?");
    pair.pass(SECOND);
    assert!(pair.received().contains(&id), "still deaf");
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

#[test]
fn nothing_gets_through_in_either_direction() {
    for seed in 0..16 {
        deaf(seed, "silence", |pair| pair.deaf = true, |pair| pair.deaf = false);
    }
}

#[test]
fn the_other_end_stands_still() {
    for seed in 0..8 {
        let freeze = |pair: &mut Pair| {
            let device = pair.lab.phone(pair::OWN).unwrap().companions[0].jid.clone();
            let long = DeviceCommand::Freeze(Duration::from_secs(600));
            pair.lab.device(&device, long, pair.now).unwrap();
        };
        deaf(seed, "silence", freeze, |_| {});
    }
}

/// A chat state or a receipt every few seconds hides that nothing of ours arrives.
#[test]
fn something_comes_all_the_time_and_pings_are_not_answered() {
    for seed in 0..8 {
        let mut pair = Pair::linked(seed);
        pair.pass(Duration::from_millis(seed * 3_700));
        let before = evidence(&mut pair).ended;
        // Answers to queries are lost; everything else comes.
        pair.copies = |node: &Node| usize::from(node.tag != "iq");
        let start = pair.now;
        let mut seen = evidence(&mut pair);
        while seen.ended == before && pair.now.since(start) <= 2 * NOTICED {
            pair.phone_sends(ALICE, "here I am");
            pair.pass(2 * SECOND);
            seen = evidence(&mut pair);
        }
        assert_eq!(seen.ends[0].cause, "no_pong");
        assert!(seen.ends[0].at.since(start) <= NOTICED, "only after {:?}", seen.ends[0].at.since(start));
        pair.copies = |_| 1;
        pair.pass(Duration::from_secs(60));
        assert_eq!(pair.status(), Status::Connected);
    }
}

/// Pings are answered, and what we send is not acknowledged.
#[test]
fn what_is_sent_is_not_acknowledged() {
    let no_acks = |pair: &mut Pair| {
        pair.lab.set_faults(&json!({ "drop_acks": {} })).unwrap();
        // A receipt would say as much as the ack.
        pair.copies = |node: &Node| usize::from(node.tag != "receipt");
        pair.send(ALICE, "hello");
    };
    let mend = |pair: &mut Pair| {
        pair.lab.set_faults(&json!({})).unwrap();
        pair.copies = |_| 1;
    };
    deaf(3, "no_acknowledgement", no_acks, mend);
}

/// Pings are answered, messages are promised, and none comes: the case that a keepalive does not see.
#[test]
fn the_queue_that_was_promised_does_not_come() {
    let mut pair = Pair::linked(4);
    pair.cut();
    let ids: Vec<String> = (0..30).map(|n| pair.phone_sends(ALICE, &format!("{n}"))).collect();
    let before = evidence(&mut pair).ended;
    pair.copies = |node: &Node| usize::from(!node.has("offline") && !is_end(node));
    let start = pair.now;
    let (_, why) = given_up(&mut pair, before);
    assert_eq!(why, "queue_stalled");
    assert!(pair.now.since(start) <= NOTICED, "only after {:?}", pair.now.since(start));
    pair.copies = |_| 1;
    pair.pass(Duration::from_secs(60));
    assert_eq!(pair.status(), Status::Connected);
    assert_eq!(pair.received(), ids, "in order, and once each");
    assert_eq!(evidence(&mut pair).offline.map(|queue| queue.done), Some(true));
}

/// The same on every connection: what does come must be worked with, and nobody reconnects for ever.
#[test]
fn a_queue_that_never_comes_costs_one_reconnect() {
    let mut pair = Pair::linked(5);
    pair.cut();
    (0..30).for_each(|n| drop(pair.phone_sends(ALICE, &format!("{n}"))));
    let before = evidence(&mut pair).ended;
    pair.copies = |node: &Node| usize::from(!node.has("offline") && !is_end(node));
    pair.pass(Duration::from_secs(1800));
    let seen = evidence(&mut pair);
    assert_eq!((seen.status, seen.ended), (Status::Connected, before + 1), "{:?}", seen.ends);
    let id = pair.send(ALICE, "anybody there?");
    assert!(pair.inbox_of(ALICE).iter().any(|(other, _)| *other == id), "sending works all the same");
}

fn is_end(node: &Node) -> bool {
    node.tag == "ib" && node.find("offline").is_some()
}

/// Whatever ends a connection has a word, and the time is that of the end.
#[test]
fn every_end_of_a_connection_has_a_cause() {
    let mut pair = Pair::linked(6);
    let device = pair.lab.phone(pair::OWN).unwrap().companions[0].jid.clone();
    let mut ended: Vec<(&str, Millis)> = Vec::new();
    pair.cut();
    pair.drive();
    ended.push(("connection_lost", pair.now));
    pair.pass(Duration::from_secs(10));
    for (code, cause) in [(503, "stream_error"), (500, "stream_error"), (515, "restart_required")] {
        pair.lab.device(&device, DeviceCommand::StreamError(code), pair.now).unwrap();
        pair.drive();
        ended.push((cause, pair.now));
        pair.pass(Duration::from_secs(40));
        assert_eq!(pair.status(), Status::Connected, "after {cause}");
    }
    pair.unreachable = true;
    pair.cut();
    pair.drive();
    ended.push(("connection_lost", pair.now));
    pair.pass(Duration::from_millis(1_200));
    let seen = evidence(&mut pair);
    assert_eq!((seen.status, seen.ends[0].cause), (Status::Offline, "unreachable"));
    assert!(seen.outage.is_some() && seen.next_dial.is_some());
    let told: Vec<(&str, Millis)> = seen.ends.iter().skip(1).rev().map(|end| (end.cause, end.at)).collect();
    assert!(told.ends_with(&ended), "{told:?}, and not {ended:?}");
}
