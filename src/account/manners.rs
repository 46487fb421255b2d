//! What the account shows of itself: what it has read, that it is writing, that it is there. Nothing of it is kept: a
//! connection that is lost takes it along, and nobody misses it.

use std::time::Duration;

use super::{
    Error, Recipient, SendError,
    dispatch::{Account, Answer, Turn},
};
use crate::{
    clock::Millis,
    stanza::{self, ChatState, Receipt, ReceiptKind},
    store::people::Number,
    wire::Jid,
};

/// Set while the account does not let others see what it has read (privacy setting `readreceipts`).
const QUIET_READER: &str = "quiet_reader";
/// Messages one read receipt names at most (whatsapp-rust's bound).
const MAX_READ: usize = 256;
/// Chat states that may wait for their end; beyond that the oldest is forgotten, and its receiver lets it end by itself.
const MAX_SHOWN: usize = 1024;

impl Account {
    /// Read receipts for received messages of one chat.
    pub(super) fn mark_read(
        &mut self,
        chat: Recipient,
        ids: &[String],
        turn: &mut Turn<'_>,
    ) -> Result<Answer, Error> {
        let to = match self.reachable(chat, turn)? {
            Ok(to) => to,
            Err(error) => return Ok(Answer::Refused(error)),
        };
        let Some(found) = turn.tx.messages().find_chat(&to)? else {
            return Ok(Answer::Refused(SendError::UnknownMessage(ids.first().cloned().unwrap_or_default())));
        };
        let mut newest = Millis::default();
        // In a group each receipt is for one author.
        let mut by_author: Vec<(Option<Jid>, Vec<String>)> = Vec::new();
        for id in ids {
            let received = turn.tx.messages().find_in_chat(found.id, id)?.filter(|m| !m.key.from_me);
            let Some(message) = received else {
                return Ok(Answer::Refused(SendError::UnknownMessage(id.clone())));
            };
            newest = newest.max(message.at);
            match by_author.iter_mut().find(|(author, _)| *author == message.key.participant) {
                Some((_, ids)) => ids.push(id.clone()),
                None => by_author.push((message.key.participant, vec![id.clone()])),
            }
        }
        turn.tx.chats().read_until(found.id, newest)?;
        // In groups everybody always sees who read (as WhatsApp's own clients have it).
        let quietly = to.is_user() && turn.tx.settings().get(QUIET_READER)?.is_some();
        let kind = if quietly { ReceiptKind::ReadSelf } else { ReceiptKind::Read };
        for (author, ids) in by_author {
            for ids in ids.chunks(MAX_READ) {
                let Some((first, more)) = ids.split_first() else { continue };
                let mut receipt = Receipt::new(first.clone(), to.clone(), kind.clone());
                receipt.t = Some(turn.now.secs());
                receipt.participant.clone_from(&author);
                receipt.more = more.to_vec();
                turn.send(&receipt.build_to());
            }
        }
        Ok(Answer::Done)
    }

    /// Privacy settings, as far as they matter here: whether others may see what was read.
    pub(super) fn learn_privacy(
        &self,
        settings: &[(String, String)],
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some((_, value)) = settings.iter().find(|(name, _)| name == "readreceipts") else {
            return Ok(());
        };
        match value.as_str() {
            "none" => turn.tx.settings().set(QUIET_READER, "1")?,
            _ => turn.tx.settings().remove(QUIET_READER)?,
        }
        Ok(())
    }

    pub(super) fn show_chat_state(
        &mut self,
        chat: Recipient,
        state: ChatState,
        lasting: Option<Duration>,
        turn: &mut Turn<'_>,
    ) -> Result<Answer, Error> {
        let to = match self.reachable(chat, turn)? {
            Ok(to) => to,
            Err(error) => return Ok(Answer::Refused(error)),
        };
        self.send_chat_state(&to, state, turn);
        if let Some(conn) = &mut self.conn {
            // The latest word on a chat is the one that counts.
            conn.shown.retain(|(chat, _)| *chat != to);
            if let Some(lasting) = lasting.filter(|_| state != ChatState::Paused) {
                if conn.shown.len() >= MAX_SHOWN {
                    conn.shown.remove(0);
                }
                conn.shown.push((to, turn.now + lasting));
            }
        }
        Ok(Answer::Done)
    }

    /// Pauses where a state was to last only so long.
    pub(super) fn end_chat_states(&mut self, turn: &mut Turn<'_>) {
        let Some(conn) = &mut self.conn else { return };
        let over: Vec<Jid> =
            conn.shown.extract_if(.., |(_, ends)| *ends <= turn.now).map(|(chat, _)| chat).collect();
        for chat in over {
            self.send_chat_state(&chat, ChatState::Paused, turn);
        }
    }

    fn send_chat_state(&self, to: &Jid, state: ChatState, turn: &mut Turn<'_>) {
        let own = if to.is_lid() { self.own_lid() } else { self.own_pn() };
        if let Some(own) = own {
            turn.send(&stanza::chat_state(&own, to, state));
        }
    }

    pub(super) fn show_presence(&mut self, available: bool, turn: &mut Turn<'_>) -> Answer {
        if !self.can_send() {
            return Answer::Refused(SendError::NotConnected(self.link.status));
        }
        self.available = available;
        let name = self.device.paired.as_ref().and_then(|paired| paired.push_name.clone());
        turn.send(&stanza::presence(available, name.as_deref()));
        Answer::Done
    }

    /// The name of a chat on the wire, now. What is shown only while it happens waits for no look-up: a number nobody
    /// has written to is taken as it is.
    fn reachable(&self, chat: Recipient, turn: &mut Turn<'_>) -> Result<Result<Jid, SendError>, Error> {
        if !self.can_send() {
            return Ok(Err(SendError::NotConnected(self.link.status)));
        }
        let given = chat.to_row();
        let jid = match chat.normalized() {
            Recipient::Jid(jid) if jid.is_group() => {
                let inside = !matches!(self.standing(&jid, turn)?, super::groups::Standing::Out);
                return Ok(if inside { Ok(jid) } else { Err(SendError::NotOnWhatsapp(given)) });
            }
            Recipient::Jid(jid) => jid,
            Recipient::Status(_) => return Ok(Err(SendError::NotOnWhatsapp(given))),
            Recipient::Number(digits) => match turn.tx.people().number(&digits, turn.now)? {
                Number::Registered(jid) => jid,
                Number::Unknown => Jid::pn(digits),
                Number::NotRegistered => return Ok(Err(SendError::NotOnWhatsapp(given))),
            },
        };
        Ok(self.target(&jid, turn)?.ok_or(SendError::NotOnWhatsapp(given)))
    }
}
