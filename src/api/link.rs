//! `GET /status`, `POST /connect`, `POST /disconnect`.

use axum::{extract::State, response::Response};
use serde_json::json;

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToManage, ToRead},
    body::MaybeObject,
    fields::{self, Faults},
    reply,
};

/// Exactly five members.
pub(super) async fn status<I: Instance>(_: Caller<ToRead>, State(app): State<App<I>>) -> Response {
    let link = app.parts.instance.link().borrow().clone();
    reply::ok(&json!({
        "success": true,
        "status": link.status.as_str(),
        "phone": link.phone,
        "name": link.name,
        "platform": link.platform,
    }))
}

/// Starts linking or connecting; fine in every state.
pub(super) async fn connect<I: Instance>(
    _: Caller<ToManage>,
    State(app): State<App<I>>,
    MaybeObject(body): MaybeObject,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    if fields::first(&body, &["phone"]).is_some() {
        // Better refused than answered with a QR code that nobody asked for.
        faults.add("phone", "Linking by phone number is not available; link with the QR code.");
    }
    faults.check()?;
    app.parts.instance.connect().await;
    let status = app.parts.instance.link().borrow().status;
    Ok(reply::ok(&json!({
        "success": true,
        "message": "Connection started",
        "status": status.as_str(),
    })))
}

/// Closes the socket and keeps the keys, or with `logout` unlinks and wipes.
pub(super) async fn disconnect<I: Instance>(
    _: Caller<ToManage>,
    State(app): State<App<I>>,
    MaybeObject(body): MaybeObject,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let logout = fields::switch(&body, "logout", &mut faults).unwrap_or(false);
    faults.check()?;
    app.parts.instance.disconnect(logout).await;
    Ok(reply::ok(&json!({
        "success": true,
        "message": "Instance disconnected",
        "status": "disconnected",
    })))
}
