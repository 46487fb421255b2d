//! A linking that wants a passkey: `GET`, `POST` and `DELETE /passkey`, `POST /passkey/confirm`.

use axum::{extract::State, response::Response};
use serde_json::{Value, json};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToManage},
    body::{MaybeObject, Object},
    fields::Faults,
    link::note,
    reply,
};
use crate::{
    account::{Assertion, PasskeyCommand, PasskeyState},
    daemon::PasskeyFault,
};

/// Where it stands, with what is to be signed or compared.
pub(super) async fn show<I: Instance>(_: Caller<ToManage>, State(app): State<App<I>>) -> Response {
    let state = app.parts.instance.link().borrow().passkey.clone();
    reply::ok(&answer(&state))
}

/// Hands in what a passkey signed.
pub(super) async fn assert<I: Instance>(
    caller: Caller<ToManage>,
    State(app): State<App<I>>,
    Object { members, .. }: Object,
) -> Result<Response, ApiError> {
    let assertion = Assertion::read(&members).map_err(|flaws| {
        let mut faults = Faults::default();
        for (field, message) in flaws {
            faults.add(field, message);
        }
        ApiError::Validation(faults)
    })?;
    go_on(&app, &caller, "link.passkey", PasskeyCommand::Assert(assertion)).await
}

/// The phone shows the same code.
pub(super) async fn confirm<I: Instance>(
    caller: Caller<ToManage>,
    State(app): State<App<I>>,
    _: MaybeObject,
) -> Result<Response, ApiError> {
    go_on(&app, &caller, "link.passkey_confirm", PasskeyCommand::Confirm).await
}

/// Gives up, for another QR code.
pub(super) async fn abandon<I: Instance>(
    caller: Caller<ToManage>,
    State(app): State<App<I>>,
) -> Result<Response, ApiError> {
    go_on(&app, &caller, "link.passkey_abandon", PasskeyCommand::Abandon).await
}

async fn go_on<I: Instance>(
    app: &App<I>,
    caller: &Caller<ToManage>,
    action: &'static str,
    command: PasskeyCommand,
) -> Result<Response, ApiError> {
    note(app, caller, action).await?;
    Ok(reply::ok(&answer(&app.parts.instance.passkey(command).await?)))
}

fn answer(state: &PasskeyState) -> Value {
    let mut answer = json!({ "success": true });
    if let (Value::Object(members), Some(answer)) = (state.view(), answer.as_object_mut()) {
        answer.extend(members);
    }
    answer
}

impl From<PasskeyFault> for ApiError {
    fn from(fault: PasskeyFault) -> Self {
        match fault {
            PasskeyFault::NotAwaited(state) => Self::PasskeyNotAwaited(state.as_str()),
            PasskeyFault::Refused(code) => Self::PasskeyRefused(code),
            PasskeyFault::Internal => Self::Internal,
            PasskeyFault::OtherChallenge => {
                let mut faults = Faults::default();
                faults.add(
                    "response.clientDataJSON",
                    "The response.clientDataJSON field must be for the challenge of GET /passkey, which changes.",
                );
                Self::Validation(faults)
            }
        }
    }
}
