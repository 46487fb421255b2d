//! Which message key a ciphertext was made with: as its envelope says, which anybody on its way can read. Two different
//! ciphertexts under one name mean that a key has served twice, and then neither is secret any more.

use super::{PreKeyMessage, SignalError, envelope::SignalMessage, group};

/// The name of a message key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyName {
    /// Of a `msg` or `pkmsg`. Ratchet keys are random, so that one stands for its session and its sender.
    Ratchet {
        /// The sender's ratchet key.
        key: [u8; 32],
        /// Place in its chain.
        counter: u32,
    },
    /// Of a `skmsg`: unique within one sender and group.
    Sender {
        /// Of the sender key.
        id: u32,
        /// Place in its chain.
        iteration: u32,
    },
}

impl KeyName {
    /// Of a `msg`.
    pub fn of_message(bytes: &[u8]) -> Result<Self, SignalError> {
        let message = SignalMessage::parse(bytes)?;
        Ok(Self::Ratchet { key: *message.ratchet_key.as_bytes(), counter: message.counter })
    }

    /// Of a `pkmsg`: of the `msg` in it.
    pub fn of_prekey_message(bytes: &[u8]) -> Result<Self, SignalError> {
        Self::of_message(&PreKeyMessage::parse(bytes)?.message)
    }

    /// Of a `skmsg`.
    pub fn of_sender_key_message(bytes: &[u8]) -> Result<Self, SignalError> {
        let (id, iteration) = group::place(bytes)?;
        Ok(Self::Sender { id, iteration })
    }
}
