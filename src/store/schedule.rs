//! Sends that wait for their time: one by one, or the many of one batch.

use std::time::Duration;

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Error, Tx, messages::Progress, sql};
use crate::clock::Millis;

/// How long is known what became of a send after it has left, or was cancelled.
pub const SCHEDULE_KEPT: Duration = Duration::from_hours(30 * 24);
/// Rows that one [`Schedule::prune`] removes at most, so that nobody waits long for the writer.
const PRUNED: u32 = 10_000;

/// Where a send of this table stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its time has not come, or the instance is not connected.
    Waiting = 0,
    /// Handed to the queue of what is sent; what became of it, its message says.
    Left = 1,
    /// Will not leave.
    Cancelled = 2,
    /// Could not leave: the account was unlinked before.
    GivenUp = 3,
}

impl Stage {
    fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Waiting,
            1 => Self::Left,
            2 => Self::Cancelled,
            _ => Self::GivenUp,
        }
    }
}

/// A send about to be put down.
#[derive(Clone, Debug)]
pub struct NewScheduled<'a> {
    /// Final.
    pub wa_id: &'a str,
    /// A JID, or digits that were not looked up yet.
    pub recipient: &'a str,
    /// Serialized waE2E.Message.
    pub content: &'a [u8],
    /// When it is to leave.
    pub due: Millis,
    /// Its batch, and its place in the request.
    pub batch: Option<(&'a str, u32)>,
    /// The caller's own word for what it is.
    pub kind: &'a str,
}

/// A send whose time has come.
#[derive(Clone, Debug)]
pub struct Due {
    /// Order of arrival.
    pub seq: i64,
    /// Final.
    pub wa_id: String,
    /// A JID, or digits that were not looked up yet.
    pub recipient: String,
    /// Serialized waE2E.Message.
    pub content: Vec<u8>,
    /// When that was.
    pub due: Millis,
    /// The batch it belongs to.
    pub batch: Option<String>,
}

/// What is known of a send of this table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Final.
    pub wa_id: String,
    /// A JID, or digits.
    pub recipient: String,
    /// When it is to leave.
    pub due: Millis,
    /// When it was accepted.
    pub at: Millis,
    /// Where it stands.
    pub stage: Stage,
    /// What became of it, once it has left and its recipient is known.
    pub progress: Option<Progress>,
    /// WhatsApp's code, with [`Progress::Failed`].
    pub refused: Option<u16>,
    /// Not acknowledged by WhatsApp yet.
    pub under_way: bool,
    /// The batch it belongs to, and its place in it.
    pub batch: Option<String>,
    /// In the request.
    pub position: u32,
    /// The caller's own word for what it is.
    pub kind: String,
}

/// Many sends of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// When it was accepted.
    pub at: Millis,
    /// Between two of its sends.
    pub pace: Duration,
    /// JSON, as the caller's side wrote it: what was not accepted.
    pub rejected: String,
}

/// Access to sends that wait for their time.
pub struct Schedule<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// Sends that wait for their time.
    pub fn schedule(&self) -> Schedule<'_> {
        Schedule(self)
    }
}

const KNOWN: &str =
    "SELECT s.wa_id, s.recipient, s.due, s.at, s.state, m.status, m.refused, o.seq IS NOT NULL,
                            s.batch, s.position, s.kind
                     FROM scheduled s
                     LEFT JOIN message m ON m.wa_id = s.wa_id AND m.from_me = 1
                     LEFT JOIN outgoing o ON o.wa_id = s.wa_id";

fn known(row: &Row<'_>) -> rusqlite::Result<Known> {
    Ok(Known {
        wa_id: row.get(0)?,
        recipient: row.get(1)?,
        due: Millis(row.get(2)?),
        at: Millis(row.get(3)?),
        stage: Stage::from_code(row.get(4)?),
        progress: row.get::<_, Option<u8>>(5)?.map(Progress::from_code),
        refused: row.get(6)?,
        under_way: row.get(7)?,
        batch: row.get(8)?,
        position: row.get(9)?,
        kind: row.get(10)?,
    })
}

