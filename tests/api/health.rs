//! The verdict of `GET /health/details`, and what it rests on.

use std::time::Duration;

use serde_json::{Value, json};
use wazap::{
    account::{Ended, Evidence, Offline, Status},
    store::{
        history::Announced,
        hooks::{Change, Pause},
    },
};

use crate::harness::{START, Story, error};

fn evidence() -> Evidence {
    Evidence {
        status: Status::Connected,
        reason: None,
        last_in: Some(START),
        last_out: Some(START),
        ping: Some((Duration::from_millis(42), START)),
        unanswered: None,
        offline: Some(Offline { promised: 7, drained: 7, done: true }),
        dialled: Some(START),
        next_dial: None,
        outage: None,
        in_flight: (0, None),
        ends: vec![Ended { at: START, cause: "silence" }],
        ended: 1,
    }
}

async fn verdict(story: &Story, evidence: Option<Evidence>) -> (String, Vec<String>) {
    story.instance.shows_of_itself(evidence);
    let body = story.get("/health/details").await.json();
    let codes = body["problems"].as_array().unwrap().iter();
    let codes = codes.map(|problem| problem["code"].as_str().unwrap().to_owned()).collect();
    assert!(!body["reason"].as_str().unwrap().is_empty());
    (body["verdict"].as_str().unwrap().to_owned(), codes)
}

fn is(verdict: &str, codes: &[&str]) -> (String, Vec<String>) {
    (verdict.to_owned(), codes.iter().map(|code| (*code).to_owned()).collect())
}

#[tokio::test]
async fn everything_known_is_shown_to_who_may_read() {
    let story = Story::new();
    let without = story.call_with("GET", "/health/details", &[], "").await;
    assert_eq!(without.error(), error(401, "UNAUTHENTICATED"));
    story.instance.shows_of_itself(Some(evidence()));
    story.advance(Duration::from_secs(5));
    let mut body = story.get("/health/details").await.json();
    assert!(body["database"]["bytes"].as_u64().unwrap() > 0);
    body.as_object_mut().unwrap().retain(|name, _| !matches!(name.as_str(), "database" | "uptime"));
    let start = START.rfc3339();
    assert_eq!(
        body,
        json!({
            "success": true,
            "verdict": "ok",
            "reason": "connected: the last stanza came 5 s ago, the last ping took 42 ms",
            "problems": [],
            "timestamp": "2025-12-30T17:30:05.000Z",
            "link": {
                "status": "connected",
                "reason": null,
                "last_stanza_in": start,
                "last_stanza_in_seconds": 5,
                "last_stanza_out": start,
                "last_stanza_out_seconds": 5,
                "ping_ms": 42,
                "ping_at": start,
                "ping_unanswered_seconds": null,
                "offline_queue": { "promised": 7, "drained": 7, "done": true },
                "dialled_at": start,
                "next_attempt_at": null,
                "in_flight": { "rows": 0, "oldest_seconds": null },
                "connections_ended": 1,
                "last_ends": [{ "at": start, "cause": "silence" }],
            },
            "standing": { "restricted": false, "reason": null, "until": null },
            "queues": {
                "outgoing": { "rows": 0, "oldest_seconds": null },
                "held": { "rows": 0, "oldest_seconds": null },
                "undecryptable": { "rows": 0, "oldest_seconds": null },
                "scheduled": { "rows": 0, "next_at": null },
                "app_state": 0,
            },
            "history": {
                "waiting": 0, "done": 0, "failed": 0, "messages": 0, "recent_percent": null, "full_percent": null,
                "last_error": null,
            },
            "webhooks": [],
            "events": { "oldest": 0, "newest": 0 },
        })
    );
}

#[tokio::test]
async fn connected_is_believed_only_while_something_comes() {
    let story = Story::new();
    assert_eq!(verdict(&story, Some(evidence())).await, is("ok", &[]));
    story.advance(Duration::from_secs(60));
    assert_eq!(verdict(&story, Some(evidence())).await, is("down", &["deaf"]));
    assert_eq!(verdict(&story, None).await, is("down", &["account_stuck"]));
    for (status, code) in [
        (Status::Offline, "offline"),
        (Status::Pending, "connecting"),
        (Status::QrReady, "not_linked"),
        (Status::Disconnected, "disconnected"),
    ] {
        let down = Evidence { status, ..evidence() };
        assert_eq!(verdict(&story, Some(down)).await, is("down", &[code]));
    }
}

