//! Logged-in connections: login, the offline queue, live delivery, presence and chat states.

use super::{ConnId, ConnState, DeviceRef, Effect, Namespace, Timer, World, faults::Kind};
use std::time::Duration;

use crate::{
    clock::Millis,
    proto,
    stanza::{Ack, Info, Notification, StreamError, Success},
    wire::Node,
};

/// What the server pushes before it waits for a request (protocol 06, 6.1).
const PRIMER: u32 = 5;
/// Most that one request is given.
const BATCH: u32 = 200;
/// After so long without a request the rest goes out unasked: whatsmeow never asks, Baileys once.
const PATIENCE: Duration = Duration::from_secs(2);
/// Unasked batches follow one another at this pace.
const PACE: Duration = Duration::from_millis(100);
/// Tells of a low pool at and below this; Baileys and whatsmeow refill below 5.
const LOW: usize = 4;

/// How far a login has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waits for `active`.
    Passive,
    /// The queue is being drained.
    Draining(Drain),
    /// What comes is passed on at once.
    Live,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    /// Where to go on.
    cursor: u64,
    /// One past the last that was waiting at the preview.
    end: u64,
    delivered: u32,
    credit: u32,
    /// Grows with every request and every unasked batch, so that a stale timer knows itself.
    turn: u64,
}

impl World {
    pub(super) fn login(&mut self, id: ConnId, payload: &proto::ClientPayload, now: Millis) {
        let account = payload.username.and_then(|digits| self.by_pn.get(&digits.to_string()).copied());
        let device = account.zip(payload.device.and_then(|d| u16::try_from(d).ok()));
        let device = device.map(|(account, device)| DeviceRef { account, device });
        let noise = self.conns.get(&id).map(|conn| conn.noise);
        let known =
            device.and_then(|device| self.device(device)).filter(|d| d.noise.is_some() && d.noise == noise);
        let (Some(device), Some(known)) = (device, known) else { return self.fail(id, 401, now) };
        if known.refuse_until > now {
            self.effects.push(Effect::Drop(id));
            return;
        }
        if let Some(old) = known.conn {
            self.emit(old, StreamError::Replaced.build(), now);
            self.close_soon(old, now);
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.state = ConnState::Session(device);
        }
        if let Some(name) = payload.push_name.clone().filter(|name| !name.is_empty()) {
            self.rename(device, name);
        }
        if let Some(known) = self.device_mut(device) {
            known.conn = Some(id);
            known.phase = Phase::Passive;
            known.available = false;
            known.subscribed.clear();
        }
        let lid = Some(self.jid(device, Namespace::Lid));
        self.emit(id, Success { t: now.secs(), lid }.build(), now);
        // The payload's `passive` holds until `active`; whatsapp-rust logs in without, and gets its queue at once.
        if payload.passive == Some(false) {
            self.activate(device, now);
        }
        self.warn_of_low_pool(device, true, now);
    }

    pub(super) fn session_ended(&mut self, device: DeviceRef, id: ConnId, now: Millis) {
        let Some(known) = self.device_mut(device).filter(|d| d.conn == Some(id)) else { return };
        known.conn = None;
        known.phase = Phase::Passive;
        known.subscribed.clear();
        let was_available = std::mem::take(&mut known.available);
        // What it was waiting for stays in the queue; the next login goes on behind it.
        if let Some(bootstrap) = &mut known.bootstrap {
            bootstrap.waiting = None;
        }
        if was_available {
            self.tell_presence(device.account, now);
        }
    }

    /// `passive/active`: from here on the device is delivered to.
    pub(super) fn activate(&mut self, device: DeviceRef, now: Millis) {
        let Some(known) = self.device_mut(device) else { return };
        let Some(conn) = known.conn else { return };
        if known.phase != Phase::Passive {
            return;
        }
        known.queue.expire(now);
        let count = known.queue.count();
        let end = known.queue.end();
        known.phase = Phase::Draining(Drain { cursor: 0, end, delivered: 0, credit: PRIMER, turn: 0 });
        if count.all > 0 {
            let preview = Info::OfflinePreview {
                count: count.all,
                message: count.message,
                notification: count.notification,
                receipt: count.receipt,
            };
            self.emit(conn, preview.build(), now);
        }
        self.drain(device, now);
    }

