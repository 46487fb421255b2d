//! Acks and nacks: `<ack class id to|from …/>`.

use super::{Malformed, text};
use crate::wire::{Jid, Node};

/// Why a stanza is refused by its receiver (WhatsApp Web's nack codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Nack {
    /// The envelope lacks something.
    ParsingError = 487,
    /// Unknown top-level tag.
    UnrecognizedStanza = 488,
    /// What was decrypted is no message.
    InvalidProtobuf = 491,
    /// A bot's answer without the secret to open it.
    MissingMessageSecret = 495,
    /// Our own fault.
    UnhandledError = 500,
}

/// One ack, in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The tag of what is acknowledged.
    pub class: String,
    /// The id of what is acknowledged.
    pub id: String,
    /// `to` on the way to the server, `from` on the way to a device: the other end of what is acknowledged.
    pub peer: Jid,
    /// Echoed.
    pub participant: Option<Jid>,
    /// Echoed; without it the server ends the stream.
    pub recipient: Option<Jid>,
    /// Echoed.
    pub kind: Option<String>,
    /// Refused.
    pub error: Option<u16>,
    /// Server time, Unix seconds; on acks of messages.
    pub t: Option<u64>,
    /// A client's own device, on acks of messages.
    pub own: Option<Jid>,
    /// The server's view of the devices, where ours was wrong.
    pub phash: Option<String>,
}

impl Ack {
    /// The server's ack of a message that it took.
    pub fn taken(id: &str, chat: &Jid, t: u64) -> Self {
        Self {
            class: "message".into(),
            id: id.to_owned(),
            peer: chat.clone(),
            participant: None,
            recipient: None,
            kind: None,
            error: None,
            t: Some(t),
            own: None,
            phash: None,
        }
    }

    /// A client's ack of a stanza: `to`, `participant`, `recipient` and `type` repeat what it carried.
    pub fn of(stanza: &Node) -> Option<Self> {
        let identity_change = stanza.text("type") == Some("encrypt") && stanza.find("identity").is_some();
        Some(Self {
            class: stanza.tag.to_string(),
            id: stanza.text("id")?.to_owned(),
            peer: stanza.jid("from")?,
            participant: stanza.jid("participant"),
            recipient: stanza.jid("recipient"),
            // WhatsApp Web leaves the type out of this one.
            kind: stanza.text("type").filter(|_| !identity_change).map(str::to_owned),
            error: None,
            t: None,
            own: None,
            phash: None,
        })
    }

    /// The same with a code.
    #[must_use]
    pub fn refusing(mut self, why: Nack) -> Self {
        self.error = Some(why as u16);
        self
    }

    /// On its way to the server.
    pub fn build_to(&self) -> Node {
        self.build("to").attr_opt("from", self.own.as_ref())
    }

    /// On its way to a device.
    pub fn build_from(&self) -> Node {
        self.build("from")
    }

    fn build(&self, end: &'static str) -> Node {
        Node::new("ack")
            .attr("class", self.class.clone())
            .attr("id", self.id.clone())
            .attr(end, &self.peer)
            .attr_opt("participant", self.participant.as_ref())
            .attr_opt("recipient", self.recipient.as_ref())
            .attr_opt("type", self.kind.clone())
            .attr_opt("t", self.t)
            .attr_opt("phash", self.phash.clone())
            .attr_opt("error", self.error.map(u32::from))
    }

    /// Reads a client's ack.
    pub fn parse_to(node: &Node) -> Result<Self, Malformed> {
        Ok(Self { own: node.jid("from"), ..Self::parse(node, "to")? })
    }

    /// Reads the server's ack.
    pub fn parse_from(node: &Node) -> Result<Self, Malformed> {
        Self::parse(node, "from")
    }

    fn parse(node: &Node, end: &'static str) -> Result<Self, Malformed> {
        Ok(Self {
            class: text(node, "class")?,
            id: text(node, "id")?,
            peer: node.jid(end).ok_or(Malformed("ack peer"))?,
            participant: node.jid("participant"),
            recipient: node.jid("recipient"),
            kind: node.text("type").map(str::to_owned),
            error: node.number("error"),
            t: node.number("t"),
            own: None,
            phash: node.text("phash").map(str::to_owned),
        })
    }
}
