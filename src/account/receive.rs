//! Messages in. Every outcome has its answer (the table of the published clients' behaviour, with plain acks wherever
//! a refusal could stall the queue), and the answer leaves only after the commit that explains it.

use prost::Message as _;
use uuid::Builder;

use super::{
    Error,
    content::{self, Unwrapped},
    dispatch::{Account, Turn},
    events::Reported,
    newsletters::is_newsletter,
    sender_keys::in_chat,
};
use crate::{
    clock::Millis,
    crypto::{
        padding,
        signal::{Local, OurPreKeys, PreKeyMessage, SignalError},
    },
    proto,
    stanza::{Enc, EncKind, Incoming, Nack, Receipt, ReceiptKind, Retry, RetryKeys},
    store::messages::{Chat, MessageKey, NewMessage, Progress},
    wire::{Jid, Node, Server},
};

/// A message is asked for again at most this often (WhatsApp Web's bound).
const MAX_RETRIES: u8 = 5;
/// From this retry on the receipt carries keys, so that the sender can start a new session.
const KEYS_FROM: u8 = 2;

/// Who wrote where.
struct Source {
    chat: Chat,
    sender: Jid,
    from_me: bool,
}

/// What came of the ciphertexts of one stanza.
enum Opened {
    /// A serialized `waE2E.Message`.
    Message(Vec<u8>),
    /// Nothing but the key to what its sender writes to all.
    KeyOnly,
    /// Its key was used: it was read before, or it only looks like something that was.
    Duplicate,
    /// Decrypted, but what came out is no message.
    Garbage,
    /// Not decrypted; asking again helps.
    Failed(SignalError),
    /// Nothing in it that this program can open; asking again does not help.
    Nothing(&'static str),
}

impl Account {
    pub(super) fn message(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        self.continue_drain(turn);
        if node.jid("from").is_some_and(|from| is_newsletter(&from)) {
            return self.newsletter_message(node, turn);
        }
        let incoming = match Incoming::parse(node) {
            Ok(incoming) => incoming,
            Err(error) => {
                tracing::warn!(%error, "message");
                let Some(ack) = self.ack_of(node) else { return Ok(()) };
                // A refused status would block the queue behind it.
                let ack = if ack.peer.is_status() { ack } else { ack.refusing(Nack::ParsingError) };
                turn.send(&ack.build_to());
                return Ok(());
            }
        };
        let Some(source) = self.source(&incoming, turn)? else {
            if let Some(ack) = self.ack_of(node) {
                turn.send(&ack.refusing(Nack::ParsingError).build_to());
            }
            return Ok(());
        };
        self.learn_names(&incoming, &source, turn)?;
        let key = MessageKey {
            chat: source.chat.id,
            wa_id: incoming.id.clone(),
            from_me: source.from_me,
            participant: in_chat(&source.chat.jid).then(|| source.sender.bare()),
        };
        if let Some((row, _)) = turn.tx.history().same(&key)? {
            let untold = turn.tx.history().take_untold(row)?;
            // Sent again by somebody whom another way of getting it has overtaken: it may open a new session. And what
            // is told everybody again comes with the key to the next ones.
            let resent = incoming.encs.iter().any(|enc| enc.count.is_some());
            let keys =
                in_chat(&incoming.from) && incoming.encs.iter().any(|enc| enc.kind != EncKind::SenderKey);
            if resent || keys || untold {
                self.open(&incoming, &source, turn)?;
            }
            if untold {
                self.report_again(row, &source, turn)?;
            }
            self.confirm(&incoming, &source, turn);
            return Ok(());
        }
        match self.open(&incoming, &source, turn)? {
            Opened::Message(bytes) => self.opened_message(&bytes, &incoming, &source, key, node, turn),
            Opened::KeyOnly => {
                turn.tx.handled().note(&incoming.id, &source.sender)?;
                self.confirm(&incoming, &source, turn);
                Ok(())
            }
            Opened::Duplicate => {
                // Its place in the chain is not covered by anything until its key is at hand: a damaged one can be that
                // of another message. Whatever was read has left a trace under its own id.
                if !turn.tx.handled().knows(&incoming.id, &source.sender)? {
                    return self.failed(&SignalError::Duplicate, &key, &incoming, &source, node, turn);
                }
                self.confirm(&incoming, &source, turn);
                Ok(())
            }
            Opened::Garbage => {
                turn.tx.handled().note(&incoming.id, &source.sender)?;
                self.undecryptable(&key, &incoming, &source, "invalid_message", turn)?;
                self.refuse_garbage(node, turn);
                Ok(())
            }
            Opened::Nothing(reason) => {
                self.undecryptable(&key, &incoming, &source, reason, turn)?;
                self.ack(node, turn);
                Ok(())
            }
            Opened::Failed(error) => self.failed(&error, &key, &incoming, &source, node, turn),
        }
    }

