//! What groups tell their members: `<notification type="w:gp2">`.

use super::{GroupInfo, GroupSetting, Member, MemberChange, body, other_name};
use crate::{
    stanza::{Malformed, Notification, jid},
    wire::{Jid, Node},
};

/// One thing that happened to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// It was made, or the account came into it.
    Created(Box<GroupInfo>),
    /// Members came, went, rose or fell. Whoever goes by oneself is who did it.
    Members(MemberChange, Vec<Member>),
    /// A member is called by another number or LID now.
    Modified(Vec<Member>),
    /// Another name.
    Subject(String),
    /// Another description; without a text it was taken away.
    Description {
        /// Of the new one.
        id: String,
        /// What it says.
        text: Option<String>,
    },
    /// A switch was turned.
    Setting(GroupSetting),
    /// The link that leads in is another.
    Invite(String),
    /// These people ask to be let in.
    Requested(Vec<Member>),
    /// These people ask no more, or were refused.
    RequestsRevoked(Vec<Member>),
    /// It belongs to a community from now on, or not any more; or a community has another group, or one less.
    Tied(Tie),
    /// These members became admins of the community, or are none any more.
    CommunityAdmins(bool, Vec<Member>),
    /// It is gone.
    Deleted,
    /// As tagged.
    Other(String),
}

/// What groups have to do with each other from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tie {
    /// Linked, or not any more.
    pub on: bool,
    /// What the others are to the group that is told: `sub_group`, `parent_group`, `sibling_group`.
    pub kind: String,
    /// Why not any more: `unlink_group`, `delete_parent`.
    pub reason: Option<String>,
    /// The others, with their names where they are told.
    pub groups: Vec<(Jid, String)>,
}

impl Tie {
    fn build(&self, t: u64) -> Node {
        let groups = self.groups.iter().map(|(jid, subject)| {
            Node::new("group").attr("jid", jid).attr("subject", subject.clone()).attr("s_t", t)
        });
        let node = if self.on {
            Node::new("link").attr("link_type", self.kind.clone())
        } else {
            let reason = self.reason.clone().unwrap_or_else(|| "unlink_group".into());
            Node::new("unlink").attr("unlink_type", self.kind.clone()).attr("unlink_reason", reason)
        };
        node.children_from(groups)
    }

    fn parse(node: &Node, on: bool) -> Result<Self, Malformed> {
        let kind = if on { "link_type" } else { "unlink_type" };
        let one = |group: &Node| {
            Ok((super::group_id(group)?, group.text("subject").unwrap_or_default().to_owned()))
        };
        Ok(Self {
            on,
            kind: node.text(kind).unwrap_or("sub_group").to_owned(),
            reason: node.text("unlink_reason").map(str::to_owned),
            groups: node.find_all("group").map(one).collect::<Result<_, Malformed>>()?,
        })
    }
}

/// A notification of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupNotice {
    /// The group.
    pub group: Jid,
    /// Who did it.
    pub actor: Option<Jid>,
    /// The other name of who did it.
    pub actor_alt: Option<Jid>,
    /// Unix seconds.
    pub t: u64,
    /// Members go by LID.
    pub by_lid: bool,
    /// What happened, in order.
    pub changes: Vec<GroupChange>,
}

impl GroupNotice {
    /// Builds the server's stanza. `version` names the state of the group after the change; opaque to clients.
    pub fn build(&self, id: &str, version: u64) -> Node {
        let frame = Notification::frame(id, &self.group, "w:gp2", self.t)
            .attr_opt("participant", self.actor.as_ref())
            .attr_opt("addressing_mode", Some(if self.by_lid { "lid" } else { "pn" }));
        let frame = match &self.actor_alt {
            Some(alt) if alt.is_lid() => frame.attr("participant_lid", alt),
            alt => frame.attr_opt("participant_pn", alt.as_ref()),
        };
        frame.children_from(self.changes.iter().map(|change| self.change(change, version)))
    }

