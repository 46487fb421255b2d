//! The threads behind a store: the writer with its group commit, and the reader.
//! A request is queued, run, and answered; a write is answered only after its commit.

use std::{
    cell::Cell,
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle, ThreadId},
};

use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Error, Shared, Store, Tx, WAITING, unsql};

/// Works in one commit at most. Higher saves few more fsyncs; lower answers the first of a burst sooner.
const BATCH: usize = 128;
/// Closures of the families run on these stacks; pages of it that nobody touches cost nothing.
const STACK: usize = 1024 * 1024;

pub(super) enum Request {
    Write(Box<dyn Work>),
    Read(Box<dyn Work>),
    Stop,
}

/// A queued closure, without its types.
pub(super) trait Work: Send {
    /// Runs it; true if what it wrote is to be kept.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// What it wrote is durable, and nobody has heard of it yet.
    fn committed(&mut self);
    /// Tells the caller: its own result, or the error that overrules it.
    fn answer(self: Box<Self>, overruled: Option<Error>);
}

pub(super) struct Call<F, A, T, E> {
    work: Option<F>,
    after: Option<A>,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, A, T, E> Call<F, A, T, E> {
    pub(super) fn new(work: F, after: A, reply: oneshot::Sender<Result<T, E>>) -> Self {
        Self { work: Some(work), after: Some(after), outcome: None, reply }
    }
}

impl<F, A, T, E> Work for Call<F, A, T, E>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send,
    A: FnOnce(&T) + Send,
    T: Send,
    E: From<Error> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        self.outcome = self.work.take().map(|work| work(tx));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn committed(&mut self) {
        if let (Some(after), Some(Ok(outcome))) = (self.after.take(), &self.outcome) {
            after(outcome);
        }
    }

    fn answer(self: Box<Self>, overruled: Option<Error>) {
        let outcome = match (overruled, self.outcome) {
            (Some(error), _) => Err(error.into()),
            (None, Some(outcome)) => outcome,
            (None, None) => Err(Error::Closed.into()),
        };
        // The caller may have gone; the work stands all the same.
        let _ = self.reply.send(outcome);
    }
}

/// Ends with its owner: joined on drop, so that a process which drops its store has everything on disk.
pub(super) struct Threads {
    ended: watch::Receiver<()>,
    writer: Option<JoinHandle<()>>,
    ids: Vec<ThreadId>,
}

impl Threads {
    /// `changed()` fails once all threads have closed their connections and given up the lock.
    pub(super) fn ended(&self) -> watch::Receiver<()> {
        self.ended.clone()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // A work may have held the last handle: a thread cannot wait for itself, nor the reader for the writer,
        // which waits for it.
        if self.ids.contains(&thread::current().id()) {
            return;
        }
        if let Some(writer) = self.writer.take() {
            // A panic of the thread has been printed; there is nobody left to tell.
            let _ = writer.join();
        }
    }
}

/// Starts the threads over open connections. `lock` is given up when they have ended.
pub(super) fn start(
    writer: Connection,
    reader: Option<Connection>,
    lock: Option<File>,
) -> Result<Store, Error> {
    let spawn = |name: &str| thread::Builder::new().name(name.into()).stack_size(STACK);
    let failed = |e: std::io::Error| Error::Sqlite(format!("cannot start a thread: {e}"));
    let (ended_tx, ended) = watch::channel(());
    let (write, write_rx) = mpsc::channel(WAITING);
    let (newest_tx, newest) = watch::channel(newest_event(&writer)?);
    let (hooks_tx, hooks) = watch::channel(0);
    let commits = Arc::new(AtomicU64::new(0));
    let mut ids = Vec::new();

    let (read, reader) = match reader {
        None => (write.clone(), None),
        Some(conn) => {
            let (read, read_rx) = mpsc::channel(WAITING);
            let handle = spawn("store-reader").spawn(move || Reader { conn }.run(read_rx)).map_err(failed)?;
            ids.push(handle.thread().id());
            (read, Some(handle))
        }
    };
    let thread = Writer { conn: writer, newest: newest_tx, hooks: hooks_tx, commits: commits.clone() };
    let handle = spawn("store-writer")
        .spawn(move || {
            let conn = thread.run(write_rx);
            if let Some(reader) = reader {
                // The log can be folded in whole only when nobody reads any more.
                let _ = reader.join();
            }
            fold(conn);
            drop(lock);
            drop(ended_tx);
        })
        .map_err(failed)?;
    ids.push(handle.thread().id());
    let threads = Threads { ended, writer: Some(handle), ids };
    Ok(Store { shared: Arc::new(Shared { write, read, newest, hooks, commits, threads }) })
}

/// Folds the write-ahead log into the database file and closes it.
fn fold(conn: Connection) {
    // Beside another process it may be busy: the log then stays and is folded in later; nothing is lost.
    let _ = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    if let Err((_, error)) = conn.close() {
        tracing::warn!(%error, "the database did not close cleanly");
    }
}

fn newest_event(conn: &Connection) -> Result<u64, Error> {
    // Kept by AUTOINCREMENT, in the same transaction as the rows: rolls back with them, and survives their removal.
    let mut statement = conn.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'event'")?;
    Ok(unsql(statement.query_row([], |row| row.get(0)).optional()?.unwrap_or_default()))
}

