//! Calls: the server passes what is said of one between the caller and every device of whoever is called, and phones
//! ring, answer, reject and hang up. Nobody talks: what only a talk needs is acknowledged and goes no further.

use std::{collections::VecDeque, time::Duration};

use serde::Serialize;

use super::{AccountId, DeviceRef, Namespace, OperateError, Timer, World};
use crate::{
    clock::Millis,
    stanza::{Ack, Call, CallAction, CallOffer},
    wire::{Jid, Node},
};

/// A phone stops ringing after so long (protocol 05, 16).
const RINGS: Duration = Duration::from_secs(45);
/// Calls at one time.
const MAX_CALLS: usize = 1_000;
/// Calls that a phone remembers.
const MAX_KEPT: usize = 1_000;

/// A call that rings, or that somebody has answered.
#[derive(Clone, Copy)]
pub(super) struct Live {
    caller: DeviceRef,
    callee: AccountId,
    /// How the caller addressed whom.
    namespace: Namespace,
    /// The device that took it.
    answered: Option<DeviceRef>,
}

/// A call in a phone's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallView {
    /// Made by the caller.
    pub id: String,
    /// JID of the other end, without device.
    pub peer: String,
    /// With a picture.
    pub video: bool,
    /// This phone called.
    pub outgoing: bool,
    /// `ringing`, `answered`, `rejected`, `ended`, `missed`, `answered_elsewhere`, `rejected_elsewhere`.
    pub state: &'static str,
    /// When it began, Unix seconds.
    pub timestamp: u64,
}

impl World {
    /// The phone's user calls somebody. The call's id.
    pub(crate) fn start_call(
        &mut self,
        phone: AccountId,
        to: &str,
        video: bool,
        now: Millis,
    ) -> Result<String, OperateError> {
        let to = self.recipient(to)?;
        let callee = self.resolve(&to).ok_or(OperateError::BadRequest("to: a person"))?;
        if callee.account == phone {
            return Err(OperateError::BadRequest("to: somebody else"));
        }
        if self.calls.len() >= MAX_CALLS {
            return Err(OperateError::Conflict("too many calls at once"));
        }
        let namespace = Namespace::of(&to);
        let from = DeviceRef { account: phone, device: 0 };
        let creator = self.jid(from, namespace);
        let caller_pn = (namespace == Namespace::Lid).then(|| self.jid(from, Namespace::Pn));
        let call_id = self.random_hex(16);
        let offer = CallOffer { video, of_group: false, group: None, caller_pn };
        let stanza = self.call_stanza(&to, &call_id, &creator, CallAction::Offer(offer));
        self.list_call(phone, &call_id, &to, video, true, now);
        self.as_phone(from.account, stanza.build_to(), now);
        Ok(call_id)
    }

    /// The phone's user answers (`true`), or does not want the call any more: hangs up, or rejects it.
    pub(crate) fn decide_call(
        &mut self,
        phone: AccountId,
        id: &str,
        answer: bool,
        now: Millis,
    ) -> Result<(), OperateError> {
        let live = self.calls.get(id).ok_or(OperateError::NoSuchCall)?;
        let own = DeviceRef { account: phone, device: 0 };
        let (outgoing, incoming) = (live.caller == own, live.callee == phone);
        let action = match (outgoing, incoming, answer, live.answered) {
            (true, _, true, _) => return Err(OperateError::Conflict("the phone calls itself")),
            (true, _, false, _) => CallAction::Terminate(None),
            (_, true, true, None) => CallAction::Accept,
            (_, true, false, None) => CallAction::Reject,
            (_, true, false, Some(device)) if device == own => CallAction::Terminate(None),
            (_, true, ..) => return Err(OperateError::Conflict("another device has answered")),
            _ => return Err(OperateError::NoSuchCall),
        };
        let (namespace, caller) = (live.namespace, live.caller);
        let peer =
            if outgoing { self.account(live.callee).jid(namespace, 0) } else { self.jid(caller, namespace) };
        let creator = self.jid(caller, namespace);
        let state = match &action {
            CallAction::Accept => "answered",
            CallAction::Reject => "rejected",
            _ => "ended",
        };
        let stanza = self.call_stanza(&peer, id, &creator, action);
        self.set_call(phone, id, state);
        self.as_phone(phone, stanza.build_to(), now);
        Ok(())
    }

    /// A phone's list of calls, oldest first.
    pub(crate) fn call_views(&self, phone: AccountId) -> Vec<CallView> {
        self.call_lists.get(&phone).into_iter().flatten().cloned().collect()
    }

    fn call_stanza(&mut self, peer: &Jid, call_id: &str, creator: &Jid, action: CallAction) -> Call {
        Call {
            id: self.random_hex(16),
            peer: peer.clone(),
            t: None,
            notify: None,
            offline: None,
            call_id: call_id.to_owned(),
            creator: creator.clone(),
            action,
        }
    }

    /// `<call>` from a device.
    pub(super) fn call(&mut self, from: DeviceRef, node: &Node, now: Millis) {
        let Ok(call) = Call::parse_to(node) else { return self.journal.refuse("call that does not parse") };
        let ack = Ack {
            class: "call".into(),
            id: call.id.clone(),
            peer: call.peer.clone(),
            participant: None,
            recipient: None,
            kind: node.children().first().map(|child| child.tag.to_string()),
            error: None,
            t: None,
            own: None,
            phash: None,
        };
        self.answer(from, ack.build_from(), now);
        let Some(caller) = self.resolve(&call.creator) else {
            return self.journal.refuse("call of somebody who does not exist");
        };
        match &call.action {
            CallAction::Offer(_) => self.ring(from, &call, now),
            _ => match self.calls.get(&call.call_id) {
                // It has ended meanwhile.
                None => {}
                Some(live) if live.caller.account != caller.account => {
                    self.journal.refuse("call of another caller than it has");
                }
                Some(live) if from.account != live.caller.account && from.account != live.callee => {
                    self.journal.refuse("call of other people");
                }
                Some(live) => {
                    let by_caller = from.account == live.caller.account;
                    self.call_goes_on(from, by_caller, &call, now);
                }
            },
        }
    }

