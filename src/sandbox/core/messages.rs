//! `<message>` from a device: checked, split up by receiver, acknowledged to the sender, and then handed on.

use std::collections::BTreeSet;

use super::{DeviceRef, Namespace, World, faults::Kind};
use crate::{
    clock::Millis,
    crypto::signal::{PreKeyMessage, is_sender_key_message},
    stanza::{Ack, Enc, EncKind, Incoming, Outgoing, participant_hash},
    wire::{Jid, Node},
};

/// What the fan-out of one message comes to.
pub(super) struct Plan {
    /// In the order in which each device is to open them.
    pub(super) targets: Vec<(DeviceRef, Vec<Enc>)>,
    /// The right participant hash, where the sender's device list was wrong.
    pub(super) phash: Option<String>,
}

/// Why a message goes nowhere.
pub(super) struct Refusal {
    /// `error` of the ack (protocol 02, 6.13).
    pub(super) code: u16,
    /// Set where no documented client would have sent it.
    pub(super) misbehaviour: Option<&'static str>,
}

pub(super) const fn schema(reason: &'static str) -> Refusal {
    Refusal { code: 479, misbehaviour: Some(reason) }
}

const KINDS: [&str; 5] = ["text", "media", "reaction", "poll", "event"];
/// Whisper message, version 3 of both.
const VERSION: u8 = 0x33;

impl World {
    pub(super) fn message(&mut self, from: DeviceRef, node: &Node, now: Millis) {
        if self.device(from).is_none() || self.newsletter_message(from, node, now) {
            return;
        }
        let out = match Outgoing::parse(node) {
            Ok(out) => out,
            Err(_) => return self.refuse_unreadable(from, node, now),
        };
        self.look_for_reuse(from, &out);
        let mut ack = Ack::taken(&out.id, &out.to, now.secs());
        let resend = out.direct.as_ref().is_some_and(|enc| enc.count.is_some());
        let repeated = self.device(from).and_then(|d| d.recent.repeated(&out.id)).filter(|_| !resend);
        if let Some(t) = repeated {
            ack.t = Some(t);
            return self.send_ack(from, &ack, now);
        }
        // Who asked for a message again does not ask because the answer was refused; and what devices of one account have
        // to say to each other is no business of anybody who refuses.
        if let Some(code) = (!resend && !out.peer).then(|| self.fault(Kind::Reject, from)).flatten() {
            ack.error = u16::try_from(code).ok();
            return self.send_ack(from, &ack, now);
        }
        if out.peer && node.find("tctoken").is_some() {
            self.journal.refuse("token on a peer message");
            ack.error = Some(479);
            return self.send_ack(from, &ack, now);
        }
        let plan = match check_encs(node, &out, from).and_then(|()| self.plan(from, &out)) {
            Ok(plan) => plan,
            Err(refusal) => {
                if let Some(reason) = refusal.misbehaviour {
                    self.journal.refuse(reason);
                }
                ack.error = Some(refusal.code);
                return self.send_ack(from, &ack, now);
            }
        };
        if let Some(code) = self.refuse_contact(from.account, &out, node, now) {
            ack.error = Some(code);
            return self.send_ack(from, &ack, now);
        }
        if let Some(sender) = self.device_mut(from) {
            sender.recent.note(&out.id, now.secs());
        }
        self.journal.messages += 1;
        ack.phash = plan.phash;
        // The sender hears of it before anybody else does, so that a status goes 2, 3, 4.
        self.send_ack(from, &ack, now);
        let private = out.to.is_user() || out.to.is_list();
        for (target, encs) in plan.targets {
            // Whoever is blocked is told that it was sent, and no more.
            if private && self.has_blocked(target.account, from.account) {
                continue;
            }
            if target.account != from.account {
                self.account_mut(from.account).peers.insert(target.account);
                self.account_mut(target.account).peers.insert(from.account);
            }
            self.journal.deliveries += 1;
            let mut stanza = if out.to.is_user() {
                self.incoming(from, target, &out, encs, now)
            } else {
                self.incoming_in_chat(from, &out, encs, now)
            };
            if out.to.is_list() && target.account == from.account {
                stanza.audience = self.audience_of(from.account, &out);
            }
            self.spoil(target, &mut stanza);
            let stanza = stanza.build();
            if self.fault(Kind::Duplicate, target).is_some() {
                self.enqueue(target, stanza.clone(), now);
            }
            self.enqueue(target, stanza, now);
        }
    }

