//! A `wazap run` of its own process beside a sandbox and a platform in the test's: started, killed without a word,
//! started again on the same folder.
#![allow(dead_code, unreachable_pub, reason = "each test is a crate that uses what it needs of this")]

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use wazap::sandbox::Sandbox;

/// Accepted by every instance here.
pub const TOKEN: &str = "sk_process";
/// The phone that links the instance.
pub const OWN: &str = "5511912345678";

/// The HTTP client is built without a TLS provider of its own.
pub fn http() -> reqwest::Client {
    // Another test of the process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap()
}

/// What an instance is started with; the same at every start.
pub struct Setup {
    pub folder: PathBuf,
    server: String,
    server_ca: PathBuf,
    root_key: String,
    platform: String,
    log: PathBuf,
    /// Variables of its environment, beside those of this process.
    pub environment: Vec<(&'static str, OsString)>,
}

impl Setup {
    /// The instance's data and its log live in `folder`.
    pub fn new(folder: &Path, sandbox: &Sandbox, platform: &str) -> Self {
        Self {
            folder: folder.join("data"),
            server: sandbox.url(),
            server_ca: sandbox.tls_root_path().to_owned(),
            root_key: hex::encode(sandbox.root_key()),
            platform: platform.to_owned(),
            log: folder.join("instance.log"),
            environment: Vec::new(),
        }
    }

    /// What its processes said on standard error.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

/// The program that was built with the test, or the one that `WAZAP_BIN` names.
fn program() -> PathBuf {
    std::env::var_os("WAZAP_BIN").map_or_else(|| env!("CARGO_BIN_EXE_wazap").into(), PathBuf::from)
}

/// A running process, and where it answers.
pub struct Instance {
    child: Child,
    /// `None` until it has said so.
    address: watch::Receiver<Option<String>>,
    /// How long after the start it was ready.
    ready: watch::Receiver<Option<Duration>>,
}

impl Instance {
    /// Starts it; does not wait for anything.
    pub fn start(setup: &Setup) -> Self {
        let log: File = OpenOptions::new().create(true).append(true).open(&setup.log).unwrap();
        let started = Instant::now();
        let mut child = Command::new(program())
            .arg("run")
            .arg("--data")
            .arg(&setup.folder)
            .args([
                "--listen",
                "127.0.0.1:0",
                "--server",
                &setup.server,
                "--server-root-key",
                &setup.root_key,
            ])
            .arg("--server-ca")
            .arg(&setup.server_ca)
            .args(["--platform-url", &setup.platform, "--token", TOKEN, "--rate-limit", "off"])
            .args(["--log", "info"])
            .envs(setup.environment.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (said, address) = watch::channel(None);
        let (told, ready) = watch::channel(None);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line == "ready" {
                    told.send_replace(Some(started.elapsed()));
                }
                if let Some(url) = line.strip_prefix("listening on ") {
                    said.send_replace(Some(url.to_owned()));
                }
            }
        });
        Self { child, address, ready }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Base URL of its API, once it has one.
    pub fn address(&self) -> watch::Receiver<Option<String>> {
        self.address.clone()
    }

    pub async fn url(&self) -> String {
        let mut address = self.address.clone();
        let url = timeout(Duration::from_secs(20), address.wait_for(Option::is_some)).await;
        url.expect("in time").expect("it listens").clone().unwrap()
    }

    /// How long after the start it said `ready`.
    pub async fn ready(&self) -> Duration {
        let mut ready = self.ready.clone();
        let ready = timeout(Duration::from_secs(20), ready.wait_for(Option::is_some)).await;
        ready.expect("in time").expect("it gets ready").unwrap()
    }

