//! Real sockets on loopback: plain, TLS, and through every kind of proxy.

use std::{net::SocketAddr, sync::Arc};

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{
    accept_hdr_async_with_config,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::*;

/// A listener, and for every connection one run of `serve`.
async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Checks the origin, pings and waits for the pong, echoes until it is told to close, and closes with 1012.
async fn echo(stream: impl AsyncRead + AsyncWrite + Unpin) {
    #[allow(clippy::result_large_err, reason = "the library's signature")]
    let check = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        match request.headers().get("origin") {
            Some(origin) if origin == "https://web.whatsapp.com" => Ok(response),
            _ => Err(ErrorResponse::new(Some("origin".to_owned()))),
        }
    };
    let roomy = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let Ok(mut socket) = accept_hdr_async_with_config(stream, check, Some(roomy)).await else { return };
    socket.send(Message::Ping(b"are you there"[..].into())).await.unwrap();
    let mut answered = false;
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Pong(payload) => answered = payload == b"are you there"[..],
            Message::Binary(bytes) if &*bytes == b"close" => {
                assert!(answered);
                let frame = CloseFrame { code: CloseCode::Restart, reason: "".into() };
                let _ = socket.close(Some(frame)).await;
            }
            Message::Binary(bytes) if &*bytes == b"flood" => {
                let _ = socket.send(Message::binary(vec![0; MAX_MESSAGE + 1])).await;
            }
            Message::Binary(bytes) => socket.send(Message::Binary(bytes)).await.unwrap(),
            _ => {}
        }
    }
}

/// Says something, hears it again, and is closed.
async fn converse(options: &Options) -> Result<(), NetError> {
    let (mut sender, mut receiver) = connect(options).await?.split();
    for message in [vec![], b"hello".to_vec(), vec![7; 1 << 20]] {
        sender.send(message.clone()).await?;
        assert_eq!(receiver.next().await, Some(Ok(message)));
    }
    sender.send(b"close".to_vec()).await?;
    assert_eq!(receiver.next().await, Some(Err(NetError::Closed(Some(1012)))));
    assert_eq!(receiver.next().await, None);
    Ok(())
}

#[tokio::test]
async fn messages_go_both_ways_until_the_server_closes() {
    let server = listen(echo).await;
    assert_eq!(converse(&Options::new(format!("ws://{server}/ws/chat"))).await, Ok(()));
    let socket = connect(&Options::new(format!("ws://{server}"))).await.unwrap();
    assert_eq!(socket.close().await, Ok(()));
    let (mut sender, mut receiver) = connect(&Options::new(format!("ws://{server}"))).await.unwrap().split();
    assert_eq!(sender.close().await, Ok(()));
    assert_eq!(receiver.next().await, Some(Err(NetError::Closed(Some(1000)))));
    assert_eq!(sender.close().await, Ok(()));
}

#[tokio::test]
async fn a_message_has_a_size_limit_both_ways() {
    let server = listen(echo).await;
    let (mut sender, mut receiver) = connect(&Options::new(format!("ws://{server}"))).await.unwrap().split();
    assert_eq!(sender.send(vec![0; MAX_MESSAGE + 1]).await, Err(NetError::TooLarge));
    sender.send(b"flood".to_vec()).await.unwrap();
    assert_eq!(receiver.next().await, Some(Err(NetError::TooLarge)));
    assert_eq!(receiver.next().await, None);
}

