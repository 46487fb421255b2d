//! `kill -9` at random moments while texts go both ways: nothing is lost, nothing is doubled, everything in order.
//!
//! `WAZAP_CRASH_KILLS` says how often (default 50). The same promise on a fake clock, and with a disk that fails, is
//! `account_crash.rs`; here the process, SQLite's files, the sockets and the webhooks are real.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/process.rs"]
mod process;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use process::{Instance, OWN, Platform, Setup, TOKEN, events, http};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use wazap::sandbox::{Admin, Options, Sandbox, Sending};

const ALICE: &str = "5511987654321";
const BOB: &str = "5521976543210";
/// Between one message and the next, in each direction and chat.
const PACE: Duration = Duration::from_millis(40);
/// How long what is under way at the end may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the instance answers just now; changes with every life.
type Where = watch::Receiver<Option<String>>;

/// One send that has an answer.
struct Sent {
    id: String,
    text: String,
}

/// A client of the API: one text after the other, each under its own key, asked again until it is answered.
struct Bot {
    to: &'static str,
    http: Client,
    instance: Where,
    done: Arc<AtomicBool>,
    replays: Arc<AtomicU64>,
    rng: StdRng,
}

impl Bot {
    async fn run(mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        while !self.done.load(Ordering::Relaxed) {
            let text = format!("out {} to {}", sent.len(), self.to);
            let key = format!("{}-{}", self.to, sent.len());
            let at_once = self.rng.random_bool(0.3);
            let id = self.send(&key, &text, at_once).await;
            if self.rng.random_bool(0.2) {
                assert_eq!(self.send(&key, &text, at_once).await, id, "the same key, the same message");
            }
            sent.push(Sent { id, text });
            sleep(PACE).await;
        }
        sent
    }

    /// Until there is an answer; its id.
    async fn send(&self, key: &str, text: &str, at_once: bool) -> String {
        let mut instance = self.instance.clone();
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "{key} is never answered");
            let Ok(url) = instance.wait_for(Option::is_some).await.map(|url| url.clone().unwrap()) else {
                panic!("no instance any more")
            };
            let mut request = self
                .http
                .post(format!("{url}/send-message"))
                .bearer_auth(TOKEN)
                .header("Idempotency-Key", key)
                .header("Content-Type", "application/json")
                .body(json!({"recipient": self.to, "message": text}).to_string());
            if at_once {
                request = request.header("Prefer", "respond-async");
            }
            // Killed in the middle: whether it was taken, nobody knows.
            let Ok(answer) = request.send().await else {
                sleep(Duration::from_millis(10)).await;
                continue;
            };
            let (status, replayed) =
                (answer.status().as_u16(), answer.headers().contains_key("Idempotent-Replayed"));
            let Ok(body) = answer.bytes().await else { continue };
            match status {
                200 | 202 => {
                    self.replays.fetch_add(u64::from(replayed), Ordering::Relaxed);
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    return body["message_id"].as_str().unwrap().to_owned();
                }
                // Not connected in time: nothing was and nothing will be sent.
                503 => sleep(Duration::from_millis(10)).await,
                _ => panic!("{key}: {status} {}", String::from_utf8_lossy(&body)),
            }
        }
    }
}

/// A phone that writes to the instance's number; the ids, in order.
async fn phone(from: &'static str, admin: Admin, done: Arc<AtomicBool>) -> Vec<String> {
    let mut sent = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let what = Sending::Text { text: format!("in {} from {from}", sent.len()), quote: None };
        sent.push(admin.send(from, OWN, what).unwrap());
        sleep(PACE).await;
    }
    sent
}

/// Everything that a phone received in its chat with the instance.
async fn inbox(admin: &Admin, number: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    loop {
        let after = all.last().map(|(id, _)| id.clone());
        let page = admin.messages(number, Some(OWN), after.as_deref(), Duration::ZERO).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page.into_iter().map(|message| (message.id, message.text.unwrap_or_default())));
    }
}

/// Kills the instance again and again; the one that is alive at the end.
async fn killer(
    setup: &Setup,
    first: Instance,
    kills: u32,
    shown: watch::Sender<Option<String>>,
) -> Instance {
    let mut rng = StdRng::seed_from_u64(u64::from(kills));
    let mut instance = first;
    for _ in 0..kills {
        // Some die while they start, most at work.
        let life = if rng.random_bool(0.2) { 0..300 } else { 300..1500 };
        let life = Duration::from_millis(rng.random_range(life));
        let end = Instant::now() + life;
        let mut address = instance.address();
        if let Ok(Ok(url)) = tokio::time::timeout_at(end, address.wait_for(Option::is_some))
            .await
            .map(|r| r.map(|u| u.clone()))
        {
            shown.send_replace(url);
        }
        tokio::time::sleep_until(end).await;
        instance.kill();
        shown.send_replace(None);
        instance = Instance::start(setup);
    }
    shown.send_replace(Some(instance.url().await));
    instance
}

