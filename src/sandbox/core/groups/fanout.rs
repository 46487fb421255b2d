//! Messages and receipts of groups and of status: who gets what, and under which names (protocol 02, 10.3 to 10.6).

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    clock::Millis,
    sandbox::core::{
        DeviceRef, Namespace, World,
        messages::{Plan, Refusal, schema},
    },
    stanza::{Enc, EncKind, Incoming, Outgoing, Receipt, ReceiptKind, participant_hash},
    wire::{Jid, Node},
};

impl World {
    /// Who gets a message to a group or to everybody's status page.
    pub(in crate::sandbox::core) fn plan_chat(
        &self,
        from: DeviceRef,
        out: &Outgoing,
    ) -> Result<Plan, Refusal> {
        if out.to.is_status() {
            return self.plan_status(from, out);
        }
        let refuse = |code| Refusal { code, misbehaviour: None };
        self.may_write(from.account, &out.to).map_err(refuse)?;
        let group = self.group(&out.to).map_err(|(code, _)| refuse(code))?;
        let mode = if group.namespace == Namespace::Lid { "lid" } else { "pn" };
        if out.addressing_mode.as_deref().is_some_and(|named| named != mode) {
            return Err(refuse(421));
        }
        // Only who manages a group takes back what others wrote.
        if out.edit.as_deref() == Some("8") && group.admin(from.account).is_err() {
            return Err(schema("a member takes back what somebody else wrote"));
        }
        let is_member = |device: DeviceRef| group.members.contains_key(&device.account);
        if let Some(asked_by) = &out.participant {
            return self.plan_resend(from, asked_by, out, is_member);
        }
        let pairwise = self.pairwise(from, out, Some(group.namespace))?;
        let everybody: Vec<DeviceRef> = group.members.keys().flat_map(|id| self.devices_of(*id)).collect();
        let skmsg = out.direct.clone();
        if skmsg.is_none() && pairwise.is_empty() {
            return Err(schema("message without ciphertext"));
        }
        let hash = participant_hash(everybody.iter().map(|device| self.jid(*device, group.namespace)));
        let phash = out.phash.as_ref().filter(|named| **named != hash).map(|_| hash);
        let targets = everybody.into_iter().filter(|device| *device != from);
        Ok(Plan { targets: merged(targets, &pairwise, skmsg.as_ref()), phash })
    }

    /// Everybody named, and the own devices.
    fn plan_status(&self, from: DeviceRef, out: &Outgoing) -> Result<Plan, Refusal> {
        if let Some(asked_by) = &out.participant {
            return self.plan_resend(from, asked_by, out, |_| true);
        }
        let pairwise = self.pairwise(from, out, None)?;
        let named = out.participants.iter().filter_map(|(jid, _)| self.resolve(jid));
        let accounts: BTreeSet<_> = named.map(|device| device.account).chain([from.account]).collect();
        let targets =
            accounts.into_iter().flat_map(|id| self.devices_of(id)).filter(|device| *device != from);
        if out.direct.is_none() {
            // A reaction: for the devices that are named, and nobody else.
            let targets = targets.filter(|device| pairwise.contains_key(device));
            return Ok(Plan { targets: merged(targets, &pairwise, None), phash: None });
        }
        Ok(Plan { targets: merged(targets, &pairwise, out.direct.as_ref()), phash: None })
    }

    /// For the one device that asked.
    pub(in crate::sandbox::core) fn plan_resend(
        &self,
        from: DeviceRef,
        asked_by: &Jid,
        out: &Outgoing,
        may_read: impl Fn(DeviceRef) -> bool,
    ) -> Result<Plan, Refusal> {
        let enc = out.direct.clone().filter(|enc| enc.kind != EncKind::SenderKey);
        let enc = enc.ok_or(schema("resend within a group without its ciphertext"))?;
        let target = self.resolve(asked_by).filter(|device| *device != from && may_read(*device));
        let targets = target.map(|device| (device, vec![enc])).into_iter().collect();
        Ok(Plan { targets, phash: None })
    }

    /// The ciphertexts for single devices. Baileys lists its own device, too, and a member may just have left.
    fn pairwise(
        &self,
        from: DeviceRef,
        out: &Outgoing,
        namespace: Option<Namespace>,
    ) -> Result<BTreeMap<DeviceRef, Enc>, Refusal> {
        let mut found = BTreeMap::new();
        for (jid, enc) in &out.participants {
            if namespace.is_some_and(|namespace| Namespace::of(jid) != namespace) {
                return Err(Refusal { code: 400, misbehaviour: Some("participants in mixed namespaces") });
            }
            let Some(enc) = enc else {
                // In a status an entry without one names an audience.
                if namespace.is_some() {
                    return Err(schema("participant without enc"));
                }
                continue;
            };
            if let Some(device) = self.resolve(jid).filter(|device| *device != from) {
                found.entry(device).or_insert_with(|| enc.clone());
            }
        }
        Ok(found)
    }

