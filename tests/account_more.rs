//! Forwards, pins and chats whose messages disappear: an account and the simulated WhatsApp on one fake clock.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, ECHO, OWN, Pair};
use serde_json::{Value, json};
use wazap::{
    account::{Body, ChatState, Command, Preview, Recipient, SendError, SendMessage},
    sandbox::Sending,
};

const DAY: u32 = 86_400;

fn command(to: &str, body: Body) -> Command {
    Command::SendMessage(SendMessage {
        recipient: Recipient::Number(to.to_owned()),
        body,
        mentions: Vec::new(),
        reply_to: None,
        idempotency: None,
        respond_async: true,
        send_at: None,
        dry: false,
    })
}

/// Sends and drives: the id, or why not.
fn send(pair: &mut Pair, to: &str, body: Body) -> Result<String, SendError> {
    let ticket = pair.ask(command(to, body));
    pair.drive();
    pair.sent(ticket).expect("answered").map(|sent| sent.message_id)
}

/// What a phone received under that id, as JSON.
fn message(pair: &Pair, phone: &str, id: &str) -> Value {
    let all = pair.lab.messages(phone, None).unwrap();
    all.into_iter().find(|message| message.id == id).expect("the message arrived").message
}

fn forward(pair: &mut Pair, to: &str, id: &str) -> Result<String, SendError> {
    send(pair, to, Body::Forward { id: id.to_owned() })
}

#[test]
fn a_text_of_one_chat_is_forwarded_to_another_and_counted() {
    let mut pair = Pair::linked(61);
    let first = pair.send(ALICE, "what do you think?");
    let quoting = Sending::Text { text: "look".into(), quote: Some(first) };
    let theirs = pair.lab.send(ALICE, OWN, quoting, pair.now).unwrap();
    pair.drive();
    let id = forward(&mut pair, ECHO, &theirs).unwrap();
    let said = &message(&pair, ECHO, &id)["extendedTextMessage"];
    assert_eq!(said["text"], "look");
    assert_eq!(said["contextInfo"], json!({ "forwardingScore": 1, "isForwarded": true }));
    // What the account said itself is passed on as if it were new.
    let own = pair.send(ALICE, "mine");
    let id = forward(&mut pair, ECHO, &own).unwrap();
    assert_eq!(message(&pair, ECHO, &id)["extendedTextMessage"]["contextInfo"], json!({}));
    pair.assert_well_behaved();
}

#[test]
fn a_file_is_forwarded_with_its_own_keys_and_a_secret_of_its_own() {
    let mut pair = Pair::linked(62);
    let picture = Sending::Raw(raw_image(false));
    let theirs = pair.lab.send(ALICE, OWN, picture, pair.now).unwrap();
    pair.drive();
    let before = message_of_instance(&pair, &theirs);
    let id = forward(&mut pair, ECHO, &theirs).unwrap();
    let after = message(&pair, ECHO, &id);
    for member in ["mediaKey", "directPath", "fileEncSha256", "url"] {
        assert_eq!(after["imageMessage"][member], before["imageMessage"][member], "{member}");
    }
    assert_eq!(after["imageMessage"]["contextInfo"]["forwardingScore"], 1);
    let secret = |message: &Value| message["messageContextInfo"]["messageSecret"].as_str().map(str::to_owned);
    assert!(secret(&after).is_some());
    assert_ne!(secret(&after), secret(&before));
    assert!(
        pair.written.iter().any(|node| node.text("id") == Some(&id) && node.text("type") == Some("media"))
    );
    pair.assert_well_behaved();
}

#[test]
fn what_is_not_there_or_says_nothing_is_not_forwarded() {
    let mut pair = Pair::linked(63);
    assert_eq!(forward(&mut pair, ECHO, "3EB000"), Err(SendError::UnknownMessage("3EB000".into())));
    let once = pair.lab.send(ALICE, OWN, Sending::Raw(raw_image(true)), pair.now).unwrap();
    let text = pair.phone_sends(ALICE, "hi");
    pair.drive();
    let reaction = Sending::Reaction { id: text, emoji: "👍".into() };
    let reaction = pair.lab.send(ALICE, OWN, reaction, pair.now).unwrap();
    pair.drive();
    for id in [once, reaction] {
        assert!(matches!(forward(&mut pair, ECHO, &id), Err(SendError::NotForwardable(_))));
    }
}

