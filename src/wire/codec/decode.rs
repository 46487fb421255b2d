//! Reads nodes. Nothing a peer sends panics, recurses without end, or reserves memory by a number it chose.

use std::borrow::Cow;

use super::{COMPRESSED, MAX_DEPTH, MAX_INFLATED, MAX_ITEMS, domain, tag};
use crate::wire::{Content, Jid, Node, Server, Text, Value, token};

/// Why a plaintext is no node. Always the peer's doing: the seal has already proved that nobody else wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends inside a value.
    #[error("truncated")]
    Truncated,
    /// Bytes after the root node.
    #[error("{0} bytes after the node")]
    Trailing(usize),
    /// The zlib stream is broken, or longer than one stream.
    #[error("broken zlib stream")]
    Zlib,
    /// It inflates to more than 16 MiB.
    #[error("inflates beyond 16 MiB")]
    TooLarge,
    /// Nested deeper than 128 levels.
    #[error("nested deeper than 128 levels")]
    TooDeep,
    /// More nodes and attributes than any stanza has.
    #[error("too many nodes and attributes")]
    TooManyItems,
    /// This first byte cannot stand here: unassigned, or a list where a string is due, or the reverse.
    #[error("unexpected tag byte {0}")]
    UnexpectedTag(u8),
    /// A node of size 0 or without a tag.
    #[error("a node without a tag")]
    EmptyNode,
    /// A packed string with an unassigned nibble, or odd and empty.
    #[error("malformed packed string")]
    BadPacked,
    /// A string that is not UTF-8.
    #[error("a string that is not UTF-8")]
    NotUtf8,
    /// A JID without a server, with an unassigned domain, or with a user that no text form can hold.
    #[error("malformed JID")]
    BadJid,
}

/// Flag byte and node; inflates where the flag says so.
pub fn decode(plaintext: &[u8]) -> Result<Node, DecodeError> {
    let (flag, bytes) = plaintext.split_first().ok_or(DecodeError::Truncated)?;
    if flag & COMPRESSED == 0 { decode_node(bytes) } else { decode_node(&inflate(bytes)?) }
}

fn decode_node(bytes: &[u8]) -> Result<Node, DecodeError> {
    let mut reader = Reader { bytes, items: MAX_ITEMS };
    let node = reader.node(1)?;
    match reader.bytes.len() {
        0 => Ok(node),
        left => Err(DecodeError::Trailing(left)),
    }
}

fn inflate(compressed: &[u8]) -> Result<Vec<u8>, DecodeError> {
    /// How much room is added at a time: a bomb costs its sender's bytes, not a guess at its size.
    const STEP: usize = 16 << 10;
    let mut stream = flate2::Decompress::new(true);
    let mut rest = compressed;
    let mut out = Vec::new();
    loop {
        if out.len() == out.capacity() {
            out.reserve(STEP);
        }
        let before = (stream.total_in(), out.len());
        let status = stream.decompress_vec(rest, &mut out, flate2::FlushDecompress::None);
        let read = usize::try_from(stream.total_in() - before.0).map_err(|_| DecodeError::Zlib)?;
        rest = rest.get(read..).ok_or(DecodeError::Zlib)?;
        if out.len() > MAX_INFLATED {
            return Err(DecodeError::TooLarge);
        }
        match status.map_err(|_| DecodeError::Zlib)? {
            flate2::Status::StreamEnd if rest.is_empty() => return Ok(out),
            flate2::Status::StreamEnd => return Err(DecodeError::Zlib),
            _ if read == 0 && out.len() == before.1 => return Err(DecodeError::Truncated),
            _ => {}
        }
    }
}

/// Room reserved for a list before its items are seen; a false count gets no more than this.
const FIRST_ROOM: usize = 16;

/// What is still to be read, and how many nodes and attributes may still come.
struct Reader<'a> {
    bytes: &'a [u8],
    items: usize,
}

