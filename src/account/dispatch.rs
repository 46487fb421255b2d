//! One door in, one door out: inputs become method calls here, and what they decide is collected in a [`Turn`].

use std::{collections::HashMap, time::Duration};

use rand::CryptoRng;
use uuid::Uuid;

use super::{
    AskError, Batched, Blob, CodeState, Error, Link, PasskeyCommand, PasskeyRefused, PasskeyState, Question,
    Recipient, SendBatch, SendError, SendMessage, Sent, StateChange, Status, Told,
    app_state::Waiting,
    evidence::{Evidence, Seen},
    history::{HistoryJob, HistoryPart, HistoryWanted, Reading},
    link::{Conn, Outage, Phase, Retry, STOPPED},
    props::Props,
    standing, tokens,
};
use crate::{
    clock::Millis,
    crypto::KeyPair,
    stanza::{Ack, ChatState, Failure, Info, Iq, IqKind, MediaConn, Nack, StreamError, Success},
    store::{Tx, device::Device, standing::Standing},
    wire::{Jid, Node, codec},
};

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The instance's own id, in every payload.
    pub instance: Uuid,
    /// What the phone lists.
    pub device_name: String,
    /// WhatsApp Web version announced.
    pub wa_version: (u32, u32, u32),
    /// Shown online while connected.
    pub available: bool,
    /// How much of the past is asked for when linking.
    pub history: HistoryWanted,
    /// The Noise root of the network.
    pub server_root: [u8; 32],
    /// Base of links to this instance, without a slash at the end.
    pub public_url: String,
    /// Digits: whenever the instance is to be linked, a code is asked for, for this number's phone.
    pub pair_phone: Option<String>,
    /// Incoming calls are rejected.
    pub reject_calls: Option<super::RejectCalls>,
}

/// Names a waiting caller.
pub type Ticket = u64;

/// What callers ask for.
#[derive(Debug)]
pub enum Command {
    /// Link or connect; fine in every state.
    Connect,
    /// The same, and where there is something to link, by a code typed on the phone of this number (digits).
    PairByCode(String),
    /// Go on with a linking that wants a passkey.
    Passkey(PasskeyCommand),
    /// Close; `logout` also unlinks and wipes.
    Disconnect {
        /// Unlink.
        logout: bool,
    },
    /// Send something.
    SendMessage(SendMessage),
    /// Send many things, one after the other.
    SendBatch(Box<SendBatch>),
    /// Tell somebody what was read.
    MarkRead {
        /// The chat.
        chat: Recipient,
        /// Received messages.
        ids: Vec<String>,
    },
    /// Show what the account is doing in a chat.
    ChatState {
        /// The chat.
        chat: Recipient,
        /// What.
        state: ChatState,
        /// Then the account pauses by itself.
        lasting: Option<Duration>,
    },
    /// Older messages of a chat than those that are known.
    History {
        /// The chat.
        chat: Recipient,
        /// How many, at most.
        count: u32,
    },
    /// Ask the server something, now or not at all.
    Ask(Question),
    /// How does the link do?
    Evidence,
    /// Where do media go?
    MediaHosts {
        /// What was answered before did not work.
        refresh: bool,
    },
    /// Ask the phone to upload a message's file again.
    Reupload {
        /// The message's row.
        message: i64,
    },
    /// Change something of app state.
    Change(StateChange),
    /// Show the account online or not.
    Presence {
        /// Online.
        available: bool,
    },
}

/// Why a connection ended or did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// No connection could be made.
    Unreachable,
    /// The handshake failed: not the server that was expected, or nothing we understand.
    Handshake,
    /// It ended.
    Lost,
}

impl CloseCause {
    /// As it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Handshake => "handshake_failed",
            Self::Lost => "connection_lost",
        }
    }
}

/// What happens to an account.
#[derive(Debug)]
pub enum Input {
    /// The process is up.
    Started,
    /// The handshake succeeded.
    Opened,
    /// A stanza came.
    Node(Node),
    /// The connection is gone.
    Closed(CloseCause),
    /// What [`Effect::Fetch`] asked for: the file, verified, or nothing.
    Fetched(u64, Option<Vec<u8>>),
    /// What [`Effect::History`] asked for, next in order.
    History(u64, HistoryPart),
    /// Somebody asks.
    Command(Ticket, Command),
    /// [`Account::deadline`] passed.
    Tick,
}

/// What a handshake needs.
#[derive(Clone)]
pub struct Dial {
    /// Serialized ClientPayload.
    pub payload: Vec<u8>,
    /// The device's Noise static key.
    pub noise: KeyPair,
    /// To be sent in front of everything.
    pub routing_info: Option<Vec<u8>>,
}

