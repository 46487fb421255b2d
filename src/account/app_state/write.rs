//! Changes of ours: each is a row until the server has it. They go up in patches, one collection at a time, on top of
//! what the other devices have put there; what came in between is taken first, and the patch made anew.

use std::collections::{BTreeSet, HashSet};

use prost::Message as _;

use super::{AccountSetting, LabelChange, Stored};
use crate::{
    account::{
        Answer, Error, Recipient, SendError, Status,
        dispatch::{Account, Effect, Ticket, Turn},
        link::{Phase, Query},
    },
    clock::Millis,
    crypto::app_state::{Change, Collection, Mutation, Operation, build_patch, with_version},
    proto::{
        MessageKey, SyncActionValue,
        sync_action_value::{
            ArchiveChatAction, ClearChatAction, ContactAction, DeleteChatAction, DeleteMessageForMeAction,
            LockChatAction, MarkChatAsReadAction, MuteAction, PinAction, PushNameSetting, StarAction,
            StatusPrivacyAction, SyncActionMessage, SyncActionMessageRange,
        },
    },
    stanza::{CollectionAnswer, CollectionQuery, Iq},
    store::{
        chats::Mute,
        messages::{Chat, Message},
        quick_replies::QuickReply,
    },
    wire::{Jid, Node},
};

/// Changes of one patch (the server's bound for those that stand in it).
const BATCH: u32 = 100;
/// Patches that were not on top, one after the other (whatsapp-rust's bound); then there is a pause.
const MAX_CONFLICTS: u32 = 5;
/// StatusPrivacyAction.StatusDistributionMode.
const ALLOW_LIST: i32 = 0;
const DENY_LIST: i32 = 1;
const CONTACTS: i32 = 2;
/// Changes that may wait.
const MAX_WAITING: u64 = 10_000;

/// A change that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateChange {
    /// A star on a message, or off it.
    Star {
        /// Its chat.
        chat: Recipient,
        /// Its id.
        id: String,
        /// On.
        on: bool,
    },
    /// A message goes from the own devices; the others keep it.
    DeleteForMe {
        /// Its chat.
        chat: Recipient,
        /// Its id.
        id: String,
    },
    /// What is not given stays.
    Chat {
        /// Which.
        chat: Recipient,
        /// Out of the list.
        archived: Option<bool>,
        /// On top of it.
        pinned: Option<bool>,
        /// Silent.
        muted: Option<Mute>,
        /// Marked as unread, or read.
        unread: Option<bool>,
    },
    /// A chat goes from the own devices, with all its messages.
    DeleteChat {
        /// Which.
        chat: Recipient,
    },
    /// The messages of a chat go from the own devices; the chat stays.
    ClearChat {
        /// Which.
        chat: Recipient,
    },
    /// A chat goes behind the phone's lock, or comes from there.
    LockChat {
        /// Which.
        chat: Recipient,
        /// Behind it.
        on: bool,
    },
    /// A chat among the favourites, or not any more.
    Favorite {
        /// Which.
        chat: Recipient,
        /// Among them.
        on: bool,
    },
    /// Somebody's statuses are not shown, or are again.
    MuteStatus {
        /// Whose.
        who: Recipient,
        /// Not shown.
        on: bool,
    },
    /// A quick reply: a new one, another text of one, or away with it.
    QuickReply {
        /// As it is to be.
        reply: QuickReply,
        /// Away with it.
        deleted: bool,
    },
    /// A setting of the account.
    Setting(AccountSetting),
    /// Another name of the account, as others see it.
    PushName(String),
    /// Who sees the account's statuses.
    StatusPrivacy {
        /// `contacts`, `blacklist` or `whitelist`, as WhatsApp calls them.
        kind: String,
        /// Those who are named.
        people: Vec<Jid>,
    },
    /// Labels.
    Label(LabelChange),
    /// Into the address book; without a name out of it.
    Contact {
        /// Who.
        who: Recipient,
        /// In full.
        name: Option<String>,
        /// The first name alone.
        first_name: Option<String>,
    },
}

/// Somebody who waits for the server to take these rows.
pub(in crate::account) struct Waiting {
    ticket: Ticket,
    rows: BTreeSet<i64>,
}

