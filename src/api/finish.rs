//! What every response gets: the headers of safety and of the rate limit, and an answer even if a handler panicked.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
};

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, Uri, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures_util::FutureExt as _;
use percent_encoding::percent_decode_str;

use super::{ApiError, limit::Quota};

/// Where the extractor leaves the numbers of the rate limit for the response.
#[derive(Clone, Default)]
pub(super) struct QuotaSlot(Arc<OnceLock<Quota>>);

impl QuotaSlot {
    pub(super) fn fill(&self, quota: Quota) {
        let _ = self.0.set(quota);
    }
}

/// Nothing of the API is a document: no script, no frame, no form. The page brings a policy of its own.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Bytes of an address, query included: the longest that a route has a use for is a search, and far below.
const ADDRESS: usize = 16 * 1024;

pub(super) async fn finish(mut request: Request, next: Next) -> Response {
    let slot = QuotaSlot::default();
    request.extensions_mut().insert(slot.clone());
    let mut response = match wrong_address(request.uri()) {
        Some(wrong) => ApiError::InvalidRequest(wrong).into_response(),
        None => {
            let handled = AssertUnwindSafe(next.run(request)).catch_unwind().await;
            handled.unwrap_or_else(|_| {
                // The panic itself was said by the hook; the connection goes on.
                tracing::error!("a request handler panicked");
                ApiError::Internal.into_response()
            })
        }
    };
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    // What is told of a number's chats belongs in no cache; what may, says so itself.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    if let Some(quota) = slot.0.get() {
        headers.insert(HeaderName::from_static("x-ratelimit-limit"), quota.limit.into());
        headers.insert(HeaderName::from_static("x-ratelimit-remaining"), quota.remaining.into());
        headers.insert(HeaderName::from_static("x-ratelimit-reset"), quota.reset.into());
    }
    response
}

fn wrong_address(uri: &Uri) -> Option<&'static str> {
    if uri.path_and_query().is_some_and(|address| address.as_str().len() > ADDRESS) {
        return Some("The address is too long.");
    }
    // Routes have texts for parts of their paths.
    let text = percent_decode_str(uri.path()).decode_utf8();
    text.is_err().then_some("The path is not UTF-8 in percent-encoding.")
}
