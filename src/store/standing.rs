//! What WhatsApp lets the account do, as it was last told: reach-out time lock, cap on new chats, bans; and the sends that
//! are held back because of it (protocol 06, 2.2 to 2.8).

use rusqlite::{OptionalExtension as _, params};

use super::{Error, Tx, queue::Outgoing, sql, unsql};
use crate::{clock::Millis, wire::Jid};

/// Nobody may be written to who has not written first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReachoutLock {
    /// WhatsApp's word: `DEFAULT`, `WEB_COMPANION_ONLY`, `RESTRICT_ALL_COMPANIONS`, `BIZ_QUALITY` …
    pub kind: String,
    /// It ends then, unless WhatsApp says otherwise.
    pub until: Millis,
}

/// How many chats may be started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewChatCap {
    /// WhatsApp's word: `NONE`, `FIRST_WARNING`, `SECOND_WARNING`, `CAPPED`.
    pub status: String,
    /// Chats of this cycle.
    pub total: Option<u64>,
    /// Of them started.
    pub used: Option<u64>,
    /// The cycle's end.
    pub until: Option<Millis>,
}

impl NewChatCap {
    /// No chat may be started any more.
    pub fn reached(&self) -> bool {
        self.status == "CAPPED"
    }

    /// Chats that may still be started in this cycle; `None`: as many as one likes, or nobody knows.
    pub fn left(&self) -> Option<u64> {
        let total = self.total.filter(|total| *total > 0 || self.reached())?;
        Some(total.saturating_sub(self.used.unwrap_or(0)))
    }
}

/// A ban that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemporaryBan {
    /// Why, as WhatsApp numbers it: 101 too many messages to strangers, 102 blocked by too many …
    pub code: u16,
    /// No connection before then.
    pub until: Millis,
}

/// What is known of the account's standing. All absent: good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Of first contacts.
    pub lock: Option<ReachoutLock>,
    /// Of first contacts, too.
    pub cap: Option<NewChatCap>,
    /// Of everything, for a while.
    pub ban: Option<TemporaryBan>,
    /// Of everything, for good: the reason with which the login was refused (403 locked, 406 banned).
    pub shut: Option<u16>,
}

/// The gravest of what is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// `account_locked`, `banned`, `temporarily_banned`, `reachout_timelock` or `new_chat_cap`.
    pub reason: &'static str,
    /// WhatsApp's own word or number for it.
    pub kind: Option<String>,
    /// It ends then; `None`: nobody knows.
    pub until: Option<Millis>,
}

impl Standing {
    /// What is not allowed, if anything.
    pub fn restriction(&self) -> Option<Restriction> {
        if let Some(code) = self.shut {
            let reason = if code == 403 { "account_locked" } else { "banned" };
            return Some(Restriction { reason, kind: Some(code.to_string()), until: None });
        }
        if let Some(TemporaryBan { code, until }) = self.ban {
            let kind = Some(code.to_string());
            return Some(Restriction { reason: "temporarily_banned", kind, until: Some(until) });
        }
        if let Some(ReachoutLock { kind, until }) = &self.lock {
            let kind = Some(kind.clone());
            return Some(Restriction { reason: "reachout_timelock", kind, until: Some(*until) });
        }
        let cap = self.cap.as_ref().filter(|cap| cap.reached())?;
        Some(Restriction { reason: "new_chat_cap", kind: Some(cap.status.clone()), until: cap.until })
    }

    /// Whether people who never wrote may not be written to.
    pub fn holds_first_contacts(&self) -> bool {
        self.lock.is_some() || self.cap.as_ref().is_some_and(NewChatCap::reached)
    }

    /// When WhatsApp is to be asked again whether first contacts are allowed.
    pub fn ends(&self) -> Option<Millis> {
        let lock = self.lock.as_ref().map(|lock| lock.until);
        let cap = self.cap.as_ref().filter(|cap| cap.reached()).and_then(|cap| cap.until);
        [lock, cap].into_iter().flatten().min()
    }
}

