//! Two names, one person: whichever source tells that they belong together, nothing stays split.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a story that cannot go on ends here")]

#[path = "support/pair.rs"]
mod support;

use std::time::Duration;

use prost::Message as _;
use serde_json::{Value, json};
use support::{ALICE, ECHO, OWN, Pair};
use wazap::{
    account::{Body, Input, Recipient},
    proto::{
        self, LidMigrationMappingSyncPayload,
        lid_migration_mapping_sync_payload::Mapping,
        message::{LidMigrationMappingSyncMessage, ProtocolMessage},
    },
    sandbox::{PhoneChange, Sending},
    stanza::{ContactToken, Notification, TokenNotice},
    store::{
        chats::Mute,
        messages::{MessageKey, NewMessage, Progress},
        privacy_tokens::ContactTokens,
        timers::ChatTimer,
    },
    wire::{Jid, Node},
};

/// A person of whom the account knows each name, but not that both are one.
const LID: &str = "777000111222333@lid";
const PN: &str = "5511933332222@s.whatsapp.net";

fn lid() -> Jid {
    LID.parse().unwrap()
}

fn pn() -> Jid {
    PN.parse().unwrap()
}

fn resolved(pair: &Pair) -> Vec<(String, String)> {
    let told = pair.events_of("contact.identity_resolved").into_iter();
    told.map(|data| (data["jid"].as_str().unwrap().to_owned(), data["lid"].as_str().unwrap().to_owned()))
        .collect()
}

/// A message in a chat, with everything that can be known of the chat.
fn fill(pair: &Pair, with: Jid, id: &'static str, secs: u64) -> i64 {
    pair.store(move |tx| {
        let chat = tx.messages().chat(&with)?;
        let content = proto::Message { conversation: Some(id.into()), ..Default::default() }.encode_to_vec();
        tx.messages().insert(&NewMessage {
            key: MessageKey { chat: chat.id, wa_id: id.into(), from_me: false, participant: None },
            uuid: id.into(),
            at: support::START + Duration::from_secs(secs),
            push_name: None,
            content,
            progress: Progress::Pending,
        })?;
        Ok(chat.id)
    })
}

