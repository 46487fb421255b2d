//! Ogg pages (RFC 3533) with Opus in them (RFC 7845).

use std::io::{BufReader, Read, SeekFrom};

use super::Source;

/// The longest packet that Opus can make: 48 frames of 1275 bytes, and their lengths. Longer ones are comments.
const MAX_PACKET: usize = 64 << 10;

/// The most samples that a packet holds: 120 ms at 48 kHz.
pub(super) const MAX_SAMPLES: u64 = 5760;

/// The first packet of the stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpusHead {
    pub(super) channels: u8,
    /// Samples at 48 kHz that a decoder makes and nobody hears.
    pub(super) pre_skip: u16,
}

/// What the pages say of a whole file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary {
    pub(super) head: OpusHead,
    /// Samples at 48 kHz that the packets hold.
    pub(super) samples: u64,
    /// The last position that a page names: samples at 48 kHz, the skipped ones included. 0 if none does.
    pub(super) granule: u64,
}

/// Reads the pages of the first Opus stream of a file up to the first that is broken, and gives every audio packet to
/// `packet`, with the samples at 48 kHz that it holds. `None`: there is no Opus stream.
pub(super) fn packets(
    source: &mut dyn Source,
    mut packet: impl FnMut(OpusHead, &[u8], u64),
) -> Option<Summary> {
    source.seek(SeekFrom::Start(0)).ok()?;
    let mut reader = BufReader::with_capacity(64 << 10, source);
    let mut found: Option<(u32, Summary)> = None;
    let (mut partial, mut too_long, mut seen) = (Vec::new(), false, 0_u64);
    let (mut header, mut table, mut body) = ([0; 27], [0; 255], vec![0; 255 * 255]);
    while reader.read_exact(&mut header).is_ok() && header.starts_with(b"OggS") {
        let [.., s0, s1, s2, s3, _, _, _, _, _, _, _, _, segments] = header;
        let serial = u32::from_le_bytes([s0, s1, s2, s3]);
        let table = &mut table[..usize::from(segments)];
        if reader.read_exact(table).is_err() {
            break;
        }
        let body = &mut body[..table.iter().copied().map(usize::from).sum()];
        if reader.read_exact(body).is_err() {
            break;
        }
        let summary = match &mut found {
            None => {
                if let Some(head) = opus_head(body) {
                    found = Some((serial, Summary { head, samples: 0, granule: 0 }));
                }
                continue;
            }
            Some((ours, summary)) if *ours == serial => summary,
            Some(_) => continue,
        };
        let mut rest = &*body;
        for lace in table.iter() {
            let (piece, after) = rest.split_at(usize::from(*lace));
            rest = after;
            too_long |= partial.len() + piece.len() > MAX_PACKET;
            if !too_long {
                partial.extend_from_slice(piece);
            }
            if *lace == u8::MAX {
                continue;
            }
            // The first packet after the head is the comments.
            if seen > 0 && !too_long {
                let samples = samples(&partial);
                summary.samples = summary.samples.saturating_add(samples);
                packet(summary.head, &partial, samples);
            }
            seen += 1;
            partial.clear();
            too_long = false;
        }
        let granule = header.get(6..14).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        // All ones: no packet ends on this page.
        summary.granule = granule.filter(|granule| *granule != u64::MAX).unwrap_or(summary.granule);
    }
    found.map(|(_, summary)| summary)
}

fn opus_head(body: &[u8]) -> Option<OpusHead> {
    let fields = body.strip_prefix(b"OpusHead")?;
    let [version, channels, low, high, ..] = *fields else { return None };
    // The upper half of the version counts changes that older readers must refuse.
    (version < 16).then_some(OpusHead { channels, pre_skip: u16::from_le_bytes([low, high]) })
}

/// Samples at 48 kHz in a packet, by its first byte and, if that says so, its second (RFC 6716, 3.1). 0 for a packet
/// that holds more than the 120 ms that one may.
fn samples(packet: &[u8]) -> u64 {
    let Some(toc) = packet.first() else { return 0 };
    let config = toc >> 3;
    let frame = match config {
        0..12 => [480, 960, 1920, 2880][usize::from(config & 3)],
        12..16 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1).copied().unwrap_or(0) & 0x3f),
    };
    Some(frame * frames).filter(|samples| *samples <= MAX_SAMPLES).unwrap_or(0)
}
