//! Sender keys: what a device writes to a group it encrypts once, in a chain of its own that only goes forward. The
//! chain's key and the key that its messages are signed with travel to each other device in a *distribution*, inside a
//! pairwise session. Formats and bounds: libsignal `rust/protocol/src/{sender_keys,group_cipher}.rs`.
//!
//! A call that fails changes nothing.

use std::collections::VecDeque;

use aes::Aes256;
use cbc::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _, block_padding::Pkcs7};
use prost::Message as _;
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::{
    SignalError,
    kdf::{ChainKey, GroupKeys, Seed},
    stored,
};
use crate::{
    crypto::{KeyPair, PrivateKey, PublicKey},
    proto::signal as proto,
};

/// Version 3 of both; every client insists on it here.
const VERSION_BYTE: u8 = 0x33;
/// XEdDSA, behind the message.
const SIGNATURE_BYTES: usize = 64;
/// Keys of one device in one group that are kept; the oldest go first. As libsignal's MAX_SENDER_KEY_STATES.
const MAX_STATES: usize = 5;
/// How far one message may be ahead of its chain; Baileys, whatsmeow and whatsapp-rust refuse beyond the same number.
const MAX_JUMP: u32 = 2000;
/// Keys kept a chain for messages that are late; the oldest go first. As the three clients.
const MAX_SKIPPED: usize = 2000;

/// The sender keys of one device in one group. Empty by default.
#[derive(Clone, Default)]
pub struct SenderKeys {
    /// Newest first, at most [`MAX_STATES`].
    states: VecDeque<State>,
}

#[derive(Clone)]
struct State {
    id: u32,
    chain: ChainKey,
    signing: PublicKey,
    /// Only of our own key.
    private: Option<PrivateKey>,
    /// The earliest message that could ever be read with it: what is older was not read before.
    first: u32,
    /// Ascending by index.
    skipped: VecDeque<(u32, Seed)>,
}

/// A parsed `skmsg`. Nothing in it is authenticated before its signature is checked.
struct SenderKeyMessage<'a> {
    id: u32,
    iteration: u32,
    ciphertext: Vec<u8>,
    /// Version byte and protobuf, as received.
    signed: &'a [u8],
    signature: &'a [u8],
}

/// Whether these bytes have the form of a `skmsg`.
pub fn is_sender_key_message(bytes: &[u8]) -> bool {
    SenderKeyMessage::parse(bytes).is_ok()
}

/// Id and place in the chain of the key that a `skmsg` was made with.
pub(super) fn place(bytes: &[u8]) -> Result<(u32, u32), SignalError> {
    SenderKeyMessage::parse(bytes).map(|message| (message.id, message.iteration))
}