    /// Chat, author and direction (the rules that all published clients share).
    fn source(&self, incoming: &Incoming, turn: &mut Turn<'_>) -> Result<Option<Source>, Error> {
        let from = &incoming.from;
        let messages = turn.tx.messages();
        if from.is_group() || from.server() == Server::Broadcast {
            let Some(sender) = incoming.participant.clone() else { return Ok(None) };
            let from_me = self.is_own(&sender);
            // What somebody tells a list is said to each by oneself; only whoever has the list sees that it is one.
            let chat = if from.is_list() && !from_me { sender.bare() } else { from.clone() };
            return Ok(Some(Source { chat: messages.chat(&chat)?, sender, from_me }));
        }
        if !from.is_user() && from.server() != Server::Bot {
            return Ok(None);
        }
        let from_me = self.is_own(from);
        let with = match &incoming.recipient {
            Some(recipient) if from_me => recipient,
            // Only copies of what an own device sent carry one.
            Some(_) => return Ok(None),
            None => from,
        };
        Ok(Some(Source { chat: messages.chat(with)?, sender: from.clone(), from_me }))
    }

    fn learn_names(
        &mut self,
        incoming: &Incoming,
        source: &Source,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(name) = &incoming.notify else { return Ok(()) };
        if source.from_me {
            return self.learn_own_name(name, turn);
        }
        Ok(turn.tx.people().set_push_name(&source.sender, name)?)
    }

    /// Decrypts what can be: pairwise ciphertexts first, so that no ratchet is left behind.
    fn open(&mut self, incoming: &Incoming, source: &Source, turn: &mut Turn<'_>) -> Result<Opened, Error> {
        let mut outcome = match &incoming.unavailable {
            Some(_) => Opened::Nothing("unavailable"),
            None if incoming.encs.is_empty() => Opened::Nothing("empty"),
            None => Opened::Nothing("unsupported_encryption"),
        };
        let address = turn.tx.people().signal_address(&source.sender)?;
        let common = |enc: &&Enc| enc.kind == EncKind::SenderKey;
        let pairwise = incoming.encs.iter().filter(|enc| !common(enc));
        let mut found = None;
        for enc in pairwise.chain(incoming.encs.iter().filter(common)) {
            if let EncKind::Other(_) = enc.kind {
                continue;
            }
            let opened = if enc.kind == EncKind::SenderKey {
                self.open_common(enc, &incoming.from, &address, turn)?
            } else {
                self.decrypt(enc, &address, incoming.device_identity.as_deref(), turn)?
            };
            match opened {
                Ok(padded) => match padding::unpad(&padded) {
                    Some(message) if proto::is_modest(message) && proto::Message::decode(message).is_ok() => {
                        if enc.kind != EncKind::SenderKey {
                            self.learn_sender_key(message, incoming, &address, turn)?;
                        }
                        // A group stanza's pairwise part holds a key only; its content is in the other.
                        let alone = !in_chat(&incoming.from) && !incoming.from.is_list();
                        if alone || content::has_content(message) {
                            found = Some(message.to_vec());
                        } else if !matches!(outcome, Opened::Failed(_)) {
                            outcome = Opened::KeyOnly;
                        }
                    }
                    _ => outcome = Opened::Garbage,
                },
                // What said why says it better than what could only follow.
                Err(SignalError::NoSenderKey) if matches!(outcome, Opened::Failed(_)) => {}
                Err(SignalError::Duplicate) => outcome = Opened::Duplicate,
                Err(error) => outcome = Opened::Failed(error),
            }
        }
        Ok(found.map_or(outcome, Opened::Message))
    }

