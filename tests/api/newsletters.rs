//! `/newsletters`: what each route takes, what it hands on, what it answers, and what it refuses.

use serde_json::{Value, json};
use wazap::{
    account::{
        AskError, Body, NewsletterAnswer, NewsletterCommand, NewsletterName, NewsletterView, PostName,
        Question, Recipient, Status, Told,
    },
    clock::Millis,
    wire::{Jid, Server},
};

use crate::harness::{Answer, Story, error};

const ID: &str = "120363100000000001";

fn jid() -> Jid {
    Jid::new(ID, Server::Newsletter)
}

fn view() -> NewsletterView {
    NewsletterView {
        jid: jid(),
        name: "News".into(),
        description: None,
        invite: Some("0029VaAbCdEf".into()),
        followers: Some(12),
        verified: false,
        created: Some(Millis::from_secs(1_767_115_800)),
        role: Some("owner".into()),
        muted: Some(false),
        state: Some("active".into()),
    }
}

async fn ask(
    answer: Result<NewsletterAnswer, AskError>,
    method: &str,
    path: &str,
    body: Value,
) -> (Answer, Vec<NewsletterCommand>) {
    let story = Story::new();
    story.instance.tells(answer.map(Told::Newsletter));
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = story.call(method, path, &body).await;
    let asked = story.instance.asked(|asked| std::mem::take(&mut asked.questions));
    let of_newsletters = |question| match question {
        Question::Newsletter(command) => command,
        other => panic!("not of newsletters: {other:?}"),
    };
    (answer, asked.into_iter().map(of_newsletters).collect())
}

#[tokio::test]
async fn a_newsletter_is_shown_whichever_way_it_is_named() {
    let whole = || Ok(NewsletterAnswer::Newsletter(Box::new(view())));
    let shown = json!({
        "success": true, "jid": format!("{ID}@newsletter"), "name": "News", "description": null,
        "invite_link": "https://whatsapp.com/channel/0029VaAbCdEf", "followers": 12, "verified": false,
        "created_at": "2025-12-30T17:30:00.000Z", "role": "owner", "muted": false, "state": "active",
    });
    for path in [format!("/newsletters/{ID}"), format!("/newsletters/{ID}@newsletter")] {
        let (answer, asked) = ask(whole(), "GET", &path, Value::Null).await;
        assert_eq!(asked, [NewsletterCommand::Info(NewsletterName::Jid(jid()))]);
        assert_eq!(answer.json(), shown);
    }
    let (answer, asked) = ask(whole(), "GET", "/newsletters/invite/0029VaAbCdEf", Value::Null).await;
    assert_eq!(asked, [NewsletterCommand::Info(NewsletterName::Invite("0029VaAbCdEf".into()))]);
    assert_eq!(answer.json(), shown);
    for path in ["/newsletters/5511999999999@s.whatsapp.net", "/newsletters/x", "/newsletters/invite/a b"] {
        let (answer, asked) = ask(whole(), "GET", &path.replace(' ', "%20"), Value::Null).await;
        assert_eq!((answer.error(), asked.len()), (error(404, "NEWSLETTER_NOT_FOUND"), 0), "{path}");
    }
    let all = Ok(NewsletterAnswer::Newsletters(vec![view()]));
    let (answer, asked) = ask(all, "GET", "/newsletters", Value::Null).await;
    assert_eq!(asked, [NewsletterCommand::List]);
    assert_eq!(
        (&answer.json()["total"], &answer.json()["newsletters"][0]["name"]),
        (&json!(1), &json!("News"))
    );
}

#[tokio::test]
async fn it_is_made_and_changed_with_fields_that_fit() {
    let whole = || Ok(NewsletterAnswer::Newsletter(Box::new(view())));
    let (answer, asked) = ask(whole(), "POST", "/newsletters", json!({"name": "News"})).await;
    assert_eq!(asked, [NewsletterCommand::Create { name: "News".into(), description: None }]);
    assert_eq!((answer.status.as_u16(), &answer.json()["newsletter"]["name"]), (201, &json!("News")));
    let path = format!("/newsletters/{ID}");
    let (_, asked) = ask(whole(), "PATCH", &path, json!({"description": ""})).await;
    let description = Some(String::new());
    assert_eq!(asked, [NewsletterCommand::Update { newsletter: jid(), name: None, description }]);
    for (method, path, body) in [
        ("POST", "/newsletters", json!({"name": " "})),
        ("POST", "/newsletters", json!({"name": "x".repeat(101)})),
        ("POST", "/newsletters", json!({"name": "x", "description": 7})),
        ("PATCH", path.as_str(), json!({"picture": "x"})),
    ] {
        let (answer, asked) = ask(whole(), method, path, body).await;
        assert_eq!((answer.error(), asked.len()), (error(422, "VALIDATION_ERROR"), 0));
    }
}

