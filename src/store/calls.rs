//! Incoming calls: which of them are known, and which still ring.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Error, Tx, device::jid};
use crate::{clock::Millis, wire::Jid};

/// Calls that are remembered; beyond that the oldest are forgotten.
pub const CALLS_KEPT: u32 = 10_000;

/// One incoming call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The caller's name for it.
    pub call_id: String,
    /// Who calls, bare, by LID where one is known.
    pub caller: Jid,
    /// The calling device.
    pub creator: Jid,
    /// Whom a reject is sent to.
    pub peer: Jid,
    /// With a picture.
    pub video: bool,
    /// Of many.
    pub of_group: bool,
    /// The group, where it is known.
    pub group: Option<Jid>,
    /// When it began, by the server's clock.
    pub at: Millis,
    /// It does not ring any more.
    pub over: bool,
}

/// Access to calls.
pub struct Calls<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// Incoming calls.
    pub fn calls(&self) -> Calls<'_> {
        Calls(self)
    }
}

const COLUMNS: &str = r#"call_id, caller, creator, peer, video, of_group, "group", at, over"#;

fn call(row: &Row<'_>) -> rusqlite::Result<Call> {
    Ok(Call {
        call_id: row.get(0)?,
        caller: jid(row.get(1)?)?,
        creator: jid(row.get(2)?)?,
        peer: jid(row.get(3)?)?,
        video: row.get(4)?,
        of_group: row.get(5)?,
        group: row.get::<_, Option<String>>(6)?.map(jid).transpose()?,
        at: Millis(row.get(7)?),
        over: row.get(8)?,
    })
}

impl Calls<'_> {
    /// The caller's two names; the second may have been learnt after the call began.
    fn names(&self, caller: &Jid) -> Result<[String; 2], Error> {
        let other = self.0.people().other_name(caller)?;
        Ok([caller.to_wire(), other.as_ref().unwrap_or(caller).to_wire()])
    }

    /// A call by its id and its caller, under either of its names.
    pub fn find(&self, call_id: &str, caller: &Jid) -> Result<Option<Call>, Error> {
        let query = format!("SELECT {COLUMNS} FROM call WHERE call_id = ?1 AND caller IN (?2, ?3)");
        let mut statement = self.0.conn().prepare_cached(&query)?;
        let [one, other] = self.names(caller)?;
        Ok(statement.query_row(params![call_id, one, other], call).optional()?)
    }

    /// The newest call of this id that began at or after a time and still rings.
    pub fn ringing(&self, call_id: &str, since: Millis) -> Result<Option<Call>, Error> {
        let query = format!(
            "SELECT {COLUMNS} FROM call WHERE call_id = ?1 AND over = 0 AND at >= ?2 ORDER BY at DESC LIMIT 1"
        );
        let mut statement = self.0.conn().prepare_cached(&query)?;
        Ok(statement.query_row(params![call_id, since.0], call).optional()?)
    }

    /// Remembers a call that is not known yet.
    pub fn add(&self, call: &Call) -> Result<(), Error> {
        let conn = self.0.conn();
        conn.prepare_cached(
            r#"INSERT INTO call (call_id, caller, creator, peer, video, of_group, "group", at, over)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"#,
        )?
        .execute(params![
            call.call_id,
            call.caller.to_wire(),
            call.creator.to_wire(),
            call.peer.to_wire(),
            call.video,
            call.of_group,
            call.group.as_ref().map(Jid::to_wire),
            call.at.0,
            call.over,
        ])?;
        conn.prepare_cached(
            "DELETE FROM call WHERE at < (SELECT at FROM call ORDER BY at DESC LIMIT 1 OFFSET ?1)",
        )?
        .execute([CALLS_KEPT - 1])?;
        Ok(())
    }

    /// A call does not ring any more.
    pub fn end(&self, call: &Call) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE call SET over = 1 WHERE call_id = ?1 AND caller = ?2")?
            .execute(params![call.call_id, call.caller.to_wire()])?;
        Ok(())
    }

    /// When this caller was last sent a text instead of an answer.
    pub fn told_at(&self, caller: &Jid) -> Result<Option<Millis>, Error> {
        let query = "SELECT max(told_at) FROM call WHERE caller IN (?1, ?2)";
        let mut statement = self.0.conn().prepare_cached(query)?;
        let at: Option<u64> = statement.query_row(self.names(caller)?, |row| row.get(0))?;
        Ok(at.map(Millis))
    }

    /// The caller is sent a text instead of an answer.
    pub fn told(&self, call: &Call, now: Millis) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE call SET told_at = ?3 WHERE call_id = ?1 AND caller = ?2")?
            .execute(params![call.call_id, call.caller.to_wire(), now.0])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn call(id: &str, at: u64) -> Call {
        Call {
            call_id: id.into(),
            caller: Jid::lid("123456789012345"),
            creator: Jid::lid("123456789012345").with_device(2),
            peer: Jid::lid("123456789012345"),
            video: true,
            of_group: true,
            group: Some(Jid::group("120363025246125486")),
            at: Millis(at),
            over: false,
        }
    }

    #[tokio::test]
    async fn calls_are_found_by_both_names_and_the_oldest_are_forgotten() {
        let store = Store::in_memory().unwrap();
        store
            .write(|tx| {
                let calls = tx.calls();
                let first = call("A", 1_000);
                calls.add(&first)?;
                assert_eq!(calls.find("A", &first.caller)?, Some(first.clone()));
                assert_eq!(calls.find("A", &Jid::lid("999999999999999"))?, None);
                assert_eq!(calls.ringing("A", Millis(1_000))?, Some(first.clone()));
                assert_eq!(calls.ringing("A", Millis(1_001))?, None, "it cannot ring that long");
                assert_eq!(calls.told_at(&first.caller)?, None);
                calls.told(&first, Millis(1_500))?;
                assert_eq!(calls.told_at(&first.caller)?, Some(Millis(1_500)));
                calls.end(&first)?;
                assert_eq!(calls.ringing("A", Millis(0))?, None);
                for n in 0..u64::from(CALLS_KEPT) {
                    calls.add(&call(&format!("B{n}"), 2_000 + n))?;
                }
                assert_eq!(calls.find("A", &first.caller)?, None);
                assert!(calls.find("B0", &first.caller)?.is_some());
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
    }
}
