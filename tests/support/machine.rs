//! An account, its phone, two other people and a group as a machine with levers: messages in every direction, faults of the
//! line, deaths, clocks that jump, people who come and go. Whatever is pulled in whatever order, what is counted at the end
//! must be right.
#![allow(dead_code, unreachable_pub, reason = "each test is a crate that uses what it needs of this")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use wazap::{
    account::{Answer, Body, Command, Recipient, SendMessage, Status, Target, Ticket},
    sandbox::{DeviceCommand, Sending},
    stanza::MemberChange,
    store::access::IdempotencyKey,
    wire::Jid,
};

use crate::pair::{ALICE, Mishap, OWN, Pair, message};

pub const BEA: &str = "5511900000077";
/// Whoever writes, by place.
const PHONES: [&str; 2] = [ALICE, BEA];

/// A chat of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chat {
    Alice,
    Bea,
    Group,
}

const CHATS: [Chat; 3] = [Chat::Alice, Chat::Bea, Chat::Group];

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Text,
    /// Of the last text of the same writer there.
    Edit,
    Reaction,
}

/// A lever.
#[derive(Clone, Debug)]
pub enum Op {
    Send(Chat, What),
    /// By number of the phone.
    Receive(usize, Chat, What),
    /// The phone's session is lost.
    Forget(usize),
    /// What is due happens step by step; so many steps.
    Steps(u8),
    Pass(Duration),
    Fault(&'static str, Value),
    FaultsEnd,
    Cut,
    Refuse(Duration),
    StreamError(u16),
    Freeze(Duration),
    /// Nothing gets through for so long, and neither end can tell.
    Deaf(Duration),
    Kill,
    /// With the next turn.
    Mishap(Mishap),
    /// By how many seconds the instance's clock is ahead.
    Clock(i64),
    Disconnect,
    Connect,
    /// The phone logs the instance out, and links it anew.
    Relink,
    /// Bea joins the group, or is removed.
    Membership(bool),
}

/// A message of the instance's.
#[derive(Clone, Debug)]
struct Sent {
    chat: Chat,
    what: What,
    id: String,
    text: String,
    /// Bea was in the group from when it was asked for until all was calm.
    for_bea: bool,
}

/// A call of the API that has no answer yet.
struct Waiting {
    ticket: Ticket,
    command: SendMessage,
    chat: Chat,
    what: What,
    text: String,
}

pub struct Machine {
    pub pair: Pair,
    group: Jid,
    faults: Map<String, Value>,
    calls: u32,
    waiting: Vec<Waiting>,
    sent: Vec<Sent>,
    /// Ids whose fate was checked before the last link.
    settled: BTreeSet<String>,
    /// By the id of the stanza: the type of the event that tells of it, and the id that it names.
    received: BTreeMap<String, (&'static str, String)>,
    /// The last text of each phone in each chat, and whether it was edited and reacted to.
    texts: BTreeMap<(usize, Chat), (String, bool, bool)>,
    member: bool,
    /// Bea's membership changed since all was calm.
    moved: bool,
    rejecting: bool,
}

impl Machine {
    pub fn new(seed: u64) -> Self {
        let mut pair = Pair::linked(seed);
        pair.lab.create_phone(BEA, "Bea", pair.now).unwrap();
        let made = pair.lab.create_group(OWN, "Team", &PHONES, seed.is_multiple_of(2), pair.now).unwrap();
        pair.drive();
        Self {
            pair,
            group: made.jid.parse().unwrap(),
            faults: Map::new(),
            calls: 0,
            waiting: Vec::new(),
            sent: Vec::new(),
            settled: BTreeSet::new(),
            received: BTreeMap::new(),
            texts: BTreeMap::new(),
            member: true,
            moved: false,
            rejecting: false,
        }
    }

