//! The media servers' door against servers that break, refuse and lie. The sandbox's own media server is met in
//! `sandbox_media.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/tls.rs"]
mod tls;

use std::{
    io::Cursor,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::server::TlsStream;
use wazap::net::{
    NetError,
    media::{Cdn, CdnError, Upload, Uploaded},
};

type Stream = TlsStream<TcpStream>;

/// A TLS server whose answer to each request is a piece of code.
struct Server {
    host: String,
    address: SocketAddr,
    pem: String,
    /// Heads of requests, oldest first.
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start<F>(answer: impl Fn(usize, String, Stream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (pem, acceptor) = tls::server(&["localhost", "cdn.invalid"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                let head = String::from_utf8(head).unwrap();
                let number = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(head.clone());
                    kept.len() - 1
                };
                tokio::spawn(answer(number, head, stream));
            }
        });
        Self { host: format!("localhost:{}", address.port()), address, pem, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// Of each request.
    fn targets(&self) -> Vec<String> {
        self.heads().iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect()
    }

    fn cdn(&self) -> Cdn {
        Cdn::new(None, Some(self.pem.as_bytes())).patience(Duration::from_secs(10), Duration::ZERO)
    }

    fn hosts(&self) -> Vec<String> {
        vec![self.host.clone()]
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

async fn body(head: &str, stream: &mut Stream) -> Vec<u8> {
    let mut body = vec![0; header(head, "content-length").unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    body
}

async fn say(stream: &mut Stream, status: &str, headers: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body).await;
    let _ = stream.shutdown().await;
}

const STORED: &[u8] =
    br#"{"url":"https://cdn/v/1.enc?x=1&mms3=true","direct_path":"/v/1.enc?x=1","handle":"h","new":[1]}"#;

fn uploaded() -> Uploaded {
    Uploaded {
        url: "https://cdn/v/1.enc?x=1&mms3=true".into(),
        direct_path: "/v/1.enc?x=1".into(),
        handle: Some("h".into()),
    }
}

fn blob(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
}

fn upload(blob: &[u8]) -> Upload<'static> {
    Upload {
        auth: "a-b_1",
        path: "/mms/image",
        sha256: Sha256::digest(blob).into(),
        length: blob.len() as u64,
    }
}

const LARGE: usize = 5 << 20;

#[tokio::test]
async fn a_small_blob_goes_up_in_one_request() {
    let (sent, mut received) = tokio::sync::mpsc::channel(1);
    let server = Server::start(move |_, head, mut stream| {
        let sent = sent.clone();
        async move {
            sent.send(body(&head, &mut stream).await).await.unwrap();
            say(&mut stream, "200 OK", "", STORED).await;
        }
    })
    .await;
    let blob = blob(100_000);
    let request = upload(&blob);
    let answer = server.cdn().upload(&server.hosts(), &request, &mut Cursor::new(&blob)).await;
    assert_eq!(answer, Ok(uploaded()));
    assert_eq!(received.recv().await.unwrap(), blob);
    let token = URL_SAFE_NO_PAD.encode(request.sha256);
    assert_eq!(server.targets(), [format!("/mms/image/{token}?auth=a-b_1&token={token}")]);
    let head = server.heads().remove(0);
    assert!(head.starts_with("POST "), "{head}");
    assert_eq!(header(&head, "host"), Some(server.host.clone()));
    assert_eq!(header(&head, "origin").as_deref(), Some("https://web.whatsapp.com"));
    assert_eq!(header(&head, "content-type").as_deref(), Some("application/octet-stream"));
}

#[tokio::test]
async fn the_next_host_takes_over_and_a_refusal_is_final() {
    let good = Server::start(|n, head, mut stream| async move {
        body(&head, &mut stream).await;
        let status = if n == 0 { "200 OK" } else { "403 Forbidden" };
        say(&mut stream, status, "", STORED).await;
    })
    .await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let blob = blob(1000);
    let hosts = [format!("localhost:{}", nobody.port()), "localhost:x".into(), good.host.clone()];
    // A host that is none is no reason to ask the others.
    let answer = good.cdn().upload(&hosts, &upload(&blob), &mut Cursor::new(&blob)).await;
    assert_eq!(answer, Err(CdnError::Net(NetError::BadUrl)));
    let hosts = [hosts[0].clone(), hosts[2].clone()];
    let answer = good.cdn().upload(&hosts, &upload(&blob), &mut Cursor::new(&blob)).await;
    assert_eq!(answer, Ok(uploaded()));
    let twice = [good.host.clone(), good.host.clone()];
    let answer = good.cdn().upload(&twice, &upload(&blob), &mut Cursor::new(&blob)).await;
    assert_eq!(answer, Err(CdnError::Refused(403)));
    assert_eq!(good.heads().len(), 2, "a refusal is not repeated");
    let answer = good.cdn().upload(&[], &upload(&blob), &mut Cursor::new(&blob)).await;
    assert_eq!(answer, Err(CdnError::NoHosts));
}

#[tokio::test]
async fn answers_that_say_too_little_or_too_much_are_no_upload() {
    let long = format!(r#"{{"direct_path":"/{}"}}"#, "x".repeat(70_000));
    for (status, text, expected) in [
        ("200 OK", "{}", CdnError::BadAnswer("no direct_path")),
        ("200 OK", r#"{"url":"https://cdn/v"}"#, CdnError::BadAnswer("no direct_path")),
        ("200 OK", r#"{"direct_path":"v/1.enc"}"#, CdnError::BadAnswer("no direct_path")),
        ("200 OK", "<html>", CdnError::BadAnswer("no JSON object of an upload")),
        ("200 OK", &long, CdnError::BadAnswer("too long")),
        ("302 Found", "", CdnError::Status(302)),
        ("400 Bad Request", "{}", CdnError::Status(400)),
        ("404 Not Found", "", CdnError::Status(404)),
        ("500 Oops", "", CdnError::Status(500)),
    ] {
        let text = text.to_owned();
        let server = Server::start(move |_, head, mut stream| {
            let text = text.clone();
            async move {
                body(&head, &mut stream).await;
                say(&mut stream, status, "", text.as_bytes()).await;
            }
        })
        .await;
        let blob = blob(26);
        let answer = server.cdn().upload(&server.hosts(), &upload(&blob), &mut Cursor::new(&blob)).await;
        assert_eq!(answer, Err(expected));
        assert_eq!(server.heads().len(), 2, "two rounds");
    }
    let server = Server::start(|_, head, mut stream| async move {
        body(&head, &mut stream).await;
        say(&mut stream, "200 OK", "", br#"{"direct_path":"/v/1.enc"}"#).await;
    })
    .await;
    let answer = server.cdn().upload(&server.hosts(), &upload(&[1; 26]), &mut Cursor::new([1; 26])).await;
    assert_eq!(answer.unwrap().url, format!("https://{}/v/1.enc", server.host));
}

#[tokio::test]
async fn of_a_large_blob_only_what_is_missing_goes_up() {
    let whole = blob(LARGE);
    for (known, sent) in [
        (
            r#"{"resume":"complete","url":"https://cdn/v/1.enc?x=1&mms3=true","direct_path":"/v/1.enc?x=1","handle":"h"}"#,
            None,
        ),
        (r#"{"resume":"5242870"}"#, Some(5_242_870)),
        (r#"{"resume":"0"}"#, Some(0)),
        (r#"{"resume":"5242880"}"#, Some(0)),
        (r#"{"resume":"complete"}"#, Some(0)),
        (r#"{"resume":7}"#, Some(0)),
        ("", Some(0)),
    ] {
        let expected = sent.map(|sent: usize| whole[sent..].to_vec());
        let server = Server::start(move |n, head, mut stream| {
            let expected = expected.clone();
            async move {
                let body = body(&head, &mut stream).await;
                if n == 0 {
                    assert!(body.is_empty() && head.contains("&resume=1 "), "{head}");
                    return say(&mut stream, "200 OK", "", known.as_bytes()).await;
                }
                let right = Some(body) == expected;
                say(&mut stream, if right { "200 OK" } else { "400 Other bytes" }, "", STORED).await;
            }
        })
        .await;
        let answer = server.cdn().upload(&server.hosts(), &upload(&whole), &mut Cursor::new(&whole)).await;
        assert_eq!(answer, Ok(uploaded()), "{known}");
        let targets = server.targets();
        assert_eq!(targets.len(), if sent.is_some() { 2 } else { 1 }, "{known}");
        if let Some(offset) = sent {
            let named = targets[1].contains("&file_offset=");
            assert_eq!(named, offset > 0, "{}", targets[1]);
        }
    }
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_it_stopped() {
    let whole = blob(LARGE);
    let rest = whole[1_000_000..].to_vec();
    let server = Server::start(move |n, head, mut stream| {
        let rest = rest.clone();
        async move {
            match n {
                0 => say(&mut stream, "200 OK", "", br#"{"resume":"0"}"#).await,
                // Takes a million bytes, and breaks off.
                1 => drop(stream.read_exact(&mut vec![0; 1_000_000]).await),
                2 => say(&mut stream, "200 OK", "", br#"{"resume":"1000000"}"#).await,
                _ => {
                    assert!(head.contains("&file_offset=1000000 "), "{head}");
                    let right = body(&head, &mut stream).await == rest;
                    say(&mut stream, if right { "200 OK" } else { "400 Other bytes" }, "", STORED).await;
                }
            }
        }
    })
    .await;
    let answer = server.cdn().upload(&server.hosts(), &upload(&whole), &mut Cursor::new(&whole)).await;
    assert_eq!(answer, Ok(uploaded()));
    assert_eq!(server.heads().len(), 4);
}

#[tokio::test]
async fn a_beginning_that_was_none_is_uploaded_anew() {
    let whole = blob(LARGE);
    let server = Server::start(move |n, head, mut stream| async move {
        let length = body(&head, &mut stream).await.len();
        match n {
            0 => say(&mut stream, "200 OK", "", br#"{"resume":"1000"}"#).await,
            // What was there does not belong to this blob.
            1 => say(&mut stream, "400 Bad Request", "", br#"{"error":"hash"}"#).await,
            _ if length == LARGE => say(&mut stream, "200 OK", "", STORED).await,
            _ => say(&mut stream, "500 Again?", "", b"").await,
        }
    })
    .await;
    let answer = server.cdn().upload(&server.hosts(), &upload(&whole), &mut Cursor::new(&whole)).await;
    assert_eq!(answer, Ok(uploaded()));
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up_and_a_source_that_ends_early_is_no_upload() {
    let server = Server::start(|_, _, stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let hasty = server.cdn().patience(Duration::from_millis(100), Duration::ZERO);
    // More than sockets buffer, so that the sending stands still; and less, so that the answer does.
    for length in [4 << 20, 1000] {
        let whole = blob(length);
        let answer = hasty.upload(&server.hosts(), &upload(&whole), &mut Cursor::new(&whole)).await;
        assert_eq!(answer, Err(CdnError::Timeout), "{length}");
    }
    let request = Upload { length: 2000, ..upload(&blob(1000)) };
    let answer = server.cdn().upload(&server.hosts(), &request, &mut Cursor::new(blob(1000))).await;
    assert_eq!(answer, Err(CdnError::Read(std::io::ErrorKind::UnexpectedEof)));
}

async fn fetch(cdn: &Cdn, hosts: &[String], limit: u64) -> (Result<u64, CdnError>, Vec<u8>) {
    let mut into = Vec::new();
    let size = cdn.download(hosts, "/v/1.enc?x=1", 0, None, limit).save(&mut into).await;
    (size, into)
}

/// Answers with the part that is asked for, as a media server does.
async fn serve_range(blob: &[u8], head: &str, stream: &mut Stream, breaks_after: usize) {
    let range = header(head, "range");
    let (first, last) = match range
        .as_deref()
        .map(|range| range.trim_start_matches("bytes=").split_once('-').unwrap())
    {
        None => (0, blob.len() - 1),
        Some((first, "")) => (first.parse().unwrap(), blob.len() - 1),
        Some((first, last)) => (first.parse().unwrap(), last.parse::<usize>().unwrap().min(blob.len() - 1)),
    };
    let part = &blob[first..=last];
    let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
    let range = format!("Content-Range: bytes {first}-{last}/{}\r\n", blob.len());
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{range}\r\n", part.len());
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.write_all(&part[..breaks_after.min(part.len())]).await;
    let _ = stream.shutdown().await;
}

#[tokio::test]
async fn a_blob_comes_down_whole_though_the_connection_breaks() {
    let whole = Arc::new(blob(300_000));
    let served = Arc::clone(&whole);
    let server = Server::start(move |_, head, mut stream| {
        let served = Arc::clone(&served);
        async move { serve_range(&served, &head, &mut stream, 100_001).await }
    })
    .await;
    let (size, bytes) = fetch(&server.cdn(), &server.hosts(), 300_000).await;
    assert_eq!(size, Ok(300_000));
    assert!(bytes == *whole);
    let ranges: Vec<_> = server.heads().iter().map(|head| header(head, "range")).collect();
    assert_eq!(ranges, [None, Some("bytes=100001-".into()), Some("bytes=200002-".into())]);
    assert_eq!(server.targets()[0], "/v/1.enc?x=1");
}

#[tokio::test]
async fn a_part_is_exactly_what_was_asked_for() {
    let whole = Arc::new(blob(100_000));
    for honours_ranges in [true, false] {
        let served = Arc::clone(&whole);
        let server = Server::start(move |_, head, mut stream| {
            let served = Arc::clone(&served);
            async move {
                let head = if honours_ranges {
                    head
                } else {
                    head.replace("range", "x-range").replace("Range", "x")
                };
                serve_range(&served, &head, &mut stream, usize::MAX).await;
            }
        })
        .await;
        for (first, last) in
            [(0, Some(0)), (16, Some(31)), (5, None), (99_999, None), (0, Some(99_999)), (9, Some(1 << 40))]
        {
            let mut into = Vec::new();
            let mut download = server.cdn().download(&server.hosts(), "/v/1.enc", first, last, 1 << 20);
            download.save(&mut into).await.unwrap();
            assert_eq!(download.total(), Some(100_000));
            let end = last.map_or(100_000, |last| usize::try_from(last + 1).unwrap().min(100_000));
            assert!(into == whole[usize::try_from(first).unwrap()..end], "{first} to {last:?}");
        }
        let mut nothing = server.cdn().download(&server.hosts(), "/v/1.enc", 5, Some(4), 1 << 20);
        assert_eq!(nothing.chunk().await, Ok(None));
    }
}

#[tokio::test]
async fn statuses_say_what_is_to_be_done() {
    for (status, expected, asked) in [
        ("401 Unauthorized", CdnError::Refused(401), 1),
        ("403 Forbidden", CdnError::Refused(403), 1),
        ("404 Not Found", CdnError::Gone(404), 1),
        ("410 Gone", CdnError::Gone(410), 1),
        ("302 Found", CdnError::Status(302), 4),
        ("416 Range", CdnError::Status(416), 4),
        ("429 Slow down", CdnError::Status(429), 4),
        ("500 Oops", CdnError::Status(500), 4),
    ] {
        let server =
            Server::start(move |_, _, mut stream| async move { say(&mut stream, status, "", b"{}").await })
                .await;
        assert_eq!(fetch(&server.cdn(), &server.hosts(), 1000).await, (Err(expected), vec![]));
        assert_eq!(server.heads().len(), asked, "{status}");
    }
    let server = Server::start(|n, _, mut stream| async move {
        say(&mut stream, if n < 2 { "503 Soon" } else { "200 OK" }, "", b"there").await;
    })
    .await;
    assert_eq!(fetch(&server.cdn(), &server.hosts(), 1000).await, (Ok(5), b"there".to_vec()));
    let (none, _) = fetch(&server.cdn(), &[], 1000).await;
    assert_eq!(none, Err(CdnError::NoHosts));
    let mut outside = server.cdn().download(&server.hosts(), "v/1.enc", 0, None, 1000);
    assert_eq!(outside.chunk().await, Err(CdnError::BadPath));
}

#[tokio::test]
async fn servers_that_lie_about_a_blob_are_left() {
    let too_large = Err(CdnError::TooLarge { limit: 1000 });
    let announced = Server::start(|_, _, mut stream| async move {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n";
        let _ = stream.write_all(head).await;
        std::future::pending::<()>().await;
    })
    .await;
    assert_eq!(fetch(&announced.cdn(), &announced.hosts(), 1000).await, (too_large.clone(), vec![]));
    let endless = Server::start(|_, _, mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[7; 100]).await.is_ok() {}
    })
    .await;
    let (size, bytes) = fetch(&endless.cdn(), &endless.hosts(), 1000).await;
    assert_eq!(size, too_large);
    assert!(bytes.len() <= 1000);
    let exact =
        Server::start(|_, _, mut stream| async move { say(&mut stream, "200 OK", "", &[1; 1000]).await })
            .await;
    assert_eq!(fetch(&exact.cdn(), &exact.hosts(), 1000).await.0, Ok(1000));

    // Goes on elsewhere than it was asked to, or with another file.
    for answer in
        ["Content-Range: bytes 0-9/10\r\n", "Content-Range: bytes 5-9/11\r\n", "Content-Range: x\r\n", ""]
    {
        let server = Server::start(move |n, _, mut stream| async move {
            if n == 0 {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234").await;
            } else {
                say(&mut stream, "206 Partial Content", answer, b"56789").await;
            }
        })
        .await;
        let (size, bytes) = fetch(&server.cdn(), &server.hosts(), 1000).await;
        assert!(matches!(size, Err(CdnError::BadAnswer(_))), "{answer}: {size:?}");
        assert_eq!(bytes, b"01234");
    }
    let stops = Server::start(|_, _, mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234").await;
        std::future::pending::<()>().await;
    })
    .await;
    let hasty = stops.cdn().patience(Duration::from_millis(100), Duration::ZERO);
    let (size, bytes) = fetch(&hasty, &stops.hosts(), 1000).await;
    assert!(matches!(size, Err(CdnError::Timeout | CdnError::BadAnswer(_))), "{size:?}");
    assert_eq!(bytes, b"01234");
}

#[tokio::test]
async fn everything_goes_through_the_proxy_names_included() {
    let server = Server::start(|_, head, mut stream| async move {
        let answer = if head.starts_with("POST") {
            body(&head, &mut stream).await;
            STORED
        } else {
            b"blob"
        };
        say(&mut stream, "200 OK", "", answer).await;
    })
    .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let to = server.address;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            assert!(head.starts_with(b"CONNECT cdn.invalid:443 HTTP/1.1\r\n"));
            stream.write_all(b"HTTP/1.1 200 Fine\r\n\r\n").await.unwrap();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut server).await;
            });
        }
    });
    let cdn = Cdn::new(Some(proxy), Some(server.pem.as_bytes()));
    let hosts = ["cdn.invalid".to_owned()];
    assert_eq!(cdn.upload(&hosts, &upload(&[1; 26]), &mut Cursor::new([1; 26])).await, Ok(uploaded()));
    assert_eq!(fetch(&cdn, &hosts, 1000).await, (Ok(4), b"blob".to_vec()));
    let (untrusting, _) =
        fetch(&Cdn::new(None, None).patience(Duration::from_secs(5), Duration::ZERO), &server.hosts(), 9)
            .await;
    assert!(matches!(untrusting, Err(CdnError::Net(NetError::Tls(_)))), "{untrusting:?}");
}
