//! Padding of `<enc v="2">` plaintexts: n bytes of value n, which blurs the length of short texts.

use rand::CryptoRng;

/// Appends 1 to 16 bytes, as WhatsApp Web does.
pub fn pad(mut message: Vec<u8>, rng: &mut dyn CryptoRng) -> Vec<u8> {
    let n = (rng.next_u32() & 0x0f) as u8 + 1;
    message.resize(message.len() + usize::from(n), n);
    message
}

/// None: the padding is broken. A sender may use any n up to 255; all n bytes are checked.
pub fn unpad(padded: &[u8]) -> Option<&[u8]> {
    let n = *padded.last()?;
    let (message, padding) = padded.split_at(padded.len().checked_sub(n.into())?);
    (n > 0 && padding.iter().all(|byte| *byte == n)).then_some(message)
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn what_was_padded_comes_back_and_every_length_of_padding_occurs() {
        let mut rng = StdRng::seed_from_u64(3);
        let mut seen = [false; 17];
        for _ in 0..500 {
            let padded = pad(b"hello".to_vec(), &mut rng);
            assert_eq!(unpad(&padded), Some(&b"hello"[..]));
            seen[padded.len() - 5] = true;
        }
        assert_eq!(seen.iter().filter(|seen| **seen).count(), 16);
        assert!(!seen[0]);
    }

    #[test]
    fn broken_padding_is_refused() {
        assert_eq!(unpad(&[1]), Some(&[][..]));
        assert_eq!(unpad(&[]), None);
        assert_eq!(unpad(&[0]), None);
        assert_eq!(unpad(&[7, 0]), None);
        assert_eq!(unpad(&[3, 3]), None, "longer than the whole");
        assert_eq!(unpad(&[1, 2, 3, 3]), None, "one of three is wrong");
        assert_eq!(unpad(&[9; 300]).map(<[u8]>::len), Some(291));
    }
}
