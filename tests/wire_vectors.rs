//! The wire against bytes that others made: `tests/vectors/wire/` says who.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{convert::Infallible, sync::Arc};

use serde_json::Value as Json;
use wazap::{
    clock::Millis,
    crypto::KeyPair,
    wire::{
        Content, Jid, Node, Value,
        codec::{self, DecodeError},
        frame,
        noise::{ExpectClientHello, ExpectServerHello, Greeted, ServerKeys, TrustRoot},
    },
};

fn read(name: &str) -> Json {
    let path = format!("{}/tests/vectors/wire/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn bytes(json: &Json) -> Vec<u8> {
    hex::decode(json.as_str().unwrap()).unwrap()
}

fn text(json: &Json) -> String {
    json.as_str().unwrap().to_owned()
}

/// A run of equal bytes: `{fill, length}`; nothing if absent.
fn run(json: &Json) -> Vec<u8> {
    let number = |key: &str| json[key].as_u64().unwrap_or(0);
    vec![number("fill") as u8; number("length") as usize]
}

fn node(json: &Json) -> Node {
    let mut node = Node::new(text(&json["tag"]));
    for pair in json["attrs"].as_array().unwrap() {
        let value = match &pair[1]["jid"] {
            Json::String(jid) => Value::Jid(jid.parse().unwrap()),
            _ => Value::from(text(&pair[1]["text"])),
        };
        node.attrs.push((text(&pair[0]).into(), value));
    }
    node.with_content(match &json["content"] {
        Json::Null => Content::Empty,
        Json::Array(nodes) => Content::Nodes(nodes.iter().map(self::node).collect()),
        Json::Object(one) => match one.keys().next().map(String::as_str) {
            Some("hex") => Content::Bytes(bytes(&one["hex"])),
            Some("jid") => Content::Jid(text(&one["jid"]).parse().unwrap()),
            Some("text") => Content::Text(text(&one["text"]).into()),
            _ => Content::Bytes(run(&json["content"])),
        },
        other => panic!("{other}"),
    })
}

#[test]
fn nodes_of_another_encoder_are_read_and_written_alike() {
    let file = read("nodes.json");
    let vectors = file["vectors"].as_array().unwrap();
    assert!(vectors.len() >= 100);
    for vector in vectors {
        let name = &vector["name"];
        let golden = [bytes(&vector["hex"]), run(&vector["then"])].concat();
        let expected = node(&vector["node"]);
        let decoded = codec::decode(&golden);
        assert_eq!(decoded.as_ref(), Ok(&expected), "{name}");
        let encoded = codec::encode(&expected).unwrap();
        assert_eq!(codec::decode(&encoded).as_ref(), Ok(&expected), "{name}");
        assert_eq!(encoded == golden, vector["same"] == true, "{name}: {}", vector["why"]);
        assert!(codec::decode(&golden[..golden.len() - 1]).is_err(), "{name}");
    }
}

#[test]
fn what_is_no_node_is_refused_for_its_own_reason() {
    let file = read("refused.json");
    let refused = file["refused"].as_array().unwrap();
    assert!(refused.len() >= 60);
    for vector in refused {
        let error = codec::decode(&bytes(&vector["hex"])).expect_err(vector["name"].as_str().unwrap());
        let variant = match error {
            DecodeError::Truncated => "Truncated",
            DecodeError::Trailing(_) => "Trailing",
            DecodeError::Zlib => "Zlib",
            DecodeError::TooLarge => "TooLarge",
            DecodeError::TooDeep => "TooDeep",
            DecodeError::TooManyItems => "TooManyItems",
            DecodeError::UnexpectedTag(_) => "UnexpectedTag",
            DecodeError::EmptyNode => "EmptyNode",
            DecodeError::BadPacked => "BadPacked",
            DecodeError::NotUtf8 => "NotUtf8",
            DecodeError::BadJid => "BadJid",
        };
        assert_eq!(variant, vector["error"], "{}", vector["name"]);
    }
}

/// Draws the one key that the transcript was made with.
struct Drawn([u8; 32]);

impl rand::TryRng for Drawn {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("keys are drawn whole")
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("keys are drawn whole")
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0);
        Ok(())
    }
}
impl rand::TryCryptoRng for Drawn {}

#[test]
fn a_handshake_of_another_client_is_reproduced_byte_by_byte_from_both_ends() {
    let file = read("handshake.json");
    let key = |who: &str, which: &str| <[u8; 32]>::try_from(bytes(&file[who][which])).unwrap();
    let (first, hello, finish) = (bytes(&file["first"]), bytes(&file["hello"]), bytes(&file["finish"]));
    let root = TrustRoot(bytes(&file["root"]).try_into().unwrap());
    let now = Millis::from_secs(file["now"].as_u64().unwrap());

    let (client, sent) = ExpectServerHello::start(
        KeyPair::from_private(key("client", "static")),
        bytes(&file["client"]["payload"]),
        &mut Drawn(key("client", "ephemeral")),
    );
    assert_eq!(sent, first);

    let keys = ServerKeys {
        static_key: KeyPair::from_private(key("server", "static")),
        chain: bytes(&file["server"]["chain"]),
    };
    let mut reader = frame::Reader::default();
    reader.push(&first[frame::read_intro(&first).unwrap().unwrap()..]);
    let greeted = ExpectClientHello::new(Arc::new(keys))
        .step(&reader.next().unwrap(), &mut Drawn(key("server", "ephemeral")))
        .unwrap();
    let Greeted::Finish { reply, next } = greeted else { panic!("an XX hello") };
    assert_eq!(reply, hello);

    reader.push(&hello);
    let (sent, mut pipe) = client.step(&reader.next().unwrap(), &root, now).unwrap();
    assert_eq!(sent, finish);

    reader.push(&finish);
    let mut known = next.step(&reader.next().unwrap()).unwrap();
    assert_eq!(known.static_key, KeyPair::from_private(key("client", "static")).public);
    assert_eq!(known.payload, bytes(&file["client"]["payload"]));

    let list = |name: &str| file[name].as_array().unwrap().iter().map(bytes).collect::<Vec<_>>();
    for ((plain, up), down) in list("plaintexts").iter().zip(list("client_frames")).zip(list("server_frames"))
    {
        assert_eq!(
            (pipe.sealer.seal(plain).unwrap(), known.sealed.sealer.seal(plain).unwrap()),
            (up.clone(), down.clone())
        );
        reader.push(&[up, down].concat());
        assert_eq!(known.sealed.opener.open(&reader.next().unwrap()).as_ref(), Ok(plain));
        assert_eq!(pipe.opener.open(&reader.next().unwrap()).as_ref(), Ok(plain));
        codec::decode(plain).unwrap();
    }
}

#[test]
fn addresses_of_the_vectors_read_as_they_are_written() {
    let file = read("nodes.json");
    let jids =
        file["vectors"].as_array().unwrap().iter().filter_map(|v| v["node"]["attrs"][0][1]["jid"].as_str());
    let mut seen = 0;
    for jid in jids {
        assert_eq!(jid.parse::<Jid>().unwrap().to_wire(), jid);
        seen += 1;
    }
    assert!(seen >= 20);
}
