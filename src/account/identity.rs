//! Who is who: each stanza may say two names of a person, and what was known under one belongs to the other as well.

use prost::Message as _;
use serde_json::json;

use super::{
    Error,
    dispatch::{Account, Turn},
};
use crate::{
    proto::{LidMigrationMappingSyncPayload, message::LidMigrationMappingSyncMessage},
    store::events::NewEvent,
    wire::{Jid, Node},
};

/// People told of in one turn; the next ones follow with the next.
const TOLD: u32 = 256;
/// Attributes of a stanza that give its author's other name, and the other end's (protocol 02, 3.3).
const AUTHOR: [&str; 5] = ["sender_lid", "sender_pn", "participant_lid", "participant_pn", "lid"];
const RECIPIENT: [&str; 4] = ["peer_recipient_lid", "peer_recipient_pn", "recipient_lid", "recipient_pn"];

impl Account {
    /// What the attributes of a stanza say of people's names. Of the author only where it is a person's own stanza, and
    /// of the other end where it is named beside.
    pub(super) fn learn_names_of(&self, node: &Node, turn: &Turn<'_>) -> Result<(), Error> {
        let author = node.jid("participant").or_else(|| node.jid("from"));
        for (person, others) in [(author, &AUTHOR[..]), (node.jid("recipient"), &RECIPIENT[..])] {
            let Some(person) = person.filter(Jid::is_user) else { continue };
            for other in others.iter().filter_map(|key| node.jid(key)) {
                turn.tx.people().learn(&person, &other)?;
            }
        }
        Ok(())
    }

    /// The phone's own list of who is who.
    pub(super) fn learn_mapping(
        &self,
        sync: &LidMigrationMappingSyncMessage,
        turn: &Turn<'_>,
    ) -> Result<(), Error> {
        let payload = sync.encoded_mapping_payload.as_deref().unwrap_or_default();
        let Ok(payload) = LidMigrationMappingSyncPayload::decode(payload) else { return Ok(()) };
        for mapping in payload.mappings {
            let Some(pn) = mapping.pn.filter(|pn| *pn > 0) else { continue };
            let pn = Jid::pn(pn.to_string());
            let [before, latest] = [mapping.assigned_lid, mapping.latest_lid]
                .map(|lid| lid.filter(|lid| *lid > 0).map(|lid| Jid::lid(lid.to_string())));
            // What was said under the one that it had before is the same person's; then the latest stands.
            if let (Some(before), Some(_)) = (&before, &latest)
                && turn.tx.messages().find_chat(before)?.is_some()
            {
                turn.tx.people().learn(&pn, before)?;
            }
            if let Some(lid) = latest.or(before) {
                turn.tx.people().learn(&pn, &lid)?;
            }
        }
        Ok(())
    }

    /// `contact.identity_resolved`, for whom something was known under one name alone until now.
    pub(super) fn report_identities(&self, turn: &mut Turn<'_>) -> Result<(), Error> {
        for (pn, lid, merged) in turn.tx.people().take_news(TOLD)? {
            let chat = turn.tx.messages().find_chat(&pn)?;
            let data = json!({
                "jid": pn.to_wire(),
                "lid": lid.to_wire(),
                "phone": pn.user(),
                "conversation_id": chat.map(|chat| chat.id),
                "merged_conversation_id": merged,
                "timestamp": turn.now.rfc3339_offset(),
            });
            let event = NewEvent {
                kind: "contact.identity_resolved",
                lane: Some(pn.to_wire()),
                data: data.to_string(),
                platform: None,
            };
            turn.tx.events().push(&event, turn.now)?;
        }
        Ok(())
    }
}
