//! Fetching users' URLs: what is let through, what is not, and how each failure is called. Real loopback, but names and
//! addresses are the test's own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/tls.rs"]
mod tls;

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use wazap::net::fetch::{FetchError, Fetched, Fetcher, Network};

const PUBLIC: &str = "93.184.215.14";
const OTHER_PUBLIC: &str = "2606:2800:21f:cb07:6820:80da:af6b:8b2c";
const LIMIT: u64 = 1 << 20;

/// A little internet: answers to questions in turn, the last one for good; and where an address really leads.
#[derive(Default)]
struct Internet {
    names: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    routes: Mutex<HashMap<IpAddr, SocketAddr>>,
    asked: Mutex<Vec<String>>,
    connected: Mutex<Vec<SocketAddr>>,
}

impl Internet {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn name(self: &Arc<Self>, name: &str, answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers.iter().map(|ips| ips.iter().map(|ip| ip.parse().unwrap()).collect()).collect();
        self.names.lock().unwrap().insert(name.to_owned(), answers);
        Arc::clone(self)
    }

    fn route(self: &Arc<Self>, address: &str, to: SocketAddr) -> Arc<Self> {
        self.routes.lock().unwrap().insert(address.parse().unwrap(), to);
        Arc::clone(self)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn connected(&self) -> Vec<SocketAddr> {
        self.connected.lock().unwrap().clone()
    }
}

impl Network for Internet {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.asked.lock().unwrap().push(host.to_owned());
        let mut names = self.names.lock().unwrap();
        let answers = names.get_mut(host).map(|answers| match answers.len() {
            0 => Vec::new(),
            1 => answers[0].clone(),
            _ => answers.pop_front().unwrap(),
        });
        Box::pin(async move { answers.ok_or_else(|| io::ErrorKind::NotFound.into()) })
    }

    fn connect(&self, to: Vec<SocketAddr>) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.connected.lock().unwrap().extend(&to);
        let route = self.routes.lock().unwrap().get(&to[0].ip()).copied();
        Box::pin(async move { TcpStream::connect(route.ok_or(io::ErrorKind::ConnectionRefused)?).await })
    }
}

/// What the server does with a request, besides remembering its head.
enum Does {
    Says(Vec<u8>),
    /// Says this, and then nothing more without closing.
    Hangs(Vec<u8>),
    /// Says this, and then this for ever.
    Floods(Vec<u8>, Vec<u8>),
    /// A byte now and then.
    Drips(Vec<u8>),
}

struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

async fn server(answer: impl Fn(&str) -> Does + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heads);
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                kept.lock().unwrap().push(head);
                match answer(&path) {
                    Does::Says(bytes) => {
                        let _ = stream.write_all(&bytes).await;
                    }
                    Does::Hangs(bytes) => {
                        let _ = stream.write_all(&bytes).await;
                        let _ = stream.read_u8().await;
                    }
                    Does::Floods(head, more) => {
                        let _ = stream.write_all(&head).await;
                        while stream.write_all(&more).await.is_ok() {}
                    }
                    Does::Drips(bytes) => {
                        for byte in bytes {
                            if stream.write_all(&[byte]).await.is_err() {
                                return;
                            }
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
            });
        }
    });
    Server { address, heads }
}

