//! What a phone's user changes in app state, and what the phone shows of it.

use prost::Message as _;
use serde::Serialize;

use super::{AccountId, OperateError, World};
use crate::{
    clock::Millis,
    crypto::app_state::{Change, Collection, Operation},
    proto::{
        self, SyncActionValue,
        sync_action_value::{
            ArchiveChatAction, ClearChatAction, ContactAction, DeleteChatAction, DeleteMessageForMeAction,
            LabelAssociationAction, LabelEditAction, MarkChatAsReadAction, MuteAction, PinAction,
            PushNameSetting, StarAction,
        },
    },
    wire::Jid,
};

/// A change that a phone's user makes. Chats and people are numbers or JIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PhoneChange {
    /// Puts somebody into the address book; without a name takes them out.
    Contact {
        /// Whom.
        who: String,
        /// In full.
        name: Option<String>,
        /// The name alone.
        first_name: Option<String>,
    },
    /// On top of the list.
    Pin {
        /// Which.
        chat: String,
        /// Or not any more.
        on: bool,
    },
    /// Out of the list.
    Archive {
        /// Which.
        chat: String,
        /// Or back.
        on: bool,
    },
    /// Without sound.
    Mute {
        /// Which.
        chat: String,
        /// Unix milliseconds; −1: for ever; 0: not any more.
        until: i64,
    },
    /// Read, or marked as unread.
    Read {
        /// Which.
        chat: String,
        /// Read.
        on: bool,
    },
    /// A message with a star.
    Star {
        /// Its chat.
        chat: String,
        /// Its id.
        id: String,
        /// Or without.
        on: bool,
    },
    /// A message deleted on the own devices alone.
    DeleteMessage {
        /// Its chat.
        chat: String,
        /// Its id.
        id: String,
    },
    /// A chat with all its messages.
    DeleteChat {
        /// Which.
        chat: String,
    },
    /// The messages of a chat.
    ClearChat {
        /// Which.
        chat: String,
    },
    /// The account's push name.
    Name(String),
    /// A label; deleted where it has no name.
    Label {
        /// Its id.
        id: String,
        /// As shown.
        name: Option<String>,
        /// Of the palette.
        color: i32,
    },
    /// A label on a chat.
    LabelChat {
        /// Its id.
        id: String,
        /// Which chat.
        chat: String,
        /// Or off it.
        on: bool,
    },
    /// Any record.
    Raw {
        /// By its name on the wire.
        collection: String,
        /// The parts of its index.
        index: Vec<String>,
        /// Serialized SyncActionValue.
        value: Vec<u8>,
        /// Of the action's form.
        version: i32,
        /// Takes the record away.
        remove: bool,
    },
}

/// A record of app state, as the phone that has the key reads it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AppStateView {
    /// Its collection.
    pub collection: String,
    /// The action, and what it is about.
    pub index: Vec<String>,
    /// SyncActionValue as JSON; members that are not known here are left out.
    pub value: serde_json::Value,
    /// Of the action's form.
    pub version: i32,
    /// The id of the key that it is sealed with, in hex.
    pub key: String,
}

/// The index's parts, the collection and the version of the action's form (protocol 04, 17.1).
struct Form {
    collection: Collection,
    index: Vec<String>,
    version: i32,
    operation: Operation,
}

fn form(collection: Collection, version: i32, index: &[&str]) -> Form {
    let index = index.iter().map(|part| (*part).to_owned()).collect();
    Form { collection, index, version, operation: Operation::Set }
}

/// A number or a JID, as an index names it. Address books hold people whom nobody knows.
fn named(who: &str) -> Result<Jid, OperateError> {
    const WRONG: OperateError = OperateError::BadRequest("a number or a JID");
    if who.contains('@') {
        return who.parse::<Jid>().map(|jid| jid.bare()).map_err(|_| WRONG);
    }
    let digits = (8..=15).contains(&who.len()) && who.bytes().all(|b| b.is_ascii_digit());
    if digits { Ok(Jid::pn(who)) } else { Err(WRONG) }
}