/// An answer to a waiting caller.
#[derive(Debug)]
pub enum Answer {
    /// Done.
    Done,
    /// To a [`Command::Passkey`].
    Passkey(Result<(), PasskeyRefused>),
    /// Not done, and nothing was stored.
    Refused(SendError),
    /// Where media go.
    MediaHosts(MediaConn),
    /// The phone uploaded a file again: its new direct path. `None`: it has it no more.
    Reuploaded(Option<String>),
    /// What came of a [`Command::Ask`].
    Asked(Result<Told, AskError>),
    /// How the link does.
    Evidence(Box<Evidence>),
    /// A send was stored, replayed, or not accepted. [`Effect::Settled`] may follow.
    Send(Result<Sent, SendError>),
    /// A batch was stored, replayed, or not accepted.
    Batch(Result<Batched, SendError>),
    /// The phone was asked for older messages: the question's id.
    PhoneAsked(String),
    /// Not connected, but trying: ask again once connected.
    Later(Status),
}

/// What is to be done outside, after the commit, in order.
pub enum Effect {
    /// Make a connection.
    Open(Dial),
    /// End the connection.
    Close,
    /// Write one encoded stanza.
    Send(Vec<u8>),
    /// Answer a caller.
    Answer(Ticket, Answer),
    /// WhatsApp acknowledged the send of this caller, or refused it with a code.
    Settled(Ticket, Result<(), u16>),
    /// Download, verify and decrypt; [`Input::Fetched`] brings it back.
    Fetch(Blob),
    /// Read a history file; [`Input::History`] brings it slice by slice. One at a time: a new one replaces another.
    History(HistoryJob),
    /// The link changed.
    Link(Link),
}

/// One transaction's worth of decisions.
pub struct Turn<'t> {
    /// The open transaction.
    pub tx: &'t Tx<'t>,
    /// The time of everything in this turn.
    pub now: Millis,
    /// The only source of randomness.
    pub rng: &'t mut dyn CryptoRng,
    /// To be done after the commit.
    pub effects: Vec<Effect>,
}

impl Turn<'_> {
    /// Whether this turn ends the connection that its inputs came from.
    fn closes(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Close))
    }

    pub(super) fn send(&mut self, node: &Node) {
        match codec::encode(node) {
            Ok(bytes) => self.effects.push(Effect::Send(bytes)),
            Err(error) => tracing::error!(%error, tag = %node.tag, "a stanza could not be encoded"),
        }
    }
}

/// The state of one linked device. What must outlive the process is in the transaction; what is here belongs to the
/// process or to the connection.
pub struct Account {
    pub(super) settings: Settings,
    /// Shown online: as configured, until somebody asks otherwise.
    pub(super) available: bool,
    pub(super) device: Device,
    pub(super) link: Link,
    pub(super) conn: Option<Conn>,
    pub(super) retry: Retry,
    /// Batches of codes nobody scanned, in a row.
    pub(super) idle_batches: u8,
    /// The number whose phone is asked for a code.
    pub(super) wanted: Option<String>,
    /// Since when the link is down.
    pub(super) outage: Option<Outage>,
    /// When the next scheduled send is due.
    pub(super) next_due: Option<Millis>,
    /// Callers who wait for WhatsApp's acknowledgement, by message id.
    pub(super) waiting: HashMap<String, Vec<Ticket>>,
    /// Changes of app state are to be written.
    pub(super) writes_wait: bool,
    /// Callers who wait for that.
    pub(super) state_waiting: Vec<Waiting>,
    /// History that is being read.
    pub(super) reading: Reading,
    /// What was seen of the connections.
    pub(super) seen: Seen,
    /// What the server has set for this client.
    pub(super) props: Props,
    /// With which the account proves to be itself.
    pub(super) nct_salt: Option<Vec<u8>>,
    /// When tokens of no use were last looked for.
    pub(super) tokens_pruned: Option<Millis>,
    /// What WhatsApp lets the account do.
    pub(super) standing: Standing,
    /// Sends were refused, and it is being found out why.
    pub(super) suspecting: bool,
    /// There may be sends that were refused and are written again.
    pub(super) retrying: bool,
    /// When the standing is asked for again.
    pub(super) ask_again_at: Option<Millis>,
    /// When the next send that was refused is written again.
    pub(super) put_off_until: Option<Millis>,
    /// The offline queue did not come on an earlier connection: another reconnect would not bring it either.
    pub(super) stalled: bool,
    /// The time of the last turn.
    pub(super) latest: Millis,
}

