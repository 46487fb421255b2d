//! What a phone's user can send, as `waE2E.Message`s.

mod file;

use prost::Message as _;
use rand::Rng as _;

pub use file::FileKind;
pub(crate) use file::Uploaded;

use super::{AccountId, Namespace, OperateError, World};
use crate::{
    clock::Millis,
    proto::{
        self, ContextInfo, MessageContextInfo, MessageKey,
        message::{
            ContactMessage, ContactsArrayMessage, ExtendedTextMessage, LocationMessage, PollCreationMessage,
            ProtocolMessage, ReactionMessage, poll_creation_message,
        },
    },
    wire::Jid,
};

/// ProtocolMessage types (protocol 02, 14).
const REVOKE: i32 = 0;
const EPHEMERAL_SETTING: i32 = 3;
const MESSAGE_EDIT: i32 = 14;

/// What a phone is to send.
#[derive(Clone, Debug, PartialEq)]
pub enum Sending {
    /// A text, in answer to a message if `quote` names one.
    Text {
        /// As typed.
        text: String,
        /// Id of the quoted message.
        quote: Option<String>,
    },
    /// A reaction to a message of either side; an empty emoji takes it back.
    Reaction {
        /// Of the message.
        id: String,
        /// One emoji.
        emoji: String,
    },
    /// Another text for a message that this phone sent.
    Edit {
        /// Of the message.
        id: String,
        /// The new text.
        text: String,
    },
    /// Deletes a message that this phone sent, for everyone.
    Revoke {
        /// Of the message.
        id: String,
    },
    /// A place.
    Location {
        /// Degrees.
        latitude: f64,
        /// Degrees.
        longitude: f64,
        /// Of the place.
        name: Option<String>,
        /// Of the place.
        address: Option<String>,
    },
    /// Contact cards: name and vCard of each.
    Contacts(Vec<(String, String)>),
    /// A poll.
    Poll {
        /// The question.
        question: String,
        /// The answers.
        options: Vec<String>,
        /// More than one may be chosen.
        multiple: bool,
    },
    /// A vote in a poll.
    Vote {
        /// Of the poll.
        id: String,
        /// The names chosen; none withdraws an earlier vote.
        options: Vec<String>,
    },
    /// How long messages of the chat stay from now on.
    Timer {
        /// 0: they stay.
        seconds: u32,
    },
    /// A serialized `waE2E.Message`.
    Raw(Vec<u8>),
}

impl World {
    /// The phone's user sends; the id.
    pub(crate) fn send_from(
        &mut self,
        phone: AccountId,
        to: &str,
        what: Sending,
        now: Millis,
    ) -> Result<String, OperateError> {
        let to = self.sends_to(phone, to)?;
        let message = self.compose(phone, &to, what, now)?;
        self.send_composed(phone, &to, message, now)
    }

    /// The same with a file.
    pub(crate) fn send_file(
        &mut self,
        phone: AccountId,
        to: &str,
        file: Uploaded,
        now: Millis,
    ) -> Result<String, OperateError> {
        let to = self.sends_to(phone, to)?;
        let context = file.quote.as_deref().map(|id| self.quotation(phone, id)).transpose()?;
        let blob = file.encrypted.file_enc_sha256;
        let path = super::media::direct_path(Some(file.kind.word()), &blob, &self.random_hex(4));
        let url = format!("https://{}{path}&mms3=true", self.media_host());
        let message = file.message(url, path, context.map(Box::new), now);
        self.send_composed(phone, &to, message.encode_to_vec(), now)
    }

    /// Whether this phone can send there now.
    pub(crate) fn sends_to(&self, phone: AccountId, to: &str) -> Result<Jid, OperateError> {
        if !self.account(phone).phone.online {
            return Err(OperateError::Conflict("the phone is offline"));
        }
        self.recipient(to)
    }

    fn send_composed(
        &mut self,
        phone: AccountId,
        to: &Jid,
        message: Vec<u8>,
        now: Millis,
    ) -> Result<String, OperateError> {
        let message = self.with_secret(message);
        let id = self.phone_sends(phone, to, message, now).ok_or(OperateError::NoSuchRecipient)?;
        self.settle(now);
        Ok(id)
    }

