//! The listener: real sockets on loopback.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use wazap::api::serve;

use crate::harness::Story;

async fn open(story: &Story) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = serve(listener, story.router.clone(), story.stop.clone(), Duration::from_secs(5));
    (address, tokio::spawn(served))
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
