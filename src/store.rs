//! SQLite: one writer thread with group commit, one reader beside it. The only SQL of the program.
//!
//! A work is a closure over a [`Tx`]. Works that wait together are committed together, so that a burst costs one
//! `fsync`; each has a savepoint of its own, so that one which fails leaves no trace and disturbs no other.
//! The table families (`tx.events()`, `tx.tokens()`, …) sit in a file each and take the time as an argument.
//!
//! Another family is one file here, one `mod` line below and, if it brings tables, one line in `migrate.rs`.
pub mod access;
pub mod addons;
pub mod app_state;
pub mod blocks;
pub mod calls;
pub mod chats;
mod check;
pub mod contacts;
pub mod device;
pub mod devices;
pub mod events;
mod folder;
pub mod groups;
pub mod handled;
pub mod health;
pub mod history;
pub mod hooks;
mod key;
pub mod labels;
pub mod links;
pub mod messages;
mod migrate;
pub mod newsletters;
pub mod people;
pub mod privacy_tokens;
pub mod profiles;
pub mod queue;
pub mod quick_replies;
pub mod schedule;
pub mod search;
pub mod sender_keys;
pub mod settings;
pub mod signal;
pub mod standing;
pub mod sync;
pub mod timers;
pub mod tokens;
pub mod trace;
pub mod watched;
mod writer;

use std::{
    cell::Cell,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Millis;
pub use check::Check;
pub use key::Key;
use writer::{Call, Request, Threads};

/// Works that may wait for the writer, and for the reader; whoever comes later waits to enqueue (back-pressure).
const WAITING: usize = 256;

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Another process holds the data folder.
    #[error("the data folder is in use by another process")]
    Locked,
    #[error("the database is damaged: {0}")]
    Damaged(String),
    #[error("the database has schema version {found}, this program knows {known}: use a newer wazap")]
    TooNew { found: usize, known: usize },
    /// Only beside a running instance, whose database must not be migrated under it.
    #[error(
        "the running instance has schema version {found}, this program needs {known}: restart it with this program"
    )]
    TooOld { found: usize, known: usize },
    #[error("the database is encrypted, and no key is given: set --db-key-file, WAZAP_DB_KEY or --db-key")]
    KeyMissing,
    #[error(
        "the database cannot be read with this key: it is not the one it was encrypted with, or the file is damaged"
    )]
    KeyWrong,
    #[error(
        "a key is given, but the database is not encrypted: encrypt it once with wazap rekey, or start without the key"
    )]
    NotEncrypted,
    /// The folder or the lock file cannot be made or opened.
    #[error("the data folder cannot be used: {0}")]
    Folder(String),
    #[error("storage failed: {0}")]
    Sqlite(String),
    /// The work panicked; it was rolled back.
    #[error("a storage work panicked")]
    Panicked,
    #[error("storage is shut down")]
    Closed,
}

impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match e.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(format!(
                "{e}; stop the instance and put a backup of instance.db in place, or move it away and link again"
            )),
            _ => Self::Sqlite(e.to_string()),
        }
    }
}

/// A cheap handle. The threads end when the last one is dropped, or on [`Store::close`].
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

/// Fields drop in this order: without senders the threads end, and then they can be waited for.
struct Shared {
    write: mpsc::Sender<Request>,
    /// In memory there is no second connection: reads go to the writer.
    read: mpsc::Sender<Request>,
    newest: watch::Receiver<u64>,
    hooks: watch::Receiver<u64>,
    commits: Arc<AtomicU64>,
    threads: Threads,
}

