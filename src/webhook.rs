//! The outbox worker: takes due events from the log, signs them, posts them, and puts off what failed.
//!
//! What has been delivered is rows (`store::hooks`), so that a restart changes nothing; what to do next is a pure
//! function of those, the log and the time (`plan`). Events of one chat reach a hook in order; chats do not wait for
//! each other, and nothing that is received waits for a hook. Delivery is at least once, with the same bytes, signature
//! and `X-Webhook-Id` each time (platform-webhooks.md §2, §4).
mod clock;
mod driver;
mod plan;
mod post;
mod retention;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::store::{self, Store, hooks::Hook};
pub use retention::{Keep, retain};

/// Before a hook whose delivery ended early (a storage error) is taken up again.
const RECOVERY: Duration = Duration::from_secs(5);

/// How a worker posts. [`Options::new`] is what the contract says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The instance's UUID, in paths and headers.
    pub instance: Uuid,
    /// From connecting to the last byte of the answer. Default 5 s.
    pub timeout: Duration,
    /// Of posts to the platform.
    pub retry: Retry,
    /// Of posts to a user's hook.
    pub user_retry: Retry,
    /// How long posts in flight may still take after a stop, before they are dropped (and later repeated). Default 2 s:
    /// the whole process is to end within 5.
    pub grace: Duration,
}

impl Options {
    pub fn new(instance: Uuid) -> Self {
        Self {
            instance,
            timeout: Duration::from_secs(5),
            retry: Retry::default(),
            user_retry: Retry::user(),
            grace: Duration::from_secs(2),
        }
    }
}

/// When a failed delivery is tried again.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Pause after the first failure, the second, …; the last one repeats. Default 1, 2, 5, 10, 30, 60 s.
    pub pauses: Vec<Duration>,
    /// Pause after 400, 401, 404 and 422, which trying again soon will not change. Default 60 s.
    pub refused: Duration,
    /// A receiver's `Retry-After` is obeyed up to this long. Default 0 for the platform, an hour for users' hooks.
    pub obey: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            pauses: [1, 2, 5, 10, 30, 60].map(Duration::from_secs).to_vec(),
            refused: Duration::from_secs(60),
            obey: Duration::ZERO,
        }
    }
}

impl Retry {
    /// For users' hooks: 10 s, 60 s, 5 min, 30 min, then hourly, whatever the failure (platform-webhooks.md §4.3).
    pub fn user() -> Self {
        let hour = Duration::from_secs(3600);
        Self {
            pauses: [10, 60, 300, 1800, 3600].map(Duration::from_secs).to_vec(),
            refused: hour,
            obey: hour,
        }
    }

    fn pause(&self, attempts: u32, refused: bool) -> Duration {
        let nth = usize::try_from(attempts).unwrap_or(usize::MAX).saturating_sub(1);
        let pause = self.pauses.get(nth).or(self.pauses.last()).copied().unwrap_or(self.refused);
        if refused { self.refused } else { pause }
    }

    fn longest(&self) -> Duration {
        self.pauses.iter().copied().max().unwrap_or_default().max(self.refused).max(self.obey)
    }
}

/// Delivers to every active hook until `stop`; takes up new and changed hooks by itself. Ends early only with the store.
pub async fn run(store: Store, options: Options, stop: CancellationToken) {
    let options = Arc::new(options);
    let mut changed = store.hooks_changed();
    let mut workers = Workers::default();
    loop {
        changed.mark_unchanged();
        match store.read(|tx| tx.hooks().list()).await {
            Ok(hooks) => workers.match_to(hooks, &store, &options, &stop).await,
            Err(store::Error::Closed) => break,
            Err(error) => tracing::error!(%error, "the hooks cannot be read"),
        }
        // Without a reason to look again, look again when something changes.
        let recovery = async {
            workers.ended_early().await;
            tokio::time::sleep(RECOVERY).await;
        };
        tokio::select! {
            // The workers end at the same signal; they must not be taken for having ended early.
            biased;
            () = stop.cancelled() => break,
            more = changed.changed() => if more.is_err() { break },
            () = recovery => {}
        }
    }
    workers.stop_all().await;
}

/// One task a hook.
#[derive(Default)]
struct Workers {
    tasks: JoinSet<Result<(), store::Error>>,
    running: HashMap<i64, Worker>,
}

struct Worker {
    task: tokio::task::Id,
    stop: CancellationToken,
    url: String,
    secret: Option<String>,
    epoch: u64,
}

impl Workers {
    /// Stops what is no longer wanted in this form, and starts what is new.
    async fn match_to(
        &mut self,
        hooks: Vec<Hook>,
        store: &Store,
        options: &Arc<Options>,
        stop: &CancellationToken,
    ) {
        let wanted: HashMap<i64, Hook> = hooks
            .into_iter()
            .filter(|hook| hook.active && hook.paused.is_none())
            .map(|hook| (hook.id, hook))
            .collect();
        let stale: Vec<i64> = self
            .running
            .iter()
            .filter(|(id, worker)| {
                wanted.get(id).is_none_or(|hook| {
                    (&hook.url, &hook.secret, hook.epoch) != (&worker.url, &worker.secret, worker.epoch)
                })
            })
            .map(|(&id, worker)| {
                worker.stop.cancel();
                id
            })
            .collect();
        while stale.iter().any(|id| self.running.contains_key(id)) {
            let _ = self.next_ended().await;
        }
        for (id, hook) in wanted {
            if self.running.contains_key(&id) {
                continue;
            }
            let stop = stop.child_token();
            let drive = driver::drive(store.clone(), id, options.clone(), stop.clone());
            let task = self.tasks.spawn(drive).id();
            let Hook { url, secret, epoch, .. } = hook;
            self.running.insert(id, Worker { task, stop, url, secret, epoch });
        }
    }

    /// The next task to end, and why if that was not asked for.
    async fn next_ended(&mut self) -> Option<String> {
        let Some(ended) = self.tasks.join_next_with_id().await else {
            self.running.clear();
            return None;
        };
        let (task, why) = match ended {
            Ok((task, Ok(()))) => (task, None),
            Ok((task, Err(error))) => (task, Some(error.to_string())),
            Err(error) => (error.id(), Some("panicked".to_owned())),
        };
        self.running.retain(|_, worker| worker.task != task);
        why
    }

    /// Resolves when a task has ended by itself; never without tasks.
    async fn ended_early(&mut self) {
        if self.tasks.is_empty() {
            std::future::pending::<()>().await;
        }
        let why = self.next_ended().await;
        tracing::error!(why = why.as_deref().unwrap_or("no reason given"), "a hook's delivery ended early");
    }

    async fn stop_all(mut self) {
        for worker in self.running.values() {
            worker.stop.cancel();
        }
        while !self.tasks.is_empty() {
            let _ = self.next_ended().await;
        }
    }
}
