//! Tasks and lifetimes: one driver carries both lanes, everything else talks to it through a [`Handle`].

mod blobs;
mod connection;
mod driver;
mod history;
pub mod media;
mod passkey;
mod portrait;
mod preview;

use std::{path::PathBuf, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

pub use passkey::PasskeyFault;

use crate::{
    account::{
        Answer, Ask, AskError, Batched, Body, ChatState, CodeState, Command, Evidence, Link, Recipient,
        SendBatch, SendError, SendMessage, Sent, Settings, StateChange, Status,
    },
    net,
    stanza::MediaConn,
    store::{Error, Store},
    wire::noise::TrustRoot,
};

/// Requests that may wait for the driver; a caller beyond that waits to enqueue.
const WAITING: usize = 256;
/// A send that finds the link down waits this long for it (instance-api.md §7.1).
const RECONNECT_WAIT: Duration = Duration::from_secs(10);
/// WhatsApp's acknowledgement is waited for this long before the answer says "stored" (instance-api.md §7.1).
const ACK_WAIT: Duration = Duration::from_secs(5);

/// For the server to name its media hosts, and for the phone to upload a file again (whatsapp-rust waits as long).
const MEDIA_WAIT: Duration = Duration::from_secs(30);

/// For WhatsApp to take a pairing code: a connection, and one answer.
const CODE_WAIT: Duration = Duration::from_secs(15);

/// WhatsApp does not want to link this number by code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("WhatsApp refused to link by code ({code})")]
pub struct CodeRefused {
    /// 400, 403, 429, 452 …
    pub code: u16,
}

/// For a look at the account: a turn takes milliseconds, and on a slow disk a second.
const EVIDENCE_WAIT: Duration = Duration::from_secs(3);

/// A question is one query or a few in a row; the server answers each within a second, or not at all.
const ASK_WAIT: Duration = Duration::from_secs(60);

/// What the driver needs to know.
#[derive(Clone)]
pub struct Options {
    /// Of the account.
    pub account: Settings,
    /// How to reach the server.
    pub net: net::Options,
    /// Where history files lie while they are read; made when the first one comes.
    pub spool: PathBuf,
}

/// What the account can show of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// These received messages were read.
    Read {
        /// Their chat.
        chat: Recipient,
        /// Their ids.
        ids: Vec<String>,
    },
    /// Writing, recording, or neither.
    ChatState {
        /// To whom.
        chat: Recipient,
        /// What.
        state: ChatState,
        /// Then it ends by itself.
        lasting: Option<Duration>,
    },
    /// Online or not.
    Presence {
        /// Online.
        available: bool,
    },
}

/// One request to the driver.
struct Request {
    command: Command,
    answer: oneshot::Sender<Answer>,
    settled: oneshot::Sender<Result<(), u16>>,
}

/// How the API and the program talk to the account.
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    link: watch::Receiver<Link>,
}

/// Starts the driver. It ends when `stop` is cancelled, after the turn that it is in.
pub async fn start(
    store: Store,
    options: Options,
    stop: CancellationToken,
) -> Result<(Handle, JoinHandle<()>), Error> {
    let (requests, inbox) = mpsc::channel(WAITING);
    let (driver, link) = driver::Driver::load(store, options, inbox, requests.downgrade()).await?;
    let task = tokio::spawn(driver.run(stop));
    Ok((Handle { requests, link }, task))
}

impl Handle {
    /// The link as it is, and every change.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Starts linking or connecting; fine in every state.
    pub async fn connect(&self) {
        // The answer says only that it was taken; what follows shows in the link.
        drop(self.command(Command::Connect).await);
    }

    /// Starts linking by a code typed on the phone of this number (digits), and waits for the code; `None`: there is
    /// nothing to link, or WhatsApp takes its time and the code shows in the link later.
    pub async fn pair_by_code(&self, number: String) -> Result<Option<String>, CodeRefused> {
        if self.command(Command::PairByCode(number)).await.is_none() {
            return Ok(None);
        }
        let mut link = self.link.clone();
        let settled = link.wait_for(|link| link.paired || !matches!(link.code, CodeState::Asked));
        match timeout(CODE_WAIT, settled).await {
            Ok(Ok(link)) => match &link.code {
                CodeState::Refused(code) => Err(CodeRefused { code: *code }),
                code => Ok(code.text().map(str::to_owned)),
            },
            _ => Ok(None),
        }
    }

