//! What is asked of groups (`w:g2`), and the answers.

use super::{GroupInfo, Member, content, group_id, members, named, other_name};
use crate::{
    stanza::{Iq, IqKind, Malformed, jid, text},
    wire::{Jid, Node},
};

/// What happens to members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// They come in.
    Add,
    /// They are put out.
    Remove,
    /// They become admins.
    Promote,
    /// They are admins no more.
    Demote,
}

impl MemberChange {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Add, Self::Remove, Self::Promote, Self::Demote];

    /// The tag on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Promote => "promote",
            Self::Demote => "demote",
        }
    }
}

/// A switch of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupSetting {
    /// Only admins write.
    Announce(bool),
    /// Only admins change subject and description.
    Locked(bool),
    /// Seconds after which messages disappear; 0: never.
    Ephemeral(u32),
    /// Only admins add.
    AdminsAdd(bool),
    /// Admins approve who joins by link.
    Approval(bool),
}

impl GroupSetting {
    /// Builds its element, for a request and for a notification.
    pub fn build(self) -> Node {
        match self {
            Self::Announce(true) => Node::new("announcement"),
            Self::Announce(false) => Node::new("not_announcement"),
            Self::Locked(true) => Node::new("locked"),
            Self::Locked(false) => Node::new("unlocked"),
            Self::Ephemeral(0) => Node::new("not_ephemeral"),
            Self::Ephemeral(seconds) => Node::new("ephemeral").attr("expiration", seconds),
            Self::AdminsAdd(on) => {
                Node::new("member_add_mode").bytes(if on { "admin_add" } else { "all_member_add" })
            }
            Self::Approval(on) => Node::new("membership_approval_mode")
                .child(Node::new("group_join").attr("state", if on { "on" } else { "off" })),
        }
    }

    /// Reads its element; `None`: it is none.
    pub fn parse(node: &Node) -> Option<Self> {
        Some(match node.tag.as_ref() {
            "announcement" => Self::Announce(true),
            "not_announcement" => Self::Announce(false),
            "locked" => Self::Locked(true),
            "unlocked" => Self::Locked(false),
            "not_ephemeral" => Self::Ephemeral(0),
            "ephemeral" => Self::Ephemeral(node.number("expiration")?),
            "member_add_mode" => Self::AdminsAdd(match content(node)?.as_str() {
                "admin_add" => true,
                "all_member_add" => false,
                _ => return None,
            }),
            // Of a community by another name.
            "membership_approval_mode" => {
                let join = node.find("group_join").or_else(|| node.find("community_join"));
                Self::Approval(join.and_then(|join| join.text("state"))? == "on")
            }
            _ => return None,
        })
    }
}

/// A question about a group, or a change of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupQuery {
    /// A new group; whoever asks is in it.
    Create {
        /// Its name.
        subject: String,
        /// The notification repeats it.
        key: Option<String>,
        /// Who else, each with the other name if known.
        people: Vec<(Jid, Option<Jid>)>,
        /// Beside the defaults.
        settings: Vec<GroupSetting>,
    },
    /// Everything about one.
    Info(Jid),
    /// All groups of the account.
    List,
    /// Go out.
    Leave(Jid),
    /// Members come, go, rise and fall.
    Members {
        /// Of this group.
        group: Jid,
        /// What happens.
        change: MemberChange,
        /// To whom, each with the other name if known.
        people: Vec<(Jid, Option<Jid>)>,
    },
    /// Another name.
    Subject {
        /// Of this group.
        group: Jid,
        /// At most 100 characters.
        text: String,
    },
    /// Another description.
    Description {
        /// Of this group.
        group: Jid,
        /// Of the new one.
        id: Option<String>,
        /// Of the present one.
        previous: Option<String>,
        /// `None` takes it away.
        text: Option<String>,
    },
    /// Turns a switch.
    Set {
        /// Of this group.
        group: Jid,
        /// Which, and how.
        setting: GroupSetting,
    },
    /// The code of the link that leads in.
    Invite(Jid),
    /// Another code; the present one ends.
    RevokeInvite(Jid),
    /// What a code leads to.
    InviteInfo(String),
    /// In by a code.
    Join(String),
    /// In by an invitation that a member wrote.
    Accept {
        /// Into which.
        group: Jid,
        /// What it says.
        invite: AddRequest,
        /// Who wrote it.
        admin: Jid,
    },
    /// Invitations that somebody wrote to these end.
    Disinvite {
        /// Into which.
        group: Jid,
        /// Whom.
        people: Vec<Jid>,
    },
    /// Who waits to be let in.
    Requests(Jid),
    /// Lets them in, or not.
    Decide {
        /// Of this group.
        group: Jid,
        /// In.
        approve: bool,
        /// Whom.
        people: Vec<Jid>,
    },
}