#[test]
fn an_edited_message_is_forwarded_as_it_reads_now_and_a_deleted_one_not_at_all() {
    let mut pair = Pair::linked(69);
    let theirs = pair.phone_sends(ALICE, "befor");
    pair.drive();
    let edit = Sending::Edit { id: theirs.clone(), text: "before".into() };
    pair.lab.send(ALICE, OWN, edit, pair.now).unwrap();
    pair.drive();
    let id = forward(&mut pair, ECHO, &theirs).unwrap();
    assert_eq!(message(&pair, ECHO, &id)["extendedTextMessage"]["text"], "before");
    pair.lab.send(ALICE, OWN, Sending::Revoke { id: theirs.clone() }, pair.now).unwrap();
    pair.drive();
    assert!(matches!(forward(&mut pair, ECHO, &theirs), Err(SendError::NotForwardable(_))));
}

#[test]
fn a_pin_reaches_the_other_end_and_theirs_is_told_as_what_it_is() {
    let mut pair = Pair::linked(64);
    let text = pair.phone_sends(ALICE, "the address is …");
    pair.drive();
    let week = Duration::from_secs(604_800);
    let pin = Body::Pin { id: text.clone(), lasting: Some(week) };
    let id = send(&mut pair, ALICE, pin).unwrap();
    let seen = message(&pair, ALICE, &id);
    assert_eq!(
        (&seen["pinInChatMessage"]["type"], &seen["pinInChatMessage"]["key"]["id"]),
        (&json!(1), &json!(text))
    );
    assert_eq!(seen["pinInChatMessage"]["key"]["fromMe"], false);
    assert_eq!(seen["messageContextInfo"]["messageAddOnDurationInSecs"], 604_800);
    let stanza = pair.written.iter().find(|node| node.text("id") == Some(&id)).unwrap();
    assert_eq!((stanza.text("type"), stanza.text("edit")), (Some("text"), Some("2")));
    let id = send(&mut pair, ALICE, Body::Pin { id: text.clone(), lasting: None }).unwrap();
    assert_eq!(message(&pair, ALICE, &id)["pinInChatMessage"]["type"], 2);
    let unknown = Body::Pin { id: "3EB000".into(), lasting: None };
    assert_eq!(send(&mut pair, ALICE, unknown), Err(SendError::UnknownMessage("3EB000".into())));

    let received = pair.received().len();
    for (kind, seconds) in [(1, DAY), (2, 0)] {
        pair.lab.send(ALICE, OWN, Sending::Raw(raw_pin(&text, kind, seconds)), pair.now).unwrap();
        pair.drive();
    }
    let (pinned, unpinned) = (pair.events_of("message.pinned"), pair.events_of("message.unpinned"));
    assert_eq!((pinned.len(), unpinned.len(), pair.received().len()), (2, 2, received));
    assert_eq!((&pinned[0]["from_me"], &pinned[0]["seconds"]), (&json!(true), &json!(604_800)));
    assert_eq!((&pinned[1]["from_me"], &pinned[1]["seconds"]), (&json!(false), &json!(DAY)));
    assert_eq!(
        (&pinned[1]["whatsapp_message_id"], &pinned[1]["sender_number"]),
        (&json!(text), &json!(ALICE))
    );
    assert!(unpinned[1].get("seconds").is_none());
    pair.assert_well_behaved();
}

