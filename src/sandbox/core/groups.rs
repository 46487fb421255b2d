//! Groups as the server keeps them: members, switches, the link that leads in, and what everybody is told of it.

mod community;
mod fanout;
mod invites;
mod query;
mod view;

use std::collections::BTreeMap;

pub use view::{GroupView, ParticipantView};

use super::{AccountId, Namespace, OperateError, World};
use crate::{
    clock::Millis,
    stanza::{
        AddRequest, Description, GroupChange, GroupInfo, GroupNotice, GroupSetting, Member, MemberChange,
        MemberResult, Place, Rank,
    },
    wire::Jid,
};

/// Most members of a group (WhatsApp's property 1304), whoever made it counted out.
const MAX_MEMBERS: usize = 1_024;
/// Longest name and description, in characters (properties 14801 and 14778).
const MAX_SUBJECT: usize = 100;
const MAX_DESCRIPTION: usize = 2_048;
/// Groups of a world.
const MAX_GROUPS: usize = 10_000;

/// Why a query about a group is refused: code and word.
type Refused = (u16, &'static str);

const BAD_REQUEST: Refused = (400, "bad-request");
const NOT_ADMIN: Refused = (401, "not-authorized");
const FORBIDDEN: Refused = (403, "forbidden");
const NOT_FOUND: Refused = (404, "item-not-found");
const NOT_ACCEPTABLE: Refused = (406, "not-acceptable");
const CONFLICT: Refused = (409, "conflict");

pub(crate) struct Group {
    pub(super) jid: Jid,
    /// By which of their names members go.
    pub(super) namespace: Namespace,
    pub(super) subject: String,
    pub(super) subject_at: u64,
    pub(super) subject_by: AccountId,
    pub(super) created: u64,
    pub(super) creator: AccountId,
    pub(super) description: Option<Text>,
    pub(super) members: BTreeMap<AccountId, Rank>,
    pub(super) announce: bool,
    pub(super) locked: bool,
    pub(super) ephemeral: u32,
    pub(super) admins_add: bool,
    pub(super) approval: bool,
    /// Of the link.
    pub(super) code: String,
    /// Whom a member wanted to add who may only be invited: the code, until when it is good, and who asked for it.
    pub(super) invites: BTreeMap<AccountId, Invited>,
    /// Who waits to be let in, since when.
    pub(super) requests: BTreeMap<AccountId, u64>,
    /// Among other groups.
    pub(super) place: Place,
    /// Grows with every change.
    pub(super) version: u64,
}

/// What lets one person in.
#[derive(Clone)]
pub(crate) struct Invited {
    pub(super) request: AddRequest,
    pub(super) by: AccountId,
}

/// A description, and where it came from.
pub(crate) struct Text {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) by: AccountId,
    pub(super) t: u64,
}

/// What is to be told once the answer to the query is out.
pub(super) struct News {
    notice: GroupNotice,
    version: u64,
    to: Vec<AccountId>,
}

impl Group {
    fn rank(&self, account: AccountId) -> Result<Rank, Refused> {
        self.members.get(&account).copied().ok_or(FORBIDDEN)
    }

    fn admin(&self, account: AccountId) -> Result<(), Refused> {
        if self.rank(account)? == Rank::Member { Err(NOT_ADMIN) } else { Ok(()) }
    }

    pub(super) fn turn(&mut self, setting: GroupSetting) {
        match setting {
            GroupSetting::Announce(on) => self.announce = on,
            GroupSetting::Locked(on) => self.locked = on,
            GroupSetting::Ephemeral(seconds) => self.ephemeral = seconds,
            GroupSetting::AdminsAdd(on) => self.admins_add = on,
            GroupSetting::Approval(on) => self.approval = on,
        }
    }
}

impl World {
    pub(super) fn group(&self, jid: &Jid) -> Result<&Group, Refused> {
        self.groups.get(jid.user()).filter(|_| jid.is_group()).ok_or(NOT_FOUND)
    }

    fn group_mut(&mut self, jid: &Jid) -> Result<&mut Group, Refused> {
        self.groups.get_mut(jid.user()).filter(|_| jid.is_group()).ok_or(NOT_FOUND)
    }

