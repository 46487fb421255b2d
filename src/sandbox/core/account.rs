//! Accounts and their devices, as the server keeps them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sha2::{Digest as _, Sha256};

use super::{
    ConnId, World, app_state,
    devices::{ListShown, SignedList},
    history::Stage,
    passkey::Passkey,
    phone::Phone,
    played::Played,
    queue::Queue,
    session::Phase,
    standing::Trust,
};
use crate::{
    clock::Millis,
    crypto::{
        PublicKey, adv,
        app_state::Fingerprint,
        signal::{OneTimePreKey, PreKeyBundle, SignedPreKey},
    },
    stanza::participant_hash,
    wire::{Jid, Server},
};

/// Accounts are numbered as they are made and never removed, so an id always finds its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AccountId(pub(crate) usize);

/// One device, perhaps unlinked since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DeviceRef {
    pub(crate) account: AccountId,
    /// 0 is the phone.
    pub(crate) device: u16,
}

/// The two names of every person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Namespace {
    Pn,
    Lid,
}

impl Namespace {
    pub(crate) fn of(jid: &Jid) -> Self {
        if jid.is_lid() { Self::Lid } else { Self::Pn }
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Pn => Self::Lid,
            Self::Lid => Self::Pn,
        }
    }
}

/// AD JIDs carry the device in one byte (protocol 01, 3.6).
pub(crate) const MAX_DEVICE: u16 = 255;
/// Uploads end here; the largest batch any client can be told to send is 65,535.
pub(crate) const MAX_POOL: usize = 65_536;
/// How many of its message ids a device is remembered by.
const MAX_RECENT: usize = 10_000;

pub(crate) struct Account {
    /// Digits.
    pub(crate) pn: String,
    /// Digits, unrelated to the number for whoever looks from outside.
    pub(crate) lid: String,
    /// The push name that others see.
    pub(crate) name: String,
    /// The announced push name that the number derives from.
    pub(crate) origin: Option<String>,
    /// `android`, `iphone` …
    pub(crate) platform: String,
    /// Constant as long as the phone is not registered anew.
    pub(crate) raw_id: u32,
    pub(crate) next_device: u16,
    pub(crate) key_index: u32,
    /// Serialized ADVSignedKeyIndexList and its time, Unix seconds.
    pub(crate) key_index_list: SignedList,
    /// The one before.
    pub(crate) stale_list: Option<SignedList>,
    /// One that the phone did not sign.
    pub(crate) forged_list: Option<SignedList>,
    /// Which of them others are shown.
    pub(crate) shown: ListShown,
    pub(crate) devices: BTreeMap<u16, Device>,
    /// With whom messages were exchanged: they are told of device changes.
    pub(crate) peers: BTreeSet<AccountId>,
    pub(crate) phone: Phone,
    /// Companions that the sandbox plays itself.
    pub(super) played: Played,
    /// As the server keeps it.
    pub(crate) app_state: app_state::Logs,
    /// Privacy settings that are not at their defaults.
    pub(crate) privacy: BTreeMap<String, String>,
    /// Who may reach it, and what it may do.
    pub(crate) trust: Trust,
    /// Wanted of whoever links a companion.
    pub(crate) passkey: Option<Passkey>,
}

/// The public halves that others encrypt to.
pub(crate) struct DeviceKeys {
    pub(crate) registration_id: u32,
    pub(crate) identity: PublicKey,
    pub(crate) signed: SignedPreKey,
    pub(crate) pool: VecDeque<OneTimePreKey>,
}

pub(crate) struct Device {
    pub(crate) id: u16,
    /// Absent on the phone.
    pub(crate) key_index: Option<u32>,
    pub(crate) keys: DeviceKeys,
    /// Absent on the phone, which has no connection.
    pub(crate) noise: Option<PublicKey>,
    /// Serialized ADVSignedDeviceIdentity with both signatures.
    pub(crate) identity: Option<Vec<u8>>,
    /// What the phone shows under linked devices.
    pub(crate) title: String,
    /// DeviceProps.PlatformType.
    pub(crate) platform_type: i32,
    /// It asked for everything when it was linked.
    pub(crate) full_history: bool,
    /// It reads small parts of the history where they are announced.
    pub(crate) inline_history: bool,
    pub(crate) queue: Queue,
    pub(crate) recent: Recent,
    /// Next of the phone's first messages to this companion; `None` once all are sent.
    pub(crate) bootstrap: Option<Bootstrap>,
    /// No connection is taken until then.
    pub(crate) refuse_until: Millis,
    pub(crate) conn: Option<ConnId>,
    pub(crate) phase: Phase,
    pub(crate) available: bool,
    /// Whose presence this connection asked for, and under which name.
    pub(crate) subscribed: BTreeMap<AccountId, Namespace>,
    /// The last low-prekey notification still stands.
    pub(crate) low_told: bool,
    /// The phone does not count it among its companions.
    pub(crate) unvouched: bool,
}

