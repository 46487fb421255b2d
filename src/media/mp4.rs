//! Boxes of ISO media files (ISO/IEC 14496-12) and QuickTime: enough of them for tracks, duration and dimensions.

use std::{
    io::{self, SeekFrom},
    ops::Range,
    time::Duration,
};

use super::{Facts, Format, Source, read_at};

/// Box headers looked at in one file, at all levels together. An ordinary file has some forty up to its tracks.
const MAX_BOXES: usize = 2000;

/// Brands of still images in these boxes, which are no format of ours.
const IMAGE_BRANDS: [&[u8; 4]; 9] =
    [b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif", b"avis"];

/// Which of the formats made of boxes this is. The brand says so, but for sound alone, which is M4A whatever its brand.
pub(super) fn kind(source: &mut dyn Source, head: &[u8]) -> Option<Format> {
    let by_brand = match (head.get(4..8)?, head.get(8..12)) {
        (b"ftyp", Some(brand)) if IMAGE_BRANDS.iter().any(|image| *image == brand) => return None,
        (b"ftyp", Some(b"crx ")) => return None,
        (b"ftyp", Some(b"qt  ")) => Format::Mov,
        (b"ftyp", Some(brand)) if brand.starts_with(b"3g") => Format::ThreeGp,
        (b"ftyp", Some(b"M4A " | b"M4B " | b"M4P ")) => return Some(Format::M4a),
        (b"ftyp", _) => Format::Mp4,
        // QuickTime before brands. The words are common ones, so that tracks must be found, too.
        (b"moov" | b"mdat" | b"wide" | b"free" | b"skip" | b"pnot", _) => {
            let movie = movie(source).ok()?;
            return (movie.video || movie.audio).then_some(Format::Mov);
        }
        _ => return None,
    };
    match movie(source) {
        Ok(movie) if movie.audio && !movie.video => Some(Format::M4a),
        _ => Some(by_brand),
    }
}

pub(super) fn facts(source: &mut dyn Source) -> Facts {
    let movie = movie(source).unwrap_or_default();
    let (width, height) = movie.shown.unzip();
    Facts { width, height, duration: movie.duration(), ..Facts::default() }
}

#[derive(Default)]
struct Movie {
    timescale: u32,
    length: u64,
    /// Of a fragmented file, whose header says 0.
    fragments_length: u64,
    /// The longest track, in its own timescale.
    track: Option<Duration>,
    shown: Option<(u32, u32)>,
    video: bool,
    audio: bool,
}

impl Movie {
    fn duration(&self) -> Option<Duration> {
        [self.length, self.fragments_length]
            .into_iter()
            .find_map(|length| seconds(length, self.timescale))
            .or(self.track)
    }
}

#[derive(Default)]
struct Track {
    dimensions: Option<(u32, u32)>,
    handler: [u8; 4],
    length: Option<Duration>,
}

/// `None` for what means that the length is not known: nothing, or all ones.
fn seconds(length: u64, timescale: u32) -> Option<Duration> {
    let known = timescale != 0 && length != 0 && length != u64::from(u32::MAX) && length != u64::MAX;
    known.then(|| {
        let timescale = u64::from(timescale);
        let nanos = (length % timescale) * 1_000_000_000 / timescale;
        Duration::new(length / timescale, nanos as u32)
    })
}

fn movie(source: &mut dyn Source) -> io::Result<Movie> {
    let end = source.seek(SeekFrom::End(0))?;
    let mut walk = Walk { source, left: MAX_BOXES };
    let mut movie = Movie::default();
    let mut at = 0..end;
    while let Some((kind, body)) = walk.next(&mut at)? {
        if &kind == b"moov" {
            walk.moov(body, &mut movie)?;
            break;
        }
    }
    Ok(movie)
}

/// Reads headers of boxes, as many as it has left.
struct Walk<'a> {
    source: &'a mut dyn Source,
    left: usize,
}