    fn ring(&mut self, from: DeviceRef, call: &Call, now: Millis) {
        if self.resolve(&call.creator) != Some(from) {
            return self.journal.refuse("call in the name of another device");
        }
        let Some(callee) = self.resolve(&call.peer).filter(|callee| callee.account != from.account) else {
            return self.journal.refuse("call to nobody");
        };
        if self.calls.contains_key(&call.call_id) || self.calls.len() >= MAX_CALLS {
            return;
        }
        let namespace = Namespace::of(&call.peer);
        let live = Live { caller: from, callee: callee.account, namespace, answered: None };
        self.calls.insert(call.call_id.clone(), live);
        self.at(now + RINGS, Timer::Call(call.call_id.clone()));
        for device in self.devices_of(callee.account) {
            self.pass_call(device, from, (&call.call_id, live), call.action.clone(), now);
        }
    }

    /// Somebody took, refused or ended a call.
    fn call_goes_on(&mut self, from: DeviceRef, by_caller: bool, call: &Call, now: Millis) {
        let Some(known) = self.calls.get_mut(&call.call_id) else { return };
        let (id, live) = (call.call_id.as_str(), *known);
        let elsewhere = match (&call.action, by_caller, live.answered) {
            (CallAction::Accept, false, None) => {
                known.answered = Some(from);
                "accepted_elsewhere"
            }
            (CallAction::Reject, false, None) => {
                self.calls.remove(id);
                "rejected_elsewhere"
            }
            (CallAction::Terminate(_), ..) => {
                self.calls.remove(id);
                let told = match (by_caller, live.answered) {
                    (false, _) => vec![live.caller],
                    // The others were told that one of them took it.
                    (true, Some(device)) => vec![device],
                    (true, None) => self.devices_of(live.callee),
                };
                for device in told {
                    self.pass_call(device, from, (id, live), call.action.clone(), now);
                }
                return;
            }
            _ => return,
        };
        self.pass_call(live.caller, from, (id, live), call.action.clone(), now);
        let told = CallAction::Terminate(Some(elsewhere.to_owned()));
        for device in self.devices_of(live.callee).into_iter().filter(|device| *device != from) {
            self.pass_call(device, live.caller, (id, live), told.clone(), now);
        }
    }

    /// Nobody answered.
    pub(super) fn call_timed_out(&mut self, id: &str, now: Millis) {
        if self.calls.get(id).is_none_or(|live| live.answered.is_some()) {
            return;
        }
        let Some(live) = self.calls.remove(id) else { return };
        let timeout = CallAction::Terminate(Some("timeout".to_owned()));
        for device in self.devices_of(live.callee) {
            self.pass_call(device, live.caller, (id, live), timeout.clone(), now);
        }
        self.set_call(live.caller.account, id, "missed");
    }

    /// Hands what `from` said of a call to a device, under the names that the offer had.
    fn pass_call(
        &mut self,
        to: DeviceRef,
        from: DeviceRef,
        (id, live): (&str, Live),
        action: CallAction,
        now: Millis,
    ) {
        let (peer, creator) = (self.jid(from, live.namespace), self.jid(live.caller, live.namespace));
        let name = self.account(from.account).name.clone();
        let stanza =
            Call { t: Some(now.secs()), notify: Some(name), ..self.call_stanza(&peer, id, &creator, action) };
        self.enqueue(to, stanza.build_from(), now);
    }

    /// A phone hears of a call.
    pub(super) fn phone_hears_call(&mut self, phone: DeviceRef, node: &Node, now: Millis) {
        self.phone_acks(phone, node);
        let Ok(call) = Call::parse_from(node) else { return };
        let state = match &call.action {
            CallAction::Offer(offer) => {
                return self.list_call(phone.account, &call.call_id, &call.peer, offer.video, false, now);
            }
            CallAction::Accept => "answered",
            CallAction::Reject => "rejected",
            CallAction::Terminate(reason) => match reason.as_deref() {
                Some("accepted_elsewhere") => "answered_elsewhere",
                Some("rejected_elsewhere") => "rejected_elsewhere",
                _ => "ended",
            },
            CallAction::Other(_) => return,
        };
        self.set_call(phone.account, &call.call_id, state);
    }

    fn list_call(
        &mut self,
        phone: AccountId,
        id: &str,
        peer: &Jid,
        video: bool,
        outgoing: bool,
        now: Millis,
    ) {
        let list = self.call_lists.entry(phone).or_default();
        list.push_back(CallView {
            id: id.to_owned(),
            peer: peer.bare().to_wire(),
            video,
            outgoing,
            state: "ringing",
            timestamp: now.secs(),
        });
        if list.len() > MAX_KEPT {
            list.pop_front();
        }
    }

    /// What rang and was answered by nobody was missed.
    fn set_call(&mut self, phone: AccountId, id: &str, state: &'static str) {
        let list: Option<&mut VecDeque<CallView>> = self.call_lists.get_mut(&phone);
        if let Some(call) = list.and_then(|list| list.iter_mut().rev().find(|call| call.id == id)) {
            let unanswered = !call.outgoing && call.state == "ringing" && state == "ended";
            call.state = if unanswered { "missed" } else { state };
        }
    }
}
