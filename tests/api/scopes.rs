//! Every route, as the sources name them: closed without a token, and open to exactly one of the scopes.

use std::path::{Path, PathBuf};

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use tower::ServiceExt as _;
use wazap::api::Peer;

use crate::harness::{INSTANCE, Story};

/// Answered to everybody.
const PUBLIC: [&str; 4] = ["/", "/health", "/page.css", "/page.js"];
/// What asks without changing anything, though its question has a body.
const QUESTIONS: [&str; 2] = ["/check-number", "/chats/{jid}/history"];
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Method and path of every `.route("…", …)`.
pub(crate) fn routes() -> Vec<(String, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join("api.rs")];
    sources(&source.join("api"), &mut files);
    let mut routes = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        for piece in text.split(".route(").skip(1) {
            let (_, piece) = piece.split_once('"').unwrap();
            let (path, handlers) = piece.split_once('"').unwrap();
            // Up to the parenthesis that closes the call.
            let mut depth = 1_i32;
            let end = handlers.find(|c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0
            });
            let handlers = &handlers[..end.unwrap()];
            for method in METHODS {
                let called = format!("{method}(");
                let named = handlers.match_indices(&called).any(|(at, _)| {
                    // `get(groups::invite).delete(…)`: a method, not the end of a handler's name.
                    !handlers[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
                });
                if named {
                    routes.push((method.to_uppercase(), path.to_owned()));
                }
            }
        }
    }
    routes
}

/// Only the status: a stream has no end.
async fn status(story: &Story, method: &str, path: &str, token: Option<&str>) -> StatusCode {
    let mut request =
        Request::builder().method(method).uri(path).extension(Peer("203.0.113.9:1".parse().unwrap()));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    story.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
}

#[tokio::test]
async fn every_route_is_closed_and_opens_to_one_scope() {
    let routes = routes();
    assert!(routes.len() > 60, "{routes:?}");
    for known in [("POST", "/send-message"), ("DELETE", "/groups/{jid}/admins"), ("GET", "/qr/stream")] {
        assert!(routes.iter().any(|(method, path)| (method.as_str(), path.as_str()) == known), "{known:?}");
    }
    let story = Story::new();
    let mut tokens = Vec::new();
    for scope in ["send", "read", "manage"] {
        tokens.push((scope, story.token(scope, None).await.1));
    }
    for (method, template) in routes {
        let path = template
            .replace("{uuid}", &INSTANCE.to_string())
            .replace("{jid}", "5511999999999")
            .replace("{id}", "3EB0B430A8B7F23C1D12")
            .replace("{code}", "AbCdEfGhIjKlMnOpQrStUv");
        let path: String = path
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        if PUBLIC.contains(&template.as_str()) {
            assert_eq!(status(&story, &method, &path, None).await, StatusCode::OK, "{method} {path}");
            continue;
        }
        for token in [None, Some("sk_wrong"), Some("sk_stor"), Some("sk_storyy")] {
            let answer = status(&story, &method, &path, token).await;
            assert_eq!(answer, StatusCode::UNAUTHORIZED, "{method} {template} with {token:?}");
        }
        let mut open = Vec::new();
        for (scope, token) in &tokens {
            if status(&story, &method, &path, Some(token)).await != StatusCode::FORBIDDEN {
                open.push(*scope);
            }
        }
        let [scope] = open[..] else { panic!("{method} {template} opens to {open:?}") };
        match method.as_str() {
            "GET" => assert_ne!(scope, "send", "{method} {template}: who only sends sees nothing"),
            _ if QUESTIONS.contains(&template.as_str()) => assert_eq!(scope, "read", "{method} {template}"),
            _ => assert_ne!(scope, "read", "{method} {template}: who only reads changes nothing"),
        }
    }
}

#[tokio::test]
async fn every_answer_carries_the_headers_of_safety() {
    let story = Story::new();
    for (method, path) in [
        ("GET", "/status"),
        ("GET", "/"),
        ("GET", "/page.js"),
        ("GET", "/nowhere"),
        ("PUT", "/status"),
        ("GET", "/qr"),
        ("POST", "/send-message"),
        ("GET", "/events"),
    ] {
        let answer = story.call(method, path, "").await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        let cache = if PUBLIC.contains(&path) { "no-cache" } else { "no-store" };
        assert_eq!(answer.header("cache-control"), Some(cache), "{path}");
        assert_eq!(answer.header("server"), None);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "no page of somebody else's may read it"
        );
    }
}

#[tokio::test]
async fn what_is_done_to_the_access_is_in_the_audit() {
    let story = Story::new();
    let (id, token) = story.token("manage", None).await;
    let header = format!("Bearer {token}");
    let hook = format!("/instances/{INSTANCE}/webhook");
    let body =
        r#"{"webhook_url":"https://ana:hush@hooks.example/path-of-the-customer","webhook_secret":"whsec"}"#;
    for (method, path, body) in [
        ("PUT", hook.as_str(), body),
        ("POST", "/webhooks/1/pause", ""),
        ("POST", "/webhooks/1/resume", ""),
        ("POST", "/webhooks/1/rewind", r#"{"to":1}"#),
        ("POST", "/webhooks/1/redeliver", ""),
        // What comes to nothing is not noted.
        ("POST", "/webhooks/9/pause", ""),
        ("POST", "/webhooks/9/rewind", r#"{"to":1}"#),
        ("PUT", hook.as_str(), "{}"),
        ("DELETE", hook.as_str(), ""),
        ("DELETE", hook.as_str(), ""),
        ("POST", "/connect", ""),
        ("POST", "/disconnect", ""),
        ("POST", "/disconnect", r#"{"logout":true}"#),
    ] {
        story.call_with(method, path, &[("authorization", &*header)], body).await;
    }
    story.store.write(move |tx| tx.tokens().revoke(id, "command line", story_time())).await.unwrap();
    let mut rows = story.store.read(|tx| tx.audit().newest(100)).await.unwrap();
    rows.reverse();
    let said: Vec<_> = rows.iter().map(|row| (row.action.as_str(), row.detail.as_str())).collect();
    assert_eq!(
        said,
        [
            ("token.create", "token 1 for manage"),
            ("hook.set", "hook 1 to https://hooks.example"),
            ("hook.pause", "hook 1"),
            ("hook.resume", "hook 1"),
            ("hook.rewind", "hook 1 to event 1"),
            ("hook.redeliver", "hook 1, 0 dead letters"),
            ("hook.remove", "the user's hook"),
            ("link.connect", ""),
            ("link.disconnect", ""),
            ("link.logout", ""),
            ("token.revoke", "token 1"),
        ]
    );
    assert!(rows[1..10].iter().all(|row| row.actor == "token 1"));
    assert_eq!(rows[10].actor, "command line");
}

fn story_time() -> wazap::clock::Millis {
    crate::harness::START
}
