//! Full text over what messages say.

use rusqlite::params;

use super::{
    Error, Tx,
    messages::{MESSAGE, Message, SHOWN, message},
    sql, unsql,
};

/// Access to the index.
pub struct Search<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// Full text over messages.
    pub fn search(&self) -> Search<'_> {
        Search(self)
    }
}

impl Search<'_> {
    /// What a message says from now on; `None`: nothing.
    pub fn put(&self, message: i64, text: Option<&str>) -> Result<(), Error> {
        let conn = self.0.conn();
        match text.filter(|text| !text.is_empty()) {
            Some(text) => conn
                .prepare_cached("INSERT OR REPLACE INTO message_text (rowid, text) VALUES (?1, ?2)")?
                .execute(params![message, text])?,
            None => conn.prepare_cached("DELETE FROM message_text WHERE rowid = ?1")?.execute([message])?,
        };
        Ok(())
    }

    /// Messages that have every word of `words`, the last one as a beginning, newest first; and how many there are.
    pub fn find(
        &self,
        words: &str,
        chat: Option<i64>,
        limit: u32,
        skip: u64,
    ) -> Result<(Vec<Message>, u64), Error> {
        let Some(query) = query(words) else { return Ok((Vec::new(), 0)) };
        let matching = format!(
            "id IN (SELECT rowid FROM message_text WHERE message_text MATCH ?1) AND (?2 IS NULL OR chat = ?2) AND {SHOWN}"
        );
        let conn = self.0.conn();
        let total = conn
            .prepare_cached(&format!("SELECT count(*) FROM message WHERE {matching}"))?
            .query_row(params![query, chat], |row| row.get(0))?;
        let mut statement = conn.prepare_cached(&format!(
            "{MESSAGE} WHERE {matching} ORDER BY at DESC, id DESC LIMIT ?3 OFFSET ?4"
        ))?;
        let found = statement.query_map(params![query, chat, limit, sql(skip)], message)?;
        Ok((found.collect::<Result<_, _>>()?, unsql(total)))
    }
}

/// Words as the index's query language has them: quoted, so that nothing in them is an operator.
fn query(words: &str) -> Option<String> {
    let quoted: Vec<String> =
        words.split_whitespace().map(|word| format!("\"{}\"", word.replace('"', "\"\""))).collect();
    (!quoted.is_empty()).then(|| format!("{}*", quoted.join(" ")))
}
