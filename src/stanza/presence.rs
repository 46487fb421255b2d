//! Who is there, and what they are doing in a chat, as the server passes it on.
//! Shapes: Baileys `Socket/chats.ts`, whatsmeow `presence.go`, whatsapp-rust `wacore/src/iq/chatstate.rs`.

use super::{ChatState, Malformed, jid};
use crate::wire::{Jid, Node};

/// Client → server: tell me from now on when this person comes and goes.
pub fn subscribe(to: &Jid, id: &str) -> Node {
    Node::new("presence").attr("type", "subscribe").attr("to", to).attr("id", id.to_owned())
}

/// Client → server: no more.
pub fn unsubscribe(to: &Jid) -> Node {
    Node::new("presence").attr("type", "unsubscribe").attr("to", to)
}

/// Client → server: the account's name alone, whether it is shown online or not.
pub fn named(name: &str) -> Node {
    Node::new("presence").attr("name", name.to_owned())
}

/// Server → client: somebody came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceUpdate {
    /// As the subscription named it.
    pub from: Jid,
    /// Online now.
    pub available: bool,
    /// Unix seconds; `None`: not told, or hidden.
    pub last_seen: Option<u64>,
    /// The person does not show when it was last there.
    pub hidden: bool,
}

impl PresenceUpdate {
    /// Reads the server's stanza.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        Ok(Self {
            from: jid(node, "from")?.bare(),
            available: node.text("type") != Some("unavailable"),
            last_seen: node.number("last"),
            hidden: node.text("last") == Some("deny"),
        })
    }

    /// Builds the server's stanza.
    pub fn build(&self) -> Node {
        let last = match self.last_seen {
            _ if self.available => None,
            _ if self.hidden => Some("deny".to_owned()),
            Some(last) => Some(last.to_string()),
            None => None,
        };
        Node::new("presence")
            .attr("from", &self.from)
            .attr_opt("type", (!self.available).then_some("unavailable"))
            .attr_opt("last", last)
    }
}

/// Server → client: somebody writes, records, or stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatStateUpdate {
    /// A person or a group.
    pub chat: Jid,
    /// Who, in a group; else the person.
    pub who: Jid,
    /// What.
    pub state: ChatState,
}

impl ChatStateUpdate {
    /// Reads the server's stanza. An own device's has no `from`, and is none of these.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let chat = jid(node, "from")?.bare();
        let child = node.children().first().ok_or(Malformed("state"))?;
        let state = match (child.tag.as_ref(), child.text("media")) {
            ("composing", Some("audio")) => ChatState::Recording,
            ("composing", _) => ChatState::Typing,
            ("paused", _) => ChatState::Paused,
            _ => return Err(Malformed("state")),
        };
        let who = match node.jid("participant") {
            Some(who) => who.bare(),
            None if chat.is_group() => return Err(Malformed("participant")),
            None => chat.clone(),
        };
        Ok(Self { chat, who, state })
    }
}
