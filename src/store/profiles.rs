//! What people and businesses show of themselves, as WhatsApp last said it: a bounded cache.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Error, Tx, sql, unsql};
use crate::{clock::Millis, wire::Jid};

/// People kept; beyond it the one that was asked for longest ago gives way.
const MAX_PROFILES: u64 = 10_000;
/// Businesses kept, each with a page of its catalogue: some tens of KiB.
const MAX_BUSINESSES: u64 = 200;
/// Bytes of one; a page of a catalogue has some tens of KiB.
const MAX_BODY: usize = 256 << 10;

/// What a person shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The text about themselves; `None`: none, or hidden.
    pub about: Option<String>,
    /// Where the picture can be fetched, for some days; `None`: none, or hidden.
    pub picture_url: Option<String>,
    /// A business.
    pub business: bool,
    /// Its name, as WhatsApp has verified it.
    pub verified_name: Option<String>,
    /// When that was asked; 0: something has changed since.
    pub fetched_at: Millis,
}

/// Access to the caches.
pub struct Profiles<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// What people show of themselves.
    pub fn profiles(&self) -> Profiles<'_> {
        Profiles(self)
    }
}

fn profile(row: &Row<'_>) -> rusqlite::Result<Profile> {
    Ok(Profile {
        about: row.get(0)?,
        picture_url: row.get(1)?,
        business: row.get(2)?,
        verified_name: row.get(3)?,
        fetched_at: Millis(unsql(row.get(4)?)),
    })
}

impl Profiles<'_> {
    /// A person under either name.
    pub fn find(&self, person: &Jid) -> Result<Option<Profile>, Error> {
        let [one, other] = self.0.both_names(person)?;
        let select = "SELECT about, picture_url, business, verified_name, fetched_at FROM profile
                      WHERE jid IN (?1, ?2) ORDER BY fetched_at DESC LIMIT 1";
        Ok(self.0.conn().prepare_cached(select)?.query_row([one, other], profile).optional()?)
    }

    /// Keeps what was answered.
    pub fn set(&self, person: &Jid, shown: &Profile) -> Result<(), Error> {
        let [one, other] = self.0.both_names(person)?;
        let conn = self.0.conn();
        conn.prepare_cached("DELETE FROM profile WHERE jid IN (?1, ?2)")?.execute([&one, &other])?;
        conn.prepare_cached(
            "INSERT INTO profile (jid, about, picture_url, business, verified_name, fetched_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            one,
            shown.about,
            shown.picture_url,
            shown.business,
            shown.verified_name,
            sql(shown.fetched_at.0)
        ])?;
        conn.prepare_cached(
            "DELETE FROM profile WHERE jid IN (SELECT jid FROM profile ORDER BY fetched_at
                 LIMIT max(0, (SELECT count(*) FROM profile) - ?1))",
        )?
        .execute([sql(MAX_PROFILES)])?;
        Ok(())
    }

    /// Something of it is other than we thought.
    pub fn doubt(&self, person: &Jid) -> Result<(), Error> {
        let names = self.0.both_names(person)?;
        let conn = self.0.conn();
        conn.prepare_cached("UPDATE profile SET fetched_at = 0 WHERE jid IN (?1, ?2)")?
            .execute(names.clone())?;
        conn.prepare_cached("DELETE FROM business WHERE jid IN (?1, ?2)")?.execute(names)?;
        Ok(())
    }

    /// The text is this one now.
    pub fn set_about(&self, person: &Jid, about: &str) -> Result<(), Error> {
        let [one, other] = self.0.both_names(person)?;
        let update = "UPDATE profile SET about = ?3 WHERE jid IN (?1, ?2)";
        self.0.conn().prepare_cached(update)?.execute([one.as_str(), other.as_str(), about])?;
        Ok(())
    }

    /// A business as it was answered, if that was no longer ago than `since`.
    pub fn business(&self, person: &Jid, since: Millis) -> Result<Option<String>, Error> {
        let [one, other] = self.0.both_names(person)?;
        let select = "SELECT body FROM business WHERE jid IN (?1, ?2) AND fetched_at >= ?3";
        let mut statement = self.0.conn().prepare_cached(select)?;
        Ok(statement.query_row(params![one, other, sql(since.0)], |row| row.get(0)).optional()?)
    }

    /// Keeps what was answered, unless it is larger than anything ordinary.
    pub fn set_business(&self, person: &Jid, body: &str, now: Millis) -> Result<(), Error> {
        if body.len() > MAX_BODY {
            return Ok(());
        }
        let [one, _] = self.0.both_names(person)?;
        let conn = self.0.conn();
        conn.prepare_cached("INSERT OR REPLACE INTO business (jid, body, fetched_at) VALUES (?1, ?2, ?3)")?
            .execute(params![one, body, sql(now.0)])?;
        conn.prepare_cached(
            "DELETE FROM business WHERE jid IN (SELECT jid FROM business ORDER BY fetched_at
                 LIMIT max(0, (SELECT count(*) FROM business) - ?1))",
        )?
        .execute([sql(MAX_BUSINESSES)])?;
        Ok(())
    }
}

impl Tx<'_> {
    /// Both names of a person, the number first; the same twice where only one is known.
    pub(super) fn both_names(&self, person: &Jid) -> Result<[String; 2], Error> {
        let person = person.bare();
        Ok(match self.people().other_name(&person)? {
            Some(other) if person.is_lid() => [other.to_wire(), person.to_wire()],
            Some(other) => [person.to_wire(), other.to_wire()],
            None => [person.to_wire(), person.to_wire()],
        })
    }
}
