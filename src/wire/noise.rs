//! The Noise handshake in both roles (XX; IK and XXfallback on the server side) and the sealed transport after it.
//!
//! Each state is named for what it waits for and is consumed by its step: a failed handshake leaves nothing behind.
//!
//! Not a stock Noise: WhatsApp does not mix the empty payload of the first message.

mod certificate;
mod client;
mod server;
mod symmetric;
#[cfg(test)]
mod tests;
mod transport;

pub use certificate::{CertificateError, ServerKeys, TrustRoot};
pub use client::ExpectServerHello;
pub use server::{Client, ExpectClientFinish, ExpectClientHello, Greeted};
pub use transport::{Opener, Sealed, Sealer};

/// Why a handshake or a sealed frame failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoiseError {
    /// The peer's message is not the handshake message due here, or lacks a part, or has a part of a wrong length.
    #[error("malformed handshake message")]
    Malformed,
    /// The peer sent a public key that makes every shared secret zero.
    #[error("a public key of low order")]
    WeakKey,
    /// A handshake part does not decrypt: changed on the way, or made with other keys.
    #[error("a handshake part does not decrypt")]
    HandshakeTag,
    /// A frame does not decrypt: changed, lost or out of order.
    #[error("a frame does not decrypt")]
    FrameTag,
    /// The server is not who it says.
    #[error("server certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// 2^32−1 frames have passed in this direction; the nonce must not repeat.
    #[error("frame counter used up")]
    Exhausted,
    /// What was to be sent does not fit into a frame.
    #[error("frame over 16 MiB")]
    TooLarge,
}

/// Whose fault an error is, and so what can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The other end, or somebody between: close; a new connection may do.
    Peer,
    /// The other end is not trusted, or the clock here is wrong: a new connection does not help.
    Trust,
    /// Ourselves: a limit of the protocol; a new connection starts afresh.
    Ourselves,
}

impl NoiseError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Malformed | Self::WeakKey | Self::HandshakeTag | Self::FrameTag => Blame::Peer,
            Self::Certificate(_) => Blame::Trust,
            Self::Exhausted | Self::TooLarge => Blame::Ourselves,
        }
    }
}

impl From<super::frame::TooLarge> for NoiseError {
    fn from(_: super::frame::TooLarge) -> Self {
        Self::TooLarge
    }
}
