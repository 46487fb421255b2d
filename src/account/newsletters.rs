//! Newsletters (channels): asked for, followed, read, posted to. Nothing in them is encrypted, so a post is what its
//! author wrote, and the server is believed about who that was. Posts that were seen are kept like messages, with the
//! number that the server knows them by.

mod posts;
mod told;

use serde_json::{Value, json};

use super::{
    AskError, Error, Told,
    ask::{Next, Outcome, Step},
    dispatch::{Account, Turn},
};
use crate::{
    clock::Millis,
    stanza::{
        Ack, Iq, MexError, NewsletterQuery, mex_query, newsletter_reaction, newsletter_views, read_live,
        read_mex_answer, read_posts,
    },
    wire::{Jid, Node, Server},
};

pub use told::NewsletterView;

/// Numbers of GraphQL documents, as Baileys 7.0.0-rc14 (`Types/Mex.ts`) and, for the list, whatsapp-rust 0.7
/// (`wacore/src/iq/mex_operations.rs`) send them. They belong to a release of WhatsApp Web.
mod document {
    pub(super) const CREATE: &str = "8823471724422422";
    pub(super) const INFO: &str = "6563316087068696";
    pub(super) const LIST: &str = "25399611239711790";
    pub(super) const FOLLOW: &str = "24404358912487870";
    pub(super) const UNFOLLOW: &str = "9767147403369991";
    pub(super) const MUTE: &str = "29766401636284406";
    pub(super) const UNMUTE: &str = "9864994326891137";
    pub(super) const UPDATE: &str = "24250201037901610";
    pub(super) const DELETE: &str = "30062808666639665";
}

/// Which newsletter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewsletterName {
    /// By address.
    Jid(Jid),
    /// By the code of its link.
    Invite(String),
}

/// Which post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostName {
    /// By its number in the newsletter.
    Number(u64),
    /// By the id of the message, which must have been seen.
    Message(String),
}

/// Something with newsletters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewsletterCommand {
    /// A new one, of the account.
    Create {
        /// As shown.
        name: String,
        /// What it is about.
        description: Option<String>,
    },
    /// Those that the account follows or runs.
    List,
    /// One.
    Info(NewsletterName),
    /// Follows it, or not any more.
    Follow(Jid, bool),
    /// Silences it, or not any more.
    Mute(Jid, bool),
    /// Another name or description.
    Update {
        /// Of which.
        newsletter: Jid,
        /// As shown.
        name: Option<String>,
        /// What it is about.
        description: Option<String>,
    },
    /// Ends one of the account.
    Delete(Jid),
    /// Its posts: the newest `count`, older than `before` if that is given.
    Posts {
        /// Of which.
        newsletter: Jid,
        /// At most.
        count: u32,
        /// A post.
        before: Option<PostName>,
        /// Only what is new since then, or has other numbers; without `before`.
        since: Option<Millis>,
    },
    /// Reacts to a post; an empty emoji takes the reaction back.
    React {
        /// In which.
        newsletter: Jid,
        /// To which.
        post: PostName,
        /// One grapheme, or nothing.
        emoji: String,
    },
    /// Posts were looked at.
    Viewed {
        /// In which.
        newsletter: Jid,
        /// Which.
        posts: Vec<PostName>,
    },
    /// To be told of reactions and views for a while.
    Live(Jid),
}

/// What came of a [`NewsletterCommand`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewsletterAnswer {
    /// Done.
    Done,
    /// To `Create`, `Info` and `Update`.
    Newsletter(Box<NewsletterView>),
    /// To `List`.
    Newsletters(Vec<NewsletterView>),
    /// To `Posts`, oldest first, each in the form of the incoming webhook with `server_id`, `views` and `reactions`.
    Posts(Vec<Value>),
    /// To `Live`: for so many seconds.
    Live(u32),
}

/// Whether an address is a newsletter's.
pub(super) fn is_newsletter(jid: &Jid) -> bool {
    jid.server() == Server::Newsletter
}

