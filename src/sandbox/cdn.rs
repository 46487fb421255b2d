//! The media server: uploads with permission, exists-check and resume, downloads with `Range` (protocol 03, 5 to 7).

#[cfg(test)]
mod tests;

use std::{collections::HashMap, io::SeekFrom, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    time::{sleep, timeout},
};

use super::{
    blobs::{Hash, MAX_BLOB},
    core::{self, CdnFaults},
    shared::Shared,
};

/// How long an upload may stand still.
const PATIENCE: Duration = Duration::from_secs(60);
/// Read and sent at a time.
const PIECE: usize = 64 << 10;

type Params = Query<HashMap<String, String>>;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/mms/{kind}/{token}", post(upload).delete(delete))
        .route("/newsletter/{kind}/{token}", post(upload))
        .route("/product/{kind}/{token}", post(upload))
        .route("/pps/{kind}/{token}", post(upload))
        .route("/v/{*path}", get(download))
        .with_state(shared)
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}

/// The hash that a token names: any alphabet, with or without padding. A plus in a query has become a space.
fn hash_of(token: &str) -> Option<Hash> {
    let standard = |c| match c {
        '-' | ' ' => '+',
        '_' => '/',
        c => c,
    };
    let text: String = token.trim_end_matches('=').chars().map(standard).collect();
    STANDARD_NO_PAD.decode(text).ok()?.try_into().ok()
}

async fn upload(
    State(shared): State<Arc<Shared>>,
    Path((kind, token)): Path<(String, String)>,
    Query(params): Params,
    body: Body,
) -> Response {
    let auth = params.get("auth").map(String::as_str).unwrap_or_default();
    let (uploader, faults) = shared.input(|world, now| {
        let uploader = world.uploader(auth, now);
        (uploader, world.cdn_faults(uploader))
    });
    if let Some(delay) = faults.delay {
        sleep(delay).await;
    }
    let hash = hash_of(&token);
    let named = params.get("token").map(|token| hash_of(token));
    let refused = if let Some(status) = faults.status {
        Some((StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), "fault"))
    } else if uploader.is_none() {
        Some((StatusCode::FORBIDDEN, "auth"))
    } else if hash.is_none() || named.is_some_and(|named| named != hash) {
        Some((StatusCode::BAD_REQUEST, "token"))
    } else {
        None
    };
    let (Some(hash), None) = (hash, refused) else {
        let (status, error) = refused.unwrap_or((StatusCode::BAD_REQUEST, "token"));
        drain(body).await;
        return refusal(status, error);
    };
    if params.get("resume").is_some_and(|resume| resume == "1") {
        return stored(&shared, &kind, &hash);
    }
    let offset = match params.get("file_offset").map(|offset| offset.parse::<u64>()) {
        None => 0,
        Some(Ok(offset)) if offset <= shared.blobs.part(&hash) => offset,
        Some(_) => {
            drain(body).await;
            return refusal(StatusCode::BAD_REQUEST, "file_offset");
        }
    };
    match store(&shared, &hash, offset, body, faults.cut).await {
        Ok(Taken::Whole) => answer(&shared, &kind, &hash),
        Ok(Taken::Broken) => cut_off(),
        Ok(Taken::Other) => refusal(StatusCode::BAD_REQUEST, "hash"),
        Ok(Taken::TooLarge) => refusal(StatusCode::PAYLOAD_TOO_LARGE, "size"),
        Err(error) => {
            tracing::error!(%error, "cannot keep a blob");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "disk")
        }
    }
}

/// The exists-check.
fn stored(shared: &Shared, kind: &str, hash: &Hash) -> Response {
    if shared.blobs.length(hash).is_none() {
        return Json(json!({"resume": shared.blobs.part(hash).to_string()})).into_response();
    }
    let mut answer = upload_answer(shared, kind, hash);
    answer["resume"] = "complete".into();
    Json(answer).into_response()
}

fn answer(shared: &Shared, kind: &str, hash: &Hash) -> Response {
    Json(upload_answer(shared, kind, hash)).into_response()
}

/// The same blob always has the same path.
fn upload_answer(shared: &Shared, kind: &str, hash: &Hash) -> Value {
    let path = core::direct_path(Some(kind), hash, "1");
    let host = shared.read(|world| world.media_host().to_owned());
    json!({
        "url": format!("https://{host}{path}&mms3=true"),
        "direct_path": path,
        "handle": STANDARD_NO_PAD.encode(hash),
        "object_id": hex::encode(hash.get(..8).unwrap_or_default()),
    })
}

enum Taken {
    Whole,
    /// The upload ended early; what came is kept.
    Broken,
    /// The bytes are not those that the token names.
    Other,
    TooLarge,
}

async fn store(shared: &Shared, hash: &Hash, offset: u64, body: Body, cut: bool) -> std::io::Result<Taken> {
    let mut writer = shared.blobs.begin((offset > 0).then_some((hash, offset))).await?;
    let announced = http_body_length(&body);
    // With the fault in force, half of it is the end.
    let most = if cut { offset + announced.unwrap_or(2) / 2 } else { MAX_BLOB };
    let mut pieces = body.into_data_stream();
    loop {
        match timeout(PATIENCE, pieces.next()).await {
            Ok(Some(Ok(piece))) => {
                let room = usize::try_from(most - writer.length()).unwrap_or(usize::MAX);
                writer.write(piece.get(..room.min(piece.len())).unwrap_or_default()).await?;
                if piece.len() > room {
                    if !cut {
                        return Ok(Taken::TooLarge);
                    }
                    shared.blobs.keep_part(writer, hash).await?;
                    return Ok(Taken::Broken);
                }
            }
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => {
                shared.blobs.keep_part(writer, hash).await?;
                return Ok(Taken::Broken);
            }
        }
    }
    if writer.hash() != *hash {
        return Ok(Taken::Other);
    }
    shared.blobs.keep(writer).await?;
    Ok(Taken::Whole)
}

