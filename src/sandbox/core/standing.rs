//! What the server lets an account do, and who may reach whom: tokens, time locks, caps, bans, and the scenarios that a
//! push name asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{AccountId, DeviceRef, Effect, Namespace, OperateError, World};
use crate::{
    clock::Millis,
    crypto::{
        app_state::{Change, Collection, Operation},
        nct,
    },
    proto,
    stanza::{
        ContactToken, Failure, MexNotice, Notification, Outgoing, TokenNotice, mex_answer, props_answer,
        read_issued,
    },
    wire::{Jid, Node},
};

/// Tokens live for whole buckets of this length, so many of them (the server's defaults, protocol 06, 3.2).
const BUCKET: u64 = 7 * 24 * 3600;
const BUCKETS: u64 = 4;
/// Stored queries that are known: the time lock, and the cap in its newer and its older form.
const LOCK_QUERY: &str = "23983697327930364";
const CAP_QUERIES: [&str; 2] = ["27910975521856601", "24503548349331633"];
/// A restriction lasts no longer than a year.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// Properties that can be set for one account.
const MAX_PROPERTIES: usize = 1_000;

/// How an account was set up by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scenario {
    /// Nobody reaches it, or sees its picture and presence, without being trusted by it.
    pub(crate) restricted: bool,
    /// It takes tokens that it issued.
    tc_enabled: bool,
    /// It takes proofs made with the sender's salt.
    cs_enabled: bool,
    nct_send_ab: Option<bool>,
    nct_syncd_ab: Option<bool>,
    nct_history_ab: Option<bool>,
    /// Its companions learn the salt from history.
    pub(crate) nct_history_delivery: bool,
    /// And from app state.
    pub(crate) nct_syncd_delivery: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            restricted: false,
            tc_enabled: true,
            cs_enabled: true,
            nct_send_ab: None,
            nct_syncd_ab: None,
            nct_history_ab: None,
            nct_history_delivery: false,
            nct_syncd_delivery: false,
        }
    }
}

impl Scenario {
    /// `restricted:NAME` and `scenario:flag[=0|1],flag…:NAME`; any other name is just a name.
    pub(crate) fn of(name: &str) -> Self {
        let mut scenario = Self::default();
        if name.starts_with("restricted:") {
            scenario.restricted = true;
            return scenario;
        }
        let Some((flags, _)) = name.strip_prefix("scenario:").and_then(|rest| rest.split_once(':')) else {
            return scenario;
        };
        for flag in flags.split(',') {
            let (flag, on) = flag.split_once('=').unwrap_or((flag, "1"));
            let on = on != "0";
            match flag.trim() {
                "restricted" => scenario.restricted = on,
                "tc_enabled" => scenario.tc_enabled = on,
                "cs_enabled" => scenario.cs_enabled = on,
                "nct_send_ab" => scenario.nct_send_ab = Some(on),
                "nct_syncd_ab" => scenario.nct_syncd_ab = Some(on),
                "nct_history_ab" => scenario.nct_history_ab = Some(on),
                "nct_history_delivery" => scenario.nct_history_delivery = on,
                "nct_syncd_delivery" => scenario.nct_syncd_delivery = on,
                _ => {}
            }
        }
        scenario
    }

    fn has_salt(self) -> bool {
        self.nct_history_delivery || self.nct_syncd_delivery || self.nct_send_ab == Some(true)
    }
}

/// Who may reach an account, and what it may do itself. Accounts by their numbers; times are Unix seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Trust {
    scenario: Scenario,
    pub(super) salt: Option<Vec<u8>>,
    /// Tokens that it issued, by holder.
    issued: BTreeMap<usize, (u64, Vec<u8>)>,
    /// Whom it has written to: they may answer.
    wrote: BTreeSet<usize>,
    /// Server properties besides those of the scenario.
    properties: BTreeMap<u32, String>,
    lock: Option<(String, u64)>,
    /// New chats allowed, and the cycle's end.
    cap: Option<(u64, u64)>,
    /// New chats of this cycle.
    started: BTreeSet<usize>,
    ban: Option<(u16, u64)>,
    shut: Option<u16>,
}

/// What the server changes about an account. `None` ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StandingChange {
    /// Reach-out time lock: WhatsApp's word for it, and how long.
    Timelock(Option<(String, Duration)>),
    /// New chats allowed in a cycle of this length.
    Cap(Option<(u64, Duration)>),
    /// Temporary ban: why, and how long.
    Ban(Option<(u16, Duration)>),
    /// Logins are refused with this reason.
    Refuse(Option<u16>),
}

