//! The block list, kept in step with WhatsApp's.

use serde_json::json;

use crate::{
    account::{
        Error,
        dispatch::{Account, Turn},
        link::Query,
    },
    stanza::{BlockNotice, BlockQuery, Blocklist, Iq},
    store::events::NewEvent,
    wire::{Jid, Node},
};

impl Account {
    /// Asks for the whole list, unless it is known.
    pub(in crate::account) fn ask_blocklist(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        if turn.tx.blocks().hash()?.is_some() {
            return Ok(());
        }
        let Some(conn) = &mut self.conn else { return Ok(()) };
        if conn.queries.values().any(|(query, _)| matches!(query, Query::Blocklist)) {
            return Ok(());
        }
        let id = conn.query(Query::Blocklist, turn.now);
        turn.send(&BlockQuery::List.build(&id));
        Ok(())
    }

    pub(in crate::account) fn blocklist_answered(
        &mut self,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        if let Some(refusal) = Iq::refusal(node) {
            tracing::warn!(code = refusal.code, "the block list could not be had");
            return Ok(());
        }
        match Blocklist::parse(node) {
            Ok(list) => self.keep_blocklist(&list, turn),
            Err(error) => {
                tracing::warn!(%error, "the block list");
                Ok(())
            }
        }
    }

    /// Takes over the whole list. The first one is no news.
    pub(super) fn keep_blocklist(&mut self, list: &Blocklist, turn: &mut Turn<'_>) -> Result<(), Error> {
        let first = turn.tx.blocks().hash()?.is_none() && turn.tx.blocks().list()?.is_empty();
        // A list without a name is read again at the next login.
        let changes = turn.tx.blocks().replace(&list.people, list.dhash.as_deref())?;
        for (person, blocked) in changes {
            if !first {
                self.report_blocked(&person, blocked, turn)?;
            }
        }
        Ok(())
    }

    /// Another device of the account blocked somebody, or no longer does.
    pub(super) fn blocks_changed(&mut self, notice: &BlockNotice, turn: &mut Turn<'_>) -> Result<(), Error> {
        let known = turn.tx.blocks().hash()?;
        let missed = notice.changes.is_empty()
            || notice.previous.is_some() && known.is_some() && notice.previous != known;
        if missed {
            // It may have been for naught: the notification of a change of ours.
            if notice.dhash.is_some() && notice.dhash == known {
                return Ok(());
            }
            turn.tx.blocks().set_hash(None)?;
            return self.ask_blocklist(turn);
        }
        for (person, pn, block) in &notice.changes {
            if let Some(pn) = pn {
                turn.tx.people().learn(person, pn)?;
            }
            if turn.tx.blocks().set(person, pn.as_ref(), *block)? {
                self.report_blocked(person, *block, turn)?;
            }
        }
        if known.is_some() {
            turn.tx.blocks().set_hash(notice.dhash.as_deref())?;
        }
        Ok(())
    }

    /// `contact.blocked`.
    fn report_blocked(&self, person: &Jid, blocked: bool, turn: &mut Turn<'_>) -> Result<(), Error> {
        let names = [Some(person.bare()), turn.tx.people().other_name(person)?];
        let find = |wanted: fn(&Jid) -> bool| names.iter().flatten().find(|name| wanted(name));
        let jid = find(Jid::is_pn).unwrap_or(person).to_wire();
        let data = json!({
            "jid": jid,
            "lid": find(Jid::is_lid).map(Jid::to_wire),
            "phone": find(Jid::is_pn).map(|jid| jid.user().to_owned()),
            "blocked": blocked,
            "timestamp": turn.now.rfc3339_offset(),
        });
        let event =
            NewEvent { kind: "contact.blocked", lane: Some(jid), data: data.to_string(), platform: None };
        turn.tx.events().push(&event, turn.now)?;
        Ok(())
    }
}
