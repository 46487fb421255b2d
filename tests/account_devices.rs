//! Whose devices are whose: what a server that lies about them gains, and that sends go on whatever it says.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a story that cannot go on ends here")]

#[path = "support/groups.rs"]
mod groups;
#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use groups::{group, linked, says};
use pair::{ALICE, OWN, Pair};
use prost::Message as _;
use wazap::{
    account::{Body, Input, Recipient},
    crypto::{
        KeyPair, PublicKey,
        adv::{self, DeviceList, Link},
        signal::{PreKeyBundle, SenderKeys, SignedPreKey},
    },
    proto,
    sandbox::{Intruder, ListShown},
    stanza::{
        BundleAnswer, BundleQuery, DeviceAnswer, DeviceEntry, FetchedBundle, Notification, Receipt,
        ReceiptKind, Retry, RetryKeys, UsyncAnswer, UsyncProfile, UsyncQuery,
    },
    store::devices::Vouch,
    wire::{Jid, Node},
};

/// Numbers of a person's devices that have read a message. Companions read a moment after it has come.
fn readers(pair: &mut Pair, person: &str, id: &str) -> Vec<u16> {
    pair.pass(Duration::from_secs(2));
    let all = pair.lab.readers(id).into_iter().filter(|jid| jid.user() == person);
    let mut devices: Vec<u16> = all.map(|jid| jid.device()).collect();
    devices.sort_unstable();
    devices
}

/// Numbers of a person's devices that the stanzas with this id hold something for.
fn named(pair: &Pair, person: &str, id: &str) -> Vec<u16> {
    let names = [Jid::pn(person), lid(pair, person)];
    let stanzas = pair.written.iter().filter(|node| node.tag == "message" && node.text("id") == Some(id));
    let mut devices: Vec<u16> = Vec::new();
    for stanza in stanzas {
        let listed = stanza.find("participants").into_iter().flat_map(|all| all.find_all("to"));
        let addressed = listed.filter_map(|to| to.jid("jid")).chain(stanza.jid("participant"));
        let resent = stanza.jid("to").filter(|_| stanza.find("enc").is_some());
        let theirs = addressed.chain(resent).filter(|jid| names.iter().any(|name| name.same_user(jid)));
        devices.extend(theirs.map(|jid| jid.device()));
    }
    devices.sort_unstable();
    devices.dedup();
    devices
}

fn lid(pair: &Pair, person: &str) -> Jid {
    pair.lab.phone(person).unwrap().lid.parse().unwrap()
}

/// How many queries of this kind were written.
fn asked(pair: &Pair, xmlns: &str, child: &str) -> usize {
    let queries = pair.written.iter().filter(|node| node.tag == "iq" && node.text("xmlns") == Some(xmlns));
    queries.filter(|node| node.find(child).is_some()).count()
}

fn vouch(pair: &Pair, person: &str) -> Option<Vouch> {
    let person = lid(pair, person);
    pair.store(move |tx| tx.devices().vouch(&person))
}

fn has_session(pair: &Pair, device: Jid) -> bool {
    pair.store(move |tx| Ok(tx.signal().session(&device)?.is_open()))
}

/// Whoever wants a message again has asked often, and lists of devices are asked for again, as after a day.
fn a_day_later(pair: &mut Pair) {
    pair.pass(Duration::from_secs(15 * 60));
    for person in [ALICE, OWN] {
        let person = Jid::pn(person);
        pair.store(move |tx| tx.people().forget_devices(&person));
    }
}

/// Alice has a companion that her phone has linked, and both have read something.
fn with_companion(seed: u64) -> (Pair, u16) {
    let mut pair = linked(seed);
    let alice = pair.lab.play(ALICE, 1, pair.now).unwrap();
    let companion = alice.companions[0].device;
    let id = pair.send(ALICE, "to all of you");
    assert_eq!(readers(&mut pair, ALICE, &id), [0, companion]);
    (pair, companion)
}

