//! The account, privacy, pictures, blocks, presences, businesses and labels: what each route takes, hands on, answers and
//! refuses.

use serde_json::{Value, json};
use wazap::{
    account::{
        AccountSetting, AskError, BusinessView, Catalogue, LabelChange, PictureView, PrivacyView, Product,
        ProfileAnswer, ProfileCommand, Question, Recipient, StateChange, Status, StatusAudience, Told,
    },
    daemon::media::{FileError, Source},
    store::{profiles::Profile, quick_replies::QuickReply},
    wire::Jid,
};

use crate::harness::{Answer, START, Story, error};

const ANA: &str = "5511987654321";
const GROUP: &str = "120363001234567890";

fn ana() -> Recipient {
    Recipient::Number(ANA.into())
}

async fn ask(
    answer: Result<ProfileAnswer, AskError>,
    method: &str,
    path: &str,
    body: Value,
) -> (Answer, Vec<ProfileCommand>) {
    let story = Story::new();
    story.instance.tells(answer.map(Told::Profile));
    ask_in(&story, method, path, body).await
}

async fn ask_in(story: &Story, method: &str, path: &str, body: Value) -> (Answer, Vec<ProfileCommand>) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = story.call(method, path, &body).await;
    let asked = story.instance.asked(|asked| std::mem::take(&mut asked.questions));
    let profile = |question| match question {
        Question::Profile(command) => Some(command),
        _ => None,
    };
    (answer, asked.into_iter().filter_map(profile).collect())
}

fn fields(answer: &Answer) -> Vec<String> {
    answer.details().as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn the_account_is_shown_and_changed() {
    let (answer, asked) = ask(Ok(ProfileAnswer::Done), "GET", "/account", Value::Null).await;
    assert_eq!((answer.status.as_u16(), &asked[..]), (200, &[ProfileCommand::Own][..]));
    let members: Vec<String> = answer.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        members,
        ["success", "phone", "lid", "name", "about", "platform", "business", "devices", "standing"]
    );
    // As last known while nothing can be asked.
    let refused = Err(AskError::NotConnected(Status::Offline));
    let (answer, _) = ask(refused, "GET", "/account", Value::Null).await;
    assert_eq!(answer.status, 200);

    let story = Story::new();
    story.instance.tells(Ok(Told::Profile(ProfileAnswer::Done)));
    let (answer, asked) = ask_in(&story, "PATCH", "/account", json!({ "name": " Loja ", "about": "" })).await;
    assert_eq!(answer.status, 200);
    let changes = story.instance.asked(|asked| std::mem::take(&mut asked.changes));
    assert_eq!(changes, [StateChange::PushName("Loja".into())]);
    assert_eq!(asked, [ProfileCommand::SetAbout(String::new()), ProfileCommand::Own]);

    for (body, wrong) in [
        (json!({}), vec!["name", "about"]),
        (json!({ "name": "x".repeat(26) }), vec!["name"]),
        (json!({ "name": " " }), vec!["name"]),
        (json!({ "name": 7 }), vec!["name"]),
        (json!({ "about": "x".repeat(140), "name": "" }), vec!["name", "about"]),
    ] {
        let (answer, asked) = ask(Ok(ProfileAnswer::Done), "PATCH", "/account", body.clone()).await;
        assert_eq!((answer.error(), asked.len()), (error(422, "VALIDATION_ERROR"), 0), "{body}");
        let mut fields = fields(&answer);
        fields.sort_by_key(|field| wrong.iter().position(|wrong| wrong == field));
        assert_eq!(fields, wrong, "{body}");
    }
    let (answer, _) = ask(Err(AskError::Refused(406)), "PATCH", "/account", json!({ "about": "x" })).await;
    assert_eq!(answer.error(), error(422, "OPERATION_REFUSED"));
    assert_eq!(answer.details(), json!({ "whatsapp_code": 406 }));
}

