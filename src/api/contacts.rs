//! Contacts: who is known, and the address book of the phone.

use std::time::Duration;

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
    account::{ProfileCommand, Recipient, StateChange},
    store::{self, Tx, contacts::Contact, profiles::Profile},
    wire::Jid,
};

/// How long what a person shows is believed; a notification tells of changes, and addresses of pictures last some days.
const FRESH: Duration = Duration::from_secs(3600);
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
    let read = app.parts.store.read(move |tx| {
        let (people, total) = tx.contacts().list(page.skip(), page.limit())?;
        let shown = people.into_iter().map(|contact| {
            let shown = Shown::read(tx, &contact.jid)?;
            Ok((contact, shown))
        });
        Ok((shown.collect::<Result<Vec<_>, store::Error>>()?, total))
    });
    let (people, total) = read.await.map_err(|error: store::Error| error)?;
    let people = people.iter().map(|(contact, shown)| Value::Object(render(contact, shown))).collect();
    Ok(reply::ok(&page.answer("contacts", people, total)))
}

/// `GET /contacts/{jid}`.
pub(super) async fn one<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
) -> Result<Response, ApiError> {
    let who = person(&jid)?;
    let contact = find(&app, who.clone()).await?.ok_or(ApiError::ContactNotFound(jid))?;
    let shown = shown(&app, &contact.jid).await?;
    let shown = if app.now().since(shown.profile.fetched_at) < FRESH {
        shown
    } else {
        // What is known stays where nothing can be asked.
        match app.parts.instance.ask(ProfileCommand::Person(Recipient::Jid(contact.jid.clone()))).await {
            Ok(_) => self::shown(&app, &contact.jid).await?,
            Err(_) => shown,
        }
    };
    let mut body = Map::new();
    body.insert("success".into(), true.into());
    body.extend(render(&contact, &shown));
    Ok(reply::ok(&Value::Object(body)))
}

/// What is known of a person beside the address book.
#[derive(Default)]
struct Shown {
    profile: Profile,
    blocked: bool,
}

impl Shown {
    fn read(tx: &Tx<'_>, person: &Jid) -> Result<Self, store::Error> {
        let profile = tx.profiles().find(person)?.unwrap_or_default();
        Ok(Self { profile, blocked: tx.blocks().has(person)? })
    }
}

async fn shown<I: Instance>(app: &App<I>, person: &Jid) -> Result<Shown, ApiError> {
    let person = person.clone();
    Ok(app.parts.store.read(move |tx| Shown::read(tx, &person)).await?)
}

async fn find<I: Instance>(app: &App<I>, who: Recipient) -> Result<Option<Contact>, ApiError> {
    let now = app.now();
    Ok(app.parts.store.read(move |tx| tx.contacts().find(&who.known_as(tx, now)?)).await?)
}

fn render(contact: &Contact, shown: &Shown) -> Map<String, Value> {
    let jid = &contact.jid;
    let body = json!({
        "jid": jid.to_wire(),
        "lid": contact.lid.as_ref().map(Jid::to_wire),
        "phone": jid.is_pn().then(|| jid.user().to_owned()),
        "name": contact.name,
        "first_name": contact.first_name,
        "push_name": contact.push_name,
        "about": shown.profile.about,
        "picture_url": shown.profile.picture_url,
        "is_business": shown.profile.business,
        "verified_name": shown.profile.verified_name,
        "blocked": shown.blocked,
        "status_muted": contact.status_muted,
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
    Ok(reply::done("Contact saved successfully"))
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

/// `PATCH /contacts/{jid}`: `status_muted`: the statuses of this person are not shown, or are again.
pub(super) async fn change<I: Instance>(
    _: Caller<ToSend>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    body: Object,
) -> Result<Response, ApiError> {
    let who = person(&jid)?;
    let mut faults = Faults::default();
    let on = fields::switch(&body.members, "status_muted", &mut faults);
    if fields::first(&body.members, &["status_muted"]).is_none() {
        faults.add("status_muted", fields::required("status_muted"));
    }
    faults.check()?;
    let Some(on) = on else { return Err(ApiError::Internal) };
    app.parts.instance.change(StateChange::MuteStatus { who, on }).await?;
    Ok(reply::done("Contact updated successfully"))
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
    Ok(reply::done("Contact removed successfully"))
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
