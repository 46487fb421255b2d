//! A server for one WhatsApp number, and a WhatsApp on loopback to test it against.
//!
//! The rooms, each using only those above it (`tests/rooms.rs` holds the table):
//!
//! | room | what it does |
//! |---|---|
//! | [`clock`] | time as a value; the only reads of the system clock |
//! | [`proto`] | the generated messages, one name |
//! | [`crypto`] | keys and bytes in, keys and bytes out |
//! | [`media`] | facts about a file: what it is, how long, how large, a small picture |
//! | [`wire`] | the sealed pipe, both roles: bytes ⇄ frames ⇄ Noise ⇄ nodes; JIDs, tokens |
//! | [`stanza`] | typed stanzas, `parse()` beside `build()` |
//! | [`store`] | SQLite: migrations, `Tx`, one file a table family; the only SQL |
//! | [`account`] | what one linked device decides |
//! | [`net`] | doors outward; uses nothing of ours |
//! | [`webhook`] | takes due events, signs, posts, reschedules |
//! | [`qr`] | a pairing code as a picture |
//! | [`config`] | every knob: type, unit, default, reason |
//! | [`daemon`] | tasks and lifetimes |
//! | [`api`] | HTTP: extract, one command, one reply, one error table; the QR page |
//! | [`sandbox`] | the simulated WhatsApp, made of the same parts |
//! | [`cli`] | sub-commands, exit codes, signals, the log |

pub mod account;
pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod daemon;
mod demo;
pub mod media;
pub mod net;
pub mod proto;
pub mod qr;
mod run;
pub mod sandbox;
pub mod stanza;
pub mod store;
pub mod webhook;
pub mod wire;

pub use run::run;