impl Server {
    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn ok(body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn redirect(to: &str) -> Does {
    Does::Says(format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes())
}

/// One public name that leads to the server.
fn one_host(server: &Server) -> Arc<Internet> {
    Internet::new().name("files.example", &[&[PUBLIC]]).route(PUBLIC, server.address)
}

async fn fetch_with(fetcher: &Fetcher, url: &str, limit: u64) -> (Result<Fetched, FetchError>, Vec<u8>) {
    let mut bytes = Vec::new();
    let fetched = fetcher.fetch(url, limit, &mut bytes).await;
    (fetched, bytes)
}

async fn fetch(network: Arc<Internet>, url: &str) -> Result<Fetched, FetchError> {
    fetch_with(&Fetcher::new(false).network(network), url, LIMIT).await.0
}

fn reason(result: &Result<Fetched, FetchError>) -> Option<String> {
    result.as_ref().unwrap_err().reason()
}

#[tokio::test]
async fn a_file_comes_with_its_type_and_both_of_its_names() {
    let server = server(|_| {
        Does::Says(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf; x=1\r\n\
              Content-Disposition: attachment; filename=\"../nota fiscal.pdf\"\r\n\
              Transfer-Encoding: chunked\r\n\r\n4\r\n%PDF\r\n3\r\n-1.\r\n0\r\n\r\n"
                .to_vec(),
        )
    })
    .await;
    let network = one_host(&server);
    let fetcher = Fetcher::new(false).network(network.clone());
    let (fetched, bytes) =
        fetch_with(&fetcher, "http://files.example:8081/a/nota%20%C3%A7.pdf?x=1#y", LIMIT).await;
    let expected = Fetched {
        url: "http://files.example:8081/a/nota%20%C3%A7.pdf?x=1#y".into(),
        size: 7,
        status: 200,
        content_type: Some("application/pdf; x=1".into()),
        file_name: Some("nota fiscal.pdf".into()),
        path_name: Some("nota ç.pdf".into()),
    };
    assert_eq!((fetched, bytes), (Ok(expected), b"%PDF-1.".to_vec()));
    assert_eq!(network.connected(), [format!("{PUBLIC}:8081").parse().unwrap()]);
    let head = server.heads().remove(0);
    assert!(head.starts_with("GET /a/nota%20%C3%A7.pdf?x=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("\r\nhost: files.example:8081\r\n"), "{head}");
    assert!(
        !head.to_lowercase().contains("authorization") && !head.to_lowercase().contains("cookie"),
        "{head}"
    );
}

#[tokio::test]
async fn exactly_the_limit_passes_and_one_byte_more_does_not() {
    let chunked = |length: usize| {
        let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        answer.extend(format!("{length:x}\r\n").bytes());
        answer.extend(vec![b'x'; length]);
        answer.extend(b"\r\n0\r\n\r\n");
        answer
    };
    let server = server(move |path| match path {
        "/announced" => Does::Says(ok(&vec![b'x'; 1000])),
        "/announced-more" => Does::Says(ok(&vec![b'x'; 1001])),
        "/chunked" => Does::Says(chunked(1000)),
        "/chunked-more" => Does::Says(chunked(1001)),
        // Announced, and never sent: nobody waits for it.
        _ => Does::Hangs(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n".to_vec()),
    })
    .await;
    let fetcher = Fetcher::new(false).network(one_host(&server));
    let get = async |path: &str| fetch_with(&fetcher, &format!("http://files.example{path}"), 1000).await;
    for path in ["/announced", "/chunked"] {
        let (fetched, bytes) = get(path).await;
        assert_eq!((fetched.unwrap().size, bytes.len()), (1000, 1000), "{path}");
    }
    let too_large = |size| Err(FetchError::TooLarge { size, limit: 1000 });
    assert_eq!(get("/announced-more").await, (too_large(Some(1001)), vec![]));
    assert_eq!(get("/endless").await, (too_large(Some(99_999_999_999_999)), vec![]));
    let (fetched, bytes) = get("/chunked-more").await;
    assert_eq!(fetched, too_large(None));
    assert!(bytes.len() <= 1000);
    assert_eq!(fetched.unwrap_err().reason(), None);
}

#[tokio::test]
async fn of_a_beginning_no_more_is_read_than_is_wanted() {
    let server = server(|path| match path {
        "/short" => Does::Says(ok(b"<title>")),
        "/moved" => redirect("/sub/page"),
        "/sub/page" => Does::Says(ok(b"x")),
        "/announced" => {
            Does::Hangs([b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", &[b'x'; 1000][..]].concat())
        }
        _ => Does::Floods(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 4096]),
    })
    .await;
    let fetcher = Fetcher::new(false).network(one_host(&server)).timeout(Duration::from_secs(5));
    for (path, length) in [("/short", 7), ("/announced", 1000), ("/flood", 1000)] {
        let mut bytes = Vec::new();
        let fetched = fetcher.fetch_start(&format!("http://files.example{path}"), 1000, &mut bytes).await;
        assert_eq!((fetched.unwrap().size, bytes.len()), (length, length as usize), "{path}");
    }
    let mut bytes = Vec::new();
    let fetched = fetcher.fetch_start("http://files.example/moved", 1000, &mut bytes).await.unwrap();
    assert_eq!(fetched.join("a.jpg").as_deref(), Some("http://files.example/sub/a.jpg"));
    assert_eq!(fetched.join("//cdn.example/a.jpg").as_deref(), Some("http://cdn.example/a.jpg"));
    let blocked = fetcher.fetch_start("http://127.0.0.1/", 1000, &mut bytes).await;
    assert_eq!(blocked, Err(FetchError::BlockedAddress));
}

#[tokio::test]
async fn servers_that_hang_flood_or_lie_are_left() {
    let server = server(|path| match path {
        "/silent" => Does::Hangs(vec![]),
        "/stops" => Does::Hangs(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec()),
        "/drips" => Does::Drips(ok(&[b'x'; 1000])),
        "/short" => Does::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec()),
        "/broken-chunks" => {
            Does::Says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc".to_vec())
        }
        "/no-http" => Does::Says(b"220 smtp.example ESMTP\r\n".to_vec()),
        "/closes" => Does::Says(vec![]),
        "/flood" => Does::Floods(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 4096]),
        "/flood-head" => Does::Floods(b"HTTP/1.1 200 OK\r\n".to_vec(), b"A: b\r\n".repeat(100)),
        _ => {
            Does::Floods(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())
        }
    })
    .await;
    let network = one_host(&server);
    let fetcher = Fetcher::new(false).network(network).timeout(Duration::from_millis(300));
    for (path, expected) in [
        ("/silent", "timeout"),
        ("/stops", "timeout"),
        ("/drips", "timeout"),
        ("/continue-for-ever", "timeout"),
        ("/short", "connect"),
        ("/broken-chunks", "connect"),
        ("/no-http", "connect"),
        ("/closes", "connect"),
        ("/flood-head", "connect"),
    ] {
        let (fetched, _) = fetch_with(&fetcher, &format!("http://files.example{path}"), LIMIT).await;
        assert_eq!(reason(&fetched).as_deref(), Some(expected), "{path}");
    }
    let (fetched, bytes) = fetch_with(&fetcher, "http://files.example/flood", 10_000).await;
    assert_eq!(fetched, Err(FetchError::TooLarge { size: None, limit: 10_000 }));
    assert!(bytes.len() <= 10_000);
}

#[tokio::test]
async fn every_status_but_success_is_named() {
    let server = server(|path| {
        let status = &path[1..];
        Does::Says(format!("HTTP/1.1 {status} Word\r\nContent-Length: 0\r\n\r\n").into_bytes())
    })
    .await;
    for status in [300, 301, 302, 304, 307, 400, 401, 403, 404, 410, 429, 500, 503, 599] {
        let fetched = fetch(one_host(&server), &format!("http://files.example/{status}")).await;
        assert_eq!(reason(&fetched), Some(format!("http_{status}")));
    }
    for status in [200, 201, 206] {
        assert_eq!(
            fetch(one_host(&server), &format!("http://files.example/{status}")).await.unwrap().size,
            0
        );
    }
}

#[tokio::test]
async fn five_redirects_are_followed_and_a_sixth_is_not() {
    let server = server(|path| {
        match path.strip_prefix("/hop/").map(|n| n.trim_end_matches('?').parse::<u32>().unwrap()) {
            Some(0) => Does::Says(ok(b"there")),
            Some(n) => redirect(&format!("{}?", n - 1)),
            None if path == "/other" => redirect("//other.example/hop/0"),
            None => redirect(path),
        }
    })
    .await;
    let network =
        || one_host(&server).name("other.example", &[&[OTHER_PUBLIC]]).route(OTHER_PUBLIC, server.address);
    let fetched = fetch(network(), "http://files.example/hop/5").await.unwrap();
    assert_eq!((fetched.size, fetched.path_name.as_deref()), (5, Some("0")));
    let other = network();
    assert_eq!(fetch(other.clone(), "http://files.example/other").await.unwrap().size, 5);
    assert_eq!(other.connected()[1], format!("[{OTHER_PUBLIC}]:80").parse().unwrap());
    for url in ["http://files.example/hop/6", "http://files.example/for-ever"] {
        assert_eq!(reason(&fetch(network(), url).await).as_deref(), Some("too_many_redirects"), "{url}");
    }
}

#[tokio::test]
async fn a_redirect_cannot_lead_where_the_url_could_not() {
    let secret = server(|_| Does::Says(ok(b"secret"))).await;
    let private = secret.address;
    for (location, expected) in [
        (format!("http://{private}/"), "blocked_address"),
        ("http://localhost/".to_owned(), "blocked_address"),
        ("http://[::ffff:127.0.0.1]/".to_owned(), "blocked_address"),
        ("http://2130706433/".to_owned(), "blocked_address"),
        ("//10.0.0.1/".to_owned(), "blocked_address"),
        ("https://169.254.169.254/latest/meta-data/".to_owned(), "blocked_address"),
        ("file:///etc/passwd".to_owned(), "http_302"),
        ("ftp://files.example/".to_owned(), "http_302"),
        ("http://user:password@files.example/".to_owned(), "http_302"),
        ("http://[::1".to_owned(), "http_302"),
    ] {
        let to = location.clone();
        let server = server(move |_| redirect(&to)).await;
        let network = one_host(&server).name("localhost", &[&["127.0.0.1", "::1"]]);
        let network = network.route("127.0.0.1", private).route("::ffff:127.0.0.1", private);
        let fetched = fetch(network.clone(), "http://files.example/").await;
        assert_eq!(reason(&fetched).as_deref(), Some(expected), "{location}");
        assert_eq!(network.connected().len(), 1, "{location}");
    }
    assert!(secret.heads().is_empty());
}

#[tokio::test]
async fn no_spelling_of_an_own_address_is_connected_to() {
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.0.1.",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "0177.0x0.0.01",
        "017700000001",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "0.0.0.0",
        "0",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "0xa9fea9fe",
        "172.16.0.1",
        "192.168.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:7f00:1::]",
        "[2002:c0a8:1::1]",
        "[64:ff9b:1::a00:1]",
        "[2001::4136:e378:8000:63bf:80ff:fffe]",
        "[2001:db8::1]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00::1]",
        "[ff02::1]",
        "localhost",
        "private.example",
        "mixed.example",
        "mapped.example",
        "127.0.0.1:8080",
        "localhost:6379",
        "[::1]:22",
    ] {
        let network = Internet::new()
            .name("localhost", &[&["127.0.0.1"]])
            .name("private.example", &[&["192.168.1.1"]])
            .name("mixed.example", &[&[PUBLIC, "127.0.0.1"]])
            .name("mapped.example", &[&["::ffff:10.0.0.1"]]);
        let fetched = fetch(network.clone(), &format!("http://{host}/")).await;
        assert_eq!(reason(&fetched).as_deref(), Some("blocked_address"), "{host}");
        assert_eq!(network.connected(), [], "{host}");
    }
}

#[tokio::test]
async fn a_name_that_changes_its_mind_gains_nothing() {
    let server = server(|path| match path {
        "/again" => redirect("/"),
        _ => Does::Says(ok(b"public")),
    })
    .await;
    let rebinding = || {
        Internet::new()
            .name("rebind.example", &[&[PUBLIC], &["127.0.0.1"]])
            .route(PUBLIC, server.address)
            .route("127.0.0.1", server.address)
    };
    let network = rebinding();
    assert_eq!(fetch(network.clone(), "http://rebind.example/").await.unwrap().size, 6);
    assert_eq!(network.asked(), ["rebind.example"], "asked once, and that answer is what counts");
    assert_eq!(network.connected(), [format!("{PUBLIC}:80").parse().unwrap()]);

    // A redirect asks again, and checks again.
    let network = rebinding();
    let fetched = fetch(network.clone(), "http://rebind.example/again").await;
    assert_eq!(reason(&fetched).as_deref(), Some("blocked_address"));
    assert_eq!(network.connected(), [format!("{PUBLIC}:80").parse().unwrap()]);
}

#[tokio::test]
async fn credentials_and_foreign_schemes_are_refused_before_anything_is_asked() {
    for url in [
        "http://ana@files.example/",
        "http://ana:secret@files.example/",
        "ftp://files.example/",
        "file:///etc/passwd",
        "file://files.example/etc/passwd",
        "gopher://files.example/",
        "data:text/plain,hello",
        "//files.example/",
        "files.example",
    ] {
        let network = Internet::new();
        let fetched = fetch(network.clone(), url).await;
        assert!(matches!(fetched, Err(FetchError::BadUrl(_))), "{url}");
        assert_eq!((network.asked(), network.connected()), (vec![], vec![]), "{url}");
    }
}

#[tokio::test]
async fn own_addresses_are_reached_where_that_is_allowed() {
    let server = server(|_| Does::Says(ok(b"here"))).await;
    let url = format!("http://{}/", server.address);
    assert_eq!(fetch_with(&Fetcher::new(true), &url, LIMIT).await.1, b"here");
    let (fetched, _) = fetch_with(&Fetcher::new(false), &url, LIMIT).await;
    assert_eq!(fetched, Err(FetchError::BlockedAddress));
    assert_eq!(server.heads().len(), 1);
    let url = format!("http://localhost:{}/", server.address.port());
    let (fetched, _) = fetch_with(&Fetcher::new(false), &url, LIMIT).await;
    assert_eq!(fetched, Err(FetchError::BlockedAddress), "by the system's own resolver, too");
}

#[tokio::test]
async fn names_that_are_none_and_hosts_that_are_down_are_told_apart() {
    let network = Internet::new().name("down.example", &[&[PUBLIC]]).name("empty.example", &[&[]]);
    for (host, expected) in
        [("unknown.example", "dns"), ("empty.example", "dns"), ("down.example", "connect")]
    {
        let fetched = fetch(network.clone(), &format!("http://{host}/")).await;
        assert_eq!(reason(&fetched).as_deref(), Some(expected), "{host}");
    }
}

#[tokio::test]
async fn certificates_are_checked() {
    let (pem, acceptor) = tls::server(&["files.example"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(&ok(b"sealed")).await;
            let _ = stream.shutdown().await;
        }
    });
    let network = Internet::new()
        .name("files.example", &[&[PUBLIC]])
        .name("wrong.example", &[&[PUBLIC]])
        .route(PUBLIC, address);
    let trusting = Fetcher::new(false).network(network.clone()).extra_roots(pem.as_bytes());
    assert_eq!(fetch_with(&trusting, "https://files.example/", LIMIT).await.1, b"sealed");
    let doubting = Fetcher::new(false).network(network.clone());
    for (fetcher, host) in [(&doubting, "files.example"), (&trusting, "wrong.example")] {
        let (fetched, _) = fetch_with(fetcher, &format!("https://{host}/"), LIMIT).await;
        assert_eq!(reason(&fetched).as_deref(), Some("tls"), "{host}");
    }
    // Somebody who speaks no TLS at all.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let network = Internet::new().name("files.example", &[&[PUBLIC]]);
    let network = network.route(PUBLIC, listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(&ok(b"plain")).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    assert_eq!(reason(&fetch(network, "https://files.example/").await).as_deref(), Some("tls"));
}
