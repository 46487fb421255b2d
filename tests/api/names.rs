//! One person, many spellings: every route that names somebody or a chat leads to the same under each of them.

use std::time::Duration;

use serde_json::Value;
use wazap::{
    account::{
        Body, BusinessView, Catalogue, CommunityAnswer, CommunityCommand, GroupAnswer, GroupCommand,
        LabelChange, ProfileAnswer, ProfileCommand, Question, Recipient, StateChange, Told,
    },
    daemon::Shown,
    store::{
        Tx,
        messages::{MessageKey, NewMessage, Progress},
        schedule::Batch,
    },
    wire::Jid,
};

use crate::{
    groups::view,
    harness::{Asked, START, Story},
    scopes,
};

const PN: &str = "5511999999999";
const LID: &str = "123456789012345";
const GROUP: &str = "120363025246125486";
/// The person, as callers write it. The last is the number from before the ninth digit.
const PERSON: [&str; 9] = [
    PN,
    "+5511999999999",
    "5511999999999@s.whatsapp.net",
    "5511999999999:3@s.whatsapp.net",
    "5511999999999@c.us",
    "123456789012345@lid",
    "5511999999999:99@hosted",
    "123456789012345:99@hosted.lid",
    "551199999999",
];
const GROUPS: [&str; 2] = [GROUP, "120363025246125486@g.us"];

/// What a route takes in the place of `$`.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    /// People.
    Person,
    /// People and groups.
    Chat,
    /// Groups.
    Group,
}
use Names::{Chat, Group, Person};

