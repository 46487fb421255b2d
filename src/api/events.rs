//! The event log: `GET /events` in pages or by long poll, `GET /events/stream` as server-sent events.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    extract::{Query, State},
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToRead},
    fields::Faults,
    qr::KEEP_ALIVE,
    query::{Pairs, digits, number, value},
    reply,
};
use crate::store::{
    self, Store,
    events::{Event, Page},
};

/// Events a page, if nothing is said, and at most.
const LIMIT: u64 = 100;
const LIMIT_MAX: u64 = 1000;
/// Longest long poll, in seconds.
const WAIT_MAX: u64 = 60;
/// Events that a stream reads from the log at a time.
const READ: u32 = 100;

/// Events after a number, oldest first.
pub(super) async fn list<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Query(query): Pairs,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let after = number(&query, "after", 0..=MAX_SEQ, &mut faults).unwrap_or(0);
    let limit = number(&query, "limit", 1..=LIMIT_MAX, &mut faults).unwrap_or(LIMIT);
    let wait = number(&query, "wait", 0..=WAIT_MAX, &mut faults).unwrap_or(0);
    let kinds = kinds(&query);
    faults.check()?;
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let deadline = Instant::now() + Duration::from_secs(wait);
    let mut newest = app.parts.store.newest_event();
    let mut seen = after;
    loop {
        newest.mark_unchanged();
        let page = read(&app.parts.store, seen, limit, &kinds).await?;
        seen = page.next;
        if page.events.is_empty() && wait > 0 {
            let changed = tokio::select! {
                changed = timeout_at(deadline, newest.changed()) => matches!(changed, Ok(Ok(()))),
                () = app.parts.stop.cancelled() => false,
            };
            if changed {
                continue;
            }
        }
        let events: Vec<_> = page.events.iter().map(render).collect();
        return Ok(reply::ok(&json!({ "success": true, "events": events, "next": page.next })));
    }
}

/// Every event from now on, or from `Last-Event-ID` or `after` on, without a gap.
pub(super) async fn stream<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    headers: HeaderMap,
    Query(query): Pairs,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let after = number(&query, "after", 0..=MAX_SEQ, &mut faults);
    let kinds = kinds(&query);
    let last =
        headers.get("last-event-id").map(|value| value.to_str().ok().and_then(|text| digits(text.trim())));
    if last == Some(None) {
        faults.add("Last-Event-ID", "The Last-Event-ID header must be the id of an event.");
    }
    faults.check()?;
    let start = match last.flatten().or(after) {
        Some(start) => start,
        None => *app.parts.store.newest_event().borrow(),
    };
    let events = follow(app.parts.store.clone(), start, kinds)
        .take_until(app.parts.stop.clone().cancelled_owned())
        .map(|event| {
            Ok::<_, Infallible>(
                sse::Event::default().id(event.seq.to_string()).data(render(&event).to_string()),
            )
        });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

/// The log from a number on, for as long as the store lives. Reads ahead by one page at most: a slow reader slows only
/// itself.
fn follow(store: Store, after: u64, kinds: Vec<String>) -> impl Stream<Item = Event> {
    struct Cursor {
        store: Store,
        newest: tokio::sync::watch::Receiver<u64>,
        after: u64,
        kinds: Vec<String>,
        ready: VecDeque<Event>,
    }
    let newest = store.newest_event();
    let cursor = Cursor { store, newest, after, kinds, ready: VecDeque::new() };
    stream::unfold(cursor, |mut cursor| async move {
        loop {
            if let Some(event) = cursor.ready.pop_front() {
                return Some((event, cursor));
            }
            cursor.newest.mark_unchanged();
            let page = read(&cursor.store, cursor.after, READ, &cursor.kinds).await.ok()?;
            cursor.after = page.next;
            cursor.ready = page.events.into();
            if cursor.ready.is_empty() {
                cursor.newest.changed().await.ok()?;
            }
        }
    })
}

async fn read(store: &Store, after: u64, limit: u32, kinds: &[String]) -> Result<Page, store::Error> {
    let kinds = kinds.to_vec();
    store.read(move |tx| tx.events().read_after(after, limit, &kinds)).await
}

fn render(event: &Event) -> Value {
    json!({
        "seq": event.seq,
        "type": event.kind,
        "timestamp": event.at.rfc3339(),
        // What was stored is JSON; if it were not, it would still be shown.
        "data": serde_json::from_str(&event.data).unwrap_or_else(|_| Value::String(event.data.clone())),
    })
}

/// Largest number that every JSON reader takes.
const MAX_SEQ: u64 = (1 << 53) - 1;

/// `types=a,b`; none, or `*`, means all.
fn kinds(query: &[(String, String)]) -> Vec<String> {
    let text = value(query, "types").unwrap_or_default();
    let kinds: Vec<_> =
        text.split(',').map(str::trim).filter(|kind| !kind.is_empty()).map(str::to_owned).collect();
    if kinds.iter().any(|kind| kind == "*") { Vec::new() } else { kinds }
}