    /// Pulls the levers one after the other, then lets all calm down and counts.
    pub fn play(&mut self, ops: &[Op]) {
        for op in ops {
            self.pull(op);
            self.look_for_answers();
        }
        self.calm();
        self.check();
    }

    fn device(&self) -> Option<String> {
        Some(self.pair.lab.phone(OWN).unwrap().companions.first()?.jid.clone())
    }

    fn operate(&mut self, command: DeviceCommand) {
        if let Some(device) = self.device() {
            // Of no use while it is not connected.
            let _ = self.pair.lab.device(&device, command, self.pair.now);
        }
    }

    pub fn pull(&mut self, op: &Op) {
        match op {
            Op::Send(chat, what) => self.send(*chat, *what),
            Op::Receive(phone, chat, what) => self.receive(*phone, *chat, *what),
            Op::Forget(phone) => {
                if let Some(device) = self.device() {
                    self.pair.lab.forget_session(PHONES[*phone], &device).unwrap();
                }
            }
            Op::Steps(count) => drop((0..*count).take_while(|_| self.pair.step()).count()),
            Op::Pass(time) => self.pair.pass(*time),
            Op::Fault(name, settings) => {
                self.rejecting |= *name == "reject";
                let mut settings = settings.clone();
                // A phone has nobody who would try again for it.
                if let (Some(device), true) = (self.device(), *name == "reject") {
                    settings["device"] = device.into();
                }
                self.faults.insert((*name).to_owned(), settings);
                self.pair.lab.set_faults(&Value::Object(self.faults.clone())).unwrap();
            }
            Op::FaultsEnd => {
                self.faults.clear();
                self.pair.lab.set_faults(&json!({})).unwrap();
            }
            Op::Cut => self.pair.cut(),
            Op::Refuse(time) => self.operate(DeviceCommand::Refuse(*time)),
            Op::StreamError(code) => self.operate(DeviceCommand::StreamError(*code)),
            Op::Freeze(time) => self.operate(DeviceCommand::Freeze(*time)),
            Op::Deaf(time) => {
                self.pair.deaf = true;
                self.pair.pass(*time);
                self.pair.deaf = false;
                // What was not heard is lost to this connection; a real one would not go on without it.
                self.pair.cut();
            }
            Op::Kill => self.pair.kill(),
            Op::Mishap(mishap) => self.pair.mishap = Some(*mishap),
            Op::Clock(seconds) => self.pair.ahead = seconds * 1000,
            Op::Disconnect => drop(self.pair.ask(Command::Disconnect { logout: false })),
            Op::Connect => drop(self.pair.ask(Command::Connect)),
            Op::Relink => self.relink(),
            Op::Membership(joins) => self.membership(*joins),
        }
    }

    fn send(&mut self, chat: Chat, what: What) {
        let recipient = match chat {
            Chat::Alice => Recipient::Number(ALICE.into()),
            Chat::Bea => Recipient::Number(BEA.into()),
            Chat::Group => Recipient::Jid(self.group.clone()),
        };
        let target = self.sent.iter().rev().find(|sent| sent.chat == chat && sent.what == What::Text);
        let target = target.map(|sent| sent.id.clone());
        self.calls += 1;
        let text = format!("out {}", self.calls);
        let (what, body) = match (what, target) {
            (What::Edit, Some(id)) => (What::Edit, Body::Edit { id, text: text.clone() }),
            (What::Reaction, Some(id)) => {
                let target = Target { id, from_me: true, participant: None };
                (What::Reaction, Body::Reaction { target, emoji: "👍".into() })
            }
            _ => (What::Text, Body::Text(text.clone())),
        };
        let mut body_hash = [0; 32];
        body_hash[..4].copy_from_slice(&self.calls.to_be_bytes());
        let idempotency = Some(IdempotencyKey { token: 1, key: text.clone(), body_hash });
        let command = SendMessage { idempotency, ..message(recipient, body) };
        let ticket = self.pair.ask(Command::SendMessage(command.clone()));
        self.waiting.push(Waiting { ticket, command, chat, what, text });
    }