#[tokio::test]
async fn pictures_come_by_url_or_base64_and_go() {
    let set = || Ok(ProfileAnswer::PictureSet(Some("17".into())));
    let story = Story::new();
    story.instance.tells(set().map(Told::Profile));
    let body = json!({ "media_url": "https://example.com/a.png" });
    let (answer, asked) = ask_in(&story, "PUT", "/account/picture", body).await;
    assert_eq!(answer.json()["picture_id"], "17");
    assert_eq!(asked, [ProfileCommand::SetPicture { of: None, jpeg: vec![0xff, 0xd8] }]);
    let sources = story.instance.asked(|asked| std::mem::take(&mut asked.portraits));
    assert!(matches!(&sources[..], [Source::Url(url)] if url == "https://example.com/a.png"));
    let path = format!("/groups/{GROUP}/picture");
    let (_, asked) = ask_in(&story, "PUT", &path, json!({ "media_base64": "AAAA" })).await;
    assert_eq!(asked, [ProfileCommand::SetPicture { of: Some(Jid::group(GROUP)), jpeg: vec![0xff, 0xd8] }]);

    let (answer, _) = ask(set(), "PUT", "/account/picture", json!({})).await;
    assert_eq!((answer.error(), fields(&answer)), (error(422, "VALIDATION_ERROR"), vec!["media_url".into()]));
    let (answer, _) = ask(set(), "PUT", "/account/picture", json!({ "media_base64": "?" })).await;
    assert_eq!(fields(&answer), ["media_base64"]);
    let (answer, _) = ask(set(), "PUT", "/groups/5511987654321/picture", json!({})).await;
    assert_eq!(answer.error(), error(404, "GROUP_NOT_FOUND"));
    story.instance.file_fails(FileError::Unsupported {
        media_type: "profile_picture",
        detected: "application/pdf".into(),
    });
    let (answer, asked) = ask_in(&story, "PUT", "/account/picture", json!({ "media_base64": "AAAA" })).await;
    assert_eq!((answer.error(), asked.len()), (error(422, "UNSUPPORTED_MEDIA_FORMAT"), 0));
    story.instance.becomes(Status::Offline, None);
    let (answer, _) = ask_in(&story, "PUT", "/account/picture", json!({ "media_base64": "AAAA" })).await;
    assert_eq!(answer.error(), error(503, "INSTANCE_NOT_CONNECTED"));

    let (answer, asked) = ask(Ok(ProfileAnswer::Done), "DELETE", "/account/picture", Value::Null).await;
    assert_eq!((answer.status.as_u16(), asked), (200, vec![ProfileCommand::RemovePicture { of: None }]));
    let (answer, _) = ask(Err(AskError::Unknown), "DELETE", &path, Value::Null).await;
    assert_eq!(answer.error(), error(404, "GROUP_NOT_FOUND"));
}

#[tokio::test]
async fn somebodys_picture_is_an_address_or_nothing() {
    let found = PictureView { id: "9".into(), url: "https://pps.example/9".into() };
    let answer = Ok(ProfileAnswer::Picture(Some(found)));
    let path = format!("/profile-picture?to={ANA}&size=preview");
    let (answer, asked) = ask(answer, "GET", &path, Value::Null).await;
    assert_eq!(asked, [ProfileCommand::Picture { of: ana(), preview: true }]);
    assert_eq!(answer.json(), json!({ "success": true, "url": "https://pps.example/9", "id": "9" }));
    let path = format!("/profile-picture?to={GROUP}@g.us");
    let (answer, asked) = ask(Ok(ProfileAnswer::Picture(None)), "GET", &path, Value::Null).await;
    assert_eq!(answer.json()["url"], Value::Null);
    let of = Recipient::Jid(Jid::group(GROUP));
    assert_eq!(asked, [ProfileCommand::Picture { of, preview: false }]);
    let (answer, _) = ask(Err(AskError::Unknown), "GET", &path, Value::Null).await;
    assert_eq!(answer.error(), error(404, "GROUP_NOT_FOUND"));
    for (query, wrong) in [("", "to"), ("?to=x", "to"), ("?to=5511987654321&size=huge", "size")] {
        let path = format!("/profile-picture{query}");
        let (answer, asked) = ask(Ok(ProfileAnswer::Done), "GET", &path, Value::Null).await;
        assert_eq!((fields(&answer), asked.len()), (vec![wrong.to_owned()], 0), "{query}");
    }
}

