//! A simulated phone: device 0 of its account, a full Signal endpoint. What it keeps, and its cryptography; what it
//! does with a stanza is in `phone_life`.

use std::collections::{BTreeMap, VecDeque};

use rand::CryptoRng;

use super::{DeviceRef, account::DeviceKeys, app_state::Shelves, past::Past, phone_groups::GroupKeys};
use crate::{
    clock::Millis,
    crypto::{
        KeyPair,
        app_state::SyncKey,
        padding::{pad, unpad},
        signal::{
            CiphertextKind, Local, OneTimePreKey, OurPreKeys, PreKeyBundle, PreKeyMessage, Session,
            SignalError, SignedPreKey,
        },
    },
    stanza::{Enc, EncKind, ReceiptKind, RetryKeys},
    wire::Jid,
};

/// One-time keys a phone keeps on the server; refilled when half are gone.
const POOL: usize = 40;
/// Messages, receipts and sent messages a phone remembers.
const MAX_KEPT: usize = 10_000;
const SIGNED_ID: u32 = 1;

pub(crate) struct Phone {
    pub(crate) identity: KeyPair,
    pub(crate) registration_id: u32,
    pub(crate) signed: KeyPair,
    pub(crate) signed_signature: [u8; 64],
    pub(crate) one_time: BTreeMap<u32, KeyPair>,
    pub(crate) next_key: u32,
    pub(crate) sessions: BTreeMap<DeviceRef, Session>,
    pub(crate) group_keys: GroupKeys,
    /// Reads what comes; switched off, everything waits in its queue.
    pub(crate) online: bool,
    /// Of app state, oldest first; shared with every companion.
    pub(crate) sync_keys: Vec<SyncKey>,
    /// What it has read of app state.
    pub(crate) app_state: Shelves,
    /// What it tells of the time before.
    pub(crate) past: Option<Past>,
    pub(crate) inbox: VecDeque<Received>,
    /// How many messages were ever received.
    pub(crate) received: u64,
    pub(crate) receipts: VecDeque<Noticed>,
    /// What it sent, by id, for quotes and retries.
    pub(crate) sent: BTreeMap<String, Kept>,
    pub(crate) sent_order: VecDeque<String>,
    /// Failed attempts a sender and id.
    pub(crate) failures: BTreeMap<(DeviceRef, String), u8>,
}

/// A message that the phone decrypted.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) id: String,
    pub(crate) chat: Jid,
    pub(crate) sender: Jid,
    pub(crate) sender_device: u16,
    pub(crate) from_me: bool,
    pub(crate) t: u64,
    /// A serialized `waE2E.Message`, unwrapped.
    pub(crate) message: Vec<u8>,
}

/// A receipt that reached the phone.
#[derive(Clone, Debug)]
pub(crate) struct Noticed {
    pub(crate) id: String,
    pub(crate) from: Jid,
    pub(crate) kind: ReceiptKind,
    pub(crate) t: u64,
}

/// A message that the phone sent.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) to: Jid,
    pub(crate) message: Vec<u8>,
    pub(crate) peer: bool,
    pub(crate) at: Millis,
}

impl Phone {
    /// A phone fresh from the box, and the public halves for the server.
    pub(crate) fn generate(rng: &mut dyn CryptoRng) -> (Self, DeviceKeys) {
        let identity = KeyPair::generate(rng);
        let signed = KeyPair::generate(rng);
        let signed_signature = identity.private.sign(&signed.public.to_signal(), rng);
        let registration_id = 1 + rng.next_u32() % 0x3ffe;
        let mut phone = Self {
            identity,
            registration_id,
            signed,
            signed_signature,
            one_time: BTreeMap::new(),
            next_key: 1,
            sessions: BTreeMap::new(),
            group_keys: GroupKeys::default(),
            online: true,
            sync_keys: Vec::new(),
            app_state: Shelves::new(),
            past: None,
            inbox: VecDeque::new(),
            received: 0,
            receipts: VecDeque::new(),
            sent: BTreeMap::new(),
            sent_order: VecDeque::new(),
            failures: BTreeMap::new(),
        };
        let pool = phone.more_keys(POOL, rng).into();
        let keys = DeviceKeys {
            registration_id,
            identity: phone.identity.public,
            signed: phone.signed_prekey(),
            pool,
        };
        (phone, keys)
    }

    /// The number is registered anew on it: other keys, and nobody whom it knows by a session. What it keeps besides stays,
    /// as after a restore.
    pub(crate) fn renew(&mut self, rng: &mut dyn CryptoRng) -> DeviceKeys {
        let (fresh, keys) = Self::generate(rng);
        self.identity = fresh.identity;
        self.registration_id = fresh.registration_id;
        self.signed = fresh.signed;
        self.signed_signature = fresh.signed_signature;
        self.one_time = fresh.one_time;
        self.next_key = fresh.next_key;
        self.sessions = BTreeMap::new();
        self.group_keys = GroupKeys::default();
        keys
    }

    /// Tops the server's pool up; empty while more than half are left.
    pub(crate) fn refill(&mut self, left: usize, rng: &mut dyn CryptoRng) -> Vec<OneTimePreKey> {
        if left * 2 > POOL { Vec::new() } else { self.more_keys(POOL - left, rng) }
    }