impl Walk<'_> {
    /// The next box of `at` and its body; `at` is moved behind it. `None` at the end, and where there is no box.
    fn next(&mut self, at: &mut Range<u64>) -> io::Result<Option<([u8; 4], Range<u64>)>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let mut header = [0; 16];
        let header = read_at(self.source, at.start, &mut header)?;
        let (Some(size), Some(kind)) = (number::<4>(header, 0), header.get(4..8)) else { return Ok(None) };
        let (size, header_length) = match size {
            0 => (at.end.saturating_sub(at.start), 8),
            1 => (number::<8>(header, 8).unwrap_or(0), 16),
            size => (size, 8),
        };
        let Some(end) = at.start.checked_add(size).filter(|_| size >= header_length) else {
            return Ok(None);
        };
        // A box that promises more than there is: what is there of it.
        let body = at.start + header_length..end.min(at.end);
        if body.start > at.end {
            return Ok(None);
        }
        at.start = body.end;
        let kind = kind.try_into().unwrap_or_default();
        Ok(Some((kind, body)))
    }

    /// The first bytes of a body.
    fn read<'b>(&mut self, body: &Range<u64>, buffer: &'b mut [u8; 96]) -> io::Result<&'b [u8]> {
        let length = (body.end - body.start).min(buffer.len() as u64) as usize;
        read_at(self.source, body.start, &mut buffer[..length])
    }

    fn moov(&mut self, mut at: Range<u64>, movie: &mut Movie) -> io::Result<()> {
        let mut buffer = [0; 96];
        while let Some((kind, body)) = self.next(&mut at)? {
            match &kind {
                b"mvhd" => {
                    (movie.timescale, movie.length) = time(self.read(&body, &mut buffer)?);
                }
                b"mvex" => {
                    let mut at = body;
                    while let Some((kind, body)) = self.next(&mut at)? {
                        if &kind == b"mehd" {
                            let fields = self.read(&body, &mut buffer)?;
                            let length = if version(fields) == 1 {
                                number::<8>(fields, 4)
                            } else {
                                number::<4>(fields, 4)
                            };
                            movie.fragments_length = length.unwrap_or(0);
                        }
                    }
                }
                b"trak" => {
                    let mut track = Track::default();
                    self.trak(body, &mut track)?;
                    movie.audio |= &track.handler == b"soun";
                    if &track.handler == b"vide" {
                        movie.video = true;
                        movie.shown = movie.shown.or(track.dimensions);
                    }
                    movie.track = movie.track.max(track.length);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn trak(&mut self, mut at: Range<u64>, track: &mut Track) -> io::Result<()> {
        let mut buffer = [0; 96];
        while let Some((kind, body)) = self.next(&mut at)? {
            match &kind {
                b"tkhd" => track.dimensions = dimensions(self.read(&body, &mut buffer)?),
                b"mdia" => {
                    let mut at = body;
                    while let Some((kind, body)) = self.next(&mut at)? {
                        let fields = self.read(&body, &mut buffer)?;
                        match &kind {
                            b"mdhd" => {
                                let (timescale, length) = time(fields);
                                track.length = seconds(length, timescale);
                            }
                            b"hdlr" => {
                                let handler = fields.get(8..12).and_then(|handler| handler.try_into().ok());
                                track.handler = handler.unwrap_or_default();
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn version(fields: &[u8]) -> u8 {
    fields.first().copied().unwrap_or(0)
}

/// A big-endian number of `N` bytes, 8 at most.
fn number<const N: usize>(fields: &[u8], at: usize) -> Option<u64> {
    let bytes = fields.get(at..at.checked_add(N)?)?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Timescale and length of `mvhd` or `mdhd`, which begin alike.
fn time(fields: &[u8]) -> (u32, u64) {
    let (timescale, length) = if version(fields) == 1 {
        (number::<4>(fields, 20), number::<8>(fields, 24))
    } else {
        (number::<4>(fields, 12), number::<4>(fields, 16))
    };
    (timescale.unwrap_or(0) as u32, length.unwrap_or(0))
}

/// Width and height of `tkhd`, which end it, 16.16 each; before them a matrix, whose quarter turns swap them.
fn dimensions(fields: &[u8]) -> Option<(u32, u32)> {
    let matrix = if version(fields) == 1 { 52 } else { 40 };
    let cell = |index: usize| number::<4>(fields, matrix + 4 * index);
    let side = |at: usize| Some((number::<4>(fields, matrix + 36 + at)? >> 16) as u32);
    let (width, height) = (side(0)?, side(4)?);
    let turned = cell(0)? == 0 && cell(4)? == 0 && cell(1)? != 0 && cell(3)? != 0;
    let shown = if turned { (height, width) } else { (width, height) };
    (width > 0 && height > 0).then_some(shown)
}
