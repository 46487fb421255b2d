//! The task of one hook: feeds its plan, posts what is due, stores how far it got.
use std::{future::pending, pin::Pin, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    Options,
    plan::{Outcome, Plan, Refused},
    post::Target,
};
use crate::{
    clock::Millis,
    store::{Error, Store, events::Entry, hooks::Progress},
};

/// Log rows read at a time.
const READ: usize = 250;
/// After storing failed; posting goes on meanwhile, and is repeated if the process ends before it works again.
const STORE_AGAIN: Duration = Duration::from_secs(1);

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
    let mut driver = Driver { plan: Plan::new(&found, rows), store, hook, options, down: false };
    let mut newest = driver.store.newest_event();
    let mut posts = FuturesUnordered::new();
    let mut saving: Option<Saving> = None;
    let mut save_from = Instant::now();
    loop {
        newest.mark_unchanged();
        driver.read().await?;
        for (lane, seq) in driver.plan.due(Millis::now(), &driver.options.retry) {
            let (target, store) = (&target, driver.store.clone());
            posts.push(async move { (lane, target.deliver(&store, seq).await) });
        }
        if saving.is_none() && save_from <= Instant::now() {
            saving = driver.save();
        }
        let wake = driver.wake(saving.is_none().then_some(save_from));
        tokio::select! {
            () = stop.cancelled() => break,
            Some((lane, outcome)) = posts.next() => {
                driver.settle(&lane, outcome);
                // Whatever else has ended meanwhile is stored together with it.
                while let Some(Some((lane, outcome))) = posts.next().now_or_never() {
                    driver.settle(&lane, outcome);
                }
            }
            saved = poll(&mut saving) => {
                saving = None;
                if let Err(delay) = driver.saved(saved)? {
                    save_from = Instant::now() + delay;
                }
            }
            more = newest.changed() => if more.is_err() { return Err(Error::Closed) },
            () = sleep(wake) => {}
        }
    }
    // What is in flight may still arrive, and is stored if it does; the rest is posted again after the restart.
    let grace = Instant::now() + driver.options.grace;
    while let Ok(Some((lane, outcome))) = tokio::time::timeout_at(grace, posts.next()).await {
        driver.settle(&lane, outcome);
    }
    if let Some(saving) = saving
        && let Err((progress, _)) = saving.await
    {
        driver.plan.not_stored(progress);
    }
    match driver.save() {
        Some(saving) => saving.await.map_err(|(_, error)| error),
        None => Ok(()),
    }
}

struct Driver {
    plan: Plan,
    store: Store,
    hook: i64,
    options: Arc<Options>,
    /// The last post failed: said once, not at every retry.
    down: bool,
}

impl Driver {
    /// Brings the plan up to what the log holds, as far as it has room.
    async fn read(&mut self) -> Result<(), Error> {
        while let Some((after, room)) = self.plan.room() {
            let limit = u32::try_from(room.min(READ)).unwrap_or(u32::MAX);
            let entries = self.store.read(move |tx| tx.events().entries(after, limit)).await?;
            let Some(last) = entries.last().map(|entry| entry.seq) else { break };
            self.plan.scanned(entries, last, for_platform);
        }
        while let Some(behind) = self.plan.behind(Millis::now(), &self.options.retry) {
            let read = behind.clone();
            let limit = u32::try_from(read.limit).unwrap_or(u32::MAX);
            let entries = self
                .store
                .read(move |tx| tx.events().lane_entries(&read.lane, read.after, read.upto, limit))
                .await?;
            self.plan.caught_up(&behind, entries, for_platform);
        }
        Ok(())
    }

    fn settle(&mut self, lane: &str, outcome: Outcome) {
        match &outcome {
            Outcome::Failed { error, refused: Refused(true) } => {
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
        self.plan.settle(lane, outcome, Millis::now(), &self.options.retry);
    }

    /// Begins to store what has changed.
    fn save(&mut self) -> Option<Saving> {
        let progress = self.plan.progress()?;
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
                self.plan.not_stored(progress);
                Ok(Err(STORE_AGAIN))
            }
        }
    }

    /// When to look again without anything happening.
    fn wake(&self, save_from: Option<Instant>) -> Option<Instant> {
        let now = Instant::now();
        let due = self.plan.next_at().map(|at| now + at.since(Millis::now()));
        let save = save_from.filter(|&from| from > now);
        due.into_iter().chain(save).min()
    }
}

fn for_platform(entry: &Entry) -> bool {
    entry.path.is_some()
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
