//! The log by page, by long poll and by stream.

use axum::{
    body::{Body, BodyDataStream},
    http::Request,
};
use futures_util::StreamExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use crate::harness::{Story, error};

async fn story_of(events: usize) -> Story {
    let story = Story::new();
    for n in 1..=events {
        let kind = if n % 2 == 1 { "message.received" } else { "message.status" };
        story.push(kind, &format!("{{\"n\":{n}}}")).await;
    }
    story
}

async fn seqs(story: &Story, path: &str) -> (Vec<u64>, u64) {
    let body = story.get(path).await.json();
    let seqs =
        body["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    (seqs, body["next"].as_u64().unwrap())
}

#[tokio::test]
async fn a_page_has_events_in_order_and_where_to_go_on() {
    let story = story_of(1).await;
    assert_eq!(
        story.get("/events").await.json(),
        json!({ "success": true, "next": 1, "events": [
            { "seq": 1, "type": "message.received", "timestamp": "2025-12-30T17:30:00.000Z", "data": { "n": 1 } }
        ] })
    );
}

#[tokio::test]
async fn pages_join_without_a_gap_whatever_the_filter() {
    let story = story_of(250).await;
    assert_eq!(seqs(&story, "/events").await, ((1..=100).collect(), 100));
    assert_eq!(seqs(&story, "/events?after=200&limit=1000").await, ((201..=250).collect(), 250));
    assert_eq!(seqs(&story, "/events?after=250").await, (vec![], 250));
    assert_eq!(seqs(&story, "/events?limit=2&types=message.status").await, (vec![2, 4], 4));
    assert_eq!(seqs(&story, "/events?after=249&types=message.received").await, (vec![], 250));
    assert_eq!(seqs(&story, "/events?after=248&types=*").await.0, [249, 250]);
    assert_eq!(seqs(&story, "/events?after=248&types=message.received,message.status").await.0, [249, 250]);
}

#[tokio::test]
async fn parameters_out_of_range_are_all_named() {
    let story = Story::new();
    let answer = story.get("/events?after=-1&limit=1001&wait=61").await;
    assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"));
    let details = answer.details();
    assert_eq!(details.as_object().unwrap().keys().collect::<Vec<_>>(), ["after", "limit", "wait"]);
    for query in ["limit=0", "limit=x", "limit=%2B1", "after=1.5", "after=9007199254740992"] {
        assert_eq!(story.get(&format!("/events?{query}")).await.error().0, 422, "{query}");
    }
}

#[tokio::test]
async fn a_long_poll_answers_as_soon_as_something_of_its_kind_happens() {
    let story = story_of(2).await;
    let poll = story.get("/events?after=2&wait=60&types=message.status");
    let happen = async {
        story.push("message.received", "{}").await;
        story.push("message.status", "{}").await;
    };
    let (answer, ()) = tokio::join!(poll, happen);
    let body = answer.json();
    assert_eq!((&body["events"][0]["seq"], &body["next"]), (&json!(4), &json!(4)));
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_empty_handed_in_time_and_at_once_on_shutdown() {
    let story = story_of(1).await;
    let started = tokio::time::Instant::now();
    assert_eq!(seqs(&story, "/events?after=1&wait=60").await, (vec![], 1));
    assert_eq!(started.elapsed().as_secs(), 60);
    story.stop.cancel();
    assert_eq!(seqs(&story, "/events?after=1&wait=60").await, (vec![], 1));
    assert_eq!(started.elapsed().as_secs(), 60);
}

async fn open(story: &Story, path: &str, last: Option<&str>) -> BodyDataStream {
    let mut request = Request::get(path).header("authorization", "Bearer sk_story");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = story.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

/// Ids of the next events; the data's number must agree.
async fn ids(stream: &mut BodyDataStream, count: usize) -> Vec<u64> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let chunk = stream.next().await.unwrap().unwrap();
        let text = String::from_utf8(chunk.to_vec()).unwrap();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let id: u64 = field("id: ").unwrap().parse().unwrap();
        let data: serde_json::Value = serde_json::from_str(field("data: ").unwrap()).unwrap();
        assert_eq!(data["seq"], id);
        ids.push(id);
    }
    ids
}

#[tokio::test]
async fn a_stream_resumes_without_a_gap() {
    let story = story_of(230).await;
    let mut stream = open(&story, "/events/stream", Some("5")).await;
    assert_eq!(ids(&mut stream, 225).await, (6..=230).collect::<Vec<_>>());
    for _ in 0..3 {
        story.push("message.received", "{}").await;
    }
    assert_eq!(ids(&mut stream, 3).await, [231, 232, 233]);
    drop(stream);
    story.push("message.received", "{}").await;
    // The header of a reconnect beats the query of the first connect.
    let mut stream = open(&story, "/events/stream?after=1", Some("232")).await;
    assert_eq!(ids(&mut stream, 2).await, [233, 234]);
    story.stop.cancel();
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_stream_starts_now_or_where_it_is_told_and_keeps_to_its_kinds() {
    let story = story_of(4).await;
    let mut now = open(&story, "/events/stream", None).await;
    let mut told = open(&story, "/events/stream?after=2&types=message.received", None).await;
    story.push("message.status", "{}").await;
    story.push("message.received", "{}").await;
    assert_eq!(ids(&mut now, 2).await, [5, 6]);
    assert_eq!(ids(&mut told, 2).await, [3, 6]);
    let headers = [("authorization", "Bearer sk_story"), ("last-event-id", "yesterday")];
    assert_eq!(story.call_with("GET", "/events/stream", &headers, "").await.error().0, 422);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_says_something_every_fifteen_seconds() {
    let story = Story::new();
    for path in ["/events/stream", "/qr/stream"] {
        let mut stream = open(&story, path, None).await;
        if path == "/qr/stream" {
            stream.next().await.unwrap().unwrap();
        }
        let started = tokio::time::Instant::now();
        let chunk = stream.next().await.unwrap().unwrap();
        assert!(chunk.starts_with(b":"), "{path}");
        assert_eq!(started.elapsed().as_secs(), 15, "{path}");
    }
}
