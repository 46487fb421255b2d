//! Newsletters: an account and the simulated WhatsApp on one fake clock, and servers that answer with nonsense.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use pair::{ALICE, Pair, message};
use serde_json::{Value, json};
use wazap::{
    account::{
        Answer, Ask, AskError, Body, Command, Input, NewsletterAnswer, NewsletterCommand, NewsletterName,
        NewsletterView, PostName, Recipient, SendError,
    },
    wire::{Jid, Node},
};

fn done(pair: &mut Pair, command: NewsletterCommand) -> Result<NewsletterAnswer, AskError> {
    let ticket = pair.ask(Command::Ask(command.into()));
    pair.drive();
    match pair.answer(ticket).expect("answered") {
        Answer::Asked(answer) => {
            answer.clone().map(|told| NewsletterCommand::told(told).expect("of newsletters"))
        }
        other => panic!("a newsletter command was answered with {other:?}"),
    }
}

fn view(answer: Result<NewsletterAnswer, AskError>) -> NewsletterView {
    match answer {
        Ok(NewsletterAnswer::Newsletter(view)) => *view,
        other => panic!("no newsletter: {other:?}"),
    }
}

fn posts(pair: &mut Pair, newsletter: &Jid) -> Vec<Value> {
    let command =
        NewsletterCommand::Posts { newsletter: newsletter.clone(), count: 50, before: None, since: None };
    match done(pair, command) {
        Ok(NewsletterAnswer::Posts(posts)) => posts,
        other => panic!("no posts: {other:?}"),
    }
}

/// One of Alice's that the account follows.
fn followed(pair: &mut Pair) -> Jid {
    let jid: Jid =
        pair.lab.create_newsletter(ALICE, "News", "of the day", pair.now).unwrap().jid.parse().unwrap();
    assert_eq!(done(pair, NewsletterCommand::Follow(jid.clone(), true)), Ok(NewsletterAnswer::Done));
    jid
}