    /// Phones put a secret into every message, for what may refer to it later: votes of a poll. What is given as bytes
    /// keeps what our schema does not know, and a secret of its own.
    pub(super) fn with_secret(&mut self, mut message: Vec<u8>) -> Vec<u8> {
        let decoded = proto::Message::decode(message.as_slice()).unwrap_or_default();
        if decoded.message_context_info.is_some_and(|context| context.message_secret.is_some()) {
            return message;
        }
        let mut secret = vec![0; 32];
        self.rng.fill_bytes(&mut secret);
        let context = MessageContextInfo { message_secret: Some(secret), ..Default::default() };
        // Members that repeat are merged by whoever decodes them.
        let more = proto::Message { message_context_info: Some(context), ..Default::default() };
        message.extend(more.encode_to_vec());
        message
    }

    pub(super) fn compose(
        &mut self,
        phone: AccountId,
        to: &Jid,
        what: Sending,
        now: Millis,
    ) -> Result<Vec<u8>, OperateError> {
        let mut message = proto::Message::default();
        match what {
            Sending::Raw(bytes) => {
                return match proto::Message::decode(bytes.as_slice()) {
                    Ok(_) => Ok(bytes),
                    Err(_) => Err(OperateError::BadRequest("raw: not a waE2E.Message")),
                };
            }
            Sending::Text { text, quote: None } => message.conversation = Some(text),
            Sending::Text { text, quote: Some(id) } => {
                message.extended_text_message = Some(Box::new(ExtendedTextMessage {
                    text: Some(text),
                    context_info: Some(Box::new(self.quotation(phone, &id)?)),
                    ..Default::default()
                }));
            }
            Sending::Reaction { id, emoji } => {
                let from_me = self.wrote(phone, &id)?;
                // In a group the author tells whose message it is.
                let inbox = &self.account(phone).phone.inbox;
                let author = inbox.iter().rev().find(|m| m.id == id && !m.chat.is_user() && !from_me);
                let participant = author.map(|m| m.sender.to_wire());
                message.reaction_message = Some(ReactionMessage {
                    key: Some(MessageKey { participant, ..key(to, from_me, &id) }),
                    text: Some(emoji),
                    sender_timestamp_ms: i64::try_from(now.0).ok(),
                    ..Default::default()
                });
            }
            Sending::Edit { id, text } => {
                let edited = proto::Message { conversation: Some(text), ..Default::default() };
                message.protocol_message = Some(Box::new(ProtocolMessage {
                    key: Some(self.own_key(phone, to, &id)?),
                    r#type: Some(MESSAGE_EDIT),
                    edited_message: Some(Box::new(edited)),
                    timestamp_ms: i64::try_from(now.0).ok(),
                    ..Default::default()
                }));
            }
            Sending::Revoke { id } => {
                let key = match self.own_key(phone, to, &id) {
                    Err(OperateError::BadRequest(_)) if to.is_group() => self.others_key(phone, to, &id)?,
                    key => key?,
                };
                message.protocol_message = Some(Box::new(ProtocolMessage {
                    key: Some(key),
                    r#type: Some(REVOKE),
                    ..Default::default()
                }));
            }
            Sending::Timer { seconds } => {
                message.protocol_message = Some(Box::new(ProtocolMessage {
                    r#type: Some(EPHEMERAL_SETTING),
                    ephemeral_expiration: Some(seconds),
                    ephemeral_setting_timestamp: i64::try_from(now.secs()).ok(),
                    ..Default::default()
                }));
            }
            Sending::Location { latitude, longitude, name, address } => {
                if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
                    return Err(OperateError::BadRequest("latitude -90 to 90, longitude -180 to 180"));
                }
                message.location_message = Some(Box::new(LocationMessage {
                    degrees_latitude: Some(latitude),
                    degrees_longitude: Some(longitude),
                    name,
                    address,
                    ..Default::default()
                }));
            }
            Sending::Vote { id, options } => message = self.vote(phone, to, &id, &options, now)?,
            Sending::Contacts(contacts) => self::contacts(&mut message, contacts)?,
            Sending::Poll { question, options, multiple } => {
                if options.len() < 2 || options.len() > 12 {
                    return Err(OperateError::BadRequest("a poll has 2 to 12 options"));
                }
                let option =
                    |name| poll_creation_message::Option { option_name: Some(name), option_hash: None };
                let poll = PollCreationMessage {
                    name: Some(question),
                    options: options.into_iter().map(option).collect(),
                    selectable_options_count: Some(u32::from(!multiple)),
                    ..Default::default()
                };
                // Polls with one answer have a member of their own.
                let member = if multiple {
                    &mut message.poll_creation_message
                } else {
                    &mut message.poll_creation_message_v3
                };
                *member = Some(Box::new(poll));
            }
        }
        Ok(message.encode_to_vec())
    }

    /// Whether a message that the phone knows is of its own account.
    fn wrote(&self, phone: AccountId, id: &str) -> Result<bool, OperateError> {
        let phone = &self.account(phone).phone;
        if phone.sent.contains_key(id) {
            return Ok(true);
        }
        let received = phone.inbox.iter().rev().find(|m| m.id == id);
        received.map(|m| m.from_me).ok_or(OperateError::NoSuchMessage)
    }

    fn own_key(&self, phone: AccountId, chat: &Jid, id: &str) -> Result<MessageKey, OperateError> {
        if self.wrote(phone, id)? {
            Ok(key(chat, true, id))
        } else {
            Err(OperateError::BadRequest("that message is of somebody else"))
        }
    }

    /// The key of what somebody else wrote in a group.
    fn others_key(&self, phone: AccountId, group: &Jid, id: &str) -> Result<MessageKey, OperateError> {
        let inbox = &self.account(phone).phone.inbox;
        let message = inbox.iter().rev().find(|m| m.id == id && m.chat == *group);
        let author = message.ok_or(OperateError::NoSuchMessage)?.sender.to_wire();
        Ok(MessageKey { participant: Some(author), ..key(group, false, id) })
    }

    fn quotation(&self, phone: AccountId, id: &str) -> Result<ContextInfo, OperateError> {
        let account = self.account(phone);
        let received = account.phone.inbox.iter().rev().find(|m| m.id == id);
        let (author, bytes) = match (received, account.phone.sent.get(id)) {
            (Some(message), _) => (message.sender.clone(), &message.message),
            (None, Some(kept)) => (account.jid(Namespace::of(&kept.to), 0), &kept.message),
            (None, None) => return Err(OperateError::NoSuchMessage),
        };
        let mut quoted = proto::Message::decode(bytes.as_slice()).unwrap_or_default();
        quoted.message_context_info = None;
        Ok(ContextInfo {
            stanza_id: Some(id.to_owned()),
            participant: Some(author.to_wire()),
            quoted_message: Some(Box::new(quoted)),
            ..Default::default()
        })
    }
}

fn key(chat: &Jid, from_me: bool, id: &str) -> MessageKey {
    MessageKey {
        remote_jid: Some(chat.bare().to_wire()),
        from_me: Some(from_me),
        id: Some(id.to_owned()),
        participant: None,
    }
}

fn contacts(message: &mut proto::Message, contacts: Vec<(String, String)>) -> Result<(), OperateError> {
    let card = |(name, vcard): (String, String)| ContactMessage {
        display_name: Some(name),
        vcard: Some(vcard),
        ..Default::default()
    };
    let mut cards: Vec<ContactMessage> = contacts.into_iter().map(card).collect();
    match cards.len() {
        0 => return Err(OperateError::BadRequest("contact: at least one")),
        1 => message.contact_message = cards.pop().map(Box::new),
        count => {
            message.contacts_array_message = Some(Box::new(ContactsArrayMessage {
                display_name: Some(format!("{count} contacts")),
                contacts: cards,
                ..Default::default()
            }));
        }
    }
    Ok(())
}
