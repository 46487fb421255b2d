//! `POST /send-message`.

use serde_json::json;
use wazap::{
    account::{Body, Recipient, SendError, Sent, Status},
    wire::Jid,
};

use crate::harness::{Story, error, sent};

const GOOD: &str = r#"{"recipient":"5511999999999","message":"Olá!"}"#;

#[tokio::test]
async fn a_text_is_sent_as_given() {
    let story = Story::new();
    let answer =
        story.call("POST", "/send-message", r#"{"recipient":"+55 11 99999-9999","message":" Olá\n "}"#).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({ "success": true, "message": "Message sent successfully",
            "message_id": "3EB0B430A8B7F23C1D12AB", "timestamp": "2025-12-30T17:30:00.000Z" })
    );
    assert_eq!(answer.header("idempotent-replayed"), None);
    let sends = story.instance.asked(|asked| asked.sends.clone());
    let [send] = sends.as_slice() else { panic!("one send") };
    assert_eq!(send.recipient, Recipient::Number("5511999999999".into()));
    assert_eq!(send.body, Body::Text(" Olá\n ".into()));
    assert!(send.reply_to.is_none() && send.idempotency.is_none() && !send.respond_async);
}

#[tokio::test]
async fn aliases_are_taken_in_their_order_and_null_is_absent() {
    let story = Story::new();
    let cases = [
        (r#"{"to":"5511000000001","message":"x"}"#, "5511000000001"),
        (r#"{"number":5511000000002,"to":"5511000000001","message":"x"}"#, "5511000000002"),
        (r#"{"to":"1","number":"2","recipient":"5511000000003","message":"x"}"#, "5511000000003"),
        (r#"{"recipient":null,"number":null,"to":"5511000000004","message":"x"}"#, "5511000000004"),
    ];
    for (body, number) in cases {
        assert_eq!(story.call("POST", "/send-message", body).await.status, 200, "{body}");
        let last = story.instance.asked(|asked| asked.sends.last().unwrap().recipient.clone());
        assert_eq!(last, Recipient::Number(number.into()), "{body}");
    }
    let body =
        r#"{"to":"120363025246125486@g.us","message":"x","reply_to":null,"quoted_message_id":"3EB01"}"#;
    story.call("POST", "/send-message", body).await;
    let last = story.instance.asked(|asked| asked.sends.last().unwrap().clone());
    assert_eq!(last.recipient, Recipient::Jid(Jid::group("120363025246125486")));
    assert_eq!(last.reply_to.as_deref(), Some("3EB01"));
    let body = r#"{"to":"5511999999999","message":"x","reply_to":"","quoted_message_id":"3EB01"}"#;
    story.call("POST", "/send-message", body).await;
    assert_eq!(story.instance.asked(|asked| asked.sends.last().unwrap().reply_to.clone()), None);
}

#[tokio::test]
async fn all_failing_fields_are_reported_at_once_under_their_canonical_names() {
    let story = Story::new();
    let long = "x".repeat(65_537);
    let cases = [
        ("{}".to_owned(), json!(["recipient", "message"])),
        (r#"{"number":"12","message":" \n\t "}"#.to_owned(), json!(["recipient", "message"])),
        (
            r#"{"to":"a@b","message":7,"quoted_message_id":7}"#.to_owned(),
            json!(["recipient", "reply_to", "message"]),
        ),
        (r#"{"to":"5511999999999","message":null}"#.to_owned(), json!(["message"])),
        (r#"{"to":"5511999999999","text":"x"}"#.to_owned(), json!(["message"])),
        (r#"{"to":"","message":"x"}"#.to_owned(), json!(["recipient"])),
        (format!(r#"{{"to":"5511999999999","message":"{long}"}}"#), json!(["message"])),
    ];
    for (body, fields) in cases {
        let answer = story.call("POST", "/send-message", &body).await;
        assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"), "{body}");
        let details = answer.details();
        let found: Vec<_> = details.as_object().unwrap().keys().cloned().collect();
        assert_eq!(json!(found), fields);
        assert!(details.as_object().unwrap().values().all(|m| m.as_array().is_some_and(|m| m.len() == 1)));
    }
    let missing = story.call("POST", "/send-message", "{}").await;
    assert_eq!(missing.json()["error"]["message"], "The given data was invalid.");
    assert_eq!(
        missing.details(),
        json!({ "recipient": ["The recipient field is required."], "message": ["The message field is required."] })
    );
    assert_eq!(story.instance.asked(|asked| asked.sends.len()), 0);
}

#[tokio::test]
async fn length_is_counted_in_characters() {
    let story = Story::new();
    let body = format!(r#"{{"to":"5511999999999","message":"{}"}}"#, "ã".repeat(65_536));
    assert_eq!(story.call("POST", "/send-message", &body).await.status, 200);
}

#[tokio::test]
async fn every_failure_of_a_send_has_its_row() {
    let story = Story::new();
    let cases = [
        (
            SendError::NotConnected(Status::QrReady),
            503,
            "INSTANCE_NOT_CONNECTED",
            json!({ "status": "qr_ready" }),
        ),
        (SendError::UnknownMessage("3EB0".into()), 404, "MESSAGE_NOT_FOUND", json!({ "message_id": "3EB0" })),
        (
            SendError::NotOnWhatsapp("5511999999999".into()),
            422,
            "RECIPIENT_NOT_ON_WHATSAPP",
            json!({ "recipient": "5511999999999" }),
        ),
        (SendError::IdempotencyConflict, 409, "IDEMPOTENCY_CONFLICT", json!({})),
        (
            SendError::Refused { code: 479, message_id: "3EB0".into(), replayed: false },
            500,
            "SEND_FAILED",
            json!({ "whatsapp_code": 479 }),
        ),
        (SendError::Internal, 500, "INTERNAL_ERROR", json!({})),
    ];
    for (failure, status, code, details) in cases {
        story.instance.answers(Err(failure));
        let answer = story.call("POST", "/send-message", GOOD).await;
        assert_eq!(answer.error(), error(status, code));
        assert_eq!(answer.details(), details);
    }
}

#[tokio::test]
async fn prefer_respond_async_is_passed_on_and_answered_202() {
    let story = Story::new();
    story.instance.answers(Ok(Sent { queued: true, ..sent() }));
    for prefer in ["respond-async", "Respond-Async, wait=5", "wait=5;respond-async"] {
        let headers = [("authorization", "Bearer sk_story"), ("prefer", prefer)];
        let answer = story.call_with("POST", "/send-message", &headers, GOOD).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["message"]), (202, &json!("Message queued")));
        assert!(story.instance.asked(|asked| asked.sends.last().unwrap().respond_async), "{prefer}");
    }
    let headers = [("authorization", "Bearer sk_story"), ("prefer", "return=minimal")];
    story.call_with("POST", "/send-message", &headers, GOOD).await;
    assert!(!story.instance.asked(|asked| asked.sends.last().unwrap().respond_async));
}

#[tokio::test]
async fn an_idempotency_key_is_bound_to_token_and_body() {
    let story = Story::new();
    let (id, token) = story.token("send", None).await;
    let bearer = format!("Bearer {token}");
    let send = async |bearer: &str, key: &str, body: &str| {
        let headers = [("authorization", bearer), ("idempotency-key", key)];
        let answer = story.call_with("POST", "/send-message", &headers, body).await;
        assert_eq!(answer.status, 200);
        story.instance.asked(|asked| asked.sends.last().unwrap().idempotency.clone().unwrap())
    };
    let first = send(&bearer, "order-1", GOOD).await;
    let again = send(&bearer, "order-1", GOOD).await;
    let other_body = send(&bearer, "order-1", r#"{"recipient":"5511999999999","message":"Oi"}"#).await;
    let other_token = send("Bearer sk_story", "order-1", GOOD).await;
    assert_eq!((first.token, first.key.as_str()), (id, "order-1"));
    assert_eq!((again.token, again.body_hash), (first.token, first.body_hash));
    assert_ne!(other_body.body_hash, first.body_hash);
    assert_ne!(other_token.token, first.token);
    send(&bearer, &"k".repeat(255), GOOD).await;
}

#[tokio::test]
async fn a_replayed_answer_says_so() {
    let story = Story::new();
    story.instance.answers(Ok(Sent { replayed: true, ..sent() }));
    let headers = [("authorization", "Bearer sk_story"), ("idempotency-key", "order-1")];
    let answer = story.call_with("POST", "/send-message", &headers, GOOD).await;
    assert_eq!((answer.status.as_u16(), answer.header("idempotent-replayed")), (200, Some("true")));
}

#[tokio::test]
async fn a_key_that_is_no_key_is_a_fault_beside_the_others() {
    let story = Story::new();
    for key in ["", "two words", "chave-é", &"k".repeat(256)] {
        let headers = [("authorization", "Bearer sk_story"), ("idempotency-key", key)];
        let answer = story.call_with("POST", "/send-message", &headers, r#"{"message":"Oi"}"#).await;
        assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"), "{key}");
        let details = answer.details();
        assert!(details["recipient"].is_array() && details["Idempotency-Key"].is_array(), "{details}");
    }
}
