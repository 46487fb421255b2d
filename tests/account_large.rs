//! Large groups, and a server that says that it is asked too often: an account and the simulated WhatsApp on one clock.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/groups.rs"]
mod groups;
#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use groups::{done, linked, says, send, told_with};
use pair::{OWN, Pair};
use serde_json::json;
use wazap::{
    account::{AskError, Body, Command, GroupCommand},
    stanza::MemberChange,
    wire::Jid,
};

/// A group of the account and so many people with two devices each; their numbers.
fn large(pair: &mut Pair, people: usize, by_lid: bool) -> (Jid, Vec<String>) {
    let numbers = pair.lab.create_phones(people, 1, pair.now).unwrap();
    let names: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let made = pair.lab.create_group(OWN, "Everybody", &names, by_lid, pair.now).unwrap();
    pair.drive();
    (made.jid.parse().unwrap(), numbers)
}

/// A group of the account that it has not been told of.
fn unknown(pair: &mut Pair, people: usize) -> Jid {
    pair.copies = |node| usize::from(node.text("type") != Some("w:gp2"));
    let (group, _) = large(pair, people, true);
    pair.copies = |_| 1;
    group
}

/// The devices that have read the message, once all that can have done so.
fn readers(pair: &mut Pair, id: &str) -> Vec<Jid> {
    pair.pass(Duration::ZERO);
    pair.lab.readers(id)
}

/// Queries of this namespace that the account has written.
fn asked(pair: &Pair, xmlns: &str) -> usize {
    pair.written.iter().filter(|node| node.tag == "iq" && node.text("xmlns") == Some(xmlns)).count()
}

#[test]
fn every_device_of_everybody_reads_and_whoever_is_put_out_reads_no_more() {
    for by_lid in [true, false] {
        let mut pair = linked(401);
        let (group, people) = large(&mut pair, 60, by_lid);
        let before = asked(&pair, "usync");
        let first = says(&mut pair, &group, "one");
        let second = says(&mut pair, &group, "two");
        assert_eq!(asked(&pair, "usync") - before, 1, "one query for all");
        // 60 phones with a companion each, and the own phone.
        assert_eq!((told_with(&pair, &first), told_with(&pair, &second)), (vec![121], vec![0]));
        for id in [&first, &second] {
            assert_eq!(readers(&mut pair, id).len(), 121);
        }
        let gone = people[17].clone();
        pair.lab.change_members(&group, MemberChange::Remove, &[&gone], pair.now).unwrap();
        pair.drive();
        let third = says(&mut pair, &group, "three");
        assert_eq!(told_with(&pair, &third), [119], "a new key, for those who are left");
        let left = readers(&mut pair, &third);
        assert_eq!(left.len(), 119);
        assert!(left.iter().all(|jid| jid.user() != gone), "it is nobody's business any more");
        pair.assert_well_behaved();
    }
}

#[test]
fn a_server_that_is_asked_too_often_is_asked_again_after_growing_pauses() {
    let mut pair = linked(402);
    let (group, _) = large(&mut pair, 3, true);
    pair.lab
        .set_faults(&json!({"usync": {"error": 429, "times": 3}, "prekeys": {"error": 429, "times": 1}}))
        .unwrap();
    let before = (asked(&pair, "usync"), asked(&pair, "encrypt"));
    let id = says(&mut pair, &group, "patience");
    assert_eq!(asked(&pair, "usync") - before.0, 1);
    // 10 s, 20 s and 40 s; whatever else happens meanwhile asks nothing.
    for (pause, asks) in [(9, 1), (2, 2), (18, 2), (3, 3), (35, 3), (6, 4)] {
        pair.pass(Duration::from_secs(pause));
        pair.phone_sends(pair::ALICE, "hello");
        assert_eq!(asked(&pair, "usync") - before.0, asks, "after another {pause} s");
    }
    assert_eq!(told_with(&pair, &id), [0; 0], "the keys are missing still");
    pair.pass(Duration::from_secs(11));
    assert_eq!(told_with(&pair, &id), [7]);
    assert_eq!(readers(&mut pair, &id).len(), 7);
    assert_eq!(asked(&pair, "encrypt") - before.1, 2);
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

#[test]
fn a_caller_waits_while_the_server_wants_a_pause_but_not_for_ever() {
    let mut pair = linked(403);
    let group = unknown(&mut pair, 2);
    pair.lab.set_faults(&json!({"groups": {"error": 429, "times": 1}})).unwrap();
    let ticket = pair.ask(Command::SendMessage(send(&group, Body::Text("one".into()))));
    pair.drive();
    assert!(pair.sent(ticket).is_none(), "it waits");
    pair.pass(Duration::from_secs(11));
    let sent = pair.sent(ticket).unwrap().unwrap();
    assert_eq!(readers(&mut pair, &sent.message_id).len(), 5);

    let group = unknown(&mut pair, 2);
    pair.lab.set_faults(&json!({"groups": {"error": 429}})).unwrap();
    let ticket = pair.ask(Command::SendMessage(send(&group, Body::Text("two".into()))));
    pair.drive();
    for _ in 0..4 {
        pair.pass(Duration::from_secs(10));
    }
    assert!(pair.sent(ticket).unwrap().is_err(), "told that it did not work");
    // What a caller asks by itself is refused at once.
    assert_eq!(done(&mut pair, GroupCommand::List), Err(AskError::Refused(429)));
    pair.assert_well_behaved();
}

#[test]
fn a_small_group_is_not_asked_for_twice_by_many_senders() {
    let mut pair = linked(404);
    let group = unknown(&mut pair, 2);
    let before = asked(&pair, "w:g2");
    for n in 0..20 {
        pair.ask(Command::SendMessage(send(&group, Body::Text(format!("{n}")))));
    }
    pair.drive();
    assert_eq!(asked(&pair, "w:g2") - before, 1, "one query for many waiting senders");
    assert_eq!(groups::read_by(&pair, OWN, &group).len(), 20);
    pair.assert_well_behaved();
}
