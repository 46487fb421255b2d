//! Up: exists-check, resume, hosts in turn (protocol: `POST {path}/{token}?auth&token[&resume=1|&file_offset=n]`).

use std::{
    convert::Infallible,
    io::{self, SeekFrom},
    pin::Pin,
    task::{Context, Poll},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::{
    Method,
    body::{Body, Bytes, Frame, SizeHint},
    header,
};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncSeek, AsyncSeekExt as _},
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{Cdn, CdnError, ROUNDS, request};
use crate::net::http::{self, Nothing};

/// From this size on the server is asked first what it has (as WhatsApp Web does).
const ASK_FIRST: u64 = 5 << 20;
/// Times a large blob is gone on with at one host.
const GOES: u32 = 3;
/// Read and sent at a time.
const PIECE: usize = 64 << 10;
/// Longest answer read; real ones are some hundred bytes.
const MAX_ANSWER: usize = 64 << 10;

/// A blob to be uploaded.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    /// `auth` of the media_conn answer.
    pub auth: &'a str,
    /// Of its kind: `/mms/image`, `/mms/md-app-state` …
    pub path: &'a str,
    /// Of the whole blob, as it travels.
    pub sha256: [u8; 32],
    /// Bytes.
    pub length: u64,
}

/// Where an uploaded blob is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Absolute.
    pub url: String,
    /// Begins with `/`, and has a query.
    pub direct_path: String,
    /// The server's name for it; channels need it.
    pub handle: Option<String>,
}

#[derive(Deserialize)]
struct UploadAnswer {
    url: Option<String>,
    direct_path: Option<String>,
    handle: Option<String>,
    /// `complete`, or how many bytes are stored.
    resume: Option<String>,
}

impl Cdn {
    /// Uploads a blob, to the first host that takes it. [`CdnError::Refused`] means: fetch media_conn anew and call again.
    pub async fn upload<S>(
        &self,
        hosts: &[String],
        upload: &Upload<'_>,
        blob: &mut S,
    ) -> Result<Uploaded, CdnError>
    where
        S: AsyncRead + AsyncSeek + Unpin + ?Sized,
    {
        let mut failure = CdnError::NoHosts;
        for round in 0..ROUNDS {
            if round > 0 && !hosts.is_empty() {
                sleep(self.pause).await;
            }
            for host in hosts {
                match self.upload_to(host, upload, blob).await {
                    Err(error) if error.may_pass() => failure = error,
                    done => return done,
                }
            }
        }
        Err(failure)
    }

