//! What a message does to an earlier one: reactions, edits, deletions, votes. Kept beside the message that they are
//! about, and told as what they are. What somebody may not do to a message is not believed.

use std::collections::HashSet;

use prost::Message as _;
use serde_json::Map;

use super::{
    Error,
    content::{self, Encrypted, Kind, Opened, text_of},
    dispatch::{Account, Turn},
    events::Reported,
};
use crate::{
    clock::Millis,
    crypto::addon::{AddOn, Binding, option_hash},
    proto::{
        self,
        message::{PollEncValue, PollVoteMessage},
    },
    store::messages::{Chat, Message},
    wire::Jid,
};

impl Account {
    /// Keeps what a message does, and reports it.
    pub(super) fn report(&self, reported: &Reported<'_>, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Reported { message, chat, sender } = reported;
        match content::kind(&message.content) {
            Kind::Said => {
                self.unarchive(chat, turn)?;
                self.report_message(reported, turn)
            }
            Kind::Reaction { key, emoji, at_ms } => {
                let found = named(&key, chat, turn)?;
                if let Some(found) = &found {
                    turn.tx.addons().react(found.id, sender, &emoji, clock_of(at_ms, message.at))?;
                }
                self.report_reaction(reported, &key, found.as_ref(), &emoji, at_ms, turn)
            }
            Kind::Edit { key, content } => {
                let found = named(&key, chat, turn)?;
                if let Some(found) = &found {
                    if !self.wrote(found, reported, turn)? {
                        tracing::warn!("somebody edited what somebody else wrote");
                        return Ok(());
                    }
                    turn.tx.addons().revise(found.id, &content, message.at)?;
                    turn.tx.search().put(found.id, text_of(&content).as_deref())?;
                }
                let text = text_of(&content);
                self.report_change("message.edited", reported, &key, found.as_ref(), text.as_deref(), turn)
            }
            Kind::Revoke { key } => {
                let found = named(&key, chat, turn)?;
                if let Some(found) = &found {
                    // In a group an admin may take anybody's message back; the server has checked that.
                    if !chat.jid.is_group() && !self.wrote(found, reported, turn)? {
                        tracing::warn!("somebody deleted what somebody else wrote");
                        return Ok(());
                    }
                    turn.tx.addons().delete(found.id, message.at)?;
                    turn.tx.search().put(found.id, None)?;
                }
                self.report_change("message.deleted", reported, &key, found.as_ref(), None, turn)
            }
            Kind::Pin { key, seconds } => {
                let found = named(&key, chat, turn)?;
                self.report_pin(reported, &key, found.as_ref(), Some(seconds), turn)
            }
            Kind::Unpin { key } => {
                let found = named(&key, chat, turn)?;
                self.report_pin(reported, &key, found.as_ref(), None, turn)
            }
            // Told where it is learnt, if it is news.
            Kind::Timer => Ok(()),
            Kind::Encrypted(add_on) => self.report_encrypted(reported, &add_on, turn),
        }
    }

    /// Whether the sender of a message wrote that other one, too.
    fn wrote(&self, other: &Message, reported: &Reported<'_>, turn: &Turn<'_>) -> Result<bool, Error> {
        if other.key.from_me || reported.message.key.from_me {
            return Ok(other.key.from_me == reported.message.key.from_me);
        }
        let Some(author) = &other.key.participant else { return Ok(true) };
        let people = turn.tx.people();
        Ok(people.signal_address(&author.bare())? == people.signal_address(&reported.sender.bare())?)
    }

    /// A message in which something is encrypted that also travels openly, as if it had; any other as it is.
    pub(super) fn in_plain(
        &self,
        content: Vec<u8>,
        chat: &Chat,
        sender: &Jid,
        turn: &Turn<'_>,
    ) -> Result<Vec<u8>, Error> {
        let Some(add_on) = Encrypted::of(&content) else { return Ok(content) };
        let target = named(&add_on.key, chat, turn)?;
        Ok(match self.open_add_on(&add_on, target.as_ref(), chat, sender, turn)? {
            Some(Opened::Plain(plain)) => plain,
            _ => content,
        })
    }

    /// The names are tried in every combination: which one the other side knew somebody by is not told.
    fn open_add_on(
        &self,
        add_on: &Encrypted,
        target: Option<&Message>,
        chat: &Chat,
        sender: &Jid,
        turn: &Turn<'_>,
    ) -> Result<Option<Opened>, Error> {
        let Some(target) = target else { return Ok(None) };
        let Some(secret) = content::secret(&target.content) else { return Ok(None) };
        let own = self.own_pn();
        let author = match (&target.key.participant, own) {
            (_, Some(own)) if target.key.from_me => own,
            (Some(participant), _) => participant.bare(),
            (None, _) => chat.jid.clone(),
        };
        for author in self.names(&author, turn)? {
            for modifier in self.names(sender, turn)? {
                let binding =
                    Binding { secret: &secret, id: &target.key.wa_id, author: &author, modifier: &modifier };
                if let Some(opened) = add_on.open(&binding) {
                    return Ok(Some(opened));
                }
            }
        }
        Ok(None)
    }

