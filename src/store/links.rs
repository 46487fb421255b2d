//! Links that let whoever holds them fetch one file without a token, for a while: how they are signed.

use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::CryptoRng;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Error, Tx};
use crate::clock::Millis;

/// Setting: the key of all links, in hex. Forgetting it ends them.
const KEY: &str = "links.key";

/// Signs and knows links.
pub struct LinkKey(Zeroizing<[u8; 32]>);

impl LinkKey {
    fn mac(&self, message_id: &str, expires: u64) -> Hmac<Sha256> {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.as_slice()) else {
            unreachable!("HMAC takes keys of any length")
        };
        mac.update(b"wazap media\0");
        mac.update(&expires.to_be_bytes());
        mac.update(message_id.as_bytes());
        mac
    }

    /// For the file of a message, up to that time in Unix seconds: 64 hex characters.
    pub fn sign(&self, message_id: &str, expires: u64) -> String {
        hex::encode(self.mac(message_id, expires).finalize().into_bytes())
    }

    /// Whether a link was signed here and still holds. Compares in constant time.
    pub fn holds(&self, message_id: &str, expires: u64, signature: &str, now: Millis) -> bool {
        let signature = hex::decode(signature).unwrap_or_default();
        self.mac(message_id, expires).verify_slice(&signature).is_ok() && now.secs() < expires
    }
}

pub struct Links<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// Links to files.
    pub fn links(&self) -> Links<'_> {
        Links(self)
    }
}

impl Links<'_> {
    /// The key; `None`: no link was made yet.
    pub fn known(&self) -> Result<Option<LinkKey>, Error> {
        let Some(text) = self.0.settings().get(KEY)?.map(Zeroizing::new) else { return Ok(None) };
        let mut key = Zeroizing::new([0; 32]);
        Ok(hex::decode_to_slice(text.as_bytes(), key.as_mut_slice()).is_ok().then_some(LinkKey(key)))
    }

    /// The key, made if there is none.
    pub fn key(&self, rng: &mut dyn CryptoRng) -> Result<LinkKey, Error> {
        if let Some(key) = self.known()? {
            return Ok(key);
        }
        let mut key = Zeroizing::new([0; 32]);
        rng.fill_bytes(key.as_mut_slice());
        self.0.settings().set(KEY, &Zeroizing::new(hex::encode(key.as_slice())))?;
        Ok(LinkKey(key))
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn a_link_holds_for_its_file_and_its_time() {
        let store = Store::in_memory().unwrap();
        assert!(store.read(|tx| tx.links().known().map(|key| key.is_none())).await.unwrap());
        let made = store.write(|tx| tx.links().key(&mut StdRng::seed_from_u64(1))).await.unwrap();
        let known = store.read(|tx| tx.links().known()).await.unwrap().unwrap();
        let signature = made.sign("3EB0", 100);
        assert!(signature.len() == 64 && known.holds("3EB0", 100, &signature, Millis(99_999)));
        for (id, expires, now) in [("3EB0", 100, 100_000), ("3EB1", 100, 0), ("3EB0", 101, 0)] {
            assert!(!known.holds(id, expires, &signature, Millis(now)));
        }
        for wrong in ["", "00", &signature[1..], &"é".repeat(32)] {
            assert!(!known.holds("3EB0", 100, wrong, Millis(0)));
        }
    }
}
