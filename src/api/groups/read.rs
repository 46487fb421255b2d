//! What requests about groups say, checked.

use serde_json::{Map, Value};

use crate::{
    account::{AddRequest, GroupCommand, GroupSetting, GroupUpdate, Recipient},
    api::{
        ApiError,
        fields::{self, Faults},
        recipient,
    },
    wire::Jid,
};

/// Longest name and description, in characters (WhatsApp's properties 14801 and 14778).
const SUBJECT_MAX: usize = 100;
const DESCRIPTION_MAX: usize = 2_048;
/// People in one request (universal-api.md §10).
const PEOPLE_MAX: usize = 256;
/// Longest id of a message.
const ID_MAX: usize = 128;
/// Seconds after which messages may disappear: never, a day, a week, 90 days.
const EPHEMERAL: [u32; 4] = [0, 86_400, 604_800, 7_776_000];

/// The group in the path; what is none is not found.
pub(in crate::api) fn group_id(text: &str) -> Result<Jid, ApiError> {
    match recipient::read(&Value::String(text.to_owned())) {
        Some(Ok(Recipient::Jid(jid))) if jid.is_group() => Ok(jid),
        _ => Err(ApiError::GroupNotFound),
    }
}

/// Numbers or JIDs of people.
pub(in crate::api) fn people(
    members: &Map<String, Value>,
    field: &'static str,
    required: bool,
    faults: &mut Faults,
) -> Option<Vec<Jid>> {
    let Some(value) = fields::first(members, &[field]) else {
        if required {
            faults.add(field, fields::required(field));
        }
        return None;
    };
    let person = |value: &Value| match recipient::read(value) {
        Some(Ok(Recipient::Number(digits))) => Some(Jid::pn(digits)),
        Some(Ok(Recipient::Jid(jid))) if jid.is_user() => Some(jid),
        _ => None,
    };
    let list = value.as_array().filter(|list| (1..=PEOPLE_MAX).contains(&list.len()));
    let people = list.and_then(|list| list.iter().map(person).collect::<Option<Vec<_>>>());
    if people.is_none() {
        faults.add(
            field,
            format!("The {field} field must be a list of 1 to {PEOPLE_MAX} phone numbers or ids of people."),
        );
    }
    people
}

/// An invitation of one person, by the message that it is in, or by what that says; `None`: something else is given.
/// `Some(None)` only with a fault.
pub(super) fn personal_invite(
    members: &Map<String, Value>,
    faults: &mut Faults,
) -> Option<Option<GroupCommand>> {
    if fields::first(members, &["message_id"]).is_some() {
        let id = fields::text(members, &["message_id"], faults);
        let good = id.filter(|id| !id.is_empty() && id.len() <= ID_MAX);
        if let (Some(_), None) = (id, good) {
            faults.add("message_id", format!("The message_id field must have 1 to {ID_MAX} characters."));
        }
        return Some(good.map(|id| GroupCommand::AcceptMessage(id.to_owned())));
    }
    fields::first(members, &["group", "expiration", "admin"])?;
    let group = fields::first(members, &["group"]).map(recipient::read);
    let group = match group {
        Some(Some(Ok(Recipient::Jid(jid)))) if jid.is_group() => Some(jid),
        _ => {
            faults.add("group", "The group field must be the id of a group.");
            None
        }
    };
    let code = fields::text(members, &["code"], faults);
    let code = code.filter(|code| (1..=AddRequest::MAX_CODE).contains(&code.len()));
    if code.is_none() {
        let wrong = format!("The code field must have 1 to {} characters.", AddRequest::MAX_CODE);
        faults.add("code", wrong);
    }
    let expiration = fields::first(members, &["expiration"]).and_then(Value::as_u64);
    if expiration.is_none() {
        faults.add("expiration", "The expiration field must be a time in seconds since 1970.");
    }
    let admin = match fields::first(members, &["admin"]).map(recipient::read) {
        Some(Some(Ok(Recipient::Number(digits)))) => Some(Jid::pn(digits)),
        Some(Some(Ok(Recipient::Jid(jid)))) if jid.is_user() => Some(jid),
        _ => {
            faults.add("admin", "The admin field must be the phone number or id of who sent the invitation.");
            None
        }
    };
    let (Some(group), Some(code), Some(expiration), Some(admin)) = (group, code, expiration, admin) else {
        return Some(None);
    };
    let invite = AddRequest { code: code.to_owned(), expiration };
    Some(Some(GroupCommand::Accept { group, invite, admin }))
}

/// A group's name.
pub(in crate::api) fn subject(
    members: &Map<String, Value>,
    required: bool,
    faults: &mut Faults,
) -> Option<String> {
    match fields::first(members, &["subject"]) {
        None if required => {
            faults.add("subject", fields::required("subject"));
            None
        }
        None => None,
        Some(Value::String(text)) if text.trim().is_empty() => {
            faults.add("subject", fields::required("subject"));
            None
        }
        Some(Value::String(text)) if text.chars().count() <= SUBJECT_MAX => Some(text.trim().to_owned()),
        Some(_) => {
            let wrong = format!("The subject field must be a string of at most {SUBJECT_MAX} characters.");
            faults.add("subject", wrong);
            None
        }
    }
}

/// What is to be changed; nothing is a fault.
pub(super) fn update(members: &Map<String, Value>, faults: &mut Faults) -> GroupUpdate {
    const NAMES: [&str; 7] =
        ["subject", "description", "announce", "locked", "ephemeral_seconds", "member_add", "join_approval"];
    let description = match fields::first(members, &["description"]) {
        None => None,
        Some(Value::String(text)) if text.chars().count() <= DESCRIPTION_MAX => Some(text.clone()),
        Some(_) => {
            let wrong =
                format!("The description field must be a string of at most {DESCRIPTION_MAX} characters.");
            faults.add("description", wrong);
            None
        }
    };
    let mut settings = Vec::new();
    settings.extend(fields::switch(members, "announce", faults).map(GroupSetting::Announce));
    settings.extend(fields::switch(members, "locked", faults).map(GroupSetting::Locked));
    if let Some(value) = fields::first(members, &["ephemeral_seconds"]) {
        let seconds = value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| EPHEMERAL.contains(n));
        match seconds {
            Some(seconds) => settings.push(GroupSetting::Ephemeral(seconds)),
            None => faults.add(
                "ephemeral_seconds",
                "The ephemeral_seconds field must be one of 0, 86400, 604800, 7776000.",
            ),
        }
    }
    match fields::first(members, &["member_add"]) {
        None => {}
        Some(Value::String(word)) if word == "admins" => settings.push(GroupSetting::AdminsAdd(true)),
        Some(Value::String(word)) if word == "everyone" => settings.push(GroupSetting::AdminsAdd(false)),
        Some(_) => faults.add("member_add", "The member_add field must be one of everyone, admins."),
    }
    settings.extend(fields::switch(members, "join_approval", faults).map(GroupSetting::Approval));
    if fields::first(members, &NAMES).is_none() {
        faults.add("subject", format!("At least one of {} is required.", NAMES.join(", ")));
    }
    GroupUpdate { subject: subject(members, false, faults), description, settings }
}
