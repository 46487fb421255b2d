//! `/account/privacy`: who sees and does what, by WhatsApp's own names.

use axum::{extract::State, response::Response};
use serde_json::{Map, Value, json};

use super::ask;
use crate::{
    account::{PrivacyView, ProfileAnswer, ProfileCommand, Recipient, StateChange},
    api::{
        ApiError, App, Instance,
        auth::{Caller, ToRead, ToSend},
        body::Object,
        fields::{self, Faults},
        recipient, reply,
    },
    wire::Jid,
};

/// What can be set: name and values (protocol 05, 10.1). Lists of exceptions are kept on the phone, and so are the values that
/// need one.
const SETTINGS: [(&str, &[&str]); 10] = [
    ("last", &["all", "contacts", "none"]),
    ("online", &["all", "match_last_seen"]),
    ("profile", &["all", "contacts", "none"]),
    ("status", &["all", "contacts", "none"]),
    ("groupadd", &["all", "contacts", "none"]),
    ("readreceipts", &["all", "none"]),
    ("calladd", &["all", "known"]),
    ("messages", &["all", "contacts"]),
    ("defense", &["off", "on_standard"]),
    ("stickers", &["contacts", "none"]),
];
/// Values that name a list.
const LISTS: [&str; 2] = ["contact_blacklist", "contact_allowlist"];
const TIMER: &str = "default_ephemeral_seconds";
const TIMERS: [u32; 4] = [0, 86_400, 604_800, 7_776_000];
const STATUSES: &str = "status_privacy";
const AUDIENCES: [&str; 3] = ["contacts", "blacklist", "whitelist"];
/// People in an audience.
const PEOPLE_MAX: usize = 1_000;

/// `GET /account/privacy`.
pub(in crate::api) async fn privacy<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
) -> Result<Response, ApiError> {
    show(ask(&app, ProfileCommand::Privacy).await?)
}

/// `PATCH /account/privacy`: any of the settings.
pub(in crate::api) async fn set_privacy<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let mut settings = Vec::new();
    for (name, values) in SETTINGS {
        let Some(value) = fields::first(&body.members, &[name]) else { continue };
        match value.as_str() {
            Some(value) if values.contains(&value) => settings.push((name.to_owned(), value.to_owned())),
            Some(value) if LISTS.contains(&value) => {
                faults.add(name, "Lists of exceptions can only be set on the phone.");
            }
            _ => faults.add(name, format!("The {name} field must be one of {}.", values.join(", "))),
        }
    }
    let timer = fields::first(&body.members, &[TIMER]).and_then(|value| {
        let timer = value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| TIMERS.contains(n));
        if timer.is_none() {
            faults.add(TIMER, format!("The {TIMER} field must be one of 0, 86400, 604800, 7776000."));
        }
        timer
    });
    let statuses = fields::first(&body.members, &[STATUSES]).and_then(|value| audience(value, &mut faults));
    let known =
        |name: &str| SETTINGS.iter().any(|(known, _)| *known == name) || [TIMER, STATUSES].contains(&name);
    // A setting that is spelt wrongly would be taken for set.
    for name in body.members.keys().filter(|name| !known(name)) {
        faults.add(name, "There is no such privacy setting.");
    }
    if settings.is_empty() && timer.is_none() && statuses.is_none() && faults.is_empty() {
        let names: Vec<&str> = SETTINGS.iter().map(|(name, _)| *name).collect();
        faults.add(
            "settings",
            format!("At least one of {}, {TIMER}, {STATUSES} is required.", names.join(", ")),
        );
    }
    faults.check()?;
    if let Some(change) = statuses {
        app.parts.instance.change(change).await?;
    }
    show(ask(&app, ProfileCommand::SetPrivacy { settings, timer }).await?)
}

fn audience(value: &Value, faults: &mut Faults) -> Option<StateChange> {
    let members = value.as_object();
    let kind = members.and_then(|members| members.get("type")).and_then(Value::as_str);
    let Some(kind) = kind.filter(|kind| AUDIENCES.contains(kind)) else {
        let wrong =
            format!("The {STATUSES} field must be an object whose type is one of {}.", AUDIENCES.join(", "));
        faults.add(STATUSES, wrong);
        return None;
    };
    let person = |value: &Value| match recipient::read(value) {
        Some(Ok(Recipient::Number(digits))) => Some(Jid::pn(digits)),
        Some(Ok(Recipient::Jid(jid))) if jid.is_user() => Some(jid),
        _ => None,
    };
    let people = match members.and_then(|members| members.get("people")) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(list)) if list.len() <= PEOPLE_MAX => list.iter().map(person).collect(),
        Some(_) => None,
    };
    let fits = people.filter(|people| people.is_empty() == (kind == "contacts"));
    let Some(people) = fits else {
        faults.add(
            STATUSES,
            format!(
                "The people of {STATUSES} must be 1 to {PEOPLE_MAX} phone numbers or ids of people, and none where \
                 the type is contacts."
            ),
        );
        return None;
    };
    Some(StateChange::StatusPrivacy { kind: kind.to_owned(), people })
}

fn show(answer: ProfileAnswer) -> Result<Response, ApiError> {
    let ProfileAnswer::Privacy(view) = answer else { return Err(ApiError::Internal) };
    let PrivacyView { settings, timer, statuses } = *view;
    let mut body = Map::new();
    body.insert("success".into(), true.into());
    body.extend(settings.into_iter().map(|(name, value)| (name, value.into())));
    body.insert(TIMER.into(), timer.into());
    if let Some(statuses) = statuses {
        let people: Vec<String> = statuses.people.iter().map(Jid::to_wire).collect();
        body.insert(STATUSES.into(), json!({ "type": statuses.kind, "people": people }));
    }
    Ok(reply::ok(&Value::Object(body)))
}
