//! The keys of app state: made anew by the phone or by the instance, shared, and used from then on.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{ALICE, Mishap, OWN, Pair};
use prost::Message as _;
use serde_json::Value;
use wazap::{
    account::{Command, Recipient, StateChange, Ticket},
    crypto::app_state::{Collection, Fingerprint, SyncKey},
    proto::{
        self, SyncActionValue,
        message::{AppStateSyncKeyId, AppStateSyncKeyRequest, ProtocolMessage},
        sync_action_value::KeyExpiration,
    },
    sandbox::PhoneChange,
    wire::Jid,
};

/// The phone's first two keys, and one that the instance, being device 1, makes after the first.
const FIRST: &str = "000000000001";
const SECOND: &str = "000000000002";
const OURS: &str = "000100000002";

fn talking(seed: u64) -> Pair {
    let mut pair = Pair::linked(seed);
    pair.phone_sends(ALICE, "hello");
    pair.drive();
    pair
}

fn pin(pair: &mut Pair, on: bool) -> Ticket {
    pair.ask(Command::Change(StateChange::Chat {
        chat: Recipient::Number(ALICE.to_owned()),
        archived: None,
        pinned: Some(on),
        muted: None,
        unread: None,
    }))
}

fn is_pinned(pair: &Pair) -> bool {
    pair.store(|tx| {
        let chat = tx.messages().find_chat(&Jid::pn(ALICE))?.expect("Alice wrote");
        Ok(tx.chats().view(chat.id)?.expect("it is shown").pinned)
    })
}

/// What the phone has under the pin: its value, and the key that it is sealed with.
fn on_phone(pair: &Pair) -> (Value, String) {
    let index = ["pin_v1".to_owned(), Jid::pn(ALICE).to_wire()];
    let all = pair.lab.app_state(OWN).unwrap();
    let record = all.into_iter().find(|record| record.index == index).unwrap();
    (record.value["pinAction"]["pinned"].clone(), record.key)
}

fn keys_here(pair: &Pair) -> Vec<String> {
    let mut ids: Vec<String> =
        pair.store(|tx| Ok(tx.app_state().keys()?.iter().map(|key| hex::encode(&key.id)).collect()));
    ids.sort();
    ids
}

/// The key to write with was made so many hours ago.
fn aged(pair: &Pair, hours: i64) {
    let at = i64::try_from(pair.now.0).unwrap() - hours * 3_600_000;
    pair.store(move |tx| {
        let mut key = tx.app_state().newest_key()?.expect("shared");
        key.at = Some(at);
        tx.app_state().set_key(&key)
    });
}

fn done(pair: &mut Pair, on: bool) {
    let ticket = pin(pair, on);
    pair.drive();
    assert_eq!(pair.settled(ticket), Some(Ok(())));
}

#[test]
fn a_key_that_the_phone_made_anew_is_written_with_and_what_was_sealed_before_stays_readable() {
    let mut pair = talking(701);
    done(&mut pair, true);
    assert_eq!(on_phone(&pair), (true.into(), FIRST.into()));
    pair.lab.rotate_key(OWN, pair.now).unwrap();
    pair.drive();
    assert_eq!(keys_here(&pair), [FIRST, SECOND]);
    // The same record under another key is one record still, and the sums agree.
    done(&mut pair, false);
    assert_eq!(on_phone(&pair), (false.into(), SECOND.into()));
    assert_eq!(pair.events_of("chat.updated").len(), 2);
    // The phone writes with it, too, over records of either key.
    for (round, on) in [true, false, true].into_iter().enumerate() {
        if round == 1 {
            pair.lab.rotate_key(OWN, pair.now).unwrap();
        }
        pair.lab.change(OWN, &PhoneChange::Pin { chat: ALICE.into(), on }, pair.now).unwrap();
        pair.drive();
        assert_eq!(is_pinned(&pair), on);
    }
    // A contact that was put under an old key is taken away under it.
    let contact = |name: Option<&str>| StateChange::Contact {
        who: Recipient::Number(ALICE.to_owned()),
        name: name.map(str::to_owned),
        first_name: None,
    };
    for (name, told) in [(Some("Alice S."), 1), (None, 2)] {
        let ticket = pair.ask(Command::Change(contact(name)));
        pair.drive();
        assert_eq!(pair.settled(ticket), Some(Ok(())));
        assert_eq!(pair.events_of("contact.updated").len(), told);
        pair.lab.rotate_key(OWN, pair.now).unwrap();
        pair.drive();
    }
    let contacts = pair.lab.app_state(OWN).unwrap();
    assert!(contacts.iter().all(|record| record.index[0] != "contact"));
    pair.assert_well_behaved();
}

