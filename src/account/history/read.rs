//! A history file as a stream: inflated and taken apart piece by piece, so that memory does not grow with the file.
//!
//! Fields of `HistorySync` and `Conversation` are walked by hand; what is small is handed on whole, as serialized.
//! Knows the layout, and nothing of what is done with the pieces.

use std::{
    collections::VecDeque,
    io::{self, Read},
    sync::Arc,
};

use flate2::{Decompress, FlushDecompress, Status};

/// Bytes read and inflated at a time.
const WINDOW: usize = 32 << 10;
/// Inflated bytes at most. A chunk of the published clients' accounts has some tens of megabytes; a bomb ends here.
const MAX_INFLATED: u64 = 512 << 20;
/// A message that is larger is left out: the largest that live traffic carries is smaller.
const MAX_MESSAGE: u64 = 1 << 20;
/// Everything that is said of one chat beside its messages, and each of the other pieces.
const MAX_FACTS: u64 = 64 << 10;
/// Messages that stand before the name of their chat. Encoders write the name first.
const MAX_UNNAMED: usize = 1 << 20;
/// Pieces and bytes of one slice: what one turn puts into the tables.
const SLICE: usize = 128;
const SLICE_BYTES: usize = 256 << 10;
/// The fields of `Conversation` that are of use here, beside its messages (2).
const FACTS: [u32; 20] = [1, 5, 6, 8, 9, 10, 11, 12, 13, 16, 19, 21, 22, 24, 25, 28, 38, 39, 42, 43];

/// Why a history file is not read, or not to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryFault {
    /// The media servers or the disk fail; later it may go.
    #[error("not to be had for the moment")]
    Unavailable,
    #[error("gone from the media servers")]
    Gone,
    /// Its hash or its MAC is not the announced one.
    #[error("not what was announced")]
    Forged,
    #[error("larger than is taken")]
    TooLarge,
    #[error("no compressed data, or damaged")]
    Damaged,
    #[error("not of the known form")]
    Malformed,
}

/// A piece of history, serialized as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryItem {
    /// A `HistorySyncMsg` of this chat.
    Message { chat: Arc<str>, bytes: Vec<u8> },
    /// A `Conversation` without its messages, which came before.
    Chat(Vec<u8>),
    /// A `WebMessageInfo` of somebody's status.
    Status(Vec<u8>),
    /// A `Pushname`.
    Name(Vec<u8>),
    /// A `PhoneNumberToLIDMapping`.
    Mapping(Vec<u8>),
    /// An `InlineContact`.
    Contact(Vec<u8>),
    /// `nctSalt`.
    Salt(Vec<u8>),
    /// A message that is larger than is taken.
    TooLarge,
}

impl HistoryItem {
    fn bytes(&self) -> usize {
        match self {
            Self::Message { bytes, .. }
            | Self::Chat(bytes)
            | Self::Status(bytes)
            | Self::Name(bytes)
            | Self::Mapping(bytes)
            | Self::Contact(bytes)
            | Self::Salt(bytes) => bytes.len(),
            Self::TooLarge => 0,
        }
    }
}

/// Reads a compressed `HistorySync`.
pub struct HistoryReader<R> {
    source: Inflated<R>,
    /// Pieces that an earlier reading has handed on.
    skip: u64,
    open: Option<Open>,
}

/// The conversation that is being read.
struct Open {
    /// Position behind it.
    end: u64,
    id: Option<Arc<str>>,
    facts: Vec<u8>,
    unnamed: VecDeque<Vec<u8>>,
    unnamed_bytes: usize,
}

impl<R: Read> HistoryReader<R> {
    /// `skip`: pieces that were handed on by an earlier reading of the same file.
    pub fn new(compressed: R, skip: u64) -> Self {
        Self { source: Inflated::new(compressed), skip, open: None }
    }

    /// The next pieces, some at a time; none at the end.
    pub fn slice(&mut self) -> Result<Vec<HistoryItem>, HistoryFault> {
        while self.skip > 0 {
            if self.item()?.is_none() {
                return Ok(Vec::new());
            }
            self.skip -= 1;
        }
        let (mut items, mut bytes) = (Vec::new(), 0);
        while items.len() < SLICE && bytes < SLICE_BYTES {
            let Some(item) = self.item()? else { break };
            bytes += item.bytes();
            items.push(item);
        }
        Ok(items)
    }

