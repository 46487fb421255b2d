//! App state as the server keeps it: five logs of patches an account, of which it reads nothing but the versions, and
//! what a phone makes of them, which has the key and checks every MAC.

use std::collections::BTreeMap;

use prost::Message as _;
use rand::CryptoRng;

use super::{AccountId, DeviceRef, World, account::Account, faults::Kind, phone::Phone};
use crate::{
    clock::Millis,
    crypto::{
        app_state::{
            Change, Collection, Mac, Operation, Records, State, SyncKey, SyncKeys, WriteKeys, apply_patch,
            build_patch, build_snapshot, mutations, sealed_records, with_version,
        },
        media::{self, Encryptor, MediaKeys, MediaKind, Sidecar},
    },
    proto,
    stanza::{CollectionAnswer, CollectionQuery, Iq, server_sync},
    wire::Node,
};

/// Patches of one answer; the next query brings the rest.
const PAGE: usize = 100;
/// Bytes of patches after which an answer is full.
const PAGE_BYTES: usize = 256 << 10;
/// Patches kept a collection.
const MAX_PATCHES: usize = 100_000;
/// Largest patch that is taken; its mutations are bounded by that.
const MAX_PATCH: usize = 1 << 20;

/// One patch, as it is handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) patch: Vec<u8>,
    /// Where its mutations are a blob: that list. The phone that wrote it still has it.
    pub(crate) external: Option<Vec<u8>>,
}

/// One collection as the server keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// The patch of version n at n − 1.
    pub(crate) patches: Vec<Entry>,
    /// Version and serialized ExternalBlobReference of what a new device is given in place of older patches.
    pub(crate) snapshot: Option<(u64, Vec<u8>)>,
}

impl Log {
    fn version(&self) -> u64 {
        self.patches.len() as u64
    }

    /// What follows a version, as much as one answer holds; whether that is all.
    fn after(&self, version: u64) -> (Vec<Vec<u8>>, bool) {
        let start = usize::try_from(version).unwrap_or(usize::MAX).min(self.patches.len());
        let rest = self.patches.get(start..).unwrap_or_default();
        let mut bytes = 0;
        let fits = rest.iter().take(PAGE).take_while(|entry| {
            let room = bytes < PAGE_BYTES;
            bytes += entry.patch.len();
            room
        });
        let patches: Vec<Vec<u8>> = fits.map(|entry| entry.patch.clone()).collect();
        let all = patches.len() == rest.len();
        (patches, all)
    }

    fn fetch(&self, query: &CollectionQuery) -> CollectionAnswer {
        let answer = CollectionAnswer::empty(query.collection);
        if query.version > self.version() {
            return CollectionAnswer { error: Some(400), ..answer };
        }
        if let (0, true, Some((version, blob))) = (query.version, query.snapshot, &self.snapshot) {
            let (patches, all) = self.after(*version);
            let version = Some(version + patches.len() as u64);
            return CollectionAnswer { version, more: !all, snapshot: Some(blob.clone()), patches, ..answer };
        }
        let (patches, all) = self.after(query.version);
        if patches.is_empty() {
            return answer;
        }
        let version = Some(query.version + patches.len() as u64);
        CollectionAnswer { version, more: !all, patches, ..answer }
    }
}

/// One account's logs.
pub(crate) type Logs = BTreeMap<Collection, Log>;

/// What a phone knows of one collection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf {
    state: State,
    macs: BTreeMap<Mac, Mac>,
    /// The records in force by index MAC. One index may have several: who changes its key and does not take away what
    /// stands under the old one leaves both.
    records: BTreeMap<Mac, Record>,
    /// How many records were ever put.
    put: u64,
    /// Patches whose author counted otherwise.
    pub(crate) diverged: u64,
}

/// One record in force.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Which is the latest.
    put: u64,
    /// What it says.
    pub(crate) change: Change,
    /// As it was sealed.
    sealed: Vec<u8>,
    /// The key it was sealed with.
    pub(crate) key_id: Vec<u8>,
}

/// All that a phone knows of app state.
pub(crate) type Shelves = BTreeMap<Collection, Shelf>;

impl Shelf {
    pub(crate) const fn version(&self) -> u64 {
        self.state.version
    }

    /// The latest of each index.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        let mut latest: BTreeMap<&[u8], &Record> = BTreeMap::new();
        for record in self.records.values() {
            let known = latest.entry(&record.change.index).or_insert(record);
            if known.put < record.put {
                *known = record;
            }
        }
        latest.into_values()
    }

    /// All as they were sealed, in the order in which they came.
    fn sealed(&self) -> Vec<&[u8]> {
        let mut records: Vec<&Record> = self.records.values().collect();
        records.sort_by_key(|record| record.put);
        records.into_iter().map(|record| record.sealed.as_slice()).collect()
    }
}