#[tokio::test]
async fn privacy_is_shown_by_whatsapps_names_and_checked() {
    let view = || {
        let settings = vec![("last".to_owned(), "contacts".to_owned())];
        let statuses = StatusAudience { kind: "blacklist".into(), people: vec![Jid::pn(ANA)] };
        let view = PrivacyView { settings, timer: 86_400, statuses: Some(statuses) };
        Ok(ProfileAnswer::Privacy(Box::new(view)))
    };
    let (answer, asked) = ask(view(), "GET", "/account/privacy", Value::Null).await;
    assert_eq!(asked, [ProfileCommand::Privacy]);
    let body = json!({ "success": true, "last": "contacts", "default_ephemeral_seconds": 86400,
        "status_privacy": { "type": "blacklist", "people": [format!("{ANA}@s.whatsapp.net")] } });
    assert_eq!(answer.json(), body);

    let story = Story::new();
    story.instance.tells(view().map(Told::Profile));
    let body = json!({ "last": "none", "calladd": "known", "default_ephemeral_seconds": 0,
        "status_privacy": { "type": "whitelist", "people": [ANA] } });
    let (answer, asked) = ask_in(&story, "PATCH", "/account/privacy", body).await;
    assert_eq!(answer.status, 200);
    let settings = vec![("last".into(), "none".into()), ("calladd".into(), "known".into())];
    assert_eq!(asked, [ProfileCommand::SetPrivacy { settings, timer: Some(0) }]);
    let changes = story.instance.asked(|asked| std::mem::take(&mut asked.changes));
    let people = vec![Jid::pn(ANA)];
    assert_eq!(changes, [StateChange::StatusPrivacy { kind: "whitelist".into(), people }]);

    for (body, wrong) in [
        (json!({}), "settings"),
        (json!({ "last": "everybody" }), "last"),
        (json!({ "last": true }), "last"),
        (json!({ "profile": "contact_blacklist" }), "profile"),
        (json!({ "lastseen": "none" }), "lastseen"),
        (json!({ "default_ephemeral_seconds": 60 }), "default_ephemeral_seconds"),
        (json!({ "status_privacy": "contacts" }), "status_privacy"),
        (json!({ "status_privacy": { "type": "whitelist" } }), "status_privacy"),
        (json!({ "status_privacy": { "type": "contacts", "people": [ANA] } }), "status_privacy"),
        (json!({ "status_privacy": { "type": "blacklist", "people": ["x"] } }), "status_privacy"),
    ] {
        let (answer, asked) = ask(view(), "PATCH", "/account/privacy", body.clone()).await;
        assert_eq!((answer.error(), asked.len()), (error(422, "VALIDATION_ERROR"), 0), "{body}");
        assert_eq!(fields(&answer), [wrong], "{body}");
    }
}

