//! App state on its own: against patches that Baileys wrote, and properties that hold for any.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a helper that fails is a test that fails")]

use std::{cell::RefCell, collections::BTreeMap, convert::Infallible};

use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use wazap::crypto::app_state::{
    Applied, Change, Collection, LtHash, Mac, Mutation, Operation, ReadError, Records, State, SyncKeys,
    WriteKeys, apply_patch, apply_snapshot, build_patch, build_snapshot, fuzz_app_state, sealed_records,
    with_version,
};

const KEY: [u8; 32] = [3; 32];
const KEY_ID: [u8; 6] = [0, 0, 0, 0, 0, 1];

/// A device's records in memory.
struct Device {
    keys: BTreeMap<Vec<u8>, SyncKeys>,
    macs: RefCell<BTreeMap<Mac, Mac>>,
    state: State,
}

impl Records for Device {
    type Error = Infallible;
    fn value_mac(&self, index: &Mac) -> Result<Option<Mac>, Infallible> {
        Ok(self.macs.borrow().get(index).copied())
    }
    fn keys(&self, id: &[u8]) -> Result<Option<SyncKeys>, Infallible> {
        Ok(self.keys.get(id).cloned())
    }
}

impl Device {
    fn new(id: &[u8], key: &[u8; 32]) -> Self {
        let keys = BTreeMap::from([(id.to_vec(), SyncKeys::derive(key))]);
        Self { keys, macs: RefCell::default(), state: State::default() }
    }

    fn keep(&self, mutation: &Mutation) {
        match mutation.operation {
            Operation::Set => self.macs.borrow_mut().insert(mutation.index_mac, mutation.value_mac),
            Operation::Remove => self.macs.borrow_mut().remove(&mutation.index_mac),
        };
    }

    fn take(&mut self, patch: &[u8]) -> Result<Applied, ReadError<Infallible>> {
        let mut state = self.state.clone();
        let applied = apply_patch(&mut state, NAME, patch, None, self)?;
        applied.mutations.iter().for_each(|mutation| self.keep(mutation));
        self.state = state;
        Ok(applied)
    }

    /// The patch as other devices get it; this one has not taken it yet.
    fn write(&self, changes: &[Change], seed: u64) -> Vec<u8> {
        let (id, keys) = self.keys.last_key_value().unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        let older = self.keys.iter().filter(|(other, _)| *other != id);
        let older = older.map(|(id, keys)| (id.clone(), keys.clone())).collect();
        let writer = WriteKeys { id: id.clone(), keys: keys.clone(), older };
        let patch = build_patch(&self.state, NAME, changes, &writer, self, &mut rng).unwrap();
        with_version(&patch, self.state.version + 1)
    }
}

const NAME: Collection = Collection::RegularLow;

fn set(n: u8, value: &[u8]) -> Change {
    let index = format!("[\"pin_v1\",\"{n}@s.whatsapp.net\"]").into_bytes();
    Change { operation: Operation::Set, index, value: value.to_vec(), version: 5 }
}

fn remove(n: u8) -> Change {
    Change { operation: Operation::Remove, ..set(n, b"\x08\x01") }
}

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

#[test]
fn patches_of_baileys_are_read_with_every_mac() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/crypto/app_state_baileys.json")).unwrap();
    let (id, key) = (unhex(&vectors["key_id"]), unhex(&vectors["key_data"]));
    let mut device = Device::new(&id, &key.try_into().unwrap());
    assert_eq!(vectors["collection"], NAME.as_str());
    for vector in vectors["patches"].as_array().unwrap() {
        let applied = device.take(&unhex(&vector["patch"])).unwrap();
        assert!(!applied.diverged);
        let [mutation] = &applied.mutations[..] else { panic!("one change a patch") };
        assert_eq!(i64::from(mutation.operation.code()), vector["operation"].as_i64().unwrap());
        assert_eq!(mutation.index, vector["index"].as_str().unwrap().as_bytes());
        assert_eq!(mutation.value, unhex(&vector["value"]));
        assert_eq!(i64::from(mutation.version), vector["version"].as_i64().unwrap());
        assert_eq!(hex::encode(device.state.hash.as_bytes()), vector["hash"].as_str().unwrap());
    }
    // Two of the three chats are left.
    assert_eq!((device.state.version, device.macs.borrow().len()), (5, 2));
}

