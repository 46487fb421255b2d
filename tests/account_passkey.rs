//! Linking an account that wants a passkey, against the simulated WhatsApp on one fake clock.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, OWN, Pair};
use serde_json::{Map, Value, json};
use wazap::{
    account::{
        Answer, Assertion, CodeState, Command, Input, PasskeyCommand, PasskeyRefused, PasskeyState, Status,
    },
    crypto::{PublicKey, passkey::Primary},
    sandbox::Defect,
    stanza::{PasskeyNotice, PasskeyPrologue, PasskeyQuery},
    wire::{Jid, Node},
};

const SECOND: Duration = Duration::from_secs(1);
/// The companion proves that it showed the code for five minutes.
const LONG: Duration = Duration::from_secs(301);

fn new(seed: u64) -> Pair {
    let mut pair = Pair::new(seed);
    pair.lab.want_passkey(OWN, true).unwrap();
    pair.drive();
    pair
}

/// A phone scanned, and a passkey is wanted.
fn demanded(seed: u64) -> Pair {
    let mut pair = new(seed);
    pair.scan();
    assert_eq!(state(&pair), "awaiting_assertion");
    pair
}

fn state(pair: &Pair) -> &'static str {
    pair.link().passkey.as_str()
}

fn options(pair: &Pair) -> Value {
    pair.link().passkey.options().expect("options are known")
}

fn read(assertion: Value) -> Assertion {
    let Value::Object(members) = assertion else { panic!("an object") };
    Assertion::read(&members).unwrap()
}

fn sign(pair: &mut Pair, defect: Option<Defect>) -> Assertion {
    let options = options(pair);
    read(pair.lab.sign_with_passkey(OWN, &options, defect).unwrap())
}

fn tells(pair: &mut Pair, command: PasskeyCommand) -> Result<(), PasskeyRefused> {
    let ticket = pair.ask(Command::Passkey(command));
    pair.drive();
    match pair.answer(ticket) {
        Some(Answer::Passkey(answer)) => *answer,
        other => panic!("answered with {other:?}"),
    }
}

fn hand_in(pair: &mut Pair, defect: Option<Defect>) {
    let assertion = sign(pair, defect);
    assert_eq!(tells(pair, PasskeyCommand::Assert(assertion)), Ok(()));
}

fn linked(pair: &mut Pair) {
    pair.pass(15 * SECOND);
    assert_eq!((pair.status(), pair.link().phone.as_deref()), (Status::Connected, Some(OWN)));
    assert_eq!(pair.link().passkey, PasskeyState::None);
    pair.assert_well_behaved();
    let id = pair.phone_sends(ALICE, "hello");
    pair.drive();
    assert_eq!(pair.received(), [id]);
}

/// Another QR code is offered, and links without a passkey.
fn begins_again(pair: &mut Pair) {
    pair.pass(5 * SECOND);
    assert_eq!((pair.status(), pair.lab.stats().connections), (Status::QrReady, 2));
    pair.lab.want_passkey(OWN, false).unwrap();
    pair.scan();
    linked(pair);
}

fn queries(pair: &Pair) -> Vec<PasskeyQuery> {
    pair.written
        .iter()
        .filter(|node| PasskeyQuery::is(node))
        .map(|n| PasskeyQuery::parse(n).unwrap())
        .collect()
}

fn prologues(pair: &Pair) -> Vec<PasskeyPrologue> {
    let prologue = |query| match query {
        PasskeyQuery::Prologue(prologue) => Some(prologue),
        _ => None,
    };
    queries(pair).into_iter().filter_map(prologue).collect()
}

fn noticed(pair: &mut Pair, notice: &PasskeyNotice) {
    pair.input(Input::Node(notice.build("h1", 1)));
    pair.drive();
}

#[test]
fn a_signed_challenge_links_and_the_proof_spares_the_comparison() {
    let mut pair = demanded(1);
    assert_eq!((pair.status(), pair.link().qr), (Status::QrReady, None));
    let event = pair.events_of("instance.passkey").pop().unwrap();
    assert_eq!(
        (&event["status"], &event["options"]["rpId"]),
        (&json!("awaiting_assertion"), &json!("whatsapp.com"))
    );
    hand_in(&mut pair, None);
    let [prologue] = &prologues(&pair)[..] else { panic!("one prologue") };
    assert!(prologue.proof.is_some());
    linked(&mut pair);
    // Whoever was linked once is demanded a passkey again.
    pair.lab.unlink(OWN, 1, pair.now).unwrap();
    pair.pass(SECOND);
    pair.scan();
    hand_in(&mut pair, None);
    pair.pass(15 * SECOND);
    assert_eq!(pair.status(), Status::Connected);
    pair.assert_well_behaved();
}

