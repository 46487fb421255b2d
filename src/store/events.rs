//! The event log: appended in the transaction that causes an event, read by number.
use rusqlite::{OptionalExtension as _, params};

use super::{Error, Tx, sql, unsql};
use crate::clock::Millis;

/// Rows that one [`Events::prune`] removes at most, so that nobody waits long for the writer.
pub const PRUNE_STEP: u64 = 2_000;

/// One event, rendered when it happened, so that every delivery carries the same bytes.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// `message.received`, `message.status`, `instance.qr`, …
    pub kind: &'static str,
    /// The chat whose order it belongs to (a JID as text); `None`: the instance's own lane.
    pub lane: Option<String>,
    /// `data` of the outgoing form (platform-webhooks.md §5), as JSON text.
    pub data: String,
    /// What the platform is posted: last path segment (`incoming`, `status`, `qr`, `connection`, `reaction`) and body, as JSON text.
    pub platform: Option<(&'static str, String)>,
}

/// One row of the log, as `GET /events` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub seq: u64,
    pub at: Millis,
    pub kind: String,
    pub lane: Option<String>,
    /// JSON text.
    pub data: String,
}

/// Some events, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub events: Vec<Event>,
    /// Read after this next: also past events that the filter left out.
    pub next: u64,
}

/// An event as the delivery of hooks sees it; the bytes are read when it is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub seq: u64,
    pub kind: String,
    /// `""`: the instance's own.
    pub lane: String,
    /// The platform's path segment; `None`: not for the platform.
    pub path: Option<String>,
}

/// What [`Events::prune`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub removed: u64,
    /// Of those, how many some hook should still have had.
    pub undelivered: u64,
    /// There is more to remove: call again.
    pub more: bool,
}

pub struct Events<'a> {
    tx: &'a Tx<'a>,
}

impl<'t> Tx<'t> {
    pub fn events(&self) -> Events<'_> {
        Events { tx: self }
    }
}

