//! Who may be reached, and what follows when WhatsApp says that nobody new may be: tokens, time locks, caps and bans.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a story that cannot go on ends here")]

#[path = "support/pair.rs"]
mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{ALICE, ECHO, OWN, Pair};
use wazap::{
    account::{
        Body, Command, GroupCommand, Input, MemberChange, ProfileCommand, Question, Recipient, Status,
        standing_view,
    },
    crypto::nct::contact_token,
    sandbox::{PhoneChange, StandingChange},
    stanza::{ContactToken, MexNotice, Notification, TokenNotice},
    wire::{Jid, Node},
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Somebody whom nobody reaches without being trusted.
const SHY: &str = "5511977770001";

/// Messages that the instance wrote since the `from`th stanza.
fn messages(pair: &Pair, from: usize) -> Vec<&Node> {
    pair.written[from..].iter().filter(|node| node.tag == "message" && !node.has("category")).collect()
}

/// Whom tokens were issued to, since then.
fn issued(pair: &Pair, from: usize) -> Vec<(Jid, u64)> {
    let tokens = pair.written[from..].iter().filter_map(|node| node.find("tokens"));
    tokens
        .flat_map(|tokens| tokens.find_all("token"))
        .map(|token| (token.jid("jid").unwrap(), token.number("t").unwrap()))
        .collect()
}

fn locks_asked(pair: &Pair) -> usize {
    let queries = pair.written.iter().filter_map(|node| node.find("query"));
    queries.filter(|query| query.text("query_id") == Some("23983697327930364")).count()
}

fn lock(pair: &mut Pair, lasts: Option<Duration>) {
    let lock = lasts.map(|lasts| ("RESTRICT_ALL_COMPANIONS".to_owned(), lasts));
    pair.lab.standing(OWN, StandingChange::Timelock(lock), pair.now).unwrap();
    pair.drive();
}

/// A phone scans the code.
fn link(pair: &mut Pair) {
    pair.drive();
    pair.scan();
    pair.pass(Duration::from_secs(15));
    assert_eq!(pair.status(), Status::Connected);
}

fn restrictions(pair: &Pair) -> Vec<(bool, Value, Value)> {
    let told = pair.events_of("account.restricted").into_iter();
    told.map(|data| (data["restricted"] == true, data["reason"].clone(), data["type"].clone())).collect()
}

fn view(pair: &Pair) -> Value {
    standing_view(&pair.store(|tx| tx.standing().load()))
}

#[test]
fn a_token_is_issued_with_the_first_message_and_once_a_bucket() {
    let mut pair = Pair::new(1);
    // Weeks would take too long here; the figures of real buckets are in the unit tests.
    pair.lab.property(OWN, 996, "600").unwrap();
    link(&mut pair);
    let from = pair.written.len();
    pair.send(ALICE, "one");
    pair.send(ALICE, "two");
    let t = pair.now.secs();
    assert_eq!(issued(&pair, from), [(Jid::pn(ALICE), t)], "by number, once");
    // The message first: whoever reads it may answer.
    let order: Vec<&str> = pair.written[from..].iter().map(|node| node.tag.as_ref()).collect();
    let token = pair.written[from..].iter().position(|node| node.find("tokens").is_some()).unwrap();
    assert!(order[..token].contains(&"message"));
    pair.pass(Duration::from_secs(600));
    let from = pair.written.len();
    pair.send(ALICE, "three");
    assert_eq!(issued(&pair, from).len(), 1, "the next bucket");
    pair.assert_well_behaved();
}

#[test]
fn a_token_that_came_goes_on_messages_until_it_is_too_old() {
    let mut pair = Pair::new(2);
    pair.lab.property(OWN, 865, "60").unwrap();
    link(&mut pair);
    pair.send(ALICE, "nobody trusts me yet");
    assert!(messages(&pair, 0)[0].find("tctoken").is_none());
    pair.phone_sends(ALICE, "hi");
    pair.drive();
    let from = pair.written.len();
    pair.send(ALICE, "now");
    let token = messages(&pair, from)[0].find("tctoken").unwrap().content_bytes().unwrap().into_owned();
    let kept = pair.store(|tx| tx.privacy_tokens().of(&Jid::pn(ALICE)));
    assert_eq!(token, kept.token);
    assert!(kept.issued_at.is_some(), "what was issued is not forgotten over what came");
    // Four buckets at the longest.
    pair.pass(Duration::from_secs(4 * 60));
    let from = pair.written.len();
    pair.send(ALICE, "later");
    assert!(messages(&pair, from)[0].find("tctoken").is_none());
    pair.assert_well_behaved();
}

#[test]
fn the_server_switches_what_goes_on_messages() {
    let mut pair = Pair::linked(3);
    pair.phone_sends(ALICE, "hi");
    pair.drive();
    pair.lab.property(OWN, 10_518, "0").unwrap();
    pair.lab.property(OWN, 14_303, "1").unwrap();
    pair.lab.property(OWN, 996, "60").unwrap();
    pair.cut();
    pair.pass(Duration::from_secs(5));
    assert_eq!(pair.status(), Status::Connected);
    let from = pair.written.len();
    pair.send(ALICE, "without");
    assert!(messages(&pair, from)[0].find("tctoken").is_none());
    assert!(issued(&pair, from)[0].0.is_lid());
    pair.pass(Duration::from_secs(61));
    let from = pair.written.len();
    pair.send(ALICE, "again");
    assert_eq!(issued(&pair, from).len(), 1, "a bucket of a minute");
    // Known before the next answer, too.
    pair.kill();
    pair.pass(Duration::from_secs(5));
    let from = pair.written.len();
    pair.send(ALICE, "still");
    assert!(messages(&pair, from)[0].find("tctoken").is_none());
}

/// What the instance asks, and the stanza with which it does.
fn asked(pair: &mut Pair, question: impl Into<Question>) -> Node {
    let from = pair.written.len();
    pair.ask(Command::Ask(question.into()));
    pair.drive();
    pair.written[from].clone()
}

#[test]
fn tokens_are_shown_on_questions_about_people_as_the_server_wants_them() {
    let mut pair = Pair::linked(13);
    pair.phone_sends(ALICE, "hi");
    pair.drive();
    let token = pair.store(|tx| tx.privacy_tokens().of(&Jid::pn(ALICE))).token;
    let of = |node: Option<&Node>| node.map(|node| node.content_bytes().unwrap().into_owned());
    let person = |digits: &str| Recipient::Number(digits.to_owned());
    let picture = |of: Recipient| ProfileCommand::Picture { of, preview: false };
    let group: Jid =
        pair.lab.create_group(OWN, "Team", &[ECHO], true, pair.now).unwrap().jid.parse().unwrap();
    pair.drive();
    let create =
        || GroupCommand::Create { subject: "Two".into(), people: vec![Jid::pn(ALICE), Jid::pn(ECHO)] };
    let add = |group: &Jid| GroupCommand::Members {
        group: group.clone(),
        change: MemberChange::Add,
        people: vec![Jid::pn(ALICE)],
    };
    let shown = |pair: &mut Pair| -> Vec<Option<Vec<u8>>> {
        let query = asked(pair, picture(person(ALICE)));
        let on_picture = of(query.find("picture").unwrap().find("tctoken"));
        let query = asked(pair, ProfileCommand::Person(person(ALICE)));
        let user = query.find("usync").unwrap().find("list").unwrap().find("user").unwrap().clone();
        let query = asked(pair, create());
        let people: Vec<&Node> = query.find("create").unwrap().find_all("participant").collect();
        assert!(people[1].find("privacy").is_none(), "nobody has a token of theirs");
        let on_new = of(people[0].find("privacy"));
        let query = asked(pair, add(&group));
        let on_added = of(query.find("add").unwrap().find("participant").unwrap().find("privacy"));
        vec![on_picture, of(user.find("tctoken")), on_new, on_added]
    };
    assert_eq!(shown(&mut pair), [Some(token.clone()), None, None, None]);
    // Neither of oneself, nor of groups, nor of whom no token is known of.
    for other in [person(OWN), person(ECHO), Recipient::Jid(group.clone())] {
        let query = asked(&mut pair, picture(other));
        assert!(query.find("picture").unwrap().find("tctoken").is_none());
    }
    for (code, value) in [(9_666, "0"), (20_798, "1"), (11_261, "1"), (11_262, "1")] {
        pair.lab.property(OWN, code, value).unwrap();
    }
    pair.cut();
    pair.pass(Duration::from_secs(5));
    assert_eq!(shown(&mut pair), [None, Some(token.clone()), Some(token.clone()), Some(token)]);
    pair.assert_well_behaved();
}

#[test]
fn whoever_is_not_trusted_proves_itself_with_the_salt_of_its_account() {
    // In app state the salt comes without being asked for; in history, with the link.
    for (flags, switched) in [
        ("scenario:nct_syncd_delivery,nct_send_ab:Own", true),
        ("scenario:nct_history_delivery,nct_send_ab:Own", true),
        ("scenario:nct_syncd_delivery:Own", false),
    ] {
        let mut pair = Pair::linked_as(4, flags);
        pair.lab.create_phone(SHY, "restricted:Shy", pair.now).unwrap();
        let from = pair.written.len();
        let id = pair.send(SHY, "hello?");
        let message = messages(&pair, from)[0];
        let shown = message.find("cstoken").map(|token| token.content_bytes().unwrap().into_owned());
        assert_eq!(shown.is_some(), switched, "{flags}");
        if let Some(shown) = shown {
            let salt = pair.store(|tx| tx.settings().get("account.nct_salt")).unwrap();
            let lid: Jid = pair.lab.phone(SHY).unwrap().lid.parse().unwrap();
            assert_eq!(shown, contact_token(&hex::decode(salt).unwrap(), lid.user()));
            assert_eq!(pair.inbox_of(SHY), [(id, "hello?".to_owned())]);
        } else {
            assert_eq!(pair.progress_of(&id), ["failed"], "463, and nobody is asked twice");
        }
        pair.assert_well_behaved();
    }
}

#[test]
fn app_state_has_the_last_word_on_the_salt() {
    let mut pair = Pair::linked_as(5, "scenario:nct_history_delivery:Own");
    let stored = |pair: &Pair| pair.store(|tx| tx.settings().get("account.nct_salt"));
    assert!(stored(&pair).is_some());
    let record = |value: Vec<u8>, remove| PhoneChange::Raw {
        collection: "regular_high".into(),
        index: vec!["nct_salt_sync".into()],
        value,
        version: 1,
        remove,
    };
    // nctSaltSyncAction = 80 { 1: salt }
    let value = [0x82, 0x05, 0x04, 0x0a, 0x02, 0xab, 0xcd].to_vec();
    pair.lab.change(OWN, &record(value.clone(), false), pair.now).unwrap();
    pair.drive();
    assert_eq!(stored(&pair).as_deref(), Some("abcd"));
    pair.lab.change(OWN, &record([0x82, 0x05, 0x02, 0x0a, 0x00].to_vec(), false), pair.now).unwrap();
    pair.drive();
    assert_eq!(stored(&pair).as_deref(), Some("abcd"), "an empty salt is none");
    pair.lab.change(OWN, &record(value, true), pair.now).unwrap();
    pair.drive();
    assert_eq!(stored(&pair), None);
}

#[test]
fn who_shuns_strangers_is_reached_by_whom_they_wrote_to() {
    let mut pair = Pair::linked(6);
    pair.lab.create_phone(SHY, "restricted:Shy", pair.now).unwrap();
    let id = pair.send(SHY, "hello?");
    assert_eq!(pair.progress_of(&id), ["failed"]);
    assert_eq!(pair.inbox_of(SHY), []);
    // One question, and the answer was no: nobody else is to suffer for it.
    assert_eq!(restrictions(&pair), []);
    let other = pair.send(ALICE, "and you?");
    assert_eq!(pair.progress_of(&other).first().map(String::as_str), Some("sent"));
    pair.phone_sends(SHY, "it is me");
    pair.drive();
    let id = pair.send(SHY, "ah");
    assert_eq!(pair.inbox_of(SHY).last(), Some(&(id, "ah".to_owned())));
    pair.assert_well_behaved();
}

#[test]
fn tokens_are_believed_only_in_the_form_in_which_they_come() {
    let mut pair = Pair::linked(7);
    let lid: Jid = pair.lab.phone(ALICE).unwrap().lid.parse().unwrap();
    let come = |pair: &mut Pair, t: u64, byte: u8, lid: Option<Jid>| {
        let tokens = vec![ContactToken { t, bytes: vec![byte; 20] }];
        let notice = TokenNotice { issuer: Jid::pn(ALICE), lid, tokens };
        let frame = Notification::frame("9", &Jid::pn(ALICE), "privacy_token", t);
        pair.input(Input::Node(notice.build(frame)));
        pair.drive();
        pair.store(|tx| tx.privacy_tokens().of(&Jid::pn(ALICE)))
    };
    let now = pair.now.secs();
    // Under the number first: the LID is learnt with the second.
    assert_eq!(come(&mut pair, now, 1, None).token, [1; 20]);
    let kept = come(&mut pair, now - 5, 2, Some(lid.clone()));
    assert_eq!((kept.token, kept.token_at), (vec![1; 20], now), "an older one changes nothing");
    assert_eq!(come(&mut pair, now + 5, 3, Some(lid.clone())).token, [3; 20]);
    assert_eq!(pair.store(move |tx| tx.privacy_tokens().of(&lid)).token, [3; 20]);
    // Anything else is acknowledged and does nothing.
    for strange in [Node::new("x"), Node::new("tokens"), Node::new("tokens").child(Node::new("token"))] {
        let before = pair.written.len();
        let frame = Notification::frame("10", &Jid::pn(ECHO), "privacy_token", now);
        pair.input(Input::Node(frame.child(strange)));
        pair.drive();
        assert!(pair.written[before..].iter().any(|node| node.tag == "ack"));
    }
    assert_eq!(pair.store(|tx| tx.privacy_tokens().of(&Jid::pn(ECHO))).token, Vec::<u8>::new());
}

#[test]
fn under_a_time_lock_new_chats_wait_and_known_ones_go_on() {
    let mut pair = Pair::linked(8);
    pair.phone_sends(ALICE, "hi");
    pair.drive();
    lock(&mut pair, Some(6 * HOUR));
    assert_eq!(restrictions(&pair), [(true, "reachout_timelock".into(), "RESTRICT_ALL_COMPANIONS".into())]);
    let shown = view(&pair);
    assert_eq!(
        (shown["restricted"].clone(), shown["reason"].clone()),
        (true.into(), "reachout_timelock".into())
    );
    let from = pair.written.len();
    let ticket = pair.post(ECHO, "a stranger", None);
    pair.drive();
    let waiting = pair.sent(ticket).unwrap().unwrap();
    assert!(waiting.queued, "answered 202");
    let second = pair.send(ECHO, "and again");
    let known = pair.send(ALICE, "a friend");
    assert_eq!(pair.progress_of(&known).first().map(String::as_str), Some("sent"));
    assert_eq!(messages(&pair, from).len(), 1, "nothing was tried");
    assert_eq!(pair.store(|tx| tx.standing().held()).rows, 2);
    // Not over a restart, either; and no question more often than there are logins.
    let asked = locks_asked(&pair);
    pair.kill();
    pair.pass(2 * HOUR);
    assert_eq!(pair.progress_of(&second), Vec::<String>::new());
    assert_eq!(locks_asked(&pair), asked + 1);
    // It ends by itself: WhatsApp is asked, and what waited leaves, in its order.
    pair.pass(4 * HOUR + Duration::from_secs(60));
    assert_eq!(
        pair.inbox_of(ECHO).iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
        ["a stranger", "and again"]
    );
    assert_eq!(pair.progress_of(&waiting.message_id).first().map(String::as_str), Some("sent"));
    assert_eq!(restrictions(&pair).last(), Some(&(false, Value::Null, Value::Null)));
    assert_eq!(view(&pair), json!({ "restricted": false, "reason": null, "until": null }));
    let sent = pair.events_of("message.sent");
    assert_eq!(sent.iter().filter(|data| data["content"] == "a stranger").count(), 1);
    pair.assert_well_behaved();
}

#[test]
fn whoever_writes_during_a_lock_is_answered_at_once() {
    let mut pair = Pair::linked(9);
    lock(&mut pair, Some(DAY));
    pair.send(ALICE, "waits");
    assert_eq!(pair.inbox_of(ALICE), []);
    pair.phone_sends(ALICE, "are you there?");
    pair.drive();
    assert_eq!(pair.inbox_of(ALICE).last().unwrap().1, "waits");
    lock(&mut pair, None);
    assert_eq!(restrictions(&pair).len(), 2);
}

#[test]
fn a_refusal_finds_the_lock_and_the_message_is_not_lost() {
    let mut pair = Pair::linked(10);
    // Locked without a word: the push is lost.
    pair.copies = |node| usize::from(node.text("type") != Some("mex"));
    lock(&mut pair, Some(HOUR));
    let ids: Vec<String> = (0..5).map(|n| pair.send(ECHO, &format!("{n}"))).collect();
    let from = locks_asked(&pair);
    assert_eq!(restrictions(&pair).len(), 1);
    let refused =
        pair.lab.log(None).unwrap().into_iter().filter(|line| line.stanza.contains("error=\"463\"")).count();
    assert!(refused <= 2, "one refusal was enough: the log has it {refused} times");
    assert!(ids.iter().all(|id| pair.progress_of(id).is_empty()));
    pair.pass(HOUR + Duration::from_secs(60));
    assert_eq!(pair.inbox_of(ECHO).iter().filter(|(id, _)| ids.contains(id)).count(), 5);
    assert!(locks_asked(&pair) <= from + 2);
    let sent = pair.events_of("message.sent");
    assert_eq!(sent.iter().filter(|data| data["content"] == "0").count(), 1, "told once");
}

#[test]
fn a_cap_on_new_chats_holds_what_is_above_it() {
    let mut pair = Pair::linked(11);
    pair.lab.property(OWN, 20_865, "1").unwrap();
    let cap = |total| StandingChange::Cap(Some((total, 2 * HOUR)));
    pair.lab.standing(OWN, cap(2), pair.now).unwrap();
    pair.drive();
    assert_eq!(view(&pair)["new_chats_left"], 2);
    for n in 0..3 {
        pair.lab.create_phone(&format!("551197000000{n}"), "Somebody", pair.now).unwrap();
        pair.send(&format!("551197000000{n}"), "hello");
    }
    let reached = |pair: &Pair, n| pair.inbox_of(&format!("551197000000{n}")).len();
    assert_eq!([reached(&pair, 0), reached(&pair, 1), reached(&pair, 2)], [1, 1, 0]);
    let shown = view(&pair);
    assert_eq!((shown["reason"].clone(), shown["new_chats_left"].clone()), ("new_chat_cap".into(), 0.into()));
    assert_eq!(restrictions(&pair).last().unwrap().1, "new_chat_cap");
    pair.send("5511970000000", "a known one");
    assert_eq!(reached(&pair, 0), 2, "a chat that was started is no new one");
    pair.pass(2 * HOUR + Duration::from_secs(60));
    assert_eq!(reached(&pair, 2), 1, "the next cycle");
    assert!(!restrictions(&pair).last().unwrap().0);
    pair.assert_well_behaved();
}

#[test]
fn a_temporary_ban_is_waited_out_without_knocking() {
    let mut pair = Pair::linked(12);
    pair.lab.standing(OWN, StandingChange::Ban(Some((101, 6 * HOUR))), pair.now).unwrap();
    pair.pass(Duration::from_secs(30));
    let link = pair.link();
    assert_eq!((link.status, link.reason), (Status::Disconnected, Some("forbidden")));
    assert!(link.paired, "the keys are kept");
    assert_eq!(restrictions(&pair), [(true, "temporarily_banned".into(), "101".into())]);
    let connections = pair.lab.stats().connections;
    pair.kill();
    pair.pass(5 * HOUR);
    assert_eq!(pair.lab.stats().connections, connections, "nobody knocks, also after a restart");
    assert_eq!(pair.status(), Status::Disconnected);
    pair.pass(2 * HOUR);
    assert_eq!(pair.status(), Status::Connected);
    assert_eq!(restrictions(&pair).last(), Some(&(false, Value::Null, Value::Null)));
}

#[test]
fn a_locked_account_is_told_with_its_token_and_not_tried_again() {
    let mut pair = Pair::linked(13);
    pair.lab.standing(OWN, StandingChange::Refuse(Some(403)), pair.now).unwrap();
    pair.pass(Duration::from_secs(30));
    assert_eq!(pair.link().reason, Some("forbidden"));
    assert_eq!(restrictions(&pair), [(true, "account_locked".into(), "403".into())]);
    let connections = pair.lab.stats().connections;
    pair.pass(3 * DAY);
    assert_eq!(pair.lab.stats().connections, connections);
    pair.lab.standing(OWN, StandingChange::Refuse(None), pair.now).unwrap();
    pair.ask(wazap::account::Command::Connect);
    pair.pass(Duration::from_secs(30));
    assert_eq!(pair.status(), Status::Connected);
    assert!(!restrictions(&pair).last().unwrap().0);
}

#[test]
fn refusals_that_pass_are_tried_again_and_others_are_not() {
    let mut pair = Pair::linked(14);
    let refused = |pair: &mut Pair, code: u16, times: u32| {
        pair.lab.set_faults(&json!({ "reject": { "error": code, "times": times } })).unwrap();
        pair.send(ALICE, &format!("{code}"))
    };
    let stands = |pair: &Pair, id: &str| pair.progress_of(id).first().cloned();
    let unavailable = refused(&mut pair, 503, 2);
    let behind = pair.send(ALICE, "behind it");
    assert_eq!((stands(&pair, &unavailable), stands(&pair, &behind)), (None, None), "in their order");
    pair.pass(Duration::from_secs(20));
    assert_eq!(stands(&pair, &unavailable).as_deref(), Some("sent"));
    let inbox: Vec<String> = pair.inbox_of(ALICE).into_iter().map(|(_, text)| text).collect();
    assert_eq!(inbox, ["503", "behind it"]);
    let forbidden = refused(&mut pair, 403, 1);
    pair.pass(Duration::from_secs(59));
    assert_eq!(stands(&pair, &forbidden), None);
    pair.pass(Duration::from_secs(2));
    assert_eq!(stands(&pair, &forbidden).as_deref(), Some("sent"));
    let schema = refused(&mut pair, 479, 1);
    pair.pass(Duration::from_secs(1));
    assert_eq!(stands(&pair, &schema).as_deref(), Some("sent"), "with the devices that there are");
    for (code, times) in [(403, 2), (479, 2), (503, 9), (405, 1), (400, 1)] {
        let id = refused(&mut pair, code, times);
        pair.pass(HOUR);
        assert_eq!(stands(&pair, &id).as_deref(), Some("failed"), "{code}");
    }
}

#[test]
fn what_the_server_pushes_about_the_account_may_be_anything() {
    let mut pair = Pair::linked(15);
    let far = json!({ "is_active": true, "time_enforcement_ends": u64::MAX, "enforcement_type": "x".repeat(10_000) });
    let odd = [
        ("NotificationUserReachoutTimelockUpdate", json!(null)),
        ("NotificationUserReachoutTimelockUpdate", json!({ "xwa2_notify_account_reachout_timelock": [1] })),
        ("MessageCappingInfoNotification", json!({ "xwa2_notify_new_chat_messages_capping_info_update": 7 })),
        ("SomethingElse", json!({})),
        ("NotificationUserReachoutTimelockUpdate", json!({ "xwa2_notify_account_reachout_timelock": far })),
    ];
    for (operation, data) in odd {
        let frame = Notification::frame("9", &Jid::server_itself(), "mex", 1);
        pair.input(Input::Node(MexNotice { operation: operation.into(), data }.build(frame)));
        pair.drive();
    }
    let told = pair.events_of("account.restricted");
    assert_eq!((told.len(), told[0]["type"].as_str().unwrap().len()), (1, 64));
    // A lock without an end is looked at again within two minutes, and there is none.
    pair.pass(Duration::from_secs(120));
    assert_eq!(view(&pair)["restricted"], false);
    assert_eq!(pair.status(), Status::Connected);
}

#[test]
fn too_many_questions_are_no_reason_for_more() {
    let mut pair = Pair::linked(16);
    pair.send(ALICE, "known");
    pair.store(|tx| tx.people().forget_devices(&Jid::pn(ALICE)));
    pair.lab.set_faults(&json!({ "iq": { "error": 429 } })).unwrap();
    let from = pair.written.len();
    let to = Recipient::Jid(Jid::pn(ALICE));
    let id = pair.say(to, Body::Text("hi".into())).unwrap().message_id;
    pair.pass(Duration::from_secs(60));
    let asked = pair.written[from..].iter().filter(|node| node.text("xmlns") == Some("usync")).count();
    assert!((1..=8).contains(&asked), "asked {asked} times in a minute");
    pair.lab.set_faults(&json!({})).unwrap();
    pair.pass(Duration::from_secs(20));
    assert_eq!(pair.inbox_of(ALICE).last(), Some(&(id, "hi".to_owned())));
    assert_eq!(pair.status(), Status::Connected);
}
