//! `GET /scheduled`, `GET` and `DELETE /scheduled/{id}`: sends that wait for their time.

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToRead, ToSend},
    fields::Faults,
    query::{Paging, Pairs},
    reply,
};
use crate::store::{
    Tx,
    messages::Progress,
    schedule::{Known, Stage},
};

/// What waits, in the order in which it will leave.
pub(super) async fn list<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Query(query): Pairs,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let paging = Paging::read(&query, &mut faults);
    faults.check()?;
    let read = move |tx: &Tx<'_>| tx.schedule().page(paging.skip(), paging.limit());
    let (rows, total) = app.parts.store.read(read).await?;
    Ok(reply::ok(&paging.answer("scheduled", rows.iter().map(described).collect(), total)))
}

/// One of them, also after it has left.
pub(super) async fn show<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let wanted = id.clone();
    let known = app.parts.store.read(move |tx| tx.schedule().find(&wanted)).await?;
    let known = known.ok_or(ApiError::MessageNotFound(id))?;
    let mut body = json!({ "success": true });
    if let (Some(members), Value::Object(known)) = (body.as_object_mut(), described(&known)) {
        members.extend(known);
    }
    Ok(reply::ok(&body))
}

/// Cancels one that has not left.
pub(super) async fn cancel<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let wanted = id.clone();
    let before = app.parts.store.write(move |tx| tx.schedule().cancel(&wanted)).await?;
    match before {
        None => Err(ApiError::MessageNotFound(id)),
        Some(Stage::Left | Stage::GivenUp) => Err(ApiError::AlreadySent(id)),
        Some(Stage::Waiting | Stage::Cancelled) => Ok(reply::ok(&json!({
            "success": true,
            "message": "Scheduled message cancelled",
            "message_id": id,
            "status": "cancelled",
        }))),
    }
}

fn described(known: &Known) -> Value {
    let mut members = Map::new();
    members.insert("message_id".into(), known.wa_id.clone().into());
    members.insert("type".into(), known.kind.clone().into());
    members.insert("to".into(), known.recipient.clone().into());
    members.insert("status".into(), status(known, "scheduled").into());
    members.insert("scheduled_at".into(), known.due.rfc3339().into());
    members.insert("created_at".into(), known.at.rfc3339().into());
    if let Some(code) = known.refused {
        members.insert("whatsapp_code".into(), code.into());
    }
    if let Some(batch) = &known.batch {
        members.insert("batch_id".into(), batch.clone().into());
    }
    Value::Object(members)
}

/// What became of a send, in a word; `waiting` while it waits for its time.
pub(super) fn status(known: &Known, waiting: &'static str) -> &'static str {
    match (known.stage, known.progress) {
        (Stage::Waiting, _) => waiting,
        (Stage::Cancelled, _) => "cancelled",
        (Stage::GivenUp, _) => Progress::Failed.as_str(),
        (Stage::Left, Some(Progress::Pending)) => "queued",
        (Stage::Left, Some(progress)) => progress.as_str(),
        (Stage::Left, None) if known.under_way => "queued",
        (Stage::Left, None) => Progress::Failed.as_str(),
    }
}
