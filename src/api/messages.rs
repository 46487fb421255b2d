//! Reading: one message with what became of it, the messages of a chat, a search, the tally of a poll; and voting.

use axum::{
    extract::{Path, Query, State},
    http::HeaderMap,
    response::Response,
};
use serde_json::{Value, json};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToRead, ToSend},
    body::Object,
    fields::{self, Faults},
    query::{self, Paging, Pairs},
    recipient, reply,
    send::{self, Common, TO},
};
use crate::{
    account::{Body, Recipient, Viewer},
    store::{
        Tx,
        messages::{Chat, Edge, Message},
    },
    wire::Jid,
};

/// Longest search, in characters.
const WORDS_MAX: usize = 255;

/// What stops a reading that has begun.
enum Missing {
    Message(String),
    Store,
}

impl From<crate::store::Error> for Missing {
    fn from(error: crate::store::Error) -> Self {
        tracing::error!(%error, "stored messages could not be read");
        Self::Store
    }
}

impl From<Missing> for ApiError {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Message(id) => Self::MessageNotFound(id),
            Missing::Store => Self::Internal,
        }
    }
}

/// `GET /messages/{id}`; with `to`, the one of that chat; with `trace`, what happened to it.
pub(super) async fn one<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
    Query(query): Pairs,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let traced = query::switch(&query, "trace", &mut faults);
    faults.check()?;
    let look = move |viewer: &Viewer<'_>, message: &Message| {
        let mut view = viewer.message(message)?;
        if traced {
            view.insert("trace".into(), viewer.trace(message)?);
        }
        Ok(view)
    };
    let mut view = look_at(&app, id, &query, look).await?;
    view.shift_insert(0, "success".into(), true.into());
    Ok(reply::ok(&Value::Object(view)))
}

/// `GET /messages/search?q=`: what was written, newest first; with `to`, in that chat.
pub(super) async fn search<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Query(query): Pairs,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let paging = Paging::read(&query, &mut faults);
    let chat = chat_of(&query, "to", &mut faults);
    let words = query::value(&query, "q").map(str::trim).filter(|words| !words.is_empty());
    match words {
        None => faults.add("q", "The q parameter is required."),
        Some(words) if words.chars().count() > WORDS_MAX => {
            faults.add("q", format!("The q parameter must not be longer than {WORDS_MAX} characters."));
        }
        Some(_) => {}
    }
    faults.check()?;
    let words = words.unwrap_or_default().to_owned();
    let (url, now) = (app.parts.public_url.clone(), app.now());
    let answer = app.parts.store.read(move |tx| {
        let chat = match &chat {
            None => None,
            Some(with) => match tx.messages().find_chat(&with.known_as(tx, now)?)? {
                Some(chat) => Some(chat.id),
                None => return Ok(paging.answer("messages", Vec::new(), 0)),
            },
        };
        let (found, total) = tx.search().find(&words, chat, paging.limit(), paging.skip())?;
        Ok::<_, Missing>(paging.answer("messages", views(tx, &url, &found)?, total))
    });
    Ok(reply::ok(&answer.await?))
}

/// `GET /chats/{jid}/messages`: newest first, by page, or by `before` or `after` the id of one of them.
pub(super) async fn of_chat<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(with): Path<String>,
    Query(query): Pairs,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let paging = Paging::read(&query, &mut faults);
    let (before, after) = (query::value(&query, "before"), query::value(&query, "after"));
    if before.is_some() && after.is_some() {
        faults.add("after", "The before and after parameters exclude each other.");
    }
    let with = chat_named(&with, "jid", &mut faults);
    faults.check()?;
    let Some(with) = with else { return Err(ApiError::Internal) };
    let (before, after) = (before.map(str::to_owned), after.map(str::to_owned));
    let (url, now) = (app.parts.public_url.clone(), app.now());
    let answer = app.parts.store.read(move |tx| {
        let Some(chat) = tx.messages().find_chat(&with.known_as(tx, now)?)? else {
            return match before.or(after) {
                Some(id) => Err(Missing::Message(id)),
                None => Ok(paging.answer("messages", Vec::new(), 0)),
            };
        };
        let edge = before.as_ref().or(after.as_ref()).map(|id| in_chat(tx, &chat, id)).transpose()?;
        let edge =
            edge.as_ref().map(|edge| if before.is_some() { Edge::Before(edge) } else { Edge::After(edge) });
        let found = tx.messages().page(chat.id, edge, paging.limit(), paging.skip())?;
        Ok(paging.answer("messages", views(tx, &url, &found)?, tx.messages().count(chat.id)?))
    });
    Ok(reply::ok(&answer.await?))
}

