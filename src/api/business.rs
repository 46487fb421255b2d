//! `GET /business/{jid}`: what a business says of itself, and what it sells.

use std::time::Duration;

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{
    ApiError, App, Instance,
    account::{ask, read_person},
    auth::{Caller, ToRead},
    query::{self, Pairs},
    reply,
};
use crate::{
    account::{BusinessView, Catalogue, Hours, Product, ProfileAnswer, ProfileCommand},
    clock::Millis,
    wire::Jid,
};

/// How long an answer is good for; a business tells when it changes something.
const FRESH: Duration = Duration::from_secs(3600);
/// Longest `after`, in bytes.
const AFTER_MAX: usize = 1024;

/// `GET /business/{jid}`; `after`: another page of the catalogue.
pub(super) async fn show<I: Instance>(
    _: Caller<ToRead>,
    State(app): State<App<I>>,
    Path(jid): Path<String>,
    Query(pairs): Pairs,
) -> Result<Response, ApiError> {
    let who = read_person(&app, &jid).await?;
    if let Some(after) = query::value(&pairs, "after") {
        if after.len() > AFTER_MAX {
            let mut faults = super::fields::Faults::default();
            faults.add("after", "The after parameter must be what an earlier answer named.");
            faults.check()?;
        }
        let told = ask(&app, ProfileCommand::Catalogue { of: who, after: after.to_owned() }).await?;
        let ProfileAnswer::Catalogue(page) = told else { return Err(ApiError::Internal) };
        return Ok(reply::ok(&json!({ "success": true, "catalogue": catalogue(&page) })));
    }
    let (now, asked, named) = (app.now(), who.clone(), who.clone());
    let since = Millis(now.0.saturating_sub(u64::try_from(FRESH.as_millis()).unwrap_or(u64::MAX)));
    let kept = app
        .parts
        .store
        .read(move |tx| tx.profiles().business(&asked.known_as(tx, now)?, since))
        .await?
        .and_then(|body| serde_json::from_str(&body).ok());
    let body: Value = match kept {
        Some(body) => body,
        None => {
            let told = ask(&app, ProfileCommand::Business(who.clone())).await?;
            let ProfileAnswer::Business(found) = told else { return Err(ApiError::Internal) };
            let body = render(&*found.ok_or(ApiError::BusinessNotFound)?);
            let text = body.to_string();
            let kept = app.parts.store.write(move |tx| {
                let jid = who.known_as(tx, now)?;
                tx.profiles().set_business(&jid, &text, now)
            });
            kept.await?;
            body
        }
    };
    let lid = app.parts.store.read(move |tx| {
        let known = named.known_as(tx, now)?;
        let other = tx.people().other_name(&known)?;
        Ok::<_, crate::store::Error>([Some(known), other].into_iter().flatten().find(Jid::is_lid))
    });
    let mut answer = Map::from_iter([("success".to_owned(), true.into())]);
    if let Value::Object(members) = body {
        answer.extend(members);
    }
    answer.insert("lid".to_owned(), lid.await?.map(|lid| lid.to_wire()).into());
    Ok(reply::ok(&Value::Object(answer)))
}

fn render(view: &BusinessView) -> Value {
    let BusinessView { jid, verified_name, profile, catalogue: page } = view;
    let categories = profile.categories.iter().map(|(id, name)| json!({ "id": id, "name": name }));
    let degrees = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<f64>().ok());
    json!({
        "jid": jid.as_ref().map(Jid::to_wire),
        "phone": jid.as_ref().filter(|jid| jid.is_pn()).map(|jid| jid.user().to_owned()),
        "is_business": true,
        "verified_name": verified_name,
        "description": profile.description,
        "address": profile.address,
        "email": profile.email,
        "websites": profile.websites,
        "latitude": degrees(&profile.latitude),
        "longitude": degrees(&profile.longitude),
        "categories": categories.collect::<Vec<_>>(),
        "timezone": profile.timezone,
        "hours": profile.hours.iter().map(hours).collect::<Vec<_>>(),
        "catalogue": catalogue(page),
    })
}

/// A day; times as `HH:MM`.
fn hours(hours: &Hours) -> Value {
    let time =
        |minutes: Option<u32>| minutes.map(|minutes| format!("{:02}:{:02}", minutes / 60, minutes % 60));
    json!({ "day": hours.day, "mode": hours.mode, "open": time(hours.open), "close": time(hours.close) })
}

fn catalogue(page: &Catalogue) -> Value {
    json!({ "products": page.products.iter().map(product).collect::<Vec<_>>(), "after": page.after })
}

/// A product; `price` in thousandths of the currency's unit, as WhatsApp keeps it.
fn product(product: &Product) -> Value {
    json!({
        "id": product.id,
        "name": product.name,
        "description": product.description,
        "retailer_id": product.retailer_id,
        "url": product.url,
        "price": product.price,
        "currency": product.currency,
        "images": product.images,
        "is_hidden": product.hidden,
    })
}
