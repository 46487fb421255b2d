//! History from the phone: what it announced, what of it is in the tables, what somebody asked for, and how far back the
//! messages of a chat go.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Error, Tx, device::jid, messages::MessageKey, sql, unsql};
use crate::{clock::Millis, wire::Jid};

/// Announcements that wait at most. A phone with ten years of chats announces some hundreds.
const MAX_WAITING: i64 = 10_000;
/// Messages remembered at a time that may yet come by themselves.
const MAX_UNTOLD: i64 = 1_000;

/// Messages that wait for the one that they are about, in all; a busy group has a few a day.
const MAX_EARLY: i64 = 10_000;
/// The same of one message.
const MAX_EARLY_OF_ONE: i64 = 500;
/// So long they wait, in milliseconds: 60 days. The server keeps what it could not deliver for 30.
const EARLY_LASTS_MS: u64 = 60 * 24 * 3_600_000;

/// A message that is about one that has not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Early {
    /// Its row.
    pub message: i64,
    /// It came live, so it is told once the other one is here.
    pub live: bool,
}

/// What the phone announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced<'a> {
    /// Of the message that said it.
    pub wa_id: &'a str,
    /// Serialized HistorySyncNotification.
    pub notification: &'a [u8],
    /// HistorySyncType.
    pub sync_type: i32,
    /// Among those of its type, from 1.
    pub chunk: u32,
    /// Percent of all of its type once this one is read.
    pub progress: Option<u32>,
    /// The request that it answers.
    pub request: Option<&'a str>,
}

/// An announcement whose content is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    pub seq: i64,
    pub notification: Vec<u8>,
    pub sync_type: i32,
    pub chunk: u32,
    pub progress: Option<u32>,
    pub request: Option<String>,
    /// Pieces of it that are in the tables.
    pub taken: u64,
    /// How often it could not be had.
    pub attempts: u32,
    pub chats: u64,
    /// Messages that were not known before.
    pub messages: u64,
}

/// Where history stands, for whoever looks from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub waiting: u64,
    pub done: u64,
    pub given_up: u64,
    /// When the oldest was announced of those that were tried in vain and wait to be tried again.
    pub stuck: Option<Millis>,
    /// Messages that came by history.
    pub messages: u64,
    /// Percent of the recent history that is read; `None`: none was announced.
    pub recent: Option<u32>,
    /// The same of the full history.
    pub full: Option<u32>,
    /// Why the last one that was given up was.
    pub last_error: Option<String>,
}

/// Older messages of a chat that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Of the question to the phone.
    pub id: String,
    pub chat: i64,
    pub at: Millis,
}

/// The message before which older ones are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    pub wa_id: String,
    pub from_me: bool,
    pub at: Millis,
}

/// How far back the messages of a chat go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Id and time of the oldest message held, what was deleted here included.
    pub oldest: Option<(String, Millis)>,
    /// Whether the phone has older ones; `None`: it has not said.
    pub more: Option<bool>,
}

pub struct History<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// History from the phone.
    pub fn history(&self) -> History<'_> {
        History(self)
    }
}

fn work(row: &Row<'_>) -> rusqlite::Result<Work> {
    Ok(Work {
        seq: row.get(0)?,
        notification: row.get(1)?,
        sync_type: row.get(2)?,
        chunk: row.get(3)?,
        progress: row.get(4)?,
        request: row.get(5)?,
        taken: unsql(row.get(6)?),
        attempts: row.get(7)?,
        chats: unsql(row.get(8)?),
        messages: unsql(row.get(9)?),
    })
}

const WORK: &str =
    "SELECT seq, notification, sync_type, chunk, progress, request, taken, attempts, chats, messages
    FROM history_work";

