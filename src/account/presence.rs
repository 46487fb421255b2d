//! Who is there and who is writing: followed on every connection anew, told as `presence.updated`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Error,
    dispatch::{Account, Turn},
};
use crate::{
    clock::Millis,
    stanza::{
        ChatState,
        presence::{ChatStateUpdate, PresenceUpdate, subscribe},
        tctoken,
    },
    store::events::NewEvent,
    wire::{Jid, Node},
};

/// Writing ends by itself if nothing more is heard of it: every client lets it lapse after about so long.
const LAPSE: Duration = Duration::from_secs(25);
/// People who write at a time; of those beyond it every stanza is told, and no end that was not heard.
const MAX_TYPING: usize = 1_024;

/// Somebody who writes or records.
pub(super) struct Typing {
    chat: Jid,
    who: Jid,
    state: ChatState,
    /// Then nobody believes it any more.
    pub(super) ends: Millis,
}

impl Account {
    /// After a login: everybody whose presence is followed.
    pub(super) fn watch_everybody(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        for watched in turn.tx.watched().list()? {
            self.watch(&watched.jid, turn)?;
        }
        Ok(())
    }

    /// Asks to be told when this person comes and goes.
    pub(super) fn watch(&mut self, person: &Jid, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(target) = self.target(person, turn)? else { return Ok(()) };
        let Some(conn) = &mut self.conn else { return Ok(()) };
        // Nothing answers it; an id it has, as Baileys gives it one.
        let id = conn.plain_id();
        let token = self.shown_token(&target, turn)?;
        turn.send(&subscribe(&target, &id).child_opt(token.as_deref().map(tctoken)));
        Ok(())
    }

    pub(super) fn presence(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Ok(seen) = PresenceUpdate::parse(node) else { return Ok(()) };
        if !seen.from.is_user() || self.is_own(&seen.from) {
            return Ok(());
        }
        let last_seen = seen.last_seen.filter(|last| *last > 0).map(Millis::from_secs);
        if !turn.tx.watched().saw(&seen.from, seen.available, last_seen, turn.now)? {
            return Ok(());
        }
        let state = if seen.available { "available" } else { "unavailable" };
        self.report_presence(&seen.from, &seen.from, state, last_seen, turn)
    }

    pub(super) fn chat_state_shown(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Ok(shown) = ChatStateUpdate::parse(node) else { return Ok(()) };
        let fits = (shown.chat.is_user() || shown.chat.is_group()) && shown.who.is_user();
        let Some(conn) = self.conn.as_mut().filter(|_| fits) else { return Ok(()) };
        let at = conn.typing.iter().position(|one| one.chat == shown.chat && one.who == shown.who);
        let before = at.map(|at| conn.typing.swap_remove(at).state);
        if shown.state != ChatState::Paused && conn.typing.len() < MAX_TYPING {
            let ChatStateUpdate { chat, who, state } = shown.clone();
            conn.typing.push(Typing { chat, who, state, ends: turn.now + LAPSE });
        }
        // Who goes on says so every few seconds.
        if self.is_own(&shown.who) || before.unwrap_or(ChatState::Paused) == shown.state {
            return Ok(());
        }
        let state = match shown.state {
            ChatState::Typing => "typing",
            ChatState::Recording => "recording",
            ChatState::Paused => "paused",
        };
        self.report_presence(&shown.chat, &shown.who, state, None, turn)
    }

    /// Nobody says any more that they write.
    pub(super) fn end_typing(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(conn) = &mut self.conn else { return Ok(()) };
        let over: Vec<Typing> = conn.typing.extract_if(.., |one| one.ends <= turn.now).collect();
        for one in over {
            if !self.is_own(&one.who) {
                self.report_presence(&one.chat, &one.who, "paused", None, turn)?;
            }
        }
        Ok(())
    }

    /// `presence.updated`.
    fn report_presence(
        &self,
        chat: &Jid,
        who: &Jid,
        state: &str,
        last_seen: Option<Millis>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let names = [Some(who.bare()), turn.tx.people().other_name(who)?];
        let find = |wanted: fn(&Jid) -> bool| names.iter().flatten().find(|name| wanted(name));
        let chat = if chat.is_user() { self.number_first(chat, turn)? } else { chat.clone() };
        let data = json!({
            "chat": chat.to_wire(),
            "is_group": chat.is_group(),
            "jid": find(Jid::is_pn).unwrap_or(who).to_wire(),
            "lid": find(Jid::is_lid).map(Jid::to_wire),
            "phone": find(Jid::is_pn).map(|jid| jid.user().to_owned()),
            "state": state,
            "last_seen": last_seen.map_or(Value::Null, |at| at.rfc3339().into()),
            "timestamp": turn.now.rfc3339_offset(),
        });
        let lane = Some(chat.to_wire());
        let event = NewEvent { kind: "presence.updated", lane, data: data.to_string(), platform: None };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }
}
