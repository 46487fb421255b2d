//! The dictionaries, version 3: strings that travel as one or two bytes.
//!
//! `tokens.txt` holds one entry a line: 236 of the single-byte table, whose index 0 stays empty, then four double-byte
//! tables of 256. The entries are those of `lib/WABinary/constants.js` in npm `baileys` 7.0.0-rc14; crate
//! `wacore-binary` 0.7.0 (`src/tokens.json`) and whatsmeow (`binary/token/token.go`) hold the same.
//!
//! Everything is computed at build time and stays in read-only pages, which many processes share.

/// Entries of the single-byte table, the empty one included.
const SINGLE: usize = 236;
/// Entries of one double-byte table.
const DOUBLE: usize = 256;
const COUNT: usize = SINGLE + 4 * DOUBLE;
/// More than twice the entries, so that a search ends after a step or two.
const SLOTS: usize = 4096;
const LONGEST: usize = 48;

static TEXT: &str = include_str!("tokens.txt");
/// Where each entry's line ends.
static ENDS: [u16; COUNT] = ends(TEXT.as_bytes());
/// Open addressing by [`hash`]; 0 is a free slot, for index 0 is no token.
static INDEX: [u16; SLOTS] = index(TEXT.as_bytes(), &ENDS);

/// How a string is spelt by the dictionaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// One byte, 1–235.
    Single(u8),
    /// Table 0–3 and the index in it.
    Double(u8, u8),
}

/// The entry of the single-byte table; `None` for 0 and what lies beyond the table.
pub(super) fn single(index: u8) -> Option<&'static str> {
    let index = usize::from(index);
    (1..SINGLE).contains(&index).then(|| entry(index)).flatten()
}

/// The entry of a double-byte table, 0–3.
pub(super) fn double(table: u8, index: u8) -> Option<&'static str> {
    (table < 4).then(|| entry(SINGLE + usize::from(table) * DOUBLE + usize::from(index))).flatten()
}

/// The token that spells this text.
pub(super) fn find(text: &str) -> Option<Token> {
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    let mut slot = hash(text.as_bytes(), 0, text.len());
    loop {
        let at = usize::from(*INDEX.get(slot)?);
        if at == 0 {
            return None;
        }
        if entry(at) == Some(text) {
            return match at.checked_sub(SINGLE) {
                None => u8::try_from(at).ok().map(Token::Single),
                Some(at) => {
                    Some(Token::Double(u8::try_from(at / DOUBLE).ok()?, u8::try_from(at % DOUBLE).ok()?))
                }
            };
        }
        slot = (slot + 1) % SLOTS;
    }
}

fn entry(at: usize) -> Option<&'static str> {
    let start = if at == 0 { 0 } else { usize::from(*ENDS.get(at - 1)?) + 1 };
    TEXT.get(start..usize::from(*ENDS.get(at)?))
}

/// FNV-1a, folded to a slot.
const fn hash(text: &[u8], start: usize, end: usize) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut at = start;
    while at < end {
        hash = (hash ^ text[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    ((hash >> 16) ^ hash) as usize % SLOTS
}

const fn ends(text: &[u8]) -> [u16; COUNT] {
    assert!(text.len() < u16::MAX as usize);
    let mut ends = [0; COUNT];
    let (mut at, mut entry) = (0, 0);
    while at < text.len() {
        if text[at] == b'\n' {
            ends[entry] = at as u16;
            entry += 1;
        }
        at += 1;
    }
    assert!(entry == COUNT, "tokens.txt does not hold the five tables");
    ends
}

const fn index(text: &[u8], ends: &[u16; COUNT]) -> [u16; SLOTS] {
    let mut slots = [0; SLOTS];
    let mut entry = 1;
    while entry < COUNT {
        let mut slot = hash(text, ends[entry - 1] as usize + 1, ends[entry] as usize);
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = entry as u16;
        entry += 1;
    }
    slots
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_tables_are_the_published_ones() {
        let all: Vec<&str> = TEXT.lines().collect();
        let sum = |entries: &[&str]| hex::encode(Sha256::digest(entries.join("\n")));
        assert_eq!(sum(&all[..236]), "1e8302d2aba0d8c40d09fd79fc9c70347350cb00926dd0e3565683b347be35a5");
        for (table, expected) in [
            "c19c763b07f7684fc58490eb838873edeec498d59bf4d56bbb33d8e7af4cb112",
            "e8894a798e1d92bc5f5f5cd1c2ffeef43a5c03acb1775b34d121ffe0a19b8f6a",
            "8f4081781e324d9ab95574b01ff37a44753403cebd0d1feeeb985661cc86cae8",
            "8e397aec42a6a503621910cf3d7a8f9e287e94192031265b6e55519e0e19fadc",
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(sum(&all[236 + 256 * table..][..256]), expected);
        }
    }

    #[test]
    fn every_token_is_found_where_it_stands() {
        for index in 1..=235 {
            assert_eq!(find(single(index).unwrap()), Some(Token::Single(index)));
        }
        for (table, index) in (0..4).flat_map(|table| (0..=255).map(move |index| (table, index))) {
            assert_eq!(find(double(table, index).unwrap()), Some(Token::Double(table, index)));
        }
        assert_eq!((single(0), single(236), double(4, 0)), (None, None, None));
        assert_eq!(find("pair-device"), Some(Token::Double(1, 238)));
        assert_eq!(find("false"), Some(Token::Double(0, 15)));
        for absent in ["", "hosted", "hosted.lid", "bot", "interop", "newsletter", "c.us", "Iq", "iq\nx"] {
            assert_eq!(find(absent), None, "{absent}");
        }
    }
}
