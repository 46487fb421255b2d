//! Receipts in: what became of our messages, and who asks for one again.

use super::{
    Error,
    devices::Admission,
    dispatch::{Account, Effect, Turn},
    send::PendingResend,
    sender_keys::{in_chat, with_distribution},
};
use crate::{
    crypto::signal::{Local, PreKeyBundle},
    stanza::{Class, Receipt, ReceiptKind, device_sent},
    store::{
        messages::{MessageKey, Progress},
        queue::Resent,
    },
    wire::{Jid, Node},
};

/// A retry numbered higher than this is not answered: the two ends do not understand each other, and one of them has to stop.
const MAX_RETRY_COUNT: u8 = 5;
/// Retries that may wait for bundles at a time.
const MAX_WAITING: usize = 256;

/// What a retry receipt leads to.
enum RetryAnswer {
    Nothing,
    Resend(Box<PendingResend>),
    AfterBundle(Box<PendingResend>),
    /// Answered before, with these bytes, but the server has not said that it has them.
    Again(Vec<u8>),
    /// The same was asked before and waits for its bundle: one answer, one acknowledgement.
    UnderWay,
}

impl Account {
    pub(super) fn receipt(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        self.continue_drain(turn);
        let receipt = Receipt::parse_from(node);
        if let Ok(receipt) = &receipt {
            for id in receipt.ids() {
                self.taken(id, turn)?;
            }
        }
        match receipt {
            Ok(receipt) if receipt.kind == ReceiptKind::Retry => {
                return self.retry_asked(&receipt, node, false, turn);
            }
            Ok(receipt) => self.progressed(&receipt, turn)?,
            Err(error) => tracing::warn!(%error, "receipt"),
        }
        self.ack(node, turn);
        Ok(())
    }

    /// Another own device has read messages: they are not unread here either.
    fn read_elsewhere(&self, receipt: &Receipt, turn: &Turn<'_>) -> Result<(), Error> {
        let Some(from) = &receipt.peer else { return Ok(()) };
        let reader = receipt.participant.as_ref().unwrap_or(from);
        let chat = receipt.recipient.as_ref().or(receipt.participant.as_ref().and(Some(from)));
        let (Some(chat), true) = (chat, self.is_own(reader)) else { return Ok(()) };
        if chat.is_list() {
            // Whose message it was is not said; it stands in that person's chat.
            for id in receipt.ids() {
                let found = turn.tx.messages().find_anywhere(id)?.filter(|m| !m.key.from_me);
                if let Some(message) = found {
                    turn.tx.chats().read_until(message.key.chat, message.at)?;
                }
            }
            return Ok(());
        }
        let Some(chat) = turn.tx.messages().find_chat(chat)? else { return Ok(()) };
        for id in receipt.ids() {
            let found = turn.tx.messages().find_in_chat(chat.id, id)?.filter(|m| !m.key.from_me);
            if let Some(message) = found {
                turn.tx.chats().read_until(chat.id, message.at)?;
            }
        }
        Ok(())
    }

    fn progressed(&mut self, receipt: &Receipt, turn: &mut Turn<'_>) -> Result<(), Error> {
        if matches!(receipt.kind, ReceiptKind::Read | ReceiptKind::ReadSelf) {
            self.read_elsewhere(receipt, turn)?;
        }
        let to = match receipt.kind {
            // `inactive` is no second tick: the sender's own phone shows none either.
            ReceiptKind::Delivered => Progress::Delivered,
            ReceiptKind::Read => Progress::Read,
            ReceiptKind::Played => Progress::Played,
            _ => return Ok(()),
        };
        let Some(from) = &receipt.peer else { return Ok(()) };
        // What an own device read says nothing of our messages.
        if receipt.recipient.is_some() || self.is_own(receipt.participant.as_ref().unwrap_or(from)) {
            return Ok(());
        }
        // What went to a list stands in each recipient's chat.
        let with = receipt.participant.as_ref().filter(|_| from.is_list()).map(Jid::bare);
        let Some(chat) = turn.tx.messages().find_chat(with.as_ref().unwrap_or(from))? else { return Ok(()) };
        for id in receipt.ids() {
            let found = turn.tx.messages().find_in_chat(chat.id, id)?.filter(|m| m.key.from_me);
            if let Some(message) = found {
                let person = receipt.participant.as_ref().unwrap_or(from);
                turn.tx.addons().reached(message.id, person, to, turn.now)?;
                self.progress(message.id, &message.uuid, &message.key, to, None, turn)?;
            }
        }
        Ok(())
    }

