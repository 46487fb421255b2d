//! What comes before the message that it is about: reactions, votes, edits, deletions. It is kept with the message that
//! holds it until the other one comes, live, by a retry, or by history; then it does what it would have done.

use super::{
    Error, MAX_ID,
    changes::named,
    content::{self, Kind},
    dispatch::{Account, Turn},
    events::Reported,
    receive::file,
};
use crate::{
    proto,
    store::{
        history::Early,
        messages::{Chat, Message, NewMessage},
    },
};

/// The message that another one is about.
pub(super) fn target(kind: &Kind) -> Option<&proto::MessageKey> {
    match kind {
        Kind::Reaction { key, .. } | Kind::Edit { key, .. } | Kind::Revoke { key } => Some(key),
        Kind::Encrypted(add_on) => Some(&add_on.key),
        Kind::Said | Kind::Pin { .. } | Kind::Unpin { .. } | Kind::Timer => None,
    }
}

impl Account {
    /// A message has just come, live, and was told: it may be early, or others may have waited for it.
    pub(super) fn settle_early(
        &self,
        row: i64,
        reported: &Reported<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Reported { message, chat, .. } = reported;
        let kind = content::kind(&message.content);
        if let Some(key) = target(&kind)
            && named(key, chat, turn)?.is_none()
        {
            // What travelled openly has been told as what it is; nothing is told twice.
            let untold = matches!(kind, Kind::Encrypted(_));
            self.waits_for(key, row, untold, chat, turn)?;
        }
        for early in turn.tx.history().take_early(chat.id, &message.key.wa_id)? {
            if let Some(held) = turn.tx.messages().by_row(early.message)? {
                self.apply_early(held, early.live, chat, turn)?;
            }
        }
        Ok(())
    }

    /// Notes that a message is about one that has not come.
    pub(super) fn waits_for(
        &self,
        key: &proto::MessageKey,
        row: i64,
        live: bool,
        chat: &Chat,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(target) = key.id.as_deref().filter(|id| !id.is_empty() && id.len() <= MAX_ID) else {
            return Ok(());
        };
        Ok(turn.tx.history().comes_early(chat.id, target, Early { message: row, live }, turn.now)?)
    }

    /// A message that was there before the one that it is about, which is here now. `live`: it came live and could not be
    /// opened until now, so it is told.
    pub(super) fn apply_early(
        &self,
        early: Message,
        live: bool,
        chat: &Chat,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(own) = self.own_pn() else { return Ok(()) };
        let sender = match &early.key.participant {
            _ if early.key.from_me => own,
            Some(author) => author.clone(),
            None => chat.jid.clone(),
        };
        let sealed = matches!(content::kind(&early.content), Kind::Encrypted(_));
        let content = self.in_plain(early.content, chat, &sender, turn)?;
        if sealed && !matches!(content::kind(&content), Kind::Encrypted(_)) {
            turn.tx.history().restore(early.id, early.at, &content)?;
            turn.tx.chats().show(early.id)?;
            file(early.id, &content, turn)?;
        }
        let message = NewMessage {
            key: early.key,
            uuid: early.uuid,
            at: early.at,
            push_name: early.push_name,
            content,
            progress: early.progress,
        };
        let reported = Reported { message: &message, chat, sender: &sender };
        if live { self.report(&reported, turn) } else { self.apply_past(early.id, &reported, turn) }
    }
}
