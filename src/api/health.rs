//! `GET /health`: whether the HTTP server works; no token, no limit, whatever WhatsApp does. `GET /health/details`: what
//! is known of everything else, and a verdict (instance-api.md §10).

use std::time::Duration;

use axum::{extract::State, response::Response};
use serde_json::{Map, Value, json};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToRead},
    reply,
    webhooks::{Standing, standings},
};
use crate::{
    account::{Evidence, Offline, Status, standing_view},
    clock::Millis,
    store::{
        health::{Queues, Waiting},
        history::Standing as History,
        standing::Standing as AccountStanding,
    },
};

/// A connection on which nothing came for so long is no longer believed: pings leave every 15 to 25 s, and a silence of 20 s
/// after one ends the connection.
const DEAF: Duration = Duration::from_secs(60);
/// Pings are answered within a second; without an answer the connection is given up after 20 s.
const UNANSWERED: Duration = Duration::from_secs(5);
/// What waits for so long while everything seems to work, is stuck.
const STUCK: Duration = Duration::from_secs(60);

pub(super) async fn health<I: Instance>(State(app): State<App<I>>) -> Response {
    reply::ok(&json!({
        "status": "ok",
        "uptime": app.started.elapsed().as_secs(),
        "timestamp": app.now().rfc3339(),
    }))
}

/// The verdict, what it rests on, and everything that is wrong.
pub(super) async fn details<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
) -> Result<Response, ApiError> {
    let evidence = app.parts.instance.evidence().await;
    let now = app.now();
    let (queues, hooks, standing, history) = app
        .parts
        .store
        .read(move |tx| {
            let (queues, hooks) = (tx.health().queues()?, standings(tx, now)?);
            Ok::<_, crate::store::Error>((queues, hooks, tx.standing().load()?, tx.history().standing()?))
        })
        .await?;
    let mut problems = problems(evidence.as_ref(), &queues, &hooks, now);
    problems.extend(restricted(&standing, &queues));
    problems.extend(history_stuck(&history, now));
    let verdict = problems.iter().map(|problem| problem.verdict).max().unwrap_or(Verdict::Ok);
    let reason = match problems.iter().find(|problem| problem.verdict == verdict) {
        Some(problem) => problem.what.clone(),
        None => fine(evidence.as_ref(), now),
    };
    let shown = |problem: &Problem| json!({ "code": problem.code, "verdict": problem.verdict.as_str(), "reason": problem.what });
    Ok(reply::ok(&json!({
        "success": true,
        "verdict": verdict.as_str(),
        "reason": reason,
        "problems": problems.iter().map(shown).collect::<Vec<_>>(),
        "timestamp": now.rfc3339(),
        "uptime": app.started.elapsed().as_secs(),
        "link": evidence.as_ref().map(|evidence| link(evidence, now)),
        "standing": standing_view(&standing),
        "queues": {
            "outgoing": waiting(queues.outgoing, now),
            "held": waiting(queues.held, now),
            "undecryptable": waiting(queues.undecryptable, now),
            "scheduled": { "rows": queues.scheduled.rows, "next_at": time(queues.scheduled.oldest) },
            "app_state": queues.app_state,
        },
        "history": {
            "waiting": history.waiting,
            "done": history.done,
            "failed": history.given_up,
            "messages": history.messages,
            "recent_percent": history.recent,
            "full_percent": history.full,
            "last_error": history.last_error,
        },
        "webhooks": hooks.iter().map(Standing::described).collect::<Vec<_>>(),
        "events": { "oldest": queues.events.0, "newest": queues.events.1 },
        "database": { "bytes": queues.bytes.0, "free_bytes": queues.bytes.1 },
    })))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// Stanzas flow, and nothing waits that should not.
    Ok,
    /// It works, and something needs somebody's eye.
    Degraded,
    /// Nothing can be sent or received.
    Down,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

struct Problem {
    verdict: Verdict,
    code: &'static str,
    what: String,
}

/// Everything that is wrong, the link first.
fn problems(evidence: Option<&Evidence>, queues: &Queues, hooks: &[Standing], now: Millis) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut add = |verdict, code, what: String| found.push(Problem { verdict, code, what });
    let connected = match evidence {
        None => {
            add(Verdict::Down, "account_stuck", "the account does not answer; the log may say why".into());
            false
        }
        Some(evidence) => {
            if let Some((code, what)) = link_down(evidence, now) {
                add(Verdict::Down, code, what);
            }
            evidence.status == Status::Connected
        }
    };
    if let (true, Some(Evidence { offline: Some(offline), .. })) = (connected, evidence)
        && !offline.done
    {
        let Offline { promised, drained, .. } = offline;
        add(
            Verdict::Degraded,
            "catching_up",
            format!("{drained} of {promised} stanzas that waited at the server have come"),
        );
    }
    if let (true, Some(evidence)) = (connected, evidence)
        && let Some(silence) = age(evidence.unanswered, now).filter(|silence| *silence >= UNANSWERED)
    {
        let what = format!("a ping is not answered for {} s; without an answer", silence.as_secs());
        add(Verdict::Degraded, "unanswered", format!("{what} the connection is given up after 20 s"));
    }
    if connected && let Some(age) = age(queues.outgoing.oldest, now).filter(|age| *age >= STUCK) {
        let rows = queues.outgoing.rows;
        add(
            Verdict::Degraded,
            "outgoing_stuck",
            format!("{rows} sends are not acknowledged, the oldest for {} s", age.as_secs()),
        );
    }
    if connected && let Some(late) = age(queues.scheduled.oldest, now).filter(|late| *late >= STUCK) {
        add(Verdict::Degraded, "scheduled_stuck", format!("a send is due for {} s", late.as_secs()));
    }
    for Standing { hook, lag, dead, .. } in hooks.iter().filter(|standing| standing.hook.active) {
        let (id, kind, events, seconds) = (hook.id, hook.kind.as_str(), lag.events, lag.age.as_secs());
        if let Some(pause) = hook.paused {
            let why = pause.as_str();
            add(
                Verdict::Degraded,
                "webhook_paused",
                format!("hook {id} ({kind}) is paused ({why}), {events} events wait"),
            );
        } else if lag.age >= STUCK {
            let error = hook.last_error.as_deref().unwrap_or("no error");
            let what = format!(
                "hook {id} ({kind}) lags by {events} events and {seconds} s; the last attempt: {error}"
            );
            add(Verdict::Degraded, "webhook_lag", what);
        }
        if *dead > 0 {
            add(Verdict::Degraded, "dead_letters", format!("hook {id} ({kind}) has put {dead} events aside"));
        }
    }
    found
}

