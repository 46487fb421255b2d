//! An open WebSocket as two halves: binary messages out, binary messages in.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _, stream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        protocol::frame::{CloseFrame, coding::CloseCode},
    },
};

use super::{MAX_MESSAGE, NetError, dial};

type Inner = WebSocketStream<dial::Stream>;

/// An open WebSocket. Pings are answered while the receiver is read.
pub struct Socket(Inner);

impl Socket {
    pub(super) fn new(inner: Inner) -> Self {
        Self(inner)
    }

    /// The two halves, for two tasks or one.
    pub fn split(self) -> (Sender, Receiver) {
        let (sink, stream) = self.0.split();
        (Sender(sink), Receiver { stream, over: false })
    }

    /// Says goodbye and drops the connection.
    pub async fn close(mut self) -> Result<(), NetError> {
        self.0.close(Some(goodbye())).await.or_else(already_closed)
    }
}

/// Code 1000, as whatsmeow and whatsapp-rust close.
fn goodbye() -> CloseFrame {
    CloseFrame { code: CloseCode::Normal, reason: "".into() }
}

/// Closing what is closed is no failure.
fn already_closed(error: Error) -> Result<(), NetError> {
    match cause(error) {
        NetError::Closed(_) => Ok(()),
        other => Err(other),
    }
}

/// A sink of binary messages: `send` writes one and flushes; `feed` and `flush` write several at once.
pub struct Sender(stream::SplitSink<Inner, Message>);

impl Sender {
    /// Sends the closing frame; the receiver then ends once the server has answered or hung up.
    pub async fn close(&mut self) -> Result<(), NetError> {
        let sent = self.0.send(Message::Close(Some(goodbye()))).await;
        sent.or_else(already_closed)
    }
}

impl Sink<Vec<u8>> for Sender {
    type Error = NetError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        self.0.poll_ready_unpin(cx).map_err(cause)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Vec<u8>) -> Result<(), NetError> {
        if message.len() > MAX_MESSAGE {
            return Err(NetError::TooLarge);
        }
        self.0.start_send_unpin(Message::binary(message)).map_err(cause)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        self.0.poll_flush_unpin(cx).map_err(cause)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        self.0.poll_close_unpin(cx).map_err(cause)
    }
}

/// A stream of binary messages. It ends with one error that says why, [`NetError::Closed`] for an orderly close.
pub struct Receiver {
    stream: stream::SplitStream<Inner>,
    over: bool,
}

impl Stream for Receiver {
    type Item = Result<Vec<u8>, NetError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let end = loop {
            match ready!(self.stream.poll_next_unpin(cx)) {
                Some(Ok(Message::Binary(bytes))) => return Poll::Ready(Some(Ok(bytes.into()))),
                Some(Ok(Message::Close(frame))) => {
                    break NetError::Closed(frame.map(|frame| frame.code.into()));
                }
                // The server never sends text; pings and pongs are the library's.
                Some(Ok(_)) => {}
                Some(Err(error)) => break cause(error),
                None => break NetError::Closed(None),
            }
        };
        self.over = true;
        Poll::Ready(Some(Err(end)))
    }
}

/// The library's error in our words.
pub(super) fn cause(error: Error) -> NetError {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => NetError::Closed(None),
        Error::Protocol(ProtocolError::SendAfterClosing) => NetError::Closed(None),
        Error::Io(error) => NetError::Lost(error.to_string()),
        Error::Http(response) => NetError::HttpStatus(response.status().as_u16()),
        Error::Capacity(_) => NetError::TooLarge,
        Error::Url(_) | Error::HttpFormat(_) => NetError::BadUrl,
        Error::Protocol(error) => NetError::Protocol(error.to_string()),
        Error::Tls(error) => NetError::Tls(error.to_string()),
        Error::Utf8(_) => NetError::Protocol("text that is not UTF-8".to_owned()),
        Error::WriteBufferFull(_) => NetError::Lost("the write buffer is full".to_owned()),
        Error::AttackAttempt => NetError::Protocol("a malformed request".to_owned()),
    }
}
