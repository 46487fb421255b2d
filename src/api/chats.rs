//! Chats: the list, one of them, and what can be changed about them; stars, and deletion for oneself.

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToRead, ToSend},
    body::Object,
    fields::{self, Faults},
    query::{Paging, Pairs},
    recipient, reply,
    send::{self, TO},
};
use crate::{
    account::{Recipient, StateChange},
    clock::Millis,
    store::{
        self,
        chats::{ChatView, Mute},
        history::Coverage,
    },
    wire::Jid,
};

/// `GET /chats`: pinned ones first, then by their newest message.
pub(super) async fn list<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Query(query): Pairs,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let page = Paging::read(&query, &mut faults);
    faults.check()?;
    let read = app.parts.store.read(move |tx| {
        let (chats, total) = tx.chats().list(page.skip(), page.limit())?;
        let labelled = chats.into_iter().map(|chat| {
            let labels = tx.chats().labels_of(chat.chat.id)?;
            Ok((chat, labels))
        });
        Ok::<_, store::Error>((labelled.collect::<Result<Vec<_>, store::Error>>()?, total))
    });
    let (chats, total) = read.await?;
    let now = app.now();
    let chats = chats.iter().map(|(chat, labels)| Value::Object(render(chat, labels, now))).collect();
    Ok(reply::ok(&page.answer("chats", chats, total)))
}

/// `GET /chats/{jid}`.
pub(super) async fn one<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    let chat = named(&jid)?;
    let now = app.now();
    let found = app
        .parts
        .store
        .read(move |tx| match tx.messages().find_chat(&chat.known_as(tx, now)?)? {
            Some(chat) => {
                let view = tx.chats().view(chat.id)?;
                let (labels, coverage) = (tx.chats().labels_of(chat.id)?, tx.history().coverage(chat.id)?);
                Ok::<_, store::Error>(view.map(|view| (view, labels, coverage)))
            }
            None => Ok(None),
        })
        .await?;
    let (view, labels, coverage) = found.ok_or(ApiError::ChatNotFound(jid))?;
    let mut body = Map::new();
    body.insert("success".into(), true.into());
    body.extend(render(&view, &labels, now));
    let Coverage { oldest, more } = coverage;
    let (id, at) = oldest.map(|(id, at)| (id, at.rfc3339())).unzip();
    body.insert(
        "history".into(),
        json!({ "oldest_message_id": id, "oldest_message_at": at, "complete": more.map(|more| !more) }),
    );
    Ok(reply::ok(&Value::Object(body)))
}

/// The members of the contract, `unread`, `locked` and the ids of the labels on it.
fn render(view: &ChatView, labels: &[String], now: Millis) -> Map<String, Value> {
    let jid = &view.chat.jid;
    let lid = [Some(jid), view.chat.alt.as_ref()].into_iter().flatten().find(|jid| jid.is_lid());
    let body = json!({
        "jid": jid.to_wire(),
        "phone": jid.is_pn().then(|| jid.user().to_owned()),
        "lid": lid.map(Jid::to_wire),
        "name": view.name,
        "is_group": jid.is_group(),
        "unread_count": view.unread_count,
        "unread": view.marked_unread || view.unread_count > 0,
        "last_message_at": view.last_message_at.map(Millis::rfc3339),
        "archived": view.archived,
        "locked": view.locked,
        "favorite": view.favorite,
        "pinned": view.pinned,
        "muted_until": match view.muted {
            Mute::Until(until) if until > now => until.rfc3339().into(),
            Mute::Off | Mute::Until(_) => Value::Null,
            Mute::Forever => FOREVER.into(),
        },
        "is_announcement": view.announcement,
        "labels": labels,
    });
    if let Value::Object(body) = body { body } else { Map::new() }
}

/// What `muted_until` is where there is no end.
const FOREVER: &str = "forever";