    fn look_for_answers(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            match self.pair.answer(waiting.ticket) {
                Some(Answer::Send(Ok(sent))) => self.sent.push(Sent {
                    chat: waiting.chat,
                    what: waiting.what,
                    id: sent.message_id.clone(),
                    text: waiting.text,
                    for_bea: self.member,
                }),
                // Not taken: it must not arrive either.
                Some(Answer::Send(Err(_)) | Answer::Refused(_)) => {}
                Some(Answer::Later(_)) => self.ask_again(waiting),
                Some(other) => panic!("a send was answered with {other:?}"),
                None => self.waiting.push(waiting),
            }
        }
    }

    fn ask_again(&mut self, waiting: Waiting) {
        let ticket = self.pair.ask(Command::SendMessage(waiting.command.clone()));
        self.waiting.push(Waiting { ticket, ..waiting });
    }

    fn receive(&mut self, phone: usize, chat: Chat, what: What) {
        // Bea writes in her own chat and in the group, as long as she is in it.
        let chat = match (chat, phone) {
            (Chat::Group, 1) if !self.member => Chat::Bea,
            (Chat::Group, _) => Chat::Group,
            (_, 0) => Chat::Alice,
            _ => Chat::Bea,
        };
        let text = format!("in {}", self.received.len());
        let last = self.texts.get_mut(&(phone, chat));
        let (sending, event) = match (what, last) {
            (What::Edit, Some((id, edited @ false, _))) => {
                *edited = true;
                (Sending::Edit { id: id.clone(), text }, Some(("message.edited", id.clone())))
            }
            (What::Reaction, Some((id, _, reacted @ false))) => {
                *reacted = true;
                let emoji = "❤".to_owned();
                (Sending::Reaction { id: id.clone(), emoji }, Some(("message.reaction", id.clone())))
            }
            _ => (Sending::Text { text, quote: None }, None),
        };
        let to = if chat == Chat::Group { self.group.to_wire() } else { OWN.to_owned() };
        let id = self.pair.lab.send(PHONES[phone], &to, sending, self.pair.now).unwrap();
        if event.is_none() {
            self.texts.insert((phone, chat), (id.clone(), false, false));
        }
        self.received.insert(id.clone(), event.unwrap_or(("message.received", id)));
    }

    fn membership(&mut self, joins: bool) {
        if joins == self.member {
            return;
        }
        let change = if joins { MemberChange::Add } else { MemberChange::Remove };
        self.pair.lab.change_members(&self.group, change, &[BEA], self.pair.now).unwrap();
        self.member = joins;
        self.moved = true;
        self.sent.iter_mut().for_each(|sent| sent.for_bea &= joins);
    }

    /// What was under way when an account is unlinked fails, and says so; here nothing is.
    fn relink(&mut self) {
        self.calm();
        self.check();
        self.settled.extend(self.sent.drain(..).map(|sent| sent.id));
        self.texts.clear();
        let device = self.pair.lab.phone(OWN).unwrap().companions[0].device;
        self.pair.lab.unlink(OWN, device, self.pair.now).unwrap();
        self.pair.pass(Duration::from_secs(5));
        self.pair.scan();
        self.pair.pass(Duration::from_secs(20));
        assert_eq!(self.pair.status(), Status::Connected, "linked anew");
    }

    /// Whatever is wrong is put right, and time passes.
    fn calm(&mut self) {
        self.pull(&Op::FaultsEnd);
        self.pair.mishap = None;
        self.pair.drive();
        if self.pair.status() == Status::Disconnected {
            self.pull(&Op::Connect);
        }
        for _ in 0..8 {
            self.pair.pass(Duration::from_secs(60));
            self.look_for_answers();
            // Of a call that was cut off nobody knows whether it was taken: the caller asks again.
            for waiting in std::mem::take(&mut self.waiting) {
                self.ask_again(waiting);
            }
        }
        self.pair.pass(Duration::from_secs(60));
        self.look_for_answers();
    }

