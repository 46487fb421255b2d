//! The content of messages as raw protobuf: built for sending, unwrapped on arrival. Bytes that our schema does not
//! know stay as they are, so that nothing a person sent is lost on the way to the database.

mod addon;
mod build;
mod context;
mod kind;

use std::borrow::Cow;

use prost::{Message as _, encoding::WireType};

use crate::{
    proto,
    stanza::{
        AddRequest,
        content::{CONTEXT, Fields, Peeled, WRAPPERS, member, peel, poll},
    },
    wire::Jid,
};

pub(super) use crate::stanza::content::inner;
pub(super) use addon::{Encrypted, Opened, poll_of, secret};
pub(super) use build::{Build, Quote, build};
pub(super) use context::{Timer, context_of, forward, retold, timed};
pub(super) use kind::{Kind, kind};

/// Members without a schema that are told of one message. Real ones have one.
const MAX_UNKNOWN: usize = 16;
/// A message without its wrappers.
pub(super) struct Unwrapped<'a> {
    /// The innermost message, as serialized, with the context that stood on its wrappers.
    pub(super) content: Cow<'a, [u8]>,
    /// It came as a copy of what an own device sent.
    pub(super) device_sent: bool,
}

/// Peels wrappers off a serialized message. `None`: the bytes are no protobuf.
pub(super) fn unwrap(message: &[u8]) -> Option<Unwrapped<'_>> {
    let Peeled { inner, device_sent, contexts } = peel(message)?;
    if contexts.is_empty() {
        return Some(Unwrapped { content: Cow::Borrowed(inner), device_sent });
    }
    // Members that repeat are merged by whoever decodes them, the later over the earlier.
    let mut content = Vec::new();
    for context in contexts {
        prost::encoding::encode_key(CONTEXT, WireType::LengthDelimited, &mut content);
        prost::encoding::encode_varint(context.len() as u64, &mut content);
        content.extend_from_slice(context);
    }
    content.extend_from_slice(inner);
    Some(Unwrapped { content: Cow::Owned(content), device_sent })
}

/// The context of a message, whatever level it stands on.
fn context(message: &[u8]) -> Option<proto::MessageContextInfo> {
    let content = unwrap(message)?.content;
    proto::Message::decode(&*content).ok()?.message_context_info
}

/// Id of the album that a picture or film is a part of.
pub(super) fn album(message: &[u8]) -> Option<String> {
    let part = context(message)?.message_association?;
    // MessageAssociation.AssociationType MEDIA_ALBUM
    part.parent_message_key.filter(|_| part.association_type == Some(1))?.id
}

/// Whether a message says anything to a person: more than keys and context.
pub(super) fn has_content(content: &[u8]) -> bool {
    // 2 senderKeyDistributionMessage, 35 messageContextInfo
    Fields(content).any(|field| field.is_some_and(|(number, _)| !matches!(number, 2 | 35)))
}

/// Members of a message that this program has no schema for, by number; in the order in which they stand.
pub(super) fn unknown_members(content: &[u8]) -> Vec<u32> {
    let numbers = Fields(inner(content)).flatten().map(|(number, _)| number);
    let mut unknown: Vec<u32> = numbers.filter(|number| !proto::is_known_member(*number)).collect();
    unknown.dedup();
    unknown.truncate(MAX_UNKNOWN);
    unknown
}

/// The text of a message as payloads carry it: the text itself, else the caption of image, video or document.
pub fn text_of(content: &[u8]) -> Option<String> {
    let message = proto::Message::decode(inner(content)).ok()?;
    message
        .conversation
        .or_else(|| message.extended_text_message.and_then(|m| m.text))
        .or_else(|| message.image_message.and_then(|m| m.caption))
        .or_else(|| message.video_message.and_then(|m| m.caption))
        .or_else(|| message.document_message.and_then(|m| m.caption))
        .or_else(|| message.group_invite_message.and_then(|m| m.caption))
}

/// An invitation into a group.
pub(super) struct Invitation {
    pub(super) group: Jid,
    pub(super) request: AddRequest,
    pub(super) name: Option<String>,
    pub(super) caption: Option<String>,
}

/// The invitation that a message is.
pub(super) fn invitation(content: &[u8]) -> Option<Invitation> {
    let invite = proto::Message::decode(inner(content)).ok()?.group_invite_message?;
    let group = invite.group_jid?.parse::<Jid>().ok().filter(Jid::is_group)?;
    let code = invite.invite_code.filter(|code| !code.is_empty() && code.len() <= AddRequest::MAX_CODE)?;
    let expiration = invite.invite_expiration.and_then(|at| u64::try_from(at).ok()).unwrap_or_default();
    let request = AddRequest { code, expiration };
    Some(Invitation { group, request, name: invite.group_name, caption: invite.caption })
}

