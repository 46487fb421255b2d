//! Communities: groups of groups (protocol 05, 4; Baileys `Socket/communities.ts`, whatsapp-rust
//! `src/features/community.rs`).

use super::{GroupInfo, Member, content, group_id, members, named, other_name};
use crate::{
    stanza::{Iq, IqKind, Malformed, jid, text},
    wire::{Jid, Node},
};

/// Where a group stands among groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// By itself.
    #[default]
    Alone,
    /// It is a community: nobody writes there.
    Community,
    /// It is where a community's admins write to everybody in it.
    Announcements(Jid),
    /// It belongs to a community.
    Within(Jid),
}

impl Place {
    /// The community that it belongs to.
    pub fn parent(&self) -> Option<&Jid> {
        match self {
            Self::Announcements(parent) | Self::Within(parent) => Some(parent),
            Self::Alone | Self::Community => None,
        }
    }

    pub(super) fn build(&self, group: Node) -> Node {
        let parent = |parent: &Jid| Node::new("linked_parent").attr("jid", parent);
        match self {
            Self::Alone => group,
            Self::Community => {
                group.child(Node::new("parent").attr("default_membership_approval_mode", "request_required"))
            }
            Self::Announcements(jid) => group.child(parent(jid)).child(Node::new("default_sub_group")),
            Self::Within(jid) => group.child(parent(jid)),
        }
    }

    pub(super) fn parse(group: &Node) -> Self {
        let parent = group.find("linked_parent").and_then(|parent| parent.jid("jid")).filter(Jid::is_group);
        match parent {
            _ if group.find("parent").is_some() => Self::Community,
            Some(parent) if group.find("default_sub_group").is_some() => Self::Announcements(parent),
            Some(parent) => Self::Within(parent),
            None => Self::Alone,
        }
    }
}

/// A question about a community, or a change of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommunityQuery {
    /// A new one; whoever asks runs it.
    Create {
        /// Its name.
        subject: String,
        /// What it says of itself: an id, and the text.
        description: Option<(String, String)>,
        /// With a group for everybody.
        general: bool,
    },
    /// A new group within one.
    CreateGroup {
        /// Within which.
        community: Jid,
        /// Its name.
        subject: String,
        /// Who else, each with the other name if known.
        people: Vec<(Jid, Option<Jid>)>,
    },
    /// These groups belong to it from now on.
    Link {
        /// To which.
        community: Jid,
        /// Which.
        groups: Vec<Jid>,
    },
    /// These do not any more.
    Unlink {
        /// From which.
        community: Jid,
        /// Which.
        groups: Vec<Jid>,
    },
    /// It ends; its groups go on by themselves.
    Deactivate(Jid),
    /// Which groups belong to it.
    SubGroups(Jid),
    /// What one of them is.
    GroupInfo {
        /// Of which.
        community: Jid,
        /// Which.
        group: Jid,
    },
    /// Into one of them.
    Join {
        /// Of which.
        community: Jid,
        /// Which.
        group: Jid,
    },
    /// Everybody in it.
    Members(Jid),
    /// Out of it, and of all its groups.
    Remove {
        /// Of which.
        community: Jid,
        /// Whom, each with the other name if known.
        people: Vec<(Jid, Option<Jid>)>,
    },
}

fn pairs(node: &Node) -> Result<Vec<(Jid, Option<Jid>)>, Malformed> {
    node.find_all("participant").map(|p| Ok((jid(p, "jid")?.bare(), other_name(p)))).collect()
}

fn groups(node: &Node) -> Result<Vec<Jid>, Malformed> {
    node.find_all("group").map(group_id).collect()
}

impl CommunityQuery {
    fn community(&self) -> Option<&Jid> {
        match self {
            Self::Create { .. } | Self::CreateGroup { .. } => None,
            Self::Deactivate(community) | Self::SubGroups(community) | Self::Members(community) => {
                Some(community)
            }
            Self::Link { community, .. }
            | Self::Unlink { community, .. }
            | Self::GroupInfo { community, .. }
            | Self::Join { community, .. }
            | Self::Remove { community, .. } => Some(community),
        }
    }

