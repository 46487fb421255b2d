//! Assembly of one instance: the rooms are started in order, joined, and ended in the opposite order.

use std::{future::Future, pin::Pin, sync::Arc, task::Poll, time::Duration};

use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    account::{self, Link, Status},
    api,
    cli::{Console, Failure},
    clock::Millis,
    config::{Config, RejectCalls},
    daemon::{self, Handle, media::Desk},
    demo::Demo,
    media::Documents,
    net::{self, fetch::Fetcher, media::Cdn},
    qr,
    store::{
        self, Store,
        tokens::{Configured, NewToken, Scopes, Secret},
    },
    webhook,
};

/// Setting: the instance's own id.
const INSTANCE_ID: &str = "instance.id";
/// Requests in flight get this long to finish. This and the two below add up to less than the 5 s within which the
/// process must end.
const DRAIN: Duration = Duration::from_millis(1_500);
/// For the driver to say goodbye and for posts in flight, all at once.
const FAREWELL: Duration = Duration::from_millis(2_200);
/// For the database to fold its log.
const CLOSING: Duration = Duration::from_millis(800);

/// Runs one instance until `shutdown`.
///
/// # Errors
/// What keeps it from starting: the data folder, the address, the proxy's URL, a server that does not fit the keys.
pub async fn run(
    mut config: Config,
    console: Console,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let key = config.db_key.take().map(|text| store::Key::new(&text));
    let store = Store::open_with(&config.data, key.as_ref())?;
    let mut extra_roots = match &config.server_ca {
        Some(path) => Some(std::fs::read(path).map_err(|error| {
            Failure::Usage(format!("server-ca: {} cannot be read: {error}", path.display()))
        })?),
        None => None,
    };
    let demo = if config.sandbox {
        let demo = Demo::start(&config.data).await?;
        config.server = demo.server();
        config.server_root = demo.root_key();
        extra_roots = Some(demo.tls_root().into_bytes());
        Some(demo)
    } else {
        None
    };
    check_network(&store, config.server_root).await?;
    let instance = instance_id(&store, config.instance_id).await?;
    let token = token(&store, &config, console).await?;
    check_exposure(&store, &config).await?;
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| Failure::Usage(format!("listen: {} cannot be used: {error}", config.listen)))?;
    let address = listener.local_addr().map_err(|error| Failure::Unexpected(error.to_string()))?;
    console.line(&format!("listening on http://{address}"));
    if let Some(demo) = &demo {
        console.line(&format!("sandbox on {}", demo.server()));
        console.line(&format!("echo contact {}", demo.echo()));
    }
    follow_platform(&store, &config).await?;

    let stop = CancellationToken::new();
    let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let options = daemon::Options {
        account: account::Settings {
            instance,
            device_name: config.device_name.clone(),
            wa_version: config.wa_version,
            available: config.available,
            server_root: config.server_root,
            public_url: public_url.clone(),
            pair_phone: config.pair_phone.clone(),
            reject_calls: match &config.reject_calls {
                RejectCalls::Off => None,
                RejectCalls::Silently => Some(account::RejectCalls { saying: None }),
                RejectCalls::Saying(text) => Some(account::RejectCalls { saying: Some(text.clone()) }),
            },
        },
        net: net_options(&config, extra_roots)?,
    };
    let cdn = Cdn::new(options.net.proxy.clone(), options.net.extra_roots.as_deref());
    let (handle, driver) = daemon::start(store.clone(), options, stop.clone()).await?;
    let documents = if config.documents_listed { Documents::Listed } else { Documents::Any };
    let fetcher = Fetcher::new(config.media_allow_private);
    let desk = Desk::open(&config.data, handle.clone(), store.clone(), cdn, fetcher, documents)
        .map_err(|error| Failure::Unexpected(format!("data: media files cannot be kept: {error}")))?;
    let house = tokio::spawn(desk.clone().keep_house(stop.clone()));
    let api_stop = CancellationToken::new();
    let parts = api::Parts {
        instance: desk,
        instance_id: instance,
        store: store.clone(),
        token: config.token.as_deref().map(Configured::new),
        public_url,
        rate_limit: config.rate_limit,
        stop: api_stop.clone(),
        now: Arc::new(Millis::now),
    };
    let served =
        tokio::spawn(api::serve(listener, api::router(parts), api::CONNECTIONS, api_stop.clone(), DRAIN));
    let hooks = tokio::spawn(webhook::run(store.clone(), webhook::Options::new(instance), stop.clone()));
    let kept = webhook::Keep { at_least: config.event_retention, at_most: config.event_max };
    let retention = tokio::spawn(webhook::retain(store.clone(), kept, stop.clone()));
    let told = tokio::spawn(tell(handle.clone(), console, demo.is_some(), stop.clone()));
    if demo.is_none() {
        console.line("ready");
    }
    let story = demo.as_ref().map(|demo| {
        let curl = demo.curl_lines(&format!("http://{address}"), token.as_deref());
        tokio::spawn(demo.scanner().link(handle.clone(), console, curl, stop.clone()))
    });

    let mut parts = [
        ("API", served),
        ("driver", driver),
        ("webhook worker", hooks),
        ("retention", retention),
        ("media", house),
    ];
    let early = tokio::select! {
        () = shutdown => None,
        name = first_to_end(&mut parts) => Some(name),
    };
    tracing::info!("stopping");
    let [(_, served), rest @ ..] = parts;
    // The API stops first: what is in flight still finds the driver.
    api_stop.cancel();
    end(served, DRAIN + Duration::from_millis(200), "API").await;
    stop.cancel();
    let farewell = async {
        tokio::join!(
            futures_util::future::join_all(rest.map(|(name, task)| end(task, FAREWELL, name))),
            end(told, FAREWELL, "console"),
            async {
                if let Some(story) = story {
                    end(story, FAREWELL, "sandbox phone").await;
                }
                if let Some(demo) = demo {
                    demo.shutdown().await;
                }
            },
        );
        store.close().await;
    };
    // What does not end in time is cut off: everything that was promised is committed.
    let _ = timeout(FAREWELL + CLOSING, farewell).await;
    match early {
        None => Ok(()),
        Some(name) => Err(Failure::Unexpected(format!("the {name} ended by itself; the log says why"))),
    }
}

