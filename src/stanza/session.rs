//! What frames a session: success, failure, stream errors, bulletins (`<ib>`), keepalive and presence.

use super::{Iq, IqKind, Malformed};
use crate::wire::{Jid, Node};

/// Server → client: the login is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Success {
    /// Server time, Unix seconds.
    pub t: u64,
    /// The device under the account's hidden identity, device number included.
    pub lid: Option<Jid>,
}

impl Success {
    /// Reads `<success t lid/>`.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        Ok(Self { t: node.number("t").ok_or(Malformed("t"))?, lid: node.jid("lid") })
    }

    /// Builds the server's stanza.
    pub fn build(&self) -> Node {
        Node::new("success").attr("t", self.t).attr_opt("lid", self.lid.as_ref())
    }
}

/// Server → client: the login is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// 401 logged out, 402 temporary ban, 403 locked, 405 outdated, 406 banned, 409 bad user agent, 5xx later.
    pub reason: u16,
    /// Why there is a ban, with 402.
    pub code: Option<u16>,
    /// How long the ban lasts, in seconds, with 402.
    pub expire: Option<u64>,
    /// What the account's owner is told.
    pub message: Option<String>,
    /// With which a lock can be appealed against. Told once.
    pub appeal_token: Option<String>,
}

impl Failure {
    /// Reads `<failure reason/>`; a reason that is no number counts as 500.
    pub fn parse(node: &Node) -> Self {
        let text = |key| node.text(key).filter(|text| text.len() <= 4096).map(str::to_owned);
        Self {
            reason: node.number("reason").unwrap_or(500),
            code: node.number("code"),
            expire: node.number("expire"),
            message: text("logout_message_subtext").or_else(|| text("message")),
            appeal_token: text("appeal_token"),
        }
    }

    /// Builds the server's stanza.
    pub fn build(&self) -> Node {
        Node::new("failure")
            .attr("reason", u32::from(self.reason))
            .attr_opt("code", self.code.map(u32::from))
            .attr_opt("expire", self.expire)
            .attr_opt("logout_message_subtext", self.message.clone())
            .attr_opt("appeal_token", self.appeal_token.clone())
    }
}

/// Server → client: the stream ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// `code="515"`: connect again, at once; follows a pairing.
    Restart,
    /// This device was unlinked.
    DeviceRemoved,
    /// The same device connected elsewhere.
    Replaced,
    /// A stanza is still owed an answer.
    Owed {
        /// Id of that stanza.
        id: String,
    },
    /// Anything else, by code; 500 where none is given.
    Code(u16),
}

impl StreamError {
    /// Reads `<stream:error code><conflict type/></stream:error>` and its kin.
    pub fn parse(node: &Node) -> Self {
        let code: Option<u16> = node.number("code");
        if let Some(conflict) = node.find("conflict") {
            return match conflict.text("type") {
                Some("replaced") => Self::Replaced,
                _ => Self::DeviceRemoved,
            };
        }
        if let Some(ack) = node.find("ack") {
            return Self::Owed { id: ack.text("id").unwrap_or_default().to_owned() };
        }
        match code {
            Some(515) => Self::Restart,
            Some(401 | 516) => Self::DeviceRemoved,
            Some(409) => Self::Replaced,
            Some(code) => Self::Code(code),
            None => Self::Code(500),
        }
    }

    /// Builds the server's stanza.
    pub fn build(&self) -> Node {
        let error = Node::new("stream:error");
        match self {
            Self::Restart => error.attr("code", "515"),
            Self::DeviceRemoved => {
                error.attr("code", "401").child(Node::new("conflict").attr("type", "device_removed"))
            }
            // Baileys reads a code before it looks at the conflict, so `replaced` carries none.
            Self::Replaced => error.child(Node::new("conflict").attr("type", "replaced")),
            Self::Owed { id } => {
                error.child(Node::new("ack").attr("class", "message").attr("id", id.clone()))
            }
            Self::Code(code) => error.attr("code", u32::from(*code)),
        }
    }
}

/// A bulletin, server → client: `<ib>` with one child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Info {
    /// So much is queued.
    OfflinePreview {
        /// All stanzas together.
        count: u32,
        /// Parts of `count`.
        message: u32,
        /// Parts of `count`.
        notification: u32,
        /// Parts of `count`.
        receipt: u32,
    },
    /// The queue is drained; live from here on.
    Offline {
        /// How many were delivered.
        count: u32,
    },
    /// Bytes to send in front of the next connection's intro.
    EdgeRouting(Vec<u8>),
    /// Something is to be fetched anew.
    Dirty {
        /// account_sync, groups, syncd_app_state …
        kind: String,
        /// Unix seconds, echoed when cleaned.
        timestamp: Option<u64>,
    },
    /// The account is not on the multi-device version (reported as 411).
    Downgrade,
    /// Named by no client, or of no consequence to us.
    Other,
}

