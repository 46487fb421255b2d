//! Signal sessions as WhatsApp uses them: X3DH and the double ratchet, version 3, no post-quantum keys.
//!
//! | file | what it owns |
//! |---|---|
//! | `kdf` | every derivation: X3DH secret, root, chain and message keys |
//! | `envelope` | the bytes of `msg` and `pkmsg` |
//! | `state` | one session: both chains, the ratchet step, keys kept for late messages |
//! | `session` | all sessions with one device: which of them decrypts, what is archived |
//! | `stored` | a [`Session`] as bytes |
//! | `name` | which message key a ciphertext was made with |
//! | `group` | sender keys: one ratchet a device and group, its distribution, its messages |
//!
//! Identity keys are trusted as they come: whoever holds the store compares [`PreKeyMessage::identity`] and
//! [`Session::remote_identity`] with what it knows.

mod envelope;
mod group;
mod kdf;
mod name;
mod session;
mod state;
mod stored;

use std::fmt;

pub use group::{SenderKeys, is_sender_key_message};
pub use name::KeyName;
pub use session::Session;

use super::{BadSignature, InvalidKey, KeyPair, PublicKey};

/// The medium-term half of a bundle; `signature` is the identity's, over the 33-byte form of `key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPreKey {
    pub id: u32,
    pub key: PublicKey,
    pub signature: [u8; 64],
}

/// A prekey that serves one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneTimePreKey {
    pub id: u32,
    pub key: PublicKey,
}

/// What a peer device publishes so that a session can begin while it is offline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreKeyBundle {
    pub registration_id: u32,
    pub identity: PublicKey,
    pub signed_prekey: SignedPreKey,
    pub one_time: Option<OneTimePreKey>,
}

/// This end of every session.
pub struct Local<'a> {
    pub identity: &'a KeyPair,
    pub registration_id: u32,
}

/// The halves a prekey message names, as far as they are stored.
#[derive(Default)]
pub struct OurPreKeys {
    pub signed: Option<KeyPair>,
    pub one_time: Option<KeyPair>,
}

/// The `type` of `<enc>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CiphertextKind {
    /// `msg`
    Message,
    /// `pkmsg`
    PreKey,
}

/// The content of `<enc>`.
#[derive(Clone)]
pub struct Ciphertext {
    pub kind: CiphertextKind,
    pub bytes: Vec<u8>,
}

/// A parsed `pkmsg`. Nothing in it is authenticated before [`Session::decrypt_prekey`] succeeded; the ids and the
/// registration id are not even then.
#[derive(Clone, Debug)]
pub struct PreKeyMessage {
    pub registration_id: u32,
    pub pre_key_id: Option<u32>,
    pub signed_pre_key_id: u32,
    pub base_key: PublicKey,
    pub identity: PublicKey,
    /// A complete `msg`.
    pub message: Vec<u8>,
}

/// A decrypted `pkmsg`.
pub struct Opened {
    pub plaintext: Vec<u8>,
    /// The one-time prekey named in the message was used up: delete it with the commit.
    pub consumed_one_time: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignalError {
    #[error("no session")]
    NoSession,
    #[error("no sender key")]
    NoSenderKey,
    #[error("already decrypted, or older than what is kept")]
    Duplicate,
    #[error("message authentication failed")]
    BadMac,
    #[error("too far ahead of the chain")]
    FutureMessage,
    #[error("prekey is not known")]
    UnknownPreKey,
    #[error("malformed Signal message")]
    Malformed,
    #[error("invalid key")]
    InvalidKey,
    #[error("signature does not verify")]
    InvalidSignature,
    #[error("stored session is unreadable")]
    CorruptSession,
    /// The verdict of whoever holds the identities: the account does not vouch for the device that wrote.
    #[error("a device that its account does not vouch for")]
    Unvouched,
}

impl SignalError {
    /// The `error` attribute of a retry receipt; 0 stands for "no particular reason". A duplicate asks for no
    /// retry.
    pub fn retry_code(&self) -> u8 {
        match self {
            Self::Duplicate => 0,
            Self::NoSession | Self::NoSenderKey => 1,
            Self::InvalidKey => 2,
            Self::UnknownPreKey => 3,
            Self::Malformed => 4,
            Self::InvalidSignature => 5,
            Self::FutureMessage => 6,
            Self::BadMac => 7,
            Self::CorruptSession => 8,
            Self::Unvouched => 12,
        }
    }

    /// Which of two verdicts says more about a message that no state could read. "Duplicate" comes from a state
    /// that knows the message's chain, "bad MAC" from any that does not.
    fn outranks(&self, other: &Self) -> bool {
        let rank = |error: &Self| match error {
            Self::Duplicate => 4,
            Self::BadMac => 3,
            Self::FutureMessage => 2,
            Self::NoSession | Self::NoSenderKey => 0,
            _ => 1,
        };
        rank(self) > rank(other)
    }
}

impl From<InvalidKey> for SignalError {
    fn from(InvalidKey: InvalidKey) -> Self {
        Self::InvalidKey
    }
}

impl From<BadSignature> for SignalError {
    fn from(BadSignature: BadSignature) -> Self {
        Self::InvalidSignature
    }
}

impl fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ciphertext({:?}, {} bytes)", self.kind, self.bytes.len())
    }
}

/// Without the text.
impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("consumed_one_time", &self.consumed_one_time).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
