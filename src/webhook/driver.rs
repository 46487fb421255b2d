//! The task of one hook: feeds its plan, posts what is due, stores how far it got.
use std::{future::pending, pin::Pin, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    Options, Retry,
    clock::Clock,
    plan::{Outcome, Plan, Refused},
    post::Target,
};
use crate::{
    clock::Millis,
    store::{
        Error, Store,
        events::Entry,
        hooks::{Kind, Letter, Pause, Progress, Wanted},
        trace::Attempt,
    },
};

/// Log rows read at a time.
const READ: usize = 250;
/// After storing failed; posting goes on meanwhile, and is repeated if the process ends before it works again.
const STORE_AGAIN: Duration = Duration::from_secs(1);

/// Ends of posts kept while they cannot be stored; older ones are forgotten.
const ATTEMPTS: usize = 1_000;

/// What a post was about.
enum Job {
    /// The next event of a lane.
    Lane(String, Flight),
    /// A dead letter, sent once more.
    Letter,
}

/// A post of a lane, at its end.
struct Flight {
    seq: u64,
    attempt: u32,
    at: Millis,
    took: Duration,
}

type Saving = BoxFuture<'static, Result<(), (Progress, Error)>>;

/// Delivers to one hook until `stop`; returns early if the hook has gone, or the store cannot be read.
pub(super) async fn drive(
    store: Store,
    hook: i64,
    options: Arc<Options>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let Some((found, rows)) = store.read(move |tx| tx.hooks().load(hook)).await? else { return Ok(()) };
    let target = Target::new(&found, options.clone());
    let grace = options.grace;
    let retry = match found.kind {
        Kind::Platform => options.retry.clone(),
        Kind::User => options.user_retry.clone(),
    };
    let mut driver = Driver {
        plan: Plan::new(&found, rows),
        clock: Clock::start(),
        store,
        hook,
        kind: found.kind,
        wanted: found.wanted,
        retry,
        down: false,
        unwanted: false,
        letters: Letters { look: true, ..Letters::default() },
        attempts: Vec::new(),
    };
    let mut newest = driver.store.newest_event();
    let mut changed = driver.store.hooks_changed();
    let mut posts = FuturesUnordered::new();
    let mut saving: Option<Saving> = None;
    let mut save_from = Instant::now();
    loop {
        newest.mark_unchanged();
        driver.read().await?;
        for (lane, seq) in driver.plan.due(driver.clock.now(), &driver.retry) {
            let (target, store, attempt) = (&target, driver.store.clone(), driver.plan.attempt(&lane));
            let clock = driver.clock;
            let post = async move {
                let (at, began) = (clock.now(), Instant::now());
                let outcome = target.deliver(&store, seq, attempt).await;
                (Job::Lane(lane, Flight { seq, attempt, at, took: began.elapsed() }), outcome)
            };
            posts.push(post.boxed());
        }
        if let Some(letter) = driver.letter().await? {
            let (target, store) = (&target, driver.store.clone());
            posts.push(again(target, store, hook, letter).boxed());
        }
        if saving.is_none() && save_from <= Instant::now() {
            saving = driver.save();
        }
        let wake = driver.wake(saving.is_none().then_some(save_from));
        tokio::select! {
            () = stop.cancelled() => break,
            Some((job, outcome)) = posts.next() => {
                driver.settle(&job, outcome);
                // Whatever else has ended meanwhile is stored together with it.
                while let Some(Some((job, outcome))) = posts.next().now_or_never() {
                    driver.settle(&job, outcome);
                }
                if std::mem::take(&mut driver.unwanted) {
                    driver.store.write(move |tx| tx.hooks().pause(hook, Pause::Gone)).await?;
                }
            }
            saved = poll(&mut saving) => {
                saving = None;
                if let Err(delay) = driver.saved(saved)? {
                    save_from = Instant::now() + delay;
                }
            }
            more = changed.changed() => {
                if more.is_err() {
                    return Err(Error::Closed);
                }
                driver.letters.look = true;
            }
            more = newest.changed() => if more.is_err() { return Err(Error::Closed) },
            () = sleep(wake) => {}
        }
    }
    // What is in flight may still arrive, and is stored if it does; the rest is posted again after the restart.
    let grace = Instant::now() + grace;
    while let Ok(Some((job, outcome))) = tokio::time::timeout_at(grace, posts.next()).await {
        driver.settle(&job, outcome);
    }
    if let Some(saving) = saving
        && let Err((progress, _)) = saving.await
    {
        driver.not_stored(progress);
    }
    match driver.save() {
        Some(saving) => saving.await.map_err(|(_, error)| error),
        None => Ok(()),
    }
}

struct Driver {
    plan: Plan,
    clock: Clock,
    store: Store,
    hook: i64,
    kind: Kind,
    wanted: Wanted,
    retry: Retry,
    /// The last post failed: said once, not at every retry.
    down: bool,
    /// The receiver wants no more.
    unwanted: bool,
    letters: Letters,
    /// How posts ended since the last time something was stored.
    attempts: Vec<Attempt>,
}

/// Dead letters that are sent once more, one after the other.
#[derive(Default)]
struct Letters {
    /// There may be some.
    look: bool,
    flying: bool,
    /// Those up to here had their turn.
    after: u64,
}

/// Sends a letter, and stores what came of it.
async fn again(target: &Target, store: Store, hook: i64, letter: Letter) -> (Job, Outcome) {
    let seq = letter.event.seq;
    let outcome = target.deliver_event(&letter.event, letter.attempts.saturating_add(1)).await;
    let error = match &outcome {
        Outcome::Delivered | Outcome::Gone => None,
        Outcome::Failed { error, .. } => Some(error.clone()),
        Outcome::Unwanted => Some("http 410".to_owned()),
    };
    if let Err(error) = store.write(move |tx| tx.hooks().letter_sent(hook, seq, error.as_deref())).await {
        tracing::error!(%error, "what came of a dead letter cannot be stored");
        // It will be sent again: not at once.
        tokio::time::sleep(STORE_AGAIN).await;
    }
    (Job::Letter, outcome)
}

