//! What is inside a ZIP or an OLE file, by the names in its directory.

use std::io::{self, SeekFrom};

use super::{Format, Source, read_at};

/// First bytes of an OLE compound file: Office before 2007.
pub(super) const OLE: [u8; 8] = [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];

/// A ZIP's end record is 22 bytes and a comment of at most 64 KiB.
const MAX_END: u64 = 22 + 65_535;
/// Of a directory, at most this much is read: some 10 000 names, where Office files have tens.
const MAX_DIRECTORY: usize = 1 << 20;

/// A file that begins as a ZIP: one of Office's if it has the members that make it one.
pub(super) fn zip(source: &mut dyn Source) -> io::Result<Format> {
    let length = source.seek(SeekFrom::End(0))?;
    let mut end = vec![0; length.min(MAX_END) as usize];
    let end = read_at(source, length.saturating_sub(MAX_END), &mut end)?;
    let Some(at) = end.windows(4).rposition(|window| window == b"PK\x05\x06") else {
        return Ok(Format::Zip);
    };
    let number = |at: usize| Some(u32::from_le_bytes(end.get(at..at + 4)?.try_into().ok()?));
    let (Some(size), Some(offset)) = (number(at + 12), number(at + 16)) else { return Ok(Format::Zip) };
    let mut directory = vec![0; (size as usize).min(MAX_DIRECTORY).min(length as usize)];
    let directory = read_at(source, offset.into(), &mut directory)?;

    let (mut content_types, mut inside) = (false, None);
    for name in names(directory) {
        content_types |= name == b"[Content_Types].xml";
        inside = inside.or(match name {
            _ if name.starts_with(b"word/") => Some(Format::Docx),
            _ if name.starts_with(b"xl/") => Some(Format::Xlsx),
            _ if name.starts_with(b"ppt/") => Some(Format::Pptx),
            _ => None,
        });
    }
    Ok(inside.filter(|_| content_types).unwrap_or(Format::Zip))
}

/// The names of a central directory, until it ends or is broken.
fn names(mut directory: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if !directory.starts_with(b"PK\x01\x02") {
            return None;
        }
        let number =
            |at: usize| Some(usize::from(u16::from_le_bytes(directory.get(at..at + 2)?.try_into().ok()?)));
        let (name, extra, comment) = (number(28)?, number(30)?, number(32)?);
        let found = directory.get(46..46 + name)?;
        directory = directory.get(46 + name + extra + comment..)?;
        Some(found)
    })
}

/// The stream that each of Office's programs keeps its document in. The directory begins in the sector that the header
/// names; four (or, in version 4, thirty-two) entries of it are enough, since the root comes first and documents have
/// few streams; more sectors are read for as long as they lie side by side.
pub(super) fn ole(source: &mut dyn Source) -> io::Result<Option<Format>> {
    let mut header = [0; 512];
    let header = read_at(source, 0, &mut header)?;
    let shift = header.get(30..32).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    let Some(first) = header.get(48..52).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
    else {
        return Ok(None);
    };
    if !matches!(shift, 9 | 12) {
        return Ok(None);
    }
    let at = (u64::from(first) + 1) << shift;
    let mut directory = [0; 4096];
    let directory = read_at(source, at, &mut directory)?;
    Ok(directory.chunks_exact(128).find_map(|entry| {
        // The name in UTF-16, and its length in bytes with the final zero.
        let length = usize::from(u16::from_le_bytes([entry[64], entry[65]])).checked_sub(2)?;
        let units = entry.get(..length.min(62))?.chunks_exact(2);
        let name: String =
            char::decode_utf16(units.map(|unit| u16::from_le_bytes([unit[0], unit[1]]))).flatten().collect();
        match &*name {
            "WordDocument" => Some(Format::Doc),
            "Workbook" | "Book" => Some(Format::Xls),
            "PowerPoint Document" => Some(Format::Ppt),
            _ => None,
        }
    }))
}