    /// Builds the query.
    pub fn build(&self, id: &str) -> Node {
        let people = |people: &[(Jid, Option<Jid>)]| {
            people.iter().map(|(jid, alt)| named(jid, alt.as_ref())).collect::<Vec<_>>()
        };
        let listed = |groups: &[Jid]| {
            groups.iter().map(|group| Node::new("group").attr("jid", group)).collect::<Vec<_>>()
        };
        let child = match self {
            Self::Create { subject, description, general } => {
                let described = description.as_ref().map(|(id, text)| {
                    let body = Node::new("body").bytes(text.as_bytes());
                    Node::new("description").attr("id", id.clone()).child(body)
                });
                let parent = Node::new("parent").attr("default_membership_approval_mode", "request_required");
                Node::new("create")
                    .attr("subject", subject.clone())
                    .child_opt(described)
                    .child(parent)
                    .child(Node::new("allow_non_admin_sub_group_creation"))
                    .child_opt(general.then(|| Node::new("create_general_chat")))
            }
            Self::CreateGroup { community, subject, people: others } => Node::new("create")
                .attr("subject", subject.clone())
                .children_from(people(others))
                .child(Node::new("linked_parent").attr("jid", community)),
            Self::Link { groups, .. } => {
                let link = Node::new("link").attr("link_type", "sub_group").children_from(listed(groups));
                Node::new("links").child(link)
            }
            Self::Unlink { groups, .. } => {
                Node::new("unlink").attr("unlink_type", "sub_group").children_from(listed(groups))
            }
            Self::Deactivate(_) => Node::new("delete_parent"),
            Self::SubGroups(_) => Node::new("sub_groups"),
            Self::GroupInfo { group, .. } => {
                Node::new("query_linked").attr("type", "sub_group").attr("jid", group)
            }
            Self::Join { group, .. } => Node::new("join_linked_group").attr("jid", group),
            Self::Members(_) => Node::new("linked_groups_participants"),
            Self::Remove { people: gone, .. } => {
                Node::new("remove").attr("linked_groups", "true").children_from(people(gone))
            }
        };
        let get = matches!(self, Self::SubGroups(_) | Self::GroupInfo { .. } | Self::Members(_));
        Node::new("iq")
            .attr("to", self.community().cloned().unwrap_or_else(|| Jid::group("")))
            .attr("id", id.to_owned())
            .attr("type", if get { "get" } else { "set" })
            .attr("xmlns", "w:g2")
            .child(child)
    }

    /// Reads any client's query; `None`: it is not about communities.
    pub fn parse(node: &Node) -> Result<Option<Self>, Malformed> {
        let get = Iq::parse(node)?.kind == IqKind::Get;
        let community = jid(node, "to")?;
        let child = node.children().first().ok_or(Malformed("child"))?;
        let tag = child.tag.as_ref();
        if !community.is_group() {
            if get || tag != "create" {
                return Ok(None);
            }
            if child.find("parent").is_some() {
                let described = child.find("description");
                let text = described.and_then(|described| described.find("body")).and_then(content);
                let id = described.and_then(|described| described.text("id")).unwrap_or_default();
                return Ok(Some(Self::Create {
                    subject: text_of(child)?,
                    description: text.filter(|text| !text.is_empty()).map(|text| (id.to_owned(), text)),
                    general: child.find("create_general_chat").is_some(),
                }));
            }
            let Some(parent) = child.find("linked_parent") else { return Ok(None) };
            return Ok(Some(Self::CreateGroup {
                community: jid(parent, "jid")?,
                subject: text_of(child)?,
                people: pairs(child)?,
            }));
        }
        Ok(match (get, tag) {
            (false, "links") => {
                let link = child.find("link").ok_or(Malformed("link"))?;
                Some(Self::Link { community, groups: groups(link)? })
            }
            (false, "unlink") => Some(Self::Unlink { community, groups: groups(child)? }),
            (false, "delete_parent") => Some(Self::Deactivate(community)),
            (true, "sub_groups") => Some(Self::SubGroups(community)),
            (true, "query_linked") => Some(Self::GroupInfo { community, group: jid(child, "jid")? }),
            (false, "join_linked_group") => Some(Self::Join { community, group: jid(child, "jid")? }),
            (true, "linked_groups_participants") => Some(Self::Members(community)),
            (false, "remove") if child.text("linked_groups") == Some("true") => {
                Some(Self::Remove { community, people: pairs(child)? })
            }
            _ => None,
        })
    }
}

