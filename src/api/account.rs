//! `GET /account`: who is linked, and what WhatsApp lets the account do (instance-api.md §10).

use axum::{extract::State, response::Response};
use serde_json::json;

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToRead},
    reply,
};
use crate::{account::standing_view, wire::Jid};

/// What is known of the account without asking anybody.
pub(super) async fn show<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
) -> Result<Response, ApiError> {
    let link = app.parts.instance.link().borrow().clone();
    let of_account = app.parts.store.read(|tx| {
        let paired = tx.device().load()?.and_then(|device| device.paired);
        Ok::<_, crate::store::Error>((paired.and_then(|paired| paired.lid), tx.standing().load()?))
    });
    let (lid, standing) = of_account.await?;
    Ok(reply::ok(&json!({
        "success": true,
        "phone": link.phone,
        "lid": lid.map(|lid: Jid| lid.bare().to_wire()),
        "name": link.name,
        "platform": link.platform,
        "standing": standing_view(&standing),
    })))
}
