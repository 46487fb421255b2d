//! What a file is. Its content has the first word; where it says nothing, the announced type, then the name.

use std::io;

use super::{Documents, Format, MediaType, Source, Unsupported, container, format::essence, mp4, read_at};

/// Bytes at the beginning that are looked at.
const HEAD: usize = 8192;
/// The longest announced type that is passed on to a phone.
const MAX_MIME: usize = 127;

/// What a file turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detected {
    Listed(Format),
    /// Something else, of the announced type if there was one that can be passed on.
    Other {
        mime: Option<String>,
    },
}

impl Detected {
    /// The mime type of the message.
    pub fn mime(&self) -> &str {
        match self {
            Self::Listed(format) => format.mime(),
            Self::Other { mime } => mime.as_deref().unwrap_or("application/octet-stream"),
        }
    }

    pub fn format(&self) -> Option<Format> {
        match self {
            Self::Listed(format) => Some(*format),
            Self::Other { .. } => None,
        }
    }

    /// Whether the file may be sent as `media_type`.
    pub fn check(&self, media_type: MediaType, documents: Documents) -> Result<(), Unsupported> {
        let fits = match self {
            Self::Listed(format) => format.fits(media_type),
            Self::Other { .. } => media_type == MediaType::Document && documents == Documents::Any,
        };
        if fits { Ok(()) } else { Err(Unsupported(media_type)) }
    }
}

/// What the content says.
enum Content {
    Listed(Format),
    /// Recognised, and nothing that is listed.
    Other,
    Text,
    Unknown,
}

/// Reads at most the first 8 KiB and, of containers, their directories. `announced` is the `Content-Type` of the
/// server or of the part; `name` a file name or URL path whose extension counts last.
///
/// Text is plain text unless something more special was announced or its name says so (CSV, XML): those travel as
/// what they are announced as. Text is never an image, video or audio.
pub fn detect(source: &mut dyn Source, announced: Option<&str>, name: Option<&str>) -> io::Result<Detected> {
    let mut head = [0; HEAD];
    let head = read_at(source, 0, &mut head)?;
    let announced_format = announced.and_then(Format::from_mime);
    let extension = name.and_then(|name| name.rsplit_once('.')).map(|(_, extension)| extension);
    let by_name = extension.and_then(Format::from_extension);
    let other = || Detected::Other { mime: announced.and_then(passable) };
    Ok(match content(source, head)? {
        Content::Listed(format) => Detected::Listed(format),
        Content::Other => other(),
        Content::Text => match (announced.and_then(passable), announced_format, extension) {
            (_, Some(Format::Txt), _) | (None, _, None) => Detected::Listed(Format::Txt),
            (None, ..) if by_name == Some(Format::Txt) => Detected::Listed(Format::Txt),
            _ => other(),
        },
        Content::Unknown => match (announced_format, announced.and_then(passable)) {
            // Bytes that are no text are no text file, whatever they are called.
            (Some(Format::Txt), _) => Detected::Other { mime: None },
            (Some(format), _) => Detected::Listed(format),
            (None, Some(mime)) => Detected::Other { mime: Some(mime) },
            (None, None) => {
                by_name.filter(|format| *format != Format::Txt).map_or_else(other, Detected::Listed)
            }
        },
    })
}

fn content(source: &mut dyn Source, head: &[u8]) -> io::Result<Content> {
    if let Some(of_boxes) = mp4::kind(source, head) {
        return Ok(Content::Listed(of_boxes));
    }
    // RTF-like and web texts are told from plain text by their type alone; binary formats by their first bytes.
    let known = infer::get(head);
    let Some(known) = known else {
        return Ok(match head {
            // MPEG audio frames whose header `infer` does not list: layer III, any version, with or without CRC.
            [0xff, second, ..] if second & 0xe6 == 0xe2 && second & 0x18 != 0x08 => {
                Content::Listed(Format::Mp3)
            }
            _ if is_text(head) => Content::Text,
            _ => Content::Unknown,
        });
    };
    let listed = match known.mime_type() {
        "image/jpeg" => Format::Jpeg,
        "image/png" => Format::Png,
        "image/gif" => Format::Gif,
        "image/webp" => Format::Webp,
        "video/x-msvideo" => Format::Avi,
        "video/x-matroska" => Format::Mkv,
        "audio/mpeg" => Format::Mp3,
        "audio/ogg" | "audio/opus" if head.get(28..36) == Some(b"OpusHead") => Format::Opus,
        "audio/ogg" => Format::Ogg,
        "audio/x-wav" => Format::Wav,
        "audio/aac" => Format::Aac,
        "application/pdf" => Format::Pdf,
        _ if head.starts_with(b"PK\x03\x04") && !is_packaged(head) => container::zip(source)?,
        _ if head.starts_with(&container::OLE) => {
            return Ok(container::ole(source)?.map_or(Content::Other, Content::Listed));
        }
        _ if is_text(head) => return Ok(Content::Text),
        _ => return Ok(Content::Other),
    };
    Ok(Content::Listed(listed))
}

/// EPUB and OpenDocument name their type in a first, stored member: they are ZIP files to nobody.
fn is_packaged(head: &[u8]) -> bool {
    head.get(30..38) == Some(b"mimetype")
}

/// Whether this begins like text in UTF-8, UTF-16 with a mark, or a one-byte encoding: no control characters but
/// white space, and not empty.
fn is_text(head: &[u8]) -> bool {
    if head.is_empty() {
        return false;
    }
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return head.len() > 2;
    }
    let printable = |byte: &u8| *byte >= 0x20 && *byte != 0x7f || b"\t\n\r\x0c\x1b".contains(byte);
    if !head.iter().all(printable) {
        return false;
    }
    match std::str::from_utf8(head) {
        Ok(_) => true,
        // A character cut by the end of what was read.
        Err(error) if error.error_len().is_none() => true,
        // A one-byte encoding is mostly ASCII; random bytes are not.
        Err(_) => head.iter().filter(|byte| !byte.is_ascii()).count() * 3 < head.len(),
    }
}

/// An announced type that may go into a message: well formed, and saying something.
fn passable(announced: &str) -> Option<String> {
    let announced = announced.trim();
    let essence = essence(announced);
    let (kind, subtype) = essence.split_once('/')?;
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let says_nothing = matches!(&*essence, "application/octet-stream" | "binary/octet-stream");
    (announced.len() <= MAX_MIME && token(kind) && token(subtype) && !says_nothing).then_some(essence)
}