    /// Faults that keep a device from reading a message. Phones are spared: somebody has to be able to help.
    fn spoil(&mut self, target: DeviceRef, stanza: &mut Incoming) {
        if target.device == 0 || stanza.peer {
            return;
        }
        if self.fault(Kind::Withhold, target).is_some() {
            stanza.encs.clear();
            stanza.unavailable = Some("fanout".into());
        } else if self.fault(Kind::Corrupt, target).is_some() {
            for enc in &mut stanza.encs {
                // So near to the end stands in every form what its MAC or signature covers, or that itself. A header in
                // which the counter alone is another one looks like a message that was read long ago.
                let near_the_end = enc.ciphertext.len().saturating_sub(12);
                if let Some(byte) = enc.ciphertext.get_mut(near_the_end) {
                    *byte ^= 1;
                }
            }
        } else if self.fault(Kind::Stale, target).is_some() {
            for enc in stanza.encs.iter_mut().filter(|enc| enc.kind == EncKind::Message) {
                // A version, the ratchet key (its tag, its length and 33 bytes), the counter: its tag, and so many bits
                // as fit. The first of a chain stays as it is.
                if let Some([0x10, count]) = enc.ciphertext.get_mut(36..38) {
                    *count &= 0x80;
                }
            }
        }
    }

    fn send_ack(&mut self, to: DeviceRef, ack: &Ack, now: Millis) {
        if !self.ack_dropped(to) {
            self.answer(to, ack.build_from(), now);
        }
    }

    fn refuse_unreadable(&mut self, from: DeviceRef, node: &Node, now: Millis) {
        self.journal.refuse("message that does not parse");
        let (Some(id), Some(to)) = (node.text("id"), node.jid("to")) else { return };
        let ack = Node::new("ack")
            .attr("class", "message")
            .attr("id", id.to_owned())
            .attr("from", &to)
            .attr("t", now.secs())
            .attr("error", 479_u32);
        self.answer(from, ack, now);
    }

    fn plan(&self, from: DeviceRef, out: &Outgoing) -> Result<Plan, Refusal> {
        if out.to.is_group() || out.to.is_status() {
            return self.plan_chat(from, out);
        }
        if out.to.is_list() {
            return self.plan_list(from, out);
        }
        let Some(to) = self.resolve(&out.to) else {
            return Err(Refusal { code: 404, misbehaviour: None });
        };
        if out.peer {
            return self.plan_peer(from, to, out);
        }
        if let Some(enc) = &out.direct {
            // A resend, or a peer with one device. Baileys adds a surplus `<participants>` to its resends.
            let targets = if to == from { Vec::new() } else { vec![(to, vec![enc.clone()])] };
            return Ok(Plan { targets, phash: None });
        }
        self.plan_fan_out(from, to, out)
    }

    fn plan_peer(&self, from: DeviceRef, to: DeviceRef, out: &Outgoing) -> Result<Plan, Refusal> {
        if to.account != from.account {
            return Err(schema("peer message to another account"));
        }
        if !out.participants.is_empty() {
            return Err(schema("peer message with participants"));
        }
        let enc = out.direct.clone().ok_or(schema("peer message without enc"))?;
        Ok(Plan { targets: vec![(to, vec![enc])], phash: None })
    }

    fn plan_fan_out(&self, from: DeviceRef, to: DeviceRef, out: &Outgoing) -> Result<Plan, Refusal> {
        if out.participants.is_empty() {
            return Err(schema("message without ciphertext"));
        }
        let namespace = Namespace::of(&out.to);
        let mut listed = BTreeSet::new();
        let mut targets = Vec::new();
        for (jid, enc) in &out.participants {
            if Namespace::of(jid) != namespace {
                return Err(Refusal { code: 400, misbehaviour: Some("participants in mixed namespaces") });
            }
            let enc = enc.as_ref().ok_or(schema("participant without enc"))?;
            let Some(target) = self.resolve(jid) else { continue };
            if target.account != to.account && target.account != from.account {
                return Err(schema("participant outside of the chat"));
            }
            // A Baileys self-chat lists every own device twice; the first form counts.
            if target != from && self.device(target).is_some() && listed.insert(target) {
                targets.push((target, vec![enc.clone()]));
            }
        }
        let expected: BTreeSet<DeviceRef> = self
            .devices_of(to.account)
            .into_iter()
            .chain(self.devices_of(from.account))
            .filter(|device| *device != from)
            .collect();
        let phash = (expected != listed)
            .then(|| participant_hash(expected.iter().map(|device| self.jid(*device, namespace))));
        Ok(Plan { targets, phash })
    }

