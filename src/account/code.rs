//! Linking by a code that is typed on the phone. It runs beside the QR code, on the same connection: whichever the
//! phone's user takes first links the instance.

use std::{fmt, time::Duration};

use zeroize::Zeroizing;

use super::{
    Error,
    dispatch::{Account, Effect, Turn},
    link::{Conn, Phase, Query},
    passkey::Ceremony,
    payload::{PLATFORM_DISPLAY, QR_CLIENT_TYPE},
};
use crate::{
    clock::Millis,
    crypto::{
        KeyPair, PublicKey,
        link_code::{self, LinkCode, WRAPPED},
    },
    stanza::{CompanionFinish, CompanionHello, Iq, LinkCodeNotice},
    wire::{Jid, Node},
};

/// A code is good for so long (whatsapp-rust 0.7, after WhatsApp Web).
const VALID: Duration = Duration::from_secs(180);
/// How often a code may be typed; then another one is shown (the same).
const ATTEMPTS: u8 = 3;
/// Once a code was typed, the phone's word is waited for this long (the same).
const PATIENCE: Duration = Duration::from_secs(60);
/// Codes that one connection shows without being asked for each: a server cannot have ever new ones made.
const CODES: u8 = 5;

/// Where linking by code stands.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum CodeState {
    /// Nobody asked for a code.
    #[default]
    None,
    /// WhatsApp is being told of one.
    Asked,
    /// It can be typed.
    Shown {
        /// `ABCD-EFGH`
        text: String,
        /// When another one takes its place.
        expires_at: Millis,
    },
    /// WhatsApp does not want one; with its reason. The QR code is left.
    Refused(u16),
}

impl CodeState {
    /// The code to type, if there is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Shown { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// Whoever sees a code on show can link the instance to a phone of his own.
impl fmt::Debug for CodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Asked => f.write_str("Asked"),
            Self::Shown { expires_at, .. } => write!(f, "Shown {{ expires_at: {expires_at:?}, .. }}"),
            Self::Refused(code) => write!(f, "Refused({code})"),
        }
    }
}

/// A code that WhatsApp was told of, for as long as the connection lasts.
pub(super) struct Offer {
    code: LinkCode,
    ephemeral: KeyPair,
    number: Jid,
    /// The query whose answer names it.
    hello: String,
    /// The server's name for it.
    reference: Option<Vec<u8>>,
    pub(super) expires_at: Millis,
    /// How often somebody typed it.
    attempts: u8,
}

/// What a connection knows of linking by code.
#[derive(Default)]
pub(super) struct Linking {
    pub(super) offer: Option<Offer>,
    /// Made without being asked.
    renewed: u8,
    /// The secret under which the phone vouches, once a code was typed.
    pub(super) secret: Option<Zeroizing<[u8; 32]>>,
    /// A phone took one of the codes, and a passkey has to sign.
    pub(super) passkey: Option<Ceremony>,
}

impl Account {
    /// `POST /connect` with a number: a code for its phone, a new one at every call.
    pub(super) fn pair_by_code(&mut self, number: String, turn: &mut Turn<'_>) -> Result<(), Error> {
        self.connect(turn)?;
        if self.device.paired.is_some() {
            return Ok(());
        }
        self.wanted = Some(number);
        // Somebody is linking right now; the number is for another time.
        if self.conn.as_ref().is_some_and(|conn| conn.linking.passkey.is_some()) {
            return Ok(());
        }
        self.show_code_state(CodeState::Asked, turn);
        if let Some(conn) = &mut self.conn {
            conn.linking.renewed = 0;
        }
        self.offer_code(turn);
        Ok(())
    }

    /// From now on as configured: a code for the number of the settings, or the QR code alone.
    pub(super) fn want_as_configured(&mut self, turn: &mut Turn<'_>) {
        if self.wanted == self.settings.pair_phone {
            return;
        }
        self.wanted.clone_from(&self.settings.pair_phone);
        if let Some(conn) = &mut self.conn {
            conn.linking.offer = None;
        }
        self.show_code_state(CodeState::None, turn);
        self.offer_code(turn);
    }

    /// Makes a code and tells WhatsApp, if a number is wanted and the connection is there for it.
    pub(super) fn offer_code(&mut self, turn: &mut Turn<'_>) {
        let ready =
            |conn: &&mut Conn| conn.phase == Phase::Pairing && conn.greeted && conn.linking.passkey.is_none();
        let Some(conn) = self.conn.as_mut().filter(ready) else { return };
        let Some(number) = self.wanted.as_deref().map(Jid::pn) else { return };
        let code = LinkCode::random(turn.rng);
        let ephemeral = KeyPair::generate(turn.rng);
        let hello = CompanionHello {
            id: conn.query(Query::LinkHello, turn.now),
            jid: number.clone(),
            wrapped: code.wrap(&ephemeral.public, turn.rng),
            noise: self.device.noise.public,
            platform: QR_CLIENT_TYPE.to_string(),
            display: PLATFORM_DISPLAY.to_owned(),
        };
        turn.send(&hello.build());
        conn.linking.offer = Some(Offer {
            code,
            ephemeral,
            number,
            hello: hello.id,
            reference: None,
            expires_at: turn.now + VALID,
            attempts: 0,
        });
        self.show_code_state(CodeState::Asked, turn);
    }