#[tokio::test]
async fn people_are_blocked_and_listed() {
    let story = Story::new();
    story.instance.tells(Ok(Told::Profile(ProfileAnswer::Done)));
    let body = json!({ "to": "+55 11 98765-4321", "blocked": true });
    let (answer, asked) = ask_in(&story, "POST", "/block", body).await;
    assert_eq!(answer.json()["message"], "Contact blocked successfully");
    assert_eq!(asked, [ProfileCommand::Block { who: ana(), block: true }]);
    assert_eq!(story.instance.asked(|asked| asked.checked.clone()), [ANA], "by whichever name it has");
    for (body, wrong) in [
        (json!({ "blocked": true }), "to"),
        (json!({ "to": ANA }), "blocked"),
        (json!({ "to": ANA, "blocked": "yes" }), "blocked"),
        (json!({ "to": format!("{GROUP}@g.us"), "blocked": true }), "to"),
    ] {
        let (answer, asked) = ask(Ok(ProfileAnswer::Done), "POST", "/block", body.clone()).await;
        assert_eq!((fields(&answer), asked.len()), (vec![wrong.to_owned()], 0), "{body}");
    }

    let blocked = (Jid::lid("77"), Some(Jid::pn(ANA)));
    story.store.write(move |tx| tx.blocks().replace(&[blocked], Some("h")).map(drop)).await.unwrap();
    let (answer, asked) = ask_in(&story, "GET", "/blocklist", Value::Null).await;
    assert_eq!(asked, [ProfileCommand::Blocklist]);
    let one = json!({ "jid": format!("{ANA}@s.whatsapp.net"), "lid": "77@lid", "phone": ANA });
    assert_eq!(answer.json(), json!({ "success": true, "total": 1, "blocklist": [one] }));
    story.instance.tells(Err(AskError::NotConnected(Status::Offline)));
    let (answer, _) = ask_in(&story, "GET", "/blocklist", Value::Null).await;
    assert_eq!(answer.json()["total"], 1, "as last known");
    story.instance.tells(Err(AskError::Refused(503)));
    let (answer, _) = ask_in(&story, "GET", "/blocklist", Value::Null).await;
    assert_eq!(answer.error(), error(422, "OPERATION_REFUSED"));
}

#[tokio::test]
async fn a_contact_shows_what_whatsapp_says_of_it() {
    let story = Story::new();
    story.instance.tells(Err(AskError::NotConnected(Status::Offline)));
    let shown = Profile {
        about: Some("No trabalho".into()),
        picture_url: Some("https://pps.example/1".into()),
        business: true,
        verified_name: Some("Padaria".into()),
        fetched_at: START,
    };
    let written = story.store.write(move |tx| {
        let ana = Jid::pn(ANA);
        tx.people().set_push_name(&ana, "Ana")?;
        tx.blocks().set(&ana, None, true)?;
        tx.profiles().set(&ana, &shown)
    });
    written.await.unwrap();
    let path = format!("/contacts/{ANA}");
    let (answer, asked) = ask_in(&story, "GET", &path, Value::Null).await;
    let body = answer.json();
    assert_eq!((&body["about"], &body["is_business"]), (&json!("No trabalho"), &json!(true)));
    assert_eq!((&body["blocked"], &body["picture_url"]), (&json!(true), &json!("https://pps.example/1")));
    assert_eq!(asked, [], "fresh");
    story.advance(std::time::Duration::from_secs(3601));
    let (answer, asked) = ask_in(&story, "GET", &path, Value::Null).await;
    assert_eq!(asked, [ProfileCommand::Person(Recipient::Jid(Jid::pn(ANA)))]);
    assert_eq!(answer.json()["about"], "No trabalho", "what is known stays");
    let listed = story.get("/contacts").await.json();
    assert_eq!(listed["contacts"][0]["verified_name"], "Padaria");
}

