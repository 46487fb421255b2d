//! What is done to messages after they were sent: reactions, edits, deletions, votes; by whom it may be done; and how
//! a stored message reads afterwards.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use pair::{ALICE, OWN, Pair};
use prost::Message as _;
use serde_json::{Value, json};
use wazap::{
    account::{Body, Recipient, Target, Viewer},
    crypto::addon::{AddOn, Binding},
    proto::{self, message},
    sandbox::Sending,
    wire::Jid,
};

const URL: &str = "http://127.0.0.1:3000";

/// The instance sends something to Alice; the id.
fn say(pair: &mut Pair, body: Body) -> String {
    let sent = pair.say(Recipient::Number(ALICE.to_owned()), body);
    sent.unwrap().message_id
}

/// Alice sends something to the instance; the id.
fn alice(pair: &mut Pair, what: Sending) -> String {
    let id = pair.lab.send(ALICE, OWN, what, pair.now).unwrap();
    pair.drive();
    id
}

fn view(pair: &Pair, id: &str) -> Value {
    let id = id.to_owned();
    pair.store(move |tx| {
        let message = tx.messages().find_anywhere(&id)?.unwrap();
        Ok(Value::Object(Viewer::new(tx, URL)?.message(&message)?))
    })
}

fn tally(pair: &Pair, id: &str) -> Value {
    let id = id.to_owned();
    pair.store(move |tx| {
        let message = tx.messages().find_anywhere(&id)?.unwrap();
        Ok(Viewer::new(tx, URL)?.poll(&message)?.unwrap())
    })
}

fn poll(multiple: bool) -> Body {
    let options = ["sim", "não", "🍕"].map(str::to_owned).to_vec();
    Body::Poll { question: "Pizza?".into(), options, multiple }
}

fn votes_for(tally: &Value) -> Vec<(String, u64)> {
    let options = tally["options"].as_array().unwrap();
    options
        .iter()
        .map(|one| (one["name"].as_str().unwrap().to_owned(), one["votes"].as_u64().unwrap()))
        .collect()
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&one| one.to_owned()).collect()
}

#[test]
fn the_tally_of_a_poll_follows_the_votes_of_both_sides() {
    let mut pair = Pair::linked(61);
    let id = say(&mut pair, poll(true));
    assert_eq!(tally(&pair, &id)["voters"], 0);

    alice(&mut pair, Sending::Vote { id: id.clone(), options: names(&["sim", "🍕"]) });
    pair.pass(Duration::from_secs(1));
    let ours = say(&mut pair, Body::Vote { id: id.clone(), options: names(&["🍕"]) });
    let counted = tally(&pair, &id);
    assert_eq!(votes_for(&counted), [("sim".into(), 1), ("não".into(), 0), ("🍕".into(), 2)]);
    assert_eq!(
        (&counted["question"], &counted["multiple"], &counted["voters"]),
        (&json!("Pizza?"), &json!(true), &json!(2))
    );
    assert_eq!(counted["options"][0]["voters"][0]["phone"], ALICE);
    assert!(counted["options"][0]["voters"][0]["lid"].as_str().unwrap().ends_with("@lid"));
    let own: Vec<&Value> =
        counted["options"][2]["voters"].as_array().unwrap().iter().map(|v| &v["from_me"]).collect();
    assert_eq!(own, [&json!(false), &json!(true)]);
    assert!(pair.inbox_of(ALICE).iter().any(|(received, _)| *received == ours));

    // Another choice, and then none.
    pair.pass(Duration::from_secs(1));
    alice(&mut pair, Sending::Vote { id: id.clone(), options: names(&["não"]) });
    assert_eq!(votes_for(&tally(&pair, &id)), [("sim".into(), 0), ("não".into(), 1), ("🍕".into(), 1)]);
    pair.pass(Duration::from_secs(1));
    alice(&mut pair, Sending::Vote { id: id.clone(), options: Vec::new() });
    assert_eq!(tally(&pair, &id)["voters"], 1);

    let votes = pair.events_of("poll.vote");
    let told: Vec<(&Value, &Value)> = votes.iter().map(|vote| (&vote["from_me"], &vote["options"])).collect();
    assert_eq!(
        told,
        [
            (&json!(false), &json!(["sim", "🍕"])),
            (&json!(true), &json!(["🍕"])),
            (&json!(false), &json!(["não"])),
            (&json!(false), &json!([])),
        ]
    );
    assert!(votes.iter().all(|vote| vote["whatsapp_message_id"] == json!(id)));
    assert!(pair.events_of("message.undecryptable").is_empty());
    pair.assert_well_behaved();
}

