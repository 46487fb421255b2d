//! Contacts: who is known, and the address book of the phone.

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToRead, ToSend},
    body::Object,
    chats,
    fields::{self, Faults},
    query::{Paging, Pairs},
    reply,
};
use crate::{
    account::{Recipient, StateChange},
    store::contacts::Contact,
    wire::Jid,
};

/// Longest name, in characters.
const NAME_MAX: usize = 255;

/// `GET /contacts`: everybody that something is known of.
pub(super) async fn list<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Query(query): Pairs,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let page = Paging::read(&query, &mut faults);
    faults.check()?;
    let (people, total) =
        app.parts.store.read(move |tx| tx.contacts().list(page.skip(), page.limit())).await?;
    let people = people.iter().map(|contact| Value::Object(render(contact))).collect();
    Ok(reply::ok(&page.answer("contacts", people, total)))
}

/// `GET /contacts/{jid}`.
pub(super) async fn one<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    let found = find(&app, person(&jid)?).await?;
    let mut body = Map::new();
    body.insert("success".into(), true.into());
    body.extend(render(&found.ok_or(ApiError::ContactNotFound(jid))?));
    Ok(reply::ok(&Value::Object(body)))
}

async fn find<I: Instance>(app: &App<I>, who: Recipient) -> Result<Option<Contact>, ApiError> {
    let now = app.now();
    Ok(app.parts.store.read(move |tx| tx.contacts().find(&who.known_as(tx, now)?)).await?)
}

fn render(contact: &Contact) -> Map<String, Value> {
    let jid = &contact.jid;
    let body = json!({
        "jid": jid.to_wire(),
        "lid": contact.lid.as_ref().map(Jid::to_wire),
        "phone": jid.is_pn().then(|| jid.user().to_owned()),
        "name": contact.name,
        "first_name": contact.first_name,
        "push_name": contact.push_name,
    });
    if let Value::Object(body) = body { body } else { Map::new() }
}

/// `PUT /contacts/{jid}`: into the phone's address book; `name`, `first_name?`.
pub(super) async fn put<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    let who = person(&jid)?;
    let mut faults = Faults::default();
    let name = name(&body.members, "name", &mut faults);
    if fields::first(&body.members, &["name"]).is_none_or(|name| name.as_str().is_some_and(is_blank)) {
        faults.add("name", fields::required("name"));
    }
    let first_name = self::name(&body.members, "first_name", &mut faults);
    faults.check()?;
    app.parts.instance.change(StateChange::Contact { who, name, first_name }).await?;
    Ok(done("Contact saved successfully"))
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn name(members: &Map<String, Value>, field: &'static str, faults: &mut Faults) -> Option<String> {
    let name = fields::text(members, &[field], faults).filter(|name| !is_blank(name))?;
    if name.chars().count() > NAME_MAX {
        faults.add(field, format!("The {field} field must not be longer than {NAME_MAX} characters."));
    }
    Some(name.to_owned())
}

/// `DELETE /contacts/{jid}`: out of the phone's address book.
pub(super) async fn delete<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    let who = person(&jid)?;
    if find(&app, who.clone()).await?.is_none_or(|contact| contact.name.is_none()) {
        return Err(ApiError::ContactNotFound(jid));
    }
    app.parts.instance.change(StateChange::Contact { who, name: None, first_name: None }).await?;
    Ok(done("Contact removed successfully"))
}

/// Whom a path names: a person.
fn person(jid: &str) -> Result<Recipient, ApiError> {
    let who = chats::named(jid)?;
    if let Recipient::Jid(named) = &who
        && !named.is_user()
    {
        let mut faults = Faults::default();
        faults.add("jid", "A contact is a person.");
        faults.check()?;
    }
    Ok(who)
}

fn done(message: &str) -> Response {
    reply::ok(&json!({ "success": true, "message": message }))
}
