//! How much waits, and for how long: what `GET /health/details` tells of the database.

use super::{Error, Tx, unsql};
use crate::clock::Millis;

/// What waits in one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    pub rows: u64,
    /// When the oldest of them came, or was due.
    pub oldest: Option<Millis>,
}

/// All queues, and the database itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// Sends that WhatsApp has not acknowledged, and that nothing holds back.
    pub outgoing: Waiting,
    /// Sends that wait until the account may write to people who never wrote to it.
    pub held: Waiting,
    /// Messages that could not be decrypted yet.
    pub undecryptable: Waiting,
    /// Sends whose time has not come, or has and they have not left.
    pub scheduled: Waiting,
    /// Changes of app state that are not written yet.
    pub app_state: u64,
    /// Numbers of the event log, oldest kept and newest.
    pub events: (u64, u64),
    /// Bytes of the database, and of those that are free for reuse.
    pub bytes: (u64, u64),
}

pub struct Health<'a> {
    tx: &'a Tx<'a>,
}

impl<'t> Tx<'t> {
    pub fn health(&self) -> Health<'_> {
        Health { tx: self }
    }
}

impl Health<'_> {
    /// All queues as they are.
    pub fn queues(&self) -> Result<Queues, Error> {
        let pages = self.number("PRAGMA page_size")?;
        let newest = self.tx.events().newest()?;
        Ok(Queues {
            outgoing: self.waiting("SELECT COUNT(*), MIN(at) FROM outgoing WHERE held = 0")?,
            held: self.tx.standing().held()?,
            undecryptable: self.waiting("SELECT COUNT(*), MIN(at) FROM inbound_pending")?,
            scheduled: self.waiting("SELECT COUNT(*), MIN(due) FROM scheduled WHERE state = 0")?,
            app_state: self.tx.app_state().waiting()?,
            events: (self.tx.events().oldest()?.unwrap_or(newest), newest),
            bytes: (
                self.number("PRAGMA page_count")?.saturating_mul(pages),
                self.number("PRAGMA freelist_count")?.saturating_mul(pages),
            ),
        })
    }

    fn waiting(&self, select: &str) -> Result<Waiting, Error> {
        let mut statement = self.tx.conn().prepare_cached(select)?;
        Ok(statement.query_row([], |row| {
            let oldest = row.get::<_, Option<i64>>(1)?.map(|at| Millis(unsql(at)));
            Ok(Waiting { rows: unsql(row.get(0)?), oldest })
        })?)
    }

    fn number(&self, pragma: &str) -> Result<u64, Error> {
        Ok(unsql(self.tx.conn().query_row(pragma, [], |row| row.get(0))?))
    }
}