#[test]
fn a_poll_of_somebody_else_is_voted_in_as_well() {
    let mut pair = Pair::linked(62);
    let options = names(&["a", "b"]);
    let id = alice(&mut pair, Sending::Poll { question: "Which?".into(), options, multiple: false });
    say(&mut pair, Body::Vote { id: id.clone(), options: names(&["b"]) });
    alice(&mut pair, Sending::Vote { id: id.clone(), options: names(&["a"]) });
    assert_eq!(votes_for(&tally(&pair, &id)), [("a".into(), 1), ("b".into(), 1)]);
    assert_eq!(tally(&pair, &id)["multiple"], false);
    pair.assert_well_behaved();
}

#[test]
fn a_vote_in_what_is_no_poll_is_told_as_unreadable_and_changes_nothing() {
    let mut pair = Pair::linked(63);
    let id = say(&mut pair, poll(false));
    let key = proto::MessageKey { id: Some(id.clone()), from_me: Some(false), ..Default::default() };
    let vote = |key: &proto::MessageKey| {
        let update = message::PollUpdateMessage {
            poll_creation_message_key: Some(key.clone()),
            vote: Some(message::PollEncValue { enc_payload: Some(vec![7; 50]), enc_iv: Some(vec![7; 12]) }),
            sender_timestamp_ms: Some(1),
        };
        let message = proto::Message { poll_update_message: Some(update), ..Default::default() };
        Sending::Raw(message.encode_to_vec())
    };
    alice(&mut pair, vote(&key));
    alice(&mut pair, vote(&proto::MessageKey { id: Some("3EB0".into()), ..key }));
    assert_eq!(tally(&pair, &id)["voters"], 0);
    let unreadable = pair.events_of("message.undecryptable");
    assert_eq!(unreadable.len(), 2);
    assert!(unreadable.iter().all(|event| event["reason"] == "missing_message_secret"));
    assert!(pair.events_of("poll.vote").is_empty() && pair.received().is_empty());
}

