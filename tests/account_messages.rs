//! Texts out and in, the offline queue, acknowledgements and statuses: an account and the simulated WhatsApp on one
//! fake clock.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, ECHO, Mishap, OWN, Pair, ids};
use serde_json::json;
use wazap::{
    account::{Answer, Body, Command, Input, Recipient, SendError, SendMessage, Status},
    sandbox::Sending,
    store::access::IdempotencyKey,
    wire::{Jid, Node},
};

const MINUTE: Duration = Duration::from_secs(60);

/// A send whose caller waits for WhatsApp's word.
fn waited_for(to: &str, text: &str) -> Command {
    Command::SendMessage(SendMessage {
        recipient: Recipient::Number(to.to_owned()),
        body: Body::Text(text.to_owned()),
        mentions: Vec::new(),
        reply_to: None,
        idempotency: None,
        respond_async: false,
        send_at: None,
        dry: false,
    })
}

#[test]
fn a_text_goes_out_with_its_statuses_and_its_echo_comes_back() {
    let mut pair = Pair::linked(21);
    let id = pair.send(ECHO, "Olá 👋");
    assert_eq!(pair.inbox_of(ECHO), [(id.clone(), "Olá 👋".to_owned())]);
    assert_eq!(pair.progress_of(&id), ["sent", "delivered"]);
    assert_eq!(ids(&pair.events_of("message.sent")), std::slice::from_ref(&id));
    let echo = pair.events_of("message.received");
    assert_eq!(echo.len(), 1);
    assert_eq!((&echo[0]["content"], &echo[0]["sender_number"]), (&json!("Olá 👋"), &json!(ECHO)));
    pair.lab.read(ECHO, &id, pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.progress_of(&id), ["sent", "delivered", "read"]);
    // The account's own phone has its copy, as sent by this companion.
    assert!(pair.inbox_of(OWN).iter().any(|(copy, _)| *copy == id));
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

#[test]
fn a_caller_who_waits_hears_what_whatsapp_said() {
    let mut pair = Pair::linked(22);
    let taken = pair.ask(waited_for(ALICE, "one"));
    pair.drive();
    assert_eq!(pair.settled(taken), Some(Ok(())));
    pair.lab.set_faults(&json!({"reject": {"error": 463, "times": 1}})).unwrap();
    let refused = pair.ask(waited_for(ALICE, "two"));
    pair.drive();
    assert_eq!(pair.settled(refused), Some(Err(463)));
    let id = pair.sent(refused).unwrap().unwrap().message_id;
    assert_eq!(pair.progress_of(&id), ["failed"]);
    let nobody = pair.ask(waited_for("5511955555555", "three"));
    pair.drive();
    assert_eq!(pair.sent(nobody), Some(Err(SendError::NotOnWhatsapp("5511955555555".into()))));
    assert_eq!(pair.inbox_of(ALICE).len(), 1);
    pair.assert_well_behaved();
}

#[test]
fn an_idempotency_key_gives_the_first_answer_again_also_after_a_restart() {
    let mut pair = Pair::linked(23);
    let first = pair.post(ALICE, "once", Some("key"));
    pair.drive();
    let first = pair.sent(first).unwrap().unwrap();
    pair.kill();
    // Asked for before the link is back.
    let again = pair.post(ALICE, "once", Some("key"));
    let other = pair.post(ALICE, "something else", Some("key"));
    pair.pass(MINUTE);
    let again = pair.sent(again).unwrap().unwrap();
    assert_eq!((again.message_id, again.replayed), (first.message_id, true));
    assert_eq!(pair.sent(other), Some(Err(SendError::IdempotencyConflict)));
    assert_eq!(pair.inbox_of(ALICE).len(), 1);
}

#[test]
fn a_replay_of_what_was_acknowledged_is_not_waited_for() {
    let mut pair = Pair::linked(33);
    let send = || match waited_for(ALICE, "once") {
        Command::SendMessage(text) => {
            let key = IdempotencyKey { token: 1, key: "key".into(), body_hash: [1; 32] };
            Command::SendMessage(SendMessage { idempotency: Some(key), ..text })
        }
        other => other,
    };
    for replayed in [false, true] {
        let ticket = pair.ask(send());
        pair.drive();
        assert_eq!(pair.sent(ticket).unwrap().unwrap().replayed, replayed);
        assert_eq!(pair.settled(ticket), Some(Ok(())), "the caller would wait for nothing");
    }
}

#[test]
fn what_was_sent_while_offline_leaves_in_order_once_the_link_is_back() {
    let mut pair = Pair::linked(24);
    pair.unreachable = true;
    pair.cut();
    pair.drive();
    let texts: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    for text in &texts {
        pair.post(ALICE, text, None);
    }
    let waits = pair.ask(waited_for(ALICE, "cannot wait"));
    pair.drive();
    assert!(matches!(pair.answer(waits), Some(Answer::Later(Status::Offline))));
    pair.unreachable = false;
    pair.pass(MINUTE);
    let arrived: Vec<String> = pair.inbox_of(ALICE).into_iter().map(|(_, text)| text).collect();
    assert_eq!(arrived, texts);
    pair.assert_well_behaved();
}

#[test]
fn a_message_nobody_acknowledged_leaves_again_under_its_id() {
    let mut pair = Pair::linked(25);
    // A receipt would prove as well as an ack that the server has it.
    for phone in [ALICE, OWN] {
        pair.lab.online(phone, false, pair.now).unwrap();
    }
    pair.lab.set_faults(&json!({"drop_acks": {"times": 2}})).unwrap();
    let id = pair.send(ALICE, "hello?");
    pair.pass(2 * MINUTE);
    for phone in [ALICE, OWN] {
        pair.lab.online(phone, true, pair.now).unwrap();
    }
    pair.drive();
    let written = pair.written.iter().filter(|node| node.tag == "message" && node.text("id") == Some(&id));
    let written: Vec<&Node> = written.collect();
    assert_eq!(written.len(), 3, "once, and again after each connection that kept its ack");
    assert!(written.iter().all(|again| *again == written[0]), "the same bytes");
    assert_eq!(pair.inbox_of(ALICE), [(id.clone(), "hello?".to_owned())]);
    assert_eq!(ids(&pair.events_of("message.sent")), [id]);
    pair.assert_well_behaved();
}

#[test]
fn a_redelivered_message_is_acknowledged_again_and_reported_once() {
    let mut pair = Pair::linked(26);
    let device = pair.lab.phone(OWN).unwrap().companions[0].jid.clone();
    pair.lab.set_faults(&json!({"duplicate": {"device": device}})).unwrap();
    let id = pair.phone_sends(ALICE, "twice");
    pair.drive();
    assert_eq!(pair.received(), std::slice::from_ref(&id));
    let answers = pair.written.iter().filter(|node| node.tag == "receipt" && node.text("id") == Some(&id));
    assert_eq!(answers.count(), 2);
    assert_eq!(pair.unanswered(), 0);
    assert_eq!(pair.events_of("message.undecryptable").len(), 0);
}

/// Nothing covers the place in its chain that a ciphertext claims until the key of that place is at hand.
#[test]
fn a_message_that_only_looks_like_one_read_before_is_asked_for_again() {
    let mut pair = Pair::linked(126);
    let device = pair.lab.phone(OWN).unwrap().companions[0].jid.clone();
    pair.phone_sends(ALICE, "hi");
    pair.drive();
    pair.send(ALICE, "hi");
    pair.drive();
    pair.phone_sends(ALICE, "one");
    pair.phone_sends(ALICE, "two");
    pair.drive();
    pair.lab.set_faults(&json!({"stale": {"device": device, "times": 1}})).unwrap();
    let id = pair.phone_sends(ALICE, "three");
    pair.drive();
    let retries = pair.written.iter().filter(|node| node.text("id") == Some(&id));
    let retries = retries.filter(|node| node.tag == "receipt" && node.text("type") == Some("retry"));
    assert_eq!(retries.count(), 1, "it was not taken for what it is");
    assert_eq!(pair.received().iter().filter(|received| **received == id).count(), 1);
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

/// Keys and history leave no message; that they were read is remembered all the same.
#[test]
fn what_leaves_no_message_and_comes_twice_is_confirmed_twice() {
    let mut pair = Pair::new(127);
    pair.copies = |node| if node.tag == "message" { 2 } else { 1 };
    pair.drive();
    pair.scan();
    pair.pass(MINUTE);
    assert_eq!(pair.status(), Status::Connected);
    let retried = pair.written.iter().filter(|node| node.tag == "receipt");
    assert_eq!(retried.filter(|node| node.text("type") == Some("retry")).count(), 0);
    let peer = pair.written.iter().filter(|node| node.text("type") == Some("peer_msg")).count();
    assert!(peer >= 4 && peer.is_multiple_of(2), "{peer} confirmations");
    assert_eq!(pair.events_of("message.undecryptable").len(), 0);
    pair.assert_well_behaved();
}

#[test]
fn a_message_whose_acknowledgement_was_lost_comes_again_and_is_reported_once() {
    for done in 0..4 {
        let mut pair = Pair::linked(27);
        let id = pair.phone_sends(ALICE, "hi");
        pair.mishap = Some(Mishap::KilledAfter(done));
        pair.pass(MINUTE);
        assert_eq!(pair.received(), [id], "killed after {done} effects");
        assert_eq!(pair.unanswered(), 0);
        assert_eq!(pair.events_of("message.undecryptable").len(), 0);
    }
}

#[test]
fn an_offline_queue_of_seven_hundred_drains_in_order() {
    let mut pair = Pair::linked(28);
    pair.phone_sends(ALICE, "first contact");
    pair.drive();
    pair.unreachable = true;
    pair.cut();
    pair.drive();
    let mut sent = pair.received();
    for n in 0..700 {
        sent.push(pair.phone_sends(if n % 3 == 0 { ECHO } else { ALICE }, &format!("message {n}")));
    }
    pair.unreachable = false;
    pair.pass(MINUTE);
    assert_eq!(pair.received(), sent);
    assert_eq!(pair.unanswered(), 0);
    assert_eq!(pair.status(), Status::Connected);
    pair.assert_well_behaved();
}

#[test]
fn a_turn_that_could_not_be_stored_leaves_no_trace_and_loses_nothing() {
    let mut pair = Pair::linked(29);
    // In: not acknowledged, so it comes again.
    let id = pair.phone_sends(ALICE, "in");
    let (events, written) = (pair.events().len(), pair.written.len());
    pair.mishap = Some(Mishap::StoreFails);
    while pair.mishap.is_some() {
        pair.step();
    }
    assert_eq!(pair.written.len(), written, "nothing left");
    assert!(pair.events().len() <= events + 1, "nothing but the lost link is told");
    assert_eq!(pair.received(), Vec::<String>::new());
    pair.pass(MINUTE);
    assert_eq!(pair.received(), [id]);
    assert_eq!(pair.status(), Status::Connected);

    // Out: not accepted, so nothing is sent, and the key is free.
    let ticket = pair.post(ALICE, "out", Some("key"));
    pair.mishap = Some(Mishap::StoreFails);
    pair.pass(MINUTE);
    assert_eq!(pair.sent(ticket), None);
    assert_eq!(pair.inbox_of(ALICE), []);
    let ticket = pair.post(ALICE, "out", Some("key"));
    pair.pass(MINUTE);
    let sent = pair.sent(ticket).unwrap().unwrap();
    assert!(!sent.replayed);
    assert_eq!(pair.inbox_of(ALICE), [(sent.message_id, "out".to_owned())]);
    assert_eq!(pair.unanswered(), 0);
}

#[test]
fn a_reply_quotes_and_what_an_own_device_sent_is_reported_as_sent() {
    let mut pair = Pair::linked(30);
    let question = pair.phone_sends(ALICE, "question");
    pair.drive();
    let reply = pair.ask(Command::SendMessage(SendMessage {
        recipient: Recipient::Jid(Jid::pn(ALICE)),
        body: Body::Text("answer".into()),
        mentions: Vec::new(),
        reply_to: Some(question.clone()),
        idempotency: None,
        respond_async: true,
        send_at: None,
        dry: false,
    }));
    pair.drive();
    pair.sent(reply).unwrap().unwrap();
    let shown = pair.lab.messages(ALICE, None).unwrap();
    let context = &shown.last().unwrap().message["extendedTextMessage"]["contextInfo"];
    assert_eq!(context["stanzaId"], json!(question));
    assert_eq!(context["quotedMessage"]["conversation"], json!("question"));

    let what = Sending::Text { text: "from the phone".into(), quote: None };
    let own = pair.lab.send(OWN, ALICE, what, pair.now).unwrap();
    pair.drive();
    let sent = pair.events_of("message.sent");
    let copy = sent.iter().find(|data| data["whatsapp_message_id"] == json!(own)).unwrap();
    assert_eq!((&copy["recipient_number"], &copy["content"]), (&json!(ALICE), &json!("from the phone")));
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

#[test]
fn a_stanza_with_an_absurd_time_is_stored_like_any_other() {
    let mut pair = Pair::linked(31);
    let before = pair.lab.stats().connections;
    // No ciphertext in it: kept as undecryptable, acknowledged, and no reason to connect anew.
    let message = Node::new("message")
        .attr("id", "3EB0ABSURD")
        .attr("from", Jid::pn(ALICE))
        .attr("type", "text")
        .attr("t", u64::MAX);
    pair.input(Input::Node(message));
    pair.drive();
    assert_eq!(ids(&pair.events_of("message.undecryptable")), ["3EB0ABSURD"]);
    assert_eq!(pair.lab.stats().connections, before);
    assert_eq!(pair.status(), Status::Connected);
}

#[test]
fn a_receipt_proves_what_a_lost_acknowledgement_would_have_said() {
    let mut pair = Pair::linked(32);
    pair.lab.set_faults(&json!({"drop_acks": {}})).unwrap();
    let ticket = pair.ask(waited_for(ALICE, "hello"));
    pair.drive();
    let id = pair.sent(ticket).unwrap().unwrap().message_id;
    assert_eq!(pair.progress_of(&id), ["sent", "delivered"]);
    assert_eq!(pair.settled(ticket), Some(Ok(())));
    let before = pair.lab.stats().connections;
    pair.pass(MINUTE);
    assert_eq!(pair.lab.stats().connections, before, "nothing is missed, so nothing is wrong with the link");
}

/// Kinds of the receipts that the instance sent about a message, in order.
fn receipts_about(pair: &Pair, id: &str) -> Vec<String> {
    let receipts = pair.written.iter().filter(|node| node.tag == "receipt" && node.text("id") == Some(id));
    receipts.map(|node| node.text("type").unwrap_or("delivered").to_owned()).collect()
}

fn mark_read(pair: &mut Pair, id: &str) {
    let chat = Recipient::Number(ALICE.to_owned());
    pair.ask(Command::MarkRead { chat, ids: vec![id.to_owned()] });
    pair.drive();
}

#[test]
fn what_is_read_is_told_to_others_only_if_the_account_lets_them_see_it() {
    let mut pair = Pair::linked(38);
    let seen = pair.phone_sends(ALICE, "one");
    pair.drive();
    mark_read(&mut pair, &seen);
    assert_eq!(receipts_about(&pair, &seen).last().map(String::as_str), Some("read"));

    // Changed on the phone while connected, and known after a restart as well.
    pair.lab.privacy(OWN, "readreceipts", "none", pair.now).unwrap();
    let unseen = pair.phone_sends(ALICE, "two");
    pair.drive();
    mark_read(&mut pair, &unseen);
    assert_eq!(receipts_about(&pair, &unseen).last().map(String::as_str), Some("read-self"));
    let kinds = |pair: &Pair, id: &str| -> Vec<String> {
        let receipts = pair.lab.receipts(ALICE).unwrap().into_iter().filter(|receipt| receipt.id == id);
        receipts.map(|receipt| receipt.kind).collect()
    };
    assert!(kinds(&pair, &seen).contains(&"read".to_owned()));
    assert!(!kinds(&pair, &unseen).iter().any(|kind| kind.starts_with("read")));
    pair.lab.privacy(OWN, "readreceipts", "all", pair.now).unwrap();
    pair.kill();
    pair.pass(Duration::from_secs(5));
    let third = pair.phone_sends(ALICE, "three");
    pair.drive();
    mark_read(&mut pair, &third);
    assert_eq!(receipts_about(&pair, &third).last().map(String::as_str), Some("read"));
    assert!(pair.lab.privacy(OWN, "readreceipts", "some", pair.now).is_err());
    pair.assert_well_behaved();
}

#[test]
fn what_a_reader_keeps_to_himself_stays_delivered() {
    let mut pair = Pair::linked(39);
    pair.lab.privacy(ALICE, "readreceipts", "none", pair.now).unwrap();
    let id = pair.send(ALICE, "hello");
    pair.lab.read(ALICE, &id, pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.progress_of(&id), ["sent", "delivered"]);
}
