//! What callers ask of groups.

use std::collections::VecDeque;

use super::role;
use crate::{
    account::{
        AskError, Error, Told,
        ask::{Next, Outcome, Step},
        content,
        dispatch::{Account, Turn},
    },
    clock::Millis,
    stanza::{
        AddRequest, GroupInfo, GroupQuery, GroupSetting, Iq, MemberChange, joined, read_groups, read_invite,
        read_join_requests, read_results,
    },
    store::{
        groups::{Group, Role},
        people::Number,
    },
    wire::{Jid, Node},
};

/// What is to be changed of a group; at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupUpdate {
    /// Another name.
    pub subject: Option<String>,
    /// Another description; an empty one takes it away.
    pub description: Option<String>,
    /// Switches, each at most once.
    pub settings: Vec<GroupSetting>,
}

/// Something to be done with groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupCommand {
    /// All groups of the account.
    List,
    /// One of them.
    Info(Jid),
    /// A new one.
    Create {
        /// Its name.
        subject: String,
        /// Who else, by number or LID.
        people: Vec<Jid>,
    },
    /// Another name, description, switch.
    Update {
        /// Which.
        group: Jid,
        /// What.
        update: GroupUpdate,
    },
    /// Members come, go, rise and fall.
    Members {
        /// Of which.
        group: Jid,
        /// What happens.
        change: MemberChange,
        /// To whom, by number or LID.
        people: Vec<Jid>,
    },
    /// Go out.
    Leave(Jid),
    /// The code of the link that leads in.
    Invite(Jid),
    /// Another code; the present one ends.
    RevokeInvite(Jid),
    /// What a code leads to.
    InviteInfo(String),
    /// In by a code.
    Join(String),
    /// In by an invitation that somebody wrote.
    Accept {
        /// Into which.
        group: Jid,
        /// What it says.
        invite: AddRequest,
        /// Who wrote it.
        admin: Jid,
    },
    /// In by the invitation that is in the message with this id.
    AcceptMessage(String),
    /// Who waits to be let in.
    Requests(Jid),
    /// Lets people in, or not.
    Decide {
        /// Into which.
        group: Jid,
        /// In.
        approve: bool,
        /// Whom, by number or LID.
        people: Vec<Jid>,
    },
}

/// A member as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// By number where it is known.
    pub jid: Jid,
    /// The hidden identity, where it is known.
    pub lid: Option<Jid>,
    /// What it may do.
    pub role: Role,
}

/// A group as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// The group itself; its owner by number where that is known.
    pub group: Group,
    /// Everybody, as far as the server says.
    pub members: Vec<GroupMember>,
}

/// Somebody who waits to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRequest {
    /// By number where it is known.
    pub jid: Jid,
    /// The hidden identity, where it is known.
    pub lid: Option<Jid>,
    /// Since when.
    pub at: Millis,
}

/// What came of a [`GroupCommand`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupAnswer {
    /// Done.
    Done,
    /// To [`GroupCommand::List`].
    Groups(Vec<GroupView>),
    /// To `Info`, `Update` and `InviteInfo`.
    Group(Box<GroupView>),
    /// To `Create`: the group, and what became of each person, as in `Results`.
    Created {
        /// As it is now.
        view: Box<GroupView>,
        /// Whoever was named.
        results: Vec<(Jid, u16)>,
        /// What an invitation has to say to each of those who may not be added but may be invited.
        invites: Vec<(Jid, AddRequest)>,
    },
    /// To `Members` and `Decide`: each person, by number where it is known, and WhatsApp's code; 200 is success.
    Results(Vec<(Jid, u16)>),
    /// The same, where some may not be added but may be invited.
    Invitable {
        /// As in `Results`.
        results: Vec<(Jid, u16)>,
        /// What an invitation to each of those has to say.
        invites: Vec<(Jid, AddRequest)>,
    },
    /// To `Invite` and `RevokeInvite`.
    Invite(String),
    /// To `Join`, `Accept` and `AcceptMessage`.
    Joined {
        /// Where the code led.
        group: Jid,
        /// In it; else an admin has to say yes.
        inside: bool,
    },
    /// To `Requests`.
    Requests(Vec<GroupRequest>),
}

/// A command under way.
#[derive(Debug)]
pub(in crate::account) struct GroupWork {
    command: GroupCommand,
    /// What was asked last.
    asked: GroupQuery,
    /// What is still to be asked.
    rest: VecDeque<GroupQuery>,
}

impl GroupWork {
    /// With the first of these steps.
    fn go(command: GroupCommand, steps: VecDeque<GroupQuery>) -> Next {
        Self::go_showing(command, steps, Vec::new())
    }