    fn item(&mut self) -> Result<Option<HistoryItem>, HistoryFault> {
        loop {
            if let Some(mut open) = self.open.take() {
                let item = self.in_conversation(&mut open)?;
                let done = item.is_none();
                if !done {
                    self.open = Some(open);
                    return Ok(item);
                }
                return Ok(Some(HistoryItem::Chat(open.facts)));
            }
            if !self.source.more()? {
                return Ok(None);
            }
            let (number, wire) = self.source.key()?;
            match (number, wire) {
                (2, 2) => {
                    let length = self.source.varint()?;
                    let end = self.source.position.checked_add(length).ok_or(HistoryFault::Malformed)?;
                    self.open = Some(Open {
                        end,
                        id: None,
                        facts: Vec::new(),
                        unnamed: VecDeque::new(),
                        unnamed_bytes: 0,
                    });
                }
                (3, 2) => {
                    return Ok(Some(
                        self.source.piece(MAX_MESSAGE)?.map_or(HistoryItem::TooLarge, HistoryItem::Status),
                    ));
                }
                (7 | 15 | 19 | 20, 2) => {
                    let Some(bytes) = self.source.piece(MAX_FACTS)? else { continue };
                    return Ok(Some(match number {
                        7 => HistoryItem::Name(bytes),
                        15 => HistoryItem::Mapping(bytes),
                        19 => HistoryItem::Salt(bytes),
                        _ => HistoryItem::Contact(bytes),
                    }));
                }
                (_, wire) => self.source.pass(wire)?,
            }
        }
    }

    /// The next message of a conversation; `None` at its end.
    fn in_conversation(&mut self, open: &mut Open) -> Result<Option<HistoryItem>, HistoryFault> {
        loop {
            if let Some(chat) = &open.id
                && let Some(bytes) = open.unnamed.pop_front()
            {
                return Ok(Some(HistoryItem::Message { chat: chat.clone(), bytes }));
            }
            if self.source.position >= open.end {
                // Messages of a chat without a name belong nowhere.
                let good = self.source.position == open.end && open.unnamed.is_empty();
                return if good { Ok(None) } else { Err(HistoryFault::Malformed) };
            }
            let (number, wire) = self.source.key()?;
            if (number, wire) == (2, 2) {
                let Some(bytes) = self.source.piece(MAX_MESSAGE)? else {
                    return Ok(Some(HistoryItem::TooLarge));
                };
                if let Some(chat) = &open.id {
                    return Ok(Some(HistoryItem::Message { chat: chat.clone(), bytes }));
                }
                open.unnamed_bytes += bytes.len();
                if open.unnamed_bytes > MAX_UNNAMED {
                    return Err(HistoryFault::Malformed);
                }
                open.unnamed.push_back(bytes);
                continue;
            }
            if !FACTS.contains(&number) || !matches!(wire, 0 | 2) {
                self.source.pass(wire)?;
                continue;
            }
            prost::encoding::encode_varint(u64::from(number) << 3 | u64::from(wire), &mut open.facts);
            if wire == 0 {
                prost::encoding::encode_varint(self.source.varint()?, &mut open.facts);
            } else {
                let bytes = self.source.piece(MAX_FACTS)?.ok_or(HistoryFault::Malformed)?;
                prost::encoding::encode_varint(bytes.len() as u64, &mut open.facts);
                open.facts.extend_from_slice(&bytes);
                if number == 1 {
                    open.id = Some(String::from_utf8(bytes).map_err(|_| HistoryFault::Malformed)?.into());
                }
            }
            if open.facts.len() as u64 > MAX_FACTS {
                return Err(HistoryFault::Malformed);
            }
        }
    }
}

/// The plain bytes of a zlib stream, counted.
struct Inflated<R> {
    compressed: R,
    zlib: Decompress,
    input: Box<[u8]>,
    /// Of `input`: what is not inflated yet.
    fresh: (usize, usize),
    output: Box<[u8]>,
    /// Of `output`: what is not handed on yet.
    ready: (usize, usize),
    /// There may be more in the state than the output had room for: no input is needed to get it.
    full: bool,
    ended: bool,
    /// Plain bytes handed on.
    position: u64,
}

impl<R: Read> Inflated<R> {
    fn new(compressed: R) -> Self {
        Self {
            compressed,
            zlib: Decompress::new(true),
            input: vec![0; WINDOW].into(),
            fresh: (0, 0),
            output: vec![0; WINDOW].into(),
            ready: (0, 0),
            full: false,
            ended: false,
            position: 0,
        }
    }

    /// Whether there is another byte. A stream that stops before its own end is damaged.
    fn more(&mut self) -> Result<bool, HistoryFault> {
        while self.ready.0 == self.ready.1 && !self.ended {
            self.inflate()?;
        }
        Ok(self.ready.0 < self.ready.1)
    }

