//! Sends with a time of their own and the many of a batch: an account and the simulated WhatsApp on one fake clock.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, ECHO, Mishap, OWN, Pair};
use serde_json::{Value, json};
use wazap::{
    account::{Answer, Batched, Body, Command, Recipient, SendBatch, SendError, SendMessage, Sent, Status},
    clock::Millis,
    sandbox::Sending,
    store::{
        access::IdempotencyKey,
        messages::Progress,
        schedule::{Known, Stage},
    },
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn text(to: &str, text: &str) -> SendMessage {
    SendMessage {
        recipient: Recipient::Number(to.to_owned()),
        body: Body::Text(text.to_owned()),
        mentions: Vec::new(),
        reply_to: None,
        idempotency: None,
        respond_async: false,
        send_at: None,
        dry: false,
    }
}

fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey { token: 1, key: name.to_owned(), body_hash: [7; 32] }
}

fn at(pair: &mut Pair, message: SendMessage, send_at: Millis) -> Sent {
    let ticket = pair.ask(Command::SendMessage(SendMessage { send_at: Some(send_at), ..message }));
    pair.drive();
    pair.sent(ticket).expect("answered").expect("accepted")
}

fn known(pair: &Pair, id: &str) -> Known {
    let id = id.to_owned();
    pair.store(move |tx| tx.schedule().find(&id)).unwrap()
}

