//! Sender keys of others: taken in from the pairwise part of a stanza, used for the part that is common to all.

use prost::Message as _;

use super::{
    Error,
    dispatch::{Account, Turn},
};
use crate::{
    crypto::signal::{SenderKeys, SignalError},
    proto,
    stanza::{Enc, Incoming},
    wire::Jid,
};

impl Account {
    /// Takes in the sender key that a decrypted pairwise message may carry. Whose it is follows from the session that
    /// opened it; it must be for the chat that it came in.
    pub(super) fn learn_sender_key(
        &self,
        message: &[u8],
        incoming: &Incoming,
        sender: &Jid,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        if !in_chat(&incoming.from) && !incoming.from.is_list() {
            return Ok(());
        }
        let told = proto::Message::decode(message).ok().and_then(|m| m.sender_key_distribution_message);
        let Some(told) = told else { return Ok(()) };
        let Some(distribution) = told.axolotl_sender_key_distribution_message else { return Ok(()) };
        if told.group_id.as_deref() != Some(incoming.from.to_wire().as_str()) {
            tracing::warn!("a sender key for another chat than it came in");
            return Ok(());
        }
        let mut keys = turn.tx.sender_keys().of(&incoming.from, sender)?;
        match keys.process(&distribution) {
            Ok(()) => Ok(turn.tx.sender_keys().set(&incoming.from, sender, &keys)?),
            Err(error) => {
                tracing::warn!(%error, %sender, "a sender key cannot be read");
                Ok(())
            }
        }
    }

    /// Opens what a device wrote to all.
    pub(super) fn open_common(
        &self,
        enc: &Enc,
        chat: &Jid,
        sender: &Jid,
        turn: &mut Turn<'_>,
    ) -> Result<Result<Vec<u8>, SignalError>, Error> {
        let stored = turn.tx.sender_keys();
        let mut keys = stored.of(chat, sender)?;
        match keys.decrypt(&enc.ciphertext) {
            Ok(plaintext) => {
                stored.set(chat, sender, &keys)?;
                return Ok(Ok(plaintext));
            }
            // whatsapp-rust has seen the server leave the device out of the author of such messages.
            Err(SignalError::NoSenderKey) if sender.device() == 0 => {}
            Err(error) => return Ok(Err(error)),
        }
        for (device, mut keys) in stored.of_user(chat, sender)? {
            match keys.decrypt(&enc.ciphertext) {
                Ok(plaintext) => {
                    stored.set(chat, &device, &keys)?;
                    return Ok(Ok(plaintext));
                }
                Err(SignalError::NoSenderKey) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Err(SignalError::NoSenderKey))
    }
}

/// Whether sender keys are used there.
pub(super) fn in_chat(chat: &Jid) -> bool {
    chat.is_group() || chat.is_status()
}

/// What tells other devices our own key, beside `content`, which may be nothing.
pub(super) fn with_distribution(content: &[u8], chat: &Jid, keys: &SenderKeys) -> Option<Vec<u8>> {
    let told = proto::Message {
        sender_key_distribution_message: Some(proto::message::SenderKeyDistribution {
            group_id: Some(chat.to_wire()),
            axolotl_sender_key_distribution_message: Some(keys.distribution().ok()?),
        }),
        ..Default::default()
    };
    // Members of one message may stand one behind the other in two pieces.
    let mut bytes = told.encode_to_vec();
    bytes.extend_from_slice(content);
    Some(bytes)
}
