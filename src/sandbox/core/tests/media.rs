//! Permissions to upload, phones that upload again, and the form of what phones send.

use super::*;
use crate::{
    crypto::media::{
        Encrypted, Encryptor, MediaKeys, Sidecar,
        retry::{self, Answer, Failure},
    },
    sandbox::core::Uploaded,
    stanza::{MediaConn, MediaOf, MediaRetryAnswer, MediaRetryRequest, media_conn_query},
};

const KEY: [u8; 32] = [9; 32];

fn encrypted(kind: FileKind) -> Encrypted {
    let mut encryptor = Encryptor::new(&MediaKeys::derive(&KEY, kind.keys()), Sidecar::Off);
    let mut blob = Vec::new();
    encryptor.update(b"hello media", &mut blob);
    encryptor.finish(&mut blob)
}

fn file(kind: FileKind) -> Uploaded {
    Uploaded {
        kind,
        mimetype: kind.usual_mimetype().into(),
        caption: None,
        filename: None,
        seconds: Some(3),
        view_once: false,
        quote: None,
        media_key: KEY,
        encrypted: encrypted(kind),
    }
}

impl Story {
    fn phone_of(&self, companion: &Companion) -> AccountId {
        self.world.phone(companion.jid.user()).unwrap()
    }

    fn media_conn_of(&mut self, companion: &Companion) -> MediaConn {
        self.says(companion.conn, media_conn_query("m"));
        MediaConn::parse(&self.seen_of(companion.conn, "iq")[0]).unwrap()
    }

    /// The newest message in a phone's inbox.
    fn newest(&self, companion: &Companion) -> proto::Message {
        let inbox = &self.world.account(self.phone_of(companion)).phone.inbox;
        proto::Message::decode(inbox.back().unwrap().message.as_slice()).unwrap()
    }

    fn asks_for(&mut self, companion: &Companion, id: &str, key: &[u8; 32], to: Jid) -> MediaRetryAnswer {
        let sealed = retry::seal_request(key, id, &mut self.rng);
        let of = MediaOf { id: id.into(), chat: Jid::pn("5511888888888"), from_me: false, participant: None };
        self.says(companion.conn, MediaRetryRequest { of: of.clone(), peer: to, sealed }.build_to());
        let seen = self.seen(companion.conn);
        let ack = seen.iter().find(|node| node.tag == "ack").unwrap();
        assert_eq!((ack.text("class"), ack.text("type")), (Some("receipt"), Some("server-error")));
        let notification = seen.iter().find(|node| node.tag == "notification").unwrap();
        let answer = MediaRetryAnswer::parse(notification).unwrap();
        assert_eq!((&answer.of, &answer.from), (&of, &companion.jid.bare()));
        // It leaves the queue with the usual ack.
        self.says(companion.conn, Ack::of(notification).unwrap().build_to());
        let device = self.world.resolve(&companion.jid).unwrap();
        let left = self.world.device(device).unwrap().queue.entries();
        let told = |node: &Node| node.tag == "notification" && node.text("type") != Some("privacy_token");
        assert!(!left.into_iter().any(|entry| told(&entry.node)));
        answer
    }
}

#[test]
fn a_permission_to_upload_is_the_devices_own_and_ends() {
    let mut story = Story::new();
    story.world.serve_media_at("127.0.0.1:8080".into());
    let (ana, bia) = (story.link("Ana"), story.link("Bia"));
    let first = story.media_conn_of(&ana);
    assert_eq!(first.in_order(), ["127.0.0.1:8080"]);
    assert_eq!((first.ttl, first.auth_ttl, first.max_buckets), (300, Some(21_600), Some(12)));
    assert!(first.auth.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));

    let other = story.media_conn_of(&bia);
    let by = |story: &Story, auth: &str| {
        story.world.uploader(auth, story.now).map(|device| story.world.jid(device, Namespace::Pn))
    };
    assert_eq!(by(&story, &first.auth), Some(ana.jid.clone()));
    assert_eq!(by(&story, &other.auth), Some(bia.jid.clone()));
    assert_eq!(by(&story, "made-up"), None);
    assert_eq!(by(&story, ""), None);

    let second = story.media_conn_of(&ana);
    assert_eq!((by(&story, &first.auth), by(&story, &second.auth)), (None, Some(ana.jid.clone())));
    let phone = story.phone_of(&bia);
    story.world.unlink_companion(phone, bia.jid.device(), story.now).unwrap();
    assert_eq!(by(&story, &other.auth), None);
    story.pass(21_600_000);
    assert_eq!(by(&story, &second.auth), None);
    assert!(story.world.stats_view().unknown.is_empty());
}

