//! The program as a shell sees it: lines, exit codes, signals. Runs the built binary.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot go on ends here; helpers are the story's own"
)]

mod keys;
mod program;
mod running;
mod sandboxed;
mod settings;
mod tokens;
