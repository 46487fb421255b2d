//! Incoming calls: told as events, rejected on request or as configured. The instance has no voice; it never answers.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    Body, Error, Recipient, SendMessage,
    ask::{AskError, Next, Outcome, Told},
    dispatch::{Account, Turn},
    send::Way,
};
use crate::{
    clock::Millis,
    stanza::{Call as Stanza, CallAction, CallOffer},
    store::{calls::Call, events::NewEvent},
    wire::{Jid, Node},
};

/// A call that began longer ago does not ring any more: clients and the server give up after about 45 s.
const RINGS: Duration = Duration::from_secs(60);
/// A caller who calls again and again is sent the text once in so long.
const TEXT_EVERY: Duration = Duration::from_secs(60);

/// Setting: calls are rejected as they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectCalls {
    /// What the caller is sent instead.
    pub saying: Option<String>,
}

/// What callers of the API ask about calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallCommand {
    /// The one that rings under this id.
    Reject(String),
}

/// How an incoming call ended, for the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Missed,
    Rejected,
    AcceptedElsewhere,
    RejectedElsewhere,
    Ended,
}

impl Ending {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Rejected => "rejected",
            Self::AcceptedElsewhere => "accepted_elsewhere",
            Self::RejectedElsewhere => "rejected_elsewhere",
            Self::Ended => "ended",
        }
    }

    /// By the word of the server. Without one the caller hung up, and nobody had answered.
    fn of(reason: Option<&str>) -> Self {
        match reason {
            Some("accepted_elsewhere") => Self::AcceptedElsewhere,
            Some("rejected_elsewhere") => Self::RejectedElsewhere,
            Some("group_call_ended") => Self::Ended,
            _ => Self::Missed,
        }
    }
}

impl Account {
    /// A `<call>`: acknowledged always, after what it says is part of the turn.
    pub(super) fn call(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        match Stanza::parse_from(node) {
            Ok(stanza) => self.call_said(&stanza, turn)?,
            Err(error) => tracing::warn!(%error, "call"),
        }
        self.ack(node, turn);
        self.continue_drain(turn);
        Ok(())
    }

    fn call_said(&mut self, stanza: &Stanza, turn: &mut Turn<'_>) -> Result<(), Error> {
        // What the account's other devices call is their business.
        if !stanza.creator.is_user() || self.is_own(&stanza.creator) {
            return Ok(());
        }
        if let CallAction::Offer(CallOffer { caller_pn: Some(pn), .. }) = &stanza.action {
            turn.tx.people().learn(&stanza.creator, pn)?;
        }
        let caller = turn.tx.people().signal_address(&stanza.creator.bare())?;
        let known = turn.tx.calls().find(&stanza.call_id, &caller)?;
        let outcome = match &stanza.action {
            CallAction::Offer(_) if known.is_some() => return Ok(()),
            CallAction::Offer(offer) => {
                let call = Self::call_of(stanza, caller, offer, turn.now);
                return self.call_offered(&call, stanza.notify.as_deref(), turn);
            }
            CallAction::Accept => Ending::AcceptedElsewhere,
            CallAction::Reject => Ending::RejectedElsewhere,
            CallAction::Terminate(reason) => Ending::of(reason.as_deref()),
            CallAction::Other(_) => return Ok(()),
        };
        match known {
            Some(call) if call.over => Ok(()),
            Some(call) => {
                turn.tx.calls().end(&call)?;
                self.report_call(&call, Some(outcome), stanza.notify.as_deref(), turn)
            }
            // The server need not keep the offer of a call that was missed.
            None => {
                let call =
                    Call { over: true, ..Self::call_of(stanza, caller, &CallOffer::default(), turn.now) };
                turn.tx.calls().add(&call)?;
                self.report_call(&call, Some(outcome), stanza.notify.as_deref(), turn)
            }
        }
    }

    fn call_of(stanza: &Stanza, caller: Jid, offer: &CallOffer, now: Millis) -> Call {
        let began = stanza.t.and_then(|t| t.checked_mul(1000)).map_or(now, Millis);
        Call {
            call_id: stanza.call_id.clone(),
            caller,
            creator: stanza.creator.clone(),
            peer: stanza.peer.clone(),
            video: offer.video,
            of_group: offer.of_group,
            group: offer.group.clone(),
            at: began.min(now),
            over: false,
        }
    }

