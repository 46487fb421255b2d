//! What groups tell: it changes what is kept of them, and is an event.

use serde_json::{Map, Value, json};

use super::role;
use crate::{
    account::{
        Error,
        dispatch::{Account, Turn},
    },
    stanza::{GroupChange, GroupNotice, GroupSetting, Member, MemberChange},
    store::{events::NewEvent, groups::Group},
    wire::{Jid, Node},
};

impl Account {
    pub(in crate::account) fn group_noticed(
        &mut self,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let notice = match GroupNotice::parse(node) {
            Ok(notice) => notice,
            Err(error) => {
                tracing::warn!(%error, "a group's notification");
                // Whatever it said: what is kept may be wrong now.
                return match node.jid("from").filter(Jid::is_group) {
                    Some(group) => self.doubt_group(&group, turn),
                    None => Ok(()),
                };
            }
        };
        if let (Some(actor), Some(alt)) = (&notice.actor, &notice.actor_alt) {
            turn.tx.people().learn(actor, alt)?;
        }
        for change in &notice.changes {
            self.group_changed(&notice, change, turn)?;
            self.report_group(&notice, change, turn)?;
        }
        Ok(())
    }

    fn group_changed(
        &mut self,
        notice: &GroupNotice,
        change: &GroupChange,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let group = &notice.group;
        match change {
            GroupChange::Created(info) => return self.keep_group(info, turn),
            GroupChange::Members(change, members) => {
                return self.members_changed(group, *change, members, turn);
            }
            // Keys told to the old name may be somebody else's now.
            GroupChange::Modified(_) => {
                turn.tx.sender_keys().drop_own(group)?;
                return self.doubt_group(group, turn);
            }
            GroupChange::Tied(tie) => {
                if tie.kind == "parent_group"
                    && let Some(mut known) = turn.tx.groups().find(group)?
                {
                    known.parent = tie.groups.first().filter(|_| tie.on).map(|(parent, _)| parent.clone());
                    known.announcements &= tie.on;
                    turn.tx.groups().set(&known)?;
                }
                return Ok(());
            }
            GroupChange::Deleted => {
                turn.tx.sender_keys().drop_own(group)?;
                return Ok(turn.tx.groups().set_member(group, false)?);
            }
            GroupChange::Subject(_)
            | GroupChange::Description { .. }
            | GroupChange::Setting(_)
            | GroupChange::Invite(_)
            | GroupChange::Requested(_)
            | GroupChange::RequestsRevoked(_)
            | GroupChange::CommunityAdmins(..)
            | GroupChange::Other(_) => {}
        }
        let Some(mut known) = turn.tx.groups().find(group)? else { return Ok(()) };
        match change {
            GroupChange::Subject(text) => known.subject.clone_from(text),
            GroupChange::Description { id, text } => {
                known.description.clone_from(text);
                known.description_id = text.is_some().then(|| id.clone());
            }
            GroupChange::Setting(setting) => {
                turn_switch(&mut known, *setting);
                if let GroupSetting::Ephemeral(seconds) = setting {
                    self.note_timer(group, *seconds, notice.t, turn)?;
                }
            }
            _ => return Ok(()),
        }
        Ok(turn.tx.groups().set(&known)?)
    }

    fn members_changed(
        &mut self,
        group: &Jid,
        change: MemberChange,
        members: &[Member],
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        for member in members {
            if let Some(alt) = &member.alt {
                turn.tx.people().learn(&member.jid, alt)?;
            }
        }
        let own = members.iter().any(|member| self.is_own(&member.jid));
        match change {
            MemberChange::Add => {
                if own {
                    // Who else is in it is not said here.
                    turn.tx.groups().set_member(group, true)?;
                    turn.tx.groups().make_stale(group)?;
                    if let Some(conn) = &mut self.conn {
                        conn.foreign_groups.remove(group);
                    }
                }
                if turn.tx.groups().find(group)?.is_some() {
                    for member in members {
                        turn.tx.groups().put_participant(group, &member.jid, role(member.rank), turn.now)?;
                    }
                }
            }
            MemberChange::Remove => {
                // What was told to them must not open what is said from now on.
                turn.tx.sender_keys().drop_own(group)?;
                for member in members {
                    turn.tx.groups().remove_participant(group, &member.jid)?;
                }
                if own {
                    turn.tx.groups().set_member(group, false)?;
                }
            }
            MemberChange::Promote | MemberChange::Demote => {
                for member in members {
                    let Some(known) = turn.tx.groups().participant(group, &member.jid)? else { continue };
                    let role = match change {
                        MemberChange::Promote => crate::store::groups::Role::Admin,
                        _ => crate::store::groups::Role::Member,
                    };
                    turn.tx.groups().put_participant(group, &known.jid, role, turn.now)?;
                }
            }
        }
        Ok(())
    }

