//! Newsletters (channels): posts in the open, reactions and views as numbers, and the queries for them (protocol 05,
//! 13; Baileys `Socket/newsletter.ts`, whatsmeow `newsletter.go`, whatsapp-rust `src/features/newsletter.rs`).
//! What a newsletter is, is asked by [`super::MexQuery`].

use super::{Iq, IqKind, Malformed, jid, text};
use crate::wire::{Jid, Node, Server};

/// Kinds of reactions told of one post at most; real ones have some dozen.
const MAX_REACTIONS: usize = 1_000;
/// The namespace of its queries.
const XMLNS: &str = "newsletter";

/// One post, as the server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Post {
    /// As its author named it; not told where only numbers changed.
    pub id: Option<String>,
    /// Its number in the newsletter, from 99 on.
    pub server_id: u64,
    /// Unix seconds.
    pub t: u64,
    /// text, media, poll …
    pub kind: String,
    /// 3 edited, 8 taken back.
    pub edit: Option<String>,
    /// Written by the own account.
    pub own: bool,
    /// Serialized waE2E.Message, neither encrypted nor padded. Empty where it was taken back.
    pub content: Option<Vec<u8>>,
    /// `image`, `video` …
    pub mediatype: Option<String>,
    /// How often it was looked at.
    pub views: Option<u64>,
    /// How many reacted with what; told whole.
    pub reactions: Option<Vec<(String, u64)>>,
}

impl Post {
    fn children(&self, node: Node) -> Node {
        let plaintext = self.content.as_ref().map(|content| {
            Node::new("plaintext").attr_opt("mediatype", self.mediatype.clone()).bytes(content.clone())
        });
        let reactions = self.reactions.as_ref().map(|all| {
            Node::new("reactions").children_from(
                all.iter()
                    .map(|(code, n)| Node::new("reaction").attr("code", code.clone()).attr("count", *n)),
            )
        });
        node.child_opt(plaintext)
            .child_opt(self.views.map(|views| Node::new("views_count").attr("count", views)))
            .child_opt(reactions)
    }

    fn frame(&self) -> Node {
        Node::new("message")
            .attr_opt("id", self.id.clone())
            .attr("server_id", self.server_id)
            .attr("t", self.t)
            .attr("type", if self.kind.is_empty() { "text".into() } else { self.kind.clone() })
            .attr_opt("edit", self.edit.clone())
            .attr_opt("is_sender", self.own.then_some("true"))
    }

    /// In a list.
    pub fn build(&self) -> Node {
        self.children(self.frame())
    }

    /// On its way to a follower.
    pub fn build_from(&self, newsletter: &Jid) -> Node {
        self.children(self.frame().attr("from", newsletter))
    }

    /// Reads it, in a list or by itself.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let reactions = node.find("reactions").map(|all| {
            let one = |reaction: &Node| {
                Some((reaction.text("code")?.to_owned(), reaction.number("count").unwrap_or(1)))
            };
            all.find_all("reaction").filter_map(one).take(MAX_REACTIONS).collect()
        });
        let plaintext = node.find("plaintext");
        Ok(Self {
            id: node.text("id").map(str::to_owned),
            server_id: node.number("server_id").ok_or(Malformed("server_id"))?,
            t: node.number("t").unwrap_or(0),
            kind: node.text("type").unwrap_or("text").to_owned(),
            edit: node.text("edit").map(str::to_owned),
            own: node.text("is_sender") == Some("true"),
            content: plaintext
                .map(|plain| plain.content_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default()),
            mediatype: plaintext.and_then(|plain| plain.text("mediatype")).map(str::to_owned),
            views: node.find("views_count").and_then(|views| views.number("count")),
            reactions,
        })
    }
}

/// Posts something: what a client sends.
pub fn newsletter_post(newsletter: &Jid, id: &str, post: &Post) -> Node {
    let node = Node::new("message")
        .attr("to", newsletter)
        .attr("id", id.to_owned())
        .attr("type", post.kind.clone())
        .attr_opt("edit", post.edit.clone());
    post.children(node)
}

/// Reacts to a post; an empty emoji takes the reaction back.
pub fn newsletter_reaction(newsletter: &Jid, id: &str, server_id: u64, emoji: &str) -> Node {
    let given = Some(emoji.to_owned()).filter(|emoji| !emoji.is_empty());
    Node::new("message")
        .attr("to", newsletter)
        .attr("id", id.to_owned())
        .attr("type", "reaction")
        .attr("server_id", server_id)
        .attr_opt("edit", given.is_none().then_some("7"))
        .child(Node::new("reaction").attr_opt("code", given))
}

/// Posts were looked at.
pub fn newsletter_views(newsletter: &Jid, id: &str, server_ids: &[u64]) -> Node {
    let items = server_ids.iter().map(|server_id| Node::new("item").attr("server_id", *server_id));
    Node::new("receipt")
        .attr("to", newsletter)
        .attr("id", id.to_owned())
        .attr("type", "view")
        .child(Node::new("list").children_from(items))
}

/// The posts that such a receipt names.
pub fn read_newsletter_views(receipt: &Node) -> Vec<u64> {
    let items = receipt.find("list").into_iter().flat_map(|list| list.find_all("item"));
    items.filter_map(|item| item.number("server_id")).collect()
}

/// A question to a newsletter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewsletterQuery {
    /// Its posts: the newest `count`, older than `before` if that is given.
    Messages {
        /// Of which.
        newsletter: Jid,
        /// At most.
        count: u32,
        /// A post's number.
        before: Option<u64>,
    },
    /// What became of its posts.
    Updates {
        /// Of which.
        newsletter: Jid,
        /// At most.
        count: u32,
        /// Changed since, Unix seconds.
        since: Option<u64>,
        /// Newer than this post.
        after: Option<u64>,
    },
    /// To be told of changes for a while.
    Live(Jid),
}

