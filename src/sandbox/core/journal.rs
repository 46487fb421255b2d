//! What happened: counters for `/admin/stats`, and the last stanzas of each device for `/admin/log`.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
};

use crate::{
    clock::Millis,
    wire::{Content, Node, Value},
};

/// Stanzas kept a device.
const KEPT: usize = 200;
/// Devices with a log; beyond it the first by name gives way.
const MAX_LABELS: usize = 1_000;
/// Kinds of refusals and unknown queries told apart; the rest counts as "other".
const MAX_REASONS: usize = 200;
/// A stanza's text in the log ends here.
const MAX_TEXT: usize = 4_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

pub(crate) struct Line {
    pub(crate) at: Millis,
    pub(crate) direction: Direction,
    pub(crate) text: String,
}

#[derive(Default)]
pub(crate) struct Journal {
    /// Ever opened.
    pub(crate) connections: u64,
    /// Clients that did not finish the handshake.
    pub(crate) failed_handshakes: u64,
    pub(crate) stanzas_in: BTreeMap<String, u64>,
    pub(crate) stanzas_out: BTreeMap<String, u64>,
    /// Accepted from a sender.
    pub(crate) messages: u64,
    /// Put into queues; one a device.
    pub(crate) deliveries: u64,
    /// Stanzas that no documented client sends, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Message keys that a device used for a second ciphertext.
    pub(crate) reused_keys: u64,
    /// Queries answered with 501, by namespace and child.
    pub(crate) unknown: BTreeMap<String, u64>,
    logs: BTreeMap<String, VecDeque<Line>>,
}

impl Journal {
    pub(crate) fn saw(&mut self, label: &str, direction: Direction, node: &Node, at: Millis) {
        let counters = match direction {
            Direction::In => &mut self.stanzas_in,
            Direction::Out => &mut self.stanzas_out,
        };
        count(counters, &node.tag);
        if !self.logs.contains_key(label) {
            if self.logs.len() >= MAX_LABELS {
                self.logs.pop_first();
            }
            self.logs.insert(label.to_owned(), VecDeque::new());
        }
        if let Some(log) = self.logs.get_mut(label) {
            let mut text = String::new();
            write_node(&mut text, node);
            log.push_back(Line { at, direction, text });
            if log.len() > KEPT {
                log.pop_front();
            }
        }
    }

    pub(crate) fn refuse(&mut self, reason: &str) {
        count(&mut self.refused, reason);
    }

    pub(crate) fn unknown_query(&mut self, what: &str) {
        count(&mut self.unknown, what);
    }

    pub(crate) fn log(&self, label: &str) -> impl Iterator<Item = &Line> {
        self.logs.get(label).into_iter().flatten()
    }

    pub(crate) fn labels(&self) -> impl Iterator<Item = &str> {
        self.logs.keys().map(String::as_str)
    }
}

fn count(counters: &mut BTreeMap<String, u64>, key: &str) {
    if let Some(n) = counters.get_mut(key) {
        *n += 1;
    } else {
        let key = if counters.len() < MAX_REASONS { key } else { "other" };
        *counters.entry(key.chars().take(100).collect()).or_default() += 1;
    }
}

/// XML-like, with real addresses: everybody here is made up. Bytes show as their length.
fn write_node(out: &mut String, node: &Node) {
    if out.len() > MAX_TEXT {
        return;
    }
    // Writing to a string cannot fail.
    let _ = write!(out, "<{}", node.tag);
    for (key, value) in &node.attrs {
        let _ = match value {
            Value::Text(text) => write!(out, " {key}=\"{text}\""),
            Value::Jid(jid) => write!(out, " {key}={}", jid.to_wire()),
        };
    }
    match &node.content {
        Content::Empty => {
            out.push_str("/>");
            return;
        }
        Content::Nodes(nodes) => {
            out.push('>');
            for (n, child) in nodes.iter().enumerate() {
                if n == 10 && nodes.len() > 12 {
                    let _ = write!(out, "… {} more", nodes.len() - n);
                    break;
                }
                write_node(out, child);
            }
        }
        Content::Bytes(bytes) => {
            let _ = write!(out, ">[{} bytes]", bytes.len());
        }
        Content::Text(text) => {
            let _ = write!(out, ">{text}");
        }
        Content::Jid(jid) => {
            let _ = write!(out, ">{}", jid.to_wire());
        }
    }
    let _ = write!(out, "</{}>", node.tag);
}