/// A shelf together with the phone's keys.
struct Desk<'a>(&'a Shelf, &'a [SyncKey]);

impl Records for Desk<'_> {
    type Error = std::convert::Infallible;
    fn value_mac(&self, index: &Mac) -> Result<Option<Mac>, Self::Error> {
        Ok(self.0.macs.get(index).copied())
    }
    fn keys(&self, id: &[u8]) -> Result<Option<SyncKeys>, Self::Error> {
        Ok(self.1.iter().find(|key| key.id == id).map(SyncKey::expand))
    }
}

impl Account {
    /// The phone's own: device 0, first epoch.
    pub(super) fn first_sync_key(&mut self, now: Millis, rng: &mut dyn CryptoRng) {
        let mut data = [0; 32];
        rng.fill_bytes(&mut data);
        let (print, at) = (self.fingerprint(), i64::try_from(now.0).ok());
        self.phone.sync_keys = vec![SyncKey::new(vec![0, 0, 0, 0, 0, 1], data, Some(print), at)];
    }

    /// The phone reads what it has not read of a collection. Whether all of it was good.
    fn phone_catches_up(&mut self, collection: Collection) -> Result<(), &'static str> {
        let Some(log) = self.app_state.get(&collection) else { return Ok(()) };
        let Phone { app_state, sync_keys: keys, .. } = &mut self.phone;
        let shelf = app_state.entry(collection).or_default();
        let start = usize::try_from(shelf.state.version).unwrap_or(usize::MAX);
        for entry in log.patches.get(start..).unwrap_or_default() {
            let mut state = shelf.state.clone();
            let external = entry.external.as_deref();
            let applied = apply_patch(&mut state, collection, &entry.patch, external, &Desk(shelf, keys))
                .map_err(|_| "app state patch that does not verify")?;
            shelf.state = state;
            shelf.diverged += u64::from(applied.diverged);
            let sealed = sealed_records(&entry.patch, external);
            for (mutation, sealed) in applied.mutations.into_iter().zip(sealed) {
                match mutation.operation {
                    Operation::Set => {
                        shelf.macs.insert(mutation.index_mac, mutation.value_mac);
                        let change = Change {
                            operation: Operation::Set,
                            index: mutation.index,
                            value: mutation.value,
                            version: mutation.version,
                        };
                        shelf.put += 1;
                        let key_id = key_of(&sealed);
                        let record = Record { put: shelf.put, change, sealed, key_id };
                        shelf.records.insert(mutation.index_mac, record);
                    }
                    Operation::Remove => {
                        shelf.macs.remove(&mutation.index_mac);
                        shelf.records.remove(&mutation.index_mac);
                    }
                }
            }
        }
        Ok(())
    }

    /// After a restart: everything that is in the logs was read before.
    pub(crate) fn replay_app_state(&mut self) -> Result<(), &'static str> {
        Collection::ALL.into_iter().try_for_each(|collection| self.phone_catches_up(collection))
    }

    fn phone_writes(&self, collection: Collection, changes: &[Change], rng: &mut dyn CryptoRng) -> Vec<u8> {
        let Some(writer) = WriteKeys::of(&self.phone.sync_keys) else { return Vec::new() };
        let fresh = Shelf::default();
        let shelf = self.phone.app_state.get(&collection).unwrap_or(&fresh);
        let desk = Desk(shelf, &self.phone.sync_keys);
        match build_patch(&shelf.state, collection, changes, &writer, &desk, rng) {
            Ok(patch) => patch,
            Err(never) => match never {},
        }
    }

    /// The name that the account's app state has.
    fn name_kept(&self) -> Option<String> {
        let index: &[u8] = br#"["setting_pushName"]"#;
        let shelf = self.phone.app_state.get(&Collection::CriticalBlock)?;
        let record = shelf.records().find(|record| record.change.index == index)?;
        proto::SyncActionValue::decode(&*record.change.value).ok()?.push_name_setting?.name
    }
}

