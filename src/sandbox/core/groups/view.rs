//! What the control API shows of groups.

use serde::Serialize;

use super::Group;
use crate::{
    sandbox::core::{Namespace, OperateError, World},
    wire::Jid,
};

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParticipantView {
    /// JID by number.
    pub jid: String,
    /// JID of the hidden identity.
    pub lid: String,
    /// Digits.
    pub number: String,
    /// `superadmin`, `admin` or null.
    pub admin: Option<&'static str>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupView {
    /// Its address.
    pub jid: String,
    /// Its name.
    pub subject: String,
    /// What it says of itself.
    pub description: Option<String>,
    /// JID by number of who made it.
    pub owner: String,
    /// `lid` or `pn`: by which name members go.
    pub addressing_mode: &'static str,
    /// Only admins write.
    pub announce: bool,
    /// Only admins change subject and description.
    pub locked: bool,
    /// Seconds after which messages disappear; 0: never.
    pub ephemeral_seconds: u32,
    /// Admins approve who joins by link.
    pub join_approval: bool,
    /// Of the link that leads in.
    pub invite_code: String,
    /// Everybody.
    pub participants: Vec<ParticipantView>,
}

impl World {
    pub(crate) fn group_view(&self, jid: &Jid) -> Result<GroupView, OperateError> {
        let group: &Group = self.group(jid).map_err(|_| OperateError::NoSuchGroup)?;
        let participants = group.members.iter().map(|(id, rank)| {
            let account = self.account(*id);
            ParticipantView {
                jid: account.jid(Namespace::Pn, 0).to_wire(),
                lid: account.jid(Namespace::Lid, 0).to_wire(),
                number: account.pn.clone(),
                admin: rank.as_str(),
            }
        });
        Ok(GroupView {
            jid: group.jid.to_wire(),
            subject: group.subject.clone(),
            description: group.description.as_ref().map(|text| text.text.clone()),
            owner: self.account(group.creator).jid(Namespace::Pn, 0).to_wire(),
            addressing_mode: if group.namespace == Namespace::Lid { "lid" } else { "pn" },
            announce: group.announce,
            locked: group.locked,
            ephemeral_seconds: group.ephemeral,
            join_approval: group.approval,
            invite_code: group.code.clone(),
            participants: participants.collect(),
        })
    }
}