fn plain<'a>(people: impl IntoIterator<Item = &'a Jid>) -> impl Iterator<Item = Node> {
    people
        .into_iter()
        .map(|person| Node::new("participant").attr("jid", person))
        .collect::<Vec<_>>()
        .into_iter()
}

fn pairs(node: &Node) -> Result<Vec<(Jid, Option<Jid>)>, Malformed> {
    node.find_all("participant").map(|p| Ok((jid(p, "jid")?.bare(), other_name(p)))).collect()
}

impl GroupQuery {
    /// The group that it is sent to; `None`: to the group service.
    pub fn group(&self) -> Option<&Jid> {
        match self {
            Self::Create { .. } | Self::List | Self::Leave(_) | Self::InviteInfo(_) | Self::Join(_) => None,
            Self::Info(group) | Self::Invite(group) | Self::RevokeInvite(group) | Self::Requests(group) => {
                Some(group)
            }
            Self::Members { group, .. }
            | Self::Subject { group, .. }
            | Self::Description { group, .. }
            | Self::Set { group, .. }
            | Self::Accept { group, .. }
            | Self::Disinvite { group, .. }
            | Self::Decide { group, .. } => Some(group),
        }
    }

    const fn kind(&self) -> IqKind {
        match self {
            Self::Info(_) | Self::List | Self::Invite(_) | Self::InviteInfo(_) | Self::Requests(_) => {
                IqKind::Get
            }
            _ => IqKind::Set,
        }
    }

    /// Builds the query.
    pub fn build(&self, id: &str) -> Node {
        self.build_showing(id, &[])
    }

    /// The same, with the trusted-contact tokens of some who are to come in, by the first of their two names
    /// (`<privacy>`; protocol 06, 3.4).
    pub fn build_showing(&self, id: &str, tokens: &[(Jid, Vec<u8>)]) -> Node {
        let token = |person: &Jid| {
            let (_, token) = tokens.iter().find(|(of, _)| of == person)?;
            Some(Node::new("privacy").bytes(token.clone()))
        };
        let with_both = |people: &[(Jid, Option<Jid>)]| {
            let one = |(jid, alt): &(Jid, Option<Jid>)| named(jid, alt.as_ref()).child_opt(token(jid));
            people.iter().map(one).collect::<Vec<_>>()
        };
        let child = match self {
            Self::Create { subject, key, people, settings } => Node::new("create")
                .attr("subject", subject.clone())
                .attr_opt("key", key.clone())
                .children_from(with_both(people))
                .children_from(settings.iter().map(|setting| setting.build())),
            Self::Info(_) => Node::new("query").attr("request", "interactive"),
            Self::List => {
                Node::new("participating").child(Node::new("participants")).child(Node::new("description"))
            }
            Self::Leave(group) => Node::new("leave").child(Node::new("group").attr("id", group)),
            Self::Members { change, people, .. } => {
                Node::new(change.as_str()).children_from(with_both(people))
            }
            Self::Subject { text, .. } => Node::new("subject").bytes(text.as_bytes()),
            Self::Description { id, previous, text, .. } => {
                let node =
                    Node::new("description").attr_opt("id", id.clone()).attr_opt("prev", previous.clone());
                match text {
                    Some(text) => node.child(Node::new("body").bytes(text.as_bytes())),
                    None => node.attr("delete", "true"),
                }
            }
            Self::Set { setting, .. } => setting.build(),
            Self::Invite(_) | Self::RevokeInvite(_) => Node::new("invite"),
            Self::InviteInfo(code) | Self::Join(code) => Node::new("invite").attr("code", code.clone()),
            Self::Accept { invite, admin, .. } => invite.write(Node::new("accept")).attr("admin", admin),
            Self::Disinvite { people, .. } => Node::new("revoke").children_from(plain(people)),
            Self::Requests(_) => Node::new("membership_approval_requests"),
            Self::Decide { approve, people, .. } => {
                let word = if *approve { "approve" } else { "reject" };
                let people = Node::new(word).children_from(plain(people));
                Node::new("membership_requests_action").child(people)
            }
        };
        Node::new("iq")
            .attr("to", self.group().cloned().unwrap_or_else(|| Jid::group("")))
            .attr("id", id.to_owned())
            .attr("type", self.kind().as_str())
            .attr("xmlns", "w:g2")
            .child(child)
    }

