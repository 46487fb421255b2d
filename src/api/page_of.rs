//! Pages of lists: `page` from 1, `per_page` up to 100, and the `total`.

use serde_json::{Map, Value, json};

use super::{events, fields::Faults};

/// Entries a page, if nothing is said, and at most (instance-api.md §10).
const DEFAULT: u64 = 50;
const MOST: u64 = 100;
/// Pages that can be asked for; more entries than that are nowhere.
const PAGES: u64 = 1_000_000;

/// A part of a list that somebody asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageOf {
    page: u64,
    per_page: u64,
}

impl PageOf {
    pub(super) fn read(query: &[(String, String)], faults: &mut Faults) -> Self {
        Self {
            page: events::number(query, "page", 1..=PAGES, faults).unwrap_or(1),
            per_page: events::number(query, "per_page", 1..=MOST, faults).unwrap_or(DEFAULT),
        }
    }

    /// Entries in front of it.
    pub(super) const fn offset(self) -> u64 {
        (self.page - 1) * self.per_page
    }

    /// Entries in it, at most.
    pub(super) fn limit(self) -> u32 {
        u32::try_from(self.per_page).unwrap_or(u32::MAX)
    }

    /// The answer: entries under their name, then where this is.
    pub(super) fn answer(self, name: &str, entries: Vec<Value>, total: u64) -> Value {
        let mut body = Map::new();
        body.insert("success".into(), true.into());
        body.insert(name.into(), entries.into());
        let place = json!({ "page": self.page, "per_page": self.per_page, "total": total });
        if let Value::Object(place) = place {
            body.extend(place);
        }
        Value::Object(body)
    }
}