/// Where the phone's first messages to a companion stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bootstrap {
    /// Number of messages sent.
    pub(crate) step: u32,
    /// What comes next.
    pub(crate) stage: Stage,
    /// The one whose receipt is awaited.
    pub(crate) waiting: Option<String>,
}

/// Ids a device has sent, so that a resend of the same is not delivered twice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent {
    order: VecDeque<String>,
    /// Unix seconds of the first time, and whether somebody asked for it again.
    seen: BTreeMap<String, (u64, bool)>,
}

impl Recent {
    /// The time it was first sent; `None` if it is new, or asked for again.
    pub(crate) fn repeated(&self, id: &str) -> Option<u64> {
        self.seen.get(id).filter(|(_, asked)| !asked).map(|(t, _)| *t)
    }

    pub(crate) fn note(&mut self, id: &str, t: u64) {
        if self.seen.insert(id.to_owned(), (t, false)).is_none() {
            self.order.push_back(id.to_owned());
            if self.order.len() > MAX_RECENT
                && let Some(oldest) = self.order.pop_front()
            {
                self.seen.remove(&oldest);
            }
        }
    }

    /// A retry receipt named it: it may come once more, to everybody.
    pub(crate) fn asked_again(&mut self, id: &str) {
        if let Some((_, asked)) = self.seen.get_mut(id) {
            *asked = true;
        }
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = (&str, u64)> {
        self.order.iter().filter_map(|id| Some((id.as_str(), self.seen.get(id)?.0)))
    }
}

impl Device {
    pub(crate) fn new(id: u16, keys: DeviceKeys) -> Self {
        Self {
            id,
            key_index: None,
            keys,
            noise: None,
            identity: None,
            title: String::new(),
            platform_type: 0,
            queue: Queue::default(),
            recent: Recent::default(),
            full_history: false,
            inline_history: false,
            bootstrap: None,
            refuse_until: Millis(0),
            conn: None,
            phase: Phase::Passive,
            available: false,
            subscribed: BTreeMap::new(),
            low_told: false,
            unvouched: false,
        }
    }

    /// The keys to start a session with; a one-time key is handed out once.
    pub(crate) fn take_bundle(&mut self) -> PreKeyBundle {
        PreKeyBundle {
            registration_id: self.keys.registration_id,
            identity: self.keys.identity,
            signed_prekey: self.keys.signed.clone(),
            one_time: self.keys.pool.pop_front(),
        }
    }
}

impl Account {
    pub(crate) fn jid(&self, namespace: Namespace, device: u16) -> Jid {
        let jid = match namespace {
            Namespace::Pn => Jid::pn(self.pn.as_str()),
            Namespace::Lid => Jid::lid(self.lid.as_str()),
        };
        if device == 0 { jid } else { jid.with_device(device) }
    }

    /// A new signed list of who is linked.
    pub(crate) fn sign_key_indexes(&mut self, now: Millis, rng: &mut dyn rand::CryptoRng) {
        let linked = self.devices.values().filter(|d| !d.unvouched).filter_map(|d| d.key_index);
        let valid: Vec<u32> = std::iter::once(0).chain(linked).collect();
        // Strictly rising, so that receivers can tell which list is newer.
        let t = now.secs().max(self.key_index_list.0 + 1);
        let list = adv::DeviceList {
            raw_id: self.raw_id,
            timestamp_secs: t,
            current: self.key_index,
            valid: &valid,
        };
        let signed = (t, adv::key_index_list(&self.phone.identity, &list, rng));
        let before = std::mem::replace(&mut self.key_index_list, signed);
        self.stale_list = Some(before).filter(|(t, _)| *t > 0);
    }

    /// Its devices as the signed list has them.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let linked = self.devices.values().filter(|d| !d.unvouched).filter_map(|d| d.key_index);
        let indexes = std::iter::once(0).chain(linked).collect();
        Fingerprint { raw_id: self.raw_id, current: self.key_index, indexes }
    }

    /// `device_hash` and `dhash`: the participant hash over this account's devices.
    pub(crate) fn device_hash(&self, namespace: Namespace) -> String {
        participant_hash(self.devices.keys().map(|id| self.jid(namespace, *id)))
    }
}

