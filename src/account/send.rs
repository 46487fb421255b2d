//! Messages out. A send is a row with its final id before anything leaves; the pump resolves the recipient, its
//! devices and sessions, encrypts, and writes. Per chat in order; nothing waits for an acknowledgement but the row.

mod accept;
mod chat;
mod resolve;

use std::collections::{BTreeSet, HashMap, HashSet};

use prost::Message as _;

pub(super) use self::accept::{Way, message_id};
use self::resolve::Resolved;
use super::{
    Error, Recipient,
    dispatch::{Account, Effect, Turn},
    events::Reported,
    link::{Conn, Phase, Query},
    newsletters::is_newsletter,
    receive::{file, fresh_uuid},
    sender_keys::in_chat,
};
use crate::{
    crypto::{
        padding,
        signal::{Ciphertext, CiphertextKind},
    },
    proto,
    stanza::{Ack, BundleQuery, Class, Enc, EncKind, Outgoing, UsyncQuery, device_sent},
    store::{
        messages::{MessageKey, NewMessage, Progress},
        queue::Outgoing as Row,
        standing::Retried,
    },
    wire::{Jid, Node, codec},
};

/// Written and not acknowledged at a time. Bounds what a silent server leaves hanging.
pub(super) const WINDOW: usize = 256;
/// People whose devices are asked for in one query, and devices whose bundles are. The published clients ask for a whole
/// group at once; larger ones than today's (1,024 people with five devices each) are split.
const PEOPLE_A_QUERY: usize = 1_024;
const BUNDLES_A_QUERY: usize = 1_000;
/// Rows looked at in one go.
const SCAN: u32 = 256;

/// A message that one device asked for again, waiting for that device's bundle.
pub(super) struct PendingResend {
    pub(super) id: String,
    pub(super) message: i64,
    pub(super) device: Jid,
    /// The group, or status@broadcast, that the message is of.
    pub(super) chat: Option<Jid>,
    /// How that group addresses its members.
    pub(super) mode: Option<&'static str>,
    pub(super) address: Jid,
    pub(super) recipient: Option<Jid>,
    pub(super) count: u8,
    /// Of the message, whatever wrapper the plaintext has.
    pub(super) class: Class,
    pub(super) plaintext: Vec<u8>,
    /// The receipt that asked; acknowledged with the answer.
    pub(super) ack: Node,
}

/// What keeps a send from being encrypted.
#[derive(Default)]
struct Missing {
    devices: BTreeSet<Jid>,
    bundles: BTreeSet<Jid>,
    groups: BTreeSet<Jid>,
    /// Not missing at all: what was found out about a group for one send serves the next ones of the same pump.
    prepared: HashMap<Jid, chat::Prepared>,
}

impl Account {
    /// Writes what can be written: first again what earlier connections left unacknowledged, then what waits.
    pub(super) fn pump(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        if !self.can_send() || !self.rewrite(turn)? {
            return Ok(());
        }
        let full = |conn: &Option<Conn>| conn.as_ref().is_none_or(|conn| conn.in_flight.len() >= WINDOW);
        if full(&self.conn) {
            return Ok(());
        }
        let mut missing = Missing::default();
        let mut held: HashSet<String> = HashSet::new();
        // What was refused and is written again stays in front of what is for the same people.
        let mut again: HashSet<i64> = HashSet::new();
        if self.retrying {
            let retried = turn.tx.standing().retried()?;
            self.retrying = !retried.is_empty();
            for Retried { seq, recipient, due } in retried {
                if due {
                    again.insert(seq);
                } else {
                    held.insert(recipient);
                }
            }
        }
        for row in turn.tx.queue().waiting(0, SCAN)? {
            if full(&self.conn) {
                break;
            }
            if held.contains(&row.recipient) {
                continue;
            }
            let chat = row.recipient.clone();
            if again.contains(&row.seq) {
                held.insert(chat.clone());
            }
            if !self.advance(row, &mut missing, turn)? {
                // A number that is being looked up may turn out to be a chat that other rows name by its address.
                if let Recipient::Number(digits) = Recipient::from_row(&chat) {
                    held.insert(Jid::pn(digits).to_wire());
                }
                held.insert(chat);
            }
        }
        self.ask_for(missing, turn);
        Ok(())
    }

