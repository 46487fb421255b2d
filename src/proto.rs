//! The generated messages, and their JSON form.

use std::{collections::HashSet, sync::LazyLock};

use prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, SerializeOptions};

pub use wa::*;

#[allow(unreachable_pub, missing_docs)]
mod wa {
    include!(concat!(env!("OUT_DIR"), "/wa.rs"));
    /// Signal's own messages and the layout of stored sessions.
    pub mod signal {
        include!(concat!(env!("OUT_DIR"), "/wa.signal.rs"));
    }
}

static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| {
    DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin")).as_slice()).ok()
});

/// Whether a member of `waE2E.Message` is in our schema.
pub fn is_known_member(number: u32) -> bool {
    static MEMBERS: LazyLock<HashSet<u32>> = LazyLock::new(|| {
        let message = POOL.as_ref().and_then(|pool| pool.get_message_by_name("wa.Message"));
        message.map(|message| message.fields().map(|field| field.number()).collect()).unwrap_or_default()
    });
    MEMBERS.contains(&number)
}

/// A serialized `waE2E.Message` as JSON: camelCase names, bytes as base64, enums as numbers, 64-bit integers as
/// numbers up to 2^53 and as strings above. Only members that are present appear. `None` if the bytes are no message.
pub fn message_json(bytes: &[u8]) -> Option<serde_json::Value> {
    json_of("wa.Message", bytes)
}

/// The same for a serialized `SyncActionValue` of app state.
pub fn action_json(bytes: &[u8]) -> Option<serde_json::Value> {
    json_of("wa.SyncActionValue", bytes)
}

/// Members that a `waE2E.Message` may have on all its levels together. A mention of each of a thousand people, a list of
/// a hundred rows or a poll of ten thousand options stay far below; decoded and shown as JSON, so many take some tens of
/// megabytes at most.
const MAX_MEMBERS: usize = 1 << 16;
/// Levels that decoders follow (prost's bound); what lies deeper they refuse.
const MAX_LEVELS: usize = 100;

/// Whether a serialized `waE2E.Message` may be decoded. A member takes two bytes on the wire and some hundreds once it
/// is decoded; this counts them without decoding, so that a message costs what its size lets expect. What is no
/// protobuf passes: whoever decodes it says so.
pub fn is_modest(bytes: &[u8]) -> bool {
    is_modest_as("wa.Message", bytes)
}

/// The same for another message of our schema, by its full name.
pub fn is_modest_as(name: &str, bytes: &[u8]) -> bool {
    let message = POOL.as_ref().and_then(|pool| pool.get_message_by_name(name));
    let mut left = MAX_MEMBERS;
    message.is_none_or(|message| count(&message, bytes, &mut left, MAX_LEVELS).is_some())
}

