//! Makes tests/vectors/crypto/signal_wacore.json: transcripts of two ends that both are wacore-libsignal 0.7.0. Every
//! key that a session draws is recorded. How to run: README.md beside this file.

use std::{collections::HashMap, convert::Infallible};

use async_trait::async_trait;
use futures::executor::block_on;
use rand::{Rng as _, SeedableRng as _, TryCryptoRng, TryRng, rngs::StdRng};
use serde_json::{Value, json};
use wacore_libsignal::protocol::{
    CiphertextMessage, Direction, GenericSignedPreKey as _, IdentityChange, IdentityKey, IdentityKeyPair,
    IdentityKeyStore, KeyPair, PreKeyBundle, PreKeyId, PreKeyRecord, PreKeySignalMessage, PreKeyStore,
    ProtocolAddress, SessionRecord, SessionStore, SignalMessage, SignalProtocolError, SignedPreKeyId,
    SignedPreKeyRecord, SignedPreKeyStore, Timestamp, UsePQRatchet, error::Result, message_decrypt,
    message_encrypt, process_prekey_bundle,
};

/// Remembers every key's worth of bytes that was drawn.
struct Recorder(StdRng, Vec<String>);

impl TryRng for Recorder {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> std::result::Result<u32, Infallible> {
        unreachable!()
    }
    fn try_next_u64(&mut self) -> std::result::Result<u64, Infallible> {
        unreachable!()
    }
    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> std::result::Result<(), Infallible> {
        self.0.fill_bytes(dst);
        self.1.push(hex::encode(dst));
        Ok(())
    }
}
impl TryCryptoRng for Recorder {}

struct Identity(IdentityKeyPair, u32);
#[async_trait]
impl IdentityKeyStore for Identity {
    async fn get_identity_key_pair(&self) -> Result<IdentityKeyPair> {
        Ok(self.0.clone())
    }
    async fn get_local_registration_id(&self) -> Result<u32> {
        Ok(self.1)
    }
    async fn save_identity(&mut self, _: &ProtocolAddress, _: &IdentityKey) -> Result<IdentityChange> {
        Ok(IdentityChange::from_changed(false))
    }
    async fn is_trusted_identity(&self, _: &ProtocolAddress, _: &IdentityKey, _: Direction) -> Result<bool> {
        Ok(true)
    }
    async fn get_identity(&self, _: &ProtocolAddress) -> Result<Option<IdentityKey>> {
        Ok(None)
    }
}

struct OneTime(HashMap<PreKeyId, PreKeyRecord>);
#[async_trait]
impl PreKeyStore for OneTime {
    async fn get_pre_key(&self, id: PreKeyId) -> Result<PreKeyRecord> {
        self.0.get(&id).cloned().ok_or(SignalProtocolError::InvalidPreKeyId)
    }
    async fn save_pre_key(&mut self, id: PreKeyId, record: &PreKeyRecord) -> Result<()> {
        self.0.insert(id, record.clone());
        Ok(())
    }
    async fn remove_pre_key(&mut self, id: PreKeyId) -> Result<()> {
        self.0.remove(&id);
        Ok(())
    }
}

struct Signed(SignedPreKeyId, SignedPreKeyRecord);
#[async_trait]
impl SignedPreKeyStore for Signed {
    async fn get_signed_pre_key(&self, id: SignedPreKeyId) -> Result<SignedPreKeyRecord> {
        if id == self.0 { Ok(self.1.clone()) } else { Err(SignalProtocolError::InvalidSignedPreKeyId) }
    }
    async fn save_signed_pre_key(&mut self, _: SignedPreKeyId, _: &SignedPreKeyRecord) -> Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Sessions(HashMap<ProtocolAddress, SessionRecord>);
#[async_trait]
impl SessionStore for Sessions {
    async fn load_session(&self, address: &ProtocolAddress) -> Result<Option<SessionRecord>> {
        Ok(self.0.get(address).cloned())
    }
    async fn has_session(&self, address: &ProtocolAddress) -> Result<bool> {
        Ok(self.0.contains_key(address))
    }
    async fn store_session(&mut self, address: &ProtocolAddress, record: SessionRecord) -> Result<()> {
        self.0.insert(address.clone(), record);
        Ok(())
    }
}

struct End {
    name: &'static str,
    identity: Identity,
    signed: Signed,
    signed_pair: KeyPair,
    signature: Vec<u8>,
    one_time: OneTime,
    one_time_pairs: Vec<(u32, KeyPair)>,
    sessions: Sessions,
    known: Value,
}

impl End {
    fn new(name: &'static str, registration_id: u32, rng: &mut StdRng) -> Self {
        let pair = KeyPair::generate(rng);
        let identity = IdentityKeyPair::new(pair.public_key.into(), pair.private_key.clone());
        let signed_pair = KeyPair::generate(rng);
        let id = 100 + registration_id;
        let signature =
            pair.private_key.calculate_signature(&signed_pair.public_key.serialize(), rng).unwrap().to_vec();
        let record =
            SignedPreKeyRecord::new(id.into(), Timestamp::from_epoch_millis(0), &signed_pair, &signature);
        let one_time_pairs: Vec<_> = [1, 900_000].map(|id| (id, KeyPair::generate(rng))).into();
        let records =
            one_time_pairs.iter().map(|(id, pair)| ((*id).into(), PreKeyRecord::new((*id).into(), pair)));
        let private = |pair: &KeyPair| hex::encode(pair.private_key.serialize());
        let known = json!({
            "registration_id": registration_id,
            "identity": private(&pair),
            "signed_prekey": {"id": id, "private": private(&signed_pair), "signature": hex::encode(&signature)},
            "one_time": one_time_pairs.iter()
                .map(|(id, pair)| json!({"id": id, "private": private(pair)})).collect::<Vec<_>>(),
        });
        Self {
            name,
            identity: Identity(identity, registration_id),
            signed: Signed(id.into(), record),
            signed_pair,
            signature,
            one_time: OneTime(records.collect()),
            one_time_pairs,
            sessions: Sessions::default(),
            known,
        }
    }

