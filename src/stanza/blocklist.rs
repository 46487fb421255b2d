//! Whom the account has blocked: `xmlns="blocklist"`, and what its other devices are told.
//! Shapes: Baileys `Socket/chats.ts`, whatsmeow `user.go`, whatsapp-rust `wacore/src/iq/blocklist.rs`.

use super::{Iq, IqKind, Malformed, Notification};
use crate::wire::{Jid, Node};

/// Client → server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockQuery {
    /// Everybody.
    List,
    /// One more, or one less.
    Change {
        /// By hidden identity, where it is known.
        who: Jid,
        /// The number beside it; named where somebody is blocked.
        pn: Option<Jid>,
        /// Blocked from now on.
        block: bool,
    },
}

const fn word(block: bool) -> &'static str {
    if block { "block" } else { "unblock" }
}

fn read_word(item: &Node) -> Result<bool, Malformed> {
    match item.text("action") {
        Some("block") => Ok(true),
        Some("unblock") => Ok(false),
        _ => Err(Malformed("action")),
    }
}

impl BlockQuery {
    /// Builds the query.
    pub fn build(&self, id: &str) -> Node {
        match self {
            Self::List => Iq::query(id, IqKind::Get, "blocklist"),
            Self::Change { who, pn, block } => {
                let item = Node::new("item")
                    .attr("action", word(*block))
                    .attr("jid", who)
                    .attr_opt("pn_jid", pn.as_ref().filter(|_| *block));
                Iq::query(id, IqKind::Set, "blocklist").child(item)
            }
        }
    }

    /// Reads the query of any client.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        if Iq::parse(node)?.kind == IqKind::Get {
            return Ok(Self::List);
        }
        let item = node.find("item").ok_or(Malformed("item"))?;
        Ok(Self::Change {
            who: super::jid(item, "jid")?.bare(),
            pn: item.jid("pn_jid").map(|jid| jid.bare()),
            block: read_word(item)?,
        })
    }
}

/// The whole list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocklist {
    /// Changes with the list.
    pub dhash: Option<String>,
    /// Everybody in it, and the number where it is told.
    pub people: Vec<(Jid, Option<Jid>)>,
}

impl Blocklist {
    /// Reads the server's answer.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let list = node.find("list").ok_or(Malformed("list"))?;
        let one = |item: &Node| Some((item.jid("jid")?.bare(), item.jid("pn_jid").map(|jid| jid.bare())));
        Ok(Self {
            dhash: list.text("dhash").map(str::to_owned),
            people: list.find_all("item").filter_map(one).filter(|(jid, _)| jid.is_user()).collect(),
        })
    }

    /// Builds the server's answer.
    pub fn build(&self, id: &str) -> Node {
        let items = self
            .people
            .iter()
            .map(|(jid, pn)| Node::new("item").attr("jid", jid).attr_opt("pn_jid", pn.as_ref()));
        let list = Node::new("list").attr_opt("dhash", self.dhash.clone()).children_from(items);
        Iq::result(id).child(list)
    }
}

/// What another device of the account changed, or that something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockNotice {
    /// Of the list as it is now.
    pub dhash: Option<String>,
    /// Of the list before.
    pub previous: Option<String>,
    /// Who, the number where it is told, and whether blocked. Nobody: the list has to be asked for.
    pub changes: Vec<(Jid, Option<Jid>, bool)>,
}

impl BlockNotice {
    /// Reads an `account_sync` notification; `None`: it tells something else.
    pub fn parse(node: &Node) -> Option<Self> {
        let list = node.find("blocklist")?;
        let one = |item: &Node| {
            let who = item.jid("jid").map(|jid| jid.bare()).filter(Jid::is_user)?;
            Some((who, item.jid("pn_jid").map(|jid| jid.bare()), read_word(item).ok()?))
        };
        Some(Self {
            dhash: list.text("dhash").map(str::to_owned),
            previous: list.text("prev_dhash").map(str::to_owned),
            changes: list.find_all("item").filter_map(one).collect(),
        })
    }

    /// Builds the server's notification to the own devices.
    pub fn build(&self, id: &str, own: &Jid, t: u64) -> Node {
        let items = self.changes.iter().map(|(jid, pn, block)| {
            Node::new("item").attr("jid", jid).attr_opt("pn_jid", pn.as_ref()).attr("action", word(*block))
        });
        let list = Node::new("blocklist")
            .attr_opt("dhash", self.dhash.clone())
            .attr_opt("prev_dhash", self.previous.clone())
            .attr("action", "modify")
            .children_from(items);
        Notification::frame(id, own, "account_sync", t).child(list)
    }
}
