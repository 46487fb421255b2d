//! Hooks: who is told of events, and how far each has been told.
//!
//! An event is delivered in its lane's order. A hook stands at a cursor: everything up to there has been delivered. Lanes
//! that stand elsewhere, ahead of the cursor or behind it, have a row of their own; a lane that fails therefore holds up
//! neither the cursor nor the other lanes, and costs one row however long it lasts.
mod control;
mod letters;
mod user;

use std::fmt;

use rusqlite::{OptionalExtension as _, Row, params, types::Type};

use super::{Error, Tx, sql, trace::Attempt, unsql};
use crate::clock::Millis;
pub use control::{Lag, Pause, Place};
pub use letters::{Letter, NewLetter};
pub use user::{Change, Configured, KINDS, KINDS_DEFAULT, Wanted};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The platform of `--platform-url`, which is posted its own five forms.
    Platform,
    /// A URL configured over the API.
    User,
}

impl Kind {
    /// As stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::User => "user",
        }
    }

    /// Back from a column that [`Kind::as_str`] filled.
    pub(super) fn of(row: &Row<'_>, column: usize) -> rusqlite::Result<Self> {
        let kind: String = row.get(column)?;
        [Self::Platform, Self::User]
            .into_iter()
            .find(|known| known.as_str() == kind)
            .ok_or_else(|| rusqlite::Error::InvalidColumnType(column, "kind".into(), Type::Text))
    }
}

#[derive(Clone, PartialEq, Eq)]
pub struct Hook {
    pub id: i64,
    pub kind: Kind,
    /// The platform's base, or the user's whole URL.
    pub url: String,
    /// Key of the signature.
    pub secret: Option<String>,
    /// What is not active is not delivered to, and keeps no event from being pruned.
    pub active: bool,
    /// Why nothing is delivered for the moment; what waits is kept.
    pub paused: Option<Pause>,
    /// The kinds of events that a user's hook is told of. The platform has its own rule.
    pub wanted: Wanted,
    /// Changes with everything that is done to the hook from outside its delivery.
    pub epoch: u64,
    pub cursor: u64,
    pub updated: Millis,
    pub last_attempt: Option<Millis>,
    pub last_success: Option<Millis>,
    /// Of the last attempt, if that failed: `http 500`, `timeout` …
    pub last_error: Option<String>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, kind, active, cursor, last_error, .. } = self;
        write!(
            f,
            "Hook {{ id: {id}, kind: {kind:?}, active: {active}, cursor: {cursor}, last_error: {last_error:?} }}"
        )
    }
}

/// A lane that stands elsewhere than its hook's cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// `""`: the instance's own.
    pub lane: String,
    /// The lane's events up to here have been delivered, and none after.
    pub done: u64,
    /// There may be events between `done` and the cursor.
    pub behind: bool,
    /// Failed attempts at the event after `done`.
    pub attempts: u32,
    /// Those of them that count as the event's own fault: others arrived meanwhile.
    pub strikes: u32,
    /// When the next attempt is due.
    pub next_at: Millis,
    pub error: Option<String>,
}

/// Where a hook has got to since the last time: stored in one piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Of the hook when its delivery began. Progress of an earlier epoch is not stored.
    pub epoch: u64,
    pub cursor: u64,
    pub set: Vec<Lane>,
    /// Lanes that stand at the cursor again.
    pub clear: Vec<String>,
    /// Events put aside.
    pub letters: Vec<NewLetter>,
    /// How posts ended, whatever the epoch.
    pub attempts: Vec<Attempt>,
    pub last_attempt: Option<Millis>,
    pub last_success: Option<Millis>,
    pub last_error: Option<String>,
}

pub struct Hooks<'a> {
    tx: &'a Tx<'a>,
}

impl<'t> Tx<'t> {
    pub fn hooks(&self) -> Hooks<'_> {
        Hooks { tx: self }
    }
}

