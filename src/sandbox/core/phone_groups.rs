//! A phone in groups, and with statuses: its own sender keys and those of others, and whom it has told its own.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;

use super::{
    AccountId, DeviceRef, Namespace, World,
    phone::{Kept, Phone},
};
use crate::{
    clock::Millis,
    crypto::{
        padding::{pad, unpad},
        signal::{SenderKeys, SignalError},
    },
    proto,
    stanza::{Class, Enc, EncKind, Incoming, Outgoing, participant_hash},
    wire::{Jid, Node},
};

/// What a phone writes with in one chat, and which devices can read it.
#[derive(Clone, Default)]
pub(crate) struct OwnKey {
    pub(crate) keys: SenderKeys,
    pub(crate) told: BTreeSet<DeviceRef>,
}

/// Sender keys of a phone, by chat.
#[derive(Clone, Default)]
pub(crate) struct GroupKeys {
    pub(crate) own: BTreeMap<String, OwnKey>,
    pub(crate) others: BTreeMap<(String, DeviceRef), SenderKeys>,
}

impl Phone {
    /// Takes in the sender key that a message may carry.
    fn learn_sender_key(&mut self, chat: &Jid, from: DeviceRef, message: &proto::Message) {
        let Some(told) = &message.sender_key_distribution_message else { return };
        if told.group_id.as_deref() != Some(chat.to_wire().as_str()) {
            return;
        }
        let Some(distribution) = &told.axolotl_sender_key_distribution_message else { return };
        let keys = self.group_keys.others.entry((chat.to_wire(), from)).or_default();
        // One that cannot be read shows when the message cannot.
        let _ = keys.process(distribution);
    }

    fn open_in_group(&mut self, chat: &Jid, from: DeviceRef, enc: &Enc) -> Result<Vec<u8>, SignalError> {
        let keys = self.group_keys.others.get_mut(&(chat.to_wire(), from)).ok_or(SignalError::NoSenderKey)?;
        let padded = keys.decrypt(&enc.ciphertext)?;
        unpad(&padded).map(<[u8]>::to_vec).ok_or(SignalError::Malformed)
    }
}

/// A message that is nothing but the key to others.
fn distribution(chat: &Jid, keys: &SenderKeys) -> Option<proto::message::SenderKeyDistribution> {
    Some(proto::message::SenderKeyDistribution {
        group_id: Some(chat.to_wire()),
        axolotl_sender_key_distribution_message: Some(keys.distribution().ok()?),
    })
}

/// Whether there is more in it than keys.
fn says_something(message: &proto::Message) -> bool {
    let mut rest = message.clone();
    rest.sender_key_distribution_message = None;
    rest.message_context_info = None;
    rest != proto::Message::default()
}

impl World {
    /// A message of a group, or a status.
    pub(super) fn phone_reads_chat(
        &mut self,
        phone: DeviceRef,
        sender: DeviceRef,
        message: &Incoming,
        node: &Node,
        now: Millis,
    ) {
        let own = sender.account == phone.account;
        let Self { accounts, rng, .. } = self;
        let Some(account) = accounts.get_mut(phone.account.0) else { return };
        let Some(known) = account.endpoint_mut(phone.device) else { return };
        let (mut content, mut failed, mut again) = (None, None, false);
        // Pairwise first: there may be the key to the other.
        let pairwise = message.encs.iter().filter(|enc| enc.kind != EncKind::SenderKey);
        let common = message.encs.iter().filter(|enc| enc.kind == EncKind::SenderKey);
        for enc in pairwise.chain(common) {
            let opened = match enc.kind {
                EncKind::SenderKey => known.open_in_group(&message.from, sender, enc),
                _ => known.decrypt(sender, enc, rng),
            };
            match opened.map(|bytes| (proto::Message::decode(bytes.as_slice()), bytes)) {
                Ok((Ok(decoded), bytes)) => {
                    if enc.kind != EncKind::SenderKey {
                        known.learn_sender_key(&message.from, sender, &decoded);
                    }
                    if says_something(&decoded) {
                        content = Some((decoded, bytes));
                    } else {
                        again = true;
                    }
                }
                Ok((Err(_), _)) => failed = Some(0),
                Err(SignalError::Duplicate) => again = true,
                Err(error) => failed = Some(error.retry_code()),
            }
        }
        match (content, failed) {
            (Some((decoded, bytes)), _) => {
                known.failures.remove(&(sender, message.id.clone()));
                self.phone_thanks(phone, message, own);
                self.phone_keeps(phone, sender, message, decoded, bytes, now);
            }
            (None, Some(error)) => {
                self.phone_asks_again(phone, sender, message, error);
                self.phone_acks(phone, node);
            }
            (None, None) if again => self.phone_thanks(phone, message, own),
            (None, None) => self.phone_acks(phone, node),
        }
    }

