//! Groups: an account and the simulated WhatsApp on one fake clock.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, ECHO, OWN, Pair, ids};
use serde_json::{Value, json};
use wazap::{
    account::{
        Answer, Body, Command, GroupAnswer, GroupCommand, GroupError, GroupUpdate, GroupView, Recipient,
        SendError, SendMessage, Sent, Target,
    },
    sandbox::Sending,
    stanza::{GroupSetting, MemberChange},
    wire::{Jid, Node},
};

const BEA: &str = "5511900000077";

fn send(to: &Jid, body: Body) -> SendMessage {
    SendMessage {
        recipient: Recipient::Jid(to.clone()),
        body,
        mentions: Vec::new(),
        reply_to: None,
        idempotency: None,
        respond_async: true,
        dry: false,
        send_at: None,
    }
}

/// Sends and drives.
fn says_body(pair: &mut Pair, command: SendMessage) -> Result<Sent, SendError> {
    let ticket = pair.ask(Command::SendMessage(command));
    pair.drive();
    pair.sent(ticket).expect("answered")
}

fn says(pair: &mut Pair, to: &Jid, text: &str) -> String {
    says_body(pair, send(to, Body::Text(text.into()))).expect("accepted").message_id
}

fn phone_says(pair: &mut Pair, from: &str, to: &Jid, text: &str) -> String {
    let what = Sending::Text { text: text.into(), quote: None };
    let id = pair.lab.send(from, &to.to_wire(), what, pair.now).unwrap();
    pair.drive();
    id
}

/// A group of the own account, Alice and the echo, made by the first.
fn group(pair: &mut Pair, by_lid: bool) -> Jid {
    let made = pair.lab.create_group(OWN, "Team", &[ALICE, BEA], by_lid, pair.now).unwrap();
    pair.drive();
    made.jid.parse().unwrap()
}

fn linked(seed: u64) -> Pair {
    let mut pair = Pair::linked(seed);
    pair.lab.create_phone(BEA, "Bea", pair.now).unwrap();
    pair
}

/// Texts of a group that a phone has read.
fn read_by(pair: &Pair, phone: &str, group: &Jid) -> Vec<String> {
    let all = pair.lab.messages(phone, None).unwrap().into_iter();
    all.filter(|m| m.chat == group.to_wire()).filter_map(|m| m.text).collect()
}

/// How many devices the stanzas with this id told our key.
fn told_with(pair: &Pair, id: &str) -> Vec<usize> {
    let stanzas = pair.written.iter().filter(|node| node.tag == "message" && node.text("id") == Some(id));
    stanzas.map(|node| node.find("participants").map_or(0, |all| all.find_all("to").count())).collect()
}

fn group_events(pair: &Pair) -> Vec<Value> {
    pair.events_of("group.updated")
}

fn done(pair: &mut Pair, command: GroupCommand) -> Result<GroupAnswer, GroupError> {
    let ticket = pair.ask(Command::Group(command));
    pair.drive();
    match pair.answer(ticket).expect("answered") {
        Answer::Group(answer) => answer.clone(),
        other => panic!("a group command was answered with {other:?}"),
    }
}

#[test]
fn everybody_in_a_group_reads_the_account_and_it_reads_everybody() {
    for by_lid in [true, false] {
        let mut pair = linked(101);
        let group = group(&mut pair, by_lid);
        let first = says(&mut pair, &group, "one");
        let second = says(&mut pair, &group, "two");
        for phone in [ALICE, BEA, OWN] {
            assert_eq!(read_by(&pair, phone, &group), ["one", "two"], "{phone}");
        }
        assert_eq!((told_with(&pair, &first), told_with(&pair, &second)), (vec![3], vec![0]));
        assert_eq!(pair.progress_of(&first), ["sent", "delivered"]);

        let hello = phone_says(&mut pair, ALICE, &group, "hello");
        phone_says(&mut pair, BEA, &group, "hi");
        phone_says(&mut pair, ALICE, &group, "how are you?");
        let received = pair.events_of("message.received");
        let texts: Vec<_> = received.iter().map(|event| event["content"].as_str().unwrap()).collect();
        assert_eq!(texts, ["hello", "hi", "how are you?"]);
        assert_eq!(received[0]["whatsapp_message_id"], hello.as_str());
        assert_eq!(received[0]["sender_number"], ALICE);
        assert_eq!(
            (&received[0]["is_group"], &received[0]["group_jid"]),
            (&json!(true), &json!(group.to_wire()))
        );
        // What the own phone writes there is the account's.
        let own = phone_says(&mut pair, OWN, &group, "from the phone");
        assert!(ids(&pair.events_of("message.sent")).contains(&own));
        assert_eq!(pair.unanswered(), 0);
        pair.assert_well_behaved();
    }
}