fn actions(pair: &Pair) -> Vec<String> {
    let all = pair.events_of("newsletter.updated");
    all.iter().map(|event| event["action"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_posted_is_told_once_and_kept_with_its_numbers() {
    let mut pair = Pair::linked(501);
    let jid = followed(&mut pair);
    let id = pair.lab.post(&jid, ALICE, Some("hello"), None, pair.now).unwrap();
    pair.drive();
    let received = pair.events_of("message.received");
    assert_eq!(received.len(), 1);
    assert_eq!((&received[0]["content"], &received[0]["whatsapp_message_id"]), (&json!("hello"), &json!(id)));
    let kept = posts(&mut pair, &jid);
    assert_eq!(kept.len(), 1);
    assert_eq!((&kept[0]["server_id"], &kept[0]["views"]), (&json!(100), &json!(0)));
    assert_eq!(kept[0]["message"]["conversation"], "hello");
    assert_eq!(pair.events_of("message.received").len(), 1, "reading the past is no news");
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

#[test]
fn a_post_is_edited_and_taken_back_by_whoever_wrote_it() {
    let mut pair = Pair::linked(502);
    let jid = followed(&mut pair);
    let id = pair.lab.post(&jid, ALICE, Some("teh"), None, pair.now).unwrap();
    pair.drive();
    pair.lab.post(&jid, ALICE, Some("the"), Some(&id), pair.now).unwrap();
    pair.drive();
    let edited = pair.events_of("message.edited");
    assert_eq!((&edited[0]["content"], &edited[0]["whatsapp_message_id"]), (&json!("the"), &json!(id)));
    pair.lab.post(&jid, ALICE, None, Some(&id), pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.events_of("message.deleted")[0]["whatsapp_message_id"], id.as_str());
    assert_eq!(pair.events_of("message.received").len(), 1);
    pair.assert_well_behaved();
}

#[test]
fn reactions_and_views_are_counted_for_whoever_asked_to_be_told() {
    let mut pair = Pair::linked(503);
    let jid = followed(&mut pair);
    let id = pair.lab.post(&jid, ALICE, Some("hello"), None, pair.now).unwrap();
    pair.drive();
    assert_eq!(done(&mut pair, NewsletterCommand::Live(jid.clone())), Ok(NewsletterAnswer::Live(300)));
    let react =
        |post, emoji: &str| NewsletterCommand::React { newsletter: jid.clone(), post, emoji: emoji.into() };
    let by_id = PostName::Message(id.clone());
    assert_eq!(done(&mut pair, react(by_id.clone(), "👍")), Ok(NewsletterAnswer::Done));
    pair.lab.react_to_post(&jid, ALICE, 100, "👍", pair.now).unwrap();
    pair.drive();
    assert_eq!(done(&mut pair, react(PostName::Number(100), "")), Ok(NewsletterAnswer::Done));
    let viewed = NewsletterCommand::Viewed { newsletter: jid.clone(), posts: vec![by_id] };
    assert_eq!(done(&mut pair, viewed), Ok(NewsletterAnswer::Done));
    let counted: Vec<Value> = pair
        .events_of("newsletter.updated")
        .into_iter()
        .filter(|event| event["action"] == "counted")
        .map(|event| json!([event["reactions"].get(0).map(|r| &r["count"]), event["views"]]))
        .collect();
    assert_eq!(counted, [json!([1, 0]), json!([2, 0]), json!([1, 0]), json!([1, 1])]);
    assert_eq!(done(&mut pair, react(PostName::Number(7), "👍")), Err(AskError::Unknown));
    assert_eq!(done(&mut pair, react(PostName::Message("nothing".into()), "👍")), Err(AskError::Unknown));
    pair.assert_well_behaved();
}

#[test]
fn a_newsletter_of_the_account_lives_from_its_first_post_to_its_end() {
    let mut pair = Pair::linked(504);
    let create = NewsletterCommand::Create { name: "Mine".into(), description: None };
    let made = view(done(&mut pair, create));
    assert_eq!((made.role.as_deref(), made.followers), (Some("owner"), Some(1)));
    pair.lab.follow_newsletter(&made.jid, ALICE, true, pair.now).unwrap();
    let sent = pair.say(Recipient::Jid(made.jid.clone()), Body::Text("first".into())).unwrap();
    assert_eq!(pair.inbox_of(ALICE).last().unwrap().1, "first");
    assert_eq!(pair.progress_of(&sent.message_id), ["sent"]);
    assert_eq!(posts(&mut pair, &made.jid)[0]["key"]["fromMe"], true);
    let stanza = pair.written.iter().find(|n| n.text("id") == Some(&*sent.message_id)).unwrap();
    assert!(stanza.find("enc").is_none() && stanza.find("participants").is_none(), "in the open");

    let update = NewsletterCommand::Update {
        newsletter: made.jid.clone(),
        name: Some("Ours".into()),
        description: Some("for all".into()),
    };
    let changed = view(done(&mut pair, update));
    assert_eq!((changed.name.as_str(), changed.description.as_deref()), ("Ours", Some("for all")));
    assert_eq!(done(&mut pair, NewsletterCommand::Mute(made.jid.clone(), true)), Ok(NewsletterAnswer::Done));
    let Ok(NewsletterAnswer::Newsletters(all)) = done(&mut pair, NewsletterCommand::List) else { panic!() };
    assert_eq!((all.len(), all[0].muted), (1, Some(true)));
    assert_eq!(done(&mut pair, NewsletterCommand::Delete(made.jid.clone())), Ok(NewsletterAnswer::Done));
    let info = NewsletterCommand::Info(NewsletterName::Jid(made.jid));
    assert_eq!(done(&mut pair, info), Err(AskError::Unknown));
    assert_eq!(actions(&pair), ["changed", "muted", "state"]);
    pair.assert_well_behaved();
}

#[test]
fn a_post_that_was_written_before_a_crash_is_posted_once() {
    let mut pair = Pair::linked(505);
    let made = view(done(&mut pair, NewsletterCommand::Create { name: "Mine".into(), description: None }));
    pair.deaf = true;
    let command = message(Recipient::Jid(made.jid.clone()), Body::Text("once".into()));
    pair.ask(Command::SendMessage(command));
    pair.drive();
    pair.deaf = false;
    pair.kill();
    pair.pass(std::time::Duration::from_secs(60));
    assert_eq!(pair.lab.newsletter(&made.jid).unwrap().posts.len(), 1);
    pair.assert_well_behaved();
}

#[test]
fn what_is_new_or_has_other_numbers_since_a_time_is_asked_for() {
    let mut pair = Pair::linked(511);
    let jid = followed(&mut pair);
    let old = pair.lab.post(&jid, ALICE, Some("old"), None, pair.now).unwrap();
    let seen = pair.lab.post(&jid, ALICE, Some("seen"), None, pair.now).unwrap();
    pair.pass(std::time::Duration::from_secs(60));
    let since = pair.now;
    let ask =
        NewsletterCommand::Posts { newsletter: jid.clone(), count: 50, before: None, since: Some(since) };
    assert_eq!(done(&mut pair, ask.clone()), Ok(NewsletterAnswer::Posts(Vec::new())));
    pair.lab.react_to_post(&jid, ALICE, 101, "👍", pair.now).unwrap();
    pair.lab.post(&jid, ALICE, Some("new"), None, pair.now).unwrap();
    pair.drive();
    let Ok(NewsletterAnswer::Posts(changed)) = done(&mut pair, ask.clone()) else { panic!("no posts") };
    let texts: Vec<&Value> = changed.iter().map(|post| &post["message"]["conversation"]).collect();
    assert_eq!(texts, ["seen", "new"]);
    assert_eq!(changed[0]["reactions"], json!([{ "emoji": "👍", "count": 1 }]));

    // A server that tells numbers alone: what they are of is known.
    pair.deaf = true;
    let ticket = pair.ask(Command::Ask(ask.into()));
    pair.drive();
    let asked = pair.written.iter().rev().find(|node| node.find("message_updates").is_some()).unwrap();
    let id = asked.text("id").unwrap().to_owned();
    let post = |server_id: u64| {
        Node::new("message").attr("server_id", server_id).child(Node::new("views_count").attr("count", 9_u64))
    };
    let list = Node::new("messages").children_from([post(100), post(7)]);
    let answer = Node::new("iq").attr("from", &jid).attr("type", "result").attr("id", id);
    pair.input(Input::Node(answer.child(Node::new("message_updates").child(list))));
    pair.drive();
    let Some(Answer::Asked(Ok(told))) = pair.answer(ticket) else { panic!("no answer") };
    let Some(NewsletterAnswer::Posts(told)) = NewsletterCommand::told(told.clone()) else { panic!() };
    assert_eq!((&told[0]["key"]["id"], &told[0]["views"]), (&json!(old), &json!(9)));
    assert_eq!(told[0]["message"]["conversation"], "old");
    assert_eq!((&told[1]["server_id"], &told[1]["message"]["conversation"]), (&json!(7), &Value::Null));
    assert_ne!(seen, old);
}

fn mine(pair: &mut Pair) -> Jid {
    view(done(pair, NewsletterCommand::Create { name: "Mine".into(), description: None })).jid
}

fn texts(pair: &Pair, newsletter: &Jid) -> Vec<Option<String>> {
    pair.lab.newsletter(newsletter).unwrap().posts.into_iter().map(|post| post.text).collect()
}

#[test]
fn own_posts_are_edited_and_taken_back_under_their_own_ids() {
    let mut pair = Pair::linked(508);
    let jid = mine(&mut pair);
    pair.lab.follow_newsletter(&jid, ALICE, true, pair.now).unwrap();
    let to = || Recipient::Jid(jid.clone());
    let post = pair.say(to(), Body::Text("teh".into())).unwrap().message_id;
    let edit = |text: &str| Body::Edit { id: post.clone(), text: text.into() };
    let edited = pair.say(to(), edit("the")).unwrap().message_id;
    assert_ne!(edited, post, "what is sent has an id of its own here");
    assert_eq!(texts(&pair, &jid), [Some("the".to_owned())]);
    let stanza = pair.written.iter().rev().find(|node| node.tag == "message").unwrap();
    assert_eq!((stanza.text("id"), stanza.text("edit")), (Some(&*post), Some("3")));
    assert_eq!(pair.progress_of(&edited), ["sent"]);
    let told = pair.events_of("message.edited");
    assert_eq!(
        (told.len(), &told[0]["content"], &told[0]["whatsapp_message_id"]),
        (1, &json!("the"), &json!(post))
    );
    assert_eq!(pair.inbox_of(ALICE).last().unwrap().1, "the");

    let revoked = pair.say(to(), Body::Revoke { id: post.clone() }).unwrap().message_id;
    assert_eq!(pair.progress_of(&revoked), ["sent"]);
    let stanza = pair.written.iter().rev().find(|node| node.tag == "message").unwrap();
    assert_eq!(
        (stanza.text("id"), stanza.text("edit"), stanza.text("type")),
        (Some(&*post), Some("8"), Some("text"))
    );
    let plain = stanza.find("plaintext").unwrap();
    assert!(plain.content_bytes().unwrap_or_default().is_empty() && !plain.has("mediatype"));
    assert_eq!(texts(&pair, &jid), [None]);
    assert_eq!(pair.events_of("message.deleted")[0]["whatsapp_message_id"], post.as_str());
    assert_eq!(posts(&mut pair, &jid).len(), 1);
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

#[test]
fn changes_that_are_under_way_together_end_in_their_order_and_each_is_done_once() {
    let mut pair = Pair::linked(509);
    let jid = mine(&mut pair);
    let to = || Recipient::Jid(jid.clone());
    let post = pair.say(to(), Body::Text("1".into())).unwrap().message_id;
    // Nothing that is written now is answered before the crash.
    pair.deaf = true;
    let ask = |pair: &mut Pair, body: Body| {
        let ticket = pair.ask(Command::SendMessage(message(to(), body)));
        pair.drive();
        pair.sent(ticket).unwrap().unwrap().message_id
    };
    let second = ask(&mut pair, Body::Text("another".into()));
    let changes = ["2", "3"].map(|text| ask(&mut pair, Body::Edit { id: post.clone(), text: text.into() }));
    let gone = ask(&mut pair, Body::Revoke { id: second.clone() });
    pair.deaf = false;
    pair.kill();
    pair.pass(std::time::Duration::from_secs(60));
    assert_eq!(texts(&pair, &jid), [Some("3".to_owned()), None]);
    for id in changes.iter().chain([&second, &gone]) {
        assert_eq!(pair.progress_of(id), ["sent"], "each has an end");
    }
    let told: Vec<Value> =
        pair.events_of("message.edited").into_iter().map(|event| event["content"].clone()).collect();
    assert_eq!(told, [json!("2"), json!("3")]);
    assert_eq!(pair.unanswered(), 0);
    pair.assert_well_behaved();
}

#[test]
fn what_somebody_else_posted_is_not_edited_and_a_refused_change_is_told_so() {
    let mut pair = Pair::linked(510);
    let jid = followed(&mut pair);
    let theirs = pair.lab.post(&jid, ALICE, Some("hello"), None, pair.now).unwrap();
    pair.drive();
    for body in [
        Body::Edit { id: theirs.clone(), text: "bye".into() },
        Body::Revoke { id: theirs.clone() },
        Body::Edit { id: "3EB0NOTHING".into(), text: "bye".into() },
    ] {
        assert!(matches!(pair.say(Recipient::Jid(jid.clone()), body), Err(SendError::UnknownMessage(_))));
    }
    assert_eq!(texts(&pair, &jid), [Some("hello".to_owned())]);
    // The newsletter ends, and with it what could be changed.
    let own = mine(&mut pair);
    let post = pair.say(Recipient::Jid(own.clone()), Body::Text("1".into())).unwrap().message_id;
    assert_eq!(done(&mut pair, NewsletterCommand::Delete(own.clone())), Ok(NewsletterAnswer::Done));
    let late = pair.say(Recipient::Jid(own), Body::Edit { id: post, text: "2".into() }).unwrap();
    assert_eq!(pair.progress_of(&late.message_id), ["failed"]);
    assert_eq!(pair.unanswered(), 0);
}

#[test]
fn nobody_but_who_runs_it_posts_and_the_caller_is_told_so() {
    let mut pair = Pair::linked(506);
    let jid = followed(&mut pair);
    let sent = pair.say(Recipient::Jid(jid.clone()), Body::Text("mine?".into())).unwrap();
    assert_eq!(pair.progress_of(&sent.message_id), ["failed"]);
    let update =
        NewsletterCommand::Update { newsletter: jid.clone(), name: Some("x".into()), description: None };
    assert_eq!(done(&mut pair, update), Err(AskError::Refused(403)));
    let nowhere = NewsletterCommand::Info(NewsletterName::Invite("0029VaNothing".into()));
    assert_eq!(done(&mut pair, nowhere), Err(AskError::Unknown));
    assert!(pair.lab.newsletter(&jid).unwrap().posts.is_empty());
}

#[test]
fn nonsense_about_newsletters_is_acknowledged_and_changes_nothing() {
    let mut pair = Pair::linked(507);
    let jid = followed(&mut pair);
    let before = pair.events().len();
    let notice = |kind: &'static str, child: Node| {
        Node::new("notification")
            .attr("from", &jid)
            .attr("type", kind)
            .attr("id", "9")
            .attr("t", 1_u64)
            .child(child)
    };
    let post = |content: Vec<u8>| {
        Node::new("message")
            .attr("from", &jid)
            .attr("id", "X1")
            .attr("t", 1_u64)
            .attr("type", "text")
            .attr("server_id", u64::MAX)
            .child(Node::new("plaintext").bytes(content))
    };
    let update = |text: &str| Node::new("update").attr("op_name", "x").bytes(text.as_bytes());
    let nonsense = [
        notice("mex", update("{\"data\":{\"xwa2_notify_newsletter_on_join\":{\"id\":7}}}")),
        notice("mex", update("{\"data\":[]}")),
        notice("mex", update("not json")),
        notice("newsletter", Node::new("live_updates")),
        notice(
            "newsletter",
            Node::new("live_updates").child(Node::new("messages").child(Node::new("message"))),
        ),
        // Something that only an own device may say, a cut protobuf, and nothing.
        post(wazap::stanza::device_sent(&[10, 1, 65], &jid)),
        post(vec![10, 200, 1]),
        post(Vec::new()),
        Node::new("message").attr("from", &jid).attr("id", "X2").attr("t", 1_u64).attr("type", "text"),
    ];
    let count = nonsense.len();
    let acks = |pair: &Pair| pair.written.iter().filter(|node| node.tag == "ack").count();
    let acked = acks(&pair);
    for node in nonsense {
        pair.input(Input::Node(node));
        pair.drive();
    }
    assert_eq!(pair.events().len(), before);
    assert_eq!(acks(&pair) - acked, count, "each is done with");
}
