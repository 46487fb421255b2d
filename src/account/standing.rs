//! What WhatsApp lets the account do, and what follows: first contacts wait while there may be none, everything else
//! goes on; refusals are told apart by asking, never by trying again (protocol 06, 2.2 to 2.8).

use std::time::Duration;

use rand::RngExt as _;
use serde_json::{Value, json};

use super::{
    Error, Status,
    dispatch::{Account, Turn},
    link::Query,
    newsletters::is_newsletter,
    sender_keys::in_chat,
};
use crate::{
    clock::Millis,
    stanza::{Failure, MexError, MexNotice, mex_query, read_mex_answer},
    store::{
        events::NewEvent,
        queue::Outgoing as Row,
        standing::{NewChatCap, ReachoutLock, Restriction, Standing, TemporaryBan},
    },
    wire::{Jid, Node},
};

/// WhatsApp refuses a first contact: the account is locked out of them, or this person does not want any.
const REACHOUT: u16 = 463;
/// The cap on new chats is reached.
const CAPPED: u16 = 475;
/// Stored queries of WhatsApp Web (protocol 06, 2.5).
const LOCK_QUERY: &str = "23983697327930364";
const CAP_QUERY: &str = "27910975521856601";
/// A lock without an end is looked at again after this time (WhatsApp Web and Baileys).
const ENDLESS: Duration = Duration::from_secs(60);
/// Spread of the question after the end of a restriction, so that many instances do not ask at once.
const SPREAD: u64 = 30_000;
/// A cap whose end is not told is looked at again after this time (WhatsApp Web's default of AB 20649).
const CAP_AGAIN: Duration = Duration::from_secs(3600);
/// The end of a restriction lies no further away; what says so is no time.
const FURTHEST: u64 = 10 * 365 * 24 * 3600;
/// After this pause a message that was forbidden is tried once more (protocol 06, 2.1).
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(60);
/// The first pause after "service unavailable"; each next one is twice as long.
const UNAVAILABLE_PAUSE: Duration = Duration::from_secs(5);
/// Then it counts as refused.
const UNAVAILABLE_TRIES: u32 = 5;
/// Longest word of WhatsApp's that is kept.
const WORD: usize = 64;

impl Account {
    /// Whether people who never wrote may not be written to, or that is being found out.
    pub(super) fn holds_first_contacts(&self) -> bool {
        self.suspecting || self.standing.holds_first_contacts()
    }

    /// Nothing was ever heard of this person: no message, no token in force.
    pub(super) fn is_first_contact(&self, person: &Jid, turn: &Turn<'_>) -> Result<bool, Error> {
        if !person.is_user() || self.is_own(person) || self.trusted_by(person, turn)? {
            return Ok(false);
        }
        let messages = turn.tx.messages();
        let Some(chat) = messages.find_chat(person)? else { return Ok(true) };
        // A cap is about chats that are started: one that was is no new one, answered or not.
        let started = self.standing.lock.is_none() && !self.suspecting && messages.spoke_in(chat.id)?;
        Ok(!started && !messages.heard_in(chat.id)?)
    }

    /// Takes a send, and everything behind it in its chat, out of the line until first contacts are allowed.
    pub(super) fn hold_back(&self, row: &Row, to: &Jid, turn: &Turn<'_>) -> Result<(), Error> {
        let mut names = vec![row.recipient.clone(), to.bare().to_wire()];
        names.extend(turn.tx.people().other_name(&to.bare())?.map(|other| other.to_wire()));
        Ok(turn.tx.standing().hold(&names)?)
    }

    /// Asks how the account stands. Sends nothing to anybody, so that asking harms nobody.
    pub(super) fn ask_standing(&mut self, turn: &mut Turn<'_>) {
        self.ask_again_at = None;
        self.ask_lock(turn);
        if self.props.capping() || self.standing.cap.as_ref().is_some_and(NewChatCap::reached) {
            self.ask_cap(turn);
        }
    }

