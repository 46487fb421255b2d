//! Communities: groups that belong to one, and what follows for who is in them (protocol 05, 4).

use super::{CONFLICT, FORBIDDEN, Group, NOT_FOUND, Refused, Text};
use crate::{
    clock::Millis,
    sandbox::core::{AccountId, Namespace, World},
    stanza::{
        CommunityQuery, GroupChange, GroupSetting, MemberChange, MemberResult, Place, Rank, SubGroup, Tie,
    },
    wire::{Jid, Node},
};

fn tie(on: bool, kind: &str, reason: Option<&str>, other: (&Jid, &str)) -> GroupChange {
    GroupChange::Tied(Tie {
        on,
        kind: kind.into(),
        reason: reason.map(str::to_owned),
        groups: vec![(other.0.clone(), other.1.to_owned())],
    })
}

impl World {
    fn a_community(&self, jid: &Jid) -> Result<&Group, Refused> {
        self.group(jid).and_then(|group| match group.place {
            Place::Community => Ok(group),
            _ => Err(NOT_FOUND),
        })
    }

    fn groups_of(&self, community: &Jid) -> Vec<Jid> {
        let within = self.groups.values().filter(|group| group.place.parent() == Some(community));
        within.map(|group| group.jid.clone()).collect()
    }

    pub(super) fn community_asked(
        &mut self,
        who: AccountId,
        query: CommunityQuery,
        now: Millis,
    ) -> Result<Option<Node>, Refused> {
        match query {
            CommunityQuery::Create { subject, description, general } => {
                let text = description.map(|(id, text)| Text { id, text, by: who, t: now.secs() });
                let jid = self.place_group(who, &subject, &[], Place::Community, text, now)?;
                self.place_group(who, &subject, &[], Place::Announcements(jid.clone()), None, now)?;
                if general {
                    self.place_group(who, "General", &[], Place::Within(jid.clone()), None, now)?;
                }
                Ok(Some(self.group_info(self.group(&jid)?).build()))
            }
            CommunityQuery::CreateGroup { community, subject, people } => {
                self.a_community(&community)?.rank(who)?;
                let found = people.iter().filter_map(|(jid, _)| self.resolve(jid));
                let others: Vec<AccountId> = found.map(|device| device.account).collect();
                let place = Place::Within(community.clone());
                let jid = self.place_group(who, &subject, &others, place, None, now)?;
                self.come_along(&community, &others, now)?;
                self.tell(&community, who, tie(true, "sub_group", None, (&jid, &subject)), &[], now);
                Ok(Some(self.group_info(self.group(&jid)?).build()))
            }
            CommunityQuery::Link { community, groups } => {
                let subject = self.a_community(&community)?.subject.clone();
                self.group(&community)?.admin(who)?;
                let mut results = Vec::new();
                for jid in groups {
                    let linked = self.link_group(who, (&community, &subject), &jid, now);
                    let error = linked.err().map(|(code, _)| u32::from(code));
                    results.push(Node::new("group").attr("jid", jid).attr_opt("error", error));
                }
                let link = Node::new("link").attr("link_type", "sub_group").children_from(results);
                Ok(Some(Node::new("links").child(link)))
            }
            CommunityQuery::Unlink { community, groups } => {
                let subject = self.a_community(&community)?.subject.clone();
                self.group(&community)?.admin(who)?;
                let mut results = Vec::new();
                for jid in groups {
                    let known =
                        self.group(&jid).ok().map(|group| (group.place.clone(), group.subject.clone()));
                    let error = match known {
                        Some((Place::Within(parent), name)) if parent == community => {
                            self.group_mut(&jid)?.place = Place::Alone;
                            self.tell(
                                &community,
                                who,
                                tie(false, "sub_group", None, (&jid, &name)),
                                &[],
                                now,
                            );
                            let left = tie(false, "parent_group", None, (&community, &subject));
                            self.tell(&jid, who, left, &[], now);
                            None
                        }
                        _ => Some(404_u32),
                    };
                    results.push(Node::new("group").attr("jid", jid).attr_opt("error", error));
                }
                Ok(Some(Node::new("unlink").attr("unlink_type", "sub_group").children_from(results)))
            }
            CommunityQuery::Deactivate(community) => self.deactivate(who, &community, now).map(|()| None),
            CommunityQuery::SubGroups(community) => {
                self.a_community(&community)?.rank(who)?;
                let groups = self.groups_of(&community);
                let groups = groups.iter().filter_map(|jid| self.group(jid).ok());
                let one = |group: &Group| SubGroup {
                    jid: group.jid.clone(),
                    subject: group.subject.clone(),
                    created: group.created,
                    size: u32::try_from(group.members.len()).ok(),
                    announcements: matches!(group.place, Place::Announcements(_)),
                };
                let listed: Vec<Node> = groups.map(|group| one(group).build()).collect();
                Ok(Some(Node::new("sub_groups").children_from(listed)))
            }
            CommunityQuery::GroupInfo { community, group } => {
                self.a_community(&community)?.rank(who)?;
                self.linked(&community, &group).map(Some)
            }
            CommunityQuery::Join { community, group } => {
                self.a_community(&community)?.rank(who)?;
                self.linked(&community, &group)?;
                if self.group(&group)?.members.contains_key(&who) {
                    return Err(CONFLICT);
                }
                self.group_mut(&group)?.members.insert(who, Rank::Member);
                let joined = self.member(self.group(&group)?, who, Rank::Member);
                let change = GroupChange::Members(MemberChange::Add, vec![joined]);
                self.tell(&group, who, change, &[], now);
                self.linked(&community, &group).map(Some)
            }
            CommunityQuery::Members(community) => {
                let known = self.a_community(&community)?;
                known.rank(who)?;
                let all = known.members.iter().map(|(id, rank)| {
                    let member = self.member(known, *id, *rank);
                    Node::new("participant")
                        .attr("jid", &member.jid)
                        .attr_opt("phone_number", member.alt.as_ref())
                        .attr_opt("type", rank.as_str())
                });
                Ok(Some(Node::new("linked_groups_participants").children_from(all.collect::<Vec<_>>())))
            }
            CommunityQuery::Remove { community, people } => {
                self.a_community(&community)?.admin(who)?;
                let mut all = self.groups_of(&community);
                all.push(community.clone());
                let people: Vec<Jid> = people.into_iter().map(|(jid, _)| jid).collect();
                let mut results = Vec::new();
                for jid in all {
                    // Whoever is not in it need not be put out; what counts is the community itself.
                    results = self.change_members_of(who, &jid, MemberChange::Remove, &people, now)?;
                }
                Ok(Some(Node::new("remove").children_from(results.iter().map(MemberResult::build))))
            }
        }
    }