fn http_body_length(body: &Body) -> Option<u64> {
    hyper::body::Body::size_hint(body).exact()
}

/// A client that is refused before it has sent everything may never read the answer.
async fn drain(body: Body) {
    let mut pieces = body.into_data_stream();
    let mut left = MAX_BLOB;
    while let Ok(Some(Ok(piece))) = timeout(PATIENCE, pieces.next()).await {
        match left.checked_sub(piece.len() as u64) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// An answer that breaks off.
fn cut_off() -> Response {
    Body::from_stream(stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) })).into_response()
}

/// A client that has processed a history blob has no more use for it.
async fn delete(State(shared): State<Arc<Shared>>, Query(params): Params) -> Response {
    let auth = params.get("auth").map(String::as_str).unwrap_or_default();
    if shared.input(|world, now| world.uploader(auth, now)).is_none() {
        return refusal(StatusCode::FORBIDDEN, "auth");
    }
    let path = params.get("d_md").and_then(|path| {
        let text = path.trim_end_matches('=').replace('-', "+").replace('_', "/").replace(' ', "+");
        String::from_utf8(STANDARD_NO_PAD.decode(text).ok()?).ok()
    });
    if let Some(name) = path.as_deref().and_then(core::upload_name)
        && let Err(error) = shared.blobs.retire(name)
    {
        tracing::error!(%error, "cannot forget a blob");
    }
    Json(json!({})).into_response()
}

async fn download(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    let faults = shared.input(|world, _| world.cdn_faults(None));
    if let Some(delay) = faults.delay {
        sleep(delay).await;
    }
    if let Some(status) = faults.status {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return refusal(status, "fault");
    }
    if let Some(picture) = shared.read(|world| world.picture_file(uri.path())) {
        return ([(header::CONTENT_TYPE, "image/jpeg")], picture).into_response();
    }
    let name = core::upload_name(uri.path());
    if name.is_some_and(|name| shared.blobs.is_retired(name)) {
        return refusal(StatusCode::GONE, "gone");
    }
    let file = core::blob_of(uri.path()).and_then(|hash| shared.blobs.file(&hash));
    let Some(file) = file else { return refusal(StatusCode::NOT_FOUND, "unknown") };
    match serve(&file, headers.get(header::RANGE).and_then(|range| range.to_str().ok()), &faults).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "cannot read a blob");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "disk")
        }
    }
}

async fn serve(path: &std::path::Path, range: Option<&str>, faults: &CdnFaults) -> std::io::Result<Response> {
    let mut file = tokio::fs::File::open(path).await?;
    let total = file.metadata().await?.len();
    let wanted = range.map_or(Wanted::Whole, |range| Wanted::read(range, total));
    let (status, first, end) = match wanted {
        Wanted::Whole => (StatusCode::OK, 0, total),
        Wanted::Part(first, end) => (StatusCode::PARTIAL_CONTENT, first, end),
        Wanted::Nothing => {
            let range = (header::CONTENT_RANGE, format!("bytes */{total}"));
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, [range]).into_response());
        }
    };
    file.seek(SeekFrom::Start(first)).await?;
    let length = end - first;
    let break_at = if faults.cut { length / 2 } else { length };
    let body =
        Body::from_stream(stream::unfold((file, break_at, faults.cut), |(mut file, left, cut)| async move {
            if left == 0 {
                return cut.then(|| (Err(std::io::Error::other("cut")), (file, 0, false)));
            }
            let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
            match file.read(&mut piece).await {
                Ok(0) => None,
                Ok(read) => {
                    piece.truncate(read);
                    Some((Ok(Bytes::from(piece)), (file, left - read as u64, cut)))
                }
                Err(error) => Some((Err(error), (file, 0, false))),
            }
        }));
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    let range = (status == StatusCode::PARTIAL_CONTENT)
        .then(|| [(header::CONTENT_RANGE, format!("bytes {first}-{}/{total}", end.saturating_sub(1)))]);
    let response = (status, headers, body).into_response();
    Ok(match range {
        Some(range) => (range, response).into_response(),
        None => response,
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    /// First byte, and the one after the last.
    Part(u64, u64),
    /// Behind the end.
    Nothing,
}

impl Wanted {
    /// RFC 9110, 14.2: what is not understood, and several ranges, count as none.
    fn read(range: &str, total: u64) -> Self {
        let Some((first, last)) = range.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-'))
        else {
            return Self::Whole;
        };
        let (first, end) = match (first.trim().parse::<u64>(), last.trim()) {
            (Ok(first), "") => (first, total),
            (Ok(first), last) => match last.parse::<u64>() {
                Ok(last) if last >= first => (first, total.min(last.saturating_add(1))),
                _ => return Self::Whole,
            },
            (Err(_), last) => match last.parse::<u64>() {
                Ok(0) => return Self::Nothing,
                Ok(length) if first.is_empty() => (total.saturating_sub(length), total),
                _ => return Self::Whole,
            },
        };
        if first < end { Self::Part(first, end) } else { Self::Nothing }
    }
}
