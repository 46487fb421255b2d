//! App state ("syncd"): five collections of records `index → value` that all devices of an account share. The server
//! keeps them as a log of encrypted patches and reads nothing of it (protocol 04, 8 and 9).
//!
//! | file | what it owns |
//! |---|---|
//! | `keys` | one sync key expanded: value encryption, the MACs of index, value, patch and snapshot |
//! | `lt_hash` | the sum over all records of a collection |
//! | `read` | a patch or a snapshot: every MAC checked before anything of it is handed on |
//! | `write` | changes as a patch; the records of a collection as a snapshot |
//! | `rotation` | which key is written with, and when it is time for another one |
//! | `entries` | records one by one out of a serialized list, so that no list sizes memory |

mod entries;
mod keys;
mod lt_hash;
mod read;
mod rotation;
mod write;

pub use entries::fuzz_app_state;
pub use keys::SyncKeys;
pub use lt_hash::LtHash;
pub use read::{
    Applied, Mutation, ReadError, apply_patch, apply_snapshot, external_of, mutations, sealed_records,
};
pub use rotation::{Fingerprint, KEY_DAYS, SyncKey};
pub use write::{Change, WriteKeys, build_patch, build_snapshot, with_version};

/// Of an index, a value, a patch or a snapshot.
pub type Mac = [u8; 32];

/// The five collections, in the order in which Baileys asks for them (protocol 04, 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collection {
    /// Own push name, locale, security settings.
    CriticalBlock,
    /// Contacts.
    CriticalUnblockLow,
    /// Mute, star, deletions.
    RegularHigh,
    /// Pin, archive, read state.
    RegularLow,
    /// Labels, quick replies.
    Regular,
}

impl Collection {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::CriticalBlock, Self::CriticalUnblockLow, Self::RegularHigh, Self::RegularLow, Self::Regular];

    /// The name on the wire, part of every aggregate MAC.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CriticalBlock => "critical_block",
            Self::CriticalUnblockLow => "critical_unblock_low",
            Self::RegularHigh => "regular_high",
            Self::RegularLow => "regular_low",
            Self::Regular => "regular",
        }
    }

    /// By its name on the wire.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|collection| collection.as_str() == name)
    }
}

/// What a mutation does to its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Puts the record, or replaces it.
    Set,
    /// Takes it away.
    Remove,
}

impl Operation {
    /// SyncdMutation.SyncdOperation.
    pub const fn code(self) -> i32 {
        match self {
            Self::Set => 0,
            Self::Remove => 1,
        }
    }

    /// From the wire; absent means SET.
    pub const fn from_code(code: i32) -> Option<Self> {
        match code {
            0 => Some(Self::Set),
            1 => Some(Self::Remove),
            _ => None,
        }
    }
}

/// Where a collection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// 0: nothing was ever read.
    pub version: u64,
    /// Over all records.
    pub hash: LtHash,
}

impl Default for State {
    fn default() -> Self {
        Self { version: 0, hash: LtHash::EMPTY }
    }
}

/// What reading and writing need to look up. Errors are those of whatever keeps it.
pub trait Records {
    /// Of the storage.
    type Error;
    /// The value MAC in force under an index MAC.
    fn value_mac(&self, index: &Mac) -> Result<Option<Mac>, Self::Error>;
    /// The keys with this id.
    fn keys(&self, id: &[u8]) -> Result<Option<SyncKeys>, Self::Error>;
}
