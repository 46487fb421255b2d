//! The key of a database: what is in the files with it and without, and what a missing, a wrong and a new one lead to.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use wazap::{
    clock::Millis,
    store::{Error, Key, Store, events::NewEvent},
};

const NOW: Millis = Millis(1_767_115_800_000);
const WORD: &str = "a word that nobody else would write";

/// Whether any file of the folder holds the bytes.
fn holds(folder: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

async fn say(store: &Store, word: &str) {
    let event = NewEvent { kind: "message.received", lane: None, data: word.to_owned(), platform: None };
    store.write(move |tx| tx.events().push(&event, NOW)).await.unwrap();
}

async fn said(store: &Store) -> Vec<String> {
    let page = store.read(|tx| tx.events().read_after(0, 1000, &[])).await.unwrap();
    page.events.into_iter().map(|event| event.data).collect()
}

#[tokio::test]
async fn with_a_key_nothing_is_readable_in_database_log_and_shared_memory() {
    let hex = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
    for (key, readable) in
        [(None, true), (Some(Key::new("correct horse")), false), (Some(Key::new(hex)), false)]
    {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_with(folder.path(), key.as_ref()).unwrap();
        for n in 0..200 {
            say(&store, &format!("{WORD} {n}")).await;
        }
        // While it runs, the write-ahead log holds what the database does not yet.
        assert!(std::fs::metadata(folder.path().join("instance.db-wal")).unwrap().len() > 100_000);
        assert_eq!(holds(folder.path(), WORD.as_bytes()), readable);
        assert_eq!(holds(folder.path(), b"message.received"), readable);
        assert_eq!(
            holds(folder.path(), b"CREATE TABLE"),
            readable,
            "not even what kinds of things there are"
        );
        store.close().await;
        assert_eq!(holds(folder.path(), WORD.as_bytes()), readable);
        let again = Store::open_with(folder.path(), key.as_ref()).unwrap();
        assert_eq!(said(&again).await.len(), 200);
        drop(again);
        for wrong in [hex.replace("00", "01").as_str(), &hex[..63], "correct horse "] {
            assert!(Store::open_with(folder.path(), Some(&Key::new(wrong))).is_err(), "{wrong}");
        }
    }
}

#[tokio::test]
async fn a_missing_a_wrong_and_a_superfluous_key_are_told_apart() {
    let key = Key::new("correct horse");
    let encrypted = tempfile::tempdir().unwrap();
    Store::open_with(encrypted.path(), Some(&key)).unwrap().close().await;
    let opened = |key: Option<&Key>| Store::open_with(encrypted.path(), key).err();
    assert!(matches!(opened(None), Some(Error::KeyMissing)));
    assert!(matches!(opened(Some(&Key::new("wrong"))), Some(Error::KeyWrong)));
    assert!(opened(Some(&key)).is_none());
    assert!(matches!(Store::open_beside(encrypted.path(), None).err(), Some(Error::KeyMissing)));
    assert!(matches!(Store::check(encrypted.path(), None).schema, Err(Error::KeyMissing)));
    assert!(Store::check(encrypted.path(), Some(&key)).passed());

    let plain = tempfile::tempdir().unwrap();
    Store::open(plain.path()).unwrap().close().await;
    assert!(matches!(Store::open_with(plain.path(), Some(&key)).err(), Some(Error::NotEncrypted)));
    assert!(Store::open(plain.path()).is_ok(), "and it stays what it was");

    // Rubbish is rubbish, whatever is given with it.
    let rubbish = tempfile::tempdir().unwrap();
    std::fs::write(rubbish.path().join("instance.db"), vec![7; 8192]).unwrap();
    assert!(matches!(Store::open(rubbish.path()).err(), Some(Error::Damaged(_))));
    assert!(matches!(Store::open_with(rubbish.path(), Some(&key)).err(), Some(Error::KeyWrong)));
}

#[tokio::test]
async fn a_page_that_was_tampered_with_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let key = Key::new("correct horse");
    let store = Store::open_with(folder.path(), Some(&key)).unwrap();
    for n in 0..200 {
        say(&store, &format!("{WORD} {n}")).await;
    }
    store.close().await;
    let path = folder.path().join("instance.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() - 2000;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(!Store::check(folder.path(), Some(&key)).passed());
}

#[tokio::test]
async fn a_key_is_given_changed_and_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (Key::new("correct horse"), Key::new("battery 'staple'\" -- and more"));
    let store = Store::open(folder.path()).unwrap();
    for n in 0..200 {
        say(&store, &format!("{WORD} {n}")).await;
    }
    assert!(matches!(Store::rekey(folder.path(), None, Some(&one)), Err(Error::Locked)), "it runs");
    store.close().await;

    Store::rekey(folder.path(), None, Some(&one)).unwrap();
    assert!(!holds(folder.path(), WORD.as_bytes()) && !holds(folder.path(), b"CREATE TABLE"));
    assert!(matches!(Store::rekey(folder.path(), None, Some(&other)), Err(Error::KeyMissing)));
    assert!(matches!(Store::rekey(folder.path(), Some(&other), Some(&one)), Err(Error::KeyWrong)));

    Store::rekey(folder.path(), Some(&one), Some(&other)).unwrap();
    assert!(matches!(Store::open_with(folder.path(), Some(&one)).err(), Some(Error::KeyWrong)));
    let store = Store::open_with(folder.path(), Some(&other)).unwrap();
    assert_eq!(said(&store).await.len(), 200);
    say(&store, "still written").await;
    store.close().await;

    Store::rekey(folder.path(), Some(&other), None).unwrap();
    assert!(holds(folder.path(), WORD.as_bytes()));
    assert_eq!(said(&Store::open(folder.path()).unwrap()).await.len(), 201);
    assert!(matches!(
        Store::rekey(&folder.path().join("elsewhere"), None, Some(&one)),
        Err(Error::Folder(_))
    ));
}

#[test]
fn a_key_is_not_shown() {
    assert_eq!(format!("{:?}", Key::new("correct horse")), "Key(…)");
}
