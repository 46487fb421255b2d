//! Linking an account that wants a passkey besides: a phone took the QR code or the typed code, and before it vouches the
//! server has a passkey of the account sign. Whoever holds it (a browser on WhatsApp's own page, mostly) is not here, so
//! the ceremony waits for people at two places: for what the passkey signed, and for the word that a code is the same on
//! the phone. Steps and times: protocol notes 06, 1.9. All of it is on one connection and ends with it.

mod webauthn;

use std::{fmt, time::Duration};

use serde_json::{Value, json};
use zeroize::Zeroizing;

pub use webauthn::{Assertion, Flaw};

use super::{
    Answer, CodeState, Error, Status, Ticket,
    dispatch::{Account, Effect, Turn},
    link::{Phase, Query},
    pairing::MAX_IDLE_BATCHES,
    payload::PLATFORM_CHROME,
};
use crate::{
    clock::Millis,
    crypto::passkey::{Agreement, Companion, Handoff, Primary, Request},
    stanza::{Iq, PasskeyNotice, PasskeyPrologue, PasskeyQuery},
    store::events::NewEvent,
    wire::{Jid, Node},
};
use webauthn::Options;

/// So long after it began the companion still proves that it showed the code which was taken (whatsmeow, zapo).
const HANDOFF: Duration = Duration::from_secs(300);
/// For the phone's answer, and for a person to compare two codes.
const PEOPLE: Duration = Duration::from_secs(600);
/// From the last word to the phone until it vouches; also for a query, which gives up by itself before.
const MACHINES: Duration = Duration::from_secs(60);
/// Challenges that are asked for in one ceremony: after a refusal, or because nobody signed in time.
const CHALLENGES: u8 = 6;

/// Where a linking with a passkey stands.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum PasskeyState {
    /// None is wanted.
    #[default]
    None,
    /// A phone took the code, and the server is asked what is to be signed.
    Preparing,
    /// A passkey has to sign.
    Wanted {
        /// The request options as the server worded them, JSON.
        options: String,
        /// When another challenge takes the place of this one.
        expires_at: Millis,
        /// WhatsApp refused what was handed in before, with this code.
        refused: Option<u16>,
    },
    /// The server looks at what was signed.
    Checking,
    /// It was good; the phone has to answer.
    Phone {
        /// How long it is waited for.
        expires_at: Millis,
    },
    /// Somebody has to say that the phone shows this code, too.
    Confirm {
        /// `ABCD-EFGH`
        code: String,
        /// How long he is waited for.
        expires_at: Millis,
    },
    /// The phone has what it needs to vouch.
    Finishing {
        /// What it shows, should it show a code nevertheless.
        code: String,
    },
    /// It came to nothing; the way begins with another QR code.
    Failed(&'static str),
}

impl PasskeyState {
    /// As the API names it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Preparing => "preparing",
            Self::Wanted { .. } => "awaiting_assertion",
            Self::Checking => "checking",
            Self::Phone { .. } => "awaiting_phone",
            Self::Confirm { .. } => "awaiting_confirmation",
            Self::Finishing { .. } => "finishing",
            Self::Failed(_) => "failed",
        }
    }

    /// Why it came to nothing.
    pub const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Failed(reason) => Some(reason),
            _ => None,
        }
    }

    /// WhatsApp's code for what it refused.
    pub const fn refused(&self) -> Option<u16> {
        match self {
            Self::Wanted { refused, .. } => *refused,
            _ => None,
        }
    }

    /// Until when a person or the phone is waited for.
    pub const fn expires_at(&self) -> Option<Millis> {
        match self {
            Self::Wanted { expires_at, .. }
            | Self::Phone { expires_at }
            | Self::Confirm { expires_at, .. } => Some(*expires_at),
            _ => None,
        }
    }

    /// The code that the phone shows, if it shows one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Confirm { code, .. } | Self::Finishing { code } => Some(code),
            _ => None,
        }
    }

    /// The request options, while they are wanted.
    pub fn options(&self) -> Option<Value> {
        match self {
            Self::Wanted { options, .. } => serde_json::from_str(options).ok(),
            _ => None,
        }
    }

    /// All of it, as the API and the events show it.
    pub fn view(&self) -> Value {
        json!({
            "status": self.as_str(),
            "options": self.options(),
            "expires_at": self.expires_at().map(Millis::rfc3339),
            "code": self.code(),
            "reason": self.reason(),
            "whatsapp_code": self.refused(),
        })
    }

    /// The server has the word.
    pub const fn is_settling(&self) -> bool {
        matches!(self, Self::Preparing | Self::Checking)
    }
}

