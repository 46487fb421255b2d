use rand::{SeedableRng as _, TryCryptoRng, TryRng, rngs::StdRng};
use sha2::Digest as _;

use super::*;

/// Gives one byte for ever: the published vectors were made with a fixed random part.
struct Constant(u8);

impl TryRng for Constant {
    type Error = std::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(u32::from_ne_bytes([self.0; 4]))
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(u64::from_ne_bytes([self.0; 8]))
    }
    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        dst.fill(self.0);
        Ok(())
    }
}
impl TryCryptoRng for Constant {}

fn phone() -> KeyPair {
    KeyPair::from_private([0x55; 32])
}
fn companion() -> KeyPair {
    KeyPair::from_private([0x66; 32])
}
const SECRET: [u8; 32] = [0x77; 32];

fn container() -> Vec<u8> {
    let companion = companion().public;
    let scanned = Link {
        raw_id: 12345,
        timestamp_secs: 1_700_000_000,
        key_index: 1,
        companion: &companion,
        secret: &SECRET,
    };
    link(&phone(), &scanned, &mut Constant(0x5a))
}

/// Hand-made from the published layout and reproduced with two independent implementations.
#[test]
fn every_step_of_linking_gives_the_known_bytes() {
    assert_eq!(
        hex::encode(phone().public.as_bytes()),
        "38ab664bd86f77d7e66bdd9ae0792913a94fd8b33a1260027e4b46c1f4884c67"
    );
    assert_eq!(
        hex::encode(companion().public.as_bytes()),
        "219e4d800da968d2a5fcb009c784f4746c7138edb9ee4844b739e830b05cf424"
    );
    let outer = AdvSignedDeviceIdentityHmac::decode(container().as_slice()).unwrap();
    assert_eq!(
        hex::encode(outer.hmac.unwrap()),
        "f85f7e560690b1817ebcf73f1faefde232dd6548d1e4b0dbd4eddc3d867cbe0b"
    );
    let signed = outer.details.unwrap();
    assert_eq!(signed.len(), 117);
    assert_eq!(
        hex::encode(Sha256::digest(&signed)),
        "1d3298fcddcb850a34f7f45e9dec665edbcec6894c53eec37859096b52dbbe70"
    );
    let signed = AdvSignedDeviceIdentity::decode(signed.as_slice()).unwrap();
    assert_eq!(hex::encode(signed.details.unwrap()), "08b9601080e2cfaa06180120002800");
    assert_eq!(
        hex::encode(signed.account_signature.unwrap()),
        "fb52ab57341b6f224a73ec5de44de7ff7b64c01783ff724bf443a921c3b81cc7\
         73f6af22ac76b3d264cb77dceb4678dc5cf276896875c07fbe345dd97a785e03"
    );

    let accepted = accept(&container(), &SECRET, &companion(), &mut Constant(0x5a)).unwrap();
    assert_eq!((accepted.account_key, accepted.key_index), (phone().public, 1));
    let signed = AdvSignedDeviceIdentity::decode(accepted.signed.as_slice()).unwrap();
    assert_eq!(
        hex::encode(signed.device_signature.unwrap()),
        "7bd1c1208ad804a42798ad2f37564343afea132d98a38205e73c478efb8e3a25\
         d7e57c1dd6fea33adf30ce794a2d01cfc38ac77d7c3b0145cc55e6e234d64f8b"
    );
}

