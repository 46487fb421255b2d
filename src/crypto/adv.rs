//! Account device verification: the signatures that bind a companion to an account.
//!
//! A phone signs a companion's key together with a key index (`link`), the companion signs back (`accept`), and
//! whoever fetches the companion's keys checks both (`verify`). Prefixes and fields: as Baileys 7, whatsmeow and
//! whatsapp-rust 0.7 use them; keys in here are raw, without type byte.

use hmac::{Hmac, KeyInit as _, Mac as _};
use prost::Message as _;
use rand::CryptoRng;
use sha2::Sha256;

use super::{KeyPair, PublicKey};
use crate::proto::{
    AdvDeviceIdentity, AdvKeyIndexList, AdvSignedDeviceIdentity, AdvSignedDeviceIdentityHmac,
    AdvSignedKeyIndexList,
};

/// ADVEncryptionType: an ordinary device.
const E2EE: i32 = 0;
/// ADVEncryptionType: a device that Meta runs for a business.
const HOSTED: i32 = 1;

const ACCOUNT: [u8; 2] = [6, 0];
const DEVICE: [u8; 2] = [6, 1];
/// No client checks the signature of a list; 2 is the number that the scheme leaves free for it.
const KEY_INDEX_LIST: [u8; 2] = [6, 2];
const HOSTED_ACCOUNT: [u8; 2] = [6, 5];
const HOSTED_DEVICE: [u8; 2] = [6, 6];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdvError {
    #[error("malformed device identity")]
    Malformed,
    #[error("the device identity was not made with the secret of this code")]
    HmacMismatch,
    #[error("a signature of the device identity does not verify")]
    SignatureMismatch,
    #[error("a key in the device identity is invalid")]
    InvalidKey,
}

/// What a companion keeps after the phone accepted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// Serialized ADVSignedDeviceIdentity, device signature and account key included: the content of
    /// `<device-identity>`.
    pub signed: Vec<u8>,
    /// The Signal identity of the account's phone.
    pub account_key: PublicKey,
    /// The companion's number among those the phone ever linked; goes into `<device-identity key-index>`.
    pub key_index: u32,
}

/// Companion: checks the container of pair-success and adds the device signature.
///
/// `secret` is the one shown in the pairing code, `identity` the companion's Signal identity.
pub fn accept(
    container: &[u8],
    secret: &[u8; 32],
    identity: &KeyPair,
    rng: &mut dyn CryptoRng,
) -> Result<DeviceIdentity, AdvError> {
    let container = AdvSignedDeviceIdentityHmac::decode(container).map_err(|_| AdvError::Malformed)?;
    let bytes = container.details.as_deref().ok_or(AdvError::Malformed)?;
    let hosted = container.account_type == Some(HOSTED);
    // Constant-time: the secret is all that keeps a stranger from linking this companion to the wrong account.
    container_mac(secret, hosted, bytes)
        .verify_slice(container.hmac.as_deref().ok_or(AdvError::Malformed)?)
        .map_err(|_| AdvError::HmacMismatch)?;

    let mut signed = AdvSignedDeviceIdentity::decode(bytes).map_err(|_| AdvError::Malformed)?;
    let account_key = account_key(&signed)?.ok_or(AdvError::Malformed)?;
    check_account_signature(&signed, &identity.public, &account_key)?;
    let details = details(&signed)?;
    let key_index = read_details(details)?.key_index.ok_or(AdvError::Malformed)?;
    let prefix = if hosted { HOSTED_DEVICE } else { DEVICE };
    let message = [&prefix, details, identity.public.as_bytes(), account_key.as_bytes()].concat();
    signed.device_signature = Some(identity.private.sign(&message, rng).to_vec());
    Ok(DeviceIdentity { signed: signed.encode_to_vec(), account_key, key_index })
}

/// Companion: the reply in pair-device-sign, without the account key.
pub fn without_account_key(signed: &[u8]) -> Result<Vec<u8>, AdvError> {
    let mut signed = AdvSignedDeviceIdentity::decode(signed).map_err(|_| AdvError::Malformed)?;
    signed.account_signature_key = None;
    Ok(signed.encode_to_vec())
}

/// What a phone knows when it has scanned a companion's code.
pub struct Link<'a> {
    /// Random per account identity; constant until the phone registers anew.
    pub raw_id: u32,
    pub timestamp_secs: u64,
    /// At least 1, rising with every linked device.
    pub key_index: u32,
    pub companion: &'a PublicKey,
    pub secret: &'a [u8; 32],
}

/// Phone: the container for a companion whose code it scanned.
pub fn link(account: &KeyPair, link: &Link<'_>, rng: &mut dyn CryptoRng) -> Vec<u8> {
    let details = AdvDeviceIdentity {
        raw_id: Some(link.raw_id),
        timestamp: Some(link.timestamp_secs),
        key_index: Some(link.key_index),
        account_type: Some(E2EE),
        device_type: Some(E2EE),
    }
    .encode_to_vec();
    let message = [&ACCOUNT, details.as_slice(), link.companion.as_bytes()].concat();
    let signed = AdvSignedDeviceIdentity {
        details: Some(details),
        account_signature_key: Some(account.public.as_bytes().to_vec()),
        account_signature: Some(account.private.sign(&message, rng).to_vec()),
        device_signature: None,
    }
    .encode_to_vec();
    AdvSignedDeviceIdentityHmac {
        hmac: Some(container_mac(link.secret, false, &signed).finalize().into_bytes().to_vec()),
        details: Some(signed),
        account_type: Some(E2EE),
    }
    .encode_to_vec()
}

