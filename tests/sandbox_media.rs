//! Files of phones, by the control API: sent from bytes and from a URL, seen by whoever receives them, kept over a restart.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{path::Path, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wazap::{
    proto,
    sandbox::{FileKind, FileToSend, MediaView, Options, Sandbox, Sending, Source},
};

struct Stand {
    sandbox: Sandbox,
    http: reqwest::Client,
    ana: String,
    bia: String,
}

impl Stand {
    async fn start(state: Option<&Path>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = Options { state: state.map(Path::to_owned), ..Options::default() };
        let sandbox = Sandbox::start(options).await.unwrap();
        let admin = sandbox.admin();
        let phone = |number: &str| match admin.phone(number) {
            Ok(phone) => phone.number,
            Err(_) => admin.create_phone(Some(number.into()), None, None).unwrap().number,
        };
        let (ana, bia) = (phone("5511999990001"), phone("5511999990002"));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { sandbox, http, ana, bia }
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/admin/phones/{}/{path}", self.sandbox.http_url(), self.ana);
        let request = self.http.post(url).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    /// The newest message that Bia's phone has, as the control API shows it.
    async fn newest(&self) -> Value {
        let url = format!("{}/admin/phones/{}/messages?wait=5", self.sandbox.http_url(), self.bia);
        let text = self.http.get(url).send().await.unwrap().bytes().await.unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()["messages"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone()
    }

    async fn bytes_at(&self, url: &str) -> (u16, String, Vec<u8>) {
        let answer = self.http.get(url).send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), kind, answer.bytes().await.unwrap().to_vec())
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[tokio::test]
async fn every_kind_of_file_arrives_byte_by_byte() {
    let stand = Stand::start(None).await;
    for (n, kind) in
        ["image", "video", "gif", "ptv", "audio", "ptt", "document", "sticker"].into_iter().enumerate()
    {
        // Around the borders of blocks and pieces.
        let plain: Vec<u8> = (0..65_530 + n * 2).map(|i| u8::try_from((i + n) % 256).unwrap()).collect();
        let body = json!({
            "to": stand.bia,
            "media": {"type": kind, "base64": BASE64_STANDARD.encode(&plain), "mimetype": "x/y", "caption": "hi", "filename": "a.b"},
        });
        let (status, answer) = stand.post("send", body).await;
        assert_eq!(status, 201, "{kind}: {answer}");
        let message = stand.newest().await;
        assert_eq!(message["id"], answer["id"]);
        let media = &message["media"];
        assert_eq!(
            (&media["sha256"], &media["size"]),
            (&json!(sha256(&plain)), &json!(plain.len())),
            "{kind}"
        );
        assert_eq!(media["mimetype"], "x/y");
        let (status, mimetype, bytes) = stand.bytes_at(media["url"].as_str().unwrap()).await;
        assert_eq!((status, mimetype.as_str()), (200, "x/y"));
        assert!(bytes == plain, "{kind}");
        let captioned = matches!(kind, "image" | "video" | "gif" | "ptv");
        let expected = if captioned { json!("hi") } else { Value::Null };
        if kind != "document" {
            let member = message["kind"].as_str().unwrap();
            assert_eq!(
                message["message"][member].get("caption").cloned().unwrap_or_default(),
                expected,
                "{kind}"
            );
        } else {
            let document = &message["message"]["documentWithCaptionMessage"]["message"]["documentMessage"];
            assert_eq!((&document["caption"], &document["fileName"]), (&json!("hi"), &json!("a.b")));
        }
    }
    // The sender has it, too.
    let id = stand.newest().await["id"].as_str().unwrap().to_owned();
    let url = format!("{}/admin/phones/{}/media/{id}", stand.sandbox.http_url(), stand.ana);
    assert_eq!(stand.bytes_at(&url).await.0, 200);
    assert_eq!(stand.bytes_at(&format!("{url}x")).await.0, 404);
    assert!(stand.sandbox.admin().stats().refused.is_empty());
    stand.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_file_is_fetched_from_a_url_and_outlives_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let plain: Vec<u8> = (0..20_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let id = {
        let stand = Stand::start(Some(state.path())).await;
        let admin = stand.sandbox.admin();
        // The sandbox's own media server serves as somebody's web server.
        let first = FileToSend::new(FileKind::Document, plain.clone());
        let first = admin.send_file(&stand.bia, &stand.ana, first).await.unwrap();
        let url = format!("{}/admin/phones/{}/media/{first}", stand.sandbox.http_url(), stand.ana);
        let file =
            FileToSend { source: Source::Url(url.clone()), ..FileToSend::new(FileKind::Video, vec![]) };
        let id = admin.send_file(&stand.ana, &stand.bia, file).await.unwrap();
        let (status, answer) = stand
            .post("send", json!({"to": stand.bia, "media": {"type": "image", "url": format!("{url}x")}}))
            .await;
        assert_eq!((status, answer), (400, json!({"error": "url: http status 404"})));
        stand.sandbox.shutdown().await;
        id
    };
    let stand = Stand::start(Some(state.path())).await;
    let message = stand.newest().await;
    assert_eq!((&message["id"], &message["kind"]), (&json!(id), &json!("videoMessage")));
    assert_eq!(message["media"]["sha256"], sha256(&plain));
    let (status, mimetype, bytes) = stand.bytes_at(message["media"]["url"].as_str().unwrap()).await;
    assert_eq!((status, mimetype.as_str()), (200, "video/mp4"));
    assert!(bytes == plain);
    stand.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_file_that_is_not_what_it_says_is_shown_as_such() {
    let stand = Stand::start(None).await;
    let admin = stand.sandbox.admin();
    let id = admin
        .send_file(&stand.ana, &stand.bia, FileToSend::new(FileKind::Image, vec![7; 100]))
        .await
        .unwrap();
    let sent = stand.newest().await;
    assert_eq!(sent["media"]["size"], 100);
    let good = admin.messages(&stand.bia, None, None, Duration::ZERO).await.unwrap().remove(0);
    assert!(matches!(good.media, Some(MediaView::Good { size: 100, .. })));

    let bytes = |key: &str| {
        Some(BASE64_STANDARD.decode(sent["message"]["imageMessage"][key].as_str().unwrap()).unwrap())
    };
    let image = proto::message::ImageMessage {
        direct_path: sent["message"]["imageMessage"]["directPath"].as_str().map(str::to_owned),
        media_key: bytes("mediaKey"),
        file_sha256: bytes("fileSha256"),
        file_enc_sha256: bytes("fileEncSha256"),
        file_length: Some(100),
        ..Default::default()
    };
    type Change = fn(&mut proto::message::ImageMessage);
    let changes: [(Change, &str); 5] = [
        (|m| m.media_key = Some(vec![1; 32]), "authentic"),
        (|m| m.file_sha256 = Some(vec![1; 32]), "announced hash"),
        (|m| m.file_enc_sha256 = Some(vec![1; 32]), "announced hash"),
        (|m| m.file_length = Some(99), "announced length"),
        (|m| m.direct_path = Some("/v/t62.7118-24/elsewhere.enc?x=1".into()), "not on this media server"),
    ];
    for (change, expected) in changes {
        let mut image = image.clone();
        change(&mut image);
        let message = proto::Message { image_message: Some(Box::new(image)), ..Default::default() };
        admin.send(&stand.ana, &stand.bia, Sending::Raw(message.encode_to_vec())).unwrap();
        let error = stand.newest().await["media"]["error"].as_str().unwrap().to_owned();
        assert!(
            error.contains(expected) || expected == "announced length" && error.contains("length"),
            "{error}"
        );
    }
    // A text has none; nor has a message whose key is no key.
    let raw = proto::Message {
        image_message: Some(Box::new(proto::message::ImageMessage { media_key: Some(vec![1]), ..image })),
        ..Default::default()
    };
    admin.send(&stand.ana, &stand.bia, Sending::Raw(raw.encode_to_vec())).unwrap();
    assert_eq!(stand.newest().await.get("media"), None);
    let (status, _) = stand.post("send", json!({"to": stand.bia, "text": "hi", "quote": id})).await;
    assert_eq!(status, 201);
    let text = stand.newest().await;
    assert_eq!(text.get("media"), None);
    let url = format!(
        "{}/admin/phones/{}/media/{}",
        stand.sandbox.http_url(),
        stand.bia,
        text["id"].as_str().unwrap()
    );
    assert_eq!(stand.bytes_at(&url).await.0, 404);
    stand.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_file_for_nobody_is_not_taken() {
    let stand = Stand::start(None).await;
    for (to, status) in [("5511900000000", 404), ("not a number", 404)] {
        let body = json!({"to": to, "media": {"type": "image", "base64": ""}});
        assert_eq!(stand.post("send", body).await.0, status);
    }
    stand.sandbox.admin().online(&stand.ana, false).unwrap();
    let body = json!({"to": stand.bia, "media": {"type": "image", "base64": ""}});
    assert_eq!(stand.post("send", body).await.0, 409);
    stand.sandbox.admin().online(&stand.ana, true).unwrap();
    // An empty file is a file.
    let body = json!({"to": stand.bia, "media": {"type": "document", "base64": ""}});
    assert_eq!(stand.post("send", body).await.0, 201);
    assert_eq!(stand.newest().await["media"]["size"], 0);
    stand.sandbox.shutdown().await;
}