impl Info {
    /// Reads the first child.
    pub fn parse(node: &Node) -> Self {
        let Some(child) = node.children().first() else { return Self::Other };
        match child.tag.as_ref() {
            "offline_preview" => Self::OfflinePreview {
                count: child.number("count").unwrap_or(0),
                message: child.number("message").unwrap_or(0),
                notification: child.number("notification").unwrap_or(0),
                receipt: child.number("receipt").unwrap_or(0),
            },
            "offline" => Self::Offline { count: child.number("count").unwrap_or(0) },
            "edge_routing" => super::bytes(child, "routing_info").map_or(Self::Other, Self::EdgeRouting),
            "dirty" => Self::Dirty {
                kind: child.text("type").unwrap_or_default().to_owned(),
                timestamp: child.number("timestamp"),
            },
            "downgrade_webclient" => Self::Downgrade,
            _ => Self::Other,
        }
    }

    /// Builds the server's stanza. [`Info::Other`] gives an empty bulletin.
    pub fn build(&self) -> Node {
        let ib = Node::new("ib").attr("from", Jid::server_itself());
        match self {
            Self::OfflinePreview { count, message, notification, receipt } => ib.child(
                Node::new("offline_preview")
                    .attr("count", *count)
                    .attr("appdata", "0")
                    .attr("message", *message)
                    .attr("notification", *notification)
                    .attr("receipt", *receipt),
            ),
            Self::Offline { count } => ib.child(Node::new("offline").attr("count", *count)),
            Self::EdgeRouting(info) => {
                ib.child(Node::new("edge_routing").child(Node::new("routing_info").bytes(info.clone())))
            }
            Self::Dirty { kind, timestamp } => {
                ib.child(Node::new("dirty").attr("type", kind.clone()).attr_opt("timestamp", *timestamp))
            }
            Self::Downgrade => ib.child(Node::new("downgrade_webclient")),
            Self::Other => ib,
        }
    }
}

/// Client → server bulletin with one child: `offline_batch`, `unified_session`.
pub fn client_info(child: Node) -> Node {
    Node::new("ib").child(child)
}

/// Client → server: send up to `count` queued stanzas. WhatsApp Web asks for 200.
pub fn offline_batch(count: u32) -> Node {
    client_info(Node::new("offline_batch").attr("count", count))
}

/// Client → server, once after a login. The id is (now + offset + 3 days) modulo 7 days, in milliseconds.
pub fn unified_session(server_now_ms: u64) -> Node {
    const DAY: u64 = 86_400_000;
    let id = (server_now_ms + 3 * DAY) % (7 * DAY);
    client_info(Node::new("unified_session").attr("id", id))
}

/// Client → server: from now on deliver; ends the passive mode of the login.
pub fn active(id: &str) -> Node {
    Iq::query(id, IqKind::Set, "passive").child(Node::new("active"))
}

/// Client → server: keepalive, answered with an empty result.
pub fn ping(id: &str) -> Node {
    Iq::query(id, IqKind::Get, "w:p").child(Node::new("ping"))
}

/// Client → server: shown online or not; the name is the account's push name from then on.
pub fn presence(available: bool, name: Option<&str>) -> Node {
    let kind = if available { "available" } else { "unavailable" };
    Node::new("presence").attr("type", kind).attr_opt("name", name.map(str::to_owned))
}

/// What the account is doing in a chat right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatState {
    /// Writing.
    Typing,
    /// Recording a voice note.
    Recording,
    /// Neither.
    Paused,
}

/// Client → server: shown to the other end of a chat for as long as it lasts.
pub fn chat_state(from: &Jid, to: &Jid, state: ChatState) -> Node {
    let state = match state {
        ChatState::Typing => Node::new("composing"),
        ChatState::Recording => Node::new("composing").attr("media", "audio"),
        ChatState::Paused => Node::new("paused"),
    };
    Node::new("chatstate").attr("from", from).attr("to", to).child(state)
}

/// Client → server: unlink this companion.
pub fn remove_companion(id: &str, own: &Jid) -> Node {
    Iq::query(id, IqKind::Set, "md")
        .child(Node::new("remove-companion-device").attr("jid", own).attr("reason", "user_initiated"))
}
