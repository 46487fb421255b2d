//! Prekey upkeep: the private halves are stored before the public ones leave.

use super::{
    Error,
    dispatch::{Account, Turn},
    link::Query,
};
use crate::{
    crypto::{
        KeyPair,
        signal::{OneTimePreKey, SignedPreKey},
    },
    stanza::{Iq, Upload, read_count_answer},
    wire::Node,
};

/// One upload; what WhatsApp Web, whatsmeow and Baileys begin with.
const BATCH: u32 = 812;
/// Below this many on the server more are uploaded. Clients differ between 5 and "whenever told"; this leaves room for
/// a day offline.
const LOW: u32 = 50;

impl Account {
    /// The newest signed prekey, made if there is none.
    pub(super) fn signed_pre_key(&mut self, turn: &mut Turn<'_>) -> Result<SignedPreKey, Error> {
        if let Some(key) = turn.tx.signal().newest_signed_pre_key()? {
            return Ok(key);
        }
        let pair = KeyPair::generate(turn.rng);
        let signature = self.device.identity.private.sign(&pair.public.to_signal(), turn.rng);
        let key = SignedPreKey { id: 1, key: pair.public, signature };
        turn.tx.signal().add_signed_pre_key(key.id, &pair, &signature, turn.now)?;
        Ok(key)
    }

    pub(super) fn pre_keys_counted(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        match read_count_answer(node) {
            Ok(left) if left >= LOW => Ok(()),
            Ok(_) => self.upload_pre_keys(turn),
            Err(error) => {
                tracing::warn!(%error, "prekey count");
                Ok(())
            }
        }
    }

    /// Offers a batch: first what an earlier upload did not get confirmed, then fresh keys.
    pub(super) fn upload_pre_keys(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let uploading = |(query, _): &(Query, _)| matches!(query, Query::PreKeyUpload(_));
        if self.conn.as_ref().is_none_or(|conn| conn.queries.values().any(uploading)) {
            return Ok(());
        }
        let mut pairs = turn.tx.signal().unconfirmed_pre_keys()?;
        let missing = BATCH.saturating_sub(u32::try_from(pairs.len()).unwrap_or(BATCH));
        for id in turn.tx.device().take_pre_key_ids(missing)? {
            let pair = KeyPair::generate(turn.rng);
            turn.tx.signal().add_pre_key(id, &pair, false)?;
            pairs.push((id, pair));
        }
        let upload = Upload {
            registration_id: self.device.registration_id,
            identity: self.device.identity.public,
            one_time: pairs.iter().map(|(id, pair)| OneTimePreKey { id: *id, key: pair.public }).collect(),
            signed: self.signed_pre_key(turn)?,
        };
        let Some(conn) = &mut self.conn else { return Ok(()) };
        let ids = pairs.iter().map(|(id, _)| *id).collect();
        let query = conn.query(Query::PreKeyUpload(ids), turn.now);
        turn.send(&upload.build(&query));
        Ok(())
    }

    pub(super) fn pre_keys_uploaded(
        &mut self,
        ids: &[u32],
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        if let Some(refusal) = Iq::refusal(node) {
            // The next login counts and tries again with the same keys.
            tracing::warn!(code = refusal.code, "prekeys were not accepted");
            return Ok(());
        }
        Ok(turn.tx.signal().confirm_pre_keys(ids)?)
    }
}
