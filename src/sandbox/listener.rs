//! One port for everything: TLS where the first byte is that of a TLS handshake, plain HTTP otherwise.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

/// First byte of a TLS record that carries a ClientHello.
const TLS_HANDSHAKE: u8 = 0x16;
/// For the first byte, the TLS handshake, and the head of a request.
const PATIENCE: Duration = Duration::from_secs(20);
/// After a failure to accept (no file descriptors left) the next try waits.
const RETRY: Duration = Duration::from_millis(100);

/// Whether the chat socket is served on the connection that a request came by.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChatAllowed(pub(super) bool);

pub(super) async fn run(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    router: Router,
    plain: bool,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection =
                    connection(stream, peer, acceptor.clone(), router.clone(), plain, stop.clone());
                tasks.spawn(connection);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    _peer: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router,
    plain: bool,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let mut first = [0];
    let Ok(Ok(1)) = timeout(PATIENCE, stream.peek(&mut first)).await else { return };
    if first == [TLS_HANDSHAKE] {
        if let Ok(Ok(stream)) = timeout(PATIENCE, acceptor.accept(stream)).await {
            http(stream, router, ChatAllowed(true), stop).await;
        }
    } else {
        http(stream, router, ChatAllowed(plain), stop).await;
    }
}

async fn http<S>(stream: S, router: Router, chat: ChatAllowed, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(chat);
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // How a client's connection ends is its own affair.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = timeout(RETRY, connection).await;
}
