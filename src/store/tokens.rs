//! `sk_` tokens: who may call, and what for. Only a SHA-256 of a token is kept.
use std::{fmt, str::FromStr, time::Duration};

use rand::{CryptoRng, RngExt as _, distr::Alphanumeric};
use rusqlite::{OptionalExtension as _, Row, params};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Error, Tx, sql, unsql};
use crate::clock::Millis;

/// Random characters after `sk_` (instance-api.md §2): 62^40, or 238 bits.
const SECRET_CHARS: usize = 40;
/// The last use of a token is written at most this often, so that reading calls stay reads.
const LAST_USE: Duration = Duration::from_secs(60);

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Send,
    Read,
    Manage,
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Send, Self::Read, Self::Manage];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
            Self::Manage => "manage",
        }
    }

    /// As stored.
    const fn bit(self) -> u8 {
        match self {
            Self::Send => 1,
            Self::Read => 2,
            Self::Manage => 4,
        }
    }
}

/// A set of scopes; as text `send,read,manage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    pub const ALL: Self = Self(7);

    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | scope.bit()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> =
            Scope::ALL.into_iter().filter(|&scope| self.contains(scope)).map(Scope::as_str).collect();
        f.write_str(&names.join(","))
    }
}

/// A scope that does not exist, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scopes are send, read and manage, separated by commas")]
pub struct BadScopes;

impl FromStr for Scopes {
    type Err = BadScopes;
    fn from_str(text: &str) -> Result<Self, BadScopes> {
        let scope =
            |name: &str| Scope::ALL.into_iter().find(|scope| scope.as_str() == name.trim()).ok_or(BadScopes);
        text.split(',').map(scope).collect()
    }
}

/// A token in the clear: shown once, then only its hash is known.
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        let mut text = String::with_capacity(3 + SECRET_CHARS);
        text.push_str("sk_");
        text.extend(rng.sample_iter(Alphanumeric).take(SECRET_CHARS).map(char::from));
        Self(Zeroizing::new(text))
    }

    /// The whole token, `sk_` included.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(sk_…)")
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The token of `--token`: accepted besides those in the database, with every scope, and never stored.
#[derive(Clone)]
pub struct Configured {
    hash: [u8; 32],
}

impl Configured {
    /// [`Caller::id`] of it; stored tokens start at 1.
    pub const ID: i64 = 0;

    pub fn new(token: &str) -> Self {
        Self { hash: hash(token) }
    }

    /// Who presents this very token.
    pub fn verify(&self, presented: &str) -> Option<Caller> {
        let equal: bool = self.hash.ct_eq(&hash(presented)).into();
        equal.then(|| Caller { id: Self::ID, name: "configuration".into(), scopes: Scopes::ALL })
    }
}

impl fmt::Debug for Configured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Configured(sk_…)")
    }
}

/// A caller's name in the audit, by the id of its token.
pub fn actor(token: i64) -> String {
    if token == Configured::ID { "configuration".into() } else { format!("token {token}") }
}

/// Who calls, as known from a good token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub id: i64,
    pub name: String,
    pub scopes: Scopes,
}

/// A good token, and whether its last use is due to be written down ([`Tokens::used`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub caller: Caller,
    pub note_use: bool,
}

#[derive(Clone, Debug)]
pub struct NewToken {
    pub name: String,
    pub scopes: Scopes,
    pub expires: Option<Millis>,
}

/// A token as `token list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: i64,
    pub name: String,
    pub scopes: Scopes,
    pub created: Millis,
    /// To the minute.
    pub last_used: Option<Millis>,
    pub expires: Option<Millis>,
}

pub struct Tokens<'a> {
    tx: &'a Tx<'a>,
}

impl<'t> Tx<'t> {
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens { tx: self }
    }
}

