//! Two ends that do not understand each other stop asking. Every story counts the stanzas that this end writes.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, ECHO, OWN, Pair, ids};
use serde_json::json;
use wazap::{
    account::{Input, Status},
    wire::{Jid, Node},
};

/// Answers a device gets for one message, and askings of this end for one.
const BOUND: usize = 5;

fn copies_of(pair: &Pair, id: &str) -> usize {
    pair.written.iter().filter(|node| node.tag == "message" && node.text("id") == Some(id)).count()
}

fn askings(pair: &Pair) -> usize {
    let asks = |node: &&Node| node.tag == "receipt" && node.text("type") == Some("retry");
    pair.written.iter().filter(asks).count()
}

fn asked_of_the_phone(pair: &Pair) -> usize {
    let asks = |node: &&Node| node.tag == "message" && node.text("category") == Some("peer");
    pair.written.iter().filter(asks).count()
}

fn asks_again(id: &str, from: Jid, count: &str) -> Node {
    let retry = Node::new("retry")
        .attr("v", "1")
        .attr("count", count.to_owned())
        .attr("id", id.to_owned())
        .attr("t", 1_767_115_800u64);
    Node::new("receipt")
        .attr("id", id.to_owned())
        .attr("from", from)
        .attr("type", "retry")
        .attr("t", 1_767_115_800u64)
        .child(retry)
        .child(Node::new("registration").bytes(vec![0, 0, 0x7f, 0x7f]))
}

#[test]
fn a_device_that_asks_for_ever_gets_a_message_five_times_more() {
    let mut pair = Pair::linked(301);
    let id = pair.send(ALICE, "hello");
    let before = copies_of(&pair, &id);
    for round in 0..3 {
        for count in ["0", "1", "2", "3", "4", "5", "6", "7", "200", "255", "256", "-1", "x", ""] {
            for _ in 0..3 {
                pair.input(Input::Node(asks_again(&id, Jid::pn(ALICE), count)));
            }
            pair.drive();
        }
        // A new connection and a new process change nothing.
        if round == 0 {
            pair.cut()
        } else {
            pair.kill()
        }
        pair.pass(Duration::from_secs(30));
    }
    let more = copies_of(&pair, &id) - before;
    assert!((1..=BOUND).contains(&more), "{more} more");
    assert_eq!((pair.status(), pair.unanswered()), (Status::Connected, 0));
    // Another device of hers has a count of its own, and a stranger none.
    let before = copies_of(&pair, &id);
    for count in 1..=20 {
        pair.input(Input::Node(asks_again(&id, Jid::pn(ECHO), &count.to_string())));
        pair.input(Input::Node(asks_again("3EB0NOBODY", Jid::pn(ALICE), &count.to_string())));
        pair.drive();
    }
    assert_eq!(copies_of(&pair, &id), before);
}

fn undecryptable(id: &str, count: Option<u32>) -> Node {
    let enc = Node::new("enc").attr("v", "2").attr("type", "msg").attr_opt("count", count);
    Node::new("message")
        .attr("id", id.to_owned())
        .attr("from", Jid::pn(ALICE))
        .attr("type", "text")
        .attr("t", 1_767_115_800u64)
        .child(enc.bytes(vec![0x33; 60]))
}

