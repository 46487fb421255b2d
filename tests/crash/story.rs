//! The crash program: an instance is killed at random moments, again and again, while texts, files, places, edits and
//! reactions go both ways between it and the phones of a sandbox, in chats and in a group; then it is counted. Of `crash.rs`
//! it is a test of half a minute, of `benches/crash.rs` one of any length.
//!
//! What is counted: what the phone told of the past is there, once; what the phones sent is in the event log and at the receiver of the webhooks, once; what the API answered
//! with an id is on the phones, once; the log has no gap, and what it once showed it still shows; no message key served
//! twice; nothing stays unreadable; nothing is owed to the server.
#![allow(dead_code, unreachable_pub, reason = "the test and the program use what they need of this")]

mod load;
mod past;
#[cfg(unix)]
mod power;
#[path = "../support/process.rs"]
pub mod process;
mod receiver;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio::{
    sync::watch as channel,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use wazap::sandbox::{Admin, Options, Sandbox};

use load::{Common, Sent, What};
use power::Power;
use process::{Instance, OWN, Setup, http};
use receiver::Receiver;
use watch::{Inbox, Log};

const ALICE: &str = "5511987654321";
const BOB: &str = "5521976543210";
const CAROL: &str = "5531965432109";
const PHONES: [&str; 3] = [ALICE, BOB, CAROL];
/// Her phone loses its sessions: what she is sent comes when she has asked for it again, not in order.
const FORGETFUL: &str = ALICE;
/// How long what is under way at the end may take.
const PATIENCE: Duration = Duration::from_secs(150);

/// When it is enough.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    Kills(u32),
    Time(Duration),
}

/// What is to be done to the instance.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Draws every moment and every kind of death.
    pub seed: u64,
    pub until: Until,
    /// Every other death is a power cut.
    pub power: bool,
    /// The disk says to have synced and has not: things must get lost, or the accounting is worth nothing.
    pub lying_disk: bool,
    /// The line has faults, other ones in each life.
    pub faults: bool,
    /// So many messages are older than the instance; it hears of them while it is killed.
    pub past: u32,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    pub seed: u64,
    pub kills: u32,
    pub cuts: u32,
    pub stops: u32,
    pub lasted: Duration,
    pub sent_in: usize,
    pub sent_out: usize,
    pub replays: u64,
    pub repeated: usize,
    pub refused: u64,
    pub retried: usize,
    /// Writes of which a power cut took something.
    pub torn: u64,
    pub events: usize,
    /// Messages of the past.
    pub past: usize,
    pub lost: BTreeSet<String>,
    pub doubled: BTreeSet<String>,
    pub reused_keys: u64,
    pub unreadable: BTreeSet<String>,
    /// Whatever else is not as it should be.
    pub wrong: Vec<String>,
    /// Where the instance's log is, if it was not all right.
    pub folder: PathBuf,
}

impl Outcome {
    /// Nothing lost, nothing doubled, nothing wrong.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty()
            && self.doubled.is_empty()
            && self.unreadable.is_empty()
            && self.reused_keys == 0
            && self.wrong.is_empty()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, kills, cuts, stops, sent_in, sent_out, replays, repeated, refused, retried, .. } =
            self;
        let Self { torn, events, past, .. } = self;
        let seconds = self.lasted.as_secs_f64();
        writeln!(
            f,
            "seed {seed}: {seconds:.0} s, {events} events; answers replayed {replays}, webhooks refused {refused} and \
             repeated {repeated}, messages asked for again {retried}, writes torn or lost by power cuts {torn}"
        )?;
        write!(
            f,
            "kills {kills} (and {cuts} power cuts, {stops} stops), messages in {sent_in} (and {past} of the past), messages out {sent_out}, \
             lost {}, doubled {}, keys reused {}, unreadable {}",
            self.lost.len(),
            self.doubled.len(),
            self.reused_keys,
            self.unreadable.len(),
        )?;
        for wrong in self.wrong.iter().take(20) {
            write!(f, "\nwrong: {wrong}")?;
        }
        for (what, ids) in
            [("lost", &self.lost), ("doubled", &self.doubled), ("unreadable", &self.unreadable)]
        {
            for id in ids.iter().take(10) {
                write!(f, "\n{what}: {id}")?;
            }
        }
        if !self.is_clean() {
            write!(f, "\nthe instance's log is in {}", self.folder.display())?;
        }
        Ok(())
    }
}

