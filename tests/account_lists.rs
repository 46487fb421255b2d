//! Broadcast lists: what others tell theirs, and what the own phone tells its own.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, ECHO, OWN, Pair};
use serde_json::json;
use wazap::{sandbox::Sending, store::messages::Progress, wire::Jid};

fn text(text: &str) -> Sending {
    Sending::Text { text: text.into(), quote: None }
}

#[test]
fn what_somebody_tells_a_list_is_said_in_the_chat_of_two() {
    let mut pair = Pair::linked(501);
    for round in 0..2 {
        let id = pair.lab.send_list(ALICE, &[OWN, ECHO], text("to many"), pair.now).unwrap();
        pair.drive();
        let told = pair.events_of("message.received");
        assert_eq!(told.len(), round + 1);
        let last = told.last().unwrap();
        assert_eq!((&last["whatsapp_message_id"], &last["content"]), (&json!(id), &json!("to many")));
        assert_eq!(last["sender_number"], ALICE);
        let chat = pair.store(move |tx| {
            let message = tx.messages().find_anywhere(&id)?.unwrap();
            assert_eq!(message.key.participant, None);
            Ok(tx.messages().chat_by_id(message.key.chat)?.unwrap())
        });
        assert_eq!(chat.jid, Jid::pn(ALICE));
    }
    assert_eq!(pair.unanswered(), 0);
    // An answer goes to whoever wrote, alone.
    pair.send(ALICE, "got it");
    assert!(pair.inbox_of(ALICE).iter().any(|(_, text)| text == "got it"));
    pair.assert_well_behaved();
}

#[test]
fn a_list_message_that_does_not_open_is_asked_for_again() {
    let mut pair = Pair::linked(502);
    pair.lab.set_faults(&json!({ "corrupt": { "times": 1 } })).unwrap();
    let id = pair.lab.send_list(ALICE, &[OWN, ECHO], text("again"), pair.now).unwrap();
    pair.pass(Duration::from_secs(10));
    assert_eq!(pair.events_of("message.undecryptable").len(), 1);
    assert_eq!(pair.received(), [id]);
    pair.assert_well_behaved();
}

#[test]
fn what_the_own_phone_tells_a_list_stands_in_each_chat_and_so_do_the_receipts() {
    let mut pair = Pair::linked(503);
    let id = pair.lab.send_list(OWN, &[ALICE, ECHO], text("news for all"), pair.now).unwrap();
    pair.drive();
    let sent = pair.events_of("message.sent");
    let mut to: Vec<&str> = sent.iter().map(|event| event["recipient_number"].as_str().unwrap()).collect();
    to.sort_unstable();
    let mut expected = [ALICE, ECHO];
    expected.sort_unstable();
    assert_eq!(to, expected);
    assert!(sent.iter().all(|event| event["whatsapp_message_id"] == json!(id)));
    // Everybody's receipt counts for that person.
    pair.lab.read(ALICE, &id, pair.now).unwrap();
    pair.drive();
    let progress = pair.store(move |tx| {
        let mut all = Vec::new();
        for who in [ALICE, ECHO] {
            let chat = tx.messages().find_chat(&Jid::pn(who))?.unwrap();
            let message = tx.messages().find_in_chat(chat.id, &id)?.unwrap();
            all.push(message.progress);
        }
        Ok(all)
    });
    assert_eq!(progress, [Progress::Read, Progress::Delivered]);
    let thanked =
        pair.written.iter().filter(|node| node.tag == "receipt" && node.text("type") == Some("sender"));
    assert!(thanked.count() >= 1);
    pair.assert_well_behaved();
}
