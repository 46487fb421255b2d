//! Trusted-contact tokens: kept as they come, shown on messages to people, issued to whom the account writes; and the
//! proof that stands in where nobody has issued one (protocol 06, part 3).

use std::time::Duration;

use prost::Message as _;

use super::{
    Error, content,
    dispatch::{Account, Turn},
    link::Query,
};
use crate::{
    clock::Millis,
    crypto::nct,
    proto::{self, Conversation},
    stanza::{Iq, LONGEST_TOKEN, TokenNotice, cstoken, issue_tokens, tctoken},
    store::Tx,
    wire::{Jid, Node},
};

/// Setting: the account's NCT salt, in hex.
const SALT: &str = "account.nct_salt";
/// Setting: app state has spoken of the salt, and history counts no more.
const SALT_IN_APP_STATE: &str = "account.nct_salt_in_app_state";
/// Longest salt that is kept; no client fixes a length, and those seen are short.
const LONGEST_SALT: usize = 1024;
/// Tokens that are of no use any more go at a login, and once a day (whatsapp-rust and Baileys).
const PRUNE: Duration = Duration::from_secs(24 * 3600);

/// Where a salt was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SaltFrom {
    /// `nct_salt_sync`. Its word is the last.
    AppState,
    /// `HistorySync.nctSalt`. Of use only while app state has never spoken of it.
    History,
}

/// The salt, if one was learnt.
pub(super) fn stored_salt(tx: &Tx<'_>) -> Result<Option<Vec<u8>>, Error> {
    Ok(tx.settings().get(SALT)?.and_then(|salt| hex::decode(salt).ok()))
}

/// People: neither bots, which have numbers of their own, nor WhatsApp's announcements (Baileys' table, after
/// WhatsApp Web).
fn is_regular(person: &Jid) -> bool {
    let user = person.user();
    let digits = |rest: &str, count| rest.len() == count && rest.bytes().all(|byte| byte.is_ascii_digit());
    let bot = user.strip_prefix("1313555").is_some_and(|rest| digits(rest, 4))
        || user.strip_prefix("131655500").is_some_and(|rest| digits(rest, 2));
    person.is_user() && user != "0" && !(bot && person.is_pn())
}

impl Account {
    /// Somebody lets the account reach them.
    pub(super) fn tokens_came(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        let notice = match TokenNotice::parse(node) {
            Ok(notice) => notice,
            Err(error) => {
                tracing::warn!(%error, "a token");
                return Ok(());
            }
        };
        let person = notice.lid.unwrap_or(notice.issuer).bare();
        if !is_regular(&person) || self.is_own(&person) {
            return Ok(());
        }
        for token in notice.tokens {
            turn.tx.privacy_tokens().receive(&person, &token.bytes, token.t)?;
        }
        if self.trusted_by(&person, turn)? {
            turn.tx.standing().release_to(&person)?;
        }
        self.prune_tokens(turn)
    }

    /// What the phone says in its history of the tokens of a person, either way: it counts where it is newer.
    pub(super) fn keep_tokens(
        &self,
        person: &Jid,
        told: &Conversation,
        turn: &Turn<'_>,
    ) -> Result<(), Error> {
        if !is_regular(person) || self.is_own(person) {
            return Ok(());
        }
        let tokens = turn.tx.privacy_tokens();
        let known = tokens.of(person)?;
        if let (Some(token), Some(at)) = (&told.tc_token, told.tc_token_timestamp)
            && (1..=LONGEST_TOKEN).contains(&token.len())
            && (known.token.is_empty() || at > known.token_at)
        {
            tokens.receive(person, token, at)?;
        }
        if let Some(at) = told.tc_token_sender_timestamp.filter(|at| *at > known.issued_at.unwrap_or(0)) {
            tokens.issued(person, at)?;
        }
        Ok(())
    }

    /// Whether a token of this person's is in force.
    pub(super) fn trusted_by(&self, person: &Jid, turn: &Turn<'_>) -> Result<bool, Error> {
        Ok(self.valid_token(person, turn)?.is_some())
    }

    fn valid_token(&self, person: &Jid, turn: &Turn<'_>) -> Result<Option<Vec<u8>>, Error> {
        let kept = turn.tx.privacy_tokens().of(person)?;
        let valid = !kept.token.is_empty() && self.props.received().holds(kept.token_at, turn.now.secs());
        Ok(valid.then_some(kept.token))
    }

    /// What a look at this person shows: the token alone, whatever is set for messages. Never for the account itself: the
    /// server does not answer that at all.
    pub(super) fn shown_token(&self, person: &Jid, turn: &Turn<'_>) -> Result<Option<Vec<u8>>, Error> {
        if !is_regular(person) || self.is_own(person) {
            return Ok(None);
        }
        self.valid_token(person, turn)
    }

