//! Sends about messages that are there already, and what ends by itself: what each route takes, and what it refuses.

use std::time::Duration;

use serde_json::{Value, json};
use wazap::{
    account::{Body, ChatState, Recipient, SendError},
    daemon::Shown,
};

use crate::harness::{Story, error};

const TO: &str = "5511999999999";

async fn sent(path: &str, body: Value) -> (Value, Option<Body>) {
    let story = Story::new();
    let answer = story.call("POST", path, &body.to_string()).await;
    let said = story.instance.asked(|asked| asked.sends.pop()).map(|send| send.body);
    (answer.json(), said)
}

async fn refused(path: &str, body: Value) -> Value {
    let story = Story::new();
    let answer = story.call("POST", path, &body.to_string()).await;
    assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"), "{path} {body}");
    assert!(story.instance.asked(|asked| asked.sends.is_empty() && asked.shown.is_empty()));
    answer.details()
}

#[tokio::test]
async fn a_forward_names_its_message() {
    let (answer, body) = sent("/forward", json!({ "to": TO, "message_id": "3EB0AA" })).await;
    assert_eq!(answer["message"], "Message forwarded successfully");
    assert_eq!(body, Some(Body::Forward { id: "3EB0AA".into() }));
    let details = refused("/forward", json!({})).await;
    assert_eq!(details.as_object().unwrap().keys().collect::<Vec<_>>(), ["to", "message_id"]);
    let story = Story::new();
    story.instance.answers(Err(SendError::NotForwardable("No.")));
    let answer =
        story.call("POST", "/forward", &json!({ "to": TO, "message_id": "3EB0AA" }).to_string()).await;
    assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"));
    assert_eq!(answer.details(), json!({ "message_id": ["No."] }));
    story.instance.answers(Err(SendError::UnknownMessage("3EB0AA".into())));
    let answer =
        story.call("POST", "/forward", &json!({ "to": TO, "message_id": "3EB0AA" }).to_string()).await;
    assert_eq!(answer.error(), error(404, "MESSAGE_NOT_FOUND"));
}

#[tokio::test]
async fn a_pin_holds_a_day_a_week_or_thirty_days() {
    for (given, lasting) in [(json!(null), 604_800), (json!(86_400), 86_400), (json!(2_592_000), 2_592_000)] {
        let (answer, body) =
            sent("/messages/3EB0AA/pin", json!({ "to": TO, "value": true, "seconds": given })).await;
        assert_eq!(answer["message"], "Message pinned successfully");
        let lasting = Some(Duration::from_secs(lasting));
        assert_eq!(body, Some(Body::Pin { id: "3EB0AA".into(), lasting }));
    }
    let (answer, body) = sent("/messages/3EB0AA/pin", json!({ "to": TO, "value": false })).await;
    assert_eq!(answer["message"], "Message unpinned successfully");
    assert_eq!(body, Some(Body::Pin { id: "3EB0AA".into(), lasting: None }));
    for (field, body) in [
        ("to", json!({ "value": true })),
        ("value", json!({ "to": TO })),
        ("value", json!({ "to": TO, "value": "yes" })),
        ("seconds", json!({ "to": TO, "value": true, "seconds": 3600 })),
        ("seconds", json!({ "to": TO, "value": true, "seconds": "86400" })),
    ] {
        assert!(refused("/messages/3EB0AA/pin", body).await[field].is_array(), "{field}");
    }
}

#[tokio::test]
async fn a_chat_state_may_end_by_itself_within_a_minute() {
    let story = Story::new();
    for (seconds, lasting) in [(json!(1), Some(1)), (json!(60), Some(60)), (json!(null), None)] {
        let body = json!({ "to": TO, "state": "typing", "seconds": seconds });
        assert_eq!(story.call("POST", "/send-presence", &body.to_string()).await.status, 200);
        let chat = Recipient::Number(TO.into());
        let lasting = lasting.map(Duration::from_secs);
        let shown = Shown::ChatState { chat, state: ChatState::Typing, lasting };
        assert_eq!(story.instance.asked(|asked| asked.shown.pop()), Some(shown));
    }
    for seconds in [json!(0), json!(61), json!("5"), json!(1.5), json!(-1)] {
        let body = json!({ "to": TO, "state": "typing", "seconds": seconds });
        assert!(refused("/send-presence", body).await["seconds"].is_array(), "{seconds}");
    }
}

