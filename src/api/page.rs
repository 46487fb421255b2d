//! The page at `/`: the state in plain words and the code to scan. Three files, compiled in; no script in the markup, so
//! that the policy can forbid all but the page's own.

use axum::{
    Router,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{App, Instance};

/// Nothing from elsewhere, nothing inline; pictures also as data, which is how the code arrives.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes<I: Instance>() -> Router<App<I>> {
    Router::new()
        .route("/", get(|| async { file("text/html; charset=utf-8", include_str!("page/index.html")) }))
        .route("/page.css", get(|| async { file("text/css; charset=utf-8", include_str!("page/page.css")) }))
        .route(
            "/page.js",
            get(|| async { file("text/javascript; charset=utf-8", include_str!("page/page.js")) }),
        )
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    ];
    (headers, text).into_response()
}
