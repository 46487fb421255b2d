//! Which events of one hook are due? Pure: rows, log entries, outcomes and the time in; what to post, when to look
//! again and what to store out. Knows nothing of HTTP, threads or SQL.
//!
//! Lanes (chats, and the instance's own) are delivered in order each. A lane that fails is set apart ("behind"): it gets a
//! row of its own, keeps only its next few events in memory, and the hook's cursor goes on without it.
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::Retry;
use crate::{
    clock::Millis,
    store::{events::Entry, hooks},
};

/// Posts in flight per hook (platform-webhooks.md §4.3).
const SLOTS: usize = 8;
/// Of those, for events that failed before: chats whose posts hang must leave room for the others.
const RETRY_SLOTS: usize = SLOTS / 2;
/// Undelivered events known at a time, of lanes that are not set apart. Lower drains slower when chats are few and many
/// events wait; higher costs memory (about 150 bytes each) and time per step.
const WINDOW: usize = 1_000;
/// Lanes set apart at a time. With more of them failing it is the receiver that is down: the cursor then waits.
const APART: usize = 256;
/// Events of a lane set apart that are kept in memory; the rest is read when they are through.
pub(super) const AHEAD: usize = 16;
/// As many, for the instance's own lane: what has been superseded goes, so that few ever wait.
const AHEAD_INSTANCE: usize = 1_000;
/// Failures, each beside a delivery that succeeded, after which a user's event is put aside (platform-webhooks.md §4.3).
const STRIKES: u32 = 6;
/// Of these events only the newest matters once the receiver cannot be reached (platform-webhooks.md §2).
const SUPERSEDED: [&str; 2] = ["qr", "connection"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) bool);

/// How a post ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered,
    /// No longer in the log, or never for this hook.
    Gone,
    Failed {
        error: String,
        refused: Refused,
        /// Not to be tried again before.
        after: Option<Duration>,
    },
    /// The receiver wants no more of this hook.
    Unwanted,
}

#[derive(Debug)]
pub(super) struct Plan {
    kind: hooks::Kind,
    epoch: u64,
    cursor: u64,
    /// Every event up to here is delivered, or queued in its lane, or behind in a lane with `more`.
    scanned: u64,
    lanes: BTreeMap<String, Lane>,
    changed: BTreeSet<String>,
    unsaved: bool,
    /// Entries queued in lanes not set apart.
    waiting: usize,
    apart: usize,
    flying: usize,
    retrying: usize,
    last_attempt: Option<Millis>,
    last_success: Option<Millis>,
    last_error: Option<String>,
    /// Deliveries so far: whether others arrive while one fails.
    successes: u64,
    /// Put aside and not stored yet.
    letters: Vec<hooks::NewLetter>,
}

#[derive(Debug, Default)]
struct Lane {
    /// The last event delivered, as far as known.
    done: u64,
    /// (number, path), in order; the first may be in flight.
    queue: VecDeque<(u64, Option<String>)>,
    /// There may be further events up to `scanned`, to be read when the queue is empty.
    more: bool,
    behind: bool,
    flying: bool,
    attempts: u32,
    strikes: u32,
    /// The hook's successes at the last failure.
    mark: u64,
    next_at: Millis,
    error: Option<String>,
    /// It has a row.
    stored: bool,
}

impl Lane {
    fn idle(&self) -> bool {
        self.queue.is_empty() && !self.more && !self.flying && self.attempts == 0
    }

    /// The event in front has not failed.
    fn renew(&mut self) {
        (self.attempts, self.strikes, self.next_at, self.error) = (0, 0, Millis(0), None);
    }

    /// Everything up to here, and nothing after it, is delivered.
    fn delivered(&self) -> u64 {
        self.queue.front().map_or(self.done, |(seq, _)| seq.saturating_sub(1).max(self.done))
    }
}

/// A lane to read on in: its events after `after`, up to `upto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Behind {
    pub(super) lane: String,
    pub(super) after: u64,
    pub(super) upto: u64,
    pub(super) limit: usize,
}

