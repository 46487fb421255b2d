//! State, pairing codes, connect and disconnect.

use std::time::Duration;

use axum::{body::Body, http::Request};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use wazap::account::{CodeState, Status};

use crate::harness::{START, Story, error};

#[tokio::test]
async fn status_has_exactly_five_members_in_every_state() {
    let story = Story::new();
    for (status, name) in [
        (Status::Pending, "pending"),
        (Status::QrReady, "qr_ready"),
        (Status::Connected, "connected"),
        (Status::Offline, "offline"),
        (Status::Disconnected, "disconnected"),
    ] {
        story.instance.becomes(status, None);
        let expected = json!({ "success": true, "status": name, "phone": "5511999999999",
            "name": "Meu WhatsApp", "platform": "android" });
        assert_eq!(story.get("/status").await.json(), expected);
    }
}

#[tokio::test]
async fn the_code_comes_as_picture_and_text_and_is_never_cached() {
    let story = Story::new();
    story.instance.shows("2@abc,def==,ghi");
    let answer = story.get("/qr").await;
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 5);
    assert_eq!((&body["success"], &body["status"]), (&json!(true), &json!("qr_ready")));
    assert_eq!(body["qr_text"], "2@abc,def==,ghi");
    assert_eq!(body["expires_at"], "2025-12-30T17:30:20.000Z");
    let picture = body["qr"].as_str().unwrap().strip_prefix("data:image/png;base64,").unwrap();
    let picture = STANDARD.decode(picture).unwrap();
    let png = story.get("/qr.png").await;
    assert_eq!((png.header("content-type"), &png.body), (Some("image/png"), &picture));
    let svg = story.get("/qr.svg").await;
    assert_eq!(svg.header("content-type"), Some("image/svg+xml"));
    assert!(svg.body.starts_with(b"<svg "));
    for answer in [answer, png, svg] {
        assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, Some("no-store")));
    }
}

#[tokio::test]
async fn without_a_code_the_answer_says_which_state_it_is() {
    let story = Story::new();
    for path in ["/qr", "/qr.png", "/qr.svg"] {
        for (status, name) in
            [(Status::Connected, "connected"), (Status::Offline, "offline"), (Status::Pending, "pending")]
        {
            story.instance.becomes(status, None);
            let answer = story.get(path).await;
            assert_eq!(answer.error(), error(404, "QR_NOT_AVAILABLE"));
            assert_eq!(answer.details(), json!({ "status": name }));
        }
    }
    // A stop on request is not undone by looking.
    story.instance.becomes(Status::Disconnected, Some("requested"));
    assert_eq!(story.get("/qr").await.details(), json!({ "status": "disconnected" }));
    assert_eq!(story.instance.asked(|asked| asked.connects), 0);
}

#[tokio::test]
async fn when_the_codes_ran_out_asking_for_one_starts_over() {
    let story = Story::new();
    story.instance.becomes(Status::Disconnected, Some("qr_timeout"));
    let answer = story.get("/qr").await;
    assert_eq!(answer.error(), error(404, "QR_NOT_AVAILABLE"));
    assert_eq!(answer.details(), json!({ "status": "pending" }));
    assert_eq!(story.instance.asked(|asked| asked.connects), 1);
    story.instance.shows("2@next");
    assert_eq!(story.get("/qr").await.json()["qr_text"], "2@next");
}

#[tokio::test]
async fn connect_is_fine_in_every_state_and_with_or_without_a_body() {
    let story = Story::new();
    for body in ["", "{}", r#"{"phone":null,"whatever":1}"#] {
        let answer = story.call("POST", "/connect", body).await;
        let expected = json!({ "success": true, "message": "Connection started", "status": "connected" });
        assert_eq!((answer.status.as_u16(), answer.json()), (200, expected));
    }
    story.instance.becomes(Status::Disconnected, Some("requested"));
    assert_eq!(story.call("POST", "/connect", "").await.json()["status"], "pending");
    assert_eq!(story.instance.asked(|asked| asked.connects), 4);
    assert_eq!(story.call("POST", "/connect", "[]").await.error(), error(400, "INVALID_REQUEST"));
}