    /// What one device is handed of a message to a group or of a status.
    pub(in crate::sandbox::core) fn incoming_in_chat(
        &self,
        from: DeviceRef,
        out: &Outgoing,
        encs: Vec<Enc>,
        now: Millis,
    ) -> Incoming {
        let sender = self.account(from.account);
        // Baileys knows its own status by the number only.
        let namespace = self.group(&out.to).map_or(Namespace::Pn, |group| group.namespace);
        let opens = encs.iter().any(|enc| enc.kind == EncKind::PreKey);
        let mode = if namespace == Namespace::Lid { "lid" } else { "pn" };
        Incoming {
            id: out.id.clone(),
            from: out.to.clone(),
            t: now.secs(),
            kind: out.kind.clone(),
            participant: Some(sender.jid(namespace, from.device)),
            recipient: None,
            sender_alt: Some(sender.jid(namespace.other(), 0)),
            recipient_alt: None,
            notify: Some(sender.name.clone()),
            peer: false,
            edit: out.edit.clone(),
            offline: None,
            addressing_mode: out.to.is_group().then(|| mode.to_owned()),
            encs,
            device_identity: out.device_identity.clone().filter(|_| opens),
            unavailable: None,
            audience: Vec::new(),
            extras: out.extras.clone(),
        }
    }

    /// A receipt for a message of a group or for a status: to its author, and, if it was read, to the own devices.
    pub(in crate::sandbox::core) fn forward_in_chat(
        &mut self,
        from: DeviceRef,
        chat: &Jid,
        receipt: Receipt,
        node: &Node,
        now: Millis,
    ) {
        let Some(author_jid) = receipt.participant.clone() else {
            return self.journal.refuse("receipt in a group without participant");
        };
        let Some(author) = self.resolve(&author_jid) else { return };
        let namespace = self.group(chat).map_or(Namespace::of(&author_jid), |group| group.namespace);
        let reader = self.account(from.account);
        let alt = reader.jid(namespace.other(), 0);
        let alt_key = if alt.is_lid() { "participant_lid" } else { "participant_pn" };
        let mut stanza = Receipt {
            peer: Some(chat.clone()),
            participant: Some(reader.jid(namespace, from.device)),
            recipient: None,
            t: Some(now.secs()),
            offline: None,
            ..receipt.clone()
        };
        let own = author.account == from.account;
        match receipt.kind {
            ReceiptKind::Retry => {
                stanza.retry = None;
                let built =
                    stanza.build_from().attr(alt_key, alt).children_from(node.children().iter().cloned());
                if let Some(sender) = self.device_mut(author) {
                    sender.recent.asked_again(&receipt.id);
                }
                self.enqueue(author, built, now);
            }
            ReceiptKind::Sender => {
                if own && author != from {
                    self.enqueue(author, stanza.build_from(), now);
                }
            }
            ReceiptKind::Delivered
            | ReceiptKind::Inactive
            | ReceiptKind::Read
            | ReceiptKind::ReadSelf
            | ReceiptKind::Played
            | ReceiptKind::PlayedSelf => {
                let private = matches!(receipt.kind, ReceiptKind::ReadSelf | ReceiptKind::PlayedSelf);
                let to_own = private || matches!(receipt.kind, ReceiptKind::Read | ReceiptKind::Played);
                let built = stanza.build_from().attr(alt_key, alt);
                let mut targets = Vec::new();
                if !own && !private {
                    targets.extend(self.devices_of(author.account));
                }
                if to_own {
                    targets
                        .extend(self.devices_of(from.account).into_iter().filter(|device| *device != from));
                }
                for device in targets {
                    self.enqueue(device, built.clone(), now);
                }
            }
            ReceiptKind::PeerMsg | ReceiptKind::HistSync => {
                self.journal.refuse("receipt of a kind that groups do not have");
            }
            ReceiptKind::ServerError | ReceiptKind::Other(_) => {}
        }
    }

    /// Typing in a group, passed on to everybody else in it.
    pub(in crate::sandbox::core) fn chatstate_in_group(
        &mut self,
        device: DeviceRef,
        chat: &Jid,
        state: &Node,
        now: Millis,
    ) {
        let Ok(group) = self.group(chat) else { return };
        if group.rank(device.account).is_err() {
            return;
        }
        let members = group.members.keys().copied().filter(|id| *id != device.account);
        let targets: Vec<DeviceRef> = members.flat_map(|id| self.devices_of(id)).collect();
        let who = self.account(device.account).jid(group.namespace, 0);
        let stanza = Node::new("chatstate").attr("from", chat).attr("participant", who).child(state.clone());
        let until = now + self.settings.chatstate_ttl;
        for target in targets {
            self.enqueue_until(target, stanza.clone(), Some(until), now);
        }
    }
}

/// Each device's own ciphertext first: it may hold the key to the common one.
fn merged(
    targets: impl IntoIterator<Item = DeviceRef>,
    pairwise: &BTreeMap<DeviceRef, Enc>,
    common: Option<&Enc>,
) -> Vec<(DeviceRef, Vec<Enc>)> {
    let of = |device: DeviceRef| {
        let encs: Vec<Enc> = pairwise.get(&device).into_iter().chain(common).cloned().collect();
        (!encs.is_empty()).then_some((device, encs))
    };
    targets.into_iter().filter_map(of).collect()
}
