//! `/groups`: made, looked at, changed and left; who is in them, the link that leads in, and who waits at it
//! (universal-api.md §10, flat; instance-api.md §10).

mod people;
mod read;

pub(super) use people::{admins_add, admins_remove, decide, participants_add, participants_remove};

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use self::read::update;
pub(super) use self::read::{group_id, people, subject};
use super::{
    ApiError, App, Instance,
    asked::{Area, Bare, ask, shape},
    auth::{Caller, ToRead, ToSend},
    body::Object,
    fields::{self, Faults},
    reply::{self, success, with_success},
};
use crate::{
    account::{AskError, GroupAnswer, GroupCommand, GroupMember, GroupView, Role},
    clock::Millis,
    store::Tx,
    wire::Jid,
};

/// Where links that lead into a group begin.
const LINK: &str = "https://chat.whatsapp.com/";
/// Groups on one page at most (instance-api.md §10).
const PER_PAGE: usize = 100;

/// What the server's refusal means where a group was asked for.
pub(super) fn of_group(error: AskError) -> ApiError {
    match error {
        AskError::NotConnected(status) => ApiError::NotConnected(status),
        AskError::Unknown => ApiError::GroupNotFound,
        AskError::Refused(code) => ApiError::GroupRefused(Some(code), Value::Null),
        AskError::Internal => ApiError::Internal,
    }
}

impl Area for GroupCommand {
    fn refused(error: AskError) -> ApiError {
        of_group(error)
    }

    fn is_done(told: &GroupAnswer) -> bool {
        *told == GroupAnswer::Done
    }
}

/// Each person, under both names where they are known, and WhatsApp's code, as text.
pub(super) async fn results<I: Instance>(app: &App<I>, all: &[(Jid, u16)]) -> Result<Value, ApiError> {
    let people: Vec<Jid> = all.iter().map(|(jid, _)| jid.clone()).collect();
    let read = move |tx: &Tx<'_>| people.iter().map(|jid| tx.people().lid_known(jid)).collect();
    let lids: Vec<Option<Jid>> = app.parts.store.read(read).await?;
    let one = |((jid, code), lid): (&(Jid, u16), Option<Jid>)| json!({ "jid": jid.to_wire(), "lid": lid.map(|lid| lid.to_wire()), "status": code.to_string() });
    Ok(Value::Array(all.iter().zip(lids).map(one).collect()))
}

pub(super) fn member(member: &GroupMember) -> Value {
    let admin = match member.role {
        Role::Member => None,
        Role::Admin => Some("admin"),
        Role::SuperAdmin => Some("superadmin"),
    };
    json!({ "jid": member.jid.to_wire(), "lid": member.lid.as_ref().map(Jid::to_wire), "admin": admin })
}

/// The LID of who made a group, if that is in it still.
fn owner_lid(view: &GroupView) -> Option<String> {
    let owner = view.group.owner.as_ref()?;
    let is_owner = |member: &&GroupMember| member.jid == *owner || member.lid.as_ref() == Some(owner);
    view.members.iter().find(is_owner)?.lid.as_ref().map(Jid::to_wire)
}

pub(super) fn short(view: &GroupView) -> Value {
    let GroupView { group, members } = view;
    json!({
        "jid": group.jid.to_wire(),
        "subject": group.subject,
        "owner": group.owner.as_ref().map(Jid::to_wire),
        "owner_lid": owner_lid(view),
        "size": members.len(),
        "description": group.description,
        "community": group.community,
        "parent": group.parent.as_ref().map(Jid::to_wire),
        "is_announcement": group.announcements,
    })
}

pub(super) fn whole(view: &GroupView) -> Value {
    let GroupView { group, members } = view;
    json!({
        "jid": group.jid.to_wire(),
        "subject": group.subject,
        "description": group.description,
        "owner": group.owner.as_ref().map(Jid::to_wire),
        "owner_lid": owner_lid(view),
        "participants": members.iter().map(member).collect::<Vec<_>>(),
        "size": members.len(),
        "created_at": Millis::from_secs(group.created).rfc3339(),
        "announce": group.announce,
        "locked": group.locked,
        "ephemeral_seconds": group.ephemeral,
        "member_add": if group.admins_add { "admins" } else { "everyone" },
        "join_approval": group.approval,
        "community": group.community,
        "parent": group.parent.as_ref().map(Jid::to_wire),
        "is_announcement": group.announcements,
    })
}