impl Trust {
    pub(super) fn of(name: Option<&str>, rng: &mut dyn rand::CryptoRng) -> Self {
        let scenario = name.map(Scenario::of).unwrap_or_default();
        let mut salt = vec![0; 32];
        if scenario.has_salt() {
            rng.fill_bytes(&mut salt);
        }
        Self { scenario, salt: scenario.has_salt().then_some(salt), ..Self::default() }
    }

    pub(crate) const fn scenario(&self) -> Scenario {
        self.scenario
    }

    fn locked(&self, now: Millis) -> Option<&(String, u64)> {
        self.lock.as_ref().filter(|(_, until)| *until > now.secs())
    }

    fn lock_json(&self, now: Millis) -> Value {
        match self.locked(now) {
            Some((kind, until)) => json!({
                "is_active": true,
                "time_enforcement_ends": until.to_string(),
                "enforcement_type": kind,
            }),
            None => json!({
                "is_active": false,
                "time_enforcement_ends": null,
                "enforcement_type": "DEFAULT",
            }),
        }
    }

    fn cap_json(&self, now: Millis) -> Value {
        let Some((total, until)) = self.cap.filter(|(_, until)| *until > now.secs()) else {
            return json!({ "capping_status": "NONE", "server_sent_timestamp": now.secs().to_string() });
        };
        let used = self.started.len() as u64;
        let status = match used * 2 {
            _ if used >= total => "CAPPED",
            twice if twice >= total => "FIRST_WARNING",
            _ => "NONE",
        };
        json!({
            "capping_status": status,
            "total_quota": total.to_string(),
            "used_quota": used.to_string(),
            "cycle_end_timestamp": until.to_string(),
            "server_sent_timestamp": now.secs().to_string(),
            "ote_status": "NOT_ELIGIBLE",
            "mv_status": "NOT_ELIGIBLE",
        })
    }
}

impl World {
    fn trust(&self, account: AccountId) -> &Trust {
        &self.account(account).trust
    }

    fn trust_mut(&mut self, account: AccountId) -> &mut Trust {
        &mut self.account_mut(account).trust
    }

    /// Whether a stanza shows that `to` lets `from` reach it.
    fn welcome(&self, from: AccountId, to: AccountId, node: &Node, now: Millis) -> bool {
        let target = self.trust(to);
        let shown = |tag| node.find(tag).and_then(Node::content_bytes);
        if let (Some((t, token)), Some(shown), true) =
            (target.issued.get(&from.0), shown("tctoken"), target.scenario.tc_enabled)
        {
            let cutoff = (now.secs() / BUCKET).saturating_sub(BUCKETS - 1) * BUCKET;
            if *t >= cutoff && shown.as_ref() == token.as_slice() {
                return true;
            }
        }
        let (Some(salt), Some(shown), true) =
            (&self.trust(from).salt, shown("cstoken"), target.scenario.cs_enabled)
        else {
            return false;
        };
        shown.as_ref() == nct::contact_token(salt, &self.account(to).lid)
    }

    /// Whether an account is not to be seen by whoever asks about it with this stanza.
    pub(super) fn hidden(&self, from: AccountId, of: AccountId, node: &Node, now: Millis) -> bool {
        let target = self.trust(of);
        from != of
            && target.scenario.restricted
            && !target.wrote.contains(&from.0)
            && !self.welcome(from, of, node, now)
    }

    /// The code with which a message from one person to another is refused.
    pub(super) fn refuse_contact(
        &mut self,
        from: AccountId,
        out: &Outgoing,
        node: &Node,
        now: Millis,
    ) -> Option<u16> {
        let to = self.resolve(&out.to).filter(|_| out.to.is_user() && !out.peer)?.account;
        // Whoever asks for a message again gets it.
        let resend = out.direct.as_ref().is_some_and(|enc| enc.count.is_some());
        if to == from || resend {
            return None;
        }
        let target = self.trust(to);
        let known = target.wrote.contains(&from.0) || self.welcome(from, to, node, now);
        if !known {
            if target.scenario.restricted || self.trust(from).locked(now).is_some() {
                return Some(463);
            }
            let sender = self.trust_mut(from);
            if let Some((total, until)) = sender.cap
                && until > now.secs()
                && !sender.started.contains(&to.0)
            {
                if sender.started.len() as u64 >= total {
                    return Some(475);
                }
                sender.started.insert(to.0);
            }
        }
        self.trust_mut(from).wrote.insert(to.0);
        None
    }

