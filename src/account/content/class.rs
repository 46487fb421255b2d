//! What a message is: for the attributes of its stanza, and for how it is reported.
//! The table of `type` and `mediatype`: whatsapp-rust `wacore/src/send/classify.rs`, after WhatsApp Web.

use prost::Message as _;

use super::Encrypted;
use crate::proto;

/// Attributes of the stanza that carries a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::account) struct Class {
    /// `type` of `<message>`.
    pub(in crate::account) kind: &'static str,
    /// `mediatype` of `<enc>`; without it the server drops a `media` stanza.
    pub(in crate::account) mediatype: Option<&'static str>,
    /// `edit` of `<message>`.
    pub(in crate::account) edit: Option<&'static str>,
    /// An attribute of `<meta>`.
    pub(in crate::account) meta: Option<(&'static str, &'static str)>,
    /// `decrypt-fail="hide"`: no placeholder where it does not open. Never on a revocation: the server drops those.
    pub(in crate::account) hide: bool,
}

/// Of what is no message at all: keys.
pub(in crate::account) const PLAIN: Class =
    Class { kind: "text", mediatype: None, edit: None, meta: None, hide: false };

/// The attributes of an unwrapped message.
pub(in crate::account) fn class(content: &[u8]) -> Class {
    let message = proto::Message::decode(super::inner(content)).unwrap_or_default();
    let view_once = [
        message.image_message.as_ref().and_then(|image| image.view_once),
        message.video_message.as_ref().and_then(|video| video.view_once),
        message.audio_message.as_ref().and_then(|audio| audio.view_once),
    ];
    let once = view_once.contains(&Some(true)).then_some(("view_once", "true"));
    let plain = |kind| Class { kind, mediatype: None, edit: None, meta: None, hide: false };
    let media = |mediatype| Class { mediatype: Some(mediatype), meta: once, ..plain("media") };
    if let Some(reaction) = &message.reaction_message {
        let removed = reaction.text.as_deref().is_none_or(str::is_empty);
        return Class { edit: removed.then_some("7"), hide: true, ..plain("reaction") };
    }
    if let Some(protocol) = &message.protocol_message {
        return match protocol.r#type {
            Some(14) => Class { edit: Some("1"), hide: true, ..plain("text") },
            None | Some(0) => {
                let own = protocol.key.as_ref().is_some_and(|key| key.from_me == Some(true));
                Class { edit: Some(if own { "7" } else { "8" }), ..plain("text") }
            }
            Some(_) => plain("text"),
        };
    }
    if message.pin_in_chat_message.is_some() {
        return Class { edit: Some("2"), hide: true, ..plain("text") };
    }
    if super::poll(&message).is_some() {
        return Class { meta: Some(("polltype", "creation")), ..plain("poll") };
    }
    if message.poll_update_message.is_some() {
        return Class { meta: Some(("polltype", "vote")), hide: true, ..plain("poll") };
    }
    if message.event_message.is_some() {
        return Class { meta: Some(("event_type", "creation")), ..plain("event") };
    }
    if message.image_message.is_some() {
        return media("image");
    }
    if let Some(video) = &message.video_message {
        return media(if video.gif_playback == Some(true) { "gif" } else { "video" });
    }
    if message.ptv_message.is_some() {
        return media("ptv");
    }
    if let Some(audio) = &message.audio_message {
        return media(if audio.ptt == Some(true) { "ptt" } else { "audio" });
    }
    if message.document_message.is_some() {
        return media("document");
    }
    if message.sticker_message.is_some() {
        return media("sticker");
    }
    if message.location_message.is_some() {
        return media("location");
    }
    if message.live_location_message.is_some() {
        return media("livelocation");
    }
    if message.contact_message.is_some() {
        return media("vcard");
    }
    if message.contacts_array_message.is_some() {
        return media("contact_array");
    }
    if message.extended_text_message.is_some_and(|text| text.matched_text.is_some()) {
        return media("url");
    }
    if message.group_invite_message.is_some() {
        return media("url");
    }
    plain("text")
}

/// How a message is told to consumers.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::account) enum Kind {
    /// Something said.
    Said,
    /// An emoji for another message; empty takes it back.
    Reaction {
        /// As its sender sees it.
        key: proto::MessageKey,
        emoji: String,
        /// Milliseconds since 1970, by the sender's clock.
        at_ms: Option<i64>,
    },
    /// Another text for an earlier message.
    Edit {
        /// As its sender sees it.
        key: proto::MessageKey,
        /// The new content, serialized.
        content: Vec<u8>,
    },
    /// An earlier message is taken back.
    Revoke {
        /// As its sender sees it.
        key: proto::MessageKey,
    },
    /// A vote, or an answer to an event: nobody but those who have the message's secret can read it.
    Encrypted(Encrypted),
    /// An earlier message is shown at the top of the chat.
    Pin {
        /// As its sender sees it.
        key: proto::MessageKey,
        /// For so many seconds.
        seconds: Option<u32>,
    },
    /// And is there no more.
    Unpin {
        /// As its sender sees it.
        key: proto::MessageKey,
    },
    /// How long messages of the chat stay from now on.
    Timer,
}

/// What an unwrapped message does.
pub(in crate::account) fn kind(content: &[u8]) -> Kind {
    let message = proto::Message::decode(super::inner(content)).unwrap_or_default();
    if let Some(reaction) = message.reaction_message {
        return Kind::Reaction {
            key: reaction.key.unwrap_or_default(),
            emoji: reaction.text.unwrap_or_default(),
            at_ms: reaction.sender_timestamp_ms,
        };
    }
    if let Some(pin) = message.pin_in_chat_message {
        let key = pin.key.unwrap_or_default();
        let seconds = message.message_context_info.and_then(|own| own.message_add_on_duration_in_secs);
        return if pin.r#type == Some(2) { Kind::Unpin { key } } else { Kind::Pin { key, seconds } };
    }
    let Some(protocol) = message.protocol_message else {
        return Encrypted::of(content).map_or(Kind::Said, Kind::Encrypted);
    };
    if protocol.r#type == Some(3) {
        return Kind::Timer;
    }
    let Some(key) = protocol.key else { return Kind::Said };
    match (protocol.r#type, protocol.edited_message) {
        (Some(14), Some(edited)) => Kind::Edit { key, content: edited.encode_to_vec() },
        (None | Some(0), _) => Kind::Revoke { key },
        _ => Kind::Said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_is_never_hidden_and_a_removed_reaction_counts_as_one() {
        let own = proto::MessageKey { from_me: Some(true), ..Default::default() };
        let revoke = proto::Message {
            protocol_message: Some(Box::new(proto::message::ProtocolMessage {
                key: Some(own.clone()),
                r#type: Some(0),
                ..Default::default()
            })),
            ..Default::default()
        };
        let class_of = |message: &proto::Message| class(&message.encode_to_vec());
        assert_eq!(
            class_of(&revoke),
            Class { kind: "text", mediatype: None, edit: Some("7"), meta: None, hide: false }
        );
        let removed = proto::Message {
            reaction_message: Some(proto::message::ReactionMessage {
                key: Some(own),
                text: Some(String::new()),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(class_of(&removed).edit, Some("7"));
        let voice = proto::Message {
            audio_message: Some(Box::new(proto::message::AudioMessage {
                ptt: Some(true),
                ..Default::default()
            })),
            ..Default::default()
        };
        assert_eq!((class_of(&voice).kind, class_of(&voice).mediatype), ("media", Some("ptt")));
    }
}
