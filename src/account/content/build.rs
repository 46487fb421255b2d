//! What a send says, as a serialized `waE2E.Message`.

use prost::Message as _;

use crate::{
    account::{Body, Media, Shape},
    proto::{
        ContextInfo, Message, MessageContextInfo, MessageKey,
        message::{
            AudioMessage, ContactMessage, ContactsArrayMessage, DocumentMessage, ExtendedTextMessage,
            FutureProofMessage, GroupInviteMessage, ImageMessage, LocationMessage, PinInChatMessage,
            PollCreationMessage, PollEncValue, PollUpdateMessage, ProtocolMessage, ReactionMessage,
            StickerMessage, VideoMessage, poll_creation_message::Option as PollOption,
        },
    },
    wire::Jid,
};

/// `ProtocolMessage.Type`: REVOKE and MESSAGE_EDIT.
const REVOKE: i32 = 0;
const EDIT: i32 = 14;
/// `ExtendedTextMessage.PreviewType` of an ordinary page (the others are videos, payments and the like).
const PREVIEW_NONE: i32 = 0;
/// `PinInChatMessage.Type`.
const PIN: i32 = 1;
const UNPIN: i32 = 2;

/// A page without a colour of its own: the green of WhatsApp's own clients, as ARGB.
const STATUS_BACKGROUND: u32 = 0xff25_d366;

/// What is quoted by a reply.
pub(in crate::account) struct Quote<'a> {
    pub(in crate::account) id: String,
    pub(in crate::account) author: Jid,
    pub(in crate::account) content: &'a [u8],
}

/// Everything that goes into a message.
pub(in crate::account) struct Build<'a> {
    pub(in crate::account) body: &'a Body,
    pub(in crate::account) quote: Option<&'a Quote<'a>>,
    pub(in crate::account) mentions: &'a [Jid],
    /// What a reaction, an edit or a revocation is about.
    pub(in crate::account) target: Option<MessageKey>,
    /// A vote, encrypted with its poll's secret.
    pub(in crate::account) vote: Option<PollEncValue>,
    /// Milliseconds since 1970.
    pub(in crate::account) at_ms: u64,
    /// The message's own secret, from which later add-ons derive their keys.
    pub(in crate::account) secret: [u8; 32],
}

