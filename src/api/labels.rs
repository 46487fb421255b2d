//! `/labels`: the account's labels, and the chats and messages that they stand on.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToRead, ToSend},
    body::Object,
    fields::{self, Faults},
    reply,
    send::{self, TO},
};
use crate::{
    account::{LabelChange, StateChange, Status},
    store::labels::Label,
    wire::Jid,
};

/// Longest name, in characters (what the apps allow).
const NAME_MAX: usize = 100;
/// Colours of the palette.
const COLORS: u64 = 20;

fn render(label: &Label) -> Value {
    json!({ "id": label.id, "name": label.name, "color": label.color })
}

async fn find<I: Instance>(app: &App<I>, id: &str) -> Result<Label, ApiError> {
    let wanted = id.to_owned();
    let found = app.parts.store.read(move |tx| tx.labels().find(&wanted)).await?;
    found.ok_or_else(|| ApiError::LabelNotFound(id.to_owned()))
}

/// `GET /labels`.
pub(super) async fn list<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
) -> Result<Response, ApiError> {
    let labels = app.parts.store.read(|tx| tx.labels().list()).await?;
    let shown: Vec<Value> = labels.iter().map(render).collect();
    Ok(reply::ok(&json!({ "success": true, "labels": shown, "total": labels.len() })))
}

/// `GET /labels/{id}`: with the chats and messages that it stands on.
pub(super) async fn one<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let label = find(&app, &id).await?;
    let read = app.parts.store.read(move |tx| Ok((tx.labels().chats(&id)?, tx.labels().messages(&id)?)));
    let (chats, messages): (Vec<Jid>, Vec<(Jid, String)>) = read.await.map_err(|e: crate::store::Error| e)?;
    let messages = messages.iter().map(|(chat, id)| json!({ "chat": chat.to_wire(), "message_id": id }));
    let mut body = Map::from_iter([("success".to_owned(), true.into())]);
    if let Value::Object(members) = render(&label) {
        body.extend(members);
    }
    body.insert("chats".into(), chats.iter().map(Jid::to_wire).collect());
    body.insert("messages".into(), messages.collect());
    Ok(reply::ok(&Value::Object(body)))
}

/// `POST /labels`: `name`, `color`.
pub(super) async fn create<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let name = name(&body.members, &mut faults);
    if name.is_none() && faults.is_empty() {
        faults.add("name", fields::required("name"));
    }
    let color = color(&body.members, &mut faults).unwrap_or(0);
    faults.check()?;
    let Some(name) = name else { return Err(ApiError::Internal) };
    let status = app.parts.instance.link().borrow().status;
    if matches!(status, Status::QrReady | Status::Disconnected) {
        return Err(ApiError::NotConnected(status));
    }
    let id = app.parts.store.write(|tx| tx.labels().take_id()).await?;
    let change = LabelChange::Edit { id: id.clone(), name: name.clone(), color, deleted: false };
    app.parts.instance.change(StateChange::Label(change)).await?;
    let label = Label { id, name, color };
    let body = json!({ "success": true, "message": "Label created successfully", "label": render(&label) });
    Ok(reply::json(StatusCode::CREATED, &body))
}

/// `PATCH /labels/{id}`: `name`, `color`; what is not given stays.
pub(super) async fn change<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let (name, color) = (name(&body.members, &mut faults), color(&body.members, &mut faults));
    if name.is_none() && color.is_none() && faults.is_empty() {
        faults.add("name", "At least one of name, color is required.");
        faults.add("color", "At least one of name, color is required.");
    }
    faults.check()?;
    let known = find(&app, &id).await?;
    let label = Label { id, name: name.unwrap_or(known.name), color: color.unwrap_or(known.color) };
    let Label { id, name, color } = label.clone();
    let change = LabelChange::Edit { id, name, color, deleted: false };
    app.parts.instance.change(StateChange::Label(change)).await?;
    let body = json!({ "success": true, "message": "Label updated successfully", "label": render(&label) });
    Ok(reply::ok(&body))
}

/// `DELETE /labels/{id}`: from wherever it stands.
pub(super) async fn delete<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let Label { id, name, color } = find(&app, &id).await?;
    let change = LabelChange::Edit { id, name, color, deleted: true };
    app.parts.instance.change(StateChange::Label(change)).await?;
    Ok(reply::done("Label deleted successfully"))
}

/// `POST /labels/{id}/assign`: `to`, `message_id?`, `value`: on a chat or one of its messages, or off it.
pub(super) async fn assign<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let chat = send::recipient(&body.members, &TO, &mut faults);
    let message = fields::text(&body.members, &["message_id"], &mut faults).map(str::to_owned);
    let on = fields::required_switch(&body.members, "value", &mut faults);
    faults.check()?;
    let (Some(chat), Some(on)) = (chat, on) else { return Err(ApiError::Internal) };
    let Label { id, .. } = find(&app, &id).await?;
    let change = match message {
        Some(message) => LabelChange::Message { id, chat, message, on },
        None => LabelChange::Chat { id, chat, on },
    };
    app.parts.instance.change(StateChange::Label(change)).await?;
    Ok(reply::done(if on { "Label assigned successfully" } else { "Label removed successfully" }))
}

fn name(members: &Map<String, Value>, faults: &mut Faults) -> Option<String> {
    let name = fields::text(members, &["name"], faults)?.trim();
    if name.is_empty() || name.chars().count() > NAME_MAX {
        faults.add("name", format!("The name field must be a string of 1 to {NAME_MAX} characters."));
        return None;
    }
    Some(name.to_owned())
}

fn color(members: &Map<String, Value>, faults: &mut Faults) -> Option<i32> {
    let given = fields::first(members, &["color"])?;
    let color = given.as_u64().filter(|color| *color < COLORS).and_then(|color| i32::try_from(color).ok());
    if color.is_none() {
        faults.add("color", format!("The color field must be a whole number from 0 to {}.", COLORS - 1));
    }
    color
}