#[test]
fn a_chats_timer_is_learnt_told_and_carried() {
    let mut pair = Pair::linked(65);
    pair.send(ALICE, "before");
    pair.pass(Duration::from_secs(5));
    pair.lab.send(ALICE, OWN, Sending::Timer { seconds: DAY }, pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.received(), Vec::<String>::new(), "a setting is no message");
    let told = pair.events_of("chat.updated");
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["ephemeral_seconds"], &told[0]["previous_ephemeral_seconds"], &told[0]["sender_number"]),
        (&json!(DAY), &json!(0), &json!(ALICE))
    );
    let expiry = |message: &Value, kind: &str| message[kind]["contextInfo"]["expiration"].clone();
    let id = pair.send(ALICE, "gone tomorrow");
    let seen = message(&pair, ALICE, &id);
    assert_eq!(expiry(&seen, "extendedTextMessage"), json!(DAY));
    assert!(
        seen["extendedTextMessage"]["contextInfo"]["ephemeralSettingTimestamp"].as_u64()
            > Some(1_767_115_800)
    );
    // The own phone's copy, too; and other chats carry nothing.
    assert_eq!(expiry(&message(&pair, OWN, &id), "extendedTextMessage"), json!(DAY));
    let id = pair.send(ECHO, "stays");
    assert_eq!(message(&pair, ECHO, &id)["conversation"], "stays");
    let place = Body::Location { latitude: 1.0, longitude: 2.0, name: None, address: None };
    let id = send(&mut pair, ALICE, place).unwrap();
    assert_eq!(expiry(&message(&pair, ALICE, &id), "locationMessage"), json!(DAY));
    // After a restart it still holds.
    pair.kill();
    pair.pass(Duration::from_secs(30));
    let id = pair.send(ALICE, "still");
    assert_eq!(expiry(&message(&pair, ALICE, &id), "extendedTextMessage"), json!(DAY));
    pair.lab.send(ALICE, OWN, Sending::Timer { seconds: 0 }, pair.now).unwrap();
    pair.drive();
    let id = pair.send(ALICE, "stays");
    assert_eq!(message(&pair, ALICE, &id)["conversation"], "stays");
    assert_eq!(pair.events_of("chat.updated").len(), 2);
    pair.assert_well_behaved();
}

#[test]
fn a_message_teaches_the_timer_but_an_older_word_does_not_undo_a_later_one() {
    let mut pair = Pair::linked(66);
    let now = pair.now.secs();
    let teach = |pair: &mut Pair, seconds, set_at| {
        pair.lab.send(ALICE, OWN, Sending::Raw(raw_timed("hi", seconds, set_at)), pair.now).unwrap();
        pair.drive();
    };
    teach(&mut pair, DAY, now - 100);
    assert_eq!(pair.events_of("chat.updated").len(), 1);
    assert_eq!(pair.received().len(), 1, "an ordinary message stays one");
    teach(&mut pair, 604_800, now - 200);
    teach(&mut pair, DAY, now - 100);
    // A time that has not come is the time of the message.
    teach(&mut pair, 604_800, now + 1_000_000);
    let told = pair.events_of("chat.updated");
    assert_eq!(told.len(), 2);
    assert_eq!(told[1]["ephemeral_seconds"], 604_800);
    pair.pass(Duration::from_secs(10));
    pair.lab.send(ALICE, OWN, Sending::Timer { seconds: 0 }, pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.events_of("chat.updated").len(), 3);
}

#[test]
fn a_preview_travels_beside_its_text() {
    let mut pair = Pair::linked(68);
    let preview = Preview {
        url: "https://example.com/a".into(),
        title: "Title".into(),
        description: Some("Words".into()),
        thumbnail: Some(vec![0xff, 0xd8]),
    };
    let text = "see https://example.com/a";
    let body = Body::Linked { text: text.into(), preview: Box::new(preview) };
    let id = send(&mut pair, ALICE, body).unwrap();
    let seen = &message(&pair, ALICE, &id)["extendedTextMessage"];
    let expected = json!({
        "text": text,
        "matchedText": "https://example.com/a",
        "title": "Title",
        "description": "Words",
        "previewType": 0,
        "jpegThumbnail": "/9g=",
    });
    assert_eq!(*seen, expected);
    let stanza = pair.written.iter().find(|node| node.text("id") == Some(&id)).unwrap();
    assert_eq!(stanza.text("type"), Some("media"));
    assert!(pair.events_of("message.sent").iter().any(|event| event["content"] == text));
    pair.assert_well_behaved();
}

