use std::io::Write as _;

use flate2::{Compression, write::ZlibEncoder};
use proptest::prelude::*;

use super::*;
use crate::wire::{Content, Jid, Node, Server, Text, Value, token};

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

fn x() -> Node {
    Node::new("x")
}

fn ping() -> Node {
    Node::new("iq")
        .attr("to", Jid::server_itself())
        .attr("id", "1.2-3")
        .attr("type", "get")
        .attr("xmlns", "w:p")
        .child(Node::new("ping"))
}

const PING: &str = "00f80a1911fa000308ff831b2a3f04291657f801f80156";

fn compressed(node: &[u8]) -> Vec<u8> {
    let mut out = ZlibEncoder::new(vec![2], Compression::best());
    out.write_all(node).unwrap();
    out.finish().unwrap()
}

/// The published known answers, one of each form.
#[test]
fn known_nodes_have_their_known_bytes() {
    let success = Node::new("success").attr("t", 1_700_000_000_u32).attr("lid", jid("100000000000001:1@lid"));
    for (node, bytes) in [
        (ping(), PING),
        (success, "00f8054c1aff05170000000076f70101ff88100000000000001f"),
        (x().with_content(Content::Text("0".into())), "00f802fc01782d"),
        (x().with_content(Content::Nodes(vec![])), "00f802fc017800"),
        (x().bytes(vec![]), "00f802fc0178fc00"),
    ] {
        assert_eq!(hex::encode(encode(&node).unwrap()), bytes);
        assert_eq!(decode(&hex(bytes)), Ok(node));
    }
    for (value, bytes) in [
        (Value::from(jid("15551230001:3@s.whatsapp.net")), "f70003ff8615551230001f"),
        (Value::from(jid("15551230001@s.whatsapp.net")), "faff8615551230001f03"),
        (Value::from(jid("100000000000001@lid")), "faff88100000000000001f76"),
        (Value::from(jid("15551230001:99@hosted")), "f78063ff8615551230001f"),
        (Value::from(jid("100000000000001:99@hosted.lid")), "f78163ff88100000000000001f"),
        (Value::from(jid("120363000000000001@g.us")), "faff091203630000000000011c"),
        (Value::from(jid("1000001:258@msgr")), "f6ff841000001f0102cc"),
        (Value::from(jid("7-1000001:258@interop")), "f5ff841000001f01020007fc07696e7465726f70"),
        (Value::from(jid("@call")), "fa0064"),
        (Value::from("3EB0ABCDEF"), "fb053eb0abcdef"),
        (Value::from("3eb0abcdef"), "fc0a33656230616263646566"),
        (Value::from("123"), "ff82123f"),
        (Value::from(""), "fc00"),
        (Value::from("false"), "ec0f"),
        (Value::from("pair-device"), "edee"),
        (Value::from("1@s.whatsapp.net"), "fc1031 40732e77686174736170702e6e6574"),
        (Value::from(true), "9b"),
    ] {
        let (node, bytes) = (x().attr("a", value), hex(&format!("00f803fc0178fc0161{bytes}")));
        assert_eq!(encode(&node), Ok(bytes.clone()));
        assert_eq!(decode(&bytes), Ok(node));
    }
}

