//! The one task that owns the account: it collects what came in, runs it as one turn on the writer thread, and then,
//! after the commit, does what the turn decided.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::{SeedableRng as _, rngs::StdRng};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    Handle, Options, Request, blobs,
    connection::{Connection, Happened},
    history::{self, Parts},
};
use crate::{
    account::{self, Account, Answer, Effect, Input, Link, SendError, Ticket, Turn},
    clock::Millis,
    net::media::Cdn,
    store::{Error, Store, Tx},
};

/// Inputs of one turn at most: bounds the time a commit takes and the work that a failed one repeats.
const BATCH: usize = 64;
/// Blobs that may wait to be looked at; there are five collections, each asks for one at a time.
const BLOBS: usize = 5;
/// After a failed commit the storage gets this pause before the next try.
const STORAGE_PAUSE: Duration = Duration::from_secs(1);

/// What the turns work on; shared with the writer thread for the time of a turn.
struct Core {
    /// `None` after a turn that failed: what it left in memory is not to be trusted.
    account: Option<Account>,
    rng: StdRng,
}

/// Somebody who waits.
struct Caller {
    answer: Option<oneshot::Sender<Answer>>,
    settled: Option<oneshot::Sender<Result<(), u16>>>,
}

pub(super) struct Driver {
    store: Store,
    options: Options,
    core: Arc<Mutex<Core>>,
    inbox: mpsc::Receiver<Request>,
    connection: Option<Connection>,
    /// Tells what an earlier connection still reports from what the present one does.
    generation: u64,
    callers: HashMap<Ticket, Caller>,
    next_ticket: Ticket,
    link: Arc<watch::Sender<Link>>,
    cdn: Cdn,
    /// For tasks of ours that ask like any other caller; alone it keeps nobody alive.
    requests: mpsc::WeakSender<Request>,
    /// Blobs that were asked for, and who brings them.
    fetched: mpsc::Receiver<(u64, Option<Vec<u8>>)>,
    fetching: mpsc::Sender<(u64, Option<Vec<u8>>)>,
    /// The history file that is being read.
    history: Option<Parts>,
    /// When the account wants to be woken.
    deadline: Option<Millis>,
}

