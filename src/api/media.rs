//! `POST /send-media` and `GET /messages/{id}/media`: files in, and files out.

use std::{io::Write as _, ops::Range, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest as _, Multipart, Path, Request, State, multipart::MultipartError},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncWriteExt as _, sync::mpsc, time::timeout};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use super::{
    ApiError, App, Instance,
    auth::{Caller, Holder, ToSend},
    body::Object,
    fields::{self, Faults},
    paced::Paced,
    send::{self, Common, RECIPIENT},
};
use crate::{
    account::Body as Said,
    daemon::media::{FileError, Received, SendMedia, Source},
    media::MediaType,
    net::fetch::Fetcher,
};

/// Longest URL, caption and file name, in characters (instance-api.md §7.2).
const URL_MAX: usize = 2048;
const CAPTION_MAX: usize = 1024;
const NAME_MAX: usize = 255;
/// Largest request with a file in it: the largest document, and room for the other fields.
const FORM_MAX: u64 = (100 << 20) + (1 << 20);
/// Largest field beside the file; how many fields, known or not, the file among them; bytes of a field's name.
const FIELD_MAX: usize = 64 << 10;
const FIELDS_MAX: usize = 64;
const FIELD_NAME_MAX: usize = 255;
/// How long a file may take to arrive.
const PATIENCE: Duration = Duration::from_secs(120);
/// How far ahead a file may be put: it is uploaded at once, and WhatsApp keeps files for about thirty days.
const MEDIA_AHEAD_MAX: Duration = Duration::from_hours(20 * 24);
/// Pieces of a file that may wait for its reader.
const AHEAD: usize = 4;

/// A request in either form, as far as they are alike.
pub(super) struct Form {
    pub(super) object: Object,
    pub(super) file: Option<Received>,
}

/// Where a file may come from, beside a form.
pub(super) const SOURCES: [&str; 3] = ["media_url", "url", "media_base64"];

/// The request in whichever of the two forms it came.
pub(super) async fn form<I: Instance>(
    app: &App<I>,
    headers: &HeaderMap,
    request: Request,
) -> Result<Form, ApiError> {
    let is_form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("multipart/form-data"));
    if !is_form {
        return Ok(Form { object: Object::from_request(request, &()).await?, file: None });
    }
    timeout(PATIENCE, read_form(app, request))
        .await
        .unwrap_or(Err(ApiError::InvalidRequest("The request body did not arrive in time.")))
}

/// What stands beside a file.
pub(super) fn caption(members: &Map<String, Value>, faults: &mut Faults) -> Option<String> {
    limited(members, &["caption"], CAPTION_MAX, faults)
}

/// `POST /send-media`.
pub(super) async fn send<I: Instance>(
    caller: Caller<ToSend>,
    State(app): State<App<I>>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    let mut form = form(&app, &headers, request).await?;
    let mut faults = Faults::default();
    let common = Common::read(&caller, &headers, &form.object, &RECIPIENT, &mut faults);
    let members = &form.object.members;
    let (media_type, sticker) = kind(members, &mut faults);
    let caption = caption(members, &mut faults);
    let file_name = limited(members, &["filename"], NAME_MAX, &mut faults);
    let voice = fields::switch(members, "ptt", &mut faults);
    let gif = fields::switch(members, "gif", &mut faults).unwrap_or(false);
    let round = fields::switch(members, "ptv", &mut faults).unwrap_or(false);
    let view_once = fields::switch(members, "view_once", &mut faults).unwrap_or(false);
    if let Some(media_type) = media_type {
        let film = media_type == MediaType::Video;
        for (field, given) in [("gif", gif), ("ptv", round)] {
            if given && !film {
                faults.add(field, format!("The {field} field is for videos."));
            }
        }
        if gif && round && film {
            faults.add("ptv", "A video is either a gif or round.");
        }
        if view_once && (sticker || media_type == MediaType::Document) {
            faults.add("view_once", "The view_once field is for images, videos and audio.");
        }
    }
    if common.as_ref().and_then(Common::send_at).is_some_and(|at| at.since(caller.now) > MEDIA_AHEAD_MAX) {
        faults.add("send_at", "The send_at field of a file must not be further ahead than 20 days.");
    }
    let source = source(&app, members, form.file.take(), &mut faults)?;
    faults.check()?;
    let (Some(common), Some(media_type), Some(source)) = (common, media_type, source) else {
        return Err(ApiError::Internal);
    };
    let send = SendMedia {
        message: common.with(Said::Text(String::new())),
        source,
        media_type,
        sticker,
        caption,
        file_name,
        voice,
        gif,
        round,
        view_once,
    };
    let sent = app.parts.instance.send_media(send).await?;
    Ok(send::answer(&sent, "Media sent successfully"))
}

