//! A [`Session`] as bytes, in the layout of `proto/signal.proto`.

use std::collections::VecDeque;

use prost::Message as _;
use zeroize::Zeroizing;

use super::{
    Session, SignalError,
    kdf::{ChainKey, RootKey, Seed},
    session::MAX_ARCHIVED,
    state::{MAX_RECEIVERS, PendingPreKey, ReceiverChain, SenderChain, State},
};
use crate::{
    crypto::{KeyPair, PrivateKey, PublicKey},
    proto::signal as proto,
};

/// The session version that the protocol has used since 2014; a state of any other is not ours.
const VERSION: u32 = 3;
/// A skipped key: its index, big-endian, and its seed.
const SKIPPED_BYTES: usize = 4 + 32;

impl Session {
    /// What `encode` gave; an empty slice is an empty session.
    pub fn decode(bytes: &[u8]) -> Result<Self, SignalError> {
        let record = proto::SessionRecord::decode(bytes).map_err(|_| SignalError::CorruptSession)?;
        if record.previous.len() > MAX_ARCHIVED {
            return Err(SignalError::CorruptSession);
        }
        Ok(Self {
            current: record.current.map(State::read).transpose()?,
            archived: record.previous.into_iter().map(State::read).collect::<Result<_, _>>()?,
        })
    }

    /// The row to store. Holds private keys.
    pub fn encode(&self) -> Vec<u8> {
        proto::SessionRecord {
            current: self.current.as_ref().map(State::write),
            previous: self.archived.iter().map(State::write).collect(),
        }
        .encode_to_vec()
    }
}

impl State {
    fn read(stored: proto::SessionState) -> Result<Self, SignalError> {
        if stored.version != Some(VERSION) || stored.receiver_chains.len() > MAX_RECEIVERS {
            return Err(SignalError::CorruptSession);
        }
        let sender = stored.sender_chain.ok_or(SignalError::CorruptSession)?;
        Ok(Self {
            local_identity: public(stored.local_identity)?,
            remote_identity: public(stored.remote_identity)?,
            local_registration_id: stored.local_registration_id.unwrap_or_default(),
            remote_registration_id: stored.remote_registration_id.unwrap_or_default(),
            base_key: public(stored.alice_base_key)?,
            root: RootKey(secret(stored.root_key)?),
            sender: SenderChain {
                // The public half is stored, too: deriving it would cost more than all the rest of the reading.
                ratchet: KeyPair {
                    private: PrivateKey::from_bytes(*secret(sender.ratchet_private)?),
                    public: public(sender.ratchet_public)?,
                },
                chain: chain_key(sender.chain_key)?,
            },
            previous_counter: stored.previous_counter.unwrap_or_default(),
            receivers: stored
                .receiver_chains
                .into_iter()
                .map(ReceiverChain::read)
                .collect::<Result<_, _>>()?,
            pending: stored.pending_pre_key.map(|pending| PendingPreKey {
                pre_key_id: pending.pre_key_id,
                signed_pre_key_id: pending.signed_pre_key_id.unwrap_or_default(),
            }),
        })
    }

    fn write(&self) -> proto::SessionState {
        proto::SessionState {
            version: Some(VERSION),
            local_identity: Some(self.local_identity.as_bytes().to_vec()),
            remote_identity: Some(self.remote_identity.as_bytes().to_vec()),
            root_key: Some(self.root.0.to_vec()),
            previous_counter: Some(self.previous_counter),
            sender_chain: Some(proto::Chain {
                ratchet_public: Some(self.sender.ratchet.public.as_bytes().to_vec()),
                ratchet_private: Some(self.sender.ratchet.private.as_bytes().to_vec()),
                chain_key: Some(self.sender.chain.write()),
                skipped: None,
            }),
            receiver_chains: self.receivers.iter().map(ReceiverChain::write).collect(),
            pending_pre_key: self.pending.as_ref().map(|pending| proto::PendingPreKey {
                pre_key_id: pending.pre_key_id,
                signed_pre_key_id: Some(pending.signed_pre_key_id),
            }),
            remote_registration_id: Some(self.remote_registration_id),
            local_registration_id: Some(self.local_registration_id),
            alice_base_key: Some(self.base_key.as_bytes().to_vec()),
        }
    }
}

impl ReceiverChain {
    fn read(stored: proto::Chain) -> Result<Self, SignalError> {
        let skipped = read_all_skipped(stored.skipped)?;
        Ok(Self { ratchet: public(stored.ratchet_public)?, chain: chain_key(stored.chain_key)?, skipped })
    }

    fn write(&self) -> proto::Chain {
        proto::Chain {
            ratchet_public: Some(self.ratchet.as_bytes().to_vec()),
            ratchet_private: None,
            chain_key: Some(self.chain.write()),
            skipped: write_all_skipped(&self.skipped),
        }
    }
}

pub(super) fn read_all_skipped(stored: Option<Vec<u8>>) -> Result<VecDeque<(u32, Seed)>, SignalError> {
    let stored = Zeroizing::new(stored.unwrap_or_default());
    let (entries, []) = stored.as_chunks::<SKIPPED_BYTES>() else {
        return Err(SignalError::CorruptSession);
    };
    let skipped: VecDeque<_> = entries.iter().map(read_skipped).collect();
    // Lookups rely on the order.
    if !skipped.iter().is_sorted_by(|(a, _), (b, _)| a < b) {
        return Err(SignalError::CorruptSession);
    }
    Ok(skipped)
}

pub(super) fn write_all_skipped(keys: &VecDeque<(u32, Seed)>) -> Option<Vec<u8>> {
    let mut skipped = Vec::with_capacity(keys.len() * SKIPPED_BYTES);
    for (index, seed) in keys {
        skipped.extend_from_slice(&index.to_be_bytes());
        skipped.extend_from_slice(seed.0.as_slice());
    }
    (!skipped.is_empty()).then_some(skipped)
}

impl ChainKey {
    pub(super) fn write(&self) -> proto::ChainKey {
        proto::ChainKey { index: Some(self.index), key: Some(self.key.to_vec()) }
    }
}

fn read_skipped(entry: &[u8; SKIPPED_BYTES]) -> (u32, Seed) {
    let [a, b, c, d, seed @ ..] = *entry;
    (u32::from_be_bytes([a, b, c, d]), Seed(Zeroizing::new(seed)))
}

pub(super) fn chain_key(stored: Option<proto::ChainKey>) -> Result<ChainKey, SignalError> {
    let stored = stored.ok_or(SignalError::CorruptSession)?;
    Ok(ChainKey { index: stored.index.ok_or(SignalError::CorruptSession)?, key: secret(stored.key)? })
}

pub(super) fn secret(stored: Option<Vec<u8>>) -> Result<Zeroizing<[u8; 32]>, SignalError> {
    let stored = Zeroizing::new(stored.unwrap_or_default());
    stored.as_slice().try_into().map(Zeroizing::new).map_err(|_| SignalError::CorruptSession)
}

pub(super) fn public(stored: Option<Vec<u8>>) -> Result<PublicKey, SignalError> {
    PublicKey::from_slice(&stored.unwrap_or_default()).map_err(|_| SignalError::CorruptSession)
}
