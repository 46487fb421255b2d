//! The keys of app state: taken from whichever own device shares them, shared with one that asks, and followed by a new
//! one where it is time for that. Whatever is written waits until the other devices can read it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    account::{
        Error,
        dispatch::{Account, Turn},
        link::Query,
    },
    crypto::app_state::{Fingerprint, SyncKey, WriteKeys},
    proto::message::{
        AppStateSyncKey, AppStateSyncKeyId, AppStateSyncKeyRequest, AppStateSyncKeyShare, ProtocolMessage,
    },
    stanza::UsyncQuery,
    wire::Jid,
};

/// `ProtocolMessage.Type` APP_STATE_SYNC_KEY_SHARE.
const KEY_SHARE: i32 = 6;
/// Setting: what the phone has signed of the own devices, as JSON; with the own device list.
const FINGERPRINT: &str = "account.app_state_devices";
/// Setting: ids of the messages that share a new key, as a JSON list.
const SHARING: &str = "account.app_state_sharing";
/// Keys that one request is answered with; whoever misses more asks again.
const MAX_ASKED: usize = 50;
/// Longest id of a key that is kept; real ones have six bytes.
const LONGEST_ID: usize = 64;
/// Keys that are kept. An account makes one a month, and one for each device that goes.
const MAX_KEYS: usize = 1_000;

impl Account {
    /// An own device shares keys: what waited for them goes on.
    pub(in crate::account) fn take_keys(
        &mut self,
        share: &AppStateSyncKeyShare,
        turn: &Turn<'_>,
    ) -> Result<(), Error> {
        let app_state = turn.tx.app_state();
        let mut known = app_state.keys()?.len();
        for key in &share.keys {
            let id = key.key_id.as_ref().and_then(|id| id.key_id.as_deref());
            // A device that was asked for a key it does not have answers with the id alone.
            let Some(key) = id.and_then(|id| SyncKey::of(id, key)) else { continue };
            if key.id.len() > LONGEST_ID || known >= MAX_KEYS {
                tracing::warn!("an app state key that is not kept");
                continue;
            }
            // The first word counts: it may have expired since, which whoever shares it again need not know.
            if app_state.key(&key.id)?.is_none() {
                known += 1;
                app_state.set_key(&key)?;
            }
            self.app_state_keys_came();
        }
        Ok(())
    }

    /// Another own device asks for keys: it gets those that are here, and of the others the ids alone.
    pub(in crate::account) fn share_keys(
        &self,
        request: &AppStateSyncKeyRequest,
        device: &Jid,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let known = turn.tx.app_state().keys()?;
        let asked: BTreeSet<&[u8]> = request.key_ids.iter().filter_map(|id| id.key_id.as_deref()).collect();
        let asked = asked.into_iter().filter(|id| id.len() <= LONGEST_ID).take(MAX_ASKED);
        let keys: Vec<AppStateSyncKey> = asked
            .map(|id| match known.iter().find(|key| key.id == id) {
                Some(key) => key.shared(),
                None => AppStateSyncKey {
                    key_id: Some(AppStateSyncKeyId { key_id: Some(id.to_vec()) }),
                    key_data: None,
                },
            })
            .collect();
        if !keys.is_empty() {
            self.tell_own_device(device.device(), share_of(keys), turn)?;
        }
        Ok(())
    }

    /// What to write with, once everybody can read it; `None`: not yet.
    pub(super) fn write_keys(&mut self, turn: &mut Turn<'_>) -> Result<Option<WriteKeys>, Error> {
        let mut keys = turn.tx.app_state().keys()?;
        let Some(newest) = SyncKey::newest(&keys) else { return Ok(None) };
        if self.still_sharing(turn)? {
            return Ok(None);
        }
        let Some(own) = self.own_address() else { return Ok(None) };
        if self.known_devices(&own.bare(), turn)?.is_none() {
            self.ask_own_devices(&own.bare(), turn);
            return Ok(None);
        }
        let print = own_fingerprint(turn)?;
        let stale = |print: &Fingerprint| newest.is_stale(print, self.props.key_days(), turn.now);
        // Without a signed list nobody can say for whom a key would be.
        if let Some(print) = print.filter(stale)
            && let Some(next) = newest.successor(own.device(), print, turn.now, turn.rng)
        {
            tracing::info!(key = ?next, "app state is written with a new key from here on");
            turn.tx.app_state().set_key(&next)?;
            let ids = self.tell_own_devices(&share_of(vec![next.shared()]), turn)?;
            turn.tx.settings().set(SHARING, &json!(ids).to_string())?;
            keys.push(next);
            // They leave now, and what is written follows their acknowledgements.
            self.pump(turn)?;
            if self.still_sharing(turn)? {
                return Ok(None);
            }
        }
        Ok(WriteKeys::of(&keys))
    }

    /// Whether a new key is on its way to the other devices still.
    fn still_sharing(&self, turn: &Turn<'_>) -> Result<bool, Error> {
        let Some(ids) = turn.tx.settings().get(SHARING)? else { return Ok(false) };
        let ids: Vec<String> = serde_json::from_str(&ids).unwrap_or_default();
        for id in ids {
            if turn.tx.queue().find(&id)?.is_some() {
                return Ok(true);
            }
        }
        turn.tx.settings().remove(SHARING)?;
        Ok(false)
    }

    fn ask_own_devices(&mut self, own: &Jid, turn: &mut Turn<'_>) {
        let Some(conn) = &mut self.conn else { return };
        if conn.asked_devices.insert(own.clone()) {
            let query = conn.query(Query::Devices(vec![own.clone()]), turn.now);
            turn.send(&UsyncQuery::devices(query.clone(), [own.clone()]).build(&query));
        }
    }

    /// What the own device list says was signed.
    pub(in crate::account) fn keep_fingerprint(
        &self,
        print: Option<&Fingerprint>,
        turn: &Turn<'_>,
    ) -> Result<(), Error> {
        let Some(Fingerprint { raw_id, current, indexes }) = print else {
            return Ok(turn.tx.settings().remove(FINGERPRINT)?);
        };
        let kept = json!({ "raw_id": raw_id, "current": current, "indexes": indexes });
        Ok(turn.tx.settings().set(FINGERPRINT, &kept.to_string())?)
    }
}

fn own_fingerprint(turn: &Turn<'_>) -> Result<Option<Fingerprint>, Error> {
    let Some(kept) = turn.tx.settings().get(FINGERPRINT)? else { return Ok(None) };
    let kept: Value = serde_json::from_str(&kept).unwrap_or_default();
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let indexes = kept["indexes"].as_array().map(|list| list.iter().filter_map(number).collect());
    Ok(match (number(&kept["raw_id"]), number(&kept["current"]), indexes) {
        (Some(raw_id), Some(current), Some(indexes)) => Some(Fingerprint { raw_id, current, indexes }),
        _ => None,
    })
}

fn share_of(keys: Vec<AppStateSyncKey>) -> ProtocolMessage {
    ProtocolMessage {
        r#type: Some(KEY_SHARE),
        app_state_sync_key_share: Some(AppStateSyncKeyShare { keys }),
        ..Default::default()
    }
}