#[test]
fn after_five_minutes_there_is_no_proof_and_somebody_compares_the_code() {
    let mut pair = demanded(2);
    pair.pass(LONG);
    assert_eq!(pair.link().qr, None, "the code is taken, no other takes its place");
    assert_eq!(tells(&mut pair, PasskeyCommand::Confirm), Err(PasskeyRefused::NotAwaited));
    hand_in(&mut pair, None);
    let PasskeyState::Confirm { code, expires_at } = pair.link().passkey else { panic!("{}", state(&pair)) };
    assert_eq!((code.len(), expires_at), (9, pair.now + 600 * SECOND));
    let phone = pair.lab.passkey(OWN).unwrap();
    assert_eq!((phone.code.as_ref(), phone.proved), (Some(&code), None));
    assert_eq!(pair.events_of("instance.passkey").pop().unwrap()["code"], code.as_str());
    // Nothing is sent to the phone before somebody said so; a second assertion is of no use now.
    pair.pass(60 * SECOND);
    assert!(!queries(&pair).iter().any(|query| matches!(query, PasskeyQuery::Request(_))));
    let again =
        read(pair.lab.sign_with_passkey(OWN, &json!({"challenge": "AA", "rpId": "x"}), None).unwrap());
    assert_eq!(tells(&mut pair, PasskeyCommand::Assert(again)), Err(PasskeyRefused::NotAwaited));
    assert_eq!(tells(&mut pair, PasskeyCommand::Confirm), Ok(()));
    linked(&mut pair);
}

#[test]
fn the_phone_believes_the_proof_of_a_scanned_and_of_a_typed_code() {
    for typed in [false, true] {
        let mut pair = new(3);
        if typed {
            pair.ask(Command::PairByCode(OWN.to_owned()));
            pair.drive();
            let code = pair.link().code.text().unwrap().to_owned();
            pair.lab.type_code(OWN, &code, pair.now).unwrap();
            pair.drive();
        } else {
            pair.scan();
        }
        // The code has done its work.
        assert_eq!((state(&pair), pair.link().code), ("awaiting_assertion", CodeState::None));
        let assertion = sign(&mut pair, None);
        pair.ask(Command::Passkey(PasskeyCommand::Assert(assertion)));
        let mut proved = None;
        while pair.step() {
            proved = proved.or(pair.lab.passkey(OWN).unwrap().proved);
        }
        assert_eq!(proved, Some(true));
        linked(&mut pair);
    }
}

#[test]
fn a_demand_while_a_code_waits_takes_its_place_and_the_code_comes_back_after_it() {
    let mut pair = Pair::with(4, |settings| settings.pair_phone = Some(OWN.into()));
    pair.lab.want_passkey(OWN, true).unwrap();
    pair.drive();
    assert!(pair.link().code.text().is_some());
    pair.scan();
    assert_eq!((state(&pair), pair.link().code), ("awaiting_assertion", CodeState::None));
    pair.ask(Command::PairByCode(OWN.to_owned()));
    // Longer than any code and any batch of QR codes lives.
    pair.pass(250 * SECOND);
    assert_eq!((state(&pair), pair.link().code), ("awaiting_assertion", CodeState::None));
    assert_eq!((pair.link().qr, pair.lab.stats().connections), (None, 1));
    assert_eq!(tells(&mut pair, PasskeyCommand::Abandon), Ok(()));
    assert_eq!(pair.link().passkey.reason(), Some("abandoned"));
    assert!(pair.link().code.text().is_some() && pair.link().qr.is_some());
    begins_again(&mut pair);
}

#[test]
fn what_is_signed_wrongly_is_refused_and_another_challenge_is_wanted() {
    for defect in
        [Defect::Signature, Defect::RelyingParty, Defect::Origin, Defect::Unverified, Defect::Credential]
    {
        let mut pair = demanded(5);
        let first = options(&pair);
        hand_in(&mut pair, Some(defect));
        assert_eq!(
            (state(&pair), pair.link().passkey.refused()),
            ("awaiting_assertion", Some(401)),
            "{defect:?}"
        );
        assert_ne!(options(&pair)["challenge"], first["challenge"]);
        // What was signed for the first is not sent again.
        let old = read(pair.lab.sign_with_passkey(OWN, &first, None).unwrap());
        assert_eq!(tells(&mut pair, PasskeyCommand::Assert(old)), Err(PasskeyRefused::OtherChallenge));
        assert_eq!(prologues(&pair).len(), 1);
        hand_in(&mut pair, None);
        linked(&mut pair);
    }
}

#[test]
fn another_challenge_than_the_one_that_waits_never_leaves() {
    let mut pair = demanded(6);
    let other = sign(&mut pair, Some(Defect::Challenge));
    assert_eq!(tells(&mut pair, PasskeyCommand::Assert(other)), Err(PasskeyRefused::OtherChallenge));
    assert!(queries(&pair).is_empty());
    hand_in(&mut pair, None);
    linked(&mut pair);
}

