//! `/quick-replies`: texts that the account's user keeps for answers, on all its devices.

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
};
use crate::{
    account::{StateChange, Status},
    store::quick_replies::QuickReply,
};

/// Longest shortcut and text, in characters, and most keywords and the longest of them.
const SHORTCUT_MAX: usize = 100;
const MESSAGE_MAX: usize = 4_096;
const KEYWORDS_MAX: usize = 10;
const KEYWORD_MAX: usize = 50;

fn render(one: &QuickReply) -> Value {
    json!({
        "id": one.id,
        "shortcut": one.shortcut,
        "message": one.message,
        "keywords": one.keywords,
        "used": one.used,
    })
}

async fn find<I: Instance>(app: &App<I>, id: &str) -> Result<QuickReply, ApiError> {
    let wanted = id.to_owned();
    let found = app.parts.store.read(move |tx| tx.quick_replies().find(&wanted)).await?;
    found.ok_or_else(|| ApiError::QuickReplyNotFound(id.to_owned()))
}

/// `GET /quick-replies`.
pub(super) async fn list<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
) -> Result<Response, ApiError> {
    let replies = app.parts.store.read(|tx| tx.quick_replies().list()).await?;
    let shown: Vec<Value> = replies.iter().map(render).collect();
    Ok(reply::ok(&json!({ "success": true, "quick_replies": shown, "total": replies.len() })))
}

/// `GET /quick-replies/{id}`.
pub(super) async fn one<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let mut body = Map::from_iter([("success".to_owned(), true.into())]);
    if let Value::Object(members) = render(&find(&app, &id).await?) {
        body.extend(members);
    }
    Ok(reply::ok(&Value::Object(body)))
}

/// `POST /quick-replies`: `shortcut`, `message`, `keywords?`.
pub(super) async fn create<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let given = Given::read(&body.members, &mut faults);
    for name in ["shortcut", "message"] {
        if fields::first(&body.members, &[name]).is_none() {
            faults.add(name, fields::required(name));
        }
    }
    faults.check()?;
    let status = app.parts.instance.link().borrow().status;
    if matches!(status, Status::QrReady | Status::Disconnected) {
        return Err(ApiError::NotConnected(status));
    }
    let now = app.now();
    let id = app.parts.store.write(move |tx| tx.quick_replies().take_id(now)).await?;
    let made = given.over(QuickReply { id, ..QuickReply::default() });
    keep(&app, &made, false).await?;
    let body = json!({
        "success": true,
        "message": "Quick reply created successfully",
        "quick_reply": render(&made),
    });
    Ok(reply::json(StatusCode::CREATED, &body))
}

/// `PATCH /quick-replies/{id}`: what is not given stays.
pub(super) async fn change<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let given = Given::read(&body.members, &mut faults);
    const FIELDS: [&str; 3] = ["shortcut", "message", "keywords"];
    if fields::first(&body.members, &FIELDS).is_none() {
        let wrong = "At least one of shortcut, message, keywords is required.";
        FIELDS.iter().for_each(|field| faults.add(field, wrong));
    }
    faults.check()?;
    let changed = given.over(find(&app, &id).await?);
    keep(&app, &changed, false).await?;
    let body = json!({
        "success": true,
        "message": "Quick reply updated successfully",
        "quick_reply": render(&changed),
    });
    Ok(reply::ok(&body))
}

/// `DELETE /quick-replies/{id}`.
pub(super) async fn delete<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    keep(&app, &find(&app, &id).await?, true).await?;
    Ok(reply::ok(&json!({ "success": true, "message": "Quick reply deleted successfully" })))
}

async fn keep<I: Instance>(app: &App<I>, reply: &QuickReply, deleted: bool) -> Result<(), ApiError> {
    let change = StateChange::QuickReply { reply: reply.clone(), deleted };
    Ok(app.parts.instance.change(change).await?)
}

/// What a request says.
struct Given {
    shortcut: Option<String>,
    message: Option<String>,
    keywords: Option<Vec<String>>,
}

impl Given {
    fn read(members: &Map<String, Value>, faults: &mut Faults) -> Self {
        let shortcut = text(members, "shortcut", SHORTCUT_MAX, faults);
        let message = text(members, "message", MESSAGE_MAX, faults);
        let keywords = fields::first(members, &["keywords"]).and_then(|given| {
            let word = |word: &Value| {
                let word = word.as_str()?.trim();
                (1..=KEYWORD_MAX).contains(&word.chars().count()).then(|| word.to_owned())
            };
            let list = given.as_array().filter(|list| list.len() <= KEYWORDS_MAX);
            let words = list.and_then(|list| list.iter().map(word).collect::<Option<Vec<String>>>());
            if words.is_none() {
                faults.add(
                    "keywords",
                    format!(
                        "The keywords field must be a list of at most {KEYWORDS_MAX} strings of 1 to {KEYWORD_MAX} \
                         characters."
                    ),
                );
            }
            words
        });
        Self { shortcut, message, keywords }
    }

    fn over(self, known: QuickReply) -> QuickReply {
        QuickReply {
            shortcut: self.shortcut.unwrap_or(known.shortcut),
            message: self.message.unwrap_or(known.message),
            keywords: self.keywords.unwrap_or(known.keywords),
            ..known
        }
    }
}

fn text(
    members: &Map<String, Value>,
    field: &'static str,
    longest: usize,
    faults: &mut Faults,
) -> Option<String> {
    let given = fields::first(members, &[field])?;
    let text = given.as_str().map(str::trim).filter(|text| (1..=longest).contains(&text.chars().count()));
    if text.is_none() {
        faults.add(field, format!("The {field} field must be a string of 1 to {longest} characters."));
    }
    text.map(str::to_owned)
}
