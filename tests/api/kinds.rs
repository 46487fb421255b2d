//! Sends beside text, and what the account shows of itself: what each route takes, and what it refuses.

use serde_json::{Value, json};
use wazap::{
    account::{Body, ChatState, Recipient, SendError, Target},
    daemon::Shown,
};

use crate::harness::{Story, error};

const TO: &str = "5511999999999@s.whatsapp.net";

async fn sent(path: &str, body: Value) -> (Value, Option<Body>) {
    let story = Story::new();
    let answer = story.call("POST", path, &body.to_string()).await;
    let said = story.instance.asked(|asked| asked.sends.pop()).map(|send| send.body);
    (answer.json(), said)
}

async fn refused(method: &str, path: &str, body: Value) -> Value {
    let story = Story::new();
    let answer = story.call(method, path, &body.to_string()).await;
    assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"), "{path} {body}");
    assert!(story.instance.asked(|asked| asked.sends.is_empty() && asked.shown.is_empty()));
    answer.details()
}

#[tokio::test]
async fn a_reaction_names_its_message_and_is_one_emoji_or_none() {
    for emoji in ["👍", "❤️", "😂", "👨‍👩‍👧", "🇧🇷", "1️⃣", ""] {
        let (answer, body) =
            sent("/send-reaction", json!({ "to": TO, "messageId": "3EB0AA", "emoji": emoji })).await;
        assert_eq!(answer["message"], "Reaction sent successfully", "{emoji}");
        let target = Target { id: "3EB0AA".into(), from_me: false, participant: None };
        assert_eq!(body, Some(Body::Reaction { target, emoji: emoji.into() }));
    }
    let good = json!({ "recipient": TO, "message_id": "3EB0AA", "emoji": "👍", "fromMe": true });
    let (_, body) = sent("/send-reaction", good).await;
    assert!(matches!(body, Some(Body::Reaction { target: Target { from_me: true, .. }, .. })));
    for emoji in [json!("a"), json!("👍👍"), json!(":)"), json!(1), json!(null)] {
        let details =
            refused("POST", "/send-reaction", json!({ "to": TO, "messageId": "3EB0AA", "emoji": emoji }));
        assert!(details.await["emoji"].is_array(), "{emoji}");
    }
    let group = json!({ "to": "120363001234567890@g.us", "messageId": "3EB0AA", "emoji": "👍", "participant": "5511987654321" });
    let (_, body) = sent("/send-reaction", group).await;
    let Some(Body::Reaction { target, .. }) = body else { panic!("no reaction") };
    assert_eq!(target.participant, Some(wazap::wire::Jid::pn("5511987654321")));
    let nobody =
        json!({ "to": TO, "messageId": "3EB0AA", "emoji": "👍", "participant": "120363001234567890@g.us" });
    assert!(refused("POST", "/send-reaction", nobody).await["participant"].is_array());
    let details = refused("POST", "/send-reaction", json!({})).await;
    let fields: Vec<&String> = details.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["to", "messageId", "emoji"]);
}

#[tokio::test]
async fn a_place_has_two_numbers_on_the_globe() {
    let (answer, body) = sent(
        "/send-location",
        json!({ "to": TO, "latitude": -23.55, "longitude": -46, "name": "Sé", "address": "São Paulo" }),
    )
    .await;
    assert_eq!(answer["message"], "Location sent successfully");
    let expected = Body::Location {
        latitude: -23.55,
        longitude: -46.0,
        name: Some("Sé".into()),
        address: Some("São Paulo".into()),
    };
    assert_eq!(body, Some(expected));
    for (field, body) in [
        ("latitude", json!({ "to": TO, "latitude": 90.1, "longitude": 0 })),
        ("longitude", json!({ "to": TO, "latitude": 0, "longitude": "0" })),
        ("longitude", json!({ "to": TO, "latitude": 0 })),
        ("name", json!({ "to": TO, "latitude": 0, "longitude": 0, "name": "x".repeat(256) })),
    ] {
        assert!(refused("POST", "/send-location", body).await[field].is_array(), "{field}");
    }
}

