//! What of history goes into the tables, and how: the same way as live traffic, but told to nobody, and as something that
//! was read long ago. A message that is there already stays what it is.

use std::{collections::HashSet, sync::Arc, time::Duration};

use prost::Message as _;

use super::HistoryItem;
use crate::{
    account::{
        Error, MAX_ID,
        changes::{clock_of, named},
        content::{self, Kind, Opened, Unwrapped, text_of},
        dispatch::{Account, Turn},
        early,
        events::Reported,
        receive::{file, fresh_uuid},
        sender_keys::in_chat,
        tokens::SaltFrom,
    },
    clock::Millis,
    proto::{
        self, Conversation, HistorySyncMsg, InlineContact, MessageContextInfo, PhoneNumberToLidMapping,
        WebMessageInfo, history_sync::Pushname,
    },
    store::{
        chats::Mute,
        history::Early,
        messages::{Chat, MessageKey, NewMessage, Progress},
        timers::ChatTimer,
    },
    wire::{Jid, Server},
};

/// `WebMessageInfo.StubType` REVOKE.
const REVOKED: i32 = 1;
/// Longest name that is kept.
const MAX_NAME: usize = 1024;
/// A message that is not older may be on its way here as well.
const MOMENTS: Duration = Duration::from_secs(3600);
/// Below this, a time in milliseconds would lie in 1973: it is one in seconds.
const FIRST_MILLIS: u64 = 100_000_000_000;

/// What was new.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    pub(super) chats: u64,
    pub(super) messages: u64,
}

/// The chat that messages of a slice belong to; a slice rarely has many.
#[derive(Default)]
struct Last {
    id: Option<Arc<str>>,
    chat: Option<Chat>,
}

/// The messages of a chat come newest first; put into the tables the other way round, those of one second keep their
/// order, and what is done to a message mostly comes behind it.
fn oldest_first(items: Vec<HistoryItem>) -> Vec<HistoryItem> {
    let mut items = items;
    let chat = |item: &HistoryItem| match item {
        HistoryItem::Message { chat, .. } => Some(chat.clone()),
        _ => None,
    };
    items.chunk_by_mut(|a, b| chat(a).is_some() && chat(a) == chat(b)).for_each(<[_]>::reverse);
    items
}

/// A name as it may be kept.
fn name(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty() && text.len() <= MAX_NAME)
}

fn person(text: Option<&str>) -> Option<Jid> {
    text?.parse::<Jid>().ok().filter(|jid| jid.is_user() && !jid.user().is_empty())
}

/// Whether chats of this kind are kept.
fn is_chat(jid: &Jid) -> bool {
    let known = jid.is_user() || jid.is_group() || matches!(jid.server(), Server::Broadcast | Server::Bot);
    known && !jid.user().is_empty()
}