/// WhatsApp does not let the account do everything.
fn restricted(standing: &AccountStanding, queues: &Queues) -> Option<Problem> {
    let restriction = standing.restriction()?;
    let until = restriction.until.map_or_else(|| "an unknown time".to_owned(), Millis::rfc3339);
    let (why, held) = (restriction.reason, queues.held.rows);
    let what = if standing.holds_first_contacts() {
        format!("{why} until {until}: {held} sends to people who never wrote wait, all others go on")
    } else {
        format!("{why} until {until}")
    };
    Some(Problem { verdict: Verdict::Degraded, code: "account_restricted", what })
}

/// A piece of the past that the phone announced, and that cannot be had.
fn history_stuck(history: &History, now: Millis) -> Option<Problem> {
    let since = age(history.stuck, now).filter(|since| *since >= STUCK)?;
    let (waiting, since) = (history.waiting, since.as_secs());
    let what = format!("{waiting} pieces of history wait, one of which could not be had for {since} s");
    Some(Problem { verdict: Verdict::Degraded, code: "history_stuck", what })
}

fn link_down(evidence: &Evidence, now: Millis) -> Option<(&'static str, String)> {
    let cause = evidence.ends.first().map_or("none so far", |ended| ended.cause);
    match evidence.status {
        Status::Connected => {
            let silence = age(evidence.last_in, now).filter(|silence| *silence >= DEAF)?;
            Some(("deaf", format!("connected, but nothing has come for {} s", silence.as_secs())))
        }
        Status::Offline => {
            let since = age(evidence.outage, now).unwrap_or_default().as_secs();
            Some(("offline", format!("offline for {since} s; the last connection ended with: {cause}")))
        }
        Status::QrReady => Some(("not_linked", "waiting for a phone to scan the code".into())),
        Status::Pending => {
            Some(("connecting", format!("connecting; the last connection ended with: {cause}")))
        }
        Status::Disconnected => {
            let reason = evidence.reason.unwrap_or("no reason");
            Some(("disconnected", format!("disconnected: {reason}")))
        }
    }
}

fn fine(evidence: Option<&Evidence>, now: Millis) -> String {
    let heard = evidence.and_then(|evidence| age(evidence.last_in, now)).unwrap_or_default().as_secs();
    let ping = evidence.and_then(|evidence| evidence.ping);
    match ping {
        Some((took, _)) => {
            format!(
                "connected: the last stanza came {heard} s ago, the last ping took {} ms",
                took.as_millis()
            )
        }
        None => format!("connected: the last stanza came {heard} s ago"),
    }
}

fn link(evidence: &Evidence, now: Millis) -> Map<String, Value> {
    let since = |at| age(at, now).map(|age| age.as_secs());
    let ends: Vec<_> =
        evidence.ends.iter().map(|ended| json!({ "at": ended.at.rfc3339(), "cause": ended.cause })).collect();
    let (in_flight, oldest) = evidence.in_flight;
    let body = json!({
        "status": evidence.status.as_str(),
        "reason": evidence.reason,
        "last_stanza_in": time(evidence.last_in),
        "last_stanza_in_seconds": since(evidence.last_in),
        "last_stanza_out": time(evidence.last_out),
        "last_stanza_out_seconds": since(evidence.last_out),
        "ping_ms": evidence.ping.map(|(took, _)| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        "ping_at": time(evidence.ping.map(|(_, at)| at)),
        "ping_unanswered_seconds": since(evidence.unanswered),
        "offline_queue": evidence.offline.map(|Offline { promised, drained, done }| {
            json!({ "promised": promised, "drained": drained, "done": done })
        }),
        "dialled_at": time(evidence.dialled),
        "next_attempt_at": time(evidence.next_dial),
        "in_flight": { "rows": in_flight, "oldest_seconds": since(oldest) },
        "connections_ended": evidence.ended,
        "last_ends": ends,
    });
    if let Value::Object(body) = body { body } else { Map::new() }
}

fn waiting(queue: Waiting, now: Millis) -> Value {
    json!({ "rows": queue.rows, "oldest_seconds": age(queue.oldest, now).map(|age| age.as_secs()) })
}

fn age(at: Option<Millis>, now: Millis) -> Option<Duration> {
    at.map(|at| now.since(at))
}

fn time(at: Option<Millis>) -> Option<String> {
    at.map(Millis::rfc3339)
}
