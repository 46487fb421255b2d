//! The simulated WhatsApp without its sockets: one [`World`] of accounts, devices, phones and connections.
//!
//! Inputs are an opened or closed connection, a decoded node, an operation of the control API, or the passing of
//! time; outputs are [`Effect`]s. Time and randomness come in from outside, so that a seed and a fake clock repeat a
//! story exactly. Phones live inside and speak to the server in the same stanzas as companions: what one sends goes
//! through [`World::hear`], what it receives comes from its queue.

mod account;
mod app_state;
mod calls;
mod changes;
mod compose;
mod devices;
mod faults;
mod forge;
mod groups;
mod history;
mod iq;
mod journal;
mod link;
mod link_code;
mod lists;
mod media;
mod messages;
mod newsletters;
mod operate;
mod passkey;
mod past;
mod peer;
mod phone;
mod phone_groups;
mod phone_life;
mod played;
mod privacy;
mod profile;
mod queue;
mod receipts;
mod reuse;
mod session;
mod snapshot;
mod standing;
mod sync_keys;
#[cfg(test)]
mod tests;
mod view;
mod vote;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

pub(crate) use account::{Account, AccountId, DeviceRef, Namespace};
pub use calls::CallView;
pub use changes::{AppStateView, PhoneChange};
pub(crate) use compose::Uploaded;
pub use compose::{FileKind, Sending};
pub use devices::{Intruder, ListShown};
pub(crate) use faults::Faults;
pub use groups::{GroupView, ParticipantView};
pub use link_code::CodeOutcome;
pub(crate) use media::{CdnFaults, MediaFacts, blob_of, direct_path, upload_name};
pub use newsletters::{NewsletterView, PostView};
pub(crate) use operate::{OperateError, Operation};
pub use passkey::{Defect, PasskeyView};
pub use profile::{BusinessSpec, ProductSpec, ProfileView};
pub(crate) use snapshot::{Snapshot, SnapshotError};
pub use standing::StandingChange;
pub use view::{CompanionView, FaultView, LogLine, MessageView, PhoneView, ReceiptView, StatsView};

use crate::{
    clock::Millis,
    crypto::PublicKey,
    stanza::StreamError,
    wire::{Jid, Node},
};
use journal::Journal;
use link::Pairing;

/// One connection, for as long as the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnId(pub(crate) u64);

/// What the world wants done outside.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Seal and write.
    Send(ConnId, Node),
    /// Close the WebSocket properly, after what was sent before.
    Close(ConnId),
    /// Cut the TCP connection.
    Drop(ConnId),
    /// Neither read nor write for so long.
    Freeze(ConnId, Duration),
    /// Put an encrypted file of a phone on the media server, before whatever tells of it.
    Keep(Vec<u8>),
}

/// Switches of the command line that the world obeys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How long a chat state waits for a device that is offline.
    pub(crate) chatstate_ttl: Duration,
    /// Check the device signature of a companion that links.
    pub(crate) adv_strict: bool,
}

/// How long after a final stanza the connection is closed; clients may miss the stanza on an abrupt close.
const LINGER: Duration = Duration::from_millis(200);
/// Pause between pair-device-sign and the restart error: whatsapp-rust 0.7.0 reconnects twice at an immediate one.
const RESTART_PAUSE: Duration = Duration::from_millis(700);
/// How long a stanza stays behind that others are to overtake.
const OVERTAKEN: Duration = Duration::from_millis(200);
/// Most timers a world holds; each connection and each draining queue has a few.
const MAX_TIMERS: usize = 100_000;

#[derive(Debug)]
enum Timer {
    Close(ConnId),
    Restart(ConnId),
    Emit(ConnId, Node),
    /// Nobody has answered this call.
    Call(String),
    /// Nobody asked for more of the offline queue.
    Drain {
        device: DeviceRef,
        conn: ConnId,
        turn: u64,
    },
    /// The phone goes on with its first messages though the answer to the last is missing.
    Bootstrap {
        device: DeviceRef,
        step: u32,
    },
}

