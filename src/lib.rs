//! A server for one WhatsApp number, and a WhatsApp on loopback to test it against.
//!
//! The rooms, each using only those above it:
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
//! | [`daemon`] | tasks and lifetimes |
//! | [`sandbox`] | the simulated WhatsApp, made of the same parts |

pub mod account;
pub mod clock;
pub mod crypto;
pub mod daemon;
pub mod media;
pub mod net;
pub mod proto;
pub mod qr;
pub mod sandbox;
pub mod stanza;
pub mod store;
pub mod webhook;
pub mod wire;
