//! Small facts by name: instance id, stopped on request, the WhatsApp version that worked …
use rusqlite::OptionalExtension as _;

use super::{Error, Tx};

pub struct Settings<'a> {
    tx: &'a Tx<'a>,
}

impl<'t> Tx<'t> {
    pub fn settings(&self) -> Settings<'_> {
        Settings { tx: self }
    }
}

impl Settings<'_> {
    pub fn get(&self, name: &str) -> Result<Option<String>, Error> {
        let mut statement = self.tx.conn().prepare_cached("SELECT value FROM setting WHERE name = ?1")?;
        Ok(statement.query_row([name], |row| row.get(0)).optional()?)
    }

    pub fn set(&self, name: &str, value: &str) -> Result<(), Error> {
        let sql = "INSERT INTO setting (name, value) VALUES (?1, ?2)
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.tx.conn().prepare_cached(sql)?.execute([name, value])?;
        Ok(())
    }

    /// Fine also if there is none.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        self.tx.conn().prepare_cached("DELETE FROM setting WHERE name = ?1")?.execute([name])?;
        Ok(())
    }
}
