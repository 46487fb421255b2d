//! Linking by QR code: `<pair-device>`, the code itself, `<pair-success>`, `<pair-device-sign>`.
//! Shapes: Baileys `Socket/socket.ts`, whatsmeow `pair.go`, whatsapp-rust `wacore/src/pair.rs`.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{Malformed, bytes, jid, text};
use crate::{
    crypto::PublicKey,
    wire::{Jid, Node},
};

/// Server → fresh companion: one-time refs, each good for one code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairDevice {
    /// To be answered with an empty result.
    pub id: String,
    /// ASCII without commas.
    pub refs: Vec<String>,
}

impl PairDevice {
    /// Reads `<iq type="set" xmlns="md"><pair-device>`.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let pair = node.find("pair-device").ok_or(Malformed("pair-device"))?;
        let refs = pair
            .find_all("ref")
            .map(|r| {
                let content = r.content_bytes().ok_or(Malformed("ref"))?;
                let text = String::from_utf8(content.into_owned()).map_err(|_| Malformed("ref"))?;
                if text.is_empty() || text.contains(',') { Err(Malformed("ref")) } else { Ok(text) }
            })
            .collect::<Result<Vec<_>, _>>()?;
        if refs.is_empty() {
            return Err(Malformed("ref"));
        }
        Ok(Self { id: text(node, "id")?, refs })
    }

    /// Builds the server's stanza.
    pub fn build(&self) -> Node {
        let refs = self.refs.iter().map(|r| Node::new("ref").bytes(r.as_bytes()));
        Node::new("iq")
            .attr("from", Jid::server_itself())
            .attr("type", "set")
            .attr("id", self.id.clone())
            .attr("xmlns", "md")
            .child(Node::new("pair-device").children_from(refs))
    }
}

/// What a QR code says: `[URL#]REF,NOISE,IDENTITY,ADV[,TYPE]`, keys in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QrCode {
    /// One of the refs of [`PairDevice`].
    pub reference: String,
    /// The companion's Noise static key.
    pub noise: PublicKey,
    /// The companion's Signal identity.
    pub identity: PublicKey,
    /// The secret that proves that the answer comes from the phone that scanned.
    pub adv_secret: [u8; 32],
    /// Companion web client type; `1` is Chrome, `9` another web client.
    pub client_type: char,
}

impl QrCode {
    /// In front of the parts since Baileys 7.0.0-rc14; phones accept codes with and without it.
    const URL: &str = "https://wa.me/settings/linked_devices#";

    /// The text that the code encodes.
    pub fn build(&self) -> String {
        format!(
            "{},{},{},{},{}",
            self.reference,
            BASE64_STANDARD.encode(self.noise.as_bytes()),
            BASE64_STANDARD.encode(self.identity.as_bytes()),
            BASE64_STANDARD.encode(self.adv_secret),
            self.client_type
        )
    }

    /// Reads the text of a code, with or without the URL in front and the type at the end.
    pub fn parse(qr: &str) -> Result<Self, Malformed> {
        let parts = qr.trim().strip_prefix(Self::URL).unwrap_or_else(|| qr.trim());
        let parts = parts.rsplit_once('#').map_or(parts, |(_, rest)| rest);
        let mut parts = parts.split(',');
        let key = |what: &'static str, part: Option<&str>| -> Result<[u8; 32], Malformed> {
            let bytes = BASE64_STANDARD.decode(part.ok_or(Malformed(what))?).map_err(|_| Malformed(what))?;
            bytes.try_into().map_err(|_| Malformed(what))
        };
        let reference = parts.next().filter(|r| !r.is_empty()).ok_or(Malformed("ref"))?.to_owned();
        Ok(Self {
            reference,
            noise: PublicKey::from_bytes(key("noise key", parts.next())?),
            identity: PublicKey::from_bytes(key("identity key", parts.next())?),
            adv_secret: key("adv secret", parts.next())?,
            client_type: parts.next().and_then(|t| t.chars().next()).unwrap_or('0'),
        })
    }
}

/// Server → companion: a phone accepted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairSuccess {
    /// To be answered with [`PairDeviceSign`], or an error.
    pub id: String,
    /// Server time, Unix seconds.
    pub t: Option<u64>,
    /// Serialized ADVSignedDeviceIdentityHMAC.
    pub container: Vec<u8>,
    /// The companion's own address, device number included.
    pub jid: Jid,
    /// The same device under the account's hidden identity.
    pub lid: Option<Jid>,
    /// `android`, `iphone`, `smba`, `smbi` …
    pub platform: Option<String>,
    /// Name of a business account.
    pub business_name: Option<String>,
}

impl PairSuccess {
    /// Reads `<iq type="set" xmlns="md"><pair-success>`.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let pair = node.find("pair-success").ok_or(Malformed("pair-success"))?;
        let device = pair.find("device").ok_or(Malformed("device"))?;
        let name = |tag| pair.find(tag).and_then(|n| n.text("name")).map(str::to_owned);
        Ok(Self {
            id: text(node, "id")?,
            t: node.number("t"),
            container: bytes(pair, "device-identity")?,
            jid: jid(device, "jid")?,
            lid: device.jid("lid"),
            platform: name("platform"),
            business_name: name("biz"),
        })
    }

    /// Builds the server's stanza.
    pub fn build(&self) -> Node {
        let device = Node::new("device").attr("jid", &self.jid).attr_opt("lid", self.lid.as_ref());
        let pair = Node::new("pair-success")
            .child(Node::new("device-identity").bytes(self.container.clone()))
            .child(device)
            .child_opt(self.platform.clone().map(|name| Node::new("platform").attr("name", name)))
            .child_opt(self.business_name.clone().map(|name| Node::new("biz").attr("name", name)));
        Node::new("iq")
            .attr("from", Jid::server_itself())
            .attr("type", "set")
            .attr("id", self.id.clone())
            .attr("xmlns", "md")
            .attr_opt("t", self.t)
            .child(pair)
    }
}

/// Companion → server: the device identity with the companion's own signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairDeviceSign {
    /// The id of pair-success.
    pub id: String,
    /// Repeats the index inside the identity.
    pub key_index: u32,
    /// Serialized ADVSignedDeviceIdentity.
    pub identity: Vec<u8>,
}

impl PairDeviceSign {
    /// Reads the companion's answer.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let sign = node.find("pair-device-sign").ok_or(Malformed("pair-device-sign"))?;
        let identity = sign.find("device-identity").ok_or(Malformed("device-identity"))?;
        Ok(Self {
            id: text(node, "id")?,
            key_index: identity.number("key-index").ok_or(Malformed("key-index"))?,
            identity: bytes(sign, "device-identity")?,
        })
    }

    /// Builds the companion's answer.
    pub fn build(&self) -> Node {
        let identity =
            Node::new("device-identity").attr("key-index", self.key_index).bytes(self.identity.clone());
        super::Iq::result_to_server(&self.id).child(Node::new("pair-device-sign").child(identity))
    }
}
