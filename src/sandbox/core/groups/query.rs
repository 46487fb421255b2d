//! `w:g2`: what clients ask of groups.

use super::{BAD_REQUEST, CONFLICT, FORBIDDEN, MAX_DESCRIPTION, MAX_SUBJECT, NOT_ACCEPTABLE, Refused, Text};
use crate::{
    clock::Millis,
    sandbox::core::{AccountId, DeviceRef, Namespace, World},
    stanza::{
        CommunityQuery, GroupChange, GroupQuery, GroupSetting, JoinRequest, MemberChange, MemberResult,
        Place, Rank, group_answer,
    },
    wire::{Jid, Node},
};

impl World {
    /// The answer; `Ok(None)`: nobody here knows this query. What follows waits in the news.
    pub(in crate::sandbox::core) fn group_query(
        &mut self,
        device: DeviceRef,
        id: &str,
        node: &Node,
        now: Millis,
    ) -> Result<Option<Node>, Refused> {
        if let Some(query) = CommunityQuery::parse(node).map_err(|_| BAD_REQUEST)? {
            let answer = group_answer(node, id);
            let inside = self.community_asked(device.account, query, now)?;
            return Ok(Some(answer.child_opt(inside)));
        }
        let Some(query) = GroupQuery::parse(node).map_err(|_| BAD_REQUEST)? else { return Ok(None) };
        let answer = group_answer(node, id);
        let inside = self.group_asked(device.account, query, now)?;
        Ok(Some(answer.child_opt(inside)))
    }

    fn group_asked(
        &mut self,
        who: AccountId,
        query: GroupQuery,
        now: Millis,
    ) -> Result<Option<Node>, Refused> {
        match query {
            GroupQuery::Create { subject, people, settings, .. } => {
                let found = people.iter().filter_map(|(jid, _)| self.resolve(jid));
                let (others, private): (Vec<AccountId>, Vec<AccountId>) =
                    found.map(|device| device.account).partition(|account| self.may_be_added(*account, who));
                let jid = self.make_group(who, &subject, &others, Namespace::Lid, &settings, now)?;
                let mut group = self.group_info(self.group(&jid)?).build();
                for account in private {
                    let invite = self.must_be_invited(&jid, MemberChange::Add, who, account, now)?;
                    let member = self.member(self.group(&jid)?, account, Rank::Member);
                    let result = MemberResult { jid: member.jid, alt: member.alt, error: Some(403), invite };
                    group = group.child(result.build());
                }
                // Whoever could not be added is listed all the same.
                for (person, alt) in people.iter().filter(|(person, _)| self.resolve(person).is_none()) {
                    let result = MemberResult {
                        jid: person.clone(),
                        alt: alt.clone(),
                        error: Some(404),
                        invite: None,
                    };
                    group = group.child(result.build());
                }
                Ok(Some(group))
            }
            GroupQuery::Info(jid) => {
                let group = self.group(&jid)?;
                group.rank(who)?;
                Ok(Some(self.group_info(group).build()))
            }
            GroupQuery::List => {
                let groups = self.groups.values().filter(|group| group.members.contains_key(&who));
                let groups: Vec<Node> = groups.map(|group| self.group_info(group).build()).collect();
                Ok(Some(Node::new("groups").children_from(groups)))
            }
            GroupQuery::Leave(jid) => {
                self.leave_whole(who, &jid, now)?;
                Ok(Some(Node::new("leave").child(Node::new("group").attr("id", jid))))
            }
            GroupQuery::Members { group, change, people } => {
                let people: Vec<Jid> = people.into_iter().map(|(jid, _)| jid).collect();
                let results = self.change_members(who, &group, change, &people, now)?;
                let results = results.iter().map(MemberResult::build);
                Ok(Some(Node::new(change.as_str()).children_from(results)))
            }
            GroupQuery::Subject { group, text } => self.rename_group(who, &group, text, now).map(|()| None),
            GroupQuery::Description { group, id, previous, text } => {
                self.describe_group(who, &group, id, previous, text, now).map(|()| None)
            }
            GroupQuery::Set { group, setting } => {
                let known = self.group_mut(&group)?;
                known.admin(who)?;
                known.turn(setting);
                if setting == GroupSetting::Approval(false) {
                    known.requests.clear();
                }
                self.tell(&group, who, GroupChange::Setting(setting), &[], now);
                Ok(None)
            }
            GroupQuery::Invite(group) => {
                let known = self.group(&group)?;
                known.admin(who)?;
                Ok(Some(Node::new("invite").attr("code", known.code.clone())))
            }
            GroupQuery::RevokeInvite(group) => {
                self.group(&group)?.admin(who)?;
                let code = self.invite_code();
                self.group_mut(&group)?.code.clone_from(&code);
                self.tell(&group, who, GroupChange::Invite(code.clone()), &[], now);
                Ok(Some(Node::new("invite").attr("code", code)))
            }
            GroupQuery::InviteInfo(code) => {
                let group = self.groups.values().find(|group| group.code == code);
                let group = group.ok_or(NOT_ACCEPTABLE)?;
                Ok(Some(self.group_info(group).build()))
            }
            GroupQuery::Join(code) => {
                let (jid, inside) = self.join_group(who, &code, now)?;
                let tag = if inside { "group" } else { "membership_approval_request" };
                Ok(Some(Node::new(tag).attr("jid", jid)))
            }
            GroupQuery::Accept { group, invite, admin } => {
                let inside = self.accept_invite(who, &group, &invite, &admin, now)?;
                let tag = if inside { "group" } else { "membership_approval_request" };
                Ok(Some(Node::new(tag).attr("jid", group)))
            }
            GroupQuery::Disinvite { group, people } => {
                let results = self.disinvite(who, &group, &people)?;
                Ok(Some(Node::new("revoke").children_from(results.iter().map(MemberResult::build))))
            }
            GroupQuery::Requests(group) => {
                let known = self.group(&group)?;
                known.admin(who)?;
                let all = known.requests.iter().map(|(account, t)| {
                    let member = self.member(known, *account, Rank::Member);
                    JoinRequest { jid: member.jid, alt: member.alt, t: *t }.build()
                });
                Ok(Some(Node::new("membership_approval_requests").children_from(all.collect::<Vec<_>>())))
            }
            GroupQuery::Decide { group, approve, people } => self.decide(who, &group, approve, &people, now),
        }
    }