    fn inflate(&mut self) -> Result<(), HistoryFault> {
        if self.fresh.0 == self.fresh.1 && !self.full {
            let read = loop {
                match self.compressed.read(&mut self.input) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // Whoever decrypts it found out at its end that it is another file.
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        return Err(HistoryFault::Forged);
                    }
                    read => break read.map_err(|_| HistoryFault::Unavailable)?,
                }
            };
            if read == 0 {
                return Err(HistoryFault::Damaged);
            }
            self.fresh = (0, read);
        }
        let input = self.input.get(self.fresh.0..self.fresh.1).unwrap_or_default();
        let (taken, made) = (self.zlib.total_in(), self.zlib.total_out());
        let status = self.zlib.decompress(input, &mut self.output, FlushDecompress::None);
        let status = status.map_err(|_| HistoryFault::Damaged)?;
        let count = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(0);
        let consumed = count(self.zlib.total_in(), taken);
        self.ready = (0, count(self.zlib.total_out(), made));
        self.fresh.0 += consumed;
        self.ended = status == Status::StreamEnd;
        let was_full = std::mem::replace(&mut self.full, self.ready.1 == WINDOW);
        if consumed == 0 && self.ready.1 == 0 && !self.ended && !was_full {
            return Err(HistoryFault::Damaged);
        }
        if self.zlib.total_out() > MAX_INFLATED {
            return Err(HistoryFault::TooLarge);
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, HistoryFault> {
        if !self.more()? {
            return Err(HistoryFault::Malformed);
        }
        let byte = self.output.get(self.ready.0).copied().ok_or(HistoryFault::Malformed)?;
        self.ready.0 += 1;
        self.position += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, HistoryFault> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(HistoryFault::Malformed)
    }

    /// Number and wire type of the next field.
    fn key(&mut self) -> Result<(u32, u8), HistoryFault> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0);
        Ok((number.ok_or(HistoryFault::Malformed)?, (key & 7) as u8))
    }

    /// A length and as many bytes; `None` if it is more than `most`: they are passed over.
    fn piece(&mut self, most: u64) -> Result<Option<Vec<u8>>, HistoryFault> {
        let length = self.varint()?;
        if length > most {
            self.walk(length, |_| {})?;
            return Ok(None);
        }
        let mut bytes = Vec::new();
        self.walk(length, |part| bytes.extend_from_slice(part))?;
        Ok(Some(bytes))
    }

    /// Passes over the value of a field.
    fn pass(&mut self, wire: u8) -> Result<(), HistoryFault> {
        let length = match wire {
            0 => return self.varint().map(drop),
            1 => 8,
            2 => self.varint()?,
            5 => 4,
            // No schema of WhatsApp has groups.
            _ => return Err(HistoryFault::Malformed),
        };
        self.walk(length, |_| {})
    }

    fn walk(&mut self, length: u64, mut take: impl FnMut(&[u8])) -> Result<(), HistoryFault> {
        let mut left = length;
        while left > 0 {
            if !self.more()? {
                return Err(HistoryFault::Malformed);
            }
            let ready = self.output.get(self.ready.0..self.ready.1).unwrap_or_default();
            let part = ready.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(ready);
            take(part);
            let taken = part.len();
            self.ready.0 += taken;
            self.position += taken as u64;
            left -= taken as u64;
        }
        Ok(())
    }
}

