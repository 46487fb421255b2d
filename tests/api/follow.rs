//! Readers of the event log who come and go while it is written: by page, by long poll and by stream, from wherever they
//! were. Each gets every event once and in order, whatever else is committed, rolled back or read meanwhile.

use axum::{body::Body, http::Request};
use futures_util::{StreamExt as _, future::join_all};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tower::ServiceExt as _;
use wazap::store::{Error, events::NewEvent};

use crate::harness::{START, Story};

const WRITERS: u64 = 4;
/// Events of each writer.
const EVENTS: u64 = 150;

/// Appends a few at a time; some works fail, and nothing of them may show or leave a gap.
async fn write(story: &Story, writer: u64) {
    let mut rng = StdRng::seed_from_u64(writer);
    let mut left = EVENTS;
    while left > 0 {
        let count = rng.random_range(1..=4).min(left);
        let fails = rng.random_bool(0.3);
        let work = move |tx: &mut wazap::store::Tx<'_>| {
            for n in 0..count {
                let kind = if n % 2 == 0 { "message.received" } else { "message.status" };
                let data = format!("{{\"writer\":{writer},\"failed\":{fails}}}");
                tx.events().push(&NewEvent { kind, lane: None, data, platform: None }, START)?;
            }
            if fails { Err(Error::Sqlite("changed its mind".into())) } else { Ok(()) }
        };
        if story.store.write(work).await.is_ok() {
            left -= count;
        }
        tokio::task::yield_now().await;
    }
}

/// Numbers in the order in which one reader got them, until all are there.
async fn read(story: &Story, reader: u64) -> Vec<u64> {
    let mut rng = StdRng::seed_from_u64(1000 + reader);
    let mut seen: Vec<u64> = Vec::new();
    while (seen.len() as u64) < WRITERS * EVENTS {
        let after = seen.last().copied().unwrap_or(0);
        if rng.random_bool(0.5) {
            let (limit, wait) = (rng.random_range(1..40), rng.random_range(0..2));
            let page = story.get(&format!("/events?after={after}&limit={limit}&wait={wait}")).await.json();
            for event in page["events"].as_array().unwrap() {
                assert_eq!(event["data"]["failed"], false, "what was rolled back is shown");
                seen.push(event["seq"].as_u64().unwrap());
            }
            continue;
        }
        let request = Request::get("/events/stream")
            .header("authorization", "Bearer sk_story")
            .header("last-event-id", after.to_string());
        let response = story.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let mut stream = response.into_body().into_data_stream();
        // Hangs up in the middle, after as many as it likes.
        let left = WRITERS * EVENTS - seen.len() as u64;
        for _ in 0..rng.random_range(1..60).min(left) {
            let chunk = stream.next().await.unwrap().unwrap();
            let text = String::from_utf8(chunk.to_vec()).unwrap();
            let id = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
            seen.push(id.parse().unwrap());
        }
    }
    seen
}

#[tokio::test]
async fn readers_who_come_and_go_get_every_event_once_while_others_write() {
    let story = Story::new();
    let writers = join_all((0..WRITERS).map(|writer| write(&story, writer)));
    let readers = join_all((0..4).map(|reader| read(&story, reader)));
    let (_, read) = tokio::join!(writers, readers);
    let all: Vec<u64> = (1..=WRITERS * EVENTS).collect();
    assert!(read.iter().all(|seen| *seen == all), "a gap, or something twice");
}
