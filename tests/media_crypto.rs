//! Media files: the same bytes as Baileys makes, whatever the chunks, and nothing but the genuine file is opened.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use wazap::crypto::media::{
    Claim, Encrypted, Encryptor, MediaError, MediaKeys, MediaKind, Sidecar, Verified, Verifier, blob_length,
    retry::{Sealed, open_request},
};

fn vector_key() -> [u8; 32] {
    std::array::from_fn(|i| i as u8)
}

fn plain(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

/// Cuts `bytes` at the given lengths, again and again.
fn cut<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at(bytes.len().min(*length));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

fn encrypt(keys: &MediaKeys, plain: &[u8], cuts: &[usize], sidecar: Sidecar) -> (Vec<u8>, Encrypted) {
    let (mut blob, mut encryptor) = (Vec::new(), Encryptor::new(keys, sidecar));
    for piece in cut(plain, cuts) {
        let before = blob.len();
        encryptor.update(piece, &mut blob);
        assert!(blob.len() - before <= piece.len() + 15, "a buffer of known size is enough");
    }
    let made = encryptor.finish(&mut blob);
    assert_eq!(made.blob_length, blob.len() as u64);
    (blob, made)
}

fn verify(keys: &MediaKeys, blob: &[u8], cuts: &[usize], claim: &Claim) -> Result<Verified, MediaError> {
    let mut verifier = Verifier::new(keys.clone());
    cut(blob, cuts).into_iter().for_each(|piece| verifier.update(piece));
    verifier.finish(claim.clone())
}

fn decrypt(verified: &Verified, blob: &[u8], cuts: &[usize]) -> Result<Vec<u8>, MediaError> {
    let (mut plain, mut decryptor) = (Vec::new(), verified.decryptor());
    for piece in cut(blob, cuts) {
        let before = plain.len();
        decryptor.update(piece, &mut plain)?;
        assert!(plain.len() - before <= piece.len() + 15, "a buffer of known size is enough");
    }
    decryptor.finish(&mut plain)?;
    Ok(plain)
}

fn part(
    verified: &Verified,
    blob: &[u8],
    range: std::ops::Range<u64>,
    cuts: &[usize],
) -> Result<Vec<u8>, MediaError> {
    let at = |range: std::ops::Range<u64>| &blob[range.start as usize..range.end as usize];
    let parts = verified.clone().parts(at(verified.ending()))?;
    let mut part = parts.part(range)?;
    let mut plain = Vec::new();
    for piece in cut(at(part.blob()), cuts) {
        part.update(piece, &mut plain)?;
    }
    part.finish()?;
    Ok(plain)
}

fn claim(made: &Encrypted) -> Claim {
    Claim::new(Some(&made.file_sha256), Some(&made.file_enc_sha256), Some(made.file_length)).unwrap()
}

#[test]
fn a_short_image_is_the_blob_of_the_protocol() {
    let keys = MediaKeys::derive(&vector_key(), MediaKind::Image);
    let (blob, made) = encrypt(&keys, b"hello media", &[3], Sidecar::Off);
    assert_eq!(hex::encode(&blob), "7f9bef39ef1650caa4aba10652270c9960575dfb7ec0f89ab88f");
    assert_eq!(
        hex::encode(made.file_sha256),
        "d28d2954ff97ac68052c4beff8c84ad0960d1408540fc486256cdd7cd68dd1fe"
    );
    assert_eq!(
        hex::encode(made.file_enc_sha256),
        "de874ad67c12271286a9e2afae8be0d1a85b91c2438c5679aa4609b86d292cd3"
    );
    assert_eq!((made.file_length, made.sidecar), (11, None));
}

#[test]
fn a_video_has_the_sidecar_of_the_protocol() {
    let keys = MediaKeys::derive(&vector_key(), MediaKind::Video);
    let (blob, made) = encrypt(&keys, &plain(150_000), &[1000, 7], Sidecar::On);
    assert_eq!(hex::encode(&blob[blob.len() - 10..]), "2f0aab7e71916df68e4f");
    assert_eq!(
        hex::encode(made.file_enc_sha256),
        "c9985da82569727af624d075a59d327ca05cea9628447d061e28c73cbe1b9aca"
    );
    assert_eq!(
        hex::encode(made.sidecar.unwrap()),
        "7739492564f37cb01e4fcd1bf20954a15e75d7275551cc104da3765b6ce6"
    );
}

#[test]
fn files_of_baileys_come_out_the_same_in_both_directions() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/media/baileys.json")).unwrap();
    let files = vectors["files"].as_array().unwrap();
    assert_eq!(files.len(), 28);
    for file in files {
        let text = |name: &str| file[name].as_str().unwrap();
        let kind = match text("kind") {
            "image" => MediaKind::Image,
            "video" => MediaKind::Video,
            "audio" => MediaKind::Audio,
            _ => MediaKind::Document,
        };
        let media_key = hex::decode(text("media_key")).unwrap().try_into().unwrap();
        let keys = MediaKeys::derive(&media_key, kind);
        let plain = plain(file["size"].as_u64().unwrap() as usize);

        let (blob, made) = encrypt(&keys, &plain, &[4096, 1, 15, 100], Sidecar::Off);
        assert_eq!(hex::encode(made.file_sha256), text("file_sha256"));
        assert_eq!(hex::encode(made.file_enc_sha256), text("file_enc_sha256"));
        assert_eq!(hex::encode(&blob[blob.len() - 10..]), text("mac"));
        assert_eq!(Some(blob.len() as u64), file["blob_length"].as_u64());
        assert_eq!(blob_length(plain.len() as u64), blob.len() as u64);

        // For small files the vector has the blob itself; for others its hash above says that ours is it.
        let blob = file["blob"].as_str().map_or(blob, |blob| hex::decode(blob).unwrap());
        let verified = verify(&keys, &blob, &[1000, 3], &claim(&made)).unwrap();
        assert!(decrypt(&verified, &blob, &[999, 1, 16]).unwrap() == plain);
        for part_of in file["parts"].as_array().into_iter().flatten() {
            let range = part_of["start"].as_u64().unwrap()..part_of["end"].as_u64().unwrap();
            let bytes = part(&verified, &blob, range, &[500, 1]).unwrap();
            assert_eq!(hex::encode(Sha256::digest(bytes)), part_of["sha256"].as_str().unwrap());
        }
    }

    let retry = &vectors["retry"];
    let bytes = |name: &str| hex::decode(retry[name].as_str().unwrap()).unwrap();
    let sealed = Sealed::new(bytes("ciphertext"), &bytes("iv")).unwrap();
    let media_key = bytes("media_key").try_into().unwrap();
    assert_eq!(open_request(&media_key, retry["id"].as_str().unwrap(), &sealed), Ok(()));
}