#[test]
fn a_message_reads_with_its_reactions_edits_and_receipts() {
    let mut pair = Pair::linked(64);
    let id = say(&mut pair, Body::Text("first".into()));
    alice(&mut pair, Sending::Reaction { id: id.clone(), emoji: "👍".into() });
    alice(&mut pair, Sending::Reaction { id: id.clone(), emoji: "🎉".into() });
    let target = Target { id: id.clone(), from_me: true, participant: None };
    say(&mut pair, Body::Reaction { target, emoji: "😀".into() });
    say(&mut pair, Body::Edit { id: id.clone(), text: "second".into() });
    pair.lab.read(ALICE, &id, pair.now).unwrap();
    pair.drive();

    let read = view(&pair, &id);
    assert_eq!((&read["content"], &read["message"]["conversation"]), (&json!("second"), &json!("first")));
    assert_eq!(
        (&read["status"], &read["key"]["id"], &read["deleted_at"]),
        (&json!("read"), &json!(id), &Value::Null)
    );
    assert_eq!(read["edits"].as_array().unwrap().len(), 1);
    assert_eq!(read["edits"][0]["content"], "second");
    let reactions: Vec<(&Value, &Value)> = read["reactions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reaction| (&reaction["phone"], &reaction["emoji"]))
        .collect();
    assert_eq!(reactions.len(), 2);
    assert!(
        reactions.contains(&(&json!(ALICE), &json!("🎉")))
            && reactions.contains(&(&json!(OWN), &json!("😀")))
    );
    let recipients = read["recipients"].as_array().unwrap();
    assert_eq!(recipients.len(), 1);
    assert_eq!((&recipients[0]["phone"], &recipients[0]["status"]), (&json!(ALICE), &json!("read")));
    assert!(recipients[0]["delivered_at"].is_string() && recipients[0]["read_at"].is_string());

    say(&mut pair, Body::Revoke { id: id.clone() });
    assert!(view(&pair, &id)["deleted_at"].is_string());
    let found = pair.store(|tx| tx.search().find("second", None, 10, 0));
    assert_eq!(found.1, 0, "what was taken back is not found any more");
}

#[test]
fn nobody_edits_or_deletes_what_somebody_else_wrote() {
    let mut pair = Pair::linked(65);
    let id = say(&mut pair, Body::Text("ours".into()));
    let key = proto::MessageKey { id: Some(id.clone()), from_me: Some(false), ..Default::default() };
    let edited = proto::Message { conversation: Some("theirs".into()), ..Default::default() };
    for (kind, edited) in [(14, Some(Box::new(edited))), (0, None)] {
        let protocol = message::ProtocolMessage {
            key: Some(key.clone()),
            r#type: Some(kind),
            edited_message: edited,
            ..Default::default()
        };
        let forged = proto::Message { protocol_message: Some(Box::new(protocol)), ..Default::default() };
        alice(&mut pair, Sending::Raw(forged.encode_to_vec()));
    }
    assert!(pair.events_of("message.edited").is_empty() && pair.events_of("message.deleted").is_empty());
    let read = view(&pair, &id);
    assert_eq!((&read["content"], &read["deleted_at"]), (&json!("ours"), &Value::Null));
    assert_eq!(pair.unanswered(), 0, "acknowledged all the same");
}

/// The secret of a message that Alice's phone received, and the names that bind an add-on of hers to it.
struct Secret {
    id: String,
    secret: [u8; 32],
    own: String,
    alice: String,
}

impl Secret {
    fn of(pair: &Pair, id: &str) -> Self {
        let received = pair.lab.messages(ALICE, None).unwrap();
        let message = &received.iter().find(|message| message.id == id).unwrap().message;
        let secret = message["messageContextInfo"]["messageSecret"].as_str().unwrap();
        let (own, alice) = pair.store(|tx| {
            let lid = |number: &str| tx.people().lid_of(&Jid::pn(number));
            let own = tx.device().load()?.unwrap().paired.unwrap().lid.unwrap().bare();
            Ok((own.to_wire(), lid(ALICE)?.unwrap().to_wire()))
        });
        let secret = BASE64_STANDARD.decode(secret).unwrap().try_into().unwrap();
        Self { id: id.to_owned(), secret, own, alice }
    }

    fn key(&self) -> Option<proto::MessageKey> {
        Some(proto::MessageKey { id: Some(self.id.clone()), from_me: Some(false), ..Default::default() })
    }

    fn seal(&self, what: AddOn, plain: &impl prost::Message) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let binding =
            Binding { secret: &self.secret, id: &self.id, author: &self.own, modifier: &self.alice };
        (Some(binding.seal(what, [3; 12], &plain.encode_to_vec())), Some(vec![3; 12]))
    }

    fn add_on(&self, what: AddOn, plain: &impl prost::Message) -> Option<message::EncryptedAddOn> {
        let (enc_payload, enc_iv) = self.seal(what, plain);
        Some(message::EncryptedAddOn { target_message_key: self.key(), enc_payload, enc_iv })
    }
}

#[test]
fn what_travels_encrypted_with_a_messages_secret_is_told_as_what_it_is() {
    let mut pair = Pair::linked(66);
    let id = say(&mut pair, Body::Text("an announcement".into()));
    let secret = Secret::of(&pair, &id);

    let reaction = message::ReactionMessage { text: Some("👀".into()), ..Default::default() };
    let enc_reaction_message = secret.add_on(AddOn::Reaction, &reaction);
    let sent = proto::Message { enc_reaction_message, ..Default::default() };
    alice(&mut pair, Sending::Raw(sent.encode_to_vec()));
    assert_eq!(pair.events_of("message.reaction")[0]["emoji"], "👀");
    assert_eq!(view(&pair, &id)["reactions"][0]["emoji"], "👀");

    let comment = proto::Message { conversation: Some("well said".into()), ..Default::default() };
    let enc_comment_message = secret.add_on(AddOn::Comment, &comment);
    let sent = proto::Message { enc_comment_message, ..Default::default() };
    let commented = alice(&mut pair, Sending::Raw(sent.encode_to_vec()));
    assert_eq!(view(&pair, &commented)["message"]["commentMessage"]["message"]["conversation"], "well said");

    let answer =
        message::EventResponseMessage { response: Some(1), extra_guest_count: Some(2), ..Default::default() };
    let (enc_payload, enc_iv) = secret.seal(AddOn::EventResponse, &answer);
    let enc_event_response_message = Some(message::EncEventResponseMessage {
        event_creation_message_key: secret.key(),
        enc_payload,
        enc_iv,
    });
    let sent = proto::Message { enc_event_response_message, ..Default::default() };
    alice(&mut pair, Sending::Raw(sent.encode_to_vec()));
    let told = &pair.events_of("event.response")[0];
    assert_eq!((&told["response"], &told["extra_guests"]), (&json!("going"), &json!(2)));
    assert!(pair.events_of("message.undecryptable").is_empty());
}