#[test]
fn a_server_completes_what_the_companion_returned_and_anybody_can_verify_it() {
    let mut rng = StdRng::seed_from_u64(1);
    let accepted = accept(&container(), &SECRET, &companion(), &mut rng).unwrap();
    let returned = without_account_key(&accepted.signed).unwrap();
    assert!(returned.len() < accepted.signed.len());

    let (companion, phone) = (companion().public, phone().public);
    assert_eq!(complete(&returned, &companion, &phone), Ok(accepted.signed.clone()));
    assert_eq!(complete(&accepted.signed, &companion, &phone), Ok(accepted.signed.clone()));
    assert_eq!(complete(&returned, &companion, &companion), Err(AdvError::SignatureMismatch));
    assert_eq!(complete(&returned, &phone, &phone), Err(AdvError::SignatureMismatch));

    assert_eq!(verify(&accepted.signed, &companion, None), Ok(()));
    assert_eq!(verify(&accepted.signed, &companion, Some(&phone)), Ok(()));
    assert_eq!(verify(&accepted.signed, &companion, Some(&companion)), Err(AdvError::SignatureMismatch));
    assert_eq!(verify(&accepted.signed, &phone, None), Err(AdvError::SignatureMismatch));
    assert_eq!(verify(&returned, &companion, Some(&phone)), Ok(()));
    assert_eq!(verify(&returned, &companion, None), Err(AdvError::Malformed));

    let container = container();
    let unsigned = AdvSignedDeviceIdentityHmac::decode(container.as_slice()).unwrap().details.unwrap();
    assert_eq!(verify(&unsigned, &companion, None), Err(AdvError::Malformed), "no device signature");
}

#[test]
fn a_container_made_for_another_code_or_companion_is_refused() {
    let mut rng = StdRng::seed_from_u64(2);
    assert_eq!(accept(&container(), &[1; 32], &companion(), &mut rng), Err(AdvError::HmacMismatch));
    assert_eq!(
        accept(&container(), &SECRET, &KeyPair::generate(&mut rng), &mut rng),
        Err(AdvError::SignatureMismatch)
    );
    let good = container();
    for i in 0..good.len() {
        let mut changed = good.clone();
        changed[i] ^= 0x10;
        if let Ok(accepted) = accept(&changed, &SECRET, &companion(), &mut rng) {
            // Only what the HMAC does not cover may change: the tag or value of the container's account type.
            assert!(i >= good.len() - 2, "byte {i}");
            assert_eq!(accepted.key_index, 1);
        }
    }
}

#[test]
fn a_hosted_account_is_accepted_with_its_own_prefixes() {
    let mut rng = StdRng::seed_from_u64(3);
    let details = AdvDeviceIdentity { key_index: Some(2), device_type: Some(HOSTED), ..Default::default() };
    let details = details.encode_to_vec();
    let message = [&HOSTED_ACCOUNT, details.as_slice(), companion().public.as_bytes()].concat();
    let signed = AdvSignedDeviceIdentity {
        details: Some(details),
        account_signature_key: Some(phone().public.as_bytes().to_vec()),
        account_signature: Some(phone().private.sign(&message, &mut rng).to_vec()),
        device_signature: None,
    }
    .encode_to_vec();
    let container = AdvSignedDeviceIdentityHmac {
        hmac: Some(container_mac(&SECRET, true, &signed).finalize().into_bytes().to_vec()),
        details: Some(signed),
        account_type: Some(HOSTED),
    };
    let accepted = accept(&container.encode_to_vec(), &SECRET, &companion(), &mut rng).unwrap();
    assert_eq!(accepted.key_index, 2);
    assert_eq!(verify(&accepted.signed, &companion().public, Some(&phone().public)), Ok(()));
}

#[test]
fn a_key_index_list_reads_back_and_is_signed_by_the_account() {
    let mut rng = StdRng::seed_from_u64(4);
    let list = key_index_list(&phone(), 12345, 1_700_000_000, 301, &[0, 1, 7, 300], &mut rng);
    let expected =
        KeyIndexes { raw_id: 12345, timestamp_secs: 1_700_000_000, current: 301, valid: vec![0, 1, 7, 300] };
    assert_eq!(read_key_index_list(&list), Ok(expected));
    let signed = AdvSignedKeyIndexList::decode(list.as_slice()).unwrap();
    let message = [&KEY_INDEX_LIST, signed.details.as_deref().unwrap()].concat();
    assert_eq!(phone().public.verify(&message, signed.account_signature.as_deref().unwrap()), Ok(()));
    assert_eq!(read_key_index_list(&[]), Err(AdvError::Malformed));
    assert_eq!(read_key_index_list(&list[..list.len() - 1]), Err(AdvError::Malformed));
}