impl History<'_> {
    /// Notes an announcement; `false`: it was known, or too many wait.
    pub fn announce(&self, what: &Announced<'_>, now: Millis) -> Result<bool, Error> {
        let conn = self.0.conn();
        let waiting: i64 = conn
            .prepare_cached("SELECT count(*) FROM history_work WHERE state = 0")?
            .query_row([], |row| row.get(0))?;
        if waiting >= MAX_WAITING {
            return Ok(false);
        }
        let added = conn
            .prepare_cached(
                "INSERT OR IGNORE INTO history_work (wa_id, notification, sync_type, chunk, progress, request, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                what.wa_id,
                what.notification,
                what.sync_type,
                what.chunk,
                what.progress,
                what.request,
                sql(now.0)
            ])?;
        Ok(added == 1)
    }

    /// What is to be read next: answers to requests first, then in the order of the announcements. What may not be tried
    /// again yet holds nothing else up.
    pub fn next(&self, now: Millis) -> Result<Option<Work>, Error> {
        let mut statement = self.0.conn().prepare_cached(&format!(
            "{WORK} WHERE state = 0 AND next_at <= ?1 ORDER BY request IS NULL, seq LIMIT 1"
        ))?;
        Ok(statement.query_row([sql(now.0)], work).optional()?)
    }

    /// When the next one may be tried; `None`: nothing waits.
    pub fn next_at(&self) -> Result<Option<Millis>, Error> {
        let mut statement =
            self.0.conn().prepare_cached("SELECT min(next_at) FROM history_work WHERE state = 0")?;
        let at: Option<i64> = statement.query_row([], |row| row.get(0))?;
        Ok(at.map(|at| Millis(unsql(at))))
    }

    pub fn by_seq(&self, seq: i64) -> Result<Option<Work>, Error> {
        let mut statement = self.0.conn().prepare_cached(&format!("{WORK} WHERE seq = ?1 AND state = 0"))?;
        Ok(statement.query_row([seq], work).optional()?)
    }

    /// So many more pieces of it are in the tables.
    pub fn took(&self, seq: i64, pieces: u64, chats: u64, messages: u64) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "UPDATE history_work SET taken = taken + ?2, chats = chats + ?3, messages = messages + ?4
                 WHERE seq = ?1",
            )?
            .execute(params![seq, sql(pieces), sql(chats), sql(messages)])?;
        Ok(())
    }

    /// It could not be had; not before `again` it is tried once more.
    pub fn put_off(&self, seq: i64, again: Millis, counts: bool) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE history_work SET attempts = attempts + ?3, next_at = ?2 WHERE seq = ?1")?
            .execute(params![seq, sql(again.0), counts])?;
        Ok(())
    }

    /// Nothing is put off beyond `latest`: what is, was before the clock was set back.
    pub fn pull_in(&self, latest: Millis) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE history_work SET next_at = ?1 WHERE state = 0 AND next_at > ?1")?
            .execute([sql(latest.0)])?;
        Ok(())
    }

    /// Read to its end, or given up with a reason.
    pub fn finish(&self, seq: i64, error: Option<&str>) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "UPDATE history_work SET state = iif(?2 IS NULL, 1, 2), error = ?2, notification = x''
                 WHERE seq = ?1",
            )?
            .execute(params![seq, error])?;
        Ok(())
    }

    /// Where everything stands.
    pub fn standing(&self) -> Result<Standing, Error> {
        let conn = self.0.conn();
        let mut standing = conn
            .prepare_cached(
                "SELECT count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 1),
                        count(*) FILTER (WHERE state = 2), coalesce(sum(messages), 0),
                        max(iif(state > 0, coalesce(progress, 0), 0)) FILTER (WHERE sync_type = 3),
                        max(iif(state > 0, coalesce(progress, 0), 0)) FILTER (WHERE sync_type = 2),
                        min(at) FILTER (WHERE state = 0 AND next_at > 0 AND at > 0)
                 FROM history_work",
            )?
            .query_row([], |row| {
                Ok(Standing {
                    waiting: unsql(row.get(0)?),
                    done: unsql(row.get(1)?),
                    given_up: unsql(row.get(2)?),
                    messages: unsql(row.get(3)?),
                    recent: row.get(4)?,
                    full: row.get(5)?,
                    stuck: row.get::<_, Option<i64>>(6)?.map(|at| Millis(unsql(at))),
                    last_error: None,
                })
            })?;
        standing.last_error = conn
            .prepare_cached("SELECT error FROM history_work WHERE state = 2 ORDER BY seq DESC LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?
            .flatten();
        Ok(standing)
    }

    /// Keeps a question to the phone.
    pub fn ask(&self, id: &str, chat: i64, count: u32, now: Millis) -> Result<(), Error> {
        let conn = self.0.conn();
        // Those of earlier times say nothing any more.
        conn.prepare_cached("DELETE FROM history_request WHERE state > 0 AND at < ?1")?
            .execute([sql(now.0.saturating_sub(7 * 24 * 3_600_000))])?;
        conn.prepare_cached("INSERT INTO history_request (id, chat, count, at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![id, chat, count, sql(now.0)])?;
        Ok(())
    }

    fn asked(row: &Row<'_>) -> rusqlite::Result<Asked> {
        Ok(Asked { id: row.get(0)?, chat: row.get(1)?, at: Millis(unsql(row.get(2)?)) })
    }

    /// The questions that wait for an answer, oldest first; of one chat, if one is named.
    pub fn unanswered(&self, chat: Option<i64>) -> Result<Vec<Asked>, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "SELECT id, chat, at FROM history_request WHERE state = 0 AND (?1 IS NULL OR chat = ?1) ORDER BY at",
        )?;
        Ok(statement.query_map([chat], Self::asked)?.collect::<Result<_, _>>()?)
    }

    /// A question by its id, answered or not.
    pub fn question(&self, id: &str) -> Result<Option<Asked>, Error> {
        let mut statement =
            self.0.conn().prepare_cached("SELECT id, chat, at FROM history_request WHERE id = ?1")?;
        Ok(statement.query_row([id], Self::asked).optional()?)
    }

    /// The phone answered, or did not in time.
    pub fn settle(&self, id: &str, answered: bool) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE history_request SET state = iif(?2, 1, 2) WHERE id = ?1")?
            .execute(params![id, answered])?;
        Ok(())
    }

    /// Nobody was told of this message, which may yet come by itself. So many are remembered, the newest ones.
    pub fn is_untold(&self, message: i64) -> Result<(), Error> {
        let conn = self.0.conn();
        conn.prepare_cached("INSERT OR IGNORE INTO untold (message) VALUES (?1)")?.execute([message])?;
        conn.prepare_cached(
            "DELETE FROM untold WHERE message IN (SELECT message FROM untold ORDER BY message DESC LIMIT -1 OFFSET ?1)",
        )?
        .execute([MAX_UNTOLD])?;
        Ok(())
    }

    /// Whether nobody was told of this message; now somebody is.
    pub fn take_untold(&self, message: i64) -> Result<bool, Error> {
        let taken =
            self.0.conn().prepare_cached("DELETE FROM untold WHERE message = ?1")?.execute([message])?;
        Ok(taken > 0)
    }

    /// This message does something to one that has not come yet. Of those that wait for the same one, and of all, the
    /// newest are kept, and none for ever.
    pub fn comes_early(&self, chat: i64, target: &str, early: Early, now: Millis) -> Result<(), Error> {
        let conn = self.0.conn();
        conn.prepare_cached(
            "INSERT OR IGNORE INTO history_late (chat, target, message, live, at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![chat, target, early.message, early.live, sql(now.0)])?;
        conn.prepare_cached(
            "DELETE FROM history_late WHERE chat = ?1 AND target = ?2 AND message <=
                 (SELECT message FROM history_late WHERE chat = ?1 AND target = ?2
                  ORDER BY message DESC LIMIT 1 OFFSET ?3)",
        )?
        .execute(params![chat, target, MAX_EARLY_OF_ONE])?;
        conn.prepare_cached(
            "DELETE FROM history_late WHERE message <=
                 (SELECT message FROM history_late ORDER BY message DESC LIMIT 1 OFFSET ?1)",
        )?
        .execute([MAX_EARLY])?;
        conn.prepare_cached("DELETE FROM history_late WHERE at BETWEEN 1 AND ?1")?
            .execute([sql(now.0.saturating_sub(EARLY_LASTS_MS))])?;
        Ok(())
    }

    /// The messages that waited for this one, in the order of their times.
    pub fn take_early(&self, chat: i64, target: &str) -> Result<Vec<Early>, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "SELECT l.message, l.live FROM history_late l JOIN message m ON m.id = l.message
             WHERE l.chat = ?1 AND l.target = ?2 ORDER BY m.at, m.id",
        )?;
        let rows: Vec<Early> = statement
            .query_map(params![chat, target], |row| Ok(Early { message: row.get(0)?, live: row.get(1)? }))?
            .collect::<Result<_, _>>()?;
        if !rows.is_empty() {
            self.0
                .conn()
                .prepare_cached("DELETE FROM history_late WHERE chat = ?1 AND target = ?2")?
                .execute(params![chat, target])?;
        }
        Ok(rows)
    }

    /// What a message said first, and when, where something later stood in for it.
    pub fn restore(&self, message: i64, at: Millis, content: &[u8]) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE message SET at = ?2, content = ?3 WHERE id = ?1")?
            .execute(params![message, sql(at.0), content])?;
        Ok(())
    }

    /// Notes that history told of a chat; `true` the first time.
    pub fn tells_of(&self, chat: i64, now: Millis) -> Result<bool, Error> {
        let told = self
            .0
            .conn()
            .prepare_cached("UPDATE chat SET history_at = ?2 WHERE id = ?1 AND history_at IS NULL")?
            .execute(params![chat, sql(now.0)])?;
        Ok(told > 0)
    }

    /// As the phone calls a chat.
    pub fn set_name(&self, chat: i64, name: &str) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE chat SET name = ?2 WHERE id = ?1 AND name IS NOT ?2")?
            .execute(params![chat, name])?;
        Ok(())
    }

    /// Whether the phone has older messages of a chat than it sent.
    pub fn set_more(&self, chat: i64, more: bool) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE chat SET history_more = ?2 WHERE id = ?1")?
            .execute(params![chat, more])?;
        Ok(())
    }

    /// How far back the messages of a chat go.
    pub fn coverage(&self, chat: i64) -> Result<Coverage, Error> {
        let conn = self.0.conn();
        let more = conn
            .prepare_cached("SELECT history_more FROM chat WHERE id = ?1")?
            .query_row([chat], |row| row.get(0))
            .optional()?
            .flatten();
        let oldest = conn
            .prepare_cached("SELECT wa_id, at FROM message WHERE chat = ?1 ORDER BY at, id LIMIT 1")?
            .query_row([chat], |row| Ok((row.get(0)?, Millis(unsql(row.get(1)?)))))
            .optional()?;
        Ok(Coverage { oldest, more })
    }

    /// The oldest message of a chat that the phone knows, too: not one that never left.
    pub fn anchor(&self, chat: i64) -> Result<Option<Anchor>, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "SELECT wa_id, from_me, at FROM message WHERE chat = ?1 AND NOT (from_me = 1 AND status < 2)
             ORDER BY at, id LIMIT 1",
        )?;
        let anchor = |row: &Row<'_>| {
            Ok(Anchor { wa_id: row.get(0)?, from_me: row.get(1)?, at: Millis(unsql(row.get(2)?)) })
        };
        Ok(statement.query_row([chat], anchor).optional()?)
    }

    /// The key of a message that is known, under whatever name of its author; an own one also without.
    pub fn same(&self, key: &MessageKey) -> Result<Option<(i64, MessageKey)>, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "SELECT id, participant FROM message WHERE chat = ?1 AND wa_id = ?2 AND from_me = ?3",
        )?;
        let rows = statement.query_map(params![key.chat, key.wa_id, key.from_me], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })?;
        let people = self.0.people();
        let address =
            |jid: &Option<Jid>| jid.as_ref().map(|jid| people.signal_address(&jid.bare())).transpose();
        for row in rows {
            let (id, participant) = row?;
            let participant = if participant.is_empty() { None } else { Some(jid(participant)?) };
            if key.from_me || address(&participant)? == address(&key.participant)? {
                return Ok(Some((id, MessageKey { participant, ..key.clone() })));
            }
        }
        Ok(None)
    }

    /// Of the messages received in a chat, so many newest ones up to `until` are unread, and the rest is read.
    pub fn leave_unread(&self, chat: i64, count: u32, until: Millis) -> Result<(), Error> {
        let conn = self.0.conn();
        // Times are whole seconds; a millisecond less leaves the oldest unread one behind the mark.
        let edge: Option<i64> = match count {
            0 => Some(sql(until.0)),
            count => conn
                .prepare_cached(
                    "SELECT min(at) - 1 FROM (SELECT at FROM message WHERE chat = ?1 AND from_me = 0 AND aside = 0
                         AND deleted = 0 AND at <= ?2 ORDER BY at DESC LIMIT ?3)",
                )?
                .query_row(params![chat, sql(until.0), count], |row| row.get(0))?,
        };
        // None is here yet: whatever comes later is older.
        let edge = edge.unwrap_or_else(|| sql(until.0.saturating_sub(1)));
        self.0.chats().read_until(chat, Millis(unsql(edge)))?;
        Ok(())
    }
}
