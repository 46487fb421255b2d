//! The control API's view of app state: what a phone has of it, and what its user changes.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use super::{
    admin::AdminError,
    control::{App, Body, bad},
    core::PhoneChange,
};
use crate::crypto::app_state::Collection;

type Reply<T> = Result<T, AdminError>;

/// `POST /admin/phones/{number}/contacts`: `{"number" or "jid", "name", "first_name"?}`; `"name": null` takes the contact
/// out of the address book.
pub(super) async fn contact(
    State(app): State<App>,
    Path(number): Path<String>,
    body: Body,
) -> Reply<StatusCode> {
    let who = match body.text("jid")? {
        Some(jid) => jid,
        None => body.required("number")?,
    };
    if !body.0.contains_key("name") {
        return Err(bad("name is missing"));
    }
    let change = PhoneChange::Contact { who, name: body.text("name")?, first_name: body.text("first_name")? };
    app.admin.change(&number, &change).map(|()| StatusCode::NO_CONTENT)
}

/// `GET /admin/phones/{number}/app-state`: the records that the phone has read and verified, and its keys.
pub(super) async fn list(State(app): State<App>, Path(number): Path<String>) -> Reply<Json<Value>> {
    let (actions, diverged) = app.admin.app_state(&number)?;
    let keys = app.admin.sync_keys(&number)?;
    Ok(Json(json!({"actions": actions, "diverged": diverged, "keys": keys})))
}

/// `POST /admin/phones/{number}/app-state/rotate`: the phone makes a new key, and tells its companions.
pub(super) async fn rotate(State(app): State<App>, Path(number): Path<String>) -> Reply<StatusCode> {
    app.admin.rotate_key(&number).map(|()| StatusCode::NO_CONTENT)
}

/// `POST /admin/phones/{number}/app-state`: one change, named after its kind.
pub(super) async fn change(
    State(app): State<App>,
    Path(number): Path<String>,
    body: Body,
) -> Reply<StatusCode> {
    app.admin.change(&number, &read(&body.0)?).map(|()| StatusCode::NO_CONTENT)
}

/// `POST /admin/phones/{number}/app-state/snapshot`: from here on new devices get a snapshot of that collection, or of all.
pub(super) async fn snapshot(
    State(app): State<App>,
    Path(number): Path<String>,
    body: Body,
) -> Reply<StatusCode> {
    let collections = match body.text("collection")? {
        Some(name) => vec![Collection::parse(&name).ok_or_else(|| bad("collection: no such collection"))?],
        None => Collection::ALL.to_vec(),
    };
    for collection in collections {
        app.admin.snapshot(&number, collection).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

fn read(body: &Map<String, Value>) -> Reply<PhoneChange> {
    let mut members = body.iter();
    let (Some((kind, value)), None) = (members.next(), members.next()) else {
        return Err(bad("exactly one change, named after its kind"));
    };
    if kind == "name" {
        let name = value.as_str().filter(|name| !name.is_empty()).ok_or_else(|| bad("name: a text"))?;
        return Ok(PhoneChange::Name(name.to_owned()));
    }
    let of = value.as_object().ok_or_else(|| bad(format!("{kind}: an object")))?;
    let text = |key: &str| match of.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        _ => Err(bad(format!("{kind}.{key}: a text"))),
    };
    let on = || match of.get("value") {
        Some(Value::Bool(on)) => Ok(*on),
        _ => Err(bad(format!("{kind}.value: true or false"))),
    };
    let whole = |key: &str, default: Option<i64>| {
        let given = of.get(key).map_or(default, Value::as_i64);
        given.ok_or_else(|| bad(format!("{kind}.{key}: a whole number")))
    };
    Ok(match kind.as_str() {
        "pin" => PhoneChange::Pin { chat: text("chat")?, on: on()? },
        "archive" => PhoneChange::Archive { chat: text("chat")?, on: on()? },
        "mute" => PhoneChange::Mute { chat: text("chat")?, until: whole("until", None)? },
        "read" => PhoneChange::Read { chat: text("chat")?, on: on()? },
        "star" => PhoneChange::Star { chat: text("chat")?, id: text("id")?, on: on()? },
        "delete_message" => PhoneChange::DeleteMessage { chat: text("chat")?, id: text("id")? },
        "delete_chat" => PhoneChange::DeleteChat { chat: text("chat")? },
        "clear_chat" => PhoneChange::ClearChat { chat: text("chat")? },
        "label" => PhoneChange::Label {
            id: text("id")?,
            name: of.get("name").and_then(Value::as_str).map(str::to_owned),
            color: i32::try_from(whole("color", Some(0))?).map_err(|_| bad("label.color: a colour"))?,
        },
        "label_chat" => PhoneChange::LabelChat { id: text("id")?, chat: text("chat")?, on: on()? },
        "raw" => {
            let index = of.get("index").and_then(Value::as_array);
            let part = |part: &Value| part.as_str().map(str::to_owned);
            let index = index.and_then(|index| index.iter().map(part).collect::<Option<Vec<_>>>());
            PhoneChange::Raw {
                collection: text("collection")?,
                index: index.ok_or_else(|| bad("raw.index: a list of texts"))?,
                value: BASE64_STANDARD.decode(text("value")?).map_err(|_| bad("raw.value: base64"))?,
                version: i32::try_from(whole("version", Some(1))?).map_err(|_| bad("raw.version"))?,
                remove: of.get("remove").and_then(Value::as_bool).unwrap_or(false),
            }
        }
        _ => {
            return Err(bad(
                "one of pin, archive, mute, read, star, delete_message, delete_chat, clear_chat, name, label, \
                 label_chat, raw",
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_thing_with_what_it_needs() {
        let read = |value: Value| read(value.as_object().unwrap());
        assert_eq!(
            read(json!({"pin": {"chat": "5511999999999", "value": true}})).unwrap(),
            PhoneChange::Pin { chat: "5511999999999".into(), on: true }
        );
        assert_eq!(
            read(json!({"mute": {"chat": 5_511_999_999_999_u64, "until": -1}})).unwrap(),
            PhoneChange::Mute { chat: "5511999999999".into(), until: -1 }
        );
        for wrong in [
            json!({}),
            json!({"pin": {"chat": "5511999999999"}}),
            json!({"pin": {"chat": "1", "value": true}, "name": "x"}),
            json!({"star": {"chat": "5511999999999", "value": true}}),
            json!({"raw": {"collection": "regular", "index": [1], "value": ""}}),
            json!({"fly": {}}),
            json!({"name": ""}),
        ] {
            assert_eq!(read(wrong.clone()).unwrap_err().status, 400, "{wrong}");
        }
    }
}
