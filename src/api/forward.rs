//! Sends that are about a message that is there already: passing it on, pinning it.

use std::time::Duration;

use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use serde_json::{Map, Value};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToSend},
    body::Object,
    fields::{self, Faults},
    kinds,
    send::{self, Common, Sending, TO},
};
use crate::account::Body;

/// How long a pin may hold: a day, a week, thirty days (what WhatsApp's clients offer; the week is their default).
const PINS: [u64; 3] = [86_400, PIN_DEFAULT, 2_592_000];
const PIN_DEFAULT: u64 = 604_800;

/// `POST /forward`: `to`, `message_id`.
pub(super) async fn forward<I: Instance>(sending: Sending<I>) -> Result<Response, ApiError> {
    sending.say(forwarded, "Message forwarded successfully").await
}

pub(super) fn forwarded(members: &Map<String, Value>, faults: &mut Faults) -> Option<Body> {
    kinds::required(members, &["message_id", "messageId"], faults).map(|id| Body::Forward { id })
}

/// `POST /messages/{id}/pin`: `to`, `value`, `seconds`.
pub(super) async fn pin<I: Instance>(
    caller: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let command = Common::read(&caller, &headers, &body, &TO, &mut faults);
    let value = fields::required_switch(&body.members, "value", &mut faults);
    let seconds = match fields::first(&body.members, &["seconds"]) {
        None => PIN_DEFAULT,
        Some(given) => given.as_u64().filter(|seconds| PINS.contains(seconds)).unwrap_or_else(|| {
            faults.add("seconds", "The seconds field must be 86400, 604800 or 2592000.");
            PIN_DEFAULT
        }),
    };
    faults.check()?;
    let (Some(value), Some(command)) = (value, command) else { return Err(ApiError::Internal) };
    let done = if value { "Message pinned successfully" } else { "Message unpinned successfully" };
    let lasting = value.then_some(Duration::from_secs(seconds));
    send::send(&app, command.with(Body::Pin { id, lasting }), done).await
}
