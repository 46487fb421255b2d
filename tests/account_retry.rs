//! Messages that could not be decrypted, on either side: asked for again, answered once, visible meanwhile.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, OWN, Pair, ids};
use prost::Message as _;
use serde_json::json;
use wazap::{
    account::Status,
    proto::{
        self,
        message::{
            self,
            peer_data_operation_request_response_message::{
                PeerDataOperationResult as PhoneResult, PlaceholderMessageResendResponse as PhoneMessage,
            },
        },
    },
    sandbox::Sending,
    wire::{Jid, Node},
};

fn own_device(pair: &Pair) -> String {
    pair.lab.phone(OWN).unwrap().companions[0].jid.clone()
}

fn wipe_session_with(pair: &Pair, number: &'static str) {
    pair.store(move |tx| {
        let address = tx.people().signal_address(&Jid::pn(number))?;
        tx.signal().forget(&address)
    });
}

fn retries_of(pair: &Pair, id: &str) -> Vec<u8> {
    let asked =
        pair.written.iter().filter(|node| node.tag == "receipt" && node.text("type") == Some("retry"));
    let asked = asked.filter(|node| node.text("id") == Some(id));
    asked.map(|node| node.find("retry").unwrap().number("count").unwrap()).collect()
}

fn copies_of(pair: &Pair, id: &str) -> usize {
    pair.written.iter().filter(|node| node.tag == "message" && node.text("id") == Some(id)).count()
}

#[test]
fn a_message_without_its_session_is_shown_as_undecryptable_and_arrives_in_the_end() {
    let mut pair = Pair::linked(41);
    pair.phone_sends(ALICE, "one");
    pair.drive();
    // Both directions have spoken, so that the phone's next message opens no session.
    pair.send(ALICE, "answer");
    pair.phone_sends(ALICE, "two");
    pair.drive();
    wipe_session_with(&pair, ALICE);
    let lost = pair.phone_sends(ALICE, "three");
    let next = pair.phone_sends(ALICE, "four");
    pair.pass(Duration::from_secs(5));
    let undecryptable = pair.events_of("message.undecryptable");
    assert_eq!(ids(&undecryptable), [lost.clone(), next.clone()]);
    assert!(undecryptable.iter().all(|data| data["reason"] == "no_session"));
    let received = pair.received();
    assert_eq!(received.iter().filter(|id| **id == lost || **id == next).count(), 2, "each once");
    assert_eq!(received.len(), 4);
    assert_eq!(retries_of(&pair, &lost), [1]);
    assert_eq!(pair.unanswered(), 0, "what cannot be read holds nothing up");
    let kinds: Vec<_> =
        pair.events().into_iter().filter(|e| e.data["whatsapp_message_id"] == lost.as_str()).collect();
    assert_eq!(kinds[0].kind, "message.undecryptable");
    assert_eq!(kinds[1].kind, "message.received");
    pair.assert_well_behaved();
}

#[test]
fn what_its_sender_cannot_send_again_is_asked_for_a_few_times_and_never_blocks() {
    let mut pair = Pair::linked(42);
    let text = |id: &str| {
        let enc = Node::new("enc").attr("v", "2").attr("type", "msg").bytes(vec![0x33; 60]);
        Node::new("message")
            .attr("id", id.to_owned())
            .attr("from", Jid::pn(ALICE))
            .attr("type", "text")
            .attr("t", 1_767_115_800u64)
            .child(enc)
    };
    // The server offers it at each of eight connections.
    for _ in 0..8 {
        pair.input(wazap::account::Input::Node(text("3EB0POISON")));
        pair.drive();
    }
    assert_eq!(retries_of(&pair, "3EB0POISON"), [1, 2, 3, 4, 5]);
    let acks = pair.written.iter().filter(|n| n.tag == "ack" && n.text("id") == Some("3EB0POISON"));
    let acks: Vec<&Node> = acks.collect();
    assert_eq!(acks.len(), 8, "each time");
    assert!(acks.iter().all(|ack| !ack.has("error")));
    assert_eq!(ids(&pair.events_of("message.undecryptable")), ["3EB0POISON"], "told once");
    assert_eq!(pair.status(), Status::Connected);
}

#[test]
fn a_phone_that_lost_its_session_gets_the_message_again_once() {
    let mut pair = Pair::linked(43);
    pair.phone_sends(ALICE, "hello");
    pair.drive();
    pair.send(ALICE, "hi");
    pair.phone_sends(ALICE, "how are you?");
    pair.drive();
    let device = own_device(&pair);
    pair.lab.forget_session(ALICE, &device).unwrap();
    let id = pair.send(ALICE, "fine");
    pair.pass(Duration::from_secs(5));
    let arrived: Vec<_> = pair.inbox_of(ALICE).into_iter().filter(|(other, _)| *other == id).collect();
    assert_eq!(arrived, [(id.clone(), "fine".to_owned())]);
    assert_eq!(pair.progress_of(&id), ["sent", "delivered"]);
    assert_eq!(ids(&pair.events_of("message.sent")).iter().filter(|sent| **sent == id).count(), 1);
    assert_eq!(pair.unanswered(), 0, "the receipt that asked was acknowledged");
    // The session that the retry began is the one that both go on with.
    let after = pair.send(ALICE, "and you?");
    assert_eq!(pair.inbox_of(ALICE).last(), Some(&(after.clone(), "and you?".to_owned())));
    assert_eq!(copies_of(&pair, &after), 1);
    pair.assert_well_behaved();
}