struct Conn {
    noise: PublicKey,
    state: ConnState,
    /// A final stanza has been sent: nothing is read or written any more.
    closing: bool,
    /// With a delay in force: when the last delayed stanza leaves; later ones stay behind it.
    delayed_until: Millis,
}

enum ConnState {
    Pairing(Box<Pairing>),
    Session(DeviceRef),
    Refused,
}

/// Everything the simulated WhatsApp knows.
pub(crate) struct World {
    rng: StdRng,
    settings: Settings,
    accounts: Vec<Account>,
    by_pn: BTreeMap<String, AccountId>,
    by_lid: BTreeMap<String, AccountId>,
    /// By the user part of their addresses.
    groups: BTreeMap<String, groups::Group>,
    /// What everybody shows of themselves.
    profiles: profile::Profiles,
    /// By the user part of their addresses.
    newsletters: BTreeMap<String, newsletters::Newsletter>,
    /// What happened to groups and has not been told yet.
    news: Vec<groups::News>,
    conns: BTreeMap<ConnId, Conn>,
    next_conn: u64,
    /// Refs of closed connections, newest last, so that a stale code is told from a foreign one.
    dead_refs: VecDeque<String>,
    /// Played companions that something came for.
    roused: BTreeSet<DeviceRef>,
    timers: BTreeMap<(Millis, u64), Timer>,
    next_timer: u64,
    /// What phones have sent and the server has not looked at yet.
    outbox: VecDeque<(DeviceRef, Node)>,
    effects: Vec<Effect>,
    /// Server-made ids are plain decimals: no client uses that form for its own queries.
    next_id: u64,
    journal: Journal,
    faults: Faults,
    keys_used: reuse::KeysUsed,
    /// Where clients find the media server.
    media_host: String,
    /// The last permission to upload that each device was given, and until when.
    media_auths: BTreeMap<DeviceRef, (String, Millis)>,
    /// What came of the last code typed on each phone.
    code_outcomes: BTreeMap<AccountId, (u64, CodeOutcome)>,
    next_attempt: u64,
    /// By the id of the caller.
    calls: BTreeMap<String, calls::Live>,
    /// What each phone lists.
    call_lists: BTreeMap<AccountId, VecDeque<CallView>>,
}

impl World {
    pub(crate) fn new(settings: Settings, rng: StdRng) -> Self {
        Self {
            rng,
            settings,
            accounts: Vec::new(),
            by_pn: BTreeMap::new(),
            by_lid: BTreeMap::new(),
            groups: BTreeMap::new(),
            profiles: profile::Profiles::default(),
            newsletters: BTreeMap::new(),
            news: Vec::new(),
            conns: BTreeMap::new(),
            next_conn: 1,
            dead_refs: VecDeque::new(),
            roused: BTreeSet::new(),
            timers: BTreeMap::new(),
            next_timer: 0,
            outbox: VecDeque::new(),
            effects: Vec::new(),
            next_id: 77_000,
            journal: Journal::default(),
            faults: Faults::default(),
            keys_used: reuse::KeysUsed::default(),
            media_host: String::new(),
            media_auths: BTreeMap::new(),
            code_outcomes: BTreeMap::new(),
            next_attempt: 1,
            calls: BTreeMap::new(),
            call_lists: BTreeMap::new(),
        }
    }

    /// A client finished its handshake; `payload` is its serialized ClientPayload.
    pub(crate) fn opened(&mut self, noise: PublicKey, payload: &[u8], now: Millis) -> ConnId {
        let id = ConnId(self.next_conn);
        self.next_conn += 1;
        self.journal.connections += 1;
        self.conns
            .insert(id, Conn { noise, state: ConnState::Refused, closing: false, delayed_until: Millis(0) });
        self.admit(id, payload, now);
        self.settle(now);
        id
    }