#[test]
fn an_encrypted_edit_of_an_own_text_counts_like_an_open_one() {
    let mut pair = Pair::linked(67);
    let id = alice(&mut pair, Sending::Text { text: "before".into(), quote: None });
    let (secret, alice_lid) = {
        let id = id.clone();
        pair.store(move |tx| {
            let message = tx.messages().find_anywhere(&id)?.unwrap();
            let content = proto::Message::decode(&*message.content).unwrap();
            let secret = content.message_context_info.unwrap().message_secret.unwrap();
            let lid = tx.people().lid_of(&Jid::pn(ALICE))?.unwrap().to_wire();
            Ok((<[u8; 32]>::try_from(secret).unwrap(), lid))
        })
    };
    let secret = Secret { id: id.clone(), secret, own: alice_lid.clone(), alice: alice_lid };
    let edited = proto::Message { conversation: Some("after".into()), ..Default::default() };
    let protocol = message::ProtocolMessage {
        r#type: Some(14),
        edited_message: Some(Box::new(edited)),
        ..Default::default()
    };
    let plain = proto::Message { protocol_message: Some(Box::new(protocol)), ..Default::default() };
    let (enc_payload, enc_iv) = secret.seal(AddOn::MessageEdit, &plain);
    let sent = proto::Message {
        secret_encrypted_message: Some(message::SecretEncryptedMessage {
            target_message_key: secret.key(),
            enc_payload,
            enc_iv,
            secret_enc_type: Some(2),
        }),
        ..Default::default()
    };
    alice(&mut pair, Sending::Raw(sent.encode_to_vec()));
    assert_eq!(pair.events_of("message.edited")[0]["content"], "after");
    assert_eq!(view(&pair, &id)["content"], "after");
}

#[test]
fn messages_are_found_by_their_words_and_paged_by_chat() {
    let mut pair = Pair::linked(68);
    for n in 1..=5 {
        alice(&mut pair, Sending::Text { text: format!("Olá número {n}"), quote: None });
        pair.pass(Duration::from_secs(2));
    }
    let texts = |found: Vec<wazap::store::messages::Message>| -> Vec<String> {
        found.iter().map(|message| wazap::account::text_of(&message.content).unwrap()).collect()
    };
    let (found, total) = pair.store(|tx| tx.search().find("OLA num", None, 2, 1));
    assert_eq!((total, texts(found)), (5, names(&["Olá número 4", "Olá número 3"])));
    for hostile in ["\"", "a OR b", "text:x", "NEAR(", "*", "número -", "{"] {
        pair.store(move |tx| tx.search().find(hostile, None, 10, 0));
    }
    assert_eq!(pair.store(|tx| tx.search().find("numero 3", None, 10, 0)).1, 1);

    let page = pair.store(|tx| {
        use wazap::store::messages::Edge;
        let chat = tx.messages().find_chat(&Jid::pn(ALICE))?.unwrap().id;
        let newest = tx.messages().page(chat, None, 2, 0)?;
        let before = tx.messages().page(chat, Some(Edge::Before(&newest[1])), 2, 0)?;
        let after = tx.messages().page(chat, Some(Edge::After(&before[1])), 2, 0)?;
        Ok([newest, before, after])
    });
    let [newest, before, after] = page.map(texts);
    assert_eq!(newest, names(&["Olá número 5", "Olá número 4"]));
    assert_eq!(before, names(&["Olá número 3", "Olá número 2"]));
    assert_eq!(after, names(&["Olá número 4", "Olá número 3"]));
}

#[test]
fn polls_are_announced_as_such_to_servers_that_see_no_content() {
    let mut pair = Pair::linked(69);
    let id = say(&mut pair, poll(true));
    say(&mut pair, Body::Vote { id: id.clone(), options: names(&["sim"]) });
    let group = pair.lab.create_group(OWN, "Team", &[ALICE], true, pair.now).unwrap();
    let sent = pair.say(Recipient::Jid(group.jid.parse().unwrap()), poll(false));
    assert!(sent.is_ok());
    let told = pair.written.iter().filter(|node| node.tag == "message" && node.text("type") == Some("poll"));
    let told: Vec<&str> = told.map(|node| node.find("meta").unwrap().text("polltype").unwrap()).collect();
    assert_eq!(told, ["creation", "vote", "creation"]);
}

