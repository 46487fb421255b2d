//! What groups tell beside what changes in them, and what says nothing to a consumer.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/groups.rs"]
mod groups;
#[path = "support/pair.rs"]
mod pair;

use groups::{group, group_events, linked, read_by, says};
use pair::ALICE;
use wazap::{
    account::Input,
    wire::{Jid, Node},
};

#[test]
fn what_concerns_a_consumer_is_told_and_the_rest_is_acknowledged() {
    let mut pair = linked(531);
    let group = group(&mut pair, true);
    let before = group_events(&pair).len();
    let person = || Node::new("participant").attr("jid", Jid::pn(ALICE));
    let told = [
        ("growth_locked", "growth_locked"),
        ("growth_unlocked", "growth_unlocked"),
        ("suspended", "suspended"),
        ("unsuspended", "unsuspended"),
        ("linked_group_promote", "community_admins_added"),
        ("linked_group_demote", "community_admins_removed"),
        ("membership_approval_request", "own_join_requested"),
        ("created_sub_group_suggestion", "group_suggested"),
        ("revoked_sub_group_suggestions", "group_suggestion_revoked"),
    ];
    let quiet = ["no_frequently_forwarded", "auto_add_disabled", "reports", "something_new"];
    for (n, tag) in told.iter().map(|(tag, _)| *tag).chain(quiet).enumerate() {
        let child = Node::new(tag.to_owned()).child(person());
        let notice = Node::new("notification")
            .attr("type", "w:gp2")
            .attr("id", format!("N{n}"))
            .attr("from", &group)
            .attr("participant", Jid::pn(ALICE))
            .attr("t", 1_767_115_800_u64)
            .child(child);
        pair.input(Input::Node(notice));
        pair.drive();
        let id = format!("N{n}");
        let acked = pair.written.iter().any(|node| node.tag == "ack" && node.text("id") == Some(&id));
        assert!(acked, "{tag}");
    }
    let events = group_events(&pair);
    let actions: Vec<&str> = events[before..].iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(actions, told.map(|(_, action)| action));
    assert_eq!(events[before + 4]["participants"][0]["phone"], ALICE);
    // Nothing of it stands in the way of the next message.
    says(&mut pair, &group, "still here");
    assert_eq!(read_by(&pair, ALICE, &group), ["still here"]);
}