/// The name of the first task that ends; none should before a stop.
async fn first_to_end(parts: &mut [(&'static str, JoinHandle<()>)]) -> &'static str {
    std::future::poll_fn(|cx| {
        let ended =
            parts.iter_mut().find_map(|(name, task)| Pin::new(task).poll(cx).is_ready().then_some(*name));
        ended.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

async fn end(task: JoinHandle<()>, patience: Duration, name: &'static str) {
    // One that ended by itself was looked at already, and must not be polled again.
    if task.is_finished() {
        return;
    }
    match timeout(patience, task).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(name, %error, "a task failed"),
        Err(_) => tracing::warn!(name, "a task did not end in time"),
    }
}

/// The keys of one network must never be shown to another: a simulated WhatsApp learns nothing of a real number, and
/// the real one nothing of the simulation.
async fn check_network(store: &Store, root: [u8; 32]) -> Result<(), Failure> {
    let device = store.read(|tx| tx.device().load()).await?;
    match device {
        Some(device) if device.paired.is_some() && device.server_root != root => Err(Failure::Usage(
            "data: this folder is linked on another server (its root key differs): use another --data, or the \
             --server and --server-root-key it was linked with"
                .into(),
        )),
        _ => Ok(()),
    }
}

/// The id given, or the one kept, or a new one.
async fn instance_id(store: &Store, given: Option<Uuid>) -> Result<Uuid, store::Error> {
    store
        .write(move |tx| {
            let settings = tx.settings();
            let kept = settings.get(INSTANCE_ID)?.and_then(|text| text.parse().ok());
            let id = given.or(kept).unwrap_or_else(Uuid::new_v4);
            settings.set(INSTANCE_ID, &id.to_string())?;
            Ok(id)
        })
        .await
}

/// A token is made, and shown once, where there is none at all; for the sandbox's `curl` lines at every start.
async fn token(store: &Store, config: &Config, console: Console) -> Result<Option<String>, store::Error> {
    /// Its name in `token list`; each start replaces the one before.
    const DEMO: &str = "sandbox";
    if let Some(given) = &config.token {
        return Ok(Some(given.clone()));
    }
    let demo = config.sandbox;
    let secret = store
        .write(move |tx| {
            let now = Millis::now();
            let tokens = tx.tokens();
            if !demo && tokens.any()? {
                return Ok(None);
            }
            if demo {
                for old in tokens.list()?.iter().filter(|token| token.name == DEMO) {
                    tokens.revoke(old.id, "start", now)?;
                }
            }
            let secret = Secret::random(&mut rand::rng());
            let new = NewToken {
                name: if demo { DEMO } else { "first" }.to_owned(),
                scopes: Scopes::ALL,
                expires: None,
            };
            tokens.create(&secret, &new, "start", now)?;
            Ok::<_, store::Error>(Some(secret.expose().to_owned()))
        })
        .await?;
    if let Some(secret) = &secret {
        console.line(&format!("token {secret}"));
    }
    Ok(secret)
}

/// An address that others can reach needs a token that lets somebody in: without one nobody who may could call, and who
/// opens such a port by mistake is better told so.
async fn check_exposure(store: &Store, config: &Config) -> Result<(), Failure> {
    /// Characters after `sk_` that take longer to guess than anybody has.
    const LONG: usize = 16;
    if config.listen.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    if let Some(token) = &config.token {
        if token.len() < "sk_".len() + LONG {
            tracing::warn!(
                "the token of the configuration is short, and this address can be reached from outside"
            );
        }
        return Ok(());
    }
    let tokens = store.read(|tx| tx.tokens().list()).await?;
    let now = Millis::now();
    if tokens.iter().any(|token| token.expires.is_none_or(|at| now < at)) {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "listen: {} can be reached from outside, and no token is good (all are revoked or expired): make one with wazap \
         token create, set --token, or listen on 127.0.0.1",
        config.listen
    )))
}

/// The platform is one more hook over the log.
async fn follow_platform(store: &Store, config: &Config) -> Result<(), store::Error> {
    let (url, secret) = (config.platform_url.clone(), config.platform_secret.clone());
    store
        .write(move |tx| match url {
            Some(url) => tx.hooks().set_platform(&url, secret.as_deref(), Millis::now()).map(drop),
            None => tx.hooks().remove_platform().map(drop),
        })
        .await
}

fn net_options(config: &Config, extra_roots: Option<Vec<u8>>) -> Result<net::Options, Failure> {
    let proxy = config
        .proxy
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|error| Failure::Usage(format!("proxy: {error}")))?;
    Ok(net::Options { extra_roots, proxy, ..net::Options::new(config.server.clone()) })
}

/// Tells whoever started the program what they wait for: the number, and in a terminal each new code.
async fn tell(handle: Handle, console: Console, sandbox: bool, stop: CancellationToken) {
    let mut link = handle.link();
    let (mut phone, mut code, mut typed) = (None, None, None);
    loop {
        let now: Link = link.borrow_and_update().clone();
        if now.status == Status::Connected && now.phone != phone {
            phone.clone_from(&now.phone);
            if let (Some(phone), false) = (&phone, sandbox) {
                console.line(&format!("paired as {phone}"));
            }
        }
        if typed.as_deref() != now.code.text() {
            typed = now.code.text().map(str::to_owned);
            if let Some(typed) = &typed {
                console.line(&format!("pairing code {typed}"));
            }
        }
        if console.is_terminal() && !sandbox && now.qr != code {
            code.clone_from(&now.qr);
            if let Some(picture) = code.as_ref().and_then(|qr| qr::Picture::of(&qr.text).ok()) {
                console.print(&picture.blocks());
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = link.changed() => if changed.is_err() { return },
        }
    }
}
