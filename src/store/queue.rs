//! What is under way: outgoing until WhatsApp acknowledged it, incoming until it could be decrypted.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Error, Tx, device::jid, messages::MessageKey, sql};
use crate::{clock::Millis, wire::Jid};

/// A send that WhatsApp has not acknowledged.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Order of arrival.
    pub seq: i64,
    /// Fixed before anything leaves.
    pub wa_id: String,
    /// A JID, or digits that were not looked up yet.
    pub recipient: String,
    /// The message's row, once the recipient is known.
    pub message: Option<i64>,
    /// When it was stored.
    pub at: Millis,
    /// Serialized waE2E.Message.
    pub content: Vec<u8>,
    /// Encoded stanza, once encrypted.
    pub stanza: Option<Vec<u8>>,
    /// For one own device only, and no message of any chat.
    pub peer: bool,
}

/// How far the answer to a retry has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resent {
    /// Perhaps not even written: these bytes.
    UnderWay(Vec<u8>),
    /// The server has it.
    Taken,
}

/// Access to the queues.
pub struct Queue<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// What is under way.
    pub fn queue(&self) -> Queue<'_> {
        Queue(self)
    }
}

const OUTGOING: &str = "SELECT seq, wa_id, recipient, message, at, content, stanza, peer FROM outgoing";

fn outgoing(row: &Row<'_>) -> rusqlite::Result<Outgoing> {
    Ok(Outgoing {
        seq: row.get(0)?,
        wa_id: row.get(1)?,
        recipient: row.get(2)?,
        message: row.get(3)?,
        at: Millis(row.get(4)?),
        content: row.get(5)?,
        stanza: row.get(6)?,
        peer: row.get(7)?,
    })
}

