//! What belongs to one connection: its phase, its deadlines, and what waits for an answer on it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use rand::{CryptoRng, RngExt as _};

use crate::{
    account::{
        SendMessage, Ticket,
        app_state::{Syncing, Upload},
        ask::Asked,
        code::Linking,
        devices::Claim,
        passkey,
        presence::Typing,
        send::PendingResend,
    },
    clock::Millis,
    crypto::app_state::Collection,
    stanza::MediaConn,
    wire::{Jid, Node},
};

/// From the dial to the first stanza: a handshake's 20 s (what the published clients allow) and the login's.
pub(super) const OPENING: Duration = Duration::from_secs(40);
/// Nothing received for so long after the first unanswered write: the link is dead (WhatsApp Web's figure).
pub(super) const SILENCE: Duration = Duration::from_secs(20);
/// A sent message must be acknowledged within this time, or the way out is broken.
pub(super) const ACK_WAIT: Duration = Duration::from_secs(20);
/// A ping, and the request to leave passive mode, must be answered within this time, whatever else comes (WhatsApp Web's figure).
pub(super) const PING_WAIT: Duration = Duration::from_secs(20);
/// Stanzas were promised, and for this long not one has come, though they were asked for all the while.
pub(super) const DRAIN_STALLED: Duration = Duration::from_secs(30);
/// An answer to a query that has not come by now does not come (Baileys gives up at 60 s).
pub(super) const QUERY_WAIT: Duration = Duration::from_secs(60);
/// With nothing new for this long the next batch is asked for again …
pub(super) const DRAIN_NUDGE: Duration = Duration::from_secs(2);
/// … and after this long the queue counts as drained (WhatsApp Web's figure).
pub(super) const DRAIN_LIMIT: Duration = Duration::from_secs(60);
/// A refused query is asked again after this pause.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// What the server says to who asks too often (protocol 05, 1.1).
const RATE_OVERLIMIT: u16 = 429;
/// While it does, each pause is twice the one before, up to five minutes and a bit.
const MAX_DOUBLINGS: u32 = 5;
/// So many such refusals in a row are waited out with a caller on the line, half a minute in all.
const PATIENT: u32 = 2;
/// Longest pause between two attempts.
const BACKOFF_MAX: u64 = 60;
/// After asking to be unlinked, the server's answer is waited for this long.
pub(super) const LOGOUT_WAIT: Duration = Duration::from_secs(3);

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::account) enum Phase {
    /// Dialling and shaking hands.
    Opening,
    /// Registered, waiting for a phone to scan.
    Pairing,
    /// A phone scanned; the server restarts the stream.
    Paired,
    /// The login is under way.
    LoggingIn,
    /// Logged in, the offline queue is being delivered.
    Draining,
    /// Everything that comes is news.
    Live,
    /// Asked to be unlinked.
    LoggingOut,
}

/// Why a query was asked: what to do with its answer.
#[derive(Debug)]
pub(in crate::account) enum Query {
    Ping,
    Active,
    PreKeyCount,
    PreKeyUpload(Vec<u32>),
    /// Device lists of these people.
    Devices(Vec<Jid>),
    /// Bundles of these devices.
    Bundles(Vec<Jid>),
    /// Is this number registered?
    Number(String),
    /// What is this group?
    Group(Jid),
    /// How do the account's privacy settings stand?
    Privacy,
    /// What is set for this client?
    Props,
    /// This person may reach the account, from this time on (Unix seconds).
    Token(Jid, u64),
    /// May people be written to who never wrote?
    ReachoutLock,
    /// How many?
    NewChatCap,
    /// Whom has the account blocked?
    Blocklist,
    /// Asked by a caller.
    Asked(Asked),
    MediaHosts,
    /// These collections of app state.
    AppState(Vec<Collection>),
    /// A patch of ours.
    AppStateUpload(Box<Upload>),
    Logout,
    /// What is the code on show to be called?
    LinkHello,
    /// A code was typed.
    LinkFinish,
    /// Of a linking with a passkey.
    Passkey(passkey::Asked),
}

