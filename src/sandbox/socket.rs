//! One client's WebSocket: messages ⇄ frames ⇄ Noise ⇄ nodes. The server's side of the handshake, then two loops.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::{Message, WebSocket};
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{
    core::{ConnId, World},
    shared::{Ends, Out, Shared},
};
use crate::wire::{
    codec,
    frame::{self, Reader},
    noise::{Client, ExpectClientHello, Greeted, Opener, Sealer},
};

/// Clients give the server as long.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// A hello and a payload are some hundreds of bytes.
const MAX_HANDSHAKE: usize = 64 << 10;
/// How long a closing handshake may take before the connection is dropped.
const CLOSING: Duration = Duration::from_secs(1);

/// What a client's messages bring, in frames.
struct Frames {
    socket: SplitStream<WebSocket>,
    reader: Reader,
    /// What came before the intro was complete.
    first: Option<Vec<u8>>,
}

impl Frames {
    /// `None`: the client closed, or spoke another language.
    async fn next(&mut self, most: usize) -> Option<Vec<u8>> {
        loop {
            if let Some(frame) = self.reader.next() {
                return Some(frame);
            }
            let Message::Binary(bytes) = self.socket.next().await?.ok()? else { continue };
            match &mut self.first {
                None => self.reader.push(&bytes),
                Some(first) => {
                    first.extend_from_slice(&bytes);
                    if let Some(intro) = frame::read_intro(first).ok()? {
                        self.reader.push(first.get(intro..)?);
                        self.first = None;
                    }
                }
            }
            if self.reader.waiting() + self.first.as_ref().map_or(0, Vec::len) > most {
                return None;
            }
        }
    }
}

/// Serves one client until either side has enough.
pub(super) async fn serve(socket: WebSocket, shared: Arc<Shared>) {
    let (mut sink, stream) = socket.split();
    let mut frames = Frames { socket: stream, reader: Reader::default(), first: Some(Vec::new()) };
    let shaken = tokio::select! {
        () = shared.stop.cancelled() => return,
        shaken = timeout(HANDSHAKE, handshake(&mut sink, &mut frames, &shared)) => shaken,
    };
    let Ok(Some(client)) = shaken else {
        shared.input(|world, _| world.handshake_failed());
        return;
    };
    let Ends { id, mut out, cut } = shared.opened(client.static_key, &client.payload);
    let (mut sealer, mut opener) = (client.sealed.sealer, client.sealed.opener);
    let (frozen, thaw) = watch::channel(None);
    let closed_properly = tokio::select! {
        () = cut.cancelled() => false,
        () = shared.stop.cancelled() => true,
        properly = write(&mut sink, &mut out, &mut sealer, &frozen) => properly,
        () = read(&mut frames, &mut opener, id, &shared, thaw) => true,
    };
    if closed_properly {
        // The close frame, then the client's; a client that does not answer is dropped.
        let _ = timeout(CLOSING, async {
            let _ = sink.close().await;
            while let Some(Ok(_)) = frames.socket.next().await {}
        })
        .await;
    }
    shared.closed(id);
}

async fn handshake(
    sink: &mut SplitSink<WebSocket, Message>,
    frames: &mut Frames,
    shared: &Shared,
) -> Option<Client> {
    let hello = frames.next(MAX_HANDSHAKE).await?;
    let greeted = ExpectClientHello::new(Arc::clone(&shared.keys)).step(&hello, &mut shared.rng()).ok()?;
    match greeted {
        Greeted::Established { reply, client } => {
            sink.send(Message::Binary(reply.into())).await.ok()?;
            Some(client)
        }
        Greeted::Finish { reply, next } => {
            sink.send(Message::Binary(reply.into())).await.ok()?;
            next.step(&frames.next(MAX_HANDSHAKE).await?).ok()
        }
    }
}

/// Whether the connection is to be closed properly, as opposed to just dropped.
async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    out: &mut tokio::sync::mpsc::Receiver<Out>,
    sealer: &mut Sealer,
    frozen: &watch::Sender<Option<Instant>>,
) -> bool {
    while let Some(mut next) = out.recv().await {
        // One frame a message, but as many messages as there are in one go.
        loop {
            match next {
                Out::Node(node) => {
                    let sealed = codec::encode(&node).ok().and_then(|plain| sealer.seal(&plain).ok());
                    let Some(frame) = sealed else {
                        tracing::error!(tag = %node.tag, "a stanza of our own does not encode");
                        return true;
                    };
                    if sink.feed(Message::Binary(frame.into())).await.is_err() {
                        return false;
                    }
                }
                Out::Close => {
                    return sink.flush().await.is_ok();
                }
                Out::Freeze(time) => {
                    let until = Instant::now() + time;
                    frozen.send_replace(Some(until));
                    let _ = sink.flush().await;
                    sleep_until(until).await;
                }
            }
            match out.try_recv() {
                Ok(more) => next = more,
                Err(_) => break,
            }
        }
        if sink.flush().await.is_err() {
            return false;
        }
    }
    false
}

async fn read(
    frames: &mut Frames,
    opener: &mut Opener,
    id: ConnId,
    shared: &Shared,
    frozen: watch::Receiver<Option<Instant>>,
) {
    while let Some(frame) = frames.next(frame::MAX + frame::HEADER).await {
        let until = *frozen.borrow();
        if let Some(until) = until {
            sleep_until(until).await;
        }
        let node = opener.open(&frame).ok().and_then(|plain| codec::decode(&plain).ok());
        match node {
            Some(node) if node.tag == "xmlstreamend" => return,
            Some(node) => shared.input(|world, now| world.node(id, node, now)),
            None => {
                shared.input(|world: &mut World, now| world.garbage(id, now));
                // The stream error leaves by the writer; nothing more is read.
                std::future::pending::<()>().await;
            }
        }
    }
}
