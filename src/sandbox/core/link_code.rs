//! Linking by a code: the server passes what both ends say, the phone types.

use super::{AccountId, Conn, ConnId, ConnState, World, operate::OperateError};
use crate::{
    clock::Millis,
    crypto::{
        KeyPair, PublicKey,
        link_code::{LinkCode, LinkCodeError, WRAPPED, open_bundle},
    },
    stanza::{CompanionFinish, CompanionHello, Iq, LinkCodeNotice, LinkCodeQuery},
    wire::Node,
};

/// What came of a typed code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeOutcome {
    /// The companion has not answered yet.
    Waiting,
    /// The phone vouched for the companion.
    Linked,
    /// The companion shows another code.
    WrongCode,
}

/// A companion that shows a code.
pub(super) struct Shown {
    account: AccountId,
    wrapped: [u8; WRAPPED],
    reference: Vec<u8>,
    /// The phone's part, from the moment a code was typed until the companion has answered.
    typed: Option<Typed>,
}

struct Typed {
    attempt: u64,
    ephemeral: KeyPair,
    /// As the typed code unwraps it.
    companion: PublicKey,
}

/// `Browser (OS)`
fn is_display(text: &str) -> bool {
    let parts = text.strip_suffix(')').and_then(|text| text.split_once(" ("));
    parts.is_some_and(|(browser, os)| !browser.is_empty() && !os.is_empty())
}

impl World {
    /// A stanza about a code on a registration connection.
    pub(super) fn link_code_query(&mut self, id: ConnId, iq: &Iq, node: &Node, now: Millis) {
        let done = match LinkCodeQuery::parse(node) {
            Ok(LinkCodeQuery::Hello(hello)) => self.companion_hello(id, &hello, now),
            Ok(LinkCodeQuery::Finish(finish)) => self.companion_finish(id, &finish, now),
            Err(_) => Err("link-code query that does not parse"),
        };
        if let Err(reason) = done {
            self.journal.refuse(reason);
            self.emit(id, Iq::error(&iq.id, 400, "bad-request"), now);
        }
    }