/// The kind of medium in a message, in the words of the contract.
pub(super) fn media_type(content: &[u8]) -> Option<&'static str> {
    Fields(inner(content)).flatten().find_map(|(number, _)| match number {
        3 => Some("image"),
        9 | 66 => Some("video"),
        8 => Some("audio"),
        7 => Some("document"),
        26 => Some("sticker"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Body, *};
    use crate::{stanza::device_sent, wire::Jid};

    fn text(text: &str, quote: Option<&Quote<'_>>, secret: [u8; 32]) -> Vec<u8> {
        let body = Body::Text(text.into());
        build(&Build { body: &body, quote, mentions: &[], target: None, vote: None, at_ms: 0, secret })
    }

    #[test]
    fn an_own_copy_inside_an_ephemeral_wrapper_is_peeled_to_the_text() {
        let chat = Jid::pn("5511999999999");
        let inner = text("hello", None, [7; 32]);
        let wrapped = proto::Message {
            ephemeral_message: Some(Box::new(proto::message::FutureProofMessage {
                message: Some(Box::new(proto::Message::decode(&*inner).unwrap())),
            })),
            ..Default::default()
        };
        let sent = device_sent(&wrapped.encode_to_vec(), &chat);
        let unwrapped = unwrap(&sent).unwrap();
        assert!(unwrapped.device_sent);
        assert_eq!(text_of(&unwrapped.content).as_deref(), Some("hello"));
    }

    #[test]
    fn the_secret_on_a_wrapper_stays_with_what_was_wrapped() {
        let chat = Jid::pn("5511999999999");
        let mut sent = device_sent(&text("hello", None, [0; 32])[..7], &chat);
        let outer = proto::Message {
            message_context_info: Some(proto::MessageContextInfo {
                message_secret: Some(vec![9; 32]),
                ..Default::default()
            }),
            ..Default::default()
        };
        sent.extend(outer.encode_to_vec());
        let unwrapped = unwrap(&sent).unwrap();
        assert_eq!(secret(&unwrapped.content), Some([9; 32]));
        assert_eq!(secret(&sent), Some([9; 32]));
        assert_eq!(text_of(&unwrapped.content).as_deref(), Some("hello"));
        // One inside wins.
        let sent = [&device_sent(&text("hello", None, [8; 32]), &chat)[..], &outer.encode_to_vec()].concat();
        assert_eq!(secret(&sent), Some([8; 32]));
    }

    #[test]
    fn members_unknown_to_the_schema_survive() {
        // field 5000, length-delimited, inside a device-sent wrapper
        let inner: &[u8] = &[0xc2, 0xb8, 0x02, 0x01, 0x2a];
        let mut sent = vec![0x12, u8::try_from(inner.len()).unwrap()];
        sent.extend_from_slice(inner);
        let mut message = vec![0xfa, 0x01, u8::try_from(sent.len()).unwrap()];
        message.extend_from_slice(&sent);
        assert_eq!(*unwrap(&message).unwrap().content, *inner);
        assert!(has_content(inner));
    }

    #[test]
    fn a_reply_carries_its_author_and_content() {
        let first = text("question", None, [1; 32]);
        let quote = Quote { id: "3EB0AA".into(), author: Jid::pn("5511999999999"), content: &first };
        let reply = proto::Message::decode(&*text("answer", Some(&quote), [2; 32])).unwrap();
        let context = reply.extended_text_message.unwrap().context_info.unwrap();
        assert_eq!(context.stanza_id.as_deref(), Some("3EB0AA"));
        assert_eq!(context.participant.as_deref(), Some("5511999999999@s.whatsapp.net"));
        assert_eq!(context.quoted_message.unwrap().conversation.as_deref(), Some("question"));
    }

    #[test]
    fn a_quote_carries_neither_wrappers_nor_what_it_quoted_itself() {
        let first = text("first", None, [1; 32]);
        let quote = Quote { id: "A".into(), author: Jid::pn("5511999999999"), content: &first };
        let second = text("second", Some(&quote), [2; 32]);
        let wrapped = proto::Message {
            ephemeral_message: Some(Box::new(proto::message::FutureProofMessage {
                message: Some(Box::new(proto::Message::decode(&*second).unwrap())),
            })),
            ..Default::default()
        };
        let wrapped = wrapped.encode_to_vec();
        let quote = Quote { id: "B".into(), author: Jid::pn("5511999999999"), content: &wrapped };
        let third = proto::Message::decode(&*text("third", Some(&quote), [3; 32])).unwrap();
        let quoted = third.extended_text_message.unwrap().context_info.unwrap().quoted_message.unwrap();
        let inner = quoted.extended_text_message.unwrap();
        assert_eq!((inner.text.as_deref(), inner.context_info), (Some("second"), None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = unwrap(&bytes);
            let _ = has_content(&bytes);
            let _ = media_type(&bytes);
        }
    }
}
