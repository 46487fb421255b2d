//! Curve25519 keys: one pair both agrees on secrets (X25519) and signs (XEdDSA).

use std::fmt;

use curve25519_dalek::MontgomeryPoint;
use rand::CryptoRng;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::xeddsa;

/// The type byte of a Curve25519 key inside Signal's objects (libsignal's `KeyType::Djb`).
const TYPE_BYTE: u8 = 0x05;

/// 32 bytes as they were drawn or stored; every operation clamps them (RFC 7748, section 5). Wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PrivateKey([u8; 32]);

/// The u-coordinate, 32 bytes little-endian, without the type byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

/// Both halves; `public` is always that of `private`.
#[derive(Clone, Debug)]
pub struct KeyPair {
    pub private: PrivateKey,
    pub public: PublicKey,
}

/// The bytes are no Curve25519 public key, or one that makes every agreement come out as zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a Curve25519 public key")]
pub struct InvalidKey;

/// The signature was not made over this message with the private half of this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify")]
pub struct BadSignature;

impl KeyPair {
    /// A fresh pair.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut private = PrivateKey([0; 32]);
        rng.fill_bytes(&mut private.0);
        Self { public: private.public(), private }
    }

    /// The pair of 32 stored bytes, clamped or not.
    pub fn from_private(private: [u8; 32]) -> Self {
        let private = PrivateKey(private);
        Self { public: private.public(), private }
    }
}

impl PrivateKey {
    /// Any 32 bytes are a private key.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public half; costs one fixed-base multiplication.
    pub fn public(&self) -> PublicKey {
        PublicKey(MontgomeryPoint::mul_base_clamped(self.0).to_bytes())
    }

    /// X25519. A low-order `theirs` gives 32 zero bytes: no error here, because a Noise handshake must go on to
    /// its certificate check whatever the peer sends. Where the peer's key alone carries trust, use
    /// [`agree_checked`](Self::agree_checked).
    pub fn agree(&self, theirs: &PublicKey) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(MontgomeryPoint(theirs.0).mul_clamped(self.0).to_bytes())
    }

    /// X25519 that refuses a low-order `theirs`, whose secret anybody could compute.
    pub fn agree_checked(&self, theirs: &PublicKey) -> Result<Zeroizing<[u8; 32]>, InvalidKey> {
        let secret = self.agree(theirs);
        if bool::from(secret.ct_eq(&[0; 32])) { Err(InvalidKey) } else { Ok(secret) }
    }

    /// XEdDSA, 64 bytes.
    pub fn sign(&self, message: &[u8], rng: &mut dyn CryptoRng) -> [u8; 64] {
        xeddsa::sign(&self.0, message, rng)
    }
}

impl PublicKey {
    /// Takes the raw u-coordinate as it is.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// 32 raw bytes, or 33 with the type byte 0x05.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let raw = match bytes {
            [TYPE_BYTE, raw @ ..] if raw.len() == 32 => raw,
            raw => raw,
        };
        raw.try_into().map(Self).map_err(|_| InvalidKey)
    }

    /// The raw u-coordinate, as stanza nodes, Noise and device identities carry it.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 33 bytes: 0x05 and the key.
    pub fn to_signal(&self) -> [u8; 33] {
        let mut bytes = [TYPE_BYTE; 33];
        bytes[1..].copy_from_slice(&self.0);
        bytes
    }

    /// Checks an XEdDSA signature.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        xeddsa::verify(&self.0, message, signature)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// Names a person as surely as a number does, so it stays out of logs.
impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_reads_with_and_without_its_type_byte() {
        let key = KeyPair::from_private([7; 32]).public;
        assert_eq!(PublicKey::from_slice(key.as_bytes()), Ok(key));
        assert_eq!(PublicKey::from_slice(&key.to_signal()), Ok(key));
        let mut other_type = key.to_signal();
        other_type[0] = 0x06;
        assert_eq!(PublicKey::from_slice(&other_type), Err(InvalidKey));
        assert_eq!(PublicKey::from_slice(&key.as_bytes()[1..]), Err(InvalidKey));
        assert_eq!(PublicKey::from_slice(&[]), Err(InvalidKey));
        // 32 bytes that begin with 5 are a raw key, not a short one with its type.
        assert_eq!(PublicKey::from_slice(&[5; 32]).map(|k| *k.as_bytes()), Ok([5; 32]));
    }

    /// RFC 7748, section 6.1.
    #[test]
    fn both_ends_agree_on_the_secret_of_rfc_7748() {
        let bytes = |hex: &str| <[u8; 32]>::try_from(hex::decode(hex).unwrap()).unwrap();
        let alice =
            KeyPair::from_private(bytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
        let bob =
            KeyPair::from_private(bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
        let shared = bytes("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(*alice.private.agree(&bob.public), shared);
        assert_eq!(*bob.private.agree(&alice.public), shared);
    }

    #[test]
    fn a_low_order_key_is_refused_where_it_matters() {
        let ours = KeyPair::from_private([9; 32]).private;
        for low_order in [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }] {
            let low_order = PublicKey::from_bytes(low_order);
            assert_eq!(*ours.agree(&low_order), [0; 32]);
            assert_eq!(ours.agree_checked(&low_order), Err(InvalidKey));
        }
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(
            format!("{:?}", KeyPair::from_private([7; 32])),
            "KeyPair { private: PrivateKey(..), public: PublicKey(..) }"
        );
    }
}
