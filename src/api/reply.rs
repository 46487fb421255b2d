//! Success envelopes: flat, the payload's members beside `success` (instance-api.md §3).

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::{Map, Value, json};

/// On the answer to an `Idempotency-Key` that was seen before.
pub(super) const REPLAYED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));

/// A JSON answer. Nothing here may be cached: every answer belongs to one caller and one moment.
pub(super) fn json(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 200.
pub(super) fn ok(body: &Value) -> Response {
    json(StatusCode::OK, body)
}

/// 200, with these members.
pub(super) fn success(more: Value) -> Response {
    ok(&with_success(more))
}

/// 200, and what was done.
pub(super) fn done(message: &str) -> Response {
    ok(&json!({ "success": true, "message": message }))
}

/// The envelope with these members.
pub(super) fn with_success(more: Value) -> Value {
    let mut body = Map::new();
    body.insert("success".into(), true.into());
    if let Value::Object(more) = more {
        body.extend(more);
    }
    Value::Object(body)
}
