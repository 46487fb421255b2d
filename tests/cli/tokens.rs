//! `wazap token`.

use crate::program::call;

#[test]
fn a_token_is_shown_once_listed_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let created = call(
        folder.path(),
        &["token", "create", "--name", "my bot", "--scope", "read,send", "--expires", "30d"],
    );
    assert_eq!((created.code, created.err.as_str()), (Some(0), ""));
    let token = created.out.strip_prefix("token ").unwrap().strip_suffix('\n').unwrap();
    let secret = token.strip_prefix("sk_").unwrap();
    assert!(secret.len() == 40 && secret.bytes().all(|b| b.is_ascii_alphanumeric()));

    assert_eq!(call(folder.path(), &["token", "create"]).code, Some(0));
    let list = call(folder.path(), &["token", "list"]);
    let rows: Vec<Vec<&str>> = list.out.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0][..3], ["1", "my bot", "send,read"]);
    assert_eq!(rows[1][..3], ["2", "-", "send,read,manage"]);
    assert_eq!((rows[0].len(), rows[0][4], rows[1][5]), (6, "-", "-"));
    assert!(rows[0][3].ends_with('Z') && rows[0][5] > rows[0][3]);
    assert!(!list.out.contains(secret));

    let revoked = call(folder.path(), &["token", "revoke", "1"]);
    assert_eq!((revoked.code, revoked.out.as_str()), (Some(0), ""));
    assert_eq!(call(folder.path(), &["token", "list"]).out.lines().count(), 1);
    let again = call(folder.path(), &["token", "revoke", "1"]);
    assert!(again.complaint(2).starts_with("there is no token 1;"));

    // Nowhere in the folder, only its hash.
    for file in std::fs::read_dir(folder.path().join("data")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
}

#[test]
fn the_folder_is_the_one_of_data_wherever_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("wazap.toml"), "data = \"elsewhere\"\n").unwrap();
    assert_eq!(call(folder.path(), &["token", "create"]).code, Some(0));
    assert!(folder.path().join("elsewhere/instance.db").exists());
    assert_eq!(call(folder.path(), &["token", "list", "--data", "elsewhere"]).out.lines().count(), 1);
}

#[test]
fn a_folder_that_cannot_be_used_is_exit_code_3() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let outcome = call(folder.path(), &["token", "list", "--data", "file"]);
    assert!(outcome.complaint(3).starts_with("the data folder cannot be used: file"));
}

#[test]
fn the_audit_says_who_did_what_oldest_first() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(call(folder.path(), &["token", "create", "--scope", "read"]).code, Some(0));
    assert_eq!(call(folder.path(), &["token", "create"]).code, Some(0));
    assert_eq!(call(folder.path(), &["token", "revoke", "1"]).code, Some(0));
    let audit = call(folder.path(), &["audit"]);
    let rows: Vec<Vec<&str>> = audit.out.lines().map(|line| line.split('\t').collect()).collect();
    assert!(rows[0][0].ends_with('Z'), "{rows:?}");
    let said: Vec<_> = rows.iter().map(|row| (row[1], row[2], row[3])).collect();
    assert_eq!(
        said,
        [
            ("command line", "token.create", "token 1 for read"),
            ("command line", "token.create", "token 2 for send,read,manage"),
            ("command line", "token.revoke", "token 1"),
        ]
    );
    assert_eq!(call(folder.path(), &["audit", "--last", "1"]).out.lines().count(), 1);
    call(folder.path(), &["audit", "--last", "0"]).complaint(2);
}
