//! What the account knows of a chat beside its messages: archived, pinned, muted, read, deleted; and the list of chats.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{
    Error, Tx,
    device::jid,
    messages::{Chat, Message},
    sql, unsql,
};
use crate::{clock::Millis, wire::Jid};

/// Until when a chat is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mute {
    /// Not muted.
    Off,
    /// Until then.
    Until(Millis),
    /// For ever.
    Forever,
}

impl Mute {
    fn from_sql(until: i64) -> Self {
        match until {
            0 => Self::Off,
            ..0 => Self::Forever,
            until => Self::Until(Millis(unsql(until))),
        }
    }

    fn to_sql(self) -> i64 {
        match self {
            Self::Off => 0,
            Self::Until(until) => sql(until.0),
            Self::Forever => -1,
        }
    }
}

/// A chat as the list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatView {
    /// Its row.
    pub chat: Chat,
    /// The group's subject; a person's name in the address book, or as the person calls itself.
    pub name: Option<String>,
    /// Out of the list.
    pub archived: bool,
    /// On top of the list.
    pub pinned: bool,
    /// Silent.
    pub muted: Mute,
    /// Behind the phone's lock.
    pub locked: bool,
    /// Among the favourites.
    pub favorite: bool,
    /// Received and not read.
    pub unread_count: u64,
    /// Marked as unread by hand.
    pub marked_unread: bool,
    /// Of the newest message that is not deleted.
    pub last_message_at: Option<Millis>,
    /// A group in which only admins write; `None`: a group that nothing is known of yet.
    pub announcement: Option<bool>,
}

/// Access to chats.
pub struct Chats<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// What is known of chats beside their messages.
    pub fn chats(&self) -> Chats<'_> {
        Chats(self)
    }
}

/// What is read ends where somebody wrote from an own device: whoever answers has read. Times of received messages are
/// whole seconds; within the second of the answer the order of arrival decides.
const VIEW: &str = "
    SELECT c.id, c.jid, c.alt,
           coalesce(g.subject,
                    (SELECT max(full_name) FROM contact WHERE jid IN (c.jid, c.alt)), c.name,
                    (SELECT max(push_name) FROM contact WHERE jid IN (c.jid, c.alt))),
           c.archived, c.pinned > 0, c.muted_until, c.marked_unread,
           (SELECT count(*) FROM message m WHERE m.chat = c.id AND m.from_me = 0 AND m.deleted = 0 AND m.aside = 0
                AND m.at > c.read_at AND m.at >= coalesce(own.at / 1000 * 1000, 0)
                AND (own.id IS NULL OR m.at > own.at OR m.id > own.id)),
           (SELECT at FROM message WHERE chat = c.id AND deleted = 0 ORDER BY at DESC LIMIT 1) AS last,
           g.announce, c.locked, c.favorite > 0
    FROM chat c LEFT JOIN group_info g ON g.jid = c.jid LEFT JOIN message own ON own.id =
        (SELECT id FROM message WHERE chat = c.id AND from_me = 1 ORDER BY at DESC, id DESC LIMIT 1)";

/// A deleted chat stays away until something new comes. A row alone is no chat: devices of one account tell each other
/// things, too. Statuses are none either.
const SHOWN: &str = "c.jid <> 'status@broadcast' AND (
    (c.deleted_at = 0 AND (c.archived OR c.pinned > 0 OR c.muted_until <> 0 OR c.marked_unread
                           OR EXISTS (SELECT 1 FROM message WHERE chat = c.id)))
    OR EXISTS (SELECT 1 FROM message WHERE chat = c.id AND at > c.deleted_at AND deleted = 0))";

fn view(row: &Row<'_>) -> rusqlite::Result<ChatView> {
    let chat = Chat {
        id: row.get(0)?,
        jid: jid(row.get(1)?)?,
        alt: row.get::<_, Option<String>>(2)?.map(jid).transpose()?,
    };
    let announcement: Option<bool> = row.get(10)?;
    Ok(ChatView {
        announcement: if chat.jid.is_group() { announcement } else { Some(false) },
        chat,
        name: row.get(3)?,
        archived: row.get(4)?,
        pinned: row.get(5)?,
        muted: Mute::from_sql(row.get(6)?),
        locked: row.get(11)?,
        favorite: row.get(12)?,
        marked_unread: row.get(7)?,
        unread_count: row.get(8)?,
        last_message_at: row.get::<_, Option<i64>>(9)?.map(|at| Millis(unsql(at))),
    })
}

