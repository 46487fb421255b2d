//! History from the phone: what it announces is noted before it is acknowledged, read one file after the other and slice
//! by slice beside everything else, and goes on after a crash where it stood. Older messages are asked for on request.

mod keep;
mod read;

use std::time::Duration;

use prost::Message as _;
use serde_json::{Value, json};

use super::{
    Answer, Blob, Error, Recipient, SendError, Ticket,
    dispatch::{Account, Effect, Turn},
};
use crate::{
    clock::Millis,
    crypto::media::MediaKind,
    proto::message::{
        HistorySyncNotification, PeerDataOperationRequestMessage, ProtocolMessage,
        peer_data_operation_request_message::HistorySyncOnDemandRequest,
    },
    stanza::{
        Receipt, ReceiptKind,
        history::{
            FULL, INITIAL_BOOTSTRAP, INITIAL_STATUS, MESSAGE_ACCESS_STATUS, NO_HISTORY, ON_DEMAND, PUSH_NAME,
            RECENT,
        },
    },
    store::{
        events::NewEvent,
        history::{Announced, Work},
    },
    wire::Jid,
};

use keep::Kept;
pub use read::{HistoryFault, HistoryItem, HistoryReader, fuzz_history};

/// `ProtocolMessage.Type` PEER_DATA_OPERATION_REQUEST_MESSAGE, and `PeerDataOperationRequestType` HISTORY_SYNC_ON_DEMAND.
const DATA_OPERATION: i32 = 16;
const HISTORY_ON_DEMAND: i32 = 3;
/// Largest compressed file that is taken; real ones have some megabytes.
const LARGEST: u64 = 128 << 20;
/// A file that cannot be had is tried so often, after pauses of 5 s, 10 s, 20 s … while there is a connection.
const MAX_ATTEMPTS: u32 = 8;
const FIRST_PAUSE: u64 = 5;
const LONGEST_PAUSE: u64 = 600;
/// The phone has this long to answer a question; one that is switched off does not.
const ASK_WAIT: Duration = Duration::from_secs(60);
/// Questions that may wait for an answer at a time.
const MAX_ASKED: usize = 20;

/// How much history is asked for when linking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HistoryWanted {
    /// None: names are taken, chats and messages are not.
    Off,
    /// What phones send every new companion.
    #[default]
    Recent,
    /// Everything the phone gives.
    Full,
}

/// A history file that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryJob {
    /// Names it in [`super::Input::History`].
    pub id: u64,
    /// Where its bytes are.
    pub source: HistorySource,
    /// Pieces of it that are known already.
    pub skip: u64,
}

/// Where the compressed bytes of history are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistorySource {
    /// Here.
    Inline(Vec<u8>),
    /// On the media servers.
    Blob(Blob),
}

/// What came of a [`HistoryJob`] next.
#[derive(Debug)]
pub enum HistoryPart {
    /// Some pieces, in order.
    Items(Vec<HistoryItem>),
    /// There is no more.
    End(Result<(), HistoryFault>),
}

/// What this process knows of history beside the tables.
#[derive(Default)]
pub(super) struct Reading {
    /// Id and row of the file that is being read.
    job: Option<(u64, i64)>,
    /// When the next file may be begun.
    next: Option<Millis>,
    /// When the phone's time to answer is over.
    patience: Option<Millis>,
}

impl Reading {
    pub(super) fn load(turn: &Turn<'_>) -> Result<Self, Error> {
        let history = turn.tx.history();
        history.pull_in(turn.now + Duration::from_secs(LONGEST_PAUSE))?;
        let patience = history.unanswered(None)?.first().map(|asked| asked.at + ASK_WAIT);
        Ok(Self { job: None, next: history.next_at()?, patience })
    }

    /// The clock was set back: nothing is further off than the longest pause.
    pub(super) fn pull_in(&mut self, turn: &Turn<'_>) -> Result<(), Error> {
        turn.tx.history().pull_in(turn.now + Duration::from_secs(LONGEST_PAUSE))?;
        self.next = turn.tx.history().next_at()?;
        Ok(())
    }

    /// When something is due; files only where there is a connection.
    pub(super) fn deadline(&self, connected: bool) -> Option<Millis> {
        let file = self.next.filter(|_| connected && self.job.is_none());
        [file, self.patience].into_iter().flatten().min()
    }
}

/// A type of history as events name it.
fn word(sync_type: i32) -> &'static str {
    match sync_type {
        INITIAL_BOOTSTRAP => "initial",
        INITIAL_STATUS => "statuses",
        FULL => "full",
        RECENT => "recent",
        PUSH_NAME => "names",
        ON_DEMAND => "on_demand",
        _ => "other",
    }
}

