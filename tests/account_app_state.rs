//! App state in both directions: an account, its phone and the simulated WhatsApp on one fake clock.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, Mishap, OWN, Pair};
use serde_json::{Value, json};
use wazap::{
    account::{Answer, Command, Recipient, SendError, StateChange, Status, Ticket},
    crypto::app_state::Collection,
    sandbox::{PhoneChange, Sending},
    store::chats::{ChatView, Mute},
    wire::Jid,
};

const MINUTE: Duration = Duration::from_secs(60);

fn chat() -> Recipient {
    Recipient::Number(ALICE.to_owned())
}

/// Linked, with one message from Alice; its id.
fn talking(seed: u64) -> (Pair, String) {
    let mut pair = Pair::linked(seed);
    let id = pair.phone_sends(ALICE, "hello");
    pair.drive();
    (pair, id)
}

fn view(pair: &Pair) -> ChatView {
    pair.store(|tx| {
        let chat = tx.messages().find_chat(&Jid::pn(ALICE))?.expect("Alice wrote");
        Ok(tx.chats().view(chat.id)?.expect("it is shown"))
    })
}

fn ask(pair: &mut Pair, change: StateChange) -> Ticket {
    pair.ask(Command::Change(change))
}

fn archives(pair: &mut Pair, archived: bool) -> Ticket {
    ask(
        pair,
        StateChange::Chat { chat: chat(), archived: Some(archived), pinned: None, muted: None, unread: None },
    )
}

/// The record that the phone has under an index.
fn on_phone(pair: &Pair, index: &[&str]) -> Option<Value> {
    let all = pair.lab.app_state(OWN).unwrap();
    all.into_iter().find(|record| record.index == index).map(|record| record.value)
}

fn alice() -> String {
    Jid::pn(ALICE).to_wire()
}

fn phone(pair: &mut Pair, change: &PhoneChange) {
    pair.lab.change(OWN, change, pair.now).unwrap();
}

fn pin(on: bool) -> PhoneChange {
    PhoneChange::Pin { chat: ALICE.into(), on }
}

fn versions(pair: &Pair) -> Vec<u64> {
    pair.store(|tx| {
        let known = |collection| Ok(tx.app_state().known(collection)?.map_or(0, |known| known.state.version));
        Collection::ALL.into_iter().map(known).collect()
    })
}

fn writes(pair: &Pair) -> u64 {
    pair.store(|tx| tx.app_state().waiting())
}

#[test]
fn what_the_phone_changes_is_known_and_told() {
    let (mut pair, id) = talking(61);
    let contact = PhoneChange::Contact {
        who: ALICE.into(),
        name: Some("Alice Souza".into()),
        first_name: Some("Alice".into()),
    };
    let star = PhoneChange::Star { chat: ALICE.into(), id: id.clone(), on: true };
    for change in [
        contact,
        pin(true),
        PhoneChange::Archive { chat: ALICE.into(), on: true },
        PhoneChange::Mute { chat: ALICE.into(), until: -1 },
        star,
        PhoneChange::Label { id: "3".into(), name: Some("Leads".into()), color: 2 },
        PhoneChange::LabelChat { id: "3".into(), chat: ALICE.into(), on: true },
        PhoneChange::Name("Loja".into()),
    ] {
        phone(&mut pair, &change);
        pair.drive();
    }
    let seen = view(&pair);
    assert_eq!((seen.archived, seen.pinned, seen.muted), (true, true, Mute::Forever));
    assert_eq!((seen.name.as_deref(), seen.unread_count), (Some("Alice Souza"), 1));
    assert_eq!(pair.link().name.as_deref(), Some("Loja"));
    let contact = &pair.events_of("contact.updated")[0];
    assert_eq!((&contact["name"], &contact["phone"]), (&json!("Alice Souza"), &json!(ALICE)));
    let last = pair.events_of("chat.updated").pop().unwrap();
    assert_eq!(last["muted_until"], "forever");
    assert_eq!(last["labels"], json!(["3"]));
    let starred = pair.events_of("message.starred").pop().unwrap();
    assert_eq!((&starred["whatsapp_message_id"], &starred["starred"]), (&json!(id), &json!(true)));

    phone(&mut pair, &PhoneChange::Read { chat: ALICE.into(), on: true });
    pair.drive();
    assert_eq!(view(&pair).unread_count, 0);
    phone(&mut pair, &PhoneChange::Read { chat: ALICE.into(), on: false });
    pair.drive();
    assert!(view(&pair).marked_unread);
    phone(&mut pair, &PhoneChange::Contact { who: ALICE.into(), name: None, first_name: None });
    pair.drive();
    // What is left is what she calls herself.
    assert_eq!(view(&pair).name.as_deref(), Some("Alice"));
    phone(&mut pair, &PhoneChange::DeleteMessage { chat: ALICE.into(), id: id.clone() });
    pair.drive();
    let deleted = pair.events_of("message.deleted").pop().unwrap();
    assert_eq!((&deleted["whatsapp_message_id"], &deleted["for"]), (&json!(id), &json!("me")));
    assert_eq!(view(&pair).last_message_at, None);
    phone(&mut pair, &PhoneChange::DeleteChat { chat: ALICE.into() });
    pair.drive();
    assert_eq!(pair.store(|tx| tx.chats().list(0, 10)).1, 0);
    pair.now = pair.now + MINUTE;
    pair.phone_sends(ALICE, "still there?");
    pair.drive();
    assert_eq!(view(&pair).unread_count, 1);
    pair.assert_well_behaved();
}

