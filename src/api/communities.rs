//! `/communities`: groups of groups, listed, made, looked at, filled and ended (instance-api.md §10). Their groups are
//! groups like any other, under `/groups`.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{
    ApiError, App, Instance,
    asked::{Area, Bare, ask, shape},
    auth::{Caller, ToRead, ToSend},
    body::Object,
    fields::{self, Faults},
    groups::{group_id, member, of_group, people, results, short, subject, whole},
    reply::{self, success, with_success},
};
use crate::{
    account::{AskError, CommunityAnswer, CommunityCommand, GroupView, SubGroup},
    clock::Millis,
};

/// Longest description, in characters (WhatsApp's property 14778).
const DESCRIPTION_MAX: usize = 2_048;

impl Area for CommunityCommand {
    fn refused(error: AskError) -> ApiError {
        of_group(error)
    }

    fn is_done(told: &CommunityAnswer) -> bool {
        *told == CommunityAnswer::Done
    }
}

fn sub_group(group: &SubGroup) -> Value {
    json!({
        "jid": group.jid.to_wire(),
        "subject": group.subject,
        "size": group.size,
        "created_at": Millis::from_secs(group.created).rfc3339(),
        "is_announcement": group.announcements,
    })
}

fn shown(view: &GroupView, groups: &[SubGroup]) -> Value {
    let mut shown = whole(view);
    if let Some(members) = shown.as_object_mut() {
        members.insert("groups".into(), groups.iter().map(sub_group).collect());
    }
    shown
}

/// `GET /communities`.
pub(super) async fn list<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
) -> Result<Response, ApiError> {
    let all = shape!(ask(&app, CommunityCommand::List).await?, CommunityAnswer::Communities(all) => all);
    let listed: Vec<Value> = all.iter().map(short).collect();
    Ok(success(json!({ "communities": listed, "total": listed.len() })))
}

/// `POST /communities`: `subject`, `description?`.
pub(super) async fn create<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let subject = subject(&body.members, true, &mut faults);
    let description = fields::text(&body.members, &["description"], &mut faults);
    if description.is_some_and(|text| text.chars().count() > DESCRIPTION_MAX) {
        let most = format!("The description field must be a string of at most {DESCRIPTION_MAX} characters.");
        faults.add("description", most);
    }
    faults.check()?;
    let Some(subject) = subject else { return Err(ApiError::Internal) };
    let command = CommunityCommand::Create { subject, description: description.map(str::to_owned) };
    let (view, groups) = shape!(
        ask(&app, command).await?,
        CommunityAnswer::Community { view, groups } => (view, groups)
    );
    let made = json!({ "message": "Community created successfully", "community": shown(&view, &groups) });
    Ok(reply::json(StatusCode::CREATED, &with_success(made)))
}

/// `GET /communities/{jid}`: with its groups.
pub(super) async fn info<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    let (view, groups) = shape!(
        ask(&app, CommunityCommand::Info(group_id(&jid)?)).await?,
        CommunityAnswer::Community { view, groups } => (view, groups)
    );
    Ok(success(shown(&view, &groups)))
}

/// `DELETE /communities/{jid}`: its groups go on by themselves.
pub(super) fn deactivate(jid: String) -> Bare<CommunityCommand> {
    Ok((CommunityCommand::Deactivate(group_id(&jid)?), "Community deactivated"))
}

/// `POST /communities/{jid}/groups`: `subject`, `participants`.
pub(super) async fn create_group<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let subject = subject(&body.members, true, &mut faults);
    let people = people(&body.members, "participants", true, &mut faults);
    faults.check()?;
    let (Some(subject), Some(people)) = (subject, people) else { return Err(ApiError::Internal) };
    let command = CommunityCommand::CreateGroup { community: group_id(&jid)?, subject, people };
    let view = shape!(ask(&app, command).await?, CommunityAnswer::Group(view) => view);
    let made = json!({ "message": "Group created successfully", "group": whole(&view) });
    Ok(reply::json(StatusCode::CREATED, &with_success(made)))
}

/// `PUT /communities/{jid}/groups/{group}`: the group belongs to it.
pub(super) fn link((jid, group): (String, String)) -> Bare<CommunityCommand> {
    let (community, group) = (group_id(&jid)?, group_id(&group)?);
    Ok((CommunityCommand::Link { community, group, on: true }, "Group linked"))
}

/// `DELETE /communities/{jid}/groups/{group}`: it does not any more.
pub(super) fn unlink((jid, group): (String, String)) -> Bare<CommunityCommand> {
    let (community, group) = (group_id(&jid)?, group_id(&group)?);
    Ok((CommunityCommand::Link { community, group, on: false }, "Group unlinked"))
}

/// `POST /communities/{jid}/groups/{group}/join`.
pub(super) async fn join<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path((jid, group)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let command = CommunityCommand::Join { community: group_id(&jid)?, group: group_id(&group)? };
    let view = shape!(ask(&app, command).await?, CommunityAnswer::Group(view) => view);
    Ok(success(json!({ "message": "Joined group successfully", "group": whole(&view) })))
}

/// `GET /communities/{jid}/participants`: everybody in it.
pub(super) async fn participants<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    let answer = ask(&app, CommunityCommand::Members(group_id(&jid)?)).await?;
    let all = shape!(answer, CommunityAnswer::Members(all) => all);
    Ok(success(json!({ "participants": all.iter().map(member).collect::<Vec<_>>(), "total": all.len() })))
}

/// `DELETE /communities/{jid}/participants`: out of it, and of all its groups.
pub(super) async fn remove<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let people = people(&body.members, "participants", true, &mut faults);
    faults.check()?;
    let Some(people) = people else { return Err(ApiError::Internal) };
    let answer = ask(&app, CommunityCommand::Remove { community: group_id(&jid)?, people }).await?;
    let all = shape!(answer, CommunityAnswer::Results(all) => all);
    let mut body = Map::from_iter([("results".to_owned(), results(&app, &all).await?)]);
    body.insert("message".into(), "Participants removed successfully".into());
    Ok(success(Value::Object(body)))
}
