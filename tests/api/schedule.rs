//! `send_at`, `/scheduled`, `/send-batch` and `/batches`: what is taken, refused, shown and cancelled.

use std::time::Duration;

use serde_json::{Value, json};
use wazap::{
    account::{Body, SendError, Sent},
    clock::Millis,
    daemon::media::SendMedia,
    store::schedule::{Batch, NewScheduled},
};

use crate::harness::{START, Story, error, sent};

const TO: &str = "5511999999999";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn at(after: Duration) -> String {
    (START + after).rfc3339()
}

#[tokio::test]
async fn every_send_takes_a_time_within_a_year() {
    let paths = [
        ("POST", "/send-message", json!({ "to": TO, "message": "hi" })),
        ("POST", "/send-reaction", json!({ "to": TO, "messageId": "3EB0AA", "emoji": "👍" })),
        ("POST", "/send-location", json!({ "to": TO, "latitude": 1, "longitude": 2 })),
        (
            "POST",
            "/send-contact",
            json!({ "to": TO, "contacts": [{ "name": "A", "phone": "5511988887777" }] }),
        ),
        ("POST", "/send-poll", json!({ "to": TO, "question": "?", "options": ["a", "b"] })),
        ("POST", "/forward", json!({ "to": TO, "message_id": "3EB0AA" })),
        ("POST", "/messages/3EB0AA/pin", json!({ "to": TO, "value": true })),
        ("PATCH", "/messages/3EB0AA", json!({ "to": TO, "message": "ho" })),
    ];
    let due = START + Duration::from_secs(60);
    for (method, path, mut body) in paths {
        let story = Story::new();
        story.instance.answers(Ok(Sent { queued: true, scheduled_at: Some(due), ..sent() }));
        body["send_at"] = due.rfc3339().into();
        let answer = story.call(method, path, &body.to_string()).await;
        assert_eq!(answer.status, 202, "{path}");
        let said = answer.json();
        assert_eq!(
            (&said["message"], &said["scheduled_at"]),
            (&json!("Message scheduled"), &json!(due.rfc3339()))
        );
        let send = story.instance.asked(|asked| asked.sends.pop()).unwrap();
        assert_eq!(send.send_at, Some(due), "{path}");
    }
    let story = Story::new();
    let path = format!("/messages/3EB0AA?to={TO}&send_at={}", due.rfc3339());
    assert_eq!(story.call("DELETE", &path, "").await.status, 200);
    assert_eq!(story.instance.asked(|asked| asked.sends.pop()).unwrap().send_at, Some(due));

    let story = Story::new();
    for (send_at, good) in [
        (json!(at(Duration::from_millis(1))), true),
        (json!("2025-12-30T14:31:00-03:00"), true),
        (json!(at(366 * DAY)), true),
        (json!(null), true),
        (json!(at(366 * DAY + Duration::from_millis(1))), false),
        (json!(START.rfc3339()), false),
        (json!("2025-12-30T17:29:00Z"), false),
        (json!("2025-12-31T17:30:00"), false),
        (json!("tomorrow"), false),
        (json!(1_767_200_000), false),
    ] {
        let body = json!({ "to": TO, "message": "hi", "send_at": send_at }).to_string();
        let answer = story.call("POST", "/send-message", &body).await;
        assert_eq!(answer.status == 200, good, "{send_at}");
        if !good {
            assert!(answer.details()["send_at"].is_array(), "{send_at}");
        }
    }
}

#[tokio::test]
async fn a_file_is_not_put_further_ahead_than_whatsapp_keeps_it() {
    let story = Story::new();
    let body = |after| {
        let file = json!({ "to": TO, "media_type": "image", "media_base64": "AAAA", "send_at": at(after) });
        file.to_string()
    };
    assert_eq!(story.call("POST", "/send-media", &body(20 * DAY)).await.status, 200);
    let SendMedia { message, .. } = story.instance.asked(|asked| asked.files.pop()).unwrap();
    assert_eq!(message.send_at, Some(START + 20 * DAY));
    let answer = story.call("POST", "/send-media", &body(20 * DAY + Duration::from_millis(1))).await;
    assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"));
    assert_eq!(
        answer.details(),
        json!({ "send_at": ["The send_at field of a file must not be further ahead than 20 days."] })
    );
}

async fn put(story: &Story, wa_id: &'static str, due: Millis, batch: Option<(&'static str, u32)>) {
    let work = move |tx: &mut wazap::store::Tx<'_>| {
        let recipient = "5511999999999@s.whatsapp.net";
        let new = NewScheduled { wa_id, recipient, content: b"x", due, batch, kind: "text" };
        tx.schedule().push(&new, START)
    };
    story.store.write(work).await.unwrap();
}