fn texts(pair: &Pair, phone: &str) -> Vec<String> {
    pair.inbox_of(phone).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn what_has_a_time_leaves_at_it_under_the_id_it_was_given() {
    let mut pair = Pair::linked(71);
    let due = pair.now + HOUR;
    let sent = at(&mut pair, text(ALICE, "in an hour"), due);
    assert_eq!((sent.queued, sent.scheduled_at, sent.timestamp), (true, Some(due), pair.now));
    assert_eq!(known(&pair, &sent.message_id).stage, Stage::Waiting);
    pair.pass(HOUR - Duration::from_secs(1));
    assert_eq!((texts(&pair, ALICE).len(), pair.events_of("message.sent").len()), (0, 0));
    pair.pass(Duration::from_secs(1));
    assert_eq!(pair.inbox_of(ALICE), [(sent.message_id.clone(), "in an hour".to_owned())]);
    assert_eq!(pair.progress_of(&sent.message_id), ["sent", "delivered"]);
    let after = known(&pair, &sent.message_id);
    assert_eq!((after.stage, after.progress), (Stage::Left, Some(Progress::Delivered)));
    // In the history it stands where it was sent, not where it was asked for.
    let id = sent.message_id;
    let stored = pair.store(move |tx| tx.messages().find_own(&id)).unwrap();
    assert_eq!(stored.at, due);
    pair.assert_well_behaved();
}

#[test]
fn what_was_due_while_the_process_was_dead_or_offline_leaves_at_the_next_connection() {
    let mut pair = Pair::linked(72);
    let due = pair.now + HOUR;
    let one = at(&mut pair, text(ALICE, "one"), due).message_id;
    pair.unreachable = true;
    pair.kill();
    pair.pass(2 * HOUR);
    let due = pair.now + Duration::from_secs(30);
    let two = at(&mut pair, text("5511955554444", "nobody"), due);
    pair.pass(HOUR);
    assert_eq!(known(&pair, &one).stage, Stage::Waiting);
    assert_eq!(texts(&pair, ALICE).len(), 0);
    pair.unreachable = false;
    pair.pass(5 * MINUTE);
    assert_eq!(pair.inbox_of(ALICE), [(one.clone(), "one".to_owned())]);
    assert_eq!(pair.status(), Status::Connected);
    // Nobody could be asked about its number before.
    let nobody = known(&pair, &two.message_id);
    assert_eq!(
        (nobody.stage, nobody.progress, nobody.refused),
        (Stage::Left, Some(Progress::Failed), Some(404))
    );
    pair.assert_well_behaved();
}

#[test]
fn a_crash_at_its_hour_neither_loses_it_nor_sends_it_twice() {
    for mishap in [Mishap::KilledBefore, Mishap::KilledAfter(0), Mishap::KilledAfter(1), Mishap::StoreFails] {
        let mut pair = Pair::linked(73);
        pair.send(ALICE, "hello");
        let due = pair.now + Duration::from_secs(10);
        let sent = at(&mut pair, text(ALICE, "once"), due);
        pair.pass(Duration::from_millis(9_999));
        pair.mishap = Some(mishap);
        pair.pass(5 * MINUTE);
        assert!(pair.mishaps > 0, "{mishap:?}");
        let arrived = pair.inbox_of(ALICE);
        assert_eq!(arrived.iter().filter(|(id, _)| *id == sent.message_id).count(), 1, "{mishap:?}");
        assert_eq!(arrived.len(), 2, "{mishap:?}");
    }
}

#[test]
fn what_is_cancelled_does_not_leave_and_what_has_left_is_not_cancelled() {
    let mut pair = Pair::linked(74);
    let (soon, later) = (pair.now + MINUTE, pair.now + HOUR);
    let one = at(&mut pair, text(ALICE, "one"), soon).message_id;
    let two = at(&mut pair, text(ALICE, "two"), later).message_id;
    pair.pass(2 * MINUTE);
    let cancel = |pair: &Pair, id: &str| {
        let id = id.to_owned();
        pair.store(move |tx| tx.schedule().cancel(&id))
    };
    assert_eq!(cancel(&pair, &one), Some(Stage::Left));
    assert_eq!(cancel(&pair, &two), Some(Stage::Waiting));
    assert_eq!(cancel(&pair, "3EB000"), None);
    pair.pass(2 * HOUR);
    assert_eq!(texts(&pair, ALICE), ["one"]);
    assert_eq!(known(&pair, &two).stage, Stage::Cancelled);
    assert_eq!(known(&pair, &one).stage, Stage::Left);
}

#[test]
fn references_recipients_and_keys_are_checked_when_it_is_accepted() {
    let mut pair = Pair::linked(75);
    pair.send(ALICE, "hi");
    let due = pair.now + HOUR;
    let ask = |pair: &mut Pair, message: SendMessage| {
        let ticket = pair.ask(Command::SendMessage(SendMessage { send_at: Some(due), ..message }));
        pair.drive();
        pair.sent(ticket).unwrap()
    };
    let unknown = SendMessage { reply_to: Some("3EB000".into()), ..text(ALICE, "re") };
    assert_eq!(ask(&mut pair, unknown), Err(SendError::UnknownMessage("3EB000".into())));
    let nobody = text("5511955554444", "nobody");
    assert_eq!(ask(&mut pair, nobody), Err(SendError::NotOnWhatsapp("5511955554444".into())));
    let keyed = || SendMessage { idempotency: Some(key("k")), ..text(ALICE, "once") };
    let first = ask(&mut pair, keyed()).unwrap();
    let again = ask(&mut pair, keyed()).unwrap();
    assert_eq!(again, Sent { replayed: true, ..first.clone() });
    pair.pass(2 * HOUR);
    assert_eq!(texts(&pair, ALICE), ["hi", "once"]);
    // After it has left, the same answer still.
    assert_eq!(ask(&mut pair, keyed()).unwrap().message_id, first.message_id);
}

#[test]
fn it_carries_the_timer_of_the_day_it_is_sent() {
    let mut pair = Pair::linked(76);
    pair.send(ALICE, "hi");
    let due = pair.now + HOUR;
    let sent = at(&mut pair, text(ALICE, "later"), due);
    pair.pass(MINUTE);
    pair.lab.send(ALICE, OWN, Sending::Timer { seconds: 86_400 }, pair.now).unwrap();
    pair.pass(HOUR);
    let all = pair.lab.messages(ALICE, None).unwrap();
    let arrived = all.into_iter().find(|message| message.id == sent.message_id).unwrap();
    assert_eq!(arrived.message["extendedTextMessage"]["contextInfo"]["expiration"], 86_400);
}

#[test]
fn nothing_waits_for_an_account_that_is_unlinked() {
    let mut pair = Pair::linked(77);
    let due = pair.now + HOUR;
    let sent = at(&mut pair, text(ALICE, "later"), due);
    pair.lab.unlink(OWN, 1, pair.now).unwrap();
    pair.drive();
    assert_eq!(known(&pair, &sent.message_id).stage, Stage::GivenUp);
    let ticket =
        pair.ask(Command::SendMessage(SendMessage { send_at: Some(pair.now + HOUR), ..text(ALICE, "x") }));
    pair.drive();
    assert!(matches!(pair.sent(ticket), Some(Err(SendError::NotConnected(_)))));
}

fn explain(error: SendError) -> Value {
    json!({ "code": format!("{error:?}") })
}

fn batch(sends: Vec<SendMessage>, pace: Duration) -> SendBatch {
    let sends = (0..).zip(sends).map(|(position, send)| (position, "text", send)).collect();
    SendBatch { sends, rejected: Vec::new(), explain, pace, send_at: None, idempotency: None }
}

fn batched(pair: &mut Pair, batch: SendBatch) -> Result<Batched, SendError> {
    let ticket = pair.ask(Command::SendBatch(Box::new(batch)));
    pair.drive();
    match pair.answer(ticket) {
        Some(Answer::Batch(outcome)) => outcome.clone(),
        other => panic!("a batch was answered with {other:?}"),
    }
}

fn sends_of(pair: &Pair, id: &str) -> (String, Vec<Known>) {
    let id = id.to_owned();
    let (batch, sends) = pair.store(move |tx| tx.schedule().batch(&id)).unwrap();
    (batch.rejected, sends)
}

#[test]
fn a_batch_leaves_at_its_pace_and_in_its_order() {
    let mut pair = Pair::linked(78);
    let sends = (0..10).map(|n| text(if n % 2 == 0 { ALICE } else { ECHO }, &n.to_string())).collect();
    let id = batched(&mut pair, batch(sends, Duration::from_secs(2))).unwrap().id;
    assert_eq!(texts(&pair, ALICE), ["0"], "the first leaves at once");
    pair.pass(Duration::from_secs(9));
    assert_eq!(
        (texts(&pair, ALICE), texts(&pair, ECHO)),
        (vec!["0".into(), "2".into(), "4".into()], vec!["1".into(), "3".into()])
    );
    pair.pass(Duration::from_secs(9));
    assert_eq!(texts(&pair, ALICE), ["0", "2", "4", "6", "8"]);
    let (_, sends) = sends_of(&pair, &id);
    assert_eq!(sends.iter().map(|send| send.position).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert!(sends.iter().all(|send| send.progress >= Some(Progress::Delivered)));
    pair.assert_well_behaved();
}

#[test]
fn a_bad_send_stops_no_other_and_says_why_in_its_place() {
    let mut pair = Pair::linked(79);
    pair.send(ALICE, "hi");
    let sends = vec![
        text(ALICE, "one"),
        SendMessage { reply_to: Some("3EB000".into()), ..text(ALICE, "re") },
        text("5511955554444", "nobody"),
        text(ALICE, "two"),
    ];
    let mut asked = batch(sends, Duration::from_secs(1));
    asked.rejected.push((4, json!({ "code": "VALIDATION_ERROR" })));
    let id = batched(&mut pair, asked).unwrap().id;
    pair.pass(MINUTE);
    assert_eq!(texts(&pair, ALICE), ["hi", "one", "two"]);
    let (rejected, sends) = sends_of(&pair, &id);
    let rejected: Value = serde_json::from_str(&rejected).unwrap();
    assert_eq!(rejected[0], json!({ "index": 1, "error": { "code": "UnknownMessage(\"3EB000\")" } }));
    assert_eq!(rejected[1], json!({ "index": 4, "error": { "code": "VALIDATION_ERROR" } }));
    let states: Vec<_> = sends.iter().map(|send| (send.position, send.progress)).collect();
    assert_eq!(states[1], (2, Some(Progress::Failed)), "its number was looked up when its turn came");
    assert_eq!(states.len(), 3);
}

#[test]
fn a_batch_survives_restart_and_outage_keeps_its_pace_and_can_be_cancelled() {
    let mut pair = Pair::linked(80);
    pair.send(ALICE, "hi");
    let sends = (0..100).map(|n| text(ALICE, &n.to_string())).collect();
    let id = batched(&mut pair, batch(sends, Duration::from_secs(1))).unwrap().id;
    pair.pass(Duration::from_millis(9_500));
    assert_eq!(texts(&pair, ALICE).len(), 11);
    pair.unreachable = true;
    pair.kill();
    pair.pass(HOUR);
    pair.unreachable = false;
    let reconnected = pair.links.len();
    while pair.links.len() == reconnected || pair.status() != Status::Connected {
        pair.pass(Duration::from_secs(1));
    }
    let before = texts(&pair, ALICE).len();
    assert!(before <= 12, "after an outage it goes on at its pace: {before}");
    pair.pass(Duration::from_secs(10));
    let now = texts(&pair, ALICE).len();
    assert!((before + 9..=before + 11).contains(&now), "{before} {now}");
    let wanted = id.clone();
    let cancelled = pair.store(move |tx| tx.schedule().cancel_batch(&wanted));
    pair.pass(HOUR);
    assert_eq!(texts(&pair, ALICE).len(), 101 - cancelled);
    let (_, sends) = sends_of(&pair, &id);
    assert_eq!(sends.iter().filter(|send| send.stage == Stage::Cancelled).count(), cancelled);
    let mut expected = vec!["hi".to_owned()];
    expected.extend((0..100 - cancelled).map(|n| n.to_string()));
    assert_eq!(texts(&pair, ALICE), expected, "in order, each once");
    pair.assert_well_behaved();
}

#[test]
fn the_same_key_gives_the_same_batch() {
    let mut pair = Pair::linked(81);
    let asked = |hash: u8| {
        let idempotency = Some(IdempotencyKey { body_hash: [hash; 32], ..key("b") });
        SendBatch { idempotency, ..batch(vec![text(ALICE, "once")], Duration::from_secs(1)) }
    };
    let first = batched(&mut pair, asked(1)).unwrap();
    pair.kill();
    pair.pass(MINUTE);
    assert_eq!(batched(&mut pair, asked(1)), Ok(Batched { id: first.id, replayed: true }));
    assert_eq!(batched(&mut pair, asked(2)), Err(SendError::IdempotencyConflict));
    pair.pass(MINUTE);
    assert_eq!(texts(&pair, ALICE), ["once"]);
}

#[test]
fn there_is_an_end_to_what_may_wait_and_old_outcomes_are_forgotten() {
    let mut pair = Pair::linked(82);
    pair.send(ALICE, "hi");
    let now = pair.now;
    pair.store(move |tx| {
        for n in 0..49_999 {
            let id = n.to_string();
            let new = wazap::store::schedule::NewScheduled {
                wa_id: &id,
                recipient: ALICE,
                content: b"",
                due: now + HOUR,
                batch: None,
                kind: "text",
            };
            tx.schedule().push(&new, now)?;
        }
        Ok(())
    });
    let due = pair.now + HOUR;
    at(&mut pair, text(ALICE, "the last"), due);
    let ask = Command::SendMessage(SendMessage { send_at: Some(due), ..text(ALICE, "too many") });
    let ticket = pair.ask(ask);
    pair.drive();
    assert_eq!(pair.sent(ticket), Some(Err(SendError::QueueFull)));
    assert_eq!(batched(&mut pair, batch(vec![text(ALICE, "x")], HOUR)), Err(SendError::QueueFull));
    pair.store(|tx| tx.schedule().give_up());
    let month = Duration::from_secs(31 * 24 * 3600);
    assert_eq!(pair.store(move |tx| tx.schedule().prune(now + HOUR)), 0);
    assert_eq!(pair.store(move |tx| tx.schedule().prune(now + month)), 10_000, "a part at a time");
}