    /// Reads the query of any client. `Ok(None)`: one that nobody here knows.
    pub fn parse(node: &Node) -> Result<Option<Self>, Malformed> {
        let iq = Iq::parse(node)?;
        let to = jid(node, "to")?;
        let child = node.children().first().ok_or(Malformed("child"))?;
        let (get, tag) = (iq.kind == IqKind::Get, child.tag.as_ref());
        if !to.is_group() {
            return Ok(match (get, tag) {
                (false, "create") => Some(Self::Create {
                    subject: text(child, "subject")?,
                    key: child.text("key").map(str::to_owned),
                    people: pairs(child)?,
                    settings: child.children().iter().filter_map(GroupSetting::parse).collect(),
                }),
                (true, "participating") => Some(Self::List),
                (false, "leave") => {
                    let left = child.find("group").or_else(|| child.find("community"));
                    Some(Self::Leave(group_id(left.ok_or(Malformed("group"))?)?))
                }
                (true, "invite") => Some(Self::InviteInfo(text(child, "code")?)),
                (false, "invite") => Some(Self::Join(text(child, "code")?)),
                _ => None,
            });
        }
        let group = to;
        if let Some(change) = MemberChange::ALL.into_iter().find(|change| !get && change.as_str() == tag) {
            return Ok(Some(Self::Members { group, change, people: pairs(child)? }));
        }
        if let Some(setting) = GroupSetting::parse(child).filter(|_| !get) {
            return Ok(Some(Self::Set { group, setting }));
        }
        Ok(match (get, tag) {
            (true, "query") if child.find("add_request").is_none() => Some(Self::Info(group)),
            (true, "invite") => Some(Self::Invite(group)),
            (false, "invite") => Some(Self::RevokeInvite(group)),
            (false, "subject") => {
                Some(Self::Subject { group, text: content(child).ok_or(Malformed("subject"))? })
            }
            (false, "description") => {
                let text = match child.find("body") {
                    Some(body) => Some(content(body).ok_or(Malformed("body"))?),
                    None => None,
                };
                let attr = |key| child.text(key).map(str::to_owned);
                Some(Self::Description { group, id: attr("id"), previous: attr("prev"), text })
            }
            (false, "accept") => {
                let invite = AddRequest::read(child).ok_or(Malformed("code, expiration"))?;
                Some(Self::Accept { group, invite, admin: jid(child, "admin")?.bare() })
            }
            (false, "revoke") => {
                let people = pairs(child)?.into_iter().map(|(jid, _)| jid).collect();
                Some(Self::Disinvite { group, people })
            }
            (true, "membership_approval_requests") => Some(Self::Requests(group)),
            (false, "membership_requests_action") => {
                let (approve, people) = match (child.find("approve"), child.find("reject")) {
                    (Some(people), None) => (true, people),
                    (None, Some(people)) => (false, people),
                    _ => return Err(Malformed("membership_requests_action")),
                };
                let people = pairs(people)?.into_iter().map(|(jid, _)| jid).collect();
                Some(Self::Decide { group, approve, people })
            }
            _ => None,
        })
    }
}

/// The frame of an answer: it comes from whom was asked.
pub fn group_answer(query: &Node, id: &str) -> Node {
    Node::new("iq")
        .attr("from", query.jid("to").unwrap_or_else(|| Jid::group("")))
        .attr("type", "result")
        .attr("id", id.to_owned())
}

/// What became of one member that something was to happen to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberResult {
    /// Whom.
    pub jid: Jid,
    /// The other name.
    pub alt: Option<Jid>,
    /// Why not: 403 has to be invited, 404 not there, 409 already so …
    pub error: Option<u16>,
    /// With 403: what an invitation has to say.
    pub invite: Option<AddRequest>,
}

/// What lets one person into a group: made by the server for somebody whom a member may not add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddRequest {
    /// At most [`AddRequest::MAX_CODE`] bytes.
    pub code: String,
    /// Until then it is good, Unix seconds.
    pub expiration: u64,
}

impl AddRequest {
    /// Longest code; real ones have 16 to 22 characters.
    pub const MAX_CODE: usize = 64;

    fn write(&self, node: Node) -> Node {
        node.attr("code", self.code.clone()).attr("expiration", self.expiration)
    }

    fn read(node: &Node) -> Option<Self> {
        let code = node.text("code").filter(|code| !code.is_empty() && code.len() <= Self::MAX_CODE)?;
        Some(Self { code: code.to_owned(), expiration: node.number("expiration")? })
    }
}

impl MemberResult {
    /// Builds `<participant>`.
    pub fn build(&self) -> Node {
        named(&self.jid, self.alt.as_ref())
            // whatsapp-rust's tests want it, nobody minds.
            .attr_opt("type", self.error.is_none().then_some("200"))
            .attr_opt("error", self.error.map(u32::from))
            .child_opt(self.invite.as_ref().map(|invite| invite.write(Node::new("add_request"))))
    }
}

