//! Patches and snapshots as they come. Every MAC is checked before anything of them is believed, and the state moves
//! only as a whole.

use std::collections::{HashMap, HashSet};

use prost::Message as _;
use subtle::ConstantTimeEq as _;

use super::{Collection, LtHash, Mac, Operation, Records, State, SyncKeys, entries::Entries, keys::mac_of};
use crate::proto;

/// Field of the mutations in SyncdPatch, and of the records in SyncdSnapshot.
const INLINE: u32 = 2;
/// Field of the mutations in SyncdMutations.
const EXTERNAL: u32 = 1;
/// Unknown keys that one answer reports; a request names no more.
const MAX_MISSING: usize = 50;

/// One decrypted record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// Put or taken away.
    pub operation: Operation,
    /// JSON array of texts, as serialized by whoever wrote it.
    pub index: Vec<u8>,
    /// Serialized SyncActionValue.
    pub value: Vec<u8>,
    /// Of the action's form.
    pub version: i32,
    /// What the record is kept under.
    pub index_mac: Mac,
    /// What stands for the value in the sum.
    pub value_mac: Mac,
}

/// What a patch brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// In the order of the patch.
    pub mutations: Vec<Mutation>,
    /// Its author's sum over the whole collection is another than ours. What it says is authentic all the same: Baileys
    /// miscounts after its own removals (protocol 04, 17.4).
    pub diverged: bool,
}

impl Applied {
    /// The records that a patch puts under another key: what it takes away of them is no news, in whatever order it says so.
    pub fn moved(&self) -> HashSet<Mac> {
        let set = |mutation: &&Mutation| mutation.operation == Operation::Set;
        let put: HashMap<&[u8], Mac> =
            self.mutations.iter().filter(set).map(|put| (&*put.index, put.index_mac)).collect();
        let moves = |mutation: &&Mutation| {
            !set(mutation) && put.get(&*mutation.index).is_some_and(|mac| *mac != mutation.index_mac)
        };
        self.mutations.iter().filter(moves).map(|mutation| mutation.index_mac).collect()
    }
}

/// Why a patch or a snapshot is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError<E> {
    /// Names the part.
    #[error("malformed app state: {0}")]
    Malformed(&'static str),
    /// Keys with these ids are needed first.
    #[error("{} app state keys are missing", .0.len())]
    MissingKeys(Vec<Vec<u8>>),
    /// Patches are missing in between.
    #[error("patch {got} does not follow version {have}")]
    Gap {
        /// Ours.
        have: u64,
        /// The patch's.
        got: u64,
    },
    /// Names which.
    #[error("the {0} MAC is wrong")]
    Mac(&'static str),
    /// Of the storage.
    #[error("storage")]
    Records(E),
}

/// The external part that a patch needs, if it needs one.
pub fn external_of(patch: &[u8]) -> Option<proto::ExternalBlobReference> {
    proto::SyncdPatch::decode(patch).ok()?.external_mutations
}

/// The serialized SyncdRecords of a patch that was applied, one for each of its mutations: what a snapshot is made of.
pub fn sealed_records(patch: &[u8], external: Option<&[u8]>) -> Vec<Vec<u8>> {
    let sealed = |entry: &[u8]| mutation(entry).map(|(_, record)| record.encode_to_vec());
    entries(patch, external).filter_map(|entry| sealed(entry?)).collect()
}

/// The serialized SyncdMutations that stand in a patch itself.
pub fn mutations(patch: &[u8]) -> impl Iterator<Item = &[u8]> {
    Entries::new(patch, INLINE).flatten()
}

/// The mutations of a patch, wherever they are: what stands beside an external list is not covered by the patch's MAC.
fn entries<'a>(patch: &'a [u8], external: Option<&'a [u8]>) -> Entries<'a> {
    match external {
        Some(list) => Entries::new(list, EXTERNAL),
        None => Entries::new(patch, INLINE),
    }
}

/// Sync keys by id, each expanded once; those that are not there are noted.
struct Keyring<'r, R> {
    records: &'r R,
    known: HashMap<Vec<u8>, SyncKeys>,
    missing: Vec<Vec<u8>>,
}