#[test]
fn a_retry_that_is_asked_for_twice_is_answered_once() {
    let mut pair = Pair::linked(44);
    pair.phone_sends(ALICE, "hello");
    pair.drive();
    pair.send(ALICE, "hi");
    pair.phone_sends(ALICE, "how are you?");
    pair.drive();
    pair.copies = |node| if node.tag == "receipt" && node.text("type") == Some("retry") { 2 } else { 1 };
    let device = own_device(&pair);
    pair.lab.forget_session(ALICE, &device).unwrap();
    let id = pair.send(ALICE, "fine");
    pair.pass(Duration::from_secs(5));
    let asked: Vec<u8> = (1..=2)
        .filter(|count| {
            let same = |node: &&Node| {
                node.tag == "message"
                    && node.text("id") == Some(&id)
                    && node.find("enc").and_then(|enc| enc.number::<u8>("count")) == Some(*count)
            };
            let answers: Vec<&Node> = pair.written.iter().filter(same).collect();
            assert!(answers.iter().all(|answer| *answer == answers[0]), "retry {count}: two ciphertexts");
            !answers.is_empty()
        })
        .collect();
    assert!(!asked.is_empty(), "it was answered");
    assert_eq!(pair.inbox_of(ALICE).iter().filter(|(other, _)| *other == id).count(), 1);
}

#[test]
fn a_retry_that_waits_for_a_bundle_is_answered_once() {
    let mut pair = Pair::linked(45);
    let id = pair.send(ALICE, "hello");
    pair.drive();
    // Another registration: the device started over, and only a fresh bundle helps.
    let receipt = |count: u8| {
        let retry = Node::new("retry")
            .attr("v", "1")
            .attr("count", u32::from(count))
            .attr("id", id.clone())
            .attr("t", 1_767_115_800u64);
        Node::new("receipt")
            .attr("id", id.clone())
            .attr("from", Jid::pn(ALICE))
            .attr("type", "retry")
            .attr("t", 1_767_115_800u64)
            .child(retry)
            .child(Node::new("registration").bytes(vec![0, 0, 0x7f, 0x7f]))
    };
    let before = copies_of(&pair, &id);
    pair.input(wazap::account::Input::Node(receipt(1)));
    pair.input(wazap::account::Input::Node(receipt(1)));
    pair.drive();
    assert_eq!(copies_of(&pair, &id), before + 1);
    let acks = pair.written.iter().filter(|n| n.tag == "ack" && n.text("class") == Some("receipt"));
    assert!(acks.filter(|n| n.text("id") == Some(&id) && n.text("type") == Some("retry")).count() >= 1);
    pair.input(wazap::account::Input::Node(receipt(1)));
    pair.drive();
    assert_eq!(copies_of(&pair, &id), before + 1, "a redelivered receipt changes nothing");
}

/// Ids of the questions that were put to the own phone.
fn asked_of_the_phone(pair: &Pair) -> usize {
    let to_phone = |node: &&Node| node.tag == "message" && node.text("category") == Some("peer");
    pair.written.iter().filter(to_phone).count()
}

