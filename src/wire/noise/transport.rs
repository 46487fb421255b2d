//! The established pipe: one key and one counter a direction, no additional data.

use aes_gcm::{Aes256Gcm, KeyInit as _, aead::AeadInOut as _};

use super::{
    NoiseError,
    symmetric::{TAG, nonce},
};
use crate::wire::frame::{self, HEADER};

/// The established pipe. Each direction has its own key and counter.
pub struct Sealed {
    /// Outward.
    pub sealer: Sealer,
    /// Inward.
    pub opener: Opener,
}

impl Sealed {
    pub(super) fn new(outward: &[u8; 32], inward: &[u8; 32]) -> Self {
        Self { sealer: Sealer(Direction::new(outward)), opener: Opener(Direction::new(inward)) }
    }
}

struct Direction {
    // Boxed: expanded keys are near a kilobyte, and the pipe is moved about.
    cipher: Box<Aes256Gcm>,
    /// Of the next frame.
    counter: u32,
}

impl Direction {
    fn new(key: &[u8; 32]) -> Self {
        Self { cipher: Box::new(Aes256Gcm::new(key.into())), counter: 0 }
    }

    /// The nonce of the next frame. The last counter is never used, so that none can be used twice.
    fn advance(&mut self) -> Result<[u8; 12], NoiseError> {
        let nonce = nonce(self.counter);
        self.counter = self.counter.checked_add(1).ok_or(NoiseError::Exhausted)?;
        Ok(nonce)
    }
}

/// Outward. Whatever it returns must go out in the same order, and all of it.
pub struct Sealer(Direction);

impl Sealer {
    /// Ciphertext with its frame header, ready for the socket.
    pub fn seal(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let header = frame::header(plaintext.len() + TAG)?;
        let nonce = self.0.advance()?;
        let mut out = Vec::with_capacity(HEADER + plaintext.len() + TAG);
        out.extend(header);
        out.extend_from_slice(plaintext);
        let (_, body) = out.split_at_mut(HEADER);
        let tag = self
            .0
            .cipher
            .encrypt_inout_detached(&nonce.into(), &[], body.into())
            .map_err(|_| NoiseError::TooLarge)?;
        out.extend_from_slice(&tag);
        Ok(out)
    }
}

/// Inward.
pub struct Opener(Direction);

impl Opener {
    /// One frame's payload. A frame that fails has used up its counter, as at every other client: those behind it may
    /// still open, but one stanza is lost, and the connection should be replaced.
    pub fn open(&mut self, frame: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let nonce = self.0.advance()?;
        let mut plaintext = frame.to_vec();
        self.0
            .cipher
            .decrypt_in_place(&nonce.into(), &[], &mut plaintext)
            .map_err(|_| NoiseError::FrameTag)?;
        Ok(plaintext)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_end_before_a_nonce_repeats() {
        let mut out = Sealed::new(&[1; 32], &[2; 32]);
        let mut back = Sealed::new(&[2; 32], &[1; 32]);
        out.sealer.0.counter = u32::MAX - 1;
        back.opener.0.counter = u32::MAX - 1;
        let last = out.sealer.seal(b"last").unwrap();
        assert_eq!(back.opener.open(&last[HEADER..]).as_deref(), Ok(b"last".as_slice()));
        for _ in 0..2 {
            assert_eq!(out.sealer.seal(b""), Err(NoiseError::Exhausted));
            assert_eq!(back.opener.open(&last[HEADER..]), Err(NoiseError::Exhausted));
        }
    }

    #[test]
    fn a_frame_opens_once_in_its_turn_and_unchanged() {
        let mut sealer = Sealed::new(&[1; 32], &[2; 32]).sealer;
        let mut opener = Sealed::new(&[2; 32], &[1; 32]).opener;
        let frames: Vec<_> = [b"a", b"b", b"c", b"d"].map(|text| sealer.seal(text).unwrap()).into();
        assert_eq!(opener.open(&frames[0][HEADER..]).as_deref(), Ok(b"a".as_slice()));
        assert_eq!(opener.open(&frames[0][HEADER..]), Err(NoiseError::FrameTag));
        assert_eq!(opener.open(&frames[2][HEADER..]).as_deref(), Ok(b"c".as_slice()));
        let mut changed = frames[3].clone();
        changed[HEADER] ^= 1;
        assert_eq!(opener.open(&changed[HEADER..]), Err(NoiseError::FrameTag));
        assert_eq!(opener.open(b"short"), Err(NoiseError::FrameTag));
        assert_eq!(sealer.seal(&vec![0; frame::MAX - TAG + 1]), Err(NoiseError::TooLarge));
        assert!(sealer.seal(&vec![0; frame::MAX - TAG]).is_ok());
    }
}