    /// The connection is gone, for whatever reason.
    pub(crate) fn closed(&mut self, id: ConnId, now: Millis) {
        let Some(conn) = self.conns.remove(&id) else { return };
        match conn.state {
            ConnState::Pairing(pairing) => self.bury_refs(pairing.refs),
            ConnState::Session(device) => self.session_ended(device, id, now),
            ConnState::Refused => {}
        }
        self.settle(now);
    }

    /// A node from a client.
    pub(crate) fn node(&mut self, id: ConnId, node: Node, now: Millis) {
        let Some(conn) = self.conns.get(&id) else { return };
        let label = self.label(id);
        self.journal.saw(&label, journal::Direction::In, &node, now);
        if conn.closing {
            return;
        }
        match &conn.state {
            ConnState::Pairing(_) => self.pairing_node(id, &node, now),
            ConnState::Session(device) => {
                let device = *device;
                self.hear(device, &node, now);
            }
            ConnState::Refused => {}
        }
        self.settle(now);
    }

    /// A client's frame could not be opened or decoded.
    pub(crate) fn garbage(&mut self, id: ConnId, now: Millis) {
        self.journal.refuse("frame that does not decode");
        self.emit(id, Node::new("stream:error").child(Node::new("xml-not-well-formed")), now);
        self.close_soon(id, now);
    }

