//! The rate limit on a clock that the story moves.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Story, error};

const WINDOW: Duration = Duration::from_secs(900);

fn story() -> Story {
    Story::with_limit(Some((100, WINDOW)))
}

#[tokio::test]
async fn the_hundred_and_first_request_waits_for_the_next_window() {
    let story = story();
    for n in 1..=100 {
        let answer = story.get("/status").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-ratelimit-limit"), Some("100"));
        assert_eq!(answer.header("x-ratelimit-remaining"), Some(&*(100 - n).to_string()));
        assert_eq!(answer.header("x-ratelimit-reset"), Some("1767116700"));
        assert_eq!(answer.header("retry-after"), None);
    }
    story.advance(Duration::from_millis(776_500));
    let refused = story.call("POST", "/connect", "").await;
    assert_eq!(refused.error(), error(429, "RATE_LIMIT_EXCEEDED"));
    assert_eq!(refused.details(), json!({ "limit": 100, "window_seconds": 900, "retry_after": 124 }));
    assert_eq!(refused.header("retry-after"), Some("124"));
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    assert_eq!(story.instance.asked(|asked| asked.connects), 0);
    story.advance(Duration::from_millis(123_500));
    let next = story.get("/status").await;
    assert_eq!((next.status.as_u16(), next.header("x-ratelimit-remaining")), (200, Some("99")));
    assert_eq!(next.header("x-ratelimit-reset"), Some("1767117600"));
}

#[tokio::test]
async fn every_authenticated_request_counts_whatever_becomes_of_it() {
    let story = story();
    let (_, reader) = story.token("read", None).await;
    let header = format!("Bearer {reader}");
    let reader = [("authorization", &*header)];
    let left = |answer: &crate::harness::Answer| answer.header("x-ratelimit-remaining").map(str::to_owned);
    let bad = story.call("POST", "/send-message", "{").await;
    assert_eq!((bad.status.as_u16(), left(&bad)), (400, Some("99".into())));
    let invalid = story.call("POST", "/send-message", "{}").await;
    assert_eq!((invalid.status.as_u16(), left(&invalid)), (422, Some("98".into())));
    // Another token, another bucket.
    let forbidden = story.call_with("POST", "/connect", &reader, "").await;
    assert_eq!((forbidden.status.as_u16(), left(&forbidden)), (403, Some("99".into())));
    assert_eq!(left(&story.call_with("GET", "/status", &reader, "").await), Some("98".into()));
}

#[tokio::test]
async fn what_is_not_found_or_not_authenticated_carries_no_headers() {
    let story = story();
    for (method, path, headers) in [
        ("GET", "/nowhere", &[("authorization", "Bearer sk_story")][..]),
        ("PUT", "/status", &[("authorization", "Bearer sk_story")]),
        ("GET", "/status", &[]),
        ("GET", "/health", &[("authorization", "Bearer sk_story")]),
    ] {
        let answer = story.call_with(method, path, headers, "").await;
        assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("x-ratelimit")), "{path}");
    }
    assert_eq!(story.get("/status").await.header("x-ratelimit-remaining"), Some("99"));
}

#[tokio::test]
async fn an_address_that_guesses_is_slowed_down_and_nobody_else() {
    let story = story();
    let guess = [("authorization", "Bearer sk_guess")];
    for _ in 0..100 {
        assert_eq!(story.call_with("GET", "/status", &guess, "").await.error().0, 401);
    }
    let refused = story.call_with("GET", "/status", &guess, "").await;
    assert_eq!(refused.error(), error(429, "RATE_LIMIT_EXCEEDED"));
    assert_eq!(refused.header("retry-after"), Some("900"));
    // A good token from the same address is none the worse for it.
    let good = story.get("/status").await;
    assert_eq!((good.status.as_u16(), good.header("x-ratelimit-remaining")), (200, Some("99")));
    story.advance(WINDOW);
    assert_eq!(story.call_with("GET", "/status", &guess, "").await.error().0, 401);
}

#[tokio::test]
async fn off_means_no_limit_and_no_headers() {
    let story = Story::new();
    for _ in 0..150 {
        let answer = story.get("/status").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-ratelimit-limit")), (200, None));
    }
}