struct Writer {
    conn: Connection,
    newest: watch::Sender<u64>,
    hooks: watch::Sender<u64>,
    commits: Arc<AtomicU64>,
}

impl Writer {
    fn run(self, mut queue: mpsc::Receiver<Request>) -> Connection {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(first) = queue.blocking_recv() {
            let mut next = Some(first);
            while let Some(request) = next {
                match request {
                    Request::Stop => queue.close(),
                    Request::Write(work) => batch.push((work, true)),
                    Request::Read(work) => batch.push((work, false)),
                }
                next = if batch.len() < BATCH { queue.try_recv().ok() } else { None };
            }
            if !batch.is_empty() {
                self.commit(&mut batch);
            }
        }
        self.conn
    }

    /// Runs the works in one transaction, commits it, and answers them.
    fn commit(&self, batch: &mut Vec<(Box<dyn Work>, bool)>) {
        let hooks_changed = Cell::new(false);
        let mut ran: Vec<(Box<dyn Work>, Option<Error>)> = Vec::with_capacity(batch.len());
        let mut open = self.begin();
        for (mut work, keep) in batch.drain(..) {
            if let Err(error) = &open {
                work.answer(Some(error.clone()));
                continue;
            }
            let mut tx = Tx { conn: &self.conn, hooks_changed: &hooks_changed };
            let overruled = self.savepoint(work.as_mut(), &mut tx, keep).err();
            ran.push((work, overruled));
            if self.conn.is_autocommit() {
                // SQLite gave the whole transaction up (disk full, input or output error): so far nothing is stored.
                for (work, overruled) in ran.drain(..) {
                    let lost = || Error::Sqlite("the transaction was given up".into());
                    work.answer(Some(overruled.unwrap_or_else(lost)));
                }
                open = self.begin();
            }
        }
        if open.is_err() {
            return;
        }
        let newest = newest_event(&self.conn);
        match self.conn.execute_batch("COMMIT").map_err(Error::from) {
            Ok(()) => {
                self.commits.fetch_add(1, Ordering::Relaxed);
                for (work, overruled) in &mut ran {
                    if overruled.is_none() {
                        work.committed();
                    }
                }
                if let Ok(newest) = newest {
                    self.newest.send_if_modified(|old| std::mem::replace(old, newest) != newest);
                }
                if hooks_changed.get() {
                    self.hooks.send_modify(|count| *count += 1);
                }
                for (work, overruled) in ran {
                    work.answer(overruled);
                }
            }
            Err(error) => {
                if !self.conn.is_autocommit() {
                    // If even this fails, the next BEGIN says so to everybody.
                    let _ = self.conn.execute_batch("ROLLBACK");
                }
                for (work, overruled) in ran {
                    work.answer(Some(overruled.unwrap_or_else(|| error.clone())));
                }
            }
        }
    }

    fn begin(&self) -> Result<(), Error> {
        // IMMEDIATE: waiting for another process happens here, not in the middle of a work.
        Ok(self.conn.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Runs one work in a savepoint, kept if the work says so and does not panic.
    fn savepoint(&self, work: &mut dyn Work, tx: &mut Tx<'_>, keep: bool) -> Result<(), Error> {
        self.cached("SAVEPOINT work")?;
        // What a panic may leave half-done is the transaction, and that is rolled back.
        let outcome = catch_unwind(AssertUnwindSafe(|| work.run(tx)));
        if self.conn.is_autocommit() {
            return Err(Error::Sqlite("the transaction was given up".into()));
        }
        let undo = !(keep && matches!(outcome, Ok(true)));
        let undone = if undo { self.cached("ROLLBACK TO work") } else { Ok(()) };
        if let Err(error) = undone.and_then(|()| self.cached("RELEASE work")) {
            // What this work wrote can no longer be told from the others': nothing of the batch may stay.
            self.conn.execute_batch("ROLLBACK")?;
            return Err(error);
        }
        outcome.map(|_| ()).map_err(|_| Error::Panicked)
    }

    fn cached(&self, sql: &str) -> Result<(), Error> {
        self.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

struct Reader {
    conn: Connection,
}

impl Reader {
    fn run(self, mut queue: mpsc::Receiver<Request>) {
        while let Some(request) = queue.blocking_recv() {
            match request {
                Request::Stop => queue.close(),
                Request::Read(mut work) | Request::Write(mut work) => {
                    let overruled = self.transaction(work.as_mut()).err();
                    work.answer(overruled);
                }
            }
        }
    }

    /// One snapshot for the whole work.
    fn transaction(&self, work: &mut dyn Work) -> Result<(), Error> {
        self.conn.execute_batch("BEGIN")?;
        let hooks_changed = Cell::new(false);
        let mut tx = Tx { conn: &self.conn, hooks_changed: &hooks_changed };
        let outcome = catch_unwind(AssertUnwindSafe(|| work.run(&mut tx)));
        if !self.conn.is_autocommit() {
            self.conn.execute_batch("ROLLBACK")?;
        }
        outcome.map(|_| ()).map_err(|_| Error::Panicked)
    }
}
