//! The HTTP surface: readiness, the chat socket, and the control API under `/admin`.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, Path, Query, State, WebSocketUpgrade, rejection::JsonRejection},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get, post, put},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    admin::{Admin, AdminError, DeviceCommand},
    app_state, cdn, devices,
    listener::ChatAllowed,
    passkey, profile,
    sending::{self, What},
    shared::Shared,
    socket, standing,
};
use crate::{stanza::MemberChange, wire::frame};

/// Bodies of the control API; a `raw` message may be large.
const MAX_BODY: usize = 32 << 20;

#[derive(Clone)]
pub(super) struct App {
    pub(super) admin: Admin,
    shared: Arc<Shared>,
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        (status, Json(json!({"error": self.message}))).into_response()
    }
}

pub(super) fn bad(message: impl Into<String>) -> AdminError {
    AdminError { status: 400, message: message.into() }
}

type Reply<T> = Result<T, AdminError>;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let media = cdn::router(Arc::clone(&shared));
    let app = App { admin: Admin::new(Arc::clone(&shared)), shared };
    Router::new()
        .route("/", get(|| async { "wazap sandbox\n" }))
        .route("/ws/chat", any(chat))
        .route("/admin/mock-phone/scan-qr", post(mock_phone_scan))
        .route("/admin/phones", get(phones).post(create_phone))
        .route("/admin/phones/{number}", get(phone))
        .route("/admin/phones/{number}/scan-qr", post(phone_scan))
        .route("/admin/phones/{number}/link-code", post(link_code))
        .route(
            "/admin/phones/{number}/passkey",
            get(passkey::show).put(passkey::want).post(passkey::sign).delete(passkey::decline),
        )
        .route("/admin/phones/{number}/unlink", post(unlink))
        .route("/admin/phones/{number}/device-list", put(devices::show_list))
        .route("/admin/phones/{number}/intruder", post(devices::intrude))
        .route("/admin/phones/{number}/register-anew", post(devices::register_anew))
        .route("/admin/phones/{number}/send", post(send))
        .route("/admin/phones/{number}/messages", get(messages))
        .route("/admin/phones/{number}/media/{id}", get(file))
        .route("/admin/phones/{number}/receipts", get(receipts))
        .route("/admin/phones/{number}/read", post(read))
        .route("/admin/phones/{number}/played", post(played))
        .route("/admin/phones/{number}/typing", post(typing))
        .route("/admin/phones/{number}/presence", post(presence))
        .route("/admin/phones/{number}/online", post(online))
        .route("/admin/phones/{number}/call", post(call))
        .route("/admin/phones/{number}/answer", post(answer))
        .route("/admin/phones/{number}/hangup", post(hang_up))
        .route("/admin/phones/{number}/calls", get(calls))
        .route("/admin/phones/{number}/privacy", post(privacy))
        .route("/admin/phones/{number}/standing", post(standing::change))
        .route("/admin/phones/{number}/properties", post(standing::properties))
        .route("/admin/phones/{number}/profile", get(profile::show))
        .route("/admin/phones/{number}/picture", put(profile::set_picture).delete(profile::remove_picture))
        .route("/admin/phones/{number}/about", put(profile::set_about))
        .route("/admin/phones/{number}/block", post(profile::block))
        .route(
            "/admin/phones/{number}/business",
            put(profile::make_business).delete(profile::unmake_business),
        )
        .route("/admin/phones/{number}/history", post(history))
        .route("/admin/phones/{number}/contacts", post(app_state::contact))
        .route("/admin/phones/{number}/app-state", get(app_state::list).post(app_state::change))
        .route("/admin/phones/{number}/app-state/rotate", post(app_state::rotate))
        .route("/admin/phones/{number}/app-state/snapshot", post(app_state::snapshot))
        .route("/admin/messages/{id}/readers", get(readers))
        .route("/admin/groups", post(create_group))
        .route("/admin/groups/{jid}", get(group))
        .route("/admin/groups/{jid}/participants", post(change_members))
        .route("/admin/newsletters", post(create_newsletter))
        .route("/admin/newsletters/{jid}", get(newsletter))
        .route("/admin/newsletters/{jid}/{command}", post(at_newsletter))
        .route("/admin/devices/{jid}/{command}", post(device))
        .route("/admin/faults", get(faults).put(set_faults).delete(clear_faults))
        .route("/admin/stats", get(stats))
        .route("/admin/log", get(log))
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(app)
        .merge(media)
}

