//! One API over a scripted instance, a database in memory and a clock that stands still.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use wazap::{
    account::{
        self, Ask, AskError, Batched, CodeState, Evidence, GroupAnswer, Link, PasskeyCommand, PasskeyState,
        Qr, Question, Recipient, SendBatch, SendError, SendMessage, Sent, StateChange, Status, Told,
    },
    api::{Instance, Parts, Peer, router},
    clock::Millis,
    daemon::{
        CodeRefused, PasskeyFault, Shown,
        media::{FileError, Scratch, SendMedia, Source, Stored},
    },
    store::{
        Store,
        events::NewEvent,
        tokens::{Configured, NewToken, Scopes, Secret},
    },
};

/// 2025-12-30T17:30:00.000Z
pub(crate) const START: Millis = Millis(1_767_115_800_000);
/// Its id.
pub(crate) const INSTANCE: uuid::Uuid = uuid::Uuid::from_u128(0x550e_8400_e29b_41d4_a716_4466_5544_0000);
/// Accepted in every story, as `--token` is.
pub(crate) const TOKEN: &str = "sk_story";

/// An instance that answers what it was told to, and remembers what it was asked.
#[derive(Clone)]
pub(crate) struct Scripted(Arc<Script>);

struct Script {
    link: watch::Sender<Link>,
    answer: Mutex<Result<Sent, SendError>>,
    file_error: Mutex<Option<FileError>>,
    told: Mutex<Result<Told, AskError>>,
    evidence: Mutex<Option<Evidence>>,
    passkey: Mutex<Result<PasskeyState, PasskeyFault>>,
    folder: tempfile::TempDir,
    asked: Mutex<Asked>,
}

#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) sends: Vec<SendMessage>,
    pub(crate) linked: Vec<SendMessage>,
    pub(crate) batches: Vec<SendBatch>,
    pub(crate) shown: Vec<Shown>,
    pub(crate) changes: Vec<StateChange>,
    pub(crate) questions: Vec<Question>,
    pub(crate) files: Vec<SendMedia>,
    pub(crate) portraits: Vec<Source>,
    pub(crate) checked: Vec<String>,
    pub(crate) histories: Vec<(Recipient, u32)>,
    pub(crate) connects: usize,
    pub(crate) numbers: Vec<String>,
    pub(crate) passkey: Vec<&'static str>,
    pub(crate) logouts: Vec<bool>,
}

impl Instance for Scripted {
    fn link(&self) -> watch::Receiver<Link> {
        self.0.link.subscribe()
    }

    async fn evidence(&self) -> Option<Evidence> {
        self.0.evidence.lock().unwrap().clone()
    }

    async fn connect(&self) {
        self.asked(|asked| asked.connects += 1);
        self.0.link.send_modify(|link| {
            if link.status == Status::Disconnected {
                (link.status, link.reason) = (Status::Pending, None);
            }
        });
    }

    async fn pair_by_code(&self, number: String) -> Result<Option<String>, CodeRefused> {
        self.asked(|asked| asked.numbers.push(number));
        match self.0.link.borrow().code.clone() {
            CodeState::Refused(code) => Err(CodeRefused { code }),
            code => Ok(code.text().map(str::to_owned)),
        }
    }

    async fn passkey(&self, command: PasskeyCommand) -> Result<PasskeyState, PasskeyFault> {
        self.asked(|asked| {
            asked.passkey.push(match command {
                PasskeyCommand::Assert(_) => "assert",
                PasskeyCommand::Confirm => "confirm",
                PasskeyCommand::Abandon => "abandon",
            });
        });
        self.0.passkey.lock().unwrap().clone()
    }

    async fn disconnect(&self, logout: bool) {
        self.asked(|asked| asked.logouts.push(logout));
        self.0.link.send_modify(|link| link.status = Status::Disconnected);
    }

    async fn send_media(&self, send: SendMedia) -> Result<Sent, FileError> {
        self.asked(|asked| asked.files.push(send));
        if let Some(error) = self.0.file_error.lock().unwrap().clone() {
            return Err(error);
        }
        Ok(self.0.answer.lock().unwrap().clone()?)
    }

