//! `<message>`: what a client sends ([`Outgoing`]), and what a device is delivered ([`Incoming`]).

use prost::Message as _;

use super::{Malformed, jid, text};
use crate::{
    proto,
    wire::{Jid, Node, Text},
};

/// The form in which own devices are told of a sent message, given as `waE2E.Message`: `deviceSentMessage` around it
/// (member 31 of it, protocol 02), with the message's context beside.
pub fn device_sent(content: &[u8], destination: &Jid) -> Vec<u8> {
    let inner = proto::Message::decode(content).unwrap_or_default();
    let context = inner.message_context_info.clone();
    let sent = proto::message::DeviceSentMessage {
        destination_jid: Some(destination.bare().to_wire()),
        message: Some(Box::new(inner)),
        phash: None,
    };
    proto::Message {
        device_sent_message: Some(Box::new(sent)),
        message_context_info: context,
        ..Default::default()
    }
    .encode_to_vec()
}

/// How a ciphertext is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncKind {
    /// `pkmsg`: opens a session.
    PreKey,
    /// `msg`: within a session.
    Message,
    /// `skmsg`: by sender key.
    SenderKey,
    /// Anything else (`msmsg` …), as named.
    Other(String),
}

impl EncKind {
    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::PreKey => "pkmsg",
            Self::Message => "msg",
            Self::SenderKey => "skmsg",
            Self::Other(other) => other,
        }
    }

    fn parse(word: &str) -> Self {
        match word {
            "pkmsg" => Self::PreKey,
            "msg" => Self::Message,
            "skmsg" => Self::SenderKey,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// One ciphertext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enc {
    /// How it opens.
    pub kind: EncKind,
    /// The bytes.
    pub ciphertext: Vec<u8>,
    /// On a resend: the number of the retry it answers.
    pub count: Option<u8>,
    /// `image`, `ptt`, `url` …
    pub mediatype: Option<String>,
    /// `decrypt-fail="hide"`: no placeholder if it does not open.
    pub hide_failure: bool,
}

impl Enc {
    /// A plain text's ciphertext.
    pub fn new(kind: EncKind, ciphertext: Vec<u8>) -> Self {
        Self { kind, ciphertext, count: None, mediatype: None, hide_failure: false }
    }

    /// Reads `<enc v="2" type>`.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        Ok(Self {
            kind: EncKind::parse(node.text("type").ok_or(Malformed("enc type"))?),
            ciphertext: node.content_bytes().ok_or(Malformed("enc"))?.into_owned(),
            count: node.number("count"),
            mediatype: node.text("mediatype").map(str::to_owned),
            hide_failure: node.text("decrypt-fail") == Some("hide"),
        })
    }

    /// Builds it.
    pub fn build(&self) -> Node {
        Node::new("enc")
            .attr("v", "2")
            .attr("type", self.kind.as_str().to_owned())
            .attr_opt("count", self.count.map(u32::from))
            .attr_opt("mediatype", self.mediatype.clone())
            .attr_opt("decrypt-fail", self.hide_failure.then_some("hide"))
            .bytes(self.ciphertext.clone())
    }
}

/// Client → server.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// The sender's id, fixed before anything leaves.
    pub id: String,
    /// The chat; a device where one device alone is meant.
    pub to: Jid,
    /// text, media, reaction, poll, event …
    pub kind: String,
    /// 1 edit, 7 revoke …
    pub edit: Option<String>,
    /// `category="peer"`: to an own device.
    pub peer: bool,
    /// How urgently the server wakes the phone for a peer message.
    pub push_priority: Option<String>,
    /// On a resend to an own device: the chat.
    pub recipient: Option<Jid>,
    /// On a resend within a group: the device.
    pub participant: Option<Jid>,
    /// With a LID in `to`: the phone number it belongs to.
    pub peer_recipient_pn: Option<Jid>,
    /// lid or pn; groups.
    pub addressing_mode: Option<String>,
    /// Over all devices that the sender knows in the group.
    pub phash: Option<String>,
    /// One ciphertext a device. An entry without one names an audience.
    pub participants: Vec<(Jid, Option<Enc>)>,
    /// A ciphertext for `to` itself.
    pub direct: Option<Enc>,
    /// The sender's ADVSignedDeviceIdentity; with every `pkmsg`.
    pub device_identity: Option<Vec<u8>>,
    /// `<meta>`, `<reporting>`, `<biz>` … carried along unread.
    pub extras: Vec<Node>,
}