impl Account {
    /// The account in this database; keys are made at the first start.
    pub fn load(settings: Settings, turn: &mut Turn<'_>) -> Result<Self, Error> {
        let device = match turn.tx.device().load()? {
            Some(device) if device.paired.is_some() || device.server_root == settings.server_root => device,
            // Keys that were shown to one network and linked by nobody are of no use to another.
            Some(_) => {
                turn.tx.device().wipe()?;
                Self::new_device(&settings, turn)?
            }
            None => Self::new_device(&settings, turn)?,
        };
        let (status, reason) = match turn.tx.settings().get(STOPPED)? {
            Some(_) => (Status::Disconnected, Some("requested")),
            None => (Status::Pending, None),
        };
        let link = Link {
            status,
            reason,
            paired: device.paired.is_some(),
            phone: device.paired.as_ref().map(|p| p.jid.user().to_owned()),
            name: device.paired.as_ref().and_then(|p| p.push_name.clone()),
            platform: device.paired.as_ref().and_then(|p| p.platform.clone()),
            qr: None,
            code: CodeState::None,
            passkey: PasskeyState::None,
        };
        Ok(Self {
            wanted: settings.pair_phone.clone(),
            available: settings.available,
            settings,
            device,
            link,
            conn: None,
            retry: Retry::default(),
            idle_batches: 0,
            outage: None,
            next_due: turn.tx.schedule().next_due()?,
            waiting: HashMap::new(),
            writes_wait: turn.tx.app_state().waiting()? > 0,
            state_waiting: Vec::new(),
            reading: Reading::load(turn)?,
            seen: Seen::default(),
            props: Props::load(turn.tx)?,
            nct_salt: tokens::stored_salt(turn.tx)?,
            tokens_pruned: None,
            standing: turn.tx.standing().load()?,
            suspecting: turn.tx.standing().suspecting()?,
            retrying: true,
            ask_again_at: None,
            put_off_until: standing::put_off_until(turn)?,
            stalled: false,
            latest: turn.now,
        })
    }

    /// Where the link stands.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// One input. On an error the transaction must be rolled back and this state thrown away.
    pub fn handle(&mut self, input: Input, turn: &mut Turn<'_>) -> Result<(), Error> {
        // One turn may hold several reports of a connection. Once it is given up the rest of them are history: the next
        // one, dialled in this very turn, must not be judged by them.
        if matches!(input, Input::Opened | Input::Node(_) | Input::Closed(_)) && turn.closes() {
            return Ok(());
        }
        self.watch_clock(turn)?;
        match input {
            Input::Started => self.start(turn),
            Input::Opened => self.opened(turn),
            Input::Node(node) => self.node(&node, turn),
            Input::Closed(cause) => self.closed(cause, turn),
            Input::Tick => self.tick(turn),
            Input::Fetched(id, content) => self.fetched(id, content, turn),
            Input::History(id, part) => self.history_part(id, part, turn),
            Input::Command(ticket, Command::History { chat, count }) => {
                self.ask_history(ticket, &chat, count, turn)
            }
            Input::Command(ticket, Command::Change(change)) => self.change_state(ticket, &change, turn),
            Input::Command(ticket, Command::Connect) => {
                self.connect(turn)?;
                turn.effects.push(Effect::Answer(ticket, Answer::Done));
                Ok(())
            }
            Input::Command(ticket, Command::PairByCode(number)) => {
                self.pair_by_code(number, turn)?;
                turn.effects.push(Effect::Answer(ticket, Answer::Done));
                Ok(())
            }
            Input::Command(ticket, Command::Passkey(command)) => self.passkey_command(ticket, command, turn),
            Input::Command(ticket, Command::Disconnect { logout }) => {
                self.disconnect(logout, turn)?;
                turn.effects.push(Effect::Answer(ticket, Answer::Done));
                Ok(())
            }
            Input::Command(ticket, Command::SendMessage(command)) => self.send_message(ticket, command, turn),
            Input::Command(ticket, Command::SendBatch(batch)) => {
                let answer = Answer::Batch(self.send_batch(*batch, turn)?);
                turn.effects.push(Effect::Answer(ticket, answer));
                Ok(())
            }
            Input::Command(ticket, Command::MarkRead { chat, ids }) => {
                let answer = self.mark_read(chat, &ids, turn)?;
                turn.effects.push(Effect::Answer(ticket, answer));
                Ok(())
            }
            Input::Command(ticket, Command::ChatState { chat, state, lasting }) => {
                let answer = self.show_chat_state(chat, state, lasting, turn)?;
                turn.effects.push(Effect::Answer(ticket, answer));
                Ok(())
            }
            Input::Command(ticket, Command::Ask(question)) => self.ask(ticket, question, turn),
            Input::Command(ticket, Command::Evidence) => {
                let answer = Answer::Evidence(Box::new(self.evidence()));
                turn.effects.push(Effect::Answer(ticket, answer));
                Ok(())
            }
            Input::Command(ticket, Command::MediaHosts { refresh }) => {
                self.media_hosts(ticket, refresh, turn)
            }
            Input::Command(ticket, Command::Reupload { message }) => self.reupload(ticket, message, turn),
            Input::Command(ticket, Command::Presence { available }) => {
                let answer = self.show_presence(available, turn);
                turn.effects.push(Effect::Answer(ticket, answer));
                Ok(())
            }
        }
    }

