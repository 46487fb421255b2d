//! App state of this device: what is fetched when, what is done with patches and snapshots, which keys are asked for.
//! What a record means is in `actions`, what is written in `write`.

mod actions;
mod keys;
mod labels;
mod settings;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use prost::Message as _;

pub(super) use actions::chat_data;
pub use labels::LabelChange;
pub use settings::{AccountSetting, settings_view};
pub use write::StateChange;
pub(super) use write::{Upload, Waiting};

use super::{
    Error,
    dispatch::{Account, Effect, Turn},
    link::{Phase, Query},
};
use crate::{
    clock::Millis,
    crypto::{
        app_state::{
            Collection, Mac, Mutation, Operation, ReadError, Records, State, SyncKeys, apply_patch,
            apply_snapshot, external_of,
        },
        media::MediaKind,
    },
    proto::{
        self,
        message::{AppStateSyncKeyId, AppStateSyncKeyRequest, ProtocolMessage},
    },
    stanza::{CollectionAnswer, CollectionQuery, Iq},
    store::{self, Tx},
    wire::Node,
};

/// Largest blob that is taken: some hundred thousand records.
const LARGEST: u64 = 32 << 20;
/// Queries for one collection on one connection (whatsapp-rust's bound).
const MAX_ROUNDS: u32 = 500;
/// Longest pause after a refused query; the first is of two seconds, each next one twice as long (whatsapp-rust's hour).
const LONGEST_PAUSE: u64 = 3600;
/// ProtocolMessage.Type: APP_STATE_SYNC_KEY_REQUEST.
const KEY_REQUEST: i32 = 7;

/// A file on the media servers that is wanted for what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Names it in [`super::Input::Fetched`].
    pub id: u64,
    /// Which keys open it.
    pub kind: MediaKind,
    /// Where it is, without the host.
    pub direct_path: String,
    /// What opens it.
    pub media_key: [u8; 32],
    /// SHA-256 of the file, if told.
    pub file_sha256: Option<Vec<u8>>,
    /// SHA-256 of what is on the servers, if told.
    pub file_enc_sha256: Option<Vec<u8>>,
    /// Bytes of the file, at most.
    pub limit: u64,
}

/// What a download is for.
enum Purpose {
    Snapshot,
    /// This patch's list.
    External(Vec<u8>),
}

/// Where one collection stands on this connection.
#[derive(Default)]
struct Progress {
    /// There is, or may be, something to fetch.
    wanted: bool,
    /// A query, an upload or a download is under way.
    busy: bool,
    /// Everything that was there has been read, so that something can be put on top.
    synced: bool,
    /// It was never read since the link: it fills the tables, and is no news.
    quiet: bool,
    /// It was read from its beginning, the second time because of a fault.
    from_scratch: bool,
    restarted: bool,
    /// Needed first.
    missing: Vec<Vec<u8>>,
    /// Not any more on this connection.
    given_up: bool,
    rounds: u32,
    refusals: u32,
    again_at: Option<Millis>,
    conflicts: u32,
}

impl Progress {
    fn rests(&self, now: Millis) -> bool {
        !self.busy && !self.given_up && self.missing.is_empty() && self.again_at.is_none_or(|at| at <= now)
    }

    fn refused(&mut self, now: Millis) {
        self.refusals += 1;
        self.wanted = true;
        let pause = (1_u64 << self.refusals.min(12)).min(LONGEST_PAUSE);
        self.again_at = Some(now + Duration::from_secs(pause));
    }
}

/// App state on one connection.
pub(super) struct Syncing {
    collections: BTreeMap<Collection, Progress>,
    downloads: HashMap<u64, (Collection, Purpose)>,
    next_download: u64,
    asked_keys: BTreeSet<Vec<u8>>,
}

impl Default for Syncing {
    /// A new connection: notifications may have been missed, so everything is looked at once.
    fn default() -> Self {
        let wanted = || Progress { wanted: true, ..Progress::default() };
        Self {
            collections: Collection::ALL.into_iter().map(|collection| (collection, wanted())).collect(),
            downloads: HashMap::new(),
            next_download: 0,
            asked_keys: BTreeSet::new(),
        }
    }
}

impl Syncing {
    fn of(&mut self, collection: Collection) -> &mut Progress {
        self.collections.entry(collection).or_default()
    }

    /// When something that was refused is asked for again.
    pub(super) fn deadline(&self) -> Option<Millis> {
        let waits = |progress: &&Progress| {
            progress.wanted && !progress.busy && !progress.given_up && progress.missing.is_empty()
        };
        self.collections.values().filter(waits).filter_map(|progress| progress.again_at).min()
    }
}