impl<'r, R: Records> Keyring<'r, R> {
    fn new(records: &'r R) -> Self {
        Self { records, known: HashMap::new(), missing: Vec::new() }
    }

    fn get(&mut self, id: &[u8]) -> Result<Option<SyncKeys>, ReadError<R::Error>> {
        if let Some(keys) = self.known.get(id) {
            return Ok(Some(keys.clone()));
        }
        let found = self.records.keys(id).map_err(ReadError::Records)?;
        match &found {
            Some(keys) => {
                self.known.insert(id.to_vec(), keys.clone());
            }
            None if self.missing.len() < MAX_MISSING && !self.missing.iter().any(|known| known == id) => {
                self.missing.push(id.to_vec());
            }
            None => {}
        }
        Ok(found)
    }

    fn complete(&mut self) -> Result<(), ReadError<R::Error>> {
        if self.missing.is_empty() {
            return Ok(());
        }
        Err(ReadError::MissingKeys(std::mem::take(&mut self.missing)))
    }
}

fn id(key: Option<&proto::KeyId>) -> &[u8] {
    key.and_then(|key| key.id.as_deref()).unwrap_or_default()
}

fn equal(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// Opens one record; `None` if its key is not there.
fn open<R: Records>(
    operation: Operation,
    record: &proto::SyncdRecord,
    ring: &mut Keyring<'_, R>,
) -> Result<Option<Mutation>, ReadError<R::Error>> {
    let blob = record.value.as_ref().and_then(|value| value.blob.as_deref());
    let blob = blob.ok_or(ReadError::Malformed("value"))?;
    let index_mac = record.index.as_ref().and_then(|index| index.blob.as_deref());
    let index_mac: Mac =
        index_mac.and_then(|mac| mac.try_into().ok()).ok_or(ReadError::Malformed("index MAC"))?;
    let key_id = id(record.key_id.as_ref());
    let Some(keys) = ring.get(key_id)? else { return Ok(None) };
    let plain = keys.open(operation, key_id, blob).ok_or(ReadError::Mac("value"))?;
    let data = proto::SyncActionData::decode(&*plain).map_err(|_| ReadError::Malformed("action"))?;
    let index = data.index.ok_or(ReadError::Malformed("index"))?;
    if !equal(&keys.index_mac(&index), &index_mac) {
        return Err(ReadError::Mac("index"));
    }
    Ok(Some(Mutation {
        operation,
        index,
        value: data.value.unwrap_or_default(),
        version: data.version.unwrap_or(0),
        index_mac,
        value_mac: mac_of(blob).ok_or(ReadError::Malformed("value"))?,
    }))
}

fn mutation(entry: &[u8]) -> Option<(Operation, proto::SyncdRecord)> {
    let mutation = proto::SyncdMutation::decode(entry).ok()?;
    Some((Operation::from_code(mutation.operation.unwrap_or(0))?, mutation.record?))
}

/// Takes the patch that follows `state`; the state is as it was wherever this fails. `external`: the downloaded list,
/// where the patch names one ([`external_of`]).
pub fn apply_patch<R: Records>(
    state: &mut State,
    collection: Collection,
    patch: &[u8],
    external: Option<&[u8]>,
    records: &R,
) -> Result<Applied, ReadError<R::Error>> {
    let head = proto::SyncdPatch::decode(patch).map_err(|_| ReadError::Malformed("patch"))?;
    let version = head.version.and_then(|version| version.version).ok_or(ReadError::Malformed("version"))?;
    if Some(version) != state.version.checked_add(1) {
        return Err(ReadError::Gap { have: state.version, got: version });
    }
    if head.external_mutations.is_some() != external.is_some() {
        return Err(ReadError::Malformed("external mutations"));
    }
    let snapshot_mac = head.snapshot_mac.ok_or(ReadError::Malformed("snapshot MAC"))?;
    let patch_mac = head.patch_mac.ok_or(ReadError::Malformed("patch MAC"))?;
    let mut ring = Keyring::new(records);
    let keys = ring.get(id(head.key_id.as_ref()))?;
    let mut mutations = Vec::new();
    for entry in entries(patch, external) {
        let (operation, record) = entry.and_then(mutation).ok_or(ReadError::Malformed("mutation"))?;
        mutations.extend(open(operation, &record, &mut ring)?);
    }
    ring.complete()?;
    let Some(keys) = keys else { return Err(ReadError::Malformed("key")) };
    let values = mutations.iter().map(|mutation| &mutation.value_mac);
    let expected = keys.patch_mac(&snapshot_mac, values, version, collection.as_str());
    if !equal(&expected, &patch_mac) {
        return Err(ReadError::Mac("patch"));
    }
    let hash = sum(&state.hash, &mutations, records).map_err(ReadError::Records)?;
    let diverged = !equal(&keys.snapshot_mac(&hash, version, collection.as_str()), &snapshot_mac);
    *state = State { version, hash };
    Ok(Applied { mutations, diverged })
}

/// The sum after these mutations, each against what was in force before it.
fn sum<R: Records>(before: &LtHash, mutations: &[Mutation], records: &R) -> Result<LtHash, R::Error> {
    let mut hash = before.clone();
    let mut now: HashMap<Mac, Option<Mac>> = HashMap::new();
    for mutation in mutations {
        let previous = match now.get(&mutation.index_mac) {
            Some(known) => *known,
            None => records.value_mac(&mutation.index_mac)?,
        };
        if let Some(previous) = previous {
            hash.subtract(&previous);
        }
        let set = mutation.operation == Operation::Set;
        if set {
            hash.add(&mutation.value_mac);
        }
        now.insert(mutation.index_mac, set.then_some(mutation.value_mac));
    }
    Ok(hash)
}

/// Reads a whole collection: `each` gets every record, in order, after all of them were checked. The records are read
/// twice and held one at a time.
pub fn apply_snapshot<R: Records>(
    collection: Collection,
    snapshot: &[u8],
    records: &R,
    mut each: impl FnMut(Mutation) -> Result<(), R::Error>,
) -> Result<State, ReadError<R::Error>> {
    let head = proto::SyncdSnapshot::decode(snapshot).map_err(|_| ReadError::Malformed("snapshot"))?;
    let version = head.version.and_then(|version| version.version).ok_or(ReadError::Malformed("version"))?;
    let mac = head.mac.ok_or(ReadError::Malformed("snapshot MAC"))?;
    let mut ring = Keyring::new(records);
    let keys = ring.get(id(head.key_id.as_ref()))?;
    let record = |entry: Option<&[u8]>| {
        let record = entry.and_then(|entry| proto::SyncdRecord::decode(entry).ok());
        record.ok_or(ReadError::Malformed("record"))
    };
    let mut hash = LtHash::EMPTY;
    for entry in Entries::new(snapshot, INLINE) {
        if let Some(mutation) = open(Operation::Set, &record(entry)?, &mut ring)? {
            hash.add(&mutation.value_mac);
        }
    }
    ring.complete()?;
    let Some(keys) = keys else { return Err(ReadError::Malformed("key")) };
    if !equal(&keys.snapshot_mac(&hash, version, collection.as_str()), &mac) {
        return Err(ReadError::Mac("snapshot"));
    }
    for entry in Entries::new(snapshot, INLINE) {
        if let Some(mutation) = open(Operation::Set, &record(entry)?, &mut ring)? {
            each(mutation).map_err(ReadError::Records)?;
        }
    }
    Ok(State { version, hash })
}