#[test]
fn whoever_is_linked_after_a_rotation_gets_all_keys() {
    let mut pair = Pair::new(702);
    let name = |name: &str| PhoneChange::Contact {
        who: ALICE.into(),
        name: Some(name.to_owned()),
        first_name: None,
    };
    pair.lab.change(OWN, &name("Old"), pair.now).unwrap();
    pair.lab.change(OWN, &PhoneChange::Pin { chat: ALICE.into(), on: true }, pair.now).unwrap();
    pair.lab.rotate_key(OWN, pair.now).unwrap();
    pair.lab.change(OWN, &name("New"), pair.now).unwrap();
    // One collection by a snapshot with records of both keys, the others by their patches.
    let blob = pair.lab.snapshot(OWN, Collection::RegularLow, pair.now).unwrap();
    pair.blobs.push(blob);
    pair.drive();
    pair.scan();
    pair.pass(Duration::from_secs(15));
    assert_eq!(keys_here(&pair), [FIRST, SECOND]);
    assert!(is_pinned(&pair));
    let contact = pair.store(|tx| tx.contacts().find(&Jid::pn(ALICE)));
    assert_eq!(contact.unwrap().name.as_deref(), Some("New"));
    pair.assert_well_behaved();
}

#[test]
fn a_phone_that_loses_a_companion_makes_a_new_key() {
    let mut pair = talking(703);
    pair.lab.play(OWN, 1, pair.now).unwrap();
    pair.drive();
    // Who came is expected: nothing changes.
    done(&mut pair, true);
    assert_eq!(on_phone(&pair), (true.into(), FIRST.into()));
    pair.lab.unlink(OWN, 2, pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.lab.sync_keys(OWN).unwrap(), [FIRST, SECOND]);
    done(&mut pair, false);
    assert_eq!(on_phone(&pair), (false.into(), SECOND.into()));
    assert_eq!(keys_here(&pair), [FIRST, SECOND]);
    pair.assert_well_behaved();
}

#[test]
fn an_instance_that_sees_a_companion_go_makes_a_new_key_itself() {
    let mut pair = talking(704);
    pair.lab.play(OWN, 2, pair.now).unwrap();
    pair.drive();
    done(&mut pair, true);
    pair.lab.online(OWN, false, pair.now).unwrap();
    pair.lab.unlink(OWN, 3, pair.now).unwrap();
    pair.drive();
    // The server holds what the phone cannot take yet; the other companion is told as well.
    done(&mut pair, false);
    assert_eq!(keys_here(&pair), [FIRST, OURS]);
    let told = |node: &&wazap::wire::Node| node.text("category") == Some("peer");
    let told: Vec<u16> =
        pair.written.iter().filter(told).filter_map(|n| Some(n.jid("to")?.device())).collect();
    assert_eq!(told, [0, 2]);
    pair.lab.online(OWN, true, pair.now).unwrap();
    pair.drive();
    assert_eq!(on_phone(&pair), (false.into(), OURS.into()));
    // Once is enough, and the phone goes on with it.
    done(&mut pair, true);
    pair.lab.change(OWN, &PhoneChange::Pin { chat: ALICE.into(), on: false }, pair.now).unwrap();
    pair.drive();
    assert_eq!(on_phone(&pair), (false.into(), OURS.into()));
    assert_eq!(
        (pair.lab.sync_keys(OWN).unwrap(), is_pinned(&pair)),
        (vec![FIRST.into(), OURS.into()], false)
    );
    pair.assert_well_behaved();
}

