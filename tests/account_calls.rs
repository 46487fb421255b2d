//! Incoming calls, against the simulated WhatsApp on one fake clock.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, ECHO, OWN, Pair};
use serde_json::{Value, json};
use wazap::{
    account::{Answer, AskError, CallCommand, Command, Input, Question, RejectCalls, Status, Told},
    sandbox::CallView,
    stanza::{Call, CallAction, CallOffer},
    wire::{Jid, Node},
};

const SECOND: Duration = Duration::from_secs(1);

fn rejecting(seed: u64, saying: Option<&str>) -> Pair {
    let saying = saying.map(str::to_owned);
    let mut pair = Pair::with(seed, |settings| settings.reject_calls = Some(RejectCalls { saying }));
    pair.drive();
    pair.scan();
    pair.pass(15 * SECOND);
    assert_eq!(pair.status(), Status::Connected);
    pair
}

fn call(pair: &mut Pair, from: &str, video: bool) -> String {
    let id = pair.lab.call(from, OWN, video, pair.now).unwrap();
    pair.drive();
    id
}

fn hang_up(pair: &mut Pair, phone: &str, id: &str) {
    pair.lab.decide_call(phone, id, false, pair.now).unwrap();
    pair.drive();
}

fn reject(pair: &mut Pair, id: &str) -> Result<(), AskError> {
    let ticket = pair.ask(Command::Ask(Question::Call(CallCommand::Reject(id.to_owned()))));
    pair.drive();
    match pair.answer(ticket) {
        Some(Answer::Asked(answer)) => answer.clone().map(|told| assert_eq!(told, Told::Call(()))),
        other => panic!("{other:?}"),
    }
}

fn state(pair: &Pair, phone: &str, id: &str) -> &'static str {
    let calls: Vec<CallView> = pair.lab.calls(phone).unwrap();
    calls.iter().find(|call| call.id == id).expect("the phone lists the call").state
}

/// `(call, what came of it)`, in order.
fn told(pair: &Pair) -> Vec<(String, Option<String>)> {
    let events = pair.events().into_iter().filter(|event| event.kind.starts_with("call."));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    events.map(|event| (text(&event.data["call_id"]).unwrap(), text(&event.data["outcome"]))).collect()
}

fn rejects(pair: &Pair) -> usize {
    let reject = |node: &&Node| node.tag == "call" && node.find("reject").is_some();
    pair.written.iter().filter(reject).count()
}

