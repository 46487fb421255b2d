//! Keys and bytes in, keys and bytes out: no storage, no clock, no stanza. Randomness is an argument.

pub mod addon;
pub mod adv;
pub mod app_state;
mod fuzz;
pub mod keys;
pub mod link_code;
pub mod media;
pub mod nct;
pub mod padding;
pub mod passkey;
pub mod signal;
mod xeddsa;

pub use fuzz::fuzz_signal;
pub use keys::{BadSignature, InvalidKey, KeyPair, PrivateKey, PublicKey};
