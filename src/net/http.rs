//! One HTTP request over one connection of our own making. No pool, no redirects, no proxies of the environment: who is
//! connected to, and how, is the caller's decision alone.

use std::{future::poll_fn, pin::Pin};

use hyper::{
    Request,
    body::{Body, Bytes, Incoming},
    client::conn::http1,
    http::response::Parts,
};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use super::dial::Stream;

/// Longest head of an answer, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// What we call ourselves where a browser's name is not needed.
pub(super) const USER_AGENT: &str = concat!("wazap/", env!("CARGO_PKG_VERSION"));

/// The connection broke, or the other end speaks no HTTP. The text is hyper's and names no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Broken(pub(super) String);

impl From<hyper::Error> for Broken {
    fn from(error: hyper::Error) -> Self {
        Self(error.to_string())
    }
}

/// An answer whose body is still on its way. Dropping it cuts the connection.
pub(super) struct Answer {
    pub(super) head: Parts,
    body: Incoming,
    _driver: Driver,
}

/// Moves the connection's bytes for as long as somebody is interested.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a request and waits for the head of its answer.
pub(super) async fn exchange<B>(stream: Stream, request: Request<B>) -> Result<Answer, Broken>
where
    B: Body<Data = Bytes, Error = std::convert::Infallible> + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    // How it ends is told by the answer.
    let driver = Driver(tokio::spawn(async move {
        let _ = connection.await;
    }));
    let (head, body) = sender.send_request(request).await?.into_parts();
    Ok(Answer { head, body, _driver: driver })
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.headers.get(name).map(|value| value.as_bytes())
    }

    /// What `Content-Length` announces.
    pub(super) fn length(&self) -> Option<u64> {
        std::str::from_utf8(self.header("content-length")?).ok()?.trim().parse().ok()
    }

    /// The next piece of the body; `None` at its proper end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            match poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await {
                None => return Ok(None),
                Some(frame) => {
                    // Trailers are of no interest.
                    if let Ok(data) = frame?.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body, if it is no longer than this.
    pub(super) async fn text(&mut self, most: usize) -> Result<Option<Vec<u8>>, Broken> {
        let mut text = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if text.len() + chunk.len() > most {
                return Ok(None);
            }
            text.extend_from_slice(&chunk);
        }
        Ok(Some(text))
    }
}

/// A body of nothing.
pub(super) struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(0)
    }
}
