//! The user's webhook: its configuration (platform-webhooks.md §6), where every hook stands, and what can be done to it
//! (§4.4).

use std::fmt::Write as _;

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToManage, ToRead},
    body::Object,
    fields::{self, Faults},
    reply,
};
use crate::{
    clock::Millis,
    store::{
        self, Tx,
        hooks::{Change, Hook, KINDS, Kind, Lag, Letter, Pause, Place, Wanted},
        tokens::actor,
    },
};

/// Longest URL and secret, in characters (platform-webhooks.md §6).
const URL_MAX: usize = 2048;
const SECRET_MAX: usize = 255;
/// Dead letters that are listed; the rest is counted.
const LISTED: u32 = 100;
/// The documentation's other name for an event (platform-webhooks.md §8).
const ALIAS: (&str, &str) = ("message.incoming", "message.received");

/// `PUT /instances/{uuid}/webhook`: creates or changes; what is not given stays.
pub(super) async fn configure<I: Instance>(
    caller: Caller<ToManage>,
    State(app): State<App<I>>,
    Path(uuid): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    this_instance(&app, &uuid)?;
    let mut faults = Faults::default();
    let url = url(&body.members, &mut faults);
    let secret = secret(&body.members, &mut faults);
    let wanted = wanted(&body.members, &mut faults);
    let active = fields::switch(&body.members, "is_active", &mut faults);
    faults.check()?;
    let Some(url) = url else { return Err(ApiError::Internal) };
    let change = Change { url, secret, wanted, active, spare_secret: random_secret() };
    let (now, actor) = (app.now(), actor(caller.token));
    let configured = app.parts.store.write(move |tx| -> Result<_, store::Error> {
        let configured = tx.hooks().set_user(&change, now)?;
        let to = receiver(&configured.hook.url).unwrap_or_default();
        tx.audit().note(&actor, "hook.set", &format!("hook {} to {to}", configured.hook.id), now)?;
        Ok(configured)
    });
    let configured = configured.await?;
    let mut webhook = described(&configured.hook);
    if let (true, Some(secret)) = (configured.generated, configured.hook.secret) {
        webhook.insert("webhook_secret".into(), secret.into());
    }
    Ok(reply::ok(&json!({
        "success": true,
        "message": "Webhook configured successfully",
        "data": { "webhook": webhook },
    })))
}

/// `GET /instances/{uuid}/webhook`.
pub(super) async fn show<I: Instance>(
    _: Caller<ToManage>,
    State(app): State<App<I>>,
    Path(uuid): Path<String>,
) -> Result<Response, ApiError> {
    this_instance(&app, &uuid)?;
    let found = app.parts.store.read(|tx| tx.hooks().user()).await?;
    let hook = found.ok_or(ApiError::WebhookNotFound)?;
    Ok(reply::ok(&json!({ "success": true, "data": { "webhook": described(&hook) } })))
}

/// `DELETE /instances/{uuid}/webhook`: with everything it has not had.
pub(super) async fn remove<I: Instance>(
    caller: Caller<ToManage>,
    State(app): State<App<I>>,
    Path(uuid): Path<String>,
) -> Result<Response, ApiError> {
    this_instance(&app, &uuid)?;
    let removed =
        audited(&app, &caller, "hook.remove", "the user's hook".into(), |tx| tx.hooks().remove_user());
    found(removed.await?)?;
    Ok(reply::ok(&json!({ "success": true, "message": "Webhook removed successfully" })))
}

/// There is one instance here.
fn this_instance<I: Instance>(app: &App<I>, uuid: &str) -> Result<(), ApiError> {
    let ours = uuid.parse::<uuid::Uuid>().is_ok_and(|uuid| uuid == app.parts.instance_id);
    if ours { Ok(()) } else { Err(ApiError::InstanceNotFound) }
}

fn described(hook: &Hook) -> Map<String, Value> {
    Map::from_iter([
        ("webhook_url".to_owned(), hook.url.clone().into()),
        ("events".to_owned(), hook.wanted.names().into()),
        ("is_active".to_owned(), hook.active.into()),
        ("has_secret".to_owned(), hook.secret.is_some().into()),
        ("updated_at".to_owned(), hook.updated.rfc3339_secs().into()),
    ])
}

