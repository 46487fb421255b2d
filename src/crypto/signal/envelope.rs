//! The bytes of `msg` and `pkmsg`.
//!
//! `msg` is a version byte, a SignalMessage and 8 bytes of MAC; `pkmsg` is a version byte and a PreKeySignalMessage
//! that carries a whole `msg`. Every field is written even when zero, in ascending order: some peers serialize anew
//! what they parsed before they check the MAC. Here the MAC is checked over the bytes as they came.

use aes::Aes256;
use cbc::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _, block_padding::Pkcs7};
use hmac::{Hmac, Mac as _};
use prost::Message as _;
use sha2::Sha256;

use super::{
    PreKeyMessage, SignalError,
    kdf::{MessageKeys, Seed, hmac},
};
use crate::{crypto::PublicKey, proto::signal as proto};

/// Version 3 now, version 3 at least.
const VERSION_BYTE: u8 = 0x33;
/// The upper half of the version byte; the lower names the newest version that the sender knows.
const VERSION: u8 = 3;
/// HMAC-SHA256, cut short.
const MAC_BYTES: usize = 8;

/// The two ends of a message, in its direction; both are under its MAC.
pub(super) struct Direction<'a> {
    pub(super) sender: &'a PublicKey,
    pub(super) receiver: &'a PublicKey,
}

/// A parsed `msg`.
pub(super) struct SignalMessage<'a> {
    pub(super) ratchet_key: PublicKey,
    pub(super) counter: u32,
    ciphertext: Vec<u8>,
    /// Version byte and protobuf, as received.
    authenticated: &'a [u8],
    mac: &'a [u8],
}

/// What of a `msg` is not derived from its keys.
pub(super) struct Header {
    pub(super) ratchet_key: PublicKey,
    pub(super) counter: u32,
    pub(super) previous_counter: u32,
}

/// Builds a `msg`.
pub(super) fn seal(header: &Header, seed: &Seed, direction: &Direction<'_>, plaintext: &[u8]) -> Vec<u8> {
    let keys = seed.keys();
    let message = proto::SignalMessage {
        ratchet_key: Some(header.ratchet_key.to_signal().to_vec()),
        counter: Some(header.counter),
        previous_counter: Some(header.previous_counter),
        ciphertext: Some(encrypt(&keys, plaintext)),
    };
    let mut bytes = Vec::with_capacity(1 + message.encoded_len() + MAC_BYTES);
    bytes.push(VERSION_BYTE);
    message.encode_raw(&mut bytes);
    let mac = mac(&keys, direction, &bytes).finalize().into_bytes();
    bytes.extend_from_slice(&mac[..MAC_BYTES]);
    bytes
}

impl<'a> SignalMessage<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, SignalError> {
        let (authenticated, mac) =
            bytes.split_at_checked(bytes.len().saturating_sub(MAC_BYTES)).ok_or(SignalError::Malformed)?;
        let message = proto::SignalMessage::decode(without_version(authenticated)?)
            .map_err(|_| SignalError::Malformed)?;
        Ok(Self {
            ratchet_key: key(message.ratchet_key.as_deref())?,
            counter: message.counter.ok_or(SignalError::Malformed)?,
            ciphertext: message.ciphertext.ok_or(SignalError::Malformed)?,
            authenticated,
            mac,
        })
    }

    /// Checks the MAC in constant time, then decrypts.
    pub(super) fn open(&self, seed: &Seed, direction: &Direction<'_>) -> Result<Vec<u8>, SignalError> {
        let keys = seed.keys();
        mac(&keys, direction, self.authenticated)
            .verify_truncated_left(self.mac)
            .map_err(|_| SignalError::BadMac)?;
        decrypt(&keys, &self.ciphertext)
    }
}

impl PreKeyMessage {
    /// Reads the envelope; the `msg` inside is read when it is decrypted.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignalError> {
        let message = proto::PreKeySignalMessage::decode(without_version(bytes)?)
            .map_err(|_| SignalError::Malformed)?;
        Ok(Self {
            registration_id: message.registration_id.unwrap_or_default(),
            // Ids begin at 1; to some peers 0 means "none".
            pre_key_id: message.pre_key_id.filter(|id| *id != 0),
            signed_pre_key_id: message.signed_pre_key_id.ok_or(SignalError::Malformed)?,
            base_key: canonical_key(message.base_key.as_deref())?,
            identity: canonical_key(message.identity_key.as_deref())?,
            message: message.message.ok_or(SignalError::Malformed)?,
        })
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        let message = proto::PreKeySignalMessage {
            pre_key_id: self.pre_key_id,
            base_key: Some(self.base_key.to_signal().to_vec()),
            identity_key: Some(self.identity.to_signal().to_vec()),
            message: Some(self.message),
            registration_id: Some(self.registration_id),
            signed_pre_key_id: Some(self.signed_pre_key_id),
        };
        let mut bytes = Vec::with_capacity(1 + message.encoded_len());
        bytes.push(VERSION_BYTE);
        message.encode_raw(&mut bytes);
        bytes
    }
}

fn without_version(bytes: &[u8]) -> Result<&[u8], SignalError> {
    match bytes {
        [version, rest @ ..] if version >> 4 == VERSION => Ok(rest),
        _ => Err(SignalError::Malformed),
    }
}

fn key(bytes: Option<&[u8]>) -> Result<PublicKey, SignalError> {
    Ok(PublicKey::from_slice(bytes.ok_or(SignalError::Malformed)?)?)
}

