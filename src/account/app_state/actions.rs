//! What records of app state mean: rows that change, and events that tell of it. An action that is not known here stays in
//! the sum of its collection and does nothing else.

use prost::Message as _;
use serde_json::{Value, json};

use super::{labels::MAX_ID as MAX_LABEL_ID, settings::UNARCHIVES};
use crate::{
    account::{
        Error,
        dispatch::{Account, Turn},
        tokens::SaltFrom,
    },
    clock::Millis,
    crypto::app_state::{Mutation, Operation},
    proto::{SyncActionValue, sync_action_value::SyncActionMessageRange},
    store::{
        chats::Mute,
        contacts::Contact,
        events::NewEvent,
        messages::{Chat, Message},
    },
    wire::Jid,
};

/// Actions about a whole chat.
const CHAT_ACTIONS: [&str; 7] =
    ["archive", "pin_v1", "mute", "markChatAsRead", "clearChat", "deleteChat", "lock"];
/// Actions that are settings of the account.
const SETTINGS: [&str; 4] =
    ["setting_unarchiveChats", "setting_disableLinkPreviews", "setting_locale", "time_format"];

impl Account {
    /// Acts on one record. Events tell of what became different, unless `quiet`.
    pub(super) fn act(&mut self, mutation: &Mutation, quiet: bool, turn: &mut Turn<'_>) -> Result<(), Error> {
        let index: Vec<String> = serde_json::from_slice(&mutation.index).unwrap_or_default();
        let Ok(value) = SyncActionValue::decode(&*mutation.value) else { return Ok(()) };
        let index: Vec<&str> = index.iter().map(String::as_str).collect();
        let set = mutation.operation == Operation::Set;
        match &*index {
            ["contact", who] => self.act_contact(who, set, &value, quiet, turn),
            ["nct_salt_sync"] if set => {
                let salt = value.nct_salt_sync_action.and_then(|action| action.salt).unwrap_or_default();
                self.learn_nct_salt(&salt, SaltFrom::AppState, turn)
            }
            ["nct_salt_sync"] => self.forget_nct_salt(turn),
            ["sentinel", ..] if set => {
                let epoch = value.key_expiration.and_then(|key| key.expired_key_epoch);
                let epoch = epoch.and_then(|epoch| u32::try_from(epoch).ok());
                epoch.map_or(Ok(()), |epoch| Ok(turn.tx.app_state().expire_keys(epoch)?))
            }
            ["setting_pushName"] if set => {
                let name = value.push_name_setting.and_then(|setting| setting.name);
                name.map_or(Ok(()), |name| self.learn_own_name(&name, turn))
            }
            ["star", chat, id, from_me, ..] => {
                let starred = set && value.star_action.and_then(|star| star.starred).unwrap_or(false);
                self.act_star(chat, id, from_me, starred, quiet, turn)
            }
            ["deleteMessageForMe", chat, id, from_me, ..] if set => {
                self.act_delete(chat, id, from_me, quiet, turn)
            }
            ["label_edit", id] => self.act_label(id, set, &value, quiet, turn),
            ["label_message", label, chat, id, ..] => {
                let on = value.label_association_action.and_then(|label| label.labeled).unwrap_or(false);
                self.act_label_message((label, chat, id), set && on, quiet, turn)
            }
            [name] if set && SETTINGS.contains(name) => self.act_setting(name, &value, quiet, turn),
            ["favorites"] => self.act_favorites(set, &value, quiet, turn),
            ["quick_reply", id] => self.act_quick_reply(id, set, &value, quiet, turn),
            ["userStatusMute", who] => {
                let muted = value.user_status_mute_action.and_then(|mute| mute.muted).unwrap_or(false);
                let who = who.parse::<Jid>().ok().filter(Jid::is_user).map(|jid| jid.bare());
                let Some(who) = who else { return Ok(()) };
                let changed = turn.tx.contacts().set_status_muted(&who, set && muted)?;
                if changed && !quiet { self.report_contact(&who, turn) } else { Ok(()) }
            }
            ["label_jid", label, chat] if label.len() <= MAX_LABEL_ID => {
                let on = value.label_association_action.and_then(|label| label.labeled).unwrap_or(false);
                let Some(chat) = chat_of(chat, turn)? else { return Ok(()) };
                let changed = turn.tx.chats().set_label_on(label, chat.id, set && on)?;
                self.report_chat_if(changed && !quiet, &chat, turn)
            }
            [action, chat, ..] if CHAT_ACTIONS.contains(action) => {
                self.act_chat(action, chat, &index, set, &value, quiet, turn)
            }
            [action, ..] => {
                tracing::debug!(action = word(action), "an action of app state that does nothing here");
                Ok(())
            }
            [] => Ok(()),
        }
    }

