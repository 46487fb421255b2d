//! `wazap run`, `wazap doctor`: lines, signals, exit codes, the lock. The WhatsApp server is one that nobody answers at.

use std::{path::Path, time::Instant};

use crate::program::{Running, call};

const NOWHERE: &str = "ws://127.0.0.1:1/ws/chat";

fn run(folder: &Path, more: &[&str]) -> Running {
    let arguments = ["run", "--listen", "127.0.0.1:0", "--server", NOWHERE, "--log", "error"];
    Running::start(folder, &[&arguments, more].concat())
}

fn get(url: &str, token: &str) -> (u16, serde_json::Value) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(url).header("authorization", format!("Bearer {token}")).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    })
}

#[test]
fn the_first_start_prints_a_token_and_the_second_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let running = run(folder.path(), &[]);
    let token = running.line_after("token ");
    let url = running.line_after("listening on ");
    assert_eq!(running.line(), "ready");
    assert_eq!(get(&format!("{url}/health"), "").0, 200);
    let (status, body) = get(&format!("{url}/status"), &token);
    assert_eq!((status, &body["success"], &body["phone"]), (200, &true.into(), &serde_json::Value::Null));
    assert_eq!(get(&format!("{url}/status"), "sk_wrong").0, 401);
    running.signal("TERM");
    assert_eq!(running.end(), (Some(0), vec![]));

    let again = run(folder.path(), &[]);
    let url = again.line_after("listening on ");
    assert_eq!(get(&format!("{url}/status"), &token).0, 200);
}

#[test]
fn a_token_brought_along_makes_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let running = run(folder.path(), &["--token", "sk_brought"]);
    let url = running.line_after("listening on ");
    assert_eq!(get(&format!("{url}/status"), "sk_brought").0, 200);
    assert_eq!(call(folder.path(), &["token", "list"]).out, "");
}

#[test]
fn tokens_made_and_revoked_beside_a_running_instance_count_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let running = run(folder.path(), &["--rate-limit", "off"]);
    running.line_after("token ");
    let url = format!("{}/status", running.line_after("listening on "));
    let created = call(folder.path(), &["token", "create", "--scope", "read"]);
    let token = created.out.trim().strip_prefix("token ").unwrap();
    assert_eq!(get(&url, token).0, 200);
    assert_eq!(call(folder.path(), &["token", "revoke", "2"]).code, Some(0));
    assert_eq!(get(&url, token).0, 401);
}

#[test]
fn sigint_ends_it_too_and_in_time_while_a_stream_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let running = run(folder.path(), &["--token", "sk_brought"]);
    let url = running.line_after("listening on ");
    assert_eq!(running.line(), "ready");
    let reader = std::thread::spawn(move || {
        // Ends when the server ends the poll, long before the minute is over.
        get(&format!("{url}/events?after=1000&wait=60"), "sk_brought").0
    });
    let started = Instant::now();
    running.signal("INT");
    assert_eq!(running.end().0, Some(0));
    assert!(started.elapsed().as_secs() < 5);
    // Refused if it came too late, answered if not; but not left hanging.
    let _ = reader.join();
}

#[test]
fn a_second_process_on_the_same_folder_is_exit_code_3() {
    let folder = tempfile::tempdir().unwrap();
    let running = run(folder.path(), &[]);
    running.line_after("token ");
    let second = call(folder.path(), &["run", "--listen", "127.0.0.1:0", "--server", NOWHERE]);
    let line = second.complaint(3);
    assert!(line.contains("in use") && line.contains("--data"), "{line}");
    let doctor = call(folder.path(), &["doctor", "--server", NOWHERE]);
    assert!(doctor.out.contains("in use by a running instance"), "{}", doctor.out);
}

#[test]
fn a_damaged_database_is_exit_code_3() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/instance.db"), vec![b'x'; 8192]).unwrap();
    let outcome = call(folder.path(), &["run", "--listen", "127.0.0.1:0", "--server", NOWHERE]);
    let line = outcome.complaint(3);
    assert!(line.contains("damaged") && line.contains("backup"), "{line}");
    let doctor = call(folder.path(), &["doctor", "--server", NOWHERE]);
    assert_eq!(doctor.code, Some(1));
    assert!(doctor.out.lines().any(|line| line.starts_with("FAIL  database integrity: ")), "{}", doctor.out);
}

#[test]
fn an_address_in_use_is_said_by_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let arguments = ["run", "--listen", &address, "--server", NOWHERE, "--token", "sk_brought"];
    let outcome = call(folder.path(), &arguments);
    assert!(outcome.complaint(2).contains(&format!("listen: {address} cannot be used: ")));
}

#[test]
fn the_doctor_says_a_line_each_and_fails_if_one_fails() {
    let folder = tempfile::tempdir().unwrap();
    let doctor =
        call(folder.path(), &["doctor", "--server", NOWHERE, "--platform-url", "http://127.0.0.1:1"]);
    assert_eq!((doctor.code, doctor.err.as_str()), (Some(1), ""));
    let lines: Vec<_> = doctor.out.lines().collect();
    assert!(lines[0].starts_with("ok    configuration"));
    assert!(lines[1].starts_with("ok    data folder: ./data does not exist yet"));
    assert!(lines[2].starts_with("FAIL  WhatsApp server: ws://127.0.0.1:1/ws/chat: "));
    assert!(lines[3].starts_with("FAIL  platform: http://127.0.0.1:1: "));
    assert!(!folder.path().join("data").exists(), "looking changes nothing");

    let wrong = call(folder.path(), &["doctor", "--listen", "nowhere"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.out.starts_with("FAIL  configuration: setting listen (flag --listen)"));
}

#[cfg(unix)]
#[test]
fn the_doctor_notices_a_folder_that_others_may_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    call(folder.path(), &["token", "create"]);
    let doctor = |folder: &Path| call(folder, &["doctor", "--server", NOWHERE]).out;
    assert!(doctor(folder.path()).contains("ok    permissions: the folder has mode 0700"));
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path().join("data"), open).unwrap();
    assert!(
        doctor(folder.path()).contains("FAIL  permissions: the folder has mode 0755; run chmod 700 ./data")
    );
}

#[test]
fn an_address_that_others_reach_needs_a_token_that_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let open = ["run", "--listen", "0.0.0.0:0", "--server", NOWHERE, "--log", "error"];
    // The first start makes one.
    let running = Running::start(folder.path(), &open);
    running.line_after("token ");
    running.line_after("listening on ");
    drop(running);
    assert_eq!(call(folder.path(), &["token", "revoke", "1"]).code, Some(0));
    for address in ["0.0.0.0:0", "[::]:0"] {
        let refused =
            call(folder.path(), &["run", "--listen", address, "--server", NOWHERE, "--log", "error"]);
        let line = refused.complaint(2);
        assert!(
            line.starts_with(&format!("listen: {address} can be reached from outside, and no token is good")),
            "{line}"
        );
        assert!(line.contains("wazap token create") && line.contains("--token"), "{line}");
    }
    // On loopback, and with a token brought along, it starts.
    drop(run(folder.path(), &[]).line_after("listening on "));
    let brought =
        Running::start(folder.path(), &[&open[..], &["--token", "sk_brought_by_the_operator"]].concat());
    brought.line_after("listening on ");
    drop(brought);
    assert_eq!(call(folder.path(), &["token", "create"]).code, Some(0));
    Running::start(folder.path(), &open).line_after("listening on ");
}
