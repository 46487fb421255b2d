//! A peer who means harm. Whatever it sends is acknowledged, has a clear outcome, costs no more than its size lets
//! expect, and stops neither the queue behind it nor the connection.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use pair::{ALICE, ECHO, OWN, Pair, ids};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value, json};
use wazap::{
    account::{Answer, Body, Command, Input, Recipient, SendError, Status, Target, Viewer},
    crypto::{
        addon::{AddOn, Binding, option_hash},
        media::{
            Encryptor, MediaKeys, MediaKind, Sidecar,
            retry::{self, Answer as PhoneAnswer},
        },
    },
    proto::{self, message},
    sandbox::Sending,
    stanza::{MediaOf, MediaRetryAnswer},
    wire::{Jid, Node},
};

/// What a peer may make this process hold at once; a stanza itself has up to 16 MiB.
const MIB: usize = 1 << 20;

fn member(number: u32, inside: &[u8]) -> Vec<u8> {
    use prost::encoding::{WireType, encode_key, encode_varint};
    let mut bytes = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut bytes);
    encode_varint(inside.len() as u64, &mut bytes);
    bytes.extend_from_slice(inside);
    bytes
}

/// Alice sends these bytes as a message; the id.
fn sends(pair: &mut Pair, raw: Vec<u8>) -> String {
    let id = pair.lab.forge(ALICE, OWN, raw, pair.now).unwrap();
    pair.drive();
    id
}

fn message(build: impl FnOnce(&mut proto::Message)) -> Vec<u8> {
    let mut message = proto::Message::default();
    build(&mut message);
    message.encode_to_vec()
}

