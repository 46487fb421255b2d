//! A URL that a user names, fetched without letting it reach where the user cannot.
//!
//! The host is resolved here, every address it has is checked, and the connection goes to one of exactly these: a name
//! that means something else a moment later gains nothing. Each redirect starts over. No proxy, no cookies, no
//! credentials; what arrives is cut as soon as it is too much.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use hyper::{Request, Uri, header};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{
    address,
    dial::{self, Stream},
    http::{self, Answer, Nothing, USER_AGENT},
    tls,
};

/// How long everything may take, from the name to the last byte (instance-api.md §8).
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Redirects followed (instance-api.md §8).
pub const MAX_REDIRECTS: usize = 5;
/// Longest file name handed on, in characters (instance-api.md §7.2).
const MAX_NAME: usize = 255;

/// How names become addresses and addresses connections. The system's own way is [`System`]; tests have theirs.
pub trait Network: Send + Sync {
    /// Every address of a host name.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
    /// A connection to whichever of these addresses answers first, and to nothing else.
    fn connect(&self, to: Vec<SocketAddr>) -> BoxFuture<'_, io::Result<TcpStream>>;
}

/// The system's resolver and sockets.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Network for System {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(lookup_host((host, 0)).await?.map(|address| address.ip()).collect()) })
    }

    fn connect(&self, to: Vec<SocketAddr>) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async move {
            dial::first_of(to).await.map_err(|error| match error {
                dial::DialError::Dns(cause) | dial::DialError::Connect(cause) => io::Error::other(cause),
            })
        })
    }
}

/// Fetches users' URLs. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    network: Arc<dyn Network>,
    allow_private: bool,
    extra_roots: Option<Arc<[u8]>>,
    timeout: Duration,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("allow_private", &self.allow_private).finish_non_exhaustive()
    }
}

/// What was fetched, beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Where it was found in the end.
    pub url: String,
    /// Bytes written.
    pub size: u64,
    /// 200 to 299.
    pub status: u16,
    /// `Content-Type` as announced, parameters included.
    pub content_type: Option<String>,
    /// The name in `Content-Disposition`, without path and control characters.
    pub file_name: Option<String>,
    /// The last segment of the path that was fetched in the end, decoded, without path and control characters.
    pub path_name: Option<String>,
}

impl Fetched {
    /// An address that what was fetched refers to.
    pub fn join(&self, reference: &str) -> Option<String> {
        Url::parse(&self.url).ok()?.join(reference).ok().map(String::from)
    }
}

/// What becomes of more bytes than are wanted.
#[derive(Clone, Copy)]
enum Excess {
    /// Too much is an error.
    Refused,
    /// It is left where it is.
    Left,
}

/// Why there is no file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Nothing was asked of the network.
    #[error("not a URL to fetch: {0}")]
    BadUrl(&'static str),
    /// The final status, which was none of success.
    #[error("http status {0}")]
    Http(u16),
    /// It took longer than allowed.
    #[error("timeout")]
    Timeout,
    /// The name did not resolve.
    #[error("dns")]
    Dns,
    /// No address answered, the connection broke, or the other end speaks no HTTP.
    #[error("connect")]
    Connect,
    /// The certificate is not trusted, or the TLS is broken.
    #[error("tls: {0}")]
    Tls(String),
    /// One redirect more than [`MAX_REDIRECTS`].
    #[error("too many redirects")]
    TooManyRedirects,
    /// The host is, or has, an address that is not public.
    #[error("blocked address")]
    BlockedAddress,
    /// More bytes than allowed.
    #[error("larger than {limit} bytes")]
    TooLarge {
        /// As announced; unknown where the download was cut.
        size: Option<u64>,
        /// The most that was allowed.
        limit: u64,
    },
    /// The roots to trust cannot be read.
    #[error("the extra root certificates cannot be read")]
    BadRoots,
    /// What was fetched could not be written.
    #[error("cannot write: {0}")]
    Write(io::ErrorKind),
}

impl FetchError {
    /// `reason` of `MEDIA_DOWNLOAD_FAILED` (instance-api.md §8). `None` for what is another error of the contract: a bad
    /// URL, too large a file, and what is our own fault.
    pub fn reason(&self) -> Option<String> {
        Some(match self {
            Self::Http(status) => format!("http_{status}"),
            Self::Timeout => "timeout".into(),
            Self::Dns => "dns".into(),
            Self::Connect => "connect".into(),
            Self::Tls(_) => "tls".into(),
            Self::TooManyRedirects => "too_many_redirects".into(),
            Self::BlockedAddress => "blocked_address".into(),
            Self::BadUrl(_) | Self::TooLarge { .. } | Self::BadRoots | Self::Write(_) => return None,
        })
    }
}

impl Fetcher {
    /// `allow_private` lets URLs reach every address (`--media-allow-private`).
    pub fn new(allow_private: bool) -> Self {
        Self { network: Arc::new(System), allow_private, extra_roots: None, timeout: TIMEOUT }
    }

    /// Another way to the network.
    #[must_use]
    pub fn network(self, network: Arc<dyn Network>) -> Self {
        Self { network, ..self }
    }