    fn bundle(&self, one_time: Option<u32>) -> PreKeyBundle {
        let one_time = one_time.map(|id| {
            let (_, pair) = self.one_time_pairs.iter().find(|(known, _)| *known == id).unwrap();
            (id.into(), pair.public_key)
        });
        PreKeyBundle::new(
            self.identity.1,
            1.into(),
            one_time,
            self.signed.0,
            self.signed_pair.public_key,
            self.signature.clone(),
            *self.identity.0.identity_key(),
        )
        .unwrap()
    }
}

struct Story {
    name: &'static str,
    ends: [End; 2],
    rng: Recorder,
    steps: Vec<Value>,
    sent: Vec<(bool, Vec<u8>, Vec<u8>)>,
    /// A state that comes back from the archive skips the rest of the counters it had reserved, and its next
    /// `previousCounter` says so. From then on its bytes are its own.
    exact: bool,
}

const ALICE: usize = 0;
const BOB: usize = 1;

fn address(end: usize) -> ProtocolAddress {
    ProtocolAddress::new(["alice", "bob"][end], 1.into())
}

impl Story {
    fn new(name: &'static str, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let ends = [End::new("alice", 2_147_483_647, &mut rng), End::new("bob", 1, &mut rng)];
        Self { name, ends, rng: Recorder(rng, Vec::new()), steps: Vec::new(), sent: Vec::new(), exact: true }
    }

    fn initiate(&mut self, by: usize, one_time: Option<u32>) {
        let bundle = self.ends[1 - by].bundle(one_time);
        let end = &mut self.ends[by];
        block_on(process_prekey_bundle(
            &address(1 - by),
            &mut end.sessions,
            &mut end.identity,
            &bundle,
            &mut self.rng,
            UsePQRatchet::No,
        ))
        .unwrap();
        let drawn = std::mem::take(&mut self.rng.1);
        self.steps.push(json!({"do": "initiate", "by": end.name, "one_time": one_time, "drawn": drawn}));
    }

    fn send(&mut self, by: usize) -> usize {
        let number = self.sent.len();
        let plaintext = format!("{} {number} ", self.name).repeat(1 + number % 5).into_bytes();
        let end = &mut self.ends[by];
        let sent =
            block_on(message_encrypt(&plaintext, &address(1 - by), &mut end.sessions, &mut end.identity))
                .unwrap();
        let prekey = matches!(sent, CiphertextMessage::PreKeySignalMessage(_));
        let bytes = sent.serialize().to_vec();
        self.steps.push(json!({
            "do": "send", "by": end.name, "type": if prekey { "pkmsg" } else { "msg" },
            "plaintext": hex::encode(&plaintext), "ciphertext": hex::encode(&bytes), "exact": self.exact,
        }));
        self.sent.push((prekey, bytes, plaintext));
        number
    }

