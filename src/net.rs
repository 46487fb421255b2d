//! Doors outward: the WebSocket, users' URLs, the media servers; proxies, size limits. Uses nothing of ours.
//!
//! Every stage of a connection has its own error, so that an operator reads what failed: the name, the connection, the
//! certificate, the answer, the proxy. Nothing here ever prints a password.

pub mod address;
mod dial;
pub mod fetch;
mod http;
pub mod media;
mod proxy;
mod socket;
#[cfg(test)]
mod tests;
mod tls;

use std::{fmt, time::Duration};

use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::{
    client::IntoClientRequest as _,
    http::{HeaderValue, Request, Uri, header::ORIGIN},
    protocol::WebSocketConfig,
};

pub use proxy::{Proxy, ProxyError};
pub use socket::{Receiver, Sender, Socket};

/// What every client of WhatsApp Web sends as `Origin`.
pub const ORIGIN_OF_WEB: &str = "https://web.whatsapp.com";
/// Largest message taken in or sent, in bytes: what the server's own frames can hold, and whatsmeow's read limit.
pub const MAX_MESSAGE: usize = 16 << 20;
/// How long everything up to the open WebSocket may take, unless said otherwise; the value of Baileys and whatsapp-rust.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Read at a time. Larger costs memory on every idle connection; smaller costs calls while media keys and history arrive.
const READ_BUFFER: usize = 8 << 10;

/// Where to and by which way.
#[derive(Clone)]
pub struct Options {
    /// `wss://…`, or `ws://…` where the other end is on the same machine.
    pub url: String,
    /// Contents of a PEM file with root certificates to trust in addition to the system's and the bundled ones.
    pub extra_roots: Option<Vec<u8>>,
    /// Everything goes through it, names included.
    pub proxy: Option<Proxy>,
    /// How long everything up to the open WebSocket may take. Default 20 s.
    /// Lower gives up on slow links; higher leaves an operator waiting for the cause of an outage.
    pub connect_timeout: Duration,
}

impl Options {
    /// Directly, with the usual roots and patience.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), extra_roots: None, proxy: None, connect_timeout: CONNECT_TIMEOUT }
    }
}

/// Which part of opening a connection was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Looking up the name and opening the TCP connection.
    Connect,
    /// Reaching the server through the proxy.
    Proxy,
    /// The TLS handshake with the server.
    Tls,
    /// The HTTP request that becomes a WebSocket.
    Upgrade,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Proxy => "going through the proxy",
            Self::Tls => "the TLS handshake",
            Self::Upgrade => "the WebSocket handshake",
        })
    }
}

/// Why there is no connection, or no longer one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// The URL is none, or none of `ws` and `wss`.
    #[error("not a ws:// or wss:// URL")]
    BadUrl,
    /// The PEM file of extra roots holds no certificate, or a broken one.
    #[error("the extra root certificates cannot be read: {0}")]
    BadRoots(String),
    /// The name did not resolve.
    #[error("dns: {0}")]
    Dns(String),
    /// No address of the server answered.
    #[error("connect: {0}")]
    Connect(String),
    /// The server's certificate is not trusted, or its TLS is broken.
    #[error("tls: {0}")]
    Tls(String),
    /// The server answered the request with this HTTP status in place of a WebSocket.
    #[error("http status {0} in place of a WebSocket")]
    HttpStatus(u16),
    /// It took too long.
    #[error("timeout during {0}")]
    Timeout(Stage),
    /// The proxy did not let us through.
    #[error("proxy: {0}")]
    Proxy(#[from] ProxyError),
    /// The other end speaks no proper WebSocket.
    #[error("websocket protocol: {0}")]
    Protocol(String),
    /// A message over 16 MiB, either way.
    #[error("a message over 16 MiB")]
    TooLarge,
    /// The other end closed the WebSocket, with this code if it gave one.
    #[error("closed by the server{}", .0.map(|code| format!(" with code {code}")).unwrap_or_default())]
    Closed(Option<u16>),
    /// The connection broke.
    #[error("connection lost: {0}")]
    Lost(String),
}

/// Opens a WebSocket. TLS is set up only for `wss`, and forgotten with the connection.
pub async fn connect(options: &Options) -> Result<Socket, NetError> {
    let deadline = Instant::now() + options.connect_timeout;
    let mut request = options.url.as_str().into_client_request().map_err(|_| NetError::BadUrl)?;
    request.headers_mut().insert(ORIGIN, HeaderValue::from_static(ORIGIN_OF_WEB));
    let target = Target::of(request.uri())?;

    let mut stream: dial::Stream = match &options.proxy {
        None => Box::new(
            within(deadline, Stage::Connect, async {
                dial::tcp(&target.host, target.port).await.map_err(NetError::from)
            })
            .await?,
        ),
        Some(proxy) => {
            within(
                deadline,
                Stage::Proxy,
                proxy.reach(&target.host, target.port, options.extra_roots.as_deref()),
            )
            .await?
        }
    };
    if target.tls {
        let config = tls::config(options.extra_roots.as_deref())?;
        stream = within(deadline, Stage::Tls, async {
            tls::wrap(stream, &target.host, config).await.map_err(NetError::Tls)
        })
        .await?;
    }
    within(deadline, Stage::Upgrade, upgrade(request, stream)).await
}

async fn upgrade(request: Request<()>, stream: dial::Stream) -> Result<Socket, NetError> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let opened = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
    opened.map(|(socket, _)| Socket::new(socket)).map_err(socket::cause)
}

async fn within<T>(
    deadline: Instant,
    stage: Stage,
    work: impl Future<Output = Result<T, NetError>>,
) -> Result<T, NetError> {
    timeout_at(deadline, work).await.unwrap_or(Err(NetError::Timeout(stage)))
}

struct Target {
    host: String,
    port: u16,
    tls: bool,
}

impl Target {
    fn of(uri: &Uri) -> Result<Self, NetError> {
        let (tls, usual) = match uri.scheme_str() {
            Some("wss") => (true, 443),
            Some("ws") => (false, 80),
            _ => return Err(NetError::BadUrl),
        };
        // Brackets around an IPv6 address belong to the URL, not to the address.
        let host = uri.host().map(|host| host.trim_start_matches('[').trim_end_matches(']'));
        let host = host.filter(|host| !host.is_empty()).ok_or(NetError::BadUrl)?;
        Ok(Self { host: host.to_owned(), port: uri.port_u16().unwrap_or(usual), tls })
    }
}