    /// The same bytes under the same ids, in order. `true` once nothing of that is left. Waits for the end of the offline
    /// queue, which may hold the answers to what needs no second writing.
    fn rewrite(&mut self, turn: &mut Turn<'_>) -> Result<bool, Error> {
        loop {
            let Some(conn) = &mut self.conn else { return Ok(false) };
            let Some(after) = conn.rewritten else { return Ok(true) };
            let room = WINDOW.saturating_sub(conn.in_flight.len());
            if room == 0 {
                return Ok(false);
            }
            let rows = turn.tx.queue().unacknowledged(after, u32::try_from(room).unwrap_or(SCAN))?;
            if rows.is_empty() {
                conn.rewritten = None;
                return Ok(true);
            }
            if conn.phase == Phase::Draining {
                return Ok(false);
            }
            for row in rows {
                conn.rewritten = Some(row.seq);
                if let Some(stanza) = row.stanza {
                    conn.in_flight.push_back((row.wa_id, turn.now));
                    turn.effects.push(Effect::Send(stanza));
                }
            }
        }
    }

    /// One step for one send: `false` if it has to wait, and with it whatever follows in its chat.
    fn advance(&mut self, mut row: Row, missing: &mut Missing, turn: &mut Turn<'_>) -> Result<bool, Error> {
        if row.peer {
            return self.advance_peer(&row, missing, turn);
        }
        let to = match Recipient::from_row(&row.recipient) {
            Recipient::Jid(jid) if is_newsletter(&jid) => return self.advance_post(&row, &jid, turn),
            Recipient::Jid(jid) if in_chat(&jid) => return self.advance_chat(&row, &jid, missing, turn),
            Recipient::Jid(jid) => jid,
            Recipient::Status(_) => Jid::status_broadcast(),
            Recipient::Number(digits) => match self.resolve_row(&digits, &mut row, turn)? {
                Resolved::Jid(jid) => jid,
                Resolved::Waiting => return Ok(false),
                Resolved::GivenUp => return Ok(true),
            },
        };
        if self.holds_first_contacts() && self.is_first_contact(&to, turn)? {
            self.hold_back(&row, &to, turn)?;
            return Ok(false);
        }
        let target = self.target(&to, turn)?;
        let own = target.as_ref().and_then(|target| self.own_beside(target));
        let (Some(target), Some(own)) = (target, own) else {
            self.give_up(&row, 404, turn)?;
            return Ok(true);
        };
        let mut devices = BTreeSet::new();
        let mut ready = true;
        for person in [&target, &own.bare()] {
            match self.known_devices(person, turn)? {
                Some(known) => devices.extend(known.into_iter().map(|id| person.with_device(id))),
                None => {
                    self.lacks_devices(person, missing);
                    ready = false;
                }
            }
        }
        devices.remove(&own);
        for device in &devices {
            let address = turn.tx.people().signal_address(device)?;
            let barren = self.conn.as_ref().is_some_and(|conn| conn.barren.contains(device));
            if !barren && !turn.tx.signal().session(&address)?.is_open() {
                missing.bundles.insert(device.clone());
                ready = false;
            }
        }
        if ready {
            self.encrypt(&row, &to, &target, &devices, turn)?;
        }
        Ok(ready)
    }

    /// The same for a message to an own device alone: the phone, as a rule.
    fn advance_peer(&mut self, row: &Row, missing: &mut Missing, turn: &mut Turn<'_>) -> Result<bool, Error> {
        let to = row.recipient.parse::<Jid>().ok().map(|jid| jid.device());
        let (Some(own), Some(to)) = (self.own_address(), to) else {
            self.give_up(row, 404, turn)?;
            return Ok(true);
        };
        let phone = if to == 0 { own.bare() } else { own.with_device(to) };
        let address = turn.tx.people().signal_address(&phone)?;
        let mut session = turn.tx.signal().session(&address)?;
        let barren = self.conn.as_ref().is_some_and(|conn| conn.barren.contains(&phone));
        if !session.is_open() && !barren {
            missing.bundles.insert(phone);
            return Ok(false);
        }
        let padded = padding::pad(row.content.clone(), turn.rng);
        let Ok(ciphertext) = session.encrypt(&padded) else {
            self.give_up(row, 404, turn)?;
            return Ok(true);
        };
        turn.tx.signal().set_session(&address, &session)?;
        let mut stanza = Outgoing::peer(row.wa_id.clone(), phone);
        if ciphertext.kind == CiphertextKind::PreKey {
            stanza.device_identity = self.device.paired.as_ref().map(|p| p.device_identity.clone());
        }
        stanza.direct = Some(enc(ciphertext, Class::of(&row.content)));
        self.write(row, &stanza, turn)?;
        Ok(true)
    }

