//! Stanzas that the server really sends, changed at any place: never a panic, never a turn that fails.
#![no_main]

#[path = "../../tests/support/pair.rs"]
mod pair;

use std::{cell::RefCell, time::Duration};

use libfuzzer_sys::fuzz_target;
use pair::{ALICE, ECHO, OWN, Pair};
use wazap::{
    account::{Command, Input, ProfileCommand, Question, Recipient, Status},
    sandbox::{BusinessSpec, Sending},
    wire::{Content, Node},
};

const ROUND: usize = 200;

thread_local! {
    static HEARD: RefCell<Vec<Node>> = const { RefCell::new(Vec::new()) };
    static PAIR: RefCell<Option<(Pair, usize)>> = const { RefCell::new(None) };
}

/// A conversation of many kinds of stanza.
fn talk() -> Pair {
    let mut pair = Pair::new(2);
    pair.copies = |node| {
        HEARD.with_borrow_mut(|heard| heard.push(node.clone()));
        1
    };
    pair.drive();
    pair.scan();
    pair.pass(Duration::from_secs(15));
    assert_eq!(pair.status(), Status::Connected);
    let id = pair.phone_sends(ALICE, "one");
    pair.drive();
    pair.send(ALICE, "two");
    pair.send(ECHO, "three");
    let group = pair.lab.create_group(ALICE, "Group", &[OWN, ECHO], true, pair.now).expect("a group");
    pair.drive();
    let text = Sending::Text { text: "four".to_owned(), quote: None };
    pair.lab.send(ECHO, &group.jid, text, pair.now).expect("a member may");
    let reaction = Sending::Reaction { id, emoji: "👍".to_owned() };
    pair.lab.send(ALICE, OWN, reaction, pair.now).expect("of her own message");
    // What people show of themselves, whether they are there, who is blocked, what a business sells.
    pair.lab.set_about(ALICE, "five", pair.now).expect("a text");
    pair.lab.presence(ALICE, true, pair.now).expect("a phone");
    pair.lab.typing(ALICE, OWN, "composing", pair.now).expect("a chat");
    pair.lab.block(OWN, ECHO, true, pair.now).expect("a phone");
    pair.lab.make_business(ALICE, Some(BusinessSpec::default())).expect("a phone");
    for command in [
        ProfileCommand::Own,
        ProfileCommand::Person(Recipient::Number(ALICE.to_owned())),
        ProfileCommand::Privacy,
        ProfileCommand::Blocklist,
        ProfileCommand::Business(Recipient::Number(ALICE.to_owned())),
        ProfileCommand::Watch(Recipient::Number(ALICE.to_owned())),
    ] {
        pair.ask(Command::Ask(Question::Profile(command)));
        pair.drive();
    }
    pair.lab.block(OWN, ECHO, false, pair.now).expect("a phone");
    pair.cut();
    pair.phone_sends(ALICE, "from the queue");
    pair.pass(Duration::from_secs(40));
    pair.copies = |_| 1;
    pair
}

/// Carries out one change on the node to which `way` leads.
fn change(here: &mut Node, way: usize, [what, how]: [u8; 2], bytes: &[u8], all: &[Node]) {
    if let Content::Nodes(children) = &mut here.content
        && !children.is_empty()
        && way % 3 != 0
    {
        let index = way % children.len();
        return change(&mut children[index], way / 3, [what, how], bytes, all);
    }
    let how = usize::from(how);
    match what % 8 {
        0 if !here.attrs.is_empty() => drop(here.attrs.remove(how % here.attrs.len())),
        1 => {
            let other = &all[how % all.len()];
            if let Some((name, value)) = other.attrs.first().cloned() {
                here.attrs.push((name, value));
            }
        }
        2 => here.content = Content::Bytes(bytes.to_vec()),
        3 => here.content = Content::Empty,
        4 => {
            if let Content::Nodes(children) = &mut here.content {
                let copy = children.clone();
                children.extend(copy);
            }
        }
        5 => here.tag = all[how % all.len()].tag.clone(),
        6 => here.content = all[how % all.len()].content.clone(),
        _ => {
            if let Content::Bytes(content) = &mut here.content {
                let mut changed = content.to_vec();
                changed.iter_mut().zip(bytes).for_each(|(byte, change)| *byte ^= change);
                *content = changed;
            }
        }
    }
}

fuzz_target!(|data: &[u8]| PAIR.with_borrow_mut(|slot| {
    let Some((choice, rest)) = data.split_at_checked(2) else { return };
    let (pair, seen) = slot.get_or_insert_with(|| {
        HEARD.with_borrow_mut(Vec::clear);
        (talk(), 0)
    });
    *seen += 1;
    let stanza = HEARD.with_borrow(|heard| {
        let mut stanza = heard[usize::from(u16::from_le_bytes([choice[0], choice[1]])) % heard.len()].clone();
        let mut rest = rest;
        while let Some((&[way, what, how], tail)) = rest.split_first_chunk() {
            change(&mut stanza, way.into(), [what, how], tail, heard);
            rest = tail;
        }
        stanza
    });
    pair.input(Input::Node(stanza));
    pair.drive();
    pair.pass(Duration::from_secs(1));
    if *seen == ROUND || pair.status() != Status::Connected {
        *slot = None;
    }
}));
