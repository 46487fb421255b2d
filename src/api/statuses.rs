//! `POST /send-status`: a text on a coloured page, or a file, for whoever follows the account's status.

use axum::{
    extract::{Request, State},
    http::HeaderMap,
    response::Response,
};
use serde_json::{Map, Value};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToSend},
    fields::{self, Faults},
    media, recipient,
    send::{self, Common},
};
use crate::{
    account::{Body as Said, Recipient},
    daemon::media::SendMedia,
    media::MediaType,
    wire::Jid,
};

/// Longest text of a status, in characters (what WhatsApp's own clients allow).
const TEXT_MAX: usize = 700;
/// People a status may be for.
const PEOPLE_MAX: usize = 5_000;
/// Fonts are numbered up to this (`ExtendedTextMessage.FontType`).
const FONT_MAX: u64 = 10;
/// What files may be on a status.
const KINDS: [&str; 3] = ["image", "video", "audio"];

const DONE: &str = "Status sent successfully";

/// Answers like every send.
pub(super) async fn send<I: Instance>(
    caller: Caller<ToSend>,
    State(app): State<App<I>>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    let mut form = media::form(&app, &headers, request).await?;
    let mut faults = Faults::default();
    let members = &form.object.members;
    let people = people(members, &mut faults);
    let common = Common::for_status(&caller, &headers, &form.object, Recipient::Status(people), &mut faults);
    let with_file = form.file.is_some() || fields::first(members, &media::SOURCES).is_some();
    if !with_file {
        let text = text(members, &mut faults);
        let background = background(members, &mut faults);
        let font = font(members, &mut faults);
        faults.check()?;
        let Some(text) = text else { return Err(ApiError::Internal) };
        return send::send(&app, common.with(Said::StatusText { text, background, font }), DONE).await;
    }
    if fields::first(members, &["text"]).is_some() {
        faults
            .add("text", "The text field is not taken beside a file; what stands beside it is the caption.");
    }
    let media_type = kind(members, &mut faults);
    let caption = media::caption(members, &mut faults);
    let source = media::source(&app, members, form.file.take(), &mut faults)?;
    faults.check()?;
    let (Some(media_type), Some(source)) = (media_type, source) else { return Err(ApiError::Internal) };
    let send = SendMedia {
        message: common.with(Said::Text(String::new())),
        source,
        media_type,
        sticker: false,
        caption,
        file_name: None,
        voice: None,
        gif: false,
        round: false,
        view_once: false,
    };
    let sent = app.parts.instance.send_media(send).await?;
    Ok(send::answer(&sent, DONE))
}

/// For whom; nobody named: everybody the account knows.
fn people(members: &Map<String, Value>, faults: &mut Faults) -> Vec<Jid> {
    let Some(value) = fields::first(members, &["recipients"]) else { return Vec::new() };
    let person = |value: &Value| match recipient::read(value) {
        Some(Ok(Recipient::Number(digits))) => Some(Jid::pn(digits)),
        Some(Ok(Recipient::Jid(jid))) if jid.is_user() => Some(jid),
        _ => None,
    };
    // A form has only texts: there they stand in one, with commas.
    let list = match value {
        Value::Array(list) => list.clone(),
        Value::String(text) => text.split(',').map(|one| Value::String(one.trim().to_owned())).collect(),
        _ => Vec::new(),
    };
    let good = (1..=PEOPLE_MAX).contains(&list.len());
    let people = if good { list.iter().map(person).collect::<Option<Vec<_>>>() } else { None };
    people.unwrap_or_else(|| {
        faults.add(
            "recipients",
            format!(
                "The recipients field must be a list of 1 to {PEOPLE_MAX} phone numbers or ids of people."
            ),
        );
        Vec::new()
    })
}

fn text(members: &Map<String, Value>, faults: &mut Faults) -> Option<String> {
    match fields::first(members, &["text"]) {
        Some(Value::String(text)) if !text.trim().is_empty() && text.chars().count() <= TEXT_MAX => {
            Some(text.clone())
        }
        Some(Value::String(text)) if !text.trim().is_empty() => {
            faults.add("text", format!("The text field must not be longer than {TEXT_MAX} characters."));
            None
        }
        None | Some(Value::String(_)) => {
            faults.add("text", "The text field is required, or a file.");
            None
        }
        Some(_) => {
            faults.add("text", "The text field must be a string.");
            None
        }
    }
}

/// `#RRGGBB`, as ARGB.
fn background(members: &Map<String, Value>, faults: &mut Faults) -> Option<u32> {
    let text = fields::text(members, &["background"], faults)?;
    let digits =
        text.strip_prefix('#').filter(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    let colour = digits.and_then(|hex| u32::from_str_radix(hex, 16).ok());
    if colour.is_none() {
        faults.add("background", "The background field must be a colour as #RRGGBB.");
    }
    colour.map(|rgb| 0xff00_0000 | rgb)
}

fn font(members: &Map<String, Value>, faults: &mut Faults) -> Option<u8> {
    let value = fields::first(members, &["font"])?;
    let font = value.as_u64().filter(|font| *font <= FONT_MAX).and_then(|font| u8::try_from(font).ok());
    if font.is_none() {
        faults.add("font", format!("The font field must be a whole number from 0 to {FONT_MAX}."));
    }
    font
}

fn kind(members: &Map<String, Value>, faults: &mut Faults) -> Option<MediaType> {
    let found = match fields::first(members, &["media_type", "type"]) {
        None => {
            faults.add("media_type", fields::required("media_type"));
            return None;
        }
        Some(value) => value.as_str().filter(|word| KINDS.contains(word)).and_then(MediaType::parse),
    };
    if found.is_none() {
        faults.add("media_type", format!("The media_type field must be one of {}.", KINDS.join(", ")));
    }
    found
}
