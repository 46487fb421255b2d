//! Linking by a code typed on the phone: `<link_code_companion_reg stage>`, from both ends and through the server.
//! Shapes: Baileys `Socket/socket.ts` and `Socket/messages-recv.ts`, whatsapp-rust 0.7 `wacore/src/pair_code.rs`.

use super::{Iq, IqKind, Malformed, Notification, bytes, jid, text};
use crate::{
    crypto::{PublicKey, link_code::WRAPPED},
    wire::{Jid, Node},
};

/// The element, and the type of its notification.
const ELEMENT: &str = "link_code_companion_reg";
/// Refs are short texts; a longer one is nobody's.
const REF_MAX: usize = 512;

fn fixed<const N: usize>(node: &Node, tag: &'static str) -> Result<[u8; N], Malformed> {
    bytes(node, tag)?.try_into().map_err(|_| Malformed(tag))
}

fn key(node: &Node, tag: &'static str) -> Result<PublicKey, Malformed> {
    fixed(node, tag).map(PublicKey::from_bytes)
}

fn reference(node: &Node) -> Result<Vec<u8>, Malformed> {
    let reference = bytes(node, "link_code_pairing_ref")?;
    if reference.is_empty() || reference.len() > REF_MAX {
        return Err(Malformed("link_code_pairing_ref"));
    }
    Ok(reference)
}

fn element(stage: &'static str) -> Node {
    Node::new(ELEMENT).attr("stage", stage)
}

fn content(tag: &'static str, bytes: impl Into<Vec<u8>>) -> Node {
    Node::new(tag).bytes(bytes)
}

/// What a companion sends of a linking by code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkCodeQuery {
    /// It shows a code, for the phone with this number.
    Hello(CompanionHello),
    /// The code was typed.
    Finish(CompanionFinish),
}

impl LinkCodeQuery {
    /// Whether a query is one of these, readable or not.
    pub fn is(node: &Node) -> bool {
        node.find(ELEMENT).is_some()
    }

    /// Reads a companion's query.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let element = node.find(ELEMENT).ok_or(Malformed(ELEMENT))?;
        match element.text("stage") {
            Some("companion_hello") => CompanionHello::parse(node, element).map(Self::Hello),
            Some("companion_finish") => CompanionFinish::parse(node, element).map(Self::Finish),
            _ => Err(Malformed("stage")),
        }
    }
}

/// Companion → server: a code is on show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompanionHello {
    /// The answer carries a ref.
    pub id: String,
    /// Whose phone is to be asked for the code.
    pub jid: Jid,
    /// The companion's ephemeral key, wrapped with the code.
    pub wrapped: [u8; WRAPPED],
    /// The companion's Noise static key.
    pub noise: PublicKey,
    /// As the last part of a QR code.
    pub platform: String,
    /// `Browser (OS)`: the server refuses what has another form.
    pub display: String,
}

impl CompanionHello {
    fn parse(node: &Node, element: &Node) -> Result<Self, Malformed> {
        let words = |tag: &'static str| String::from_utf8(bytes(element, tag)?).map_err(|_| Malformed(tag));
        Ok(Self {
            id: text(node, "id")?,
            jid: jid(element, "jid")?,
            wrapped: fixed(element, "link_code_pairing_wrapped_companion_ephemeral_pub")?,
            noise: key(element, "companion_server_auth_key_pub")?,
            platform: words("companion_platform_id")?,
            display: words("companion_platform_display")?,
        })
    }

    /// Builds the companion's query.
    pub fn build(&self) -> Node {
        let element = element("companion_hello")
            .attr("jid", &self.jid)
            .attr("should_show_push_notification", "true")
            .child(content("link_code_pairing_wrapped_companion_ephemeral_pub", self.wrapped))
            .child(content("companion_server_auth_key_pub", *self.noise.as_bytes()))
            .child(content("companion_platform_id", self.platform.as_bytes()))
            .child(content("companion_platform_display", self.display.as_bytes()))
            // One byte of zero, as WhatsApp Web and whatsmeow send it.
            .child(content("link_code_pairing_nonce", [0]));
        Iq::query(&self.id, IqKind::Set, "md").child(element)
    }

