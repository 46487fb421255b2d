//! The body of `POST /admin/phones/{number}/send`: exactly one kind of content.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use super::{
    admin::AdminError,
    control::bad,
    core::{FileKind, Sending},
    media::{FileToSend, Source},
};

/// Members that say what is sent; `text` may also be the new text of an edit.
const CONTENT: [&str; 10] =
    ["media", "reaction", "edit", "revoke", "poll", "vote", "location", "contact", "ephemeral", "raw"];
const OTHERS: [&str; 3] = ["to", "text", "quote"];
/// Contacts in one message.
const MAX_CONTACTS: usize = 100;

#[derive(Debug, PartialEq)]
pub(super) enum What {
    Message(Sending),
    File(FileToSend),
}

type Reply<T> = Result<T, AdminError>;

pub(super) fn read(body: &Map<String, Value>) -> Reply<What> {
    if let Some(other) =
        body.keys().find(|key| !CONTENT.contains(&key.as_str()) && !OTHERS.contains(&key.as_str()))
    {
        return Err(bad(format!("{other}: not a member of send")));
    }
    let given: Vec<&str> = CONTENT.into_iter().filter(|key| present(body, key).is_some()).collect();
    let text = text(body, "text")?;
    let quote = self::text(body, "quote")?;
    let content = match (given.as_slice(), text) {
        ([], Some(text)) => return Ok(What::Message(Sending::Text { text, quote })),
        (["edit"], Some(text)) => Sending::Edit { id: required(body, "edit")?, text },
        (["edit"], None) => return Err(bad("edit needs the new text")),
        ([one], None) => match *one {
            "media" => return file(object(body, "media")?, quote).map(What::File),
            "reaction" => {
                let reaction = object(body, "reaction")?;
                Sending::Reaction { id: required(reaction, "id")?, emoji: required(reaction, "emoji")? }
            }
            "revoke" => Sending::Revoke { id: required(body, "revoke")? },
            "poll" => poll(object(body, "poll")?)?,
            "vote" => {
                let vote = object(body, "vote")?;
                Sending::Vote { id: required(vote, "id")?, options: options(vote)? }
            }
            "location" => {
                let place = object(body, "location")?;
                Sending::Location {
                    latitude: degrees(place, "latitude")?,
                    longitude: degrees(place, "longitude")?,
                    name: self::text(place, "name")?,
                    address: self::text(place, "address")?,
                }
            }
            "contact" => contacts(body)?,
            "ephemeral" => {
                let seconds = present(body, "ephemeral").and_then(Value::as_u64);
                let seconds = seconds.and_then(|seconds| u32::try_from(seconds).ok());
                Sending::Timer { seconds: seconds.ok_or_else(|| bad("ephemeral: seconds, 0 for none"))? }
            }
            _ => Sending::Raw(base64(&required(body, "raw")?, "raw")?),
        },
        _ => return Err(bad(format!("one of text, {}", CONTENT.join(", ")))),
    };
    if quote.is_some() {
        return Err(bad("quote: with text and media only"));
    }
    Ok(What::Message(content))
}

/// The people of a broadcast list, where `to` is a list.
pub(super) fn people(body: &Map<String, Value>) -> Reply<Option<Vec<String>>> {
    let Some(Value::Array(list)) = body.get("to") else { return Ok(None) };
    let people = list.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    people.map(Some).ok_or_else(|| bad("to: a number or a JID, or a list of them"))
}

fn present<'a>(body: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    body.get(key).filter(|value| !value.is_null())
}

fn text(body: &Map<String, Value>, key: &str) -> Reply<Option<String>> {
    match present(body, key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(bad(format!("{key}: a text"))),
    }
}

fn required(body: &Map<String, Value>, key: &str) -> Reply<String> {
    text(body, key)?.ok_or_else(|| bad(format!("{key} is missing")))
}

fn object<'a>(body: &'a Map<String, Value>, key: &str) -> Reply<&'a Map<String, Value>> {
    present(body, key).and_then(Value::as_object).ok_or_else(|| bad(format!("{key}: an object")))
}

