//! How many durable commits does the store make per second, alone and with 64 writers at once?
//! `cargo bench --bench store [FOLDER]`: give a folder on the disk in question; the default is the temporary one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use wazap::{
    clock::Millis,
    store::{Error, Store, events::NewEvent},
};

/// Long enough for a few checkpoints of the write-ahead log.
const FOR: Duration = Duration::from_secs(3);

fn main() -> Result<(), Error> {
    let folder = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let parent = folder.map_or_else(std::env::temp_dir, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
    let runtime = runtime.map_err(|e| Error::Folder(e.to_string()))?;
    println!("writers   works/s  commits/s  works/commit  mean wait");
    for writers in [1, 8, 64, 512] {
        let folder =
            tempfile::tempdir_in(&parent).map_err(|e| Error::Folder(format!("{}: {e}", parent.display())))?;
        runtime.block_on(measure(&folder.path().join("data"), writers))?;
    }
    Ok(())
}

async fn measure(folder: &std::path::Path, writers: u32) -> Result<(), Error> {
    let store = Store::open(folder)?;
    let start = Instant::now();
    let tasks: Vec<_> =
        (0..writers).map(|writer| tokio::spawn(write(store.clone(), writer, start))).collect();
    let mut works = 0u32;
    for task in tasks {
        works += task.await.map_err(|_| Error::Panicked)??;
    }
    let seconds = start.elapsed().as_secs_f64();
    let commits = store.commits();
    let wait = seconds * 1000.0 * f64::from(writers) / f64::from(works);
    let (works, commits) = (f64::from(works), commits as f64);
    println!(
        "{writers:7} {:9.0} {:10.0} {:13.1} {wait:7.2} ms",
        works / seconds,
        commits / seconds,
        works / commits
    );
    store.close().await;
    Ok(())
}

/// One message after the other, each with its event, as receiving does.
async fn write(store: Store, writer: u32, start: Instant) -> Result<u32, Error> {
    let mut works = 0;
    while start.elapsed() < FOR {
        store
            .write(move |tx| {
                let body = format!(r#"{{"conversation":"{}"}}"#, "x".repeat(300));
                let event = NewEvent {
                    kind: "message.received",
                    lane: Some(format!("551190000{writer:04}@s.whatsapp.net")),
                    data: body.clone(),
                    platform: Some(("incoming", body)),
                };
                tx.events().push(&event, Millis(1_767_115_800_000))
            })
            .await?;
        works += 1;
    }
    Ok(works)
}
