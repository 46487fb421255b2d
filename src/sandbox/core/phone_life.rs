//! What a phone does: reads its queue, answers, sends, and brings a new companion up to date.

use std::{io::Write as _, time::Duration};

use flate2::{Compression, write::ZlibEncoder};
use prost::Message as _;

use super::{
    AccountId, DeviceRef, Namespace, Timer, World,
    account::Bootstrap,
    history::Stage,
    phone::{Kept, Noticed, Received},
    session::Phase,
};
use crate::{
    clock::Millis,
    crypto::signal::{PreKeyBundle, SignalError},
    proto::{
        self,
        message::{AppStateSyncKey, AppStateSyncKeyShare, ProtocolMessage},
    },
    stanza::{Ack, Class, Incoming, Outgoing, Receipt, ReceiptKind, Retry, device_sent},
    wire::{Jid, Node},
};

/// A companion that answers slowly does not hold the next message up for longer.
const BOOTSTRAP_PATIENCE: Duration = Duration::from_secs(2);
/// As clients do: after so many failures a message is given up.
const MAX_RETRIES: u8 = 5;
/// ProtocolMessage type (protocol 04, 7).
const APP_STATE_SYNC_KEY_SHARE: i32 = 6;

impl World {
    /// Lets the phone read everything that waits, if it is on.
    pub(super) fn wake_phone(&mut self, account: AccountId, now: Millis) {
        self.wake(DeviceRef { account, device: 0 }, now);
    }

    /// The same for any device that the sandbox plays. Companions are on while their phone is.
    pub(super) fn wake(&mut self, phone: DeviceRef, now: Millis) {
        if !self.account(phone.account).phone.online {
            return;
        }
        let mut cursor = 0;
        loop {
            let Some(known) = self.device_mut(phone) else { return };
            // No connection has the number 0: for the queue the phone is one.
            let Some((seq, node)) = known.queue.deliver(cursor..u64::MAX, super::ConnId(0), false) else {
                return;
            };
            cursor = seq + 1;
            self.phone_reads(phone, &node, now);
        }
    }

    pub(super) fn switch_phone(&mut self, account: AccountId, online: bool, now: Millis) {
        self.account_mut(account).phone.online = online;
        if online {
            if let Some(phone) = self.device_mut(DeviceRef { account, device: 0 }) {
                phone.queue.expire(now);
            }
            self.wake_phone(account, now);
            let played =
                self.account(account).played.keys().map(|device| DeviceRef { account, device: *device });
            let played: Vec<DeviceRef> = played.collect();
            played.into_iter().for_each(|device| self.rouse(device));
        }
    }

    pub(super) fn refill_phone(&mut self, device: DeviceRef) {
        let Self { accounts, rng, .. } = self;
        let Some(account) = accounts.get_mut(device.account.0) else { return };
        let left = account.devices.get(&device.device).map_or(0, |known| known.keys.pool.len());
        let fresh = account.endpoint_mut(device.device).map(|endpoint| endpoint.refill(left, rng));
        if let (Some(fresh), Some(known)) = (fresh, account.devices.get_mut(&device.device)) {
            known.keys.pool.extend(fresh);
        }
    }

    pub(super) fn says(&mut self, phone: DeviceRef, node: Node) {
        self.outbox.push_back((phone, node));
    }

    fn phone_reads(&mut self, phone: DeviceRef, node: &Node, now: Millis) {
        match node.tag.as_ref() {
            "message" if self.phone_reads_post(phone, node) => {}
            "message" => {
                if let Ok(message) = Incoming::parse(node) {
                    self.phone_message(phone, &message, node, now);
                }
            }
            "receipt" => {
                self.phone_acks(phone, node);
                match Receipt::parse_from(node) {
                    Ok(receipt) if receipt.kind == ReceiptKind::ServerError => {
                        self.phone_uploads_again(phone, node, now);
                    }
                    Ok(receipt) => self.phone_receipt(phone, receipt, now),
                    Err(_) => {}
                }
            }
            "chatstate" => {}
            "call" => self.phone_hears_call(phone, node, now),
            "notification" if phone.device == 0 && node.text("type") == Some("server_sync") => {
                self.phone_acks(phone, node);
                self.phone_syncs(phone.account, now);
            }
            _ => self.phone_acks(phone, node),
        }
    }

    pub(super) fn phone_acks(&mut self, phone: DeviceRef, node: &Node) {
        if let Some(ack) = Ack::of(node) {
            self.says(phone, ack.build_to());
        }
    }