/// A patch on its way up.
#[derive(Debug)]
pub(in crate::account) struct Upload {
    collection: Collection,
    base: u64,
    patch: Vec<u8>,
    rows: Vec<i64>,
}

pub(super) type Record = (Collection, Change);

impl Account {
    /// Takes a change: from here on it is kept until the server has it.
    pub(in crate::account) fn change_state(
        &mut self,
        ticket: Ticket,
        change: &StateChange,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let status = self.link.status;
        let trying = status == Status::Offline || (status == Status::Pending && self.link.paired);
        let refused = if status == Status::Connected {
            None
        } else if trying {
            Some(Answer::Later(status))
        } else {
            Some(Answer::Refused(SendError::NotConnected(status)))
        };
        let full = turn.tx.app_state().waiting()? >= MAX_WAITING;
        let records = match refused {
            Some(answer) => Err(answer),
            None if full => Err(Answer::Refused(SendError::Internal)),
            None => self.records_of(change, turn)?.map_err(Answer::Refused),
        };
        let records = match records {
            Ok(records) => records,
            Err(answer) => {
                turn.effects.push(Effect::Answer(ticket, answer));
                return Ok(());
            }
        };
        let mut rows = BTreeSet::new();
        for (collection, change) in records {
            rows.insert(turn.tx.app_state().push(collection, &change, turn.now)?);
        }
        turn.effects.push(Effect::Answer(ticket, Answer::Done));
        if rows.is_empty() {
            turn.effects.push(Effect::Settled(ticket, Ok(())));
        } else {
            self.writes_wait = true;
            self.state_waiting.push(Waiting { ticket, rows });
        }
        Ok(())
    }

