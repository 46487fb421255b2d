//! Any message at any step of either role: never a panic, and no pipe for a message that nobody with the keys made.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use rand::{SeedableRng as _, rngs::StdRng};
use wazap::{
    clock::Millis,
    crypto::KeyPair,
    wire::noise::{ExpectClientFinish, ExpectClientHello, ExpectServerHello, Greeted, ServerKeys, TrustRoot},
};

const NOW: Millis = Millis::from_secs(1_800_000_000);

static SERVER: LazyLock<(TrustRoot, Arc<ServerKeys>)> = LazyLock::new(|| {
    let mut rng = StdRng::seed_from_u64(1);
    let root = KeyPair::generate(&mut rng);
    (TrustRoot(*root.public.as_bytes()), Arc::new(ServerKeys::issue(&root, NOW, &mut rng)))
});

fn client() -> (ExpectServerHello, Vec<u8>) {
    let mut rng = StdRng::seed_from_u64(2);
    let (client, first) =
        ExpectServerHello::start(KeyPair::generate(&mut rng), b"payload".to_vec(), &mut rng);
    (client, first[7..].to_vec())
}

fn greet(hello: &[u8]) -> Option<(Vec<u8>, Option<ExpectClientFinish>)> {
    match ExpectClientHello::new(SERVER.1.clone()).step(hello, &mut StdRng::seed_from_u64(3)).ok()? {
        Greeted::Finish { reply, next } => Some((reply[3..].to_vec(), Some(next))),
        Greeted::Established { reply, .. } => Some((reply[3..].to_vec(), None)),
    }
}

/// The fuzzer's bytes as they are, or laid over a genuine message.
fn touched(genuine: &[u8], over: &[u8], raw: bool) -> Vec<u8> {
    if raw {
        return over.to_vec();
    }
    let mut bytes = genuine.to_vec();
    bytes.iter_mut().zip(over).for_each(|(byte, change)| *byte ^= change);
    bytes
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let raw = choice & 1 == 0;
    let (client, hello) = client();
    if choice & 6 == 0 {
        let _ = greet(&touched(&hello, rest, raw));
        return;
    }
    let Some((reply, Some(next))) = greet(&hello) else { panic!("a genuine hello is answered") };
    if choice & 6 == 2 {
        let _ = client.step(&touched(&reply, rest, raw), &SERVER.0, NOW);
        return;
    }
    let (finish, _) = client.step(&reply, &SERVER.0, NOW).expect("a genuine reply is believed");
    let finish = touched(&finish[3..], rest, raw);
    let genuine = !raw && rest.iter().all(|byte| *byte == 0);
    assert!(next.step(&finish).is_ok() || !genuine);
});
