//! All sessions with one device: which of them decrypts, what becomes current, what is archived.

use std::collections::VecDeque;

use rand::CryptoRng;

use super::{
    Ciphertext, Local, Opened, OurPreKeys, PreKeyBundle, PreKeyMessage, SignalError, envelope::SignalMessage,
    state::State,
};
use crate::crypto::PublicKey;

/// States kept beside the current one; the oldest go first. As libsignal's ARCHIVED_STATES_MAX_LENGTH.
pub(super) const MAX_ARCHIVED: usize = 40;
/// Keys for late messages that all archived states keep together. Without it, a peer that starts sessions and skips
/// messages at will could make every write of its row cost megabytes.
const MAX_ARCHIVED_SKIPPED: usize = 10_000;

/// All sessions with one peer device: the current one and archived ones. Empty by default. A failed call changes
/// nothing.
#[derive(Clone, Default)]
pub struct Session {
    pub(super) current: Option<State>,
    /// Most recently used first.
    pub(super) archived: VecDeque<State>,
}

impl Session {
    /// Whether `encrypt` would work.
    pub fn is_open(&self) -> bool {
        self.current.is_some()
    }

    /// The Signal identity of the peer in the current state.
    pub fn remote_identity(&self) -> Option<PublicKey> {
        self.current.as_ref().map(|state| state.remote_identity)
    }

    /// What the peer said to be its registration id when the current state began.
    pub fn remote_registration_id(&self) -> Option<u32> {
        self.current.as_ref().map(|state| state.remote_registration_id)
    }

    /// The base key that created the current state.
    pub fn base_key(&self) -> Option<PublicKey> {
        self.current.as_ref().map(|state| state.base_key)
    }

    /// Checks the bundle's signature, archives what was current, starts a new session as initiator.
    pub fn initiate(
        &mut self,
        local: &Local<'_>,
        bundle: &PreKeyBundle,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), SignalError> {
        self.begin(State::initiate(local, bundle, rng)?);
        Ok(())
    }

    /// Encrypts in the current state: a `pkmsg` until the peer was heard, a `msg` afterwards. The session must be
    /// stored before the ciphertext leaves, or its key would serve twice.
    pub fn encrypt(&mut self, plaintext: &[u8]) -> Result<Ciphertext, SignalError> {
        self.current.as_mut().ok_or(SignalError::NoSession)?.encrypt(plaintext)
    }

    /// Reads a `msg` with whichever state can, the current one first; that state becomes current.
    pub fn decrypt(
        &mut self,
        local: &Local<'_>,
        message: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>, SignalError> {
        let message = SignalMessage::parse(message)?;
        let mut verdict = SignalError::NoSession;
        let opened = self.states_mut().enumerate().find_map(|(position, state)| {
            // A state made under an identity we no longer have cannot be the one meant.
            if state.local_identity != local.identity.public {
                return None;
            }
            match state.decrypt(&message, rng) {
                Ok(plaintext) => return Some((position, plaintext)),
                Err(error) if error.outranks(&verdict) => verdict = error,
                Err(_) => {}
            }
            None
        });
        let (position, plaintext) = opened.ok_or(verdict)?;
        self.promote(position);
        Ok(plaintext)
    }

    /// Reads a `pkmsg`: with the state that its base key began, if there is one, and else with a new one made from
    /// our prekeys.
    pub fn decrypt_prekey(
        &mut self,
        local: &Local<'_>,
        message: &PreKeyMessage,
        ours: &OurPreKeys,
        rng: &mut dyn CryptoRng,
    ) -> Result<Opened, SignalError> {
        let inner = SignalMessage::parse(&message.message)?;
        let began =
            |state: &State| state.base_key == message.base_key && state.remote_identity == message.identity;
        let begun = self.states_mut().enumerate().find(|(_, state)| began(state));
        if let Some((position, plaintext)) = begun.map(|(at, state)| (at, state.decrypt(&inner, rng))) {
            let plaintext = plaintext?;
            self.promote(position);
            return Ok(Opened { plaintext, consumed_one_time: false });
        }
        let mut state = State::answer(local, message, ours)?;
        let plaintext = state.decrypt(&inner, rng)?;
        self.begin(state);
        Ok(Opened { plaintext, consumed_one_time: message.pre_key_id.is_some() })
    }

    /// Moves the current state to the archive, so that the next send needs a bundle.
    pub fn archive(&mut self) {
        let Some(state) = self.current.take() else { return };
        self.archived.push_front(state);
        self.archived.truncate(MAX_ARCHIVED);
        let mut kept = 0;
        for state in &mut self.archived {
            kept += state.skipped();
            if kept > MAX_ARCHIVED_SKIPPED {
                state.forget_skipped();
            }
        }
    }

    fn begin(&mut self, state: State) {
        self.archive();
        self.current = Some(state);
    }

    fn states_mut(&mut self) -> impl Iterator<Item = &mut State> {
        self.current.iter_mut().chain(&mut self.archived)
    }

    /// Makes the state at this position of `states_mut` current.
    fn promote(&mut self, position: usize) {
        let archived = match self.current {
            Some(_) => position.checked_sub(1),
            None => Some(position),
        };
        if let Some(state) = archived.and_then(|position| self.archived.remove(position)) {
            self.begin(state);
        }
    }
}