/// `media_type`: exact and in lower case; a sticker is a picture without a frame.
pub(super) fn kind(members: &Map<String, Value>, faults: &mut Faults) -> (Option<MediaType>, bool) {
    match fields::first(members, &["media_type", "type"]) {
        None => faults.add("media_type", fields::required("media_type")),
        Some(Value::String(word)) if word == "sticker" => return (Some(MediaType::Image), true),
        Some(Value::String(word)) if MediaType::parse(word).is_some() => {
            return (MediaType::parse(word), false);
        }
        Some(_) => faults
            .add("media_type", "The media_type field must be one of image, video, audio, document, sticker."),
    }
    (None, false)
}

/// The file of the form, else `media_base64`, else `media_url`.
pub(super) fn source<I: Instance>(
    app: &App<I>,
    members: &Map<String, Value>,
    file: Option<Received>,
    faults: &mut Faults,
) -> Result<Option<Source>, ApiError> {
    if let Some(file) = file {
        return Ok(Some(Source::File(file)));
    }
    if let Some(text) = fields::text(members, &["media_base64"], faults) {
        let bare = text.rsplit_once("base64,").map_or(text, |(_, bare)| bare);
        let Ok(bytes) = BASE64_STANDARD.decode(bare.trim()) else {
            faults.add("media_base64", "The media_base64 field must be standard base64.");
            return Ok(None);
        };
        let file = app.parts.instance.scratch();
        let written = std::fs::File::create(file.path()).and_then(|mut out| out.write_all(&bytes));
        written.map_err(|error| ApiError::from(FileError::from(error)))?;
        return Ok(Some(Source::File(Received { file, content_type: None, name: None })));
    }
    let Some(url) = fields::text(members, &["media_url", "url"], faults) else {
        if fields::first(members, &["media_url", "url"]).is_none_or(Value::is_string) {
            faults.add("media_url", fields::required("media_url"));
        }
        return Ok(None);
    };
    if url.chars().count() > URL_MAX || Fetcher::check(url).is_err() {
        faults.add(
            "media_url",
            format!(
                "The media_url field must be an absolute http or https URL of at most {URL_MAX} characters."
            ),
        );
        return Ok(None);
    }
    Ok(Some(Source::Url(url.to_owned())))
}

fn limited(
    members: &Map<String, Value>,
    names: &[&'static str],
    most: usize,
    faults: &mut Faults,
) -> Option<String> {
    let field = names.first().copied().unwrap_or_default();
    let text = fields::text(members, names, faults)?;
    if text.chars().count() > most {
        faults.add(field, format!("The {field} field must not be longer than {most} characters."));
    }
    Some(text.to_owned())
}

/// `multipart/form-data`: the part `file`, written to disk as it comes, and the other fields as texts.
async fn read_form<I: Instance>(app: &App<I>, request: Request) -> Result<Form, ApiError> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let broken = |_: MultipartError| ApiError::InvalidRequest("The form could not be read.");
    let (head, body) = request.into_parts();
    let (body, progress) = Paced::new(body);
    let mut parts = Multipart::from_request(Request::from_parts(head, Body::from_stream(body)), &())
        .await
        .map_err(|_| ApiError::InvalidRequest("The form could not be read."))?;
    let (mut members, mut file, mut total, mut fields) = (Map::new(), None, 0_u64, 0);
    let mut hash = Sha256::new();
    while let Some(mut part) = parts.next_field().await.map_err(broken)? {
        progress.made();
        fields += 1;
        let name = part.name().unwrap_or_default().to_owned();
        if name.len() > FIELD_NAME_MAX || fields > FIELDS_MAX {
            return Err(ApiError::PayloadTooLarge);
        }
        hash.update(name.as_bytes());
        hash.update([0]);
        if name != "file" {
            let mut text = Vec::new();
            while let Some(chunk) = part.chunk().await.map_err(broken)? {
                progress.made();
                if text.len() + chunk.len() > FIELD_MAX {
                    return Err(ApiError::PayloadTooLarge);
                }
                text.extend_from_slice(&chunk);
            }
            hash.update(&text);
            let text = String::from_utf8(text)
                .map_err(|_| ApiError::InvalidRequest("A field of the form is not UTF-8."))?;
            members.insert(name, plain(text));
            continue;
        }
        if file.is_some() {
            let mut faults = Faults::default();
            faults.add("file", "The file field must be given once.");
            return Err(ApiError::Validation(faults));
        }
        let received = Received {
            file: app.parts.instance.scratch(),
            content_type: part.content_type().map(str::to_owned),
            name: part.file_name().map(str::to_owned),
        };
        let internal = |error| ApiError::from(FileError::from(error));
        let mut out = tokio::fs::File::create(received.file.path()).await.map_err(internal)?;
        while let Some(chunk) = part.chunk().await.map_err(broken)? {
            progress.made();
            total += chunk.len() as u64;
            if total > FORM_MAX {
                return Err(ApiError::PayloadTooLarge);
            }
            hash.update(&chunk);
            out.write_all(&chunk).await.map_err(internal)?;
        }
        out.flush().await.map_err(internal)?;
        file = Some(received);
    }
    let fingerprint = hex::encode(hash.finalize());
    let object = Object::of_address(&method, &format!("{path}#{fingerprint}"), members);
    Ok(Form { object, file })
}

