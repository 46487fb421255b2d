//! A whole story of the real program beside a sandbox (texts, media, a group, webhooks, errors, bad tokens, a hook that
//! fails), once with a key and once without; then its files and its log are searched for everything that occurred in it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/process.rs"]
mod process;

use std::{collections::BTreeSet, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use process::{Instance, OWN, Platform, Setup, TOKEN, get, http};
use reqwest::{Client, Method};
use rusqlite::{Connection, types::ValueRef};
use serde_json::{Value, json};
use wazap::sandbox::{Options, Sandbox, Sending};

const ALICE: &str = "5511987654321";
const BOB: &str = "5521976543210";
const NAMES: [&str; 3] = ["Octavia Wolframson", "Alice Quartzsmith", "Roberto Fjordvik"];
const KEY: &str = "a passphrase of the operator";
const HOOK_SECRET: &str = "whsec-of-the-customer-0123456789";
/// Everything that was written by somebody.
const TEXTS: [&str; 6] = [
    "the eagle lands at nine",
    "and the otter swims at ten",
    "a caption about the harbour",
    "nobody is to read this, not even refused",
    "Expedition Nebula",
    "a plan that waits for its time",
];
const PATIENCE: Duration = Duration::from_secs(30);

/// What the story left behind.
struct Left {
    folder: tempfile::TempDir,
    /// Name and bytes of each, as the kill left them.
    files: Vec<(String, Vec<u8>)>,
    log: String,
    /// What else occurred and was secret.
    secrets: Vec<String>,
}

async fn call(http: &Client, method: Method, url: &str, token: &str, body: &Value) -> (u16, Value) {
    let request = http.request(method, url).bearer_auth(token).header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

async fn play(key: Option<&str>) -> Left {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(Options { seed: Some(7), ..Options::default() }).await.unwrap();
    let admin = sandbox.admin();
    for (number, name) in [OWN, ALICE, BOB].into_iter().zip(NAMES) {
        admin.create_phone(Some(number.into()), Some(name.into()), None).unwrap();
    }
    let platform = Platform::start().await;
    let mut setup = Setup::new(folder.path(), &sandbox, &platform.url);
    setup.environment.extend(key.map(|key| ("WAZAP_DB_KEY", key.into())));
    let mut instance = Instance::start(&setup);
    let http = http();
    instance.link(&http, &sandbox).await;
    let url = instance.url().await;
    let post = async |path: &str, body: Value| {
        call(&http, Method::POST, &format!("{url}{path}"), TOKEN, &body).await
    };

    // A customer's hook at which nobody answers, and one token of the database.
    let hook = format!("{url}/instances/{}/webhook", instance_id(&setup, key));
    let body = json!({ "webhook_url": "http://127.0.0.1:9/hook-of-the-customer", "webhook_secret": HOOK_SECRET, "events": ["*"] });
    let (status, answer) = call(&http, Method::PUT, &hook, TOKEN, &body).await;
    assert!(status == 200 || status == 201, "{status} {answer}");

    // Both ways, in a chat and in a group, with a file.
    let (status, first) = post("/send-message", json!({ "to": ALICE, "message": TEXTS[0] })).await;
    assert_eq!(status, 200, "{first}");
    let say = |text: &str| Sending::Text { text: text.to_owned(), quote: None };
    let incoming = admin.send(ALICE, OWN, say(TEXTS[1])).unwrap();
    let mut image = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(8, 8).write_to(&mut image, image::ImageFormat::Png).unwrap();
    let image = STANDARD.encode(image.into_inner());
    let media = json!({ "to": ALICE, "media_base64": image, "media_type": "image", "caption": TEXTS[2] });
    assert_eq!(post("/send-media", media).await.0, 200);
    let group = json!({ "subject": TEXTS[4], "participants": [ALICE, BOB] });
    let (status, answer) = post("/groups", group).await;
    assert!(status == 200 || status == 201, "{answer}");
    let group = answer["group"]["jid"].as_str().unwrap();
    assert_eq!(post("/send-message", json!({ "to": group, "message": TEXTS[0] })).await.0, 200);
    admin.send(BOB, group, say(TEXTS[1])).unwrap();
    let later = json!({ "to": BOB, "message": TEXTS[5], "send_at": "2027-01-01T00:00:00Z" });
    let (status, answer) = post("/send-message", later).await;
    assert!(status == 200 || status == 202, "{answer}");
    assert_eq!(
        post("/send-reaction", json!({ "to": ALICE, "messageId": incoming, "emoji": "🦦" })).await.0,
        200
    );

    // What goes wrong.
    assert_eq!(post("/send-message", json!({ "to": "5511900009999", "message": TEXTS[3] })).await.0, 422);
    assert_eq!(post("/send-message", json!({ "to": ALICE })).await.0, 422);
    let unreachable =
        json!({ "to": ALICE, "media_url": "http://10.1.2.3/secret-path.png", "media_type": "image" });
    assert_eq!(post("/send-media", unreachable).await.0, 422);
    let bad = "sk_badTokenOfSomebodyElse012345678901234567";
    assert_eq!(call(&http, Method::GET, &format!("{url}/status"), bad, &Value::Null).await.0, 401);
    admin.send(BOB, OWN, say(TEXTS[1])).unwrap();

    assert!(platform.until(PATIENCE, |platform| platform.incoming(false).0.len() >= 3).await);
    let searched = format!("{url}/messages/search?q=otter");
    let found = get(&http, &searched).await.unwrap();
    assert_eq!(found["total"], 3, "what is encrypted can still be searched: {found}");
    // The hook that fails has failed, and says so.
    let failed = async || {
        let hooks = get(&http, &format!("{url}/webhooks")).await.unwrap();
        hooks.to_string().contains("last_error\":\"")
    };
    for _ in 0..100 {
        if failed().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let traced = get(&http, &format!("{url}/messages/{}?trace=true", first["message_id"].as_str().unwrap()))
        .await
        .unwrap();
    let steps = traced["trace"].as_array().unwrap();
    let posted = |kind: &str| {
        let mut posts = steps.iter().filter(|step| step["step"] == "webhook" && step["kind"] == kind);
        posts.find(|post| !post["at"].is_null()).map(|post| post["result"].as_str().unwrap())
    };
    assert_eq!((posted("platform"), posted("user")), (Some("delivered"), Some("cannot connect")), "{traced}");
    let log = std::fs::read_to_string(setup.log()).unwrap();
    // Killed: the write-ahead log stays as it is.
    instance.kill();
    let log = log + &std::fs::read_to_string(setup.log()).unwrap();
    sandbox.shutdown().await;
    let secrets = vec![TOKEN.to_owned(), bad.to_owned(), KEY.to_owned(), HOOK_SECRET.to_owned()];
    let files = files(folder.path());
    Left { folder, files, log, secrets }
}

fn instance_id(setup: &Setup, key: Option<&str>) -> String {
    let conn = open(&setup.folder, key);
    conn.query_row("SELECT value FROM setting WHERE name = 'instance.id'", [], |row| row.get(0)).unwrap()
}

fn open(folder: &Path, key: Option<&str>) -> Connection {
    let conn = Connection::open(folder.join("instance.db")).unwrap();
    if let Some(key) = key {
        conn.pragma_update(None, "key", key).unwrap();
    }
    conn
}

/// Every value of at least eight bytes of every table, with the table's name.
fn values(conn: &Connection) -> Vec<(String, Vec<u8>)> {
    let mut tables = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut values = Vec::new();
    for table in tables {
        let mut all = conn.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let columns = all.column_count();
        let mut rows = all.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                if let ValueRef::Text(bytes) | ValueRef::Blob(bytes) = row.get_ref(column).unwrap()
                    && bytes.len() >= 8
                {
                    values.push((table.clone(), bytes.to_vec()));
                }
            }
        }
    }
    values
}

/// All files of the data folder but the media, which are files by nature: name and bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder.join("data")).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.metadata().unwrap().is_file());
    files.map(|f| (f.file_name().into_string().unwrap(), std::fs::read(f.path()).unwrap())).collect()
}

