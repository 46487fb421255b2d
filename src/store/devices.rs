//! Which companions a person's phone vouches for, by the last list that it signed. Kept apart from the list of devices that
//! is written to, which comes and goes with what the server says.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use rusqlite::{OptionalExtension as _, params};

use super::{Error, Tx};
use crate::wire::Jid;

/// Access to what phones have vouched for. People go by the address under which their Signal sessions are kept.
pub struct Devices<'a>(&'a Tx<'a>);

/// The last good list of one person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vouch {
    /// Of the account's registration.
    pub raw_id: u32,
    /// When the phone signed, Unix seconds by its own clock.
    pub timestamp_secs: u64,
    /// The highest key index that was ever given away.
    pub current: u32,
    /// Of the companions that were linked then.
    pub valid: Vec<u32>,
    /// Those that are known, by device number, with their key indexes.
    pub companions: BTreeMap<u16, u32>,
}

impl Tx<'_> {
    /// What phones have vouched for.
    pub fn devices(&self) -> Devices<'_> {
        Devices(self)
    }
}

impl Devices<'_> {
    /// What a person's phone last vouched for, if it ever did.
    pub fn vouch(&self, person: &Jid) -> Result<Option<Vouch>, Error> {
        let row = self
            .0
            .conn()
            .prepare_cached(
                "SELECT raw_id, ts, current, valid, companions FROM device_vouch WHERE user = ?1",
            )?
            .query_row([person.bare().to_wire()], |row| {
                let (valid, companions): (String, String) = (row.get(3)?, row.get(4)?);
                Ok(Vouch {
                    raw_id: row.get(0)?,
                    timestamp_secs: row.get(1)?,
                    current: row.get(2)?,
                    valid: numbers(&valid),
                    companions: companions.split(',').filter_map(pair).collect(),
                })
            })
            .optional()?;
        Ok(row)
    }

    /// Keeps it. A time beyond what a row can hold is kept as the latest possible one.
    pub fn set_vouch(&self, person: &Jid, vouch: &Vouch) -> Result<(), Error> {
        let companions = vouch.companions.iter().map(|(device, index)| format!("{device}:{index}"));
        self.0
            .conn()
            .prepare_cached(
                "INSERT OR REPLACE INTO device_vouch (user, raw_id, ts, current, valid, companions)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                person.bare().to_wire(),
                vouch.raw_id,
                i64::try_from(vouch.timestamp_secs).unwrap_or(i64::MAX),
                vouch.current,
                joined(&vouch.valid),
                joined(companions),
            ])?;
        Ok(())
    }

    /// The account was registered anew: nothing of what was vouched for holds.
    pub fn forget(&self, person: &Jid) -> Result<(), Error> {
        let mut delete = self.0.conn().prepare_cached("DELETE FROM device_vouch WHERE user = ?1")?;
        delete.execute([person.bare().to_wire()])?;
        Ok(())
    }

    /// A number's LID became known. What is kept under the LID already wins.
    pub(super) fn move_person(&self, pn: &Jid, lid: &Jid) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE OR IGNORE device_vouch SET user = ?2 WHERE user = ?1")?
            .execute([pn.to_wire(), lid.to_wire()])?;
        self.forget(pn)
    }
}

fn joined(all: impl IntoIterator<Item = impl Display>) -> String {
    let all: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    all.join(",")
}

fn numbers<T: FromStr>(text: &str) -> Vec<T> {
    text.split(',').filter_map(|number| number.parse().ok()).collect()
}

fn pair(text: &str) -> Option<(u16, u32)> {
    let (device, index) = text.split_once(':')?;
    Some((device.parse().ok()?, index.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn a_vouch_reads_back_and_follows_its_person_to_the_lid() {
        let (pn, lid) = (Jid::pn("5511900000001"), Jid::lid("777000111222333"));
        let vouch = Vouch {
            raw_id: u32::MAX,
            timestamp_secs: 1_700_000_000,
            current: 7,
            valid: vec![0, 3, 7],
            companions: BTreeMap::from([(2, 3), (9, 7)]),
        };
        let store = Store::in_memory().unwrap();
        store
            .write(move |tx| {
                assert_eq!(tx.devices().vouch(&pn)?, None);
                tx.devices().set_vouch(&pn.with_device(4), &vouch)?;
                assert_eq!(tx.devices().vouch(&pn)?, Some(vouch.clone()));
                tx.people().learn(&pn, &lid)?;
                assert_eq!((tx.devices().vouch(&pn)?, tx.devices().vouch(&lid)?), (None, Some(vouch)));
                let empty = Vouch { timestamp_secs: u64::MAX, ..Vouch::default() };
                tx.devices().set_vouch(&lid, &empty)?;
                let kept = tx.devices().vouch(&lid)?.unwrap();
                assert_eq!(
                    (kept.timestamp_secs, kept.valid, kept.companions.len()),
                    (i64::MAX as u64, vec![], 0)
                );
                tx.devices().forget(&lid)?;
                assert_eq!(tx.devices().vouch(&lid)?, None);
                Ok::<(), Error>(())
            })
            .await
            .unwrap();
    }
}
