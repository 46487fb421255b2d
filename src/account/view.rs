//! Stored messages as readers of the API see them: the platform's `incoming` form, and beside it what happened since.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::{
    content::{poll_of, text_of},
    events::{Posted, incoming},
};
use crate::{
    clock::Millis,
    crypto::addon::option_hash,
    store::{
        Error, Tx,
        addons::Vote,
        device::Paired,
        messages::{Chat, Message, Progress},
    },
    wire::Jid,
};

/// Renders what one transaction sees.
pub struct Viewer<'t> {
    pub(super) tx: &'t Tx<'t>,
    own: Option<Paired>,
    public_url: &'t str,
}

impl<'t> Viewer<'t> {
    /// `public_url`: base of links to this instance, without a slash at the end.
    pub fn new(tx: &'t Tx<'t>, public_url: &'t str) -> Result<Self, Error> {
        let own = tx.device().load()?.and_then(|device| device.paired);
        Ok(Self { tx, own, public_url })
    }

    /// A message with its status per recipient, reactions and edits. Times are RFC 3339.
    pub fn message(&self, message: &Message) -> Result<Map<String, Value>, Error> {
        let Some(chat) = self.tx.messages().chat_by_id(message.key.chat)? else { return Ok(Map::new()) };
        let sender = self.sender(message, &chat);
        let author = self.number_first(&sender)?;
        let lid = self.tx.people().lid_known(&sender)?;
        let own_name = self.own.as_ref().and_then(|own| own.push_name.as_deref());
        let posted = Posted {
            key: &message.key,
            chat: &chat,
            author: &author,
            lid: lid.as_ref(),
            at: message.at,
            push_name: if message.key.from_me { own_name } else { message.push_name.as_deref() },
            content: &message.content,
        };
        let Value::Object(mut view) = incoming(&posted, self.public_url) else { return Ok(Map::new()) };
        let addons = self.tx.addons();
        view.insert("message_id".into(), message.uuid.clone().into());
        view.insert("timestamp".into(), message.at.rfc3339().into());
        view.insert("content".into(), text_of(&addons.current(message)?).into());
        if message.key.from_me {
            view.insert("status".into(), message.progress.as_str().into());
            if let Some(code) = message.refused {
                view.insert("whatsapp_code".into(), code.into());
            }
            view.insert("recipients".into(), self.recipients(message)?);
        }
        let reactions = addons.reactions(message.id)?;
        let reactions = reactions.iter().map(|one| {
            let mut reaction = self.person(&one.author)?;
            reaction.insert("emoji".into(), one.emoji.clone().into());
            reaction.insert("timestamp".into(), one.at.rfc3339().into());
            Ok(Value::Object(reaction))
        });
        view.insert("reactions".into(), reactions.collect::<Result<Vec<_>, Error>>()?.into());
        let edits = addons.revisions(message.id)?;
        let edits = edits
            .iter()
            .map(|edit| json!({ "content": text_of(&edit.content), "timestamp": edit.at.rfc3339() }));
        view.insert("edits".into(), edits.collect());
        let (starred, _) = self.tx.chats().marks(message.id)?;
        view.insert("starred".into(), starred.into());
        view.insert("labels".into(), self.tx.labels().of_message(message.id)?.into());
        view.insert("deleted_at".into(), addons.deleted_at(message.id)?.map(Millis::rfc3339).into());
        Ok(view)
    }

    /// The tally of a poll; `None`: the message is none.
    pub fn poll(&self, message: &Message) -> Result<Option<Value>, Error> {
        let Some(poll) = poll_of(&message.content) else { return Ok(None) };
        let votes = self.tx.addons().votes(message.id)?;
        let mut chosen: HashMap<[u8; 32], Vec<&Vote>> = HashMap::new();
        for vote in &votes {
            for option in vote.options.iter().collect::<HashSet<_>>() {
                chosen.entry(*option).or_default().push(vote);
            }
        }
        let (mut options, mut listed) = (Vec::new(), HashSet::new());
        for name in poll.options.into_iter().filter_map(|option| option.option_name) {
            let hash = option_hash(&name);
            // Two options of one name cannot be told apart.
            if !listed.insert(hash) {
                continue;
            }
            let voters = chosen.remove(&hash).unwrap_or_default();
            let voters = voters.into_iter().map(|vote| {
                let mut voter = self.person(&vote.voter)?;
                voter.insert("timestamp".into(), vote.at.rfc3339().into());
                Ok(Value::Object(voter))
            });
            let voters = voters.collect::<Result<Vec<_>, Error>>()?;
            options.push(json!({ "name": name, "votes": voters.len(), "voters": voters }));
        }
        Ok(Some(json!({
            "message_id": message.key.wa_id,
            "question": poll.name,
            "multiple": poll.selectable_options_count.unwrap_or(0) != 1,
            "voters": votes.len(),
            "options": options,
            "timestamp": message.at.rfc3339(),
        })))
    }

    fn sender(&self, message: &Message, chat: &Chat) -> Jid {
        match (&message.key.participant, &self.own) {
            (_, Some(own)) if message.key.from_me => own.jid.bare(),
            (Some(participant), _) => participant.clone(),
            (None, _) => chat.jid.clone(),
        }
    }

    fn number_first(&self, person: &Jid) -> Result<Jid, Error> {
        self.tx.people().number_first(person)
    }

    /// Both names of somebody, as far as they are known.
    pub(super) fn person(&self, who: &Jid) -> Result<Map<String, Value>, Error> {
        let own = self
            .own
            .as_ref()
            .filter(|own| own.jid.same_user(who) || own.lid.as_ref().is_some_and(|lid| lid.same_user(who)));
        let (pn, lid) = match own {
            Some(own) => (Some(own.jid.bare()), own.lid.as_ref().map(Jid::bare)),
            None => {
                let known = self.number_first(who)?;
                (Some(known).filter(Jid::is_pn), self.tx.people().lid_known(who)?)
            }
        };
        let jid = pn.as_ref().or(lid.as_ref()).unwrap_or(who).to_wire();
        Ok(Map::from_iter([
            ("jid".to_owned(), jid.into()),
            ("lid".to_owned(), lid.map(|lid| lid.to_wire()).into()),
            ("phone".to_owned(), pn.map(|pn| pn.user().to_owned()).into()),
            ("from_me".to_owned(), own.is_some().into()),
        ]))
    }

    /// Whom a message of the account reached, and how far. A level implies those below it.
    fn recipients(&self, message: &Message) -> Result<Value, Error> {
        let mut recipients: Vec<(Jid, Map<String, Value>, Progress)> = Vec::new();
        for reached in self.tx.addons().receipts(message.id)? {
            let name = match reached.level {
                Progress::Read => "read_at",
                Progress::Played => "played_at",
                _ => "delivered_at",
            };
            let at = Value::from(reached.at.rfc3339());
            let person = self.number_first(&reached.person)?;
            if let Some((_, entry, level)) = recipients.iter_mut().find(|(who, ..)| *who == person) {
                entry.insert(name.into(), at);
                *level = (*level).max(reached.level);
                continue;
            }
            let mut entry = self.person(&reached.person)?;
            entry.remove("from_me");
            entry.insert(name.into(), at);
            recipients.push((person, entry, reached.level));
        }
        let recipients = recipients.into_iter().map(|(_, mut entry, level)| {
            entry.insert("status".into(), level.as_str().into());
            Value::Object(entry)
        });
        Ok(recipients.collect())
    }
}
