//! Groups: how the server describes one, what is asked of it, and what it tells. Shapes: Baileys `Socket/groups.ts`,
//! whatsmeow `group.go`, whatsapp-rust `wacore/src/iq/groups.rs` and `wacore/src/stanza/groups.rs`.

mod community;
mod notice;
mod query;

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

pub use community::{
    CommunityQuery, Place, SubGroup, read_link_errors, read_linked_group, read_linked_members,
    read_sub_groups,
};
pub use notice::{GroupChange, GroupNotice, Tie};
pub use query::{
    AddRequest, GroupQuery, GroupSetting, JoinRequest, MemberChange, MemberResult, group_answer, joined,
    read_groups, read_invite, read_join_requests, read_results,
};

use super::{Malformed, jid, text};
use crate::wire::{Jid, Node, Server};

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Take part.
    Member,
    /// Also manage.
    Admin,
    /// Made the group.
    SuperAdmin,
}

impl Rank {
    /// The `type` of a participant; absent for a plain member.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Member => None,
            Self::Admin => Some("admin"),
            Self::SuperAdmin => Some("superadmin"),
        }
    }

    fn parse(word: Option<&str>) -> Self {
        match word {
            Some("admin") => Self::Admin,
            Some("superadmin") => Self::SuperAdmin,
            _ => Self::Member,
        }
    }
}

/// A member as stanzas name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// In the group's own namespace.
    pub jid: Jid,
    /// The other name: `phone_number` of a LID, `lid` of a number.
    pub alt: Option<Jid>,
    /// What it may do.
    pub rank: Rank,
}

impl Member {
    pub(super) fn build(&self) -> Node {
        named(&self.jid, self.alt.as_ref()).attr_opt("type", self.rank.as_str())
    }

    pub(super) fn parse(node: &Node) -> Result<Self, Malformed> {
        Ok(Self { jid: jid(node, "jid")?, alt: other_name(node), rank: Rank::parse(node.text("type")) })
    }
}

/// `<participant>` with both names.
fn named(jid: &Jid, alt: Option<&Jid>) -> Node {
    let node = Node::new("participant").attr("jid", jid);
    match alt {
        Some(alt) if alt.is_lid() => node.attr("lid", alt),
        alt => node.attr_opt("phone_number", alt),
    }
}

fn other_name(node: &Node) -> Option<Jid> {
    node.jid("phone_number").or_else(|| node.jid("lid"))
}

fn members(node: &Node) -> Result<Vec<Member>, Malformed> {
    node.find_all("participant").map(Member::parse).collect()
}

/// The text that a group says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// A new one names it as what it replaces.
    pub id: String,
    /// At most 2,048 characters.
    pub text: String,
    /// Who wrote it.
    pub by: Option<Jid>,
    /// Unix seconds.
    pub t: u64,
}

/// A group, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its address.
    pub jid: Jid,
    /// Members go by LID (`addressing_mode="lid"`), not by number.
    pub by_lid: bool,
    /// Its name.
    pub subject: String,
    /// Since when, Unix seconds.
    pub subject_at: u64,
    /// Who named it so.
    pub subject_by: Option<Jid>,
    /// Unix seconds.
    pub created: u64,
    /// Who made it.
    pub creator: Option<Jid>,
    /// The other name of who made it.
    pub creator_alt: Option<Jid>,
    /// What it says of itself.
    pub description: Option<Description>,
    /// Everybody; what is told to outsiders may leave some out.
    pub members: Vec<Member>,
    /// Only admins write.
    pub announce: bool,
    /// Only admins change subject and description.
    pub locked: bool,
    /// Seconds after which messages disappear; 0: never.
    pub ephemeral: u32,
    /// Only admins add.
    pub admins_add: bool,
    /// Admins approve who joins by link.
    pub approval: bool,
    /// Among other groups.
    pub place: Place,
}

impl GroupInfo {
    /// Builds `<group>`.
    pub fn build(&self) -> Node {
        let flag = |on: bool, tag: &'static str| on.then(|| Node::new(tag));
        let description = self.description.as_ref().map(|description| {
            Node::new("description")
                .attr("id", description.id.clone())
                .attr_opt("participant", description.by.as_ref())
                .attr("t", description.t)
                .child(Node::new("body").bytes(description.text.as_bytes()))
        });
        let ephemeral = (self.ephemeral > 0)
            .then(|| Node::new("ephemeral").attr("expiration", self.ephemeral).attr("trigger", "1"));
        let approval = self.approval.then(|| {
            Node::new("membership_approval_mode").child(Node::new("group_join").attr("state", "on"))
        });
        let add_mode = if self.admins_add { "admin_add" } else { "all_member_add" };
        let group = Node::new("group")
            // The user part alone: whatsmeow makes the address from it.
            .attr("id", self.jid.user().to_owned())
            .attr("addressing_mode", if self.by_lid { "lid" } else { "pn" })
            .attr("subject", self.subject.clone())
            .attr_opt("s_o", self.subject_by.as_ref())
            .attr("s_t", self.subject_at)
            .attr("creation", self.created)
            .attr_opt("creator", self.creator.as_ref())
            .attr_opt("creator_pn", self.creator_alt.as_ref().filter(|alt| alt.is_pn()))
            .attr("size", u32::try_from(self.members.len()).unwrap_or(u32::MAX))
            .child_opt(description)
            .children_from(self.members.iter().map(Member::build))
            .child_opt(flag(self.announce, "announcement"))
            .child_opt(flag(self.locked, "locked"))
            .child_opt(ephemeral)
            .child(Node::new("member_add_mode").bytes(add_mode))
            .child_opt(approval);
        self.place.build(group)
    }

