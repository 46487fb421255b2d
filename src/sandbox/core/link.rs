//! Linking and unlinking companions: the registration connection, the scan, the list of who is linked.

use prost::Message as _;

use super::{
    Conn, ConnId, ConnState, Namespace, RESTART_PAUSE, Timer, World,
    account::{AccountId, Bootstrap, Device, DeviceKeys, DeviceRef, MAX_DEVICE},
    devices::list_node,
    link_code,
    operate::OperateError,
    passkey,
};
use crate::{
    clock::Millis,
    crypto::{PublicKey, adv, signal::SignedPreKey},
    proto,
    stanza::{
        Failure, Iq, IqKind, LinkCodeQuery, Notification, PairDevice, PairDeviceSign, PairSuccess,
        PasskeyQuery, QrCode, StreamError,
    },
    wire::{Jid, Node},
};

/// How many refs a registration gets; whatsmeow's timing depends on exactly six.
const REFS: usize = 6;

/// A registration connection.
pub(super) struct Pairing {
    pub(super) refs: Vec<String>,
    pair_device_id: String,
    keys: Registration,
    pub(super) push_name: Option<String>,
    /// A phone scanned; the companion has yet to sign.
    pending: Option<Pending>,
    /// The companion shows a code to be typed.
    pub(super) code: Option<link_code::Shown>,
    /// A phone took a code, and a passkey has to sign.
    pub(super) passkey: Option<Box<passkey::Ceremony>>,
}

impl Pairing {
    /// The Signal identity in the registration.
    pub(super) const fn identity(&self) -> PublicKey {
        self.keys.identity
    }

    /// No phone has vouched for it yet.
    pub(super) const fn is_open(&self) -> bool {
        self.pending.is_none() && self.passkey.is_none()
    }
}

/// What the companion said of itself in its payload.
#[derive(Clone)]
struct Registration {
    registration_id: u32,
    identity: PublicKey,
    signed: SignedPreKey,
    title: String,
    platform_type: i32,
    full_history: bool,
    inline_history: bool,
}

#[derive(Clone)]
struct Pending {
    id: String,
    device: DeviceRef,
    key_index: u32,
}

impl World {
    /// Decides what a fresh connection is: a registration, a login, or neither.
    pub(super) fn admit(&mut self, id: ConnId, payload: &[u8], now: Millis) {
        let Ok(payload) = proto::ClientPayload::decode(payload) else {
            self.journal.refuse("client payload that does not parse");
            return self.fail(id, 400, now);
        };
        if let Some(data) = &payload.device_pairing_data {
            match Registration::read(data) {
                Ok(keys) => self.start_pairing(id, keys, payload.push_name, now),
                Err(what) => {
                    self.journal.refuse(what);
                    self.fail(id, 400, now);
                }
            }
        } else {
            self.login(id, &payload, now);
        }
    }

    pub(super) fn fail(&mut self, id: ConnId, reason: u16, now: Millis) {
        self.emit(id, Failure { reason, ..Failure::default() }.build(), now);
        self.close_soon(id, now);
    }

    fn start_pairing(&mut self, id: ConnId, keys: Registration, push_name: Option<String>, now: Millis) {
        let refs: Vec<String> = (0..REFS).map(|_| format!("2@{}", self.random_hex(32))).collect();
        let pair_device_id = self.server_id();
        let stanza = PairDevice { id: pair_device_id.clone(), refs: refs.clone() }.build();
        if let Some(conn) = self.conns.get_mut(&id) {
            let pairing =
                Pairing { refs, pair_device_id, keys, push_name, pending: None, code: None, passkey: None };
            conn.state = ConnState::Pairing(Box::new(pairing));
        }
        self.emit(id, stanza, now);
    }