/// What belongs to one connection and ends with it.
pub(in crate::account) struct Conn {
    pub(in crate::account) phase: Phase,
    pub(in crate::account) since: Millis,
    pub(super) last_in: Millis,
    /// First write since something was last received.
    pub(super) first_out: Option<Millis>,
    pub(super) next_ping: Millis,
    /// The oldest ping that was not answered.
    pub(in crate::account) pinged: Option<Millis>,
    /// When the server was asked to leave passive mode, until it has.
    pub(super) activating: Option<Millis>,
    pub(super) prefix: String,
    pub(super) next_id: u32,
    pub(in crate::account) queries: HashMap<String, (Query, Millis)>,
    // Pairing.
    pub(in crate::account) refs: VecDeque<String>,
    pub(in crate::account) rotate_at: Option<Millis>,
    /// The server has said that it waits for a phone.
    pub(in crate::account) greeted: bool,
    pub(in crate::account) linking: Linking,
    // The offline queue.
    pub(in crate::account) promised: u32,
    pub(in crate::account) drained: u32,
    pub(super) asked: u32,
    pub(super) last_drained: Millis,
    pub(super) nudged: Millis,
    // Sending.
    /// Encrypted sends of earlier connections were written again up to here; `None`: all were.
    pub(in crate::account) rewritten: Option<i64>,
    /// Written and not acknowledged, oldest first.
    pub(in crate::account) in_flight: VecDeque<(String, Millis)>,
    /// People whose devices were asked for.
    pub(in crate::account) asked_devices: HashSet<Jid>,
    /// People's lists of devices that wait for the identity of the phone that is to have signed them.
    pub(in crate::account) claims: HashMap<Jid, Claim>,
    /// Phones whose identity was asked for though one is known.
    pub(in crate::account) doubted_phones: HashSet<Jid>,
    /// Devices whose bundles were asked for.
    pub(in crate::account) asked_bundles: HashSet<Jid>,
    /// Numbers whose look-up was refused.
    pub(in crate::account) asked_numbers: HashSet<String>,
    /// When what was refused is asked for again.
    pub(super) ask_again_at: Option<Millis>,
    /// Refusals in a row because too much was asked.
    pub(super) overlimits: u32,
    /// Devices that have no keys to offer.
    pub(in crate::account) barren: HashSet<Jid>,
    /// Sends that wait for their number's look-up.
    pub(in crate::account) lookups: HashMap<String, Vec<(Ticket, SendMessage)>>,
    /// Groups that were asked for.
    pub(in crate::account) asked_groups: HashSet<Jid>,
    /// Groups of which the server says that the account is in none such.
    pub(in crate::account) foreign_groups: HashSet<Jid>,
    /// Sends that wait for their group's description.
    pub(in crate::account) group_lookups: HashMap<Jid, Vec<(Ticket, SendMessage)>>,
    /// Retry receipts of which only a look at the group, or at the person's devices, can tell whether they may ask: with
    /// that group or person.
    pub(in crate::account) doubtful_retries: Vec<(Jid, Node)>,
    /// The participant hash with which the server last contradicted ours, by group.
    pub(in crate::account) doubted: HashMap<Jid, String>,
    /// Sends that were encrypted a second time, for another way to address their group.
    pub(in crate::account) readdressed: HashSet<String>,
    /// Retries that wait for a bundle.
    pub(in crate::account) resends: Vec<PendingResend>,
    /// Chat states that end by themselves, and when.
    pub(in crate::account) shown: Vec<(Jid, Millis)>,
    /// Who writes or records.
    pub(in crate::account) typing: Vec<Typing>,
    // Media.
    /// Where media go, and since when that is known.
    pub(in crate::account) media: Option<(MediaConn, Millis)>,
    /// Who waits to know it.
    pub(in crate::account) media_waiting: Vec<Ticket>,
    /// Who waits for the phone to upload a file again, by message id.
    pub(in crate::account) reuploads: HashMap<String, Vec<(Ticket, i64)>>,
    /// Where each collection of app state stands.
    pub(in crate::account) app_state: Syncing,
}

impl Conn {
    pub(super) fn new(now: Millis, rng: &mut dyn CryptoRng) -> Self {
        Self {
            phase: Phase::Opening,
            since: now,
            last_in: now,
            first_out: None,
            next_ping: now + OPENING,
            pinged: None,
            activating: None,
            prefix: format!("{}.{}", rng.random::<u16>(), rng.random::<u16>()),
            next_id: 0,
            queries: HashMap::new(),
            refs: VecDeque::new(),
            rotate_at: None,
            greeted: false,
            linking: Linking::default(),
            promised: 0,
            drained: 0,
            asked: 0,
            last_drained: now,
            nudged: now,
            rewritten: Some(0),
            in_flight: VecDeque::new(),
            asked_devices: HashSet::new(),
            claims: HashMap::new(),
            doubted_phones: HashSet::new(),
            asked_bundles: HashSet::new(),
            asked_numbers: HashSet::new(),
            ask_again_at: None,
            overlimits: 0,
            barren: HashSet::new(),
            lookups: HashMap::new(),
            asked_groups: HashSet::new(),
            foreign_groups: HashSet::new(),
            group_lookups: HashMap::new(),
            doubted: HashMap::new(),
            doubtful_retries: Vec::new(),
            readdressed: HashSet::new(),
            resends: Vec::new(),
            shown: Vec::new(),
            typing: Vec::new(),
            media: None,
            media_waiting: Vec::new(),
            reuploads: HashMap::new(),
            app_state: Syncing::default(),
        }
    }

