//! Groups, and phones' sender keys, as JSON and back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{SnapshotError, account_id, bytes, jid, text};
use crate::{
    crypto::signal::SenderKeys,
    sandbox::core::{
        AccountId, DeviceRef, Namespace,
        groups::{Group, Invited, Text},
        phone_groups::{GroupKeys, OwnKey},
    },
    stanza::{AddRequest, Place, Rank},
    wire::Jid,
};

#[derive(Serialize, Deserialize)]
pub(super) struct SavedGroup {
    jid: String,
    by_lid: bool,
    subject: String,
    subject_at: u64,
    subject_by: usize,
    created: u64,
    creator: usize,
    /// Id, text, author, time.
    description: Option<(String, String, usize, u64)>,
    /// 0 member, 1 admin, 2 the one who made it.
    members: Vec<(usize, u8)>,
    announce: bool,
    locked: bool,
    ephemeral: u32,
    admins_add: bool,
    approval: bool,
    code: String,
    requests: Vec<(usize, u64)>,
    version: u64,
    /// Since there are communities: 1 a community, 2 its announcements, 3 within one; and which.
    #[serde(default)]
    place: (u8, Option<String>),
    /// Since there are invitations: whom, code, until when, by whom.
    #[serde(default)]
    invites: Vec<(usize, String, u64, usize)>,
}

/// Account and device.
type SavedDeviceRef = (usize, u16);

#[derive(Default, Serialize, Deserialize)]
pub(super) struct SavedKeys {
    /// Chat, record, devices that were told.
    own: Vec<(String, String, Vec<SavedDeviceRef>)>,
    /// Chat, device, record.
    others: Vec<(String, usize, u16, String)>,
}

impl SavedGroup {
    pub(super) fn of(group: &Group) -> Self {
        let description = group.description.as_ref();
        Self {
            jid: group.jid.to_wire(),
            by_lid: group.namespace == Namespace::Lid,
            subject: group.subject.clone(),
            subject_at: group.subject_at,
            subject_by: group.subject_by.0,
            created: group.created,
            creator: group.creator.0,
            description: description.map(|d| (d.id.clone(), d.text.clone(), d.by.0, d.t)),
            members: group.members.iter().map(|(id, rank)| (id.0, *rank as u8)).collect(),
            announce: group.announce,
            locked: group.locked,
            ephemeral: group.ephemeral,
            admins_add: group.admins_add,
            approval: group.approval,
            code: group.code.clone(),
            requests: group.requests.iter().map(|(id, t)| (id.0, *t)).collect(),
            version: group.version,
            invites: {
                let one = |(id, invited): (&AccountId, &Invited)| {
                    let AddRequest { code, expiration } = invited.request.clone();
                    (id.0, code, expiration, invited.by.0)
                };
                group.invites.iter().map(one).collect()
            },
            place: {
                let number = match &group.place {
                    Place::Alone => 0,
                    Place::Community => 1,
                    Place::Announcements(_) => 2,
                    Place::Within(_) => 3,
                };
                (number, group.place.parent().map(Jid::to_wire))
            },
        }
    }

    pub(super) fn restore(&self, accounts: usize) -> Result<Group, SnapshotError> {
        let account = |n: usize| account_id(n, accounts);
        let rank = |code: u8| match code {
            1 => Rank::Admin,
            2 => Rank::SuperAdmin,
            _ => Rank::Member,
        };
        let description = match &self.description {
            None => None,
            Some((id, text, by, t)) => {
                Some(Text { id: id.clone(), text: text.clone(), by: account(*by)?, t: *t })
            }
        };
        let members = self.members.iter().map(|(id, code)| Ok((account(*id)?, rank(*code))));
        let requests = self.requests.iter().map(|(id, t)| Ok((account(*id)?, *t)));
        Ok(Group {
            jid: jid(&self.jid)?,
            namespace: if self.by_lid { Namespace::Lid } else { Namespace::Pn },
            subject: self.subject.clone(),
            subject_at: self.subject_at,
            subject_by: account(self.subject_by)?,
            created: self.created,
            creator: account(self.creator)?,
            description,
            members: members.collect::<Result<BTreeMap<_, _>, SnapshotError>>()?,
            announce: self.announce,
            locked: self.locked,
            ephemeral: self.ephemeral,
            admins_add: self.admins_add,
            approval: self.approval,
            code: self.code.clone(),
            requests: requests.collect::<Result<BTreeMap<_, _>, SnapshotError>>()?,
            version: self.version,
            invites: {
                let one = |(id, code, expiration, by): &(usize, String, u64, usize)| {
                    let request = AddRequest { code: code.clone(), expiration: *expiration };
                    Ok((account(*id)?, Invited { request, by: account(*by)? }))
                };
                self.invites.iter().map(one).collect::<Result<BTreeMap<_, _>, SnapshotError>>()?
            },
            place: match (self.place.0, self.place.1.as_deref().map(jid).transpose()?) {
                (1, _) => Place::Community,
                (2, Some(parent)) => Place::Announcements(parent),
                (3, Some(parent)) => Place::Within(parent),
                _ => Place::Alone,
            },
        })
    }
}

impl SavedKeys {
    pub(super) fn of(keys: &GroupKeys) -> Self {
        let own = keys.own.iter().map(|(chat, key)| {
            let told = key.told.iter().map(|device| (device.account.0, device.device)).collect();
            (chat.clone(), text(key.keys.encode()), told)
        });
        let others = keys.others.iter().map(|((chat, device), keys)| {
            (chat.clone(), device.account.0, device.device, text(keys.encode()))
        });
        Self { own: own.collect(), others: others.collect() }
    }

    pub(super) fn restore(
        &self,
        account_id: &impl Fn(usize) -> Result<AccountId, SnapshotError>,
    ) -> Result<GroupKeys, SnapshotError> {
        let record = |encoded: &str| {
            SenderKeys::decode(&bytes(encoded)?).map_err(|_| SnapshotError::Damaged("sender key"))
        };
        let device = |account: usize, device: u16| Ok(DeviceRef { account: account_id(account)?, device });
        let mut keys = GroupKeys::default();
        for (chat, encoded, told) in &self.own {
            let told = told.iter().map(|(account, id)| device(*account, *id)).collect::<Result<_, _>>()?;
            keys.own.insert(chat.clone(), OwnKey { keys: record(encoded)?, told });
        }
        for (chat, account, id, encoded) in &self.others {
            keys.others.insert((chat.clone(), device(*account, *id)?), record(encoded)?);
        }
        Ok(keys)
    }
}
