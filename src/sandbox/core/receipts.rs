//! `<receipt>` from a device: answers what it was sent, and tells the other end (protocol 02, 10.5 and 10.6).

use super::{DeviceRef, Namespace, World};
use crate::{
    clock::Millis,
    stanza::{Ack, Receipt, ReceiptKind},
    wire::{Jid, Node, Server},
};

impl World {
    pub(super) fn receipt(&mut self, from: DeviceRef, node: &Node, now: Millis) {
        let Ok(mut receipt) = Receipt::parse_to(node) else {
            return self.journal.refuse("receipt that does not parse");
        };
        let known = match &receipt.kind {
            ReceiptKind::Other(other) => matches!(other.as_str(), "enc_rekey_retry" | "view"),
            ReceiptKind::Retry => receipt.retry.is_some(),
            _ => true,
        };
        if !known {
            return self.journal.refuse("receipt of an unknown type");
        }
        let released = self.release(from, &receipt);
        // Baileys' receipt for an own copy may lack `to`: it is meant for whoever sent the copy.
        if receipt.peer.is_none() {
            if receipt.kind != ReceiptKind::Sender {
                return self.journal.refuse("receipt without to");
            }
            let author = released.as_ref().and_then(|node| node.jid("from"));
            receipt.peer = author.or_else(|| Some(self.account(from.account).jid(Namespace::Pn, 0)));
        }
        let Some(to) = receipt.peer.clone() else { return };
        let ack = Ack {
            class: "receipt".into(),
            id: receipt.id.clone(),
            peer: to.clone(),
            participant: receipt.participant.clone(),
            recipient: None,
            kind: receipt.kind.as_str().map(str::to_owned),
            error: None,
            t: Some(now.secs()),
            own: None,
            phash: None,
        };
        self.answer(from, ack.build_from(), now);
        if to.server() == Server::Newsletter {
            self.newsletter_viewed(from, &to, node, now);
        } else if to.is_group() || to.is_status() || to.is_list() {
            self.forward_in_chat(from, &to, receipt, node, now);
        } else if let Some(target) = self.resolve(&to) {
            self.forward(from, target, &to, receipt, node, now);
        }
    }

    /// Takes the messages it is about out of the queue; the stanza of the last one.
    fn release(&mut self, from: DeviceRef, receipt: &Receipt) -> Option<Node> {
        let queue = &mut self.device_mut(from)?.queue;
        receipt.ids().filter_map(|id| queue.release_by_receipt(id, receipt)).last().map(|entry| entry.node)
    }

    fn forward(
        &mut self,
        from: DeviceRef,
        to: DeviceRef,
        to_jid: &Jid,
        receipt: Receipt,
        node: &Node,
        now: Millis,
    ) {
        let namespace = Namespace::of(to_jid);
        let own = to.account == from.account;
        let reader = self.account(from.account);
        let stanza = Receipt {
            peer: Some(reader.jid(namespace, 0)),
            recipient: None,
            t: Some(now.secs()),
            offline: None,
            ..receipt.clone()
        };
        let own_device = Some(reader.jid(namespace, from.device));
        match receipt.kind {
            ReceiptKind::Retry => {
                // What is inside is the sender's business; only the addresses change.
                let mut forwarded =
                    Receipt { peer: own_device, recipient: receipt.recipient.clone(), ..stanza };
                let body = forwarded.retry.take();
                debug_assert!(body.is_some(), "checked when it came in");
                let built = forwarded.build_from().children_from(node.children().iter().cloned());
                if let Some(sender) = self.device_mut(to) {
                    sender.recent.asked_again(&receipt.id);
                }
                self.enqueue(to, built, now);
            }
            ReceiptKind::Sender => {
                let node =
                    Receipt { peer: own_device, recipient: receipt.recipient.clone(), ..stanza }.build_from();
                if own && to != from {
                    self.enqueue(to, node, now);
                }
            }
            ReceiptKind::PeerMsg | ReceiptKind::HistSync | ReceiptKind::ServerError => {
                let phone = DeviceRef { account: from.account, device: 0 };
                if own && from != phone {
                    let mut built = Receipt { peer: own_device, ..stanza }.build_from();
                    // Only the phone can read what is asked for.
                    if receipt.kind == ReceiptKind::ServerError {
                        built = built.children_from(node.children().iter().cloned());
                    }
                    self.enqueue(phone, built, now);
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
                if !own && !private {
                    let node = stanza.build_from();
                    for device in self.devices_of(to.account) {
                        self.enqueue(device, node.clone(), now);
                    }
                }
                if to_own {
                    let chat = Some(to_jid.bare());
                    let node = Receipt { peer: own_device, recipient: chat, ..stanza }.build_from();
                    for device in self.devices_of(from.account) {
                        if device != from {
                            self.enqueue(device, node.clone(), now);
                        }
                    }
                }
            }
            // Calls and channels, which do not exist here.
            ReceiptKind::Other(_) => {}
        }
    }
}