impl Account {
    /// The phone announced history: noted, and then acknowledged.
    pub(super) fn history_announced(
        &mut self,
        wa_id: &str,
        sender: &Jid,
        notification: &HistorySyncNotification,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        if sender.device() != 0 {
            tracing::warn!("history from a device that is not the phone");
            return Ok(());
        }
        let request = notification.peer_data_request_session_id.as_deref().filter(|id| !id.is_empty());
        let announced = Announced {
            wa_id,
            notification: &notification.encode_to_vec(),
            sync_type: notification.sync_type.unwrap_or_default(),
            chunk: notification.chunk_order.unwrap_or_default(),
            progress: notification.progress.map(|percent| percent.min(100)),
            request,
        };
        if turn.tx.history().announce(&announced, turn.now)? {
            self.reading.next = Some(turn.now);
        }
        if let Some(request) = request
            && turn.tx.history().question(request)?.is_some()
        {
            // It has answered; how long the answer takes to be read is our affair.
            turn.tx.history().settle(request, true)?;
            self.reading.patience = Reading::load(turn)?.patience;
        }
        if let Some(own) = self.own_pn() {
            turn.send(&Receipt::new(wa_id.to_owned(), own, ReceiptKind::HistSync).build_to());
        }
        Ok(())
    }

    /// Begins the next file, and gives up waiting for a phone that does not answer.
    pub(super) fn pump_history(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        if self.reading.patience.is_some_and(|at| at <= turn.now) {
            self.give_up_asking(turn)?;
        }
        let due = self.reading.next.is_some_and(|at| at <= turn.now);
        if self.reading.job.is_some() || !due || !self.can_send() {
            return Ok(());
        }
        while let Some(work) = turn.tx.history().next(turn.now)? {
            match self.source_of(&work) {
                Ok(Some(source)) => {
                    let job = HistoryJob { id: turn.rng.next_u64(), source, skip: work.taken };
                    self.reading.job = Some((job.id, work.seq));
                    turn.effects.push(Effect::History(job));
                    return Ok(());
                }
                Ok(None) => turn.tx.history().finish(work.seq, None)?,
                Err(why) => self.history_failed(&work, why, turn)?,
            }
        }
        self.reading.next = turn.tx.history().next_at()?;
        Ok(())
    }

