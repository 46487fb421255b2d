//! Posts of newsletters: the number that each has on the server, how often it was seen, and who reacted with what.

use rusqlite::{OptionalExtension as _, params};

use super::{Error, Tx};

/// What is known of a post beside its message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostFacts {
    /// Its number in the newsletter.
    pub server_id: u64,
    /// How often it was looked at, if that was told.
    pub views: Option<u64>,
    /// How many reacted with what.
    pub reactions: Vec<(String, u64)>,
}

/// Access to posts.
pub struct Newsletters<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// Posts of newsletters.
    pub fn newsletters(&self) -> Newsletters<'_> {
        Newsletters(self)
    }
}

/// SQLite counts to 2^63; what is larger was made up.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Newsletters<'_> {
    /// A message of this newsletter (chat) has this number.
    pub fn note(&self, message: i64, chat: i64, server_id: u64) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "INSERT OR IGNORE INTO newsletter_post (message, chat, server_id) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![message, chat, number(server_id)])?;
        Ok(())
    }

    /// The message with this number.
    pub fn message(&self, chat: i64, server_id: u64) -> Result<Option<i64>, Error> {
        let mut statement = self
            .0
            .conn()
            .prepare_cached("SELECT message FROM newsletter_post WHERE chat = ?1 AND server_id = ?2")?;
        Ok(statement.query_row(params![chat, number(server_id)], |row| row.get(0)).optional()?)
    }

    /// What is known of a post.
    pub fn facts(&self, message: i64) -> Result<Option<PostFacts>, Error> {
        let mut statement = self
            .0
            .conn()
            .prepare_cached("SELECT server_id, views, reactions FROM newsletter_post WHERE message = ?1")?;
        let facts = |row: &rusqlite::Row<'_>| {
            let number = |n: i64| u64::try_from(n).unwrap_or(0);
            let reactions: String = row.get(2)?;
            Ok(PostFacts {
                server_id: number(row.get(0)?),
                views: row.get::<_, Option<i64>>(1)?.map(number),
                reactions: serde_json::from_str(&reactions).unwrap_or_default(),
            })
        };
        Ok(statement.query_row([message], facts).optional()?)
    }

    /// New numbers; what is not told stays. `true`: something changed.
    pub fn count(
        &self,
        message: i64,
        views: Option<u64>,
        reactions: Option<&[(String, u64)]>,
    ) -> Result<bool, Error> {
        let reactions = reactions.map(|all| serde_json::to_string(all).unwrap_or_else(|_| "[]".into()));
        let changed = self
            .0
            .conn()
            .prepare_cached(
                "UPDATE newsletter_post SET views = coalesce(?2, views), reactions = coalesce(?3, reactions)
                 WHERE message = ?1 AND (views IS NOT coalesce(?2, views)
                                         OR reactions IS NOT coalesce(?3, reactions))",
            )?
            .execute(params![message, views.map(number), reactions])?;
        Ok(changed > 0)
    }
}
