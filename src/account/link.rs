//! The connection as one state machine: `pending → qr_ready → connected ⇄ offline → disconnected`. Deadlines are data:
//! [`Account::deadline`] says when the next tick is due.

mod conn;
mod watch;

use std::time::Duration;

use rand::RngExt as _;

pub(super) use conn::{Conn, Outage, Phase, Query, Retry};
use watch::{BATCH, next_ping};

use super::{
    CodeState, Error, Link, PasskeyState, Qr, SendError, Status,
    dispatch::{Account, CloseCause, Effect, Turn},
    history::Reading,
    payload,
    props::Props,
};
use crate::{
    stanza::{self, Failure, Info, Iq, StreamError, Success},
    store::{device::Device, standing::Standing},
    wire::Node,
};

/// A connection that lived this long resets the back-off.
const STABLE: Duration = Duration::from_secs(30);
/// Setting: the link was stopped on request and stays so over a restart.
pub(super) const STOPPED: &str = "link.stopped";

impl Account {
    pub(super) fn start(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        turn.effects.push(Effect::Link(self.link.clone()));
        // Told at every start, unchanged or not: whoever could not reach this process does not know it any more.
        self.announce(Status::Pending, turn)?;
        if self.link.status == Status::Disconnected || self.wait_out_ban(turn)? {
            return Ok(());
        }
        self.dial(turn)
    }

    /// After a turn that could not be committed: memory is fresh, the link goes on from where it was shown.
    pub fn resume(&mut self, shown: Link, turn: &mut Turn<'_>) -> Result<(), Error> {
        self.link = shown;
        self.link.code = CodeState::None;
        self.link.passkey = PasskeyState::None;
        if turn.tx.settings().get(STOPPED)?.is_some() {
            return Ok(());
        }
        if self.link.status == Status::Disconnected {
            return self.wait_out_ban(turn).map(drop);
        }
        self.lose("storage_failed", turn)
    }

    /// `POST /connect`, or a look at the QR code after the codes ran out.
    pub(super) fn connect(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        turn.tx.settings().remove(STOPPED)?;
        self.idle_batches = 0;
        self.want_as_configured(turn);
        if self.conn.is_some() {
            return Ok(());
        }
        self.retry = Retry::default();
        self.set_status(Status::Pending, None, turn)?;
        self.dial(turn)
    }

    /// `POST /disconnect`.
    pub(super) fn disconnect(&mut self, logout: bool, turn: &mut Turn<'_>) -> Result<(), Error> {
        turn.tx.settings().set(STOPPED, "1")?;
        let own = self.device.paired.as_ref().map(|p| p.jid.clone());
        match (logout, own) {
            (true, Some(own)) if self.can_send() => {
                if let Some(conn) = &mut self.conn {
                    let id = conn.query(Query::Logout, turn.now);
                    conn.phase = Phase::LoggingOut;
                    conn.since = turn.now;
                    turn.send(&stanza::remove_companion(&id, &own));
                }
                Ok(())
            }
            // Without a connection the server cannot be told; the phone shows the device until somebody removes it.
            (true, _) => self.finish_logout(turn),
            (false, _) => {
                self.drop_connection("requested", turn);
                self.set_status(Status::Disconnected, Some("requested"), turn)
            }
        }
    }

    pub(super) fn finish_logout(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        self.drop_connection("requested", turn);
        self.wipe(turn)?;
        self.set_status(Status::Disconnected, Some("requested"), turn)
    }

    pub(super) fn dial(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        self.retry.at = None;
        let payload = match &self.device.paired {
            Some(paired) => payload::login(&self.settings, &self.device, paired),
            None => {
                let signed = self.signed_pre_key(turn)?;
                payload::registration(&self.settings, &self.device, &signed)
            }
        };
        self.conn = Some(Conn::new(turn.now, turn.rng));
        turn.effects.push(Effect::Open(super::Dial {
            payload,
            noise: self.device.noise.clone(),
            routing_info: self.device.routing_info.clone(),
        }));
        Ok(())
    }

    pub(super) fn opened(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let paired = self.device.paired.is_some();
        if let Some(conn) = &mut self.conn {
            conn.heard(turn.now);
            conn.phase = if paired { Phase::LoggingIn } else { Phase::Pairing };
            conn.next_ping = next_ping(turn.now, turn.rng);
        }
        Ok(())
    }