impl Events<'_> {
    /// Appends; the sequence number has no gaps.
    pub fn push(&self, event: &NewEvent, now: Millis) -> Result<u64, Error> {
        let insert = "INSERT INTO event (at, kind, lane, data, path, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let (path, body) = event.platform.as_ref().map(|(path, body)| (*path, body)).unzip();
        let lane = event.lane.as_deref().unwrap_or_default();
        let row = params![sql(now.0), event.kind, lane, event.data, path, body];
        self.tx.conn().prepare_cached(insert)?.execute(row)?;
        Ok(unsql(self.tx.conn().last_insert_rowid()))
    }

    /// The newest sequence number; 0 before the first event.
    pub fn newest(&self) -> Result<u64, Error> {
        let select = "SELECT seq FROM sqlite_sequence WHERE name = 'event'";
        let newest = self.tx.conn().prepare_cached(select)?.query_row([], |row| row.get(0)).optional()?;
        Ok(unsql(newest.unwrap_or_default()))
    }

    /// The oldest sequence number still kept.
    pub fn oldest(&self) -> Result<Option<u64>, Error> {
        let mut statement = self.tx.conn().prepare_cached("SELECT MIN(seq) FROM event")?;
        Ok(statement.query_row([], |row| row.get::<_, Option<i64>>(0))?.map(unsql))
    }

    /// Events after `seq` in order, at most `limit`; of the `kinds` given, or of all if there are none.
    pub fn read_after(&self, seq: u64, limit: u32, kinds: &[String]) -> Result<Page, Error> {
        let select = "SELECT seq, at, kind, lane, data FROM event
                      WHERE seq > ?1 AND (?2 IS NULL OR kind IN (SELECT value FROM json_each(?2)))
                      ORDER BY seq LIMIT ?3";
        let kinds = (!kinds.is_empty()).then(|| serde_json::json!(kinds).to_string());
        let mut statement = self.tx.conn().prepare_cached(select)?;
        let rows = statement.query_map(params![sql(seq), kinds, limit], |row| {
            Ok(Event {
                seq: unsql(row.get(0)?),
                at: Millis(unsql(row.get(1)?)),
                kind: row.get(2)?,
                lane: row.get(3)?,
                data: row.get(4)?,
            })
        })?;
        let events: Vec<Event> = rows
            .map(|row| row.map(|event| Event { lane: event.lane.filter(|lane| !lane.is_empty()), ..event }))
            .collect::<Result<_, _>>()?;
        let full = u32::try_from(events.len()).is_ok_and(|count| count >= limit);
        let last = events.last().map(|event| event.seq);
        // A page that is not full has seen everything; a number ahead of the log stays where it is.
        let next = if full { last.unwrap_or(seq) } else { self.newest()?.max(seq) };
        Ok(Page { events, next })
    }

    /// The log after `seq`, without its bytes: for the hooks.
    pub fn entries(&self, seq: u64, limit: u32) -> Result<Vec<Entry>, Error> {
        let select = "SELECT seq, lane, path, kind FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let mut statement = self.tx.conn().prepare_cached(select)?;
        let rows = statement.query_map(params![sql(seq), limit], entry)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One lane of the log after `seq` and up to `upto`.
    pub fn lane_entries(&self, lane: &str, seq: u64, upto: u64, limit: u32) -> Result<Vec<Entry>, Error> {
        let select = "SELECT seq, lane, path, kind FROM event
                      WHERE lane = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4";
        let mut statement = self.tx.conn().prepare_cached(select)?;
        let rows = statement.query_map(params![lane, sql(seq), sql(upto), limit], entry)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What the platform is posted for an event: path segment and exact bytes. `None`: nothing, or no longer kept.
    pub fn platform(&self, seq: u64) -> Result<Option<(String, String)>, Error> {
        let select = "SELECT path, body FROM event WHERE seq = ?1 AND path IS NOT NULL AND body IS NOT NULL";
        let mut statement = self.tx.conn().prepare_cached(select)?;
        Ok(statement.query_row([sql(seq)], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }

    /// One event; `None`: no longer kept.
    pub fn find(&self, seq: u64) -> Result<Option<Event>, Error> {
        Ok(self.read_after(seq.saturating_sub(1), 1, &[])?.events.pop().filter(|event| event.seq == seq))
    }

    /// Removes events from before `older_than` that every hook has had, and the oldest ones beyond `max_rows` even if a
    /// hook has not; the hooks concerned go on after them. Removes at most [`PRUNE_STEP`] rows.
    pub fn prune(&self, older_than: Millis, max_rows: u64) -> Result<Pruned, Error> {
        let Some(oldest) = self.oldest()? else { return Ok(Pruned::default()) };
        let newest = self.newest()?;
        // Numbers have no gaps and rows go oldest first, so that counting is subtracting.
        let young = "SELECT seq FROM event WHERE at >= ?1 ORDER BY seq LIMIT 1";
        let young = self.tx.conn().prepare_cached(young)?.query_row([sql(older_than.0)], |row| row.get(0));
        let aged = young.optional()?.map_or(newest, |seq| unsql(seq).saturating_sub(1));
        let delivered = self.tx.hooks().delivered_to()?.unwrap_or(newest);
        let target = aged.min(delivered).max(newest.saturating_sub(max_rows));
        let upto = target.min(oldest.saturating_add(PRUNE_STEP).saturating_sub(1));
        if upto < oldest {
            return Ok(Pruned::default());
        }
        let undelivered = if upto > delivered { self.tx.hooks().give_up(upto)? } else { 0 };
        self.tx.trace().prune(upto, older_than)?;
        let mut statement = self.tx.conn().prepare_cached("DELETE FROM event WHERE seq <= ?1")?;
        let removed = statement.execute([sql(upto)])? as u64;
        Ok(Pruned { removed, undelivered, more: upto < target })
    }
}

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry { seq: unsql(row.get(0)?), lane: row.get(1)?, path: row.get(2)?, kind: row.get(3)? })
}