/// Eight bytes of a stable hash as a number.
fn stable(parts: [&str; 2], salt: u64) -> u64 {
    let mut sha = Sha256::new();
    parts.iter().for_each(|part| sha.update(part.as_bytes()));
    sha.update(salt.to_be_bytes());
    let digest: [u8; 32] = sha.finalize().into();
    digest.iter().take(8).fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// A São Paulo mobile number: 55, 11, nine digits of which the first is 9.
pub(crate) fn derived_number(push_name: &str, attempt: u64) -> String {
    format!("55119{:08}", stable(["number", push_name], attempt) % 100_000_000)
}

/// 15 digits without a leading zero.
pub(crate) fn derived_lid(pn: &str, attempt: u64) -> String {
    const SMALLEST: u64 = 100_000_000_000_000;
    (SMALLEST + stable(["lid", pn], attempt) % (9 * SMALLEST)).to_string()
}

impl World {
    pub(super) fn account(&self, id: AccountId) -> &Account {
        // Ids are made only by `add_account`, and accounts are never removed.
        &self.accounts[id.0]
    }

    pub(super) fn account_mut(&mut self, id: AccountId) -> &mut Account {
        &mut self.accounts[id.0]
    }

    pub(super) fn device(&self, device: DeviceRef) -> Option<&Device> {
        self.account(device.account).devices.get(&device.device)
    }

    pub(super) fn device_mut(&mut self, device: DeviceRef) -> Option<&mut Device> {
        self.account_mut(device.account).devices.get_mut(&device.device)
    }

    pub(super) fn jid(&self, device: DeviceRef, namespace: Namespace) -> Jid {
        self.account(device.account).jid(namespace, device.device)
    }

    /// Whom an address names. The device need not exist.
    pub(super) fn resolve(&self, jid: &Jid) -> Option<DeviceRef> {
        let account = match jid.server() {
            Server::Pn | Server::LegacyPn => self.by_pn.get(jid.user()),
            Server::Lid => self.by_lid.get(jid.user()),
            _ => None,
        };
        account.map(|account| DeviceRef { account: *account, device: jid.device() })
    }

    /// All devices of an account, the phone first.
    pub(super) fn devices_of(&self, account: AccountId) -> Vec<DeviceRef> {
        self.account(account).devices.keys().map(|device| DeviceRef { account, device: *device }).collect()
    }

    /// A new account with its phone.
    pub(super) fn add_account(
        &mut self,
        pn: String,
        name: Option<String>,
        origin: Option<String>,
        platform: String,
        now: Millis,
    ) -> AccountId {
        let id = AccountId(self.accounts.len());
        let mut attempt = 0;
        let mut lid = derived_lid(&pn, attempt);
        while self.by_lid.contains_key(&lid) {
            attempt += 1;
            lid = derived_lid(&pn, attempt);
        }
        let (phone, keys) = Phone::generate(&mut self.rng);
        let raw_id = rand::Rng::next_u32(&mut self.rng) >> 1;
        let trust = Trust::of(name.as_deref(), &mut self.rng);
        let mut account = Account {
            name: name
                .unwrap_or_else(|| format!("Phone {}", pn.get(pn.len().saturating_sub(4)..).unwrap_or(&pn))),
            pn: pn.clone(),
            lid: lid.clone(),
            origin,
            platform,
            raw_id,
            next_device: 1,
            key_index: 0,
            key_index_list: (0, Vec::new()),
            stale_list: None,
            forged_list: None,
            shown: ListShown::Signed,
            devices: BTreeMap::from([(0, Device::new(0, keys))]),
            peers: BTreeSet::new(),
            phone,
            played: Played::new(),
            app_state: app_state::Logs::new(),
            privacy: BTreeMap::new(),
            trust,
            passkey: None,
        };
        account.sign_key_indexes(now, &mut self.rng);
        account.first_sync_key(now, &mut self.rng);
        self.by_pn.insert(pn, id);
        self.by_lid.insert(lid, id);
        self.accounts.push(account);
        id
    }

    /// The account whose number derives from a push name, made when it is asked for first.
    pub(super) fn account_for_push_name(&mut self, push_name: Option<&str>, now: Millis) -> AccountId {
        let Some(name) = push_name.filter(|name| !name.is_empty()) else {
            let pn = self.free_number();
            return self.add_account(pn, None, None, "android".into(), now);
        };
        let mut attempt = 0;
        loop {
            let pn = derived_number(name, attempt);
            match self.by_pn.get(&pn) {
                Some(id) if self.account(*id).origin.as_deref() == Some(name) => return *id,
                Some(_) => attempt += 1,
                None => {
                    let owned = Some(name.to_owned());
                    return self.add_account(pn, owned.clone(), owned, "android".into(), now);
                }
            }
        }
    }

    /// A random number that nobody has.
    pub(super) fn free_number(&mut self) -> String {
        loop {
            let pn = format!("55119{:08}", rand::Rng::next_u64(&mut self.rng) % 100_000_000);
            if !self.by_pn.contains_key(&pn) {
                return pn;
            }
        }
    }
}