#[test]
fn other_spellings_of_the_same_are_read() {
    for (bytes, node) in [
        ("00f802fc0178ff00", x().with_content(Content::Text("".into()))),
        ("00f802fc0178fb00", x().with_content(Content::Text("".into()))),
        ("fdf802fc017801", x().with_content(Content::Text("xmlstreamstart".into()))),
        ("00f90001fd00000178", x()),
        ("00f801fe0000000178", x()),
        ("00f801fdf0000178", x()),
        ("00f803fc0178fc0161fc0474727565", x().attr("a", "true")),
        ("00f803fc0178fc0161fb82123f", x().attr("a", "123")),
        ("00f803fc0178fc016100", x().attr("a", "")),
        ("00f803fc0178fc0161f7000000fc00".split_at(22).0, x().attr("a", "never")),
        ("00f803fc0178fc0161f70000ff0112", x().attr("a", jid("12@s.whatsapp.net"))),
        ("00f803fc0178fc0161f78205ff0112", x().attr("a", jid("12:5@hosted"))),
        ("00f803fc0178fc0161f5ff011200010007", x().attr("a", jid("7-12:1@interop"))),
        ("00f803fc0178fc0161f5ff011200010007fd000007696e7465726f70", x().attr("a", jid("7-12:1@interop"))),
        ("00f803fc0178fc0161faff0112fc03787878", x().attr("a", "12@xxx")),
        ("00f802fc0178faff011276", x().with_content(Content::Jid(Jid::lid("12")))),
    ] {
        match node.text("a") {
            // A domain JID cut short.
            Some("never") => assert_eq!(decode(&hex(bytes)), Err(DecodeError::Truncated)),
            _ => assert_eq!(decode(&hex(bytes)), Ok(node), "{bytes}"),
        }
    }
}

#[test]
fn what_has_no_one_meaning_is_refused() {
    use DecodeError::*;
    for (bytes, error) in [
        ("", Truncated),
        ("00", Truncated),
        ("00f8", Truncated),
        ("00f900", Truncated),
        ("00f801", Truncated),
        ("00f801fc0278", Truncated),
        ("00f801feffffffff78", Truncated),
        ("00f801fd0fffff78", Truncated),
        ("00f802fc0178", Truncated),
        ("00f802fc0178f801", Truncated),
        ("00f803fc0178fc0161", Truncated),
        ("00f802fc0178ff0512", Truncated),
        ("00f801fc017800", Trailing(1)),
        ("0000", EmptyNode),
        ("00f800", EmptyNode),
        ("00f900000a", EmptyNode),
        ("00f801fc00", EmptyNode),
        ("00f801ff00", EmptyNode),
        ("0019", UnexpectedTag(0x19)),
        ("00f80100", UnexpectedTag(0)),
        ("00f801f801", UnexpectedTag(0xf8)),
        ("00f801fa0003", UnexpectedTag(0xfa)),
        ("00f802fc0178f1", UnexpectedTag(0xf1)),
        ("00f802fc0178f0", UnexpectedTag(0xf0)),
        ("00f803fc0178f4fc00", UnexpectedTag(0xf4)),
        ("00f803fc017800fc00", UnexpectedTag(0)),
        ("00f803fc0178fa0003fc00", UnexpectedTag(0xfa)),
        ("00f803fc0178fc0161f80119", UnexpectedTag(0xf8)),
        ("00f802fc0178ff011c", BadPacked),
        ("00f802fc0178ff01d1", BadPacked),
        ("00f802fc0178ff811e", BadPacked),
        ("00f802fc0178ff80", BadPacked),
        ("00f802fc0178fb80", BadPacked),
        ("00f801fc01ff", NotUtf8),
        ("00f803fc0178fc0161fc02c328", NotUtf8),
        ("00f803fc0178fc0161faff011200", BadJid),
        ("00f803fc0178fc0161faff0112fc00", BadJid),
        ("00f803fc0178fc0161f7000100", BadJid),
        ("00f803fc0178fc0161f70201ff0112", BadJid),
        ("00f803fc0178fc0161f78301ff0112", BadJid),
        ("00f803fc0178fc0161fafc03314032 03", BadJid),
        ("00f803fc0178fc0161f6ff0112000103", BadJid),
        ("00f803fc0178fc0161f60000 01cc", BadJid),
        ("02", Truncated),
        ("020011", Zlib),
    ] {
        assert_eq!(decode(&hex(bytes)), Err(error), "{bytes}");
    }
}