    /// Actions about a whole chat.
    #[expect(clippy::too_many_arguments, reason = "the parts of one record")]
    fn act_chat(
        &mut self,
        action: &str,
        chat: &str,
        index: &[&str],
        set: bool,
        value: &SyncActionValue,
        quiet: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(chat) = chat_of(chat, turn)? else { return Ok(()) };
        let chats = turn.tx.chats();
        let at = value.timestamp.and_then(|at| u64::try_from(at).ok()).map_or(turn.now, Millis);
        let mut gone = None;
        let changed = match action {
            "archive" => {
                let archived = value.archive_chat_action.as_ref().and_then(|action| action.archived);
                chats.set_archived(chat.id, set && archived.unwrap_or(false))?
            }
            "pin_v1" => {
                let pinned = value.pin_action.as_ref().and_then(|action| action.pinned).unwrap_or(false);
                chats.set_pinned(chat.id, (set && pinned).then_some(at))?
            }
            "mute" => {
                let muted = value.mute_action.as_ref().filter(|mute| set && mute.muted == Some(true));
                let mute = muted.map_or(Mute::Off, |mute| match mute.mute_end_timestamp {
                    Some(until @ 1..) => Mute::Until(Millis(u64::try_from(until).unwrap_or(0))),
                    _ => Mute::Forever,
                });
                chats.set_muted(chat.id, mute)?
            }
            "lock" => {
                let locked = value.lock_chat_action.as_ref().and_then(|lock| lock.locked).unwrap_or(false);
                chats.set_locked(chat.id, set && locked)?
            }
            "markChatAsRead" => match value.mark_chat_as_read_action.as_ref().filter(|_| set) {
                Some(mark) if mark.read == Some(false) => chats.set_marked_unread(chat.id, true)?,
                Some(mark) => {
                    let read = chats.read_until(chat.id, until(mark.message_range.as_ref(), at))?;
                    chats.set_marked_unread(chat.id, false)? || read
                }
                None => false,
            },
            "clearChat" if set => {
                let range = value.clear_chat_action.as_ref().and_then(|clear| clear.message_range.as_ref());
                let starred = index.get(2) == Some(&"1");
                gone = Some("cleared");
                chats.delete_until(chat.id, until(range, at), starred, false)?
            }
            "deleteChat" if set => {
                let range = value.delete_chat_action.as_ref().and_then(|del| del.message_range.as_ref());
                gone = Some("deleted");
                chats.delete_until(chat.id, until(range, at), true, true)?
            }
            _ => false,
        };
        match gone {
            Some(how) if changed && !quiet => self.report_chat_gone(&chat, how, turn),
            _ => self.report_chat_if(changed && !quiet, &chat, turn),
        }
    }

    fn act_contact(
        &mut self,
        who: &str,
        set: bool,
        value: &SyncActionValue,
        quiet: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(person) = who.parse::<Jid>().ok().filter(Jid::is_user).map(|jid| jid.bare()) else {
            return Ok(());
        };
        let changed = match value.contact_action.as_ref().filter(|_| set) {
            Some(contact) => {
                let named = |jid: &Option<String>| jid.as_deref().and_then(|jid| jid.parse::<Jid>().ok());
                for other in [named(&contact.lid_jid), named(&contact.pn_jid)].into_iter().flatten() {
                    turn.tx.people().learn(&person, &other)?;
                }
                let first = contact.first_name.as_deref().filter(|name| !name.is_empty());
                match contact.full_name.as_deref().filter(|name| !name.is_empty()).or(first) {
                    Some(full) => turn.tx.contacts().set_name(&person, full, first)?,
                    None => turn.tx.contacts().remove_name(&person)?,
                }
            }
            None => turn.tx.contacts().remove_name(&person)?,
        };
        if changed && !quiet { self.report_contact(&person, turn) } else { Ok(()) }
    }

    fn act_star(
        &mut self,
        chat: &str,
        id: &str,
        from_me: &str,
        starred: bool,
        quiet: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some((chat, message)) = message_of(chat, id, from_me, turn)? else { return Ok(()) };
        if !turn.tx.chats().set_starred(message.id, starred)? || quiet {
            return Ok(());
        }
        let data = json!({
            "message_id": message.uuid,
            "whatsapp_message_id": message.key.wa_id,
            "chat": chat.jid.to_wire(),
            "from_me": message.key.from_me,
            "starred": starred,
            "timestamp": turn.now.rfc3339_offset(),
            "conversation_id": chat.id,
        });
        push("message.starred", &chat, data, turn)
    }

    fn act_delete(
        &mut self,
        chat: &str,
        id: &str,
        from_me: &str,
        quiet: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some((chat, message)) = message_of(chat, id, from_me, turn)? else { return Ok(()) };
        if !turn.tx.chats().delete_message(message.id)? || quiet {
            return Ok(());
        }
        let data = json!({
            "message_id": message.uuid,
            "whatsapp_message_id": message.key.wa_id,
            "from_me": message.key.from_me,
            "for": "me",
            "timestamp": turn.now.rfc3339_offset(),
            "conversation_id": chat.id,
        });
        push("message.deleted", &chat, data, turn)
    }

