//! Every derivation of the protocol. Labels and constants are libsignal's (`rust/protocol/src/ratchet/*.rs`).

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

type Secret = Zeroizing<[u8; 32]>;

/// Precedes the agreed secrets, so that X3DH input never looks like an encoded key (X3DH, section 2.2).
const DISCONTINUITY: [u8; 32] = [0xff; 32];

/// Feeds every ratchet step.
#[derive(Clone)]
pub(super) struct RootKey(pub(super) Secret);

/// The key of one chain, before the message of this index.
#[derive(Clone)]
pub(super) struct ChainKey {
    pub(super) index: u32,
    pub(super) key: Secret,
}

/// All that must be kept to read one message.
#[derive(Clone)]
pub(super) struct Seed(pub(super) Secret);

/// What encrypts and authenticates one message.
pub(super) struct MessageKeys(Zeroizing<[u8; 80]>);

/// X3DH: the agreed secrets in the order of the protocol, the one-time prekey's last, if there is one.
pub(super) fn first_keys(agreed: &[Secret]) -> (RootKey, ChainKey) {
    let mut input = Zeroizing::new(Vec::with_capacity(32 * (agreed.len() + 1)));
    input.extend_from_slice(&DISCONTINUITY);
    for secret in agreed {
        input.extend_from_slice(secret.as_slice());
    }
    root_and_chain(None, &input, b"WhisperText")
}

impl RootKey {
    /// One half of a ratchet step: `agreed` is the secret of one end's ratchet key and the other's.
    pub(super) fn step(&self, agreed: &Secret) -> (Self, ChainKey) {
        root_and_chain(Some(self.0.as_slice()), agreed.as_slice(), b"WhisperRatchet")
    }
}

fn root_and_chain(salt: Option<&[u8]>, input: &[u8], label: &[u8]) -> (RootKey, ChainKey) {
    let mut output = Zeroizing::new([0; 64]);
    expand(salt, input, label, output.as_mut_slice());
    let (mut root, mut chain) = (Secret::default(), Secret::default());
    root.copy_from_slice(&output[..32]);
    chain.copy_from_slice(&output[32..]);
    (RootKey(root), ChainKey { index: 0, key: chain })
}

impl ChainKey {
    /// The seed of this index and the key of the next one. `None`: the chain has no further index.
    pub(super) fn step(&self) -> Option<(Seed, Self)> {
        let index = self.index.checked_add(1)?;
        let keyed = hmac(self.key.as_slice());
        let derive = |label: u8| {
            let mut mac = keyed.clone();
            mac.update(&[label]);
            Zeroizing::new(mac.finalize().into_bytes().into())
        };
        Some((Seed(derive(1)), Self { index, key: derive(2) }))
    }
}

impl Seed {
    pub(super) fn keys(&self) -> MessageKeys {
        let mut output = Zeroizing::new([0; 80]);
        expand(None, self.0.as_slice(), b"WhisperMessageKeys", output.as_mut_slice());
        MessageKeys(output)
    }

    pub(super) fn group_keys(&self) -> GroupKeys {
        let mut output = Zeroizing::new([0; 48]);
        expand(None, self.0.as_slice(), b"WhisperGroup", output.as_mut_slice());
        GroupKeys(output)
    }
}

/// What encrypts one message to a group; its signature authenticates it.
pub(super) struct GroupKeys(Zeroizing<[u8; 48]>);

impl GroupKeys {
    /// CBC.
    pub(super) fn iv(&self) -> &[u8] {
        &self.0[..16]
    }
    /// AES-256.
    pub(super) fn cipher(&self) -> &[u8] {
        &self.0[16..]
    }
}

impl MessageKeys {
    /// AES-256.
    pub(super) fn cipher(&self) -> &[u8] {
        &self.0[..32]
    }
    /// HMAC-SHA256.
    pub(super) fn mac(&self) -> &[u8] {
        &self.0[32..64]
    }
    /// CBC.
    pub(super) fn iv(&self) -> &[u8] {
        &self.0[64..]
    }
}

pub(super) fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn expand(salt: Option<&[u8]>, input: &[u8], label: &[u8], output: &mut [u8]) {
    Hkdf::<Sha256>::new(salt, input)
        .expand(label, output)
        .expect("at most 80 bytes, of 8160 that HKDF can give");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret {
        Zeroizing::new([byte; 32])
    }

    // The values below were reproduced with npm libsignal 6.0.0 and one more implementation.

    #[test]
    fn a_chain_steps_to_the_known_seed_and_key() {
        let key = Zeroizing::new(std::array::from_fn(|i| i as u8));
        let (seed, next) = ChainKey { index: 7, key }.step().unwrap();
        assert_eq!(hex::encode(*seed.0), "9b4c8120a4823a95f47cde17a244f4507244ee6e3957d1fab9fa29b44d3829b7");
        assert_eq!(
            hex::encode(*next.key),
            "4304c22c84a53755ab08ead8d97a8d429be5efa480682d7ad1da27f73e1fbe1d"
        );
        assert_eq!(next.index, 8);

        let keys = seed.keys();
        assert_eq!(
            hex::encode(keys.cipher()),
            "86268814b41f5fd154659f26873660e3dbc8b205155c3b59b8570b015d773c0c"
        );
        assert_eq!(
            hex::encode(keys.mac()),
            "dea51fa5beca2618971c4292647b81e83f2b4edd03e0d292a87ec66e0163abdb"
        );
        assert_eq!(hex::encode(keys.iv()), "21cfd5b9956a1631f6b7b5b5bdf7b791");

        let keys = seed.group_keys();
        assert_eq!(hex::encode(keys.iv()), "ed1f5e26325b1399f6a34c76e47ff047");
        assert_eq!(
            hex::encode(keys.cipher()),
            "d89f10a08215e845ceb4df3fc59c052ad09e01cd499650025ff83df48ed656e6"
        );
    }

    #[test]
    fn a_chain_ends_at_its_last_index() {
        assert!(ChainKey { index: u32::MAX, key: secret(0) }.step().is_none());
    }

    #[test]
    fn a_root_steps_to_the_known_keys() {
        let (root, chain) = RootKey(secret(0x11)).step(&secret(0x22));
        assert_eq!(hex::encode(*root.0), "9daeaa1e8c7e8b788d4bc90ec8c2a5b992b4b505d14e74ca049ddb4f9e8ed91b");
        assert_eq!(
            hex::encode(*chain.key),
            "1b31f67b64b589df27b980ffa916bb940f0e47fbc13569bf1fd0622d04725dca"
        );
        assert_eq!(chain.index, 0);
    }

    #[test]
    fn x3dh_gives_the_known_first_keys() {
        let (root, chain) = first_keys(&[1, 2, 3, 4].map(secret));
        assert_eq!(hex::encode(*root.0), "0e18056f1b0947b2bb3593b56baa38317bd4fef7cab2ef1e52850769c915650a");
        assert_eq!(
            hex::encode(*chain.key),
            "63e6d044e3e411fc8ff106f0ab779a743e69ba697b947cf3415298809b05afc1"
        );
    }
}