    /// `signed` is what says whose device the author is; asked for where it opens a session with a new identity.
    fn decrypt(
        &mut self,
        enc: &Enc,
        address: &Jid,
        signed: Option<&[u8]>,
        turn: &mut Turn<'_>,
    ) -> Result<Result<Vec<u8>, SignalError>, Error> {
        let local = Local { identity: &self.device.identity, registration_id: self.device.registration_id };
        let signal = turn.tx.signal();
        let mut session = signal.session(address)?;
        if enc.kind == EncKind::Message {
            return Ok(match session.decrypt(&local, &enc.ciphertext, turn.rng) {
                Ok(plaintext) => {
                    signal.set_session(address, &session)?;
                    Ok(plaintext)
                }
                Err(error) => Err(error),
            });
        }
        let message = match PreKeyMessage::parse(&enc.ciphertext) {
            Ok(message) => message,
            Err(error) => return Ok(Err(error)),
        };
        let admission = match self.check_device(address, &message.identity, signed, turn)? {
            Ok(admission) => admission,
            Err(error) => {
                tracing::warn!(%error, sender = %address, "a device that its account does not vouch for");
                self.doubt_phone(address, &message.identity, signed, turn);
                return Ok(Err(SignalError::Unvouched));
            }
        };
        let ours = OurPreKeys {
            signed: signal.signed_pre_key(message.signed_pre_key_id)?,
            one_time: message.pre_key_id.map(|id| signal.pre_key(id)).transpose()?.flatten(),
        };
        Ok(match session.decrypt_prekey(&local, &message, &ours, turn.rng) {
            Ok(opened) => {
                self.admit(address, &message.identity, admission, turn)?;
                let signal = turn.tx.signal();
                signal.set_session(address, &session)?;
                if let (true, Some(id)) = (opened.consumed_one_time, message.pre_key_id) {
                    signal.remove_pre_key(id)?;
                }
                Ok(opened.plaintext)
            }
            Err(error) => Err(error),
        })
    }

    fn opened_message(
        &mut self,
        bytes: &[u8],
        incoming: &Incoming,
        source: &Source,
        key: MessageKey,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(Unwrapped { content, device_sent }) = content::unwrap(bytes) else {
            turn.tx.handled().note(&incoming.id, &source.sender)?;
            self.undecryptable(&key, incoming, source, "invalid_message", turn)?;
            self.refuse_garbage(node, turn);
            return Ok(());
        };
        if device_sent && !source.from_me {
            // Somebody else's "copy of an own message": nothing of it is believed.
            tracing::warn!("a stranger sent what only an own device may send");
            turn.tx.handled().note(&incoming.id, &source.sender)?;
            self.undecryptable(&key, incoming, source, "forged_copy", turn)?;
            self.ack(node, turn);
            return Ok(());
        }
        turn.tx.queue().settle(&key)?;
        let internal = self.internal(&content, incoming, source, turn)?;
        if self.holds_first_contacts() && !source.from_me && !in_chat(&source.chat.jid) {
            turn.tx.standing().release_to(&source.sender)?;
        }
        if !internal && !incoming.peer && content::has_content(&content) {
            for chat in self.chats_of(incoming, source, turn)? {
                let key = MessageKey { chat: chat.id, ..key.clone() };
                let source = Source { chat, sender: source.sender.clone(), from_me: source.from_me };
                let content = self.in_plain(content.to_vec(), &source.chat, &source.sender, turn)?;
                self.keep_received(content, incoming, &source, key, turn)?;
            }
        } else {
            turn.tx.handled().note(&incoming.id, &source.sender)?;
        }
        self.confirm(incoming, source, turn);
        Ok(())
    }

    /// Where a message is shown: in one chat, unless the account told it a list. That stands in the chats of all whom it
    /// went to, as on the phone, and so do their receipts.
    fn chats_of(
        &self,
        incoming: &Incoming,
        source: &Source,
        turn: &mut Turn<'_>,
    ) -> Result<Vec<Chat>, Error> {
        let mut chats: Vec<Chat> = Vec::new();
        if incoming.from.is_list() && source.from_me {
            let people = incoming.audience.iter().filter(|jid| jid.is_user() && !self.is_own(jid));
            for person in people {
                let chat = turn.tx.messages().chat(&person.bare())?;
                // A person may be named once a device.
                if chats.iter().all(|known| known.id != chat.id) {
                    chats.push(chat);
                }
            }
        }
        if chats.is_empty() {
            chats.push(source.chat.clone());
        }
        Ok(chats)
    }