impl NewsletterQuery {
    /// Builds the query.
    pub fn build(&self, id: &str) -> Node {
        let (newsletter, kind, child) = match self {
            Self::Messages { newsletter, count, before } => {
                let child = Node::new("messages").attr("count", *count).attr_opt("before", *before);
                (newsletter, IqKind::Get, child)
            }
            Self::Updates { newsletter, count, since, after } => {
                let child = Node::new("message_updates")
                    .attr("count", *count)
                    .attr_opt("since", *since)
                    .attr_opt("after", *after);
                (newsletter, IqKind::Get, child)
            }
            Self::Live(newsletter) => (newsletter, IqKind::Set, Node::new("live_updates")),
        };
        Node::new("iq")
            .attr("to", newsletter)
            .attr("id", id.to_owned())
            .attr("type", kind.as_str())
            .attr("xmlns", XMLNS)
            .child(child)
    }

    /// Reads any client's query. `Ok(None)`: one that nobody here knows.
    pub fn parse(node: &Node) -> Result<Option<Self>, Malformed> {
        let iq = Iq::parse(node)?;
        let child = node.children().first().ok_or(Malformed("child"))?;
        let to = jid(node, "to")?;
        // whatsmeow asks the server and names the newsletter inside.
        let newsletter = if to.server() == Server::Newsletter { to } else { jid(child, "jid")? };
        if newsletter.server() != Server::Newsletter {
            return Err(Malformed("newsletter"));
        }
        let count = child.number("count").unwrap_or(100);
        Ok(match (iq.kind, child.tag.as_ref()) {
            (IqKind::Get, "messages") => {
                Some(Self::Messages { newsletter, count, before: child.number("before") })
            }
            (IqKind::Get, "message_updates") => Some(Self::Updates {
                newsletter,
                count,
                since: child.number("since"),
                after: child.number("after"),
            }),
            (IqKind::Set, "live_updates") => Some(Self::Live(newsletter)),
            _ => None,
        })
    }
}

/// A list of posts, oldest first.
pub fn build_posts(newsletter: &Jid, t: u64, posts: &[Post]) -> Node {
    Node::new("messages").attr("jid", newsletter).attr("t", t).children_from(posts.iter().map(Post::build))
}

/// The posts in an answer or a notification, wherever they stand in it; one that cannot be read is left out.
pub fn read_posts(node: &Node) -> Vec<Post> {
    let mut found = Vec::new();
    let holders = node.children().iter().flat_map(|child| std::iter::once(child).chain(child.children()));
    for holder in holders {
        if matches!(holder.tag.as_ref(), "messages" | "live_updates" | "message_updates") {
            found.extend(holder.find_all("message").filter_map(|post| Post::parse(post).ok()));
        }
    }
    found
}

/// For how many seconds changes are told.
pub fn read_live(answer: &Node) -> Result<u32, Malformed> {
    let live = answer.find("live_updates").ok_or(Malformed("live_updates"))?;
    text(live, "duration")?.parse().map_err(|_| Malformed("duration"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn newsletter() -> Jid {
        Jid::new("120363000000000001", Server::Newsletter)
    }

    #[test]
    fn posts_and_questions_are_read_as_they_were_written() {
        let post = Post {
            id: Some("3EB0".into()),
            server_id: 101,
            t: 1_700_000_000,
            kind: "media".into(),
            edit: None,
            own: true,
            content: Some(vec![10, 2, 104, 105]),
            mediatype: Some("image".into()),
            views: Some(7),
            reactions: Some(vec![("👍".into(), 3)]),
        };
        assert_eq!(Post::parse(&post.build()), Ok(post.clone()));
        assert_eq!(Post::parse(&post.build_from(&newsletter())), Ok(post.clone()));
        let list = Iq::result("1").child(build_posts(&newsletter(), 1, std::slice::from_ref(&post)));
        assert_eq!(read_posts(&list), std::slice::from_ref(&post));
        for wrapper in ["live_updates", "message_updates"] {
            let deeper = Node::new(wrapper).child(build_posts(&newsletter(), 1, std::slice::from_ref(&post)));
            let notice = Node::new("notification").child(deeper);
            assert_eq!(read_posts(&notice), std::slice::from_ref(&post));
        }
        let queries = [
            NewsletterQuery::Messages { newsletter: newsletter(), count: 5, before: Some(101) },
            NewsletterQuery::Updates { newsletter: newsletter(), count: 5, since: Some(1), after: None },
            NewsletterQuery::Live(newsletter()),
        ];
        for query in queries {
            assert_eq!(NewsletterQuery::parse(&query.build("1")), Ok(Some(query)));
        }
        let viewed = newsletter_views(&newsletter(), "1", &[100, 101]);
        assert_eq!(read_newsletter_views(&viewed), [100, 101]);
    }

    proptest! {
        #[test]
        fn whatever_attributes_a_post_has_nothing_panics(
            values in proptest::collection::vec(".{0,12}", 5), content in any::<Vec<u8>>(),
        ) {
            let mut node = Node::new("message");
            for (key, value) in ["id", "server_id", "t", "type", "edit"].into_iter().zip(values) {
                node = node.attr(key, value);
            }
            let node = node
                .child(Node::new("plaintext").bytes(content))
                .child(Node::new("reactions").child(Node::new("reaction")));
            let _ = Post::parse(&node);
            let _ = read_posts(&Node::new("iq").child(Node::new("messages").child(node)));
        }
    }
}
