//! App state: keys, where each collection stands, the MACs of its records, and changes of ours that are under way.

use prost::Message as _;
use rusqlite::{OptionalExtension as _, Row, params};

use super::{Error, Tx, sql, unsql};
use crate::{
    clock::Millis,
    crypto::app_state::{Change, Collection, LtHash, Mac, Operation, State, SyncKey, SyncKeys},
    proto::message::AppStateSyncKey,
};

/// A change that the server has not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Order of arrival.
    pub seq: i64,
    /// Where it belongs.
    pub collection: Collection,
    /// What it says.
    pub change: Change,
}

/// A collection as it was read so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Version and sum.
    pub state: State,
    /// Another device counts otherwise, and reading everything again did not help.
    pub diverged: bool,
}

/// Access to app state.
pub struct AppState<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// App state.
    pub fn app_state(&self) -> AppState<'_> {
        AppState(self)
    }
}

impl AppState<'_> {
    /// Where a collection stands; `None`: never read since the link.
    pub fn known(&self, collection: Collection) -> Result<Option<Known>, Error> {
        let mut statement = self
            .0
            .conn()
            .prepare_cached("SELECT version, hash, diverged FROM app_state_version WHERE collection = ?1")?;
        let row: Option<(i64, Vec<u8>, bool)> = statement
            .query_row([collection.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((version, hash, diverged)) = row else { return Ok(None) };
        let hash = LtHash::from_bytes(&hash)
            .ok_or_else(|| Error::Damaged("the sum of an app-state collection has another length".into()))?;
        Ok(Some(Known { state: State { version: unsql(version), hash }, diverged }))
    }

    /// Keeps where a collection stands.
    pub fn set_state(&self, collection: Collection, state: &State) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "INSERT INTO app_state_version (collection, version, hash) VALUES (?1, ?2, ?3)
                 ON CONFLICT (collection) DO UPDATE SET version = excluded.version, hash = excluded.hash",
            )?
            .execute(params![collection.as_str(), sql(state.version), state.hash.as_bytes()])?;
        Ok(())
    }

    /// Notes that a collection is counted otherwise elsewhere, for good.
    pub fn set_diverged(&self, collection: Collection) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE app_state_version SET diverged = 1 WHERE collection = ?1")?
            .execute([collection.as_str()])?;
        Ok(())
    }

    /// Forgets what was read of a collection, so that it is read again from its beginning.
    pub fn restart(&self, collection: Collection) -> Result<(), Error> {
        self.set_state(collection, &State::default())?;
        self.forget_macs(collection)
    }

    /// Forgets the records of a collection.
    pub fn forget_macs(&self, collection: Collection) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("DELETE FROM app_state_mac WHERE collection = ?1")?
            .execute([collection.as_str()])?;
        Ok(())
    }

    /// The value MAC in force under an index MAC.
    pub fn mac(&self, collection: Collection, index: &Mac) -> Result<Option<Mac>, Error> {
        let mut statement = self
            .0
            .conn()
            .prepare_cached("SELECT value_mac FROM app_state_mac WHERE collection = ?1 AND index_mac = ?2")?;
        let found: Option<Vec<u8>> =
            statement.query_row(params![collection.as_str(), index], |row| row.get(0)).optional()?;
        Ok(found.and_then(|mac| mac.try_into().ok()))
    }

    /// Puts a record's MAC, or takes it away.
    pub fn set_mac(&self, collection: Collection, index: &Mac, value: Option<&Mac>) -> Result<(), Error> {
        match value {
            Some(value) => self
                .0
                .conn()
                .prepare_cached(
                    "INSERT OR REPLACE INTO app_state_mac (collection, index_mac, value_mac) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![collection.as_str(), index, value])?,
            None => self
                .0
                .conn()
                .prepare_cached("DELETE FROM app_state_mac WHERE collection = ?1 AND index_mac = ?2")?
                .execute(params![collection.as_str(), index])?,
        };
        Ok(())
    }

    /// A key by its id, expanded; `None` if nobody ever shared it.
    pub fn key(&self, id: &[u8]) -> Result<Option<SyncKeys>, Error> {
        let mut statement = self.0.conn().prepare_cached("SELECT key FROM app_state_key WHERE id = ?1")?;
        let row: Option<Vec<u8>> = statement.query_row([id], |row| row.get(0)).optional()?;
        Ok(row.and_then(|row| read_key(id, &row)).map(|key| key.expand()))
    }

    /// Every key that can be used.
    pub fn keys(&self) -> Result<Vec<SyncKey>, Error> {
        let mut statement = self.0.conn().prepare_cached("SELECT id, key FROM app_state_key")?;
        let rows =
            statement.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let mut keys = Vec::new();
        for row in rows {
            let (id, key) = row?;
            keys.extend(read_key(&id, &key));
        }
        Ok(keys)
    }

    /// The key to write with.
    pub fn newest_key(&self) -> Result<Option<SyncKey>, Error> {
        Ok(SyncKey::newest(&self.keys()?).cloned())
    }

    /// Keeps a key, in place of one with the same id.
    pub fn set_key(&self, key: &SyncKey) -> Result<(), Error> {
        self.0.sync().add_app_state_key(&key.id, &key.shared().encode_to_vec())
    }

    /// Keys of this epoch are not to be written with any more.
    pub fn expire_keys(&self, epoch: u32) -> Result<(), Error> {
        for key in self.keys()?.into_iter().filter(|key| key.epoch() == Some(epoch)) {
            let mut key = key;
            key.at = Some(0);
            self.set_key(&key)?;
        }
        Ok(())
    }

    /// Puts a change at the end; its number.
    pub fn push(&self, collection: Collection, change: &Change, now: Millis) -> Result<i64, Error> {
        self.0
            .conn()
            .prepare_cached(
                "INSERT INTO app_state_write (collection, removes, idx, value, version, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                collection.as_str(),
                change.operation == Operation::Remove,
                change.index,
                change.value,
                change.version,
                sql(now.0)
            ])?;
        Ok(self.0.conn().last_insert_rowid())
    }

    /// The first changes that wait for one collection, at most `limit`.
    pub fn writes(&self, collection: Collection, limit: u32) -> Result<Vec<Write>, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "SELECT seq, removes, idx, value, version FROM app_state_write WHERE collection = ?1
             ORDER BY seq LIMIT ?2",
        )?;
        let write = |row: &Row<'_>| {
            Ok(Write {
                seq: row.get(0)?,
                collection,
                change: Change {
                    operation: if row.get(1)? { Operation::Remove } else { Operation::Set },
                    index: row.get(2)?,
                    value: row.get(3)?,
                    version: row.get(4)?,
                },
            })
        };
        Ok(statement.query_map(params![collection.as_str(), limit], write)?.collect::<Result<_, _>>()?)
    }

    /// The last change of one record that waits.
    pub fn last_write(&self, collection: Collection, index: &[u8]) -> Result<Option<Change>, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "SELECT removes, value, version FROM app_state_write WHERE collection = ?1 AND idx = ?2
             ORDER BY seq DESC LIMIT 1",
        )?;
        let change = |row: &Row<'_>| {
            Ok(Change {
                operation: if row.get(0)? { Operation::Remove } else { Operation::Set },
                index: index.to_vec(),
                value: row.get(1)?,
                version: row.get(2)?,
            })
        };
        Ok(statement.query_row(params![collection.as_str(), index], change).optional()?)
    }

    /// Changes that wait, of all collections.
    pub fn waiting(&self) -> Result<u64, Error> {
        let mut statement = self.0.conn().prepare_cached("SELECT count(*) FROM app_state_write")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// The change is among what the server has: numbers of the rows that said exactly this.
    pub fn settle(&self, collection: Collection, change: &Change) -> Result<Vec<i64>, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "DELETE FROM app_state_write
             WHERE collection = ?1 AND removes = ?2 AND idx = ?3 AND value = ?4 RETURNING seq",
        )?;
        let removes = change.operation == Operation::Remove;
        let seqs = statement
            .query_map(params![collection.as_str(), removes, change.index, change.value], |row| row.get(0))?;
        Ok(seqs.collect::<Result<_, _>>()?)
    }

    /// Gives a change up.
    pub fn drop_write(&self, seq: i64) -> Result<(), Error> {
        self.0.conn().prepare_cached("DELETE FROM app_state_write WHERE seq = ?1")?.execute([seq])?;
        Ok(())
    }
}

/// A serialized AppStateSyncKey; `None` for one that its holder does not have.
fn read_key(id: &[u8], key: &[u8]) -> Option<SyncKey> {
    SyncKey::of(id, &AppStateSyncKey::decode(key).ok()?)
}
