//! Holds the table of rooms: a room uses only rooms above it. Reads `use crate::…` and `crate::…` in the sources.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot go on ends here; helpers are the story's own"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Room, and what it may use besides itself.
const ROOMS: [(&str, &[&str]); 18] = [
    ("clock", &[]),
    ("qr", &[]),
    ("proto", &[]),
    ("net", &[]),
    ("crypto", &["clock", "proto"]),
    ("media", &["clock", "proto", "crypto"]),
    ("wire", &["clock", "proto", "crypto"]),
    ("stanza", &["clock", "proto", "crypto", "wire"]),
    ("store", &["clock", "proto", "crypto", "wire"]),
    ("account", &["clock", "qr", "proto", "crypto", "wire", "stanza", "store"]),
    ("webhook", &["clock", "store", "net"]),
    ("config", &["clock", "net"]),
    (
        "daemon",
        &[
            "clock", "media", "proto", "crypto", "wire", "stanza", "store", "account", "net", "webhook",
            "config",
        ],
    ),
    ("api", &["clock", "qr", "media", "wire", "store", "account", "net", "daemon"]),
    ("sandbox", &["clock", "proto", "crypto", "wire", "stanza", "net"]),
    ("demo", &["account", "daemon", "sandbox", "cli"]),
    (
        "run",
        &[
            "media", "clock", "qr", "store", "account", "net", "webhook", "config", "daemon", "api", "demo",
            "cli",
        ],
    ),
    ("cli", &["clock", "config", "store", "net", "sandbox", "run"]),
];

/// Rooms in which nothing awaits, sleeps, spawns, opens a socket or reads a clock. The store's own threads are its own.
const PURE: [&str; 6] = ["crypto", "media", "wire", "stanza", "account", "qr"];
const IMPURE: [&str; 6] =
    [".await", "tokio::spawn", "std::thread", "Instant::now", "Millis::now(", "std::net::TcpStream"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source of the library, with its room.
fn rooms() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    found.sort();
    found
        .into_iter()
        .filter(|path| !path.ends_with("src/main.rs") && !path.ends_with("src/lib.rs"))
        .map(|path| {
            let inside = path.strip_prefix(&root).unwrap();
            let first = inside.iter().next().unwrap().to_str().unwrap();
            let room = first.strip_suffix(".rs").unwrap_or(first).to_owned();
            let text = fs::read_to_string(&path).unwrap();
            (room, path, text)
        })
        .collect()
}

/// Code without its comments, whose links may name any room, and without what only tests see.
fn code(path: &Path, text: &str) -> String {
    let of_tests = path.iter().any(|part| part == "tests") || path.ends_with("tests.rs");
    if of_tests {
        return String::new();
    }
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let text = lines.collect::<Vec<_>>().join("\n");
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
}

/// First names after `crate::`, also within `use crate::{…}`.
fn used(code: &str) -> BTreeSet<String> {
    let name = |text: &str| {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let mut used = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let Some(group) = after.strip_prefix('{') else {
            used.insert(name(after));
            continue;
        };
        let (mut depth, mut start) = (0, 0);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    used.insert(name(&group[start..at]));
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    used.insert(name(&group[start..at]));
                    start = at + 1;
                }
                _ => {}
            }
        }
    }
    used.remove("");
    used
}

#[test]
fn a_room_uses_only_rooms_above_it() {
    let mut seen = BTreeSet::new();
    for (room, path, text) in rooms() {
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            panic!("{} is in no room of the table", path.display());
        };
        seen.insert(room.clone());
        for other in used(&code(&path, &text)) {
            let known = ROOMS.iter().any(|(name, _)| *name == other);
            assert!(
                !known || other == room || allowed.contains(&other.as_str()),
                "{}: {room} must not use {other}",
                path.display()
            );
        }
    }
    assert_eq!(seen.len(), ROOMS.len(), "the table names a room that is not there");
}

#[test]
fn the_core_is_pure() {
    for (room, path, text) in rooms().into_iter().filter(|(room, ..)| PURE.contains(&room.as_str())) {
        let code = code(&path, &text);
        for impure in IMPURE {
            assert!(!code.contains(impure), "{}: {room} must not use {impure}", path.display());
        }
    }
}

#[test]
fn sql_stays_in_the_store() {
    for (room, path, text) in rooms().into_iter().filter(|(room, ..)| room != "store") {
        assert!(!code(&path, &text).contains("rusqlite"), "{}: {room} must not use rusqlite", path.display());
    }
}

#[test]
fn the_reader_of_imports_reads_imports() {
    let code = "use crate::clock::Millis;\nuse crate::{\n    account::{Link, crypto_not},\n    store,\n};\nfn f() { crate::net::x() }";
    let expected = ["account", "clock", "net", "store"].map(str::to_owned);
    assert_eq!(used(code).into_iter().collect::<Vec<_>>(), expected);
}

/// A hook may name any kind of event that there is, and the list of them is the one place where a new one could be missing.
#[test]
fn every_kind_of_event_can_be_named_by_a_hook() {
    let known = wazap::store::hooks::KINDS;
    let mut used = BTreeSet::new();
    for (room, path, text) in rooms() {
        if room != "account" {
            continue;
        }
        // Kinds are written out where they are reported: `"message.received"`.
        for word in text.split('"').skip(1).step_by(2) {
            let kind = word.split_once('.').is_some_and(|(family, what)| {
                ["message", "chat", "contact", "group", "instance", "poll", "event"].contains(&family)
                    && !what.is_empty()
                    && what.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            });
            if kind {
                assert!(known.contains(&word), "{}: {word}", path.display());
                used.insert(word.to_owned());
            }
        }
    }
    assert!(used.len() > 15, "kinds are found where they are reported: {used:?}");
}