    /// What one device is handed.
    fn incoming(
        &self,
        from: DeviceRef,
        target: DeviceRef,
        out: &Outgoing,
        encs: Vec<Enc>,
        now: Millis,
    ) -> Incoming {
        let namespace = Namespace::of(&out.to);
        let sender = self.account(from.account);
        let own = target.account == from.account;
        let chat = out.recipient.as_ref().unwrap_or(&out.to).bare();
        // A note to oneself names no chat: it is the own one.
        let recipient = (own && !out.peer)
            .then_some(&chat)
            .filter(|chat| self.resolve(chat).is_none_or(|chat| chat.account != from.account));
        let recipient_alt = recipient
            .and_then(|chat| self.resolve(chat))
            .map(|chat| self.account(chat.account).jid(namespace.other(), 0));
        let opens = encs.iter().any(|enc| enc.kind == EncKind::PreKey);
        let device_identity = out.device_identity.clone().filter(|_| opens);
        Incoming {
            id: out.id.clone(),
            from: sender.jid(namespace, from.device),
            t: now.secs(),
            kind: out.kind.clone(),
            participant: None,
            recipient: recipient.cloned(),
            sender_alt: (!own).then(|| sender.jid(namespace.other(), 0)),
            recipient_alt,
            notify: Some(sender.name.clone()),
            peer: out.peer,
            edit: out.edit.clone(),
            offline: None,
            addressing_mode: None,
            encs,
            device_identity,
            unavailable: None,
            audience: Vec::new(),
            extras: out.extras.clone(),
        }
    }
}

/// The form of the ciphertexts, which the server can see though it cannot read them.
fn check_encs(node: &Node, out: &Outgoing, from: DeviceRef) -> Result<(), Refusal> {
    if !KINDS.contains(&out.kind.as_str()) {
        return Err(schema("message of an unknown type"));
    }
    let in_chat = out.to.is_group() || out.to.is_status();
    if out.participant.is_some() && !in_chat && !out.to.is_list() {
        return Err(schema("participant attribute outside of groups"));
    }
    // The common ciphertext of a group is the one that is for nobody in particular.
    let common = out.direct.as_ref().filter(|enc| in_chat && enc.kind == EncKind::SenderKey);
    if in_chat && out.participant.is_none() && out.direct.is_some() && common.is_none() {
        return Err(schema("group message without sender key"));
    }
    if common.is_some_and(|enc| !is_sender_key_message(&enc.ciphertext)) {
        return Err(schema("ciphertext that is no sender key message"));
    }
    let listed = node.find("participants").into_iter().flat_map(|p| p.find_all("to"));
    let encs = node.find_all("enc").chain(listed.filter_map(|to| to.find("enc")));
    for enc in encs {
        if enc.text("v") != Some("2") {
            return Err(schema("enc of another version than 2"));
        }
    }
    let mut opens_session = false;
    let single = out.direct.iter().filter(|_| common.is_none());
    for enc in single.chain(out.participants.iter().filter_map(|(_, enc)| enc.as_ref())) {
        let well_formed = match enc.kind {
            EncKind::PreKey => {
                opens_session = true;
                PreKeyMessage::parse(&enc.ciphertext).is_ok()
            }
            EncKind::Message => enc.ciphertext.first() == Some(&VERSION),
            EncKind::SenderKey | EncKind::Other(_) => return Err(schema("enc type outside of its place")),
        };
        if !well_formed {
            return Err(schema("ciphertext that is no Signal message"));
        }
    }
    // Phones attach none.
    if opens_session && from.device != 0 && out.device_identity.is_none() {
        return Err(schema("pkmsg without device identity"));
    }
    Ok(())
}

/// A person's address as the control API shows it.
pub(super) fn bare(jid: &Jid) -> String {
    jid.bare().to_wire()
}