    fn change(&self, change: &GroupChange, version: u64) -> Node {
        let all = |tag: &'static str, members: &[Member]| {
            Node::new(tag).children_from(members.iter().map(Member::build))
        };
        match change {
            GroupChange::Created(group) => Node::new("create").attr("type", "new").child(group.build()),
            GroupChange::Members(change, members) => all(change.as_str(), members)
                .attr("v_id", version)
                .attr("prev_v_id", version.saturating_sub(1)),
            GroupChange::Modified(members) => all("modify", members),
            GroupChange::Subject(text) => Node::new("subject")
                .attr("subject", text.clone())
                .attr_opt("s_o", self.actor.as_ref())
                .attr("s_t", self.t),
            GroupChange::Description { id, text } => {
                let inner = match text {
                    Some(text) => Node::new("body").bytes(text.as_bytes()),
                    None => Node::new("delete"),
                };
                Node::new("description").attr("id", id.clone()).child(inner)
            }
            // whatsmeow refuses the announcement switch without it.
            GroupChange::Setting(setting) => setting.build().attr("v_id", version),
            GroupChange::Invite(code) => Node::new("invite").attr("code", code.clone()),
            GroupChange::Requested(people) => Node::new("created_membership_requests")
                .attr("request_method", "invite_link")
                .children_from(people.iter().map(|person| {
                    Node::new("requested_user")
                        .attr("jid", &person.jid)
                        .attr_opt("phone_number", person.alt.as_ref())
                })),
            GroupChange::RequestsRevoked(people) => all("revoked_membership_requests", people),
            GroupChange::Tied(tie) => tie.build(self.t),
            GroupChange::CommunityAdmins(true, members) => all("linked_group_promote", members),
            GroupChange::CommunityAdmins(false, members) => all("linked_group_demote", members),
            GroupChange::Deleted => Node::new("delete").attr("reason", "deleted"),
            GroupChange::Other(tag) => Node::new(tag.clone()),
        }
    }

    /// Reads the server's stanza.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let group = jid(node, "from")?;
        if !group.is_group() {
            return Err(Malformed("from"));
        }
        Ok(Self {
            group,
            actor: node.jid("participant"),
            actor_alt: node.jid("participant_pn").or_else(|| node.jid("participant_lid")),
            t: node.number("t").unwrap_or(0),
            by_lid: node.text("addressing_mode") == Some("lid"),
            changes: node.children().iter().map(Self::read).collect::<Result<_, _>>()?,
        })
    }

    fn read(node: &Node) -> Result<GroupChange, Malformed> {
        let tag = node.tag.as_ref();
        if let Some(change) = MemberChange::ALL.into_iter().find(|change| change.as_str() == tag) {
            return Ok(GroupChange::Members(change, Member::all_in(node)?));
        }
        if let Some(setting) = GroupSetting::parse(node) {
            return Ok(GroupChange::Setting(setting));
        }
        Ok(match tag {
            "create" => {
                let group = node.find("group").ok_or(Malformed("group"))?;
                GroupChange::Created(Box::new(GroupInfo::parse(group)?))
            }
            // Another form of going by oneself.
            "leave" => GroupChange::Members(MemberChange::Remove, Member::all_in(node)?),
            "modify" => GroupChange::Modified(Member::all_in(node)?),
            "subject" => GroupChange::Subject(node.text("subject").ok_or(Malformed("subject"))?.to_owned()),
            "description" => GroupChange::Description {
                id: node.text("id").unwrap_or_default().to_owned(),
                text: body(node),
            },
            "invite" => match node.text("code") {
                Some(code) => GroupChange::Invite(code.to_owned()),
                None => GroupChange::Other(tag.to_owned()),
            },
            "created_membership_requests" => {
                let people = node.find_all("requested_user").map(|user| {
                    let alt = other_name(user);
                    Ok(Member { jid: jid(user, "jid")?, alt, rank: super::Rank::Member })
                });
                GroupChange::Requested(people.collect::<Result<_, Malformed>>()?)
            }
            "revoked_membership_requests" => GroupChange::RequestsRevoked(Member::all_in(node)?),
            "link" => GroupChange::Tied(Tie::parse(node, true)?),
            "unlink" => GroupChange::Tied(Tie::parse(node, false)?),
            "linked_group_promote" => GroupChange::CommunityAdmins(true, Member::all_in(node)?),
            "linked_group_demote" => GroupChange::CommunityAdmins(false, Member::all_in(node)?),
            "delete" => GroupChange::Deleted,
            other => GroupChange::Other(other.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::Rank;

    #[test]
    fn every_change_is_read_as_it_was_told() {
        let member =
            |user| Member { jid: Jid::lid(user), alt: Some(Jid::pn("5511999999999")), rank: Rank::Member };
        let changes = vec![
            GroupChange::Members(MemberChange::Add, vec![member("2")]),
            GroupChange::Members(MemberChange::Remove, vec![member("2")]),
            GroupChange::Modified(vec![member("3")]),
            GroupChange::Subject("Club".into()),
            GroupChange::Description { id: "B".into(), text: Some("what for".into()) },
            GroupChange::Description { id: "C".into(), text: None },
            GroupChange::Setting(GroupSetting::Announce(false)),
            GroupChange::Setting(GroupSetting::Ephemeral(86_400)),
            GroupChange::Invite("AbCd".into()),
            GroupChange::Requested(vec![member("4")]),
            GroupChange::RequestsRevoked(vec![member("4")]),
            GroupChange::Tied(Tie {
                on: true,
                kind: "sub_group".into(),
                reason: None,
                groups: vec![(Jid::group("120363000000000002"), "Street".into())],
            }),
            GroupChange::Tied(Tie {
                on: false,
                kind: "parent_group".into(),
                reason: Some("delete_parent".into()),
                groups: vec![(Jid::group("120363000000000003"), String::new())],
            }),
            GroupChange::CommunityAdmins(true, vec![member("5")]),
            GroupChange::CommunityAdmins(false, vec![member("5")]),
            GroupChange::Deleted,
            GroupChange::Other("suspended".into()),
        ];
        let notice = GroupNotice {
            group: Jid::group("120363000000000001"),
            actor: Some(Jid::lid("1").with_device(2)),
            actor_alt: Some(Jid::pn("5511988887777")),
            t: 1_700_000_000,
            by_lid: true,
            changes,
        };
        assert_eq!(GroupNotice::parse(&notice.build("1", 7)), Ok(notice));
    }
}
