//! Sender keys: what Baileys wrote to a group is read, ours comes out with the same bytes, and whatever the network
//! loses, repeats or turns around, every message is read at most once, as what was written, and a failure changes
//! nothing.

#![allow(clippy::unwrap_used)]

use std::{collections::VecDeque, convert::Infallible};

use proptest::prelude::*;
use rand::{SeedableRng as _, TryCryptoRng, TryRng, rngs::StdRng};
use serde_json::Value;
use wazap::crypto::signal::{SenderKeys, SignalError, is_sender_key_message};

/// XEdDSA, behind each message.
const SIGNATURE: usize = 64;
/// How far a message may be ahead, and how many keys are kept for late ones.
const BOUND: usize = 2000;

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// Gives the recorded id and keys; what it is asked for after that goes into signatures, which are random anyway.
struct Recorded {
    id: u32,
    keys: VecDeque<Vec<u8>>,
}

impl TryRng for Recorded {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.id << 1)
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("ids have 32 bits")
    }
    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        match self.keys.pop_front() {
            Some(key) => dst.copy_from_slice(&key),
            None => dst.fill(7),
        }
        Ok(())
    }
}
impl TryCryptoRng for Recorded {}

#[test]
fn what_baileys_wrote_to_a_group_comes_out_the_same() {
    let vectors: Value =
        serde_json::from_str(include_str!("vectors/crypto/sender_key_baileys.json")).unwrap();
    for story in vectors["stories"].as_array().unwrap() {
        let key = &story["key"];
        let keys = VecDeque::from([bytes(&key["chain"]), bytes(&key["signing"])]);
        let mut rng = Recorded { id: u32::try_from(key["id"].as_u64().unwrap()).unwrap(), keys };
        // We play the sender, and a device that was there from the start, and at every distribution a newcomer.
        let mut sender = SenderKeys::generate(&mut rng);
        let (mut receiver, mut newcomers) = (SenderKeys::default(), Vec::<SenderKeys>::new());
        let (mut sent, mut next) = (Vec::new(), 0);
        for (number, step) in story["steps"].as_array().unwrap().iter().enumerate() {
            let at = format!("{}, step {number}", story["name"]);
            match step["do"].as_str().unwrap() {
                "distribute" => {
                    let distribution = bytes(&step["bytes"]);
                    if number == 0 {
                        assert_eq!(hex::encode(sender.distribution().unwrap()), hex::encode(&distribution));
                    }
                    receiver.process(&distribution).unwrap();
                    let mut newcomer = SenderKeys::default();
                    newcomer.process(&distribution).unwrap();
                    newcomers.push(newcomer);
                }
                "send" => {
                    let (text, theirs) = (bytes(&step["plaintext"]), bytes(&step["bytes"]));
                    // Baileys leaves every second iteration out, from the second message on.
                    if next > 0 {
                        sender.encrypt(b"left out", &mut rng).unwrap();
                    }
                    next += 1;
                    let ours = sender.encrypt(&text, &mut rng).unwrap();
                    let unsigned = |message: &[u8]| hex::encode(&message[..message.len() - SIGNATURE]);
                    assert_eq!(unsigned(&ours), unsigned(&theirs), "{at}");
                    // Our own signature convinces whoever has the distribution.
                    assert_eq!(receiver.clone().decrypt(&ours).unwrap(), text, "{at}");
                    for newcomer in &mut newcomers {
                        assert_eq!(newcomer.decrypt(&theirs).unwrap(), text, "{at}");
                    }
                    sent.push((text, theirs));
                }
                "receive" => {
                    let (text, message) = &sent[usize::try_from(step["message"].as_u64().unwrap()).unwrap()];
                    let got = receiver.decrypt(message);
                    match step["outcome"].as_str().unwrap() {
                        "read" => assert_eq!(got.as_ref(), Ok(text), "{at}"),
                        _ => assert_eq!(got, Err(SignalError::Duplicate), "{at}"),
                    }
                    receiver = SenderKeys::decode(&receiver.encode()).unwrap();
                }
                other => panic!("{at}: {other}"),
            }
        }
    }
}

