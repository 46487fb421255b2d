//! Linking by a code that is typed on the phone: what companion and phone compute of it.
//!
//! Each end sends an ephemeral key wrapped with the code; under the secret that the two keys give, the companion sends
//! its identity, the phone's and 32 random bytes. Who typed another code unwraps another key and cannot open that.
//! Numbers and labels: Baileys 7 `Socket/socket.ts`, `Socket/messages-recv.ts`, whatsapp-rust 0.7
//! `wacore/src/pair_code.rs`. Knows nothing of refs, stages and how long a code is good.

use std::fmt;

use aes::{
    Aes256,
    cipher::{BlockCipherEncrypt as _, KeyInit as _},
};
use aes_gcm::{
    Aes256Gcm,
    aead::{Aead as _, Payload},
};
use hkdf::Hkdf;
use rand::CryptoRng;
use sha2::{Sha256, block_api::compress256};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{KeyPair, PublicKey};

/// Characters of a code; each says five bits. Without 0, I, O and U, which are misread.
pub const ALPHABET: &[u8; 32] = b"123456789ABCDEFGHJKLMNPQRSTVWXYZ";
/// A wrapped ephemeral key: salt (32), counter block (16), key (32).
pub const WRAPPED: usize = 80;
/// The companion's bundle: salt (32), IV (12), three times 32 bytes, tag (16).
pub const BUNDLE: usize = 156;

/// Characters of a code.
const LENGTH: usize = 8;
/// Of PBKDF2; some tens of milliseconds, which is what makes guessing codes dear.
const ROUNDS: u32 = 131_072;
const SALT: usize = 32;
const COUNTER: usize = 16;
const IV: usize = 12;
const BUNDLE_INFO: &[u8] = b"link_code_pairing_key_bundle_encryption_key";
const SECRET_INFO: &[u8] = b"adv_secret";

/// Why a message of the other end is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkCodeError {
    /// Of another size than it can have.
    #[error("malformed link-code message")]
    Malformed,
    /// A key that makes every agreement come out as zero.
    #[error("a key of the link-code exchange is invalid")]
    InvalidKey,
    /// Made with another code, or for another companion or phone.
    #[error("made with another code")]
    WrongCode,
}

/// Eight characters, as they are typed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct LinkCode(String);

impl LinkCode {
    /// 40 random bits.
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        let mut bytes = [0; 5];
        rng.fill_bytes(&mut bytes);
        Self(characters(bytes))
    }

    /// As a person types it: any case, with or without the dash. Clients may choose codes of their own, so any eight
    /// visible ASCII characters will do.
    pub fn parse(typed: &str) -> Option<Self> {
        let code: String = typed.trim().chars().filter(|c| *c != '-').collect();
        let fits = code.len() == LENGTH && code.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(code.to_ascii_uppercase()))
    }

    /// `ABCD-EFGH`
    pub fn shown(&self) -> String {
        dashed(&self.0)
    }

    /// The key that wraps ephemeral keys, for one salt.
    fn key(&self, salt: &[u8; SALT]) -> Zeroizing<[u8; 32]> {
        // PBKDF2 (RFC 8018, 5.2) with one block of output.
        let keyed = Keyed::new(self.0.as_bytes());
        let mut message = [0; SALT + 4];
        message[..SALT].copy_from_slice(salt);
        message[SALT..].copy_from_slice(&1_u32.to_be_bytes());
        let mut last = keyed.mac(&message);
        let mut sum = last;
        for _ in 1..ROUNDS {
            last = keyed.again(&last);
            sum.iter_mut().zip(last).for_each(|(sum, word)| *sum ^= word);
        }
        Zeroizing::new(to_bytes(&sum))
    }

    /// Wraps an ephemeral public key, for the other end.
    pub fn wrap(&self, ephemeral: &PublicKey, rng: &mut dyn CryptoRng) -> [u8; WRAPPED] {
        let (mut salt, mut counter) = ([0; SALT], [0; COUNTER]);
        rng.fill_bytes(&mut salt);
        rng.fill_bytes(&mut counter);
        let mut key = *ephemeral.as_bytes();
        in_counter_mode(&self.key(&salt), counter, &mut key);
        let mut wrapped = [0; WRAPPED];
        let parts = salt.iter().chain(&counter).chain(&key);
        wrapped.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        wrapped
    }

    /// The other end's ephemeral key; of another code some key that nobody has the private half of.
    pub fn unwrap_key(&self, wrapped: &[u8; WRAPPED]) -> PublicKey {
        let (salt, rest) = wrapped.split_first_chunk::<SALT>().expect("80 bytes are more than 32");
        let (counter, rest) = rest.split_first_chunk::<COUNTER>().expect("48 bytes are more than 16");
        let mut key: [u8; 32] = rest.try_into().expect("32 bytes are left");
        in_counter_mode(&self.key(salt), *counter, &mut key);
        PublicKey::from_bytes(key)
    }
}

