//! `wazap doctor`: a line a check; one that fails makes the exit code 1.

use std::{path::Path, time::Duration};

use super::{Console, Failure, block_on, reach, variable};
use crate::{
    config::{Config, Layers, Settings},
    store::{self, Key, Store},
};

/// How long a far end may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Findings, printed as they come.
struct Report {
    console: Console,
    failed: bool,
}

impl Report {
    fn good(&mut self, what: &str) {
        self.console.line(&format!("ok    {what}"));
    }

    fn bad(&mut self, what: &str) {
        self.failed = true;
        self.console.line(&format!("FAIL  {}", what.replace('\n', " ")));
    }
}

pub(super) fn run(settings: &Settings, sandbox: bool) -> Result<(), Failure> {
    let mut report = Report { console: Console::stdout(), failed: false };
    let layers = Layers::new(settings, variable);
    let config = layers.as_ref().map_err(Clone::clone).and_then(|layers| Config::read(layers, sandbox));
    match &config {
        Ok(_) => report.good("configuration: every value is allowed"),
        Err(error) => report.bad(&format!("configuration: {error}")),
    }
    // A wrong value elsewhere does not hide the folder.
    let folder = layers.as_ref().ok().and_then(|layers| Config::data_folder(layers, sandbox).ok());
    let key = layers.as_ref().ok().and_then(|layers| Config::db_key(layers).ok()).flatten();
    if let Some(folder) = folder {
        check_folder(&mut report, &folder, key.map(|text| Key::new(&text)).as_ref());
    }
    if let Ok(config) = &config {
        block_on(async {
            check_server(&mut report, config).await;
            check_platform(&mut report, config).await;
            Ok(())
        })?;
    }
    if report.failed { Err(Failure::Said) } else { Ok(()) }
}

fn check_folder(report: &mut Report, folder: &Path, key: Option<&Key>) {
    let name = folder.display();
    if !folder.exists() {
        report.good(&format!("data folder: {name} does not exist yet; the first run makes it"));
        return;
    }
    if !folder.is_dir() {
        report.bad(&format!("data folder: {name} is not a folder"));
        return;
    }
    let check = Store::check(folder, key);
    let in_use = if check.in_use { "in use by a running instance" } else { "not in use" };
    report.good(&format!("data folder: {name}, {in_use}"));
    match check.folder_mode {
        Some(mode) if !check.private => {
            report.bad(&format!("permissions: the folder has mode {mode:04o}; run chmod 700 {name}"));
        }
        Some(mode) => report.good(&format!("permissions: the folder has mode {mode:04o}")),
        None => report.good("permissions: this system has none"),
    }
    if !check.exists {
        report.good("database: there is none yet; the first run makes it");
        return;
    }
    if let Err(error @ (store::Error::KeyMissing | store::Error::KeyWrong | store::Error::NotEncrypted)) =
        &check.schema
    {
        report.bad(&format!("database: {error}"));
        return;
    }
    if check.schema.is_ok() {
        report.good(match key {
            Some(_) => "database: encrypted, and this is its key",
            None => "database: not encrypted",
        });
    }
    match &check.integrity {
        Ok(()) => report.good("database integrity: every page and index is sound"),
        Err(error) => report.bad(&format!("database integrity: {error}")),
    }
    let known = check.known_schema;
    match &check.schema {
        Ok(found) if *found > known => {
            report.bad(&format!("schema version: {}", store::Error::TooNew { found: *found, known }));
        }
        Ok(found) if *found < known => {
            report.good(&format!("schema version: {found}; the next run brings it to {known}"));
        }
        Ok(found) => report.good(&format!("schema version: {found}")),
        Err(error) => report.bad(&format!("schema version: {error}")),
    }
}

async fn check_server(report: &mut Report, config: &Config) {
    if config.sandbox {
        report.good("WhatsApp server: the sandbox, started with the instance");
        return;
    }
    match reach::whatsapp(config, PATIENCE).await {
        Ok(()) => report.good(&format!("WhatsApp server: {} can be reached", config.server)),
        Err(error) => report.bad(&format!("WhatsApp server: {}: {error}", config.server)),
    }
}

/// Any HTTP answer will do: whether the platform knows this instance shows when something is posted.
async fn check_platform(report: &mut Report, config: &Config) {
    let Some(url) = &config.platform_url else {
        report.good("platform: none is set");
        return;
    };
    match reach::platform(url, PATIENCE).await {
        Ok(()) => report.good(&format!("platform: {url} can be reached")),
        Err(error) => report.bad(&format!("platform: {url}: {error}")),
    }
}
