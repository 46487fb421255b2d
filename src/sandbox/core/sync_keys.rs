//! The keys of app state as a phone has them: made, shared, taken from a companion that made one, and told on request.

use super::{AccountId, DeviceRef, World, history::Stage, phone_life::key_share};
use crate::{
    clock::Millis,
    crypto::app_state::{KEY_DAYS, SyncKey},
    proto::message::{AppStateSyncKey, AppStateSyncKeyId, AppStateSyncKeyRequest, AppStateSyncKeyShare},
};

/// Keys that a phone takes from its companions.
const MAX_KEYS: usize = 1_000;

impl World {
    /// All keys of an account, the newest last: that is the one Baileys writes with.
    pub(super) fn keys_to_share(&self, account: AccountId) -> Vec<AppStateSyncKey> {
        let keys = &self.account(account).phone.sync_keys;
        let newest = SyncKey::newest(keys).map(|key| &key.id);
        let mut shared: Vec<&SyncKey> = keys.iter().collect();
        shared.sort_by_key(|key| Some(&key.id) == newest);
        shared.into_iter().map(SyncKey::shared).collect()
    }

    /// The phone makes a new key if the one it has is old, or known to a companion that is gone.
    pub(super) fn phone_looks_at_its_key(&mut self, phone: AccountId, now: Millis) {
        let account = self.account(phone);
        let own = account.fingerprint();
        if SyncKey::newest(&account.phone.sync_keys).is_some_and(|key| key.is_stale(&own, KEY_DAYS, now)) {
            self.phone_rotates(phone, now);
        }
    }

    /// A new key: for what the phone writes from here on, and told every companion.
    pub(super) fn phone_rotates(&mut self, phone: AccountId, now: Millis) {
        let Self { accounts, rng, .. } = self;
        let Some(account) = accounts.get_mut(phone.0) else { return };
        let own = account.fingerprint();
        let newest = SyncKey::newest(&account.phone.sync_keys);
        let Some(next) = newest.and_then(|newest| newest.successor(0, own, now, rng)) else { return };
        let shared = next.shared();
        account.phone.sync_keys.push(next);
        // Whoever is being linked gets all keys soon.
        let told = |stage: &Option<super::account::Bootstrap>| {
            stage.as_ref().is_none_or(|stage| stage.stage != Stage::Keys)
        };
        let played = account.played.keys().copied().collect::<Vec<u16>>();
        let companions = account.devices.values().filter(|d| d.id != 0 && !played.contains(&d.id));
        let companions: Vec<u16> = companions.filter(|d| told(&d.bootstrap)).map(|d| d.id).collect();
        for device in companions {
            let to = DeviceRef { account: phone, device };
            self.phone_tells(to, key_share(vec![shared.clone()]), now);
        }
    }

    /// A companion has made a key.
    pub(super) fn phone_takes_keys(&mut self, phone: AccountId, share: &AppStateSyncKeyShare) {
        let keys = &mut self.account_mut(phone).phone.sync_keys;
        for key in &share.keys {
            let id = key.key_id.as_ref().and_then(|id| id.key_id.as_deref());
            let Some(key) = id.and_then(|id| SyncKey::of(id, key)) else { continue };
            if keys.len() < MAX_KEYS && keys.iter().all(|known| known.id != key.id) {
                keys.push(key);
            }
        }
    }

    /// A companion asks for keys: those that there are, and of the others the ids alone.
    pub(super) fn phone_shares_keys(
        &mut self,
        companion: DeviceRef,
        request: AppStateSyncKeyRequest,
        now: Millis,
    ) {
        let known = &self.account(companion.account).phone.sync_keys;
        let keys = request.key_ids.into_iter().filter_map(|id| id.key_id);
        let keys = keys.map(|id| match known.iter().find(|key| key.id == id) {
            Some(key) => key.shared(),
            None => AppStateSyncKey { key_id: Some(AppStateSyncKeyId { key_id: Some(id) }), key_data: None },
        });
        let share = key_share(keys.collect());
        self.phone_tells(companion, share, now);
    }
}