    fn receive(&mut self, by: usize, message: usize, outcome: &str) {
        let (prekey, bytes, plaintext) = &self.sent[message];
        let parsed = if *prekey {
            CiphertextMessage::PreKeySignalMessage(PreKeySignalMessage::try_from(bytes.as_slice()).unwrap())
        } else {
            CiphertextMessage::SignalMessage(SignalMessage::try_from(bytes.as_slice()).unwrap())
        };
        let end = &mut self.ends[by];
        let opened = block_on(message_decrypt(
            &parsed,
            &address(1 - by),
            &mut end.sessions,
            &mut end.identity,
            &mut end.one_time,
            &end.signed,
            &mut self.rng,
            UsePQRatchet::No,
        ));
        match (&opened, outcome) {
            (Ok(opened), "read") => assert_eq!(&opened.plaintext, plaintext),
            (Err(SignalProtocolError::DuplicatedMessage(..)), "refused") => {}
            (Ok(_), _) => panic!("{}: {message} was read", self.name),
            (Err(error), _) => panic!("{}: {message}: {error}", self.name),
        }
        let drawn = std::mem::take(&mut self.rng.1);
        self.steps.push(
            json!({"do": "receive", "by": end.name, "message": message, "outcome": outcome, "drawn": drawn}),
        );
    }

    fn read(&mut self, by: usize, messages: &[usize]) {
        messages.iter().for_each(|message| self.receive(by, *message, "read"));
    }

    fn json(self) -> Value {
        let [alice, bob] = self.ends.map(|end| end.known);
        json!({"name": self.name, "alice": alice, "bob": bob, "steps": self.steps})
    }
}

fn conversation(name: &'static str, one_time: Option<u32>, seed: u64) -> Value {
    let mut s = Story::new(name, seed);
    s.initiate(ALICE, one_time);
    let first: Vec<_> = (0..4).map(|_| s.send(ALICE)).collect();
    s.read(BOB, &[first[1], first[0]]);
    let reply: Vec<_> = (0..3).map(|_| s.send(BOB)).collect();
    s.read(ALICE, &[reply[2]]);
    s.receive(ALICE, reply[2], "refused");
    let second: Vec<_> = (0..2).map(|_| s.send(ALICE)).collect();
    s.read(BOB, &[second[1], first[3], first[2], second[0]]);
    s.receive(BOB, first[2], "refused");
    s.read(ALICE, &[reply[0], reply[1]]);
    let mut late = Vec::new();
    for turn in 0..10 {
        let by = if turn % 2 == 0 { BOB } else { ALICE };
        let three: Vec<_> = (0..3).map(|_| s.send(by)).collect();
        s.read(1 - by, &[three[2], three[0]]);
        late.push((1 - by, three[1]));
    }
    for (to, message) in late {
        s.read(to, &[message]);
    }
    s.json()
}

/// Each begins before it heard the other. Whoever reads with an archived state goes back to it.
fn simultaneous() -> Value {
    let mut s = Story::new("both initiate at once", 3);
    s.initiate(ALICE, Some(1));
    s.initiate(BOB, None);
    let from_alice = [s.send(ALICE), s.send(ALICE)];
    let from_bob = [s.send(BOB), s.send(BOB)];
    s.read(BOB, &from_alice[..1]);
    s.read(ALICE, &from_bob[1..]);
    let crossing = [s.send(ALICE), s.send(BOB)];
    s.exact = false;
    s.read(BOB, &[crossing[0]]);
    s.read(ALICE, &[crossing[1]]);
    let again = [s.send(ALICE), s.send(BOB)];
    s.read(BOB, &[again[0], from_alice[1]]);
    s.read(ALICE, &[again[1], from_bob[0]]);
    for _ in 0..3 {
        let ping = s.send(ALICE);
        s.read(BOB, &[ping]);
        let pong = s.send(BOB);
        s.read(ALICE, &[pong]);
    }
    s.json()
}

fn again() -> Value {
    let mut s = Story::new("initiated again", 4);
    s.initiate(ALICE, Some(900_000));
    let old: Vec<_> = (0..3).map(|_| s.send(ALICE)).collect();
    s.read(BOB, &old[..1]);
    let reply = s.send(BOB);
    s.read(ALICE, &[reply]);
    let late = [s.send(ALICE), s.send(ALICE)];
    s.initiate(ALICE, Some(1));
    let fresh = [s.send(ALICE), s.send(ALICE)];
    s.read(BOB, &fresh[..1]);
    let reply = s.send(BOB);
    s.read(ALICE, &[reply]);
    s.exact = false;
    s.read(BOB, &[fresh[1], late[1], old[2], late[0]]);
    s.receive(BOB, late[1], "refused");
    // Bob is back in the first session by now, and Alice follows him.
    let reply = s.send(BOB);
    s.read(ALICE, &[reply]);
    let last = s.send(ALICE);
    s.read(BOB, &[last]);
    s.json()
}

fn main() {
    let stories = [
        conversation("with a one-time prekey", Some(1), 1),
        conversation("without a one-time prekey", None, 2),
        simultaneous(),
        again(),
    ];
    let origin = "wacore-libsignal 0.7.0 on both ends, driven by tests/vectors/make/signal_wacore.rs; all keys are made up";
    println!("{}", serde_json::to_string_pretty(&json!({"origin": origin, "stories": stories})).unwrap());
}
