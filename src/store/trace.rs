//! What became of one message, step by step: derived from the queue, the log of events and the hooks, and from the little
//! that only this keeps (departures, messages that could not be decrypted at first, posts to hooks).

use std::time::Duration;

use rusqlite::{OptionalExtension as _, params};

use super::{
    Error, Tx,
    device::jid,
    hooks::{Kind, Pause},
    messages::Message,
    sql, unsql,
};
use crate::{clock::Millis, wire::Jid};

/// Posts kept of one event and hook: the first, and the latest of so many.
const ATTEMPTS: u32 = 20;
/// Events of one message that are told; it has a handful.
const EVENTS: u32 = 200;

/// One post to a hook, as it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub seq: u64,
    /// When it began.
    pub at: Millis,
    /// From 1.
    pub attempt: u32,
    pub took: Duration,
    /// `delivered`, or why not: `http 500`, `timeout` …
    pub result: String,
    /// When it is tried again.
    pub next_at: Option<Millis>,
}

/// A post to a hook, with the hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    pub hook: i64,
    pub kind: Kind,
    pub attempt: Attempt,
}

/// How a message came to be readable after all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// Of the first attempt to decrypt it.
    pub at: Millis,
    /// Those that failed.
    pub attempts: u32,
    /// Of the last one.
    pub reason: String,
}

/// An event about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub seq: u64,
    pub at: Millis,
    pub kind: String,
    /// With `message.status`: the word for where it stands.
    pub status: Option<String>,
}

/// An event that a hook is still to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    pub hook: i64,
    pub kind: Kind,
    pub seq: u64,
    pub paused: Option<Pause>,
    pub next_at: Option<Millis>,
}

/// An event that a hook was not given in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutAside {
    pub hook: i64,
    pub seq: u64,
    pub at: Millis,
    pub attempts: u32,
    pub error: String,
}

/// What a send in the queue waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// To whom it goes is not known yet.
    Recipient,
    /// Devices or keys, or a connection to ask for them.
    Keys,
    /// It has left, and WhatsApp has not said that it has it.
    Acknowledgement,
}

/// Access to what became of messages.
pub struct Trace<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// What became of messages.
    pub fn trace(&self) -> Trace<'_> {
        Trace(self)
    }
}

