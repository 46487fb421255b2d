//! The pairing code: `GET /qr`, `/qr.png`, `/qr.svg`, and `/qr/stream` with every change of the link.

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::{Value, json};
use std::{convert::Infallible, time::Duration};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToRead},
    reply,
};
use crate::{
    account::{CodeState, Link, PasskeyState, Qr, Status},
    clock::Millis,
    qr::Picture,
};

/// A comment on a silent stream, so that nobody between cuts it.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn json<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
) -> Result<Response, ApiError> {
    let qr = current(&app).await?;
    let mut answer = json!({
        "success": true,
        "qr": draw(&qr)?.data_uri(),
        "status": Status::QrReady.as_str(),
        "qr_text": qr.text,
        "expires_at": qr.expires_at.rfc3339(),
    });
    let link = app.parts.instance.link().borrow().clone();
    if let (Some(code), Some(members)) = (link.code.text(), answer.as_object_mut()) {
        members.insert("pairing_code".into(), code.into());
    }
    Ok(reply::ok(&answer))
}

pub(super) async fn png<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
) -> Result<Response, ApiError> {
    let picture = draw(&current(&app).await?)?;
    Ok(file("image/png", picture.png()))
}

pub(super) async fn svg<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
) -> Result<Response, ApiError> {
    let picture = draw(&current(&app).await?)?;
    Ok(file("image/svg+xml", picture.svg().into_bytes()))
}

/// The state now, and again whenever it or the code changes.
pub(super) async fn stream<I: Instance>(_: Caller<ToRead>, State(app): State<App<I>>) -> Response {
    let changes = states(app.parts.instance.link()).take_until(app.parts.stop.clone().cancelled_owned());
    Sse::new(changes.map(|state| Ok::<_, Infallible>(Event::default().event("link").data(state))))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

fn states(mut link: tokio::sync::watch::Receiver<Link>) -> impl Stream<Item = String> {
    link.mark_changed();
    stream::unfold((link, String::new()), |(mut link, last)| async move {
        loop {
            link.changed().await.ok()?;
            let state = state(&link.borrow_and_update()).to_string();
            if state != last {
                return Some((state.clone(), (link, state)));
            }
        }
    })
}

fn state(link: &Link) -> Value {
    let qr = link.qr.as_ref().filter(|_| link.status == Status::QrReady);
    let refused = match link.code {
        CodeState::Refused(code) => Some(code),
        _ => None,
    };
    json!({
        "status": link.status.as_str(),
        "reason": link.reason,
        "phone": link.phone,
        "name": link.name,
        "qr": qr.and_then(|qr| Picture::of(&qr.text).ok()).map(|picture| picture.data_uri()),
        "qr_text": qr.map(|qr| &qr.text),
        "expires_at": qr.map(|qr| qr.expires_at.rfc3339()),
        "pairing_code": link.code.text(),
        "pairing_code_refused": refused,
        "passkey": passkey(&link.passkey),
    })
}

/// What everybody who may look is told of a linking with a passkey; what is signed and compared is in `GET /passkey`.
fn passkey(state: &PasskeyState) -> Value {
    json!({
        "status": state.as_str(),
        "expires_at": state.expires_at().map(Millis::rfc3339),
        "reason": state.reason(),
        "whatsapp_code": state.refused(),
    })
}

/// The code to scan now. When the codes ran out, asking for one starts over: the next call finds it.
async fn current<I: Instance>(app: &App<I>) -> Result<Qr, ApiError> {
    let link = app.parts.instance.link().borrow().clone();
    match (link.status, link.qr) {
        (Status::QrReady, Some(qr)) => Ok(qr),
        (Status::Disconnected, _) if link.reason == Some("qr_timeout") => {
            app.parts.instance.connect().await;
            Err(ApiError::QrNotAvailable(Status::Pending))
        }
        // Between two codes.
        (Status::QrReady, None) => Err(ApiError::QrNotAvailable(Status::Pending)),
        (status, _) => Err(ApiError::QrNotAvailable(status)),
    }
}

fn draw(qr: &Qr) -> Result<Picture, ApiError> {
    Picture::of(&qr.text).map_err(|error| {
        tracing::error!(%error, "the pairing code cannot be drawn");
        ApiError::Internal
    })
}

fn file(kind: &'static str, bytes: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, bytes).into_response()
}