    /// The phones that should have what was sent to a chat.
    fn readers(&self, sent: &Sent) -> Vec<(&'static str, bool)> {
        match sent.chat {
            Chat::Alice => vec![(ALICE, true)],
            Chat::Bea => vec![(BEA, true)],
            Chat::Group => vec![(ALICE, true), (BEA, sent.for_bea && !self.moved)],
        }
    }

    fn check(&mut self) {
        let pair = &self.pair;
        assert_eq!(pair.status(), Status::Connected);
        assert!(self.waiting.is_empty(), "calls without an answer");
        let mut told: BTreeMap<(String, String), usize> = BTreeMap::new();
        for event in pair.events() {
            if let Some(id) = event.data["whatsapp_message_id"].as_str() {
                *told.entry((event.kind, id.to_owned())).or_default() += 1;
            }
        }
        let times = |kind: &str, id: &str| told.get(&(kind.to_owned(), id.to_owned())).copied().unwrap_or(0);
        // In.
        for (id, (kind, target)) in &self.received {
            assert_eq!(times(kind, target), 1, "{kind} of {target}\n{}", pair.log_of(id));
        }
        for (_, id) in told.keys().filter(|(kind, _)| kind == "message.undecryptable") {
            let readable = self.received.get(id).is_some_and(|(kind, target)| times(kind, target) > 0);
            assert!(readable, "{id} never became readable\n{}", pair.log_of(id));
        }
        // Out.
        let mut arrived: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for phone in PHONES {
            for (id, _) in self.inbox(phone) {
                *arrived.entry((phone, id)).or_default() += 1;
            }
        }
        for sent in &self.sent {
            let steps = pair.progress_of(&sent.id);
            let failed = steps.contains(&"failed".to_owned());
            assert!(!failed || self.rejecting, "{sent:?} failed\n{}", pair.log_of(&sent.id));
            for (phone, surely) in self.readers(sent) {
                let count = arrived.get(&(phone, sent.id.clone())).copied().unwrap_or(0);
                let wanted = if failed {
                    0..=0
                } else if surely {
                    1..=1
                } else {
                    0..=1
                };
                assert!(
                    wanted.contains(&count),
                    "{count} of {sent:?} at {phone}, {steps:?}\n{}",
                    pair.log_of(&sent.id)
                );
            }
            let mut ordered = steps.clone();
            ordered.dedup();
            assert_eq!(ordered, steps, "{sent:?}: a step told twice");
            if sent.what == What::Text && !failed {
                assert_eq!(times("message.sent", &sent.id), 1, "{sent:?}");
                assert_eq!(steps.last().map(String::as_str), Some("delivered"), "{sent:?}");
            }
        }
        let known: BTreeSet<&String> = self.sent.iter().map(|sent| &sent.id).chain(&self.settled).collect();
        for (phone, id) in arrived.keys() {
            assert!(known.contains(id), "{id} arrived at {phone}, and nobody was told\n{}", pair.log_of(id));
        }
        // Nothing is owed.
        if let Some((device, node)) = pair.lab.unanswered().first() {
            let id = node.text("id").unwrap_or_default();
            panic!("{device} never answered {node:?}\n{}", pair.log_of(id));
        }
        let queues = pair.store(|tx| tx.health().queues());
        assert_eq!(queues.outgoing.rows, 0, "sends that wait for ever");
        assert_eq!(pair.lab.stats().reused_keys, 0, "a message key served twice");
        pair.assert_well_behaved();
        self.moved = false;
        self.rejecting = false;
        let member = self.member;
        self.sent.iter_mut().for_each(|sent| sent.for_bea &= member);
    }