#[tokio::test]
async fn presences_are_followed_and_forgotten() {
    let path = format!("/chats/{ANA}/presence");
    let (answer, asked) = ask(Ok(ProfileAnswer::Done), "POST", &path, Value::Null).await;
    assert_eq!((answer.status.as_u16(), asked), (200, vec![ProfileCommand::Watch(ana())]));
    let (answer, _) = ask(Ok(ProfileAnswer::TooMany), "POST", &path, Value::Null).await;
    assert_eq!((answer.error(), fields(&answer)), (error(422, "VALIDATION_ERROR"), vec!["jid".into()]));
    let (answer, _) = ask(Err(AskError::Unknown), "DELETE", &path, Value::Null).await;
    assert_eq!(answer.error(), error(404, "CHAT_NOT_FOUND"));
    let group = format!("/chats/{GROUP}@g.us/presence");
    let (answer, asked) = ask(Ok(ProfileAnswer::Done), "POST", &group, Value::Null).await;
    assert_eq!((answer.error(), asked.len()), (error(422, "VALIDATION_ERROR"), 0));
    let story = Story::new();
    assert_eq!(story.get(&path).await.error(), error(404, "CHAT_NOT_FOUND"));
    let seen = story.store.write(|tx| {
        tx.watched().add(&Jid::pn(ANA), START)?;
        tx.watched().saw(&Jid::pn(ANA), false, Some(START), START)
    });
    assert!(seen.await.unwrap());
    let body = json!({ "success": true, "jid": format!("{ANA}@s.whatsapp.net"), "lid": null, "phone": ANA,
        "state": "unavailable",
        "last_seen": "2025-12-30T17:30:00.000Z", "updated_at": "2025-12-30T17:30:00.000Z" });
    assert_eq!(story.get(&path).await.json(), body);
}

#[tokio::test]
async fn a_business_is_asked_once_an_hour() {
    let story = Story::new();
    let path = format!("/business/{ANA}");
    story.instance.tells(Ok(Told::Profile(ProfileAnswer::Business(None))));
    let (answer, _) = ask_in(&story, "GET", &path, Value::Null).await;
    assert_eq!(answer.error(), error(404, "BUSINESS_NOT_FOUND"));
    let product = Product { id: "1".into(), name: "Bolo".into(), price: Some(5000), ..Product::default() };
    let catalogue = Catalogue { products: vec![product], after: Some("c".into()) };
    let view = BusinessView {
        jid: Some(Jid::pn(ANA)),
        verified_name: Some("Padaria".into()),
        catalogue: catalogue.clone(),
        ..BusinessView::default()
    };
    story.instance.tells(Ok(Told::Profile(ProfileAnswer::Business(Some(Box::new(view))))));
    let (answer, asked) = ask_in(&story, "GET", &path, Value::Null).await;
    assert_eq!(asked, [ProfileCommand::Business(ana())]);
    let body = answer.json();
    assert_eq!((&body["verified_name"], &body["phone"]), (&json!("Padaria"), &json!(ANA)));
    assert_eq!(body["catalogue"]["products"][0]["price"], 5000);
    let (again, asked) = ask_in(&story, "GET", &path, Value::Null).await;
    assert_eq!((again.json(), asked), (body, vec![]));
    story.instance.tells(Ok(Told::Profile(ProfileAnswer::Catalogue(catalogue))));
    let (answer, asked) = ask_in(&story, "GET", &format!("{path}?after=c"), Value::Null).await;
    assert_eq!(asked, [ProfileCommand::Catalogue { of: ana(), after: "c".into() }]);
    assert_eq!(answer.json()["catalogue"]["after"], "c");
    let path = format!("/business/{GROUP}@g.us");
    assert_eq!(story.get(&path).await.error(), error(422, "VALIDATION_ERROR"));
}