    fn ask_lock(&mut self, turn: &mut Turn<'_>) {
        let Some(conn) = &mut self.conn else { return };
        if conn.queries.values().any(|(query, _)| matches!(query, Query::ReachoutLock)) {
            return;
        }
        let id = conn.query(Query::ReachoutLock, turn.now);
        turn.send(&mex_query(&id, LOCK_QUERY, &json!({})));
    }

    fn ask_cap(&mut self, turn: &mut Turn<'_>) {
        let Some(conn) = &mut self.conn else { return };
        if conn.queries.values().any(|(query, _)| matches!(query, Query::NewChatCap)) {
            return;
        }
        let id = conn.query(Query::NewChatCap, turn.now);
        let input = json!({ "input": { "type": "INDIVIDUAL_NEW_CHAT_THREAD" } });
        turn.send(&mex_query(&id, CAP_QUERY, &input));
    }

    pub(super) fn lock_answered(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        match read_mex_answer(node) {
            Ok(data) => {
                let lock = read_lock(&data["xwa2_fetch_account_reachout_timelock"], turn.now);
                self.set_lock(lock, turn)
            }
            Err(error) => {
                warn(error, "the reach-out time lock");
                // What has run out by its own word has run out; what was refused was refused.
                let lock = self.standing.lock.clone().filter(|lock| lock.until > turn.now);
                self.set_lock(lock, turn)
            }
        }
    }

    pub(super) fn cap_answered(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        let answer = read_mex_answer(node).map(|data| read_cap(&data["xwa2_message_capping_info"]));
        match answer {
            Ok(Some(cap)) => self.set_cap(Some(cap), turn),
            Ok(None) => self.cap_unknown(MexError::Unreadable, turn),
            Err(error) => self.cap_unknown(error, turn),
        }
    }

    fn cap_unknown(&mut self, error: MexError, turn: &mut Turn<'_>) -> Result<(), Error> {
        warn(error, "the cap on new chats");
        let lasts = |cap: &NewChatCap| cap.until.is_none_or(|until| until > turn.now);
        let cap = self.standing.cap.clone().filter(lasts);
        self.set_cap(cap, turn)
    }

    /// The server tells of a change by itself.
    /// What the server pushes in the form of a stored query's answer.
    pub(super) fn mex_noticed(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(MexNotice { operation, data }) = MexNotice::parse(node) else { return Ok(()) };
        match operation.as_str() {
            "NotificationUserReachoutTimelockUpdate" => {
                let lock = read_lock(&data["xwa2_notify_account_reachout_timelock"], turn.now);
                self.set_lock(lock, turn)
            }
            "MessageCappingInfoNotification" => {
                match read_cap(&data["xwa2_notify_new_chat_messages_capping_info_update"]) {
                    Some(cap) => self.set_cap(Some(cap), turn),
                    None => Ok(()),
                }
            }
            _ => self.newsletter_changed(&data, turn),
        }
    }

    fn set_lock(&mut self, lock: Option<ReachoutLock>, turn: &mut Turn<'_>) -> Result<(), Error> {
        self.set_standing(Standing { lock, ..self.standing.clone() }, turn)?;
        self.judge(REACHOUT, self.standing.lock.is_some(), turn)
    }

    fn set_cap(&mut self, cap: Option<NewChatCap>, turn: &mut Turn<'_>) -> Result<(), Error> {
        self.set_standing(Standing { cap, ..self.standing.clone() }, turn)?;
        self.judge(CAPPED, self.standing.cap.as_ref().is_some_and(NewChatCap::reached), turn)
    }

