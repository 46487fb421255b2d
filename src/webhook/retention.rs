//! How long the log is kept: removes old events now and then, and says so if somebody has not had them.
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Millis,
    store::{
        Error, Store,
        events::{NewEvent, Pruned},
    },
};

/// First a while after the start, which has better to do.
const FIRST: Duration = Duration::from_secs(60);
/// Seldom enough not to wake an idle machine for nothing.
const EVERY: Duration = Duration::from_hours(1);

/// `--event-retention` and `--event-max`.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    pub at_least: Duration,
    /// Rows; beyond it the oldest go, delivered or not.
    pub at_most: u64,
}

/// Removes what is no longer to be kept, every hour until `stop`: events, and forgotten idempotency keys.
pub async fn retain(store: Store, keep: Keep, stop: CancellationToken) {
    let mut ticks = interval_at(Instant::now() + FIRST, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match prune(&store, keep, Millis::now(), &stop).await {
            Ok(_) => {}
            Err(Error::Closed) => return,
            Err(error) => tracing::error!(%error, "old events cannot be removed"),
        }
    }
}

/// One round. Undelivered events that had to go are an event themselves (platform-webhooks.md §4.4).
async fn prune(store: &Store, keep: Keep, now: Millis, stop: &CancellationToken) -> Result<Pruned, Error> {
    store.write(move |tx| tx.idempotency().prune(now)).await?;
    store.write(move |tx| tx.schedule().prune(now)).await?;
    let older_than = Millis(now.since(Millis(0)).saturating_sub(keep.at_least).as_millis() as u64);
    let mut total = Pruned::default();
    loop {
        let step = store
            .write(move |tx| {
                let step = tx.events().prune(older_than, keep.at_most)?;
                if step.undelivered > 0 {
                    let data = serde_json::json!({ "reason": "event_max", "undelivered": step.undelivered });
                    let dropped = NewEvent {
                        kind: "events.dropped",
                        lane: None,
                        data: data.to_string(),
                        platform: None,
                    };
                    tx.events().push(&dropped, now)?;
                }
                Ok::<_, Error>(step)
            })
            .await?;
        total.removed += step.removed;
        total.undelivered += step.undelivered;
        if !step.more || stop.is_cancelled() {
            break;
        }
    }
    if total.undelivered > 0 {
        tracing::error!(events = total.undelivered, "the event log is full: events were dropped undelivered");
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_had_to_go_undelivered_is_said_in_the_log() {
        let now = Millis(1_767_115_800_000);
        let store = Store::in_memory().unwrap();
        store
            .write(move |tx| {
                tx.hooks().set_platform("http://127.0.0.1:1", None, now)?;
                let event = NewEvent {
                    kind: "message.received",
                    lane: Some("chat".into()),
                    data: "{}".into(),
                    platform: Some(("incoming", "{}".into())),
                };
                (0..50).try_for_each(|_| tx.events().push(&event, now).map(drop))
            })
            .await
            .unwrap();
        let keep = Keep { at_least: Duration::from_secs(60), at_most: 20 };
        let stop = CancellationToken::new();
        let pruned = prune(&store, keep, now + Duration::from_hours(1), &stop).await.unwrap();
        assert_eq!(pruned, Pruned { removed: 30, undelivered: 30, more: false });
        let page = store.read(|tx| tx.events().read_after(0, 100, &[])).await.unwrap();
        assert_eq!((page.events.len(), page.events[0].seq), (21, 31));
        let last = page.events.last().unwrap();
        assert_eq!((last.kind.as_str(), last.data.contains("30")), ("events.dropped", true));
    }
}
