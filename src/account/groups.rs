//! Groups as the account knows them: asked for once, kept true by notifications, and changed on request.

mod commands;
mod notices;

pub(super) use commands::GroupWork;
pub use commands::{GroupAnswer, GroupCommand, GroupMember, GroupRequest, GroupUpdate, GroupView};

use std::time::Duration;

use super::{
    Answer, Error, SendError, SendMessage, Ticket,
    dispatch::{Account, Effect, Turn},
    link::Query,
};
use crate::{
    clock::Millis,
    stanza::{GroupInfo, GroupQuery, Iq, Place, Rank},
    store::{
        groups::{Group, Role},
        timers::ChatTimer,
    },
    wire::{Jid, Node},
};

/// Notifications keep a group true; one that was missed costs at most this.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// Whether the account may write to a group.
pub(super) enum Standing {
    /// It takes part, as far as is known.
    In,
    /// It does not.
    Out,
    /// Nobody has asked yet.
    Unknown,
}

pub(super) fn role(rank: Rank) -> Role {
    match rank {
        Rank::Member => Role::Member,
        Rank::Admin => Role::Admin,
        Rank::SuperAdmin => Role::SuperAdmin,
    }
}

impl Account {
    /// What is known of the account's place in a group.
    pub(super) fn standing(&self, group: &Jid, turn: &Turn<'_>) -> Result<Standing, Error> {
        Ok(match turn.tx.groups().find(group)? {
            Some(known) if known.member => Standing::In,
            // It may have been let in meanwhile, unnoticed: a look costs little.
            Some(known) if turn.now.since(known.fetched_at) < FRESH => Standing::Out,
            Some(_) | None if self.is_foreign(group) => Standing::Out,
            Some(_) | None => Standing::Unknown,
        })
    }

    /// The server said on this connection that the account has no business there.
    pub(super) fn is_foreign(&self, group: &Jid) -> bool {
        self.conn.as_ref().is_some_and(|conn| conn.foreign_groups.contains(group))
    }

    /// A group as it is now; `None`: the server has to be asked first.
    pub(super) fn fresh_group(&self, group: &Jid, turn: &Turn<'_>) -> Result<Option<Group>, Error> {
        let known = turn.tx.groups().find(group)?;
        Ok(known.filter(|known| turn.now.since(known.fetched_at) < FRESH))
    }

    /// Parks a send until the server has described its group.
    pub(super) fn look_up_group(
        &mut self,
        ticket: Ticket,
        group: &Jid,
        command: SendMessage,
        turn: &mut Turn<'_>,
    ) {
        let Some(conn) = &mut self.conn else { return };
        conn.group_lookups.entry(group.clone()).or_default().push((ticket, command));
        self.ask_group(group, turn);
    }

    /// Asks once for what many may be waiting for.
    pub(super) fn ask_group(&mut self, group: &Jid, turn: &mut Turn<'_>) {
        let Some(conn) = &mut self.conn else { return };
        if conn.asked_groups.insert(group.clone()) {
            let id = conn.query(Query::Group(group.clone()), turn.now);
            turn.send(&GroupQuery::Info(group.clone()).build(&id));
        }
    }

    pub(super) fn group_answered(
        &mut self,
        group: &Jid,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let refusal = Iq::refusal(node).map(|refusal| refusal.code);
        let info = node.find("group").and_then(|group| GroupInfo::parse(group).ok());
        match (refusal, info) {
            (None, Some(info)) => {
                self.keep_group(&info, turn)?;
                if let Some(conn) = &mut self.conn {
                    conn.was_answered();
                    conn.asked_groups.remove(group);
                }
            }
            // Not a member, or no such group.
            (Some(401 | 403 | 404), _) => {
                turn.tx.groups().set_member(group, false)?;
                if let Some(conn) = &mut self.conn {
                    conn.asked_groups.remove(group);
                    conn.foreign_groups.insert(group.clone());
                }
            }
            (code, _) => {
                tracing::warn!(code, "a group could not be had");
                let Some(conn) = &mut self.conn else { return Ok(()) };
                if conn.ask_again(code, turn.now) {
                    return Ok(());
                }
                for (ticket, _) in conn.group_lookups.remove(group).unwrap_or_default() {
                    turn.effects.push(Effect::Answer(ticket, Answer::Send(Err(SendError::Internal))));
                }
                return Ok(());
            }
        }
        let parked = self.conn.as_mut().and_then(|conn| conn.group_lookups.remove(group));
        for (ticket, command) in parked.unwrap_or_default() {
            self.send_message(ticket, command, turn)?;
        }
        self.reconsider(group, turn)
    }

