//! Second pass over a blob: plaintext, whose own hash and length are checked at the end.

use aes::Aes256;
use sha2::{Digest as _, Sha256};

use super::{BLOCK, Claim, MediaError, PIECE, Verified, decrypt_blocks, padding};

/// The blob, read again, in; plaintext out.
pub struct Decryptor {
    cbc: cbc::Decryptor<Aes256>,
    claim: Claim,
    hash: Sha256,
    /// Bytes of blob that are still to come: ciphertext, and the MAC behind it.
    ciphertext: u64,
    blob: u64,
    plain_length: u64,
    /// Ciphertext that is no whole block yet, or the last block.
    carry: [u8; BLOCK],
    carried: usize,
}

impl Decryptor {
    pub(super) fn new(verified: &Verified) -> Self {
        Self {
            cbc: verified.keys.cbc_after(&verified.keys.iv),
            claim: verified.claim.clone(),
            hash: Sha256::new(),
            ciphertext: verified.ciphertext,
            blob: verified.blob_length(),
            plain_length: 0,
            carry: [0; BLOCK],
            carried: 0,
        }
    }

    /// Takes the next bytes of the blob, from its beginning, MAC included. Appends to `plaintext` at most 15 bytes
    /// more than it was given.
    pub fn update(&mut self, blob: &[u8], plaintext: &mut Vec<u8>) -> Result<(), MediaError> {
        self.blob = self.blob.checked_sub(blob.len() as u64).ok_or(MediaError::Changed)?;
        let ciphertext = usize::try_from(self.ciphertext).map_or(blob.len(), |left| left.min(blob.len()));
        self.ciphertext -= ciphertext as u64;
        for piece in blob[..ciphertext].chunks(PIECE) {
            let start = plaintext.len();
            let known = self.carried + piece.len();
            // One block stays back: it may be the last, which is padded.
            let kept = if known <= BLOCK { known } else { (known - 1) % BLOCK + 1 };
            if kept == known {
                self.carry[self.carried..known].copy_from_slice(piece);
                self.carried = known;
                continue;
            }
            plaintext.extend_from_slice(&self.carry[..self.carried]);
            // What leaves is a positive number of blocks, and so at least the carry.
            let (taken, rest) = piece.split_at(known - kept - self.carried);
            plaintext.extend_from_slice(taken);
            self.carry[..rest.len()].copy_from_slice(rest);
            self.carried = rest.len();
            self.open(&mut plaintext[start..]);
        }
        Ok(())
    }

    /// Appends what the last block holds. After an error, nothing that was appended may be used.
    pub fn finish(mut self, plaintext: &mut Vec<u8>) -> Result<(), MediaError> {
        if self.blob != 0 || self.carried != BLOCK {
            return Err(MediaError::Changed);
        }
        let mut last = self.carry;
        decrypt_blocks(&mut self.cbc, &mut last);
        let last = &last[..BLOCK - padding(&last)?];
        plaintext.extend_from_slice(last);
        self.hash.update(last);
        let length = self.plain_length + last.len() as u64;
        if self.claim.file_length.is_some_and(|announced| announced != length) {
            return Err(MediaError::Length);
        }
        let hash: [u8; 32] = self.hash.finalize().into();
        if self.claim.file_sha256.is_some_and(|announced| announced != hash) {
            return Err(MediaError::Hash);
        }
        Ok(())
    }

    fn open(&mut self, bytes: &mut [u8]) {
        decrypt_blocks(&mut self.cbc, bytes);
        self.hash.update(&*bytes);
        self.plain_length += bytes.len() as u64;
    }
}
