//! Taking a send: the checks in the order of the contract, then the row with its final id.

use std::collections::BTreeSet;

use rand::CryptoRng;
use sha2::{Digest as _, Sha256};

use super::{
    super::content::{Build, Quote},
    readable,
};
use crate::{
    account::{
        Answer, Body, Error, Recipient, SendError, SendMessage, Sent, Status, Ticket, content,
        dispatch::{Account, Effect, Turn},
        groups::Standing,
        newsletters::is_newsletter,
    },
    clock::Millis,
    proto::MessageKey,
    store::{
        groups::Role,
        messages::{Message, Progress},
        people::Number,
        queue::Outgoing as Row,
    },
    wire::Jid,
};

/// How a send came.
#[derive(Clone, Copy)]
pub(in crate::account) enum Way<'a> {
    /// By itself; somebody waits for the answer.
    Asked(Ticket),
    /// As one of many: nothing waits for a number's look-up.
    Batch { id: &'a str, position: u32, kind: &'a str },
    /// Of the instance's own accord.
    Itself,
}

impl Account {
    pub(in crate::account) fn send_message(
        &mut self,
        ticket: Ticket,
        command: SendMessage,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let answer = match self.accept(Way::Asked(ticket), command, turn)? {
            Some(answer) => answer,
            // Parked until its number is looked up.
            None => return Ok(()),
        };
        let settled = match &answer {
            // Acknowledged long ago: nobody will say so again.
            Answer::Send(Ok(sent)) => sent.replayed && !self.waiting.contains_key(&sent.message_id),
            _ => false,
        };
        turn.effects.push(Effect::Answer(ticket, answer));
        if settled {
            turn.effects.push(Effect::Settled(ticket, Ok(())));
        }
        Ok(())
    }