#[test]
fn every_flipped_byte_is_refused() {
    let keys = MediaKeys::derive(&[9; 32], MediaKind::Audio);
    let (blob, made) = encrypt(&keys, &plain(50), &[64], Sidecar::Off);
    for at in 0..blob.len() {
        let mut changed = blob.clone();
        changed[at] ^= 0x10;
        let refused = |claim: &Claim| verify(&keys, &changed, &[11], claim).err();
        assert_eq!(refused(&claim(&made)), Some(MediaError::EncryptedHash));
        assert_eq!(refused(&Claim::default()), Some(MediaError::Mac), "byte {at}");
    }
}

#[test]
fn a_lie_about_the_file_is_refused_for_what_it_is() {
    let keys = MediaKeys::derive(&[9; 32], MediaKind::Document);
    let (blob, made) = encrypt(&keys, &plain(50), &[64], Sidecar::Off);
    let honest = claim(&made);
    let refused = |blob: &[u8], claim: &Claim| verify(&keys, blob, &[11], claim).err();

    assert_eq!(refused(&blob, &honest), None);
    for cut in [0, 9, 10, 25, 27, 73] {
        assert_eq!(refused(&blob[..cut], &honest), Some(MediaError::BlobLength(cut as u64)));
    }
    assert_eq!(refused(&blob[..58], &honest), Some(MediaError::AnnouncedLength));
    assert_eq!(refused(&blob[..58], &Claim::default()), Some(MediaError::Mac));
    let other = Claim { file_length: Some(64), ..honest.clone() };
    assert_eq!(refused(&blob, &other), Some(MediaError::AnnouncedLength));
    let other_kind = MediaKeys::derive(&[9; 32], MediaKind::Image);
    assert_eq!(verify(&other_kind, &blob, &[11], &honest).err(), Some(MediaError::Mac));

    // What only the plaintext shows.
    let other = Claim { file_length: Some(51), ..honest.clone() };
    let verified = verify(&keys, &blob, &[11], &other).unwrap();
    assert_eq!(decrypt(&verified, &blob, &[11]), Err(MediaError::Length));
    assert_eq!(part(&verified, &blob, 0..1, &[11]), Err(MediaError::Length));
    let other = Claim { file_sha256: Some([0; 32]), ..honest.clone() };
    let verified = verify(&keys, &blob, &[11], &other).unwrap();
    assert_eq!(decrypt(&verified, &blob, &[11]), Err(MediaError::Hash));

    let verified = verify(&keys, &blob, &[11], &honest).unwrap();
    assert_eq!(decrypt(&verified, &blob[..73], &[11]), Err(MediaError::Changed));
    let longer = [&blob[..], &[0]].concat();
    assert_eq!(decrypt(&verified, &longer, &[11]), Err(MediaError::Changed));

    assert_eq!(Claim::new(None, Some(&[1; 31]), None), Err(MediaError::HashLength(31)));
    assert_eq!(Claim::new(Some(&[]), None, None), Err(MediaError::HashLength(0)));
}

