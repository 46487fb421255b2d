//! The link of an account, from the first code to the last goodbye, against the simulated WhatsApp on one fake clock.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, OWN, Pair, ids};
use serde_json::json;
use wazap::{
    account::{Answer, CloseCause, Command, Input, Status},
    stanza::{Failure, StreamError},
};

const MINUTE: Duration = Duration::from_secs(60);

fn reasons(pair: &Pair, kind: &str) -> Vec<(String, Option<String>)> {
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    pair.events_of(kind).iter().map(|e| (text(&e["new_status"]).unwrap(), text(&e["reason"]))).collect()
}

#[test]
fn a_scanned_code_links_and_connects() {
    let mut pair = Pair::new(1);
    pair.drive();
    assert_eq!(pair.status(), Status::QrReady);
    pair.scan();
    // The server restarts the stream a moment after the pairing; the phone then sends keys and history.
    pair.pass(Duration::from_secs(15));
    let link = pair.link();
    assert_eq!((link.status, link.paired, link.phone.as_deref()), (Status::Connected, true, Some(OWN)));
    assert_eq!(link.name.as_deref(), Some("Own"), "the history names the account");
    let phone = pair.lab.phone(OWN).unwrap();
    let companions: Vec<_> = phone.companions.iter().map(|c| (c.device, c.online, c.name.as_str())).collect();
    assert_eq!(companions, [(1, true, "story")]);
    assert_eq!(pair.unanswered(), 0, "everything the server delivered was answered");
    let steps = pair.events().into_iter().map(|e| e.kind).filter(|kind| kind.starts_with("instance."));
    assert_eq!(steps.collect::<Vec<_>>().last().map(String::as_str), Some("instance.connected"));
    pair.assert_well_behaved();
}

#[test]
fn a_restart_logs_in_with_the_same_device() {
    let mut pair = Pair::linked(2);
    pair.kill();
    pair.drive();
    assert_eq!(pair.status(), Status::Connected);
    assert_eq!(pair.lab.phone(OWN).unwrap().companions.len(), 1);
    assert_eq!(pair.events_of("instance.qr").len(), 1, "nobody scans twice");
    pair.assert_well_behaved();
}

#[test]
fn a_pairing_cut_at_any_point_ends_linked_or_with_a_new_code() {
    for cut_after in 0..6 {
        let mut pair = Pair::new(3);
        pair.drive();
        let code = pair.link().qr.unwrap().text;
        pair.lab.scan_qr(OWN, &code, pair.now).unwrap();
        for _ in 0..cut_after {
            pair.step();
        }
        pair.kill();
        pair.pass(MINUTE);
        if pair.status() == Status::QrReady {
            pair.scan();
            pair.pass(MINUTE);
        }
        assert_eq!(pair.status(), Status::Connected, "killed {cut_after} steps after the scan");
        pair.assert_well_behaved();
    }
}

#[test]
fn codes_take_turns_and_after_five_batches_nobody_scanned_the_instance_stops_asking() {
    let mut pair = Pair::new(4);
    pair.pass(15 * MINUTE);
    let codes = pair.events_of("instance.qr");
    let mut texts: Vec<&str> = codes.iter().map(|code| code["qr_code_text"].as_str().unwrap()).collect();
    assert_eq!(texts.len(), 5 * 6, "five batches of six");
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), 5 * 6, "no code is shown twice");
    let link = pair.link();
    assert_eq!((link.status, link.reason, link.qr), (Status::Disconnected, Some("qr_timeout"), None));
    assert_eq!(pair.lab.stats().connected, 0);
    // A look at the code, or `POST /connect`, starts over.
    let ticket = pair.ask(Command::Connect);
    pair.drive();
    assert!(matches!(pair.answer(ticket), Some(Answer::Done)));
    assert_eq!(pair.status(), Status::QrReady);
    pair.assert_well_behaved();
}

#[test]
fn a_silent_connection_is_noticed_and_replaced() {
    let mut pair = Pair::linked(5);
    pair.deaf = true;
    // A ping goes out within 30 s, and its answer is waited for 20 s.
    pair.pass(Duration::from_secs(51));
    let offline = pair.links.iter().any(|link| link.status == Status::Offline);
    assert!(offline, "nothing was received and nobody noticed");
    pair.deaf = false;
    pair.pass(MINUTE);
    assert_eq!(pair.status(), Status::Connected);
    assert_eq!(pair.unanswered(), 0);
}

#[test]
fn a_quiet_connection_is_left_alone() {
    let mut pair = Pair::linked(6);
    let before = pair.lab.stats().connections;
    pair.pass(60 * MINUTE);
    assert_eq!(pair.status(), Status::Connected);
    assert_eq!(pair.lab.stats().connections, before, "silence alone is no evidence");
    pair.assert_well_behaved();
}

#[test]
fn an_outage_is_told_once_after_a_minute_and_a_short_one_never() {
    let mut pair = Pair::linked(7);
    pair.unreachable = true;
    pair.cut();
    pair.pass(Duration::from_secs(59));
    assert_eq!(pair.status(), Status::Offline);
    assert_eq!(reasons(&pair, "instance.disconnected"), [], "not yet");
    pair.pass(10 * MINUTE);
    let told = [("offline".to_owned(), Some("connection_lost".to_owned()))];
    assert_eq!(reasons(&pair, "instance.disconnected"), told);
    pair.unreachable = false;
    pair.pass(2 * MINUTE);
    assert_eq!(pair.status(), Status::Connected);

    pair.unreachable = true;
    pair.cut();
    pair.pass(Duration::from_secs(20));
    pair.unreachable = false;
    pair.pass(2 * MINUTE);
    assert_eq!(pair.status(), Status::Connected);
    assert_eq!(reasons(&pair, "instance.disconnected").len(), 1, "a short outage is no disconnection");
}