    /// Who reads what a phone writes there, and how they are addressed.
    fn readers(&self, from: AccountId, chat: &Jid) -> Option<(Vec<DeviceRef>, Namespace)> {
        if chat.is_status() {
            // Contacts are whom one has written with.
            let people = self.account(from).peers.iter().copied().chain([from]);
            return Some((people.flat_map(|id| self.devices_of(id)).collect(), Namespace::Pn));
        }
        let group = self.group(chat).ok()?;
        let devices = group.members.keys().flat_map(|id| self.devices_of(*id)).collect();
        Some((devices, group.namespace))
    }

    /// Sends to everybody in a group, or posts a status; the id.
    pub(super) fn phone_sends_chat(
        &mut self,
        from: AccountId,
        chat: &Jid,
        message: &[u8],
        now: Millis,
    ) -> Option<String> {
        let (readers, namespace) = self.readers(from, chat)?;
        let me = DeviceRef { account: from, device: 0 };
        let id = self.random_hex(16);
        let readers: BTreeSet<DeviceRef> = readers.into_iter().collect();
        let Self { accounts, rng, .. } = self;
        let known = accounts.get_mut(from.0)?.phone.group_keys.own.entry(chat.to_wire()).or_default();
        // Whoever has gone must not read on.
        if known.keys.id().is_none() || known.told.iter().any(|device| !readers.contains(device)) {
            *known = OwnKey { keys: SenderKeys::generate(rng), told: BTreeSet::new() };
        }
        let mut key = known.clone();
        let told = proto::Message {
            sender_key_distribution_message: distribution(chat, &key.keys),
            ..Default::default()
        };
        let common = key.keys.encrypt(&pad(message.to_vec(), rng), rng).ok()?;
        let class = Class::of(message);
        let mut stanza = Outgoing {
            direct: Some(class.enc(Enc::new(EncKind::SenderKey, common))),
            ..class.stanza(id.clone(), chat.clone())
        };
        if chat.is_group() {
            let hash = participant_hash(readers.iter().map(|device| self.jid(*device, namespace)));
            stanza.addressing_mode = Some(if namespace == Namespace::Lid { "lid" } else { "pn" }.into());
            stanza.phash = Some(hash);
        }
        for device in readers.iter().filter(|device| **device != me) {
            // Everybody whom a status is for is named in it, with a key or without.
            let enc = if key.told.contains(device) {
                None
            } else {
                self.phone_encrypts(from, *device, told.encode_to_vec(), now)
            };
            key.told.insert(*device);
            if enc.is_some() || chat.is_status() {
                stanza.participants.push((self.jid(*device, namespace), enc));
            }
        }
        let kept = Kept { to: chat.clone(), message: message.to_vec(), peer: false, at: now };
        let phone = &mut self.account_mut(from).phone;
        phone.group_keys.own.insert(chat.to_wire(), key);
        phone.keep_sent(&id, kept);
        self.says(me, stanza.build());
        Some(id)
    }

    /// What is sent to one device that asked again: the message, and the key to the next ones.
    pub(super) fn with_sender_key(
        &mut self,
        phone: AccountId,
        chat: &Jid,
        asking: DeviceRef,
        message: &[u8],
    ) -> Vec<u8> {
        let known = self.account_mut(phone).phone.group_keys.own.get_mut(&chat.to_wire());
        let Some(known) = known else { return message.to_vec() };
        known.told.remove(&asking);
        let mut content = proto::Message::decode(message).unwrap_or_default();
        content.sender_key_distribution_message = distribution(chat, &known.keys);
        content.encode_to_vec()
    }

    /// Whether a device may have a message of this chat again.
    pub(super) fn may_ask_again(&self, phone: AccountId, chat: &Jid, asking: DeviceRef) -> bool {
        self.readers(phone, chat).is_some_and(|(readers, _)| readers.contains(&asking))
    }
}