impl Account {
    /// Takes pieces of history in. `whole`: chats and messages, too, not only who is who.
    pub(super) fn keep_history(
        &mut self,
        items: Vec<HistoryItem>,
        whole: bool,
        turn: &mut Turn<'_>,
    ) -> Result<Kept, Error> {
        let (mut kept, mut last, mut left_out) = (Kept::default(), Last::default(), 0_u32);
        for item in oldest_first(items) {
            match item {
                HistoryItem::Message { chat, bytes } if whole => {
                    if last.id.as_ref() != Some(&chat) {
                        let jid = chat.parse::<Jid>().ok().filter(is_chat);
                        let found = jid.map(|jid| turn.tx.messages().chat(&jid)).transpose()?;
                        last = Last { id: Some(chat), chat: found };
                    }
                    let info = proto::is_modest_as("wa.HistorySyncMsg", &bytes)
                        .then(|| HistorySyncMsg::decode(&*bytes).ok()?.message)
                        .flatten();
                    let (Some(chat), Some(info)) = (&last.chat, info) else {
                        left_out += 1;
                        continue;
                    };
                    kept.messages += u64::from(self.keep_past(chat, info, turn)?);
                }
                HistoryItem::Chat(bytes) => {
                    if let Ok(facts) = Conversation::decode(&*bytes) {
                        kept.chats += u64::from(self.keep_chat(facts, whole, turn)?);
                    }
                    // Two names of one person may just have become one chat.
                    last = Last::default();
                }
                HistoryItem::Status(bytes) if whole => {
                    let info = proto::is_modest_as("wa.WebMessageInfo", &bytes)
                        .then(|| WebMessageInfo::decode(&*bytes).ok())
                        .flatten();
                    if let Some(info) = info {
                        let chat = turn.tx.messages().chat(&Jid::status_broadcast())?;
                        kept.messages += u64::from(self.keep_past(&chat, info, turn)?);
                    }
                }
                HistoryItem::Name(bytes) => self.keep_name(&bytes, turn)?,
                HistoryItem::Mapping(bytes) => {
                    if let Ok(mapping) = PhoneNumberToLidMapping::decode(&*bytes) {
                        learn(mapping.pn_jid.as_deref(), mapping.lid_jid.as_deref(), turn)?;
                        last = Last::default();
                    }
                }
                HistoryItem::Contact(bytes) => keep_contact(&bytes, turn)?,
                HistoryItem::Salt(salt) => self.learn_nct_salt(&salt, SaltFrom::History, turn)?,
                HistoryItem::TooLarge => left_out += 1,
                HistoryItem::Message { .. } | HistoryItem::Status(_) => {}
            }
        }
        if left_out > 0 {
            tracing::info!(left_out, "messages of the history were left out: too large, or of no known chat");
        }
        Ok(kept)
    }

