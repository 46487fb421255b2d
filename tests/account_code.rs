//! Linking by a code typed on the phone, against the simulated WhatsApp on one fake clock.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, OWN, Pair};
use wazap::{
    account::{CodeState, Command, Input, Status},
    crypto::PublicKey,
    sandbox::CodeOutcome,
    stanza::{CompanionFinish, CompanionHello, Iq, LinkCodeNotice, LinkCodeQuery},
    wire::{Jid, Node},
};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than any code is good for.
const LONG: Duration = Duration::from_secs(200);

/// A code for the own number is on show; which.
fn shown(pair: &Pair) -> String {
    pair.link().code.text().expect("a code is on show").to_owned()
}

fn asked(seed: u64) -> Pair {
    let mut pair = Pair::new(seed);
    pair.drive();
    ask(&mut pair, OWN);
    pair
}

fn ask(pair: &mut Pair, number: &str) {
    pair.ask(Command::PairByCode(number.to_owned()));
    pair.drive();
}

/// The phone's user types; what came of it.
fn types(pair: &mut Pair, code: &str) -> CodeOutcome {
    let attempt = pair.lab.type_code(OWN, code, pair.now).unwrap();
    pair.drive();
    pair.lab.code_outcome(OWN, attempt).unwrap().expect("the last attempt")
}

fn linked(pair: &mut Pair) {
    pair.pass(15 * SECOND);
    assert_eq!((pair.status(), pair.link().phone.as_deref()), (Status::Connected, Some(OWN)));
    assert_eq!(pair.link().code, CodeState::None);
    pair.assert_well_behaved();
}

/// Queries about codes that the client wrote.
fn queries(pair: &Pair) -> Vec<LinkCodeQuery> {
    pair.written
        .iter()
        .filter(|node| LinkCodeQuery::is(node))
        .map(|n| LinkCodeQuery::parse(n).unwrap())
        .collect()
}

fn hellos(pair: &Pair) -> Vec<CompanionHello> {
    let hello = |query| match query {
        LinkCodeQuery::Hello(hello) => Some(hello),
        LinkCodeQuery::Finish(_) => None,
    };
    queries(pair).into_iter().filter_map(hello).collect()
}

fn finishes(pair: &Pair) -> Vec<CompanionFinish> {
    let finish = |query| match query {
        LinkCodeQuery::Finish(finish) => Some(finish),
        LinkCodeQuery::Hello(_) => None,
    };
    queries(pair).into_iter().filter_map(finish).collect()
}

#[test]
fn a_typed_code_links_and_the_code_is_told_beside_the_qr_code() {
    let mut pair = asked(1);
    let code = shown(&pair);
    assert_eq!((pair.status(), code.len()), (Status::QrReady, 9));
    let event = pair.events_of("instance.qr").pop().unwrap();
    assert_eq!(event["pairing_code"], code.as_str());
    assert!(event["qr_code_text"].as_str().is_some_and(|text| !text.is_empty()));
    // As people type.
    assert_eq!(types(&mut pair, &code.to_lowercase().replace('-', "")), CodeOutcome::Linked);
    linked(&mut pair);
    let companions = pair.lab.phone(OWN).unwrap().companions;
    assert_eq!(companions.len(), 1);
    // And the link carries messages.
    let id = pair.phone_sends(ALICE, "hello");
    pair.drive();
    assert_eq!(pair.received(), [id]);
}

#[test]
fn the_qr_code_links_as_well_while_a_code_is_on_show_and_after_a_wrong_one() {
    for wrong in [false, true] {
        let mut pair = asked(2);
        if wrong {
            assert_eq!(types(&mut pair, "1111-1111"), CodeOutcome::WrongCode);
        }
        pair.scan();
        linked(&mut pair);
    }
}

