//! Faults of the line, each alone and all mixed, drawn from a seed: what is counted at the end is right all the same.
//! `WAZAP_LINE_STORIES` says how many stories of mixed faults (default 12); a seed that fails is printed, and
//! `WAZAP_LINE_SEED` plays it again.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/machine.rs"]
mod machine;
#[path = "support/pair.rs"]
mod pair;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use machine::{FAULTS, Machine, Op};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// Levers of one story.
const LEVERS: usize = 120;

/// The levers that a seed draws.
fn draw(seed: u64, strategy: &impl Strategy<Value = Op>, count: usize) -> Vec<Op> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn play(name: &str, seed: u64, ops: &[Op]) {
    let played = catch_unwind(AssertUnwindSafe(|| Machine::new(seed).play(ops)));
    if let Err(panic) = played {
        println!("{name}: seed {seed} fails; the levers were {ops:?}");
        std::panic::resume_unwind(panic);
    }
}

fn traffic() -> impl Strategy<Value = Op> {
    prop_oneof![2 => machine::traffic(), 1 => machine::time()]
}

#[test]
fn each_fault_alone_loses_nothing_and_doubles_nothing() {
    for (n, name) in FAULTS.into_iter().chain(["reject"]).enumerate() {
        let seed = 500 + n as u64;
        let mut ops = draw(seed, &machine::fault(name), 1);
        ops.extend(draw(seed, &traffic(), LEVERS));
        play(name, seed, &ops);
    }
}

#[test]
fn connections_that_freeze_break_and_fall_silent_lose_nothing() {
    for seed in 520..524 {
        let strategy = prop_oneof![6 => traffic(), 1 => machine::connection()];
        play("connections", seed, &draw(seed, &strategy, LEVERS));
    }
}

#[test]
fn clocks_that_jump_lose_nothing_and_hold_nothing_up() {
    for seed in 530..534 {
        let strategy = prop_oneof![6 => traffic(), 1 => machine::clock(), 1 => machine::fault("clock")];
        play("clocks", seed, &draw(seed, &strategy, LEVERS));
    }
}

#[test]
fn all_faults_mixed_lose_nothing_and_double_nothing() {
    let seeds = match std::env::var("WAZAP_LINE_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => {
            let stories = std::env::var("WAZAP_LINE_STORIES").map_or(12, |count| count.parse().unwrap());
            (1000..1000 + stories).collect()
        }
    };
    for seed in seeds {
        let strategy = prop_oneof![
            14 => traffic(),
            3 => prop::sample::select(FAULTS.to_vec()).prop_flat_map(machine::fault),
            1 => machine::fault("reject"),
            1 => Just(Op::FaultsEnd),
            2 => machine::connection(),
            1 => machine::clock(),
            1 => (0..2_usize).prop_map(Op::Forget),
            1 => machine::death(),
        ];
        play("mixed", seed, &draw(seed, &strategy, LEVERS));
    }
}

/// The instance must not sleep for an hour because somebody set the clock back by one.
#[test]
fn a_clock_set_back_by_an_hour_delays_neither_messages_nor_the_end_of_a_dead_connection() {
    let mut machine = Machine::new(7);
    machine.pair.pass(Duration::from_secs(10));
    machine.pair.ahead = -3_600_000;
    machine.pair.deaf = true;
    machine.pair.pass(Duration::from_secs(60));
    machine.pair.deaf = false;
    let id = machine.pair.phone_sends(pair::ALICE, "are you there?");
    machine.pair.pass(Duration::from_secs(60));
    assert!(machine.pair.received().contains(&id), "the connection is still the dead one");
    let text = machine.pair.send(pair::ALICE, "yes");
    machine.pair.pass(Duration::from_secs(5));
    assert!(machine.pair.inbox_of(pair::ALICE).iter().any(|(id, _)| *id == text));
}
