//! Writes nodes. Every value is written as the type it has; the shortest form of that type.

use super::{MAX_DEPTH, domain, tag};
use crate::wire::{
    Content, Jid, Node, Server, Value,
    token::{self, Token},
};

/// The node has no form on the wire. Always our own mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// More than 65,535 children, or more than 32,766 attributes.
    #[error("too many list items")]
    TooManyItems,
    /// A node without a tag.
    #[error("a node without a tag")]
    EmptyTag,
    /// Nested deeper than a decoder follows.
    #[error("nested deeper than 128 levels")]
    TooDeep,
    /// One value over 4 GiB.
    #[error("a value too long")]
    TooLong,
    /// The domain form of a JID has one byte for the device.
    #[error("a device number above 255")]
    DeviceTooLarge,
}

/// Flag byte and node, as it goes into a sealed frame. Never compressed.
pub fn encode(node: &Node) -> Result<Vec<u8>, EncodeError> {
    let mut out = vec![0];
    write_node(&mut out, node, 1)?;
    Ok(out)
}

fn write_node(out: &mut Vec<u8>, node: &Node, depth: usize) -> Result<(), EncodeError> {
    if depth > MAX_DEPTH {
        return Err(EncodeError::TooDeep);
    }
    if node.tag.is_empty() {
        return Err(EncodeError::EmptyTag);
    }
    let content = usize::from(node.content != Content::Empty);
    write_list(out, 1 + 2 * node.attrs.len() + content)?;
    write_text(out, &node.tag)?;
    for (key, value) in &node.attrs {
        write_text(out, key)?;
        match value {
            Value::Text(text) => write_text(out, text)?,
            Value::Jid(jid) => write_jid(out, jid)?,
        }
    }
    match &node.content {
        Content::Empty => Ok(()),
        Content::Nodes(nodes) => {
            write_list(out, nodes.len())?;
            nodes.iter().try_for_each(|child| write_node(out, child, depth + 1))
        }
        Content::Bytes(bytes) => write_bytes(out, bytes),
        Content::Text(text) => write_text(out, text),
        Content::Jid(jid) => write_jid(out, jid),
    }
}

fn write_list(out: &mut Vec<u8>, count: usize) -> Result<(), EncodeError> {
    if count == 0 {
        out.push(tag::LIST_EMPTY);
    } else if let Ok(count) = u8::try_from(count) {
        out.extend([tag::LIST_8, count]);
    } else {
        let count = u16::try_from(count).map_err(|_| EncodeError::TooManyItems)?;
        out.push(tag::LIST_16);
        out.extend(count.to_be_bytes());
    }
    Ok(())
}

fn write_text(out: &mut Vec<u8>, text: &str) -> Result<(), EncodeError> {
    match token::find(text) {
        Some(Token::Single(index)) => out.push(index),
        Some(Token::Double(table, index)) => out.extend([tag::DICTIONARY_0 + table, index]),
        None if write_packed(out, text, tag::NIBBLE_8, nibble)
            || write_packed(out, text, tag::HEX_8, hex) => {}
        None => write_bytes(out, text.as_bytes())?,
    }
    Ok(())
}

/// Longest string that is packed.
const PACKED_MAX: usize = 127;

/// Two characters a byte; `false` (and nothing written) if a character has no digit in this alphabet.
fn write_packed(out: &mut Vec<u8>, text: &str, tag: u8, digit: fn(u8) -> Option<u8>) -> bool {
    let text = text.as_bytes();
    if text.is_empty() || text.len() > PACKED_MAX || !text.iter().all(|&c| digit(c).is_some()) {
        return false;
    }
    let odd = if text.len() % 2 == 1 { 0x80 } else { 0 };
    // At most 64 pairs: it fits.
    out.extend([tag, text.len().div_ceil(2) as u8 | odd]);
    out.extend(text.chunks(2).map(|pair| {
        let half = |at: usize| pair.get(at).and_then(|&c| digit(c)).unwrap_or(PADDING);
        half(0) << 4 | half(1)
    }));
    true
}

/// Fills the last byte of an odd string.
const PADDING: u8 = 15;

fn nibble(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'-' => Some(10),
        b'.' => Some(11),
        _ => None,
    }
}

/// Upper case only: lower-case strings must come back as they were.
fn hex(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    }
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EncodeError> {
    let length = u32::try_from(bytes.len()).map_err(|_| EncodeError::TooLong)?;
    let [_, b1, b2, b3] = length.to_be_bytes();
    match length {
        0..0x100 => out.extend([tag::BINARY_8, b3]),
        0x100..0x10_0000 => out.extend([tag::BINARY_20, b1, b2, b3]),
        _ => {
            out.push(tag::BINARY_32);
            out.extend(length.to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
    Ok(())
}

/// The form that every client reads: pairs without a device, the domain form with one and always for hosted servers.
fn write_jid(out: &mut Vec<u8>, jid: &Jid) -> Result<(), EncodeError> {
    let (user, device) = (jid.user(), jid.device());
    if user.is_empty() {
        out.extend([tag::JID_PAIR, tag::LIST_EMPTY]);
        return write_text(out, jid.server().as_str());
    }
    let domain = match jid.server() {
        Server::Pn | Server::LegacyPn | Server::Lid if device == 0 => None,
        // Of the old spelling's devices only the account matters, and that is the same.
        Server::Pn | Server::LegacyPn => Some(domain::PN),
        Server::Lid => Some(domain::LID),
        Server::Hosted => Some(domain::HOSTED),
        Server::HostedLid => Some(domain::HOSTED_LID),
        Server::Messenger => {
            out.push(tag::FB_JID);
            write_text(out, user)?;
            out.extend(device.to_be_bytes());
            return write_text(out, jid.server().as_str());
        }
        Server::Interop { integrator } => {
            out.push(tag::INTEROP_JID);
            write_text(out, user)?;
            out.extend(device.to_be_bytes());
            out.extend(integrator.to_be_bytes());
            // WhatsApp Web leaves the server out towards the server; whatsmeow and whatsapp-rust require it.
            return write_text(out, jid.server().as_str());
        }
        Server::Group | Server::Broadcast | Server::Newsletter | Server::Call | Server::Bot => None,
    };
    match domain {
        None => {
            out.push(tag::JID_PAIR);
            write_text(out, user)?;
            write_text(out, jid.server().as_str())
        }
        Some(domain) => {
            let device = u8::try_from(device).map_err(|_| EncodeError::DeviceTooLarge)?;
            out.extend([tag::AD_JID, domain, device]);
            write_text(out, user)
        }
    }
}
