//! Files: what `/send-media` takes in its three forms, and every row of the errors that belong to it.

use serde_json::json;
use wazap::{
    crypto::media::MediaError,
    daemon::media::{FileError, Source},
    media::MediaType,
};

use crate::harness::{Story, error};

const TO: &str = "5511999999999";
const URL: &str = "https://example.com/image.jpg";

#[tokio::test]
async fn a_url_is_taken_under_all_its_names() {
    let story = Story::new();
    for body in [
        json!({ "recipient": TO, "media_url": URL, "media_type": "image", "caption": "x" }),
        json!({ "number": TO, "url": URL, "type": "video", "gif": true }),
        json!({ "to": TO, "media_url": URL, "media_type": "audio", "ptt": false }),
        json!({ "to": TO, "media_url": URL, "media_type": "document", "filename": "a.pdf" }),
        json!({ "to": TO, "media_url": URL, "media_type": "sticker" }),
    ] {
        let answer = story.call("POST", "/send-media", &body.to_string()).await;
        assert_eq!(answer.json()["message"], "Media sent successfully", "{body}");
    }
    let files = story.instance.asked(|asked| std::mem::take(&mut asked.files));
    let kinds: Vec<(MediaType, bool, bool)> =
        files.iter().map(|file| (file.media_type, file.sticker, file.gif)).collect();
    assert_eq!(
        kinds,
        [
            (MediaType::Image, false, false),
            (MediaType::Video, false, true),
            (MediaType::Audio, false, false),
            (MediaType::Document, false, false),
            (MediaType::Image, true, false),
        ]
    );
    assert!(matches!(&files[0].source, Source::Url(url) if url == URL));
    assert_eq!((files[0].caption.as_deref(), files[2].voice), (Some("x"), Some(false)));
    assert_eq!(files[3].file_name.as_deref(), Some("a.pdf"));
}

#[tokio::test]
async fn a_file_comes_as_base64_or_as_a_part_of_a_form() {
    let story = Story::new();
    let body = json!({ "to": TO, "media_base64": "data:image/png;base64,aGVsbG8=", "media_type": "image" });
    story.call("POST", "/send-media", &body.to_string()).await;
    let form = "--B\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\n5511999999999\r\n\
                --B\r\nContent-Disposition: form-data; name=\"media_type\"\r\n\r\naudio\r\n\
                --B\r\nContent-Disposition: form-data; name=\"ptt\"\r\n\r\ntrue\r\n\
                --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"note.ogg\"\r\n\
                Content-Type: audio/ogg\r\n\r\nhello\r\n--B--\r\n";
    let headers = [("authorization", "Bearer sk_story"), ("content-type", "multipart/form-data; boundary=B")];
    let answer = story.call_with("POST", "/send-media", &headers, form).await;
    assert_eq!(answer.json()["message"], "Media sent successfully");
    let files = story.instance.asked(|asked| std::mem::take(&mut asked.files));
    for file in &files {
        let Source::File(received) = &file.source else { panic!("a file") };
        assert_eq!(std::fs::read(received.file.path()).unwrap(), b"hello");
    }
    let Source::File(part) = &files[1].source else { panic!("a file") };
    assert_eq!((part.content_type.as_deref(), part.name.as_deref()), (Some("audio/ogg"), Some("note.ogg")));
    assert_eq!(files[1].voice, Some(true));
    let paths: Vec<_> = files
        .iter()
        .map(|file| match &file.source {
            Source::File(received) => received.file.path().to_owned(),
            Source::Url(_) => unreachable!("a file"),
        })
        .collect();
    drop(files);
    assert!(paths.iter().all(|path| !path.exists()), "a file under way is gone with its request");
}

/// More than the two megabytes that the HTTP framework lets through unless it is told otherwise.
#[tokio::test]
async fn the_file_of_a_form_may_be_large() {
    let story = Story::new();
    let content = "x".repeat(5 << 20);
    let form = format!(
        "--B\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\n{TO}\r\n\
         --B\r\nContent-Disposition: form-data; name=\"media_type\"\r\n\r\ndocument\r\n\
         --B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n{content}\r\n--B--\r\n"
    );
    let headers = [("authorization", "Bearer sk_story"), ("content-type", "multipart/form-data; boundary=B")];
    let answer = story.call_with("POST", "/send-media", &headers, &form).await;
    assert_eq!(answer.json()["message"], "Media sent successfully");
    let files = story.instance.asked(|asked| std::mem::take(&mut asked.files));
    let Source::File(received) = &files[0].source else { panic!("a file") };
    assert_eq!(std::fs::metadata(received.file.path()).unwrap().len(), 5 << 20);
}

