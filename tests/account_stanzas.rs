//! Any stanza, in any state: words and attributes of the protocol put together at random end in no panic and in no
//! turn that fails, and the account comes back whatever they made of it.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, OWN, Pair};
use proptest::prelude::*;
use wazap::{
    account::{Input, Status},
    wire::{Jid, Node},
};

const TAGS: [&str; 12] = [
    "message",
    "receipt",
    "notification",
    "ack",
    "iq",
    "ib",
    "call",
    "presence",
    "chatstate",
    "status",
    "enc",
    "nonsense",
];
const CHILDREN: [&str; 28] = [
    "enc",
    "retry",
    "registration",
    "keys",
    "list",
    "item",
    "unavailable",
    "encrypt",
    "rmr",
    "error",
    "usync",
    "user",
    "devices",
    "device-list",
    "device",
    "media_conn",
    "host",
    "offline",
    "dirty",
    "participant",
    "add",
    "remove",
    "create",
    "update",
    "set",
    "collection",
    "ping",
    "device-identity",
];
const ATTRIBUTES: [&str; 20] = [
    "id",
    "from",
    "participant",
    "recipient",
    "type",
    "t",
    "count",
    "class",
    "category",
    "offline",
    "jid",
    "lid",
    "hash",
    "error",
    "code",
    "version",
    "name",
    "notify",
    "xmlns",
    "sender_lid",
];
const VALUES: [&str; 22] = [
    "",
    "0",
    "1",
    "-1",
    "256",
    "18446744073709551615",
    "retry",
    "text",
    "result",
    "set",
    "mediaretry",
    "w:gp2",
    "devices",
    "encrypt",
    "server_sync",
    "account_sync",
    "msg",
    "pkmsg",
    "skmsg",
    "read",
    "3EB0AA",
    "\u{0}\u{202e}",
];

fn attributes() -> impl Strategy<Value = Vec<(&'static str, u8, usize)>> {
    prop::collection::vec((prop::sample::select(&ATTRIBUTES[..]), 0..8u8, 0..VALUES.len()), 0..7)
}

fn dressed(tag: &'static str, attributes: Vec<(&'static str, u8, usize)>) -> Node {
    attributes.into_iter().fold(Node::new(tag), |node, (name, kind, value)| match kind {
        0 => node.attr(name, Jid::pn(ALICE)),
        1 => node.attr(name, Jid::pn(OWN)),
        2 => node.attr(name, Jid::group("120363000000000001")),
        3 => node.attr(name, Jid::lid("1234567890")),
        _ => node.attr(name, VALUES[value]),
    })
}

fn children() -> impl Strategy<Value = Node> {
    let bytes = prop::collection::vec(any::<u8>(), 0..80);
    let leaf = (prop::sample::select(&CHILDREN[..]), attributes(), bytes)
        .prop_map(|(tag, attributes, bytes)| dressed(tag, attributes).bytes(bytes));
    leaf.prop_recursive(3, 12, 4, |inner| {
        (prop::sample::select(&CHILDREN[..]), attributes(), prop::collection::vec(inner, 0..4))
            .prop_map(|(tag, attributes, children)| dressed(tag, attributes).children_from(children))
    })
}

fn stanza() -> impl Strategy<Value = Node> {
    (prop::sample::select(&TAGS[..]), attributes(), prop::collection::vec(children(), 0..4))
        .prop_map(|(tag, attributes, children)| dressed(tag, attributes).children_from(children))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_the_account_comes_back(stanzas in prop::collection::vec(stanza(), 40)) {
        let mut pair = Pair::linked(401);
        for stanza in stanzas {
            pair.input(Input::Node(stanza));
        }
        pair.drive();
        pair.pass(Duration::from_secs(600));
        prop_assert_eq!(pair.status(), Status::Connected);
        let id = pair.phone_sends(ALICE, "still there?");
        pair.pass(Duration::from_secs(30));
        prop_assert!(pair.received().contains(&id));
    }
}
