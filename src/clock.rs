//! Time as a value. This file holds the only reads of the system clock; everything below takes `now` as an argument.

use std::{fmt, time::Duration};

/// Wall clock in milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// The system's wall clock.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads it")]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// From whole Unix seconds, as WhatsApp's `t` attributes carry them.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Whole Unix seconds, rounded down.
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// RFC 3339, UTC, milliseconds, `Z`: `2025-12-30T17:30:00.000Z`.
    pub fn rfc3339(self) -> String {
        self.zoned("%Y-%m-%dT%H:%M:%S%.3fZ")
    }

    /// RFC 3339, UTC, seconds, `Z`: `2025-12-30T17:30:00Z`.
    pub fn rfc3339_secs(self) -> String {
        self.zoned("%Y-%m-%dT%H:%M:%SZ")
    }

    /// RFC 3339, seconds, `+00:00`: the form of outgoing webhook bodies.
    pub fn rfc3339_offset(self) -> String {
        self.zoned("%Y-%m-%dT%H:%M:%S+00:00")
    }

    /// Reads RFC 3339: with an offset, to the millisecond. `None`: it is no such time, or lies before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        // The parser takes more than the standard has: annotations in brackets, a week, a lower-case separator.
        let plain = text.is_ascii() && !text.contains('[') && text.get(10..11) == Some("T");
        let at: jiff::Timestamp = text.parse().ok().filter(|_| plain)?;
        u64::try_from(at.as_millisecond()).ok().map(Self)
    }

    fn zoned(self, format: &str) -> String {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
        at.strftime(format).to_string()
    }
}

impl std::ops::Add<Duration> for Millis {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::Millis;

    #[test]
    fn times_are_read_with_their_offset_and_only_so() {
        for (text, expected) in [
            ("2025-12-30T17:30:00Z", Some(1_767_115_800_000)),
            ("2025-12-30T14:30:00.250-03:00", Some(1_767_115_800_250)),
            ("2025-12-30T17:30:00+00:00", Some(1_767_115_800_000)),
            ("2025-12-30T17:30:00", None),
            ("2025-12-30", None),
            ("2025-13-30T17:30:00Z", None),
            ("2025-12-30T17:30:00Z[UTC]", None),
            ("1969-12-30T17:30:00Z", None),
            ("tomorrow", None),
            ("", None),
            ("2025-12-30€17:30:00Z", None),
        ] {
            assert_eq!(Millis::parse_rfc3339(text), expected.map(Millis), "{text}");
        }
    }

    #[test]
    fn times_print_in_the_three_forms_of_the_contract() {
        let at = Millis(1_767_115_800_000);
        assert_eq!(at.rfc3339(), "2025-12-30T17:30:00.000Z");
        assert_eq!(at.rfc3339_secs(), "2025-12-30T17:30:00Z");
        assert_eq!(at.rfc3339_offset(), "2025-12-30T17:30:00+00:00");
    }
}