fn flag(body: &Map<String, Value>, key: &str) -> Reply<bool> {
    match present(body, key) {
        None => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| bad(format!("{key}: true or false"))),
    }
}

fn degrees(body: &Map<String, Value>, key: &str) -> Reply<f64> {
    present(body, key).and_then(Value::as_f64).ok_or_else(|| bad(format!("{key}: degrees")))
}

fn base64(text: &str, key: &str) -> Reply<Vec<u8>> {
    BASE64_STANDARD.decode(text).map_err(|_| bad(format!("{key}: base64")))
}

fn file(media: &Map<String, Value>, quote: Option<String>) -> Reply<FileToSend> {
    let kind = required(media, "type")?;
    let kind = FileKind::parse(&kind)
        .ok_or_else(|| bad("type: image, video, gif, ptv, audio, ptt, document or sticker"))?;
    let source = match (text(media, "url")?, text(media, "base64")?) {
        (Some(url), None) => Source::Url(url),
        (None, Some(bytes)) => Source::Bytes(base64(&bytes, "base64")?),
        _ => return Err(bad("media: either url or base64")),
    };
    let seconds = match present(media, "seconds") {
        None => None,
        Some(value) => {
            let seconds = value.as_u64().and_then(|seconds| u32::try_from(seconds).ok());
            Some(seconds.ok_or_else(|| bad("seconds: a whole number"))?)
        }
    };
    Ok(FileToSend {
        kind,
        source,
        mimetype: text(media, "mimetype")?,
        caption: text(media, "caption")?,
        filename: text(media, "filename")?,
        seconds,
        view_once: flag(media, "view_once")?,
        quote,
    })
}

fn poll(poll: &Map<String, Value>) -> Reply<Sending> {
    Ok(Sending::Poll {
        question: required(poll, "question")?,
        options: options(poll)?,
        multiple: flag(poll, "multiple")?,
    })
}

fn options(of: &Map<String, Value>) -> Reply<Vec<String>> {
    let options = present(of, "options").and_then(Value::as_array).ok_or_else(|| bad("options: a list"))?;
    let option = |option: &Value| option.as_str().map(str::to_owned).ok_or_else(|| bad("options: texts"));
    options.iter().map(option).collect()
}

/// One contact, or a list of them: `{"name", "phone", "organization"?}` or `{"name", "vcard"}`.
fn contacts(body: &Map<String, Value>) -> Reply<Sending> {
    let wrong = || bad("contact: an object, or a list of at most 100");
    let listed = match present(body, "contact") {
        Some(Value::Array(list)) if list.len() <= MAX_CONTACTS => list.as_slice(),
        Some(one @ Value::Object(_)) => std::slice::from_ref(one),
        _ => return Err(wrong()),
    };
    let card = |contact: &Value| {
        let contact = contact.as_object().ok_or_else(wrong)?;
        let name = required(contact, "name")?;
        let vcard = match text(contact, "vcard")? {
            Some(vcard) => vcard,
            None => vcard(&name, &required(contact, "phone")?, text(contact, "organization")?.as_deref()),
        };
        Ok((name, vcard))
    };
    Ok(Sending::Contacts(listed.iter().map(card).collect::<Reply<_>>()?))
}

