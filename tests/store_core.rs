//! The store itself: commits, roll-backs, panics, the lock, versions, shutdown.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use futures_util::future::{join, join_all};
use wazap::{
    clock::Millis,
    store::{Error, Store, Tx, events::NewEvent},
};

const NOW: Millis = Millis(1_767_115_800_000);

fn event(lane: &str, data: &str) -> NewEvent {
    NewEvent {
        kind: "message.received",
        lane: Some(lane.into()),
        data: data.into(),
        platform: Some(("incoming", data.into())),
    }
}

async fn push(store: &Store, data: &'static str) -> Result<u64, Error> {
    store.write(move |tx| tx.events().push(&event("chat", data), NOW)).await
}

#[tokio::test]
async fn what_is_to_follow_a_commit_happens_before_anybody_hears_of_its_events() {
    let store = Store::in_memory().unwrap();
    let heard = store.newest_event();
    let (note, noted) = std::sync::mpsc::channel();
    let failed_note = note.clone();
    let work = |tx: &mut Tx<'_>| tx.events().push(&event("chat", "1"), NOW);
    store.write_then(work, move |seq| note.send((*seq, *heard.borrow())).unwrap()).await.unwrap();
    let failing = |_: &mut Tx<'_>| Err::<u64, _>(Error::Folder("on purpose".into()));
    let failed = store.write_then(failing, move |seq| failed_note.send((*seq, 0)).unwrap()).await;
    assert!(failed.is_err());
    assert_eq!(noted.iter().collect::<Vec<_>>(), [(1, 0)]);
    assert_eq!(*store.newest_event().borrow(), 1);
}

#[tokio::test]
async fn what_a_failed_work_wrote_leaves_no_trace_and_no_gap() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let newest = store.newest_event();
    assert_eq!(push(&store, "1").await.unwrap(), 1);
    let failed: Result<(), Error> = store
        .write(|tx| {
            tx.settings().set("left", "behind")?;
            assert_eq!(tx.events().push(&event("chat", "lost"), NOW)?, 2);
            Err(Error::Folder("on purpose".into()))
        })
        .await;
    assert!(matches!(failed, Err(Error::Folder(_))));
    assert_eq!(*newest.borrow(), 1, "nobody is told of what was rolled back");
    assert_eq!(push(&store, "2").await.unwrap(), 2);
    assert_eq!(*newest.borrow(), 2);
    let (page, left) = store
        .read(|tx| Ok::<_, Error>((tx.events().read_after(0, 10, &[])?, tx.settings().get("left")?)))
        .await
        .unwrap();
    let seen: Vec<_> = page.events.iter().map(|event| (event.seq, event.data.as_str())).collect();
    assert_eq!(seen, [(1, "1"), (2, "2")]);
    assert_eq!(left, None);
}

#[tokio::test]
async fn works_that_wait_together_share_a_commit_and_fail_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (open, gate) = mpsc::channel::<()>();
    let first = store.write(move |tx| {
        gate.recv().unwrap();
        tx.events().push(&event("chat", "first"), NOW)
    });
    let burst = async {
        let works = (0..100).map(|n| {
            store.write(move |tx| {
                let seq = tx.events().push(&event("chat", "burst"), NOW)?;
                match n % 10 {
                    3 => Err(Error::Closed),
                    7 => panic!("on purpose"),
                    _ => Ok(seq),
                }
            })
        });
        // All are queued before the first may finish: each future enqueues when it is first polled.
        let works = join_all(works);
        let release = async { open.send(()).unwrap() };
        join(works, release).await.0
    };
    let before = store.commits();
    let (first, burst) = join(first, burst).await;
    assert_eq!(first.unwrap(), 1);
    let kept: Vec<u64> = burst.iter().flatten().copied().collect();
    assert_eq!(kept, (2..=81).collect::<Vec<_>>(), "eighty were kept, in order and without gaps");
    assert_eq!(burst.iter().filter(|r| matches!(r, Err(Error::Panicked))).count(), 10);
    assert!(store.commits() - before <= 2, "{} commits for 101 works", store.commits() - before);
    assert_eq!(*store.newest_event().borrow(), 81);
}