#[test]
fn a_message_that_never_opens_is_asked_for_five_times_whatever_its_count_says() {
    let mut pair = Pair::linked(302);
    for round in 0..30u32 {
        // As a resend that claims to be the first, the last, or one beyond all.
        for (id, count) in
            [("3EB0PLAIN", None), ("3EB0FOUR", Some(4)), ("3EB0MANY", Some(250)), ("3EB0UP", Some(round))]
        {
            pair.input(Input::Node(undecryptable(id, count)));
        }
        pair.drive();
        if round == 10 {
            pair.kill();
            pair.pass(Duration::from_secs(30));
        }
    }
    let of = |id: &str| {
        let asks = |node: &&Node| {
            node.tag == "receipt" && node.text("type") == Some("retry") && node.text("id") == Some(id)
        };
        pair.written.iter().filter(asks).count()
    };
    for id in ["3EB0PLAIN", "3EB0FOUR", "3EB0MANY", "3EB0UP"] {
        assert!(of(id) <= BOUND, "{id}: {}", of(id));
    }
    assert_eq!(of("3EB0PLAIN"), BOUND);
    assert_eq!(of("3EB0MANY"), 0, "its sender has given up, too");
    assert_eq!(ids(&pair.events_of("message.undecryptable")).len(), 4, "each told once");
    assert!(asked_of_the_phone(&pair) <= 2 * 4, "the phone is asked first, and last");
    assert_eq!((pair.status(), pair.unanswered()), (Status::Connected, 0));
}

#[test]
fn a_peer_whose_every_message_fails_costs_a_bounded_number_of_stanzas_each() {
    let mut pair = Pair::linked(303);
    let before = pair.written.len();
    let messages = 200;
    for n in 0..messages {
        pair.input(Input::Node(undecryptable(&format!("3EB0{n:04}"), None)));
    }
    pair.pass(Duration::from_secs(60));
    let written = pair.written.len() - before;
    assert_eq!(askings(&pair), messages, "one asking each, for it came once");
    assert!(asked_of_the_phone(&pair) <= messages);
    // An asking, an ack, a question to the phone, and what acknowledges its answer.
    assert!(written <= 5 * messages, "{written} stanzas for {messages} messages");
    assert_eq!(ids(&pair.events_of("message.undecryptable")).len(), messages);
    assert_eq!((pair.status(), pair.unanswered()), (Status::Connected, 0));
}

#[test]
fn two_ends_whose_sessions_never_agree_come_to_rest() {
    let mut pair = Pair::linked(304);
    pair.phone_sends(ALICE, "before");
    pair.drive();
    pair.send(ALICE, "hello");
    let device = pair.lab.phone(OWN).unwrap().companions[0].jid.clone();
    // Every ciphertext to this end is damaged on its way, and the phone forgets its session with each message.
    pair.lab.set_faults(&json!({"corrupt": {"probability": 1.0, "device": device}})).unwrap();
    let before = pair.written.len();
    let mut lost = Vec::new();
    for n in 0..10 {
        pair.lab.forget_session(ALICE, &device).unwrap();
        lost.push(pair.phone_sends(ALICE, &format!("lost {n}")));
        pair.send(ALICE, &format!("kept {n}"));
        pair.pass(Duration::from_secs(10));
    }
    let written = pair.written.len() - before;
    // Ten messages each way, each asked for and answered five times at most on each side, and acknowledged.
    assert!(written <= 10 * (1 + 4 * BOUND) * 2, "{written} stanzas");
    let asked = |id: &String| {
        let asks = |node: &&Node| {
            node.tag == "receipt" && node.text("type") == Some("retry") && node.text("id") == Some(id)
        };
        pair.written.iter().filter(asks).count()
    };
    assert!(lost.iter().all(|id| asked(id) <= BOUND));
    // But for the keepalive.
    let said = |pair: &Pair| pair.written.iter().filter(|node| node.tag != "iq").count();
    let quiet = said(&pair);
    pair.pass(Duration::from_secs(15));
    assert_eq!(said(&pair), quiet, "nobody goes on");
    assert_eq!(pair.status(), Status::Connected);

    pair.lab.set_faults(&json!({})).unwrap();
    pair.pass(Duration::from_secs(10));
    let heard = pair.phone_sends(ALICE, "at last");
    pair.pass(Duration::from_secs(10));
    assert!(pair.received().contains(&heard), "and when the harm is over, they understand each other");
    let said = pair.send(ALICE, "indeed");
    pair.pass(Duration::from_secs(10));
    assert!(pair.inbox_of(ALICE).iter().any(|(id, _)| *id == said));
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}
