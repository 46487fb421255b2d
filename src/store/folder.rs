//! The data folder: its mode, its lock, and connections to the database in it.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{Error, Key, key, migrate};

pub(super) const DATABASE: &str = "instance.db";
pub(super) const LOCK: &str = "instance.lock";
/// The folder holds the keys of a WhatsApp account: its owner's alone.
pub(super) const MODE: u32 = 0o700;

/// How long a statement waits for the other process (the command line beside a running instance).
const BUSY: Duration = Duration::from_secs(5);
/// Prepared statements kept per connection; more than the families have in their hot paths.
const STATEMENTS: usize = 64;

pub(super) fn database(folder: &Path) -> PathBuf {
    folder.join(DATABASE)
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::Folder(format!("{}: {error}", path.display()))
}

/// Makes the folder if need be, and closes it to everybody else.
pub(super) fn make(folder: &Path) -> Result<(), Error> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, MODE);
    builder.create(folder).map_err(|e| failed(folder, &e))?;
    #[cfg(unix)]
    if mode(folder).is_some_and(|mode| mode & 0o077 != 0) {
        // A mounted volume may belong to somebody else; the files are made 0600 in any case, and the doctor says so.
        let private = <Permissions as std::os::unix::fs::PermissionsExt>::from_mode(MODE);
        if let Err(error) = std::fs::set_permissions(folder, private) {
            tracing::warn!(%error, "others may look into the data folder, and its mode cannot be changed");
        }
    }
    Ok(())
}

/// Permission bits; `None` where there is no such thing.
#[cfg(unix)]
pub(super) fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).ok().map(|meta| meta.permissions().mode() & 0o777)
}
#[cfg(not(unix))]
pub(super) fn mode(_: &Path) -> Option<u32> {
    None
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Takes the lock; `None` if another process (or another store of this one) holds it. It ends with the file.
pub(super) fn lock(folder: &Path) -> Result<Option<File>, Error> {
    let path = folder.join(LOCK);
    let file = private(OpenOptions::new().create(true).truncate(false).write(true))
        .open(&path)
        .map_err(|e| failed(&path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(failed(&path, &e)),
    }
}

/// The writing and the reading connection. With `alone` (the lock is held) the database is made and migrated.
pub(super) fn connect(
    folder: &Path,
    alone: bool,
    key: Option<&Key>,
) -> Result<(Connection, Connection), Error> {
    let path = database(folder);
    if alone && !path.exists() {
        // SQLite gives its other files the mode of this one. Never opened this way later: closing the file would
        // drop the locks that SQLite holds on it in this process.
        private(OpenOptions::new().create(true).truncate(false).write(true))
            .open(&path)
            .map_err(|e| failed(&path, &e))?;
    }
    let mut writer = writing(&path)?;
    key::unlock(&writer, key)?;
    key::proven(&writer, &path, key)?;
    prepare(&writer)?;
    if alone {
        migrate::to_newest(&mut writer)?;
    } else {
        migrate::same(&writer)?;
    }
    if alone {
        // Another process may have died between writing a commit and syncing it: SQLite finds that commit whole and shows
        // it, though a power cut could still take it. Nobody is to hear of it before it is durable: a checkpoint begins
        // with a sync of the log.
        writer.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    }
    let reader = reading(&path)?;
    key::unlock(&reader, key)?;
    reader.set_prepared_statement_cache_capacity(STATEMENTS);
    reader.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -256;")?;
    Ok((writer, reader))
}

/// An open database that nothing has been read of yet.
pub(super) fn writing(path: &Path) -> Result<Connection, Error> {
    open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

/// The same, to look only.
pub(super) fn reading(path: &Path) -> Result<Connection, Error> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, Error> {
    let conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY)?;
    Ok(conn)
}

pub(super) fn connect_memory() -> Result<Connection, Error> {
    let mut conn = Connection::open_in_memory()?;
    prepare(&conn)?;
    migrate::to_newest(&mut conn)?;
    Ok(conn)
}

fn prepare(conn: &Connection) -> Result<(), Error> {
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // synchronous FULL: a commit survives a power cut, not only the end of the process. The cache is small (KiB, the
    // minus says) because the operating system caches the file too; the log is cut back after a burst (bytes).
    conn.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;
         PRAGMA foreign_keys = ON;
         PRAGMA cache_size = -512;
         PRAGMA journal_size_limit = 8388608;",
    )?;
    Ok(())
}