impl World {
    /// The query for collections, or the upload of a patch.
    pub(super) fn app_state(&mut self, device: DeviceRef, iq: &Iq, node: &Node, now: Millis) -> Option<Node> {
        let queries = CollectionQuery::parse_all(node).ok()?;
        let uploads = queries.iter().filter(|query| query.patch.is_some()).count();
        if queries.is_empty() || queries.len() > Collection::ALL.len() || (uploads > 0 && queries.len() > 1) {
            return None;
        }
        let mut answers = Vec::new();
        for query in queries {
            let struck = self.fault(Kind::AppState, device).and_then(|code| u16::try_from(code).ok());
            answers.push(match &query.patch {
                _ if struck.is_some() => {
                    CollectionAnswer { error: struck, ..CollectionAnswer::empty(query.collection) }
                }
                Some(patch) => self.take_patch(device, &query, patch, now)?,
                None => {
                    let log = self.account(device.account).app_state.get(&query.collection);
                    log.map_or_else(|| Log::default().fetch(&query), |log| log.fetch(&query))
                }
            });
        }
        Some(CollectionAnswer::build(&iq.id, &answers))
    }

    /// Takes a patch if it is on top, and tells the other devices.
    fn take_patch(
        &mut self,
        device: DeviceRef,
        query: &CollectionQuery,
        patch: &[u8],
        now: Millis,
    ) -> Option<CollectionAnswer> {
        let read = proto::SyncdPatch::decode(patch).ok()?;
        // The server reads no more than that the parts are there; the version is its own to give.
        let whole = read.snapshot_mac.is_some_and(|mac| mac.len() == 32)
            && read.patch_mac.is_some_and(|mac| mac.len() == 32)
            && read.key_id.is_some()
            && patch.len() <= MAX_PATCH;
        if !whole {
            return None;
        }
        let collection = query.collection;
        let log = self.account_mut(device.account).app_state.entry(collection).or_default();
        if query.version != log.version() {
            let (patches, all) = log.after(query.version);
            return Some(CollectionAnswer {
                error: Some(409),
                more: !all,
                patches,
                ..CollectionAnswer::empty(collection)
            });
        }
        if log.patches.len() >= MAX_PATCHES {
            return Some(CollectionAnswer { error: Some(400), ..CollectionAnswer::empty(collection) });
        }
        let version = log.version() + 1;
        log.patches.push(Entry { patch: with_version(patch, version), external: None });
        self.told_of_app_state(device, collection, version, now);
        Some(CollectionAnswer { version: Some(version), ..CollectionAnswer::empty(collection) })
    }

    fn told_of_app_state(&mut self, by: DeviceRef, collection: Collection, version: u64, now: Millis) {
        for device in self.devices_of(by.account) {
            if device != by {
                let id = self.server_id();
                self.enqueue(device, server_sync(&id, collection, version, now.secs()), now);
            }
        }
    }

    /// What the phone does when a companion has changed something: reads it, checks it, acts on it.
    pub(super) fn phone_syncs(&mut self, phone: AccountId, now: Millis) {
        let before = self.account(phone).name_kept();
        for collection in Collection::ALL {
            if let Err(reason) = self.account_mut(phone).phone_catches_up(collection) {
                self.journal.refuse(reason);
            }
        }
        // Only news: who announced a name otherwise did so later than what app state has had all the time.
        let kept = self.account(phone).name_kept().filter(|name| before.as_ref() != Some(name));
        if let Some(name) = kept.filter(|name| !name.is_empty() && *name != self.account(phone).name) {
            self.rename(DeviceRef { account: phone, device: 0 }, name);
            self.tell_presence(phone, now);
        }
    }

    /// The phone changes something itself. `by_blob`: the list of changes goes to the media server: what is answered.
    pub(super) fn phone_changes(
        &mut self,
        phone: AccountId,
        collection: Collection,
        changes: &[Change],
        by_blob: bool,
        now: Millis,
    ) -> Vec<u8> {
        self.phone_syncs(phone, now);
        self.phone_looks_at_its_key(phone, now);
        let Self { accounts, rng, .. } = self;
        let Some(account) = accounts.get_mut(phone.0) else { return Vec::new() };
        let mut patch = account.phone_writes(collection, changes, rng);
        let (mut external, mut stored) = (None, Vec::new());
        if by_blob {
            let (list, rest) = split_list(&patch);
            let (blob, reference) = self.seal_blob(&list);
            patch = rest;
            // SyncdPatch.externalMutations, field 3.
            patch.extend([0x1a]);
            prost::encoding::encode_varint(reference.len() as u64, &mut patch);
            patch.extend(reference);
            (external, stored) = (Some(list), blob);
        }
        let log = self.account_mut(phone).app_state.entry(collection).or_default();
        let version = log.version() + 1;
        log.patches.push(Entry { patch: with_version(&patch, version), external });
        self.phone_syncs(phone, now);
        self.told_of_app_state(DeviceRef { account: phone, device: 0 }, collection, version, now);
        stored
    }