impl Driver {
    /// Brings the plan up to what the log holds, as far as it has room.
    async fn read(&mut self) -> Result<(), Error> {
        while let Some((after, room)) = self.plan.room() {
            let limit = u32::try_from(room.min(READ)).unwrap_or(u32::MAX);
            let entries = self.store.read(move |tx| tx.events().entries(after, limit)).await?;
            let Some(last) = entries.last().map(|entry| entry.seq) else { break };
            self.plan.scanned(entries, last, |entry| wants(self.kind, &self.wanted, entry));
        }
        while let Some(behind) = self.plan.behind(self.clock.now(), &self.retry) {
            let read = behind.clone();
            let limit = u32::try_from(read.limit).unwrap_or(u32::MAX);
            let entries = self
                .store
                .read(move |tx| tx.events().lane_entries(&read.lane, read.after, read.upto, limit))
                .await?;
            self.plan.caught_up(&behind, entries, |entry| wants(self.kind, &self.wanted, entry));
        }
        Ok(())
    }

    /// The next letter to be sent once more, if there is a free slot for it.
    async fn letter(&mut self) -> Result<Option<Letter>, Error> {
        if !self.letters.look || self.letters.flying || !self.plan.take_slot() {
            return Ok(None);
        }
        let (hook, after) = (self.hook, self.letters.after);
        let found = self.store.read(move |tx| tx.hooks().next_letter(hook, after)).await?;
        match &found {
            Some(letter) => (self.letters.flying, self.letters.after) = (true, letter.event.seq),
            None => {
                self.plan.free_slot();
                // Those marked while others were on their way.
                self.letters = Letters { look: after > 0, ..Letters::default() };
            }
        }
        Ok(found)
    }

    fn settle(&mut self, job: &Job, outcome: Outcome) {
        match &outcome {
            Outcome::Unwanted => {
                tracing::warn!(hook = self.hook, "the receiver is gone: the hook is paused");
                self.unwanted = true;
            }
            Outcome::Failed { error, refused: Refused(true), .. } => {
                tracing::warn!(hook = self.hook, error, "the receiver refuses an event; trying again");
                self.down = true;
            }
            Outcome::Failed { error, .. } => {
                if !std::mem::replace(&mut self.down, true) {
                    tracing::warn!(hook = self.hook, error, "delivery fails; trying again");
                }
            }
            Outcome::Delivered => {
                if std::mem::take(&mut self.down) {
                    tracing::info!(hook = self.hook, "delivery works again");
                }
            }
            Outcome::Gone => {}
        }
        match job {
            Job::Lane(lane, flight) => {
                let result = match &outcome {
                    Outcome::Delivered => Some("delivered".to_owned()),
                    Outcome::Failed { error, .. } => Some(error.clone()),
                    Outcome::Unwanted => Some("http 410".to_owned()),
                    Outcome::Gone => None,
                };
                self.plan.settle(lane, outcome, self.clock.now(), &self.retry);
                if let Some(result) = result {
                    let &Flight { seq, attempt, at, took } = flight;
                    let next_at = self.plan.again_at(lane);
                    self.attempts.push(Attempt { seq, at, attempt, took, result, next_at });
                }
            }
            Job::Letter => {
                self.letters.flying = false;
                self.plan.free_slot();
            }
        }
    }

    /// Begins to store what has changed.
    fn save(&mut self) -> Option<Saving> {
        let mut progress = self.plan.progress()?;
        progress.attempts = std::mem::take(&mut self.attempts);
        let (store, hook) = (self.store.clone(), self.hook);
        Some(Box::pin(async move {
            let copy = progress.clone();
            let stored = store.write(move |tx| tx.hooks().progress(hook, &copy)).await;
            stored.map_err(|error| (progress, error))
        }))
    }

    /// `Err`: how long to wait before storing again.
    fn saved(&mut self, saved: Result<(), (Progress, Error)>) -> Result<Result<(), Duration>, Error> {
        match saved {
            Ok(()) => Ok(Ok(())),
            Err((_, Error::Closed)) => Err(Error::Closed),
            Err((progress, error)) => {
                tracing::error!(hook = self.hook, %error, "what was delivered cannot be stored");
                self.not_stored(progress);
                Ok(Err(STORE_AGAIN))
            }
        }
    }

    /// Takes back what could not be stored.
    fn not_stored(&mut self, mut progress: Progress) {
        self.attempts.splice(..0, std::mem::take(&mut progress.attempts));
        self.attempts.drain(..self.attempts.len().saturating_sub(ATTEMPTS));
        self.plan.not_stored(progress);
    }

    /// When to look again without anything happening.
    fn wake(&self, save_from: Option<Instant>) -> Option<Instant> {
        let now = Instant::now();
        let due = self.plan.next_at().map(|at| now + self.clock.until(at));
        let save = save_from.filter(|&from| from > now);
        due.into_iter().chain(save).min()
    }
}

/// Whether an event is for this hook.
fn wants(kind: Kind, wanted: &Wanted, entry: &Entry) -> bool {
    match kind {
        Kind::Platform => entry.path.is_some(),
        Kind::User => wanted.contains(&entry.kind),
    }
}

async fn poll(saving: &mut Option<Saving>) -> Result<(), (Progress, Error)> {
    match saving {
        Some(saving) => Pin::new(saving).await,
        None => pending().await,
    }
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}