    pub(super) fn report_chat_if(
        &self,
        changed: bool,
        chat: &Chat,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        if !changed {
            return Ok(());
        }
        let Some(view) = turn.tx.chats().view(chat.id)? else { return Ok(()) };
        let mut data = chat_data(chat, turn);
        if let Some(members) = data.as_object_mut() {
            members.insert("archived".into(), view.archived.into());
            members.insert("pinned".into(), view.pinned.into());
            members.insert("muted_until".into(), muted(view.muted));
            members.insert("locked".into(), view.locked.into());
            members.insert("favorite".into(), view.favorite.into());
            members.insert("unread_count".into(), view.unread_count.into());
            members.insert("unread".into(), (view.marked_unread || view.unread_count > 0).into());
            members.insert("labels".into(), turn.tx.chats().labels_of(chat.id)?.into());
        }
        push("chat.updated", chat, data, turn)
    }

    /// Something new came to a chat: out of the archive, if the account wants that.
    pub(in crate::account) fn unarchive(&self, chat: &Chat, turn: &mut Turn<'_>) -> Result<(), Error> {
        if turn.tx.settings().get(UNARCHIVES)?.is_none() {
            return Ok(());
        }
        let changed = turn.tx.chats().set_archived(chat.id, false)?;
        self.report_chat_if(changed, chat, turn)
    }

    /// `chat.updated` of a chat that was emptied or deleted.
    fn report_chat_gone(&self, chat: &Chat, how: &str, turn: &mut Turn<'_>) -> Result<(), Error> {
        let mut data = chat_data(chat, turn);
        if let Some(members) = data.as_object_mut() {
            members.insert(how.into(), true.into());
        }
        push("chat.updated", chat, data, turn)
    }

    /// `contact.updated`.
    pub(super) fn report_contact(&self, person: &Jid, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(contact) = turn.tx.contacts().find(person)? else { return Ok(()) };
        let Contact { jid, lid, name, first_name, push_name, status_muted } = contact;
        let data = json!({
            "jid": jid.to_wire(),
            "lid": lid.map(|lid| lid.to_wire()),
            "phone": jid.is_pn().then(|| jid.user().to_owned()),
            "name": name,
            "first_name": first_name,
            "push_name": push_name,
            "status_muted": status_muted,
            "timestamp": turn.now.rfc3339_offset(),
        });
        let lane = Some(jid.to_wire());
        let event = NewEvent { kind: "contact.updated", lane, data: data.to_string(), platform: None };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }
}

/// The name of an action for the log; what is no name may be anything.
fn word(action: &str) -> &str {
    let name = action.len() <= 64 && action.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if name { action } else { "?" }
}

/// What every event about a chat says of it.
/// What every `chat.updated` says of its chat.
pub(in crate::account) fn chat_data(chat: &Chat, turn: &Turn<'_>) -> Value {
    json!({
        "jid": chat.jid.to_wire(),
        "lid": lid_of(chat).map(Jid::to_wire),
        "phone": chat.jid.is_pn().then(|| chat.jid.user().to_owned()),
        "is_group": chat.jid.is_group(),
        "timestamp": turn.now.rfc3339_offset(),
        "conversation_id": chat.id,
    })
}

fn lid_of(chat: &Chat) -> Option<&Jid> {
    [Some(&chat.jid), chat.alt.as_ref()].into_iter().flatten().find(|jid| jid.is_lid())
}

fn muted(mute: Mute) -> Value {
    match mute {
        Mute::Off => Value::Null,
        Mute::Until(until) => until.rfc3339().into(),
        Mute::Forever => "forever".into(),
    }
}

fn push(kind: &'static str, chat: &Chat, data: Value, turn: &mut Turn<'_>) -> Result<(), Error> {
    let event = NewEvent { kind, lane: Some(chat.jid.to_wire()), data: data.to_string(), platform: None };
    turn.tx.events().push(&event, turn.now)?;
    Ok(())
}

/// The chat that an index names; made if it is new. `None`: nothing that is a chat here.
pub(super) fn chat_of(named: &str, turn: &Turn<'_>) -> Result<Option<Chat>, Error> {
    let jid = named.parse::<Jid>().ok().filter(|jid| jid.is_user() || jid.is_group());
    Ok(jid.map(|jid| turn.tx.messages().chat(&jid)).transpose()?)
}

/// A message that an index names, if it is known: ids are the senders' own, so direction decides where two share one.
fn message_of(
    chat: &str,
    id: &str,
    from_me: &str,
    turn: &Turn<'_>,
) -> Result<Option<(Chat, Message)>, Error> {
    let Ok(jid) = chat.parse::<Jid>() else { return Ok(None) };
    let Some(chat) = turn.tx.messages().find_chat(&jid)? else { return Ok(None) };
    let found = turn.tx.messages().find_in_chat(chat.id, id)?;
    Ok(found.filter(|message| message.key.from_me == (from_me == "1")).map(|message| (chat, message)))
}

/// The end of the range that an action is about: seconds on the wire, the whole second included.
fn until(range: Option<&SyncActionMessageRange>, at: Millis) -> Millis {
    let last = range.and_then(|range| range.last_message_timestamp).and_then(|last| u64::try_from(last).ok());
    match last {
        Some(secs @ 1..) => Millis(Millis::from_secs(secs).0.saturating_add(999)),
        _ => at,
    }
}
