//! Groups and statuses among simulated phones: the server's and the phones' own part, without any client.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, time::Duration};

use wazap::{
    clock::Millis,
    sandbox::{Lab, Sending},
    stanza::MemberChange,
    wire::Jid,
};

const NOW: Millis = Millis(1_767_115_800_000);
const ANA: &str = "5511900000001";
const BEA: &str = "5511900000002";
const CAIO: &str = "5511900000003";

fn lab() -> Lab {
    let mut lab = Lab::new(5, Duration::from_secs(25));
    for (number, name) in [(ANA, "Ana"), (BEA, "Bea"), (CAIO, "Caio")] {
        lab.create_phone(number, name, NOW).unwrap();
    }
    lab
}

fn text(text: &str) -> Sending {
    Sending::Text { text: text.to_owned(), quote: None }
}

/// Chat, author and text of all a phone received.
fn inbox(lab: &Lab, phone: &str) -> Vec<(String, String, String)> {
    let all = lab.messages(phone, None).unwrap().into_iter();
    all.map(|m| (m.chat, m.sender, m.text.unwrap_or(m.kind))).collect()
}

#[test]
fn everybody_in_a_group_reads_everybody_however_members_are_addressed() {
    for by_lid in [true, false] {
        let mut lab = lab();
        let group = lab.create_group(ANA, "Team", &[BEA, CAIO], by_lid, NOW).unwrap();
        let name = |phone: &str| {
            if by_lid { lab.phone(phone).unwrap().lid } else { format!("{phone}@s.whatsapp.net") }
        };
        let (ana, bea) = (name(ANA), name(BEA));
        for round in 1..=3 {
            lab.send(ANA, &group.jid, text(&format!("ana {round}")), NOW).unwrap();
            lab.send(BEA, &group.jid, text(&format!("bea {round}")), NOW).unwrap();
        }
        let of =
            |who: &str, what: &str, round| (group.jid.clone(), who.to_owned(), format!("{what} {round}"));
        let expected: Vec<_> = (1..=3).flat_map(|n| [of(&ana, "ana", n), of(&bea, "bea", n)]).collect();
        assert_eq!(inbox(&lab, CAIO), expected);
        assert_eq!(inbox(&lab, BEA), (1..=3).map(|n| of(&ana, "ana", n)).collect::<Vec<_>>());
        assert_eq!((lab.stats().refused, lab.stats().unknown), (BTreeMap::new(), BTreeMap::new()));
        assert_eq!(lab.stats().queued, 0);
        let from: Vec<String> = lab.receipts(ANA).unwrap().into_iter().map(|r| r.from).collect();
        assert_eq!(from.len(), 6, "each of three messages was delivered to two: {from:?}");
    }
}

#[test]
fn who_was_put_out_reads_nothing_more_and_who_came_reads_only_from_then_on() {
    let mut lab = lab();
    let group = lab.create_group(ANA, "Team", &[BEA], true, NOW).unwrap();
    let jid: Jid = group.jid.parse().unwrap();
    lab.send(ANA, &group.jid, text("before"), NOW).unwrap();
    lab.change_members(&jid, MemberChange::Add, &[CAIO], NOW).unwrap();
    lab.send(ANA, &group.jid, text("three of us"), NOW).unwrap();
    lab.change_members(&jid, MemberChange::Remove, &[BEA], NOW).unwrap();
    lab.send(ANA, &group.jid, text("without Bea"), NOW).unwrap();
    let texts = |phone| inbox(&lab, phone).into_iter().map(|(_, _, text)| text).collect::<Vec<_>>();
    assert_eq!(texts(BEA), ["before", "three of us"]);
    assert_eq!(texts(CAIO), ["three of us", "without Bea"]);
    lab.send(BEA, &group.jid, text("let me in"), NOW).unwrap();
    assert_eq!(inbox(&lab, CAIO).len(), 2, "who is out writes to nobody");
    assert_eq!(lab.change_members(&jid, MemberChange::Add, &[CAIO], NOW).unwrap_err().status, 409);
    assert_eq!(lab.create_group(ANA, "", &[], true, NOW).unwrap_err().status, 400);
    assert_eq!(lab.group(&Jid::group("1")).unwrap_err().status, 404);
    assert_eq!(lab.stats().refused, BTreeMap::new());
}

#[test]
fn reactions_and_reads_in_a_group_name_the_author() {
    let mut lab = lab();
    let group = lab.create_group(ANA, "Team", &[BEA, CAIO], true, NOW).unwrap();
    let id = lab.send(ANA, &group.jid, text("news"), NOW).unwrap();
    lab.read(BEA, &id, NOW).unwrap();
    lab.send(BEA, &group.jid, Sending::Reaction { id: id.clone(), emoji: "👍".into() }, NOW).unwrap();
    let seen = lab.messages(CAIO, None).unwrap().pop().unwrap();
    assert_eq!(seen.kind, "reactionMessage");
    let key = &seen.message["reactionMessage"]["key"];
    assert_eq!((key["id"].as_str(), key["remoteJid"].as_str()), (Some(&*id), Some(&*group.jid)));
    assert_eq!(key["participant"].as_str(), Some(&*lab.phone(ANA).unwrap().lid));
    let reads: Vec<_> = lab.receipts(ANA).unwrap().into_iter().filter(|r| r.kind == "read").collect();
    assert_eq!(reads.len(), 1);
    assert_eq!(reads[0].from, lab.phone(BEA).unwrap().lid);
    assert_eq!(lab.stats().refused, BTreeMap::new());
}

#[test]
fn a_status_goes_to_whom_one_has_written_with() {
    let mut lab = lab();
    lab.send(ANA, BEA, text("hello"), NOW).unwrap();
    lab.send(ANA, "status@broadcast", text("sunny"), NOW).unwrap();
    lab.send(ANA, "status@broadcast", text("rainy"), NOW).unwrap();
    let statuses: Vec<_> =
        inbox(&lab, BEA).into_iter().filter(|(chat, ..)| chat == "status@broadcast").map(|m| m.2).collect();
    assert_eq!(statuses, ["sunny", "rainy"]);
    assert!(inbox(&lab, CAIO).is_empty());
    assert_eq!(lab.stats().refused, BTreeMap::new());
}