/// Serializes it.
pub(in crate::account) fn build(parts: &Build<'_>) -> Vec<u8> {
    let at_ms = i64::try_from(parts.at_ms).ok();
    let mut message = Message::default();
    let mut secret = true;
    match parts.body {
        Body::Text(text) => set_text(&mut message, text, context(parts)),
        Body::Linked { text, preview } => {
            message.extended_text_message = Some(Box::new(ExtendedTextMessage {
                text: Some(text.clone()),
                matched_text: Some(preview.url.clone()),
                title: Some(preview.title.clone()),
                description: preview.description.clone(),
                preview_type: Some(PREVIEW_NONE),
                jpeg_thumbnail: preview.thumbnail.clone(),
                context_info: context(parts),
                ..Default::default()
            }));
        }
        Body::StatusText { text, background, font } => {
            message.extended_text_message = Some(Box::new(ExtendedTextMessage {
                text: Some(text.clone()),
                // White on it, as the clients write.
                text_argb: Some(0xffff_ffff),
                background_argb: Some(background.unwrap_or(STATUS_BACKGROUND)),
                font: Some(font.map_or(0, i32::from)),
                context_info: context(parts),
                ..Default::default()
            }));
        }
        Body::Location { latitude, longitude, name, address } => {
            message.location_message = Some(Box::new(LocationMessage {
                degrees_latitude: Some(*latitude),
                degrees_longitude: Some(*longitude),
                name: name.clone(),
                address: address.clone(),
                context_info: context(parts),
                ..Default::default()
            }));
        }
        Body::GroupInvite { group, name, invite, caption } => {
            message.group_invite_message = Some(Box::new(GroupInviteMessage {
                group_jid: Some(group.to_wire()),
                invite_code: Some(invite.code.clone()),
                invite_expiration: i64::try_from(invite.expiration).ok(),
                group_name: Some(name.clone()),
                caption: caption.clone(),
                context_info: context(parts),
                ..Default::default()
            }));
        }
        Body::Contacts(cards) => {
            let mut cards: Vec<ContactMessage> = cards
                .iter()
                .map(|card| ContactMessage {
                    display_name: Some(card.name.clone()),
                    vcard: Some(card.vcard.clone()),
                    context_info: None,
                })
                .collect();
            if let ([card], context) = (&mut cards[..], context(parts)) {
                card.context_info = context;
                message.contact_message = cards.pop().map(Box::new);
            } else {
                message.contacts_array_message = Some(Box::new(ContactsArrayMessage {
                    display_name: Some(format!("{} contacts", cards.len())),
                    contacts: cards,
                    context_info: context(parts),
                }));
            }
        }
        Body::Poll { question, options, multiple } => {
            let option = |name: &String| PollOption { option_name: Some(name.clone()), option_hash: None };
            let poll = Box::new(PollCreationMessage {
                name: Some(question.clone()),
                options: options.iter().map(option).collect(),
                selectable_options_count: Some(if *multiple { 0 } else { 1 }),
                context_info: context(parts),
                ..Default::default()
            });
            // Clients use the third form for a single choice, the first for several.
            if *multiple {
                message.poll_creation_message = Some(poll);
            } else {
                message.poll_creation_message_v3 = Some(poll);
            }
        }
        Body::Reaction { emoji, .. } => {
            secret = false;
            message.reaction_message = Some(ReactionMessage {
                key: parts.target.clone(),
                text: Some(emoji.clone()),
                grouping_key: None,
                sender_timestamp_ms: at_ms,
            });
        }
        Body::Edit { text, .. } => {
            secret = false;
            let mut edited = Message::default();
            set_text(&mut edited, text, None);
            message.protocol_message = Some(Box::new(ProtocolMessage {
                key: parts.target.clone(),
                r#type: Some(EDIT),
                edited_message: Some(Box::new(edited)),
                timestamp_ms: at_ms,
                ..Default::default()
            }));
        }
        Body::Media(media) => {
            set_media(&mut message, media, context(parts), at_ms.map(|ms| ms / 1000));
            if media.view_once {
                wrap(&mut message, |message, inner| message.view_once_message_v2 = Some(inner));
            } else if matches!(media.shape, Shape::Document { .. }) && media.caption.is_some() {
                wrap(&mut message, |message, inner| message.document_with_caption_message = Some(inner));
            }
        }
        Body::Vote { .. } => {
            secret = false;
            message.poll_update_message = Some(PollUpdateMessage {
                poll_creation_message_key: parts.target.clone(),
                vote: parts.vote.clone(),
                sender_timestamp_ms: at_ms,
            });
        }
        Body::Pin { lasting, .. } => {
            secret = false;
            message.pin_in_chat_message = Some(PinInChatMessage {
                key: parts.target.clone(),
                r#type: Some(if lasting.is_some() { PIN } else { UNPIN }),
                sender_timestamp_ms: at_ms,
            });
            let seconds = lasting.map_or(0, |lasting| u32::try_from(lasting.as_secs()).unwrap_or(u32::MAX));
            message.message_context_info = Some(MessageContextInfo {
                message_add_on_duration_in_secs: Some(seconds),
                ..Default::default()
            });
        }
        // Made of the other message's own bytes; see `forward`.
        Body::Forward { .. } => {}
        Body::Revoke { .. } => {
            secret = false;
            message.protocol_message = Some(Box::new(ProtocolMessage {
                key: parts.target.clone(),
                r#type: Some(REVOKE),
                ..Default::default()
            }));
        }
    }
    if secret {
        message.message_context_info =
            Some(MessageContextInfo { message_secret: Some(parts.secret.to_vec()), ..Default::default() });
    }
    message.encode_to_vec()
}

fn set_text(message: &mut Message, text: &str, context: Option<Box<ContextInfo>>) {
    match context {
        None => message.conversation = Some(text.to_owned()),
        Some(context) => {
            message.extended_text_message = Some(Box::new(ExtendedTextMessage {
                text: Some(text.to_owned()),
                context_info: Some(context),
                ..Default::default()
            }));
        }
    }
}

/// A quote inside a quote is not carried along.
fn strip_context(quoted: &mut Message) {
    macro_rules! strip {
        ($($member:ident),*) => { $(
            if let Some(inner) = quoted.$member.as_mut() {
                inner.context_info = None;
            }
        )* };
    }
    strip!(
        extended_text_message,
        image_message,
        video_message,
        ptv_message,
        audio_message,
        document_message,
        sticker_message,
        location_message,
        contact_message,
        contacts_array_message
    );
}

