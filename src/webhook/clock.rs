//! The time by which a hook is served.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Millis;

/// The wall clock, but that it goes on when that is set back: nobody waits longer for a post because of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    began: (Millis, Instant),
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { began: (Millis::now(), Instant::now()) }
    }

    pub(super) fn now(&self) -> Millis {
        let (wall, began) = self.began;
        (wall + began.elapsed()).max(Millis::now())
    }

    /// How long until then.
    pub(super) fn until(&self, at: Millis) -> Duration {
        at.since(self.now())
    }
}