    fn write(&mut self, row: &Row, stanza: &Outgoing, turn: &mut Turn<'_>) -> Result<bool, Error> {
        let named = stanza.participants.iter().filter(|(_, enc)| enc.is_some()).count();
        self.write_node(row, &stanza.build(), named, turn)
    }

    /// Keeps the stanza as it will leave, with something for `named` devices in it, and writes it. `false`: it cannot be,
    /// and was given up.
    pub(super) fn write_node(
        &mut self,
        row: &Row,
        stanza: &Node,
        named: usize,
        turn: &mut Turn<'_>,
    ) -> Result<bool, Error> {
        let Ok(bytes) = codec::encode(stanza) else {
            self.give_up(row, 400, turn)?;
            return Ok(false);
        };
        turn.tx.queue().set_stanza(row.seq, &bytes)?;
        if let Some(message) = row.message {
            turn.tx.trace().left(message, named, turn.now)?;
        }
        if let Some(conn) = &mut self.conn {
            conn.in_flight.push_back((row.wa_id.clone(), turn.now));
        }
        turn.effects.push(Effect::Send(bytes));
        Ok(true)
    }

    /// Encrypts for every device, and writes. The ratchets, the stanza and the event are one commit.
    fn encrypt(
        &mut self,
        row: &Row,
        to: &Jid,
        target: &Jid,
        devices: &BTreeSet<Jid>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let to_self = self.is_own(target);
        let class = Class::of(&row.content);
        let mut stanza = class.stanza(row.wa_id.clone(), target.clone());
        stanza.extras.extend(self.token_for(target, turn)?);
        let plain = padding::pad(row.content.clone(), turn.rng);
        let copy = padding::pad(device_sent(&row.content, target), turn.rng);
        let (mut prekey, mut reached) = (false, to_self);
        for device in devices {
            let own = self.is_own(device);
            let address = turn.tx.people().signal_address(device)?;
            let mut session = turn.tx.signal().session(&address)?;
            // A device without keys is skipped; one that can be reached is enough.
            let Ok(ciphertext) = session.encrypt(if own { &copy } else { &plain }) else { continue };
            turn.tx.signal().set_session(&address, &session)?;
            prekey |= ciphertext.kind == CiphertextKind::PreKey;
            reached |= !own;
            stanza.participants.push((device.clone(), Some(enc(ciphertext, class))));
        }
        if !reached {
            return self.give_up(row, 404, turn);
        }
        if target.is_lid() {
            stanza.peer_recipient_pn = turn.tx.people().pn_of(target)?;
        }
        if prekey {
            stanza.device_identity = self.device.paired.as_ref().map(|p| p.device_identity.clone());
        }
        if self.write(row, &stanza, turn)? {
            self.issue_token(target, &row.content, turn)?;
            self.report_departure(row, to, turn)?;
        }
        Ok(())
    }

    pub(super) fn report_departure(&self, row: &Row, to: &Jid, turn: &mut Turn<'_>) -> Result<(), Error> {
        // Told when it was written first.
        if turn.tx.standing().refusals(row.seq)? > 0 {
            return Ok(());
        }
        let Some(stored) = turn.tx.messages().find_own(&row.wa_id)? else { return Ok(()) };
        let Some(chat) = turn.tx.messages().find_chat(to)? else { return Ok(()) };
        let Some(own) = self.own_pn() else { return Ok(()) };
        let message = NewMessage {
            key: stored.key,
            uuid: stored.uuid,
            at: stored.at,
            push_name: self.link.name.clone(),
            content: stored.content,
            progress: stored.progress,
        };
        self.report(&Reported { message: &message, chat: &chat, sender: &own }, turn)
    }

