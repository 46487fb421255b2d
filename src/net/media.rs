//! The media servers' door: encrypted blobs go up from something that can be read again, and come down piece by piece.
//!
//! Memory is bounded whatever the size. A broken transfer goes on where it stopped, at the same host or the next. What a
//! blob is, and whether it is the right one, is the caller's affair: nothing here knows keys or hashes of content.

mod download;
mod upload;

use std::{fmt, io, sync::Arc, time::Duration};

use hyper::{Method, Request, header, http::request};
use tokio::time::timeout;

pub use download::Download;
pub use upload::{Upload, Uploaded};

use super::{
    CONNECT_TIMEOUT, NetError, ORIGIN_OF_WEB, Proxy, Stage,
    dial::{self, Stream},
    http::Broken,
    tls,
};

/// How long a transfer may stand still before it counts as broken.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before the hosts are tried once more.
const PAUSE: Duration = Duration::from_secs(1);
/// Rounds over all hosts.
const ROUNDS: u32 = 2;

/// The way to the media servers. Cheap to clone.
#[derive(Clone)]
pub struct Cdn {
    proxy: Option<Proxy>,
    extra_roots: Option<Arc<[u8]>>,
    patience: Duration,
    pause: Duration,
}

impl fmt::Debug for Cdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cdn").field("proxy", &self.proxy).finish_non_exhaustive()
    }
}

/// Why a blob did not get there, or did not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CdnError {
    /// The server named no host.
    #[error("no media host")]
    NoHosts,
    /// A direct path that is none.
    #[error("not a path of a media server")]
    BadPath,
    /// 401 or 403: ask the chat server for new media hosts, once; a download then asks the phone to upload again.
    #[error("refused with http status {0}")]
    Refused(u16),
    /// 404 or 410: the blob is gone; the phone may upload it again.
    #[error("gone with http status {0}")]
    Gone(u16),
    /// Any other answer but success, of the last host tried.
    #[error("http status {0}")]
    Status(u16),
    /// An answer that does not say what it must.
    #[error("unusable answer: {0}")]
    BadAnswer(&'static str),
    /// No connection.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The transfer broke, and trying again did not help.
    #[error("transfer broken: {0}")]
    Broken(String),
    /// The transfer stood still.
    #[error("timeout")]
    Timeout,
    /// The blob is larger than the caller takes.
    #[error("larger than {limit} bytes")]
    TooLarge {
        /// The most that was allowed.
        limit: u64,
    },
    /// What was to be uploaded could not be read, or was shorter than said.
    #[error("cannot read: {0}")]
    Read(io::ErrorKind),
    /// What was downloaded could not be written.
    #[error("cannot write: {0}")]
    Write(io::ErrorKind),
}

impl CdnError {
    /// Whether another host, or another try, may do better.
    fn may_pass(&self) -> bool {
        match self {
            Self::Status(_) | Self::BadAnswer(_) | Self::Broken(_) | Self::Timeout => true,
            Self::Net(error) => !matches!(error, NetError::BadRoots(_) | NetError::BadUrl),
            Self::NoHosts
            | Self::BadPath
            | Self::Refused(_)
            | Self::Gone(_)
            | Self::TooLarge { .. }
            | Self::Read(_)
            | Self::Write(_) => false,
        }
    }

    /// What a status means that is no success.
    const fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Refused(status),
            404 | 410 => Self::Gone(status),
            _ => Self::Status(status),
        }
    }
}

impl From<Broken> for CdnError {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken.0)
    }
}

impl Cdn {
    /// By the same way as the chat socket: through the proxy, if there is one, names included; trusting these roots (PEM)
    /// besides the usual ones.
    pub fn new(proxy: Option<Proxy>, extra_roots: Option<&[u8]>) -> Self {
        Self { proxy, extra_roots: extra_roots.map(Arc::from), patience: PATIENCE, pause: PAUSE }
    }

    /// How long a transfer may stand still (default 30 s), and how long to wait before the hosts are tried once more
    /// (default 1 s).
    #[must_use]
    pub fn patience(self, still: Duration, pause: Duration) -> Self {
        Self { patience: still, pause, ..self }
    }

    /// A TLS connection to a host of the media_conn answer: `name` or `name:port`.
    async fn connect(&self, host: &str) -> Result<Stream, CdnError> {
        let (name, port) = split_host(host).ok_or(NetError::BadUrl)?;
        let roots = self.extra_roots.as_deref();
        let open = async {
            let stream: Stream = match &self.proxy {
                Some(proxy) => proxy.reach(name, port, roots).await?,
                None => Box::new(dial::tcp(name, port).await.map_err(NetError::from)?),
            };
            tls::wrap(stream, name, tls::config(roots)?).await.map_err(NetError::Tls)
        };
        Ok(timeout(CONNECT_TIMEOUT, open).await.unwrap_or(Err(NetError::Timeout(Stage::Connect)))?)
    }
}

/// What every request carries. A target that HTTP cannot say is a bad path.
fn request(method: Method, host: &str, target: &str) -> Result<request::Builder, CdnError> {
    // What follows `#` would be left out in silence.
    if !target.starts_with('/') || target.contains('#') {
        return Err(CdnError::BadPath);
    }
    let target = target.parse::<hyper::http::uri::PathAndQuery>().map_err(|_| CdnError::BadPath)?;
    let builder = Request::builder().method(method).uri(target.as_str());
    Ok(builder
        .header(header::HOST, host)
        .header(header::ORIGIN, ORIGIN_OF_WEB)
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::CONNECTION, "close"))
}

fn split_host(host: &str) -> Option<(&str, u16)> {
    let (name, port) = match host.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((name, "")) => (name, None),
        Some((name, port)) => (name, Some(port.strip_prefix(':')?)),
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let port = port.map_or(Some(443), |port| port.parse().ok())?;
    (!name.is_empty()).then_some((name, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_may_name_a_port() {
        for (host, expected) in [
            ("mmg.whatsapp.net", Some(("mmg.whatsapp.net", 443))),
            ("localhost:8443", Some(("localhost", 8443))),
            ("[::1]", Some(("::1", 443))),
            ("[::1]:8443", Some(("::1", 8443))),
            ("", None),
            (":80", None),
            ("a:b", None),
            ("a:65536", None),
            ("[::1]80", None),
        ] {
            assert_eq!(split_host(host), expected, "{host}");
        }
    }

    #[test]
    fn a_path_cannot_leave_its_host() {
        for path in ["", "v/t62", "https://example.com/", "/a b", "/a\r\nHost: b", "/a#b"] {
            assert_eq!(request(Method::GET, "cdn", path).err(), Some(CdnError::BadPath), "{path}");
        }
        let request = request(Method::GET, "cdn", "//example.com/x?y=1").unwrap().body(()).unwrap();
        assert_eq!(request.uri().host(), None);
        assert_eq!(request.uri().path_and_query().unwrap(), "//example.com/x?y=1");
    }
}