/// What she says arrives, and what is said to her phone.
fn goes_on(pair: &mut Pair) {
    let id = pair.phone_sends(ALICE, "still there");
    pair.drive();
    assert!(pair.received().contains(&id), "Alice is heard");
    let id = pair.send(ALICE, "so are we");
    assert!(readers(pair, ALICE, &id).contains(&0), "Alice's phone reads");
    pair.assert_well_behaved();
}

#[test]
fn a_new_persons_list_is_checked_without_a_query_more() {
    let mut pair = linked(1);
    let devices: Vec<u16> =
        pair.lab.play(ALICE, 3, pair.now).unwrap().companions.iter().map(|one| one.device).collect();
    let before = (asked(&pair, "usync", "usync"), asked(&pair, "encrypt", "key"));
    let id = pair.send(ALICE, "hello");
    assert_eq!(readers(&mut pair, ALICE, &id), [&[0], &devices[..]].concat());
    // The number, then the devices; and all keys at once.
    assert_eq!(
        (asked(&pair, "usync", "usync"), asked(&pair, "encrypt", "key")),
        (before.0 + 2, before.1 + 1)
    );
    let kept = vouch(&pair, ALICE).unwrap();
    assert_eq!(kept.companions.keys().copied().collect::<Vec<u16>>(), devices);
    assert_eq!((kept.current, kept.valid), (3, vec![0, 1, 2, 3]));
    goes_on(&mut pair);
}

#[test]
fn a_device_that_the_server_adds_reads_nothing() {
    // Above all that the phone ever gave away, under the number of a companion that it has, and under one long gone.
    for (n, key_index) in [None, Some(1), Some(0), Some(u32::MAX)].into_iter().enumerate() {
        for shown in [ListShown::Signed, ListShown::Forged, ListShown::Missing, ListShown::Stale] {
            for met in [true, false] {
                let what = format!("{key_index:?} {shown:?} {met}");
                let seed = 100 + n as u64;
                let (mut pair, known) = if met {
                    with_companion(seed)
                } else {
                    let mut pair = linked(seed);
                    let alice = pair.lab.play(ALICE, 1, pair.now).unwrap();
                    (pair, alice.companions[0].device)
                };
                let team = group(&mut pair, n % 2 == 0);
                pair.lab.show_list(ALICE, shown).unwrap();
                let device = pair.lab.intrude(ALICE, Intruder::Made(key_index), pair.now).unwrap();
                pair.drive();
                for again in [false, true] {
                    let direct = pair.send(ALICE, "for Alice alone");
                    let common = says(&mut pair, &team, "for the team");
                    if again {
                        pair.lab.show_list(ALICE, ListShown::Signed).unwrap();
                    }
                    pair.pass(Duration::from_secs(15 * 60));
                    for id in [&direct, &common] {
                        let read = readers(&mut pair, ALICE, id);
                        assert!(read.contains(&0), "{what}: the phone reads");
                        assert!(!read.contains(&device), "{what}: {device} is none of hers");
                        assert!(!named(&pair, ALICE, id).contains(&device), "{what}: it is not written to");
                        // A companion that was vouched for once is not lost by a list that is not good.
                        let good = matches!(shown, ListShown::Signed) && key_index != Some(1);
                        assert!(read.contains(&known) || !(met || good), "{what}: {read:?}");
                    }
                }
                let session = lid(&pair, ALICE).with_device(device);
                assert!(!has_session(&pair, session), "{what}");
                goes_on(&mut pair);
            }
        }
    }
}

