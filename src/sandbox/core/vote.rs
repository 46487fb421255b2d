//! A phone's user votes: the choice is encrypted with the secret that came with the poll.

use prost::Message as _;
use rand::Rng as _;

use super::{AccountId, Namespace, OperateError, World};
use crate::{
    clock::Millis,
    crypto::addon::{AddOn, Binding, option_hash},
    proto::{
        self, MessageKey,
        message::{PollEncValue, PollUpdateMessage, PollVoteMessage},
    },
    wire::Jid,
};

impl World {
    pub(super) fn vote(
        &mut self,
        phone: AccountId,
        to: &Jid,
        poll: &str,
        options: &[String],
        now: Millis,
    ) -> Result<proto::Message, OperateError> {
        let mut iv = [0; 12];
        self.rng.fill_bytes(&mut iv);
        let account = self.account(phone);
        let received = account.phone.inbox.iter().rev().find(|message| message.id == poll);
        let (author, bytes) = match (received, account.phone.sent.get(poll)) {
            (Some(message), _) => (message.sender.bare(), &message.message),
            (None, Some(kept)) => (account.jid(Namespace::of(&kept.to), 0), &kept.message),
            (None, None) => return Err(OperateError::NoSuchMessage),
        };
        let message = proto::Message::decode(bytes.as_slice()).unwrap_or_default();
        let forms = [
            &message.poll_creation_message,
            &message.poll_creation_message_v2,
            &message.poll_creation_message_v3,
        ];
        let Some(creation) = forms.into_iter().find_map(Option::as_ref) else {
            return Err(OperateError::BadRequest("vote: that message is no poll"));
        };
        let known = |name: &String| creation.options.iter().any(|one| one.option_name.as_ref() == Some(name));
        if !options.iter().all(known) {
            return Err(OperateError::BadRequest("vote: no such option"));
        }
        let secret = message.message_context_info.and_then(|context| context.message_secret);
        let Some(secret) = secret.and_then(|secret| <[u8; 32]>::try_from(secret).ok()) else {
            return Err(OperateError::BadRequest("vote: that poll came without its secret"));
        };
        let vote = PollVoteMessage {
            selected_options: options.iter().map(|name| option_hash(name).to_vec()).collect(),
        };
        let own = account.jid(Namespace::of(&author), 0);
        let key = MessageKey {
            remote_jid: Some(to.bare().to_wire()),
            from_me: Some(author == own),
            id: Some(poll.to_owned()),
            participant: None,
        };
        let (author, modifier) = (author.to_wire(), own.to_wire());
        let binding = Binding { secret: &secret, id: poll, author: &author, modifier: &modifier };
        Ok(proto::Message {
            poll_update_message: Some(PollUpdateMessage {
                poll_creation_message_key: Some(key),
                vote: Some(PollEncValue {
                    enc_payload: Some(binding.seal(AddOn::PollVote, iv, &vote.encode_to_vec())),
                    enc_iv: Some(iv.to_vec()),
                }),
                sender_timestamp_ms: i64::try_from(now.0).ok(),
            }),
            ..Default::default()
        })
    }
}
