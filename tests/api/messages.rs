//! Reading stored messages and polls over HTTP: what each route answers, and what it refuses.

use serde_json::{Value, json};
use wazap::{
    account::Body,
    clock::Millis,
    store::messages::{MessageKey, NewMessage, Progress},
    wire::Jid,
};

use crate::harness::{START, Story, error};

const CHAT: &str = "5511999999999@s.whatsapp.net";

/// Texts of one chat, a second apart; their ids are `3EB0` and their number from 0.
async fn with_messages(texts: &'static [&'static str]) -> Story {
    let story = Story::new();
    let stored = story.store.write(move |tx| {
        let chat = tx.messages().chat(&CHAT.parse::<Jid>().unwrap())?;
        for (n, text) in texts.iter().enumerate() {
            let content = [&[0x0a, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            let key = MessageKey {
                chat: chat.id,
                wa_id: format!("3EB0{n}"),
                from_me: n % 2 == 1,
                participant: None,
            };
            let message = NewMessage {
                key,
                uuid: format!("uuid-{n}"),
                at: Millis(START.0 + 1000 * n as u64),
                push_name: Some("Ana".into()),
                content,
                progress: Progress::Sent,
            };
            let row = tx.messages().insert(&message)?.unwrap();
            tx.search().put(row, Some(text))?;
        }
        Ok::<_, wazap::store::Error>(())
    });
    stored.await.unwrap();
    story
}

fn texts(answer: &Value) -> Vec<&str> {
    answer["messages"].as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_message_is_read_in_the_form_of_the_incoming_webhook() {
    let story = with_messages(&["oi", "olá"]).await;
    let answer = story.call("GET", "/messages/3EB00", "").await;
    let message = answer.json();
    assert_eq!(message.as_object().unwrap().keys().next().unwrap(), "success");
    assert_eq!((&message["remoteJid"], &message["message"]["conversation"]), (&json!(CHAT), &json!("oi")));
    assert_eq!((&message["pushName"], &message["message_id"]), (&json!("Ana"), &json!("uuid-0")));
    assert_eq!((&message["reactions"], &message["edits"]), (&json!([]), &json!([])));
    assert_eq!((message.get("status"), message.get("recipients")), (None, None), "received");
    let own = story.call("GET", "/messages/3EB01?to=5511999999999", "").await.json();
    assert_eq!((&own["status"], &own["recipients"]), (&json!("sent"), &json!([])));

    for path in ["/messages/3EB0X", "/messages/3EB00?to=5511888888888", "/polls/3EB0X", "/polls/3EB00"] {
        assert_eq!(story.call("GET", path, "").await.error(), error(404, "MESSAGE_NOT_FOUND"), "{path}");
    }
    let wrong = story.call("GET", "/messages/3EB00?to=abc", "").await;
    assert!(wrong.details()["to"].is_array());
}

#[tokio::test]
async fn a_chat_is_read_in_pages_and_from_a_message_on() {
    let story = with_messages(&["zero", "one", "two", "three", "four"]).await;
    let chat = format!("/chats/{CHAT}/messages");
    let get = async |query: &str| story.call("GET", &format!("{chat}{query}"), "").await.json();
    let all = get("").await;
    assert_eq!(texts(&all), ["four", "three", "two", "one", "zero"]);
    assert_eq!((&all["page"], &all["per_page"], &all["total"]), (&json!(1), &json!(50), &json!(5)));
    assert_eq!(texts(&get("?per_page=2&page=2").await), ["two", "one"]);
    assert_eq!(texts(&get("?before=3EB02").await), ["one", "zero"]);
    assert_eq!(texts(&get("?after=3EB02").await), ["four", "three"]);
    assert_eq!(texts(&get("?after=3EB01&per_page=1").await), ["two"]);
    let other = story.call("GET", "/chats/5511888888888/messages", "").await.json();
    assert_eq!((&other["messages"], &other["total"]), (&json!([]), &json!(0)));

    let unknown = story.call("GET", &format!("{chat}?before=3EB0X"), "").await;
    assert_eq!(unknown.error(), error(404, "MESSAGE_NOT_FOUND"));
    let wrong = story.call("GET", "/chats/nobody/messages?page=0&per_page=101&before=a&after=b", "").await;
    assert_eq!(wrong.error(), error(422, "VALIDATION_ERROR"));
    let details = wrong.details();
    let fields: Vec<&String> = details.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["page", "per_page", "after", "jid"]);
}

#[tokio::test]
async fn words_are_found_without_their_accents() {
    let story = with_messages(&["Bom dia, João", "boa noite", "João chegou"]).await;
    let found = story.call("GET", "/messages/search?q=joao", "").await.json();
    assert_eq!((texts(&found), &found["total"]), (vec!["João chegou", "Bom dia, João"], &json!(2)));
    let found = story.call("GET", "/messages/search?q=joao%20che&to=5511999999999", "").await.json();
    assert_eq!(texts(&found), ["João chegou"]);
    let nothing = story.call("GET", "/messages/search?q=joao&to=5511888888888", "").await.json();
    assert_eq!(nothing["total"], 0);
    for query in ["", "?q=", "?q=%20"] {
        let wrong = story.call("GET", &format!("/messages/search{query}"), "").await;
        assert!(wrong.details()["q"].is_array(), "{query}");
    }
    let long = story.call("GET", &format!("/messages/search?q={}", "a".repeat(256)), "").await;
    assert!(long.details()["q"].is_array());
}

#[tokio::test]
async fn a_vote_names_options_of_its_poll() {
    let story = with_messages(&[]).await;
    let stored = story.store.write(|tx| {
        let chat = tx.messages().chat(&CHAT.parse::<Jid>().unwrap())?;
        // pollCreationMessageV3 { name "q", options "a" and "b", selectableOptionsCount 1 }
        let poll = b"\x12\x01q\x1a\x03\x0a\x01a\x1a\x03\x0a\x01b\x20\x01";
        let content = [&[0x82, 0x04, u8::try_from(poll.len()).unwrap()], &poll[..]].concat();
        let key = MessageKey { chat: chat.id, wa_id: "3EB0P".into(), from_me: false, participant: None };
        let (uuid, at, progress) = ("uuid".into(), START, Progress::Pending);
        tx.messages().insert(&NewMessage { key, uuid, at, push_name: None, content, progress })
    });
    stored.await.unwrap();
    let tally = story.call("GET", "/polls/3EB0P", "").await.json();
    assert_eq!(
        (&tally["question"], &tally["multiple"], &tally["voters"]),
        (&json!("q"), &json!(false), &json!(0))
    );
    assert_eq!(tally["options"][1], json!({ "name": "b", "votes": 0, "voters": [] }));

    let vote = async |body: Value| story.call("POST", "/polls/3EB0P/vote", &body.to_string()).await;
    let answer = vote(json!({ "to": CHAT, "options": ["b"] })).await;
    assert_eq!(answer.json()["message"], "Vote sent successfully");
    let said = story.instance.asked(|asked| asked.sends.pop()).unwrap().body;
    assert_eq!(said, Body::Vote { id: "3EB0P".into(), options: vec!["b".into()] });
    for options in [json!(null), json!("b"), json!([1]), json!(["c"]), json!(["a", "b"])] {
        let refused = vote(json!({ "to": CHAT, "options": options })).await;
        assert_eq!(refused.error(), error(422, "VALIDATION_ERROR"));
        assert!(refused.details()["options"].is_array(), "{options}");
    }
}

#[tokio::test]
async fn what_happened_to_a_message_is_told_on_request() {
    let story = with_messages(&["oi", "olá"]).await;
    assert_eq!(story.get("/messages/3EB00").await.json().get("trace"), None);
    assert_eq!(story.get("/messages/3EB00?trace=false").await.json().get("trace"), None);
    let received = story.get("/messages/3EB00?trace=true").await.json();
    assert_eq!(received["trace"], json!([{ "step": "sent", "at": "2025-12-30T17:30:00.000Z" }]));
    let sent = story.get("/messages/3EB01?trace=true").await.json();
    assert_eq!(sent["trace"], json!([{ "step": "accepted", "at": "2025-12-30T17:30:01.000Z" }]));
    let wrong = story.get("/messages/3EB00?trace=yes").await;
    assert_eq!(wrong.error(), error(422, "VALIDATION_ERROR"));
    assert!(wrong.details()["trace"].is_array());
}