#[test]
fn attempts_back_off_to_once_a_minute() {
    let mut pair = Pair::linked(8);
    pair.unreachable = true;
    let before = pair.links.len();
    pair.cut();
    pair.pass(60 * MINUTE);
    pair.unreachable = false;
    let waited = pair.now;
    pair.pass(Duration::from_secs(67));
    assert_eq!(pair.status(), Status::Connected, "the pause is a minute and a tenth at most");
    assert!(pair.now > waited && pair.links.len() > before);
}

#[test]
fn a_logout_from_the_phone_fails_what_waits_and_offers_a_new_code() {
    let mut pair = Pair::linked(9);
    pair.lab.set_faults(&json!({"drop_acks": {}})).unwrap();
    for phone in [ALICE, OWN] {
        pair.lab.online(phone, false, pair.now).unwrap();
    }
    let first = pair.link();
    let id = pair.send(ALICE, "on its way");
    assert_eq!(pair.progress_of(&id), Vec::<String>::new());
    pair.lab.unlink(OWN, 1, pair.now).unwrap();
    pair.pass(Duration::from_secs(2));
    let link = pair.link();
    assert_eq!((link.status, link.paired, &link.phone), (Status::QrReady, false, &None), "was {first:?}");
    assert_eq!(pair.progress_of(&id), ["failed"]);
    let told = [("disconnected".to_owned(), Some("logged_out".to_owned()))];
    assert_eq!(reasons(&pair, "instance.disconnected"), told);
    let left = pair.store(|tx| Ok((tx.queue().waiting(0, 9)?.len(), tx.queue().unacknowledged(0, 9)?.len())));
    assert_eq!(left, (0, 0));
    // The next device has keys of its own, and works.
    pair.lab.set_faults(&json!({})).unwrap();
    for phone in [ALICE, OWN] {
        pair.lab.online(phone, true, pair.now).unwrap();
    }
    pair.scan();
    pair.pass(Duration::from_secs(15));
    assert_eq!(pair.status(), Status::Connected);
    let next = pair.send(ALICE, "again");
    assert_eq!(pair.inbox_of(ALICE).last(), Some(&(next, "again".to_owned())));
    pair.assert_well_behaved();
}

#[test]
fn a_logout_by_request_unlinks_and_stays_so_over_a_restart() {
    let mut pair = Pair::linked(10);
    pair.ask(Command::Disconnect { logout: true });
    pair.pass(Duration::from_secs(5));
    let link = pair.link();
    assert_eq!((link.status, link.reason, link.paired), (Status::Disconnected, Some("requested"), false));
    assert!(pair.lab.phone(OWN).unwrap().companions.is_empty(), "the phone lists it no more");
    pair.kill();
    pair.pass(MINUTE);
    assert_eq!(pair.status(), Status::Disconnected);
    pair.ask(Command::Connect);
    pair.drive();
    assert_eq!(pair.status(), Status::QrReady);
    pair.assert_well_behaved();
}

#[test]
fn a_second_live_copy_of_the_session_stops_this_one() {
    let mut pair = Pair::linked(11);
    pair.input(Input::Node(StreamError::Replaced.build()));
    pair.pass(60 * MINUTE);
    let link = pair.link();
    assert_eq!((link.status, link.reason, link.paired), (Status::Disconnected, Some("replaced"), true));
    assert_eq!(
        pair.lab.stats().connected,
        0,
        "two copies that log in by turns throw each other out for ever"
    );
}

#[test]
fn what_a_closed_connection_still_said_is_not_the_next_ones() {
    let mut pair = Pair::linked(12);
    let connections = pair.lab.stats().connections;
    // One turn gets the restart and, behind it, the end of the same connection.
    pair.input(Input::Node(StreamError::Restart.build()));
    pair.input(Input::Closed(CloseCause::Lost));
    pair.drive();
    assert_eq!(pair.status(), Status::Connected);
    assert_eq!(pair.lab.stats().connections, connections + 1);
    assert!(pair.links.iter().all(|link| link.status != Status::Offline), "the next connection was not lost");
}

#[test]
fn a_registration_that_is_refused_is_tried_again_after_a_pause() {
    let mut pair = Pair::new(13);
    pair.drive();
    let connections = pair.lab.stats().connections;
    pair.input(Input::Node(Failure { reason: 401, ..Failure::default() }.build()));
    pair.drive();
    assert_eq!(pair.lab.stats().connections, connections, "not at once");
    pair.pass(Duration::from_secs(5));
    assert_eq!(pair.lab.stats().connections, connections + 1);
    assert_eq!(pair.status(), Status::QrReady);
}

#[test]
fn passive_mode_that_the_server_does_not_end_is_no_connection() {
    use wazap::stanza::Iq;
    let mut pair = Pair::linked(14);
    pair.cut();
    // The answer to `active` is turned into a refusal on its way.
    pair.copies = |node| usize::from(!(node.tag == "iq" && node.text("type") == Some("result")));
    pair.pass(Duration::from_secs(3));
    let active = pair.written.iter().rev().find(|node| node.find("active").is_some()).unwrap();
    let refused = Iq::error(active.text("id").unwrap(), 503, "service-unavailable");
    assert_ne!(pair.status(), Status::Connected);
    pair.copies = |_| 1;
    pair.input(Input::Node(refused));
    pair.drive();
    assert_eq!(pair.status(), Status::Offline, "a socket that stays passive hears nothing");
    pair.pass(MINUTE);
    assert_eq!(pair.status(), Status::Connected);
    assert_eq!(ids(&pair.events_of("message.received")), Vec::<String>::new());
}
