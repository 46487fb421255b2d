//! Nodes ⇄ bytes: the flag byte, then the binary form of one node.
//!
//! Strict where a peer's bytes have no one meaning, lenient towards every spelling that has one: a longer length form
//! than needed, a token spelt out, digits packed as hex.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use decode::{DecodeError, decode};
pub use encode::{EncodeError, encode};

/// Flag bit: what follows is a zlib stream. Every other bit is ignored, as all clients do.
const COMPRESSED: u8 = 0x02;

/// An inflated node may not be larger, nor a frame; whatsapp-rust's limit.
const MAX_INFLATED: usize = 16 << 20;
/// Levels of nested nodes, the root included; whatsapp-rust's limit.
const MAX_DEPTH: usize = 128;
/// Nodes and attributes in one frame. A full frame of two-byte attributes would otherwise grow thirtyfold in memory;
/// a user query over ten thousand people stays below a tenth of this.
const MAX_ITEMS: usize = 1 << 20;

/// First bytes of each form, as in every client's tag table. 1–235 are single-byte tokens.
mod tag {
    pub(super) const LIST_EMPTY: u8 = 0;
    /// The first of four double-byte tables.
    pub(super) const DICTIONARY_0: u8 = 236;
    pub(super) const DICTIONARY_3: u8 = 239;
    pub(super) const INTEROP_JID: u8 = 245;
    pub(super) const FB_JID: u8 = 246;
    pub(super) const AD_JID: u8 = 247;
    pub(super) const LIST_8: u8 = 248;
    pub(super) const LIST_16: u8 = 249;
    pub(super) const JID_PAIR: u8 = 250;
    pub(super) const HEX_8: u8 = 251;
    pub(super) const BINARY_8: u8 = 252;
    pub(super) const BINARY_20: u8 = 253;
    pub(super) const BINARY_32: u8 = 254;
    pub(super) const NIBBLE_8: u8 = 255;
}

/// The domain byte of an AD_JID.
mod domain {
    pub(super) const PN: u8 = 0;
    pub(super) const LID: u8 = 1;
    pub(super) const HOSTED: u8 = 128;
    pub(super) const HOSTED_LID: u8 = 129;
}
