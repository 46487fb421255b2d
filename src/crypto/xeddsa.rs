//! XEdDSA in libsignal's first flavour: the sign bit of the Edwards key travels in the signature's top bit.
//!
//! Source: signalapp/libsignal `rust/core/src/curve/curve25519.rs`. The specification (signal.org/docs, "XEdDSA")
//! instead negates the private key, and gives other signatures.

use curve25519_dalek::{EdwardsPoint, MontgomeryPoint, Scalar, scalar::clamp_integer};
use rand::CryptoRng;
use sha2::{Digest as _, Sha512};
use zeroize::Zeroizing;

use super::BadSignature;

/// Tells the nonce hash apart from every other use of SHA-512: little-endian 2^256 − 2 (libsignal `hash1`).
const NONCE_PREFIX: [u8; 32] = {
    let mut prefix = [0xff; 32];
    prefix[0] = 0xfe;
    prefix
};

pub(super) fn sign(private: &[u8; 32], message: &[u8], rng: &mut dyn CryptoRng) -> [u8; 64] {
    let clamped = Zeroizing::new(clamp_integer(*private));
    let scalar = Zeroizing::new(Scalar::from_bytes_mod_order(*clamped));
    let public = EdwardsPoint::mul_base(&scalar).compress().to_bytes();
    let mut random = Zeroizing::new([0; 64]);
    rng.fill_bytes(&mut *random);

    let nonce = Zeroizing::new(reduced(&[&NONCE_PREFIX, &*clamped, message, &*random]));
    let commitment = EdwardsPoint::mul_base(&nonce).compress().to_bytes();
    let challenge = reduced(&[&commitment, &public, message]);
    let response = challenge * *scalar + *nonce;

    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&commitment);
    signature[32..].copy_from_slice(response.as_bytes());
    signature[63] |= public[31] & 0x80;
    signature
}

/// Refuses what stock Ed25519 refuses, too: a response not reduced, and a key of small order, under which one
/// signature would fit every message.
pub(super) fn verify(public: &[u8; 32], message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    let signature: &[u8; 64] = signature.try_into().map_err(|_| BadSignature)?;
    let (commitment, response) = signature.split_at(32);
    let mut response: [u8; 32] = response.try_into().map_err(|_| BadSignature)?;
    let sign = response[31] >> 7;
    response[31] &= 0x7f;
    let response = Option::<Scalar>::from(Scalar::from_canonical_bytes(response)).ok_or(BadSignature)?;
    let key = MontgomeryPoint(*public).to_edwards(sign).ok_or(BadSignature)?;
    if key.is_small_order() {
        return Err(BadSignature);
    }

    let challenge = reduced(&[commitment, key.compress().as_bytes(), message]);
    // Nothing here is secret, so variable time is fine.
    let expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&challenge, &-key, &response);
    if expected.compress().as_bytes() == commitment { Ok(()) } else { Err(BadSignature) }
}

fn reduced(parts: &[&[u8]]) -> Scalar {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use crate::crypto::{BadSignature, KeyPair, PublicKey};

    const PRIVATE: &str = "c097248412e58bf05df487968205132794178e367637f5818f81e0e6ce73e865";
    const PUBLIC: &str = "ab7e717d4a163b7d9a1d8071dfe9dcf8cdcd1cea3339b6356be84d887e322c64";
    const MESSAGE: &str = "05edce9d9c415ca78cb7252e72c2c4a554d3eb29485a0e1d503118d1a82d99fb4a";
    const SIGNATURE: &str = "5de88ca9a89b4a115da79109c67c9c7464a3e4180274f1cb8c63c2984e286dfb\
                             ede82deb9dcd9fae0bfbb821569b3d9001bd8130cd11d486cef047bd60b86e88";

    fn known_key() -> KeyPair {
        KeyPair::from_private(hex::decode(PRIVATE).unwrap().try_into().unwrap())
    }

    /// signalapp/libsignal, `curve25519.rs`, `test_signature`.
    #[test]
    fn libsignals_signature_verifies_and_no_changed_byte_of_it_does() {
        let key = known_key();
        assert_eq!(hex::encode(key.public.as_bytes()), PUBLIC);
        let (message, signature) = (hex::decode(MESSAGE).unwrap(), hex::decode(SIGNATURE).unwrap());
        assert_eq!(key.public.verify(&message, &signature), Ok(()));
        for i in 0..signature.len() {
            for bit in 0..8 {
                let mut changed = signature.clone();
                changed[i] ^= 1 << bit;
                assert_eq!(key.public.verify(&message, &changed), Err(BadSignature), "byte {i} bit {bit}");
            }
        }
        assert_eq!(key.public.verify(&message[1..], &signature), Err(BadSignature));
        assert_eq!(key.public.verify(&message, &signature[1..]), Err(BadSignature));
        assert_eq!(KeyPair::from_private([1; 32]).public.verify(&message, &signature), Err(BadSignature));
    }

    #[test]
    fn what_any_key_signs_it_verifies() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut signs = [0; 2];
        for i in 0..64_u8 {
            let key = KeyPair::generate(&mut rng);
            let signature = key.private.sign(&[i; 40], &mut rng);
            signs[usize::from(signature[63] >> 7)] += 1;
            assert_eq!(key.public.verify(&[i; 40], &signature), Ok(()));
            assert_ne!(key.private.sign(&[i; 40], &mut rng), signature, "nonces are random");
        }
        assert!(signs.iter().all(|n| *n > 0), "both signs of the Edwards key occurred: {signs:?}");
    }

    #[test]
    fn a_signature_that_is_not_reduced_is_refused() {
        // s + L, little-endian: the same residue, a second spelling of one signature.
        const L: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut signature = hex::decode(SIGNATURE).unwrap();
        let sign = signature[63] & 0x80;
        signature[63] &= 0x7f;
        let mut carry = 0;
        for (byte, l) in signature[32..].iter_mut().zip(L) {
            let sum = u16::from(*byte) + u16::from(l) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        signature[63] |= sign;
        assert_eq!(known_key().public.verify(&hex::decode(MESSAGE).unwrap(), &signature), Err(BadSignature));
    }

    #[test]
    fn a_key_of_small_order_vouches_for_nothing() {
        // With A = −1 (u = 0) and an even challenge, (R, s) = (identity, 0) satisfies the equation.
        let mut signature = [0; 64];
        signature[0] = 1;
        for message in 0..16_u8 {
            assert_eq!(PublicKey::from_bytes([0; 32]).verify(&[message], &signature), Err(BadSignature));
        }
    }
}
