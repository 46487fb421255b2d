//! Chats and messages. A chat with a person is one, whichever of the two names addresses it.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Error, Tx, device::jid, sql, unsql};
use crate::{clock::Millis, wire::Jid};

/// What became of a message of ours (platform-webhooks.md §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Refused.
    Failed = 0,
    /// Waiting to be sent.
    Pending = 1,
    /// Reached the server.
    Sent = 2,
    /// Reached the recipient.
    Delivered = 3,
    /// Read.
    Read = 4,
    /// Audio or video played.
    Played = 5,
}

impl Progress {
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Played => "played",
        }
    }

    pub(super) fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Pending,
            2 => Self::Sent,
            3 => Self::Delivered,
            4 => Self::Read,
            5 => Self::Played,
            _ => Self::Failed,
        }
    }
}

/// A chat's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    /// Stable; webhooks carry it as the conversation's id.
    pub id: i64,
    /// By number where it is known, else by hidden identity; a group's own.
    pub jid: Jid,
    /// The person's other name.
    pub alt: Option<Jid>,
}

/// What tells one message from every other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageKey {
    /// The chat's row.
    pub chat: i64,
    /// The sender's id.
    pub wa_id: String,
    /// Sent by the account.
    pub from_me: bool,
    /// The author where the chat is a group.
    pub participant: Option<Jid>,
}

impl MessageKey {
    fn participant(&self) -> String {
        self.participant.as_ref().map(Jid::to_wire).unwrap_or_default()
    }
}

/// A stored message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its row.
    pub id: i64,
    /// What tells it from others.
    pub key: MessageKey,
    /// The id in webhooks.
    pub uuid: String,
    /// When it was stored for sending, or the server's time.
    pub at: Millis,
    /// Serialized waE2E.Message, unwrapped.
    pub content: Vec<u8>,
    /// For messages of the account.
    pub progress: Progress,
    /// WhatsApp's code, with [`Progress::Failed`].
    pub refused: Option<u16>,
    /// As the sender calls itself.
    pub push_name: Option<String>,
}

/// A message about to be stored.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// What tells it from others.
    pub key: MessageKey,
    /// The id in webhooks.
    pub uuid: String,
    /// When it was stored for sending, or the server's time.
    pub at: Millis,
    /// As the sender calls itself.
    pub push_name: Option<String>,
    /// Serialized waE2E.Message, unwrapped.
    pub content: Vec<u8>,
    /// For messages of the account.
    pub progress: Progress,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug)]
pub enum Edge<'a> {
    /// Older than this one.
    Before(&'a Message),
    /// Newer than this one.
    After(&'a Message),
}

/// Access to chats and messages.
pub struct Messages<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// Chats and messages.
    pub fn messages(&self) -> Messages<'_> {
        Messages(self)
    }
}

/// What says something by itself, and was not deleted here, alone or with its chat.
pub(super) const SHOWN: &str = "deleted = 0 AND aside = 0
     AND at > (SELECT chat.deleted_at FROM chat WHERE chat.id = message.chat)";

pub(super) const MESSAGE: &str = "SELECT id, chat, wa_id, from_me, participant, uuid, at, content, status, refused, push_name FROM message";

pub(super) fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    let participant: String = row.get(4)?;
    Ok(Message {
        id: row.get(0)?,
        key: MessageKey {
            chat: row.get(1)?,
            wa_id: row.get(2)?,
            from_me: row.get(3)?,
            participant: if participant.is_empty() { None } else { Some(jid(participant)?) },
        },
        uuid: row.get(5)?,
        at: Millis(row.get(6)?),
        content: row.get(7)?,
        progress: Progress::from_code(row.get(8)?),
        refused: row.get(9)?,
        push_name: row.get(10)?,
    })
}

fn chat(row: &Row<'_>) -> rusqlite::Result<Chat> {
    Ok(Chat {
        id: row.get(0)?,
        jid: jid(row.get(1)?)?,
        alt: row.get::<_, Option<String>>(2)?.map(jid).transpose()?,
    })
}