    fn keep_name(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Result<(), Error> {
        let Ok(said) = Pushname::decode(bytes) else { return Ok(()) };
        // A dash: the phone does not know.
        let told = name(said.pushname).filter(|name| name != "-");
        let (Some(who), Some(name)) = (person(said.id.as_deref()), told) else { return Ok(()) };
        if self.is_own(&who) {
            return self.learn_own_name(&name, turn);
        }
        Ok(turn.tx.people().set_push_name(&who, &name)?)
    }

    /// What the phone says of a chat, behind the messages of it; `true`: history tells of it the first time.
    fn keep_chat(&self, facts: Conversation, whole: bool, turn: &mut Turn<'_>) -> Result<bool, Error> {
        let id = facts.id.as_deref().and_then(|id| id.parse::<Jid>().ok()).filter(is_chat);
        let Some(jid) = id else { return Ok(false) };
        let other = if jid.is_lid() { &facts.pn_jid } else { &facts.lid_jid };
        learn(Some(&jid.to_wire()), other.as_deref(), turn)?;
        self.keep_tokens(&jid, &facts, turn)?;
        if !whole {
            return Ok(false);
        }
        let chat = turn.tx.messages().chat(&jid)?;
        let (history, chats) = (turn.tx.history(), turn.tx.chats());
        let first = history.tells_of(chat.id, turn.now)?;
        if let Some(name) = name(facts.display_name).or(name(facts.name)).or(name(facts.username)) {
            history.set_name(chat.id, &name)?;
        }
        let until = facts.last_msg_timestamp.max(facts.conversation_timestamp).map(Millis::from_secs);
        if first {
            // Later on, app state knows better.
            if facts.archived == Some(true) {
                chats.set_archived(chat.id, true)?;
            }
            if let Some(since) = facts.pinned.filter(|since| *since > 0) {
                chats.set_pinned(chat.id, Some(Millis::from_secs(u64::from(since))))?;
            }
            if facts.marked_as_unread == Some(true) {
                chats.set_marked_unread(chat.id, true)?;
            }
            let mute = match facts.mute_end_time.unwrap_or_default() {
                0 => Mute::Off,
                u64::MAX => Mute::Forever,
                secs @ ..FIRST_MILLIS => Mute::Until(Millis::from_secs(secs)),
                millis => Mute::Until(Millis(millis)),
            };
            if mute != Mute::Off {
                chats.set_muted(chat.id, mute)?;
            }
            let newest = chats.last_message(chat.id)?.map(|message| message.at);
            if let Some(until) = until.or(newest) {
                history.leave_unread(chat.id, facts.unread_count.unwrap_or_default(), until)?;
            }
        }
        let set_at = facts.ephemeral_setting_timestamp.and_then(|at| u64::try_from(at).ok());
        if let Some(seconds) = facts.ephemeral_expiration {
            let timer = ChatTimer { seconds, set_at: set_at.unwrap_or_default() };
            let known = turn.tx.timers().of(chat.id)?;
            if (timer.set_at, timer.seconds) > (known.set_at, 0) {
                turn.tx.timers().set(chat.id, timer)?;
            }
        }
        let more = match (facts.end_of_history_transfer_type, facts.end_of_history_transfer) {
            (Some(0 | 2), _) => Some(true),
            (Some(1 | 3), _) | (None, Some(true)) => Some(false),
            _ => None,
        };
        if let Some(more) = more {
            history.set_more(chat.id, more)?;
        }
        Ok(first)
    }

    /// A message of the past; `true`: it was not known.
    fn keep_past(&self, chat: &Chat, mut info: WebMessageInfo, turn: &mut Turn<'_>) -> Result<bool, Error> {
        let Some(own) = self.own_pn() else { return Ok(false) };
        let key = info.key.take().unwrap_or_default();
        let Some(wa_id) = key.id.filter(|id| !id.is_empty() && id.len() <= MAX_ID) else { return Ok(false) };
        let from_me = key.from_me.unwrap_or(false);
        let author = key.participant.or(info.participant.take());
        let author = person(author.as_deref()).map(|jid| jid.bare());
        let participant = match (in_chat(&chat.jid) && !from_me, author) {
            (true, None) => return Ok(false),
            (true, author) => author,
            (false, _) => None,
        };
        let sender = match &participant {
            Some(author) => author.clone(),
            None if from_me => own,
            None => chat.jid.clone(),
        };
        let key = MessageKey { chat: chat.id, wa_id, from_me, participant };
        if turn.tx.queue().lacks(&key)? {
            // It came as something that could not be read, and is no past to whoever was told so.
            let named = proto::MessageKey {
                remote_jid: Some(chat.jid.to_wire()),
                from_me: Some(from_me),
                id: Some(key.wa_id.clone()),
                participant: key.participant.as_ref().map(Jid::to_wire),
            };
            self.keep_resent(WebMessageInfo { key: Some(named), ..info.clone() }, turn)?;
        }
        if info.message_stub_type == Some(REVOKED) {
            if let Some((row, _)) = turn.tx.history().same(&key)? {
                turn.tx
                    .addons()
                    .delete(row, Millis::from_secs(info.message_timestamp.unwrap_or_default()))?;
                turn.tx.search().put(row, None)?;
            }
            return Ok(false);
        }
        let mut new = None;
        let row = match turn.tx.history().same(&key)? {
            Some((row, _)) => {
                self.came_after_its_edit(row, chat, &key, &sender, &info, turn)?;
                Some(row)
            }
            None => {
                new = self.store_past(chat, key, &sender, &mut info, turn)?;
                new
            }
        };
        if let Some(row) = row {
            self.keep_marks(row, chat, from_me, info, turn)?;
        }
        Ok(new.is_some())
    }

    /// Stores a message that is not known; its row, if there is anything to store.
    fn store_past(
        &self,
        chat: &Chat,
        key: MessageKey,
        sender: &Jid,
        info: &mut WebMessageInfo,
        turn: &mut Turn<'_>,
    ) -> Result<Option<i64>, Error> {
        let Some(bytes) = info.message.take().filter(|message| proto::is_modest(message)) else {
            return Ok(None);
        };
        let Some(Unwrapped { content, .. }) = content::unwrap(&bytes) else { return Ok(None) };
        if !content::has_content(&content) {
            return Ok(None);
        }
        let mut content = self.in_plain(content.into_owned(), chat, sender, turn)?;
        let secret = info.message_secret.take().filter(|secret| secret.len() == 32);
        if let (Some(secret), None) = (secret, content::secret(&content)) {
            let context = MessageContextInfo { message_secret: Some(secret), ..Default::default() };
            let around = proto::Message { message_context_info: Some(context), ..Default::default() };
            content.extend(around.encode_to_vec());
        }
        let mut message = NewMessage {
            uuid: fresh_uuid(turn),
            // The future is nobody's history.
            at: info.message_timestamp.map_or(turn.now, Millis::from_secs).min(turn.now),
            push_name: name(info.push_name.take()).filter(|_| !key.from_me),
            progress: if key.from_me { progress(info.status) } else { Progress::Pending },
            content,
            key,
        };
        if let (Some(name), false) = (&message.push_name, self.is_own(sender)) {
            turn.tx.people().suggest_push_name(sender, name)?;
        }
        let mut stands_in = false;
        match content::kind(&message.content) {
            // Keys and the like, which are of no use any more.
            Kind::Said if is_protocol(&message.content) => return Ok(None),
            Kind::Edit { key, content } => {
                let target = named(&key, chat, turn)?;
                if let (None, Some(id)) = (target, key.id.filter(|id| !id.is_empty() && id.len() <= MAX_ID)) {
                    // The phone may have nothing but what the message says now.
                    stands_in = true;
                    message.key.wa_id = id;
                    message.content = content;
                }
            }
            _ => {}
        }
        let Some(row) = turn.tx.messages().insert(&message)? else { return Ok(None) };
        file(row, &message.content, turn)?;
        self.apply_past(row, &Reported { message: &message, chat, sender }, turn)?;
        for early in turn.tx.history().take_early(chat.id, &message.key.wa_id)? {
            if let Some(held) = turn.tx.messages().by_row(early.message)? {
                self.apply_early(held, early.live, chat, turn)?;
            }
        }
        if !stands_in && message.at + MOMENTS > turn.now {
            turn.tx.history().is_untold(row)?;
        }
        if stands_in {
            let early = Early { message: row, live: false };
            turn.tx.history().comes_early(chat.id, &message.key.wa_id, early, turn.now)?;
        }
        Ok(Some(row))
    }

    /// A message that is known already; should its edit have stood in for it, it takes its place.
    fn came_after_its_edit(
        &self,
        row: i64,
        chat: &Chat,
        key: &MessageKey,
        sender: &Jid,
        info: &WebMessageInfo,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        for early in turn.tx.history().take_early(chat.id, &key.wa_id)? {
            let Some(known) = turn.tx.messages().by_row(early.message)? else { continue };
            if early.message != row {
                self.apply_early(known, early.live, chat, turn)?;
                continue;
            }
            let original = info.message.as_deref().filter(|message| proto::is_modest(message));
            let original = original.and_then(content::unwrap).map(|unwrapped| unwrapped.content.into_owned());
            if let Some(original) = original.filter(|content| content::has_content(content)) {
                let original = self.in_plain(original, chat, sender, turn)?;
                if !matches!(content::kind(&original), Kind::Said) || is_protocol(&original) {
                    continue;
                }
                turn.tx.addons().revise(row, &known.content, known.at)?;
                let at = info.message_timestamp.map_or(known.at, Millis::from_secs).min(known.at);
                turn.tx.history().restore(row, at, &original)?;
            }
        }
        Ok(())
    }

    /// What a message of the past does to another one, as live ones do, without a word.
    pub(in crate::account) fn apply_past(
        &self,
        row: i64,
        reported: &Reported<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Reported { message, chat, sender } = reported;
        let kind = content::kind(&message.content);
        let Some(key) = early::target(&kind) else { return Ok(()) };
        let Some(found) = named(key, chat, turn)? else {
            return self.waits_for(key, row, false, chat, turn);
        };
        match kind {
            Kind::Reaction { emoji, at_ms, .. } => {
                turn.tx.addons().react(found.id, sender, &emoji, clock_of(at_ms, message.at))?;
            }
            Kind::Edit { content, .. } if self.wrote(&found, reported, turn)? => {
                turn.tx.addons().revise(found.id, &content, message.at)?;
                turn.tx.search().put(found.id, text_of(&content).as_deref())?;
            }
            // In a group an admin may take anybody's message back.
            Kind::Revoke { .. } if chat.jid.is_group() || self.wrote(&found, reported, turn)? => {
                turn.tx.addons().delete(found.id, message.at)?;
                turn.tx.search().put(found.id, None)?;
            }
            Kind::Encrypted(add_on) => {
                let opened = self.open_add_on(&add_on, Some(&found), chat, sender, turn)?;
                if let Some(Opened::Vote { options, at_ms }) = opened {
                    turn.tx.addons().vote(found.id, sender, &options, clock_of(at_ms, message.at))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What the phone tells beside a message: how far it got, its star, reactions, votes.
    fn keep_marks(
        &self,
        row: i64,
        chat: &Chat,
        from_me: bool,
        info: WebMessageInfo,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let addons = turn.tx.addons();
        if info.starred == Some(true) {
            turn.tx.chats().set_starred(row, true)?;
        }
        if from_me {
            turn.tx.messages().advance(row, progress(info.status), None)?;
            for receipt in info.user_receipt {
                let Some(who) = person(receipt.user_jid.as_deref()) else { continue };
                let levels = [
                    (Progress::Delivered, receipt.receipt_timestamp),
                    (Progress::Read, receipt.read_timestamp),
                    (Progress::Played, receipt.played_timestamp),
                ];
                for (level, at) in levels {
                    if let Some(at) = at.and_then(|at| u64::try_from(at).ok()).filter(|at| *at > 0) {
                        addons.reached(row, &who.bare(), level, Millis::from_secs(at))?;
                    }
                }
            }
        }
        let at = Millis::from_secs(info.message_timestamp.unwrap_or_default());
        for reaction in info.reactions {
            if let Some(who) = self.named_by(reaction.key, chat) {
                let emoji = reaction.text.unwrap_or_default();
                addons.react(row, &who, &emoji, clock_of(reaction.sender_timestamp_ms, at))?;
            }
        }
        for update in info.poll_updates {
            let chosen = update.vote.unwrap_or_default().selected_options;
            let chosen: HashSet<[u8; 32]> =
                chosen.into_iter().filter_map(|hash| hash.try_into().ok()).collect();
            if let Some(who) = self.named_by(update.poll_update_message_key, chat) {
                let mut chosen: Vec<[u8; 32]> = chosen.into_iter().collect();
                chosen.sort_unstable();
                addons.vote(row, &who, &chosen, clock_of(update.sender_timestamp_ms, at))?;
            }
        }
        Ok(())
    }

    /// Who wrote a message of this chat, as the phone names it.
    fn named_by(&self, key: Option<proto::MessageKey>, chat: &Chat) -> Option<Jid> {
        let key = key?;
        if key.from_me == Some(true) {
            return self.own_pn();
        }
        match person(key.participant.as_deref()) {
            Some(author) => Some(author.bare()),
            None => Some(chat.jid.clone()).filter(|_| !in_chat(&chat.jid)),
        }
    }
}

/// As the phone numbers how far a message got; one that it has was sent at least.
fn progress(status: Option<i32>) -> Progress {
    match status {
        Some(0) => Progress::Failed,
        Some(3) => Progress::Delivered,
        Some(4) => Progress::Read,
        Some(5) => Progress::Played,
        _ => Progress::Sent,
    }
}

fn is_protocol(content: &[u8]) -> bool {
    proto::Message::decode(content).is_ok_and(|message| message.protocol_message.is_some())
}

/// Two names of one person.
fn learn(one: Option<&str>, other: Option<&str>, turn: &Turn<'_>) -> Result<(), Error> {
    if let (Some(one), Some(other)) = (person(one), person(other)) {
        turn.tx.people().learn(&one, &other)?;
    }
    Ok(())
}

/// Somebody in the phone's address book.
fn keep_contact(bytes: &[u8], turn: &Turn<'_>) -> Result<(), Error> {
    let Ok(contact) = InlineContact::decode(bytes) else { return Ok(()) };
    learn(contact.pn_jid.as_deref(), contact.lid_jid.as_deref(), turn)?;
    let who = person(contact.pn_jid.as_deref()).or_else(|| person(contact.lid_jid.as_deref()));
    if let (Some(who), Some(full)) = (who, name(contact.full_name)) {
        turn.tx.contacts().set_name(&who, &full, name(contact.first_name).as_deref())?;
    }
    Ok(())
}