#[test]
fn only_the_newest_five_keys_of_a_device_are_kept() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut receiver = SenderKeys::default();
    let mut senders: Vec<SenderKeys> = (0..6).map(|_| SenderKeys::generate(&mut rng)).collect();
    for sender in &senders {
        receiver.process(&sender.distribution().unwrap()).unwrap();
    }
    let read: Vec<bool> = senders
        .iter_mut()
        .map(|sender| {
            let message = sender.encrypt(b"x", &mut rng).unwrap();
            receiver.decrypt(&message).is_ok()
        })
        .collect();
    assert_eq!(read, [false, true, true, true, true, true]);
    assert_eq!(receiver.decrypt(&senders[0].encrypt(b"x", &mut rng).unwrap()), Err(SignalError::NoSenderKey));
}

#[test]
fn a_key_that_is_distributed_again_does_not_lose_what_is_under_way() {
    let mut rng = StdRng::seed_from_u64(2);
    let (mut sender, mut receiver) = (SenderKeys::generate(&mut rng), SenderKeys::default());
    receiver.process(&sender.distribution().unwrap()).unwrap();
    let under_way = sender.encrypt(b"first", &mut rng).unwrap();
    receiver.process(&sender.distribution().unwrap()).unwrap();
    assert_eq!(receiver.decrypt(&under_way).unwrap(), b"first");
    assert_eq!(receiver.decrypt(&under_way), Err(SignalError::Duplicate));
}

#[test]
fn nobody_can_buy_hours_of_hashing_with_one_message() {
    let mut rng = StdRng::seed_from_u64(3);
    let (mut sender, mut receiver) = (SenderKeys::generate(&mut rng), SenderKeys::default());
    receiver.process(&sender.distribution().unwrap()).unwrap();
    let messages: Vec<Vec<u8>> = (0..=BOUND + 1).map(|_| sender.encrypt(b"x", &mut rng).unwrap()).collect();
    let before = receiver.encode();
    assert_eq!(receiver.decrypt(&messages[BOUND + 1]), Err(SignalError::FutureMessage));
    assert_eq!(receiver.encode(), before);
    assert_eq!(receiver.decrypt(&messages[BOUND]).unwrap(), b"x");
    assert_eq!(receiver.decrypt(&messages[BOUND + 1]).unwrap(), b"x");
    assert_eq!(receiver.decrypt(&messages[0]).unwrap(), b"x");
    // One more gap: the oldest keys make room.
    let later: Vec<Vec<u8>> = (0..10).map(|_| sender.encrypt(b"y", &mut rng).unwrap()).collect();
    receiver.decrypt(&later[9]).unwrap();
    assert_eq!(receiver.decrypt(&messages[1]), Err(SignalError::Duplicate), "given up");
    assert_eq!(receiver.decrypt(&messages[BOUND - 1]).unwrap(), b"x");
}

#[test]
fn only_the_devices_own_key_writes_and_only_with_its_signature() {
    let mut rng = StdRng::seed_from_u64(4);
    let (mut sender, mut receiver) = (SenderKeys::generate(&mut rng), SenderKeys::default());
    let distribution = sender.distribution().unwrap();
    receiver.process(&distribution).unwrap();
    // A member can make the ciphertext of another's message, but not its signature.
    assert_eq!(receiver.encrypt(b"forged", &mut rng), Err(SignalError::NoSenderKey));
    let message = sender.encrypt(b"genuine", &mut rng).unwrap();
    let before = receiver.encode();
    for at in 0..message.len() {
        let mut changed = message.clone();
        changed[at] ^= 1;
        assert!(receiver.decrypt(&changed).is_err(), "changed at {at}");
        assert!(receiver.decrypt(&message[..at]).is_err(), "cut at {at}");
    }
    assert_eq!(receiver.encode(), before);
    assert!(is_sender_key_message(&message) && !is_sender_key_message(&message[..SIGNATURE]));
    for at in 0..distribution.len() {
        let _ = SenderKeys::default().process(&distribution[..at]).unwrap_err();
    }
}

