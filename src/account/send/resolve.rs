//! Who is meant, on which devices, with which keys: what a send needs to know before it can be encrypted.

use std::{collections::HashMap, time::Duration};

use crate::{
    account::{
        Answer, Error, SendError, SendMessage, Ticket,
        dispatch::{Account, Effect, Turn},
        link::Query,
    },
    crypto::{PublicKey, adv, app_state::Fingerprint, signal::Local},
    stanza::{
        BundleAnswer, DeviceAnswer, DeviceEntry, FetchedBundle, Iq, UsyncAnswer, UsyncQuery, contact_digits,
    },
    store::{people::Number, queue::Outgoing as Row},
    wire::{Jid, Node},
};

/// Device lists are kept true by notifications; one that was missed costs at most this.
const DEVICES_FRESH: Duration = Duration::from_secs(24 * 3600);

/// Devices of one account that are written to. WhatsApp links four companions to a phone, and numbers devices up to 99.
const MAX_DEVICES: usize = 100;

/// What a row's number came to.
pub(super) enum Resolved {
    Jid(Jid),
    Waiting,
    GivenUp,
}

impl Account {
    /// Parks a send until WhatsApp has said whether its number exists.
    pub(super) fn look_up(&mut self, ticket: Ticket, command: SendMessage, turn: &mut Turn<'_>) {
        let super::Recipient::Number(digits) = command.recipient.clone() else { return };
        let Some(conn) = &mut self.conn else { return };
        conn.lookups.entry(digits.clone()).or_default().push((ticket, command));
        self.ask_number(&digits, turn);
    }

    /// After a refusal and a pause: what callers still wait for is asked for once more.
    pub(in crate::account) fn ask_for_parked(&mut self, turn: &mut Turn<'_>) {
        let Some(conn) = &self.conn else { return };
        let numbers: Vec<String> = conn.lookups.keys().cloned().collect();
        let groups: Vec<Jid> = conn.group_lookups.keys().cloned().collect();
        numbers.iter().for_each(|digits| self.ask_number(digits, turn));
        groups.iter().for_each(|group| self.ask_group(group, turn));
    }

    fn ask_number(&mut self, digits: &str, turn: &mut Turn<'_>) {
        let Some(conn) = &mut self.conn else { return };
        let asked = |(query, _): &(Query, _)| matches!(query, Query::Number(asked) if asked == digits);
        if conn.queries.values().any(asked) || conn.asked_numbers.contains(digits) {
            return;
        }
        let id = conn.query(Query::Number(digits.to_owned()), turn.now);
        let numbers = [Some(digits.to_owned()), brazilian_variant(digits)].into_iter().flatten();
        turn.send(&UsyncQuery::contacts(id.clone(), numbers).build(&id));
    }

    pub(in crate::account) fn number_answered(
        &mut self,
        digits: &str,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let answers = match (Iq::refusal(node), UsyncAnswer::parse_all(node)) {
            (None, Ok(answers)) => answers,
            (refusal, _) => {
                let code = refusal.map(|r| r.code);
                tracing::warn!(code, "a number could not be looked up");
                let Some(conn) = &mut self.conn else { return Ok(()) };
                conn.asked_numbers.insert(digits.to_owned());
                if conn.ask_again(code, turn.now) {
                    return Ok(());
                }
                for (ticket, _) in conn.lookups.remove(digits).unwrap_or_default() {
                    turn.effects.push(Effect::Answer(ticket, Answer::Send(Err(SendError::Internal))));
                }
                return Ok(());
            }
        };
        let mut parked = Vec::new();
        if let Some(conn) = &mut self.conn {
            conn.was_answered();
            parked = conn.lookups.remove(digits).unwrap_or_default();
        }
        let mut found: Option<Jid> = None;
        for wanted in [Some(digits.to_owned()), brazilian_variant(digits)].into_iter().flatten() {
            let registered = answers.iter().find(|answer| {
                answer.contact.as_ref().is_some_and(|contact| {
                    contact.registered && contact_digits(&contact.query).as_ref() == Some(&wanted)
                })
            });
            if let (None, Some(answer)) = (&found, registered) {
                let lid = answer.lid.clone().or_else(|| answer.jid.is_lid().then(|| answer.jid.clone()));
                let pn = answer.pn.clone().or_else(|| answer.jid.is_pn().then(|| answer.jid.clone()));
                if let (Some(lid), Some(pn)) = (&lid, &pn) {
                    turn.tx.people().learn(lid, pn)?;
                }
                found = pn.or(lid).map(|jid| jid.bare());
            }
        }
        turn.tx.people().set_number(digits, found.as_ref(), turn.now)?;
        for (ticket, command) in parked {
            self.send_message(ticket, command, turn)?;
        }
        Ok(())
    }

