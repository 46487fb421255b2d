//! One connection to the server: dial, shake hands, then nodes both ways. Two tasks and two bounded lanes; dropping
//! the [`Connection`] ends them.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::Options;
use crate::{
    account::{CloseCause, Dial},
    clock::Millis,
    net,
    wire::{
        Node, codec, frame,
        noise::{ExpectServerHello, Opener, Sealer, TrustRoot},
    },
};

/// Stanzas that may wait for the account; beyond that the socket is not read, and the server waits.
const INWARD: usize = 256;
/// Stanzas that may wait for the socket. More than one turn writes, so that only a socket that takes nothing fills it.
const OUTWARD: usize = 2048;
/// The server's part of the handshake (the published clients allow 20 s).
const HANDSHAKE: Duration = Duration::from_secs(20);
/// A write that takes longer goes nowhere.
const WRITE: Duration = Duration::from_secs(20);
/// For the close frame at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a connection reports.
pub(super) enum Happened {
    Opened,
    Node(Node),
    Closed(CloseCause),
}

pub(super) struct Connection {
    inward: mpsc::Receiver<Happened>,
    outward: mpsc::Sender<Vec<u8>>,
    /// The socket took nothing for a whole lane's length.
    clogged: bool,
    closing: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Connection {
    pub(super) fn open(dial: Dial, options: &Options, generation: u64) -> Self {
        let (report, inward) = mpsc::channel(INWARD);
        let (outward, lane) = mpsc::channel(OUTWARD);
        let closing = CancellationToken::new();
        let (net, root, stop) = (options.net.clone(), options.root(), closing.clone());
        let task = tokio::spawn(async move {
            let cause = live(dial, &net, &root, lane, &report, &stop).await;
            tracing::debug!(generation, ?cause, "connection ended");
            drop(report.send(Happened::Closed(cause)).await);
        });
        Self { inward, outward, clogged: false, closing, task: AbortOnDropHandle::new(task) }
    }

    /// The next report; after the last one it stays silent.
    pub(super) async fn next(&mut self) -> Happened {
        if self.clogged {
            self.clogged = false;
            return Happened::Closed(CloseCause::Lost);
        }
        match self.inward.recv().await {
            Some(happened) => happened,
            None => std::future::pending().await,
        }
    }

    /// The next report, if there is one already.
    pub(super) fn try_next(&mut self) -> Option<Happened> {
        self.inward.try_recv().ok()
    }

    pub(super) fn send(&mut self, stanza: Vec<u8>) {
        if self.outward.try_send(stanza).is_err() {
            self.clogged = true;
        }
    }

    /// Writes what waits, says goodbye, and ends.
    pub(super) async fn close(self) {
        self.closing.cancel();
        drop(timeout(FAREWELL, self.task).await);
    }
}

async fn live(
    dial: Dial,
    options: &net::Options,
    root: &TrustRoot,
    lane: mpsc::Receiver<Vec<u8>>,
    report: &mpsc::Sender<Happened>,
    stop: &CancellationToken,
) -> CloseCause {
    let socket = match net::connect(options).await {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%error, "the WhatsApp server cannot be reached");
            return CloseCause::Unreachable;
        }
    };
    let (mut sink, mut stream) = socket.split();
    let shaken = timeout(HANDSHAKE, shake_hands(dial, root, &mut sink, &mut stream)).await;
    let (sealer, opener, frames) = match shaken {
        Ok(Ok(established)) => established,
        Ok(Err(reason)) => {
            tracing::warn!(reason, "the handshake failed");
            return CloseCause::Handshake;
        }
        Err(_) => {
            tracing::warn!("the server does not answer the handshake");
            return CloseCause::Handshake;
        }
    };
    if report.send(Happened::Opened).await.is_err() {
        return CloseCause::Lost;
    }
    tokio::select! {
        () = read(opener, frames, &mut stream, report) => {}
        () = write(sealer, lane, &mut sink, stop) => {}
    }
    drop(timeout(FAREWELL, sink.close()).await);
    CloseCause::Lost
}

type Established = (Sealer, Opener, frame::Reader);

async fn shake_hands(
    dial: Dial,
    root: &TrustRoot,
    sink: &mut net::Sender,
    stream: &mut net::Receiver,
) -> Result<Established, String> {
    let (expect, hello) = ExpectServerHello::start(dial.noise, dial.payload, &mut rand::rng());
    let mut first = dial.routing_info.as_deref().map(frame::routing_header).unwrap_or_default();
    first.extend_from_slice(&hello);
    sink.send(first).await.map_err(|error| error.to_string())?;
    let mut frames = frame::Reader::default();
    let answer = loop {
        if let Some(answer) = frames.next() {
            break answer;
        }
        match stream.next().await {
            Some(Ok(bytes)) => frames.push(&bytes),
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("the server closed the connection".into()),
        }
    };
    let (finish, sealed) = expect.step(&answer, root, Millis::now()).map_err(|error| error.to_string())?;
    sink.send(finish).await.map_err(|error| error.to_string())?;
    Ok((sealed.sealer, sealed.opener, frames))
}

/// Frames to nodes, until the socket ends or what comes makes no sense.
async fn read(
    mut opener: Opener,
    mut frames: frame::Reader,
    stream: &mut net::Receiver,
    report: &mpsc::Sender<Happened>,
) {
    loop {
        while let Some(sealed) = frames.next() {
            // A frame that does not open means that the two ends disagree about the pipe itself.
            let plaintext = match opener.open(&sealed) {
                Ok(plaintext) => plaintext,
                Err(error) => return tracing::warn!(%error, "a frame could not be opened"),
            };
            match codec::decode(&plaintext) {
                Ok(node) => {
                    if report.send(Happened::Node(node)).await.is_err() {
                        return;
                    }
                }
                // The pipe is fine; what is not understood stays in the server's queue.
                Err(error) => tracing::warn!(%error, "a stanza could not be decoded"),
            }
        }
        match stream.next().await {
            Some(Ok(bytes)) => frames.push(&bytes),
            Some(Err(error)) => return tracing::info!(%error, "the connection ended"),
            None => return,
        }
    }
}

/// Nodes to frames, in the order of their counters; what waits together is flushed together.
async fn write(
    mut sealer: Sealer,
    mut lane: mpsc::Receiver<Vec<u8>>,
    sink: &mut net::Sender,
    stop: &CancellationToken,
) {
    loop {
        let first = tokio::select! {
            biased;
            stanza = lane.recv() => stanza,
            () = stop.cancelled() => None,
        };
        let Some(first) = first else { return };
        let mut next = Some(first);
        while let Some(stanza) = next {
            let Ok(frame) = sealer.seal(&stanza) else { return };
            if !matches!(timeout(WRITE, sink.feed(frame)).await, Ok(Ok(()))) {
                return;
            }
            next = lane.try_recv().ok();
        }
        if !matches!(timeout(WRITE, sink.flush()).await, Ok(Ok(()))) {
            return;
        }
    }
}
