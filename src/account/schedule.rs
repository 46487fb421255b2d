//! Sends with a time of their own, and the many of a batch: rows with their final ids from the moment they are
//! accepted. When one is due and there is a connection, it joins the queue of everything else that is sent.

use serde_json::{Value, json};

use super::{
    Batched, Error, Recipient, SendBatch, SendError, SendMessage, Sent, content,
    dispatch::{Account, Answer, Turn},
    receive::fresh_uuid,
    send::{Way, message_id},
};
use crate::{
    clock::Millis,
    store::{
        queue::Outgoing as Row,
        schedule::{Batch, Due, NewScheduled},
    },
    wire::Jid,
};

/// Sends that may wait for their time. Bounds the table; a year of one a quarter of an hour fits.
const MAX_WAITING: u32 = 50_000;
/// Handed over in one turn at most: bounds the time a commit takes.
const AT_ONCE: usize = 64;

impl Account {
    /// Puts an accepted send down for later.
    pub(super) fn schedule(
        &mut self,
        way: Way<'_>,
        recipient: &Recipient,
        content: &[u8],
        command: &SendMessage,
        due: Millis,
        turn: &mut Turn<'_>,
    ) -> Result<Result<Sent, SendError>, Error> {
        if matches!(way, Way::Asked(_)) && turn.tx.schedule().waiting(MAX_WAITING)? >= MAX_WAITING {
            return Ok(Err(SendError::QueueFull));
        }
        let own = self.own_pn();
        let id = message_id(own.as_ref().map_or("", Jid::user), turn.now, turn.rng);
        let (batch, kind) = match way {
            Way::Asked(_) | Way::Itself => (None, command.body.word()),
            Way::Batch { id, position, kind } => (Some((id, position)), kind),
        };
        let row = recipient.to_row();
        let new = NewScheduled { wa_id: &id, recipient: &row, content, due, batch, kind };
        turn.tx.schedule().push(&new, turn.now)?;
        if let Recipient::Status(people) = recipient {
            turn.tx.groups().set_audience(&id, people)?;
        }
        if let Some(key) = &command.idempotency {
            turn.tx.idempotency().bind(key, &id, true, turn.now)?;
        }
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
        Ok(Ok(Sent {
            message_id: id,
            timestamp: turn.now,
            queued: true,
            scheduled_at: Some(due),
            replayed: false,
        }))
    }

    /// Accepts what can be accepted of a batch. What cannot is kept with its reason, for whoever asks later.
    pub(super) fn send_batch(
        &mut self,
        batch: SendBatch,
        turn: &mut Turn<'_>,
    ) -> Result<Result<Batched, SendError>, Error> {
        if let Some(key) = &batch.idempotency
            && let Some(bound) = turn.tx.idempotency().find(key, turn.now)?
        {
            if bound.body_hash != key.body_hash {
                return Ok(Err(SendError::IdempotencyConflict));
            }
            return Ok(Ok(Batched { id: bound.message_id, replayed: true }));
        }
        if !self.link.paired {
            return Ok(Err(SendError::NotConnected(self.link.status)));
        }
        let more = u32::try_from(batch.sends.len()).unwrap_or(u32::MAX);
        if turn.tx.schedule().waiting(MAX_WAITING)?.saturating_add(more) > MAX_WAITING {
            return Ok(Err(SendError::QueueFull));
        }
        let id = fresh_uuid(turn);
        // The row comes first, for its sends refer to it; what is rejected is known only after them.
        let mut row = Batch { at: turn.now, pace: batch.pace, rejected: String::new() };
        turn.tx.schedule().open_batch(&id, &row)?;
        let mut rejected = batch.rejected;
        let mut due = batch.send_at.unwrap_or(turn.now);
        for (position, kind, message) in batch.sends {
            let command = SendMessage { send_at: Some(due), idempotency: None, dry: false, ..message };
            match self.accept(Way::Batch { id: &id, position, kind }, command, turn)? {
                Some(Answer::Send(Ok(_))) => due = due + batch.pace,
                Some(Answer::Send(Err(error))) => rejected.push((position, (batch.explain)(error))),
                // Nothing of a batch is parked, put off or only tried.
                _ => rejected.push((position, (batch.explain)(SendError::Internal))),
            }
        }
        rejected.sort_by_key(|(position, _)| *position);
        let rejected: Vec<Value> = rejected
            .into_iter()
            .map(|(position, error)| json!({ "index": position, "error": error }))
            .collect();
        row.rejected = Value::Array(rejected).to_string();
        turn.tx.schedule().set_rejected(&id, &row.rejected)?;
        if let Some(key) = &batch.idempotency {
            turn.tx.idempotency().bind(key, &id, true, turn.now)?;
        }
        Ok(Ok(Batched { id, replayed: false }))
    }

    /// Hands what is due to the queue, while there is a connection to send it on.
    pub(super) fn release(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        if !self.can_send() || self.next_due.is_none_or(|due| due > turn.now) {
            return Ok(());
        }
        for _ in 0..AT_ONCE {
            let Some(due) = turn.tx.schedule().first_due(turn.now)? else { break };
            self.hand_over(&due, turn)?;
            turn.tx.schedule().left(&due, turn.now)?;
        }
        self.next_due = turn.tx.schedule().next_due()?;
        Ok(())
    }

    /// From here on it is a send like every other, under the id that it was given.
    fn hand_over(&self, due: &Due, turn: &mut Turn<'_>) -> Result<(), Error> {
        let with = match Recipient::from_row(&due.recipient) {
            Recipient::Jid(jid) => Some(jid),
            Recipient::Status(_) => Some(Jid::status_broadcast()),
            Recipient::Number(_) => None,
        };
        // The chat's timer is that of the day it is sent.
        let timer = match &with {
            Some(jid) => self.timer_for(jid, turn)?,
            None => None,
        };
        let content = content::timed(due.content.clone(), timer);
        let message = match &with {
            None => None,
            Some(jid) => {
                let row = Row {
                    seq: 0,
                    wa_id: due.wa_id.clone(),
                    recipient: due.recipient.clone(),
                    message: None,
                    at: turn.now,
                    content: content.clone(),
                    stanza: None,
                    peer: false,
                };
                Some(self.store_message(&row, jid, turn)?)
            }
        };
        Ok(turn.tx.queue().push(&due.wa_id, &due.recipient, message, &content, turn.now)?)
    }
}
