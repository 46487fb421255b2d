//! Communities: groups of groups. Asked for and changed on request; their groups are groups like any other.

use super::{
    AskError, Error, GroupMember, GroupView, Told,
    ask::{Next, Outcome, Step},
    dispatch::{Account, Turn},
    groups,
};
use crate::{
    stanza::{
        CommunityQuery, GroupInfo, GroupQuery, Iq, read_groups, read_link_errors, read_linked_group,
        read_linked_members, read_results, read_sub_groups,
    },
    wire::{Jid, Node},
};

pub use crate::stanza::SubGroup;

/// Something with communities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommunityCommand {
    /// Those that the account is in.
    List,
    /// One, with its groups.
    Info(Jid),
    /// A new one.
    Create {
        /// At most 100 characters.
        subject: String,
        /// At most 2,048 characters.
        description: Option<String>,
    },
    /// A new group within one.
    CreateGroup {
        /// Within which.
        community: Jid,
        /// At most 100 characters.
        subject: String,
        /// Who else is in it, by number or LID.
        people: Vec<Jid>,
    },
    /// A group of the account belongs to it, or not any more.
    Link {
        /// To which.
        community: Jid,
        /// Which.
        group: Jid,
        /// It does.
        on: bool,
    },
    /// Into one of its groups.
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
        /// Whom, by number or LID.
        people: Vec<Jid>,
    },
    /// It ends; its groups go on by themselves.
    Deactivate(Jid),
}

/// What came of a [`CommunityCommand`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommunityAnswer {
    /// Done.
    Done,
    /// To `List`.
    Communities(Vec<GroupView>),
    /// To `Info` and `Create`.
    Community {
        /// Itself.
        view: Box<GroupView>,
        /// Its groups.
        groups: Vec<SubGroup>,
    },
    /// To `CreateGroup` and `Join`.
    Group(Box<GroupView>),
    /// To `Members`.
    Members(Vec<GroupMember>),
    /// To `Remove`: each person, by number where it is known, and WhatsApp's code; 200 is success.
    Results(Vec<(Jid, u16)>),
}

/// A command under way.
#[derive(Debug)]
pub(super) struct CommunityWork {
    command: CommunityCommand,
    /// What is known already; its groups are asked for.
    found: Option<Box<GroupView>>,
}

fn of_community(query: CommunityQuery, command: CommunityCommand) -> Next {
    let work = CommunityWork { command, found: None };
    Next::query(move |id| query.build(id), Step::Community(Box::new(work)))
}

fn of_group(query: GroupQuery, command: CommunityCommand) -> Next {
    let work = CommunityWork { command, found: None };
    Next::query(move |id| query.build(id), Step::Community(Box::new(work)))
}

/// The list of groups, once the community itself is known.
fn sub_groups(view: GroupView, command: CommunityCommand) -> Next {
    let query = CommunityQuery::SubGroups(view.group.jid.clone());
    let work = CommunityWork { command, found: Some(Box::new(view)) };
    Next::query(move |id| query.build(id), Step::Community(Box::new(work)))
}

impl Account {
    pub(super) fn community_asked(
        &self,
        command: CommunityCommand,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, Error> {
        use CommunityCommand as C;
        let again = command.clone();
        Ok(Ok(match command {
            C::List => of_group(GroupQuery::List, again),
            C::Info(community) => of_group(GroupQuery::Info(community), again),
            C::Create { subject, description } => {
                let mut id = [0; 8];
                turn.rng.fill_bytes(&mut id);
                let description = description.map(|text| (hex::encode_upper(id), text));
                of_community(CommunityQuery::Create { subject, description, general: false }, again)
            }
            C::CreateGroup { community, subject, people } => {
                let people = self.both_names(&people, turn)?;
                of_community(CommunityQuery::CreateGroup { community, subject, people }, again)
            }
            C::Link { community, group, on: true } => {
                of_community(CommunityQuery::Link { community, groups: vec![group] }, again)
            }
            C::Link { community, group, on: false } => {
                of_community(CommunityQuery::Unlink { community, groups: vec![group] }, again)
            }
            C::Join { community, group } => of_community(CommunityQuery::Join { community, group }, again),
            C::Members(community) => of_community(CommunityQuery::Members(community), again),
            C::Remove { community, people } => {
                let people = self.both_names(&people, turn)?;
                of_community(CommunityQuery::Remove { community, people }, again)
            }
            C::Deactivate(community) => of_community(CommunityQuery::Deactivate(community), again),
        }))
    }

    pub(super) fn community_told(
        &mut self,
        work: CommunityWork,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, Error> {
        use CommunityCommand as C;
        let CommunityWork { command, found } = work;
        if let Some(refusal) = Iq::refusal(node) {
            let unknown = refusal.code == 404 || refusal.code == 403 && matches!(command, C::Info(_));
            return Ok(Err(if unknown { AskError::Unknown } else { AskError::Refused(refusal.code) }));
        }
        let done = |answer| Ok(Ok(Next::Done(Told::Community(answer))));
        if let Some(view) = found {
            return match read_sub_groups(node) {
                Ok(groups) => done(CommunityAnswer::Community { view, groups }),
                Err(_) => Ok(Err(AskError::Internal)),
            };
        }
        match &command {
            C::List => {
                let Ok(groups) = read_groups(node) else { return Ok(Err(AskError::Internal)) };
                let mut views = Vec::new();
                for info in &groups {
                    self.keep_group(info, turn)?;
                    views.extend(self.group_view(&info.jid, turn)?.filter(|view| view.group.community));
                }
                done(CommunityAnswer::Communities(views))
            }
            C::Info(_) | C::Create { .. } | C::CreateGroup { .. } | C::Join { .. } => {
                let info = match &command {
                    C::Join { .. } => read_linked_group(node),
                    _ => node.find("group").map_or(Err(crate::stanza::Malformed("group")), GroupInfo::parse),
                };
                let Ok(info) = info else { return Ok(Err(AskError::Internal)) };
                self.keep_group(&info, turn)?;
                let Some(view) = self.group_view(&info.jid, turn)? else {
                    return Ok(Err(AskError::Internal));
                };
                match command {
                    C::CreateGroup { .. } | C::Join { .. } => done(CommunityAnswer::Group(Box::new(view))),
                    _ if !view.group.community => Ok(Err(AskError::Unknown)),
                    command => Ok(Ok(sub_groups(view, command))),
                }
            }
            C::Link { .. } => match read_link_errors(node).first() {
                Some((_, code)) => Ok(Err(AskError::Refused(*code))),
                None => done(CommunityAnswer::Done),
            },
            C::Members(_) => {
                let Ok(all) = read_linked_members(node) else { return Ok(Err(AskError::Internal)) };
                let mut members = Vec::new();
                for member in all {
                    if let Some(alt) = &member.alt {
                        turn.tx.people().learn(&member.jid, alt)?;
                    }
                    let lid = self.lid_known(&member.jid, turn)?;
                    let jid = self.number_first(&member.jid, turn)?;
                    members.push(GroupMember { jid, lid, role: groups::role(member.rank) });
                }
                done(CommunityAnswer::Members(members))
            }
            C::Remove { .. } => {
                let mut results = Vec::new();
                for result in read_results(node) {
                    results.push((self.number_first(&result.jid, turn)?, result.error.unwrap_or(200)));
                }
                done(CommunityAnswer::Results(results))
            }
            C::Deactivate(community) => {
                turn.tx.groups().set_member(community, false)?;
                done(CommunityAnswer::Done)
            }
        }
    }
}