    /// Moves a message forward and reports it, if it is a step.
    pub(super) fn progress(
        &self,
        row: i64,
        uuid: &str,
        key: &MessageKey,
        to: Progress,
        refused: Option<u16>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        match turn.tx.messages().advance(row, to, refused)? {
            Some(before) => self.report_progress(uuid, key, before, to, turn),
            None => Ok(()),
        }
    }

    /// A device could not decrypt a message of ours. The receipt is acknowledged once it is answered, which may have to
    /// wait for that device's bundle; until then the server keeps it. `looked`: the person's devices were just asked for.
    fn retry_asked(
        &mut self,
        receipt: &Receipt,
        node: &Node,
        looked: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        match self.retry_answer(receipt, node, looked, turn)? {
            RetryAnswer::Nothing => {}
            RetryAnswer::Resend(resend) => self.resend(*resend, turn)?,
            RetryAnswer::AfterBundle(resend) => return self.resend_with_bundle(*resend, turn),
            RetryAnswer::Again(stanza) => turn.effects.push(Effect::Send(stanza)),
            RetryAnswer::UnderWay => return Ok(()),
        }
        self.ack(node, turn);
        Ok(())
    }

    fn retry_answer(
        &mut self,
        receipt: &Receipt,
        node: &Node,
        looked: bool,
        turn: &mut Turn<'_>,
    ) -> Result<RetryAnswer, Error> {
        let (Some(from), Some(retry)) = (&receipt.peer, &receipt.retry) else {
            return Ok(RetryAnswer::Nothing);
        };
        let in_chat = in_chat(from);
        let device = receipt.participant.as_ref().filter(|_| in_chat).unwrap_or(from);
        if retry.count > MAX_RETRY_COUNT || !device.is_user() {
            return Ok(RetryAnswer::Nothing);
        }
        // An own device asks for its copy of what went to `recipient`.
        let chat = match (&receipt.recipient, self.is_own(device)) {
            _ if in_chat => from.clone(),
            (Some(recipient), true) => recipient.clone(),
            _ => device.bare(),
        };
        let Some(chat) = turn.tx.messages().find_chat(&chat)? else { return Ok(RetryAnswer::Nothing) };
        let found = turn.tx.messages().find_in_chat(chat.id, &receipt.id)?;
        let Some(message) = found.filter(|message| message.key.from_me) else {
            return Ok(RetryAnswer::Nothing);
        };
        if in_chat && !self.may_have_again(from, &receipt.id, message.at, device, turn)? {
            if from.is_group() && self.ask_before_refusing(from, node, turn)? {
                return Ok(RetryAnswer::UnderWay);
            }
            tracing::warn!(%device, "somebody who is not to read it asks for a message again");
            return Ok(RetryAnswer::Nothing);
        }
        if !self.is_theirs(device, turn)? {
            if !looked && self.ask_whose(device, node, turn)? {
                return Ok(RetryAnswer::UnderWay);
            }
            tracing::warn!(%device, "a device that is not known to be that person's asks for a message");
            return Ok(RetryAnswer::Nothing);
        }
        let address = turn.tx.people().signal_address(device)?;
        match turn.tx.queue().resent(message.id, &address, retry.count)? {
            None => {}
            Some(Resent::Taken) => return Ok(RetryAnswer::Nothing),
            Some(Resent::UnderWay(stanza)) => return Ok(RetryAnswer::Again(stanza)),
        }
        let resends = self.conn.as_ref().map_or(&[][..], |conn| &conn.resends);
        if resends.iter().any(|r| r.message == message.id && r.address == address && r.count == retry.count) {
            return Ok(RetryAnswer::UnderWay);
        }
        if resends.len() >= MAX_WAITING {
            // Not acknowledged, so the server offers it again at the next login.
            tracing::warn!("too many retries wait for their bundles");
            return Ok(RetryAnswer::UnderWay);
        }
        let plaintext = if in_chat {
            // The next message tells the device our key once more, should this one be lost, too.
            turn.tx.sender_keys().forget_told(from, device)?;
            let keys = turn.tx.sender_keys().own(from)?;
            let told = keys.and_then(|keys| with_distribution(&message.content, from, &keys));
            told.unwrap_or_else(|| message.content.clone())
        } else if self.is_own(device) {
            device_sent(&message.content, chat.alt.as_ref().unwrap_or(&chat.jid))
        } else {
            message.content.clone()
        };
        let resend = Box::new(PendingResend {
            id: receipt.id.clone(),
            message: message.id,
            device: device.clone(),
            chat: in_chat.then(|| from.clone()),
            mode: from.is_group().then(|| if device.is_lid() { "lid" } else { "pn" }),
            address: address.clone(),
            recipient: receipt.recipient.clone(),
            count: retry.count,
            class: Class::of(&message.content),
            plaintext,
            ack: node.clone(),
        });
        let mut session = turn.tx.signal().session(&address)?;
        let mut shown = retry.keys.as_ref().zip(retry.registration_id);
        let mut admission = Admission::Known;
        if let Some((keys, _)) = shown {
            let signed = keys.device_identity.as_deref();
            match self.check_device(&address, &keys.identity, signed, turn)? {
                Ok(checked) => admission = checked,
                Err(error) => {
                    // Whatever the server has of that device is checked as well.
                    tracing::warn!(%error, %device, "the keys of a retry receipt");
                    shown = None;
                }
            }
        }
        if let Some((keys, registration_id)) = shown {
            let bundle = PreKeyBundle {
                registration_id,
                identity: keys.identity,
                signed_prekey: keys.signed.clone(),
                one_time: keys.one_time.clone(),
            };
            let local =
                Local { identity: &self.device.identity, registration_id: self.device.registration_id };
            if let Err(error) = session.initiate(&local, &bundle, turn.rng) {
                tracing::warn!(%error, "the keys of a retry receipt");
                return Ok(RetryAnswer::Nothing);
            }
            self.admit(&address, &keys.identity, admission, turn)?;
            turn.tx.signal().set_session(&address, &session)?;
            return Ok(RetryAnswer::Resend(resend));
        }
        let same_device = session.remote_registration_id() == retry.registration_id;
        if session.is_open() && same_device && retry.count < 2 && retry.keys.is_none() {
            return Ok(RetryAnswer::Resend(resend));
        }
        // The device started over, or the session does not work: begin a new one from a fresh bundle.
        Ok(RetryAnswer::AfterBundle(resend))
    }