/// Children that the server hands on to the receivers as they are.
const FORWARDED: [&str; 5] = ["meta", "biz", "bot", "reporting", "verified_name"];

impl Outgoing {
    /// A text to one person's devices.
    pub fn text(id: String, to: Jid) -> Self {
        Self {
            id,
            to,
            kind: "text".into(),
            edit: None,
            peer: false,
            push_priority: None,
            recipient: None,
            participant: None,
            peer_recipient_pn: None,
            addressing_mode: None,
            phash: None,
            participants: Vec::new(),
            direct: None,
            device_identity: None,
            extras: Vec::new(),
        }
    }

    /// From one device to another of the same account: what the two have to say to each other, and to nobody else.
    pub fn peer(id: String, to: Jid) -> Self {
        let meta = Node::new("meta").attr("appdata", "default");
        Self {
            peer: true,
            push_priority: Some("high_force".into()),
            extras: vec![meta],
            ..Self::text(id, to)
        }
    }

    /// Builds the client's stanza.
    pub fn build(&self) -> Node {
        let to = self
            .participants
            .iter()
            .map(|(device, enc)| Node::new("to").attr("jid", device).child_opt(enc.as_ref().map(Enc::build)));
        let participants =
            (!self.participants.is_empty()).then(|| Node::new("participants").children_from(to));
        Node::new("message")
            .attr("id", self.id.clone())
            .attr("to", &self.to)
            .attr("type", self.kind.clone())
            .attr_opt("edit", self.edit.clone())
            .attr_opt("category", self.peer.then_some("peer"))
            .attr_opt("push_priority", self.push_priority.clone())
            .attr_opt("recipient", self.recipient.as_ref())
            .attr_opt("participant", self.participant.as_ref())
            .attr_opt("peer_recipient_pn", self.peer_recipient_pn.as_ref())
            .attr_opt("addressing_mode", self.addressing_mode.clone())
            .attr_opt("phash", self.phash.clone())
            .child_opt(participants)
            .child_opt(self.direct.as_ref().map(Enc::build))
            .child_opt(self.device_identity.clone().map(|bytes| Node::new("device-identity").bytes(bytes)))
            .children_from(self.extras.clone())
    }

    /// Reads what any client sends.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let participants = node
            .find("participants")
            .into_iter()
            .flat_map(|p| p.find_all("to"))
            .map(|to| Ok((jid(to, "jid")?, to.find("enc").map(Enc::parse).transpose()?)))
            .collect::<Result<_, Malformed>>()?;
        Ok(Self {
            id: text(node, "id")?,
            to: jid(node, "to")?,
            kind: text(node, "type")?,
            edit: node.text("edit").map(str::to_owned),
            peer: node.text("category") == Some("peer"),
            push_priority: node.text("push_priority").map(str::to_owned),
            recipient: node.jid("recipient"),
            participant: node.jid("participant"),
            peer_recipient_pn: node.jid("peer_recipient_pn"),
            addressing_mode: node.text("addressing_mode").map(str::to_owned),
            phash: node.text("phash").map(str::to_owned),
            participants,
            direct: node.find("enc").map(Enc::parse).transpose()?,
            device_identity: node
                .find("device-identity")
                .and_then(Node::content_bytes)
                .map(std::borrow::Cow::into_owned),
            extras: forwarded(node),
        })
    }
}

fn forwarded(node: &Node) -> Vec<Node> {
    node.children().iter().filter(|c| FORWARDED.contains(&c.tag.as_ref())).cloned().collect()
}

/// Most people whom a broadcast list has, as WhatsApp's apps let it grow.
pub const MAX_AUDIENCE: usize = 256;

