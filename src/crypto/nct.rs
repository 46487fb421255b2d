//! The token that stands in where nobody trusts the account yet: proof that the sender knows its own account's NCT salt,
//! made for one recipient (protocol 06, 3.6; whatsapp-rust 0.7 and whatsmeow make the same).

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// `cstoken`: HMAC-SHA256, keyed with the salt as it is, of the recipient's LID without a device.
pub fn contact_token(salt: &[u8], lid_user: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt).expect("HMAC takes keys of any length");
    mac.update(lid_user.as_bytes());
    mac.update(b"@lid");
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_for_alice_is_the_published_one() {
        assert_eq!(
            hex::encode(contact_token(b"whatsapp_nct_salt_example", "alice")),
            "7c6afc325785ac3c4f571e648a3bb822f0e2e49434812ed2809aea2e7043b576"
        );
    }
}