#[tokio::test]
async fn a_list_goes_out_as_a_text_with_numbers_and_says_so() {
    let list = json!({
        "to": TO,
        "title": "Menu",
        "text": "What would you like?",
        "footer": "Open until ten",
        "button_text": "Choose",
        "sections": [
            { "title": "Pizza", "rows": [
                { "id": "m", "title": "Margherita", "description": "tomato, cheese" },
                { "title": "Marinara" },
            ] },
            { "title": "Drinks", "rows": [{ "id": "w", "title": "Water" }] },
        ],
    });
    let (answer, body) = sent("/send-list", list).await;
    assert_eq!((&answer["message"], &answer["degraded"]), (&json!("List sent successfully"), &json!(true)));
    let numbers: Vec<_> =
        answer["choices"].as_array().unwrap().iter().map(|c| (&c["number"], &c["id"])).collect();
    let (one, two, three) = (json!(1), json!(2), json!(3));
    assert_eq!(numbers, [(&one, &json!("m")), (&two, &json!("2")), (&three, &json!("w"))]);
    let text = "*Menu*\n\nWhat would you like?\n\n*Pizza*\n1. Margherita – tomato, cheese\n2. Marinara\n\
                \n*Drinks*\n3. Water\n\n_Open until ten_";
    assert_eq!(body, Some(Body::Text(text.into())));
}

#[tokio::test]
async fn buttons_go_out_as_a_text_with_numbers_and_say_so() {
    let buttons = json!({
        "to": TO,
        "description": "Shall we?",
        "buttons": [{ "id": "y", "title": "Yes" }, { "id": "n", "title": "No" }],
    });
    let (answer, body) = sent("/send-buttons", buttons).await;
    assert_eq!(
        (&answer["message"], &answer["degraded"]),
        (&json!("Buttons sent successfully"), &json!(true))
    );
    assert_eq!(body, Some(Body::Text("Shall we?\n\n1. Yes\n2. No".into())));
}

#[tokio::test]
async fn lists_and_buttons_have_counts_and_lengths() {
    let row = |n: usize| json!({ "title": format!("row {n}") });
    let rows = |count: usize| (0..count).map(row).collect::<Vec<_>>();
    let list = |sections: Value| json!({ "to": TO, "text": "?", "sections": sections });
    let good = [
        list(json!([{ "rows": rows(100) }])),
        list(
            json!([{ "rows": [{ "title": "x".repeat(100), "description": "x".repeat(255), "id": "x".repeat(256) }] }]),
        ),
    ];
    for body in good {
        assert!(sent("/send-list", body).await.1.is_some());
    }
    for (field, body) in [
        ("text", json!({ "to": TO, "sections": [{ "rows": rows(1) }] })),
        ("text", json!({ "to": TO, "text": "x".repeat(4097), "sections": [{ "rows": rows(1) }] })),
        (
            "title",
            json!({ "to": TO, "text": "?", "title": "x".repeat(61), "sections": [{ "rows": rows(1) }] }),
        ),
        ("footer", json!({ "to": TO, "text": "?", "footer": 1, "sections": [{ "rows": rows(1) }] })),
        (
            "button_text",
            json!({ "to": TO, "text": "?", "button_text": "x".repeat(61), "sections": [{ "rows": rows(1) }] }),
        ),
        ("sections", json!({ "to": TO, "text": "?" })),
        ("sections", list(json!([]))),
        ("sections", list(json!([{ "rows": [] }]))),
        ("sections", list(json!([{ "rows": rows(101) }]))),
        ("sections", list(json!([{ "title": "a", "rows": rows(60) }, { "title": "b", "rows": rows(60) }]))),
        ("sections", list(json!([{ "rows": rows(1) }, { "rows": rows(1) }]))),
        ("sections", list(json!([{ "rows": [{ "title": "x".repeat(101) }] }]))),
        ("sections", list(json!([{ "rows": [{ "title": "a\nb" }] }]))),
        ("sections", list(json!([{ "rows": [{ "title": " " }] }]))),
        ("sections", list(json!([{ "rows": [{ "title": "a", "id": "1" }, { "title": "b", "id": "1" }] }]))),
        ("sections", list(json!([{ "rows": ["a"] }]))),
        ("sections", list(json!(vec![json!({ "title": "s", "rows": rows(1) }); 11]))),
    ] {
        assert!(refused("/send-list", body.clone()).await[field].is_array(), "{field} {body}");
    }
    for buttons in [json!([]), json!("yes"), json!([{ "id": "y" }]), json!(rows(11)), json!([{ "title": 1 }])]
    {
        let body = json!({ "to": TO, "text": "?", "buttons": buttons });
        assert!(refused("/send-buttons", body).await["buttons"].is_array(), "{buttons}");
    }
}

#[tokio::test]
async fn a_preview_is_made_only_where_it_is_asked_for() {
    let story = Story::new();
    for (given, linked) in [(json!(true), 1), (json!(false), 0), (json!(null), 0)] {
        let body = json!({ "to": TO, "message": "https://example.com", "link_preview": given });
        assert_eq!(story.call("POST", "/send-message", &body.to_string()).await.status, 200);
        let (sends, previewed) =
            story.instance.asked(|asked| (asked.sends.drain(..).count(), asked.linked.drain(..).count()));
        assert_eq!((sends, previewed), (1 - linked, linked), "{given}");
    }
    let body = json!({ "to": TO, "message": "hi", "link_preview": "yes" });
    assert!(refused("/send-message", body).await["link_preview"].is_array());
}