/// X25519 ignores the top bit, so a key with that bit set would be a second name of the same secret: a `pkmsg`
/// without one-time prekey could be replayed under it. No client makes such keys.
fn canonical_key(bytes: Option<&[u8]>) -> Result<PublicKey, SignalError> {
    let key = key(bytes)?;
    if key.as_bytes()[31] & 0x80 == 0 { Ok(key) } else { Err(SignalError::InvalidKey) }
}

fn mac(keys: &MessageKeys, direction: &Direction<'_>, authenticated: &[u8]) -> Hmac<Sha256> {
    let mut mac = hmac(keys.mac());
    mac.update(&direction.sender.to_signal());
    mac.update(&direction.receiver.to_signal());
    mac.update(authenticated);
    mac
}

fn encrypt(keys: &MessageKeys, plaintext: &[u8]) -> Vec<u8> {
    cbc::Encryptor::<Aes256>::new_from_slices(keys.cipher(), keys.iv())
        .expect("32 bytes of key, 16 of IV")
        .encrypt_padded_vec::<Pkcs7>(plaintext)
}

fn decrypt(keys: &MessageKeys, ciphertext: &[u8]) -> Result<Vec<u8>, SignalError> {
    cbc::Decryptor::<Aes256>::new_from_slices(keys.cipher(), keys.iv())
        .expect("32 bytes of key, 16 of IV")
        .decrypt_padded_vec::<Pkcs7>(ciphertext)
        .map_err(|_| SignalError::Malformed)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::crypto::{InvalidKey, KeyPair};

    fn known() -> (Seed, Vec<u8>) {
        let seed = hex::decode("9b4c8120a4823a95f47cde17a244f4507244ee6e3957d1fab9fa29b44d3829b7").unwrap();
        let bytes = "330a2105".to_owned()
            + &"33".repeat(32)
            + "100018002210b801e074983114d262464893dff1df29076cbf8b931e4ea0";
        (Seed(Zeroizing::new(seed.try_into().unwrap())), hex::decode(bytes).unwrap())
    }

    /// Reproduced with npm libsignal 6.0.0 and one more implementation.
    #[test]
    fn a_message_has_the_known_bytes_and_opens_again() {
        let (seed, bytes) = known();
        let (sender, receiver) = (PublicKey::from_bytes([0xaa; 32]), PublicKey::from_bytes([0xbb; 32]));
        let direction = Direction { sender: &sender, receiver: &receiver };
        let plaintext = hex::decode("0a0568656c6c6f04040404").unwrap();
        let ratchet_key = PublicKey::from_bytes([0x33; 32]);
        let header = Header { ratchet_key, counter: 0, previous_counter: 0 };
        assert_eq!(hex::encode(seal(&header, &seed, &direction, &plaintext)), hex::encode(&bytes));

        let message = SignalMessage::parse(&bytes).unwrap();
        assert_eq!((message.ratchet_key, message.counter), (ratchet_key, 0));
        assert_eq!(message.open(&seed, &direction), Ok(plaintext));
        let reversed = Direction { sender: &receiver, receiver: &sender };
        assert_eq!(message.open(&seed, &reversed), Err(SignalError::BadMac));
    }

    #[test]
    fn a_message_cut_anywhere_is_refused() {
        let (seed, bytes) = known();
        let (sender, receiver) = (PublicKey::from_bytes([0xaa; 32]), PublicKey::from_bytes([0xbb; 32]));
        let direction = Direction { sender: &sender, receiver: &receiver };
        for end in 0..bytes.len() {
            let opened =
                SignalMessage::parse(&bytes[..end]).and_then(|message| message.open(&seed, &direction));
            assert!(opened.is_err(), "cut at {end}");
        }
        let mut other_version = bytes;
        other_version[0] = 0x43;
        assert!(matches!(SignalMessage::parse(&other_version), Err(SignalError::Malformed)));
    }

    #[test]
    fn a_prekey_message_reads_back_with_its_zeros_written() {
        let (base_key, identity) =
            (KeyPair::from_private([1; 32]).public, KeyPair::from_private([2; 32]).public);
        let message = PreKeyMessage {
            registration_id: 0,
            pre_key_id: None,
            signed_pre_key_id: 0,
            base_key,
            identity,
            message: vec![1, 2, 3],
        };
        let bytes = message.clone().into_bytes();
        assert_eq!(bytes[..3], [0x33, 0x12, 33]);
        assert_eq!(bytes[bytes.len() - 9..], [0x22, 3, 1, 2, 3, 0x28, 0, 0x30, 0]);
        let read = PreKeyMessage::parse(&bytes).unwrap();
        assert_eq!((read.pre_key_id, read.signed_pre_key_id, read.registration_id), (None, 0, 0));
        assert_eq!((read.base_key, read.identity, read.message), (base_key, identity, vec![1, 2, 3]));

        let one_time = PreKeyMessage { pre_key_id: Some(0x123456), ..message.clone() }.into_bytes();
        assert_eq!(one_time[..6], [0x33, 0x08, 0xd6, 0xe8, 0x48, 0x12]);
        assert_eq!(PreKeyMessage::parse(&one_time).unwrap().pre_key_id, Some(0x123456));

        let mut second_name = *base_key.as_bytes();
        second_name[31] |= 0x80;
        let second_name = PreKeyMessage { base_key: PublicKey::from_bytes(second_name), ..message };
        assert_eq!(PreKeyMessage::parse(&second_name.into_bytes()).err(), Some(InvalidKey.into()));
        assert_eq!(PreKeyMessage::parse(&[]).err(), Some(SignalError::Malformed));
        assert_eq!(PreKeyMessage::parse(&[0x33]).err(), Some(SignalError::Malformed));
    }
}