#[test]
fn a_list_that_is_not_the_phones_vouches_for_nobody_and_is_looked_at_again_soon() {
    let told = |pair: &mut Pair, text: &str| {
        let people = Recipient::Status(vec![Jid::pn(ALICE)]);
        pair.say(people, Body::Text(text.into())).unwrap().message_id
    };
    for shown in [ListShown::Forged, ListShown::Missing] {
        let mut pair = linked(2);
        let companion = pair.lab.play(ALICE, 1, pair.now).unwrap().companions[0].device;
        pair.lab.show_list(ALICE, shown).unwrap();
        // The server says of a status only that it has come.
        let id = told(&mut pair, "who is there?");
        assert_eq!(readers(&mut pair, ALICE, &id), [0], "{shown:?}: the phone alone");
        assert_eq!(vouch(&pair, ALICE), None);
        pair.lab.show_list(ALICE, ListShown::Signed).unwrap();
        let id = told(&mut pair, "at once");
        assert_eq!(named(&pair, ALICE, &id), [0], "nobody else is known yet");
        pair.pass(Duration::from_secs(11 * 60));
        let id = told(&mut pair, "a little later");
        assert_eq!(readers(&mut pair, ALICE, &id), [0, companion], "{shown:?}");
        // Of what is for one person it says when others were to have had it.
        pair.lab.show_list(ALICE, shown).unwrap();
        let second = pair.lab.play(ALICE, 1, pair.now).unwrap().companions[1].device;
        pair.drive();
        let id = pair.send(ALICE, "and who is this?");
        assert_eq!(readers(&mut pair, ALICE, &id), [0, companion]);
        pair.lab.show_list(ALICE, ListShown::Signed).unwrap();
        let id = pair.send(ALICE, "welcome");
        assert_eq!(readers(&mut pair, ALICE, &id), [0, companion, second]);
        goes_on(&mut pair);
    }
}

#[test]
fn an_older_list_is_not_believed() {
    let (mut pair, first) = with_companion(3);
    let second = pair.lab.play(ALICE, 1, pair.now).unwrap().companions[1].device;
    pair.drive();
    let id = pair.send(ALICE, "two of you");
    assert_eq!(readers(&mut pair, ALICE, &id), [0, first, second]);
    let known = vouch(&pair, ALICE).unwrap();

    // It knows of the first alone.
    pair.lab.show_list(ALICE, ListShown::Stale).unwrap();
    a_day_later(&mut pair);
    let id = pair.send(ALICE, "still two");
    assert_eq!(readers(&mut pair, ALICE, &id), [0, first, second]);
    assert_eq!(vouch(&pair, ALICE), Some(known.clone()));

    // Nor is a change with an older time; a newer one is looked at.
    for (ts, looks) in [(known.timestamp_secs - 1, 0), (known.timestamp_secs + 1, 1)] {
        let asked_before = asked(&pair, "usync", "usync");
        let list = Node::new("key-index-list").attr("ts", ts);
        let device =
            Node::new("device").attr("jid", Jid::pn(ALICE).with_device(first)).attr("key-index", 1_u32);
        let change = Node::new("remove").attr("device_hash", "2:x").child(device).child(list);
        let notice = Notification::frame("N1", &Jid::pn(ALICE), "devices", 5).child(change);
        pair.input(Input::Node(notice));
        pair.drive();
        pair.send(ALICE, "hm");
        assert_eq!(asked(&pair, "usync", "usync"), asked_before + looks, "{ts}");
    }
    goes_on(&mut pair);
}

#[test]
fn companions_come_and_go_with_what_their_phone_signs() {
    let (mut pair, first) = with_companion(4);
    let team = group(&mut pair, true);
    let id = says(&mut pair, &team, "one");
    assert_eq!(readers(&mut pair, ALICE, &id), [0, first]);
    let second = pair.lab.play(ALICE, 1, pair.now).unwrap().companions[1].device;
    pair.drive();
    for id in [says(&mut pair, &team, "two"), pair.send(ALICE, "two")] {
        assert_eq!(readers(&mut pair, ALICE, &id), [0, first, second]);
    }
    pair.lab.unlink(ALICE, first, pair.now).unwrap();
    pair.drive();
    for id in [says(&mut pair, &team, "three"), pair.send(ALICE, "three")] {
        assert_eq!(
            (readers(&mut pair, ALICE, &id), named(&pair, ALICE, &id)),
            (vec![0, second], vec![0, second])
        );
    }
    let kept = vouch(&pair, ALICE).unwrap();
    assert_eq!((kept.current, kept.valid, kept.companions.len()), (2, vec![0, 2], 1));
    goes_on(&mut pair);
}

