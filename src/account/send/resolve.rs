//! Who is meant, on which devices, with which keys: what a send needs to know before it can be encrypted.

use std::collections::HashMap;

use crate::{
    account::{
        Answer, Error, SendError, SendMessage, Ticket,
        dispatch::{Account, Effect, Turn},
        link::Query,
    },
    clock::Millis,
    crypto::signal::Local,
    stanza::{BundleAnswer, FetchedBundle, Iq, UsyncAnswer, UsyncQuery, contact_digits},
    store::{people::Number, queue::Outgoing as Row},
    wire::{Jid, Node},
};

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
        let doubted = conn.doubtful_retries.iter().map(|(whose, _)| whose);
        let people: Vec<Jid> = doubted.filter(|whose| whose.is_user()).cloned().collect();
        numbers.iter().for_each(|digits| self.ask_number(digits, turn));
        groups.iter().for_each(|group| self.ask_group(group, turn));
        people.iter().for_each(|person| self.ask_devices(person, turn));
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

    /// What has to be asked for before a person's devices are known: these, or what it takes to check them.
    pub(super) fn lacks_devices(&self, person: &Jid, missing: &mut super::Missing) {
        let conn = self.conn.as_ref();
        match conn.and_then(|conn| conn.claims.get(person)) {
            Some(claim) => missing.bundles.extend(claim.devices().map(|id| person.with_device(id))),
            None => drop(missing.devices.insert(person.clone())),
        }
    }

    /// The answer to a lookup; `None`: refused, or no answer at all, and asked again later.
    fn looked_up<T>(&mut self, node: &Node, read: Option<T>, what: &'static str, now: Millis) -> Option<T> {
        let refusal = Iq::refusal(node).map(|refusal| refusal.code);
        let found = read.filter(|_| refusal.is_none());
        if found.is_none() {
            tracing::warn!(code = refusal, what, "could not be had");
        }
        if let Some(conn) = &mut self.conn {
            if found.is_some() {
                conn.was_answered();
            } else {
                conn.ask_again(refusal, now);
            }
        }
        found
    }

    pub(in crate::account) fn devices_answered(
        &mut self,
        people: &[Jid],
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let found = self.looked_up(node, UsyncAnswer::parse_all(node).ok(), "device lists", turn.now);
        let Some(answers) = found else { return Ok(()) };
        let answers: HashMap<&Jid, &UsyncAnswer> =
            answers.iter().rev().map(|answer| (&answer.jid, answer)).collect();
        for person in people {
            if let Some(conn) = &mut self.conn {
                conn.asked_devices.remove(person);
            }
            let answer = answers.get(person).copied();
            let other =
                answer.and_then(|a| a.lid.as_ref().or(a.pn.as_ref())).filter(|other| *other != person);
            if let Some(other) = other {
                turn.tx.people().learn(person, other)?;
            }
            let devices = answer.and_then(|answer| answer.devices.as_ref());
            self.consider_devices(person, other, devices, turn)?;
        }
        Ok(())
    }

    pub(in crate::account) fn bundles_answered(
        &mut self,
        devices: &[Jid],
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let found = self.looked_up(node, BundleAnswer::parse(node).ok(), "prekey bundles", turn.now);
        let Some(answer) = found else { return Ok(()) };
        let entries: HashMap<&Jid, &FetchedBundle> =
            answer.0.iter().rev().map(|entry| (&entry.device, entry)).collect();
        // Phones first: their identities tell which companions are theirs.
        let (phones, companions): (Vec<&Jid>, Vec<&Jid>) =
            devices.iter().partition(|device| device.device() == 0);
        for device in phones.into_iter().chain(companions) {
            let entry = entries.get(device).copied();
            let mut waiting = Vec::new();
            if let Some(conn) = &mut self.conn {
                conn.asked_bundles.remove(device);
                waiting = conn.resends.extract_if(.., |resend| resend.device == *device).collect();
            }
            if device.device() != 0 && waiting.is_empty() && !self.is_listed(device, turn)? {
                continue;
            }
            let started = self.start_session(device, entry, !waiting.is_empty(), turn)?;
            if device.device() == 0 {
                self.settle_claim(device, turn)?;
            }
            if !started {
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

    /// Whether a companion was found to be one.
    fn is_listed(&self, device: &Jid, turn: &Turn<'_>) -> Result<bool, Error> {
        let known = self.known_devices(&device.bare(), turn)?;
        Ok(known.is_some_and(|devices| devices.contains(&device.device())))
    }

    /// Opens a session from a fetched bundle; `false` if there is none to be trusted. A session that the peer opened
    /// meanwhile stays, unless `anew`.
    fn start_session(
        &mut self,
        device: &Jid,
        entry: Option<&FetchedBundle>,
        anew: bool,
        turn: &mut Turn<'_>,
    ) -> Result<bool, Error> {
        let Some(Ok((bundle, signed))) = entry.map(|entry| entry.keys.as_ref()) else { return Ok(false) };
        let address = turn.tx.people().signal_address(device)?;
        let admission = match self.check_device(&address, &bundle.identity, signed.as_deref(), turn)? {
            Ok(admission) => admission,
            Err(error) => {
                tracing::warn!(%error, %device, "a device's identity does not verify");
                return Ok(false);
            }
        };
        let mut session = turn.tx.signal().session(&address)?;
        let anew = anew || self.is_new_phone(&address, &bundle.identity, turn)?;
        if session.is_open() && !anew {
            return Ok(true);
        }
        let local = Local { identity: &self.device.identity, registration_id: self.device.registration_id };
        if let Err(error) = session.initiate(&local, bundle, turn.rng) {
            tracing::warn!(%error, %device, "a prekey bundle does not verify");
            return Ok(false);
        }
        self.admit(&address, &bundle.identity, admission, turn)?;
        turn.tx.signal().set_session(&address, &session)?;
        Ok(true)
    }
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
}