    /// What a message to this person shows of being welcome.
    pub(super) fn token_for(&self, person: &Jid, turn: &Turn<'_>) -> Result<Option<Node>, Error> {
        if !is_regular(person) || self.is_own(person) {
            return Ok(None);
        }
        if self.props.on_messages()
            && let Some(token) = self.valid_token(person, turn)?
        {
            return Ok(Some(tctoken(&token)));
        }
        let Some(salt) = self.nct_salt.as_ref().filter(|_| self.props.proofs()) else { return Ok(None) };
        let lid = turn.tx.people().signal_address(&person.bare())?;
        Ok(lid.is_lid().then(|| cstoken(&nct::contact_token(salt, lid.user()))))
    }

    /// Lets a person reach the account whom it has just written to, once in a while.
    pub(super) fn issue_token(
        &mut self,
        person: &Jid,
        content: &[u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        if !is_regular(person) || self.is_own(person) {
            return Ok(());
        }
        let now = turn.now.secs();
        let last = turn.tx.privacy_tokens().of(person)?.issued_at;
        if last.is_some_and(|last| !self.props.issued().again(last, now)) {
            return Ok(());
        }
        let message = proto::Message::decode(content::inner(content)).unwrap_or_default();
        if message.protocol_message.is_some() {
            return Ok(());
        }
        self.issue_token_of(person, now, turn)
    }

    /// A person has registered anew, and knows nothing of what they were issued: the same once more, with its time.
    pub(super) fn issue_token_again(&mut self, person: &Jid, turn: &mut Turn<'_>) -> Result<(), Error> {
        let last = turn.tx.privacy_tokens().of(person)?.issued_at;
        match last.filter(|last| self.props.issued().holds(*last, turn.now.secs())) {
            Some(last) if is_regular(person) && !self.is_own(person) => {
                self.issue_token_of(person, last, turn)
            }
            _ => Ok(()),
        }
    }

    fn issue_token_of(&mut self, person: &Jid, t: u64, turn: &mut Turn<'_>) -> Result<(), Error> {
        let people = turn.tx.people();
        let key = people.signal_address(&person.bare())?;
        let to = match (self.props.issue_to_lid(), key.is_lid()) {
            (false, true) => people.pn_of(&key)?.unwrap_or_else(|| key.clone()),
            _ => key.clone(),
        };
        let Some(conn) = &mut self.conn else { return Ok(()) };
        let under_way =
            |(query, _): &(Query, Millis)| matches!(query, Query::Token(other, _) if *other == key);
        if conn.queries.values().any(under_way) {
            return Ok(());
        }
        let id = conn.query(Query::Token(key, t), turn.now);
        turn.send(&issue_tokens(&id, &to, t));
        Ok(())
    }

    /// The server has issued it, or not: then the next message tries again.
    pub(super) fn token_issued(
        &mut self,
        person: &Jid,
        t: u64,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        if let Some(refusal) = Iq::refusal(node) {
            tracing::info!(code = refusal.code, "a token was not issued");
            return Ok(());
        }
        turn.tx.privacy_tokens().issued(person, t)?;
        self.prune_tokens(turn)
    }

    pub(super) fn prune_tokens(&mut self, turn: &Turn<'_>) -> Result<(), Error> {
        if self.tokens_pruned.is_some_and(|last| turn.now.since(last) < PRUNE) {
            return Ok(());
        }
        self.tokens_pruned = Some(turn.now);
        let now = turn.now.secs();
        let (received, issued) = (self.props.received().cutoff(now), self.props.issued().cutoff(now));
        turn.tx.privacy_tokens().prune(received, issued)?;
        Ok(())
    }

    /// The salt with which the account proves to be itself, from one of its sources.
    pub(super) fn learn_nct_salt(
        &mut self,
        salt: &[u8],
        from: SaltFrom,
        turn: &Turn<'_>,
    ) -> Result<(), Error> {
        let settings = turn.tx.settings();
        if !(1..=LONGEST_SALT).contains(&salt.len()) {
            return Ok(());
        }
        match from {
            SaltFrom::AppState => settings.set(SALT_IN_APP_STATE, "1")?,
            SaltFrom::History => {
                if self.nct_salt.is_some() || settings.get(SALT_IN_APP_STATE)?.is_some() {
                    return Ok(());
                }
            }
        }
        settings.set(SALT, &hex::encode(salt))?;
        self.nct_salt = Some(salt.to_vec());
        Ok(())
    }

    /// App state says that there is no salt any more.
    pub(super) fn forget_nct_salt(&mut self, turn: &Turn<'_>) -> Result<(), Error> {
        turn.tx.settings().set(SALT_IN_APP_STATE, "1")?;
        turn.tx.settings().remove(SALT)?;
        self.nct_salt = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bots_and_announcements_are_no_people() {
        for person in ["5511999999999@s.whatsapp.net", "77@lid", "13135550000@lid", "1313555@s.whatsapp.net"]
        {
            assert!(is_regular(&person.parse().unwrap()), "{person}");
        }
        for other in [
            "13135550002@s.whatsapp.net",
            "13165550012@s.whatsapp.net",
            "0@s.whatsapp.net",
            "1@g.us",
            "status@broadcast",
            "s.whatsapp.net",
        ] {
            assert!(!is_regular(&other.parse().unwrap()), "{other}");
        }
    }
}
