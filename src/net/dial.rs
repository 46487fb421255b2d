//! TCP to a name: every address gets its chance without the first one holding up the rest.

use std::{net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::sleep,
};

use super::NetError;

/// Anything that bytes go through: TCP, TLS, TLS through TLS.
pub(super) trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}
pub(super) type Stream = Box<dyn Pipe>;

/// Why no address answered.
#[derive(Debug)]
pub(super) enum DialError {
    Dns(String),
    Connect(String),
}

impl From<DialError> for NetError {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Dns(cause) => Self::Dns(cause),
            DialError::Connect(cause) => Self::Connect(cause),
        }
    }
}

/// Head start of an address before the next one is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to whichever address answers first, trying the families in turn.
pub(super) async fn tcp(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let addresses = lookup_host((host, port)).await.map_err(|error| DialError::Dns(error.to_string()))?;
    first_of(addresses.collect()).await
}

/// Connects to whichever of these answers first, and to nothing else.
pub(super) async fn first_of(addresses: Vec<SocketAddr>) -> Result<TcpStream, DialError> {
    let mut waiting = alternate(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = DialError::Dns("the name has no address".to_owned());
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(TcpStream::connect(address));
        } else if attempts.is_empty() {
            return Err(failure);
        }
        tokio::select! {
            Some(outcome) = attempts.next() => match outcome {
                Ok(stream) => {
                    // Stanzas are small and each is waited for: none may linger for company.
                    stream.set_nodelay(true).map_err(|error| DialError::Connect(error.to_string()))?;
                    return Ok(stream);
                }
                Err(error) => failure = DialError::Connect(error.to_string()),
            },
            () = sleep(HEAD_START), if waiting.len() > 0 => {}
        }
    }
}

/// The order given, but the families by turns.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut out = Vec::new();
    loop {
        let before = out.len();
        out.extend(first.next());
        out.extend(second.next());
        if out.len() == before {
            return out;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let addresses = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"].map(|text| text.parse().unwrap());
        let expected = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"].map(|text| text.parse().unwrap());
        assert_eq!(alternate(addresses.to_vec()), expected);
        assert_eq!(alternate(vec![]), []);
    }
}
