//! Groups as they are made, changed and left on request: an account and the simulated WhatsApp on one fake clock.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/groups.rs"]
mod groups;
#[path = "support/pair.rs"]
mod pair;

use groups::{BEA, done, group, group_events, linked, read_by, says, says_body, send, view};
use pair::{ALICE, OWN, Pair};
use wazap::{
    account::{AskError, Body, GroupAnswer, GroupCommand, GroupUpdate},
    stanza::{GroupSetting, MemberChange},
    wire::Jid,
};

#[test]
fn only_admins_write_where_only_admins_may() {
    let mut pair = linked(119);
    let made = pair.lab.create_group(ALICE, "News", &[OWN], true, pair.now).unwrap();
    pair.drive();
    let group: Jid = made.jid.parse().unwrap();
    let set = |pair: &mut Pair, on| {
        let update = GroupUpdate { settings: vec![GroupSetting::Announce(on)], ..GroupUpdate::default() };
        done(pair, GroupCommand::Update { group: group.clone(), update })
    };
    assert_eq!(set(&mut pair, true), Err(AskError::Refused(401)), "no admin");
    pair.lab.change_members(&group, MemberChange::Promote, &[OWN], pair.now).unwrap();
    pair.drive();
    assert!(set(&mut pair, true).is_ok());
    says(&mut pair, &group, "as an admin");
    pair.lab.change_members(&group, MemberChange::Demote, &[OWN], pair.now).unwrap();
    pair.drive();
    let id = says(&mut pair, &group, "as a member");
    assert_eq!(pair.progress_of(&id), ["failed"]);
    assert_eq!(read_by(&pair, ALICE, &group), ["as an admin"]);
    // What was refused had told nobody anything; the next message does.
    pair.lab.change_members(&group, MemberChange::Promote, &[OWN], pair.now).unwrap();
    pair.drive();
    says(&mut pair, &group, "as an admin again");
    assert_eq!(read_by(&pair, ALICE, &group), ["as an admin", "as an admin again"]);
    pair.assert_well_behaved();
}

#[test]
fn a_groups_timer_goes_with_every_message_and_its_name_with_the_chat() {
    let mut pair = linked(121);
    let group = group(&mut pair, true);
    says(&mut pair, &group, "stays");
    for (seconds, text) in [(604_800, "goes"), (0, "stays again")] {
        let settings = vec![GroupSetting::Ephemeral(seconds)];
        let update = GroupUpdate { settings, ..GroupUpdate::default() };
        done(&mut pair, GroupCommand::Update { group: group.clone(), update }).unwrap();
        says(&mut pair, &group, text);
        let last = pair.lab.messages(ALICE, None).unwrap().pop().unwrap();
        let expiration = &last.message["extendedTextMessage"]["contextInfo"]["expiration"];
        assert_eq!(expiration.as_u64().unwrap_or(0), u64::from(seconds), "{text}: {}", last.message);
    }
    let name = pair.store(move |tx| {
        let chat = tx.messages().find_chat(&group)?.unwrap();
        Ok(tx.chats().view(chat.id)?.unwrap().name)
    });
    assert_eq!(name.as_deref(), Some("Team"));
    pair.assert_well_behaved();
}

