//! What time brings to the connection: pings, batches of the offline queue, and the limits after which something counts
//! as lost.

use std::time::Duration;

use rand::{CryptoRng, RngExt as _};

use super::conn::{
    ACK_WAIT, Conn, DRAIN_LIMIT, DRAIN_NUDGE, LOGOUT_WAIT, OPENING, PING_WAIT, Phase, QUERY_WAIT, Query,
    SILENCE,
};
use crate::{
    account::{
        Error, Status,
        dispatch::{Account, Turn},
    },
    clock::Millis,
    stanza,
};

/// Keepalive: a random pause of 15–25 s, within WhatsApp Web's 15–30 s. With the wait for its answer, a connection that
/// carries nothing is noticed within 45 s.
const PING_MIN: u64 = 15_000;
const PING_SPREAD: u64 = 10_000;
/// Stanzas asked for at a time while the offline queue drains (WhatsApp Web's figure).
pub(super) const BATCH: u32 = 200;
/// A clock that goes back by less was only corrected.
const SET_BACK: Duration = Duration::from_secs(2);
/// An outage of this length is told to webhooks as a disconnection.
const OUTAGE: Duration = Duration::from_secs(60);

impl Account {
    /// When [`crate::account::Input::Tick`] is due next.
    pub fn deadline(&self) -> Option<Millis> {
        let outage = self.outage.filter(|outage| !outage.told).map(|outage| outage.since + OUTAGE);
        // Due while there is no connection: on the next one, without being woken for it.
        let scheduled = self.next_due.filter(|_| self.can_send());
        let standing = self.standing_deadline().filter(|_| self.can_send());
        let link = self.conn.as_ref().map(Conn::deadline);
        let history = self.reading.deadline(self.can_send());
        [link, self.retry.at, outage, scheduled, standing, history].into_iter().flatten().min()
    }

    /// Times are kept by the clock on the wall, which somebody may set back: what was due in a moment would be due in an
    /// hour, and until then nobody would notice a dead connection. Set forward, it makes everything due at once, which
    /// costs a reconnect at most.
    pub(in crate::account) fn watch_clock(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let back = self.latest.since(turn.now);
        self.latest = turn.now;
        if back < SET_BACK {
            return Ok(());
        }
        tracing::warn!(seconds = back.as_secs(), "the clock was set back");
        self.seen.forget_times(turn.now);
        self.reading.pull_in(turn)?;
        self.release_put_off(turn)?;
        if let Some(outage) = &mut self.outage {
            outage.since = outage.since.min(turn.now);
        }
        self.ask_again_at = self.ask_again_at.map(|at| at.min(turn.now));
        if self.conn.is_some() {
            return self.lose("clock_set_back", turn);
        }
        if self.retry.at.is_some() && !self.wait_out_ban(turn)? {
            self.retry.back_off(turn.now, turn.rng);
        }
        Ok(())
    }

