//! `/admin/phones/{number}/device-list`, `/intruder` and `/register-anew`: a server that lies about people's devices, and a
//! number that is registered anew.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use super::{
    admin::AdminError,
    control::{App, Body, bad},
    core::{Intruder, ListShown},
};

type Reply<T> = Result<T, AdminError>;

/// Nothing but these members.
fn only(body: &Body, known: &[&str]) -> Reply<()> {
    match body.0.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(bad(format!("{key}: not known; known are {}", known.join(", ")))),
        None => Ok(()),
    }
}

fn number<T: TryFrom<u64>>(body: &Body, key: &'static str) -> Reply<Option<T>> {
    let Some(value) = body.0.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
    let number = value.as_u64().and_then(|number| T::try_from(number).ok());
    number.map(Some).ok_or_else(|| bad(format!("{key}: a whole number")))
}

fn flag(body: &Body, key: &'static str) -> Reply<bool> {
    match body.0.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| bad(format!("{key}: true or false"))),
    }
}

/// `{"show": "signed" | "forged" | "stale" | "missing"}`.
pub(super) async fn show_list(
    State(app): State<App>,
    Path(phone): Path<String>,
    body: Body,
) -> Reply<StatusCode> {
    only(&body, &["show"])?;
    let shown = ListShown::parse(&body.required("show")?);
    app.admin.show_list(&phone, shown.ok_or_else(|| bad("show: signed, forged, stale or missing"))?)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `{"key_index"?}` for a device of the server's own, `{"device"}` for one that the phone unlinked.
pub(super) async fn intrude(
    State(app): State<App>,
    Path(phone): Path<String>,
    body: Body,
) -> Reply<(StatusCode, Json<Value>)> {
    only(&body, &["key_index", "device"])?;
    let intruder = match (number::<u16>(&body, "device")?, number::<u32>(&body, "key_index")?) {
        (Some(_), Some(_)) => return Err(bad("device or key_index, not both")),
        (Some(device), None) => Intruder::Unlinked(device),
        (None, key_index) => Intruder::Made(key_index),
    };
    let device = app.admin.intrude(&phone, intruder)?;
    Ok((StatusCode::CREATED, Json(json!({"device": device}))))
}

/// `{"same_identity"?, "quiet"?}`.
pub(super) async fn register_anew(
    State(app): State<App>,
    Path(phone): Path<String>,
    body: Body,
) -> Reply<StatusCode> {
    only(&body, &["same_identity", "quiet"])?;
    app.admin.register_anew(&phone, flag(&body, "same_identity")?, flag(&body, "quiet")?)?;
    Ok(StatusCode::NO_CONTENT)
}