#[test]
fn a_message_that_came_without_its_ciphertext_is_had_from_the_phone() {
    let mut pair = Pair::linked(46);
    pair.lab.set_faults(&json!({"withhold": {"times": 1}})).unwrap();
    let id = pair.phone_sends(ALICE, "only the phone has it");
    pair.pass(Duration::from_secs(5));
    let told: Vec<(String, String)> = pair
        .events()
        .into_iter()
        .filter(|event| event.data["whatsapp_message_id"] == id.as_str())
        .map(|event| (event.kind, event.data["content"].as_str().unwrap_or_default().to_owned()))
        .collect();
    let expected = [("message.undecryptable", ""), ("message.received", "only the phone has it")];
    assert_eq!(told, expected.map(|(kind, text)| (kind.to_owned(), text.to_owned())));
    let received = &pair.events_of("message.received")[0];
    assert_eq!((&received["sender_number"], &received["sender_name"]), (&json!(ALICE), &json!("Alice")));
    assert_eq!((asked_of_the_phone(&pair), retries_of(&pair, &id)), (1, vec![]));
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

#[test]
fn a_question_to_the_phone_survives_a_kill_and_is_put_once() {
    let mut pair = Pair::linked(47);
    pair.lab.online(OWN, false, pair.now).unwrap();
    pair.lab.set_faults(&json!({"withhold": {"times": 1}})).unwrap();
    let id = pair.phone_sends(ALICE, "later");
    pair.drive();
    assert!(pair.received().is_empty(), "the phone is off");
    pair.kill();
    pair.pass(Duration::from_secs(5));
    pair.lab.online(OWN, true, pair.now).unwrap();
    pair.pass(Duration::from_secs(5));
    assert_eq!(pair.received(), [id]);
    assert_eq!(pair.unanswered(), 0);
}

#[test]
fn a_damaged_message_comes_again_from_whoever_is_first_and_is_told_once() {
    let mut pair = Pair::linked(48);
    pair.phone_sends(ALICE, "before");
    pair.drive();
    pair.lab.set_faults(&json!({"corrupt": {"times": 1}})).unwrap();
    let id = pair.phone_sends(ALICE, "damaged");
    pair.pass(Duration::from_secs(5));
    assert_eq!(pair.received().iter().filter(|received| **received == id).count(), 1);
    assert_eq!(retries_of(&pair, &id), [1]);
    // Whichever session the two ends were left with, it works.
    let after = pair.phone_sends(ALICE, "after");
    let answer = pair.send(ALICE, "yes");
    pair.pass(Duration::from_secs(5));
    assert_eq!(ids(&pair.events_of("message.undecryptable")), std::slice::from_ref(&id));
    assert_eq!(pair.received().last(), Some(&after));
    assert!(pair.inbox_of(ALICE).iter().any(|(received, _)| *received == answer));
    pair.assert_well_behaved();
}

#[test]
fn an_own_copy_that_cannot_be_read_is_had_from_the_phone() {
    let mut pair = Pair::linked(49);
    let hello = Sending::Text { text: "hello".into(), quote: None };
    pair.lab.send(OWN, ALICE, hello, pair.now).unwrap();
    pair.drive();
    pair.lab.set_faults(&json!({"corrupt": {"times": 1, "device": own_device(&pair)}})).unwrap();
    let again = Sending::Text { text: "again".into(), quote: None };
    let id = pair.lab.send(OWN, ALICE, again, pair.now).unwrap();
    pair.pass(Duration::from_secs(5));
    let sent = pair.events_of("message.sent");
    let sent: Vec<_> = sent.iter().filter(|data| data["whatsapp_message_id"] == id.as_str()).collect();
    assert_eq!(sent.len(), 1);
    assert_eq!((&sent[0]["content"], &sent[0]["recipient_number"]), (&json!("again"), &json!(ALICE)));
}

#[test]
fn neither_what_may_be_seen_once_nor_what_is_weeks_old_is_asked_of_the_phone() {
    let mut pair = Pair::linked(50);
    let unavailable = |id: &str, kind: &str, t: u64| {
        Node::new("message")
            .attr("id", id.to_owned())
            .attr("from", Jid::pn(ALICE))
            .attr("type", "media")
            .attr("t", t)
            .child(Node::new("unavailable").attr("type", kind.to_owned()))
    };
    let now = pair.now.secs();
    for (id, kind, t) in [("3EB0ONCE", "view_once", now), ("3EB0OLD", "fanout", now - 15 * 24 * 3600)] {
        pair.input(wazap::account::Input::Node(unavailable(id, kind, t)));
        pair.drive();
    }
    assert_eq!(ids(&pair.events_of("message.undecryptable")), ["3EB0ONCE", "3EB0OLD"], "seen all the same");
    assert_eq!(asked_of_the_phone(&pair), 0);
}

#[test]
fn what_a_stranger_or_a_companion_says_in_the_phones_name_is_not_believed() {
    let mut pair = Pair::linked(51);
    pair.lab.online(OWN, false, pair.now).unwrap();
    pair.lab.set_faults(&json!({"withhold": {"times": 1}})).unwrap();
    let id = pair.phone_sends(ALICE, "true");
    pair.drive();
    let forged = proto::Message { conversation: Some("false".into()), ..Default::default() };
    let key = proto::MessageKey {
        remote_jid: Some(Jid::pn(ALICE).to_wire()),
        from_me: Some(false),
        id: Some(id.clone()),
        participant: None,
    };
    let info = proto::WebMessageInfo {
        key: Some(key),
        message: Some(forged.encode_to_vec()),
        message_timestamp: Some(1),
        ..Default::default()
    };
    let response = message::PeerDataOperationRequestResponseMessage {
        peer_data_operation_request_type: Some(4),
        peer_data_operation_result: vec![PhoneResult {
            placeholder_message_resend_response: Some(PhoneMessage {
                web_message_info_bytes: Some(info.encode_to_vec()),
            }),
        }],
        ..Default::default()
    };
    let protocol = message::ProtocolMessage {
        r#type: Some(17),
        peer_data_operation_request_response_message: Some(response),
        ..Default::default()
    };
    let forged = proto::Message { protocol_message: Some(Box::new(protocol)), ..Default::default() };
    pair.lab.send(ALICE, OWN, Sending::Raw(forged.encode_to_vec()), pair.now).unwrap();
    pair.drive();
    assert!(pair.received().is_empty());
    pair.lab.online(OWN, true, pair.now).unwrap();
    pair.pass(Duration::from_secs(5));
    assert_eq!(pair.events_of("message.received")[0]["content"], "true");
}
