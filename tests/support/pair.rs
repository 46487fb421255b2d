//! An account and a WhatsApp joined in one thread on one clock that only the story moves: no socket, no task, no
//! sleep. What the daemon does between the two (batches of inputs as one turn, effects after the commit, recovery from
//! a turn that failed) is done here in the same order.
#![allow(dead_code, unreachable_pub, reason = "each test is a crate that uses what it needs of this")]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;
use wazap::{
    account::{
        self, Account, Answer, Blob, Body, CloseCause, Command, Dial, Effect, Input, Link, Recipient,
        SendError, SendMessage, Sent, Settings, Status, Ticket, Turn,
    },
    clock::Millis,
    crypto::media::{Claim, MediaKeys, Verifier},
    sandbox::{Lab, Out, Sending},
    store::{self, Store, Tx, access::IdempotencyKey},
    wire::{Node, codec},
};

/// 2025-12-30T17:30:00.000Z
pub const START: Millis = Millis(1_767_115_800_000);
/// The phone that links the instance.
pub const OWN: &str = "5511912345678";
/// Somebody to talk to.
pub const ALICE: &str = "5511987654321";
/// Somebody whose phone repeats what it is told.
pub const ECHO: &str = "5511900000001";

/// Inputs of one turn at most, as the daemon bounds them.
const BATCH: usize = 64;
/// How long chat states wait in the server; of no weight here.
const CHATSTATE_TTL: Duration = Duration::from_secs(25);
/// Steps after which two ends that still talk are taken to talk for ever.
const PATIENCE: usize = 100_000;

/// What a turn works on; shared with the store's thread while it runs.
struct Core {
    account: Option<Account>,
    rng: StdRng,
}

/// What is to go wrong with the next turn that has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The disk takes nothing: everything is decided, and then rolled back.
    StoreFails,
    /// The process is killed before the turn.
    KilledBefore,
    /// The process is killed after the commit, with so many effects done.
    KilledAfter(usize),
}

/// One event of the log.
#[derive(Clone, Debug)]
pub struct Event {
    pub seq: u64,
    pub kind: String,
    pub data: Value,
}

/// A send that waits for nothing but its row, and has nothing beside its body.
pub fn message(recipient: Recipient, body: Body) -> SendMessage {
    SendMessage {
        recipient,
        body,
        mentions: Vec::new(),
        reply_to: None,
        idempotency: None,
        respond_async: true,
        dry: false,
        send_at: None,
    }
}

/// Both ends.
pub struct Pair {
    pub now: Millis,
    pub lab: Lab,
    /// Nothing gets through in either direction, and neither end can tell.
    pub deaf: bool,
    /// No connection can be made.
    pub unreachable: bool,
    /// By how many milliseconds the instance's clock is ahead of the server's.
    pub ahead: i64,
    /// Asked of each stanza on its way in: how often it is to arrive.
    pub copies: fn(&Node) -> usize,
    pub mishap: Option<Mishap>,
    /// How often the process was killed or a turn failed.
    pub mishaps: usize,
    /// Every link that was shown.
    pub links: Vec<Link>,
    /// What the client wrote, newest last.
    pub written: Vec<Node>,
    /// What the media servers hold.
    pub blobs: Vec<Vec<u8>>,
    core: Arc<Mutex<Core>>,
    store: Store,
    settings: Settings,
    runtime: Runtime,
    connection: Option<u64>,
    inbox: VecDeque<Input>,
    next_ticket: Ticket,
    answers: BTreeMap<Ticket, Answer>,
    settled: BTreeMap<Ticket, Result<(), u16>>,
    /// By the true time: a sleep that has begun does not care for what happens to the clock.
    deadline: Option<Millis>,
    /// The server neither reads nor writes until then.
    frozen: Option<Millis>,
    held: Vec<Held>,
}

/// What waits on a connection that is frozen.
enum Held {
    In(Node),
    Out(Out),
}

impl Pair {
    /// A server with three phones, and an instance that has never been started.
    pub fn new(seed: u64) -> Self {
        Self::with(seed, |_| ())
    }