#[tokio::test]
async fn what_waits_is_listed_shown_and_cancelled() {
    let story = Story::new();
    for (id, hours) in [("3EB0B", 2), ("3EB0A", 1), ("3EB0C", 3)] {
        put(&story, id, START + Duration::from_secs(3600 * hours), None).await;
    }
    let page = story.call("GET", "/scheduled?per_page=2", "").await.json();
    let ids: Vec<&Value> =
        page["scheduled"].as_array().unwrap().iter().map(|one| &one["message_id"]).collect();
    assert_eq!(ids, ["3EB0A", "3EB0B"]);
    assert_eq!((&page["page"], &page["per_page"], &page["total"]), (&json!(1), &json!(2), &json!(3)));
    let second = story.call("GET", "/scheduled?per_page=2&page=2", "").await.json();
    assert_eq!(second["scheduled"][0]["message_id"], "3EB0C");
    for query in ["page=0", "per_page=101", "page=x"] {
        let answer = story.call("GET", &format!("/scheduled?{query}"), "").await;
        assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"), "{query}");
    }
    let shown = story.call("GET", "/scheduled/3EB0A", "").await.json();
    let expected = json!({
        "success": true,
        "message_id": "3EB0A",
        "type": "text",
        "to": "5511999999999@s.whatsapp.net",
        "status": "scheduled",
        "scheduled_at": at(Duration::from_secs(3600)),
        "created_at": START.rfc3339(),
    });
    assert_eq!(shown, expected);
    for _ in 0..2 {
        let answer = story.call("DELETE", "/scheduled/3EB0A", "").await;
        assert_eq!((answer.status, &answer.json()["status"]), (200.try_into().unwrap(), &json!("cancelled")));
    }
    assert_eq!(story.call("GET", "/scheduled/3EB0A", "").await.json()["status"], "cancelled");
    assert_eq!(story.call("GET", "/scheduled", "").await.json()["total"], 2);
    for method in ["GET", "DELETE"] {
        assert_eq!(story.call(method, "/scheduled/3EB0X", "").await.error(), error(404, "MESSAGE_NOT_FOUND"));
    }
    let now = START + Duration::from_secs(7200);
    let leave = move |tx: &mut wazap::store::Tx<'_>| {
        let due = tx.schedule().first_due(now)?.unwrap();
        tx.schedule().left(&due, now)
    };
    story.store.write(leave).await.unwrap();
    assert_eq!(story.call("DELETE", "/scheduled/3EB0B", "").await.error(), error(409, "ALREADY_SENT"));
}

#[tokio::test]
async fn the_messages_of_a_batch_are_read_like_the_bodies_of_their_routes() {
    let story = Story::new();
    let open = |tx: &mut wazap::store::Tx<'_>| {
        let batch = Batch { at: START, pace: Duration::from_secs(1), rejected: "[]".into() };
        tx.schedule().open_batch("b1", &batch)
    };
    story.store.write(open).await.unwrap();
    put(&story, "3EB0A", START, Some(("b1", 0))).await;
    let messages = json!([
        { "type": "text", "recipient": TO, "message": "one", "mentions": [TO] },
        { "type": "location", "to": TO, "latitude": 1, "longitude": 2 },
        { "type": "contact", "to": TO, "contacts": [{ "name": "A", "phone": "5511988887777" }] },
        { "type": "poll", "to": TO, "question": "?", "options": ["a", "b"] },
        { "type": "reaction", "to": TO, "messageId": "3EB0AA", "emoji": "👍" },
        { "type": "forward", "to": TO, "message_id": "3EB0AA" },
        { "type": "text", "message": "" },
        { "type": "fax", "to": TO },
        { "to": TO },
        "hello",
        { "type": "text", "to": TO, "message": "x", "send_at": at(DAY) },
    ]);
    let body = json!({ "messages": messages, "pace_ms": 250, "send_at": at(DAY) }).to_string();
    let answer = story
        .call_with(
            "POST",
            "/send-batch",
            &[("authorization", "Bearer sk_story"), ("idempotency-key", "k")],
            &body,
        )
        .await;
    assert_eq!(answer.status, 202);
    let said = answer.json();
    assert_eq!((&said["batch_id"], &said["message"]), (&json!("b1"), &json!("Batch queued")));
    assert_eq!(
        said["results"],
        json!([{ "index": 0, "success": true, "type": "text", "message_id": "3EB0A" }])
    );
    let asked = story.instance.asked(|asked| asked.batches.pop()).unwrap();
    assert_eq!((asked.pace, asked.send_at), (Duration::from_millis(250), Some(START + DAY)));
    assert_eq!(asked.idempotency.as_ref().unwrap().key, "k");
    let kinds: Vec<_> = asked.sends.iter().map(|(position, kind, _)| (*position, *kind)).collect();
    assert_eq!(
        kinds,
        [(0, "text"), (1, "location"), (2, "contact"), (3, "poll"), (4, "reaction"), (5, "forward")]
    );
    assert_eq!(asked.sends[0].2.body, Body::Text("one".into()));
    assert_eq!(asked.sends[0].2.mentions.len(), 1);
    let wrong: Vec<_> =
        asked.rejected.iter().map(|(position, error)| (*position, &error["details"])).collect();
    let fields = |details: &Value| details.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(wrong[0].1), ["recipient", "message"]);
    assert_eq!((fields(wrong[1].1), fields(wrong[2].1)), (vec!["type".into()], vec!["type".into()]));
    assert_eq!((fields(wrong[3].1), fields(wrong[4].1)), (vec!["messages".into()], vec!["send_at".into()]));
    assert_eq!(wrong.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [6, 7, 8, 9, 10]);
    assert_eq!(asked.rejected[0].1["code"], "VALIDATION_ERROR");
    let unknown = (asked.explain)(SendError::UnknownMessage("3EB0AA".into()));
    assert_eq!(
        (&unknown["code"], &unknown["details"]),
        (&json!("MESSAGE_NOT_FOUND"), &json!({ "message_id": "3EB0AA" }))
    );
}