    /// The server's answer: the ref by which both ends name this code.
    pub fn answer(id: &str, reference: &[u8]) -> Node {
        let element = element("companion_hello").child(content("link_code_pairing_ref", reference));
        Iq::result(id).child(element)
    }

    /// Reads that answer.
    pub fn read_answer(node: &Node) -> Result<Vec<u8>, Malformed> {
        reference(node.find(ELEMENT).ok_or(Malformed(ELEMENT))?)
    }
}

/// Companion → server: what the phone needs to vouch for the companion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompanionFinish {
    /// Answered with an empty result.
    pub id: String,
    /// As in the hello.
    pub jid: Jid,
    /// Sealed; the size is checked by whoever opens it.
    pub bundle: Vec<u8>,
    /// The companion's Signal identity.
    pub identity: PublicKey,
    /// Names the code.
    pub reference: Vec<u8>,
}

impl CompanionFinish {
    fn parse(node: &Node, element: &Node) -> Result<Self, Malformed> {
        Ok(Self {
            id: text(node, "id")?,
            jid: jid(element, "jid")?,
            bundle: bytes(element, "link_code_pairing_wrapped_key_bundle")?,
            identity: key(element, "companion_identity_public")?,
            reference: reference(element)?,
        })
    }

    /// Builds the companion's query.
    pub fn build(&self) -> Node {
        let element = element("companion_finish")
            .attr("jid", &self.jid)
            .child(content("link_code_pairing_wrapped_key_bundle", self.bundle.clone()))
            .child(content("companion_identity_public", *self.identity.as_bytes()))
            .child(content("link_code_pairing_ref", self.reference.clone()));
        Iq::query(&self.id, IqKind::Set, "md").child(element)
    }
}

/// Server → companion: what became of the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkCodeNotice {
    /// Somebody typed one.
    PrimaryHello {
        /// Names the code.
        reference: Vec<u8>,
        /// The phone's ephemeral key, wrapped with what was typed.
        wrapped: [u8; WRAPPED],
        /// The phone's Signal identity.
        identity: PublicKey,
    },
    /// A phone has begun; the same with the keys follows, or a passkey is asked for instead.
    Precursor,
    /// The code is worth nothing any more.
    Refresh {
        /// Names the code.
        reference: Vec<u8>,
        /// The next one is made when a person asks for it, not before.
        by_hand: bool,
    },
}

impl LinkCodeNotice {
    /// The type of the notification.
    pub const KIND: &str = ELEMENT;