impl Trace<'_> {
    /// A message left, encrypted for so many devices.
    pub fn left(&self, message: i64, devices: usize, now: Millis) -> Result<(), Error> {
        let update = "UPDATE message SET left_at = ?2, devices = ?3 WHERE id = ?1";
        let row = params![message, sql(now.0), sql(devices as u64)];
        self.0.conn().prepare_cached(update)?.execute(row)?;
        Ok(())
    }

    /// When a message left, and for how many devices.
    pub fn departure(&self, message: i64) -> Result<Option<(Millis, u64)>, Error> {
        let select =
            "SELECT left_at, COALESCE(devices, 0) FROM message WHERE id = ?1 AND left_at IS NOT NULL";
        let mut statement = self.0.conn().prepare_cached(select)?;
        let found =
            statement.query_row([message], |row| Ok((Millis(unsql(row.get(0)?)), unsql(row.get(1)?))));
        Ok(found.optional()?)
    }

    /// How a message came to be readable after all; `None`: it was at once, or nobody knows any more.
    pub fn late(&self, message: &Message) -> Result<Option<Late>, Error> {
        let select = "SELECT at, attempts, reason FROM late
                      WHERE chat = ?1 AND wa_id = ?2 AND from_me = ?3 AND participant = ?4";
        let key = &message.key;
        let participant = key.participant.as_ref().map(Jid::to_wire).unwrap_or_default();
        let mut statement = self.0.conn().prepare_cached(select)?;
        let found = statement.query_row(params![key.chat, key.wa_id, key.from_me, participant], |row| {
            Ok(Late { at: Millis(unsql(row.get(0)?)), attempts: row.get(1)?, reason: row.get(2)? })
        });
        Ok(found.optional()?)
    }

    /// What devices were sent again of a message, oldest first: which, the count of the retry, when.
    pub fn resent(&self, message: i64) -> Result<Vec<(Jid, u32, Millis)>, Error> {
        let select = "SELECT device, count, at FROM resend WHERE message = ?1 ORDER BY at LIMIT ?2";
        let mut statement = self.0.conn().prepare_cached(select)?;
        let rows = statement.query_map(params![message, EVENTS], |row| {
            Ok((jid(row.get(0)?)?, row.get(1)?, Millis(unsql(row.get(2)?))))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What a send in the queue waits for; `None`: it is not in the queue.
    pub fn waits_for(&self, wa_id: &str) -> Result<Option<WaitsFor>, Error> {
        let row = self.0.queue().find(wa_id)?;
        Ok(row.map(|row| match (row.message, row.stanza) {
            (_, Some(_)) => WaitsFor::Acknowledgement,
            (Some(_), None) => WaitsFor::Keys,
            (None, None) => WaitsFor::Recipient,
        }))
    }

    /// Events about a message, as far as the log goes back; in the lanes of its chat.
    pub fn told(&self, message: &Message) -> Result<Vec<Told>, Error> {
        let Some(chat) = self.0.messages().chat_by_id(message.key.chat)? else { return Ok(Vec::new()) };
        let select = "SELECT seq, at, kind, json_extract(data, '$.new_status') FROM event
                      WHERE lane IN (?1, ?2) AND instr(data, ?3) > 0
                      AND json_extract(data, '$.whatsapp_message_id') = ?3 ORDER BY seq LIMIT ?4";
        let jid = chat.jid.to_wire();
        let alt = chat.alt.as_ref().map_or_else(|| jid.clone(), Jid::to_wire);
        let mut statement = self.0.conn().prepare_cached(select)?;
        let rows = statement.query_map(params![jid, alt, message.key.wa_id, EVENTS], |row| {
            Ok(Told {
                seq: unsql(row.get(0)?),
                at: Millis(unsql(row.get(1)?)),
                kind: row.get(2)?,
                status: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Keeps how posts to a hook ended; nothing if the hook has gone.
    pub(super) fn tried(&self, hook: i64, attempts: &[Attempt]) -> Result<(), Error> {
        let insert = "INSERT OR REPLACE INTO delivery (seq, hook, at, attempt, took, result, next_at)
                      SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE EXISTS (SELECT 1 FROM hook WHERE id = ?2)";
        let mut insert = self.0.conn().prepare_cached(insert)?;
        for Attempt { seq, at, attempt, took, result, next_at } in attempts {
            let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let next_at = next_at.map(|at| sql(at.0));
            insert.execute(params![sql(*seq), hook, sql(at.0), attempt, sql(took), result, next_at])?;
            if let Some(last) = attempt.checked_sub(ATTEMPTS) {
                let delete =
                    "DELETE FROM delivery WHERE seq = ?1 AND hook = ?2 AND attempt > 1 AND attempt <= ?3";
                self.0.conn().prepare_cached(delete)?.execute(params![sql(*seq), hook, last])?;
            }
        }
        Ok(())
    }

    /// Every post of an event that is kept, oldest first.
    pub fn posted(&self, seq: u64) -> Result<Vec<Posted>, Error> {
        let select = "SELECT hook, hook.kind, at, attempt, took, result, next_at
                      FROM delivery JOIN hook ON hook.id = delivery.hook WHERE seq = ?1 ORDER BY at";
        let mut statement = self.0.conn().prepare_cached(select)?;
        let rows = statement.query_map([sql(seq)], |row| {
            Ok(Posted {
                hook: row.get(0)?,
                kind: Kind::of(row, 1)?,
                attempt: Attempt {
                    seq,
                    at: Millis(unsql(row.get(2)?)),
                    attempt: row.get(3)?,
                    took: Duration::from_millis(unsql(row.get(4)?)),
                    result: row.get(5)?,
                    next_at: row.get::<_, Option<i64>>(6)?.map(|at| Millis(unsql(at))),
                },
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Hooks that are still to have an event: those that want it, and stand before it.
    pub fn owed(&self, seq: u64) -> Result<Vec<Owed>, Error> {
        let select = "SELECT hook.id, hook.kind, hook.paused, hook_lane.next_at FROM event JOIN hook ON hook.active
                      LEFT JOIN hook_lane ON hook_lane.hook = hook.id AND hook_lane.lane = event.lane
                      WHERE event.seq = ?1 AND event.seq > COALESCE(hook_lane.done, hook.cursor)
                      AND CASE hook.kind WHEN 'platform' THEN event.path IS NOT NULL
                          ELSE EXISTS (SELECT 1 FROM json_each(hook.events) WHERE value IN ('*', event.kind)) END
                      ORDER BY hook.id";
        let mut statement = self.0.conn().prepare_cached(select)?;
        let rows = statement.query_map([sql(seq)], |row| {
            let next_at = row.get::<_, Option<i64>>(3)?.map(|at| Millis(unsql(at)));
            Ok(Owed {
                hook: row.get(0)?,
                kind: Kind::of(row, 1)?,
                seq,
                paused: row.get::<_, Option<String>>(2)?.as_deref().map(Pause::of),
                next_at: next_at.filter(|at| at.0 > 0),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Where an event was put aside.
    pub fn put_aside(&self, seq: u64) -> Result<Vec<PutAside>, Error> {
        let select = "SELECT hook, aside, attempts, error FROM dead_letter WHERE seq = ?1 ORDER BY hook";
        let mut statement = self.0.conn().prepare_cached(select)?;
        let rows = statement.query_map([sql(seq)], |row| {
            Ok(PutAside {
                hook: row.get(0)?,
                seq,
                at: Millis(unsql(row.get(1)?)),
                attempts: row.get(2)?,
                error: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Forgets the posts of events up to `upto`, and what was late before `older_than`.
    pub(super) fn prune(&self, upto: u64, older_than: Millis) -> Result<(), Error> {
        self.0.conn().prepare_cached("DELETE FROM delivery WHERE seq <= ?1")?.execute([sql(upto)])?;
        self.0.conn().prepare_cached("DELETE FROM late WHERE at < ?1")?.execute([sql(older_than.0)])?;
        Ok(())
    }
}
