//! What a phone tells its companions of the past (protocol 04, 6.3 and 7): to a new one in the order in which real phones
//! do, chunk by chunk, the next one when the last was acknowledged; and older messages to whoever asks for them.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::{
    AccountId, DeviceRef, Effect, Namespace, OperateError, World,
    past::{MAX_CHATS, MAX_MESSAGES, Past},
    phone::Received,
    phone_life::deflate,
};
use crate::{
    clock::Millis,
    crypto::media::{self, Encryptor, MediaKeys, MediaKind, Sidecar},
    proto::{
        self, Conversation, HistorySync, HistorySyncMsg, MessageKey, PhoneNumberToLidMapping, Reaction,
        WebMessageInfo,
        history_sync::Pushname,
        message::{
            HistorySyncNotification, ProtocolMessage,
            peer_data_operation_request_message::HistorySyncOnDemandRequest,
        },
    },
    stanza::history::{
        FULL, INITIAL_BOOTSTRAP, INITIAL_STATUS, NON_BLOCKING_DATA, ON_DEMAND, PUSH_NAME, RECENT,
    },
    wire::Jid,
};

/// ProtocolMessage type HISTORY_SYNC_NOTIFICATION.
const NOTIFICATION: i32 = 5;
/// WebMessageInfo: status SERVER_ACK, and the stub type of what was taken back.
const SERVER_ACK: i32 = 2;
const REVOKED: i32 = 1;
/// Compressed payloads up to this travel inside the notification, if the companion can read them there. What real phones
/// take is not known; it has to fit a stanza.
const INLINE: usize = 16 << 10;
/// The first message of the script: so many chats with so many messages each.
const INITIAL_CHATS: u32 = 200;
const INITIAL_MESSAGES: u32 = 30;
/// Messages and chats of a chunk.
const CHUNK_MESSAGES: u32 = 4_000;
const CHUNK_CHATS: usize = 400;
/// Messages of one answer at most.
const ON_DEMAND_MOST: u32 = 500;
/// Below this, a time that should be in milliseconds is in seconds (protocol 04, 6.1).
const FIRST_MILLIS: i64 = 100_000_000_000;

/// What of the script comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    #[default]
    Keys,
    Initial,
    Names,
    Statuses,
    Recent(Place),
    Full(Place),
    Rest,
    Done,
}

/// How far the chunks of one type have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    chunk: u32,
    chat: u32,
    /// Of that chat, counted from the newest.
    message: u32,
    sent: u64,
}

/// Chats of a phone in an order that stays: what was made up, then what really happened.
struct Threads {
    past: Option<Past>,
    real: Vec<(Jid, Vec<WebMessageInfo>)>,
}

impl Threads {
    fn len(&self) -> u32 {
        self.made_up() + u32::try_from(self.real.len()).unwrap_or(u32::MAX / 2)
    }

    fn made_up(&self) -> u32 {
        self.past.map_or(0, |past| past.chats)
    }

    fn real(&self, chat: u32) -> Option<&(Jid, Vec<WebMessageInfo>)> {
        self.real.get(usize::try_from(chat.checked_sub(self.made_up())?).ok()?)
    }

    fn count(&self, chat: u32) -> u32 {
        match (self.past.filter(|past| chat < past.chats), self.real(chat)) {
            (Some(past), _) => past.count(chat),
            (None, Some((_, messages))) => u32::try_from(messages.len()).unwrap_or(u32::MAX),
            (None, None) => 0,
        }
    }

    /// How many of a chat's newest messages are in the first message.
    fn initial(&self, chat: u32) -> u32 {
        let first = chat < INITIAL_CHATS || chat >= self.made_up();
        if first { INITIAL_MESSAGES.min(self.count(chat)) } else { 0 }
    }