    /// A vote in a poll of this chat; `None` if there is no such poll, or its secret never came.
    pub(super) fn seal_vote(
        &self,
        poll: &str,
        options: &[String],
        chat: &Jid,
        turn: &mut Turn<'_>,
    ) -> Result<Option<PollEncValue>, Error> {
        let Some(chat) = turn.tx.messages().find_chat(chat)? else { return Ok(None) };
        let Some(target) = turn.tx.messages().find_in_chat(chat.id, poll)? else { return Ok(None) };
        let secret = content::secret(&target.content).filter(|_| content::poll_of(&target.content).is_some());
        let (Some(secret), Some(own)) = (secret, self.own_pn()) else { return Ok(None) };
        let author = match &target.key.participant {
            _ if target.key.from_me => turn.tx.people().signal_address(&chat.jid)?,
            Some(participant) => turn.tx.people().signal_address(&participant.bare())?,
            None => turn.tx.people().signal_address(&chat.jid)?,
        };
        // Both names in one namespace: the one in which the poll's author is known here.
        let own = if author.is_lid() { self.own_lid().unwrap_or(own) } else { own };
        let author = if target.key.from_me { own.clone() } else { author };
        let vote = PollVoteMessage {
            selected_options: options.iter().map(|name| option_hash(name).to_vec()).collect(),
        };
        let mut iv = [0; 12];
        turn.rng.fill_bytes(&mut iv);
        let (author, modifier) = (author.to_wire(), own.to_wire());
        let binding = Binding { secret: &secret, id: poll, author: &author, modifier: &modifier };
        Ok(Some(PollEncValue {
            enc_payload: Some(binding.seal(AddOn::PollVote, iv, &vote.encode_to_vec())),
            enc_iv: Some(iv.to_vec()),
        }))
    }

    /// The names of a person, the hidden identity first.
    fn names(&self, person: &Jid, turn: &Turn<'_>) -> Result<Vec<String>, Error> {
        let person = person.bare();
        let other = match (self.own_pn(), self.own_lid()) {
            (Some(pn), Some(lid)) if pn == person => Some(lid),
            (Some(pn), Some(lid)) if lid == person => Some(pn),
            _ => turn.tx.people().other_name(&person)?,
        };
        let mut names: Vec<Jid> = [Some(person), other].into_iter().flatten().collect();
        names.sort_by_key(|name| !name.is_lid());
        Ok(names.iter().map(Jid::to_wire).collect())
    }

    /// A vote or an answer to an event.
    fn report_encrypted(
        &self,
        reported: &Reported<'_>,
        add_on: &Encrypted,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Reported { message, chat, sender } = reported;
        let target = named(&add_on.key, chat, turn)?;
        let opened = self.open_add_on(add_on, target.as_ref(), chat, sender, turn)?;
        match (opened, target) {
            (Some(Opened::Vote { options, at_ms }), Some(poll)) => {
                let at = clock_of(at_ms, message.at);
                if !turn.tx.addons().vote(poll.id, sender, &options, at)? {
                    return Ok(());
                }
                // Each once: a poll may name an option twice, a vote choose one twice.
                let mut wanted: HashSet<[u8; 32]> = options.into_iter().collect();
                let all = content::poll_of(&poll.content).unwrap_or_default().options;
                let names = all.into_iter().filter_map(|option| option.option_name);
                let chosen: Vec<String> = names.filter(|name| wanted.remove(&option_hash(name))).collect();
                let what = Map::from_iter([("options".to_owned(), chosen.into())]);
                self.report_opened("poll.vote", reported, &poll, ("vote", what), turn)
            }
            (Some(Opened::EventResponse { response, guests }), Some(event)) => {
                let response = match response {
                    1 => "going",
                    2 => "not_going",
                    3 => "maybe",
                    _ => "unknown",
                };
                let what = Map::from_iter([
                    ("response".to_owned(), response.into()),
                    ("extra_guests".to_owned(), guests.into()),
                ]);
                self.report_opened("event.response", reported, &event, ("event_response", what), turn)
            }
            // Of a message that is not known here, or that came without its secret. Kept as it came.
            _ => {
                let reason = "missing_message_secret";
                self.report_undecryptable(&message.key, chat, sender, reason, message.at, turn)
            }
        }
    }
}

/// The message of the chat that a key names, whoever's point of view the key was written from.
fn named(key: &proto::MessageKey, chat: &Chat, turn: &Turn<'_>) -> Result<Option<Message>, Error> {
    let Some(id) = &key.id else { return Ok(None) };
    Ok(turn.tx.messages().find_in_chat(chat.id, id)?)
}

/// A time by somebody else's clock; the message's own where it is missing.
fn clock_of(at_ms: Option<i64>, message: Millis) -> Millis {
    at_ms.and_then(|ms| u64::try_from(ms).ok()).map_or(message, Millis)
}
