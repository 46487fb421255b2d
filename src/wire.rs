//! The sealed pipe, both roles: bytes ⇄ frames ⇄ Noise ⇄ nodes.
pub mod codec;
pub mod frame;
pub mod jid;
pub mod node;
pub mod noise;
mod token;
pub use jid::{Jid, JidError, Server};
pub use node::{Content, Node, Text, Value};