/// `GET /polls/{id}`: who chose what.
pub(super) async fn poll<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
    Query(query): Pairs,
) -> Result<Response, ApiError> {
    let look = |viewer: &Viewer<'_>, message: &Message| {
        viewer.poll(message)?.ok_or_else(|| Missing::Message(message.key.wa_id.clone()))
    };
    let tally = look_at(&app, id, &query, look).await?;
    let mut answer = json!({ "success": true });
    if let (Some(members), Value::Object(tally)) = (answer.as_object_mut(), tally) {
        members.extend(tally);
    }
    Ok(reply::ok(&answer))
}

/// `POST /polls/{id}/vote`: `to`, `options`: the names chosen; none withdraws the vote.
pub(super) async fn vote<I: Instance>(
    caller: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let command = Common::read(&caller, &headers, &body, &TO, &mut faults);
    let options = fields::first(&body.members, &["options"]);
    let texts =
        |list: &Vec<Value>| list.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<_>>();
    let chosen: Option<Vec<String>> = options.and_then(Value::as_array).and_then(texts);
    match (options, &chosen) {
        (None, _) => faults.add("options", fields::required("options")),
        (Some(_), None) => faults.add("options", "The options field must be a list of texts."),
        (Some(_), Some(chosen)) => {
            if let Some(wrong) = unfit(&app, &id, chosen.clone()).await? {
                faults.add("options", wrong);
            }
        }
    }
    faults.check()?;
    let (Some(options), Some(command)) = (chosen, command) else { return Err(ApiError::Internal) };
    send::send(&app, command.with(Body::Vote { id, options }), "Vote sent successfully").await
}

/// Why these cannot be chosen in that poll. A poll that is not known is the instance's to answer for.
async fn unfit<I: Instance>(app: &App<I>, id: &str, chosen: Vec<String>) -> Result<Option<String>, ApiError> {
    let id = id.to_owned();
    let tally = app.parts.store.read(move |tx| match tx.messages().find_anywhere(&id)? {
        Some(message) => Ok::<_, Missing>(Viewer::new(tx, "")?.poll(&message)?),
        None => Ok(None),
    });
    let Some(tally) = tally.await? else { return Ok(None) };
    let names: Vec<&str> = tally["options"]
        .as_array()
        .map(|options| options.iter().filter_map(|option| option["name"].as_str()).collect())
        .unwrap_or_default();
    if let Some(wrong) = chosen.iter().find(|one| !names.contains(&one.as_str())) {
        return Ok(Some(format!("The poll has no option \"{wrong}\".")));
    }
    let single = tally["multiple"] == json!(false);
    Ok((single && chosen.len() > 1).then(|| "The poll takes one option only.".to_owned()))
}

/// What there is to see of a message; with `to` in the query, of the one in that chat.
async fn look_at<I: Instance, T: Send + 'static>(
    app: &App<I>,
    id: String,
    query: &[(String, String)],
    look: impl FnOnce(&Viewer<'_>, &Message) -> Result<T, Missing> + Send + 'static,
) -> Result<T, ApiError> {
    let mut faults = Faults::default();
    let chat = chat_of(query, "to", &mut faults);
    faults.check()?;
    let (url, now) = (app.parts.public_url.clone(), app.now());
    let seen = app.parts.store.read(move |tx| {
        let chat = chat.map(|chat| chat.known_as(tx, now)).transpose()?;
        let message = find(tx, &id, chat.as_ref())?;
        look(&Viewer::new(tx, &url)?, &message)
    });
    Ok(seen.await?)
}

fn find(tx: &Tx<'_>, id: &str, with: Option<&Jid>) -> Result<Message, Missing> {
    let unknown = || Missing::Message(id.to_owned());
    let message = match with {
        None => tx.messages().find_anywhere(id)?.ok_or_else(unknown)?,
        Some(with) => in_chat(tx, &tx.messages().find_chat(with)?.ok_or_else(unknown)?, id)?,
    };
    // Deleted for the account alone: its row stays for whoever could not decrypt it yet.
    let (_, deleted) = tx.chats().marks(message.id)?;
    if deleted { Err(unknown()) } else { Ok(message) }
}

fn in_chat(tx: &Tx<'_>, chat: &Chat, id: &str) -> Result<Message, Missing> {
    tx.messages().find_in_chat(chat.id, id)?.ok_or_else(|| Missing::Message(id.to_owned()))
}

fn views(tx: &Tx<'_>, url: &str, messages: &[Message]) -> Result<Vec<Value>, Missing> {
    let viewer = Viewer::new(tx, url)?;
    messages.iter().map(|message| Ok(Value::Object(viewer.message(message)?))).collect()
}

/// The chat that a query names, if it names one.
fn chat_of(query: &[(String, String)], name: &str, faults: &mut Faults) -> Option<Recipient> {
    chat_named(query::value(query, name)?, name, faults)
}

fn chat_named(text: &str, name: &str, faults: &mut Faults) -> Option<Recipient> {
    let read = recipient::read(&Value::from(text)).and_then(Result::ok);
    if read.is_none() {
        faults.add(name, recipient::WRONG);
    }
    read
}
