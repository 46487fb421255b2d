//! Receipts: delivered, read, played, retry. `<receipt id to|from [type] …/>`; the answer to most messages, and the
//! news of what became of our own.

use super::{Malformed, prekeys, text};
use crate::{
    crypto::{
        PublicKey,
        signal::{OneTimePreKey, SignedPreKey},
    },
    wire::{Jid, Node},
};

/// The `type` of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReceiptKind {
    /// No type: it reached an active device.
    Delivered,
    /// It reached a device whose user is not online there.
    Inactive,
    /// An own device took its copy.
    Sender,
    /// An own device took a peer message.
    PeerMsg,
    /// Read.
    Read,
    /// Read, told to own devices only.
    ReadSelf,
    /// Voice or video note played.
    Played,
    /// Played, told to own devices only.
    PlayedSelf,
    /// A history notification was taken.
    HistSync,
    /// Could not be decrypted: send again.
    Retry,
    /// Media is gone: upload again.
    ServerError,
    /// As named.
    Other(String),
}

impl ReceiptKind {
    /// The attribute; absent for [`ReceiptKind::Delivered`].
    pub fn as_str(&self) -> Option<&str> {
        Some(match self {
            Self::Delivered => return None,
            Self::Inactive => "inactive",
            Self::Sender => "sender",
            Self::PeerMsg => "peer_msg",
            Self::Read => "read",
            Self::ReadSelf => "read-self",
            Self::Played => "played",
            Self::PlayedSelf => "played-self",
            Self::HistSync => "hist_sync",
            Self::Retry => "retry",
            Self::ServerError => "server-error",
            Self::Other(other) => other,
        })
    }

    /// Reads the attribute.
    pub fn parse(word: Option<&str>) -> Self {
        match word {
            None => Self::Delivered,
            Some("inactive") => Self::Inactive,
            Some("sender") => Self::Sender,
            Some("peer_msg") => Self::PeerMsg,
            Some("read") => Self::Read,
            Some("read-self") => Self::ReadSelf,
            Some("played") => Self::Played,
            Some("played-self") => Self::PlayedSelf,
            Some("hist_sync") => Self::HistSync,
            Some("retry") => Self::Retry,
            Some("server-error") => Self::ServerError,
            Some(other) => Self::Other(other.to_owned()),
        }
    }
}

/// Fresh keys in a retry receipt, so that the sender can start over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryKeys {
    /// The asking device's identity.
    pub identity: PublicKey,
    /// Made for this receipt; never in the server's pool.
    pub one_time: Option<OneTimePreKey>,
    /// The asking device's signed prekey.
    pub signed: SignedPreKey,
    /// Serialized ADVSignedDeviceIdentity of a companion.
    pub device_identity: Option<Vec<u8>>,
}

/// The body of a retry receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Which retry of this message, from 1.
    pub count: u8,
    /// `t` of the message, Unix seconds.
    pub t: u64,
    /// Why; 0 unknown, 1 no session, 7 bad MAC …
    pub error: u8,
    /// The asking device's registration id; a change tells that it started over.
    pub registration_id: Option<u32>,
    /// From the second retry on.
    pub keys: Option<RetryKeys>,
}

/// One receipt, in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The first message it is about.
    pub id: String,
    /// `to` on the way to the server, `from` on the way to a device. Absent only in a form of Baileys' own-copy receipt.
    pub peer: Option<Jid>,
    /// What happened.
    pub kind: ReceiptKind,
    /// The author (to the server) or the reader (from it) where the chat is a group.
    pub participant: Option<Jid>,
    /// On own copies: the chat.
    pub recipient: Option<Jid>,
    /// Unix seconds.
    pub t: Option<u64>,
    /// Further messages it is about, at most 256.
    pub more: Vec<String>,
    /// From the queue.
    pub offline: Option<u32>,
    /// On the answer to a peer message that failed.
    pub peer_category: bool,
    /// Only with [`ReceiptKind::Retry`].
    pub retry: Option<Retry>,
}

impl Receipt {
    /// A receipt for one message.
    pub fn new(id: String, peer: Jid, kind: ReceiptKind) -> Self {
        Self {
            id,
            peer: Some(peer),
            kind,
            participant: None,
            recipient: None,
            t: None,
            more: Vec::new(),
            offline: None,
            peer_category: false,
            retry: None,
        }
    }

    /// Every message it is about.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.id.as_str())
            .chain(self.more.iter().map(String::as_str).filter(|id| *id != self.id))
    }

    /// On its way to the server.
    pub fn build_to(&self) -> Node {
        self.build("to")
    }

    /// On its way to a device.
    pub fn build_from(&self) -> Node {
        self.build("from")
    }

    fn build(&self, end: &'static str) -> Node {
        let items = self.more.iter().map(|id| Node::new("item").attr("id", id.clone()));
        let list = (!self.more.is_empty()).then(|| Node::new("list").children_from(items));
        let node = Node::new("receipt")
            .attr("id", self.id.clone())
            .attr_opt(end, self.peer.as_ref())
            .attr_opt("type", self.kind.as_str().map(str::to_owned))
            .attr_opt("participant", self.participant.as_ref())
            .attr_opt("recipient", self.recipient.as_ref())
            .attr_opt("category", self.peer_category.then_some("peer"))
            .attr_opt("t", self.t)
            .attr_opt("offline", self.offline)
            .child_opt(list);
        let Some(retry) = &self.retry else { return node };
        let body = Node::new("retry")
            .attr("v", "1")
            .attr("id", self.id.clone())
            .attr("t", retry.t)
            .attr("count", u32::from(retry.count))
            .attr("error", u32::from(retry.error));
        let keys = retry.keys.as_ref().map(|keys| {
            prekeys::retry_keys_node(
                &keys.identity,
                keys.one_time.as_ref(),
                &keys.signed,
                keys.device_identity.as_deref(),
            )
        });
        node.child(body).child_opt(retry.registration_id.map(prekeys::registration_child)).child_opt(keys)
    }

    /// Reads a client's receipt.
    pub fn parse_to(node: &Node) -> Result<Self, Malformed> {
        Self::parse(node, "to")
    }

    /// Reads the server's receipt.
    pub fn parse_from(node: &Node) -> Result<Self, Malformed> {
        let receipt = Self::parse(node, "from")?;
        if receipt.peer.is_none() { Err(Malformed("from")) } else { Ok(receipt) }
    }

    fn parse(node: &Node, end: &'static str) -> Result<Self, Malformed> {
        let kind = ReceiptKind::parse(node.text("type"));
        let retry = match (&kind, node.find("retry")) {
            (ReceiptKind::Retry, Some(retry)) => Some(Retry {
                // A nought would be one answer more than there may be.
                count: retry.number("count").unwrap_or(1).max(1),
                t: retry.number("t").unwrap_or(0),
                error: retry.number("error").unwrap_or(0),
                registration_id: prekeys::registration(node),
                keys: node.find("keys").map(prekeys::read_retry_keys).transpose()?,
            }),
            _ => None,
        };
        let more = node
            .find("list")
            .into_iter()
            .flat_map(|list| list.find_all("item"))
            .filter_map(|item| item.text("id").map(str::to_owned))
            .collect();
        Ok(Self {
            id: text(node, "id")?,
            peer: node.jid(end),
            kind,
            participant: node.jid("participant"),
            recipient: node.jid("recipient"),
            t: node.number("t"),
            more,
            offline: node.has("offline").then(|| node.number("offline").unwrap_or(0)),
            peer_category: node.text("category") == Some("peer"),
            retry,
        })
    }
}
