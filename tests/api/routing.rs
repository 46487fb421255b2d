//! Routes, methods, bodies, headers, and the order in which a request is checked.

use axum::{body::Body, http::Request};
use serde_json::json;
use wazap::account::{SendError, Status};

use crate::harness::{Story, error};

#[tokio::test]
async fn health_needs_no_token_and_says_when_it_is() {
    let story = Story::new();
    for headers in [&[][..], &[("authorization", "Bearer sk_wrong")]] {
        let answer = story.call_with("GET", "/health", headers, "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.json(),
            json!({ "status": "ok", "uptime": 0, "timestamp": "2025-12-30T17:30:00.000Z" })
        );
    }
}

#[tokio::test]
async fn an_unknown_route_is_404_whoever_asks() {
    let story = Story::new();
    for path in ["/nowhere", "/status/more", "/qr/", "/Status"] {
        let answer = story.call_with("GET", path, &[], "").await;
        let expected = if path == "/qr/" { error(401, "UNAUTHENTICATED") } else { error(404, "NOT_FOUND") };
        assert_eq!(answer.error(), expected, "{path}");
    }
}

#[tokio::test]
async fn another_method_is_405_with_the_right_one_named() {
    let story = Story::new();
    for (method, path, allowed) in
        [("GET", "/send-message", "POST"), ("POST", "/status", "GET,HEAD"), ("DELETE", "/health", "GET,HEAD")]
    {
        let answer = story.call_with(method, path, &[], "").await;
        assert_eq!(answer.error(), error(405, "METHOD_NOT_ALLOWED"), "{path}");
        assert_eq!(answer.header("allow"), Some(allowed), "{path}");
    }
}

#[tokio::test]
async fn a_trailing_slash_changes_nothing() {
    let story = Story::new();
    assert_eq!(story.get("/status/").await.json(), story.get("/status").await.json());
    assert_eq!(story.get("/events/?limit=0").await.error(), error(422, "VALIDATION_ERROR"));
    assert_eq!(story.call("POST", "/connect/", "").await.status, 200);
}

#[tokio::test]
async fn bodies_that_are_no_json_object_are_400() {
    let story = Story::new();
    for body in ["", "  ", "{", "[]", "\"text\"", "null", "42", "{\"a\":1}{", "\u{feff}{}"] {
        let answer = story.call("POST", "/send-message", body).await;
        assert_eq!(answer.error(), error(400, "INVALID_REQUEST"), "{body:?}");
    }
    let bytes = Request::post("/send-message")
        .header("authorization", "Bearer sk_story")
        .body(Body::from(vec![b'{', b'"', 0xff, b'"', b':', b'1', b'}']))
        .unwrap();
    assert_eq!(story.request(bytes).await.error(), error(400, "INVALID_REQUEST"));
    let deep = format!("{{\"message\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(story.call("POST", "/send-message", &deep).await.error(), error(400, "INVALID_REQUEST"));
}

#[tokio::test]
async fn only_json_content_types_are_read() {
    let story = Story::new();
    let body = r#"{"to":"5511999999999","message":"Oi"}"#;
    let cases = [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("application/vnd.api+json", 200),
        ("text/plain", 400),
        ("application/x-www-form-urlencoded", 400),
        ("application/+json", 400),
        ("application/jsonp", 400),
        ("multipart/form-data", 400),
        ("", 400),
    ];
    for (kind, status) in cases {
        let headers = [("authorization", "Bearer sk_story"), ("content-type", kind)];
        let answer = story.call_with("POST", "/send-message", &headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{kind}");
    }
    // The answer is JSON whatever Accept says.
    let headers = [("authorization", "Bearer sk_story"), ("accept", "text/html")];
    assert_eq!(story.call_with("GET", "/status", &headers, "").await.json()["success"], true);
}

#[tokio::test]
async fn a_body_of_a_mebibyte_passes_and_one_byte_more_does_not() {
    let story = Story::new();
    let frame = r#"{"to":"5511999999999","message":"Oi","x":""}"#;
    let body = |size: usize| frame.replace("\"\"}", &format!("\"{}\"}}", "a".repeat(size - frame.len())));
    assert_eq!(story.call("POST", "/send-message", &body(1024 * 1024)).await.status, 200);
    let answer = story.call("POST", "/send-message", &body(1024 * 1024 + 1)).await;
    assert_eq!(answer.error(), error(413, "PAYLOAD_TOO_LARGE"));
    assert_eq!(answer.details(), json!({}));
}

#[tokio::test]
async fn checks_come_in_the_order_of_the_contract() {
    let story = Story::with_limit(Some((100, std::time::Duration::from_secs(900))));
    story.instance.becomes(Status::Disconnected, None);
    story.instance.answers(Err(SendError::NotConnected(Status::Disconnected)));
    let (_, reader) = story.token("read", None).await;
    let reader = [("authorization", &*format!("Bearer {reader}"))];
    let good = r#"{"to":"5511999999999","message":"Oi"}"#;
    // Route before method, method before token, token before limit, and so on to the connection.
    assert_eq!(story.call_with("BREW", "/nowhere", &[], "{").await.error().0, 404);
    assert_eq!(story.call_with("PUT", "/send-message", &[], "{").await.error().0, 405);
    assert_eq!(story.call_with("POST", "/send-message", &[], "{").await.error().0, 401);
    assert_eq!(story.call_with("POST", "/send-message", &reader, "{").await.error().0, 403);
    assert_eq!(story.call("POST", "/send-message", "{").await.error().0, 400);
    assert_eq!(story.call("POST", "/send-message", "{}").await.error().0, 422);
    assert_eq!(story.call("POST", "/send-message", good).await.error().0, 503);
    for _ in 0..97 {
        story.get("/status").await;
    }
    assert_eq!(story.call("POST", "/send-message", "{").await.error().0, 429);
    assert_eq!(story.call_with("PUT", "/send-message", &[], "{").await.error().0, 405);
    assert!(story.instance.asked(|asked| asked.sends.len() == 1));
}

#[tokio::test]
async fn every_answer_has_the_headers_of_safety() {
    let story = Story::new();
    for path in ["/", "/status", "/nowhere", "/page.js"] {
        let answer = story.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}");
    }
}

#[tokio::test]
async fn the_page_is_three_files_without_a_script_in_the_markup() {
    let story = Story::new();
    let page = story.call_with("GET", "/", &[], "").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let html = String::from_utf8(page.body).unwrap();
    assert!(html.contains("<script src=\"/page.js\"") && html.contains("href=\"/page.css\""));
    // The policy forbids what is inline, so that the page must not need it.
    for inline in ["<style", " style=", " onclick=", "javascript:", "<script>"] {
        assert!(!html.contains(inline), "{inline}");
    }
    assert_eq!(story.get("/page.js").await.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(story.get("/page.css").await.header("content-type"), Some("text/css; charset=utf-8"));
}

#[tokio::test]
async fn a_handler_that_panics_is_a_500_without_internals() {
    let story = Story::new();
    let answer = story.call("POST", "/send-message", r#"{"to":"5511999999999","message":"panic"}"#).await;
    assert_eq!(answer.error(), error(500, "INTERNAL_ERROR"));
    assert_eq!(answer.details(), json!({}));
    assert!(!String::from_utf8(answer.body).unwrap().contains("story"));
}