/// Codes and challenges stay out of logs.
impl fmt::Debug for PasskeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What callers do about it.
#[derive(Debug)]
pub enum PasskeyCommand {
    /// Hands in what a passkey signed.
    Assert(Assertion),
    /// The phone shows the same code.
    Confirm,
    /// Gives up; a new QR code is shown.
    Abandon,
}

/// Why that was not taken. Nothing is lost by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasskeyRefused {
    /// Nobody waits for it in this state.
    #[error("not awaited in this state")]
    NotAwaited,
    /// It was signed for another challenge than the one that waits.
    #[error("signed for another challenge")]
    OtherChallenge,
}

/// A question of the ceremony that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Options,
    Ref,
    Prologue,
    Nonce,
    Request,
}

enum Step {
    /// What is to be signed?
    Preparing,
    Wanted(Options),
    /// Signed; what is the prologue to be called?
    Naming(Assertion),
    /// The prologue is with the server, then with the phone.
    Begun(Companion),
    /// The phone has answered, and our nonce is on its way.
    Revealed(Agreement),
    Compared(Agreement),
    /// The phone may vouch under this secret, and no other.
    Requested(Zeroizing<[u8; 32]>),
}

/// One linking with a passkey.
pub(super) struct Ceremony {
    step: Step,
    /// How long the step may last.
    pub(super) until: Millis,
    handoff: Handoff,
    handoff_until: Millis,
    /// The proof went with the prologue: the phone knows whom it links, and compares no code.
    proved: bool,
    challenges: u8,
    refused: Option<u16>,
}

impl Ceremony {
    /// The secret under which the phone has to vouch, once it was told of it.
    pub(super) fn secret(&self) -> Option<Zeroizing<[u8; 32]>> {
        match &self.step {
            Step::Requested(secret) => Some(secret.clone()),
            _ => None,
        }
    }
}

impl Account {
    fn ceremony(&mut self) -> Option<&mut Ceremony> {
        let conn = self.conn.as_mut().filter(|conn| conn.phase == Phase::Pairing)?;
        conn.linking.passkey.as_mut()
    }

