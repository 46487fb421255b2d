//! The user's hook: one URL, configured over the API (platform-webhooks.md §6).
use rusqlite::params;

use super::{COLUMNS, Hook, Hooks, Kind, hook};
use crate::{
    clock::Millis,
    store::{Error, sql},
};

/// The six events that a hook is told of by default, in the order of platform-webhooks.md §5.
pub const KINDS_DEFAULT: [&str; 6] = [
    "message.received",
    "message.sent",
    "message.status",
    "instance.connected",
    "instance.disconnected",
    "instance.qr",
];

/// Every kind that a hook can name: the six, those of platform-webhooks.md §4.4, and what this program tells besides.
pub const KINDS: [&str; 33] = [
    "message.received",
    "message.sent",
    "message.status",
    "instance.connected",
    "instance.disconnected",
    "instance.qr",
    "message.reaction",
    "message.edited",
    "message.deleted",
    "message.undecryptable",
    "message.pinned",
    "message.unpinned",
    "message.starred",
    "poll.vote",
    "event.response",
    "presence.updated",
    "group.updated",
    "newsletter.updated",
    "contact.updated",
    "contact.identity_resolved",
    "contact.blocked",
    "label.updated",
    "message.labeled",
    "quick_reply.updated",
    "account.updated",
    "chat.updated",
    "call.received",
    "call.ended",
    "history.progress",
    "instance.health",
    "instance.passkey",
    "account.restricted",
    "events.dropped",
];

/// Which events a user's hook is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    All,
    /// These kinds.
    Kinds(Vec<String>),
}

impl Wanted {
    pub const ALL: &str = "*";

    pub fn contains(&self, kind: &str) -> bool {
        match self {
            Self::All => true,
            Self::Kinds(kinds) => kinds.iter().any(|wanted| wanted == kind),
        }
    }

    /// As configured and shown.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::All => vec![Self::ALL],
            Self::Kinds(kinds) => kinds.iter().map(String::as_str).collect(),
        }
    }

    /// Back from a column that [`Wanted::column`] filled.
    pub(super) fn of(column: &str) -> Self {
        let kinds: Vec<String> = serde_json::from_str(column).unwrap_or_default();
        if kinds.iter().any(|kind| kind == Self::ALL) { Self::All } else { Self::Kinds(kinds) }
    }

    fn column(&self) -> String {
        serde_json::json!(self.names()).to_string()
    }
}

impl Default for Wanted {
    fn default() -> Self {
        Self::Kinds(KINDS_DEFAULT.map(str::to_owned).to_vec())
    }
}

/// What a configuration says; what it leaves open stays, or is as by default.
#[derive(Clone, Debug)]
pub struct Change {
    pub url: String,
    pub secret: Option<String>,
    pub wanted: Option<Wanted>,
    pub active: Option<bool>,
    /// The secret of a hook that had none and is given none.
    pub spare_secret: String,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Configured {
    pub hook: Hook,
    /// The spare secret was taken.
    pub generated: bool,
}

impl Hooks<'_> {
    /// The user's hook, if one is configured.
    pub fn user(&self) -> Result<Option<Hook>, Error> {
        Ok(self.list()?.into_iter().find(|hook| hook.kind == Kind::User))
    }

    /// Configures the user's hook. A new one is told what happens from now on, a changed one goes on where it was; one
    /// that is deactivated forgets what it has not had.
    pub fn set_user(&self, change: &Change, now: Millis) -> Result<Configured, Error> {
        let Change { url, secret, wanted, active, spare_secret } = change;
        let known = self.user()?;
        let kept = known.as_ref().and_then(|hook| hook.secret.clone());
        let generated = secret.is_none() && kept.is_none();
        let secret = secret.clone().or(kept).unwrap_or_else(|| spare_secret.clone());
        let wanted =
            wanted.clone().or_else(|| known.as_ref().map(|hook| hook.wanted.clone())).unwrap_or_default();
        let active = active.unwrap_or_else(|| known.as_ref().is_none_or(|hook| hook.active));
        let newest = sql(self.tx.events().newest()?);
        let id: i64 = match &known {
            None => {
                let insert = "INSERT INTO hook (kind, url, secret, active, cursor, created, updated, events)
                              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7) RETURNING id";
                let row =
                    params![Kind::User.as_str(), url, secret, active, newest, sql(now.0), wanted.column()];
                self.tx.conn().prepare_cached(insert)?.query_row(row, |row| row.get(0))?
            }
            Some(hook) => {
                // A receiver that was gone may be back; one that somebody paused stays so.
                let update = "UPDATE hook SET url = ?2, secret = ?3, active = ?4, updated = ?5, events = ?6,
                              epoch = epoch + 1, paused = NULLIF(paused, 'gone') WHERE id = ?1";
                let row = params![hook.id, url, secret, active, sql(now.0), wanted.column()];
                self.tx.conn().prepare_cached(update)?.execute(row)?;
                if !(hook.active && active) {
                    let drop_lanes = "DELETE FROM hook_lane WHERE hook = ?1";
                    self.tx.conn().prepare_cached(drop_lanes)?.execute([hook.id])?;
                    let pass = "UPDATE hook SET cursor = ?2, last_error = NULL WHERE id = ?1";
                    self.tx.conn().prepare_cached(pass)?.execute(params![hook.id, newest])?;
                }
                self.at_once(hook.id)?;
                hook.id
            }
        };
        self.tx.mark_hooks_changed();
        let select = format!("SELECT {COLUMNS} FROM hook WHERE id = ?1");
        let hook = self.tx.conn().prepare_cached(&select)?.query_row([id], hook)?;
        Ok(Configured { hook, generated })
    }

    /// Forgets the user's hook with what it has not had and what was put aside. False: there was none.
    pub fn remove_user(&self) -> Result<bool, Error> {
        let removed = self.tx.conn().prepare_cached("DELETE FROM hook WHERE kind = 'user'")?.execute([])? > 0;
        if removed {
            self.tx.mark_hooks_changed();
        }
        Ok(removed)
    }
}