    /// Closes the socket; `logout` also unlinks and wipes. Returns once the link says so.
    pub async fn disconnect(&self, logout: bool) {
        if self.command(Command::Disconnect { logout }).await.is_some() {
            let mut link = self.link.clone();
            let gone = link.wait_for(|link| link.status == Status::Disconnected);
            drop(timeout(ACK_WAIT, gone).await);
        }
    }

    async fn command(&self, command: Command) -> Option<(Answer, oneshot::Receiver<Result<(), u16>>)> {
        let (answer, answered) = oneshot::channel();
        let (settled, settles) = oneshot::channel();
        self.requests.send(Request { command, answer, settled }).await.ok()?;
        Some((answered.await.ok()?, settles))
    }

    /// Shows something of the account, now or not at all.
    pub async fn show(&self, what: Shown) -> Result<(), SendError> {
        let command = match what {
            Shown::Read { chat, ids } => Command::MarkRead { chat, ids },
            Shown::ChatState { chat, state, lasting } => Command::ChatState { chat, state, lasting },
            Shown::Presence { available } => Command::Presence { available },
        };
        match self.command(command).await {
            Some((Answer::Done, _)) => Ok(()),
            Some((Answer::Refused(error), _)) => Err(error),
            _ => Err(SendError::Internal),
        }
    }

    /// Stores, sends, and waits as the contract says: for a reconnect before anything is stored, for WhatsApp's
    /// acknowledgement after.
    pub async fn send_message(&self, command: SendMessage) -> Result<Sent, SendError> {
        self.pass(SendMessage { dry: false, ..command }).await?.ok_or(SendError::Internal)
    }

    /// Stores many sends; they leave one after the other.
    pub async fn send_batch(&self, batch: SendBatch) -> Result<Batched, SendError> {
        match self.command(Command::SendBatch(Box::new(batch))).await {
            Some((Answer::Batch(outcome), _)) => outcome,
            _ => Err(SendError::Internal),
        }
    }