/// HMAC-SHA256 under a key of less than a block, for messages of less than a block: two compressions each. The hashes of
/// the key are computed once, which halves the work of 131,072 rounds.
struct Keyed {
    inner: State,
    outer: State,
}

/// Of SHA-256.
type State = [u32; 8];

/// What SHA-256 starts from (FIPS 180-4, 5.3.3).
const INITIAL: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
/// Bytes that SHA-256 takes at a time.
const BLOCK: usize = 64;

impl Keyed {
    fn new(key: &[u8]) -> Self {
        let start = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(key).for_each(|(pad, byte)| *pad ^= byte);
            let mut state = INITIAL;
            compress256(&mut state, &[block]);
            state
        };
        Self { inner: start(0x36), outer: start(0x5c) }
    }

    /// Of a message that leaves room for the padding: at most 55 bytes.
    fn mac(&self, message: &[u8]) -> State {
        let mut inner = self.inner;
        compress256(&mut inner, &[last_block(message)]);
        let mut outer = self.outer;
        compress256(&mut outer, &[last_block(&to_bytes(&inner))]);
        outer
    }

    /// Of an earlier result.
    fn again(&self, last: &State) -> State {
        self.mac(&to_bytes(last))
    }
}

/// A message behind one whole block, with the end mark and the length of both in bits.
fn last_block(message: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..message.len()].copy_from_slice(message);
    block[message.len()] = 0x80;
    let bits = 8 * (BLOCK + message.len()) as u64;
    block[BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
    block
}

fn to_bytes(state: &State) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.chunks_exact_mut(4).zip(state).for_each(|(to, word)| to.copy_from_slice(&word.to_be_bytes()));
    bytes
}

/// The code is a secret for as long as it is good.
impl fmt::Debug for LinkCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkCode(..)")
    }
}

/// Five bytes as eight characters, most significant bits first.
pub(super) fn characters(bytes: [u8; 5]) -> String {
    let bits = bytes.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let index = |place: usize| (bits >> (5 * (LENGTH - 1 - place)) & 31) as usize;
    (0..LENGTH).map(|place| char::from(ALPHABET[index(place)])).collect()
}

/// With a dash in the middle.
pub(super) fn dashed(code: &str) -> String {
    let (left, right) = code.split_at_checked(LENGTH / 2).unwrap_or((code, ""));
    format!("{left}-{right}")
}

/// AES-256 in counter mode; the counter block is a big-endian number.
fn in_counter_mode(key: &[u8; 32], counter: [u8; COUNTER], data: &mut [u8; 32]) {
    let cipher = Aes256::new(&(*key).into());
    let mut counter = u128::from_be_bytes(counter);
    for piece in data.chunks_mut(COUNTER) {
        let mut block = counter.to_be_bytes().into();
        cipher.encrypt_block(&mut block);
        piece.iter_mut().zip(block.iter()).for_each(|(byte, pad)| *byte ^= pad);
        counter = counter.wrapping_add(1);
    }
}

/// What a companion says once somebody typed a code, and the secret with which the phone will vouch for it.
pub struct Finish {
    /// The wrapped bundle, [`BUNDLE`] bytes.
    pub bundle: Vec<u8>,
    /// Takes the place of the secret in the QR code.
    pub adv_secret: Zeroizing<[u8; 32]>,
}