#[tokio::test]
async fn a_read_sees_one_moment_and_cannot_write() {
    for store in [Store::in_memory().unwrap(), Store::open(tempfile::tempdir().unwrap().path()).unwrap()] {
        push(&store, "1").await.unwrap();
        let wrote: Result<(), Error> = store
            .read(|tx| {
                let _ = tx.settings().set("written", "by a reader");
                Ok(())
            })
            .await;
        wrote.unwrap();
        let found = store.read(|tx| tx.settings().get("written")).await.unwrap();
        assert_eq!(found, None);
        let panicked: Result<(), Error> = store.read(|_| panic!("on purpose")).await;
        assert!(matches!(panicked, Err(Error::Panicked)));
        assert_eq!(store.read(|tx| tx.events().newest()).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn one_process_at_a_time_holds_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let store = Store::open(&data).unwrap();
    assert!(matches!(Store::open(&data), Err(Error::Locked)));
    assert!(Store::check(&data, None).in_use);
    push(&store, "kept").await.unwrap();
    let other = store.clone();
    store.close().await;
    assert!(matches!(push(&other, "late").await, Err(Error::Closed)));
    // Another handle is still there, but the folder is free.
    let again = Store::open(&data).unwrap();
    assert_eq!(*again.newest_event().borrow(), 1);
    drop(again);
    drop(other);
    assert!(!Store::check(&data, None).in_use);
    drop(Store::open(&data).unwrap());
}

#[tokio::test]
async fn dropping_the_last_handle_finishes_what_is_queued_and_folds_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (open, gate) = mpsc::channel::<()>();
    let ran = Arc::new(AtomicUsize::new(0));
    let blocked = store.write(move |_| {
        gate.recv().unwrap();
        Ok::<_, Error>(())
    });
    let works = (0..50).map(|_| {
        let ran = ran.clone();
        store.write(move |tx| {
            ran.fetch_add(1, Ordering::SeqCst);
            tx.events().push(&event("chat", "queued"), NOW)
        })
    });
    {
        // Polled once, then dropped: queued, and nobody waits for the answer.
        let all = std::pin::pin!(join(blocked, join_all(works)));
        assert!(futures_util::poll!(all).is_pending());
    }
    open.send(()).unwrap();
    drop(store);
    assert_eq!(ran.load(Ordering::SeqCst), 50);
    assert!(!folder.path().join("instance.db-wal").exists(), "the log was folded into the database");
    let again = Store::open(folder.path()).unwrap();
    assert_eq!(*again.newest_event().borrow(), 50);
}

#[tokio::test]
async fn a_work_may_hold_the_last_handle() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (held, held_too) = (store.clone(), store.clone());
    let (dropped, gone) = tokio::sync::oneshot::channel::<()>();
    let (open, gate) = mpsc::channel::<()>();
    {
        let work = std::pin::pin!(store.write(move |_| {
            gate.recv().unwrap();
            drop(held);
            drop(dropped);
            Ok::<_, Error>(())
        }));
        assert!(futures_util::poll!(work).is_pending());
    }
    drop(store);
    drop(held_too);
    open.send(()).unwrap();
    // It ends without waiting for itself.
    assert!(gone.await.is_err());
}

fn raw(folder: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.join("instance.db")).unwrap()
}

#[test]
fn a_newer_schema_is_refused_with_both_numbers() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    let known = Store::check(folder.path(), None).known_schema;
    raw(folder.path()).execute_batch("PRAGMA user_version = 9999").unwrap();
    let refused = |found: Result<Store, Error>| match found {
        Err(Error::TooNew { found: 9999, known: ours }) => ours == known,
        _ => false,
    };
    assert!(refused(Store::open(folder.path())));
    assert!(refused(Store::open_beside(folder.path(), None)));
    let check = Store::check(folder.path(), None);
    assert!(matches!(check.schema, Ok(9999)) && !check.passed());
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("instance.db");
    let damaged = b"this is not a database, whatever its name says; ".repeat(100);
    std::fs::write(&path, &damaged).unwrap();
    let Err(error) = Store::open(folder.path()) else { panic!("opened") };
    assert!(matches!(error, Error::Damaged(_)) && error.to_string().contains("backup"), "{error}");
    assert!(!Store::check(folder.path(), None).passed());
    assert_eq!(std::fs::read(&path).unwrap(), damaged);
}

#[tokio::test]
async fn the_doctor_finds_a_broken_page() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store
        .write(|tx| {
            (0..200).try_for_each(|_| tx.events().push(&event("chat", &"x".repeat(500)), NOW).map(drop))
        })
        .await
        .unwrap();
    store.close().await;
    assert!(Store::check(folder.path(), None).passed());
    let path = folder.path().join("instance.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();
    let check = Store::check(folder.path(), None);
    assert!(matches!(check.integrity, Err(Error::Damaged(_))) && !check.passed());
}

#[cfg(unix)]
#[test]
fn nobody_else_may_look_into_the_folder() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("made/here");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let store = Store::open(&folder).unwrap();
    assert_eq!(mode(&folder), 0o700);
    for file in ["instance.db", "instance.db-wal", "instance.db-shm", "instance.lock"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
    drop(store);
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let check = Store::check(&folder, None);
    assert!(!check.private && !check.passed());
    drop(Store::open(&folder).unwrap());
    assert_eq!(mode(&folder), 0o700, "an existing folder is closed too");
}
