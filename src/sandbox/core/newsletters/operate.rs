//! What the control API does with newsletters, and shows of them.

use prost::Message as _;
use serde::Serialize;

use super::{Kept, is_newsletter};
use crate::{
    clock::Millis,
    proto,
    sandbox::core::{OperateError, World, phone_life::text_of},
    stanza::{Post, newsletter_post, newsletter_reaction},
    wire::Jid,
};

/// A newsletter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewsletterView {
    /// Its address.
    pub jid: String,
    /// As shown.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// Of the link that leads to it.
    pub invite: String,
    /// Numbers of who follows it, whoever runs it included.
    pub followers: Vec<String>,
    /// Oldest first.
    pub posts: Vec<PostView>,
}

/// A post.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PostView {
    /// As its author named it.
    pub id: String,
    /// Its number.
    pub server_id: u64,
    /// What it says, if that is a text.
    pub text: Option<String>,
    /// text, media …
    #[serde(rename = "type")]
    pub kind: String,
    /// Who looked at it.
    pub views: usize,
    /// Who reacted, with what.
    pub reactions: Vec<(String, String)>,
}

impl World {
    pub(crate) fn newsletter_jid(&self, text: &str) -> Result<Jid, OperateError> {
        let jid = text.parse::<Jid>().ok().filter(is_newsletter);
        jid.filter(|jid| self.newsletter(jid).is_some()).ok_or(OperateError::NoSuchGroup)
    }

    pub(crate) fn create_newsletter(
        &mut self,
        owner: &str,
        name: &str,
        description: &str,
        now: Millis,
    ) -> Result<Jid, OperateError> {
        let owner = self.phone(owner)?;
        let made = self.make_newsletter(owner, name, description, now);
        made.ok_or(OperateError::BadRequest("name: 1 to 100 characters; description: at most 2048"))
    }

    pub(crate) fn newsletter_view(&self, jid: &Jid) -> Result<NewsletterView, OperateError> {
        let newsletter = self.newsletter(jid).ok_or(OperateError::NoSuchGroup)?;
        let number = |id: &super::AccountId| self.account(*id).pn.clone();
        let post = |kept: &Kept| {
            let content = kept.post.content.as_deref().unwrap_or_default();
            let message = proto::Message::decode(content).unwrap_or_default();
            PostView {
                id: kept.post.id.clone().unwrap_or_default(),
                server_id: kept.post.server_id,
                text: text_of(&message).map(str::to_owned),
                kind: kept.post.kind.clone(),
                views: kept.views.len(),
                reactions: kept.reactions.iter().map(|(who, emoji)| (number(who), emoji.clone())).collect(),
            }
        };
        Ok(NewsletterView {
            jid: jid.to_wire(),
            name: newsletter.name.clone(),
            description: newsletter.description.clone(),
            invite: newsletter.invite.clone(),
            followers: newsletter.followers.keys().map(number).collect(),
            posts: newsletter.posts.iter().map(post).collect(),
        })
    }

    /// The phone's user follows it, or not any more.
    pub(crate) fn phone_follows(
        &mut self,
        number: &str,
        jid: &Jid,
        on: bool,
        now: Millis,
    ) -> Result<(), OperateError> {
        let phone = self.phone(number)?;
        let done = if on { self.follow(phone, jid, now) } else { self.unfollow(phone, jid, now) };
        self.settle(now);
        done.map(drop).ok_or(OperateError::NoSuchGroup)
    }

    /// The phone's user posts a text; another one for an earlier post, or takes that back, where `id` names one.
    pub(crate) fn phone_posts(
        &mut self,
        number: &str,
        jid: &Jid,
        text: Option<&str>,
        id: Option<&str>,
        now: Millis,
    ) -> Result<String, OperateError> {
        let phone = self.phone(number)?;
        if !self.newsletter(jid).is_some_and(|one| one.may_post(phone)) {
            return Err(OperateError::Conflict("only who runs a newsletter posts to it"));
        }
        let message = proto::Message { conversation: text.map(str::to_owned), ..Default::default() };
        let edit = match (id, text) {
            (None, None) => return Err(OperateError::BadRequest("text is missing")),
            (None, Some(_)) => None,
            (Some(_), Some(_)) => Some("3"),
            (Some(_), None) => Some("8"),
        };
        let id = id.map_or_else(|| self.random_hex(16), str::to_owned);
        let post = Post {
            kind: "text".into(),
            edit: edit.map(str::to_owned),
            content: Some(text.map(|_| message.encode_to_vec()).unwrap_or_default()),
            ..Post::default()
        };
        self.as_phone(phone, newsletter_post(jid, &id, &post), now);
        Ok(id)
    }

    /// The phone's user reacts; an empty emoji takes it back.
    pub(crate) fn phone_reacts_to_post(
        &mut self,
        number: &str,
        jid: &Jid,
        server_id: u64,
        emoji: &str,
        now: Millis,
    ) -> Result<(), OperateError> {
        let phone = self.phone(number)?;
        if self.newsletter_mut(jid).and_then(|one| one.kept(server_id)).is_none() {
            return Err(OperateError::NoSuchMessage);
        }
        let id = self.random_hex(16);
        self.as_phone(phone, newsletter_reaction(jid, &id, server_id, emoji), now);
        Ok(())
    }
}