    /// When [`World::tick`] is due next.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        let timer = self.timers.first_key_value().map(|((at, _), _)| *at);
        if self.roused.is_empty() { timer } else { Some(Millis(0)) }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Millis) {
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            match entry.remove() {
                Timer::Close(conn) => self.effects.push(Effect::Close(conn)),
                Timer::Restart(conn) => {
                    self.emit(conn, StreamError::Restart.build(), now);
                    self.close_soon(conn, now);
                }
                Timer::Call(id) => self.call_timed_out(&id, now),
                Timer::Emit(conn, node) => self.push_out(conn, node, now),
                Timer::Drain { device, conn, turn } => self.drain_unasked(device, conn, turn, now),
                Timer::Bootstrap { device, step } => self.bootstrap_timed_out(device, step, now),
            }
        }
        self.roused_read(now);
        self.settle(now);
    }

    /// What is to be done outside, in order.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// One stanza of one device, phones included.
    fn hear(&mut self, device: DeviceRef, node: &Node, now: Millis) {
        match node.tag.as_ref() {
            "message" => self.message(device, node, now),
            "receipt" => self.receipt(device, node, now),
            "ack" => self.ack(device, node),
            "iq" => self.iq(device, node, now),
            "presence" => self.presence(device, node, now),
            "chatstate" => self.chatstate(device, node, now),
            "ib" => self.bulletin(device, node, now),
            "call" => self.call(device, node, now),
            _ => self.journal.refuse("unknown tag"),
        }
    }

    /// Lets phones and server talk until neither has anything to say.
    fn settle(&mut self, now: Millis) {
        while let Some((device, node)) = self.outbox.pop_front() {
            self.hear(device, &node, now);
        }
    }

    fn at(&mut self, when: Millis, timer: Timer) {
        if self.timers.len() < MAX_TIMERS {
            self.timers.insert((when, self.next_timer), timer);
            self.next_timer += 1;
        }
    }

    fn server_id(&mut self) -> String {
        let id = self.next_id;
        self.next_id += 1;
        id.to_string()
    }

    /// Sends to a connection, behind whatever a delay holds back.
    fn emit(&mut self, id: ConnId, node: Node, now: Millis) {
        let device = self.conns.get(&id).and_then(|conn| match conn.state {
            ConnState::Session(device) => Some(device),
            _ => None,
        });
        let delay = device.and_then(|device| self.fault(faults::Kind::Delay, device));
        let overtaken = device.filter(|_| may_be_overtaken(&node));
        let overtaken = overtaken.and_then(|device| self.fault(faults::Kind::Reorder, device));
        let clock = device.and_then(|device| self.fault(faults::Kind::Clock, device));
        let node = match clock {
            Some(seconds) => misdated(node, seconds.cast_signed()),
            None => node,
        };
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.closing {
            return;
        }
        if overtaken.is_some() {
            // What follows does not wait for it.
            let due = now.max(conn.delayed_until) + OVERTAKEN;
            return self.at(due, Timer::Emit(id, node));
        }
        let due = delay.map_or(now, |ms| now + Duration::from_millis(ms)).max(conn.delayed_until);
        if due > now {
            conn.delayed_until = due;
            self.at(due, Timer::Emit(id, node));
        } else {
            self.push_out(id, node, now);
        }
    }

    fn push_out(&mut self, id: ConnId, node: Node, now: Millis) {
        if self.conns.contains_key(&id) {
            let label = self.label(id);
            self.journal.saw(&label, journal::Direction::Out, &node, now);
            self.effects.push(Effect::Send(id, node));
        }
    }

    /// Nothing more is said on this connection; it closes once the last stanza had time to arrive.
    fn close_soon(&mut self, id: ConnId, now: Millis) {
        if let Some(conn) = self.conns.get_mut(&id) {
            let from = conn.delayed_until.max(now);
            conn.closing = true;
            self.at(from + LINGER, Timer::Close(id));
        }
    }

    /// How the log names the other end.
    fn label(&self, id: ConnId) -> String {
        match self.conns.get(&id).map(|conn| &conn.state) {
            Some(ConnState::Session(device)) => self.jid(*device, Namespace::Pn).to_wire(),
            _ => "unregistered".to_owned(),
        }
    }

    fn bury_refs(&mut self, refs: Vec<String>) {
        const KEPT: usize = 1_000;
        self.dead_refs.extend(refs);
        while self.dead_refs.len() > KEPT {
            self.dead_refs.pop_front();
        }
    }

    /// `len` random bytes as upper-case hex.
    fn random_hex(&mut self, len: usize) -> String {
        let mut bytes = vec![0; len];
        self.rng.fill_bytes(&mut bytes);
        hex::encode_upper(bytes)
    }

    /// Randomness of its own for a handshake.
    pub(crate) fn fork_rng(&mut self) -> StdRng {
        StdRng::from_rng(&mut self.rng)
    }

    /// A client gave up during the handshake, or spoke something else.
    pub(crate) fn handshake_failed(&mut self) {
        self.journal.failed_handshakes += 1;
    }

    pub(crate) fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// Whether a fault strikes this device now; its parameter.
    fn fault(&mut self, kind: faults::Kind, device: DeviceRef) -> Option<u64> {
        if self.faults.is_empty() {
            return None;
        }
        let names = [self.jid(device, Namespace::Pn), self.jid(device, Namespace::Lid)];
        self.faults.strikes(kind, &names, &mut self.rng)
    }

    fn answer(&mut self, device: DeviceRef, node: Node, now: Millis) {
        // A phone asks nothing that it needs an answer to.
        if let Some(conn) = self.device(device).and_then(|d| d.conn) {
            self.emit(conn, node, now);
        }
    }

    fn resolve_text(&self, who: &str) -> Option<DeviceRef> {
        if who.contains('@') {
            return who.parse::<Jid>().ok().and_then(|jid| self.resolve(&jid));
        }
        self.by_pn.get(who).map(|account| DeviceRef { account: *account, device: 0 })
    }
}

/// What a server may hand over in another order: each stands for itself. Answers to queries and words about the stream do
/// not.
fn may_be_overtaken(node: &Node) -> bool {
    matches!(node.tag.as_ref(), "message" | "receipt" | "notification" | "ack")
}

/// The same stanza as a server with another clock dates it.
fn misdated(node: Node, seconds: i64) -> Node {
    match node.number::<u64>("t") {
        Some(t) => node.attr("t", t.saturating_add_signed(seconds)),
        None => node,
    }
}
