//! Invitations of one person: who may not be added is invited by a message, and comes in by what it says (protocol 05, 2.3
//! and 2.5).

use prost::Message as _;

use super::{FORBIDDEN, Invited, NOT_ACCEPTABLE, Refused};
use crate::{
    clock::Millis,
    proto::{self, message::GroupInviteMessage},
    sandbox::core::{AccountId, World},
    stanza::{AddRequest, GroupChange, MemberChange, MemberResult, Rank},
    wire::Jid,
};

/// So long an invitation is good, as the apps say: three days.
const LASTS_SECS: u64 = 3 * 24 * 3600;
/// As queries by a code that ended are refused.
const GONE: Refused = (410, "gone");

impl World {
    /// Whether somebody lets this member add it to groups.
    pub(super) fn may_be_added(&self, account: AccountId, actor: AccountId) -> bool {
        match self.account(account).privacy.get("groupadd").map(String::as_str) {
            Some("none") => account == actor,
            Some("contacts") => account == actor || self.account(account).peers.contains(&actor),
            _ => true,
        }
    }

    /// What an invitation has to say to somebody who does not let this member add it to groups.
    pub(super) fn must_be_invited(
        &mut self,
        jid: &Jid,
        change: MemberChange,
        actor: AccountId,
        account: AccountId,
        now: Millis,
    ) -> Result<Option<AddRequest>, Refused> {
        let allowed = self.may_be_added(account, actor);
        let inside = self.group(jid)?.members.contains_key(&account);
        if change != MemberChange::Add || allowed || inside {
            return Ok(None);
        }
        let request = AddRequest { code: self.random_hex(8), expiration: now.secs() + LASTS_SECS };
        let invited = Invited { request: request.clone(), by: actor };
        self.group_mut(jid)?.invites.insert(account, invited);
        Ok(Some(request))
    }

    /// The phone's app offers to invite whoever could not be added, and its user does.
    pub(super) fn phone_invites(
        &mut self,
        phone: AccountId,
        jid: &Jid,
        results: &[MemberResult],
        now: Millis,
    ) {
        let Ok(group) = self.group(jid) else { return };
        let name = group.subject.clone();
        for result in results {
            let Some(invite) = &result.invite else { continue };
            let message = proto::Message {
                group_invite_message: Some(Box::new(GroupInviteMessage {
                    group_jid: Some(jid.to_wire()),
                    invite_code: Some(invite.code.clone()),
                    invite_expiration: i64::try_from(invite.expiration).ok(),
                    group_name: Some(name.clone()),
                    caption: Some("Come in".into()),
                    ..Default::default()
                })),
                ..Default::default()
            };
            // Whoever has vanished meanwhile is nobody's concern.
            let _ = self.phone_sends(phone, &result.jid, message.encode_to_vec(), now);
        }
    }

    /// In by an invitation, or into the queue in front of it. `true`: in.
    pub(super) fn accept_invite(
        &mut self,
        who: AccountId,
        jid: &Jid,
        invite: &AddRequest,
        admin: &Jid,
        now: Millis,
    ) -> Result<bool, Refused> {
        let by = self.resolve(admin).map(|device| device.account);
        let group = self.group_mut(jid)?;
        let known = group.invites.get(&who).filter(|known| known.request == *invite && Some(known.by) == by);
        let known = known.ok_or(NOT_ACCEPTABLE)?.clone();
        if known.request.expiration < now.secs() {
            return Err(GONE);
        }
        group.rank(known.by).map_err(|_| FORBIDDEN)?;
        group.invites.remove(&who);
        group.requests.remove(&who);
        group.members.insert(who, Rank::Member);
        let member = self.member(self.group(jid)?, who, Rank::Member);
        self.tell(jid, who, GroupChange::Members(MemberChange::Add, vec![member]), &[], now);
        self.come_in(jid, &[who], now)?;
        Ok(true)
    }

    /// Invitations end, of whoever is not in yet.
    pub(super) fn disinvite(
        &mut self,
        who: AccountId,
        jid: &Jid,
        people: &[Jid],
    ) -> Result<Vec<MemberResult>, Refused> {
        self.group(jid)?.admin(who)?;
        let mut results = Vec::new();
        for person in people {
            let account = self.resolve(person).map(|device| device.account);
            let ended = match account {
                Some(account) => self.group_mut(jid)?.invites.remove(&account).is_some(),
                None => false,
            };
            let error = (!ended).then_some(404);
            results.push(MemberResult { jid: person.clone(), alt: None, error, invite: None });
        }
        Ok(results)
    }
}