#[test]
fn the_first_reading_fills_the_tables_in_silence() {
    let mut pair = Pair::new(62);
    for n in 0..250 {
        let who = format!("55119{n:08}");
        let name = Some(format!("Contact {n}"));
        phone(&mut pair, &PhoneChange::Contact { who, name, first_name: None });
    }
    pair.drive();
    pair.scan();
    pair.pass(Duration::from_secs(15));
    assert_eq!(pair.store(|tx| tx.contacts().list(0, 10)).1, 250);
    assert!(pair.events_of("contact.updated").is_empty());
    // Three pages of patches, and one patch each for the name and the locale.
    assert_eq!(versions(&pair)[..2], [1, 250]);
    pair.assert_well_behaved();
}

#[test]
fn what_is_changed_here_reaches_the_phone_and_then_the_caller() {
    let (mut pair, id) = talking(63);
    let until = pair.now + 8 * 60 * MINUTE;
    let change = StateChange::Chat {
        chat: chat(),
        archived: Some(true),
        pinned: Some(false),
        muted: Some(Mute::Until(until)),
        unread: Some(false),
    };
    let tickets = [
        ask(&mut pair, change),
        ask(&mut pair, StateChange::Star { chat: chat(), id: id.clone(), on: true }),
        ask(
            &mut pair,
            StateChange::Contact {
                who: chat(),
                name: Some("Alice S.".into()),
                first_name: Some("Alice".into()),
            },
        ),
    ];
    pair.drive();
    for ticket in tickets {
        assert!(matches!(pair.answer(ticket), Some(Answer::Done)));
        assert_eq!(pair.settled(ticket), Some(Ok(())));
    }
    assert_eq!(on_phone(&pair, &["archive", &alice()]).unwrap()["archiveChatAction"]["archived"], true);
    assert_eq!(on_phone(&pair, &["pin_v1", &alice()]).unwrap()["pinAction"]["pinned"], false);
    let mute = on_phone(&pair, &["mute", &alice()]).unwrap();
    assert_eq!(mute["muteAction"], json!({"muted": true, "muteEndTimestamp": until.0}));
    let star = on_phone(&pair, &["star", &alice(), &id, "0", "0"]).unwrap();
    assert_eq!(star["starAction"]["starred"], true);
    assert_eq!(on_phone(&pair, &["contact", &alice()]).unwrap()["contactAction"]["fullName"], "Alice S.");
    let seen = view(&pair);
    assert_eq!((seen.archived, seen.muted, seen.unread_count), (true, Mute::Until(until), 0));
    assert_eq!(seen.name.as_deref(), Some("Alice S."));

    let delete = ask(&mut pair, StateChange::DeleteForMe { chat: chat(), id: id.clone() });
    let gone = ask(&mut pair, StateChange::DeleteChat { chat: chat() });
    let nobody = StateChange::Contact { who: chat(), name: None, first_name: None };
    let forgotten = ask(&mut pair, nobody);
    pair.drive();
    for ticket in [delete, gone, forgotten] {
        assert_eq!(pair.settled(ticket), Some(Ok(())));
    }
    assert!(on_phone(&pair, &["deleteMessageForMe", &alice(), &id, "0", "0"]).is_some());
    assert!(on_phone(&pair, &["deleteChat", &alice(), "1"]).is_some());
    assert_eq!(on_phone(&pair, &["contact", &alice()]), None);
    assert_eq!(writes(&pair), 0);
    pair.assert_well_behaved();
}