#[tokio::test]
async fn disconnect_keeps_the_keys_unless_told_to_log_out() {
    let story = Story::new();
    for body in ["", r#"{"logout":false}"#, r#"{"logout":true}"#] {
        let answer = story.call("POST", "/disconnect", body).await;
        let expected =
            json!({ "success": true, "message": "Instance disconnected", "status": "disconnected" });
        assert_eq!((answer.status.as_u16(), answer.json()), (200, expected));
    }
    let answer = story.call("POST", "/disconnect", r#"{"logout":"yes"}"#).await;
    assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"));
    assert!(answer.details()["logout"].is_array());
    assert_eq!(story.instance.asked(|asked| asked.logouts.clone()), [false, false, true]);
}

#[tokio::test]
async fn the_stream_tells_the_state_now_and_each_change() {
    let story = Story::new();
    story.instance.shows("2@first");
    let request = Request::get("/qr/stream").header("authorization", "Bearer sk_story");
    let response = story.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut chunks = response.into_body().into_data_stream();
    let mut next = async || {
        let chunk = chunks.next().await?.unwrap();
        let text = std::str::from_utf8(&chunk).unwrap();
        let data = text.strip_prefix("event: link\ndata: ").unwrap().trim();
        Some(serde_json::from_str::<Value>(data).unwrap())
    };
    let first = next().await.unwrap();
    assert_eq!((&first["status"], &first["qr_text"]), (&json!("qr_ready"), &json!("2@first")));
    assert!(first["qr"].as_str().unwrap().starts_with("data:image/png;base64,"));
    story.instance.shows("2@second");
    assert_eq!(next().await.unwrap()["qr_text"], "2@second");
    story.instance.becomes(Status::Connected, None);
    let connected = next().await.unwrap();
    assert_eq!(connected["status"], "connected");
    assert!(connected["qr"].is_null() && connected["qr_text"].is_null());
    // What does not change is not told again.
    story.instance.becomes(Status::Connected, None);
    story.instance.becomes(Status::Disconnected, Some("replaced"));
    let replaced = next().await.unwrap();
    assert_eq!((&replaced["status"], &replaced["reason"]), (&json!("disconnected"), &json!("replaced")));
    story.stop.cancel();
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn connect_with_a_number_answers_with_the_code_to_type() {
    let story = Story::new();
    story.instance.shows("2@abc");
    let expires_at = START + Duration::from_secs(180);
    story.instance.link_code(CodeState::Shown { text: "ABCD-EFGH".into(), expires_at });
    for phone in ["5511999999999", "+55 (11) 99999-9999"] {
        let answer = story.call("POST", "/connect", &json!({ "phone": phone }).to_string()).await;
        let expected = json!({ "success": true, "message": "Connection started", "status": "qr_ready",
            "pairing_code": "ABCD-EFGH" });
        assert_eq!((answer.status.as_u16(), answer.json()), (200, expected));
    }
    assert_eq!(story.instance.asked(|asked| asked.numbers.clone()), ["5511999999999"; 2]);
    assert_eq!(story.get("/qr").await.json()["pairing_code"], "ABCD-EFGH");
    // Nothing to type yet, or nothing to link: the answer has no code.
    story.instance.link_code(CodeState::Asked);
    let answer = story.call("POST", "/connect", r#"{"phone":"5511999999999"}"#).await.json();
    assert_eq!(answer.get("pairing_code"), None);
    assert_eq!(story.get("/qr").await.json().get("pairing_code"), None);
    story.instance.link_code(CodeState::Refused(429));
    let answer = story.call("POST", "/connect", r#"{"phone":"5511999999999"}"#).await;
    assert_eq!(answer.error(), error(422, "PAIRING_CODE_REFUSED"));
    assert_eq!(answer.details(), json!({ "whatsapp_code": 429 }));
    for wrong in [json!("55119"), json!("1203630@g.us"), json!("123456789012345@lid"), json!(true)] {
        let answer = story.call("POST", "/connect", &json!({ "phone": wrong }).to_string()).await;
        assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"), "{wrong}");
        assert!(answer.details()["phone"].is_array());
    }
}
