//! The key of a database: SQLite encrypts each page with it, in the file and in the write-ahead log. Without one the file
//! is an ordinary database. The cipher is ChaCha20 with Poly1305, a nonce and a tag on each page. Its key is the text
//! itself if that is 64 hex digits, 32 random bytes most likely; else it comes from the text by PBKDF2-HMAC-SHA256 (64,007
//! rounds) and a salt of the file's own, which costs some 50 ms at each opening.

use std::{fmt, io::Read as _, path::Path};

use rusqlite::Connection;
use zeroize::Zeroizing;

use super::{Error, check::integrity, folder};

/// What opens an encrypted database.
#[derive(Clone)]
pub struct Key(Zeroizing<String>);

impl Key {
    /// Any text of at least one character.
    pub fn new(text: &str) -> Self {
        let ready = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        // The library's own mark of a key that needs no derivation.
        Self(Zeroizing::new(if ready { format!("raw:{text}") } else { text.to_owned() }))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// The very first word on a connection, before anything is read.
pub(super) fn unlock(conn: &Connection, key: Option<&Key>) -> Result<(), Error> {
    match key {
        Some(key) => conn.pragma_update(None, "key", key.0.as_str())?,
        // Nothing to hide from temporary files: they may lie on the disk, where a large sort belongs.
        None => conn.execute_batch("PRAGMA temp_store = FILE")?,
    }
    Ok(())
}

/// Whether the connection can read the file; if not, what is wrong with the key.
pub(super) fn proven(conn: &Connection, path: &Path, key: Option<&Key>) -> Result<(), Error> {
    let Err(error) = readable(conn) else { return Ok(()) };
    if !matches!(error, Error::Damaged(_)) {
        return Err(error);
    }
    Err(match key {
        None if looks_encrypted(path) => Error::KeyMissing,
        None => error,
        Some(_) if folder::writing(path).is_ok_and(|plain| readable(&plain).is_ok()) => Error::NotEncrypted,
        Some(_) => Error::KeyWrong,
    })
}

fn readable(conn: &Connection) -> Result<(), Error> {
    Ok(conn.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(()))?)
}

/// An encrypted file has noise where SQLite has its name, and behind it the page's size and layout in the clear (bytes 20
/// to 23: what the cipher keeps of each page, and three numbers that are fixed in SQLite's format).
fn looks_encrypted(path: &Path) -> bool {
    let mut head = [0; 24];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && !head.starts_with(b"SQLite format 3\0") && head[20..] == [32, 64, 32, 32]
}

/// Encrypts a database, changes its key, or decrypts it; nobody else may have it open. All or nothing: the pages are
/// rewritten in one transaction.
pub(super) fn change(folder: &Path, old: Option<&Key>, new: Option<&Key>) -> Result<(), Error> {
    let path = folder::database(folder);
    if !path.exists() {
        return Err(Error::Folder(format!("{}: there is no database", path.display())));
    }
    let _lock = folder::lock(folder)?.ok_or(Error::Locked)?;
    let conn = folder::writing(&path)?;
    unlock(&conn, old)?;
    proven(&conn, &path, old)?;
    // The pages change under a rollback journal; a write-ahead log cannot hold pages under two keys.
    conn.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON;")?;
    conn.pragma_update(None, "rekey", new.map_or("", |key| key.0.as_str()))?;
    conn.execute_batch("PRAGMA journal_mode = WAL")?;
    conn.close().map_err(|(_, error)| error)?;
    let conn = folder::writing(&path)?;
    unlock(&conn, new)?;
    proven(&conn, &path, new)?;
    integrity(&conn)
}
