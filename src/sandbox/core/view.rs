//! What the control API shows of the world.

use prost::Message as _;
use serde::Serialize;

use super::{
    AccountId, Namespace, OperateError, World, account::Account, faults::Kind, journal::Direction,
    messages::bare, phone_life::text_of,
};
use crate::{clock::Millis, proto, sandbox::media::MediaView, stanza::ReceiptKind, wire::Node};

/// A companion of a phone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CompanionView {
    /// Device number.
    pub device: u16,
    /// Its JID, device included.
    pub jid: String,
    /// The same under the hidden identity.
    pub lid: String,
    /// `chrome`, `desktop` …
    pub platform: String,
    /// What linked devices are listed as.
    pub name: String,
    /// It is connected.
    pub online: bool,
    /// Stanzas that it has not acknowledged yet.
    pub queued: usize,
}

/// A phone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PhoneView {
    /// Digits.
    pub number: String,
    /// JID of the hidden identity.
    pub lid: String,
    /// Push name.
    pub name: String,
    /// `android`, `iphone` …
    pub platform: String,
    /// It reads what comes.
    pub online: bool,
    /// Linked devices.
    pub companions: Vec<CompanionView>,
    /// Messages it decrypted so far.
    pub messages: u64,
    /// Receipts it remembers.
    pub receipts: usize,
    /// Stanzas that wait for it.
    pub queued: usize,
}

/// A message that a phone decrypted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MessageView {
    /// As its sender named it.
    pub id: String,
    /// JID without device.
    pub chat: String,
    /// JID without device.
    pub sender: String,
    /// 0 is a phone.
    pub sender_device: u16,
    /// Unix seconds.
    pub timestamp: u64,
    /// The member of `waE2E.Message` that it is.
    pub kind: String,
    /// Its text, or a caption.
    pub text: Option<String>,
    /// That protobuf as JSON.
    pub message: serde_json::Value,
    /// Its file, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media: Option<MediaView>,
}

/// A receipt that a phone got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReceiptView {
    /// Of the message.
    pub id: String,
    /// JID of the reader.
    pub from: String,
    /// `delivered` where the stanza has no type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Unix seconds.
    pub timestamp: u64,
}

/// Counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatsView {
    /// Ever opened.
    pub connections: u64,
    /// Did not finish the handshake.
    pub failed_handshakes: u64,
    /// Open now.
    pub connected: usize,
    /// By direction and tag.
    pub stanzas: serde_json::Value,
    /// Accepted from senders.
    pub messages: u64,
    /// Handed on, one a device.
    pub deliveries: u64,
    /// Phones.
    pub phones: usize,
    /// Stanzas that wait in queues.
    pub queued: usize,
    /// Message keys that a device used for two different ciphertexts: 0 in a healthy run.
    pub reused_keys: u64,
    /// What no documented client sends, by reason: empty in a healthy run.
    pub refused: std::collections::BTreeMap<String, u64>,
    /// Queries answered with 501, by what they are.
    pub unknown: std::collections::BTreeMap<String, u64>,
}

/// A logged stanza.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// RFC 3339.
    pub time: String,
    /// The device, or `unregistered`.
    pub device: String,
    /// `in`: from the client.
    pub direction: &'static str,
    /// XML-like.
    pub stanza: String,
}

/// A fault in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultView {
    /// Milliseconds of `delay` and `cdn_delay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// By how much `clock` is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
    /// Code of `reject`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<u64>,
    /// Status of `cdn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u64>,
    /// 0 to 1.
    pub probability: f64,
    /// How often at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Only this device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// How often it struck.
    pub fired: u64,
}

/// DeviceProps.PlatformType in words (protocol 01, 5.2).
const PLATFORMS: [&str; 10] =
    ["unknown", "chrome", "firefox", "ie", "opera", "safari", "edge", "desktop", "ipad", "android_tablet"];
/// Lists of the control API end here.
const MAX_LISTED: usize = 1_000;

impl World {
    pub(crate) fn phone_views(&self) -> Vec<PhoneView> {
        (0..self.accounts.len()).map(|id| self.phone_view(AccountId(id))).collect()
    }

    pub(crate) fn phone_view(&self, id: AccountId) -> PhoneView {
        let account = self.account(id);
        PhoneView {
            number: account.pn.clone(),
            lid: account.jid(Namespace::Lid, 0).to_wire(),
            name: account.name.clone(),
            platform: account.platform.clone(),
            online: account.phone.online,
            companions: companions(account),
            messages: account.phone.received,
            receipts: account.phone.receipts.len(),
            queued: account.devices.get(&0).map_or(0, |d| d.queue.len()),
        }
    }

