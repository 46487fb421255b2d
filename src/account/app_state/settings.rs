//! Settings of the account, favourite chats, quick replies, and whose statuses are not shown: app state in both directions.

use std::collections::BTreeSet;

use prost::Message as _;
use serde_json::{Map, Value, json};

use super::write::{Record, record};
use crate::{
    account::{
        Error, Recipient, SendError,
        dispatch::{Account, Turn},
    },
    crypto::app_state::Collection,
    proto::{
        SyncActionValue,
        sync_action_value::{
            DisableLinkPreviewsAction, FavoritesAction, QuickReplyAction, UnarchiveChatsSetting,
            UserStatusMuteAction, favorites_action::Favorite,
        },
    },
    store::{self, Tx, events::NewEvent, quick_replies::QuickReply},
    wire::Jid,
};

/// Set while a chat leaves the archive when something new comes to it.
pub(in crate::account) const UNARCHIVES: &str = "chats.unarchive";
/// Set while the account wants no previews of links.
const NO_PREVIEWS: &str = "account.no_link_previews";
/// `1`: the phone shows times from 0 to 24 o'clock; `0`: it does not.
const HOURS_24: &str = "account.hours_24";
/// The phone's language, as `pt_BR`.
const LOCALE: &str = "account.locale";
/// Longest name of a language that is kept.
const LONGEST_LOCALE: usize = 32;
/// Chats that are kept as favourites; the apps allow fewer.
const MAX_FAVORITES: usize = 1_000;
/// Quick replies kept (the apps allow 50), and what is kept of one, in characters.
const MAX_REPLIES: u64 = 1_000;
const LONGEST_ID: usize = 64;
const LONGEST_SHORTCUT: usize = 400;
const LONGEST_MESSAGE: usize = 70_000;
const MAX_KEYWORDS: usize = 50;

/// A setting that somebody asks to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountSetting {
    /// Chats leave the archive when something new comes to them.
    UnarchiveChats(bool),
    /// Links are sent with previews.
    LinkPreviews(bool),
}

/// The settings as callers see them; null where the phone has not said.
pub fn settings_view(tx: &Tx<'_>) -> Result<Map<String, Value>, store::Error> {
    let settings = tx.settings();
    Ok(Map::from_iter([
        ("unarchive_chats".to_owned(), settings.get(UNARCHIVES)?.is_some().into()),
        ("link_previews".to_owned(), settings.get(NO_PREVIEWS)?.is_none().into()),
        ("time_24h".to_owned(), settings.get(HOURS_24)?.map(|on| on == "1").into()),
        ("locale".to_owned(), settings.get(LOCALE)?.into()),
    ]))
}

impl Account {
    pub(super) fn setting_records(setting: AccountSetting, turn: &Turn<'_>) -> Vec<Record> {
        let (collection, version, name, value) = match setting {
            AccountSetting::UnarchiveChats(on) => {
                let unarchive_chats_setting = Some(UnarchiveChatsSetting { unarchive_chats: Some(on) });
                let value = SyncActionValue { unarchive_chats_setting, ..Default::default() };
                (Collection::RegularLow, 4, "setting_unarchiveChats", value)
            }
            AccountSetting::LinkPreviews(on) => {
                let action = DisableLinkPreviewsAction { is_previews_disabled: Some(!on) };
                let value =
                    SyncActionValue { disable_link_previews_action: Some(action), ..Default::default() };
                (Collection::Regular, 8, "setting_disableLinkPreviews", value)
            }
        };
        vec![record(collection, version, &[name.to_owned()], value, turn.now)]
    }

    pub(super) fn quick_reply_records(one: &QuickReply, deleted: bool, turn: &Turn<'_>) -> Vec<Record> {
        let action = QuickReplyAction {
            shortcut: Some(one.shortcut.clone()),
            message: Some(one.message.clone()),
            keywords: one.keywords.clone(),
            count: Some(one.used),
            deleted: Some(deleted),
        };
        let value = SyncActionValue { quick_reply_action: Some(action), ..Default::default() };
        let index = ["quick_reply".to_owned(), one.id.clone()];
        vec![record(Collection::Regular, 2, &index, value, turn.now)]
    }

    pub(super) fn status_mute_records(
        &self,
        who: &Recipient,
        on: bool,
        turn: &Turn<'_>,
    ) -> Result<Vec<Record>, Error> {
        let person = self.number_first(&who.known_as(turn.tx, turn.now)?, turn)?;
        let user_status_mute_action = Some(UserStatusMuteAction { muted: Some(on) });
        let value = SyncActionValue { user_status_mute_action, ..Default::default() };
        let index = ["userStatusMute".to_owned(), person.to_wire()];
        Ok(vec![record(Collection::RegularHigh, 7, &index, value, turn.now)])
    }

