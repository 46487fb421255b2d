//! The address book, and what people call themselves.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Error, Tx, device::jid, sql};
use crate::wire::Jid;

/// One person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// By number where it is known, else by hidden identity.
    pub jid: Jid,
    /// The hidden identity, where it is known.
    pub lid: Option<Jid>,
    /// In the address book.
    pub name: Option<String>,
    /// The first name there.
    pub first_name: Option<String>,
    /// As the person calls itself.
    pub push_name: Option<String>,
    /// Its statuses are not shown.
    pub status_muted: bool,
}

/// Access to contacts.
pub struct Contacts<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// The address book.
    pub fn contacts(&self) -> Contacts<'_> {
        Contacts(self)
    }
}

/// A person may have a row under each name.
const VIEW: &str = "
    SELECT coalesce(m.pn, c.jid) AS who, max(coalesce(m.lid, p.lid)), max(c.full_name), max(c.first_name),
           max(c.push_name), max(c.status_muted)
    FROM contact c LEFT JOIN lid_map m ON m.lid = c.jid LEFT JOIN lid_map p ON p.pn = c.jid";

fn view(row: &Row<'_>) -> rusqlite::Result<Contact> {
    let who = jid(row.get(0)?)?;
    let lid = row.get::<_, Option<String>>(1)?.map(jid).transpose()?;
    Ok(Contact {
        lid: lid.or_else(|| who.is_lid().then(|| who.clone())),
        jid: who,
        name: row.get(2)?,
        first_name: row.get(3)?,
        push_name: row.get(4)?,
        status_muted: row.get(5)?,
    })
}

impl Contacts<'_> {
    /// A person under either name; `None` if nothing is known of it.
    pub fn find(&self, person: &Jid) -> Result<Option<Contact>, Error> {
        let person = person.bare();
        let other = self.0.people().other_name(&person)?.unwrap_or_else(|| person.clone());
        let mut statement =
            self.0.conn().prepare_cached(&format!("{VIEW} WHERE c.jid IN (?1, ?2) GROUP BY who"))?;
        Ok(statement.query_row([person.to_wire(), other.to_wire()], view).optional()?)
    }

    /// Everybody that something is known of, in the order of their numbers; and how many they are.
    pub fn list(&self, offset: u64, limit: u32) -> Result<(Vec<Contact>, u64), Error> {
        let conn = self.0.conn();
        let total = conn
            .prepare_cached(
                "SELECT count(DISTINCT coalesce(m.pn, c.jid)) FROM contact c LEFT JOIN lid_map m ON m.lid = c.jid",
            )?
            .query_row([], |row| row.get(0))?;
        let mut statement =
            conn.prepare_cached(&format!("{VIEW} GROUP BY who ORDER BY who LIMIT ?2 OFFSET ?1"))?;
        let people = statement.query_map(params![sql(offset), limit], view)?;
        Ok((people.collect::<Result<_, _>>()?, total))
    }

    /// Puts a person into the address book. `true` if that was news.
    pub fn set_name(&self, person: &Jid, full: &str, first: Option<&str>) -> Result<bool, Error> {
        let (person, other) = self.names(person)?;
        let conn = self.0.conn();
        let known: Option<(Option<String>, Option<String>)> = conn
            .prepare_cached("SELECT full_name, first_name FROM contact WHERE jid = ?1")?
            .query_row([&person], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let same = known.is_some_and(|(f, g)| (f.as_deref(), g.as_deref()) == (Some(full), first));
        conn.prepare_cached(
            "INSERT INTO contact (jid, full_name, first_name) VALUES (?1, ?2, ?3)
             ON CONFLICT (jid) DO UPDATE SET full_name = ?2, first_name = ?3, listed = 1",
        )?
        .execute(params![person, full, first])?;
        if let Some(other) = other {
            self.clear(&other)?;
        }
        Ok(!same)
    }

    /// Takes a person out of the address book. `true` if it was there.
    pub fn remove_name(&self, person: &Jid) -> Result<bool, Error> {
        let (person, other) = self.names(person)?;
        let mut was = self.clear(&person)?;
        if let Some(other) = other {
            was |= self.clear(&other)?;
        }
        Ok(was)
    }

    fn clear(&self, person: &str) -> Result<bool, Error> {
        let cleared = self
            .0
            .conn()
            .prepare_cached(
                "UPDATE contact SET full_name = NULL, first_name = NULL WHERE jid = ?1 AND full_name IS NOT NULL",
            )?
            .execute([person])?;
        Ok(cleared > 0)
    }

    /// The statuses of a person are not shown, or are again. `true` if that was news.
    pub fn set_status_muted(&self, person: &Jid, muted: bool) -> Result<bool, Error> {
        let (person, _) = self.names(person)?;
        let changed = self
            .0
            .conn()
            .prepare_cached(
                "INSERT INTO contact (jid, status_muted) VALUES (?1, ?2)
                 ON CONFLICT (jid) DO UPDATE SET status_muted = ?2 WHERE status_muted <> ?2",
            )?
            .execute(params![person, muted])?;
        Ok(changed > 0)
    }

    /// Under which name a person is in the address book, and the other one.
    fn names(&self, person: &Jid) -> Result<(String, Option<String>), Error> {
        let person = person.bare();
        let other = self.0.people().other_name(&person)?;
        Ok(match other {
            Some(pn) if person.is_lid() => (pn.to_wire(), Some(person.to_wire())),
            other => (person.to_wire(), other.map(|lid| lid.to_wire())),
        })
    }

    /// The whole address book is about to be read: nobody has been seen in it yet.
    pub fn unlist(&self) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE contact SET listed = 0 WHERE full_name IS NOT NULL")?
            .execute([])?;
        Ok(())
    }

    /// It was read: who was not in it is taken out, and named here.
    pub fn remove_unlisted(&self) -> Result<Vec<Jid>, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "UPDATE contact SET full_name = NULL, first_name = NULL, listed = 1
             WHERE listed = 0 AND full_name IS NOT NULL RETURNING jid",
        )?;
        Ok(statement.query_map([], |row| jid(row.get(0)?))?.collect::<Result<_, _>>()?)
    }
}