    /// `group.updated`: one event a change.
    fn report_group(
        &self,
        notice: &GroupNotice,
        change: &GroupChange,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let mut more = Map::new();
        let action = match change {
            GroupChange::Created(info) => {
                more.insert("subject".into(), info.subject.clone().into());
                more.insert("participants".into(), self.people_of(&info.members, turn)?);
                "created"
            }
            GroupChange::Members(change, members) => {
                let by_oneself = |member: &Member| {
                    notice.actor.as_ref().is_some_and(|actor| {
                        actor.same_user(&member.jid)
                            || member.alt.as_ref().is_some_and(|alt| actor.same_user(alt))
                    })
                };
                more.insert("participants".into(), self.people_of(members, turn)?);
                match change {
                    MemberChange::Add if members.iter().all(by_oneself) => "participants_joined",
                    MemberChange::Add => "participants_added",
                    MemberChange::Remove if members.iter().all(by_oneself) => "participants_left",
                    MemberChange::Remove => "participants_removed",
                    MemberChange::Promote => "participants_promoted",
                    MemberChange::Demote => "participants_demoted",
                }
            }
            GroupChange::Modified(members) => {
                more.insert("participants".into(), self.people_of(members, turn)?);
                "participants_changed_number"
            }
            GroupChange::Subject(text) => {
                more.insert("subject".into(), text.clone().into());
                "subject"
            }
            GroupChange::Description { text, .. } => {
                more.insert("description".into(), text.clone().into());
                "description"
            }
            GroupChange::Setting(setting) => {
                let (name, value) = match setting {
                    GroupSetting::Announce(on) => ("announce", Value::from(*on)),
                    GroupSetting::Locked(on) => ("locked", Value::from(*on)),
                    GroupSetting::Ephemeral(seconds) => ("ephemeral_seconds", Value::from(*seconds)),
                    GroupSetting::AdminsAdd(on) => {
                        ("member_add", Value::from(if *on { "admins" } else { "everyone" }))
                    }
                    GroupSetting::Approval(on) => ("join_approval", Value::from(*on)),
                };
                more.insert(name.into(), value);
                name
            }
            GroupChange::Invite(_) => "invite_revoked",
            GroupChange::Requested(people) => {
                more.insert("participants".into(), self.people_of(people, turn)?);
                "join_requested"
            }
            GroupChange::RequestsRevoked(people) => {
                more.insert("participants".into(), self.people_of(people, turn)?);
                "join_request_revoked"
            }
            GroupChange::Tied(tie) => {
                let one = |(jid, subject): &(Jid, String)| {
                    let subject = Some(subject).filter(|subject| !subject.is_empty());
                    json!({ "jid": jid.to_wire(), "subject": subject })
                };
                more.insert("groups".into(), tie.groups.iter().map(one).collect());
                match (tie.kind.as_str(), tie.on) {
                    ("parent_group", true) => "community_joined",
                    ("parent_group", false) => "community_left",
                    (_, true) => "groups_linked",
                    (_, false) => "groups_unlinked",
                }
            }
            GroupChange::Deleted => "deleted",
            GroupChange::CommunityAdmins(promoted, members) => {
                more.insert("participants".into(), self.people_of(members, turn)?);
                if *promoted { "community_admins_added" } else { "community_admins_removed" }
            }
            GroupChange::Other(tag) => match other_action(tag) {
                Some(action) => action,
                None => return Ok(()),
            },
        };
        let chat = turn.tx.messages().chat(&notice.group)?;
        let (author, author_lid) = self.author_told(notice.actor.as_ref(), turn)?;
        let at = if notice.t == 0 { turn.now } else { crate::clock::Millis::from_secs(notice.t) };
        let mut data = json!({
            "group_jid": notice.group.to_wire(),
            "action": action,
            "author_number": author,
            "author_lid": author_lid,
        });
        if let Some(members) = data.as_object_mut() {
            members.extend(more);
            members.insert("timestamp".into(), at.rfc3339_offset().into());
            members.insert("conversation_id".into(), chat.id.into());
        }
        let event = NewEvent {
            kind: "group.updated",
            lane: Some(notice.group.to_wire()),
            data: data.to_string(),
            platform: None,
        };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// Both names of each, as far as known: `{phone, lid}`.
    fn people_of(&self, members: &[Member], turn: &Turn<'_>) -> Result<Value, Error> {
        let mut all = Vec::new();
        for member in members {
            let names = [Some(member.jid.bare()), turn.tx.people().other_name(&member.jid)?];
            let find = |wanted: fn(&Jid) -> bool| names.iter().flatten().find(|name| wanted(name));
            let phone = find(Jid::is_pn).map(|jid| jid.user().to_owned());
            all.push(json!({ "phone": phone, "lid": find(Jid::is_lid).map(Jid::to_wire) }));
        }
        Ok(Value::Array(all))
    }
}

/// What is told of a change that changes nothing kept here. The rest says nothing to a consumer: switches of the apps
/// (frequently forwarded, history for new members, reports to admins, cloud hosting, limits of sharing).
fn other_action(tag: &str) -> Option<&'static str> {
    Some(match tag {
        // For a while nobody comes in by the link.
        "growth_locked" => "growth_locked",
        "growth_unlocked" => "growth_unlocked",
        // By WhatsApp, for what was written in it.
        "suspended" => "suspended",
        "unsuspended" => "unsuspended",
        // The account asked to be let in, here or on another device.
        "membership_approval_request" => "own_join_requested",
        // A member of the community would have this group in it.
        "created_sub_group_suggestion" => "group_suggested",
        "revoked_sub_group_suggestions" => "group_suggestion_revoked",
        _ => return None,
    })
}

fn turn_switch(group: &mut Group, setting: GroupSetting) {
    match setting {
        GroupSetting::Announce(on) => group.announce = on,
        GroupSetting::Locked(on) => group.locked = on,
        GroupSetting::Ephemeral(seconds) => group.ephemeral = seconds,
        GroupSetting::AdminsAdd(on) => group.admins_add = on,
        GroupSetting::Approval(on) => group.approval = on,
    }
}
