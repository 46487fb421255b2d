//! What others show of themselves has changed, or what another device of the account has made it show.

use serde_json::{Map, Value, json};

use super::{OWN_ABOUT, modest};
use crate::{
    account::{
        Error,
        dispatch::{Account, Turn},
    },
    clock::Millis,
    stanza::{BlockNotice, PictureNotice, read_about_notice},
    store::events::NewEvent,
    wire::{Jid, Node},
};

impl Account {
    /// Acts on a notification about a profile; `false`: it is about something else.
    pub(in crate::account) fn profile_noticed(
        &mut self,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<bool, Error> {
        match node.text("type") {
            Some("picture") => self.picture_noticed(node, turn)?,
            Some("status") => self.about_noticed(node, turn)?,
            Some("business") => {
                if let Some(from) = node.jid("from").filter(Jid::is_user) {
                    turn.tx.profiles().doubt(&from)?;
                }
            }
            Some("account_sync") => {
                if let Some(notice) = BlockNotice::parse(node) {
                    self.blocks_changed(&notice, turn)?;
                } else if let Some(mode) = node.find("disappearing_mode") {
                    let Some(seconds) = mode.number::<u32>("duration") else { return Ok(true) };
                    let what = Map::from_iter([("default_ephemeral_seconds".to_owned(), seconds.into())]);
                    self.report_own(what, turn)?;
                } else {
                    return Ok(false);
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn picture_noticed(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        let notice = match PictureNotice::parse(node) {
            Ok(notice) => notice,
            Err(error) => {
                tracing::warn!(%error, "a picture's notification");
                return Ok(());
            }
        };
        let notice = PictureNotice { id: notice.id.and_then(modest), ..notice };
        let id = Value::from(notice.id.clone());
        if notice.of.is_group() {
            return self.report_group_picture(&notice, node.number("t"), turn);
        }
        let what = Map::from_iter([("picture_id".to_owned(), id)]);
        if self.is_own(&notice.of) {
            return self.report_own(what, turn);
        }
        if notice.of.is_user() {
            turn.tx.profiles().doubt(&notice.of)?;
            self.report_shown(&notice.of, what, turn)?;
        }
        Ok(())
    }

    fn about_noticed(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        let from = node.jid("from").map(|from| from.bare()).filter(Jid::is_user);
        let Some(from) = from else { return Ok(()) };
        let Some(about) = read_about_notice(node).and_then(modest) else {
            return Ok(turn.tx.profiles().doubt(&from)?);
        };
        let what = Map::from_iter([("about".to_owned(), about.clone().into())]);
        if self.is_own(&from) {
            if turn.tx.settings().get(OWN_ABOUT)?.as_deref() == Some(about.as_str()) {
                return Ok(());
            }
            turn.tx.settings().set(OWN_ABOUT, &about)?;
            return self.report_own(what, turn);
        }
        turn.tx.profiles().set_about(&from, &about)?;
        self.report_shown(&from, what, turn)
    }

    /// `contact.updated` with what became different.
    fn report_shown(&self, person: &Jid, what: Map<String, Value>, turn: &mut Turn<'_>) -> Result<(), Error> {
        let names = [Some(person.bare()), turn.tx.people().other_name(person)?];
        let find = |wanted: fn(&Jid) -> bool| names.iter().flatten().find(|name| wanted(name));
        let contact = turn.tx.contacts().find(person)?;
        let jid = find(Jid::is_pn).unwrap_or(person).to_wire();
        let mut data = json!({
            "jid": jid,
            "lid": find(Jid::is_lid).map(Jid::to_wire),
            "phone": find(Jid::is_pn).map(|jid| jid.user().to_owned()),
            "name": contact.as_ref().and_then(|contact| contact.name.clone()),
            "first_name": contact.as_ref().and_then(|contact| contact.first_name.clone()),
            "push_name": contact.as_ref().and_then(|contact| contact.push_name.clone()),
        });
        if let Some(members) = data.as_object_mut() {
            members.extend(what);
            members.insert("timestamp".into(), turn.now.rfc3339_offset().into());
        }
        let event =
            NewEvent { kind: "contact.updated", lane: Some(jid), data: data.to_string(), platform: None };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// `group.updated` of a group that has another picture, or none.
    fn report_group_picture(
        &self,
        notice: &PictureNotice,
        t: Option<u64>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let chat = turn.tx.messages().chat(&notice.of)?;
        let (author, author_lid) = self.author_told(notice.author.as_ref(), turn)?;
        let at = t.filter(|t| *t > 0).map_or(turn.now, Millis::from_secs);
        let data = json!({
            "group_jid": notice.of.to_wire(),
            "action": if notice.id.is_some() { "picture" } else { "picture_removed" },
            "author_number": author,
            "author_lid": author_lid,
            "picture_id": notice.id,
            "timestamp": at.rfc3339_offset(),
            "conversation_id": chat.id,
        });
        let lane = Some(notice.of.to_wire());
        let event = NewEvent { kind: "group.updated", lane, data: data.to_string(), platform: None };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }

    /// `account.updated` with what became different.
    pub(in crate::account) fn report_own(
        &self,
        what: Map<String, Value>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let mut data = what;
        data.insert("timestamp".into(), turn.now.rfc3339_offset().into());
        let data = Value::Object(data).to_string();
        let event = NewEvent { kind: "account.updated", lane: None, data, platform: None };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }
}
