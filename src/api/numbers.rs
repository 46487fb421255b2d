//! `POST /check-number`: who of these has an account.

use axum::{extract::State, response::Response};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToRead},
    body::Object,
    fields::{self, Faults},
    recipient, reply,
};
use crate::{
    account::Recipient,
    store::{self, people::Number},
    wire::Jid,
};

/// Numbers of one request (instance-api.md §10).
const NUMBERS_MAX: usize = 50;

/// `numbers`: in the order given, whether each exists, and under which names.
pub(super) async fn check<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let numbers = numbers(&body, &mut faults);
    faults.check()?;
    let asked = numbers.iter().map(|(_, digits)| app.parts.instance.exists(digits));
    let exist = try_join_all(asked).await?;
    let now = app.now();
    let results = app.parts.store.read(move |tx| {
        let found = numbers.into_iter().zip(exist).map(|((given, digits), exists)| {
            let jid = match tx.people().number(&digits, now)? {
                Number::Registered(jid) if exists => Some(jid),
                _ => None,
            };
            let lid = jid.as_ref().map(|jid| tx.people().lid_of(jid)).transpose()?.flatten();
            Ok(json!({
                "number": given,
                "exists": exists,
                "jid": jid.as_ref().map(Jid::to_wire),
                "lid": lid.as_ref().map(Jid::to_wire),
            }))
        });
        found.collect::<Result<Vec<_>, store::Error>>()
    });
    Ok(reply::ok(&json!({ "success": true, "results": results.await? })))
}

/// As given, and as digits.
fn numbers(body: &Object, faults: &mut Faults) -> Vec<(Value, String)> {
    let Some(given) = fields::first(&body.members, &["numbers"]) else {
        faults.add("numbers", fields::required("numbers"));
        return Vec::new();
    };
    let number = |given: &Value| match recipient::read(given) {
        Some(Ok(Recipient::Number(digits))) => Some((given.clone(), digits)),
        Some(Ok(Recipient::Jid(jid))) if jid.is_pn() => Some((given.clone(), jid.user().to_owned())),
        _ => None,
    };
    let list = given.as_array().filter(|list| (1..=NUMBERS_MAX).contains(&list.len()));
    list.and_then(|list| list.iter().map(number).collect()).unwrap_or_else(|| {
        let wrong = format!(
            "The numbers field must be a list of 1 to {NUMBERS_MAX} phone numbers of 8 to 15 digits with country code."
        );
        faults.add("numbers", wrong);
        Vec::new()
    })
}