    /// Sends as much of the queue as was asked for, and the end marker when it is empty.
    fn drain(&mut self, device: DeviceRef, now: Millis) {
        loop {
            let Some(known) = self.device_mut(device) else { return };
            let (Some(conn), Phase::Draining(drain)) = (known.conn, &mut known.phase) else { return };
            if drain.credit == 0 {
                let turn = drain.turn;
                return self.at(now + PATIENCE, Timer::Drain { device, conn, turn });
            }
            let next = known.queue.deliver(drain.cursor..drain.end, conn, true);
            let Some((seq, node)) = next else {
                let count = drain.delivered;
                known.phase = Phase::Live;
                self.emit(conn, Info::Offline { count }.build(), now);
                return self.went_live(device, now);
            };
            drain.cursor = seq + 1;
            drain.credit -= 1;
            drain.delivered += 1;
            self.emit(conn, node, now);
        }
    }

    pub(super) fn drain_unasked(&mut self, device: DeviceRef, conn: ConnId, turn: u64, now: Millis) {
        let Some(known) = self.device_mut(device).filter(|d| d.conn == Some(conn)) else { return };
        let Phase::Draining(drain) = &mut known.phase else { return };
        if drain.turn != turn {
            return;
        }
        drain.credit = BATCH;
        drain.turn += 1;
        let turn = drain.turn;
        self.drain(device, now);
        // Nobody asks: do not wait out the patience for each batch.
        self.at(now + PACE, Timer::Drain { device, conn, turn });
    }

    fn went_live(&mut self, device: DeviceRef, now: Millis) {
        // What arrived during the drain is live traffic.
        let mut cursor = 0;
        loop {
            let Some(known) = self.device_mut(device) else { return };
            let Some(conn) = known.conn else { return };
            let Some((seq, node)) = known.queue.deliver(cursor..u64::MAX, conn, false) else { break };
            cursor = seq + 1;
            self.emit(conn, node, now);
        }
        self.bootstrap(device, now);
    }

    /// Puts a stanza into a device's queue, and passes it on if the device is there.
    pub(super) fn enqueue(&mut self, device: DeviceRef, node: Node, now: Millis) {
        self.enqueue_until(device, node, None, now);
    }

    pub(super) fn enqueue_until(
        &mut self,
        device: DeviceRef,
        node: Node,
        until: Option<Millis>,
        now: Millis,
    ) {
        let Some(known) = self.device_mut(device) else { return };
        let seq = known.queue.push(node, until);
        if device.device == 0 {
            return self.wake_phone(device.account, now);
        }
        if self.endpoint(device).is_some() {
            return self.rouse(device);
        }
        let Some(known) = self.device_mut(device) else { return };
        if let (Some(conn), Phase::Live) = (known.conn, &known.phase)
            && let Some((_, node)) = known.queue.deliver(seq..u64::MAX, conn, false)
        {
            self.emit(conn, node, now);
        }
    }

    /// A client's ack.
    pub(super) fn ack(&mut self, device: DeviceRef, node: &Node) {
        let Ok(ack) = Ack::parse_to(node) else { return self.journal.refuse("ack without class, id or to") };
        if !matches!(ack.class.as_str(), "message" | "receipt" | "notification" | "call" | "status") {
            return self.journal.refuse("ack of an unknown class");
        }
        if let Some(known) = self.device_mut(device) {
            // An answer to what is gone already is no fault.
            known.queue.release_by_ack(&ack);
        }
    }

    /// `<ib>` from a client.
    pub(super) fn bulletin(&mut self, device: DeviceRef, node: &Node, now: Millis) {
        let Some(child) = node.children().first() else { return self.journal.refuse("empty ib") };
        match child.tag.as_ref() {
            "unified_session" => {}
            "offline_batch" => {
                let wanted = child.number::<u32>("count").unwrap_or(BATCH).min(BATCH);
                if let Some(known) = self.device_mut(device)
                    && let Phase::Draining(drain) = &mut known.phase
                {
                    drain.credit = drain.credit.max(wanted);
                    drain.turn += 1;
                    self.drain(device, now);
                }
            }
            _ => self.journal.refuse("unknown ib"),
        }
    }

