//! What happened to one message, step by step, from the stanza to the webhook's answer (instance-api.md §10).

use serde_json::{Map, Value, json};

use super::view::Viewer;
use crate::{
    clock::Millis,
    store::{
        Error,
        hooks::Pause,
        messages::{Message, Progress},
        trace::{Posted, WaitsFor},
    },
};

/// Steps in the order in which they are collected; shown by time.
#[derive(Default)]
struct Steps(Vec<(Option<Millis>, Map<String, Value>)>);

impl Steps {
    /// `at`: `None` for what has not happened yet, and comes last.
    fn add(&mut self, step: &str, at: Option<Millis>, more: Value) {
        let mut row = Map::from_iter([
            ("step".to_owned(), Value::from(step)),
            ("at".to_owned(), at.map(Millis::rfc3339).into()),
        ]);
        if let Value::Object(more) = more {
            row.extend(more);
        }
        self.0.push((at, row));
    }

    fn in_order(mut self) -> Value {
        // Stable: of what shares a millisecond, causes stay before what they led to.
        self.0.sort_by_key(|(at, _)| at.map_or(u64::MAX, |at| at.0));
        self.0.into_iter().map(|(_, row)| Value::Object(row)).collect()
    }
}

impl Viewer<'_> {
    /// Every step that is still known, oldest first; what is still to come, last and without a time.
    pub fn trace(&self, message: &Message) -> Result<Value, Error> {
        let mut steps = Steps::default();
        let trace = self.tx.trace();
        let told = trace.told(message)?;
        if message.key.from_me {
            self.way_out(message, &mut steps)?;
        } else {
            steps.add("sent", Some(message.at), json!({}));
            if let Some(late) = trace.late(message)? {
                let more = json!({ "attempts": late.attempts, "reason": late.reason });
                steps.add("undecryptable", Some(late.at), more);
            }
        }
        for event in &told {
            match (event.kind.as_str(), event.status.as_deref()) {
                ("message.received", _) => steps.add("received", Some(event.at), json!({})),
                ("message.status", Some("sent")) => steps.add("acknowledged", Some(event.at), json!({})),
                ("message.status", Some("failed")) => {
                    steps.add("refused", Some(event.at), json!({ "whatsapp_code": message.refused }));
                }
                _ => {}
            }
            let mut more = json!({ "seq": event.seq, "type": event.kind });
            if let (Some(status), Some(more)) = (&event.status, more.as_object_mut()) {
                more.insert("status".into(), status.clone().into());
            }
            steps.add("event", Some(event.at), more);
            self.way_to_hooks(event.seq, &mut steps)?;
        }
        if message.key.from_me {
            self.at_recipients(message, &mut steps)?;
        }
        Ok(steps.in_order())
    }

    fn way_out(&self, message: &Message, steps: &mut Steps) -> Result<(), Error> {
        let trace = self.tx.trace();
        steps.add("accepted", Some(message.at), json!({}));
        if let Some((at, devices)) = trace.departure(message.id)? {
            steps.add("encrypted", Some(at), json!({ "devices": devices }));
        }
        for (device, count, at) in trace.resent(message.id)? {
            let mut more = self.person(&device.bare())?;
            more.insert("device".into(), device.device().into());
            more.insert("count".into(), count.into());
            steps.add("sent_again", Some(at), Value::Object(more));
        }
        if let Some(waits) = trace.waits_for(&message.key.wa_id)? {
            let waits = match waits {
                WaitsFor::Recipient => "recipient",
                WaitsFor::Keys => "keys",
                WaitsFor::Acknowledgement => "acknowledgement",
            };
            steps.add("waiting", None, json!({ "for": waits }));
        }
        Ok(())
    }

    fn at_recipients(&self, message: &Message, steps: &mut Steps) -> Result<(), Error> {
        for reached in self.tx.addons().receipts(message.id)? {
            let step = match reached.level {
                Progress::Read => "read",
                Progress::Played => "played",
                _ => "delivered",
            };
            steps.add(step, Some(reached.at), Value::Object(self.person(&reached.person)?));
        }
        Ok(())
    }

    fn way_to_hooks(&self, seq: u64, steps: &mut Steps) -> Result<(), Error> {
        let trace = self.tx.trace();
        for Posted { hook, kind, attempt } in trace.posted(seq)? {
            let more = json!({
                "seq": seq,
                "hook": hook,
                "kind": kind.as_str(),
                "attempt": attempt.attempt,
                "result": attempt.result,
                "took_ms": u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
                "next_at": attempt.next_at.map(Millis::rfc3339),
            });
            steps.add("webhook", Some(attempt.at), more);
        }
        for aside in trace.put_aside(seq)? {
            let more = json!({
                "seq": seq, "hook": aside.hook, "attempts": aside.attempts, "error": aside.error,
            });
            steps.add("put_aside", Some(aside.at), more);
        }
        for owed in trace.owed(seq)? {
            let more = json!({
                "seq": seq,
                "hook": owed.hook,
                "kind": owed.kind.as_str(),
                "result": if owed.paused.is_some() { "paused" } else { "waiting" },
                "paused": owed.paused.map(Pause::as_str),
                "next_at": owed.next_at.map(Millis::rfc3339),
            });
            steps.add("webhook", None, more);
        }
        Ok(())
    }
}
