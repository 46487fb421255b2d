//! What a device has been sent and has not answered yet.
//!
//! Everything goes through here, live or not; an entry leaves only by a releasing answer (protocol 06, 5.2), and what
//! is left is delivered again at the next login, in order, with the number of earlier attempts in `offline`.

use std::{collections::VecDeque, ops::Range};

use super::ConnId;
use crate::{
    clock::Millis,
    stanza::{Ack, Receipt, ReceiptKind},
    wire::{Jid, Node},
};

/// Beyond this the oldest is forgotten; the real server keeps 14 days.
const MAX_ENTRIES: usize = 100_000;

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) node: Node,
    /// Deliveries so far.
    pub(crate) attempts: u32,
    /// The connection it was last delivered on.
    pub(crate) sent_on: Option<ConnId>,
    /// Dropped unread after this.
    pub(crate) expires: Option<Millis>,
}

impl Entry {
    fn id(&self) -> &str {
        self.node.text("id").unwrap_or_default()
    }

    fn is(&self, class: &str) -> bool {
        self.node.tag == class
    }

    /// A copy of what an own device sent: it names its chat.
    fn is_own_copy(&self) -> bool {
        self.is("message") && self.node.has("recipient")
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    entries: VecDeque<Entry>,
    next: u64,
}

/// Parts of what waits, for the preview.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) all: u32,
    pub(crate) message: u32,
    pub(crate) notification: u32,
    pub(crate) receipt: u32,
}

impl Queue {
    pub(crate) fn push(&mut self, node: Node, expires: Option<Millis>) -> u64 {
        let seq = self.next;
        self.next += 1;
        self.entries.push_back(Entry { seq, node, attempts: 0, sent_on: None, expires });
        if self.entries.len() > MAX_ENTRIES {
            self.entries.pop_front();
        }
        seq
    }

    pub(crate) fn restore(&mut self, node: Node, attempts: u32) {
        let seq = self.push(node, None);
        if let Some(entry) = self.entries.back_mut().filter(|entry| entry.seq == seq) {
            entry.attempts = attempts;
        }
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// One past the newest.
    pub(crate) const fn end(&self) -> u64 {
        self.next
    }

    /// Forgets what has expired.
    pub(crate) fn expire(&mut self, now: Millis) {
        self.entries.retain(|entry| entry.expires.is_none_or(|at| at > now));
    }

    pub(crate) fn count(&self) -> Count {
        let of =
            |class| u32::try_from(self.entries.iter().filter(|e| e.is(class)).count()).unwrap_or(u32::MAX);
        Count {
            all: u32::try_from(self.entries.len()).unwrap_or(u32::MAX),
            message: of("message"),
            notification: of("notification"),
            receipt: of("receipt"),
        }
    }

    /// The first entry in this range that this connection has not been given, marked as given: its number and the
    /// stanza to send. What expects no answer (chat states) leaves the queue with it.
    pub(crate) fn deliver(&mut self, range: Range<u64>, conn: ConnId, queued: bool) -> Option<(u64, Node)> {
        let start = self.entries.partition_point(|entry| entry.seq < range.start);
        let end = self.entries.partition_point(|entry| entry.seq < range.end);
        let at =
            (start..end).find(|at| self.entries.get(*at).is_some_and(|entry| entry.sent_on != Some(conn)))?;
        let entry = self.entries.get_mut(at)?;
        let attempts = entry.attempts;
        entry.attempts = entry.attempts.saturating_add(1);
        entry.sent_on = Some(conn);
        let seq = entry.seq;
        let node = if entry.is("chatstate") {
            self.entries.remove(at).map(|entry| entry.node)?
        } else if queued {
            entry.node.clone().attr("offline", attempts)
        } else {
            entry.node.clone()
        };
        Some((seq, node))
    }

    /// Takes out the oldest entry that this ack answers.
    pub(crate) fn release_by_ack(&mut self, ack: &Ack) -> Option<Entry> {
        self.take(|entry| {
            let answers = entry.is(&ack.class)
                && entry.id() == ack.id
                && entry.node.jid("from").as_ref() == Some(&ack.peer)
                && (ack.participant.is_none() || entry.node.jid("participant") == ack.participant);
            if !answers {
                return false;
            }
            match ack.class.as_str() {
                // Own copies wait for `<receipt type="sender">`; a refused status stays at the head.
                "message" => !(entry.is_own_copy() || ack.error.is_some() && ack.peer.is_status()),
                "receipt" => ack.kind.is_none() || entry.node.text("type") == ack.kind.as_deref(),
                _ => true,
            }
        })
    }

    /// Takes out the oldest message with this id that this receipt answers.
    pub(crate) fn release_by_receipt(&mut self, id: &str, receipt: &Receipt) -> Option<Entry> {
        if receipt.kind == ReceiptKind::Retry {
            return None;
        }
        let exact = matches!(
            receipt.kind,
            ReceiptKind::Delivered | ReceiptKind::Inactive | ReceiptKind::Sender | ReceiptKind::PeerMsg
        );
        self.take(|entry| {
            if !entry.is("message") || entry.id() != id {
                return false;
            }
            if entry.is_own_copy() && receipt.kind != ReceiptKind::Sender {
                return false;
            }
            // In a group two authors may have used one id.
            let author = entry.node.jid("participant");
            if let (Some(named), Some(author)) = (&receipt.participant, &author)
                && if exact { named != author } else { !named.same_user(author) }
            {
                return false;
            }
            let from = entry.node.jid("from");
            match (&receipt.peer, from) {
                (Some(to), Some(from)) if exact => *to == from,
                (Some(to), Some(from)) => to.bare() == from.bare(),
                // Baileys leaves `to` out of its receipt for an own copy when no LID is involved.
                (None, _) => receipt.kind == ReceiptKind::Sender && same_chat(&entry.node, receipt),
                (Some(_), None) => false,
            }
        })
    }

    fn take(&mut self, matches: impl Fn(&Entry) -> bool) -> Option<Entry> {
        // What was never delivered cannot have been answered.
        let at = self.entries.iter().position(|entry| entry.attempts > 0 && matches(entry))?;
        self.entries.remove(at)
    }
}

fn same_chat(node: &Node, receipt: &Receipt) -> bool {
    let chat = node.jid("recipient").map(|jid: Jid| jid.bare());
    receipt.recipient.as_ref().is_none_or(|recipient| chat.as_ref() == Some(&recipient.bare()))
}