fn fresh_folder() -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_nothing_is_lost_and_nothing_is_doubled() {
    let kills: u32 = std::env::var("WAZAP_CRASH_KILLS").map_or(50, |count| count.parse().unwrap());
    let folder = fresh_folder();
    let sandbox = Sandbox::start(Options { seed: Some(1), ..Options::default() }).await.unwrap();
    let admin = sandbox.admin();
    for (number, name) in [(OWN, "Own"), (ALICE, "Alice"), (BOB, "Bob")] {
        admin.create_phone(Some(number.into()), Some(name.into()), None).unwrap();
    }
    let platform = Platform::start().await;
    let setup = Setup::new(&folder, &sandbox, &platform.url);
    let http = http();
    let first = Instance::start(&setup);
    first.link(&http, &sandbox).await;

    // The load.
    let (shown, instance) = watch::channel(Some(first.url().await));
    let (done, replays) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients = [ALICE, BOB].map(|to| {
        let client = Bot {
            to,
            http: http.clone(),
            instance: instance.clone(),
            done: done.clone(),
            replays: replays.clone(),
            rng: StdRng::seed_from_u64(to.len() as u64),
        };
        (to, tokio::spawn(client.run()))
    });
    let phones = [ALICE, BOB].map(|from| (from, tokio::spawn(phone(from, admin.clone(), done.clone()))));
    let started = Instant::now();
    let last = killer(&setup, first, kills, shown).await;
    let lasted = started.elapsed();
    done.store(true, Ordering::Relaxed);

    // Calm: what is under way arrives.
    let mut sent_out = BTreeMap::new();
    for (to, client) in clients {
        sent_out.insert(to, client.await.unwrap());
    }
    let mut sent_in = BTreeMap::new();
    for (from, phone) in phones {
        sent_in.insert(from, phone.await.unwrap());
    }
    let (outs, ins) =
        (sent_out.values().map(Vec::len).sum::<usize>(), sent_in.values().map(Vec::len).sum::<usize>());
    let all_in = platform.until(PATIENCE, |platform| platform.incoming(false).1.len() >= ins).await;
    let delivered = |platform: &Platform| {
        let statuses = platform.posts().into_iter().filter(|p| p.kind == "status" && p.body["status"] == 3);
        statuses.map(|p| p.body["key"]["id"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>().len()
    };
    let all_out = platform.until(PATIENCE, |platform| delivered(platform) >= outs).await;

    // Out: on the receiving phone, once, in order.
    let (mut lost, mut doubled) = (Vec::new(), Vec::new());
    for (to, sent) in &sent_out {
        let arrived = inbox(&admin, to).await;
        let wanted: Vec<(String, String)> =
            sent.iter().map(|sent| (sent.id.clone(), sent.text.clone())).collect();
        let mut seen = BTreeSet::new();
        doubled.extend(arrived.iter().filter(|(id, _)| !seen.insert(id)).map(|(id, _)| id.clone()));
        lost.extend(wanted.iter().filter(|(id, _)| !seen.contains(id)).map(|(id, _)| id.clone()));
        if lost.is_empty() && doubled.is_empty() {
            assert_eq!(arrived, wanted, "out of order, or sent without an answer");
        }
    }
    // In: webhooks at least once, the event log exactly once, both in order.
    let (order, webhooks) = platform.incoming(false);
    let log = events(&http, &last.url().await).await;
    let of = |kind: &str| -> Vec<String> {
        let events = log.iter().filter(|event| event["type"] == kind);
        events.map(|event| event["data"]["whatsapp_message_id"].as_str().unwrap().to_owned()).collect()
    };
    let received = of("message.received");
    let mut seen = BTreeSet::new();
    doubled.extend(received.iter().filter(|id| !seen.insert(*id)).cloned());
    for (from, sent) in &sent_in {
        lost.extend(sent.iter().filter(|id| !seen.contains(id) || !webhooks.contains_key(*id)).cloned());
        let chat = format!("{from}@s.whatsapp.net");
        let posted = order.iter().filter(|body| body["remoteJid"] == chat.as_str());
        let posted: Vec<&str> = posted.map(|body| body["key"]["id"].as_str().unwrap()).collect();
        if lost.is_empty() {
            assert_eq!(posted, *sent, "webhooks out of order");
        }
    }
    let (_, own) = platform.incoming(true);
    for (id, deliveries) in webhooks.iter().chain(&own) {
        let distinct: BTreeSet<&String> = deliveries.iter().collect();
        assert_eq!(distinct.len(), 1, "{id} was posted as {deliveries:?}");
    }
    let again: usize = webhooks.values().chain(own.values()).map(|deliveries| deliveries.len() - 1).sum();
    let undecryptable = of("message.undecryptable");
    let never_read: Vec<&String> = undecryptable.iter().filter(|id| !seen.contains(id)).collect();
    let reported: BTreeSet<String> = of("message.sent").into_iter().collect();
    let seqs: Vec<u64> = log.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    println!(
        "kills {kills} in {:.1} s, out {outs} (replayed {}), in {ins}, lost {}, doubled {}, webhooks repeated {again}, undecryptable {}",
        lasted.as_secs_f64(),
        replays.load(Ordering::Relaxed),
        lost.len(),
        doubled.len(),
        undecryptable.len(),
    );
    let trail = |ids: &[String]| -> String {
        let lines =
            admin.log(None).unwrap().into_iter().filter(|line| ids.iter().any(|id| line.stanza.contains(id)));
        lines
            .map(|line| format!("{} {} {} {}\n", line.time, line.device, line.direction, line.stanza))
            .collect()
    };
    assert!(lost.is_empty(), "lost (log in {}):\n{}", folder.display(), trail(&lost));
    assert!(doubled.is_empty(), "doubled (log in {}):\n{}", folder.display(), trail(&doubled));
    assert!(all_in && all_out, "something is still under way (log in {})", folder.display());
    assert_eq!(never_read, Vec::<&String>::new(), "undecryptable for ever");
    assert_eq!(seqs, (1..=log.len() as u64).collect::<Vec<_>>(), "the log has a gap");
    assert!(sent_out.values().flatten().all(|sent| reported.contains(&sent.id)), "sent, and not reported");
    assert_eq!(admin.stats().refused, BTreeMap::new(), "stanzas that no documented client sends");
    assert!(outs > kills as usize && ins > kills as usize, "hardly any load");
    drop(last);
    sandbox.shutdown().await;
    let _ = std::fs::remove_dir_all(&folder);
}