    fn decide(
        &mut self,
        who: AccountId,
        jid: &Jid,
        approve: bool,
        people: &[Jid],
        now: Millis,
    ) -> Result<Option<Node>, Refused> {
        self.group(jid)?.admin(who)?;
        let (mut results, mut taken, mut let_in) = (Vec::new(), Vec::new(), Vec::new());
        for person in people {
            let account = self.resolve(person).map(|device| device.account);
            let waiting = account.filter(|account| {
                self.group_mut(jid).is_ok_and(|group| group.requests.remove(account).is_some())
            });
            let result = match waiting {
                None => MemberResult { jid: person.clone(), alt: None, error: Some(404), invite: None },
                Some(account) => {
                    let member = self.member(self.group(jid)?, account, Rank::Member);
                    taken.push(member.clone());
                    let_in.push(account);
                    if approve {
                        self.group_mut(jid)?.members.insert(account, Rank::Member);
                    }
                    MemberResult { jid: member.jid, alt: member.alt, error: None, invite: None }
                }
            };
            results.push(result.build());
        }
        if !taken.is_empty() {
            let change = match approve {
                true => GroupChange::Members(MemberChange::Add, taken),
                false => GroupChange::RequestsRevoked(taken),
            };
            self.tell(jid, who, change, &[], now);
            if approve {
                self.come_in(jid, &let_in, now)?;
            }
        }
        let word = if approve { "approve" } else { "reject" };
        let inside = Node::new(word).children_from(results);
        Ok(Some(Node::new("membership_requests_action").child(inside)))
    }

    fn may_describe(&self, who: AccountId, jid: &Jid) -> Result<(), Refused> {
        let group = self.group(jid)?;
        if group.locked { group.admin(who) } else { group.rank(who).map(drop) }
    }

    fn rename_group(&mut self, who: AccountId, jid: &Jid, text: String, now: Millis) -> Result<(), Refused> {
        self.may_describe(who, jid)?;
        let length = text.chars().count();
        if length == 0 || length > MAX_SUBJECT {
            return Err(NOT_ACCEPTABLE);
        }
        let group = self.group_mut(jid)?;
        group.subject.clone_from(&text);
        group.subject_at = now.secs();
        group.subject_by = who;
        self.tell(jid, who, GroupChange::Subject(text), &[], now);
        Ok(())
    }

    fn describe_group(
        &mut self,
        who: AccountId,
        jid: &Jid,
        id: Option<String>,
        previous: Option<String>,
        text: Option<String>,
        now: Millis,
    ) -> Result<(), Refused> {
        self.may_describe(who, jid)?;
        if text.as_ref().is_some_and(|text| text.chars().count() > MAX_DESCRIPTION) {
            return Err(NOT_ACCEPTABLE);
        }
        let id = id.unwrap_or_else(|| self.random_hex(8));
        let group = self.group_mut(jid)?;
        let present = group.description.as_ref().map(|text| text.id.clone());
        // whatsmeow's simpler call names none at all.
        if previous.is_some() && previous != present {
            return Err(CONFLICT);
        }
        group.description = text.clone().map(|text| Text { id: id.clone(), text, by: who, t: now.secs() });
        self.tell(jid, who, GroupChange::Description { id, text }, &[], now);
        Ok(())
    }

    /// Whether this account may write there; the code of the refusal if not (protocol 02, 6.13).
    pub(super) fn may_write(&self, who: AccountId, jid: &Jid) -> Result<(), u16> {
        let group = self.group(jid).map_err(|(code, _)| code)?;
        match group.rank(who) {
            // Nobody writes to a community itself.
            Ok(_) if group.place == Place::Community => Err(FORBIDDEN.0),
            Ok(Rank::Member) if group.announce => Err(FORBIDDEN.0),
            Ok(_) => Ok(()),
            Err((code, _)) => Err(code),
        }
    }
}