/// `PATCH /chats/{jid}`: `archived`, `pinned`, `muted_until`, `unread`, `locked`, `favorite`; what is not given stays.
pub(super) async fn change<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let chat = chat_in(&jid, &mut faults);
    let archived = fields::switch(&body.members, "archived", &mut faults);
    let pinned = fields::switch(&body.members, "pinned", &mut faults);
    let unread = fields::switch(&body.members, "unread", &mut faults);
    let locked = fields::switch(&body.members, "locked", &mut faults);
    let favorite = fields::switch(&body.members, "favorite", &mut faults);
    let muted = muted_until(&body.members, app.now(), &mut faults);
    const FIELDS: [&str; 6] = ["archived", "pinned", "muted_until", "unread", "locked", "favorite"];
    if !FIELDS.iter().any(|field| body.members.contains_key(*field)) {
        let wrong = "At least one of archived, pinned, muted_until, unread, locked and favorite is required.";
        FIELDS.iter().for_each(|field| faults.add(field, wrong));
    }
    if archived == Some(true) && pinned == Some(true) {
        faults.add("pinned", "An archived chat cannot be pinned.");
    }
    faults.check()?;
    let Some(chat) = chat else { return Err(ApiError::Internal) };
    if let Some(on) = locked {
        app.parts.instance.change(StateChange::LockChat { chat: chat.clone(), on }).await?;
    }
    if let Some(on) = favorite {
        app.parts.instance.change(StateChange::Favorite { chat: chat.clone(), on }).await?;
    }
    if archived.is_some() || pinned.is_some() || muted.is_some() || unread.is_some() {
        app.parts.instance.change(StateChange::Chat { chat, archived, pinned, muted, unread }).await?;
    }
    Ok(reply::done("Chat updated successfully"))
}

/// A time to come, `forever`, or null for a chat that is to be heard again.
fn muted_until(members: &Map<String, Value>, now: Millis, faults: &mut Faults) -> Option<Mute> {
    let time = |text: &str| {
        let at = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
        u64::try_from(at).ok().map(Millis).filter(|at| *at > now)
    };
    let read = match members.get("muted_until")? {
        Value::Null => Some(Mute::Off),
        Value::String(word) if word == FOREVER => Some(Mute::Forever),
        Value::String(text) => time(text).map(Mute::Until),
        _ => None,
    };
    if read.is_none() {
        faults
            .add("muted_until", "The muted_until field must be a time to come (RFC 3339), forever, or null.");
    }
    read
}

/// `POST /chats/{jid}/clear`: its messages go from the own devices; the chat stays.
pub(super) async fn clear<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    app.parts.instance.change(StateChange::ClearChat { chat: named(&jid)? }).await?;
    Ok(reply::done("Chat cleared successfully"))
}

/// `DELETE /chats/{jid}`: from the own devices, with all its messages.
pub(super) async fn delete<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    app.parts.instance.change(StateChange::DeleteChat { chat: named(&jid)? }).await?;
    Ok(reply::done("Chat deleted successfully"))
}

/// `POST /messages/{id}/star`: `to`, `value`.
pub(super) async fn star<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let chat = send::recipient(&body.members, &TO, &mut faults);
    let on = fields::required_switch(&body.members, "value", &mut faults);
    faults.check()?;
    let (Some(chat), Some(on)) = (chat, on) else { return Err(ApiError::Internal) };
    app.parts.instance.change(StateChange::Star { chat, id, on }).await?;
    Ok(reply::done(if on { "Message starred successfully" } else { "Message unstarred successfully" }))
}

/// `DELETE /messages/{id}?for=me`: from the own devices.
pub(super) async fn delete_for_me<I: Instance>(
    app: &App<I>,
    chat: Recipient,
    id: String,
) -> Result<Response, ApiError> {
    app.parts.instance.change(StateChange::DeleteForMe { chat, id }).await?;
    Ok(reply::done("Message deleted successfully"))
}

/// Whom a path names.
pub(super) fn named(jid: &str) -> Result<Recipient, ApiError> {
    let mut faults = Faults::default();
    let chat = chat_in(jid, &mut faults);
    faults.check()?;
    chat.ok_or(ApiError::Internal)
}

pub(super) fn chat_in(jid: &str, faults: &mut Faults) -> Option<Recipient> {
    let read = recipient::read(&Value::String(jid.to_owned())).and_then(Result::ok);
    if read.is_none() {
        faults.add("jid", recipient::WRONG);
    }
    read
}