    /// Somebody who is not known to be in a group asks for a message of it. `true`: the server is asked first, since what is
    /// known is old; [`Self::reconsider`] follows.
    fn ask_before_refusing(&mut self, group: &Jid, node: &Node, turn: &mut Turn<'_>) -> Result<bool, Error> {
        if self.fresh_group(group, turn)?.is_some() || self.is_foreign(group) {
            return Ok(false);
        }
        let Some(conn) = &mut self.conn else { return Ok(false) };
        if conn.doubtful_retries.len() >= MAX_WAITING {
            return Ok(false);
        }
        conn.doubtful_retries.push((group.clone(), node.clone()));
        self.ask_group(group, turn);
        Ok(true)
    }

    /// Whether a device is the person's that it says it is of. Phones are; companions are those that the phone vouches for.
    fn is_theirs(&self, device: &Jid, turn: &Turn<'_>) -> Result<bool, Error> {
        if device.device() == 0 {
            return Ok(true);
        }
        let person = device.bare();
        let known = match self.known_devices(&person, turn)? {
            None => match turn.tx.people().other_name(&person)? {
                Some(other) => self.known_devices(&other, turn)?,
                None => None,
            },
            known => known,
        };
        Ok(known.is_some_and(|devices| devices.contains(&device.device())))
    }

    /// A device asks for a message that is not among the person's: it may be new. `true`: the server is asked first, and
    /// [`Self::reconsider`] follows.
    fn ask_whose(&mut self, device: &Jid, node: &Node, turn: &mut Turn<'_>) -> Result<bool, Error> {
        let Some(conn) = &mut self.conn else { return Ok(false) };
        if conn.doubtful_retries.len() >= MAX_WAITING {
            return Ok(false);
        }
        let person = device.bare();
        conn.doubtful_retries.push((person.clone(), node.clone()));
        turn.tx.people().forget_devices(&person)?;
        self.ask_devices(&person, turn);
        Ok(true)
    }

    /// The group, or the person's devices, were looked at: now it is known who may ask.
    pub(super) fn reconsider(&mut self, looked_at: &Jid, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(conn) = &mut self.conn else { return Ok(()) };
        let waiting: Vec<Node> = conn
            .doubtful_retries
            .extract_if(.., |(other, _)| other == looked_at)
            .map(|(_, node)| node)
            .collect();
        for node in waiting {
            match Receipt::parse_from(&node) {
                Ok(receipt) => self.retry_asked(&receipt, &node, looked_at.is_user(), turn)?,
                Err(_) => self.ack(&node, turn),
            }
        }
        Ok(())
    }

    /// Own devices' addresses never carry a number where the hidden identity is known.
    pub(super) fn own_address(&self) -> Option<Jid> {
        let paired = self.device.paired.as_ref()?;
        Some(paired.lid.clone().unwrap_or_else(|| paired.jid.clone()))
    }
}
