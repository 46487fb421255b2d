//! `POST /chats/{jid}/history`: asks the phone for older messages. What comes of it is told by events.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToRead},
    body::Object,
    chats,
    fields::{self, Faults},
    reply,
};

/// As many as WhatsApp Web asks for at a time.
const USUAL: u32 = 50;
/// More than any phone is known to send at once.
const MOST: u32 = 500;

pub(super) async fn ask<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let chat = chats::chat_in(&jid, &mut faults);
    let count = count(&body.members, &mut faults);
    faults.check()?;
    let Some(chat) = chat else { return Err(ApiError::Internal) };
    let id = app.parts.instance.history(chat, count).await?;
    let body = json!({ "success": true, "status": "pending", "request_id": id, "count": count });
    Ok(reply::json(StatusCode::ACCEPTED, &body))
}

fn count(members: &Map<String, Value>, faults: &mut Faults) -> u32 {
    let Some(given) = fields::first(members, &["count"]) else { return USUAL };
    let count = given.as_u64().and_then(|count| u32::try_from(count).ok());
    count.filter(|count| (1..=MOST).contains(count)).unwrap_or_else(|| {
        faults.add("count", format!("The count field must be a whole number between 1 and {MOST}."));
        USUAL
    })
}
