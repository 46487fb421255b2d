//! The symmetric state of the handshake: a running hash, a chaining key, a cipher and its counter.

use aes_gcm::{Aes256Gcm, KeyInit as _, aead::AeadInOut as _};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{NoiseError, transport::Sealed};
use crate::{
    crypto::{PrivateKey, PublicKey},
    wire::frame::INTRO,
};

/// The normal pattern. NULs fill a name up to 32 bytes.
pub(super) const XX: &[u8] = b"Noise_XX_25519_AESGCM_SHA256\0\0\0\0";
/// Resuming with a server key known from before.
pub(super) const IK: &[u8] = b"Noise_IK_25519_AESGCM_SHA256\0\0\0\0";
/// Going on after a refused resumption. Longer than a hash, and so hashed.
pub(super) const XX_FALLBACK: &[u8] = b"Noise_XXfallback_25519_AESGCM_SHA256";

/// Length of an AES-GCM tag.
pub(super) const TAG: usize = 16;

/// Twelve bytes: eight zero, then the counter, big-endian.
pub(super) fn nonce(counter: u32) -> [u8; 12] {
    let [a, b, c, d] = counter.to_be_bytes();
    [0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
}

/// One side's view of the handshake.
pub(super) struct Symmetric {
    hash: [u8; 32],
    chaining: Zeroizing<[u8; 32]>,
    key: Zeroizing<[u8; 32]>,
    /// Shared by both directions until the split; starts again with every key.
    counter: u32,
}

impl Symmetric {
    /// Starts a pattern; the prologue is the client's intro.
    pub(super) fn new(pattern: &[u8]) -> Self {
        let hash = <[u8; 32]>::try_from(pattern).unwrap_or_else(|_| Sha256::digest(pattern).into());
        let mut state = Self { hash, chaining: Zeroizing::new(hash), key: Zeroizing::new(hash), counter: 0 };
        state.mix_hash(&INTRO);
        state
    }

    pub(super) fn mix_hash(&mut self, data: &[u8]) {
        self.hash = Sha256::new().chain_update(self.hash).chain_update(data).finalize().into();
    }

    /// Mixes in a Diffie–Hellman result.
    pub(super) fn mix_agreement(&mut self, ours: &PrivateKey, theirs: &PublicKey) -> Result<(), NoiseError> {
        let shared = ours.agree(theirs);
        if shared.iter().fold(0, |any, byte| any | byte) == 0 {
            return Err(NoiseError::WeakKey);
        }
        (self.chaining, self.key) = self.derive(shared.as_slice());
        self.counter = 0;
        Ok(())
    }

    pub(super) fn encrypt(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let cipher = Aes256Gcm::new((&*self.key).into());
        let mut sealed = Vec::with_capacity(plaintext.len() + TAG);
        sealed.extend_from_slice(plaintext);
        cipher
            .encrypt_in_place(&nonce(self.counter).into(), &self.hash, &mut sealed)
            .map_err(|_| NoiseError::TooLarge)?;
        self.counter += 1;
        self.mix_hash(&sealed);
        Ok(sealed)
    }

    pub(super) fn decrypt(&mut self, sealed: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let cipher = Aes256Gcm::new((&*self.key).into());
        let mut plaintext = sealed.to_vec();
        cipher
            .decrypt_in_place(&nonce(self.counter).into(), &self.hash, &mut plaintext)
            .map_err(|_| NoiseError::HandshakeTag)?;
        self.counter += 1;
        self.mix_hash(sealed);
        Ok(plaintext)
    }

    /// A public key that travels sealed.
    pub(super) fn decrypt_key(&mut self, sealed: &[u8]) -> Result<PublicKey, NoiseError> {
        public_key(Some(&self.decrypt(sealed)?))
    }

    /// Ends the handshake: the client's key, then the server's.
    pub(super) fn split(&self, role: Role) -> Sealed {
        let (client, server) = self.derive(&[]);
        match role {
            Role::Client => Sealed::new(&client, &server),
            Role::Server => Sealed::new(&server, &client),
        }
    }

    fn derive(&self, input: &[u8]) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>) {
        let mut output = Zeroizing::new([[0; 32]; 2]);
        Hkdf::<Sha256>::new(Some(self.chaining.as_slice()), input)
            .expand(&[], output.as_flattened_mut())
            .expect("64 bytes are within what HKDF-SHA256 can give");
        (Zeroizing::new(output[0]), Zeroizing::new(output[1]))
    }

    #[cfg(test)]
    pub(super) fn hash(&self) -> [u8; 32] {
        self.hash
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> ([u8; 32], [u8; 32]) {
        (*self.chaining, *self.key)
    }

    #[cfg(test)]
    pub(super) fn split_keys(&self) -> ([u8; 32], [u8; 32]) {
        let (client, server) = self.derive(&[]);
        (*client, *server)
    }
}

/// Which end of the pipe.
#[derive(Clone, Copy)]
pub(super) enum Role {
    Client,
    Server,
}

/// A public key that travels in the clear: exactly 32 bytes.
pub(super) fn public_key(bytes: Option<&[u8]>) -> Result<PublicKey, NoiseError> {
    bytes.and_then(|bytes| bytes.try_into().ok()).map(PublicKey::from_bytes).ok_or(NoiseError::Malformed)
}
