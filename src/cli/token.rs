//! `wazap token`: the `sk_` tokens of one data folder. Works beside a running instance, which notices at once.

use clap::Subcommand;

use super::{ACTOR, Console, Failure, block_on, variable};
use crate::{
    clock::Millis,
    config::{Config, Layers, Settings, duration},
    store::{
        Key, Store,
        tokens::{NewToken, Scopes, Secret, Token},
    },
};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

/// Which database, and its key.
#[derive(clap::Args)]
pub(super) struct Folder {
    /// Folder of the instance [default: ./data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// File with settings [default: ./wazap.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// Key of an encrypted database [default: none]
    #[arg(long, value_name = "TEXT")]
    db_key: Option<String>,
    /// File with that key [default: none]
    #[arg(long, value_name = "FILE")]
    db_key_file: Option<String>,
}

#[derive(Subcommand)]
enum Action {
    /// Makes a token and prints it once: only a hash is kept
    Create {
        #[command(flatten)]
        folder: Folder,
        /// What the list shows it as, at most 100 characters [default: none]
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        name: String,
        /// What it may do, separated by commas
        #[arg(long, value_name = "send,read,manage", default_value = "send,read,manage")]
        scope: String,
        /// How long it is good, unit s, m, h or d, such as 30d [default: for ever]
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
    },
    /// Prints a line each: id, name, scopes, created, last used, expires, separated by tabs
    List {
        #[command(flatten)]
        folder: Folder,
    },
    /// Ends a token at once
    Revoke {
        #[command(flatten)]
        folder: Folder,
        /// First column of the list
        #[arg(value_name = "ID")]
        id: i64,
    },
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    match args.action {
        Action::Create { folder, name, scope, expires } => {
            let scopes = read_scopes(&scope)?;
            let lasts = expires.as_deref().map(read_expiry).transpose()?;
            if name.chars().count() > 100 || name.chars().any(char::is_control) {
                return Err(wrong("name", "at most 100 printable characters"));
            }
            let store = open(folder)?;
            block_on(async move {
                let now = Millis::now();
                let new = NewToken { name, scopes, expires: lasts.map(|lasts| now + lasts) };
                let secret = Secret::random(&mut rand::rng());
                let secret = store
                    .write(move |tx| -> Result<Secret, Failure> {
                        tx.tokens().create(&secret, &new, ACTOR, now)?;
                        Ok(secret)
                    })
                    .await?;
                Console::stdout().line(&format!("token {}", secret.expose()));
                store.close().await;
                Ok(())
            })
        }
        Action::List { folder } => {
            let store = open(folder)?;
            block_on(async move {
                let tokens = store.read(|tx| Ok::<_, Failure>(tx.tokens().list()?)).await?;
                for token in tokens {
                    Console::stdout().line(&row(&token));
                }
                store.close().await;
                Ok(())
            })
        }
        Action::Revoke { folder, id } => {
            let store = open(folder)?;
            block_on(async move {
                let now = Millis::now();
                let revoked =
                    store.write(move |tx| Ok::<_, Failure>(tx.tokens().revoke(id, ACTOR, now)?)).await?;
                store.close().await;
                if revoked { Ok(()) } else { Err(no_such(id)) }
            })
        }
    }
}

pub(super) fn open(folder: Folder) -> Result<Store, Failure> {
    let Folder { data, config, db_key, db_key_file } = folder;
    let settings = Settings { data, config, db_key, db_key_file, ..Settings::default() };
    let layers = Layers::new(&settings, variable)?;
    let key = Config::db_key(&layers)?.map(|text| Key::new(&text));
    Ok(Store::open_beside(&Config::data_folder(&layers, false)?, key.as_ref())?)
}

fn wrong(name: &str, allowed: &str) -> Failure {
    Failure::Usage(format!("setting {name} (flag --{name}) is wrong: allowed is {allowed}"))
}

fn no_such(id: i64) -> Failure {
    Failure::Usage(format!(
        "there is no token {id}; allowed is the first column of a line of wazap token list"
    ))
}

fn read_scopes(text: &str) -> Result<Scopes, Failure> {
    text.parse().map_err(|_| wrong("scope", "a list of send, read and manage, separated by commas"))
}

fn read_expiry(text: &str) -> Result<std::time::Duration, Failure> {
    duration(text).ok_or_else(|| wrong("expires", "a whole number with a unit (s, m, h or d), such as 30d"))
}

fn row(token: &Token) -> String {
    let time = |at: Option<Millis>| at.map_or_else(|| "-".to_owned(), Millis::rfc3339);
    let name = if token.name.is_empty() { "-" } else { &token.name };
    format!(
        "{}\t{name}\t{}\t{}\t{}\t{}",
        token.id,
        token.scopes,
        token.created.rfc3339(),
        time(token.last_used),
        time(token.expires)
    )
}
