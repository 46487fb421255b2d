//! What the server says of people's devices where it lies: lists that no phone has signed, old ones, devices of the server's
//! own. And phones that are registered anew, of which the server tells the truth. For stories about hostile servers.

use rand::CryptoRng;

use super::{
    AccountId, DeviceRef, Namespace, OperateError, World,
    account::{Account, Device},
    phone::Phone,
};
use crate::{
    clock::Millis,
    crypto::{KeyPair, adv},
    stanza::{Class, Notification, StreamError},
    wire::Node,
};

/// A list of companions and its time, Unix seconds.
pub(super) type SignedList = (u64, Vec<u8>);

/// Which list of a phone's companions others are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListShown {
    /// The one that the phone signed last.
    #[default]
    Signed,
    /// One that names whatever devices there are, signed with a key of the server's own.
    Forged,
    /// The one that the phone signed before the last.
    Stale,
    /// None.
    Missing,
}

impl ListShown {
    /// By its name in the control API.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "signed" => Self::Signed,
            "forged" => Self::Forged,
            "stale" => Self::Stale,
            "missing" => Self::Missing,
            _ => return None,
        })
    }
}

/// A device that is none of the phone's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intruder {
    /// A companion that the phone has unlinked; the server keeps it.
    Unlinked(u16),
    /// A device of the server's own, under this key index; by default the next one, which no list can have named.
    Made(Option<u32>),
}

impl Account {
    /// The list of companions as others are shown it.
    pub(super) fn list_shown(&self) -> Option<SignedList> {
        match self.shown {
            ListShown::Signed => Some(self.key_index_list.clone()),
            ListShown::Forged => self.forged_list.clone(),
            ListShown::Stale => Some(self.stale_list.clone().unwrap_or_else(|| self.key_index_list.clone())),
            ListShown::Missing => None,
        }
    }

    /// Signs for the phone what the phone does not know of.
    fn forge_list(&mut self, rng: &mut dyn CryptoRng) {
        let forger = KeyPair::generate(rng);
        let indexes = self.devices.values().filter_map(|device| device.key_index);
        let valid: Vec<u32> = std::iter::once(0).chain(indexes).collect();
        let timestamp_secs = self.key_index_list.0 + 1;
        let list = adv::DeviceList {
            raw_id: self.raw_id,
            timestamp_secs,
            current: valid.iter().copied().max().unwrap_or(0),
            valid: &valid,
        };
        let signed = adv::key_index_list(&forger, &list, rng);
        let signed = adv::naming_its_signer(&signed, &forger.public).unwrap_or(signed);
        self.forged_list = Some((timestamp_secs, signed));
    }
}

/// `<key-index-list>` as it stands in notifications.
pub(super) fn list_node(list: Option<SignedList>) -> Option<Node> {
    list.map(|(ts, bytes)| Node::new("key-index-list").attr("ts", ts).bytes(bytes))
}

impl World {
    /// From now on others are shown this list of the phone's companions.
    pub(crate) fn show_list(&mut self, phone: AccountId, shown: ListShown) {
        let Self { accounts, rng, .. } = self;
        let Some(account) = accounts.get_mut(phone.0) else { return };
        account.shown = shown;
        if shown == ListShown::Forged {
            account.forge_list(rng);
        }
    }

    /// Puts a device among those of a phone that the phone does not vouch for; its number.
    pub(crate) fn intrude(
        &mut self,
        phone: AccountId,
        intruder: Intruder,
        now: Millis,
    ) -> Result<u16, OperateError> {
        let device = match intruder {
            Intruder::Unlinked(device) => {
                let known = self.device_mut(DeviceRef { account: phone, device });
                let known = known.filter(|known| known.id != 0).ok_or(OperateError::NoSuchDevice)?;
                known.unvouched = true;
                self.sign_key_indexes(phone, now);
                device
            }
            Intruder::Made(key_index) => self.make_intruder(phone, key_index, now)?,
        };
        let Self { accounts, rng, .. } = self;
        let Some(account) = accounts.get_mut(phone.0) else { return Err(OperateError::NoSuchPhone) };
        if account.shown == ListShown::Forged {
            account.forge_list(rng);
        }
        let key_index = account.devices.get(&device).and_then(|device| device.key_index).unwrap_or(0);
        self.tell_device_change(DeviceRef { account: phone, device }, key_index, true, now);
        self.settle(now);
        Ok(device)
    }