impl Queue<'_> {
    /// Puts a send at the end.
    pub fn push(
        &self,
        wa_id: &str,
        recipient: &str,
        message: Option<i64>,
        content: &[u8],
        now: Millis,
    ) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "INSERT INTO outgoing (wa_id, recipient, message, at, content) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![wa_id, recipient, message, now.0, content])?;
        Ok(())
    }

    /// Puts a message to an own device at the end.
    pub fn push_peer(&self, wa_id: &str, device: &Jid, content: &[u8], now: Millis) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "INSERT INTO outgoing (wa_id, recipient, at, content, peer) VALUES (?1, ?2, ?3, ?4, 1)",
            )?
            .execute(params![wa_id, device.to_wire(), sql(now.0), content])?;
        Ok(())
    }

    /// A send by its id.
    pub fn find(&self, wa_id: &str) -> Result<Option<Outgoing>, Error> {
        let mut statement = self.0.conn().prepare_cached(&format!("{OUTGOING} WHERE wa_id = ?1"))?;
        Ok(statement.query_row([wa_id], outgoing).optional()?)
    }

    /// Sends that are held back in some way.
    pub(super) fn held_with(&self, condition: &'static str, value: u16) -> Result<Vec<Outgoing>, Error> {
        let mut statement =
            self.0.conn().prepare_cached(&format!("{OUTGOING} WHERE {condition} ORDER BY seq"))?;
        Ok(statement.query_map([value], outgoing)?.collect::<Result<_, _>>()?)
    }

    /// The first `limit` sends after `after` that are not encrypted yet and that nothing holds back, in order.
    pub fn waiting(&self, after: i64, limit: u32) -> Result<Vec<Outgoing>, Error> {
        let mut statement = self.0.conn().prepare_cached(&format!(
            "{OUTGOING} WHERE stanza IS NULL AND held = 0 AND seq > ?1 ORDER BY seq LIMIT ?2"
        ))?;
        Ok(statement.query_map(params![after, limit], outgoing)?.collect::<Result<_, _>>()?)
    }

    /// The first `limit` encrypted sends after `after`, in order: to be written again on a new connection.
    pub fn unacknowledged(&self, after: i64, limit: u32) -> Result<Vec<Outgoing>, Error> {
        let mut statement = self.0.conn().prepare_cached(&format!(
            "{OUTGOING} WHERE stanza IS NOT NULL AND seq > ?1 ORDER BY seq LIMIT ?2"
        ))?;
        Ok(statement.query_map(params![after, limit], outgoing)?.collect::<Result<_, _>>()?)
    }

    /// The first `limit` sends to a chat that were written and not acknowledged, in order.
    pub fn written_to(&self, recipient: &str, limit: usize) -> Result<Vec<Outgoing>, Error> {
        let mut statement = self.0.conn().prepare_cached(&format!(
            "{OUTGOING} WHERE stanza IS NOT NULL AND recipient = ?1 ORDER BY seq LIMIT ?2"
        ))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(statement.query_map(params![recipient, limit], outgoing)?.collect::<Result<_, _>>()?)
    }

    /// The recipient was looked up, and the message has its row.
    pub fn resolve(&self, seq: i64, recipient: &Jid, message: i64) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE outgoing SET recipient = ?2, message = ?3 WHERE seq = ?1")?
            .execute(params![seq, recipient.to_wire(), message])?;
        Ok(())
    }

    /// The stanza as it will leave, again and again, until it is acknowledged.
    pub fn set_stanza(&self, seq: i64, stanza: &[u8]) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE outgoing SET stanza = ?2 WHERE seq = ?1")?
            .execute(params![seq, stanza])?;
        Ok(())
    }

    /// What was encrypted cannot be taken as it is: it waits for another encryption.
    pub fn clear_stanza(&self, seq: i64) -> Result<(), Error> {
        self.0.conn().prepare_cached("UPDATE outgoing SET stanza = NULL WHERE seq = ?1")?.execute([seq])?;
        Ok(())
    }

    /// Acknowledged or given up.
    pub fn remove(&self, seq: i64) -> Result<(), Error> {
        self.0.conn().prepare_cached("DELETE FROM outgoing WHERE seq = ?1")?.execute([seq])?;
        Ok(())
    }

    /// Counts one more failed attempt to decrypt a message; which one it is, from 1.
    pub fn count_failure(&self, key: &MessageKey, reason: &str, now: Millis) -> Result<u8, Error> {
        let participant = key.participant.as_ref().map(Jid::to_wire).unwrap_or_default();
        let attempts: u32 = self
            .0
            .conn()
            .prepare_cached(
                "INSERT INTO inbound_pending (chat, wa_id, from_me, participant, attempts, reason, at)
                 VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6)
                 ON CONFLICT DO UPDATE SET attempts = attempts + 1, reason = excluded.reason
                 RETURNING attempts",
            )?
            .query_row(params![key.chat, key.wa_id, key.from_me, participant, reason, now.0], |row| {
                row.get(0)
            })?;
        Ok(u8::try_from(attempts).unwrap_or(u8::MAX))
    }

    /// Whether some message of this id and direction in this chat could not be decrypted so far.
    pub fn lacks(&self, key: &MessageKey) -> Result<bool, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "SELECT 1 FROM inbound_pending WHERE chat = ?1 AND wa_id = ?2 AND from_me = ?3",
        )?;
        Ok(statement.exists(params![key.chat, key.wa_id, key.from_me])?)
    }

    /// The key of an undecryptable message as it is waited for, under either name of its author.
    pub fn pending_key(
        &self,
        chat: i64,
        wa_id: &str,
        from_me: bool,
        participant: Option<&Jid>,
    ) -> Result<Option<MessageKey>, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "SELECT participant FROM inbound_pending WHERE chat = ?1 AND wa_id = ?2 AND from_me = ?3",
        )?;
        let rows = statement.query_map(params![chat, wa_id, from_me], |row| row.get::<_, String>(0))?;
        let people = self.0.people();
        let wanted = participant.map(|jid| people.signal_address(&jid.bare())).transpose()?;
        for row in rows {
            let row = row?;
            let participant = if row.is_empty() { None } else { Some(jid(row)?) };
            let known = participant.as_ref().map(|jid| people.signal_address(&jid.bare())).transpose()?;
            // Of an own message the phone does not say who wrote it.
            if known == wanted || from_me {
                let wa_id = wa_id.to_owned();
                return Ok(Some(MessageKey { chat, wa_id, from_me, participant }));
            }
        }
        Ok(None)
    }

    /// The message could be decrypted after all; `true` if it was waited for.
    pub fn settle(&self, key: &MessageKey) -> Result<bool, Error> {
        let participant = key.participant.as_ref().map(Jid::to_wire).unwrap_or_default();
        let row = params![key.chat, key.wa_id, key.from_me, participant];
        // What there was to wait for is remembered for whoever asks; as a rule there was nothing.
        let delete =
            "DELETE FROM inbound_pending WHERE chat = ?1 AND wa_id = ?2 AND from_me = ?3 AND participant = ?4
                      RETURNING attempts, reason, at";
        let late: Option<(u32, String, i64)> = self
            .0
            .conn()
            .prepare_cached(delete)?
            .query_row(row, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((attempts, reason, at)) = late else { return Ok(false) };
        let insert = "INSERT OR REPLACE INTO late (chat, wa_id, from_me, participant, attempts, reason, at)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let row = params![key.chat, key.wa_id, key.from_me, participant, attempts, reason, at];
        self.0.conn().prepare_cached(insert)?.execute(row)?;
        Ok(true)
    }

    /// What this retry of a message was answered with for a device, if it was.
    pub fn resent(&self, message: i64, device: &Jid, count: u8) -> Result<Option<Resent>, Error> {
        let mut statement = self
            .0
            .conn()
            .prepare_cached("SELECT stanza FROM resend WHERE message = ?1 AND device = ?2 AND count = ?3")?;
        let stanza: Option<Option<Vec<u8>>> =
            statement.query_row(params![message, device.to_wire(), count], |row| row.get(0)).optional()?;
        Ok(stanza.map(|stanza| stanza.map_or(Resent::Taken, Resent::UnderWay)))
    }

    /// Keeps the answer to a retry of a message for a device, as it will leave.
    pub fn note_resend(
        &self,
        message: i64,
        device: &Jid,
        count: u8,
        stanza: &[u8],
        now: Millis,
    ) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "INSERT OR IGNORE INTO resend (message, device, count, at, stanza) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![message, device.to_wire(), count, sql(now.0), stanza])?;
        Ok(())
    }

    /// The server has taken what a device was sent again of a message.
    pub fn resend_taken(&self, message: i64, device: &Jid) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "UPDATE resend SET stanza = NULL WHERE message = ?1 AND device = ?2 AND stanza IS NOT NULL",
            )?
            .execute(params![message, device.to_wire()])?;
        Ok(())
    }

    /// The server has taken a resend of a message without saying for which device: acks come in order, so the oldest.
    pub fn oldest_resend_taken(&self, message: i64) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "UPDATE resend SET stanza = NULL WHERE (message, device, count) IN
                 (SELECT message, device, count FROM resend WHERE message = ?1 AND stanza IS NOT NULL
                  ORDER BY at LIMIT 1)",
            )?
            .execute([message])?;
        Ok(())
    }
}