/// Keys, sum and MACs of a record computed independently (protocol facts of the published clients).
#[test]
fn a_key_expands_and_a_record_is_summed_as_published() {
    let key = std::array::from_fn(|i| 0x40 + u8::try_from(i).unwrap());
    let keys = SyncKeys::derive(&key);
    assert_eq!(
        hex::encode(keys.index_mac(b"[\"setting_pushName\"]")),
        "ac4c29206152c3db832116f6914b360ef1bbdec592dfc0db51ffe3a535b865db"
    );
    let mac = |text: &str| -> Mac { hex::decode(text).unwrap().try_into().unwrap() };
    let first = mac("cd7faa132e9ccaba02c498bc01b155385cf1ea9c9033ed3b7da74f782b49f738");
    let second = mac("c4b06093a4c7c9d3663b1ec78f9cc4a2ed103c1f27a08526aabdd08ac395f13d");
    let mut hash = LtHash::EMPTY;
    hash.add(&first);
    assert_eq!(hex::encode(&hash.as_bytes()[..16]), "3a07ebdf7cfdbfcf00b1d4a7ab8f00f5");
    let snapshot = keys.snapshot_mac(&hash, 1, "critical_block");
    assert_eq!(hex::encode(snapshot), "03f3af9f74b5909639a1d41449ae5646336c8c9f3313137da0b14ced68ceaf02");
    assert_eq!(
        hex::encode(keys.patch_mac(&snapshot, [&first], 1, "critical_block")),
        "5e64aef9dfb9b2ecb449ead1d6f84b52cc4ef922031198811b503e4ec5f7e2a1"
    );
    hash.add(&second);
    assert_eq!(hex::encode(&hash.as_bytes()[..16]), "401aae8dbc17c195011cc5cf9a4fb359");
    hash.subtract(&first);
    assert_eq!(
        hex::encode(keys.snapshot_mac(&hash, 2, "critical_block")),
        "4973ea3d3818d507e596eef8797b2e062a8b11315be3f3ab6fc385795ee11f3c"
    );
    hash.subtract(&second);
    assert_eq!(hash, LtHash::EMPTY);
}

#[test]
fn what_one_device_writes_another_reads_and_nothing_less_is_believed() {
    let (mut ana, mut bea) = (Device::new(&KEY_ID, &KEY), Device::new(&KEY_ID, &KEY));
    let first = ana.write(&[set(1, b"\x08\x01"), set(2, b"\x08\x02")], 1);
    for device in [&mut ana, &mut bea] {
        assert!(!device.take(&first).unwrap().diverged);
    }
    let second = ana.write(&[remove(1), set(2, b"\x08\x03")], 2);
    // Every single byte is covered by a MAC, a version or a key id: whatever is changed is refused or says the same.
    let good = apply_patch(&mut bea.state.clone(), NAME, &second, None, &bea).unwrap();
    for at in 0..second.len() {
        let mut broken = second.clone();
        broken[at] ^= 0x10;
        let mut state = bea.state.clone();
        if let Ok(applied) = apply_patch(&mut state, NAME, &broken, None, &bea) {
            assert_eq!(applied, good, "byte {at}");
        } else {
            assert_eq!(state, bea.state);
        }
    }
    assert_eq!(
        apply_patch(&mut State::default(), NAME, &second, None, &bea).unwrap_err(),
        ReadError::Gap { have: 0, got: 2 }
    );
    let other = apply_patch(&mut bea.state.clone(), Collection::Regular, &second, None, &bea);
    assert_eq!(other.unwrap_err(), ReadError::Mac("patch"));
    assert!(!bea.take(&second).unwrap().diverged);
    assert_eq!(bea.macs.borrow().len(), 1);
    let stranger = Device::new(&[9], &KEY);
    let missing = apply_patch(&mut State::default(), NAME, &first, None, &stranger).unwrap_err();
    assert_eq!(missing, ReadError::MissingKeys(vec![KEY_ID.to_vec()]));
}

#[test]
fn a_patch_over_another_sum_is_read_and_said_to_diverge() {
    let (ana, mut bea) = (Device::new(&KEY_ID, &KEY), Device::new(&KEY_ID, &KEY));
    bea.state.hash.add(&[5; 32]);
    let patch = ana.write(&[set(1, b"\x08\x01")], 1);
    let applied = bea.take(&patch).unwrap();
    assert!(applied.diverged);
    assert_eq!(applied.mutations[0].value, b"\x08\x01");
}

#[test]
fn a_snapshot_gives_the_state_that_the_patches_gave() {
    let mut ana = Device::new(&KEY_ID, &KEY);
    let records = [set(1, b"\x08\x01"), set(2, b"\x08\x02"), set(3, b"")];
    let patch = ana.write(&records, 1);
    ana.take(&patch).unwrap();
    let (keys, state) = (SyncKeys::derive(&KEY), ana.state.clone());
    let sealed = sealed_records(&patch, None);
    let snapshot = build_snapshot(&state, NAME, sealed.iter().map(Vec::as_slice), &KEY_ID, &keys);
    let bea = Device::new(&KEY_ID, &KEY);
    let mut seen = Vec::new();
    let read = apply_snapshot(NAME, &snapshot, &bea, |mutation| {
        seen.push((mutation.index.clone(), mutation.value.clone()));
        bea.keep(&mutation);
        Ok(())
    });
    assert_eq!(read.unwrap(), state);
    assert_eq!(seen, records.clone().map(|change| (change.index, change.value)));
    // What is written on top of it is right, too.
    let mut bea = Device { state, ..bea };
    assert!(!bea.take(&ana.write(&[remove(2), set(1, b"\x08\x09")], 3)).unwrap().diverged);
    let mut short = snapshot.clone();
    short.truncate(snapshot.len() - 1);
    for broken in [&short[..], &snapshot[..40], &[]] {
        let mut told = 0;
        assert!(
            apply_snapshot(NAME, broken, &bea, |_| {
                told += 1;
                Ok(())
            })
            .is_err()
        );
        assert_eq!(told, 0, "nothing is told before everything was checked");
    }
}