/// Nothing waits, nothing was refused, and what Alice says next arrives, also after a reconnect.
fn goes_on(pair: &mut Pair) {
    assert_eq!(pair.unanswered(), 0, "everything was acknowledged");
    assert_eq!(pair.status(), Status::Connected);
    let id = pair.phone_sends(ALICE, "and on it goes");
    pair.drive();
    assert_eq!(pair.received().last(), Some(&id));
    pair.cut();
    let queued = pair.phone_sends(ALICE, "from the queue");
    pair.pass(Duration::from_secs(20));
    assert_eq!((pair.received().last(), pair.status()), (Some(&queued), Status::Connected));
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

fn undecryptable(pair: &Pair, id: &str) -> Vec<String> {
    let all = pair.events_of("message.undecryptable").into_iter();
    let of = all.filter(|event| event["whatsapp_message_id"] == id);
    of.map(|event| event["reason"].as_str().unwrap().to_owned()).collect()
}

fn view(pair: &Pair, id: &str) -> Value {
    let id = id.to_owned();
    pair.store(move |tx| {
        let message = tx.messages().find_anywhere(&id)?.unwrap();
        Ok(Value::Object(Viewer::new(tx, "http://127.0.0.1:3000")?.message(&message)?))
    })
}

#[test]
fn wrappers_in_wrappers_end_where_readers_stop() {
    let mut pair = Pair::linked(201);
    let text = message(|m| m.conversation = Some("deep".into()));
    let wrapped = |levels: usize| (0..levels).fold(text.clone(), |inside, _| member(40, &member(1, &inside)));
    let read = sends(&mut pair, wrapped(8));
    assert_eq!(pair.events_of("message.received")[0]["content"], "deep");
    // Deeper than clients look, and not too deep to be decoded: there, and shown without its text.
    let odd = sends(&mut pair, wrapped(30));
    assert_eq!(pair.received(), [read, odd.clone()]);
    assert_eq!(pair.events_of("message.received")[1]["content"], Value::Null);
    assert!(view(&pair, &odd)["message"].is_object());
    for levels in [60, 1000] {
        let refused = sends(&mut pair, wrapped(levels));
        assert_eq!(undecryptable(&pair, &refused), ["invalid_message"], "{levels}");
    }
    goes_on(&mut pair);
}

#[test]
fn a_message_of_millions_of_members_is_told_as_unreadable() {
    let mut pair = Pair::linked(202);
    // extendedTextMessage.contextInfo.mentionedJid; pollCreationMessage.options; conversation, again and again.
    let mentions = member(6, &member(17, &[0x7a, 0].repeat(500_000)));
    let options = member(49, &[0x1a, 0].repeat(500_000));
    let quoted = member(6, &member(17, &member(3, &options)));
    let unknown = [0xc2, 0xb8, 0x02, 0].repeat(300_000);
    for (what, bomb) in
        [("mentions", mentions), ("options", options), ("quoted", quoted), ("unknown", unknown)]
    {
        let id = sends(&mut pair, bomb);
        assert_eq!(undecryptable(&pair, &id), ["invalid_message"], "{what}");
    }
    assert!(pair.received().is_empty());
    goes_on(&mut pair);
}

#[test]
fn lengths_that_lie_are_no_message() {
    let mut pair = Pair::linked(203);
    for bytes in [
        &b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"[..],
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x1a\x84\x80\x80\x08x",
        b"\x0a\x05hi",
        b"\x07",
        b"\x00\x00",
        b"\x0a\x02\xff\xfe",
        b"\x0b\x0c",
    ] {
        let id = sends(&mut pair, bytes.to_vec());
        assert_eq!(undecryptable(&pair, &id), ["invalid_message"], "{bytes:?}");
    }
    goes_on(&mut pair);
}

#[test]
fn what_is_merely_large_arrives_as_it_is() {
    let mut pair = Pair::linked(204);
    let text = "ã".repeat(2 * MIB);
    let id = sends(&mut pair, message(|m| m.conversation = Some(text.clone())));
    assert_eq!(pair.events_of("message.received")[0]["content"], text);
    assert_eq!(view(&pair, &id)["content"], text);
    let found = pair.store(|tx| tx.search().find("ãã", None, 10, 0));
    assert!(found.1 <= 1);

    let thumbnail = vec![0xd8; 3 * MIB];
    let image = message::ImageMessage {
        jpeg_thumbnail: Some(thumbnail.clone()),
        mimetype: Some("image/\u{0}\r\npng".into()),
        caption: Some("look".into()),
        height: Some(u32::MAX),
        width: Some(0),
        file_length: Some(u64::MAX),
        direct_path: Some("http://169.254.169.254/".into()),
        media_key: Some(vec![1; 32]),
        ..Default::default()
    };
    let id = sends(&mut pair, message(|m| m.image_message = Some(Box::new(image))));
    let shown = view(&pair, &id);
    assert_eq!(shown["message"]["imageMessage"]["jpegThumbnail"], BASE64_STANDARD.encode(&thumbnail));
    assert_eq!((&shown["media"]["type"], &shown["content"]), (&json!("image"), &json!("look")));

    let card = message::ContactMessage {
        display_name: Some("\u{202e}\u{0}\u{7}Ana\r\nX: y".into()),
        vcard: Some(format!("BEGIN:VCARD\nFN:{}\nEND:VCARD", "x".repeat(MIB))),
        ..Default::default()
    };
    let id = sends(&mut pair, message(|m| m.contact_message = Some(Box::new(card))));
    assert!(view(&pair, &id)["message"]["contactMessage"]["vcard"].as_str().unwrap().len() > MIB);
    assert_eq!(pair.received().len(), 3);
    goes_on(&mut pair);
}

#[test]
fn an_option_named_twice_counts_once_and_ten_thousand_are_counted() {
    let mut pair = Pair::linked(205);
    let many: Vec<String> = (0..10_000).map(|n| format!("option {n}")).collect();
    for (options, expected) in [(["a", "b", "a", "a"].map(str::to_owned).to_vec(), 2), (many, 10_000)] {
        let first = options[0].clone();
        let option =
            |name| message::poll_creation_message::Option { option_name: Some(name), option_hash: None };
        let poll = message::PollCreationMessage {
            name: Some("?".into()),
            options: options.into_iter().map(option).collect(),
            ..Default::default()
        };
        let poll = message(|m| m.poll_creation_message = Some(Box::new(poll)));
        let id = pair.lab.send(ALICE, OWN, Sending::Raw(poll), pair.now).unwrap();
        pair.drive();
        let vote = Sending::Vote { id: id.clone(), options: vec![first.clone(), first.clone()] };
        pair.lab.send(ALICE, OWN, vote, pair.now).unwrap();
        pair.drive();
        assert_eq!(pair.events_of("poll.vote").last().unwrap()["options"], json!([first]));
        let tally = pair.store(move |tx| {
            let message = tx.messages().find_anywhere(&id)?.unwrap();
            Ok(Viewer::new(tx, "")?.poll(&message)?.unwrap())
        });
        let options = tally["options"].as_array().unwrap();
        assert_eq!((options.len(), &tally["voters"]), (expected, &json!(1)));
        assert_eq!((&options[0]["votes"], &options[1]["votes"]), (&json!(1), &json!(0)));
    }
    goes_on(&mut pair);
}

/// The instance says something to Alice; the id.
fn says(pair: &mut Pair, body: Body) -> Result<String, SendError> {
    let sent = pair.say(Recipient::Number(ALICE.to_owned()), body);
    sent.map(|sent| sent.message_id)
}

#[test]
fn a_vote_for_more_than_any_poll_has_is_told_as_unreadable() {
    let mut pair = Pair::linked(206);
    let options = ["a", "b"].map(str::to_owned).to_vec();
    let poll = says(&mut pair, Body::Poll { question: "?".into(), options, multiple: true }).unwrap();
    let wanted = poll.clone();
    let (secret, own, alice) = pair.store(move |tx| {
        let message = tx.messages().find_anywhere(&wanted)?.unwrap();
        let content = proto::Message::decode(&*message.content).unwrap();
        let secret: [u8; 32] =
            content.message_context_info.unwrap().message_secret.unwrap().try_into().unwrap();
        let own = tx.device().load()?.unwrap().paired.unwrap().lid.unwrap().bare().to_wire();
        Ok((secret, own, tx.people().lid_of(&Jid::pn(ALICE))?.unwrap().to_wire()))
    });
    let binding = Binding { secret: &secret, id: &poll, author: &own, modifier: &alice };
    let vote = |pair: &mut Pair, hashes: Vec<Vec<u8>>, at: i64| {
        let plain = message::PollVoteMessage { selected_options: hashes }.encode_to_vec();
        let update = message::PollUpdateMessage {
            poll_creation_message_key: Some(proto::MessageKey {
                id: Some(poll.clone()),
                from_me: Some(false),
                ..Default::default()
            }),
            vote: Some(message::PollEncValue {
                enc_payload: Some(binding.seal(AddOn::PollVote, [5; 12], &plain)),
                enc_iv: Some(vec![5; 12]),
            }),
            sender_timestamp_ms: Some(at),
        };
        sends(pair, message(|m| m.poll_update_message = Some(update)))
    };
    let hash = |n: u32| option_hash(&n.to_string()).to_vec();
    let id = vote(&mut pair, (0..10_000).map(hash).collect(), 1);
    assert_eq!(undecryptable(&pair, &id).len(), 1);
    let id = vote(&mut pair, vec![Vec::new(); 1_000_000], 2);
    assert_eq!(undecryptable(&pair, &id).len(), 1);
    let id = vote(&mut pair, vec![vec![7; 31]], 3);
    assert_eq!(undecryptable(&pair, &id).len(), 1);
    assert!(pair.events_of("poll.vote").is_empty());
    // Of what is read, only options of the poll are told, each once, whatever the voter's clock says.
    let mut hashes: Vec<Vec<u8>> = (0..1000).map(hash).collect();
    hashes.extend([option_hash("b").to_vec(), option_hash("b").to_vec()]);
    vote(&mut pair, hashes, i64::MAX);
    assert_eq!(pair.events_of("poll.vote")[0]["options"], json!(["b"]));
    vote(&mut pair, vec![option_hash("a").to_vec()], i64::MIN);
    goes_on(&mut pair);
}

#[test]
fn edits_without_end_keep_a_bounded_history() {
    let mut pair = Pair::linked(207);
    let first = Sending::Text { text: "first".into(), quote: None };
    let id = pair.lab.send(ALICE, OWN, first, pair.now).unwrap();
    for n in 1..=150 {
        pair.now = pair.now + Duration::from_secs(1);
        let edit = Sending::Edit { id: id.clone(), text: format!("edit {n}") };
        pair.lab.send(ALICE, OWN, edit, pair.now).unwrap();
        pair.drive();
    }
    let shown = view(&pair, &id);
    assert_eq!((shown["edits"].as_array().unwrap().len(), &shown["content"]), (100, &json!("edit 150")));
    assert_eq!(shown["edits"][99]["content"], "edit 150", "the latest are kept");
    // An edit of an edit, and one of itself.
    let edit_of = |target: &str| {
        let edited = proto::Message { conversation: Some("x".into()), ..Default::default() };
        let protocol = message::ProtocolMessage {
            key: Some(proto::MessageKey { id: Some(target.to_owned()), ..Default::default() }),
            r#type: Some(14),
            edited_message: Some(Box::new(edited)),
            ..Default::default()
        };
        message(|m| m.protocol_message = Some(Box::new(protocol)))
    };
    let of_edit = sends(&mut pair, edit_of(&id));
    sends(&mut pair, edit_of(&of_edit));
    sends(&mut pair, edit_of("3EB0NOBODY"));
    goes_on(&mut pair);
}

#[test]
fn a_reaction_that_is_a_book_is_one_reaction() {
    let mut pair = Pair::linked(208);
    let id = pair.send(ALICE, "hello");
    for n in 0..50 {
        let reaction = message::ReactionMessage {
            key: Some(proto::MessageKey { id: Some(id.clone()), ..Default::default() }),
            text: Some(format!("{n}{}", "🤡\u{0}".repeat(10_000))),
            sender_timestamp_ms: Some(if n % 2 == 0 { i64::MAX } else { -1 }),
            ..Default::default()
        };
        sends(&mut pair, message(|m| m.reaction_message = Some(reaction)));
    }
    assert_eq!(view(&pair, &id)["reactions"].as_array().unwrap().len(), 1, "a person has one");
    assert_eq!(pair.events_of("message.reaction").len(), 50);
    goes_on(&mut pair);
}

#[test]
fn times_and_names_out_of_this_world_are_shown_as_such() {
    let mut pair = Pair::linked(209);
    let node = |id: &str, t: &str| {
        Node::new("message")
            .attr("id", id.to_owned())
            .attr("from", Jid::pn(ALICE))
            .attr("type", "text")
            .attr("t", t.to_owned())
            .attr("notify", format!("\u{0}\u{1b}[31m\r\n\u{202e}{}", "n".repeat(100_000)))
            .child(Node::new("enc").attr("v", "2").attr("type", "msg").bytes(vec![0x33; 60]))
    };
    for (id, t) in
        [("3EB0FAR", "18446744073709551615"), ("3EB0OLD", "0"), ("3EB0BAD", "-1"), ("3EB0NOT", "soon")]
    {
        pair.input(Input::Node(node(id, t)));
        pair.drive();
        let acks = pair.written.iter().filter(|n| n.tag == "ack" && n.text("id") == Some(id)).count();
        assert_eq!(acks, 1, "{id}");
    }
    assert_eq!(ids(&pair.events_of("message.undecryptable")), ["3EB0FAR", "3EB0OLD"]);
    goes_on(&mut pair);
}

#[test]
fn receipts_for_what_does_not_exist_change_nothing() {
    let mut pair = Pair::linked(210);
    let sent = pair.send(ALICE, "hello");
    let before = pair.events().len();
    let receipt = |from: Jid, id: &str, kind: &'static str| {
        Node::new("receipt").attr("id", id.to_owned()).attr("from", from).attr("type", kind).attr("t", "1")
    };
    let stranger = || Jid::pn("5511900000001");
    let items = (0..5000).map(|n| Node::new("item").attr("id", format!("3EB0{n}")));
    let list = receipt(stranger(), "3EB0LIST", "read").child(Node::new("list").children_from(items));
    let mut all = vec![list];
    for kind in ["read", "played", "delivery", "retry", "server-error", "inactive", "nonsense"] {
        all.push(receipt(Jid::pn(ALICE), "3EB0NOBODY", kind));
        // Of another person's message.
        all.push(receipt(stranger(), &sent, kind));
        all.push(receipt(Jid::group("120363000000000001"), &sent, kind).attr("participant", stranger()));
    }
    let count = all.len();
    for node in all {
        pair.input(Input::Node(node));
    }
    pair.drive();
    let acks = pair.written.iter().filter(|n| n.tag == "ack" && n.text("class") == Some("receipt"));
    assert!(acks.count() >= count);
    assert_eq!(pair.events().len(), before, "nothing is told");
    assert_eq!(view(&pair, &sent)["recipients"].as_array().unwrap().len(), 1);
    assert_eq!(pair.written.iter().filter(|n| n.tag == "message" && n.text("id") == Some(&sent)).count(), 1);
    goes_on(&mut pair);
}

