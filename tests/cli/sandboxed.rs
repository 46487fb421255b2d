//! `wazap run --sandbox` and `wazap sandbox`: the README's first command, and the simulated WhatsApp alone.

use std::path::Path;

use crate::program::{Running, call};

fn start(folder: &Path) -> Running {
    Running::start(folder, &["run", "--sandbox", "--listen", "127.0.0.1:0", "--log", "error"])
}

/// What it said up to `ready` and three curl lines.
fn said(running: &Running) -> Vec<String> {
    let mut lines = Vec::new();
    let curls = |lines: &[String]| lines.iter().filter(|line| line.starts_with("curl ")).count();
    while !(lines.iter().any(|line| line == "ready") && curls(&lines) == 3) {
        lines.push(running.line());
    }
    lines
}

#[test]
fn it_links_itself_and_finds_itself_linked_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let running = start(folder.path());
        let lines = said(&running);
        let starts = [
            "token sk_",
            "listening on http://127.0.0.1:",
            "sandbox on wss://127.0.0.1:",
            "echo contact 55",
            "paired as 55",
            "ready",
        ];
        let mut rest = lines.iter();
        for start in starts {
            assert!(rest.any(|line| line.starts_with(start)), "{start:?} in its order: {lines:?}");
        }
        running.signal("TERM");
        assert_eq!(running.end(), (Some(0), vec![]));
    }
}

#[test]
fn the_keys_of_the_sandbox_are_not_shown_to_whatsapp() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path());
    said(&running);
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    assert!(!folder.path().join("data/instance.db").exists(), "a folder of its own");
    let nowhere = "ws://127.0.0.1:1/ws/chat";
    let arguments = ["run", "--data", "data/sandbox", "--listen", "127.0.0.1:0", "--server", nowhere];
    assert!(call(folder.path(), &arguments).complaint(2).contains("linked on another server"));
}

#[test]
fn the_sandbox_alone_says_where_it_is_and_whom_to_trust() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &["sandbox", "--listen", "127.0.0.1:0", "--seed", "7"]);
    let url = running.line_after("sandbox on ");
    assert!(url.starts_with("wss://127.0.0.1:") && url.ends_with("/ws/chat"));
    let key = running.line_after("sandbox root key ");
    assert!(key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit()));
    let root = running.line_after("sandbox tls root ");
    assert!(std::fs::read_to_string(&root).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    let doctor =
        call(folder.path(), &["doctor", "--server", &url, "--server-ca", &root, "--server-root-key", &key]);
    assert_eq!(doctor.code, Some(0), "{}", doctor.out);
    let untrusted = call(folder.path(), &["doctor", "--server", &url]);
    assert_eq!(untrusted.code, Some(1));
    assert!(untrusted.out.contains("tls"), "{}", untrusted.out);
    running.signal("INT");
    assert_eq!(running.end(), (Some(0), vec![]));
}