#[tokio::test]
async fn a_card_is_written_from_name_and_phone_or_taken_as_it_is() {
    let contacts = json!([{ "name": "Ana; Lima", "phone": "+55 11 98888-7777", "organization": "Loja" }]);
    let (_, body) = sent("/send-contact", json!({ "to": TO, "contacts": contacts })).await;
    let Some(Body::Contacts(cards)) = body else { panic!("no cards") };
    assert_eq!(cards[0].name, "Ana; Lima");
    assert_eq!(
        cards[0].vcard,
        "BEGIN:VCARD\nVERSION:3.0\nN:;Ana\\; Lima;;;\nFN:Ana\\; Lima\nORG:Loja;\nTEL;type=CELL;waid=5511988887777:+5511988887777\nEND:VCARD"
    );
    let vcard = "BEGIN:VCARD\nVERSION:3.0\nFN:Bea\nEND:VCARD";
    let (_, body) = sent("/send-contact", json!({ "to": TO, "vcard": vcard })).await;
    assert!(matches!(body, Some(Body::Contacts(cards)) if cards[0].name == "Bea" && cards[0].vcard == vcard));
    for (field, body) in [
        ("contacts", json!({ "to": TO })),
        ("contacts", json!({ "to": TO, "contacts": [] })),
        ("contacts", json!({ "to": TO, "contacts": [{ "name": "Ana" }] })),
        ("contacts", json!({ "to": TO, "contacts": [{ "name": "Ana", "phone": "12" }] })),
        ("vcard", json!({ "to": TO, "vcard": "FN:Bea" })),
    ] {
        assert!(refused("POST", "/send-contact", body).await[field].is_array(), "{field}");
    }
}

#[tokio::test]
async fn a_poll_has_two_to_twelve_different_options() {
    let (_, body) =
        sent("/send-poll", json!({ "to": TO, "question": "When?", "options": ["now", "later"] })).await;
    let poll =
        Body::Poll { question: "When?".into(), options: vec!["now".into(), "later".into()], multiple: false };
    assert_eq!(body, Some(poll));
    let many: Vec<String> = (0..13).map(|n| n.to_string()).collect();
    for (field, body) in [
        ("question", json!({ "to": TO, "options": ["a", "b"] })),
        ("question", json!({ "to": TO, "question": "x".repeat(256), "options": ["a", "b"] })),
        ("options", json!({ "to": TO, "question": "?", "options": ["a"] })),
        ("options", json!({ "to": TO, "question": "?", "options": ["a", "a"] })),
        ("options", json!({ "to": TO, "question": "?", "options": ["a", " "] })),
        ("options", json!({ "to": TO, "question": "?", "options": many })),
    ] {
        assert!(refused("POST", "/send-poll", body).await[field].is_array(), "{field}");
    }
}

#[tokio::test]
async fn own_messages_are_edited_and_taken_back() {
    let story = Story::new();
    let body = json!({ "to": TO, "message": "better" }).to_string();
    let answer = story.call("PATCH", "/messages/3EB0AA", &body).await;
    assert_eq!(answer.json()["message"], "Message edited successfully");
    let answer = story.call("DELETE", &format!("/messages/3EB0AA?to={TO}&for=everyone"), "").await;
    assert_eq!(answer.json()["message"], "Message deleted successfully");
    let said: Vec<Body> = story.instance.asked(|asked| asked.sends.drain(..).map(|send| send.body).collect());
    let id = || "3EB0AA".to_owned();
    assert_eq!(said, [Body::Edit { id: id(), text: "better".into() }, Body::Revoke { id: id() }]);
    assert!(
        refused("DELETE", &format!("/messages/3EB0AA?to={TO}&for=him"), json!({})).await["for"].is_array()
    );
    assert!(refused("DELETE", "/messages/3EB0AA", json!({})).await["to"].is_array());
    assert!(refused("PATCH", "/messages/3EB0AA", json!({ "to": TO })).await["message"].is_array());
}

