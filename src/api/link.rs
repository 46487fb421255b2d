//! `GET /status`, `POST /connect`, `POST /disconnect`.

use axum::{extract::State, response::Response};
use serde_json::json;

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToManage, ToRead},
    body::MaybeObject,
    fields::{self, Faults},
    recipient, reply,
};
use crate::{
    account::Recipient,
    daemon::CodeRefused,
    store::{self, tokens::actor},
};

/// Exactly five members.
pub(super) async fn status<I: Instance>(_: Caller<ToRead>, State(app): State<App<I>>) -> Response {
    let link = app.parts.instance.link().borrow().clone();
    reply::ok(&json!({
        "success": true,
        "status": link.status.as_str(),
        "phone": link.phone,
        "name": link.name,
        "platform": link.platform,
    }))
}

/// Starts linking or connecting; fine in every state. `phone`: by a code that is typed on that number's phone.
pub(super) async fn connect<I: Instance>(
    caller: Caller<ToManage>,
    State(app): State<App<I>>,
    MaybeObject(body): MaybeObject,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let phone = match fields::first(&body, &["phone"]).and_then(recipient::read) {
        None => None,
        Some(Ok(Recipient::Number(digits))) => Some(digits),
        Some(_) => {
            faults.add("phone", "The phone must be a phone number of 8 to 15 digits with country code.");
            None
        }
    };
    faults.check()?;
    note(&app, &caller, "link.connect").await?;
    let code = match phone {
        None => {
            app.parts.instance.connect().await;
            None
        }
        Some(phone) => {
            let refused = |refused: CodeRefused| ApiError::PairingCodeRefused(refused.code);
            app.parts.instance.pair_by_code(phone).await.map_err(refused)?
        }
    };
    let status = app.parts.instance.link().borrow().status;
    let mut answer = json!({
        "success": true,
        "message": "Connection started",
        "status": status.as_str(),
    });
    if let (Some(code), Some(members)) = (code, answer.as_object_mut()) {
        members.insert("pairing_code".into(), code.into());
    }
    Ok(reply::ok(&answer))
}

/// Closes the socket and keeps the keys, or with `logout` unlinks and wipes.
pub(super) async fn disconnect<I: Instance>(
    caller: Caller<ToManage>,
    State(app): State<App<I>>,
    MaybeObject(body): MaybeObject,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let logout = fields::switch(&body, "logout", &mut faults).unwrap_or(false);
    faults.check()?;
    note(&app, &caller, if logout { "link.logout" } else { "link.disconnect" }).await?;
    app.parts.instance.disconnect(logout).await;
    Ok(reply::ok(&json!({
        "success": true,
        "message": "Instance disconnected",
        "status": "disconnected",
    })))
}

/// For the audit, before it is done: what was asked for counts, also if the process dies over it.
pub(super) async fn note<I: Instance>(
    app: &App<I>,
    caller: &Caller<ToManage>,
    action: &'static str,
) -> Result<(), store::Error> {
    let (now, actor) = (app.now(), actor(caller.token));
    app.parts.store.write(move |tx| tx.audit().note(&actor, action, "", now)).await
}
