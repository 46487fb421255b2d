//! The key of the database: `--db-key`, `--db-key-file`, `WAZAP_DB_KEY`, and `wazap rekey`.

use std::path::Path;

use crate::program::{Running, call, command, outcome};

const NOWHERE: &str = "ws://127.0.0.1:1/ws/chat";

/// What refuses to start says so at once.
fn run<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--listen", "127.0.0.1:0", "--server", NOWHERE, "--log", "error"], more].concat()
}

fn doctor(folder: &Path, more: &[&str]) -> String {
    call(folder, &[&["doctor", "--server", NOWHERE], more].concat()).out
}

#[test]
fn an_encrypted_instance_runs_with_its_key_only() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "correct horse\n").unwrap();
    let running = Running::start(folder.path(), &run(&["--db-key-file", "key"]));
    running.line_after("token ");
    // The command line works beside it, with the key.
    let list = call(folder.path(), &["token", "list", "--db-key", "correct horse"]);
    assert_eq!((list.code, list.out.lines().count()), (Some(0), 1));
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));

    let missing =
        "the database is encrypted, and no key is given: set --db-key-file, WAZAP_DB_KEY or --db-key";
    assert_eq!(call(folder.path(), &run(&[])).complaint(2), missing);
    assert_eq!(call(folder.path(), &["token", "list"]).complaint(2), missing);
    let wrong = call(folder.path(), &run(&["--db-key", "hunter2"]));
    assert!(wrong.complaint(3).starts_with("the database cannot be read with this key: "));
    assert!(!wrong.err.contains("hunter2"));
    let mut by_variable = command(folder.path(), &["token", "list"]);
    by_variable.env("WAZAP_DB_KEY", "correct horse");
    assert_eq!(outcome(by_variable).code, Some(0));

    assert!(doctor(folder.path(), &[]).contains(&format!("FAIL  database: {missing}")));
    let healthy = doctor(folder.path(), &["--db-key-file", "key"]);
    assert!(healthy.contains("ok    database: encrypted, and this is its key"), "{healthy}");
    assert!(healthy.contains("ok    database integrity"), "{healthy}");
}

#[test]
fn a_key_is_given_changed_and_taken_away_while_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(call(folder.path(), &["token", "create"]).code, Some(0));
    let superfluous = call(folder.path(), &run(&["--db-key", "one"]));
    assert_eq!(
        superfluous.complaint(2),
        "a key is given, but the database is not encrypted: encrypt it once with wazap rekey, or start without the key"
    );

    std::fs::write(folder.path().join("two"), "another key").unwrap();
    let encrypted = call(folder.path(), &["rekey", "--new-key", "one"]);
    assert_eq!(
        (encrypted.code, encrypted.out.as_str()),
        (Some(0), "the database is encrypted with the new key\n")
    );
    let changed = call(folder.path(), &["rekey", "--db-key", "one", "--new-key-file", "two"]);
    assert_eq!(changed.code, Some(0), "{changed:?}");
    assert_eq!(call(folder.path(), &["token", "list", "--db-key", "one"]).code, Some(3));
    assert_eq!(call(folder.path(), &["token", "list", "--db-key-file", "two"]).out.lines().count(), 1);
    let decrypted = call(folder.path(), &["rekey", "--db-key-file", "two", "--decrypt"]);
    assert_eq!((decrypted.code, decrypted.out.as_str()), (Some(0), "the database is not encrypted\n"));
    assert_eq!(call(folder.path(), &["token", "list"]).out.lines().count(), 1);
    let audit = call(folder.path(), &["audit"]).out;
    let actions: Vec<_> = audit.lines().filter_map(|line| line.split('\t').nth(2)).collect();
    assert_eq!(actions, ["token.create", "key.set", "key.change", "key.remove"]);

    let none = call(folder.path(), &["rekey", "--db-key", "one", "--decrypt"]);
    assert!(none.complaint(2).starts_with("the database is not encrypted, so it has no present key"));
    let running = Running::start(folder.path(), &run(&[]));
    running.line_after("listening on ");
    let beside = call(folder.path(), &["rekey", "--new-key", "one"]);
    assert!(beside.complaint(3).starts_with("the data folder is in use by another process; stop"));
}

#[test]
fn wrong_uses_of_a_key_are_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    std::fs::write(folder.path().join("long"), "x".repeat(5000)).unwrap();
    for (arguments, complaint) in [
        (run(&["--db-key", ""]), "setting db-key (flag --db-key) is wrong: allowed is a text"),
        (run(&["--db-key-file", "nowhere"]), "setting db-key-file (flag --db-key-file) is wrong: allowed is"),
        (run(&["--db-key-file", "empty"]), "setting db-key-file (flag --db-key-file) is wrong: allowed is"),
        (run(&["--db-key-file", "long"]), "setting db-key-file (flag --db-key-file) is wrong: allowed is"),
        (run(&["--db-key", "a", "--db-key-file", "long"]), "setting db-key-file"),
        (vec!["rekey"], "the following required arguments were not provided"),
        (vec!["rekey", "--new-key", "a", "--decrypt"], "the argument '--new-key <TEXT>' cannot be used with"),
        (vec!["rekey", "--new-key", ""], "setting new-key (flag --new-key) is wrong: allowed is a text"),
        (vec!["rekey", "--new-key-file", "empty"], "setting new-key-file (flag --new-key-file) is wrong"),
    ] {
        let outcome = call(folder.path(), &arguments);
        assert!(outcome.complaint(2).starts_with(complaint), "{outcome:?}");
    }
    std::fs::write(folder.path().join("key"), "a").unwrap();
    let both = call(folder.path(), &run(&["--db-key", "a", "--db-key-file", "key"]));
    assert_eq!(both.complaint(2), "settings db-key and db-key-file are both set; allowed is one of them");
    let nothing = call(folder.path(), &["rekey", "--new-key", "a"]);
    assert!(nothing.complaint(3).contains("there is no database"), "{nothing:?}");
}
