//! Files of phones: what one sends is encrypted into the media server's store, what one received is verified and decrypted
//! out of it. Piece by piece; a file is never in memory.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use axum::body::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    sync::mpsc,
    task::spawn_blocking,
};

use super::{
    admin::AdminError,
    blobs::{Blobs, MAX_BLOB, Writer},
    core::{self, FileKind, MediaFacts, Uploaded},
    shared::Shared,
};
use crate::{
    crypto::media::{self, Encrypted, Encryptor, MediaError, MediaKeys, Sidecar, Verified, Verifier},
    net::fetch::{FetchError, Fetcher},
};

/// Read and decrypted at a time.
const PIECE: usize = 64 << 10;
/// Pieces that may wait for whoever fetches a file.
const WAITING: usize = 4;
/// Verified files remembered.
const MAX_REMEMBERED: usize = 10_000;

/// Where the bytes of a file to be sent come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// These.
    Bytes(Vec<u8>),
    /// Fetched by the sandbox; any address goes.
    Url(String),
}

/// A file that a phone is to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileToSend {
    /// What it becomes.
    pub kind: FileKind,
    /// Its bytes.
    pub source: Source,
    /// The kind's usual one where there is none.
    pub mimetype: Option<String>,
    /// Below it.
    pub caption: Option<String>,
    /// Of documents.
    pub filename: Option<String>,
    /// Of audio and video.
    pub seconds: Option<u32>,
    /// Of images, videos and voice notes.
    pub view_once: bool,
    /// Id of the quoted message.
    pub quote: Option<String>,
}

impl FileToSend {
    /// Nothing but bytes.
    pub fn new(kind: FileKind, bytes: Vec<u8>) -> Self {
        Self {
            kind,
            source: Source::Bytes(bytes),
            mimetype: None,
            caption: None,
            filename: None,
            seconds: None,
            view_once: false,
            quote: None,
        }
    }
}

/// The file of a message, as the phone that has it sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum MediaView {
    /// Downloaded, verified and decrypted.
    Good {
        /// Of the decrypted bytes, hex.
        sha256: String,
        /// Bytes.
        size: u64,
        /// As the message says.
        mimetype: String,
        /// Where the decrypted bytes are.
        url: String,
    },
    /// What a phone would show as broken.
    Bad {
        /// Why.
        error: String,
    },
}

/// Why the file of a message cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("not on this media server")]
    Missing,
    #[error("{0}")]
    Media(#[from] MediaError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Hash and length of a decrypted file.
type Found = ([u8; 32], u64);

/// Hash and length of decrypted files, so that a listing does not decrypt everything again.
#[derive(Default)]
pub(super) struct Remembered(Mutex<Vec<(MediaFacts, Found)>>);

impl Remembered {
    fn find(&self, facts: &MediaFacts) -> Option<Found> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().rev().find(|(known, _)| known == facts).map(|(_, found)| *found)
    }

    fn keep(&self, facts: MediaFacts, found: Found) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.push((facts, found));
    }
}

/// Encrypts a file into the store: what the message will say of it.
pub(super) async fn take_in(shared: &Shared, file: FileToSend) -> Result<Uploaded, AdminError> {
    let failed =
        |error: io::Error| AdminError { status: 500, message: format!("cannot keep the file: {error}") };
    let media_key = media::new_media_key(&mut shared.rng());
    let keys = MediaKeys::derive(&media_key, file.kind.keys());
    let sidecar = if file.kind.keys().is_streamed() { Sidecar::On } else { Sidecar::Off };
    let mut encryptor = Sealing { encryptor: Encryptor::new(&keys, sidecar), blob: Vec::new() };
    let mut writer = shared.blobs.begin(None).await.map_err(failed)?;
    match file.source {
        Source::Bytes(bytes) => {
            for piece in bytes.chunks(PIECE) {
                encryptor.update(piece, &mut writer).await.map_err(failed)?;
            }
        }
        Source::Url(url) => {
            let mut plain = fetched(&url).await?;
            let mut piece = vec![0; PIECE];
            loop {
                let read = plain.read(&mut piece).await.map_err(failed)?;
                let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else { break };
                encryptor.update(read, &mut writer).await.map_err(failed)?;
            }
        }
    }
    let encrypted = encryptor.finish(&mut writer).await.map_err(failed)?;
    shared.blobs.keep(writer).await.map_err(failed)?;
    Ok(Uploaded {
        kind: file.kind,
        mimetype: file.mimetype.unwrap_or_else(|| file.kind.usual_mimetype().to_owned()),
        caption: file.caption,
        filename: file.filename,
        seconds: file.seconds,
        view_once: file.view_once,
        quote: file.quote,
        media_key,
        encrypted,
    })
}