    /// The login was accepted: say what we want, and look after the prekeys.
    pub(super) fn logged_in(&mut self, success: &Success, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(conn) = self.conn.as_mut().filter(|conn| conn.phase == Phase::LoggingIn) else {
            return Ok(());
        };
        conn.phase = Phase::Draining;
        conn.last_drained = turn.now;
        conn.nudged = turn.now;
        conn.next_ping = next_ping(turn.now, turn.rng);
        let count = conn.query(Query::PreKeyCount, turn.now);
        let active = conn.query(Query::Active, turn.now);
        conn.activating = Some(turn.now);
        turn.send(&stanza::unified_session(turn.now.0));
        turn.send(&stanza::count_query(&count));
        turn.send(&stanza::active(&active));
        let privacy = conn.query(Query::Privacy, turn.now);
        turn.send(&stanza::privacy_query(&privacy));
        let props = conn.query(Query::Props, turn.now);
        turn.send(&stanza::props_query(&props, self.props.hash()));
        self.let_in(turn)?;
        self.ask_standing(turn);
        self.prune_tokens(turn)?;
        turn.tx.device().count_login()?;
        self.device.login_count += 1;
        if let (Some(lid), Some(paired)) = (&success.lid, &mut self.device.paired)
            && paired.lid.as_ref() != Some(lid)
        {
            turn.tx.device().set_lid(lid)?;
            paired.lid = Some(lid.clone());
        }
        if let (Some(pn), Some(lid)) = (self.own_pn(), self.own_lid()) {
            turn.tx.people().learn(&pn, &lid)?;
        }
        Ok(())
    }

    /// The server took us out of passive mode: from here on stanzas flow.
    pub(super) fn activated(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        if let Some(conn) = &mut self.conn {
            conn.activating = None;
        }
        if let Some(refusal) = Iq::refusal(node) {
            // Still passive: pings would be answered, and no message would ever come.
            tracing::warn!(code = refusal.code, "the server keeps the connection passive");
            return self.lose("kept_passive", turn);
        }
        if self.available
            && let Some(name) = self.device.paired.as_ref().and_then(|p| p.push_name.clone())
        {
            turn.send(&stanza::presence(true, Some(&name)));
        }
        self.watch_everybody(turn)?;
        self.ask_blocklist(turn)?;
        self.set_status(Status::Connected, None, turn)
    }

    pub(super) fn info(&mut self, info: Info, turn: &mut Turn<'_>) -> Result<(), Error> {
        match info {
            Info::OfflinePreview { count, .. } => {
                if let Some(conn) = &mut self.conn {
                    conn.promised = count;
                    conn.asked = BATCH;
                    conn.nudged = turn.now;
                    if count > 0 {
                        turn.send(&stanza::offline_batch(BATCH));
                    }
                }
            }
            Info::Offline { .. } => {
                if let Some(conn) = self.conn.as_mut().filter(|conn| conn.phase == Phase::Draining) {
                    conn.phase = Phase::Live;
                    self.stalled = false;
                }
            }
            Info::EdgeRouting(info) => {
                turn.tx.device().set_routing_info(&info)?;
                self.device.routing_info = Some(info);
            }
            Info::Downgrade => {
                self.drop_connection("multidevice_mismatch", turn);
                return self.set_status(Status::Disconnected, Some("multidevice_mismatch"), turn);
            }
            // What groups told while nobody listened is lost: each is looked at again before the next send.
            Info::Dirty { kind, .. } if kind == "groups" => turn.tx.groups().make_all_stale()?,
            // What another device changed meanwhile, of whom is blocked among others.
            Info::Dirty { kind, .. } if kind == "account_sync" => {
                turn.tx.blocks().set_hash(None)?;
                self.ask_blocklist(turn)?;
            }
            Info::Dirty { .. } | Info::Other => {}
        }
        Ok(())
    }

    /// The login was refused.
    pub(super) fn refused(&mut self, failure: &Failure, turn: &mut Turn<'_>) -> Result<(), Error> {
        tracing::warn!(reason = failure.reason, "the server refused the login");
        match failure.reason {
            401 if self.device.paired.is_some() => self.logged_out("logged_out", turn),
            // Nothing to forget, and fresh keys would fare no better: after a pause.
            401 => self.lose("login_refused", turn),
            // An internal error of the server is no reason to forget the pairing.
            500.. => self.lose("login_refused", turn),
            reason => {
                self.drop_connection("login_refused", turn);
                self.shut_out(failure, turn)?;
                if self.wait_out_ban(turn)? {
                    return Ok(());
                }
                let word = match reason {
                    402 | 403 | 406 => "forbidden",
                    405 => "client_outdated",
                    411 => "multidevice_mismatch",
                    _ => "refused",
                };
                self.set_status(Status::Disconnected, Some(word), turn)
            }
        }
    }