/// Plays it. The folder of the run is removed if all is well.
pub async fn play(plan: &Plan, folder: PathBuf) -> Outcome {
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let sandbox = Sandbox::start(Options { seed: Some(plan.seed), ..Options::default() }).await.unwrap();
    let admin = sandbox.admin();
    for (number, name) in [(OWN, "Own"), (ALICE, "Alice"), (BOB, "Bob"), (CAROL, "Carol")] {
        admin.create_phone(Some(number.into()), Some(name.into()), None).unwrap();
    }
    let receiver = Receiver::start(plan.seed).await;
    let setup = Setup::new(&folder, &sandbox, &receiver.url);
    let http = http();
    let past = past::undisturbed(&folder, &sandbox, &http, plan.past, plan.seed).await;
    let mut first = Instance::start(&setup);
    first.link(&http, &sandbox).await;
    let people = [OWN, BOB, CAROL].map(str::to_owned);
    let group = admin.create_group(ALICE, "Group", &people, plan.seed.is_multiple_of(2)).unwrap().jid;
    first.terminate().await;
    let power = plan.power.then(|| Power::new(&folder, &setup.folder, plan.lying_disk)).flatten();
    if plan.power && power.is_none() {
        return Outcome {
            wrong: vec!["power cuts need Linux and a C compiler".into()],
            ..Outcome::default()
        };
    }
    let (shown, instance) = channel::channel(None);
    let done = Arc::new(AtomicBool::new(false));
    let replays = Arc::new(AtomicU64::new(0));
    let common = Common { http: http.clone(), instance: instance.clone(), done: done.clone(), replays };

    // Whoever looks on.
    let stop = CancellationToken::new();
    let log = Arc::new(Mutex::new(Log::default()));
    tokio::spawn(watch::follow(log.clone(), http.clone(), instance.clone(), stop.clone(), plan.seed));
    let mut inboxes = BTreeMap::new();
    for phone in PHONES {
        let inbox = Inbox::default();
        tokio::spawn(watch::inbox(phone, inbox.clone(), admin.clone(), stop.clone()));
        inboxes.insert(phone, inbox);
    }

    // The load.
    let mut seed = plan.seed;
    let mut next_seed = || {
        seed += 1;
        seed
    };
    let chats: Vec<String> = PHONES.iter().map(|phone| (*phone).to_owned()).chain([group.clone()]).collect();
    let mut bots = Vec::new();
    for chat in &chats {
        bots.push((chat.clone(), tokio::spawn(load::bot(chat.clone(), common.clone(), next_seed()))));
    }
    let mut phones = Vec::new();
    for (from, to) in PHONES.map(|phone| (phone, OWN.to_owned())).into_iter().chain([(BOB, group.clone())]) {
        let phone = load::phone(from, to.clone(), admin.clone(), done.clone(), next_seed());
        phones.push((from, to, tokio::spawn(phone)));
    }
    tokio::spawn(load::forgetful(FORGETFUL, admin.clone(), done.clone(), next_seed()));

    // The deaths.
    receiver.calm(false);
    let rng = StdRng::seed_from_u64(plan.seed);
    let mut killer = Killer {
        plan: plan.clone(),
        setup,
        admin: admin.clone(),
        power,
        rng,
        shown,
        outcome: Outcome::default(),
    };
    let started = Instant::now();
    let last = killer.work(started).await;
    let Killer { mut outcome, power, .. } = killer;
    if power.as_ref().is_some_and(|power| power.syncs == 0) {
        outcome.wrong.push("not one sync was seen: the library is not in use".into());
    }
    outcome.torn = power.as_ref().map_or(0, |power| power.lost);
    outcome.lasted = started.elapsed();
    outcome.seed = plan.seed;
    outcome.folder = folder.clone();
    done.store(true, Ordering::Relaxed);
    admin.clear_faults();
    receiver.calm(true);

    // Calm: what is under way arrives.
    let (mut out, mut into) = (Vec::new(), Vec::new());
    for (to, bot) in bots {
        let (sent, gave_up) = bot.await.unwrap();
        out.push((to, sent));
        outcome.wrong.extend(gave_up);
    }
    for (from, to, phone) in phones {
        into.push((from, to, phone.await.unwrap()));
    }
    let books =
        Books { plan, out, into, group, receiver: &receiver, log: &log, inboxes: &inboxes, admin: &admin };
    // What such a disk has lost does not come, however long one waits.
    let patience = if plan.lying_disk { PATIENCE / 15 } else { PATIENCE };
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline && !books.settled() {
        sleep(Duration::from_millis(100)).await;
    }
    // What comes twice may come late.
    sleep(Duration::from_secs(2)).await;
    let url = last.url().await;
    watch::read_again(&log, &http, &url).await;
    outcome.past = past.values().map(Vec::len).sum();
    outcome.wrong.extend(past::compare(&http, &url, &past).await);
    stop.cancel();
    outcome.replays = common.replays.load(Ordering::Relaxed);
    books.balance(&mut outcome);
    drop(last);
    sandbox.shutdown().await;
    if outcome.is_clean() {
        let _ = std::fs::remove_dir_all(&folder);
    }
    outcome
}

