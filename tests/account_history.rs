//! History from the phone: what a new companion is told of the past, what somebody asks for later, and what goes wrong on
//! the way. An account, its phone and the simulated WhatsApp on one fake clock.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::{collections::BTreeSet, io::Write as _, time::Duration};

use flate2::{Compression, write::ZlibEncoder};
use pair::{ALICE, ECHO, Mishap, OWN, Pair};
use prost::Message as _;
use serde_json::{Value, json};
use wazap::{
    account::{Answer, Command, HistoryFault, Recipient, SendError, Viewer},
    proto::{
        Conversation, HistorySync, HistorySyncMsg, InlineContact, Message, MessageKey,
        PhoneNumberToLidMapping, Reaction, WebMessageInfo, history_sync::Pushname,
        message::HistorySyncNotification,
    },
    sandbox::Sending,
    stanza::ReceiptKind,
    store::{
        chats::ChatView,
        history::{Announced, Coverage},
        messages::Message as Stored,
    },
    wire::Jid,
};

const MINUTE: Duration = Duration::from_secs(60);
const BOB: &str = "5511955554444";
const BOB_LID: &str = "123456789012345";

/// A pair whose phone has a past, linked, with everything read.
fn linked_with(seed: u64, chats: u32, groups: u32, messages: u32, recent: u32) -> Pair {
    let mut pair = Pair::new(seed);
    pair.lab.set_past(OWN, (chats, groups), messages, recent, pair.now).unwrap();
    pair.drive();
    pair.scan();
    pair.pass(MINUTE);
    pair
}

fn chats(pair: &Pair) -> Vec<ChatView> {
    pair.store(|tx| Ok(tx.chats().list(0, 10_000)?.0))
}

/// Everything that a chat shows, newest first.
fn messages(pair: &Pair, chat: i64) -> Vec<Stored> {
    pair.store(move |tx| tx.messages().page(chat, None, 100_000, 0))
}

fn coverage(pair: &Pair, chat: i64) -> Coverage {
    pair.store(move |tx| tx.history().coverage(chat))
}

fn found(pair: &Pair, words: &'static str) -> u64 {
    pair.store(move |tx| Ok(tx.search().find(words, None, 10, 0)?.1))
}

/// A message as the API shows it.
fn view(pair: &Pair, id: &str) -> Value {
    let id = id.to_owned();
    pair.store(move |tx| {
        let message = tx.messages().find_anywhere(&id)?.unwrap();
        Ok(Value::Object(Viewer::new(tx, "http://127.0.0.1:3000")?.message(&message)?))
    })
}

