//! The instance API as its callers see it, against a scripted instance.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod account;
mod authentication;
mod calls;
mod chats;
mod door;
mod events;
mod follow;
mod groups;
mod harness;
mod health;
mod history;
mod hostile;
mod kinds;
mod limit;
mod link;
mod media;
mod messages;
mod more;
mod names;
mod newsletters;
mod numbers;
mod passkey;
mod routing;
mod schedule;
mod scopes;
mod sending;
mod standing;
mod statuses;
mod webhooks;