struct Killer {
    plan: Plan,
    setup: Setup,
    admin: Admin,
    power: Option<Power>,
    rng: StdRng,
    shown: channel::Sender<Option<String>>,
    outcome: Outcome,
}

impl Killer {
    fn enough(&self, started: Instant) -> bool {
        match self.plan.until {
            Until::Kills(kills) => self.outcome.kills + self.outcome.cuts >= kills,
            Until::Time(time) => started.elapsed() >= time,
        }
    }

    /// Kills one instance after the other; the one that is alive at the end.
    async fn work(&mut self, started: Instant) -> Instance {
        while !self.enough(started) {
            if self.plan.faults {
                let faults = line_faults(&mut self.rng);
                self.admin.set_faults(&faults).expect("faults that exist");
            }
            // In the middle of a commit, or whenever it happens.
            let after = self.power.is_some() && self.rng.random_bool(0.5);
            let after = after.then(|| self.rng.random_range(2.0_f64..9.0).exp() as u32 + 1);
            self.setup.environment = self.power.iter().flat_map(|power| power.environment(after)).collect();
            let mut instance = Instance::start(&self.setup);
            self.live(&mut instance).await;
            self.shown.send_replace(None);
            self.end(instance, after.is_some()).await;
            // Mostly up again at once; now and then so late that much waits at the server.
            match self.rng.random_range(0..20) {
                0..14 => {}
                14..19 => sleep(Duration::from_millis(self.rng.random_range(0..500))).await,
                _ => sleep(Duration::from_millis(self.rng.random_range(1000..3000))).await,
            }
        }
        self.setup.environment = self.power.iter().flat_map(|power| power.environment(None)).collect();
        let instance = Instance::start(&self.setup);
        self.shown.send_replace(Some(instance.url().await));
        instance
    }

    /// Until the moment of death: while it starts, when it has just got connected and drains its queue, or at work.
    async fn live(&mut self, instance: &mut Instance) {
        let started = Instant::now();
        let millis = Duration::from_millis;
        let (connected, after) = match self.rng.random_range(0..20) {
            0..2 => (false, millis(self.rng.random_range(0..150))),
            2..4 => (false, millis(self.rng.random_range(100..400))),
            4..8 => (true, millis(self.rng.random_range(0..60))),
            8..12 => (true, millis(self.rng.random_range(0..300))),
            _ => (true, millis(self.rng.random_range(200..1500))),
        };
        let mut end = started + if connected { millis(4000) } else { after };
        let mut waiting = connected;
        let mut address = instance.address();
        loop {
            let step = Instant::now() + millis(3);
            let found = timeout_at(step.min(end), address.wait_for(Option::is_some)).await;
            if let Ok(Ok(url)) = &found
                && self.shown.borrow().is_none()
            {
                self.shown.send_replace((*url).clone());
            }
            drop(found);
            let online = || self.admin.phone(OWN).is_ok_and(|own| own.companions.iter().any(|c| c.online));
            if waiting && online() {
                waiting = false;
                end = Instant::now() + after;
            }
            if Instant::now() >= end || instance.ended() {
                return;
            }
            sleep_until(step.min(end)).await;
        }
    }