#[test]
fn the_stanza_carries_the_hash_of_all_devices_and_the_groups_way_to_address_them() {
    for (by_lid, mode) in [(true, "lid"), (false, "pn")] {
        let mut pair = linked(102);
        let group = group(&mut pair, by_lid);
        let id = says(&mut pair, &group, "one");
        let stanza = pair.written.iter().find(|n| n.tag == "message" && n.text("id") == Some(&*id)).unwrap();
        assert_eq!(stanza.text("addressing_mode"), Some(mode));
        assert!(stanza.text("phash").is_some_and(|hash| hash.starts_with("2:") && hash.len() == 10));
        let listed: Vec<Jid> =
            stanza.find("participants").unwrap().find_all("to").map(|to| to.jid("jid").unwrap()).collect();
        assert!(listed.iter().all(|jid| jid.is_lid() == by_lid));
        let ack = pair.log_of(&id);
        assert!(!ack.contains("<ack phash") && ack.matches("phash").count() == 1, "the server agrees: {ack}");
    }
}

#[test]
fn whoever_was_put_out_cannot_read_on_and_whoever_came_is_told_the_key() {
    let mut pair = linked(103);
    let group = group(&mut pair, true);
    says(&mut pair, &group, "all three");
    pair.lab.change_members(&group, MemberChange::Remove, &[BEA], pair.now).unwrap();
    pair.drive();
    let without = says(&mut pair, &group, "without Bea");
    assert_eq!(told_with(&pair, &without), [2], "a new key, for the two who are left");
    pair.lab.change_members(&group, MemberChange::Add, &[ECHO], pair.now).unwrap();
    pair.drive();
    let with = says(&mut pair, &group, "with the echo");
    assert_eq!(told_with(&pair, &with), [1], "only the newcomer");
    assert_eq!(read_by(&pair, BEA, &group), ["all three"]);
    assert_eq!(read_by(&pair, ECHO, &group)[0], "with the echo");
    assert_eq!(read_by(&pair, ALICE, &group)[..3], ["all three", "without Bea", "with the echo"]);
    let actions: Vec<String> =
        group_events(&pair).iter().map(|e| e["action"].as_str().unwrap().to_owned()).collect();
    assert_eq!(actions, ["created", "participants_removed", "participants_added"]);
    let removed = &group_events(&pair)[1];
    assert_eq!((&removed["author_number"], &removed["participants"][0]["phone"]), (&json!(OWN), &json!(BEA)));
    pair.assert_well_behaved();
}

#[test]
fn a_device_that_is_unlinked_takes_the_key_along_and_it_is_changed() {
    let mut pair = linked(104);
    let group = group(&mut pair, true);
    let before = says(&mut pair, &group, "before");
    assert_eq!(told_with(&pair, &before), [3]);
    // A device of Alice's that the account has told its key is there no more.
    let lid: Jid = pair.lab.phone(ALICE).unwrap().lid.parse().unwrap();
    let (gone, chat) = (lid.with_device(7), group.clone());
    pair.store(move |tx| tx.sender_keys().tell(&chat, [&gone]));
    let after = says(&mut pair, &group, "after");
    assert_eq!(told_with(&pair, &after), [3], "everybody who is left is told a new key");
    assert_eq!(read_by(&pair, ALICE, &group), ["before", "after"]);
}