#[test]
fn after_refusals_without_end_the_ceremony_ends_and_a_qr_code_is_shown() {
    let mut pair = demanded(7);
    let mut refused = 0;
    while state(&pair) == "awaiting_assertion" {
        refused += 1;
        assert!(refused < 20, "refusals without end");
        hand_in(&mut pair, Some(Defect::Signature));
    }
    assert_eq!(pair.link().passkey.reason(), Some("refused"));
    assert_eq!((refused, prologues(&pair).len()), (7, 7));
    begins_again(&mut pair);
}

#[test]
fn nobody_signs_challenges_follow_each_other_and_then_a_qr_code_is_shown() {
    let mut pair = demanded(8);
    let first = options(&pair);
    pair.pass(601 * SECOND);
    assert_eq!((state(&pair), pair.lab.stats().connections), ("awaiting_assertion", 1));
    assert_ne!(options(&pair)["challenge"], first["challenge"]);
    pair.pass(3600 * SECOND);
    assert_eq!(pair.link().passkey.reason(), Some("timeout"));
    assert_eq!((pair.status(), pair.lab.stats().connections), (Status::QrReady, 2));
    begins_again(&mut pair);
}

#[test]
fn nobody_compares_and_a_qr_code_is_shown() {
    let mut pair = demanded(9);
    pair.pass(LONG);
    hand_in(&mut pair, None);
    assert_eq!(state(&pair), "awaiting_confirmation");
    pair.pass(601 * SECOND);
    assert_eq!(pair.link().passkey.reason(), Some("timeout"));
    assert_eq!(tells(&mut pair, PasskeyCommand::Confirm), Err(PasskeyRefused::NotAwaited));
    begins_again(&mut pair);
}

#[test]
fn the_phones_user_declines_and_a_lost_connection_ends_it_at_any_step() {
    let mut pair = demanded(10);
    pair.lab.decline_passkey(OWN, pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.link().passkey.reason(), Some("connection_lost"));
    begins_again(&mut pair);
    for steps in 0..10 {
        let mut pair = demanded(11);
        let assertion = sign(&mut pair, None);
        pair.ask(Command::Passkey(PasskeyCommand::Assert(assertion)));
        for _ in 0..steps {
            pair.step();
        }
        pair.cut();
        pair.pass(20 * SECOND);
        if pair.status() != Status::Connected {
            // Once the phone has vouched, it is the login that fails, as after any code.
            let vouched = pair.written.iter().any(|node| node.find("pair-device-sign").is_some());
            let shown = if vouched { "none" } else { "failed" };
            assert_eq!((pair.status(), state(&pair)), (Status::QrReady, shown), "cut after {steps} steps");
            pair.scan();
            hand_in(&mut pair, None);
        }
        linked(&mut pair);
    }
    // And a process that was killed knows nothing of it any more.
    let mut pair = demanded(12);
    pair.kill();
    pair.drive();
    assert_eq!((state(&pair), pair.status()), ("none", Status::QrReady));
    begins_again(&mut pair);
}