#[tokio::test]
async fn own_posts_are_changed_like_messages_but_no_message_is_sent_to_a_newsletter() {
    let story = Story::new();
    let newsletter = "120363100000000001@newsletter";
    let body = json!({ "to": newsletter, "message": "better" });
    assert_eq!(story.call("PATCH", "/messages/3EB0AA", &body.to_string()).await.status, 200);
    assert_eq!(story.call("DELETE", &format!("/messages/3EB0AA?to={newsletter}"), "").await.status, 200);
    let to: Vec<Recipient> =
        story.instance.asked(|asked| asked.sends.drain(..).map(|send| send.recipient).collect());
    let jid = || Recipient::Jid(newsletter.parse().unwrap());
    assert_eq!(to, [jid(), jid()]);
    for wrong in ["12036310000000000x@newsletter", "1@newsletter", "@newsletter"] {
        let body = json!({ "to": wrong, "message": "better" });
        assert!(refused("PATCH", "/messages/3EB0AA", body).await["to"].is_array(), "{wrong}");
    }
    assert!(refused("POST", "/send-message", body).await["recipient"].is_array());
    let for_me = format!("/messages/3EB0AA?to={newsletter}&for=me");
    assert!(refused("DELETE", &for_me, json!({})).await["to"].is_array());
}

#[tokio::test]
async fn one_key_is_not_the_same_for_two_messages() {
    let story = Story::new();
    let body = json!({ "to": TO, "message": "better" }).to_string();
    let headers = [("authorization", "Bearer sk_story"), ("idempotency-key", "k")];
    for path in ["/messages/3EB0AA", "/messages/3EB0BB"] {
        story.call_with("PATCH", path, &headers, &body).await;
    }
    let hashes: Vec<[u8; 32]> = story
        .instance
        .asked(|asked| asked.sends.iter().map(|send| send.idempotency.as_ref().unwrap().body_hash).collect());
    assert_ne!(hashes[0], hashes[1]);
}

#[tokio::test]
async fn reading_typing_and_presence_are_shown() {
    let story = Story::new();
    let chat = || Recipient::Number("5511999999999".into());
    for (path, body) in [
        ("/mark-read", json!({ "to": "5511999999999", "message_ids": ["A", "B"] })),
        ("/send-presence", json!({ "to": "5511999999999", "state": "recording" })),
        ("/presence", json!({ "state": "available" })),
    ] {
        let answer = story.call("POST", path, &body.to_string()).await;
        assert_eq!(answer.status.as_u16(), 200, "{path}");
    }
    let shown = story.instance.asked(|asked| std::mem::take(&mut asked.shown));
    let expected = [
        Shown::Read { chat: chat(), ids: vec!["A".into(), "B".into()] },
        Shown::ChatState { chat: chat(), state: ChatState::Recording, lasting: None },
        Shown::Presence { available: true },
    ];
    assert_eq!(shown, expected);
    story.instance.answers(Err(SendError::UnknownMessage("B".into())));
    let body = json!({ "to": "5511999999999", "message_ids": ["B"] }).to_string();
    assert_eq!(story.call("POST", "/mark-read", &body).await.error(), error(404, "MESSAGE_NOT_FOUND"));
    for (path, field, body) in [
        ("/mark-read", "message_ids", json!({ "to": TO })),
        ("/mark-read", "message_ids", json!({ "to": TO, "message_ids": [1] })),
        ("/send-presence", "state", json!({ "to": TO, "state": "sleeping" })),
        ("/presence", "state", json!({})),
    ] {
        assert!(refused("POST", path, body).await[field].is_array(), "{path}");
    }
}

#[tokio::test]
async fn mentions_are_people() {
    let story = Story::new();
    let body = json!({ "to": TO, "message": "hi @5511988887777", "mentions": ["5511988887777", "123456789012345@lid"] });
    story.call("POST", "/send-message", &body.to_string()).await;
    let mentions = story.instance.asked(|asked| asked.sends.pop().unwrap().mentions);
    let mentions: Vec<String> = mentions.iter().map(wazap::wire::Jid::to_wire).collect();
    assert_eq!(mentions, ["5511988887777@s.whatsapp.net", "123456789012345@lid"]);
    for mentions in [json!("x"), json!(["120363025246125486@g.us"]), json!([1])] {
        let details =
            refused("POST", "/send-message", json!({ "to": TO, "message": "x", "mentions": mentions }));
        assert!(details.await["mentions"].is_array());
    }
}
