//! What a message is, for the attributes of the stanza that carries it. The table of `type` and `mediatype`: whatsapp-rust `wacore/src/send/classify.rs`, after WhatsApp Web.

use prost::Message as _;

use super::{Enc, Outgoing, content};
use crate::{
    proto,
    wire::{Jid, Node},
};

/// Attributes of the stanza that carries a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// `type` of `<message>`.
    pub kind: &'static str,
    /// `mediatype` of `<enc>`; without it the server drops a `media` stanza.
    pub mediatype: Option<&'static str>,
    /// `edit` of `<message>`.
    pub edit: Option<&'static str>,
    /// An attribute of `<meta>`.
    pub meta: Option<(&'static str, &'static str)>,
    /// `decrypt-fail="hide"`: no placeholder where it does not open. Never on a revocation: the server drops those.
    pub hide: bool,
}

impl Class {
    /// Of what is no message at all: keys.
    pub const PLAIN: Self = Self { kind: "text", mediatype: None, edit: None, meta: None, hide: false };

    /// The attributes of a message, given as serialized, with its wrappers or without. Of what is no message: a text's.
    pub fn of(content: &[u8]) -> Self {
        class(&proto::Message::decode(content::inner(content)).unwrap_or_default())
    }

    /// A stanza of this class, without its ciphertexts.
    pub fn stanza(self, id: String, to: Jid) -> Outgoing {
        let meta = self.meta.map(|(name, value)| Node::new("meta").attr(name, value));
        Outgoing {
            kind: self.kind.to_owned(),
            edit: self.edit.map(str::to_owned),
            extras: meta.into_iter().collect(),
            ..Outgoing::text(id, to)
        }
    }

    /// A ciphertext of this class.
    pub fn enc(self, enc: Enc) -> Enc {
        Enc { mediatype: self.mediatype.map(str::to_owned), hide_failure: self.hide, ..enc }
    }
}

fn class(message: &proto::Message) -> Class {
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
    if content::poll(message).is_some() {
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
    if let Some(location) = &message.location_message {
        return media(if location.is_live == Some(true) { "livelocation" } else { "location" });
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
    if message.extended_text_message.as_ref().is_some_and(|text| text.matched_text.is_some()) {
        return media("url");
    }
    if message.group_invite_message.is_some() {
        return media("url");
    }
    plain("text")
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
        let class_of = |message: &proto::Message| Class::of(&message.encode_to_vec());
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
