//! What can be done to a hook from outside its delivery, and how far behind it is (platform-webhooks.md §4.4).
//!
//! Each of these begins a new epoch: the delivery starts afresh from the rows, and what an earlier one still reports is not
//! stored any more. At worst something is delivered twice, never not at all.
use std::time::Duration;

use rusqlite::{OptionalExtension as _, params};

use super::Hooks;
use crate::{
    clock::Millis,
    store::{Error, sql, unsql},
};

/// Events that a lag is counted up to: enough to tell, and the reader is not held up.
const COUNTED: u32 = 100_000;

/// Why a hook is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Somebody asked for it.
    Requested,
    /// The receiver answered 410.
    Gone,
}

impl Pause {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Gone => "gone",
        }
    }

    pub(in crate::store) fn of(text: &str) -> Self {
        if text == Self::Gone.as_str() { Self::Gone } else { Self::Requested }
    }
}

/// Where a hook is to deliver from again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// With this event.
    Seq(u64),
    /// With the first event of that time or later.
    Time(Millis),
}

/// What a hook has not had yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// At most 100,000, however many there are.
    pub events: u64,
    /// Since the oldest of them happened.
    pub age: Duration,
}

impl Hooks<'_> {
    /// Keeps everything and delivers nothing. False: there is no such hook.
    pub fn pause(&self, id: i64, why: Pause) -> Result<bool, Error> {
        self.change(id, "UPDATE hook SET paused = COALESCE(paused, ?2) WHERE id = ?1", Some(why))
    }

    /// Delivers again, at once. False: there is no such hook.
    pub fn resume(&self, id: i64) -> Result<bool, Error> {
        self.at_once(id)?;
        self.change(id, "UPDATE hook SET paused = ?2, epoch = epoch + 1 WHERE id = ?1", None)
    }

    fn change(&self, id: i64, update: &str, why: Option<Pause>) -> Result<bool, Error> {
        let row = params![id, why.map(Pause::as_str)];
        let changed = self.tx.conn().prepare_cached(update)?.execute(row)? > 0;
        if changed {
            self.tx.mark_hooks_changed();
        }
        Ok(changed)
    }

    /// What was put off is due now.
    pub(super) fn at_once(&self, id: i64) -> Result<(), Error> {
        self.tx.conn().prepare_cached("UPDATE hook_lane SET next_at = 0 WHERE hook = ?1")?.execute([id])?;
        Ok(())
    }

    /// Delivers again from there, as far as the log still goes back; never skips what the hook has not had. Answers with the
    /// number of the first event that it may get again. `None`: there is no such hook.
    pub fn rewind(&self, id: i64, to: Place) -> Result<Option<u64>, Error> {
        let first = match to {
            Place::Seq(seq) => seq,
            Place::Time(at) => {
                let select = "SELECT seq FROM event WHERE at >= ?1 ORDER BY seq LIMIT 1";
                let found = self.tx.conn().prepare_cached(select)?.query_row([sql(at.0)], |row| row.get(0));
                found.optional()?.map_or(u64::MAX, unsql)
            }
        };
        let newest = self.tx.events().newest()?;
        let oldest = self.tx.events().oldest()?.unwrap_or(newest.saturating_add(1));
        let before = first.max(oldest).saturating_sub(1);
        let update =
            "UPDATE hook SET cursor = MIN(cursor, ?2), epoch = epoch + 1 WHERE id = ?1 RETURNING cursor";
        let moved = self.tx.conn().prepare_cached(update)?;
        let cursor: Option<i64> =
            { moved }.query_row(params![id, sql(before)], |row| row.get(0)).optional()?;
        let Some(cursor) = cursor else { return Ok(None) };
        // Lanes that stand elsewhere go with the cursor, but for those that are behind even that.
        let drop_lanes = "DELETE FROM hook_lane WHERE hook = ?1 AND (done >= ?2 OR NOT behind)";
        self.tx.conn().prepare_cached(drop_lanes)?.execute(params![id, cursor])?;
        self.tx.mark_hooks_changed();
        Ok(Some(unsql(cursor).saturating_add(1)))
    }

    /// What a hook has not had yet.
    pub fn lag(&self, id: i64, now: Millis) -> Result<Lag, Error> {
        let select =
            "WITH told AS (SELECT id, cursor, kind, events FROM hook WHERE id = ?1), missing (at) AS (
              SELECT event.at FROM told JOIN event ON event.seq > told.cursor
              LEFT JOIN hook_lane ON hook_lane.hook = told.id AND hook_lane.lane = event.lane
              WHERE event.seq > COALESCE(hook_lane.done, 0)
              AND CASE told.kind WHEN 'platform' THEN event.path IS NOT NULL
                  ELSE EXISTS (SELECT 1 FROM json_each(told.events) WHERE value IN ('*', event.kind)) END
              UNION ALL
              SELECT event.at FROM told JOIN hook_lane ON hook_lane.hook = told.id AND hook_lane.behind
              JOIN event ON event.lane = hook_lane.lane
              AND event.seq > hook_lane.done AND event.seq <= told.cursor
              WHERE CASE told.kind WHEN 'platform' THEN event.path IS NOT NULL
                  ELSE EXISTS (SELECT 1 FROM json_each(told.events) WHERE value IN ('*', event.kind)) END)
            SELECT COUNT(*), MIN(at) FROM (SELECT at FROM missing LIMIT ?2)";
        let mut statement = self.tx.conn().prepare_cached(select)?;
        Ok(statement.query_row(params![id, COUNTED], |row| {
            let oldest = row.get::<_, Option<i64>>(1)?.map(|at| Millis(unsql(at)));
            Ok(Lag {
                events: unsql(row.get(0)?),
                age: oldest.map_or(Duration::ZERO, |oldest| now.since(oldest)),
            })
        })?)
    }
}
