//! HTTP: extract, one command, one reply, one error table; the QR page.
//!
//! Owns the contract of the instance API; knows nothing of stanzas, keys and SQL. The order of checks follows from the
//! shape of the code: the router answers 404 and 405, the extractor [`auth::Caller`] 401, 403 and 429, the extractor
//! [`body::Object`] 400 and 413, the handler 422, the instance the rest.

mod account;
mod asked;
mod auth;
mod batch;
mod body;
mod business;
mod calls;
mod chats;
mod choices;
mod communities;
mod contacts;
mod error;
mod events;
mod fields;
mod finish;
mod forward;
mod groups;
mod health;
mod history;
mod instance;
mod kinds;
mod labels;
mod limit;
mod link;
mod manners;
mod media;
mod messages;
mod newsletters;
mod numbers;
mod paced;
mod page;
mod passkey;
mod qr;
mod query;
mod quick_replies;
mod recipient;
mod reply;
mod schedule;
mod send;
mod server;
mod statuses;
mod webhooks;

use std::{
    ops::Deref,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::Uri,
    middleware,
    routing::{get, post, put},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::{
    clock::Millis,
    store::{Store, tokens::Configured},
};

use asked::bare;
use error::ApiError;
use limit::Limits;

pub use instance::Instance;
pub use server::{CONNECTIONS, Peer, serve};

/// The wall clock; a story has its own.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// What an API is made of.
pub struct Parts<I> {
    pub instance: I,
    /// The instance's own id, in addresses.
    pub instance_id: uuid::Uuid,
    pub store: Store,
    /// The token of `--token`.
    pub token: Option<Configured>,
    /// Base of links to this instance, without a slash at the end.
    pub public_url: String,
    /// Requests and window; `None`: no limit.
    pub rate_limit: Option<(u32, Duration)>,
    /// Ends streams and long polls.
    pub stop: CancellationToken,
    pub now: Clock,
}

/// What the handlers share.
struct Shared<I> {
    parts: Parts<I>,
    limits: Option<Mutex<Limits>>,
    started: Instant,
}

/// A cheap handle on it.
struct App<I>(Arc<Shared<I>>);

impl<I> Clone for App<I> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I> Deref for App<I> {
    type Target = Shared<I>;
    fn deref(&self) -> &Shared<I> {
        &self.0
    }
}

impl<I> Shared<I> {
    fn now(&self) -> Millis {
        (self.parts.now)()
    }
}

/// The API as a service.
pub fn router<I: Instance>(parts: Parts<I>) -> Router {
    let limits = parts.rate_limit.map(|(requests, window)| Mutex::new(Limits::new(requests, window)));
    let app = App(Arc::new(Shared { parts, limits, started: Instant::now() }));
    let routes = Router::new()
        .route("/send-message", post(send::message))
        .route("/send-reaction", post(kinds::reaction))
        .route("/send-location", post(kinds::location))
        .route("/send-contact", post(kinds::contact))
        .route("/send-poll", post(kinds::poll))
        .route("/forward", post(forward::forward))
        .route("/messages/{id}/pin", post(forward::pin))
        .route("/send-list", post(choices::list))
        .route("/send-buttons", post(choices::buttons))
        .route("/scheduled", get(schedule::list))
        .route("/scheduled/{id}", get(schedule::show).delete(schedule::cancel))
        .route("/send-batch", post(batch::send))
        .route("/batches/{id}", get(batch::show).delete(batch::cancel))
        // Their forms carry files; they bound both forms of a request themselves, above what the framework would let through.
        .route("/send-media", post(media::send).layer(DefaultBodyLimit::disable()))
        .route("/send-status", post(statuses::send).layer(DefaultBodyLimit::disable()))
        .route("/messages/{id}/media", get(media::file))
        .route("/messages/search", get(messages::search))
        .route("/messages/{id}", get(messages::one).patch(kinds::edit).delete(kinds::revoke))
        .route("/messages/{id}/star", post(chats::star))
        .route("/chats", get(chats::list))
        .route("/chats/{jid}", get(chats::one).patch(chats::change).delete(chats::delete))
        .route("/chats/{jid}/messages", get(messages::of_chat))
        .route("/chats/{jid}/history", post(history::ask))
        .route("/contacts", get(contacts::list))
        .route(
            "/contacts/{jid}",
            get(contacts::one).put(contacts::put).patch(contacts::change).delete(contacts::delete),
        )
        .route("/check-number", post(numbers::check))
        .route("/account", get(account::show).patch(account::change))
        .route(
            "/account/picture",
            put(account::set_picture).delete(account::remove_picture).layer(DefaultBodyLimit::disable()),
        )
        .route("/account/privacy", get(account::privacy).patch(account::set_privacy))
        .route("/account/settings", get(account::settings).patch(account::set_settings))
        .route("/profile-picture", get(account::profile_picture))
        .route("/block", post(account::block))
        .route("/blocklist", get(account::blocklist))
        .route("/chats/{jid}/presence", get(account::watched).post(account::watch).delete(account::unwatch))
        .route("/chats/{jid}/clear", post(chats::clear))
        .route("/business/{jid}", get(business::show))
        .route("/quick-replies", get(quick_replies::list).post(quick_replies::create))
        .route(
            "/quick-replies/{id}",
            get(quick_replies::one).patch(quick_replies::change).delete(quick_replies::delete),
        )
        .route("/labels", get(labels::list).post(labels::create))
        .route("/labels/{id}", get(labels::one).patch(labels::change).delete(labels::delete))
        .route("/labels/{id}/assign", post(labels::assign))
        .route(
            "/groups/{jid}/picture",
            put(account::set_group_picture)
                .delete(account::remove_group_picture)
                .layer(DefaultBodyLimit::disable()),
        )
        .route("/polls/{id}", get(messages::poll))
        .route("/polls/{id}/vote", post(messages::vote))
        .route("/groups", get(groups::list).post(groups::create))
        .route("/groups/join", post(groups::join))
        .route("/groups/invite/{code}", get(groups::invite_info))
        .route("/groups/{jid}", get(groups::info).patch(groups::change))
        .route(
            "/groups/{jid}/participants",
            post(groups::participants_add).delete(groups::participants_remove),
        )
        .route("/groups/{jid}/admins", post(groups::admins_add).delete(groups::admins_remove))
        .route("/groups/{jid}/leave", post(bare(groups::leave)))
        .route(
            "/groups/{jid}/invite",
            get(groups::invite).delete(groups::revoke_invite).post(groups::revoke_invite),
        )
        .route("/groups/{jid}/requests", get(groups::requests).post(groups::decide))
        .route("/calls/{id}/reject", post(calls::reject))
        .route("/communities", get(communities::list).post(communities::create))
        .route("/communities/{jid}", get(communities::info).delete(bare(communities::deactivate)))
        .route("/communities/{jid}/groups", post(communities::create_group))
        .route(
            "/communities/{jid}/groups/{group}",
            put(bare(communities::link)).delete(bare(communities::unlink)),
        )
        .route("/communities/{jid}/groups/{group}/join", post(communities::join))
        .route("/communities/{jid}/participants", get(communities::participants).delete(communities::remove))
        .route("/newsletters", get(newsletters::list).post(newsletters::create))
        .route("/newsletters/invite/{code}", get(newsletters::invite_info))
        .route(
            "/newsletters/{jid}",
            get(newsletters::info).patch(newsletters::change).delete(bare(newsletters::delete)),
        )
        .route(
            "/newsletters/{jid}/follow",
            post(bare(newsletters::follow)).delete(bare(newsletters::unfollow)),
        )
        .route("/newsletters/{jid}/mute", post(bare(newsletters::mute)).delete(bare(newsletters::unmute)))
        .route("/newsletters/{jid}/live", post(newsletters::live))
        .route("/newsletters/{jid}/views", post(newsletters::views))
        .route(
            "/newsletters/{jid}/messages",
            get(newsletters::posts).post(newsletters::post).layer(DefaultBodyLimit::disable()),
        )
        .route("/newsletters/{jid}/messages/{id}/reaction", post(newsletters::react))
        .route("/mark-read", post(manners::mark_read))
        .route("/send-presence", post(manners::chat_state))
        .route("/presence", post(manners::presence))
        .route("/status", get(link::status))
        .route("/qr", get(qr::json))
        .route("/qr.png", get(qr::png))
        .route("/qr.svg", get(qr::svg))
        .route("/qr/stream", get(qr::stream))
        .route("/connect", post(link::connect))
        .route("/disconnect", post(link::disconnect))
        .route("/passkey", get(passkey::show).post(passkey::assert).delete(passkey::abandon))
        .route("/passkey/confirm", post(passkey::confirm))
        .route("/events", get(events::list))
        .route("/events/stream", get(events::stream))
        .route(
            "/instances/{uuid}/webhook",
            get(webhooks::show).put(webhooks::configure).delete(webhooks::remove),
        )
        .route("/webhooks", get(webhooks::list))
        .route("/webhooks/{id}/rewind", post(webhooks::rewind))
        .route("/webhooks/{id}/pause", post(webhooks::pause))
        .route("/webhooks/{id}/resume", post(webhooks::resume))
        .route("/webhooks/{id}/redeliver", post(webhooks::redeliver))
        .route("/health", get(health::health))
        .route("/health/details", get(health::details))
        .merge(page::routes())
        .fallback(|| async { ApiError::NotFound })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(middleware::from_fn(finish::finish))
        .with_state(app);
    // The path is mended before it is routed, hence a router around the router.
    Router::new().fallback_service(routes.into_service().map_request(without_trailing_slash))
}

/// `/status/` is `/status`.
fn without_trailing_slash(mut request: Request) -> Request {
    let path = request.uri().path();
    let Some(shorter) = path.strip_suffix('/').filter(|shorter| !shorter.is_empty()) else { return request };
    let path_and_query = match request.uri().query() {
        Some(query) => format!("{shorter}?{query}"),
        None => shorter.to_owned(),
    };
    let mut parts = request.uri().clone().into_parts();
    // A path that was good is good without its last slash.
    if let Ok(mended) = path_and_query.parse() {
        parts.path_and_query = Some(mended);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}
