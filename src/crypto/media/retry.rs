//! Media retry: the own phone is asked to upload a file again, and says where it did. Both directions of both
//! messages, since the simulated phone answers.
//!
//! `HKDF(media key, "WhatsApp Media Retry Notification", 32)`, AES-256-GCM, the message's id as additional data.

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use hkdf::Hkdf;
use prost::Message as _;
use rand::CryptoRng;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::proto::{MediaRetryNotification, ServerErrorReceipt, media_retry_notification::ResultType};

/// `<enc_p>` and `<enc_iv>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Ciphertext, and the tag of 16 bytes behind it.
    pub ciphertext: Vec<u8>,
    pub iv: [u8; 12],
}

/// What the phone says.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    /// Uploaded again. Media key, hashes and length are those of the message.
    Uploaded {
        /// Begins with `/`.
        direct_path: String,
        message_secret: Option<Vec<u8>>,
    },
    Failed(Failure),
}

/// Why the phone did not upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    General,
    /// The phone does not have the file any more: asking again is of no use.
    NotFound,
    /// The phone could not read the request.
    Decryption,
}

impl Failure {
    /// From `<error code>` of an answer that is not encrypted; it counts like the result inside one.
    pub fn from_code(code: u32) -> Self {
        match code {
            2 => Self::NotFound,
            3 => Self::Decryption,
            _ => Self::General,
        }
    }
}

/// Why a retry message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    #[error("an IV of {0} bytes")]
    IvLength(usize),
    #[error("not encrypted with this media key for this message")]
    Undecryptable,
    #[error("the decrypted bytes are no retry message")]
    Malformed,
    #[error("the decrypted answer is about another message")]
    OtherMessage,
    #[error("the phone claims success without saying where")]
    NoPath,
}

impl Sealed {
    /// From the contents of the two nodes.
    pub fn new(ciphertext: Vec<u8>, iv: &[u8]) -> Result<Self, RetryError> {
        let iv = iv.try_into().map_err(|_| RetryError::IvLength(iv.len()))?;
        Ok(Self { ciphertext, iv })
    }
}

/// Companion → phone: upload the media of `message_id` again.
pub fn seal_request(media_key: &[u8; 32], message_id: &str, rng: &mut dyn CryptoRng) -> Sealed {
    let receipt = ServerErrorReceipt { stanza_id: Some(message_id.to_owned()) };
    seal(media_key, message_id, &receipt.encode_to_vec(), fresh_iv(rng))
}

/// The phone reads a request about `message_id`.
pub fn open_request(media_key: &[u8; 32], message_id: &str, sealed: &Sealed) -> Result<(), RetryError> {
    let plaintext = open(media_key, message_id, sealed)?;
    let receipt = ServerErrorReceipt::decode(&*plaintext).map_err(|_| RetryError::Malformed)?;
    if receipt.stanza_id.as_deref() != Some(message_id) {
        return Err(RetryError::OtherMessage);
    }
    Ok(())
}

/// Phone → companion.
pub fn seal_answer(
    media_key: &[u8; 32],
    message_id: &str,
    answer: &Answer,
    rng: &mut dyn CryptoRng,
) -> Sealed {
    let (result, direct_path, message_secret) = match answer.clone() {
        Answer::Uploaded { direct_path, message_secret } => {
            (ResultType::Success, Some(direct_path), message_secret)
        }
        Answer::Failed(Failure::General) => (ResultType::GeneralError, None, None),
        Answer::Failed(Failure::NotFound) => (ResultType::NotFound, None, None),
        Answer::Failed(Failure::Decryption) => (ResultType::DecryptionError, None, None),
    };
    let notification = MediaRetryNotification {
        stanza_id: Some(message_id.to_owned()),
        direct_path,
        result: Some(result.into()),
        message_secret,
    };
    seal(media_key, message_id, &notification.encode_to_vec(), fresh_iv(rng))
}

/// The companion reads the answer about `message_id`. An id inside that is another is refused; a missing one is not,
/// since the additional data already binds the answer to the message.
pub fn open_answer(media_key: &[u8; 32], message_id: &str, sealed: &Sealed) -> Result<Answer, RetryError> {
    let plaintext = open(media_key, message_id, sealed)?;
    let answer = MediaRetryNotification::decode(&*plaintext).map_err(|_| RetryError::Malformed)?;
    if answer.stanza_id.as_deref().is_some_and(|id| id != message_id) {
        return Err(RetryError::OtherMessage);
    }
    Ok(match answer.result() {
        ResultType::Success => {
            let direct_path = answer.direct_path.filter(|path| path.starts_with('/'));
            Answer::Uploaded {
                direct_path: direct_path.ok_or(RetryError::NoPath)?,
                message_secret: answer.message_secret,
            }
        }
        ResultType::GeneralError => Answer::Failed(Failure::General),
        ResultType::NotFound => Answer::Failed(Failure::NotFound),
        ResultType::DecryptionError => Answer::Failed(Failure::Decryption),
    })
}

