//! The simulated WhatsApp: a chat server, phones, and a control API, on one loopback address.
//!
//! The core (`core`) decides everything and touches nothing; around it stand a listener that serves TLS and plain
//! connections on one port, a task for each WebSocket, the control API over HTTP, and a file that keeps the state.

mod admin;
mod app_state;
mod blobs;
mod cdn;
mod control;
mod core;
mod devices;
mod lab;
mod listener;
mod media;
mod passkey;
mod profile;
mod sending;
mod shared;
mod socket;
mod standing;
mod state;
mod tls;

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rand::{
    SeedableRng as _,
    rngs::{StdRng, SysRng},
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use admin::{Admin, AdminError, DeviceCommand};
pub use core::{
    AppStateView, BusinessSpec, CallView, CodeOutcome, CompanionView, Defect, FaultView, FileKind, GroupView,
    Intruder, ListShown, LogLine, MessageView, NewsletterView, ParticipantView, PasskeyView, PhoneChange,
    PhoneView, PostView, ProductSpec, ProfileView, ReceiptView, Sending, StandingChange, StatsView,
};
pub use lab::{Lab, Out};
pub use media::{FileToSend, MediaView, Source};

use crate::clock::Millis;
use shared::Shared;

/// How the sandbox is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address of the chat server and the control API. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// Serve the chat socket without TLS, too.
    pub plain: bool,
    /// Where phones and companions are kept over a restart. Without it everything is in memory.
    pub state: Option<PathBuf>,
    /// Makes every generated number, name and id repeatable.
    pub seed: Option<u64>,
    /// How long a chat state waits for a device that is offline. Default of the command line: 25 s.
    pub chatstate_ttl: Duration,
    /// Refuse a companion whose device signature does not verify.
    pub adv_strict: bool,
    /// Listen on an address that others can reach. The control API has no authentication.
    pub allow_remote: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            plain: false,
            state: None,
            seed: None,
            chatstate_ttl: Duration::from_secs(25),
            adv_strict: true,
            allow_remote: false,
        }
    }
}

/// Why the sandbox did not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Anybody who reaches the control API may do anything.
    #[error("{0} is no loopback address; --allow-remote permits it")]
    Remote(SocketAddr),
    /// The address is taken or not ours.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The folder cannot be used.
    #[error("state in {0}: {1}")]
    State(PathBuf, #[source] state::StateError),
    /// No TLS certificate could be made.
    #[error("TLS: {0}")]
    Tls(#[from] tls::TlsError),
    /// The system gave no randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

/// A running sandbox. Dropping it stops the tasks; [`Sandbox::shutdown`] also waits for them and saves.
pub struct Sandbox {
    shared: Arc<Shared>,
    address: SocketAddr,
    root_key: [u8; 32],
    tls_root: tls::RootFile,
    plain: bool,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Sandbox {
    /// Binds, and serves from then on.
    pub async fn start(options: Options) -> Result<Self, Error> {
        if !options.listen.ip().is_loopback() && !options.allow_remote {
            return Err(Error::Remote(options.listen));
        }
        let now = Millis::now();
        let rng = match options.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::try_from_rng(&mut SysRng).map_err(|_| Error::Randomness)?,
        };
        let settings =
            core::Settings { chatstate_ttl: options.chatstate_ttl, adv_strict: options.adv_strict };
        let loaded = state::load(options.state.as_deref(), settings, rng, now);
        let in_folder = |error| Error::State(options.state.clone().unwrap_or_default(), error);
        let state::Loaded { mut world, keys, starts, store } = loaded.map_err(in_folder)?;
        let tls_root = tls::RootFile::write(&keys.tls.root_pem, options.state.as_deref())?;
        let acceptor = tls::acceptor(&keys.tls)?;

        let listener =
            TcpListener::bind(options.listen).await.map_err(|error| Error::Listen(options.listen, error))?;
        let address = listener.local_addr().map_err(|error| Error::Listen(options.listen, error))?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        world.serve_media_at(media_host(address));
        let blobs = blobs::Blobs::open(options.state.as_deref()).map_err(|error| in_folder(error.into()))?;
        let shared = Arc::new(Shared::new(world, keys.server, blobs, stop.clone(), tasks.clone()));
        tasks.spawn(Arc::clone(&shared).keep_time());
        if let Some(store) = store {
            tasks.spawn(state::keep(store, starts, Arc::clone(&shared)));
        }
        let router = control::router(Arc::clone(&shared));
        tasks.spawn(listener::run(listener, acceptor, router, options.plain, stop.clone(), tasks.clone()));
        Ok(Self { shared, address, root_key: keys.root_public, tls_root, plain: options.plain, stop, tasks })
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("wss://{}/ws/chat", self.address)
    }

    /// The same without TLS, where it is served.
    pub fn plain_url(&self) -> Option<String> {
        self.plain.then(|| format!("ws://{}/ws/chat", self.address))
    }

    /// The control API and the readiness check.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Who signed the server's Noise certificate.
    pub const fn root_key(&self) -> [u8; 32] {
        self.root_key
    }

    /// The TLS root.
    pub fn tls_root_pem(&self) -> &str {
        self.tls_root.pem()
    }

    /// The file that holds it.
    pub fn tls_root_path(&self) -> &Path {
        self.tls_root.path()
    }

    /// The operations of the control API, in the process.
    pub fn admin(&self) -> Admin {
        Admin::new(Arc::clone(&self.shared))
    }

    /// Closes every connection, saves, and waits until all tasks have ended.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Where clients find the media server: an address that the certificate names.
fn media_host(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() }
}

/// `wazap sandbox`: prints where it is and whom to trust, and runs until `shutdown`.
pub async fn run(options: Options, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let sandbox = Sandbox::start(options).await?;
    #[allow(clippy::print_stdout, reason = "what scripts wait for")]
    {
        println!("sandbox on {}", sandbox.url());
        println!("sandbox root key {}", hex::encode(sandbox.root_key()));
        println!("sandbox tls root {}", sandbox.tls_root_path().display());
    }
    shutdown.await;
    sandbox.shutdown().await;
    Ok(())
}
