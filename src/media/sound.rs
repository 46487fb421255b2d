//! Audio: how long it is, and how loud over time.

use std::{
    io::{self, Read, Seek, SeekFrom},
    time::Duration,
};

use opus_pure::OpusDecoder;
use symphonia::{
    core::{
        formats::{FormatOptions, FormatReader},
        io::{MediaSource, MediaSourceStream},
    },
    default::formats::{AdtsReader, MpaReader},
};

use super::{Facts, Format, Source, guarded, ogg, read_at};

pub(super) fn facts(source: &mut dyn Source, format: Format) -> Facts {
    match format {
        Format::Opus => opus(source),
        // Vorbis and others in Ogg: no client says how to tell, and the duration may be missing.
        Format::Ogg => Facts::default(),
        Format::Wav => Facts { duration: wav(source), ..Facts::default() },
        _ => Facts { duration: guarded(|| by_symphonia(source, format)), ..Facts::default() },
    }
}

/// Bytes that a demuxer may read of one file, in all its passes.
const MAX_READ: u64 = 64 << 20;

/// MP3 by its Xing or VBRI header, else by its bit rate; AAC by the frames of samples of the file.
fn by_symphonia(source: &mut dyn Source, format: Format) -> Option<Duration> {
    let end = source.seek(SeekFrom::End(0)).ok()?;
    let start = if format == Format::Mp3 { behind_id3(source).min(end) } else { 0 };
    let window = Window { source, start, end, at: start, left: MAX_READ };
    let stream = MediaSourceStream::new(Box::new(window), Default::default());
    let reader: Box<dyn FormatReader> = if format == Format::Mp3 {
        Box::new(MpaReader::try_new(stream, FormatOptions::default()).ok()?)
    } else {
        Box::new(AdtsReader::try_new(stream, FormatOptions::default()).ok()?)
    };
    let track = reader.tracks().first()?;
    let length = track.time_base?.calc_duration(track.duration?)?;
    Duration::try_from_secs_f64(length.as_secs_f64()).ok()
}

/// Where the sound begins. The tag may hold pictures, in which a demuxer would find frames that are none.
fn behind_id3(source: &mut dyn Source) -> u64 {
    let mut header = [0; 10];
    match read_at(source, 0, &mut header) {
        Ok(&[b'I', b'D', b'3', _, _, flags, a, b, c, d]) => {
            let size = [a, b, c, d].iter().fold(0, |size, byte| size << 7 | u64::from(byte & 0x7f));
            10 + size + if flags & 0x10 != 0 { 10 } else { 0 }
        }
        _ => 0,
    }
}

/// The part of a file behind its tag, as a demuxer reads it.
struct Window<'a> {
    source: &'a mut dyn Source,
    start: u64,
    end: u64,
    at: u64,
    left: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        self.source.seek(SeekFrom::Start(self.at))?;
        let n = self.source.read(&mut buffer[..most])?;
        self.left -= n as u64;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(offset) => self.start.checked_add(offset),
            SeekFrom::End(offset) => self.end.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.at.checked_add_signed(offset),
        };
        self.at = at.filter(|at| *at >= self.start).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at - self.start)
    }
}

impl MediaSource for Window<'_> {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.end - self.start)
    }
}

/// Length of `data` by the byte rate of `fmt `. A length beyond the file, as programs write that do not know it yet,
/// counts as far as the file goes.
fn wav(source: &mut dyn Source) -> Option<Duration> {
    let end = source.seek(SeekFrom::End(0)).ok()?;
    let (mut at, mut rate) = (12_u64, 0);
    for _ in 0..64 {
        let mut chunk = [0; 20];
        let chunk = read_at(source, at, &mut chunk).ok()?;
        let number = |at: usize| Some(u32::from_le_bytes(chunk.get(at..at + 4)?.try_into().ok()?));
        let length = u64::from(number(4)?);
        match chunk.get(..4)? {
            b"fmt " => rate = u64::from(number(16)?),
            b"data" => {
                let bytes = length.min(end.saturating_sub(at + 8));
                return Some(Duration::from_millis((bytes * 1000).checked_div(rate)?));
            }
            _ => {}
        }
        at += 8 + length + length % 2;
    }
    None
}

