//! Wrong usage and wrong settings: exit code 2 and one line with the setting, its source and what is allowed.

use crate::program::{call, command, outcome};

#[test]
fn a_wrong_value_is_named_with_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let flag = call(folder.path(), &["run", "--listen", "nowhere"]);
    assert!(flag.complaint(2).starts_with("setting listen (flag --listen) is wrong: allowed is IP:PORT"));

    let mut by_environment = command(folder.path(), &[]);
    by_environment.env("WAZAP_RATE_LIMIT", "fast");
    let environment = outcome(by_environment);
    let expected =
        "setting rate-limit (environment variable WAZAP_RATE_LIMIT) is wrong: allowed is N/SECONDS";
    assert!(environment.complaint(2).starts_with(expected));

    std::fs::write(folder.path().join("wazap.toml"), "event-retention = \"a week\"\n").unwrap();
    let file = call(folder.path(), &["run"]);
    let expected = "setting event-retention (file ./wazap.toml) is wrong: allowed is a whole number";
    assert!(file.complaint(2).starts_with(expected));

    std::fs::write(folder.path().join("wazap.toml"), "metrics = true\n").unwrap();
    let unknown = call(folder.path(), &["run"]);
    assert!(
        unknown.complaint(2).starts_with("setting metrics (file ./wazap.toml) is unknown; allowed are data,")
    );
}

#[test]
fn secrets_are_not_repeated_when_they_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = call(folder.path(), &["run", "--token", "hunter2"]);
    assert!(!wrong.complaint(2).contains("hunter2"));
}

#[test]
fn wrong_usage_is_one_line_too() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["fly"][..],
        &["run", "--no-such-flag"],
        &["run", "--listen"],
        &["--data", "x", "run"],
        &["token"],
        &["token", "revoke"],
        &["token", "revoke", "x"],
        &["token", "create", "--scope", "everything"],
        &["token", "create", "--expires", "tomorrow"],
        &["token", "create", "--name", "two\nlines"],
        &["sandbox", "--adv-check", "maybe"],
        &["sandbox", "--listen", "0.0.0.0:0"],
        &["run", "--pair-phone", "nobody"],
        // Not there yet, and refused instead of ignored.
        &["run", "--metrics-listen", "127.0.0.1:0"],
    ] {
        call(folder.path(), arguments).complaint(2);
    }
}

#[test]
fn help_says_defaults_units_and_variables() {
    let folder = tempfile::tempdir().unwrap();
    let help = call(folder.path(), &["run", "--help"]);
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    for piece in ["[default: 127.0.0.1:3000]", "[env: WAZAP_LISTEN]", "seconds", "unit s, m, h or d"] {
        assert!(help.out.contains(piece), "{piece}");
    }
    for command in ["sandbox", "token", "doctor"] {
        assert_eq!(call(folder.path(), &[command, "--help"]).code, Some(0), "{command}");
    }
    let version = call(folder.path(), &["--version"]);
    assert_eq!(version.out, format!("wazap {}\n", env!("CARGO_PKG_VERSION")));
}