    /// Stores and reports a message.
    fn keep_received(
        &self,
        content: Vec<u8>,
        incoming: &Incoming,
        source: &Source,
        key: MessageKey,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let message = NewMessage {
            uuid: fresh_uuid(turn),
            at: Millis::from_secs(incoming.t),
            push_name: incoming.notify.clone().filter(|_| !source.from_me),
            content,
            progress: if key.from_me { Progress::Sent } else { Progress::Pending },
            key,
        };
        self.keep(&Reported { message: &message, chat: &source.chat, sender: &source.sender }, turn)
    }

    /// Reports a message that is there without that anybody was told.
    fn report_again(&self, row: i64, source: &Source, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(known) = turn.tx.messages().by_row(row)? else { return Ok(()) };
        let message = NewMessage {
            key: known.key,
            uuid: known.uuid,
            at: known.at,
            push_name: known.push_name,
            content: known.content,
            progress: known.progress,
        };
        self.report(&Reported { message: &message, chat: &source.chat, sender: &source.sender }, turn)
    }

    /// Stores a message that came in, and reports it; nothing if it is there already.
    pub(super) fn keep(&self, reported: &Reported<'_>, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(row) = turn.tx.messages().insert(reported.message)? else { return Ok(()) };
        let Reported { message, chat, sender } = reported;
        file(row, &message.content, turn)?;
        self.learn_timer(&message.content, chat, sender, message.at, turn)?;
        self.report(reported, turn)?;
        self.settle_early(row, reported, turn)
    }

    /// Decrypted, and still no message. A refused status would block the queue behind it.
    fn refuse_garbage(&self, node: &Node, turn: &mut Turn<'_>) {
        let Some(ack) = self.ack_of(node) else { return };
        let ack = if ack.peer.is_status() { ack } else { ack.refusing(Nack::InvalidProtobuf) };
        turn.send(&ack.build_to());
    }

    /// What the phone tells its companions: keys and history. `true` if the message was that and nothing else.
    /// From anybody but an own device it is not believed.
    fn internal(
        &mut self,
        content: &[u8],
        incoming: &Incoming,
        source: &Source,
        turn: &mut Turn<'_>,
    ) -> Result<bool, Error> {
        // History, key share, key request, data operations asked for and answered, mapping.
        const INTERNAL: [i32; 6] = [5, 6, 7, 16, 17, 22];
        let Ok(message) = proto::Message::decode(content) else { return Ok(false) };
        let Some(protocol) = message.protocol_message else { return Ok(false) };
        if !INTERNAL.contains(&protocol.r#type.unwrap_or(0)) {
            return Ok(false);
        }
        if !source.from_me {
            tracing::warn!("a stranger sent what only an own device may send");
            return Ok(true);
        }
        if let Some(answer) = &protocol.peer_data_operation_request_response_message {
            // Only the phone has what companions ask for.
            if source.sender.device() == 0 {
                self.phone_answered(answer, turn)?;
            }
        }
        if let Some(share) = &protocol.app_state_sync_key_share {
            self.take_keys(share, turn)?;
        }
        if let Some(request) = &protocol.app_state_sync_key_request {
            self.share_keys(request, &source.sender, turn)?;
        }
        if let Some(mapping) = &protocol.lid_migration_mapping_sync_message {
            self.learn_mapping(mapping, turn)?;
        }
        if let Some(history) = &protocol.history_sync_notification {
            self.history_announced(&incoming.id, &source.sender, history, turn)?;
        }
        Ok(true)
    }

    /// The answer of success; also to what was decrypted before.
    fn confirm(&self, incoming: &Incoming, source: &Source, turn: &mut Turn<'_>) {
        let kind = if incoming.peer {
            ReceiptKind::PeerMsg
        } else if source.from_me {
            ReceiptKind::Sender
        } else if self.available {
            ReceiptKind::Delivered
        } else {
            // Not the active client: the sender's second tick is the phone's to give.
            ReceiptKind::Inactive
        };
        let mut receipt = Receipt::new(incoming.id.clone(), incoming.from.clone(), kind);
        receipt.participant = incoming.participant.clone();
        receipt.recipient = incoming.recipient.as_ref().map(Jid::bare);
        turn.send(&receipt.build_to());
    }

