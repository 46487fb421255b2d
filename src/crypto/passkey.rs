//! Linking with a passkey: what companion and phone compute once the passkey has let them through.
//!
//! The companion commits itself to a nonce before it sees the phone's, and reveals it after: so neither end, nor the
//! server between them, can choose what the code of eight characters comes out as. Under the key that the two ephemeral
//! keys agree on, the companion then sends its keys and a fresh secret to vouch for it with. Formulas and labels:
//! protocol notes 06, 1.7, where whatsmeow, whatsapp-rust and zapo agree byte for byte.

use std::fmt;

use aes_gcm::{Aes256Gcm, KeyInit as _, aead::Aead as _};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use prost::Message as _;
use rand::CryptoRng;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{
    KeyPair, PublicKey,
    link_code::{characters, dashed},
};
use crate::proto;

const HANDOFF_INFO: &[u8] = b"shortcake-passkey-handoff-v1";
const KEY_INFO: &[u8] = b"Pairing Information Encryption Key";
const IV: usize = 12;

/// Why a message of the other end is of no use. Never says what was in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasskeyError {
    /// No such protobuf, or a part is missing or of another size.
    #[error("malformed passkey message")]
    Malformed,
    /// A key that makes every agreement come out as zero.
    #[error("a key of the passkey exchange is invalid")]
    InvalidKey,
    /// The nonce is not the one that was committed to.
    #[error("the nonce does not open the commitment")]
    Commitment,
    /// Sealed under another key.
    #[error("the pairing request does not open")]
    Sealed,
}

fn fixed(bytes: Option<Vec<u8>>) -> Result<[u8; 32], PasskeyError> {
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(PasskeyError::Malformed)
}

fn expand(secret: &[u8; 32], salt: Option<&[u8]>, info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(salt, secret).expand(info, &mut *key).expect("32 ≤ 255 · 32");
    key
}

/// Shows the phone that this companion holds the secret of the QR code or of the typed code that it took.
pub struct Handoff(Zeroizing<[u8; 32]>);

impl Handoff {
    /// Of the secret that the phone last saw.
    pub fn new(adv_secret: &[u8; 32]) -> Self {
        Self(expand(adv_secret, None, HANDOFF_INFO))
    }

    fn mac(&self, payload: &[u8]) -> Hmac<Sha256> {
        Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC takes keys of any length").chain_update(payload)
    }

    /// Over a prologue.
    pub fn proof(&self, payload: &[u8]) -> [u8; 32] {
        self.mac(payload).finalize().into_bytes().into()
    }

    /// Whether a proof was made with this secret over this prologue; in constant time.
    pub fn proves(&self, payload: &[u8], proof: &[u8]) -> bool {
        self.mac(payload).verify_slice(proof).is_ok()
    }
}

fn commitment(identity: &[u8], nonce: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(identity).chain_update(nonce).finalize().into()
}

/// The companion's side of one prologue.
pub struct Companion {
    ephemeral: KeyPair,
    nonce: Zeroizing<[u8; 32]>,
    device_type: i32,
    reference: String,
}

impl Companion {
    /// Fresh keys. `device_type` is DeviceProps.PlatformType, `reference` what the server answered for this prologue.
    pub fn new(device_type: i32, reference: String, rng: &mut dyn CryptoRng) -> Self {
        let mut nonce = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *nonce);
        Self { ephemeral: KeyPair::generate(rng), nonce, device_type, reference }
    }

    /// A serialized ProloguePayload.
    pub fn prologue(&self) -> Vec<u8> {
        let identity = proto::CompanionEphemeralIdentity {
            public_key: Some(self.ephemeral.public.as_bytes().to_vec()),
            device_type: Some(self.device_type),
            r#ref: Some(self.reference.clone()),
        }
        .encode_to_vec();
        let hash = commitment(&identity, &self.nonce).to_vec();
        proto::ProloguePayload {
            companion_ephemeral_identity: Some(identity),
            commitment: Some(proto::CompanionCommitment { hash: Some(hash) }),
        }
        .encode_to_vec()
    }

    /// Secret until the phone has answered.
    pub fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// What both ends have in common once the phone has answered.
    ///
    /// # Errors
    /// The phone's key is of low order.
    pub fn agree(&self, primary: &Primary) -> Result<Agreement, PasskeyError> {
        let parts = Parts { device_type: self.device_type, reference: &self.reference, nonce: &self.nonce };
        Agreement::new(&self.ephemeral, &primary.public, &parts, &primary.public, &primary.nonce)
    }
}

/// The phone's answer to a prologue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Primary {
    /// Its ephemeral key.
    pub public: PublicKey,
    /// 32 random bytes.
    pub nonce: [u8; 32],
}

impl Primary {
    /// Reads a serialized PrimaryEphemeralIdentity.
    pub fn parse(bytes: &[u8]) -> Result<Self, PasskeyError> {
        let read = proto::PrimaryEphemeralIdentity::decode(bytes).map_err(|_| PasskeyError::Malformed)?;
        Ok(Self { public: PublicKey::from_bytes(fixed(read.public_key)?), nonce: fixed(read.nonce)? })
    }

    /// Serializes it.
    pub fn build(&self) -> Vec<u8> {
        proto::PrimaryEphemeralIdentity {
            public_key: Some(self.public.as_bytes().to_vec()),
            nonce: Some(self.nonce.to_vec()),
        }
        .encode_to_vec()
    }
}

/// A prologue as the phone reads it.
pub struct Prologue {
    identity: Vec<u8>,
    ephemeral: PublicKey,
    device_type: i32,
    /// The server's name for it.
    pub reference: String,
    commitment: [u8; 32],
}