impl World {
    /// The phone's user changes something; its companions hear of it.
    pub(crate) fn change_app_state(
        &mut self,
        phone: AccountId,
        change: &PhoneChange,
        now: Millis,
    ) -> Result<(), OperateError> {
        let (collection, change) = self.record_of(phone, change, now)?;
        self.phone_changes(phone, collection, &[change], false, now);
        self.settle(now);
        Ok(())
    }

    /// Several changes of one collection in one patch, whose list is a blob: that blob.
    pub(crate) fn change_app_state_by_blob(
        &mut self,
        phone: AccountId,
        changes: &[PhoneChange],
        now: Millis,
    ) -> Result<Vec<u8>, OperateError> {
        let records = changes.iter().map(|change| self.record_of(phone, change, now));
        let records = records.collect::<Result<Vec<_>, _>>()?;
        let Some((collection, _)) = records.first() else {
            return Err(OperateError::BadRequest("no change"));
        };
        let collection = *collection;
        if records.iter().any(|(other, _)| *other != collection) {
            return Err(OperateError::BadRequest("changes of more than one collection"));
        }
        let changes: Vec<Change> = records.into_iter().map(|(_, change)| change).collect();
        let blob = self.phone_changes(phone, collection, &changes, true, now);
        self.settle(now);
        Ok(blob)
    }

    fn record_of(
        &self,
        phone: AccountId,
        change: &PhoneChange,
        now: Millis,
    ) -> Result<(Collection, Change), OperateError> {
        let (form, value) = self.action_of(phone, change, now)?;
        let value = match change {
            PhoneChange::Raw { value, .. } => value.clone(),
            _ => SyncActionValue { timestamp: i64::try_from(now.0).ok(), ..value }.encode_to_vec(),
        };
        let index = serde_json::to_vec(&form.index).unwrap_or_default();
        let change = Change { operation: form.operation, index, value, version: form.version };
        Ok((form.collection, change))
    }

    fn action_of(
        &self,
        phone: AccountId,
        change: &PhoneChange,
        now: Millis,
    ) -> Result<(Form, SyncActionValue), OperateError> {
        use Collection::{CriticalBlock, CriticalUnblockLow, Regular, RegularHigh, RegularLow};
        let mut value = SyncActionValue::default();
        let chat_form = |collection, version, action: &str, chat: &str| {
            Ok::<_, OperateError>(form(collection, version, &[action, &named(chat)?.to_wire()]))
        };
        let form = match change {
            PhoneChange::Contact { who, name, first_name } => {
                value.contact_action = Some(ContactAction {
                    full_name: name.clone(),
                    first_name: first_name.clone(),
                    save_on_primary_addressbook: Some(true),
                    lid_jid: self
                        .resolve_text(who)
                        .map(|found| self.account(found.account).jid(super::Namespace::Lid, 0).to_wire()),
                    ..Default::default()
                });
                let operation = if name.is_some() { Operation::Set } else { Operation::Remove };
                Form { operation, ..chat_form(CriticalUnblockLow, 2, "contact", who)? }
            }
            PhoneChange::Pin { chat, on } => {
                value.pin_action = Some(PinAction { pinned: Some(*on) });
                chat_form(RegularLow, 5, "pin_v1", chat)?
            }
            PhoneChange::Archive { chat, on } => {
                value.archive_chat_action =
                    Some(ArchiveChatAction { archived: Some(*on), message_range: None });
                chat_form(RegularLow, 3, "archive", chat)?
            }
            PhoneChange::Mute { chat, until } => {
                value.mute_action = Some(MuteAction {
                    muted: Some(*until != 0),
                    mute_end_timestamp: (*until != 0).then_some(*until),
                });
                chat_form(RegularHigh, 2, "mute", chat)?
            }
            PhoneChange::Read { chat, on } => {
                value.mark_chat_as_read_action =
                    Some(MarkChatAsReadAction { read: Some(*on), message_range: Some(until(now)) });
                chat_form(RegularLow, 3, "markChatAsRead", chat)?
            }
            PhoneChange::Star { chat, id, on } => {
                value.star_action = Some(StarAction { starred: Some(*on) });
                let from_me = self.sent_by_phone(phone, id);
                form(RegularHigh, 2, &["star", &named(chat)?.to_wire(), id, from_me, "0"])
            }
            PhoneChange::DeleteMessage { chat, id } => {
                value.delete_message_for_me_action = Some(DeleteMessageForMeAction {
                    delete_media: Some(true),
                    message_timestamp: i64::try_from(now.secs()).ok(),
                });
                let from_me = self.sent_by_phone(phone, id);
                form(RegularHigh, 3, &["deleteMessageForMe", &named(chat)?.to_wire(), id, from_me, "0"])
            }
            PhoneChange::DeleteChat { chat } => {
                value.delete_chat_action = Some(DeleteChatAction { message_range: Some(until(now)) });
                form(RegularHigh, 6, &["deleteChat", &named(chat)?.to_wire(), "1"])
            }
            PhoneChange::ClearChat { chat } => {
                value.clear_chat_action = Some(ClearChatAction { message_range: Some(until(now)) });
                form(RegularHigh, 6, &["clearChat", &named(chat)?.to_wire(), "1", "0"])
            }
            PhoneChange::Name(name) => {
                value.push_name_setting = Some(PushNameSetting { name: Some(name.clone()) });
                form(CriticalBlock, 1, &["setting_pushName"])
            }
            PhoneChange::Label { id, name, color } => {
                value.label_edit_action = Some(LabelEditAction {
                    name: name.clone(),
                    color: Some(*color),
                    predefined_id: None,
                    deleted: Some(name.is_none()),
                });
                form(Regular, 3, &["label_edit", id])
            }
            PhoneChange::LabelChat { id, chat, on } => {
                value.label_association_action = Some(LabelAssociationAction { labeled: Some(*on) });
                form(Regular, 3, &["label_jid", id, &named(chat)?.to_wire()])
            }
            PhoneChange::Raw { collection, index, version, remove, .. } => Form {
                collection: Collection::parse(collection)
                    .ok_or(OperateError::BadRequest("no such collection"))?,
                index: index.clone(),
                version: *version,
                operation: if *remove { Operation::Remove } else { Operation::Set },
            },
        };
        Ok((form, value))
    }