    /// A person as this group calls it.
    fn member(&self, group: &Group, account: AccountId, rank: Rank) -> Member {
        let account = self.account(account);
        Member {
            jid: account.jid(group.namespace, 0),
            alt: Some(account.jid(group.namespace.other(), 0)),
            rank,
        }
    }

    pub(super) fn group_info(&self, group: &Group) -> GroupInfo {
        let name = |account: AccountId| self.account(account).jid(group.namespace, 0);
        GroupInfo {
            jid: group.jid.clone(),
            by_lid: group.namespace == Namespace::Lid,
            subject: group.subject.clone(),
            subject_at: group.subject_at,
            subject_by: Some(name(group.subject_by)),
            created: group.created,
            creator: Some(name(group.creator)),
            creator_alt: Some(self.account(group.creator).jid(group.namespace.other(), 0)),
            description: group.description.as_ref().map(|text| Description {
                id: text.id.clone(),
                text: text.text.clone(),
                by: Some(name(text.by)),
                t: text.t,
            }),
            members: group.members.iter().map(|(id, rank)| self.member(group, *id, *rank)).collect(),
            announce: group.announce,
            locked: group.locked,
            ephemeral: group.ephemeral,
            admins_add: group.admins_add,
            approval: group.approval,
            place: group.place.clone(),
        }
    }

    /// Notes what happened, for everybody who is in it and for `beside`.
    fn tell(&mut self, jid: &Jid, actor: AccountId, change: GroupChange, beside: &[AccountId], now: Millis) {
        let Ok(group) = self.group_mut(jid) else { return };
        group.version += 1;
        let Ok(group) = self.group(jid) else { return };
        let who = self.member(group, actor, Rank::Member);
        let mut to: Vec<AccountId> = group.members.keys().copied().collect();
        to.extend(beside.iter().copied().filter(|account| !group.members.contains_key(account)));
        let notice = GroupNotice {
            group: jid.clone(),
            actor: Some(who.jid),
            actor_alt: who.alt,
            t: now.secs(),
            by_lid: group.namespace == Namespace::Lid,
            changes: vec![change],
        };
        let version = group.version;
        self.news.push(News { notice, version, to });
    }

    /// Tells every device of everybody concerned.
    pub(super) fn spread_news(&mut self, now: Millis) {
        for News { notice, version, to } in std::mem::take(&mut self.news) {
            for account in to {
                for device in self.devices_of(account) {
                    let id = self.server_id();
                    self.enqueue(device, notice.build(&id, version), now);
                }
            }
        }
    }

    pub(super) fn make_group(
        &mut self,
        creator: AccountId,
        subject: &str,
        others: &[AccountId],
        namespace: Namespace,
        settings: &[GroupSetting],
        now: Millis,
    ) -> Result<Jid, Refused> {
        self.make_group_in(creator, subject, others, namespace, settings, (Place::Alone, None), now)
    }

    #[allow(clippy::too_many_arguments, reason = "two callers in this room")]
    fn make_group_in(
        &mut self,
        creator: AccountId,
        subject: &str,
        others: &[AccountId],
        namespace: Namespace,
        settings: &[GroupSetting],
        (place, description): (Place, Option<Text>),
        now: Millis,
    ) -> Result<Jid, Refused> {
        let length = subject.chars().count();
        if length == 0
            || length > MAX_SUBJECT
            || others.len() >= MAX_MEMBERS
            || self.groups.len() >= MAX_GROUPS
        {
            return Err(NOT_ACCEPTABLE);
        }
        // 18 digits, as new groups have them.
        let mut number = 120_363_000_000_000_001 + u64::try_from(self.groups.len()).unwrap_or(0);
        while self.groups.contains_key(&number.to_string()) {
            number += 1;
        }
        let jid = Jid::group(number.to_string());
        let mut members: BTreeMap<AccountId, Rank> = others.iter().map(|id| (*id, Rank::Member)).collect();
        members.insert(creator, Rank::SuperAdmin);
        let mut group = Group {
            jid: jid.clone(),
            namespace,
            subject: subject.to_owned(),
            subject_at: now.secs(),
            subject_by: creator,
            created: now.secs(),
            creator,
            description,
            members,
            announce: false,
            locked: false,
            ephemeral: 0,
            admins_add: false,
            approval: false,
            code: self.invite_code(),
            requests: BTreeMap::new(),
            invites: BTreeMap::new(),
            place,
            version: 0,
        };
        settings.iter().for_each(|setting| group.turn(*setting));
        let info = self.group_info(&group);
        self.groups.insert(jid.user().to_owned(), group);
        self.tell(&jid, creator, GroupChange::Created(Box::new(info)), &[], now);
        Ok(jid)
    }

