//! `POST /calls/{id}/reject`.

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde_json::json;

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToSend},
    reply,
};
use crate::account::{AskError, CallCommand};

/// Rejects a call that rings.
pub(super) async fn reject<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let rejected = app.parts.instance.ask(CallCommand::Reject(id.clone())).await;
    rejected.map_err(|error| match error {
        AskError::NotConnected(status) => ApiError::NotConnected(status),
        AskError::Unknown => ApiError::CallNotFound(id),
        AskError::Refused(_) | AskError::Internal => ApiError::Internal,
    })?;
    Ok(reply::ok(&json!({ "success": true, "message": "Call rejected" })))
}
