//! Linking with a passkey: what a companion asks and tells before it is linked, and what the server says of it. From both
//! ends and through the server. Shapes: protocol notes 06, 1.3.

use super::{Iq, IqKind, Malformed, Notification, bytes};
use crate::wire::{Jid, Node};

const OPTIONS: &str = "passkey_request_options";
const REF: &str = "ref";
const PROLOGUE: &str = "passkey_prologue";
const NONCE: &str = "companion_nonce";
const REQUEST: &str = "encrypted_pairing_request";
const PRIMARY: &str = "primary_ephemeral_identity";

/// Options are a few hundred bytes, and with a long list of credentials some thousands.
pub const OPTIONS_MAX: usize = 16 * 1024;
/// Refs are short texts; a longer one is nobody's.
const REF_MAX: usize = 512;

fn fixed(node: &Node, tag: &'static str) -> Result<[u8; 32], Malformed> {
    bytes(node, tag)?.try_into().map_err(|_| Malformed(tag))
}

fn words(node: &Node, tag: &'static str, longest: usize) -> Result<String, Malformed> {
    let text = String::from_utf8(bytes(node, tag)?).map_err(|_| Malformed(tag))?;
    if text.is_empty() || text.len() > longest { Err(Malformed(tag)) } else { Ok(text) }
}

fn content(tag: &'static str, bytes: impl Into<Vec<u8>>) -> Node {
    Node::new(tag).bytes(bytes)
}

/// Server → companion, on the connection that shows the code which a phone took.
#[derive(Clone, PartialEq, Eq)]
pub enum PasskeyNotice {
    /// A passkey has to sign: the request options as JSON. `None`: they are missing, and to be asked for.
    Wanted(Option<String>),
    /// The phone has answered the prologue: a serialized PrimaryEphemeralIdentity.
    Answered(Vec<u8>),
}

impl PasskeyNotice {
    /// The types of the notifications.
    const WANTED: &str = "passkey_prologue_request";
    const ANSWERED: &str = "crsc_continuation";

    /// Whether a notification is one of these, readable or not.
    pub fn is(node: &Node) -> bool {
        matches!(node.text("type"), Some(Self::WANTED | Self::ANSWERED))
    }

    /// Reads the server's notification.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        match node.text("type") {
            Some(Self::WANTED) if node.find(OPTIONS).is_none() => Ok(Self::Wanted(None)),
            Some(Self::WANTED) => words(node, OPTIONS, OPTIONS_MAX).map(Some).map(Self::Wanted),
            Some(Self::ANSWERED) => bytes(node, PRIMARY).map(Self::Answered),
            _ => Err(Malformed("type")),
        }
    }

    /// Builds it; `t` in Unix seconds.
    pub fn build(&self, id: &str, t: u64) -> Node {
        let frame = |kind| Notification::frame(id, &Jid::server_itself(), kind, t);
        match self {
            Self::Wanted(options) => {
                let child = options.as_ref().map(|options| content(OPTIONS, options.as_bytes()));
                frame(Self::WANTED).child_opt(child)
            }
            Self::Answered(primary) => frame(Self::ANSWERED).child(content(PRIMARY, primary.clone())),
        }
    }
}

/// Companion → server.
#[derive(Clone, PartialEq, Eq)]
pub enum PasskeyQuery {
    /// Options with a fresh challenge.
    Options,
    /// A name for the prologue.
    Ref,
    /// What the passkey signed, and the companion's commitment.
    Prologue(PasskeyPrologue),
    /// What was committed to.
    Nonce([u8; 32]),
    /// A serialized EncryptedPairingRequest, for the phone.
    Request(Vec<u8>),
}

/// See [`PasskeyQuery::Prologue`].
#[derive(Clone, PartialEq, Eq)]
pub struct PasskeyPrologue {
    /// As the authenticator names it, decoded.
    pub credential: Vec<u8>,
    /// JSON.
    pub assertion: Vec<u8>,
    /// A serialized ProloguePayload.
    pub payload: Vec<u8>,
    /// That the companion holds the secret which the phone has seen.
    pub proof: Option<[u8; 32]>,
}

impl PasskeyQuery {
    /// Whether a query is one of these, readable or not.
    pub fn is(node: &Node) -> bool {
        [OPTIONS, REF, PROLOGUE, NONCE, REQUEST].iter().any(|tag| node.find(tag).is_some())
    }

