//! Any part of a verified file, for HTTP ranges: CBC can begin at every block, with the one before it as IV.

use std::ops::Range;

use aes::Aes256;

use super::{BLOCK, MediaError, PIECE, Verified, decrypt_blocks, padding};

/// A verified file whose plaintext length is known.
#[derive(Clone)]
pub struct Parts {
    verified: Verified,
    length: u64,
}

impl Parts {
    pub(super) fn new(verified: Verified, ending: &[u8]) -> Result<Self, MediaError> {
        let range = verified.ending();
        if ending.len() as u64 != range.end - range.start {
            return Err(MediaError::Changed);
        }
        let (before, last) = ending.split_at(ending.len() - BLOCK);
        let previous = before.try_into().unwrap_or(verified.keys.iv);
        let mut block: [u8; BLOCK] = last.try_into().map_err(|_| MediaError::Changed)?;
        decrypt_blocks(&mut verified.keys.cbc_after(&previous), &mut block);
        let length = verified.ciphertext - padding(&block)? as u64;
        if verified.claim.file_length.is_some_and(|announced| announced != length) {
            return Err(MediaError::Length);
        }
        Ok(Self { verified, length })
    }

    /// Bytes of plaintext.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// A part of the plaintext that is not empty and within its length.
    pub fn part(&self, plaintext: Range<u64>) -> Result<Part, MediaError> {
        if plaintext.is_empty() || plaintext.end > self.length {
            return Err(MediaError::OutOfRange);
        }
        let block = BLOCK as u64;
        let first = plaintext.start / block * block;
        let cbc = (first == 0).then(|| self.verified.keys.cbc_after(&self.verified.keys.iv));
        let start = first.saturating_sub(block);
        Ok(Part {
            blob: start..plaintext.end.div_ceil(block) * block,
            verified: self.verified.clone(),
            cbc,
            skip: (plaintext.start - first) as usize,
            left: plaintext.end - plaintext.start,
            read: start,
            carry: [0; BLOCK],
            carried: 0,
        })
    }
}

/// One part being decrypted. Its bytes are authentic, since the whole blob was verified; that they are the same bytes
/// is for the file system to keep.
pub struct Part {
    verified: Verified,
    blob: Range<u64>,
    /// `None` until the block before the first has come.
    cbc: Option<cbc::Decryptor<Aes256>>,
    /// Bytes of the first block that were not asked for.
    skip: usize,
    /// Plaintext still to give out.
    left: u64,
    /// Up to where the blob was read.
    read: u64,
    carry: [u8; BLOCK],
    carried: usize,
}

impl Part {
    /// Which bytes of the blob to read.
    pub fn blob(&self) -> Range<u64> {
        self.blob.clone()
    }

    /// Takes the next bytes of [`Part::blob`]. Appends to `plaintext` at most 15 bytes more than it was given.
    pub fn update(&mut self, mut blob: &[u8], plaintext: &mut Vec<u8>) -> Result<(), MediaError> {
        let after = self.read.saturating_add(blob.len() as u64);
        if after > self.blob.end {
            return Err(MediaError::Changed);
        }
        self.read = after;
        if self.cbc.is_none() {
            let (taken, rest) = blob.split_at(blob.len().min(BLOCK - self.carried));
            self.carry[self.carried..self.carried + taken.len()].copy_from_slice(taken);
            self.carried += taken.len();
            blob = rest;
            if self.carried < BLOCK {
                return Ok(());
            }
            self.cbc = Some(self.verified.keys.cbc_after(&self.carry));
            self.carried = 0;
        }
        let Some(cbc) = &mut self.cbc else { return Err(MediaError::Changed) };
        for piece in blob.chunks(PIECE) {
            let start = plaintext.len();
            plaintext.extend_from_slice(&self.carry[..self.carried]);
            plaintext.extend_from_slice(piece);
            let known = self.carried + piece.len();
            self.carried = known % BLOCK;
            let whole = start + known - self.carried;
            self.carry[..self.carried].copy_from_slice(&plaintext[whole..]);
            plaintext.truncate(whole);
            decrypt_blocks(cbc, &mut plaintext[start..]);
            if plaintext.len() > start {
                plaintext.drain(start..start + std::mem::take(&mut self.skip));
            }
            let given = plaintext.len() - start;
            let wanted = usize::try_from(self.left).map_or(given, |left| left.min(given));
            plaintext.truncate(start + wanted);
            self.left -= wanted as u64;
        }
        Ok(())
    }

    /// Fails if the blob ended early.
    pub fn finish(self) -> Result<(), MediaError> {
        if self.left == 0 { Ok(()) } else { Err(MediaError::Changed) }
    }
}
