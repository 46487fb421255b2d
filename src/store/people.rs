//! Who is who: hidden identities and numbers of one person, device lists, push names, numbers looked up.

use std::time::Duration;

use rusqlite::{OptionalExtension as _, params};

use super::{Error, Tx, device::jid};
use crate::{
    clock::Millis,
    wire::{Jid, Server},
};

/// How long WhatsApp's answer for a number holds. Numbers do move, rarely; a day keeps a mistake short.
const NUMBER_FRESH: Duration = Duration::from_secs(24 * 3600);
/// How long "not registered" holds: somebody may be installing the app right now.
const NOT_FOUND_FRESH: Duration = Duration::from_secs(60);

/// Access to the tables about people.
pub struct People<'a>(&'a Tx<'a>);

/// What is known of a number that somebody typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Number {
    /// Never asked, or too long ago.
    Unknown,
    /// Registered, under this address (by number).
    Registered(Jid),
    /// Not registered.
    NotRegistered,
}

impl Tx<'_> {
    /// Names, numbers and devices of people.
    pub fn people(&self) -> People<'_> {
        People(self)
    }
}

impl People<'_> {
    /// The hidden identity behind a number; both bare.
    pub fn lid_of(&self, pn: &Jid) -> Result<Option<Jid>, Error> {
        let mut statement = self.0.conn().prepare_cached("SELECT lid FROM lid_map WHERE pn = ?1")?;
        Ok(statement.query_row([pn.bare().to_wire()], |row| jid(row.get(0)?)).optional()?)
    }

    /// The number behind a hidden identity; both bare.
    pub fn pn_of(&self, lid: &Jid) -> Result<Option<Jid>, Error> {
        let mut statement = self.0.conn().prepare_cached("SELECT pn FROM lid_map WHERE lid = ?1")?;
        Ok(statement.query_row([lid.bare().to_wire()], |row| jid(row.get(0)?)).optional()?)
    }

    /// The other name of a person, if known; bare.
    pub fn other_name(&self, person: &Jid) -> Result<Option<Jid>, Error> {
        let person = person.bare();
        match (person.is_pn(), person.is_lid()) {
            (true, _) => self.lid_of(&person),
            (_, true) => self.pn_of(&person),
            _ => Ok(None),
        }
    }

    /// The name of a person by which a caller knows it best: the number where that is known; bare.
    pub fn number_first(&self, person: &Jid) -> Result<Jid, Error> {
        let person = person.bare();
        let number = if person.is_lid() { self.pn_of(&person)? } else { None };
        Ok(number.unwrap_or(person))
    }

    /// The hidden identity of a person, if it is known, under whichever name; bare.
    pub fn lid_known(&self, person: &Jid) -> Result<Option<Jid>, Error> {
        let person = person.bare();
        if person.is_lid() { Ok(Some(person)) } else { self.lid_of(&person) }
    }

    /// Under which name a device's Signal state is kept: its LID wherever one is known.
    pub fn signal_address(&self, device: &Jid) -> Result<Jid, Error> {
        let lid = if device.bare().is_pn() { self.lid_of(device)? } else { None };
        Ok(lid.map_or_else(|| device.clone(), |lid| device.under(&lid)))
    }

    /// Two names of one person, in any order. Sessions move to the LID, chats become one.
    /// `true` if this was news.
    pub fn learn(&self, one: &Jid, other: &Jid) -> Result<bool, Error> {
        let (one, other) = (one.bare(), other.bare());
        let (lid, pn) = match (one.is_lid() && other.is_pn(), one.is_pn() && other.is_lid()) {
            (true, _) => (one, other),
            (_, true) => (other, one),
            _ => return Ok(false),
        };
        if lid.user().is_empty() || pn.user().is_empty() || self.lid_of(&pn)?.as_ref() == Some(&lid) {
            return Ok(false);
        }
        let conn = self.0.conn();
        let strangers = self.strangers(&pn, &lid)?;
        conn.prepare_cached("DELETE FROM lid_map WHERE lid = ?1 OR pn = ?2")?
            .execute([lid.to_wire(), pn.to_wire()])?;
        conn.prepare_cached("INSERT INTO lid_map (lid, pn) VALUES (?1, ?2)")?
            .execute([lid.to_wire(), pn.to_wire()])?;
        self.move_signal_state(&pn, &lid)?;
        self.0.sender_keys().move_sender(&pn, &lid)?;
        self.0.privacy_tokens().move_person(&pn, &lid)?;
        self.0.devices().move_person(&pn, &lid)?;
        self.forget_devices(&pn)?;
        let merged = self.0.messages().merge_chats(&pn, &lid)?;
        if strangers {
            conn.prepare_cached(
                "INSERT OR REPLACE INTO identity_news (lid, pn, merged) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![lid.to_wire(), pn.to_wire(), merged])?;
        }
        Ok(true)
    }

    /// Whether something is known of a person under one name alone, which nobody could tell from the other so far.
    fn strangers(&self, pn: &Jid, lid: &Jid) -> Result<bool, Error> {
        let mut known = self.0.conn().prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM chat WHERE jid IN (?1, ?2) AND alt IS NULL)
                 OR EXISTS (SELECT 1 FROM contact WHERE jid IN (?1, ?2))",
        )?;
        Ok(known.query_row([pn.to_wire(), lid.to_wire()], |row| row.get(0))?)
    }

    /// Takes up to `limit` people whose names have met and of whom nobody has been told: number, LID, and the row of
    /// the chat that went into the other one.
    pub fn take_news(&self, limit: u32) -> Result<Vec<(Jid, Jid, Option<i64>)>, Error> {
        let conn = self.0.conn();
        let mut found = conn.prepare_cached("SELECT pn, lid, merged FROM identity_news LIMIT ?1")?;
        let rows = found.query_map([limit], |row| Ok((jid(row.get(0)?)?, jid(row.get(1)?)?, row.get(2)?)))?;
        let news: Vec<(Jid, Jid, Option<i64>)> = rows.collect::<Result<_, _>>()?;
        for (_, lid, _) in &news {
            conn.prepare_cached("DELETE FROM identity_news WHERE lid = ?1")?.execute([lid.to_wire()])?;
        }
        Ok(news)
    }

    /// Renames sessions and identities of the number's devices; what exists under the LID already wins.
    fn move_signal_state(&self, pn: &Jid, lid: &Jid) -> Result<(), Error> {
        for table in ["session", "identity"] {
            let mut addresses = self.0.conn().prepare_cached(&format!(
                "SELECT address FROM {table} WHERE address = ?1 OR address GLOB ?2 OR address GLOB ?3"
            ))?;
            let [ordinary, hosted] =
                [Server::Pn, Server::Hosted].map(|server| format!("{}:*@{}", pn.user(), server.as_str()));
            let found: Vec<String> = addresses
                .query_map([pn.to_wire(), ordinary, hosted], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for address in found {
                let device: Jid = jid(address.clone())?;
                let target = device.under(lid).to_wire();
                self.0
                    .conn()
                    .prepare_cached(&format!("UPDATE OR IGNORE {table} SET address = ?2 WHERE address = ?1"))?
                    .execute([&address, &target])?;
                self.0
                    .conn()
                    .prepare_cached(&format!("DELETE FROM {table} WHERE address = ?1"))?
                    .execute([&address])?;
            }
        }
        Ok(())
    }

    /// Device numbers of a person as last fetched, and when.
    pub fn devices(&self, user: &Jid) -> Result<Option<(Vec<u16>, Millis)>, Error> {
        let row: Option<(String, u64)> = self
            .0
            .conn()
            .prepare_cached("SELECT devices, fetched_at FROM device_list WHERE user = ?1")?
            .query_row([user.bare().to_wire()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(row.map(|(list, at)| (list.split(',').filter_map(|id| id.parse().ok()).collect(), Millis(at))))
    }

    /// Keeps a device list.
    pub fn set_devices(&self, user: &Jid, devices: &[u16], now: Millis) -> Result<(), Error> {
        let list: Vec<String> = devices.iter().map(u16::to_string).collect();
        self.0
            .conn()
            .prepare_cached(
                "INSERT OR REPLACE INTO device_list (user, devices, fetched_at) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![user.bare().to_wire(), list.join(","), now.0])?;
        Ok(())
    }

    /// Makes the next send ask for the device list again. Works under either name.
    pub fn forget_devices(&self, user: &Jid) -> Result<(), Error> {
        let mut delete = self.0.conn().prepare_cached("DELETE FROM device_list WHERE user = ?1")?;
        delete.execute([user.bare().to_wire()])?;
        if let Some(other) = self.other_name(user)? {
            delete.execute([other.to_wire()])?;
        }
        Ok(())
    }

    /// What is known of a typed number.
    pub fn number(&self, digits: &str, now: Millis) -> Result<Number, Error> {
        let row: Option<(Option<String>, u64)> = self
            .0
            .conn()
            .prepare_cached("SELECT jid, checked_at FROM number WHERE digits = ?1")?
            .query_row([digits], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(match row {
            Some((Some(found), at)) if now.since(Millis(at)) < NUMBER_FRESH => {
                Number::Registered(jid(found)?)
            }
            Some((None, at)) if now.since(Millis(at)) < NOT_FOUND_FRESH => Number::NotRegistered,
            _ => Number::Unknown,
        })
    }

    /// Keeps WhatsApp's answer for a number.
    pub fn set_number(&self, digits: &str, found: Option<&Jid>, now: Millis) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("INSERT OR REPLACE INTO number (digits, jid, checked_at) VALUES (?1, ?2, ?3)")?
            .execute(params![digits, found.map(Jid::to_wire), now.0])?;
        Ok(())
    }

    /// Keeps the name a person gives itself. Known by either name of the person.
    pub fn set_push_name(&self, person: &Jid, name: &str) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "INSERT INTO contact (jid, push_name) VALUES (?1, ?2)
                 ON CONFLICT (jid) DO UPDATE SET push_name = excluded.push_name
                 WHERE push_name IS NOT excluded.push_name",
            )?
            .execute([person.bare().to_wire(), name.to_owned()])?;
        Ok(())
    }

    /// Keeps it unless a name is known: for one that may be old.
    pub fn suggest_push_name(&self, person: &Jid, name: &str) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "INSERT INTO contact (jid, push_name) VALUES (?1, ?2)
                 ON CONFLICT (jid) DO UPDATE SET push_name = excluded.push_name WHERE push_name IS NULL",
            )?
            .execute([person.bare().to_wire(), name.to_owned()])?;
        Ok(())
    }
}
