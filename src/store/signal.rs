//! Signal state at rest: prekeys, sessions, identities. Addresses are device JIDs, under the LID wherever one is known.

use rusqlite::{OptionalExtension as _, params};

use super::{Error, Tx};
use crate::{
    clock::Millis,
    crypto::{
        KeyPair, PublicKey,
        signal::{Session, SignedPreKey},
    },
    wire::Jid,
};

/// Access to the Signal tables.
pub struct Signal<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// Prekeys, sessions, identities.
    pub fn signal(&self) -> Signal<'_> {
        Signal(self)
    }
}

fn key_pair(blob: Vec<u8>) -> rusqlite::Result<KeyPair> {
    let private: [u8; 32] = blob.try_into().map_err(|blob: Vec<u8>| {
        rusqlite::Error::FromSqlConversionFailure(
            blob.len(),
            rusqlite::types::Type::Blob,
            "a key of another length".into(),
        )
    })?;
    Ok(KeyPair::from_private(private))
}

impl Signal<'_> {
    /// All sessions with a device. A record that cannot be read counts as none, so that the peer can start over.
    pub fn session(&self, address: &Jid) -> Result<Session, Error> {
        let record: Option<Vec<u8>> = self
            .0
            .conn()
            .prepare_cached("SELECT record FROM session WHERE address = ?1")?
            .query_row([address.to_wire()], |row| row.get(0))
            .optional()?;
        Ok(record.and_then(|bytes| Session::decode(&bytes).ok()).unwrap_or_default())
    }

    /// Keeps the sessions with a device.
    pub fn set_session(&self, address: &Jid, session: &Session) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("INSERT OR REPLACE INTO session (address, record) VALUES (?1, ?2)")?
            .execute(params![address.to_wire(), session.encode()])?;
        Ok(())
    }

    /// Forgets a device's sessions and identity.
    pub fn forget(&self, address: &Jid) -> Result<(), Error> {
        let address = address.to_wire();
        self.0.conn().prepare_cached("DELETE FROM session WHERE address = ?1")?.execute([&address])?;
        self.0.conn().prepare_cached("DELETE FROM identity WHERE address = ?1")?.execute([&address])?;
        Ok(())
    }

    /// Forgets all companions of a person.
    pub fn forget_companions(&self, person: &Jid) -> Result<(), Error> {
        let pattern = format!("{}:*@{}", person.user(), person.server().as_str());
        self.0.conn().prepare_cached("DELETE FROM session WHERE address GLOB ?1")?.execute([&pattern])?;
        self.0.conn().prepare_cached("DELETE FROM identity WHERE address GLOB ?1")?.execute([&pattern])?;
        Ok(())
    }

    /// A device's identity as last seen.
    pub fn identity(&self, address: &Jid) -> Result<Option<PublicKey>, Error> {
        let key: Option<Vec<u8>> = self
            .0
            .conn()
            .prepare_cached("SELECT key FROM identity WHERE address = ?1")?
            .query_row([address.to_wire()], |row| row.get(0))
            .optional()?;
        Ok(key.and_then(|key| PublicKey::from_slice(&key).ok()))
    }

    /// Keeps a device's identity (trust on first use, changes are followed).
    pub fn set_identity(&self, address: &Jid, key: &PublicKey) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("INSERT OR REPLACE INTO identity (address, key) VALUES (?1, ?2)")?
            .execute(params![address.to_wire(), key.as_bytes()])?;
        Ok(())
    }

    /// A signed prekey by id; old ones stay for what is still under way.
    pub fn signed_pre_key(&self, id: u32) -> Result<Option<KeyPair>, Error> {
        let pair = self
            .0
            .conn()
            .prepare_cached("SELECT private FROM signed_pre_key WHERE id = ?1")?
            .query_row([id], |row| key_pair(row.get(0)?))
            .optional()?;
        Ok(pair)
    }

    /// The newest signed prekey, its public half.
    pub fn newest_signed_pre_key(&self) -> Result<Option<SignedPreKey>, Error> {
        let row = self
            .0
            .conn()
            .prepare_cached(
                "SELECT id, private, signature FROM signed_pre_key ORDER BY created_at DESC, id DESC LIMIT 1",
            )?
            .query_row([], |row| Ok((row.get(0)?, key_pair(row.get(1)?)?, row.get::<_, Vec<u8>>(2)?)))
            .optional()?;
        let Some((id, pair, signature)) = row else { return Ok(None) };
        let signature =
            signature.try_into().map_err(|_| Error::Damaged("a signature of another length".into()))?;
        Ok(Some(SignedPreKey { id, key: pair.public, signature }))
    }

    /// Adds a signed prekey.
    pub fn add_signed_pre_key(
        &self,
        id: u32,
        pair: &KeyPair,
        signature: &[u8; 64],
        now: Millis,
    ) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "INSERT OR REPLACE INTO signed_pre_key (id, private, signature, created_at) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![id, pair.private.as_bytes(), signature, now.0])?;
        Ok(())
    }

    /// A one-time prekey by id.
    pub fn pre_key(&self, id: u32) -> Result<Option<KeyPair>, Error> {
        let pair = self
            .0
            .conn()
            .prepare_cached("SELECT private FROM pre_key WHERE id = ?1")?
            .query_row([id], |row| key_pair(row.get(0)?))
            .optional()?;
        Ok(pair)
    }

    /// Adds a one-time prekey. `uploaded`: it travels by another way than the pool.
    pub fn add_pre_key(&self, id: u32, pair: &KeyPair, uploaded: bool) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("INSERT OR REPLACE INTO pre_key (id, private, uploaded) VALUES (?1, ?2, ?3)")?
            .execute(params![id, pair.private.as_bytes(), uploaded])?;
        Ok(())
    }

    /// Deletes a one-time prekey that a session used up.
    pub fn remove_pre_key(&self, id: u32) -> Result<(), Error> {
        self.0.conn().prepare_cached("DELETE FROM pre_key WHERE id = ?1")?.execute([id])?;
        Ok(())
    }

    /// One-time prekeys that the server has not confirmed yet.
    pub fn unconfirmed_pre_keys(&self) -> Result<Vec<(u32, KeyPair)>, Error> {
        let mut statement =
            self.0.conn().prepare_cached("SELECT id, private FROM pre_key WHERE uploaded = 0 ORDER BY id")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, key_pair(row.get(1)?)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Marks these as held by the server.
    pub fn confirm_pre_keys(&self, ids: &[u32]) -> Result<(), Error> {
        let mut statement = self.0.conn().prepare_cached("UPDATE pre_key SET uploaded = 1 WHERE id = ?1")?;
        for id in ids {
            statement.execute([id])?;
        }
        Ok(())
    }
}
