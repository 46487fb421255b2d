//! A linking that wants a passkey, over HTTP.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use wazap::{account::PasskeyState, daemon::PasskeyFault};

use crate::harness::{START, Story, error};

fn wanted(refused: Option<u16>) -> PasskeyState {
    PasskeyState::Wanted {
        options: r#"{"challenge":"AQID","rpId":"whatsapp.com","extensions":{"uvm":true}}"#.into(),
        expires_at: START + Duration::from_secs(600),
        refused,
    }
}

fn assertion() -> Value {
    let client = BASE64_URL_SAFE_NO_PAD.encode(r#"{"type":"webauthn.get","challenge":"AQID"}"#);
    json!({ "id": "AQI", "rawId": "AQI", "type": "public-key",
        "response": { "clientDataJSON": client, "authenticatorData": BASE64_URL_SAFE_NO_PAD.encode([7; 37]),
            "signature": "MA", "userHandle": null } })
}

#[tokio::test]
async fn the_state_shows_what_is_to_be_signed_and_what_to_compare() {
    let story = Story::new();
    let none = json!({ "success": true, "status": "none", "options": null, "expires_at": null, "code": null,
        "reason": null, "whatsapp_code": null });
    assert_eq!(story.get("/passkey").await.json(), none);
    story.instance.passkey_is(wanted(Some(401)));
    let answer = story.get("/passkey").await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json();
    // As the server worded them, with what we do not know.
    assert_eq!(
        body["options"].to_string(),
        r#"{"challenge":"AQID","rpId":"whatsapp.com","extensions":{"uvm":true}}"#
    );
    assert_eq!((&body["status"], &body["whatsapp_code"]), (&json!("awaiting_assertion"), &json!(401)));
    assert_eq!(body["expires_at"], "2025-12-30T17:40:00.000Z");
    let expires_at = START + Duration::from_secs(600);
    story.instance.passkey_is(PasskeyState::Confirm { code: "PYSL-SH11".into(), expires_at });
    let body = story.get("/passkey").await.json();
    assert_eq!((&body["status"], &body["code"]), (&json!("awaiting_confirmation"), &json!("PYSL-SH11")));
    story.instance.passkey_is(PasskeyState::Failed("timeout"));
    let body = story.get("/passkey").await.json();
    assert_eq!((&body["status"], &body["reason"]), (&json!("failed"), &json!("timeout")));
}

#[tokio::test]
async fn an_assertion_is_checked_member_by_member_and_passed_on() {
    let story = Story::new();
    story.instance.passkey_is(wanted(None));
    story.instance.passkey_answers(Ok(PasskeyState::Phone { expires_at: START }));
    let answer = story.call("POST", "/passkey", &assertion().to_string()).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("awaiting_phone")));
    assert_eq!(story.call("POST", "/passkey/confirm", "").await.status.as_u16(), 200);
    assert_eq!(story.call("DELETE", "/passkey", "").await.status.as_u16(), 200);
    assert_eq!(story.instance.asked(|asked| asked.passkey.clone()), ["assert", "confirm", "abandon"]);

    assert_eq!(story.call("POST", "/passkey", "").await.error(), error(400, "INVALID_REQUEST"));
    let answer = story.call("POST", "/passkey", "{}").await;
    assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"));
    assert_eq!(
        answer.details().as_object().unwrap().keys().collect::<Vec<_>>(),
        ["id", "rawId", "type", "response"]
    );
    let mut wrong = assertion();
    wrong["response"]["signature"] = json!("no base64url!");
    let answer = story.call("POST", "/passkey", &wrong.to_string()).await;
    assert_eq!(
        answer.details(),
        json!({ "response.signature": ["The response.signature field must be base64url."] })
    );
    assert_eq!(story.instance.asked(|asked| asked.passkey.len()), 3, "what does not fit is not passed on");
}

#[tokio::test]
async fn what_is_not_awaited_stale_or_refused_says_so() {
    let story = Story::new();
    let body = assertion().to_string();
    story.instance.passkey_answers(Err(PasskeyFault::NotAwaited(PasskeyState::None)));
    for (method, path, body) in
        [("POST", "/passkey", &*body), ("POST", "/passkey/confirm", "{}"), ("DELETE", "/passkey", "")]
    {
        let answer = story.call(method, path, body).await;
        assert_eq!(answer.error(), error(409, "PASSKEY_NOT_AWAITED"));
        assert_eq!(answer.details(), json!({ "status": "none" }));
    }
    story.instance.passkey_answers(Err(PasskeyFault::OtherChallenge));
    let answer = story.call("POST", "/passkey", &body).await;
    assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"));
    assert!(answer.details()["response.clientDataJSON"].is_array());
    story.instance.passkey_answers(Err(PasskeyFault::Refused(401)));
    let answer = story.call("POST", "/passkey", &body).await;
    assert_eq!(answer.error(), error(422, "PASSKEY_REFUSED"));
    assert_eq!(answer.details(), json!({ "whatsapp_code": 401 }));
    story.instance.passkey_answers(Err(PasskeyFault::Internal));
    assert_eq!(story.call("POST", "/passkey", &body).await.error(), error(500, "INTERNAL_ERROR"));
}

#[tokio::test]
async fn who_may_only_look_sees_neither_challenge_nor_code() {
    let story = Story::new();
    let (_, token) = story.token("read", None).await;
    let header = format!("Bearer {token}");
    for (method, path) in
        [("GET", "/passkey"), ("POST", "/passkey"), ("POST", "/passkey/confirm"), ("DELETE", "/passkey")]
    {
        let answer = story.call_with(method, path, &[("authorization", &*header)], "").await;
        assert_eq!(answer.error(), error(403, "FORBIDDEN"), "{method} {path}");
    }
    let page = story.call_with("GET", "/page.js", &[], "").await;
    assert!(String::from_utf8(page.body).unwrap().contains("\"/passkey\""));
}