#[test]
fn what_is_archived_is_not_pinned() {
    let (mut pair, _) = talking(64);
    phone(&mut pair, &pin(true));
    pair.drive();
    archives(&mut pair, true);
    pair.drive();
    assert_eq!(on_phone(&pair, &["pin_v1", &alice()]).unwrap()["pinAction"]["pinned"], false);
    assert!(!view(&pair).pinned);
}

#[test]
fn what_cannot_be_changed_is_refused_with_its_reason() {
    let (mut pair, _) = talking(65);
    let star = ask(&mut pair, StateChange::Star { chat: chat(), id: "3EB0NONE".into(), on: true });
    let stranger = Recipient::Number("5511955555555".into());
    let archive = StateChange::Chat {
        chat: stranger.clone(),
        archived: Some(true),
        pinned: None,
        muted: None,
        unread: None,
    };
    let archive = ask(&mut pair, archive);
    let delete = ask(&mut pair, StateChange::DeleteChat { chat: stranger });
    pair.drive();
    let refusal = |ticket| match pair.answer(ticket) {
        Some(Answer::Refused(error)) => error.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(star), SendError::UnknownMessage("3EB0NONE".into()));
    for ticket in [archive, delete] {
        assert_eq!(refusal(ticket), SendError::UnknownChat("5511955555555".into()));
    }
    pair.unreachable = true;
    pair.cut();
    pair.drive();
    let later = archives(&mut pair, true);
    pair.drive();
    assert!(matches!(pair.answer(later), Some(Answer::Later(Status::Offline))));
    pair.ask(Command::Disconnect { logout: false });
    pair.drive();
    let never = archives(&mut pair, true);
    pair.drive();
    assert!(matches!(
        pair.answer(never),
        Some(Answer::Refused(SendError::NotConnected(Status::Disconnected)))
    ));
    assert_eq!(writes(&pair), 0);
}

#[test]
fn two_who_write_at_once_both_get_their_way() {
    let (mut pair, _) = talking(66);
    // The first change asks for the own devices before it goes up, and would not be too late.
    pair.send(ALICE, "hi");
    pair.drive();
    for round in 0..4_u8 {
        // The phone is faster: ours is on top of what is not the newest any more.
        let on = round % 2 == 0;
        phone(&mut pair, &pin(on));
        let ticket = archives(&mut pair, !on);
        pair.drive();
        assert_eq!(pair.settled(ticket), Some(Ok(())));
        let seen = view(&pair);
        assert_eq!((seen.pinned, seen.archived), (on, !on), "round {round}");
        assert_eq!(on_phone(&pair, &["archive", &alice()]).unwrap()["archiveChatAction"]["archived"], !on);
        assert_eq!(on_phone(&pair, &["pin_v1", &alice()]).unwrap()["pinAction"]["pinned"], on);
    }
    let conflicts =
        pair.lab.log(None).unwrap().iter().filter(|line| line.stanza.contains("conflict")).count();
    assert_eq!(conflicts, 4);
    pair.assert_well_behaved();
}