#[test]
fn a_phone_uploads_again_what_it_sent_and_what_it_received() {
    let mut story = Story::new();
    let (ana, bia) = (story.link("Ana"), story.link("Bia"));
    let (from, number) = (story.phone_of(&ana), bia.jid.user().to_owned());
    let id = story.world.send_file(from, &number, file(FileKind::Image), story.now).unwrap();
    story.collect();
    let _ = (story.seen(ana.conn), story.seen(bia.conn));
    let old = story.newest(&bia).image_message.unwrap().direct_path.unwrap();

    // The phone that received it is asked by its bare name; the one that sent it by the asking device's own.
    for (companion, to) in [(&bia, bia.jid.bare()), (&ana, ana.jid.clone())] {
        let answer = story.asks_for(companion, &id, &KEY, to);
        let Ok(Answer::Uploaded { direct_path, .. }) =
            retry::open_answer(&KEY, &id, &answer.outcome.unwrap())
        else {
            panic!("not uploaded");
        };
        assert_ne!(direct_path, old);
        assert_eq!(blob_of(&direct_path), Some(encrypted(FileKind::Image).file_enc_sha256));
    }

    let answer = story.asks_for(&bia, &id, &[1; 32], bia.jid.bare());
    let opened = retry::open_answer(&KEY, &id, &answer.outcome.unwrap());
    assert!(opened == Ok(Answer::Failed(Failure::Decryption)));
    let answer = story.asks_for(&bia, "3EB0UNKNOWN", &KEY, bia.jid.bare());
    assert_eq!(answer.outcome, Err(2));
    let text = Sending::Text { text: "no file".into(), quote: None };
    let text = story.world.send_from(from, &number, text, story.now).unwrap();
    story.collect();
    let _ = (story.seen(ana.conn), story.seen(bia.conn));
    assert_eq!(story.asks_for(&bia, &text, &KEY, bia.jid.bare()).outcome, Err(2));
    assert!(story.world.stats_view().refused.is_empty());
}

#[test]
fn a_request_for_another_upload_that_is_none_is_counted() {
    let mut story = Story::new();
    let ana = story.link("Ana");
    let receipt = Receipt::new("3EB0AA".into(), ana.jid.bare(), ReceiptKind::ServerError);
    story.says(ana.conn, receipt.build_to());
    assert_eq!(story.world.stats_view().refused.values().sum::<u64>(), 1);
    assert_eq!(story.seen_of(ana.conn, "notification"), []);
}

/// How a stanza looks from outside: type, edit, mediatype and decrypt-fail of the ciphertext, polltype.
type Outside<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<&'a str>);

fn outside(node: &Node) -> Outside<'_> {
    let enc = node.find("enc").unwrap();
    (
        node.text("type").unwrap(),
        node.text("edit"),
        enc.text("mediatype"),
        enc.text("decrypt-fail"),
        node.find("meta").and_then(|meta| meta.text("polltype")),
    )
}