#[tokio::test]
async fn labels_are_made_changed_assigned_and_deleted() {
    let story = Story::new();
    let call = async |method: &str, path: &str, body: Value| {
        let answer = story.call(method, path, &body.to_string()).await;
        (answer, story.instance.asked(|asked| std::mem::take(&mut asked.changes)))
    };
    let edit = |name: &str, color, deleted| {
        StateChange::Label(LabelChange::Edit { id: "1".into(), name: name.into(), color, deleted })
    };
    let (answer, changes) = call("POST", "/labels", json!({ "name": " Novos ", "color": 3 })).await;
    assert_eq!((answer.status.as_u16(), changes), (201, vec![edit("Novos", 3, false)]));
    assert_eq!(answer.json()["label"], json!({ "id": "1", "name": "Novos", "color": 3 }));
    story.store.write(|tx| tx.chats().set_label("1", Some(("Novos", 3)))).await.unwrap();
    assert_eq!(
        story.get("/labels").await.json()["labels"],
        json!([{ "id": "1", "name": "Novos", "color": 3 }])
    );
    let (_, changes) = call("PATCH", "/labels/1", json!({ "color": 0 })).await;
    assert_eq!(changes, [edit("Novos", 0, false)]);
    let (_, changes) = call("DELETE", "/labels/1", json!({})).await;
    assert_eq!(changes, [edit("Novos", 3, true)]);
    let (_, changes) = call("POST", "/labels/1/assign", json!({ "to": ANA, "value": true })).await;
    assert_eq!(changes, [StateChange::Label(LabelChange::Chat { id: "1".into(), chat: ana(), on: true })]);
    let body = json!({ "to": ANA, "message_id": "M", "value": false });
    let (_, changes) = call("POST", "/labels/1/assign", body).await;
    let (id, chat, message) = ("1".into(), ana(), "M".into());
    assert_eq!(changes, [StateChange::Label(LabelChange::Message { id, chat, message, on: false })]);

    for (method, path) in [("GET", "/labels/2"), ("DELETE", "/labels/2")] {
        assert_eq!(story.call(method, path, "").await.error(), error(404, "LABEL_NOT_FOUND"));
    }
    for (method, path, body, wrong) in [
        ("POST", "/labels", json!({}), vec!["name"]),
        ("POST", "/labels", json!({ "name": "x".repeat(101) }), vec!["name"]),
        ("POST", "/labels", json!({ "name": "x", "color": 20 }), vec!["color"]),
        ("POST", "/labels", json!({ "name": "x", "color": "red" }), vec!["color"]),
        ("PATCH", "/labels/1", json!({}), vec!["name", "color"]),
        ("POST", "/labels/1/assign", json!({ "to": ANA }), vec!["value"]),
        ("POST", "/labels/1/assign", json!({ "value": true }), vec!["to"]),
    ] {
        let (answer, changes) = call(method, path, body.clone()).await;
        assert_eq!(
            (fields(&answer), changes),
            (wrong.iter().map(|w| (*w).to_owned()).collect(), vec![]),
            "{body}"
        );
    }
    let (_, changes) = call("PATCH", &format!("/chats/{ANA}"), json!({ "locked": true })).await;
    assert_eq!(changes, [StateChange::LockChat { chat: ana(), on: true }]);
    let (_, changes) = call("POST", &format!("/chats/{ANA}/clear"), json!({})).await;
    assert_eq!(changes, [StateChange::ClearChat { chat: ana() }]);
}

#[tokio::test]
async fn settings_are_shown_and_those_that_are_ours_are_set() {
    let story = Story::new();
    let shown = json!({
        "success": true, "unarchive_chats": false, "link_previews": true, "time_24h": null, "locale": null,
    });
    assert_eq!(story.get("/account/settings").await.json(), shown);
    let call = async |body: Value| {
        let answer = story.call("PATCH", "/account/settings", &body.to_string()).await;
        (answer, story.instance.asked(|asked| std::mem::take(&mut asked.changes)))
    };
    let (answer, changes) = call(json!({ "unarchive_chats": true, "link_previews": false })).await;
    assert_eq!(answer.json(), shown);
    let setting = StateChange::Setting;
    assert_eq!(
        changes,
        [setting(AccountSetting::UnarchiveChats(true)), setting(AccountSetting::LinkPreviews(false))]
    );
    for (body, wrong) in [
        (json!({}), "settings"),
        (json!({ "unarchive_chats": 1 }), "unarchive_chats"),
        (json!({ "link_previews": true, "locale": "pt_BR" }), "locale"),
        (json!({ "link_preview": true }), "link_preview"),
    ] {
        let (answer, changes) = call(body.clone()).await;
        assert_eq!((fields(&answer), changes), (vec![wrong.to_owned()], vec![]), "{body}");
    }
}

