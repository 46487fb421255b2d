//! Facts about a file that is to be sent: what it is, how large it may be, and what a message says of it.
//!
//! | file | what it owns |
//! |---|---|
//! | `format` | the formats of the contract: mime types, extensions, which media type takes which, size limits |
//! | `detect` | what a file is: its content, then the type its server announced, then its name |
//! | `container` | what is inside a ZIP or an OLE file |
//! | `mp4` | boxes of MP4, MOV, 3GP, M4A: tracks, duration, dimensions |
//! | `picture` | dimensions, animation and thumbnail of an image |
//! | `sound` | duration of audio, waveform of a voice note; `ogg` reads the pages |
//! | `name` | file names of documents |
//! | `page` | what a web page says of itself, for the preview of a link |
//!
//! Files come from strangers. Each is read through a [`Source`] of the caller's, mostly a temporary file; no function
//! holds more of it than a stated bound, walks more of it than a stated bound, or believes a length that it names.

mod container;
mod detect;
mod format;
mod fuzz;
mod mp4;
mod name;
mod ogg;
mod page;
mod picture;
mod sound;

use std::{
    io::{self, Read, Seek, SeekFrom},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

pub use detect::{Detected, detect};
pub use format::{Documents, Format, MediaType, Unsupported};
pub use fuzz::fuzz_media;
pub use name::{clean_name, document_name};
pub use page::{Page, page};
pub use picture::portrait;

/// Where a file is read from: a `File`, a `Cursor`.
pub trait Source: Read + Seek + Send + Sync {}
impl<T: Read + Seek + Send + Sync> Source for T {}

/// What a message says of a file besides its mime type. Everything is optional there, and so it is here: a file whose
/// facts cannot be told is sent without them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Pixels, as shown: after the rotation that the file asks for.
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub duration: Option<Duration>,
    /// JPEG of at most 4 KiB, of an image.
    pub thumbnail: Option<Vec<u8>>,
    /// 64 loudnesses from 0 to 100, of Ogg Opus.
    pub waveform: Option<[u8; 64]>,
    /// Whether a GIF or WebP has more than one frame.
    pub animated: bool,
}

impl Facts {
    /// `seconds` of a message: whole ones, the rest dropped.
    pub fn seconds(&self) -> Option<u32> {
        self.duration.map(|duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX))
    }
}

/// Tells what can be told of a file that was detected as `format`. Does not fail: what cannot be told is missing.
///
/// Memory: an image is decoded, at most 24 megapixels; anything else takes some 100 KiB. Time: at most some tenths of
/// a second, as long a voice note may be. Meant for a thread that may block.
pub fn facts(source: &mut dyn Source, format: Format) -> Facts {
    match format {
        Format::Jpeg | Format::Png | Format::Gif | Format::Webp => picture::facts(source, format),
        Format::Mp4 | Format::ThreeGp | Format::Mov | Format::M4a => mp4::facts(source),
        Format::Mp3 | Format::Aac | Format::Wav | Format::Ogg | Format::Opus => sound::facts(source, format),
        _ => Facts::default(),
    }
}

/// Fills `buffer` from `at` on as far as the file goes.
fn read_at<'a>(source: &mut dyn Source, at: u64, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    source.seek(SeekFrom::Start(at))?;
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(&buffer[..filled])
}

/// Runs a decoder of others' making on a stranger's file. A panic of it costs the facts of that file, nothing else.
fn guarded<T>(decode: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(decode)).ok().flatten()
}
