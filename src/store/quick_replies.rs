//! Quick replies: texts that the account's user keeps for answers. Written by app state alone.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Error, Tx};
use crate::clock::Millis;

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuickReply {
    /// Names it.
    pub id: String,
    /// What is typed for it.
    pub shortcut: String,
    /// What is said.
    pub message: String,
    /// Words that suggest it.
    pub keywords: Vec<String>,
    /// How often it was used, as the apps count.
    pub used: i32,
}

/// Access to quick replies.
pub struct QuickReplies<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// Texts kept for answers.
    pub fn quick_replies(&self) -> QuickReplies<'_> {
        QuickReplies(self)
    }
}

fn reply(row: &Row<'_>) -> rusqlite::Result<QuickReply> {
    let keywords: String = row.get(3)?;
    Ok(QuickReply {
        id: row.get(0)?,
        shortcut: row.get(1)?,
        message: row.get(2)?,
        keywords: serde_json::from_str(&keywords).unwrap_or_default(),
        used: row.get(4)?,
    })
}

impl QuickReplies<'_> {
    /// All of them, in the order of their shortcuts.
    pub fn list(&self) -> Result<Vec<QuickReply>, Error> {
        let select = "SELECT id, shortcut, message, keywords, used FROM quick_reply ORDER BY shortcut, id";
        let mut statement = self.0.conn().prepare_cached(select)?;
        Ok(statement.query_map([], reply)?.collect::<Result<_, _>>()?)
    }

    /// One of them.
    pub fn find(&self, id: &str) -> Result<Option<QuickReply>, Error> {
        let select = "SELECT id, shortcut, message, keywords, used FROM quick_reply WHERE id = ?1";
        Ok(self.0.conn().prepare_cached(select)?.query_row([id], reply).optional()?)
    }

    /// How many there are.
    pub fn count(&self) -> Result<u64, Error> {
        let mut statement = self.0.conn().prepare_cached("SELECT count(*) FROM quick_reply")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// An id that none has, nor one that is just being made: Unix seconds, as Baileys makes them.
    pub fn take_id(&self, now: Millis) -> Result<String, Error> {
        const LAST: &str = "quick_replies.last";
        let last = self.0.settings().get(LAST)?.and_then(|last| last.parse().ok()).unwrap_or(0_u64);
        let mut id = now.secs().max(last.saturating_add(1));
        while self.find(&id.to_string())?.is_some() {
            id = id.saturating_add(1);
        }
        self.0.settings().set(LAST, &id.to_string())?;
        Ok(id.to_string())
    }

    /// Puts one, in place of one with the same id. `true` if that was news.
    pub fn set(&self, one: &QuickReply) -> Result<bool, Error> {
        let keywords = serde_json::to_string(&one.keywords).unwrap_or_default();
        let changed = self
            .0
            .conn()
            .prepare_cached(
                "INSERT INTO quick_reply (id, shortcut, message, keywords, used) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (id) DO UPDATE SET shortcut = ?2, message = ?3, keywords = ?4, used = ?5
                 WHERE (shortcut, message, keywords, used) <> (?2, ?3, ?4, ?5)",
            )?
            .execute(params![one.id, one.shortcut, one.message, keywords, one.used])?;
        Ok(changed > 0)
    }

    /// Takes one away. `true` if it was there.
    pub fn remove(&self, id: &str) -> Result<bool, Error> {
        Ok(self.0.conn().prepare_cached("DELETE FROM quick_reply WHERE id = ?1")?.execute([id])? > 0)
    }
}
