//! What a message does: how it is reported.

use prost::Message as _;

use super::Encrypted;
use crate::proto;

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