impl Tokens<'_> {
    /// Stores the hash of `secret`; returns the token's id. `actor` is for the audit.
    pub fn create(&self, secret: &Secret, new: &NewToken, actor: &str, now: Millis) -> Result<i64, Error> {
        let insert = "INSERT INTO token (hash, name, scopes, created, expires) VALUES (?1, ?2, ?3, ?4, ?5)";
        let expires = new.expires.map(|at| sql(at.0));
        let row = params![hash(secret.expose()), new.name, new.scopes.0, sql(now.0), expires];
        self.tx.conn().prepare_cached(insert)?.execute(row)?;
        let id = self.tx.conn().last_insert_rowid();
        self.tx.audit().note(actor, "token.create", &format!("token {id} for {}", new.scopes), now)?;
        Ok(id)
    }

    /// Whether a token was ever made, revoked ones included.
    pub fn any(&self) -> Result<bool, Error> {
        let mut statement = self.tx.conn().prepare_cached("SELECT EXISTS (SELECT 1 FROM token)")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// All that are not revoked, expired ones included, oldest first.
    pub fn list(&self) -> Result<Vec<Token>, Error> {
        let select = "SELECT id, name, scopes, created, last_used, expires FROM token
                      WHERE revoked IS NULL ORDER BY id";
        let mut statement = self.tx.conn().prepare_cached(select)?;
        let rows = statement.query_map([], |row| {
            Ok(Token {
                id: row.get(0)?,
                name: row.get(1)?,
                scopes: Scopes(row.get(2)?),
                created: Millis(unsql(row.get(3)?)),
                last_used: time(row, 4)?,
                expires: time(row, 5)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// From the commit on nobody gets in with it. False: there is no such token, or it was revoked before.
    pub fn revoke(&self, id: i64, actor: &str, now: Millis) -> Result<bool, Error> {
        let update = "UPDATE token SET revoked = ?2 WHERE id = ?1 AND revoked IS NULL";
        let revoked = self.tx.conn().prepare_cached(update)?.execute(params![id, sql(now.0)])? > 0;
        if revoked {
            self.tx.audit().note(actor, "token.revoke", &format!("token {id}"), now)?;
        }
        Ok(revoked)
    }

    /// Whose token this is; `None`: unknown, revoked or expired.
    pub fn verify(&self, presented: &str, now: Millis) -> Result<Option<Verified>, Error> {
        let presented = hash(presented);
        let select = "SELECT hash, id, name, scopes, last_used, expires FROM token
                      WHERE hash = ?1 AND revoked IS NULL";
        let mut statement = self.tx.conn().prepare_cached(select)?;
        let found = statement
            .query_row([presented], |row| {
                let caller = Caller { id: row.get(1)?, name: row.get(2)?, scopes: Scopes(row.get(3)?) };
                Ok((row.get::<_, [u8; 32]>(0)?, caller, time(row, 4)?, time(row, 5)?))
            })
            .optional()?;
        // The index compares hashes, of which the caller can choose neither the bytes nor a prefix; the decision itself
        // takes the same time whatever they are.
        Ok(found
            .filter(|(stored, _, _, expires)| {
                bool::from(stored.ct_eq(&presented)) && expires.is_none_or(|at| now < at)
            })
            .map(|(_, caller, last_used, _)| Verified {
                caller,
                note_use: last_used.is_none_or(|at| now.since(at) >= LAST_USE),
            }))
    }

    /// Notes the last use.
    pub fn used(&self, id: i64, now: Millis) -> Result<(), Error> {
        let mut statement = self.tx.conn().prepare_cached("UPDATE token SET last_used = ?2 WHERE id = ?1")?;
        statement.execute(params![id, sql(now.0)])?;
        Ok(())
    }
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Millis>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(|at| Millis(unsql(at))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_what_they_print() {
        let set: Scopes = "manage, send".parse().unwrap();
        assert_eq!(set.to_string(), "send,manage");
        assert!(set.contains(Scope::Send) && !set.contains(Scope::Read));
        assert_eq!(Scopes::ALL, Scope::ALL.into_iter().collect());
        assert_eq!("send,everything".parse::<Scopes>(), Err(BadScopes));
        assert_eq!("".parse::<Scopes>(), Err(BadScopes));
    }
}
