//! The LT-hash: a sum in which the order of additions does not matter and every addition can be taken back.

use hkdf::Hkdf;
use sha2::Sha256;

use super::Mac;

/// 64 lanes of 16 bits, little-endian.
const LEN: usize = 128;

/// The sum over the value MACs of a collection's records.
#[derive(Clone, PartialEq, Eq)]
pub struct LtHash([u8; LEN]);

impl LtHash {
    /// Over no record at all.
    pub const EMPTY: Self = Self([0; LEN]);

    /// As stored; `None` if it has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// To be stored, and put into MACs.
    pub const fn as_bytes(&self) -> &[u8; LEN] {
        &self.0
    }

    /// A record with this value MAC came.
    pub fn add(&mut self, value: &Mac) {
        self.mix(value, u16::wrapping_add);
    }

    /// A record with this value MAC went.
    pub fn subtract(&mut self, value: &Mac) {
        self.mix(value, u16::wrapping_sub);
    }

    fn mix(&mut self, value: &Mac, with: fn(u16, u16) -> u16) {
        let mut expanded = [0; LEN];
        Hkdf::<Sha256>::new(None, value)
            .expand(b"WhatsApp Patch Integrity", &mut expanded)
            .expect("128 ≤ 255 · 32");
        let (lanes, _) = self.0.as_chunks_mut::<2>();
        let (others, _) = expanded.as_chunks::<2>();
        for (lane, other) in lanes.iter_mut().zip(others) {
            *lane = with(u16::from_le_bytes(*lane), u16::from_le_bytes(*other)).to_le_bytes();
        }
    }
}

impl std::fmt::Debug for LtHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = self.0.first_chunk::<4>().copied().unwrap_or_default();
        write!(f, "LtHash({}…)", hex::encode(start))
    }
}