    /// The messages of a chat that chunks of a type hold.
    fn range(&self, chat: u32, full: bool) -> (u32, u32) {
        let (initial, count) = (self.initial(chat), self.count(chat));
        let recent = self.past.map_or(u32::MAX, |past| past.recent).clamp(initial, count.max(initial));
        if full { (recent, count) } else { (initial, recent) }
    }

    fn total(&self, full: bool) -> u64 {
        let each = (0..self.len()).map(|chat| self.range(chat, full));
        each.map(|(from, to)| u64::from(to.saturating_sub(from))).sum()
    }
}

impl World {
    /// What a companion that is linked later is told of the past. No chats: nothing but what really happened.
    pub(crate) fn set_past(
        &mut self,
        phone: AccountId,
        chats: u32,
        messages: u32,
        groups: u32,
        recent: u32,
        now: Millis,
    ) -> Result<(), OperateError> {
        if chats > MAX_CHATS || messages > MAX_MESSAGES {
            return Err(OperateError::BadRequest("at most 100000 chats and 5000000 messages"));
        }
        if groups > chats || (chats == 0 && messages > 0) {
            return Err(OperateError::BadRequest("groups: no more than chats; messages: only in chats"));
        }
        let seed = u64::from(rand::Rng::next_u32(&mut self.rng));
        let past = Past { chats, messages, groups, recent, seed, at: now.secs() };
        self.account_mut(phone).phone.past = (chats > 0).then_some(past);
        Ok(())
    }

    /// The next message of the script, and what comes after it; `None` at its end.
    pub(super) fn next_history(
        &mut self,
        device: DeviceRef,
        stage: Stage,
    ) -> Option<(ProtocolMessage, Stage)> {
        let threads = self.threads(device.account);
        let full = self.device(device).is_some_and(|known| known.full_history);
        match stage {
            Stage::Keys | Stage::Done => None,
            Stage::Initial => {
                let trust = &self.account(device.account).trust;
                let nct_salt = trust.salt.clone().filter(|_| trust.scenario().nct_history_delivery);
                let history = HistorySync {
                    nct_salt,
                    conversations: (0..threads.len())
                        .filter(|chat| threads.initial(*chat) > 0)
                        .map(|chat| self.conversation(device, &threads, chat, 0, threads.initial(chat)))
                        .collect(),
                    phone_number_to_lid_mappings: self.mappings(device.account),
                    ..blank(INITIAL_BOOTSTRAP, 1, None)
                };
                Some((self.tell_history(device, &history, None), Stage::Names))
            }
            Stage::Names => {
                let history =
                    HistorySync { pushnames: self.names(device.account), ..blank(PUSH_NAME, 1, None) };
                let statuses = !self.statuses(device.account).is_empty();
                let next = if statuses { Stage::Statuses } else { Stage::Recent(Place::default()) };
                Some((self.tell_history(device, &history, None), next))
            }
            Stage::Statuses => {
                let history = HistorySync {
                    status_v3_messages: self.statuses(device.account),
                    ..blank(INITIAL_STATUS, 1, None)
                };
                Some((self.tell_history(device, &history, None), Stage::Recent(Place::default())))
            }
            Stage::Recent(place) => {
                let (message, more) = self.chunk(device, &threads, place, false);
                let next = match more {
                    Some(place) => Stage::Recent(place),
                    None if full => Stage::Full(Place::default()),
                    None => Stage::Rest,
                };
                Some((message, next))
            }
            Stage::Full(place) => {
                let (message, more) = self.chunk(device, &threads, place, true);
                Some((message, more.map_or(Stage::Rest, Stage::Full)))
            }
            Stage::Rest => {
                // Calls and stickers; there are none.
                threads.past?;
                let history = blank(NON_BLOCKING_DATA, 1, None);
                Some((self.tell_history(device, &history, None), Stage::Done))
            }
        }
    }