/// The records of a collection, in the open transaction.
struct Stored<'t> {
    tx: &'t Tx<'t>,
    collection: Collection,
}

impl Records for Stored<'_> {
    type Error = store::Error;
    fn value_mac(&self, index: &Mac) -> Result<Option<Mac>, store::Error> {
        self.tx.app_state().mac(self.collection, index)
    }
    fn keys(&self, id: &[u8]) -> Result<Option<SyncKeys>, store::Error> {
        self.tx.app_state().key(id)
    }
}

/// What became of a patch or a snapshot.
enum Read {
    Good,
    /// A list has to be downloaded first.
    Waits,
    Stopped,
}

impl Account {
    /// Fetches what is wanted, then writes what waits. Only once the offline queue has been delivered, which may hold
    /// the keys, and not before there is a key at all: the phone shares it after the link.
    pub(super) fn pump_app_state(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(conn) = self.conn.as_mut().filter(|conn| conn.phase == Phase::Live) else { return Ok(()) };
        let now = turn.now;
        let wanted = |progress: &Progress| progress.wanted && progress.rests(now);
        let idle = !conn.app_state.collections.values().any(wanted);
        if idle && !self.writes_wait || turn.tx.app_state().newest_key()?.is_none() {
            return Ok(());
        }
        let mut queries = Vec::new();
        for (collection, progress) in conn.app_state.collections.iter_mut().filter(|(_, p)| wanted(p)) {
            let known = turn.tx.app_state().known(*collection)?;
            let fresh = known.is_none();
            let version = known.map_or(0, |known| known.state.version);
            progress.rounds += 1;
            if progress.rounds > MAX_ROUNDS {
                tracing::warn!(collection = collection.as_str(), "app state does not come to an end");
                progress.given_up = true;
                continue;
            }
            (progress.wanted, progress.busy, progress.again_at) = (false, true, None);
            progress.from_scratch |= version == 0;
            progress.quiet |= fresh;
            let snapshot = version == 0;
            queries.push(CollectionQuery { collection: *collection, version, snapshot, patch: None });
        }
        if !queries.is_empty() {
            let collections = queries.iter().map(|query| query.collection).collect();
            let id = conn.query(Query::AppState(collections), now);
            turn.send(&CollectionQuery::build(&id, &queries));
        }
        self.write_app_state(turn)
    }

    /// Collections moved, says the server.
    pub(super) fn app_state_moved(
        &mut self,
        moved: &[(Collection, Option<u64>)],
        turn: &Turn<'_>,
    ) -> Result<(), Error> {
        for (collection, version) in moved {
            let known = turn.tx.app_state().known(*collection)?.map_or(0, |known| known.state.version);
            if let (Some(conn), true) = (&mut self.conn, version.is_none_or(|version| version > known)) {
                let progress = conn.app_state.of(*collection);
                progress.wanted = true;
                // What was wrong with an older patch may have been mended.
                (progress.given_up, progress.rounds) = (false, 0);
            }
        }
        Ok(())
    }

    /// The phone shared keys: what waited for them goes on.
    pub(super) fn app_state_keys_came(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        for progress in conn.app_state.collections.values_mut().filter(|p| !p.missing.is_empty()) {
            progress.missing.clear();
            progress.wanted = true;
        }
    }

    /// The answer to a query for collections.
    pub(super) fn app_state_answered(
        &mut self,
        asked: &[Collection],
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let mut answers = match (Iq::refusal(node), CollectionAnswer::parse_all(node)) {
            (None, Ok(answers)) => answers,
            (refusal, _) => {
                tracing::warn!(code = refusal.map(|r| r.code), "app state could not be had");
                Vec::new()
            }
        };
        for collection in asked {
            let Some(conn) = &mut self.conn else { return Ok(()) };
            let progress = conn.app_state.of(*collection);
            progress.busy = false;
            let at = answers.iter().position(|answer| answer.collection == *collection);
            let Some(answer) = at.map(|at| answers.swap_remove(at)) else {
                progress.refused(turn.now);
                continue;
            };
            match answer.error {
                None => self.take_collection(answer, turn)?,
                Some(code @ (400 | 404)) => {
                    tracing::warn!(
                        code,
                        collection = collection.as_str(),
                        "the server has no such app state"
                    );
                    progress.given_up = true;
                }
                Some(_) => progress.refused(turn.now),
            }
        }
        Ok(())
    }

