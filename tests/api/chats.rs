//! Chats and contacts: the lists, one of them, and what can be changed.

use std::time::Duration;

use serde_json::{Value, json};
use wazap::{
    account::{Recipient, SendError, StateChange},
    store::{
        chats::Mute,
        messages::{MessageKey, NewMessage, Progress},
    },
    wire::Jid,
};

use crate::harness::{START, Story, error};

const ALICE: &str = "5511999999999";

fn alice() -> Recipient {
    Recipient::Number(ALICE.into())
}

/// A message from somebody, so many seconds after the start.
async fn hears(story: &Story, from: Jid, id: &str, seconds: u64) {
    let id = id.to_owned();
    let stored = story.store.write(move |tx| {
        let chat = tx.messages().chat(&from)?;
        tx.people().set_push_name(&from, "Ali")?;
        tx.messages().insert(&NewMessage {
            key: MessageKey { chat: chat.id, wa_id: id.clone(), from_me: false, participant: None },
            uuid: id,
            at: START + Duration::from_secs(seconds),
            push_name: None,
            content: Vec::new(),
            progress: Progress::Pending,
        })
    });
    stored.await.unwrap();
}

async fn refused(method: &str, path: &str, body: Value) -> Value {
    let story = Story::new();
    let answer = story.call(method, path, &body.to_string()).await;
    assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"), "{path} {body}");
    assert!(story.instance.asked(|asked| asked.changes.is_empty()));
    answer.details()
}

