//! Prekeys: upload, count, digest, rotation, and the bundles that others fetch.
//! Lengths are exact on the wire: registration 4 bytes, ids 3, keys 32, signatures 64 (whatsmeow checks them).

use sha1::{Digest as _, Sha1};

use super::{Iq, IqKind, Malformed, big_endian, bytes};
use crate::{
    crypto::{
        PublicKey,
        signal::{OneTimePreKey, PreKeyBundle, SignedPreKey},
    },
    wire::{Jid, Node},
};

/// The `<type>` of a Curve25519 key.
const KEY_TYPE: u8 = 5;

fn key_id(id: u32) -> [u8; 3] {
    let [_, a, b, c] = id.to_be_bytes();
    [a, b, c]
}

fn public_key(node: &Node, tag: &'static str) -> Result<PublicKey, Malformed> {
    let raw: [u8; 32] = bytes(node, tag)?.try_into().map_err(|_| Malformed(tag))?;
    Ok(PublicKey::from_bytes(raw))
}

fn signed_node(key: &SignedPreKey) -> Node {
    Node::new("skey")
        .child(Node::new("id").bytes(key_id(key.id)))
        .child(Node::new("value").bytes(*key.key.as_bytes()))
        .child(Node::new("signature").bytes(key.signature))
}

/// Reads `<skey>`: of an upload, a bundle or a `<rotate>`.
pub fn read_signed(node: &Node) -> Result<SignedPreKey, Malformed> {
    let skey = node.find("skey").ok_or(Malformed("skey"))?;
    Ok(SignedPreKey {
        id: big_endian(skey, "id")?,
        key: public_key(skey, "value")?,
        signature: bytes(skey, "signature")?.try_into().map_err(|_| Malformed("signature"))?,
    })
}

fn one_time_node(key: &OneTimePreKey) -> Node {
    Node::new("key")
        .child(Node::new("id").bytes(key_id(key.id)))
        .child(Node::new("value").bytes(*key.key.as_bytes()))
}

fn read_one_time(key: &Node) -> Result<OneTimePreKey, Malformed> {
    Ok(OneTimePreKey { id: big_endian(key, "id")?, key: public_key(key, "value")? })
}

fn registration_node(id: u32) -> Node {
    Node::new("registration").bytes(id.to_be_bytes())
}

fn type_node() -> Node {
    Node::new("type").bytes([KEY_TYPE])
}

/// Client → server: keys for the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The device's registration id.
    pub registration_id: u32,
    /// The device's Signal identity; must be the one it was linked with.
    pub identity: PublicKey,
    /// Added to the pool.
    pub one_time: Vec<OneTimePreKey>,
    /// Replaces the one on the server.
    pub signed: SignedPreKey,
}

impl Upload {
    /// Builds the query.
    pub fn build(&self, id: &str) -> Node {
        Iq::query(id, IqKind::Set, "encrypt")
            .child(registration_node(self.registration_id))
            .child(type_node())
            .child(Node::new("identity").bytes(*self.identity.as_bytes()))
            .child(Node::new("list").children_from(self.one_time.iter().map(one_time_node)))
            .child(signed_node(&self.signed))
    }

    /// Reads the query.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let list = node.find("list").ok_or(Malformed("list"))?;
        Ok(Self {
            registration_id: big_endian(node, "registration")?,
            identity: public_key(node, "identity")?,
            one_time: list.find_all("key").map(read_one_time).collect::<Result<_, _>>()?,
            signed: read_signed(node)?,
        })
    }
}

/// Client → server: a new signed prekey.
pub fn rotate(id: &str, signed: &SignedPreKey) -> Node {
    Iq::query(id, IqKind::Set, "encrypt").child(Node::new("rotate").child(signed_node(signed)))
}

/// Client → server: how many one-time keys are left?
pub fn count_query(id: &str) -> Node {
    Iq::query(id, IqKind::Get, "encrypt").child(Node::new("count"))
}