/// A URL's bytes, in a file that is deleted already.
async fn fetched(url: &str) -> Result<tokio::fs::File, AdminError> {
    let path = std::env::temp_dir().join(format!("wazap-sandbox-fetch-{}", uuid::Uuid::new_v4()));
    let failed =
        |error: io::Error| AdminError { status: 500, message: format!("cannot keep the file: {error}") };
    let mut options = tokio::fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    let mut file = options.open(&path).await.map_err(failed)?;
    let fetched = Fetcher::new(true).fetch(url, MAX_BLOB, &mut file).await;
    std::fs::remove_file(&path).map_err(failed)?;
    fetched.map_err(|error| AdminError {
        status: if matches!(error, FetchError::TooLarge { .. }) { 413 } else { 400 },
        message: format!("url: {error}"),
    })?;
    file.rewind().await.map_err(failed)?;
    Ok(file)
}

struct Sealing {
    encryptor: Encryptor,
    blob: Vec<u8>,
}

impl Sealing {
    async fn update(&mut self, plaintext: &[u8], into: &mut Writer) -> io::Result<()> {
        self.blob.clear();
        self.encryptor.update(plaintext, &mut self.blob);
        into.write(&self.blob).await
    }

    async fn finish(mut self, into: &mut Writer) -> io::Result<Encrypted> {
        self.blob.clear();
        let encrypted = self.encryptor.finish(&mut self.blob);
        into.write(&self.blob).await?;
        Ok(encrypted)
    }
}

/// The file of a message as the control API shows it.
pub(super) async fn view(shared: &Arc<Shared>, facts: MediaFacts, url: String) -> MediaView {
    let mimetype = facts.mimetype.clone();
    let found = match shared.remembered.find(&facts) {
        Some(found) => Ok(found),
        None => {
            let shared = Arc::clone(shared);
            let work = spawn_blocking(move || {
                let found = look(&shared.blobs, &facts)?;
                shared.remembered.keep(facts, found);
                Ok(found)
            });
            work.await.unwrap_or_else(|error| Err(FileError::Io(io::Error::other(error))))
        }
    };
    match found {
        Ok((hash, size)) => MediaView::Good { sha256: hex::encode(hash), size, mimetype, url },
        Err(error) => MediaView::Bad { error: error.to_string() },
    }
}

/// Hash and length of the plaintext.
fn look(blobs: &Blobs, facts: &MediaFacts) -> Result<Found, FileError> {
    let (path, verified) = verify(blobs, facts)?;
    let (mut hash, mut length) = (Sha256::new(), 0);
    decrypt(&path, &verified, |plaintext| {
        hash.update(plaintext);
        length += plaintext.len() as u64;
        true
    })?;
    Ok((hash.finalize().into(), length))
}

fn verify(blobs: &Blobs, facts: &MediaFacts) -> Result<(PathBuf, Verified), FileError> {
    let path =
        core::blob_of(&facts.direct_path).and_then(|blob| blobs.file(&blob)).ok_or(FileError::Missing)?;
    let mut verifier = Verifier::new(MediaKeys::derive(&facts.media_key, facts.kind));
    pieces(&path, |piece| {
        verifier.update(piece);
        Ok(true)
    })?;
    let verified = verifier.finish(facts.claim.clone())?;
    Ok((path, verified))
}

/// Hands on the plaintext until `take` has enough; without that, its hash and length are checked at the end.
fn decrypt(path: &Path, verified: &Verified, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), FileError> {
    let mut decryptor = verified.decryptor();
    let mut plaintext = Vec::new();
    let mut wanted = true;
    pieces(path, |piece| {
        plaintext.clear();
        decryptor.update(piece, &mut plaintext)?;
        wanted = take(&plaintext);
        Ok(wanted)
    })?;
    if wanted {
        plaintext.clear();
        decryptor.finish(&mut plaintext)?;
        take(&plaintext);
    }
    Ok(())
}

fn pieces(path: &Path, mut each: impl FnMut(&[u8]) -> Result<bool, FileError>) -> Result<(), FileError> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece)?;
        let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else { return Ok(()) };
        if !each(read)? {
            return Ok(());
        }
    }
}

/// The decrypted bytes, of a file that was verified whole before the first of them.
pub(super) async fn open(
    shared: &Arc<Shared>,
    facts: MediaFacts,
) -> Result<mpsc::Receiver<io::Result<Bytes>>, FileError> {
    let blobs = Arc::clone(shared);
    let work = spawn_blocking(move || {
        // The first look also checks what only the plaintext shows.
        look(&blobs.blobs, &facts)?;
        verify(&blobs.blobs, &facts)
    });
    let (path, verified) = work.await.map_err(io::Error::other)??;
    let (sender, receiver) = mpsc::channel(WAITING);
    shared.tasks.spawn_blocking(move || {
        let sent = decrypt(&path, &verified, |plaintext| {
            plaintext.is_empty() || sender.blocking_send(Ok(Bytes::copy_from_slice(plaintext))).is_ok()
        });
        if let Err(error) = sent {
            // Whoever fetched may be gone.
            let _ = sender.blocking_send(Err(io::Error::other(error)));
        }
    });
    Ok(receiver)
}
