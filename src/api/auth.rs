//! Who calls, what for, and whether not too often: one extractor, in the order of checks 401, 403, 429.

use std::{marker::PhantomData, net::IpAddr};

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::{header, request::Parts},
};

use super::{
    ApiError, App, Instance,
    finish::QuotaSlot,
    limit::Quota,
    query::{self, Pairs},
    server::Peer,
};
use crate::clock::Millis;
use crate::store::tokens::{self, Scope, Verified};

/// A kind of use; each handler names the one it needs in its signature.
pub(super) trait Need: Send {
    const SCOPE: Scope;
}
/// Sends something.
pub(super) enum ToSend {}
/// Looks.
pub(super) enum ToRead {}
/// Changes the link or the instance.
pub(super) enum ToManage {}

impl Need for ToSend {
    const SCOPE: Scope = Scope::Send;
}
impl Need for ToRead {
    const SCOPE: Scope = Scope::Read;
}
impl Need for ToManage {
    const SCOPE: Scope = Scope::Manage;
}

/// The holder of a good token with the scope `N`, within the limit.
pub(super) struct Caller<N> {
    /// The token's id; 0 for the one of `--token`.
    pub(super) token: i64,
    /// When the request came.
    pub(super) now: Millis,
    need: PhantomData<fn() -> N>,
}

impl<I: Instance, N: Need> FromRequestParts<App<I>> for Caller<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App<I>) -> Result<Self, ApiError> {
        let Some(caller) = authenticate(parts, app).await? else {
            return Err(fail(parts, app));
        };
        let quota = app.limit(|limits, now| limits.request(caller.id, now));
        settle(parts, quota);
        if !caller.scopes.contains(N::SCOPE) {
            return Err(ApiError::Forbidden);
        }
        match quota.and_then(exceeded) {
            Some(error) => Err(error),
            None => Ok(Self { token: caller.id, now: app.now(), need: PhantomData }),
        }
    }
}

async fn authenticate<I: Instance>(parts: &Parts, app: &App<I>) -> Result<Option<tokens::Caller>, ApiError> {
    let Some(presented) = bearer(parts).map(str::to_owned) else { return Ok(None) };
    if let Some(caller) = app.parts.token.as_ref().and_then(|token| token.verify(&presented)) {
        return Ok(Some(caller));
    }
    let now = app.now();
    let verified = app.parts.store.read(move |tx| tx.tokens().verify(&presented, now)).await?;
    let Some(Verified { caller, note_use }) = verified else { return Ok(None) };
    if note_use {
        let (store, id) = (app.parts.store.clone(), caller.id);
        // Nobody waits for this, and losing it loses a minute of a column.
        tokio::spawn(async move { store.write(move |tx| tx.tokens().used(id, now)).await });
    }
    Ok(Some(caller))
}

/// The holder of a token with the scope `read`, or of a link to this very file (platform-webhooks.md §5.1).
pub(super) struct Holder(());

impl<I: Instance> FromRequestParts<App<I>> for Holder {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App<I>) -> Result<Self, ApiError> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            return Caller::<ToRead>::from_request_parts(parts, app).await.map(|_| Self(()));
        }
        if holds_link(parts, app).await? { Ok(Self(())) } else { Err(fail(parts, app)) }
    }
}

async fn holds_link<I: Instance>(parts: &mut Parts, app: &App<I>) -> Result<bool, ApiError> {
    let Ok(Query(query)) = Pairs::from_request_parts(parts, app).await else { return Ok(false) };
    let Ok(Path(id)) = Path::<String>::from_request_parts(parts, app).await else { return Ok(false) };
    let expires = query::value(&query, "expires").and_then(query::digits);
    let (Some(expires), Some(signature)) = (expires, query::value(&query, "signature")) else {
        return Ok(false);
    };
    let key = app.parts.store.read(|tx| tx.links().known()).await?;
    Ok(key.is_some_and(|key| key.holds(&id, expires, signature, app.now())))
}

/// The token of `Authorization: Bearer …`; the scheme in any case. Never from the query string, which ends up in logs.
fn bearer(parts: &Parts) -> Option<&str> {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    let good = scheme.eq_ignore_ascii_case("bearer") && token.starts_with("sk_") && values.next().is_none();
    good.then_some(token)
}

/// 401, or 429 for an address that has failed too often.
fn fail<I: Instance>(parts: &Parts, app: &App<I>) -> ApiError {
    let address = parts.extensions.get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip());
    let quota = app.limit(|limits, now| limits.failure(address, now));
    match quota.and_then(|quota| exceeded(quota).map(|error| (quota, error))) {
        Some((quota, error)) => {
            settle(parts, Some(quota));
            error
        }
        None => ApiError::Unauthenticated,
    }
}

fn exceeded(quota: Quota) -> Option<ApiError> {
    let Quota { limit, window_seconds, retry_after, .. } = quota;
    retry_after.map(|retry_after| ApiError::RateLimited { limit, window_seconds, retry_after })
}

/// Leaves the numbers for the response's headers.
fn settle(parts: &Parts, quota: Option<Quota>) {
    if let (Some(quota), Some(slot)) = (quota, parts.extensions.get::<QuotaSlot>()) {
        slot.fill(quota);
    }
}

impl<I> App<I> {
    /// `None`: the limit is off.
    fn limit(&self, count: impl FnOnce(&mut super::Limits, crate::clock::Millis) -> Quota) -> Option<Quota> {
        let limits = self.limits.as_ref()?;
        let mut limits = limits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Some(count(&mut limits, self.now()))
    }
}