    /// A node on a registration connection.
    pub(super) fn pairing_node(&mut self, id: ConnId, node: &Node, now: Millis) {
        match node.tag.as_ref() {
            "iq" => {}
            // unified_session follows the answer to pair-success.
            "ib" => return,
            // Of what was said of a code on show.
            "ack" if node.text("class") == Some("notification") => return,
            // Baileys tells of a change of its name, which it has none of yet.
            "presence" if !node.has("type") => return,
            _ => return self.journal.refuse("stanza before the login"),
        }
        let Ok(iq) = Iq::parse(node) else { return self.journal.refuse("iq without id or type") };
        match iq.kind {
            IqKind::Get if iq.xmlns.as_deref() == Some("w:p") => self.emit(id, Iq::result(&iq.id), now),
            IqKind::Get | IqKind::Set if PasskeyQuery::is(node) => self.passkey_query(id, &iq, node, now),
            IqKind::Set if LinkCodeQuery::is(node) => self.link_code_query(id, &iq, node, now),
            IqKind::Get | IqKind::Set => {
                self.journal.unknown_query(&super::iq::describe(node));
                self.emit(id, Iq::error(&iq.id, 501, "feature-not-implemented"), now);
            }
            IqKind::Result | IqKind::Error => self.pairing_answer(id, &iq, node, now),
        }
    }

    fn pairing_answer(&mut self, id: ConnId, iq: &Iq, node: &Node, now: Millis) {
        let Some(Conn { state: ConnState::Pairing(pairing), .. }) = self.conns.get_mut(&id) else { return };
        if iq.id == pairing.pair_device_id {
            return;
        }
        let Some(pending) = pairing.pending.take_if(|pending| pending.id == iq.id) else {
            return self.journal.refuse("answer to nothing that was asked");
        };
        let keys = pairing.keys.clone();
        if iq.kind == IqKind::Error {
            return self.close_soon(id, now);
        }
        let Ok(sign) = PairDeviceSign::parse(node) else {
            self.journal.refuse("pair-device-sign that does not parse");
            return self.close_soon(id, now);
        };
        let account_key = self.account(pending.device.account).phone.identity.public;
        let complete = adv::complete(&sign.identity, &keys.identity, &account_key);
        let identity = match complete {
            Ok(identity) if sign.key_index == pending.key_index => identity,
            _ if !self.settings.adv_strict => sign.identity,
            _ => {
                self.journal.refuse("device identity that does not verify");
                return self.close_soon(id, now);
            }
        };
        self.register(id, &pending, keys, identity, now);
        self.at(now + RESTART_PAUSE, Timer::Restart(id));
    }

    fn register(
        &mut self,
        id: ConnId,
        pending: &Pending,
        keys: Registration,
        identity: Vec<u8>,
        now: Millis,
    ) {
        let Some(conn) = self.conns.get(&id) else { return };
        let noise = conn.noise;
        let DeviceRef { account, device } = pending.device;
        let pool = std::collections::VecDeque::new();
        let mut new = Device::new(
            device,
            DeviceKeys {
                registration_id: keys.registration_id,
                identity: keys.identity,
                signed: keys.signed,
                pool,
            },
        );
        new.key_index = Some(pending.key_index);
        new.noise = Some(noise);
        new.identity = Some(identity);
        new.title = keys.title;
        new.platform_type = keys.platform_type;
        new.full_history = keys.full_history;
        new.inline_history = keys.inline_history;
        new.bootstrap = Some(Bootstrap::default());
        self.account_mut(account).devices.insert(device, new);
        self.sign_key_indexes(account, now);
        self.tell_device_change(pending.device, pending.key_index, true, now);
    }

    pub(super) fn sign_key_indexes(&mut self, account: AccountId, now: Millis) {
        // Disjoint borrows: the account is changed, the randomness is the world's.
        let Self { accounts, rng, .. } = self;
        if let Some(account) = accounts.get_mut(account.0) {
            account.sign_key_indexes(now, rng);
        }
    }

    /// A phone scans a code. Which: `phone`, or the one whose number derives from the announced push name.
    pub(super) fn scan(
        &mut self,
        qr: &str,
        phone: Option<AccountId>,
        now: Millis,
    ) -> Result<AccountId, OperateError> {
        let qr = QrCode::parse(qr).map_err(|_| OperateError::BadRequest("this is no pairing code"))?;
        let waiting = self.conns.iter().find_map(|(id, conn)| match &conn.state {
            ConnState::Pairing(p) if !conn.closing && p.refs.contains(&qr.reference) => Some((*id, p)),
            _ => None,
        });
        let Some((conn, pairing)) = waiting else {
            let expired = self.dead_refs.contains(&qr.reference);
            return Err(if expired { OperateError::Expired } else { OperateError::NoSocket });
        };
        if !pairing.is_open() {
            return Err(OperateError::Conflict("this code has been scanned already"));
        }
        let push_name = pairing.push_name.clone();
        let account = phone.unwrap_or_else(|| self.account_for_push_name(push_name.as_deref(), now));
        self.vouch_or_demand(conn, account, phone.is_some(), &qr.adv_secret, now)?;
        Ok(account)
    }