impl<'a> Reader<'a> {
    fn node(&mut self, depth: usize) -> Result<Node, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        self.count()?;
        let head = self.byte()?;
        let size = self.list(head)?;
        if size == 0 {
            return Err(DecodeError::EmptyNode);
        }
        let tag = self.byte()?;
        let tag = self.text(tag)?;
        if tag.is_empty() {
            return Err(DecodeError::EmptyNode);
        }
        let attrs = self.attrs((size - 1) / 2)?;
        let content = if size % 2 == 0 { self.content(depth)? } else { Content::Empty };
        Ok(Node { tag, attrs, content })
    }

    fn attrs(&mut self, count: usize) -> Result<Vec<(Text, Value)>, DecodeError> {
        let mut attrs = Vec::with_capacity(count.min(FIRST_ROOM));
        for _ in 0..count {
            self.count()?;
            let first = self.byte()?;
            let key = self.text(first)?;
            let first = self.byte()?;
            attrs.push((key, self.value(first)?));
        }
        Ok(attrs)
    }

    fn content(&mut self, depth: usize) -> Result<Content, DecodeError> {
        let first = self.byte()?;
        Ok(match first {
            tag::LIST_EMPTY | tag::LIST_8 | tag::LIST_16 => {
                let count = self.list(first)?;
                let mut nodes = Vec::with_capacity(count.min(FIRST_ROOM));
                for _ in 0..count {
                    nodes.push(self.node(depth + 1)?);
                }
                Content::Nodes(nodes)
            }
            tag::BINARY_8 | tag::BINARY_20 | tag::BINARY_32 => Content::Bytes(self.binary(first)?.to_vec()),
            _ => match self.value(first)? {
                Value::Text(text) => Content::Text(text),
                Value::Jid(jid) => Content::Jid(jid),
            },
        })
    }

    fn value(&mut self, first: u8) -> Result<Value, DecodeError> {
        Ok(match first {
            // An absent value, which Baileys can write, reads as an empty string everywhere.
            tag::LIST_EMPTY => Value::Text(Cow::Borrowed("")),
            tag::JID_PAIR => self.pair()?,
            tag::AD_JID => Value::Jid(self.domain_jid()?),
            tag::FB_JID => Value::Jid(self.messenger_jid()?),
            tag::INTEROP_JID => Value::Jid(self.interop_jid()?),
            _ => Value::Text(self.text(first)?),
        })
    }

    /// Any string form; a JID or a list is none.
    fn text(&mut self, first: u8) -> Result<Text, DecodeError> {
        match first {
            tag::DICTIONARY_0..=tag::DICTIONARY_3 => {
                let index = self.byte()?;
                let text = token::double(first - tag::DICTIONARY_0, index);
                text.map(Cow::Borrowed).ok_or(DecodeError::UnexpectedTag(first))
            }
            tag::NIBBLE_8 => self.packed(nibble),
            tag::HEX_8 => self.packed(hex),
            tag::BINARY_8 | tag::BINARY_20 | tag::BINARY_32 => {
                let text = std::str::from_utf8(self.binary(first)?).map_err(|_| DecodeError::NotUtf8)?;
                Ok(Cow::Owned(text.to_owned()))
            }
            _ => token::single(first).map(Cow::Borrowed).ok_or(DecodeError::UnexpectedTag(first)),
        }
    }

    fn packed(&mut self, character: fn(u8) -> Option<char>) -> Result<Text, DecodeError> {
        let head = self.byte()?;
        let (odd, bytes) = (head & 0x80 != 0, self.take(usize::from(head & 0x7f))?);
        let mut text = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            for half in [byte >> 4, byte & 15] {
                text.push(character(half).ok_or(DecodeError::BadPacked)?);
            }
        }
        if odd && text.pop().is_none() {
            return Err(DecodeError::BadPacked);
        }
        Ok(Cow::Owned(text))
    }

    /// The user of a JID; absent is empty.
    fn user(&mut self) -> Result<Text, DecodeError> {
        match self.byte()? {
            tag::LIST_EMPTY => Ok(Cow::Borrowed("")),
            first => self.text(first),
        }
    }

    fn pair(&mut self) -> Result<Value, DecodeError> {
        let user = self.user()?;
        let server = self.user()?;
        if server.is_empty() {
            return Err(DecodeError::BadJid);
        }
        match Server::from_name(&server) {
            Some(server) => Jid::from_parts(&user, server, 0).map(Value::Jid).ok_or(DecodeError::BadJid),
            // A server that does not exist yet must not cost the whole stanza, and with it every one behind it.
            None => Ok(Value::Text(Cow::Owned(format!("{user}@{server}")))),
        }
    }

    fn domain_jid(&mut self) -> Result<Jid, DecodeError> {
        let domain = self.byte()?;
        let device = self.byte()?;
        let user = self.user()?;
        let server = match domain {
            domain::PN => Server::Pn,
            domain::LID => Server::Lid,
            domain::HOSTED_LID => Server::HostedLid,
            // WhatsApp Web takes every other even value with the top bit for hosted.
            _ if domain & domain::HOSTED != 0 && domain % 2 == 0 => Server::Hosted,
            _ => return Err(DecodeError::BadJid),
        };
        self.jid_with_user(&user, server, u16::from(device))
    }

    fn messenger_jid(&mut self) -> Result<Jid, DecodeError> {
        let user = self.user()?;
        let device = self.short()?;
        let server = self.user()?;
        if server != Server::Messenger.as_str() {
            return Err(DecodeError::BadJid);
        }
        self.jid_with_user(&user, Server::Messenger, device)
    }

    fn interop_jid(&mut self) -> Result<Jid, DecodeError> {
        let user = self.user()?;
        let device = self.short()?;
        let integrator = self.short()?;
        // The server's name may follow or not. It is no token, so a raw string of these bytes can only be it.
        for name in [b"\xfc\x07interop".as_slice(), b"\xfd\0\0\x07interop", b"\xfe\0\0\0\x07interop"] {
            if let Some(rest) = self.bytes.strip_prefix(name) {
                self.bytes = rest;
                break;
            }
        }
        self.jid_with_user(&user, Server::Interop { integrator }, device)
    }

    fn jid_with_user(&self, user: &str, server: Server, device: u16) -> Result<Jid, DecodeError> {
        if user.is_empty() {
            return Err(DecodeError::BadJid);
        }
        Jid::from_parts(user, server, device).ok_or(DecodeError::BadJid)
    }

    fn list(&mut self, first: u8) -> Result<usize, DecodeError> {
        match first {
            tag::LIST_EMPTY => Ok(0),
            tag::LIST_8 => self.byte().map(usize::from),
            tag::LIST_16 => self.short().map(usize::from),
            _ => Err(DecodeError::UnexpectedTag(first)),
        }
    }

    fn binary(&mut self, first: u8) -> Result<&'a [u8], DecodeError> {
        let length = match first {
            tag::BINARY_8 => u32::from(self.byte()?),
            tag::BINARY_20 => {
                let [b0, b1, b2] = self.array()?;
                // Twenty bits: the upper half of the first byte has no meaning.
                u32::from_be_bytes([0, b0 & 0x0f, b1, b2])
            }
            _ => u32::from_be_bytes(self.array()?),
        };
        self.take(usize::try_from(length).map_err(|_| DecodeError::Truncated)?)
    }

    fn count(&mut self) -> Result<(), DecodeError> {
        self.items = self.items.checked_sub(1).ok_or(DecodeError::TooManyItems)?;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    fn short(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.bytes.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(*array)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }
}

fn nibble(half: u8) -> Option<char> {
    match half {
        0..=9 => Some(char::from(b'0' + half)),
        10 => Some('-'),
        11 => Some('.'),
        // Padding; inside a string every client reads it as NUL.
        15 => Some('\0'),
        _ => None,
    }
}

fn hex(half: u8) -> Option<char> {
    char::from_digit(u32::from(half), 16).map(|c| c.to_ascii_uppercase())
}