    fn call_offered(&mut self, call: &Call, name: Option<&str>, turn: &mut Turn<'_>) -> Result<(), Error> {
        turn.tx.calls().add(call)?;
        self.report_call(call, None, name, turn)?;
        if turn.now.since(call.at) >= RINGS {
            turn.tx.calls().end(call)?;
            return self.report_call(call, Some(Ending::Missed), name, turn);
        }
        let Some(reject) = self.settings.reject_calls.clone() else { return Ok(()) };
        self.reject(call, name, turn)?;
        match reject.saying {
            Some(text) if !call.of_group => self.send_instead(call, text, turn),
            _ => Ok(()),
        }
    }

    fn reject(&self, call: &Call, name: Option<&str>, turn: &mut Turn<'_>) -> Result<(), Error> {
        let mut id = [0; 16];
        turn.rng.fill_bytes(&mut id);
        let stanza = Stanza {
            id: hex::encode_upper(id),
            peer: call.peer.clone(),
            t: None,
            notify: None,
            offline: None,
            call_id: call.call_id.clone(),
            creator: call.creator.clone(),
            action: CallAction::Reject,
        };
        // The server's answer is not waited for: a call that cannot be rejected ends by itself soon.
        let own = self.device.paired.as_ref().map(|paired| paired.jid.clone());
        turn.send(&stanza.build_to().attr_opt("from", own));
        turn.tx.calls().end(call)?;
        self.report_call(call, Some(Ending::Rejected), name, turn)
    }

    fn send_instead(&mut self, call: &Call, text: String, turn: &mut Turn<'_>) -> Result<(), Error> {
        let last = turn.tx.calls().told_at(&call.caller)?;
        if last.is_some_and(|last| turn.now.since(last) < TEXT_EVERY) {
            return Ok(());
        }
        turn.tx.calls().told(call, turn.now)?;
        let message = SendMessage {
            recipient: Recipient::Jid(call.caller.clone()),
            body: Body::Text(text),
            reply_to: None,
            mentions: Vec::new(),
            idempotency: None,
            respond_async: true,
            send_at: None,
            dry: false,
        };
        self.accept(Way::Itself, message, turn)?;
        Ok(())
    }

    pub(super) fn call_asked(
        &mut self,
        command: &CallCommand,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, Error> {
        let CallCommand::Reject(id) = command;
        let since = Millis(turn.now.0.saturating_sub(RINGS.as_millis() as u64));
        let Some(call) = turn.tx.calls().ringing(id, since)? else { return Ok(Err(AskError::Unknown)) };
        self.reject(&call, None, turn)?;
        Ok(Ok(Next::Done(Told::Call(()))))
    }

    /// `call.received`, or `call.ended` with its outcome: in the log, not posted to the platform.
    fn report_call(
        &self,
        call: &Call,
        outcome: Option<Ending>,
        name: Option<&str>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let person = self.number_first(&call.caller, turn)?;
        let lid = if person.is_lid() { Some(person.clone()) } else { turn.tx.people().lid_of(&person)? };
        let mut data = Map::new();
        data.insert("call_id".into(), call.call_id.clone().into());
        data.insert("caller_jid".into(), person.to_wire().into());
        data.insert("caller_number".into(), person.is_pn().then(|| person.user().to_owned()).into());
        data.insert("caller_lid".into(), lid.as_ref().map(Jid::to_wire).into());
        data.insert("caller_name".into(), name.into());
        data.insert("is_video".into(), call.video.into());
        data.insert("is_group".into(), call.of_group.into());
        data.insert("group_jid".into(), call.group.as_ref().map(Jid::to_wire).into());
        if let Some(outcome) = outcome {
            data.insert("outcome".into(), outcome.as_str().into());
        }
        let at = if outcome.is_some() { turn.now } else { call.at };
        data.insert("timestamp".into(), at.rfc3339_offset().into());
        let event = NewEvent {
            kind: if outcome.is_some() { "call.ended" } else { "call.received" },
            lane: Some(call.group.as_ref().unwrap_or(&person).to_wire()),
            data: Value::Object(data).to_string(),
            platform: None,
        };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }
}
