//! Events as webhooks carry them: the outgoing form (platform-webhooks.md §5) and the platform's (§3), rendered in the
//! turn that caused them.

mod posted;

use std::time::Duration;

use posted::group_invite;
pub(super) use posted::{Posted, incoming};
use serde_json::{Map, Value, json};

use super::{
    Attachment, Error, Qr, Status,
    content::{media_type, text_of},
    dispatch::{Account, Turn},
};
use crate::{
    clock::Millis,
    proto,
    store::{
        events::NewEvent,
        messages::{Chat, Message, MessageKey, NewMessage, Progress},
    },
    wire::Jid,
};

/// How long `media_url` can be fetched without a token (platform-webhooks.md §5.1).
const LINK_LASTS: Duration = Duration::from_secs(7 * 24 * 3600);

/// A message that is to be reported.
pub(super) struct Reported<'a> {
    pub(super) message: &'a NewMessage,
    pub(super) chat: &'a Chat,
    /// The author; in a chat with one person that person, or the account.
    pub(super) sender: &'a Jid,
}

impl Account {
    /// What the platform is posted: of statuses nothing (platform-webhooks.md §3.1).
    fn for_platform(
        chat: &Chat,
        path: &'static str,
        body: impl FnOnce() -> Value,
    ) -> Option<(&'static str, String)> {
        (!chat.jid.is_status()).then(|| (path, body().to_string()))
    }

    /// Whether the named message is the account's. The store knows; else the key says, from its sender's point of view.
    fn is_ours(key: &proto::MessageKey, found: Option<&Message>, by_us: bool) -> bool {
        match found {
            Some(message) => message.key.from_me,
            None => key.from_me.unwrap_or(false) == by_us,
        }
    }

