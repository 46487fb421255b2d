//! Sender keys at rest, and who was told ours. Chats are groups or `status@broadcast`; other senders go by the address
//! under which their Signal sessions are kept.

use rusqlite::{OptionalExtension as _, params};

use super::{Error, Tx, device::jid};
use crate::{crypto::signal::SenderKeys as Keys, wire::Jid};

/// Under which name our own key of a chat is kept.
const OWN: &str = "";

/// Access to sender keys.
pub struct SenderKeys<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// Sender keys of groups.
    pub fn sender_keys(&self) -> SenderKeys<'_> {
        SenderKeys(self)
    }
}

impl SenderKeys<'_> {
    fn load(&self, chat: &Jid, sender: &str) -> Result<Option<Keys>, Error> {
        let record: Option<Vec<u8>> = self
            .0
            .conn()
            .prepare_cached("SELECT record FROM sender_key WHERE chat = ?1 AND sender = ?2")?
            .query_row([chat.to_wire().as_str(), sender], |row| row.get(0))
            .optional()?;
        Ok(record.and_then(|bytes| Keys::decode(&bytes).ok()))
    }

    fn keep(&self, chat: &Jid, sender: &str, keys: &Keys) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("INSERT OR REPLACE INTO sender_key (chat, sender, record) VALUES (?1, ?2, ?3)")?
            .execute(params![chat.to_wire(), sender, keys.encode()])?;
        Ok(())
    }

    /// What a device writes with. Nothing, or a record that cannot be read, counts as no key.
    pub fn of(&self, chat: &Jid, sender: &Jid) -> Result<Keys, Error> {
        Ok(self.load(chat, &sender.to_wire())?.unwrap_or_default())
    }

    /// What any device of a user writes with: each with its keys. For a message that names the user but not the device.
    pub fn of_user(&self, chat: &Jid, user: &Jid) -> Result<Vec<(Jid, Keys)>, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "SELECT sender, record FROM sender_key WHERE chat = ?1 AND (sender = ?2 OR sender GLOB ?3)",
        )?;
        let pattern = format!("{}:*@{}", user.user(), user.server().as_str());
        let rows = statement
            .query_map([chat.to_wire(), user.bare().to_wire(), pattern], |row| {
                Ok((jid(row.get(0)?)?, row.get::<_, Vec<u8>>(1)?))
            })?
            .collect::<Result<Vec<_>, _>>()?;
        Ok(rows
            .into_iter()
            .filter_map(|(sender, record)| Some((sender, Keys::decode(&record).ok()?)))
            .collect())
    }

    /// Keeps what a device writes with.
    pub fn set(&self, chat: &Jid, sender: &Jid, keys: &Keys) -> Result<(), Error> {
        self.keep(chat, &sender.to_wire(), keys)
    }

    /// Our own key of a chat, if there is one.
    pub fn own(&self, chat: &Jid) -> Result<Option<Keys>, Error> {
        self.load(chat, OWN)
    }

    /// Keeps our own key of a chat.
    pub fn set_own(&self, chat: &Jid, keys: &Keys) -> Result<(), Error> {
        self.keep(chat, OWN, keys)
    }

    /// Our own key of a chat is used no more: the next message begins a new one, and tells everybody.
    pub fn drop_own(&self, chat: &Jid) -> Result<(), Error> {
        let chat = chat.to_wire();
        let conn = self.0.conn();
        conn.prepare_cached("DELETE FROM sender_key WHERE chat = ?1 AND sender = ?2")?
            .execute([chat.as_str(), OWN])?;
        conn.prepare_cached("DELETE FROM sender_key_sent_to WHERE chat = ?1")?.execute([&chat])?;
        Ok(())
    }

    /// Which devices were told our present key.
    pub fn told(&self, chat: &Jid) -> Result<Vec<Jid>, Error> {
        let mut statement =
            self.0.conn().prepare_cached("SELECT device FROM sender_key_sent_to WHERE chat = ?1")?;
        let rows = statement.query_map([chat.to_wire()], |row| jid(row.get(0)?))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// These are told with what leaves now.
    pub fn tell<'j>(&self, chat: &Jid, devices: impl IntoIterator<Item = &'j Jid>) -> Result<(), Error> {
        let mut statement = self
            .0
            .conn()
            .prepare_cached("INSERT OR IGNORE INTO sender_key_sent_to (chat, device) VALUES (?1, ?2)")?;
        for device in devices {
            statement.execute([chat.to_wire(), device.to_wire()])?;
        }
        Ok(())
    }

    /// This device has to be told again, as far as it was; under either name of its user.
    pub fn forget_told(&self, chat: &Jid, device: &Jid) -> Result<(), Error> {
        let other = self.0.people().other_name(device)?.map(|other| other.with_device(device.device()));
        let mut statement =
            self.0.conn().prepare_cached("DELETE FROM sender_key_sent_to WHERE chat = ?1 AND device = ?2")?;
        for name in [Some(device.clone()), other].into_iter().flatten() {
            statement.execute([chat.to_wire(), name.to_wire()])?;
        }
        Ok(())
    }

    /// Everybody has to be told again: nobody knows whether what told them arrived.
    pub fn forget_all_told(&self, chat: &Jid) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("DELETE FROM sender_key_sent_to WHERE chat = ?1")?
            .execute([chat.to_wire()])?;
        Ok(())
    }

    /// A device began anew and has lost what it was told, in every chat; under either name of its user.
    pub fn forget_device(&self, device: &Jid) -> Result<(), Error> {
        let other = self.0.people().other_name(device)?.map(|other| other.with_device(device.device()));
        let mut statement =
            self.0.conn().prepare_cached("DELETE FROM sender_key_sent_to WHERE device = ?1")?;
        for name in [Some(device.clone()), other].into_iter().flatten() {
            statement.execute([name.to_wire()])?;
        }
        Ok(())
    }

    /// What a device writes with is not read any more, in any chat.
    pub fn forget_sender(&self, sender: &Jid) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("DELETE FROM sender_key WHERE sender = ?1")?
            .execute([sender.to_wire()])?;
        Ok(())
    }

    /// A person's companions are theirs no more, under either name: what they write with is not read any more, and what
    /// they were told is used no more, in any chat.
    pub fn forget_companions(&self, person: &Jid) -> Result<(), Error> {
        let conn = self.0.conn();
        for name in [Some(person.bare()), self.0.people().other_name(person)?].into_iter().flatten() {
            let pattern = format!("{}:*@{}", name.user(), name.server().as_str());
            conn.prepare_cached("DELETE FROM sender_key WHERE sender GLOB ?1")?.execute([&pattern])?;
            let mut told =
                conn.prepare_cached("SELECT DISTINCT chat FROM sender_key_sent_to WHERE device GLOB ?1")?;
            let chats: Vec<Jid> =
                told.query_map([&pattern], |row| jid(row.get(0)?))?.collect::<Result<_, _>>()?;
            chats.iter().try_for_each(|chat| self.drop_own(chat))?;
        }
        Ok(())
    }

    /// A number's LID became known: its devices' keys go by that from now on. What is kept under the LID already wins.
    pub(super) fn move_sender(&self, pn: &Jid, lid: &Jid) -> Result<(), Error> {
        let mut found = self
            .0
            .conn()
            .prepare_cached("SELECT DISTINCT sender FROM sender_key WHERE sender = ?1 OR sender GLOB ?2")?;
        let pattern = format!("{}:*@{}", pn.user(), pn.server().as_str());
        let found: Vec<String> =
            found.query_map([pn.to_wire(), pattern], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for sender in found {
            let target = lid.with_device(jid(sender.clone())?.device()).to_wire();
            self.0
                .conn()
                .prepare_cached("UPDATE OR IGNORE sender_key SET sender = ?2 WHERE sender = ?1")?
                .execute([&sender, &target])?;
            self.0.conn().prepare_cached("DELETE FROM sender_key WHERE sender = ?1")?.execute([&sender])?;
        }
        Ok(())
    }
}