impl Chats<'_> {
    /// A chat by its row; `None` also for one that was deleted.
    pub fn view(&self, id: i64) -> Result<Option<ChatView>, Error> {
        let mut statement = self.0.conn().prepare_cached(&format!("{VIEW} WHERE c.id = ?1 AND {SHOWN}"))?;
        Ok(statement.query_row([id], view).optional()?)
    }

    /// Chats, pinned ones first, then by their newest message; and how many there are.
    pub fn list(&self, offset: u64, limit: u32) -> Result<(Vec<ChatView>, u64), Error> {
        let conn = self.0.conn();
        let total = conn
            .prepare_cached(&format!("SELECT count(*) FROM chat c WHERE {SHOWN}"))?
            .query_row([], |row| row.get(0))?;
        // Which ones first, so that unread messages are counted for those alone.
        let mut statement = conn.prepare_cached(&format!(
            "{VIEW} JOIN (SELECT c.id AS row, c.pinned AS pin,
                                 (SELECT at FROM message WHERE chat = c.id AND deleted = 0
                                  ORDER BY at DESC LIMIT 1) AS newest
                          FROM chat c WHERE {SHOWN}
                          ORDER BY pin > 0 DESC, pin DESC, newest DESC NULLS LAST, row DESC LIMIT ?2 OFFSET ?1) page
             ON page.row = c.id ORDER BY page.pin > 0 DESC, page.pin DESC, last DESC NULLS LAST, c.id DESC"
        ))?;
        let views = statement.query_map(params![sql(offset), limit], view)?;
        Ok((views.collect::<Result<_, _>>()?, total))
    }

    /// `true` if that was news; so with the others.
    pub fn set_archived(&self, id: i64, archived: bool) -> Result<bool, Error> {
        self.set("UPDATE chat SET archived = ?2 WHERE id = ?1 AND archived <> ?2", id, i64::from(archived))
    }

    /// `None`: not pinned. Of several, the one that was pinned last stands first.
    pub fn set_pinned(&self, id: i64, since: Option<Millis>) -> Result<bool, Error> {
        let since = since.map_or(0, |since| sql(since.0.max(1)));
        self.set("UPDATE chat SET pinned = ?2 WHERE id = ?1 AND (pinned > 0) <> (?2 > 0)", id, since)
    }

    /// Silent, or not any more.
    pub fn set_muted(&self, id: i64, mute: Mute) -> Result<bool, Error> {
        let until = mute.to_sql();
        self.set("UPDATE chat SET muted_until = ?2 WHERE id = ?1 AND muted_until <> ?2", id, until)
    }

    /// Behind the phone's lock, or not any more.
    pub fn set_locked(&self, id: i64, locked: bool) -> Result<bool, Error> {
        self.set("UPDATE chat SET locked = ?2 WHERE id = ?1 AND locked <> ?2", id, i64::from(locked))
    }

    /// Marked as unread by hand.
    pub fn set_marked_unread(&self, id: i64, marked: bool) -> Result<bool, Error> {
        let marked = i64::from(marked);
        self.set("UPDATE chat SET marked_unread = ?2 WHERE id = ?1 AND marked_unread <> ?2", id, marked)
    }

    /// What came until then is read.
    pub fn read_until(&self, id: i64, until: Millis) -> Result<bool, Error> {
        self.set("UPDATE chat SET read_at = ?2 WHERE id = ?1 AND read_at < ?2", id, sql(until.0))
    }

    fn set(&self, statement: &str, id: i64, value: i64) -> Result<bool, Error> {
        Ok(self.0.conn().prepare_cached(statement)?.execute([id, value])? > 0)
    }

    /// Deletes what a chat holds up to a time; `hide`: the chat itself, too. `true` if there was anything.
    pub fn delete_until(&self, id: i64, until: Millis, starred: bool, hide: bool) -> Result<bool, Error> {
        let messages = self
            .0
            .conn()
            .prepare_cached(
                "UPDATE message SET deleted = 1 WHERE chat = ?1 AND at <= ?2 AND deleted = 0 AND (?3 OR starred = 0)",
            )?
            .execute(params![id, sql(until.0), starred])?;
        let hidden = hide
            && self.set(
                "UPDATE chat SET deleted_at = ?2 WHERE id = ?1 AND deleted_at < ?2",
                id,
                sql(until.0),
            )?;
        Ok(messages > 0 || hidden)
    }

    /// A star on a message, or off it.
    pub fn set_starred(&self, message: i64, starred: bool) -> Result<bool, Error> {
        let starred = i64::from(starred);
        self.set("UPDATE message SET starred = ?2 WHERE id = ?1 AND starred <> ?2", message, starred)
    }

    /// Whether a message has a star, and whether it was deleted here.
    pub fn marks(&self, message: i64) -> Result<(bool, bool), Error> {
        let mut statement =
            self.0.conn().prepare_cached("SELECT starred, deleted FROM message WHERE id = ?1")?;
        let marks = statement.query_row([message], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        Ok(marks.unwrap_or_default())
    }

    /// Deletes a message here.
    pub fn delete_message(&self, message: i64) -> Result<bool, Error> {
        self.set("UPDATE message SET deleted = ?2 WHERE id = ?1 AND deleted <> ?2", message, 1)
    }

    /// This message says nothing by itself, and nobody has to read it.
    pub fn set_aside(&self, message: i64) -> Result<bool, Error> {
        self.set("UPDATE message SET aside = ?2 WHERE id = ?1 AND aside <> ?2", message, 1)
    }

    /// And this one does after all.
    pub fn show(&self, message: i64) -> Result<bool, Error> {
        self.set("UPDATE message SET aside = ?2 WHERE id = ?1 AND aside <> ?2", message, 0)
    }

    /// The newest message of a chat that is not deleted.
    pub fn last_message(&self, id: i64) -> Result<Option<Message>, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "SELECT id FROM message WHERE chat = ?1 AND deleted = 0 AND aside = 0 ORDER BY at DESC, id DESC LIMIT 1",
        )?;
        let row: Option<i64> = statement.query_row([id], |row| row.get(0)).optional()?;
        row.map_or(Ok(None), |row| self.0.messages().by_row(row))
    }

    /// Keeps a label; without a name it goes, with everything it stood on. `true` if that was news.
    pub fn set_label(&self, id: &str, label: Option<(&str, i32)>) -> Result<bool, Error> {
        let conn = self.0.conn();
        let Some((name, color)) = label else {
            conn.prepare_cached("DELETE FROM label_chat WHERE label = ?1")?.execute([id])?;
            conn.prepare_cached("DELETE FROM label_message WHERE label = ?1")?.execute([id])?;
            return Ok(conn.prepare_cached("DELETE FROM label WHERE id = ?1")?.execute([id])? > 0);
        };
        let changed = conn
            .prepare_cached(
                "INSERT INTO label (id, name, color) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, color = excluded.color
                 WHERE name IS NOT excluded.name OR color IS NOT excluded.color",
            )?
            .execute(params![id, name, color])?;
        Ok(changed > 0)
    }

    /// The favourite chats in their order.
    pub fn favorites(&self) -> Result<Vec<(i64, Jid)>, Error> {
        let select = "SELECT id, jid FROM chat WHERE favorite > 0 ORDER BY favorite, id";
        let mut statement = self.0.conn().prepare_cached(select)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, jid(row.get(1)?)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// These are the favourites from here on; the chats that became one, or are none any more.
    pub fn set_favorites(&self, chats: &[i64]) -> Result<Vec<i64>, Error> {
        let before: Vec<i64> = self.favorites()?.into_iter().map(|(id, _)| id).collect();
        let mut set = self.0.conn().prepare_cached("UPDATE chat SET favorite = ?2 WHERE id = ?1")?;
        let gone = before.iter().filter(|id| !chats.contains(id));
        let mut changed = Vec::new();
        for id in gone {
            set.execute([*id, 0])?;
            changed.push(*id);
        }
        for (id, place) in chats.iter().zip(1..) {
            set.execute([*id, place])?;
            if !before.contains(id) {
                changed.push(*id);
            }
        }
        Ok(changed)
    }

    /// Puts a label on a chat, or takes it off. `true` if that was news.
    pub fn set_label_on(&self, label: &str, chat: i64, on: bool) -> Result<bool, Error> {
        let statement = if on {
            "INSERT OR IGNORE INTO label_chat (label, chat) VALUES (?1, ?2)"
        } else {
            "DELETE FROM label_chat WHERE label = ?1 AND chat = ?2"
        };
        Ok(self.0.conn().prepare_cached(statement)?.execute(params![label, chat])? > 0)
    }

    /// Ids of the labels on a chat.
    pub fn labels_of(&self, chat: i64) -> Result<Vec<String>, Error> {
        let mut statement =
            self.0.conn().prepare_cached("SELECT label FROM label_chat WHERE chat = ?1 ORDER BY label")?;
        Ok(statement.query_map([chat], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    /// Two rows turned out to be one chat: what is known of `drop` goes to `keep`.
    pub(super) fn merge(&self, keep: i64, drop: i64) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "UPDATE chat SET archived = max(chat.archived, o.archived), pinned = max(chat.pinned, o.pinned),
                     muted_until = CASE WHEN -1 IN (chat.muted_until, o.muted_until) THEN -1
                                        ELSE max(chat.muted_until, o.muted_until) END,
                     marked_unread = max(chat.marked_unread, o.marked_unread), locked = max(chat.locked, o.locked),
                     favorite = max(chat.favorite, o.favorite),
                     read_at = max(chat.read_at, o.read_at), deleted_at = min(chat.deleted_at, o.deleted_at),
                     name = coalesce(chat.name, o.name), history_at = coalesce(chat.history_at, o.history_at),
                     history_more = coalesce(chat.history_more, o.history_more)
                 FROM chat o WHERE chat.id = ?1 AND o.id = ?2",
            )?
            .execute([keep, drop])?;
        self.0
            .conn()
            .prepare_cached("UPDATE OR IGNORE label_chat SET chat = ?1 WHERE chat = ?2")?
            .execute([keep, drop])?;
        for table in ["history_request", "history_late"] {
            self.0
                .conn()
                .prepare_cached(&format!("UPDATE OR IGNORE {table} SET chat = ?1 WHERE chat = ?2"))?
                .execute([keep, drop])?;
        }
        Ok(())
    }
}