    /// Where the bytes are; `None`: they are not wanted.
    fn source_of(&self, work: &Work) -> Result<Option<HistorySource>, &'static str> {
        let notification = HistorySyncNotification::decode(&*work.notification);
        let notification = notification.map_err(|_| "an announcement that cannot be read")?;
        if let Some(inline) = notification.initial_hist_bootstrap_inline_payload {
            return Ok(Some(HistorySource::Inline(inline)));
        }
        let chats = matches!(work.sync_type, INITIAL_BOOTSTRAP | INITIAL_STATUS | FULL | RECENT);
        if self.settings.history == HistoryWanted::Off && chats {
            return Ok(None);
        }
        let path = notification.direct_path.filter(|path| !path.is_empty());
        let (Some(direct_path), Some(key)) = (path, notification.media_key) else {
            // That is all they say.
            let says_all = matches!(work.sync_type, NO_HISTORY | MESSAGE_ACCESS_STATUS);
            return if says_all { Ok(None) } else { Err("an announcement without a file") };
        };
        let announced = notification.file_length.filter(|length| *length > 0);
        if announced.is_some_and(|length| length > LARGEST) {
            return Err("larger than is taken");
        }
        Ok(Some(HistorySource::Blob(Blob {
            id: 0,
            kind: MediaKind::History,
            direct_path,
            media_key: key.try_into().map_err(|_| "an announcement with a key of the wrong length")?,
            file_sha256: notification.file_sha256,
            file_enc_sha256: notification.file_enc_sha256,
            limit: announced.unwrap_or(LARGEST),
        })))
    }

    /// Something came of the file that is being read.
    pub(super) fn history_part(
        &mut self,
        id: u64,
        part: HistoryPart,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        // Of a reading that a failed turn has ended.
        let Some((_, seq)) = self.reading.job.filter(|(job, _)| *job == id) else { return Ok(()) };
        let Some(work) = turn.tx.history().by_seq(seq)? else {
            self.reading.job = None;
            return Ok(());
        };
        match part {
            HistoryPart::Items(items) => {
                let pieces = items.len() as u64;
                let whole = self.settings.history != HistoryWanted::Off || work.sync_type == ON_DEMAND;
                let Kept { chats, messages } = self.keep_history(items, whole, turn)?;
                return Ok(turn.tx.history().took(seq, pieces, chats, messages)?);
            }
            HistoryPart::End(Ok(())) => {
                turn.tx.history().finish(seq, None)?;
                self.report_history(&work, None, turn)?;
            }
            HistoryPart::End(Err(HistoryFault::Unavailable)) if work.attempts + 1 < MAX_ATTEMPTS => {
                let pause = (FIRST_PAUSE << work.attempts.min(10)).min(LONGEST_PAUSE);
                let counts = self.can_send();
                turn.tx.history().put_off(seq, turn.now + Duration::from_secs(pause), counts)?;
            }
            HistoryPart::End(Err(fault)) => self.history_failed(&work, &fault.to_string(), turn)?,
        }
        self.reading.job = None;
        self.reading.next = turn.tx.history().next_at()?;
        Ok(())
    }

    fn history_failed(&self, work: &Work, why: &str, turn: &mut Turn<'_>) -> Result<(), Error> {
        tracing::warn!(kind = word(work.sync_type), chunk = work.chunk, why, "a part of the history is lost");
        turn.tx.history().finish(work.seq, Some(why))?;
        self.report_history(work, Some(why), turn)
    }

    /// `history.progress`: a part of the history is in the tables, or will not be.
    fn report_history(&self, work: &Work, error: Option<&str>, turn: &mut Turn<'_>) -> Result<(), Error> {
        let request = match &work.request {
            Some(id) => turn.tx.history().question(id)?,
            None => None,
        };
        let over = request.is_some() || matches!(work.sync_type, FULL | RECENT) && work.progress == Some(100);
        let data = json!({
            "kind": word(work.sync_type),
            "state": if error.is_some() { "failed" } else if over { "done" } else { "running" },
            "chunk": work.chunk,
            "progress": work.progress,
            "chats": work.chats,
            "messages": work.messages,
            "error": error,
        });
        self.tell_history(data, request.as_ref().map(|request| (&*request.id, request.chat)), turn)
    }

    fn tell_history(
        &self,
        mut data: Value,
        request: Option<(&str, i64)>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let mut lane = None;
        if let (Some((id, chat)), Some(members)) = (request, data.as_object_mut())
            && let Some(chat) = turn.tx.messages().chat_by_id(chat)?
        {
            members.insert("request_id".into(), id.into());
            members.insert("jid".into(), chat.jid.to_wire().into());
            members.insert("conversation_id".into(), chat.id.into());
            members.insert("more".into(), turn.tx.history().coverage(chat.id)?.more.into());
            lane = Some(chat.jid.to_wire());
        }
        let event = NewEvent { kind: "history.progress", lane, data: data.to_string(), platform: None };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// Asks the phone for messages of a chat that are older than the oldest one known.
    pub(super) fn ask_history(
        &mut self,
        ticket: Ticket,
        chat: &Recipient,
        count: u32,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let answer = match self.ask_for_older(chat, count, turn)? {
            Ok(id) => Answer::PhoneAsked(id),
            Err(error) => Answer::Refused(error),
        };
        turn.effects.push(Effect::Answer(ticket, answer));
        Ok(())
    }

    fn ask_for_older(
        &mut self,
        chat: &Recipient,
        count: u32,
        turn: &mut Turn<'_>,
    ) -> Result<Result<String, SendError>, Error> {
        let unknown = Ok(Err(SendError::UnknownChat(chat.to_row())));
        if !self.can_send() {
            return Ok(Err(SendError::NotConnected(self.link.status)));
        }
        let jid = chat.known_as(turn.tx, turn.now)?;
        let Some(chat) = turn.tx.messages().find_chat(&jid)? else { return unknown };
        let history = turn.tx.history();
        if let Some(asked) = history.unanswered(Some(chat.id))?.into_iter().next() {
            return Ok(Ok(asked.id));
        }
        if history.unanswered(None)?.len() >= MAX_ASKED {
            return Ok(Err(SendError::QueueFull));
        }
        let Some(oldest) = history.anchor(chat.id)? else { return unknown };
        let request = HistorySyncOnDemandRequest {
            chat_jid: Some(turn.tx.people().signal_address(&chat.jid)?.to_wire()),
            oldest_msg_id: Some(oldest.wa_id),
            oldest_msg_from_me: Some(oldest.from_me),
            on_demand_msg_count: i32::try_from(count).ok(),
            oldest_msg_timestamp_ms: i64::try_from(oldest.at.0).ok(),
            account_lid: self.own_lid().map(|lid| lid.to_wire()),
            support_inline_response: Some(true),
        };
        let question = ProtocolMessage {
            r#type: Some(DATA_OPERATION),
            peer_data_operation_request_message: Some(PeerDataOperationRequestMessage {
                peer_data_operation_request_type: Some(HISTORY_ON_DEMAND),
                history_sync_on_demand_request: Some(request),
                ..Default::default()
            }),
            ..Default::default()
        };
        let Some(id) = self.ask_phone(question, turn)? else { return Ok(Err(SendError::Internal)) };
        turn.tx.history().ask(&id, chat.id, count, turn.now)?;
        self.reading.patience.get_or_insert(turn.now + ASK_WAIT);
        Ok(Ok(id))
    }

    /// The phone did not answer in time. Should it do so later, what it says is still taken.
    fn give_up_asking(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        for asked in turn.tx.history().unanswered(None)? {
            if asked.at + ASK_WAIT > turn.now {
                continue;
            }
            turn.tx.history().settle(&asked.id, false)?;
            let data = json!({
                "kind": "on_demand",
                "state": "failed",
                "chunk": null,
                "progress": null,
                "chats": 0,
                "messages": 0,
                "error": "the phone does not answer",
            });
            self.tell_history(data, Some((&asked.id, asked.chat)), turn)?;
        }
        self.reading.patience = Reading::load(turn)?.patience;
        Ok(())
    }
}