    /// The server's answer to a message of ours.
    pub(super) fn acked(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Ok(ack) = Ack::parse_from(node) else { return Ok(()) };
        // Reactions and views of newsletters are questions that an ack answers.
        if is_newsletter(&ack.peer)
            && self.conn.as_ref().is_some_and(|conn| conn.queries.contains_key(&ack.id))
        {
            return self.answered(&ack.id, node, turn);
        }
        if ack.class != "message" {
            return Ok(());
        }
        let row = self.acknowledged(&ack.peer, &ack.id, turn)?;
        if let Some(conn) = &mut self.conn {
            let acked = row.as_ref().map_or(&ack.id, |row| &row.wa_id);
            conn.in_flight.retain(|(id, _)| id != acked);
        }
        if node.text("refresh_lid") == Some("true") {
            // The server knows this person by another LID: the next look at the devices tells it.
            turn.tx.people().forget_devices(&ack.peer)?;
        }
        if let Some(phash) = ack.phash.as_ref().filter(|_| ack.peer.is_group()) {
            let conn = self.conn.as_mut();
            // The same contradiction again would be answered with the same look.
            let news = conn.and_then(|conn| conn.doubted.insert(ack.peer.clone(), phash.clone()));
            if news.as_ref() != Some(phash) {
                self.doubt_group(&ack.peer, turn)?;
            }
        } else if ack.phash.is_some() {
            // The server saw other devices than we did: look again before the next send.
            turn.tx.people().forget_devices(&ack.peer)?;
            if let Some(own) = self.own_address() {
                turn.tx.people().forget_devices(&own)?;
            }
        }
        let Some(row) = row else { return self.resend_acked(&ack, turn) };
        match ack.error {
            Some(code) if in_chat(&ack.peer) && self.chat_refused(&row, &ack.peer, code, turn)? => Ok(()),
            Some(code) if self.refused_send(&row, code, turn)? => Ok(()),
            Some(code) => self.give_up(&row, code, turn),
            None => {
                if is_newsletter(&ack.peer) {
                    self.post_acked(&ack.id, node, turn)?;
                }
                self.finish(&row, Ok(()), turn)
            }
        }
    }

    /// What acknowledges no send is about a resend to one device.
    fn resend_acked(&mut self, ack: &Ack, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(message) = turn.tx.messages().find_own(&ack.id)? else { return Ok(()) };
        // In a group the ack need not say for whom it was.
        let device = if in_chat(&ack.peer) { ack.participant.as_ref() } else { Some(&ack.peer) };
        let Some(device) = device else { return Ok(turn.tx.queue().oldest_resend_taken(message.id)?) };
        let device = turn.tx.people().signal_address(device)?;
        Ok(turn.tx.queue().resend_taken(message.id, &device)?)
    }

    /// Somebody answered a message of ours: the server has taken it, though its ack may have been lost. Writing it again
    /// could only make a device that asks for it ask twice.
    pub(super) fn taken(&mut self, id: &str, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(row) = turn.tx.queue().find(id)?.filter(|row| row.stanza.is_some()) else { return Ok(()) };
        if let Some(conn) = &mut self.conn {
            conn.in_flight.retain(|(other, _)| other != id);
        }
        self.finish(&row, Ok(()), turn)
    }

    /// A send that cannot succeed: its row goes, its failure is told.
    pub(super) fn give_up(&mut self, row: &Row, code: u16, turn: &mut Turn<'_>) -> Result<(), Error> {
        tracing::warn!(code, "a message was not sent");
        self.finish(row, Err(code), turn)
    }

    fn finish(&mut self, row: &Row, outcome: Result<(), u16>, turn: &mut Turn<'_>) -> Result<(), Error> {
        if let Some(stored) = turn.tx.messages().find_own(&row.wa_id)? {
            let to = if outcome.is_ok() { Progress::Sent } else { Progress::Failed };
            self.progress(stored.id, &stored.uuid, &stored.key, to, outcome.err(), turn)?;
        }
        turn.tx.queue().remove(row.seq)?;
        for ticket in self.waiting.remove(&row.wa_id).into_iter().flatten() {
            turn.effects.push(Effect::Settled(ticket, outcome));
        }
        Ok(())
    }

