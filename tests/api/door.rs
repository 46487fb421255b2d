//! The listener: real sockets on loopback.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::Instant,
};
use wazap::api::{CONNECTIONS, serve};

use crate::harness::Story;

async fn open(story: &Story) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served =
        serve(listener, story.router.clone(), CONNECTIONS, story.stop.clone(), Duration::from_secs(5));
    (address, tokio::spawn(served))
}

/// The same with room for so few.
async fn open_for(story: &Story, connections: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (router, stop) = (story.router.clone(), story.stop.clone());
    tokio::spawn(serve(listener, router, connections, stop, Duration::from_secs(5)));
    address
}

async fn say(address: SocketAddr, text: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(text).await.unwrap();
    socket
}

async fn rest(mut socket: TcpStream) -> String {
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

const STATUS: &[u8] =
    b"GET /status HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk_story\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_request_over_a_socket_is_answered() {
    let story = Story::new();
    let (address, _served) = open(&story).await;
    let answer = rest(say(address, STATUS).await).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\"success\":true"), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_and_not_cut() {
    let story = Story::new();
    let (address, _served) = open(&story).await;
    let size = 3 * 1024 * 1024;
    let head = format!(
        "POST /send-message HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk_story\r\nconnection: close\r\n\
         content-length: {size}\r\n\r\n"
    );
    let mut socket = say(address, head.as_bytes()).await;
    socket.write_all(&vec![b'a'; size]).await.unwrap();
    let answer = rest(socket).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("PAYLOAD_TOO_LARGE"), "{answer}");
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_before_it_sends() {
    let story = Story::new();
    let (address, _served) = open(&story).await;
    let head =
        b"POST /send-message HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk_story\r\nconnection: close\r\n\
        content-length: 5000000\r\nexpect: 100-continue\r\n\r\n";
    let answer = rest(say(address, head).await).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let head =
        b"POST /send-message HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk_story\r\nconnection: close\r\n\
        content-length: 10000000000\r\n\r\n";
    let answer = rest(say(address, head).await).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "more than is ever read: {answer}");
}