#[test]
fn compressed_nodes_are_read_up_to_the_limit() {
    let node = hex(PING)[1..].to_vec();
    let good = compressed(&node);
    assert_eq!(decode(&good), Ok(ping()));
    assert_eq!(decode(&good[..good.len() - 1]), Err(DecodeError::Truncated));
    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(decode(&longer), Err(DecodeError::Zlib));
    let mut wrong = good.clone();
    *wrong.last_mut().unwrap() ^= 1;
    assert_eq!(decode(&wrong), Err(DecodeError::Zlib));

    let blob =
        |length: usize| [&hex("f80278fe")[..], &(length as u32).to_be_bytes(), &vec![0; length]].concat();
    let fits = decode(&compressed(&blob(MAX_INFLATED - 8))).unwrap();
    assert_eq!(fits.content_bytes().map(|bytes| bytes.len()), Some(MAX_INFLATED - 8));
    assert_eq!(decode(&compressed(&blob(MAX_INFLATED - 7))), Err(DecodeError::TooLarge));
}

fn nested(levels: usize) -> Node {
    (1..levels).fold(x(), |inner, _| x().child(inner))
}

#[test]
fn nesting_and_counts_are_bounded() {
    let deepest = encode(&nested(128)).unwrap();
    assert_eq!(decode(&deepest), Ok(nested(128)));
    assert_eq!(encode(&nested(129)), Err(EncodeError::TooDeep));
    let mut deeper = hex("00f802fc0178f801");
    deeper.extend(&deepest[1..]);
    assert_eq!(decode(&deeper), Err(DecodeError::TooDeep));
    assert_eq!(
        decode(&[&[0][..], &[0xf8, 2, 3, 0xf8, 1].repeat(1 << 20)].concat()),
        Err(DecodeError::TooDeep)
    );

    let wide = x().children_from((0..65_535).map(|_| Node::new("to")));
    assert_eq!(decode(&encode(&wide).unwrap()), Ok(wide.clone()));
    assert_eq!(encode(&wide.child(x())), Err(EncodeError::TooManyItems));
    let mut many = x();
    many.attrs = vec![("a".into(), Value::from("b")); 32_767];
    assert_eq!(decode(&encode(&many).unwrap()), Ok(many.clone()));
    many.content = Content::Bytes(vec![]);
    assert_eq!(encode(&many), Err(EncodeError::TooManyItems));

    // Seventeen full lists of smallest nodes hold more than any stanza.
    let list = [&[0xf8, 2, 3, 0xf9, 0xff, 0xff][..], &[0xf8, 1, 3].repeat(65_535)].concat();
    let flood = [&[0, 0xf8, 2, 3, 0xf8, 17][..], &list.repeat(17)].concat();
    assert_eq!(decode(&flood), Err(DecodeError::TooManyItems));
}

#[test]
fn what_has_no_form_on_the_wire_is_not_written() {
    assert_eq!(encode(&Node::new("")), Err(EncodeError::EmptyTag));
    let to = |device| x().attr("a", Jid::lid("1").with_device(device));
    assert!(encode(&to(255)).is_ok());
    assert_eq!(encode(&to(256)), Err(EncodeError::DeviceTooLarge));
    // Text that is no token comes back as what it is on the wire.
    let text = x().with_content(Content::Text("two words".into()));
    assert_eq!(decode(&encode(&text).unwrap()), Ok(x().bytes("two words")));
}

#[test]
fn tokens_cost_no_allocation() {
    let node = decode(&hex(PING)).unwrap();
    assert!(matches!(node.tag, Text::Borrowed("iq")));
    assert!(node.attrs.iter().all(|(key, _)| matches!(key, Text::Borrowed(_))));
    assert!(matches!(node.get("type"), Some(Value::Text(Text::Borrowed("get")))));
}