    /// What the phone received, oldest first: from one sender if named, behind one id if named.
    pub(crate) fn message_views(
        &self,
        phone: AccountId,
        from: Option<&str>,
        after: Option<&str>,
    ) -> Result<Vec<MessageView>, OperateError> {
        let inbox = &self.account(phone).phone.inbox;
        let sender = match from {
            None => None,
            Some(who) => Some(self.resolve_text(who).ok_or(OperateError::NoSuchRecipient)?.account),
        };
        let start = match after {
            None => 0,
            Some(id) => inbox.iter().rposition(|m| m.id == id).ok_or(OperateError::NoSuchMessage)? + 1,
        };
        let wanted = inbox.iter().skip(start).filter(|message| {
            sender.is_none_or(|sender| self.resolve(&message.sender).is_some_and(|who| who.account == sender))
        });
        Ok(wanted
            .take(MAX_LISTED)
            .map(|m| {
                let json = proto::message_json(&m.message).unwrap_or_default();
                let decoded = proto::Message::decode(m.message.as_slice()).unwrap_or_default();
                let context = ["messageContextInfo", "senderKeyDistributionMessage"];
                let kind = json
                    .as_object()
                    .and_then(|o| o.keys().find(|key| !context.contains(&key.as_str())))
                    .cloned()
                    .unwrap_or_default();
                let caption = json.get(&kind).and_then(|k| k.get("caption")).and_then(|c| c.as_str());
                MessageView {
                    id: m.id.clone(),
                    chat: bare(&m.chat),
                    sender: bare(&m.sender),
                    sender_device: m.sender_device,
                    timestamp: m.t,
                    text: text_of(&decoded).or(caption).map(str::to_owned),
                    kind,
                    message: json,
                    media: None,
                }
            })
            .collect())
    }

    pub(crate) fn receipt_views(&self, phone: AccountId, after: Option<&str>) -> Vec<ReceiptView> {
        let receipts = &self.account(phone).phone.receipts;
        let start = after.and_then(|id| receipts.iter().rposition(|r| r.id == id)).map_or(0, |at| at + 1);
        receipts
            .iter()
            .skip(start)
            .take(MAX_LISTED)
            .map(|receipt| ReceiptView {
                id: receipt.id.clone(),
                from: receipt.from.to_wire(),
                kind: match &receipt.kind {
                    ReceiptKind::Delivered => "delivered".into(),
                    other => other.as_str().unwrap_or_default().to_owned(),
                },
                timestamp: receipt.t,
            })
            .collect()
    }

    pub(crate) fn stats_view(&self) -> StatsView {
        let journal = &self.journal;
        let devices = self.accounts.iter().flat_map(|a| a.devices.values());
        StatsView {
            connections: journal.connections,
            failed_handshakes: journal.failed_handshakes,
            connected: self.conns.len(),
            stanzas: serde_json::json!({"in": journal.stanzas_in, "out": journal.stanzas_out}),
            messages: journal.messages,
            deliveries: journal.deliveries,
            phones: self.accounts.len(),
            queued: devices.map(|d| d.queue.len()).sum(),
            reused_keys: journal.reused_keys,
            refused: journal.refused.clone(),
            unknown: journal.unknown.clone(),
        }
    }

    /// What waits in queues: for which device, and what.
    pub(crate) fn unanswered(&self) -> Vec<(String, Node)> {
        let devices = self.accounts.iter().flat_map(|account| {
            account
                .devices
                .values()
                .map(move |device| (account.jid(Namespace::Pn, device.id).to_wire(), device))
        });
        devices.flat_map(|(jid, d)| d.queue.entries().map(move |e| (jid.clone(), e.node.clone()))).collect()
    }

    /// The last stanzas of one device, or of all.
    pub(crate) fn log_view(&self, device: Option<&str>) -> Result<Vec<LogLine>, OperateError> {
        let label = match device {
            None => None,
            Some("unregistered") => Some("unregistered".to_owned()),
            Some(jid) => {
                // The log of a device that was unlinked is still there.
                let device = self.companion(jid).or_else(|error| self.resolve_text(jid).ok_or(error))?;
                Some(self.jid(device, Namespace::Pn).to_wire())
            }
        };
        let labels = self.journal.labels().filter(|name| label.as_deref().is_none_or(|label| label == *name));
        let mut lines: Vec<(Millis, LogLine)> = labels
            .flat_map(|name| {
                self.journal.log(name).map(move |line| {
                    let direction = match line.direction {
                        Direction::In => "in",
                        Direction::Out => "out",
                    };
                    let stanza = line.text.clone();
                    (line.at, LogLine { time: line.at.rfc3339(), device: name.to_owned(), direction, stanza })
                })
            })
            .collect();
        lines.sort_by_key(|(at, _)| *at);
        let skip = lines.len().saturating_sub(MAX_LISTED);
        Ok(lines.into_iter().skip(skip).map(|(_, line)| line).collect())
    }

    pub(crate) fn fault_views(&self) -> std::collections::BTreeMap<&'static str, FaultView> {
        let view = |fault: &super::faults::Fault| FaultView {
            ms: matches!(fault.kind, Kind::Delay | Kind::CdnDelay).then_some(fault.parameter),
            seconds: (fault.kind == Kind::Clock).then_some(fault.parameter.cast_signed()),
            error: fault.kind.refuses().then_some(fault.parameter),
            status: (fault.kind == Kind::Cdn).then_some(fault.parameter),
            probability: fault.probability,
            times: fault.times,
            device: fault.device.as_ref().map(crate::wire::Jid::to_wire),
            fired: fault.fired,
        };
        self.faults.all().iter().map(|fault| (fault.kind.name(), view(fault))).collect()
    }
}

fn companions(account: &Account) -> Vec<CompanionView> {
    let companions = account.devices.values().filter(|d| d.id != 0);
    companions
        .map(|d| CompanionView {
            device: d.id,
            jid: account.jid(Namespace::Pn, d.id).to_wire(),
            lid: account.jid(Namespace::Lid, d.id).to_wire(),
            platform: usize::try_from(d.platform_type)
                .ok()
                .and_then(|n| PLATFORMS.get(n).copied())
                .unwrap_or("other")
                .to_owned(),
            name: d.title.clone(),
            online: d.conn.is_some() || account.phone.online && account.played.contains_key(&d.id),
            queued: d.queue.len(),
        })
        .collect()
}