    pub(super) fn stream_error(&mut self, error: StreamError, turn: &mut Turn<'_>) -> Result<(), Error> {
        match error {
            StreamError::Restart => {
                self.drop_connection("restart_required", turn);
                self.dial(turn)
            }
            StreamError::DeviceRemoved => {
                if self.conn.as_ref().is_some_and(|conn| conn.phase == Phase::LoggingOut) {
                    return self.finish_logout(turn);
                }
                if self.device.paired.is_none() {
                    return self.lose("device_removed", turn);
                }
                self.logged_out("logged_out", turn)
            }
            StreamError::Replaced => {
                self.drop_connection("replaced", turn);
                self.set_status(Status::Disconnected, Some("replaced"), turn)
            }
            StreamError::Owed { .. } | StreamError::Code(_) => {
                tracing::warn!(?error, "the server ended the stream");
                self.lose("stream_error", turn)
            }
        }
    }

    /// Unlinked from outside: forget everything of this device, and offer a new code.
    fn logged_out(&mut self, reason: &'static str, turn: &mut Turn<'_>) -> Result<(), Error> {
        self.drop_connection(reason, turn);
        self.wipe(turn)?;
        self.set_status(Status::Disconnected, Some(reason), turn)?;
        self.set_status(Status::Pending, None, turn)?;
        self.dial(turn)
    }

    fn wipe(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        self.fail_queue(turn)?;
        self.fail_writes(turn);
        turn.tx.device().wipe()?;
        self.props = Props::default();
        self.nct_salt = None;
        self.standing = Standing::default();
        (self.ask_again_at, self.put_off_until) = (None, None);
        self.reading = Reading::default();
        self.device = Self::new_device(&self.settings, turn)?;
        self.link.paired = false;
        Ok(())
    }

    pub(super) fn closed(&mut self, cause: CloseCause, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(conn) = &self.conn else { return Ok(()) };
        // The server closes right after a pairing, with or without saying why: log in.
        if conn.phase == Phase::Paired {
            self.drop_connection("paired", turn);
            return self.dial(turn);
        }
        if conn.phase == Phase::LoggingOut {
            return self.finish_logout(turn);
        }
        tracing::info!(?cause, phase = ?conn.phase, "connection closed");
        self.lose(cause.as_str(), turn)
    }

    /// The connection is of no use any more: end it and try again after a pause.
    pub(super) fn lose(&mut self, why: &'static str, turn: &mut Turn<'_>) -> Result<(), Error> {
        let stable = self.conn.as_ref().is_some_and(|conn| {
            matches!(conn.phase, Phase::Live | Phase::Draining | Phase::Pairing)
                && turn.now.since(conn.since) >= STABLE
        });
        if stable {
            self.retry.attempt = 0;
        }
        self.drop_connection(why, turn);
        self.retry.back_off(turn.now, turn.rng);
        if self.device.paired.is_some() {
            self.outage.get_or_insert(Outage { since: turn.now, told: false });
            self.set_status(Status::Offline, Some("connection_lost"), turn)
        } else {
            self.set_status(Status::Pending, None, turn)
        }
    }

    /// Ends the connection with everything that belongs to it. Callers parked on it are told to come again.
    pub(super) fn drop_connection(&mut self, why: &'static str, turn: &mut Turn<'_>) {
        self.retry.at = None;
        let Some(conn) = self.conn.take() else { return };
        self.seen.ended(why, turn.now);
        turn.effects.push(Effect::Close);
        self.passkey_lost(conn.linking.passkey.is_some(), conn.phase == Phase::Pairing);
        // A code is good for one connection.
        let refused = matches!(self.link.code, CodeState::Refused(_));
        self.link.code = match self.wanted {
            Some(_) if self.device.paired.is_none() => CodeState::Asked,
            None if refused => self.link.code.clone(),
            _ => CodeState::None,
        };
        let media =
            conn.media_waiting.into_iter().chain(conn.reuploads.into_values().flatten().map(|(t, _)| t));
        for ticket in media {
            let refused = SendError::NotConnected(Status::Offline);
            turn.effects.push(Effect::Answer(ticket, super::Answer::Refused(refused)));
        }
        for (query, _) in conn.queries.into_values() {
            if let Query::Asked(asked) = query {
                Self::ask_lost(&asked, turn);
            }
        }
        let lookups = conn.lookups.into_values().chain(conn.group_lookups.into_values());
        for (ticket, _) in lookups.flatten() {
            turn.effects.push(Effect::Answer(ticket, super::Answer::Later(Status::Offline)));
        }
    }