    fn records_of(
        &self,
        change: &StateChange,
        turn: &Turn<'_>,
    ) -> Result<Result<Vec<Record>, SendError>, Error> {
        let now = turn.now;
        Ok(match change {
            StateChange::Star { chat, id, on } => self.message_in(chat, id, turn)?.map(|(chat, message)| {
                let star_action = Some(StarAction { starred: Some(*on) });
                let index = of_message("star", &chat, &message);
                let value = SyncActionValue { star_action, ..Default::default() };
                vec![record(Collection::RegularHigh, 2, &index, value, now)]
            }),
            StateChange::DeleteForMe { chat, id } => {
                self.message_in(chat, id, turn)?.map(|(chat, message)| {
                    let action = DeleteMessageForMeAction {
                        delete_media: Some(true),
                        message_timestamp: i64::try_from(message.at.secs()).ok(),
                    };
                    let index = of_message("deleteMessageForMe", &chat, &message);
                    let value =
                        SyncActionValue { delete_message_for_me_action: Some(action), ..Default::default() };
                    vec![record(Collection::RegularHigh, 3, &index, value, now)]
                })
            }
            StateChange::Chat { chat, archived, pinned, muted, unread } => {
                match self.known_chat(chat, turn)? {
                    Ok(chat) => Ok(chat_records(&chat, *archived, *pinned, *muted, *unread, turn)?),
                    Err(error) => Err(error),
                }
            }
            StateChange::DeleteChat { chat } => match self.known_chat(chat, turn)? {
                Ok(chat) => {
                    let action = DeleteChatAction { message_range: Some(range(&chat, turn)?) };
                    let value = SyncActionValue { delete_chat_action: Some(action), ..Default::default() };
                    let index = ["deleteChat", &chat.jid.to_wire(), "1"].map(str::to_owned);
                    Ok(vec![record(Collection::RegularHigh, 6, &index, value, now)])
                }
                Err(error) => Err(error),
            },
            StateChange::ClearChat { chat } => self.known_chat(chat, turn)?.and_then(|chat| {
                // Starred messages go, too; what they hold stays where it was saved.
                let index = ["clearChat", &chat.jid.to_wire(), "1", "0"].map(str::to_owned);
                let range = range(&chat, turn).map_err(|_| SendError::Internal)?;
                let clear_chat_action = Some(ClearChatAction { message_range: Some(range) });
                let value = SyncActionValue { clear_chat_action, ..Default::default() };
                Ok(vec![record(Collection::RegularHigh, 6, &index, value, now)])
            }),
            StateChange::LockChat { chat, on } => self.known_chat(chat, turn)?.map(|chat| {
                let lock_chat_action = Some(LockChatAction { locked: Some(*on) });
                let value = SyncActionValue { lock_chat_action, ..Default::default() };
                let index = ["lock", &chat.jid.to_wire()].map(str::to_owned);
                vec![record(Collection::RegularLow, 7, &index, value, now)]
            }),
            StateChange::PushName(name) => {
                let push_name_setting = Some(PushNameSetting { name: Some(name.clone()) });
                let value = SyncActionValue { push_name_setting, ..Default::default() };
                let index = ["setting_pushName".to_owned()];
                Ok(vec![record(Collection::CriticalBlock, 1, &index, value, now)])
            }
            StateChange::StatusPrivacy { kind, people } => {
                let mode = match kind.as_str() {
                    "whitelist" => ALLOW_LIST,
                    "blacklist" => DENY_LIST,
                    _ => CONTACTS,
                };
                let mut user_jid: Vec<String> = Vec::new();
                for person in people {
                    let known = Recipient::Jid(person.clone()).known_as(turn.tx, turn.now)?;
                    let name = self.number_first(&known, turn)?.to_wire();
                    if !user_jid.contains(&name) {
                        user_jid.push(name);
                    }
                }
                let status_privacy = Some(StatusPrivacyAction { mode: Some(mode), user_jid });
                let value = SyncActionValue { status_privacy, ..Default::default() };
                let index = ["status_privacy".to_owned()];
                Ok(vec![record(Collection::RegularHigh, 7, &index, value, now)])
            }
            StateChange::Favorite { chat, on } => self.favorite_records(chat, *on, turn)?,
            StateChange::MuteStatus { who, on } => Ok(self.status_mute_records(who, *on, turn)?),
            StateChange::QuickReply { reply, deleted } => {
                Ok(Self::quick_reply_records(reply, *deleted, turn))
            }
            StateChange::Setting(setting) => Ok(Self::setting_records(*setting, turn)),
            StateChange::Label(change) => self.label_records(change, turn)?,
            StateChange::Contact { who, name, first_name } => {
                let person = who.known_as(turn.tx, turn.now)?;
                let lid = turn.tx.people().lid_of(&person)?;
                let pn = if person.is_lid() { turn.tx.people().pn_of(&person)? } else { None };
                let person = pn.unwrap_or(person);
                let contact_action = ContactAction {
                    full_name: name.clone(),
                    first_name: first_name.clone(),
                    lid_jid: lid.map(|lid| lid.to_wire()),
                    save_on_primary_addressbook: Some(true),
                    ..Default::default()
                };
                let index = ["contact", &person.to_wire()].map(str::to_owned);
                let value = SyncActionValue { contact_action: Some(contact_action), ..Default::default() };
                let (collection, mut change) = record(Collection::CriticalUnblockLow, 2, &index, value, now);
                if name.is_none() {
                    change.operation = Operation::Remove;
                }
                Ok(vec![(collection, change)])
            }
        })
    }

    pub(super) fn known_chat(
        &self,
        chat: &Recipient,
        turn: &Turn<'_>,
    ) -> Result<Result<Chat, SendError>, Error> {
        let found = turn.tx.messages().find_chat(&chat.known_as(turn.tx, turn.now)?)?;
        Ok(found.ok_or_else(|| SendError::UnknownChat(chat.to_row())))
    }

    pub(super) fn message_in(
        &self,
        chat: &Recipient,
        id: &str,
        turn: &Turn<'_>,
    ) -> Result<Result<(Chat, Message), SendError>, Error> {
        let unknown = || SendError::UnknownMessage(id.to_owned());
        let Some(chat) = turn.tx.messages().find_chat(&chat.known_as(turn.tx, turn.now)?)? else {
            return Ok(Err(unknown()));
        };
        let found = turn.tx.messages().find_in_chat(chat.id, id)?;
        Ok(found.map(|message| (chat, message)).ok_or_else(unknown))
    }

