//! The state folder: keys once, the world after every change, written beside and renamed into place.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use super::{
    core::{Settings, Snapshot, SnapshotError, World},
    shared::Shared,
    tls::{TlsError, TlsKeys},
};
use crate::{clock::Millis, crypto::KeyPair, wire::noise::ServerKeys};

/// Changes within so long share one write.
const DEBOUNCE: Duration = Duration::from_millis(150);

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The disk.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A file there is not ours, or damaged.
    #[error("{0} is damaged")]
    Damaged(&'static str),
    /// Its content does not fit this version, or contradicts itself.
    #[error("{0}")]
    Snapshot(String),
    /// No certificate could be made.
    #[error("{0}")]
    Tls(#[from] TlsError),
}

impl From<SnapshotError> for StateError {
    fn from(error: SnapshotError) -> Self {
        Self::Snapshot(error.to_string())
    }
}

/// What stays the same from start to start.
pub(super) struct Keys {
    pub(super) server: ServerKeys,
    pub(super) root_public: [u8; 32],
    pub(super) tls: TlsKeys,
}

pub(super) struct Loaded {
    pub(super) world: World,
    pub(super) keys: Keys,
    pub(super) starts: u64,
    pub(super) store: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct SavedKeys {
    noise_root: String,
    noise_static: String,
    noise_chain: String,
    tls_root: String,
    tls_leaf: String,
    tls_key: String,
}

const WORLD: &str = "world.json";
const KEYS: &str = "keys.json";

pub(super) fn load(
    folder: Option<&Path>,
    settings: Settings,
    mut rng: StdRng,
    now: Millis,
) -> Result<Loaded, StateError> {
    let Some(folder) = folder else {
        let keys = Keys::generate(&mut rng, now)?;
        return Ok(Loaded { world: World::new(settings, rng), keys, starts: 1, store: None });
    };
    make_private(folder)?;
    let keys = match read(&folder.join(KEYS))? {
        Some(text) => Keys::read(&text)?,
        None => {
            let keys = Keys::generate(&mut rng, now)?;
            replace(folder, KEYS, &keys.save()?)?;
            keys
        }
    };
    let snapshot: Option<Snapshot> = match read(&folder.join(WORLD))? {
        Some(text) => Some(serde_json::from_slice(&text).map_err(|_| StateError::Damaged(WORLD))?),
        None => None,
    };
    let starts = snapshot.as_ref().map_or(1, |snapshot| snapshot.starts.saturating_add(1));
    // The same seed must not make the same keys again: each start goes on with other randomness.
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    let mixed = Sha256::new().chain_update(seed).chain_update(starts.to_be_bytes()).finalize();
    let mut world = World::new(settings, StdRng::from_seed(mixed.into()));
    if let Some(snapshot) = &snapshot {
        world.restore(snapshot)?;
    }
    save(folder, &world.snapshot(starts))?;
    Ok(Loaded { world, keys, starts, store: Some(folder.to_owned()) })
}

/// Saves after changes, and once more at the end.
pub(super) async fn keep(folder: PathBuf, starts: u64, shared: Arc<Shared>) {
    let mut changes = shared.watch();
    loop {
        let stopping = tokio::select! {
            () = shared.stop.cancelled() => true,
            _ = changes.changed() => false,
        };
        if !stopping {
            tokio::select! {
                () = shared.stop.cancelled() => continue,
                () = sleep(DEBOUNCE) => {}
            }
        }
        changes.mark_unchanged();
        let snapshot = shared.read(|world| world.snapshot(starts));
        let target = folder.clone();
        match tokio::task::spawn_blocking(move || save(&target, &snapshot)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "cannot save the state"),
            Err(error) => tracing::error!(%error, "saving the state ended badly"),
        }
        if stopping {
            return;
        }
    }
}

fn save(folder: &Path, snapshot: &Snapshot) -> Result<(), StateError> {
    let text = serde_json::to_vec(snapshot).map_err(|_| StateError::Damaged(WORLD))?;
    Ok(replace(folder, WORLD, &text)?)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, io::Error> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whoever reads the file sees the old or the new one, never half of either.
fn replace(folder: &Path, name: &str, text: &[u8]) -> Result<(), io::Error> {
    let beside = folder.join(format!("{name}.new"));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, folder.join(name))
}

fn make_private(folder: &Path) -> Result<(), io::Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

impl Keys {
    fn generate(rng: &mut StdRng, now: Millis) -> Result<Self, StateError> {
        let root = KeyPair::generate(rng);
        let server = ServerKeys::issue(&root, now, rng);
        Ok(Self { server, root_public: *root.public.as_bytes(), tls: TlsKeys::generate()? })
    }

    fn read(text: &[u8]) -> Result<Self, StateError> {
        let damaged = || StateError::Damaged(KEYS);
        let saved: SavedKeys = serde_json::from_slice(text).map_err(|_| damaged())?;
        let bytes = |text: &str| BASE64_STANDARD.decode(text).map_err(|_| damaged());
        let key = |text: &str| bytes(text)?.try_into().map_err(|_| damaged());
        let static_key = KeyPair::from_private(key(&saved.noise_static)?);
        Ok(Self {
            server: ServerKeys { static_key, chain: bytes(&saved.noise_chain)? },
            root_public: key(&saved.noise_root)?,
            tls: TlsKeys {
                root_pem: saved.tls_root,
                leaf: bytes(&saved.tls_leaf)?,
                key: bytes(&saved.tls_key)?,
            },
        })
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        let text = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let saved = SavedKeys {
            noise_root: text(&self.root_public),
            noise_static: text(self.server.static_key.private.as_bytes()),
            noise_chain: text(&self.server.chain),
            tls_root: self.tls.root_pem.clone(),
            tls_leaf: text(&self.tls.leaf),
            tls_key: text(&self.tls.key),
        };
        serde_json::to_vec_pretty(&saved).map_err(|_| StateError::Damaged(KEYS))
    }
}
