//! `/newsletters` (channels): listed, made, looked at, followed, silenced, read and posted to (instance-api.md §10).
//! Posts are told apart by the id of the message or by their number in the newsletter, `server_id`.

use axum::{
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    ApiError, App, Instance,
    asked::{Area, Bare, ask, shape},
    auth::{Caller, ToRead, ToSend},
    body::Object,
    fields::{self, Faults},
    kinds, media,
    reply::{self, success, with_success},
    send::{self, Common},
};
use crate::{
    account::{
        AskError, Body as Said, NewsletterAnswer, NewsletterCommand, NewsletterName, PostName, Recipient,
    },
    clock::Millis,
    daemon::media::SendMedia,
    media::MediaType,
    wire::{Jid, Server},
};

/// Longest name and description, in characters.
const NAME_MAX: usize = 100;
const DESCRIPTION_MAX: usize = 2_048;
/// Longest post, in characters.
const TEXT_MAX: usize = 4_096;
/// Posts in one answer, and in one report of views.
const POSTS_MAX: u32 = 100;
/// Longest id of a message that is looked for.
const ID_MAX: usize = 128;

impl Area for NewsletterCommand {
    fn refused(error: AskError) -> ApiError {
        match error {
            AskError::NotConnected(status) => ApiError::NotConnected(status),
            AskError::Unknown => ApiError::NewsletterNotFound,
            AskError::Refused(code) => ApiError::NewsletterRefused(code),
            AskError::Internal => ApiError::Internal,
        }
    }

    fn is_done(told: &NewsletterAnswer) -> bool {
        *told == NewsletterAnswer::Done
    }
}

/// The newsletter in the path: its address, or the digits of it; what is none is not found.
fn newsletter_id(text: &str) -> Result<Jid, ApiError> {
    let user = text.trim().strip_suffix("@newsletter").unwrap_or(text.trim());
    let digits = (10..=25).contains(&user.len()) && user.bytes().all(|byte| byte.is_ascii_digit());
    if digits { Ok(Jid::new(user, Server::Newsletter)) } else { Err(ApiError::NewsletterNotFound) }
}

/// A post: up to ten digits are its number, anything else the id of its message.
fn post_name(text: &str) -> Option<PostName> {
    let number = text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit());
    match number.then(|| text.parse()) {
        Some(Ok(number)) => Some(PostName::Number(number)),
        _ if (1..=ID_MAX).contains(&text.len()) => Some(PostName::Message(text.to_owned())),
        _ => None,
    }
}

/// A text of so many characters at most, not blank.
fn limited(
    members: &Map<String, Value>,
    field: &'static str,
    most: usize,
    required: bool,
    faults: &mut Faults,
) -> Option<String> {
    match fields::first(members, &[field]) {
        None => {}
        Some(Value::String(text)) if text.trim().is_empty() => {}
        Some(Value::String(text)) if text.chars().count() <= most => return Some(text.clone()),
        Some(_) => {
            faults.add(field, format!("The {field} field must be a string of at most {most} characters."));
            return None;
        }
    }
    if required {
        faults.add(field, fields::required(field));
    }
    None
}

/// `GET /newsletters`: those that the account follows or runs.
pub(super) async fn list<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
) -> Result<Response, ApiError> {
    let all = shape!(ask(&app, NewsletterCommand::List).await?, NewsletterAnswer::Newsletters(all) => all);
    let shown: Vec<Value> = all.iter().map(|one| Value::Object(one.shown())).collect();
    Ok(success(json!({ "newsletters": shown, "total": shown.len() })))
}

/// `POST /newsletters`: `name`, `description?`.
pub(super) async fn create<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let name = limited(&body.members, "name", NAME_MAX, true, &mut faults);
    let description = limited(&body.members, "description", DESCRIPTION_MAX, false, &mut faults);
    faults.check()?;
    let Some(name) = name else { return Err(ApiError::Internal) };
    let answer = ask(&app, NewsletterCommand::Create { name, description }).await?;
    let made = shape!(answer, NewsletterAnswer::Newsletter(made) => made);
    let shown = json!({ "message": "Newsletter created successfully", "newsletter": made.shown() });
    Ok(reply::json(StatusCode::CREATED, &with_success(shown)))
}

/// `GET /newsletters/{jid}`.
pub(super) async fn info<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    shown(&app, NewsletterName::Jid(newsletter_id(&jid)?)).await
}