#[test]
fn a_companion_that_was_unlinked_reads_nothing_more_though_the_server_keeps_it() {
    let (mut pair, companion) = with_companion(5);
    let team = group(&mut pair, true);
    let before = says(&mut pair, &team, "before");
    assert!(readers(&mut pair, ALICE, &before).contains(&companion));
    // What it writes to all with, as if it had done so.
    let address = lid(&pair, ALICE).with_device(companion);
    let written_with = |pair: &Pair| {
        let (team, alice) = (team.clone(), address.bare());
        pair.store(move |tx| Ok(tx.sender_keys().of_user(&team, &alice)?.len()))
    };
    let (chat, sender) = (team.clone(), address.clone());
    pair.store(move |tx| {
        let mut keys = SenderKeys::default();
        keys.process(&SenderKeys::generate(&mut rand::rng()).distribution().unwrap()).unwrap();
        tx.sender_keys().set(&chat, &sender, &keys)
    });
    assert_eq!(written_with(&pair), 1);
    pair.lab.intrude(ALICE, Intruder::Unlinked(companion), pair.now).unwrap();
    pair.drive();
    let after = [says(&mut pair, &team, "after"), pair.send(ALICE, "after")];
    // It is handed what goes to all, cannot read it with the key that it knows, and asks, with a genuine old identity.
    a_day_later(&mut pair);
    for id in &after {
        assert_eq!((readers(&mut pair, ALICE, id), named(&pair, ALICE, id)), (vec![0], vec![0]));
    }
    assert_eq!(written_with(&pair), 0);
    // What it writes is not believed to be hers either. The own phone is asked for it, and plays along here.
    pair.lab.online(OWN, false, pair.now).unwrap();
    let id = says_text(&mut pair, companion, "it is me");
    assert!(!pair.received().contains(&id));
    goes_on(&mut pair);
}

fn says_text(pair: &mut Pair, device: u16, text: &str) -> String {
    let message = proto::Message { conversation: Some(text.into()), ..Default::default() }.encode_to_vec();
    let jid = Jid::pn(ALICE).with_device(device).to_wire();
    let id = pair.lab.companion_sends(&jid, OWN, &message, pair.now).unwrap();
    pair.drive();
    id
}

