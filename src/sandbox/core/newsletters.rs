//! Newsletters as the server keeps them: who runs and follows them, their posts, and who is told what (protocol 05, 13).

mod ask;
mod operate;

use std::collections::{BTreeMap, BTreeSet};

pub use operate::{NewsletterView, PostView};
use serde_json::{Value, json};

use super::{AccountId, DeviceRef, World, phone::Received, profile::picture_path};
use crate::{
    clock::Millis,
    stanza::{Ack, Notification, Post, build_posts, read_newsletter_views},
    wire::{Jid, Node, Server},
};

/// Newsletters of a world, and posts of one; the oldest make room.
const MAX_NEWSLETTERS: usize = 10_000;
const MAX_POSTS: usize = 10_000;
/// Longest name and description, in characters.
const MAX_NAME: usize = 100;
const MAX_DESCRIPTION: usize = 2_048;
/// The number of a newsletter's first post.
const FIRST_POST: u64 = 100;
/// For how long changes are told after somebody asked for it, in seconds.
const LIVE: u64 = 300;

/// What an account is in a newsletter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Subscriber,
    Admin,
    Owner,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Subscriber => "SUBSCRIBER",
            Self::Admin => "ADMIN",
            Self::Owner => "OWNER",
        }
    }
}

pub(super) struct Follower {
    pub(super) role: Role,
    pub(super) muted: bool,
}

/// A post, and what became of it.
pub(super) struct Kept {
    pub(super) post: Post,
    pub(super) author: AccountId,
    pub(super) reactions: BTreeMap<AccountId, String>,
    pub(super) views: BTreeSet<AccountId>,
    /// When anything of it changed last, Unix seconds.
    pub(super) changed: u64,
}

impl Kept {
    /// As one account sees it.
    fn seen_by(&self, account: AccountId) -> Post {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for emoji in self.reactions.values() {
            *counts.entry(emoji).or_default() += 1;
        }
        Post {
            own: self.author == account,
            views: Some(self.views.len() as u64),
            reactions: Some(counts.into_iter().map(|(emoji, count)| (emoji.to_owned(), count)).collect()),
            ..self.post.clone()
        }
    }
}

pub(super) struct Newsletter {
    pub(super) jid: Jid,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) invite: String,
    pub(super) created: u64,
    /// Microseconds, as the server writes it.
    pub(super) updated: u64,
    pub(super) followers: BTreeMap<AccountId, Follower>,
    /// Id of its picture.
    pub(super) picture: Option<String>,
    pub(super) posts: Vec<Kept>,
    pub(super) next: u64,
    /// Who is told of changes, and until when.
    pub(super) live: BTreeMap<DeviceRef, Millis>,
}

impl Newsletter {
    /// As one account sees it (protocol 05, 13.2); all numbers as text.
    fn object(&self, account: AccountId) -> Value {
        let updated = self.updated.to_string();
        let picture = |kind: &str, letter: &str| {
            let id = self.picture.as_deref().unwrap_or_default();
            let path = self.picture.as_ref().map(|id| picture_path(id, letter)).unwrap_or_default();
            json!({ "id": id, "type": kind, "direct_path": path })
        };
        let follower = self.followers.get(&account);
        let mute = if follower.is_some_and(|follower| follower.muted) { "ON" } else { "OFF" };
        json!({
            "id": self.jid.to_wire(),
            "state": { "type": "ACTIVE" },
            "thread_metadata": {
                "creation_time": self.created.to_string(),
                "invite": self.invite,
                "subscribers_count": self.followers.len().to_string(),
                "verification": "UNVERIFIED",
                "name": { "id": updated, "text": self.name, "update_time": updated },
                "description": { "id": updated, "text": self.description, "update_time": updated },
                "picture": picture("IMAGE", "n"),
                "preview": picture("PREVIEW", "s"),
                "settings": { "reaction_codes": { "value": "ALL" } },
            },
            "viewer_metadata": {
                "mute": mute,
                "role": follower.map_or("GUEST", |follower| follower.role.as_str()),
                "settings": [{ "type": "MUTE_FOLLOWER_ACTIVITY", "value": mute }],
            },
        })
    }

    fn may_post(&self, account: AccountId) -> bool {
        self.followers.get(&account).is_some_and(|follower| follower.role != Role::Subscriber)
    }

    fn kept(&mut self, server_id: u64) -> Option<&mut Kept> {
        self.posts.iter_mut().find(|kept| kept.post.server_id == server_id)
    }
}

fn is_newsletter(jid: &Jid) -> bool {
    jid.server() == Server::Newsletter
}

impl World {
    fn newsletter(&self, jid: &Jid) -> Option<&Newsletter> {
        self.newsletters.get(jid.user()).filter(|_| is_newsletter(jid))
    }