    /// What a phone has of the instance: ids and texts.
    fn inbox(&self, phone: &str) -> Vec<(String, String)> {
        let lid = self.pair.lab.phone(OWN).unwrap().lid;
        let own = format!("{OWN}@s.whatsapp.net");
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.pair.lab.messages(phone, after.as_deref()).unwrap();
            let Some(last) = page.last() else { return all };
            after = Some(last.id.clone());
            let ours = page.into_iter().filter(|m| m.sender == own || m.sender == lid);
            all.extend(ours.map(|m| (m.id, m.text.unwrap_or_default())));
        }
    }
}

fn chat() -> impl Strategy<Value = Chat> {
    prop::sample::select(CHATS.to_vec())
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![4 => Just(What::Text), 1 => Just(What::Edit), 1 => Just(What::Reaction)]
}

fn seconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs)
}

/// Messages, both ways.
pub fn traffic() -> impl Strategy<Value = Op> {
    prop_oneof![
        (chat(), what()).prop_map(|(chat, what)| Op::Send(chat, what)),
        (0..2_usize, chat(), what()).prop_map(|(phone, chat, what)| Op::Receive(phone, chat, what)),
    ]
}

/// Time.
pub fn time() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..6_u8).prop_map(Op::Steps),
        3 => (0..3000_u64).prop_map(|ms| Op::Pass(Duration::from_millis(ms))),
        1 => seconds(1..100).prop_map(Op::Pass),
    ]
}

/// One fault of the line, mild enough that what is asked for again a few times comes.
pub fn fault(name: &'static str) -> BoxedStrategy<Op> {
    let with = move |settings: Value| Op::Fault(name, settings);
    match name {
        "delay" => (1..3000_u64, 0.1..1.0)
            .prop_map(move |(ms, p)| with(json!({ "ms": ms, "probability": p })))
            .boxed(),
        // Five refusals of one message in a row, and it is given up.
        "corrupt" | "stale" | "withhold" => {
            (0.02..0.15).prop_map(move |p| with(json!({ "probability": p }))).boxed()
        }
        "reject" => (prop::sample::select(vec![400, 403, 406]), 0.1..0.5)
            .prop_map(move |(error, p)| with(json!({ "error": error, "probability": p })))
            .boxed(),
        "clock" => (-250_000..250_000_i64, 0.05..1.0)
            .prop_map(move |(off, p)| {
                with(json!({ "seconds": if off == 0 { 1 } else { off }, "probability": p }))
            })
            .boxed(),
        _ => (0.05..0.6).prop_map(move |p| with(json!({ "probability": p }))).boxed(),
    }
}

/// What the line does by itself.
pub const FAULTS: [&str; 8] =
    ["delay", "duplicate", "reorder", "drop_acks", "corrupt", "stale", "withhold", "clock"];

/// What happens to connections.
pub fn connection() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::Cut),
        seconds(1..90).prop_map(Op::Refuse),
        prop::sample::select(vec![500, 503, 515]).prop_map(Op::StreamError),
        seconds(1..70).prop_map(Op::Freeze),
        seconds(1..70).prop_map(Op::Deaf),
    ]
}

/// What happens to the process.
pub fn death() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::Kill),
        Just(Op::Mishap(Mishap::StoreFails)),
        Just(Op::Mishap(Mishap::KilledBefore)),
        (0..6_usize).prop_map(|done| Op::Mishap(Mishap::KilledAfter(done))),
    ]
}

/// Half a day either way: within a whole one, a caller may ask again under its key.
pub fn clock() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => Just(Op::Clock(0)),
        2 => (-100..100_i64).prop_map(Op::Clock),
        2 => (-40_000..40_000_i64).prop_map(Op::Clock),
    ]
}

/// What people do.
pub fn people() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..2_usize).prop_map(Op::Forget),
        Just(Op::Disconnect),
        Just(Op::Connect),
        any::<bool>().prop_map(Op::Membership),
    ]
}
