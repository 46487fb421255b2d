//! Faults on purpose, drawn from the seed.

use std::collections::BTreeMap;

use rand::Rng;
use serde_json::{Map, Value};

use crate::wire::Jid;

/// No clock is further off; the year 1970 and the year 2106 are not tried.
const TEN_YEARS: u64 = 10 * 366 * 24 * 3600;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What the server sends to a device arrives later; parameter: milliseconds.
    Delay,
    /// A message is delivered twice.
    Duplicate,
    /// A message, receipt, notification or ack is held back for a moment, and what follows it overtakes it.
    Reorder,
    /// What the server says of the time is wrong; parameter: by how many seconds, in two's complement.
    Clock,
    /// A device gets a message without its ciphertext.
    Withhold,
    /// A ciphertext is damaged on its way to a device.
    Corrupt,
    /// A ciphertext says on its way to a device that it is the first of its chain, which was read long ago.
    Stale,
    /// The ack of a message never leaves.
    DropAcks,
    /// A message is refused when it comes first; parameter: the error code.
    Reject,
    /// The media server answers with another status; parameter: that.
    Cdn,
    /// The media server answers later; parameter: milliseconds.
    CdnDelay,
    /// A transfer from or to the media server breaks off half-way.
    CdnCut,
    /// A query for a collection of app state, or a patch for it, is refused; parameter: the error code. 409: as if another
    /// device had been faster.
    AppState,
    /// Any query but those without which there is no session is refused; parameter: the error code. 429: too many of
    /// them.
    Iq,
    /// A query for device lists or numbers is refused; parameter: the error code.
    Usync,
    /// A query for prekeys is refused; parameter: the error code.
    PreKeys,
    /// A query about groups is refused; parameter: the error code.
    Groups,
}

impl Kind {
    const ALL: [(&'static str, Self); 17] = [
        ("delay", Self::Delay),
        ("duplicate", Self::Duplicate),
        ("reorder", Self::Reorder),
        ("clock", Self::Clock),
        ("withhold", Self::Withhold),
        ("corrupt", Self::Corrupt),
        ("stale", Self::Stale),
        ("drop_acks", Self::DropAcks),
        ("reject", Self::Reject),
        ("cdn", Self::Cdn),
        ("cdn_delay", Self::CdnDelay),
        ("cdn_cut", Self::CdnCut),
        ("app_state", Self::AppState),
        ("iq", Self::Iq),
        ("usync", Self::Usync),
        ("prekeys", Self::PreKeys),
        ("groups", Self::Groups),
    ];

    /// Its parameter is the code of an ack or an answer.
    pub(crate) const fn refuses(self) -> bool {
        matches!(self, Self::Reject | Self::AppState | Self::Iq | Self::Usync | Self::PreKeys | Self::Groups)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// Milliseconds, error code or seconds; 0 where the kind has none.
    pub(crate) parameter: u64,
    /// Out of 2^32.
    threshold: u64,
    pub(crate) probability: f64,
    /// How often it may still strike.
    pub(crate) left: Option<u64>,
    pub(crate) times: Option<u64>,
    pub(crate) device: Option<Jid>,
    pub(crate) fired: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FaultsError {
    #[error("faults are an object of objects")]
    NotAnObject,
    #[error(
        "unknown fault {0}; known are delay, duplicate, reorder, clock, withhold, corrupt, stale, drop_acks, reject, cdn, cdn_delay, cdn_cut, app_state, usync, prekeys, groups, iq"
    )]
    Unknown(String),
    #[error("{0}: {1}")]
    Invalid(&'static str, &'static str),
}

/// The faults in force.
#[derive(Default)]
pub(crate) struct Faults {
    all: Vec<Fault>,
}

impl Faults {
    pub(crate) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.all.clear();
    }

    pub(crate) fn all(&self) -> &[Fault] {
        &self.all
    }

