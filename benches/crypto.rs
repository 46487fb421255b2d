//! How many Signal operations a second one thread does. `cargo bench --bench crypto`.
//!
//! Each line is the best of several runs: what the machine can do, not what else it was doing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::StdRng};
use wazap::crypto::{
    KeyPair,
    signal::{
        Ciphertext, Local, OneTimePreKey, OurPreKeys, PreKeyBundle, PreKeyMessage, Session, SignedPreKey,
    },
};

/// A short text as WhatsApp pads it.
const TEXT: [u8; 48] = [b'x'; 48];

struct End {
    identity: KeyPair,
    signed: KeyPair,
    one_time: KeyPair,
    session: Session,
    rng: StdRng,
}

impl End {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let [identity, signed, one_time] = std::array::from_fn(|_| KeyPair::generate(&mut rng));
        Self { identity, signed, one_time, session: Session::default(), rng }
    }

    fn bundle(&mut self) -> PreKeyBundle {
        let key = self.signed.public;
        PreKeyBundle {
            registration_id: 1,
            identity: self.identity.public,
            signed_prekey: SignedPreKey {
                id: 1,
                key,
                signature: self.identity.private.sign(&key.to_signal(), &mut self.rng),
            },
            one_time: Some(OneTimePreKey { id: 1, key: self.one_time.public }),
        }
    }

    fn initiate(&mut self, bundle: &PreKeyBundle) {
        let local = Local { identity: &self.identity, registration_id: 1 };
        self.session.initiate(&local, bundle, &mut self.rng).expect("a good bundle");
    }

    fn send(&mut self) -> Ciphertext {
        self.session.encrypt(&TEXT).expect("an open session")
    }

    fn receive_first(&mut self, sent: &Ciphertext) {
        let local = Local { identity: &self.identity, registration_id: 1 };
        let message = PreKeyMessage::parse(&sent.bytes).expect("a prekey message");
        let ours = OurPreKeys { signed: Some(self.signed.clone()), one_time: Some(self.one_time.clone()) };
        black_box(self.session.decrypt_prekey(&local, &message, &ours, &mut self.rng).expect("readable"));
    }

    fn receive(&mut self, sent: &Ciphertext) {
        let local = Local { identity: &self.identity, registration_id: 1 };
        black_box(self.session.decrypt(&local, &sent.bytes, &mut self.rng).expect("readable"));
    }

    /// As with every row: read before, written after.
    fn through_the_store(&mut self) {
        self.session = Session::decode(&self.session.encode()).expect("what was encoded");
    }
}

fn talking() -> (End, End) {
    let (mut alice, mut bob) = (End::new(1), End::new(2));
    alice.initiate(&bob.bundle());
    let first = alice.send();
    bob.receive_first(&first);
    let answer = bob.send();
    alice.receive(&answer);
    (alice, bob)
}

fn report(what: &str, operations: u32, mut run: impl FnMut() -> Duration) {
    let best = (0..7).map(|_| run()).min().expect("seven runs");
    let each = best.as_secs_f64() / f64::from(operations);
    println!("{what:<44} {:>12.0} ops/s {:>10.2} µs", 1.0 / each, each * 1e6);
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn main() {
    let mut rng = StdRng::seed_from_u64(9);
    report("prekey generation", 2000, || {
        timed(|| (0..2000).for_each(|_| drop(black_box(KeyPair::generate(&mut rng)))))
    });
    let identity = End::new(3).identity;
    let mut rng = StdRng::seed_from_u64(9);
    report("sign", 2000, || {
        timed(|| {
            (0..2000).for_each(|_| {
                black_box(identity.private.sign(&TEXT, &mut rng));
            })
        })
    });
    let signature = identity.private.sign(&TEXT, &mut rng);
    report("verify", 2000, || {
        timed(|| {
            (0..2000).for_each(|_| black_box(identity.public.verify(&TEXT, &signature)).expect("genuine"))
        })
    });

    let bundle = End::new(2).bundle();
    report("session from a bundle, first message sent", 500, || {
        let mut alice = End::new(1);
        timed(|| {
            for _ in 0..500 {
                alice.session = Session::default();
                alice.initiate(&bundle);
                black_box(alice.send());
            }
        })
    });
    let (mut alice, mut bob) = (End::new(1), End::new(2));
    alice.initiate(&bob.bundle());
    let first = alice.send();
    report("session from a first message, read", 500, || {
        timed(|| {
            for _ in 0..500 {
                bob.session = Session::default();
                bob.receive_first(&first);
            }
        })
    });

    report("encrypt, same chain", 20_000, || {
        let (mut alice, _) = talking();
        timed(|| (0..20_000).for_each(|_| drop(black_box(alice.send()))))
    });
    report("decrypt, same chain", 20_000, || {
        let (mut alice, mut bob) = talking();
        let sent: Vec<_> = (0..20_000).map(|_| alice.send()).collect();
        timed(|| sent.iter().for_each(|sent| bob.receive(sent)))
    });
    report("encrypt, same chain, row read and written", 20_000, || {
        let (mut alice, _) = talking();
        timed(|| {
            for _ in 0..20_000 {
                black_box(alice.send());
                alice.through_the_store();
            }
        })
    });
    report("decrypt, 2000 late keys, row read and written", 200, || {
        let (mut alice, mut bob) = talking();
        (0..2000).for_each(|_| drop(alice.send()));
        let sent: Vec<_> = (0..200).map(|_| alice.send()).collect();
        bob.receive(&sent[0]);
        timed(|| {
            for sent in &sent[1..] {
                bob.receive(sent);
                bob.through_the_store();
            }
        })
    });
    report("ping-pong, each message a turn", 1000, || {
        let (mut alice, mut bob) = talking();
        timed(|| {
            for _ in 0..500 {
                let ping = alice.send();
                bob.receive(&ping);
                let pong = bob.send();
                alice.receive(&pong);
            }
        })
    });
    report("ping-pong, rows read and written", 1000, || {
        let (mut alice, mut bob) = talking();
        timed(|| {
            for _ in 0..500 {
                let ping = alice.send();
                alice.through_the_store();
                bob.receive(&ping);
                bob.through_the_store();
                let pong = bob.send();
                bob.through_the_store();
                alice.receive(&pong);
                alice.through_the_store();
            }
        })
    });
}