    /// One chunk of chats with older messages, and where the next begins.
    fn chunk(
        &mut self,
        device: DeviceRef,
        threads: &Threads,
        mut place: Place,
        full: bool,
    ) -> (ProtocolMessage, Option<Place>) {
        let total = threads.total(full);
        let (mut conversations, mut left) = (Vec::new(), CHUNK_MESSAGES);
        while place.chat < threads.len() && left > 0 && conversations.len() < CHUNK_CHATS {
            let (from, to) = threads.range(place.chat, full);
            let from = from.max(place.message);
            let end = to.min(from.saturating_add(left));
            if from < end {
                conversations.push(self.conversation(device, threads, place.chat, from, end));
                left -= end - from;
                place.sent += u64::from(end - from);
            }
            if end >= to {
                (place.chat, place.message) = (place.chat + 1, 0);
            } else {
                place.message = end;
            }
        }
        place.chunk += 1;
        let last = place.sent >= total || place.chat >= threads.len();
        // 100 says that it was all.
        let percent = if last { 100 } else { (place.sent * 100 / total.max(1)).min(99) };
        let kind = if full { FULL } else { RECENT };
        let history = HistorySync {
            conversations,
            ..blank(kind, place.chunk, Some(u32::try_from(percent).unwrap_or(100)))
        };
        (self.tell_history(device, &history, None), (!last).then_some(place))
    }

    /// The notification of a payload, which travels inside it or by way of the media server.
    fn tell_history(
        &mut self,
        device: DeviceRef,
        history: &HistorySync,
        request: Option<(&str, bool)>,
    ) -> ProtocolMessage {
        let payload = deflate(&history.encode_to_vec());
        let times = history.conversations.iter().flat_map(|chat| &chat.messages);
        let oldest = times.filter_map(|entry| entry.message.as_ref()?.message_timestamp).min();
        let mut notification = HistorySyncNotification {
            sync_type: Some(history.sync_type),
            chunk_order: history.chunk_order,
            progress: history.progress,
            oldest_msg_in_chunk_timestamp_sec: oldest.and_then(|t| i64::try_from(t).ok()),
            peer_data_request_session_id: request.map(|(id, _)| id.to_owned()),
            ..Default::default()
        };
        let inline = match request {
            Some((_, inline)) => inline,
            None => self.device(device).is_some_and(|known| known.inline_history),
        };
        if inline && payload.len() <= INLINE {
            notification.initial_hist_bootstrap_inline_payload = Some(payload);
        } else {
            let media_key = media::new_media_key(&mut self.rng);
            let keys = MediaKeys::derive(&media_key, MediaKind::History);
            let mut encryptor = Encryptor::new(&keys, Sidecar::Off);
            let mut blob = Vec::new();
            encryptor.update(&payload, &mut blob);
            let encrypted = encryptor.finish(&mut blob);
            let name = self.random_hex(4);
            let path = super::direct_path(MediaKind::History.path_word(), &encrypted.file_enc_sha256, &name);
            notification.file_sha256 = Some(encrypted.file_sha256.to_vec());
            notification.file_length = Some(encrypted.file_length);
            notification.media_key = Some(media_key.to_vec());
            notification.file_enc_sha256 = Some(encrypted.file_enc_sha256.to_vec());
            notification.direct_path = Some(path);
            self.effects.push(Effect::Keep(blob));
        }
        ProtocolMessage {
            r#type: Some(NOTIFICATION),
            history_sync_notification: Some(notification),
            ..Default::default()
        }
    }

