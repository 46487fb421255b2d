//! Who is in a group, and what they may do: each person has a result.

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde_json::{Value, json};

use super::{
    read::{group_id, people},
    results,
};
use crate::{
    account::{AddRequest, Body, GroupAnswer, GroupCommand, MemberChange, Recipient, SendMessage},
    api::{
        ApiError, App, Instance,
        asked::{ask, shape},
        auth::{Caller, ToSend},
        body::Object,
        fields::{self, Faults},
        reply::success,
    },
    wire::Jid,
};

/// `POST /groups/{jid}/participants`.
pub(in crate::api) async fn participants_add<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let people = people(&body.members, "participants", true, &mut faults);
    let invite = fields::switch(&body.members, "invite", &mut faults).unwrap_or(false);
    faults.check()?;
    let (group, Some(people)) = (group_id(&jid)?, people) else { return Err(ApiError::Internal) };
    let command = GroupCommand::Members { group: group.clone(), change: MemberChange::Add, people };
    let (all, invites) = match ask(&app, command).await? {
        GroupAnswer::Results(all) => (all, Vec::new()),
        GroupAnswer::Invitable { results, invites } => (results, invites),
        _ => return Err(ApiError::Internal),
    };
    let sent = match invite && !invites.is_empty() {
        true => {
            let view =
                shape!(ask(&app, GroupCommand::Info(group.clone())).await?, GroupAnswer::Group(view) => view);
            send_invites(&app, &group, &view.group.subject, &invites).await
        }
        false => Vec::new(),
    };
    let shown = invited(&app, &group, &all, &invites, &sent).await?;
    if sent.is_empty() && all.iter().all(|(_, code)| *code != 200) {
        return Err(ApiError::GroupRefused(None, shown));
    }
    Ok(success(json!({ "message": "Participants added successfully", "participants": shown })))
}

/// The results, with what lets in beside whoever may be invited, and the message that says it where there is one.
pub(super) async fn invited<I: Instance>(
    app: &App<I>,
    group: &Jid,
    all: &[(Jid, u16)],
    invites: &[(Jid, AddRequest)],
    sent: &[(Jid, String)],
) -> Result<Value, ApiError> {
    let mut shown = results(app, all).await?;
    for one in shown.as_array_mut().into_iter().flatten() {
        let who = |(jid, _): &&(Jid, _)| one["jid"] == jid.to_wire();
        let Some((jid, needed)) = invites.iter().find(who) else { continue };
        let message = sent.iter().find(|(to, _)| to == jid).map(|(_, id)| id);
        one["invite"] = json!({
            "group": group.to_wire(),
            "code": needed.code,
            "expiration": needed.expiration,
            "message_id": message,
        });
    }
    Ok(shown)
}

/// Writes to each what lets one in; to whom, and the id of the message. One that cannot be sent is left out: its code is
/// in the answer all the same.
pub(super) async fn send_invites<I: Instance>(
    app: &App<I>,
    group: &Jid,
    name: &str,
    invites: &[(Jid, AddRequest)],
) -> Vec<(Jid, String)> {
    let mut sent = Vec::new();
    for (person, invite) in invites {
        let message = SendMessage {
            recipient: Recipient::Jid(person.clone()),
            body: Body::GroupInvite {
                group: group.clone(),
                name: name.to_owned(),
                invite: invite.clone(),
                caption: None,
            },
            reply_to: None,
            mentions: Vec::new(),
            idempotency: None,
            respond_async: true,
            send_at: None,
            dry: false,
        };
        match app.parts.instance.send_message(message).await {
            Ok(done) => sent.push((person.clone(), done.message_id)),
            Err(error) => tracing::warn!(%error, "an invitation could not be sent"),
        }
    }
    sent
}

/// `DELETE /groups/{jid}/participants`.
pub(in crate::api) async fn participants_remove<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    change(&app, &jid, MemberChange::Remove, &body, "Participants removed successfully").await
}

/// `POST /groups/{jid}/admins`.
pub(in crate::api) async fn admins_add<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    change(&app, &jid, MemberChange::Promote, &body, "Participants promoted successfully").await
}

/// `DELETE /groups/{jid}/admins`.
pub(in crate::api) async fn admins_remove<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    change(&app, &jid, MemberChange::Demote, &body, "Participants demoted successfully").await
}

async fn change<I: Instance>(
    app: &App<I>,
    jid: &str,
    change: MemberChange,
    body: &Object,
    done: &str,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let people = people(&body.members, "participants", true, &mut faults);
    faults.check()?;
    let (group, Some(people)) = (group_id(jid)?, people) else { return Err(ApiError::Internal) };
    let all = all_results(app, GroupCommand::Members { group, change, people }).await?;
    let shown = some_done(app, &all).await?;
    Ok(success(json!({ "message": done, "participants": shown })))
}

/// `POST /groups/{jid}/requests`: `approve` and `reject`, at least one of them.
pub(in crate::api) async fn decide<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let approved = people(&body.members, "approve", false, &mut faults);
    let rejected = people(&body.members, "reject", false, &mut faults);
    if fields::first(&body.members, &["approve", "reject"]).is_none() {
        faults.add("approve", "At least one of approve, reject is required.");
    }
    let both =
        approved.iter().flatten().find(|person| rejected.iter().flatten().any(|other| other == *person));
    if both.is_some() {
        faults.add("reject", "The reject field must not name anybody whom approve names.");
    }
    faults.check()?;
    let group = group_id(&jid)?;
    let mut all = Vec::new();
    for (approve, people) in [(true, approved), (false, rejected)] {
        if let Some(people) = people {
            let command = GroupCommand::Decide { group: group.clone(), approve, people };
            all.extend(all_results(&app, command).await?);
        }
    }
    let shown = some_done(&app, &all).await?;
    Ok(success(json!({ "message": "Requests handled successfully", "participants": shown })))
}

async fn all_results<I: Instance>(app: &App<I>, command: GroupCommand) -> Result<Vec<(Jid, u16)>, ApiError> {
    Ok(shape!(ask(app, command).await?, GroupAnswer::Results(all) => all))
}

/// The results as shown; all refused is a refusal.
async fn some_done<I: Instance>(app: &App<I>, all: &[(Jid, u16)]) -> Result<Value, ApiError> {
    let shown = results(app, all).await?;
    let done = all.iter().any(|(_, code)| *code == 200);
    if done { Ok(shown) } else { Err(ApiError::GroupRefused(None, shown)) }
}
