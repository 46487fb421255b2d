//! What was taken and left no message behind.

use rusqlite::params;

use super::{Error, Tx, device::jid};
use crate::wire::Jid;

/// Rows that are kept, the newest ones. WhatsApp sends again what it has no answer for, which is never so far behind.
const KEPT: i64 = 10_000;

/// Access to what was taken and left no message behind.
pub struct Handled<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// What was taken and left no message behind.
    pub fn handled(&self) -> Handled<'_> {
        Handled(self)
    }
}

impl Handled<'_> {
    /// Remembers a message of a device.
    pub fn note(&self, wa_id: &str, author: &Jid) -> Result<(), Error> {
        let author = self.0.people().signal_address(author)?;
        let noted = self
            .0
            .conn()
            .prepare_cached("INSERT OR IGNORE INTO handled (wa_id, author) VALUES (?1, ?2)")?
            .execute(params![wa_id, author.to_wire()])?;
        if noted > 0 {
            self.0
                .conn()
                .prepare_cached("DELETE FROM handled WHERE seq <= (SELECT MAX(seq) FROM handled) - ?1")?
                .execute([KEPT])?;
        }
        Ok(())
    }

    /// Whether a message of a device is remembered, under either name of who wrote it.
    pub fn knows(&self, wa_id: &str, author: &Jid) -> Result<bool, Error> {
        let people = self.0.people();
        let wanted = people.signal_address(author)?;
        let mut statement = self.0.conn().prepare_cached("SELECT author FROM handled WHERE wa_id = ?1")?;
        for row in statement.query_map([wa_id], |row| row.get::<_, String>(0))? {
            if people.signal_address(&jid(row?)?)? == wanted {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
