//! Whom to write to, as callers spell it (instance-api.md §6).

use serde_json::Value;

use crate::{
    account::Recipient,
    wire::{Jid, Server},
};

/// What a caller is told.
pub(super) const WRONG: &str =
    "The recipient must be a phone number of 8 to 15 digits with country code, or the id of a chat or group.";

/// Not something that can be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong;

/// The same where a message is meant that exists: that may stand in a newsletter, too, to which nothing is sent by itself.
pub(super) fn of_message(value: &Value) -> Option<Result<Recipient, Wrong>> {
    let newsletter = value.as_str().and_then(|text| text.trim().strip_suffix("@newsletter"));
    match newsletter.filter(|user| is_digits(user, 10, 25)) {
        Some(user) => Some(Ok(Recipient::Jid(Jid::new(user, Server::Newsletter)))),
        None => read(value),
    }
}

/// A text or a whole number. `None`: an empty one, which counts as missing.
pub(super) fn read(value: &Value) -> Option<Result<Recipient, Wrong>> {
    match value {
        Value::String(text) if text.trim().is_empty() => None,
        Value::String(text) => Some(normalise(text.trim())),
        Value::Number(number) => match number.as_u64() {
            Some(number) => Some(normalise(&number.to_string())),
            None => Some(Err(Wrong)),
        },
        _ => Some(Err(Wrong)),
    }
}

fn normalise(text: &str) -> Result<Recipient, Wrong> {
    if let Some((user, server)) = text.split_once('@') {
        return jid(user, &server.to_ascii_lowercase());
    }
    if is_group(text) {
        return Ok(Recipient::Jid(Jid::group(text)));
    }
    let spaced = |c: char| c.is_whitespace() || matches!(c, '+' | '-' | '(' | ')' | '.');
    let digits: String = text.chars().filter(|c| !spaced(*c)).collect();
    if is_group(&digits) {
        return Ok(Recipient::Jid(Jid::group(digits)));
    }
    if is_number(&digits) { Ok(Recipient::Number(digits)) } else { Err(Wrong) }
}

fn jid(user: &str, server: &str) -> Result<Recipient, Wrong> {
    // A device of somebody is somebody.
    let person = user.split([':', '_']).next().unwrap_or_default();
    let jid = match server {
        "s.whatsapp.net" | "c.us" | "hosted" if is_number(person) => Jid::pn(person),
        "lid" | "hosted.lid" if is_digits(person, 1, 20) => Jid::lid(person),
        "g.us" if is_group(user) || is_digits(user, 10, 25) => Jid::group(user),
        _ => return Err(Wrong),
    };
    Ok(Recipient::Jid(jid))
}

/// 8 to 15 digits with country code.
fn is_number(text: &str) -> bool {
    is_digits(text, 8, 15) && !text.starts_with('0')
}

/// `120363` and 12 digits; or, from before 2021, the creator's number, a hyphen and the ten digits of a time. Neither can
/// be taken for a phone number: both have more than 15 digits.
fn is_group(text: &str) -> bool {
    match text.split_once('-') {
        Some((creator, time)) => is_number(creator) && is_digits(time, 10, 10),
        None => is_digits(text, 18, 18) && text.starts_with("120363"),
    }
}

fn is_digits(text: &str, least: usize, most: usize) -> bool {
    (least..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{Jid, Recipient, Value, Wrong, read};
    use serde_json::json;

    fn number(digits: &str) -> Option<Result<Recipient, Wrong>> {
        Some(Ok(Recipient::Number(digits.into())))
    }

    fn chat(jid: Jid) -> Option<Result<Recipient, Wrong>> {
        Some(Ok(Recipient::Jid(jid)))
    }

    #[test]
    fn recipients_are_read_as_the_contract_says() {
        let group = "120363025246125486";
        let cases: Vec<(Value, Option<Result<Recipient, Wrong>>)> = vec![
            (json!("5511999999999"), number("5511999999999")),
            (json!("+5511999999999"), number("5511999999999")),
            (json!("+55 (11) 99999-9999"), number("5511999999999")),
            (json!("55.11.99999.9999"), number("5511999999999")),
            (json!(" 55\u{a0}11 99999 9999 "), number("5511999999999")),
            (json!(5_511_999_999_999_u64), number("5511999999999")),
            (json!("12345678"), number("12345678")),
            (json!("123456789012345"), number("123456789012345")),
            (json!("5511999999999@s.whatsapp.net"), chat(Jid::pn("5511999999999"))),
            (json!("5511999999999:7@s.whatsapp.net"), chat(Jid::pn("5511999999999"))),
            (json!("5511999999999@c.us"), chat(Jid::pn("5511999999999"))),
            (json!("5511999999999@C.US"), chat(Jid::pn("5511999999999"))),
            (json!("5511999999999:99@hosted"), chat(Jid::pn("5511999999999"))),
            (json!("123456789012345:99@hosted.lid"), chat(Jid::lid("123456789012345"))),
            (json!("123456789012345@lid"), chat(Jid::lid("123456789012345"))),
            (json!("120363025246125486@g.us"), chat(Jid::group(group))),
            (json!("120363025246125486"), chat(Jid::group(group))),
            (json!(120_363_025_246_125_486_u64), chat(Jid::group(group))),
            (json!("5511999999999-1609459200"), chat(Jid::group("5511999999999-1609459200"))),
            (json!("5511999999999-1609459200@g.us"), chat(Jid::group("5511999999999-1609459200"))),
            (json!(""), None),
            (json!("   "), None),
        ];
        for (value, expected) in cases {
            assert_eq!(read(&value), expected, "{value}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let cases = [
            json!("1234567"),
            json!("1234567890123456"),
            json!("0551199999999"),
            json!("55119999x9999"),
            json!("5511999999999/2"),
            json!("٥٥١١٩٩٩٩٩٩٩٩٩"),
            json!("+"),
            json!("status@broadcast"),
            json!("120363025246125486@newsletter"),
            json!("abc@s.whatsapp.net"),
            json!("@s.whatsapp.net"),
            json!("@g.us"),
            json!("5511999999999@"),
            json!("5511999999999@example.com"),
            json!("5511999999999@s.whatsapp.net@lid"),
            json!("120364025246125486"),
            json!(-5_511_999_999_999_i64),
            json!(5_511_999_999_999.5),
            json!(true),
            json!(["5511999999999"]),
            json!({}),
        ];
        for value in cases {
            assert_eq!(read(&value), Some(Err(Wrong)), "{value}");
        }
    }
}