fn mex(document: &str, variables: Value, command: NewsletterCommand) -> Next {
    let document = document.to_owned();
    Next::query(move |id| mex_query(id, &document, &variables), Step::Newsletter(Box::new(command)))
}

/// Asks for everything about one.
fn info(name: &NewsletterName, command: NewsletterCommand) -> Next {
    let (key, kind) = match name {
        NewsletterName::Jid(jid) => (jid.to_wire(), "JID"),
        NewsletterName::Invite(code) => (code.clone(), "INVITE"),
    };
    let variables = json!({
        "fetch_creation_time": true, "fetch_full_image": true, "fetch_viewer_metadata": true,
        "input": { "key": key, "type": kind },
    });
    mex(document::INFO, variables, command)
}

impl Account {
    pub(super) fn newsletter_asked(
        &self,
        command: NewsletterCommand,
        turn: &Turn<'_>,
    ) -> Result<Outcome, Error> {
        use NewsletterCommand as C;
        let of = |jid: &Jid| json!({ "newsletter_id": jid.to_wire() });
        let again = command.clone();
        Ok(Ok(match &command {
            C::Create { name, description } => {
                let input = json!({ "input": { "name": name, "description": description } });
                mex(document::CREATE, input, again)
            }
            C::List => mex(document::LIST, json!({}), again),
            C::Info(name) => info(name, again),
            C::Follow(jid, on) => {
                mex(if *on { document::FOLLOW } else { document::UNFOLLOW }, of(jid), again)
            }
            C::Mute(jid, on) => mex(if *on { document::MUTE } else { document::UNMUTE }, of(jid), again),
            C::Update { newsletter, name, description } => {
                let mut updates = json!({ "settings": null });
                for (key, value) in [("name", name), ("description", description)] {
                    if let (Some(value), Some(members)) = (value, updates.as_object_mut()) {
                        members.insert(key.into(), value.clone().into());
                    }
                }
                let variables = json!({ "newsletter_id": newsletter.to_wire(), "updates": updates });
                mex(document::UPDATE, variables, again)
            }
            C::Delete(jid) => mex(document::DELETE, of(jid), again),
            C::Posts { newsletter, count, since: Some(since), .. } => {
                let newsletter = newsletter.clone();
                let since = Some(since.secs());
                let query = NewsletterQuery::Updates { newsletter, count: *count, since, after: None };
                Next::query(move |id| query.build(id), Step::Newsletter(Box::new(again)))
            }
            C::Posts { newsletter, count, before, since: None } => {
                let before = match before {
                    None => None,
                    Some(name) => match self.post_number(newsletter, name, turn)? {
                        Some(number) => Some(number),
                        None => return Ok(Err(AskError::Unknown)),
                    },
                };
                let query =
                    NewsletterQuery::Messages { newsletter: newsletter.clone(), count: *count, before };
                Next::query(move |id| query.build(id), Step::Newsletter(Box::new(again)))
            }
            C::React { newsletter, post, emoji } => {
                let Some(number) = self.post_number(newsletter, post, turn)? else {
                    return Ok(Err(AskError::Unknown));
                };
                let (newsletter, emoji) = (newsletter.clone(), emoji.clone());
                Next::query(
                    move |id| newsletter_reaction(&newsletter, id, number, &emoji),
                    Step::Newsletter(Box::new(again)),
                )
            }
            C::Viewed { newsletter, posts } => {
                let mut numbers = Vec::new();
                for post in posts {
                    let Some(number) = self.post_number(newsletter, post, turn)? else {
                        return Ok(Err(AskError::Unknown));
                    };
                    numbers.push(number);
                }
                let newsletter = newsletter.clone();
                Next::query(
                    move |id| newsletter_views(&newsletter, id, &numbers),
                    Step::Newsletter(Box::new(again)),
                )
            }
            C::Live(jid) => {
                let query = NewsletterQuery::Live(jid.clone());
                Next::query(move |id| query.build(id), Step::Newsletter(Box::new(again)))
            }
        }))
    }