    async fn upload_to<S>(&self, host: &str, upload: &Upload<'_>, blob: &mut S) -> Result<Uploaded, CdnError>
    where
        S: AsyncRead + AsyncSeek + Unpin + ?Sized,
    {
        let mut goes = if upload.length >= ASK_FIRST { GOES } else { 1 };
        let mut trust_stored = true;
        loop {
            let mut offset = 0;
            if upload.length >= ASK_FIRST && trust_stored {
                match self.stored(host, upload).await? {
                    Stored::All(uploaded) => return Ok(uploaded),
                    Stored::Part(length) => offset = length,
                }
            }
            match self.post(host, upload, offset, blob).await {
                Err(error) if error.may_pass() && goes > 1 => {
                    goes -= 1;
                    // Whatever the server had was no beginning of this blob.
                    trust_stored = offset == 0 || !matches!(error, CdnError::Status(_));
                }
                done => return done,
            }
        }
    }

    /// What the host has of it. Only a refusal counts as an error: without an answer the upload starts at the first byte.
    async fn stored(&self, host: &str, upload: &Upload<'_>) -> Result<Stored, CdnError> {
        let request = request(Method::POST, host, &upload.target("&resume=1"))?
            .header(header::CONTENT_LENGTH, 0)
            .body(Nothing)
            .map_err(|_| CdnError::BadPath)?;
        let ask = async {
            let stream = self.connect(host).await?;
            let mut answer = http::exchange(stream, request).await?;
            let text = answer.text(MAX_ANSWER).await?.unwrap_or_default();
            Ok((answer.status(), text))
        };
        let (status, text) = match timeout(self.patience, ask).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error @ CdnError::Net(_))) => return Err(error),
            Ok(Err(_)) | Err(_) => return Ok(Stored::Part(0)),
        };
        if let error @ CdnError::Refused(_) = CdnError::of_status(status) {
            return Err(error);
        }
        let answer =
            serde_json::from_slice::<UploadAnswer>(&text).ok().filter(|_| (200..300).contains(&status));
        let Some(answer) = answer else { return Ok(Stored::Part(0)) };
        Ok(match answer.resume.as_deref() {
            Some("complete") => answer.uploaded(host).map_or(Stored::Part(0), Stored::All),
            Some(length) => {
                Stored::Part(length.parse().ok().filter(|length| *length < upload.length).unwrap_or(0))
            }
            None => Stored::Part(0),
        })
    }

    async fn post<S>(
        &self,
        host: &str,
        upload: &Upload<'_>,
        offset: u64,
        blob: &mut S,
    ) -> Result<Uploaded, CdnError>
    where
        S: AsyncRead + AsyncSeek + Unpin + ?Sized,
    {
        let query = if offset == 0 { String::new() } else { format!("&file_offset={offset}") };
        let left = upload.length.saturating_sub(offset);
        let (pieces, body) = mpsc::channel(1);
        let request = request(Method::POST, host, &upload.target(&query))?
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, left)
            .body(Pieces { pieces: body, left })
            .map_err(|_| CdnError::BadPath)?;
        let stream = self.connect(host).await?;
        let mut answering = std::pin::pin!(http::exchange(stream, request));
        let mut pumping = std::pin::pin!(pump(blob, offset, left, pieces, self.patience));
        // A server may answer before it has read everything; then the rest need not be sent.
        let early = tokio::select! {
            answer = &mut answering => Some(answer),
            pumped = &mut pumping => {
                pumped?;
                None
            }
        };
        let answered = match early {
            Some(answer) => answer,
            None => timeout(self.patience, answering).await.map_err(|_| CdnError::Timeout)?,
        };
        let mut answer = answered?;
        let text = timeout(self.patience, answer.text(MAX_ANSWER)).await.map_err(|_| CdnError::Timeout)?;
        if !(200..300).contains(&answer.status()) {
            return Err(match CdnError::of_status(answer.status()) {
                // Nothing is gone that was never there.
                CdnError::Gone(status) => CdnError::Status(status),
                error => error,
            });
        }
        let text = text?.ok_or(CdnError::BadAnswer("too long"))?;
        let answer: UploadAnswer =
            serde_json::from_slice(&text).map_err(|_| CdnError::BadAnswer("no JSON object of an upload"))?;
        answer.uploaded(host).ok_or(CdnError::BadAnswer("no direct_path"))
    }
}

enum Stored {
    All(Uploaded),
    /// So many bytes from the first on.
    Part(u64),
}

impl Upload<'_> {
    fn target(&self, more: &str) -> String {
        let token = URL_SAFE_NO_PAD.encode(self.sha256);
        let (path, auth) = (self.path, query_safe(self.auth));
        format!("{path}/{token}?auth={auth}&token={token}{more}")
    }
}

/// `auth` is of `[A-Za-z0-9_-]`; should it ever not be, it stays one value of the query.
fn query_safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl UploadAnswer {
    fn uploaded(self, host: &str) -> Option<Uploaded> {
        let direct_path = self.direct_path.filter(|path| path.starts_with('/'))?;
        let url = self.url.unwrap_or_else(|| format!("https://{host}{direct_path}"));
        Some(Uploaded { url, direct_path, handle: self.handle })
    }
}

/// Reads the blob as fast as the connection takes it.
async fn pump<S>(
    blob: &mut S,
    offset: u64,
    mut left: u64,
    pieces: mpsc::Sender<Bytes>,
    patience: std::time::Duration,
) -> Result<(), CdnError>
where
    S: AsyncRead + AsyncSeek + Unpin + ?Sized,
{
    let failed = |error: io::Error| CdnError::Read(error.kind());
    blob.seek(SeekFrom::Start(offset)).await.map_err(failed)?;
    while left > 0 {
        let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
        let read = blob.read(&mut piece).await.map_err(failed)?;
        if read == 0 {
            return Err(CdnError::Read(io::ErrorKind::UnexpectedEof));
        }
        piece.truncate(read);
        left -= read as u64;
        let sent = timeout(patience, pieces.send(piece.into())).await.map_err(|_| CdnError::Timeout)?;
        if sent.is_err() {
            // The connection is gone; why, the answer says.
            break;
        }
    }
    Ok(())
}

/// A body of known length, fed from elsewhere.
struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    left: u64,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.pieces.poll_recv(cx).map(|piece| {
            let piece = piece?;
            self.left = self.left.saturating_sub(piece.len() as u64);
            Some(Ok(Frame::data(piece)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
