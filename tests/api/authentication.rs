//! Tokens and scopes.

use std::time::Duration;

use wazap::clock::Millis;

use crate::harness::{START, Story, error};

#[tokio::test]
async fn a_good_token_is_taken_in_any_case_of_the_scheme() {
    let story = Story::new();
    let (_, token) = story.token("read", None).await;
    for value in ["Bearer sk_story", "bearer sk_story", "BEARER   sk_story", &format!("Bearer {token}")] {
        let answer = story.call_with("GET", "/status", &[("authorization", value)], "").await;
        assert_eq!(answer.status, 200, "{value}");
    }
}

#[tokio::test]
async fn anything_else_is_401_and_says_how() {
    let story = Story::new();
    let cases: [&[(&str, &str)]; 9] = [
        &[],
        &[("authorization", "")],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer ")],
        &[("authorization", "sk_story")],
        &[("authorization", "Basic sk_story")],
        &[("authorization", "Bearer 1|abc123xyz")],
        &[("authorization", "Bearer sk_storyX")],
        &[("authorization", "Bearer sk_story"), ("authorization", "Bearer sk_story")],
    ];
    for headers in cases {
        let answer = story.call_with("GET", "/status", headers, "").await;
        assert_eq!(answer.error(), error(401, "UNAUTHENTICATED"), "{headers:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    for query in ["?token=sk_story", "?access_token=sk_story", "?authorization=Bearer%20sk_story"] {
        let answer = story.call_with("GET", &format!("/status{query}"), &[], "").await;
        assert_eq!(answer.error(), error(401, "UNAUTHENTICATED"), "{query}");
    }
}

#[tokio::test]
async fn a_revoked_or_expired_token_is_unknown_at_once() {
    let story = Story::new();
    let (id, revoked) = story.token("read", None).await;
    let (_, expiring) = story.token("read", Some(START + Duration::from_secs(60))).await;
    let status = async |token: &str| {
        let header = format!("Bearer {token}");
        story.call_with("GET", "/status", &[("authorization", &*header)], "").await.status.as_u16()
    };
    assert_eq!((status(&revoked).await, status(&expiring).await), (200, 200));
    story.store.write(move |tx| tx.tokens().revoke(id, "story", START)).await.unwrap();
    story.advance(Duration::from_secs(60));
    assert_eq!((status(&revoked).await, status(&expiring).await), (401, 401));
}

#[tokio::test]
async fn each_route_asks_for_its_scope() {
    let story = Story::new();
    let body = r#"{"to":"5511999999999","message":"Oi"}"#;
    let routes = [
        ("POST", "/send-message", body, "send"),
        ("GET", "/status", "", "read"),
        ("GET", "/events", "", "read"),
        ("POST", "/connect", "", "manage"),
        ("POST", "/disconnect", "", "manage"),
    ];
    for scope in ["send", "read", "manage"] {
        let (_, token) = story.token(scope, None).await;
        let header = format!("Bearer {token}");
        for (method, path, body, needed) in routes {
            let answer = story.call_with(method, path, &[("authorization", &*header)], body).await;
            if needed == scope {
                assert_eq!(answer.status, 200, "{path} with {scope}");
            } else {
                assert_eq!(answer.error(), error(403, "FORBIDDEN"), "{path} with {scope}");
            }
        }
    }
    // The codes let somebody link: looking at them is reading all the same.
    let (_, sender) = story.token("send", None).await;
    let header = format!("Bearer {sender}");
    for path in ["/qr", "/qr.png", "/qr.svg", "/qr/stream", "/events/stream"] {
        let answer = story.call_with("GET", path, &[("authorization", &*header)], "").await;
        assert_eq!(answer.error(), error(403, "FORBIDDEN"), "{path}");
    }
}

#[tokio::test]
async fn the_last_use_of_a_token_is_noted() {
    let story = Story::new();
    let (id, token) = story.token("read", None).await;
    let header = format!("Bearer {token}");
    story.call_with("GET", "/status", &[("authorization", &*header)], "").await;
    // The note is a work of its own on the one writer; another of ours comes after it.
    let mut used: Option<Millis> = None;
    for _ in 0..100 {
        let list = story.store.write(|tx| tx.tokens().list()).await.unwrap();
        used = list.into_iter().find(|token| token.id == id).unwrap().last_used;
        if used.is_some() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(used, Some(START));
}