    /// What the server has of one collection behind where this device stands.
    fn take_collection(&mut self, answer: CollectionAnswer, turn: &mut Turn<'_>) -> Result<(), Error> {
        let collection = answer.collection;
        if let Some(snapshot) = &answer.snapshot {
            let reference = proto::ExternalBlobReference::decode(&**snapshot).ok();
            // What stands behind the snapshot is fetched again on top of it.
            if self.download(collection, reference, Purpose::Snapshot, turn) {
                return Ok(());
            }
            return self.corrupt(collection, "snapshot reference", turn);
        }
        for patch in &answer.patches {
            match self.take_patch(collection, patch, None, turn)? {
                Read::Good => {}
                Read::Waits | Read::Stopped => return Ok(()),
            }
        }
        if let Some(conn) = &mut self.conn {
            let progress = conn.app_state.of(collection);
            progress.wanted |= answer.more;
            progress.synced = !progress.wanted;
            progress.refusals = 0;
            if progress.synced && std::mem::take(&mut progress.quiet) {
                // Whatever comes into an empty collection from here on is news, too.
                let known = turn.tx.app_state().known(collection)?;
                turn.tx.app_state().set_state(collection, &known.map(|k| k.state).unwrap_or_default())?;
            }
        }
        Ok(())
    }

    fn reads_quietly(&mut self, collection: Collection) -> bool {
        self.conn.as_mut().is_some_and(|conn| conn.app_state.of(collection).quiet)
    }

    fn take_patch(
        &mut self,
        collection: Collection,
        patch: &[u8],
        external: Option<&[u8]>,
        turn: &mut Turn<'_>,
    ) -> Result<Read, Error> {
        if let (None, Some(reference)) = (external, external_of(patch)) {
            if self.download(collection, Some(reference), Purpose::External(patch.to_vec()), turn) {
                return Ok(Read::Waits);
            }
            self.corrupt(collection, "reference of a list", turn)?;
            return Ok(Read::Stopped);
        }
        let known = turn.tx.app_state().known(collection)?;
        let quiet = self.reads_quietly(collection);
        let diverged = known.as_ref().is_some_and(|known| known.diverged);
        let mut state = known.map(|known| known.state).unwrap_or_default();
        let records = Stored { tx: turn.tx, collection };
        match apply_patch(&mut state, collection, patch, external, &records) {
            Ok(applied) => {
                let (moved, differs) = (applied.moved(), applied.diverged);
                for mutation in &applied.mutations {
                    let moves = moved.contains(&mutation.index_mac);
                    self.take_mutation(collection, mutation, moves, quiet, turn)?;
                }
                turn.tx.app_state().set_state(collection, &state)?;
                if differs && !diverged {
                    return self.differs(collection, turn);
                }
                Ok(Read::Good)
            }
            Err(error) => self.not_taken(collection, error, turn),
        }
    }

    /// A patch whose author counts otherwise. Perhaps the mistake is here: everything is read again, once.
    fn differs(&mut self, collection: Collection, turn: &mut Turn<'_>) -> Result<Read, Error> {
        let Some(conn) = &mut self.conn else { return Ok(Read::Stopped) };
        let progress = conn.app_state.of(collection);
        if progress.from_scratch || progress.restarted {
            tracing::info!(collection = collection.as_str(), "app state is counted otherwise elsewhere");
            turn.tx.app_state().set_diverged(collection)?;
            return Ok(Read::Good);
        }
        progress.restarted = true;
        progress.wanted = true;
        turn.tx.app_state().restart(collection)?;
        Ok(Read::Stopped)
    }

    fn not_taken(
        &mut self,
        collection: Collection,
        error: ReadError<store::Error>,
        turn: &mut Turn<'_>,
    ) -> Result<Read, Error> {
        match error {
            ReadError::Records(error) => return Err(error.into()),
            ReadError::MissingKeys(ids) => {
                if let Some(conn) = &mut self.conn {
                    let progress = conn.app_state.of(collection);
                    progress.missing.clone_from(&ids);
                    progress.synced = false;
                }
                self.ask_for_keys(ids, turn)?;
            }
            error => self.corrupt(collection, &error.to_string(), turn)?,
        }
        Ok(Read::Stopped)
    }

    /// Something of a collection is not to be believed: it is read again from its beginning, once a connection.
    fn corrupt(&mut self, collection: Collection, why: &str, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(conn) = &mut self.conn else { return Ok(()) };
        let progress = conn.app_state.of(collection);
        progress.synced = false;
        if progress.restarted {
            tracing::warn!(collection = collection.as_str(), why, "app state is damaged: given up for now");
            progress.given_up = true;
            return Ok(());
        }
        tracing::warn!(
            collection = collection.as_str(),
            why,
            "app state is damaged: read again from the start"
        );
        progress.restarted = true;
        progress.wanted = true;
        Ok(turn.tx.app_state().restart(collection)?)
    }

