//! What this companion and the account's other devices have to say to each other, the phone above all: it leaves through
//! the queue like any send, encrypted for one device alone; answers come as messages.

use std::time::Duration;

use prost::Message as _;

use super::{
    Error,
    content::{self, Unwrapped},
    dispatch::{Account, Turn},
    events::Reported,
    receive::fresh_uuid,
    send::message_id,
    sender_keys::in_chat,
};
use crate::{
    clock::Millis,
    proto::{
        self, WebMessageInfo,
        message::{
            PeerDataOperationRequestMessage, PeerDataOperationRequestResponseMessage, ProtocolMessage,
            peer_data_operation_request_message::PlaceholderMessageResendRequest,
        },
    },
    store::messages::{MessageKey, NewMessage, Progress},
    wire::Jid,
};

/// `ProtocolMessage.Type` PEER_DATA_OPERATION_REQUEST_MESSAGE.
const DATA_OPERATION: i32 = 16;
/// `PeerDataOperationRequestType` PLACEHOLDER_MESSAGE_RESEND.
const PLACEHOLDER_RESEND: i32 = 4;
/// Phones are not asked for what is older (whatsapp-rust 0.7 and Baileys 7).
const RESEND_HORIZON: Duration = Duration::from_secs(14 * 24 * 3600);

impl Account {
    /// Asks the phone something; the question's id.
    pub(super) fn ask_phone(
        &self,
        protocol: ProtocolMessage,
        turn: &mut Turn<'_>,
    ) -> Result<Option<String>, Error> {
        self.tell_own_device(0, protocol, turn)
    }

    /// Tells an own device something that is for it alone; the id. 0 is the phone.
    pub(super) fn tell_own_device(
        &self,
        device: u16,
        protocol: ProtocolMessage,
        turn: &mut Turn<'_>,
    ) -> Result<Option<String>, Error> {
        let Some(own) = self.own_pn() else { return Ok(None) };
        let id = message_id(own.user(), turn.now, turn.rng);
        let message = proto::Message { protocol_message: Some(Box::new(protocol)), ..Default::default() };
        let to = if device == 0 { own } else { own.with_device(device) };
        turn.tx.queue().push_peer(&id, &to, &message.encode_to_vec(), turn.now)?;
        Ok(Some(id))
    }

    /// The same for every other device of the account as far as they are known, the phone in any case; the ids.
    pub(super) fn tell_own_devices(
        &self,
        protocol: &ProtocolMessage,
        turn: &mut Turn<'_>,
    ) -> Result<Vec<String>, Error> {
        let Some(own) = self.own_address() else { return Ok(Vec::new()) };
        let known = turn.tx.people().devices(&own)?.map(|(devices, _)| devices).unwrap_or_default();
        let companions = known.into_iter().filter(|device| *device != 0 && *device != own.device());
        let mut ids = Vec::new();
        for device in std::iter::once(0).chain(companions) {
            ids.extend(self.tell_own_device(device, protocol.clone(), turn)?);
        }
        Ok(ids)
    }

    /// Asks the phone for a message that cannot be read here.
    pub(super) fn ask_phone_for(
        &self,
        key: &MessageKey,
        at: Millis,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(chat) = turn.tx.messages().chat_by_id(key.chat)? else { return Ok(()) };
        if turn.now.since(at) > RESEND_HORIZON {
            return Ok(());
        }
        let message_key = proto::MessageKey {
            remote_jid: Some(turn.tx.people().signal_address(&chat.jid)?.to_wire()),
            from_me: Some(key.from_me),
            id: Some(key.wa_id.clone()),
            participant: key.participant.as_ref().filter(|_| !key.from_me).map(Jid::to_wire),
        };
        let request = PeerDataOperationRequestMessage {
            peer_data_operation_request_type: Some(PLACEHOLDER_RESEND),
            placeholder_message_resend_request: vec![PlaceholderMessageResendRequest {
                message_key: Some(message_key),
            }],
            ..Default::default()
        };
        self.ask_phone(
            ProtocolMessage {
                r#type: Some(DATA_OPERATION),
                peer_data_operation_request_message: Some(request),
                ..Default::default()
            },
            turn,
        )?;
        Ok(())
    }

    /// The phone's answer: messages that could not be read here.
    pub(super) fn phone_answered(
        &self,
        answer: &PeerDataOperationRequestResponseMessage,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        if answer.peer_data_operation_request_type != Some(PLACEHOLDER_RESEND) {
            return Ok(());
        }
        for result in &answer.peer_data_operation_result {
            let resent = result.placeholder_message_resend_response.as_ref();
            let bytes = resent.and_then(|resent| resent.web_message_info_bytes.as_deref());
            match bytes.map(WebMessageInfo::decode) {
                Some(Ok(info)) => self.keep_resent(info, turn)?,
                Some(Err(error)) => tracing::warn!(%error, "a message that the phone sent again"),
                None => {}
            }
        }
        Ok(())
    }

    /// Stores and reports one message from the phone, if it is one that is missing here.
    pub(super) fn keep_resent(&self, info: WebMessageInfo, turn: &mut Turn<'_>) -> Result<(), Error> {
        let (Some(key), Some(own)) = (info.key, self.own_pn()) else { return Ok(()) };
        let with = key.remote_jid.as_deref().and_then(|jid| jid.parse::<Jid>().ok());
        let (Some(with), Some(id)) = (with, key.id) else { return Ok(()) };
        let Some(chat) = turn.tx.messages().find_chat(&with)? else { return Ok(()) };
        let from_me = key.from_me.unwrap_or(false);
        let participant = key.participant.or(info.participant).and_then(|jid| jid.parse::<Jid>().ok());
        let participant = participant.filter(|_| in_chat(&chat.jid));
        let Some(key) = turn.tx.queue().pending_key(chat.id, &id, from_me, participant.as_ref())? else {
            return Ok(());
        };
        // Without content: the phone could not read it either.
        let Some(message) =
            info.message.filter(|message| proto::is_modest(message) && content::has_content(message))
        else {
            return Ok(());
        };
        let Some(Unwrapped { content, .. }) = content::unwrap(&message) else { return Ok(()) };
        let sender = match (&key.participant, from_me) {
            (_, true) => own,
            (Some(participant), _) => participant.clone(),
            (None, _) => chat.jid.clone(),
        };
        turn.tx.queue().settle(&key)?;
        let message = NewMessage {
            uuid: fresh_uuid(turn),
            at: info.message_timestamp.map_or(turn.now, Millis::from_secs),
            push_name: info.push_name.filter(|_| !from_me),
            content: self.in_plain(content.into_owned(), &chat, &sender, turn)?,
            progress: if from_me { Progress::Sent } else { Progress::Pending },
            key,
        };
        self.keep(&Reported { message: &message, chat: &chat, sender: &sender }, turn)
    }
}