    /// The same, with settings of the story's own.
    pub fn with(seed: u64, set: impl FnOnce(&mut Settings)) -> Self {
        let mut lab = Lab::new(seed, CHATSTATE_TTL);
        for (number, name) in [(OWN, "Own"), (ALICE, "Alice"), (ECHO, "Echo")] {
            lab.create_phone(number, name, START).unwrap();
        }
        let mut settings = Settings {
            instance: Uuid::from_u128(7),
            device_name: "story".into(),
            wa_version: (2, 3000, 1_000_000_000),
            available: false,
            server_root: [7; 32],
            public_url: "http://127.0.0.1:3000".into(),
            pair_phone: None,
            reject_calls: None,
        };
        set(&mut settings);
        let mut pair = Self {
            now: START,
            lab,
            deaf: false,
            unreachable: false,
            ahead: 0,
            frozen: None,
            held: Vec::new(),
            copies: |_| 1,
            mishap: None,
            mishaps: 0,
            links: Vec::new(),
            written: Vec::new(),
            blobs: Vec::new(),
            core: Arc::new(Mutex::new(Core {
                account: None,
                rng: StdRng::seed_from_u64(seed ^ 0x00c1_1e47),
            })),
            store: Store::in_memory().unwrap(),
            settings,
            runtime: Builder::new_current_thread().build().unwrap(),
            connection: None,
            inbox: VecDeque::new(),
            next_ticket: 0,
            answers: BTreeMap::new(),
            settled: BTreeMap::new(),
            deadline: None,
        };
        pair.start();
        pair
    }

    /// The same, linked by a scanned code, with everything said that both ends have to say.
    pub fn linked(seed: u64) -> Self {
        let mut pair = Self::new(seed);
        pair.drive();
        pair.scan();
        pair.pass(Duration::from_secs(15));
        assert_eq!(pair.status(), Status::Connected, "the code was scanned");
        pair
    }

    /// A phone scans the code on show.
    pub fn scan(&mut self) {
        let code = self.link().qr.expect("a code is on show").text;
        self.lab.scan_qr(OWN, &code, self.now).unwrap();
        self.drive();
    }

    pub fn link(&self) -> Link {
        self.links.last().expect("a start shows the link").clone()
    }

    pub fn status(&self) -> Status {
        self.link().status
    }

    /// Puts an input in front of the account, to share a turn with whatever else waits.
    pub fn input(&mut self, input: Input) {
        self.inbox.push_back(input);
    }

    /// The number of the connection, as the server counts.
    pub fn connection(&self) -> Option<u64> {
        self.connection
    }

    /// Asks for something; the answer may come later.
    pub fn ask(&mut self, command: Command) -> Ticket {
        self.next_ticket += 1;
        self.inbox.push_back(Input::Command(self.next_ticket, command));
        self.next_ticket
    }

    /// Asks for a text to be sent, without waiting for anything but the row.
    pub fn post(&mut self, to: &str, text: &str, key: Option<&str>) -> Ticket {
        let idempotency = key.map(|key| IdempotencyKey {
            token: 1,
            key: key.to_owned(),
            body_hash: [text.len() as u8; 32],
        });
        let recipient = Recipient::Number(to.to_owned());
        let message = message(recipient, Body::Text(text.to_owned()));
        self.ask(Command::SendMessage(SendMessage { idempotency, ..message }))
    }

    /// Sends something of any kind and drives.
    pub fn say(&mut self, to: Recipient, body: Body) -> Result<Sent, SendError> {
        let ticket = self.ask(Command::SendMessage(message(to, body)));
        self.drive();
        self.sent(ticket).expect("answered")
    }

    /// Sends a text and drives; the id.
    pub fn send(&mut self, to: &str, text: &str) -> String {
        let ticket = self.post(to, text, None);
        self.drive();
        self.sent(ticket).expect("answered").expect("accepted").message_id
    }

