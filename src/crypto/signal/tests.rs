//! Stories of two ends, Alice and Bob.

use std::collections::HashMap;

use rand::{SeedableRng as _, rngs::StdRng};

use super::{state::State, *};

const ONE_TIME_ID: u32 = 7;

/// One end: identity, prekeys and its session with the other end.
struct End {
    identity: KeyPair,
    registration_id: u32,
    signed: KeyPair,
    one_time: HashMap<u32, KeyPair>,
    session: Session,
    rng: StdRng,
}

impl End {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let identity = KeyPair::generate(&mut rng);
        let signed = KeyPair::generate(&mut rng);
        let one_time = HashMap::from([(ONE_TIME_ID, KeyPair::generate(&mut rng))]);
        Self { identity, registration_id: seed as u32, signed, one_time, session: Session::default(), rng }
    }

    fn bundle(&mut self, one_time: Option<u32>) -> PreKeyBundle {
        let key = self.signed.public;
        let signature = self.identity.private.sign(&key.to_signal(), &mut self.rng);
        PreKeyBundle {
            registration_id: self.registration_id,
            identity: self.identity.public,
            signed_prekey: SignedPreKey { id: 1, key, signature },
            one_time: one_time.map(|id| OneTimePreKey { id, key: self.one_time[&id].public }),
        }
    }

    fn initiate(&mut self, bundle: &PreKeyBundle) -> Result<(), SignalError> {
        let local = Local { identity: &self.identity, registration_id: self.registration_id };
        self.session.initiate(&local, bundle, &mut self.rng)
    }

    fn send(&mut self, text: &str) -> Ciphertext {
        self.session.encrypt(text.as_bytes()).unwrap()
    }

    fn receive(&mut self, sent: &Ciphertext) -> Result<String, SignalError> {
        let before = self.session.encode();
        let local = Local { identity: &self.identity, registration_id: self.registration_id };
        let opened = match sent.kind {
            CiphertextKind::Message => self.session.decrypt(&local, &sent.bytes, &mut self.rng),
            CiphertextKind::PreKey => PreKeyMessage::parse(&sent.bytes).and_then(|message| {
                let one_time = message.pre_key_id.and_then(|id| self.one_time.get(&id).cloned());
                let ours = OurPreKeys { signed: Some(self.signed.clone()), one_time };
                let opened = self.session.decrypt_prekey(&local, &message, &ours, &mut self.rng)?;
                if opened.consumed_one_time {
                    self.one_time.remove(&message.pre_key_id.unwrap()).unwrap();
                }
                Ok(opened.plaintext)
            }),
        };
        if opened.is_err() {
            assert_eq!(self.session.encode(), before, "a failed call changes nothing");
        }
        opened.map(|plaintext| String::from_utf8(plaintext).unwrap())
    }
}

/// Alice began from Bob's bundle, and both heard each other.
fn talking() -> (End, End) {
    let (mut alice, mut bob) = (End::new(1), End::new(2));
    alice.initiate(&bob.bundle(Some(ONE_TIME_ID))).unwrap();
    let hello = alice.send("hello");
    bob.receive(&hello).unwrap();
    let hi = bob.send("hi");
    alice.receive(&hi).unwrap();
    (alice, bob)
}

#[test]
fn alice_sends_prekey_messages_until_she_hears_bob() {
    let (mut alice, mut bob) = (End::new(1), End::new(2));
    assert!(!alice.session.is_open());
    assert_eq!(alice.session.encrypt(b"x").unwrap_err(), SignalError::NoSession);
    alice.initiate(&bob.bundle(Some(ONE_TIME_ID))).unwrap();
    assert_eq!(alice.session.remote_identity(), Some(bob.identity.public));
    assert_eq!(alice.session.remote_registration_id(), Some(2));

    let sent = ["one", "two", "three"].map(|text| alice.send(text));
    assert!(sent.iter().all(|message| message.kind == CiphertextKind::PreKey));
    let parsed = PreKeyMessage::parse(&sent[2].bytes).unwrap();
    assert_eq!(
        (parsed.pre_key_id, parsed.signed_pre_key_id, parsed.registration_id),
        (Some(ONE_TIME_ID), 1, 1)
    );
    assert_eq!((parsed.identity, Some(parsed.base_key)), (alice.identity.public, alice.session.base_key()));

    assert_eq!(bob.receive(&sent[1]).as_deref(), Ok("two"));
    assert!(bob.one_time.is_empty());
    assert_eq!(bob.session.base_key(), alice.session.base_key());
    // The prekey is gone, the base key is known.
    assert_eq!(bob.receive(&sent[2]).as_deref(), Ok("three"));
    assert_eq!(bob.receive(&sent[0]).as_deref(), Ok("one"));
    assert_eq!(bob.receive(&sent[0]), Err(SignalError::Duplicate));

    let answer = bob.send("four");
    assert_eq!(answer.kind, CiphertextKind::Message);
    assert_eq!(alice.receive(&answer).as_deref(), Ok("four"));
    assert_eq!(alice.send("five").kind, CiphertextKind::Message);
}