/// Whether any of the needles' first sixteen bytes stands anywhere in the text: one pass, however many there are.
fn found<'a>(haystack: &[u8], needles: &'a BTreeSet<Vec<u8>>) -> Vec<&'a [u8]> {
    let mut heads: Vec<&[u8]> = needles.iter().map(|needle| &needle[..needle.len().min(16)]).collect();
    heads.sort_unstable();
    heads.dedup();
    let by_eight: std::collections::HashMap<&[u8], Vec<&[u8]>> =
        heads.iter().fold(std::collections::HashMap::new(), |mut map, head| {
            map.entry(&head[..8]).or_insert_with(Vec::new).push(*head);
            map
        });
    let mut found = Vec::new();
    for start in 0..haystack.len().saturating_sub(7) {
        if let Some(heads) = by_eight.get(&haystack[start..start + 8]) {
            found.extend(heads.iter().filter(|head| haystack[start..].starts_with(head)));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Runs of at least `length` characters of a kind.
fn runs(text: &str, length: usize, of: fn(char) -> bool) -> Vec<&str> {
    text.split(|c| !of(c)).filter(|run| run.len() >= length).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_the_story_is_readable_in_the_files_of_an_encrypted_instance() {
    let left = play(Some(KEY)).await;
    let conn = open(&left.folder.path().join("data"), Some(KEY));
    let values = values(&conn);
    let tables: BTreeSet<&str> = values.iter().map(|(table, _)| table.as_str()).collect();
    for table in [
        "device",
        "session",
        "identity",
        "pre_key",
        "signed_pre_key",
        "sender_key",
        "app_state_key",
        "message",
        "message_text_data",
        "event",
        "hook",
        "scheduled",
        "contact",
    ] {
        assert!(tables.contains(table), "the story fills {table}: {tables:?}");
    }
    drop(conn);
    // A row of equal bytes stands in any file.
    let telling = |value: &Vec<u8>| value.iter().take(16).collect::<BTreeSet<_>>().len() > 3;
    let mut needles: BTreeSet<Vec<u8>> = values.into_iter().map(|(_, value)| value).filter(telling).collect();
    let said = TEXTS.iter().chain(&NAMES).map(|text| text.as_bytes().to_vec());
    needles.extend(said.chain(left.secrets.iter().map(|secret| secret.as_bytes().to_vec())));
    needles.extend([OWN, ALICE, BOB].map(|number| number.as_bytes().to_vec()));
    assert!(needles.len() > 500, "{}", needles.len());
    let files = &left.files;
    assert!(files.iter().any(|(name, bytes)| name == "instance.db-wal" && bytes.len() > 10_000));
    for (name, bytes) in files {
        // Rows of eight bytes alone would be found in noise now and then: sixteen, or the whole value.
        let found = found(bytes, &needles);
        assert!(
            found.is_empty(),
            "{name}: {:?}",
            found.iter().map(|f| String::from_utf8_lossy(f)).collect::<Vec<_>>()
        );
    }
    quiet(&left, &needles);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_the_search_finds_what_the_story_wrote() {
    let left = play(None).await;
    let conn = open(&left.folder.path().join("data"), None);
    let needles: BTreeSet<Vec<u8>> = values(&conn).into_iter().map(|(_, value)| value).collect();
    drop(conn);
    let all: BTreeSet<&[u8]> = left.files.iter().flat_map(|(_, bytes)| found(bytes, &needles)).collect();
    assert!(all.len() > 300, "the search works: {}", all.len());
    quiet(&left, &needles);
}

/// The log tells what happened and names nobody: nothing of the story, and nothing of its shape.
fn quiet(left: &Left, needles: &BTreeSet<Vec<u8>>) {
    let log = &left.log;
    assert!(log.contains("delivery fails"), "there is a log: {log}");
    let people = [OWN, ALICE, BOB, "5511900009999", "5521976", "5511987", "10.1.2.3", "secret-path"];
    let said = TEXTS.iter().chain(&NAMES).chain(&people).copied();
    for word in said.chain(left.secrets.iter().map(String::as_str)) {
        assert!(!log.contains(word), "{word:?} stands in the log:\n{log}");
    }
    for word in TEXTS.iter().chain(&NAMES).flat_map(|text| text.split(' ')).filter(|word| word.len() > 5) {
        assert!(!log.contains(word), "{word:?} stands in the log:\n{log}");
    }
    for needle in needles {
        for form in [hex::encode(needle), hex::encode_upper(needle), STANDARD.encode(needle)] {
            assert!(!log.contains(&form), "{form} stands in the log:\n{log}");
        }
        // A word without a digit is one of the program's own, such as the kind of an event; those written by people are above.
        if let Ok(text) = std::str::from_utf8(needle)
            && text.bytes().any(|byte| byte.is_ascii_digit())
        {
            assert!(!log.contains(text), "{text:?} stands in the log:\n{log}");
        }
    }
    // Numbers and identities are digits, keys hex or base64: none of either length occurs. Times have six digits at most.
    assert_eq!(runs(log, 8, |c| c.is_ascii_digit()), Vec::<&str>::new(), "{log}");
    assert_eq!(
        runs(log, 33, |c| c.is_ascii_alphanumeric() || "+/=".contains(c)),
        Vec::<&str>::new(),
        "{log}"
    );
}
