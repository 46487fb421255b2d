//! Add-ons to a message, encrypted with that message's own secret: votes, reactions in announcement groups, comments,
//! answers to an event, edits.
//!
//! `HKDF(secret, id ‖ author ‖ modifier ‖ use, 32)`, AES-256-GCM. `author` wrote the message, `modifier` the add-on;
//! both bare, both in the namespace in which the author was known to the modifier.

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// What an add-on is; part of its key (whatsapp-rust 0.7 `wacore/src/secret_enc_addon.rs`, after WhatsApp Web).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddOn {
    PollVote,
    EventResponse,
    Reaction,
    Comment,
    EventEdit,
    MessageEdit,
    PollEdit,
    PollAddOption,
}

impl AddOn {
    const fn info(self) -> &'static str {
        match self {
            Self::PollVote => "Poll Vote",
            Self::EventResponse => "Event Response",
            Self::Reaction => "Enc Reaction",
            Self::Comment => "Enc Comment",
            Self::EventEdit => "Event Edit",
            Self::MessageEdit => "Message Edit",
            Self::PollEdit => "Poll Edit",
            Self::PollAddOption => "Poll Add Option",
        }
    }

    /// Votes and answers to events are bound to their message and author once more.
    const fn has_additional_data(self) -> bool {
        matches!(self, Self::PollVote | Self::EventResponse)
    }
}

/// The message that an add-on is about, and who wrote the add-on.
#[derive(Clone, Copy)]
pub struct Binding<'a> {
    /// `messageSecret` of the message.
    pub secret: &'a [u8; 32],
    /// Of the message.
    pub id: &'a str,
    /// Of the message: a bare JID.
    pub author: &'a str,
    /// Of the add-on: a bare JID.
    pub modifier: &'a str,
}

impl Binding<'_> {
    fn cipher(&self, what: AddOn) -> Aes256Gcm {
        let mut key = Zeroizing::new([0; 32]);
        let info = [self.id, self.author, self.modifier, what.info()].concat();
        Hkdf::<Sha256>::new(None, self.secret).expand(info.as_bytes(), &mut *key).expect("32 ≤ 255 · 32");
        Aes256Gcm::new(&(*key).into())
    }

    fn additional_data(&self, what: AddOn) -> Vec<u8> {
        if !what.has_additional_data() {
            return Vec::new();
        }
        [self.id.as_bytes(), &[0], self.modifier.as_bytes()].concat()
    }

    /// Ciphertext, and the tag of 16 bytes behind it.
    pub fn seal(&self, what: AddOn, iv: [u8; 12], plaintext: &[u8]) -> Vec<u8> {
        let payload = Payload { msg: plaintext, aad: &self.additional_data(what) };
        self.cipher(what).encrypt(&iv.into(), payload).expect("far below GCM's 64 GiB")
    }

    /// `None`: not encrypted with this secret, by this author, about this message.
    pub fn open(&self, what: AddOn, iv: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
        let iv: [u8; 12] = iv.try_into().ok()?;
        let payload = Payload { msg: ciphertext, aad: &self.additional_data(what) };
        self.cipher(what).decrypt(&iv.into(), payload).ok()
    }
}

/// How a vote names an option of its poll.
pub fn option_hash(name: &str) -> [u8; 32] {
    Sha256::digest(name.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "3EB0AABBCCDDEEFF001122";
    const SECRET: [u8; 32] = [0x42; 32];

    fn binding(modifier: &'static str) -> Binding<'static> {
        Binding { secret: &SECRET, id: ID, author: "111111111111111@lid", modifier }
    }

    /// Made with, and opened by, the functions of npm baileys 7.0.0-rc14 (`aesEncryptGCM`, `decryptPollVote`).
    #[test]
    fn a_vote_is_sealed_as_other_clients_seal_it() {
        let vote = [&[0x0a, 0x20][..], &option_hash("Yes")].concat();
        let sealed = binding("222222222222222@lid").seal(AddOn::PollVote, [0; 12], &vote);
        assert_eq!(
            hex::encode(&sealed),
            "641e5cef7a10c6cfe81696bb74fb6c958d201508434da62e2d1a3fee0b17f0f6e99ceeac39b3d1c0992227b9e03d1970ecc0"
        );
    }

    #[test]
    fn an_add_on_opens_for_its_own_message_author_and_use_only() {
        let sealed = binding("2@lid").seal(AddOn::Reaction, [1; 12], b"x");
        assert_eq!(binding("2@lid").open(AddOn::Reaction, &[1; 12], &sealed).as_deref(), Some(&b"x"[..]));
        assert_eq!(binding("3@lid").open(AddOn::Reaction, &[1; 12], &sealed), None);
        assert_eq!(binding("2@lid").open(AddOn::Comment, &[1; 12], &sealed), None);
        let other = Binding { id: "3EB0", ..binding("2@lid") };
        assert_eq!(other.open(AddOn::Reaction, &[1; 12], &sealed), None);
    }

    proptest! {
        #[test]
        fn nothing_that_a_peer_sends_opens_or_panics(iv: Vec<u8>, bytes: Vec<u8>) {
            prop_assert_eq!(binding("2@lid").open(AddOn::PollVote, &iv, &bytes), None);
        }
    }
}