/// Puts the message into another whose only content it is.
fn wrap(message: &mut Message, into: impl FnOnce(&mut Message, Box<FutureProofMessage>)) {
    let inner = FutureProofMessage { message: Some(Box::new(std::mem::take(message))) };
    into(message, Box::new(inner));
}

fn set_media(message: &mut Message, media: &Media, context: Option<Box<ContextInfo>>, at: Option<i64>) {
    let sealed = |bytes: &[u8; 32]| (!media.open).then(|| bytes.to_vec());
    let (key, enc) = (|| sealed(&media.media_key), || sealed(&media.file_enc_sha256));
    let sha = || Some(media.file_sha256.to_vec());
    let at = at.filter(|_| !media.open);
    let (url, path) = (|| Some(media.url.clone()), || Some(media.direct_path.clone()));
    let (mimetype, length) = (Some(media.mimetype.clone()), Some(media.file_length));
    let once = media.view_once.then_some(true);
    let video = |gif: bool, context| VideoMessage {
        url: url(),
        mimetype: Some(media.mimetype.clone()),
        file_sha256: sha(),
        file_length: length,
        seconds: media.seconds,
        media_key: key(),
        caption: media.caption.clone(),
        gif_playback: gif.then_some(true),
        height: media.height,
        width: media.width,
        file_enc_sha256: enc(),
        direct_path: path(),
        media_key_timestamp: at,
        jpeg_thumbnail: media.thumbnail.clone(),
        context_info: context,
        streaming_sidecar: media.sidecar.clone(),
        view_once: once,
    };
    match &media.shape {
        Shape::Image => {
            message.image_message = Some(Box::new(ImageMessage {
                url: url(),
                mimetype,
                caption: media.caption.clone(),
                file_sha256: sha(),
                file_length: length,
                height: media.height,
                width: media.width,
                media_key: key(),
                file_enc_sha256: enc(),
                direct_path: path(),
                media_key_timestamp: at,
                jpeg_thumbnail: media.thumbnail.clone(),
                context_info: context,
                view_once: once,
            }));
        }
        Shape::Video { gif } => message.video_message = Some(Box::new(video(*gif, context))),
        Shape::RoundVideo => message.ptv_message = Some(Box::new(video(false, context))),
        Shape::Audio { voice, waveform } => {
            message.audio_message = Some(Box::new(AudioMessage {
                url: url(),
                mimetype,
                file_sha256: sha(),
                file_length: length,
                seconds: media.seconds,
                ptt: Some(*voice),
                media_key: key(),
                file_enc_sha256: enc(),
                direct_path: path(),
                media_key_timestamp: at,
                context_info: context,
                streaming_sidecar: media.sidecar.clone(),
                waveform: waveform.clone(),
                view_once: once,
            }));
        }
        Shape::Document { file_name } => {
            message.document_message = Some(Box::new(DocumentMessage {
                url: url(),
                mimetype,
                title: Some(file_name.clone()),
                file_sha256: sha(),
                file_length: length,
                media_key: key(),
                file_name: Some(file_name.clone()),
                file_enc_sha256: enc(),
                direct_path: path(),
                media_key_timestamp: at,
                jpeg_thumbnail: media.thumbnail.clone(),
                context_info: context,
                caption: media.caption.clone(),
                ..Default::default()
            }));
        }
        Shape::Sticker { animated } => {
            message.sticker_message = Some(Box::new(StickerMessage {
                url: url(),
                file_sha256: sha(),
                file_enc_sha256: enc(),
                media_key: key(),
                mimetype,
                height: media.height,
                width: media.width,
                direct_path: path(),
                file_length: length,
                media_key_timestamp: at,
                is_animated: Some(*animated),
                context_info: context,
                ..Default::default()
            }));
        }
    }
}

/// Quote and mentions, if there are any.
fn context(parts: &Build<'_>) -> Option<Box<ContextInfo>> {
    let mut context = ContextInfo {
        mentioned_jid: parts.mentions.iter().map(|jid| jid.bare().to_wire()).collect(),
        ..Default::default()
    };
    if let Some(quote) = parts.quote {
        let mut quoted = Message::decode(super::inner(quote.content)).unwrap_or_default();
        quoted.message_context_info = None;
        strip_context(&mut quoted);
        context.stanza_id = Some(quote.id.clone());
        context.participant = Some(quote.author.bare().to_wire());
        context.quoted_message = Some(Box::new(quoted));
    }
    (context != ContextInfo::default()).then(|| Box::new(context))
}