#[tokio::test]
async fn what_is_done_with_it_goes_to_the_instance_as_it_is_named() {
    let done = || Ok(NewsletterAnswer::Done);
    let cases = [
        ("POST", "follow", Value::Null, NewsletterCommand::Follow(jid(), true)),
        ("DELETE", "follow", Value::Null, NewsletterCommand::Follow(jid(), false)),
        ("POST", "mute", Value::Null, NewsletterCommand::Mute(jid(), true)),
        ("DELETE", "mute", Value::Null, NewsletterCommand::Mute(jid(), false)),
        ("DELETE", "", Value::Null, NewsletterCommand::Delete(jid())),
        (
            "POST",
            "messages/101/reaction",
            json!({"emoji": "👍"}),
            NewsletterCommand::React { newsletter: jid(), post: PostName::Number(101), emoji: "👍".into() },
        ),
        (
            "POST",
            "views",
            json!({"message_ids": ["3EB0AB", 101]}),
            NewsletterCommand::Viewed {
                newsletter: jid(),
                posts: vec![PostName::Message("3EB0AB".into()), PostName::Number(101)],
            },
        ),
    ];
    for (method, path, body, command) in cases {
        let path = format!("/newsletters/{ID}/{path}");
        let (answer, asked) = ask(done(), method, path.trim_end_matches('/'), body).await;
        assert_eq!((answer.status.as_u16(), asked), (200, vec![command]), "{path}");
    }
    let refused = Err(AskError::Refused(403));
    let (answer, _) = ask(refused, "DELETE", &format!("/newsletters/{ID}"), Value::Null).await;
    assert_eq!(answer.error(), error(422, "NEWSLETTER_OPERATION_FAILED"));
    assert_eq!(answer.details(), json!({"whatsapp_code": 403}));
    let lost = Err(AskError::NotConnected(Status::Offline));
    let (answer, _) = ask(lost, "GET", "/newsletters", Value::Null).await;
    assert_eq!(answer.error(), error(503, "INSTANCE_NOT_CONNECTED"));
    let path = format!("/newsletters/{ID}/messages/101/reaction");
    let (answer, _) = ask(Err(AskError::Unknown), "POST", &path, json!({"emoji": ""})).await;
    assert_eq!(answer.error(), error(404, "MESSAGE_NOT_FOUND"));
    let (answer, _) = ask(done(), "POST", &path, json!({"emoji": "no"})).await;
    assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"));
    let (answer, _) =
        ask(done(), "POST", &format!("/newsletters/{ID}/views"), json!({"message_ids": []})).await;
    assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"));
}

#[tokio::test]
async fn posts_are_read_newest_first_and_written_like_every_send() {
    let posts = Ok(NewsletterAnswer::Posts(vec![json!({"server_id": 100}), json!({"server_id": 101})]));
    let path = format!("/newsletters/{ID}/messages");
    let (answer, asked) = ask(posts, "GET", &format!("{path}?count=2&before=3EB0"), Value::Null).await;
    let before = Some(PostName::Message("3EB0".into()));
    assert_eq!(asked, [NewsletterCommand::Posts { newsletter: jid(), count: 2, before, since: None }]);
    assert_eq!(answer.json()["messages"], json!([{"server_id": 101}, {"server_id": 100}]));
    let posts = || Ok(NewsletterAnswer::Posts(Vec::new()));
    let since = format!("{path}?since=2025-12-30T14:30:00-03:00");
    let (answer, asked) = ask(posts(), "GET", &since, Value::Null).await;
    let at = Some(Millis::from_secs(1_767_115_800));
    assert_eq!(asked, [NewsletterCommand::Posts { newsletter: jid(), count: 20, before: None, since: at }]);
    assert_eq!(answer.status, 200);
    for wrong in ["count=101", "since=yesterday", "since=2025-12-30T17:30:00Z&before=100"] {
        let (answer, asked) = ask(posts(), "GET", &format!("{path}?{wrong}"), Value::Null).await;
        assert_eq!((answer.error(), asked.len()), (error(422, "VALIDATION_ERROR"), 0), "{wrong}");
    }

    let story = Story::new();
    let answer = story.call("POST", &path, &json!({"message": "hello"}).to_string()).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["message"]), (200, &json!("Posted successfully")));
    let sends = story.instance.asked(|asked| std::mem::take(&mut asked.sends));
    assert_eq!(sends[0].recipient, Recipient::Jid(jid()));
    assert_eq!(sends[0].body, Body::Text("hello".into()));
    for body in
        [json!({}), json!({"message": "x".repeat(4097)}), json!({"media_url": "https://example.com/a"})]
    {
        let answer = story.call("POST", &path, &body.to_string()).await;
        assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"), "{body}");
    }
    let answer = story
        .call("POST", "/send-message", &json!({"recipient": jid().to_wire(), "message": "x"}).to_string())
        .await;
    assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"), "posting has its own route");
}
