//! Invitations into groups by a message: for whoever may not be added, and by whom.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/groups.rs"]
mod groups;
#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use groups::{BEA, done, group, group_events, linked, read_by, says, says_body, send};
use pair::{ALICE, OWN};
use serde_json::json;
use wazap::{
    account::{AddRequest, AskError, Body, GroupAnswer, GroupCommand},
    stanza::MemberChange,
    wire::Jid,
};

#[test]
fn who_may_not_be_added_is_invited_and_comes_in_by_the_message() {
    let mut pair = linked(521);
    let made = pair.lab.create_group(ALICE, "Club", &[BEA], true, pair.now).unwrap();
    pair.lab.privacy(OWN, "groupadd", "none", pair.now).unwrap();
    pair.drive();
    let group: Jid = made.jid.parse().unwrap();
    pair.lab.change_members(&group, MemberChange::Add, &[OWN], pair.now).unwrap();
    pair.drive();
    let received = pair.events_of("message.received");
    let invite = &received.last().unwrap()["group_invite"];
    assert_eq!(
        (&invite["group"], &invite["group_name"], &invite["caption"]),
        (&json!(group.to_wire()), &json!("Club"), &json!("Come in"))
    );
    let id = received.last().unwrap()["whatsapp_message_id"].as_str().unwrap().to_owned();

    // What a stranger says in its place leads nowhere.
    let request = AddRequest {
        code: invite["code"].as_str().unwrap().to_owned(),
        expiration: invite["expiration"].as_u64().unwrap(),
    };
    let accept = |request: AddRequest, admin: &str| GroupCommand::Accept {
        group: group.clone(),
        invite: request,
        admin: Jid::pn(admin),
    };
    assert_eq!(done(&mut pair, accept(request.clone(), BEA)), Err(AskError::Refused(406)));
    let other = AddRequest { code: "0000".into(), ..request };
    assert_eq!(done(&mut pair, accept(other, ALICE)), Err(AskError::Refused(406)));
    assert_eq!(done(&mut pair, GroupCommand::AcceptMessage("3EB0NONE".into())), Err(AskError::Unknown));

    let joined = done(&mut pair, GroupCommand::AcceptMessage(id.clone()));
    assert_eq!(joined, Ok(GroupAnswer::Joined { group: group.clone(), inside: true }));
    assert_eq!(group_events(&pair).last().unwrap()["action"], "participants_joined");
    says(&mut pair, &group, "thanks");
    assert_eq!(read_by(&pair, ALICE, &group), ["thanks"]);
    // It is good once.
    assert_eq!(done(&mut pair, GroupCommand::AcceptMessage(id)), Err(AskError::Refused(406)));
    pair.assert_well_behaved();
}

#[test]
fn an_invitation_that_is_too_old_lets_nobody_in() {
    let mut pair = linked(522);
    let made = pair.lab.create_group(ALICE, "Club", &[BEA], true, pair.now).unwrap();
    pair.lab.privacy(OWN, "groupadd", "none", pair.now).unwrap();
    let group: Jid = made.jid.parse().unwrap();
    pair.lab.change_members(&group, MemberChange::Add, &[OWN], pair.now).unwrap();
    pair.drive();
    let received = pair.events_of("message.received");
    let id = received.last().unwrap()["whatsapp_message_id"].as_str().unwrap().to_owned();
    pair.pass(Duration::from_secs(3 * 24 * 3600 + 60));
    assert_eq!(done(&mut pair, GroupCommand::AcceptMessage(id)), Err(AskError::Refused(410)));
    pair.assert_well_behaved();
}

#[test]
fn whom_the_account_may_not_add_it_can_invite() {
    let mut pair = linked(523);
    let group = group(&mut pair, true);
    pair.lab.change_members(&group, MemberChange::Remove, &[BEA], pair.now).unwrap();
    pair.lab.privacy(BEA, "groupadd", "none", pair.now).unwrap();
    pair.drive();
    let add =
        GroupCommand::Members { group: group.clone(), change: MemberChange::Add, people: vec![Jid::pn(BEA)] };
    let Ok(GroupAnswer::Invitable { results, invites }) = done(&mut pair, add) else {
        panic!("no invitation")
    };
    assert_eq!(results, [(Jid::pn(BEA), 403)]);
    let (who, invite) = invites[0].clone();
    assert_eq!(who, Jid::pn(BEA));
    let body = Body::GroupInvite {
        group: group.clone(),
        name: "Team".into(),
        invite: invite.clone(),
        caption: Some("join us".into()),
    };
    says_body(&mut pair, send(&who, body)).unwrap();
    let message = pair.lab.messages(BEA, None).unwrap().pop().unwrap().message;
    let got = &message["groupInviteMessage"];
    assert_eq!(
        (&got["groupJid"], &got["inviteCode"], &got["groupName"], &got["caption"]),
        (&json!(group.to_wire()), &json!(invite.code), &json!("Team"), &json!("join us"))
    );
    pair.assert_well_behaved();
}

#[test]
fn whom_a_new_group_cannot_be_made_with_it_can_invite() {
    let mut pair = linked(524);
    pair.lab.privacy(BEA, "groupadd", "none", pair.now).unwrap();
    let people = vec![Jid::pn(ALICE), Jid::pn(BEA)];
    let create = GroupCommand::Create { subject: "Club".into(), people };
    let Ok(GroupAnswer::Created { view, results, invites }) = done(&mut pair, create) else {
        panic!("not made")
    };
    assert_eq!(results, [(Jid::pn(ALICE), 200), (Jid::pn(BEA), 403)]);
    let [(who, invite)] = &invites[..] else { panic!("one may be invited") };
    assert_eq!((who, view.members.len()), (&Jid::pn(BEA), 2));
    let body = Body::GroupInvite {
        group: view.group.jid.clone(),
        name: view.group.subject.clone(),
        invite: invite.clone(),
        caption: None,
    };
    says_body(&mut pair, send(who, body)).unwrap();
    let message = pair.lab.messages(BEA, None).unwrap().pop().unwrap().message;
    assert_eq!(message["groupInviteMessage"]["inviteCode"], invite.code);
    pair.assert_well_behaved();
}