    async fn portrait(&self, source: Source) -> Result<Vec<u8>, FileError> {
        self.asked(|asked| asked.portraits.push(source));
        match self.0.file_error.lock().unwrap().clone() {
            Some(error) => Err(error),
            None => Ok(vec![0xff, 0xd8]),
        }
    }

    async fn file(&self, _: &str) -> Result<Stored, FileError> {
        Err(self.0.file_error.lock().unwrap().clone().unwrap_or(FileError::Unknown))
    }

    fn scratch(&self) -> Scratch {
        Scratch::in_folder(self.0.folder.path())
    }

    async fn show(&self, what: Shown) -> Result<(), SendError> {
        self.asked(|asked| asked.shown.push(what));
        self.0.answer.lock().unwrap().clone().map(drop)
    }

    async fn exists(&self, digits: &str) -> Result<bool, SendError> {
        self.asked(|asked| asked.checked.push(digits.to_owned()));
        match self.0.answer.lock().unwrap().clone() {
            Ok(_) => Ok(true),
            Err(SendError::NotOnWhatsapp(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn send_linked(&self, command: SendMessage) -> Result<Sent, SendError> {
        self.asked(|asked| asked.linked.push(command));
        self.0.answer.lock().unwrap().clone()
    }

    async fn send_batch(&self, batch: SendBatch) -> Result<Batched, SendError> {
        self.asked(|asked| asked.batches.push(batch));
        let sent = self.0.answer.lock().unwrap().clone()?;
        Ok(Batched { id: "b1".into(), replayed: sent.replayed })
    }

    async fn change(&self, change: StateChange) -> Result<(), SendError> {
        self.asked(|asked| asked.changes.push(change));
        self.0.answer.lock().unwrap().clone().map(drop)
    }

    async fn history(&self, chat: Recipient, count: u32) -> Result<String, SendError> {
        self.asked(|asked| asked.histories.push((chat, count)));
        self.0.answer.lock().unwrap().clone().map(|_| "H1".to_owned())
    }

    async fn ask<A: Ask>(&self, question: A) -> Result<A::Told, AskError> {
        self.asked(|asked| asked.questions.push(question.into()));
        // What does not fit what was asked is a fault of the instance, as it would be in a real one.
        A::told(self.0.told.lock().unwrap().clone()?).ok_or(AskError::Internal)
    }

    async fn send_message(&self, command: SendMessage) -> Result<Sent, SendError> {
        assert_ne!(command.body, account::Body::Text("panic".into()), "as the story asked");
        self.asked(|asked| asked.sends.push(command));
        self.0.answer.lock().unwrap().clone()
    }
}

impl Scripted {
    pub(crate) fn asked<T>(&self, look: impl FnOnce(&mut Asked) -> T) -> T {
        look(&mut self.0.asked.lock().unwrap())
    }

    pub(crate) fn file_fails(&self, error: FileError) {
        *self.0.file_error.lock().unwrap() = Some(error);
    }

    pub(crate) fn tells(&self, answer: Result<Told, AskError>) {
        *self.0.told.lock().unwrap() = answer;
    }

    pub(crate) fn becomes(&self, status: Status, reason: Option<&'static str>) {
        self.0.link.send_modify(|link| (link.status, link.reason) = (status, reason));
    }

    pub(crate) fn shows(&self, code: &str) {
        let qr = Qr { text: code.into(), generated_at: START, expires_at: START + Duration::from_secs(20) };
        self.0.link.send_modify(|link| (link.status, link.qr) = (Status::QrReady, Some(qr)));
    }

    pub(crate) fn link_code(&self, code: CodeState) {
        self.0.link.send_modify(|link| link.code = code);
    }

    pub(crate) fn passkey_is(&self, state: PasskeyState) {
        self.0.link.send_modify(|link| link.passkey = state);
    }

    pub(crate) fn passkey_answers(&self, answer: Result<PasskeyState, PasskeyFault>) {
        *self.0.passkey.lock().unwrap() = answer;
    }

    pub(crate) fn shows_of_itself(&self, evidence: Option<Evidence>) {
        *self.0.evidence.lock().unwrap() = evidence;
    }

    pub(crate) fn answers(&self, answer: Result<Sent, SendError>) {
        *self.0.answer.lock().unwrap() = answer;
    }
}

pub(crate) fn sent() -> Sent {
    Sent {
        message_id: "3EB0B430A8B7F23C1D12AB".into(),
        timestamp: START,
        queued: false,
        scheduled_at: None,
        replayed: false,
    }
}

pub(crate) struct Story {
    pub(crate) router: Router,
    pub(crate) instance: Scripted,
    pub(crate) store: Store,
    pub(crate) stop: CancellationToken,
    now: Arc<AtomicU64>,
}

impl Story {
    pub(crate) fn new() -> Self {
        Self::with_limit(None)
    }

    pub(crate) fn with_limit(rate_limit: Option<(u32, Duration)>) -> Self {
        let link = Link {
            status: Status::Connected,
            reason: None,
            paired: true,
            phone: Some("5511999999999".into()),
            name: Some("Meu WhatsApp".into()),
            platform: Some("android".into()),
            qr: None,
            code: CodeState::None,
            passkey: PasskeyState::None,
        };
        let instance = Scripted(Arc::new(Script {
            link: watch::Sender::new(link),
            answer: Mutex::new(Ok(sent())),
            file_error: Mutex::new(None),
            told: Mutex::new(Ok(Told::Group(GroupAnswer::Done))),
            evidence: Mutex::default(),
            passkey: Mutex::new(Ok(PasskeyState::None)),
            folder: tempfile::tempdir().unwrap(),
            asked: Mutex::default(),
        }));
        let store = Store::in_memory().unwrap();
        let now = Arc::new(AtomicU64::new(START.0));
        let stop = CancellationToken::new();
        let clock = Arc::clone(&now);
        let router = router(Parts {
            instance: instance.clone(),
            instance_id: INSTANCE,
            store: store.clone(),
            token: Some(Configured::new(TOKEN)),
            public_url: "http://127.0.0.1:3000".into(),
            rate_limit,
            stop: stop.clone(),
            now: Arc::new(move || Millis(clock.load(Ordering::SeqCst))),
        });
        Self { router, instance, store, stop, now }
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.now.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// A token of the database, and its id.
    pub(crate) async fn token(&self, scopes: &str, expires: Option<Millis>) -> (i64, String) {
        let secret = Secret::random(&mut rand::rng());
        let text = secret.expose().to_owned();
        let scopes: Scopes = scopes.parse().unwrap();
        let new = NewToken { name: "story".into(), scopes, expires };
        let created = self.store.write(move |tx| tx.tokens().create(&secret, &new, "story", START));
        (created.await.unwrap(), text)
    }

    pub(crate) async fn push(&self, kind: &'static str, data: &str) -> u64 {
        let event = NewEvent { kind, lane: None, data: data.into(), platform: None };
        self.store.write(move |tx| tx.events().push(&event, START)).await.unwrap()
    }

    /// A call with the story's token.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.call_with(method, path, &[("authorization", "Bearer sk_story")], body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "").await
    }

    pub(crate) async fn call_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.request(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    pub(crate) async fn request(&self, mut request: Request<Body>) -> Answer {
        request.extensions_mut().insert(Peer("203.0.113.9:4711".parse().unwrap()));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json; charset=utf-8"));
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Status and `error.code`; checks the envelope around it.
    pub(crate) fn error(&self) -> (u16, String) {
        let body = self.json();
        assert_eq!(body["success"], false);
        assert_eq!(body.as_object().unwrap().len(), 2);
        let error = body["error"].as_object().unwrap();
        assert_eq!(error.keys().collect::<Vec<_>>(), ["code", "message", "details"]);
        assert!(error["details"].is_object() && !error["message"].as_str().unwrap().is_empty());
        (self.status.as_u16(), error["code"].as_str().unwrap().to_owned())
    }

    pub(crate) fn details(&self) -> Value {
        self.json()["error"]["details"].clone()
    }
}

/// What an error should be.
pub(crate) fn error(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