    /// A companion asks for older messages of a chat.
    pub(super) fn phone_tells_more(
        &mut self,
        companion: DeviceRef,
        id: &str,
        request: &HistorySyncOnDemandRequest,
        now: Millis,
    ) {
        let threads = self.threads(companion.account);
        let jid = request.chat_jid.as_deref().and_then(|jid| jid.parse::<Jid>().ok());
        let chat = jid.and_then(|jid| {
            let real = || threads.real.iter().position(|(chat, _)| self.same_chat(chat, &jid));
            let made_up = threads.past.and_then(|past| past.find(&jid.bare()));
            made_up.or_else(|| Some(threads.made_up() + u32::try_from(real()?).ok()?))
        });
        let mut history = blank(ON_DEMAND, 1, Some(100));
        if let Some(chat) = chat {
            let times = |n: u32| match (threads.past.filter(|past| chat < past.chats), threads.real(chat)) {
                (Some(past), _) => (past.id(chat, n), past.time(chat, n)),
                (None, real) => {
                    let message = real.and_then(|(_, all)| all.get(usize::try_from(n).ok()?));
                    let id = message.and_then(|info| info.key.as_ref()?.id.clone());
                    (id.unwrap_or_default(), message.and_then(|info| info.message_timestamp).unwrap_or(0))
                }
            };
            let before = request.oldest_msg_timestamp_ms.unwrap_or(i64::MAX);
            let before = if before < FIRST_MILLIS { before } else { before / 1000 };
            let before = u64::try_from(before).unwrap_or(0);
            let known = request.oldest_msg_id.as_deref().unwrap_or_default();
            let count = threads.count(chat);
            // Behind the message that was named; where that is unknown, by its time.
            let named = (0..count).find(|n| times(*n).0 == known).map(|n| n + 1);
            let from = named.or_else(|| (0..count).find(|n| times(*n).1 < before)).unwrap_or(count);
            let most = request.on_demand_msg_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(50);
            let to = count.min(from.saturating_add(most.clamp(1, ON_DEMAND_MOST)));
            let mut conversation = self.conversation(companion, &threads, chat, from, to);
            // 2: more remain, 1: that was all.
            conversation.end_of_history_transfer_type = Some(if to < count { 2 } else { 1 });
            history.conversations.push(conversation);
        }
        let inline = request.support_inline_response == Some(true);
        let message = self.tell_history(companion, &history, Some((id, inline)));
        self.phone_tells(companion, message, now);
    }

    /// The phone announces a piece of history, whatever it is; the id.
    pub(crate) fn announce(
        &mut self,
        phone: AccountId,
        companion: DeviceRef,
        notification: HistorySyncNotification,
        now: Millis,
    ) -> Result<String, OperateError> {
        if companion.account != phone {
            return Err(OperateError::NoSuchDevice);
        }
        let message = ProtocolMessage {
            r#type: Some(NOTIFICATION),
            history_sync_notification: Some(notification),
            ..Default::default()
        };
        let id = self.phone_tells(companion, message, now);
        self.settle(now);
        id.ok_or(OperateError::Conflict("the companion has no keys"))
    }

    fn same_chat(&self, one: &Jid, other: &Jid) -> bool {
        one == other
            || matches!((self.resolve(one), self.resolve(other)), (Some(a), Some(b)) if a.account == b.account)
    }

    fn conversation(
        &self,
        device: DeviceRef,
        threads: &Threads,
        chat: u32,
        from: u32,
        to: u32,
    ) -> Conversation {
        if let Some(past) = threads.past.filter(|past| chat < past.chats) {
            return past.conversation(chat, from, to);
        }
        let Some((jid, messages)) = threads.real(chat) else { return Conversation::default() };
        let index = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let part = messages.get(index(from)..index(to)).unwrap_or_default();
        let newest = messages.first().and_then(|info| info.message_timestamp);
        let incoming =
            |info: &&WebMessageInfo| info.key.as_ref().is_some_and(|key| key.from_me != Some(true));
        let unread = messages.iter().take_while(incoming).count();
        let more = index(to) < messages.len();
        let person = self.resolve(jid).filter(|_| jid.is_user());
        let name = match person {
            // Whoever is not in the address book has no name but the one it gives itself.
            Some(person) => self.account(person.account).name.clone(),
            None => self.group_view(jid).map(|group| group.subject).unwrap_or_default(),
        };
        let (came, issued) = match person.filter(|person| person.account != device.account) {
            Some(person) => self.tokens_between(device.account, person.account),
            None => (None, None),
        };
        let (token_at, token) = came.unzip();
        Conversation {
            tc_token: token,
            tc_token_timestamp: token_at,
            tc_token_sender_timestamp: issued,
            id: Some(jid.to_wire()),
            messages: part
                .iter()
                .map(|info| HistorySyncMsg { message: Some(info.clone()), msg_order_id: None })
                .collect(),
            last_msg_timestamp: newest,
            unread_count: u32::try_from(unread).ok().filter(|_| device.device > 0),
            end_of_history_transfer: Some(!more),
            end_of_history_transfer_type: Some(i32::from(!more)),
            conversation_timestamp: newest,
            name: Some(name).filter(|name| !name.is_empty()),
            lid_jid: person.map(|person| self.account(person.account).jid(Namespace::Lid, 0).to_wire()),
            ..Default::default()
        }
    }

