//! How fast media files are encrypted, verified and decrypted on one core. `cargo bench --bench media`.
//!
//! Each line is the best of several runs: what the machine can do, not what else it was doing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{hint::black_box, time::Instant};

use wazap::crypto::media::{Claim, Decryptor, Encryptor, MediaKeys, MediaKind, Sidecar, Verified, Verifier};

const LENGTH: usize = 64 << 20;
/// What a socket or file gives at once.
const CHUNK: usize = 64 << 10;

fn report(what: &str, mut run: impl FnMut()) {
    let best = (0..5).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed()
    });
    let best = best.min().expect("five runs").as_secs_f64();
    println!("{what:<44} {:>8.0} MiB/s", (LENGTH >> 20) as f64 / best);
}

/// The blob goes into one small buffer again and again, as it does on the way to a file.
fn encrypt(keys: &MediaKeys, plain: &[u8], sidecar: Sidecar) {
    let mut encryptor = Encryptor::new(keys, sidecar);
    let mut out = Vec::with_capacity(CHUNK + 32);
    for chunk in plain.chunks(CHUNK) {
        out.clear();
        encryptor.update(chunk, &mut out);
        black_box(&out);
    }
    black_box(encryptor.finish(&mut out));
}

fn verify(keys: &MediaKeys, blob: &[u8]) -> Verified {
    let mut verifier = Verifier::new(keys.clone());
    blob.chunks(CHUNK).for_each(|chunk| verifier.update(chunk));
    verifier.finish(Claim::default()).expect("genuine")
}

fn main() {
    let plain: Vec<u8> = (0..LENGTH).map(|i| (i % 251) as u8).collect();
    let keys = MediaKeys::derive(&[7; 32], MediaKind::Document);
    report("encrypt", || encrypt(&keys, &plain, Sidecar::Off));
    report("encrypt, with sidecar", || encrypt(&keys, &plain, Sidecar::On));

    let (mut blob, mut encryptor) = (Vec::new(), Encryptor::new(&keys, Sidecar::Off));
    encryptor.update(&plain, &mut blob);
    encryptor.finish(&mut blob);
    report("verify", || drop(black_box(verify(&keys, &blob))));
    let verified = verify(&keys, &blob);
    let mut out = Vec::with_capacity(CHUNK + 32);
    let mut pass = |mut decryptor: Decryptor| {
        for chunk in blob.chunks(CHUNK) {
            out.clear();
            decryptor.update(chunk, &mut out).unwrap();
            black_box(&out);
        }
        decryptor.finish(&mut out).unwrap();
    };
    report("decrypt", || pass(verified.decryptor()));
    let parts = verified.clone().parts(&blob[blob.len() - 42..blob.len() - 10]).unwrap();
    let mut out = Vec::with_capacity(CHUNK + 32);
    report("decrypt a part", || {
        let mut part = parts.part(1..parts.length()).unwrap();
        let range = part.blob();
        for chunk in blob[range.start as usize..range.end as usize].chunks(CHUNK) {
            out.clear();
            part.update(chunk, &mut out).unwrap();
            black_box(&out);
        }
        part.finish().unwrap();
    });
}
