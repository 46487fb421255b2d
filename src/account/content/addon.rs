//! Add-ons that travel encrypted with the secret of the message they are about: found in a message, opened, and given
//! the plain form that the same thing has where it travels openly, so that nothing after this has two forms to know.

use prost::Message as _;

use crate::{
    crypto::addon::{AddOn, Binding},
    proto::{
        self, Message, MessageKey,
        message::{
            CommentMessage, EventResponseMessage, PollCreationMessage, PollVoteMessage, ProtocolMessage,
            ReactionMessage,
        },
    },
};

/// `ProtocolMessage.Type` MESSAGE_EDIT.
const EDIT: i32 = 14;
/// Options that one vote may choose; no client lets a poll have more than some ten.
const MAX_CHOICES: usize = 1024;

/// An add-on as it came.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::account) struct Encrypted {
    pub(in crate::account) what: AddOn,
    /// The message it is about, as its sender sees it.
    pub(in crate::account) key: MessageKey,
    iv: Vec<u8>,
    payload: Vec<u8>,
    /// Milliseconds since 1970, by the sender's clock, where it is told openly.
    at_ms: Option<i64>,
}

/// An add-on that was opened.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::account) enum Opened {
    /// What a message would say that did the same openly, serialized.
    Plain(Vec<u8>),
    /// SHA-256 of each chosen option's name; none: withdrawn.
    Vote { options: Vec<[u8; 32]>, at_ms: Option<i64> },
    /// 1 going, 2 not going, 3 maybe; and how many come along.
    EventResponse { response: i32, guests: i32 },
}

impl Encrypted {
    /// The add-on in an unwrapped message, if it is one.
    pub(in crate::account) fn of(content: &[u8]) -> Option<Self> {
        let message = Message::decode(super::inner(content)).ok()?;
        let of =
            |what, key, iv, payload, at_ms| Some(Self { what, key: key?, iv: iv?, payload: payload?, at_ms });
        if let Some(update) = message.poll_update_message {
            let vote = update.vote?;
            let key = update.poll_creation_message_key;
            return of(AddOn::PollVote, key, vote.enc_iv, vote.enc_payload, update.sender_timestamp_ms);
        }
        let plain =
            [(AddOn::Reaction, message.enc_reaction_message), (AddOn::Comment, message.enc_comment_message)];
        for (what, add_on) in plain {
            if let Some(add_on) = add_on {
                return of(what, add_on.target_message_key, add_on.enc_iv, add_on.enc_payload, None);
            }
        }
        if let Some(answer) = message.enc_event_response_message {
            let key = answer.event_creation_message_key;
            return of(AddOn::EventResponse, key, answer.enc_iv, answer.enc_payload, None);
        }
        let secret = message.secret_encrypted_message?;
        let what = match secret.secret_enc_type? {
            1 => AddOn::EventEdit,
            2 => AddOn::MessageEdit,
            4 => AddOn::PollEdit,
            5 => AddOn::PollAddOption,
            _ => return None,
        };
        of(what, secret.target_message_key, secret.enc_iv, secret.enc_payload, None)
    }

    /// `None`: not opened by this secret and these names, or of no use.
    pub(in crate::account) fn open(&self, binding: &Binding<'_>) -> Option<Opened> {
        let bytes = binding.open(self.what, &self.iv, &self.payload)?;
        let key = Some(self.key.clone());
        // What is inside was not seen when the message around it was looked at.
        if !proto::is_modest(&bytes) {
            return None;
        }
        let plain = |message: Message| Some(Opened::Plain(message.encode_to_vec()));
        match self.what {
            AddOn::PollVote => {
                if super::Fields(&bytes).take(MAX_CHOICES + 1).count() > MAX_CHOICES {
                    return None;
                }
                let vote = PollVoteMessage::decode(&*bytes).ok()?;
                let options = vote.selected_options.iter().map(|hash| hash.as_slice().try_into().ok());
                Some(Opened::Vote { options: options.collect::<Option<_>>()?, at_ms: self.at_ms })
            }
            AddOn::EventResponse => {
                let answer = EventResponseMessage::decode(&*bytes).ok()?;
                Some(Opened::EventResponse {
                    response: answer.response.unwrap_or_default(),
                    guests: answer.extra_guest_count.unwrap_or_default(),
                })
            }
            AddOn::Reaction => {
                let reaction = ReactionMessage::decode(&*bytes).ok()?;
                plain(Message {
                    reaction_message: Some(ReactionMessage { key, ..reaction }),
                    ..Default::default()
                })
            }
            AddOn::Comment => {
                let comment = CommentMessage {
                    message: Some(Box::new(Message::decode(&*bytes).ok()?)),
                    target_message_key: key,
                };
                plain(Message { comment_message: Some(Box::new(comment)), ..Default::default() })
            }
            AddOn::EventEdit | AddOn::MessageEdit | AddOn::PollEdit => {
                let edit = Message::decode(&*bytes).ok()?;
                // An edit of a text is the protocol message itself; one of an event or a poll is the new event or poll.
                let protocol = match edit.protocol_message {
                    Some(protocol) if protocol.r#type == Some(EDIT) => ProtocolMessage { key, ..*protocol },
                    Some(_) => return None,
                    None => ProtocolMessage {
                        key,
                        r#type: Some(EDIT),
                        edited_message: Some(Box::new(edit)),
                        ..Default::default()
                    },
                };
                plain(Message { protocol_message: Some(Box::new(protocol)), ..Default::default() })
            }
            // Its content has no form in the published schemas; kept as it came.
            AddOn::PollAddOption => None,
        }
    }
}

/// The secret of a message, from which its add-ons' keys are derived; on whatever level of wrappers it stands.
pub(in crate::account) fn secret(message: &[u8]) -> Option<[u8; 32]> {
    super::context(message)?.message_secret?.try_into().ok()
}

/// The poll in a message.
pub(in crate::account) fn poll_of(content: &[u8]) -> Option<PollCreationMessage> {
    super::poll(&Message::decode(super::inner(content)).ok()?).cloned()
}