    /// Everything that a phone keeps of its chats, statuses left out; messages newest first.
    fn threads(&self, phone: AccountId) -> Threads {
        let account = self.account(phone);
        let mut order: Vec<Jid> = Vec::new();
        let mut chats: BTreeMap<String, Vec<(u64, Received)>> = BTreeMap::new();
        let mut known = BTreeSet::new();
        let own = account.jid(Namespace::Pn, 0);
        let sent = account.phone.sent.iter().filter(|(_, kept)| !kept.peer).map(|(id, kept)| Received {
            id: id.clone(),
            chat: kept.to.clone(),
            sender: own.clone(),
            sender_device: 0,
            from_me: true,
            t: kept.at.secs(),
            message: kept.message.clone(),
        });
        for message in account.phone.inbox.iter().cloned().chain(sent) {
            let chat = self.by_number(&message.chat);
            if chat.is_status() || !known.insert(message.id.clone()) {
                continue;
            }
            let thread = chats.entry(chat.to_wire()).or_default();
            if thread.is_empty() {
                order.push(chat);
            }
            thread.push((message.t, message));
        }
        let real = order.into_iter().map(|chat| {
            let mut thread = chats.remove(&chat.to_wire()).unwrap_or_default();
            thread.sort_by_key(|(t, _)| *t);
            let messages = self.folded(&chat, thread.into_iter().map(|(_, message)| message));
            (chat, messages)
        });
        Threads { past: account.phone.past, real: real.collect() }
    }

    fn by_number(&self, jid: &Jid) -> Jid {
        match self.resolve(jid) {
            Some(device) => self.account(device.account).jid(Namespace::Pn, 0),
            None => jid.bare(),
        }
    }

    /// As phones keep a chat: reactions, edits and deletions stand with the message that they are about.
    fn folded(&self, chat: &Jid, thread: impl Iterator<Item = Received>) -> Vec<WebMessageInfo> {
        let mut messages: Vec<WebMessageInfo> = Vec::new();
        let mut about = Vec::new();
        for received in thread {
            let Ok(content) = proto::Message::decode(received.message.as_slice()) else { continue };
            let info = self.as_info(chat, &received);
            if content.reaction_message.is_some() || content.protocol_message.is_some() {
                // Within one second the order of what was sent and what was received is not known.
                about.push((info, content));
            } else {
                messages.push(info);
            }
        }
        for (info, content) in about {
            let find = |messages: &mut Vec<WebMessageInfo>, key: Option<&MessageKey>| {
                let id = key?.id.as_deref()?.to_owned();
                messages.iter().position(|m| m.key.as_ref().and_then(|k| k.id.as_deref()) == Some(&*id))
            };
            if let Some(reaction) = content.reaction_message {
                let at = find(&mut messages, reaction.key.as_ref());
                if let Some(target) = at.and_then(|at| messages.get_mut(at)) {
                    let by = info.key.as_ref().map(|key| (key.from_me, key.participant.clone()));
                    let same =
                        |r: &Reaction| r.key.as_ref().map(|k| (k.from_me, k.participant.clone())) == by;
                    target.reactions.retain(|earlier| !same(earlier));
                    if reaction.text.as_deref().is_some_and(|text| !text.is_empty()) {
                        target.reactions.push(Reaction {
                            key: info.key,
                            text: reaction.text,
                            grouping_key: reaction.grouping_key,
                            sender_timestamp_ms: reaction.sender_timestamp_ms,
                        });
                    }
                }
                continue;
            }
            if let Some(protocol) = content.protocol_message {
                let at = find(&mut messages, protocol.key.as_ref());
                if let Some(target) = at.and_then(|at| messages.get_mut(at)) {
                    match (protocol.r#type, protocol.edited_message) {
                        (Some(14), Some(edited)) => target.message = Some(edited.encode_to_vec()),
                        (None | Some(0), _) => {
                            (target.message, target.message_stub_type) = (None, Some(REVOKED));
                        }
                        _ => {}
                    }
                }
            }
        }
        messages.reverse();
        messages
    }