    fn phone_message(&mut self, phone: DeviceRef, message: &Incoming, node: &Node, now: Millis) {
        let author = message.participant.as_ref().unwrap_or(&message.from);
        let Some(sender) = self.resolve(author) else { return self.phone_acks(phone, node) };
        if message.participant.is_some() {
            return self.phone_reads_chat(phone, sender, message, node, now);
        }
        let own = sender.account == phone.account;
        let Some(enc) = message.encs.first() else { return self.phone_acks(phone, node) };
        let Self { accounts, rng, .. } = self;
        let Some(account) = accounts.get_mut(phone.account.0) else { return };
        let Some(endpoint) = account.endpoint_mut(phone.device) else { return };
        let plaintext = endpoint.decrypt(sender, enc, rng);
        match plaintext.map(|bytes| (proto::Message::decode(bytes.as_slice()).ok(), bytes)) {
            Ok((Some(decoded), bytes)) => {
                endpoint.failures.remove(&(sender, message.id.clone()));
                self.phone_thanks(phone, message, own);
                if message.peer {
                    // Companions that are played know nothing of app state.
                    if phone.device == 0 {
                        self.phone_is_asked(sender, &message.id, decoded, now);
                    }
                } else {
                    self.phone_keeps(phone, sender, message, decoded, bytes, now);
                }
            }
            // The ratchet has passed it: it was read before.
            Err(SignalError::Duplicate) => self.phone_thanks(phone, message, own),
            Ok((None, _)) => self.phone_acks(phone, node),
            Err(error) => {
                self.phone_asks_again(phone, sender, message, error.retry_code());
                self.phone_acks(phone, node);
            }
        }
    }

    pub(super) fn phone_thanks(&mut self, phone: DeviceRef, message: &Incoming, own: bool) {
        let kind = match (own, message.peer) {
            (_, true) => ReceiptKind::PeerMsg,
            (true, false) => ReceiptKind::Sender,
            (false, false) => ReceiptKind::Delivered,
        };
        let receipt = Receipt {
            recipient: message.recipient.clone(),
            participant: message.participant.clone(),
            ..Receipt::new(message.id.clone(), message.from.clone(), kind)
        };
        self.says(phone, receipt.build_to());
    }

    pub(super) fn phone_keeps(
        &mut self,
        phone: DeviceRef,
        sender: DeviceRef,
        stanza: &Incoming,
        decoded: proto::Message,
        bytes: Vec<u8>,
        now: Millis,
    ) {
        let own = sender.account == phone.account;
        // Asked for twice and sent twice is still one message. A first copy is never taken for that: who sends one
        // twice is to be seen doing so.
        let resent = stanza.encs.first().is_some_and(|enc| enc.count.is_some());
        let author = stanza.participant.as_ref().unwrap_or(&stanza.from);
        if resent && self.endpoint(phone).is_some_and(|known| known.has_received(&stanza.id, author)) {
            return;
        }
        // Only an own device may say what was sent elsewhere.
        let (message, bytes) = match decoded.device_sent_message {
            Some(sent) if own => {
                let inner = sent.message.unwrap_or_default();
                let bytes = inner.encode_to_vec();
                (*inner, bytes)
            }
            sent => (proto::Message { device_sent_message: sent, ..decoded }, bytes),
        };
        // What somebody tells a list is shown as said to oneself.
        let from = if stanza.from.is_list() && !own { author } else { &stanza.from };
        let chat = stanza.recipient.clone().unwrap_or_else(|| from.clone()).bare();
        let received = Received {
            id: stanza.id.clone(),
            chat: chat.clone(),
            sender: author.bare(),
            sender_device: sender.device,
            from_me: own,
            t: stanza.t,
            message: bytes,
        };
        if let Some(endpoint) = self.endpoint_mut(phone) {
            endpoint.keep_received(received);
        }
        // Two of them in one group would never end.
        let echoes = |account: AccountId| self.account(account).name == "Echo";
        if own || phone.device != 0 || !echoes(phone.account) || echoes(sender.account) || chat.is_status() {
            return;
        }
        if let Some(text) = text_of(&message).filter(|text| !text.is_empty()) {
            let reply = proto::Message { conversation: Some(text.to_owned()), ..Default::default() };
            // An echo to somebody who has vanished meanwhile is nobody's concern.
            let _ = self.phone_sends(phone.account, &chat, reply.encode_to_vec(), now);
        }
    }

    pub(super) fn phone_asks_again(
        &mut self,
        phone: DeviceRef,
        sender: DeviceRef,
        message: &Incoming,
        error: u8,
    ) {
        let resent = message.encs.first().and_then(|enc| enc.count);
        let Self { accounts, rng, .. } = self;
        let Some(account) = accounts.get_mut(phone.account.0) else { return };
        let Some(endpoint) = account.endpoint_mut(phone.device) else { return };
        let count = endpoint.failed_again(sender, &message.id, resent);
        if count > MAX_RETRIES {
            return;
        }
        let mut keys = (count > 1).then(|| endpoint.retry_keys(rng));
        let registration_id = endpoint.registration_id;
        if let Some(keys) = &mut keys {
            let known = account.devices.get(&phone.device);
            keys.device_identity = known.and_then(|known| known.identity.clone());
        }
        let receipt = Receipt {
            recipient: message.recipient.clone().filter(|_| !message.peer),
            participant: message.participant.clone(),
            peer_category: message.peer,
            retry: Some(Retry { count, t: message.t, error, registration_id: Some(registration_id), keys }),
            ..Receipt::new(message.id.clone(), message.from.clone(), ReceiptKind::Retry)
        };
        self.says(phone, receipt.build_to());
    }