    /// SIGKILL: no clean-up, no goodbye. Whatever it was doing is cut in the middle.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// SIGTERM: it ends by itself, or, if it does not within ten seconds, by force. `false`: by force.
    pub async fn terminate(&mut self) -> bool {
        let asked = Command::new("kill").arg("-TERM").arg(self.id().to_string()).status();
        let deadline = Instant::now() + Duration::from_secs(10);
        while asked.as_ref().is_ok_and(ExitStatus::success) && Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return true;
            }
            sleep(Duration::from_millis(5)).await;
        }
        self.kill();
        false
    }

    /// Whether it has ended without being asked.
    pub fn ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits until the status is the one wanted.
    pub async fn until(&self, http: &reqwest::Client, wanted: &str) {
        let url = self.url().await;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let status = get(http, &format!("{url}/status")).await;
            if status.as_ref().is_some_and(|status| status["status"] == wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "not {wanted}: {status:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets a phone of the sandbox scan the code.
    pub async fn link(&self, http: &reqwest::Client, sandbox: &Sandbox) {
        self.until(http, "qr_ready").await;
        let code = get(http, &format!("{}/qr", self.url().await)).await.unwrap();
        sandbox.admin().phone_scans_qr(OWN, code["qr_text"].as_str().unwrap()).unwrap();
        self.until(http, "connected").await;
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A JSON answer of 200; `None`: no answer, or another one.
pub async fn get(http: &reqwest::Client, url: &str) -> Option<Value> {
    let answer = http.get(url).bearer_auth(TOKEN).send().await.ok()?;
    if answer.status() != 200 {
        return None;
    }
    serde_json::from_slice(&answer.bytes().await.ok()?).ok()
}

/// The whole event log.
pub async fn events(http: &reqwest::Client, url: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = get(http, &format!("{url}/events?after={after}&limit=1000")).await.expect("a page");
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            return all;
        }
        all.extend(events.iter().cloned());
        after = page["next"].as_u64().unwrap();
    }
}

/// One webhook as it came in.
#[derive(Clone, Debug)]
pub struct Post {
    /// `incoming`, `status`, `qr`, `connection`.
    pub kind: String,
    /// `X-Webhook-Id`.
    pub id: String,
    pub body: Value,
}

/// The platform: takes every webhook, and remembers it.
pub struct Platform {
    pub url: String,
    posts: Arc<Mutex<Vec<Post>>>,
    count: watch::Receiver<usize>,
    _stop: DropGuard,
}

#[derive(Clone)]
struct Desk {
    posts: Arc<Mutex<Vec<Post>>>,
    count: watch::Sender<usize>,
}

async fn take(State(desk): State<Desk>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 1 << 22).await else { return StatusCode::BAD_REQUEST };
    let header = |headers: &HeaderMap, name: &str| headers[name].to_str().unwrap().to_owned();
    let post = Post {
        kind: header(&parts.headers, "x-webhook-event"),
        id: header(&parts.headers, "x-webhook-id"),
        body: serde_json::from_slice(&body).unwrap(),
    };
    desk.posts.lock().unwrap().push(post);
    desk.count.send_modify(|count| *count += 1);
    StatusCode::OK
}

impl Platform {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let posts = Arc::new(Mutex::new(Vec::new()));
        let (sender, count) = watch::channel(0);
        let desk = Desk { posts: posts.clone(), count: sender };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let app = Router::new().fallback(take).with_state(desk);
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, app) => served.unwrap(),
                () = stopped.cancelled() => {}
            }
        });
        Self { url, posts, count, _stop: stop.drop_guard() }
    }

    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    /// Messages that came in, in the order of their first arrival: id of the message to the ids of its webhooks.
    pub fn incoming(&self, from_me: bool) -> (Vec<Value>, BTreeMap<String, Vec<String>>) {
        let (mut order, mut webhooks) = (Vec::new(), BTreeMap::<String, Vec<String>>::new());
        for post in self.posts().into_iter().filter(|post| post.kind == "incoming") {
            let key = &post.body["key"];
            if key["fromMe"] != from_me {
                continue;
            }
            let of = webhooks.entry(key["id"].as_str().unwrap().to_owned()).or_default();
            if of.is_empty() {
                order.push(post.body.clone());
            }
            of.push(post.id);
        }
        (order, webhooks)
    }

    /// Waits until what arrived is as wanted; `false`: not in time.
    pub async fn until(&self, patience: Duration, wanted: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut count = self.count.clone();
        loop {
            count.mark_unchanged();
            if wanted(self) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let _ = timeout(left.min(Duration::from_millis(500)), count.changed()).await;
        }
    }
}