async fn nothing() -> AdminError {
    AdminError { status: 404, message: "no such path".into() }
}

async fn wrong_method(method: Method) -> AdminError {
    AdminError { status: 405, message: format!("{method} is not for this path") }
}

/// The chat socket. Over TLS always, over plain HTTP only with `--plain`.
async fn chat(
    Extension(ChatAllowed(allowed)): Extension<ChatAllowed>,
    State(app): State<App>,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !allowed {
        let message = "the chat socket needs TLS here; --plain serves it without".into();
        return AdminError { status: 403, message }.into_response();
    }
    let shared = app.shared;
    let most = frame::MAX + frame::HEADER;
    upgrade.max_message_size(most).max_frame_size(most).on_upgrade(move |socket| {
        let tasks = shared.tasks.clone();
        tasks.track_future(socket::serve(socket, shared))
    })
}

/// A JSON object; no body counts as an empty one.
pub(super) struct Body(pub(super) Map<String, Value>);

impl Body {
    pub(super) fn text(&self, key: &str) -> Reply<Option<String>> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(bad(format!("{key}: a text"))),
        }
    }

    pub(super) fn required(&self, key: &str) -> Reply<String> {
        self.text(key)?.ok_or_else(|| bad(format!("{key} is missing")))
    }

    fn number(&self, key: &str) -> Reply<u64> {
        self.0.get(key).and_then(Value::as_u64).ok_or_else(|| bad(format!("{key}: a whole number")))
    }

    fn seconds(&self) -> Reply<Duration> {
        let seconds = self.0.get("seconds").and_then(Value::as_f64);
        let time = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
        time.filter(|t| *t <= Duration::from_secs(86_400)).ok_or_else(|| bad("seconds: 0 to 86400"))
    }

    fn texts(&self, key: &str) -> Reply<Vec<String>> {
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let all = self.0.get(key).and_then(Value::as_array);
        all.and_then(|all| all.iter().map(text).collect())
            .ok_or_else(|| bad(format!("{key}: a list of texts")))
    }

    fn flag(&self, key: &str) -> Reply<bool> {
        self.0.get(key).and_then(Value::as_bool).ok_or_else(|| bad(format!("{key}: true or false")))
    }
}

impl<S: Send + Sync> axum::extract::FromRequest<S> for Body {
    type Rejection = AdminError;

    async fn from_request(request: axum::extract::Request, state: &S) -> Reply<Self> {
        let bytes = axum::body::Bytes::from_request(request, state)
            .await
            .map_err(|error| AdminError { status: error.status().as_u16(), message: error.body_text() })?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(Map::new()));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|_| bad("the body is no JSON object"))
    }
}

async fn mock_phone_scan(State(app): State<App>, qr: String) -> Reply<StatusCode> {
    app.admin.scan_qr(&qr).map(|_| StatusCode::NO_CONTENT)
}

async fn phone_scan(State(app): State<App>, Path(number): Path<String>, qr: String) -> Reply<StatusCode> {
    app.admin.phone_scans_qr(&number, &qr).map(|()| StatusCode::NO_CONTENT)
}

async fn phones(State(app): State<App>) -> Json<Value> {
    Json(json!({"phones": app.admin.phones()}))
}

async fn phone(State(app): State<App>, Path(number): Path<String>) -> Reply<Response> {
    app.admin.phone(&number).map(|phone| Json(phone).into_response())
}