    /// Roots to trust besides the usual ones, as PEM.
    #[must_use]
    pub fn extra_roots(self, pem: &[u8]) -> Self {
        Self { extra_roots: Some(pem.into()), ..self }
    }

    /// Another limit than [`TIMEOUT`].
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Whether [`Fetcher::fetch`] would try this URL at all: absolute, `http` or `https`, with a host and without
    /// credentials.
    pub fn check(url: &str) -> Result<(), FetchError> {
        parse(url).map(|_| ())
    }

    /// Writes the beginning of what is behind a URL: `limit` bytes of it, or all of it; the rest is not read.
    pub async fn fetch_start<W: AsyncWrite + Unpin + ?Sized>(
        &self,
        url: &str,
        limit: u64,
        into: &mut W,
    ) -> Result<Fetched, FetchError> {
        let url = parse(url)?;
        let start = self.follow(url, limit, Excess::Left, into);
        timeout(self.timeout, start).await.unwrap_or(Err(FetchError::Timeout))
    }

    /// Writes what is behind a URL, at most `limit` bytes of it. On an error, part of it may have been written.
    pub async fn fetch<W: AsyncWrite + Unpin + ?Sized>(
        &self,
        url: &str,
        limit: u64,
        into: &mut W,
    ) -> Result<Fetched, FetchError> {
        let url = parse(url)?;
        let whole = self.follow(url, limit, Excess::Refused, into);
        timeout(self.timeout, whole).await.unwrap_or(Err(FetchError::Timeout))
    }

    async fn follow<W: AsyncWrite + Unpin + ?Sized>(
        &self,
        mut url: Url,
        limit: u64,
        excess: Excess,
        into: &mut W,
    ) -> Result<Fetched, FetchError> {
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.get(&url).await?;
            let status = answer.status();
            if (200..300).contains(&status) {
                return save(answer, &url, limit, excess, into).await;
            }
            // A redirect that leads nowhere is the end of the way.
            url = redirect(&answer, &url).ok_or(FetchError::Http(status))?;
        }
        Err(FetchError::TooManyRedirects)
    }

    async fn get(&self, url: &Url) -> Result<Answer, FetchError> {
        let stream = self.reach(url).await?;
        let (Some(host), path) = (url.host_str(), url.path()) else {
            return Err(FetchError::BadUrl("no host"));
        };
        let target = url.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let request = Request::get(target.parse::<Uri>().map_err(|_| FetchError::BadUrl("not HTTP's form"))?)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, "*/*")
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CONNECTION, "close")
            .body(Nothing)
            .map_err(|_| FetchError::BadUrl("not HTTP's form"))?;
        http::exchange(stream, request).await.map_err(|_| FetchError::Connect)
    }

    /// A connection to the host of a URL, by an address that has been checked.
    async fn reach(&self, url: &Url) -> Result<Stream, FetchError> {
        let port = url.port_or_known_default().ok_or(FetchError::BadUrl("no port"))?;
        let host = url.host_str().ok_or(FetchError::BadUrl("no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // The parser of URLs has brought every spelling of an IPv4 address into the usual one.
        let addresses = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.network.resolve(host).await.map_err(|_| FetchError::Dns)?,
        };
        if addresses.is_empty() {
            return Err(FetchError::Dns);
        }
        // One such address among others is no accident.
        if !self.allow_private && addresses.iter().any(|address| !address::is_public(*address)) {
            return Err(FetchError::BlockedAddress);
        }
        let checked = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
        let tcp = self.network.connect(checked).await.map_err(|_| FetchError::Connect)?;
        let stream: Stream = Box::new(tcp);
        if url.scheme() != "https" {
            return Ok(stream);
        }
        let config = tls::config(self.extra_roots.as_deref()).map_err(|_| FetchError::BadRoots)?;
        tls::wrap(stream, host, config).await.map_err(FetchError::Tls)
    }
}

fn parse(url: &str) -> Result<Url, FetchError> {
    let url = Url::parse(url.trim()).map_err(|_| FetchError::BadUrl("not an absolute URL"))?;
    fit(&url).map_err(FetchError::BadUrl)?;
    Ok(url)
}

/// What a URL must be, the first as well as every redirect.
fn fit(url: &Url) -> Result<(), &'static str> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err("neither http nor https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials in the URL");
    }
    if url.host_str().is_none_or(str::is_empty) { Err("no host") } else { Ok(()) }
}