    /// After the last input of a batch: sends what can be sent.
    pub fn settle(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        self.release(turn)?;
        self.report_identities(turn)?;
        self.pump(turn)?;
        self.pump_app_state(turn)?;
        self.pump_history(turn)?;
        if turn.effects.iter().any(|effect| matches!(effect, Effect::Send(_))) {
            self.seen.last_out = Some(turn.now);
        }
        Ok(())
    }

    /// Own number, without device.
    pub(super) fn own_pn(&self) -> Option<Jid> {
        self.device.paired.as_ref().map(|p| p.jid.bare())
    }

    /// Own hidden identity, without device.
    pub(super) fn own_lid(&self) -> Option<Jid> {
        self.device.paired.as_ref().and_then(|p| p.lid.as_ref()).map(Jid::bare)
    }

    pub(super) fn is_own(&self, jid: &Jid) -> bool {
        [self.own_pn(), self.own_lid()].iter().flatten().any(|own| own.same_user(jid))
    }

    fn node(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        // A stanza of a connection that was given up meanwhile.
        let Some(conn) = &mut self.conn else { return Ok(()) };
        conn.heard(turn.now);
        self.seen.last_in = Some(turn.now);
        if node.has("offline") {
            conn.drained_one(turn.now);
        }
        if matches!(node.tag.as_ref(), "message" | "receipt" | "notification" | "call") {
            self.learn_names_of(node, turn)?;
        }
        match node.tag.as_ref() {
            "iq" => self.iq(node, turn),
            "success" => match Success::parse(node) {
                Ok(success) => self.logged_in(&success, turn),
                Err(error) => {
                    tracing::warn!(%error, "login answer");
                    self.lose("login_unreadable", turn)
                }
            },
            "failure" => self.refused(&Failure::parse(node), turn),
            "stream:error" => self.stream_error(StreamError::parse(node), turn),
            "xmlstreamend" => self.lose("stream_end", turn),
            "ib" => self.info(Info::parse(node), turn),
            "message" => self.message(node, turn),
            "receipt" => self.receipt(node, turn),
            "notification" => self.notification(node, turn),
            "ack" => self.acked(node, turn),
            "call" => self.call(node, turn),
            "status" => {
                self.ack(node, turn);
                Ok(())
            }
            "presence" => self.presence(node, turn),
            "chatstate" => self.chat_state_shown(node, turn),
            _ => {
                if let Some(ack) = Ack::of(node) {
                    turn.send(&ack.refusing(Nack::UnrecognizedStanza).build_to());
                }
                Ok(())
            }
        }
    }

    /// Acknowledges a stanza as it stands.
    pub(super) fn ack(&self, node: &Node, turn: &mut Turn<'_>) {
        if let Some(ack) = self.ack_of(node) {
            turn.send(&ack.build_to());
        }
    }

    pub(super) fn ack_of(&self, node: &Node) -> Option<Ack> {
        let mut ack = Ack::of(node)?;
        if matches!(node.tag.as_ref(), "message" | "status") {
            ack.own = self.device.paired.as_ref().map(|p| p.jid.clone());
        }
        Some(ack)
    }

    fn iq(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Ok(iq) = Iq::parse(node) else { return Ok(()) };
        match iq.kind {
            IqKind::Result | IqKind::Error => self.answered(&iq.id, node, turn),
            IqKind::Set if node.find("pair-device").is_some() => self.pair_device(node, turn),
            IqKind::Set if node.find("pair-success").is_some() => self.pair_success(node, turn),
            IqKind::Get if node.find("ping").is_some() || iq.xmlns.as_deref() == Some("urn:xmpp:ping") => {
                turn.send(&Iq::result_to_server(&iq.id));
                Ok(())
            }
            IqKind::Get | IqKind::Set => {
                let error = Node::new("error").attr("code", "501").attr("text", "feature-not-implemented");
                turn.send(
                    &Node::new("iq")
                        .attr("to", Jid::server_itself())
                        .attr("type", "error")
                        .attr("id", iq.id)
                        .child(error),
                );
                Ok(())
            }
        }
    }

    /// Whether messages may be written now.
    pub(super) fn can_send(&self) -> bool {
        self.conn.as_ref().is_some_and(|conn| matches!(conn.phase, Phase::Draining | Phase::Live))
    }
}
