//! Groups: what the server refuses, what it tells, and that it all survives a restart.

use super::*;
use crate::{
    crypto::signal::SenderKeys,
    stanza::{GroupQuery, MemberChange, participant_hash},
};

/// A companion of Ana's in a group with Bia's phone and hers.
fn in_a_group() -> (Story, Companion, Companion, Jid) {
    let mut story = Story::new();
    let (mut ana, mut bia) = (story.link("Ana"), story.link("Bia"));
    for companion in [&mut ana, &mut bia] {
        story.login(companion);
        story.activate(companion);
    }
    story.silence_phones();
    let create = GroupQuery::Create {
        subject: "Team".into(),
        key: None,
        people: vec![(bia.jid.bare(), None)],
        settings: Vec::new(),
    };
    story.says(ana.conn, create.build("c1"));
    let answer = story.seen_of(ana.conn, "iq").pop().unwrap();
    let group = crate::stanza::GroupInfo::parse(answer.find("group").unwrap()).unwrap();
    assert!(group.by_lid && group.members.len() == 2);
    story.seen(bia.conn);
    (story, ana, bia, group.jid)
}

fn skmsg(story: &mut Story) -> Enc {
    let ciphertext = SenderKeys::generate(&mut story.rng).encrypt(b"x", &mut story.rng).unwrap();
    Enc::new(EncKind::SenderKey, ciphertext)
}

fn to_group(story: &mut Story, id: &str, group: &Jid) -> Outgoing {
    let direct = Some(skmsg(story));
    Outgoing { direct, addressing_mode: Some("lid".into()), ..Outgoing::text(id.into(), group.clone()) }
}

fn ack_of(story: &mut Story, from: &Companion, stanza: &Outgoing) -> Ack {
    story.says(from.conn, stanza.build());
    Ack::parse_from(&story.seen_of(from.conn, "ack").pop().unwrap()).unwrap()
}

#[test]
fn what_no_client_sends_to_a_group_is_refused_with_the_code_that_fits() {
    let (mut story, ana, bia, group) = in_a_group();
    let good = to_group(&mut story, "G1", &group);
    assert_eq!(ack_of(&mut story, &ana, &good).error, None);
    assert_eq!(story.seen_of(bia.conn, "message").len(), 1);
    assert!(story.world.journal.refused.is_empty());

    let other_mode = Outgoing { addressing_mode: Some("pn".into()), ..to_group(&mut story, "G2", &group) };
    assert_eq!(ack_of(&mut story, &ana, &other_mode).error, Some(421));
    let stranger = story.link("Eve");
    let mut eve = stranger;
    story.login(&mut eve);
    story.activate(&eve);
    story.seen(eve.conn);
    let outside = to_group(&mut story, "G3", &group);
    assert_eq!(ack_of(&mut story, &eve, &outside).error, Some(403));
    let nowhere = to_group(&mut story, "G4", &Jid::group("120363999999999999"));
    assert_eq!(ack_of(&mut story, &ana, &nowhere).error, Some(404));
    assert!(story.world.journal.refused.is_empty(), "none of that is a client's fault");

    let number = (bia.jid.bare(), Some(Enc::new(EncKind::Message, vec![0x33; 60])));
    let mixed = Outgoing { participants: vec![number], ..to_group(&mut story, "G5", &group) };
    assert_eq!(ack_of(&mut story, &ana, &mixed).error, Some(400));
    let to_one = Outgoing { direct: Some(skmsg(&mut story)), ..Outgoing::text("G6".into(), bia.jid.bare()) };
    assert_eq!(ack_of(&mut story, &ana, &to_one).error, Some(479));
    let garbage = Some(Enc::new(EncKind::SenderKey, vec![0x33; 20]));
    let garbage = Outgoing { direct: garbage, ..to_group(&mut story, "G7", &group) };
    assert_eq!(ack_of(&mut story, &ana, &garbage).error, Some(479));
    let pairwise = Some(Enc::new(EncKind::Message, vec![0x33; 60]));
    let without_key = Outgoing { direct: pairwise, ..to_group(&mut story, "G8", &group) };
    assert_eq!(ack_of(&mut story, &ana, &without_key).error, Some(479));
    assert_eq!(story.world.journal.refused.len(), 4);
    assert_eq!(story.seen_of(bia.conn, "message"), [], "none of it arrived");
}