    /// An account lets others reach it: the server makes the tokens, and hands them to every device of the holders.
    /// `None`: that is no issue.
    pub(super) fn hand_on_tokens(&mut self, device: DeviceRef, node: &Node, now: Millis) -> Option<()> {
        let issued = read_issued(node).ok()?;
        let issuer = self.account(device.account).jid(Namespace::Pn, 0);
        let lid = self.account(device.account).jid(Namespace::Lid, 0);
        for (jid, t) in issued {
            let Some(holder) = self.resolve(&jid).filter(|holder| holder.account != device.account) else {
                continue;
            };
            let bytes = self.random_hex(16).into_bytes();
            self.trust_mut(device.account).issued.insert(holder.account.0, (t, bytes.clone()));
            let tokens = vec![ContactToken { t, bytes }];
            let notice = TokenNotice { issuer: issuer.clone(), lid: Some(lid.clone()), tokens };
            for target in self.devices_of(holder.account) {
                let id = self.server_id();
                let frame = Notification::frame(&id, &issuer, "privacy_token", now.secs());
                self.enqueue(target, notice.build(frame), now);
            }
        }
        Some(())
    }

    /// What a phone shows on a message to somebody who trusts its account.
    pub(super) fn token_of_phone(&self, from: AccountId, to: AccountId) -> Option<Node> {
        let (_, token) = self.trust(to).issued.get(&from.0)?;
        Some(crate::stanza::tctoken(token))
    }

    /// What a phone knows of the tokens between its account and another: the other's, with its time, and when it issued one.
    pub(super) fn tokens_between(
        &self,
        phone: AccountId,
        other: AccountId,
    ) -> (Option<(u64, Vec<u8>)>, Option<u64>) {
        let came = self.trust(other).issued.get(&phone.0).cloned();
        (came, self.trust(phone).issued.get(&other.0).map(|(at, _)| *at))
    }

    /// After a message of a phone: whoever it wrote to may answer. Once a bucket, as clients do.
    pub(super) fn phone_trusts(&mut self, from: AccountId, to: AccountId, now: Millis) {
        let last = self.trust(from).issued.get(&to.0).map(|(t, _)| t / BUCKET);
        if from == to || last.is_some_and(|last| last >= now.secs() / BUCKET) {
            return;
        }
        let id = self.server_id();
        let to = self.account(to).jid(Namespace::Pn, 0);
        let phone = DeviceRef { account: from, device: 0 };
        self.says(phone, crate::stanza::issue_tokens(&id, &to, now.secs()));
    }

    /// The server's properties for an account.
    pub(super) fn properties(&self, account: AccountId, id: &str) -> Node {
        let trust = self.trust(account);
        let Scenario { nct_send_ab, nct_syncd_ab, nct_history_ab, .. } = trust.scenario;
        let named = [(24_941, nct_send_ab), (25_253, nct_syncd_ab), (25_189, nct_history_ab)];
        let named = named.into_iter().filter_map(|(code, on)| Some((code, if on? { "1" } else { "0" })));
        let mut all: BTreeMap<u32, &str> = named.collect();
        all.extend(trust.properties.iter().map(|(code, value)| (*code, value.as_str())));
        let hash = all.iter().map(|(code, value)| format!("{code}={value};")).collect::<String>();
        props_answer(id, &format!("sandbox:{hash}"), all)
    }

    /// Stored queries about the account itself.
    pub(super) fn standing_document(
        &self,
        device: DeviceRef,
        id: &str,
        document: &str,
        now: Millis,
    ) -> Option<Node> {
        let trust = self.trust(device.account);
        let data = match document {
            LOCK_QUERY => json!({ "xwa2_fetch_account_reachout_timelock": trust.lock_json(now) }),
            query if CAP_QUERIES.contains(&query) => {
                json!({ "xwa2_message_capping_info": trust.cap_json(now) })
            }
            _ => return None,
        };
        Some(mex_answer(id, &data))
    }

    /// With what a login is refused.
    pub(super) fn shut_out(&self, account: AccountId, now: Millis) -> Option<Failure> {
        let trust = self.trust(account);
        if let Some((code, until)) = trust.ban.filter(|(_, until)| *until > now.secs()) {
            let expire = Some(until - now.secs());
            return Some(Failure { reason: 402, code: Some(code), expire, ..Failure::default() });
        }
        trust.shut.map(|reason| Failure { reason, ..Failure::default() })
    }