/// Server: checks what the companion returned (account key may be absent), and gives the complete serialized
/// identity.
pub fn complete(
    returned: &[u8],
    companion: &PublicKey,
    account_key: &PublicKey,
) -> Result<Vec<u8>, AdvError> {
    let mut signed = AdvSignedDeviceIdentity::decode(returned).map_err(|_| AdvError::Malformed)?;
    check(&signed, companion, Some(account_key))?;
    signed.account_signature_key = Some(account_key.as_bytes().to_vec());
    Ok(signed.encode_to_vec())
}

/// Anybody: checks both signatures of a companion's device identity against its Signal identity and the account's
/// key. An identity that names no account key needs one from the caller; one that names another than the caller's
/// is refused.
pub fn verify(signed: &[u8], companion: &PublicKey, account_key: Option<&PublicKey>) -> Result<(), AdvError> {
    let signed = AdvSignedDeviceIdentity::decode(signed).map_err(|_| AdvError::Malformed)?;
    check(&signed, companion, account_key)
}

/// Phone: signed list of the key indexes that are linked now. `current`: the newest that was ever given.
pub fn key_index_list(
    account: &KeyPair,
    raw_id: u32,
    timestamp_secs: u64,
    current: u32,
    indexes: &[u32],
    rng: &mut dyn CryptoRng,
) -> Vec<u8> {
    let details = AdvKeyIndexList {
        raw_id: Some(raw_id),
        timestamp: Some(timestamp_secs),
        current_index: Some(current),
        valid_indexes: indexes.to_vec(),
        account_type: Some(E2EE),
    }
    .encode_to_vec();
    let message = [&KEY_INDEX_LIST, details.as_slice()].concat();
    AdvSignedKeyIndexList {
        details: Some(details),
        account_signature: Some(account.private.sign(&message, rng).to_vec()),
        account_signature_key: Some(account.public.as_bytes().to_vec()),
    }
    .encode_to_vec()
}

/// What a signed list says. A device whose index is not in `valid` is not linked any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyIndexes {
    pub raw_id: u32,
    pub timestamp_secs: u64,
    pub current: u32,
    pub valid: Vec<u32>,
}

/// The indexes of a signed list. Its signature is not checked, as no client checks it: the server, which is trusted
/// with the list of devices, is what it comes from.
pub fn read_key_index_list(signed: &[u8]) -> Result<KeyIndexes, AdvError> {
    let signed = AdvSignedKeyIndexList::decode(signed).map_err(|_| AdvError::Malformed)?;
    let list = AdvKeyIndexList::decode(signed.details.as_deref().ok_or(AdvError::Malformed)?)
        .map_err(|_| AdvError::Malformed)?;
    Ok(KeyIndexes {
        raw_id: list.raw_id.unwrap_or_default(),
        timestamp_secs: list.timestamp.unwrap_or_default(),
        current: list.current_index.unwrap_or_default(),
        valid: list.valid_indexes,
    })
}

fn container_mac(secret: &[u8; 32], hosted: bool, signed: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    if hosted {
        mac.update(&HOSTED_ACCOUNT);
    }
    mac.update(signed);
    mac
}

fn check(
    signed: &AdvSignedDeviceIdentity,
    companion: &PublicKey,
    expected: Option<&PublicKey>,
) -> Result<(), AdvError> {
    let account_key = match (account_key(signed)?, expected) {
        (Some(named), Some(expected)) if named != *expected => return Err(AdvError::SignatureMismatch),
        (Some(key), _) => key,
        (None, Some(expected)) => *expected,
        (None, None) => return Err(AdvError::Malformed),
    };
    check_account_signature(signed, companion, &account_key)?;
    let tail = [details(signed)?, companion.as_bytes(), account_key.as_bytes()].concat();
    let signature = signed.device_signature.as_deref().ok_or(AdvError::Malformed)?;
    check_either([DEVICE, HOSTED_DEVICE], &tail, companion, signature)
}

fn check_account_signature(
    signed: &AdvSignedDeviceIdentity,
    companion: &PublicKey,
    account_key: &PublicKey,
) -> Result<(), AdvError> {
    let tail = [details(signed)?, companion.as_bytes()].concat();
    let signature = signed.account_signature.as_deref().ok_or(AdvError::Malformed)?;
    check_either([ACCOUNT, HOSTED_ACCOUNT], &tail, account_key, signature)
}

/// Clients disagree on which field says that an account is hosted, and so on the prefix. Both say the same of the
/// same keys, so either will do.
fn check_either(
    prefixes: [[u8; 2]; 2],
    tail: &[u8],
    key: &PublicKey,
    signature: &[u8],
) -> Result<(), AdvError> {
    let fits = |prefix: &[u8; 2]| key.verify(&[prefix, tail].concat(), signature).is_ok();
    if prefixes.iter().any(fits) { Ok(()) } else { Err(AdvError::SignatureMismatch) }
}

fn account_key(signed: &AdvSignedDeviceIdentity) -> Result<Option<PublicKey>, AdvError> {
    let read = |key| PublicKey::from_slice(key).map_err(|_| AdvError::InvalidKey);
    signed.account_signature_key.as_deref().filter(|key| !key.is_empty()).map(read).transpose()
}

fn details(signed: &AdvSignedDeviceIdentity) -> Result<&[u8], AdvError> {
    signed.details.as_deref().ok_or(AdvError::Malformed)
}

fn read_details(details: &[u8]) -> Result<AdvDeviceIdentity, AdvError> {
    AdvDeviceIdentity::decode(details).map_err(|_| AdvError::Malformed)
}

#[cfg(test)]
mod tests;
