//! The context of a message (quote, mentions, timer, how often it was forwarded), changed without touching the rest:
//! members that our schema does not know travel on, byte for byte.

use prost::Message as _;

use super::{Fields, WRAPPERS, inner, member};
use crate::proto::{ContextInfo, Message, MessageContextInfo};

/// Members of `waE2E.Message` whose content has a `contextInfo`, with its number there (protocol 02, 9.4).
const PLACES: [(u32, u32); 21] = [
    (3, 17),  // image
    (4, 17),  // contact
    (5, 17),  // location
    (6, 17),  // extendedText
    (7, 17),  // document
    (8, 17),  // audio
    (9, 17),  // video
    (13, 17), // contactsArray
    (18, 17), // liveLocation
    (26, 17), // sticker
    (28, 7),  // groupInvite
    (29, 3),  // templateButtonReply
    (39, 4),  // listResponse
    (43, 3),  // buttonsResponse
    (49, 5),  // pollCreation, in four forms
    (60, 5),
    (64, 5),
    (111, 5),
    (66, 17), // ptv
    (75, 1),  // event
    (86, 11), // stickerPack
];
/// Those of them that say something of their own, and may be said again; `conversation` besides.
const FORWARDED: [u32; 16] = [3, 4, 5, 6, 7, 8, 9, 13, 26, 28, 49, 60, 64, 111, 66, 86];
/// `viewOnceMessage` in its three forms.
const VIEW_ONCE: [u32; 3] = [37, 55, 59];
/// Kinds that travel in a wrapper of their own.
const LOTTIE_STICKER: u32 = 74;
const DOCUMENT_WITH_CAPTION: u32 = 53;
/// Where a kind keeps its text, if it has one and it is not `conversation`.
const TEXTS: [(u32, u32); 4] = [(6, 1), (3, 3), (9, 7), (7, 20)];
/// Wrappers are looked into this deep.
const MAX_DEPTH: usize = 8;

/// How long messages of a chat stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::account) struct Timer {
    /// 0: they stay.
    pub(in crate::account) seconds: u32,
    /// When that was set, in Unix seconds.
    pub(in crate::account) set_at: u64,
}

/// The context of what a message says, if it has one.
pub(in crate::account) fn context_of(message: &[u8]) -> Option<ContextInfo> {
    let content = inner(message);
    let (_, bytes, place) = said(content)?;
    ContextInfo::decode(member(bytes, place)??).ok()
}

/// The same message with the chat's timer on it; kinds without a context stay as they are.
pub(in crate::account) fn timed(message: Vec<u8>, timer: Option<Timer>) -> Vec<u8> {
    let Some(timer) = timer.filter(|timer| timer.seconds > 0) else { return message };
    let stamp = |context: &mut ContextInfo| {
        context.expiration = Some(timer.seconds);
        context.ephemeral_setting_timestamp = i64::try_from(timer.set_at).ok();
    };
    with_context(&message, &stamp, 0).unwrap_or(message)
}

/// Another message as a forward: without its quote and keys, marked with how often it has been passed on. The number
/// grows with each message of somebody else's (what the published clients count); at 0 nothing is marked. `says`: what
/// it says since it was edited.
pub(in crate::account) fn forward(
    message: &[u8],
    says: Option<&str>,
    from_me: bool,
    secret: [u8; 32],
) -> Result<Vec<u8>, &'static str> {
    const KIND: &str = "A message of this kind cannot be forwarded.";
    const ONCE: &str = "A message that may be viewed once cannot be forwarded.";
    let content = inner(message);
    if VIEW_ONCE.iter().any(|wrapper| matches!(member(message, *wrapper), Some(Some(_)))) || is_once(content)
    {
        return Err(ONCE);
    }
    let is_text = matches!(member(content, 1), Some(Some(_)));
    if !is_text && !said(content).is_some_and(|(number, ..)| FORWARDED.contains(&number)) {
        return Err(KIND);
    }
    let score = context_of(content).and_then(|context| context.forwarding_score).unwrap_or(0);
    let score = score.saturating_add(u32::from(!from_me));
    let mark = |context: &mut ContextInfo| {
        *context = ContextInfo::default();
        if score > 0 {
            context.forwarding_score = Some(score);
            context.is_forwarded = Some(true);
        }
    };
    // 2 senderKeyDistributionMessage, 35 messageContextInfo: of the other message's own way.
    let mut bare = without(content, &[2, 35]).ok_or(KIND)?;
    if let Some(says) = says {
        bare = retold(&bare, says).ok_or(KIND)?;
    }
    let mut forwarded = with_context(&bare, &mark, 0).ok_or(KIND)?;
    if let Some(own) = wrapper_of(&forwarded) {
        let mut wrapper = Vec::new();
        push(&mut wrapper, 1, &forwarded);
        forwarded.clear();
        push(&mut forwarded, own, &wrapper);
    }
    let own = MessageContextInfo { message_secret: Some(secret.to_vec()), ..Default::default() };
    push(&mut forwarded, 35, &own.encode_to_vec());
    Ok(forwarded)
}