    pub(in crate::account) fn heard(&mut self, now: Millis) {
        self.last_in = now;
        self.first_out = None;
    }

    /// A stanza of the offline queue came.
    pub(in crate::account) fn drained_one(&mut self, now: Millis) {
        self.drained += 1;
        self.last_drained = now;
    }

    /// What the server promised does not come.
    pub(super) fn stalled(&self, now: Millis) -> bool {
        self.drained < self.promised && now.since(self.last_drained) >= DRAIN_STALLED
    }

    /// A fresh query id, in the shape that WhatsApp Web uses, with what its answer is for.
    pub(in crate::account) fn query(&mut self, query: Query, now: Millis) -> String {
        self.next_id += 1;
        let id = format!("{}-{}", self.prefix, self.next_id);
        self.queries.insert(id.clone(), (query, now));
        self.first_out.get_or_insert(now);
        id
    }

    /// An id for a stanza that nothing answers.
    pub(in crate::account) fn plain_id(&mut self) -> String {
        self.next_id += 1;
        format!("{}-{}", self.prefix, self.next_id)
    }

    /// A query was refused: whoever waits for its answer gets another chance after a pause, which grows while the server
    /// says that it is asked too often. `true`: that is why, and callers may wait for the next answer.
    pub(in crate::account) fn ask_again(&mut self, code: Option<u16>, now: Millis) -> bool {
        let overlimit = code == Some(RATE_OVERLIMIT);
        if self.ask_again_at.is_none() {
            let factor = if overlimit { 1 << self.overlimits.min(MAX_DOUBLINGS) } else { 1 };
            self.ask_again_at = Some(now + ASK_AGAIN * factor);
            self.overlimits = if overlimit { self.overlimits.saturating_add(1) } else { self.overlimits };
        }
        overlimit && self.overlimits <= PATIENT
    }

    /// The server answers queries (again).
    pub(in crate::account) const fn was_answered(&mut self) {
        self.overlimits = 0;
    }

    pub(super) fn deadline(&self) -> Millis {
        let mut at = match self.phase {
            Phase::Opening | Phase::LoggingIn | Phase::Paired => self.since + OPENING,
            Phase::LoggingOut => self.since + LOGOUT_WAIT,
            Phase::Pairing | Phase::Draining | Phase::Live => self.next_ping,
        };
        if let Some(rotate) = self.rotate_at {
            at = at.min(rotate);
        }
        if let (Phase::Pairing, Some(offer)) = (self.phase, &self.linking.offer) {
            at = at.min(offer.expires_at);
        }
        if let (Phase::Pairing, Some(open)) = (self.phase, &self.linking.passkey) {
            at = at.min(open.until);
        }
        if let Some(first) = self.first_out {
            at = at.min(first + SILENCE);
        }
        for asked in [self.pinged, self.activating].into_iter().flatten() {
            at = at.min(asked + PING_WAIT);
        }
        if let Some((_, sent)) = self.in_flight.front() {
            at = at.min(*sent + ACK_WAIT);
        }
        if let Some(ends) = self.shown.iter().map(|(_, ends)| *ends).min() {
            at = at.min(ends);
        }
        if let Some(ends) = self.typing.iter().map(|one| one.ends).min() {
            at = at.min(ends);
        }
        if let Some(again) = self.ask_again_at {
            at = at.min(again);
        }
        if let (Phase::Live, Some(again)) = (self.phase, self.app_state.deadline()) {
            at = at.min(again);
        }
        if self.phase == Phase::Draining {
            at =
                at.min(self.last_drained.max(self.nudged) + DRAIN_NUDGE).min(self.last_drained + DRAIN_LIMIT);
        }
        if let Some(oldest) = self.queries.values().map(|(_, asked)| *asked).min() {
            at = at.min(oldest + QUERY_WAIT);
        }
        at
    }
}

/// A connection was lost and has not come back.
#[derive(Clone, Copy)]
pub(in crate::account) struct Outage {
    pub(in crate::account) since: Millis,
    /// Webhooks heard of it as a disconnection.
    pub(super) told: bool,
}

/// When to try again.
#[derive(Default)]
pub(in crate::account) struct Retry {
    pub(super) attempt: u32,
    pub(in crate::account) at: Option<Millis>,
}

impl Retry {
    /// Fibonacci seconds (1, 1, 2, 3, 5 …), at most a minute, with a tenth of jitter either way.
    pub(super) fn back_off(&mut self, now: Millis, rng: &mut dyn CryptoRng) {
        let (mut pause, mut next) = (1u64, 1u64);
        for _ in 0..self.attempt.min(12) {
            (pause, next) = (next, pause + next);
        }
        let millis = pause.min(BACKOFF_MAX) * 1000;
        let jitter = rng.random_range(0..=millis / 5);
        self.attempt += 1;
        self.at = Some(now + Duration::from_millis(millis - millis / 10 + jitter));
    }
}