    /// Reads the server's notification.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        const WRAPPED_KEY: &str = "link_code_pairing_wrapped_primary_ephemeral_pub";
        let element = node.find(ELEMENT).ok_or(Malformed(ELEMENT))?;
        if element.text("stage") == Some("refresh_code") {
            let by_hand = element.text("force_manual_refresh") == Some("true");
            return Ok(Self::Refresh { reference: reference(element)?, by_hand });
        }
        if element.find(WRAPPED_KEY).is_none() {
            return Ok(Self::Precursor);
        }
        if element.text("stage") != Some("primary_hello") {
            return Err(Malformed("stage"));
        }
        Ok(Self::PrimaryHello {
            reference: reference(element)?,
            wrapped: fixed(element, WRAPPED_KEY)?,
            identity: key(element, "primary_identity_pub")?,
        })
    }

    /// Builds it; `t` in Unix seconds.
    pub fn build(&self, id: &str, t: u64) -> Node {
        let child = match self {
            Self::PrimaryHello { reference, wrapped, identity } => element("primary_hello")
                .child(content("link_code_pairing_wrapped_primary_ephemeral_pub", *wrapped))
                .child(content("primary_identity_pub", *identity.as_bytes()))
                .child(content("link_code_pairing_ref", reference.clone())),
            Self::Precursor => element("primary_hello"),
            Self::Refresh { reference, by_hand } => element("refresh_code")
                .attr("force_manual_refresh", if *by_hand { "true" } else { "false" })
                .child(content("link_code_pairing_ref", reference.clone())),
        };
        Notification::frame(id, &Jid::server_itself(), ELEMENT, t).child(child)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> CompanionHello {
        CompanionHello {
            id: "1.2-3".into(),
            jid: Jid::pn("5511912345678"),
            wrapped: [7; WRAPPED],
            noise: PublicKey::from_bytes([8; 32]),
            platform: "1".into(),
            display: "Chrome (Linux)".into(),
        }
    }

    fn finish() -> CompanionFinish {
        CompanionFinish {
            id: "1.2-4".into(),
            jid: Jid::pn("5511912345678"),
            bundle: vec![1; 156],
            identity: PublicKey::from_bytes([2; 32]),
            reference: b"2@ref".to_vec(),
        }
    }

    /// The same node with the content of one grandchild replaced, or without it.
    fn with(node: &Node, tag: &str, replaced: Option<Vec<u8>>) -> Node {
        let element = node.find(ELEMENT).unwrap();
        let children = element.children().iter().filter_map(|child| match (&replaced, child.tag == tag) {
            (None, true) => None,
            (Some(bytes), true) => Some(Node::new(tag.to_owned()).bytes(bytes.clone())),
            (_, false) => Some(child.clone()),
        });
        let mut bare = Node::new(ELEMENT);
        for name in ["jid", "stage"] {
            bare = bare.attr_opt(name.to_owned(), element.get(name).cloned());
        }
        Node::new("iq").attr("id", "1").child(bare.children_from(children))
    }

    #[test]
    fn what_is_built_is_read() {
        let (hello, finish) = (hello(), finish());
        assert_eq!(LinkCodeQuery::parse(&hello.build()), Ok(LinkCodeQuery::Hello(hello)));
        assert_eq!(LinkCodeQuery::parse(&finish.build()), Ok(LinkCodeQuery::Finish(finish)));
        let answer = CompanionHello::answer("1", b"2@ref");
        assert_eq!(CompanionHello::read_answer(&answer), Ok(b"2@ref".to_vec()));
        let reference = b"2@ref".to_vec();
        let identity = PublicKey::from_bytes([3; 32]);
        for notice in [
            LinkCodeNotice::PrimaryHello { reference: reference.clone(), wrapped: [4; WRAPPED], identity },
            LinkCodeNotice::Precursor,
            LinkCodeNotice::Refresh { reference: reference.clone(), by_hand: true },
            LinkCodeNotice::Refresh { reference, by_hand: false },
        ] {
            assert_eq!(LinkCodeNotice::parse(&notice.build("9", 1)), Ok(notice));
        }
    }

    #[test]
    fn what_lacks_a_part_or_has_one_of_another_size_is_refused() {
        for (node, tag) in [
            (hello().build(), "link_code_pairing_wrapped_companion_ephemeral_pub"),
            (hello().build(), "companion_server_auth_key_pub"),
            (finish().build(), "companion_identity_public"),
            (finish().build(), "link_code_pairing_ref"),
        ] {
            for damage in [None, Some(vec![]), Some(vec![1; 31]), Some(vec![1; 79]), Some(vec![1; 600])] {
                let damaged = with(&node, tag, damage.clone());
                if tag == "link_code_pairing_ref"
                    && damage.as_ref().is_some_and(|d| (1..=512).contains(&d.len()))
                {
                    continue;
                }
                assert_eq!(LinkCodeQuery::parse(&damaged), Err(Malformed(tag)));
            }
        }
        assert!(LinkCodeQuery::parse(&Node::new("iq").child(Node::new(ELEMENT))).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_bring_a_reader_down(wrapped: Vec<u8>, identity: Vec<u8>, reference: Vec<u8>) {
            let element = element("primary_hello")
                .child(content("link_code_pairing_wrapped_primary_ephemeral_pub", wrapped.clone()))
                .child(content("primary_identity_pub", identity.clone()))
                .child(content("link_code_pairing_ref", reference.clone()));
            let read = LinkCodeNotice::parse(&Node::new("notification").child(element));
            let fits = wrapped.len() == WRAPPED && identity.len() == 32 && !reference.is_empty();
            prop_assert_eq!(read.is_ok(), fits && reference.len() <= REF_MAX);
        }
    }
}
