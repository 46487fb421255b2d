//! `POST /send-message`.

use std::time::Duration;

use axum::{
    extract::{FromRequest, FromRequestParts as _, Request, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToSend},
    body::Object,
    fields::{self, Faults},
    recipient, reply,
};
use crate::{
    account::{Body, Recipient, SendMessage, Sent},
    clock::Millis,
    store::access::IdempotencyKey,
    wire::Jid,
};

/// Longest text, in characters (instance-api.md §7.1).
const TEXT_MAX: usize = 65_536;
/// Longest `Idempotency-Key`, in characters.
const KEY_MAX: usize = 255;
/// How far ahead a send may be put (instance-api.md §10).
const AHEAD_MAX: Duration = Duration::from_hours(366 * 24);

/// Sends one text; answers once WhatsApp has taken it, or earlier as the contract allows.
pub(super) async fn message<I: Instance>(
    caller: Caller<ToSend>,
    State(app): State<App<I>>,
    headers: HeaderMap,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let command = Common::read(&caller, &headers, &body, &RECIPIENT, &mut faults);
    let text = text(&body.members, &mut faults);
    let linked = fields::switch(&body.members, "link_preview", &mut faults).unwrap_or(false);
    faults.check()?;
    let (Some(text), Some(command)) = (text, command) else { return Err(ApiError::Internal) };
    let command = command.with(Body::Text(text));
    if linked {
        let sent = app.parts.instance.send_linked(command).await?;
        return Ok(answer(&sent, "Message sent successfully"));
    }
    send(&app, command, "Message sent successfully").await
}

/// The text of a message: not blank, and not longer than a message may be.
pub(super) fn text(members: &Map<String, Value>, faults: &mut Faults) -> Option<String> {
    match fields::first(members, &["message"]) {
        Some(Value::String(text)) if text.trim().is_empty() => {
            faults.add("message", fields::required("message"));
            None
        }
        Some(Value::String(text)) if text.chars().count() > TEXT_MAX => {
            let wrong = format!("The message field must not be longer than {TEXT_MAX} characters.");
            faults.add("message", wrong);
            None
        }
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => {
            faults.add("message", "The message field must be a string.");
            None
        }
        None => {
            faults.add("message", fields::required("message"));
            None
        }
    }
}

/// Names under which a recipient may stand, the canonical one first (instance-api.md §6).
pub(super) const RECIPIENT: [&str; 3] = ["recipient", "number", "to"];
/// The same where the documentation says `to`.
pub(super) const TO: [&str; 3] = ["to", "recipient", "number"];

/// What every send takes beside its body.
pub(super) struct Common {
    recipient: Recipient,
    reply_to: Option<String>,
    mentions: Vec<Jid>,
    idempotency: Option<IdempotencyKey>,
    respond_async: bool,
    send_at: Option<Millis>,
}