#[test]
fn a_change_survives_whatever_happens_on_its_way() {
    let (reference, _) = talking(67);
    let before = versions(&reference);
    for mishap in [Mishap::StoreFails, Mishap::KilledAfter(0), Mishap::KilledAfter(1), Mishap::KilledAfter(2)]
    {
        for skip in 0..3 {
            let (mut pair, _) = talking(67);
            archives(&mut pair, true);
            for _ in 0..skip {
                pair.step();
            }
            pair.mishap = Some(mishap);
            pair.pass(MINUTE);
            let kept = skip > 0 || matches!(mishap, Mishap::KilledAfter(_));
            assert_eq!(pair.mishaps, 1, "{mishap:?} {skip}");
            assert_eq!(view(&pair).archived, kept, "{mishap:?} {skip}");
            assert_eq!(writes(&pair), 0);
            // Once, whatever had to be done again.
            let expected = before[3] + u64::from(kept);
            assert_eq!(versions(&pair)[3], expected, "{mishap:?} {skip}");
            assert_eq!(pair.events_of("chat.updated").len(), usize::from(kept));
            pair.assert_well_behaved();
        }
    }
}

#[test]
fn what_changed_while_offline_is_caught_up_with() {
    let (mut pair, _) = talking(68);
    pair.unreachable = true;
    pair.cut();
    pair.drive();
    for round in 0..5 {
        phone(&mut pair, &pin(round % 2 == 0));
    }
    phone(&mut pair, &PhoneChange::Mute { chat: ALICE.into(), until: -1 });
    pair.unreachable = false;
    pair.pass(MINUTE);
    assert_eq!((view(&pair).pinned, view(&pair).muted), (true, Mute::Forever));
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

#[test]
fn a_new_device_starts_from_a_snapshot_and_goes_on_from_there() {
    let mut pair = Pair::new(69);
    let contact = |n: u32, name: Option<&str>| PhoneChange::Contact {
        who: format!("55119{n:08}"),
        name: name.map(str::to_owned),
        first_name: None,
    };
    for n in 0..120 {
        phone(&mut pair, &contact(n, Some("Before")));
    }
    for n in 0..20 {
        phone(&mut pair, &contact(n, None));
    }
    let blob = pair.lab.snapshot(OWN, Collection::CriticalUnblockLow, pair.now).unwrap();
    pair.blobs.push(blob);
    phone(&mut pair, &contact(200, Some("Behind the snapshot")));
    pair.drive();
    pair.scan();
    pair.pass(Duration::from_secs(15));
    assert_eq!(pair.store(|tx| tx.contacts().list(0, 10)).1, 101);
    assert_eq!(versions(&pair)[1], 141);
    // On top of it: theirs and ours.
    phone(&mut pair, &contact(50, Some("After")));
    pair.drive();
    let who = Recipient::Number("5511900000051".into());
    ask(&mut pair, StateChange::Contact { who, name: Some("Ours".into()), first_name: None });
    pair.drive();
    assert_eq!(versions(&pair)[1], 143);
    let names = pair.store(|tx| {
        let name =
            |who: &str| Ok::<_, wazap::store::Error>(tx.contacts().find(&Jid::pn(who))?.and_then(|c| c.name));
        Ok([name("5511900000050")?, name("5511900000051")?, name("5511900000200")?])
    });
    assert_eq!(names.map(Option::unwrap), ["After", "Ours", "Behind the snapshot"]);
    let ours = on_phone(&pair, &["contact", "5511900000051@s.whatsapp.net"]).unwrap();
    assert_eq!(ours["contactAction"]["fullName"], "Ours");
    pair.assert_well_behaved();
}

#[test]
fn a_list_that_is_a_blob_is_downloaded_first() {
    let (mut pair, _) = talking(70);
    let changes: Vec<PhoneChange> = (0..150)
        .map(|n| PhoneChange::Contact {
            who: format!("55119{n:08}"),
            name: Some(format!("Contact {n}")),
            first_name: None,
        })
        .collect();
    let blob = pair.lab.change_much(OWN, &changes, pair.now).unwrap();
    // Not there yet: asked for again.
    pair.drive();
    assert_eq!(versions(&pair)[1], 0);
    pair.blobs.push(blob);
    pair.pass(MINUTE);
    assert_eq!(versions(&pair)[1], 1);
    assert_eq!(pair.events_of("contact.updated").len(), 150);
    pair.assert_well_behaved();
}

#[test]
fn missing_keys_are_asked_of_the_phone() {
    let (mut pair, _) = talking(71);
    pair.store(|tx| {
        // As if the share had named another key only.
        let key = tx.app_state().newest_key()?.expect("shared");
        tx.sync().add_app_state_key(&[9], &[])?;
        tx.sync().add_app_state_key(&key.id, &[])
    });
    phone(&mut pair, &pin(true));
    pair.pass(MINUTE);
    assert!(!view(&pair).pinned, "nothing can be read, and nothing is asked, without any key at all");
    let (mut pair, _) = talking(71);
    pair.store(|tx| {
        let key = tx.app_state().newest_key()?.expect("shared");
        let data =
            wazap::proto::message::AppStateSyncKeyData { key_data: Some(vec![4; 32]), ..Default::default() };
        let other = wazap::proto::message::AppStateSyncKey { key_id: None, key_data: Some(data) };
        tx.sync().add_app_state_key(&[9], &prost::Message::encode_to_vec(&other))?;
        tx.sync().add_app_state_key(&key.id, &[])
    });
    phone(&mut pair, &pin(true));
    pair.pass(MINUTE);
    assert!(view(&pair).pinned);
    pair.assert_well_behaved();
}

#[test]
fn a_damaged_collection_is_read_again_from_its_beginning_and_then_left_alone() {
    let (mut pair, _) = talking(72);
    phone(&mut pair, &PhoneChange::Archive { chat: ALICE.into(), on: true });
    pair.drive();
    pair.unreachable = true;
    pair.cut();
    pair.drive();
    phone(&mut pair, &pin(true));
    assert!(pair.lab.damage_app_state(OWN, Collection::RegularLow).unwrap());
    pair.unreachable = false;
    pair.pass(5 * MINUTE);
    // What stands before the damage holds; the rest is not believed, and nobody asks for ever.
    assert_eq!((view(&pair).archived, view(&pair).pinned), (true, false));
    let asked = |pair: &Pair| {
        pair.written.iter().filter(|node| node.text("xmlns") == Some("w:sync:app:state")).count()
    };
    let before = asked(&pair);
    pair.pass(30 * MINUTE);
    assert_eq!(asked(&pair), before);
    // The phone mends it with a snapshot, which the next connection gets, as it starts from nothing.
    let blob = pair.lab.snapshot(OWN, Collection::RegularLow, pair.now).unwrap();
    pair.blobs.push(blob);
    pair.cut();
    pair.pass(5 * MINUTE);
    assert_eq!((view(&pair).archived, view(&pair).pinned), (true, true));
    // Each chat was told of once for each thing that became different.
    assert_eq!(pair.events_of("chat.updated").len(), 2);
    pair.assert_well_behaved();
}

#[test]
fn a_server_that_refuses_is_asked_again_and_not_for_ever() {
    let (mut pair, _) = talking(74);
    let uploads = |pair: &Pair| {
        let queries = pair.written.iter().filter(|node| node.text("xmlns") == Some("w:sync:app:state"));
        queries.filter_map(|node| node.find("sync")?.find("collection")?.find("patch")).count()
    };
    // Twice too late, as it seems: tried again at once, and taken.
    pair.lab.set_faults(&json!({"app_state": {"error": 409, "times": 2}})).unwrap();
    let ticket = archives(&mut pair, true);
    pair.pass(MINUTE);
    assert_eq!((pair.settled(ticket), writes(&pair)), (Some(Ok(())), 0));
    // Refused for good: the caller hears it, and what comes later is not held up.
    pair.lab.set_faults(&json!({"app_state": {"error": 400, "times": 1}})).unwrap();
    let ticket = archives(&mut pair, false);
    pair.pass(MINUTE);
    assert_eq!((pair.settled(ticket), writes(&pair)), (Some(Err(400)), 0));
    assert!(view(&pair).archived);
    // Out of order for hours: bounded, kept, and written once it is well again.
    for code in [409, 500] {
        pair.lab.set_faults(&json!({"app_state": {"error": code}})).unwrap();
        let before = uploads(&pair);
        let on = code == 500;
        let ticket = archives(&mut pair, on);
        pair.pass(180 * MINUTE);
        assert_eq!((pair.settled(ticket), writes(&pair)), (None, 1), "{code}");
        assert!(uploads(&pair) - before <= 90, "{code}: {} uploads", uploads(&pair) - before);
        pair.lab.set_faults(&json!({})).unwrap();
        pair.pass(61 * MINUTE);
        assert_eq!((pair.settled(ticket), writes(&pair)), (Some(Ok(())), 0), "{code}");
        assert_eq!(view(&pair).archived, on);
    }
    pair.assert_well_behaved();
}

#[test]
fn reading_waits_for_a_server_that_is_out_of_order() {
    let mut pair = Pair::new(75);
    phone(&mut pair, &pin(true));
    pair.drive();
    pair.lab.set_faults(&json!({"app_state": {"error": 503, "times": 12}})).unwrap();
    pair.scan();
    pair.pass(5 * MINUTE);
    assert!(view(&pair).pinned);
    assert_eq!(versions(&pair)[0], 1);
    pair.assert_well_behaved();
}

#[test]
fn groups_and_their_messages_are_named_as_in_every_client() {
    let (mut pair, _) = talking(76);
    let group = pair.lab.create_group(OWN, "Team", &[ALICE], true, pair.now).unwrap().jid;
    pair.drive();
    let what = Sending::Text { text: "to all".into(), quote: None };
    let id = pair.lab.send(ALICE, &group, what, pair.now).unwrap();
    pair.drive();
    let chat = || Recipient::Jid(group.parse().unwrap());
    let star = ask(&mut pair, StateChange::Star { chat: chat(), id: id.clone(), on: true });
    let read = StateChange::Chat {
        chat: chat(),
        archived: None,
        pinned: Some(true),
        muted: None,
        unread: Some(false),
    };
    let read = ask(&mut pair, read);
    pair.drive();
    assert_eq!([pair.settled(star), pair.settled(read)], [Some(Ok(())); 2]);
    // The author, as the group names its members.
    let author = pair.lab.phone(ALICE).unwrap().lid;
    assert!(on_phone(&pair, &["star", &group, &id, "0", &author]).is_some());
    let mark = on_phone(&pair, &["markChatAsRead", &group]).unwrap();
    let last = &mark["markChatAsReadAction"]["messageRange"]["messages"][0]["key"];
    assert_eq!((&last["id"], &last["participant"]), (&json!(id), &json!(author)));
    phone(&mut pair, &PhoneChange::Star { chat: group.clone(), id: id.clone(), on: false });
    phone(&mut pair, &PhoneChange::Archive { chat: group.clone(), on: true });
    pair.drive();
    let told = pair.events_of("chat.updated").pop().unwrap();
    assert_eq!(
        (&told["jid"], &told["is_group"], &told["archived"]),
        (&json!(group), &json!(true), &json!(true))
    );
    let stars = pair.events_of("message.starred");
    assert_eq!(
        stars.iter().map(|star| star["starred"].clone()).collect::<Vec<_>>(),
        [json!(true), json!(false)]
    );
    pair.assert_well_behaved();
}

#[test]
fn a_second_link_starts_from_nothing() {
    let (mut pair, _) = talking(73);
    phone(&mut pair, &pin(true));
    pair.drive();
    let companion = pair.lab.phone(OWN).unwrap().companions[0].device;
    pair.lab.unlink(OWN, companion, pair.now).unwrap();
    pair.pass(MINUTE);
    assert_eq!(versions(&pair), [0; 5]);
    pair.scan();
    pair.pass(Duration::from_secs(15));
    assert_eq!(versions(&pair)[3], 1);
    assert!(view(&pair).pinned);
    pair.assert_well_behaved();
}