#[test]
fn a_file_with_a_good_mac_and_bad_padding_is_refused() {
    // A hostile sender knows the key: a blob cut after its first block, with a MAC of its own making. Cutting is done
    // by encrypting what decrypts to no padding: the last block of this plaintext is full, and then left out.
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let keys = MediaKeys::derive(&[9; 32], MediaKind::Document);
    let (blob, _) = encrypt(&keys, &[0x55; 32], &[64], Sidecar::Off);
    let mut expanded = [0; 112];
    hkdf::Hkdf::<Sha256>::new(None, &[9; 32]).expand(b"WhatsApp Document Keys", &mut expanded).unwrap();
    let mut forged = blob[..32].to_vec();
    let mac = Hmac::<Sha256>::new_from_slice(&expanded[48..80]).unwrap();
    let mac = mac.chain_update(&expanded[..16]).chain_update(&forged).finalize().into_bytes();
    forged.extend(&mac[..10]);
    let verified = verify(&keys, &forged, &[11], &Claim::default()).unwrap();
    assert_eq!(decrypt(&verified, &forged, &[11]), Err(MediaError::Padding));
    assert_eq!(part(&verified, &forged, 0..1, &[11]), Err(MediaError::Padding));
}

#[test]
fn parts_outside_of_the_file_are_refused() {
    let keys = MediaKeys::derive(&[9; 32], MediaKind::Document);
    for length in [0_u64, 1, 16, 33] {
        let (blob, made) = encrypt(&keys, &plain(length as usize), &[64], Sidecar::Off);
        let verified = verify(&keys, &blob, &[11], &claim(&made)).unwrap();
        #[allow(clippy::reversed_empty_ranges, reason = "that is what is asked")]
        for range in [0..length + 1, 5..5, 3..2, length..u64::MAX, u64::MAX - 1..u64::MAX] {
            assert_eq!(
                part(&verified, &blob, range.clone(), &[11]),
                Err(MediaError::OutOfRange),
                "{range:?}"
            );
        }
        assert_eq!(verified.clone().parts(&blob[..1]).err(), Some(MediaError::Changed));
        if length > 0 {
            assert!(part(&verified, &blob, 0..length, &[11]).unwrap() == plain(length as usize));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_chunks_give_the_same_bytes(
        length in 0_usize..150_000,
        cuts in prop::collection::vec(1_usize..20_000, 1..20),
        small in prop::collection::vec(1_usize..40, 1..20),
        ends in (any::<u64>(), any::<u64>()),
    ) {
        let keys = MediaKeys::derive(&[4; 32], MediaKind::Video);
        let plain = plain(length);
        let whole = encrypt(&keys, &plain, &[usize::MAX], Sidecar::On);
        prop_assert!(encrypt(&keys, &plain, &cuts, Sidecar::On) == whole);
        let (blob, made) = whole;
        let verified = verify(&keys, &blob, &cuts, &claim(&made)).unwrap();
        prop_assert!(decrypt(&verified, &blob, &cuts).unwrap() == plain);

        let short = &plain[..length.min(500)];
        let (short_blob, short_made) = encrypt(&keys, short, &small, Sidecar::Off);
        let short_verified = verify(&keys, &short_blob, &small, &claim(&short_made)).unwrap();
        prop_assert!(decrypt(&short_verified, &short_blob, &small).unwrap() == short);
        for (verified, blob, plain, cuts) in
            [(&verified, &blob, &plain[..], &cuts), (&short_verified, &short_blob, short, &small)]
        {
            if !plain.is_empty() {
                let start = ends.0 % plain.len() as u64;
                let end = start + 1 + ends.1 % (plain.len() as u64 - start);
                let bytes = part(verified, blob, start..end, cuts).unwrap();
                prop_assert!(bytes == plain[start as usize..end as usize], "{start}..{end}");
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let keys = MediaKeys::derive(&[4; 32], MediaKind::Video);
        prop_assert!(verify(&keys, &bytes, &[16], &Claim::default()).is_err());
        wazap::crypto::media::fuzz_media_crypto(&bytes);
    }
}
