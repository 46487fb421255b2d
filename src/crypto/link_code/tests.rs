//! Against values that Baileys computed, and between our own two ends.

use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::Value;

use super::*;

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

fn pair(byte: u8) -> KeyPair {
    KeyPair::from_private([byte; 32])
}

/// Our wrapping with a chosen salt and counter block.
fn wrapped(code: &LinkCode, salt: [u8; 32], counter: [u8; 16], key: &PublicKey) -> Vec<u8> {
    let mut key = *key.as_bytes();
    in_counter_mode(&code.key(&salt), counter, &mut key);
    [salt.as_slice(), &counter, &key].concat()
}

#[test]
fn every_value_is_the_one_that_baileys_computes() {
    let text = include_str!("../../../tests/vectors/crypto/link_code_baileys.json");
    let vectors: Value = serde_json::from_str(text).unwrap();
    let hex = |name: &str| vectors[name].as_str().unwrap().to_owned();
    for case in vectors["codes"].as_array().unwrap() {
        assert_eq!(characters(bytes(case["bytes"].as_str().unwrap())), case["code"].as_str().unwrap());
    }
    let key = |name: &str| KeyPair::from_private(bytes(&hex(name)));
    let code = LinkCode::parse(&hex("code")).unwrap();
    let (companion, phone) = (key("companion_ephemeral_private"), key("phone_ephemeral_private"));
    let (companion_id, phone_id) = (key("companion_identity_private"), key("phone_identity_private"));
    let (of_companion, of_phone) = (bytes(&hex("wrapped_companion")), bytes(&hex("wrapped_phone")));
    assert_eq!(code.unwrap_key(&of_companion), companion.public);
    assert_eq!(code.unwrap_key(&of_phone), phone.public);
    // The counter block of all ones runs over.
    assert_eq!(wrapped(&code, [0x51; 32], [0xff; 16], &companion.public), of_companion);
    let drawn = Drawn {
        random: bytes(&hex("random")),
        salt: bytes(&hex("bundle_salt")),
        iv: bytes(&hex("bundle_iv")),
    };
    let finish = finish_with(&companion, &companion_id, &phone.public, &phone_id.public, &drawn).unwrap();
    assert_eq!(hex::encode(&finish.bundle), hex("bundle"));
    assert_eq!(hex::encode(*finish.adv_secret), hex("adv_secret"));
    let opened = open_bundle(&finish.bundle, &phone, &phone_id, &companion.public, &companion_id.public);
    assert_eq!(opened.as_deref(), Ok(&*finish.adv_secret));
}

/// Protocol notes, computed by a third implementation.
#[test]
fn a_second_set_of_values_agrees() {
    let code = LinkCode::parse("abcd-1234").unwrap();
    let salt: [u8; 32] = std::array::from_fn(|i| i as u8);
    assert_eq!(
        hex::encode(*code.key(&salt)),
        "b04d4d0e43ffa6d1a3b2226d4ee58ba2900a470c09bcf39fb5257512a55c08bc"
    );
    let counter: [u8; 16] = std::array::from_fn(|i| 0x20 + i as u8);
    let (companion, phone, phone_id, companion_id) = (pair(0x11), pair(0x22), pair(0x33), pair(0x44));
    let of_companion = wrapped(&code, salt, counter, &companion.public);
    assert_eq!(
        hex::encode(&of_companion[48..]),
        "6fb4f37e03793748c073304752df947600506502a4897e97cb477bcbe76dc239"
    );
    let drawn = Drawn { random: [0x99; 32], salt: [0xaa; 32], iv: [0xbb; 12] };
    let finish = finish_with(&companion, &companion_id, &phone.public, &phone_id.public, &drawn).unwrap();
    assert!(hex::encode(&finish.bundle).ends_with(
        "38a0b75f401f0de5bd8b8ae9fdc25dedfa381207eb91d4c4a788425d4dcd305ff0938676eeb2ffc3628e7bbbcf0edd2a"
    ));
    assert_eq!(
        hex::encode(*finish.adv_secret),
        "7ca4a0e0280287735a7722d09ddc2e00a97428a78e9f085795b868f40e24a3f3"
    );
}

#[test]
fn another_code_opens_nothing() {
    let mut rng = StdRng::seed_from_u64(1);
    let (shown, typed) = (LinkCode::random(&mut rng), LinkCode::random(&mut rng));
    let (companion, phone, phone_id, companion_id) = (pair(1), pair(2), pair(3), pair(4));
    // The phone unwraps with what was typed, the companion with what it showed.
    let seen_by_phone = typed.unwrap_key(&shown.wrap(&companion.public, &mut rng));
    let seen_by_companion = shown.unwrap_key(&typed.wrap(&phone.public, &mut rng));
    assert_ne!(seen_by_phone, companion.public);
    let finish = finish(&companion, &companion_id, &seen_by_companion, &phone_id.public, &mut rng).unwrap();
    let opened = open_bundle(&finish.bundle, &phone, &phone_id, &seen_by_phone, &companion_id.public);
    assert_eq!(opened, Err(LinkCodeError::WrongCode));
    // The code alone does not let another companion in.
    let right = super::finish(&companion, &companion_id, &phone.public, &phone_id.public, &mut rng).unwrap();
    let other = open_bundle(&right.bundle, &phone, &phone_id, &companion.public, &pair(9).public);
    assert_eq!(other, Err(LinkCodeError::WrongCode));
}

#[test]
fn wrong_sizes_and_low_orders_are_refused() {
    let (companion, phone, phone_id, companion_id) = (pair(1), pair(2), pair(3), pair(4));
    let mut rng = StdRng::seed_from_u64(2);
    let zero = PublicKey::from_bytes([0; 32]);
    for (ephemeral, identity) in [(&zero, &phone_id.public), (&phone.public, &zero)] {
        let refused = finish(&companion, &companion_id, ephemeral, identity, &mut rng);
        assert_eq!(refused.err(), Some(LinkCodeError::InvalidKey));
    }
    let good = finish(&companion, &companion_id, &phone.public, &phone_id.public, &mut rng).unwrap().bundle;
    assert_eq!(good.len(), BUNDLE);
    for bundle in [&good[1..], &[good.as_slice(), &[0]].concat(), &[]] {
        let opened = open_bundle(bundle, &phone, &phone_id, &companion.public, &companion_id.public);
        assert_eq!(opened, Err(LinkCodeError::Malformed));
    }
}

#[test]
fn codes_are_read_as_people_type_them_and_shown_to_nobody_else() {
    let code = LinkCode::parse(" abcd-efgh ").unwrap();
    assert_eq!(code.shown(), "ABCD-EFGH");
    assert_eq!(LinkCode::parse("ABCDEFGH").as_ref(), Some(&code));
    for wrong in ["", "ABCD", "ABCD-EFGHJ", "ABCD EFG", "ÄBCDEFG", "--------"] {
        assert_eq!(LinkCode::parse(wrong), None, "{wrong}");
    }
    assert_eq!(format!("{code:?}"), "LinkCode(..)");
}
