//! Records one by one. A list decoded whole would take a hundred times the memory of its bytes where somebody fills it
//! with empty entries; each entry alone is at most as large as its bytes.

use std::{collections::BTreeMap, convert::Infallible};

use prost::{
    Message as _,
    encoding::{WireType, decode_key, decode_varint},
};

use super::{
    Collection, KEY_DAYS, LtHash, Mac, Records, State, SyncKey, SyncKeys, apply_patch, apply_snapshot,
};
use crate::{clock::Millis, proto::message::AppStateSyncKey};

/// The length-delimited entries with field number `field` in a serialized message, in order. `None` once where the
/// bytes are no message; nothing follows it.
pub(super) struct Entries<'a> {
    rest: &'a [u8],
    field: u32,
}

impl<'a> Entries<'a> {
    pub(super) const fn new(message: &'a [u8], field: u32) -> Self {
        Self { rest: message, field }
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next entry of any field; `Some(None)` for one that is not wanted.
    fn step(&mut self) -> Option<Option<&'a [u8]>> {
        let (field, wire) = decode_key(&mut self.rest).ok()?;
        let entry = match wire {
            WireType::Varint => {
                decode_varint(&mut self.rest).ok()?;
                return Some(None);
            }
            WireType::ThirtyTwoBit => self.take(4)?,
            WireType::SixtyFourBit => self.take(8)?,
            WireType::LengthDelimited => {
                let len = decode_varint(&mut self.rest).ok()?;
                self.take(usize::try_from(len).ok()?)?
            }
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        Some((field == self.field && wire == WireType::LengthDelimited).then_some(entry))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            match self.step() {
                Some(None) => {}
                Some(entry) => return Some(entry),
                None => {
                    self.rest = &[];
                    return Some(None);
                }
            }
        }
        None
    }
}

/// Reads `data` as a patch, as a snapshot, as a patch's external part, and as a key that is shared. Panics where what
/// nobody sealed is believed.
pub fn fuzz_app_state(data: &[u8]) {
    struct OneKey(BTreeMap<Mac, Mac>);
    impl Records for OneKey {
        type Error = Infallible;
        fn value_mac(&self, index: &Mac) -> Result<Option<Mac>, Infallible> {
            Ok(self.0.get(index).copied())
        }
        fn keys(&self, id: &[u8]) -> Result<Option<SyncKeys>, Infallible> {
            Ok((id == [1]).then(|| SyncKeys::derive(&[7; 32])))
        }
    }
    let records = OneKey(BTreeMap::new());
    let name = Collection::Regular;
    let start = State { version: 3, hash: LtHash::EMPTY };
    for (patch, external) in [(data, None), (&[][..], Some(data)), (data, Some(data))] {
        let mut state = start.clone();
        assert!(apply_patch(&mut state, name, patch, external, &records).is_err());
        assert_eq!(state, start, "a refused patch changes nothing");
    }
    assert!(apply_snapshot(name, data, &records, |_| Ok(())).is_err());
    let id = data.get(..6).unwrap_or(data);
    if let Some(key) = AppStateSyncKey::decode(data).ok().and_then(|key| SyncKey::of(id, &key)) {
        let own = key.fingerprint.clone().unwrap_or_default();
        key.is_stale(&own, KEY_DAYS, Millis(0));
        assert_eq!(SyncKey::of(id, &key.shared()), Some(key), "what is shared on is what came");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_one_field_come_in_order_and_what_is_broken_ends_them() {
        let message = [0x12, 2, 1, 2, 0x08, 0x96, 1, 0x1a, 1, 9, 0x12, 0, 0x25, 1, 2, 3, 4, 0x12, 1, 3];
        let all: Vec<_> = Entries::new(&message, 2).collect();
        assert_eq!(all, [Some(&[1, 2][..]), Some(&[][..]), Some(&[3][..])]);
        for broken in
            [&[0x12, 5, 1][..], &[0x12], &[0x0b], &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]]
        {
            let all: Vec<_> = Entries::new(broken, 2).collect();
            assert_eq!(all, [None], "{broken:?}");
        }
    }
}
