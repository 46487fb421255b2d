//! What `wazap doctor` wants to know of a data folder.

use std::path::Path;

use rusqlite::Connection;

use super::{Error, Key, folder, key, migrate};

/// Findings of [`super::Store::check`]; each line of the doctor is one of these.
#[derive(Clone, Debug)]
pub struct Check {
    /// Permission bits of the folder; `None`: there is no folder (or the system has no such bits).
    pub folder_mode: Option<u32>,
    /// Whether nobody but the owner may look into the folder.
    pub private: bool,
    /// Whether there is a database at all; if not, the next `run` makes one.
    pub exists: bool,
    /// Whether an instance is running on the folder.
    pub in_use: bool,
    /// Schema version of the file, and the one this program knows.
    pub schema: Result<usize, Error>,
    pub known_schema: usize,
    /// `Ok`: every page and index is sound. `Err`: what is not, or why it could not be read.
    pub integrity: Result<(), Error>,
}

impl Check {
    /// Whether an instance could run on this folder.
    pub fn passed(&self) -> bool {
        self.private
            && self.integrity.is_ok()
            && self.schema.as_ref().is_ok_and(|&found| found <= self.known_schema)
    }
}

pub(super) fn check(folder: &Path, key: Option<&Key>) -> Check {
    let path = folder::database(folder);
    let exists = path.exists();
    let folder_mode = folder::mode(folder);
    // Opening the lock file would make one: a folder without one has no instance.
    let in_use = folder.join(folder::LOCK).exists() && matches!(folder::lock(folder), Ok(None));
    let (schema, integrity) = if exists { inspect(&path, key) } else { (Ok(0), Ok(())) };
    Check {
        private: folder_mode.is_none_or(|mode| mode & 0o077 == 0),
        folder_mode,
        exists,
        in_use,
        schema,
        known_schema: migrate::KNOWN,
        integrity,
    }
}

fn inspect(path: &Path, key: Option<&Key>) -> (Result<usize, Error>, Result<(), Error>) {
    let opened = folder::reading(path).and_then(|conn| {
        key::unlock(&conn, key)?;
        key::proven(&conn, path, key)?;
        Ok(conn)
    });
    match opened {
        Ok(conn) => (migrate::version(&conn), integrity(&conn)),
        Err(error @ Error::Damaged(_)) => (Err(error.clone()), Err(error)),
        Err(error) => (Err(error), Ok(())),
    }
}

pub(super) fn integrity(conn: &Connection) -> Result<(), Error> {
    let first: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if first == "ok" { Ok(()) } else { Err(Error::Damaged(first)) }
}