fn cipher(media_key: &[u8; 32]) -> Aes256Gcm {
    let mut key = Zeroizing::new([0; 32]);
    let info = b"WhatsApp Media Retry Notification";
    Hkdf::<Sha256>::new(None, media_key).expand(info, &mut *key).expect("32 ≤ 255 · 32");
    Aes256Gcm::new(&(*key).into())
}

fn fresh_iv(rng: &mut dyn CryptoRng) -> [u8; 12] {
    let mut iv = [0; 12];
    rng.fill_bytes(&mut iv);
    iv
}

fn seal(media_key: &[u8; 32], message_id: &str, plaintext: &[u8], iv: [u8; 12]) -> Sealed {
    let payload = Payload { msg: plaintext, aad: message_id.as_bytes() };
    let ciphertext = cipher(media_key).encrypt(&iv.into(), payload).expect("far below GCM's 64 GiB");
    Sealed { ciphertext, iv }
}

fn open(media_key: &[u8; 32], message_id: &str, sealed: &Sealed) -> Result<Vec<u8>, RetryError> {
    let payload = Payload { msg: &sealed.ciphertext, aad: message_id.as_bytes() };
    cipher(media_key).decrypt(&sealed.iv.into(), payload).map_err(|_| RetryError::Undecryptable)
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::{super::tests::vector_key, *};

    const ID: &str = "3EB0C767D82B1A2E5F00";

    /// Recomputed independently of any client.
    #[test]
    fn a_request_is_sealed_as_the_protocol_says() {
        let iv = std::array::from_fn(|i| 0xa0 + i as u8);
        let receipt = ServerErrorReceipt { stanza_id: Some(ID.to_owned()) };
        let sealed = seal(&vector_key(), ID, &receipt.encode_to_vec(), iv);
        assert_eq!(
            hex::encode(&sealed.ciphertext),
            "45328a6b77057f5c8536efec0c0afee5d87c30b5871325d5c1f5f70c2d687fca894359a18570"
        );
        assert_eq!(open_request(&vector_key(), ID, &sealed), Ok(()));
    }

    #[test]
    fn success_without_a_path_is_refused() {
        for direct_path in [None, Some(String::new()), Some("v/t62".to_owned())] {
            let answer = MediaRetryNotification {
                direct_path,
                result: Some(ResultType::Success.into()),
                ..Default::default()
            };
            let sealed = seal(&[1; 32], ID, &answer.encode_to_vec(), [0; 12]);
            assert!(open_answer(&[1; 32], ID, &sealed) == Err(RetryError::NoPath));
        }
    }

    #[test]
    fn an_answer_inside_about_another_message_is_refused() {
        let answer = MediaRetryNotification { stanza_id: Some("3EB0".to_owned()), ..Default::default() };
        let sealed = seal(&[1; 32], ID, &answer.encode_to_vec(), [0; 12]);
        assert!(open_answer(&[1; 32], ID, &sealed) == Err(RetryError::OtherMessage));
        let sealed = seal(&[1; 32], ID, &ServerErrorReceipt::default().encode_to_vec(), [0; 12]);
        assert_eq!(open_request(&[1; 32], ID, &sealed), Err(RetryError::OtherMessage));
        let sealed = seal(&[1; 32], ID, &[0xff], [0; 12]);
        assert!(open_answer(&[1; 32], ID, &sealed) == Err(RetryError::Malformed));
    }

    #[test]
    fn every_answer_comes_back() {
        let mut rng = StdRng::seed_from_u64(1);
        let path = "/v/t62.7118-24/1?oh=2".to_owned();
        for answer in [
            Answer::Uploaded { direct_path: path, message_secret: Some(vec![5; 32]) },
            Answer::Failed(Failure::from_code(2)),
            Answer::Failed(Failure::from_code(3)),
            Answer::Failed(Failure::from_code(99)),
        ] {
            let sealed = seal_answer(&[1; 32], ID, &answer, &mut rng);
            assert!(open_answer(&[1; 32], ID, &sealed) == Ok(answer));
            assert!(open_answer(&[1; 32], "3EB0", &sealed) == Err(RetryError::Undecryptable));
            assert!(open_answer(&[2; 32], ID, &sealed) == Err(RetryError::Undecryptable));
        }
    }
}