/// A send that was refused, and is to be written again or has been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retried {
    /// Its place in the line.
    pub seq: i64,
    /// As the line names whom it is for.
    pub recipient: String,
    /// To be written now: nothing holds it back, and it is not under way.
    pub due: bool,
}

/// Access to the account's standing.
pub struct StandingTable<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// What WhatsApp lets the account do.
    pub fn standing(&self) -> StandingTable<'_> {
        StandingTable(self)
    }
}

impl StandingTable<'_> {
    /// As it was last told.
    pub fn load(&self) -> Result<Standing, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "SELECT lock_kind, lock_until, cap_status, cap_total, cap_used, cap_until, ban_code, ban_until, shut
             FROM standing",
        )?;
        let found = statement.query_row([], |row| {
            let number = |at| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at)?.map(unsql));
            let lock = match (row.get::<_, Option<String>>(0)?, number(1)?) {
                (Some(kind), Some(until)) => Some(ReachoutLock { kind, until: Millis(until) }),
                _ => None,
            };
            let (total, used, until) = (number(3)?, number(4)?, number(5)?.map(Millis));
            let cap =
                row.get::<_, Option<String>>(2)?.map(|status| NewChatCap { status, total, used, until });
            let ban = match (row.get(6)?, number(7)?) {
                (Some(code), Some(until)) => Some(TemporaryBan { code, until: Millis(until) }),
                _ => None,
            };
            Ok(Standing { lock, cap, ban, shut: row.get(8)? })
        });
        Ok(found.optional()?.unwrap_or_default())
    }

    /// Keeps it.
    pub fn save(&self, standing: &Standing) -> Result<(), Error> {
        let Standing { lock, cap, ban, shut } = standing;
        let cap = cap.as_ref();
        self.0
            .conn()
            .prepare_cached(
                "INSERT OR REPLACE INTO standing
                 (id, lock_kind, lock_until, cap_status, cap_total, cap_used, cap_until, ban_code, ban_until, shut)
                 VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                lock.as_ref().map(|lock| &lock.kind),
                lock.as_ref().map(|lock| sql(lock.until.0)),
                cap.map(|cap| &cap.status),
                cap.and_then(|cap| cap.total).map(sql),
                cap.and_then(|cap| cap.used).map(sql),
                cap.and_then(|cap| cap.until).map(|until| sql(until.0)),
                ban.map(|ban| ban.code),
                ban.map(|ban| sql(ban.until.0)),
                shut,
            ])?;
        Ok(())
    }

    /// Sends to these names, of one chat, wait until first contacts are allowed.
    pub fn hold(&self, names: &[String]) -> Result<(), Error> {
        let mut hold = self.0.conn().prepare_cached(
            "UPDATE outgoing SET held = 1 WHERE recipient = ?1 AND stanza IS NULL AND held = 0",
        )?;
        for name in names {
            hold.execute([name])?;
        }
        Ok(())
    }

    /// WhatsApp refused this send: it waits for what WhatsApp says of the account.
    pub fn suspect(&self, seq: i64, refusal: u16) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE outgoing SET stanza = NULL, held = 3, refusal = ?2, refusals = refusals + 1 WHERE seq = ?1")?
            .execute(params![seq, refusal])?;
        Ok(())
    }

    /// Sends that were refused with this code and wait to be judged.
    pub fn suspects(&self, refusal: u16) -> Result<Vec<Outgoing>, Error> {
        self.0.queue().held_with("held = 3 AND refusal = ?1", refusal)
    }

    /// Whether any send waits to be judged.
    pub fn suspecting(&self) -> Result<bool, Error> {
        let mut any =
            self.0.conn().prepare_cached("SELECT EXISTS (SELECT 1 FROM outgoing WHERE held = 3)")?;
        Ok(any.query_row([], |row| row.get(0))?)
    }

    /// It was the account that is restricted: what was refused waits like the rest.
    pub fn keep_suspects(&self, refusal: u16) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE outgoing SET held = 1 WHERE held = 3 AND refusal = ?1")?
            .execute([refusal])?;
        Ok(())
    }

    /// First contacts are allowed: what waited for that goes on.
    pub fn release(&self) -> Result<(), Error> {
        self.0.conn().prepare_cached("UPDATE outgoing SET held = 0 WHERE held = 1")?.execute([])?;
        Ok(())
    }

    /// What waited and was never refused goes on; whoever still must wait is held back again.
    pub fn release_unrefused(&self) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE outgoing SET held = 0 WHERE held = 1 AND refusals = 0")?
            .execute([])?;
        Ok(())
    }

    /// Nothing is held back any more, for whatever reason it was.
    pub fn release_all(&self) -> Result<(), Error> {
        self.0.conn().prepare_cached("UPDATE outgoing SET held = 0 WHERE held > 0")?.execute([])?;
        Ok(())
    }

    /// Somebody wrote, or trusts the account now: what waits for them goes on.
    pub fn release_to(&self, person: &Jid) -> Result<(), Error> {
        let person = person.bare();
        let other = self.0.people().other_name(&person)?;
        let mut release =
            self.0.conn().prepare_cached("UPDATE outgoing SET held = 0 WHERE held = 1 AND recipient = ?1")?;
        for name in std::iter::once(person).chain(other) {
            release.execute([name.to_wire()])?;
        }
        Ok(())
    }

    /// This send is encrypted and written again at that time.
    pub fn put_off(&self, seq: i64, until: Millis) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "UPDATE outgoing SET stanza = NULL, held = 2, again_at = ?2, refusals = refusals + 1 WHERE seq = ?1",
            )?
            .execute(params![seq, sql(until.0)])?;
        Ok(())
    }

    /// Nothing is put off beyond `latest`: what is, was before the clock was set back.
    pub fn pull_in(&self, latest: Millis) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached("UPDATE outgoing SET again_at = ?1 WHERE held = 2 AND again_at > ?1")?
            .execute([sql(latest.0)])?;
        Ok(())
    }

    /// How often a send was refused and written again.
    pub fn refusals(&self, seq: i64) -> Result<u32, Error> {
        let mut statement = self.0.conn().prepare_cached("SELECT refusals FROM outgoing WHERE seq = ?1")?;
        Ok(statement.query_row([seq], |row| row.get(0)).optional()?.unwrap_or(0))
    }

    /// What was put off until now goes on. When the next one does.
    pub fn release_due(&self, now: Millis) -> Result<Option<Millis>, Error> {
        let conn = self.0.conn();
        conn.prepare_cached("UPDATE outgoing SET held = 0 WHERE held = 2 AND again_at <= ?1")?
            .execute([sql(now.0)])?;
        let mut next = conn.prepare_cached("SELECT MIN(again_at) FROM outgoing WHERE held = 2")?;
        Ok(next.query_row([], |row| row.get::<_, Option<i64>>(0))?.map(|at| Millis(unsql(at))))
    }

    /// Sends that were refused and are not given up. What else is for the same people waits behind them, so that it is
    /// told of each whether it is its turn.
    pub fn retried(&self) -> Result<Vec<Retried>, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "SELECT seq, recipient, held = 0 AND stanza IS NULL FROM outgoing WHERE refusals > 0",
        )?;
        let retried = |row: &rusqlite::Row<'_>| {
            Ok(Retried { seq: row.get(0)?, recipient: row.get(1)?, due: row.get(2)? })
        };
        Ok(statement.query_map([], retried)?.collect::<Result<_, _>>()?)
    }

    /// Sends that wait until first contacts are allowed, and since when the oldest does.
    pub fn held(&self) -> Result<super::health::Waiting, Error> {
        let mut statement =
            self.0.conn().prepare_cached("SELECT COUNT(*), MIN(at) FROM outgoing WHERE held IN (1, 3)")?;
        Ok(statement.query_row([], |row| {
            let oldest = row.get::<_, Option<i64>>(1)?.map(|at| Millis(unsql(at)));
            Ok(super::health::Waiting { rows: unsql(row.get(0)?), oldest })
        })?)
    }
}
