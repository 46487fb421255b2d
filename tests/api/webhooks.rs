//! The user's webhook over HTTP: its configuration, and what can be done to it.

use std::time::Duration;

use serde_json::{Value, json};
use wazap::store::hooks::{Letter, NewLetter, Progress};

use crate::harness::{Story, error};

const PATH: &str = "/instances/550e8400-e29b-41d4-a716-446655440000/webhook";

async fn put(story: &Story, body: Value) -> Value {
    let answer = story.call("PUT", PATH, &body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["data"]["webhook"].clone()
}

#[tokio::test]
async fn a_webhook_is_configured_shown_and_removed() {
    let story = Story::new();
    assert_eq!(story.get(PATH).await.error(), error(404, "WEBHOOK_NOT_FOUND"));
    let body = json!({
        "webhook_url": "https://your-server.com/webhook",
        "webhook_secret": "your_secret_key_here",
        "events": ["message.status", "message.incoming", "message.received"],
        "is_active": true,
    });
    let answer = story.call("PUT", PATH, &body.to_string()).await;
    let webhook = json!({
        "webhook_url": "https://your-server.com/webhook",
        "events": ["message.received", "message.status"],
        "is_active": true,
        "has_secret": true,
        "updated_at": "2025-12-30T17:30:00Z",
    });
    assert_eq!(
        answer.json(),
        json!({ "success": true, "message": "Webhook configured successfully", "data": { "webhook": webhook } })
    );
    assert_eq!(story.get(PATH).await.json(), json!({ "success": true, "data": { "webhook": webhook } }));
    // What is left out stays.
    story.advance(Duration::from_secs(60));
    let changed = put(&story, json!({ "webhook_url": "http://10.0.0.1:5678/hook", "events": null })).await;
    assert_eq!(changed["events"], json!(["message.received", "message.status"]));
    assert_eq!(
        (&changed["updated_at"], changed.get("webhook_secret")),
        (&json!("2025-12-30T17:31:00Z"), None)
    );
    let kept = story.store.read(|tx| tx.hooks().user()).await.unwrap().unwrap();
    assert_eq!(kept.secret.as_deref(), Some("your_secret_key_here"));

    let removed = json!({ "success": true, "message": "Webhook removed successfully" });
    assert_eq!(story.call("DELETE", PATH, "").await.json(), removed);
    assert_eq!(story.call("DELETE", PATH, "").await.error(), error(404, "WEBHOOK_NOT_FOUND"));
}

#[tokio::test]
async fn a_secret_that_is_not_given_is_made_and_shown_once() {
    let story = Story::new();
    let body = json!({ "webhook_url": "https://your-server.com/webhook" });
    let first = put(&story, body.clone()).await;
    let secret = first["webhook_secret"].as_str().unwrap();
    assert!(secret.len() == 64 && secret.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    assert_eq!(
        first["events"],
        json!([
            "message.received",
            "message.sent",
            "message.status",
            "instance.connected",
            "instance.disconnected",
            "instance.qr"
        ])
    );
    let again = put(&story, body.clone()).await;
    assert_eq!((again.get("webhook_secret"), &again["has_secret"]), (None, &json!(true)));
    let kept = story.store.read(|tx| tx.hooks().user()).await.unwrap().unwrap();
    assert_eq!(kept.secret.as_deref(), Some(secret));
    // Another one is not another's.
    assert_eq!(story.call("DELETE", PATH, "").await.status, 200);
    assert_ne!(put(&story, body).await["webhook_secret"], first["webhook_secret"]);
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let story = Story::new();
    let body = json!({ "webhook_url": "ftp://x", "webhook_secret": "", "events": [], "is_active": "yes" });
    let answer = story.call("PUT", PATH, &body.to_string()).await;
    assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"));
    let details = answer.details();
    assert_eq!(
        details.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["webhook_url", "webhook_secret", "events", "is_active"]
    );
    let good = "https://your-server.com/webhook";
    let wrong = [
        ("webhook_url", json!({})),
        ("webhook_url", json!({ "webhook_url": "" })),
        ("webhook_url", json!({ "webhook_url": 7 })),
        ("webhook_url", json!({ "webhook_url": "/webhook" })),
        ("webhook_url", json!({ "webhook_url": "https://" })),
        ("webhook_url", json!({ "webhook_url": "javascript:alert(1)" })),
        ("webhook_url", json!({ "webhook_url": format!("{good}/{}", "x".repeat(2048)) })),
        ("webhook_secret", json!({ "webhook_url": good, "webhook_secret": "é".repeat(256) })),
        ("webhook_secret", json!({ "webhook_url": good, "webhook_secret": 1 })),
        ("events", json!({ "webhook_url": good, "events": "message.received" })),
        ("events", json!({ "webhook_url": good, "events": ["message.received", "message.lost"] })),
        ("events", json!({ "webhook_url": good, "events": [null] })),
    ];
    for (field, body) in wrong {
        let answer = story.call("PUT", PATH, &body.to_string()).await;
        assert_eq!(answer.error().0, 422, "{body}");
        assert_eq!(answer.details().as_object().unwrap().keys().collect::<Vec<_>>(), [field], "{body}");
    }
    assert_eq!(story.get(PATH).await.error().0, 404, "nothing was configured");
    for events in [json!(["*"]), json!(["message.received", "*"])] {
        let secret = "é".repeat(255);
        let body = json!({ "webhook_url": good, "events": events, "webhook_secret": secret });
        assert_eq!(put(&story, body).await["events"], json!(["*"]));
    }
}

#[tokio::test]
async fn another_instance_and_a_token_that_may_not_are_turned_away() {
    let story = Story::new();
    for uuid in ["550e8400-e29b-41d4-a716-446655440001", "this"] {
        let path = format!("/instances/{uuid}/webhook");
        for (method, body) in [("GET", ""), ("PUT", "{}"), ("DELETE", "")] {
            assert_eq!(story.call(method, &path, body).await.error(), error(404, "INSTANCE_NOT_FOUND"));
        }
    }
    let (_, token) = story.token("send,read", None).await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let calls = [
        ("GET", PATH),
        ("PUT", PATH),
        ("DELETE", PATH),
        ("POST", "/webhooks/1/pause"),
        ("POST", "/webhooks/1/resume"),
        ("POST", "/webhooks/1/rewind"),
        ("POST", "/webhooks/1/redeliver"),
    ];
    for (method, path) in calls {
        assert_eq!(story.call_with(method, path, &headers, "{}").await.error(), error(403, "FORBIDDEN"));
        assert_eq!(story.call_with(method, path, &[], "{}").await.error(), error(401, "UNAUTHENTICATED"));
    }
    assert_eq!(story.call_with("GET", "/webhooks", &headers, "").await.status, 200);
    assert_eq!(story.call("POST", PATH, "{}").await.error(), error(405, "METHOD_NOT_ALLOWED"));
}

#[tokio::test]
async fn the_hooks_are_listed_with_what_they_have_not_had() {
    let story = Story::new();
    assert_eq!(story.get("/webhooks").await.json(), json!({ "success": true, "webhooks": [] }));
    let body = json!({ "webhook_url": "https://user:pass@your-server.com:8443/webhook?key=secret" });
    put(&story, body).await;
    story.push("message.received", "{}").await;
    story.push("message.edited", "{}").await;
    let at = crate::harness::START;
    story
        .store
        .write(move |tx| {
            let letters = vec![NewLetter { seq: 1, at, attempts: 6, error: "http 500".into() }];
            tx.hooks().progress(
                1,
                &Progress { letters, last_error: Some("http 500".into()), ..Progress::default() },
            )
        })
        .await
        .unwrap();
    story.advance(Duration::from_secs(90));
    let expected = json!({
        "id": 1,
        "kind": "user",
        "receiver": "https://your-server.com:8443",
        "is_active": true,
        "paused": null,
        "cursor": 0,
        "lag": { "events": 1, "seconds": 90 },
        "last_attempt": null,
        "last_success": null,
        "last_error": "http 500",
        "dead_letters": 1,
        "dead": [{
            "seq": 1,
            "type": "message.received",
            "timestamp": "2025-12-30T17:30:00.000Z",
            "put_aside_at": "2025-12-30T17:30:00.000Z",
            "attempts": 6,
            "error": "http 500",
        }],
    });
    assert_eq!(story.get("/webhooks").await.json()["webhooks"], json!([expected]));
    assert_eq!(story.call("POST", "/webhooks/1/pause", "").await.status, 200);
    assert_eq!(story.get("/webhooks").await.json()["webhooks"][0]["paused"], "requested");
    assert_eq!(story.call("POST", "/webhooks/1/resume", "").await.status, 200);
    assert_eq!(story.get("/webhooks").await.json()["webhooks"][0]["paused"], Value::Null);
    assert_eq!(story.call("POST", "/webhooks/1/redeliver", "").await.json()["dead_letters"], 1);
    let (letters, _) = story.store.read(|tx| tx.hooks().letters(1, 9)).await.unwrap();
    assert!(matches!(&letters[..], [Letter { again: true, .. }]));
    for (to, from) in [(json!(1), 1), (json!("2025-12-30T14:30:00-03:00"), 1), (json!(0), 1)] {
        let body = json!({ "to": to }).to_string();
        assert_eq!(story.call("POST", "/webhooks/1/rewind", &body).await.json()["from"], from, "{to}");
    }
    for to in [json!({}), json!({ "to": "yesterday" }), json!({ "to": -1 }), json!({ "to": 1.5 })] {
        let answer = story.call("POST", "/webhooks/1/rewind", &to.to_string()).await;
        assert_eq!(
            (answer.error(), answer.details()["to"].is_array()),
            (error(422, "VALIDATION_ERROR"), true)
        );
    }
    for call in ["2/pause", "2/resume", "2/redeliver", "2/rewind", "x/pause"] {
        let path = format!("/webhooks/{call}");
        let answer = story.call("POST", &path, r#"{"to":1}"#).await;
        assert_eq!(answer.error(), error(404, "WEBHOOK_NOT_FOUND"), "{path}");
    }
}
