//! What a phone's user can send, as `waE2E.Message`s, and the form of the stanza that each travels in.

use prost::Message as _;
use rand::Rng as _;

use super::{AccountId, Namespace, OperateError, World};
use crate::{
    clock::Millis,
    crypto::media::Encrypted,
    proto::{
        self, ContextInfo, MessageContextInfo, MessageKey,
        message::{
            AudioMessage, ContactMessage, ContactsArrayMessage, DocumentMessage, ExtendedTextMessage,
            FutureProofMessage, ImageMessage, LocationMessage, PollCreationMessage, ProtocolMessage,
            ReactionMessage, StickerMessage, VideoMessage, poll_creation_message,
        },
    },
    stanza::{Enc, Outgoing},
    wire::{Jid, Node},
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

/// What kind of message a file becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A picture.
    Image,
    /// A video.
    Video,
    /// A short video that repeats without sound.
    Gif,
    /// A round video note.
    Ptv,
    /// Music and the like.
    Audio,
    /// A voice note.
    Ptt,
    /// Any file.
    Document,
    /// WebP.
    Sticker,
}

/// A file that is uploaded, and what is said about it.
pub(crate) struct Uploaded {
    pub(crate) kind: FileKind,
    pub(crate) mimetype: String,
    pub(crate) caption: Option<String>,
    pub(crate) filename: Option<String>,
    pub(crate) seconds: Option<u32>,
    pub(crate) view_once: bool,
    pub(crate) quote: Option<String>,
    pub(crate) media_key: [u8; 32],
    pub(crate) encrypted: Encrypted,
}

/// How a message travels (protocol 02, 6.4 and 6.5).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Form {
    pub(crate) kind: &'static str,
    pub(crate) mediatype: Option<&'static str>,
    pub(crate) edit: Option<&'static str>,
    pub(crate) hide_failure: bool,
    pub(crate) meta: Option<Node>,
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

impl FileKind {
    /// Reads the name that the control API uses.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "image" => Self::Image,
            "video" => Self::Video,
            "gif" => Self::Gif,
            "ptv" => Self::Ptv,
            "audio" => Self::Audio,
            "ptt" => Self::Ptt,
            "document" => Self::Document,
            "sticker" => Self::Sticker,
            _ => return None,
        })
    }

    /// Of uploads, as clients name it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Image | Self::Sticker => "image",
            Self::Video | Self::Gif | Self::Ptv => "video",
            Self::Audio | Self::Ptt => "audio",
            Self::Document => "document",
        }
    }

    pub(crate) const fn keys(self) -> crate::crypto::media::MediaKind {
        use crate::crypto::media::MediaKind;
        match self {
            Self::Image => MediaKind::Image,
            Self::Sticker => MediaKind::Sticker,
            Self::Video | Self::Gif | Self::Ptv => MediaKind::Video,
            Self::Audio | Self::Ptt => MediaKind::Audio,
            Self::Document => MediaKind::Document,
        }
    }

    /// What phones send of this kind.
    pub(crate) const fn usual_mimetype(self) -> &'static str {
        match self {
            Self::Image => "image/jpeg",
            Self::Video | Self::Gif | Self::Ptv => "video/mp4",
            Self::Audio => "audio/mpeg",
            Self::Ptt => "audio/ogg; codecs=opus",
            Self::Document => "application/octet-stream",
            Self::Sticker => "image/webp",
        }
    }
}

impl Uploaded {
    fn message(
        self,
        url: String,
        path: String,
        context_info: Option<Box<ContextInfo>>,
        now: Millis,
    ) -> proto::Message {
        let (kind, caption, seconds) = (self.kind, self.caption, self.seconds);
        let url = Some(url);
        let direct_path = Some(path);
        let mimetype = Some(self.mimetype);
        let media_key = Some(self.media_key.to_vec());
        let media_key_timestamp = i64::try_from(now.secs()).ok();
        let file_sha256 = Some(self.encrypted.file_sha256.to_vec());
        let file_enc_sha256 = Some(self.encrypted.file_enc_sha256.to_vec());
        let file_length = Some(self.encrypted.file_length);
        let streaming_sidecar = self.encrypted.sidecar;
        let view_once = self.view_once.then_some(true);
        let mut message = proto::Message::default();
        // The fields of each kind are the same, their numbers are not.
        macro_rules! file {
            ($message:ident { $($field:ident $(: $value:expr)?),* $(,)? }) => {
                Some(Box::new($message {
                    url,
                    direct_path,
                    mimetype,
                    media_key,
                    media_key_timestamp,
                    file_sha256,
                    file_enc_sha256,
                    file_length,
                    context_info,
                    $($field $(: $value)?,)*
                    ..Default::default()
                }))
            };
        }
        match kind {
            FileKind::Image => message.image_message = file!(ImageMessage { caption, view_once }),
            FileKind::Video | FileKind::Gif | FileKind::Ptv => {
                let gif_playback = (kind == FileKind::Gif).then_some(true);
                let video =
                    file!(VideoMessage { caption, seconds, gif_playback, streaming_sidecar, view_once });
                let member =
                    if kind == FileKind::Ptv { &mut message.ptv_message } else { &mut message.video_message };
                *member = video;
            }
            FileKind::Audio | FileKind::Ptt => {
                let ptt = Some(kind == FileKind::Ptt);
                message.audio_message = file!(AudioMessage { seconds, ptt, streaming_sidecar, view_once });
            }
            FileKind::Document => {
                let file_name = Some(self.filename.unwrap_or_else(|| "file".into()));
                let captioned = caption.is_some();
                message.document_message =
                    file!(DocumentMessage { title: file_name.clone(), file_name, caption });
                if captioned {
                    message = wrapped(message, |outer| &mut outer.document_with_caption_message);
                }
            }
            FileKind::Sticker => message.sticker_message = file!(StickerMessage {}),
        }
        if self.view_once
            && matches!(kind, FileKind::Image | FileKind::Video | FileKind::Audio | FileKind::Ptt)
        {
            message = wrapped(message, |outer| &mut outer.view_once_message_v2);
        }
        message
    }
}