    fn newsletter_mut(&mut self, jid: &Jid) -> Option<&mut Newsletter> {
        self.newsletters.get_mut(jid.user()).filter(|_| is_newsletter(jid))
    }

    /// A new one; `None`: the name or the description is no such, or there are too many.
    fn make_newsletter(
        &mut self,
        owner: AccountId,
        name: &str,
        description: &str,
        now: Millis,
    ) -> Option<Jid> {
        let length = name.chars().count();
        if length == 0
            || length > MAX_NAME
            || description.chars().count() > MAX_DESCRIPTION
            || self.newsletters.len() >= MAX_NEWSLETTERS
        {
            return None;
        }
        let mut number = 120_363_100_000_000_001 + self.newsletters.len() as u64;
        while self.newsletters.contains_key(&number.to_string()) {
            number += 1;
        }
        let jid = Jid::new(number.to_string(), Server::Newsletter);
        let invite = format!("0029Va{}", self.random_hex(8));
        let newsletter = Newsletter {
            jid: jid.clone(),
            name: name.to_owned(),
            description: description.to_owned(),
            invite,
            created: now.secs(),
            updated: now.0 * 1_000,
            followers: BTreeMap::from([(owner, Follower { role: Role::Owner, muted: false })]),
            picture: None,
            posts: Vec::new(),
            next: FIRST_POST,
            live: BTreeMap::new(),
        };
        self.newsletters.insert(jid.user().to_owned(), newsletter);
        Some(jid)
    }

    /// `<message>` to a newsletter: a post, a change of one, or a reaction.
    pub(super) fn newsletter_message(&mut self, from: DeviceRef, node: &Node, now: Millis) -> bool {
        let Some(to) = node.jid("to").filter(is_newsletter) else { return false };
        let Some(id) = node.text("id").map(str::to_owned) else {
            self.journal.refuse("message that does not parse");
            return true;
        };
        let mut ack = Ack::taken(&id, &to, now.secs());
        let taken = match node.text("type") {
            Some("reaction") => self.newsletter_reacted(from, &to, node, now),
            Some("text" | "media" | "poll") => self.newsletter_posted(from, &to, &id, node, now),
            _ => {
                self.journal.refuse("message of an unknown type");
                Err(479)
            }
        };
        let (server_id, then) = match taken {
            Ok((server_id, then)) => (Some(server_id), then),
            Err(code) => {
                ack.error = Some(code);
                (None, Vec::new())
            }
        };
        self.answer(from, ack.build_from().attr_opt("server_id", server_id), now);
        for (device, stanza) in then {
            self.enqueue(device, stanza, now);
        }
        true
    }

    /// A post's number, and what is to be told whom after the ack.
    #[allow(clippy::type_complexity, reason = "one caller")]
    fn newsletter_posted(
        &mut self,
        from: DeviceRef,
        to: &Jid,
        id: &str,
        node: &Node,
        now: Millis,
    ) -> Result<(u64, Vec<(DeviceRef, Node)>), u16> {
        let plaintext = node.find("plaintext");
        let edit = node.text("edit").map(str::to_owned);
        let Some(plaintext) = plaintext.filter(|_| matches!(edit.as_deref(), None | Some("3" | "8"))) else {
            self.journal.refuse("post without plaintext");
            return Err(479);
        };
        let content = plaintext.content_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
        let mediatype = plaintext.text("mediatype").map(str::to_owned);
        let kind = node.text("type").unwrap_or("text").to_owned();
        let newsletter = self.newsletter_mut(to).ok_or(404_u16)?;
        if !newsletter.may_post(from.account) {
            return Err(403);
        }
        let known = newsletter.posts.iter().position(|kept| kept.post.id.as_deref() == Some(id));
        let server_id = match (known.and_then(|at| newsletter.posts.get_mut(at)), &edit) {
            // Written again after a lost ack.
            (Some(kept), Some(_))
                if kept.post.edit == edit && kept.post.content.as_ref() == Some(&content) =>
            {
                return Ok((kept.post.server_id, Vec::new()));
            }
            (Some(kept), Some(edit)) => {
                kept.post.content = Some(content);
                kept.post.edit = Some(edit.clone());
                kept.changed = now.secs();
                kept.post.server_id
            }
            (Some(kept), None) => return Ok((kept.post.server_id, Vec::new())),
            (None, Some(_)) => return Err(404),
            (None, None) => {
                let server_id = newsletter.next;
                newsletter.next += 1;
                let post = Post {
                    id: Some(id.to_owned()),
                    server_id,
                    t: now.secs(),
                    kind,
                    content: Some(content),
                    mediatype,
                    ..Post::default()
                };
                newsletter.posts.push(Kept {
                    post,
                    author: from.account,
                    reactions: BTreeMap::new(),
                    views: BTreeSet::new(),
                    changed: now.secs(),
                });
                if newsletter.posts.len() > MAX_POSTS {
                    newsletter.posts.remove(0);
                }
                server_id
            }
        };
        self.journal.messages += 1;
        let newsletter = self.newsletter(to).ok_or(404_u16)?;
        let followers: Vec<AccountId> = newsletter.followers.keys().copied().collect();
        let kept = newsletter.posts.iter().find(|kept| kept.post.server_id == server_id).ok_or(404_u16)?;
        let mut then = Vec::new();
        for account in followers {
            let post = Post { views: None, reactions: None, ..kept.seen_by(account) };
            let devices = self.devices_of(account).into_iter().filter(|device| *device != from);
            then.extend(devices.map(|device| (device, post.build_from(to))));
        }
        self.journal.deliveries += then.len() as u64;
        Ok((server_id, then))
    }

