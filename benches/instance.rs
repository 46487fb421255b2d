//! A whole instance as a process of its own, measured from outside: start, idle memory, threads, texts per second both
//! ways with durable commits. Prints figures and asserts none of them. `cargo bench --bench instance`;
//! `WAZAP_BIN` names another build of the program.
//!
//! The sandbox and the platform that takes the webhooks run in this process, on the same cores: what they need is missing
//! in the figures of throughput.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a bench that fails")]

#[path = "../tests/support/process.rs"]
mod process;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use process::{Instance, OWN, Platform, Setup, TOKEN, events, http};
use reqwest::Client;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use wazap::sandbox::{Options, Sandbox, Sending};

const ALICE: &str = "5511987654321";
/// Texts of one measurement.
const TEXTS: usize = 2_000;
/// Requests in flight.
const CALLERS: usize = 32;
/// Starts of which the median is printed.
const STARTS: usize = 9;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let sandbox = Sandbox::start(Options { seed: Some(1), ..Options::default() }).await.unwrap();
    for (number, name) in [(OWN, "Own"), (ALICE, "Alice")] {
        sandbox.admin().create_phone(Some(number.into()), Some(name.into()), None).unwrap();
    }
    let platform = Platform::start().await;
    let setup = Setup::new(&folder, &sandbox, &platform.url);
    let http = http();
    let first = Instance::start(&setup);
    first.link(&http, &sandbox).await;
    drop(first);

    let instance = starts(&setup, &http).await;
    sleep(Duration::from_secs(3)).await;
    memory("idle", instance.id());
    out(&instance, &http, &sandbox).await;
    live_in(&instance, &http, &sandbox).await;
    drain(instance, &setup, &http, &sandbox).await;
    sandbox.shutdown().await;
    std::fs::remove_dir_all(&folder).unwrap();
}

/// From the start of the process to `ready`, and to a link that is logged in; paired, on an existing database.
async fn starts(setup: &Setup, http: &Client) -> Instance {
    let (mut ready, mut connected) = (Vec::new(), Vec::new());
    for last in (0..STARTS).rev() {
        let started = Instant::now();
        let instance = Instance::start(setup);
        ready.push(instance.ready().await);
        instance.until(http, "connected").await;
        connected.push(started.elapsed());
        if last == 0 {
            println!("start to ready            {:>8.1} ms (median of {STARTS})", millis(&mut ready));
            println!("start to connected        {:>8.1} ms (asked every 20 ms)", millis(&mut connected));
            return instance;
        }
    }
    unreachable!("the last start returns")
}

fn millis(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// What the kernel says of the process.
fn memory(when: &str, pid: u32) {
    let Ok(rollup) = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
        return println!("no /proc here: memory is not measured");
    };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |text: &str, name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let mib = |name| field(&rollup, name) as f64 / 1024.0;
    println!(
        "{when}: resident {:.1} MiB, anonymous {:.1} MiB, threads {}",
        mib("Rss:"),
        mib("Anonymous:"),
        field(&status, "Threads:")
    );
}

fn rate(what: &str, texts: usize, time: Duration) {
    println!(
        "{what:<26}{:>8.0} /s ({texts} in {:.2} s)",
        texts as f64 / time.as_secs_f64(),
        time.as_secs_f64()
    );
}

/// `POST /send-message`, answered once stored, and again answered once WhatsApp has it.
async fn out(instance: &Instance, http: &Client, sandbox: &Sandbox) {
    let url = format!("{}/send-message", instance.url().await);
    for (what, prefer) in [("out, queued", Some("respond-async")), ("out, acknowledged", None)] {
        let before = sandbox.admin().phone(ALICE).unwrap().messages;
        let next = Arc::new(AtomicUsize::new(0));
        let mut callers = JoinSet::new();
        let started = Instant::now();
        for _ in 0..CALLERS {
            let (http, url, next) = (http.clone(), url.clone(), next.clone());
            callers.spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= TEXTS {
                        return;
                    }
                    let body = json!({"recipient": ALICE, "message": format!("text number {n}")}).to_string();
                    let mut request = http
                        .post(&url)
                        .bearer_auth(TOKEN)
                        .header("Content-Type", "application/json")
                        .body(body);
                    if let Some(prefer) = prefer {
                        request = request.header("Prefer", prefer);
                    }
                    let answer = request.send().await.unwrap();
                    assert!(answer.status().is_success(), "{}", answer.status());
                    answer.bytes().await.unwrap();
                }
            });
        }
        while callers.join_next().await.is_some() {}
        rate(&format!("{what}: answered"), TEXTS, started.elapsed());
        while sandbox.admin().phone(ALICE).unwrap().messages < before + TEXTS as u64 {
            sleep(Duration::from_millis(2)).await;
        }
        rate(&format!("{what}: arrived"), TEXTS, started.elapsed());
    }
    memory("after sending", instance.id());
}

/// A phone writes as fast as it can; until the last one is a committed event.
async fn live_in(instance: &Instance, http: &Client, sandbox: &Sandbox) {
    let url = instance.url().await;
    let newest = events(http, &url).await.len();
    let (admin, started) = (sandbox.admin(), Instant::now());
    for n in 0..TEXTS {
        admin.send(ALICE, OWN, Sending::Text { text: format!("text number {n}"), quote: None }).unwrap();
        if n % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let (mut after, mut seen) = (newest as u64, 0);
    while seen < TEXTS {
        let page = format!("{url}/events?after={after}&limit=1000&types=message.received&wait=5");
        let page = process::get(http, &page).await.unwrap();
        seen += page["events"].as_array().unwrap().len();
        after = page["next"].as_u64().unwrap();
    }
    rate("in, live", TEXTS, started.elapsed());
    memory("after receiving", instance.id());
}

/// Texts that waited while the instance was away: from its first event of one to the last.
async fn drain(instance: Instance, setup: &Setup, http: &Client, sandbox: &Sandbox) {
    drop(instance);
    for n in 0..TEXTS {
        let what = Sending::Text { text: format!("text number {n}"), quote: None };
        sandbox.admin().send(ALICE, OWN, what).unwrap();
    }
    let started = Instant::now();
    let instance = Instance::start(setup);
    let url = instance.url().await;
    let received =
        |events: &[serde_json::Value]| events.iter().filter(|e| e["type"] == "message.received").count();
    let mut log = events(http, &url).await;
    let wanted = 2 * TEXTS;
    while received(&log) < wanted {
        sleep(Duration::from_millis(20)).await;
        log = events(http, &url).await;
    }
    rate("in, offline queue", TEXTS, started.elapsed());
    println!(
        "(from the start of the process; {} connections, refused {:?})",
        sandbox.admin().stats().connections,
        sandbox.admin().stats().refused
    );
}