    /// The answer to a send, if there is one.
    pub fn sent(&self, ticket: Ticket) -> Option<Result<Sent, SendError>> {
        match self.answers.get(&ticket)? {
            Answer::Send(outcome) => Some(outcome.clone()),
            other => panic!("a send was answered with {other:?}"),
        }
    }

    pub fn answer(&self, ticket: Ticket) -> Option<&Answer> {
        self.answers.get(&ticket)
    }

    /// What WhatsApp said of a send that was waited for.
    pub fn settled(&self, ticket: Ticket) -> Option<Result<(), u16>> {
        self.settled.get(&ticket).copied()
    }

    /// A phone sends a text to the instance's number; the id. Nothing is driven.
    pub fn phone_sends(&mut self, from: &str, text: &str) -> String {
        let what = Sending::Text { text: text.to_owned(), quote: None };
        self.lab.send(from, OWN, what, self.now).unwrap()
    }

    /// Texts that a phone received in a chat with the instance, oldest first: id and text.
    pub fn inbox_of(&self, phone: &str) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = Vec::new();
        loop {
            let page = self.lab.messages(phone, all.last().map(|(id, _)| id.as_str())).unwrap();
            if page.is_empty() {
                return all;
            }
            all.extend(page.into_iter().map(|m| (m.id, m.text.unwrap_or_default())));
        }
    }

    /// The whole event log.
    pub fn events(&self) -> Vec<Event> {
        let page = self.runtime.block_on(self.store.read(|tx| tx.events().read_after(0, 100_000, &[])));
        let events = page.unwrap().events.into_iter();
        let events: Vec<Event> = events
            .map(|event| Event {
                seq: event.seq,
                kind: event.kind,
                data: serde_json::from_str(&event.data).unwrap(),
            })
            .collect();
        for (n, event) in events.iter().enumerate() {
            assert_eq!(event.seq, n as u64 + 1, "the log has no gaps");
        }
        events
    }

    /// Events of one kind.
    pub fn events_of(&self, kind: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event.kind == kind).map(|event| event.data).collect()
    }

    /// WhatsApp ids of the messages reported as received, in order.
    pub fn received(&self) -> Vec<String> {
        ids(&self.events_of("message.received"))
    }

    /// The steps that a message of ours was reported to take.
    pub fn progress_of(&self, id: &str) -> Vec<String> {
        let events = self.events_of("message.status").into_iter();
        let ours = events.filter(|data| data["whatsapp_message_id"] == id);
        ours.map(|data| data["new_status"].as_str().unwrap().to_owned()).collect()
    }

    /// Reads or changes the database beside the account.
    pub fn store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, store::Error> + Send + 'static,
    ) -> T {
        self.runtime.block_on(self.store.write(work)).unwrap()
    }

    /// What the server still waits to have answered, by any device.
    pub fn unanswered(&self) -> usize {
        self.lab.stats().queued
    }

    /// What the server remembers of one message, for whoever has to find out.
    pub fn log_of(&self, id: &str) -> String {
        let lines = self.lab.log(None).unwrap().into_iter().filter(|line| line.stanza.contains(id));
        lines
            .map(|line| format!("{} {} {} {}\n", line.time, line.device, line.direction, line.stanza))
            .collect()
    }

    /// No stanza of ours was one that no documented client would send.
    pub fn assert_well_behaved(&self) {
        assert_eq!(self.lab.stats().refused, BTreeMap::new());
    }

    /// One step of either end; `false` if neither has anything to do.
    pub fn step(&mut self) -> bool {
        let mut busy = false;
        if !self.inbox.is_empty() {
            let count = self.inbox.len().min(BATCH);
            let inputs = self.inbox.drain(..count).collect();
            self.turn(inputs);
            busy = true;
        }
        for (connection, out) in self.lab.take() {
            busy = true;
            self.served(connection, out);
        }
        busy
    }

    /// Steps both ends until neither has anything to do.
    pub fn drive(&mut self) {
        for _ in 0..PATIENCE {
            if !self.step() {
                return;
            }
        }
        panic!("the two ends do not come to rest");
    }

    /// Lets time pass, from one deadline to the next.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.drive();
        for _ in 0..PATIENCE {
            let due = [self.deadline, self.lab.deadline(), self.frozen].into_iter().flatten().min();
            let Some(due) = due.filter(|due| *due <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(due);
            if self.frozen.is_some_and(|at| at <= self.now) {
                self.thaw();
            }
            if self.lab.deadline().is_some_and(|at| at <= self.now) {
                self.lab.tick(self.now);
            }
            if self.deadline.is_some_and(|at| at <= self.now) {
                self.inbox.push_back(Input::Tick);
            }
            self.drive();
        }
        panic!("there is always something due");
    }

    /// The TCP connection breaks.
    pub fn cut(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.lab.closed(connection, self.now);
            self.inbox.push_back(Input::Closed(CloseCause::Lost));
        }
    }

    /// The process ends without a word and starts again.
    pub fn kill(&mut self) {
        self.mishaps += 1;
        self.inbox.clear();
        self.answers.clear();
        self.settled.clear();
        if let Some(connection) = self.connection.take() {
            self.lab.closed(connection, self.now);
        }
        self.start();
    }

    /// The instance's clock.
    fn shown(&self) -> Millis {
        Millis(self.now.0.saturating_add_signed(self.ahead))
    }

    /// When a time of the instance's clock will be.
    fn truly(&self, at: Option<Millis>) -> Option<Millis> {
        at.map(|at| Millis(at.0.saturating_add_signed(-self.ahead)))
    }

    fn thaw(&mut self) {
        self.frozen = None;
        for held in std::mem::take(&mut self.held) {
            match (held, self.connection) {
                (Held::In(node), Some(connection)) => self.lab.node(connection, node, self.now),
                (Held::Out(out), Some(connection)) => self.served(connection, out),
                (_, None) => {}
            }
        }
    }

    fn start(&mut self) {
        self.rebuild(None);
        self.inbox.push_back(Input::Started);
    }

    /// Memory from the database; `shown`: after a turn that failed.
    fn rebuild(&mut self, shown: Option<Link>) {
        let (core, settings, now) = (self.core.clone(), self.settings.clone(), self.shown());
        let rebuilt = self.store.write(move |tx: &mut Tx<'_>| {
            let mut core = core.lock().unwrap();
            let Core { account: slot, rng } = &mut *core;
            let mut turn = Turn { tx, now, rng, effects: Vec::new() };
            let mut account = Account::load(settings, &mut turn)?;
            if let Some(shown) = shown {
                account.resume(shown, &mut turn)?;
            }
            let deadline = account.deadline();
            let effects = std::mem::take(&mut turn.effects);
            *slot = Some(account);
            Ok::<_, account::Error>((effects, deadline))
        });
        let (effects, deadline) = self.runtime.block_on(rebuilt).unwrap();
        self.deadline = self.truly(deadline);
        self.act(effects);
    }

    fn turn(&mut self, inputs: Vec<Input>) {
        let mishap = self.mishap.take();
        if mishap == Some(Mishap::KilledBefore) {
            return self.kill();
        }
        let (core, now, fails) = (self.core.clone(), self.shown(), mishap == Some(Mishap::StoreFails));
        let decided = self.store.write(move |tx: &mut Tx<'_>| {
            let mut core = core.lock().unwrap();
            let Core { account: slot, rng } = &mut *core;
            let mut account = slot.take().expect("there is an account between turns");
            let mut turn = Turn { tx, now, rng, effects: Vec::new() };
            for input in inputs {
                account.handle(input, &mut turn)?;
            }
            account.settle(&mut turn)?;
            if fails {
                return Err(account::Error::from(store::Error::Sqlite("disk full".into())));
            }
            let deadline = account.deadline();
            let effects = std::mem::take(&mut turn.effects);
            *slot = Some(account);
            Ok((effects, deadline))
        });
        match self.runtime.block_on(decided) {
            Ok((mut effects, deadline)) => {
                self.deadline = self.truly(deadline);
                if let Some(Mishap::KilledAfter(done)) = mishap {
                    effects.truncate(done);
                    self.act(effects);
                    return self.kill();
                }
                self.act(effects);
            }
            Err(_) if fails => {
                self.mishaps += 1;
                self.inbox.clear();
                if let Some(connection) = self.connection.take() {
                    self.lab.closed(connection, self.now);
                }
                let shown = self.link();
                self.rebuild(Some(shown));
            }
            Err(error) => panic!("a turn failed by itself: {error}"),
        }
    }

    /// After the commit, in order.
    fn act(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Open(dial) => self.open(&dial),
                Effect::Close => {
                    // What the server still says on it is never read.
                    self.inbox
                        .retain(|input| matches!(input, Input::Command(..) | Input::Tick | Input::Started));
                    if let Some(connection) = self.connection.take() {
                        self.lab.closed(connection, self.now);
                    }
                }
                Effect::Send(bytes) => {
                    let node = codec::decode(&bytes).expect("what we write can be read");
                    self.written.push(node.clone());
                    if let (Some(connection), false) = (self.connection, self.deaf) {
                        if self.frozen.is_some() {
                            self.held.push(Held::In(node));
                        } else {
                            self.lab.node(connection, node, self.now);
                        }
                    }
                }
                Effect::Answer(ticket, answer) => {
                    self.answers.insert(ticket, answer);
                }
                Effect::Settled(ticket, outcome) => {
                    self.settled.insert(ticket, outcome);
                }
                Effect::Link(link) => self.links.push(link),
                Effect::Fetch(blob) => {
                    let content = self.blobs.iter().find_map(|sealed| open(&blob, sealed));
                    self.inbox.push_back(Input::Fetched(blob.id, content));
                }
            }
        }
    }

    fn open(&mut self, dial: &Dial) {
        assert!(self.connection.is_none(), "one connection at a time");
        if self.unreachable {
            return self.inbox.push_back(Input::Closed(CloseCause::Unreachable));
        }
        (self.frozen, self.held) = (None, Vec::new());
        self.connection = Some(self.lab.opened(dial.noise.public, &dial.payload, self.now));
        self.inbox.push_back(Input::Opened);
    }

    fn served(&mut self, connection: u64, out: Out) {
        let present = self.connection == Some(connection);
        match out {
            Out::Freeze(time) if present => self.frozen = Some(self.now + time),
            // A cut goes through everything.
            out @ (Out::Node(_) | Out::Close) if present && self.frozen.is_some() => {
                self.held.push(Held::Out(out));
            }
            Out::Node(node) if present && !self.deaf => {
                // Through the codec, as on the wire.
                let node = codec::decode(&codec::encode(&node).unwrap()).unwrap();
                for _ in 0..(self.copies)(&node) {
                    self.inbox.push_back(Input::Node(node.clone()));
                }
            }
            Out::Close | Out::Cut => {
                self.lab.closed(connection, self.now);
                if present {
                    self.connection = None;
                    self.inbox.push_back(Input::Closed(CloseCause::Lost));
                }
            }
            Out::Node(_) | Out::Freeze(_) => {}
        }
    }
}

/// A blob, if it is the one that is wanted: by the hash that was announced, as on the real servers.
fn open(wanted: &Blob, sealed: &[u8]) -> Option<Vec<u8>> {
    let claim = Claim::new(wanted.file_sha256.as_deref(), wanted.file_enc_sha256.as_deref(), None).ok()?;
    let mut verifier = Verifier::new(MediaKeys::derive(&wanted.media_key, wanted.kind));
    verifier.update(sealed);
    let mut content = Vec::new();
    let mut decryptor = verifier.finish(claim).ok()?.decryptor();
    decryptor.update(sealed, &mut content).ok()?;
    decryptor.finish(&mut content).ok()?;
    Some(content)
}

/// WhatsApp ids in events about messages.
pub fn ids(events: &[Value]) -> Vec<String> {
    events.iter().map(|data| data["whatsapp_message_id"].as_str().unwrap().to_owned()).collect()
}