    /// It is known now why sends were refused with a code: because of the account, then they wait; or because of whom
    /// they were for, then they have failed.
    fn judge(&mut self, code: u16, account: bool, turn: &mut Turn<'_>) -> Result<(), Error> {
        if account {
            turn.tx.standing().keep_suspects(code)?;
            // What was held back on suspicion alone is looked at again.
            turn.tx.standing().release_unrefused()?;
        } else {
            for row in turn.tx.standing().suspects(code)? {
                self.give_up(&row, code, turn)?;
            }
        }
        self.suspecting = turn.tx.standing().suspecting()?;
        if !self.holds_first_contacts() {
            turn.tx.standing().release()?;
        }
        Ok(())
    }

    /// Keeps how the account stands, and tells of it where that is news.
    fn set_standing(&mut self, now: Standing, turn: &mut Turn<'_>) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.standing, now);
        if let Some(at) = self.standing.ends() {
            let spread = Duration::from_millis(turn.rng.random_range(0..SPREAD));
            self.ask_again_at = Some(at.max(turn.now) + spread);
        } else if self.standing.holds_first_contacts() {
            self.ask_again_at = Some(turn.now + CAP_AGAIN);
        } else {
            self.ask_again_at = None;
        }
        if self.standing == before {
            return Ok(());
        }
        turn.tx.standing().save(&self.standing)?;
        let word = |standing: &Standing| standing.cap.as_ref().map(|cap| cap.status.clone());
        let told = |standing: &Standing| {
            let word = word(standing).filter(|word| word != "NONE");
            (standing.restriction().map(|r| (r.reason, r.kind, r.until)), word)
        };
        if told(&before) == told(&self.standing) { Ok(()) } else { self.report_standing(None, turn) }
    }

