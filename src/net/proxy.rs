//! Proxies: HTTP CONNECT (over TCP or TLS) and SOCKS5 (RFC 1928, RFC 1929). The proxy resolves the server's name.

use std::{fmt, net::IpAddr, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    NetError,
    dial::{self, DialError, Stream},
    tls,
};

/// A proxy's URL: `http://`, `https://` or `socks5://`, with `user:password@` if it wants them (percent-encoded where
/// they hold signs of a URL). `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: Kind,
    host: String,
    port: u16,
    login: Option<Login>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    Https,
    Socks5,
}

#[derive(Clone, PartialEq, Eq)]
struct Login {
    user: String,
    password: String,
}

/// Why the proxy's way did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The URL is not one of the three kinds, or not whole.
    #[error("not an http://, https:// or socks5:// URL")]
    BadUrl,
    /// The proxy's name did not resolve.
    #[error("dns: {0}")]
    Dns(String),
    /// The proxy did not answer.
    #[error("connect: {0}")]
    Connect(String),
    /// The proxy's own TLS failed.
    #[error("tls: {0}")]
    Tls(String),
    /// It wants a user and password, or others than ours.
    #[error("user or password refused")]
    Login,
    /// An HTTP proxy answered with this status.
    #[error("http status {0}")]
    Status(u16),
    /// A SOCKS5 proxy answered with this code.
    #[error("socks code {code}: {}", socks_reply(*code))]
    Socks {
        /// RFC 1928, section 6.
        code: u8,
    },
    /// What it answered is not the protocol of its kind.
    #[error("not a proxy of that kind")]
    BadReply,
    /// The connection to it broke.
    #[error("connection lost: {0}")]
    Lost(String),
}

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(url: &str) -> Result<Self, ProxyError> {
        let (scheme, rest) = url.split_once("://").ok_or(ProxyError::BadUrl)?;
        let (kind, usual) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Kind::Http, 80),
            "https" => (Kind::Https, 443),
            "socks5" | "socks5h" => (Kind::Socks5, 1080),
            _ => return Err(ProxyError::BadUrl),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(Login::parse(login)?), place),
            None => (None, authority),
        };
        let (host, port) = match place.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or(ProxyError::BadUrl)?)),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(usual), |port| port.parse().map_err(|_| ProxyError::BadUrl))?;
        if host.is_empty() || host.contains(['/', '?', '#', ' ']) {
            return Err(ProxyError::BadUrl);
        }
        Ok(Self { kind, host: host.to_owned(), port, login })
    }
}

impl Login {
    fn parse(text: &str) -> Result<Self, ProxyError> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let login = Self { user: plain(user)?, password: plain(password)? };
        // SOCKS5 counts each in one byte.
        let sound = (1..=255).contains(&login.user.len()) && login.password.len() <= 255;
        sound.then_some(login).ok_or(ProxyError::BadUrl)
    }
}

/// A part without its percent-encoding. A sign that begins none was meant to be encoded, and tells of a wrong password.
fn plain(text: &str) -> Result<String, ProxyError> {
    let escaped = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(escaped) {
        return Err(ProxyError::BadUrl);
    }
    percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| ProxyError::BadUrl)
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = if self.login.is_some() { "…@" } else { "" };
        write!(f, "{:?}://{login}{}:{}", self.kind, self.host, self.port)
    }
}

impl Proxy {
    /// A stream through the proxy to the server.
    pub(super) async fn reach(
        &self,
        host: &str,
        port: u16,
        extra_roots: Option<&[u8]>,
    ) -> Result<Stream, NetError> {
        let tcp = dial::tcp(&self.host, self.port).await.map_err(|error| match error {
            DialError::Dns(cause) => ProxyError::Dns(cause),
            DialError::Connect(cause) => ProxyError::Connect(cause),
        })?;
        let mut stream: Stream = Box::new(tcp);
        if self.kind == Kind::Https {
            let config = tls::config(extra_roots)?;
            stream = tls::wrap(stream, &self.host, config).await.map_err(ProxyError::Tls)?;
        }
        match self.kind {
            Kind::Http | Kind::Https => self.http_connect(&mut stream, host, port).await?,
            Kind::Socks5 => self.socks5(&mut stream, host, port).await?,
        }
        Ok(stream)
    }

    async fn http_connect(&self, stream: &mut Stream, host: &str, port: u16) -> Result<(), ProxyError> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        if let Some(Login { user, password }) = &self.login {
            let login = BASE64.encode(format!("{user}:{password}"));
            request.push_str(&format!("Proxy-Authorization: Basic {login}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.map_err(lost)?;
        stream.flush().await.map_err(lost)?;

        /// Longest answer read, headers included.
        const MAX_ANSWER: usize = 8 << 10;
        let mut answer = Vec::new();
        // Byte by byte: what follows the empty line is the server's already.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() == MAX_ANSWER {
                return Err(ProxyError::BadReply);
            }
            answer.push(stream.read_u8().await.map_err(lost)?);
        }
        let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let status = std::str::from_utf8(line).ok().filter(|line| line.starts_with("HTTP/1."));
        match status.and_then(|line| line.split(' ').nth(1)?.parse().ok()) {
            Some(200..=299) => Ok(()),
            Some(401 | 407) => Err(ProxyError::Login),
            Some(status) => Err(ProxyError::Status(status)),
            None => Err(ProxyError::BadReply),
        }
    }