fn wrapped(
    inner: proto::Message,
    member: impl FnOnce(&mut proto::Message) -> &mut Option<Box<FutureProofMessage>>,
) -> proto::Message {
    let mut outer = proto::Message::default();
    *member(&mut outer) = Some(Box::new(FutureProofMessage { message: Some(Box::new(inner)) }));
    outer
}

impl Form {
    pub(crate) fn text() -> Self {
        Self { kind: "text", ..Self::default() }
    }

    /// A stanza in this form, without its ciphertexts.
    pub(crate) fn stanza(&self, id: String, to: Jid) -> Outgoing {
        Outgoing {
            kind: self.kind.into(),
            edit: self.edit.map(str::to_owned),
            extras: self.meta.clone().into_iter().collect(),
            ..Outgoing::text(id, to)
        }
    }

    /// A ciphertext in this form.
    pub(crate) fn enc(&self, enc: Enc) -> Enc {
        let mediatype = self.mediatype.map(str::to_owned);
        Enc { mediatype, hide_failure: self.hide_failure, ..enc }
    }

    pub(crate) fn of(message: &proto::Message) -> Self {
        let wrapped = [
            &message.ephemeral_message,
            &message.view_once_message,
            &message.view_once_message_v2,
            &message.view_once_message_v2_extension,
            &message.document_with_caption_message,
            &message.lottie_sticker_message,
        ];
        if let Some(inner) = wrapped.into_iter().flatten().find_map(|wrapper| wrapper.message.as_ref()) {
            return Self::of(inner);
        }
        if let Some(reaction) = &message.reaction_message {
            let taken_back = reaction.text.as_deref().unwrap_or_default().is_empty();
            let edit = taken_back.then_some("7");
            return Self { kind: "reaction", edit, hide_failure: true, ..Self::default() };
        }
        let polls = [
            &message.poll_creation_message,
            &message.poll_creation_message_v2,
            &message.poll_creation_message_v3,
        ];
        if polls.into_iter().any(Option::is_some) {
            let meta = Some(Node::new("meta").attr("polltype", "creation"));
            return Self { kind: "poll", meta, ..Self::default() };
        }
        if message.poll_update_message.is_some() {
            let meta = Some(Node::new("meta").attr("polltype", "vote"));
            return Self { kind: "poll", hide_failure: true, meta, ..Self::default() };
        }
        let of_others =
            |protocol: &ProtocolMessage| protocol.key.as_ref().is_some_and(|key| key.from_me == Some(false));
        let protocol = message.protocol_message.as_ref();
        let (edit, hide_failure) = match protocol.and_then(|protocol| protocol.r#type) {
            Some(MESSAGE_EDIT) => (Some("1"), true),
            // Somebody else's, by who manages the group.
            Some(REVOKE) if protocol.is_some_and(|protocol| of_others(protocol)) => (Some("8"), false),
            Some(REVOKE) => (Some("7"), false),
            _ => (None, false),
        };
        let mediatype = mediatype(message);
        let kind = if mediatype.is_some() { "media" } else { "text" };
        Self { kind, mediatype, edit, hide_failure, meta: None }
    }
}

/// `mediatype` of the ciphertexts (protocol 03, 10).
fn mediatype(message: &proto::Message) -> Option<&'static str> {
    if message.image_message.is_some() {
        Some("image")
    } else if let Some(video) = &message.video_message {
        Some(if video.gif_playback == Some(true) { "gif" } else { "video" })
    } else if message.ptv_message.is_some() {
        Some("ptv")
    } else if let Some(audio) = &message.audio_message {
        Some(if audio.ptt == Some(true) { "ptt" } else { "audio" })
    } else if message.document_message.is_some() {
        Some("document")
    } else if message.sticker_message.is_some() {
        Some("sticker")
    } else if let Some(location) = &message.location_message {
        Some(if location.is_live == Some(true) { "livelocation" } else { "location" })
    } else if message.contact_message.is_some() {
        Some("vcard")
    } else if message.contacts_array_message.is_some() {
        Some("contact_array")
    } else {
        None
    }
}