    /// Takes over how the server describes a group, and the names it tells.
    pub(super) fn keep_group(&mut self, info: &GroupInfo, turn: &mut Turn<'_>) -> Result<(), Error> {
        for member in &info.members {
            if let Some(alt) = &member.alt {
                turn.tx.people().learn(&member.jid, alt)?;
            }
        }
        let group = self.group_of(info, turn.now);
        let groups = turn.tx.groups();
        groups.set(&group)?;
        self.note_timer(&info.jid, info.ephemeral, turn.now.secs(), turn)?;
        let members: Vec<(Jid, Role)> =
            info.members.iter().map(|member| (member.jid.bare(), role(member.rank))).collect();
        groups.set_participants(&info.jid, &members, turn.now)?;
        if let Some(conn) = &mut self.conn {
            conn.foreign_groups.remove(&info.jid);
        }
        Ok(())
    }

    /// A group as the server tells of it.
    fn group_of(&self, info: &GroupInfo, now: Millis) -> Group {
        Group {
            jid: info.jid.clone(),
            subject: info.subject.clone(),
            description: info.description.as_ref().map(|description| description.text.clone()),
            description_id: info.description.as_ref().map(|description| description.id.clone()),
            owner: info.creator.as_ref().map(Jid::bare),
            created: info.created,
            by_lid: info.by_lid,
            announce: info.announce,
            locked: info.locked,
            ephemeral: info.ephemeral,
            admins_add: info.admins_add,
            approval: info.approval,
            member: info.members.iter().any(|member| self.is_own(&member.jid)),
            community: info.place == Place::Community,
            parent: info.place.parent().cloned(),
            announcements: matches!(info.place, Place::Announcements(_)),
            fetched_at: now,
        }
    }

    /// Messages of the group disappear after so many seconds from now on. `since`: Unix seconds.
    fn note_timer(&self, group: &Jid, seconds: u32, since: u64, turn: &mut Turn<'_>) -> Result<(), Error> {
        let messages = turn.tx.messages();
        let chat = if seconds == 0 { messages.find_chat(group)? } else { Some(messages.chat(group)?) };
        let Some(chat) = chat else { return Ok(()) };
        if turn.tx.timers().of(chat.id)?.seconds != seconds {
            turn.tx.timers().set(chat.id, ChatTimer { seconds, set_at: since })?;
        }
        Ok(())
    }

    /// Something about a group's members or their devices is other than we thought: look again before the next send.
    pub(super) fn doubt_group(&mut self, group: &Jid, turn: &mut Turn<'_>) -> Result<(), Error> {
        turn.tx.groups().make_stale(group)?;
        for member in turn.tx.groups().participants(group)? {
            turn.tx.people().forget_devices(&member.jid)?;
        }
        Ok(())
    }

    /// The account's own device as a group names it.
    pub(super) fn own_in(&self, by_lid: bool) -> Option<Jid> {
        let paired = self.device.paired.as_ref()?;
        if by_lid { paired.lid.clone() } else { Some(paired.jid.clone()) }
    }

    /// Whether a device may have a message of a group or a status again. Whoever came later than the message may not.
    pub(super) fn may_have_again(
        &self,
        chat: &Jid,
        wa_id: &str,
        at: Millis,
        device: &Jid,
        turn: &Turn<'_>,
    ) -> Result<bool, Error> {
        /// A member may have been let in while the message was on its way, before the account heard of it.
        const GRACE: Duration = Duration::from_secs(60);
        if self.is_own(device) {
            return Ok(true);
        }
        if chat.is_status() {
            let other = turn.tx.people().other_name(device)?;
            let audience = turn.tx.groups().audience(wa_id)?;
            return Ok(audience.iter().any(|who| *who == device.bare() || Some(who) == other.as_ref()));
        }
        let member = turn.tx.groups().participant(chat, device)?;
        Ok(member.is_some_and(|member| member.since <= at + GRACE))
    }
}
