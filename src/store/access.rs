//! Idempotency keys, audit. (Tokens have a file of their own.)
use std::time::Duration;

use rusqlite::{OptionalExtension as _, params};

use super::{Error, Tx, sql, unsql};
use crate::clock::Millis;

/// How long an `Idempotency-Key` is remembered (instance-api.md §7.1).
pub const IDEMPOTENCY_KEPT: Duration = Duration::from_hours(24);
/// Audit rows kept; the oldest go first.
pub const AUDIT_KEPT: u64 = 10_000;

/// A client's own key for a safe retry (`Idempotency-Key`), already bound to the token and the body.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    pub token: i64,
    pub key: String,
    pub body_hash: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    pub body_hash: [u8; 32],
    pub message_id: String,
    /// answered 202
    pub queued: bool,
    pub at: Millis,
}

pub struct Idempotency<'a> {
    tx: &'a Tx<'a>,
}

impl<'t> Tx<'t> {
    pub fn idempotency(&self) -> Idempotency<'_> {
        Idempotency { tx: self }
    }

    pub fn audit(&self) -> Audit<'_> {
        Audit { tx: self }
    }
}

/// The time before which keys are forgotten.
fn horizon(now: Millis) -> i64 {
    sql(now.since(Millis(0)).saturating_sub(IDEMPOTENCY_KEPT).as_millis().try_into().unwrap_or(u64::MAX))
}

impl Idempotency<'_> {
    /// What the key was bound to within the last 24 h. (Whether the body is the same is for the caller to compare.)
    pub fn find(&self, key: &IdempotencyKey, now: Millis) -> Result<Option<Bound>, Error> {
        let select = "SELECT body_hash, message_id, queued, at FROM idempotency
                      WHERE token = ?1 AND key = ?2 AND at > ?3";
        let mut statement = self.tx.conn().prepare_cached(select)?;
        let bound = |row: &rusqlite::Row<'_>| {
            Ok(Bound {
                body_hash: row.get(0)?,
                message_id: row.get(1)?,
                queued: row.get(2)?,
                at: Millis(unsql(row.get(3)?)),
            })
        };
        Ok(statement.query_row(params![key.token, key.key, horizon(now)], bound).optional()?)
    }

    /// Binds the key to a message, in the transaction that stores it. Look first: a key bound before is bound anew.
    pub fn bind(
        &self,
        key: &IdempotencyKey,
        message_id: &str,
        queued: bool,
        now: Millis,
    ) -> Result<(), Error> {
        let insert = "INSERT OR REPLACE INTO idempotency (token, key, body_hash, message_id, queued, at)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut statement = self.tx.conn().prepare_cached(insert)?;
        statement.execute(params![key.token, key.key, key.body_hash, message_id, queued, sql(now.0)])?;
        Ok(())
    }

    /// Forgets keys older than 24 h; returns how many.
    pub fn prune(&self, now: Millis) -> Result<usize, Error> {
        let mut statement = self.tx.conn().prepare_cached("DELETE FROM idempotency WHERE at <= ?1")?;
        Ok(statement.execute([horizon(now)])?)
    }
}

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    pub id: i64,
    pub at: Millis,
    /// `command line`, `token 3`, `configuration` …
    pub actor: String,
    /// `token.create`, `token.revoke`, `hook.set` …
    pub action: String,
    /// What it was done to; no secret.
    pub detail: String,
}

pub struct Audit<'a> {
    tx: &'a Tx<'a>,
}

impl Audit<'_> {
    /// Notes one act, in the transaction that does it.
    pub fn note(&self, actor: &str, action: &str, detail: &str, now: Millis) -> Result<(), Error> {
        let insert = "INSERT INTO audit (at, actor, action, detail) VALUES (?1, ?2, ?3, ?4)";
        self.tx.conn().prepare_cached(insert)?.execute(params![sql(now.0), actor, action, detail])?;
        let excess = self.tx.conn().last_insert_rowid().saturating_sub(sql(AUDIT_KEPT));
        self.tx.conn().prepare_cached("DELETE FROM audit WHERE id <= ?1")?.execute([excess])?;
        Ok(())
    }

    /// The newest rows, newest first.
    pub fn newest(&self, limit: u32) -> Result<Vec<AuditRow>, Error> {
        let select = "SELECT id, at, actor, action, detail FROM audit ORDER BY id DESC LIMIT ?1";
        let mut statement = self.tx.conn().prepare_cached(select)?;
        let rows = statement.query_map([limit], |row| {
            Ok(AuditRow {
                id: row.get(0)?,
                at: Millis(unsql(row.get(1)?)),
                actor: row.get(2)?,
                action: row.get(3)?,
                detail: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