    /// `message.reaction`, and the platform's `reaction`.
    pub(super) fn report_reaction(
        &self,
        reported: &Reported<'_>,
        key: &proto::MessageKey,
        found: Option<&Message>,
        emoji: &str,
        at_ms: Option<i64>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Reported { message, chat, sender } = reported;
        let author = self.number_first(sender, turn)?;
        let from_me = Self::is_ours(key, found, message.key.from_me);
        let data = json!({
            "message_id": found.map(|found| &found.uuid),
            "whatsapp_message_id": key.id,
            "emoji": emoji,
            "sender_number": digits(&author),
            "sender_lid": self.lid_told(sender, turn)?,
            "timestamp": message.at.rfc3339_offset(),
            "conversation_id": chat.id,
        });
        let body = json!({
            "key": { "remoteJid": chat.jid.to_wire(), "id": key.id, "fromMe": from_me },
            "reaction": {
                "text": emoji,
                "key": {
                    "remoteJid": chat.jid.to_wire(),
                    "fromMe": message.key.from_me,
                    "id": message.key.wa_id,
                },
                "timestamp": at_ms,
            },
            "senderJid": author.to_wire(),
        });
        let event = NewEvent {
            kind: "message.reaction",
            lane: Some(chat.jid.to_wire()),
            data: data.to_string(),
            platform: Self::for_platform(chat, "reaction", || body),
        };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// `message.edited` or `message.deleted`; the platform sees the protocol message itself.
    pub(super) fn report_change(
        &self,
        kind: &'static str,
        reported: &Reported<'_>,
        key: &proto::MessageKey,
        found: Option<&Message>,
        text: Option<&str>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Reported { message, chat, sender } = reported;
        let author = self.number_first(sender, turn)?;
        let mut data = json!({
            "message_id": found.map(|found| &found.uuid),
            "whatsapp_message_id": key.id,
            "from_me": message.key.from_me,
            "sender_number": digits(&author),
            "sender_lid": self.lid_told(sender, turn)?,
        });
        if let Some(members) = data.as_object_mut() {
            if let Some(text) = text {
                members.insert("content".into(), text.into());
            }
            members.insert("timestamp".into(), message.at.rfc3339_offset().into());
            members.insert("conversation_id".into(), chat.id.into());
        }
        let body = self.incoming(reported, &author, turn)?;
        let event = NewEvent {
            kind,
            lane: Some(chat.jid.to_wire()),
            data: data.to_string(),
            platform: Self::for_platform(chat, "incoming", || body),
        };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// What somebody did to a message with something that only those can read who have the message's secret. The
    /// platform gets the message that did it, and beside it, under `name`, what it says.
    pub(super) fn report_opened(
        &self,
        kind: &'static str,
        reported: &Reported<'_>,
        target: &Message,
        (name, mut what): (&'static str, Map<String, Value>),
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Reported { message, chat, sender } = reported;
        let author = self.number_first(sender, turn)?;
        let mut data = Map::new();
        data.insert("message_id".into(), target.uuid.clone().into());
        data.insert("whatsapp_message_id".into(), target.key.wa_id.clone().into());
        data.insert("from_me".into(), message.key.from_me.into());
        data.insert("sender_number".into(), digits(&author).into());
        data.insert("sender_lid".into(), self.lid_told(sender, turn)?.into());
        data.extend(what.clone());
        data.insert("timestamp".into(), message.at.rfc3339_offset().into());
        data.insert("conversation_id".into(), chat.id.into());
        let mut body = self.incoming(reported, &author, turn)?;
        if let Some(members) = body.as_object_mut() {
            what.insert("id".into(), target.key.wa_id.clone().into());
            members.insert(name.into(), Value::Object(what));
        }
        let event = NewEvent {
            kind,
            lane: Some(chat.jid.to_wire()),
            data: Value::Object(data).to_string(),
            platform: Self::for_platform(chat, "incoming", || body),
        };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// `message.pinned`, for so many seconds if that was said, or `message.unpinned`: in the log, not posted to the
    /// platform.
    pub(super) fn report_pin(
        &self,
        reported: &Reported<'_>,
        key: &proto::MessageKey,
        found: Option<&Message>,
        pinned: Option<Option<u32>>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Reported { message, chat, sender } = reported;
        let author = self.number_first(sender, turn)?;
        let mut data = json!({
            "message_id": found.map(|found| &found.uuid),
            "whatsapp_message_id": key.id,
            "from_me": message.key.from_me,
            "sender_number": digits(&author),
            "sender_lid": self.lid_told(sender, turn)?,
            "timestamp": message.at.rfc3339_offset(),
            "conversation_id": chat.id,
        });
        if let (Some(seconds), Some(members)) = (pinned, data.as_object_mut()) {
            members.insert("seconds".into(), seconds.into());
        }
        let event = NewEvent {
            kind: if pinned.is_some() { "message.pinned" } else { "message.unpinned" },
            lane: Some(chat.jid.to_wire()),
            data: data.to_string(),
            platform: None,
        };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// `message.received` or `message.sent`, and the platform's `incoming`.
    pub(super) fn report_message(&self, reported: &Reported<'_>, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Reported { message, chat, sender } = reported;
        let author = self.number_first(sender, turn)?;
        let mut data = Map::new();
        data.insert("message_id".into(), message.uuid.clone().into());
        data.insert("whatsapp_message_id".into(), message.key.wa_id.clone().into());
        if message.key.from_me {
            data.insert("recipient_number".into(), digits(&chat.jid).into());
        } else {
            data.insert("sender_number".into(), digits(&author).into());
            data.insert("sender_name".into(), message.push_name.clone().into());
        }
        data.insert("content".into(), text_of(&message.content).into());
        if let Some(invite) = group_invite(&message.content) {
            data.insert("group_invite".into(), invite);
        }
        data.insert("media_type".into(), media_type(&message.content).into());
        data.insert("media_url".into(), self.media_link(message, turn)?.into());
        data.insert("timestamp".into(), message.at.rfc3339_offset().into());
        data.insert("conversation_id".into(), chat.id.into());
        if chat.jid.is_group() {
            data.insert("is_group".into(), true.into());
            data.insert("group_jid".into(), chat.jid.to_wire().into());
        }
        if chat.jid.is_status() {
            data.insert("is_status".into(), true.into());
        }
        let body = self.incoming(reported, &author, turn)?;
        let event = NewEvent {
            kind: if message.key.from_me { "message.sent" } else { "message.received" },
            lane: Some(chat.jid.to_wire()),
            data: Value::Object(data).to_string(),
            platform: Self::for_platform(chat, "incoming", || body),
        };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// Where the file of a message can be fetched without a token, for as long as the contract says.
    fn media_link(&self, message: &NewMessage, turn: &mut Turn<'_>) -> Result<Option<String>, Error> {
        let id = &message.key.wa_id;
        // What is no ordinary id would not be the same in an address.
        let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if !plain || Attachment::of(&message.content).is_none() {
            return Ok(None);
        }
        let expires = (turn.now + LINK_LASTS).secs();
        let signature = turn.tx.links().key(turn.rng)?.sign(id, expires);
        let base = &self.settings.public_url;
        Ok(Some(format!("{base}/messages/{id}/media?expires={expires}&signature={signature}")))
    }

    fn incoming(&self, reported: &Reported<'_>, author: &Jid, turn: &Turn<'_>) -> Result<Value, Error> {
        let Reported { message, chat, sender } = reported;
        let lid = turn.tx.people().lid_known(sender)?;
        let posted = Posted {
            key: &message.key,
            chat,
            author,
            lid: lid.as_ref(),
            at: message.at,
            push_name: message.push_name.as_deref(),
            content: &message.content,
        };
        Ok(incoming(&posted, &self.settings.public_url))
    }

    /// `message.status`, and the platform's `status`. `before` is the level it had.
    pub(super) fn report_progress(
        &self,
        uuid: &str,
        key: &MessageKey,
        before: Progress,
        now: Progress,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(chat) = turn.tx.messages().chat_by_id(key.chat)? else { return Ok(()) };
        let remote = chat.jid.to_wire();
        let data = json!({
            "message_id": uuid,
            "whatsapp_message_id": key.wa_id,
            "previous_status": before.as_str(),
            "new_status": now.as_str(),
            "recipient_number": digits(&chat.jid),
            "timestamp": turn.now.rfc3339_offset(),
        });
        let mut wire_key = json!({ "remoteJid": remote, "id": key.wa_id, "fromMe": true });
        if let (Some(alt), Some(members)) = (&chat.alt, wire_key.as_object_mut()) {
            members.insert("remoteJidAlt".into(), alt.to_wire().into());
        }
        let body = json!({ "key": wire_key, "status": now as u8, "messageTimestamp": turn.now.secs() });
        let event = NewEvent {
            kind: "message.status",
            lane: Some(remote),
            data: data.to_string(),
            platform: Self::for_platform(&chat, "status", || body),
        };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// `message.undecryptable`: in the log, not posted to the platform.
    pub(super) fn report_undecryptable(
        &self,
        key: &MessageKey,
        chat: &Chat,
        sender: &Jid,
        reason: &str,
        at: Millis,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let author = self.number_first(sender, turn)?;
        let data = json!({
            "whatsapp_message_id": key.wa_id,
            "chat": chat.jid.to_wire(),
            "from_me": key.from_me,
            "sender_number": digits(&author),
            "sender_lid": self.lid_told(sender, turn)?,
            "reason": reason,
            "timestamp": at.rfc3339_offset(),
            "conversation_id": chat.id,
        });
        let event = NewEvent {
            kind: "message.undecryptable",
            lane: Some(chat.jid.to_wire()),
            data: data.to_string(),
            platform: None,
        };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// `instance.qr`, and the platform's `qr`.
    pub(super) fn report_code(&self, qr: &Qr, turn: &mut Turn<'_>) -> Result<(), Error> {
        let picture = crate::qr::Picture::of(&qr.text).ok().map(|picture| picture.data_uri());
        let mut data = json!({
            "status": Status::QrReady.as_str(),
            "qr_code": picture,
            "qr_code_text": qr.text,
            "qr_generated_at": qr.generated_at.rfc3339_offset(),
        });
        let mut body = json!({
            "qr": qr.text,
            "qr_image": picture,
            "generated_at": qr.generated_at.rfc3339_secs(),
        });
        if let Some(code) = self.link.code.text() {
            for members in [&mut data, &mut body].into_iter().filter_map(Value::as_object_mut) {
                members.insert("pairing_code".into(), code.into());
            }
        }
        let event = NewEvent {
            kind: "instance.qr",
            lane: None,
            data: data.to_string(),
            platform: Some(("qr", body.to_string())),
        };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// The link's status changed from `before`: the platform's `connection`, and the event that fits.
    pub(super) fn announce(&self, before: Status, turn: &mut Turn<'_>) -> Result<(), Error> {
        let now = self.link.status;
        let phone = self.linked_number();
        let kind = match now {
            Status::Connected => "instance.connected",
            Status::Disconnected => "instance.disconnected",
            // An outage becomes a disconnection once it has lasted; see `report_outage`.
            Status::Pending | Status::QrReady | Status::Offline => "instance.health",
        };
        let mut data = json!({
            "previous_status": before.as_str(),
            "new_status": now.as_str(),
            "phone_number": phone,
        });
        if let (true, Some(members)) = (now != Status::Connected, data.as_object_mut()) {
            members.insert("reason".into(), self.link.reason.into());
        }
        let body = json!({
            "status": now.as_str(),
            "phone_number": phone,
            "timestamp": turn.now.rfc3339_secs(),
            "reason": self.link.reason,
        });
        let event = NewEvent {
            kind,
            lane: None,
            data: data.to_string(),
            platform: Some(("connection", body.to_string())),
        };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// An outage has lasted long enough to be told as a disconnection. The platform knows already.
    pub(super) fn report_outage(&self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let data = json!({
            "previous_status": Status::Connected.as_str(),
            "new_status": Status::Offline.as_str(),
            "phone_number": self.linked_number(),
            "reason": "connection_lost",
        });
        let event =
            NewEvent { kind: "instance.disconnected", lane: None, data: data.to_string(), platform: None };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// The number as last known: a logout has wiped the account, its event still names it.
    fn linked_number(&self) -> Option<String> {
        self.device.paired.as_ref().map(|p| p.jid.user().to_owned()).or_else(|| self.link.phone.clone())
    }

    /// A person by number where it is known; bare.
    pub(super) fn number_first(&self, person: &Jid, turn: &Turn<'_>) -> Result<Jid, Error> {
        Ok(turn.tx.people().number_first(person)?)
    }

    /// The LID of whoever did something, as events say it beside the number.
    pub(super) fn lid_told(&self, person: &Jid, turn: &Turn<'_>) -> Result<Option<String>, Error> {
        Ok(turn.tx.people().lid_known(person)?.map(|lid| lid.to_wire()))
    }

    /// The number and the LID of whoever did something, if somebody is named at all.
    pub(super) fn author_told(
        &self,
        author: Option<&Jid>,
        turn: &Turn<'_>,
    ) -> Result<(Option<String>, Option<String>), Error> {
        let Some(author) = author else { return Ok((None, None)) };
        Ok((Some(digits(&self.number_first(author, turn)?)), self.lid_told(author, turn)?))
    }
}

/// What stands where events name a number: that, and where it is not known the LID with its server, which no one can
/// take for a number and every route takes for the person.
pub(super) fn digits(person: &Jid) -> String {
    if person.is_lid() { person.to_wire() } else { person.user().to_owned() }
}