#[test]
fn a_new_key_outlives_a_crash_and_is_shared_once() {
    for mishap in [Mishap::KilledBefore, Mishap::KilledAfter(0), Mishap::KilledAfter(1), Mishap::StoreFails] {
        let mut pair = talking(705);
        done(&mut pair, true);
        pair.store(|tx| tx.app_state().expire_keys(1));
        pin(&mut pair, false);
        pair.mishap = Some(mishap);
        pair.pass(Duration::from_secs(60));
        if on_phone(&pair).1 == FIRST {
            // The change itself was lost before it was kept: nobody was told that it was done.
            done(&mut pair, false);
        }
        assert_eq!(on_phone(&pair), (false.into(), OURS.into()), "{mishap:?}");
        assert_eq!(pair.lab.sync_keys(OWN).unwrap(), [FIRST, OURS], "{mishap:?}");
        pair.assert_well_behaved();
    }
}

#[test]
fn an_old_key_is_followed_by_a_new_one_and_a_sentinel_makes_a_key_old() {
    let mut pair = talking(706);
    aged(&pair, 30 * 24 - 1);
    done(&mut pair, true);
    assert_eq!(on_phone(&pair).1, FIRST);
    aged(&pair, 30 * 24 + 1);
    done(&mut pair, false);
    assert_eq!(on_phone(&pair), (false.into(), OURS.into()));
    let expired = SyncActionValue {
        timestamp: Some(1),
        key_expiration: Some(KeyExpiration { expired_key_epoch: Some(2) }),
        ..Default::default()
    };
    let sentinel = PhoneChange::Raw {
        collection: "regular_low".into(),
        index: vec!["sentinel".into(), "regular_low".into()],
        value: expired.encode_to_vec(),
        version: 3,
        remove: false,
    };
    pair.lab.change(OWN, &sentinel, pair.now).unwrap();
    pair.drive();
    done(&mut pair, true);
    assert_eq!(on_phone(&pair), (true.into(), "000100000003".into()));
    // Shared again by somebody who does not know that it has expired: it stays so.
    done(&mut pair, false);
    assert_eq!(on_phone(&pair).1, "000100000003");
    pair.assert_well_behaved();
}

#[test]
fn how_long_a_key_is_good_is_the_servers_to_say() {
    let mut pair = Pair::new(707);
    pair.lab.property(OWN, 14_488, "2").unwrap();
    pair.drive();
    pair.scan();
    pair.phone_sends(ALICE, "hello");
    pair.pass(Duration::from_secs(15));
    aged(&pair, 47);
    done(&mut pair, true);
    assert_eq!(on_phone(&pair).1, FIRST);
    aged(&pair, 49);
    done(&mut pair, false);
    assert_eq!(on_phone(&pair).1, OURS);
}

#[test]
fn a_device_that_asks_for_keys_gets_those_that_are_here() {
    let mut pair = talking(708);
    let print = Fingerprint { raw_id: 1, current: 0, indexes: [0].into() };
    let extra = SyncKey::new(vec![0, 4, 0, 0, 0, 0], [8; 32], Some(print), Some(1));
    pair.store(move |tx| tx.app_state().set_key(&extra));
    let id = |id: &[u8]| AppStateSyncKeyId { key_id: Some(id.to_vec()) };
    let ids = vec![id(&[0, 4, 0, 0, 0, 0]), id(&[7; 6]), id(&[1; 9_000]), AppStateSyncKeyId::default()];
    let request = ProtocolMessage {
        r#type: Some(7),
        app_state_sync_key_request: Some(AppStateSyncKeyRequest { key_ids: ids }),
        ..Default::default()
    };
    let message = proto::Message { protocol_message: Some(Box::new(request)), ..Default::default() };
    pair.lab.forge(OWN, OWN, message.encode_to_vec(), pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.lab.sync_keys(OWN).unwrap(), [FIRST, "000400000000"]);
    // Nobody else is told anything.
    let before = pair.written.len();
    pair.lab.forge(ALICE, OWN, message.encode_to_vec(), pair.now).unwrap();
    pair.drive();
    assert!(pair.written[before..].iter().all(|node| node.text("category") != Some("peer")));
    pair.assert_well_behaved();
}
