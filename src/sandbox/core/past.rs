//! A past that never was: chats and messages of any number, each made when it is asked for, and always the same from one
//! seed. Nothing of it is kept but the few numbers that it is made of.

use prost::Message as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    proto::{
        self, Conversation, HistorySyncMsg, MessageContextInfo, MessageKey, PollUpdate, Reaction,
        UserReceipt, WebMessageInfo,
        message::{
            ExtendedTextMessage, ImageMessage, LocationMessage, PollCreationMessage, PollVoteMessage,
            poll_creation_message,
        },
    },
    wire::Jid,
};

/// Chats and messages of one phone at most.
pub(crate) const MAX_CHATS: u32 = 100_000;
pub(crate) const MAX_MESSAGES: u32 = 5_000_000;
/// Between two messages of a chat, in seconds, where there is room for it.
const STEP: u64 = 3_600;
/// Between the newest messages of two chats.
const APART: u64 = 60;
/// People of a group besides the owner of the phone.
const MEMBERS: u32 = 3;
/// Of an unread chat.
const UNREAD: u32 = 3;
const FIRST: [&str; 8] = ["Ana", "Bruno", "Carla", "Davi", "Elisa", "Fabio", "Gabi", "Hugo"];
const LAST: [&str; 7] = ["Alves", "Barros", "Costa", "Dias", "Esteves", "Freitas", "Gomes"];
const WORDS: [&str; 10] =
    ["bom", "dia", "amanhã", "pedido", "chegou", "obrigado", "entrega", "preço", "hoje", "às 15h"];

/// What a past is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Past {
    pub(crate) chats: u32,
    /// Of all chats together.
    pub(crate) messages: u32,
    /// Of the chats.
    pub(crate) groups: u32,
    /// Newest messages a chat that every companion is sent; the rest only who asks for everything.
    pub(crate) recent: u32,
    pub(crate) seed: u64,
    /// Unix seconds of its end.
    pub(crate) at: u64,
}