    /// Routes the answer to a query of ours.
    pub(super) fn answered(&mut self, id: &str, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some((query, asked)) = self.conn.as_mut().and_then(|conn| conn.queries.remove(id)) else {
            return Ok(());
        };
        match query {
            Query::Ping => {
                if let Some(conn) = &mut self.conn {
                    conn.pinged = None;
                }
                self.seen.ping = Some((turn.now.since(asked), turn.now));
                Ok(())
            }
            Query::Active => self.activated(node, turn),
            Query::PreKeyCount => self.pre_keys_counted(node, turn),
            Query::Blocklist => self.blocklist_answered(node, turn),
            Query::Privacy => self.learn_privacy(&stanza::read_privacy(node), turn),
            Query::Props => self.props_answered(node, turn),
            Query::Token(person, t) => self.token_issued(&person, t, node, turn),
            Query::ReachoutLock => self.lock_answered(node, turn),
            Query::NewChatCap => self.cap_answered(node, turn),
            Query::PreKeyUpload(ids) => self.pre_keys_uploaded(&ids, node, turn),
            Query::Devices(users) => self.devices_answered(&users, node, turn),
            Query::Bundles(devices) => self.bundles_answered(&devices, node, turn),
            Query::Number(digits) => self.number_answered(&digits, node, turn),
            Query::Group(group) => self.group_answered(&group, node, turn),
            Query::Asked(asked) => self.ask_answered(asked, node, turn),
            Query::MediaHosts => {
                self.media_hosts_answered(node, turn);
                Ok(())
            }
            Query::AppState(collections) => self.app_state_answered(&collections, node, turn),
            Query::AppStateUpload(upload) => self.app_state_uploaded(&upload, node, turn),
            Query::Logout => self.finish_logout(turn),
            Query::Passkey(asked) => self.passkey_answered(asked, node, turn),
            Query::LinkHello => self.hello_answered(id, node, turn),
            Query::LinkFinish => {
                if let Some(refusal) = Iq::refusal(node) {
                    tracing::warn!(code = refusal.code, "WhatsApp refused what was typed");
                }
                Ok(())
            }
        }
    }

    pub(super) fn set_status(
        &mut self,
        status: Status,
        reason: Option<&'static str>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let before = self.link.status;
        self.link.qr = None;
        if matches!(status, Status::Connected | Status::Disconnected) {
            self.outage = None;
        }
        if (before, self.link.reason) == (status, reason) {
            turn.effects.push(Effect::Link(self.link.clone()));
            return Ok(());
        }
        self.link.status = status;
        self.link.reason = reason;
        let told = self.announce(before, turn);
        // The event still carries the number that was linked; the state does not.
        self.refresh_link(turn);
        told
    }

    /// Copies what is known of the account into the link and publishes it.
    pub(super) fn refresh_link(&mut self, turn: &mut Turn<'_>) {
        let paired = self.device.paired.as_ref();
        self.link = Link {
            paired: paired.is_some(),
            phone: paired.map(|p| p.jid.user().to_owned()),
            name: paired.and_then(|p| p.push_name.clone()),
            platform: paired.and_then(|p| p.platform.clone()),
            ..self.link.clone()
        };
        turn.effects.push(Effect::Link(self.link.clone()));
    }

    /// Shows a new code.
    pub(super) fn show_code(&mut self, qr: Qr, turn: &mut Turn<'_>) -> Result<(), Error> {
        if self.link.status != Status::QrReady {
            self.set_status(Status::QrReady, None, turn)?;
        }
        self.link.qr = Some(qr.clone());
        turn.effects.push(Effect::Link(self.link.clone()));
        self.report_code(&qr, turn)
    }

    /// A device with fresh keys, as every companion is before its first connection.
    pub(super) fn new_device(settings: &super::Settings, turn: &mut Turn<'_>) -> Result<Device, Error> {
        let mut adv_secret = [0; 32];
        turn.rng.fill_bytes(&mut adv_secret);
        let device = Device {
            noise: crate::crypto::KeyPair::generate(turn.rng),
            identity: crate::crypto::KeyPair::generate(turn.rng),
            registration_id: turn.rng.random_range(1..=0x7fff_ffff),
            adv_secret,
            server_root: settings.server_root,
            login_count: 0,
            routing_info: None,
            paired: None,
        };
        turn.tx.device().create(&device)?;
        Ok(device)
    }
}
