//! Client against sandbox as a state machine: random sequences of everything that can happen, shrunk to the shortest that
//! fails. `WAZAP_MACHINE_CASES` says how many (default 24), `WAZAP_MACHINE_SEED` draws others.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/machine.rs"]
mod machine;
#[path = "support/pair.rs"]
mod pair;

use machine::{FAULTS, Machine, Op};
use proptest::{
    prelude::*,
    test_runner::{FileFailurePersistence, RngSeed},
};

fn anything() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => machine::traffic(),
        8 => machine::time(),
        2 => prop::sample::select(FAULTS.to_vec()).prop_flat_map(machine::fault),
        1 => machine::fault("reject"),
        1 => Just(Op::FaultsEnd),
        2 => machine::connection(),
        2 => machine::death(),
        1 => machine::clock(),
        2 => machine::people(),
        1 => Just(Op::Relink),
    ]
}

fn config() -> ProptestConfig {
    let cases = std::env::var("WAZAP_MACHINE_CASES").map_or(24, |cases| cases.parse().unwrap());
    let failure_persistence: Option<Box<dyn proptest::test_runner::FailurePersistence>> =
        Some(Box::new(FileFailurePersistence::Off));
    // The same sequences every time, unless others are asked for.
    let rng_seed = std::env::var("WAZAP_MACHINE_SEED").map_or(1, |seed| seed.parse().unwrap());
    let rng_seed = RngSeed::Fixed(rng_seed);
    ProptestConfig {
        cases,
        rng_seed,
        failure_persistence,
        max_shrink_time: 25_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_nothing_is_lost_and_nothing_is_doubled(
        seed in 0..1000_u64,
        ops in prop::collection::vec(anything(), 1..120),
    ) {
        Machine::new(seed).play(&ops);
    }
}
