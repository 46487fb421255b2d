//! Statuses: an account and the simulated WhatsApp on one fake clock.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, ECHO, OWN, Pair, ids};
use serde_json::json;
use wazap::{
    account::{Body, Recipient, SendError, Sent},
    sandbox::Sending,
    wire::{Jid, Node},
};

const STATUS: &str = "status@broadcast";

fn post(pair: &mut Pair, text: &str, people: &[&str]) -> Result<Sent, SendError> {
    let body = Body::StatusText { text: text.into(), background: Some(0xff00_00ff), font: Some(1) };
    pair.say(Recipient::Status(people.iter().map(|who| Jid::pn(*who)).collect()), body)
}

fn posted(pair: &mut Pair, text: &str, people: &[&str]) -> String {
    post(pair, text, people).expect("accepted").message_id
}

/// Statuses that a phone has read.
fn read_by(pair: &Pair, phone: &str) -> Vec<String> {
    let all = pair.lab.messages(phone, None).unwrap().into_iter();
    all.filter(|m| m.chat == STATUS).filter_map(|m| m.text).collect()
}

fn stanza<'p>(pair: &'p Pair, id: &str) -> &'p Node {
    pair.written.iter().find(|node| node.tag == "message" && node.text("id") == Some(id)).unwrap()
}

/// Entries of the audience: with the key, and without.
fn listed(pair: &Pair, id: &str) -> (usize, usize) {
    let entries: Vec<&Node> = stanza(pair, id).find("participants").unwrap().find_all("to").collect();
    let with = entries.iter().filter(|entry| entry.find("enc").is_some()).count();
    (with, entries.len() - with)
}

#[test]
fn a_status_reaches_whom_it_is_for_and_the_own_devices_and_nobody_else() {
    let mut pair = Pair::linked(201);
    let first = posted(&mut pair, "sunny", &[ALICE]);
    let second = posted(&mut pair, "rainy", &[ALICE]);
    assert_eq!(read_by(&pair, ALICE), ["sunny", "rainy"]);
    assert_eq!(read_by(&pair, OWN), ["sunny", "rainy"]);
    assert!(read_by(&pair, ECHO).is_empty());
    assert_eq!((listed(&pair, &first), listed(&pair, &second)), ((2, 0), (0, 2)), "the key once");
    assert!(!stanza(&pair, &first).has("phash") && !stanza(&pair, &first).has("addressing_mode"));
    let message = &pair.lab.messages(ALICE, None).unwrap()[0].message["extendedTextMessage"];
    assert_eq!((&message["backgroundArgb"], &message["font"]), (&json!(0xff00_00ffu32), &json!(1)));
    assert_eq!(pair.progress_of(&first), ["sent", "delivered"]);
    let sent = pair.events_of("message.sent");
    assert_eq!((&sent[0]["is_status"], &sent[0]["content"]), (&json!(true), &json!("sunny")));
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

#[test]
fn whoever_is_not_meant_any_more_cannot_read_on() {
    let mut pair = Pair::linked(202);
    posted(&mut pair, "for both", &[ALICE, ECHO]);
    let second = posted(&mut pair, "for one", &[ALICE]);
    assert_eq!(listed(&pair, &second), (2, 0), "with another key");
    assert_eq!((read_by(&pair, ALICE).len(), read_by(&pair, ECHO)), (2, vec!["for both".to_owned()]));
    // Who was not meant does not get it by asking.
    let before = pair.written.len();
    let receipt = Node::new("receipt")
        .attr("id", second.clone())
        .attr("from", Jid::status_broadcast())
        .attr("participant", Jid::pn(ECHO))
        .attr("type", "retry")
        .attr("t", 1_767_115_800u64)
        .child(
            Node::new("retry").attr("v", "1").attr("count", 1u32).attr("id", second.clone()).attr("t", 1u32),
        )
        .child(Node::new("registration").bytes(vec![0, 0, 0, 1]));
    pair.input(wazap::account::Input::Node(receipt));
    pair.drive();
    assert!(pair.written[before..].iter().all(|node| node.tag == "ack"));
    pair.assert_well_behaved();
}

#[test]
fn without_names_it_is_for_everybody_the_account_knows_and_somebody_must_be() {
    let mut pair = Pair::linked(203);
    assert_eq!(post(&mut pair, "hello?", &[]), Err(SendError::NobodyKnown));
    pair.send(ALICE, "hi");
    pair.phone_sends(ECHO, "good morning");
    pair.drive();
    posted(&mut pair, "good morning all", &[]);
    for phone in [ALICE, ECHO] {
        assert_eq!(read_by(&pair, phone), ["good morning all"], "{phone}");
    }
    pair.assert_well_behaved();
}

#[test]
fn the_status_of_others_is_kept_and_reported() {
    let mut pair = Pair::linked(204);
    pair.send(ALICE, "hi");
    for text in ["sunny", "rainy"] {
        let what = Sending::Text { text: text.into(), quote: None };
        pair.lab.send(ALICE, STATUS, what, pair.now).unwrap();
        pair.drive();
    }
    let received = pair.events_of("message.received");
    assert_eq!(received.len(), 2);
    assert_eq!((&received[0]["content"], &received[1]["content"]), (&json!("sunny"), &json!("rainy")));
    assert_eq!((&received[0]["sender_number"], &received[0]["is_status"]), (&json!(ALICE), &json!(true)));
    let (first, alice) = (ids(&received).remove(0), pair.lab.phone(ALICE).unwrap().lid);
    let kept = pair.store(move |tx| {
        let chat = tx.messages().find_chat(&Jid::status_broadcast())?.unwrap();
        Ok(tx.messages().find_in_chat(chat.id, &first)?.unwrap().key.participant)
    });
    // The server names authors of statuses by number; one person is one, whichever name it goes by.
    assert!([Jid::pn(ALICE), alice.parse().unwrap()].contains(&kept.unwrap()));
    // And the account's own phone's is the account's.
    pair.lab.send(OWN, STATUS, Sending::Text { text: "mine".into(), quote: None }, pair.now).unwrap();
    pair.drive();
    assert!(pair.events_of("message.sent").iter().any(|e| e["content"] == "mine" && e["is_status"] == true));
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

#[test]
fn a_status_that_cannot_be_read_is_asked_for_and_never_refused() {
    let mut pair = Pair::linked(205);
    pair.send(ALICE, "hi");
    let what = |text: &str| Sending::Text { text: text.into(), quote: None };
    pair.lab.send(ALICE, STATUS, what("one"), pair.now).unwrap();
    pair.drive();
    pair.store(|tx| {
        let sender = tx.people().lid_of(&Jid::pn(ALICE))?.unwrap();
        let none = wazap::crypto::signal::SenderKeys::default();
        tx.sender_keys().set(&Jid::status_broadcast(), &sender, &none)
    });
    pair.lab.send(ALICE, STATUS, what("two"), pair.now).unwrap();
    pair.pass(Duration::from_secs(5));
    let texts: Vec<_> =
        pair.events_of("message.received").into_iter().map(|mut event| event["content"].take()).collect();
    assert_eq!(texts, ["one", "two"]);
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}
