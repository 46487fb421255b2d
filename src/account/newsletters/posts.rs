//! Posts in and out.

use prost::Message as _;
use serde_json::Value;

use super::{is_newsletter, told::numbers};
use crate::{
    account::{
        Error,
        content::{self, Kind},
        dispatch::{Account, Turn},
        events::{Posted, Reported, incoming},
        receive::{file, fresh_uuid},
        send::WINDOW,
    },
    clock::Millis,
    proto::{self, MessageKey as WireKey, message::ProtocolMessage},
    stanza::{Class, Post, newsletter_post},
    store::{
        messages::{MessageKey, NewMessage, Progress},
        newsletters::PostFacts,
        queue::Outgoing as Row,
    },
    wire::{Jid, Node},
};

/// `ProtocolMessage.Type`: REVOKE and MESSAGE_EDIT.
const REVOKE: i32 = 0;
const EDIT: i32 = 14;

impl Account {
    /// A post as it comes: told, and acknowledged.
    pub(in crate::account) fn newsletter_message(
        &self,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        match (node.jid("from").filter(is_newsletter), Post::parse(node)) {
            (Some(newsletter), Ok(post)) => self.take_post(&newsletter, &post, turn)?,
            (_, Err(error)) => tracing::warn!(%error, "a post"),
            (None, _) => {}
        }
        self.ack(node, turn);
        Ok(())
    }

    /// A post that is news: kept and reported; another text of an earlier one, or its end.
    pub(super) fn take_post(&self, newsletter: &Jid, post: &Post, turn: &mut Turn<'_>) -> Result<(), Error> {
        let (Some(id), Some(bytes)) = (&post.id, &post.content) else { return Ok(()) };
        let chat = turn.tx.messages().chat(newsletter)?;
        let key = MessageKey { chat: chat.id, wa_id: id.clone(), from_me: post.own, participant: None };
        let named = WireKey {
            remote_jid: Some(newsletter.to_wire()),
            from_me: Some(post.own),
            id: Some(id.clone()),
            participant: None,
        };
        let content = match post.edit.as_deref() {
            Some("8") => protocol(REVOKE, named, None),
            edit => {
                let Some(said) = read_content(bytes) else {
                    tracing::warn!("a post that is no message");
                    return Ok(());
                };
                match edit {
                    Some("3") => protocol(EDIT, named, proto::Message::decode(&*said).ok()),
                    _ => said,
                }
            }
        };
        let change = post.edit.is_some();
        if !change && !content::has_content(&content) {
            return Ok(());
        }
        let message = NewMessage {
            // A change has no id of its own: it goes by that of the post.
            key,
            uuid: fresh_uuid(turn),
            at: Millis::from_secs(post.t),
            push_name: None,
            content,
            progress: if post.own { Progress::Sent } else { Progress::Pending },
        };
        let reported = Reported { message: &message, chat: &chat, sender: newsletter };
        if change {
            return self.report(&reported, turn);
        }
        self.keep(&reported, turn)?;
        if let Some(kept) = turn.tx.messages().find(&message.key)? {
            turn.tx.newsletters().note(kept.id, chat.id, post.server_id)?;
        }
        Ok(())
    }