    /// The address of a queued number; a number that turns out not to exist ends its send.
    pub(super) fn resolve_row(
        &mut self,
        digits: &str,
        row: &mut Row,
        turn: &mut Turn<'_>,
    ) -> Result<Resolved, Error> {
        match turn.tx.people().number(digits, turn.now)? {
            Number::Registered(jid) => {
                let message = self.store_message(row, &jid, turn)?;
                turn.tx.queue().resolve(row.seq, &jid, message)?;
                row.message = Some(message);
                Ok(Resolved::Jid(jid))
            }
            Number::NotRegistered => {
                // The message gets its row all the same, so that its failure has something to be told of.
                let message = self.store_message(row, &Jid::pn(digits), turn)?;
                row.message = Some(message);
                self.give_up(row, 404, turn)?;
                Ok(Resolved::GivenUp)
            }
            Number::Unknown => {
                self.ask_number(digits, turn);
                Ok(Resolved::Waiting)
            }
        }
    }

    /// The name of a person to be used on the wire: the LID where one is known, for us and for them.
    pub(in crate::account) fn target(&self, to: &Jid, turn: &Turn<'_>) -> Result<Option<Jid>, Error> {
        if !to.is_user() {
            return Ok(None);
        }
        if to.is_pn() && self.own_lid().is_some() {
            return Ok(Some(turn.tx.people().lid_of(to)?.unwrap_or_else(|| to.bare())));
        }
        Ok(Some(to.bare()))
    }

    /// Own name in the same namespace: a stanza must not mix them.
    pub(super) fn own_beside(&self, target: &Jid) -> Option<Jid> {
        let paired = self.device.paired.as_ref()?;
        if target.is_lid() { paired.lid.clone() } else { Some(paired.jid.clone()) }
    }

    pub(in crate::account) fn known_devices(
        &self,
        person: &Jid,
        turn: &Turn<'_>,
    ) -> Result<Option<Vec<u16>>, Error> {
        let known = turn.tx.people().devices(person)?;
        Ok(known.filter(|(_, at)| turn.now.since(*at) < DEVICES_FRESH).map(|(devices, _)| devices))
    }

    pub(in crate::account) fn devices_answered(
        &mut self,
        people: &[Jid],
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let answers = match (Iq::refusal(node), UsyncAnswer::parse_all(node)) {
            (None, Ok(answers)) => answers,
            (refusal, _) => {
                let code = refusal.map(|r| r.code);
                tracing::warn!(code, "device lists could not be had");
                if let Some(conn) = &mut self.conn {
                    conn.ask_again(code, turn.now);
                }
                return Ok(());
            }
        };
        if let Some(conn) = &mut self.conn {
            conn.was_answered();
        }
        let answers: HashMap<&Jid, &UsyncAnswer> =
            answers.iter().rev().map(|answer| (&answer.jid, answer)).collect();
        for person in people {
            if let Some(conn) = &mut self.conn {
                conn.asked_devices.remove(person);
            }
            let answer = answers.get(person).copied();
            let devices = answer.and_then(|answer| answer.devices.as_ref()).map(usable).unwrap_or_default();
            turn.tx.people().set_devices(person, &devices, turn.now)?;
            if self.is_own(person) {
                let print = answer.and_then(|answer| answer.devices.as_ref()).and_then(fingerprint);
                self.keep_fingerprint(print.as_ref(), turn)?;
            }
            let other =
                answer.and_then(|a| a.lid.as_ref().or(a.pn.as_ref())).filter(|other| *other != person);
            if let Some(other) = other {
                turn.tx.people().learn(person, other)?;
                turn.tx.people().set_devices(other, &devices, turn.now)?;
            }
        }
        Ok(())
    }

    pub(in crate::account) fn bundles_answered(
        &mut self,
        devices: &[Jid],
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let answer = match (Iq::refusal(node), BundleAnswer::parse(node)) {
            (None, Ok(answer)) => answer,
            (refusal, _) => {
                let code = refusal.map(|r| r.code);
                tracing::warn!(code, "prekey bundles could not be had");
                if let Some(conn) = &mut self.conn {
                    conn.ask_again(code, turn.now);
                }
                return Ok(());
            }
        };
        if let Some(conn) = &mut self.conn {
            conn.was_answered();
        }
        let entries: HashMap<&Jid, &FetchedBundle> =
            answer.0.iter().rev().map(|entry| (&entry.device, entry)).collect();
        for device in devices {
            let entry = entries.get(device).copied();
            let mut waiting = Vec::new();
            if let Some(conn) = &mut self.conn {
                conn.asked_bundles.remove(device);
                waiting = conn.resends.extract_if(.., |resend| resend.device == *device).collect();
            }
            if !self.start_session(device, entry, !waiting.is_empty(), turn)? {
                if let Some(conn) = &mut self.conn {
                    conn.barren.insert(device.clone());
                }
                // Nothing to answer with: the receipts are done with, or each login would bring them again.
                for resend in waiting {
                    self.ack(&resend.ack, turn);
                }
                continue;
            }
            for resend in waiting {
                let ack = resend.ack.clone();
                self.resend(resend, turn)?;
                self.ack(&ack, turn);
            }
        }
        Ok(())
    }

