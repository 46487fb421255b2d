//! The members of a request, checked all at once: every failing field is reported, under its canonical name.

use serde_json::{Map, Value};

use super::ApiError;

/// Field → messages, in the order found.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Faults(Map<String, Value>);

impl Faults {
    pub(super) fn add(&mut self, field: &str, message: impl Into<String>) {
        let messages = self.0.entry(field).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(messages) = messages {
            messages.push(Value::String(message.into()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// # Errors
    /// 422 if there is any.
    pub(super) fn check(self) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::Validation(self)) }
    }

    pub(super) fn into_details(self) -> Value {
        Value::Object(self.0)
    }
}

/// The first of `names` (canonical name, then aliases) that is present and not null.
pub(super) fn first<'a>(members: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    names.iter().filter_map(|name| members.get(*name)).find(|value| !value.is_null())
}

/// "The message field is required."
pub(super) fn required(field: &str) -> String {
    format!("The {field} field is required.")
}

/// An optional text; null and `""` are absent.
pub(super) fn text<'a>(
    members: &'a Map<String, Value>,
    names: &[&'static str],
    faults: &mut Faults,
) -> Option<&'a str> {
    let field = names.first().copied().unwrap_or_default();
    match first(members, names)? {
        Value::String(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
        _ => {
            faults.add(field, format!("The {field} field must be a string."));
            None
        }
    }
}

/// An optional switch.
pub(super) fn switch(members: &Map<String, Value>, field: &str, faults: &mut Faults) -> Option<bool> {
    match first(members, &[field])? {
        Value::Bool(on) => Some(*on),
        _ => {
            faults.add(field, format!("The {field} field must be true or false."));
            None
        }
    }
}

/// A switch that must be there.
pub(super) fn required_switch(
    members: &Map<String, Value>,
    field: &'static str,
    faults: &mut Faults,
) -> Option<bool> {
    if first(members, &[field]).is_none() {
        faults.add(field, required(field));
    }
    switch(members, field, faults)
}