fn url(members: &Map<String, Value>, faults: &mut Faults) -> Option<String> {
    const FIELD: &str = "webhook_url";
    let text = fields::text(members, &[FIELD], faults);
    let Some(text) = text else {
        if fields::first(members, &[FIELD]).is_none_or(|value| value.as_str() == Some("")) {
            faults.add(FIELD, fields::required(FIELD));
        }
        return None;
    };
    if text.chars().count() > URL_MAX {
        faults.add(FIELD, format!("The {FIELD} field must not be longer than {URL_MAX} characters."));
        return None;
    }
    let good = reqwest::Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
    if !good {
        faults.add(FIELD, format!("The {FIELD} field must be an absolute http or https URL."));
    }
    good.then(|| text.to_owned())
}

fn secret(members: &Map<String, Value>, faults: &mut Faults) -> Option<String> {
    const FIELD: &str = "webhook_secret";
    let value = fields::first(members, &[FIELD])?;
    let good = value.as_str().filter(|text| (1..=SECRET_MAX).contains(&text.chars().count()));
    if good.is_none() {
        faults.add(FIELD, format!("The {FIELD} field must be a string of 1 to {SECRET_MAX} characters."));
    }
    good.map(str::to_owned)
}

/// The kinds named, without duplicates and in the order in which they are documented.
fn wanted(members: &Map<String, Value>, faults: &mut Faults) -> Option<Wanted> {
    const FIELD: &str = "events";
    let value = fields::first(members, &[FIELD])?;
    let Some(names) = value.as_array().filter(|names| !names.is_empty()) else {
        faults.add(FIELD, "The events field must be a list of at least one event.");
        return None;
    };
    let mut all = false;
    let mut named = [false; KINDS.len()];
    let before = faults.is_empty();
    for name in names {
        let name = name.as_str().map(|name| if name == ALIAS.0 { ALIAS.1 } else { name });
        let known = name.and_then(|name| KINDS.iter().position(|kind| *kind == name));
        match (name, known.and_then(|index| named.get_mut(index))) {
            (Some(Wanted::ALL), _) => all = true,
            (Some(_), Some(named)) => *named = true,
            (Some(name), None) => {
                let shown: String = name.chars().take(50).collect();
                faults.add(FIELD, format!("The event {shown} is not known."));
            }
            (None, _) => faults.add(FIELD, "The events field must be a list of strings."),
        }
        if faults.is_empty() != before {
            return None;
        }
    }
    let kinds = KINDS.iter().zip(named).filter(|(_, named)| *named).map(|(kind, _)| (*kind).to_owned());
    Some(if all { Wanted::All } else { Wanted::Kinds(kinds.collect()) })
}

/// 64 hex characters (platform-webhooks.md §4.2).
fn random_secret() -> String {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes);
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A hook, where it stands and what it has put aside.
pub(super) struct Standing {
    pub(super) hook: Hook,
    pub(super) lag: Lag,
    letters: Vec<Letter>,
    pub(super) dead: u64,
}

/// All hooks as they stand.
pub(super) fn standings(tx: &Tx<'_>, now: Millis) -> Result<Vec<Standing>, store::Error> {
    let hooks = tx.hooks();
    hooks
        .list()?
        .into_iter()
        .map(|hook| {
            let lag = if hook.active { hooks.lag(hook.id, now)? } else { Lag::default() };
            let (letters, dead) = hooks.letters(hook.id, LISTED)?;
            Ok(Standing { hook, lag, letters, dead })
        })
        .collect()
}

impl Standing {
    /// What is told of a hook: where it posts to without path and query, which may hold secrets.
    pub(super) fn described(&self) -> Map<String, Value> {
        let Self { hook, lag, dead, .. } = self;
        let time = |at: Option<Millis>| at.map(Millis::rfc3339);
        let body = json!({
            "id": hook.id,
            "kind": match hook.kind {
                Kind::Platform => "platform",
                Kind::User => "user",
            },
            "receiver": receiver(&hook.url),
            "is_active": hook.active,
            "paused": hook.paused.map(Pause::as_str),
            "cursor": hook.cursor,
            "lag": { "events": lag.events, "seconds": lag.age.as_secs() },
            "last_attempt": time(hook.last_attempt),
            "last_success": time(hook.last_success),
            "last_error": hook.last_error,
            "dead_letters": dead,
        });
        if let Value::Object(body) = body { body } else { Map::new() }
    }
}

fn receiver(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    let host = url.host_str()?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{host}{port}", url.scheme()))
}