    /// Whether a number has an account: whether a send to it would be taken. What is learnt is kept.
    pub async fn exists(&self, digits: &str) -> Result<bool, SendError> {
        let question = SendMessage {
            recipient: Recipient::Number(digits.to_owned()),
            body: Body::Text(String::new()),
            reply_to: None,
            mentions: Vec::new(),
            idempotency: None,
            respond_async: false,
            send_at: None,
            dry: true,
        };
        match self.would_take(question).await {
            Ok(_) => Ok(true),
            Err(SendError::NotOnWhatsapp(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a send would be taken; the answer of an earlier one with the same key, if there was one.
    async fn would_take(&self, command: SendMessage) -> Result<Option<Sent>, SendError> {
        self.pass(SendMessage { dry: true, ..command }).await
    }

    async fn pass(&self, command: SendMessage) -> Result<Option<Sent>, SendError> {
        let deadline = Instant::now() + RECONNECT_WAIT;
        let mut link = self.link.clone();
        loop {
            link.mark_unchanged();
            let asked = self.command(Command::SendMessage(command.clone())).await;
            match asked {
                Some((Answer::Done, _)) if command.dry => return Ok(None),
                Some((Answer::Send(Err(error)) | Answer::Refused(error), _)) => return Err(error),
                Some((Answer::Send(Ok(sent)), settles)) => {
                    return Self::acknowledged(sent, settles).await.map(Some);
                }
                None
                | Some((
                    Answer::Done
                    | Answer::Passkey(_)
                    | Answer::MediaHosts(_)
                    | Answer::Reuploaded(_)
                    | Answer::Asked(_)
                    | Answer::Batch(_)
                    | Answer::PhoneAsked(_)
                    | Answer::Evidence(_),
                    _,
                )) => {
                    return Err(SendError::Internal);
                }
                Some((Answer::Later(status), _)) => {
                    // Any change is worth another try: connected, or no longer trying.
                    if !matches!(timeout_at(deadline, link.changed()).await, Ok(Ok(()))) {
                        return Err(SendError::NotConnected(status));
                    }
                }
            }
        }
    }

    /// Changes something of app state: stored at once, after a reconnect if need be; then WhatsApp's word is waited for
    /// as with a send.
    pub async fn change(&self, change: StateChange) -> Result<(), SendError> {
        let deadline = Instant::now() + RECONNECT_WAIT;
        let mut link = self.link.clone();
        loop {
            link.mark_unchanged();
            match self.command(Command::Change(change.clone())).await {
                Some((Answer::Done, settles)) => {
                    return match timeout(ACK_WAIT, settles).await {
                        Ok(Ok(Err(code))) => {
                            Err(SendError::Refused { code, message_id: String::new(), replayed: false })
                        }
                        _ => Ok(()),
                    };
                }
                Some((Answer::Refused(error), _)) => return Err(error),
                Some((Answer::Later(status), _)) => {
                    if !matches!(timeout_at(deadline, link.changed()).await, Ok(Ok(()))) {
                        return Err(SendError::NotConnected(status));
                    }
                }
                _ => return Err(SendError::Internal),
            }
        }
    }

    /// Asks the server. Nothing of it is kept: what the connection takes along is not done.
    pub async fn ask<A: Ask>(&self, question: A) -> Result<A::Told, AskError> {
        match timeout(ASK_WAIT, self.command(Command::Ask(question.into()))).await {
            Ok(Some((Answer::Asked(answer), _))) => A::told(answer?).ok_or(AskError::Internal),
            _ => Err(AskError::Internal),
        }
    }

    /// Asks the phone for older messages of a chat; the question's id. What comes of it is an event.
    pub async fn history(&self, chat: Recipient, count: u32) -> Result<String, SendError> {
        match self.command(Command::History { chat, count }).await {
            Some((Answer::PhoneAsked(id), _)) => Ok(id),
            Some((Answer::Refused(error), _)) => Err(error),
            _ => Err(SendError::Internal),
        }
    }

    /// How the link does; `None`: the account does not answer, which it does within a turn if it can do anything.
    pub async fn evidence(&self) -> Option<Evidence> {
        match timeout(EVIDENCE_WAIT, self.command(Command::Evidence)).await {
            Ok(Some((Answer::Evidence(evidence), _))) => Some(*evidence),
            _ => None,
        }
    }

    /// Where media go.
    async fn media_hosts(&self, refresh: bool) -> Result<MediaConn, SendError> {
        match timeout(MEDIA_WAIT, self.command(Command::MediaHosts { refresh })).await {
            Ok(Some((Answer::MediaHosts(hosts), _))) => Ok(hosts),
            Ok(Some((Answer::Refused(error), _))) => Err(error),
            _ => Err(SendError::Internal),
        }
    }

    /// The new place of a file that the phone uploaded again.
    async fn reupload(&self, message: i64) -> Option<String> {
        match timeout(MEDIA_WAIT, self.command(Command::Reupload { message })).await {
            Ok(Some((Answer::Reuploaded(path), _))) => path,
            _ => None,
        }
    }

    async fn acknowledged(
        sent: Sent,
        settles: oneshot::Receiver<Result<(), u16>>,
    ) -> Result<Sent, SendError> {
        if sent.queued {
            return Ok(sent);
        }
        match timeout(ACK_WAIT, settles).await {
            Ok(Ok(Err(code))) => {
                Err(SendError::Refused { code, message_id: sent.message_id, replayed: sent.replayed })
            }
            // Acknowledged, or still under way: it is stored, and will be sent once.
            _ => Ok(sent),
        }
    }
}

impl Options {
    fn root(&self) -> TrustRoot {
        TrustRoot(self.account.server_root)
    }
}