    /// Replaces everything in force; on an error nothing changes.
    pub(crate) fn replace(&mut self, faults: &Value) -> Result<(), FaultsError> {
        let faults = faults.as_object().ok_or(FaultsError::NotAnObject)?;
        let mut all = Vec::with_capacity(faults.len());
        for (name, settings) in faults {
            let kind = Kind::ALL.iter().find(|(n, _)| n == name).map(|(_, kind)| *kind);
            let kind = kind.ok_or_else(|| FaultsError::Unknown(name.clone()))?;
            all.push(Fault::read(kind, settings.as_object().ok_or(FaultsError::NotAnObject)?)?);
        }
        self.all = all;
        Ok(())
    }

    /// Whether a fault of this kind strikes the device with these names now; its parameter.
    pub(crate) fn strikes(&mut self, kind: Kind, names: &[Jid], rng: &mut impl Rng) -> Option<u64> {
        let fault = self.all.iter_mut().find(|fault| {
            fault.kind == kind
                && fault.left != Some(0)
                && fault.device.as_ref().is_none_or(|device| names.contains(device))
        })?;
        if u64::from(rng.next_u32()) >= fault.threshold {
            return None;
        }
        fault.left = fault.left.map(|left| left - 1);
        fault.fired += 1;
        Some(fault.parameter)
    }
}

impl Fault {
    fn read(kind: Kind, settings: &Map<String, Value>) -> Result<Self, FaultsError> {
        let name = kind.name();
        let parameter = match kind {
            Kind::Delay => Some(("ms", "ms: milliseconds, at most 600000", 600_000)),
            Kind::Reject => Some(("error", "error: the code of the ack, 400 to 599", 599)),
            Kind::Cdn => Some(("status", "status: an HTTP status, 400 to 599", 599)),
            Kind::AppState | Kind::Iq | Kind::Usync | Kind::PreKeys | Kind::Groups => {
                Some(("error", "error: the code of the answer, 400 to 599", 599))
            }
            Kind::CdnDelay => Some(("ms", "ms: milliseconds, at most 600000", 600_000)),
            Kind::Clock => None,
            Kind::Duplicate
            | Kind::Reorder
            | Kind::Withhold
            | Kind::Corrupt
            | Kind::Stale
            | Kind::DropAcks
            | Kind::CdnCut => None,
        };
        let mut value = 0;
        let mut known = BTreeMap::from([("probability", ()), ("times", ()), ("device", ())]);
        if let Some((key, wanted, most)) = parameter {
            known.insert(key, ());
            value = settings.get(key).and_then(Value::as_u64).ok_or(FaultsError::Invalid(name, wanted))?;
            if value > most || (most == 599 && value < 400) {
                return Err(FaultsError::Invalid(name, wanted));
            }
        }
        if kind == Kind::Clock {
            const WANTED: &str = "seconds: a whole number that is not 0, at most ten years either way";
            known.insert("seconds", ());
            let off = settings.get("seconds").and_then(Value::as_i64);
            let off = off.filter(|off| *off != 0 && off.unsigned_abs() <= TEN_YEARS);
            value = off.ok_or(FaultsError::Invalid(name, WANTED))?.cast_unsigned();
        }
        if settings.keys().any(|key| !known.contains_key(key.as_str())) {
            return Err(FaultsError::Invalid(name, "a setting that this fault does not have"));
        }
        let probability = match settings.get("probability") {
            None => 1.0,
            Some(p) => p
                .as_f64()
                .filter(|p| (0.0..=1.0).contains(p))
                .ok_or(FaultsError::Invalid(name, "probability: 0 to 1"))?,
        };
        let times = match settings.get("times") {
            None => None,
            Some(n) => Some(n.as_u64().ok_or(FaultsError::Invalid(name, "times: a whole number"))?),
        };
        let device = match settings.get("device") {
            None => None,
            Some(d) => Some(
                d.as_str()
                    .and_then(|text| text.parse().ok())
                    .ok_or(FaultsError::Invalid(name, "device: a JID with its device"))?,
            ),
        };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 2^32, checked above"
        )]
        let threshold = (probability * 4_294_967_296.0) as u64;
        Ok(Self { kind, parameter: value, threshold, probability, left: times, times, device, fired: 0 })
    }
}