impl SenderKeys {
    /// A key of our own, for a group that has none yet, or whose key somebody has who should not read any more.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        // 31 bits, as WhatsApp Web draws it; 0 counts as absent for some.
        let id = (rng.next_u32() >> 1).max(1);
        let mut key = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *key);
        let signing = KeyPair::generate(rng);
        let state = State {
            id,
            chain: ChainKey { index: 0, key },
            signing: signing.public,
            private: Some(signing.private),
            first: 0,
            skipped: VecDeque::new(),
        };
        Self { states: VecDeque::from([state]) }
    }

    /// The newest key's id.
    pub fn id(&self) -> Option<u32> {
        self.states.front().map(|state| state.id)
    }

    /// What another device needs to read from the next message on.
    pub fn distribution(&self) -> Result<Vec<u8>, SignalError> {
        let state = self.states.front().ok_or(SignalError::NoSenderKey)?;
        let message = proto::SenderKeyDistributionMessage {
            id: Some(state.id),
            iteration: Some(state.chain.index),
            chain_key: Some(state.chain.key.to_vec()),
            signing_key: Some(state.signing.to_signal().to_vec()),
        };
        Ok(versioned(&message))
    }

    /// Takes in another device's distribution. A key that is known stays as it is: what was distributed again may be
    /// ahead of messages that are still under way. One that begins earlier, overtaken on its way, opens those before.
    pub fn process(&mut self, distribution: &[u8]) -> Result<(), SignalError> {
        let message = proto::SenderKeyDistributionMessage::decode(without_version(distribution)?)
            .map_err(|_| SignalError::Malformed)?;
        let id = message.id.ok_or(SignalError::Malformed)?;
        let index = message.iteration.ok_or(SignalError::Malformed)?;
        let key = Zeroizing::new(message.chain_key.ok_or(SignalError::Malformed)?);
        let key = key.as_slice().try_into().map(Zeroizing::new).map_err(|_| SignalError::InvalidKey)?;
        let signing = PublicKey::from_slice(&message.signing_key.ok_or(SignalError::Malformed)?)?;
        let chain = ChainKey { index, key };
        if let Some(known) = self.states.iter_mut().find(|state| state.id == id && state.signing == signing) {
            return known.learn_earlier(chain);
        }
        self.states.retain(|state| state.id != id);
        self.states.push_front(State {
            id,
            chain,
            signing,
            private: None,
            first: index,
            skipped: VecDeque::new(),
        });
        self.states.truncate(MAX_STATES);
        Ok(())
    }

    /// Encrypts with the newest key, which must be our own. It must be stored before the ciphertext leaves, or its key
    /// would serve twice.
    pub fn encrypt(&mut self, plaintext: &[u8], rng: &mut dyn CryptoRng) -> Result<Vec<u8>, SignalError> {
        let state = self.states.front_mut().ok_or(SignalError::NoSenderKey)?;
        let private = state.private.as_ref().ok_or(SignalError::NoSenderKey)?;
        let (seed, next) = state.chain.step().ok_or(SignalError::NoSenderKey)?;
        let message = proto::SenderKeyMessage {
            id: Some(state.id),
            iteration: Some(state.chain.index),
            ciphertext: Some(encrypt(&seed.group_keys(), plaintext)),
        };
        let mut bytes = versioned(&message);
        let signature = private.sign(&bytes, rng);
        bytes.extend_from_slice(&signature);
        state.chain = next;
        Ok(bytes)
    }

    /// Reads a `skmsg` with the key that it names.
    pub fn decrypt(&mut self, message: &[u8]) -> Result<Vec<u8>, SignalError> {
        let message = SenderKeyMessage::parse(message)?;
        let state =
            self.states.iter_mut().find(|state| state.id == message.id).ok_or(SignalError::NoSenderKey)?;
        state.signing.verify(message.signed, message.signature)?;
        state.open(&message)
    }

    /// What `encode` gave; an empty slice is no key at all.
    pub fn decode(bytes: &[u8]) -> Result<Self, SignalError> {
        let record = proto::SenderKeyRecord::decode(bytes).map_err(|_| SignalError::CorruptSession)?;
        if record.states.len() > MAX_STATES {
            return Err(SignalError::CorruptSession);
        }
        Ok(Self { states: record.states.into_iter().map(State::read).collect::<Result<_, _>>()? })
    }

    /// The row to store. Holds private keys.
    pub fn encode(&self) -> Vec<u8> {
        proto::SenderKeyRecord { states: self.states.iter().map(State::write).collect() }.encode_to_vec()
    }
}

impl State {
    /// Keeps the keys from an earlier beginning of the chain up to the one that is known.
    fn learn_earlier(&mut self, mut chain: ChainKey) -> Result<(), SignalError> {
        let Some(missing) = self.first.checked_sub(chain.index) else { return Ok(()) };
        if missing > MAX_JUMP {
            return Err(SignalError::FutureMessage);
        }
        let from = chain.index;
        for (at, index) in (from..self.first).enumerate() {
            let (seed, next) = chain.step().ok_or(SignalError::FutureMessage)?;
            self.skipped.insert(at, (index, seed));
            chain = next;
        }
        self.first = from;
        self.skipped.drain(..self.skipped.len().saturating_sub(MAX_SKIPPED));
        Ok(())
    }

