//! The server's certificate chain: root → intermediate → leaf, and the leaf's key is the one the handshake used.

use std::time::Duration;

use prost::Message as _;
use rand::CryptoRng;

use super::symmetric::public_key;
use crate::{
    clock::Millis,
    crypto::{KeyPair, PublicKey},
    proto::{
        CertChain,
        cert_chain::{NoiseCertificate, noise_certificate::Details},
    },
};

/// The key that signs intermediate certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRoot(pub [u8; 32]);

impl TrustRoot {
    /// WhatsApp's own: "WhatsAppLongTerm1", as in Baileys' `WA_CERT_DETAILS` and whatsmeow's `WACertPubKey`.
    pub const WHATSAPP: Self = Self([
        0x14, 0x23, 0x75, 0x57, 0x4d, 0x0a, 0x58, 0x71, 0x66, 0xaa, 0xe7, 0x1e, 0xbe, 0x51, 0x64, 0x37, 0xc4,
        0xa2, 0x8b, 0x73, 0xe3, 0x69, 0x5c, 0x6c, 0xe1, 0xf7, 0xf9, 0x54, 0x5d, 0xa8, 0xee, 0x6b,
    ]);
}

/// The serial number of every root.
const ROOT_SERIAL: u32 = 0;

/// Why a chain is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// A certificate, its details or its signature is missing or does not parse.
    #[error("incomplete or malformed")]
    Malformed,
    /// The intermediate was not signed by the trust root.
    #[error("not signed by the trusted root")]
    UntrustedRoot,
    /// The leaf was not signed by the intermediate.
    #[error("leaf not signed by the intermediate")]
    BadLeafSignature,
    /// A certificate names another issuer than the one above it.
    #[error("issued by another certificate")]
    WrongIssuer,
    /// The leaf is about another key than the one in use.
    #[error("made out for another key")]
    WrongKey,
    /// Its time has not come, or the clock here is slow.
    #[error("not valid yet")]
    NotYetValid,
    /// Its time is over, or the clock here is fast.
    #[error("expired")]
    Expired,
}

impl TrustRoot {
    /// Believes the chain or says why not: signatures over the details as sent, issuers, validity, and the key in use.
    pub(super) fn verify(
        &self,
        chain: &[u8],
        in_use: &PublicKey,
        now: Millis,
    ) -> Result<(), CertificateError> {
        use CertificateError as E;

        let chain = CertChain::decode(chain).map_err(|_| E::Malformed)?;
        let intermediate = Signed::read(chain.intermediate)?;
        let leaf = Signed::read(chain.leaf)?;

        let root = PublicKey::from_bytes(self.0);
        root.verify(&intermediate.raw, &intermediate.signature).map_err(|_| E::UntrustedRoot)?;
        let issuer = &intermediate.details;
        if issuer.issuer_serial() != ROOT_SERIAL {
            return Err(E::WrongIssuer);
        }
        let issuer_key = public_key(issuer.key.as_deref()).map_err(|_| E::Malformed)?;
        check_validity(issuer, now)?;

        issuer_key.verify(&leaf.raw, &leaf.signature).map_err(|_| E::BadLeafSignature)?;
        if leaf.details.issuer_serial() != issuer.serial() {
            return Err(E::WrongIssuer);
        }
        if leaf.details.key() != in_use.as_bytes() {
            return Err(E::WrongKey);
        }
        check_validity(&leaf.details, now)
    }
}

struct Signed {
    raw: Vec<u8>,
    details: Details,
    signature: [u8; 64],
}

impl Signed {
    fn read(certificate: Option<NoiseCertificate>) -> Result<Self, CertificateError> {
        let NoiseCertificate { details: Some(raw), signature: Some(signature) } =
            certificate.ok_or(CertificateError::Malformed)?
        else {
            return Err(CertificateError::Malformed);
        };
        let details = Details::decode(raw.as_slice()).map_err(|_| CertificateError::Malformed)?;
        let signature = signature.try_into().map_err(|_| CertificateError::Malformed)?;
        Ok(Self { raw, details, signature })
    }
}

fn check_validity(details: &Details, now: Millis) -> Result<(), CertificateError> {
    let now = now.secs();
    if now < details.not_before() {
        Err(CertificateError::NotYetValid)
    } else if now >= details.not_after() {
        Err(CertificateError::Expired)
    } else {
        Ok(())
    }
}

/// The server's long-term keys and its certificate chain. Kept across restarts: whatsapp-rust remembers the key.
pub struct ServerKeys {
    /// The Noise static key, which the leaf is about.
    pub static_key: KeyPair,
    /// Serialized `CertChain`, the same in every handshake.
    pub chain: Vec<u8>,
}

impl ServerKeys {
    /// Makes static and intermediate keys and a chain signed by `root`, valid ten years around `now`.
    pub fn issue(root: &KeyPair, now: Millis, rng: &mut dyn CryptoRng) -> Self {
        let five_years = Duration::from_secs(5 * 365 * 86_400).as_secs();
        let validity = now.secs().saturating_sub(five_years)..now.secs().saturating_add(five_years);
        let static_key = KeyPair::generate(rng);
        let intermediate = KeyPair::generate(rng);
        Self { chain: chain(root, &intermediate, &static_key.public, &validity, rng), static_key }
    }
}

pub(super) fn chain(
    root: &KeyPair,
    intermediate: &KeyPair,
    static_key: &PublicKey,
    validity: &std::ops::Range<u64>,
    rng: &mut dyn CryptoRng,
) -> Vec<u8> {
    let mut sign = |issuer: &KeyPair, serial: u32, issuer_serial: u32, key: &PublicKey| {
        let details = Details {
            serial: Some(serial),
            // Zero too must be on the wire: Baileys takes an absent one for a mismatch.
            issuer_serial: Some(issuer_serial),
            key: Some(key.as_bytes().to_vec()),
            not_before: Some(validity.start),
            not_after: Some(validity.end),
        }
        .encode_to_vec();
        let signature = issuer.private.sign(&details, rng).to_vec();
        Some(NoiseCertificate { details: Some(details), signature: Some(signature) })
    };
    CertChain {
        intermediate: sign(root, 1, ROOT_SERIAL, &intermediate.public),
        leaf: sign(intermediate, 2, 1, static_key),
    }
    .encode_to_vec()
}