/// Route, what it names, and a request that is good.
type Row = (&'static str, &'static str, Names, &'static str, &'static str);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("POST", "/send-message", Chat, "/send-message", r#"{"to":"$","message":"hi"}"#),
    ("POST", "/send-message", Person, "/send-message", r#"{"to":"120363025246125486","message":"hi","mentions":["$"]}"#),
    ("POST", "/send-reaction", Chat, "/send-reaction", r#"{"to":"$","messageId":"M1","emoji":"👍"}"#),
    ("POST", "/send-reaction", Person, "/send-reaction", r#"{"to":"120363025246125486","messageId":"M1","emoji":"👍","participant":"$"}"#),
    ("POST", "/send-location", Chat, "/send-location", r#"{"to":"$","latitude":1,"longitude":2}"#),
    ("POST", "/send-contact", Chat, "/send-contact", r#"{"to":"$","contacts":[{"name":"A","phone":"5511988887777"}]}"#),
    ("POST", "/send-poll", Chat, "/send-poll", r#"{"to":"$","question":"?","options":["a","b"]}"#),
    ("POST", "/forward", Chat, "/forward", r#"{"to":"$","message_id":"M1"}"#),
    ("POST", "/messages/{id}/pin", Chat, "/messages/M1/pin", r#"{"to":"$","value":true}"#),
    ("POST", "/send-list", Chat, "/send-list", r#"{"to":"$","text":"?","sections":[{"rows":[{"title":"a"}]}]}"#),
    ("POST", "/send-buttons", Chat, "/send-buttons", r#"{"to":"$","text":"?","buttons":[{"id":"y","title":"Yes"}]}"#),
    ("POST", "/send-batch", Chat, "/send-batch", r#"{"messages":[{"type":"text","to":"$","message":"hi"}]}"#),
    ("POST", "/send-media", Chat, "/send-media", r#"{"to":"$","media_type":"image","media_url":"https://example.com/a.jpg"}"#),
    ("POST", "/send-status", Person, "/send-status", r#"{"text":"hi","recipients":["$"]}"#),
    ("GET", "/messages/search", Chat, "/messages/search?q=morning&to=$", ""),
    ("GET", "/messages/{id}", Chat, "/messages/M1?to=$", ""),
    ("PATCH", "/messages/{id}", Chat, "/messages/M1", r#"{"to":"$","message":"ho"}"#),
    ("DELETE", "/messages/{id}", Chat, "/messages/M1?to=$", ""),
    ("DELETE", "/messages/{id}", Chat, "/messages/M1?to=$&for=me", ""),
    ("POST", "/messages/{id}/star", Chat, "/messages/M1/star", r#"{"to":"$","value":true}"#),
    ("GET", "/chats/{jid}", Chat, "/chats/$", ""),
    ("PATCH", "/contacts/{jid}", Person, "/contacts/$", r#"{"status_muted":true}"#),
    ("PATCH", "/chats/{jid}", Chat, "/chats/$", r#"{"favorite":true}"#),
    ("PATCH", "/chats/{jid}", Chat, "/chats/$", r#"{"archived":true}"#),
    ("PATCH", "/chats/{jid}", Chat, "/chats/$", r#"{"locked":true}"#),
    ("DELETE", "/chats/{jid}", Chat, "/chats/$", ""),
    ("GET", "/chats/{jid}/messages", Chat, "/chats/$/messages", ""),
    ("GET", "/chats/{jid}/messages", Chat, "/chats/$/messages?after=M1", ""),
    ("POST", "/chats/{jid}/history", Chat, "/chats/$/history", "{}"),
    ("POST", "/chats/{jid}/clear", Chat, "/chats/$/clear", ""),
    ("GET", "/contacts/{jid}", Person, "/contacts/$", ""),
    ("PUT", "/contacts/{jid}", Person, "/contacts/$", r#"{"name":"Alice"}"#),
    ("DELETE", "/contacts/{jid}", Person, "/contacts/$", ""),
    ("PATCH", "/account/privacy", Person, "/account/privacy", r#"{"status_privacy":{"type":"whitelist","people":["$"]}}"#),
    ("GET", "/profile-picture", Chat, "/profile-picture?to=$", ""),
    ("POST", "/block", Person, "/block", r#"{"to":"$","blocked":true}"#),
    ("GET", "/chats/{jid}/presence", Person, "/chats/$/presence", ""),
    ("POST", "/chats/{jid}/presence", Person, "/chats/$/presence", ""),
    ("DELETE", "/chats/{jid}/presence", Person, "/chats/$/presence", ""),
    ("GET", "/business/{jid}", Person, "/business/$", ""),
    ("GET", "/business/{jid}", Person, "/business/$?after=x", ""),
    ("POST", "/labels/{id}/assign", Chat, "/labels/1/assign", r#"{"to":"$","value":true}"#),
    ("POST", "/labels/{id}/assign", Chat, "/labels/1/assign", r#"{"to":"$","message_id":"M1","value":true}"#),
    ("GET", "/polls/{id}", Chat, "/polls/P1?to=$", ""),
    ("POST", "/polls/{id}/vote", Chat, "/polls/P1/vote", r#"{"to":"$","options":[]}"#),
    ("POST", "/groups", Person, "/groups", r#"{"subject":"Team","participants":["$"]}"#),
    ("GET", "/groups/{jid}", Group, "/groups/$", ""),
    ("PATCH", "/groups/{jid}", Group, "/groups/$", r#"{"subject":"Team"}"#),
    ("PUT", "/groups/{jid}/picture", Group, "/groups/$/picture", r#"{"media_url":"https://example.com/a.jpg"}"#),
    ("DELETE", "/groups/{jid}/picture", Group, "/groups/$/picture", ""),
    ("POST", "/groups/{jid}/participants", Group, "/groups/$/participants", r#"{"participants":["5511999999999"]}"#),
    ("POST", "/groups/{jid}/participants", Person, "/groups/120363025246125486/participants", r#"{"participants":["$"]}"#),
    ("DELETE", "/groups/{jid}/participants", Group, "/groups/$/participants", r#"{"participants":["5511999999999"]}"#),
    ("DELETE", "/groups/{jid}/participants", Person, "/groups/120363025246125486/participants", r#"{"participants":["$"]}"#),
    ("POST", "/groups/{jid}/admins", Group, "/groups/$/admins", r#"{"participants":["5511999999999"]}"#),
    ("POST", "/groups/{jid}/admins", Person, "/groups/120363025246125486/admins", r#"{"participants":["$"]}"#),
    ("DELETE", "/groups/{jid}/admins", Group, "/groups/$/admins", r#"{"participants":["5511999999999"]}"#),
    ("DELETE", "/groups/{jid}/admins", Person, "/groups/120363025246125486/admins", r#"{"participants":["$"]}"#),
    ("POST", "/groups/{jid}/leave", Group, "/groups/$/leave", ""),
    ("GET", "/groups/{jid}/invite", Group, "/groups/$/invite", ""),
    ("DELETE", "/groups/{jid}/invite", Group, "/groups/$/invite", ""),
    ("POST", "/groups/{jid}/invite", Group, "/groups/$/invite", ""),
    ("GET", "/groups/{jid}/requests", Group, "/groups/$/requests", ""),
    ("POST", "/groups/{jid}/requests", Group, "/groups/$/requests", r#"{"approve":["5511999999999"]}"#),
    ("POST", "/groups/{jid}/requests", Person, "/groups/120363025246125486/requests", r#"{"approve":["$"]}"#),
    ("GET", "/communities/{jid}", Group, "/communities/$", ""),
    ("DELETE", "/communities/{jid}", Group, "/communities/$", ""),
    ("POST", "/communities/{jid}/groups", Group, "/communities/$/groups", r#"{"subject":"Team","participants":["5511999999999"]}"#),
    ("POST", "/communities/{jid}/groups", Person, "/communities/120363025246125486/groups", r#"{"subject":"Team","participants":["$"]}"#),
    ("PUT", "/communities/{jid}/groups/{group}", Group, "/communities/$/groups/120363025246125487", ""),
    ("PUT", "/communities/{jid}/groups/{group}", Group, "/communities/120363025246125487/groups/$", ""),
    ("DELETE", "/communities/{jid}/groups/{group}", Group, "/communities/$/groups/120363025246125487", ""),
    ("DELETE", "/communities/{jid}/groups/{group}", Group, "/communities/120363025246125487/groups/$", ""),
    ("POST", "/communities/{jid}/groups/{group}/join", Group, "/communities/$/groups/120363025246125487/join", ""),
    ("POST", "/communities/{jid}/groups/{group}/join", Group, "/communities/120363025246125487/groups/$/join", ""),
    ("GET", "/communities/{jid}/participants", Group, "/communities/$/participants", ""),
    ("DELETE", "/communities/{jid}/participants", Group, "/communities/$/participants", r#"{"participants":["5511999999999"]}"#),
    ("DELETE", "/communities/{jid}/participants", Person, "/communities/120363025246125486/participants", r#"{"participants":["$"]}"#),
    ("POST", "/mark-read", Chat, "/mark-read", r#"{"to":"$","message_ids":["M1"]}"#),
    ("POST", "/send-presence", Chat, "/send-presence", r#"{"to":"$","state":"typing"}"#),
    // Not whom somebody is, but which numbers have an account: JIDs are none. tests/api/numbers.rs has its spellings.
];

/// Routes that name nobody.
#[rustfmt::skip]
const NAMELESS: &[(&str, &str)] = &[
    ("POST", "/check-number"), ("GET", "/scheduled"), ("GET", "/scheduled/{id}"), ("DELETE", "/scheduled/{id}"),
    ("GET", "/batches/{id}"), ("DELETE", "/batches/{id}"), ("GET", "/messages/{id}/media"), ("GET", "/chats"),
    ("GET", "/contacts"), ("GET", "/account"), ("PATCH", "/account"), ("PUT", "/account/picture"),
    ("DELETE", "/account/picture"), ("GET", "/account/privacy"), ("GET", "/account/settings"), ("PATCH", "/account/settings"), ("GET", "/blocklist"), ("GET", "/labels"),
    ("POST", "/labels"), ("GET", "/labels/{id}"), ("PATCH", "/labels/{id}"), ("DELETE", "/labels/{id}"),
    ("GET", "/quick-replies"), ("POST", "/quick-replies"), ("GET", "/quick-replies/{id}"), ("PATCH", "/quick-replies/{id}"),
    ("DELETE", "/quick-replies/{id}"),
    ("GET", "/groups"), ("POST", "/groups/join"), ("GET", "/communities"), ("POST", "/communities"), ("GET", "/groups/invite/{code}"), ("POST", "/calls/{id}/reject"),
    ("POST", "/presence"), ("GET", "/status"), ("GET", "/qr"), ("GET", "/qr.png"), ("GET", "/qr.svg"),
    ("GET", "/qr/stream"), ("GET", "/passkey"), ("POST", "/passkey"), ("DELETE", "/passkey"), ("POST", "/passkey/confirm"), ("POST", "/connect"), ("POST", "/disconnect"), ("GET", "/events"),
    ("GET", "/events/stream"), ("GET", "/instances/{uuid}/webhook"), ("PUT", "/instances/{uuid}/webhook"),
    ("DELETE", "/instances/{uuid}/webhook"), ("GET", "/webhooks"), ("POST", "/webhooks/{id}/rewind"),
    ("POST", "/webhooks/{id}/pause"), ("POST", "/webhooks/{id}/resume"), ("POST", "/webhooks/{id}/redeliver"),
    ("GET", "/health"), ("GET", "/health/details"), ("GET", "/"), ("GET", "/page.css"), ("GET", "/page.js"),
];

fn pn() -> Jid {
    Jid::pn(PN)
}

fn lid() -> Jid {
    Jid::lid(LID)
}

/// An instance that knows the person under all names, and has a chat with it and one with a group.
async fn story() -> Story {
    let story = Story::new();
    let stored = story.store.write(|tx| {
        for digits in [PN, "551199999999"] {
            tx.people().set_number(digits, Some(&pn()), START)?;
        }
        tx.people().learn(&pn(), &lid())?;
        tx.contacts().set_name(&pn(), "Alice Souza", Some("Alice"))?;
        tx.chats().set_label("1", Some(("New", 1)))?;
        tx.watched().add(&pn(), START)?;
        let batch = Batch { at: START, pace: Duration::from_secs(1), rejected: "[]".into() };
        tx.schedule().open_batch("b1", &batch)?;
        for chat in [pn(), Jid::group(GROUP)] {
            let chat = tx.messages().chat(&chat)?;
            let participant = chat.jid.is_group().then(lid);
            for (n, id) in ["M1", "P1"].into_iter().enumerate() {
                let row = tx.messages().insert(&NewMessage {
                    key: MessageKey {
                        chat: chat.id,
                        wa_id: id.into(),
                        from_me: false,
                        participant: participant.clone(),
                    },
                    uuid: format!("{}{id}", chat.id),
                    at: START + Duration::from_secs(n as u64),
                    push_name: None,
                    content: content(id),
                    progress: Progress::Pending,
                })?;
                if let Some(row) = row {
                    tx.search().put(row, Some("good morning"))?;
                }
            }
        }
        Ok::<_, wazap::store::Error>(())
    });
    stored.await.unwrap();
    story
}

/// A text, or a poll.
fn content(id: &str) -> Vec<u8> {
    use prost::Message as _;
    use wazap::proto::{
        Message,
        message::{PollCreationMessage, poll_creation_message},
    };
    let option =
        |name: &str| poll_creation_message::Option { option_name: Some(name.into()), ..Default::default() };
    let message = match id {
        "P1" => Message {
            poll_creation_message_v3: Some(Box::new(PollCreationMessage {
                name: Some("?".into()),
                options: vec![option("a"), option("b")],
                ..Default::default()
            })),
            ..Default::default()
        },
        _ => Message { conversation: Some("good morning".into()), ..Default::default() },
    };
    message.encode_to_vec()
}

/// What the scripted instance says to the questions of a route.
fn answer(method: &str, route: &str, path: &str) -> Told {
    let told = |answer: GroupAnswer| Told::Group(answer);
    let of_community = |answer: CommunityAnswer| Told::Community(answer);
    match (method, route) {
        ("GET", "/communities/{jid}") => {
            of_community(CommunityAnswer::Community { view: Box::new(view()), groups: Vec::new() })
        }
        ("POST", "/communities/{jid}/groups" | "/communities/{jid}/groups/{group}/join") => {
            of_community(CommunityAnswer::Group(Box::new(view())))
        }
        ("GET", "/communities/{jid}/participants") => of_community(CommunityAnswer::Members(Vec::new())),
        (_, "/communities/{jid}/participants") => of_community(CommunityAnswer::Results(vec![(pn(), 200)])),
        (_, route) if route.starts_with("/communities/") => of_community(CommunityAnswer::Done),
        ("POST", "/groups") => told(GroupAnswer::Created {
            view: Box::new(view()),
            results: vec![(pn(), 200)],
            invites: Vec::new(),
        }),
        (_, "/groups/{jid}") => told(GroupAnswer::Group(Box::new(view()))),
        (_, "/groups/{jid}/invite") => told(GroupAnswer::Invite("AbCdEfGhIjKlMnOpQrStUv".into())),
        ("GET", "/groups/{jid}/requests") => told(GroupAnswer::Requests(Vec::new())),
        (_, "/groups/{jid}/participants" | "/groups/{jid}/admins" | "/groups/{jid}/requests") => {
            told(GroupAnswer::Results(vec![(pn(), 200)]))
        }
        (_, "/groups/{jid}/leave") => told(GroupAnswer::Done),
        ("GET", "/business/{jid}") if path.contains("after") => {
            Told::Profile(ProfileAnswer::Catalogue(Catalogue::default()))
        }
        (_, "/profile-picture") => Told::Profile(ProfileAnswer::Picture(None)),
        (_, "/account/privacy") => Told::Profile(ProfileAnswer::Privacy(Box::default())),
        (_, "/business/{jid}") => {
            Told::Profile(ProfileAnswer::Business(Some(Box::<BusinessView>::default())))
        }
        ("PUT", "/groups/{jid}/picture") => Told::Profile(ProfileAnswer::PictureSet(None)),
        _ => Told::Profile(ProfileAnswer::Done),
    }
}

/// Whom the instance was asked about, in order, each under the name by which it is known best.
fn named(asked: &Asked, tx: &Tx<'_>) -> Vec<Jid> {
    let mut all: Vec<Recipient> = Vec::new();
    let sends = asked.sends.iter().chain(&asked.linked);
    let sends =
        sends.chain(asked.batches.iter().flat_map(|batch| batch.sends.iter().map(|(_, _, send)| send)));
    for send in sends.chain(asked.files.iter().map(|file| &file.message)) {
        match &send.recipient {
            Recipient::Status(people) => all.extend(people.iter().cloned().map(Recipient::Jid)),
            one => all.push(one.clone()),
        }
        all.extend(send.mentions.iter().cloned().map(Recipient::Jid));
        if let Body::Reaction { target, .. } = &send.body {
            all.extend(target.participant.iter().cloned().map(Recipient::Jid));
        }
    }
    for shown in &asked.shown {
        if let Shown::Read { chat, .. } | Shown::ChatState { chat, .. } = shown {
            all.push(chat.clone());
        }
    }
    for change in &asked.changes {
        match change {
            StateChange::Star { chat, .. }
            | StateChange::DeleteForMe { chat, .. }
            | StateChange::Chat { chat, .. }
            | StateChange::DeleteChat { chat }
            | StateChange::ClearChat { chat }
            | StateChange::LockChat { chat, .. }
            | StateChange::Favorite { chat, .. }
            | StateChange::MuteStatus { who: chat, .. }
            | StateChange::Contact { who: chat, .. }
            | StateChange::Label(LabelChange::Chat { chat, .. } | LabelChange::Message { chat, .. }) => {
                all.push(chat.clone());
            }
            StateChange::StatusPrivacy { people, .. } => {
                all.extend(people.iter().cloned().map(Recipient::Jid));
            }
            StateChange::PushName(_)
            | StateChange::Setting(_)
            | StateChange::QuickReply { .. }
            | StateChange::Label(LabelChange::Edit { .. }) => {}
        }
    }
    for question in &asked.questions {
        match question {
            Question::Profile(
                ProfileCommand::Person(who)
                | ProfileCommand::Picture { of: who, .. }
                | ProfileCommand::Block { who, .. }
                | ProfileCommand::Business(who)
                | ProfileCommand::Catalogue { of: who, .. }
                | ProfileCommand::Watch(who)
                | ProfileCommand::Unwatch(who),
            ) => all.push(who.clone()),
            Question::Profile(
                ProfileCommand::SetPicture { of, .. } | ProfileCommand::RemovePicture { of },
            ) => {
                all.extend(of.clone().map(Recipient::Jid));
            }
            Question::Group(
                GroupCommand::Info(group)
                | GroupCommand::Leave(group)
                | GroupCommand::Invite(group)
                | GroupCommand::RevokeInvite(group)
                | GroupCommand::Requests(group)
                | GroupCommand::Update { group, .. },
            ) => all.push(Recipient::Jid(group.clone())),
            Question::Community(
                CommunityCommand::Info(community)
                | CommunityCommand::Members(community)
                | CommunityCommand::Deactivate(community),
            ) => all.push(Recipient::Jid(community.clone())),
            Question::Community(
                CommunityCommand::CreateGroup { community, people, .. }
                | CommunityCommand::Remove { community, people },
            ) => {
                all.push(Recipient::Jid(community.clone()));
                all.extend(people.iter().cloned().map(Recipient::Jid));
            }
            Question::Community(
                CommunityCommand::Link { community, group, .. } | CommunityCommand::Join { community, group },
            ) => all.extend([community, group].map(|jid| Recipient::Jid(jid.clone()))),
            Question::Group(GroupCommand::Create { people, .. }) => {
                all.extend(people.iter().cloned().map(Recipient::Jid));
            }
            Question::Group(
                GroupCommand::Members { group, people, .. } | GroupCommand::Decide { group, people, .. },
            ) => {
                all.push(Recipient::Jid(group.clone()));
                all.extend(people.iter().cloned().map(Recipient::Jid));
            }
            _ => {}
        }
    }
    all.extend(asked.histories.iter().map(|(chat, _)| chat.clone()));
    let best = |who: Recipient| {
        let known = who.known_as(tx, START).unwrap();
        let other = if known.is_lid() { tx.people().pn_of(&known).unwrap() } else { None };
        other.unwrap_or(known)
    };
    all.into_iter().map(best).collect()
}

/// Status, body and whom the instance was asked about.
async fn outcome(row: &Row, spelling: &str) -> (u16, Value, Vec<Jid>) {
    let (method, route, _, path, body) = *row;
    let story = story().await;
    story.instance.tells(Ok(answer(method, route, path)));
    let path = path.replace('$', &spelling.replace('+', "%2B"));
    let answer = story.call(method, &path, &body.replace('$', spelling)).await;
    let asked = story.instance.asked(std::mem::take);
    let people = story.store.read(move |tx| Ok::<_, wazap::store::Error>(named(&asked, tx))).await.unwrap();
    (answer.status.as_u16(), answer.json(), people)
}

#[test]
fn every_route_is_in_the_table_or_names_nobody() {
    for (method, route) in scopes::routes() {
        let named = TABLE.iter().any(|row| (row.0, row.1) == (method.as_str(), route.as_str()));
        // A channel has one name only.
        let nameless =
            route.starts_with("/newsletters") || NAMELESS.contains(&(method.as_str(), route.as_str()));
        assert!(named != nameless, "{method} {route}: whom does it name?");
    }
}

#[tokio::test]
async fn every_spelling_leads_to_the_same() {
    let mut wrong = Vec::new();
    for row in TABLE {
        let (method, route, names, _, body) = *row;
        for (spellings, is) in [(&PERSON[..], pn()), (&GROUPS[..], Jid::group(GROUP))] {
            let fits = if is.is_group() { names != Person } else { names != Group };
            if !fits {
                continue;
            }
            let expected = outcome(row, spellings[0]).await;
            let reaches = expected.2.contains(&is) || method == "GET" && expected.2.is_empty();
            if !(200..300).contains(&expected.0) || !reaches {
                wrong.push(format!("{method} {route} {body}: {} {}, {reaches}", expected.0, expected.1));
                continue;
            }
            for spelling in &spellings[1..] {
                let mut found = outcome(row, spelling).await;
                // A place in the answer for the number as it was given, nothing else.
                if let Some(recipient) = found.1.get_mut("recipient") {
                    *recipient = expected.1["recipient"].clone();
                }
                if found != expected {
                    wrong.push(format!("{method} {route} {body} with {spelling}: {} {}", found.0, found.1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