const COLUMNS: &str =
    "id, kind, url, secret, active, cursor, last_attempt, last_success, last_error, paused, events,
                       epoch, updated";

impl Hooks<'_> {
    /// Sets the platform's address and secret; returns the hook's id. A new one is told what happens from now on, a
    /// changed one goes on where it was.
    pub fn set_platform(&self, url: &str, secret: Option<&str>, now: Millis) -> Result<i64, Error> {
        let same = "SELECT id FROM hook WHERE kind = 'platform' AND url = ?1 AND secret IS ?2 AND active";
        let mut same = self.tx.conn().prepare_cached(same)?;
        if let Some(id) = same.query_row(params![url, secret], |row| row.get(0)).optional()? {
            return Ok(id);
        }
        let upsert = "INSERT INTO hook (kind, url, secret, active, cursor, created, updated)
                      VALUES (?1, ?2, ?3, TRUE, ?4, ?5, ?5)
                      ON CONFLICT (kind) WHERE kind = 'platform'
                      DO UPDATE SET url = excluded.url, secret = excluded.secret, active = TRUE, updated = excluded.updated
                      RETURNING id";
        let newest = sql(self.tx.events().newest()?);
        let row = params![Kind::Platform.as_str(), url, secret, newest, sql(now.0)];
        let id = self.tx.conn().prepare_cached(upsert)?.query_row(row, |row| row.get(0))?;
        self.tx.mark_hooks_changed();
        Ok(id)
    }

    /// Forgets the platform and what it has not had. False: there was none.
    pub fn remove_platform(&self) -> Result<bool, Error> {
        let mut statement = self.tx.conn().prepare_cached("DELETE FROM hook WHERE kind = 'platform'")?;
        let removed = statement.execute([])? > 0;
        if removed {
            self.tx.mark_hooks_changed();
        }
        Ok(removed)
    }

    /// All of them, oldest first.
    pub fn list(&self) -> Result<Vec<Hook>, Error> {
        let mut statement =
            self.tx.conn().prepare_cached(&format!("SELECT {COLUMNS} FROM hook ORDER BY id"))?;
        let rows = statement.query_map([], hook)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One of them, with the lanes that stand elsewhere than its cursor.
    pub fn load(&self, id: i64) -> Result<Option<(Hook, Vec<Lane>)>, Error> {
        let select = format!("SELECT {COLUMNS} FROM hook WHERE id = ?1");
        let found = self.tx.conn().prepare_cached(&select)?.query_row([id], hook).optional()?;
        let Some(found) = found else { return Ok(None) };
        let select =
            "SELECT lane, done, behind, attempts, next_at, error, strikes FROM hook_lane WHERE hook = ?1";
        let mut statement = self.tx.conn().prepare_cached(select)?;
        let rows = statement.query_map([id], |row| {
            Ok(Lane {
                lane: row.get(0)?,
                done: unsql(row.get(1)?),
                behind: row.get(2)?,
                attempts: row.get(3)?,
                next_at: Millis(unsql(row.get(4)?)),
                error: row.get(5)?,
                strikes: row.get(6)?,
            })
        })?;
        let lanes = rows.collect::<Result<_, _>>()?;
        Ok(Some((found, lanes)))
    }

    /// Stores where a hook has got to. Nothing happens if it has been removed, or something was done to it, meanwhile.
    pub fn progress(&self, id: i64, progress: &Progress) -> Result<(), Error> {
        self.tx.trace().tried(id, &progress.attempts)?;
        let update = "UPDATE hook SET cursor = MAX(cursor, ?2), last_attempt = COALESCE(?3, last_attempt),
                      last_success = COALESCE(?4, last_success), last_error = ?5 WHERE id = ?1 AND epoch = ?6";
        let at = |at: Option<Millis>| at.map(|at| sql(at.0));
        let (attempt, success) = (at(progress.last_attempt), at(progress.last_success));
        let row =
            params![id, sql(progress.cursor), attempt, success, progress.last_error, sql(progress.epoch)];
        if self.tx.conn().prepare_cached(update)?.execute(row)? == 0 {
            return Ok(());
        }
        let upsert =
            "INSERT OR REPLACE INTO hook_lane (hook, lane, done, behind, attempts, next_at, error, strikes)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let mut upsert = self.tx.conn().prepare_cached(upsert)?;
        for Lane { lane, done, behind, attempts, strikes, next_at, error } in &progress.set {
            upsert.execute(params![
                id,
                lane,
                sql(*done),
                behind,
                attempts,
                sql(next_at.0),
                error,
                strikes
            ])?;
        }
        let mut clear =
            self.tx.conn().prepare_cached("DELETE FROM hook_lane WHERE hook = ?1 AND lane = ?2")?;
        for lane in &progress.clear {
            clear.execute(params![id, lane])?;
        }
        for letter in &progress.letters {
            self.put_aside(id, letter)?;
        }
        self.drop_passed()
    }

    /// Lanes that were ahead and that the cursor has passed.
    fn drop_passed(&self) -> Result<(), Error> {
        let delete = "DELETE FROM hook_lane WHERE NOT behind
                      AND done <= (SELECT cursor FROM hook WHERE id = hook_lane.hook)";
        self.tx.conn().prepare_cached(delete)?.execute([])?;
        Ok(())
    }

    /// Up to where every active hook has had everything; `None` without hooks.
    pub(super) fn delivered_to(&self) -> Result<Option<u64>, Error> {
        let select = "SELECT MIN(MIN(cursor, COALESCE(
                          (SELECT MIN(done) FROM hook_lane WHERE hook = hook.id AND behind), cursor)))
                      FROM hook WHERE active";
        let mut statement = self.tx.conn().prepare_cached(select)?;
        Ok(statement.query_row([], |row| row.get::<_, Option<i64>>(0))?.map(unsql))
    }

    /// Moves every hook past the events up to `upto`, which are about to go; returns how many of them were still to be
    /// delivered to somebody.
    pub(super) fn give_up(&self, upto: u64) -> Result<u64, Error> {
        let count = "SELECT COUNT(DISTINCT event.seq) FROM event JOIN hook ON hook.active
                     LEFT JOIN hook_lane ON hook_lane.hook = hook.id AND hook_lane.lane = event.lane
                     WHERE event.seq <= ?1 AND event.seq > COALESCE(hook_lane.done, hook.cursor)
                     AND CASE hook.kind WHEN 'platform' THEN event.path IS NOT NULL
                         ELSE EXISTS (SELECT 1 FROM json_each(hook.events) WHERE value IN ('*', event.kind)) END";
        let upto = sql(upto);
        let lost = self.tx.conn().prepare_cached(count)?.query_row([upto], |row| row.get(0))?;
        let lanes = "UPDATE hook_lane SET done = ?1, attempts = 0, strikes = 0, next_at = 0 WHERE done < ?1";
        self.tx.conn().prepare_cached(lanes)?.execute([upto])?;
        self.tx.conn().prepare_cached("UPDATE hook SET cursor = ?1 WHERE cursor < ?1")?.execute([upto])?;
        self.drop_passed()?;
        Ok(unsql(lost))
    }
}

fn hook(row: &Row<'_>) -> rusqlite::Result<Hook> {
    let time =
        |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(|at| Millis(unsql(at))));
    Ok(Hook {
        id: row.get(0)?,
        kind: Kind::of(row, 1)?,
        url: row.get(2)?,
        secret: row.get(3)?,
        active: row.get(4)?,
        cursor: unsql(row.get(5)?),
        last_attempt: time(6)?,
        last_success: time(7)?,
        last_error: row.get(8)?,
        paused: row.get::<_, Option<String>>(9)?.as_deref().map(Pause::of),
        wanted: Wanted::of(&row.get::<_, String>(10)?),
        epoch: unsql(row.get(11)?),
        updated: Millis(unsql(row.get(12)?)),
    })
}
