//! Whom the account has blocked.

use std::collections::HashSet;

use rusqlite::params;

use super::{Error, Tx, device::jid};
use crate::wire::Jid;

/// The setting that holds the hash of the list.
const HASH: &str = "blocklist.dhash";
/// People kept; of a longer list the rest is left out.
const MAX_BLOCKED: usize = 10_000;

/// Somebody who was blocked, or is not any more.
pub type Change = (Jid, bool);

/// Access to the list.
pub struct Blocks<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// The block list.
    pub fn blocks(&self) -> Blocks<'_> {
        Blocks(self)
    }
}

impl Blocks<'_> {
    /// What WhatsApp calls the list as it is here; `None`: it was never read.
    pub fn hash(&self) -> Result<Option<String>, Error> {
        self.0.settings().get(HASH)
    }

    /// From now on; `None`: it has to be read anew.
    pub fn set_hash(&self, hash: Option<&str>) -> Result<(), Error> {
        match hash {
            Some(hash) => self.0.settings().set(HASH, hash),
            None => self.0.settings().remove(HASH),
        }
    }

    /// Everybody, as WhatsApp names them, in order.
    pub fn list(&self) -> Result<Vec<Jid>, Error> {
        let mut statement = self.0.conn().prepare_cached("SELECT jid FROM blocked ORDER BY jid")?;
        Ok(statement.query_map([], |row| jid(row.get(0)?))?.collect::<Result<_, _>>()?)
    }

    /// Whether a person is in it, under whichever name.
    pub fn has(&self, person: &Jid) -> Result<bool, Error> {
        let names = self.0.both_names(person)?;
        let select = "SELECT 1 FROM blocked WHERE jid IN (?1, ?2) OR pn IN (?1, ?2)";
        Ok(self.0.conn().prepare_cached(select)?.exists(names)?)
    }

    /// Puts somebody in, or takes them out. `true` if that was news.
    pub fn set(&self, person: &Jid, pn: Option<&Jid>, blocked: bool) -> Result<bool, Error> {
        let was = self.has(person)?;
        if was == blocked {
            return Ok(false);
        }
        let conn = self.0.conn();
        if blocked {
            conn.prepare_cached("INSERT OR REPLACE INTO blocked (jid, pn) VALUES (?1, ?2)")?
                .execute(params![person.bare().to_wire(), pn.map(Jid::to_wire)])?;
        } else {
            let names = self.0.both_names(person)?;
            conn.prepare_cached("DELETE FROM blocked WHERE jid IN (?1, ?2) OR pn IN (?1, ?2)")?
                .execute(names)?;
        }
        Ok(true)
    }

    /// The whole list as WhatsApp has it: what of it was news.
    pub fn replace(&self, people: &[(Jid, Option<Jid>)], hash: Option<&str>) -> Result<Vec<Change>, Error> {
        let mut changes = Vec::new();
        let people = people.get(..MAX_BLOCKED).unwrap_or(people);
        let mut kept = HashSet::new();
        for (who, pn) in people {
            if let Some(pn) = pn {
                self.0.people().learn(who, pn)?;
            }
            kept.extend(self.0.both_names(who)?);
            kept.insert(who.to_wire());
        }
        for known in self.list()? {
            let names = self.0.both_names(&known)?;
            if !names.iter().any(|name| kept.contains(name)) && self.set(&known, None, false)? {
                changes.push((known, false));
            }
        }
        for (who, pn) in people {
            if self.set(who, pn.as_ref(), true)? {
                changes.push((who.clone(), true));
            }
        }
        self.set_hash(hash)?;
        Ok(changes)
    }
}
