//! Labels: made, changed, and put on chats and messages. Where a label stands is app state alone; both directions.

use serde_json::json;

use super::write::{Record, record};
use crate::{
    account::{
        Error, Recipient, SendError,
        dispatch::{Account, Turn},
    },
    crypto::app_state::Collection,
    proto::{
        SyncActionValue,
        sync_action_value::{LabelAssociationAction, LabelEditAction},
    },
    store::{events::NewEvent, messages::Chat},
    wire::Jid,
};

/// Longest id and name that are believed; real ids are whole numbers, names end at 100 characters.
pub(super) const MAX_ID: usize = 20;
const MAX_NAME: usize = 400;
/// Labels kept; the apps allow 20.
const MAX_LABELS: usize = 1_000;

/// A change of labels that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelChange {
    /// A new one, or another name or colour.
    Edit {
        /// A whole number.
        id: String,
        /// As shown.
        name: String,
        /// Of the palette: 0 to 19.
        color: i32,
        /// Away with it, from wherever it stands.
        deleted: bool,
    },
    /// On a chat.
    Chat {
        /// Which label.
        id: String,
        /// Which chat.
        chat: Recipient,
        /// Or off it.
        on: bool,
    },
    /// On a message.
    Message {
        /// Which label.
        id: String,
        /// Its chat.
        chat: Recipient,
        /// Its id.
        message: String,
        /// Or off it.
        on: bool,
    },
}

impl Account {
    pub(super) fn label_records(
        &self,
        change: &LabelChange,
        turn: &Turn<'_>,
    ) -> Result<Result<Vec<Record>, SendError>, Error> {
        let made = |index: &[String], value| vec![record(Collection::Regular, 3, index, value, turn.now)];
        let on_it = |on| SyncActionValue {
            label_association_action: Some(LabelAssociationAction { labeled: Some(on) }),
            ..Default::default()
        };
        Ok(match change {
            LabelChange::Edit { id, name, color, deleted } => {
                let action = LabelEditAction {
                    name: Some(name.clone()),
                    color: Some(*color),
                    predefined_id: None,
                    deleted: Some(*deleted),
                };
                let value = SyncActionValue { label_edit_action: Some(action), ..Default::default() };
                Ok(made(&["label_edit".to_owned(), id.clone()], value))
            }
            LabelChange::Chat { id, chat, on } => self
                .known_chat(chat, turn)?
                .map(|chat| made(&["label_jid".to_owned(), id.clone(), chat.jid.to_wire()], on_it(*on))),
            LabelChange::Message { id, chat, message, on } => {
                self.message_in(chat, message, turn)?.map(|(chat, message)| {
                    // Every client writes these two so, whoever wrote the message.
                    let [from_me, participant] = ["0", "0"].map(str::to_owned);
                    let (chat, message) = (chat.jid.to_wire(), message.key.wa_id);
                    let index = ["label_message".to_owned(), id.clone(), chat, message, from_me, participant];
                    made(&index, on_it(*on))
                })
            }
        })
    }

    /// A label came, changed or went.
    pub(super) fn act_label(
        &mut self,
        id: &str,
        set: bool,
        value: &SyncActionValue,
        quiet: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        if id.is_empty() || id.len() > MAX_ID {
            return Ok(());
        }
        let label = value.label_edit_action.as_ref().filter(|label| set && label.deleted != Some(true));
        let label = label.map(|label| {
            let name: String = label.name.as_deref().unwrap_or_default().chars().take(MAX_NAME).collect();
            (name, label.color.unwrap_or(0))
        });
        let labels = turn.tx.labels();
        if label.is_some() && labels.find(id)?.is_none() && labels.list()?.len() >= MAX_LABELS {
            return Ok(());
        }
        let named = label.as_ref().map(|(name, color)| (name.as_str(), *color));
        if !turn.tx.chats().set_label(id, named)? || quiet {
            return Ok(());
        }
        let data = json!({
            "id": id,
            "name": label.as_ref().map(|(name, _)| name),
            "color": label.as_ref().map(|(_, color)| color),
            "deleted": label.is_none(),
            "timestamp": turn.now.rfc3339_offset(),
        });
        let event = NewEvent { kind: "label.updated", lane: None, data: data.to_string(), platform: None };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// A label on a message, or off it.
    pub(super) fn act_label_message(
        &mut self,
        (label, chat, id): (&str, &str, &str),
        on: bool,
        quiet: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Ok(jid) = chat.parse::<Jid>() else { return Ok(()) };
        let Some(chat) = turn.tx.messages().find_chat(&jid)? else { return Ok(()) };
        let Some(message) = turn.tx.messages().find_in_chat(chat.id, id)? else { return Ok(()) };
        if label.len() > MAX_ID || !turn.tx.labels().set_on_message(label, message.id, on)? || quiet {
            return Ok(());
        }
        let Chat { id: conversation, jid: chat, .. } = chat;
        let data = json!({
            "message_id": message.uuid,
            "whatsapp_message_id": message.key.wa_id,
            "chat": chat.to_wire(),
            "from_me": message.key.from_me,
            "labels": turn.tx.labels().of_message(message.id)?,
            "timestamp": turn.now.rfc3339_offset(),
            "conversation_id": conversation,
        });
        let lane = Some(chat.to_wire());
        let event = NewEvent { kind: "message.labeled", lane, data: data.to_string(), platform: None };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }
}
