//! Linking by QR code: refs become codes, a phone's answer becomes an account.

use std::time::Duration;

use super::{
    Error, Qr,
    code::Linking,
    dispatch::{Account, Effect, Turn},
    link::Phase,
    payload::QR_CLIENT_TYPE,
};
use crate::{
    crypto::adv::{self, AdvError},
    stanza::{Iq, PairDevice, PairDeviceSign, PairSuccess, QrCode},
    store::device::Paired,
    wire::{Jid, Node},
};

/// The first code of a batch lives this long, later ones shorter (WhatsApp Web's figures).
const FIRST_CODE: Duration = Duration::from_secs(60);
const NEXT_CODE: Duration = Duration::from_secs(20);
/// Batches nobody scans before the instance stops asking.
pub(super) const MAX_IDLE_BATCHES: u8 = 5;

impl Account {
    pub(super) fn pair_device(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(conn) = self.conn.as_mut().filter(|conn| conn.phase == Phase::Pairing) else {
            return Ok(());
        };
        let pair = match PairDevice::parse(node) {
            Ok(pair) => pair,
            Err(error) => {
                tracing::warn!(%error, "pair-device");
                return Ok(());
            }
        };
        turn.send(&Iq::result_to_server(&pair.id));
        conn.refs = pair.refs.into();
        let first = !std::mem::replace(&mut conn.greeted, true);
        self.next_code(FIRST_CODE, turn)?;
        if first {
            self.offer_code(turn);
        }
        Ok(())
    }

    /// The code on show is used up.
    pub(super) fn rotate_code(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        if self.conn.as_ref().is_some_and(|conn| !conn.refs.is_empty()) {
            return self.next_code(NEXT_CODE, turn);
        }
        if let Some(conn) = &mut self.conn
            && let Some(until) = conn.linking.offer.as_ref().map(|offer| offer.expires_at)
            && until > turn.now
        {
            // Somebody may be typing: the server keeps every ref for as long as the connection lasts.
            conn.rotate_at = Some(until);
            if let Some(qr) = &mut self.link.qr {
                qr.expires_at = until;
                turn.effects.push(Effect::Link(self.link.clone()));
            }
            return Ok(());
        }
        self.idle_batches += 1;
        self.drop_connection("codes_used_up", turn);
        if self.idle_batches >= MAX_IDLE_BATCHES {
            return self.set_status(super::Status::Disconnected, Some("qr_timeout"), turn);
        }
        self.dial(turn)
    }

    fn next_code(&mut self, lives: Duration, turn: &mut Turn<'_>) -> Result<(), Error> {
        // While a linking with a passkey is under way the code is taken.
        let Some(conn) = self.conn.as_mut().filter(|conn| conn.linking.passkey.is_none()) else {
            return Ok(());
        };
        let Some(reference) = conn.refs.pop_front() else { return Ok(()) };
        let expires_at = turn.now + lives;
        conn.rotate_at = Some(expires_at);
        let code = QrCode {
            reference,
            noise: self.device.noise.public,
            identity: self.device.identity.public,
            adv_secret: self.device.adv_secret,
            client_type: QR_CLIENT_TYPE,
        };
        self.show_code(Qr { text: code.build(), generated_at: turn.now, expires_at }, turn)
    }

    pub(super) fn pair_success(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        if self.conn.as_ref().is_none_or(|conn| conn.phase != Phase::Pairing) {
            return Ok(());
        }
        let success = match PairSuccess::parse(node) {
            Ok(success) => success,
            Err(error) => {
                tracing::warn!(%error, "pair-success");
                if let Some(id) = node.text("id") {
                    refuse(id, 500, "internal-error", turn);
                }
                return Ok(());
            }
        };
        // The phone took the QR code, or the one that was typed.
        let mut accepted = Err(AdvError::HmacMismatch);
        for secret in self.adv_secrets() {
            accepted = adv::accept(&success.container, &secret, &self.device.identity, turn.rng);
            if accepted != Err(AdvError::HmacMismatch) {
                break;
            }
        }
        let identity = match accepted {
            Ok(identity) => identity,
            Err(error) => {
                tracing::warn!(%error, "a phone's answer to the code was refused");
                let (code, text) = match error {
                    AdvError::HmacMismatch => (401, "hmac-mismatch"),
                    AdvError::SignatureMismatch => (401, "signature-mismatch"),
                    AdvError::InvalidKey => (401, "invalid-key"),
                    AdvError::Malformed => (500, "internal-error"),
                };
                refuse(&success.id, code, text, turn);
                return Ok(());
            }
        };
        let Ok(returned) = adv::without_account_key(&identity.signed) else {
            refuse(&success.id, 500, "internal-error", turn);
            return Ok(());
        };
        let paired = Paired {
            jid: success.jid,
            lid: success.lid,
            platform: success.platform,
            business_name: success.business_name,
            device_identity: identity.signed,
            account_key: *identity.account_key.as_bytes(),
            key_index: identity.key_index,
            push_name: None,
        };
        turn.tx.device().pair(&paired)?;
        let phone = paired.lid.as_ref().map_or_else(|| paired.jid.bare(), Jid::bare);
        if let Some(lid) = &paired.lid {
            turn.tx.people().learn(lid, &paired.jid)?;
        }
        turn.tx.signal().set_identity(&phone, &identity.account_key)?;
        self.device.paired = Some(paired);
        self.idle_batches = 0;
        self.wanted.clone_from(&self.settings.pair_phone);
        self.show_code_state(super::CodeState::None, turn);
        self.show_passkey(super::PasskeyState::None, turn)?;
        if let Some(conn) = &mut self.conn {
            conn.phase = Phase::Paired;
            conn.rotate_at = None;
            conn.linking = Linking::default();
        }
        let answer = PairDeviceSign { id: success.id, key_index: identity.key_index, identity: returned };
        turn.send(&answer.build());
        Ok(())
    }
}

fn refuse(id: &str, code: u32, text: &'static str, turn: &mut Turn<'_>) {
    let error = Node::new("error").attr("code", code).attr("text", text);
    turn.send(
        &Node::new("iq")
            .attr("to", Jid::server_itself())
            .attr("type", "error")
            .attr("id", id.to_owned())
            .child(error),
    );
}