    /// Puts what waits on top of every collection that is up to date.
    pub(super) fn write_app_state(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        if !self.writes_wait {
            return Ok(());
        }
        if self.conn.as_ref().is_none_or(|conn| conn.phase != Phase::Live) {
            return Ok(());
        }
        if turn.tx.app_state().waiting()? == 0 {
            self.writes_wait = false;
            return Ok(());
        }
        let Some(writer) = self.write_keys(turn)? else { return Ok(()) };
        let Some(conn) = &mut self.conn else { return Ok(()) };
        // Each change may have to take a record away that stands under an older key.
        let batch = if writer.older.is_empty() { BATCH } else { BATCH / 2 };
        let mut left = false;
        for collection in Collection::ALL {
            let mut waiting = turn.tx.app_state().writes(collection, batch)?;
            left |= !waiting.is_empty();
            let progress = conn.app_state.of(collection);
            if waiting.is_empty() || !progress.synced || progress.wanted || !progress.rests(turn.now) {
                continue;
            }
            // Clients take no patch that names a record twice.
            let mut named = HashSet::new();
            let twice = waiting.iter().position(|write| !named.insert(write.change.index.clone()));
            waiting.truncate(twice.unwrap_or(waiting.len()));
            progress.busy = true;
            let state = turn.tx.app_state().known(collection)?.map(|known| known.state).unwrap_or_default();
            let rows = waiting.iter().map(|write| write.seq).collect();
            let changes: Vec<Change> = waiting.into_iter().map(|write| write.change).collect();
            let records = Stored { tx: turn.tx, collection };
            let patch = build_patch(&state, collection, &changes, &writer, &records, turn.rng)?;
            let base = state.version;
            let query =
                CollectionQuery { collection, version: base, snapshot: false, patch: Some(patch.clone()) };
            let upload = Upload { collection, base, patch, rows };
            let id = conn.query(Query::AppStateUpload(Box::new(upload)), turn.now);
            turn.send(&CollectionQuery::build(&id, &[query]));
        }
        self.writes_wait = left;
        Ok(())
    }

    /// The server's answer to a patch of ours.
    pub(in crate::account) fn app_state_uploaded(
        &mut self,
        upload: &Upload,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(conn) = &mut self.conn else { return Ok(()) };
        let collection = upload.collection;
        let progress = conn.app_state.of(collection);
        progress.busy = false;
        let answers = match (Iq::refusal(node), CollectionAnswer::parse_all(node)) {
            (None, Ok(answers)) => answers,
            _ => Vec::new(),
        };
        let Some(answer) = answers.into_iter().find(|answer| answer.collection == collection) else {
            tracing::warn!(collection = collection.as_str(), "a change of app state got no answer");
            progress.refused(turn.now);
            return Ok(());
        };
        match answer.error {
            None => {
                (progress.conflicts, progress.refusals) = (0, 0);
                let patch = with_version(&upload.patch, upload.base.saturating_add(1));
                self.take_patch(collection, &patch, None, turn).map(drop)
            }
            Some(409) => {
                progress.conflicts += 1;
                if progress.conflicts > MAX_CONFLICTS {
                    progress.conflicts = 0;
                    progress.refused(turn.now);
                    return Ok(());
                }
                progress.wanted = answer.patches.is_empty();
                self.take_collection(CollectionAnswer { error: None, ..answer }, turn)
            }
            Some(code @ (400 | 404)) => {
                tracing::warn!(code, collection = collection.as_str(), "a change of app state was refused");
                progress.wanted = true;
                for row in &upload.rows {
                    turn.tx.app_state().drop_write(*row)?;
                    self.settle_write(*row, Err(code), turn);
                }
                Ok(())
            }
            Some(_) => {
                progress.refused(turn.now);
                Ok(())
            }
        }
    }

    /// This is among what the server has: rows that said the same are done.
    pub(super) fn written(
        &mut self,
        collection: Collection,
        mutation: &Mutation,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        if !self.writes_wait {
            return Ok(());
        }
        let change = Change {
            operation: mutation.operation,
            index: mutation.index.clone(),
            value: mutation.value.clone(),
            version: mutation.version,
        };
        for row in turn.tx.app_state().settle(collection, &change)? {
            self.settle_write(row, Ok(()), turn);
        }
        Ok(())
    }

    fn settle_write(&mut self, row: i64, outcome: Result<(), u16>, turn: &mut Turn<'_>) {
        self.state_waiting.retain_mut(|waiting| {
            if !waiting.rows.remove(&row) {
                return true;
            }
            let done = waiting.rows.is_empty() || outcome.is_err();
            if done {
                turn.effects.push(Effect::Settled(waiting.ticket, outcome));
            }
            !done
        });
    }