    /// The list is one record: what is on its way already counts as there.
    pub(super) fn favorite_records(
        &self,
        chat: &Recipient,
        on: bool,
        turn: &Turn<'_>,
    ) -> Result<Result<Vec<Record>, SendError>, Error> {
        let chat = match self.known_chat(chat, turn)? {
            Ok(chat) => chat,
            Err(error) => return Ok(Err(error)),
        };
        let index = ["favorites".to_owned()];
        let serialized = serde_json::to_vec(&index).unwrap_or_default();
        let mut list: Vec<String> =
            match turn.tx.app_state().last_write(Collection::RegularHigh, &serialized)? {
                Some(waiting) => favorites_of(&SyncActionValue::decode(&*waiting.value).unwrap_or_default()),
                None => turn.tx.chats().favorites()?.iter().map(|(_, jid)| jid.to_wire()).collect(),
            };
        let names: Vec<String> =
            [Some(&chat.jid), chat.alt.as_ref()].into_iter().flatten().map(Jid::to_wire).collect();
        let there = list.iter().any(|name| names.contains(name));
        if on && !there {
            list.push(chat.jid.to_wire());
        } else if !on {
            list.retain(|name| !names.contains(name));
        }
        let favorites = list.into_iter().map(|id| Favorite { id: Some(id) }).collect();
        let value =
            SyncActionValue { favorites_action: Some(FavoritesAction { favorites }), ..Default::default() };
        Ok(Ok(vec![record(Collection::RegularHigh, 1, &index, value, turn.now)]))
    }

    /// One of the records that are settings; `name` is the action's.
    pub(super) fn act_setting(
        &mut self,
        name: &str,
        value: &SyncActionValue,
        quiet: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let flag = |on: bool| on.then(|| "1".to_owned());
        let (shown, kept, wanted) = match name {
            "setting_unarchiveChats" => {
                let on = value.unarchive_chats_setting.as_ref().and_then(|setting| setting.unarchive_chats);
                ("unarchive_chats", UNARCHIVES, flag(on == Some(true)))
            }
            "setting_disableLinkPreviews" => {
                let action = value.disable_link_previews_action.as_ref();
                let off = action.and_then(|action| action.is_previews_disabled);
                ("link_previews", NO_PREVIEWS, flag(off == Some(true)))
            }
            "time_format" => {
                let action = value.time_format_action.as_ref();
                let Some(on) = action.and_then(|action| action.is_twenty_four_hour_format_enabled) else {
                    return Ok(());
                };
                ("time_24h", HOURS_24, Some(if on { "1" } else { "0" }.to_owned()))
            }
            _ => {
                let locale = value.locale_setting.as_ref().and_then(|setting| setting.locale.clone());
                let Some(locale) = locale.filter(|locale| (1..=LONGEST_LOCALE).contains(&locale.len()))
                else {
                    return Ok(());
                };
                ("locale", LOCALE, Some(locale))
            }
        };
        let settings = turn.tx.settings();
        if settings.get(kept)? == wanted {
            return Ok(());
        }
        match &wanted {
            Some(wanted) => settings.set(kept, wanted)?,
            None => settings.remove(kept)?,
        }
        if quiet {
            return Ok(());
        }
        let now = settings_view(turn.tx)?.remove(shown).unwrap_or_default();
        self.report_own(Map::from_iter([("settings".to_owned(), json!({ shown: now }))]), turn)
    }

    /// The favourite chats, all of them.
    pub(super) fn act_favorites(
        &mut self,
        set: bool,
        value: &SyncActionValue,
        quiet: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        let mut chats = Vec::new();
        for name in favorites_of(value).into_iter().filter(|_| set).take(MAX_FAVORITES) {
            let Some(chat) = super::actions::chat_of(&name, turn)? else { continue };
            if seen.insert(chat.id) {
                chats.push(chat.id);
            }
        }
        for row in turn.tx.chats().set_favorites(&chats)? {
            if let Some(chat) = turn.tx.messages().chat_by_id(row)? {
                self.report_chat_if(!quiet, &chat, turn)?;
            }
        }
        Ok(())
    }

    /// A quick reply came, changed or went.
    pub(super) fn act_quick_reply(
        &mut self,
        id: &str,
        set: bool,
        value: &SyncActionValue,
        quiet: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        if !(1..=LONGEST_ID).contains(&id.len()) {
            return Ok(());
        }
        let replies = turn.tx.quick_replies();
        let action = value.quick_reply_action.as_ref().filter(|action| set && action.deleted != Some(true));
        let cut = |text: Option<&str>, longest| text.unwrap_or_default().chars().take(longest).collect();
        let reply = action.map(|action| QuickReply {
            id: id.to_owned(),
            shortcut: cut(action.shortcut.as_deref(), LONGEST_SHORTCUT),
            message: cut(action.message.as_deref(), LONGEST_MESSAGE),
            keywords: action
                .keywords
                .iter()
                .take(MAX_KEYWORDS)
                .map(|word| cut(Some(word), LONGEST_SHORTCUT))
                .collect(),
            used: action.count.unwrap_or(0),
        });
        let changed = match &reply {
            Some(reply) => {
                let full = replies.count()? >= MAX_REPLIES && replies.find(id)?.is_none();
                !full && replies.set(reply)?
            }
            None => replies.remove(id)?,
        };
        if !changed || quiet {
            return Ok(());
        }
        let data = json!({
            "id": id,
            "shortcut": reply.as_ref().map(|reply| &reply.shortcut),
            "message": reply.as_ref().map(|reply| &reply.message),
            "keywords": reply.as_ref().map(|reply| &reply.keywords),
            "deleted": reply.is_none(),
            "timestamp": turn.now.rfc3339_offset(),
        });
        let event =
            NewEvent { kind: "quick_reply.updated", lane: None, data: data.to_string(), platform: None };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }
}

fn favorites_of(value: &SyncActionValue) -> Vec<String> {
    let list = value.favorites_action.iter().flat_map(|action| &action.favorites);
    list.filter_map(|favorite| favorite.id.clone()).collect()
}
