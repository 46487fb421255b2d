//! What can be shown of the connection, so that `connected` need not be believed: what was last heard and said, the last
//! ping, the offline queue, and why earlier connections ended. Of this process only; nothing of it is stored.

use std::{collections::VecDeque, time::Duration};

use super::{
    Status,
    dispatch::Account,
    link::{Outage, Phase},
};
use crate::clock::Millis;

/// Ends of connections that are remembered: a bad day's worth at the longest pause is more than anybody reads.
const ENDS: usize = 20;

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Millis,
    /// Why, in a word.
    pub cause: &'static str,
}

/// What waited at the server for the present connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offline {
    /// Stanzas that the server announced.
    pub promised: u32,
    /// Stanzas that came.
    pub drained: u32,
    /// The server said that it was all, or nothing more came for long enough.
    pub done: bool,
}

/// What was seen of the connections of this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) last_in: Option<Millis>,
    pub(super) last_out: Option<Millis>,
    /// How long the last answered ping took, and when its answer came.
    pub(super) ping: Option<(Duration, Millis)>,
    ends: VecDeque<Ended>,
    count: u64,
}

impl Seen {
    /// The clock was set back: what was seen later than now was seen just now, as far as anybody can tell.
    pub(super) fn forget_times(&mut self, now: Millis) {
        let ping = self.ping.as_mut().map(|(_, at)| at);
        let times = self.last_in.iter_mut().chain(self.last_out.iter_mut()).chain(ping);
        times.chain(self.ends.iter_mut().map(|ended| &mut ended.at)).for_each(|at| *at = (*at).min(now));
    }

    /// A connection has ended.
    pub(super) fn ended(&mut self, cause: &'static str, at: Millis) {
        self.ends.truncate(ENDS - 1);
        self.ends.push_front(Ended { at, cause });
        self.count += 1;
    }
}

/// How the link does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Where the link stands.
    pub status: Status,
    /// Why, where it is down.
    pub reason: Option<&'static str>,
    /// The last stanza that came.
    pub last_in: Option<Millis>,
    /// The last stanza that left.
    pub last_out: Option<Millis>,
    /// How long the last answered ping took, and when its answer came.
    pub ping: Option<(Duration, Millis)>,
    /// When the ping left that the present connection has not answered yet.
    pub unanswered: Option<Millis>,
    /// `None`: not logged in.
    pub offline: Option<Offline>,
    /// When the present connection was dialled.
    pub dialled: Option<Millis>,
    /// When the next one will be.
    pub next_dial: Option<Millis>,
    /// Since when the link is down.
    pub outage: Option<Millis>,
    /// Messages written and not acknowledged, and when the oldest was written.
    pub in_flight: (usize, Option<Millis>),
    /// The last ends of connections, newest first.
    pub ends: Vec<Ended>,
    /// All ends of connections since the start.
    pub ended: u64,
}

impl Account {
    /// How the link does.
    pub(super) fn evidence(&self) -> Evidence {
        let conn = self.conn.as_ref();
        let offline = conn.filter(|conn| matches!(conn.phase, Phase::Draining | Phase::Live)).map(|conn| {
            Offline { promised: conn.promised, drained: conn.drained, done: conn.phase == Phase::Live }
        });
        let in_flight = conn.map(|conn| (conn.in_flight.len(), conn.in_flight.front().map(|(_, at)| *at)));
        Evidence {
            status: self.link.status,
            reason: self.link.reason,
            last_in: self.seen.last_in,
            last_out: self.seen.last_out,
            ping: self.seen.ping,
            unanswered: conn.and_then(|conn| conn.pinged),
            offline,
            dialled: conn.map(|conn| conn.since),
            next_dial: self.retry.at,
            outage: self.outage.map(|Outage { since, .. }| since),
            in_flight: in_flight.unwrap_or_default(),
            ends: self.seen.ends.iter().copied().collect(),
            ended: self.seen.count,
        }
    }
}
