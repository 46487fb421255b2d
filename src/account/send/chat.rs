//! Sends to groups and to the status page: encrypted once with the account's sender key, which travels pairwise to each
//! device that does not have it yet. A key that somebody has who is gone is used no more.

use std::collections::BTreeSet;

use super::{Missing, enc};
use crate::{
    account::{
        Error,
        dispatch::{Account, Turn},
        sender_keys::with_distribution,
    },
    crypto::{
        padding,
        signal::{CiphertextKind, SenderKeys},
    },
    stanza::{Class, Enc, EncKind, participant_hash},
    store::queue::Outgoing as Row,
    wire::{Jid, Node},
};

/// Everybody who is to read it.
struct Readers {
    chat: Jid,
    people: Vec<Jid>,
    /// This device, under the name by which it is known there.
    own: Jid,
    /// How members of a group are addressed; a status has none.
    mode: Option<&'static str>,
}

/// Readers with their devices.
pub(super) struct Prepared {
    readers: Readers,
    /// All of them, the own one included.
    devices: BTreeSet<Jid>,
    /// Over these.
    phash: Option<String>,
    /// Those that were told the present key.
    told: BTreeSet<Jid>,
}

impl Account {
    /// One step for one send to a group or a status: `false` if it has to wait.
    pub(super) fn advance_chat(
        &mut self,
        row: &Row,
        chat: &Jid,
        missing: &mut Missing,
        turn: &mut Turn<'_>,
    ) -> Result<bool, Error> {
        let prepared = match missing.prepared.remove(chat) {
            Some(prepared) => Some(prepared),
            None => {
                let readers = if chat.is_status() {
                    self.audience(row, turn)?.ok_or(Some(404))
                } else {
                    self.members(chat, turn)?
                };
                match readers {
                    Ok(readers) => self.prepare(readers, missing, turn)?,
                    Err(Some(code)) => {
                        self.give_up(row, code, turn)?;
                        return Ok(true);
                    }
                    Err(None) => {
                        missing.groups.insert(chat.clone());
                        return Ok(false);
                    }
                }
            }
        };
        let Some(mut prepared) = prepared else { return Ok(false) };
        let gone = prepared.told.iter().any(|device| !prepared.devices.contains(device));
        let lacking: Vec<Jid> = prepared
            .devices
            .iter()
            .filter(|device| **device != prepared.readers.own && (gone || !prepared.told.contains(*device)))
            .cloned()
            .collect();
        let mut ready = true;
        for device in &lacking {
            let address = turn.tx.people().signal_address(device)?;
            let barren = self.conn.as_ref().is_some_and(|conn| conn.barren.contains(device));
            if !barren && !turn.tx.signal().session(&address)?.is_open() {
                missing.bundles.insert(device.clone());
                ready = false;
            }
        }
        if !ready {
            return Ok(false);
        }
        if gone {
            turn.tx.sender_keys().drop_own(chat)?;
            prepared.told.clear();
        }
        let sent = self.encrypt_chat(row, &mut prepared, &lacking, turn)?;
        // Each status has an audience of its own.
        if sent && chat.is_group() {
            missing.prepared.insert(chat.clone(), prepared);
        }
        Ok(true)
    }

    /// The devices of all readers; `None` while somebody's are not known.
    fn prepare(
        &self,
        readers: Readers,
        missing: &mut Missing,
        turn: &Turn<'_>,
    ) -> Result<Option<Prepared>, Error> {
        let mut devices = BTreeSet::new();
        let mut known = true;
        for person in &readers.people {
            match self.known_devices(person, turn)? {
                Some(all) => devices.extend(all.into_iter().map(|id| person.with_device(id))),
                None => {
                    self.lacks_devices(person, missing);
                    known = false;
                }
            }
        }
        if !known {
            return Ok(None);
        }
        devices.insert(readers.own.clone());
        let told = turn.tx.sender_keys().told(&readers.chat)?.into_iter().collect();
        let phash = readers.mode.map(|_| participant_hash(devices.iter().cloned()));
        Ok(Some(Prepared { readers, devices, phash, told }))
    }

    /// A group's members. `Err`: the code with which the send fails, or nothing while the server has to be asked.
    fn members(&self, chat: &Jid, turn: &Turn<'_>) -> Result<Result<Readers, Option<u16>>, Error> {
        let Some(group) = self.fresh_group(chat, turn)? else {
            return Ok(Err(self.is_foreign(chat).then_some(403)));
        };
        if !group.member {
            return Ok(Err(Some(403)));
        }
        let Some(own) = self.own_in(group.by_lid) else { return Ok(Err(Some(404))) };
        let people = turn.tx.groups().participants(chat)?.into_iter().map(|member| member.jid).collect();
        let mode = Some(if group.by_lid { "lid" } else { "pn" });
        Ok(Ok(Readers { chat: chat.clone(), people, own, mode }))
    }