/// For fuzzing: the bytes as a compressed file, and compressed as one.
#[doc(hidden)]
pub fn fuzz_history(data: &[u8]) {
    use std::io::Write as _;
    let drain = |file: &[u8]| {
        let mut reader = HistoryReader::new(file, 0);
        while reader.slice().is_ok_and(|items| !items.is_empty()) {}
    };
    drain(data);
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    if let Ok(file) = encoder.write_all(data).and_then(|()| encoder.finish()) {
        drain(&file);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::ZlibEncoder};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::proto::{
        Conversation, HistorySync, HistorySyncMsg, PhoneNumberToLidMapping, WebMessageInfo,
        history_sync::Pushname,
    };

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn all(file: &[u8], skip: u64) -> Result<Vec<HistoryItem>, HistoryFault> {
        let mut reader = HistoryReader::new(file, skip);
        let mut items = Vec::new();
        loop {
            match reader.slice()? {
                slice if slice.is_empty() => return Ok(items),
                slice => items.extend(slice),
            }
        }
    }

    fn message(text: &str) -> HistorySyncMsg {
        let info = WebMessageInfo { message: Some(text.into()), ..Default::default() };
        HistorySyncMsg { message: Some(info), msg_order_id: None }
    }

    fn sync(chats: usize, messages: usize, length: usize) -> HistorySync {
        let conversations = (0..chats).map(|n| Conversation {
            id: Some(format!("{n}@s.whatsapp.net")),
            messages: (0..messages).map(|m| message(&format!("{m}{}", "x".repeat(length)))).collect(),
            unread_count: Some(7),
            pn_jid: Some("x".into()),
            ..Default::default()
        });
        HistorySync {
            sync_type: 3,
            conversations: conversations.collect(),
            pushnames: vec![Pushname { id: Some("a".into()), pushname: Some("b".into()) }],
            phone_number_to_lid_mappings: vec![PhoneNumberToLidMapping::default()],
            nct_salt: Some(vec![1, 2]),
            ..Default::default()
        }
    }

    #[test]
    fn everything_comes_in_order_and_whole() {
        let sync = sync(3, 200, 300);
        let file = deflate(&sync.encode_to_vec());
        let items = all(&file, 0).unwrap();
        assert_eq!(items.len(), 3 * 201 + 3);
        let HistoryItem::Message { chat, bytes } = &items[0] else { panic!("{:?}", items[0]) };
        assert_eq!(
            (&**chat, &**bytes),
            ("0@s.whatsapp.net", &*sync.conversations[0].messages[0].encode_to_vec())
        );
        let HistoryItem::Chat(facts) = &items[200] else { panic!("{:?}", items[200]) };
        let facts = Conversation::decode(&**facts).unwrap();
        assert_eq!((facts.id.as_deref(), facts.unread_count), (Some("0@s.whatsapp.net"), Some(7)));
        assert_eq!(items.last(), Some(&HistoryItem::Salt(vec![1, 2])));
        // Continued, it is the same.
        for skip in [1, 200, 201, 605] {
            assert_eq!(all(&file, skip).unwrap(), items[usize::try_from(skip).unwrap()..]);
        }
        assert_eq!(all(&file, 10_000).unwrap(), []);
    }

    #[test]
    fn a_file_may_end_anywhere_in_the_window() {
        for length in (WINDOW - 40..WINDOW + 40).chain(3 * WINDOW - 40..3 * WINDOW + 40) {
            let sync = HistorySync { sync_type: 3, nct_salt: Some(vec![7]), ..sync(1, 1, length) };
            let items = all(&deflate(&sync.encode_to_vec()), 0).unwrap();
            assert_eq!(items.last(), Some(&HistoryItem::Salt(vec![7])), "{length}");
        }
    }

    #[test]
    fn what_stops_early_or_is_none_is_told() {
        let file = deflate(&sync(1, 20, 10).encode_to_vec());
        assert_eq!(all(&file[..file.len() - 8], 0), Err(HistoryFault::Damaged));
        assert_eq!(all(b"", 0), Err(HistoryFault::Damaged));
        assert_eq!(all(b"no zlib at all", 0), Err(HistoryFault::Damaged));
        assert_eq!(all(&deflate(&[0x12, 0x05, 0x0a]), 0), Err(HistoryFault::Malformed));
        assert_eq!(all(&deflate(&[0x0b]), 0), Err(HistoryFault::Malformed), "a group");
        // A conversation whose last field is longer than the conversation.
        assert_eq!(all(&deflate(&[0x12, 0x02, 0x0a, 0x05, 1, 2, 3, 4, 5]), 0), Err(HistoryFault::Malformed));
        // Of messages without a chat nobody knows where they belong.
        assert_eq!(all(&deflate(&[0x12, 0x02, 0x12, 0x00]), 0), Err(HistoryFault::Malformed));
        // The name may stand behind.
        let behind = [0x12, 0x05, 0x12, 0x00, 0x0a, 0x01, b'a'];
        assert_eq!(
            all(&deflate(&behind), 0).unwrap(),
            [
                HistoryItem::Message { chat: "a".into(), bytes: Vec::new() },
                HistoryItem::Chat(vec![0x0a, 0x01, b'a'])
            ]
        );
    }

    #[test]
    fn a_bomb_ends_at_the_limit_and_a_huge_message_is_passed_over() {
        // One field of almost a gigabyte: nothing of it is kept.
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        let mut head = vec![0x12];
        prost::encoding::encode_varint(1 << 30, &mut head);
        encoder.write_all(&head).unwrap();
        let zeros = vec![0x12; 1 << 20];
        for _ in 0..600 {
            encoder.write_all(&zeros).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 4 << 20);
        assert!(matches!(all(&bomb, 0), Err(HistoryFault::TooLarge | HistoryFault::Malformed)));
        let huge = HistorySync {
            sync_type: 3,
            conversations: vec![Conversation {
                id: Some("a".into()),
                messages: vec![message(&"x".repeat(2 << 20)), message("y")],
                ..Default::default()
            }],
            ..Default::default()
        };
        let items = all(&deflate(&huge.encode_to_vec()), 0).unwrap();
        assert_eq!((items.len(), &items[0]), (3, &HistoryItem::TooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            fuzz_history(&bytes);
        }

        #[test]
        fn damage_is_told_or_gives_other_pieces(at in 0_usize..100, byte in any::<u8>()) {
            let mut plain = sync(2, 2, 3).encode_to_vec();
            let at = at % plain.len();
            plain[at] = byte;
            let _ = all(&deflate(&plain), 0);
        }
    }
}