    pub(in crate::account) fn accept(
        &mut self,
        way: Way<'_>,
        mut command: SendMessage,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Answer>, Error> {
        if let Way::Asked(ticket) = way
            && let Some(answer) = self.replay(ticket, &command, turn)?
        {
            return Ok(Some(answer));
        }
        let refused = |error| Ok(Some(Answer::Send(Err(error))));
        let status = self.link.status;
        let trying = status == Status::Offline || (status == Status::Pending && self.link.paired);
        let later = command.send_at.is_some() && self.link.paired;
        if status != Status::Connected && !trying && !later {
            return refused(SendError::NotConnected(status));
        }
        if trying && !command.respond_async && !later {
            return Ok(Some(Answer::Later(status)));
        }
        let given = command.recipient.to_row();
        command.recipient = command.recipient.normalized();
        let known = match &command.recipient {
            Recipient::Jid(jid) => Number::Registered(jid.clone()),
            Recipient::Status(_) => Number::Registered(Jid::status_broadcast()),
            Recipient::Number(digits) => turn.tx.people().number(digits, turn.now)?,
        };
        let with = match (&known, &command.recipient) {
            (Number::Registered(jid), _) => jid.clone(),
            (_, Recipient::Number(digits)) => Jid::pn(digits.as_str()),
            (_, Recipient::Jid(jid)) => jid.clone(),
            (_, Recipient::Status(_)) => Jid::status_broadcast(),
        };
        let quoted = match &command.reply_to {
            None => None,
            Some(id) => match self.find_in(&with, id, turn)?.filter(|m| readable(&m.content)) {
                Some(message) => Some(message),
                None => return refused(SendError::UnknownMessage(id.clone())),
            },
        };
        let target = match self.target_of(&command.body, &with, turn)? {
            Ok(target) => target,
            Err(id) => return refused(SendError::UnknownMessage(id)),
        };
        let forwarded = match &command.body {
            Body::Forward { id } => match turn.tx.messages().find_anywhere(id)? {
                Some(message) => Some(message),
                None => return refused(SendError::UnknownMessage(id.clone())),
            },
            _ => None,
        };
        let recipient = match known {
            Number::Registered(jid) if jid.is_status() => {
                command.recipient = match self.audience_of(command.recipient, turn)? {
                    Some(people) => Recipient::Status(people),
                    None => return refused(SendError::NobodyKnown),
                };
                command.recipient.clone()
            }
            Number::Registered(jid) if jid.is_group() => match self.standing(&jid, turn)? {
                Standing::Out => return refused(SendError::NotOnWhatsapp(given)),
                Standing::In => Recipient::Jid(jid),
                Standing::Unknown => match way {
                    Way::Asked(ticket) if self.can_send() => {
                        self.look_up_group(ticket, &jid, command, turn);
                        return Ok(None);
                    }
                    _ => Recipient::Jid(jid),
                },
            },
            Number::Registered(jid) if is_newsletter(&jid) => Recipient::Jid(jid),
            Number::Registered(jid) if !jid.is_user() => return refused(SendError::NotOnWhatsapp(given)),
            Number::Registered(jid) => Recipient::Jid(jid),
            Number::NotRegistered => return refused(SendError::NotOnWhatsapp(given)),
            Number::Unknown => match way {
                Way::Asked(ticket) if self.can_send() => {
                    self.look_up(ticket, command, turn);
                    return Ok(None);
                }
                _ => command.recipient.clone(),
            },
        };
        let vote = match &command.body {
            Body::Vote { id, options } => match self.seal_vote(id, options, &with, turn)? {
                Some(vote) => Some(vote),
                None => return refused(SendError::UnknownMessage(id.clone())),
            },
            _ => None,
        };
        let mut secret = [0; 32];
        turn.rng.fill_bytes(&mut secret);
        let forwarded = match forwarded {
            Some(other) => Some(forward(&other, secret, turn)?),
            None => None,
        };
        if let Some(Err(why)) = forwarded {
            return refused(SendError::NotForwardable(why));
        }
        if command.dry {
            return Ok(Some(Answer::Done));
        }
        let quote = match &quoted {
            None => None,
            Some(message) => {
                let author = self.author_of(message, &with, turn)?;
                Some(Quote { id: message.key.wa_id.clone(), author, content: &message.content })
            }
        };
        let content = match forwarded {
            Some(Ok(forwarded)) => forwarded,
            _ => content::build(&Build {
                body: &command.body,
                quote: quote.as_ref(),
                mentions: &self.mentioned(&command.mentions, &with, turn)?,
                target,
                vote,
                at_ms: command.send_at.unwrap_or(turn.now).0,
                secret,
            }),
        };
        if let Some(due) = command.send_at {
            return Ok(Some(Answer::Send(self.schedule(way, &recipient, &content, &command, due, turn)?)));
        }
        let content = content::timed(content, self.timer_for(&with, turn)?);
        // It waits until first contacts are allowed again: nobody waits for that.
        if self.standing.holds_first_contacts() && self.is_first_contact(&with, turn)? {
            command.respond_async = true;
        }
        let sent = self.enqueue(&recipient, &content, &command, turn)?;
        if let (Way::Asked(ticket), false) = (way, command.respond_async) {
            self.waiting.entry(sent.message_id.clone()).or_default().push(ticket);
        }
        Ok(Some(Answer::Send(Ok(sent))))
    }

    /// An id that no message had before.
    pub(in crate::account) fn fresh_message_id(&self, turn: &mut Turn<'_>) -> String {
        let own = self.own_pn();
        message_id(own.as_ref().map_or("", Jid::user), turn.now, turn.rng)
    }

    /// Whom a status is for: as given, else everybody there is a chat or a name of. `None`: nobody.
    fn audience_of(&self, recipient: Recipient, turn: &Turn<'_>) -> Result<Option<Vec<Jid>>, Error> {
        let Recipient::Status(mut people) = recipient else { return Ok(None) };
        if people.is_empty() {
            people = turn.tx.groups().everybody()?;
        }
        let mut named = BTreeSet::new();
        for person in people {
            let person = Recipient::Jid(person).known_as(turn.tx, turn.now)?;
            if !self.is_own(&person) {
                named.extend(self.target(&person, turn)?);
            }
        }
        Ok((!named.is_empty()).then(|| named.into_iter().collect()))
    }

    /// The author of a stored message, under the name by which the chat knows people.
    fn author_of(&self, message: &Message, with: &Jid, turn: &Turn<'_>) -> Result<Jid, Error> {
        let author = match (&message.key.participant, message.key.from_me) {
            (Some(author), _) => Some(author.clone()),
            (None, true) => self.own_pn(),
            (None, false) => Some(with.clone()),
        };
        self.named_in(&author.unwrap_or_else(|| with.clone()), with, turn)
    }

    /// A person as a chat calls it: by LID where that is known, but in a group by number if the group does so.
    fn named_in(&self, person: &Jid, with: &Jid, turn: &Turn<'_>) -> Result<Jid, Error> {
        let person = &Recipient::Jid(person.clone()).known_as(turn.tx, turn.now)?;
        let by_number = with.is_group() && turn.tx.groups().find(with)?.is_some_and(|group| !group.by_lid);
        if by_number {
            return self.number_first(person, turn);
        }
        Ok(turn.tx.people().signal_address(&person.bare())?)
    }

    fn mentioned(&self, people: &[Jid], with: &Jid, turn: &Turn<'_>) -> Result<Vec<Jid>, Error> {
        if !with.is_group() {
            return Ok(people.to_vec());
        }
        people.iter().map(|person| self.named_in(person, with, turn)).collect()
    }

    fn find_in(&self, with: &Jid, id: &str, turn: &Turn<'_>) -> Result<Option<Message>, Error> {
        let Some(chat) = turn.tx.messages().find_chat(with)? else { return Ok(None) };
        Ok(turn.tx.messages().find_in_chat(chat.id, id)?)
    }

    /// The key of the message that this one is about, if it is about one. `Err`: the id of one that must be known and
    /// is not. What the account edits must be its own; what it takes back, too, except in a group that it manages.
    fn target_of(
        &self,
        body: &Body,
        with: &Jid,
        turn: &Turn<'_>,
    ) -> Result<Result<Option<MessageKey>, String>, Error> {
        let (id, unknown) = match body {
            Body::Reaction { target, .. } => (&target.id, Some(target)),
            Body::Edit { id, .. } | Body::Revoke { id } | Body::Vote { id, .. } => (id, None),
            Body::Pin { id, .. } => return self.pin_target(id, with, turn),
            Body::Text(_)
            | Body::Linked { .. }
            | Body::StatusText { .. }
            | Body::Location { .. }
            | Body::Contacts(_)
            | Body::Poll { .. }
            | Body::Forward { .. }
            | Body::GroupInvite { .. }
            | Body::Media(_) => {
                return Ok(Ok(None));
            }
        };
        let found = self.find_in(with, id, turn)?;
        let vote = matches!(body, Body::Vote { .. });
        let (from_me, author) = match (found, unknown) {
            (Some(message), Some(_)) => (message.key.from_me, Some(self.author_of(&message, with, turn)?)),
            (Some(message), None) if vote => {
                (message.key.from_me, Some(self.author_of(&message, with, turn)?))
            }
            (Some(message), None) if message.key.from_me => (true, None),
            // Who manages a group takes back what anybody wrote in it.
            (Some(message), None) if matches!(body, Body::Revoke { .. }) && self.manages(with, turn)? => {
                (false, Some(self.author_of(&message, with, turn)?))
            }
            (None, Some(given)) if !with.is_group() => (given.from_me, None),
            (None, Some(given)) => match &given.participant {
                Some(author) => (self.is_own(author), Some(self.named_in(author, with, turn)?)),
                None => return Ok(Err(id.clone())),
            },
            _ => return Ok(Err(id.clone())),
        };
        Ok(Ok(Some(MessageKey {
            remote_jid: Some(turn.tx.people().signal_address(&with.bare())?.to_wire()),
            from_me: Some(from_me),
            id: Some(id.clone()),
            participant: author.filter(|_| with.is_group()).map(|author| author.bare().to_wire()),
        })))
    }

    /// Whether the account is an admin of a group.
    fn manages(&self, group: &Jid, turn: &Turn<'_>) -> Result<bool, Error> {
        let Some(own) = self.own_pn().filter(|_| group.is_group()) else { return Ok(false) };
        let member = turn.tx.groups().participant(group, &own)?;
        Ok(member.is_some_and(|member| member.role != Role::Member))
    }

    /// A pin is about a message that both ends have, of whoever's.
    fn pin_target(
        &self,
        id: &str,
        with: &Jid,
        turn: &Turn<'_>,
    ) -> Result<Result<Option<MessageKey>, String>, Error> {
        let Some(message) = self.find_in(with, id, turn)? else { return Ok(Err(id.to_owned())) };
        let author = message.key.participant.filter(|_| !message.key.from_me);
        Ok(Ok(Some(MessageKey {
            remote_jid: Some(turn.tx.people().signal_address(&with.bare())?.to_wire()),
            from_me: Some(message.key.from_me),
            id: Some(id.to_owned()),
            participant: author.map(|author| author.bare().to_wire()),
        })))
    }

    /// Nothing has left yet, and everything that will is here: the id, the content, the key of a safe retry.
    fn enqueue(
        &mut self,
        recipient: &Recipient,
        content: &[u8],
        command: &SendMessage,
        turn: &mut Turn<'_>,
    ) -> Result<Sent, Error> {
        let id = self.fresh_message_id(turn);
        let row = recipient.to_row();
        let message = match recipient {
            Recipient::Number(_) => None,
            Recipient::Jid(_) | Recipient::Status(_) => {
                if let Recipient::Status(people) = recipient {
                    turn.tx.groups().set_audience(&id, people)?;
                }
                let jid = row.parse::<Jid>().unwrap_or_else(|_| Jid::status_broadcast());
                let row = Row {
                    seq: 0,
                    wa_id: id.clone(),
                    recipient: row.clone(),
                    message: None,
                    at: turn.now,
                    content: content.to_vec(),
                    stanza: None,
                    peer: false,
                };
                Some(self.store_message(&row, &jid, turn)?)
            }
        };
        turn.tx.queue().push(&id, &row, message, content, turn.now)?;
        if let Some(key) = &command.idempotency {
            turn.tx.idempotency().bind(key, &id, command.respond_async, turn.now)?;
        }
        Ok(Sent {
            message_id: id,
            timestamp: turn.now,
            queued: command.respond_async,
            scheduled_at: None,
            replayed: false,
        })
    }

    /// The answer that the same key got before.
    fn replay(
        &mut self,
        ticket: Ticket,
        command: &SendMessage,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Answer>, Error> {
        let Some(key) = &command.idempotency else { return Ok(None) };
        let Some(bound) = turn.tx.idempotency().find(key, turn.now)? else { return Ok(None) };
        if bound.body_hash != key.body_hash {
            return Ok(Some(Answer::Send(Err(SendError::IdempotencyConflict))));
        }
        let message = turn.tx.messages().find_own(&bound.message_id)?;
        let queued = turn.tx.queue().find(&bound.message_id)?.is_some();
        let scheduled_at = turn.tx.schedule().find(&bound.message_id)?.map(|scheduled| scheduled.due);
        let failed = match &message {
            Some(message) => message.progress == Progress::Failed,
            None => !queued,
        };
        if failed && !bound.queued {
            let code = message.and_then(|message| message.refused).unwrap_or(404);
            return Ok(Some(Answer::Send(Err(SendError::Refused {
                code,
                message_id: bound.message_id,
                replayed: true,
            }))));
        }
        if queued && !bound.queued {
            self.waiting.entry(bound.message_id.clone()).or_default().push(ticket);
        }
        Ok(Some(Answer::Send(Ok(Sent {
            message_id: bound.message_id,
            timestamp: bound.at,
            queued: bound.queued,
            scheduled_at,
            replayed: true,
        }))))
    }
}

/// What is forwarded is what the message says now.
fn forward(
    other: &Message,
    secret: [u8; 32],
    turn: &Turn<'_>,
) -> Result<Result<Vec<u8>, &'static str>, Error> {
    let addons = turn.tx.addons();
    if addons.deleted_at(other.id)?.is_some() {
        return Ok(Err("A message that was deleted cannot be forwarded."));
    }
    let edited = !addons.revisions(other.id)?.is_empty();
    let says = if edited { content::text_of(&addons.current(other)?) } else { None };
    Ok(content::forward(&other.content, says.as_deref(), other.key.from_me, secret))
}

/// `3EB0` and 18 upper-case hex digits: SHA-256 over the time in seconds (u64, big-endian), `<own number>@c.us` and
/// 16 random bytes, as web companions make them.
pub(in crate::account) fn message_id(own: &str, now: Millis, rng: &mut dyn CryptoRng) -> String {
    let mut random = [0; 16];
    rng.fill_bytes(&mut random);
    message_id_from(own, now, &random)
}

fn message_id_from(own: &str, now: Millis, random: &[u8; 16]) -> String {
    let mut sha = Sha256::new();
    sha.update(now.secs().to_be_bytes());
    sha.update(own.as_bytes());
    sha.update(b"@c.us");
    sha.update(random);
    let hash: [u8; 32] = sha.finalize().into();
    let (head, _) = hash.split_at(9);
    format!("3EB0{}", hex::encode_upper(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vector computed independently from the description of whatsmeow's and whatsapp-rust's generators.
    #[test]
    fn a_message_id_is_the_one_that_other_companions_would_make() {
        let random = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let id = message_id_from("5511999999999", Millis::from_secs(1_700_000_000), &random);
        assert_eq!(id, "3EB0CF074BD25C018553A2");
    }
}