#[test]
fn a_wrong_code_is_refused_by_the_phone_and_the_right_one_still_links() {
    let mut pair = asked(3);
    let code = shown(&pair);
    for _ in 0..2 {
        assert_eq!(types(&mut pair, "ZZZZ-ZZZZ"), CodeOutcome::WrongCode);
        assert_eq!((pair.status(), shown(&pair)), (Status::QrReady, code.clone()));
    }
    assert_eq!(types(&mut pair, &code), CodeOutcome::Linked);
    linked(&mut pair);
}

#[test]
fn after_three_wrong_codes_another_one_is_shown_and_five_are_enough() {
    let mut pair = asked(4);
    let mut codes = vec![shown(&pair)];
    while let Some(code) = pair.link().code.text() {
        if codes.last().map(String::as_str) != Some(code) {
            codes.push(code.to_owned());
        }
        assert!(codes.len() <= 5, "codes without end");
        types(&mut pair, "ZZZZ-ZZZZ");
    }
    assert_eq!((codes.len(), finishes(&pair).len()), (5, 15));
    assert_eq!(pair.status(), Status::QrReady, "the QR code is left");
    ask(&mut pair, OWN);
    let code = shown(&pair);
    assert_eq!(types(&mut pair, &code), CodeOutcome::Linked);
    linked(&mut pair);
}

#[test]
fn asking_again_gives_another_code_and_the_first_is_worth_nothing() {
    let mut pair = asked(5);
    let first = shown(&pair);
    ask(&mut pair, OWN);
    let second = shown(&pair);
    assert_ne!(first, second);
    assert_eq!(types(&mut pair, &first), CodeOutcome::WrongCode);
    assert_eq!(types(&mut pair, &second), CodeOutcome::Linked);
    linked(&mut pair);
}

#[test]
fn a_code_outlives_the_qr_codes_of_its_connection_and_then_gives_way_to_another() {
    let mut pair = Pair::new(6);
    pair.pass(100 * SECOND);
    ask(&mut pair, OWN);
    let first = shown(&pair);
    // The last ref was used up 160 s after the start; the code is good until 280 s.
    pair.pass(170 * SECOND);
    assert_eq!((shown(&pair), pair.lab.stats().connections), (first.clone(), 1));
    assert!(pair.link().qr.is_some(), "the last QR code is still good");
    assert_eq!(pair.link().qr.unwrap().expires_at, pair.now + 10 * SECOND);
    pair.pass(15 * SECOND);
    let second = shown(&pair);
    assert_ne!(first, second);
    assert_eq!(pair.lab.stats().connections, 2);
    assert_eq!(types(&mut pair, &second), CodeOutcome::Linked);
    linked(&mut pair);
}

#[test]
fn nobody_types_and_after_five_batches_the_instance_stops_asking() {
    let mut pair = Pair::with(7, |settings| settings.pair_phone = Some(OWN.into()));
    pair.pass(20 * 60 * SECOND);
    assert_eq!((pair.status(), pair.link().reason), (Status::Disconnected, Some("qr_timeout")));
    assert_eq!(hellos(&pair).len(), 5, "a code for each batch");
    // Asked to connect, it goes on as configured.
    pair.ask(Command::Connect);
    pair.drive();
    let code = shown(&pair);
    assert_eq!(types(&mut pair, &code), CodeOutcome::Linked);
    linked(&mut pair);
    // And again once the phone has unlinked it.
    pair.lab.unlink(OWN, 1, pair.now).unwrap();
    pair.pass(SECOND);
    let code = shown(&pair);
    assert_eq!(types(&mut pair, &code), CodeOutcome::Linked);
    linked(&mut pair);
}

#[test]
fn a_number_that_whatsapp_refuses_leaves_the_qr_code() {
    let mut pair = Pair::new(8);
    pair.drive();
    ask(&mut pair, "5500000000000");
    assert_eq!((pair.status(), pair.link().code), (Status::QrReady, CodeState::Refused(400)));
    pair.scan();
    linked(&mut pair);
}

