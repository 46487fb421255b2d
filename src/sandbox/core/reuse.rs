//! Does a device ever use a message key twice? The server sees every ciphertext, also those that it does not hand on
//! because it has handed on another with their id: a ratchet that went back, after a crash say, shows here.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest as _, Sha256};

use super::{DeviceRef, World};
use crate::{
    crypto::signal::{KeyName, SignalError},
    stanza::{Enc, EncKind, Outgoing},
};

/// Keys remembered; a ratchet that goes back goes back by a few.
const MAX_KEYS: usize = 100_000;

/// The keys that ciphertexts were made with.
#[derive(Default)]
pub(crate) struct KeysUsed {
    /// A digest of the ciphertext, by a digest of the key's name.
    by_name: HashMap<[u8; 16], [u8; 16]>,
    /// Oldest first.
    order: VecDeque<[u8; 16]>,
}

impl KeysUsed {
    /// Notes the use of a key; `true`: it was used for something else before.
    fn again(&mut self, name: [u8; 16], ciphertext: [u8; 16]) -> bool {
        if let Some(before) = self.by_name.get(&name) {
            return *before != ciphertext;
        }
        if self.order.len() >= MAX_KEYS
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_name.remove(&oldest);
        }
        self.order.push_back(name);
        self.by_name.insert(name, ciphertext);
        false
    }
}

impl World {
    /// Looks at every ciphertext of a message.
    pub(super) fn look_for_reuse(&mut self, from: DeviceRef, out: &Outgoing) {
        let chat = out.to.bare().to_wire();
        let listed = out.participants.iter().filter_map(|(_, enc)| enc.as_ref());
        for enc in out.direct.iter().chain(listed) {
            // What has no such form is refused elsewhere.
            let Ok(Some(name)) = name(enc) else { continue };
            let name = match name {
                KeyName::Ratchet { key, counter } => digest(&[&key, &counter.to_be_bytes()]),
                KeyName::Sender { id, iteration } => digest(&[
                    chat.as_bytes(),
                    &from.account.0.to_be_bytes(),
                    &from.device.to_be_bytes(),
                    &id.to_be_bytes(),
                    &iteration.to_be_bytes(),
                ]),
            };
            if self.keys_used.again(name, digest(&[&enc.ciphertext])) {
                self.journal.reused_keys += 1;
                self.journal.refuse("message key used for two ciphertexts");
            }
        }
    }
}

fn name(enc: &Enc) -> Result<Option<KeyName>, SignalError> {
    match enc.kind {
        EncKind::PreKey => KeyName::of_prekey_message(&enc.ciphertext).map(Some),
        EncKind::Message => KeyName::of_message(&enc.ciphertext).map(Some),
        EncKind::SenderKey => KeyName::of_sender_key_message(&enc.ciphertext).map(Some),
        EncKind::Other(_) => Ok(None),
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let whole = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize();
    let mut short = [0; 16];
    short.copy_from_slice(&whole[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_be_seen_again_with_its_own_ciphertext_only() {
        let mut used = KeysUsed::default();
        assert!(!used.again([1; 16], [1; 16]));
        assert!(!used.again([1; 16], [1; 16]), "the same stanza again");
        assert!(used.again([1; 16], [2; 16]));
        for n in 0..MAX_KEYS as u64 {
            let mut name = [9; 16];
            name[..8].copy_from_slice(&n.to_be_bytes());
            used.again(name, [0; 16]);
        }
        assert_eq!((used.by_name.len(), used.order.len()), (MAX_KEYS, MAX_KEYS));
        assert!(!used.again([1; 16], [2; 16]), "long forgotten");
    }
}
