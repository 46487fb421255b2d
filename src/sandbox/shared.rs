//! The world behind a lock, and the way from its effects to the connections.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::rngs::StdRng;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    blobs::Blobs,
    core::{ConnId, Effect, World},
    media::Remembered,
};
use crate::{
    clock::Millis,
    crypto::PublicKey,
    wire::{Node, noise::ServerKeys},
};

/// Stanzas that may wait for one client's socket. A client that reads slower is cut; what it has not answered stays in
/// its queue.
const OUTGOING: usize = 8_192;

/// What a connection is told.
pub(super) enum Out {
    Node(Node),
    Close,
    Freeze(Duration),
}

struct Link {
    out: mpsc::Sender<Out>,
    cut: CancellationToken,
}

/// The ends that a connection's task holds.
pub(super) struct Ends {
    pub(super) id: ConnId,
    pub(super) out: mpsc::Receiver<Out>,
    /// The TCP connection is to be dropped at once.
    pub(super) cut: CancellationToken,
}

struct Inner {
    world: World,
    links: HashMap<ConnId, Link>,
}

pub(super) struct Shared {
    inner: Mutex<Inner>,
    /// Counts inputs; whoever waits for something looks again.
    changed: watch::Sender<u64>,
    /// A deadline may have come nearer.
    earlier: Notify,
    pub(super) keys: Arc<ServerKeys>,
    /// Of the media server.
    pub(super) blobs: Blobs,
    /// What files were found to be.
    pub(super) remembered: Remembered,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Shared {
    pub(super) fn new(
        world: World,
        keys: ServerKeys,
        blobs: Blobs,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            inner: Mutex::new(Inner { world, links: HashMap::new() }),
            changed: watch::Sender::new(0),
            earlier: Notify::new(),
            keys: Arc::new(keys),
            blobs,
            remembered: Remembered::default(),
            stop,
            tasks,
        }
    }

    /// A panic in one input is reported where it happened; the others go on.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the world.
    pub(super) fn read<R>(&self, look: impl FnOnce(&World) -> R) -> R {
        look(&self.lock().world)
    }

    /// Gives the world an input, and passes its effects on before anybody else has one.
    pub(super) fn input<R>(&self, act: impl FnOnce(&mut World, Millis) -> R) -> R {
        let mut inner = self.lock();
        let before = inner.world.deadline();
        let result = act(&mut inner.world, Millis::now());
        inner.pass_on(&self.blobs);
        let nearer = inner.world.deadline().is_some_and(|at| before.is_none_or(|before| at < before));
        drop(inner);
        if nearer {
            self.earlier.notify_one();
        }
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
        result
    }

    /// A client finished its handshake.
    pub(super) fn opened(&self, noise: PublicKey, payload: &[u8]) -> Ends {
        let (out, receiver) = mpsc::channel(OUTGOING);
        let cut = CancellationToken::new();
        let mut inner = self.lock();
        let id = inner.world.opened(noise, payload, Millis::now());
        inner.links.insert(id, Link { out, cut: cut.clone() });
        inner.pass_on(&self.blobs);
        drop(inner);
        self.earlier.notify_one();
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
        Ends { id, out: receiver, cut }
    }

    pub(super) fn closed(&self, id: ConnId) {
        self.lock().links.remove(&id);
        self.input(|world, now| world.closed(id, now));
    }

    /// Randomness for a handshake.
    pub(super) fn rng(&self) -> StdRng {
        self.lock().world.fork_rng()
    }

    /// Told of every input.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Tells the world when something is due, until the sandbox stops.
    pub(super) async fn keep_time(self: Arc<Self>) {
        loop {
            let wait = self.read(World::deadline).map(|at| at.since(Millis::now()));
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.earlier.notified() => {}
                () = tokio::time::sleep(wait.unwrap_or(Duration::from_secs(3600))) => {
                    if wait.is_some() {
                        self.input(World::tick);
                    }
                }
            }
        }
    }
}

impl Inner {
    fn pass_on(&mut self, blobs: &Blobs) {
        for effect in self.world.take_effects() {
            let (id, out) = match effect {
                Effect::Send(id, node) => (id, Out::Node(node)),
                Effect::Close(id) => (id, Out::Close),
                Effect::Freeze(id, time) => (id, Out::Freeze(time)),
                Effect::Keep(blob) => {
                    if let Err(error) = blobs.put(&blob) {
                        tracing::error!(%error, "cannot keep a blob");
                    }
                    continue;
                }
                Effect::Drop(id) => {
                    if let Some(link) = self.links.remove(&id) {
                        link.cut.cancel();
                    }
                    continue;
                }
            };
            let Some(link) = self.links.get(&id) else { continue };
            if let Err(mpsc::error::TrySendError::Full(_)) = link.out.try_send(out) {
                tracing::warn!("a client does not read what it is sent: cut");
                link.cut.cancel();
                self.links.remove(&id);
            }
        }
    }
}
