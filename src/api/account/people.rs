//! Other people: their pictures, whether they are blocked, whether they are there.

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use serde_json::{Value, json};

use super::{ask, read};
use crate::{
    account::{ProfileAnswer, ProfileCommand, Recipient},
    api::{
        ApiError, App, Instance,
        auth::{Caller, ToRead, ToSend},
        body::Object,
        fields::{self, Faults},
        query::{self, Pairs},
        reply,
        send::{self, TO},
    },
    clock::Millis,
    store::watched::{MAX_WATCHED, Watched},
    wire::Jid,
};

/// `GET /profile-picture`: `to`, a person or a group; `size`: `image` (default) or `preview`.
pub(in crate::api) async fn profile_picture<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Query(pairs): Pairs,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let to = read::to(&pairs, true, &mut faults);
    let preview = match query::value(&pairs, "size") {
        None | Some("image") => false,
        Some("preview") => true,
        Some(_) => {
            faults.add("size", "The size parameter must be one of image, preview.");
            false
        }
    };
    faults.check()?;
    let Some(of) = to else { return Err(ApiError::Internal) };
    read::on_whatsapp(&app, &of).await?;
    let missing = if read::is_group(&of) { ApiError::GroupNotFound } else { ApiError::NotFound };
    let asked = app.parts.instance.ask(ProfileCommand::Picture { of, preview }).await;
    let told = asked.map_err(|error| super::refusal(error, missing))?;
    let ProfileAnswer::Picture(picture) = told else { return Err(ApiError::Internal) };
    let body = json!({
        "success": true,
        "url": picture.as_ref().map(|picture| picture.url.clone()),
        "id": picture.map(|picture| picture.id),
    });
    Ok(reply::ok(&body))
}

/// `POST /block`: `to`, `blocked`.
pub(in crate::api) async fn block<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let to = send::recipient(&body.members, &TO, &mut faults);
    if to.as_ref().is_some_and(read::is_group) {
        faults.add("to", "Only people can be blocked.");
    }
    let blocked = fields::switch(&body.members, "blocked", &mut faults);
    if fields::first(&body.members, &["blocked"]).is_none() {
        faults.add("blocked", fields::required("blocked"));
    }
    faults.check()?;
    let (Some(who), Some(block)) = (to, blocked) else { return Err(ApiError::Internal) };
    // The list is kept by hidden identity, which the look-up tells.
    read::on_whatsapp(&app, &who).await?;
    ask(&app, ProfileCommand::Block { who, block }).await?;
    Ok(reply::done(if block { "Contact blocked successfully" } else { "Contact unblocked successfully" }))
}

/// `GET /blocklist`: as WhatsApp has it now; as last known while there is no connection.
pub(in crate::api) async fn blocklist<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
) -> Result<Response, ApiError> {
    match ask(&app, ProfileCommand::Blocklist).await {
        Ok(_) | Err(ApiError::NotConnected(_)) => {}
        Err(error) => return Err(error),
    }
    let people = app.parts.store.read(|tx| {
        let mut people = Vec::new();
        for jid in tx.blocks().list()? {
            let other = tx.people().other_name(&jid)?;
            let names = [Some(&jid), other.as_ref()];
            let find = |wanted: fn(&Jid) -> bool| names.into_iter().flatten().find(|name| wanted(name));
            people.push(json!({
                "jid": find(Jid::is_pn).unwrap_or(&jid).to_wire(),
                "lid": find(Jid::is_lid).map(Jid::to_wire),
                "phone": find(Jid::is_pn).map(|jid| jid.user().to_owned()),
            }));
        }
        Ok::<_, crate::store::Error>(people)
    });
    let people = people.await?;
    Ok(reply::ok(&json!({ "success": true, "total": people.len(), "blocklist": people })))
}

/// `POST /chats/{jid}/presence`: a person's coming and going is told from now on.
pub(in crate::api) async fn watch<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    let who = read::person(&jid)?;
    read::on_whatsapp(&app, &who).await?;
    match ask(&app, ProfileCommand::Watch(who)).await? {
        ProfileAnswer::TooMany => {
            let mut faults = Faults::default();
            faults.add("jid", format!("The presence of at most {MAX_WATCHED} people can be followed."));
            Err(ApiError::Validation(faults))
        }
        _ => Ok(reply::done("Presence is followed from now on")),
    }
}

/// `DELETE /chats/{jid}/presence`.
pub(in crate::api) async fn unwatch<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    let asked = app.parts.instance.ask(ProfileCommand::Unwatch(read::person(&jid)?)).await;
    asked.map_err(|error| super::refusal(error, ApiError::ChatNotFound(jid)))?;
    Ok(reply::done("Presence is followed no more"))
}

/// `GET /chats/{jid}/presence`: what was last told.
pub(in crate::api) async fn watched<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    let who: Recipient = read::person(&jid)?;
    let now = app.now();
    let found = app.parts.store.read(move |tx| {
        let found = tx.watched().find(&who.known_as(tx, now)?)?;
        let other = match &found {
            Some(watched) => tx.people().other_name(&watched.jid)?,
            None => None,
        };
        Ok::<_, crate::store::Error>(found.map(|watched| (watched, other)))
    });
    let Some((Watched { jid, available, last_seen, changed_at }, other)) = found.await? else {
        return Err(ApiError::ChatNotFound(jid));
    };
    let names = [Some(&jid), other.as_ref()];
    let find = |wanted: fn(&Jid) -> bool| names.into_iter().flatten().find(|name| wanted(name));
    let time = |at: Option<Millis>| at.map_or(Value::Null, |at| at.rfc3339().into());
    let body = json!({
        "success": true,
        "jid": find(Jid::is_pn).unwrap_or(&jid).to_wire(),
        "lid": find(Jid::is_lid).map(Jid::to_wire),
        "phone": find(Jid::is_pn).map(|jid| jid.user().to_owned()),
        "state": available.map(|available| if available { "available" } else { "unavailable" }),
        "last_seen": time(last_seen),
        "updated_at": time(changed_at),
    });
    Ok(reply::ok(&body))
}