    /// Once when the pool gets low, and at every login while it is.
    pub(super) fn warn_of_low_pool(&mut self, device: DeviceRef, at_login: bool, now: Millis) {
        let Some(known) = self.device_mut(device).filter(|d| d.id != 0) else { return };
        let left = known.keys.pool.len();
        if left > LOW {
            known.low_told = false;
            return;
        }
        // Before its first upload a companion has none, and is about to upload.
        if (known.low_told && !at_login) || known.bootstrap.is_some() {
            return;
        }
        known.low_told = true;
        let id = self.server_id();
        let server = crate::wire::Jid::server_itself();
        let count = Node::new("count").attr("value", left);
        let node = Notification::frame(&id, &server, "encrypt", now.secs()).child(count);
        self.enqueue(device, node, now);
    }

    pub(super) fn rename(&mut self, device: DeviceRef, name: String) {
        self.account_mut(device.account).name = name;
    }

    pub(super) fn presence(&mut self, device: DeviceRef, node: &Node, now: Millis) {
        if let Some(name) = node.text("name").filter(|name| !name.is_empty()) {
            self.rename(device, name.to_owned());
        }
        match node.text("type") {
            // Name changes come without a type, and Baileys sends an empty presence now and then.
            None => {}
            Some(kind @ ("available" | "unavailable")) => {
                let available = kind == "available";
                if let Some(known) = self.device_mut(device).filter(|d| d.available != available) {
                    known.available = available;
                    self.tell_presence(device.account, now);
                }
            }
            Some("subscribe") => {
                let Some(whom) = node.jid("to").and_then(|jid| self.resolve(&jid)) else { return };
                let namespace = node.jid("to").map_or(Namespace::Pn, |jid| Namespace::of(&jid));
                if let Some(known) = self.device_mut(device) {
                    known.subscribed.insert(whom.account, namespace);
                }
                if let Some(stanza) = self.presence_for(whom.account, device.account, namespace) {
                    self.answer(device, stanza, now);
                }
            }
            Some("unsubscribe") => {
                let whom = node.jid("to").and_then(|jid| self.resolve(&jid));
                if let (Some(whom), Some(known)) = (whom, self.device_mut(device)) {
                    known.subscribed.remove(&whom.account);
                }
            }
            Some(_) => self.journal.refuse("presence of an unknown type"),
        }
    }

    pub(super) fn tell_presence(&mut self, account: super::AccountId, now: Millis) {
        self.note_last_seen(account, now);
        let mut told: Vec<(ConnId, Node)> = Vec::new();
        for (id, subscriber) in self.accounts.iter().enumerate() {
            for device in subscriber.devices.values() {
                let (Some(conn), Some(namespace)) = (device.conn, device.subscribed.get(&account)) else {
                    continue;
                };
                let stanza = self.presence_for(account, super::AccountId(id), *namespace);
                told.extend(stanza.map(|stanza| (conn, stanza)));
            }
        }
        for (conn, stanza) in told {
            self.emit(conn, stanza, now);
        }
    }

    /// Typing and its end, passed on to every device of the other end; for a device that is away it waits a little.
    pub(super) fn chatstate(&mut self, device: DeviceRef, node: &Node, now: Millis) {
        let state = node.children().first().filter(|c| matches!(c.tag.as_ref(), "composing" | "paused"));
        let (Some(to), Some(state)) = (node.jid("to"), state) else {
            return self.journal.refuse("chatstate without to or state");
        };
        if to.is_group() {
            let state = state.clone();
            return self.chatstate_in_group(device, &to, &state, now);
        }
        let Some(chat) = self.resolve(&to).filter(|chat| chat.account != device.account) else { return };
        if self.has_blocked(chat.account, device.account) {
            return;
        }
        let from = self.account(device.account).jid(Namespace::of(&to), 0);
        let stanza = Node::new("chatstate").attr("from", from).child(state.clone());
        let until = now + self.settings.chatstate_ttl;
        for target in self.devices_of(chat.account) {
            self.enqueue_until(target, stanza.clone(), Some(until), now);
        }
    }

    /// Whether the ack of a message is to be swallowed.
    pub(super) fn ack_dropped(&mut self, device: DeviceRef) -> bool {
        self.fault(Kind::DropAcks, device).is_some()
    }
}
