//! One app state sync key, expanded (protocol 04, 9.1 and 9.2).

use aes::Aes256;
use cbc::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _, block_padding::Pkcs7};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{LtHash, Mac, Operation};

/// In front of the ciphertext.
const IV: usize = 16;
/// Behind it.
const MAC: usize = 32;

/// What a sync key is expanded to.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SyncKeys {
    index: [u8; 32],
    cipher: [u8; 32],
    value: [u8; 32],
    snapshot: [u8; 32],
    patch: [u8; 32],
}

impl SyncKeys {
    /// HKDF-SHA256 without salt: index, value encryption, value MAC, snapshot MAC, patch MAC.
    pub fn derive(key_data: &[u8; 32]) -> Self {
        let mut okm = [0; 160];
        Hkdf::<Sha256>::new(None, key_data)
            .expand(b"WhatsApp Mutation Keys", &mut okm)
            .expect("160 ≤ 255 · 32");
        let part = |n: usize| std::array::from_fn(|i| okm[32 * n + i]);
        let keys =
            Self { index: part(0), cipher: part(1), value: part(2), snapshot: part(3), patch: part(4) };
        okm.zeroize();
        keys
    }

    /// Over an index exactly as it was serialized.
    pub fn index_mac(&self, index: &[u8]) -> Mac {
        sha256(&self.index).chain_update(index).finalize().into_bytes().into()
    }

    /// A value's blob: iv, ciphertext, value MAC.
    pub(super) fn seal(&self, operation: Operation, key_id: &[u8], plain: &[u8], iv: [u8; IV]) -> Vec<u8> {
        let mut blob = iv.to_vec();
        let ciphertext = cbc::Encryptor::<Aes256>::new(&self.cipher.into(), &iv.into());
        blob.extend_from_slice(&ciphertext.encrypt_padded_vec::<Pkcs7>(plain));
        let mac = self.value_mac(operation, key_id, &blob);
        blob.extend_from_slice(&mac);
        blob
    }

    /// The plaintext of a value's blob; `None` unless its MAC is right.
    pub(super) fn open(&self, operation: Operation, key_id: &[u8], blob: &[u8]) -> Option<Vec<u8>> {
        let (sealed, mac) = blob.split_last_chunk::<MAC>()?;
        if !bool::from(self.value_mac(operation, key_id, sealed).ct_eq(mac)) {
            return None;
        }
        let (iv, ciphertext) = sealed.split_first_chunk::<IV>()?;
        let cbc = cbc::Decryptor::<Aes256>::new(&self.cipher.into(), &(*iv).into());
        cbc.decrypt_padded_vec::<Pkcs7>(ciphertext).ok()
    }

    /// HMAC-SHA512, cut to 32 bytes, over operation, key id, what was encrypted, and the length of the first two.
    fn value_mac(&self, operation: Operation, key_id: &[u8], sealed: &[u8]) -> Mac {
        let head = match operation {
            Operation::Set => 1_u8,
            Operation::Remove => 2,
        };
        let mac = Hmac::<Sha512>::new_from_slice(&self.value).expect("HMAC takes any key");
        let mac = mac.chain_update([head]).chain_update(key_id).chain_update(sealed);
        let mac = mac.chain_update((key_id.len() as u64 + 1).to_be_bytes()).finalize().into_bytes();
        std::array::from_fn(|i| mac[i])
    }

    /// Over the whole collection as it stands at a version.
    pub fn snapshot_mac(&self, hash: &LtHash, version: u64, collection: &str) -> Mac {
        let mac = sha256(&self.snapshot).chain_update(hash.as_bytes()).chain_update(version.to_be_bytes());
        mac.chain_update(collection).finalize().into_bytes().into()
    }

    /// Over one patch: the snapshot MAC it names, and its value MACs in order.
    pub fn patch_mac<'a>(
        &self,
        snapshot_mac: &[u8],
        values: impl IntoIterator<Item = &'a Mac>,
        version: u64,
        collection: &str,
    ) -> Mac {
        let mut mac = sha256(&self.patch).chain_update(snapshot_mac);
        for value in values {
            mac.update(value);
        }
        mac.chain_update(version.to_be_bytes()).chain_update(collection).finalize().into_bytes().into()
    }
}

fn sha256(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key")
}

/// The MAC at the end of a value's blob.
pub(super) fn mac_of(blob: &[u8]) -> Option<Mac> {
    blob.last_chunk::<MAC>().copied()
}