/// Samples a second of every Opus stream, as its pages count.
const RATE: u64 = 48_000;
/// Parts of a waveform.
const PARTS: u64 = 64;
/// Samples decoded of each part: a second. A voice note of up to 64 seconds is decoded whole; of a longer one, the
/// first second of each part stands for it, so that the time this takes has a bound.
const SAMPLES_A_PART: u64 = RATE;
/// Longer than this is no voice note, and the packets of a hostile file would fill weeks.
const MAX_NOTE: u64 = 12 * 3600 * RATE;

fn opus(source: &mut dyn Source) -> Facts {
    let Some(summary) = ogg::packets(source, |_, _, _| ()) else { return Facts::default() };
    let skipped = u64::from(summary.head.pre_skip);
    let held = summary.samples.saturating_sub(skipped);
    // What the last page says, unless the packets cannot be that long: a recording that begins at another time than
    // zero, or a lie.
    let said = summary.granule.saturating_sub(skipped);
    let heard = if said == 0 || said > held + RATE { held } else { said };
    let duration = Duration::from_millis(heard.saturating_mul(1000) / RATE);
    // More channels are several streams in one packet, which no voice note has.
    let decodable = held <= MAX_NOTE && matches!(summary.head.channels, 1 | 2);
    let waveform = if decodable { guarded(|| waveform(source, heard)) } else { None };
    Facts { duration: Some(duration), waveform, ..Facts::default() }
}

/// Means of the absolute values of channel 0 over 64 equal parts, as hundredths of the largest mean. Source: every
/// client compared in the protocol notes does it so.
fn waveform(source: &mut dyn Source, heard: u64) -> Option<[u8; 64]> {
    let part = heard / PARTS;
    if part == 0 {
        return None;
    }
    let (mut sums, mut counts) = ([0_u64; 64], [0_u64; 64]);
    let mut decoder = None;
    let mut pcm = vec![0_i16; 2 * ogg::MAX_SAMPLES as usize];
    let mut at = 0_u64;
    ogg::packets(source, |head, packet, samples| {
        let skipped = u64::from(head.pre_skip);
        let begin = at;
        at += samples;
        let (first, last) = (begin.saturating_sub(skipped), at.saturating_sub(skipped));
        let full = |at: u64| {
            let index = (at / part).min(PARTS - 1) as usize;
            counts[index] >= SAMPLES_A_PART
        };
        if samples == 0 || full(first) && full(last) {
            return;
        }
        let channels = usize::from(head.channels);
        let decoder = decoder.get_or_insert_with(|| OpusDecoder::new(RATE as i32, channels).ok());
        let decode = |d: &mut OpusDecoder| d.decode_s16(packet, samples as usize, &mut pcm).ok();
        let Some(decoded) = decoder.as_mut().and_then(decode) else {
            return;
        };
        for (index, frame) in pcm.chunks_exact(channels).take(decoded).enumerate() {
            // The remainder of the division belongs to no part.
            let Some(position) = (begin + index as u64).checked_sub(skipped) else { continue };
            let index = (position / part) as usize;
            if let (Some(sum), Some(count)) = (sums.get_mut(index), counts.get_mut(index)) {
                *sum += u64::from(frame[0].unsigned_abs());
                *count += 1;
            }
        }
    })?;
    let means = std::array::from_fn::<f64, 64, _>(|index| sums[index] as f64 / counts[index].max(1) as f64);
    let largest = means.into_iter().fold(0.0, f64::max);
    // Silence has no largest mean to compare with.
    Some(if largest == 0.0 { [0; 64] } else { means.map(|mean| (mean / largest * 100.0) as u8) })
}
