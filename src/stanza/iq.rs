//! Queries and their answers: `<iq id type xmlns to|from>…</iq>`.

use super::{Malformed, text};
use crate::wire::{Jid, Node};

/// The four types of an iq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IqKind {
    /// Asks.
    Get,
    /// Changes.
    Set,
    /// Answers.
    Result,
    /// Refuses.
    Error,
}

impl IqKind {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Result => "result",
            Self::Error => "error",
        }
    }
}

/// Why a query was refused; codes as in HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IqError {
    /// 400 bad-request … 503 service-unavailable.
    pub code: u16,
    /// The server's word for it.
    pub text: String,
}

/// The frame of a query or an answer, without its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iq {
    /// Copied from the query into its answer.
    pub id: String,
    /// get, set, result or error.
    pub kind: IqKind,
    /// Absent on answers.
    pub xmlns: Option<String>,
}

impl Iq {
    /// Reads the frame; children stay in the node.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let kind = match node.text("type") {
            Some("get") => IqKind::Get,
            Some("set") => IqKind::Set,
            Some("result") => IqKind::Result,
            Some("error") => IqKind::Error,
            _ => return Err(Malformed("type")),
        };
        Ok(Self { id: text(node, "id")?, kind, xmlns: node.text("xmlns").map(str::to_owned) })
    }

    /// A query from a client to the server.
    pub fn query(id: &str, kind: IqKind, xmlns: &'static str) -> Node {
        Node::new("iq")
            .attr("to", Jid::server_itself())
            .attr("id", id.to_owned())
            .attr("type", kind.as_str())
            .attr("xmlns", xmlns)
    }

    /// A client's answer to a query of the server.
    pub fn result_to_server(id: &str) -> Node {
        Node::new("iq").attr("to", Jid::server_itself()).attr("type", "result").attr("id", id.to_owned())
    }

    /// The server's answer.
    pub fn result(id: &str) -> Node {
        Node::new("iq").attr("from", Jid::server_itself()).attr("type", "result").attr("id", id.to_owned())
    }

    /// The server's refusal.
    pub fn error(id: &str, code: u16, text: &'static str) -> Node {
        let error = Node::new("error").attr("code", u32::from(code)).attr("text", text);
        Node::new("iq")
            .attr("from", Jid::server_itself())
            .attr("type", "error")
            .attr("id", id.to_owned())
            .child(error)
    }

    /// The refusal in an answer, wherever it stands: `type="error"`, or an `<error>` child alone.
    pub fn refusal(node: &Node) -> Option<IqError> {
        let error = node.find("error");
        if error.is_none() && node.text("type") != Some("error") {
            return None;
        }
        Some(IqError {
            code: error.and_then(|e| e.number("code")).unwrap_or(500),
            text: error.and_then(|e| e.text("text")).unwrap_or_default().to_owned(),
        })
    }
}
