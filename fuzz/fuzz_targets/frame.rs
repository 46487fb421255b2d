//! Any stream in any chunks: never a panic; the frames and the rest are the stream again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wazap::wire::frame;

fuzz_target!(|data: (Vec<u8>, Vec<u8>)| {
    let (stream, cuts) = data;
    if let Ok(Some(intro)) = frame::read_intro(&stream) {
        assert!(stream[..intro].ends_with(&frame::INTRO));
    }
    let (mut reader, mut seen, mut rest) = (frame::Reader::default(), Vec::new(), stream.as_slice());
    for cut in cuts.iter().map(|cut| usize::from(*cut)).chain([usize::MAX]) {
        let (chunk, tail) = rest.split_at(cut.min(rest.len()));
        reader.push(chunk);
        while let Some(frame) = reader.next() {
            seen.extend(frame::encode(&frame).expect("it came in a frame"));
        }
        rest = tail;
    }
    assert!(stream.starts_with(&seen));
    assert_eq!(stream.len(), seen.len() + reader.waiting());
});