    async fn socks5(&self, stream: &mut Stream, host: &str, port: u16) -> Result<(), ProxyError> {
        const VERSION: u8 = 5;
        const NO_LOGIN: u8 = 0;
        const PASSWORD: u8 = 2;
        const NONE_ACCEPTABLE: u8 = 0xff;

        let greeting: &[u8] =
            if self.login.is_some() { &[VERSION, 2, NO_LOGIN, PASSWORD] } else { &[VERSION, 1, NO_LOGIN] };
        stream.write_all(greeting).await.map_err(lost)?;
        stream.flush().await.map_err(lost)?;
        match (read::<2>(stream).await?, &self.login) {
            ([VERSION, NO_LOGIN], _) => {}
            ([VERSION, PASSWORD], Some(login)) => socks5_login(stream, login).await?,
            ([VERSION, NONE_ACCEPTABLE], _) => return Err(ProxyError::Login),
            _ => return Err(ProxyError::BadReply),
        }

        // Version, CONNECT, reserved.
        let mut request = vec![VERSION, 1, 0];
        match host.parse() {
            Ok(IpAddr::V4(ip)) => request.extend([&[1], ip.octets().as_slice()].concat()),
            Ok(IpAddr::V6(ip)) => request.extend([&[4], ip.octets().as_slice()].concat()),
            Err(_) => {
                let length = u8::try_from(host.len()).map_err(|_| ProxyError::BadUrl)?;
                request.extend([&[3, length], host.as_bytes()].concat());
            }
        }
        request.extend(port.to_be_bytes());
        stream.write_all(&request).await.map_err(lost)?;
        stream.flush().await.map_err(lost)?;
        let [version, reply, _, kind] = read::<4>(stream).await?;
        match (version, reply) {
            (VERSION, 0) => {}
            (VERSION, code) => return Err(ProxyError::Socks { code }),
            _ => return Err(ProxyError::BadReply),
        }
        // The address the proxy uses itself; of no interest, but it must be read.
        let length = match kind {
            1 => 4,
            4 => 16,
            3 => usize::from(read::<1>(stream).await?[0]),
            _ => return Err(ProxyError::BadReply),
        };
        let mut bound = vec![0; length + 2];
        stream.read_exact(&mut bound).await.map_err(lost)?;
        Ok(())
    }
}

async fn socks5_login(stream: &mut Stream, login: &Login) -> Result<(), ProxyError> {
    let mut request = vec![1];
    for text in [&login.user, &login.password] {
        request.push(u8::try_from(text.len()).map_err(|_| ProxyError::BadUrl)?);
        request.extend_from_slice(text.as_bytes());
    }
    stream.write_all(&request).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    match read::<2>(stream).await? {
        [_, 0] => Ok(()),
        _ => Err(ProxyError::Login),
    }
}

async fn read<const N: usize>(stream: &mut Stream) -> Result<[u8; N], ProxyError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(lost)?;
    Ok(bytes)
}

fn lost(error: std::io::Error) -> ProxyError {
    ProxyError::Lost(error.to_string())
}

/// The reply codes of RFC 1928, section 6.
fn socks_reply(code: u8) -> &'static str {
    match code {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "time to live over",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_urls_are_read_and_never_show_a_password() {
        let proxy: Proxy = "socks5://ana%40x:s%3Acret@[::1]:9000/".parse().unwrap();
        let login = Login { user: "ana@x".into(), password: "s:cret".into() };
        assert_eq!(proxy, Proxy { kind: Kind::Socks5, host: "::1".into(), port: 9000, login: Some(login) });
        assert!(!format!("{proxy:?}").contains("cret"));
        for (url, kind, port) in [
            ("http://localhost", Kind::Http, 80),
            ("HTTPS://localhost", Kind::Https, 443),
            ("socks5h://localhost", Kind::Socks5, 1080),
            ("http://localhost:3128", Kind::Http, 3128),
        ] {
            let expected = Proxy { kind, host: "localhost".into(), port, login: None };
            assert_eq!(url.parse(), Ok(expected));
        }
        for url in [
            "",
            "localhost:80",
            "ftp://localhost",
            "http://",
            "http://:80",
            "http://x:y",
            "http://x:65536",
            "http://@x",
            "http://%zz@x",
            "http://x/path",
            "socks5://[::1",
            "socks5://[::1]9",
        ] {
            assert_eq!(url.parse::<Proxy>(), Err(ProxyError::BadUrl), "{url}");
        }
        let long = format!("socks5://{}@x", "u".repeat(256));
        assert_eq!(long.parse::<Proxy>(), Err(ProxyError::BadUrl));
    }
}