    fn phone_receipt(&mut self, phone: DeviceRef, receipt: Receipt, now: Millis) {
        let Some(from) = receipt.peer.clone().filter(|_| phone.device == 0) else { return };
        let reader = receipt.participant.clone().unwrap_or_else(|| from.clone());
        let Some(device) = self.resolve(&reader) else { return };
        if receipt.kind == ReceiptKind::Retry {
            return self.phone_resends(phone, device, &from, &receipt, now);
        }
        if matches!(receipt.kind, ReceiptKind::PeerMsg | ReceiptKind::HistSync) {
            return self.bootstrap_answered(device, &receipt.id, now);
        }
        let notices = receipt.ids().map(|id| Noticed {
            id: id.to_owned(),
            from: if from.is_user() { from.clone() } else { reader.bare() },
            kind: receipt.kind.clone(),
            t: receipt.t.unwrap_or(now.secs()),
        });
        let notices: Vec<Noticed> = notices.collect();
        let phone = &mut self.account_mut(phone.account).phone;
        notices.into_iter().for_each(|notice| phone.keep_receipt(notice));
    }

    /// Encrypts once more, for the one device that could not read it.
    fn phone_resends(
        &mut self,
        phone: DeviceRef,
        asking: DeviceRef,
        from: &Jid,
        receipt: &Receipt,
        now: Millis,
    ) {
        let Some(retry) = &receipt.retry else { return };
        let Some(kept) = self.account(phone.account).phone.sent.get(&receipt.id).cloned() else { return };
        let in_chat = receipt.participant.is_some();
        let list = kept.to.is_list();
        if retry.count >= MAX_RETRIES
            || in_chat && !list && !self.may_ask_again(phone.account, &kept.to, asking)
            || list && asking.account != phone.account && !self.wrote_with(phone.account, asking.account)
        {
            return;
        }
        let bundle = match &retry.keys {
            Some(keys) => Some(PreKeyBundle {
                registration_id: retry.registration_id.unwrap_or(0),
                identity: keys.identity,
                signed_prekey: keys.signed.clone(),
                one_time: keys.one_time.clone(),
            }),
            None => self.fetch_bundle(asking, now),
        };
        let Some(bundle) = bundle else { return };
        let own = asking.account == phone.account && !kept.peer && (!in_chat || list);
        let message = if in_chat && !list {
            self.with_sender_key(phone.account, &kept.to, asking, &kept.message)
        } else if own {
            device_sent(&kept.message, &kept.to)
        } else {
            kept.message.clone()
        };
        let Self { accounts, rng, .. } = self;
        let Some(account) = accounts.get_mut(phone.account.0) else { return };
        if account.phone.initiate(asking, &bundle, rng).is_err() {
            return;
        }
        let Ok(mut enc) = account.phone.encrypt(asking, message, rng) else { return };
        enc.count = Some(retry.count);
        let class = if kept.peer { Class::PLAIN } else { Class::of(&kept.message) };
        let enc = class.enc(enc);
        let stanza = Outgoing {
            peer: kept.peer,
            recipient: (own && !list).then(|| kept.to.clone()),
            participant: receipt.participant.clone(),
            direct: Some(enc),
            ..class.stanza(receipt.id.clone(), from.clone())
        };
        self.says(phone, stanza.build());
    }

    pub(super) fn fetch_bundle(&mut self, device: DeviceRef, now: Millis) -> Option<PreKeyBundle> {
        let bundle = self.device_mut(device)?.take_bundle();
        if self.endpoint(device).is_some() {
            self.refill_phone(device);
        } else {
            self.warn_of_low_pool(device, false, now);
        }
        Some(bundle)
    }

    /// Encrypts for one device, starting a session where there is none.
    pub(super) fn phone_encrypts(
        &mut self,
        phone: AccountId,
        to: DeviceRef,
        message: Vec<u8>,
        now: Millis,
    ) -> Option<crate::stanza::Enc> {
        let bundle =
            if self.account(phone).phone.has_session(to) { None } else { Some(self.fetch_bundle(to, now)?) };
        let Self { accounts, rng, .. } = self;
        let phone = &mut accounts.get_mut(phone.0)?.phone;
        if let Some(bundle) = bundle {
            phone.initiate(to, &bundle, rng).ok()?;
        }
        phone.encrypt(to, message, rng).ok()
    }

