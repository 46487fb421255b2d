//! What requests about profiles say, checked.

use serde_json::{Map, Value};

use crate::{
    account::Recipient,
    api::{
        ApiError, App, Instance,
        fields::{self, Faults},
        query, recipient,
    },
};

/// An optional text that may be empty, of at most so many characters.
pub(super) fn bounded(
    members: &Map<String, Value>,
    field: &'static str,
    most: usize,
    faults: &mut Faults,
) -> Option<String> {
    match fields::first(members, &[field])? {
        Value::String(text) if text.chars().count() <= most => Some(text.clone()),
        Value::String(_) => {
            faults.add(field, format!("The {field} field must not be longer than {most} characters."));
            None
        }
        _ => {
            faults.add(field, format!("The {field} field must be a string."));
            None
        }
    }
}

/// `to` of a query: a person, or a group where that is allowed.
pub(super) fn to(pairs: &[(String, String)], groups: bool, faults: &mut Faults) -> Option<Recipient> {
    let Some(text) = query::value(pairs, "to") else {
        faults.add("to", "The to parameter is required.");
        return None;
    };
    let read = recipient::read(&Value::String(text.to_owned())).and_then(Result::ok);
    let fits = read.filter(|who| groups || !is_group(who));
    if fits.is_none() {
        faults.add("to", recipient::WRONG);
    }
    fits
}

pub(super) fn is_group(who: &Recipient) -> bool {
    matches!(who, Recipient::Jid(jid) if jid.is_group())
}

/// A person in a path.
pub(super) fn person(text: &str) -> Result<Recipient, ApiError> {
    let read = recipient::read(&Value::String(text.to_owned())).and_then(Result::ok);
    match read.filter(|who| !is_group(who)) {
        Some(who) => Ok(who),
        None => {
            let mut faults = Faults::default();
            faults.add("jid", "The jid must be the phone number or the id of a person.");
            Err(ApiError::Validation(faults))
        }
    }
}

/// A number is looked up first: it may be written in another way than its account's, or have none.
pub(super) async fn on_whatsapp<I: Instance>(app: &App<I>, who: &Recipient) -> Result<(), ApiError> {
    let digits = match who {
        Recipient::Number(digits) => digits.as_str(),
        Recipient::Jid(jid) if jid.is_pn() => jid.user(),
        _ => return Ok(()),
    };
    if app.parts.instance.exists(digits).await? {
        Ok(())
    } else {
        Err(ApiError::NotOnWhatsapp(digits.to_owned()))
    }
}
