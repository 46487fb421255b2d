//! What the query of an address says: numbers, pages.

use std::ops::RangeInclusive;

use axum::extract::Query;
use serde_json::{Map, Value};

use super::fields::Faults;

/// A query as it came; of a name that repeats the first counts.
pub(super) type Pairs = Query<Vec<(String, String)>>;

/// Rows a page, if nothing is said, and at most (instance-api.md §10).
const PER_PAGE: u64 = 50;
const PER_PAGE_MAX: u64 = 100;
/// Largest page number; together with the largest page far below what SQLite counts to.
const PAGE_MAX: u64 = 1_000_000;

/// `page` (from 1) and `per_page` of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paging {
    page: u64,
    per_page: u64,
}

impl Paging {
    pub(super) fn read(query: &[(String, String)], faults: &mut Faults) -> Self {
        Self {
            page: number(query, "page", 1..=PAGE_MAX, faults).unwrap_or(1),
            per_page: number(query, "per_page", 1..=PER_PAGE_MAX, faults).unwrap_or(PER_PAGE),
        }
    }

    pub(super) fn limit(self) -> u32 {
        u32::try_from(self.per_page).unwrap_or(u32::MAX)
    }

    pub(super) fn skip(self) -> u64 {
        self.page.saturating_sub(1).saturating_mul(self.per_page)
    }

    /// The answer of a list: its rows under `name`, beside where in how many they stand.
    pub(super) fn answer(self, name: &str, rows: Vec<Value>, total: u64) -> Value {
        Value::Object(Map::from_iter([
            ("success".to_owned(), true.into()),
            (name.to_owned(), rows.into()),
            ("page".to_owned(), self.page.into()),
            ("per_page".to_owned(), self.per_page.into()),
            ("total".to_owned(), total.into()),
        ]))
    }
}

/// A whole number of the query; wrong ones are noted.
pub(super) fn number(
    query: &[(String, String)],
    name: &str,
    range: RangeInclusive<u64>,
    faults: &mut Faults,
) -> Option<u64> {
    let text = value(query, name)?;
    let number = digits(text).filter(|number| range.contains(number));
    if number.is_none() {
        let (least, most) = range.into_inner();
        faults.add(name, format!("The {name} parameter must be a whole number from {least} to {most}."));
    }
    number
}

/// A text of the query; an empty one is absent.
pub(super) fn value<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

pub(super) fn digits(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// `true` or `false` in the query; absent is `false`.
pub(super) fn switch(query: &[(String, String)], name: &str, faults: &mut Faults) -> bool {
    match value(query, name) {
        Some("true") => true,
        None | Some("false") => false,
        Some(_) => {
            faults.add(name, format!("The {name} parameter must be true or false."));
            false
        }
    }
}
