//! Trusted-contact tokens on the wire: who issues one to whom, how it reaches the holder, and where it is shown
//! (protocol 06, 3.3 to 3.5).

use super::{Iq, IqKind, Malformed, jid};
use crate::wire::{Jid, Node};

/// `type` of the only kind of token there is.
const TRUSTED: &str = "trusted_contact";
/// Longest token that is kept. Real ones have a few dozen bytes.
pub const LONGEST_TOKEN: usize = 512;

/// A token that somebody issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactToken {
    /// When, in Unix seconds.
    pub t: u64,
    /// Opaque.
    pub bytes: Vec<u8>,
}

/// Server → holder: somebody lets this account reach them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenNotice {
    /// Who; by number as a rule.
    pub issuer: Jid,
    /// The issuer's hidden identity.
    pub lid: Option<Jid>,
    /// Those that can be kept. The `jid` of a token is the holder's own device, and is not read.
    pub tokens: Vec<ContactToken>,
}

impl TokenNotice {
    /// Reads `<notification type="privacy_token">`. Tokens of another kind, without bytes or without time are left out.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let tokens = node.find("tokens").ok_or(Malformed("tokens"))?;
        let token = |token: &Node| {
            let bytes = token.content_bytes().filter(|bytes| (1..=LONGEST_TOKEN).contains(&bytes.len()))?;
            let t = token.number::<u64>("t").filter(|t| *t > 0)?;
            Some(ContactToken { t, bytes: bytes.into_owned() })
        };
        let trusted = tokens.find_all("token").filter(|token| token.text("type") == Some(TRUSTED));
        Ok(Self {
            issuer: jid(node, "from")?,
            lid: node.jid("sender_lid"),
            tokens: trusted.filter_map(token).collect(),
        })
    }

    /// Puts issuer and tokens into the frame of a notification.
    pub fn build(&self, frame: Node) -> Node {
        let token = |token: &ContactToken| {
            Node::new("token").attr("type", TRUSTED).attr("t", token.t).bytes(token.bytes.clone())
        };
        let tokens = Node::new("tokens").children_from(self.tokens.iter().map(token));
        frame.attr_opt("sender_lid", self.lid.as_ref()).child(tokens)
    }
}

/// Client → server: this person may reach the account from `t` (Unix seconds) on. The server makes the token.
pub fn issue_tokens(id: &str, to: &Jid, t: u64) -> Node {
    let token = Node::new("token").attr("jid", to.bare()).attr("t", t).attr("type", TRUSTED);
    Iq::query(id, IqKind::Set, "privacy").child(Node::new("tokens").child(token))
}

/// Whom a client issues tokens to, and their times.
pub fn read_issued(node: &Node) -> Result<Vec<(Jid, u64)>, Malformed> {
    let tokens = node.find("tokens").ok_or(Malformed("tokens"))?;
    let issued = tokens.find_all("token").map(|token| {
        if token.text("type") != Some(TRUSTED) {
            return Err(Malformed("token type"));
        }
        Ok((jid(token, "jid")?, token.number("t").ok_or(Malformed("t"))?))
    });
    issued.collect()
}

/// A token shown to the server; on messages, subscriptions and queries about a person.
pub fn tctoken(bytes: &[u8]) -> Node {
    Node::new("tctoken").bytes(bytes)
}

/// The token that a query shows in this node.
pub(super) fn shown_token(node: &Node) -> Option<Vec<u8>> {
    let bytes = node.find("tctoken")?.content_bytes()?;
    (1..=LONGEST_TOKEN).contains(&bytes.len()).then(|| bytes.into_owned())
}

/// What is shown on a message where there is no token.
pub fn cstoken(bytes: &[u8; 32]) -> Node {
    Node::new("cstoken").bytes(*bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{stanza::Notification, wire::codec};

    #[test]
    fn a_notice_is_read_as_it_was_built_and_what_cannot_be_kept_is_left_out() {
        let notice = TokenNotice {
            issuer: Jid::pn("5511999999999"),
            lid: Some(Jid::lid("77")),
            tokens: vec![ContactToken { t: 1_787_400_000, bytes: vec![7; 24] }],
        };
        let frame = || Notification::frame("1", &notice.issuer, "privacy_token", 1_787_400_001);
        assert_eq!(TokenNotice::parse(&notice.build(frame())), Ok(notice.clone()));
        let token = |kind| Node::new("token").attr("type", kind);
        let strange = [
            token("other").attr("t", 5_u64).bytes([1]),
            token(TRUSTED).bytes([1]),
            token(TRUSTED).attr("t", 0_u64).bytes([1]),
            token(TRUSTED).attr("t", 5_u64),
            token(TRUSTED).attr("t", 5_u64).bytes(vec![1; LONGEST_TOKEN + 1]),
        ];
        let node = frame().child(Node::new("tokens").children_from(strange));
        assert_eq!(TokenNotice::parse(&node).map(|notice| notice.tokens), Ok(Vec::new()));
    }

    #[test]
    fn an_issue_names_the_person_without_a_device() {
        let node = issue_tokens("1", &Jid::lid("77").with_device(3), 9);
        assert_eq!(read_issued(&node), Ok(vec![(Jid::lid("77"), 9)]));
    }

    proptest! {
        #[test]
        fn any_node_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            if let Ok(node) = codec::decode(&bytes) {
                let _ = TokenNotice::parse(&node);
                let _ = read_issued(&node);
            }
        }
    }
}