    /// The account is unlinked: what waits can never be written.
    pub(in crate::account) fn fail_writes(&mut self, turn: &mut Turn<'_>) {
        self.writes_wait = false;
        for waiting in std::mem::take(&mut self.state_waiting) {
            turn.effects.push(Effect::Settled(waiting.ticket, Err(401)));
        }
    }
}

pub(super) fn record(
    collection: Collection,
    version: i32,
    index: &[String],
    value: SyncActionValue,
    now: Millis,
) -> Record {
    let value = SyncActionValue { timestamp: i64::try_from(now.0).ok(), ..value };
    let change = Change {
        operation: Operation::Set,
        // A list of texts is always JSON.
        index: serde_json::to_vec(index).unwrap_or_default(),
        value: value.encode_to_vec(),
        version,
    };
    (collection, change)
}

fn of_message(action: &str, chat: &Chat, message: &Message) -> [String; 5] {
    let key = &message.key;
    let participant = key.participant.as_ref().filter(|_| !key.from_me).map(Jid::to_wire);
    [
        action.to_owned(),
        chat.jid.to_wire(),
        key.wa_id.clone(),
        if key.from_me { "1" } else { "0" }.to_owned(),
        participant.unwrap_or_else(|| "0".into()),
    ]
}

/// Up to the newest message of the chat.
fn range(chat: &Chat, turn: &Turn<'_>) -> Result<SyncActionMessageRange, Error> {
    let Some(last) = turn.tx.chats().last_message(chat.id)? else {
        let now = i64::try_from(turn.now.secs()).ok();
        return Ok(SyncActionMessageRange { last_message_timestamp: now, ..Default::default() });
    };
    let at = i64::try_from(last.at.secs()).ok();
    let key = MessageKey {
        remote_jid: Some(chat.jid.to_wire()),
        from_me: Some(last.key.from_me),
        id: Some(last.key.wa_id),
        participant: last.key.participant.as_ref().map(Jid::to_wire),
    };
    Ok(SyncActionMessageRange {
        last_message_timestamp: at,
        last_system_message_timestamp: None,
        messages: vec![SyncActionMessage { key: Some(key), timestamp: at }],
    })
}

fn chat_records(
    chat: &Chat,
    archived: Option<bool>,
    pinned: Option<bool>,
    muted: Option<Mute>,
    unread: Option<bool>,
    turn: &Turn<'_>,
) -> Result<Vec<Record>, Error> {
    let now = turn.now;
    let mut records = Vec::new();
    let mut push = |collection, version, action: &str, value| {
        let index = [action.to_owned(), chat.jid.to_wire()];
        records.push(record(collection, version, &index, value, now));
    };
    let value = SyncActionValue::default;
    if let Some(archived) = archived {
        let action = ArchiveChatAction { archived: Some(archived), message_range: Some(range(chat, turn)?) };
        push(
            Collection::RegularLow,
            3,
            "archive",
            SyncActionValue { archive_chat_action: Some(action), ..value() },
        );
    }
    // What is archived is not pinned, in every client.
    let unpinned = archived == Some(true) && turn.tx.chats().view(chat.id)?.is_some_and(|view| view.pinned);
    if let Some(pinned) = pinned.or(unpinned.then_some(false)) {
        let action = PinAction { pinned: Some(pinned) };
        push(Collection::RegularLow, 5, "pin_v1", SyncActionValue { pin_action: Some(action), ..value() });
    }
    if let Some(muted) = muted {
        let until = match muted {
            Mute::Off => None,
            Mute::Until(until) => i64::try_from(until.0).ok(),
            Mute::Forever => Some(-1),
        };
        let action = MuteAction { muted: Some(muted != Mute::Off), mute_end_timestamp: until };
        push(Collection::RegularHigh, 2, "mute", SyncActionValue { mute_action: Some(action), ..value() });
    }
    if let Some(unread) = unread {
        let action = MarkChatAsReadAction { read: Some(!unread), message_range: Some(range(chat, turn)?) };
        let value = SyncActionValue { mark_chat_as_read_action: Some(action), ..value() };
        push(Collection::RegularLow, 3, "markChatAsRead", value);
    }
    Ok(records)
}
