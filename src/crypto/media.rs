//! Media files as the CDN holds them: `blob = AES-256-CBC(plaintext) ‖ HMAC-SHA256(iv ‖ ciphertext)[..10]`.
//!
//! | file | what it owns |
//! |---|---|
//! | `kind` | kinds of media: the HKDF info and the upload path of each |
//! | `encrypt` | plaintext in, blob out, in chunks of any size; hashes and sidecar on the way |
//! | `verify` | a blob is hashed and its MAC checked; the proof, [`Verified`], opens it |
//! | `decrypt` | a verified blob as plaintext: from the first byte to the last |
//! | `part` | a verified blob as plaintext: any part of it |
//! | `retry` | asking the own phone to upload a file again |
//!
//! Memory is bounded whatever the size: every step appends to a buffer of the caller's, at most as much as it was
//! given and one block. A blob is read twice, so that nothing of it is trusted before its hash and MAC are checked:
//!
//! ```text
//! download → Verifier → file;   then   file → Verified::decryptor() or Verified::parts() → plaintext
//! ```

mod decrypt;
mod encrypt;
mod fuzz;
mod kind;
mod part;
pub mod retry;
mod verify;

use aes::Aes256;
use cbc::cipher::{Array, BlockModeDecrypt, KeyIvInit as _, consts::U16};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::CryptoRng;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use decrypt::Decryptor;
pub use encrypt::{Encrypted, Encryptor, Sidecar};
pub use fuzz::fuzz_media_crypto;
pub use kind::MediaKind;
pub use part::{Part, Parts};
pub use verify::{Claim, Verified, Verifier};

type HmacSha256 = Hmac<Sha256>;
type Block = Array<u8, U16>;

/// Bytes of an AES block.
const BLOCK: usize = 16;
/// Bytes of the MAC at the end of a blob.
const MAC: usize = 10;
/// Work is done in pieces that stay in the first-level cache, since each byte is visited by a cipher and three hashes.
const PIECE: usize = 8192;

/// Why a media file is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// The message that announces the file names a hash that is not 32 bytes.
    #[error("a hash of {0} bytes in the message")]
    HashLength(usize),
    /// No plaintext encrypts to a blob of this length.
    #[error("{0} bytes cannot be an encrypted file")]
    BlobLength(u64),
    /// The blob is longer or shorter than the announced plaintext.
    #[error("the blob does not have the length of the announced file")]
    AnnouncedLength,
    #[error("the encrypted file does not have the announced hash")]
    EncryptedHash,
    #[error("the encrypted file is not authentic")]
    Mac,
    #[error("the file is padded wrongly")]
    Padding,
    #[error("the file does not have the announced hash")]
    Hash,
    #[error("the file does not have the announced length")]
    Length,
    /// Reading a verified blob gave fewer or more bytes than were verified.
    #[error("the file changed after it was verified")]
    Changed,
    /// A part was asked for that the file does not have.
    #[error("no such part of the file")]
    OutOfRange,
}

/// A fresh media key: one per upload.
pub fn new_media_key(rng: &mut dyn CryptoRng) -> [u8; 32] {
    let mut key = [0; 32];
    rng.fill_bytes(&mut key);
    key
}

/// Length of the blob of `plaintext` bytes: padding is always added, 1 to 16 bytes. Saturates.
pub fn blob_length(plaintext: u64) -> u64 {
    (plaintext / 16).saturating_add(1).saturating_mul(16).saturating_add(MAC as u64)
}

/// What a media key is expanded to. One media key gives other keys for each kind's HKDF info.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MediaKeys {
    iv: [u8; 16],
    cipher: [u8; 32],
    mac: [u8; 32],
}

impl MediaKeys {
    /// HKDF-SHA256 without salt, 112 bytes: iv 16, cipher key 32, MAC key 32; the last 32 are used by no client.
    pub fn derive(media_key: &[u8; 32], kind: MediaKind) -> Self {
        let mut okm = [0; 112];
        Hkdf::<Sha256>::new(None, media_key)
            .expand(kind.info().as_bytes(), &mut okm)
            .expect("112 ≤ 255 · 32");
        let mut keys = Self { iv: [0; 16], cipher: [0; 32], mac: [0; 32] };
        keys.iv.copy_from_slice(&okm[..16]);
        keys.cipher.copy_from_slice(&okm[16..48]);
        keys.mac.copy_from_slice(&okm[48..80]);
        okm.zeroize();
        keys
    }