#[test]
fn without_a_one_time_prekey_none_is_named() {
    let (mut alice, mut bob) = (End::new(1), End::new(2));
    alice.initiate(&bob.bundle(None)).unwrap();
    let sent = alice.send("hello");
    assert_eq!(PreKeyMessage::parse(&sent.bytes).unwrap().pre_key_id, None);
    assert_eq!(bob.receive(&sent).as_deref(), Ok("hello"));
    assert_eq!(bob.one_time.len(), 1);
}

#[test]
fn prekeys_that_are_not_stored_are_unknown() {
    let (mut alice, mut bob) = (End::new(1), End::new(2));
    alice.initiate(&bob.bundle(Some(ONE_TIME_ID))).unwrap();
    let sent = alice.send("hello");
    bob.one_time.clear();
    assert_eq!(bob.receive(&sent), Err(SignalError::UnknownPreKey));

    let message = PreKeyMessage::parse(&sent.bytes).unwrap();
    let local = Local { identity: &bob.identity, registration_id: 2 };
    let opened = bob.session.decrypt_prekey(&local, &message, &OurPreKeys::default(), &mut bob.rng);
    assert_eq!(opened.unwrap_err(), SignalError::UnknownPreKey);
}

#[test]
fn a_bundle_whose_signature_is_anothers_begins_nothing() {
    let (mut alice, mut bob) = talking();
    let before = alice.session.encode();
    let mut bundle = bob.bundle(None);
    bundle.identity = End::new(3).identity.public;
    assert_eq!(alice.initiate(&bundle), Err(SignalError::InvalidSignature));
    let mut bundle = bob.bundle(None);
    bundle.signed_prekey.key = End::new(3).signed.public;
    assert_eq!(alice.initiate(&bundle), Err(SignalError::InvalidSignature));
    bundle = bob.bundle(None);
    bundle.one_time = Some(OneTimePreKey { id: 9, key: PublicKey::from_bytes([0; 32]) });
    assert_eq!(alice.initiate(&bundle), Err(SignalError::InvalidKey));
    assert_eq!(alice.session.encode(), before);
}

#[test]
fn late_messages_of_the_last_five_chains_are_read() {
    let (mut alice, mut bob) = talking();
    let mut late = Vec::new();
    for round in 0..6 {
        late.push(alice.send(&format!("late {round}")));
        let ping = alice.send("ping");
        bob.receive(&ping).unwrap();
        let pong = bob.send("pong");
        alice.receive(&pong).unwrap();
    }
    assert_eq!(bob.receive(&late[0]), Err(SignalError::BadMac), "its chain was given up");
    for (round, message) in late.iter().enumerate().skip(1) {
        assert_eq!(bob.receive(message), Ok(format!("late {round}")));
        assert_eq!(bob.receive(message), Err(SignalError::Duplicate));
    }
}

#[test]
fn a_jump_of_2000_is_followed_and_a_longer_one_is_not() {
    let (mut alice, mut bob) = talking();
    let sent: Vec<_> = (0..=2001).map(|n| alice.send(&n.to_string())).collect();
    assert_eq!(bob.receive(&sent[2001]), Err(SignalError::FutureMessage));
    assert_eq!(bob.receive(&sent[2000]).as_deref(), Ok("2000"));
    assert_eq!(bob.receive(&sent[2001]).as_deref(), Ok("2001"));
    assert_eq!(bob.receive(&sent[0]).as_deref(), Ok("0"));
    assert_eq!(bob.receive(&sent[1999]).as_deref(), Ok("1999"));
}