    /// The first of them with these tokens.
    fn go_showing(
        command: GroupCommand,
        mut steps: VecDeque<GroupQuery>,
        tokens: Vec<(Jid, Vec<u8>)>,
    ) -> Next {
        let Some(asked) = steps.pop_front() else { return Next::Done(Told::Group(GroupAnswer::Done)) };
        let query = asked.clone();
        Next::query(
            move |id| query.build_showing(id, &tokens),
            Step::Group(Box::new(Self { command, asked, rest: steps })),
        )
    }
}

impl Account {
    pub(in crate::account) fn group_asked(
        &self,
        command: GroupCommand,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, Error> {
        let command = match command {
            GroupCommand::AcceptMessage(id) => match self.invitation(&id, turn)? {
                Some(command) => command,
                None => return Ok(Err(AskError::Unknown)),
            },
            command => command,
        };
        let steps: VecDeque<GroupQuery> = self.steps(&command, turn)?.into();
        let tokens = self.tokens_shown(steps.front(), turn)?;
        Ok(Ok(GroupWork::go_showing(command, steps, tokens)))
    }

    /// The tokens of those who are to come in, where the server wants to see them.
    fn tokens_shown(
        &self,
        query: Option<&GroupQuery>,
        turn: &Turn<'_>,
    ) -> Result<Vec<(Jid, Vec<u8>)>, Error> {
        let people = match query {
            Some(GroupQuery::Create { people, .. }) if self.props.on_new_groups() => people,
            Some(GroupQuery::Members { change: MemberChange::Add, people, .. })
                if self.props.on_added_members() =>
            {
                people
            }
            _ => return Ok(Vec::new()),
        };
        let mut tokens = Vec::new();
        for (person, _) in people {
            tokens.extend(self.shown_token(person, turn)?.map(|token| (person.clone(), token)));
        }
        Ok(tokens)
    }

    /// What accepts the invitation in a message that somebody else wrote.
    fn invitation(&self, id: &str, turn: &Turn<'_>) -> Result<Option<GroupCommand>, Error> {
        let found = turn.tx.messages().find_anywhere(id)?.filter(|message| !message.key.from_me);
        let Some(message) = found else { return Ok(None) };
        let Some(chat) = turn.tx.messages().chat_by_id(message.key.chat)? else { return Ok(None) };
        let admin = message.key.participant.unwrap_or(chat.jid);
        let accept = |found: content::Invitation| GroupCommand::Accept {
            group: found.group,
            invite: found.request,
            admin: admin.bare(),
        };
        Ok(content::invitation(&message.content).map(accept))
    }

    fn steps(&self, command: &GroupCommand, turn: &mut Turn<'_>) -> Result<Vec<GroupQuery>, Error> {
        Ok(vec![match command {
            GroupCommand::List => GroupQuery::List,
            GroupCommand::Info(group) => GroupQuery::Info(group.clone()),
            GroupCommand::Create { subject, people } => GroupQuery::Create {
                subject: subject.clone(),
                key: None,
                people: self.both_names(people, turn)?,
                settings: Vec::new(),
            },
            GroupCommand::Update { group, update } => return self.update_steps(group, update, turn),
            GroupCommand::Members { group, change, people } => {
                let mut named = self.both_names(people, turn)?;
                if *change != MemberChange::Add {
                    // Who is in it goes by the group's own name for it.
                    for (jid, alt) in &mut named {
                        if let Some(member) = turn.tx.groups().participant(group, jid)?
                            && member.jid != *jid
                        {
                            (*jid, *alt) = (member.jid, Some(jid.clone()));
                        }
                    }
                }
                GroupQuery::Members { group: group.clone(), change: *change, people: named }
            }
            GroupCommand::Leave(group) => GroupQuery::Leave(group.clone()),
            GroupCommand::Invite(group) => GroupQuery::Invite(group.clone()),
            GroupCommand::RevokeInvite(group) => GroupQuery::RevokeInvite(group.clone()),
            GroupCommand::InviteInfo(code) => GroupQuery::InviteInfo(code.clone()),
            GroupCommand::Join(code) => GroupQuery::Join(code.clone()),
            GroupCommand::Accept { group, invite, admin } => {
                GroupQuery::Accept { group: group.clone(), invite: invite.clone(), admin: admin.clone() }
            }
            // Turned into the one above before.
            GroupCommand::AcceptMessage(_) => return Ok(Vec::new()),
            GroupCommand::Requests(group) => GroupQuery::Requests(group.clone()),
            GroupCommand::Decide { group, approve, people } => GroupQuery::Decide {
                group: group.clone(),
                approve: *approve,
                people: self.both_names(people, turn)?.into_iter().map(|(jid, _)| jid).collect(),
            },
        }])
    }

    /// The group as it is first: a description must name the one it replaces. And as it is in the end.
    fn update_steps(
        &self,
        group: &Jid,
        update: &GroupUpdate,
        turn: &mut Turn<'_>,
    ) -> Result<Vec<GroupQuery>, Error> {
        let mut steps = vec![GroupQuery::Info(group.clone())];
        if let Some(text) = &update.subject {
            steps.push(GroupQuery::Subject { group: group.clone(), text: text.clone() });
        }
        if let Some(text) = &update.description {
            let mut id = [0; 8];
            turn.rng.fill_bytes(&mut id);
            steps.push(GroupQuery::Description {
                group: group.clone(),
                id: Some(hex::encode_upper(id)),
                previous: None,
                text: Some(text.clone()).filter(|text| !text.is_empty()),
            });
        }
        let set = |setting: &GroupSetting| GroupQuery::Set { group: group.clone(), setting: *setting };
        steps.extend(update.settings.iter().map(set));
        steps.push(GroupQuery::Info(group.clone()));
        Ok(steps)
    }

    /// Under which name the server is to look for each: the LID with the number beside it, or the number as given.
    pub(in crate::account) fn both_names(
        &self,
        people: &[Jid],
        turn: &Turn<'_>,
    ) -> Result<Vec<(Jid, Option<Jid>)>, Error> {
        let mut all: Vec<(Jid, Option<Jid>)> = Vec::new();
        for person in people {
            let person = match turn.tx.people().number(person.user(), turn.now)? {
                Number::Registered(jid) if person.is_pn() => jid,
                _ => person.bare(),
            };
            let other = turn.tx.people().other_name(&person)?;
            let pair = match other {
                Some(lid) if person.is_pn() => (lid, Some(person)),
                other => (person, other),
            };
            if !all.contains(&pair) {
                all.push(pair);
            }
        }
        Ok(all)
    }

    pub(in crate::account) fn group_told(
        &mut self,
        mut work: GroupWork,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, Error> {
        if let Some(refusal) = Iq::refusal(node) {
            let unknown =
                refusal.code == 404 || (refusal.code == 403 && matches!(work.asked, GroupQuery::Info(_)));
            return Ok(Err(if unknown { AskError::Unknown } else { AskError::Refused(refusal.code) }));
        }
        let info = || node.find("group").and_then(|group| GroupInfo::parse(group).ok());
        if let (GroupQuery::Info(_) | GroupQuery::Create { .. }, Some(mut info)) = (&work.asked, info()) {
            // Whoever could not be added is listed, too, with an error.
            let refused = node.find("group").into_iter().flat_map(|group| group.find_all("participant"));
            let refused: Vec<Jid> =
                refused.filter(|member| member.has("error")).filter_map(|member| member.jid("jid")).collect();
            info.members.retain(|member| !refused.contains(&member.jid));
            self.keep_group(&info, turn)?;
        }
        if let Some(next) = work.rest.front_mut() {
            if let GroupQuery::Description { group, previous, .. } = next {
                *previous = turn.tx.groups().find(group)?.and_then(|known| known.description_id);
            }
            return Ok(Ok(GroupWork::go(work.command, work.rest)));
        }
        let answer = match work.command {
            GroupCommand::List => {
                let Ok(groups) = read_groups(node) else { return Ok(Err(AskError::Internal)) };
                let mut views = Vec::new();
                for info in &groups {
                    self.keep_group(info, turn)?;
                    views.push(self.group_view(&info.jid, turn)?.ok_or(AskError::Internal));
                }
                match views.into_iter().collect::<Result<Vec<_>, _>>() {
                    Ok(views) => GroupAnswer::Groups(views),
                    Err(error) => return Ok(Err(error)),
                }
            }
            GroupCommand::Create { .. } => {
                let Some(view) = (match info() {
                    Some(info) => self.group_view(&info.jid, turn)?,
                    None => None,
                }) else {
                    return Ok(Err(AskError::Internal));
                };
                let (mut results, mut invites) = (Vec::new(), Vec::new());
                for result in read_results(node).into_iter().filter(|result| !self.is_own(&result.jid)) {
                    if let Some(alt) = &result.alt {
                        turn.tx.people().learn(&result.jid, alt)?;
                    }
                    let person = self.number_first(&result.jid, turn)?;
                    invites.extend(result.invite.map(|invite| (person.clone(), invite)));
                    results.push((person, result.error.unwrap_or(200)));
                }
                GroupAnswer::Created { view: Box::new(view), results, invites }
            }
            GroupCommand::Info(_) | GroupCommand::Update { .. } => {
                let found = match info() {
                    Some(info) => self.group_view(&info.jid, turn)?,
                    None => None,
                };
                match found {
                    Some(view) => GroupAnswer::Group(Box::new(view)),
                    None => return Ok(Err(AskError::Internal)),
                }
            }
            // Of a group that one is not in nothing is kept.
            GroupCommand::InviteInfo(_) => match info() {
                Some(info) => GroupAnswer::Group(Box::new(self.view_of(&info, turn)?)),
                None => return Ok(Err(AskError::Internal)),
            },
            GroupCommand::Members { .. } | GroupCommand::Decide { .. } => {
                let (mut results, mut invites) = (Vec::new(), Vec::new());
                for result in read_results(node) {
                    if let Some(alt) = &result.alt {
                        turn.tx.people().learn(&result.jid, alt)?;
                    }
                    let person = self.number_first(&result.jid, turn)?;
                    invites.extend(result.invite.map(|invite| (person.clone(), invite)));
                    results.push((person, result.error.unwrap_or(200)));
                }
                match invites.is_empty() {
                    true => GroupAnswer::Results(results),
                    false => GroupAnswer::Invitable { results, invites },
                }
            }
            GroupCommand::Leave(group) => {
                turn.tx.groups().set_member(&group, false)?;
                turn.tx.sender_keys().drop_own(&group)?;
                GroupAnswer::Done
            }
            GroupCommand::Invite(_) | GroupCommand::RevokeInvite(_) => match read_invite(node) {
                Ok(code) => GroupAnswer::Invite(code),
                Err(_) => return Ok(Err(AskError::Internal)),
            },
            GroupCommand::Join(_) => match joined(node) {
                Ok((group, inside)) => GroupAnswer::Joined { group, inside },
                Err(_) => return Ok(Err(AskError::Internal)),
            },
            GroupCommand::Accept { group, .. } => {
                let inside = node.find("membership_approval_request").is_none();
                GroupAnswer::Joined { group, inside }
            }
            GroupCommand::AcceptMessage(_) => return Ok(Err(AskError::Internal)),
            GroupCommand::Requests(_) => {
                let Ok(all) = read_join_requests(node) else { return Ok(Err(AskError::Internal)) };
                let mut requests = Vec::new();
                for request in all {
                    if let Some(alt) = &request.alt {
                        turn.tx.people().learn(&request.jid, alt)?;
                    }
                    let lid = self.lid_known(&request.jid, turn)?;
                    let jid = self.number_first(&request.jid, turn)?;
                    requests.push(GroupRequest { jid, lid, at: Millis::from_secs(request.t) });
                }
                GroupAnswer::Requests(requests)
            }
        };
        Ok(Ok(Next::Done(Told::Group(answer))))
    }

    pub(in crate::account) fn lid_known(&self, person: &Jid, turn: &Turn<'_>) -> Result<Option<Jid>, Error> {
        Ok(turn.tx.people().lid_known(person)?)
    }

    pub(in crate::account) fn group_view(
        &self,
        group: &Jid,
        turn: &Turn<'_>,
    ) -> Result<Option<GroupView>, Error> {
        let Some(mut group) = turn.tx.groups().find(group)? else { return Ok(None) };
        if let Some(owner) = &group.owner {
            group.owner = Some(self.number_first(owner, turn)?);
        }
        let mut members = Vec::new();
        for member in turn.tx.groups().participants(&group.jid)? {
            let lid = self.lid_known(&member.jid, turn)?;
            members.push(GroupMember { jid: self.number_first(&member.jid, turn)?, lid, role: member.role });
        }
        Ok(Some(GroupView { group, members }))
    }

    fn view_of(&self, info: &GroupInfo, turn: &Turn<'_>) -> Result<GroupView, Error> {
        let owner = match &info.creator {
            Some(owner) => Some(self.number_first(owner, turn)?),
            None => None,
        };
        let mut members = Vec::new();
        for member in &info.members {
            // What the server does not tell of somebody here may be known from elsewhere.
            if let Some(alt) = &member.alt {
                turn.tx.people().learn(&member.jid, alt)?;
            }
            let lid = self.lid_known(&member.jid, turn)?;
            members.push(GroupMember {
                jid: self.number_first(&member.jid, turn)?,
                lid,
                role: role(member.rank),
            });
        }
        let group = Group { description_id: None, owner, ..self.group_of(info, turn.now) };
        Ok(GroupView { group, members })
    }
}