/// `GET /webhooks`: every hook, the platform's too.
pub(super) async fn list<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
) -> Result<Response, ApiError> {
    let now = app.now();
    let standings = app.parts.store.read(move |tx| standings(tx, now)).await?;
    let rows: Vec<_> = standings
        .iter()
        .map(|standing| {
            let mut row = standing.described();
            row.insert("dead".into(), standing.letters.iter().map(letter).collect());
            Value::Object(row)
        })
        .collect();
    Ok(reply::ok(&json!({ "success": true, "webhooks": rows })))
}

fn letter(letter: &Letter) -> Value {
    json!({
        "seq": letter.event.seq,
        "type": letter.event.kind,
        "timestamp": letter.event.at.rfc3339(),
        "put_aside_at": letter.aside.rfc3339(),
        "attempts": letter.attempts,
        "error": letter.error,
    })
}

/// `POST /webhooks/{id}/pause`.
pub(super) async fn pause<I: Instance>(
    caller: Caller<ToManage>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = number(&id)?;
    let done = audited(&app, &caller, "hook.pause", format!("hook {id}"), move |tx| {
        tx.hooks().pause(id, Pause::Requested)
    });
    found(done.await?)?;
    Ok(reply::ok(&json!({ "success": true, "message": "Webhook paused" })))
}

/// `POST /webhooks/{id}/resume`.
pub(super) async fn resume<I: Instance>(
    caller: Caller<ToManage>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = number(&id)?;
    let done = audited(&app, &caller, "hook.resume", format!("hook {id}"), move |tx| tx.hooks().resume(id));
    found(done.await?)?;
    Ok(reply::ok(&json!({ "success": true, "message": "Webhook resumed" })))
}

/// `POST /webhooks/{id}/redeliver`: sends the dead letters once more.
pub(super) async fn redeliver<I: Instance>(
    caller: Caller<ToManage>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = number(&id)?;
    let (now, actor) = (app.now(), actor(caller.token));
    let marked = app.parts.store.write(move |tx| -> Result<_, store::Error> {
        let marked = tx.hooks().redeliver(id)?;
        if let Some(letters) = marked {
            let what = format!("hook {id}, {letters} dead letters");
            tx.audit().note(&actor, "hook.redeliver", &what, now)?;
        }
        Ok(marked)
    });
    let marked = marked.await?;
    let marked = marked.ok_or(ApiError::WebhookNotFound)?;
    Ok(reply::ok(&json!({
        "success": true,
        "message": "Dead letters are being sent again",
        "dead_letters": marked,
    })))
}

/// `POST /webhooks/{id}/rewind`: `to`, the number of an event, or a time.
pub(super) async fn rewind<I: Instance>(
    caller: Caller<ToManage>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    let id = number(&id)?;
    let mut faults = Faults::default();
    let place = match fields::first(&body.members, &["to"]) {
        None => {
            faults.add("to", fields::required("to"));
            None
        }
        Some(Value::String(text)) => Millis::parse_rfc3339(text).map(Place::Time),
        Some(value) => value.as_u64().map(Place::Seq),
    };
    if place.is_none() && faults.is_empty() {
        faults.add("to", "The to field must be the number of an event, or a time (RFC 3339).");
    }
    faults.check()?;
    let Some(place) = place else { return Err(ApiError::Internal) };
    let (now, actor) = (app.now(), actor(caller.token));
    let from = app.parts.store.write(move |tx| -> Result<_, store::Error> {
        let from = tx.hooks().rewind(id, place)?;
        if let Some(from) = from {
            tx.audit().note(&actor, "hook.rewind", &format!("hook {id} to event {from}"), now)?;
        }
        Ok(from)
    });
    let from = from.await?;
    let from = from.ok_or(ApiError::WebhookNotFound)?;
    Ok(reply::ok(&json!({ "success": true, "message": "Webhook rewound", "from": from })))
}

/// Does something to a hook and notes who did, if there was something to do it to.
async fn audited<I: Instance>(
    app: &App<I>,
    caller: &Caller<ToManage>,
    action: &'static str,
    detail: String,
    work: impl FnOnce(&mut Tx<'_>) -> Result<bool, store::Error> + Send + 'static,
) -> Result<bool, store::Error> {
    let (now, actor) = (app.now(), actor(caller.token));
    let done = app.parts.store.write(move |tx| {
        let done = work(tx)?;
        if done {
            tx.audit().note(&actor, action, &detail, now)?;
        }
        Ok(done)
    });
    done.await
}

fn number(id: &str) -> Result<i64, ApiError> {
    id.parse().map_err(|_| ApiError::WebhookNotFound)
}

fn found(found: bool) -> Result<(), ApiError> {
    if found { Ok(()) } else { Err(ApiError::WebhookNotFound) }
}