#[test]
fn at_most_2000_skipped_keys_of_a_chain_are_kept() {
    let (mut alice, mut bob) = talking();
    let sent: Vec<_> = (0..3000).map(|n| alice.send(&n.to_string())).collect();
    bob.receive(&sent[1500]).unwrap();
    bob.receive(&sent[2999]).unwrap();
    assert_eq!(bob.session.current.as_ref().unwrap().skipped(), 2000);
    // 2998 were skipped, so the first 998 are given up.
    assert_eq!(bob.receive(&sent[997]), Err(SignalError::Duplicate));
    assert_eq!(bob.receive(&sent[998]).as_deref(), Ok("998"));
    assert_eq!(bob.receive(&sent[2998]).as_deref(), Ok("2998"));
}

#[test]
fn both_begin_at_once_and_meet_in_one_state() {
    let (mut alice, mut bob) = (End::new(1), End::new(2));
    alice.initiate(&bob.bundle(Some(ONE_TIME_ID))).unwrap();
    bob.initiate(&alice.bundle(Some(ONE_TIME_ID))).unwrap();
    let (from_alice, from_bob) = (alice.send("from alice"), bob.send("from bob"));
    assert_eq!(bob.receive(&from_alice).as_deref(), Ok("from alice"));
    assert_eq!(alice.receive(&from_bob).as_deref(), Ok("from bob"));
    assert_ne!(alice.session.base_key(), bob.session.base_key(), "each adopted the other's");

    let again = alice.send("again");
    assert_eq!(again.kind, CiphertextKind::Message);
    assert_eq!(bob.receive(&again).as_deref(), Ok("again"));
    assert_eq!(alice.session.base_key(), bob.session.base_key(), "bob went back to his own");
    let met = bob.send("met");
    assert_eq!(alice.receive(&met).as_deref(), Ok("met"));
}

#[test]
fn an_archived_state_reads_and_becomes_current_again() {
    let (mut alice, mut bob) = talking();
    let first_state = bob.session.base_key();
    let late = alice.send("late");
    alice.session.archive();
    assert!(!alice.session.is_open());
    assert_eq!(alice.session.remote_identity(), None);
    alice.initiate(&bob.bundle(None)).unwrap();
    let fresh = alice.send("fresh");
    assert_eq!(bob.receive(&fresh).as_deref(), Ok("fresh"));
    assert_ne!(bob.session.base_key(), first_state);
    assert_eq!(bob.receive(&late).as_deref(), Ok("late"));
    assert_eq!(bob.session.base_key(), first_state);
    assert_eq!(bob.receive(&late), Err(SignalError::Duplicate), "wins over the archived state's bad MAC");

    let mut only_archived = bob.session.clone();
    only_archived.archive();
    assert_eq!(only_archived.archived.len(), 2);
    bob.session = only_archived;
    let more = alice.send("more");
    assert_eq!(bob.receive(&more).as_deref(), Ok("more"));
    assert_eq!((bob.session.is_open(), bob.session.archived.len()), (true, 1));
}

#[test]
fn forty_archived_states_are_kept_and_their_late_keys_are_bounded() {
    let (mut alice, mut bob) = (End::new(1), End::new(2));
    let bundle = bob.bundle(None);
    let mut late = Vec::new();
    for _ in 0..43 {
        alice.initiate(&bundle).unwrap();
        late.push(alice.send("late"));
        (0..1998).for_each(|_| drop(alice.send("lost")));
        let arrives = alice.send("arrives");
        bob.receive(&arrives).unwrap();
    }
    assert_eq!(bob.session.archived.len(), 40);
    assert_eq!(bob.session.archived.iter().map(State::skipped).sum::<usize>(), 5 * 1999);
    assert!(bob.session.encode().len() < 6 * 2000 * 36 + 41 * 500);
    assert_eq!(bob.receive(&late[42]).as_deref(), Ok("late"));
    assert_eq!(bob.receive(&late[37]).as_deref(), Ok("late"));
    assert_eq!(
        bob.receive(&late[30]),
        Err(SignalError::Duplicate),
        "the state is kept, its late keys are not"
    );
}