/// `GET /newsletters/invite/{code}`: what a link leads to.
pub(super) async fn invite_info<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(code): Path<String>,
) -> Result<Response, ApiError> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !(8..=64).contains(&code.len()) || !code.chars().all(good) {
        return Err(ApiError::NewsletterNotFound);
    }
    shown(&app, NewsletterName::Invite(code)).await
}

async fn shown<I: Instance>(app: &App<I>, name: NewsletterName) -> Result<Response, ApiError> {
    let answer = ask(app, NewsletterCommand::Info(name)).await?;
    let found = shape!(answer, NewsletterAnswer::Newsletter(found) => found);
    Ok(success(Value::Object(found.shown())))
}

/// `PATCH /newsletters/{jid}`: `name`, `description`.
pub(super) async fn change<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let name = limited(&body.members, "name", NAME_MAX, false, &mut faults);
    // An empty description takes the present one away.
    let description = match fields::first(&body.members, &["description"]) {
        Some(Value::String(text)) if text.is_empty() => Some(String::new()),
        _ => limited(&body.members, "description", DESCRIPTION_MAX, false, &mut faults),
    };
    if name.is_none() && description.is_none() && faults.is_empty() {
        faults.add("name", "At least one of name, description is required.");
    }
    faults.check()?;
    let command = NewsletterCommand::Update { newsletter: newsletter_id(&jid)?, name, description };
    let changed = shape!(ask(&app, command).await?, NewsletterAnswer::Newsletter(changed) => changed);
    let mut body = changed.shown();
    body.insert("message".into(), "Newsletter updated successfully".into());
    Ok(success(Value::Object(body)))
}

/// `DELETE /newsletters/{jid}`.
pub(super) fn delete(jid: String) -> Bare<NewsletterCommand> {
    Ok((NewsletterCommand::Delete(newsletter_id(&jid)?), "Newsletter deleted"))
}

/// `POST /newsletters/{jid}/follow`.
pub(super) fn follow(jid: String) -> Bare<NewsletterCommand> {
    Ok((NewsletterCommand::Follow(newsletter_id(&jid)?, true), "Newsletter followed"))
}

/// `DELETE /newsletters/{jid}/follow`.
pub(super) fn unfollow(jid: String) -> Bare<NewsletterCommand> {
    Ok((NewsletterCommand::Follow(newsletter_id(&jid)?, false), "Newsletter unfollowed"))
}

/// `POST /newsletters/{jid}/mute`.
pub(super) fn mute(jid: String) -> Bare<NewsletterCommand> {
    Ok((NewsletterCommand::Mute(newsletter_id(&jid)?, true), "Newsletter muted"))
}

/// `DELETE /newsletters/{jid}/mute`.
pub(super) fn unmute(jid: String) -> Bare<NewsletterCommand> {
    Ok((NewsletterCommand::Mute(newsletter_id(&jid)?, false), "Newsletter unmuted"))
}

/// `POST /newsletters/{jid}/live`: reactions and views are told as events for so many seconds.
pub(super) async fn live<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    let answer = ask(&app, NewsletterCommand::Live(newsletter_id(&jid)?)).await?;
    let seconds = shape!(answer, NewsletterAnswer::Live(seconds) => seconds);
    Ok(success(json!({ "message": "Live updates started", "seconds": seconds })))
}

/// Which posts.
#[derive(Deserialize)]
pub(super) struct Part {
    count: Option<String>,
    before: Option<String>,
    since: Option<String>,
}

/// `GET /newsletters/{jid}/messages`: `count` (20), and `before` a message id or number, or `since` a time: what is new or
/// has other numbers since then. Newest first.
pub(super) async fn posts<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    Query(part): Query<Part>,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let count = match &part.count {
        None => Some(20),
        Some(text) => text.parse().ok().filter(|count| (1..=POSTS_MAX).contains(count)),
    };
    if count.is_none() {
        faults.add("count", format!("The count field must be a whole number from 1 to {POSTS_MAX}."));
    }
    let before = part.before.as_deref().map(post_name);
    if before == Some(None) {
        faults.add("before", "The before field must be the id or the server_id of a message.");
    }
    let since = part.since.as_deref().map(Millis::parse_rfc3339);
    match since {
        Some(None) => faults.add("since", "The since field must be a time as of RFC 3339, with its offset."),
        Some(Some(_)) if before.is_some() => {
            faults.add("since", "The since field is not taken beside before.");
        }
        _ => {}
    }
    faults.check()?;
    let command = NewsletterCommand::Posts {
        newsletter: newsletter_id(&jid)?,
        count: count.unwrap_or(20),
        before: before.flatten(),
        since: since.flatten(),
    };
    let mut posts = shape!(ask(&app, command).await?, NewsletterAnswer::Posts(posts) => posts);
    posts.reverse();
    Ok(success(json!({ "messages": posts, "total": posts.len() })))
}

