//! What servers answer that users name: receivers of webhooks, which must still be given everything, and hosts of media.
#![no_main]

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use libfuzzer_sys::fuzz_target;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wazap::{
    clock::Millis,
    net::{
        address::is_public,
        fetch::{Fetcher, Network},
    },
    store::{Error, Store, events::NewEvent},
    webhook::{self, Options, Retry},
};

const NOW: Millis = Millis(1_767_115_800_000);
const LIMIT: u64 = 1000;
const PUBLIC: [u8; 4] = [93, 184, 215, 14];
const FINE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// A server that says what it is given, a connection each, and then that all is well.
#[derive(Default)]
struct Server {
    answers: Mutex<VecDeque<Vec<u8>>>,
    requests: AtomicUsize,
}

impl Server {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Arc::clone(&self).answer(stream));
        }
    }

    async fn answer(self: Arc<Self>, mut stream: TcpStream) -> io::Result<()> {
        let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
        while !is_whole(&request) {
            match stream.read(&mut chunk).await? {
                0 => return Ok(()),
                n => request.extend_from_slice(&chunk[..n]),
            }
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let answer = self.answers.lock().expect("whole").pop_front();
        stream.write_all(answer.as_deref().unwrap_or(FINE)).await?;
        stream.shutdown().await?;
        while stream.read(&mut chunk).await? > 0 {}
        Ok(())
    }
}

/// Posts end with a brace, other requests with an empty line. What wants TLS is answered before it has said much.
fn is_whole(request: &[u8]) -> bool {
    match request.first() {
        None => false,
        Some(b'P') => request.ends_with(b"}"),
        Some(b'G') => request.ends_with(b"\r\n\r\n"),
        Some(_) => true,
    }
}

/// Every name leads to the server, through an address that is in public.
struct Internet(SocketAddr);

impl Network for Internet {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(vec![PUBLIC.into()]) })
    }

    fn connect(&self, to: Vec<SocketAddr>) -> BoxFuture<'_, io::Result<TcpStream>> {
        assert!(to.iter().all(|address| is_public(address.ip())), "led to {to:?}");
        Box::pin(TcpStream::connect(self.0))
    }
}

struct Setting {
    runtime: Runtime,
    server: Arc<Server>,
    store: Store,
    fetcher: Fetcher,
}

impl Setting {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let store = Store::in_memory().expect("a store");
        let server = Arc::new(Server::default());
        let address = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            tokio::spawn(Arc::clone(&server).serve(listener));
            let url = format!("http://{address}");
            store.write(move |tx| tx.hooks().set_platform(&url, None, NOW)).await.expect("a hook");
            let retry = Retry { pauses: vec![Duration::ZERO], refused: Duration::ZERO, obey: Duration::ZERO };
            let options = Options { retry, ..Options::new(Uuid::nil()) };
            tokio::spawn(webhook::run(store.clone(), options, CancellationToken::new()));
            address
        });
        let fetcher = Fetcher::new(false).network(Arc::new(Internet(address))).timeout(Duration::from_secs(2));
        Self { runtime, server, store, fetcher }
    }

    /// A receiver answers with these bytes first. The event is delivered, and not before an answer that says so.
    async fn deliver(&self, answer: &[u8]) {
        self.server.requests.store(0, Ordering::Relaxed);
        self.server.answers.lock().expect("whole").push_back(answer.to_vec());
        let body = "{}".to_owned();
        let event = NewEvent {
            kind: "message.received",
            lane: Some("1@lid".into()),
            data: body.clone(),
            platform: Some(("incoming", body)),
        };
        self.store.write(move |tx| tx.events().push(&event, NOW)).await.expect("kept");
        loop {
            let read = |tx: &wazap::store::Tx<'_>| {
                Ok::<_, Error>((tx.events().newest()?, tx.hooks().list()?, tx.hooks().load(1)?))
            };
            let (newest, hooks, loaded) = self.store.read(read).await.expect("readable");
            if hooks[0].cursor == newest && loaded.is_none_or(|(_, lanes)| lanes.is_empty()) {
                break;
            }
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        if self.server.requests.load(Ordering::Relaxed) == 1 {
            assert!(answer.windows(10).any(|part| part.starts_with(b"HTTP/1.") && part.ends_with(b" 2")));
        }
    }

    /// A host of media answers with these bytes, one after the other as it redirects.
    async fn fetch(&self, answers: &[u8]) {
        let answers = answers.split(|byte| *byte == 0xff).take(8).map(<[u8]>::to_vec).collect();
        *self.server.answers.lock().expect("whole") = answers;
        let mut file = Vec::new();
        if let Ok(fetched) = self.fetcher.fetch("http://media.example/a/b.png", LIMIT, &mut file).await {
            assert_eq!(fetched.size, file.len() as u64);
            assert!(fetched.size <= LIMIT);
            for name in [fetched.file_name, fetched.path_name].into_iter().flatten() {
                assert!(!name.is_empty() && !name.contains(|c: char| c == '/' || c == '\\' || c.is_control()));
            }
        }
        self.server.answers.lock().expect("whole").clear();
    }
}

thread_local!(static SETTING: RefCell<Option<Setting>> = const { RefCell::new(None) });

fuzz_target!(|data: &[u8]| SETTING.with_borrow_mut(|slot| {
    let setting = slot.get_or_insert_with(Setting::new);
    let Some((first, rest)) = data.split_first() else { return };
    setting.runtime.block_on(async {
        if first % 2 == 0 { setting.deliver(rest).await } else { setting.fetch(rest).await }
    });
}));