    /// A phone vouches for the companion on this connection. `named`: the account takes the name that the companion
    /// announced.
    pub(super) fn vouch(
        &mut self,
        conn: ConnId,
        account: AccountId,
        named: bool,
        secret: &[u8; 32],
        now: Millis,
    ) -> Result<(), OperateError> {
        let Some(Conn { state: ConnState::Pairing(pairing), .. }) = self.conns.get(&conn) else {
            return Err(OperateError::NoSocket);
        };
        let identity = pairing.keys.identity;
        let push_name = pairing.push_name.clone();
        if named && let Some(name) = push_name.filter(|name| !name.is_empty()) {
            self.account_mut(account).name = name;
        }
        self.keep_name(account, now);
        self.keep_salt(account, now);
        let device = self.next_device(account).ok_or(OperateError::Conflict("no device number is left"))?;
        self.account_mut(account).key_index += 1;
        let id = self.server_id();
        let business_name = self.business_name(account);
        let Self { accounts, rng, .. } = self;
        let Some(owner) = accounts.get(account.0) else { return Err(OperateError::NoSuchPhone) };
        let link = adv::Link {
            raw_id: owner.raw_id,
            timestamp_secs: now.secs(),
            key_index: owner.key_index,
            companion: &identity,
            secret,
        };
        let container = adv::link(&owner.phone.identity, &link, rng);
        let stanza = PairSuccess {
            id: id.clone(),
            t: Some(now.secs()),
            container,
            jid: owner.jid(Namespace::Pn, device),
            lid: Some(owner.jid(Namespace::Lid, device)),
            platform: Some(owner.platform.clone()),
            business_name,
        };
        let key_index = owner.key_index;
        if let Some(Conn { state: ConnState::Pairing(pairing), .. }) = self.conns.get_mut(&conn) {
            pairing.pending = Some(Pending { id, device: DeviceRef { account, device }, key_index });
        }
        self.emit(conn, stanza.build(), now);
        Ok(())
    }

    /// Numbers rise, so that an old session is not taken for a new device's; at the end the gaps are used.
    pub(super) fn next_device(&mut self, account: AccountId) -> Option<u16> {
        let account = self.account_mut(account);
        let free = |n: &u16| !account.devices.contains_key(n);
        let device = (account.next_device..=MAX_DEVICE).find(free).or_else(|| (1..=MAX_DEVICE).find(free))?;
        account.next_device = device + 1;
        Some(device)
    }

    /// Removes a companion, tells it if it is connected, and tells everybody else.
    pub(super) fn unlink(&mut self, device: DeviceRef, now: Millis) -> bool {
        if device.device == 0 {
            return false;
        }
        let Some(gone) = self.account_mut(device.account).devices.remove(&device.device) else {
            return false;
        };
        self.sign_key_indexes(device.account, now);
        let account = self.account_mut(device.account);
        account.phone.forget(device);
        account.played.remove(&device.device);
        if let Some(conn) = gone.conn {
            self.emit(conn, StreamError::DeviceRemoved.build(), now);
            self.close_soon(conn, now);
        }
        self.tell_device_change(device, gone.key_index.unwrap_or(0), false, now);
        if self.account(device.account).phone.online {
            self.phone_looks_at_its_key(device.account, now);
        }
        true
    }

