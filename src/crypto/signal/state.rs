//! One session: the root key, a chain to send on, the chains that arrived, and what late messages still need.
//!
//! A call that fails changes nothing: keys are derived ahead of the MAC check, and taken over only after it.

use std::collections::VecDeque;

use rand::CryptoRng;

use super::{
    Ciphertext, CiphertextKind, Local, OurPreKeys, PreKeyBundle, PreKeyMessage, SignalError,
    envelope::{self, Direction, Header, SignalMessage},
    kdf::{self, ChainKey, RootKey, Seed},
};
use crate::crypto::{KeyPair, PublicKey};

/// How far one message may be ahead of its chain. More would let a peer buy seconds of hashing with one message;
/// libsignal-node, whatsmeow and whatsapp-rust refuse beyond the same number.
const MAX_JUMP: u32 = 2000;
/// Keys kept per chain for messages that are late; the oldest go first. As libsignal's MAX_MESSAGE_KEYS.
const MAX_SKIPPED: usize = 2000;
/// Chains of the peer that are kept. As libsignal's MAX_RECEIVER_CHAINS.
pub(super) const MAX_RECEIVERS: usize = 5;

#[derive(Clone)]
pub(super) struct State {
    pub(super) local_identity: PublicKey,
    pub(super) remote_identity: PublicKey,
    pub(super) local_registration_id: u32,
    pub(super) remote_registration_id: u32,
    /// The initiator's base key: names the state on both ends.
    pub(super) base_key: PublicKey,
    pub(super) root: RootKey,
    pub(super) sender: SenderChain,
    pub(super) previous_counter: u32,
    /// Oldest first, at most [`MAX_RECEIVERS`].
    pub(super) receivers: VecDeque<ReceiverChain>,
    /// Set on the initiator until the peer is heard: every message must carry what the peer needs to begin.
    pub(super) pending: Option<PendingPreKey>,
}

#[derive(Clone)]
pub(super) struct SenderChain {
    pub(super) ratchet: KeyPair,
    pub(super) chain: ChainKey,
}

#[derive(Clone)]
pub(super) struct ReceiverChain {
    pub(super) ratchet: PublicKey,
    pub(super) chain: ChainKey,
    /// Ascending by index.
    pub(super) skipped: VecDeque<(u32, Seed)>,
}

#[derive(Clone)]
pub(super) struct PendingPreKey {
    pub(super) pre_key_id: Option<u32>,
    pub(super) signed_pre_key_id: u32,
}