#[test]
fn a_chain_that_stayed_silent_counts_as_zero() {
    let (mut alice, mut bob) = talking();
    // Bob hears two ratchet keys of Alice without a word between: his chain from the first stays empty.
    let mut second = alice.send("a");
    bob.receive(&second).unwrap();
    assert_eq!(bob.session.current.as_ref().unwrap().previous_counter, 0, "one message was sent, of index 0");
    let three = [bob.send("b"), bob.send("c"), bob.send("d")];
    alice.receive(&three[2]).unwrap();
    second = alice.send("e");
    bob.receive(&second).unwrap();
    let state = bob.session.current.as_ref().unwrap();
    assert_eq!((state.previous_counter, state.sender.chain.index), (2, 0));

    let mut silent = state.clone();
    let (root, chain) = silent.root.step(&silent.sender.ratchet.private.agree(&alice.identity.public));
    let receiver =
        state::ReceiverChain { ratchet: alice.identity.public, chain, skipped: Default::default() };
    silent.turn(root, receiver, &mut bob.rng).unwrap();
    assert_eq!(silent.previous_counter, 0);
}

#[test]
fn a_session_of_a_former_identity_reads_nothing() {
    let (mut alice, mut bob) = talking();
    let sent = alice.send("hello");
    let other = KeyPair::generate(&mut bob.rng);
    let local = Local { identity: &other, registration_id: 2 };
    assert_eq!(bob.session.decrypt(&local, &sent.bytes, &mut bob.rng), Err(SignalError::NoSession));
    assert_eq!(bob.receive(&sent).as_deref(), Ok("hello"));
}

#[test]
fn an_identity_swapped_in_the_envelope_is_not_taken_for_the_states() {
    let (mut alice, mut bob) = (End::new(1), End::new(2));
    alice.initiate(&bob.bundle(None)).unwrap();
    let sent = [alice.send("one"), alice.send("two")];
    bob.receive(&sent[0]).unwrap();
    let mut swapped = PreKeyMessage::parse(&sent[1].bytes).unwrap();
    swapped.identity = End::new(3).identity.public;
    let swapped = Ciphertext { kind: CiphertextKind::PreKey, bytes: swapped.into_bytes() };
    assert_eq!(bob.receive(&swapped), Err(SignalError::BadMac));
    assert_eq!(bob.receive(&sent[1]).as_deref(), Ok("two"));
}

#[test]
fn a_message_that_names_a_low_order_ratchet_key_is_refused() {
    let (_, mut bob) = talking();
    let header =
        envelope::Header { ratchet_key: PublicKey::from_bytes([0; 32]), counter: 0, previous_counter: 0 };
    let (one, other) = (bob.identity.public, bob.signed.public);
    let direction = envelope::Direction { sender: &one, receiver: &other };
    let (seed, _) = bob.session.current.as_ref().unwrap().sender.chain.step().unwrap();
    let bytes = envelope::seal(&header, &seed, &direction, b"x");
    assert_eq!(
        bob.receive(&Ciphertext { kind: CiphertextKind::Message, bytes }),
        Err(SignalError::InvalidKey)
    );
}

#[test]
fn a_stored_session_reads_back_and_a_broken_one_is_refused() {
    let (mut alice, mut bob) = talking();
    let late = alice.send("late");
    let next = alice.send("next");
    bob.receive(&next).unwrap();
    bob.initiate(&alice.bundle(None)).unwrap();
    let bytes = bob.session.encode();
    let read = Session::decode(&bytes).unwrap();
    assert_eq!(read.encode(), bytes);
    bob.session = read;
    assert_eq!(bob.receive(&late).as_deref(), Ok("late"));

    assert!(!Session::decode(&[]).unwrap().is_open());
    for end in 1..bytes.len() {
        if let Ok(read) = Session::decode(&bytes[..end]) {
            assert!(read.archived.is_empty(), "only a cut between the two states leaves one");
        }
    }
    assert_eq!(Session::decode(&[0x0a, 0]).err(), Some(SignalError::CorruptSession));
}

#[test]
fn debug_shows_no_text() {
    let (mut alice, _) = talking();
    assert_eq!(format!("{:?}", alice.send("hello")), "Ciphertext(Message, 66 bytes)");
    let opened = Opened { plaintext: b"hello".to_vec(), consumed_one_time: true };
    assert_eq!(format!("{opened:?}"), "Opened { consumed_one_time: true, .. }");
}