/// A form has only texts; switches are spelt out in them.
fn plain(text: String) -> Value {
    match text.as_str() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => Value::String(text),
    }
}

/// `GET /messages/{id}/media`: the file of a message, whole or in part.
pub(super) async fn file<I: Instance>(
    _: Holder,
    State(app): State<App<I>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let stored = app.parts.instance.file(&id).await?;
    let length = stored.length();
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (status, range) = match asked.map(|asked| range(asked, length)) {
        None | Some(Asked::Whole) => (StatusCode::OK, 0..length),
        Some(Asked::Part(range)) => (StatusCode::PARTIAL_CONTENT, range),
        Some(Asked::Outside) => return Ok(outside(length)),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let out = response.headers_mut();
    let mimetype = stored.attachment.mimetype.as_deref().unwrap_or("application/octet-stream");
    let mimetype = HeaderValue::from_str(mimetype);
    out.insert(
        header::CONTENT_TYPE,
        mimetype.unwrap_or(HeaderValue::from_static("application/octet-stream")),
    );
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    out.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    // Whatever a stranger sent is saved, never shown as part of this origin.
    out.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) =
            HeaderValue::from_str(&format!("bytes {}-{}/{length}", range.start, range.end.saturating_sub(1)))
    {
        out.insert(header::CONTENT_RANGE, value);
    }
    let (pieces, waiting) = mpsc::channel::<Vec<u8>>(AHEAD);
    tokio::spawn(async move {
        let read = stored.read(range, move |piece| pieces.blocking_send(piece).is_ok()).await;
        if let Err(error) = read {
            tracing::warn!(%error, "a file could not be handed out");
        }
    });
    let stream = ReceiverStream::new(waiting).map(Ok::<_, std::convert::Infallible>);
    *response.body_mut() = Body::from_stream(stream);
    Ok(response)
}

enum Asked {
    Whole,
    Part(Range<u64>),
    Outside,
}

/// One range of bytes (RFC 9110, 14.1.2); several at once are answered with the whole.
fn range(asked: &str, length: u64) -> Asked {
    let Some(spec) = asked.trim().strip_prefix("bytes=") else { return Asked::Whole };
    if spec.contains(',') {
        return Asked::Whole;
    }
    let Some((first, last)) = spec.split_once('-') else { return Asked::Whole };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = match (number(first), number(last)) {
        (Some(first), None) if last.trim().is_empty() => first..length,
        (Some(first), Some(last)) if first <= last => first..length.min(last.saturating_add(1)),
        (None, Some(suffix)) if first.trim().is_empty() => length.saturating_sub(suffix)..length,
        _ => return Asked::Whole,
    };
    if range.start >= length || range.is_empty() { Asked::Outside } else { Asked::Part(range) }
}

fn outside(length: u64) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::{Asked, range};

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let part = |asked| match range(asked, 100) {
            Asked::Whole => None,
            Asked::Part(range) => Some(Some((range.start, range.end))),
            Asked::Outside => Some(None),
        };
        assert_eq!(part("bytes=0-9"), Some(Some((0, 10))));
        assert_eq!(part("bytes=90-"), Some(Some((90, 100))));
        assert_eq!(part("bytes=-10"), Some(Some((90, 100))));
        assert_eq!(part("bytes=-1000"), Some(Some((0, 100))));
        assert_eq!(part("bytes=50-1000"), Some(Some((50, 100))));
        assert_eq!(part("bytes=100-"), Some(None));
        assert_eq!(part("bytes=-0"), Some(None));
        for whole in ["lines=0-9", "bytes=", "bytes=9-0", "bytes=a-b", "bytes=0-1,5-6", ""] {
            assert_eq!(part(whole), None, "{whole}");
        }
    }
}
