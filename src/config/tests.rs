use std::{collections::HashMap, io::Write as _, time::Duration};

use clap::{Args as _, FromArgMatches as _};

use super::{Config, ConfigError, Layers, LogFormat, SERVER_ROOT, Settings, VARIABLES};

fn settings(flags: &[&str]) -> Settings {
    let command = Settings::augment_args(clap::Command::new("wazap"));
    let matches = command.try_get_matches_from([&["wazap"], flags].concat()).unwrap();
    Settings::from_arg_matches(&matches).unwrap()
}

fn read(flags: &[&str], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment: HashMap<_, _> = environment.iter().copied().collect();
    let settings = settings(flags);
    let layers = Layers::new(&settings, |name| environment.get(name).map(|text| (*text).to_owned()))?;
    Config::read(&layers, false)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = read(&[], &[]).unwrap();
    assert_eq!(config.data.to_str(), Some("./data"));
    assert_eq!(config.listen.to_string(), "127.0.0.1:3000");
    assert_eq!(config.server, "wss://web.whatsapp.com/ws/chat");
    assert_eq!(config.server_root, SERVER_ROOT);
    assert_eq!(config.device_name, "wazap");
    assert_eq!(config.wa_version, (2, 3000, 1_043_857_760));
    assert_eq!(config.event_retention, Duration::from_secs(7 * 86_400));
    assert_eq!(config.event_max, 1_000_000);
    assert_eq!(config.rate_limit, Some((100, Duration::from_secs(900))));
    assert_eq!((config.log.as_str(), config.log_format), ("info", LogFormat::Text));
    assert!(!config.available);
    assert!(config.token.is_none() && config.platform_url.is_none() && config.public_url.is_none());
}

#[test]
fn a_flag_beats_the_environment_beats_the_file() {
    let file = file("device-name = \"from file\"\nlisten = \"127.0.0.1:3\"\nlog = \"warn\"\nevent-max = 5\n");
    let path = file.path().to_str().unwrap();
    let config = read(
        &["--config", path, "--listen", "127.0.0.1:1"],
        &[("WAZAP_LISTEN", "127.0.0.1:2"), ("WAZAP_LOG", "debug")],
    )
    .unwrap();
    assert_eq!(config.listen.port(), 1);
    assert_eq!(config.log, "debug");
    assert_eq!(config.device_name, "from file");
    assert_eq!(config.event_max, 5);
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let file = file("presence = \"available\"");
    assert!(read(&[], &[("WAZAP_CONFIG", file.path().to_str().unwrap())]).unwrap().available);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    assert!(read(&[], &[("WAZAP_TOKEN", ""), ("WAZAP_LISTEN", "")]).is_ok());
}

#[test]
fn every_setting_has_a_flag_and_a_place_in_the_list() {
    let command = Settings::augment_args(clap::Command::new("wazap"));
    let flags: Vec<_> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
    assert_eq!(flags, VARIABLES);
    for name in VARIABLES {
        assert!(settings(&[&format!("--{name}=given")]).flag(name) == Some("given"), "{name}");
    }
}

#[test]
fn a_wrong_value_names_setting_source_and_what_is_allowed() {
    let file = file("rate-limit = \"fast\"");
    let path = file.path().to_str().unwrap();
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], String);
    let cases: [Case<'_>; 4] = [
        (&["--listen", "nowhere"], &[], "setting listen (flag --listen) is wrong: allowed is IP:PORT".into()),
        (
            &[],
            &[("WAZAP_EVENT_RETENTION", "7")],
            "setting event-retention (environment variable WAZAP_EVENT_RETENTION) is wrong: allowed is a whole".into(),
        ),
        (&["--config", path], &[], format!("setting rate-limit (file {path}) is wrong: allowed is N/SECONDS")),
        (&["--config", "/nowhere/wazap.toml"], &[], "setting config (flag --config) is wrong".into()),
    ];
    for (flags, environment, expected) in cases {
        let line = read(flags, environment).unwrap_err().to_string();
        assert!(line.starts_with(&expected), "{line}");
        assert!(!line.contains('\n'));
    }
}

#[test]
fn unknown_names_and_broken_files_are_refused() {
    let unknown = file("lisen = \"127.0.0.1:1\"");
    let line = read(&["--config", unknown.path().to_str().unwrap()], &[]).unwrap_err().to_string();
    assert!(line.starts_with("setting lisen (file "), "{line}");
    let broken = file("log = \"info\"\nlisten = = 3");
    let line = read(&["--config", broken.path().to_str().unwrap()], &[]).unwrap_err().to_string();
    assert!(line.contains("is not TOML (line 2)"), "{line}");
}

#[test]
fn each_reader_takes_what_is_allowed_and_nothing_else() {
    let good = [
        ("listen", "[::1]:0"),
        ("listen", "localhost:8080"),
        ("public-url", "https://wa.example/base/"),
        ("instance-id", "550e8400-e29b-41d4-a716-446655440000"),
        ("token", "sk_a"),
        ("server", "ws://127.0.0.1:8080/ws/chat"),
        ("proxy", "socks5://user:secret@10.0.0.1:1080"),
        ("wa-version", "2.3000.1"),
        ("event-retention", "36500d"),
        ("rate-limit", "off"),
        ("rate-limit", "1/86400"),
        ("pair-phone", "+55 (11) 91234-5678"),
        ("reject-calls", "on"),
        ("reject-calls", "off"),
        ("reject-calls", "We only write."),
        ("documents", "listed"),
        ("media-allow-private", "on"),
        ("media-allow-private", "0"),
        ("log", "info,wazap=debug"),
        ("log-format", "json"),
    ];
    for (name, text) in good {
        assert!(read(&[&format!("--{name}={text}")], &[]).is_ok(), "{name} {text}");
    }
    let bad = [
        ("data", ""),
        ("listen", "127.0.0.1"),
        ("listen", "127.0.0.1:70000"),
        ("public-url", "wa.example"),
        ("public-url", "https://wa.example/?a=b"),
        ("platform-url", "ftp://wa.example"),
        ("platform-secret", ""),
        ("instance-id", "1"),
        ("token", "abc"),
        ("token", "sk_"),
        ("token", "sk_a b"),
        ("server", "https://web.whatsapp.com"),
        ("server-ca", "/nowhere.pem"),
        ("server-root-key", "abcd"),
        ("proxy", "socks4://10.0.0.1"),
        ("device-name", " "),
        ("device-name", "a name with\na line break"),
        ("wa-version", "2.3000"),
        ("wa-version", "2.3000.+1"),
        ("wa-version", "2.3000.1.1"),
        ("presence", "yes"),
        ("event-retention", "0d"),
        ("event-retention", "d"),
        ("event-retention", "7é"),
        ("event-retention", "99999999999999999999d"),
        ("event-max", "0"),
        ("event-max", "-1"),
        ("rate-limit", "0/900"),
        ("rate-limit", "100/0"),
        ("rate-limit", "100"),
        ("pair-phone", "12345"),
        ("pair-phone", "0551199999"),
        ("pair-phone", "55119x999999"),
        ("reject-calls", " "),
        ("documents", "some"),
        ("media-allow-private", "maybe"),
        ("log", "a=b=c"),
        ("log-format", "xml"),
    ];
    for (name, text) in bad {
        assert!(read(&[&format!("--{name}={text}")], &[]).is_err(), "{name} {text:?}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let config = read(&["--token=sk_topsecret", "--platform-secret=hush"], &[]).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("topsecret") && !shown.contains("hush"));
}