/// Takes what is in a message from `left`; `None`: it is more.
fn count(of: &MessageDescriptor, mut bytes: &[u8], left: &mut usize, levels: usize) -> Option<()> {
    while !bytes.is_empty() {
        *left = left.checked_sub(1)?;
        let Ok((number, wire_type)) = decode_key(&mut bytes) else { return Some(()) };
        let length = match wire_type {
            WireType::Varint => match decode_varint(&mut bytes) {
                Ok(_) => continue,
                Err(_) => return Some(()),
            },
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => match decode_varint(&mut bytes) {
                Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
                Err(_) => return Some(()),
            },
            // No schema of WhatsApp has groups.
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let Some((inside, rest)) = bytes.split_at_checked(length) else { return Some(()) };
        bytes = rest;
        if wire_type != WireType::LengthDelimited {
            continue;
        }
        match of.get_field(number).map(|field| field.kind()) {
            Some(Kind::Message(inner)) if levels > 0 => count(&inner, inside, left, levels - 1)?,
            None | Some(Kind::Message(_) | Kind::String | Kind::Bytes) => {}
            // A packed list: no more numbers than bytes.
            Some(_) => *left = left.checked_sub(inside.len())?,
        }
    }
    Some(())
}

fn json_of(name: &str, bytes: &[u8]) -> Option<serde_json::Value> {
    let descriptor = POOL.as_ref()?.get_message_by_name(name)?;
    let message = DynamicMessage::decode(descriptor, bytes).ok()?;
    let options = SerializeOptions::new().stringify_64_bit_integers(false).use_enum_numbers(true);
    let mut json = message.serialize_with_options(serde_json::value::Serializer, &options).ok()?;
    stringify_unsafe_integers(&mut json);
    Some(json)
}

/// Integers beyond ±2^53−1 do not survive a JSON parser that reads doubles.
fn stringify_unsafe_integers(value: &mut serde_json::Value) {
    const SAFE: u64 = (1 << 53) - 1;
    match value {
        serde_json::Value::Array(items) => items.iter_mut().for_each(stringify_unsafe_integers),
        serde_json::Value::Object(members) => members.values_mut().for_each(stringify_unsafe_integers),
        serde_json::Value::Number(n) => {
            let unsafe_integer =
                n.as_u64().is_some_and(|n| n > SAFE) || n.as_i64().is_some_and(|n| n.unsigned_abs() > SAFE);
            if unsafe_integer {
                *value = serde_json::Value::String(n.to_string());
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_message_reads_as_the_json_of_its_schema() {
        let message = Message {
            image_message: Some(Box::new(message::ImageMessage {
                file_sha256: Some(vec![1, 2, 3]),
                file_length: Some(1 << 60),
                width: Some(7),
                ..Default::default()
            })),
            ..Default::default()
        };
        assert_eq!(
            message_json(&message.encode_to_vec()).unwrap(),
            serde_json::json!({"imageMessage": {"fileSha256": "AQID", "fileLength": "1152921504606846976", "width": 7}})
        );
        assert_eq!(message_json(&[0xff]), None);
    }

    /// `many` empty members of this number.
    fn repeated(number: u32, many: usize) -> Vec<u8> {
        let mut one = Vec::new();
        prost::encoding::encode_key(number, WireType::LengthDelimited, &mut one);
        one.push(0);
        one.repeat(many)
    }

    fn member(number: u32, inside: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        prost::encoding::encode_key(number, WireType::LengthDelimited, &mut bytes);
        prost::encoding::encode_varint(inside.len() as u64, &mut bytes);
        bytes.extend_from_slice(inside);
        bytes
    }

    #[test]
    fn a_message_of_very_many_members_is_not_decoded() {
        assert!(is_modest(&[]) && is_modest(b"\x0a\x02hi") && is_modest(&[0xff; 9]));
        // pollCreationMessage 49 { options 3 }; extendedTextMessage 6 { contextInfo 17 { mentionedJid 15 } }
        let poll = |options: usize| member(49, &repeated(3, options));
        assert!(is_modest(&poll(10_000)));
        assert!(is_modest(&poll(MAX_MEMBERS - 1)) && !is_modest(&poll(MAX_MEMBERS)));
        let mentions = member(6, &member(17, &repeated(15, 100_000)));
        let quoted = member(6, &member(17, &member(3, &poll(100_000))));
        for bomb in [mentions, quoted, repeated(1, 100_000), repeated(5000, 100_000)] {
            assert!(!is_modest(&bomb));
        }
        // Length is no matter: one text of megabytes, bytes that look like members.
        assert!(is_modest(&member(1, &repeated(1, 1 << 20))));
        assert!(is_modest(&member(3, &member(16, &repeated(1, 1 << 20)))));
        assert!(!is_modest(b"\x0b\x0c"), "a group");
        // Lengths that lie, and a thousand levels.
        assert!(is_modest(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"));
        let deep = (0..1000).fold(vec![0x0a, 0], |inside, _| member(40, &member(1, &inside)));
        assert!(is_modest(&deep) && Message::decode(&*deep).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_counted_without_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..512)) {
            let _ = is_modest(&bytes);
            let _ = message_json(&bytes);
        }
    }
}
