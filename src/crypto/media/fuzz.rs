//! Where a fuzzer enters this sub-room.

use super::{Claim, Encryptor, MediaError, MediaKeys, MediaKind, Sidecar, Verifier, retry};

/// Reads `data` as a blob, as changes to a genuine blob, and as the answer of a phone. Panics if anything but the
/// genuine blob is accepted.
pub fn fuzz_media_crypto(data: &[u8]) {
    let keys = MediaKeys::derive(&[3; 32], MediaKind::Document);
    let accept = |blob: &[u8]| {
        let mut verifier = Verifier::new(keys.clone());
        blob.chunks(7).for_each(|chunk| verifier.update(chunk));
        verifier.finish(Claim::default())
    };
    // Nobody guesses an 80-bit MAC.
    assert!(accept(data).is_err());

    let (mut genuine, mut encryptor) = (Vec::new(), Encryptor::new(&keys, Sidecar::On));
    encryptor.update(&[data.len() as u8; 100], &mut genuine);
    encryptor.finish(&mut genuine);
    let mut changed = genuine.clone();
    for change in data.chunks_exact(2) {
        if let [place, value] = *change
            && let Some(byte) = changed.get_mut(usize::from(place))
        {
            *byte = value;
        }
    }
    let verified = accept(&changed);
    assert_eq!(verified.is_ok(), changed == genuine);
    if let Ok(verified) = verified {
        // The file under the proof may still change.
        let mut decryptor = verified.decryptor();
        let mut plaintext = Vec::new();
        let read = decryptor.update(data, &mut plaintext).and_then(|()| decryptor.finish(&mut plaintext));
        assert!(read.is_err() || data.len() as u64 == verified.blob_length());
        let _: Result<_, MediaError> = verified.parts(data);
    }

    let iv = data.get(..12).unwrap_or_default();
    if let Ok(sealed) = retry::Sealed::new(data.to_vec(), iv) {
        assert!(retry::open_answer(&[3; 32], "id", &sealed).is_err());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuzzers_entry_stands_what_it_will_be_given_first() {
        fuzz_media_crypto(&[]);
        fuzz_media_crypto(&[0; 122]);
        for place in 0..=u8::MAX {
            fuzz_media_crypto(&[place, 0x55]);
        }
    }
}