/// A root that signs one certificate for `localhost`, and the acceptor that shows it.
fn tls_server() -> (Vec<u8>, TlsAcceptor) {
    let root_key = rcgen::KeyPair::generate().unwrap();
    let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = root.self_signed(&root_key).unwrap().pem().into_bytes();
    let issuer = rcgen::Issuer::new(root, root_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
    (pem, TlsAcceptor::from(Arc::new(config)))
}

async fn listen_tls<F>(
    acceptor: TlsAcceptor,
    serve: impl Fn(tokio_rustls::server::TlsStream<TcpStream>) -> F + Clone + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    listen(move |stream| {
        let (acceptor, serve) = (acceptor.clone(), serve.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_server_is_believed_under_its_root_and_name_only() {
    let (pem, acceptor) = tls_server();
    let port = listen_tls(acceptor, echo).await.port();
    let options =
        |host: &str, extra_roots| Options { extra_roots, ..Options::new(format!("wss://{host}:{port}")) };
    assert_eq!(converse(&options("localhost", Some(pem.clone()))).await, Ok(()));

    let (other, _) = tls_server();
    for wrong in
        [options("localhost", None), options("localhost", Some(other)), options("127.0.0.1", Some(pem))]
    {
        let error = converse(&wrong).await.unwrap_err();
        assert!(matches!(&error, NetError::Tls(cause) if cause.contains("certificate")), "{error}");
    }
    for broken in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let error = converse(&options("localhost", Some(broken.into()))).await.unwrap_err();
        assert!(matches!(error, NetError::BadRoots(_)), "{error}");
    }
}

#[tokio::test]
async fn every_failure_names_its_cause() {
    let silent = listen(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let patience = Duration::from_millis(60);
    for (scheme, stage) in [("ws", Stage::Upgrade), ("wss", Stage::Tls)] {
        let options = Options { connect_timeout: patience, ..Options::new(format!("{scheme}://{silent}")) };
        assert_eq!(connect(&options).await.err(), Some(NetError::Timeout(stage)));
    }
    let proxy = format!("socks5://{silent}").parse().ok();
    let options = Options { connect_timeout: patience, proxy, ..Options::new("ws://example.invalid") };
    let error = connect(&options).await.err().unwrap();
    assert_eq!(error.to_string(), "timeout during going through the proxy");

    let forbidding = listen(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    assert_eq!(
        connect(&Options::new(format!("ws://{forbidding}"))).await.err(),
        Some(NetError::HttpStatus(403))
    );

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = connect(&Options::new(format!("ws://{nobody}"))).await.err();
    assert!(matches!(&error, Some(NetError::Connect(_))), "{error:?}");

    // No resolver takes a label of 64 letters, so nothing is asked of the network.
    let error = connect(&Options::new(format!("ws://{}.invalid", "a".repeat(64)))).await.err();
    assert!(matches!(&error, Some(NetError::Dns(_))), "{error:?}");

    for url in ["", "no url", "http://localhost", "ws://", "localhost:1"] {
        assert_eq!(connect(&Options::new(url)).await.err(), Some(NetError::BadUrl), "{url}");
    }
}

/// Forwards after `CONNECT`; wants `ana` and `secret` if `login` says so.
async fn http_proxy(mut stream: impl AsyncRead + AsyncWrite + Unpin, login: bool, to: SocketAddr) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    let request = String::from_utf8(request).unwrap();
    assert!(
        request.starts_with("CONNECT chat.invalid:1234 HTTP/1.1\r\nHost: chat.invalid:1234\r\n"),
        "{request}"
    );
    if login && !request.contains("\r\nProxy-Authorization: Basic YW5hOnNlY3JldA==\r\n") {
        let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        return;
    }
    stream.write_all(b"HTTP/1.1 200 Fine\r\nVia: test\r\n\r\n").await.unwrap();
    let mut server = TcpStream::connect(to).await.unwrap();
    let _ = copy_bidirectional(&mut stream, &mut server).await;
}

async fn socks_proxy(mut stream: TcpStream, login: bool, to: Option<SocketAddr>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.unwrap();
    let mut methods = vec![0; usize::from(head[1])];
    stream.read_exact(&mut methods).await.unwrap();
    let method = if login { 2 } else { 0 };
    let chosen = if methods.contains(&method) { method } else { 0xff };
    stream.write_all(&[5, chosen]).await.unwrap();
    if chosen == 2 {
        let mut said = [0; 12];
        stream.read_exact(&mut said).await.unwrap();
        let right = said == *b"\x01\x03ana\x06secret";
        stream.write_all(&[1, u8::from(!right)]).await.unwrap();
        if !right {
            return;
        }
    } else if chosen == 0xff {
        return;
    }
    let mut request = [0; 5 + 12 + 2];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(request, *b"\x05\x01\x00\x03\x0cchat.invalid\x04\xd2");
    let Some(to) = to else {
        let _ = stream.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await;
        return;
    };
    stream.write_all(&[5, 0, 0, 3, 4, b'h', b'o', b's', b't', 0, 80]).await.unwrap();
    let mut server = TcpStream::connect(to).await.unwrap();
    let _ = copy_bidirectional(&mut stream, &mut server).await;
}

/// To a name that only the proxy can know.
fn through(proxy: String, extra_roots: Option<Vec<u8>>) -> Options {
    let proxy = Some(proxy.parse().unwrap());
    Options { proxy, extra_roots, ..Options::new("ws://chat.invalid:1234/ws/chat") }
}

#[tokio::test]
async fn http_proxies_connect_with_and_without_a_login() {
    let server = listen(echo).await;
    let open = listen(move |stream| http_proxy(stream, false, server)).await;
    assert_eq!(converse(&through(format!("http://{open}"), None)).await, Ok(()));
    let closed = listen(move |stream| http_proxy(stream, true, server)).await;
    assert_eq!(converse(&through(format!("http://ana:secret@{closed}"), None)).await, Ok(()));
    for login in ["", "ana:wrong1@"] {
        let error = converse(&through(format!("http://{login}{closed}"), None)).await.unwrap_err();
        assert_eq!(error, ProxyError::Login.into());
        assert_eq!(error.to_string(), "proxy: user or password refused");
    }
    let (pem, acceptor) = tls_server();
    let port = listen_tls(acceptor, move |stream| http_proxy(stream, true, server)).await.port();
    let options = through(format!("https://ana:secret@localhost:{port}"), Some(pem));
    assert_eq!(converse(&options).await, Ok(()));
    let error = converse(&through(format!("https://localhost:{port}"), None)).await.unwrap_err();
    assert!(matches!(error, NetError::Proxy(ProxyError::Tls(_))), "{error}");
}

#[tokio::test]
async fn socks5_proxies_connect_with_and_without_a_login() {
    let server = listen(echo).await;
    let open = listen(move |stream| socks_proxy(stream, false, Some(server))).await;
    assert_eq!(converse(&through(format!("socks5://{open}"), None)).await, Ok(()));
    let closed = listen(move |stream| socks_proxy(stream, true, Some(server))).await;
    assert_eq!(converse(&through(format!("socks5://ana:secret@{closed}"), None)).await, Ok(()));
    for login in ["", "ana:wrong1@"] {
        let error = converse(&through(format!("socks5://{login}{closed}"), None)).await.unwrap_err();
        assert_eq!(error, ProxyError::Login.into());
    }
    let refusing = listen(move |stream| socks_proxy(stream, false, None)).await;
    let error = converse(&through(format!("socks5://{refusing}"), None)).await.unwrap_err();
    assert_eq!(error.to_string(), "proxy: socks code 5: connection refused");
}

#[tokio::test]
async fn tls_to_the_server_passes_through_a_proxy() {
    let (pem, acceptor) = tls_server();
    let server = listen_tls(acceptor, echo).await;
    let open = listen(move |mut stream| async move {
        // Greeting of one method, then a request of `localhost`.
        let mut greeting = [0; 3];
        stream.read_exact(&mut greeting).await.unwrap();
        stream.write_all(&[5, 0]).await.unwrap();
        let mut request = [0; 5 + 9 + 2];
        stream.read_exact(&mut request).await.unwrap();
        stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        let mut server = TcpStream::connect(server).await.unwrap();
        let _ = copy_bidirectional(&mut stream, &mut server).await;
    })
    .await;
    let proxy = format!("socks5://{open}").parse().ok();
    let options = Options { proxy, extra_roots: Some(pem), ..Options::new("wss://localhost:1234") };
    assert_eq!(converse(&options).await, Ok(()));
}
