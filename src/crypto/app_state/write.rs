//! Changes as a patch, and a whole collection as a snapshot.

use std::collections::HashMap;

use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};
use rand::CryptoRng;

use super::{Collection, Mac, Operation, Records, State, SyncKeys, keys::mac_of};
use crate::proto;

/// Field of the mutations in SyncdPatch, and of the records in SyncdSnapshot.
const INLINE: u32 = 2;

/// One change to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Put or take away.
    pub operation: Operation,
    /// JSON array of texts, without spaces.
    pub index: Vec<u8>,
    /// Serialized SyncActionValue.
    pub value: Vec<u8>,
    /// Of the action's form (protocol 04, 17.1).
    pub version: i32,
}

/// A SyncdPatch on top of `state`, as it is uploaded: without a version, which is the server's to set. The state does not
/// move before the server has taken it; then [`with_version`] makes of it what every other device gets.
pub fn build_patch<R: Records>(
    state: &State,
    collection: Collection,
    changes: &[Change],
    key_id: &[u8],
    keys: &SyncKeys,
    records: &R,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, R::Error> {
    let version = state.version.saturating_add(1);
    let mut hash = state.hash.clone();
    let mut now: HashMap<Mac, Option<Mac>> = HashMap::new();
    let (mut values, mut mutations) = (Vec::new(), Vec::new());
    for change in changes {
        let index_mac = keys.index_mac(&change.index);
        let plain = proto::SyncActionData {
            index: Some(change.index.clone()),
            value: Some(change.value.clone()),
            padding: Some(Vec::new()),
            version: Some(change.version),
        };
        let mut iv = [0; 16];
        rng.fill_bytes(&mut iv);
        let blob = keys.seal(change.operation, key_id, &plain.encode_to_vec(), iv);
        // A sealed blob ends in its MAC.
        let value_mac = mac_of(&blob).unwrap_or_default();
        let previous = match now.get(&index_mac) {
            Some(known) => *known,
            None => records.value_mac(&index_mac)?,
        };
        if let Some(previous) = previous {
            hash.subtract(&previous);
        }
        let set = change.operation == Operation::Set;
        if set {
            hash.add(&value_mac);
        }
        now.insert(index_mac, set.then_some(value_mac));
        values.push(value_mac);
        mutations.push(proto::SyncdMutation {
            operation: Some(change.operation.code()),
            record: Some(record(index_mac, blob, key_id)),
        });
    }
    let snapshot_mac = keys.snapshot_mac(&hash, version, collection.as_str());
    let patch_mac = keys.patch_mac(&snapshot_mac, &values, version, collection.as_str());
    let mut patch = proto::SyncdPatch {
        snapshot_mac: Some(snapshot_mac.to_vec()),
        patch_mac: Some(patch_mac.to_vec()),
        key_id: Some(proto::KeyId { id: Some(key_id.to_vec()) }),
        ..Default::default()
    }
    .encode_to_vec();
    mutations.iter().for_each(|mutation| push(mutation, &mut patch));
    Ok(patch)
}

fn record(index_mac: Mac, blob: Vec<u8>, key_id: &[u8]) -> proto::SyncdRecord {
    proto::SyncdRecord {
        index: Some(proto::SyncdIndex { blob: Some(index_mac.to_vec()) }),
        value: Some(proto::SyncdValue { blob: Some(blob) }),
        key_id: Some(proto::KeyId { id: Some(key_id.to_vec()) }),
    }
}

fn push(entry: &impl prost::Message, list: &mut Vec<u8>) {
    encode_key(INLINE, WireType::LengthDelimited, list);
    encode_varint(entry.encoded_len() as u64, list);
    // Writing into memory does not fail.
    let _ = entry.encode(list);
}

/// An uploaded patch with the version that the server gave it; a version that it names already stands in front of it
/// and is overruled.
pub fn with_version(patch: &[u8], version: u64) -> Vec<u8> {
    let numbered = proto::SyncdPatch {
        version: Some(proto::SyncdVersion { version: Some(version) }),
        ..Default::default()
    };
    // Of a member that stands twice the last counts.
    let mut bytes = patch.to_vec();
    bytes.extend(numbered.encode_to_vec());
    bytes
}

/// A SyncdSnapshot of these records ([`super::sealed_records`]), which sum up to `state`.
pub fn build_snapshot<'a>(
    state: &State,
    collection: Collection,
    records: impl IntoIterator<Item = &'a [u8]>,
    key_id: &[u8],
    keys: &SyncKeys,
) -> Vec<u8> {
    let mac = keys.snapshot_mac(&state.hash, state.version, collection.as_str());
    let mut snapshot = proto::SyncdSnapshot {
        version: Some(proto::SyncdVersion { version: Some(state.version) }),
        mac: Some(mac.to_vec()),
        key_id: Some(proto::KeyId { id: Some(key_id.to_vec()) }),
    }
    .encode_to_vec();
    for record in records {
        encode_key(INLINE, WireType::LengthDelimited, &mut snapshot);
        encode_varint(record.len() as u64, &mut snapshot);
        snapshot.extend_from_slice(record);
    }
    snapshot
}
