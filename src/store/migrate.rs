//! The schema, as numbered migrations: forward only, each in a transaction.
//! A file that has shipped is never changed; what is to be different goes into a new one.

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

use super::Error;

const ALL: &[M<'static>] = &[
    M::up(include_str!("migrations/0001_core.sql")),
    M::up(include_str!("migrations/0002_account.sql")),
    M::up(include_str!("migrations/0003_schedule.sql")),
    M::up(include_str!("migrations/0004_addons.sql")),
    M::up(include_str!("migrations/0005_groups.sql")),
    M::up(include_str!("migrations/0006_app_state.sql")),
    M::up(include_str!("migrations/0007_hooks.sql")),
    M::up(include_str!("migrations/0008_calls.sql")),
    M::up(include_str!("migrations/0009_trace.sql")),
    M::up(include_str!("migrations/0010_profile.sql")),
    M::up(include_str!("migrations/0011_standing.sql")),
    M::up(include_str!("migrations/0012_history.sql")),
    M::up(include_str!("migrations/0013_newsletters.sql")),
    M::up(include_str!("migrations/0014_communities.sql")),
    M::up(include_str!("migrations/0015_handled.sql")),
    M::up(include_str!("migrations/0016_untold.sql")),
    M::up(include_str!("migrations/0017_early.sql")),
    M::up(include_str!("migrations/0018_devices.sql")),
    M::up(include_str!("migrations/0019_quick_replies.sql")),
];

/// The schema version that this program makes and knows.
pub(super) const KNOWN: usize = ALL.len();

/// The version of a database; 0: empty.
pub(super) fn version(conn: &Connection) -> Result<usize, Error> {
    let found: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    usize::try_from(found).map_err(|_| Error::Damaged(format!("its schema version is {found}")))
}

/// Brings the database up to date.
pub(super) fn to_newest(conn: &mut Connection) -> Result<(), Error> {
    let found = version(conn)?;
    if found > KNOWN {
        return Err(Error::TooNew { found, known: KNOWN });
    }
    Migrations::from_slice(ALL).to_latest(conn).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => err.into(),
        other => Error::Sqlite(format!("migration failed: {other}")),
    })
}

/// Beside a running instance: its schema must be ours.
pub(super) fn same(conn: &Connection) -> Result<(), Error> {
    match version(conn)? {
        KNOWN => Ok(()),
        found if found > KNOWN => Err(Error::TooNew { found, known: KNOWN }),
        found => Err(Error::TooOld { found, known: KNOWN }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_older_schema_reaches_the_newest() {
        Migrations::from_slice(ALL).validate().unwrap();
        let schema = |conn: &Connection| {
            let mut all = conn.prepare("SELECT sql FROM sqlite_schema ORDER BY name").unwrap();
            let rows = all.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
            rows.map(Result::unwrap).collect::<Vec<_>>()
        };
        let mut fresh = Connection::open_in_memory().unwrap();
        to_newest(&mut fresh).unwrap();
        for start in 1..=KNOWN {
            let mut old = Connection::open_in_memory().unwrap();
            Migrations::from_slice(ALL).to_version(&mut old, start).unwrap();
            to_newest(&mut old).unwrap();
            assert_eq!((version(&old).unwrap(), schema(&old)), (KNOWN, schema(&fresh)));
        }
    }
}