/// Server → device.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// The sender's id.
    pub id: String,
    /// A person's device, or a group, status@broadcast, a newsletter.
    pub from: Jid,
    /// Server time, Unix seconds.
    pub t: u64,
    /// text, media, reaction …
    pub kind: String,
    /// The author's device where `from` is not a person.
    pub participant: Option<Jid>,
    /// On copies of what an own device sent: the chat.
    pub recipient: Option<Jid>,
    /// The sender's other name: `sender_lid`, `sender_pn`, `participant_lid` or `participant_pn`.
    pub sender_alt: Option<Jid>,
    /// The chat's other name on own copies: `peer_recipient_lid` or `peer_recipient_pn`.
    pub recipient_alt: Option<Jid>,
    /// The sender's push name.
    pub notify: Option<String>,
    /// From an own device to this one.
    pub peer: bool,
    /// 1 edit, 7 revoke …
    pub edit: Option<String>,
    /// From the queue; how often it was delivered before.
    pub offline: Option<u32>,
    /// lid or pn; groups.
    pub addressing_mode: Option<String>,
    /// In document order.
    pub encs: Vec<Enc>,
    /// Beside a `pkmsg` of a companion.
    pub device_identity: Option<Vec<u8>>,
    /// The server holds no ciphertext for this device: the reason's `type`.
    pub unavailable: Option<String>,
    /// On copies of what an own device sent to a broadcast list: whom it went to.
    pub audience: Vec<Jid>,
    /// `<meta>`, `<reporting>`, `<biz>` …
    pub extras: Vec<Node>,
}

impl Incoming {
    /// Builds the server's stanza.
    pub fn build(&self) -> Node {
        let alt = |jid: &Jid, lid: &'static str, pn: &'static str| -> Text {
            if jid.is_lid() { lid.into() } else { pn.into() }
        };
        let mut node = Node::new("message")
            .attr("id", self.id.clone())
            .attr("from", &self.from)
            .attr("type", self.kind.clone())
            .attr("t", self.t)
            .attr_opt("category", self.peer.then_some("peer"))
            .attr_opt("participant", self.participant.as_ref())
            .attr_opt("notify", self.notify.clone())
            .attr_opt("recipient", self.recipient.as_ref())
            .attr_opt("edit", self.edit.clone())
            .attr_opt("addressing_mode", self.addressing_mode.clone())
            .attr_opt("offline", self.offline);
        if let Some(other) = &self.sender_alt {
            let key = if self.participant.is_some() {
                alt(other, "participant_lid", "participant_pn")
            } else {
                alt(other, "sender_lid", "sender_pn")
            };
            node = node.attr(key, other);
        }
        if let Some(other) = &self.recipient_alt {
            node = node.attr(alt(other, "peer_recipient_lid", "peer_recipient_pn"), other);
        }
        let audience = (!self.audience.is_empty()).then(|| {
            let to = self.audience.iter().map(|person| Node::new("to").attr("jid", person));
            Node::new("participants").children_from(to)
        });
        node.child_opt(audience)
            .children_from(self.encs.iter().map(Enc::build))
            .child_opt(self.device_identity.clone().map(|bytes| Node::new("device-identity").bytes(bytes)))
            .child_opt(self.unavailable.clone().map(|kind| Node::new("unavailable").attr("type", kind)))
            .children_from(self.extras.clone())
    }

    /// Reads what the server delivers.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let first = |keys: &[&str]| keys.iter().find_map(|key| node.jid(key));
        Ok(Self {
            id: text(node, "id")?,
            from: jid(node, "from")?,
            t: node.number("t").ok_or(Malformed("t"))?,
            kind: node.text("type").unwrap_or("text").to_owned(),
            participant: node.jid("participant"),
            recipient: node.jid("recipient"),
            sender_alt: first(&["sender_lid", "sender_pn", "participant_lid", "participant_pn"]),
            recipient_alt: first(&[
                "peer_recipient_lid",
                "peer_recipient_pn",
                "recipient_lid",
                "recipient_pn",
            ]),
            notify: node.text("notify").map(str::to_owned),
            peer: node.text("category") == Some("peer"),
            edit: node.text("edit").map(str::to_owned),
            offline: node.has("offline").then(|| node.number("offline").unwrap_or(0)),
            addressing_mode: node.text("addressing_mode").map(str::to_owned),
            encs: node.find_all("enc").map(Enc::parse).collect::<Result<_, _>>()?,
            device_identity: node
                .find("device-identity")
                .and_then(Node::content_bytes)
                .map(std::borrow::Cow::into_owned),
            unavailable: node.find("unavailable").map(|u| u.text("type").unwrap_or_default().to_owned()),
            audience: node
                .find("participants")
                .into_iter()
                .flat_map(|participants| participants.find_all("to"))
                .filter_map(|to| to.jid("jid"))
                .take(MAX_AUDIENCE)
                .collect(),
            extras: forwarded(node),
        })
    }
}