#[test]
fn groups_are_made_changed_and_left_on_request() {
    let mut pair = linked(114);
    let people = vec![Jid::pn(ALICE), Jid::pn("5511900000099")];
    let create = GroupCommand::Create { subject: "Club".into(), people };
    let Ok(GroupAnswer::Created { view: made, results, .. }) = done(&mut pair, create) else {
        panic!("not made")
    };
    assert_eq!(results, [(Jid::pn(ALICE), 200), (Jid::pn("5511900000099"), 404)]);
    let group = made.group.jid.clone();
    assert_eq!(
        (made.group.subject.as_str(), made.members.len()),
        ("Club", 2),
        "the unknown number is not in it"
    );
    assert_eq!(made.group.owner, Some(Jid::pn(OWN)));
    says(&mut pair, &group, "welcome");
    assert_eq!(read_by(&pair, ALICE, &group), ["welcome"]);

    let add = |people| GroupCommand::Members { group: group.clone(), change: MemberChange::Add, people };
    let results = done(&mut pair, add(vec![Jid::pn(BEA), Jid::pn(ALICE), Jid::pn("5511900000099")]));
    let expected = vec![(Jid::pn(BEA), 200), (Jid::pn(ALICE), 409), (Jid::pn("5511900000099"), 404)];
    assert_eq!(results, Ok(GroupAnswer::Results(expected)));
    for change in [MemberChange::Promote, MemberChange::Demote, MemberChange::Remove] {
        let people = vec![Jid::pn(BEA)];
        let command = GroupCommand::Members { group: group.clone(), change, people };
        assert_eq!(done(&mut pair, command), Ok(GroupAnswer::Results(vec![(Jid::pn(BEA), 200)])));
    }

    let update = GroupUpdate {
        subject: Some("Society".into()),
        description: Some("for all".into()),
        settings: vec![GroupSetting::Announce(true), GroupSetting::Ephemeral(86_400)],
    };
    let changed = view(done(&mut pair, GroupCommand::Update { group: group.clone(), update }));
    assert_eq!(changed.group.subject, "Society");
    assert_eq!(changed.group.description.as_deref(), Some("for all"));
    assert!(changed.group.announce && changed.group.ephemeral == 86_400);
    // A second description names the first as what it replaces.
    let update = GroupUpdate { description: Some("for some".into()), ..GroupUpdate::default() };
    let changed = view(done(&mut pair, GroupCommand::Update { group: group.clone(), update }));
    assert_eq!(changed.group.description.as_deref(), Some("for some"));
    let update = GroupUpdate { description: Some(String::new()), ..GroupUpdate::default() };
    assert_eq!(
        view(done(&mut pair, GroupCommand::Update { group: group.clone(), update })).group.description,
        None
    );

    let Ok(GroupAnswer::Groups(all)) = done(&mut pair, GroupCommand::List) else { panic!("no list") };
    assert_eq!(all.iter().map(|view| view.group.subject.as_str()).collect::<Vec<_>>(), ["Society"]);
    assert_eq!(done(&mut pair, GroupCommand::Leave(group.clone())), Ok(GroupAnswer::Done));
    assert!(says_body(&mut pair, send(&group, Body::Text("x".into()))).is_err());
    assert_eq!(done(&mut pair, GroupCommand::Info(group.clone())), Err(AskError::Unknown));
    let actions: Vec<_> =
        group_events(&pair).iter().map(|event| event["action"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        actions,
        [
            "created",
            "participants_added",
            "participants_promoted",
            "participants_demoted",
            "participants_removed",
            "subject",
            "description",
            "announce",
            "ephemeral_seconds",
            "description",
            "description",
            "participants_left"
        ]
    );
    pair.assert_well_behaved();
}

#[test]
fn people_come_in_by_a_link_or_wait_to_be_let_in() {
    let mut pair = linked(115);
    let create = GroupCommand::Create { subject: "Club".into(), people: vec![Jid::pn(ALICE)] };
    let Ok(GroupAnswer::Created { view: made, .. }) = done(&mut pair, create) else { panic!("not made") };
    let group = made.group.jid.clone();
    let Ok(GroupAnswer::Invite(code)) = done(&mut pair, GroupCommand::Invite(group.clone())) else {
        panic!()
    };
    let Ok(GroupAnswer::Invite(other)) = done(&mut pair, GroupCommand::RevokeInvite(group.clone())) else {
        panic!()
    };
    assert_ne!(code, other);
    assert_eq!(done(&mut pair, GroupCommand::InviteInfo(code)), Err(AskError::Refused(406)));
    assert_eq!(view(done(&mut pair, GroupCommand::InviteInfo(other))).group.subject, "Club");

    // The other way round: a group of somebody else's, open first, then with a door.
    let foreign = pair.lab.create_group(ALICE, "Theirs", &[BEA], true, pair.now).unwrap();
    let jid: Jid = foreign.jid.parse().unwrap();
    let joined = done(&mut pair, GroupCommand::Join(foreign.invite_code.clone()));
    assert_eq!(joined, Ok(GroupAnswer::Joined { group: jid.clone(), inside: true }));
    says(&mut pair, &jid, "hello all");
    assert_eq!(read_by(&pair, BEA, &jid), ["hello all"]);
    assert_eq!(done(&mut pair, GroupCommand::Join(foreign.invite_code)), Err(AskError::Refused(409)));
    assert_eq!(done(&mut pair, GroupCommand::Invite(jid.clone())), Err(AskError::Refused(401)), "no admin");

    assert_eq!(done(&mut pair, GroupCommand::Requests(group.clone())), Ok(GroupAnswer::Requests(vec![])));
    let people = vec![Jid::pn(BEA)];
    let decide = GroupCommand::Decide { group, approve: true, people };
    let nobody = vec![(Jid::pn(BEA), 404)];
    assert_eq!(done(&mut pair, decide), Ok(GroupAnswer::Results(nobody)));
    pair.assert_well_behaved();
}

#[test]
fn without_a_connection_groups_are_not_changed() {
    let mut pair = linked(116);
    pair.unreachable = true;
    pair.cut();
    let refused = done(&mut pair, GroupCommand::List);
    assert!(matches!(refused, Err(AskError::NotConnected(_))));
}
