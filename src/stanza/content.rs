//! What is inside a message, read as raw protobuf: wrappers are taken off, and nothing that our schema does not know is
//! lost by it.

use crate::proto;

/// Wrappers nest; clients stop at about this depth.
const MAX_DEPTH: usize = 8;
/// `waE2E.Message` members whose only content is another message (waproto 0.7, `FutureProofMessage`), as whatsapp-rust
/// and Baileys peel them: ephemeral, view once (three forms), document with caption, edited, group mentioned, bot
/// invoke, animated sticker, event cover, status mention, poll option image, associated child, group status mention,
/// poll (fourth form), add yours, group status (two forms), limit sharing, bot task, question, question reply, bot
/// forwarded, newsletter admin profile (three forms), spoiler.
pub const WRAPPERS: [u32; 27] = [
    40, 37, 55, 59, 53, 58, 62, 67, 74, 85, 87, 90, 91, 92, 93, 95, 96, 103, 99, 100, 101, 106, 104, 116,
    117, 126, 118,
];
/// `deviceSentMessage`: a copy of what an own device sent.
const DEVICE_SENT: u32 = 31;
/// `messageContextInfo`: may stand on any level, the innermost wins member by member.
pub const CONTEXT: u32 = 35;

/// What is inside and what stood around it.
pub struct Peeled<'a> {
    /// The innermost message, as serialized.
    pub inner: &'a [u8],
    /// A copy of what an own device sent.
    pub device_sent: bool,
    /// Contexts of the wrappers, outermost first.
    pub contexts: Vec<&'a [u8]>,
}

/// Takes the wrappers off a serialized message. `None`: the bytes are no protobuf.
pub fn peel(message: &[u8]) -> Option<Peeled<'_>> {
    let mut peeled = Peeled { inner: message, device_sent: false, contexts: Vec::new() };
    for _ in 0..MAX_DEPTH {
        let (mut inside, mut context) = (None, None);
        for field in Fields(peeled.inner) {
            match field? {
                (DEVICE_SENT, Some(sent)) => {
                    peeled.device_sent = true;
                    inside = Some(member(sent, 2)?.unwrap_or_default());
                }
                (CONTEXT, Some(bytes)) => context = Some(bytes),
                (number, Some(wrapper)) if WRAPPERS.contains(&number) => {
                    inside = Some(member(wrapper, 1)?.unwrap_or_default());
                }
                _ => {}
            }
        }
        let Some(inside) = inside else { break };
        peeled.contexts.extend(context);
        peeled.inner = inside;
    }
    Some(peeled)
}

/// What is inside all wrappers; the bytes themselves where they cannot be walked.
pub fn inner(message: &[u8]) -> &[u8] {
    peel(message).map_or(message, |peeled| peeled.inner)
}

/// The poll in a message.
pub fn poll(message: &proto::Message) -> Option<&proto::message::PollCreationMessage> {
    let forms = [
        &message.poll_creation_message,
        &message.poll_creation_message_v2,
        &message.poll_creation_message_v3,
        &message.poll_creation_message_v5,
        &message.poll_creation_message_v6,
    ];
    forms.into_iter().find_map(Option::as_deref)
}

/// The last length-delimited occurrence of a member (protobuf's rule for repeats of a singular field).
pub fn member(message: &[u8], number: u32) -> Option<Option<&[u8]>> {
    let mut found = None;
    for field in Fields(message) {
        let (field, bytes) = field?;
        if field == number && bytes.is_some() {
            found = bytes;
        }
    }
    Some(found)
}

/// Walks the fields of a serialized message: number, and the bytes of length-delimited ones. Yields `None` once, at damage.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u32, Option<&'a [u8]>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<(u32, Option<&'a [u8]>)> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| *n > 0)?;
        let bytes = match tag & 7 {
            0 => {
                self.varint()?;
                None
            }
            1 => {
                self.take(8)?;
                None
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Some(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                None
            }
            _ => return None,
        };
        Some((number, bytes))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }
}
