//! What was done to messages after they were sent: reactions, votes, edits, deletions, receipts.

use rusqlite::{Row, params};

use super::{
    Error, Tx,
    device::jid,
    messages::{Message, Progress},
    sql, unsql,
};
use crate::{clock::Millis, wire::Jid};

/// Edits kept of one message; later ones take the place of the latest.
const REVISIONS: i64 = 100;

/// One person's reaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// Bare.
    pub author: Jid,
    /// Never empty: what was taken back is not listed.
    pub emoji: String,
    /// By the author's clock.
    pub at: Millis,
}

/// One person's vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Bare.
    pub voter: Jid,
    /// SHA-256 of each chosen option's name.
    pub options: Vec<[u8; 32]>,
    /// By the voter's clock.
    pub at: Millis,
}

/// Another content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// By the author's clock.
    pub at: Millis,
    /// Serialized waE2E.Message.
    pub content: Vec<u8>,
}

/// A level that a message of the account reached with one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Bare.
    pub person: Jid,
    /// Delivered, read or played.
    pub level: Progress,
    /// When the receipt came.
    pub at: Millis,
}

/// Access to what was done to messages.
pub struct AddOns<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// What was done to messages.
    pub fn addons(&self) -> AddOns<'_> {
        AddOns(self)
    }
}

impl AddOns<'_> {
    /// The name under which a person is kept here. A row may be older than the knowledge of it, so readers ask again.
    fn name(&self, person: &Jid) -> Result<Jid, Error> {
        self.0.people().signal_address(&person.bare())
    }

    /// Each person's latest row of a table with a row a person, earliest first.
    fn latest<T>(
        &self,
        sql: &str,
        message: i64,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
        of: impl Fn(&mut T) -> &mut Jid,
    ) -> Result<Vec<T>, Error> {
        let mut statement = self.0.conn().prepare_cached(sql)?;
        let mut latest: Vec<T> = Vec::new();
        for row in statement.query_map([message], |row| read(row))? {
            let mut row = row?;
            let person = self.name(of(&mut row))?;
            *of(&mut row) = person.clone();
            latest.retain_mut(|other| *of(other) != person);
            latest.push(row);
        }
        Ok(latest)
    }

    /// A person's reaction to a message: the latest counts, whatever order they come in. An empty emoji takes it back.
    pub fn react(&self, message: i64, author: &Jid, emoji: &str, at: Millis) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "INSERT INTO reaction (message, author, emoji, at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET emoji = excluded.emoji, at = excluded.at WHERE excluded.at >= at",
            )?
            .execute(params![message, self.name(author)?.to_wire(), emoji, sql(at.0)])?;
        Ok(())
    }

    /// Who reacted to a message, earliest first.
    pub fn reactions(&self, message: i64) -> Result<Vec<Reaction>, Error> {
        let mut rows = self.latest(
            "SELECT author, emoji, at FROM reaction WHERE message = ?1 ORDER BY at, author",
            message,
            |row| {
                Ok(Reaction { author: jid(row.get(0)?)?, emoji: row.get(1)?, at: Millis(unsql(row.get(2)?)) })
            },
            |row| &mut row.author,
        )?;
        rows.retain(|row| !row.emoji.is_empty());
        Ok(rows)
    }

    /// A person's vote in a poll: the latest counts. `true` if it changed anything. No options: withdrawn.
    pub fn vote(&self, poll: i64, voter: &Jid, options: &[[u8; 32]], at: Millis) -> Result<bool, Error> {
        let changed = self
            .0
            .conn()
            .prepare_cached(
                "INSERT INTO poll_vote (message, voter, options, at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET options = excluded.options, at = excluded.at WHERE excluded.at >= at",
            )?
            .execute(params![poll, self.name(voter)?.to_wire(), options.concat(), sql(at.0)])?;
        Ok(changed > 0)
    }

    /// The votes of a poll that stand, earliest first.
    pub fn votes(&self, poll: i64) -> Result<Vec<Vote>, Error> {
        let mut rows = self.latest(
            "SELECT voter, options, at FROM poll_vote WHERE message = ?1 ORDER BY at, voter",
            poll,
            |row| {
                let options: Vec<u8> = row.get(1)?;
                let (options, _) = options.as_chunks::<32>();
                let at = Millis(unsql(row.get(2)?));
                Ok(Vote { voter: jid(row.get(0)?)?, options: options.to_vec(), at })
            },
            |row| &mut row.voter,
        )?;
        rows.retain(|row| !row.options.is_empty());
        Ok(rows)
    }

    /// A message says something else from now on.
    pub fn revise(&self, message: i64, content: &[u8], at: Millis) -> Result<(), Error> {
        let conn = self.0.conn();
        conn.prepare_cached("INSERT OR REPLACE INTO revision (message, at, content) VALUES (?1, ?2, ?3)")?
            .execute(params![message, sql(at.0), content])?;
        conn.prepare_cached(
            "DELETE FROM revision WHERE message = ?1 AND at NOT IN
                 (SELECT at FROM revision WHERE message = ?1 ORDER BY at DESC LIMIT ?2)",
        )?
        .execute([message, REVISIONS])?;
        Ok(())
    }

    /// Every edit of a message, earliest first.
    pub fn revisions(&self, message: i64) -> Result<Vec<Revision>, Error> {
        let mut statement = self
            .0
            .conn()
            .prepare_cached("SELECT at, content FROM revision WHERE message = ?1 ORDER BY at")?;
        let rows = statement.query_map([message], |row| {
            Ok(Revision { at: Millis(unsql(row.get(0)?)), content: row.get(1)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What a message says now: its latest edit, else what it said first.
    pub fn current(&self, message: &Message) -> Result<Vec<u8>, Error> {
        Ok(self.revisions(message.id)?.pop().map_or_else(|| message.content.clone(), |latest| latest.content))
    }

    /// A message was taken back; the first time counts.
    pub fn delete(&self, message: i64, at: Millis) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE message SET deleted_at = ?2 WHERE id = ?1 AND deleted_at IS NULL")?
            .execute(params![message, sql(at.0)])?;
        Ok(())
    }

    /// When a message was taken back, if it was.
    pub fn deleted_at(&self, message: i64) -> Result<Option<Millis>, Error> {
        let at: Option<i64> = self
            .0
            .conn()
            .prepare_cached("SELECT deleted_at FROM message WHERE id = ?1")?
            .query_row([message], |row| row.get(0))?;
        Ok(at.map(|at| Millis(unsql(at))))
    }

    /// A recipient of a message of the account has it, read it or played it. The first receipt of a level counts.
    pub fn reached(&self, message: i64, person: &Jid, level: Progress, at: Millis) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "INSERT OR IGNORE INTO receipt (message, person, level, at) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![message, self.name(person)?.to_wire(), level as u8, sql(at.0)])?;
        Ok(())
    }

    /// What is known of a message's recipients, by person and level.
    pub fn receipts(&self, message: i64) -> Result<Vec<Reached>, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "SELECT person, level, at FROM receipt WHERE message = ?1 ORDER BY person, level",
        )?;
        let rows = statement.query_map([message], |row| {
            Ok(Reached {
                person: jid(row.get(0)?)?,
                level: Progress::from_code(row.get(1)?),
                at: Millis(unsql(row.get(2)?)),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