#[test]
fn a_group_that_changed_unnoticed_is_looked_at_again_after_the_servers_hint() {
    let mut pair = linked(105);
    let group = group(&mut pair, true);
    says(&mut pair, &group, "one");
    // The notification of the change never arrives.
    pair.copies = |node| usize::from(node.text("type") != Some("w:gp2"));
    pair.lab.change_members(&group, MemberChange::Add, &[ECHO], pair.now).unwrap();
    pair.drive();
    says(&mut pair, &group, "two");
    let third = says(&mut pair, &group, "three");
    assert_eq!(told_with(&pair, &third), [1], "the newcomer was noticed");
    pair.pass(Duration::from_secs(5));
    // What came before the account noticed was asked for, and had again.
    assert_eq!(read_by(&pair, ECHO, &group).iter().filter(|text| *text == "two").count(), 1);
    assert!(read_by(&pair, ECHO, &group).contains(&"three".to_owned()));
}

#[test]
fn a_member_that_lost_everything_gets_the_message_again_and_the_key_to_the_next() {
    let mut pair = linked(106);
    let group = group(&mut pair, true);
    says(&mut pair, &group, "one");
    phone_says(&mut pair, ALICE, &group, "hello");
    let device = pair.lab.phone(OWN).unwrap().companions[0].jid.clone();
    pair.lab.forget_session(ALICE, &device).unwrap();
    let second = says(&mut pair, &group, "two");
    pair.pass(Duration::from_secs(5));
    says(&mut pair, &group, "three");
    assert_eq!(read_by(&pair, ALICE, &group), ["one", "two", "three"]);
    assert_eq!(read_by(&pair, BEA, &group), ["one", "hello", "two", "three"], "nobody got it twice");
    let resent = pair.written.iter().filter(|n| n.text("id") == Some(&*second) && n.has("participant"));
    let resent: Vec<&Node> = resent.filter(|n| n.tag == "message").collect();
    // Once in the old session, and once in a new one.
    let counts: Vec<u8> = resent.iter().filter_map(|n| n.find("enc")?.number("count")).collect();
    assert_eq!(counts, [1, 2]);
    assert!(resent.iter().all(|n| n.find("participants").is_none()));
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

#[test]
fn nobody_gets_again_what_was_not_for_them() {
    let mut pair = linked(107);
    let group = group(&mut pair, true);
    let id = says(&mut pair, &group, "for three");
    pair.pass(Duration::from_secs(600));
    pair.lab.change_members(&group, MemberChange::Add, &[ECHO], pair.now).unwrap();
    pair.drive();
    let before = pair.written.len();
    for stranger in [ECHO, "5511900000099"] {
        let receipt = Node::new("receipt")
            .attr("id", id.clone())
            .attr("from", &group)
            .attr("participant", Jid::pn(stranger))
            .attr("type", "retry")
            .attr("t", 1_767_115_800u64)
            .child(
                Node::new("retry").attr("v", "1").attr("count", 1u32).attr("id", id.clone()).attr("t", 1u32),
            )
            .child(Node::new("registration").bytes(vec![0, 0, 0, 1]));
        pair.input(wazap::account::Input::Node(receipt));
        pair.drive();
    }
    assert!(pair.written[before..].iter().all(|node| node.tag == "ack"), "acknowledged, and no more");
}

#[test]
fn a_message_without_its_sender_key_is_asked_for_and_read_then() {
    let mut pair = linked(108);
    let group = group(&mut pair, true);
    phone_says(&mut pair, ALICE, &group, "first");
    pair.store(|tx| {
        let (group, sender) =
            (Jid::group("120363000000000001"), tx.people().lid_of(&Jid::pn(ALICE))?.unwrap());
        tx.sender_keys().set(&group, &sender, &wazap::crypto::signal::SenderKeys::default())
    });
    let lost = phone_says(&mut pair, ALICE, &group, "second");
    pair.pass(Duration::from_secs(5));
    phone_says(&mut pair, ALICE, &group, "third");
    let undecryptable = pair.events_of("message.undecryptable");
    assert_eq!(ids(&undecryptable), [lost]);
    assert_eq!(undecryptable[0]["reason"], "no_sender_key");
    let texts: Vec<Value> =
        pair.events_of("message.received").into_iter().map(|mut event| event["content"].take()).collect();
    assert_eq!(texts, ["first", "second", "third"]);
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

#[test]
fn replies_mentions_reactions_edits_and_deletions_name_people_as_the_group_does() {
    for by_lid in [true, false] {
        let mut pair = linked(109);
        let group = group(&mut pair, by_lid);
        let alice = pair.lab.phone(ALICE).unwrap().lid;
        let alice = if by_lid { alice } else { Jid::pn(ALICE).to_wire() };
        let asked = phone_says(&mut pair, ALICE, &group, "who comes?");
        let mut reply = send(&group, Body::Text("@5511900000077 does".into()));
        reply.reply_to = Some(asked.clone());
        reply.mentions = vec![Jid::pn(ALICE)];
        says_body(&mut pair, reply).unwrap();
        let target = Target { id: asked.clone(), from_me: false, participant: None };
        says_body(&mut pair, send(&group, Body::Reaction { target, emoji: "👍".into() })).unwrap();
        let own = says(&mut pair, &group, "typo");
        says_body(&mut pair, send(&group, Body::Edit { id: own.clone(), text: "no typo".into() })).unwrap();
        says_body(&mut pair, send(&group, Body::Revoke { id: own.clone() })).unwrap();
        let seen = pair.lab.messages(BEA, None).unwrap();
        let context = &seen[1].message["extendedTextMessage"]["contextInfo"];
        assert_eq!((&context["participant"], &context["mentionedJid"][0]), (&json!(alice), &json!(alice)));
        assert_eq!(context["quotedMessage"]["conversation"], "who comes?");
        let key = &seen[2].message["reactionMessage"]["key"];
        assert_eq!((&key["remoteJid"], &key["participant"]), (&json!(group.to_wire()), &json!(alice)));
        assert_eq!((&key["fromMe"], &key["id"]), (&json!(false), &json!(asked)));
        let kinds: Vec<_> = seen.iter().map(|message| message.kind.as_str()).collect();
        assert_eq!(kinds[4..], ["protocolMessage", "protocolMessage"]);
        assert_eq!(seen[5].message["protocolMessage"]["key"]["id"], json!(own));

        let back = Sending::Reaction { id: own.clone(), emoji: "😂".into() };
        pair.lab.send(BEA, &group.to_wire(), back, pair.now).unwrap();
        pair.drive();
        let reaction = pair.events_of("message.reaction").pop().unwrap();
        assert_eq!((&reaction["sender_number"], &reaction["emoji"]), (&json!(BEA), &json!("😂")));
        // One of a message that nobody here has seen needs its author.
        let unknown = |participant| Body::Reaction {
            target: Target { id: "3EB0UNKNOWN".into(), from_me: false, participant },
            emoji: "👍".into(),
        };
        let refused = says_body(&mut pair, send(&group, unknown(None)));
        assert_eq!(refused, Err(SendError::UnknownMessage("3EB0UNKNOWN".into())));
        says_body(&mut pair, send(&group, unknown(Some(Jid::pn(ALICE))))).unwrap();
        pair.assert_well_behaved();
    }
}

#[test]
fn a_status_of_many_is_told_once_a_level_and_reads_go_to_the_author() {
    let mut pair = linked(110);
    let group = group(&mut pair, true);
    let id = says(&mut pair, &group, "news");
    for phone in [BEA, ALICE] {
        pair.lab.read(phone, &id, pair.now).unwrap();
        pair.drive();
    }
    assert_eq!(pair.progress_of(&id), ["sent", "delivered", "read"]);
    let (one, two) = (phone_says(&mut pair, ALICE, &group, "a"), phone_says(&mut pair, BEA, &group, "b"));
    let chat = Recipient::Jid(group.clone());
    let ticket = pair.ask(Command::MarkRead { chat, ids: vec![one.clone(), two.clone()] });
    pair.drive();
    assert!(matches!(pair.answer(ticket), Some(Answer::Done)));
    for (phone, id) in [(ALICE, one), (BEA, two)] {
        let read: Vec<_> =
            pair.lab.receipts(phone).unwrap().into_iter().filter(|r| r.kind == "read").collect();
        assert_eq!(read.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), [id], "{phone}");
    }
    pair.assert_well_behaved();
}

#[test]
fn a_group_that_the_account_is_not_in_is_refused_or_fails_but_is_not_written_to() {
    let mut pair = linked(111);
    let made = pair.lab.create_group(ALICE, "Without", &[BEA], true, pair.now).unwrap();
    let foreign: Jid = made.jid.parse().unwrap();
    let refused = says_body(&mut pair, send(&foreign, Body::Text("hello?".into())));
    assert_eq!(refused, Err(SendError::NotOnWhatsapp(foreign.to_wire())));
    let none = says_body(&mut pair, send(&Jid::group("120363999999999999"), Body::Text("x".into())));
    assert!(matches!(none, Err(SendError::NotOnWhatsapp(_))));
    // Let in, it may.
    pair.lab.change_members(&foreign, MemberChange::Add, &[OWN], pair.now).unwrap();
    pair.drive();
    says(&mut pair, &foreign, "thank you");
    assert_eq!(read_by(&pair, BEA, &foreign), ["thank you"]);
    // And put out, not any more.
    pair.lab.change_members(&foreign, MemberChange::Remove, &[OWN], pair.now).unwrap();
    pair.drive();
    let refused = says_body(&mut pair, send(&foreign, Body::Text("hello?".into())));
    assert_eq!(refused, Err(SendError::NotOnWhatsapp(foreign.to_wire())));
    pair.assert_well_behaved();
}

#[test]
fn a_group_is_described_once_for_many_waiting_sends() {
    let mut pair = linked(112);
    pair.copies = |node| usize::from(node.text("type") != Some("w:gp2"));
    let group = group(&mut pair, true);
    let tickets: Vec<_> = (0..20)
        .map(|n| pair.ask(Command::SendMessage(send(&group, Body::Text(format!("text {n}"))))))
        .collect();
    pair.drive();
    assert!(tickets.iter().all(|ticket| matches!(pair.sent(*ticket), Some(Ok(_)))));
    let asked = pair.written.iter().filter(|n| n.tag == "iq" && n.text("xmlns") == Some("w:g2")).count();
    assert_eq!(asked, 1);
    let expected: Vec<String> = (0..20).map(|n| format!("text {n}")).collect();
    assert_eq!(read_by(&pair, ALICE, &group), expected);
    pair.assert_well_behaved();
}

#[test]
fn a_message_addressed_in_the_groups_old_way_is_sent_once_more_in_its_new_one() {
    let mut pair = linked(117);
    let group = group(&mut pair, true);
    says(&mut pair, &group, "one");
    // The group changed its ways, and nobody told.
    let (chat, numbers) = (group.clone(), [OWN, ALICE, BEA]);
    pair.store(move |tx| {
        let known = tx.groups().find(&chat)?.unwrap();
        tx.groups().set(&wazap::account::Group { by_lid: false, ..known })?;
        let members = numbers.map(|who| (Jid::pn(who), wazap::account::Role::Member));
        tx.groups().set_participants(&chat, &members, wazap::clock::Millis(0))
    });
    let id = says(&mut pair, &group, "two");
    let modes: Vec<&str> = pair
        .written
        .iter()
        .filter(|node| node.tag == "message" && node.text("id") == Some(&id))
        .filter_map(|node| node.text("addressing_mode"))
        .collect();
    assert_eq!(modes, ["pn", "lid"]);
    assert_eq!(read_by(&pair, ALICE, &group), ["one", "two"]);
    assert_eq!(pair.progress_of(&id), ["sent", "delivered"]);
    pair.assert_well_behaved();
}

#[test]
fn a_message_that_names_its_author_without_the_device_is_read_all_the_same() {
    let mut pair = linked(118);
    let group = group(&mut pair, true);
    phone_says(&mut pair, ALICE, &group, "first");
    let lid = pair.lab.phone(ALICE).unwrap().lid;
    let (chat, sender) = (group.clone(), lid.parse::<Jid>().unwrap());
    // As if a companion of Alice's had written, and the server had kept to itself which.
    pair.store(move |tx| {
        let keys = tx.sender_keys().of(&chat, &sender)?;
        tx.sender_keys().set(&chat, &sender.with_device(4), &keys)?;
        tx.sender_keys().set(&chat, &sender, &wazap::crypto::signal::SenderKeys::default())
    });
    phone_says(&mut pair, ALICE, &group, "second");
    assert_eq!(pair.events_of("message.received").len(), 2);
    assert!(pair.events_of("message.undecryptable").is_empty());
}

#[test]
fn only_admins_write_where_only_admins_may() {
    let mut pair = linked(119);
    let made = pair.lab.create_group(ALICE, "News", &[OWN], true, pair.now).unwrap();
    pair.drive();
    let group: Jid = made.jid.parse().unwrap();
    let set = |pair: &mut Pair, on| {
        let update = GroupUpdate { settings: vec![GroupSetting::Announce(on)], ..GroupUpdate::default() };
        done(pair, GroupCommand::Update { group: group.clone(), update })
    };
    assert_eq!(set(&mut pair, true), Err(GroupError::Refused(401)), "no admin");
    pair.lab.change_members(&group, MemberChange::Promote, &[OWN], pair.now).unwrap();
    pair.drive();
    assert!(set(&mut pair, true).is_ok());
    says(&mut pair, &group, "as an admin");
    pair.lab.change_members(&group, MemberChange::Demote, &[OWN], pair.now).unwrap();
    pair.drive();
    let id = says(&mut pair, &group, "as a member");
    assert_eq!(pair.progress_of(&id), ["failed"]);
    assert_eq!(read_by(&pair, ALICE, &group), ["as an admin"]);
    // What was refused had told nobody anything; the next message does.
    pair.lab.change_members(&group, MemberChange::Promote, &[OWN], pair.now).unwrap();
    pair.drive();
    says(&mut pair, &group, "as an admin again");
    assert_eq!(read_by(&pair, ALICE, &group), ["as an admin", "as an admin again"]);
    pair.assert_well_behaved();
}

#[test]
fn a_groups_timer_goes_with_every_message_and_its_name_with_the_chat() {
    let mut pair = linked(121);
    let group = group(&mut pair, true);
    says(&mut pair, &group, "stays");
    for (seconds, text) in [(604_800, "goes"), (0, "stays again")] {
        let settings = vec![GroupSetting::Ephemeral(seconds)];
        let update = GroupUpdate { settings, ..GroupUpdate::default() };
        done(&mut pair, GroupCommand::Update { group: group.clone(), update }).unwrap();
        says(&mut pair, &group, text);
        let last = pair.lab.messages(ALICE, None).unwrap().pop().unwrap();
        let expiration = &last.message["extendedTextMessage"]["contextInfo"]["expiration"];
        assert_eq!(expiration.as_u64().unwrap_or(0), u64::from(seconds), "{text}: {}", last.message);
    }
    let name = pair.store(move |tx| {
        let chat = tx.messages().find_chat(&group)?.unwrap();
        Ok(tx.chats().view(chat.id)?.unwrap().name)
    });
    assert_eq!(name.as_deref(), Some("Team"));
    pair.assert_well_behaved();
}

#[test]
fn what_was_taken_while_the_process_died_is_sent_once() {
    let mut pair = linked(113);
    let group = group(&mut pair, true);
    says(&mut pair, &group, "before");
    let ticket = pair.ask(Command::SendMessage(send(&group, Body::Text("in between".into()))));
    pair.mishap = Some(pair::Mishap::KilledAfter(1));
    pair.drive();
    let _ = ticket;
    pair.pass(Duration::from_secs(30));
    let device = pair.lab.phone(OWN).unwrap().companions[0].jid.clone();
    assert!(device.contains(':'));
    says(&mut pair, &group, "after");
    assert_eq!(read_by(&pair, ALICE, &group), ["before", "in between", "after"]);
    pair.assert_well_behaved();
}

#[test]
fn killed_at_any_moment_or_with_a_full_disk_everybody_reads_everything_once() {
    use pair::Mishap::{KilledAfter, KilledBefore, StoreFails};
    for mishap in [KilledBefore, KilledAfter(0), KilledAfter(1), KilledAfter(2), StoreFails] {
        let mut pair = linked(120);
        let group = group(&mut pair, true);
        says(&mut pair, &group, "one");
        let (mut sent, mut written) = (vec!["one".to_owned()], Vec::new());
        for round in 0..4 {
            // In the turn that takes it, in the one that hears it was taken, and in later ones.
            pair.ask(Command::SendMessage(send(&group, Body::Text(format!("text {round}")))));
            for _ in 0..round {
                pair.step();
            }
            pair.mishap = Some(mishap);
            pair.pass(Duration::from_secs(30));
            let bea = phone_says(&mut pair, BEA, &group, &format!("bea {round}"));
            pair.pass(Duration::from_secs(30));
            written.push(bea);
            sent.push(format!("text {round}"));
        }
        says(&mut pair, &group, "the end");
        let read: Vec<String> =
            read_by(&pair, ALICE, &group).into_iter().filter(|text| !text.starts_with("bea")).collect();
        let mut once = read.clone();
        once.dedup();
        assert_eq!(once, read, "{mishap:?}: twice");
        // What was asked for in a turn that never was, nobody has promised.
        assert!(read.iter().all(|text| text == "the end" || sent.contains(text)));
        assert_eq!(
            (read.first().map(String::as_str), read.last().map(String::as_str)),
            (Some("one"), Some("the end"))
        );
        assert_eq!(pair.received(), written, "{mishap:?}: each of the other's once, in order");
        pair.assert_well_behaved();
    }
}

fn view(answer: Result<GroupAnswer, GroupError>) -> GroupView {
    match answer {
        Ok(GroupAnswer::Group(view)) => *view,
        other => panic!("no group: {other:?}"),
    }
}

#[test]
fn groups_are_made_changed_and_left_on_request() {
    let mut pair = linked(114);
    let people = vec![Jid::pn(ALICE), Jid::pn("5511900000099")];
    let create = GroupCommand::Create { subject: "Club".into(), people };
    let Ok(GroupAnswer::Created { view: made, results }) = done(&mut pair, create) else {
        panic!("not made")
    };
    assert_eq!(results, [(Jid::pn(ALICE), 200), (Jid::pn("5511900000099"), 404)]);
    let group = made.group.jid.clone();
    assert_eq!(
        (made.group.subject.as_str(), made.members.len()),
        ("Club", 2),
        "the unknown number is not in it"
    );
    assert_eq!(made.group.owner, Some(Jid::pn(OWN)));
    says(&mut pair, &group, "welcome");
    assert_eq!(read_by(&pair, ALICE, &group), ["welcome"]);

    let add = |people| GroupCommand::Members { group: group.clone(), change: MemberChange::Add, people };
    let results = done(&mut pair, add(vec![Jid::pn(BEA), Jid::pn(ALICE), Jid::pn("5511900000099")]));
    let expected = vec![(Jid::pn(BEA), 200), (Jid::pn(ALICE), 409), (Jid::pn("5511900000099"), 404)];
    assert_eq!(results, Ok(GroupAnswer::Results(expected)));
    for change in [MemberChange::Promote, MemberChange::Demote, MemberChange::Remove] {
        let people = vec![Jid::pn(BEA)];
        let command = GroupCommand::Members { group: group.clone(), change, people };
        assert_eq!(done(&mut pair, command), Ok(GroupAnswer::Results(vec![(Jid::pn(BEA), 200)])));
    }

    let update = GroupUpdate {
        subject: Some("Society".into()),
        description: Some("for all".into()),
        settings: vec![GroupSetting::Announce(true), GroupSetting::Ephemeral(86_400)],
    };
    let changed = view(done(&mut pair, GroupCommand::Update { group: group.clone(), update }));
    assert_eq!(changed.group.subject, "Society");
    assert_eq!(changed.group.description.as_deref(), Some("for all"));
    assert!(changed.group.announce && changed.group.ephemeral == 86_400);
    // A second description names the first as what it replaces.
    let update = GroupUpdate { description: Some("for some".into()), ..GroupUpdate::default() };
    let changed = view(done(&mut pair, GroupCommand::Update { group: group.clone(), update }));
    assert_eq!(changed.group.description.as_deref(), Some("for some"));
    let update = GroupUpdate { description: Some(String::new()), ..GroupUpdate::default() };
    assert_eq!(
        view(done(&mut pair, GroupCommand::Update { group: group.clone(), update })).group.description,
        None
    );

    let Ok(GroupAnswer::Groups(all)) = done(&mut pair, GroupCommand::List) else { panic!("no list") };
    assert_eq!(all.iter().map(|view| view.group.subject.as_str()).collect::<Vec<_>>(), ["Society"]);
    assert_eq!(done(&mut pair, GroupCommand::Leave(group.clone())), Ok(GroupAnswer::Done));
    assert!(says_body(&mut pair, send(&group, Body::Text("x".into()))).is_err());
    assert_eq!(done(&mut pair, GroupCommand::Info(group.clone())), Err(GroupError::Unknown));
    let actions: Vec<_> =
        group_events(&pair).iter().map(|event| event["action"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        actions,
        [
            "created",
            "participants_added",
            "participants_promoted",
            "participants_demoted",
            "participants_removed",
            "subject",
            "description",
            "announce",
            "ephemeral_seconds",
            "description",
            "description",
            "participants_left"
        ]
    );
    pair.assert_well_behaved();
}

#[test]
fn people_come_in_by_a_link_or_wait_to_be_let_in() {
    let mut pair = linked(115);
    let create = GroupCommand::Create { subject: "Club".into(), people: vec![Jid::pn(ALICE)] };
    let Ok(GroupAnswer::Created { view: made, .. }) = done(&mut pair, create) else { panic!("not made") };
    let group = made.group.jid.clone();
    let Ok(GroupAnswer::Invite(code)) = done(&mut pair, GroupCommand::Invite(group.clone())) else {
        panic!()
    };
    let Ok(GroupAnswer::Invite(other)) = done(&mut pair, GroupCommand::RevokeInvite(group.clone())) else {
        panic!()
    };
    assert_ne!(code, other);
    assert_eq!(done(&mut pair, GroupCommand::InviteInfo(code)), Err(GroupError::Refused(406)));
    assert_eq!(view(done(&mut pair, GroupCommand::InviteInfo(other))).group.subject, "Club");

    // The other way round: a group of somebody else's, open first, then with a door.
    let foreign = pair.lab.create_group(ALICE, "Theirs", &[BEA], true, pair.now).unwrap();
    let jid: Jid = foreign.jid.parse().unwrap();
    let joined = done(&mut pair, GroupCommand::Join(foreign.invite_code.clone()));
    assert_eq!(joined, Ok(GroupAnswer::Joined { group: jid.clone(), inside: true }));
    says(&mut pair, &jid, "hello all");
    assert_eq!(read_by(&pair, BEA, &jid), ["hello all"]);
    assert_eq!(done(&mut pair, GroupCommand::Join(foreign.invite_code)), Err(GroupError::Refused(409)));
    assert_eq!(done(&mut pair, GroupCommand::Invite(jid.clone())), Err(GroupError::Refused(401)), "no admin");

    assert_eq!(done(&mut pair, GroupCommand::Requests(group.clone())), Ok(GroupAnswer::Requests(vec![])));
    let people = vec![Jid::pn(BEA)];
    let decide = GroupCommand::Decide { group, approve: true, people };
    let nobody = vec![(Jid::pn(BEA), 404)];
    assert_eq!(done(&mut pair, decide), Ok(GroupAnswer::Results(nobody)));
    pair.assert_well_behaved();
}

#[test]
fn without_a_connection_groups_are_not_changed() {
    let mut pair = linked(116);
    pair.unreachable = true;
    pair.cut();
    let refused = done(&mut pair, GroupCommand::List);
    assert!(matches!(refused, Err(GroupError::NotConnected(_))));
}