    /// `account.restricted`: in the log, not posted to the platform.
    fn report_standing(&self, failure: Option<&Failure>, turn: &mut Turn<'_>) -> Result<(), Error> {
        let restriction = self.standing.restriction();
        let mut data = json!({
            "restricted": restriction.is_some(),
            "reason": restriction.as_ref().map(|restriction| restriction.reason),
            "type": restriction.as_ref().and_then(|restriction| restriction.kind.clone()),
            "until": restriction.and_then(|restriction| restriction.until).map(Millis::rfc3339_offset),
            "new_chats_left": self.standing.cap.as_ref().and_then(NewChatCap::left),
            "timestamp": turn.now.rfc3339_offset(),
        });
        if let (Some(members), Some(failure)) = (data.as_object_mut(), failure) {
            members.insert("message".into(), failure.message.clone().into());
            // Told once: whoever wants to appeal needs it.
            members.insert("appeal_token".into(), failure.appeal_token.clone().into());
        }
        let event =
            NewEvent { kind: "account.restricted", lane: None, data: data.to_string(), platform: None };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// The login was accepted: whatever kept the account out is over.
    pub(super) fn let_in(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let standing = Standing { ban: None, shut: None, ..self.standing.clone() };
        self.set_standing(standing, turn)
    }

    /// The login was refused because of the account. `false`: it was not because of that.
    pub(super) fn shut_out(&mut self, failure: &Failure, turn: &mut Turn<'_>) -> Result<bool, Error> {
        let mut standing = Standing { ban: None, shut: None, ..self.standing.clone() };
        match (failure.reason, failure.code, failure.expire) {
            (402, Some(code), Some(seconds)) => {
                let until = turn.now + Duration::from_secs(seconds.min(FURTHEST));
                standing.ban = Some(TemporaryBan { code, until });
            }
            (reason @ (403 | 406), ..) => standing.shut = Some(reason),
            _ => return Ok(false),
        }
        if standing != self.standing {
            turn.tx.standing().save(&standing)?;
            self.standing = standing;
            self.report_standing(Some(failure), turn)?;
        }
        Ok(true)
    }

    /// A ban ends by itself: no connection before that, and one right after. `true`: there is one.
    pub(super) fn wait_out_ban(&mut self, turn: &mut Turn<'_>) -> Result<bool, Error> {
        let Some(ban) = self.standing.ban.filter(|ban| ban.until > turn.now) else { return Ok(false) };
        self.set_status(Status::Disconnected, Some("forbidden"), turn)?;
        self.retry.at = Some(ban.until);
        Ok(true)
    }

    /// A message was refused with a code. `true`: it is not lost for that.
    pub(super) fn refused_send(&mut self, row: &Row, code: u16, turn: &mut Turn<'_>) -> Result<bool, Error> {
        let to: Option<Jid> = row.recipient.parse().ok();
        let Some(to) = to.filter(|_| !row.peer) else { return Ok(false) };
        self.retrying = true;
        let table = turn.tx.standing();
        let tries = table.refusals(row.seq)?;
        let of_many = in_chat(&to) || is_newsletter(&to);
        let pause = match code {
            REACHOUT | CAPPED if !of_many => {
                table.suspect(row.seq, code)?;
                self.suspecting = true;
                if code == REACHOUT {
                    self.ask_lock(turn);
                } else {
                    self.ask_cap(turn);
                }
                return Ok(true);
            }
            // Seen on plain texts, and gone a moment later.
            403 if !of_many && tries == 0 => FORBIDDEN_PAUSE,
            // The devices that it was encrypted for are not those that there are.
            479 if !of_many && tries == 0 => {
                turn.tx.people().forget_devices(&to)?;
                if let Some(own) = self.own_address() {
                    turn.tx.people().forget_devices(&own)?;
                }
                Duration::ZERO
            }
            503 if tries < UNAVAILABLE_TRIES => UNAVAILABLE_PAUSE * (1 << tries),
            _ => return Ok(false),
        };
        table.put_off(row.seq, turn.now + pause)?;
        self.release_put_off(turn)?;
        Ok(true)
    }

    /// What was put off until now goes on.
    pub(super) fn release_put_off(&mut self, turn: &Turn<'_>) -> Result<(), Error> {
        self.put_off_until = put_off_until(turn)?;
        Ok(())
    }

    /// When something of this is to be done next, while there is a connection.
    pub(super) fn standing_deadline(&self) -> Option<Millis> {
        [self.ask_again_at, self.put_off_until].into_iter().flatten().min()
    }

    pub(super) fn tick_standing(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        if !self.can_send() {
            return Ok(());
        }
        if self.put_off_until.is_some_and(|at| at <= turn.now) {
            self.release_put_off(turn)?;
        }
        if self.ask_again_at.is_some_and(|at| at <= turn.now) {
            self.ask_standing(turn);
        }
        Ok(())
    }
}

/// Sends that were put off until now go on; when the next one does. The clock may have been set back since they were put
/// off, also while no process ran that would have seen it.
pub(super) fn put_off_until(turn: &Turn<'_>) -> Result<Option<Millis>, Error> {
    let longest = FORBIDDEN_PAUSE.max(UNAVAILABLE_PAUSE * (1 << (UNAVAILABLE_TRIES - 1)));
    let table = turn.tx.standing();
    table.pull_in(turn.now + longest)?;
    Ok(table.release_due(turn.now)?)
}

fn warn(error: MexError, what: &'static str) {
    tracing::warn!(%error, what, "how the account stands could not be had");
}

/// A word of WhatsApp's.
fn word(value: &Value) -> Option<String> {
    let word = value.as_str()?;
    Some(word.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(WORD).collect())
}

/// Numbers come as numbers or as texts.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// A time in Unix seconds; one that lies in another age is none.
fn time(value: &Value, now: Millis) -> Option<Millis> {
    number(value).filter(|at| *at > 0 && *at <= now.secs() + FURTHEST).map(Millis::from_secs)
}

/// The lock in `xwa2_…_account_reachout_timelock`; `None`: there is none.
fn read_lock(data: &Value, now: Millis) -> Option<ReachoutLock> {
    if data["is_active"] != Value::Bool(true) {
        return None;
    }
    let until = time(&data["time_enforcement_ends"], now).filter(|until| *until > now);
    Some(ReachoutLock {
        kind: word(&data["enforcement_type"]).unwrap_or_else(|| "DEFAULT".into()),
        until: until.unwrap_or(now + ENDLESS),
    })
}

/// The cap in `xwa2_message_capping_info` and its push. `None`: that is no answer.
fn read_cap(data: &Value) -> Option<NewChatCap> {
    data.as_object()?;
    let until = number(&data["cycle_end_timestamp"]).filter(|at| (1..=1 << 40).contains(at));
    Some(NewChatCap {
        status: word(&data["capping_status"]).unwrap_or_else(|| "NONE".into()),
        total: number(&data["total_quota"]),
        used: number(&data["used_quota"]),
        until: until.map(Millis::from_secs),
    })
}

/// What a restriction is called where it is shown.
pub fn standing_view(standing: &Standing) -> Value {
    let restriction = standing.restriction();
    let Restriction { reason, until, .. } =
        restriction.clone().unwrap_or(Restriction { reason: "", kind: None, until: None });
    let mut view = json!({
        "restricted": restriction.is_some(),
        "reason": restriction.is_some().then_some(reason),
        "until": until.map(Millis::rfc3339),
    });
    if let (Some(left), Some(members)) =
        (standing.cap.as_ref().and_then(NewChatCap::left), view.as_object_mut())
    {
        members.insert("new_chats_left".into(), left.into());
    }
    view
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = Millis(1_767_115_800_000);

    #[test]
    fn a_lock_is_read_in_every_form_that_was_seen() {
        let lock = |active: Value, ends: Value, kind: Value| {
            read_lock(
                &json!({ "is_active": active, "time_enforcement_ends": ends, "enforcement_type": kind }),
                NOW,
            )
        };
        let until = NOW + Duration::from_secs(600);
        let found = lock(true.into(), until.secs().to_string().into(), "RESTRICT_ALL_COMPANIONS".into());
        assert_eq!(found, Some(ReachoutLock { kind: "RESTRICT_ALL_COMPANIONS".into(), until }));
        for endless in [Value::Null, "0".into(), 0.into(), "x".into(), u64::MAX.into(), 5.into()] {
            let found = lock(true.into(), endless, Value::Null).unwrap();
            assert_eq!((found.kind.as_str(), found.until), ("DEFAULT", NOW + ENDLESS));
        }
        assert_eq!(lock(false.into(), until.secs().into(), "DEFAULT".into()), None);
        assert_eq!(read_lock(&Value::Null, NOW), None);
    }

    #[test]
    fn a_cap_counts_whether_its_numbers_are_texts_or_not() {
        let cap = read_cap(&json!({
            "capping_status": "FIRST_WARNING", "total_quota": "10", "used_quota": 4, "cycle_end_timestamp": "1767200000",
        }));
        let cap = cap.unwrap();
        assert_eq!((cap.left(), cap.reached(), cap.until), (Some(6), false, Some(Millis(1_767_200_000_000))));
        assert_eq!(read_cap(&json!({})).unwrap().left(), None);
        assert_eq!(read_cap(&Value::Null), None);
        let over = NewChatCap { status: "CAPPED".into(), total: Some(3), used: Some(9), until: None };
        assert_eq!((over.left(), over.reached()), (Some(0), true));
    }

    proptest! {
        #[test]
        fn any_document_is_read_or_not(text in "\\PC{0,80}", n in any::<u64>()) {
            for value in [json!(text), json!(n), json!({ "is_active": true, "time_enforcement_ends": n,
                "enforcement_type": text, "total_quota": n, "cycle_end_timestamp": n, "capping_status": text })] {
                let _ = read_lock(&value, NOW).map(|lock| lock.until.rfc3339());
                let _ = read_cap(&value).map(|cap| cap.until.map(Millis::rfc3339));
            }
        }
    }
}