/// The results in an answer, wherever they stand in it.
pub fn read_results(answer: &Node) -> Vec<MemberResult> {
    let one = |node: &Node| {
        Some(MemberResult {
            jid: node.jid("jid")?,
            alt: other_name(node),
            error: node.number("error"),
            invite: node.find("add_request").and_then(AddRequest::read),
        })
    };
    let mut found = Vec::new();
    // Either right under the tag of the change, or one deeper (requests).
    for child in answer.children() {
        let below = std::iter::once(child).chain(child.children());
        found.extend(below.flat_map(|node| node.find_all("participant")).filter_map(one));
    }
    found
}

/// All groups in the answer to [`GroupQuery::List`]; one that cannot be read is left out.
pub fn read_groups(answer: &Node) -> Result<Vec<GroupInfo>, Malformed> {
    let groups = answer.find("groups").ok_or(Malformed("groups"))?;
    Ok(groups.find_all("group").filter_map(|group| GroupInfo::parse(group).ok()).collect())
}

/// The code in the answer to [`GroupQuery::Invite`] and [`GroupQuery::RevokeInvite`].
pub fn read_invite(answer: &Node) -> Result<String, Malformed> {
    text(answer.find("invite").ok_or(Malformed("invite"))?, "code")
}

/// The group in the answer to [`GroupQuery::Join`], and whether one is in it (or waits for an admin).
pub fn joined(answer: &Node) -> Result<(Jid, bool), Malformed> {
    if let Some(waiting) = answer.find("membership_approval_request") {
        return Ok((jid(waiting, "jid")?, false));
    }
    Ok((group_id(answer.find("group").ok_or(Malformed("group"))?)?, true))
}

/// Somebody who waits to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// Who.
    pub jid: Jid,
    /// The other name.
    pub alt: Option<Jid>,
    /// Unix seconds.
    pub t: u64,
}

impl JoinRequest {
    /// Builds it.
    pub fn build(&self) -> Node {
        Node::new("membership_approval_request")
            .attr("jid", &self.jid)
            .attr_opt("phone_number", self.alt.as_ref())
            .attr("request_time", self.t)
            .attr("request_method", "invite_link")
    }
}

/// Everybody in the answer to [`GroupQuery::Requests`].
pub fn read_join_requests(answer: &Node) -> Result<Vec<JoinRequest>, Malformed> {
    let all = answer.find("membership_approval_requests").ok_or(Malformed("membership_approval_requests"))?;
    let one = |node: &Node| {
        Ok(JoinRequest {
            jid: jid(node, "jid")?,
            alt: other_name(node),
            t: node.number("request_time").unwrap_or(0),
        })
    };
    all.find_all("membership_approval_request").map(one).collect()
}

impl Member {
    /// Everybody below an element.
    pub fn all_in(node: &Node) -> Result<Vec<Self>, Malformed> {
        members(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_is_read_as_it_was_asked() {
        let group = || Jid::group("120363000000000001");
        let people =
            || vec![(Jid::lid("2"), Some(Jid::pn("5511999999999"))), (Jid::pn("5511988887777"), None)];
        let queries = [
            GroupQuery::Create {
                subject: "Team".into(),
                key: Some("K".into()),
                people: people(),
                settings: vec![GroupSetting::AdminsAdd(false)],
            },
            GroupQuery::Info(group()),
            GroupQuery::List,
            GroupQuery::Leave(group()),
            GroupQuery::Members { group: group(), change: MemberChange::Add, people: people() },
            GroupQuery::Members { group: group(), change: MemberChange::Demote, people: people() },
            GroupQuery::Subject { group: group(), text: "Club".into() },
            GroupQuery::Description {
                group: group(),
                id: Some("B".into()),
                previous: Some("A".into()),
                text: Some("what for".into()),
            },
            GroupQuery::Set { group: group(), setting: GroupSetting::Announce(true) },
            GroupQuery::Set { group: group(), setting: GroupSetting::Locked(false) },
            GroupQuery::Set { group: group(), setting: GroupSetting::Ephemeral(604_800) },
            GroupQuery::Set { group: group(), setting: GroupSetting::Ephemeral(0) },
            GroupQuery::Set { group: group(), setting: GroupSetting::Approval(true) },
            GroupQuery::Invite(group()),
            GroupQuery::RevokeInvite(group()),
            GroupQuery::InviteInfo("AbCd".into()),
            GroupQuery::Join("AbCd".into()),
            GroupQuery::Accept {
                group: group(),
                invite: AddRequest { code: "AbCd".into(), expiration: 1_700_000_000 },
                admin: Jid::lid("2"),
            },
            GroupQuery::Disinvite { group: group(), people: vec![Jid::lid("2")] },
            GroupQuery::Requests(group()),
            GroupQuery::Decide { group: group(), approve: false, people: vec![Jid::lid("2")] },
        ];
        for query in queries {
            assert_eq!(GroupQuery::parse(&query.build("1")), Ok(Some(query)));
        }
    }
}