#[tokio::test]
async fn heads_beyond_the_bounds_are_refused() {
    let story = Story::new();
    let (address, _served) = open(&story).await;
    let many: String = (0..100).map(|n| format!("x-{n}: y\r\n")).collect();
    let large = format!("x: {}\r\n", "y".repeat(64 * 1024));
    for headers in [many, large] {
        let head = format!("GET /health HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        let mut socket = TcpStream::connect(address).await.unwrap();
        // The refusal may come before everything was sent.
        let _ = socket.write_all(head.as_bytes()).await;
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 431");
    }
}

#[tokio::test]
async fn a_stop_ends_streams_and_idle_connections_in_order() {
    let story = Story::new();
    let (address, served) = open(&story).await;
    let head = b"GET /events/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk_story\r\n\r\n";
    let mut stream = say(address, head).await;
    let mut first = [0; 15];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let mut idle = say(address, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    idle.read_exact(&mut first).await.unwrap();
    story.stop.cancel();
    let rest_of_stream = rest(stream).await;
    assert!(rest_of_stream.ends_with("0\r\n\r\n"), "the stream was cut: {rest_of_stream}");
    assert!(rest(idle).await.ends_with('}'), "the idle connection was answered and closed");
    served.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_address_beyond_the_bound_is_refused_and_one_within_it_is_not() {
    let story = Story::new();
    let (address, _served) = open(&story).await;
    for (length, expected) in [(16_000, "HTTP/1.1 200"), (17_000, "HTTP/1.1 400"), (100_000, "HTTP/1.1 4")] {
        let head = format!("GET /health?x={} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(length));
        let mut socket = TcpStream::connect(address).await.unwrap();
        let _ = socket.write_all(head.as_bytes()).await;
        let mut answer = vec![0; expected.len()];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), expected, "{length}");
    }
}

const STREAM: &[u8] = b"GET /events/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk_story\r\n\r\n";

#[tokio::test]
async fn who_comes_when_all_are_busy_waits_for_a_place() {
    let story = Story::new();
    let address = open_for(&story, 2).await;
    let mut begin = [0; 15];
    let mut busy = [say(address, STREAM).await, say(address, STREAM).await];
    for stream in &mut busy {
        stream.read_exact(&mut begin).await.unwrap();
    }
    let mut third = say(address, STATUS).await;
    let early = tokio::time::timeout(Duration::from_millis(100), third.read_exact(&mut begin)).await;
    assert!(early.is_err(), "two are served, the third waits");
    let [first, _second] = busy;
    drop(first);
    assert!(rest(third).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn who_says_nothing_makes_room_for_who_does() {
    let story = Story::new();
    let address = open_for(&story, 3).await;
    let mut begin = [0; 15];
    // One is busy, one has had an answer, one has begun a request; the last two are silent, in this order.
    let mut busy = say(address, STREAM).await;
    busy.read_exact(&mut begin).await.unwrap();
    let mut half = say(address, b"GET /health HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    let mut served = say(address, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    served.read_exact(&mut begin).await.unwrap();
    for _ in 0..2 {
        assert!(rest(say(address, STATUS).await).await.starts_with("HTTP/1.1 200 OK"));
    }
    assert_eq!(half.read(&mut begin).await.unwrap_or_default(), 0, "the one that was silent longest is gone");
    served.write_all(STATUS).await.unwrap();
    assert!(rest(served).await.contains("HTTP/1.1 200 OK"), "the other one is still served");
    // And a hundred silent ones keep nobody out.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert!(rest(say(address, STATUS).await).await.starts_with("HTTP/1.1 200 OK"));
    drop((busy, silent));
}

// The clock of these is fake: whatever waits for nothing but time is at its end at once.

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_byte_by_byte_is_not_waited_for() {
    let story = Story::new();
    let address = open_for(&story, 1).await;
    let began = Instant::now();
    let slow = say(address, b"GET /health HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    let answer = rest(slow).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!((29..=60).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    // Nor one that says nothing at all, and its place is free again.
    assert_eq!(rest(TcpStream::connect(address).await.unwrap()).await, "");
    assert!(rest(say(address, STATUS).await).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let story = Story::new();
    let address = open_for(&story, 1).await;
    let head =
        b"POST /send-message HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk_story\r\nconnection: close\r\n\
        content-length: 1000\r\n\r\n{\"to\":";
    let answer = rest(say(address, head).await).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("did not arrive in time"), "{answer}");
    assert!(rest(say(address, STATUS).await).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(start_paused = true)]
async fn who_asks_again_and_again_and_does_not_read_loses_his_place() {
    let story = Story::new();
    let address = open_for(&story, 1).await;
    let mut deaf = TcpStream::connect(address).await.unwrap();
    let many = b"GET /page.js HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1000);
    // Until neither end takes any more.
    while tokio::time::timeout(Duration::from_secs(5), deaf.write_all(&many)).await.is_ok_and(|w| w.is_ok()) {
    }
    let began = Instant::now();
    assert!(
        rest(say(address, STATUS).await).await.starts_with("HTTP/1.1 200"),
        "its place is somebody else's"
    );
    assert!(began.elapsed() <= Duration::from_secs(60), "{:?}", began.elapsed());
    drop(deaf);
}

#[tokio::test]
async fn requests_sent_in_one_go_are_answered_in_their_order() {
    let story = Story::new();
    let (address, _served) = open(&story).await;
    let line = |path: &str, close: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n{close}\r\n");
    let all = [line("/health", ""), line("/status", ""), line("/nowhere", "connection: close\r\n")].concat();
    let answers = rest(say(address, all.as_bytes()).await).await;
    let statuses: Vec<&str> =
        answers.lines().filter_map(|line| line.split_once("HTTP/1.1 ").map(|(_, rest)| &rest[..3])).collect();
    assert_eq!(statuses, ["200", "401", "404"], "{answers}");
}
