//! Older messages are asked of the phone; how far back a chat goes is shown.

use serde_json::{Value, json};
use wazap::{
    account::{Recipient, SendError, Status},
    wire::Jid,
};

use crate::harness::{Story, error};

const PATH: &str = "/chats/5511999999999/history";

#[tokio::test]
async fn older_messages_are_asked_for_and_the_question_has_an_id() {
    let story = Story::new();
    for (body, count) in [(json!({ "count": 120 }), 120), (json!({}), 50), (json!({ "count": null }), 50)] {
        let answer = story.call("POST", PATH, &body.to_string()).await;
        assert_eq!(answer.status.as_u16(), 202);
        let expected = json!({ "success": true, "status": "pending", "request_id": "H1", "count": count });
        assert_eq!(answer.json(), expected);
    }
    let group = "120363025246125486@g.us";
    assert_eq!(story.call("POST", &format!("/chats/{group}/history"), "{}").await.status.as_u16(), 202);
    let asked = story.instance.asked(|asked| std::mem::take(&mut asked.histories));
    let alice = || Recipient::Number("5511999999999".into());
    let group: Jid = group.parse().unwrap();
    assert_eq!(asked, [(alice(), 120), (alice(), 50), (alice(), 50), (Recipient::Jid(group), 50)]);
}

#[tokio::test]
async fn what_is_wrong_with_the_question_is_said() {
    let story = Story::new();
    for count in [json!(0), json!(501), json!(-1), json!(1.5), json!("50"), json!([]), json!(u64::MAX)] {
        let answer = story.call("POST", PATH, &json!({ "count": count }).to_string()).await;
        assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"), "{count}");
        assert_eq!(
            answer.details()["count"],
            json!(["The count field must be a whole number between 1 and 500."])
        );
    }
    let answer = story.call("POST", "/chats/nobody/history", "{\"count\": 0}").await;
    assert!(answer.details()["jid"].is_array() && answer.details()["count"].is_array(), "both at once");
    assert!(story.instance.asked(|asked| asked.histories.is_empty()));
    for (refusal, expected) in [
        (SendError::UnknownChat("5511999999999".into()), error(404, "CHAT_NOT_FOUND")),
        (SendError::NotConnected(Status::Offline), error(503, "INSTANCE_NOT_CONNECTED")),
    ] {
        story.instance.answers(Err(refusal));
        assert_eq!(story.call("POST", PATH, "{}").await.error(), expected);
    }
    assert_eq!(story.get(PATH).await.error(), error(405, "METHOD_NOT_ALLOWED"));
}

#[tokio::test]
async fn how_far_history_has_come_is_among_the_evidence() {
    let story = Story::new();
    let known = story.get("/health/details").await.json()["history"].clone();
    assert_eq!(
        (&known["waiting"], &known["failed"], &known["recent_percent"]),
        (&json!(0), &json!(0), &Value::Null)
    );
    let announced = story.store.write(|tx| {
        let history = tx.history();
        let note = |wa_id, chunk, progress| wazap::store::history::Announced {
            wa_id,
            notification: b"x",
            sync_type: 3,
            chunk,
            progress: Some(progress),
            request: None,
        };
        for (wa_id, chunk, progress) in [("A", 1, 40), ("B", 2, 70), ("C", 3, 100), ("C", 3, 100)] {
            history.announce(&note(wa_id, chunk, progress), crate::harness::START)?;
        }
        let first = history.next(crate::harness::START)?.expect("three wait").seq;
        history.took(first, 10, 1, 9)?;
        history.finish(first, None)?;
        let second = history.next(crate::harness::START)?.expect("two wait").seq;
        history.finish(second, Some("gone from the media servers"))
    });
    announced.await.unwrap();
    let known = story.get("/health/details").await.json()["history"].clone();
    let expected = json!({
        "waiting": 1, "done": 1, "failed": 1, "messages": 9, "recent_percent": 70, "full_percent": null,
        "last_error": "gone from the media servers",
    });
    assert_eq!(known, expected);
}