#[test]
fn what_a_phone_sends_arrives_as_its_kind_in_its_form() {
    let mut story = Story::new();
    let (ana, bia) = (story.link("Ana"), story.link("Bia"));
    let (from, number) = (story.phone_of(&ana), bia.jid.user().to_owned());
    let text = |text: &str| Sending::Text { text: text.into(), quote: None };
    let first = story.world.send_from(from, &number, text("first"), story.now).unwrap();
    let theirs = {
        let back = story.phone_of(&bia);
        story.world.send_from(back, ana.jid.user(), text("back"), story.now).unwrap()
    };
    story.collect();
    let _ = (story.seen(ana.conn), story.seen(bia.conn));

    let hide = Some("hide");
    let options = vec!["a".to_owned(), "b".to_owned()];
    let card = |name: &str| (name.to_owned(), "BEGIN:VCARD".to_owned());
    let poll = |multiple| Sending::Poll { question: "q".into(), options: options.clone(), multiple };
    let cases: [(Sending, &str, Outside<'_>); 11] = [
        (
            Sending::Reaction { id: theirs.clone(), emoji: "👍".into() },
            "reactionMessage",
            ("reaction", None, None, hide, None),
        ),
        (
            Sending::Reaction { id: first.clone(), emoji: String::new() },
            "reactionMessage",
            ("reaction", Some("7"), None, hide, None),
        ),
        (
            Sending::Edit { id: first.clone(), text: "1st".into() },
            "protocolMessage",
            ("text", Some("1"), None, hide, None),
        ),
        (Sending::Revoke { id: first.clone() }, "protocolMessage", ("text", Some("7"), None, None, None)),
        (
            Sending::Location { latitude: -23.5, longitude: -46.6, name: None, address: None },
            "locationMessage",
            ("media", None, Some("location"), None, None),
        ),
        (Sending::Contacts(vec![card("Ana")]), "contactMessage", ("media", None, Some("vcard"), None, None)),
        (
            Sending::Contacts(vec![card("Ana"), card("Bia")]),
            "contactsArrayMessage",
            ("media", None, Some("contact_array"), None, None),
        ),
        (poll(true), "pollCreationMessage", ("poll", None, None, None, Some("creation"))),
        (poll(false), "pollCreationMessageV3", ("poll", None, None, None, Some("creation"))),
        (
            Sending::Text { text: "re".into(), quote: Some(theirs.clone()) },
            "extendedTextMessage",
            ("text", None, None, None, None),
        ),
        (text("plain"), "conversation", ("text", None, None, None, None)),
    ];
    for (sending, kind, expected) in cases {
        let name = format!("{sending:?}");
        let id = story.world.send_from(from, &number, sending, story.now).unwrap();
        story.collect();
        let got = story.seen_of(bia.conn, "message");
        assert_eq!(got.len(), 1, "{name}");
        assert_eq!(outside(&got[0]), expected, "{name}");
        let views = story.world.message_views(story.phone_of(&bia), None, None).unwrap();
        let view = views.last().unwrap();
        assert_eq!((view.id.as_str(), view.kind.as_str()), (id.as_str(), kind), "{name}");
        let _ = story.seen(ana.conn);
    }
    let poll = story.world.send_from(from, &number, poll(false), story.now).unwrap();
    let sent = proto::Message::decode(story.world.message_of(from, &poll).unwrap()).unwrap();
    assert_eq!(sent.message_context_info.unwrap().message_secret.map(|secret| secret.len()), Some(32));
    assert_eq!(sent.poll_creation_message_v3.unwrap().selectable_options_count, Some(1));

    story
        .world
        .send_from(from, &number, Sending::Edit { id: first.clone(), text: "2nd".into() }, story.now)
        .unwrap();
    let edit = story.newest(&bia).protocol_message.unwrap();
    let key = edit.key.unwrap();
    assert_eq!(
        (key.id, key.from_me, key.remote_jid),
        (Some(first), Some(true), Some(bia.jid.bare().to_wire()))
    );
    assert_eq!(edit.edited_message.unwrap().conversation.as_deref(), Some("2nd"));

    let foreign = Sending::Revoke { id: theirs.clone() };
    assert!(matches!(
        story.world.send_from(from, &number, foreign, story.now),
        Err(OperateError::BadRequest(_))
    ));
    let unknown = Sending::Reaction { id: "3EB0".into(), emoji: "👍".into() };
    assert_eq!(story.world.send_from(from, &number, unknown, story.now), Err(OperateError::NoSuchMessage));
    let nowhere = Sending::Location { latitude: 91.0, longitude: 0.0, name: None, address: None };
    assert!(matches!(
        story.world.send_from(from, &number, nowhere, story.now),
        Err(OperateError::BadRequest(_))
    ));
    let poor = Sending::Poll { question: "q".into(), options: vec!["a".into()], multiple: false };
    assert!(matches!(
        story.world.send_from(from, &number, poor, story.now),
        Err(OperateError::BadRequest(_))
    ));
    assert!(story.world.stats_view().refused.is_empty());
}

#[test]
fn files_arrive_as_their_kind_with_what_they_need() {
    let mut story = Story::new();
    story.world.serve_media_at("127.0.0.1:8080".into());
    let (ana, bia) = (story.link("Ana"), story.link("Bia"));
    let (from, number) = (story.phone_of(&ana), bia.jid.user().to_owned());
    for (kind, mediatype) in [
        (FileKind::Image, "image"),
        (FileKind::Video, "video"),
        (FileKind::Gif, "gif"),
        (FileKind::Ptv, "ptv"),
        (FileKind::Audio, "audio"),
        (FileKind::Ptt, "ptt"),
        (FileKind::Document, "document"),
        (FileKind::Sticker, "sticker"),
    ] {
        for (caption, view_once) in [(None, false), (Some("look"), false), (None, true)] {
            let file = Uploaded { caption: caption.map(str::to_owned), view_once, ..file(kind) };
            let id = story.world.send_file(from, &number, file, story.now).unwrap();
            story.collect();
            let got = story.seen_of(bia.conn, "message");
            assert_eq!(outside(&got[0]), ("media", None, Some(mediatype), None, None), "{kind:?}");
            let facts = story.world.media_of(story.phone_of(&bia), &id).unwrap().unwrap();
            assert_eq!(facts.media_key, KEY);
            assert_eq!(facts.claim.file_length, Some(11));
            assert_eq!(facts.claim.file_enc_sha256, Some(encrypted(kind).file_enc_sha256));
            assert_eq!(blob_of(&facts.direct_path), facts.claim.file_enc_sha256);
            let message = story.newest(&bia);
            let wrapped = message.document_with_caption_message.is_some();
            assert_eq!(wrapped, kind == FileKind::Document && caption.is_some());
            let once = matches!(kind, FileKind::Image | FileKind::Video | FileKind::Audio | FileKind::Ptt);
            assert_eq!(message.view_once_message_v2.is_some(), once && view_once);
        }
    }
    let image = Uploaded { quote: Some("3EB0".into()), ..file(FileKind::Image) };
    assert_eq!(story.world.send_file(from, &number, image, story.now), Err(OperateError::NoSuchMessage));
    story.world.send_file(from, &number, file(FileKind::Image), story.now).unwrap();
    let image = story.newest(&bia).image_message.unwrap();
    let expected = format!("https://127.0.0.1:8080{}&mms3=true", image.direct_path.unwrap());
    assert_eq!(image.url, Some(expected));
    assert!(story.world.stats_view().refused.is_empty());
}

#[test]
fn faults_of_the_media_server_are_set_and_shown() {
    let mut story = Story::new();
    let faults = serde_json::json!({
        "cdn": {"status": 503, "times": 1}, "cdn_delay": {"ms": 7}, "cdn_cut": {"probability": 0},
    });
    story.world.faults().replace(&faults).unwrap();
    let first = story.world.cdn_faults(None);
    assert_eq!((first.status, first.delay, first.cut), (Some(503), Some(Duration::from_millis(7)), false));
    assert_eq!(story.world.cdn_faults(None).status, None);
    let shown = serde_json::to_value(story.world.fault_views()).unwrap();
    assert_eq!(shown["cdn"], serde_json::json!({"status": 503, "probability": 1.0, "times": 1, "fired": 1}));
    assert_eq!(shown["cdn_delay"]["ms"], 7);
    for wrong in [serde_json::json!({"cdn": {}}), serde_json::json!({"cdn": {"status": 200}})] {
        assert!(story.world.faults().replace(&wrong).is_err());
    }
}
