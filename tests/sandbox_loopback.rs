//! The sandbox over real loopback: one port for TLS and plain, the handshake, the control API, a start from a saved state.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};
use wazap::{
    clock::Millis,
    crypto::KeyPair,
    sandbox::{Options, Sandbox, Sending},
    stanza::PairDevice,
    wire::{
        Node, codec,
        frame::Reader,
        noise::{ExpectServerHello, Sealed, TrustRoot},
    },
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn started(options: Options) -> Sandbox {
    Sandbox::start(options).await.unwrap()
}

/// The HTTP client is built without a TLS provider of its own.
fn http() -> reqwest::ClientBuilder {
    // Another test of the process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}

/// A client as far as the sealed pipe, with a payload that says what it wants.
async fn shake(sandbox: &Sandbox, root: [u8; 32], payload: Vec<u8>) -> Result<(Socket, Sealed), String> {
    let url = sandbox.plain_url().unwrap();
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let mut rng = StdRng::seed_from_u64(5);
    let (hello, bytes) = ExpectServerHello::start(KeyPair::generate(&mut rng), payload, &mut rng);
    socket.send(Message::Binary(bytes.into())).await.unwrap();
    let answer = next_frame(&mut socket).await.unwrap();
    let (finish, sealed) =
        hello.step(&answer, &TrustRoot(root), Millis::now()).map_err(|error| error.to_string())?;
    socket.send(Message::Binary(finish.into())).await.unwrap();
    Ok((socket, sealed))
}

async fn next_frame(socket: &mut Socket) -> Option<Vec<u8>> {
    let mut reader = Reader::default();
    loop {
        match socket.next().await?.ok()? {
            Message::Binary(bytes) => {
                reader.push(&bytes);
                let frame = reader.next();
                assert_eq!(reader.waiting(), 0, "one frame a message");
                return frame;
            }
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

async fn next_node(socket: &mut Socket, sealed: &mut Sealed) -> Option<Node> {
    let frame = next_frame(socket).await?;
    Some(codec::decode(&sealed.opener.open(&frame).unwrap()).unwrap())
}

#[tokio::test]
async fn a_client_that_trusts_the_root_is_let_in_and_another_turns_away() {
    let sandbox = started(Options { plain: true, seed: Some(1), ..Options::default() }).await;
    let wrong = shake(&sandbox, TrustRoot::WHATSAPP.0, Vec::new()).await;
    assert!(wrong.is_err(), "signed by another root");

    // Neither a registration nor a login: refused after the handshake.
    let (mut socket, mut sealed) = shake(&sandbox, sandbox.root_key(), Vec::new()).await.unwrap();
    let failure = next_node(&mut socket, &mut sealed).await.unwrap();
    assert_eq!((failure.tag.as_ref(), failure.text("reason")), ("failure", Some("401")));
    assert_eq!(next_node(&mut socket, &mut sealed).await, None);
    assert_eq!(sandbox.admin().stats().connections, 1);
    sandbox.shutdown().await;
}

#[tokio::test]
async fn garbage_behind_the_handshake_ends_the_stream_and_is_counted() {
    let sandbox = started(Options { plain: true, ..Options::default() }).await;
    let payload = registration();
    let (mut socket, mut sealed) = shake(&sandbox, sandbox.root_key(), payload).await.unwrap();
    let pair = next_node(&mut socket, &mut sealed).await.unwrap();
    assert_eq!(PairDevice::parse(&pair).unwrap().refs.len(), 6);
    let rubbish = wazap::wire::frame::encode(b"no ciphertext of this pipe").unwrap();
    socket.send(Message::Binary(rubbish.into())).await.unwrap();
    let error = next_node(&mut socket, &mut sealed).await.unwrap();
    assert_eq!(error.tag, "stream:error");
    assert_eq!(next_node(&mut socket, &mut sealed).await, None);
    assert_eq!(sandbox.admin().stats().refused.values().sum::<u64>(), 1);
    sandbox.shutdown().await;
}

fn registration() -> Vec<u8> {
    use prost::Message as _;
    use wazap::proto::{ClientPayload, DeviceProps, client_payload::DevicePairingData};
    let mut rng = StdRng::seed_from_u64(6);
    let (identity, signed) = (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
    let signature = identity.private.sign(&signed.public.to_signal(), &mut rng);
    ClientPayload {
        device_pairing_data: Some(DevicePairingData {
            e_regid: Some(vec![0, 0, 0, 1]),
            e_keytype: Some(vec![5]),
            e_ident: Some(identity.public.as_bytes().to_vec()),
            e_skey_id: Some(vec![0, 0, 1]),
            e_skey_val: Some(signed.public.as_bytes().to_vec()),
            e_skey_sig: Some(signature.to_vec()),
            build_hash: None,
            device_props: Some(DeviceProps::default().encode_to_vec()),
        }),
        ..Default::default()
    }
    .encode_to_vec()
}

#[tokio::test]
async fn one_port_speaks_tls_and_plain_http() {
    let sandbox = started(Options::default()).await;
    let plain = http().build().unwrap().get(sandbox.http_url()).send().await.unwrap();
    assert_eq!(plain.status(), 200);
    // Without --plain the chat socket wants TLS.
    let upgrade = tokio_tungstenite::connect_async(sandbox.url().replace("wss://", "ws://")).await;
    assert!(upgrade.is_err());

    let pem = std::fs::read(sandbox.tls_root_path()).unwrap();
    assert_eq!(pem, sandbox.tls_root_pem().as_bytes());
    let root = reqwest::Certificate::from_pem(&pem).unwrap();
    let client = http().tls_certs_only([root]).build().unwrap();
    let over_tls = sandbox.http_url().replace("http://", "https://");
    assert_eq!(client.get(&over_tls).send().await.unwrap().status(), 200);
    let stats = client.get(format!("{over_tls}/admin/stats")).send().await.unwrap();
    assert_eq!(stats.status(), 200);

    let path = sandbox.tls_root_path().to_owned();
    sandbox.shutdown().await;
    assert!(!path.exists(), "the root of a passing sandbox goes with it");
}

#[tokio::test]
async fn the_control_api_creates_phones_that_talk_and_names_what_it_refuses() {
    let sandbox = started(Options { seed: Some(3), ..Options::default() }).await;
    let client = http().build().unwrap();
    let url = format!("{}/admin", sandbox.http_url());
    let post = |path: &str, body: &'static str| client.post(format!("{url}{path}")).body(body).send();

    let created = post("/phones", r#"{"number": "5511900000001", "name": "Echo"}"#).await.unwrap();
    assert_eq!(created.status(), 201);
    let carla = sandbox.admin().create_phone(None, Some("Carla".into()), None).unwrap();
    let text = Sending::Text { text: "hello".into(), quote: None };
    sandbox.admin().send(&carla.number, "5511900000001", text).unwrap();

    let path = format!("{url}/phones/{}/messages?wait=5&from=5511900000001", carla.number);
    let heard: serde_json::Value =
        serde_json::from_slice(&client.get(path).send().await.unwrap().bytes().await.unwrap()).unwrap();
    let message = &heard["messages"][0];
    assert_eq!(message["text"], "hello");
    assert_eq!(message["kind"], "conversation");
    assert_eq!(message["message"]["conversation"], "hello");
    assert_eq!(message["sender_device"], 0);

    for (path, body, status) in [
        ("/phones", r#"{"number": "5511900000001"}"#, 409),
        ("/phones", r#"{"number": "12"}"#, 400),
        ("/phones", "[1]", 400),
        ("/phones/1/send", r#"{"to": "5511900000001", "text": "x"}"#, 404),
        ("/phones/5511900000001/send", r#"{"to": "5511900000001"}"#, 400),
        ("/phones/5511900000001/send", r#"{"to": "1", "media": {}}"#, 400),
        ("/devices/5511900000001/drop", "", 404),
        ("/nowhere", "", 404),
    ] {
        let answer = post(path, body).await.unwrap();
        assert_eq!(answer.status(), status, "{path} {body}");
        let error: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert!(error["error"].is_string());
    }
    sandbox.shutdown().await;
}

#[tokio::test]
async fn a_long_poll_ends_when_the_message_comes() {
    let sandbox = started(Options::default()).await;
    let admin = sandbox.admin();
    let ana = admin.create_phone(None, None, None).unwrap().number;
    let bia = admin.create_phone(None, None, None).unwrap().number;
    let waiting = tokio::spawn({
        let (admin, bia) = (admin.clone(), bia.clone());
        async move { admin.messages(&bia, None, None, Duration::from_secs(30)).await }
    });
    tokio::task::yield_now().await;
    admin.send(&ana, &bia, Sending::Text { text: "there".into(), quote: None }).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap()[0].text.as_deref(), Some("there"));
    sandbox.shutdown().await;
}

#[tokio::test]
async fn a_sandbox_with_a_state_keeps_its_keys_and_phones() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { state: Some(folder.path().join("state")), seed: Some(9), ..Options::default() };
    let first = started(options.clone()).await;
    let (root, pem) = (first.root_key(), first.tls_root_pem().to_owned());
    let phone = first.admin().create_phone(None, Some("Ana".into()), None).unwrap();
    first.shutdown().await;

    let second = started(options).await;
    assert_eq!((second.root_key(), second.tls_root_pem()), (root, pem.as_str()));
    assert_eq!(second.admin().phone(&phone.number).unwrap(), phone);
    // The same seed, but not the same randomness again.
    assert_ne!(second.admin().create_phone(None, None, None).unwrap().number, phone.number);
    second.shutdown().await;
}

#[tokio::test]
async fn a_reachable_address_needs_to_be_asked_for() {
    let options = Options { listen: ([0, 0, 0, 0], 0).into(), ..Options::default() };
    assert!(Sandbox::start(options.clone()).await.is_err());
    started(Options { allow_remote: true, ..options }).await.shutdown().await;
}