/// The wrapper that belongs to what a message is; it was peeled off when the message came.
fn wrapper_of(content: &[u8]) -> Option<u32> {
    let message = Message::decode(content).ok()?;
    let captioned = message.document_message.is_some_and(|document| document.caption.is_some());
    let drawn = message.sticker_message.is_some_and(|sticker| sticker.is_lottie == Some(true));
    captioned.then_some(DOCUMENT_WITH_CAPTION).or(drawn.then_some(LOTTIE_STICKER))
}

/// The same message with another text or caption; a kind that has none stays as it is.
pub(in crate::account) fn retold(content: &[u8], says: &str) -> Option<Vec<u8>> {
    if member(content, 1)?.is_some() {
        return replaced(content, 1, 1, says.as_bytes());
    }
    for (kind, place) in TEXTS {
        if let Some(bytes) = member(content, kind)? {
            return replaced(content, kind, kind, &replaced(bytes, place, place, says.as_bytes())?);
        }
    }
    Some(content.to_vec())
}

/// Marked as such inside: the wrapper itself is not kept.
fn is_once(content: &[u8]) -> bool {
    let Ok(message) = Message::decode(content) else { return false };
    let flags = [
        message.image_message.and_then(|m| m.view_once),
        message.video_message.and_then(|m| m.view_once),
        message.ptv_message.and_then(|m| m.view_once),
        message.audio_message.and_then(|m| m.view_once),
    ];
    flags.contains(&Some(true))
}

/// The member that a message says something with, its bytes, and where its context stands.
fn said(content: &[u8]) -> Option<(u32, &[u8], u32)> {
    Fields(content).flatten().find_map(|(number, bytes)| {
        let (_, place) = PLACES.into_iter().find(|(known, _)| *known == number)?;
        Some((number, bytes?, place))
    })
}

/// Rebuilds a message around a changed context. A plain text becomes one that has a context.
fn with_context(message: &[u8], change: &dyn Fn(&mut ContextInfo), depth: usize) -> Option<Vec<u8>> {
    for wrapper in WRAPPERS {
        if let Some(outer) = member(message, wrapper)? {
            if depth == MAX_DEPTH {
                return None;
            }
            let changed = with_context(member(outer, 1)??, change, depth + 1)?;
            return replaced(message, wrapper, wrapper, &replaced(outer, 1, 1, &changed)?);
        }
    }
    if let Some(text) = member(message, 1)? {
        let mut context = ContextInfo::default();
        change(&mut context);
        let mut extended = Vec::new();
        push(&mut extended, 1, text);
        push(&mut extended, 17, &context.encode_to_vec());
        return replaced(message, 1, 6, &extended);
    }
    let (number, bytes, place) = said(message)?;
    let old = member(bytes, place)?.unwrap_or_default();
    let mut context = ContextInfo::decode(old).ok()?;
    change(&mut context);
    replaced(message, number, number, &replaced(bytes, place, place, &context.encode_to_vec())?)
}