impl Store {
    /// Opens (or makes) `instance.db` in `folder`, takes the lock, migrates, starts the threads. Blocks for as long as
    /// the migrations take.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Self::open_with(folder, None)
    }

    /// The same with the key of an encrypted database. A new database is made with it; one that is not encrypted is refused.
    pub fn open_with(folder: &Path, key: Option<&Key>) -> Result<Self, Error> {
        folder::make(folder)?;
        let lock = folder::lock(folder)?.ok_or(Error::Locked)?;
        let (writer, reader) = folder::connect(folder, true, key)?;
        writer::start(writer, Some(reader), Some(lock))
    }

    /// Opens the same database while an instance may be running on it: for the command line. Takes no lock for longer
    /// than making or migrating a database needs that nobody is running on.
    pub fn open_beside(folder: &Path, key: Option<&Key>) -> Result<Self, Error> {
        folder::make(folder)?;
        let lock = folder::lock(folder)?;
        let (writer, reader) = folder::connect(folder, lock.is_some(), key)?;
        drop(lock);
        writer::start(writer, Some(reader), None)
    }

    /// A database that lives as long as its handles; one thread writes and reads.
    pub fn in_memory() -> Result<Self, Error> {
        writer::start(folder::connect_memory()?, None, None)
    }

    /// Looks a data folder over for `wazap doctor`; changes nothing and may run beside an instance. Reads the whole file.
    pub fn check(folder: &Path, key: Option<&Key>) -> Check {
        check::check(folder, key)
    }

    /// Encrypts the database of a folder (`old`: `None`), gives it another key, or decrypts it (`new`: `None`), in one
    /// transaction. Refused while an instance runs on it. Blocks for as long as every page takes, twice.
    pub fn rekey(folder: &Path, old: Option<&Key>, new: Option<&Key>) -> Result<(), Error> {
        key::change(folder, old, new)
    }

    /// Runs `work` in one transaction on the writer thread: `Ok` commits, `Err` rolls back. Resolves after the commit is durable.
    /// Waiting works share one commit; each has a savepoint of its own. Once enqueued, a work runs even if the future is
    /// dropped. A work must not wait for another work, nor for anything else that takes long.
    pub async fn write<T, E>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.write_then(work, |_| {}).await
    }

    /// The same, with what is to happen between the commit and the moment in which readers of the event log, and with
    /// them the webhooks, hear of it. `after` runs on the writer thread: it must be quick and must not panic.
    pub async fn write_then<T, E>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        after: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = Call::new(work, after, reply);
        self.shared.write.send(Request::Write(Box::new(call))).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Runs `work` on a reader, in one read transaction.
    pub async fn read<T, E>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = Call::new(move |tx: &mut Tx<'_>| work(tx), |_: &T| {}, reply);
        self.shared.read.send(Request::Read(Box::new(call))).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// The newest committed sequence number of the event log; changes after each commit that appended.
    pub fn newest_event(&self) -> watch::Receiver<u64> {
        self.shared.newest.clone()
    }

    /// Changes after each commit that added, changed or removed a hook (not when a delivery moves its cursor).
    pub fn hooks_changed(&self) -> watch::Receiver<u64> {
        self.shared.hooks.clone()
    }

    /// Durable commits since the start: against the number of works it shows how well they share.
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }

    /// Whose token this is, and notes its use (at most once a minute); `None`: unknown, revoked or expired. Revoking
    /// shows at the next call, whichever process did it. A token from the configuration is not looked up here: see
    /// [`tokens::Configured`].
    pub async fn authenticate(&self, presented: &str, now: Millis) -> Result<Option<tokens::Caller>, Error> {
        let presented = zeroize::Zeroizing::new(presented.to_owned());
        let found = self.read(move |tx| tx.tokens().verify(&presented, now)).await?;
        let Some(tokens::Verified { caller, note_use }) = found else { return Ok(None) };
        if note_use {
            let id = caller.id;
            // Whoever has a good token is let in, also when the disk is full.
            if let Err(error) = self.write(move |tx| tx.tokens().used(id, now)).await {
                tracing::warn!(%error, "the use of a token was not noted");
            }
        }
        Ok(Some(caller))
    }

    /// Finishes what is queued, folds the write-ahead log into the database, ends the threads and gives up the lock.
    /// Other handles get [`Error::Closed`] from then on.
    pub async fn close(self) {
        let mut ended = self.shared.threads.ended();
        // A full queue only delays the request; a closed one means that somebody else has asked.
        let _ = self.shared.read.send(Request::Stop).await;
        let _ = self.shared.write.send(Request::Stop).await;
        while ended.changed().await.is_ok() {}
    }
}

/// An open transaction. Table families are methods on it: `tx.events()`, `tx.tokens()`, … each `impl Tx<'_>` sits in its family's file.
pub struct Tx<'a> {
    conn: &'a rusqlite::Connection,
    hooks_changed: &'a Cell<bool>,
}

impl<'a> Tx<'a> {
    /// For the families: SQL stays in this room. Statements go through `prepare_cached`.
    pub(in crate::store) fn conn(&self) -> &rusqlite::Connection {
        self.conn
    }

    pub(in crate::store) fn mark_hooks_changed(&self) {
        self.hooks_changed.set(true);
    }
}

/// SQLite keeps signed integers; nothing here comes near the limit.
pub(in crate::store) fn sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Back from a column that [`sql`] filled.
pub(in crate::store) fn unsql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