async fn create_phone(State(app): State<App>, body: Body) -> Reply<(StatusCode, Json<Value>)> {
    let devices = if body.0.contains_key("devices") { body.number("devices")? } else { 0 };
    let devices = u16::try_from(devices).map_err(|_| bad("devices: 0 to 4 companions"))?;
    if body.0.contains_key("count") {
        let count = usize::try_from(body.number("count")?).map_err(|_| bad("count: 1 to 2000"))?;
        let made = app.admin.create_phones(count, devices)?;
        let short = made.iter().map(|one| json!({"number": one.number, "lid": one.lid, "name": one.name}));
        return Ok((StatusCode::CREATED, Json(json!({"phones": short.collect::<Vec<_>>()}))));
    }
    let phone = app.admin.create_phone(body.text("number")?, body.text("name")?, body.text("platform")?)?;
    if devices > 0 {
        app.admin.play(&phone.number, devices)?;
    }
    Ok((StatusCode::CREATED, Json(json!({"number": phone.number, "lid": phone.lid, "name": phone.name}))))
}

async fn link_code(State(app): State<App>, Path(number): Path<String>, body: Body) -> Reply<StatusCode> {
    app.admin.type_code(&number, &body.required("code")?).await.map(|()| StatusCode::NO_CONTENT)
}

async fn unlink(State(app): State<App>, Path(number): Path<String>, body: Body) -> Reply<StatusCode> {
    let device = u16::try_from(body.number("device")?).map_err(|_| bad("device: a device number"))?;
    app.admin.unlink(&number, device).map(|()| StatusCode::NO_CONTENT)
}

async fn send(
    State(app): State<App>,
    Path(number): Path<String>,
    body: Body,
) -> Reply<(StatusCode, Json<Value>)> {
    if let Some(people) = sending::people(&body.0)? {
        let id = match sending::read(&body.0)? {
            What::Message(what) => app.admin.send_list(&number, &people, what)?,
            What::File(_) => return Err(bad("media: to one chat only")),
        };
        return Ok((StatusCode::CREATED, Json(json!({"id": id}))));
    }
    let to = body.required("to")?;
    let id = match sending::read(&body.0)? {
        What::Message(what) => app.admin.send(&number, &to, what)?,
        What::File(file) => app.admin.send_file(&number, &to, file).await?,
    };
    Ok((StatusCode::CREATED, Json(json!({"id": id}))))
}

/// The decrypted file of a message.
async fn file(State(app): State<App>, Path((number, id)): Path<(String, String)>) -> Reply<Response> {
    let (mimetype, bytes) = app.admin.file(&number, &id).await?;
    let mimetype =
        HeaderValue::from_str(&mimetype).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let body = axum::body::Body::from_stream(ReceiverStream::new(bytes));
    Ok(([(header::CONTENT_TYPE, mimetype)], body).into_response())
}

#[derive(Deserialize)]
struct Listing {
    from: Option<String>,
    after: Option<String>,
    /// Seconds.
    wait: Option<f64>,
}

impl Listing {
    fn wait(&self) -> Reply<Duration> {
        let wait = self.wait.unwrap_or(0.0);
        Duration::try_from_secs_f64(wait).map_err(|_| bad("wait: seconds"))
    }
}

async fn messages(
    State(app): State<App>,
    Path(number): Path<String>,
    Query(listing): Query<Listing>,
) -> Reply<Json<Value>> {
    let (from, after) = (listing.from.as_deref(), listing.after.as_deref());
    let messages = app.admin.messages(&number, from, after, listing.wait()?).await?;
    Ok(Json(json!({"messages": messages})))
}

#[derive(Deserialize)]
struct Readers {
    count: Option<usize>,
    /// Seconds.
    wait: Option<f64>,
}

/// Who of the sandbox's own devices has decrypted a message.
async fn readers(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(wanted): Query<Readers>,
) -> Reply<Json<Value>> {
    let wait = Listing { from: None, after: None, wait: wanted.wait }.wait()?;
    let readers = app.admin.readers(&id, wanted.count.unwrap_or(1), wait).await?;
    Ok(Json(json!({"readers": readers})))
}

async fn receipts(
    State(app): State<App>,
    Path(number): Path<String>,
    Query(listing): Query<Listing>,
) -> Reply<Json<Value>> {
    let receipts = app.admin.receipts(&number, listing.after.as_deref(), listing.wait()?).await?;
    Ok(Json(json!({"receipts": receipts})))
}

