//! Whose coming and going is followed.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Error, Tx, device::jid, sql, unsql};
use crate::{clock::Millis, wire::Jid};

/// People who can be followed: each is a stanza at every connection.
pub const MAX_WATCHED: u64 = 1_000;

/// Somebody who is followed, and what was last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// By number where it is known when they were first followed.
    pub jid: Jid,
    /// Online; `None`: nothing was told yet.
    pub available: Option<bool>,
    /// When they were last there; `None`: hidden, or never told.
    pub last_seen: Option<Millis>,
    /// Since when that is so.
    pub changed_at: Option<Millis>,
}

/// Access to them.
pub struct Watching<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// Whose presence is followed.
    pub fn watched(&self) -> Watching<'_> {
        Watching(self)
    }
}

fn watched(row: &Row<'_>) -> rusqlite::Result<Watched> {
    let time =
        |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(|at| Millis(unsql(at))));
    Ok(Watched { jid: jid(row.get(0)?)?, available: row.get(1)?, last_seen: time(2)?, changed_at: time(3)? })
}

impl Watching<'_> {
    /// Everybody who is followed.
    pub fn list(&self) -> Result<Vec<Watched>, Error> {
        let select = "SELECT jid, available, last_seen, changed_at FROM watched ORDER BY since, jid";
        let mut statement = self.0.conn().prepare_cached(select)?;
        Ok(statement.query_map([], watched)?.collect::<Result<_, _>>()?)
    }

    /// Somebody under either name.
    pub fn find(&self, person: &Jid) -> Result<Option<Watched>, Error> {
        let names = self.0.both_names(person)?;
        let select = "SELECT jid, available, last_seen, changed_at FROM watched WHERE jid IN (?1, ?2)";
        Ok(self.0.conn().prepare_cached(select)?.query_row(names, watched).optional()?)
    }

    /// Follows somebody; fine if that is so already. `false`: there are too many.
    pub fn add(&self, person: &Jid, now: Millis) -> Result<bool, Error> {
        if self.find(person)?.is_some() {
            return Ok(true);
        }
        let conn = self.0.conn();
        let count: i64 =
            conn.prepare_cached("SELECT count(*) FROM watched")?.query_row([], |row| row.get(0))?;
        if unsql(count) >= MAX_WATCHED {
            return Ok(false);
        }
        let [name, _] = self.0.both_names(person)?;
        conn.prepare_cached("INSERT INTO watched (jid, since) VALUES (?1, ?2)")?
            .execute(params![name, sql(now.0)])?;
        Ok(true)
    }

    /// Follows somebody no more. `true` if they were.
    pub fn remove(&self, person: &Jid) -> Result<bool, Error> {
        let names = self.0.both_names(person)?;
        Ok(self.0.conn().prepare_cached("DELETE FROM watched WHERE jid IN (?1, ?2)")?.execute(names)? > 0)
    }

    /// Keeps what was told. `true` if it is news.
    pub fn saw(
        &self,
        person: &Jid,
        available: bool,
        last_seen: Option<Millis>,
        now: Millis,
    ) -> Result<bool, Error> {
        let [one, other] = self.0.both_names(person)?;
        let update = "UPDATE watched SET available = ?3, last_seen = coalesce(?4, CASE ?3 WHEN 1 THEN last_seen END),
                          changed_at = ?5
                      WHERE jid IN (?1, ?2) AND (available IS NOT ?3 OR (?4 IS NOT NULL AND last_seen IS NOT ?4))";
        let last_seen = last_seen.map(|at| sql(at.0));
        let row = params![one, other, available, last_seen, sql(now.0)];
        Ok(self.0.conn().prepare_cached(update)?.execute(row)? > 0)
    }
}
