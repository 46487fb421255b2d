//! Profiles, privacy, blocks, presence, businesses and labels: an account, phones and the simulated WhatsApp on one fake
//! clock.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::{io::Cursor, time::Duration};

use image::{ImageFormat, Rgb, RgbImage};
use pair::{ALICE, ECHO, OWN, Pair};
use serde_json::json;
use wazap::{
    account::{
        Answer, AskError, Command, LabelChange, OWN_ABOUT, PictureView, ProfileAnswer, ProfileCommand,
        Question, Recipient, StateChange, Status, Told,
    },
    clock::Millis,
    sandbox::{BusinessSpec, PhoneChange, ProductSpec},
    stanza::{BlockNotice, PictureNotice},
    store::profiles::Profile,
    wire::{Jid, Node},
};

fn number(digits: &str) -> Recipient {
    Recipient::Number(digits.to_owned())
}

fn jpeg(edge: u32) -> Vec<u8> {
    let image = RgbImage::from_fn(edge, edge, |x, y| Rgb([(x % 256) as u8, (y % 256) as u8, 90]));
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

fn ask(pair: &mut Pair, command: ProfileCommand) -> Result<ProfileAnswer, AskError> {
    let ticket = pair.ask(Command::Ask(Question::Profile(command)));
    pair.drive();
    match pair.answer(ticket).expect("answered") {
        Answer::Asked(Ok(Told::Profile(answer))) => Ok(answer.clone()),
        Answer::Asked(Err(error)) => Err(error.clone()),
        other => panic!("{other:?}"),
    }
}

fn change(pair: &mut Pair, change: StateChange) {
    let ticket = pair.ask(Command::Change(change));
    pair.drive();
    assert_eq!(pair.settled(ticket), Some(Ok(())));
}

/// Linked, and knows Alice under both names.
fn linked(seed: u64) -> Pair {
    let mut pair = Pair::linked(seed);
    pair.phone_sends(ALICE, "hello");
    pair.drive();
    pair
}

fn profile(pair: &Pair, who: &str) -> Profile {
    let who = Jid::pn(who);
    pair.store(move |tx| tx.profiles().find(&who)).unwrap_or_default()
}

fn picture(pair: &mut Pair, of: Recipient) -> Option<PictureView> {
    match ask(pair, ProfileCommand::Picture { of, preview: false }).unwrap() {
        ProfileAnswer::Picture(picture) => picture,
        other => panic!("{other:?}"),
    }
}

fn path(picture: &PictureView) -> String {
    picture.url.split_once("https://").unwrap().1.trim_start_matches(|c| c != '/').to_owned()
}

#[test]
fn the_account_has_a_name_a_text_and_a_picture() {
    let mut pair = linked(71);
    change(&mut pair, StateChange::PushName("Loja da Ana".into()));
    assert_eq!(pair.link().name.as_deref(), Some("Loja da Ana"));
    assert_eq!(pair.lab.phone(OWN).unwrap().name, "Loja da Ana");

    assert_eq!(ask(&mut pair, ProfileCommand::SetAbout("Aberto até as 18h".into())), Ok(ProfileAnswer::Done));
    assert_eq!(pair.lab.profile(OWN).unwrap().about, "Aberto até as 18h");
    assert_eq!(pair.store(|tx| tx.settings().get(OWN_ABOUT)).as_deref(), Some("Aberto até as 18h"));
    let long = "x".repeat(140);
    assert_eq!(ask(&mut pair, ProfileCommand::SetAbout(long)), Err(AskError::Refused(406)));

    let image = jpeg(640);
    let set = ask(&mut pair, ProfileCommand::SetPicture { of: None, jpeg: image.clone() }).unwrap();
    let ProfileAnswer::PictureSet(Some(id)) = set else { panic!("{set:?}") };
    assert_eq!(pair.lab.profile(OWN).unwrap().picture_id.as_deref(), Some(id.as_str()));
    // Whoever sets it is told, too.
    assert_eq!(pair.events_of("account.updated").pop().unwrap()["picture_id"], json!(id));
    let own = picture(&mut pair, number(OWN)).unwrap();
    assert_eq!(own.id, id);
    assert_eq!(pair.lab.picture_file(&path(&own)), Some(image));
    let bad = ProfileCommand::SetPicture { of: None, jpeg: b"no picture".to_vec() };
    assert_eq!(ask(&mut pair, bad), Err(AskError::Refused(406)));
    ask(&mut pair, ProfileCommand::RemovePicture { of: None }).unwrap();
    assert_eq!(picture(&mut pair, number(OWN)), None);
    assert_eq!(pair.events_of("account.updated").pop().unwrap()["picture_id"], json!(null));
    ask(&mut pair, ProfileCommand::Own).unwrap();
    let devices = pair.store(|tx| tx.people().devices(&Jid::pn(OWN)));
    assert_eq!(devices.unwrap().0.len(), 2, "the phone and this one");
    pair.assert_well_behaved();
}

#[test]
fn what_others_show_is_asked_kept_and_told_when_it_changes() {
    let mut pair = linked(72);
    pair.lab.set_about(ALICE, "No trabalho", pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.events_of("contact.updated").pop().unwrap()["about"], "No trabalho");
    let id = pair.lab.set_picture(ALICE, Some(&jpeg(100)), pair.now).unwrap().unwrap();
    pair.drive();
    let told = pair.events_of("contact.updated").pop().unwrap();
    assert_eq!((&told["picture_id"], &told["phone"]), (&json!(id), &json!(ALICE)));

    ask(&mut pair, ProfileCommand::Person(number(ALICE))).unwrap();
    let shown = profile(&pair, ALICE);
    assert_eq!(shown.about.as_deref(), Some("No trabalho"));
    assert!(shown.picture_url.unwrap().contains(&id));
    assert!(!shown.business && shown.fetched_at == pair.now);
    pair.lab.set_picture(ALICE, None, pair.now).unwrap();
    pair.drive();
    assert_eq!(profile(&pair, ALICE).fetched_at, Millis(0), "to be asked again");
    ask(&mut pair, ProfileCommand::Person(number(ALICE))).unwrap();
    assert_eq!(profile(&pair, ALICE).picture_url, None);
    let small = ProfileCommand::Picture { of: number(ECHO), preview: true };
    assert_eq!(ask(&mut pair, small), Ok(ProfileAnswer::Picture(None)));
    pair.assert_well_behaved();
}

#[test]
fn privacy_hides_what_it_is_about_and_the_address_book_decides() {
    let mut pair = linked(73);
    pair.lab.set_picture(ALICE, Some(&jpeg(64)), pair.now).unwrap();
    pair.lab.set_about(ALICE, "Segredo", pair.now).unwrap();
    for name in ["profile", "status"] {
        pair.lab.privacy(ALICE, name, "contacts", pair.now).unwrap();
    }
    ask(&mut pair, ProfileCommand::Person(number(ALICE))).unwrap();
    let hidden = profile(&pair, ALICE);
    assert_eq!((hidden.about, hidden.picture_url), (None, None));
    let contact = PhoneChange::Contact { who: OWN.into(), name: Some("Loja".into()), first_name: None };
    pair.lab.change(ALICE, &contact, pair.now).unwrap();
    ask(&mut pair, ProfileCommand::Person(number(ALICE))).unwrap();
    let shown = profile(&pair, ALICE);
    assert_eq!(shown.about.as_deref(), Some("Segredo"));
    assert!(shown.picture_url.is_some());
}

#[test]
fn privacy_settings_are_read_and_written_and_told_when_another_device_writes_them() {
    let mut pair = linked(74);
    let settings =
        vec![("last".to_owned(), "none".to_owned()), ("readreceipts".to_owned(), "none".to_owned())];
    let told = ask(&mut pair, ProfileCommand::SetPrivacy { settings, timer: Some(86_400) }).unwrap();
    let ProfileAnswer::Privacy(view) = told else { panic!("{told:?}") };
    let value =
        |name: &str| view.settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    assert_eq!((value("last").as_deref(), value("online").as_deref()), (Some("none"), Some("all")));
    assert_eq!((view.timer, view.statuses.unwrap().kind.as_str()), (86_400, "contacts"));
    assert_eq!(pair.lab.profile(OWN).unwrap().timer, 86_400);
    assert_eq!(pair.lab.profile(OWN).unwrap().privacy["readreceipts"], "none");
    assert!(pair.store(|tx| tx.settings().get("quiet_reader")).is_some(), "nobody sees what is read");

    pair.lab.privacy(OWN, "groupadd", "contacts", pair.now).unwrap();
    pair.drive();
    let event = pair.events_of("account.updated").pop().unwrap();
    assert_eq!(event["privacy"], json!({ "groupadd": "contacts" }));
    let wrong = vec![("last".to_owned(), "nobody".to_owned())];
    let refused = ask(&mut pair, ProfileCommand::SetPrivacy { settings: wrong, timer: None });
    assert_eq!(refused, Err(AskError::Refused(400)));

    let people = vec![Jid::pn(ALICE)];
    change(&mut pair, StateChange::StatusPrivacy { kind: "whitelist".into(), people: people.clone() });
    let told = ask(&mut pair, ProfileCommand::Privacy).unwrap();
    let ProfileAnswer::Privacy(view) = told else { panic!("{told:?}") };
    assert_eq!(view.statuses.map(|list| (list.kind, list.people)), Some(("whitelist".into(), people)));
}

#[test]
fn who_is_blocked_is_known_on_both_sides_and_reaches_nobody() {
    let mut pair = linked(75);
    ask(&mut pair, ProfileCommand::Block { who: number(ALICE), block: true }).unwrap();
    assert_eq!(pair.lab.profile(OWN).unwrap().blocked, [ALICE]);
    assert!(pair.store(|tx| tx.blocks().has(&Jid::pn(ALICE))));
    let event = pair.events_of("contact.blocked").pop().unwrap();
    assert_eq!((&event["phone"], &event["blocked"]), (&json!(ALICE), &json!(true)));
    let before = pair.received().len();
    pair.phone_sends(ALICE, "can you hear me?");
    pair.drive();
    assert_eq!(pair.received().len(), before, "blocked");
    assert_eq!(picture(&mut pair, number(ALICE)), None);

    ask(&mut pair, ProfileCommand::Block { who: number(ALICE), block: false }).unwrap();
    pair.phone_sends(ALICE, "and now?");
    pair.drive();
    assert_eq!(pair.received().len(), before + 1);
    assert_eq!(
        ask(&mut pair, ProfileCommand::Block { who: number(OWN), block: true }),
        Err(AskError::Refused(400))
    );

    // The phone blocks; a list that was missed is read whole.
    pair.lab.block(OWN, ECHO, true, pair.now).unwrap();
    pair.drive();
    assert!(pair.store(|tx| tx.blocks().has(&Jid::pn(ECHO))));
    pair.store(|tx| tx.blocks().set_hash(Some("stale")));
    pair.lab.block(OWN, ALICE, true, pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.store(|tx| tx.blocks().list()).len(), 2);
    assert_ne!(pair.store(|tx| tx.blocks().hash()).as_deref(), Some("stale"));
    let told = pair.events_of("contact.blocked").len();
    ask(&mut pair, ProfileCommand::Blocklist).unwrap();
    assert_eq!(pair.events_of("contact.blocked").len(), told, "nothing new");
    pair.assert_well_behaved();
}

#[test]
fn presence_is_followed_over_a_lost_connection() {
    let mut pair = linked(76);
    pair.lab.presence(ALICE, true, pair.now).unwrap();
    assert_eq!(ask(&mut pair, ProfileCommand::Watch(number(ALICE))), Ok(ProfileAnswer::Done));
    let states = |pair: &Pair| -> Vec<String> {
        let events = pair.events_of("presence.updated");
        events.iter().map(|data| data["state"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(states(&pair), ["available"]);
    pair.now = pair.now + Duration::from_secs(90);
    pair.lab.presence(ALICE, false, pair.now).unwrap();
    pair.drive();
    let last = pair.events_of("presence.updated").pop().unwrap();
    assert_eq!((&last["state"], &last["phone"]), (&json!("unavailable"), &json!(ALICE)));
    assert_eq!(last["last_seen"], json!(Millis::from_secs(pair.now.secs()).rfc3339()));

    pair.cut();
    pair.pass(Duration::from_secs(20));
    assert_eq!(pair.status(), Status::Connected);
    pair.lab.presence(ALICE, true, pair.now).unwrap();
    pair.drive();
    assert_eq!(states(&pair), ["available", "unavailable", "available"]);
    let kept = pair.store(|tx| tx.watched().find(&Jid::pn(ALICE))).unwrap();
    assert_eq!(kept.available, Some(true));

    // Who shows nobody when it was there shows it to nobody.
    pair.lab.privacy(ALICE, "last", "none", pair.now).unwrap();
    pair.lab.presence(ALICE, false, pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.events_of("presence.updated").pop().unwrap()["last_seen"], json!(null));
    ask(&mut pair, ProfileCommand::Unwatch(number(ALICE))).unwrap();
    pair.lab.presence(ALICE, true, pair.now).unwrap();
    pair.drive();
    assert_eq!(states(&pair).len(), 4);
    assert_eq!(ask(&mut pair, ProfileCommand::Unwatch(number(ALICE))), Err(AskError::Unknown));
    pair.assert_well_behaved();
}

#[test]
fn whoever_writes_is_told_once_and_stops_by_itself() {
    let mut pair = linked(77);
    let group = pair.lab.create_group(ALICE, "Clube", &[OWN], true, pair.now).unwrap().jid;
    pair.drive();
    for state in ["composing", "composing", "recording", "paused"] {
        pair.lab.typing(ALICE, OWN, state, pair.now).unwrap();
        pair.drive();
    }
    pair.lab.typing(ALICE, &group, "composing", pair.now).unwrap();
    pair.drive();
    let told = pair.events_of("presence.updated");
    let states: Vec<_> = told.iter().map(|data| (data["chat"].clone(), data["state"].clone())).collect();
    let direct = json!(Jid::pn(ALICE).to_wire());
    let group = json!(group);
    assert_eq!(
        states,
        [
            (direct.clone(), json!("typing")),
            (direct.clone(), json!("recording")),
            (direct, json!("paused")),
            (group.clone(), json!("typing"))
        ]
    );
    assert_eq!((&told[3]["is_group"], &told[3]["phone"]), (&json!(true), &json!(ALICE)));
    pair.pass(Duration::from_secs(26));
    let last = pair.events_of("presence.updated").pop().unwrap();
    assert_eq!((&last["chat"], &last["state"]), (&group, &json!("paused")));
    assert_eq!(pair.events_of("presence.updated").len(), 5);
}

#[test]
fn a_business_says_what_it_is_and_what_it_sells() {
    let mut pair = linked(78);
    assert_eq!(ask(&mut pair, ProfileCommand::Business(number(ALICE))), Ok(ProfileAnswer::Business(None)));
    let product = |n: u64| ProductSpec {
        id: n.to_string(),
        name: format!("Bolo {n}"),
        price: Some(25_000),
        currency: Some("BRL".into()),
        images: vec!["https://example.com/bolo.jpg".into()],
        ..ProductSpec::default()
    };
    let spec = BusinessSpec {
        name: Some("Padaria da Alice".into()),
        address: Some("Rua das Flores, 1".into()),
        websites: vec!["https://example.com".into()],
        categories: vec!["Padaria".into()],
        open_on: vec!["mon".into(), "tue".into()],
        products: (1..=25).map(product).collect(),
        ..BusinessSpec::default()
    };
    pair.lab.make_business(ALICE, Some(spec)).unwrap();
    let told = ask(&mut pair, ProfileCommand::Business(number(ALICE))).unwrap();
    let ProfileAnswer::Business(Some(view)) = told else { panic!("{told:?}") };
    assert_eq!(view.verified_name.as_deref(), Some("Padaria da Alice"));
    assert_eq!(view.profile.categories, [("1".to_owned(), "Padaria".to_owned())]);
    assert_eq!((view.profile.hours.len(), view.profile.websites.len()), (2, 1));
    assert_eq!((view.catalogue.products.len(), view.catalogue.products[0].price), (20, Some(25_000)));
    let after = view.catalogue.after.clone().unwrap();
    let told = ask(&mut pair, ProfileCommand::Catalogue { of: number(ALICE), after }).unwrap();
    let ProfileAnswer::Catalogue(page) = told else { panic!("{told:?}") };
    assert_eq!((page.products.len(), page.after), (5, None));
    ask(&mut pair, ProfileCommand::Person(number(ALICE))).unwrap();
    assert!(profile(&pair, ALICE).business);
    pair.assert_well_behaved();
}

#[test]
fn labels_are_made_assigned_and_taken_away_on_either_side() {
    let mut pair = Pair::linked(79);
    let id = pair.phone_sends(ALICE, "an order");
    pair.drive();
    let edit = |deleted| {
        let change = LabelChange::Edit { id: "7".into(), name: "Novos".into(), color: 3, deleted };
        StateChange::Label(change)
    };
    change(&mut pair, edit(false));
    let on = StateChange::Label(LabelChange::Chat { id: "7".into(), chat: number(ALICE), on: true });
    change(&mut pair, on);
    let message = LabelChange::Message { id: "7".into(), chat: number(ALICE), message: id.clone(), on: true };
    change(&mut pair, StateChange::Label(message));
    let event = pair.events_of("label.updated").pop().unwrap();
    assert_eq!((&event["name"], &event["deleted"]), (&json!("Novos"), &json!(false)));
    assert_eq!(pair.events_of("chat.updated").pop().unwrap()["labels"], json!(["7"]));
    let event = pair.events_of("message.labeled").pop().unwrap();
    assert_eq!((&event["whatsapp_message_id"], &event["labels"]), (&json!(id), &json!(["7"])));
    let on_phone = pair.lab.app_state(OWN).unwrap();
    let index = ["label_jid".to_owned(), "7".into(), Jid::pn(ALICE).to_wire()];
    assert!(on_phone.iter().any(|record| record.index == index));
    let stands = pair.store(|tx| Ok((tx.labels().chats("7")?, tx.labels().messages("7")?)));
    assert_eq!(stands, (vec![Jid::pn(ALICE)], vec![(Jid::pn(ALICE), id)]));

    // The phone renames it; the instance takes it away.
    let renamed = PhoneChange::Label { id: "7".into(), name: Some("Antigos".into()), color: 3 };
    pair.lab.change(OWN, &renamed, pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.store(|tx| tx.labels().find("7")).unwrap().name, "Antigos");
    change(&mut pair, edit(true));
    assert_eq!(pair.events_of("label.updated").pop().unwrap()["deleted"], json!(true));
    assert_eq!(pair.store(|tx| Ok((tx.labels().list()?.len(), tx.labels().messages("7")?.len()))), (0, 0));
    assert_eq!(pair.store(|tx| tx.labels().take_id()), "1");
    assert_eq!(pair.store(|tx| tx.labels().take_id()), "2");
}

#[test]
fn locks_and_emptied_chats_travel_and_a_chat_leaves_the_archive_if_the_account_wants_that() {
    let mut pair = linked(80);
    let view = |pair: &Pair| {
        pair.store(|tx| {
            let chat = tx.messages().find_chat(&Jid::pn(ALICE))?.expect("Alice wrote");
            tx.chats().view(chat.id)
        })
    };
    change(&mut pair, StateChange::LockChat { chat: number(ALICE), on: true });
    assert!(view(&pair).unwrap().locked);
    assert_eq!(pair.events_of("chat.updated").pop().unwrap()["locked"], json!(true));
    change(&mut pair, StateChange::ClearChat { chat: number(ALICE) });
    assert_eq!(pair.events_of("chat.updated").pop().unwrap()["cleared"], json!(true));

    let raw = |index: &[&str], field: u8, value: bool| {
        // SyncActionValue: the timestamp, and one message with one switch; the field's number takes two bytes from 16 on.
        let key = u32::from(field) << 3 | 2;
        let mut bytes = vec![0x08, 1, (key & 0x7f | 0x80) as u8, (key >> 7) as u8, 2, 0x08, u8::from(value)];
        bytes.truncate(7);
        PhoneChange::Raw {
            collection: if index[0] == "userStatusMute" { "regular_high" } else { "regular_low" }.into(),
            index: index.iter().map(|part| (*part).to_owned()).collect(),
            value: bytes,
            version: 7,
            remove: false,
        }
    };
    let archive = PhoneChange::Archive { chat: ALICE.into(), on: true };
    pair.lab.change(OWN, &archive, pair.now).unwrap();
    pair.phone_sends(ALICE, "one");
    pair.drive();
    assert!(view(&pair).unwrap().archived, "as long as nobody says otherwise");
    pair.lab.change(OWN, &raw(&["setting_unarchiveChats"], 23, true), pair.now).unwrap();
    pair.drive();
    pair.phone_sends(ALICE, "two");
    pair.drive();
    assert!(!view(&pair).unwrap().archived);
    let alice = Jid::pn(ALICE).to_wire();
    pair.lab.change(OWN, &raw(&["userStatusMute", &alice], 29, true), pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.events_of("contact.updated").pop().unwrap()["status_muted"], json!(true));
}

#[test]
fn nothing_is_asked_without_a_connection() {
    let mut pair = linked(81);
    pair.unreachable = true;
    pair.cut();
    pair.drive();
    for command in [
        ProfileCommand::Own,
        ProfileCommand::Privacy,
        ProfileCommand::Blocklist,
        ProfileCommand::Watch(number(ALICE)),
        ProfileCommand::SetAbout("x".into()),
    ] {
        assert_eq!(ask(&mut pair, command), Err(AskError::NotConnected(Status::Offline)));
    }
}

/// What no server sends costs nothing, and is acknowledged like everything else.
#[test]
fn odd_stanzas_about_people_do_no_harm() {
    let mut pair = linked(82);
    let events = pair.events().len();
    let alice = Jid::pn(ALICE);
    let notification = |kind: &'static str| {
        Node::new("notification").attr("from", &alice).attr("type", kind).attr("id", "1").attr("t", "1")
    };
    let odd = [
        Node::new("presence"),
        Node::new("presence").attr("from", "nobody").attr("last", "deny"),
        Node::new("presence").attr("from", Jid::server_itself()),
        Node::new("presence").attr("from", &alice).attr("last", "18446744073709551615"),
        Node::new("presence").attr("from", &alice).attr("last", "-1").attr("type", "odd"),
        Node::new("chatstate"),
        Node::new("chatstate").attr("from", &alice),
        Node::new("chatstate").attr("from", &alice).child(Node::new("dancing")),
        Node::new("chatstate").attr("from", Jid::group("120363001234567890")).child(Node::new("composing")),
        Node::new("chatstate")
            .attr("from", Jid::group("120363001234567890"))
            .attr("participant", Jid::server_itself())
            .child(Node::new("composing")),
        notification("status"),
        notification("status").child(Node::new("set").bytes(vec![0xff, 0xfe])),
        notification("business"),
        notification("account_sync").child(Node::new("blocklist").child(Node::new("item"))),
        notification("account_sync").child(Node::new("disappearing_mode").attr("duration", "soon")),
    ];
    for node in odd {
        pair.input(wazap::account::Input::Node(node));
    }
    pair.drive();
    assert_eq!(pair.events().len(), events, "nothing that anybody could be told");
    assert_eq!(pair.status(), Status::Connected);

    // A list that is sent for somebody else's notice of a change: read whole, not believed.
    let notice = BlockNotice {
        dhash: Some("new".into()),
        previous: Some("unknown".into()),
        changes: vec![(Jid::lid("1"), None, true)],
    };
    pair.input(wazap::account::Input::Node(notice.build("9", &Jid::pn(OWN), 1)));
    pair.drive();
    assert_eq!(pair.store(|tx| tx.blocks().list()), []);
    let notice = PictureNotice { of: alice, id: None, author: None };
    pair.input(wazap::account::Input::Node(notice.build("10", 1)));
    pair.drive();
    assert_eq!(pair.events_of("contact.updated").pop().unwrap()["picture_id"], json!(null));
}