/// Its name, and what makes it tell.
type Source = (&'static str, fn(&mut Pair));

/// What each source looks like on its way in; every one of them names both.
fn sources() -> Vec<Source> {
    fn notice(pair: &mut Pair, node: Node) {
        pair.input(Input::Node(node));
        pair.drive();
    }
    vec![
        ("devices notification", |pair| {
            let frame = Notification::frame("1", &pn(), "devices", 5).attr("lid", lid());
            notice(pair, frame.child(Node::new("update").attr("hash", "x")));
        }),
        ("privacy token", |pair| {
            let tokens = vec![ContactToken { t: 5, bytes: vec![1] }];
            let token = TokenNotice { issuer: pn(), lid: Some(lid()), tokens };
            notice(pair, token.build(Notification::frame("1", &pn(), "privacy_token", 5)));
        }),
        ("receipt of a group", |pair| {
            let group: Jid = "120363000000000001@g.us".parse().unwrap();
            let receipt = Node::new("receipt").attr("id", "X1").attr("from", group).attr("t", 5_u64);
            notice(pair, receipt.attr("participant", lid().with_device(2)).attr("participant_pn", pn()));
        }),
        ("message by number, both names beside", |pair| {
            let message = Node::new("message")
                .attr("id", "X1")
                .attr("from", pn())
                .attr("t", 5_u64)
                .attr("type", "text");
            notice(pair, message.attr("sender_pn", pn()).attr("sender_lid", lid()));
        }),
        ("message by LID, both names beside", |pair| {
            let message = Node::new("message")
                .attr("id", "X1")
                .attr("from", lid())
                .attr("t", 5_u64)
                .attr("type", "text");
            notice(pair, message.attr("sender_lid", lid()).attr("sender_pn", pn()));
        }),
        ("own copy", |pair| {
            let own = Jid::pn(OWN);
            let copy =
                Node::new("message").attr("id", "X1").attr("from", own).attr("t", 5_u64).attr("type", "text");
            notice(pair, copy.attr("recipient", lid()).attr("peer_recipient_pn", pn()));
        }),
        ("call", |pair| {
            let call = Node::new("call").attr("id", "X1").attr("from", lid()).attr("t", 5_u64);
            notice(pair, call.attr("sender_pn", pn()));
        }),
        ("contact in app state", |pair| {
            // contactAction = 3 { 1: fullName, 3: lidJid }
            let action = proto::SyncActionValue {
                contact_action: Some(proto::sync_action_value::ContactAction {
                    full_name: Some("Bea".into()),
                    lid_jid: Some(LID.into()),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let change = PhoneChange::Raw {
                collection: "critical_unblock_low".into(),
                index: vec!["contact".into(), PN.into()],
                value: action.encode_to_vec(),
                version: 2,
                remove: false,
            };
            pair.lab.change(OWN, &change, pair.now).unwrap();
            pair.drive();
        }),
        ("mapping of the phone", |pair| {
            let mapping = Mapping {
                pn: Some(5_511_933_332_222),
                assigned_lid: Some(1),
                latest_lid: Some(777_000_111_222_333),
            };
            let payload = LidMigrationMappingSyncPayload { mappings: vec![mapping] };
            let sync =
                LidMigrationMappingSyncMessage { encoded_mapping_payload: Some(payload.encode_to_vec()) };
            let protocol = ProtocolMessage {
                r#type: Some(22),
                lid_migration_mapping_sync_message: Some(sync),
                ..Default::default()
            };
            let message = proto::Message { protocol_message: Some(Box::new(protocol)), ..Default::default() };
            pair.lab.send(OWN, OWN, Sending::Raw(message.encode_to_vec()), pair.now).unwrap();
            pair.drive();
        }),
        ("group notification", |pair| {
            let group: Jid = "120363000000000001@g.us".parse().unwrap();
            let frame = Notification::frame("1", &group, "w:gp2", 5);
            let subject = Node::new("subject").attr("subject", "x").attr("s_t", 5_u64).attr("s_o", lid());
            notice(pair, frame.attr("participant", lid()).attr("participant_pn", pn()).child(subject));
        }),
        ("members in a group notification", |pair| {
            let group: Jid = "120363000000000001@g.us".parse().unwrap();
            let member = Node::new("participant").attr("jid", lid()).attr("phone_number", pn());
            let frame = Notification::frame("1", &group, "w:gp2", 5).attr("participant", Jid::lid("5"));
            notice(pair, frame.child(Node::new("add").child(member)));
        }),
    ]
}

#[test]
fn every_source_joins_two_chats_and_says_so_once() {
    for (seed, (source, tell)) in sources().into_iter().enumerate() {
        let mut pair = Pair::linked(seed as u64);
        let by_number = fill(&pair, pn(), "N1", 1);
        let by_lid = fill(&pair, lid(), "L1", 2);
        assert_ne!(by_number, by_lid);
        pair.store(move |tx| {
            tx.timers().set(by_lid, ChatTimer { seconds: 86_400, set_at: 9 })?;
            tx.chats().set_muted(by_lid, Mute::Forever)?;
            tx.chats().set_pinned(by_number, Some(support::START))?;
            tx.chats().set_label("1", Some(("New", 1)))?;
            tx.chats().set_label_on("1", by_lid, true)?;
            tx.privacy_tokens().receive(&pn(), &[1], 10)?;
            tx.privacy_tokens().receive(&lid(), &[2], 9)?;
            tx.privacy_tokens().issued(&lid(), 8)
        });
        tell(&mut pair);
        assert_eq!(resolved(&pair), [(PN.to_owned(), LID.to_owned())], "{source}");
        let event: Value = pair.events_of("contact.identity_resolved").remove(0);
        assert_eq!(event["merged_conversation_id"], by_lid.max(by_number), "{source}");
        let (view, messages, timer, labels, tokens) = pair.store(|tx| {
            let one = tx.messages().find_chat(&pn())?.unwrap();
            assert_eq!(tx.messages().find_chat(&lid())?.unwrap(), one);
            let page = tx.messages().page(one.id, None, 10, 0)?;
            let ids: Vec<String> = page.into_iter().map(|message| message.key.wa_id).collect();
            let labels = tx.chats().labels_of(one.id)?;
            Ok((
                tx.chats().view(one.id)?.unwrap(),
                ids,
                tx.timers().of(one.id)?,
                labels,
                tx.privacy_tokens().of(&pn())?,
            ))
        });
        assert_eq!(event["conversation_id"], view.chat.id, "{source}");
        for id in ["L1", "N1"] {
            assert!(messages.iter().any(|other| other == id), "{source}: {messages:?}");
        }
        assert_eq!((view.chat.jid.clone(), view.chat.alt.clone()), (pn(), Some(lid())), "{source}");
        assert_eq!((view.muted, view.pinned), (Mute::Forever, true), "{source}");
        assert!(view.unread_count >= 2, "{source}");
        assert_eq!((timer.seconds, labels), (86_400, vec!["1".to_owned()]), "{source}");
        let ContactTokens { token, issued_at, .. } = tokens;
        assert_eq!((token, issued_at), (vec![1], Some(8)), "{source}: the later word of each direction");
        // Told again, it is no news.
        tell(&mut pair);
        assert_eq!(resolved(&pair).len(), 1, "{source}");
    }
}

#[test]
fn whoever_was_never_known_by_one_name_alone_is_no_news() {
    let mut pair = Pair::linked(40);
    pair.phone_sends(ALICE, "hi");
    pair.drive();
    pair.send(ECHO, "hello");
    assert_eq!(resolved(&pair), []);
    // A contact of the address book was known by number; its LID comes with its first message.
    let bea = "5511955554444";
    let change = PhoneChange::Contact { who: bea.into(), name: Some("Bea".into()), first_name: None };
    pair.lab.change(OWN, &change, pair.now).unwrap();
    pair.drive();
    pair.lab.create_phone(bea, "Bea", pair.now).unwrap();
    pair.phone_sends(bea, "it is me");
    pair.drive();
    assert_eq!(resolved(&pair).len(), 1);
    pair.assert_well_behaved();
}

#[test]
fn a_person_is_written_to_under_either_name_in_one_chat() {
    let mut pair = Pair::linked(41);
    pair.phone_sends(ALICE, "hi");
    pair.drive();
    let alice: Jid = pair.lab.phone(ALICE).unwrap().lid.parse().unwrap();
    let names = [Recipient::Number(ALICE.into()), Recipient::Jid(Jid::pn(ALICE)), Recipient::Jid(alice)];
    for (n, name) in names.into_iter().enumerate() {
        pair.say(name, Body::Text(format!("{n}"))).unwrap();
    }
    let chats: Vec<Value> =
        pair.events_of("message.sent").into_iter().map(|data| data["conversation_id"].clone()).collect();
    assert_eq!(chats.len(), 3);
    assert!(chats.iter().all(|chat| *chat == chats[0]));
    let numbers = pair.events_of("message.sent").into_iter().map(|data| data["recipient_number"].clone());
    assert!(numbers.into_iter().all(|number| number == json!(ALICE)));
    pair.assert_well_behaved();
}

#[test]
fn a_mapping_of_any_bytes_does_nothing_bad() {
    let mut pair = Pair::linked(42);
    for payload in [vec![], vec![0xff; 50], vec![0x0a, 0x02, 0x08, 0x00], vec![0x0a, 0x00]] {
        let protocol = ProtocolMessage {
            r#type: Some(22),
            lid_migration_mapping_sync_message: Some(LidMigrationMappingSyncMessage {
                encoded_mapping_payload: Some(payload),
            }),
            ..Default::default()
        };
        let message = proto::Message { protocol_message: Some(Box::new(protocol)), ..Default::default() };
        for from in [OWN, ALICE] {
            pair.lab.send(from, OWN, Sending::Raw(message.encode_to_vec()), pair.now).unwrap();
            pair.drive();
        }
    }
    assert_eq!(resolved(&pair), []);
    assert_eq!(pair.unanswered(), 0);
}

/// Somebody's number as WhatsApp's own servers speak for it (Cloud API beside the app): the same person, not another.
#[test]
fn a_hosted_device_writes_in_the_chat_of_its_account() {
    let mut pair = Pair::linked(43);
    pair.phone_sends(ALICE, "hi");
    pair.drive();
    let alice: Jid = pair.lab.phone(ALICE).unwrap().lid.parse().unwrap();
    let group: Jid = "120363000000000001@g.us".parse().unwrap();
    let hosted = [format!("{ALICE}:99@hosted"), format!("{}:99@hosted.lid", alice.user())];
    let message = |id: String| Node::new("message").attr("id", id).attr("t", 5_u64).attr("type", "text");
    for (n, from) in hosted.iter().map(|text| text.parse::<Jid>().unwrap()).enumerate() {
        pair.input(Input::Node(message(format!("H{n}")).attr("from", &from)));
        pair.input(Input::Node(message(format!("G{n}")).attr("from", &group).attr("participant", &from)));
        pair.drive();
    }
    let told = pair.events_of("message.undecryptable");
    assert_eq!(told.len(), 4);
    for event in &told {
        assert_eq!((&event["sender_number"], &event["sender_lid"]), (&json!(ALICE), &json!(alice.to_wire())));
    }
    let chats: Vec<&Value> = told.iter().map(|event| &event["chat"]).collect();
    let with_alice = json!(Jid::pn(ALICE).to_wire());
    assert_eq!(chats, [&with_alice, &json!(group.to_wire()), &with_alice, &json!(group.to_wire())]);
    let (mut all, _) = pair.store(|tx| tx.chats().list(0, 10));
    all.retain(|view| !view.chat.jid.is_group());
    assert_eq!(all.len(), 1, "one chat, whichever of her devices writes");
    assert_eq!(resolved(&pair), [], "both names were known");
}

/// Both names on a hosted device's stanza are names of the account.
#[test]
fn what_a_hosted_device_tells_of_its_names_is_learnt() {
    let mut pair = Pair::linked(44);
    let (by_number, by_lid) = (fill(&pair, pn(), "N1", 1), fill(&pair, lid(), "L1", 2));
    assert_ne!(by_number, by_lid);
    let from: Jid = "5511933332222:99@hosted".parse().unwrap();
    let other: Jid = "777000111222333:99@hosted.lid".parse().unwrap();
    let message =
        Node::new("message").attr("id", "X1").attr("from", from).attr("t", 5_u64).attr("type", "text");
    pair.input(Input::Node(message.attr("sender_lid", other)));
    pair.drive();
    assert_eq!(resolved(&pair), [(PN.to_owned(), LID.to_owned())]);
}

#[test]
fn who_is_known_by_lid_alone_is_never_told_as_a_number() {
    let mut pair = Pair::linked(45);
    let message =
        Node::new("message").attr("id", "X1").attr("from", lid()).attr("t", 5_u64).attr("type", "text");
    pair.input(Input::Node(message));
    pair.drive();
    let told = pair.events_of("message.undecryptable").remove(0);
    assert_eq!((&told["sender_number"], &told["sender_lid"]), (&json!(LID), &json!(LID)));
}

/// The phone knows a LID that somebody had before: what was said under that stays with the person.
#[test]
fn a_lid_that_somebody_had_before_does_not_split_the_chat() {
    let mut pair = Pair::linked(46);
    let before: Jid = Jid::lid("777000111222000");
    let old = fill(&pair, before.clone(), "B1", 1);
    let number = fill(&pair, pn(), "N1", 2);
    let new = fill(&pair, lid(), "L1", 3);
    let mapping = Mapping {
        pn: Some(5_511_933_332_222),
        assigned_lid: Some(777_000_111_222_000),
        latest_lid: Some(777_000_111_222_333),
    };
    let payload = LidMigrationMappingSyncPayload { mappings: vec![mapping] };
    let sync = LidMigrationMappingSyncMessage { encoded_mapping_payload: Some(payload.encode_to_vec()) };
    let protocol = ProtocolMessage {
        r#type: Some(22),
        lid_migration_mapping_sync_message: Some(sync),
        ..Default::default()
    };
    let message = proto::Message { protocol_message: Some(Box::new(protocol)), ..Default::default() };
    for _ in 0..2 {
        pair.lab.send(OWN, OWN, Sending::Raw(message.encode_to_vec()), pair.now).unwrap();
        pair.drive();
        let (ids, alt) = pair.store(|tx| {
            let chat = tx.messages().find_chat(&pn())?.unwrap();
            let page = tx.messages().page(chat.id, None, 10, 0)?;
            Ok((page.into_iter().map(|message| message.key.wa_id).collect::<Vec<_>>(), chat.alt))
        });
        assert_eq!((ids.len(), alt), (3, Some(lid())), "{ids:?}");
    }
    assert!(old < number && number < new);
    assert_eq!(pair.unanswered(), 0);
}