    /// A post of the past: kept, not reported; as it is shown.
    pub(super) fn keep_post(
        &self,
        newsletter: &Jid,
        post: &Post,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Value>, Error> {
        let chat = turn.tx.messages().chat(newsletter)?;
        // Where only numbers changed, nothing else is told.
        let known = match turn.tx.newsletters().message(chat.id, post.server_id)? {
            Some(row) if post.content.is_none() => turn.tx.messages().by_row(row)?,
            _ => None,
        };
        let key = MessageKey {
            chat: chat.id,
            // What nobody named goes by its number.
            wa_id: post.id.clone().unwrap_or_else(|| post.server_id.to_string()),
            from_me: post.own,
            participant: None,
        };
        let (key, at, content) = match known {
            Some(known) => (known.key, known.at, known.content),
            None => {
                let content = post.content.as_deref().and_then(read_content).unwrap_or_default();
                (key, Millis::from_secs(post.t), content)
            }
        };
        let message = NewMessage {
            key,
            uuid: fresh_uuid(turn),
            at,
            push_name: None,
            content,
            progress: if post.own { Progress::Sent } else { Progress::Pending },
        };
        let mut facts = PostFacts {
            server_id: post.server_id,
            views: post.views,
            reactions: post.reactions.clone().unwrap_or_default(),
        };
        if (post.id.is_some() || post.content.is_none()) && content::has_content(&message.content) {
            if let Some(row) = turn.tx.messages().insert(&message)? {
                file(row, &message.content, turn)?;
            }
            if let Some(kept) = turn.tx.messages().find(&message.key)? {
                turn.tx.newsletters().note(kept.id, chat.id, post.server_id)?;
                turn.tx.newsletters().count(kept.id, post.views, post.reactions.as_deref())?;
                facts = turn.tx.newsletters().facts(kept.id)?.unwrap_or(facts);
            }
        }
        let posted = Posted {
            key: &message.key,
            chat: &chat,
            author: newsletter,
            lid: None,
            at: message.at,
            push_name: None,
            content: &message.content,
        };
        let mut shown = incoming(&posted, &self.settings.public_url);
        if let Some(members) = shown.as_object_mut() {
            members.extend(numbers(&facts));
        }
        Ok(Some(shown))
    }

    /// One step for a send to a newsletter: nothing has to be known for it.
    pub(in crate::account) fn advance_post(
        &mut self,
        row: &Row,
        newsletter: &Jid,
        turn: &mut Turn<'_>,
    ) -> Result<bool, Error> {
        let (id, edit, says) = match content::kind(&row.content) {
            Kind::Edit { key, content } => {
                let id = key.id.unwrap_or_default();
                let says = said_anew(newsletter, &id, content, turn)?;
                (id, Some("3"), Some(says))
            }
            Kind::Revoke { key } => (key.id.unwrap_or_default(), Some("8"), None),
            _ => (row.wa_id.clone(), None, Some(row.content.clone())),
        };
        // Of what is taken back nothing is left to say: a text without content.
        let class = says.as_deref().map_or(Class::PLAIN, Class::of);
        let mut message = proto::Message::decode(says.as_deref().unwrap_or_default()).unwrap_or_default();
        // A secret that everybody is told keeps nothing.
        message.message_context_info = None;
        let post = Post {
            kind: class.kind.to_owned(),
            edit: edit.map(str::to_owned),
            mediatype: class.mediatype.map(str::to_owned),
            content: Some(message.encode_to_vec()),
            ..Post::default()
        };
        if self.write_node(row, &newsletter_post(newsletter, &id, &post), 0, turn)? {
            self.report_departure(row, newsletter, turn)?;
        }
        Ok(true)
    }

    /// The send that an ack of this id is of. A change of a post goes by the id of the post; of several that are under
    /// way, the server answers the one first that was written first.
    pub(in crate::account) fn acknowledged(
        &self,
        chat: &Jid,
        id: &str,
        turn: &Turn<'_>,
    ) -> Result<Option<Row>, Error> {
        let found = turn.tx.queue().find(id)?;
        if found.is_some() || !is_newsletter(chat) {
            return Ok(found);
        }
        let changes = |row: &Row| match content::kind(&row.content) {
            Kind::Edit { key, .. } | Kind::Revoke { key } => key.id.as_deref() == Some(id),
            _ => false,
        };
        Ok(turn.tx.queue().written_to(&chat.to_wire(), WINDOW)?.into_iter().find(changes))
    }

    /// The server has taken a post: the number that it gave it.
    pub(in crate::account) fn post_acked(&self, id: &str, node: &Node, turn: &Turn<'_>) -> Result<(), Error> {
        let Some(server_id) = node.number("server_id") else { return Ok(()) };
        let Some(message) = turn.tx.messages().find_own(id)? else { return Ok(()) };
        Ok(turn.tx.newsletters().note(message.id, message.key.chat, server_id)?)
    }
}

/// What a post says from now on. A picture, film or file stays what it is: another text is another caption.
fn said_anew(newsletter: &Jid, id: &str, edited: Vec<u8>, turn: &Turn<'_>) -> Result<Vec<u8>, Error> {
    let Some(chat) = turn.tx.messages().find_chat(newsletter)? else { return Ok(edited) };
    let Some(post) = turn.tx.messages().find_in_chat(chat.id, id)? else { return Ok(edited) };
    let captioned = content::media_type(&post.content).and_then(|_| content::text_of(&edited));
    let anew = captioned.and_then(|caption| content::retold(content::inner(&post.content), &caption));
    Ok(anew.unwrap_or(edited))
}

/// What is inside the wrappers of a post that makes sense.
fn read_content(bytes: &[u8]) -> Option<Vec<u8>> {
    if !proto::is_modest(bytes) || proto::Message::decode(bytes).is_err() {
        return None;
    }
    let unwrapped = content::unwrap(bytes)?;
    // Nobody's own device speaks through a newsletter.
    (!unwrapped.device_sent).then(|| unwrapped.content.into_owned())
}

fn protocol(kind: i32, key: WireKey, edited: Option<proto::Message>) -> Vec<u8> {
    let protocol = ProtocolMessage {
        r#type: Some(kind),
        key: Some(key),
        edited_message: edited.map(Box::new),
        ..Default::default()
    };
    proto::Message { protocol_message: Some(Box::new(protocol)), ..Default::default() }.encode_to_vec()
}