    /// Sends to every device of a person and to the own companions; the id.
    pub(super) fn phone_sends(
        &mut self,
        from: AccountId,
        to: &Jid,
        message: Vec<u8>,
        now: Millis,
    ) -> Option<String> {
        if to.is_group() || to.is_status() {
            return self.phone_sends_chat(from, to, &message, now);
        }
        let target = self.resolve(to)?;
        let id = self.random_hex(16);
        let namespace = Namespace::of(to);
        let chat = self.account(target.account).jid(namespace, 0);
        let class = Class::of(&message);
        let kept = Kept { to: chat.clone(), message, peer: false, at: now };
        let copy = device_sent(&kept.message, &kept.to);
        let mut devices = self.devices_of(target.account);
        if target.account != from {
            devices.extend(self.devices_of(from));
        }
        let mut stanza = class.stanza(id.clone(), chat);
        stanza.extras.extend(self.token_of_phone(from, target.account));
        for device in devices {
            if device == (DeviceRef { account: from, device: 0 }) {
                continue;
            }
            let plaintext = if device.account == from { copy.clone() } else { kept.message.clone() };
            if let Some(enc) = self.phone_encrypts(from, device, plaintext, now) {
                let enc = class.enc(enc);
                stanza.participants.push((self.jid(device, namespace), Some(enc)));
            }
        }
        self.account_mut(from).phone.keep_sent(&id, kept);
        // Nobody to send to: a note to oneself without companions.
        if !stanza.participants.is_empty() {
            self.says(DeviceRef { account: from, device: 0 }, stanza.build());
            self.phone_trusts(from, target.account, now);
        }
        Some(id)
    }

    /// Goes on with the first messages to a companion, if it is there and waits for one.
    pub(super) fn bootstrap(&mut self, device: DeviceRef, now: Millis) {
        let Some(known) = self.device(device) else { return };
        let Some(bootstrap) = &known.bootstrap else { return };
        // They follow the end marker, and need a prekey; whatsapp-rust uploads its keys beside everything else.
        if known.phase != Phase::Live || bootstrap.waiting.is_some() {
            return;
        }
        let step = bootstrap.step;
        if step == 0 && known.keys.pool.is_empty() {
            return self.at(now + BOOTSTRAP_PATIENCE, Timer::Bootstrap { device, step });
        }
        self.bootstrap_step(device, step, now);
    }

    /// Key share, then what history there is: at least the names, and the sign that this was all.
    fn bootstrap_step(&mut self, device: DeviceRef, step: u32, now: Millis) {
        let stage = self.device(device).and_then(|known| Some(known.bootstrap.as_ref()?.stage));
        let content = match stage {
            Some(Stage::Keys) => {
                self.phone_looks_at_its_key(device.account, now);
                Some((key_share(self.keys_to_share(device.account)), Stage::Initial))
            }
            Some(stage) => self.next_history(device, stage),
            None => None,
        };
        let Some((content, stage)) = content else {
            if let Some(known) = self.device_mut(device) {
                known.bootstrap = None;
            }
            return;
        };
        let Some(id) = self.phone_tells(device, content, now) else { return };
        if let Some(known) = self.device_mut(device) {
            known.bootstrap = Some(Bootstrap { step: step + 1, stage, waiting: Some(id) });
        }
        self.at(now + BOOTSTRAP_PATIENCE, Timer::Bootstrap { device, step: step + 1 });
    }

    fn bootstrap_answered(&mut self, device: DeviceRef, id: &str, now: Millis) {
        let Some(known) = self.device_mut(device) else { return };
        let Some(bootstrap) = &mut known.bootstrap else { return };
        if bootstrap.waiting.as_deref() == Some(id) {
            bootstrap.waiting = None;
            let step = bootstrap.step;
            self.bootstrap_step(device, step, now);
        }
    }

    pub(super) fn bootstrap_timed_out(&mut self, device: DeviceRef, step: u32, now: Millis) {
        let live = self.device(device).filter(|d| d.phase == Phase::Live);
        let Some(bootstrap) = live.and_then(|d| d.bootstrap.as_ref()) else { return };
        if bootstrap.step == step {
            self.bootstrap_step(device, step, now);
        }
    }
}

pub(super) fn key_share(keys: Vec<AppStateSyncKey>) -> ProtocolMessage {
    ProtocolMessage {
        r#type: Some(APP_STATE_SYNC_KEY_SHARE),
        app_state_sync_key_share: Some(AppStateSyncKeyShare { keys }),
        ..Default::default()
    }
}

pub(super) fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing into memory does not fail.
    encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// The text of a message that is one.
pub(super) fn text_of(message: &proto::Message) -> Option<&str> {
    let extended = message.extended_text_message.as_ref().and_then(|m| m.text.as_deref());
    message.conversation.as_deref().or(extended)
}