    fn make_intruder(
        &mut self,
        phone: AccountId,
        key_index: Option<u32>,
        now: Millis,
    ) -> Result<u16, OperateError> {
        let id = self.next_device(phone).ok_or(OperateError::Conflict("no device number is left"))?;
        let Self { accounts, rng, .. } = self;
        let Some(account) = accounts.get_mut(phone.0) else { return Err(OperateError::NoSuchPhone) };
        let key_index = key_index.unwrap_or(account.key_index + 1);
        let (endpoint, keys) = Phone::generate(rng);
        // Whom it would have to be vouched for by has not signed this.
        let forger = KeyPair::generate(rng);
        let mut secret = [0; 32];
        rand::Rng::fill_bytes(rng, &mut secret);
        let link = adv::Link {
            raw_id: account.raw_id,
            timestamp_secs: now.secs(),
            key_index,
            companion: &endpoint.identity.public,
            secret: &secret,
        };
        let container = adv::link(&forger, &link, rng);
        let accepted = adv::accept(&container, &secret, &endpoint.identity, rng)
            .map_err(|_| OperateError::Conflict("the device could not be made"))?;
        let mut device = Device::new(id, keys);
        device.key_index = Some(key_index);
        device.identity = Some(accepted.signed);
        device.title = "Intruder".into();
        device.unvouched = true;
        account.devices.insert(id, device);
        account.played.insert(id, endpoint);
        Ok(id)
    }

    /// The number's owner registers it anew, on a phone with an identity of its own or, after a restore, with that of
    /// before. No companion is linked any more. `quiet`: the server tells nobody.
    pub(crate) fn register_anew(&mut self, phone: AccountId, same_identity: bool, quiet: bool, now: Millis) {
        let companions: Vec<DeviceRef> =
            self.devices_of(phone).into_iter().filter(|device| device.device != 0).collect();
        let gone: Vec<Device> = companions
            .iter()
            .filter_map(|companion| self.account_mut(phone).devices.remove(&companion.device))
            .collect();
        for conn in gone.into_iter().filter_map(|device| device.conn) {
            self.emit(conn, StreamError::DeviceRemoved.build(), now);
            self.close_soon(conn, now);
        }
        // Whom the sandbox plays has nothing to do with these devices any more, and starts over with a new phone.
        let renewed = (!same_identity).then_some(DeviceRef { account: phone, device: 0 });
        let strangers: Vec<DeviceRef> = companions.into_iter().chain(renewed).collect();
        for account in &mut self.accounts {
            for endpoint in std::iter::once(&mut account.phone).chain(account.played.values_mut()) {
                strangers.iter().for_each(|device| endpoint.forget(*device));
            }
        }
        let Self { accounts, rng, .. } = self;
        let Some(account) = accounts.get_mut(phone.0) else { return };
        account.played.clear();
        account.raw_id = rand::Rng::next_u32(rng) >> 1;
        (account.key_index, account.next_device) = (0, 1);
        if !same_identity {
            let keys = account.phone.renew(rng);
            if let Some(device) = account.devices.get_mut(&0) {
                device.keys = keys;
            }
        }
        account.sign_key_indexes(now, rng);
        if !quiet && !same_identity {
            self.tell_new_identity(phone, now);
        }
        self.settle(now);
    }

    /// `encrypt` notifications to everybody who talks to this account, under both its names.
    fn tell_new_identity(&mut self, phone: AccountId, now: Millis) {
        let account = self.account(phone);
        let names = [account.jid(Namespace::Pn, 0), account.jid(Namespace::Lid, 0)];
        let peers: Vec<AccountId> = account.peers.iter().copied().filter(|peer| *peer != phone).collect();
        let told: Vec<DeviceRef> = peers.into_iter().flat_map(|peer| self.devices_of(peer)).collect();
        for device in told {
            for name in &names {
                let id = self.server_id();
                let lid = names.iter().find(|other| other.is_lid() && name.is_pn());
                let notice = Notification::frame(&id, name, "encrypt", now.secs()).attr_opt("lid", lid);
                self.enqueue(device, notice.child(Node::new("identity")), now);
            }
        }
    }

    /// A companion that the sandbox plays writes to a person; the id.
    pub(crate) fn companion_sends(
        &mut self,
        from: DeviceRef,
        to: &str,
        plaintext: &[u8],
        now: Millis,
    ) -> Result<String, OperateError> {
        let to = self.recipient(to)?;
        let target = self.resolve(&to).ok_or(OperateError::NoSuchRecipient)?;
        let identity = self.device(from).ok_or(OperateError::NoSuchDevice)?.identity.clone();
        let id = self.random_hex(16);
        let namespace = Namespace::of(&to);
        let class = Class::PLAIN;
        let mut stanza = class.stanza(id.clone(), to);
        for device in self.devices_of(target.account) {
            let open = self.endpoint(from).is_some_and(|endpoint| endpoint.has_session(device));
            let bundle = if open { None } else { self.fetch_bundle(device, now) };
            let Self { accounts, rng, .. } = self;
            let Some(account) = accounts.get_mut(from.account.0) else { continue };
            let Some(endpoint) = account.endpoint_mut(from.device) else {
                return Err(OperateError::Conflict("the sandbox does not play that device"));
            };
            if let Some(bundle) = bundle {
                let _ = endpoint.initiate(device, &bundle, rng);
            }
            if let Ok(enc) = endpoint.encrypt(device, plaintext.to_vec(), rng) {
                let jid = self.jid(device, namespace);
                stanza.participants.push((jid, Some(class.enc(enc))));
            }
        }
        stanza.device_identity = identity;
        self.says(from, stanza.build());
        self.settle(now);
        Ok(id)
    }
}
