//! The control API's view of profiles: what a phone's user shows, whom it blocks, what business it is.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    admin::{Admin, AdminError},
    control::{App, Body, bad},
    core::{BusinessSpec, ProfileView},
};

type Reply<T> = Result<T, AdminError>;

impl Admin {
    /// What a phone's account shows, and whom it has blocked.
    pub fn profile(&self, number: &str) -> Reply<ProfileView> {
        self.shared().read(|world| Ok(world.profile_view(world.phone(number)?)))
    }

    /// The phone's user chooses another picture, a JPEG, or none; its id.
    pub fn set_picture(&self, number: &str, jpeg: Option<&[u8]>) -> Reply<Option<String>> {
        self.shared().input(|world, now| Ok(world.phone_sets_picture(world.phone(number)?, jpeg, now)?))
    }

    /// The phone's user writes something else about themselves.
    pub fn set_about(&self, number: &str, text: &str) -> Reply<()> {
        self.shared().input(|world, now| Ok(world.phone_sets_about(world.phone(number)?, text, now)?))
    }

    /// The phone's user blocks somebody, or no longer does.
    pub fn block(&self, number: &str, who: &str, block: bool) -> Reply<()> {
        self.shared().input(|world, now| Ok(world.phone_blocks(world.phone(number)?, who, block, now)?))
    }

    /// The account is a business from now on, or no more.
    pub fn make_business(&self, number: &str, business: Option<BusinessSpec>) -> Reply<()> {
        self.shared().input(|world, _| Ok(world.make_business(world.phone(number)?, business)?))
    }
}

/// `GET /admin/phones/{number}/profile`.
pub(super) async fn show(State(app): State<App>, Path(number): Path<String>) -> Reply<Json<Value>> {
    Ok(Json(json!(app.admin.profile(&number)?)))
}

/// `PUT /admin/phones/{number}/picture`: `{"base64"}`, a JPEG.
pub(super) async fn set_picture(
    State(app): State<App>,
    Path(number): Path<String>,
    body: Body,
) -> Reply<Json<Value>> {
    let jpeg =
        BASE64_STANDARD.decode(body.required("base64")?).map_err(|_| bad("base64: standard base64"))?;
    Ok(Json(json!({ "id": app.admin.set_picture(&number, Some(&jpeg))? })))
}

/// `DELETE /admin/phones/{number}/picture`.
pub(super) async fn remove_picture(State(app): State<App>, Path(number): Path<String>) -> Reply<StatusCode> {
    app.admin.set_picture(&number, None).map(|_| StatusCode::NO_CONTENT)
}

/// `PUT /admin/phones/{number}/about`: `{"about"}`.
pub(super) async fn set_about(
    State(app): State<App>,
    Path(number): Path<String>,
    body: Body,
) -> Reply<StatusCode> {
    app.admin.set_about(&number, &body.required("about")?).map(|()| StatusCode::NO_CONTENT)
}

/// `POST /admin/phones/{number}/block`: `{"to", "blocked"}`.
pub(super) async fn block(
    State(app): State<App>,
    Path(number): Path<String>,
    body: Body,
) -> Reply<StatusCode> {
    let blocked = body.0.get("blocked").and_then(Value::as_bool);
    let blocked = blocked.ok_or_else(|| bad("blocked: true or false"))?;
    app.admin.block(&number, &body.required("to")?, blocked).map(|()| StatusCode::NO_CONTENT)
}

/// `PUT /admin/phones/{number}/business`: what it says of itself, and `products`.
pub(super) async fn make_business(
    State(app): State<App>,
    Path(number): Path<String>,
    body: Body,
) -> Reply<StatusCode> {
    let business: BusinessSpec =
        serde_json::from_value(Value::Object(body.0)).map_err(|error| bad(error.to_string()))?;
    app.admin.make_business(&number, Some(business)).map(|()| StatusCode::NO_CONTENT)
}

/// `DELETE /admin/phones/{number}/business`.
pub(super) async fn unmake_business(State(app): State<App>, Path(number): Path<String>) -> Reply<StatusCode> {
    app.admin.make_business(&number, None).map(|()| StatusCode::NO_CONTENT)
}
