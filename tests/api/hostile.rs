//! Requests made to hurt: forms without an end, texts that are no emoji, ids that nobody knows, switches that contradict
//! each other. Each is refused with a row of the table of errors, and nothing is sent.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::Request,
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use wazap::{account::SendError, daemon::media::Source};

use crate::harness::{Answer, Story, error};

const TO: &str = "5511999999999";
const URL: &str = "https://example.com/a";

/// A form with these parts, each with its headers and its end.
async fn form(story: &Story, parts: &str) -> Answer {
    let headers = [("authorization", "Bearer sk_story"), ("content-type", "multipart/form-data; boundary=B")];
    story.call_with("POST", "/send-media", &headers, parts).await
}

fn field(name: &str, value: &str) -> String {
    format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

fn file(content: &str) -> String {
    format!("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n{content}\r\n")
}

fn addressed() -> String {
    field("to", TO) + &field("media_type", "document")
}

fn nothing_was_sent(story: &Story) -> bool {
    story.instance.asked(|asked| asked.sends.is_empty() && asked.files.is_empty() && asked.changes.is_empty())
}

/// A body that begins so and goes on like that for ever.
async fn endless(story: &Story, beginning: &str, more: &'static [u8]) -> Answer {
    let beginning = stream::iter([Bytes::from(beginning.to_owned())]);
    let body = beginning.chain(stream::repeat(Bytes::from_static(more))).map(Ok::<_, Infallible>);
    let request = Request::post("/send-media")
        .header("authorization", "Bearer sk_story")
        .header("content-type", "multipart/form-data; boundary=B")
        .body(Body::from_stream(body))
        .unwrap();
    story.request(request).await
}

#[tokio::test]
async fn a_form_has_one_file_and_fields_of_a_bounded_size() {
    let story = Story::new();
    let two = form(&story, &(addressed() + &file("one") + &file("two") + "--B--\r\n")).await;
    assert_eq!(two.error(), error(422, "VALIDATION_ERROR"));
    assert!(two.details()["file"].is_array());
    let none = form(&story, &(addressed() + "--B--\r\n")).await;
    assert_eq!(none.error(), error(422, "VALIDATION_ERROR"));
    assert!(none.details()["media_url"].is_array(), "no file of any kind");

    let caption = |length: usize| addressed() + &field("x", &"x".repeat(length)) + &file("a") + "--B--\r\n";
    assert_eq!(form(&story, &caption(64 << 10)).await.status, 200);
    assert_eq!(form(&story, &caption((64 << 10) + 1)).await.error(), error(413, "PAYLOAD_TOO_LARGE"));
    assert_eq!(form(&story, &caption(1 << 20)).await.error(), error(413, "PAYLOAD_TOO_LARGE"));
    let fields: String = (0..100).map(|n| field(&format!("field-{n}"), "x")).collect();
    let many = form(&story, &(addressed() + &fields + &file("a") + "--B--\r\n")).await;
    assert_eq!(many.error(), error(413, "PAYLOAD_TOO_LARGE"));
    let named = form(&story, &(addressed() + &field(&"n".repeat(256), "x") + "--B--\r\n")).await;
    assert_eq!(named.error(), error(413, "PAYLOAD_TOO_LARGE"));
    assert_eq!(story.instance.asked(|asked| asked.files.len()), 1);
}

#[tokio::test]
async fn a_form_that_is_none_is_400() {
    let story = Story::new();
    let cut = addressed() + "--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nhalf a";
    for parts in
        [cut.as_str(), "", "no form", "--B\r\n", "--C\r\n\r\n--C--\r\n", "--B\r\nX\r\n\r\n\r\n--B--\r\n"]
    {
        assert_eq!(form(&story, parts).await.error(), error(400, "INVALID_REQUEST"), "{parts:?}");
    }
    let addressed = addressed();
    let latin = [
        addressed.as_bytes(),
        b"--B\r\nContent-Disposition: form-data; name=\"caption\"\r\n\r\n\xe9\r\n--B--\r\n",
    ];
    for kind in ["multipart/form-data; boundary=B", "multipart/form-data", "multipart/form-data; boundary="] {
        let request = Request::post("/send-media")
            .header("authorization", "Bearer sk_story")
            .header("content-type", kind)
            .body(Body::from(latin.concat()))
            .unwrap();
        assert_eq!(story.request(request).await.error(), error(400, "INVALID_REQUEST"), "{kind}");
    }
    assert!(nothing_was_sent(&story));
}

#[tokio::test]
async fn forms_without_an_end_are_cut() {
    let story = Story::new();
    let begun = addressed();
    let open = |what: &str| begun.clone() + "--B\r\nContent-Disposition: form-data; name=\"" + what;
    let flood: &[u8] = &[b'x'; 64 << 10];
    // A file, a field, a name, a header, and parts without number.
    assert_eq!(
        endless(&story, &open("file\"\r\n\r\n"), flood).await.error(),
        error(413, "PAYLOAD_TOO_LARGE")
    );
    assert_eq!(endless(&story, &open("x\"\r\n\r\n"), flood).await.error(), error(413, "PAYLOAD_TOO_LARGE"));
    assert_eq!(endless(&story, &open("x"), flood).await.error(), error(400, "INVALID_REQUEST"));
    assert_eq!(endless(&story, "", flood).await.error(), error(400, "INVALID_REQUEST"));
    let part = b"--B\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\nx\r\n";
    assert_eq!(endless(&story, &begun, part).await.error(), error(413, "PAYLOAD_TOO_LARGE"));
    assert!(nothing_was_sent(&story));
}

#[tokio::test(start_paused = true)]
async fn a_form_that_stops_coming_is_not_waited_for_beyond_two_minutes() {
    let story = Story::new();
    let begun = addressed() + "--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nhalf";
    let body = stream::iter([Ok::<_, Infallible>(Bytes::from(begun))]).chain(stream::pending());
    let request = Request::post("/send-media")
        .header("authorization", "Bearer sk_story")
        .header("content-type", "multipart/form-data; boundary=B")
        .body(Body::from_stream(body))
        .unwrap();
    let started = tokio::time::Instant::now();
    let answer = story.request(request).await;
    assert_eq!(answer.error(), error(400, "INVALID_REQUEST"));
    assert!(started.elapsed() <= Duration::from_secs(121));
    assert!(nothing_was_sent(&story));
}

#[tokio::test]
async fn switches_that_do_not_fit_the_kind_of_file_are_named() {
    for (field, body) in [
        ("view_once", json!({ "media_type": "document", "view_once": true })),
        ("view_once", json!({ "media_type": "sticker", "view_once": true })),
        ("gif", json!({ "media_type": "image", "gif": true })),
        ("gif", json!({ "media_type": "audio", "gif": true })),
        ("ptv", json!({ "media_type": "image", "ptv": true })),
        ("ptv", json!({ "media_type": "sticker", "ptv": true })),
        ("ptv", json!({ "media_type": "video", "ptv": true, "gif": true })),
        ("gif", json!({ "media_type": "video", "gif": 1 })),
        ("media_type", json!({ "media_type": "GIF" })),
        ("media_type", json!({ "media_type": ["image"] })),
        ("media_url", json!({ "media_type": "image", "media_url": 7 })),
        ("media_url", json!({ "media_type": "image", "media_url": "http://ana@example.com/a" })),
        ("media_url", json!({ "media_type": "image", "media_url": "data:image/png;base64,aGVsbG8=" })),
        ("media_base64", json!({ "media_type": "image", "media_base64": ["aGVsbG8="] })),
        ("media_base64", json!({ "media_type": "image", "media_base64": "aGVsbG8" })),
    ] {
        let story = Story::new();
        let mut whole = json!({ "to": TO, "media_url": URL });
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let answer = story.call("POST", "/send-media", &whole.to_string()).await;
        assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"), "{body}");
        assert!(answer.details()[field].is_array(), "{field}: {}", answer.details());
        assert!(nothing_was_sent(&story));
    }
    // What is switched off fits everything.
    let story = Story::new();
    let off = json!({ "to": TO, "media_url": URL, "media_type": "document", "view_once": false, "gif": false, "ptv": false });
    assert_eq!(story.call("POST", "/send-media", &off.to_string()).await.status, 200);
}

#[tokio::test]
async fn names_and_captions_of_exactly_their_length_pass() {
    let story = Story::new();
    for (body, passes) in [
        (json!({ "caption": "ã".repeat(1024) }), true),
        (json!({ "caption": "ã".repeat(1025) }), false),
        (json!({ "filename": "ã".repeat(255) }), true),
        (json!({ "filename": "ã".repeat(256) }), false),
        (json!({ "media_url": format!("https://example.com/{}", "x".repeat(2048 - 20)) }), true),
        (json!({ "media_url": format!("https://example.com/{}", "x".repeat(2048 - 19)) }), false),
        // Cleaned where the message is made, not refused.
        (json!({ "filename": "../../etc/pass\u{0}wd\r\n\u{202e}" }), true),
    ] {
        let mut whole = json!({ "to": TO, "media_url": URL, "media_type": "document" });
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let answer = story.call("POST", "/send-media", &whole.to_string()).await;
        assert_eq!(answer.status == 200, passes, "{body}");
    }
    let large = json!({ "to": TO, "media_type": "image", "media_base64": "A".repeat(1 << 20) }).to_string();
    assert_eq!(story.call("POST", "/send-media", &large).await.error(), error(413, "PAYLOAD_TOO_LARGE"));
    let empty = json!({ "to": TO, "media_type": "document", "media_base64": "data:;base64," }).to_string();
    assert_eq!(story.call("POST", "/send-media", &empty).await.status, 200, "a file of nothing is a file");
    let sent = story.instance.asked(|asked| asked.files.pop()).unwrap();
    assert!(matches!(sent.source, Source::File(file) if file.file.path().metadata().unwrap().len() == 0));
}

#[tokio::test]
async fn an_emoji_is_one_and_nothing_else() {
    let story = Story::new();
    let react = async |emoji: &str| {
        let body = json!({ "to": TO, "messageId": "3EB0AA", "emoji": emoji }).to_string();
        story.call("POST", "/send-reaction", &body).await
    };
    for emoji in ["👍", "❤️", "❤", "👩🏽‍🚀", "👨‍👩‍👧‍👦", "🇧🇷", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "1️⃣", "☺", ""]
    {
        assert_eq!(react(emoji).await.status, 200, "{emoji}");
    }
    for emoji in ["👍👍", "👍 ", " 👍", "👍x", "x", "1", ":)", " ", "\n", "\u{0}", "🇧🇷🇵🇹", "oi 👋"]
    {
        let refused = react(emoji).await;
        assert_eq!(refused.error(), error(422, "VALIDATION_ERROR"), "{emoji:?}");
        assert!(refused.details()["emoji"].is_array(), "{emoji:?}");
    }
    // One cluster, and a thousand marks on it.
    let long = format!("a{}", "\u{301}".repeat(1000));
    assert_eq!(react(&long).await.error(), error(422, "VALIDATION_ERROR"));
}

/// Every route that names a message says the same of one that nobody knows.
#[tokio::test]
async fn an_unknown_message_is_404_wherever_it_is_named() {
    let id = "3EB0NOBODY";
    let message = json!({ "to": TO, "message": "x", "reply_to": id });
    let routes: [(&str, String, Value); 17] = [
        ("POST", "/send-message".into(), message.clone()),
        ("POST", "/send-message".into(), json!({ "to": TO, "message": "x", "quoted_message_id": id })),
        ("POST", "/send-location".into(), json!({ "to": TO, "latitude": 0, "longitude": 0, "reply_to": id })),
        (
            "POST",
            "/send-contact".into(),
            json!({ "to": TO, "contacts": [{ "name": "A", "phone": TO }], "reply_to": id }),
        ),
        (
            "POST",
            "/send-poll".into(),
            json!({ "to": TO, "question": "?", "options": ["a", "b"], "reply_to": id }),
        ),
        (
            "POST",
            "/send-list".into(),
            json!({ "to": TO, "text": "?", "sections": [{ "rows": [{ "title": "a" }] }], "reply_to": id }),
        ),
        (
            "POST",
            "/send-buttons".into(),
            json!({ "to": TO, "text": "?", "buttons": [{ "title": "a" }], "reply_to": id }),
        ),
        (
            "POST",
            "/send-reaction".into(),
            json!({ "to": "120363025246125486@g.us", "messageId": id, "emoji": "👍" }),
        ),
        ("POST", "/forward".into(), json!({ "to": TO, "message_id": id })),
        ("PATCH", format!("/messages/{id}"), json!({ "to": TO, "message": "x" })),
        ("DELETE", format!("/messages/{id}?to={TO}"), json!({})),
        ("DELETE", format!("/messages/{id}?to={TO}&for=me"), json!({})),
        ("POST", format!("/messages/{id}/star"), json!({ "to": TO, "value": true })),
        ("POST", format!("/messages/{id}/pin"), json!({ "to": TO, "value": true })),
        ("POST", "/mark-read".into(), json!({ "to": TO, "message_ids": [id] })),
        ("POST", format!("/polls/{id}/vote"), json!({ "to": TO, "options": ["a"] })),
        (
            "POST",
            "/send-media".into(),
            json!({ "to": TO, "media_url": URL, "media_type": "image", "reply_to": id }),
        ),
    ];
    for (method, path, body) in routes {
        let story = Story::new();
        story.instance.answers(Err(SendError::UnknownMessage(id.into())));
        let answer = story.call(method, &path, &body.to_string()).await;
        assert_eq!(answer.error(), error(404, "MESSAGE_NOT_FOUND"), "{method} {path}");
        assert_eq!(answer.details(), json!({ "message_id": id }), "{method} {path}");
    }
    let story = Story::new();
    for path in [
        format!("/messages/{id}"),
        format!("/messages/{id}/media"),
        format!("/polls/{id}"),
        format!("/chats/{TO}/messages?before={id}"),
    ] {
        assert_eq!(story.get(&path).await.error(), error(404, "MESSAGE_NOT_FOUND"), "{path}");
    }
    for odd in ["%00", "..%2f..%2fetc%2fpasswd", "%F0%9F%91%8D", &"A".repeat(10_000), "'%20OR%201=1--"] {
        for path in [format!("/messages/{odd}"), format!("/messages/{odd}/media"), format!("/polls/{odd}")] {
            assert_eq!(story.get(&path).await.error(), error(404, "MESSAGE_NOT_FOUND"), "{odd}");
        }
    }
}

/// A part of a path that is no text in UTF-8 is refused in the form of every other error, whatever the route.
#[tokio::test]
async fn a_path_that_is_not_utf8_is_400() {
    let story = Story::new();
    for (method, path) in [
        ("GET", "/chats/%ff%fe"),
        ("GET", "/messages/%c3%28"),
        ("PUT", "/contacts/a%80"),
        ("GET", "/instances/%ff/webhook"),
        ("GET", "/no-such/%ff"),
    ] {
        assert_eq!(story.call(method, path, "{}").await.error(), error(400, "INVALID_REQUEST"), "{path}");
    }
    assert_eq!(story.call("GET", "/messages/%c3%a9", "").await.error(), error(404, "MESSAGE_NOT_FOUND"));
}

/// Deep JSON ends the reading of a request, whatever the route, and not the process.
#[tokio::test]
async fn json_of_ten_thousand_levels_is_400_everywhere() {
    let story = Story::new();
    let deep = |open: &str, close: &str| {
        format!("{{\"to\":\"{TO}\",\"x\":{}1{}}}", open.repeat(10_000), close.repeat(10_000))
    };
    for (method, path) in [
        ("POST", "/send-message"),
        ("POST", "/send-media"),
        ("POST", "/send-batch"),
        ("POST", "/send-status"),
        ("POST", "/send-list"),
        ("POST", "/groups"),
        ("PATCH", "/chats/5511999999999"),
        ("PUT", "/contacts/5511999999999"),
        ("POST", "/connect"),
    ] {
        for body in [deep("[", "]"), deep("{\"a\":", "}")] {
            let answer = story.call(method, path, &body).await;
            assert_eq!(answer.error(), error(400, "INVALID_REQUEST"), "{method} {path}");
        }
    }
    assert!(nothing_was_sent(&story));
}

#[tokio::test]
async fn numbers_out_of_range_are_named() {
    for (path, field, body) in [
        ("/send-location", "latitude", json!({ "to": TO, "latitude": -90.000_001, "longitude": 0 })),
        ("/send-location", "longitude", json!({ "to": TO, "latitude": 0, "longitude": 180.5 })),
        ("/send-location", "latitude", json!({ "to": TO, "latitude": 1e308, "longitude": 0 })),
        (
            "/send-presence",
            "seconds",
            json!({ "to": TO, "state": "typing", "seconds": 18_446_744_073_709_551_615_u64 }),
        ),
        ("/send-status", "font", json!({ "text": "x", "font": -1 })),
        ("/send-status", "font", json!({ "text": "x", "font": 4_294_967_296_u64 })),
        ("/send-message", "recipient", json!({ "to": -5511999999999_i64, "message": "x" })),
        ("/send-message", "recipient", json!({ "to": 5.5, "message": "x" })),
        ("/send-message", "recipient", json!({ "to": "5".repeat(10_000), "message": "x" })),
        ("/send-message", "send_at", json!({ "to": TO, "message": "x", "send_at": "9999-12-31T23:59:59Z" })),
        (
            "/send-message",
            "send_at",
            json!({ "to": TO, "message": "x", "send_at": "-009999-01-01T00:00:00Z" }),
        ),
        ("/send-message", "send_at", json!({ "to": TO, "message": "x", "send_at": 1e300 })),
        ("/messages/3EB0/pin", "seconds", json!({ "to": TO, "value": true, "seconds": -86_400 })),
    ] {
        let story = Story::new();
        let answer = story.call("POST", path, &body.to_string()).await;
        assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"), "{path} {body}");
        assert!(answer.details()[field].is_array(), "{path} {body}: {}", answer.details());
        assert!(nothing_was_sent(&story));
    }
    // Beyond every number of JSON readers.
    let story = Story::new();
    let huge = format!("{{\"to\":\"{TO}\",\"latitude\":1e999,\"longitude\":0}}");
    let refused = story.call("POST", "/send-location", &huge).await.error();
    assert!(refused == error(400, "INVALID_REQUEST") || refused == error(422, "VALIDATION_ERROR"));
    for query in ["page=18446744073709551616", "page=-1", "per_page=1e2", "per_page=101", "page=0"] {
        assert_eq!(
            story.get(&format!("/chats?{query}")).await.error(),
            error(422, "VALIDATION_ERROR"),
            "{query}"
        );
    }
    let far = story.get("/chats?page=18446744073709551615").await;
    assert!(far.status == 200 || far.status == 422, "a page that nobody has");
    for query in ["after=-1", "limit=1001", "wait=61", "after=99999999999999999999"] {
        assert_eq!(
            story.get(&format!("/events?{query}")).await.error(),
            error(422, "VALIDATION_ERROR"),
            "{query}"
        );
    }
}