impl Common {
    /// `None` only with a fault.
    pub(super) fn read(
        caller: &Caller<ToSend>,
        headers: &HeaderMap,
        body: &Object,
        names: &[&'static str],
        faults: &mut Faults,
    ) -> Option<Self> {
        let recipient = recipient(&body.members, names, faults);
        Self::to(recipient, caller, headers, body, faults)
    }

    /// The same for what changes a message that exists: a post of a newsletter is one.
    pub(super) fn of_message(
        caller: &Caller<ToSend>,
        headers: &HeaderMap,
        body: &Object,
        faults: &mut Faults,
    ) -> Option<Self> {
        let recipient = recipient_read(recipient::of_message, &body.members, &TO, faults);
        Self::to(recipient, caller, headers, body, faults)
    }

    fn to(
        recipient: Option<Recipient>,
        caller: &Caller<ToSend>,
        headers: &HeaderMap,
        body: &Object,
        faults: &mut Faults,
    ) -> Option<Self> {
        let reply_to = fields::text(&body.members, &["reply_to", "quoted_message_id"], faults);
        let mentions = mentions(&body.members, faults);
        let idempotency = idempotency(caller.token, headers, body, faults);
        let send_at = send_at(&body.members, caller.now, faults);
        Some(Self {
            recipient: recipient?,
            reply_to: reply_to.map(str::to_owned),
            mentions,
            idempotency,
            respond_async: prefers_async(headers),
            send_at,
        })
    }

    /// The same of one of many; when it leaves, the batch decides.
    pub(super) fn of_many(
        members: &Map<String, Value>,
        names: &[&'static str],
        faults: &mut Faults,
    ) -> Option<Self> {
        let recipient = recipient(members, names, faults);
        let reply_to = fields::text(members, &["reply_to", "quoted_message_id"], faults);
        let mentions = mentions(members, faults);
        if fields::first(members, &["send_at"]).is_some() {
            faults.add("send_at", "The send_at field belongs to the batch, not to one of its messages.");
        }
        Some(Self {
            recipient: recipient?,
            reply_to: reply_to.map(str::to_owned),
            mentions,
            idempotency: None,
            respond_async: true,
            send_at: None,
        })
    }

    /// The same for a status: it names its people elsewhere, and quotes and mentions nobody.
    pub(super) fn for_status(
        caller: &Caller<ToSend>,
        headers: &HeaderMap,
        body: &Object,
        recipient: Recipient,
        faults: &mut Faults,
    ) -> Self {
        Self {
            recipient,
            reply_to: None,
            mentions: Vec::new(),
            idempotency: idempotency(caller.token, headers, body, faults),
            respond_async: prefers_async(headers),
            send_at: send_at(&body.members, caller.now, faults),
        }
    }

    /// When it is to leave, if not now.
    pub(super) fn send_at(&self) -> Option<Millis> {
        self.send_at
    }

    pub(super) fn with(self, body: Body) -> SendMessage {
        let Self { recipient, reply_to, mentions, idempotency, respond_async, send_at } = self;
        SendMessage { recipient, body, reply_to, mentions, idempotency, respond_async, send_at, dry: false }
    }
}

/// When it is to leave: in the future, and not further ahead than a year.
pub(super) fn send_at(members: &Map<String, Value>, now: Millis, faults: &mut Faults) -> Option<Millis> {
    let given = fields::first(members, &["send_at"])?;
    let at = given.as_str().and_then(Millis::parse_rfc3339);
    match at {
        None => faults.add("send_at", "The send_at field must be a time as of RFC 3339, with its offset."),
        Some(at) if at <= now => faults.add("send_at", "The send_at field must lie in the future."),
        Some(at) if at.since(now) > AHEAD_MAX => {
            faults.add("send_at", "The send_at field must not be further ahead than a year.");
        }
        Some(_) => {}
    }
    at
}

/// To whom; the fault goes under the canonical name.
pub(super) fn recipient(
    members: &Map<String, Value>,
    names: &[&'static str],
    faults: &mut Faults,
) -> Option<Recipient> {
    recipient_read(recipient::read, members, names, faults)
}

fn recipient_read(
    read: fn(&Value) -> Option<Result<Recipient, recipient::Wrong>>,
    members: &Map<String, Value>,
    names: &[&'static str],
    faults: &mut Faults,
) -> Option<Recipient> {
    let field = names.first().copied().unwrap_or("recipient");
    match fields::first(members, names).and_then(read) {
        Some(Ok(recipient)) => Some(recipient),
        Some(Err(recipient::Wrong)) => {
            faults.add(field, recipient::WRONG);
            None
        }
        None => {
            faults.add(field, fields::required(field));
            None
        }
    }
}

/// People named in the text: numbers or JIDs of people.
fn mentions(members: &Map<String, Value>, faults: &mut Faults) -> Vec<Jid> {
    const WRONG: &str = "The mentions field must be a list of phone numbers or ids of people.";
    let Some(value) = fields::first(members, &["mentions"]) else { return Vec::new() };
    let person = |value: &Value| match recipient::read(value) {
        Some(Ok(Recipient::Number(digits))) => Some(Jid::pn(digits)),
        Some(Ok(Recipient::Jid(jid))) if jid.is_user() => Some(jid),
        _ => None,
    };
    let people = value.as_array().and_then(|list| list.iter().map(person).collect::<Option<Vec<_>>>());
    people.unwrap_or_else(|| {
        faults.add("mentions", WRONG);
        Vec::new()
    })
}

/// A request to send something: who asks, and what it says. Extracted in the order of the checks.
pub(super) struct Sending<I> {
    app: App<I>,
    caller: Caller<ToSend>,
    headers: HeaderMap,
    body: Object,
}

impl<I: Instance> FromRequest<App<I>> for Sending<I> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App<I>) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, app).await?;
        let headers = parts.headers.clone();
        let body = Object::from_request(Request::from_parts(parts, body), app).await?;
        Ok(Self { app: app.clone(), caller, headers, body })
    }
}

