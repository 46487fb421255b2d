//! `POST /calls/{id}/reject`.

use serde_json::json;
use wazap::account::{AskError, CallCommand, Question, Status, Told};

use crate::harness::{Story, error};

#[tokio::test]
async fn a_call_is_rejected_by_its_id() {
    let story = Story::new();
    story.instance.tells(Ok(Told::Call(())));
    let answer = story.call("POST", "/calls/AC90/reject", "").await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (200, json!({ "success": true, "message": "Call rejected" }))
    );
    let asked = story.instance.asked(|asked| asked.questions.clone());
    assert_eq!(asked, [Question::Call(CallCommand::Reject("AC90".into()))]);
    story.instance.tells(Err(AskError::Unknown));
    let answer = story.call("POST", "/calls/AC90/reject", "").await;
    assert_eq!(
        (answer.error(), answer.details()),
        (error(404, "CALL_NOT_FOUND"), json!({ "call_id": "AC90" }))
    );
    story.instance.tells(Err(AskError::NotConnected(Status::Offline)));
    assert_eq!(
        story.call("POST", "/calls/AC90/reject", "").await.error(),
        error(503, "INSTANCE_NOT_CONNECTED")
    );
    assert_eq!(story.call("GET", "/calls/AC90/reject", "").await.error(), error(405, "METHOD_NOT_ALLOWED"));
}

#[tokio::test]
async fn rejecting_needs_the_scope_send() {
    let story = Story::new();
    let (_, token) = story.token("read", None).await;
    let bearer = format!("Bearer {token}");
    let answer = story.call_with("POST", "/calls/AC90/reject", &[("authorization", &bearer)], "").await;
    assert_eq!(answer.error(), error(403, "FORBIDDEN"));
}