#[test]
fn what_names_an_unknown_message_is_refused_with_its_id() {
    let mut pair = Pair::linked(211);
    pair.send(ALICE, "hello");
    let id = || "3EB0NOBODY".to_owned();
    let target = Target { id: id(), from_me: false, participant: None };
    for body in [
        Body::Edit { id: id(), text: "x".into() },
        Body::Revoke { id: id() },
        Body::Forward { id: id() },
        Body::Pin { id: id(), lasting: None },
        Body::Vote { id: id(), options: vec!["a".into()] },
    ] {
        let said = format!("{body:?}");
        assert_eq!(says(&mut pair, body), Err(SendError::UnknownMessage(id())), "{said}");
    }
    // Unknown in a chat with one person, a reaction says whose it is.
    assert!(says(&mut pair, Body::Reaction { target, emoji: "👍".into() }).is_ok());
    let ticket = pair.ask(Command::MarkRead { chat: Recipient::Number(ALICE.into()), ids: vec![id()] });
    pair.drive();
    assert!(
        matches!(pair.answer(ticket), Some(Answer::Refused(SendError::UnknownMessage(named))) if *named == id())
    );
    goes_on(&mut pair);
}

#[test]
fn an_answer_about_a_file_counts_only_if_it_was_sealed_with_the_files_key() {
    let mut pair = Pair::linked(212);
    pair.lab.online(OWN, false, pair.now).unwrap();
    let key = [9; 32];
    let mut blob = Vec::new();
    let mut encryptor = Encryptor::new(&MediaKeys::derive(&key, MediaKind::Image), Sidecar::Off);
    encryptor.update(b"a picture", &mut blob);
    let made = encryptor.finish(&mut blob);
    let image = message::ImageMessage {
        direct_path: Some("/v/gone".into()),
        media_key: Some(key.to_vec()),
        file_sha256: Some(made.file_sha256.to_vec()),
        file_enc_sha256: Some(made.file_enc_sha256.to_vec()),
        file_length: Some(9),
        ..Default::default()
    };
    let id = sends(&mut pair, message(|m| m.image_message = Some(Box::new(image))));
    let wanted = id.clone();
    let row = pair.store(move |tx| Ok(tx.messages().find_anywhere(&wanted)?.unwrap().id));
    let ticket = pair.ask(Command::Reupload { message: row });
    pair.drive();
    let of = MediaOf { id: id.clone(), chat: Jid::pn(ALICE), from_me: false, participant: None };
    let says = |pair: &mut Pair, key: &[u8; 32], path: &str| {
        let mut rng = rand::rng();
        let sealed = retry::seal_answer(
            key,
            &id,
            &PhoneAnswer::Uploaded { direct_path: path.into(), message_secret: None },
            &mut rng,
        );
        let answer = MediaRetryAnswer { of: of.clone(), from: Jid::pn(OWN), t: 1, outcome: Ok(sealed) };
        pair.input(Input::Node(answer.build()));
        pair.drive();
    };
    says(&mut pair, &[8; 32], "/v/false");
    assert!(pair.answer(ticket).is_none(), "not believed, and still waited for");
    says(&mut pair, &key, "/v/true");
    assert!(matches!(pair.answer(ticket), Some(Answer::Reuploaded(Some(path))) if path == "/v/true"));
    says(&mut pair, &key, "/v/late");
    pair.lab.online(OWN, true, pair.now).unwrap();
    pair.pass(Duration::from_secs(5));
    goes_on(&mut pair);
}

