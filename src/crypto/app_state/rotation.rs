//! Which key is written with, and when it is time for another one. Any device of an account may make it: the one that
//! writes first finds that the key is old, or that a device which knows it was unlinked (WhatsApp Web's key management,
//! as public ports of it describe it; protocol 04, 15).

use std::{cmp::Reverse, collections::BTreeSet, fmt};

use rand::CryptoRng;
use zeroize::Zeroize;

use super::SyncKeys;
use crate::{
    clock::Millis,
    proto::message::{AppStateSyncKey, AppStateSyncKeyData, AppStateSyncKeyFingerprint, AppStateSyncKeyId},
};

/// How long a key is written with, in days, where the server says nothing else (AB prop 14488).
pub const KEY_DAYS: u64 = 30;
/// The least and the most that the server may say (WhatsApp Web).
const DAYS: (u64, u64) = (1, 90);
const DAY_MS: u64 = 24 * 3600 * 1000;
/// Times below are seconds, whatever the schema says.
const SECONDS_BELOW: i64 = 100_000_000_000;
/// The index of the phone.
const PHONE: u32 = 0;
/// More than an account can have devices: the rest of a longer list is of no weight.
const MAX_INDEXES: usize = 256;

/// The devices of an account as its phone has signed them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of the phone's registration.
    pub raw_id: u32,
    /// The newest index that was given to a device, linked or not any more.
    pub current: u32,
    /// The indexes in use; 0 is the phone.
    pub indexes: BTreeSet<u32>,
}

impl Fingerprint {
    /// Whether a device of these is not among `now` any more. Devices that came since are expected: their indexes rise.
    /// The phone cannot go, and need not be named.
    pub fn lost_one(&self, now: &Self) -> bool {
        let came = |index: &u32| *index > self.current && *index <= now.current;
        let known = |index: &u32| *index == PHONE || self.indexes.contains(index) || came(index);
        let since = now.indexes.iter().filter(|index| came(index) && !self.indexes.contains(index)).count();
        let foreseen = self.indexes.iter().filter(|index| came(index)).count();
        let all_came = now.current.saturating_sub(self.current) as usize == since + foreseen;
        self.raw_id != now.raw_id
            || !now.indexes.iter().all(known)
            || !self.indexes.iter().all(|index| *index == PHONE || now.indexes.contains(index))
            || !all_came
    }
}

/// One app state sync key of an account.
#[derive(Clone, PartialEq, Eq)]
pub struct SyncKey {
    /// `u16be(device that made it) ‖ u32be(epoch)`; others are read with, too, and never preferred.
    pub id: Vec<u8>,
    data: [u8; 32],
    /// For which devices it was made.
    pub fingerprint: Option<Fingerprint>,
    /// When it was made, Unix milliseconds; 0: it is not to be written with any more.
    pub at: Option<i64>,
}

impl SyncKey {
    /// The first one of an account, or one of which no more than this is known.
    pub const fn new(id: Vec<u8>, data: [u8; 32], fingerprint: Option<Fingerprint>, at: Option<i64>) -> Self {
        Self { id, data, fingerprint, at }
    }

    /// A shared one; `None` if there is nothing but its id: its holder does not have it.
    pub fn of(id: &[u8], key: &AppStateSyncKey) -> Option<Self> {
        let held = key.key_data.as_ref()?;
        let fingerprint = held.fingerprint.as_ref().map(|print| Fingerprint {
            raw_id: print.raw_id.unwrap_or(0),
            current: print.current_index.unwrap_or(0),
            indexes: print.device_indexes.iter().copied().take(MAX_INDEXES).collect(),
        });
        let data = held.key_data.as_deref()?.try_into().ok()?;
        Some(Self { id: id.to_vec(), data, fingerprint, at: held.timestamp })
    }

    /// As it is shared.
    pub fn shared(&self) -> AppStateSyncKey {
        let fingerprint = self.fingerprint.as_ref().map(|print| AppStateSyncKeyFingerprint {
            raw_id: Some(print.raw_id),
            current_index: Some(print.current),
            device_indexes: print.indexes.iter().copied().collect(),
        });
        AppStateSyncKey {
            key_id: Some(AppStateSyncKeyId { key_id: Some(self.id.clone()) }),
            key_data: Some(AppStateSyncKeyData {
                key_data: Some(self.data.to_vec()),
                fingerprint,
                timestamp: self.at,
            }),
        }
    }

    /// What it is used for.
    pub fn expand(&self) -> SyncKeys {
        SyncKeys::derive(&self.data)
    }

    /// Rises with every key; `None` where the id has another form.
    pub fn epoch(&self) -> Option<u32> {
        let (_, epoch) = self.id.split_first_chunk::<2>()?;
        epoch.first_chunk().map(|epoch| u32::from_be_bytes(*epoch))
    }

    /// The device that made it.
    pub fn device(&self) -> Option<u16> {
        self.id.first_chunk().map(|device| u16::from_be_bytes(*device))
    }

    /// Of all keys the one to write with: the newest epoch, and of two devices that had the same idea the lower.
    pub fn newest(keys: &[Self]) -> Option<&Self> {
        keys.iter().max_by_key(|key| (key.epoch(), Reverse(key.device()), key.at, &key.id))
    }

