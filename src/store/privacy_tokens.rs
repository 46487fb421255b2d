//! Trusted-contact tokens: what lets the account reach a person, and since when that person may reach the account. The
//! two directions know nothing of each other. Rules and names: protocol 06, 3.2 and 3.3.

use rusqlite::{OptionalExtension as _, params};

use super::{Error, Tx, sql, unsql};
use crate::wire::Jid;

/// What is kept of one person. Times are Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContactTokens {
    /// To be shown when the account reaches out; empty: none came.
    pub token: Vec<u8>,
    /// When it was issued.
    pub token_at: u64,
    /// When the account issued one to the person.
    pub issued_at: Option<u64>,
}

/// Access to the tokens.
pub struct PrivacyTokens<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// Trusted-contact tokens.
    pub fn privacy_tokens(&self) -> PrivacyTokens<'_> {
        PrivacyTokens(self)
    }
}

impl PrivacyTokens<'_> {
    fn name(&self, person: &Jid) -> Result<String, Error> {
        Ok(self.0.people().signal_address(&person.bare())?.to_wire())
    }

    /// What is kept of a person, under either name.
    pub fn of(&self, person: &Jid) -> Result<ContactTokens, Error> {
        let mut statement = self
            .0
            .conn()
            .prepare_cached("SELECT token, token_at, issued_at FROM privacy_token WHERE person = ?1")?;
        let found = statement.query_row([self.name(person)?], |row| {
            let issued = unsql(row.get(2)?);
            Ok(ContactTokens {
                token: row.get(0)?,
                token_at: unsql(row.get(1)?),
                issued_at: (issued > 0).then_some(issued),
            })
        });
        Ok(found.optional()?.unwrap_or_default())
    }

    /// A token came from a person: it takes the place of an older one. `true` if it did. What the account issued stays.
    pub fn receive(&self, person: &Jid, token: &[u8], at: u64) -> Result<bool, Error> {
        let changed = self
            .0
            .conn()
            .prepare_cached(
                "INSERT INTO privacy_token (person, token, token_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (person) DO UPDATE SET token = excluded.token, token_at = excluded.token_at
                 WHERE length(token) = 0 OR excluded.token_at >= token_at",
            )?
            .execute(params![self.name(person)?, token, sql(at)])?;
        Ok(changed > 0)
    }

    /// The account issued a person one. What came from that person stays.
    pub fn issued(&self, person: &Jid, at: u64) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "INSERT INTO privacy_token (person, issued_at) VALUES (?1, ?2)
                 ON CONFLICT (person) DO UPDATE SET issued_at = excluded.issued_at",
            )?
            .execute(params![self.name(person)?, sql(at)])?;
        Ok(())
    }

    /// Forgets whom neither direction says anything of any more: tokens older than the first time, and issued before
    /// the second.
    pub fn prune(&self, token_before: u64, issued_before: u64) -> Result<usize, Error> {
        Ok(self
            .0
            .conn()
            .prepare_cached(
                "DELETE FROM privacy_token WHERE (length(token) = 0 OR token_at < ?1) AND issued_at < ?2",
            )?
            .execute(params![sql(token_before), sql(issued_before)])?)
    }

    /// A number turned out to be this LID: of each direction the later word stays.
    pub(super) fn move_person(&self, pn: &Jid, lid: &Jid) -> Result<(), Error> {
        let conn = self.0.conn();
        conn.prepare_cached(
            "INSERT INTO privacy_token (person, token, token_at, issued_at)
             SELECT ?2, token, token_at, issued_at FROM privacy_token WHERE person = ?1
             ON CONFLICT (person) DO UPDATE SET
                 token = iif(length(excluded.token) > 0 AND excluded.token_at >= token_at, excluded.token, token),
                 token_at = max(token_at, excluded.token_at), issued_at = max(issued_at, excluded.issued_at)",
        )?
        .execute([pn.to_wire(), lid.to_wire()])?;
        conn.prepare_cached("DELETE FROM privacy_token WHERE person = ?1")?.execute([pn.to_wire()])?;
        Ok(())
    }
}