impl Plan {
    pub(super) fn new(hook: &hooks::Hook, rows: Vec<hooks::Lane>) -> Self {
        let mut plan = Self {
            kind: hook.kind,
            epoch: hook.epoch,
            successes: 0,
            letters: Vec::new(),
            cursor: hook.cursor,
            scanned: hook.cursor,
            lanes: BTreeMap::new(),
            changed: BTreeSet::new(),
            unsaved: false,
            waiting: 0,
            apart: 0,
            flying: 0,
            retrying: 0,
            last_attempt: None,
            last_success: None,
            last_error: hook.last_error.clone(),
        };
        for row in rows {
            let hooks::Lane { lane, done, behind, attempts, strikes, next_at, error } = row;
            plan.apart += usize::from(behind);
            let known = Lane {
                done,
                more: behind,
                behind,
                attempts,
                strikes,
                next_at,
                error,
                stored: true,
                ..Lane::default()
            };
            plan.lanes.insert(lane, known);
        }
        plan
    }

    /// Where to read on in the log, and how much at most; `None`: enough is known for now.
    pub(super) fn room(&self) -> Option<(u64, usize)> {
        let room = WINDOW.saturating_sub(self.waiting);
        (room >= WINDOW / 8 && self.apart < APART).then_some((self.scanned, room))
    }

    /// Takes what was read of the log, up to and including `upto`; `wanted` says what is for this hook.
    pub(super) fn scanned(&mut self, entries: Vec<Entry>, upto: u64, wanted: impl Fn(&Entry) -> bool) {
        for entry in entries.into_iter().filter(wanted) {
            let ahead = ahead(&entry.lane);
            let lane = self.lanes.entry(entry.lane).or_default();
            if entry.seq <= lane.done {
                continue;
            }
            if lane.behind && (lane.more || lane.queue.len() >= ahead) {
                lane.more = true;
                continue;
            }
            self.waiting += usize::from(!lane.behind);
            lane.queue.push_back((entry.seq, entry.path));
        }
        if upto > self.scanned {
            self.scanned = upto;
            self.unsaved = true;
        }
    }

    /// A lane whose next events have to be read before it can go on.
    pub(super) fn behind(&self, now: Millis, retry: &Retry) -> Option<Behind> {
        let (name, lane) = self.lanes.iter().find(|(_, lane)| {
            lane.more && lane.queue.is_empty() && !lane.flying && due_at(lane.next_at, now, retry)
        })?;
        Some(Behind { lane: name.clone(), after: lane.done, upto: self.scanned, limit: ahead(name) })
    }

    /// Takes what was read of a lane.
    pub(super) fn caught_up(&mut self, read: &Behind, entries: Vec<Entry>, wanted: impl Fn(&Entry) -> bool) {
        let Some(lane) = self.lanes.get_mut(&read.lane) else { return };
        lane.more = entries.len() >= read.limit;
        // Past what is not for this hook, so that the next reading does not meet it again.
        let last = entries.last().map_or(read.upto, |entry| entry.seq);
        lane.queue.extend(entries.into_iter().filter(wanted).map(|entry| (entry.seq, entry.path)));
        if lane.queue.is_empty() {
            lane.done = lane.done.max(last);
            // The event that failed is no longer kept.
            lane.renew();
        }
        self.touch(&read.lane);
    }

    /// What to post now, at most as many as there are free slots; each is in flight from here on.
    pub(super) fn due(&mut self, now: Millis, retry: &Retry) -> Vec<(String, u64)> {
        self.supersede();
        let free = SLOTS.saturating_sub(self.flying);
        if free == 0 {
            return Vec::new();
        }
        let (mut fresh, mut again) = (Vec::new(), Vec::new());
        for (name, lane) in &self.lanes {
            let Some(&(seq, _)) = lane.queue.front() else { continue };
            if lane.flying || !due_at(lane.next_at, now, retry) {
                continue;
            }
            if lane.attempts == 0 {
                fresh.push((seq, name));
            } else {
                again.push((lane.next_at, seq, name));
            }
        }
        fresh.sort_unstable();
        again.sort_unstable();
        let again = again.into_iter().map(|(_, seq, name)| (seq, name));
        let start: Vec<(String, u64)> = again
            .take(RETRY_SLOTS.saturating_sub(self.retrying))
            .chain(fresh)
            .take(free)
            .map(|(seq, name)| (name.clone(), seq))
            .collect();
        for (name, _) in &start {
            if let Some(lane) = self.lanes.get_mut(name) {
                lane.flying = true;
                self.flying += 1;
                self.retrying += usize::from(lane.attempts > 0);
            }
        }
        start
    }