impl<I: Instance> Sending<I> {
    /// Sends what `read` makes of the body's members; it notes their faults, and makes nothing of faulty ones. `done` is the
    /// answer's `message` when WhatsApp has had its say.
    pub(super) async fn say(
        self,
        read: impl FnOnce(&Map<String, Value>, &mut Faults) -> Option<Body>,
        done: &str,
    ) -> Result<Response, ApiError> {
        let mut faults = Faults::default();
        let command = Common::read(&self.caller, &self.headers, &self.body, &TO, &mut faults);
        self.hand_on(command, faults, read, done).await
    }

    /// The same about a message that exists.
    pub(super) async fn change(
        self,
        read: impl FnOnce(&Map<String, Value>, &mut Faults) -> Option<Body>,
        done: &str,
    ) -> Result<Response, ApiError> {
        let mut faults = Faults::default();
        let command = Common::of_message(&self.caller, &self.headers, &self.body, &mut faults);
        self.hand_on(command, faults, read, done).await
    }

    async fn hand_on(
        self,
        command: Option<Common>,
        mut faults: Faults,
        read: impl FnOnce(&Map<String, Value>, &mut Faults) -> Option<Body>,
        done: &str,
    ) -> Result<Response, ApiError> {
        let said = read(&self.body.members, &mut faults);
        faults.check()?;
        let (Some(said), Some(command)) = (said, command) else { return Err(ApiError::Internal) };
        send(&self.app, command.with(said), done).await
    }
}

/// Hands a send to the instance and answers for it; `done` is its `message` when WhatsApp has had its say.
pub(super) async fn send<I: Instance>(
    app: &App<I>,
    command: SendMessage,
    done: &str,
) -> Result<Response, ApiError> {
    let sent = app.parts.instance.send_message(command).await?;
    Ok(answer(&sent, done))
}

pub(super) fn idempotency(
    token: i64,
    headers: &HeaderMap,
    body: &Object,
    faults: &mut Faults,
) -> Option<IdempotencyKey> {
    let value = headers.get("idempotency-key")?;
    match value.to_str() {
        Ok(key) if (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) => {
            Some(IdempotencyKey { token, key: key.to_owned(), body_hash: body.hash })
        }
        _ => {
            let wrong =
                format!("The Idempotency-Key header must be 1 to {KEY_MAX} visible ASCII characters.");
            faults.add("Idempotency-Key", wrong);
            None
        }
    }
}

/// `Prefer: respond-async` (RFC 7240), also among other preferences.
fn prefers_async(headers: &HeaderMap) -> bool {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    preferences
        .flat_map(|value| value.split([',', ';']))
        .any(|one| one.trim().eq_ignore_ascii_case("respond-async"))
}

pub(super) fn answer(sent: &Sent, done: &str) -> Response {
    answer_with(sent, done, [])
}

/// The same with more to say.
pub(super) fn answer_with(
    sent: &Sent,
    done: &str,
    more: impl IntoIterator<Item = (&'static str, Value)>,
) -> Response {
    let (status, message) = match sent {
        Sent { scheduled_at: Some(_), .. } => (StatusCode::ACCEPTED, "Message scheduled"),
        Sent { queued: true, .. } => (StatusCode::ACCEPTED, "Message queued"),
        _ => (StatusCode::OK, done),
    };
    let mut body = json!({
        "success": true,
        "message": message,
        "message_id": sent.message_id,
        "timestamp": sent.timestamp.rfc3339(),
    });
    if let Some(members) = body.as_object_mut() {
        if let Some(at) = sent.scheduled_at {
            members.insert("scheduled_at".into(), at.rfc3339().into());
        }
        members.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    let mut response = reply::json(status, &body);
    if sent.replayed {
        response.headers_mut().extend([reply::REPLAYED]);
    }
    response
}