#[tokio::test]
async fn chats_are_listed_by_their_newest_message_pinned_ones_first() {
    let story = Story::new();
    for (n, digits) in ["5511000000001", "5511000000002", "5511000000003"].into_iter().enumerate() {
        hears(&story, Jid::pn(digits), &format!("M{n}"), n as u64).await;
    }
    let pinned = story.store.write(|tx| {
        let chat = tx.messages().find_chat(&Jid::pn("5511000000001"))?.unwrap();
        tx.chats().set_pinned(chat.id, Some(START))
    });
    assert!(pinned.await.unwrap());
    let body = story.get("/chats").await.json();
    assert_eq!((&body["page"], &body["per_page"], &body["total"]), (&json!(1), &json!(50), &json!(3)));
    let phones = |body: &Value| -> Vec<String> {
        let chats = body["chats"].as_array().unwrap();
        chats.iter().map(|chat| chat["phone"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(phones(&body), ["5511000000001", "5511000000003", "5511000000002"]);
    let second = story.get("/chats?page=2&per_page=2").await.json();
    assert_eq!((phones(&second), &second["total"]), (vec!["5511000000002".to_owned()], &json!(3)));
    for (field, query) in [("page", "page=0"), ("per_page", "per_page=101"), ("per_page", "per_page=x")] {
        assert!(story.get(&format!("/chats?{query}")).await.details()[field].is_array(), "{query}");
    }
}

#[tokio::test]
async fn a_chat_is_shown_under_either_name_with_what_is_known_of_it() {
    let story = Story::new();
    let lid = Jid::lid("123456789012345");
    hears(&story, lid.clone(), "M1", 1).await;
    hears(&story, lid.clone(), "M2", 2).await;
    let known = story.store.write(move |tx| {
        tx.people().learn(&Jid::pn(ALICE), &lid)?;
        let chat = tx.messages().find_chat(&lid)?.unwrap();
        tx.chats().set_archived(chat.id, true)?;
        tx.chats().set_muted(chat.id, Mute::Until(START + Duration::from_secs(60)))?;
        tx.contacts().set_name(&lid, "Alice Souza", Some("Alice"))
    });
    assert!(known.await.unwrap());
    for path in [ALICE, "5511999999999@s.whatsapp.net", "123456789012345@lid", "+55%2011%2099999-9999"] {
        let body = story.get(&format!("/chats/{path}")).await.json();
        let expected = json!({
            "success": true,
            "jid": "5511999999999@s.whatsapp.net",
            "phone": ALICE,
            "lid": "123456789012345@lid",
            "name": "Alice Souza",
            "is_group": false,
            "unread_count": 2,
            "unread": true,
            "last_message_at": "2025-12-30T17:30:02.000Z",
            "archived": true,
            "locked": false,
            "favorite": false,
            "pinned": false,
            "muted_until": "2025-12-30T17:31:00.000Z",
            "is_announcement": false,
            "labels": [],
            "history": {
                "oldest_message_id": "M1",
                "oldest_message_at": "2025-12-30T17:30:01.000Z",
                "complete": null,
            },
        });
        assert_eq!(body, expected, "{path}");
    }
    // A silence that is over is none.
    story.advance(Duration::from_secs(61));
    assert_eq!(story.get(&format!("/chats/{ALICE}")).await.json()["muted_until"], Value::Null);
    assert_eq!(story.get("/chats/5511888888888").await.error(), error(404, "CHAT_NOT_FOUND"));
    assert!(story.get("/chats/nobody").await.details()["jid"].is_array());
}

#[tokio::test]
async fn a_chat_is_changed_in_what_is_given() {
    let hour = START + Duration::from_secs(3600);
    let cases = [
        (json!({ "archived": true }), (Some(true), None, None, None)),
        (json!({ "pinned": false, "unread": true }), (None, Some(false), None, Some(true))),
        (json!({ "muted_until": null, "pinned": null }), (None, None, Some(Mute::Off), None)),
        (json!({ "muted_until": "forever" }), (None, None, Some(Mute::Forever), None)),
        (json!({ "muted_until": hour.rfc3339() }), (None, None, Some(Mute::Until(hour)), None)),
        (json!({ "muted_until": "2025-12-30T15:30:00-03:00" }), (None, None, Some(Mute::Until(hour)), None)),
    ];
    for (body, (archived, pinned, muted, unread)) in cases {
        let story = Story::new();
        let answer = story.call("PATCH", &format!("/chats/{ALICE}"), &body.to_string()).await;
        assert_eq!(
            answer.json(),
            json!({ "success": true, "message": "Chat updated successfully" }),
            "{body}"
        );
        let change = story.instance.asked(|asked| asked.changes.pop());
        assert_eq!(change, Some(StateChange::Chat { chat: alice(), archived, pinned, muted, unread }));
    }
    for (field, body) in [
        ("archived", json!({})),
        ("unread", json!({ "title": "x" })),
        ("archived", json!({ "archived": "yes" })),
        ("pinned", json!({ "pinned": true, "archived": true })),
        ("muted_until", json!({ "muted_until": "2025-12-30T17:30:00Z" })),
        ("muted_until", json!({ "muted_until": "tomorrow" })),
        ("muted_until", json!({ "muted_until": 1_767_115_900 })),
    ] {
        assert!(refused("PATCH", &format!("/chats/{ALICE}"), body.clone()).await[field].is_array(), "{body}");
    }
    let both = refused("PATCH", "/chats/x", json!({ "archived": 1 })).await;
    assert!(both["jid"].is_array() && both["archived"].is_array());
}

#[tokio::test]
async fn chats_messages_and_stars_go_through_the_instance() {
    let story = Story::new();
    let star = json!({ "to": ALICE, "value": true }).to_string();
    let answer = story.call("POST", "/messages/3EB0AA/star", &star).await;
    assert_eq!(answer.json()["message"], "Message starred successfully");
    let answer = story.call("DELETE", &format!("/messages/3EB0AA?to={ALICE}&for=me"), "").await;
    assert_eq!(answer.json()["message"], "Message deleted successfully");
    let answer = story.call("DELETE", &format!("/chats/{ALICE}"), "").await;
    assert_eq!(answer.json()["message"], "Chat deleted successfully");
    let changes = story.instance.asked(|asked| std::mem::take(&mut asked.changes));
    let id = || "3EB0AA".to_owned();
    let expected = [
        StateChange::Star { chat: alice(), id: id(), on: true },
        StateChange::DeleteForMe { chat: alice(), id: id() },
        StateChange::DeleteChat { chat: alice() },
    ];
    assert_eq!(changes, expected);
    assert!(story.instance.asked(|asked| asked.sends.is_empty()));
    for body in [json!({ "to": ALICE }), json!({ "to": ALICE, "value": 1 })] {
        assert!(refused("POST", "/messages/A/star", body).await["value"].is_array());
    }
    assert!(refused("POST", "/messages/A/star", json!({ "value": true })).await["to"].is_array());
    assert!(refused("DELETE", "/messages/A?for=me", json!({})).await["to"].is_array());
    for (said, expected) in [
        (SendError::UnknownMessage("3EB0AA".into()), error(404, "MESSAGE_NOT_FOUND")),
        (SendError::UnknownChat(ALICE.into()), error(404, "CHAT_NOT_FOUND")),
        (
            SendError::Refused { code: 400, message_id: String::new(), replayed: false },
            error(500, "SEND_FAILED"),
        ),
    ] {
        story.instance.answers(Err(said));
        assert_eq!(story.call("POST", "/messages/3EB0AA/star", &star).await.error(), expected);
    }
}

#[tokio::test]
async fn contacts_are_listed_saved_and_removed() {
    let story = Story::new();
    let stored = story.store.write(|tx| {
        let lid = Jid::lid("123456789012345");
        tx.people().set_push_name(&lid, "ali")?;
        tx.people().learn(&Jid::pn(ALICE), &lid)?;
        tx.contacts().set_name(&Jid::pn(ALICE), "Alice Souza", None)?;
        tx.people().set_push_name(&Jid::pn("5511888888888"), "Bob")
    });
    stored.await.unwrap();
    let body = story.get("/contacts?per_page=1&page=2").await.json();
    assert_eq!(body["total"], 2);
    let entry = json!({
        "jid": "5511999999999@s.whatsapp.net",
        "lid": "123456789012345@lid",
        "phone": ALICE,
        "name": "Alice Souza",
        "first_name": null,
        "push_name": "ali",
        "about": null,
        "picture_url": null,
        "is_business": false,
        "verified_name": null,
        "blocked": false,
        "status_muted": false,
    });
    assert_eq!(body["contacts"], json!([entry]));
    for path in [ALICE, "123456789012345@lid"] {
        assert_eq!(story.get(&format!("/contacts/{path}")).await.json()["push_name"], "ali");
    }
    assert_eq!(story.get("/contacts/5511777777777").await.error(), error(404, "CONTACT_NOT_FOUND"));

    let body = json!({ "name": "Alice S.", "first_name": "Alice" }).to_string();
    let answer = story.call("PUT", &format!("/contacts/{ALICE}"), &body).await;
    assert_eq!(answer.json()["message"], "Contact saved successfully");
    let answer = story.call("DELETE", &format!("/contacts/{ALICE}"), "").await;
    assert_eq!(answer.json()["message"], "Contact removed successfully");
    let changes = story.instance.asked(|asked| std::mem::take(&mut asked.changes));
    let saved = StateChange::Contact {
        who: alice(),
        name: Some("Alice S.".into()),
        first_name: Some("Alice".into()),
    };
    assert_eq!(changes, [saved, StateChange::Contact { who: alice(), name: None, first_name: None }]);
    // Known, but not in the address book.
    assert_eq!(
        story.call("DELETE", "/contacts/5511888888888", "").await.error(),
        error(404, "CONTACT_NOT_FOUND")
    );
    for (field, path, body) in [
        ("name", ALICE, json!({})),
        ("name", ALICE, json!({ "name": " " })),
        ("name", ALICE, json!({ "name": 1 })),
        ("name", ALICE, json!({ "name": "x".repeat(256) })),
        ("first_name", ALICE, json!({ "name": "x", "first_name": [] })),
        ("jid", "120363025246125486@g.us", json!({ "name": "x" })),
    ] {
        assert!(refused("PUT", &format!("/contacts/{path}"), body.clone()).await[field].is_array(), "{body}");
    }
}