    /// Notes a message that cannot be read; reports it the first time.
    fn undecryptable(
        &self,
        key: &MessageKey,
        incoming: &Incoming,
        source: &Source,
        reason: &str,
        turn: &mut Turn<'_>,
    ) -> Result<u8, Error> {
        let attempt = turn.tx.queue().count_failure(key, reason, turn.now)?;
        if incoming.peer {
            return Ok(attempt);
        }
        let at = Millis::from_secs(incoming.t);
        if attempt == 1 {
            self.report_undecryptable(key, &source.chat, &source.sender, reason, at, turn)?;
        }
        // The phone has it, unless nobody may have it twice; asked first, and once more when the sender has given up.
        let once = incoming.unavailable.as_deref().is_some_and(|kind| kind.starts_with("view_once"));
        if matches!(attempt, 1 | MAX_RETRIES) && !once {
            self.ask_phone_for(key, at, turn)?;
        }
        Ok(attempt)
    }

    /// Asks the sender again, then acknowledges; the message stays visible as undecryptable until it comes.
    fn failed(
        &mut self,
        error: &SignalError,
        key: &MessageKey,
        incoming: &Incoming,
        source: &Source,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        tracing::info!(%error, sender = %source.sender, "a message could not be decrypted");
        let attempt = self.undecryptable(key, incoming, source, reason(error), turn)?;
        if source.from_me && !incoming.peer {
            // A copy of our own: only this releases it, and nobody is asked.
            self.confirm(incoming, source, turn);
            return Ok(());
        }
        let resent = incoming.encs.iter().filter_map(|enc| enc.count).max().unwrap_or(0);
        let count = attempt.max(resent.saturating_add(1));
        if count <= MAX_RETRIES {
            let mut receipt = Receipt::new(incoming.id.clone(), incoming.from.clone(), ReceiptKind::Retry);
            receipt.participant = incoming.participant.clone();
            receipt.peer_category = incoming.peer;
            receipt.retry = Some(Retry {
                count,
                t: incoming.t,
                error: error.retry_code(),
                registration_id: Some(self.device.registration_id),
                keys: if count >= KEYS_FROM { Some(self.retry_keys(turn)?) } else { None },
            });
            turn.send(&receipt.build_to());
        }
        self.ack(node, turn);
        Ok(())
    }

    /// A bundle of our own, with a one-time key that never was in the pool.
    fn retry_keys(&mut self, turn: &mut Turn<'_>) -> Result<RetryKeys, Error> {
        let mut one_time = None;
        for id in turn.tx.device().take_pre_key_ids(1)? {
            let pair = crate::crypto::KeyPair::generate(turn.rng);
            turn.tx.signal().add_pre_key(id, &pair, true)?;
            one_time = Some(crate::crypto::signal::OneTimePreKey { id, key: pair.public });
        }
        Ok(RetryKeys {
            identity: self.device.identity.public,
            one_time,
            signed: self.signed_pre_key(turn)?,
            device_identity: self.device.paired.as_ref().map(|p| p.device_identity.clone()),
        })
    }
}

/// Makes what a message says findable; what says nothing by itself is not shown among what does.
pub(super) fn file(row: i64, content: &[u8], turn: &Turn<'_>) -> Result<(), Error> {
    turn.tx.search().put(row, content::text_of(content).as_deref())?;
    if !matches!(content::kind(content), content::Kind::Said) {
        turn.tx.chats().set_aside(row)?;
    }
    Ok(())
}

/// Why, in words for the consumer.
fn reason(error: &SignalError) -> &'static str {
    match error {
        SignalError::NoSession => "no_session",
        SignalError::NoSenderKey => "no_sender_key",
        SignalError::Duplicate => "duplicate",
        SignalError::BadMac => "bad_mac",
        SignalError::FutureMessage => "future_message",
        SignalError::UnknownPreKey => "unknown_prekey",
        SignalError::Malformed => "malformed",
        SignalError::InvalidKey => "invalid_key",
        SignalError::InvalidSignature => "invalid_signature",
        SignalError::CorruptSession => "corrupt_session",
        SignalError::Unvouched => "unverified_device",
    }
}

/// A random UUID from the turn's own randomness.
pub(super) fn fresh_uuid(turn: &mut Turn<'_>) -> String {
    let mut bytes = [0; 16];
    turn.rng.fill_bytes(&mut bytes);
    Builder::from_random_bytes(bytes).into_uuid().to_string()
}