fn macs() -> impl Strategy<Value = Vec<Mac>> {
    proptest::collection::vec(any::<Mac>(), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_sum_knows_no_order_and_forgets_what_is_taken_back(kept in macs(), gone in macs(), seed in any::<u64>()) {
        let mut plain = LtHash::EMPTY;
        kept.iter().for_each(|mac| plain.add(mac));
        let mut steps: Vec<(bool, Mac)> = kept.iter().map(|mac| (true, *mac)).collect();
        steps.extend(gone.iter().flat_map(|mac| [(true, *mac), (false, *mac)]));
        let mut rng = StdRng::seed_from_u64(seed);
        rand::seq::SliceRandom::shuffle(&mut steps[..], &mut rng);
        let mut shuffled = LtHash::EMPTY;
        for (came, mac) in steps {
            if came { shuffled.add(&mac) } else { shuffled.subtract(&mac) }
        }
        prop_assert_eq!(shuffled, plain);
    }

    #[test]
    fn any_series_of_changes_is_followed_by_another_device(
        patches in proptest::collection::vec(
            proptest::collection::vec((0u8..6, any::<bool>(), any::<[u8; 3]>()), 1..6), 1..8)
    ) {
        let (mut ana, mut bea) = (Device::new(&KEY_ID, &KEY), Device::new(&KEY_ID, &KEY));
        let mut model = BTreeMap::new();
        for (n, changes) in patches.iter().enumerate() {
            let changes: Vec<Change> = changes.iter().map(|(who, comes, value)| {
                if *comes {
                    model.insert(*who, *value);
                    set(*who, value)
                } else {
                    model.remove(who);
                    remove(*who)
                }
            }).collect();
            let patch = ana.write(&changes, n as u64);
            prop_assert!(!ana.take(&patch).unwrap().diverged);
            prop_assert!(!bea.take(&patch).unwrap().diverged);
            prop_assert_eq!(bea.macs.borrow().len(), model.len());
        }
        let mut sum = LtHash::EMPTY;
        ana.macs.borrow().values().for_each(|mac| sum.add(mac));
        prop_assert_eq!(&sum, &ana.state.hash);
    }

    #[test]
    fn bytes_that_nobody_sealed_are_refused(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz_app_state(&data);
    }
}

#[test]
fn a_record_under_an_old_key_moves_to_the_new_one_in_one_patch() {
    let (mut ana, mut bea) = (Device::new(&KEY_ID, &KEY), Device::new(&KEY_ID, &KEY));
    let first = ana.write(&[set(1, b"\x08\x01"), set(2, b"\x08\x02"), set(3, b"\x08\x03")], 1);
    for device in [&mut ana, &mut bea] {
        device.take(&first).unwrap();
        device.keys.insert(vec![0, 0, 0, 0, 0, 2], SyncKeys::derive(&[4; 32]));
    }
    let second = ana.write(&[set(1, b"\x08\x07"), remove(2), set(4, b"\x08\x04"), remove(9)], 2);
    let applied = bea.take(&second).unwrap();
    assert!(!applied.diverged && !ana.take(&second).unwrap().diverged);
    // 1 goes and comes, 2 goes under its own key alone, 4 comes, and of 9 there was nothing.
    let steps = applied.mutations.iter().map(|m| (m.operation, m.index.as_slice()));
    let index = |n| set(n, b"").index;
    let (one, two, four, nine) = (index(1), index(2), index(4), index(9));
    let expected: [(Operation, &[u8]); 5] = [
        (Operation::Remove, &one),
        (Operation::Set, &one),
        (Operation::Remove, &two),
        (Operation::Set, &four),
        (Operation::Remove, &nine),
    ];
    assert_eq!(applied.moved(), [applied.mutations[0].index_mac].into());
    assert_eq!(steps.collect::<Vec<_>>(), expected);
    assert_eq!(bea.macs.borrow().len(), 3);
    assert_eq!(ana.state, bea.state);
    // A snapshot of what is left sums up to the same, whichever key a record has.
    let sealed: Vec<Vec<u8>> = [(&first, 3, 2), (&second, 5, 1), (&second, 5, 3)]
        .iter()
        .map(|(patch, all, at)| {
            let sealed = sealed_records(patch, None);
            assert_eq!(sealed.len(), *all);
            sealed[*at].clone()
        })
        .collect();
    let (id, keys) = bea.keys.last_key_value().unwrap();
    let snapshot = build_snapshot(&bea.state, NAME, sealed.iter().map(Vec::as_slice), id, keys);
    assert_eq!(apply_snapshot(NAME, &snapshot, &bea, |_| Ok(())).unwrap(), bea.state);
}