async fn read(State(app): State<App>, Path(number): Path<String>, body: Body) -> Reply<StatusCode> {
    app.admin.read(&number, &body.required("id")?).map(|()| StatusCode::NO_CONTENT)
}

async fn played(State(app): State<App>, Path(number): Path<String>, body: Body) -> Reply<StatusCode> {
    app.admin.played(&number, &body.required("id")?).map(|()| StatusCode::NO_CONTENT)
}

async fn typing(State(app): State<App>, Path(number): Path<String>, body: Body) -> Reply<StatusCode> {
    let state = body.required("state")?;
    app.admin.typing(&number, &body.required("to")?, &state).map(|()| StatusCode::NO_CONTENT)
}

async fn presence(State(app): State<App>, Path(number): Path<String>, body: Body) -> Reply<StatusCode> {
    let available = match body.required("presence")?.as_str() {
        "available" => true,
        "unavailable" => false,
        _ => return Err(bad("presence: available or unavailable")),
    };
    app.admin.presence(&number, available).map(|()| StatusCode::NO_CONTENT)
}

async fn online(State(app): State<App>, Path(number): Path<String>, body: Body) -> Reply<StatusCode> {
    app.admin.online(&number, body.flag("online")?).map(|()| StatusCode::NO_CONTENT)
}

async fn call(
    State(app): State<App>,
    Path(number): Path<String>,
    body: Body,
) -> Reply<(StatusCode, Json<Value>)> {
    let video = if body.0.contains_key("video") { body.flag("video")? } else { false };
    let id = app.admin.call(&number, &body.required("to")?, video)?;
    Ok((StatusCode::CREATED, Json(json!({"id": id}))))
}

async fn answer(State(app): State<App>, Path(number): Path<String>, body: Body) -> Reply<StatusCode> {
    app.admin.decide_call(&number, &body.required("id")?, true).map(|()| StatusCode::NO_CONTENT)
}

async fn hang_up(State(app): State<App>, Path(number): Path<String>, body: Body) -> Reply<StatusCode> {
    app.admin.decide_call(&number, &body.required("id")?, false).map(|()| StatusCode::NO_CONTENT)
}

async fn calls(State(app): State<App>, Path(number): Path<String>) -> Reply<Json<Value>> {
    Ok(Json(json!({"calls": app.admin.calls(&number)?})))
}

async fn privacy(State(app): State<App>, Path(number): Path<String>, body: Body) -> Reply<StatusCode> {
    let settings = body.0.iter().map(|(name, value)| match value.as_str() {
        Some(value) => Ok((name.clone(), value.to_owned())),
        None => Err(bad(format!("{name}: a text"))),
    });
    let settings = settings.collect::<Reply<Vec<_>>>()?;
    app.admin.privacy(&number, &settings).map(|()| StatusCode::NO_CONTENT)
}

/// `{"chats", "messages", "groups"?, "recent"?}`: what history a companion linked later is sent.
async fn history(State(app): State<App>, Path(number): Path<String>, body: Body) -> Reply<StatusCode> {
    let number_of = |key: &str, default: Option<u32>| match (body.0.get(key), default) {
        (None, Some(default)) => Ok(default),
        _ => u32::try_from(body.number(key)?).map_err(|_| bad(format!("{key}: too large"))),
    };
    let (chats, messages) = (number_of("chats", None)?, number_of("messages", None)?);
    let (groups, recent) = (number_of("groups", Some(0))?, number_of("recent", Some(u32::MAX))?);
    app.admin.history(&number, (chats, groups), messages, recent).map(|()| StatusCode::NO_CONTENT)
}

async fn create_group(State(app): State<App>, body: Body) -> Reply<(StatusCode, Json<Value>)> {
    let by_lid = match body.text("addressing_mode")?.as_deref() {
        None | Some("lid") => true,
        Some("pn") => false,
        Some(_) => return Err(bad("addressing_mode: lid or pn")),
    };
    let (owner, subject) = (body.required("owner")?, body.required("subject")?);
    let group = app.admin.create_group(&owner, &subject, &body.texts("participants")?, by_lid)?;
    Ok((StatusCode::CREATED, Json(json!(group))))
}

