//! `wazap rekey`: the key of a database, while no instance runs on it.

use std::path::Path;

use super::{ACTOR, Console, Failure, block_on, variable};
use crate::{
    clock::Millis,
    config::{Config, Layers, Settings, key_file},
    store::{Error, Key, Store},
};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Folder of the instance [default: ./data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// File with settings [default: ./wazap.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// Key that the database has now [default: none, it is not encrypted]
    #[arg(long, value_name = "TEXT")]
    db_key: Option<String>,
    /// File with that key [default: none]
    #[arg(long, value_name = "FILE")]
    db_key_file: Option<String>,
    #[command(flatten)]
    new: New,
}

/// What is to be.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct New {
    /// Key that it is to have
    #[arg(long, value_name = "TEXT")]
    new_key: Option<String>,
    /// File with that key
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<String>,
    /// It is to have none
    #[arg(long)]
    decrypt: bool,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let wrong = |name: &str, allowed: &str| {
        Failure::Usage(format!("setting {name} (flag --{name}) is wrong: allowed is {allowed}"))
    };
    let new = match (args.new.new_key, args.new.new_key_file) {
        (Some(text), _) if text.is_empty() => {
            return Err(wrong("new-key", "a text of at least one character"));
        }
        (Some(text), _) => Some(Key::new(&text)),
        (None, Some(path)) => {
            let text = key_file(&path);
            let text =
                text.ok_or_else(|| wrong("new-key-file", "a readable file with a text of 1 to 4096 bytes"))?;
            Some(Key::new(&text))
        }
        (None, None) => None,
    };
    let settings = Settings {
        data: args.data,
        config: args.config,
        db_key: args.db_key,
        db_key_file: args.db_key_file,
        ..Settings::default()
    };
    let layers = Layers::new(&settings, variable)?;
    let old = Config::db_key(&layers)?.map(|text| Key::new(&text));
    let folder = Config::data_folder(&layers, false)?;
    match Store::rekey(&folder, old.as_ref(), new.as_ref()) {
        Err(Error::NotEncrypted) => {
            return Err(Failure::Usage(
                "the database is not encrypted, so it has no present key: leave out --db-key, --db-key-file and their variables"
                    .into(),
            ));
        }
        done => done?,
    }
    let action = match (&old, &new) {
        (None, None) => None,
        (None, Some(_)) => Some("key.set"),
        (Some(_), Some(_)) => Some("key.change"),
        (Some(_), None) => Some("key.remove"),
    };
    if let Some(action) = action {
        block_on(audit(&folder, new.as_ref(), action))?;
    }
    Console::stdout().line(if new.is_some() {
        "the database is encrypted with the new key"
    } else {
        "the database is not encrypted"
    });
    Ok(())
}

async fn audit(folder: &Path, key: Option<&Key>, action: &'static str) -> Result<(), Failure> {
    let store = Store::open_beside(folder, key)?;
    store.write(move |tx| Ok::<_, Failure>(tx.audit().note(ACTOR, action, "", Millis::now())?)).await?;
    store.close().await;
    Ok(())
}