    fn hmac(&self) -> HmacSha256 {
        HmacSha256::new_from_slice(&self.mac).expect("HMAC takes any key")
    }

    /// The running MAC of a file: it begins with the IV, which the blob does not hold.
    fn file_mac(&self) -> HmacSha256 {
        self.hmac().chain_update(self.iv)
    }

    /// CBC decryption that begins after the ciphertext block `previous`.
    fn cbc_after(&self, previous: &[u8; 16]) -> cbc::Decryptor<Aes256> {
        cbc::Decryptor::new(&self.cipher.into(), &(*previous).into())
    }
}

/// Decrypts in place what is a whole number of blocks; a rest would be left alone.
fn decrypt_blocks(cbc: &mut cbc::Decryptor<Aes256>, bytes: &mut [u8]) {
    let (blocks, rest) = Block::slice_as_chunks_mut(bytes);
    debug_assert!(rest.is_empty());
    cbc.decrypt_blocks(blocks);
}

/// Length of the PKCS#7 padding of a last block.
fn padding(last: &[u8]) -> Result<usize, MediaError> {
    let n = usize::from(*last.last().ok_or(MediaError::Padding)?);
    if !(1..=BLOCK).contains(&n) || n > last.len() {
        return Err(MediaError::Padding);
    }
    let good = last.iter().rev().take(n).all(|byte| usize::from(*byte) == n);
    if good { Ok(n) } else { Err(MediaError::Padding) }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn vector_key() -> [u8; 32] {
        std::array::from_fn(|i| i as u8)
    }

    #[test]
    fn the_keys_of_an_image_are_those_of_the_protocol() {
        let keys = MediaKeys::derive(&vector_key(), MediaKind::Image);
        assert_eq!(hex::encode(keys.iv), "aa6a127218397cbd2383e4ccf7176a79");
        assert_eq!(
            hex::encode(keys.cipher),
            "008c9aea9b7c5d81eb56b3f530f87d42dcc92d27b11ad6b5bd66f0560d0d8c46"
        );
        assert_eq!(hex::encode(keys.mac), "91d09ffec108833c1699574c52657923fb6e3e161d9698bc6b3a05fbc508a515");
    }

    /// IV and the first half of the cipher key, per info. Recomputed independently of any client.
    #[test]
    fn every_info_gives_its_own_keys() {
        let expected = [
            (MediaKind::Video, "f1dee5782cc4e2e7b07233b1e25de59b8564567ee06fa7006edab56a13c2b0a1"),
            (MediaKind::Audio, "13f8935709c20e2e8b0680f81b0dd5fba61016c0347747b75bb8a8f6d7bcdb86"),
            (MediaKind::Document, "25e9d370804de0bb33ea5db79453db66b75c2bed8e162ad63dd02b6b9fbda46b"),
            (MediaKind::History, "1bbd91064f1502e1ad57057640fd66a29dc9501b504a210bf20cf49eaa9d76f4"),
            (MediaKind::AppState, "c9c77ad8c829a4b405fdd16b4bcbd36bd7570410fb6eb14c54a665d7cab9e932"),
            (MediaKind::LinkThumbnail, "760c15df75946aad364036ed626ebaf8ae1678eb1ac461a13cd5f3f63a841f92"),
            (MediaKind::StickerPack, "a072467b14dfc2656b07a90a93b3016662bceb3e0caf6287f0116a98ecf94137"),
            (
                MediaKind::StickerPackThumbnail,
                "aa5be5b54e99d891fbc7e0a8fb023ad19ee7ea4f9cf69587e0c80b7c3124b14f",
            ),
        ];
        for (kind, expected) in expected {
            let keys = MediaKeys::derive(&vector_key(), kind);
            assert_eq!(hex::encode(keys.iv) + &hex::encode(&keys.cipher[..16]), expected, "{kind:?}");
        }
    }

    #[test]
    fn padding_is_checked_whole() {
        assert_eq!(padding(&[16; 16]), Ok(16));
        assert_eq!(padding(&[7, 1]), Ok(1));
        for broken in [&[][..], &[0; 16], &[17; 16], &[9, 3, 9, 3], &[3, 3]] {
            assert_eq!(padding(broken), Err(MediaError::Padding), "{broken:?}");
        }
    }

    #[test]
    fn lengths_saturate() {
        assert_eq!([0, 15, 16, 150_000].map(blob_length), [26, 26, 42, 150_026]);
        assert_eq!(blob_length(u64::MAX), u64::MAX);
    }
}