impl Messages<'_> {
    /// The chat with somebody, under either name.
    pub fn find_chat(&self, with: &Jid) -> Result<Option<Chat>, Error> {
        let with = with.bare();
        let found = self.chat_row(&with)?;
        if found.is_some() {
            return Ok(found);
        }
        match self.0.people().other_name(&with)? {
            Some(other) => self.chat_row(&other),
            None => Ok(None),
        }
    }

    fn chat_row(&self, name: &Jid) -> Result<Option<Chat>, Error> {
        let mut statement =
            self.0.conn().prepare_cached("SELECT id, jid, alt FROM chat WHERE jid = ?1 OR alt = ?1")?;
        Ok(statement.query_row([name.to_wire()], chat).optional()?)
    }

    /// The chat with somebody, made if it is new.
    pub fn chat(&self, with: &Jid) -> Result<Chat, Error> {
        if let Some(found) = self.find_chat(with)? {
            return Ok(found);
        }
        let with = with.bare();
        let other = self.0.people().other_name(&with)?;
        let (jid, alt) = match other {
            Some(other) if with.is_lid() => (other, Some(with)),
            other => (with, other),
        };
        self.0
            .conn()
            .prepare_cached("INSERT INTO chat (jid, alt) VALUES (?1, ?2)")?
            .execute(params![jid.to_wire(), alt.as_ref().map(Jid::to_wire)])?;
        Ok(Chat { id: self.0.conn().last_insert_rowid(), jid, alt })
    }

    /// A chat by its row.
    pub fn chat_by_id(&self, id: i64) -> Result<Option<Chat>, Error> {
        let mut statement = self.0.conn().prepare_cached("SELECT id, jid, alt FROM chat WHERE id = ?1")?;
        Ok(statement.query_row([id], chat).optional()?)
    }

    /// Two names turned out to be one person: their chats become one, the older row stays. The one that went.
    pub(super) fn merge_chats(&self, pn: &Jid, lid: &Jid) -> Result<Option<i64>, Error> {
        let conn = self.0.conn();
        let mut merged = None;
        let (by_pn, by_lid) = (self.chat_row(pn)?, self.chat_row(lid)?);
        if let (Some(one), Some(other)) = (&by_pn, &by_lid)
            && one.id != other.id
        {
            let (keep, drop) = (one.id.min(other.id), one.id.max(other.id));
            merged = Some(drop);
            conn.prepare_cached("UPDATE OR IGNORE message SET chat = ?1 WHERE chat = ?2")?
                .execute([keep, drop])?;
            conn.prepare_cached("UPDATE OR IGNORE inbound_pending SET chat = ?1 WHERE chat = ?2")?
                .execute([keep, drop])?;
            conn.prepare_cached("UPDATE OR IGNORE late SET chat = ?1 WHERE chat = ?2")?
                .execute([keep, drop])?;
            conn.prepare_cached("UPDATE OR IGNORE history_late SET chat = ?1 WHERE chat = ?2")?
                .execute([keep, drop])?;
            // What is left behind is a second copy of a message that the other chat holds.
            conn.prepare_cached("UPDATE outgoing SET message = NULL WHERE message IN (SELECT id FROM message WHERE chat = ?1)")?.execute([drop])?;
            conn.prepare_cached(
                "DELETE FROM resend WHERE message IN (SELECT id FROM message WHERE chat = ?1)",
            )?
            .execute([drop])?;
            conn.prepare_cached("DELETE FROM message WHERE chat = ?1")?.execute([drop])?;
            conn.prepare_cached("DELETE FROM inbound_pending WHERE chat = ?1")?.execute([drop])?;
            // The later word on how long messages stay.
            conn.prepare_cached(
                "UPDATE chat SET (timer, timer_set_at) = (SELECT timer, timer_set_at FROM chat WHERE id = ?2)
                 WHERE id = ?1 AND timer_set_at < (SELECT timer_set_at FROM chat WHERE id = ?2)",
            )?
            .execute([keep, drop])?;
            self.0.chats().merge(keep, drop)?;
            conn.prepare_cached("DELETE FROM chat WHERE id = ?1")?.execute([drop])?;
        }
        conn.prepare_cached("UPDATE chat SET jid = ?1, alt = ?2 WHERE jid IN (?1, ?2) OR alt IN (?1, ?2)")?
            .execute([pn.to_wire(), lid.to_wire()])?;
        // What waits to be sent waits in one line from here on.
        conn.prepare_cached(
            "UPDATE outgoing SET recipient = ?1 WHERE recipient = ?2 AND stanza IS NULL AND peer = 0",
        )?
        .execute([pn.to_wire(), lid.to_wire()])?;
        Ok(merged)
    }

    /// Whether anything of the account's ever reached the server in a chat.
    pub fn spoke_in(&self, chat: i64) -> Result<bool, Error> {
        let mut spoke = self.0.conn().prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM message WHERE chat = ?1 AND from_me = 1 AND status >= 2)",
        )?;
        Ok(spoke.query_row([chat], |row| row.get(0))?)
    }

    /// Whether anything was ever received in a chat.
    pub fn heard_in(&self, chat: i64) -> Result<bool, Error> {
        let mut heard = self
            .0
            .conn()
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM message WHERE chat = ?1 AND from_me = 0)")?;
        Ok(heard.query_row([chat], |row| row.get(0))?)
    }

    /// One message, by what tells it from others.
    pub fn find(&self, key: &MessageKey) -> Result<Option<Message>, Error> {
        let mut statement = self.0.conn().prepare_cached(&format!(
            "{MESSAGE} WHERE chat = ?1 AND wa_id = ?2 AND from_me = ?3 AND participant = ?4"
        ))?;
        let found = statement
            .query_row(params![key.chat, key.wa_id, key.from_me, key.participant()], message)
            .optional()?;
        Ok(found)
    }

    /// A message of a chat by its id alone, as a reply names it. The newest, should two share the id.
    pub fn find_in_chat(&self, chat: i64, wa_id: &str) -> Result<Option<Message>, Error> {
        let mut statement = self
            .0
            .conn()
            .prepare_cached(&format!("{MESSAGE} WHERE chat = ?1 AND wa_id = ?2 ORDER BY id DESC LIMIT 1"))?;
        Ok(statement.query_row(params![chat, wa_id], message).optional()?)
    }

    /// A message by its row.
    pub fn by_row(&self, id: i64) -> Result<Option<Message>, Error> {
        let mut statement = self.0.conn().prepare_cached(&format!("{MESSAGE} WHERE id = ?1"))?;
        Ok(statement.query_row([id], message).optional()?)
    }

    /// A message by its id alone, in whatever chat. The newest, should two share the id.
    pub fn find_anywhere(&self, wa_id: &str) -> Result<Option<Message>, Error> {
        let mut statement =
            self.0.conn().prepare_cached(&format!("{MESSAGE} WHERE wa_id = ?1 ORDER BY id DESC LIMIT 1"))?;
        Ok(statement.query_row([wa_id], message).optional()?)
    }

    /// A message of the account by its id; ids of ours never repeat.
    pub fn find_own(&self, wa_id: &str) -> Result<Option<Message>, Error> {
        let mut statement = self.0.conn().prepare_cached(&format!(
            "{MESSAGE} WHERE wa_id = ?1 AND from_me = 1 ORDER BY id DESC LIMIT 1"
        ))?;
        Ok(statement.query_row([wa_id], message).optional()?)
    }

    /// Up to `limit` messages that a chat shows, newest first: those before or after one of it, or from the top.
    pub fn page(
        &self,
        chat: i64,
        from: Option<Edge<'_>>,
        limit: u32,
        skip: u64,
    ) -> Result<Vec<Message>, Error> {
        let (edge, comparison, order) = match from {
            None => (None, "", "DESC"),
            Some(Edge::Before(edge)) => (Some(edge), "AND (at, id) < (?2, ?3)", "DESC"),
            Some(Edge::After(edge)) => (Some(edge), "AND (at, id) > (?2, ?3)", "ASC"),
        };
        let mut statement = self.0.conn().prepare_cached(&format!(
            "{MESSAGE} WHERE chat = ?1 {comparison} AND ?2 >= 0 AND ?3 >= 0 AND {SHOWN}
             ORDER BY at {order}, id {order} LIMIT ?4 OFFSET ?5"
        ))?;
        let (at, id) = edge.map_or((0, 0), |edge| (sql(edge.at.0), edge.id));
        let rows = statement.query_map(params![chat, at, id, limit, sql(skip)], message)?;
        let mut page: Vec<Message> = rows.collect::<Result<_, _>>()?;
        if order == "ASC" {
            page.reverse();
        }
        Ok(page)
    }

    /// Messages that a chat shows.
    pub fn count(&self, chat: i64) -> Result<u64, Error> {
        let mut statement = self
            .0
            .conn()
            .prepare_cached(&format!("SELECT count(*) FROM message WHERE chat = ?1 AND {SHOWN}"))?;
        Ok(unsql(statement.query_row([chat], |row| row.get(0))?))
    }

    /// Stores a message; `None` if it is there already.
    pub fn insert(&self, new: &NewMessage) -> Result<Option<i64>, Error> {
        let added = self
            .0
            .conn()
            .prepare_cached(
                "INSERT OR IGNORE INTO message (chat, wa_id, from_me, participant, uuid, at, push_name, content, status)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                new.key.chat,
                new.key.wa_id,
                new.key.from_me,
                new.key.participant(),
                new.uuid,
                sql(new.at.0),
                new.push_name,
                new.content,
                new.progress as u8,
            ])?;
        Ok((added == 1).then(|| self.0.conn().last_insert_rowid()))
    }

    /// Moves a message of the account forward. What it was before, if that was a step: progress never goes back, and
    /// failure comes only to what has not reached anybody.
    pub fn advance(&self, id: i64, to: Progress, refused: Option<u16>) -> Result<Option<Progress>, Error> {
        let conn = self.0.conn();
        let code: u8 = conn
            .prepare_cached("SELECT status FROM message WHERE id = ?1")?
            .query_row([id], |row| row.get(0))?;
        let before = Progress::from_code(code);
        let step = match to {
            Progress::Failed => matches!(before, Progress::Pending | Progress::Sent),
            to => before != Progress::Failed && to > before,
        };
        if !step {
            return Ok(None);
        }
        conn.prepare_cached("UPDATE message SET status = ?2, refused = ?3 WHERE id = ?1")?
            .execute(params![id, to as u8, refused])?;
        Ok(Some(before))
    }
}