    /// Reads a companion's query.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let asks = node.text("type") == Some("get");
        if asks && node.find(OPTIONS).is_some() {
            Ok(Self::Options)
        } else if asks && node.find(REF).is_some() {
            Ok(Self::Ref)
        } else if asks {
            Err(Malformed("type"))
        } else if let Some(prologue) = node.find(PROLOGUE) {
            let proof = prologue.find("pairing_handoff_proof");
            Ok(Self::Prologue(PasskeyPrologue {
                credential: bytes(prologue, "credential_id")?,
                assertion: bytes(prologue, "webauthn_assertion")?,
                payload: bytes(prologue, "prologue_payload")?,
                proof: proof.map(|_| fixed(prologue, "pairing_handoff_proof")).transpose()?,
            }))
        } else if node.find(NONCE).is_some() {
            fixed(node, NONCE).map(Self::Nonce)
        } else {
            bytes(node, REQUEST).map(Self::Request)
        }
    }

    /// Builds the companion's query.
    pub fn build(self, id: &str) -> Node {
        let (kind, child) = match self {
            Self::Options => (IqKind::Get, Node::new(OPTIONS)),
            Self::Ref => (IqKind::Get, Node::new(REF)),
            Self::Prologue(PasskeyPrologue { credential, assertion, payload, proof }) => {
                let prologue = Node::new(PROLOGUE)
                    .child(content("credential_id", credential))
                    .child(content("webauthn_assertion", assertion))
                    .child(content("prologue_payload", payload))
                    .child_opt(proof.map(|proof| content("pairing_handoff_proof", proof)));
                (IqKind::Set, prologue)
            }
            Self::Nonce(nonce) => (IqKind::Set, content(NONCE, nonce)),
            Self::Request(sealed) => (IqKind::Set, content(REQUEST, sealed)),
        };
        Iq::query(id, kind, "md").child(child)
    }

    /// The server's answer to [`PasskeyQuery::Options`].
    pub fn options_answer(id: &str, options: &str) -> Node {
        Iq::result(id).child(content(OPTIONS, options.as_bytes()))
    }

    /// Reads it.
    pub fn read_options(node: &Node) -> Result<String, Malformed> {
        words(node, OPTIONS, OPTIONS_MAX)
    }

    /// The server's answer to [`PasskeyQuery::Ref`].
    pub fn ref_answer(id: &str, reference: &str) -> Node {
        Iq::result(id).child(content(REF, reference.as_bytes()))
    }

    /// Reads it.
    pub fn read_ref(node: &Node) -> Result<String, Malformed> {
        words(node, REF, REF_MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prologue(proof: Option<[u8; 32]>) -> PasskeyPrologue {
        PasskeyPrologue { credential: vec![1], assertion: b"{}".to_vec(), payload: vec![2; 84], proof }
    }

    #[test]
    fn what_is_built_is_read() {
        for query in [
            PasskeyQuery::Options,
            PasskeyQuery::Ref,
            PasskeyQuery::Prologue(prologue(None)),
            PasskeyQuery::Prologue(prologue(Some([3; 32]))),
            PasskeyQuery::Nonce([4; 32]),
            PasskeyQuery::Request(vec![5; 40]),
        ] {
            let node = query.clone().build("7");
            assert!(PasskeyQuery::is(&node) && node.text("xmlns") == Some("md"));
            assert!(PasskeyQuery::parse(&node) == Ok(query));
        }
        for notice in [
            PasskeyNotice::Wanted(None),
            PasskeyNotice::Wanted(Some("{}".into())),
            PasskeyNotice::Answered(vec![1; 68]),
        ] {
            let node = notice.build("7", 1);
            assert!(PasskeyNotice::is(&node) && PasskeyNotice::parse(&node) == Ok(notice));
        }
        assert_eq!(PasskeyQuery::read_options(&PasskeyQuery::options_answer("1", "{}")), Ok("{}".into()));
        assert_eq!(PasskeyQuery::read_ref(&PasskeyQuery::ref_answer("1", "2@x")), Ok("2@x".into()));
    }

    #[test]
    fn the_parts_of_a_prologue_come_in_the_order_that_all_clients_use() {
        let node = PasskeyQuery::Prologue(prologue(Some([3; 32]))).build("7");
        let parts: Vec<_> = node.find(PROLOGUE).unwrap().children().iter().map(|n| n.tag.as_ref()).collect();
        assert_eq!(
            parts,
            ["credential_id", "webauthn_assertion", "prologue_payload", "pairing_handoff_proof"]
        );
    }

    #[test]
    fn what_lacks_a_part_or_has_one_of_another_size_is_refused() {
        let iq = |child: Node| Iq::query("1", IqKind::Set, "md").child(child);
        for child in [
            content(NONCE, vec![1; 31]),
            Node::new(PROLOGUE),
            Node::new(PROLOGUE).child(content("credential_id", vec![1])),
            Node::new(REQUEST),
        ] {
            assert!(PasskeyQuery::parse(&iq(child)).is_err());
        }
        assert!(PasskeyQuery::read_ref(&Iq::result("1").child(content(REF, vec![b'x'; 513]))).is_err());
        assert!(PasskeyQuery::read_ref(&Iq::result("1").child(content(REF, vec![]))).is_err());
        let long = Iq::result("1").child(content(OPTIONS, vec![b'x'; OPTIONS_MAX + 1]));
        assert!(PasskeyQuery::read_options(&long).is_err());
        assert!(PasskeyQuery::read_options(&Iq::result("1")).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_bring_a_reader_down(data: Vec<u8>, which in 0..5_usize) {
            let tag = [OPTIONS, REF, PROLOGUE, NONCE, REQUEST][which];
            let query = Iq::query("1", IqKind::Set, "md").child(content(tag, data.clone()));
            let fits = tag == REQUEST || (tag == NONCE && data.len() == 32);
            // Neither options nor a ref can be set.
            prop_assert_eq!(PasskeyQuery::parse(&query).is_ok(), fits);
            let notice = Notification::frame("1", &Jid::server_itself(), PasskeyNotice::WANTED, 1)
                .child(content(OPTIONS, data.clone()));
            let fits = !data.is_empty() && std::str::from_utf8(&data).is_ok();
            prop_assert_eq!(PasskeyNotice::parse(&notice).is_ok(), fits);
        }
    }
}
