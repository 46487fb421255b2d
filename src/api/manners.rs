//! What the account shows of itself: read receipts, chat states, presence.

use std::time::Duration;

use axum::{extract::State, response::Response};
use serde_json::Value;

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToSend},
    body::Object,
    fields::{self, Faults},
    reply,
    send::{self, TO},
};
use crate::{account::ChatState, daemon::Shown};

/// Messages marked in one request.
const IDS_MAX: usize = 1000;
/// How long a chat state may last, in seconds.
const LASTING: std::ops::RangeInclusive<u64> = 1..=60;

/// `POST /mark-read`: `to`, `message_ids`.
pub(super) async fn mark_read<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let chat = send::recipient(&body.members, &TO, &mut faults);
    let ids = fields::first(&body.members, &["message_ids"]);
    let text = |value: &Value| value.as_str().filter(|id| !id.is_empty()).map(str::to_owned);
    let list = ids.and_then(Value::as_array).filter(|list| (1..=IDS_MAX).contains(&list.len()));
    let list = list.and_then(|list| list.iter().map(text).collect::<Option<Vec<_>>>());
    match (ids, &list) {
        (None, _) => faults.add("message_ids", fields::required("message_ids")),
        (Some(_), None) => {
            faults.add("message_ids", format!("The message_ids field must be a list of 1 to {IDS_MAX} ids."));
        }
        (Some(_), Some(_)) => {}
    }
    faults.check()?;
    let (Some(chat), Some(ids)) = (chat, list) else { return Err(ApiError::Internal) };
    app.parts.instance.show(Shown::Read { chat, ids }).await?;
    Ok(reply::done("Messages marked as read"))
}

/// `POST /send-presence`: `to`, `state`, `seconds`.
pub(super) async fn chat_state<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let chat = send::recipient(&body.members, &TO, &mut faults);
    let words =
        [("typing", ChatState::Typing), ("recording", ChatState::Recording), ("paused", ChatState::Paused)];
    let state = one_of(&body, &words, &mut faults);
    let lasting = fields::first(&body.members, &["seconds"]).and_then(|given| {
        let seconds = given.as_u64().filter(|seconds| LASTING.contains(seconds));
        if seconds.is_none() {
            faults.add("seconds", "The seconds field must be a whole number from 1 to 60.");
        }
        seconds.map(Duration::from_secs)
    });
    faults.check()?;
    let (Some(chat), Some(state)) = (chat, state) else { return Err(ApiError::Internal) };
    app.parts.instance.show(Shown::ChatState { chat, state, lasting }).await?;
    Ok(reply::done("Presence sent successfully"))
}

/// `POST /presence`: `state`.
pub(super) async fn presence<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let state = one_of(&body, &[("available", true), ("unavailable", false)], &mut faults);
    faults.check()?;
    let Some(available) = state else { return Err(ApiError::Internal) };
    app.parts.instance.show(Shown::Presence { available }).await?;
    Ok(reply::done("Presence set successfully"))
}

fn one_of<T: Copy>(body: &Object, words: &[(&str, T)], faults: &mut Faults) -> Option<T> {
    let Some(given) = fields::first(&body.members, &["state"]) else {
        faults.add("state", fields::required("state"));
        return None;
    };
    let found = words.iter().find(|(word, _)| given.as_str() == Some(word)).map(|(_, value)| *value);
    if found.is_none() {
        let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        faults.add("state", format!("The state field must be one of {}.", allowed.join(", ")));
    }
    found
}
