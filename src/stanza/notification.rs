//! Notifications: what changed elsewhere. Always acknowledged, whatever they say.

use super::{Malformed, jid, read_privacy, text};
use crate::{
    crypto::app_state::Collection,
    wire::{Jid, Node},
};

/// What happened to a device list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceChange {
    /// A device was linked.
    Add {
        /// Which.
        device: Jid,
        /// Of the account's list since, Unix seconds.
        ts: Option<u64>,
    },
    /// A device was unlinked.
    Remove {
        /// Which.
        device: Jid,
        /// Of the account's list since, Unix seconds.
        ts: Option<u64>,
    },
    /// Something changed: ask again.
    Update,
}

/// An own device in an `account_sync` notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedDevice {
    /// Its address.
    pub jid: Jid,
    /// Absent on the phone.
    pub key_index: Option<u32>,
}

/// The kinds that are acted upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotificationKind {
    /// Few one-time prekeys are left on the server.
    PreKeysLow {
        /// So many.
        left: u32,
    },
    /// The server asks to compare the prekeys it holds.
    PreKeyCheck,
    /// A person's phone registered anew: its identity changed.
    IdentityChanged,
    /// A person's device list changed.
    Devices(DeviceChange),
    /// Our own device list, whole.
    OwnDevices(Vec<ListedDevice>),
    /// Our own push name.
    PushName(String),
    /// Privacy settings of ours that another device changed: names and values as WhatsApp has them.
    Privacy(Vec<(String, String)>),
    /// Collections of app state moved, to these versions where they are told.
    ServerSync(Vec<(Collection, Option<u64>)>),
    /// Everything else, by type.
    Other(String),
}

/// One notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// To be acknowledged.
    pub id: String,
    /// The server, a person, a group, or the own account.
    pub from: Jid,
    /// The person's other name.
    pub lid: Option<Jid>,
    /// Server time, Unix seconds.
    pub t: Option<u64>,
    /// From the queue.
    pub offline: Option<u32>,
    /// What.
    pub kind: NotificationKind,
}

impl Notification {
    /// Reads the server's stanza.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let from = jid(node, "from")?;
        let word = node.text("type").unwrap_or_default();
        let kind = match word {
            "encrypt" => {
                if let Some(count) = node.find("count") {
                    NotificationKind::PreKeysLow { left: count.number("value").unwrap_or(0) }
                } else if node.find("digest").is_some() {
                    NotificationKind::PreKeyCheck
                } else if node.find("identity").is_some() {
                    NotificationKind::IdentityChanged
                } else {
                    NotificationKind::Other(word.to_owned())
                }
            }
            "devices" => NotificationKind::Devices(Self::device_change(node)),
            "account_sync" => {
                if let Some(devices) = node.find("devices") {
                    let listed = devices.find_all("device").map(|device| {
                        Ok(ListedDevice { jid: jid(device, "jid")?, key_index: device.number("key-index") })
                    });
                    NotificationKind::OwnDevices(listed.collect::<Result<_, Malformed>>()?)
                } else if let Some(name) = node.text("pushname") {
                    NotificationKind::PushName(name.to_owned())
                } else if node.find("privacy").is_some() {
                    NotificationKind::Privacy(read_privacy(node))
                } else {
                    NotificationKind::Other(word.to_owned())
                }
            }
            "server_sync" => {
                let moved = node.find_all("collection").filter_map(|moved| {
                    Some((moved.text("name").and_then(Collection::parse)?, moved.number("version")))
                });
                NotificationKind::ServerSync(moved.collect())
            }
            other => NotificationKind::Other(other.to_owned()),
        };
        Ok(Self {
            id: text(node, "id")?,
            from,
            lid: node.jid("lid"),
            t: node.number("t"),
            offline: node.has("offline").then(|| node.number("offline").unwrap_or(0)),
            kind,
        })
    }

    /// Removal wins over addition, both over a plain update.
    fn device_change(node: &Node) -> DeviceChange {
        let change = |tag| {
            let change = node.find(tag)?;
            let ts = change.find("key-index-list").and_then(|list| list.number("ts"));
            Some((change.find("device")?.jid("jid")?, ts))
        };
        if let Some((device, ts)) = change("remove") {
            DeviceChange::Remove { device, ts }
        } else if let Some((device, ts)) = change("add") {
            DeviceChange::Add { device, ts }
        } else {
            DeviceChange::Update
        }
    }

    /// The frame of a notification, for the server to put children into.
    pub fn frame(id: &str, from: &Jid, kind: &'static str, t: u64) -> Node {
        Node::new("notification").attr("from", from).attr("type", kind).attr("id", id.to_owned()).attr("t", t)
    }
}