    /// The server changes its mind about an account, and tells its companions.
    pub(crate) fn change_standing(
        &mut self,
        phone: AccountId,
        change: StandingChange,
        now: Millis,
    ) -> Result<(), OperateError> {
        let end = |time: Duration| {
            let fits = (1..=LONGEST.as_secs()).contains(&time.as_secs());
            fits.then(|| now.secs() + time.as_secs()).ok_or(OperateError::BadRequest("seconds: 1 to a year"))
        };
        let trust = self.trust_mut(phone);
        let notice = match change {
            StandingChange::Timelock(lock) => {
                trust.lock = lock.map(|(kind, time)| Ok((kind, end(time)?))).transpose()?;
                Some((
                    "NotificationUserReachoutTimelockUpdate",
                    json!({ "xwa2_notify_account_reachout_timelock": trust.lock_json(now) }),
                ))
            }
            StandingChange::Cap(cap) => {
                trust.cap = cap.map(|(total, time)| Ok((total, end(time)?))).transpose()?;
                trust.started.clear();
                Some((
                    "MessageCappingInfoNotification",
                    json!({ "xwa2_notify_new_chat_messages_capping_info_update": trust.cap_json(now) }),
                ))
            }
            StandingChange::Ban(ban) => {
                trust.ban = ban.map(|(code, time)| Ok((code, end(time)?))).transpose()?;
                None
            }
            StandingChange::Refuse(reason) => {
                if reason.is_some_and(|reason| !(400..600).contains(&reason)) {
                    return Err(OperateError::BadRequest("refuse: a reason, 400 to 599"));
                }
                trust.shut = reason;
                None
            }
        };
        let out = self.shut_out(phone, now).is_some();
        for device in self.devices_of(phone).into_iter().filter(|device| device.device != 0) {
            if let Some((operation, data)) = &notice {
                let id = self.server_id();
                let frame = Notification::frame(&id, &Jid::server_itself(), "mex", now.secs());
                let notice = MexNotice { operation: (*operation).to_owned(), data: data.clone() };
                self.enqueue(device, notice.build(frame), now);
            }
            // Whoever is kept out is put out first.
            if let Some(conn) = self.device(device).and_then(|known| known.conn).filter(|_| out) {
                self.effects.push(Effect::Drop(conn));
            }
        }
        self.settle(now);
        Ok(())
    }

    /// Sets a server property for an account; it counts from the next question on. Without a value it goes.
    pub(crate) fn set_property(
        &mut self,
        phone: AccountId,
        code: u32,
        value: Option<String>,
    ) -> Result<(), OperateError> {
        let properties = &mut self.trust_mut(phone).properties;
        match value {
            Some(_) if properties.len() >= MAX_PROPERTIES => {
                Err(OperateError::Conflict("too many properties"))
            }
            Some(value) => {
                properties.insert(code, value);
                Ok(())
            }
            None => {
                properties.remove(&code);
                Ok(())
            }
        }
    }

    /// The phone puts its account's salt into app state, where its companions find it.
    pub(super) fn keep_salt(&mut self, phone: AccountId, now: Millis) {
        use proto::sync_action_value::NctSaltSyncAction;
        let trust = self.trust(phone);
        let Some(salt) = trust.salt.clone().filter(|_| trust.scenario.nct_syncd_delivery) else { return };
        if self.account(phone).app_state.contains_key(&Collection::RegularHigh) {
            return;
        }
        let value = proto::SyncActionValue {
            timestamp: i64::try_from(now.0).ok(),
            nct_salt_sync_action: Some(NctSaltSyncAction { salt: Some(salt) }),
            ..Default::default()
        };
        let change = Change {
            operation: Operation::Set,
            index: b"[\"nct_salt_sync\"]".to_vec(),
            value: prost::Message::encode_to_vec(&value),
            version: 1,
        };
        self.phone_changes(phone, Collection::RegularHigh, &[change], false, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_set_scenarios_up() {
        assert_eq!(Scenario::of("Ana: restricted"), Scenario::default());
        assert!(Scenario::of("restricted:Ana").restricted);
        let scenario = Scenario::of("scenario:restricted,tc_enabled=0,nct_send_ab,nct_syncd_ab=0:Ana");
        assert!(scenario.restricted && !scenario.tc_enabled && scenario.cs_enabled);
        assert_eq!((scenario.nct_send_ab, scenario.nct_syncd_ab), (Some(true), Some(false)));
        assert!(scenario.has_salt() && !Scenario::of("scenario:nct_send_ab=0:Ana").has_salt());
    }
}
