//! `POST /send-status`: a text on a page or a file, for these people or for everybody.

use serde_json::json;
use wazap::{
    account::{Body, Recipient, SendError},
    daemon::media::Source,
    media::MediaType,
    wire::Jid,
};

use crate::harness::{Story, error};

const ANA: &str = "5511987654321";

#[tokio::test]
async fn a_text_has_a_colour_and_a_font_and_goes_to_whom_it_names() {
    let story = Story::new();
    let body = json!({ "text": "Olá 🌊", "background": "#25D366", "font": 2, "recipients": [ANA, "77@lid"] });
    let answer = story.call("POST", "/send-status", &body.to_string()).await;
    assert_eq!(answer.json()["message"], "Status sent successfully");
    assert!(answer.json()["message_id"].is_string());
    let send = story.instance.asked(|asked| asked.sends.pop()).unwrap();
    assert_eq!(send.recipient, Recipient::Status(vec![Jid::pn(ANA), Jid::lid("77")]));
    let said = Body::StatusText { text: "Olá 🌊".into(), background: Some(0xff25_d366), font: Some(2) };
    assert_eq!(send.body, said);

    let answer = story.call("POST", "/send-status", &json!({ "text": "to all" }).to_string()).await;
    assert_eq!(answer.status, 200);
    let send = story.instance.asked(|asked| asked.sends.pop()).unwrap();
    assert_eq!(send.recipient, Recipient::Status(Vec::new()));
    assert_eq!(send.body, Body::StatusText { text: "to all".into(), background: None, font: None });
}

#[tokio::test]
async fn a_file_comes_as_every_file_does() {
    let story = Story::new();
    let url = "https://example.com/a.jpg";
    let body = json!({ "media_url": url, "media_type": "image", "caption": "look", "recipients": [ANA] });
    assert_eq!(story.call("POST", "/send-status", &body.to_string()).await.status, 200);
    let file = story.instance.asked(|asked| asked.files.pop()).unwrap();
    assert!(matches!(&file.source, Source::Url(given) if given == url));
    assert_eq!((file.media_type, file.caption.as_deref()), (MediaType::Image, Some("look")));
    assert_eq!(file.message.recipient, Recipient::Status(vec![Jid::pn(ANA)]));

    let form = "--B\r\nContent-Disposition: form-data; name=\"media_type\"\r\n\r\nvideo\r\n\
                --B\r\nContent-Disposition: form-data; name=\"recipients\"\r\n\r\n5511987654321, 77@lid\r\n\
                --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp4\"\r\n\
                Content-Type: video/mp4\r\n\r\nhello\r\n--B--\r\n";
    let headers = [("authorization", "Bearer sk_story"), ("content-type", "multipart/form-data; boundary=B")];
    assert_eq!(story.call_with("POST", "/send-status", &headers, form).await.status, 200);
    let file = story.instance.asked(|asked| asked.files.pop()).unwrap();
    assert_eq!(file.media_type, MediaType::Video);
    assert_eq!(file.message.recipient, Recipient::Status(vec![Jid::pn(ANA), Jid::lid("77")]));
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let story = Story::new();
    let url = "https://example.com/a.jpg";
    for (field, body) in [
        ("text", json!({})),
        ("text", json!({ "text": " " })),
        ("text", json!({ "text": 1 })),
        ("text", json!({ "text": "x".repeat(701) })),
        ("text", json!({ "text": "beside", "media_url": url, "media_type": "image" })),
        ("background", json!({ "text": "x", "background": "green" })),
        ("background", json!({ "text": "x", "background": "#12345" })),
        ("font", json!({ "text": "x", "font": 11 })),
        ("recipients", json!({ "text": "x", "recipients": [] })),
        ("recipients", json!({ "text": "x", "recipients": ["120363001234567890@g.us"] })),
        ("media_type", json!({ "media_url": url })),
        ("media_type", json!({ "media_url": url, "media_type": "sticker" })),
        ("media_url", json!({ "media_url": "nowhere", "media_type": "image" })),
    ] {
        let answer = story.call("POST", "/send-status", &body.to_string()).await;
        assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"), "{body}");
        assert!(answer.details()[field].is_array(), "{body}");
    }
    assert!(story.instance.asked(|asked| asked.sends.is_empty() && asked.files.is_empty()));
    story.instance.answers(Err(SendError::NobodyKnown));
    let answer = story.call("POST", "/send-status", &json!({ "text": "x" }).to_string()).await;
    assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"));
    assert!(answer.details()["recipients"].is_array());
}