/// Which part of a list.
#[derive(Deserialize)]
pub(super) struct Page {
    page: Option<String>,
    per_page: Option<String>,
}

impl Page {
    /// The first of both is 1.
    fn read(&self, faults: &mut Faults) -> (usize, usize) {
        let mut number = |field: &str, text: &Option<String>, most: usize, default: usize| match text {
            None => default,
            Some(text) => text.parse().ok().filter(|n| (1..=most).contains(n)).unwrap_or_else(|| {
                faults.add(field, format!("The {field} field must be a whole number from 1 to {most}."));
                default
            }),
        };
        (number("page", &self.page, 1_000_000, 1), number("per_page", &self.per_page, PER_PAGE, PER_PAGE))
    }
}

/// `GET /groups`.
pub(super) async fn list<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Query(page): Query<Page>,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let (page, per_page) = page.read(&mut faults);
    faults.check()?;
    let groups = shape!(ask(&app, GroupCommand::List).await?, GroupAnswer::Groups(groups) => groups);
    let shown: Vec<Value> =
        groups.iter().skip((page - 1).saturating_mul(per_page)).take(per_page).map(short).collect();
    Ok(success(json!({ "groups": shown, "total": groups.len(), "page": page, "per_page": per_page })))
}

/// `POST /groups`: `subject`, `participants`, `invite?`.
pub(super) async fn create<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let subject = subject(&body.members, true, &mut faults);
    let people = people(&body.members, "participants", true, &mut faults);
    let invite = fields::switch(&body.members, "invite", &mut faults).unwrap_or(false);
    faults.check()?;
    let (Some(subject), Some(people)) = (subject, people) else { return Err(ApiError::Internal) };
    let answer = ask(&app, GroupCommand::Create { subject, people }).await?;
    let (view, all, invites) = shape!(
        answer,
        GroupAnswer::Created { view, results, invites } => (view, results, invites)
    );
    let (group, name) = (&view.group.jid, &view.group.subject);
    let sent = if invite { people::send_invites(&app, group, name, &invites).await } else { Vec::new() };
    let body = with_success(json!({
        "message": "Group created successfully",
        "group": { "jid": view.group.jid.to_wire(), "subject": view.group.subject },
        "participants": people::invited(&app, group, &all, &invites, &sent).await?,
    }));
    Ok(reply::json(StatusCode::CREATED, &body))
}

/// `GET /groups/{jid}`.
pub(super) async fn info<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    let answer = ask(&app, GroupCommand::Info(group_id(&jid)?)).await?;
    Ok(success(whole(&*shape!(answer, GroupAnswer::Group(view) => view))))
}

/// `PATCH /groups/{jid}`: at least one of `subject`, `description` and the switches.
pub(super) async fn change<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let update = update(&body.members, &mut faults);
    faults.check()?;
    let answer = ask(&app, GroupCommand::Update { group: group_id(&jid)?, update }).await?;
    let shown = whole(&*shape!(answer, GroupAnswer::Group(view) => view));
    let mut body = Map::from_iter([("message".to_owned(), "Group updated successfully".into())]);
    if let Value::Object(members) = shown {
        let beside = ["participants", "size", "owner", "owner_lid", "created_at"];
        body.extend(members.into_iter().filter(|(name, _)| !beside.contains(&name.as_str())));
    }
    Ok(success(Value::Object(body)))
}

/// `POST /groups/{jid}/leave`.
pub(super) fn leave(jid: String) -> Bare<GroupCommand> {
    Ok((GroupCommand::Leave(group_id(&jid)?), "Left group successfully"))
}

/// `GET /groups/{jid}/invite`.
pub(super) async fn invite<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    let answer = ask(&app, GroupCommand::Invite(group_id(&jid)?)).await?;
    let code = shape!(answer, GroupAnswer::Invite(code) => code);
    Ok(success(json!({ "code": code, "invite_link": format!("{LINK}{code}") })))
}

/// `DELETE /groups/{jid}/invite`, and `POST`, which is the same.
pub(super) async fn revoke_invite<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    let answer = ask(&app, GroupCommand::RevokeInvite(group_id(&jid)?)).await?;
    let code = shape!(answer, GroupAnswer::Invite(code) => code);
    let link = format!("{LINK}{code}");
    Ok(success(json!({ "message": "Invite link revoked", "new_code": code, "new_invite_link": link })))
}

