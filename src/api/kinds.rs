//! Sends beside text: reactions, places, cards, polls, edits, deletions.

use axum::{
    extract::{Path, Query, State},
    http::{HeaderMap, Method},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use unicode_segmentation::UnicodeSegmentation as _;

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToSend},
    body::Object,
    chats,
    fields::{self, Faults},
    recipient,
    send::{self, Common, Sending, TO},
};
use crate::{
    account::{Body, Card, Recipient, Target},
    wire::Jid,
};

/// Longest names and addresses of places and cards, in characters.
const NAME_MAX: usize = 255;
/// Longest emoji, in bytes. Two people who kiss, each with a colour of skin, take 35; a cluster as such has no end.
const EMOJI_MAX: usize = 64;
/// Longest question, and longest option (what WhatsApp's own clients allow).
const QUESTION_MAX: usize = 255;
const OPTION_MAX: usize = 100;
/// Options of a poll (instance-api.md §10).
const OPTIONS: std::ops::RangeInclusive<usize> = 2..=12;
/// Cards of one message.
const CARDS_MAX: usize = 100;
/// Longest vCard, in bytes; real ones with a photo are some ten thousand.
const VCARD_MAX: usize = 64 * 1024;

/// `POST /send-reaction`.
pub(super) async fn reaction<I: Instance>(sending: Sending<I>) -> Result<Response, ApiError> {
    sending.say(read_reaction, "Reaction sent successfully").await
}

pub(super) fn read_reaction(members: &Map<String, Value>, faults: &mut Faults) -> Option<Body> {
    let id = required(members, &["messageId", "message_id"], faults);
    let emoji = emoji(members, faults);
    let from_me = fields::switch(members, "fromMe", faults).unwrap_or(false);
    let participant = participant(members, faults);
    Some(Body::Reaction { target: Target { id: id?, from_me, participant }, emoji: emoji? })
}

/// Who wrote an unknown message of a group.
fn participant(members: &Map<String, Value>, faults: &mut Faults) -> Option<Jid> {
    let value = fields::first(members, &["participant"])?;
    match recipient::read(value) {
        Some(Ok(Recipient::Number(digits))) => Some(Jid::pn(digits)),
        Some(Ok(Recipient::Jid(jid))) if jid.is_user() => Some(jid),
        None => None,
        _ => {
            faults.add("participant", "The participant field must be the phone number or id of a person.");
            None
        }
    }
}

/// One grapheme cluster that is not plain ASCII; `""` takes the reaction back. Missing is a fault, empty is not.
pub(super) fn emoji(members: &Map<String, Value>, faults: &mut Faults) -> Option<String> {
    match members.get("emoji") {
        Some(Value::String(emoji)) if emoji.is_empty() => Some(String::new()),
        Some(Value::String(emoji))
            if !emoji.is_ascii() && emoji.len() <= EMOJI_MAX && emoji.graphemes(true).count() == 1 =>
        {
            Some(emoji.clone())
        }
        None | Some(Value::Null) => {
            faults.add("emoji", fields::required("emoji"));
            None
        }
        Some(_) => {
            faults.add("emoji", "The emoji field must be one emoji, or empty to take the reaction back.");
            None
        }
    }
}

/// `POST /send-location`.
pub(super) async fn location<I: Instance>(sending: Sending<I>) -> Result<Response, ApiError> {
    sending.say(read_location, "Location sent successfully").await
}

pub(super) fn read_location(members: &Map<String, Value>, faults: &mut Faults) -> Option<Body> {
    let latitude = degrees(members, "latitude", 90.0, faults);
    let longitude = degrees(members, "longitude", 180.0, faults);
    let name = short(members, "name", faults);
    let address = short(members, "address", faults);
    Some(Body::Location { latitude: latitude?, longitude: longitude?, name, address })
}

fn degrees(members: &Map<String, Value>, field: &str, most: f64, faults: &mut Faults) -> Option<f64> {
    match fields::first(members, &[field]) {
        None => {
            faults.add(field, fields::required(field));
            None
        }
        Some(value) => {
            let degrees = value.as_f64().filter(|degrees| degrees.abs() <= most);
            if degrees.is_none() {
                faults.add(field, format!("The {field} field must be a number from -{most} to {most}."));
            }
            degrees
        }
    }
}

/// `POST /send-contact`: `contacts`, or one `vcard` as it is.
pub(super) async fn contact<I: Instance>(sending: Sending<I>) -> Result<Response, ApiError> {
    sending.say(read_contact, "Contact sent successfully").await
}

pub(super) fn read_contact(members: &Map<String, Value>, faults: &mut Faults) -> Option<Body> {
    Some(Body::Contacts(cards(members, faults)))
}

fn cards(members: &Map<String, Value>, faults: &mut Faults) -> Vec<Card> {
    if let Some(vcard) = fields::text(members, &["vcard"], faults) {
        let name = vcard.lines().find_map(|line| line.trim().strip_prefix("FN:"));
        return match name {
            Some(name) if vcard.len() <= VCARD_MAX && vcard.trim_start().starts_with("BEGIN:VCARD") => {
                vec![Card { name: name.trim().to_owned(), vcard: vcard.to_owned() }]
            }
            _ => {
                faults.add("vcard", "The vcard field must be a vCard with an FN line, of 64 KiB at most.");
                Vec::new()
            }
        };
    }
    let Some(list) = fields::first(members, &["contacts"]) else {
        faults.add("contacts", fields::required("contacts"));
        return Vec::new();
    };
    let list = list.as_array().filter(|list| (1..=CARDS_MAX).contains(&list.len()));
    let cards = list.and_then(|list| list.iter().map(card).collect::<Option<Vec<_>>>());
    cards.unwrap_or_else(|| {
        faults.add(
            "contacts",
            format!("The contacts field must be a list of 1 to {CARDS_MAX} objects with name and phone."),
        );
        Vec::new()
    })
}