fn text_of(create: &Node) -> Result<String, Malformed> {
    text(create, "subject")
}

/// A group of a community, as its list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubGroup {
    /// Its address.
    pub jid: Jid,
    /// Its name.
    pub subject: String,
    /// Unix seconds.
    pub created: u64,
    /// How many are in it, if that was told.
    pub size: Option<u32>,
    /// Only the community's admins write there, to everybody.
    pub announcements: bool,
}

impl SubGroup {
    /// Builds it.
    pub fn build(&self) -> Node {
        Node::new("group")
            .attr("id", self.jid.user().to_owned())
            .attr("subject", self.subject.clone())
            .attr("s_t", self.created)
            .attr("creation", self.created)
            .attr_opt("size", self.size)
            .child_opt(self.announcements.then(|| Node::new("default_sub_group")))
    }
}

/// The list of a community's groups.
pub fn read_sub_groups(answer: &Node) -> Result<Vec<SubGroup>, Malformed> {
    let all = answer.find("sub_groups").ok_or(Malformed("sub_groups"))?;
    let one = |group: &Node| {
        Some(SubGroup {
            jid: group_id(group).ok()?,
            subject: group.text("subject").unwrap_or_default().to_owned(),
            created: group.number("creation").unwrap_or(0),
            size: group.number("size"),
            announcements: group.find("default_sub_group").is_some(),
        })
    };
    Ok(all.find_all("group").filter_map(one).collect())
}

/// Groups that could not be linked or unlinked, with the server's code.
pub fn read_link_errors(answer: &Node) -> Vec<(Jid, u16)> {
    let holders = answer.children().iter().flat_map(|child| std::iter::once(child).chain(child.children()));
    let groups = holders.flat_map(|holder| holder.find_all("group"));
    groups.filter_map(|group| Some((group_id(group).ok()?, group.number("error")?))).collect()
}

/// The group in the answer to [`CommunityQuery::Join`] and [`CommunityQuery::GroupInfo`].
pub fn read_linked_group(answer: &Node) -> Result<GroupInfo, Malformed> {
    let linked = answer.find("linked_group").ok_or(Malformed("linked_group"))?;
    GroupInfo::parse(linked.find("group").ok_or(Malformed("group"))?)
}

/// Everybody in the answer to [`CommunityQuery::Members`].
pub fn read_linked_members(answer: &Node) -> Result<Vec<Member>, Malformed> {
    members(answer.find("linked_groups_participants").ok_or(Malformed("linked_groups_participants"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_communities_is_read_as_it_was_written() {
        let (community, group) = (Jid::group("120363000000000001"), Jid::group("120363000000000002"));
        let people = vec![(Jid::lid("2"), Some(Jid::pn("5511999999999")))];
        let queries = [
            CommunityQuery::Create {
                subject: "Town".into(),
                description: Some(("D1".into(), "all of us".into())),
                general: true,
            },
            CommunityQuery::CreateGroup {
                community: community.clone(),
                subject: "Street".into(),
                people: people.clone(),
            },
            CommunityQuery::Link { community: community.clone(), groups: vec![group.clone()] },
            CommunityQuery::Unlink { community: community.clone(), groups: vec![group.clone()] },
            CommunityQuery::Deactivate(community.clone()),
            CommunityQuery::SubGroups(community.clone()),
            CommunityQuery::GroupInfo { community: community.clone(), group: group.clone() },
            CommunityQuery::Join { community: community.clone(), group: group.clone() },
            CommunityQuery::Members(community.clone()),
            CommunityQuery::Remove { community: community.clone(), people },
        ];
        for query in queries {
            assert_eq!(CommunityQuery::parse(&query.build("1")), Ok(Some(query)));
        }
        let sub =
            SubGroup { jid: group, subject: "Street".into(), created: 7, size: Some(3), announcements: true };
        let answer = Node::new("iq").child(Node::new("sub_groups").child(sub.build()));
        assert_eq!(read_sub_groups(&answer), Ok(vec![sub]));
        for place in [
            Place::Alone,
            Place::Community,
            Place::Announcements(community.clone()),
            Place::Within(community),
        ] {
            assert_eq!(Place::parse(&place.build(Node::new("group"))), place);
        }
    }
}