    fn as_info(&self, chat: &Jid, received: &Received) -> WebMessageInfo {
        let author = (!chat.is_user() && !received.from_me).then(|| received.sender.bare().to_wire());
        let sender = self.resolve(&received.sender).filter(|_| !received.from_me);
        WebMessageInfo {
            key: Some(MessageKey {
                remote_jid: Some(chat.to_wire()),
                from_me: Some(received.from_me),
                id: Some(received.id.clone()),
                participant: author.clone(),
            }),
            message: Some(received.message.clone()),
            message_timestamp: Some(received.t),
            status: received.from_me.then_some(SERVER_ACK),
            participant: author,
            push_name: sender.map(|sender| self.account(sender.account).name.clone()),
            ..Default::default()
        }
    }

    fn statuses(&self, phone: AccountId) -> Vec<WebMessageInfo> {
        let inbox = self.account(phone).phone.inbox.iter().filter(|message| message.chat.is_status());
        let mut all: Vec<WebMessageInfo> = inbox.map(|one| self.as_info(&one.chat, one)).collect();
        all.reverse();
        all
    }

    /// Who is who, of everybody the phone knows.
    fn mappings(&self, phone: AccountId) -> Vec<PhoneNumberToLidMapping> {
        let account = self.account(phone);
        let mapping = |pn: &Jid, lid: &Jid| PhoneNumberToLidMapping {
            pn_jid: Some(pn.to_wire()),
            lid_jid: Some(lid.to_wire()),
        };
        let known = account.peers.iter().copied().chain([phone]).map(|id| {
            let of = self.account(id);
            mapping(&of.jid(Namespace::Pn, 0), &of.jid(Namespace::Lid, 0))
        });
        let past = account.phone.past;
        let made_up = past.into_iter().flat_map(|past| {
            (0..past.chats).map(move |n| {
                let (pn, lid) = past.person(n);
                mapping(&pn, &lid)
            })
        });
        known.chain(made_up).collect()
    }

    /// As people call themselves; the account among them.
    fn names(&self, phone: AccountId) -> Vec<Pushname> {
        let account = self.account(phone);
        let known = std::iter::once(phone).chain(account.peers.iter().copied()).map(|id| {
            let of = self.account(id);
            (of.jid(Namespace::Pn, 0), of.name.clone())
        });
        let past = account.phone.past;
        let made_up =
            past.into_iter().flat_map(|past| (0..past.chats).map(move |n| (past.person(n).0, past.name(n))));
        let named = |(jid, name): (Jid, String)| Pushname { id: Some(jid.to_wire()), pushname: Some(name) };
        known.chain(made_up).map(named).collect()
    }
}

fn blank(sync_type: i32, chunk: u32, progress: Option<u32>) -> HistorySync {
    HistorySync { sync_type, chunk_order: Some(chunk), progress, ..Default::default() }
}