    async fn end(&mut self, mut instance: Instance, to_die: bool) {
        let ended = instance.ended();
        if ended && !to_die {
            self.outcome.wrong.push("an instance ended by itself".into());
        } else if !ended && self.rng.random_bool(0.04) {
            if !instance.terminate().await {
                self.outcome.wrong.push("an instance did not end within ten seconds".into());
            }
            self.outcome.stops += 1;
        } else {
            instance.kill();
            let cut = ended || self.power.is_some() && self.rng.random_bool(0.5);
            *(if cut { &mut self.outcome.cuts } else { &mut self.outcome.kills }) += 1;
            if let Some(power) = &mut self.power {
                power.ended();
                if cut {
                    power.cut(&mut self.rng);
                }
            }
            return;
        }
        if let Some(power) = &mut self.power {
            power.ended();
        }
    }
}

/// Some faults of the line, mild enough that something gets through.
fn line_faults(rng: &mut StdRng) -> serde_json::Value {
    let mut faults = serde_json::Map::new();
    let mut maybe = |chance: f64, name: &str, settings: serde_json::Value, rng: &mut StdRng| {
        if rng.random_bool(chance) {
            faults.insert(name.into(), settings);
        }
    };
    let ms: u64 = rng.random_range(5..120);
    maybe(0.3, "delay", json!({ "ms": ms, "probability": 0.3 }), rng);
    maybe(0.4, "duplicate", json!({ "probability": 0.1 }), rng);
    maybe(0.4, "reorder", json!({ "probability": 0.1 }), rng);
    maybe(0.4, "drop_acks", json!({ "probability": 0.05 }), rng);
    maybe(0.4, "corrupt", json!({ "probability": 0.03 }), rng);
    maybe(0.4, "stale", json!({ "probability": 0.03 }), rng);
    maybe(0.3, "withhold", json!({ "probability": 0.02 }), rng);
    maybe(0.3, "cdn", json!({ "status": 500, "probability": 0.1 }), rng);
    maybe(0.2, "cdn_cut", json!({ "probability": 0.1 }), rng);
    let off: i64 = rng.random_range(1..100_000);
    maybe(
        0.3,
        "clock",
        json!({ "seconds": if off % 2 == 0 { off } else { -off }, "probability": 0.05 }),
        rng,
    );
    faults.into()
}

/// What was sent, and where it should be.
struct Books<'a> {
    plan: &'a Plan,
    /// By chat.
    out: Vec<(String, Vec<Sent>)>,
    /// By phone and chat.
    into: Vec<(&'static str, String, Vec<Sent>)>,
    group: String,
    receiver: &'a Receiver,
    log: &'a Mutex<Log>,
    inboxes: &'a BTreeMap<&'static str, Inbox>,
    admin: &'a Admin,
}

