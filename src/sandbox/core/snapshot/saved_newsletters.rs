//! Newsletters as JSON and back. Who asked to be told of changes asks again, as after every connection.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{SnapshotError, account_id, bytes, jid, last, text};
use crate::{
    sandbox::core::{
        AccountId,
        newsletters::{Follower, Kept, Newsletter, Role},
    },
    stanza::Post,
};

#[derive(Serialize, Deserialize)]
pub(super) struct SavedNewsletter {
    jid: String,
    name: String,
    description: String,
    invite: String,
    created: u64,
    updated: u64,
    picture: Option<String>,
    /// Account, 0 subscriber, 1 admin, 2 owner, and whether it is muted.
    followers: Vec<(usize, u8, bool)>,
    posts: Vec<SavedPost>,
    next: u64,
}

#[derive(Serialize, Deserialize)]
struct SavedPost {
    id: Option<String>,
    server_id: u64,
    t: u64,
    kind: String,
    edit: Option<String>,
    content: Option<String>,
    mediatype: Option<String>,
    author: usize,
    reactions: Vec<(usize, String)>,
    views: Vec<usize>,
    changed: u64,
}

impl SavedNewsletter {
    pub(super) fn of(newsletter: &Newsletter) -> Self {
        let follower = |(id, follower): (&AccountId, &Follower)| (id.0, follower.role as u8, follower.muted);
        Self {
            jid: newsletter.jid.to_wire(),
            name: newsletter.name.clone(),
            description: newsletter.description.clone(),
            invite: newsletter.invite.clone(),
            created: newsletter.created,
            updated: newsletter.updated,
            picture: newsletter.picture.clone(),
            followers: newsletter.followers.iter().map(follower).collect(),
            posts: last(newsletter.posts.iter()).map(SavedPost::of).collect(),
            next: newsletter.next,
        }
    }

    pub(super) fn restore(&self, accounts: usize) -> Result<Newsletter, SnapshotError> {
        let follower = |(id, role, muted): &(usize, u8, bool)| {
            let role = match role {
                2 => Role::Owner,
                1 => Role::Admin,
                _ => Role::Subscriber,
            };
            Ok((account_id(*id, accounts)?, Follower { role, muted: *muted }))
        };
        Ok(Newsletter {
            jid: jid(&self.jid)?,
            name: self.name.clone(),
            description: self.description.clone(),
            invite: self.invite.clone(),
            created: self.created,
            updated: self.updated,
            picture: self.picture.clone(),
            followers: self.followers.iter().map(follower).collect::<Result<_, SnapshotError>>()?,
            posts: self.posts.iter().map(|post| post.restore(accounts)).collect::<Result<_, _>>()?,
            next: self.next,
            live: BTreeMap::new(),
        })
    }
}

impl SavedPost {
    fn of(kept: &Kept) -> Self {
        let post = &kept.post;
        Self {
            id: post.id.clone(),
            server_id: post.server_id,
            t: post.t,
            kind: post.kind.clone(),
            edit: post.edit.clone(),
            content: post.content.as_ref().map(text),
            mediatype: post.mediatype.clone(),
            author: kept.author.0,
            reactions: kept.reactions.iter().map(|(id, emoji)| (id.0, emoji.clone())).collect(),
            views: kept.views.iter().map(|id| id.0).collect(),
            changed: kept.changed,
        }
    }

    fn restore(&self, accounts: usize) -> Result<Kept, SnapshotError> {
        let account = |n: usize| account_id(n, accounts);
        let reaction = |(id, emoji): &(usize, String)| Ok((account(*id)?, emoji.clone()));
        Ok(Kept {
            post: Post {
                id: self.id.clone(),
                server_id: self.server_id,
                t: self.t,
                kind: self.kind.clone(),
                edit: self.edit.clone(),
                content: self.content.as_deref().map(bytes).transpose()?,
                mediatype: self.mediatype.clone(),
                ..Post::default()
            },
            author: account(self.author)?,
            reactions: self.reactions.iter().map(reaction).collect::<Result<_, SnapshotError>>()?,
            views: self.views.iter().map(|id| account(*id)).collect::<Result<_, _>>()?,
            changed: self.changed,
        })
    }
}