impl Past {
    fn draw(&self, chat: u32, message: u32) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.seed.to_be_bytes())
            .chain_update(chat.to_be_bytes())
            .chain_update(message.to_be_bytes())
            .finalize()
            .into()
    }

    /// Messages of a chat.
    pub(crate) fn count(&self, chat: u32) -> u32 {
        let chats = self.chats.max(1);
        self.messages / chats + u32::from(chat < self.messages % chats)
    }

    fn is_group(&self, chat: u32) -> bool {
        let before = |n: u32| u64::from(n) * u64::from(self.groups) / u64::from(self.chats.max(1));
        before(chat) != before(chat + 1)
    }

    /// Different for each, and of an area that no phone of the sandbox is given.
    pub(crate) fn person(&self, n: u32) -> (Jid, Jid) {
        let scatter = |by: u64, modulus: u64| (u64::from(n) * by + self.seed % modulus) % modulus;
        let pn = Jid::pn(format!("55990{:08}", scatter(7_919, 100_000_000)));
        let lid = Jid::lid(format!("88{:012}", scatter(6_700_417, 1_000_000_000_000)));
        (pn, lid)
    }

    pub(crate) fn name(&self, n: u32) -> String {
        let [a, b, ..] = self.draw(n, u32::MAX);
        let pick = |from: &[&'static str], by: u8| from.get(usize::from(by) % from.len()).copied();
        format!("{} {} {n}", pick(&FIRST, a).unwrap_or_default(), pick(&LAST, b).unwrap_or_default())
    }

    /// As the phone addresses a chat: some people by number, some by hidden identity.
    pub(crate) fn jid(&self, chat: u32) -> Jid {
        if self.is_group(chat) {
            return Jid::group(format!("1203630{:011}", (self.seed % 1_000_000) * 100_000 + u64::from(chat)));
        }
        let (pn, lid) = self.person(chat);
        if chat % 3 == 1 { lid } else { pn }
    }

    /// The chat of that name.
    pub(crate) fn find(&self, jid: &Jid) -> Option<u32> {
        (0..self.chats).find(|chat| {
            let (pn, lid) = self.person(*chat);
            if self.is_group(*chat) { self.jid(*chat) == *jid } else { pn == *jid || lid == *jid }
        })
    }

    fn unread(&self, chat: u32) -> u32 {
        if chat % 5 == 2 { UNREAD.min(self.count(chat)) } else { 0 }
    }

    /// When a message was sent; 0 is the newest.
    pub(crate) fn time(&self, chat: u32, message: u32) -> u64 {
        let step = (self.at / 2 / u64::from(self.count(chat).max(1))).clamp(1, STEP);
        let back = 1 + u64::from(chat) * APART + u64::from(message) * step;
        self.at.saturating_sub(back).max(1)
    }

    pub(crate) fn id(&self, chat: u32, message: u32) -> String {
        let [a, b, c, d, e, f, g, h, i, ..] = self.draw(chat, message);
        format!("3EB0{}", hex::encode_upper([a, b, c, d, e, f, g, h, i]))
    }

    /// A chat with some of its messages: from one, counted from the newest, to another, which is left out.
    pub(crate) fn conversation(&self, chat: u32, from: u32, to: u32) -> Conversation {
        let jid = self.jid(chat);
        let (pn, lid) = self.person(chat);
        let group = jid.is_group();
        let more = to < self.count(chat);
        let newest = self.time(chat, 0);
        let muted = self.at.saturating_add(365 * 24 * 3600).saturating_mul(1000);
        Conversation {
            id: Some(jid.to_wire()),
            messages: (from..to).map(|n| self.entry(chat, n)).collect(),
            last_msg_timestamp: Some(newest),
            unread_count: Some(self.unread(chat)),
            end_of_history_transfer: Some(!more),
            ephemeral_expiration: (chat % 29 == 11).then_some(86_400),
            ephemeral_setting_timestamp: (chat % 29 == 11).then_some(1_600_000_000),
            end_of_history_transfer_type: Some(i32::from(!more)),
            conversation_timestamp: Some(newest),
            name: Some(if group { format!("Grupo {chat}") } else { self.name(chat) }),
            archived: Some(chat % 17 == 5),
            marked_as_unread: Some(chat % 31 == 9),
            pinned: Some(if chat % 97 == 3 { u32::try_from(self.at).unwrap_or(u32::MAX) } else { 0 }),
            mute_end_time: Some(if chat % 23 == 7 { muted } else { 0 }),
            display_name: None,
            pn_jid: jid.is_lid().then(|| pn.to_wire()),
            lid_jid: jid.is_pn().then(|| lid.to_wire()),
            username: None,
            tc_token: None,
            tc_token_timestamp: None,
            tc_token_sender_timestamp: None,
        }
    }

    fn entry(&self, chat: u32, message: u32) -> HistorySyncMsg {
        let order = u64::from(self.count(chat) - message);
        HistorySyncMsg { message: Some(self.message(chat, message)), msg_order_id: Some(order) }
    }

    fn author(&self, chat: u32, by: u8) -> Jid {
        let member = (chat + 1 + u32::from(by) % MEMBERS) % self.chats.max(1);
        self.person(member).1
    }

    fn key(&self, chat: u32, message: u32) -> MessageKey {
        let [_, _, by, who, ..] = self.draw(chat, message);
        let jid = self.jid(chat);
        let from_me = message >= self.unread(chat) && by % 3 == 0;
        let participant = (jid.is_group() && !from_me).then(|| self.author(chat, who).to_wire());
        MessageKey {
            remote_jid: Some(jid.to_wire()),
            from_me: Some(from_me),
            id: Some(self.id(chat, message)),
            participant,
        }
    }

    fn text(&self, chat: u32, message: u32) -> String {
        let draw = self.draw(chat, message);
        let words = draw.iter().skip(20).take(3 + usize::from(draw[5]) % 9);
        let words = words.filter_map(|by| WORDS.get(usize::from(*by) % WORDS.len())).copied();
        format!("{chat}/{message} {}", words.collect::<Vec<_>>().join(" "))
    }

    fn message(&self, chat: u32, message: u32) -> WebMessageInfo {
        let draw = self.draw(chat, message);
        let key = self.key(chat, message);
        let at = self.time(chat, message);
        let (from_me, group) = (key.from_me == Some(true), key.participant.is_some());
        let other = if self.jid(chat).is_group() { self.author(chat, draw[6]) } else { self.jid(chat) };
        let text = self.text(chat, message);
        let mut info = WebMessageInfo {
            participant: key.participant.clone(),
            message_timestamp: Some(at),
            status: from_me.then_some(4 - i32::from(draw[7] % 2)),
            starred: draw[8].is_multiple_of(101).then_some(true),
            push_name: (!from_me).then(|| if group { "Alguém".into() } else { self.name(chat) }),
            ..Default::default()
        };
        let mut content = proto::Message::default();
        match draw[9] % 24 {
            0 if message + 1 < self.count(chat) => {
                let earlier = self.key(chat, message + 1);
                let context = proto::ContextInfo {
                    stanza_id: earlier.id,
                    participant: earlier.participant.or_else(|| Some(other.to_wire())),
                    quoted_message: Some(Box::new(proto::Message {
                        conversation: Some(self.text(chat, message + 1)),
                        ..Default::default()
                    })),
                    ..Default::default()
                };
                content.extended_text_message = Some(Box::new(ExtendedTextMessage {
                    text: Some(text),
                    context_info: Some(Box::new(context)),
                    ..Default::default()
                }));
            }
            1 => {
                // A file that was on the media servers once.
                content.image_message = Some(Box::new(ImageMessage {
                    caption: Some(text),
                    mimetype: Some("image/jpeg".into()),
                    media_key: Some(draw.to_vec()),
                    file_sha256: Some(draw.to_vec()),
                    file_enc_sha256: Some(draw.to_vec()),
                    file_length: Some(40_000),
                    direct_path: Some(super::direct_path(Some("image"), &draw, "0")),
                    ..Default::default()
                }));
            }
            2 => {
                content.location_message = Some(Box::new(LocationMessage {
                    degrees_latitude: Some(-23.5),
                    degrees_longitude: Some(-46.6),
                    name: Some(text),
                    ..Default::default()
                }));
            }
            3 => {
                let options = ["sim", "não"].map(|name| poll_creation_message::Option {
                    option_name: Some(name.into()),
                    ..Default::default()
                });
                content.poll_creation_message_v3 = Some(Box::new(PollCreationMessage {
                    name: Some(text),
                    options: options.into(),
                    selectable_options_count: Some(1),
                    ..Default::default()
                }));
                content.message_context_info =
                    Some(MessageContextInfo { message_secret: Some(draw.to_vec()), ..Default::default() });
                info.message_secret = Some(draw.to_vec());
                info.poll_updates = vec![PollUpdate {
                    poll_update_message_key: Some(self.answer_key(chat, message, &other)),
                    vote: Some(PollVoteMessage { selected_options: vec![Sha256::digest("sim").to_vec()] }),
                    sender_timestamp_ms: i64::try_from(at * 1000 + 500).ok(),
                }];
            }
            _ => content.conversation = Some(text),
        }
        if draw[10].is_multiple_of(11) {
            info.reactions = vec![Reaction {
                key: Some(self.answer_key(chat, message, &other)),
                text: Some("👍".into()),
                grouping_key: None,
                sender_timestamp_ms: i64::try_from(at * 1000 + 700).ok(),
            }];
        }
        if from_me && self.jid(chat).is_group() {
            info.user_receipt = vec![UserReceipt {
                user_jid: Some(other.to_wire()),
                receipt_timestamp: i64::try_from(at + 1).ok(),
                read_timestamp: i64::try_from(at + 2).ok(),
                played_timestamp: None,
            }];
        }
        info.key = Some(key);
        info.message = Some(content.encode_to_vec());
        info
    }

    /// Of what somebody else did to a message.
    fn answer_key(&self, chat: u32, message: u32, by: &Jid) -> MessageKey {
        let jid = self.jid(chat);
        MessageKey {
            remote_jid: Some(jid.to_wire()),
            from_me: Some(false),
            id: Some(format!("A{}", self.id(chat, message))),
            participant: jid.is_group().then(|| by.to_wire()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PAST: Past =
        Past { chats: 100, messages: 1_030, groups: 20, recent: 1_000, seed: 7, at: 1_767_115_800 };

    #[test]
    fn a_past_has_as_much_as_was_asked_for_and_is_always_the_same() {
        let all: Vec<Conversation> =
            (0..PAST.chats).map(|chat| PAST.conversation(chat, 0, PAST.count(chat))).collect();
        let messages: Vec<&WebMessageInfo> =
            all.iter().flat_map(|chat| &chat.messages).filter_map(|entry| entry.message.as_ref()).collect();
        let ids: BTreeSet<&str> =
            messages.iter().filter_map(|info| info.key.as_ref()?.id.as_deref()).collect();
        assert_eq!((messages.len(), ids.len()), (1_030, 1_030));
        let names: BTreeSet<&str> = all.iter().filter_map(|chat| chat.id.as_deref()).collect();
        assert_eq!(names.len(), 100);
        assert_eq!(names.iter().filter(|name| name.ends_with("@g.us")).count(), 20);
        assert!(names.iter().any(|name| name.ends_with("@lid")));
        for (n, chat) in all.iter().enumerate() {
            assert_eq!(*chat, PAST.conversation(n as u32, 0, PAST.count(n as u32)));
            assert_eq!(PAST.find(&PAST.jid(n as u32)), Some(n as u32));
            let times: Vec<u64> =
                chat.messages.iter().filter_map(|entry| entry.message.as_ref()?.message_timestamp).collect();
            assert!(times.is_sorted_by(|a, b| a > b), "newest first");
        }
        assert_ne!(
            all,
            (0..100).map(|chat| Past { seed: 8, ..PAST }.conversation(chat, 0, 10)).collect::<Vec<_>>()
        );
    }
}