#[test]
fn typing_ends_by_itself_unless_something_else_is_shown() {
    let mut pair = Pair::linked(67);
    pair.send(ALICE, "hi");
    let states = |pair: &Pair| {
        let shown = pair.written.iter().filter(|node| node.tag == "chatstate");
        shown.map(|node| node.children().first().unwrap().tag.to_string()).collect::<Vec<_>>()
    };
    let show = |pair: &mut Pair, state, seconds: Option<u64>| {
        let chat = Recipient::Number(ALICE.to_owned());
        let lasting = seconds.map(Duration::from_secs);
        pair.ask(Command::ChatState { chat, state, lasting });
        pair.drive();
    };
    show(&mut pair, ChatState::Typing, Some(5));
    pair.pass(Duration::from_millis(4_900));
    assert_eq!(states(&pair), ["composing"]);
    pair.pass(Duration::from_millis(100));
    assert_eq!(states(&pair), ["composing", "paused"]);
    // Shown again without an end, it has none.
    show(&mut pair, ChatState::Typing, Some(5));
    show(&mut pair, ChatState::Recording, None);
    pair.pass(Duration::from_secs(15));
    assert_eq!(states(&pair).len(), 4);
    // A connection that is lost takes it along.
    show(&mut pair, ChatState::Typing, Some(30));
    pair.cut();
    pair.pass(Duration::from_secs(60));
    assert_eq!(states(&pair).len(), 5);
    pair.assert_well_behaved();
}

fn raw_image(view_once: bool) -> Vec<u8> {
    use prost::Message as _;
    let image = wazap::proto::message::ImageMessage {
        url: Some("https://mmg.whatsapp.net/v/x".into()),
        direct_path: Some("/v/x?y".into()),
        media_key: Some(vec![3; 32]),
        file_enc_sha256: Some(vec![4; 32]),
        view_once: view_once.then_some(true),
        ..Default::default()
    };
    wazap::proto::Message { image_message: Some(Box::new(image)), ..Default::default() }.encode_to_vec()
}

fn raw_pin(id: &str, kind: i32, seconds: u32) -> Vec<u8> {
    use prost::Message as _;
    let key = wazap::proto::MessageKey { id: Some(id.into()), from_me: Some(true), ..Default::default() };
    let pin =
        wazap::proto::message::PinInChatMessage { key: Some(key), r#type: Some(kind), ..Default::default() };
    let own = wazap::proto::MessageContextInfo {
        message_add_on_duration_in_secs: Some(seconds),
        ..Default::default()
    };
    let message = wazap::proto::Message {
        pin_in_chat_message: Some(pin),
        message_context_info: Some(own),
        ..Default::default()
    };
    message.encode_to_vec()
}

fn raw_timed(text: &str, seconds: u32, set_at: u64) -> Vec<u8> {
    use prost::Message as _;
    let context = wazap::proto::ContextInfo {
        expiration: Some(seconds),
        ephemeral_setting_timestamp: i64::try_from(set_at).ok(),
        ..Default::default()
    };
    let text = wazap::proto::message::ExtendedTextMessage {
        text: Some(text.into()),
        context_info: Some(Box::new(context)),
        ..Default::default()
    };
    wazap::proto::Message { extended_text_message: Some(Box::new(text)), ..Default::default() }
        .encode_to_vec()
}

/// What the instance keeps of a message, as JSON.
fn message_of_instance(pair: &Pair, id: &str) -> Value {
    let id = id.to_owned();
    let kept = pair.store(move |tx| tx.messages().find_anywhere(&id)).unwrap();
    wazap::proto::message_json(&kept.content).unwrap()
}
