//! What own devices hand over: app-state keys.

use rusqlite::params;

use super::{Error, Tx};

/// Access to what came from the phone.
pub struct Sync<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// App-state keys.
    pub fn sync(&self) -> Sync<'_> {
        Sync(self)
    }
}

impl Sync<'_> {
    /// Keeps an app-state key (serialized AppStateSyncKey) by its id.
    pub fn add_app_state_key(&self, id: &[u8], key: &[u8]) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("INSERT OR REPLACE INTO app_state_key (id, key) VALUES (?1, ?2)")?
            .execute(params![id, key])?;
        Ok(())
    }
}