impl State {
    /// Alice: X3DH against a published bundle.
    pub(super) fn initiate(
        local: &Local<'_>,
        bundle: &PreKeyBundle,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, SignalError> {
        let theirs = &bundle.signed_prekey.key;
        bundle.identity.verify(&theirs.to_signal(), &bundle.signed_prekey.signature)?;
        let base = KeyPair::generate(rng);
        let mut agreed = vec![
            local.identity.private.agree_checked(theirs)?,
            base.private.agree_checked(&bundle.identity)?,
            base.private.agree_checked(theirs)?,
        ];
        if let Some(one_time) = &bundle.one_time {
            agreed.push(base.private.agree_checked(&one_time.key)?);
        }
        // The chain that comes with it would be Bob's first, but Bob steps the ratchet before he sends anything.
        let (root, _) = kdf::first_keys(&agreed);
        let ratchet = KeyPair::generate(rng);
        let (root, chain) = root.step(&ratchet.private.agree_checked(theirs)?);
        Ok(Self {
            local_identity: local.identity.public,
            remote_identity: bundle.identity,
            local_registration_id: local.registration_id,
            remote_registration_id: bundle.registration_id,
            base_key: base.public,
            root,
            sender: SenderChain { ratchet, chain },
            previous_counter: 0,
            receivers: VecDeque::new(),
            pending: Some(PendingPreKey {
                pre_key_id: bundle.one_time.as_ref().map(|one_time| one_time.id),
                signed_pre_key_id: bundle.signed_prekey.id,
            }),
        })
    }

    /// Bob: X3DH with the keys that a `pkmsg` names. The message inside then steps the ratchet.
    pub(super) fn answer(
        local: &Local<'_>,
        message: &PreKeyMessage,
        ours: &OurPreKeys,
    ) -> Result<Self, SignalError> {
        let signed = ours.signed.as_ref().ok_or(SignalError::UnknownPreKey)?;
        let mut agreed = vec![
            signed.private.agree_checked(&message.identity)?,
            local.identity.private.agree_checked(&message.base_key)?,
            signed.private.agree_checked(&message.base_key)?,
        ];
        if message.pre_key_id.is_some() {
            let one_time = ours.one_time.as_ref().ok_or(SignalError::UnknownPreKey)?;
            agreed.push(one_time.private.agree_checked(&message.base_key)?);
        }
        let (root, chain) = kdf::first_keys(&agreed);
        Ok(Self {
            local_identity: local.identity.public,
            remote_identity: message.identity,
            local_registration_id: local.registration_id,
            remote_registration_id: message.registration_id,
            base_key: message.base_key,
            root,
            sender: SenderChain { ratchet: signed.clone(), chain },
            previous_counter: 0,
            receivers: VecDeque::new(),
            pending: None,
        })
    }

    pub(super) fn encrypt(&mut self, plaintext: &[u8]) -> Result<Ciphertext, SignalError> {
        // A chain that ran out of indexes cannot be sent on any more, as if there were none.
        let (seed, next) = self.sender.chain.step().ok_or(SignalError::NoSession)?;
        let header = Header {
            ratchet_key: self.sender.ratchet.public,
            counter: self.sender.chain.index,
            previous_counter: self.previous_counter,
        };
        let direction = Direction { sender: &self.local_identity, receiver: &self.remote_identity };
        let message = envelope::seal(&header, &seed, &direction, plaintext);
        self.sender.chain = next;

        let Some(pending) = &self.pending else {
            return Ok(Ciphertext { kind: CiphertextKind::Message, bytes: message });
        };
        let message = PreKeyMessage {
            registration_id: self.local_registration_id,
            pre_key_id: pending.pre_key_id,
            signed_pre_key_id: pending.signed_pre_key_id,
            base_key: self.base_key,
            identity: self.local_identity,
            message,
        };
        Ok(Ciphertext { kind: CiphertextKind::PreKey, bytes: message.into_bytes() })
    }

    pub(super) fn decrypt(
        &mut self,
        message: &SignalMessage<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>, SignalError> {
        let direction = Direction { sender: &self.remote_identity, receiver: &self.local_identity };
        let known = self.receivers.iter_mut().find(|chain| chain.ratchet == message.ratchet_key);
        let plaintext = if let Some(chain) = known {
            chain.open(message, &direction)?
        } else {
            let ratchet_key = message.ratchet_key;
            let (root, chain) = self.root.step(&self.sender.ratchet.private.agree_checked(&ratchet_key)?);
            let mut receiver = ReceiverChain { ratchet: ratchet_key, chain, skipped: VecDeque::new() };
            let plaintext = receiver.open(message, &direction)?;
            self.turn(root, receiver, rng)?;
            plaintext
        };
        self.pending = None;
        Ok(plaintext)
    }

    /// The peer was heard on a new ratchet key: answers come on a new chain of our own.
    pub(super) fn turn(
        &mut self,
        root: RootKey,
        receiver: ReceiverChain,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), SignalError> {
        let ratchet = KeyPair::generate(rng);
        let (root, chain) = root.step(&ratchet.private.agree_checked(&receiver.ratchet)?);
        // Never −1 for a chain that stayed silent: libsignal-node would try to fill four billion keys.
        self.previous_counter = self.sender.chain.index.saturating_sub(1);
        self.root = root;
        self.sender = SenderChain { ratchet, chain };
        if self.receivers.len() >= MAX_RECEIVERS {
            self.receivers.pop_front();
        }
        self.receivers.push_back(receiver);
        Ok(())
    }

    /// How many keys are kept for late messages.
    pub(super) fn skipped(&self) -> usize {
        self.receivers.iter().map(|chain| chain.skipped.len()).sum()
    }

    /// Gives up on late messages of this session.
    pub(super) fn forget_skipped(&mut self) {
        self.receivers.iter_mut().for_each(|chain| chain.skipped.clear());
    }
}

impl ReceiverChain {
    fn open(
        &mut self,
        message: &SignalMessage<'_>,
        direction: &Direction<'_>,
    ) -> Result<Vec<u8>, SignalError> {
        let Some(ahead) = message.counter.checked_sub(self.chain.index) else {
            let late = self.skipped.binary_search_by_key(&message.counter, |(index, _)| *index);
            let late = late.map_err(|_| SignalError::Duplicate)?;
            let (_, seed) = self.skipped.get(late).ok_or(SignalError::Duplicate)?;
            let plaintext = message.open(seed, direction)?;
            self.skipped.remove(late);
            return Ok(plaintext);
        };
        if ahead > MAX_JUMP {
            return Err(SignalError::FutureMessage);
        }
        let mut skipped = Vec::new();
        let (mut seed, mut next) = self.chain.step().ok_or(SignalError::FutureMessage)?;
        for index in self.chain.index..message.counter {
            skipped.push((index, seed));
            (seed, next) = next.step().ok_or(SignalError::FutureMessage)?;
        }
        let plaintext = message.open(&seed, direction)?;
        self.chain = next;
        self.skipped.extend(skipped);
        self.skipped.drain(..self.skipped.len().saturating_sub(MAX_SKIPPED));
        Ok(plaintext)
    }
}
