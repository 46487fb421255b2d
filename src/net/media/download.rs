//! Down: hosts in turn, going on by `Range` where a transfer broke.

use std::io;

use hyper::{Method, body::Bytes, header};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    time::{sleep, timeout},
};

use super::{Cdn, CdnError, ROUNDS, request};
use crate::net::http::{self, Answer, Nothing};

/// A blob on its way down, or a part of it.
pub struct Download {
    cdn: Cdn,
    hosts: Vec<String>,
    path: String,
    limit: u64,
    /// Offset in the blob of the next byte to hand on.
    next: u64,
    /// Offset of the last byte wanted.
    last: Option<u64>,
    /// Length of the whole blob, once an answer told it.
    total: Option<u64>,
    answer: Option<Answer>,
    /// Bytes of the answer that were handed on before.
    skip: u64,
    /// Connections tried so far.
    tried: usize,
    failure: CdnError,
    done: bool,
}

impl Cdn {
    /// A blob by its direct path, from the byte at offset `first` to the one at offset `last`, or to its end; no more than
    /// `limit` bytes of blob. Nothing is asked of the network yet.
    pub fn download(
        &self,
        hosts: &[String],
        direct_path: &str,
        first: u64,
        last: Option<u64>,
        limit: u64,
    ) -> Download {
        Download {
            cdn: self.clone(),
            hosts: hosts.to_vec(),
            path: direct_path.to_owned(),
            limit,
            next: first,
            last,
            total: None,
            answer: None,
            skip: 0,
            tried: 0,
            failure: CdnError::NoHosts,
            done: last.is_some_and(|last| last < first),
        }
    }
}

impl Download {
    /// Length of the whole blob, as far as the server told it. Known after the first piece at the latest, if at all.
    pub const fn total(&self) -> Option<u64> {
        self.total
    }

    /// The next piece; `None` after the last. An error is final.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, CdnError> {
        while !self.done {
            let mut answer = match self.answer.take() {
                Some(answer) => answer,
                None => self.open().await?,
            };
            match timeout(self.cdn.patience, answer.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    self.answer = Some(answer);
                    if let Some(wanted) = self.wanted(chunk)? {
                        return Ok(Some(wanted));
                    }
                }
                Ok(Ok(None)) => {
                    let end = self.total.map(|total| self.last.map_or(total, |last| total.min(last + 1)));
                    if end.is_none_or(|end| self.next >= end) {
                        self.done = true;
                    } else {
                        self.failure = CdnError::Broken("it ended early".into());
                    }
                }
                Ok(Err(broken)) => self.failure = broken.into(),
                Err(_) => self.failure = CdnError::Timeout,
            }
        }
        Ok(None)
    }

    /// Writes everything that is left. How many bytes.
    pub async fn save<W: AsyncWrite + Unpin + ?Sized>(&mut self, into: &mut W) -> Result<u64, CdnError> {
        let failed = |error: io::Error| CdnError::Write(error.kind());
        let mut size = 0;
        while let Some(chunk) = self.chunk().await? {
            into.write_all(&chunk).await.map_err(failed)?;
            size += chunk.len() as u64;
        }
        into.flush().await.map_err(failed)?;
        Ok(size)
    }

    /// The part of a piece that was asked for and not handed on before.
    fn wanted(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>, CdnError> {
        let known = self.skip.min(chunk.len() as u64);
        self.skip -= known;
        let mut fresh = chunk.split_off(usize::try_from(known).unwrap_or(chunk.len()));
        if let Some(last) = self.last {
            let left = (last - self.next).saturating_add(1);
            if fresh.len() as u64 >= left {
                fresh.truncate(usize::try_from(left).unwrap_or(fresh.len()));
                self.done = true;
            }
        }
        self.next = self.next.saturating_add(fresh.len() as u64);
        if self.next > self.limit {
            return Err(CdnError::TooLarge { limit: self.limit });
        }
        Ok(Some(fresh).filter(|fresh| !fresh.is_empty()))
    }

    /// An answer that goes on at [`Self::next`], from the first host that gives one.
    async fn open(&mut self) -> Result<Answer, CdnError> {
        let most = self.hosts.len().saturating_mul(ROUNDS as usize).max(4);
        loop {
            let Some(host) =
                self.hosts.get(self.tried % self.hosts.len().max(1)).filter(|_| self.tried < most)
            else {
                return Err(self.failure.clone());
            };
            if self.tried > 0 && self.tried.is_multiple_of(self.hosts.len()) {
                sleep(self.cdn.pause).await;
            }
            self.tried += 1;
            let asked = timeout(self.cdn.patience, self.ask(host)).await.unwrap_or(Err(CdnError::Timeout));
            match asked.and_then(|answer| self.fits(&answer).map(|()| answer)) {
                Ok(answer) => return Ok(answer),
                Err(error) if error.may_pass() => self.failure = error,
                Err(error) => return Err(error),
            }
        }
    }

    async fn ask(&self, host: &str) -> Result<Answer, CdnError> {
        let mut request = request(Method::GET, host, &self.path)?;
        if self.next > 0 || self.last.is_some() {
            let last = self.last.map(|last| last.to_string()).unwrap_or_default();
            request = request.header(header::RANGE, format!("bytes={}-{last}", self.next));
        }
        let request = request.body(Nothing).map_err(|_| CdnError::BadPath)?;
        let stream = self.cdn.connect(host).await?;
        Ok(http::exchange(stream, request).await?)
    }

    /// Whether an answer continues what was handed on.
    fn fits(&mut self, answer: &Answer) -> Result<(), CdnError> {
        let total = match answer.status() {
            200 => {
                self.skip = self.next;
                answer.length()
            }
            206 => {
                let range = answer.header("content-range").and_then(content_range);
                let (first, total) = range.ok_or(CdnError::BadAnswer("no Content-Range"))?;
                if first != self.next {
                    return Err(CdnError::BadAnswer("another range than asked for"));
                }
                self.skip = 0;
                total
            }
            status => return Err(CdnError::of_status(status)),
        };
        if total.is_some_and(|total| total > self.limit) {
            return Err(CdnError::TooLarge { limit: self.limit });
        }
        if let (Some(before), Some(total)) = (self.total, total)
            && before != total
        {
            return Err(CdnError::BadAnswer("another length than before"));
        }
        self.total = self.total.or(total);
        Ok(())
    }
}

/// First byte and whole length of `bytes 0-99/1234`; the length may be `*`.
fn content_range(header: &[u8]) -> Option<(u64, Option<u64>)> {
    let text = std::str::from_utf8(header).ok()?.trim().strip_prefix("bytes ")?;
    let (range, total) = text.split_once('/')?;
    let first = range.split_once('-')?.0.trim().parse().ok()?;
    match total.trim() {
        "*" => Some((first, None)),
        total => Some((first, Some(total.parse().ok()?))),
    }
}