    /// Before a companion is linked: app state says what the account is called.
    pub(super) fn keep_name(&mut self, phone: AccountId, now: Millis) {
        self.phone_syncs(phone, now);
        let account = self.account(phone);
        if account.name_kept().as_ref() == Some(&account.name) {
            return;
        }
        let value = |value: proto::SyncActionValue| {
            let timestamp = i64::try_from(now.0).ok();
            proto::SyncActionValue { timestamp, ..value }.encode_to_vec()
        };
        let change = |name: &str, version, value: Vec<u8>| Change {
            operation: Operation::Set,
            index: format!("[\"{name}\"]").into_bytes(),
            value,
            version,
        };
        use proto::sync_action_value::{LocaleSetting, PushNameSetting};
        let name = PushNameSetting { name: Some(account.name.clone()) };
        let name = proto::SyncActionValue { push_name_setting: Some(name), ..Default::default() };
        let mut changes = vec![change("setting_pushName", 1, value(name))];
        if account.app_state.is_empty() {
            let locale = LocaleSetting { locale: Some("en_US".into()) };
            let locale = proto::SyncActionValue { locale_setting: Some(locale), ..Default::default() };
            changes.push(change("setting_locale", 3, value(locale)));
        }
        self.phone_changes(phone, Collection::CriticalBlock, &changes, false, now);
    }

    /// The phone's records of one collection as a snapshot at the present version, uploaded by `keep` as a blob.
    pub(crate) fn phone_snapshot(
        &mut self,
        phone: AccountId,
        collection: Collection,
        now: Millis,
    ) -> Option<Vec<u8>> {
        self.phone_syncs(phone, now);
        let account = self.account(phone);
        let shelf = account.phone.app_state.get(&collection).filter(|shelf| shelf.version() > 0)?;
        let key = SyncKey::newest(&account.phone.sync_keys)?;
        Some(build_snapshot(&shelf.state, collection, shelf.sealed(), &key.id, &key.expand()))
    }

    /// Encrypts a list for the media server: the blob, and the reference that devices get.
    pub(crate) fn seal_blob(&mut self, plain: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let media_key = media::new_media_key(&mut self.rng);
        let mut encryptor = Encryptor::new(&MediaKeys::derive(&media_key, MediaKind::AppState), Sidecar::Off);
        let mut blob = Vec::new();
        encryptor.update(plain, &mut blob);
        let encrypted = encryptor.finish(&mut blob);
        let name = self.random_hex(4);
        let path = super::direct_path(MediaKind::AppState.path_word(), &encrypted.file_enc_sha256, &name);
        let reference = proto::ExternalBlobReference {
            media_key: Some(media_key.to_vec()),
            direct_path: Some(path),
            handle: None,
            file_size_bytes: Some(encrypted.file_length),
            file_sha256: Some(encrypted.file_sha256.to_vec()),
            file_enc_sha256: Some(encrypted.file_enc_sha256.to_vec()),
        };
        (blob, reference.encode_to_vec())
    }

    /// From here on a new device is given this snapshot; its blob is on the media server.
    pub(crate) fn publish_snapshot(&mut self, phone: AccountId, collection: Collection, reference: Vec<u8>) {
        let account = self.account_mut(phone);
        let version = account.phone.app_state.get(&collection).map_or(0, Shelf::version);
        account.app_state.entry(collection).or_default().snapshot = Some((version, reference));
    }

    /// The last patch of a collection is damaged where the server keeps it.
    pub(crate) fn damage_app_state(&mut self, phone: AccountId, collection: Collection) -> bool {
        let log = self.account_mut(phone).app_state.get_mut(&collection);
        let Some(byte) = log.and_then(|log| log.patches.last_mut()?.patch.iter_mut().rev().nth(40)) else {
            return false;
        };
        *byte ^= 1;
        true
    }
}

/// The id of the key that a serialized SyncdRecord was sealed with.
fn key_of(record: &[u8]) -> Vec<u8> {
    proto::SyncdRecord::decode(record).ok().and_then(|record| record.key_id?.id).unwrap_or_default()
}

/// A patch's mutations as a SyncdMutations, and the patch without them.
fn split_list(patch: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut list = Vec::new();
    for entry in mutations(patch) {
        // SyncdMutations.mutations, field 1.
        list.push(0x0a);
        prost::encoding::encode_varint(entry.len() as u64, &mut list);
        list.extend_from_slice(entry);
    }
    let rest = proto::SyncdPatch::decode(patch).map(|head| head.encode_to_vec()).unwrap_or_default();
    (list, rest)
}