#[test]
fn an_account_of_ten_thousand_devices_is_written_to_on_a_hundred() {
    let mut pair = Pair::linked(213);
    // The server's own answers about devices do not arrive; the story answers.
    pair.copies = |node| {
        let devices = |user: &Node| user.find("devices").is_some();
        let list = node.find("usync").and_then(|usync| usync.find("list"));
        usize::from(!list.is_some_and(|list| list.find_all("user").any(devices)))
    };
    let written = pair.written.len();
    pair.post(ECHO, "hello", None);
    pair.drive();
    let query = |node: &&Node| {
        node.tag == "iq"
            && node
                .find("usync")
                .is_some_and(|usync| usync.find("query").is_some_and(|query| query.find("devices").is_some()))
    };
    let asked = pair.written[written..].iter().rev().find(query).expect("the devices are asked for").clone();
    let people = asked.find("usync").unwrap().find("list").unwrap().find_all("user");
    let users = people.map(|user| {
        let devices = (0..10_000u32).map(|id| Node::new("device").attr("id", id));
        let devices = Node::new("devices").child(Node::new("device-list").children_from(devices));
        Node::new("user").attr("jid", user.jid("jid").unwrap()).child(devices)
    });
    let usync = Node::new("usync").child(Node::new("list").children_from(users));
    let answer = Node::new("iq")
        .attr("id", asked.text("id").unwrap().to_owned())
        .attr("type", "result")
        .attr("from", Jid::server_itself())
        .child(usync);
    let written = pair.written.len();
    pair.copies = |_| 1;
    pair.input(Input::Node(answer));
    pair.drive();
    let bundles = pair.written[written..].iter().filter(|node| node.find("key").is_some());
    let wanted: usize = bundles.map(|node| node.find("key").unwrap().children().len()).sum();
    assert!((1..=200).contains(&wanted), "a hundred of each account: {wanted}");
    goes_on(&mut pair);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes, and any one byte of a real message changed, as the decrypted content of a message.
    #[test]
    fn whatever_is_inside_the_encryption_is_acknowledged(
        noise in prop::collection::vec(any::<u8>(), 1..200),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let mut pair = Pair::linked(214);
        let reaction = message::ReactionMessage {
            key: Some(proto::MessageKey { id: Some("3EB0".into()), from_me: Some(true), ..Default::default() }),
            text: Some("👍".into()),
            ..Default::default()
        };
        let mut damaged = message(|m| {
            m.reaction_message = Some(reaction);
            m.conversation = Some("text".into());
            m.message_context_info = Some(proto::MessageContextInfo::default());
        });
        let index = at.index(damaged.len());
        damaged[index] = to;
        let wrapped = member(40, &member(1, &noise));
        for bytes in [noise.clone(), damaged, wrapped] {
            sends(&mut pair, bytes);
        }
        prop_assert_eq!(pair.unanswered(), 0);
        prop_assert_eq!(pair.status(), Status::Connected);
    }
}