    /// 22 characters, as in links.
    fn invite_code(&mut self) -> String {
        self.random_hex(11)
    }

    /// What happens to members, one after another; each has a result.
    pub(super) fn change_members(
        &mut self,
        actor: AccountId,
        jid: &Jid,
        change: MemberChange,
        people: &[Jid],
        now: Millis,
    ) -> Result<Vec<MemberResult>, Refused> {
        let results = self.change_members_of(actor, jid, change, people, now)?;
        if change == MemberChange::Add {
            let members: Vec<AccountId> = self.group(jid)?.members.keys().copied().collect();
            self.come_in(jid, &members, now)?;
        }
        Ok(results)
    }

    fn change_members_of(
        &mut self,
        actor: AccountId,
        jid: &Jid,
        change: MemberChange,
        people: &[Jid],
        now: Millis,
    ) -> Result<Vec<MemberResult>, Refused> {
        let group = self.group(jid)?;
        let free = change == MemberChange::Add && !group.admins_add;
        if free {
            group.rank(actor).map(drop)?
        } else {
            group.admin(actor)?
        }
        let (mut results, mut changed) = (Vec::new(), Vec::new());
        for person in people {
            let Some(account) = self.resolve(person).map(|device| device.account) else {
                results.push(MemberResult { jid: person.bare(), alt: None, error: Some(404), invite: None });
                continue;
            };
            let invite = self.must_be_invited(jid, change, actor, account, now)?;
            let error = match &invite {
                Some(_) => Some(403),
                None => self.change_member(jid, change, account)?,
            };
            let member = self.member(self.group(jid)?, account, Rank::Member);
            results.push(MemberResult { jid: member.jid, alt: member.alt, error, invite });
            if error.is_none() {
                changed.push(account);
            }
        }
        if !changed.is_empty() {
            let group = self.group(jid)?;
            let rank = |id: &AccountId| group.members.get(id).copied().unwrap_or(Rank::Member);
            let members = changed.iter().map(|id| self.member(group, *id, rank(id))).collect();
            self.tell(jid, actor, GroupChange::Members(change, members), &changed, now);
        }
        Ok(results)
    }

    /// What a client knows as the code of a participant's result; `None` for success.
    fn change_member(
        &mut self,
        jid: &Jid,
        change: MemberChange,
        account: AccountId,
    ) -> Result<Option<u16>, Refused> {
        let group = self.group_mut(jid)?;
        let rank = group.members.get(&account).copied();
        Ok(match (change, rank) {
            (MemberChange::Add, Some(_)) => Some(409),
            (MemberChange::Add, None) if group.members.len() > MAX_MEMBERS => Some(419),
            (MemberChange::Add, None) => {
                group.requests.remove(&account);
                group.members.insert(account, Rank::Member);
                None
            }
            (_, None) => Some(404),
            (MemberChange::Remove | MemberChange::Demote, Some(Rank::SuperAdmin)) => Some(406),
            (MemberChange::Remove, Some(_)) => {
                group.members.remove(&account);
                None
            }
            (MemberChange::Promote, Some(Rank::Member)) => {
                group.members.insert(account, Rank::Admin);
                None
            }
            (MemberChange::Demote, Some(Rank::Admin)) => {
                group.members.insert(account, Rank::Member);
                None
            }
            (MemberChange::Promote, Some(_)) | (MemberChange::Demote, Some(Rank::Member)) => Some(409),
        })
    }

