//! Communities: an account and the simulated WhatsApp on one fake clock.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/groups.rs"]
mod groups;
#[path = "support/pair.rs"]
mod pair;

use groups::{BEA, group, group_events, linked, read_by, says};
use pair::{ALICE, OWN, Pair};
use wazap::{
    account::{Answer, Ask, AskError, Command, CommunityAnswer, CommunityCommand, GroupView, SubGroup},
    wire::Jid,
};

fn done(pair: &mut Pair, command: CommunityCommand) -> Result<CommunityAnswer, AskError> {
    let ticket = pair.ask(Command::Ask(command.into()));
    pair.drive();
    match pair.answer(ticket).expect("answered") {
        Answer::Asked(answer) => {
            answer.clone().map(|told| CommunityCommand::told(told).expect("of communities"))
        }
        other => panic!("a community command was answered with {other:?}"),
    }
}

fn whole(pair: &mut Pair, command: CommunityCommand) -> (GroupView, Vec<SubGroup>) {
    match done(pair, command) {
        Ok(CommunityAnswer::Community { view, groups }) => (*view, groups),
        other => panic!("no community: {other:?}"),
    }
}

fn made(pair: &mut Pair) -> Jid {
    let create = CommunityCommand::Create { subject: "Town".into(), description: Some("all".into()) };
    whole(pair, create).0.group.jid
}

#[test]
fn a_community_has_a_group_for_its_announcements_and_takes_in_who_is_linked() {
    let mut pair = linked(601);
    let create = CommunityCommand::Create { subject: "Town".into(), description: Some("all".into()) };
    let (view, groups) = whole(&mut pair, create);
    let town = view.group.jid.clone();
    assert_eq!((view.group.community, view.group.description.as_deref()), (true, Some("all")));
    assert_eq!(groups.iter().map(|one| one.announcements).collect::<Vec<_>>(), [true]);

    let street = group(&mut pair, true);
    let link = |on| CommunityCommand::Link { community: town.clone(), group: street.clone(), on };
    assert_eq!(done(&mut pair, link(true)), Ok(CommunityAnswer::Done));
    assert_eq!(done(&mut pair, link(true)), Err(AskError::Refused(409)), "it is there already");
    let (view, groups) = whole(&mut pair, CommunityCommand::Info(town.clone()));
    assert_eq!((view.members.len(), groups.len()), (3, 2), "Alice and Bea came along");
    let known = street.clone();
    let parent = pair.store(move |tx| tx.groups().find(&known)).unwrap().parent;
    assert_eq!(parent, Some(town.clone()));

    // Everybody hears what is announced.
    let news = groups.iter().find(|one| one.announcements).unwrap().jid.clone();
    says(&mut pair, &news, "a market on Sunday");
    for phone in [ALICE, BEA] {
        assert_eq!(read_by(&pair, phone, &news), ["a market on Sunday"]);
    }
    assert_eq!(done(&mut pair, link(false)), Ok(CommunityAnswer::Done));
    let known = street.clone();
    assert_eq!(pair.store(move |tx| tx.groups().find(&known)).unwrap().parent, None);
    let actions: Vec<String> =
        group_events(&pair).iter().map(|event| event["action"].as_str().unwrap().to_owned()).collect();
    for action in ["groups_linked", "community_joined", "groups_unlinked", "community_left"] {
        assert!(actions.iter().any(|one| one == action), "{action} in {actions:?}");
    }
    pair.assert_well_behaved();
}

#[test]
fn groups_are_made_within_it_and_joined_and_everybody_can_be_put_out_of_all() {
    let mut pair = linked(602);
    let town = made(&mut pair);
    let create = CommunityCommand::CreateGroup {
        community: town.clone(),
        subject: "Street".into(),
        people: vec![Jid::pn(ALICE), Jid::pn(BEA)],
    };
    let Ok(CommunityAnswer::Group(street)) = done(&mut pair, create) else { panic!("no group") };
    assert_eq!((street.group.parent.as_ref(), street.members.len()), (Some(&town), 3));
    let Ok(CommunityAnswer::Members(all)) = done(&mut pair, CommunityCommand::Members(town.clone())) else {
        panic!("no members")
    };
    let mut numbers: Vec<&str> = all.iter().map(|member| member.jid.user()).collect();
    numbers.sort_unstable();
    let mut wanted = [ALICE, BEA, OWN];
    wanted.sort_unstable();
    assert_eq!(numbers, wanted);
    let remove = CommunityCommand::Remove { community: town.clone(), people: vec![Jid::pn(BEA)] };
    assert_eq!(done(&mut pair, remove), Ok(CommunityAnswer::Results(vec![(Jid::pn(BEA), 200)])));
    says(&mut pair, &street.group.jid, "without Bea");
    assert_eq!(read_by(&pair, ALICE, &street.group.jid), ["without Bea"]);
    assert!(read_by(&pair, BEA, &street.group.jid).is_empty());

    // Out of a group one can come in again, since one is in the community still.
    pair.lab
        .change_members(&street.group.jid, wazap::stanza::MemberChange::Promote, &[ALICE], pair.now)
        .unwrap();
    let leave = wazap::account::GroupCommand::Leave(street.group.jid.clone());
    groups::done(&mut pair, leave).unwrap();
    let join = CommunityCommand::Join { community: town.clone(), group: street.group.jid.clone() };
    let Ok(CommunityAnswer::Group(again)) = done(&mut pair, join.clone()) else { panic!("not joined") };
    assert!(again.group.member);
    assert_eq!(done(&mut pair, join), Err(AskError::Refused(409)));
    says(&mut pair, &street.group.jid, "back");
    assert_eq!(read_by(&pair, ALICE, &street.group.jid), ["without Bea", "back"]);
    pair.assert_well_behaved();
}

#[test]
fn its_groups_outlive_it() {
    let mut pair = linked(603);
    let town = made(&mut pair);
    let street = group(&mut pair, true);
    let link = CommunityCommand::Link { community: town.clone(), group: street.clone(), on: true };
    done(&mut pair, link).unwrap();
    let Ok(CommunityAnswer::Communities(all)) = done(&mut pair, CommunityCommand::List) else { panic!() };
    assert_eq!(
        all.iter().map(|view| view.group.jid.clone()).collect::<Vec<_>>(),
        std::slice::from_ref(&town)
    );
    assert_eq!(done(&mut pair, CommunityCommand::Deactivate(town.clone())), Ok(CommunityAnswer::Done));
    assert_eq!(done(&mut pair, CommunityCommand::Info(town)), Err(AskError::Unknown));
    let gone = CommunityCommand::Info(street.clone());
    assert_eq!(done(&mut pair, gone), Err(AskError::Unknown), "a group is no community");
    says(&mut pair, &street, "still here");
    assert_eq!(read_by(&pair, ALICE, &street), ["still here"]);
    assert_eq!(done(&mut pair, CommunityCommand::List), Ok(CommunityAnswer::Communities(Vec::new())));
    pair.assert_well_behaved();
}