#[tokio::test]
async fn a_batch_has_one_to_a_thousand_messages_and_a_pace() {
    let one = json!({ "type": "text", "to": TO, "message": "x" });
    for (field, body) in [
        ("messages", json!({})),
        ("messages", json!({ "messages": [] })),
        ("messages", json!({ "messages": "x" })),
        ("messages", json!({ "messages": vec![one.clone(); 1001] })),
        ("pace_ms", json!({ "messages": [one], "pace_ms": 99 })),
        ("pace_ms", json!({ "messages": [one], "pace_ms": 600_001 })),
        ("pace_ms", json!({ "messages": [one], "pace_ms": "1000" })),
        ("send_at", json!({ "messages": [one], "send_at": "2020-01-01T00:00:00Z" })),
    ] {
        let story = Story::new();
        let answer = story.call("POST", "/send-batch", &body.to_string()).await;
        assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"), "{field}");
        assert!(answer.details()[field].is_array(), "{field}");
        assert!(story.instance.asked(|asked| asked.batches.is_empty()));
    }
    let story = Story::new();
    story.instance.answers(Err(SendError::QueueFull));
    let body = json!({ "messages": vec![one; 1000] }).to_string();
    assert_eq!(story.call("POST", "/send-batch", &body).await.error(), error(503, "QUEUE_FULL"));
    let asked = story.instance.asked(|asked| asked.batches.pop()).unwrap();
    assert_eq!((asked.sends.len(), asked.pace), (1000, Duration::from_secs(1)));
}

#[tokio::test]
async fn a_batch_is_shown_send_by_send_and_cancelled() {
    let story = Story::new();
    let open = |tx: &mut wazap::store::Tx<'_>| {
        let rejected = json!([{ "index": 1, "error": { "code": "VALIDATION_ERROR" } }]).to_string();
        let batch = Batch { at: START, pace: Duration::from_secs(1), rejected };
        tx.schedule().open_batch("b1", &batch)
    };
    story.store.write(open).await.unwrap();
    for (id, position) in [("3EB0A", 0), ("3EB0C", 2), ("3EB0D", 3)] {
        put(&story, id, START + Duration::from_secs(position.into()), Some(("b1", position))).await;
    }
    let leave = |tx: &mut wazap::store::Tx<'_>| {
        let due = tx.schedule().first_due(START)?.unwrap();
        tx.schedule().left(&due, START)?;
        tx.queue().push("3EB0A", "5511999999999", None, b"x", START)
    };
    story.store.write(leave).await.unwrap();
    let shown = story.call("GET", "/batches/b1", "").await.json();
    let states: Vec<_> =
        shown["items"].as_array().unwrap().iter().map(|item| (&item["index"], &item["status"])).collect();
    let (queued, rejected) = (json!("queued"), json!("rejected"));
    assert_eq!(
        states,
        [(&json!(0), &queued), (&json!(1), &rejected), (&json!(2), &queued), (&json!(3), &queued)]
    );
    assert_eq!((&shown["counts"], &shown["total"]), (&json!({ "queued": 3, "rejected": 1 }), &json!(4)));
    let cancelled = story.call("DELETE", "/batches/b1", "").await.json();
    assert_eq!(cancelled["message"], "Batch cancelled");
    assert_eq!(cancelled["counts"], json!({ "queued": 1, "rejected": 1, "cancelled": 2 }));
    for method in ["GET", "DELETE"] {
        assert_eq!(story.call(method, "/batches/b2", "").await.error(), error(404, "BATCH_NOT_FOUND"));
    }
}
