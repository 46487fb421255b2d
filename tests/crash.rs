//! Killed at random moments while messages go both ways, an instance loses nothing and doubles nothing: short runs of the
//! crash program. `WAZAP_CRASH_KILLS` says how often (default 15); `cargo bench --bench crash` runs for as long as one
//! likes. The same promise on a fake clock, and with a disk that fails, is `account_crash.rs`.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "crash/story.rs"]
mod story;

use std::path::Path;

use story::{Outcome, Plan, Until};

fn play(name: &str, plan: &Plan) -> Outcome {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{name}-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outcome = runtime.block_on(story::play(plan, folder));
    println!("{outcome}");
    outcome
}

fn plan(seed: u64) -> Plan {
    let kills = std::env::var("WAZAP_CRASH_KILLS").map_or(15, |count| count.parse().unwrap());
    Plan { seed, until: Until::Kills(kills), power: false, lying_disk: false, faults: false, past: 400 }
}

/// Linked a moment ago, it is killed while it reads what the phone tells of the past.
#[test]
fn killed_while_it_reads_history_it_has_all_of_it_once() {
    let outcome = play("history", &Plan { until: Until::Kills(10), past: 4_000, ..plan(4) });
    assert!(outcome.is_clean(), "{outcome}");
    assert!(outcome.past > 2_000, "hardly any past: {outcome}");
}

/// What a disk had not synced is gone with the power. Where no power can be cut, there is nothing to test.
#[test]
#[cfg(target_os = "linux")]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    let outcome = play("power", &Plan { power: true, ..plan(2) });
    assert!(outcome.is_clean(), "{outcome}");
    assert!(outcome.cuts > 5 && outcome.torn > 5, "hardly any cut: {outcome}");
}

#[test]
fn on_a_line_with_faults_nothing_is_lost_either() {
    let outcome = play("faults", &Plan { faults: true, ..plan(3) });
    assert!(outcome.is_clean(), "{outcome}");
}

#[test]
fn killed_at_random_moments_nothing_is_lost_and_nothing_is_doubled() {
    let outcome = play("kills", &plan(1));
    assert!(outcome.is_clean(), "{outcome}");
    assert!(outcome.sent_in > 50 && outcome.sent_out > 20, "hardly any load: {outcome}");
}