    pub(in crate::account) fn tick(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let now = turn.now;
        if let Some(outage) = self.outage.as_mut().filter(|o| !o.told && now.since(o.since) >= OUTAGE) {
            outage.told = true;
            self.report_outage(turn)?;
        }
        if self.retry.at.is_some_and(|at| at <= now) {
            if self.link.status == Status::Disconnected {
                self.set_status(Status::Pending, None, turn)?;
            }
            self.dial(turn)?;
        }
        self.tick_standing(turn)?;
        if self.tick_passkey(turn)? {
            return Ok(());
        }
        let Some(conn) = &mut self.conn else { return Ok(()) };
        if conn.rotate_at.is_some_and(|at| at <= now) {
            return self.rotate_code(turn);
        }
        if conn.phase == Phase::Pairing && conn.linking.offer.as_ref().is_some_and(|o| o.expires_at <= now) {
            self.renew_code(turn);
        }
        let Some(conn) = &mut self.conn else { return Ok(()) };
        match conn.phase {
            Phase::Opening | Phase::LoggingIn | Phase::Paired if now.since(conn.since) >= OPENING => {
                tracing::info!(phase = ?conn.phase, "the server does not answer");
                return self.lose("no_answer", turn);
            }
            Phase::LoggingOut if now.since(conn.since) >= LOGOUT_WAIT => return self.finish_logout(turn),
            _ => {}
        }
        if conn.first_out.is_some_and(|first| now.since(first) >= SILENCE) {
            tracing::warn!("nothing received since the last writes: the connection is dead");
            return self.lose("silence", turn);
        }
        if conn.in_flight.front().is_some_and(|(_, sent)| now.since(*sent) >= ACK_WAIT) {
            tracing::warn!("a message was not acknowledged in time: connecting anew");
            return self.lose("no_acknowledgement", turn);
        }
        if conn.ask_again_at.is_some_and(|at| at <= now) {
            conn.ask_again_at = None;
            conn.asked_devices.clear();
            conn.asked_bundles.clear();
            conn.asked_numbers.clear();
            conn.asked_groups.clear();
            self.ask_for_parked(turn);
        }
        self.end_chat_states(turn);
        self.end_typing(turn)?;
        let Some(conn) = &mut self.conn else { return Ok(()) };
        if conn.pinged.is_some_and(|at| now.since(at) >= PING_WAIT) {
            tracing::warn!("stanzas come, but a ping was not answered: nothing that is written arrives");
            return self.lose("no_pong", turn);
        }
        if conn.activating.is_some_and(|at| now.since(at) >= PING_WAIT) {
            tracing::warn!("logged in, and nobody says whether messages will come: connecting anew");
            return self.lose("no_answer", turn);
        }
        if conn.phase == Phase::Draining {
            // Pings may be answered all the while.
            if conn.stalled(now) && !self.stalled {
                tracing::warn!(
                    promised = conn.promised,
                    drained = conn.drained,
                    "the offline queue does not come"
                );
                self.stalled = true;
                return self.lose("queue_stalled", turn);
            }
            Self::nudge_drain(conn, turn);
        }
        if conn.next_ping <= now && !matches!(conn.phase, Phase::Opening) {
            conn.next_ping = next_ping(now, turn.rng);
            let id = conn.query(Query::Ping, now);
            conn.pinged.get_or_insert(now);
            turn.send(&stanza::ping(&id));
        }
        self.expire_queries(turn)
    }

    /// The queue must not stall because a batch was lost or an end marker never comes.
    fn nudge_drain(conn: &mut Conn, turn: &mut Turn<'_>) {
        if turn.now.since(conn.last_drained) >= DRAIN_LIMIT {
            tracing::warn!(promised = conn.promised, drained = conn.drained, "no end of the offline queue");
            conn.phase = Phase::Live;
        } else if turn.now.since(conn.last_drained.max(conn.nudged)) >= DRAIN_NUDGE {
            conn.nudged = turn.now;
            if conn.drained < conn.promised {
                conn.asked = conn.drained + BATCH;
                turn.send(&stanza::offline_batch(BATCH));
            }
        }
    }

    /// Asks for the next batch before the last one is used up.
    pub(in crate::account) fn continue_drain(&mut self, turn: &mut Turn<'_>) {
        let Some(conn) = self.conn.as_mut().filter(|conn| conn.phase == Phase::Draining) else { return };
        if conn.drained < conn.promised && conn.drained + BATCH / 4 >= conn.asked {
            conn.asked += BATCH;
            conn.nudged = turn.now;
            turn.send(&stanza::offline_batch(BATCH));
        }
    }

    fn expire_queries(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(conn) = &mut self.conn else { return Ok(()) };
        let late = |(_, asked): &(Query, Millis)| turn.now.since(*asked) >= QUERY_WAIT;
        let expired: Vec<String> =
            conn.queries.iter().filter(|(_, query)| late(query)).map(|(id, _)| id.clone()).collect();
        if expired.is_empty() {
            return Ok(());
        }
        // A server that answers pings but not queries cannot be worked with; a new connection may land elsewhere.
        tracing::warn!(queries = expired.len(), "queries were not answered: connecting anew");
        self.lose("no_answer", turn)
    }
}

/// When the next ping is due.
pub(super) fn next_ping(now: Millis, rng: &mut dyn CryptoRng) -> Millis {
    now + Duration::from_millis(PING_MIN + rng.random_range(0..PING_SPREAD))
}