/// Server → client: so many.
pub fn count_answer(id: &str, count: usize) -> Node {
    Iq::result(id).child(Node::new("count").attr("value", count))
}

/// The number in a count answer.
pub fn read_count_answer(node: &Node) -> Result<u32, Malformed> {
    node.find("count").and_then(|c| c.number("value")).ok_or(Malformed("count"))
}

/// Client → server: what does the server hold?
pub fn digest_query(id: &str) -> Node {
    Iq::query(id, IqKind::Get, "encrypt").child(Node::new("digest"))
}

/// Server → client: what it holds, with a hash over the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// As uploaded.
    pub registration_id: u32,
    /// As uploaded.
    pub identity: PublicKey,
    /// As uploaded.
    pub signed: SignedPreKey,
    /// Ids of the pool as it stands.
    pub one_time_ids: Vec<u32>,
    /// SHA-1 over identity, signed prekey, signature and each one-time key in list order.
    pub hash: [u8; 20],
}

impl Digest {
    /// The hash over the keys in question.
    pub fn hash<'a>(
        identity: &PublicKey,
        signed: &SignedPreKey,
        one_time: impl IntoIterator<Item = &'a PublicKey>,
    ) -> [u8; 20] {
        let mut sha = Sha1::new();
        sha.update(identity.as_bytes());
        sha.update(signed.key.as_bytes());
        sha.update(signed.signature);
        one_time.into_iter().for_each(|key| sha.update(key.as_bytes()));
        sha.finalize().into()
    }

    /// Builds the server's answer.
    pub fn build(&self, id: &str) -> Node {
        let ids = self.one_time_ids.iter().map(|id| Node::new("id").bytes(key_id(*id)));
        let digest = Node::new("digest")
            .child(registration_node(self.registration_id))
            .child(type_node())
            .child(Node::new("identity").bytes(*self.identity.as_bytes()))
            .child(signed_node(&self.signed))
            .child(Node::new("list").children_from(ids))
            .child(Node::new("hash").bytes(self.hash));
        Iq::result(id).child(digest)
    }

    /// Reads the server's answer.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let digest = node.find("digest").ok_or(Malformed("digest"))?;
        let id = |node: &Node| {
            let content = node.content_bytes().filter(|b| b.len() <= 4).ok_or(Malformed("id"))?;
            Ok(content.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)))
        };
        let list = digest.find("list").ok_or(Malformed("list"))?;
        Ok(Self {
            registration_id: big_endian(digest, "registration")?,
            identity: public_key(digest, "identity")?,
            signed: read_signed(digest)?,
            one_time_ids: list.find_all("id").map(id).collect::<Result<_, _>>()?,
            hash: bytes(digest, "hash")?.try_into().map_err(|_| Malformed("hash"))?,
        })
    }
}

/// Client → server: bundles of these devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleQuery {
    /// Device JIDs; the answer echoes each as it was spelt.
    pub devices: Vec<Jid>,
    /// Fetched because an identity changed or a retry asked for it; a hint only.
    pub reason: Option<String>,
}

impl BundleQuery {
    /// Builds the query.
    pub fn build(&self, id: &str) -> Node {
        let users = self
            .devices
            .iter()
            .map(|device| Node::new("user").attr("jid", device).attr_opt("reason", self.reason.clone()));
        Iq::query(id, IqKind::Get, "encrypt").child(Node::new("key").children_from(users))
    }

    /// Reads the query.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let key = node.find("key").ok_or(Malformed("key"))?;
        let devices = key.find_all("user").map(|u| super::jid(u, "jid")).collect::<Result<_, _>>()?;
        let reason = key.find("user").and_then(|u| u.text("reason")).map(str::to_owned);
        Ok(Self { devices, reason })
    }
}

/// One device's keys, or why there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedBundle {
    /// As asked.
    pub device: Jid,
    /// Keys, and for a companion its serialized ADVSignedDeviceIdentity; or an error code (406: no such device).
    pub keys: Result<(PreKeyBundle, Option<Vec<u8>>), u16>,
}