#[test]
fn connecting_without_a_number_goes_back_to_the_qr_code_alone() {
    let mut pair = asked(9);
    let code = shown(&pair);
    pair.ask(Command::Connect);
    pair.drive();
    assert_eq!(pair.link().code, CodeState::None);
    assert_eq!(types(&mut pair, &code), CodeOutcome::Waiting, "nobody answers for it");
    pair.scan();
    linked(&mut pair);
}

#[test]
fn on_a_linked_instance_asking_for_a_code_changes_nothing() {
    let mut pair = Pair::linked(10);
    ask(&mut pair, ALICE);
    assert_eq!((pair.status(), pair.link().code), (Status::Connected, CodeState::None));
    assert!(hellos(&pair).is_empty());
}

#[test]
fn a_cut_brings_another_code_and_a_kill_at_any_step_ends_linked() {
    let mut pair = asked(11);
    let first = shown(&pair);
    pair.cut();
    pair.pass(5 * SECOND);
    let second = shown(&pair);
    assert_ne!(first, second);
    assert_eq!(types(&mut pair, &second), CodeOutcome::Linked);
    linked(&mut pair);
    for steps in 0..8 {
        let mut pair = Pair::with(12, |settings| settings.pair_phone = Some(OWN.into()));
        pair.drive();
        let code = shown(&pair);
        pair.lab.type_code(OWN, &code, pair.now).unwrap();
        for _ in 0..steps {
            pair.step();
        }
        pair.kill();
        pair.pass(LONG);
        if pair.status() == Status::QrReady {
            let code = shown(&pair);
            assert_eq!(types(&mut pair, &code), CodeOutcome::Linked);
            pair.pass(15 * SECOND);
        }
        assert_eq!(pair.status(), Status::Connected, "killed {steps} steps after the code was typed");
        pair.assert_well_behaved();
    }
}

#[test]
fn the_server_may_call_a_code_worthless() {
    let mut pair = asked(13);
    let first = shown(&pair);
    pair.lab.refresh_code(OWN, false, pair.now).unwrap();
    pair.drive();
    let second = shown(&pair);
    assert_ne!(first, second);
    pair.lab.refresh_code(OWN, true, pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.link().code, CodeState::None, "by hand: not before somebody asks");
    ask(&mut pair, OWN);
    let third = shown(&pair);
    assert_eq!(types(&mut pair, &third), CodeOutcome::Linked);
    linked(&mut pair);
}

/// What a hostile server, or one that is out of step, may say of a code.
#[test]
fn notices_that_fit_nothing_are_acknowledged_and_change_nothing() {
    let mut pair = asked(14);
    let code = shown(&pair);
    let identity = PublicKey::from_bytes([3; 32]);
    let foreign = LinkCodeNotice::PrimaryHello { reference: b"2@other".to_vec(), wrapped: [1; 80], identity };
    let refresh = LinkCodeNotice::Refresh { reference: b"2@other".to_vec(), by_hand: true };
    let mut from_somebody = foreign.build("h3", 1);
    from_somebody = from_somebody.attr("from", Jid::pn(ALICE));
    let short = Node::new("link_code_companion_reg")
        .attr("stage", "primary_hello")
        .child(Node::new("link_code_pairing_wrapped_primary_ephemeral_pub").bytes(vec![0; 79]))
        .child(Node::new("primary_identity_pub").bytes(vec![0; 32]))
        .child(Node::new("link_code_pairing_ref").bytes(b"2@".to_vec()));
    let frame = |id: &str| {
        Node::new("notification")
            .attr("from", Jid::server_itself())
            .attr("type", "link_code_companion_reg")
            .attr("id", id.to_owned())
    };
    let before = pair.written.len();
    let notices = [
        foreign.build("h1", 1),
        refresh.build("h2", 1),
        from_somebody,
        LinkCodeNotice::Precursor.build("h4", 1),
        frame("h5").child(short),
        frame("h6"),
        frame("h7").child(Node::new("link_code_companion_reg")),
    ];
    let count = notices.len();
    for notice in notices {
        pair.input(Input::Node(notice));
    }
    pair.drive();
    let written = &pair.written[before..];
    assert_eq!(written.iter().filter(|node| node.tag == "ack").count(), count);
    assert_eq!(written.len(), count, "and nothing else");
    assert_eq!(shown(&pair), code);
    assert_eq!(types(&mut pair, &code), CodeOutcome::Linked);
    linked(&mut pair);
}