#[tokio::test]
async fn bad_fields_are_named() {
    for (field, body) in [
        ("media_url", json!({ "to": TO, "media_type": "image" })),
        ("media_url", json!({ "to": TO, "media_type": "image", "media_url": "ftp://example.com/a" })),
        ("media_url", json!({ "to": TO, "media_type": "image", "media_url": "/a.jpg" })),
        ("media_url", json!({ "to": TO, "media_type": "image", "media_url": "https://u:p@example.com/a" })),
        (
            "media_url",
            json!({ "to": TO, "media_type": "image", "media_url": format!("https://e.com/{}", "x".repeat(2048)) }),
        ),
        ("media_type", json!({ "to": TO, "media_url": URL })),
        ("media_type", json!({ "to": TO, "media_url": URL, "media_type": "Image" })),
        (
            "caption",
            json!({ "to": TO, "media_url": URL, "media_type": "image", "caption": "x".repeat(1025) }),
        ),
        (
            "filename",
            json!({ "to": TO, "media_url": URL, "media_type": "document", "filename": "x".repeat(256) }),
        ),
        ("media_base64", json!({ "to": TO, "media_base64": "%%%", "media_type": "image" })),
        ("ptt", json!({ "to": TO, "media_url": URL, "media_type": "audio", "ptt": "yes" })),
    ] {
        let story = Story::new();
        let answer = story.call("POST", "/send-media", &body.to_string()).await;
        assert_eq!(answer.error(), error(422, "VALIDATION_ERROR"), "{field}");
        assert!(answer.details()[field].is_array(), "{field}: {}", answer.details());
    }
}

#[tokio::test]
async fn every_failure_of_a_file_has_its_row() {
    let url = || URL.to_owned();
    for (failure, status, code, details) in [
        (
            FileError::Download { url: url(), reason: "http_404".into() },
            422,
            "MEDIA_DOWNLOAD_FAILED",
            json!({ "media_url": URL, "reason": "http_404" }),
        ),
        (
            FileError::TooLarge { size: None, limit: 16 << 20 },
            422,
            "MEDIA_TOO_LARGE",
            json!({ "size": null, "limit": 16 << 20 }),
        ),
        (
            FileError::Unsupported { media_type: "image", detected: "application/pdf".into() },
            422,
            "UNSUPPORTED_MEDIA_FORMAT",
            json!({ "media_type": "image", "detected": "application/pdf" }),
        ),
        (FileError::Timeout, 504, "SEND_TIMEOUT", json!({})),
        (FileError::Servers, 503, "MEDIA_SERVER_FAILED", json!({})),
        (FileError::Internal, 500, "INTERNAL_ERROR", json!({})),
    ] {
        let story = Story::new();
        story.instance.file_fails(failure);
        let body = json!({ "to": TO, "media_url": URL, "media_type": "image" }).to_string();
        let answer = story.call("POST", "/send-media", &body).await;
        assert_eq!(answer.error(), error(status, code));
        assert_eq!(answer.details(), details);
    }
    let story = Story::new();
    assert_eq!(story.call("GET", "/messages/3EB0/media", "").await.error(), error(404, "MESSAGE_NOT_FOUND"));
    story.instance.file_fails(FileError::Gone);
    assert_eq!(story.call("GET", "/messages/3EB0/media", "").await.error(), error(404, "MEDIA_GONE"));
    assert_eq!(story.call("GET", "/messages/3EB0/media", "").await.details(), json!({}));
    story.instance.file_fails(FileError::NotAuthentic(MediaError::Mac));
    let answer = story.call("GET", "/messages/3EB0/media", "").await;
    assert_eq!(answer.error(), error(404, "MEDIA_GONE"));
    assert_eq!(answer.details(), json!({ "reason": "not_authentic" }));
}