    /// The server's answer to a code: a name for it, or no.
    pub(super) fn hello_answered(&mut self, id: &str, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        let offer = self.conn.as_mut().and_then(|conn| conn.linking.offer.as_mut());
        let Some(offer) = offer.filter(|offer| offer.hello == id) else { return Ok(()) };
        let refused = match (Iq::refusal(node), CompanionHello::read_answer(node)) {
            (None, Ok(reference)) => {
                offer.reference = Some(reference);
                let shown = CodeState::Shown { text: offer.code.shown(), expires_at: offer.expires_at };
                self.show_code_state(shown, turn);
                return match self.link.qr.clone() {
                    Some(qr) => self.report_code(&qr, turn),
                    None => Ok(()),
                };
            }
            (Some(refusal), _) => refusal.code,
            (None, Err(error)) => {
                tracing::warn!(%error, "the answer to a pairing code");
                500
            }
        };
        tracing::warn!(code = refused, "WhatsApp refused to link by code; the QR code is left");
        self.withdraw_code(turn);
        self.show_code_state(CodeState::Refused(refused), turn);
        Ok(())
    }

    /// Nobody is asked for a code any more, until somebody wants one.
    fn withdraw_code(&mut self, turn: &mut Turn<'_>) {
        self.wanted = None;
        if let Some(conn) = &mut self.conn {
            conn.linking.offer = None;
        }
        self.show_code_state(CodeState::None, turn);
    }

    /// The code on show is worth nothing any more.
    pub(super) fn renew_code(&mut self, turn: &mut Turn<'_>) {
        let Some(conn) = &mut self.conn else { return };
        conn.linking.offer = None;
        conn.linking.renewed = conn.linking.renewed.saturating_add(1);
        let enough = conn.linking.renewed >= CODES;
        self.show_code_state(CodeState::None, turn);
        if !enough {
            self.offer_code(turn);
        }
    }

    pub(super) fn link_code_noticed(&mut self, node: &Node, turn: &mut Turn<'_>) {
        let Some(conn) = self.conn.as_mut().filter(|conn| conn.phase == Phase::Pairing) else { return };
        if node.jid("from") != Some(Jid::server_itself()) {
            return tracing::warn!("a linking by code that does not come from the server");
        }
        let notice = match LinkCodeNotice::parse(node) {
            Ok(notice) => notice,
            Err(error) => return tracing::warn!(%error, "a linking by code"),
        };
        let current = conn.linking.offer.as_ref().and_then(|offer| offer.reference.as_deref());
        match notice {
            LinkCodeNotice::Precursor => {}
            LinkCodeNotice::PrimaryHello { reference, .. } | LinkCodeNotice::Refresh { reference, .. }
                if current != Some(reference.as_slice()) =>
            {
                tracing::warn!("a linking by a code that is not on show");
            }
            LinkCodeNotice::Refresh { by_hand: true, .. } => self.withdraw_code(turn),
            LinkCodeNotice::Refresh { by_hand: false, .. } => self.renew_code(turn),
            LinkCodeNotice::PrimaryHello { wrapped, identity, .. } => {
                self.code_typed(&wrapped, &identity, turn);
            }
        }
    }

    /// Somebody typed a code on the phone. Whether it was the right one only the phone can tell, by what it is sent now.
    fn code_typed(&mut self, wrapped: &[u8; WRAPPED], phone: &PublicKey, turn: &mut Turn<'_>) {
        let identity = &self.device.identity;
        let Some(conn) = &mut self.conn else { return };
        let Some(offer) = &mut conn.linking.offer else { return };
        if offer.attempts >= ATTEMPTS || offer.expires_at <= turn.now {
            return self.renew_code(turn);
        }
        offer.attempts += 1;
        let phone_ephemeral = offer.code.unwrap_key(wrapped);
        let finish = match link_code::finish(&offer.ephemeral, identity, &phone_ephemeral, phone, turn.rng) {
            Ok(finish) => finish,
            Err(error) => return tracing::warn!(%error, "a typed pairing code"),
        };
        offer.expires_at = offer.expires_at.max(turn.now + PATIENCE);
        let (jid, reference) = (offer.number.clone(), offer.reference.clone().unwrap_or_default());
        conn.linking.secret = Some(finish.adv_secret);
        let stanza = CompanionFinish {
            id: conn.query(Query::LinkFinish, turn.now),
            jid,
            bundle: finish.bundle,
            identity: identity.public,
            reference,
        };
        turn.send(&stanza.build());
    }

    pub(super) fn show_code_state(&mut self, state: CodeState, turn: &mut Turn<'_>) {
        if self.link.code != state {
            self.link.code = state;
            turn.effects.push(Effect::Link(self.link.clone()));
        }
    }

    /// The secrets under which a phone may vouch for this instance on this connection: of a typed code, of the QR code.
    pub(super) fn adv_secrets(&self) -> Vec<Zeroizing<[u8; 32]>> {
        let linking = self.conn.as_ref().map(|conn| &conn.linking);
        // A phone that was told of a fresh one vouches under that alone.
        if let Some(fresh) = linking.and_then(|linking| linking.passkey.as_ref()?.secret()) {
            return vec![fresh];
        }
        let typed = linking.and_then(|linking| linking.secret.clone());
        typed.into_iter().chain([Zeroizing::new(self.device.adv_secret)]).collect()
    }
}
