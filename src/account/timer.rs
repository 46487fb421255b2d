//! Chats whose messages disappear. A chat's timer is what was last said of it: by a message that sets it, or by the
//! context of an ordinary one.

use prost::Message as _;

use super::{
    Error,
    app_state::chat_data,
    content::{self, Timer},
    dispatch::{Account, Turn},
    events::digits,
};
use crate::{
    clock::Millis,
    proto,
    store::{events::NewEvent, messages::Chat, timers::ChatTimer},
    wire::Jid,
};

/// `ProtocolMessage.Type` (protocol 02, 9.4).
const EPHEMERAL_SETTING: i32 = 3;

impl Account {
    /// Notes what a message says of its chat's timer. `at` is the server's time of the message: nobody sets a timer
    /// later than that.
    pub(super) fn learn_timer(
        &self,
        content: &[u8],
        chat: &Chat,
        sender: &Jid,
        at: Millis,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some((said, sure)) = said(content, at) else { return Ok(()) };
        // In a group the server says it, to admins' orders; a member's message sets nothing.
        if sure && chat.jid.is_group() {
            return Ok(());
        }
        let known = turn.tx.timers().of(chat.id)?;
        // An ordinary message may have been written before the setting that it crossed.
        if said.set_at < known.set_at || (!sure && said.set_at == known.set_at) {
            return Ok(());
        }
        turn.tx.timers().set(chat.id, said)?;
        if said.seconds == known.seconds {
            return Ok(());
        }
        let author = self.number_first(sender, turn)?;
        let mut data = chat_data(chat, turn);
        if let Some(members) = data.as_object_mut() {
            members.insert("ephemeral_seconds".into(), said.seconds.into());
            members.insert("previous_ephemeral_seconds".into(), known.seconds.into());
            members.insert("from_me".into(), self.is_own(sender).into());
            members.insert("sender_number".into(), digits(&author).into());
            members.insert("sender_lid".into(), self.lid_told(sender, turn)?.into());
        }
        let event = NewEvent {
            kind: "chat.updated",
            lane: Some(chat.jid.to_wire()),
            data: data.to_string(),
            platform: None,
        };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// The timer that a message to somebody carries.
    pub(super) fn timer_for(&self, with: &Jid, turn: &Turn<'_>) -> Result<Option<Timer>, Error> {
        let Some(chat) = turn.tx.messages().find_chat(with)? else { return Ok(None) };
        let ChatTimer { seconds, set_at } = turn.tx.timers().of(chat.id)?;
        Ok(Some(Timer { seconds, set_at }))
    }
}

/// The timer that a message names, and whether naming it is what the message is for.
fn said(content: &[u8], at: Millis) -> Option<(ChatTimer, bool)> {
    let since = |seconds: Option<i64>| {
        let given = seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
        given.map_or(at.secs(), |given| given.min(at.secs()))
    };
    let protocol = proto::Message::decode(content).ok().and_then(|message| message.protocol_message);
    if let Some(setting) = protocol.filter(|protocol| protocol.r#type == Some(EPHEMERAL_SETTING)) {
        let seconds = setting.ephemeral_expiration.unwrap_or(0);
        return Some((ChatTimer { seconds, set_at: since(setting.ephemeral_setting_timestamp) }, true));
    }
    let context = content::context_of(content)?;
    let set_at = since(context.ephemeral_setting_timestamp);
    Some((ChatTimer { seconds: context.expiration?, set_at }, false))
}