    /// Takes the end of a post that [`Plan::due`] asked for.
    pub(super) fn settle(&mut self, name: &str, outcome: Outcome, now: Millis, retry: &Retry) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        lane.flying = false;
        self.flying = self.flying.saturating_sub(1);
        self.retrying = self.retrying.saturating_sub(usize::from(lane.attempts > 0));
        if outcome != Outcome::Gone {
            self.last_attempt = Some(now);
        }
        match outcome {
            Outcome::Delivered | Outcome::Gone => {
                self.successes += u64::from(outcome == Outcome::Delivered);
                if let Some((seq, _)) = lane.queue.pop_front() {
                    lane.done = seq;
                    self.waiting = self.waiting.saturating_sub(usize::from(!lane.behind));
                }
                lane.renew();
                if outcome == Outcome::Delivered {
                    self.last_success = Some(now);
                    self.last_error = None;
                }
            }
            Outcome::Failed { .. } | Outcome::Unwanted => {
                let (error, refused, after) = match outcome {
                    Outcome::Failed { error, refused: Refused(refused), after } => (error, refused, after),
                    _ => ("http 410".to_owned(), false, None),
                };
                // The first failure counts, and each later one since which something else arrived.
                let others = lane.attempts == 0 || self.successes > lane.mark;
                lane.mark = self.successes;
                lane.strikes = lane.strikes.saturating_add(u32::from(others));
                lane.attempts = lane.attempts.saturating_add(1);
                lane.next_at = now + retry.pause(lane.attempts, refused).max(after.unwrap_or_default());
                self.last_error = Some(error.clone());
                if self.kind == hooks::Kind::User && others && lane.strikes >= STRIKES {
                    self.put_aside(name, error, now);
                    return;
                }
                lane.error = Some(error);
                if !lane.behind {
                    lane.behind = true;
                    self.apart += 1;
                    self.waiting = self.waiting.saturating_sub(lane.queue.len());
                    if lane.queue.len() > ahead(name) {
                        lane.queue.truncate(ahead(name));
                        lane.more = true;
                    }
                }
            }
        }
        self.touch(name);
    }

    /// The receiver takes other events and never this one: it goes aside, and its chat goes on.
    fn put_aside(&mut self, name: &str, error: String, now: Millis) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        if let Some((seq, _)) = lane.queue.pop_front() {
            tracing::warn!(seq, error, "an event is put aside as a dead letter");
            self.letters.push(hooks::NewLetter { seq, at: now, attempts: lane.attempts, error });
            lane.done = seq;
            self.waiting = self.waiting.saturating_sub(usize::from(!lane.behind));
        }
        lane.renew();
        self.touch(name);
    }

    /// How often the event in front of a lane will have been posted with the next time.
    pub(super) fn attempt(&self, name: &str) -> u32 {
        self.lanes.get(name).map_or(1, |lane| lane.attempts.saturating_add(1))
    }

    /// Takes one of the slots for a post of another kind, if one is free.
    pub(super) fn take_slot(&mut self) -> bool {
        let free = self.flying < SLOTS;
        self.flying += usize::from(free);
        free
    }

    pub(super) fn free_slot(&mut self) {
        self.flying = self.flying.saturating_sub(1);
    }

    /// Of the instance's events that wait behind one which failed, only the newest of each kind is kept.
    fn supersede(&mut self) {
        if self.kind != hooks::Kind::Platform {
            return;
        }
        let Some(lane) = self.lanes.get_mut("") else { return };
        if lane.attempts == 0 || lane.flying || lane.queue.len() < 2 {
            return;
        }
        let head = lane.queue.front().map(|(seq, _)| *seq);
        let before = lane.queue.len();
        let mut newer = BTreeSet::new();
        let mut kept: VecDeque<_> = lane
            .queue
            .drain(..)
            .rev()
            .filter(|(_, path)| match path.as_deref() {
                Some(path) if SUPERSEDED.contains(&path) => newer.insert(path.to_owned()),
                _ => true,
            })
            .collect();
        kept.make_contiguous().reverse();
        lane.queue = kept;
        if lane.queue.len() == before {
            return;
        }
        if lane.queue.front().map(|(seq, _)| *seq) != head {
            lane.renew();
        }
        self.touch("");
    }

    fn touch(&mut self, name: &str) {
        self.changed.insert(name.to_owned());
        self.unsaved = true;
    }

    /// When the next lane is due that has to wait; `None`: only an outcome or a new event changes anything.
    pub(super) fn next_at(&self) -> Option<Millis> {
        if self.flying >= SLOTS {
            return None;
        }
        let waits = |lane: &&Lane| !lane.flying && (lane.more || !lane.queue.is_empty());
        let again = |lane: &&Lane| lane.attempts > 0 && self.retrying < RETRY_SLOTS;
        self.lanes.values().filter(waits).filter(again).map(|lane| lane.next_at).min()
    }

    /// What has changed since the last call; to be stored in one transaction.
    pub(super) fn progress(&mut self) -> Option<hooks::Progress> {
        if !std::mem::take(&mut self.unsaved) {
            return None;
        }
        // Lanes that have reached the cursor are ordinary ones again.
        for lane in self.lanes.values_mut().filter(|lane| lane.behind && lane.attempts == 0 && !lane.more) {
            if lane.queue.front().is_none_or(|(seq, _)| *seq > self.cursor) {
                lane.behind = false;
                self.apart = self.apart.saturating_sub(1);
                self.waiting += lane.queue.len();
            }
        }
        let first = |lane: &Lane| lane.queue.front().map(|(seq, _)| seq.saturating_sub(1));
        let waiting = self.lanes.values().filter(|lane| !lane.behind).filter_map(first).min();
        self.cursor = self.cursor.max(waiting.unwrap_or(self.scanned));
        let mut progress = hooks::Progress {
            epoch: self.epoch,
            letters: std::mem::take(&mut self.letters),
            cursor: self.cursor,
            last_attempt: self.last_attempt,
            last_success: self.last_success,
            last_error: self.last_error.clone(),
            ..hooks::Progress::default()
        };
        let changed = std::mem::take(&mut self.changed);
        let cursor = self.cursor;
        self.lanes.retain(|name, lane| {
            if lane.behind || lane.done > cursor {
                if changed.contains(name) {
                    lane.stored = true;
                    progress.set.push(row(name, lane));
                }
                return true;
            }
            if std::mem::take(&mut lane.stored) {
                progress.clear.push(name.clone());
            }
            !lane.idle()
        });
        Some(progress)
    }

    /// `progress` could not be stored: what it said is to be said again.
    pub(super) fn not_stored(&mut self, progress: hooks::Progress) {
        self.unsaved = true;
        self.letters.splice(..0, progress.letters);
        self.changed.extend(progress.set.into_iter().map(|row| row.lane));
        for name in progress.clear {
            self.lanes.entry(name).or_default().stored = true;
        }
    }

    /// When the event in front of a lane is tried again, if it has failed.
    pub(super) fn again_at(&self, lane: &str) -> Option<Millis> {
        self.lanes.get(lane).filter(|lane| lane.attempts > 0).map(|lane| lane.next_at)
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.lanes.values().all(Lane::idle)
    }
}

fn row(name: &str, lane: &Lane) -> hooks::Lane {
    hooks::Lane {
        lane: name.to_owned(),
        done: lane.delivered(),
        behind: lane.behind,
        attempts: lane.attempts,
        strikes: lane.strikes,
        next_at: lane.next_at,
        error: lane.error.clone(),
    }
}

/// Events of a lane set apart that are kept in memory.
fn ahead(lane: &str) -> usize {
    if lane.is_empty() { AHEAD_INSTANCE } else { AHEAD }
}

/// A time further off than any pause means that the clock was set back: then it is due now.
fn due_at(next_at: Millis, now: Millis, retry: &Retry) -> bool {
    next_at <= now || next_at > now + retry.longest()
}

#[cfg(test)]
mod tests;
