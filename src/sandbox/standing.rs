//! `POST /admin/phones/{number}/standing` and `/properties`: what the server lets an account do, and what it sets for its
//! clients.

use std::time::Duration;

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::Value;

use super::{
    admin::AdminError,
    control::{App, Body, bad},
    core::StandingChange,
};

type Reply<T> = Result<T, AdminError>;

/// A member's own member as a whole number.
fn number(object: &Value, name: &str, key: &str) -> Reply<u64> {
    object.get(key).and_then(Value::as_u64).ok_or_else(|| bad(format!("{name}.{key}: a whole number")))
}

fn time(object: &Value, name: &str) -> Reply<Duration> {
    Ok(Duration::from_secs(number(object, name, "seconds")?))
}

/// `timelock`, `cap`, `ban` and `refuse`; null ends what was in force.
fn read(name: &str, value: &Value) -> Reply<StandingChange> {
    let some = Some(value).filter(|value| !value.is_null());
    Ok(match name {
        "timelock" => StandingChange::Timelock(match some {
            None => None,
            Some(lock) => {
                let kind = lock.get("type").and_then(Value::as_str).unwrap_or("DEFAULT");
                Some((kind.to_owned(), time(lock, name)?))
            }
        }),
        "cap" => StandingChange::Cap(match some {
            None => None,
            Some(cap) => Some((number(cap, name, "total")?, time(cap, name)?)),
        }),
        "ban" => StandingChange::Ban(match some {
            None => None,
            Some(ban) => {
                let code = u16::try_from(number(ban, name, "code")?).map_err(|_| bad("ban.code: a code"))?;
                Some((code, time(ban, name)?))
            }
        }),
        "refuse" => {
            let reason = some.map(|reason| reason.as_u64().and_then(|reason| u16::try_from(reason).ok()));
            let reason = reason.map(|reason| reason.ok_or_else(|| bad("refuse: a reason, 400 to 599")));
            StandingChange::Refuse(reason.transpose()?)
        }
        _ => return Err(bad("timelock, cap, ban or refuse")),
    })
}

pub(super) async fn change(
    State(app): State<App>,
    Path(phone): Path<String>,
    body: Body,
) -> Reply<StatusCode> {
    let changes = body.0.iter().map(|(name, value)| read(name, value)).collect::<Reply<Vec<_>>>()?;
    for change in changes {
        app.admin.standing(&phone, change)?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Numbers and values; null takes a property away.
pub(super) async fn properties(
    State(app): State<App>,
    Path(phone): Path<String>,
    body: Body,
) -> Reply<StatusCode> {
    for (code, value) in &body.0 {
        let code = code.parse().map_err(|_| bad("properties have numbers"))?;
        let value = match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            _ => return Err(bad("the value of a property is a text")),
        };
        app.admin.property(&phone, code, value)?;
    }
    Ok(StatusCode::NO_CONTENT)
}