    fn post_number(&self, newsletter: &Jid, name: &PostName, turn: &Turn<'_>) -> Result<Option<u64>, Error> {
        let id = match name {
            PostName::Number(number) => return Ok(Some(*number)),
            PostName::Message(id) => id,
        };
        let Some(chat) = turn.tx.messages().find_chat(newsletter)? else { return Ok(None) };
        let Some(message) = turn.tx.messages().find_in_chat(chat.id, id)? else { return Ok(None) };
        Ok(turn.tx.newsletters().facts(message.id)?.map(|facts| facts.server_id))
    }

    pub(super) fn newsletter_told(
        &self,
        command: NewsletterCommand,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, Error> {
        use NewsletterCommand as C;
        let refused = |code| match code {
            404 => AskError::Unknown,
            code => AskError::Refused(code),
        };
        // Reactions and views are answered by an ack.
        let code = Ack::parse_from(node).ok().filter(|_| node.tag == "ack").and_then(|ack| ack.error);
        if let Some(code) = code.or_else(|| Iq::refusal(node).map(|refusal| refusal.code)) {
            return Ok(Err(refused(code)));
        }
        let path = match &command {
            C::Create { .. } => Some("xwa2_newsletter_create"),
            C::List => Some("xwa2_newsletter_subscribed"),
            C::Info(_) => Some("xwa2_newsletter"),
            C::Follow(_, true) => Some("xwa2_newsletter_join_v2"),
            C::Follow(_, false) => Some("xwa2_newsletter_leave_v2"),
            C::Mute(_, true) => Some("xwa2_newsletter_mute_v2"),
            C::Mute(_, false) => Some("xwa2_newsletter_unmute_v2"),
            C::Update { .. } => Some("xwa2_newsletter_update"),
            C::Delete(_) => Some("xwa2_newsletter_delete_v2"),
            C::Posts { .. } | C::React { .. } | C::Viewed { .. } | C::Live(_) => None,
        };
        let data = match path {
            None => Value::Null,
            Some(path) => match read_mex_answer(node) {
                Ok(mut data) => match data.get_mut(path).map(Value::take) {
                    None | Some(Value::Null) => return Ok(Err(AskError::Unknown)),
                    Some(found) => found,
                },
                Err(MexError::Refused(code)) => return Ok(Err(refused(code))),
                Err(MexError::Unreadable) => return Ok(Err(AskError::Internal)),
            },
        };
        // One that cannot be read is left out of a list, and a fault by itself.
        let whole = || match NewsletterView::read(&data) {
            Some(view) => Ok(NewsletterAnswer::Newsletter(Box::new(view))),
            None => Err(AskError::Internal),
        };
        let answer = match command {
            C::Create { .. } | C::Info(_) => whole(),
            // What is told of a change need not be everything.
            C::Update { newsletter, .. } => {
                let name = NewsletterName::Jid(newsletter);
                return Ok(Ok(info(&name, C::Info(name.clone()))));
            }
            C::List => {
                let all = data.as_array().into_iter().flatten();
                Ok(NewsletterAnswer::Newsletters(all.filter_map(NewsletterView::read).collect()))
            }
            C::Follow(..) | C::Mute(..) | C::Delete(_) | C::React { .. } | C::Viewed { .. } => {
                Ok(NewsletterAnswer::Done)
            }
            C::Posts { newsletter, .. } => {
                let mut shown = Vec::new();
                for post in read_posts(node) {
                    shown.extend(self.keep_post(&newsletter, &post, turn)?);
                }
                Ok(NewsletterAnswer::Posts(shown))
            }
            C::Live(_) => read_live(node).map(NewsletterAnswer::Live).map_err(|_| AskError::Internal),
        };
        Ok(answer.map(|answer| Next::Done(Told::Newsletter(answer))))
    }
}

/// Unix seconds as the server writes them: a number, or a text.
fn seconds(value: &Value) -> Option<Millis> {
    number(value).map(Millis::from_secs)
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