fn redirect(answer: &Answer, from: &Url) -> Option<Url> {
    if !matches!(answer.status(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = std::str::from_utf8(answer.header("location")?).ok()?;
    from.join(location).ok().filter(|url| fit(url).is_ok())
}

async fn save<W: AsyncWrite + Unpin + ?Sized>(
    mut answer: Answer,
    url: &Url,
    limit: u64,
    excess: Excess,
    into: &mut W,
) -> Result<Fetched, FetchError> {
    if let (Excess::Refused, Some(size)) = (excess, answer.length().filter(|size| *size > limit)) {
        return Err(FetchError::TooLarge { size: Some(size), limit });
    }
    let mut size = 0_u64;
    let written = |error: io::Error| FetchError::Write(error.kind());
    while let Some(chunk) = answer.chunk().await.map_err(|_| FetchError::Connect)? {
        let room = usize::try_from(limit.saturating_sub(size)).unwrap_or(usize::MAX);
        let fits = chunk.get(..room).unwrap_or(&chunk);
        if let (Excess::Refused, true) = (excess, fits.len() < chunk.len()) {
            return Err(FetchError::TooLarge { size: None, limit });
        }
        size = size.saturating_add(fits.len() as u64);
        into.write_all(fits).await.map_err(written)?;
        if let (Excess::Left, true) = (excess, size >= limit) {
            break;
        }
    }
    into.flush().await.map_err(written)?;
    let last = url.path().rsplit('/').next().unwrap_or_default();
    let content_type = answer.header("content-type").and_then(|value| std::str::from_utf8(value).ok());
    Ok(Fetched {
        url: url.to_string(),
        size,
        status: answer.status(),
        content_type: content_type.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
        file_name: answer.header("content-disposition").and_then(name_in_disposition),
        path_name: clean(&percent_decode_str(last).decode_utf8_lossy()),
    })
}

/// The file name of a `Content-Disposition` (RFC 6266): the encoded form wins over the plain one.
fn name_in_disposition(header: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(header);
    let (mut plain, mut encoded) = (None, None);
    for parameter in parameters(&text).skip(1) {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "filename*" => {
                // charset'language'value (RFC 8187); every charset but UTF-8 is obsolete.
                let mut parts = value.splitn(3, '\'');
                let utf8 = parts.next().is_some_and(|charset| charset.eq_ignore_ascii_case("utf-8"));
                encoded =
                    parts.nth(1).filter(|_| utf8).map(|value| percent_decode_str(value).decode_utf8_lossy());
            }
            "filename" => plain = Some(unquoted(value)),
            _ => {}
        }
    }
    encoded.and_then(|name| clean(&name)).or_else(|| plain.and_then(|name| clean(&name)))
}

/// Splits at semicolons outside of quotation marks.
fn parameters(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let ends = c == ';' && !quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        ends
    })
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            // A backslash before anything else is one of Windows' paths.
            '\\' => match chars.next() {
                Some(next @ ('"' | '\\')) => out.push(next),
                Some(next) => out.extend(['\\', next]),
                None => {}
            },
            c => out.push(c),
        }
    }
    out
}

/// A name without a path: what stands behind the last separator, without control characters; none of `.` and `..`.
fn clean(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    let kept = kept.trim();
    (!kept.is_empty() && !kept.chars().all(|c| c == '.')).then(|| kept.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_content_disposition() {
        for (header, expected) in [
            ("attachment; filename=report.pdf", Some("report.pdf")),
            ("attachment; filename=\"a; b.pdf\"", Some("a; b.pdf")),
            ("attachment; FileName = \"say \\\"hi\\\".txt\"", Some("say \"hi\".txt")),
            ("attachment; filename=\"x.txt\"; filename*=UTF-8''%E2%82%AC%20rates.txt", Some("€ rates.txt")),
            ("attachment; filename*=utf-8'pt'nota%20fiscal.xml", Some("nota fiscal.xml")),
            ("attachment; filename*=iso-8859-1''%A3.txt; filename=pound.txt", Some("pound.txt")),
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            ("attachment; filename=\"C:\\temp\\nota.pdf\"", Some("nota.pdf")),
            ("attachment; filename=\"conta ção.pdf\"", Some("conta ção.pdf")),
            ("inline; filename=\"a\u{7}b.txt\"", Some("ab.txt")),
            ("attachment; filename=\"..\"", None),
            ("attachment; filename=\"\"", None),
            ("attachment; filename*=UTF-8", None),
            ("attachment", None),
            ("filename=first.txt", None),
            ("", None),
        ] {
            assert_eq!(name_in_disposition(header.as_bytes()).as_deref(), expected, "{header}");
        }
        let long = format!("attachment; filename={}", "é".repeat(400));
        assert_eq!(name_in_disposition(long.as_bytes()).unwrap().chars().count(), MAX_NAME);
        assert!(name_in_disposition(b"attachment; filename=\"\xff\xfe.pdf\"").is_some());
    }

    #[test]
    fn only_plain_web_addresses_are_tried() {
        for url in ["http://example.com", "https://example.com/a?b#c", "HTTP://EXAMPLE.com:8080"] {
            assert_eq!(Fetcher::check(url), Ok(()), "{url}");
        }
        for url in [
            "",
            "example.com/a.jpg",
            "/a.jpg",
            "ftp://example.com/a",
            "file:///etc/passwd",
            "data:text/plain,hi",
            "javascript:alert(1)",
            "http://",
            "http:///",
            "http://user@example.com/",
            "http://user:secret@example.com/",
            "http://:secret@example.com/",
            "http://[::1",
            "http://exa mple.com/",
            "http://example.com:99999/",
            "http://256.1.1.1/",
            "http://1.2.3.4.5/",
            "http://0x100000000/",
        ] {
            assert!(matches!(Fetcher::check(url), Err(FetchError::BadUrl(_))), "{url}");
        }
    }
}