    fn companion_hello(
        &mut self,
        id: ConnId,
        hello: &CompanionHello,
        now: Millis,
    ) -> Result<(), &'static str> {
        if !hello.jid.is_pn() || !hello.jid.is_bare() {
            return Err("pairing code for something that is no number");
        }
        if !is_display(&hello.display) || hello.platform.is_empty() {
            return Err("pairing code of an unnamed companion");
        }
        let noise = self.conns.get(&id).map(|conn| conn.noise);
        if noise != Some(hello.noise) {
            return Err("pairing code with another Noise key than the connection's");
        }
        // Anybody may ask for anybody's code; a number without an account is no misbehaviour.
        let Some(account) = self.by_pn.get(hello.jid.user()).copied() else {
            self.emit(id, Iq::error(&hello.id, 400, "bad-request"), now);
            return Ok(());
        };
        let reference = format!("2@{}", self.random_hex(16)).into_bytes();
        if let Some(Conn { state: ConnState::Pairing(pairing), .. }) = self.conns.get_mut(&id) {
            let (wrapped, reference) = (hello.wrapped, reference.clone());
            // Another code takes the place of the one before.
            pairing.code = Some(Shown { account, wrapped, reference, typed: None });
        }
        self.emit(id, CompanionHello::answer(&hello.id, &reference), now);
        Ok(())
    }

    /// The phone's user types a code. Of several companions that show one for this number the newest is meant. Names the
    /// attempt, for [`World::code_outcome`].
    pub(crate) fn type_code(
        &mut self,
        phone: AccountId,
        typed: &str,
        now: Millis,
    ) -> Result<u64, OperateError> {
        let code = LinkCode::parse(typed)
            .ok_or(OperateError::BadRequest("code: eight characters, with or without a dash"))?;
        let Self { conns, accounts, rng, .. } = self;
        let waiting = conns.iter_mut().rev().find_map(|(id, conn)| match &mut conn.state {
            ConnState::Pairing(pairing) if !conn.closing && pairing.is_open() => {
                let shown = pairing.code.as_mut().filter(|shown| shown.account == phone)?;
                Some((*id, shown))
            }
            _ => None,
        });
        let Some((conn, shown)) = waiting else { return Err(OperateError::NoSocket) };
        let Some(owner) = accounts.get(phone.0) else { return Err(OperateError::NoSuchPhone) };
        let ephemeral = KeyPair::generate(rng);
        let notice = LinkCodeNotice::PrimaryHello {
            reference: shown.reference.clone(),
            wrapped: code.wrap(&ephemeral.public, rng),
            identity: owner.phone.identity.public,
        };
        let attempt = self.next_attempt;
        self.next_attempt += 1;
        shown.typed = Some(Typed { attempt, ephemeral, companion: code.unwrap_key(&shown.wrapped) });
        self.code_outcomes.insert(phone, (attempt, CodeOutcome::Waiting));
        let id = self.server_id();
        self.emit(conn, notice.build(&id, now.secs()), now);
        self.settle(now);
        Ok(attempt)
    }

    /// Whether a companion shows a code for this phone.
    pub(crate) fn shows_code(&self, phone: AccountId) -> bool {
        self.conns.values().any(|conn| match &conn.state {
            ConnState::Pairing(pairing) => {
                !conn.closing
                    && pairing.is_open()
                    && pairing.code.as_ref().is_some_and(|c| c.account == phone)
            }
            _ => false,
        })
    }

    /// What came of an attempt; `None`: another one took its place.
    pub(crate) fn code_outcome(&self, phone: AccountId, attempt: u64) -> Option<CodeOutcome> {
        self.code_outcomes.get(&phone).filter(|(last, _)| *last == attempt).map(|(_, outcome)| *outcome)
    }

    fn companion_finish(
        &mut self,
        id: ConnId,
        finish: &CompanionFinish,
        now: Millis,
    ) -> Result<(), &'static str> {
        let Self { conns, accounts, .. } = self;
        let Some(Conn { state: ConnState::Pairing(pairing), .. }) = conns.get_mut(&id) else { return Ok(()) };
        let identity = pairing.identity();
        let Some(shown) = &mut pairing.code else { return Err("answer to a pairing code that nobody shows") };
        let account = shown.account;
        let Some(owner) = accounts.get(account.0) else { return Ok(()) };
        if finish.reference != shown.reference || finish.jid.user() != owner.pn {
            return Err("answer to another pairing code");
        }
        if finish.identity != identity {
            return Err("pairing code of another identity than the registration's");
        }
        // One answer for each time that a code is typed.
        let Some(typed) = shown.typed.take() else {
            return Err("answer to a pairing code that nobody typed");
        };
        let opened = open_bundle(
            &finish.bundle,
            &typed.ephemeral,
            &owner.phone.identity,
            &typed.companion,
            &finish.identity,
        );
        let outcome = match &opened {
            Ok(_) => CodeOutcome::Linked,
            Err(LinkCodeError::Malformed) => return Err("pairing code bundle of another size"),
            Err(_) => CodeOutcome::WrongCode,
        };
        // The server has passed it on, and cannot know what the phone makes of it.
        self.emit(id, Iq::result(&finish.id), now);
        self.code_outcomes.insert(account, (typed.attempt, outcome));
        if let Ok(secret) = opened
            && self.vouch_or_demand(id, account, true, &secret, now).is_err()
        {
            self.code_outcomes.insert(account, (typed.attempt, CodeOutcome::WrongCode));
        }
        Ok(())
    }

    /// The server tells the companion that shows a code for this phone that it is worth nothing any more.
    pub(crate) fn refresh_code(
        &mut self,
        phone: AccountId,
        by_hand: bool,
        now: Millis,
    ) -> Result<(), OperateError> {
        let shown = self.conns.iter_mut().rev().find_map(|(id, conn)| match &mut conn.state {
            ConnState::Pairing(pairing) if !conn.closing => {
                pairing.code.take_if(|shown| shown.account == phone).map(|shown| (*id, shown))
            }
            _ => None,
        });
        let Some((conn, shown)) = shown else { return Err(OperateError::NoSocket) };
        let id = self.server_id();
        let notice = LinkCodeNotice::Refresh { reference: shown.reference, by_hand };
        self.emit(conn, notice.build(&id, now.secs()), now);
        self.settle(now);
        Ok(())
    }
}