impl Prologue {
    /// Reads a serialized ProloguePayload.
    pub fn parse(bytes: &[u8]) -> Result<Self, PasskeyError> {
        let read = proto::ProloguePayload::decode(bytes).map_err(|_| PasskeyError::Malformed)?;
        let identity = read.companion_ephemeral_identity.ok_or(PasskeyError::Malformed)?;
        let inner = proto::CompanionEphemeralIdentity::decode(&*identity);
        let inner = inner.map_err(|_| PasskeyError::Malformed)?;
        Ok(Self {
            ephemeral: PublicKey::from_bytes(fixed(inner.public_key)?),
            device_type: inner.device_type.ok_or(PasskeyError::Malformed)?,
            reference: inner.r#ref.ok_or(PasskeyError::Malformed)?,
            commitment: fixed(read.commitment.and_then(|commitment| commitment.hash))?,
            identity,
        })
    }

    /// The phone's half, once the companion has revealed its nonce.
    ///
    /// # Errors
    /// The nonce is another one than was committed to, or the companion's key is of low order.
    pub fn agree(
        &self,
        ephemeral: &KeyPair,
        nonce: &[u8; 32],
        revealed: &[u8; 32],
    ) -> Result<Agreement, PasskeyError> {
        if !bool::from(commitment(&self.identity, revealed).ct_eq(&self.commitment)) {
            return Err(PasskeyError::Commitment);
        }
        let parts = Parts { device_type: self.device_type, reference: &self.reference, nonce: revealed };
        Agreement::new(ephemeral, &self.ephemeral, &parts, &ephemeral.public, nonce)
    }
}

/// The companion's contribution.
struct Parts<'a> {
    device_type: i32,
    reference: &'a str,
    nonce: &'a [u8; 32],
}

/// What both ends have in common.
pub struct Agreement {
    key: Zeroizing<[u8; 32]>,
    code: String,
}

impl Agreement {
    fn new(
        ours: &KeyPair,
        theirs: &PublicKey,
        companion: &Parts<'_>,
        primary: &PublicKey,
        primary_nonce: &[u8; 32],
    ) -> Result<Self, PasskeyError> {
        let shared = ours.private.agree_checked(theirs).map_err(|_| PasskeyError::InvalidKey)?;
        let Parts { device_type, reference, nonce } = companion;
        let salt = format!("Companion Pairing {device_type} with ref {reference}");
        let key = expand(&shared, Some(salt.as_bytes()), KEY_INFO);
        let hash = Sha256::new().chain_update(nonce).chain_update(primary.as_bytes()).finalize();
        let mut bits = [0; 5];
        for (bit, (a, b)) in bits.iter_mut().zip(primary_nonce.iter().zip(hash)) {
            *bit = a ^ b;
        }
        Ok(Self { key, code: dashed(&characters(bits)) })
    }

    /// `ABCD-EFGH`: the same at both ends, unless somebody sits between them.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// A serialized EncryptedPairingRequest.
    pub fn seal(&self, request: &Request, rng: &mut dyn CryptoRng) -> Vec<u8> {
        let mut iv = [0; IV];
        rng.fill_bytes(&mut iv);
        self.seal_with(request, iv)
    }

    fn seal_with(&self, request: &Request, iv: [u8; IV]) -> Vec<u8> {
        let plain = Zeroizing::new(request.build());
        let sealed = Aes256Gcm::new(&(*self.key).into())
            .encrypt(&iv.into(), plain.as_slice())
            .expect("far below 64 GiB");
        proto::EncryptedPairingRequest { encrypted_payload: Some(sealed), iv: Some(iv.to_vec()) }
            .encode_to_vec()
    }

    /// Opens a serialized EncryptedPairingRequest.
    ///
    /// # Errors
    /// It is malformed, or sealed under another key.
    pub fn open(&self, sealed: &[u8]) -> Result<Request, PasskeyError> {
        let read = proto::EncryptedPairingRequest::decode(sealed).map_err(|_| PasskeyError::Malformed)?;
        let iv = read.iv.and_then(|iv| <[u8; IV]>::try_from(iv).ok()).ok_or(PasskeyError::Malformed)?;
        let payload = read.encrypted_payload.ok_or(PasskeyError::Malformed)?;
        let plain = Aes256Gcm::new(&(*self.key).into()).decrypt(&iv.into(), payload.as_slice());
        Request::parse(&Zeroizing::new(plain.map_err(|_| PasskeyError::Sealed)?))
    }
}

/// Sealed to the phone: whom to vouch for, and under which secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The companion's Noise static key.
    pub noise: PublicKey,
    /// Its Signal identity.
    pub identity: PublicKey,
    /// In place of the one in the QR code.
    pub adv_secret: Zeroizing<[u8; 32]>,
}

impl Request {
    fn parse(bytes: &[u8]) -> Result<Self, PasskeyError> {
        let read = proto::PairingRequest::decode(bytes).map_err(|_| PasskeyError::Malformed)?;
        Ok(Self {
            noise: PublicKey::from_bytes(fixed(read.companion_public_key)?),
            identity: PublicKey::from_bytes(fixed(read.companion_identity_key)?),
            adv_secret: Zeroizing::new(fixed(read.adv_secret)?),
        })
    }

    fn build(&self) -> Vec<u8> {
        proto::PairingRequest {
            companion_public_key: Some(self.noise.as_bytes().to_vec()),
            companion_identity_key: Some(self.identity.as_bytes().to_vec()),
            adv_secret: Some(self.adv_secret.to_vec()),
        }
        .encode_to_vec()
    }
}

/// Says nothing of what is in it.
macro_rules! silent {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}
silent!(Handoff, Companion, Primary, Prologue, Agreement, Request);

#[cfg(test)]
mod tests;
