//! The generated messages, and their JSON form.

use std::{collections::HashSet, sync::LazyLock};

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

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
}