fn chat_of(pair: &Pair, jid: Jid) -> ChatView {
    pair.store(move |tx| {
        let chat = tx.messages().find_chat(&jid)?.unwrap();
        Ok(tx.chats().view(chat.id)?.unwrap())
    })
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn inline(sync: &HistorySync) -> HistorySyncNotification {
    HistorySyncNotification {
        sync_type: Some(sync.sync_type),
        chunk_order: Some(1),
        progress: sync.progress,
        initial_hist_bootstrap_inline_payload: Some(deflate(&sync.encode_to_vec())),
        ..Default::default()
    }
}

/// The phone tells its companion a piece of history, which is read.
fn told(pair: &mut Pair, sync: &HistorySync) -> String {
    announced(pair, inline(sync))
}

fn announced(pair: &mut Pair, notification: HistorySyncNotification) -> String {
    let id = pair.lab.announce(OWN, OWN, notification, pair.now).unwrap();
    pair.drive();
    id
}

fn sync(sync_type: i32) -> HistorySync {
    HistorySync { sync_type, ..Default::default() }
}

/// A message of the past, so many seconds before the start.
fn said(chat: &str, id: &str, from_me: bool, ago: u64, message: &Message) -> WebMessageInfo {
    WebMessageInfo {
        key: Some(MessageKey {
            remote_jid: Some(chat.into()),
            from_me: Some(from_me),
            id: Some(id.into()),
            participant: None,
        }),
        message: Some(message.encode_to_vec()),
        message_timestamp: Some(pair::START.secs() - ago),
        ..Default::default()
    }
}

fn text(text: &str) -> Message {
    Message { conversation: Some(text.into()), ..Default::default() }
}

fn conversation(chat: &str, messages: Vec<WebMessageInfo>) -> Conversation {
    let entry = |message| HistorySyncMsg { message: Some(message), msg_order_id: None };
    Conversation {
        id: Some(chat.into()),
        messages: messages.into_iter().map(entry).collect(),
        ..Default::default()
    }
}

fn standing(pair: &Pair) -> (u64, u64, u64) {
    let standing = pair.store(|tx| tx.history().standing());
    (standing.waiting, standing.done, standing.given_up)
}

fn ask(pair: &mut Pair, chat: &Jid, count: u32) -> Result<String, SendError> {
    let ticket = pair.ask(Command::History { chat: Recipient::Jid(chat.clone()), count });
    pair.drive();
    match pair.answer(ticket).unwrap() {
        Answer::PhoneAsked(id) => Ok(id.clone()),
        Answer::Refused(error) => Err(error.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_companion_is_told_the_past_and_tells_nobody_of_it() {
    let mut pair = linked_with(901, 300, 60, 13_000, u32::MAX);
    let list = chats(&pair);
    assert_eq!(list.len(), 300);
    assert_eq!(list.iter().filter(|chat| chat.chat.jid.is_group()).count(), 60);
    let mut all = 0;
    for chat in &list {
        let messages = messages(&pair, chat.chat.id);
        all += messages.len();
        let Coverage { oldest, more } = coverage(&pair, chat.chat.id);
        assert_eq!((more, oldest.unwrap().1), (Some(false), messages.last().unwrap().at));
        assert!(messages.is_sorted_by(|a, b| a.at >= b.at));
        assert!(chat.name.is_some());
        if !chat.chat.jid.is_group() {
            assert!(chat.chat.jid.is_pn() && chat.chat.alt.as_ref().is_some_and(Jid::is_lid), "one person");
        }
    }
    assert_eq!(all, 13_000);
    // Three are unread in every fifth chat.
    assert_eq!(list.iter().map(|chat| chat.unread_count).sum::<u64>(), 60 * 3);
    assert!(list.iter().any(|chat| chat.archived) && list.iter().any(|chat| chat.pinned));
    assert!(found(&pair, "obrigado") > 100);
    assert!(pair.events().iter().all(|event| !event.kind.starts_with("message.")), "it is no news");
    assert!(pair.events_of("chat.updated").is_empty());
    let progress = pair.events_of("history.progress");
    let recent: Vec<&Value> = progress.iter().filter(|data| data["kind"] == "recent").collect();
    assert!(recent.len() >= 2, "several chunks");
    assert!(recent.iter().map(|data| data["progress"].as_u64().unwrap()).is_sorted());
    assert_eq!(recent.last().unwrap()["state"], "done");
    let messages: u64 = progress.iter().map(|data| data["messages"].as_u64().unwrap()).sum();
    assert_eq!(messages, 13_000);
    assert_eq!(standing(&pair).0, 0);
    // What comes now is news, and unread as ever.
    pair.phone_sends(ALICE, "hello");
    pair.drive();
    assert_eq!(pair.received().len(), 1);
    assert_eq!(chat_of(&pair, Jid::pn(ALICE)).unread_count, 1);
    pair.assert_well_behaved();
}

#[test]
fn what_was_said_before_the_link_is_known_and_what_is_said_during_it_is_told_once() {
    let mut pair = Pair::new(902);
    pair.drive();
    let first = pair.phone_sends(ALICE, "before the link");
    let answer = Sending::Text { text: "an answer".into(), quote: None };
    let second = pair.lab.send(OWN, ALICE, answer, pair.now).unwrap();
    pair.now = pair.now + MINUTE;
    let third = pair.phone_sends(ALICE, "typo");
    let edit = Sending::Edit { id: third.clone(), text: "mended".into() };
    pair.lab.send(ALICE, OWN, edit, pair.now).unwrap();
    let thumb = Sending::Reaction { id: second.clone(), emoji: "👍".into() };
    pair.lab.send(ALICE, OWN, thumb, pair.now).unwrap();
    pair.scan();
    pair.pass(MINUTE);
    let chat = chat_of(&pair, Jid::pn(ALICE));
    let ids: Vec<String> = messages(&pair, chat.chat.id).into_iter().map(|m| m.key.wa_id).collect();
    assert_eq!(ids, [third.clone(), second.clone(), first]);
    assert_eq!((chat.unread_count, chat.name.as_deref()), (1, Some("Alice")));
    assert_eq!(view(&pair, &third)["content"], "mended");
    assert_eq!(view(&pair, &second)["reactions"][0]["emoji"], "👍");
    assert_eq!((found(&pair, "mended"), found(&pair, "typo")), (1, 0));
    // A reply to it quotes what was said.
    let reply = Sending::Text { text: "indeed".into(), quote: Some(second) };
    pair.lab.send(ALICE, OWN, reply, pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.events_of("message.received").len(), 1);
}

#[test]
fn only_who_asks_for_everything_gets_everything_and_the_rest_is_to_be_had_on_demand() {
    let mut pair = linked_with(903, 10, 2, 1_000, 40);
    let list = chats(&pair);
    assert!(list.iter().all(|chat| messages(&pair, chat.chat.id).len() == 40));
    assert!(list.iter().all(|chat| coverage(&pair, chat.chat.id).more == Some(true)));
    let chat = &list[3].chat;
    let before = messages(&pair, chat.id);
    let id = ask(&mut pair, &chat.jid, 50).unwrap();
    let after = messages(&pair, chat.id);
    assert_eq!((after.len(), &after[..40].last().unwrap().key), (90, &before.last().unwrap().key));
    let told = pair.events_of("history.progress").pop().unwrap();
    assert_eq!(
        (&told["kind"], &told["state"], &told["request_id"]),
        (&json!("on_demand"), &json!("done"), &json!(id))
    );
    assert_eq!(
        (&told["messages"], &told["more"], &told["jid"]),
        (&json!(50), &json!(true), &json!(chat.jid.to_wire()))
    );
    let group = list.iter().find(|chat| chat.chat.jid.is_group()).unwrap().chat.clone();
    for _ in 0..2 {
        ask(&mut pair, &group.jid, 50).unwrap();
        pair.pass(MINUTE);
    }
    assert_eq!((messages(&pair, group.id).len(), coverage(&pair, group.id).more), (100, Some(false)));
    ask(&mut pair, &chat.jid, 50).unwrap();
    assert_eq!((messages(&pair, chat.id).len(), coverage(&pair, chat.id).more), (100, Some(false)));
    // Once more: there is nothing, and that is said.
    ask(&mut pair, &chat.jid, 50).unwrap();
    let told = pair.events_of("history.progress").pop().unwrap();
    assert_eq!((&told["messages"], &told["more"]), (&json!(0), &json!(false)));
    assert_eq!(ask(&mut pair, &Jid::pn(BOB), 50), Err(SendError::UnknownChat(Jid::pn(BOB).to_wire())));
    pair.assert_well_behaved();
}

#[test]
fn a_phone_that_is_off_is_given_up_and_what_it_says_later_is_taken() {
    let mut pair = linked_with(904, 4, 0, 400, 40);
    let chat = chats(&pair)[0].chat.clone();
    pair.lab.online(OWN, false, pair.now).unwrap();
    let id = ask(&mut pair, &chat.jid, 20).unwrap();
    assert_eq!(ask(&mut pair, &chat.jid, 20).unwrap(), id, "it is asked already");
    pair.pass(2 * MINUTE);
    let told = pair.events_of("history.progress").pop().unwrap();
    assert_eq!((&told["state"], &told["request_id"]), (&json!("failed"), &json!(id)));
    assert_eq!(told["error"], "the phone does not answer");
    let again = ask(&mut pair, &chat.jid, 20).unwrap();
    assert_ne!(again, id);
    pair.lab.online(OWN, true, pair.now).unwrap();
    pair.pass(MINUTE);
    let done: BTreeSet<String> = pair
        .events_of("history.progress")
        .into_iter()
        .filter(|data| data["kind"] == "on_demand" && data["state"] == "done")
        .map(|data| data["request_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(done, BTreeSet::from([id, again]));
    assert_eq!(messages(&pair, chat.id).len(), 60, "the same twenty, twice");
    // Without a connection nobody is asked.
    pair.unreachable = true;
    pair.cut();
    pair.drive();
    assert!(matches!(ask(&mut pair, &chat.jid, 20), Err(SendError::NotConnected(_))));
}

#[test]
fn a_process_that_is_killed_in_the_middle_goes_on_where_it_was() {
    let whole = linked_with(905, 120, 20, 6_000, u32::MAX);
    let keys = |pair: &Pair| -> BTreeSet<(String, String)> {
        let each = chats(pair).into_iter().flat_map(|chat| {
            let jid = chat.chat.jid.to_wire();
            messages(pair, chat.chat.id).into_iter().map(move |m| (jid.clone(), m.key.wa_id))
        });
        each.collect()
    };
    let mut pair = Pair::new(905);
    pair.lab.set_past(OWN, (120, 20), 6_000, u32::MAX, pair.now).unwrap();
    pair.drive();
    pair.scan();
    let mut mishaps = 0;
    for n in 0..4_000_u32 {
        // Every so often, in the middle of whatever it does.
        if n % 23 == 22 && mishaps < 40 {
            mishaps += 1;
            pair.mishap = Some(match n % 3 {
                0 => Mishap::StoreFails,
                1 => Mishap::KilledBefore,
                _ => Mishap::KilledAfter(0),
            });
        }
        if !pair.step() {
            pair.pass(Duration::from_secs(2));
        }
    }
    pair.pass(5 * MINUTE);
    assert!(pair.mishaps > 30);
    assert_eq!(standing(&pair).0, 0);
    assert_eq!(keys(&pair).len(), 6_000);
    assert_eq!(keys(&pair), keys(&whole));
    let unread = |pair: &Pair| chats(pair).iter().map(|chat| chat.unread_count).sum::<u64>();
    assert_eq!(unread(&pair), unread(&whole));
    assert!(pair.events().iter().all(|event| !event.kind.starts_with("message.")));
}

#[test]
fn a_file_that_is_gone_forged_or_damaged_is_told_and_holds_nothing_up() {
    let mut pair = Pair::linked(906);
    let count = |pair: &Pair| pair.events_of("history.progress").len();
    let good = conversation(&Jid::pn(ALICE).to_wire(), vec![said(ALICE, "G1", false, 100, &text("good"))]);
    let good = HistorySync { conversations: vec![good], ..sync(3) };
    let before = count(&pair);
    // Gone: nobody has a blob of that hash.
    let external = |byte: u8| HistorySyncNotification {
        sync_type: Some(3),
        chunk_order: Some(7),
        file_sha256: Some(vec![byte; 32]),
        file_enc_sha256: Some(vec![byte; 32]),
        file_length: Some(100),
        media_key: Some(vec![byte; 32]),
        direct_path: Some("/v/t62.7118-24/gone.enc".into()),
        ..Default::default()
    };
    let gone = announced(&mut pair, external(1));
    pair.blob_fault = HistoryFault::Forged;
    announced(&mut pair, external(2));
    let bomb = HistorySyncNotification { file_length: Some(1 << 40), ..external(3) };
    announced(&mut pair, bomb);
    let short = inline(&good).initial_hist_bootstrap_inline_payload.unwrap();
    for payload in
        [b"nonsense".to_vec(), short[..short.len() - 6].to_vec(), deflate(&[0x12, 0x7f]), Vec::new()]
    {
        let payload = Some(payload);
        announced(
            &mut pair,
            HistorySyncNotification {
                sync_type: Some(3),
                initial_hist_bootstrap_inline_payload: payload,
                ..Default::default()
            },
        );
    }
    announced(&mut pair, HistorySyncNotification { sync_type: Some(3), ..Default::default() });
    announced(&mut pair, HistorySyncNotification { media_key: Some(vec![1; 7]), ..external(4) });
    told(&mut pair, &good);
    let events = pair.events_of("history.progress");
    let failed: Vec<&str> = events[before..].iter().filter_map(|data| data["error"].as_str()).collect();
    assert_eq!(
        failed,
        [
            "gone from the media servers",
            "not what was announced",
            "larger than is taken",
            "no compressed data, or damaged",
            "no compressed data, or damaged",
            "not of the known form",
            "no compressed data, or damaged",
            "an announcement without a file",
            "an announcement with a key of the wrong length",
        ]
    );
    assert_eq!(events.len(), before + 10, "the good one is told, too");
    assert_eq!(found(&pair, "good"), 1);
    assert_eq!(standing(&pair).2, 9);
    // Each was acknowledged, both ways.
    let receipts =
        pair.written.iter().filter(|node| node.text("id") == Some(&gone) && &*node.tag == "receipt");
    let kinds: BTreeSet<&str> = receipts.filter_map(|node| node.text("type")).collect();
    assert_eq!(kinds, BTreeSet::from(["hist_sync", "peer_msg"]));
    assert_eq!(ReceiptKind::HistSync.as_str(), Some("hist_sync"));
    pair.assert_well_behaved();
}

#[test]
fn a_file_that_cannot_be_had_for_the_moment_is_had_later() {
    let mut pair = Pair::new(907);
    pair.lab.set_past(OWN, (20, 0), 2_000, u32::MAX, pair.now).unwrap();
    pair.blob_fault = HistoryFault::Unavailable;
    pair.drive();
    pair.media_down = true;
    pair.scan();
    pair.pass(MINUTE);
    let (waiting, _, given_up) = standing(&pair);
    assert!(waiting > 0 && given_up == 0);
    assert!(chats(&pair).is_empty());
    pair.media_down = false;
    pair.pass(30 * MINUTE);
    assert_eq!((standing(&pair).0, standing(&pair).2), (0, 0));
    let all: usize = chats(&pair).iter().map(|chat| messages(&pair, chat.chat.id).len()).sum();
    assert_eq!(all, 2_000);
}

#[test]
fn every_type_of_history_is_taken_for_what_it_is() {
    let mut pair = Pair::linked(908);
    let bob = Jid::pn(BOB).to_wire();
    let mapping =
        PhoneNumberToLidMapping { pn_jid: Some(bob.clone()), lid_jid: Some(Jid::lid(BOB_LID).to_wire()) };
    told(
        &mut pair,
        &HistorySync { phone_number_to_lid_mappings: vec![mapping], nct_salt: Some(vec![7; 32]), ..sync(5) },
    );
    let names = [(bob.as_str(), "Bobby"), (&*Jid::pn(ALICE).to_wire(), "-"), ("nobody", "x")]
        .map(|(id, name)| Pushname { id: Some(id.into()), pushname: Some(name.into()) });
    told(&mut pair, &HistorySync { pushnames: names.into(), ..sync(4) });
    let contact = InlineContact {
        pn_jid: Some(bob.clone()),
        lid_jid: None,
        full_name: Some("Bob Lima".into()),
        first_name: Some("Bob".into()),
    };
    told(&mut pair, &HistorySync { inline_contacts: vec![contact], ..sync(0) });
    let known = pair.store(|tx| tx.contacts().find(&Jid::lid(BOB_LID))).unwrap();
    assert_eq!((known.jid, known.name.as_deref()), (Jid::pn(BOB), Some("Bob Lima")));
    assert_eq!(known.push_name.as_deref(), Some("Bobby"));
    assert_eq!(pair.store(|tx| tx.settings().get("account.nct_salt")), Some("07".repeat(32)));
    // A status stands in no chat.
    let status = WebMessageInfo {
        participant: Some(bob.clone()),
        ..said("status@broadcast", "S1", false, 60, &text("a status"))
    };
    told(&mut pair, &HistorySync { status_v3_messages: vec![status], ..sync(1) });
    assert_eq!((found(&pair, "status"), chats(&pair).len()), (1, 0));
    for kind in [0, 2, 3] {
        let one = said(&bob, &format!("M{kind}"), false, 1_000 + kind, &text("hi"));
        let kind = i32::try_from(kind).unwrap();
        told(&mut pair, &HistorySync { conversations: vec![conversation(&bob, vec![one])], ..sync(kind) });
    }
    let chat = chat_of(&pair, Jid::lid(BOB_LID));
    assert_eq!(messages(&pair, chat.chat.id).len(), 3);
    assert_eq!((chat.unread_count, chat.name.as_deref()), (0, Some("Bob Lima")));
    // NO_HISTORY and MESSAGE_ACCESS_STATUS say what they say without a file.
    for kind in [7, 8] {
        announced(&mut pair, HistorySyncNotification { sync_type: Some(kind), ..Default::default() });
    }
    assert_eq!((standing(&pair).0, standing(&pair).2), (0, 0));
}

#[test]
fn one_person_is_one_chat_whatever_its_history_is_filed_under() {
    let mut pair = Pair::linked(909);
    let (pn, lid) = (Jid::pn(BOB).to_wire(), Jid::lid(BOB_LID).to_wire());
    let by_number = conversation(&pn, vec![said(&pn, "M1", false, 500, &text("by number"))]);
    told(&mut pair, &HistorySync { conversations: vec![by_number], ..sync(3) });
    let by_lid = Conversation {
        pn_jid: Some(pn.clone()),
        name: Some("Bob".into()),
        unread_count: Some(0),
        ..conversation(
            &lid,
            vec![
                said(&lid, "M2", true, 300, &text("by lid")),
                said(&lid, "M1", false, 500, &text("by number")),
            ],
        )
    };
    told(&mut pair, &HistorySync { conversations: vec![by_lid], ..sync(3) });
    let list = chats(&pair);
    assert_eq!(list.len(), 1);
    assert_eq!((&list[0].chat.jid, list[0].name.as_deref()), (&Jid::pn(BOB), Some("Bob")));
    assert_eq!(messages(&pair, list[0].chat.id).len(), 2);
}

#[test]
fn what_is_there_already_stays_and_is_not_told_again() {
    let mut pair = Pair::linked(910);
    let id = pair.phone_sends(ALICE, "live");
    pair.drive();
    let ours = pair.send(ALICE, "ours");
    let events = pair.events().len();
    let alice = Jid::pn(ALICE).to_wire();
    let copies = vec![
        WebMessageInfo { status: Some(5), ..said(&alice, &ours, true, 0, &text("ours")) },
        WebMessageInfo { starred: Some(true), ..said(&alice, &id, false, 0, &text("another text")) },
    ];
    told(&mut pair, &HistorySync { conversations: vec![conversation(&alice, copies)], ..sync(3) });
    let chat = chat_of(&pair, Jid::pn(ALICE));
    assert_eq!(messages(&pair, chat.chat.id).len(), 2);
    assert_eq!(view(&pair, &id)["content"], "live");
    assert_eq!(
        (&view(&pair, &id)["starred"], &view(&pair, &ours)["status"]),
        (&json!(true), &json!("played"))
    );
    let news: Vec<String> = pair.events().split_off(events).into_iter().map(|event| event.kind).collect();
    assert_eq!(news, ["history.progress"]);
    // And the other way round: history first, then the stanza that had waited.
    pair.cut();
    pair.unreachable = true;
    let late = pair.phone_sends(ECHO, "late");
    let echo = Jid::pn(ECHO).to_wire();
    pair.drive();
    pair.unreachable = false;
    pair.pass(MINUTE);
    assert_eq!(pair.received().iter().filter(|one| **one == late).count(), 1);
    let copy = conversation(&echo, vec![said(&echo, &late, false, 0, &text("late"))]);
    told(&mut pair, &HistorySync { conversations: vec![copy], ..sync(3) });
    let chat = chat_of(&pair, Jid::pn(ECHO));
    assert_eq!(messages(&pair, chat.chat.id).len(), 1);
}

#[test]
fn what_was_done_to_a_message_is_done_whichever_comes_first() {
    let mut pair = Pair::linked(911);
    let alice = Jid::pn(ALICE).to_wire();
    let key = |id: &str, from_me| MessageKey {
        remote_jid: Some(alice.clone()),
        from_me: Some(from_me),
        id: Some(id.into()),
        participant: None,
    };
    let reaction = Message {
        reaction_message: Some(wazap::proto::message::ReactionMessage {
            key: Some(key("M1", false)),
            text: Some("❤".into()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let protocol = |kind, edited: Option<Message>| Message {
        protocol_message: Some(Box::new(wazap::proto::message::ProtocolMessage {
            key: Some(key(if kind == 14 { "M2" } else { "M3" }, true)),
            r#type: Some(kind),
            edited_message: edited.map(Box::new),
            ..Default::default()
        })),
        ..Default::default()
    };
    let forged = protocol(0, None);
    let newest = vec![
        said(&alice, "R1", true, 10, &reaction),
        said(&alice, "E1", true, 20, &protocol(14, Some(text("second wording")))),
        // Alice cannot take back what the account wrote.
        said(&alice, "D1", false, 30, &forged),
    ];
    let older = vec![
        WebMessageInfo { status: Some(4), ..said(&alice, "M3", true, 40, &text("stays")) },
        WebMessageInfo { status: Some(3), ..said(&alice, "M2", true, 50, &text("first wording")) },
        WebMessageInfo {
            reactions: vec![Reaction {
                key: Some(key("R0", false)),
                text: Some("🎉".into()),
                sender_timestamp_ms: Some(1),
                ..Default::default()
            }],
            ..said(&alice, "M1", false, 60, &text("hello"))
        },
        WebMessageInfo {
            message: None,
            message_stub_type: Some(1),
            ..said(&alice, "M0", false, 70, &Message::default())
        },
    ];
    told(&mut pair, &HistorySync { conversations: vec![conversation(&alice, newest)], ..sync(0) });
    let chat = chat_of(&pair, Jid::pn(ALICE));
    assert_eq!(messages(&pair, chat.chat.id).len(), 1, "what it says now stands in for what it said");
    told(&mut pair, &HistorySync { conversations: vec![conversation(&alice, older)], ..sync(3) });
    let emojis: BTreeSet<String> = view(&pair, "M1")["reactions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["emoji"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(emojis, BTreeSet::from(["❤".to_owned(), "🎉".to_owned()]));
    assert_eq!(view(&pair, "M2")["content"], "second wording");
    assert_eq!(
        (&view(&pair, "M2")["status"], &view(&pair, "M3")["status"]),
        (&json!("delivered"), &json!("read"))
    );
    assert_eq!(view(&pair, "M3")["deleted_at"], Value::Null);
    assert_eq!((found(&pair, "second"), found(&pair, "first")), (1, 0));
    let chat = chat_of(&pair, Jid::pn(ALICE));
    let shown: Vec<String> = messages(&pair, chat.chat.id).into_iter().map(|m| m.key.wa_id).collect();
    assert_eq!(shown, ["M3", "M2", "M1"]);
    assert_eq!(chat.unread_count, 0);
}

#[test]
fn nothing_of_the_past_is_taken_where_nobody_wants_it_but_names() {
    let mut pair = Pair::without_history(912);
    pair.lab.set_past(OWN, (50, 5), 500, u32::MAX, pair.now).unwrap();
    pair.drive();
    pair.scan();
    pair.pass(MINUTE);
    assert_eq!(chats(&pair).len(), 0);
    assert_eq!((standing(&pair).0, standing(&pair).2), (0, 0));
    assert!(pair.store(|tx| tx.contacts().list(0, 1_000)).1 >= 50);
    assert_eq!(pair.link().name.as_deref(), Some("Own"));
}

#[test]
fn a_vote_that_came_live_is_told_when_history_brings_its_poll() {
    use wazap::{
        crypto::addon::{AddOn, Binding, option_hash},
        proto::{
            MessageContextInfo,
            message::{
                PollCreationMessage, PollEncValue, PollUpdateMessage, PollVoteMessage, poll_creation_message,
            },
        },
    };
    let mut pair = Pair::linked(913);
    let alice = Jid::pn(ALICE).to_wire();
    let secret = [7; 32];
    let vote = PollVoteMessage { selected_options: vec![option_hash("b").to_vec()] };
    let binding = Binding { secret: &secret, id: "OLDPOLL", author: &alice, modifier: &alice };
    let update = PollUpdateMessage {
        poll_creation_message_key: Some(MessageKey {
            id: Some("OLDPOLL".into()),
            from_me: Some(true),
            ..Default::default()
        }),
        vote: Some(PollEncValue {
            enc_payload: Some(binding.seal(AddOn::PollVote, [3; 12], &vote.encode_to_vec())),
            enc_iv: Some(vec![3; 12]),
        }),
        sender_timestamp_ms: Some(5),
    };
    let sent = Message { poll_update_message: Some(update), ..Default::default() };
    pair.lab.send(ALICE, OWN, Sending::Raw(sent.encode_to_vec()), pair.now).unwrap();
    pair.drive();
    assert!(pair.events_of("poll.vote").is_empty());
    let option =
        |name: &str| poll_creation_message::Option { option_name: Some(name.into()), option_hash: None };
    let poll = Message {
        poll_creation_message_v3: Some(Box::new(PollCreationMessage {
            name: Some("Which?".into()),
            options: vec![option("a"), option("b")],
            ..Default::default()
        })),
        message_context_info: Some(MessageContextInfo {
            message_secret: Some(secret.to_vec()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let past = conversation(&alice, vec![said(&alice, "OLDPOLL", false, 90, &poll)]);
    told(&mut pair, &HistorySync { conversations: vec![past], ..sync(3) });
    let votes = pair.events_of("poll.vote");
    assert_eq!(votes.len(), 1);
    assert_eq!((&votes[0]["options"], &votes[0]["whatsapp_message_id"]), (&json!(["b"]), &json!("OLDPOLL")));
    assert!(pair.events_of("message.received").is_empty(), "the poll itself is no news");
}

/// The past is told to nobody; but whoever was told of a message that could not be read is told what it says.
#[test]
fn a_message_that_could_not_be_read_and_comes_as_history_is_reported() {
    let mut pair = Pair::linked(131);
    let phone = |up: bool, pair: &mut Pair| pair.lab.online(OWN, up, pair.now).unwrap();
    phone(false, &mut pair);
    pair.lab.set_faults(&json!({"withhold": {"times": 1}})).unwrap();
    let id = pair.phone_sends(ALICE, "later");
    pair.drive();
    assert_eq!(pair.events_of("message.undecryptable").len(), 1);
    assert!(pair.received().is_empty());
    let alice = format!("{ALICE}@s.whatsapp.net");
    let messages =
        vec![said(&alice, &id, false, 0, &text("later")), said(&alice, "OLD", false, 900, &text("old"))];
    told(&mut pair, &HistorySync { conversations: vec![conversation(&alice, messages)], ..sync(3) });
    assert_eq!(pair.received(), std::slice::from_ref(&id), "and nothing of what is past");
    phone(true, &mut pair);
    pair.pass(MINUTE);
    assert_eq!(pair.received(), [id], "once");
    assert_eq!(pair.unanswered(), 0);
}

/// History can overtake a message that is still on its way: that one is no past either.
#[test]
fn a_message_that_history_has_overtaken_is_reported_when_it_comes() {
    let mut pair = Pair::linked(132);
    // No message comes through for now.
    pair.copies = |node| usize::from(node.tag != "message");
    let id = pair.phone_sends(ALICE, "on its way");
    pair.drive();
    let alice = format!("{ALICE}@s.whatsapp.net");
    let known = conversation(&alice, vec![said(&alice, &id, false, 0, &text("on its way"))]);
    let sync = HistorySync { conversations: vec![known], ..sync(3) };
    // The server had them in the other order.
    pair.store(move |tx| {
        let notification = inline(&sync).encode_to_vec();
        let announced = Announced {
            wa_id: "HISTORY",
            notification: &notification,
            sync_type: 3,
            chunk: 1,
            progress: None,
            request: None,
        };
        tx.history().announce(&announced, pair::START)
    });
    pair.kill();
    pair.pass(Duration::from_secs(10));
    assert!(pair.received().is_empty(), "not yet");
    assert_eq!(messages(&pair, chat_of(&pair, alice.parse().unwrap()).chat.id).len(), 1, "history is read");
    pair.copies = |_| 1;
    pair.cut();
    pair.pass(MINUTE);
    assert_eq!(pair.received(), [id], "once, and with its own id");
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

#[test]
fn tokens_that_the_phone_holds_come_with_its_history() {
    let mut pair = Pair::new(971);
    pair.phone_sends(ALICE, "may I?");
    pair.drive();
    pair.lab.send(OWN, ALICE, Sending::Text { text: "please".into(), quote: None }, pair.now).unwrap();
    pair.drive();
    pair.scan();
    pair.pass(MINUTE);
    let kept = pair.store(|tx| tx.privacy_tokens().of(&Jid::pn(ALICE)));
    let secs = pair.now.secs();
    assert!(!kept.token.is_empty() && (secs - 3_600..=secs).contains(&kept.token_at));
    assert!(kept.issued_at.is_some_and(|at| (secs - 3_600..=secs).contains(&at)));
    // What is shown on the first message, then.
    pair.send(ALICE, "at last");
    pair.drive();
    let shown = pair.written.iter().rev().find(|node| node.tag == "message").unwrap();
    assert_eq!(shown.find("tctoken").and_then(|token| token.content_bytes()).unwrap(), kept.token);
    pair.assert_well_behaved();
}
