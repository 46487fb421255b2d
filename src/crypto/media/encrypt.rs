//! One-pass encryption. Five running states: the cipher, the MAC, a hash of what goes in, one of what comes out, and
//! the sidecar if asked for.

use aes::Aes256;
use cbc::cipher::{BlockModeEncrypt as _, KeyIvInit as _};
use hmac::Mac as _;
use sha2::{Digest as _, Sha256};

use super::{BLOCK, Block, HmacSha256, MAC, MediaKeys, PIECE};

/// Whether a streaming sidecar is computed: one more pass of HMAC over the blob, 10 bytes for each 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sidecar {
    Off,
    On,
}

/// What a message says of an uploaded file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// SHA-256 of the plaintext.
    pub file_sha256: [u8; 32],
    /// SHA-256 of the blob, MAC included: also the upload token.
    pub file_enc_sha256: [u8; 32],
    /// Bytes of plaintext.
    pub file_length: u64,
    /// Bytes of the blob.
    pub blob_length: u64,
    /// `streamingSidecar`; `None` if it was off.
    pub sidecar: Option<Vec<u8>>,
}

/// Plaintext in, blob out.
pub struct Encryptor {
    cbc: cbc::Encryptor<Aes256>,
    mac: HmacSha256,
    plain_hash: Sha256,
    blob_hash: Sha256,
    plain_length: u64,
    blob_length: u64,
    sidecar: Option<SidecarWindows>,
    /// The end of the plaintext so far that is not a block yet.
    carry: [u8; BLOCK],
    carried: usize,
}

impl Encryptor {
    pub fn new(keys: &MediaKeys, sidecar: Sidecar) -> Self {
        Self {
            cbc: cbc::Encryptor::new(&keys.cipher.into(), &keys.iv.into()),
            mac: keys.file_mac(),
            plain_hash: Sha256::new(),
            blob_hash: Sha256::new(),
            plain_length: 0,
            blob_length: 0,
            sidecar: (sidecar == Sidecar::On).then(|| SidecarWindows::new(keys)),
            carry: [0; BLOCK],
            carried: 0,
        }
    }

    /// Takes the next plaintext, of any length. Appends to `blob` at most 15 bytes more than it was given.
    pub fn update(&mut self, plaintext: &[u8], blob: &mut Vec<u8>) {
        for piece in plaintext.chunks(PIECE) {
            self.plain_hash.update(piece);
            self.plain_length += piece.len() as u64;
            let start = blob.len();
            let known = self.carried + piece.len();
            if known < BLOCK {
                self.carry[self.carried..known].copy_from_slice(piece);
                self.carried = known;
                continue;
            }
            let (whole, rest) = piece.split_at(piece.len() - known % BLOCK);
            blob.extend_from_slice(&self.carry[..self.carried]);
            blob.extend_from_slice(whole);
            self.carry[..rest.len()].copy_from_slice(rest);
            self.carried = rest.len();
            self.encrypt(&mut blob[start..]);
        }
    }

    /// Appends the padded last block and the MAC, 26 bytes at most.
    pub fn finish(mut self, blob: &mut Vec<u8>) -> Encrypted {
        let mut last = self.carry;
        last[self.carried..].fill((BLOCK - self.carried) as u8);
        self.encrypt(&mut last);
        blob.extend_from_slice(&last);

        let mac = self.mac.finalize().into_bytes();
        let mac = &mac[..MAC];
        self.blob_hash.update(mac);
        if let Some(sidecar) = &mut self.sidecar {
            sidecar.update(mac);
        }
        blob.extend_from_slice(mac);
        Encrypted {
            file_sha256: self.plain_hash.finalize().into(),
            file_enc_sha256: self.blob_hash.finalize().into(),
            file_length: self.plain_length,
            blob_length: self.blob_length + MAC as u64,
            sidecar: self.sidecar.map(SidecarWindows::finish),
        }
    }

    /// Whole blocks, in place.
    fn encrypt(&mut self, bytes: &mut [u8]) {
        let (blocks, rest) = Block::slice_as_chunks_mut(bytes);
        debug_assert!(rest.is_empty());
        self.cbc.encrypt_blocks(blocks);
        let bytes = &*bytes;
        self.mac.update(bytes);
        self.blob_hash.update(bytes);
        self.blob_length += bytes.len() as u64;
        if let Some(sidecar) = &mut self.sidecar {
            sidecar.update(bytes);
        }
    }
}

/// HMACs of windows of the blob, 64 KiB and 16 bytes each; a window begins 16 bytes before its predecessor ends.
/// Source: wacore 0.7, the only client that makes one. The IV is in no window.
struct SidecarWindows {
    fresh: HmacSha256,
    window: HmacSha256,
    /// The following window, which has already seen what is beyond the stride.
    next: HmacSha256,
    /// Bytes of the blob in `window`.
    filled: usize,
    entries: Vec<u8>,
}

impl SidecarWindows {
    const STRIDE: usize = 65_536;
    const LENGTH: usize = Self::STRIDE + BLOCK;

    fn new(keys: &MediaKeys) -> Self {
        let fresh = keys.hmac();
        Self { window: fresh.clone(), next: fresh.clone(), fresh, filled: 0, entries: Vec::new() }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let until = if self.filled < Self::STRIDE { Self::STRIDE } else { Self::LENGTH };
            let (taken, rest) = bytes.split_at(bytes.len().min(until - self.filled));
            self.window.update(taken);
            if self.filled >= Self::STRIDE {
                self.next.update(taken);
            }
            self.filled += taken.len();
            bytes = rest;
            if self.filled == Self::LENGTH {
                let next = std::mem::replace(&mut self.next, self.fresh.clone());
                let full = std::mem::replace(&mut self.window, next);
                self.push(full);
                self.filled = Self::LENGTH - Self::STRIDE;
            }
        }
    }

    fn push(&mut self, window: HmacSha256) {
        self.entries.extend_from_slice(&window.finalize().into_bytes()[..MAC]);
    }

    /// There is always one last window, mostly a short one.
    fn finish(mut self) -> Vec<u8> {
        let last = std::mem::replace(&mut self.window, self.fresh.clone());
        self.push(last);
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::{super::MediaKind, *};

    /// The definition, on a whole blob.
    fn sidecar(keys: &MediaKeys, blob: &[u8]) -> Vec<u8> {
        let entry = |window: &[u8]| keys.hmac().chain_update(window).finalize().into_bytes()[..MAC].to_vec();
        let (mut start, mut entries) = (0, Vec::new());
        while start + 65_536 + 16 <= blob.len() {
            entries.extend(entry(&blob[start..start + 65_552]));
            start += 65_536;
        }
        entries.extend(entry(&blob[start..]));
        entries
    }

    #[test]
    fn the_sidecar_is_that_of_its_definition_also_at_the_borders_of_windows() {
        let keys = MediaKeys::derive(&[7; 32], MediaKind::Video);
        for length in [26, 65_535, 65_536, 65_546, 65_551, 65_552, 65_553, 131_087, 131_088, 131_089, 200_000]
        {
            let blob: Vec<u8> = (0..length).map(|i| (i % 253) as u8).collect();
            for chunk in [1 << 20, 65_552, 8192, 17] {
                let mut windows = SidecarWindows::new(&keys);
                blob.chunks(chunk).for_each(|chunk| windows.update(chunk));
                assert_eq!(windows.finish(), sidecar(&keys, &blob), "{length} bytes in chunks of {chunk}");
            }
            assert_eq!(sidecar(&keys, &blob).len(), 10 * (1 + (length - 16) / 65_536));
        }
    }
}
