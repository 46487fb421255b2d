//! Frames: three bytes of length, then the payload; and what a client says in front of its first one.

/// Largest payload: what three bytes of length can say.
pub const MAX: usize = (1 << 24) - 1;
/// Bytes of length in front of every payload.
pub const HEADER: usize = 3;
/// The four bytes before a client's first frame: 'W' 'A', protocol magic 6, dictionary version 3.
/// They are also the prologue of the Noise handshake.
pub const INTRO: [u8; 4] = [b'W', b'A', 6, 3];

/// The payload does not fit into a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("frame over 16 MiB")]
pub struct TooLarge;

/// The payload with its length in front.
pub fn encode(payload: &[u8]) -> Result<Vec<u8>, TooLarge> {
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend(header(payload.len())?);
    frame.extend_from_slice(payload);
    Ok(frame)
}

/// The three bytes of length, big-endian.
pub(super) fn header(length: usize) -> Result<[u8; HEADER], TooLarge> {
    if length > MAX {
        return Err(TooLarge);
    }
    let [_, b0, b1, b2] = u32::try_from(length).map_err(|_| TooLarge)?.to_be_bytes();
    Ok([b0, b1, b2])
}

/// Collects what the socket brings and cuts it into frames. A message may carry several, and a frame may span messages.
///
/// Holds at most what was pushed and not yet taken: take every frame out after each push.
#[derive(Default)]
pub struct Reader {
    bytes: Vec<u8>,
    /// How much of `bytes` has been taken out already.
    taken: usize,
}

/// Room above this is given back as soon as the buffer is empty.
const KEPT_ROOM: usize = 16 << 10;

impl Reader {
    /// Appends what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame's payload, once all of it is there.
    #[allow(clippy::should_implement_trait, reason = "not an iterator: after `None` more may come")]
    pub fn next(&mut self) -> Option<Vec<u8>> {
        let waiting = self.bytes.get(self.taken..)?;
        let (&[b0, b1, b2], rest) = waiting.split_first_chunk()?;
        let length = u32::from_be_bytes([0, b0, b1, b2]) as usize;
        let frame = rest.get(..length)?.to_vec();
        self.taken += HEADER + length;
        if self.taken == self.bytes.len() {
            self.taken = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_ROOM);
        }
        Some(frame)
    }

    /// Bytes that wait for the rest of their frame.
    pub fn waiting(&self) -> usize {
        self.bytes.len() - self.taken
    }
}

/// The first bytes are not those of a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the connection does not begin like a WhatsApp client")]
pub struct BadIntro;

/// Longest routing information taken from a client that has proved nothing yet. Real ones are tens of bytes.
const MAX_ROUTING: usize = 16 << 10;

/// Client side: the edge-routing header in front of the intro. Empty for information too long to be any.
pub fn routing_header(info: &[u8]) -> Vec<u8> {
    let Ok(length) = u32::try_from(info.len()) else { return Vec::new() };
    if info.is_empty() || info.len() > MAX_ROUTING {
        return Vec::new();
    }
    let [_, b0, b1, b2] = length.to_be_bytes();
    let mut header = vec![b'E', b'D', 0, 1, b0, b1, b2];
    header.extend_from_slice(info);
    header
}

/// Server side: how many bytes the optional edge-routing header and the intro take at the front of the first bytes;
/// what follows are frames. `None`: more bytes are needed.
///
/// The header is `'E' 'D' 00 01`, three bytes of length, and so many bytes of routing information.
pub fn read_intro(first: &[u8]) -> Result<Option<usize>, BadIntro> {
    let start = match first {
        [] | [b'E'] => return Ok(None),
        [b'E', b'D', rest @ ..] => match rest {
            [_, _, b0, b1, b2, ..] => {
                let length = u32::from_be_bytes([0, *b0, *b1, *b2]) as usize;
                if length > MAX_ROUTING {
                    return Err(BadIntro);
                }
                7 + length
            }
            _ => return Ok(None),
        },
        _ => 0,
    };
    let intro = first.get(start..).unwrap_or_default();
    let seen = intro.len().min(INTRO.len());
    if intro.get(..seen) != INTRO.get(..seen) {
        return Err(BadIntro);
    }
    Ok((seen == INTRO.len()).then_some(start + INTRO.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(reader: &mut Reader) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| reader.next()).collect()
    }

    #[test]
    fn a_frame_of_every_length_class_survives() {
        for length in [0, 1, 255, 256, 65_535, 65_536, MAX] {
            let mut reader = Reader::default();
            reader.push(&encode(&vec![7; length]).unwrap());
            assert_eq!(reader.next().map(|frame| frame.len()), Some(length));
            assert_eq!((reader.next(), reader.waiting()), (None, 0));
            assert!(reader.bytes.capacity() <= KEPT_ROOM);
        }
        assert_eq!(encode(&vec![0; MAX + 1]), Err(TooLarge));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn chunking_does_not_matter(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..12),
            cuts in prop::collection::vec(1..700_usize, 1..20),
        ) {
            let stream: Vec<u8> = frames.iter().flat_map(|frame| encode(frame).unwrap()).collect();
            let (mut reader, mut seen, mut rest) = (Reader::default(), Vec::new(), stream.as_slice());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, tail) = rest.split_at((*cut).min(rest.len()));
                reader.push(chunk);
                seen.extend(all(&mut reader));
                rest = tail;
            }
            prop_assert_eq!(seen, frames);
            prop_assert_eq!(reader.waiting(), 0);
        }

        #[test]
        fn the_intro_never_panics(first in prop::collection::vec(any::<u8>(), 0..16)) {
            let _ = read_intro(&first);
        }
    }

    #[test]
    fn the_intro_is_found_with_and_without_routing() {
        let mut routed = b"ED\0\x01\0\0\x05route".to_vec();
        routed.extend(INTRO);
        for intro in [INTRO.to_vec(), routed] {
            for short in 0..intro.len() {
                assert_eq!(read_intro(&intro[..short]), Ok(None), "{short}");
            }
            let mut more = intro.clone();
            more.extend([0, 0, 0]);
            assert_eq!(read_intro(&more), Ok(Some(intro.len())));
        }
        let wrong: [&[u8]; 6] =
            [b"G", b"GET / HTTP/1.1", b"WA\x06\x02", b"EX", b"ED\0\x01\0\0\0X", b"ED\0\x01\xff\xff\xff"];
        for wrong in wrong {
            assert_eq!(read_intro(wrong), Err(BadIntro), "{wrong:?}");
        }
    }
}