impl Schedule<'_> {
    /// Puts a send down.
    pub fn push(&self, new: &NewScheduled<'_>, now: Millis) -> Result<(), Error> {
        let (batch, position) = new.batch.map_or((None, 0), |(batch, position)| (Some(batch), position));
        self.0
            .conn()
            .prepare_cached(
                "INSERT INTO scheduled (wa_id, recipient, content, due, at, batch, position, kind)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                new.wa_id,
                new.recipient,
                new.content,
                sql(new.due.0),
                sql(now.0),
                batch,
                position,
                new.kind
            ])?;
        Ok(())
    }

    /// Puts a batch down; its sends follow.
    pub fn open_batch(&self, id: &str, batch: &Batch) -> Result<(), Error> {
        let pace = u64::try_from(batch.pace.as_millis()).unwrap_or(u64::MAX);
        self.0
            .conn()
            .prepare_cached("INSERT INTO batch (id, at, pace, rejected) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![id, sql(batch.at.0), sql(pace), batch.rejected])?;
        Ok(())
    }

    /// What of a batch was not accepted.
    pub fn set_rejected(&self, id: &str, rejected: &str) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE batch SET rejected = ?2 WHERE id = ?1")?
            .execute(params![id, rejected])?;
        Ok(())
    }

    /// How many wait, counted up to `limit`.
    pub fn waiting(&self, limit: u32) -> Result<u32, Error> {
        let count = "SELECT count(*) FROM (SELECT 1 FROM scheduled WHERE state = 0 LIMIT ?1)";
        Ok(self.0.conn().prepare_cached(count)?.query_row([limit], |row| row.get(0))?)
    }

    /// When the next is due.
    pub fn next_due(&self) -> Result<Option<Millis>, Error> {
        let select = "SELECT due FROM scheduled WHERE state = 0 ORDER BY due, seq LIMIT 1";
        let mut statement = self.0.conn().prepare_cached(select)?;
        Ok(statement.query_row([], |row| Ok(Millis(row.get(0)?))).optional()?)
    }

    /// The first whose time has come.
    pub fn first_due(&self, now: Millis) -> Result<Option<Due>, Error> {
        let select = "SELECT seq, wa_id, recipient, content, due, batch FROM scheduled
                      WHERE state = 0 AND due <= ?1 ORDER BY due, seq LIMIT 1";
        let due = |row: &Row<'_>| {
            Ok(Due {
                seq: row.get(0)?,
                wa_id: row.get(1)?,
                recipient: row.get(2)?,
                content: row.get(3)?,
                due: Millis(row.get(4)?),
                batch: row.get(5)?,
            })
        };
        Ok(self.0.conn().prepare_cached(select)?.query_row([sql(now.0)], due).optional()?)
    }

    /// It was handed to the queue. If it is late, the rest of its batch is as late: after an outage its sends leave at
    /// their pace, not all at once.
    pub fn left(&self, due: &Due, now: Millis) -> Result<(), Error> {
        let conn = self.0.conn();
        conn.prepare_cached("UPDATE scheduled SET state = 1, content = x'' WHERE seq = ?1")?
            .execute([due.seq])?;
        if let Some(batch) = &due.batch {
            // Every send is a little late; only what shows in the pace is made up for.
            let late = sql(now.0.saturating_sub(due.due.0));
            conn.prepare_cached(
                "UPDATE scheduled SET due = due + ?2 WHERE batch = ?1 AND state = 0
                 AND ?2 * 4 > (SELECT pace FROM batch WHERE id = ?1)",
            )?
            .execute(params![batch, late])?;
        }
        Ok(())
    }

    /// Cancels what has not left: the stage it had; `None` if there is no such send.
    pub fn cancel(&self, wa_id: &str) -> Result<Option<Stage>, Error> {
        let conn = self.0.conn();
        let stage = conn
            .prepare_cached("SELECT state FROM scheduled WHERE wa_id = ?1")?
            .query_row([wa_id], |row| row.get(0).map(Stage::from_code))
            .optional()?;
        conn.prepare_cached("UPDATE scheduled SET state = 2, content = x'' WHERE wa_id = ?1 AND state = 0")?
            .execute([wa_id])?;
        Ok(stage)
    }

    /// Cancels what of a batch has not left; how many that were.
    pub fn cancel_batch(&self, id: &str) -> Result<usize, Error> {
        let update = "UPDATE scheduled SET state = 2, content = x'' WHERE batch = ?1 AND state = 0";
        Ok(self.0.conn().prepare_cached(update)?.execute([id])?)
    }

    /// Nothing that waits can be sent any more.
    pub fn give_up(&self) -> Result<(), Error> {
        let update = "UPDATE scheduled SET state = 3, content = x'' WHERE state = 0";
        self.0.conn().prepare_cached(update)?.execute([])?;
        Ok(())
    }

    /// A send, whatever became of it.
    pub fn find(&self, wa_id: &str) -> Result<Option<Known>, Error> {
        let mut statement = self.0.conn().prepare_cached(&format!("{KNOWN} WHERE s.wa_id = ?1"))?;
        Ok(statement.query_row([wa_id], known).optional()?)
    }

    /// What waits, in the order in which it is due: one page of it, and how many there are.
    pub fn page(&self, skip: u64, limit: u32) -> Result<(Vec<Known>, u64), Error> {
        let mut statement = self
            .0
            .conn()
            .prepare_cached(&format!("{KNOWN} WHERE s.state = 0 ORDER BY s.due, s.seq LIMIT ?2 OFFSET ?1"))?;
        let rows = statement.query_map(params![sql(skip), limit], known)?.collect::<Result<_, _>>()?;
        Ok((rows, self.waiting(u32::MAX)?.into()))
    }

    /// A batch, and its sends in the order of the request.
    pub fn batch(&self, id: &str) -> Result<Option<(Batch, Vec<Known>)>, Error> {
        let select = "SELECT at, pace, rejected FROM batch WHERE id = ?1";
        let batch = |row: &Row<'_>| {
            Ok(Batch {
                at: Millis(row.get(0)?),
                pace: Duration::from_millis(row.get(1)?),
                rejected: row.get(2)?,
            })
        };
        let Some(batch) = self.0.conn().prepare_cached(select)?.query_row([id], batch).optional()? else {
            return Ok(None);
        };
        let mut statement =
            self.0.conn().prepare_cached(&format!("{KNOWN} WHERE s.batch = ?1 ORDER BY s.position"))?;
        let rows = statement.query_map([id], known)?.collect::<Result<_, _>>()?;
        Ok(Some((batch, rows)))
    }

    /// Forgets what was decided [`SCHEDULE_KEPT`] ago, a part at a time; returns how many.
    pub fn prune(&self, now: Millis) -> Result<usize, Error> {
        let kept = u64::try_from(SCHEDULE_KEPT.as_millis()).unwrap_or(u64::MAX);
        let horizon = sql(now.0.saturating_sub(kept));
        let conn = self.0.conn();
        let removed = conn
            .prepare_cached(
                "DELETE FROM scheduled WHERE seq IN
                 (SELECT seq FROM scheduled WHERE state <> 0 AND due < ?1 LIMIT ?2)",
            )?
            .execute(params![horizon, PRUNED])?;
        conn.prepare_cached(
            "DELETE FROM batch WHERE at < ?1 AND NOT EXISTS (SELECT 1 FROM scheduled WHERE batch = batch.id)",
        )?
        .execute([horizon])?;
        Ok(removed)
    }
}
