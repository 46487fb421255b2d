//! `/account`, `/profile-picture`, `/block`, `/blocklist`, presences: what the account shows of itself, what others show,
//! and who may see and write (instance-api.md §10).

mod people;
mod privacy;
mod read;
mod settings;

pub(super) use people::{block, blocklist, profile_picture, unwatch, watch, watched};
pub(super) use privacy::{privacy, set_privacy};
pub(super) use settings::{set_settings, settings};

use axum::{
    extract::{Path, Request, State},
    http::HeaderMap,
    response::Response,
};
use serde_json::{Value, json};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToRead, ToSend},
    body::Object,
    fields::{self, Faults},
    groups, media, reply,
};
use crate::{
    account::{AskError, OWN_ABOUT, ProfileAnswer, ProfileCommand, Recipient, StateChange, standing_view},
    wire::Jid,
};

/// Longest name and text about oneself, in characters (what the apps allow).
const NAME_MAX: usize = 25;
const ABOUT_MAX: usize = 139;

/// What the server's refusal means here; `missing`: where there is no such thing.
pub(super) fn refusal(error: AskError, missing: ApiError) -> ApiError {
    match error {
        AskError::NotConnected(status) => ApiError::NotConnected(status),
        AskError::Unknown => missing,
        AskError::Refused(code) => ApiError::Refused(code),
        AskError::Internal => ApiError::Internal,
    }
}

pub(super) async fn ask<I: Instance>(
    app: &App<I>,
    command: ProfileCommand,
) -> Result<ProfileAnswer, ApiError> {
    app.parts.instance.ask(command).await.map_err(|error| refusal(error, ApiError::NotFound))
}

/// Whom a path names, if they have an account.
pub(super) async fn read_person<I: Instance>(app: &App<I>, jid: &str) -> Result<Recipient, ApiError> {
    let who = read::person(jid)?;
    read::on_whatsapp(app, &who).await?;
    Ok(who)
}

/// `GET /account`.
pub(super) async fn show<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
) -> Result<Response, ApiError> {
    answer(&app).await
}

/// The account as it is; as last known while there is no connection.
async fn answer<I: Instance>(app: &App<I>) -> Result<Response, ApiError> {
    match ask(app, ProfileCommand::Own).await {
        Ok(_) | Err(ApiError::NotConnected(_)) => {}
        Err(error) => tracing::warn!(?error, "the account could not be asked about"),
    }
    let known = app.parts.store.read(|tx| {
        let own = tx.device().load()?.and_then(|device| device.paired);
        let about = tx.settings().get(OWN_ABOUT)?;
        let mut devices = Vec::new();
        if let Some(own) = &own {
            for name in [Some(&own.jid), own.lid.as_ref()].into_iter().flatten() {
                if let Some((listed, _)) = tx.people().devices(&name.bare())? {
                    devices = listed;
                    break;
                }
            }
        }
        Ok::<_, crate::store::Error>((own, about, devices, tx.standing().load()?))
    });
    let (own, about, devices, standing) = known.await?;
    let device = |number: &u16| {
        let own = own.as_ref()?;
        let jid = if *number == 0 { own.jid.bare() } else { own.jid.with_device(*number) };
        Some(json!({
            "jid": jid.to_wire(),
            "device": number,
            "phone": *number == 0,
            "this": *number == own.jid.device(),
        }))
    };
    let platform = own.as_ref().and_then(|own| own.platform.clone());
    let named = own.as_ref().is_some_and(|own| own.business_name.is_some());
    let business = named || platform.as_deref().is_some_and(|word| matches!(word, "smba" | "smbi"));
    let body = json!({
        "success": true,
        "phone": own.as_ref().map(|own| own.jid.user().to_owned()),
        "lid": own.as_ref().and_then(|own| own.lid.as_ref()).map(|lid| lid.bare().to_wire()),
        "name": own.as_ref().and_then(|own| own.push_name.clone()),
        "about": about,
        "platform": platform,
        "business": business,
        "devices": devices.iter().filter_map(device).collect::<Vec<Value>>(),
        "standing": standing_view(&standing),
    });
    Ok(reply::ok(&body))
}

/// `PATCH /account`: `name`, `about`; at least one of them.
pub(super) async fn change<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let name = read::bounded(&body.members, "name", NAME_MAX, &mut faults);
    if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        faults.add("name", "The name field must not be empty.");
    }
    let about = read::bounded(&body.members, "about", ABOUT_MAX, &mut faults);
    if fields::first(&body.members, &["name", "about"]).is_none() {
        faults.add("name", "At least one of name, about is required.");
        faults.add("about", "At least one of name, about is required.");
    }
    faults.check()?;
    if let Some(name) = name {
        app.parts.instance.change(StateChange::PushName(name.trim().to_owned())).await?;
    }
    if let Some(about) = about {
        ask(&app, ProfileCommand::SetAbout(about)).await?;
    }
    answer(&app).await
}

/// `PUT /account/picture`: an image, by URL, base64 or form.
pub(super) async fn set_picture<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    picture(&app, None, &headers, request).await
}

/// `DELETE /account/picture`.
pub(super) async fn remove_picture<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
) -> Result<Response, ApiError> {
    ask(&app, ProfileCommand::RemovePicture { of: None }).await?;
    Ok(reply::done("Picture removed successfully"))
}

/// `PUT /groups/{jid}/picture`: the same for a group.
pub(super) async fn set_group_picture<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    let group = groups::group_id(&jid)?;
    picture(&app, Some(group), &headers, request).await
}

/// `DELETE /groups/{jid}/picture`.
pub(super) async fn remove_group_picture<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    let command = ProfileCommand::RemovePicture { of: Some(groups::group_id(&jid)?) };
    app.parts.instance.ask(command).await.map_err(groups::of_group)?;
    Ok(reply::done("Picture removed successfully"))
}

async fn picture<I: Instance>(
    app: &App<I>,
    of: Option<Jid>,
    headers: &HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    let mut form = media::form(app, headers, request).await?;
    let mut faults = Faults::default();
    let source = media::source(app, &form.object.members, form.file.take(), &mut faults)?;
    faults.check()?;
    let Some(source) = source else { return Err(ApiError::Internal) };
    let status = app.parts.instance.link().borrow().status;
    if status != crate::account::Status::Connected {
        // Before anything is fetched for nothing.
        return Err(ApiError::NotConnected(status));
    }
    let jpeg = app.parts.instance.portrait(source).await?;
    let of_group = of.is_some();
    let asked = app.parts.instance.ask(ProfileCommand::SetPicture { of, jpeg }).await;
    let told = asked.map_err(|error| match of_group {
        true => groups::of_group(error),
        false => refusal(error, ApiError::NotFound),
    })?;
    let ProfileAnswer::PictureSet(id) = told else { return Err(ApiError::Internal) };
    let body = json!({ "success": true, "message": "Picture set successfully", "picture_id": id });
    Ok(reply::ok(&body))
}
