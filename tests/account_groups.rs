//! Messages of groups: an account and the simulated WhatsApp on one fake clock.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/groups.rs"]
mod groups;
#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use groups::{BEA, group, group_events, linked, phone_says, read_by, says, says_body, send, told_with};
use pair::{ALICE, ECHO, OWN, ids};
use serde_json::{Value, json};
use wazap::{
    account::{Answer, Body, Command, Recipient, SendError, Target},
    sandbox::Sending,
    stanza::MemberChange,
    wire::{Jid, Node},
};

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

#[test]
fn who_manages_a_group_takes_back_what_others_wrote_and_nobody_else_does() {
    for by_lid in [true, false] {
        let mut pair = linked(131);
        let made = pair.lab.create_group(ALICE, "Team", &[OWN, BEA], by_lid, pair.now).unwrap();
        let group: Jid = made.jid.parse().unwrap();
        pair.drive();
        let theirs = phone_says(&mut pair, ALICE, &group, "too much");
        // The account is a member only.
        let refused = says_body(&mut pair, send(&group, Body::Revoke { id: theirs.clone() }));
        assert_eq!(refused, Err(SendError::UnknownMessage(theirs.clone())));
        pair.lab.change_members(&group, MemberChange::Promote, &[OWN], pair.now).unwrap();
        pair.drive();
        let id = says_body(&mut pair, send(&group, Body::Revoke { id: theirs.clone() })).unwrap().message_id;
        let stanza = pair.written.iter().find(|n| n.tag == "message" && n.text("id") == Some(&*id)).unwrap();
        assert_eq!(stanza.text("edit"), Some("8"));
        let deleted = pair.events_of("message.deleted").pop().unwrap();
        assert_eq!((&deleted["whatsapp_message_id"], &deleted["from_me"]), (&json!(theirs), &json!(true)));
        let seen = pair.lab.messages(BEA, None).unwrap().pop().unwrap();
        let key = &seen.message["protocolMessage"]["key"];
        assert_eq!((&key["id"], &key["fromMe"]), (&json!(theirs), &json!(false)));
        let author: Jid = key["participant"].as_str().unwrap().parse().unwrap();
        assert_eq!(author.is_lid(), by_lid);

        // And the other way round: who did it is told.
        let ours = says(&mut pair, &group, "so what");
        pair.lab.send(ALICE, &group.to_wire(), Sending::Revoke { id: ours.clone() }, pair.now).unwrap();
        pair.drive();
        let deleted = pair.events_of("message.deleted").pop().unwrap();
        assert_eq!(
            (&deleted["whatsapp_message_id"], &deleted["sender_number"], &deleted["from_me"]),
            (&json!(ours), &json!(ALICE), &json!(false))
        );
        // A member who says so is not believed.
        let stays = says(&mut pair, &group, "this stays");
        let before = pair.events_of("message.deleted").len();
        let key = wazap::proto::MessageKey {
            remote_jid: Some(group.to_wire()),
            from_me: Some(true),
            id: Some(stays),
            participant: None,
        };
        let protocol =
            wazap::proto::message::ProtocolMessage { key: Some(key), r#type: Some(0), ..Default::default() };
        let message =
            wazap::proto::Message { protocol_message: Some(Box::new(protocol)), ..Default::default() };
        let raw = Sending::Raw(prost::Message::encode_to_vec(&message));
        pair.lab.send(BEA, &group.to_wire(), raw, pair.now).unwrap();
        pair.drive();
        assert_eq!(pair.events_of("message.deleted").len(), before);
        pair.assert_well_behaved();
    }
}
