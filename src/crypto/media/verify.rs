//! First pass over a downloaded blob: hash and MAC. What comes of it is needed to open the blob.

use hmac::Mac as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{BLOCK, Decryptor, HmacSha256, MAC, MediaError, MediaKeys, Parts, blob_length};

/// What a message announces of a file. Everything but the MAC is optional on the wire; what is there is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// SHA-256 of the plaintext.
    pub file_sha256: Option<[u8; 32]>,
    /// SHA-256 of the blob.
    pub file_enc_sha256: Option<[u8; 32]>,
    /// Bytes of plaintext.
    pub file_length: Option<u64>,
}

impl Claim {
    /// From the fields of a message. A hash that is there and not 32 bytes long is refused, not ignored.
    pub fn new(
        file_sha256: Option<&[u8]>,
        file_enc_sha256: Option<&[u8]>,
        file_length: Option<u64>,
    ) -> Result<Self, MediaError> {
        let hash = |bytes: Option<&[u8]>| {
            bytes.map(|bytes| bytes.try_into().map_err(|_| MediaError::HashLength(bytes.len()))).transpose()
        };
        Ok(Self { file_sha256: hash(file_sha256)?, file_enc_sha256: hash(file_enc_sha256)?, file_length })
    }
}

/// Takes a blob in chunks of any size. Keeps nothing of it but the last ten bytes.
pub struct Verifier {
    keys: MediaKeys,
    mac: HmacSha256,
    hash: Sha256,
    length: u64,
    /// The end of what came so far: the MAC, unless more comes.
    tail: [u8; MAC],
    held: usize,
}

impl Verifier {
    pub fn new(keys: MediaKeys) -> Self {
        Self { mac: keys.file_mac(), keys, hash: Sha256::new(), length: 0, tail: [0; MAC], held: 0 }
    }

    pub fn update(&mut self, blob: &[u8]) {
        self.hash.update(blob);
        self.length = self.length.saturating_add(blob.len() as u64);
        if let Some(kept) = blob.len().checked_sub(MAC) {
            let (body, tail) = blob.split_at(kept);
            self.mac.update(&self.tail[..self.held]);
            self.mac.update(body);
            self.tail.copy_from_slice(tail);
            self.held = MAC;
            return;
        }
        // Fewer than ten bytes push as many out of the tail as it cannot hold any more.
        let out = (self.held + blob.len()).saturating_sub(MAC);
        self.mac.update(&self.tail[..out]);
        self.tail.copy_within(out..self.held, 0);
        let stay = self.held - out;
        self.tail[stay..stay + blob.len()].copy_from_slice(blob);
        self.held = stay + blob.len();
    }

    /// Refuses with the cheapest reason: length, announced length, announced hash, MAC.
    pub fn finish(self, claim: Claim) -> Result<Verified, MediaError> {
        let refused = MediaError::BlobLength(self.length);
        let ciphertext = self.length.checked_sub(MAC as u64).ok_or(refused)?;
        if ciphertext < BLOCK as u64 || !ciphertext.is_multiple_of(BLOCK as u64) {
            return Err(refused);
        }
        if claim.file_length.is_some_and(|plain| blob_length(plain) != self.length) {
            return Err(MediaError::AnnouncedLength);
        }
        let hash: [u8; 32] = self.hash.finalize().into();
        if claim.file_enc_sha256.is_some_and(|announced| announced != hash) {
            return Err(MediaError::EncryptedHash);
        }
        let mac = self.mac.finalize().into_bytes();
        if !bool::from(mac[..MAC].ct_eq(&self.tail)) {
            return Err(MediaError::Mac);
        }
        Ok(Verified { keys: self.keys, ciphertext, claim })
    }
}

/// Proof that a blob is what the holder of the media key made. Opens that blob, and is for no other.
#[derive(Clone)]
pub struct Verified {
    pub(super) keys: MediaKeys,
    /// Bytes of ciphertext: a positive multiple of 16.
    pub(super) ciphertext: u64,
    pub(super) claim: Claim,
}

impl Verified {
    /// Bytes of the blob, MAC included.
    pub fn blob_length(&self) -> u64 {
        self.ciphertext + MAC as u64
    }

    /// Plaintext from the first byte to the last.
    pub fn decryptor(&self) -> Decryptor {
        Decryptor::new(self)
    }

    /// The one or two blocks at the end of the ciphertext, to be read from the blob for [`Verified::parts`].
    pub fn ending(&self) -> std::ops::Range<u64> {
        self.ciphertext.saturating_sub(2 * BLOCK as u64)..self.ciphertext
    }

    /// Plaintext by parts. `ending` is what [`Verified::ending`] names: only it tells how long the plaintext is.
    pub fn parts(self, ending: &[u8]) -> Result<Parts, MediaError> {
        Parts::new(self, ending)
    }
}