fn reasons(pair: &Pair, id: &str) -> Vec<String> {
    let all = pair.events_of("message.undecryptable").into_iter();
    let of = all.filter(|event| event["whatsapp_message_id"] == id);
    of.map(|event| event["reason"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_companion_that_writes_first_is_heard_and_answered() {
    let mut pair = linked(6);
    let companion = pair.lab.play(ALICE, 1, pair.now).unwrap().companions[0].device;
    let id = says_text(&mut pair, companion, "from my computer");
    assert!(pair.received().contains(&id));
    // Who signed for it is her phone, of which nothing else was ever heard.
    let phone = lid(&pair, ALICE);
    assert!(pair.store(move |tx| tx.signal().identity(&phone)).is_some());
    let id = pair.send(ALICE, "hello, computer");
    assert_eq!(readers(&mut pair, ALICE, &id), [0, companion]);
    // A new one of a person who is known.
    let second = pair.lab.play(ALICE, 1, pair.now).unwrap().companions[1].device;
    let id = says_text(&mut pair, second, "from another");
    assert!(pair.received().contains(&id));
    let id = pair.send(ALICE, "hello, both");
    assert_eq!(readers(&mut pair, ALICE, &id), [0, companion, second]);
    goes_on(&mut pair);
}

#[test]
fn what_a_device_of_the_servers_own_writes_is_not_taken_for_hers() {
    let (mut pair, companion) = with_companion(7);
    let device = pair.lab.intrude(ALICE, Intruder::Made(None), pair.now).unwrap();
    pair.drive();
    // The own phone is asked for what cannot be read, and believes whatever comes here.
    pair.lab.online(OWN, false, pair.now).unwrap();
    let id = says_text(&mut pair, device, "trust me");
    assert!(!pair.received().contains(&id));
    assert_eq!(reasons(&pair, &id), ["unverified_device"]);
    // WhatsApp Web's reason in the retry receipt: the account's signature (12).

    let errors: Vec<_> = pair
        .written
        .iter()
        .filter(|node| node.tag == "receipt" && node.text("id") == Some(&id))
        .filter_map(|node| node.find("retry")?.number::<u8>("error"))
        .collect();

    assert_eq!(errors, [12]);
    pair.lab.online(OWN, true, pair.now).unwrap();
    pair.pass(Duration::from_secs(5));
    assert_eq!(pair.unanswered(), 0, "it is acknowledged all the same");
    let id = says_text(&mut pair, companion, "me, really");
    assert!(pair.received().contains(&id));
    goes_on(&mut pair);
}

fn retry_of(pair: &Pair, id: &str, device: &Jid, keys: RetryKeys, count: u8) -> Node {
    let retry = Retry { count, t: pair.now.secs(), error: 0, registration_id: Some(77), keys: Some(keys) };
    Receipt { retry: Some(retry), ..Receipt::new(id.into(), device.clone(), ReceiptKind::Retry) }.build_from()
}

#[test]
fn a_message_is_not_sent_again_to_whoever_asks_for_it() {
    let (mut pair, companion) = with_companion(8);
    let id = pair.send(ALICE, "between us");
    let stranger = KeyPair::generate(&mut rand::rng());
    let keys = RetryKeys {
        identity: stranger.public,
        one_time: None,
        signed: bundle(&stranger).signed_prekey,
        device_identity: None,
    };
    // A device that nobody knows, one that exists and is the server's, and a companion of hers with keys of the server's.
    let intruder = pair.lab.intrude(ALICE, Intruder::Made(None), pair.now).unwrap();
    pair.drive();
    for device in [42, intruder, companion] {
        for count in [1, 2] {
            for name in [Jid::pn(ALICE), lid(&pair, ALICE)] {
                let already = pair.written.len();
                let device = name.with_device(device);
                pair.input(Input::Node(retry_of(&pair, &id, &device, keys.clone(), count)));
                pair.drive();
                let again = pair.written.split_off(already);
                for stanza in again.iter().filter(|node| node.tag == "message") {
                    // Her own companion may have it again, under the keys that it has given the server itself.
                    assert_eq!(stanza.jid("to").map(|to| to.device()), Some(companion));
                }
                pair.written.extend(again);
            }
        }
    }
    let fake: PublicKey = stranger.public;
    let address = lid(&pair, ALICE);
    let known = pair.store(move |tx| tx.signal().identity(&address.with_device(companion)));
    assert_ne!(known, Some(fake));
    goes_on(&mut pair);
}

#[test]
fn an_account_that_was_registered_anew_has_none_of_its_old_companions() {
    // Under the same identity, as after a restore: only the list says it.
    let (mut pair, companion) = with_companion(9);
    let team = group(&mut pair, true);
    says(&mut pair, &team, "before");
    let before = vouch(&pair, ALICE).unwrap();
    let old = lid(&pair, ALICE).with_device(companion);
    assert!(has_session(&pair, old.clone()));
    let own_key = |pair: &Pair| {
        let team = team.clone();
        pair.store(move |tx| Ok(tx.sender_keys().own(&team)?.unwrap().distribution().unwrap()))
    };
    let key = own_key(&pair);
    pair.lab.register_anew(ALICE, true, true, pair.now).unwrap();
    a_day_later(&mut pair);
    let ids = [pair.send(ALICE, "after"), says(&mut pair, &team, "after")];
    for id in &ids {
        assert_eq!((readers(&mut pair, ALICE, id), named(&pair, ALICE, id)), (vec![0], vec![0]));
    }
    let now = vouch(&pair, ALICE).unwrap();
    assert_ne!(now.raw_id, before.raw_id);
    assert!(now.companions.is_empty() && !has_session(&pair, old));
    assert_ne!(own_key(&pair)[..20], key[..20], "the group's key is another one");
    // Numbers of devices begin anew, and the new companion is another one.
    let again = pair.lab.play(ALICE, 1, pair.now).unwrap().companions[0].device;
    assert_eq!(again, companion);
    pair.drive();
    for id in [pair.send(ALICE, "and now"), says(&mut pair, &team, "and now")] {
        assert_eq!(readers(&mut pair, ALICE, &id), [0, companion]);
    }
    goes_on(&mut pair);
}

#[test]
fn a_new_phone_takes_the_place_of_the_old_one_and_of_its_companions() {
    for quiet in [false, true] {
        let (mut pair, companion) = with_companion(10);
        let team = group(&mut pair, true);
        says(&mut pair, &team, "before");
        pair.lab.register_anew(ALICE, false, quiet, pair.now).unwrap();
        pair.drive();
        if quiet {
            // Nobody says a word: what went to the old phone is asked for by the new one.
            a_day_later(&mut pair);
        }
        let ids = [pair.send(ALICE, "after"), says(&mut pair, &team, "after")];
        pair.pass(Duration::from_secs(60));
        for id in &ids {
            assert_eq!(readers(&mut pair, ALICE, id), [0], "{quiet}");
        }
        assert!(!has_session(&pair, lid(&pair, ALICE).with_device(companion)));
        let again = pair.lab.play(ALICE, 1, pair.now).unwrap().companions[0].device;
        pair.drive();
        let id = pair.send(ALICE, "with a new computer");
        assert_eq!(readers(&mut pair, ALICE, &id), [0, again], "{quiet}");
        goes_on(&mut pair);
    }
}

#[test]
fn a_new_phones_companion_is_heard_even_if_nobody_said_that_the_phone_is_new() {
    let (mut pair, _) = with_companion(12);
    let old = lid(&pair, ALICE);
    let identity = |pair: &Pair| {
        let phone = old.clone();
        pair.store(move |tx| tx.signal().identity(&phone)).unwrap()
    };
    let before = identity(&pair);
    pair.lab.register_anew(ALICE, false, true, pair.now).unwrap();
    let companion = pair.lab.play(ALICE, 1, pair.now).unwrap().companions[0].device;
    let id = says_text(&mut pair, companion, "it is me, with another phone");
    pair.pass(Duration::from_secs(60));
    assert_eq!(reasons(&pair, &id), ["unverified_device"]);
    assert_ne!(identity(&pair), before, "the server has said so");
    let id = says_text(&mut pair, companion, "do you hear me?");
    assert!(pair.received().contains(&id));
    let id = pair.send(ALICE, "now we do");
    assert_eq!(readers(&mut pair, ALICE, &id), [0, companion]);
    goes_on(&mut pair);
}

/// The keys that a device has on offer.
fn bundle(device: &KeyPair) -> PreKeyBundle {
    let mut rng = rand::rng();
    let signed = KeyPair::generate(&mut rng);
    PreKeyBundle {
        registration_id: 9,
        identity: device.public,
        signed_prekey: SignedPreKey {
            id: 1,
            key: signed.public,
            signature: device.private.sign(&signed.public.to_signal(), &mut rng),
        },
        one_time: None,
    }
}

/// The newest query of this kind.
fn last<'p>(pair: &'p Pair, xmlns: &str) -> &'p Node {
    let queries = pair.written.iter().rev().filter(|node| node.tag == "iq");
    queries.into_iter().find(|node| node.text("xmlns") == Some(xmlns)).unwrap()
}

/// A business of which WhatsApp runs a device (99) besides its phone and a companion (5). Its list names its signer. Which
/// of them a message is written to, by what keys its phone has on offer.
fn of_a_business(phone: Option<&KeyPair>, signer: &KeyPair) -> Vec<u16> {
    const BUSINESS: &str = "5511977770000";
    let mut rng = rand::rng();
    let mut pair = linked(20);
    pair.send(ALICE, "so that the own devices are known");
    pair.copies = |node| usize::from(node.find("usync").is_none() && node.find("list").is_none());
    let (to, now) = (Recipient::Jid(Jid::pn(BUSINESS)), pair.now);
    pair.store(move |tx| tx.people().set_number(BUSINESS, Some(&Jid::pn(BUSINESS)), now));
    pair.say(to, Body::Text("good morning".into())).unwrap();

    let list = DeviceList { raw_id: 4, timestamp_secs: 1_700_000_000, current: 2, valid: &[0, 1, 2] };
    let list = adv::key_index_list(signer, &list, &mut rng);
    let list = adv::naming_its_signer(&list, &signer.public).unwrap();
    let device = |id, key_index, hosted| DeviceEntry { id, key_index, hosted };
    let devices = vec![device(0, None, false), device(5, Some(1), false), device(99, Some(2), true)];
    let answer = UsyncAnswer {
        jid: Jid::pn(BUSINESS),
        pn: None,
        lid: None,
        devices: Some(DeviceAnswer { devices, key_index_list: Some((1_700_000_000, list)) }),
        contact: None,
        profile: UsyncProfile::default(),
    };
    let asked = last(&pair, "usync");
    let query = UsyncQuery::parse(asked).unwrap();
    let answer = UsyncAnswer::build_all(asked.text("id").unwrap(), &query, &[answer]);
    pair.input(Input::Node(answer));
    pair.drive();

    let companion = KeyPair::generate(&mut rng);
    let link = Link {
        raw_id: 4,
        timestamp_secs: 1_700_000_000,
        key_index: 1,
        companion: &companion.public,
        secret: &[3; 32],
    };
    let container = adv::link(signer, &link, &mut rng);
    let signed = adv::accept(&container, &[3; 32], &companion, &mut rng).unwrap().signed;
    let fetched = |id: u16, keys| FetchedBundle { device: Jid::pn(BUSINESS).with_device(id), keys: Ok(keys) };
    let mut found = vec![fetched(5, (bundle(&companion), Some(signed)))];
    found.extend(phone.map(|phone| fetched(0, (bundle(phone), None))));
    let asked = last(&pair, "encrypt");
    let wanted: Vec<u16> =
        BundleQuery::parse(asked).unwrap().devices.iter().map(|device| device.device()).collect();
    assert_eq!(wanted, [0, 5], "what WhatsApp runs is not written to");
    let answer = BundleAnswer(found).build(asked.text("id").unwrap());
    pair.input(Input::Node(answer));
    pair.drive();
    let written = pair.written.iter().rev().filter(|node| node.tag == "message");
    let to = written.filter_map(|node| node.find("participants")).flat_map(|all| all.find_all("to"));
    let theirs = to.filter_map(|to| to.jid("jid")).filter(|jid| jid.user() == BUSINESS);
    let mut devices: Vec<u16> = theirs.map(|jid| jid.device()).collect();
    devices.sort_unstable();
    devices
}

#[test]
fn a_list_that_names_its_signer_is_no_better_than_the_phones_own_key() {
    let mut rng = rand::rng();
    let (phone, other) = (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
    assert_eq!(of_a_business(Some(&phone), &phone), [0, 5]);
    assert_eq!(of_a_business(Some(&phone), &other), [0]);
    // A phone that has no keys on offer is known by its list alone.
    assert_eq!(of_a_business(None, &phone), [5]);
}

#[test]
fn own_devices_are_vouched_for_by_the_own_phone() {
    let mut pair = linked(11);
    let before = pair.send(ALICE, "alone");
    assert_eq!(readers(&mut pair, OWN, &before), [0]);
    let sibling = pair.lab.play(OWN, 1, pair.now).unwrap().companions.last().unwrap().device;
    pair.drive();
    let id = pair.send(ALICE, "with a sibling");
    assert_eq!(readers(&mut pair, OWN, &id), [0, sibling]);
    for shown in [ListShown::Forged, ListShown::Missing] {
        pair.lab.show_list(OWN, shown).unwrap();
        let intruder = pair.lab.intrude(OWN, Intruder::Made(None), pair.now).unwrap();
        pair.drive();
        let id = pair.send(ALICE, "and with somebody else");
        a_day_later(&mut pair);
        assert_eq!(readers(&mut pair, OWN, &id), [0, sibling], "{shown:?}");
        assert!(!named(&pair, OWN, &id).contains(&intruder));
    }
    goes_on(&mut pair);
}