impl Driver {
    pub(super) async fn load(
        store: Store,
        options: Options,
        inbox: mpsc::Receiver<Request>,
        requests: mpsc::WeakSender<Request>,
    ) -> Result<(Self, watch::Receiver<Link>), Error> {
        let mut seed = [0; 32];
        rand::fill(&mut seed);
        let core = Arc::new(Mutex::new(Core { account: None, rng: StdRng::from_seed(seed) }));
        history::clean(&options.spool);
        let settings = options.account.clone();
        let shared = core.clone();
        let link = store
            .write(move |tx: &mut Tx<'_>| {
                let mut core = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let Core { account, rng } = &mut *core;
                let mut turn = Turn { tx, now: Millis::now(), rng, effects: Vec::new() };
                let loaded =
                    Account::load(settings, &mut turn).map_err(|account::Error::Store(error)| error)?;
                let link = loaded.link().clone();
                *account = Some(loaded);
                Ok::<_, Error>(link)
            })
            .await?;
        let (link, watcher) = watch::channel(link);
        let link = Arc::new(link);
        let (fetching, fetched) = mpsc::channel(BLOBS);
        let cdn = Cdn::new(options.net.proxy.clone(), options.net.extra_roots.as_deref());
        let driver = Self {
            cdn,
            requests,
            fetched,
            fetching,
            history: None,
            store,
            options,
            core,
            inbox,
            connection: None,
            generation: 0,
            callers: HashMap::new(),
            next_ticket: 0,
            link,
            deadline: None,
        };
        Ok((driver, watcher))
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        self.turn(vec![Input::Started]).await;
        while !stop.is_cancelled() {
            let first = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                request = self.inbox.recv() => match request {
                    Some(request) => self.admit(request),
                    None => break,
                },
                happened = Self::happens(&mut self.connection) => happened,
                Some((id, content)) = self.fetched.recv() => Input::Fetched(id, content),
                () = Self::due(self.deadline) => Input::Tick,
                // The last: what happens now goes before what has been.
                part = Self::past(&mut self.history) => part,
            };
            let mut inputs = vec![first];
            self.gather(&mut inputs);
            self.turn(inputs).await;
        }
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
    }

    /// Whatever else waits already shares the commit.
    fn gather(&mut self, inputs: &mut Vec<Input>) {
        while inputs.len() < BATCH {
            if let Some(happened) = self.connection.as_mut().and_then(Connection::try_next) {
                inputs.push(Self::input(happened));
            } else if let Ok(request) = self.inbox.try_recv() {
                let input = self.admit(request);
                inputs.push(input);
            } else {
                break;
            }
        }
    }

    async fn happens(connection: &mut Option<Connection>) -> Input {
        match connection {
            Some(connection) => Self::input(connection.next().await),
            None => std::future::pending().await,
        }
    }

    /// The next slice of history. A reader that ended without a word has not read to the end.
    async fn past(history: &mut Option<Parts>) -> Input {
        let part = match history {
            Some(parts) => parts.recv().await,
            None => std::future::pending().await,
        };
        match part {
            Some((id, part)) => Input::History(id, part),
            None => {
                *history = None;
                std::future::pending().await
            }
        }
    }

    fn input(happened: Happened) -> Input {
        match happened {
            Happened::Opened => Input::Opened,
            Happened::Node(node) => Input::Node(node),
            Happened::Closed(cause) => Input::Closed(cause),
        }
    }

    async fn due(deadline: Option<Millis>) {
        match deadline {
            Some(at) => sleep(at.since(Millis::now())).await,
            None => std::future::pending().await,
        }
    }

    fn admit(&mut self, request: Request) -> Input {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let caller = Caller { answer: Some(request.answer), settled: Some(request.settled) };
        self.callers.insert(ticket, caller);
        Input::Command(ticket, request.command)
    }

    /// One turn: decide in a transaction, commit, then act.
    async fn turn(&mut self, inputs: Vec<Input>) {
        let core = self.core.clone();
        let publish = publisher(&self.link);
        let work = move |tx: &mut Tx<'_>| {
            let mut core = core.lock().unwrap_or_else(PoisonError::into_inner);
            let Core { account: slot, rng } = &mut *core;
            // Taken out for the time of the turn: an error or a panic leaves nothing half-done behind.
            let Some(mut account) = slot.take() else { return Err(account::Error::from(Error::Closed)) };
            let mut turn = Turn { tx, now: Millis::now(), rng, effects: Vec::new() };
            for input in inputs {
                account.handle(input, &mut turn)?;
            }
            account.settle(&mut turn)?;
            let deadline = account.deadline();
            let effects = mem::take(&mut turn.effects);
            *slot = Some(account);
            Ok((effects, deadline))
        };
        let decided = self.store.write_then(work, publish).await;
        match decided {
            Ok((effects, deadline)) => {
                self.deadline = deadline;
                self.act(effects);
            }
            Err(account::Error::Store(error)) => {
                tracing::error!(%error, "a turn could not be committed: connecting anew");
                self.recover().await;
            }
        }
    }

    /// Nothing of the failed turn was answered, so the server sends it again; memory is rebuilt from the database.
    async fn recover(&mut self) {
        self.connection = None;
        // Decided, but not committed: it must not be mistaken for the state of the next turn.
        self.core.lock().unwrap_or_else(PoisonError::into_inner).account = None;
        for caller in mem::take(&mut self.callers).into_values() {
            if let Some(answer) = caller.answer {
                drop(answer.send(Answer::Send(Err(SendError::Internal))));
            }
        }
        sleep(STORAGE_PAUSE).await;
        let settings = self.options.account.clone();
        let before = self.link.borrow().clone();
        let core = self.core.clone();
        let publish = publisher(&self.link);
        let work = move |tx: &mut Tx<'_>| {
            let mut core = core.lock().unwrap_or_else(PoisonError::into_inner);
            let Core { account: slot, rng } = &mut *core;
            let mut turn = Turn { tx, now: Millis::now(), rng, effects: Vec::new() };
            let mut account = Account::load(settings, &mut turn)?;
            account.resume(before, &mut turn)?;
            let deadline = account.deadline();
            let effects = mem::take(&mut turn.effects);
            *slot = Some(account);
            Ok::<_, account::Error>((effects, deadline))
        };
        let resumed = self.store.write_then(work, publish).await;
        match resumed {
            Ok((effects, deadline)) => {
                self.deadline = deadline;
                self.act(effects);
            }
            // Storage is still out of order; the next tick tries again.
            Err(error) => {
                tracing::error!(%error, "storage does not recover");
                self.core.lock().unwrap_or_else(PoisonError::into_inner).account = None;
                self.deadline = Some(Millis::now() + STORAGE_PAUSE);
            }
        }
    }

    /// After the commit, in order.
    fn act(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Open(dial) => {
                    self.generation += 1;
                    self.connection = Some(Connection::open(dial, &self.options, self.generation));
                }
                Effect::Close => {
                    // In the background: what waits is still written, and nobody waits for the goodbye.
                    if let Some(connection) = self.connection.take() {
                        tokio::spawn(connection.close());
                    }
                }
                Effect::Send(stanza) => {
                    if let Some(connection) = &mut self.connection {
                        connection.send(stanza);
                    }
                }
                Effect::Answer(ticket, answer) => self.answer(ticket, answer),
                Effect::Settled(ticket, outcome) => {
                    if let Some(settled) = self.callers.get_mut(&ticket).and_then(|c| c.settled.take()) {
                        // Nobody waits any more where it fails.
                        let _ = settled.send(outcome);
                    }
                    self.forget_if_done(ticket);
                }
                Effect::Fetch(blob) => {
                    if let Some(requests) = self.requests.upgrade() {
                        let handle = Handle { requests, link: self.link.subscribe() };
                        blobs::fetch(handle, self.cdn.clone(), blob, self.fetching.clone());
                    }
                }
                Effect::History(job) => {
                    if let Some(requests) = self.requests.upgrade() {
                        let handle = Handle { requests, link: self.link.subscribe() };
                        let folder = self.options.spool.clone();
                        self.history = Some(history::read(handle, self.cdn.clone(), folder, job));
                    }
                }
                // Shown since the commit.
                Effect::Link(_) => {}
            }
        }
        self.callers.retain(|_, caller| {
            caller.answer.is_some() || caller.settled.as_ref().is_some_and(|settled| !settled.is_closed())
        });
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        if let Some(waiting) = self.callers.get_mut(&ticket).and_then(|caller| caller.answer.take()) {
            drop(waiting.send(answer));
        }
        self.forget_if_done(ticket);
    }

    fn forget_if_done(&mut self, ticket: Ticket) {
        if self.callers.get(&ticket).is_some_and(|c| c.answer.is_none() && c.settled.is_none()) {
            self.callers.remove(&ticket);
        }
    }
}

/// Shows where the link stands as soon as that is stored, and before a webhook tells of it: whoever hears `connected`
/// and asks for the status, or sends, must not find less.
fn publisher(shown: &Arc<watch::Sender<Link>>) -> impl FnOnce(&(Vec<Effect>, Option<Millis>)) + Send + use<> {
    let shown = shown.clone();
    move |(effects, _)| {
        for effect in effects {
            if let Effect::Link(link) = effect {
                shown.send_if_modified(|shown| {
                    let news = shown != link;
                    shown.clone_from(link);
                    news
                });
            }
        }
    }
}