#[test]
fn options_that_are_missing_or_cannot_be_read_are_asked_for() {
    for broken in [None, Some("{".to_owned()), Some(r#"{"challenge":"AA","rpId":1}"#.to_owned())] {
        let mut pair = demanded(13);
        let before = options(&pair);
        noticed(&mut pair, &PasskeyNotice::Wanted(broken));
        assert_eq!(queries(&pair).len(), 1);
        assert_ne!(options(&pair)["challenge"], before["challenge"], "the server's next");
        hand_in(&mut pair, None);
        linked(&mut pair);
    }
}

/// What a hostile server, or one that is out of step, may say of a passkey.
#[test]
fn notices_that_fit_nothing_are_acknowledged_and_change_nothing() {
    let mut pair = new(14);
    let primary = Primary { public: PublicKey::from_bytes([9; 32]), nonce: [8; 32] }.build();
    let acks = |pair: &Pair| pair.written.iter().filter(|node| node.tag == "ack").count();
    // Before anything, from somebody else, and for what is not there.
    let answered = PasskeyNotice::Answered(primary);
    noticed(&mut pair, &answered);
    let stranger: Node = PasskeyNotice::Wanted(Some(r#"{"challenge":"AA"}"#.into())).build("h2", 1);
    pair.input(Input::Node(stranger.attr("from", Jid::pn(ALICE))));
    pair.drive();
    assert_eq!((acks(&pair), state(&pair)), (2, "none"));
    assert!(pair.link().qr.is_some());
    pair.scan();
    noticed(&mut pair, &answered);
    assert_eq!((state(&pair), queries(&pair).len()), ("awaiting_assertion", 0));
    pair.pass(LONG);
    hand_in(&mut pair, None);
    let code = pair.link().passkey.code().unwrap().to_owned();
    // A second answer, and a second demand.
    noticed(&mut pair, &answered);
    noticed(&mut pair, &PasskeyNotice::Wanted(Some(r#"{"challenge":"AA"}"#.into())));
    assert_eq!(pair.link().passkey.code(), Some(&*code));
    assert_eq!(tells(&mut pair, PasskeyCommand::Confirm), Ok(()));
    linked(&mut pair);
    // Nor is a linked instance impressed.
    noticed(&mut pair, &PasskeyNotice::Wanted(Some(r#"{"challenge":"AA"}"#.into())));
    assert_eq!((state(&pair), pair.status()), ("none", Status::Connected));
}

#[test]
fn an_answer_of_the_phone_that_cannot_be_read_ends_the_ceremony() {
    for primary in [vec![], Primary { public: PublicKey::from_bytes([0; 32]), nonce: [8; 32] }.build()] {
        let mut pair = demanded(15);
        // The phone's own answer is lost.
        pair.copies = |node| usize::from(node.text("type") != Some("crsc_continuation"));
        hand_in(&mut pair, None);
        assert_eq!(state(&pair), "awaiting_phone");
        noticed(&mut pair, &PasskeyNotice::Answered(primary));
        assert_eq!(pair.link().passkey.reason(), Some("unreadable_answer"));
        assert!(!queries(&pair).iter().any(|query| matches!(query, PasskeyQuery::Nonce(_))));
        pair.copies = |_| 1;
        begins_again(&mut pair);
    }
    // And one that never comes.
    let mut pair = demanded(16);
    pair.copies = |node| usize::from(node.text("type") != Some("crsc_continuation"));
    hand_in(&mut pair, None);
    pair.pass(601 * SECOND);
    assert_eq!(pair.link().passkey.reason(), Some("timeout"));
    pair.copies = |_| 1;
    begins_again(&mut pair);
}

/// Once the phone was told of a fresh secret, whoever knows only the QR code cannot vouch.
#[test]
fn after_the_pairing_request_the_secret_of_the_qr_code_is_worth_nothing() {
    let mut other = Pair::new(17);
    other.drive();
    let mut pair = demanded(17);
    pair.copies = |node| usize::from(node.find("pair-success").is_none());
    hand_in(&mut pair, None);
    assert_eq!(state(&pair), "finishing");
    // The same instance elsewhere: same keys, same secret in its QR code, a phone that wants no passkey.
    let mut forged = None;
    let code = other.link().qr.unwrap().text;
    other.lab.scan_qr(ALICE, &code, other.now).unwrap();
    for (_, out) in other.lab.take() {
        if let wazap::sandbox::Out::Node(node) = out
            && node.find("pair-success").is_some()
        {
            forged = Some(node);
        }
    }
    pair.input(Input::Node(forged.expect("a phone vouched")));
    pair.drive();
    let refusals = pair.written.iter().filter(|node| node.text("type") == Some("error")).count();
    assert_eq!((refusals, pair.status()), (1, Status::QrReady));
    assert!(pair.link().phone.is_none());
}

#[test]
fn the_sandbox_refuses_what_no_client_says() {
    let mut pair = demanded(18);
    let connection = pair.connection().unwrap();
    let prologue =
        PasskeyPrologue { credential: vec![1], assertion: b"{}".to_vec(), payload: vec![1; 84], proof: None };
    let said =
        [PasskeyQuery::Prologue(prologue), PasskeyQuery::Nonce([1; 32]), PasskeyQuery::Request(vec![1; 40])];
    let count = said.len() as u64;
    for (n, query) in said.into_iter().enumerate() {
        pair.lab.node(connection, query.build(&format!("r{n}")), pair.now);
    }
    pair.drive();
    assert_eq!(pair.lab.stats().refused.values().sum::<u64>(), count);
    hand_in(&mut pair, None);
    pair.pass(15 * SECOND);
    assert_eq!(pair.status(), Status::Connected);
    // Who was asked for none has none to show.
    let mut pair = Pair::new(19);
    pair.drive();
    let connection = pair.connection().unwrap();
    pair.lab.node(connection, PasskeyQuery::Options.build("r1"), pair.now);
    assert_eq!(pair.lab.stats().refused.values().sum::<u64>(), 1);
    assert_eq!(pair.lab.sign_with_passkey(OWN, &json!({}), None).unwrap_err().status, 409);
    pair.lab.want_passkey(OWN, true).unwrap();
    assert_eq!(pair.lab.sign_with_passkey(OWN, &json!({}), None).unwrap_err().status, 400);
    assert!(Assertion::read(&Map::new()).is_err());
}