/// As phones write it: the number with `waid`, so that it can be tapped.
fn vcard(name: &str, phone: &str, organization: Option<&str>) -> String {
    let plain = |text: &str| {
        let text = text.replace('\\', "\\\\").replace(['\r', '\n'], " ");
        text.replace(';', "\\;").replace(',', "\\,")
    };
    let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
    let name = plain(name);
    let organization = organization.map(|org| format!("ORG:{};\n", plain(org))).unwrap_or_default();
    format!(
        "BEGIN:VCARD\nVERSION:3.0\nN:;{name};;;\nFN:{name}\n{organization}TEL;type=CELL;waid={digits}:+{digits}\nEND:VCARD"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(body: Value) -> Reply<What> {
        read(body.as_object().unwrap())
    }

    #[test]
    fn every_kind_of_content_is_read() {
        let id = || "3EB0AA".to_owned();
        for (body, expected) in [
            (json!({"to": "1", "text": "hi"}), Sending::Text { text: "hi".into(), quote: None }),
            (
                json!({"to": "1", "text": "hi", "quote": id()}),
                Sending::Text { text: "hi".into(), quote: Some(id()) },
            ),
            (
                json!({"reaction": {"id": id(), "emoji": ""}}),
                Sending::Reaction { id: id(), emoji: String::new() },
            ),
            (json!({"edit": id(), "text": "ho"}), Sending::Edit { id: id(), text: "ho".into() }),
            (json!({"revoke": id()}), Sending::Revoke { id: id() }),
            (
                json!({"poll": {"question": "q", "options": ["a", "b"], "multiple": true}}),
                Sending::Poll { question: "q".into(), options: vec!["a".into(), "b".into()], multiple: true },
            ),
            (
                json!({"vote": {"id": id(), "options": ["a"]}}),
                Sending::Vote { id: id(), options: vec!["a".into()] },
            ),
            (
                json!({"location": {"latitude": -23.5, "longitude": 46}}),
                Sending::Location { latitude: -23.5, longitude: 46.0, name: None, address: None },
            ),
            (json!({"ephemeral": 86400}), Sending::Timer { seconds: 86_400 }),
            (json!({"raw": "CgJoaQ==", "text": null}), Sending::Raw(vec![10, 2, 104, 105])),
        ] {
            assert_eq!(of(body.clone()), Ok(What::Message(expected)), "{body}");
        }
        let What::File(file) =
            of(json!({"media": {"type": "ptt", "base64": "AAE=", "seconds": 3}, "quote": id()})).unwrap()
        else {
            panic!("no file");
        };
        let expected =
            FileToSend { seconds: Some(3), quote: Some(id()), ..FileToSend::new(FileKind::Ptt, vec![0, 1]) };
        assert_eq!(file, expected);
    }

    #[test]
    fn a_contact_becomes_a_card_that_says_nothing_else() {
        let contact = json!({"name": "Ana;\nTEL:1", "phone": "+55 (11) 99999-9999", "organization": "A, B"});
        let Ok(What::Message(Sending::Contacts(cards))) = of(json!({"contact": [contact]})) else { panic!() };
        assert_eq!(
            cards[0].1,
            "BEGIN:VCARD\nVERSION:3.0\nN:;Ana\\; TEL:1;;;\nFN:Ana\\; TEL:1\nORG:A\\, B;\n\
             TEL;type=CELL;waid=5511999999999:+5511999999999\nEND:VCARD"
        );
    }

    #[test]
    fn what_is_not_one_content_is_refused() {
        for body in [
            json!({}),
            json!({"quote": "x"}),
            json!({"text": "a", "revoke": "x"}),
            json!({"raw": "", "revoke": "x"}),
            json!({"edit": "x"}),
            json!({"revoke": "x", "quote": "y"}),
            json!({"text": "a", "sticker": {}}),
            json!({"text": 1}),
            json!({"ephemeral": -1}),
            json!({"ephemeral": 86400, "text": "a"}),
            json!({"raw": "§"}),
            json!({"media": {"type": "image"}}),
            json!({"media": {"type": "image", "url": "http://x", "base64": ""}}),
            json!({"media": {"type": "picture", "base64": ""}}),
            json!({"media": {"type": "audio", "base64": "", "seconds": -1}}),
            json!({"poll": {"question": "q", "options": [1]}}),
            json!({"location": {"latitude": "north"}}),
            json!({"contact": "Ana"}),
            json!({"contact": {"name": "Ana"}}),
        ] {
            assert_eq!(of(body.clone()).unwrap_err().status, 400, "{body}");
        }
    }
}