    /// `devices` to those who talk to this account and to its own companions, and the whole list to the latter.
    ///
    /// In both namespaces: whatsmeow and Baileys keep a device list under the name it was asked for, and act on a
    /// change only if it comes under that name. Baileys learns of its own new siblings from `devices` alone.
    pub(super) fn tell_device_change(
        &mut self,
        changed: DeviceRef,
        key_index: u32,
        added: bool,
        now: Millis,
    ) {
        let account = self.account(changed.account);
        let key_index_list = list_node(account.list_shown());
        let own_devices = account.devices.values().map(|d| {
            Node::new("device")
                .attr("jid", account.jid(Namespace::Pn, d.id))
                .attr_opt("key-index", d.key_index)
        });
        let own = Node::new("devices")
            .attr("dhash", account.device_hash(Namespace::Pn))
            .children_from(own_devices)
            .child_opt(key_index_list.clone());
        let changes = [Namespace::Pn, Namespace::Lid].map(|namespace| {
            let by_number = namespace == Namespace::Pn;
            let lid = by_number.then(|| account.jid(Namespace::Lid, changed.device));
            let device = Node::new("device")
                .attr("jid", account.jid(namespace, changed.device))
                .attr_opt("lid", lid)
                .attr("key-index", key_index);
            let lid_hash = by_number.then(|| account.device_hash(Namespace::Lid));
            let change = Node::new(if added { "add" } else { "remove" })
                .attr("device_hash", account.device_hash(namespace))
                .attr_opt("device_lid_hash", lid_hash)
                .child(device)
                .child_opt(key_index_list.clone());
            let lid = by_number.then(|| account.jid(Namespace::Lid, 0));
            (account.jid(namespace, 0), lid, change)
        });
        let pn = account.jid(Namespace::Pn, 0);
        let told: Vec<AccountId> =
            account.peers.iter().copied().chain(std::iter::once(changed.account)).collect();
        for peer in told {
            for device in self.devices_of(peer) {
                let own_device = peer == changed.account;
                if own_device && (device == changed || device.device == 0) {
                    continue;
                }
                for (from, lid, change) in &changes {
                    let id = self.server_id();
                    let node =
                        Notification::frame(&id, from, "devices", now.secs()).attr_opt("lid", lid.as_ref());
                    self.enqueue(device, node.child(change.clone()), now);
                }
                if own_device {
                    let id = self.server_id();
                    let node = Notification::frame(&id, &pn, "account_sync", now.secs());
                    self.enqueue(device, node.child(own.clone()), now);
                }
            }
        }
    }
}

impl Registration {
    fn read(data: &proto::client_payload::DevicePairingData) -> Result<Self, &'static str> {
        let number = |bytes: &Option<Vec<u8>>, len: usize| {
            let bytes = bytes.as_deref().filter(|bytes| bytes.len() == len)?;
            Some(bytes.iter().fold(0_u32, |n, byte| n << 8 | u32::from(*byte)))
        };
        let key = |bytes: &Option<Vec<u8>>| {
            let bytes: [u8; 32] = bytes.as_deref()?.try_into().ok()?;
            Some(PublicKey::from_bytes(bytes))
        };
        if data.e_keytype.as_deref() != Some(&[5]) {
            return Err("registration with an unknown key type");
        }
        let identity = key(&data.e_ident).ok_or("registration without identity")?;
        let signed = SignedPreKey {
            id: number(&data.e_skey_id, 3).ok_or("registration without signed prekey id")?,
            key: key(&data.e_skey_val).ok_or("registration without signed prekey")?,
            signature: data
                .e_skey_sig
                .as_deref()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or("registration without signature")?,
        };
        if identity.verify(&signed.key.to_signal(), &signed.signature).is_err() {
            return Err("registration whose signed prekey does not verify");
        }
        let props = data.device_props.as_deref().and_then(|bytes| proto::DeviceProps::decode(bytes).ok());
        let props = props.ok_or("registration without device props")?;
        Ok(Self {
            registration_id: number(&data.e_regid, 4).ok_or("registration without registration id")?,
            identity,
            signed,
            title: props.os.unwrap_or_default(),
            platform_type: props.platform_type.unwrap_or_default(),
            full_history: props.require_full_sync.unwrap_or(false),
            inline_history: props
                .history_sync_config
                .and_then(|config| config.inline_initial_payload_in_e2ee_msg)
                .unwrap_or(false),
        })
    }
}

/// The account a companion's own address names, for logouts that spell it without or with device.
pub(super) fn names_device(jid: &Jid, own: &Jid) -> bool {
    jid == own || (jid.is_bare() && jid.same_user(own))
}