    /// `<linked_group>` with a group that belongs to this community.
    fn linked(&self, community: &Jid, group: &Jid) -> Result<Node, Refused> {
        let known = self.group(group)?;
        if known.place.parent() != Some(community) {
            return Err(NOT_FOUND);
        }
        Ok(Node::new("linked_group").child(self.group_info(known).build()))
    }

    fn place_group(
        &mut self,
        who: AccountId,
        subject: &str,
        others: &[AccountId],
        place: Place,
        description: Option<Text>,
        now: Millis,
    ) -> Result<Jid, Refused> {
        let announce = matches!(place, Place::Announcements(_));
        let settings = if announce { vec![GroupSetting::Announce(true)] } else { Vec::new() };
        self.make_group_in(who, subject, others, Namespace::Lid, &settings, (place, description), now)
    }

    fn link_group(
        &mut self,
        who: AccountId,
        (community, name): (&Jid, &str),
        jid: &Jid,
        now: Millis,
    ) -> Result<(), Refused> {
        let group = self.group(jid)?;
        group.admin(who)?;
        if group.place != Place::Alone {
            return Err(CONFLICT);
        }
        let subject = group.subject.clone();
        let members: Vec<AccountId> = group.members.keys().copied().collect();
        self.group_mut(jid)?.place = Place::Within(community.clone());
        self.come_along(community, &members, now)?;
        self.tell(community, who, tie(true, "sub_group", None, (jid, &subject)), &[], now);
        self.tell(jid, who, tie(true, "parent_group", None, (community, name)), &[], now);
        Ok(())
    }

    /// What follows for who came into a group: its community, or the groups of one that are for everybody.
    pub(super) fn come_in(&mut self, jid: &Jid, people: &[AccountId], now: Millis) -> Result<(), Refused> {
        let community = match &self.group(jid)?.place {
            Place::Alone => return Ok(()),
            Place::Community => jid.clone(),
            Place::Announcements(parent) | Place::Within(parent) => parent.clone(),
        };
        self.come_along(&community, people, now)
    }

    /// Out of a group; out of a community with all its groups.
    pub(super) fn leave_whole(&mut self, who: AccountId, jid: &Jid, now: Millis) -> Result<(), Refused> {
        self.group(jid)?.rank(who)?;
        if self.group(jid)?.place == Place::Community {
            for inner in self.groups_of(jid) {
                if self.group(&inner)?.members.contains_key(&who) {
                    self.leave_group(who, &inner, now)?;
                }
            }
        }
        self.leave_group(who, jid, now)
    }

    /// Who is in a group of a community is in the community, and hears its announcements.
    pub(super) fn come_along(
        &mut self,
        community: &Jid,
        people: &[AccountId],
        now: Millis,
    ) -> Result<(), Refused> {
        let mut all = vec![community.clone()];
        let announcements = self
            .groups_of(community)
            .into_iter()
            .find(|jid| self.group(jid).is_ok_and(|group| matches!(group.place, Place::Announcements(_))));
        all.extend(announcements);
        for jid in all {
            let known = self.group(&jid)?;
            let fresh: Vec<AccountId> =
                people.iter().copied().filter(|id| !known.members.contains_key(id)).collect();
            if fresh.is_empty() {
                continue;
            }
            let actor = known.creator;
            for id in &fresh {
                self.group_mut(&jid)?.members.insert(*id, Rank::Member);
            }
            let known = self.group(&jid)?;
            let members = fresh.iter().map(|id| self.member(known, *id, Rank::Member)).collect();
            self.tell(&jid, actor, GroupChange::Members(MemberChange::Add, members), &[], now);
        }
        Ok(())
    }

    fn deactivate(&mut self, who: AccountId, community: &Jid, now: Millis) -> Result<(), Refused> {
        let known = self.a_community(community)?;
        if known.rank(who)? != Rank::SuperAdmin {
            return Err(FORBIDDEN);
        }
        let subject = known.subject.clone();
        for jid in self.groups_of(community) {
            if matches!(self.group(&jid)?.place, Place::Announcements(_)) {
                self.tell(&jid, who, GroupChange::Deleted, &[], now);
                self.groups.remove(jid.user());
                continue;
            }
            self.group_mut(&jid)?.place = Place::Alone;
            let left = tie(false, "parent_group", Some("delete_parent"), (community, &subject));
            self.tell(&jid, who, left, &[], now);
        }
        self.tell(community, who, GroupChange::Deleted, &[], now);
        self.groups.remove(community.user());
        Ok(())
    }
}
