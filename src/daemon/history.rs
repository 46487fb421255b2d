//! History files: downloaded into a file beside the database, verified, decrypted, and handed to the account slice by
//! slice, at the pace at which it takes them. Memory does not grow with the file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{sync::mpsc, task::spawn_blocking, time::timeout};

use super::Handle;
use crate::{
    account::{Blob, HistoryFault, HistoryJob, HistoryPart, HistoryReader, HistorySource},
    crypto::media::{Claim, Decryptor, MediaError, MediaKeys, Verifier, blob_length},
    net::media::{Cdn, CdnError},
};

/// For one file, with everything that has to be tried again.
const OVERALL: Duration = Duration::from_secs(600);
/// Read at a time.
const PIECE: usize = 64 << 10;
/// Slices that wait for a turn: one is taken apart while the other is put into the tables.
const WAITING: usize = 1;

/// What comes of one job, and for which.
pub(super) type Parts = mpsc::Receiver<(u64, HistoryPart)>;

/// Where history files lie while they are read. What a run that ended has left there is removed.
pub(super) fn clean(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "an old history file cannot be removed"),
    }
}

/// A file of ours, gone with this value.
struct Spool(PathBuf);

impl Spool {
    fn new(folder: &Path, id: u64, suffix: &str) -> io::Result<(Self, File)> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
        let path = folder.join(format!("{id:016x}.{suffix}"));
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        Ok((Self(path), file))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = fs::remove_file(&self.0);
    }
}

/// Reads one file in a task of its own. Whoever drops the receiver ends it.
pub(super) fn read(handle: Handle, cdn: Cdn, folder: PathBuf, job: HistoryJob) -> Parts {
    let (parts, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let id = job.id;
        let end = match job.source {
            HistorySource::Inline(bytes) => {
                let parts = parts.clone();
                spawn_blocking(move || slices(id, &bytes[..], job.skip, &parts)).await
            }
            HistorySource::Blob(blob) => {
                let brought = tokio::select! {
                    () = parts.closed() => return,
                    brought = timeout(OVERALL, bring(&handle, &cdn, &folder, id, &blob)) => brought,
                };
                match brought.unwrap_or(Err(HistoryFault::Unavailable)) {
                    Ok(sealed) => {
                        let parts = parts.clone();
                        spawn_blocking(move || slices(id, open(&blob, sealed)?, job.skip, &parts)).await
                    }
                    Err(fault) => Ok(Err(fault)),
                }
            }
        };
        // A panic of the reader is one of this file: nobody else is to suffer.
        let end = end.unwrap_or(Err(HistoryFault::Malformed));
        // Without a driver nobody wants it any more.
        drop(parts.send((id, HistoryPart::End(end))).await);
    });
    receiver
}

fn slices(
    id: u64,
    file: impl io::Read,
    skip: u64,
    parts: &mpsc::Sender<(u64, HistoryPart)>,
) -> Result<(), HistoryFault> {
    let mut reader = HistoryReader::new(file, skip);
    loop {
        let items = reader.slice()?;
        if items.is_empty() || parts.blocking_send((id, HistoryPart::Items(items))).is_err() {
            return Ok(());
        }
    }
}

fn failed(error: &io::Error) -> HistoryFault {
    tracing::warn!(%error, "a history file cannot be kept beside the database");
    HistoryFault::Unavailable
}

/// The file as it is on the media servers.
async fn bring(
    handle: &Handle,
    cdn: &Cdn,
    folder: &Path,
    id: u64,
    blob: &Blob,
) -> Result<Spool, HistoryFault> {
    let limit = blob_length(blob.limit);
    let mut refresh = false;
    loop {
        let hosts = handle.media_hosts(refresh).await.map_err(|_| HistoryFault::Unavailable)?;
        let (sealed, file) = Spool::new(folder, id, "sealed").map_err(|error| failed(&error))?;
        let mut file = tokio::fs::File::from_std(file);
        let mut download = cdn.download(&hosts.in_order(), &blob.direct_path, 0, None, limit);
        match download.save(&mut file).await {
            Ok(_) => return Ok(sealed),
            Err(CdnError::Refused(_)) if !refresh => refresh = true,
            Err(error) => {
                tracing::warn!(%error, "a history file could not be downloaded");
                return Err(match error {
                    CdnError::Refused(_) | CdnError::Gone(_) | CdnError::BadPath => HistoryFault::Gone,
                    CdnError::TooLarge { .. } => HistoryFault::TooLarge,
                    _ => HistoryFault::Unavailable,
                });
            }
        }
    }
}

/// Reads the sealed file once: nothing of it is believed before its hash and its MAC are those that were announced.
/// It is decrypted while it is read, so that nothing lies about in the clear.
fn open(blob: &Blob, sealed: Spool) -> Result<Plain, HistoryFault> {
    let disk = |error: io::Error| failed(&error);
    let claim =
        Claim::new(blob.file_sha256.as_deref(), blob.file_enc_sha256.as_deref(), None).map_err(forged)?;
    let mut verifier = Verifier::new(MediaKeys::derive(&blob.media_key, blob.kind));
    let mut piece = vec![0; PIECE];
    let mut file = File::open(&sealed.0).map_err(disk)?;
    loop {
        let read = file.read(&mut piece).map_err(disk)?;
        match piece.get(..read).unwrap_or_default() {
            [] => break,
            bytes => verifier.update(bytes),
        }
    }
    let decryptor = verifier.finish(claim).map_err(forged)?.decryptor();
    file.rewind().map_err(disk)?;
    Ok(Plain { file, decryptor: Some(decryptor), piece, plain: Vec::new(), at: 0, _sealed: sealed })
}

fn forged(error: MediaError) -> HistoryFault {
    tracing::warn!(%error, "a history file is not what was announced");
    HistoryFault::Forged
}

/// A verified file, decrypted while it is read. Its own hash is known at its end only: should it be another one, the end
/// is an error.
struct Plain {
    file: File,
    decryptor: Option<Decryptor>,
    piece: Vec<u8>,
    plain: Vec<u8>,
    /// Of `plain`: what was handed on.
    at: usize,
    _sealed: Spool,
}

impl io::Read for Plain {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.plain.len() {
            let Some(mut decryptor) = self.decryptor.take() else { return Ok(0) };
            (self.at, self.plain) = (0, std::mem::take(&mut self.plain));
            self.plain.clear();
            let read = self.file.read(&mut self.piece)?;
            let bytes = self.piece.get(..read).unwrap_or_default();
            let opened = if bytes.is_empty() {
                decryptor.finish(&mut self.plain)
            } else {
                let opened = decryptor.update(bytes, &mut self.plain);
                self.decryptor = Some(decryptor);
                opened
            };
            opened.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        let ready = self.plain.get(self.at..).unwrap_or_default();
        let count = ready.len().min(into.len());
        for (to, from) in into.iter_mut().zip(ready) {
            *to = *from;
        }
        self.at += count;
        Ok(count)
    }
}