/// Everything was answered, and nothing said that no client says.
fn at_peace(pair: &Pair) {
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

#[test]
fn a_call_is_told_with_who_and_what_and_its_end() {
    let mut pair = Pair::linked(1);
    let id = call(&mut pair, ALICE, true);
    let event = pair.events_of("call.received").pop().unwrap();
    assert_eq!((&event["call_id"], &event["caller_number"]), (&json!(id), &json!(ALICE)));
    assert_eq!(event["caller_jid"], json!(format!("{ALICE}@s.whatsapp.net")));
    assert_eq!(
        (&event["is_video"], &event["is_group"], &event["group_jid"]),
        (&json!(true), &json!(false), &Value::Null)
    );
    assert_eq!(event["caller_name"], "Alice");
    assert!(event["timestamp"].as_str().unwrap().ends_with("+00:00"));
    assert!(event.get("outcome").is_none());
    pair.pass(5 * SECOND);
    hang_up(&mut pair, ALICE, &id);
    let event = pair.events_of("call.ended").pop().unwrap();
    assert_eq!(
        (&event["call_id"], &event["outcome"], &event["is_video"]),
        (&json!(id), &json!("missed"), &json!(true))
    );
    assert_eq!(state(&pair, ALICE, &id), "ended");
    assert_eq!(rejects(&pair), 0, "nobody asked for that");
    at_peace(&pair);
}

/// The caller goes by hidden identity, as most do: the number that the offer tells is learnt.
#[test]
fn a_caller_by_hidden_identity_is_told_by_number() {
    let mut pair = Pair::linked(2);
    let lid = pair.lab.phone(OWN).unwrap().lid;
    let id = pair.lab.call(ALICE, &lid, false, pair.now).unwrap();
    pair.drive();
    let event = pair.events_of("call.received").pop().unwrap();
    assert_eq!((&event["call_id"], &event["caller_number"]), (&json!(id), &json!(ALICE)));
    assert_eq!(event["caller_lid"], json!(pair.lab.phone(ALICE).unwrap().lid));
    assert_eq!(reject(&mut pair, &id), Ok(()));
    assert_eq!(state(&pair, ALICE, &id), "rejected");
    assert_eq!(state(&pair, OWN, &id), "rejected_elsewhere");
    at_peace(&pair);
}

/// Between a call's begin and its end the caller's other name may be learnt.
#[test]
fn a_caller_whose_other_name_is_learnt_meanwhile_is_the_same_caller() {
    let mut pair = Pair::linked(13);
    let id = call(&mut pair, ALICE, false);
    let lid: Jid = pair.lab.phone(ALICE).unwrap().lid.parse().unwrap();
    pair.store(move |tx| tx.people().learn(&lid, &Jid::pn(ALICE)));
    hang_up(&mut pair, ALICE, &id);
    assert_eq!(told(&pair), [(id.clone(), None), (id, Some("missed".into()))]);
    at_peace(&pair);
}

#[test]
fn nobody_answers_and_the_call_was_missed() {
    let mut pair = Pair::linked(3);
    let id = call(&mut pair, ALICE, false);
    pair.pass(44 * SECOND);
    assert_eq!(told(&pair), [(id.clone(), None)]);
    pair.pass(2 * SECOND);
    assert_eq!(told(&pair), [(id.clone(), None), (id.clone(), Some("missed".into()))]);
    assert_eq!((state(&pair, ALICE, &id), state(&pair, OWN, &id)), ("missed", "missed"));
    at_peace(&pair);
}

#[test]
fn what_the_phone_does_with_a_call_is_told() {
    let mut pair = Pair::linked(4);
    let taken = call(&mut pair, ALICE, false);
    pair.lab.decide_call(OWN, &taken, true, pair.now).unwrap();
    pair.drive();
    hang_up(&mut pair, ALICE, &taken);
    let refused = call(&mut pair, ECHO, false);
    hang_up(&mut pair, OWN, &refused);
    assert_eq!(
        told(&pair),
        [
            (taken.clone(), None),
            (taken.clone(), Some("accepted_elsewhere".into())),
            (refused.clone(), None),
            (refused.clone(), Some("rejected_elsewhere".into())),
        ]
    );
    assert_eq!((state(&pair, OWN, &taken), state(&pair, ALICE, &taken)), ("ended", "ended"));
    assert_eq!((state(&pair, OWN, &refused), state(&pair, ECHO, &refused)), ("rejected", "rejected"));
    at_peace(&pair);
}

#[test]
fn a_call_is_rejected_on_request_while_it_rings_and_only_then() {
    let mut pair = Pair::linked(5);
    assert_eq!(reject(&mut pair, "nothing"), Err(AskError::Unknown));
    let id = call(&mut pair, ALICE, false);
    assert_eq!(reject(&mut pair, &id), Ok(()));
    assert_eq!(told(&pair), [(id.clone(), None), (id.clone(), Some("rejected".into()))]);
    assert_eq!(reject(&mut pair, &id), Err(AskError::Unknown), "it is over");
    assert_eq!((rejects(&pair), state(&pair, ALICE, &id)), (1, "rejected"));
    pair.pass(60 * SECOND);
    assert_eq!(told(&pair).len(), 2, "what was rejected does not end again");
    let late = call(&mut pair, ALICE, false);
    hang_up(&mut pair, ALICE, &late);
    assert_eq!(reject(&mut pair, &late), Err(AskError::Unknown));
    pair.cut();
    pair.unreachable = true;
    pair.drive();
    assert!(matches!(reject(&mut pair, &id), Err(AskError::NotConnected(_))));
    at_peace(&pair);
}

#[test]
fn calls_are_rejected_as_configured_and_the_caller_is_told_once_a_minute() {
    let mut pair = rejecting(6, Some("We only write."));
    let first = call(&mut pair, ALICE, false);
    pair.pass(SECOND);
    assert_eq!(state(&pair, ALICE, &first), "rejected");
    assert_eq!(told(&pair), [(first.clone(), None), (first, Some("rejected".into()))]);
    let texts = |pair: &Pair| pair.inbox_of(ALICE).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    assert_eq!(texts(&pair), ["We only write."]);
    let second = call(&mut pair, ALICE, true);
    pair.pass(SECOND);
    assert_eq!((state(&pair, ALICE, &second), texts(&pair).len()), ("rejected", 1));
    // Another caller is another matter.
    call(&mut pair, ECHO, false);
    pair.pass(SECOND);
    assert_eq!(pair.inbox_of(ECHO).len(), 1);
    pair.pass(60 * SECOND);
    call(&mut pair, ALICE, false);
    pair.pass(SECOND);
    assert_eq!(texts(&pair), ["We only write."; 2]);
    assert_eq!(pair.events_of("message.sent").len(), 3, "they are messages like any other");
    at_peace(&pair);
}

#[test]
fn calls_are_rejected_without_a_word_if_none_is_given() {
    let mut pair = rejecting(7, None);
    let id = call(&mut pair, ALICE, false);
    pair.pass(SECOND);
    assert_eq!((state(&pair, ALICE, &id), pair.inbox_of(ALICE).len()), ("rejected", 0));
    at_peace(&pair);
}

#[test]
fn a_call_that_was_missed_while_away_is_told_and_not_rejected() {
    let mut pair = rejecting(8, Some("We only write."));
    pair.cut();
    pair.unreachable = true;
    pair.drive();
    let missed = pair.lab.call(ALICE, OWN, false, pair.now).unwrap();
    pair.pass(300 * SECOND);
    pair.unreachable = false;
    pair.pass(120 * SECOND);
    assert_eq!(told(&pair), [(missed.clone(), None), (missed, Some("missed".into()))]);
    assert_eq!((rejects(&pair), pair.inbox_of(ALICE).len()), (0, 0));
    let received = pair.events_of("call.received").pop().unwrap();
    let ended = pair.events_of("call.ended").pop().unwrap();
    assert!(received["timestamp"].as_str() < ended["timestamp"].as_str(), "each tells its own time");
    at_peace(&pair);
}

#[test]
fn a_process_that_is_killed_reports_a_call_once() {
    for steps in 0..4 {
        let mut pair = Pair::linked(9);
        let id = pair.lab.call(ALICE, OWN, false, pair.now).unwrap();
        for _ in 0..steps {
            pair.step();
        }
        pair.kill();
        pair.pass(10 * SECOND);
        assert_eq!(told(&pair), [(id.clone(), None)], "killed after {steps} steps");
        // It still rings, and can be rejected.
        assert_eq!(reject(&mut pair, &id), Ok(()));
        assert_eq!(state(&pair, ALICE, &id), "rejected");
        at_peace(&pair);
    }
}

fn stanza(call_id: &str, from: &Jid, action: CallAction) -> Call {
    Call {
        id: format!("S-{call_id}"),
        peer: from.clone(),
        t: None,
        notify: None,
        offline: None,
        call_id: call_id.into(),
        creator: from.clone(),
        action,
    }
}

#[test]
fn what_strangers_say_of_a_call_ends_nothing_and_is_acknowledged() {
    let mut pair = Pair::linked(10);
    let id = call(&mut pair, ALICE, false);
    let (stranger, own) = (Jid::pn("5511900000099"), Jid::pn(OWN));
    let before = pair.written.len();
    let ring = |call_id: &str, from: &Jid| stanza(call_id, from, CallAction::Offer(CallOffer::default()));
    let said = [
        // Somebody else's end of this call: an end of a call of theirs, for all we know.
        stanza(&id, &stranger, CallAction::Terminate(None)).build_from(),
        ring("own", &own).build_from(),
        stanza("x", &stranger, CallAction::Other("transport".into())).build_from(),
        Node::new("call").attr("id", "S-1").attr("from", &stranger),
        Node::new("call").attr("id", "S-2").attr("from", &stranger).child(Node::new("offer")),
        Node::new("call")
            .attr("id", "S-3")
            .attr("from", &stranger)
            .child(Node::new("terminate").attr("call-id", "y")),
        // A time that is no time.
        ring("late", &stranger).build_from().attr("t", u64::MAX),
        ring("group", &Jid::group("120363025246125486")).build_from(),
    ];
    let count = said.len();
    for node in said {
        pair.input(Input::Node(node));
    }
    pair.drive();
    let acks = pair.written[before..].iter().filter(|node| node.tag == "ack").count();
    assert_eq!(acks, count);
    assert_eq!(
        told(&pair),
        [(id.clone(), None), (id.clone(), Some("missed".into())), ("late".into(), None)],
        "the stranger's own, and the one with the odd time"
    );
    assert_eq!(reject(&mut pair, &id), Ok(()), "Alice's still rings");
    assert_eq!(state(&pair, ALICE, &id), "rejected");
}

#[test]
fn a_call_of_many_is_told_with_its_group_and_gets_no_text() {
    let mut pair = rejecting(11, Some("We only write."));
    let (from, group) = (Jid::pn(ALICE), Jid::group("120363025246125486"));
    let offer = CallOffer { video: false, of_group: true, group: Some(group.clone()), caller_pn: None };
    pair.input(Input::Node(stanza("many", &from, CallAction::Offer(offer)).build_from()));
    pair.pass(5 * SECOND);
    let event = pair.events_of("call.received").pop().unwrap();
    assert_eq!((&event["is_group"], &event["group_jid"]), (&json!(true), &json!(group.to_wire())));
    assert_eq!((rejects(&pair), pair.inbox_of(ALICE).len()), (1, 0));
}

#[test]
fn the_sandbox_refuses_calls_that_cannot_be() {
    let mut pair = Pair::linked(12);
    let id = call(&mut pair, ALICE, false);
    let connection = pair.connection().unwrap();
    let (alice, own) = (Jid::pn(ALICE), Jid::pn(OWN).with_device(1));
    let said = [
        Node::new("call").attr("id", "1").attr("to", &alice),
        // In the name of another.
        stanza("new", &alice, CallAction::Offer(CallOffer::default())).build_to(),
        Call {
            peer: Jid::pn("5500000000000"),
            ..stanza("new", &own, CallAction::Offer(CallOffer::default()))
        }
        .build_to(),
        stanza(&id, &Jid::pn(ECHO), CallAction::Reject).build_to(),
        stanza(&id, &Jid::pn("5500000000000"), CallAction::Reject).build_to(),
    ];
    let count = said.len() as u64;
    for node in said {
        pair.lab.node(connection, node, pair.now);
    }
    pair.drive();
    assert_eq!(pair.lab.stats().refused.values().sum::<u64>(), count);
    assert_eq!(state(&pair, ALICE, &id), "ringing");
    let now = pair.now;
    for (phone, id, status) in [(ECHO, id.as_str(), 404), (OWN, "nothing", 404)] {
        assert_eq!(pair.lab.decide_call(phone, id, false, now).unwrap_err().status, status);
    }
    assert_eq!(pair.lab.decide_call(ALICE, &id, true, now).unwrap_err().status, 409);
    for to in [ALICE, "5500000000000", "120363025246125486@g.us"] {
        assert!(pair.lab.call(ALICE, to, false, now).is_err(), "{to}");
    }
}
