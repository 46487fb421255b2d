//! Labels on chats and messages: the list, and what they stand on. Written by app state alone.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Error, Tx, device::jid};
use crate::wire::Jid;

/// Chats and messages of one label that are listed.
const MAX_LISTED: u32 = 1_000;

/// A label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Names it; a whole number, as every client makes them.
    pub id: String,
    /// As shown.
    pub name: String,
    /// Of the palette: 0 to 19.
    pub color: i32,
}

/// Access to labels.
pub struct Labels<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// Labels and what they stand on.
    pub fn labels(&self) -> Labels<'_> {
        Labels(self)
    }
}

fn label(row: &Row<'_>) -> rusqlite::Result<Label> {
    Ok(Label { id: row.get(0)?, name: row.get(1)?, color: row.get(2)? })
}

impl Labels<'_> {
    /// All of them, in the order of their numbers.
    pub fn list(&self) -> Result<Vec<Label>, Error> {
        let select = "SELECT id, name, color FROM label ORDER BY length(id), id";
        let mut statement = self.0.conn().prepare_cached(select)?;
        Ok(statement.query_map([], label)?.collect::<Result<_, _>>()?)
    }

    /// One of them.
    pub fn find(&self, id: &str) -> Result<Option<Label>, Error> {
        let select = "SELECT id, name, color FROM label WHERE id = ?1";
        Ok(self.0.conn().prepare_cached(select)?.query_row([id], label).optional()?)
    }

    /// A number that no label has, nor one that is just being made.
    pub fn take_id(&self) -> Result<String, Error> {
        const LAST: &str = "labels.last";
        let select = "SELECT coalesce(max(CAST(id AS INTEGER)), 0) FROM label";
        let highest: i64 = self.0.conn().prepare_cached(select)?.query_row([], |row| row.get(0))?;
        let last = self.0.settings().get(LAST)?.and_then(|last| last.parse().ok()).unwrap_or(0);
        let id = highest.max(last).clamp(0, i64::MAX - 1) + 1;
        self.0.settings().set(LAST, &id.to_string())?;
        Ok(id.to_string())
    }

    /// Chats that a label stands on.
    pub fn chats(&self, id: &str) -> Result<Vec<Jid>, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "SELECT c.jid FROM label_chat l JOIN chat c ON c.id = l.chat WHERE l.label = ?1 ORDER BY c.jid LIMIT ?2",
        )?;
        Ok(statement.query_map(params![id, MAX_LISTED], |row| jid(row.get(0)?))?.collect::<Result<_, _>>()?)
    }

    /// Messages that a label stands on, newest first: the chat, and WhatsApp's id.
    pub fn messages(&self, id: &str) -> Result<Vec<(Jid, String)>, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "SELECT c.jid, m.wa_id FROM label_message l JOIN message m ON m.id = l.message
             JOIN chat c ON c.id = m.chat WHERE l.label = ?1 ORDER BY m.at DESC, m.id DESC LIMIT ?2",
        )?;
        let rows =
            statement.query_map(params![id, MAX_LISTED], |row| Ok((jid(row.get(0)?)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Puts a label on a message, or takes it off. `true` if that was news.
    pub fn set_on_message(&self, label: &str, message: i64, on: bool) -> Result<bool, Error> {
        let statement = if on {
            "INSERT OR IGNORE INTO label_message (label, message) VALUES (?1, ?2)"
        } else {
            "DELETE FROM label_message WHERE label = ?1 AND message = ?2"
        };
        Ok(self.0.conn().prepare_cached(statement)?.execute(params![label, message])? > 0)
    }

    /// Ids of the labels on a message.
    pub fn of_message(&self, message: i64) -> Result<Vec<String>, Error> {
        let select = "SELECT label FROM label_message WHERE message = ?1 ORDER BY label";
        let mut statement = self.0.conn().prepare_cached(select)?;
        Ok(statement.query_map([message], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }
}