fn token_text() -> impl Strategy<Value = String> {
    prop_oneof![
        (1..=235_u8).prop_map(|index| token::single(index).unwrap().to_owned()),
        (0..4_u8, any::<u8>()).prop_map(|(table, index)| token::double(table, index).unwrap().to_owned()),
        "[0-9.-]{1,127}",
        "[0-9A-F]{1,127}",
    ]
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        token_text(),
        "[0-9A-F.-]{100,140}",
        "\\PC{0,40}",
        any::<String>(),
        "[a-z]{250,260}",
        Just("1@lid".into())
    ]
}

fn any_jid() -> impl Strategy<Value = Jid> {
    let servers = prop_oneof![
        Just(Server::Pn),
        Just(Server::Lid),
        Just(Server::Hosted),
        Just(Server::HostedLid),
        Just(Server::Messenger),
        any::<u16>().prop_map(|integrator| Server::Interop { integrator }),
        Just(Server::LegacyPn),
        Just(Server::Group),
        Just(Server::Broadcast),
        Just(Server::Newsletter),
        Just(Server::Call),
        Just(Server::Bot),
    ];
    // No `_` and `.`: in a person's address they begin an agent, which is dropped on reading.
    (prop_oneof!["[0-9]{1,20}", "[a-z0-9-]{1,30}", Just(String::new())], servers, any::<u16>()).prop_map(
        |(user, server, device)| {
            // Only a service stands without a user; a third party's always has one.
            let user =
                if user.is_empty() && matches!(server, Server::Interop { .. }) { "1".into() } else { user };
            // A person's has no agent in it: what would read as one is not read at all.
            let agentless = if Jid::new("1", server).is_user() { user.replace('_', "-") } else { user };
            let jid = Jid::new(agentless, server);
            match server {
                Server::LegacyPn => jid,
                Server::Messenger | Server::Interop { .. } => jid.with_device(device),
                _ => jid.with_device(device % 256),
            }
        },
    )
}

fn any_node() -> impl Strategy<Value = Node> {
    let value = prop_oneof![any_text().prop_map(Value::from), any_jid().prop_map(Value::Jid)];
    let attrs = prop::collection::vec((any_text().prop_map(Text::from), value), 0..6).boxed();
    let content = prop_oneof![
        Just(Content::Empty),
        Just(Content::Nodes(vec![])),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Content::Bytes),
        token_text().prop_map(|text| Content::Text(text.into())),
        any_jid().prop_map(Content::Jid),
    ];
    let tag = any_text().prop_filter("a tag", |text| !text.is_empty()).boxed();
    let leaf = (tag.clone(), attrs.clone(), content).prop_map(|(tag, attrs, content)| Node {
        tag: tag.into(),
        attrs,
        content,
    });
    leaf.prop_recursive(6, 60, 5, move |inner| {
        (tag.clone(), attrs.clone(), prop::collection::vec(inner, 1..5))
            .prop_map(|(tag, attrs, nodes)| Node { tag: tag.into(), attrs, content: Content::Nodes(nodes) })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn what_is_written_is_read_again(node in any_node()) {
        let bytes = encode(&node).unwrap();
        prop_assert_eq!(decode(&bytes), Ok(node.clone()));
        prop_assert_eq!(decode(&compressed(&bytes[1..])), Ok(node));
    }

    #[test]
    fn a_jid_is_the_same_as_text_and_as_bytes(jid in any_jid()) {
        let text = jid.to_wire();
        prop_assert_eq!(text.parse(), Ok(jid));
    }

    #[test]
    fn a_changed_node_never_panics(node in any_node(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut bytes = encode(&node).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = with;
        if let Ok(node) = decode(&bytes) {
            let _ = (format!("{node:?}"), node.to_log());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), framed in any::<bool>()) {
        if framed && bytes.len() > 2 {
            bytes[0] = 0;
            bytes[1] = 0xf8;
        }
        if let Ok(node) = decode(&bytes) {
            let again = encode(&node);
            prop_assert!(again.is_ok(), "read but not written: {:?}", again);
        }
    }
}