    pub(super) fn leave_group(&mut self, actor: AccountId, jid: &Jid, now: Millis) -> Result<(), Refused> {
        let group = self.group_mut(jid)?;
        group.rank(actor)?;
        group.members.remove(&actor);
        let heir = group.members.keys().next().copied();
        let headless = group.members.values().all(|rank| *rank == Rank::Member);
        let gone = self.member(self.group(jid)?, actor, Rank::Member);
        self.tell(jid, actor, GroupChange::Members(MemberChange::Remove, vec![gone]), &[actor], now);
        match heir {
            Some(heir) if headless => {
                self.group_mut(jid)?.members.insert(heir, Rank::Admin);
                let member = self.member(self.group(jid)?, heir, Rank::Admin);
                self.tell(jid, heir, GroupChange::Members(MemberChange::Promote, vec![member]), &[], now);
            }
            Some(_) => {}
            None => {
                self.groups.remove(jid.user());
            }
        }
        Ok(())
    }

    /// In by the link, or into the queue in front of it. `true`: in.
    pub(super) fn join_group(
        &mut self,
        actor: AccountId,
        code: &str,
        now: Millis,
    ) -> Result<(Jid, bool), Refused> {
        let group = self.groups.values_mut().find(|group| group.code == code).ok_or(NOT_FOUND)?;
        let jid = group.jid.clone();
        if group.members.contains_key(&actor) {
            return Err(CONFLICT);
        }
        let waits = group.approval;
        if waits {
            group.requests.insert(actor, now.secs());
        } else {
            group.members.insert(actor, Rank::Member);
        }
        let who = self.member(self.group(&jid)?, actor, Rank::Member);
        let change = match waits {
            true => GroupChange::Requested(vec![who]),
            false => GroupChange::Members(MemberChange::Add, vec![who]),
        };
        self.tell(&jid, actor, change, &[], now);
        if !waits {
            self.come_in(&jid, &[actor], now)?;
        }
        Ok((jid, !waits))
    }

    /// `POST /admin/groups`.
    pub(crate) fn create_group(
        &mut self,
        owner: &str,
        subject: &str,
        people: &[String],
        namespace: Namespace,
        now: Millis,
    ) -> Result<Jid, OperateError> {
        let owner = self.phone(owner)?;
        let others = people
            .iter()
            .map(|who| {
                self.resolve_text(who).map(|device| device.account).ok_or(OperateError::NoSuchRecipient)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let made = self.make_group(owner, subject, &others, namespace, &[], now);
        let jid = made.map_err(|_| OperateError::BadRequest("subject: 1 to 100 characters"))?;
        self.spread_news(now);
        self.settle(now);
        Ok(jid)
    }

    /// `POST /admin/groups/{jid}/participants`: done by whoever made the group, or its first admin. Who may not be added
    /// is sent an invitation.
    pub(crate) fn operate_group(
        &mut self,
        jid: &Jid,
        change: MemberChange,
        people: &[String],
        now: Millis,
    ) -> Result<(), OperateError> {
        let group = self.group(jid).map_err(|_| OperateError::NoSuchGroup)?;
        let admins = group.members.iter().filter(|(_, rank)| **rank != Rank::Member);
        let actor = admins.max_by_key(|(_, rank)| **rank).map(|(id, _)| *id);
        let actor = actor.ok_or(OperateError::Conflict("nobody manages the group"))?;
        let mut jids = Vec::new();
        for who in people {
            let found = self.resolve_text(who).ok_or(OperateError::NoSuchRecipient)?;
            jids.push(self.account(found.account).jid(Namespace::Pn, 0));
        }
        let results = self.change_members(actor, jid, change, &jids, now);
        let results = results.map_err(|_| OperateError::Conflict("the group does not allow that"))?;
        self.spread_news(now);
        self.phone_invites(actor, jid, &results, now);
        self.settle(now);
        match results.iter().any(|result| result.error.is_some() && result.invite.is_none()) {
            true => Err(OperateError::Conflict("not everybody could be changed")),
            false => Ok(()),
        }
    }
}