    /// A stanza about a passkey: `true`. It is acknowledged first; people need minutes.
    pub(super) fn passkey_noticed(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<bool, Error> {
        if !PasskeyNotice::is(node) {
            return Ok(false);
        }
        self.ack(node, turn);
        if self.conn.as_ref().is_none_or(|conn| conn.phase != Phase::Pairing || !conn.greeted) {
            return Ok(true);
        }
        if node.jid("from") != Some(Jid::server_itself()) {
            tracing::warn!("a demand for a passkey that does not come from the server");
            return Ok(true);
        }
        match PasskeyNotice::parse(node) {
            Ok(PasskeyNotice::Wanted(options)) => self.passkey_wanted(options, turn)?,
            Ok(PasskeyNotice::Answered(primary)) => self.passkey_phone_answered(&primary, turn)?,
            // Options that cannot be read are asked for like those that are missing.
            Err(error) if node.text("type") == Some("passkey_prologue_request") => {
                tracing::warn!(%error, "a demand for a passkey");
                self.passkey_wanted(None, turn)?;
            }
            Err(error) => {
                tracing::warn!(%error, "a phone's answer to a prologue");
                self.passkey_phone_answered(&[], turn)?;
            }
        }
        Ok(true)
    }

    fn passkey_wanted(&mut self, options: Option<String>, turn: &mut Turn<'_>) -> Result<(), Error> {
        // What was typed on the phone, or else what the QR code carries.
        let Some(secret) = self.adv_secrets().into_iter().next() else { return Ok(()) };
        let Some(conn) = &mut self.conn else { return Ok(()) };
        if let Some(open) = &conn.linking.passkey
            && !matches!(open.step, Step::Preparing | Step::Wanted(_))
        {
            tracing::warn!("a passkey is demanded again while a linking with one is under way");
            return Ok(());
        }
        // The code is taken: no other takes its place while people are busy with this one.
        conn.rotate_at = None;
        conn.linking.offer = None;
        let handoff = Handoff::new(&secret);
        let spent = conn.linking.passkey.as_ref().map_or(0, |open| open.challenges);
        conn.linking.passkey = Some(Ceremony {
            step: Step::Preparing,
            until: turn.now + MACHINES,
            handoff,
            handoff_until: turn.now + HANDOFF,
            proved: false,
            challenges: spent,
            refused: None,
        });
        self.link.qr = None;
        self.link.code = CodeState::None;
        match options.map(Options::parse) {
            Some(Ok(options)) => self.passkey_offered(options, turn),
            Some(Err(what)) => {
                tracing::warn!(what, "request options that cannot be read");
                self.ask_challenge(turn)
            }
            None => self.ask_challenge(turn),
        }
    }

    /// Asks for options with a fresh challenge.
    fn ask_challenge(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(open) = self.ceremony() else { return Ok(()) };
        if open.challenges >= CHALLENGES {
            let why = if open.refused.is_some() { "refused" } else { "timeout" };
            return self.end_passkey(why, turn);
        }
        open.challenges += 1;
        open.step = Step::Preparing;
        open.until = turn.now + MACHINES;
        self.ask_of_passkey(Asked::Options, PasskeyQuery::Options, turn);
        self.show_passkey(PasskeyState::Preparing, turn)
    }

    fn passkey_offered(&mut self, options: Options, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(open) = self.ceremony() else { return Ok(()) };
        open.until = turn.now + options.timeout;
        let state = PasskeyState::Wanted {
            options: options.text.clone(),
            expires_at: open.until,
            refused: open.refused,
        };
        open.step = Step::Wanted(options);
        self.show_passkey(state, turn)
    }

    fn ask_of_passkey(&mut self, asked: Asked, query: PasskeyQuery, turn: &mut Turn<'_>) {
        if let Some(conn) = &mut self.conn {
            let id = conn.query(Query::Passkey(asked), turn.now);
            turn.send(&query.build(&id));
        }
    }

    /// What an operator does.
    pub(super) fn passkey_command(
        &mut self,
        ticket: Ticket,
        command: PasskeyCommand,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let done = match command {
            PasskeyCommand::Assert(assertion) => self.assert_passkey(assertion, turn)?,
            PasskeyCommand::Confirm => self.confirm_passkey(turn)?,
            PasskeyCommand::Abandon if self.ceremony().is_some() => {
                // Somebody is there.
                self.idle_batches = 0;
                self.end_passkey("abandoned", turn)?;
                Ok(())
            }
            PasskeyCommand::Abandon => Err(PasskeyRefused::NotAwaited),
        };
        turn.effects.push(Effect::Answer(ticket, Answer::Passkey(done)));
        Ok(())
    }

    fn assert_passkey(
        &mut self,
        assertion: Assertion,
        turn: &mut Turn<'_>,
    ) -> Result<Result<(), PasskeyRefused>, Error> {
        let Some(open) = self.ceremony() else { return Ok(Err(PasskeyRefused::NotAwaited)) };
        let Step::Wanted(options) = &open.step else { return Ok(Err(PasskeyRefused::NotAwaited)) };
        if options.challenge != assertion.challenge {
            return Ok(Err(PasskeyRefused::OtherChallenge));
        }
        open.step = Step::Naming(assertion);
        open.until = turn.now + MACHINES;
        open.refused = None;
        self.ask_of_passkey(Asked::Ref, PasskeyQuery::Ref, turn);
        self.show_passkey(PasskeyState::Checking, turn)?;
        Ok(Ok(()))
    }

    fn confirm_passkey(&mut self, turn: &mut Turn<'_>) -> Result<Result<(), PasskeyRefused>, Error> {
        match self.ceremony() {
            Some(Ceremony { step: Step::Compared(_), .. }) => self.request_pairing(turn).map(Ok),
            _ => Ok(Err(PasskeyRefused::NotAwaited)),
        }
    }

    /// The server's answer to one of our questions.
    pub(super) fn passkey_answered(
        &mut self,
        asked: Asked,
        node: &Node,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let refusal = Iq::refusal(node).map(|refusal| refusal.code);
        let Some(open) = self.ceremony() else { return Ok(()) };
        match (asked, &mut open.step, refusal) {
            (Asked::Options, Step::Preparing, None) => {
                match PasskeyQuery::read_options(node).map_err(|error| error.0).and_then(Options::parse) {
                    Ok(options) => self.passkey_offered(options, turn),
                    Err(what) => {
                        tracing::warn!(what, "request options that cannot be read");
                        self.end_passkey("unreadable_options", turn)
                    }
                }
            }
            (Asked::Ref, Step::Naming(_), None) => match PasskeyQuery::read_ref(node) {
                Ok(reference) => {
                    self.begin_prologue(reference, turn);
                    Ok(())
                }
                Err(error) => {
                    tracing::warn!(%error, "the name of a prologue");
                    self.end_passkey("unreadable_answer", turn)
                }
            },
            // The challenge is spent, whatever was wrong: what was signed is never sent twice.
            (Asked::Ref, Step::Naming(_), Some(code)) | (Asked::Prologue, Step::Begun(_), Some(code)) => {
                tracing::warn!(code, "WhatsApp refused what the passkey signed");
                open.refused = Some(code);
                self.ask_challenge(turn)
            }
            (Asked::Prologue, Step::Begun(_), None) => {
                open.until = turn.now + PEOPLE;
                let expires_at = open.until;
                self.show_passkey(PasskeyState::Phone { expires_at }, turn)
            }
            (Asked::Nonce, Step::Revealed(_), None) if open.proved => self.request_pairing(turn),
            (Asked::Nonce, Step::Revealed(_), None) => self.let_compare(turn),
            (Asked::Options, Step::Preparing, Some(code))
            | (Asked::Nonce, Step::Revealed(_), Some(code))
            | (Asked::Request, Step::Requested(_), Some(code)) => {
                tracing::warn!(code, ?asked, "WhatsApp refused to link with the passkey");
                self.end_passkey("refused", turn)
            }
            _ => Ok(()),
        }
    }

    fn begin_prologue(&mut self, reference: String, turn: &mut Turn<'_>) {
        let companion = Companion::new(PLATFORM_CHROME, reference, turn.rng);
        let payload = companion.prologue();
        let Some(open) = self.ceremony() else { return };
        let step = std::mem::replace(&mut open.step, Step::Begun(companion));
        let Step::Naming(assertion) = step else { return };
        open.until = turn.now + PEOPLE;
        open.proved = turn.now <= open.handoff_until;
        let proof = open.proved.then(|| open.handoff.proof(&payload));
        let Assertion { credential, json, .. } = assertion;
        let prologue = PasskeyPrologue { credential, assertion: json, payload, proof };
        self.ask_of_passkey(Asked::Prologue, PasskeyQuery::Prologue(prologue), turn);
    }

    /// The phone has answered the prologue: the nonce is revealed at once.
    fn passkey_phone_answered(&mut self, primary: &[u8], turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(open) = self.ceremony() else {
            tracing::warn!("a phone's answer to a prologue that nobody sent");
            return Ok(());
        };
        let Step::Begun(companion) = &open.step else {
            tracing::warn!("a phone's answer to a prologue that does not wait for one");
            return Ok(());
        };
        let agreed = Primary::parse(primary).and_then(|primary| companion.agree(&primary));
        let agreement = match agreed {
            Ok(agreement) => agreement,
            Err(error) => {
                tracing::warn!(%error, "a phone's answer to a prologue");
                return self.end_passkey("unreadable_answer", turn);
            }
        };
        let nonce = *companion.nonce();
        open.step = Step::Revealed(agreement);
        open.until = turn.now + MACHINES;
        self.ask_of_passkey(Asked::Nonce, PasskeyQuery::Nonce(nonce), turn);
        Ok(())
    }

    fn let_compare(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(open) = self.ceremony() else { return Ok(()) };
        open.until = turn.now + PEOPLE;
        let expires_at = open.until;
        match std::mem::replace(&mut open.step, Step::Preparing) {
            Step::Revealed(agreement) => {
                let code = agreement.code().to_owned();
                open.step = Step::Compared(agreement);
                self.show_passkey(PasskeyState::Confirm { code, expires_at }, turn)
            }
            other => {
                open.step = other;
                Ok(())
            }
        }
    }

    /// The last word to the phone: our keys, and a fresh secret to vouch for them with. The one in the QR code is kept
    /// until then, so that a ceremony that is given up spoils no code.
    fn request_pairing(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let (noise, identity) = (self.device.noise.public, self.device.identity.public);
        let Some(open) = self.ceremony() else { return Ok(()) };
        let (Step::Revealed(agreement) | Step::Compared(agreement)) = &open.step else { return Ok(()) };
        let mut adv_secret = Zeroizing::new([0; 32]);
        turn.rng.fill_bytes(&mut *adv_secret);
        let request = Request { noise, identity, adv_secret: adv_secret.clone() };
        let sealed = agreement.seal(&request, turn.rng);
        let code = agreement.code().to_owned();
        open.step = Step::Requested(adv_secret);
        // Whoever had nothing to compare here may have something to confirm there.
        open.until = turn.now + if open.proved { PEOPLE } else { MACHINES };
        self.ask_of_passkey(Asked::Request, PasskeyQuery::Request(sealed), turn);
        self.show_passkey(PasskeyState::Finishing { code }, turn)
    }

    /// A step has lasted long enough: `true` if that ended the connection.
    pub(super) fn tick_passkey(&mut self, turn: &mut Turn<'_>) -> Result<bool, Error> {
        let now = turn.now;
        match self.ceremony() {
            Some(open) if open.until <= now => {
                let signs = matches!(open.step, Step::Wanted(_));
                if signs {
                    self.ask_challenge(turn)?
                } else {
                    self.end_passkey("timeout", turn)?
                }
                Ok(self.ceremony().is_none())
            }
            _ => Ok(false),
        }
    }

    /// It came to nothing. The rest of the ceremony cannot be had on this connection, and another code only on another.
    fn end_passkey(&mut self, why: &'static str, turn: &mut Turn<'_>) -> Result<(), Error> {
        if let Some(conn) = &mut self.conn {
            conn.linking.passkey = None;
        }
        self.drop_connection("passkey_failed", turn);
        self.show_passkey(PasskeyState::Failed(why), turn)?;
        self.idle_batches += 1;
        if self.idle_batches >= MAX_IDLE_BATCHES {
            return self.set_status(Status::Disconnected, Some("qr_timeout"), turn);
        }
        self.set_status(Status::Pending, None, turn)?;
        self.dial(turn)
    }

    /// The connection is gone, and what was going on on it.
    pub(super) fn passkey_lost(&mut self, open: bool, pairing: bool) {
        if open {
            self.link.passkey = PasskeyState::Failed("connection_lost");
        } else if pairing {
            self.link.passkey = PasskeyState::None;
        }
    }

    pub(super) fn show_passkey(&mut self, state: PasskeyState, turn: &mut Turn<'_>) -> Result<(), Error> {
        if self.link.passkey == state {
            return Ok(());
        }
        let told = matches!(
            state,
            PasskeyState::Wanted { .. } | PasskeyState::Confirm { .. } | PasskeyState::Failed(_)
        );
        self.link.passkey = state;
        turn.effects.push(Effect::Link(self.link.clone()));
        if told {
            let data = self.link.passkey.view().to_string();
            let event = NewEvent { kind: "instance.passkey", lane: None, data, platform: None };
            turn.tx.events().push(&event, turn.now)?;
        }
        Ok(())
    }
}
