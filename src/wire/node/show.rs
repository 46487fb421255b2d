//! How nodes look to people: redacted for logs, raw for the sandbox's own dump.

use std::fmt::{self, Write as _};

use super::{Content, Node, Value};
use crate::wire::{jid::log_token, token};

/// Attributes of the protocol itself, whose values say nothing about a person unless they hold a long number.
const PLAIN_KEYS: &[&str] = &[
    "action",
    "category",
    "class",
    "code",
    "count",
    "edit",
    "id",
    "key-index",
    "last",
    "mode",
    "offline",
    "platform",
    "reason",
    "sid",
    "stanza-id",
    "status",
    "subtype",
    "type",
    "v",
    "version",
    "xmlns",
];
/// Attributes that hold times and may therefore show long numbers.
const TIME_KEYS: &[&str] = &["creation", "e", "expiration", "s_t", "t", "timestamp", "ts"];
/// A number of so many digits may be somebody's.
const PHONE_DIGITS: usize = 7;

pub(super) fn node(f: &mut fmt::Formatter<'_>, node: &Node) -> fmt::Result {
    f.write_char('<')?;
    name(f, &node.tag)?;
    for (key, v) in &node.attrs {
        f.write_char(' ')?;
        name(f, key)?;
        f.write_char('=')?;
        value(f, key, v)?;
    }
    if node.content == Content::Empty {
        return f.write_str("/>");
    }
    f.write_char('>')?;
    content(f, &node.content)?;
    f.write_str("</")?;
    name(f, &node.tag)?;
    f.write_char('>')
}

pub(super) fn value(f: &mut fmt::Formatter<'_>, key: &str, value: &Value) -> fmt::Result {
    match value {
        Value::Jid(jid) => write!(f, "{jid}"),
        Value::Text(text) if is_plain(key, text) => write!(f, "{text:?}"),
        Value::Text(text) => match text.parse::<crate::wire::Jid>() {
            Ok(jid) => write!(f, "\"{jid}\""),
            Err(_) => write!(f, "\"#{:08x}\"", log_token(text)),
        },
    }
}

pub(super) fn content(f: &mut fmt::Formatter<'_>, content: &Content) -> fmt::Result {
    match content {
        Content::Empty => Ok(()),
        Content::Nodes(nodes) => nodes.iter().try_for_each(|child| node(f, child)),
        Content::Bytes(bytes) => write!(f, "({} bytes)", bytes.len()),
        Content::Text(text) if token::find(text).is_some() => f.write_str(text),
        Content::Text(text) => write!(f, "({} characters)", text.chars().count()),
        Content::Jid(jid) => write!(f, "{jid}"),
    }
}

/// Tags and keys are the protocol's, unless a peer plays with them.
fn name(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let ordinary = |b: u8| b.is_ascii_alphanumeric() || b"-_:.".contains(&b);
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(ordinary) && !has_long_number(text) {
        f.write_str(text)
    } else {
        write!(f, "#{:08x}", log_token(text))
    }
}

fn is_plain(key: &str, text: &str) -> bool {
    if token::find(text).is_some() || text.is_empty() {
        return true;
    }
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    if digits && (text.len() <= 4 || TIME_KEYS.contains(&key)) {
        return true;
    }
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_:.".contains(c);
    // Ids in hexadecimal may hold long runs of digits by chance; a number of a person has nothing but digits and signs.
    let numeric = !text.contains(|c: char| c.is_ascii_alphabetic());
    PLAIN_KEYS.contains(&key)
        && text.len() <= 64
        && text.chars().all(safe)
        && !(numeric && has_long_number(text))
}

fn has_long_number(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_digit()).any(|run| run.len() >= PHONE_DIGITS)
}

/// Bytes of a dump beyond these are only counted.
const DUMP_BYTES: usize = 64;

impl Node {
    /// Everything as it is, numbers and texts included, bytes as hex up to a small bound: for the sandbox's own log,
    /// whose people are invented. Nothing that serves a real account may call this.
    pub fn to_log(&self) -> String {
        let mut out = String::new();
        dump(&mut out, self);
        out
    }
}

fn dump(out: &mut String, node: &Node) {
    let quoted = |out: &mut String, text: &str| {
        out.push('"');
        out.extend(text.chars().flat_map(|c| match c {
            '"' | '\\' => c.escape_default().collect::<Vec<_>>(),
            c if c.is_control() => c.escape_default().collect(),
            c => vec![c],
        }));
        out.push('"');
    };
    let _ = write!(out, "<{}", node.tag);
    for (key, value) in &node.attrs {
        let _ = write!(out, " {key}=");
        match value {
            Value::Text(text) => quoted(out, text),
            Value::Jid(jid) => out.push_str(&jid.to_wire()),
        }
    }
    match &node.content {
        Content::Empty => return out.push_str("/>"),
        Content::Nodes(nodes) => {
            out.push('>');
            nodes.iter().for_each(|child| dump(out, child));
        }
        Content::Bytes(bytes) => {
            let shown = &bytes[..bytes.len().min(DUMP_BYTES)];
            let more = if shown.len() < bytes.len() { "…" } else { "" };
            let _ = write!(out, ">{}{more} ({} bytes)", hex::encode(shown), bytes.len());
        }
        Content::Text(text) => {
            out.push('>');
            quoted(out, text);
        }
        Content::Jid(jid) => {
            let _ = write!(out, ">{}", jid.to_wire());
        }
    }
    let _ = write!(out, "</{}>", node.tag);
}

#[cfg(test)]
mod tests {
    use crate::wire::{Content, Jid, Node};

    fn stanza() -> Node {
        Node::new("message")
            .attr("from", Jid::pn("15551230001").with_device(3))
            .attr("participant", "15551230001@s.whatsapp.net")
            .attr("id", "3EB0123456789ABC")
            .attr("t", 1_700_000_000_u64)
            .attr("notify", "Ana Maria")
            .attr("phone", "15551230001")
            .attr("type", "text")
            .child(Node::new("enc").attr("v", "2").bytes(vec![7; 100]))
            .child(Node::new("group").attr("id", "15551230001-1400000000"))
            .child(Node::new("15551230001").attr("15551230002", "x"))
            .child(Node::new("body").with_content(Content::Text("15551230001".into())))
    }

    #[test]
    fn debug_shows_the_protocol_and_nobody() {
        let shown = format!("{:?}", stanza());
        for secret in ["1555123", "Ana", "0707"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        for kept in [
            "<message from=#",
            ":3@s.whatsapp.net",
            "id=\"3EB0123456789ABC\"",
            "t=\"1700000000\"",
            "type=\"text\"",
            "<enc v=\"2\">(100 bytes)</enc>",
            "<body>(11 characters)</body>",
            "</message>",
        ] {
            assert!(shown.contains(kept), "{kept} in {shown}");
        }
    }

    #[test]
    fn the_dump_shows_everything_but_not_endless_bytes() {
        let shown = stanza().attr("q", "a\"\n").to_log();
        for kept in
            ["from=15551230001:3@s.whatsapp.net", "notify=\"Ana Maria\"", "0707… (100 bytes)", r#"q="a\"\n""#]
        {
            assert!(shown.contains(kept), "{kept} in {shown}");
        }
        assert!(shown.len() < 800);
    }
}