    #[allow(clippy::type_complexity, reason = "one caller")]
    fn newsletter_reacted(
        &mut self,
        from: DeviceRef,
        to: &Jid,
        node: &Node,
        now: Millis,
    ) -> Result<(u64, Vec<(DeviceRef, Node)>), u16> {
        let (server_id, reaction) = (node.number::<u64>("server_id"), node.find("reaction"));
        let (Some(server_id), Some(reaction)) = (server_id, reaction) else {
            self.journal.refuse("reaction to nothing");
            return Err(479);
        };
        let code = reaction.text("code").filter(|code| !code.is_empty()).map(str::to_owned);
        if code.is_none() != (node.text("edit") == Some("7")) {
            self.journal.refuse("reaction that is neither given nor taken back");
            return Err(479);
        }
        let newsletter = self.newsletter_mut(to).ok_or(404_u16)?;
        let kept = newsletter.kept(server_id).ok_or(404_u16)?;
        match code {
            Some(code) => kept.reactions.insert(from.account, code),
            None => kept.reactions.remove(&from.account),
        };
        kept.changed = now.secs();
        Ok((server_id, self.live_updates(to, &[server_id], now)))
    }

    /// A `view` receipt.
    pub(super) fn newsletter_viewed(&mut self, from: DeviceRef, to: &Jid, receipt: &Node, now: Millis) {
        let seen = read_newsletter_views(receipt);
        let Some(newsletter) = self.newsletter_mut(to) else { return };
        let mut changed = Vec::new();
        for server_id in seen {
            if let Some(kept) = newsletter.kept(server_id)
                && kept.views.insert(from.account)
            {
                kept.changed = now.secs();
                changed.push(server_id);
            }
        }
        if changed.is_empty() {
            return;
        }
        for (device, stanza) in self.live_updates(to, &changed, now) {
            self.enqueue(device, stanza, now);
        }
    }

    /// The numbers of these posts, for everybody who asked for them; also for whoever changed them.
    fn live_updates(&mut self, to: &Jid, server_ids: &[u64], now: Millis) -> Vec<(DeviceRef, Node)> {
        let Some(newsletter) = self.newsletter_mut(to) else { return Vec::new() };
        newsletter.live.retain(|_, until| *until > now);
        let posts = newsletter.posts.iter().filter(|kept| server_ids.contains(&kept.post.server_id));
        // Who asks has no part in the numbers.
        let posts: Vec<Post> = posts
            .map(|kept| Post {
                id: None,
                content: None,
                mediatype: None,
                own: false,
                ..kept.seen_by(kept.author)
            })
            .collect();
        let devices: Vec<DeviceRef> = newsletter.live.keys().copied().collect();
        let list = Node::new("live_updates").child(build_posts(to, now.secs(), &posts));
        let frame = |id: String| Notification::frame(&id, to, "newsletter", now.secs()).child(list.clone());
        devices.into_iter().map(|device| (device, frame(self.server_id()))).collect()
    }

    /// `mex`: something about a newsletter, for all devices of an account.
    fn tell_of_newsletter(&mut self, account: AccountId, operation: &str, data: &Value, now: Millis) {
        for device in self.devices_of(account) {
            let id = self.server_id();
            let update = Node::new("update")
                .attr("op_name", operation.to_owned())
                .bytes(json!({ "data": data }).to_string());
            let stanza = Notification::frame(&id, &Jid::server_itself(), "mex", now.secs()).child(update);
            self.enqueue(device, stanza, now);
        }
    }

    /// A phone reads a post.
    pub(super) fn phone_reads_post(&mut self, phone: DeviceRef, node: &Node) -> bool {
        let Some(newsletter) = node.jid("from").filter(is_newsletter) else { return false };
        if let (Ok(post), Some(endpoint)) = (Post::parse(node), self.endpoint_mut(phone)) {
            endpoint.keep_received(Received {
                id: post.id.unwrap_or_default(),
                chat: newsletter.clone(),
                sender: newsletter,
                sender_device: 0,
                from_me: post.own,
                t: post.t,
                message: post.content.unwrap_or_default(),
            });
        }
        self.phone_acks(phone, node);
        true
    }
}