/// Companion: answers the phone, whose ephemeral key was unwrapped with the code.
///
/// # Errors
/// A key of the phone's that agrees on nothing.
pub fn finish(
    ephemeral: &KeyPair,
    identity: &KeyPair,
    phone_ephemeral: &PublicKey,
    phone_identity: &PublicKey,
    rng: &mut dyn CryptoRng,
) -> Result<Finish, LinkCodeError> {
    let mut drawn = Drawn { random: [0; 32], salt: [0; SALT], iv: [0; IV] };
    rng.fill_bytes(&mut drawn.random);
    rng.fill_bytes(&mut drawn.salt);
    rng.fill_bytes(&mut drawn.iv);
    finish_with(ephemeral, identity, phone_ephemeral, phone_identity, &drawn)
}

/// What [`finish`] draws.
struct Drawn {
    random: [u8; 32],
    salt: [u8; SALT],
    iv: [u8; IV],
}

fn finish_with(
    ephemeral: &KeyPair,
    identity: &KeyPair,
    phone_ephemeral: &PublicKey,
    phone_identity: &PublicKey,
    drawn: &Drawn,
) -> Result<Finish, LinkCodeError> {
    let invalid = |_| LinkCodeError::InvalidKey;
    let shared = ephemeral.private.agree_checked(phone_ephemeral).map_err(invalid)?;
    let identities = identity.private.agree_checked(phone_identity).map_err(invalid)?;
    let plaintext = Zeroizing::new(
        [identity.public.as_bytes().as_slice(), phone_identity.as_bytes(), &drawn.random].concat(),
    );
    let payload = Payload { msg: &plaintext, aad: &[] };
    let sealed = bundle_cipher(&shared, &drawn.salt)
        .encrypt(&drawn.iv.into(), payload)
        .expect("far below GCM's 64 GiB");
    let bundle = [drawn.salt.as_slice(), &drawn.iv, &sealed].concat();
    Ok(Finish { bundle, adv_secret: adv_secret(&shared, &identities, &drawn.random) })
}

/// Phone: opens a companion's bundle. The secret to vouch for it with.
///
/// # Errors
/// The bundle has another size, or the companion showed another code than was typed.
pub fn open_bundle(
    bundle: &[u8],
    ephemeral: &KeyPair,
    identity: &KeyPair,
    companion_ephemeral: &PublicKey,
    companion_identity: &PublicKey,
) -> Result<Zeroizing<[u8; 32]>, LinkCodeError> {
    let bundle: &[u8; BUNDLE] = bundle.try_into().map_err(|_| LinkCodeError::Malformed)?;
    let (salt, rest) = bundle.split_first_chunk::<SALT>().ok_or(LinkCodeError::Malformed)?;
    let (iv, sealed) = rest.split_first_chunk::<IV>().ok_or(LinkCodeError::Malformed)?;
    // Of a wrong code the key is noise, and noise may be of low order as well.
    let shared =
        ephemeral.private.agree_checked(companion_ephemeral).map_err(|_| LinkCodeError::WrongCode)?;
    let opened = bundle_cipher(&shared, salt).decrypt(&(*iv).into(), Payload { msg: sealed, aad: &[] });
    let opened = Zeroizing::new(opened.map_err(|_| LinkCodeError::WrongCode)?);
    let (companion, rest) = opened.split_first_chunk::<32>().ok_or(LinkCodeError::Malformed)?;
    let (phone, random) = rest.split_first_chunk::<32>().ok_or(LinkCodeError::Malformed)?;
    let ours = companion.ct_eq(companion_identity.as_bytes()) & phone.ct_eq(identity.public.as_bytes());
    if !bool::from(ours) {
        return Err(LinkCodeError::WrongCode);
    }
    let identities =
        identity.private.agree_checked(companion_identity).map_err(|_| LinkCodeError::InvalidKey)?;
    Ok(adv_secret(&shared, &identities, random))
}

fn bundle_cipher(shared: &[u8; 32], salt: &[u8; SALT]) -> Aes256Gcm {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), shared).expand(BUNDLE_INFO, &mut *key).expect("32 ≤ 255 · 32");
    Aes256Gcm::new(&(*key).into())
}

fn adv_secret(shared: &[u8; 32], identities: &[u8; 32], random: &[u8]) -> Zeroizing<[u8; 32]> {
    let material = Zeroizing::new([shared.as_slice(), identities, random].concat());
    let mut secret = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, &material).expand(SECRET_INFO, &mut *secret).expect("32 ≤ 255 · 32");
    secret
}

#[cfg(test)]
mod tests;