async fn group(State(app): State<App>, Path(jid): Path<String>) -> Reply<Json<Value>> {
    app.admin.group(&jid).map(|group| Json(json!(group)))
}

/// One kind of change a call.
async fn change_members(State(app): State<App>, Path(jid): Path<String>, body: Body) -> Reply<Json<Value>> {
    let named: Vec<MemberChange> =
        MemberChange::ALL.into_iter().filter(|change| body.0.contains_key(change.as_str())).collect();
    let [change] = named[..] else { return Err(bad("one of add, remove, promote, demote")) };
    let group = app.admin.change_members(&jid, change, &body.texts(change.as_str())?)?;
    Ok(Json(json!(group)))
}

async fn create_newsletter(State(app): State<App>, body: Body) -> Reply<(StatusCode, Json<Value>)> {
    let description = body.text("description")?.unwrap_or_default();
    let made =
        app.admin.create_newsletter(&body.required("owner")?, &body.required("name")?, &description)?;
    Ok((StatusCode::CREATED, Json(json!(made))))
}

async fn newsletter(State(app): State<App>, Path(jid): Path<String>) -> Reply<Json<Value>> {
    app.admin.newsletter(&jid).map(|newsletter| Json(json!(newsletter)))
}

/// What a phone does with a newsletter.
async fn at_newsletter(
    State(app): State<App>,
    Path((jid, command)): Path<(String, String)>,
    body: Body,
) -> Reply<Json<Value>> {
    let number = body.required("number")?;
    match command.as_str() {
        "follow" => app.admin.follow_newsletter(&jid, &number, true)?,
        "unfollow" => app.admin.follow_newsletter(&jid, &number, false)?,
        "post" => {
            let (text, id) = (body.text("text")?, body.text("id")?);
            let id = app.admin.post(&jid, &number, text.as_deref(), id.as_deref())?;
            return Ok(Json(json!({"id": id})));
        }
        "react" => {
            let emoji = body.text("emoji")?.unwrap_or_default();
            app.admin.react_to_post(&jid, &number, body.number("server_id")?, &emoji)?;
        }
        _ => return Err(AdminError { status: 404, message: "follow, unfollow, post or react".into() }),
    }
    app.admin.newsletter(&jid).map(|newsletter| Json(json!(newsletter)))
}

async fn device(
    State(app): State<App>,
    Path((jid, command)): Path<(String, String)>,
    body: Body,
) -> Reply<StatusCode> {
    let command = match command.as_str() {
        "drop" => DeviceCommand::Drop,
        "stream-error" => DeviceCommand::StreamError(
            u16::try_from(body.number("code")?).map_err(|_| bad("code: a stream error code"))?,
        ),
        "freeze" => DeviceCommand::Freeze(body.seconds()?),
        "refuse" => DeviceCommand::Refuse(body.seconds()?),
        _ => return Err(AdminError { status: 404, message: "drop, stream-error, freeze or refuse".into() }),
    };
    app.admin.device(&jid, command).map(|()| StatusCode::NO_CONTENT)
}

async fn faults(State(app): State<App>) -> Json<Value> {
    Json(json!(app.admin.faults()))
}

async fn set_faults(State(app): State<App>, body: Result<Json<Value>, JsonRejection>) -> Reply<Json<Value>> {
    let Json(body) = body.map_err(|error| bad(error.body_text()))?;
    app.admin.set_faults(&body)?;
    Ok(Json(json!(app.admin.faults())))
}

async fn clear_faults(State(app): State<App>) -> StatusCode {
    app.admin.clear_faults();
    StatusCode::NO_CONTENT
}

async fn stats(State(app): State<App>) -> Response {
    Json(app.admin.stats()).into_response()
}

#[derive(Deserialize)]
struct LogQuery {
    device: Option<String>,
}

async fn log(State(app): State<App>, Query(query): Query<LogQuery>) -> Reply<Json<Value>> {
    Ok(Json(json!({"log": app.admin.log(query.device.as_deref())?})))
}