/// Bytes of a reaction to a message that Alice or the account wrote.
fn reaction_to(id: &str, emoji: &str) -> Sending {
    let key = proto::MessageKey { id: Some(id.to_owned()), from_me: Some(true), ..Default::default() };
    let reaction =
        message::ReactionMessage { key: Some(key), text: Some(emoji.to_owned()), ..Default::default() };
    Sending::Raw(proto::Message { reaction_message: Some(reaction), ..Default::default() }.encode_to_vec())
}

#[test]
fn a_vote_that_overtakes_its_poll_counts_when_the_poll_comes() {
    let mut pair = Pair::linked(71);
    pair.lab.set_faults(&json!({ "corrupt": { "times": 1 } })).unwrap();
    let options = names(&["a", "b"]);
    let ask = Sending::Poll { question: "Which?".into(), options, multiple: false };
    // The poll has to be asked for again, and meanwhile Alice votes in it.
    let id = pair.lab.send(ALICE, OWN, ask, pair.now).unwrap();
    let vote = Sending::Vote { id: id.clone(), options: names(&["b"]) };
    pair.lab.send(ALICE, OWN, vote, pair.now).unwrap();
    pair.pass(Duration::from_secs(10));
    assert_eq!(votes_for(&tally(&pair, &id)), [("a".into(), 0), ("b".into(), 1)]);
    let told: Vec<String> = pair.events().into_iter().map(|event| event.kind).collect();
    let told: Vec<&str> = told
        .iter()
        .map(String::as_str)
        .filter(|kind| kind.contains("message.") || kind.contains("poll"))
        .collect();
    assert_eq!(told, ["message.undecryptable", "message.undecryptable", "message.received", "poll.vote"]);
    let vote = &pair.events_of("poll.vote")[0];
    assert_eq!((&vote["options"], &vote["whatsapp_message_id"]), (&json!(["b"]), &json!(id)));
    assert!(vote["message_id"].is_string());
    pair.assert_well_behaved();
}

#[test]
fn reactions_edits_and_deletions_that_come_first_are_done_when_their_message_comes() {
    let mut pair = Pair::linked(72);
    pair.lab.set_faults(&json!({ "corrupt": { "times": 2 } })).unwrap();
    let text = |text: &str| Sending::Text { text: text.into(), quote: None };
    let one = pair.lab.send(ALICE, OWN, text("first"), pair.now).unwrap();
    let two = pair.lab.send(ALICE, OWN, text("gone"), pair.now).unwrap();
    for what in [
        reaction_to(&one, "🎉"),
        Sending::Edit { id: one.clone(), text: "second".into() },
        Sending::Revoke { id: two.clone() },
    ] {
        pair.lab.send(ALICE, OWN, what, pair.now).unwrap();
    }
    pair.pass(Duration::from_secs(10));
    let read = view(&pair, &one);
    assert_eq!((&read["content"], &read["message"]["conversation"]), (&json!("second"), &json!("first")));
    assert_eq!(read["reactions"][0]["emoji"], "🎉");
    assert!(view(&pair, &two)["deleted_at"].is_string());
    // Told when they came, once.
    for kind in ["message.reaction", "message.edited", "message.deleted"] {
        let ids: Vec<bool> =
            pair.events_of(kind).iter().map(|event| event["message_id"].is_string()).collect();
        assert_eq!(ids, [false], "{kind}");
    }
    pair.assert_well_behaved();
}

#[test]
fn so_many_wait_for_what_never_comes_and_none_for_ever() {
    let mut pair = Pair::linked(73);
    for round in 0..3 {
        alice(&mut pair, reaction_to("3EB0NEVER", if round == 1 { "🎉" } else { "👍" }));
    }
    let chat = pair.store(|tx| Ok(tx.messages().find_chat(&Jid::pn(ALICE))?.unwrap().id));
    let now = pair.now;
    pair.store(move |tx| {
        let rows = tx.history().take_early(chat, "3EB0NEVER")?;
        assert!(tx.history().take_early(chat, "3EB0NEVER")?.is_empty(), "taken once");
        assert_eq!(rows.len(), 3);
        for early in rows {
            tx.history().comes_early(chat, "3EB0NEVER", early, now)?;
        }
        // 61 days later another one comes: the old ones wait no more.
        let later = now + Duration::from_secs(61 * 24 * 3600);
        let other = wazap::store::history::Early { message: 1, live: true };
        tx.history().comes_early(chat, "3EB0OTHER", other, later)?;
        assert!(tx.history().take_early(chat, "3EB0NEVER")?.is_empty());
        assert_eq!(tx.history().take_early(chat, "3EB0OTHER")?.len(), 1);
        Ok(())
    });
}
