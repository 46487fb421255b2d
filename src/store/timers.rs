//! How long messages of a chat stay.

use rusqlite::params;

use super::{Error, Tx};

/// A chat's timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChatTimer {
    /// Seconds; 0: messages stay.
    pub seconds: u32,
    /// When that was set, in Unix seconds; 0: never.
    pub set_at: u64,
}

/// Access to the timers of chats.
pub struct Timers<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// The timers of chats.
    pub fn timers(&self) -> Timers<'_> {
        Timers(self)
    }
}

impl Timers<'_> {
    /// The timer of a chat.
    pub fn of(&self, chat: i64) -> Result<ChatTimer, Error> {
        let mut statement =
            self.0.conn().prepare_cached("SELECT timer, timer_set_at FROM chat WHERE id = ?1")?;
        let timer = |row: &rusqlite::Row<'_>| Ok(ChatTimer { seconds: row.get(0)?, set_at: row.get(1)? });
        Ok(statement.query_row([chat], timer)?)
    }

    /// Sets the timer of a chat.
    pub fn set(&self, chat: i64, timer: ChatTimer) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE chat SET timer = ?2, timer_set_at = ?3 WHERE id = ?1")?
            .execute(params![chat, timer.seconds, timer.set_at])?;
        Ok(())
    }
}
