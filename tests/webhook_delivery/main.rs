//! The outbox worker against real receivers on loopback.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod outages;
mod platform;
mod support;
mod users;