#[tokio::test]
async fn what_is_stuck_or_lags_is_named() {
    let story = Story::new();
    let heard = Evidence { last_in: Some(START + Duration::from_secs(90)), ..evidence() };
    let draining = Some(Offline { promised: 900, drained: 200, done: false });
    let catching_up = Evidence { offline: draining, ..heard.clone() };
    assert_eq!(verdict(&story, Some(catching_up)).await, is("degraded", &["catching_up"]));

    story.store.write(|tx| tx.queue().push("3EB0", "5511999999999", None, b"", START)).await.unwrap();
    let change = Change {
        url: "http://127.0.0.1:1".into(),
        secret: None,
        wanted: None,
        active: None,
        spare_secret: "s".into(),
    };
    let id = story.store.write(move |tx| tx.hooks().set_user(&change, START)).await.unwrap().hook.id;
    story.push("message.received", "{}").await;
    assert_eq!(verdict(&story, Some(heard.clone())).await, is("ok", &[]), "not yet");
    story.advance(Duration::from_secs(90));
    assert_eq!(
        verdict(&story, Some(heard.clone())).await,
        is("degraded", &["outgoing_stuck", "webhook_lag"])
    );
    let body: Value = story.get("/health/details").await.json();
    assert_eq!(body["webhooks"][0]["lag"], json!({ "events": 1, "seconds": 90 }));
    assert_eq!(body["queues"]["outgoing"], json!({ "rows": 1, "oldest_seconds": 90 }));
    story.store.write(move |tx| tx.hooks().pause(id, Pause::Requested)).await.unwrap();
    let (_, codes) = verdict(&story, Some(heard)).await;
    assert_eq!(codes, ["outgoing_stuck", "webhook_paused"]);
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_not_called_well_until_it_is_given_up() {
    let story = Story::new();
    let asked = Evidence { unanswered: Some(START), ..evidence() };
    story.advance(Duration::from_secs(4));
    assert_eq!(verdict(&story, Some(asked.clone())).await, is("ok", &[]), "the answer may be under way");
    story.advance(Duration::from_secs(8));
    assert_eq!(verdict(&story, Some(asked.clone())).await, is("degraded", &["unanswered"]));
    let body = story.get("/health/details").await.json();
    assert_eq!(body["link"]["ping_unanswered_seconds"], 12);
    assert!(body["reason"].as_str().unwrap().contains("for 12 s"), "{body}");
    // Given up: what matters now is that there is none.
    let lost = Evidence { status: Status::Offline, ..asked };
    assert_eq!(verdict(&story, Some(lost)).await, is("down", &["offline"]));
    assert_eq!(verdict(&story, Some(evidence())).await, is("ok", &[]), "answered after all");
}

#[tokio::test]
async fn queues_are_stuck_only_while_the_link_works() {
    let story = Story::new();
    story.store.write(|tx| tx.queue().push("3EB0", "5511999999999", None, b"", START)).await.unwrap();
    story.advance(Duration::from_secs(3600));
    let heard = |status| Evidence { status, last_in: Some(START + Duration::from_secs(3600)), ..evidence() };
    assert_eq!(verdict(&story, Some(heard(Status::Offline))).await, is("down", &["offline"]));
    assert_eq!(verdict(&story, Some(heard(Status::Connected))).await, is("degraded", &["outgoing_stuck"]));
    let body = story.get("/health/details").await.json();
    assert!(body["reason"].as_str().unwrap().contains("the oldest for 3600 s"), "{body}");
    story
        .store
        .write(|tx| {
            let seq = tx.queue().find("3EB0")?.unwrap().seq;
            tx.queue().remove(seq)
        })
        .await
        .unwrap();
    assert_eq!(verdict(&story, Some(heard(Status::Connected))).await, is("ok", &[]));
}

#[tokio::test]
async fn hooks_that_lag_are_named_and_others_are_not() {
    let story = Story::new();
    story.store.write(|tx| tx.hooks().set_platform("http://127.0.0.1:1", None, START)).await.unwrap();
    let change = Change {
        url: "http://127.0.0.1:2".into(),
        secret: None,
        wanted: None,
        active: None,
        spare_secret: "s".into(),
    };
    let user = story.store.write(move |tx| tx.hooks().set_user(&change, START)).await.unwrap().hook.id;
    // Nothing of it concerns the platform.
    story.push("message.received", "{}").await;
    story.advance(Duration::from_secs(120));
    let heard = Evidence { last_in: Some(START + Duration::from_secs(120)), ..evidence() };
    assert_eq!(verdict(&story, Some(heard)).await, is("degraded", &["webhook_lag"]));
    let body = story.get("/health/details").await.json();
    let reason = body["reason"].as_str().unwrap();
    assert!(reason.starts_with(&format!("hook {user} (user) lags by 1 events and 120 s")), "{reason}");
}

#[tokio::test]
async fn history_is_stuck_when_a_piece_of_it_cannot_be_had() {
    let story = Story::new();
    let announced = Announced {
        wa_id: "3EB1",
        notification: b"x",
        sync_type: 3,
        chunk: 1,
        progress: Some(10),
        request: None,
    };
    story.store.write(move |tx| tx.history().announce(&announced, START)).await.unwrap();
    story.advance(Duration::from_secs(600));
    let heard = Evidence { last_in: Some(START + Duration::from_secs(600)), ..evidence() };
    assert_eq!(verdict(&story, Some(heard.clone())).await, is("ok", &[]), "its turn has not come");
    let later = START + Duration::from_secs(630);
    let seq = story
        .store
        .write(move |tx| {
            let seq = tx.history().next(START)?.unwrap().seq;
            tx.history().put_off(seq, later, true).map(|()| seq)
        })
        .await
        .unwrap();
    assert_eq!(verdict(&story, Some(heard.clone())).await, is("degraded", &["history_stuck"]));
    let body = story.get("/health/details").await.json();
    assert!(body["reason"].as_str().unwrap().contains("for 600 s"), "{body}");
    story.store.write(move |tx| tx.history().finish(seq, None)).await.unwrap();
    assert_eq!(verdict(&story, Some(heard)).await, is("ok", &[]));
}
