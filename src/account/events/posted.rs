//! A message as the platform sees it (platform-webhooks.md §3.1); callers of the API see it the same way.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use crate::{
    account::{Attachment, content, sender_keys::in_chat},
    clock::Millis,
    proto,
    store::messages::{Chat, MessageKey},
    wire::Jid,
};

/// Largest message of a kind unknown here that is posted with its bytes; real ones have a few hundred.
const RAW_MAX: usize = 64 << 10;
/// The members of `message` that the platform always gets, null where absent.
const DOCUMENTED: [&str; 6] = [
    "conversation",
    "extendedTextMessage",
    "imageMessage",
    "videoMessage",
    "audioMessage",
    "documentMessage",
];

/// A message as the platform sees it.
pub(in crate::account) struct Posted<'a> {
    pub(in crate::account) key: &'a MessageKey,
    pub(in crate::account) chat: &'a Chat,
    /// By number where it is known; bare.
    pub(in crate::account) author: &'a Jid,
    /// The author's LID, if it is known; bare.
    pub(in crate::account) lid: Option<&'a Jid>,
    pub(in crate::account) at: Millis,
    pub(in crate::account) push_name: Option<&'a str>,
    pub(in crate::account) content: &'a [u8],
}

/// The platform's `incoming` (platform-webhooks.md §3.1).
pub(in crate::account) fn incoming(posted: &Posted<'_>, public_url: &str) -> Value {
    let Posted { chat, author, lid, content, .. } = *posted;
    let (id, from_me) = (&posted.key.wa_id, posted.key.from_me);
    let of_many = in_chat(&chat.jid);
    let mut key = Map::new();
    key.insert("remoteJid".into(), chat.jid.to_wire().into());
    key.insert("fromMe".into(), from_me.into());
    key.insert("id".into(), id.clone().into());
    if let Some(alt) = &chat.alt {
        key.insert("remoteJidAlt".into(), alt.to_wire().into());
    }
    if of_many {
        key.insert("participant".into(), author.to_wire().into());
        if let Some(lid) = lid.filter(|lid| *lid != author) {
            key.insert("participantAlt".into(), lid.to_wire().into());
        }
    }
    let mut body = json!({
        "remoteJid": chat.jid.to_wire(),
        "message": platform_message(content),
        "messageTimestamp": posted.at.secs(),
        "pushName": posted.push_name,
        "key": key,
        "participant": of_many.then(|| author.to_wire()),
        "isGroup": chat.jid.is_group(),
    });
    if let (Some(file), Some(members)) = (Attachment::of(content), body.as_object_mut()) {
        let media = json!({
            "id": id,
            "type": file.media_type,
            "mime_type": file.mimetype,
            "size": file.file_length,
            "filename": file.file_name,
            "url": format!("{public_url}/messages/{id}/media"),
        });
        members.insert("media".into(), media);
    }
    let unknown = content::unknown_members(content);
    if let (false, Some(members)) = (unknown.is_empty(), body.as_object_mut()) {
        let raw =
            Some(content).filter(|content| content.len() <= RAW_MAX).map(|raw| BASE64_STANDARD.encode(raw));
        members.insert("unknown".into(), json!({ "members": unknown, "raw": raw }));
    }
    if let (Some(invite), Some(members)) = (group_invite(content), body.as_object_mut()) {
        members.insert("group_invite".into(), invite);
    }
    if let (Some(album), Some(members)) = (content::album(content), body.as_object_mut()) {
        members.insert("album".into(), json!({ "id": album }));
    }
    body
}

/// The invitation that a message is, in the words of `POST /groups/join`.
pub(super) fn group_invite(content: &[u8]) -> Option<Value> {
    let invite = content::invitation(content)?;
    Some(json!({
        "group": invite.group.to_wire(),
        "code": invite.request.code,
        "expiration": invite.request.expiration,
        "group_name": invite.name,
        "caption": invite.caption,
    }))
}

/// `message` of the platform's `incoming`: the six documented members, null where absent, then whatever else there is.
fn platform_message(content: &[u8]) -> Value {
    let mut present = match proto::message_json(content::inner(content)) {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    };
    // Keys and bookkeeping, not content.
    present.remove("messageContextInfo");
    present.remove("senderKeyDistributionMessage");
    let mut message = Map::new();
    for name in DOCUMENTED {
        message.insert(name.into(), present.remove(name).unwrap_or(Value::Null));
    }
    message.extend(present);
    Value::Object(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_gets_the_six_documented_members_and_no_secrets() {
        let context = proto::MessageContextInfo { message_secret: Some(vec![9; 32]), ..Default::default() };
        let message = proto::Message {
            conversation: Some("Olá".into()),
            message_context_info: Some(context),
            ..Default::default()
        };
        let content = prost::Message::encode_to_vec(&message);
        assert_eq!(
            platform_message(&content),
            json!({
                "conversation": "Olá",
                "extendedTextMessage": null,
                "imageMessage": null,
                "videoMessage": null,
                "audioMessage": null,
                "documentMessage": null
            })
        );
    }
}
