//! What stories about groups do over and over.
#![allow(dead_code, unreachable_pub, reason = "each test is a crate that uses what it needs of this")]

use serde_json::Value;
use wazap::{
    account::{
        Answer, Ask, AskError, Body, Command, GroupAnswer, GroupCommand, GroupView, Recipient, SendError,
        SendMessage, Sent,
    },
    sandbox::Sending,
    wire::Jid,
};

use crate::pair::{ALICE, OWN, Pair};

pub const BEA: &str = "5511900000077";

pub fn send(to: &Jid, body: Body) -> SendMessage {
    SendMessage {
        recipient: Recipient::Jid(to.clone()),
        body,
        mentions: Vec::new(),
        reply_to: None,
        idempotency: None,
        respond_async: true,
        dry: false,
        send_at: None,
    }
}

/// Sends and drives.
pub fn says_body(pair: &mut Pair, command: SendMessage) -> Result<Sent, SendError> {
    let ticket = pair.ask(Command::SendMessage(command));
    pair.drive();
    pair.sent(ticket).expect("answered")
}

pub fn says(pair: &mut Pair, to: &Jid, text: &str) -> String {
    says_body(pair, send(to, Body::Text(text.into()))).expect("accepted").message_id
}

pub fn phone_says(pair: &mut Pair, from: &str, to: &Jid, text: &str) -> String {
    let what = Sending::Text { text: text.into(), quote: None };
    let id = pair.lab.send(from, &to.to_wire(), what, pair.now).unwrap();
    pair.drive();
    id
}

/// A group of the own account, Alice and the echo, made by the first.
pub fn group(pair: &mut Pair, by_lid: bool) -> Jid {
    let made = pair.lab.create_group(OWN, "Team", &[ALICE, BEA], by_lid, pair.now).unwrap();
    pair.drive();
    made.jid.parse().unwrap()
}

pub fn linked(seed: u64) -> Pair {
    let mut pair = Pair::linked(seed);
    pair.lab.create_phone(BEA, "Bea", pair.now).unwrap();
    pair
}

/// Texts of a group that a phone has read.
pub fn read_by(pair: &Pair, phone: &str, group: &Jid) -> Vec<String> {
    let all = pair.lab.messages(phone, None).unwrap().into_iter();
    all.filter(|m| m.chat == group.to_wire()).filter_map(|m| m.text).collect()
}

/// How many devices the stanzas with this id told our key.
pub fn told_with(pair: &Pair, id: &str) -> Vec<usize> {
    let stanzas = pair.written.iter().filter(|node| node.tag == "message" && node.text("id") == Some(id));
    stanzas.map(|node| node.find("participants").map_or(0, |all| all.find_all("to").count())).collect()
}

pub fn group_events(pair: &Pair) -> Vec<Value> {
    pair.events_of("group.updated")
}

pub fn done(pair: &mut Pair, command: GroupCommand) -> Result<GroupAnswer, AskError> {
    let ticket = pair.ask(Command::Ask(command.into()));
    pair.drive();
    match pair.answer(ticket).expect("answered") {
        Answer::Asked(answer) => answer.clone().map(|told| GroupCommand::told(told).expect("of groups")),
        other => panic!("a group command was answered with {other:?}"),
    }
}

pub fn view(answer: Result<GroupAnswer, AskError>) -> GroupView {
    match answer {
        Ok(GroupAnswer::Group(view)) => *view,
        other => panic!("no group: {other:?}"),
    }
}
