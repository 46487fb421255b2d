//! The door: accepts connections within bounds and closes them in order.

use std::{
    collections::BTreeMap,
    future::Future as _,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Connections at once. One more takes the place of the one that has been idle longest; if all are busy, it waits in the
/// kernel's queue. Each costs some 20 KiB while it reads a request.
pub const CONNECTIONS: usize = 512;
/// How long the head of a request may take, and how long a connection may idle between two.
const HEAD: Duration = Duration::from_secs(30);
/// How long a client may take nothing of an answer. One that reads, however slowly, gets all of it.
const STALL: Duration = Duration::from_secs(30);
/// Bytes of a request's head, its address included.
const HEAD_SIZE: usize = 32 * 1024;
/// Header lines of a request.
const HEADERS: usize = 64;
/// Wait after an accept that failed, for want of file descriptors most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Serves up to `connections` at once ([`CONNECTIONS`]) until `stop`, then lets the requests in flight finish, for `drain`
/// at most.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections: usize,
    stop: CancellationToken,
    drain: Duration,
) {
    let places = Arc::new(Semaphore::new(connections));
    let (idle, mut waiting) = (Idle::default(), None);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places, &idle, &mut waiting) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((socket, peer, place)) => {
                let (router, idle, stop) = (router.clone(), idle.clone(), stop.clone());
                connections.spawn(async move {
                    connection(socket, peer, router, idle, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    let _ = timeout(drain, async { while connections.join_next().await.is_some() {} }).await;
}

/// The next connection, with a place. What was accepted and has no place yet stays in `waiting`.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    idle: &Idle,
    waiting: &mut Option<(TcpStream, SocketAddr)>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    if waiting.is_none() {
        *waiting = Some(listener.accept().await?);
    }
    let place = match Arc::clone(places).try_acquire_owned() {
        Ok(place) => place,
        Err(_) => {
            idle.evict();
            Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?
        }
    };
    let (socket, peer) = waiting.take().ok_or(io::ErrorKind::NotConnected)?;
    Ok((socket, peer, place))
}

async fn connection(
    socket: TcpStream,
    peer: SocketAddr,
    router: Router,
    idle: Idle,
    stop: CancellationToken,
) {
    let _ = socket.set_nodelay(true);
    let evicted = CancellationToken::new();
    let turn = Arc::new(Turn::new(idle, evicted.clone()));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (router, turn) = (router.clone(), turn.begin());
        async move {
            // Whoever was evicted in this moment has asked for nothing yet, as far as anybody knows.
            let busy = turn.ok_or(io::ErrorKind::ConnectionReset)?;
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            let Ok(response) = router.oneshot(request).await;
            Ok::<_, io::Error>(response.map(|body| Answer { body, _busy: busy }))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_SIZE)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(Patient::new(socket)), service);
    tokio::pin!(connection);
    // How a client broke off is of no interest to us.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = evicted.cancelled() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// The connections on which nothing is asked at the moment, in the order in which they fell silent.
#[derive(Clone, Default)]
struct Idle(Arc<Mutex<Silent>>);

#[derive(Default)]
struct Silent {
    next: u64,
    connections: BTreeMap<u64, CancellationToken>,
}

impl Idle {
    fn silent(&self) -> MutexGuard<'_, Silent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, evicted: CancellationToken) -> u64 {
        let mut silent = self.silent();
        silent.next += 1;
        let ticket = silent.next;
        silent.connections.insert(ticket, evicted);
        ticket
    }

    /// False: it was evicted.
    fn leave(&self, ticket: u64) -> bool {
        self.silent().connections.remove(&ticket).is_some()
    }

    /// Ends the connection that has been silent longest.
    fn evict(&self) {
        if let Some((_, connection)) = self.silent().connections.pop_first() {
            connection.cancel();
        }
    }
}

/// Where one connection stands: silent, or busy with a request, of which it has one at a time.
struct Turn {
    idle: Idle,
    evicted: CancellationToken,
    ticket: AtomicU64,
}

impl Turn {
    fn new(idle: Idle, evicted: CancellationToken) -> Self {
        let ticket = idle.enter(evicted.clone()).into();
        Self { idle, evicted, ticket }
    }

    /// `None`: it is too late.
    fn begin(self: &Arc<Self>) -> Option<Busy> {
        self.idle.leave(self.ticket.load(Ordering::Relaxed)).then(|| Busy(Arc::clone(self)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.idle.leave(self.ticket.load(Ordering::Relaxed));
    }
}

/// A request, until its answer has been sent.
struct Busy(Arc<Turn>);

impl Drop for Busy {
    fn drop(&mut self) {
        let Self(turn) = self;
        turn.ticket.store(turn.idle.enter(turn.evicted.clone()), Ordering::Relaxed);
    }
}

/// The body of an answer.
struct Answer {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket whose writes fail once the other end has taken nothing for [`STALL`]: whoever asks and does not read would
/// hold a place for ever.
struct Patient {
    socket: TcpStream,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    const fn new(socket: TcpStream) -> Self {
        Self { socket, waiting: None }
    }

    /// What came of a write; one that waits is given until [`STALL`] after it began to.
    fn patiently<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(STALL)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.patiently(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bytes);
        self.patiently(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
