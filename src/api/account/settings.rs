//! `/account/settings`: what the account's devices have in common beside their chats.

use axum::{extract::State, response::Response};
use serde_json::{Map, Value};

use crate::{
    account::{AccountSetting, StateChange, settings_view},
    api::{
        ApiError, App, Instance,
        auth::{Caller, ToRead, ToSend},
        body::Object,
        fields::{self, Faults},
        reply,
    },
};

/// What can be set here.
const OURS: [&str; 2] = ["unarchive_chats", "link_previews"];
/// What only the phone sets.
const PHONES: [&str; 2] = ["time_24h", "locale"];

/// `GET /account/settings`.
pub(in crate::api) async fn settings<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
) -> Result<Response, ApiError> {
    show(&app).await
}

/// `PATCH /account/settings`: any of `unarchive_chats`, `link_previews`.
pub(in crate::api) async fn set_settings<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let [unarchive, previews] = OURS.map(|name| fields::switch(&body.members, name, &mut faults));
    for name in body.members.keys().filter(|name| !OURS.contains(&name.as_str())) {
        let wrong = match PHONES.contains(&name.as_str()) {
            true => "This can only be set on the phone.",
            false => "There is no such setting.",
        };
        faults.add(name, wrong);
    }
    if unarchive.is_none() && previews.is_none() && faults.is_empty() {
        faults.add("settings", format!("At least one of {} is required.", OURS.join(", ")));
    }
    faults.check()?;
    let changes = [unarchive.map(AccountSetting::UnarchiveChats), previews.map(AccountSetting::LinkPreviews)];
    for change in changes.into_iter().flatten() {
        app.parts.instance.change(StateChange::Setting(change)).await?;
    }
    show(&app).await
}

async fn show<I: Instance>(app: &App<I>) -> Result<Response, ApiError> {
    let mut body = Map::from_iter([("success".to_owned(), true.into())]);
    body.extend(app.parts.store.read(settings_view).await?);
    Ok(reply::ok(&Value::Object(body)))
}