    /// The account is unlinked: what still waits can never be sent as this account.
    pub(super) fn fail_queue(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        turn.tx.schedule().give_up()?;
        turn.tx.standing().release_all()?;
        (self.next_due, self.suspecting) = (None, false);
        loop {
            let mut rows = turn.tx.queue().waiting(0, SCAN)?;
            rows.extend(turn.tx.queue().unacknowledged(0, SCAN)?);
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                self.give_up(&row, 401, turn)?;
            }
        }
    }

    /// One message again, for one device.
    pub(super) fn resend(&mut self, resend: PendingResend, turn: &mut Turn<'_>) -> Result<(), Error> {
        let mut session = turn.tx.signal().session(&resend.address)?;
        let padded = padding::pad(resend.plaintext, turn.rng);
        let Ok(ciphertext) = session.encrypt(&padded) else { return Ok(()) };
        turn.tx.signal().set_session(&resend.address, &session)?;
        let opens = ciphertext.kind == CiphertextKind::PreKey;
        let class = resend.class;
        let mut enc = enc(ciphertext, class);
        enc.count = Some(resend.count);
        let in_chat = resend.chat.is_some();
        let mut stanza = class.stanza(resend.id, resend.chat.unwrap_or_else(|| resend.device.clone()));
        stanza.participant = Some(resend.device).filter(|_| in_chat);
        stanza.addressing_mode = resend.mode.map(str::to_owned);
        stanza.recipient = resend.recipient;
        stanza.direct = Some(enc);
        if opens {
            stanza.device_identity = self.device.paired.as_ref().map(|p| p.device_identity.clone());
        }
        let Ok(bytes) = codec::encode(&stanza.build()) else { return Ok(()) };
        let queue = turn.tx.queue();
        queue.note_resend(resend.message, &resend.address, resend.count, &bytes, turn.now)?;
        turn.effects.push(Effect::Send(bytes));
        Ok(())
    }

    /// The same, once that device's bundle is here.
    pub(super) fn resend_with_bundle(
        &mut self,
        resend: PendingResend,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(conn) = &mut self.conn else { return Ok(()) };
        let device = resend.device.clone();
        conn.resends.push(resend);
        let query = conn.query(Query::Bundles(vec![device.clone()]), turn.now);
        let bundles = BundleQuery { devices: vec![device], reason: Some("retry".into()) };
        turn.send(&bundles.build(&query));
        Ok(())
    }

    /// Asks for a person's devices, or for what it takes to check them.
    pub(super) fn ask_devices(&mut self, person: &Jid, turn: &mut Turn<'_>) {
        let mut missing = Missing::default();
        self.lacks_devices(person, &mut missing);
        self.ask_for(missing, turn);
    }

    /// Asks for the keys of one device.
    pub(super) fn ask_bundle(&mut self, device: &Jid, turn: &mut Turn<'_>) {
        let bundles = BTreeSet::from([device.clone()]);
        self.ask_for(Missing { bundles, ..Missing::default() }, turn);
    }

    /// Asks once for what several sends may be waiting for.
    fn ask_for(&mut self, missing: Missing, turn: &mut Turn<'_>) {
        for group in missing.groups {
            self.ask_group(&group, turn);
        }
        let Some(conn) = &mut self.conn else { return };
        let people: Vec<Jid> =
            missing.devices.into_iter().filter(|jid| conn.asked_devices.insert(jid.clone())).collect();
        for people in people.chunks(PEOPLE_A_QUERY) {
            let query = conn.query(Query::Devices(people.to_vec()), turn.now);
            turn.send(&UsyncQuery::devices(query.clone(), people.to_vec()).build(&query));
        }
        let devices: Vec<Jid> =
            missing.bundles.into_iter().filter(|jid| conn.asked_bundles.insert(jid.clone())).collect();
        for devices in devices.chunks(BUNDLES_A_QUERY) {
            let query = conn.query(Query::Bundles(devices.to_vec()), turn.now);
            turn.send(&BundleQuery { devices: devices.to_vec(), reason: None }.build(&query));
        }
    }

    /// Stores the message of a send whose recipient is known now.
    pub(super) fn store_message(&self, row: &Row, to: &Jid, turn: &mut Turn<'_>) -> Result<i64, Error> {
        let chat = turn.tx.messages().chat(to)?;
        let message = NewMessage {
            key: MessageKey { chat: chat.id, wa_id: row.wa_id.clone(), from_me: true, participant: None },
            uuid: fresh_uuid(turn),
            at: row.at,
            push_name: None,
            content: row.content.clone(),
            progress: Progress::Pending,
        };
        match turn.tx.messages().insert(&message)? {
            Some(id) => {
                file(id, &row.content, turn)?;
                Ok(id)
            }
            None => Ok(turn.tx.messages().find(&message.key)?.map_or(0, |stored| stored.id)),
        }
    }
}

fn enc(ciphertext: Ciphertext, class: Class) -> Enc {
    let kind = match ciphertext.kind {
        CiphertextKind::PreKey => EncKind::PreKey,
        CiphertextKind::Message => EncKind::Message,
    };
    class.enc(Enc::new(kind, ciphertext.bytes))
}

/// A quoted author and content need the message's own protobuf to be readable.
fn readable(content: &[u8]) -> bool {
    proto::Message::decode(content).is_ok()
}
