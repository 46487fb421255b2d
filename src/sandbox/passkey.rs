//! `/admin/phones/{number}/passkey`: accounts that want a passkey of whoever links, and the authenticator that holds it.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::Value;

use super::{
    admin::AdminError,
    control::{App, Body, bad},
    core::{Defect, PasskeyView},
};

type Reply<T> = Result<T, AdminError>;

pub(super) async fn show(State(app): State<App>, Path(phone): Path<String>) -> Reply<Json<PasskeyView>> {
    app.admin.passkey(&phone).map(Json)
}

/// `{"wanted": true}`
pub(super) async fn want(State(app): State<App>, Path(phone): Path<String>, body: Body) -> Reply<StatusCode> {
    let wanted = body.0.get("wanted").and_then(Value::as_bool).ok_or_else(|| bad("wanted: true or false"))?;
    app.admin.want_passkey(&phone, wanted).map(|()| StatusCode::NO_CONTENT)
}

/// Request options, and perhaps a `defect`; the assertion.
pub(super) async fn sign(
    State(app): State<App>,
    Path(phone): Path<String>,
    body: Body,
) -> Reply<Json<Value>> {
    let defect = body.text("defect")?.map(|name| Defect::parse(&name).ok_or_else(|| bad(Defect::NAMES)));
    let mut options = body.0;
    options.remove("defect");
    app.admin.sign_with_passkey(&phone, &Value::Object(options), defect.transpose()?).map(Json)
}

pub(super) async fn decline(State(app): State<App>, Path(phone): Path<String>) -> Reply<StatusCode> {
    app.admin.decline_passkey(&phone).map(|()| StatusCode::NO_CONTENT)
}