/// `POST /newsletters/{jid}/messages`: `message`, or a file as for `/send-media`.
pub(super) async fn post<I: Instance>(
    caller: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    let mut form = media::form(&app, &headers, request).await?;
    let newsletter = Recipient::Jid(newsletter_id(&jid)?);
    let mut faults = Faults::default();
    let members = &form.object.members;
    let common = Common::for_status(&caller, &headers, &form.object, newsletter, &mut faults);
    let with_file = form.file.is_some() || fields::first(members, &media::SOURCES).is_some();
    if !with_file {
        let text = limited(members, "message", TEXT_MAX, true, &mut faults);
        faults.check()?;
        let Some(text) = text else { return Err(ApiError::Internal) };
        return send::send(&app, common.with(Said::Text(text)), "Posted successfully").await;
    }
    if fields::first(members, &["message"]).is_some() {
        faults.add(
            "message",
            "The message field is not taken beside a file; what stands beside it is the caption.",
        );
    }
    let (media_type, sticker) = media::kind(members, &mut faults);
    let caption = media::caption(members, &mut faults);
    let file_name = fields::text(members, &["filename"], &mut faults).map(str::to_owned);
    let source = media::source(&app, members, form.file.take(), &mut faults)?;
    faults.check()?;
    let (Some(media_type), Some(source)) = (media_type, source) else { return Err(ApiError::Internal) };
    let send = SendMedia {
        message: common.with(Said::Text(String::new())),
        source,
        media_type,
        sticker,
        caption,
        file_name: file_name.filter(|_| media_type == MediaType::Document),
        voice: None,
        gif: false,
        round: false,
        view_once: false,
    };
    let sent = app.parts.instance.send_media(send).await?;
    Ok(send::answer(&sent, "Posted successfully"))
}

/// `POST /newsletters/{jid}/messages/{id}/reaction`: `emoji`; `""` takes the reaction back.
pub(super) async fn react<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path((jid, id)): Path<(String, String)>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let emoji = kinds::emoji(&body.members, &mut faults);
    faults.check()?;
    let Some(emoji) = emoji else { return Err(ApiError::Internal) };
    let newsletter = newsletter_id(&jid)?;
    let post = post_name(&id).ok_or_else(|| ApiError::MessageNotFound(id.clone()))?;
    let command = NewsletterCommand::React { newsletter, post, emoji };
    match app.parts.instance.ask(command).await {
        Ok(_) => Ok(reply::done("Reaction sent successfully")),
        Err(AskError::Unknown) => Err(ApiError::MessageNotFound(id)),
        Err(error) => Err(NewsletterCommand::refused(error)),
    }
}

/// `POST /newsletters/{jid}/views`: `message_ids`, ids or numbers of posts that were looked at.
pub(super) async fn views<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let one = |value: &Value| match value {
        Value::String(text) => post_name(text),
        Value::Number(number) => number.as_u64().map(PostName::Number),
        _ => None,
    };
    let most = usize::try_from(POSTS_MAX).unwrap_or(usize::MAX);
    let list = fields::first(&body.members, &["message_ids"]).and_then(Value::as_array);
    let list = list.filter(|list| (1..=most).contains(&list.len()));
    let posts = list.and_then(|list| list.iter().map(one).collect::<Option<Vec<_>>>());
    if posts.is_none() {
        faults.add(
            "message_ids",
            format!("The message_ids field must be a list of 1 to {POSTS_MAX} ids or numbers of messages."),
        );
    }
    faults.check()?;
    let command =
        NewsletterCommand::Viewed { newsletter: newsletter_id(&jid)?, posts: posts.unwrap_or_default() };
    match app.parts.instance.ask(command).await {
        Ok(_) => Ok(reply::done("Views reported")),
        Err(AskError::Unknown) => Err(ApiError::MessageNotFound(String::new())),
        Err(error) => Err(NewsletterCommand::refused(error)),
    }
}
