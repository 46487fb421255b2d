//! Calls, as far as a device without microphone takes part in them: `<call>` with one child that says what happens.
//! Shapes: Baileys `Socket/messages-recv.ts`, whatsmeow `call.go`, whatsapp-rust 0.7 `wacore/src/stanza/call.rs`.

use super::{Malformed, jid, text};
use crate::wire::{Jid, Node};

/// What a `<call>` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallAction {
    /// It rings.
    Offer(CallOffer),
    /// Somebody took it.
    Accept,
    /// Somebody did not want it.
    Reject,
    /// It is over, for this reason: `timeout`, `accepted_elsewhere`, `rejected_elsewhere`, `group_call_ended` …
    Terminate(Option<String>),
    /// What only those who talk need (`preaccept`, `transport`, `relaylatency` …), by tag.
    Other(String),
}

/// An incoming call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallOffer {
    /// With a picture.
    pub video: bool,
    /// Of many.
    pub of_group: bool,
    /// The group, where it is told.
    pub group: Option<Jid>,
    /// The number of a caller who goes by hidden identity.
    pub caller_pn: Option<Jid>,
}

/// One `<call>`, in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Of the stanza, to be acknowledged.
    pub id: String,
    /// `to` on the way to the server, `from` on the way to a device.
    pub peer: Jid,
    /// Server time, Unix seconds.
    pub t: Option<u64>,
    /// The caller's push name.
    pub notify: Option<String>,
    /// From the queue.
    pub offline: Option<u32>,
    /// Names the call; made by the caller.
    pub call_id: String,
    /// The caller's device.
    pub creator: Jid,
    /// What happens.
    pub action: CallAction,
}

impl Call {
    /// Reads the server's stanza.
    pub fn parse_from(node: &Node) -> Result<Self, Malformed> {
        Self::parse(node, "from")
    }

    /// Reads a client's stanza.
    pub fn parse_to(node: &Node) -> Result<Self, Malformed> {
        Self::parse(node, "to")
    }

    fn parse(node: &Node, end: &'static str) -> Result<Self, Malformed> {
        let child = node.children().first().ok_or(Malformed("call"))?;
        let action = match child.tag.as_ref() {
            "offer" | "offer_notice" => {
                let group = child.jid("group-jid");
                CallAction::Offer(CallOffer {
                    video: child.find("video").is_some() || child.text("media") == Some("video"),
                    of_group: group.is_some() || child.text("type") == Some("group"),
                    group: group.filter(Jid::is_group),
                    caller_pn: child.jid("caller_pn").filter(Jid::is_pn),
                })
            }
            "accept" => CallAction::Accept,
            "reject" => CallAction::Reject,
            "terminate" => CallAction::Terminate(child.text("reason").map(str::to_owned)),
            other => CallAction::Other(other.to_owned()),
        };
        Ok(Self {
            id: text(node, "id")?,
            peer: node.jid(end).ok_or(Malformed("call peer"))?,
            t: node.number("t"),
            notify: node.text("notify").map(str::to_owned),
            offline: node.has("offline").then(|| node.number("offline").unwrap_or(0)),
            call_id: text(child, "call-id")?,
            creator: jid(child, "call-creator")?,
            action,
        })
    }

    /// On its way to the server.
    pub fn build_to(&self) -> Node {
        self.build("to")
    }

    /// On its way to a device.
    pub fn build_from(&self) -> Node {
        self.build("from")
    }

    fn build(&self, end: &'static str) -> Node {
        let of = |tag: &str| {
            Node::new(tag.to_owned())
                .attr("call-id", self.call_id.clone())
                .attr("call-creator", &self.creator)
        };
        let child = match &self.action {
            CallAction::Offer(offer) => offer.fill(of("offer")),
            CallAction::Accept => of("accept"),
            CallAction::Reject => of("reject").attr("count", "0"),
            CallAction::Terminate(reason) => of("terminate").attr_opt("reason", reason.clone()),
            CallAction::Other(tag) => of(tag),
        };
        Node::new("call")
            .attr("id", self.id.clone())
            .attr(end, &self.peer)
            .attr_opt("t", self.t)
            .attr_opt("notify", self.notify.clone())
            .attr_opt("offline", self.offline)
            .child(child)
    }
}

impl CallOffer {
    /// The server insists on this order of the children.
    fn fill(&self, offer: Node) -> Node {
        let audio = |rate| Node::new("audio").attr("enc", "opus").attr("rate", rate);
        offer
            .attr_opt("caller_pn", self.caller_pn.as_ref())
            .attr_opt("type", self.of_group.then_some("group"))
            .attr_opt("group-jid", self.group.as_ref())
            .child(audio("16000"))
            .child(audio("8000"))
            .child_opt(self.video.then(|| Node::new("video").attr("enc", "vp8")))
            .child(Node::new("net").attr("medium", "3"))
            // What a client can do, as all of today's say it.
            .child(Node::new("capability").attr("ver", "1").bytes([0x01, 0x05, 0xf7, 0x09, 0xe0, 0xbb, 0x13]))
            .child(Node::new("encopt").attr("keygen", "2"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(action: CallAction) -> Call {
        Call {
            id: "3A".into(),
            peer: Jid::lid("123456789012345"),
            t: Some(1),
            notify: Some("Ana".into()),
            offline: Some(0),
            call_id: "ABCD".into(),
            creator: Jid::lid("123456789012345").with_device(3),
            action,
        }
    }

    #[test]
    fn what_is_built_is_read() {
        let group = CallOffer {
            video: true,
            of_group: true,
            group: Some(Jid::group("120363025246125486")),
            caller_pn: Some(Jid::pn("5511912345678")),
        };
        for action in [
            CallAction::Offer(CallOffer::default()),
            CallAction::Offer(group),
            CallAction::Accept,
            CallAction::Reject,
            CallAction::Terminate(None),
            CallAction::Terminate(Some("timeout".into())),
            CallAction::Other("transport".into()),
        ] {
            let call = call(action);
            assert_eq!(Call::parse_from(&call.build_from()), Ok(call.clone()));
            assert_eq!(Call::parse_to(&call.build_to()), Ok(call));
        }
    }

    #[test]
    fn a_notice_says_in_attributes_what_an_offer_says_in_children() {
        let notice = Node::new("offer_notice")
            .attr("call-id", "1")
            .attr("call-creator", Jid::pn("1"))
            .attr("media", "video")
            .attr("type", "group");
        let node = Node::new("call").attr("id", "2").attr("from", Jid::pn("1")).child(notice);
        let Ok(Call { action: CallAction::Offer(offer), .. }) = Call::parse_from(&node) else {
            panic!("no offer");
        };
        assert_eq!(offer, CallOffer { video: true, of_group: true, group: None, caller_pn: None });
    }

    #[test]
    fn what_names_no_call_or_caller_is_refused() {
        let frame = || Node::new("call").attr("id", "2").attr("from", Jid::pn("1"));
        let offer = || Node::new("offer").attr("call-id", "1").attr("call-creator", Jid::pn("1"));
        assert!(Call::parse_from(&frame().child(offer())).is_ok());
        assert!(Call::parse_from(&frame()).is_err());
        assert!(Call::parse_from(&frame().child(Node::new("offer").attr("call-id", "1"))).is_err());
        assert!(
            Call::parse_from(&frame().child(Node::new("offer").attr("call-creator", Jid::pn("1")))).is_err()
        );
        assert!(Call::parse_from(&Node::new("call").attr("id", "2").child(offer())).is_err());
        assert!(Call::parse_from(&Node::new("call").attr("from", Jid::pn("1")).child(offer())).is_err());
    }
}
