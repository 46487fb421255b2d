//! What the server has set for this client ("AB props", protocol 05, 17): asked at each login, kept so that a start knows
//! it before the answer comes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Error,
    dispatch::{Account, Turn},
};
use crate::{
    crypto::app_state::KEY_DAYS,
    stanza::{Iq, read_props},
    store::Tx,
    wire::Node,
};

/// Setting: what of it is of use here, as JSON.
const KEPT: &str = "account.props";
/// Longest value that is kept; the longest in use is a number.
const LONGEST: usize = 32;

// Numbers and names: protocol 06, 2.4, 3.2 and 3.4.
const RECEIVED_DURATION: u32 = 865;
const RECEIVED_BUCKETS: u32 = 909;
const ISSUED_DURATION: u32 = 996;
const ISSUED_BUCKETS: u32 = 997;
const ON_PICTURES: u32 = 9_666;
const ON_MESSAGES: u32 = 10_518;
const ON_NEW_GROUPS: u32 = 11_261;
const ON_ADDED_MEMBERS: u32 = 11_262;
const ISSUE_TO_LID: u32 = 14_303;
const ON_ABOUTS: u32 = 20_798;
const CAPPING: u32 = 20_865;
const PROOFS: u32 = 24_941;
/// For how many days an app-state key is written with (protocol 04, 11).
const KEY_USE_DAYS: u32 = 14_488;
const WANTED: [u32; 13] = [
    RECEIVED_DURATION,
    RECEIVED_BUCKETS,
    ISSUED_DURATION,
    ISSUED_BUCKETS,
    ON_PICTURES,
    ON_MESSAGES,
    ON_NEW_GROUPS,
    ON_ADDED_MEMBERS,
    ISSUE_TO_LID,
    ON_ABOUTS,
    CAPPING,
    PROOFS,
    KEY_USE_DAYS,
];

/// For how long a token is good, in buckets of equal length. All times are Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    duration: u64,
    buckets: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self::new(7 * 24 * 3600, 4)
    }
}

impl Window {
    /// Half a year is the longest bucket that clients take.
    const LONGEST: u64 = 180 * 24 * 3600;

    fn new(duration: u64, buckets: u64) -> Self {
        Self { duration: duration.clamp(1, Self::LONGEST), buckets: buckets.max(1) }
    }

    fn bucket(self, t: u64) -> u64 {
        t / self.duration
    }

    /// What is older than this is of no use any more.
    pub(super) fn cutoff(self, now: u64) -> u64 {
        self.bucket(now).saturating_sub(self.buckets - 1) * self.duration
    }

    pub(super) fn holds(self, at: u64, now: u64) -> bool {
        at >= self.cutoff(now)
    }

    /// Whether it is time for another one.
    pub(super) fn again(self, last: u64, now: u64) -> bool {
        self.bucket(now) > self.bucket(last)
    }
}

/// The switches and numbers that are obeyed here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Props {
    values: BTreeMap<u32, String>,
    hash: Option<String>,
}

impl Props {
    pub(super) fn load(tx: &Tx<'_>) -> Result<Self, Error> {
        let Some(kept) = tx.settings().get(KEPT)? else { return Ok(Self::default()) };
        let kept: Value = serde_json::from_str(&kept).unwrap_or_default();
        let values = kept["values"].as_object().into_iter().flatten();
        let value = |(code, value): (&String, &Value)| Some((code.parse().ok()?, value.as_str()?.to_owned()));
        let hash = kept["hash"].as_str().map(str::to_owned);
        Ok(Self { values: values.filter_map(value).collect(), hash })
    }

    /// Of the last answer.
    pub(super) fn hash(&self) -> Option<&str> {
        self.hash.as_deref()
    }

    fn number(&self, code: u32) -> Option<u64> {
        self.values.get(&code)?.parse().ok()
    }

    fn switch(&self, code: u32, default: bool) -> bool {
        match self.values.get(&code).map(String::as_str) {
            Some("1" | "true" | "True") => true,
            Some("0" | "false" | "False") => false,
            _ => default,
        }
    }

    fn window(&self, duration: u32, buckets: u32) -> Window {
        let Window { duration: week, buckets: four } = Window::default();
        Window::new(self.number(duration).unwrap_or(week), self.number(buckets).unwrap_or(four))
    }

    /// Of tokens that came.
    pub(super) fn received(&self) -> Window {
        self.window(RECEIVED_DURATION, RECEIVED_BUCKETS)
    }

