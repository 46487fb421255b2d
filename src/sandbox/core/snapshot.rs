//! The world as JSON and back: accounts, devices, phones, sessions and queues. Connections and timers are not kept;
//! whoever was connected logs in again.

mod saved_groups;
mod saved_newsletters;

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::{
    World,
    account::{Account, AccountId, Bootstrap, Device, DeviceKeys, DeviceRef, Recent},
    app_state::{Entry, Log},
    history::Stage,
    past::Past,
    phone::{Kept, Noticed, Phone, Received},
    queue::Queue,
    standing::Trust,
};
use crate::{
    clock::Millis,
    crypto::{
        KeyPair, PublicKey,
        app_state::{Collection, Fingerprint, SyncKey},
        signal::{OneTimePreKey, Session, SignedPreKey},
    },
    proto::message::AppStateSyncKey,
    stanza::ReceiptKind,
    wire::{Jid, Node, codec},
};

/// Raised when a member changes its meaning.
const VERSION: u32 = 1;
/// Messages and receipts kept a phone; more would make every save slow.
const KEPT: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("the saved state is of another version")]
    Version,
    #[error("the saved state is damaged: {0}")]
    Damaged(&'static str),
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Snapshot {
    version: u32,
    /// How often this state was started from; keeps randomness apart under one seed.
    pub(crate) starts: u64,
    next_id: u64,
    accounts: Vec<SavedAccount>,
    #[serde(default)]
    groups: Vec<saved_groups::SavedGroup>,
    /// Since there are newsletters.
    #[serde(default)]
    newsletters: Vec<saved_newsletters::SavedNewsletter>,
    #[serde(default)]
    profiles: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
struct SavedAccount {
    pn: String,
    lid: String,
    name: String,
    origin: Option<String>,
    platform: String,
    raw_id: u32,
    next_device: u16,
    key_index: u32,
    key_index_list: (u64, String),
    peers: Vec<usize>,
    devices: Vec<SavedDevice>,
    phone: SavedPhone,
    /// Since companions can be played.
    #[serde(default)]
    played: Vec<(u16, SavedPhone)>,
    /// Since there is app state.
    #[serde(default)]
    app_state: Vec<SavedLog>,
    /// Since it can be changed.
    #[serde(default)]
    privacy: BTreeMap<String, String>,
    /// Since there are tokens.
    #[serde(default)]
    trust: Trust,
    /// Since there are passkeys.
    #[serde(default)]
    passkey: Option<super::passkey::Passkey>,
}

#[derive(Serialize, Deserialize)]
struct SavedLog {
    collection: String,
    /// Each with its external list, where it has one.
    patches: Vec<(String, Option<String>)>,
    snapshot: Option<(u64, String)>,
}

#[derive(Serialize, Deserialize)]
struct SavedDevice {
    id: u16,
    key_index: Option<u32>,
    registration_id: u32,
    identity_key: String,
    signed: SavedSigned,
    pool: Vec<(u32, String)>,
    noise: Option<String>,
    identity: Option<String>,
    title: String,
    platform_type: i32,
    queue: Vec<SavedStanza>,
    recent: Vec<(String, u64)>,
    /// Step of the phone's first messages.
    bootstrap: Option<u32>,
    /// Since there is history.
    #[serde(default)]
    stage: Option<Stage>,
    #[serde(default)]
    full_history: bool,
    #[serde(default)]
    inline_history: bool,
    /// Since there are devices that their phone knows nothing of.
    #[serde(default)]
    unvouched: bool,
}

#[derive(Serialize, Deserialize)]
struct SavedSigned {
    id: u32,
    key: String,
    signature: String,
}

#[derive(Serialize, Deserialize)]
struct SavedStanza {
    node: String,
    attempts: u32,
}

#[derive(Serialize, Deserialize)]
struct SavedPhone {
    identity: String,
    registration_id: u32,
    signed: String,
    signed_signature: String,
    one_time: Vec<(u32, String)>,
    next_key: u32,
    sessions: Vec<(usize, u16, String)>,
    #[serde(default)]
    group_keys: saved_groups::SavedKeys,
    online: bool,
    /// Since there is history.
    #[serde(default)]
    past: Option<Past>,
    /// The first key, from before there were several.
    #[serde(default)]
    app_state_key: String,
    /// Serialized AppStateSyncKeys, oldest first.
    #[serde(default)]
    sync_keys: Vec<String>,
    received: u64,
    inbox: Vec<SavedMessage>,
    receipts: Vec<SavedReceipt>,
    sent: Vec<SavedSent>,
}

#[derive(Serialize, Deserialize)]
struct SavedMessage {
    id: String,
    chat: String,
    sender: String,
    sender_device: u16,
    from_me: bool,
    t: u64,
    message: String,
}

#[derive(Serialize, Deserialize)]
struct SavedReceipt {
    id: String,
    from: String,
    kind: Option<String>,
    t: u64,
}

#[derive(Serialize, Deserialize)]
struct SavedSent {
    id: String,
    to: String,
    message: String,
    peer: bool,
    at: u64,
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn bytes(text: &str) -> Result<Vec<u8>, SnapshotError> {
    BASE64_STANDARD.decode(text).map_err(|_| SnapshotError::Damaged("base64"))
}

fn array<const N: usize>(text: &str) -> Result<[u8; N], SnapshotError> {
    bytes(text)?.try_into().map_err(|_| SnapshotError::Damaged("length of a key"))
}

fn public(text: &str) -> Result<PublicKey, SnapshotError> {
    array(text).map(PublicKey::from_bytes)
}

fn pair(text: &str) -> Result<KeyPair, SnapshotError> {
    array(text).map(KeyPair::from_private)
}

fn jid(text: &str) -> Result<Jid, SnapshotError> {
    text.parse().map_err(|_| SnapshotError::Damaged("JID"))
}

/// An account that exists, of so many.
fn account_id(n: usize, accounts: usize) -> Result<AccountId, SnapshotError> {
    if n < accounts { Ok(AccountId(n)) } else { Err(SnapshotError::Damaged("account number")) }
}

fn last<T>(items: impl ExactSizeIterator<Item = T>) -> impl Iterator<Item = T> {
    let skip = items.len().saturating_sub(KEPT);
    items.skip(skip)
}

impl World {
    pub(crate) fn snapshot(&self, starts: u64) -> Snapshot {
        let accounts = self.accounts.iter().map(SavedAccount::of).collect();
        let groups = self.groups.values().map(saved_groups::SavedGroup::of).collect();
        let newsletters = self.newsletters.values().map(saved_newsletters::SavedNewsletter::of).collect();
        let profiles = serde_json::to_value(&self.profiles).unwrap_or_default();
        Snapshot { version: VERSION, starts, next_id: self.next_id, accounts, groups, newsletters, profiles }
    }

    /// Fills an empty world.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        if snapshot.version != VERSION {
            return Err(SnapshotError::Version);
        }
        self.next_id = snapshot.next_id;
        let count = snapshot.accounts.len();
        for (n, saved) in snapshot.accounts.iter().enumerate() {
            let account = saved.restore(count)?;
            self.by_pn.insert(account.pn.clone(), AccountId(n));
            self.by_lid.insert(account.lid.clone(), AccountId(n));
            self.accounts.push(account);
        }
        if !snapshot.profiles.is_null() {
            let profiles = serde_json::from_value(snapshot.profiles.clone());
            self.profiles = profiles.map_err(|_| SnapshotError::Damaged("profiles"))?;
            if !self.profiles.fit(count) {
                return Err(SnapshotError::Damaged("account number"));
            }
        }
        for saved in &snapshot.groups {
            let group = saved.restore(count)?;
            self.groups.insert(group.jid.user().to_owned(), group);
        }
        for saved in &snapshot.newsletters {
            let newsletter = saved.restore(count)?;
            self.newsletters.insert(newsletter.jid.user().to_owned(), newsletter);
        }
        Ok(())
    }
}

impl SavedAccount {
    fn of(account: &Account) -> Self {
        Self {
            pn: account.pn.clone(),
            lid: account.lid.clone(),
            name: account.name.clone(),
            origin: account.origin.clone(),
            platform: account.platform.clone(),
            raw_id: account.raw_id,
            next_device: account.next_device,
            key_index: account.key_index,
            key_index_list: (account.key_index_list.0, text(&account.key_index_list.1)),
            peers: account.peers.iter().map(|peer| peer.0).collect(),
            devices: account.devices.values().map(SavedDevice::of).collect(),
            phone: SavedPhone::of(&account.phone),
            played: account.played.iter().map(|(id, one)| (*id, SavedPhone::of(one))).collect(),
            app_state: account.app_state.iter().map(SavedLog::of).collect(),
            privacy: account.privacy.clone(),
            trust: account.trust.clone(),
            passkey: account.passkey.clone(),
        }
    }

    fn restore(&self, accounts: usize) -> Result<Account, SnapshotError> {
        let account_id = |n: usize| account_id(n, accounts);
        let devices =
            self.devices.iter().map(|d| Ok((d.id, d.restore()?))).collect::<Result<BTreeMap<_, _>, _>>()?;
        let mut account = Account {
            pn: self.pn.clone(),
            lid: self.lid.clone(),
            name: self.name.clone(),
            origin: self.origin.clone(),
            platform: self.platform.clone(),
            raw_id: self.raw_id,
            next_device: self.next_device,
            key_index: self.key_index,
            key_index_list: (self.key_index_list.0, bytes(&self.key_index_list.1)?),
            // Lies are not kept over a restart.
            stale_list: None,
            forged_list: None,
            shown: super::ListShown::Signed,
            devices,
            peers: self.peers.iter().map(|n| account_id(*n)).collect::<Result<_, _>>()?,
            phone: self.phone.restore(account_id)?,
            played: self
                .played
                .iter()
                .map(|(id, saved)| Ok((*id, saved.restore(account_id)?)))
                .collect::<Result<_, _>>()?,
            app_state: self.app_state.iter().map(SavedLog::restore).collect::<Result<_, _>>()?,
            privacy: self.privacy.clone(),
            trust: self.trust.clone(),
            passkey: self.passkey.clone(),
        };
        account.replay_app_state().map_err(SnapshotError::Damaged)?;
        Ok(account)
    }
}

impl SavedLog {
    fn of((collection, log): (&Collection, &Log)) -> Self {
        let entry = |entry: &Entry| (text(&entry.patch), entry.external.as_ref().map(text));
        Self {
            collection: collection.as_str().to_owned(),
            patches: log.patches.iter().map(entry).collect(),
            snapshot: log.snapshot.as_ref().map(|(version, blob)| (*version, text(blob))),
        }
    }

    fn restore(&self) -> Result<(Collection, Log), SnapshotError> {
        let collection = Collection::parse(&self.collection).ok_or(SnapshotError::Damaged("collection"))?;
        let entry = |(patch, external): &(String, Option<String>)| {
            Ok(Entry { patch: bytes(patch)?, external: external.as_deref().map(bytes).transpose()? })
        };
        let snapshot = self.snapshot.as_ref().map(|(version, blob)| Ok((*version, bytes(blob)?)));
        let patches = self.patches.iter().map(entry).collect::<Result<_, _>>()?;
        Ok((collection, Log { patches, snapshot: snapshot.transpose()? }))
    }
}

impl SavedDevice {
    fn of(device: &Device) -> Self {
        let keys = &device.keys;
        let stanza = |node: &Node| codec::encode(node).map(text).ok();
        Self {
            id: device.id,
            key_index: device.key_index,
            registration_id: keys.registration_id,
            identity_key: text(keys.identity.as_bytes()),
            signed: SavedSigned {
                id: keys.signed.id,
                key: text(keys.signed.key.as_bytes()),
                signature: text(keys.signed.signature),
            },
            pool: keys.pool.iter().map(|key| (key.id, text(key.key.as_bytes()))).collect(),
            noise: device.noise.map(|key| text(key.as_bytes())),
            identity: device.identity.as_ref().map(text),
            title: device.title.clone(),
            platform_type: device.platform_type,
            queue: device
                .queue
                .entries()
                .filter(|entry| entry.expires.is_none())
                .filter_map(|e| Some(SavedStanza { node: stanza(&e.node)?, attempts: e.attempts }))
                .collect(),
            recent: device.recent.ids().map(|(id, t)| (id.to_owned(), t)).collect(),
            bootstrap: device.bootstrap.as_ref().map(|bootstrap| bootstrap.step),
            stage: device.bootstrap.as_ref().map(|bootstrap| bootstrap.stage),
            full_history: device.full_history,
            inline_history: device.inline_history,
            unvouched: device.unvouched,
        }
    }

    fn restore(&self) -> Result<Device, SnapshotError> {
        let one_time = |(id, key): &(u32, String)| Ok(OneTimePreKey { id: *id, key: public(key)? });
        let keys = DeviceKeys {
            registration_id: self.registration_id,
            identity: public(&self.identity_key)?,
            signed: SignedPreKey {
                id: self.signed.id,
                key: public(&self.signed.key)?,
                signature: array(&self.signed.signature)?,
            },
            pool: self.pool.iter().map(one_time).collect::<Result<_, _>>()?,
        };
        let mut queue = Queue::default();
        for stanza in &self.queue {
            let node = codec::decode(&bytes(&stanza.node)?).map_err(|_| SnapshotError::Damaged("stanza"))?;
            queue.restore(node, stanza.attempts);
        }
        let mut recent = Recent::default();
        self.recent.iter().for_each(|(id, t)| recent.note(id, *t));
        let mut device = Device::new(self.id, keys);
        device.key_index = self.key_index;
        device.noise = self.noise.as_deref().map(public).transpose()?;
        device.identity = self.identity.as_deref().map(bytes).transpose()?;
        device.title.clone_from(&self.title);
        device.platform_type = self.platform_type;
        device.queue = queue;
        device.recent = recent;
        device.full_history = self.full_history;
        device.inline_history = self.inline_history;
        device.unvouched = self.unvouched;
        let stage = self.stage.unwrap_or_default();
        device.bootstrap = self.bootstrap.map(|step| Bootstrap { step, stage, waiting: None });
        Ok(device)
    }
}

impl SavedPhone {
    fn of(phone: &Phone) -> Self {
        let inbox = last(phone.inbox.iter()).map(|m| SavedMessage {
            id: m.id.clone(),
            chat: m.chat.to_wire(),
            sender: m.sender.to_wire(),
            sender_device: m.sender_device,
            from_me: m.from_me,
            t: m.t,
            message: text(&m.message),
        });
        let receipts = last(phone.receipts.iter()).map(|r| SavedReceipt {
            id: r.id.clone(),
            from: r.from.to_wire(),
            kind: r.kind.as_str().map(str::to_owned),
            t: r.t,
        });
        let sent = last(phone.sent_order.iter()).filter_map(|id| {
            let kept = phone.sent.get(id)?;
            Some(SavedSent {
                id: id.clone(),
                to: kept.to.to_wire(),
                message: text(&kept.message),
                peer: kept.peer,
                at: kept.at.0,
            })
        });
        Self {
            identity: text(phone.identity.private.as_bytes()),
            registration_id: phone.registration_id,
            signed: text(phone.signed.private.as_bytes()),
            signed_signature: text(phone.signed_signature),
            one_time: phone.one_time.iter().map(|(id, key)| (*id, text(key.private.as_bytes()))).collect(),
            next_key: phone.next_key,
            sessions: phone.sessions.iter().map(|(d, s)| (d.account.0, d.device, text(s.encode()))).collect(),
            group_keys: saved_groups::SavedKeys::of(&phone.group_keys),
            online: phone.online,
            past: phone.past,
            app_state_key: String::new(),
            sync_keys: phone.sync_keys.iter().map(|key| text(key.shared().encode_to_vec())).collect(),
            received: phone.received,
            inbox: inbox.collect(),
            receipts: receipts.collect(),
            sent: sent.collect(),
        }
    }

    fn restore(
        &self,
        account_id: impl Fn(usize) -> Result<AccountId, SnapshotError>,
    ) -> Result<Phone, SnapshotError> {
        let session = |(account, device, bytes64): &(usize, u16, String)| {
            let with = DeviceRef { account: account_id(*account)?, device: *device };
            let session = Session::decode(&bytes(bytes64)?).map_err(|_| SnapshotError::Damaged("session"))?;
            Ok((with, session))
        };
        let mut phone = Phone {
            identity: pair(&self.identity)?,
            registration_id: self.registration_id,
            signed: pair(&self.signed)?,
            signed_signature: array(&self.signed_signature)?,
            one_time: self
                .one_time
                .iter()
                .map(|(id, key)| Ok((*id, pair(key)?)))
                .collect::<Result<_, _>>()?,
            next_key: self.next_key,
            sessions: self.sessions.iter().map(session).collect::<Result<_, _>>()?,
            group_keys: self.group_keys.restore(&account_id)?,
            online: self.online,
            past: self.past,
            sync_keys: self.keys()?,
            app_state: BTreeMap::new(),
            inbox: self.inbox.iter().map(SavedMessage::restore).collect::<Result<_, _>>()?,
            received: self.received,
            receipts: self.receipts.iter().map(SavedReceipt::restore).collect::<Result<_, _>>()?,
            sent: BTreeMap::new(),
            sent_order: std::collections::VecDeque::new(),
            failures: BTreeMap::new(),
        };
        for sent in &self.sent {
            let kept = Kept {
                to: jid(&sent.to)?,
                message: bytes(&sent.message)?,
                peer: sent.peer,
                at: Millis(sent.at),
            };
            phone.keep_sent(&sent.id, kept);
        }
        Ok(phone)
    }
}

impl SavedPhone {
    fn keys(&self) -> Result<Vec<SyncKey>, SnapshotError> {
        let damaged = SnapshotError::Damaged("app state key");
        if self.sync_keys.is_empty() && !self.app_state_key.is_empty() {
            let data = array(&self.app_state_key)?;
            return Ok(vec![SyncKey::new(vec![0, 0, 0, 0, 0, 1], data, Some(Fingerprint::default()), None)]);
        }
        let key = |saved: &String| {
            let key = AppStateSyncKey::decode(bytes(saved)?.as_slice()).map_err(|_| damaged)?;
            let id = key.key_id.as_ref().and_then(|id| id.key_id.as_deref()).ok_or(damaged)?;
            SyncKey::of(id, &key).ok_or(damaged)
        };
        self.sync_keys.iter().map(key).collect()
    }
}

impl SavedMessage {
    fn restore(&self) -> Result<Received, SnapshotError> {
        Ok(Received {
            id: self.id.clone(),
            chat: jid(&self.chat)?,
            sender: jid(&self.sender)?,
            sender_device: self.sender_device,
            from_me: self.from_me,
            t: self.t,
            message: bytes(&self.message)?,
        })
    }
}

impl SavedReceipt {
    fn restore(&self) -> Result<Noticed, SnapshotError> {
        Ok(Noticed {
            id: self.id.clone(),
            from: jid(&self.from)?,
            kind: ReceiptKind::parse(self.kind.as_deref()),
            t: self.t,
        })
    }
}