/// A message with one member exchanged for another, at the place of the first; at the end if there was none.
fn replaced(message: &[u8], old: u32, new: u32, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(message.len() + bytes.len() + 8);
    let mut placed = false;
    for piece in Pieces(message) {
        let (number, raw) = piece?;
        if number != old {
            out.extend_from_slice(raw);
        } else if !placed {
            placed = true;
            push(&mut out, new, bytes);
        }
    }
    if !placed {
        push(&mut out, new, bytes);
    }
    Some(out)
}

fn without(message: &[u8], numbers: &[u32]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(message.len());
    for piece in Pieces(message) {
        let (number, raw) = piece?;
        if !numbers.contains(&number) {
            out.extend_from_slice(raw);
        }
    }
    Some(out)
}

/// Appends a length-delimited member.
fn push(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, out);
    prost::encoding::encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// The fields of a serialized message as they stand. Yields `None` once, at damage.
struct Pieces<'a>(&'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = Option<(u32, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut fields = Fields(self.0);
        let field = fields.next()?;
        let Some((number, _)) = field else {
            self.0 = &[];
            return Some(None);
        };
        let (raw, rest) = self.0.split_at_checked(self.0.len() - fields.0.len())?;
        self.0 = rest;
        Some(Some((number, raw)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::message::{
        DocumentMessage, ExtendedTextMessage, FutureProofMessage, ImageMessage, PollUpdateMessage,
        StickerMessage,
    };

    const DAY: Timer = Timer { seconds: 86_400, set_at: 1_700_000_000 };

    fn image(context: Option<ContextInfo>, view_once: bool) -> Vec<u8> {
        let image = ImageMessage {
            media_key: Some(vec![1; 32]),
            direct_path: Some("/v/t62".into()),
            context_info: context.map(Box::new),
            view_once: view_once.then_some(true),
            ..Default::default()
        };
        let mut bytes =
            Message { image_message: Some(Box::new(image)), ..Default::default() }.encode_to_vec();
        // firstScanSidecar (18), which our schema does not know, inside the image.
        let mut inside = member(&bytes, 3).unwrap().unwrap().to_vec();
        push(&mut inside, 18, b"sidecar");
        bytes.clear();
        push(&mut bytes, 3, &inside);
        push(&mut bytes, 35, &MessageContextInfo::default().encode_to_vec());
        bytes
    }

    #[test]
    fn a_timer_stands_in_the_context_whatever_the_kind_and_its_wrapper() {
        let text = Message { conversation: Some("hi".into()), ..Default::default() }.encode_to_vec();
        let timed_text = Message::decode(&*timed(text.clone(), Some(DAY))).unwrap();
        let extended = timed_text.extended_text_message.unwrap();
        assert_eq!((timed_text.conversation, extended.text.as_deref()), (None, Some("hi")));
        assert_eq!(extended.context_info.unwrap().expiration, Some(86_400));
        let picture = timed(image(None, false), Some(DAY));
        assert_eq!(context_of(&picture).unwrap().ephemeral_setting_timestamp, Some(1_700_000_000));
        assert_eq!(member(member(&picture, 3).unwrap().unwrap(), 18), Some(Some(&b"sidecar"[..])));
        let document = Message {
            document_message: Some(Box::new(DocumentMessage {
                caption: Some("c".into()),
                ..Default::default()
            })),
            ..Default::default()
        };
        let wrapped = Message {
            document_with_caption_message: Some(Box::new(FutureProofMessage {
                message: Some(Box::new(document)),
            })),
            ..Default::default()
        };
        let wrapped = timed(wrapped.encode_to_vec(), Some(DAY));
        assert!(member(&wrapped, 53).unwrap().is_some());
        assert_eq!(context_of(&wrapped).unwrap().expiration, Some(86_400));
        for none in [None, Some(Timer { seconds: 0, ..DAY })] {
            assert_eq!(timed(text.clone(), none), text);
        }
    }

    #[test]
    fn a_forward_counts_and_drops_the_quote_but_no_other_byte() {
        let context = ContextInfo {
            stanza_id: Some("Q".into()),
            quoted_message: Some(Box::default()),
            forwarding_score: Some(4),
            expiration: Some(86_400),
            ..Default::default()
        };
        let forwarded = forward(&image(Some(context.clone()), false), None, false, [7; 32]).unwrap();
        let said = context_of(&forwarded).unwrap();
        assert_eq!((said.forwarding_score, said.is_forwarded), (Some(5), Some(true)));
        assert_eq!((said.stanza_id, said.quoted_message, said.expiration), (None, None, None));
        let inside = member(&forwarded, 3).unwrap().unwrap();
        assert_eq!(member(inside, 18), Some(Some(&b"sidecar"[..])));
        let message = Message::decode(&*forwarded).unwrap();
        assert_eq!(message.message_context_info.unwrap().message_secret, Some(vec![7; 32]));
        // What the account said itself is passed on as if it were new.
        let own = forward(&image(None, false), None, true, [7; 32]).unwrap();
        assert_eq!(context_of(&own), Some(ContextInfo::default()));
        let again = forward(&image(Some(context), false), None, true, [7; 32]).unwrap();
        assert_eq!(context_of(&again).unwrap().forwarding_score, Some(4));
    }

    #[test]
    fn what_is_no_statement_is_not_forwarded() {
        let vote = Message { poll_update_message: Some(PollUpdateMessage::default()), ..Default::default() };
        assert!(forward(&vote.encode_to_vec(), None, false, [0; 32]).is_err());
        assert!(forward(&image(None, true), None, false, [0; 32]).is_err());
        let mut wrapped = Vec::new();
        let mut once = Vec::new();
        push(&mut once, 1, &image(None, false));
        push(&mut wrapped, 55, &once);
        assert!(forward(&wrapped, None, true, [0; 32]).is_err());
        assert!(forward(&[], None, false, [0; 32]).is_err());
    }

    #[test]
    fn an_extended_text_keeps_what_it_links_to() {
        let extended =
            ExtendedTextMessage { text: Some("t".into()), title: Some("T".into()), ..Default::default() };
        let message = Message { extended_text_message: Some(Box::new(extended)), ..Default::default() };
        let forwarded =
            Message::decode(&*forward(&message.encode_to_vec(), None, false, [1; 32]).unwrap()).unwrap();
        assert_eq!(forwarded.extended_text_message.unwrap().title.as_deref(), Some("T"));
    }

    #[test]
    fn what_was_edited_is_forwarded_as_it_reads_now_with_the_wrapper_of_its_kind() {
        let forwarded = |message: &Message, says| {
            Message::decode(&*forward(&message.encode_to_vec(), says, false, [1; 32]).unwrap()).unwrap()
        };
        let text = Message { conversation: Some("then".into()), ..Default::default() };
        let now = forwarded(&text, Some("now"));
        assert_eq!(now.extended_text_message.unwrap().text.as_deref(), Some("now"));
        let document = DocumentMessage { caption: Some("then".into()), ..Default::default() };
        let document = Message { document_message: Some(Box::new(document)), ..Default::default() };
        let now = forwarded(&document, Some("now"));
        let inner = now.document_with_caption_message.unwrap().message.unwrap();
        assert_eq!(inner.document_message.unwrap().caption.as_deref(), Some("now"));
        let sticker = StickerMessage { is_lottie: Some(true), ..Default::default() };
        let sticker = Message { sticker_message: Some(Box::new(sticker)), ..Default::default() };
        assert!(forwarded(&sticker, None).lottie_sticker_message.is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_are_rebuilt_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = timed(bytes.clone(), Some(DAY));
            let _ = forward(&bytes, Some("x"), false, [0; 32]);
            let _ = context_of(&bytes);
        }

        #[test]
        fn a_timed_text_says_the_same(text in "\\PC{0,200}") {
            let message = Message { conversation: Some(text.clone()), ..Default::default() };
            let timed = timed(message.encode_to_vec(), Some(DAY));
            prop_assert_eq!(super::super::text_of(&timed), Some(text));
        }
    }
}