/// Keys that agree on nothing are no reason to answer.
#[test]
fn a_low_order_identity_gets_no_answer() {
    let mut pair = asked(15);
    let hello = hellos(&pair).pop().unwrap();
    let reference = reference_of(&pair, &hello.id);
    let notice = LinkCodeNotice::PrimaryHello {
        reference,
        wrapped: [9; 80],
        identity: PublicKey::from_bytes([0; 32]),
    };
    pair.input(Input::Node(notice.build("h1", 1)));
    pair.drive();
    assert!(finishes(&pair).is_empty());
    let code = shown(&pair);
    assert_eq!(types(&mut pair, &code), CodeOutcome::Linked);
    linked(&mut pair);
}

/// The ref as the server logged it.
fn reference_of(pair: &Pair, id: &str) -> Vec<u8> {
    let log = pair.lab.log(None).unwrap();
    let line =
        log.iter().find(|line| line.stanza.contains(id) && line.stanza.contains("pairing_ref")).unwrap();
    let (_, text) = line.stanza.split_once("<link_code_pairing_ref>").unwrap();
    let text: String = text.chars().take_while(char::is_ascii_hexdigit).collect();
    hex::decode(text).unwrap()
}

/// The server takes one answer for each time that a code is typed, and only to the code on show.
#[test]
fn the_sandbox_refuses_what_no_client_says() {
    let mut pair = asked(16);
    let code = shown(&pair);
    assert_eq!(types(&mut pair, "1111-1111"), CodeOutcome::WrongCode);
    let finish = finishes(&pair).pop().unwrap();
    // The same once more, with the same or another id.
    let connection = pair.connection().unwrap();
    let again = |id: &str| CompanionFinish { id: id.into(), ..finish.clone() }.build();
    let mut said: Vec<Node> = vec![again("r1")];
    let reference = b"2@nobody".to_vec();
    said.push(CompanionFinish { id: "r2".into(), reference, ..finish.clone() }.build());
    let hello = hellos(&pair).pop().unwrap();
    let noise = PublicKey::from_bytes([5; 32]);
    said.push(CompanionHello { id: "r3".into(), noise, ..hello.clone() }.build());
    said.push(CompanionHello { id: "r4".into(), display: "wazap".into(), ..hello.clone() }.build());
    said.push(CompanionHello { id: "r5".into(), jid: Jid::lid("123456789012345"), ..hello }.build());
    said.push(Iq::query("r6", wazap::stanza::IqKind::Set, "md").child(Node::new("link_code_companion_reg")));
    let count = said.len();
    for node in said {
        pair.lab.node(connection, node, pair.now);
    }
    pair.drive();
    assert_eq!(pair.lab.stats().refused.values().sum::<u64>(), count as u64);
    // None of it hurts the code on show.
    assert_eq!(types(&mut pair, &code), CodeOutcome::Linked);
    pair.pass(15 * SECOND);
    assert_eq!(pair.status(), Status::Connected);
}

#[test]
fn a_code_that_nobody_shows_or_nobody_could_type_is_refused_at_the_phone() {
    let mut pair = Pair::new(17);
    pair.drive();
    let now = pair.now;
    assert_eq!(pair.lab.type_code(OWN, "1111-1111", now).unwrap_err().status, 404);
    ask(&mut pair, OWN);
    assert_eq!(pair.lab.type_code(OWN, "1111", now).unwrap_err().status, 400);
    assert_eq!(pair.lab.type_code(ALICE, "1111-1111", now).unwrap_err().status, 404);
}