/// Server → client: one entry a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleAnswer(pub Vec<FetchedBundle>);

impl BundleAnswer {
    /// Builds the server's answer. A device without keys is left out: Baileys fails the whole batch at an error entry.
    pub fn build(&self, id: &str) -> Node {
        let users = self.0.iter().filter_map(|entry| {
            let (bundle, identity) = entry.keys.as_ref().ok()?;
            Some(
                Node::new("user")
                    .attr("jid", &entry.device)
                    .child(registration_node(bundle.registration_id))
                    .child(type_node())
                    .child(Node::new("identity").bytes(*bundle.identity.as_bytes()))
                    .child_opt(bundle.one_time.as_ref().map(one_time_node))
                    .child(signed_node(&bundle.signed_prekey))
                    .child_opt(identity.clone().map(|bytes| Node::new("device-identity").bytes(bytes))),
            )
        });
        Iq::result(id).child(Node::new("list").children_from(users))
    }

    /// Reads the server's answer. An entry that cannot be read counts as one without keys.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let list = node.find("list").ok_or(Malformed("list"))?;
        let mut entries = Vec::new();
        for user in list.find_all("user") {
            let device = super::jid(user, "jid")?;
            let keys = match user.find("error") {
                Some(error) => Err(error.number("code").unwrap_or(500)),
                None => bundle_from_node(user).map_err(|_| 500),
            };
            entries.push(FetchedBundle { device, keys });
        }
        Ok(Self(entries))
    }
}

/// Reads a bundle from the children of a `<user>`; some servers wrap them in `<keys>`.
pub fn bundle_from_node(user: &Node) -> Result<(PreKeyBundle, Option<Vec<u8>>), Malformed> {
    let node = user.find("keys").unwrap_or(user);
    let bundle = PreKeyBundle {
        registration_id: big_endian(node, "registration")?,
        identity: public_key(node, "identity")?,
        signed_prekey: read_signed(node)?,
        one_time: node.find("key").map(read_one_time).transpose()?,
    };
    let identity =
        node.find("device-identity").and_then(Node::content_bytes).map(std::borrow::Cow::into_owned);
    Ok((bundle, identity))
}

/// The children of `<keys>` in a retry receipt: no registration, which stands beside it.
pub(super) fn retry_keys_node(
    identity: &PublicKey,
    one_time: Option<&OneTimePreKey>,
    signed: &SignedPreKey,
    device_identity: Option<&[u8]>,
) -> Node {
    Node::new("keys")
        .child(type_node())
        .child(Node::new("identity").bytes(*identity.as_bytes()))
        .child_opt(one_time.map(one_time_node))
        .child(signed_node(signed))
        .child_opt(device_identity.map(|bytes| Node::new("device-identity").bytes(bytes)))
}

/// Reads `<keys>` of a retry receipt.
pub(super) fn read_retry_keys(keys: &Node) -> Result<super::RetryKeys, Malformed> {
    Ok(super::RetryKeys {
        identity: public_key(keys, "identity")?,
        one_time: keys.find("key").map(read_one_time).transpose()?,
        signed: read_signed(keys)?,
        device_identity: keys
            .find("device-identity")
            .and_then(Node::content_bytes)
            .map(std::borrow::Cow::into_owned),
    })
}

/// The registration id beside `<keys>`.
pub(super) fn registration(node: &Node) -> Option<u32> {
    big_endian(node, "registration").ok()
}

pub(super) fn registration_child(id: u32) -> Node {
    registration_node(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check value of the digest, computed independently (SHA-1 over 01×32, 02×32, 03×64, 04×32, 05×32).
    #[test]
    fn the_digest_hash_covers_the_keys_in_order() {
        let key = |byte| PublicKey::from_bytes([byte; 32]);
        let signed = SignedPreKey { id: 1, key: key(2), signature: [3; 64] };
        assert_eq!(
            hex::encode(Digest::hash(&key(1), &signed, [&key(4), &key(5)])),
            "f7c25cd5011ec11b3f3cf3952cd17989410687a5"
        );
    }
}
