//! The crash program, for as long as one likes: `cargo bench --bench crash -- --minutes 20`. It ends with a line that counts,
//! and with exit code 1 if a single message was lost or doubled. See `tests/crash/story.rs`.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a run that fails")]

#[path = "../tests/crash/story.rs"]
mod story;

use std::{path::Path, process::ExitCode, time::Duration};

use clap::Parser;
use story::{Plan, Until};

/// Kills an instance at random moments while messages go both ways, and counts what is lost and what is doubled.
#[derive(Parser)]
#[command(name = "crash")]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// How often, in place of how long.
    #[arg(long)]
    kills: Option<u32>,
    /// Draws all moments; printed at the end.
    #[arg(long)]
    seed: Option<u64>,
    /// Every other death takes from the disk what was not synced. Needs Linux and a C compiler.
    #[arg(long)]
    power_cuts: bool,
    /// The disk syncs nothing: the run must fail, or it proves nothing.
    #[arg(long, requires = "power_cuts")]
    lying_disk: bool,
    /// The line delays, doubles, reorders, damages and forgets, in each life in other ways.
    #[arg(long)]
    faults: bool,
    /// Messages that are older than the instance, which hears of them while it is killed.
    #[arg(long, default_value_t = 8_000)]
    past: u32,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let time = Until::Time(Duration::from_secs_f64(arguments.minutes * 60.0));
    let plan = Plan {
        seed: arguments.seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
        until: arguments.kills.map_or(time, Until::Kills),
        power: arguments.power_cuts,
        lying_disk: arguments.lying_disk,
        faults: arguments.faults,
        past: arguments.past,
    };
    println!("seed {}", plan.seed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outcome = runtime.block_on(story::play(&plan, folder));
    println!("{outcome}");
    if outcome.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
