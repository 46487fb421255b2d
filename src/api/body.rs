//! A request's JSON object, read within 1 MiB and 30 s: 400 or 413 before any handler sees it.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderMap, Method, header},
};
use futures_util::StreamExt as _;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::ApiError;

/// Largest body (instance-api.md §1).
const CAP: usize = 1024 * 1024;
/// How much of a body that is too large is still read and dropped, so that its sender sees the answer and not a reset.
const DRAIN: usize = 8 * CAP;
/// How long a body may take to arrive. A slower client is more likely one that means harm than a telephone line.
const PATIENCE: Duration = Duration::from_secs(30);

/// The object of a request that needs one.
pub(super) struct Object {
    pub(super) members: Map<String, Value>,
    /// SHA-256 over method, path and the bytes as they came: what an `Idempotency-Key` is bound to.
    pub(super) hash: [u8; 32],
}

impl Object {
    /// For a request that says everything in its address.
    pub(super) fn of_address(method: &Method, path: &str, members: Map<String, Value>) -> Self {
        let said = Value::Object(members);
        let hash = fingerprint(method, path, said.to_string().as_bytes());
        let Value::Object(members) = said else { return Self { members: Map::new(), hash } };
        Self { members, hash }
    }
}

fn fingerprint(method: &Method, path: &str, bytes: &[u8]) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update(method.as_str());
    sha.update([0]);
    sha.update(path);
    sha.update([0]);
    sha.update(bytes);
    sha.finalize().into()
}

/// The object of a request that may do without: an empty body is an empty object.
pub(super) struct MaybeObject(pub(super) Map<String, Value>);

impl<S: Sync> FromRequest<S> for Object {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let (bytes, headers) = read(request).await?;
        Ok(Self { members: parse(&bytes, &headers)?, hash: fingerprint(&method, &path, &bytes) })
    }
}

impl<S: Sync> FromRequest<S> for MaybeObject {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (bytes, headers) = read(request).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(Map::new()));
        }
        parse(&bytes, &headers).map(Self)
    }
}

async fn read(request: Request) -> Result<(Vec<u8>, HeaderMap), ApiError> {
    let (parts, body) = request.into_parts();
    let announced =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let waits = parts.headers.contains_key(header::EXPECT);
    // Who asked before sending anything needs nothing drained; nor does more than would be.
    let bound = if waits { CAP } else { DRAIN };
    if announced.is_some_and(|length: u64| length > bound as u64) {
        return Err(ApiError::PayloadTooLarge);
    }
    match timeout(PATIENCE, collect(body)).await {
        Ok(bytes) => Ok((bytes?, parts.headers)),
        Err(_) => Err(ApiError::InvalidRequest("The request body did not arrive in time.")),
    }
}

async fn collect(body: Body) -> Result<Vec<u8>, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut total = 0_usize;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::InvalidRequest("The request body broke off."))?;
        total = total.saturating_add(chunk.len());
        if total > DRAIN {
            break;
        }
        if total > CAP {
            bytes = Vec::new();
        } else {
            bytes.extend_from_slice(&chunk);
        }
    }
    if total > CAP { Err(ApiError::PayloadTooLarge) } else { Ok(bytes) }
}

fn parse(bytes: &[u8], headers: &HeaderMap) -> Result<Map<String, Value>, ApiError> {
    if !is_json(headers) {
        return Err(ApiError::InvalidRequest("The request body must be application/json."));
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(ApiError::InvalidRequest("The request body must be a JSON object.")),
        Err(_) if bytes.is_empty() => Err(ApiError::InvalidRequest("The request body is empty.")),
        Err(_) => Err(ApiError::InvalidRequest("The request body is not valid JSON.")),
    }
}

/// No content type, `application/json` or `application/*+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return true };
    let Ok(value) = value.to_str() else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some(subtype) = essence.strip_prefix("application/") else { return false };
    subtype == "json" || (subtype.ends_with("+json") && subtype.len() > "+json".len())
}
