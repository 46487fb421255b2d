//! Where a fuzzer enters this room. An ordinary function, so that a plain test can enter as well.

use std::io::Cursor;

use super::{Detected, Format, clean_name, detect, document_name, facts, page};

/// Reads `data` as a file of whatever it looks like and, since a fuzzer seldom writes first bytes, of every listed
/// format; and as the headers that name one. Panics if a fact breaks the promise of its type.
pub fn fuzz_media(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut source = Cursor::new(data);
    let detected = detect(&mut source, Some(&text), Some(&text)).unwrap_or(Detected::Other { mime: None });
    for format in Format::ALL {
        let facts = facts(&mut source, format);
        assert!(facts.thumbnail.is_none_or(|jpeg| jpeg.len() <= 4096 && jpeg.starts_with(&[0xff, 0xd8])));
        assert!(facts.waveform.is_none_or(|waveform| waveform.iter().all(|loudness| *loudness <= 100)));
        assert!(facts.width.is_some() == facts.height.is_some());
    }
    let page = page(data, Some(&text));
    assert!(page.title.is_none_or(|title| title.chars().count() <= 256));
    let name = document_name(None, Some(&text), Some(&text), &detected);
    assert!(clean_name(&name).as_deref() == Some(&*name), "a cleaned name is clean");
}
