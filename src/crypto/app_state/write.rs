//! Changes as a patch, and a whole collection as a snapshot.

use std::collections::HashMap;

use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};
use rand::CryptoRng;

use super::{Collection, Mac, Operation, Records, State, SyncKey, SyncKeys, keys::mac_of};
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

/// The keys of whoever writes.
#[derive(Clone)]
pub struct WriteKeys {
    /// The id of the one that everything new is sealed with.
    pub id: Vec<u8>,
    /// That one.
    pub keys: SyncKeys,
    /// Those under which older records may stand.
    pub older: Vec<(Vec<u8>, SyncKeys)>,
}

impl WriteKeys {
    /// One key alone: there never was another.
    pub const fn one(id: Vec<u8>, keys: SyncKeys) -> Self {
        Self { id, keys, older: Vec::new() }
    }

    /// All of an account; `None` if there is none at all.
    pub fn of(keys: &[SyncKey]) -> Option<Self> {
        let newest = SyncKey::newest(keys)?;
        let older = keys.iter().filter(|key| key.id != newest.id);
        let older = older.map(|key| (key.id.clone(), key.expand())).collect();
        Some(Self { id: newest.id.clone(), keys: newest.expand(), older })
    }
}

/// A SyncdPatch on top of `state`, as it is uploaded: without a version, which is the server's to set. The state does not
/// move before the server has taken it; then [`with_version`] makes of it what every other device gets.
///
/// A record that stands under an older key has another index MAC, so that a new value does not take its place: it is taken
/// away under its own key, in front of what follows it (WhatsApp Web; readers take the two for one new value).
pub fn build_patch<R: Records>(
    state: &State,
    collection: Collection,
    changes: &[Change],
    writer: &WriteKeys,
    records: &R,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, R::Error> {
    let WriteKeys { id: key_id, keys, .. } = writer;
    let version = state.version.saturating_add(1);
    let mut hash = state.hash.clone();
    let mut now: HashMap<Mac, Option<Mac>> = HashMap::new();
    let (mut values, mut mutations) = (Vec::new(), Vec::new());
    for (operation, change, key_id, keys) in steps(changes, writer, records)? {
        let index_mac = keys.index_mac(&change.index);
        let plain = proto::SyncActionData {
            index: Some(change.index.clone()),
            value: Some(change.value.clone()),
            padding: Some(Vec::new()),
            version: Some(change.version),
        };
        let mut iv = [0; 16];
        rng.fill_bytes(&mut iv);
        let blob = keys.seal(operation, key_id, &plain.encode_to_vec(), iv);
        // A sealed blob ends in its MAC.
        let value_mac = mac_of(&blob).unwrap_or_default();
        let previous = match now.get(&index_mac) {
            Some(known) => *known,
            None => records.value_mac(&index_mac)?,
        };
        if let Some(previous) = previous {
            hash.subtract(&previous);
        }
        let set = operation == Operation::Set;
        if set {
            hash.add(&value_mac);
        }
        now.insert(index_mac, set.then_some(value_mac));
        values.push(value_mac);
        mutations.push(proto::SyncdMutation {
            operation: Some(operation.code()),
            record: Some(record(index_mac, blob, key_id)),
        });
    }
    let snapshot_mac = keys.snapshot_mac(&hash, version, collection.as_str());
    let patch_mac = keys.patch_mac(&snapshot_mac, &values, version, collection.as_str());
    let mut patch = proto::SyncdPatch {
        snapshot_mac: Some(snapshot_mac.to_vec()),
        patch_mac: Some(patch_mac.to_vec()),
        key_id: Some(proto::KeyId { id: Some(key_id.clone()) }),
        ..Default::default()
    }
    .encode_to_vec();
    mutations.iter().for_each(|mutation| push(mutation, &mut patch));
    Ok(patch)
}

/// One mutation to be made: what it does, the change it is for, and the key it is sealed with.
type Step<'a> = (Operation, &'a Change, &'a [u8], &'a SyncKeys);

fn steps<'a, R: Records>(
    changes: &'a [Change],
    writer: &'a WriteKeys,
    records: &R,
) -> Result<Vec<Step<'a>>, R::Error> {
    let mut steps: Vec<Step<'a>> = Vec::with_capacity(changes.len());
    for change in changes {
        let before = steps.len();
        for (id, keys) in &writer.older {
            if records.value_mac(&keys.index_mac(&change.index))?.is_some() {
                steps.push((Operation::Remove, change, id, keys));
            }
        }
        let stands = steps.len() > before;
        let own = || records.value_mac(&writer.keys.index_mac(&change.index));
        // What stands under an older key alone is gone by now.
        if change.operation == Operation::Set || !stands || own()?.is_some() {
            steps.push((change.operation, change, &writer.id, &writer.keys));
        }
    }
    Ok(steps)
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