    /// One record that was verified: kept, and acted upon, unless it only `moves` under another key.
    fn take_mutation(
        &mut self,
        collection: Collection,
        mutation: &Mutation,
        moves: bool,
        quiet: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let set = mutation.operation == Operation::Set;
        let value = set.then_some(&mutation.value_mac);
        turn.tx.app_state().set_mac(collection, &mutation.index_mac, value)?;
        if moves {
            return Ok(());
        }
        self.act(mutation, quiet, turn)?;
        self.written(collection, mutation, turn)
    }

    fn take_snapshot(
        &mut self,
        collection: Collection,
        snapshot: &[u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let tx = turn.tx;
        let quiet = self.reads_quietly(collection);
        let contacts = collection == Collection::CriticalUnblockLow;
        let mut begun = false;
        let read = apply_snapshot(collection, snapshot, &Stored { tx, collection }, |mutation| {
            if !std::mem::replace(&mut begun, true) {
                tx.app_state().forget_macs(collection)?;
                if contacts {
                    tx.contacts().unlist()?;
                }
            }
            let taken = self.take_mutation(collection, &mutation, false, quiet, turn);
            taken.map_err(|Error::Store(error)| error)
        });
        match read {
            Ok(state) => self.snapshot_read(collection, &state, begun && contacts, turn),
            Err(error) => self.not_taken(collection, error, turn).map(drop),
        }
    }

    fn snapshot_read(
        &mut self,
        collection: Collection,
        state: &State,
        contacts: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        turn.tx.app_state().set_state(collection, state)?;
        if contacts {
            for person in turn.tx.contacts().remove_unlisted()? {
                self.report_contact(&person, turn)?;
            }
        }
        if let Some(conn) = &mut self.conn {
            conn.app_state.of(collection).wanted = true;
        }
        Ok(())
    }

    /// Asks for a blob; `false` if the reference is none.
    fn download(
        &mut self,
        collection: Collection,
        reference: Option<proto::ExternalBlobReference>,
        purpose: Purpose,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(conn) = &mut self.conn else { return false };
        let blob = reference.and_then(|reference| {
            Some(Blob {
                id: conn.app_state.next_download,
                kind: MediaKind::AppState,
                direct_path: reference.direct_path.filter(|path| !path.is_empty())?,
                media_key: reference.media_key?.try_into().ok()?,
                file_sha256: reference.file_sha256,
                file_enc_sha256: reference.file_enc_sha256,
                limit: reference.file_size_bytes.filter(|size| *size > 0).unwrap_or(LARGEST).min(LARGEST),
            })
        });
        let Some(blob) = blob else { return false };
        let syncing = &mut conn.app_state;
        syncing.next_download += 1;
        syncing.downloads.insert(blob.id, (collection, purpose));
        let progress = syncing.of(collection);
        (progress.busy, progress.synced) = (true, false);
        turn.effects.push(Effect::Fetch(blob));
        true
    }

    /// A blob was downloaded and verified, or cannot be had.
    pub(super) fn fetched(
        &mut self,
        id: u64,
        content: Option<Vec<u8>>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(conn) = &mut self.conn else { return Ok(()) };
        // One of an earlier connection.
        let Some((collection, purpose)) = conn.app_state.downloads.remove(&id) else { return Ok(()) };
        let progress = conn.app_state.of(collection);
        progress.busy = false;
        let Some(content) = content else {
            progress.refused(turn.now);
            return Ok(());
        };
        progress.wanted = true;
        match purpose {
            Purpose::Snapshot => self.take_snapshot(collection, &content, turn),
            Purpose::External(patch) => self.take_patch(collection, &patch, Some(&content), turn).map(drop),
        }
    }

    /// Asks the own devices for keys, each once a connection.
    fn ask_for_keys(&mut self, ids: Vec<Vec<u8>>, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(conn) = &mut self.conn else { return Ok(()) };
        let ids: Vec<Vec<u8>> =
            ids.into_iter().filter(|id| conn.app_state.asked_keys.insert(id.clone())).collect();
        if ids.is_empty() {
            return Ok(());
        }
        tracing::info!(keys = ids.len(), "app state keys are missing: the own devices are asked");
        let key_ids = ids.into_iter().map(|id| AppStateSyncKeyId { key_id: Some(id) }).collect();
        let request = ProtocolMessage {
            r#type: Some(KEY_REQUEST),
            app_state_sync_key_request: Some(AppStateSyncKeyRequest { key_ids }),
            ..Default::default()
        };
        self.tell_own_devices(&request, turn)?;
        Ok(())
    }
}