    /// "1" for a message of the account's own, whichever device sent it.
    fn sent_by_phone(&self, phone: AccountId, id: &str) -> &'static str {
        let phone = &self.account(phone).phone;
        let copied = phone.inbox.iter().rev().find(|message| message.id == id).map(|message| message.from_me);
        if copied.unwrap_or_else(|| phone.sent.contains_key(id)) { "1" } else { "0" }
    }

    /// Every record in force, as the phone has read it.
    pub(crate) fn app_state_views(&self, phone: AccountId) -> Vec<AppStateView> {
        let shelves = self.account(phone).phone.app_state.iter();
        let views = shelves.flat_map(|(collection, shelf)| {
            shelf.records().map(|record| AppStateView {
                collection: collection.as_str().to_owned(),
                index: serde_json::from_slice(&record.change.index).unwrap_or_default(),
                value: proto::action_json(&record.change.value).unwrap_or_default(),
                version: record.change.version,
                key: hex::encode(&record.key_id),
            })
        });
        views.collect()
    }

    /// The phone makes a new key, whether or not one is due.
    pub(crate) fn rotate_key(&mut self, phone: AccountId, now: Millis) {
        self.phone_rotates(phone, now);
        self.settle(now);
    }

    /// The ids of the keys that the phone has, oldest first, in hex.
    pub(crate) fn sync_key_ids(&self, phone: AccountId) -> Vec<String> {
        self.account(phone).phone.sync_keys.iter().map(|key| hex::encode(&key.id)).collect()
    }

    /// Patches that this phone found to be counted wrongly by their author.
    pub(crate) fn app_state_diverged(&self, phone: AccountId) -> u64 {
        self.account(phone).phone.app_state.values().map(|shelf| shelf.diverged).sum()
    }
}

/// Everything up to now.
fn until(now: Millis) -> proto::sync_action_value::SyncActionMessageRange {
    proto::sync_action_value::SyncActionMessageRange {
        last_message_timestamp: i64::try_from(now.secs()).ok(),
        ..Default::default()
    }
}
