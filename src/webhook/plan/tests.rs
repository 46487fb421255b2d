//! The plan against a fake clock: its schedule and its rules one by one, then whole lives with crashes.
use std::{collections::HashMap, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::*;
use crate::store::{Error, Store, events::NewEvent};

const NOW: Millis = Millis(1_767_115_800_000);

fn hook(cursor: u64) -> hooks::Hook {
    hooks::Hook {
        id: 1,
        kind: hooks::Kind::Platform,
        url: String::new(),
        secret: None,
        active: true,
        paused: None,
        wanted: hooks::Wanted::All,
        epoch: 0,
        updated: NOW,
        cursor,
        last_attempt: None,
        last_success: None,
        last_error: None,
    }
}

fn plan(lanes: &[(&str, &str)]) -> Plan {
    let mut plan = Plan::new(&hook(0), Vec::new());
    more(&mut plan, 1, lanes);
    plan
}

/// Entries (lane, path) from number `first` on; a path of "" is not for the hook.
fn more(plan: &mut Plan, first: u64, lanes: &[(&str, &str)]) {
    let entry = |(seq, (lane, path)): (u64, &(&str, &str))| Entry {
        seq,
        kind: "message.received".into(),
        lane: (*lane).into(),
        path: (!path.is_empty()).then(|| (*path).into()),
    };
    let entries: Vec<_> = (first..).zip(lanes).map(entry).collect();
    let upto = first + lanes.len() as u64 - 1;
    plan.scanned(entries, upto, wanted);
}

fn wanted(entry: &Entry) -> bool {
    entry.path.is_some()
}

fn failed() -> Outcome {
    Outcome::Failed { error: "http 500".into(), refused: Refused(false), after: None }
}

fn due(plan: &mut Plan, now: Millis) -> Vec<u64> {
    plan.due(now, &Retry::default()).into_iter().map(|(_, seq)| seq).collect()
}

fn settle(plan: &mut Plan, lane: &str, outcome: Outcome, now: Millis) {
    plan.settle(lane, outcome, now, &Retry::default());
}

#[test]
fn failures_are_retried_on_the_schedule_of_the_contract() {
    for (refused, pauses) in [(false, [1, 2, 5, 10, 30, 60, 60, 60]), (true, [60; 8])] {
        let mut plan = plan(&[("chat", "incoming")]);
        let mut now = NOW;
        assert_eq!(due(&mut plan, now), [1]);
        for pause in pauses.map(Duration::from_secs) {
            let outcome = Outcome::Failed { error: "no".into(), refused: Refused(refused), after: None };
            settle(&mut plan, "chat", outcome, now);
            let early = Millis((now + pause).0 - 1);
            assert_eq!((due(&mut plan, early), plan.next_at()), (vec![], Some(now + pause)));
            now = now + pause;
            assert_eq!(due(&mut plan, now), [1]);
        }
        settle(&mut plan, "chat", Outcome::Delivered, now);
        assert!(plan.is_idle() && plan.next_at().is_none());
    }
}

fn user() -> Plan {
    Plan::new(&hooks::Hook { kind: hooks::Kind::User, ..hook(0) }, Vec::new())
}

#[test]
fn a_users_hook_is_retried_on_its_own_schedule() {
    let retry = Retry::user();
    let mut plan = user();
    more(&mut plan, 1, &[("chat", "incoming")]);
    let mut now = NOW;
    for pause in [10, 60, 300, 1800, 3600, 3600, 3600, 3600].map(Duration::from_secs) {
        assert_eq!(plan.due(now, &retry), [("chat".to_owned(), 1)]);
        plan.settle("chat", failed(), now, &retry);
        assert_eq!(plan.next_at(), Some(now + pause));
        assert!(plan.due(Millis((now + pause).0 - 1), &retry).is_empty());
        now = now + pause;
    }
    assert_eq!(plan.attempt("chat"), 9, "with nothing arriving, nothing is put aside");
    // What the receiver asks for is waited for, if it is longer.
    for (asked, pause) in [(7200, 3600), (1, 3600)] {
        plan.due(now, &retry);
        let after = Some(Duration::from_secs(asked).min(retry.obey));
        plan.settle(
            "chat",
            Outcome::Failed { error: "http 503".into(), refused: Refused(false), after },
            now,
            &retry,
        );
        now = now + Duration::from_secs(pause);
        assert_eq!(plan.next_at(), Some(now));
    }
}

#[test]
fn what_asks_for_time_gets_it() {
    let retry = Retry::user();
    let mut plan = user();
    more(&mut plan, 1, &[("chat", "incoming")]);
    plan.due(NOW, &retry);
    let after = Some(Duration::from_secs(1200));
    plan.settle(
        "chat",
        Outcome::Failed { error: "http 503".into(), refused: Refused(false), after },
        NOW,
        &retry,
    );
    assert_eq!(plan.next_at(), Some(NOW + Duration::from_secs(1200)));
    assert!(plan.due(NOW + Duration::from_secs(1199), &retry).is_empty());
    assert_eq!(plan.due(NOW + Duration::from_secs(1200), &retry).len(), 1);
}

#[test]
fn only_an_event_that_fails_while_others_arrive_is_put_aside() {
    let retry = Retry::user();
    let mut plan = user();
    more(&mut plan, 1, &[("bad", "incoming"), ("bad", "incoming"), ("good", "incoming")]);
    let mut now = NOW;
    // The receiver is down for a day: many failures, of which one counts.
    assert_eq!(plan.due(now, &retry).len(), 2);
    plan.settle("good", failed(), now, &retry);
    for _ in 0..20 {
        plan.settle("bad", failed(), now, &retry);
        now = now + Duration::from_hours(1);
        assert!(plan.due(now, &retry).contains(&("bad".into(), 1)));
    }
    plan.settle("good", Outcome::Delivered, now, &retry);
    let mut seq = 4;
    for strike in 2..=6 {
        plan.settle("bad", failed(), now, &retry);
        // Failing again while nothing else is tried says nothing new about it.
        now = now + Duration::from_hours(1);
        plan.due(now, &retry);
        plan.settle("bad", failed(), now, &retry);
        let letters = plan.progress().unwrap().letters;
        if strike < 6 {
            assert!(letters.is_empty(), "strike {strike}");
            more(&mut plan, seq, &[("good", "incoming")]);
            seq += 1;
            now = now + Duration::from_hours(1);
            plan.due(now, &retry);
            plan.settle("good", Outcome::Delivered, now, &retry);
        } else {
            assert_eq!((letters.len(), letters[0].seq, letters[0].error.as_str()), (1, 1, "http 500"));
        }
        if strike == 6 {
            break;
        }
    }
    // The chat goes on.
    assert!(plan.due(now + Duration::from_hours(1), &retry).contains(&("bad".into(), 2)));
}

#[test]
fn letters_that_were_not_stored_are_stored_later() {
    let retry = Retry::user();
    let mut plan = user();
    more(&mut plan, 1, &[("bad", "incoming")]);
    for n in 0..6 {
        plan.due(NOW + Duration::from_hours(n), &retry);
        plan.successes += 1;
        plan.settle("bad", failed(), NOW + Duration::from_hours(n), &retry);
    }
    let progress = plan.progress().unwrap();
    assert_eq!(progress.letters.len(), 1);
    plan.not_stored(progress.clone());
    assert_eq!(plan.progress().unwrap().letters, progress.letters);
}

#[test]
fn a_user_gets_every_code_and_every_state() {
    let mut plan = user();
    more(&mut plan, 1, &[("", "qr"), ("", "qr"), ("", "qr")]);
    let mut now = NOW;
    due(&mut plan, now);
    settle(&mut plan, "", failed(), now);
    for seq in 1..=3 {
        now = now + Duration::from_hours(1);
        assert_eq!(due(&mut plan, now), [seq]);
        settle(&mut plan, "", Outcome::Delivered, now);
    }
}

#[test]
fn a_chat_keeps_its_order_and_delays_no_other() {
    let mut plan =
        plan(&[("a", "incoming"), ("a", "status"), ("b", "incoming"), ("", "qr"), ("b", "incoming")]);
    assert_eq!(due(&mut plan, NOW), [1, 3, 4]);
    settle(&mut plan, "a", failed(), NOW);
    settle(&mut plan, "b", Outcome::Delivered, NOW);
    assert_eq!(due(&mut plan, NOW), [5]);
    settle(&mut plan, "b", Outcome::Delivered, NOW);
    settle(&mut plan, "", Outcome::Delivered, NOW);
    // The cursor goes on without the failing chat, which has a row now.
    let progress = plan.progress().unwrap();
    assert_eq!(progress.cursor, 5);
    let rows: Vec<_> =
        progress.set.iter().map(|row| (row.lane.as_str(), row.done, row.behind, row.attempts)).collect();
    assert_eq!(rows, [("a", 0, true, 1)]);
    let later = NOW + Duration::from_secs(1);
    assert_eq!(due(&mut plan, later), [1]);
    settle(&mut plan, "a", Outcome::Delivered, later);
    assert_eq!(due(&mut plan, later), [2]);
    settle(&mut plan, "a", Outcome::Delivered, later);
    let progress = plan.progress().unwrap();
    assert_eq!((progress.cursor, progress.set.len(), progress.clear), (5, 0, vec!["a".to_owned()]));
    assert!(plan.is_idle() && plan.progress().is_none());
}

#[test]
fn at_most_eight_are_in_flight_and_four_of_them_retries() {
    let names: Vec<String> = (0..20).map(|n| format!("{n:02}")).collect();
    let lanes: Vec<_> = names.iter().map(|name| (name.as_str(), "incoming")).collect();
    let mut plan = plan(&lanes);
    assert_eq!(due(&mut plan, NOW), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!((due(&mut plan, NOW), plan.next_at()), (vec![], None));
    for name in &names[..8] {
        settle(&mut plan, name, failed(), NOW);
    }
    let later = NOW + Duration::from_secs(1);
    assert_eq!(due(&mut plan, later), [1, 2, 3, 4, 9, 10, 11, 12]);
    for name in &names[8..12] {
        settle(&mut plan, name, Outcome::Delivered, later);
    }
    assert_eq!(due(&mut plan, later), [13, 14, 15, 16], "retries that hang leave room for the others");
}

#[test]
fn while_nothing_arrives_only_the_newest_code_and_state_are_kept() {
    let mut plan =
        plan(&[("", "connection"), ("", "qr"), ("", "qr"), ("", "connection"), ("chat", "incoming")]);
    assert_eq!(due(&mut plan, NOW), [1, 5]);
    settle(&mut plan, "", failed(), NOW);
    settle(&mut plan, "chat", failed(), NOW);
    assert_eq!(due(&mut plan, NOW), [3], "the failed state and the older code are superseded");
    settle(&mut plan, "", failed(), NOW);
    more(&mut plan, 6, &[("", "qr"), ("chat", "incoming")]);
    assert_eq!(due(&mut plan, NOW), [4]);
    let progress = plan.progress().unwrap();
    assert_eq!(progress.cursor, 3);
    settle(&mut plan, "", Outcome::Delivered, NOW);
    assert_eq!(due(&mut plan, NOW), [6]);
    settle(&mut plan, "", Outcome::Delivered, NOW);
    // Messages are never superseded, and what arrives is posted one by one.
    more(&mut plan, 8, &[("", "qr"), ("", "qr")]);
    assert_eq!(due(&mut plan, NOW), [8]);
    settle(&mut plan, "", Outcome::Delivered, NOW);
    assert_eq!(due(&mut plan, NOW + Duration::from_secs(1)), [5, 9]);
}

#[test]
fn a_chat_that_always_fails_stops_neither_the_others_nor_the_cursor() {
    let mut plan = plan(&[("stuck", "incoming")]);
    assert_eq!(due(&mut plan, NOW), [1]);
    settle(&mut plan, "stuck", failed(), NOW);
    let mut seq = 2;
    for _ in 0..200 {
        more(&mut plan, seq, &[("stuck", "incoming"); 10]);
        more(&mut plan, seq + 10, &[("other", "incoming")]);
        assert_eq!(due(&mut plan, NOW), [seq + 10]);
        settle(&mut plan, "other", Outcome::Delivered, NOW);
        assert_eq!(plan.progress().unwrap().cursor, seq + 10);
        seq += 11;
    }
    assert!(plan.room().is_some());
    let stuck = &plan.lanes["stuck"];
    assert!(stuck.queue.len() == AHEAD && stuck.more, "the rest of it stays in the log");
    assert_eq!(plan.lanes.len(), 1);
}

#[test]
fn with_too_much_undelivered_reading_waits() {
    let mut plan = plan(&[("chat", "incoming"); WINDOW]);
    assert_eq!(plan.room(), None);
    assert_eq!(due(&mut plan, NOW), [1]);
    settle(&mut plan, "chat", failed(), NOW);
    assert_eq!(plan.room(), Some((1000, WINDOW)), "one failing chat is no reason to wait");
    let names: Vec<String> = (0..APART).map(|n| format!("chat {n}")).collect();
    let lanes: Vec<_> = names.iter().map(|name| (name.as_str(), "incoming")).collect();
    more(&mut plan, 1001, &lanes);
    for name in &names {
        plan.due(NOW, &Retry::default());
        settle(&mut plan, name, failed(), NOW);
    }
    assert_eq!(plan.room(), None, "with so many failing the receiver is down");
}

#[test]
fn a_clock_set_back_makes_nothing_wait_longer_than_a_pause() {
    let mut plan = plan(&[("chat", "incoming")]);
    due(&mut plan, NOW);
    settle(&mut plan, "chat", failed(), NOW);
    assert_eq!(due(&mut plan, Millis(NOW.0 - 3_600_000)), [1]);
}

#[test]
fn what_was_not_stored_is_said_again() {
    let mut plan = plan(&[("a", "incoming"), ("b", "incoming"), ("a", "incoming")]);
    due(&mut plan, NOW);
    settle(&mut plan, "b", failed(), NOW);
    settle(&mut plan, "a", Outcome::Delivered, NOW);
    let first = plan.progress().unwrap();
    assert!(plan.progress().is_none());
    plan.not_stored(first.clone());
    assert_eq!(plan.progress().unwrap(), first);
    assert_eq!(due(&mut plan, NOW + Duration::from_secs(1)), [2, 3]);
    settle(&mut plan, "b", Outcome::Delivered, NOW);
    let second = plan.progress().unwrap();
    assert_eq!(second.clear, ["b"]);
    plan.not_stored(second);
    assert_eq!(plan.progress().unwrap().clear, ["b"]);
}

#[test]
fn after_a_restart_what_arrived_out_of_order_is_not_posted_again() {
    let events =
        [("slow", "incoming"), ("a", "incoming"), ("a", "incoming"), ("slow", "incoming"), ("a", "incoming")];
    let mut before = plan(&events);
    assert_eq!(due(&mut before, NOW), [1, 2]);
    settle(&mut before, "a", Outcome::Delivered, NOW);
    assert_eq!(due(&mut before, NOW), [3]);
    settle(&mut before, "a", Outcome::Delivered, NOW);
    let progress = before.progress().unwrap();
    assert_eq!(progress.cursor, 0, "number 1 is still in flight");
    let mut after = Plan::new(&hook(progress.cursor), progress.set);
    more(&mut after, 1, &events);
    assert_eq!(due(&mut after, NOW), [1, 5]);
}

/// Events come, posts succeed, fail and hang, storing fails, the process dies and starts again: in every life each chat's
/// events arrive in order, none is missing in the end, and little is posted twice.
#[tokio::test]
async fn whole_lives_lose_nothing_and_keep_every_order() {
    for seed in 0..16 {
        life(seed).await;
    }
}

async fn life(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let store = Store::in_memory().unwrap();
    let id = store.write(|tx| tx.hooks().set_platform("http://x", None, NOW)).await.unwrap();
    let retry = Retry::default();
    let mut now = NOW;
    let mut arrived: HashMap<String, Vec<u64>> = HashMap::new();
    let mut pushed: HashMap<String, Vec<u64>> = HashMap::new();
    // One receiver in four lives is down most of the time, and one chat is worse than the others.
    let bad = if seed.is_multiple_of(4) { 0.9 } else { 0.2 };
    let mut plan: Option<Plan> = None;
    let mut flying: Vec<(String, u64)> = Vec::new();
    let mut calm = false;
    for step in 0..3000 {
        let chats = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
        if step == 1200 {
            calm = true; // nothing more happens and everything works: it must all get there
        }
        if !calm && rng.random_bool(0.5) {
            let lane = (*chats.choose(&mut rng).unwrap()).to_owned();
            let path = rng.random_bool(0.9).then_some("incoming");
            let event = NewEvent {
                kind: "message.received",
                lane: Some(lane.clone()),
                data: "{}".into(),
                platform: path.map(|path| (path, String::new())),
            };
            let seq = store.write(move |tx| tx.events().push(&event, now)).await.unwrap();
            if path.is_some() {
                pushed.entry(lane).or_default().push(seq);
            }
        }
        if !calm && rng.random_bool(0.01) {
            plan = None; // kill -9
            flying.clear();
        }
        let plan = match &mut plan {
            Some(plan) => plan,
            none => {
                let (hook, rows) = store.read(move |tx| tx.hooks().load(id)).await.unwrap().unwrap();
                none.insert(Plan::new(&hook, rows))
            }
        };
        while let Some((after, room)) = plan.room() {
            let entries = store.read(move |tx| tx.events().entries(after, room.min(7) as u32)).await.unwrap();
            let Some(last) = entries.last().map(|entry| entry.seq) else { break };
            plan.scanned(entries, last, wanted);
        }
        while let Some(behind) = plan.behind(now, &retry) {
            let b = behind.clone();
            let entries = store
                .read(move |tx| tx.events().lane_entries(&b.lane, b.after, b.upto, b.limit as u32))
                .await
                .unwrap();
            plan.caught_up(&behind, entries, wanted);
        }
        flying.extend(plan.due(now, &retry));
        assert!(flying.len() <= 8);
        if !flying.is_empty() && rng.random_bool(0.8) {
            let (lane, seq) = flying.swap_remove(rng.random_range(0..flying.len()));
            let fails = !calm && rng.random_bool(if lane == "a" { 0.95 } else { bad });
            if !fails || rng.random_bool(0.1) {
                arrived.entry(lane.clone()).or_default().push(seq); // an answer may get lost after arrival
            }
            plan.settle(&lane, if fails { failed() } else { Outcome::Delivered }, now, &retry);
        }
        if rng.random_bool(0.3)
            && let Some(progress) = plan.progress()
        {
            if !calm && rng.random_bool(0.1) {
                plan.not_stored(progress);
            } else {
                store.write(move |tx| tx.hooks().progress(id, &progress)).await.unwrap();
            }
        }
        now = now + Duration::from_millis(rng.random_range(0..if calm { 2000 } else { 400 }));
    }
    let mut plan = plan.unwrap();
    assert!(plan.is_idle(), "seed {seed}: something is left undelivered");
    if let Some(progress) = plan.progress() {
        store.write(move |tx| tx.hooks().progress(id, &progress)).await.unwrap();
    }
    let (newest, (hook, rows)) = store
        .read(move |tx| Ok::<_, Error>((tx.events().newest()?, tx.hooks().load(id)?.unwrap())))
        .await
        .unwrap();
    assert_eq!((hook.cursor, rows), (newest, vec![]), "seed {seed}");
    for (lane, all) in &pushed {
        let got = arrived.get(lane).cloned().unwrap_or_default();
        let mut first = got.clone();
        let mut seen = std::collections::HashSet::new();
        first.retain(|seq| seen.insert(*seq));
        assert_eq!(&first, all, "seed {seed}, chat {lane}: first arrivals in order, none missing");
    }
    let posts: usize = arrived.values().map(Vec::len).sum();
    let events: usize = pushed.values().map(Vec::len).sum();
    assert!(posts < events * 2, "seed {seed}: {posts} arrivals for {events} events");
}
