//! Dead letters: events that a user's receiver refused again and again while it took others (platform-webhooks.md §4.3).
use rusqlite::{OptionalExtension as _, params};

use super::Hooks;
use crate::{
    clock::Millis,
    store::{Error, events::Event, sql, unsql},
};

/// An event that is to be put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLetter {
    pub seq: u64,
    pub at: Millis,
    pub attempts: u32,
    pub error: String,
}

/// An event that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    pub event: Event,
    /// When it was put aside.
    pub aside: Millis,
    pub attempts: u32,
    /// Of the last attempt.
    pub error: String,
    /// It is to be sent once more.
    pub again: bool,
}

const SELECT: &str = "SELECT seq, at, kind, lane, data, aside, attempts, error, again FROM dead_letter";

fn letter(row: &rusqlite::Row<'_>) -> rusqlite::Result<Letter> {
    let lane: String = row.get(3)?;
    Ok(Letter {
        event: Event {
            seq: unsql(row.get(0)?),
            at: Millis(unsql(row.get(1)?)),
            kind: row.get(2)?,
            lane: Some(lane).filter(|lane| !lane.is_empty()),
            data: row.get(4)?,
        },
        aside: Millis(unsql(row.get(5)?)),
        attempts: row.get(6)?,
        error: row.get(7)?,
        again: row.get(8)?,
    })
}

impl Hooks<'_> {
    pub(super) fn put_aside(&self, id: i64, letter: &NewLetter) -> Result<(), Error> {
        let insert =
            "INSERT OR REPLACE INTO dead_letter (hook, seq, at, kind, lane, data, aside, attempts, error)
                      SELECT ?1, seq, at, kind, lane, data, ?3, ?4, ?5 FROM event WHERE seq = ?2";
        let row = params![id, sql(letter.seq), sql(letter.at.0), letter.attempts, letter.error];
        self.tx.conn().prepare_cached(insert)?.execute(row)?;
        Ok(())
    }

    /// The oldest `limit` letters of a hook, and how many there are.
    pub fn letters(&self, id: i64, limit: u32) -> Result<(Vec<Letter>, u64), Error> {
        let mut statement =
            self.tx.conn().prepare_cached(&format!("{SELECT} WHERE hook = ?1 ORDER BY seq LIMIT ?2"))?;
        let rows = statement.query_map(params![id, limit], letter)?.collect::<Result<_, _>>()?;
        let count = "SELECT COUNT(*) FROM dead_letter WHERE hook = ?1";
        let count = self.tx.conn().prepare_cached(count)?.query_row([id], |row| row.get(0))?;
        Ok((rows, unsql(count)))
    }

    /// Marks all letters of a hook to be sent once more; how many. `None`: there is no such hook.
    pub fn redeliver(&self, id: i64) -> Result<Option<u64>, Error> {
        let known = self.tx.conn().prepare_cached("SELECT 1 FROM hook WHERE id = ?1")?.exists([id])?;
        if !known {
            return Ok(None);
        }
        let update = "UPDATE dead_letter SET again = 1 WHERE hook = ?1";
        let marked = self.tx.conn().prepare_cached(update)?.execute([id])?;
        self.tx.mark_hooks_changed();
        Ok(Some(marked as u64))
    }

    /// The next letter that is to be sent once more, after `after`.
    pub fn next_letter(&self, id: i64, after: u64) -> Result<Option<Letter>, Error> {
        let select = format!("{SELECT} WHERE hook = ?1 AND again AND seq > ?2 ORDER BY seq LIMIT 1");
        let mut statement = self.tx.conn().prepare_cached(&select)?;
        Ok(statement.query_row(params![id, sql(after)], letter).optional()?)
    }

    /// What came of sending it: `None`, it arrived and is no letter any more; else why not, and it stays.
    pub fn letter_sent(&self, id: i64, seq: u64, error: Option<&str>) -> Result<(), Error> {
        match error {
            None => {
                let delete = "DELETE FROM dead_letter WHERE hook = ?1 AND seq = ?2";
                self.tx.conn().prepare_cached(delete)?.execute(params![id, sql(seq)])?;
            }
            Some(error) => {
                let update = "UPDATE dead_letter SET again = 0, attempts = attempts + 1, error = ?3
                              WHERE hook = ?1 AND seq = ?2";
                self.tx.conn().prepare_cached(update)?.execute(params![id, sql(seq), error])?;
            }
        }
        Ok(())
    }
}