#[tokio::test]
async fn quick_replies_are_made_changed_and_deleted() {
    let story = Story::new();
    let call = async |method: &str, path: &str, body: Value| {
        let answer = story.call(method, path, &body.to_string()).await;
        (answer, story.instance.asked(|asked| std::mem::take(&mut asked.changes)))
    };
    let body = json!({ "shortcut": " oi ", "message": "Olá!", "keywords": ["oi", "bom dia"] });
    let (answer, changes) = call("POST", "/quick-replies", body).await;
    let shown = answer.json()["quick_reply"].clone();
    let id = shown["id"].as_str().unwrap().to_owned();
    let made = QuickReply {
        id: id.clone(),
        shortcut: "oi".into(),
        message: "Olá!".into(),
        keywords: vec!["oi".into(), "bom dia".into()],
        used: 0,
    };
    assert_eq!(answer.status.as_u16(), 201);
    assert_eq!(changes, [StateChange::QuickReply { reply: made.clone(), deleted: false }]);
    let used = QuickReply { used: 3, ..made };
    let kept = used.clone();
    story.store.write(move |tx| tx.quick_replies().set(&kept)).await.unwrap();
    let listed = story.get("/quick-replies").await.json();
    assert_eq!((&listed["total"], &listed["quick_replies"][0]["used"]), (&json!(1), &json!(3)));
    let path = format!("/quick-replies/{id}");
    assert_eq!(story.get(&path).await.json()["keywords"], json!(["oi", "bom dia"]));
    let (_, changes) = call("PATCH", &path, json!({ "message": "Bom dia!" })).await;
    let changed = QuickReply { message: "Bom dia!".into(), ..used.clone() };
    assert_eq!(changes, [StateChange::QuickReply { reply: changed, deleted: false }]);
    let (_, changes) = call("DELETE", &path, json!({})).await;
    assert_eq!(changes, [StateChange::QuickReply { reply: used, deleted: true }]);
    for (method, body) in [("GET", json!({})), ("PATCH", json!({ "message": "x" })), ("DELETE", json!({}))] {
        let (answer, changes) = call(method, "/quick-replies/1", body).await;
        assert_eq!((answer.error(), changes), (error(404, "QUICK_REPLY_NOT_FOUND"), vec![]));
    }
    for (method, body, wrong) in [
        ("POST", json!({}), vec!["shortcut", "message"]),
        ("POST", json!({ "shortcut": "  ", "message": "x" }), vec!["shortcut"]),
        ("POST", json!({ "shortcut": "x", "message": "x".repeat(4_097) }), vec!["message"]),
        ("POST", json!({ "shortcut": "x", "message": "x", "keywords": "x" }), vec!["keywords"]),
        ("PATCH", json!({}), vec!["shortcut", "message", "keywords"]),
        ("PATCH", json!({ "keywords": [1] }), vec!["keywords"]),
    ] {
        let path = if method == "POST" { "/quick-replies" } else { path.as_str() };
        let (answer, changes) = call(method, path, body.clone()).await;
        let wrong: Vec<String> = wrong.iter().map(|w| (*w).to_owned()).collect();
        assert_eq!((fields(&answer), changes), (wrong, vec![]), "{body}");
    }
    let (_, changes) = call("PATCH", &format!("/chats/{ANA}"), json!({ "favorite": true })).await;
    assert_eq!(changes, [StateChange::Favorite { chat: ana(), on: true }]);
    let (_, changes) = call("PATCH", &format!("/contacts/{ANA}"), json!({ "status_muted": false })).await;
    assert_eq!(changes, [StateChange::MuteStatus { who: ana(), on: false }]);
    let (answer, _) = call("PATCH", &format!("/contacts/{ANA}"), json!({})).await;
    assert_eq!(fields(&answer), ["status_muted"]);
}
