//! The past: what the phone tells a companion of the time before it was linked. An instance that nobody disturbs says what
//! it comes to; the one that is killed must come to the same.

use std::{collections::BTreeMap, path::Path, time::Duration};

use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use wazap::sandbox::Sandbox;

use super::{
    process::{Instance, OWN, Setup, TOKEN, get},
    receiver::Receiver,
};

/// Chats of the past, and how many of them are groups.
const CHATS: (u32, u32) = (20, 4);
/// How long an instance may take to read it all.
const PATIENCE: Duration = Duration::from_secs(90);

/// By chat, its messages with what they say, newest first.
pub type Past = BTreeMap<String, Vec<(String, String)>>;

/// Gives the phone a past, and links an instance for as long as it takes to read it.
pub async fn undisturbed(folder: &Path, sandbox: &Sandbox, http: &Client, messages: u32, seed: u64) -> Past {
    sandbox.admin().history(OWN, CHATS, messages, messages / CHATS.0).unwrap();
    let folder = folder.join("undisturbed");
    std::fs::create_dir_all(&folder).unwrap();
    let receiver = Receiver::start(seed).await;
    let mut instance = Instance::start(&Setup::new(&folder, sandbox, &receiver.url));
    instance.link(http, sandbox).await;
    let url = instance.url().await;
    let deadline = Instant::now() + PATIENCE;
    while !is_read(http, &url).await {
        assert!(Instant::now() < deadline, "history is not read in time");
        sleep(Duration::from_millis(50)).await;
    }
    let past = read(http, &url).await.expect("it answers");
    let body = json!({ "logout": true }).to_string();
    let request = http.post(format!("{url}/disconnect")).bearer_auth(TOKEN);
    request.header("Content-Type", "application/json").body(body).send().await.unwrap();
    while sandbox.admin().phone(OWN).is_ok_and(|own| !own.companions.is_empty()) {
        assert!(Instant::now() < deadline, "it does not unlink");
        sleep(Duration::from_millis(20)).await;
    }
    instance.kill();
    past
}

/// Waits until an instance has read everything; what differs from what it should be.
pub async fn compare(http: &Client, url: &str, wanted: &Past) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    while !is_read(http, url).await {
        if Instant::now() > deadline {
            let seen = get(http, &format!("{url}/health/details")).await.unwrap_or_default();
            return vec![format!("history is never read to its end: {}", seen["history"])];
        }
        sleep(Duration::from_millis(100)).await;
    }
    let Some(found) = read(http, url).await else { return vec!["the chats cannot be read".into()] };
    let mut wrong = Vec::new();
    for (chat, messages) in wanted {
        match found.get(chat) {
            None => wrong.push(format!("history: the chat {chat} is missing")),
            Some(found) if found == messages => {}
            Some(found) => wrong.push(format!(
                "history: the chat {chat} has {} messages, or others, in place of {}",
                found.len(),
                messages.len()
            )),
        }
    }
    wrong
}

async fn is_read(http: &Client, url: &str) -> bool {
    let Some(seen) = get(http, &format!("{url}/health/details")).await else { return false };
    let history = &seen["history"];
    history["recent_percent"] == 100 && history["waiting"] == 0
}

/// All chats in which there is something, with all that they show.
async fn read(http: &Client, url: &str) -> Option<Past> {
    let mut past = Past::new();
    for chat in pages(http, &format!("{url}/chats"), "chats").await? {
        let jid = chat["jid"].as_str()?;
        let messages = pages(http, &format!("{url}/chats/{jid}/messages"), "messages").await?;
        let shown = |message: &Value| {
            let said = message["content"].as_str().unwrap_or_default().to_owned();
            Some((message["key"]["id"].as_str()?.to_owned(), said))
        };
        let messages: Vec<_> = messages.iter().map(shown).collect::<Option<_>>()?;
        if !messages.is_empty() {
            past.insert(jid.to_owned(), messages);
        }
    }
    Some(past)
}

async fn pages(http: &Client, url: &str, name: &str) -> Option<Vec<Value>> {
    let mut all = Vec::new();
    for page in 1.. {
        let answer = get(http, &format!("{url}?page={page}&per_page=100")).await?;
        let rows = answer[name].as_array()?;
        if rows.is_empty() {
            break;
        }
        all.extend(rows.iter().cloned());
    }
    Some(all)
}