#[test]
fn a_wrong_participant_hash_is_answered_with_the_right_one() {
    let (mut story, ana, _, group) = in_a_group();
    let devices: Vec<Jid> = story
        .world
        .group(&group)
        .unwrap()
        .members
        .keys()
        .flat_map(|id| story.world.devices_of(*id))
        .map(|device| story.world.jid(device, Namespace::Lid))
        .collect();
    let right = participant_hash(devices);
    let wrong = Outgoing { phash: Some("2:AAAAAAAA".into()), ..to_group(&mut story, "G1", &group) };
    assert_eq!(ack_of(&mut story, &ana, &wrong).phash.as_ref(), Some(&right));
    let agreed = Outgoing { phash: Some(right), ..to_group(&mut story, "G2", &group) };
    assert_eq!(ack_of(&mut story, &ana, &agreed).phash, None);
}

#[test]
fn the_removed_hear_of_it_and_of_nothing_more() {
    let (mut story, ana, bia, group) = in_a_group();
    let people = vec![(bia.jid.bare(), None)];
    let remove = GroupQuery::Members { group: group.clone(), change: MemberChange::Remove, people };
    story.says(ana.conn, remove.build("r1"));
    let seen = story.seen(ana.conn);
    assert_eq!(seen.iter().map(|node| node.tag.as_ref()).collect::<Vec<_>>(), ["iq", "notification"]);
    assert_eq!(story.seen_of(bia.conn, "notification").len(), 1);
    let later = to_group(&mut story, "G1", &group);
    assert_eq!(ack_of(&mut story, &ana, &later).error, None);
    assert_eq!(story.seen(bia.conn), []);
    story.says(bia.conn, GroupQuery::Info(group).build("q1"));
    assert_eq!(Iq::refusal(&story.seen(bia.conn)[0]).unwrap().code, 403);
}

#[test]
fn a_restored_world_knows_its_groups_and_its_phones_their_keys() {
    let mut story = Story::new();
    let names = ["Ana", "Bia", "Caio"];
    let phones =
        names.map(|name| story.world.create_phone(None, Some(name.into()), None, story.now).unwrap());
    let numbers = phones.map(|phone| story.world.phone_view(phone).number);
    let others = numbers[1..].to_vec();
    let group =
        story.world.create_group(&numbers[0], "Team", &others, Namespace::Lid, story.now).unwrap().to_wire();
    let says = |world: &mut World, from: usize, text: &str, now| {
        let what = Sending::Text { text: text.into(), quote: None };
        world.send_from(phones[from], &group, what, now).unwrap();
    };
    says(&mut story.world, 0, "before", story.now);
    says(&mut story.world, 1, "before, too", story.now);
    let saved = serde_json::to_string(&story.world.snapshot(1)).unwrap();
    let mut world = World::new(SETTINGS, StdRng::seed_from_u64(3));
    world.restore(&serde_json::from_str(&saved).unwrap()).unwrap();
    assert_eq!(serde_json::to_string(&world.snapshot(1)).unwrap(), saved);
    says(&mut world, 0, "after", story.now);
    says(&mut world, 1, "after, too", story.now);
    let heard: Vec<String> =
        world.message_views(phones[2], None, None).unwrap().into_iter().filter_map(|m| m.text).collect();
    assert_eq!(heard, ["before", "before, too", "after", "after, too"]);
    // What was saved before there were groups is read, too.
    let mut older: serde_json::Value = serde_json::from_str(&saved).unwrap();
    older.as_object_mut().unwrap().remove("groups");
    for account in older["accounts"].as_array_mut().unwrap() {
        account["phone"].as_object_mut().unwrap().remove("group_keys");
    }
    let mut world = World::new(SETTINGS, StdRng::seed_from_u64(3));
    world.restore(&serde_json::from_value(older).unwrap()).unwrap();
}
