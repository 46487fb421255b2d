//! Privacy settings: kept by the server, changed by any device of the account, told to the others.

use super::{AccountId, DeviceRef, Namespace, World};
use crate::{
    clock::Millis,
    stanza::{Notification, privacy},
    wire::{Jid, Node},
};

/// The settings that clients ask for: name, default first among the values it may have.
const SETTINGS: [(&str, &[&str]); 10] = [
    ("last", &["all", "contacts", "none"]),
    ("online", &["all", "match_last_seen"]),
    ("profile", &["all", "contacts", "none"]),
    ("status", &["all", "contacts", "none"]),
    ("readreceipts", &["all", "none"]),
    ("groupadd", &["all", "contacts", "none"]),
    ("calladd", &["all", "known"]),
    ("messages", &["all", "contacts"]),
    ("defense", &["off", "on_standard"]),
    ("stickers", &["contacts", "none"]),
];

impl World {
    pub(super) fn privacy_of(&self, account: AccountId) -> Node {
        let changed = &self.account(account).privacy;
        privacy(SETTINGS.iter().map(|(name, values)| {
            let default = values.first().copied().unwrap_or_default();
            (*name, changed.get(*name).map_or(default, String::as_str))
        }))
    }

    /// What was changed, as it is answered and told; `None`, and nothing is changed, if any of it is unheard of.
    pub(super) fn change_privacy(
        &mut self,
        by: DeviceRef,
        changes: Vec<(String, String)>,
        now: Millis,
    ) -> Option<Node> {
        let allowed = |(name, value): &(String, String)| {
            SETTINGS.iter().any(|(known, values)| known == name && values.contains(&value.as_str()))
        };
        if changes.is_empty() || !changes.iter().all(allowed) {
            return None;
        }
        let changed = privacy(changes.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        self.account_mut(by.account).privacy.extend(changes);
        let own = self.account(by.account).jid(Namespace::Pn, 0);
        for device in self.devices_of(by.account) {
            if device != by && device.device != 0 {
                let id = self.server_id();
                let notification = Notification::frame(&id, &own, "account_sync", now.secs());
                self.enqueue(device, notification.child(changed.clone()), now);
            }
        }
        Some(changed)
    }

    /// Whether nobody is to see what this account reads in a chat; in groups everybody always does.
    pub(super) fn reads_quietly(&self, account: AccountId, chat: &Jid) -> bool {
        let setting = self.account(account).privacy.get("readreceipts");
        chat.is_user() && setting.is_some_and(|value| value == "none")
    }
}