impl Books<'_> {
    /// The phones on which a message to this chat arrives.
    fn readers(&self, chat: &str) -> Vec<&'static str> {
        PHONES.into_iter().filter(|phone| chat == self.group || chat == *phone).collect()
    }

    fn settled(&self) -> bool {
        let mut outcome = Outcome::default();
        self.compare(&mut outcome);
        outcome.lost.is_empty() && outcome.unreadable.is_empty() && self.admin.stats().queued == 0
    }

    fn balance(&self, outcome: &mut Outcome) {
        self.compare(outcome);
        let stats = self.admin.stats();
        outcome.reused_keys = stats.reused_keys;
        outcome.repeated = self.receiver.repeated();
        outcome.refused = self.receiver.refused();
        if !stats.refused.is_empty() {
            outcome.wrong.push(format!("stanzas that no documented client sends: {:?}", stats.refused));
        }
        if !stats.unknown.is_empty() {
            outcome.wrong.push(format!("unknown queries: {:?}", stats.unknown));
        }
        if stats.queued > 0 {
            outcome.wrong.push(format!("{} stanzas are not answered", stats.queued));
        }
        outcome.wrong.extend(self.log.lock().unwrap().wrong.iter().cloned());
        if !self.plan.faults {
            self.order(outcome);
        }
    }

    fn compare(&self, outcome: &mut Outcome) {
        let log = self.log.lock().unwrap();
        outcome.events = log.len();
        outcome.sent_in = self.into.iter().map(|(.., sent)| sent.len()).sum();
        outcome.sent_out = self.out.iter().map(|(_, sent)| sent.len()).sum();
        // In.
        for sent in self.into.iter().flat_map(|(.., sent)| sent) {
            let (kind, id) = sent.event();
            match log.told(kind, &id) {
                0 => drop(outcome.lost.insert(format!("{} in, from the log: {kind} of {id}", sent.id))),
                1 => {}
                _ => drop(outcome.doubled.insert(format!("{} in, in the log", sent.id))),
            }
            if self.receiver.taken(false, &sent.id).is_none() {
                outcome.lost.insert(format!("{} in, from the webhooks", sent.id));
            }
        }
        outcome.doubled.extend(self.receiver.doubled().into_iter().map(|id| format!("{id}, by webhooks")));
        // Out.
        for (chat, sent) in &self.out {
            for phone in self.readers(chat) {
                let mut counts: BTreeMap<String, (usize, String)> = BTreeMap::new();
                for (id, text) in self.inboxes[phone].lock().unwrap().iter() {
                    let count = counts.entry(id.clone()).or_default();
                    *count = (count.0 + 1, text.clone());
                }
                for sent in sent {
                    match counts.get(&sent.id) {
                        None => drop(outcome.lost.insert(format!("{} out, to {phone}", sent.id))),
                        Some((1, text)) => {
                            let told = matches!(sent.what, What::Text | What::File | What::Place);
                            if told && *text != sent.text {
                                outcome.wrong.push(format!("{} came as {text:?}", sent.id));
                            }
                        }
                        Some(_) => drop(outcome.doubled.insert(format!("{} out, at {phone}", sent.id))),
                    }
                }
            }
            for sent in sent.iter().filter(|s| matches!(s.what, What::Text | What::File | What::Place)) {
                if log.told("message.sent", &sent.id) != 1 {
                    outcome.lost.insert(format!("{} out, from the log: message.sent", sent.id));
                }
                if log.told("delivered", &sent.id) == 0 {
                    outcome.lost.insert(format!("{} out, delivery not told", sent.id));
                }
            }
        }
        // On a phone there is nothing that nobody was answered for.
        let answered: BTreeSet<&str> = self.out.iter().flat_map(|(_, s)| s).map(|s| s.id.as_str()).collect();
        for (id, text) in self.inboxes.values().flat_map(|inbox| inbox.lock().unwrap().clone()) {
            if !answered.contains(id.as_str()) {
                outcome.doubled.insert(format!("{id} out, which nobody was told of: {text}"));
            }
        }
        let unreadable = log.of("message.undecryptable");
        let by_id: BTreeMap<&str, &Sent> =
            self.into.iter().flat_map(|(.., s)| s).map(|s| (s.id.as_str(), s)).collect();
        for id in unreadable {
            outcome.retried += 1;
            let told = by_id.get(id).is_some_and(|sent| {
                let (kind, id) = sent.event();
                log.told(kind, &id) > 0
            });
            if !told {
                outcome.unreadable.insert(id.to_owned());
            }
        }
    }

    /// In the order in which it was sent, chat by chat; not what had to be asked for again.
    fn order(&self, outcome: &mut Outcome) {
        for (chat, sent) in &self.out {
            let wanted: Vec<&str> = sent.iter().map(|sent| sent.id.as_str()).collect();
            let ours: BTreeSet<&str> = wanted.iter().copied().collect();
            for phone in self.readers(chat).into_iter().filter(|phone| *phone != FORGETFUL) {
                let inbox = self.inboxes[phone].lock().unwrap();
                let came: Vec<&str> =
                    inbox.iter().map(|(id, _)| id.as_str()).filter(|id| ours.contains(id)).collect();
                if outcome.lost.is_empty() && outcome.doubled.is_empty() && came != wanted {
                    outcome.wrong.push(format!("out of order at {phone}"));
                }
            }
        }
        for (from, to, sent) in &self.into {
            let chat = if to == OWN { format!("{from}@s.whatsapp.net") } else { to.clone() };
            let told: BTreeSet<&str> =
                sent.iter().filter(|s| s.what != What::Reaction).map(|s| s.id.as_str()).collect();
            let wanted = sent.iter().map(|s| s.id.as_str()).filter(|id| told.contains(id));
            let order = self.receiver.order(&chat);
            let came = order.iter().map(String::as_str).filter(|id| told.contains(id));
            if *from != FORGETFUL && outcome.lost.is_empty() && !wanted.eq(came) {
                outcome.wrong.push(format!("webhooks out of order: from {from} in {chat}"));
            }
        }
    }
}