    fn open(&mut self, message: &SenderKeyMessage<'_>) -> Result<Vec<u8>, SignalError> {
        if message.iteration < self.first {
            return Err(SignalError::NoSenderKey);
        }
        let Some(ahead) = message.iteration.checked_sub(self.chain.index) else {
            let late = self.skipped.binary_search_by_key(&message.iteration, |(index, _)| *index);
            let late = late.map_err(|_| SignalError::Duplicate)?;
            let (_, seed) = self.skipped.get(late).ok_or(SignalError::Duplicate)?;
            let plaintext = decrypt(&seed.group_keys(), &message.ciphertext)?;
            self.skipped.remove(late);
            return Ok(plaintext);
        };
        if ahead > MAX_JUMP {
            return Err(SignalError::FutureMessage);
        }
        let mut skipped = Vec::new();
        let (mut seed, mut next) = self.chain.step().ok_or(SignalError::FutureMessage)?;
        for index in self.chain.index..message.iteration {
            skipped.push((index, seed));
            (seed, next) = next.step().ok_or(SignalError::FutureMessage)?;
        }
        let plaintext = decrypt(&seed.group_keys(), &message.ciphertext)?;
        self.chain = next;
        self.skipped.extend(skipped);
        self.skipped.drain(..self.skipped.len().saturating_sub(MAX_SKIPPED));
        Ok(plaintext)
    }

    fn read(stored: proto::SenderKeyState) -> Result<Self, SignalError> {
        let private = match stored.signing_private {
            None => None,
            Some(private) => Some(PrivateKey::from_bytes(*stored::secret(Some(private))?)),
        };
        Ok(Self {
            id: stored.id.ok_or(SignalError::CorruptSession)?,
            chain: stored::chain_key(stored.chain_key)?,
            signing: stored::public(stored.signing_public)?,
            private,
            first: stored.first.unwrap_or(0),
            skipped: stored::read_all_skipped(stored.skipped)?,
        })
    }

    fn write(&self) -> proto::SenderKeyState {
        proto::SenderKeyState {
            id: Some(self.id),
            chain_key: Some(self.chain.write()),
            signing_public: Some(self.signing.as_bytes().to_vec()),
            signing_private: self.private.as_ref().map(|private| private.as_bytes().to_vec()),
            skipped: stored::write_all_skipped(&self.skipped),
            first: Some(self.first),
        }
    }
}

impl<'a> SenderKeyMessage<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, SignalError> {
        let at = bytes.len().checked_sub(SIGNATURE_BYTES).ok_or(SignalError::Malformed)?;
        let (signed, signature) = bytes.split_at_checked(at).ok_or(SignalError::Malformed)?;
        let message =
            proto::SenderKeyMessage::decode(without_version(signed)?).map_err(|_| SignalError::Malformed)?;
        Ok(Self {
            id: message.id.ok_or(SignalError::Malformed)?,
            iteration: message.iteration.ok_or(SignalError::Malformed)?,
            ciphertext: message.ciphertext.ok_or(SignalError::Malformed)?,
            signed,
            signature,
        })
    }
}

fn versioned(message: &impl prost::Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + message.encoded_len() + SIGNATURE_BYTES);
    bytes.push(VERSION_BYTE);
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes
}

fn without_version(bytes: &[u8]) -> Result<&[u8], SignalError> {
    match bytes {
        [VERSION_BYTE, rest @ ..] => Ok(rest),
        _ => Err(SignalError::Malformed),
    }
}

fn encrypt(keys: &GroupKeys, plaintext: &[u8]) -> Vec<u8> {
    cbc::Encryptor::<Aes256>::new_from_slices(keys.cipher(), keys.iv())
        .expect("32 bytes of key, 16 of IV")
        .encrypt_padded_vec::<Pkcs7>(plaintext)
}

fn decrypt(keys: &GroupKeys, ciphertext: &[u8]) -> Result<Vec<u8>, SignalError> {
    cbc::Decryptor::<Aes256>::new_from_slices(keys.cipher(), keys.iv())
        .expect("32 bytes of key, 16 of IV")
        .decrypt_padded_vec::<Pkcs7>(ciphertext)
        .map_err(|_| SignalError::Malformed)
}
