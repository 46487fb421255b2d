//! Against the values of the protocol notes (06, 1.12), which two other implementations computed, and between our own
//! two ends.

use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};

use super::*;

/// Of the notes.
fn companion() -> Companion {
    Companion {
        ephemeral: KeyPair::from_private([0x11; 32]),
        nonce: Zeroizing::new([0x33; 32]),
        device_type: 1,
        reference: "2@REFREF".into(),
    }
}

fn phone() -> (KeyPair, Primary) {
    let ephemeral = KeyPair::from_private([0x22; 32]);
    let primary = Primary { public: ephemeral.public, nonce: [0x44; 32] };
    (ephemeral, primary)
}

fn request() -> Request {
    Request {
        noise: PublicKey::from_bytes([0x77; 32]),
        identity: PublicKey::from_bytes([0x88; 32]),
        adv_secret: Zeroizing::new([0x66; 32]),
    }
}

const PROLOGUE: &str = "0a2e0a207b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f1310011a0832405245465245\
    4612220a202e053e14b4adadcfc4f6b660342a77f81cbe7a59fd4a1c401c87ffd2f850c6f5";
const SEALED: &str = "086a1fec20b6d97b4e3f6f13498636c7ddb66be74587276e089a653512aefdc0659ee6f4225733e53b9d94b0146f647ea14cc15e92293463f4fc7d0e7b007a2d67f9220995928c2cd234d9deb04d56158d082834f22f155462add42caafdc680ef06407fa2e5d6c380cb2500e61e47aed0a11740c5bb";

#[test]
fn every_value_is_that_of_the_notes() {
    let (companion, (ephemeral, primary)) = (companion(), phone());
    assert_eq!(
        hex::encode(primary.public.as_bytes()),
        "0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20"
    );
    let prologue = companion.prologue();
    assert_eq!((hex::encode(&prologue).as_str(), prologue.len()), (PROLOGUE, 84));
    let handoff = Handoff::new(&[0x55; 32]);
    assert_eq!(hex::encode(*handoff.0), "573a1b8d099e43c0b9e9d4bf6bd2b96ccb89579b524177d296337a277bc8b513");
    let proof = handoff.proof(&prologue);
    assert_eq!(hex::encode(proof), "9402293e1fcd93cdfee7e7ea6aa1b8ca94faec632ca707c174b84c68acc378fb");
    assert!(handoff.proves(&prologue, &proof) && !Handoff::new(&[0x56; 32]).proves(&prologue, &proof));
    assert!(!handoff.proves(&prologue, &proof[..31]) && !handoff.proves(&prologue[1..], &proof));
    assert_eq!(
        hex::encode(*ephemeral.private.agree(&companion.ephemeral.public)),
        "9e004098efc091d4ec2663b4e9f5cfd4d7064571690b4bea97ab146ab9f35056"
    );
    let agreement = companion.agree(&primary).unwrap();
    assert_eq!(
        hex::encode(*agreement.key),
        "5bbbdaee02baefb3c055494d3855469b664291d65777b7c68e699892f02fd6b0"
    );
    assert_eq!(agreement.code(), "PYSL-SH11");
    assert_eq!(request().build().len(), 102);
    let sealed = agreement.seal_with(&request(), [0x99; IV]);
    let read = proto::EncryptedPairingRequest::decode(&*sealed).unwrap();
    assert_eq!(hex::encode(read.encrypted_payload()), SEALED);
    assert_eq!(read.iv(), [0x99; 12]);
}

#[test]
fn the_phone_computes_the_same_and_opens_what_was_sealed() {
    let mut rng = StdRng::seed_from_u64(1);
    let companion = Companion::new(1, "2@other".into(), &mut rng);
    let (ephemeral, primary) = phone();
    assert_eq!(Primary::parse(&primary.build()), Ok(primary));
    let prologue = Prologue::parse(&companion.prologue()).unwrap();
    assert_eq!(prologue.reference, "2@other");
    let ours = companion.agree(&primary).unwrap();
    let theirs = prologue.agree(&ephemeral, &primary.nonce, companion.nonce()).unwrap();
    assert_eq!(ours.code(), theirs.code());
    let sealed = ours.seal(&request(), &mut rng);
    assert_eq!(theirs.open(&sealed), Ok(request()));
    // Each bit counts, of the nonce and of what is sealed.
    let mut other = *companion.nonce();
    other[31] ^= 1;
    assert_eq!(prologue.agree(&ephemeral, &primary.nonce, &other).map(drop), Err(PasskeyError::Commitment));
    let mut damaged = sealed.clone();
    damaged[20] ^= 1;
    assert_eq!(theirs.open(&damaged), Err(PasskeyError::Sealed));
    let stranger = Companion::new(1, "2@other".into(), &mut rng).agree(&primary).unwrap();
    assert_eq!(stranger.open(&sealed), Err(PasskeyError::Sealed));
    assert_ne!(stranger.code(), ours.code());
}

#[test]
fn keys_that_agree_on_nothing_and_parts_of_another_size_are_refused() {
    let (_, primary) = phone();
    let low = Primary { public: PublicKey::from_bytes([0; 32]), ..primary };
    assert_eq!(companion().agree(&low).map(drop), Err(PasskeyError::InvalidKey));
    for (key, nonce) in [(31, 32), (32, 31), (33, 32), (0, 32), (32, 0)] {
        let identity =
            proto::PrimaryEphemeralIdentity { public_key: Some(vec![9; key]), nonce: Some(vec![9; nonce]) };
        assert_eq!(Primary::parse(&identity.encode_to_vec()), Err(PasskeyError::Malformed));
    }
    assert_eq!(Primary::parse(&[]), Err(PasskeyError::Malformed));
    assert_eq!(Prologue::parse(&[]).map(drop), Err(PasskeyError::Malformed));
    assert_eq!(format!("{:?} {:?}", companion(), request()), "Companion(..) Request(..)");
}

proptest! {
    #[test]
    fn no_bytes_bring_a_reader_down(bytes: Vec<u8>) {
        let agreement = companion().agree(&phone().1).unwrap();
        prop_assert!(agreement.open(&bytes).is_err());
        drop(Prologue::parse(&bytes));
        if let Ok(primary) = Primary::parse(&bytes) {
            prop_assert_eq!(Primary::parse(&primary.build()), Ok(primary));
        }
    }
}