/// A vCard 3.0 in the form that WhatsApp's own clients write: `waid` makes the number a chat.
fn card(value: &Value) -> Option<Card> {
    let line = |name: &str| {
        let text = value.get(name)?.as_str()?.trim();
        (!text.is_empty() && text.chars().count() <= NAME_MAX).then(|| text.replace(['\r', '\n'], " "))
    };
    let name = line("name")?;
    let Some(Ok(Recipient::Number(digits))) = value.get("phone").and_then(recipient::read) else {
        return None;
    };
    let escaped = |text: &str| text.replace('\\', "\\\\").replace(';', "\\;").replace(',', "\\,");
    let organization =
        line("organization").map(|name| format!("ORG:{};\n", escaped(&name))).unwrap_or_default();
    let vcard = format!(
        "BEGIN:VCARD\nVERSION:3.0\nN:;{0};;;\nFN:{0}\n{organization}TEL;type=CELL;waid={digits}:+{digits}\nEND:VCARD",
        escaped(&name)
    );
    Some(Card { name, vcard })
}

/// `POST /send-poll`.
pub(super) async fn poll<I: Instance>(sending: Sending<I>) -> Result<Response, ApiError> {
    sending.say(read_poll, "Poll sent successfully").await
}

pub(super) fn read_poll(members: &Map<String, Value>, faults: &mut Faults) -> Option<Body> {
    let question = required(members, &["question"], faults);
    if question.as_ref().is_some_and(|question| question.chars().count() > QUESTION_MAX) {
        let wrong = format!("The question field must not be longer than {QUESTION_MAX} characters.");
        faults.add("question", wrong);
    }
    let options = options(members, faults);
    let multiple = fields::switch(members, "multiple", faults).unwrap_or(false);
    Some(Body::Poll { question: question?, options, multiple })
}

fn options(members: &Map<String, Value>, faults: &mut Faults) -> Vec<String> {
    let Some(list) = fields::first(members, &["options"]) else {
        faults.add("options", fields::required("options"));
        return Vec::new();
    };
    let option = |value: &Value| {
        let text = value.as_str()?.trim();
        (!text.is_empty() && text.chars().count() <= OPTION_MAX).then(|| text.to_owned())
    };
    let options = list.as_array().and_then(|list| list.iter().map(option).collect::<Option<Vec<_>>>());
    let different = |options: &[String]| {
        options.iter().enumerate().all(|(at, one)| options.iter().take(at).all(|other| other != one))
    };
    options.filter(|options| OPTIONS.contains(&options.len()) && different(options)).unwrap_or_else(|| {
        faults.add(
            "options",
            format!("The options field must be a list of 2 to 12 different texts of at most {OPTION_MAX} characters."),
        );
        Vec::new()
    })
}

/// `PATCH /messages/{id}`: another text for a message of the account.
pub(super) async fn edit<I: Instance>(
    Path(id): Path<String>,
    sending: Sending<I>,
) -> Result<Response, ApiError> {
    let read = |members: &Map<String, Value>, faults: &mut Faults| {
        send::text(members, faults).map(|text| Body::Edit { id, text })
    };
    sending.change(read, "Message edited successfully").await
}

/// What `DELETE /messages/{id}` says in its query.
#[derive(Deserialize)]
pub(super) struct Deletion {
    to: Option<String>,
    recipient: Option<String>,
    number: Option<String>,
    r#for: Option<String>,
    send_at: Option<String>,
}

/// `DELETE /messages/{id}?to=…&for=everyone`: takes a message of the account back; `for=me`: from the own devices alone.
pub(super) async fn revoke<I: Instance>(
    caller: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(id): Path<String>,
    Query(query): Query<Deletion>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let for_me = query.r#for.as_deref() == Some("me");
    if !matches!(query.r#for.as_deref(), None | Some("everyone" | "me")) {
        faults.add("for", "The for field must be everyone or me.");
    }
    let to = query.to.or(query.recipient).or(query.number);
    let given = [("to", to), ("send_at", query.send_at)];
    let members: Map<String, Value> = given
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?))))
        .collect();
    let body = Object::of_address(&Method::DELETE, &id, members);
    if for_me {
        let chat = send::recipient(&body.members, &TO, &mut faults);
        faults.check()?;
        return chats::delete_for_me(&app, chat.ok_or(ApiError::Internal)?, id).await;
    }
    let command = Common::of_message(&caller, &headers, &body, &mut faults);
    faults.check()?;
    let Some(command) = command else { return Err(ApiError::Internal) };
    send::send(&app, command.with(Body::Revoke { id }), "Message deleted successfully").await
}

/// A text that must be there.
pub(super) fn required(
    members: &Map<String, Value>,
    names: &[&'static str],
    faults: &mut Faults,
) -> Option<String> {
    let field = names.first().copied().unwrap_or_default();
    let text = fields::text(members, names, faults);
    match text {
        Some(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        _ => {
            if fields::first(members, names).is_none_or(Value::is_string) {
                faults.add(field, fields::required(field));
            }
            None
        }
    }
}

/// An optional text of a line's length.
fn short(members: &Map<String, Value>, field: &'static str, faults: &mut Faults) -> Option<String> {
    let text = fields::text(members, &[field], faults)?;
    if text.chars().count() > NAME_MAX {
        faults.add(field, format!("The {field} field must not be longer than {NAME_MAX} characters."));
    }
    Some(text.to_owned())
}