    /// Whether another one is due: too old, or known to a device that `own` does not name any more. `days`: for how long
    /// a key is good.
    pub fn is_stale(&self, own: &Fingerprint, days: u64, now: Millis) -> bool {
        let old = self.at.is_some_and(|at| {
            let at = if (1..SECONDS_BELOW).contains(&at) { at.saturating_mul(1000) } else { at };
            now.0.saturating_sub(u64::try_from(at).unwrap_or(0)) > days.clamp(DAYS.0, DAYS.1) * DAY_MS
        });
        old || self.fingerprint.as_ref().is_some_and(|print| print.lost_one(own))
    }

    /// The next one, made by `device` for the devices that there are now; `None` after the last epoch.
    pub fn successor(
        &self,
        device: u16,
        own: Fingerprint,
        now: Millis,
        rng: &mut dyn CryptoRng,
    ) -> Option<Self> {
        let epoch = self.epoch().unwrap_or(0).checked_add(1)?;
        let id = [&device.to_be_bytes()[..], &epoch.to_be_bytes()].concat();
        let mut data = [0; 32];
        rng.fill_bytes(&mut data);
        let mut own = own;
        // As those who made the last one say it: two opinions on this would never come to rest.
        if self.fingerprint.as_ref().is_some_and(|print| !print.indexes.contains(&PHONE)) {
            own.indexes.remove(&PHONE);
        }
        Some(Self { id, data, fingerprint: Some(own), at: i64::try_from(now.0).ok() })
    }
}

impl Drop for SyncKey {
    fn drop(&mut self) {
        self.data.zeroize();
    }
}

impl fmt::Debug for SyncKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SyncKey({})", hex::encode(&self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(current: u32, indexes: &[u32]) -> Fingerprint {
        Fingerprint { raw_id: 7, current, indexes: indexes.iter().copied().collect() }
    }

    fn key(id: &[u8], at: Option<i64>) -> SyncKey {
        SyncKey::new(id.to_vec(), [1; 32], Some(print(1, &[0, 1])), at)
    }

    #[test]
    fn a_device_that_went_makes_a_key_stale_and_one_that_came_does_not() {
        let made_for = print(2, &[0, 1, 2]);
        for (now, lost) in [
            (print(2, &[0, 1, 2]), false),
            (print(3, &[0, 1, 2, 3]), false),
            (print(2, &[0, 1]), true),
            // Somebody came, got the key, and went.
            (print(3, &[0, 1, 2]), true),
            (print(4, &[0, 1, 2, 4]), true),
            (print(3, &[0, 1, 3]), true),
            // Never heard of.
            (print(2, &[0, 1, 2, 9]), true),
            (Fingerprint { raw_id: 8, ..print(2, &[0, 1, 2]) }, true),
            (print(u32::MAX, &[0, 1, 2]), true),
            // Without the phone's own.
            (print(2, &[1, 2]), false),
            (print(2, &[1]), true),
        ] {
            assert_eq!(made_for.lost_one(&now), lost, "{now:?}");
        }
        let unnamed = SyncKey::new(vec![0; 6], [1; 32], Some(print(2, &[1, 2])), None);
        let own = print(3, &[0, 1, 3]);
        assert!(!unnamed.is_stale(&print(2, &[0, 1, 2]), KEY_DAYS, Millis(0)));
        let next = unnamed.successor(1, own.clone(), Millis(5), &mut rand::rng()).unwrap();
        assert_eq!(next.fingerprint, Some(print(3, &[1, 3])));
        assert!(!next.is_stale(&own, KEY_DAYS, Millis(5)));
    }

    #[test]
    fn the_newest_epoch_is_written_with_and_the_lowest_device_decides() {
        let ids: [&[u8]; 5] =
            [&[0, 0, 0, 0, 0, 1], &[0, 5, 0, 0, 0, 3], &[0, 2, 0, 0, 0, 3], &[9, 9], &[0, 0, 0, 0, 0, 2]];
        let keys: Vec<SyncKey> = ids.iter().map(|id| key(id, Some(5))).collect();
        assert_eq!(SyncKey::newest(&keys).unwrap().id, ids[2]);
        assert_eq!(SyncKey::newest(&keys[3..4]).unwrap().id, ids[3]);
        assert_eq!(SyncKey::newest(&[]), None);
    }

    #[test]
    fn a_key_is_good_for_so_many_days_and_then_followed_by_the_next() {
        let now = Millis(1_767_115_800_000);
        let days = |days: i64| Some(1_767_115_800_000 - days * 24 * 3_600_000);
        let own = print(1, &[0, 1]);
        let id = [0, 0, 0, 0, 0, 1];
        for (at, stale) in [
            (days(29), false),
            (days(31), true),
            (Some(0), true),
            (None, false),
            (days(-3), false),
            (Some(i64::MIN), true),
            // In seconds.
            (days(29).map(|at| at / 1000), false),
            (days(31).map(|at| at / 1000), true),
        ] {
            assert_eq!(key(&id, at).is_stale(&own, KEY_DAYS, now), stale, "{at:?}");
        }
        assert!(key(&id, days(2)).is_stale(&own, 0, now) && !key(&id, days(89)).is_stale(&own, 900, now));
        let next = key(&id, days(31)).successor(3, own.clone(), now, &mut rand::rng()).unwrap();
        assert_eq!(
            (next.id.as_slice(), next.epoch(), next.device()),
            (&[0, 3, 0, 0, 0, 2][..], Some(2), Some(3))
        );
        assert!(!next.is_stale(&own, KEY_DAYS, now));
        assert_eq!(SyncKey::of(&next.id, &next.shared()), Some(next));
        let last = [0, 0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(key(&last, None).successor(3, own, now, &mut rand::rng()), None);
    }
}
