//! Conversations that other implementations held with themselves. We play each end in turn: every ciphertext must be
//! read, and, given the keys that the other drew, our own must come out with the same bytes.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
};

use rand::{TryCryptoRng, TryRng};
use serde_json::Value;
use wazap::crypto::{
    KeyPair,
    signal::{
        CiphertextKind, Local, OneTimePreKey, OurPreKeys, PreKeyBundle, PreKeyMessage, Session, SignalError,
        SignedPreKey,
    },
};

#[test]
fn a_conversation_held_by_npm_libsignal_comes_out_the_same() {
    replay(include_str!("vectors/crypto/signal_node.json"));
}

#[test]
fn a_conversation_held_by_wacore_libsignal_comes_out_the_same() {
    replay(include_str!("vectors/crypto/signal_wacore.json"));
}

fn replay(vectors: &str) {
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    assert!(vectors["origin"].is_string());
    let stories = vectors["stories"].as_array().unwrap();
    assert!(!stories.is_empty());
    for story in stories {
        for we_are in ["alice", "bob"] {
            let mut end = End::new(story, we_are);
            for (number, step) in story["steps"].as_array().unwrap().iter().enumerate() {
                end.take(step, &format!("{}, {we_are}, step {number}", story["name"]));
            }
            assert!(end.read > 0 && end.written > 0, "{we_are} took part in {}", story["name"]);
        }
    }
}

/// Gives the recorded private keys, in the order in which they were drawn.
struct Recorded(VecDeque<[u8; 32]>);

impl TryRng for Recorded {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("sessions draw nothing but keys")
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("sessions draw nothing but keys")
    }
    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        dst.copy_from_slice(&self.0.pop_front().expect("as many keys as the other drew"));
        Ok(())
    }
}
impl TryCryptoRng for Recorded {}

struct End {
    name: &'static str,
    identity: KeyPair,
    registration_id: u32,
    signed: HashMap<u32, KeyPair>,
    one_time: HashMap<u32, KeyPair>,
    peer: Value,
    session: Session,
    /// All messages so far, of both ends: type, ciphertext, plaintext.
    sent: Vec<(CiphertextKind, Vec<u8>, Vec<u8>)>,
    read: usize,
    written: usize,
}

impl End {
    fn new(story: &Value, name: &'static str) -> Self {
        let ours = &story[name];
        let signed = &ours["signed_prekey"];
        Self {
            name,
            identity: pair(&ours["identity"]),
            registration_id: number(&ours["registration_id"]),
            signed: HashMap::from([(number(&signed["id"]), pair(&signed["private"]))]),
            one_time: one_time(ours),
            peer: story[if name == "alice" { "bob" } else { "alice" }].clone(),
            session: Session::default(),
            sent: Vec::new(),
            read: 0,
            written: 0,
        }
    }

    fn take(&mut self, step: &Value, at: &str) {
        let ours = step["by"] == self.name;
        let mut drawn = Recorded(step["drawn"].as_array().into_iter().flatten().map(bytes32).collect());
        match step["do"].as_str().unwrap() {
            "initiate" if ours => self.initiate(step, &mut drawn),
            "send" => {
                let (ciphertext, plaintext) = (bytes(&step["ciphertext"]), bytes(&step["plaintext"]));
                let kind =
                    if step["type"] == "pkmsg" { CiphertextKind::PreKey } else { CiphertextKind::Message };
                if ours {
                    let sent = self.session.encrypt(&plaintext).unwrap();
                    assert_eq!(sent.kind, kind, "{at}");
                    if step["exact"] != false {
                        assert_eq!(hex::encode(sent.bytes), hex::encode(&ciphertext), "{at}");
                    }
                    self.written += 1;
                }
                self.sent.push((kind, ciphertext, plaintext));
            }
            "receive" if ours => self.receive(step, &mut drawn, at),
            "initiate" | "receive" => return,
            other => panic!("{at}: {other}"),
        }
        if ours {
            assert!(drawn.0.is_empty(), "{at}: fewer keys than the other drew");
            // Every step may be the last before a restart.
            self.session = Session::decode(&self.session.encode()).unwrap();
        }
    }

    fn initiate(&mut self, step: &Value, drawn: &mut Recorded) {
        let signed = &self.peer["signed_prekey"];
        let bundle = PreKeyBundle {
            registration_id: number(&self.peer["registration_id"]),
            identity: pair(&self.peer["identity"]).public,
            signed_prekey: SignedPreKey {
                id: number(&signed["id"]),
                key: pair(&signed["private"]).public,
                signature: bytes(&signed["signature"]).try_into().unwrap(),
            },
            one_time: step["one_time"].as_u64().map(|id| {
                let id = u32::try_from(id).unwrap();
                OneTimePreKey { id, key: one_time(&self.peer)[&id].public }
            }),
        };
        let local = Local { identity: &self.identity, registration_id: self.registration_id };
        self.session.initiate(&local, &bundle, drawn).unwrap();
    }

    fn receive(&mut self, step: &Value, drawn: &mut Recorded, at: &str) {
        let (kind, ciphertext, plaintext) = &self.sent[number(&step["message"]) as usize];
        let local = Local { identity: &self.identity, registration_id: self.registration_id };
        let opened = match kind {
            CiphertextKind::Message => self.session.decrypt(&local, ciphertext, drawn),
            CiphertextKind::PreKey => {
                let message = PreKeyMessage::parse(ciphertext).unwrap();
                let ours = OurPreKeys {
                    signed: self.signed.get(&message.signed_pre_key_id).cloned(),
                    one_time: message.pre_key_id.and_then(|id| self.one_time.get(&id).cloned()),
                };
                self.session.decrypt_prekey(&local, &message, &ours, drawn).map(|opened| {
                    if opened.consumed_one_time {
                        self.one_time.remove(&message.pre_key_id.unwrap()).unwrap();
                    }
                    opened.plaintext
                })
            }
        };
        match step["outcome"].as_str().unwrap() {
            "read" => assert_eq!(opened.as_ref(), Ok(plaintext), "{at}"),
            "refused" => assert_eq!(opened, Err(SignalError::Duplicate), "{at}"),
            other => panic!("{at}: {other}"),
        }
        self.read += 1;
    }
}

fn one_time(end: &Value) -> HashMap<u32, KeyPair> {
    let prekeys = end["one_time"].as_array().unwrap().iter();
    prekeys.map(|prekey| (number(&prekey["id"]), pair(&prekey["private"]))).collect()
}

fn pair(private: &Value) -> KeyPair {
    KeyPair::from_private(bytes32(private))
}

fn bytes32(value: &Value) -> [u8; 32] {
    bytes(value).try_into().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}