    /// Reads `<group>`.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let description = node.find("description").and_then(|description| {
            Some(Description {
                id: description.text("id")?.to_owned(),
                text: body(description)?,
                by: description.jid("participant"),
                t: description.number("t").unwrap_or(0),
            })
        });
        let approval = node
            .find("membership_approval_mode")
            .is_some_and(|mode| mode.find("group_join").is_none_or(|join| join.text("state") != Some("off")));
        Ok(Self {
            jid: group_id(node)?,
            by_lid: node.text("addressing_mode") == Some("lid"),
            subject: text(node, "subject")?,
            subject_at: node.number("s_t").unwrap_or(0),
            subject_by: node.jid("s_o"),
            created: node.number("creation").unwrap_or(0),
            creator: node.jid("creator"),
            creator_alt: node.jid("creator_pn"),
            description,
            members: members(node)?,
            announce: node.find("announcement").is_some(),
            locked: node.find("locked").is_some(),
            ephemeral: node.find("ephemeral").and_then(|e| e.number("expiration")).unwrap_or(0),
            admins_add: node.find("member_add_mode").and_then(content).as_deref() == Some("admin_add"),
            approval,
            place: Place::parse(node),
        })
    }
}

/// `id` of a group: its user part, or the whole address.
fn group_id(node: &Node) -> Result<Jid, Malformed> {
    let found = node
        .jid("id")
        .filter(Jid::is_group)
        .or_else(|| node.jid("jid").filter(Jid::is_group))
        .or_else(|| format!("{}@{}", node.text("id")?, Server::Group.as_str()).parse().ok());
    found.filter(Jid::is_group).ok_or(Malformed("group id"))
}

/// Content as text, whichever way it was written.
fn content(node: &Node) -> Option<String> {
    String::from_utf8(node.content_bytes()?.into_owned()).ok()
}

fn body(node: &Node) -> Option<String> {
    content(node.find("body")?)
}

/// Participant hash, version 2 (protocol 02, 4.4), over devices. Equal on both ends if both know the same devices.
pub fn participant_hash(devices: impl IntoIterator<Item = Jid>) -> String {
    let mut names: Vec<String> = devices
        .into_iter()
        .map(|d| format!("{}.0:{}@{}", d.user(), d.device(), d.server().as_str()))
        .collect();
    names.sort_unstable();
    let mut sha = Sha256::new();
    names.iter().for_each(|name| sha.update(name.as_bytes()));
    let digest: [u8; 32] = sha.finalize().into();
    format!("2:{}", BASE64_STANDARD_NO_PAD.encode(digest.get(..6).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of whatsmeow's and whatsapp-rust's functions (protocol 02, 4.4).
    #[test]
    fn the_participant_hash_is_the_one_that_other_clients_compute() {
        let one = || Jid::pn("5511999999999");
        assert_eq!(participant_hash([one().with_device(3)]), "2:5s+YxCff");
        assert_eq!(participant_hash([one()]), "2:RJWVxcMQ");
        let (ana, bea) = (Jid::pn("5511988887777").with_device(14), Jid::pn("7469250125917").with_device(21));
        assert_eq!(participant_hash([bea, ana]), "2:AAv/hwhn");
        let (ana, bea) =
            (Jid::lid("5511988887777").with_device(14), Jid::lid("7469250125917").with_device(21));
        assert_eq!(participant_hash([ana, bea]), "2:xVELSmNO");
    }

    #[test]
    fn a_group_reads_back_as_it_was_written() {
        let group = GroupInfo {
            jid: Jid::group("120363000000000001"),
            by_lid: true,
            subject: "Team".into(),
            subject_at: 1_700_000_000,
            subject_by: Some(Jid::lid("1")),
            created: 1_700_000_000,
            creator: Some(Jid::lid("1")),
            creator_alt: Some(Jid::pn("5511999999999")),
            description: Some(Description {
                id: "3EB0".into(),
                text: "what for".into(),
                by: Some(Jid::lid("1")),
                t: 1_700_000_001,
            }),
            members: vec![
                Member { jid: Jid::lid("1"), alt: Some(Jid::pn("5511999999999")), rank: Rank::SuperAdmin },
                Member { jid: Jid::lid("2"), alt: None, rank: Rank::Member },
            ],
            announce: true,
            locked: true,
            ephemeral: 86_400,
            admins_add: true,
            approval: true,
            place: Place::Within(Jid::group("120363000000000009")),
        };
        assert_eq!(GroupInfo::parse(&group.build()), Ok(group.clone()));
        let plain = GroupInfo {
            description: None,
            by_lid: false,
            announce: false,
            locked: false,
            ephemeral: 0,
            admins_add: false,
            approval: false,
            place: Place::Community,
            ..group
        };
        assert_eq!(GroupInfo::parse(&plain.build()), Ok(plain));
        assert_eq!(GroupInfo::parse(&Node::new("group").attr("subject", "x")), Err(Malformed("group id")));
    }
}