    fn more_keys(&mut self, count: usize, rng: &mut dyn CryptoRng) -> Vec<OneTimePreKey> {
        (0..count)
            .map(|_| {
                let id = self.next_key;
                // 24 bits on the wire, never 0.
                self.next_key = if id >= 0x00ff_ffff { 1 } else { id + 1 };
                let key = KeyPair::generate(rng);
                let public = OneTimePreKey { id, key: key.public };
                self.one_time.insert(id, key);
                public
            })
            .collect()
    }

    fn signed_prekey(&self) -> SignedPreKey {
        SignedPreKey { id: SIGNED_ID, key: self.signed.public, signature: self.signed_signature }
    }

    pub(crate) fn has_session(&self, with: DeviceRef) -> bool {
        self.sessions.get(&with).is_some_and(Session::is_open)
    }

    pub(crate) fn forget(&mut self, device: DeviceRef) {
        self.sessions.remove(&device);
        self.group_keys.others.retain(|(_, sender), _| *sender != device);
    }

    pub(crate) fn initiate(
        &mut self,
        with: DeviceRef,
        bundle: &PreKeyBundle,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), SignalError> {
        let local = Local { identity: &self.identity, registration_id: self.registration_id };
        self.sessions.entry(with).or_default().initiate(&local, bundle, rng)
    }

    /// Pads and encrypts; the session must exist.
    pub(crate) fn encrypt(
        &mut self,
        with: DeviceRef,
        message: Vec<u8>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Enc, SignalError> {
        let session = self.sessions.get_mut(&with).ok_or(SignalError::NoSession)?;
        let ciphertext = session.encrypt(&pad(message, rng))?;
        let kind = match ciphertext.kind {
            CiphertextKind::PreKey => EncKind::PreKey,
            CiphertextKind::Message => EncKind::Message,
        };
        Ok(Enc::new(kind, ciphertext.bytes))
    }

    /// Decrypts and strips the padding.
    pub(crate) fn decrypt(
        &mut self,
        from: DeviceRef,
        enc: &Enc,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>, SignalError> {
        let local = Local { identity: &self.identity, registration_id: self.registration_id };
        let padded = match enc.kind {
            EncKind::PreKey => {
                let message = PreKeyMessage::parse(&enc.ciphertext)?;
                let one_time = message.pre_key_id.and_then(|id| self.one_time.get(&id));
                let ours = OurPreKeys {
                    signed: (message.signed_pre_key_id == SIGNED_ID).then(|| self.signed.clone()),
                    one_time: one_time.cloned(),
                };
                let session = self.sessions.entry(from).or_default();
                let opened = session.decrypt_prekey(&local, &message, &ours, rng)?;
                if opened.consumed_one_time
                    && let Some(id) = message.pre_key_id
                {
                    self.one_time.remove(&id);
                }
                opened.plaintext
            }
            EncKind::Message => {
                let session = self.sessions.get_mut(&from).ok_or(SignalError::NoSession)?;
                session.decrypt(&local, &enc.ciphertext, rng)?
            }
            EncKind::SenderKey | EncKind::Other(_) => return Err(SignalError::Malformed),
        };
        unpad(&padded).map(<[u8]>::to_vec).ok_or(SignalError::Malformed)
    }

    /// Fresh keys for a retry receipt; the one-time key never reaches the server's pool.
    pub(crate) fn retry_keys(&mut self, rng: &mut dyn CryptoRng) -> RetryKeys {
        let one_time = self.more_keys(1, rng).pop();
        RetryKeys {
            identity: self.identity.public,
            one_time,
            signed: self.signed_prekey(),
            device_identity: None,
        }
    }

    pub(crate) fn has_received(&self, id: &str, sender: &Jid) -> bool {
        self.inbox.iter().rev().any(|message| message.id == id && message.sender.same_user(sender))
    }

    pub(crate) fn keep_received(&mut self, received: Received) {
        self.received += 1;
        keep(&mut self.inbox, received);
    }

    pub(crate) fn keep_receipt(&mut self, receipt: Noticed) {
        keep(&mut self.receipts, receipt);
    }

    pub(crate) fn keep_sent(&mut self, id: &str, kept: Kept) {
        if self.sent.insert(id.to_owned(), kept).is_none() {
            self.sent_order.push_back(id.to_owned());
            if self.sent_order.len() > MAX_KEPT
                && let Some(oldest) = self.sent_order.pop_front()
            {
                self.sent.remove(&oldest);
            }
        }
    }

    /// The next number of a retry receipt for this message.
    pub(crate) fn failed_again(&mut self, from: DeviceRef, id: &str, resent: Option<u8>) -> u8 {
        if self.failures.len() > MAX_KEPT {
            self.failures.pop_first();
        }
        let count = self.failures.entry((from, id.to_owned())).or_default();
        *count = (*count).max(resent.unwrap_or(0)).saturating_add(1);
        *count
    }
}

fn keep<T>(list: &mut VecDeque<T>, item: T) {
    list.push_back(item);
    if list.len() > MAX_KEPT {
        list.pop_front();
    }
}