    /// Whom a status is for, and the account itself.
    fn audience(&self, row: &Row, turn: &Turn<'_>) -> Result<Option<Readers>, Error> {
        let mut people = BTreeSet::new();
        for person in turn.tx.groups().audience(&row.wa_id)? {
            people.extend(self.target(&person, turn)?);
        }
        let Some(own) = self.own_address() else { return Ok(None) };
        people.insert(own.bare());
        Ok(Some(Readers {
            chat: Jid::status_broadcast(),
            people: people.into_iter().collect(),
            own,
            mode: None,
        }))
    }

    /// The ratchets, who was told, the stanza and the event are one commit. `false`: it was given up.
    fn encrypt_chat(
        &mut self,
        row: &Row,
        prepared: &mut Prepared,
        lacking: &[Jid],
        turn: &mut Turn<'_>,
    ) -> Result<bool, Error> {
        let Readers { chat, people, mode, .. } = &prepared.readers;
        let class = Class::of(&row.content);
        let mut keys = match turn.tx.sender_keys().own(chat)? {
            Some(keys) => keys,
            None => SenderKeys::generate(turn.rng),
        };
        let mut stanza = class.stanza(row.wa_id.clone(), chat.clone());
        stanza.addressing_mode = mode.map(str::to_owned);
        stanza.phash.clone_from(&prepared.phash);
        // From this message on.
        let Some(told) = with_distribution(&[], chat, &keys) else {
            return self.give_up(row, 500, turn).map(|()| false);
        };
        let told = padding::pad(told, turn.rng);
        let mut opens = false;
        for device in lacking {
            let address = turn.tx.people().signal_address(device)?;
            let mut session = turn.tx.signal().session(&address)?;
            // A device without keys is skipped; it may ask later.
            let Ok(ciphertext) = session.encrypt(&told) else { continue };
            turn.tx.signal().set_session(&address, &session)?;
            opens |= ciphertext.kind == CiphertextKind::PreKey;
            stanza.participants.push((device.clone(), Some(enc(ciphertext, Class::PLAIN))));
        }
        turn.tx.sender_keys().tell(chat, stanza.participants.iter().map(|(device, _)| device))?;
        prepared.told.extend(stanza.participants.iter().map(|(device, _)| device.clone()));
        if chat.is_status() {
            // The server knows the audience only from here; the account itself is in it.
            let named: BTreeSet<Jid> = stanza.participants.iter().map(|(device, _)| device.bare()).collect();
            let rest = people.iter().filter(|person| !named.contains(*person));
            stanza.participants.extend(rest.map(|person| (person.clone(), None)));
            let meta = stanza.extras.pop().unwrap_or_else(|| Node::new("meta"));
            stanza.extras.push(meta.attr("status_setting", "contacts"));
        }
        if opens {
            stanza.device_identity = self.device.paired.as_ref().map(|p| p.device_identity.clone());
        }
        let padded = padding::pad(row.content.clone(), turn.rng);
        let Ok(ciphertext) = keys.encrypt(&padded, turn.rng) else {
            // Four billion messages with one key: the next one begins anew.
            turn.tx.sender_keys().drop_own(chat)?;
            return self.give_up(row, 500, turn).map(|()| false);
        };
        turn.tx.sender_keys().set_own(chat, &keys)?;
        stanza.direct = Some(class.enc(Enc::new(EncKind::SenderKey, ciphertext)));
        let written = self.write(row, &stanza, turn)?;
        if written {
            self.report_departure(row, chat, turn)?;
        }
        Ok(written)
    }

    /// The server refused a send to a group or a status. `true`: it is encrypted once more, after another look at the group.
    pub(super) fn chat_refused(
        &mut self,
        row: &Row,
        chat: &Jid,
        code: u16,
        turn: &mut Turn<'_>,
    ) -> Result<bool, Error> {
        /// Stale addressing mode (WhatsApp Web's table of reasons).
        const STALE: u16 = 421;
        // What told devices our key went nowhere with it.
        turn.tx.sender_keys().forget_all_told(chat)?;
        if !chat.is_group() {
            return Ok(false);
        }
        self.doubt_group(chat, turn)?;
        let first = code == STALE
            && self.conn.as_mut().is_some_and(|conn| conn.readdressed.insert(row.wa_id.clone()));
        if first {
            turn.tx.queue().clear_stanza(row.seq)?;
        }
        Ok(first)
    }
}
