//! Where a fuzzer enters this room. An ordinary function, so that a plain test can enter as well.

use rand::{SeedableRng as _, rngs::StdRng};

use super::{
    KeyPair, adv, padding,
    signal::{Local, OurPreKeys, PreKeyBundle, PreKeyMessage, SenderKeys, Session, SignedPreKey},
};

/// Reads `data` as everything that a peer or a damaged disk may hand to this room. The first byte chooses between
/// raw bytes and bytes laid over a genuine message, which reach deeper. Panics if a message reads as what nobody
/// wrote, or if a refused one changes a session.
pub fn fuzz_signal(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let mut rng = StdRng::seed_from_u64(0);
    let (alice, bob) = (KeyPair::from_private([1; 32]), KeyPair::from_private([2; 32]));
    let local = Local { identity: &bob, registration_id: 2 };
    let ours = OurPreKeys { signed: Some(bob.clone()), one_time: Some(alice.clone()) };
    let signature = bob.private.sign(&bob.public.to_signal(), &mut rng);
    let bundle = PreKeyBundle {
        registration_id: 2,
        identity: bob.public,
        signed_prekey: SignedPreKey { id: 1, key: bob.public, signature },
        one_time: None,
    };
    let mut from = Session::default();
    let initiated = from.initiate(&Local { identity: &alice, registration_id: 1 }, &bundle, &mut rng);
    let (Ok(()), Ok(genuine)) = (initiated, from.encrypt(b"genuine")) else { return };
    let data = match choice % 2 {
        0 => data.to_vec(),
        _ => overlaid(genuine.bytes, data),
    };

    let mut session = Session::default();
    if let Ok(message) = PreKeyMessage::parse(&data) {
        match session.decrypt_prekey(&local, &message, &ours, &mut rng) {
            Ok(opened) => assert_eq!(opened.plaintext, b"genuine"),
            Err(_) => assert!(session.encode().is_empty()),
        }
        let before = session.encode();
        if session.decrypt(&local, &message.message, &mut rng).is_err() {
            assert_eq!(session.encode(), before);
        }
    }
    if let Ok(mut stored) = Session::decode(&data) {
        let again = Session::decode(&stored.encode());
        assert_eq!(again.map(|again| again.encode()), Ok(stored.encode()));
        let _ = stored.decrypt(&local, &data, &mut rng);
        let _ = stored.encrypt(b"x");
        stored.archive();
    }
    fuzz_sender_keys(*choice, &data);
    let _ = adv::accept(&data, &[0; 32], &bob, &mut rng);
    let _ = adv::verify(&data, &bob.public, Some(&alice.public));
    let _ = adv::complete(&data, &bob.public, &alice.public);
    let _ = adv::named_signer(&data);
    let _ = adv::verify_key_index_list(&data, &alice.public);
    let _ = padding::unpad(&data);
}

/// The same for what a group hands over.
fn fuzz_sender_keys(choice: u8, data: &[u8]) {
    let mut rng = StdRng::seed_from_u64(1);
    let (mut sender, mut receiver) = (SenderKeys::generate(&mut rng), SenderKeys::default());
    let (Ok(distribution), Ok(genuine)) = (sender.distribution(), sender.encrypt(b"genuine", &mut rng))
    else {
        return;
    };
    let _ = receiver.process(&distribution);
    let before = receiver.encode();
    let message = if choice.is_multiple_of(2) { data.to_vec() } else { overlaid(genuine, data) };
    match receiver.decrypt(&message) {
        Ok(plaintext) => assert_eq!(plaintext, b"genuine"),
        Err(_) => assert_eq!(receiver.encode(), before),
    }
    let told = if choice.is_multiple_of(2) { data.to_vec() } else { overlaid(distribution, data) };
    if receiver.process(&told).is_err() {
        let _ = receiver.decrypt(&told);
    }
    if let Ok(mut stored) = SenderKeys::decode(data) {
        let again = SenderKeys::decode(&stored.encode());
        assert_eq!(again.map(|again| again.encode()), Ok(stored.encode()));
        let _ = stored.decrypt(data);
        let _ = stored.encrypt(b"x", &mut rng);
    }
}

/// Pairs of a place and a value are written over the genuine bytes.
fn overlaid(mut genuine: Vec<u8>, changes: &[u8]) -> Vec<u8> {
    for change in changes.chunks_exact(2) {
        if let [place, value] = *change
            && let Some(byte) = genuine.get_mut(usize::from(place))
        {
            *byte = value;
        }
    }
    genuine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuzzers_entry_stands_what_it_will_be_given_first() {
        fuzz_signal(&[]);
        fuzz_signal(&[1]);
        for place in (0..=u8::MAX).step_by(3) {
            fuzz_signal(&[1, place, 0xff]);
            fuzz_signal(&[0, 0x33, place, 0xff]);
        }
    }
}