    /// Of tokens that the account issues.
    pub(super) fn issued(&self) -> Window {
        self.window(ISSUED_DURATION, ISSUED_BUCKETS)
    }

    /// Tokens go on messages. Without a word of the server they do, as Baileys and whatsmeow have it: one that is not
    /// asked for does no harm, one that is missing can cost the message.
    pub(super) fn on_messages(&self) -> bool {
        self.switch(ON_MESSAGES, true)
    }

    /// Tokens go on questions for a person's picture.
    pub(super) fn on_pictures(&self) -> bool {
        self.switch(ON_PICTURES, true)
    }

    /// Tokens go on questions for what a person says about themselves.
    pub(super) fn on_abouts(&self) -> bool {
        self.switch(ON_ABOUTS, false)
    }

    /// Tokens go with whom a new group is made of.
    pub(super) fn on_new_groups(&self) -> bool {
        self.switch(ON_NEW_GROUPS, false)
    }

    /// Tokens go with whoever is added to a group.
    pub(super) fn on_added_members(&self) -> bool {
        self.switch(ON_ADDED_MEMBERS, false)
    }

    /// Where there is no token, a proof made with the account's salt goes on messages.
    pub(super) fn proofs(&self) -> bool {
        self.switch(PROOFS, false)
    }

    /// Tokens are issued to LIDs, not to numbers.
    pub(super) fn issue_to_lid(&self) -> bool {
        self.switch(ISSUE_TO_LID, false)
    }

    /// For how many days an app-state key is good.
    pub(super) fn key_days(&self) -> u64 {
        self.number(KEY_USE_DAYS).unwrap_or(KEY_DAYS)
    }

    /// There may be a cap on new chats.
    pub(super) fn capping(&self) -> bool {
        self.switch(CAPPING, false)
    }
}

impl Account {
    /// The server's answer at login.
    pub(super) fn props_answered(&mut self, node: &Node, turn: &Turn<'_>) -> Result<(), Error> {
        let (None, Some(props)) = (Iq::refusal(node), node.find("props")) else { return Ok(()) };
        // An answer without any says that nothing has changed since the hash that was named.
        if props.find("prop").is_none() {
            return Ok(());
        }
        if props.text("delta_update") != Some("true") {
            self.props.values.clear();
        }
        let told = read_props(node, |code| WANTED.contains(&code));
        self.props.values.extend(told.into_iter().filter(|(_, value)| value.len() <= LONGEST));
        self.props.hash = props.text("hash").filter(|hash| hash.len() <= 256).map(str::to_owned);
        let values: serde_json::Map<String, Value> =
            self.props.values.iter().map(|(code, value)| (code.to_string(), value.clone().into())).collect();
        let kept = json!({ "hash": self.props.hash, "values": values });
        Ok(turn.tx.settings().set(KEPT, &kept.to_string())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of protocol 06, 3.2.
    #[test]
    fn tokens_live_for_whole_buckets() {
        let window = Window::default();
        let now = 1_787_400_000;
        assert_eq!((window.bucket(now), window.cutoff(now)), (2955, 1_785_369_600));
        assert!(!window.again(now, 1_787_788_799));
        assert!(window.again(now, 1_787_788_800));
        for duration in [1, 604_800, Window::LONGEST] {
            let window = Window::new(duration, 4);
            assert!(window.holds(7 * duration, 10 * duration));
            assert!(!window.holds(7 * duration - 1, 10 * duration));
        }
    }

    #[test]
    fn figures_out_of_bounds_are_drawn_into_them() {
        assert_eq!(Window::new(0, 0), Window { duration: 1, buckets: 1 });
        assert_eq!(Window::new(u64::MAX, u64::MAX).cutoff(u64::MAX), 0);
        let props = Props { values: [(RECEIVED_BUCKETS, "x".to_owned())].into(), hash: None };
        assert_eq!(props.received(), Window::default());
    }

    #[test]
    fn what_the_server_does_not_say_has_its_default() {
        let of = |code, value: &str| Props { values: [(code, value.to_owned())].into(), hash: None };
        assert!(Props::default().on_messages() && !Props::default().proofs());
        assert!(!of(ON_MESSAGES, "0").on_messages() && of(PROOFS, "true").proofs());
        assert!(of(ISSUE_TO_LID, "1").issue_to_lid() && of(CAPPING, "1").capping());
        assert_eq!(of(RECEIVED_BUCKETS, "26").received(), Window::new(604_800, 26));
    }
}