/// `GET /groups/invite/{code}`: what a code leads to.
pub(super) async fn invite_info<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(code): Path<String>,
) -> Result<Response, ApiError> {
    let code = invite_code(&code).ok_or(ApiError::GroupNotFound)?;
    let answer = app.parts.instance.ask(GroupCommand::InviteInfo(code)).await.map_err(leads_nowhere)?;
    let view = shape!(answer, GroupAnswer::Group(view) => view);
    let mut shown = short(&view);
    if let Some(members) = shown.as_object_mut() {
        members.insert("join_approval".into(), view.group.approval.into());
    }
    Ok(success(shown))
}

/// `POST /groups/join`: `code`, or the whole `invite_link`; or an invitation that somebody sent: `message_id`, or what it
/// says, `group`, `code`, `expiration`, and `admin`, who sent it.
pub(super) async fn join<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    if let Some(command) = read::personal_invite(&body.members, &mut faults) {
        faults.check()?;
        let command = command.ok_or(ApiError::Internal)?;
        let answer = app.parts.instance.ask(command).await.map_err(leads_nowhere)?;
        return Ok(joined(shape!(answer, GroupAnswer::Joined { group, inside } => (group, inside))));
    }
    let given = fields::text(&body.members, &["code", "invite_link"], &mut faults);
    let code = given.and_then(invite_code);
    match (given, &code) {
        (None, _) if fields::first(&body.members, &["code", "invite_link"]).is_none_or(Value::is_string) => {
            faults.add("code", fields::required("code"));
        }
        (Some(_), None) => faults.add("code", "The code field must be an invite code or an invite link."),
        _ => {}
    }
    faults.check()?;
    let Some(code) = code else { return Err(ApiError::Internal) };
    let answer = app.parts.instance.ask(GroupCommand::Join(code)).await.map_err(leads_nowhere)?;
    Ok(joined(shape!(answer, GroupAnswer::Joined { group, inside } => (group, inside))))
}

fn joined((group, inside): (Jid, bool)) -> Response {
    let (message, status) = match inside {
        true => ("Joined group successfully", "joined"),
        false => ("Request to join sent", "pending"),
    };
    success(json!({ "message": message, "jid": group.to_wire(), "status": status }))
}

/// `GET /groups/{jid}/requests`.
pub(super) async fn requests<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    let answer = ask(&app, GroupCommand::Requests(group_id(&jid)?)).await?;
    let all = shape!(answer, GroupAnswer::Requests(all) => all);
    let one = |request: &crate::account::GroupRequest| {
        json!({
            "jid": request.jid.to_wire(),
            "lid": request.lid.as_ref().map(Jid::to_wire),
            "requested_at": request.at.rfc3339(),
        })
    };
    Ok(success(json!({ "requests": all.iter().map(one).collect::<Vec<_>>(), "total": all.len() })))
}

/// A code that WhatsApp does not know (any more) names no group: 404, 406 malformed, 410 revoked, 436 unavailable.
fn leads_nowhere(error: AskError) -> ApiError {
    match error {
        AskError::Refused(404 | 406 | 410 | 436) => ApiError::GroupNotFound,
        error => of_group(error),
    }
}

/// The code in a link or by itself: letters, digits, `_` and `-`, 22 of them today.
fn invite_code(text: &str) -> Option<String> {
    let text = text.trim();
    let code = match text.split_once("chat.whatsapp.com/") {
        Some((_, code)) => code.split(['?', '#', '/']).next().unwrap_or_default(),
        None => text,
    };
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    ((8..=64).contains(&code.len()) && code.chars().all(good)).then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::invite_code;

    #[test]
    fn a_code_is_found_in_whatever_form_people_paste_it() {
        let code = "AbCdEfGhIjKlMnOpQrStUv";
        for text in [
            code.to_owned(),
            format!(" {code} "),
            format!("https://chat.whatsapp.com/{code}"),
            format!("http://chat.whatsapp.com/{code}?mode=x"),
            format!("chat.whatsapp.com/{code}/"),
        ] {
            assert_eq!(invite_code(&text).as_deref(), Some(code), "{text}");
        }
        for text in ["", "short", "https://chat.whatsapp.com/", "AbCd EfGh IjKl", "../../etc/passwd"] {
            assert_eq!(invite_code(text), None, "{text}");
        }
    }
}
