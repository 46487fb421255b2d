//! What a phone and its companions have to say to each other: the phone answers what it is asked for.

use prost::Message as _;

use super::{
    AccountId, DeviceRef, Namespace, World,
    phone::{Kept, Received},
};
use crate::{
    clock::Millis,
    proto::{
        self, MessageKey, WebMessageInfo,
        message::{
            PeerDataOperationRequestResponseMessage, ProtocolMessage,
            peer_data_operation_request_response_message::{
                PeerDataOperationResult, PlaceholderMessageResendResponse,
            },
        },
    },
    stanza::Outgoing,
};

/// ProtocolMessage type PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE.
const RESPONSE: i32 = 17;
/// PeerDataOperationRequestType PLACEHOLDER_MESSAGE_RESEND.
const PLACEHOLDER_RESEND: i32 = 4;
/// PeerDataOperationRequestType HISTORY_SYNC_ON_DEMAND.
const HISTORY_ON_DEMAND: i32 = 3;
/// WebMessageInfo.Status SERVER_ACK.
const SERVER_ACK: i32 = 2;

impl World {
    /// From the phone to one of its companions; the id.
    pub(super) fn phone_tells(
        &mut self,
        companion: DeviceRef,
        what: ProtocolMessage,
        now: Millis,
    ) -> Option<String> {
        let message = proto::Message { protocol_message: Some(Box::new(what)), ..Default::default() };
        let bytes = message.encode_to_vec();
        let id = self.random_hex(16);
        let to = self.jid(companion, Namespace::Lid);
        let enc = self.phone_encrypts(companion.account, companion, bytes.clone(), now)?;
        let stanza = Outgoing { direct: Some(enc), ..Outgoing::peer(id.clone(), to.clone()) };
        let kept = Kept { to, message: bytes, peer: true, at: now };
        self.account_mut(companion.account).phone.keep_sent(&id, kept);
        self.says(DeviceRef { account: companion.account, device: 0 }, stanza.build());
        Some(id)
    }

    /// A companion asks. Baileys wraps its questions as copies of own messages.
    pub(super) fn phone_is_asked(
        &mut self,
        companion: DeviceRef,
        id: &str,
        message: proto::Message,
        now: Millis,
    ) {
        let message = match message.device_sent_message {
            Some(sent) => sent.message.map(|inner| *inner).unwrap_or_default(),
            None => message,
        };
        let Some(protocol) = message.protocol_message else { return };
        if let Some(share) = protocol.app_state_sync_key_share {
            return self.phone_takes_keys(companion.account, &share);
        }
        if let Some(request) = protocol.app_state_sync_key_request {
            return self.phone_shares_keys(companion, request, now);
        }
        let Some(request) = protocol.peer_data_operation_request_message else { return };
        if request.peer_data_operation_request_type == Some(HISTORY_ON_DEMAND) {
            let question = request.history_sync_on_demand_request.unwrap_or_default();
            return self.phone_tells_more(companion, id, &question, now);
        }
        if request.peer_data_operation_request_type != Some(PLACEHOLDER_RESEND) {
            return;
        }
        let keys = request.placeholder_message_resend_request.into_iter().filter_map(|one| one.message_key);
        let results = keys.map(|key| PeerDataOperationResult {
            placeholder_message_resend_response: Some(PlaceholderMessageResendResponse {
                web_message_info_bytes: self
                    .as_kept(companion.account, &key)
                    .map(|info| info.encode_to_vec()),
            }),
        });
        let response = PeerDataOperationRequestResponseMessage {
            peer_data_operation_request_type: Some(PLACEHOLDER_RESEND),
            stanza_id: Some(id.to_owned()),
            peer_data_operation_result: results.collect(),
        };
        let answer = ProtocolMessage {
            r#type: Some(RESPONSE),
            peer_data_operation_request_response_message: Some(response),
            ..Default::default()
        };
        self.phone_tells(companion, answer, now);
    }

    /// A message as this phone keeps it, if it has it; names are by number, as phones answer.
    fn as_kept(&self, phone: AccountId, key: &MessageKey) -> Option<WebMessageInfo> {
        let id = key.id.as_ref()?;
        let account = self.account(phone);
        let by_number = |jid: &crate::wire::Jid| match self.resolve(jid) {
            Some(device) => self.jid(DeviceRef { device: 0, ..device }, Namespace::Pn).to_wire(),
            None => jid.bare().to_wire(),
        };
        let received = account.phone.inbox.iter().rev().find(|message| message.id == *id);
        let (chat, from_me, t, message, name, author) = match (received, account.phone.sent.get(id)) {
            (Some(Received { chat, sender, from_me, t, message, .. }), _) => {
                let name = self.resolve(sender).map(|sender| self.account(sender.account).name.clone());
                let author = (!chat.is_user() && !from_me).then(|| by_number(sender));
                (by_number(chat), *from_me, *t, message.clone(), name, author)
            }
            (None, Some(kept)) if !kept.peer => {
                (by_number(&kept.to), true, kept.at.secs(), kept.message.clone(), None, None)
            }
            (None, _) => return None,
        };
        Some(WebMessageInfo {
            key: Some(MessageKey {
                remote_jid: Some(chat),
                from_me: Some(from_me),
                id: Some(id.clone()),
                participant: author,
            }),
            message: Some(message),
            message_timestamp: Some(t),
            status: Some(SERVER_ACK),
            push_name: name,
            ..Default::default()
        })
    }
}
