//! Killed at any turn: before it, after its commit with any part of its effects done, or with a disk that takes
//! nothing. Two-way traffic goes on; in the end everything is there once and in order. The process-level form of the
//! same promise is `crash.rs`; this one moves a fake clock, and so dies thousands of times in seconds.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use pair::{ALICE, ECHO, Mishap, Pair};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use wazap::account::Status;

/// Turns of one story, each with its chance of a mishap.
const ROUNDS: usize = 150;

/// What a client of the API does: asks again under the same key until it has an answer.
struct Client {
    to: &'static str,
    sent: Vec<String>,
    waiting: Option<u64>,
}

impl Client {
    fn key(&self) -> String {
        format!("{} {}", self.to, self.sent.len())
    }

    fn go_on(&mut self, pair: &mut Pair, last: bool) {
        let answered = self.waiting.and_then(|ticket| pair.sent(ticket));
        match answered {
            Some(outcome) => {
                self.sent.push(outcome.expect("accepted").message_id);
                self.waiting = None;
            }
            // After a mishap nobody knows whether it was taken.
            None if self.waiting.is_some() => {}
            None if last => {}
            None => {
                let text = format!("out {}", self.sent.len());
                let key = self.key();
                self.waiting = Some(pair.post(self.to, &text, Some(&key)));
            }
        }
    }

    fn forget_ticket(&mut self) -> bool {
        self.waiting.take().is_some()
    }
}

fn story(seed: u64) -> usize {
    let mut pair = Pair::linked(seed);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut clients = [ALICE, ECHO].map(|to| Client { to, sent: Vec::new(), waiting: None });
    let mut sent_in: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for round in 0..ROUNDS {
        if rng.random_bool(0.5) {
            let id = pair.phone_sends(ALICE, &format!("in {round}"));
            sent_in.entry(ALICE).or_default().push(id);
        }
        if rng.random_bool(0.1) {
            // The companion's session is lost on the phone's side: retries must survive crashes, too.
            let device = pair.lab.phone(pair::OWN).unwrap().companions[0].jid.clone();
            pair.lab.forget_session(ALICE, &device).unwrap();
        }
        for client in &mut clients {
            client.go_on(&mut pair, false);
        }
        let before = pair.mishaps;
        for _ in 0..rng.random_range(0..6) {
            if rng.random_bool(0.3) {
                pair.mishap = Some(match rng.random_range(0..4) {
                    0 => Mishap::StoreFails,
                    1 => Mishap::KilledBefore,
                    _ => Mishap::KilledAfter(rng.random_range(0..6)),
                });
            }
            pair.step();
        }
        if rng.random_bool(0.05) {
            pair.cut();
        }
        pair.mishap = None;
        if pair.mishaps > before {
            // Callers lost their connection; each asks again under its key.
            for client in &mut clients {
                if pair.sent(client.waiting.unwrap_or(0)).is_none() && client.forget_ticket() {
                    client.go_on(&mut pair, false);
                }
            }
        }
        if rng.random_bool(0.3) {
            pair.pass(Duration::from_secs(rng.random_range(0..4)));
        }
    }
    // Calm: whatever is under way arrives.
    for _ in 0..5 {
        pair.pass(Duration::from_secs(60));
        for client in &mut clients {
            client.go_on(&mut pair, true);
        }
    }
    assert_eq!(pair.status(), Status::Connected, "seed {seed}");

    let received = pair.received();
    let unique: BTreeSet<&String> = received.iter().collect();
    assert_eq!(unique.len(), received.len(), "seed {seed}: reported twice");
    for id in sent_in.values().flatten() {
        assert!(unique.contains(id), "seed {seed}: lost on its way in\n{}", pair.log_of(id));
    }
    for client in &clients {
        assert!(client.waiting.is_none(), "seed {seed}: unanswered");
        let inbox = pair.inbox_of(client.to);
        let texts: Vec<String> = inbox.iter().map(|(_, text)| text.clone()).collect();
        let mut ids = BTreeSet::new();
        for (id, _) in &inbox {
            assert!(ids.insert(id), "seed {seed}: doubled on its way out\n{}", pair.log_of(id));
        }
        for (n, id) in client.sent.iter().enumerate() {
            assert!(
                inbox.contains(&(id.clone(), format!("out {n}"))),
                "seed {seed}: lost on its way out\n{}",
                pair.log_of(id)
            );
        }
        assert_eq!(texts.len(), client.sent.len(), "seed {seed}: sent without an answer: {texts:?}");
        if client.to == ECHO {
            // Nothing had to be asked for again here, so that the order holds as well.
            let wanted: Vec<String> = (0..client.sent.len()).map(|n| format!("out {n}")).collect();
            assert_eq!(texts, wanted, "seed {seed}: out of order");
        }
        for id in &client.sent {
            let steps = pair.progress_of(id);
            assert!(steps.ends_with(&["delivered".into()]), "seed {seed}: {id} went {steps:?}");
            let sent = pair
                .events_of("message.sent")
                .iter()
                .filter(|e| e["whatsapp_message_id"] == id.as_str())
                .count();
            assert_eq!(sent, 1, "seed {seed}: {id}");
        }
    }
    for data in pair.events_of("message.undecryptable") {
        let id = data["whatsapp_message_id"].as_str().unwrap();
        assert!(received.iter().any(|other| other == id), "seed {seed}: {id} never became readable");
    }
    assert_eq!(pair.unanswered(), 0, "seed {seed}");
    pair.assert_well_behaved();
    pair.mishaps
}

#[test]
fn killed_at_any_turn_nothing_is_lost_and_nothing_is_doubled() {
    let stories = std::env::var("WAZAP_CRASH_STORIES").map_or(10, |count| count.parse().unwrap());
    let mishaps: usize = (100..100 + stories).map(story).sum();
    assert!(mishaps as u64 > stories * 30, "only {mishaps} mishaps");
    println!("{mishaps} mishaps, nothing lost, nothing doubled");
}