    /// Opens a session from a fetched bundle; `false` if there is none to be trusted. A session that the peer opened
    /// meanwhile stays, unless `anew`.
    fn start_session(
        &self,
        device: &Jid,
        entry: Option<&FetchedBundle>,
        anew: bool,
        turn: &mut Turn<'_>,
    ) -> Result<bool, Error> {
        let Some(Ok((bundle, identity))) = entry.map(|entry| entry.keys.as_ref()) else { return Ok(false) };
        let address = turn.tx.people().signal_address(device)?;
        if let Some(identity) = identity {
            let account = self.account_key(&address, turn)?;
            if let Err(error) = adv::verify(identity, &bundle.identity, account.as_ref()) {
                tracing::warn!(%error, %device, "a companion's identity does not verify");
                return Ok(false);
            }
        }
        let mut session = turn.tx.signal().session(&address)?;
        if session.is_open() && !anew {
            return Ok(true);
        }
        let local = Local { identity: &self.device.identity, registration_id: self.device.registration_id };
        if let Err(error) = session.initiate(&local, bundle, turn.rng) {
            tracing::warn!(%error, %device, "a prekey bundle does not verify");
            return Ok(false);
        }
        turn.tx.signal().set_session(&address, &session)?;
        turn.tx.signal().set_identity(&address, &bundle.identity)?;
        Ok(true)
    }

    /// The key that must have signed a companion: the identity of its account's phone, as far as it is known.
    fn account_key(&self, address: &Jid, turn: &Turn<'_>) -> Result<Option<PublicKey>, Error> {
        if self.is_own(address) {
            return Ok(self.device.paired.as_ref().map(|p| PublicKey::from_bytes(p.account_key)));
        }
        Ok(turn.tx.signal().identity(&address.bare())?)
    }
}

/// The devices that may be written to: the phone, and companions that the account's signed list names or that are
/// newer than it (whatsapp-rust's rule).
fn usable(answer: &DeviceAnswer) -> Vec<u16> {
    let indexes = answer.key_index_list.as_ref().and_then(|(_, list)| adv::read_key_index_list(list).ok());
    answer
        .devices
        .iter()
        .filter(|device| match (device.id, &indexes, device.key_index) {
            _ if device.hosted => false,
            (0, _, _) | (_, None, _) => true,
            (_, Some(_), None) => false,
            (_, Some(list), Some(index)) => list.valid.contains(&index) || index > list.current,
        })
        .map(|device| device.id)
        .take(MAX_DEVICES)
        .collect()
}

/// What the phone has signed of these devices; `None` without a signed list.
fn fingerprint(answer: &DeviceAnswer) -> Option<Fingerprint> {
    let list = adv::read_key_index_list(&answer.key_index_list.as_ref()?.1).ok()?;
    let usable = usable(answer);
    let listed = answer.devices.iter().filter(|device| usable.contains(&device.id));
    let index = |device: &DeviceEntry| if device.id == 0 { Some(0) } else { device.key_index };
    Some(Fingerprint {
        raw_id: list.raw_id,
        current: list.current,
        indexes: listed.filter_map(index).collect(),
    })
}

/// A Brazilian mobile number with or without its ninth digit, whichever was not given. Numbers registered before the
/// digit came keep their old form as their address.
fn brazilian_variant(digits: &str) -> Option<String> {
    let local = digits.strip_prefix("55")?;
    let (area, number) = local.split_at_checked(2)?;
    match (number.len(), number.strip_prefix('9')) {
        (8, _) => Some(format!("55{area}9{number}")),
        (9, Some(short)) => Some(format!("55{area}{short}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brazilian_numbers_are_tried_with_and_without_the_ninth_digit() {
        assert_eq!(brazilian_variant("5511987654321").as_deref(), Some("551187654321"));
        assert_eq!(brazilian_variant("551187654321").as_deref(), Some("5511987654321"));
        assert_eq!(brazilian_variant("15551230001"), None);
        assert_eq!(brazilian_variant("5511"), None);
    }

    #[test]
    fn a_companion_without_an_index_is_not_written_to_once_there_is_a_list() {
        let mut rng = rand::rng();
        let account = crate::crypto::KeyPair::generate(&mut rng);
        let list = adv::key_index_list(&account, 7, 1_700_000_000, 2, &[2], &mut rng);
        let device = |id, key_index| DeviceEntry { id, key_index, hosted: false };
        let devices = vec![
            device(0, None),
            device(1, Some(1)),
            device(2, Some(2)),
            device(3, None),
            device(4, Some(9)),
        ];
        let with_list = DeviceAnswer { devices: devices.clone(), key_index_list: Some((1, list)) };
        assert_eq!(usable(&with_list), [0, 2, 4]);
        let print = Fingerprint { raw_id: 7, current: 2, indexes: [0, 2, 9].into() };
        assert_eq!(fingerprint(&with_list), Some(print));
        let unsigned = DeviceAnswer { devices, key_index_list: None };
        assert_eq!((usable(&unsigned), fingerprint(&unsigned)), (vec![0, 1, 2, 3, 4], None));
    }
}
