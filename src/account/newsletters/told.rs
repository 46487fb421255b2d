//! What the server tells of newsletters: descriptions, and what changed.

use serde_json::{Map, Value, json};

use super::{is_newsletter, number, seconds};
use crate::{
    account::{
        Error,
        dispatch::{Account, Turn},
    },
    clock::Millis,
    stanza::read_posts,
    store::{events::NewEvent, newsletters::PostFacts},
    wire::{Jid, Node},
};

/// A newsletter as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewsletterView {
    /// Its address.
    pub jid: Jid,
    /// As shown.
    pub name: String,
    /// What it is about.
    pub description: Option<String>,
    /// The code of the link that leads to it.
    pub invite: Option<String>,
    /// How many follow it, if that was told.
    pub followers: Option<u64>,
    /// WhatsApp vouches for who runs it.
    pub verified: bool,
    /// When it was made, if that was told.
    pub created: Option<Millis>,
    /// `owner`, `admin`, `subscriber` or `guest`: what the account is there, if that was told.
    pub role: Option<String>,
    /// The account is not disturbed by it, if that was told.
    pub muted: Option<bool>,
    /// `active`, `suspended` …
    pub state: Option<String>,
}

impl NewsletterView {
    /// Reads the server's object (protocol 05, 13.2). Missing parts are none; without an address it is nothing.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let jid: Jid = value.get("id")?.as_str()?.parse().ok().filter(is_newsletter)?;
        let at = |path: &str| value.pointer(path);
        let text = |path: &str| at(path).and_then(Value::as_str).map(str::to_owned);
        let lower = |path: &str| text(path).map(|word| word.to_lowercase());
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let by_setting = at("/viewer_metadata/settings").and_then(Value::as_array).and_then(|settings| {
            let of_followers = |one: &&Value| one["type"] == "MUTE_FOLLOWER_ACTIVITY";
            settings.iter().find(of_followers).and_then(|one| one["value"].as_str().map(|v| v == "ON"))
        });
        Some(Self {
            jid,
            name: text("/thread_metadata/name/text").unwrap_or_default(),
            description: filled(text("/thread_metadata/description/text")),
            invite: filled(text("/thread_metadata/invite")),
            followers: at("/thread_metadata/subscribers_count").and_then(number),
            verified: lower("/thread_metadata/verification").as_deref() == Some("verified"),
            created: at("/thread_metadata/creation_time").and_then(seconds),
            role: lower("/viewer_metadata/role"),
            muted: text("/viewer_metadata/mute").map(|word| word.eq_ignore_ascii_case("on")).or(by_setting),
            state: lower("/state/type"),
        })
    }

    /// As the API and events show it.
    pub fn shown(&self) -> Map<String, Value> {
        let mut shown = Map::new();
        shown.insert("jid".into(), self.jid.to_wire().into());
        shown.insert("name".into(), self.name.clone().into());
        shown.insert("description".into(), self.description.clone().into());
        let link = self.invite.as_ref().map(|code| format!("https://whatsapp.com/channel/{code}"));
        shown.insert("invite_link".into(), link.into());
        shown.insert("followers".into(), self.followers.into());
        shown.insert("verified".into(), self.verified.into());
        shown.insert("created_at".into(), self.created.map(Millis::rfc3339).into());
        shown.insert("role".into(), self.role.clone().into());
        shown.insert("muted".into(), self.muted.into());
        shown.insert("state".into(), self.state.clone().into());
        shown
    }
}

/// Numbers of a post as the API and events show them.
pub(super) fn numbers(facts: &PostFacts) -> Map<String, Value> {
    let reactions: Vec<Value> =
        facts.reactions.iter().map(|(emoji, count)| json!({ "emoji": emoji, "count": count })).collect();
    let mut shown = Map::new();
    shown.insert("server_id".into(), facts.server_id.into());
    shown.insert("views".into(), facts.views.into());
    shown.insert("reactions".into(), reactions.into());
    shown
}

impl Account {
    /// `type="newsletter"`: numbers of posts changed.
    pub(in crate::account) fn newsletter_noticed(
        &self,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(newsletter) = node.jid("from").filter(is_newsletter) else { return Ok(()) };
        for post in read_posts(node) {
            if post.content.is_some() && post.id.is_some() {
                self.take_post(&newsletter, &post, turn)?;
            }
            self.post_counted(&newsletter, &post, turn)?;
        }
        Ok(())
    }

    fn post_counted(
        &self,
        newsletter: &Jid,
        post: &crate::stanza::Post,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(chat) = turn.tx.messages().find_chat(newsletter)? else { return Ok(()) };
        let Some(row) = turn.tx.newsletters().message(chat.id, post.server_id)? else { return Ok(()) };
        if !turn.tx.newsletters().count(row, post.views, post.reactions.as_deref())? {
            return Ok(());
        }
        let Some(message) = turn.tx.messages().by_row(row)? else { return Ok(()) };
        let facts = turn.tx.newsletters().facts(row)?.unwrap_or_default();
        let mut more = numbers(&facts);
        more.insert("message_id".into(), message.uuid.into());
        more.insert("whatsapp_message_id".into(), message.key.wa_id.into());
        self.report_newsletter(newsletter, "counted", more, turn)
    }

    /// `type="mex"`, if it is about newsletters.
    pub(in crate::account) fn newsletter_changed(
        &self,
        data: &Value,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        /// Protocol 05, 13.5.
        const TOLD: [(&str, &str); 6] = [
            ("xwa2_notify_newsletter_on_join", "followed"),
            ("xwa2_notify_newsletter_on_leave", "unfollowed"),
            ("xwa2_notify_newsletter_on_mute_change", "muted"),
            ("xwa2_notify_newsletter_on_metadata_update", "changed"),
            ("xwa2_notify_newsletter_on_admin_metadata_update", "changed"),
            ("xwa2_notify_newsletter_on_state_change", "state"),
        ];
        let found = TOLD.into_iter().find_map(|(path, action)| Some((data.get(path)?, action)));
        let Some((what, action)) = found else { return Ok(()) };
        let Some(view) = NewsletterView::read(what) else { return Ok(()) };
        let muted = what.get("mute").and_then(Value::as_str).map(|word| word.eq_ignore_ascii_case("on"));
        let action = if action == "muted" && muted == Some(false) { "unmuted" } else { action };
        let mut more = view.shown();
        more.remove("jid");
        // What was not told of is not told on.
        more.retain(|key, value| !(value.is_null() || key == "name" && *value == "" || key == "verified"));
        self.report_newsletter(&view.jid, action, more, turn)
    }

    fn report_newsletter(
        &self,
        newsletter: &Jid,
        action: &str,
        more: Map<String, Value>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let mut data = Map::new();
        data.insert("newsletter_jid".into(), newsletter.to_wire().into());
        data.insert("action".into(), action.into());
        data.extend(more);
        data.insert("timestamp".into(), turn.now.rfc3339_offset().into());
        let event = NewEvent {
            kind: "newsletter.updated",
            lane: Some(newsletter.to_wire()),
            data: Value::Object(data).to_string(),
            platform: None,
        };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }
}
