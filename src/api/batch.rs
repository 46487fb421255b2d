//! `POST /send-batch`, `GET` and `DELETE /batches/{id}`: many sends of one request.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToRead, ToSend},
    body::Object,
    fields::{self, Faults},
    forward, kinds, reply, schedule,
    send::{self, Common, RECIPIENT, TO},
};
use crate::{
    account::{Body, SendBatch, SendError, SendMessage},
    store::schedule::{Batch, Known},
};

/// Sends of one request (instance-api.md §10).
const MESSAGES_MAX: usize = 1000;
/// Milliseconds between two sends: a second, as somebody who pastes would take; a tenth of it at least.
const PACE: u64 = 1000;
const PACES: std::ops::RangeInclusive<u64> = 100..=600_000;
/// What `type` may be.
const TYPES: [&str; 6] = ["text", "reaction", "location", "contact", "poll", "forward"];

/// Stores many sends. What is wrong with one is said in its place, and stops no other.
pub(super) async fn send<I: Instance>(
    caller: Caller<ToSend>,
    State(app): State<App<I>>,
    headers: HeaderMap,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let given = fields::first(&body.members, &["messages"]);
    let list = given.and_then(Value::as_array).filter(|list| (1..=MESSAGES_MAX).contains(&list.len()));
    if list.is_none() {
        let wrong = match given {
            None => fields::required("messages"),
            Some(_) => format!("The messages field must be a list of 1 to {MESSAGES_MAX} objects."),
        };
        faults.add("messages", wrong);
    }
    let pace = match fields::first(&body.members, &["pace_ms"]) {
        None => PACE,
        Some(given) => given.as_u64().filter(|pace| PACES.contains(pace)).unwrap_or_else(|| {
            faults.add(
                "pace_ms",
                format!(
                    "The pace_ms field must be a whole number from {} to {}.",
                    PACES.start(),
                    PACES.end()
                ),
            );
            PACE
        }),
    };
    let send_at = send::send_at(&body.members, caller.now, &mut faults);
    let idempotency = send::idempotency(caller.token, &headers, &body, &mut faults);
    faults.check()?;
    let (mut sends, mut rejected) = (Vec::new(), Vec::new());
    for (position, one) in list.into_iter().flatten().enumerate() {
        let position = u32::try_from(position).map_err(|_| ApiError::Internal)?;
        match read(one) {
            Ok((kind, message)) => sends.push((position, kind, message)),
            Err(error) => rejected.push((position, error.explained().1)),
        }
    }
    let explain = |error: SendError| ApiError::from(error).explained().1;
    let pace = Duration::from_millis(pace);
    let batch = SendBatch { sends, rejected, explain, pace, send_at, idempotency };
    let batched = app.parts.instance.send_batch(batch).await?;
    let (batch, sends) = load(&app, &batched.id).await?;
    let mut results = rejections(&batch)?;
    let refused = results.len();
    for one in &sends {
        let mut result = item(one);
        result.insert("success".into(), true.into());
        results.insert(one.position, result);
    }
    let body = json!({
        "success": true,
        "message": "Batch queued",
        "batch_id": batched.id,
        "timestamp": batch.at.rfc3339(),
        "accepted": sends.len(),
        "rejected": refused,
        "results": results.into_values().collect::<Vec<_>>(),
    });
    let mut response = reply::json(StatusCode::ACCEPTED, &body);
    if batched.replayed {
        response.headers_mut().extend([reply::REPLAYED]);
    }
    Ok(response)
}

/// One of the messages: the body of a sending route, and which.
fn read(one: &Value) -> Result<(&'static str, SendMessage), ApiError> {
    let mut faults = Faults::default();
    let Some(members) = one.as_object() else {
        faults.add("messages", "Each of the messages must be an object.");
        return Err(ApiError::Validation(faults));
    };
    let given = fields::first(members, &["type"]);
    let Some(kind) = TYPES.into_iter().find(|kind| given.and_then(Value::as_str) == Some(kind)) else {
        let wrong = match given {
            None => fields::required("type"),
            Some(_) => format!("The type field must be one of {}.", TYPES.join(", ")),
        };
        faults.add("type", wrong);
        return Err(ApiError::Validation(faults));
    };
    let common = Common::of_many(members, if kind == "text" { &RECIPIENT } else { &TO }, &mut faults);
    let said = match kind {
        "text" => send::text(members, &mut faults).map(Body::Text),
        "reaction" => kinds::read_reaction(members, &mut faults),
        "location" => kinds::read_location(members, &mut faults),
        "contact" => kinds::read_contact(members, &mut faults),
        "poll" => kinds::read_poll(members, &mut faults),
        _ => forward::forwarded(members, &mut faults),
    };
    faults.check()?;
    let (Some(common), Some(said)) = (common, said) else { return Err(ApiError::Internal) };
    Ok((kind, common.with(said)))
}

/// How far a batch has come, send by send.
pub(super) async fn show<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    progress(&app, &id, None).await
}

/// Cancels what of a batch has not left.
pub(super) async fn cancel<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let wanted = id.clone();
    app.parts.store.write(move |tx| tx.schedule().cancel_batch(&wanted)).await?;
    progress(&app, &id, Some("Batch cancelled")).await
}

async fn progress<I: Instance>(
    app: &App<I>,
    id: &str,
    message: Option<&'static str>,
) -> Result<Response, ApiError> {
    let (batch, sends) = load(app, id).await?;
    let mut items = rejections(&batch)?;
    for rejected in items.values_mut() {
        rejected.remove("success");
        rejected.insert("status".into(), "rejected".into());
    }
    for one in &sends {
        let mut result = item(one);
        result.insert("status".into(), schedule::status(one, "queued").into());
        result.insert("scheduled_at".into(), one.due.rfc3339().into());
        if let Some(code) = one.refused {
            result.insert("whatsapp_code".into(), code.into());
        }
        items.insert(one.position, result);
    }
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for status in items.values().filter_map(|item| item.get("status")?.as_str()) {
        *counts.entry(status.to_owned()).or_default() += 1;
    }
    let mut body = json!({
        "success": true,
        "batch_id": id,
        "timestamp": batch.at.rfc3339(),
        "pace_ms": u64::try_from(batch.pace.as_millis()).unwrap_or(u64::MAX),
        "total": items.len(),
        "counts": counts,
        "items": items.into_values().collect::<Vec<_>>(),
    });
    if let (Some(message), Some(members)) = (message, body.as_object_mut()) {
        members.insert("message".into(), message.into());
    }
    Ok(reply::ok(&body))
}

async fn load<I: Instance>(app: &App<I>, id: &str) -> Result<(Batch, Vec<Known>), ApiError> {
    let wanted = id.to_owned();
    let found = app.parts.store.read(move |tx| tx.schedule().batch(&wanted)).await?;
    found.ok_or_else(|| ApiError::BatchNotFound(id.to_owned()))
}

type Items = BTreeMap<u32, Map<String, Value>>;

/// What was not accepted, by its place in the request.
fn rejections(batch: &Batch) -> Result<Items, ApiError> {
    let rejected: Vec<Map<String, Value>> =
        serde_json::from_str(&batch.rejected).map_err(|_| ApiError::Internal)?;
    let placed = rejected.into_iter().filter_map(|mut one| {
        let position = u32::try_from(one.get("index")?.as_u64()?).ok()?;
        one.insert("success".into(), false.into());
        Some((position, one))
    });
    Ok(placed.collect())
}

fn item(known: &Known) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("index".into(), known.position.into());
    members.insert("type".into(), known.kind.clone().into());
    members.insert("message_id".into(), known.wa_id.clone().into());
    members
}
