//! `GET /health`: whether the HTTP server works; no token, no limit, whatever WhatsApp does.

use axum::{extract::State, response::Response};
use serde_json::json;

use super::{App, Instance, reply};

pub(super) async fn health<I: Instance>(State(app): State<App<I>>) -> Response {
    reply::ok(&json!({
        "status": "ok",
        "uptime": app.started.elapsed().as_secs(),
        "timestamp": app.now().rfc3339(),
    }))
}
