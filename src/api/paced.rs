//! The body of a form, piece by piece. The reader of forms takes into memory whatever is ready before it hands anything
//! on; so no more is ready than it can hand on, and what it holds without handing on is counted.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::{Stream, StreamExt as _};

/// Ready at a time.
const PIECE: usize = 64 << 10;
/// Taken without anything being handed on: the headers of a part, or what stands before the first part.
const MOST: usize = 256 << 10;

/// Says that something was handed on.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<AtomicUsize>);

impl Progress {
    pub(super) fn made(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// See the module.
pub(super) struct Paced {
    body: BodyDataStream,
    rest: Bytes,
    /// The piece before has just been taken.
    pausing: bool,
    taken: Progress,
}

impl Paced {
    pub(super) fn new(body: Body) -> (Self, Progress) {
        let taken = Progress::default();
        let paced =
            Self { body: body.into_data_stream(), rest: Bytes::new(), pausing: false, taken: taken.clone() };
        (paced, taken)
    }
}

impl Stream for Paced {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.pausing) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        while self.rest.is_empty() {
            match std::task::ready!(self.body.poll_next_unpin(cx)) {
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                None => return Poll::Ready(None),
            }
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        if self.taken.0.fetch_add(length, Ordering::Relaxed) + length > MOST {
            return Poll::Ready(Some(Err(io::Error::other("a part of the form does not begin"))));
        }
        self.pausing = true;
        Poll::Ready(Some(Ok(piece)))
    }
}