/// What happens to the messages of one sender on their way to one receiver.
#[derive(Clone, Debug)]
enum Event {
    Send(usize),
    /// Delivers the message that `pick` names by remainder; `keep` leaves it under way.
    Deliver {
        pick: usize,
        keep: bool,
    },
    Lose(usize),
    Corrupt {
        pick: usize,
        at: usize,
        bits: u8,
    },
    /// The sender starts a new key, or tells of its key once more.
    Distribute {
        rotate: bool,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0usize..100).prop_map(Event::Send),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(pick, keep)| Event::Deliver { pick, keep }),
        1 => any::<usize>().prop_map(Event::Lose),
        2 => (any::<usize>(), any::<usize>(), 1..=u8::MAX)
            .prop_map(|(pick, at, bits)| Event::Corrupt { pick, at, bits }),
        1 => any::<bool>().prop_map(|rotate| Event::Distribute { rotate }),
    ]
}

proptest! {
    #[test]
    fn every_message_is_read_at_most_once_and_as_it_was_written(
        seed in any::<u64>(),
        events in proptest::collection::vec(event(), 1..200),
    ) {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut sender, mut receiver) = (SenderKeys::generate(&mut rng), SenderKeys::default());
        receiver.process(&sender.distribution().unwrap()).unwrap();
        let (mut rotations, mut under_way) = (0, Vec::<(usize, Vec<u8>, Vec<u8>)>::new());
        let (mut texts, mut read) = (0, Vec::<Vec<u8>>::new());
        for event in events {
            match event {
                Event::Send(length) => {
                    texts += 1;
                    let text = format!("text {texts} {}", "x".repeat(length)).into_bytes();
                    let message = sender.encrypt(&text, &mut rng).unwrap();
                    sender = SenderKeys::decode(&sender.encode()).unwrap();
                    under_way.push((rotations, text, message));
                }
                Event::Deliver { pick, keep } if !under_way.is_empty() => {
                    let pick = pick % under_way.len();
                    let (key, text, message) =
                        if keep { under_way[pick].clone() } else { under_way.remove(pick) };
                    let before = receiver.encode();
                    let got = receiver.decrypt(&message);
                    if key + 5 <= rotations {
                        prop_assert_eq!(&got, &Err(SignalError::NoSenderKey));
                    } else if read.contains(&text) {
                        prop_assert_eq!(&got, &Err(SignalError::Duplicate));
                    } else {
                        prop_assert_eq!(&got, &Ok(text.clone()));
                        read.push(text);
                    }
                    let after = receiver.encode();
                    if got.is_err() {
                        prop_assert_eq!(&after, &before);
                    }
                    receiver = SenderKeys::decode(&after).unwrap();
                    prop_assert_eq!(receiver.encode(), after);
                }
                Event::Lose(pick) if !under_way.is_empty() => {
                    under_way.remove(pick % under_way.len());
                }
                Event::Corrupt { pick, at, bits } if !under_way.is_empty() => {
                    let (_, _, message) = &under_way[pick % under_way.len()];
                    let mut message = message.clone();
                    let at = at % message.len();
                    message[at] ^= bits;
                    let before = receiver.encode();
                    prop_assert!(receiver.decrypt(&message).is_err());
                    prop_assert_eq!(receiver.encode(), before);
                }
                Event::Distribute { rotate } => {
                    if rotate {
                        sender = SenderKeys::generate(&mut rng);
                        rotations += 1;
                    }
                    receiver.process(&sender.distribution().unwrap()).unwrap();
                }
                _ => {}
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut keys = SenderKeys::default();
        let _ = keys.process(&bytes);
        let mut led = vec![0x33];
        led.extend_from_slice(&bytes);
        let _ = keys.process(&led);
        let _ = keys.decrypt(&led);
        let _ = is_sender_key_message(&bytes);
        if let Ok(stored) = SenderKeys::decode(&bytes) {
            prop_assert_eq!(SenderKeys::decode(&stored.encode()).map(|s| s.encode()), Ok(stored.encode()));
        }
    }
}
