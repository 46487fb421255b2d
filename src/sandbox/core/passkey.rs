//! Accounts that want a passkey of whoever links a companion: the server demands and checks it, the phone answers the
//! prologue and vouches under the secret that it is sent, and a software authenticator signs. Protocol notes 06, 1.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{AccountId, Conn, ConnId, ConnState, World, operate::OperateError};
use crate::{
    clock::Millis,
    crypto::{
        KeyPair,
        passkey::{Agreement, Handoff, Primary, Prologue},
    },
    stanza::{Iq, PasskeyNotice, PasskeyPrologue, PasskeyQuery, StreamError},
    wire::Node,
};

/// The relying party of captures.
const RP_ID: &str = "whatsapp.com";
/// The page on which browsers sign.
const ORIGIN: &str = "https://web.whatsapp.com";
/// A challenge is good for so long (AB property 30662).
const TTL: Duration = Duration::from_secs(600);
/// User present, user verified.
const FLAGS: u8 = 0x01 | 0x04;

/// A passkey in software: ES256 on P-256. The key is of the system's randomness, whatever the seed.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Passkey {
    /// Wanted of whoever links.
    wanted: bool,
    /// base64url, like the rest.
    id: String,
    user: String,
    pkcs8: String,
    public: String,
}

/// What an authenticator is to do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Sign something else.
    Signature,
    /// Sign for another challenge.
    Challenge,
    /// Sign for another relying party.
    RelyingParty,
    /// Sign for a page elsewhere.
    Origin,
    /// Not look who is there.
    Unverified,
    /// Name another credential.
    Credential,
}

impl Defect {
    /// What can be asked for.
    pub const NAMES: &str = "defect: signature, challenge, rp, origin, unverified or credential";

    /// By its name in the control API.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "signature" => Self::Signature,
            "challenge" => Self::Challenge,
            "rp" => Self::RelyingParty,
            "origin" => Self::Origin,
            "unverified" => Self::Unverified,
            "credential" => Self::Credential,
            _ => return None,
        })
    }
}

/// Where a linking with a passkey stands, as the phone's user and the server see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PasskeyView {
    /// The account wants a passkey of whoever links.
    pub wanted: bool,
    /// A companion is being linked.
    pub open: bool,
    /// What the phone shows to be compared.
    pub code: Option<String>,
    /// The companion proved that it showed the code which was taken; `None`: it did not try.
    pub proved: Option<bool>,
}

/// On the registration connection.
pub(super) struct Ceremony {
    account: AccountId,
    named: bool,
    /// Of the QR code, or of the code that was typed.
    secret: [u8; 32],
    /// Issued and unused.
    challenge: Option<([u8; 32], Millis)>,
    /// Issued and unused.
    reference: Option<String>,
    proved: Option<bool>,
    step: Step,
}

enum Step {
    Demanded,
    Begun { prologue: Prologue, ephemeral: KeyPair, nonce: [u8; 32] },
    Revealed(Agreement),
}

fn b64(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Without padding: the server refuses what is padded.
fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

fn member(value: &Value, key: &str) -> Option<Vec<u8>> {
    value.get(key).and_then(Value::as_str).and_then(decode)
}

impl Passkey {
    fn new(id: &[u8], user: &[u8]) -> Option<Self> {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).ok()?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).ok()?;
        Some(Self {
            wanted: true,
            id: b64(id),
            user: b64(user),
            pkcs8: b64(pkcs8.as_ref()),
            public: b64(pair.public_key().as_ref()),
        })
    }

    fn sign(&self, options: &Value, defect: Option<Defect>) -> Option<Value> {
        let broken = |which| defect == Some(which);
        let challenge = options.get("challenge").and_then(Value::as_str)?;
        let challenge = if broken(Defect::Challenge) { b64(&[0; 32]) } else { challenge.to_owned() };
        let rp = options.get("rpId").and_then(Value::as_str)?;
        let rp = if broken(Defect::RelyingParty) { "example.com" } else { rp };
        let origin = if broken(Defect::Origin) { "https://example.com" } else { ORIGIN };
        let client = json!({
            "type": "webauthn.get", "challenge": challenge, "origin": origin, "crossOrigin": false,
        });
        let client = client.to_string().into_bytes();
        let mut data = Sha256::digest(rp).to_vec();
        data.push(if broken(Defect::Unverified) { 0x01 } else { FLAGS });
        data.extend([0; 4]);
        let mut signed = [data.as_slice(), &Sha256::digest(&client)].concat();
        if broken(Defect::Signature) {
            signed.push(0);
        }
        let random = SystemRandom::new();
        let pkcs8 = decode(&self.pkcs8)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8, &random).ok()?;
        let signature = pair.sign(&random, &signed).ok()?;
        let id = if broken(Defect::Credential) { b64(b"another") } else { self.id.clone() };
        Some(json!({
            "id": id,
            "rawId": id,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": b64(&client),
                "authenticatorData": b64(&data),
                "signature": b64(signature.as_ref()),
                "userHandle": self.user,
            },
        }))
    }

    /// Whether this passkey signed that challenge, on WhatsApp's page, with its user looked at.
    fn verify(&self, credential: &[u8], assertion: &[u8], challenge: &[u8; 32]) -> Option<()> {
        let assertion: Value = serde_json::from_slice(assertion).ok()?;
        let id = decode(&self.id)?;
        let named = [member(&assertion, "id")?, member(&assertion, "rawId")?, credential.to_vec()];
        let response = assertion.get("response")?;
        let handle = match response.get("userHandle")? {
            Value::Null => true,
            handle => handle.as_str() == Some(&self.user),
        };
        let client = member(response, "clientDataJSON")?;
        let data = member(response, "authenticatorData")?;
        let signature = member(response, "signature")?;
        let said: Value = serde_json::from_slice(&client).ok()?;
        let says = |key: &str| said.get(key).and_then(Value::as_str);
        let (rp, rest) = data.split_first_chunk::<32>()?;
        let flags = *rest.first()?;
        let good = named.iter().all(|name| *name == id)
            && assertion.get("type").and_then(Value::as_str) == Some("public-key")
            && handle
            && says("type") == Some("webauthn.get")
            && says("challenge").and_then(decode)? == challenge
            && says("origin") == Some(ORIGIN)
            && rp.as_slice() == Sha256::digest(RP_ID).as_slice()
            && flags & FLAGS == FLAGS
            && rest.len() >= 5;
        let signed = [data.as_slice(), &Sha256::digest(&client)].concat();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, decode(&self.public)?);
        (good && public.verify(&signed, &signature).is_ok()).then_some(())
    }
}

impl World {
    /// Whoever links a companion from now on needs the account's passkey, or needs it no more.
    pub(crate) fn want_passkey(&mut self, phone: AccountId, wanted: bool) -> Result<(), OperateError> {
        if let Some(passkey) = &mut self.account_mut(phone).passkey {
            passkey.wanted = wanted;
        } else if wanted {
            let (id, user) = (self.random_hex(8), self.random_hex(8));
            let made = Passkey::new(id.as_bytes(), user.as_bytes());
            let made = made.ok_or(OperateError::Conflict("the system gives no randomness"))?;
            self.account_mut(phone).passkey = Some(made);
        }
        Ok(())
    }

    /// The authenticator that holds the account's passkey; the assertion.
    pub(crate) fn sign_with_passkey(
        &self,
        phone: AccountId,
        options: &Value,
        defect: Option<Defect>,
    ) -> Result<Value, OperateError> {
        let passkey = self.account(phone).passkey.as_ref();
        let passkey = passkey.ok_or(OperateError::Conflict("the account has no passkey"))?;
        passkey.sign(options, defect).ok_or(OperateError::BadRequest("no request options"))
    }

    /// Where a linking with a passkey stands.
    pub(crate) fn passkey_view(&self, phone: AccountId) -> PasskeyView {
        let wanted = self.account(phone).passkey.as_ref().is_some_and(|passkey| passkey.wanted);
        let open = self.conns.values().rev().find_map(|conn| match &conn.state {
            ConnState::Pairing(pairing) => pairing.passkey.as_deref().filter(|open| open.account == phone),
            _ => None,
        });
        let Some(open) = open else { return PasskeyView { wanted, ..PasskeyView::default() } };
        let code = match &open.step {
            Step::Revealed(agreement) => Some(agreement.code().to_owned()),
            _ => None,
        };
        PasskeyView { wanted, open: true, code, proved: open.proved }
    }

    /// The phone's user does not want to link after all.
    pub(crate) fn decline_passkey(&mut self, phone: AccountId, now: Millis) -> Result<(), OperateError> {
        let open = self.conns.iter_mut().rev().find_map(|(id, conn)| match &mut conn.state {
            ConnState::Pairing(pairing) if !conn.closing => {
                pairing.passkey.take_if(|open| open.account == phone).map(|_| *id)
            }
            _ => None,
        });
        let conn = open.ok_or(OperateError::NoSocket)?;
        self.emit(conn, StreamError::DeviceRemoved.build(), now);
        self.close_soon(conn, now);
        self.settle(now);
        Ok(())
    }

    /// A phone took a code: it vouches, or the account wants a passkey first.
    pub(super) fn vouch_or_demand(
        &mut self,
        conn: ConnId,
        account: AccountId,
        named: bool,
        secret: &[u8; 32],
        now: Millis,
    ) -> Result<(), OperateError> {
        if !self.account(account).passkey.as_ref().is_some_and(|passkey| passkey.wanted) {
            return self.vouch(conn, account, named, secret, now);
        }
        let open = Ceremony {
            account,
            named,
            secret: *secret,
            challenge: None,
            reference: None,
            proved: None,
            step: Step::Demanded,
        };
        if let Some(Conn { state: ConnState::Pairing(pairing), .. }) = self.conns.get_mut(&conn) {
            pairing.passkey = Some(Box::new(open));
        }
        let options = self.passkey_options(conn, now);
        let id = self.server_id();
        self.emit(conn, PasskeyNotice::Wanted(options).build(&id, now.secs()), now);
        Ok(())
    }

    fn passkey_ceremony(&mut self, conn: ConnId) -> Option<&mut Ceremony> {
        match self.conns.get_mut(&conn) {
            Some(Conn { state: ConnState::Pairing(pairing), .. }) => pairing.passkey.as_deref_mut(),
            _ => None,
        }
    }

    /// With a fresh challenge; the one before is worth nothing any more.
    fn passkey_options(&mut self, conn: ConnId, now: Millis) -> Option<String> {
        let mut challenge = [0; 32];
        rand::Rng::fill_bytes(&mut self.rng, &mut challenge);
        self.passkey_ceremony(conn)?.challenge = Some((challenge, now));
        let options = json!({
            "challenge": b64(&challenge),
            "timeout": TTL.as_millis(),
            "rpId": RP_ID,
            "allowCredentials": [],
            "userVerification": "required",
            "extensions": { "uvm": true },
        });
        Some(options.to_string())
    }

    /// A stanza about a passkey on a registration connection.
    pub(super) fn passkey_query(&mut self, conn: ConnId, iq: &Iq, node: &Node, now: Millis) {
        let done = match PasskeyQuery::parse(node) {
            _ if self.passkey_ceremony(conn).is_none() => Err("passkey without a demand for one"),
            Err(_) => Err("passkey query that does not parse"),
            Ok(PasskeyQuery::Options) => {
                let options = self.passkey_options(conn, now).unwrap_or_default();
                self.emit(conn, PasskeyQuery::options_answer(&iq.id, &options), now);
                Ok(())
            }
            Ok(PasskeyQuery::Ref) => {
                let reference = format!("2@{}", self.random_hex(16));
                self.emit(conn, PasskeyQuery::ref_answer(&iq.id, &reference), now);
                if let Some(open) = self.passkey_ceremony(conn) {
                    open.reference = Some(reference);
                }
                Ok(())
            }
            Ok(PasskeyQuery::Prologue(prologue)) => self.passkey_prologue(conn, iq, &prologue, now),
            Ok(PasskeyQuery::Nonce(nonce)) => self.passkey_revealed(conn, iq, &nonce, now),
            Ok(PasskeyQuery::Request(sealed)) => self.passkey_requested(conn, iq, &sealed, now),
        };
        if let Err(reason) = done {
            self.journal.refuse(reason);
            self.emit(conn, Iq::error(&iq.id, 400, "bad-request"), now);
        }
    }

    fn passkey_prologue(
        &mut self,
        conn: ConnId,
        iq: &Iq,
        said: &PasskeyPrologue,
        now: Millis,
    ) -> Result<(), &'static str> {
        let Some(open) = self.passkey_ceremony(conn) else { return Ok(()) };
        if !matches!(open.step, Step::Demanded) {
            return Err("a second prologue");
        }
        let prologue = Prologue::parse(&said.payload).map_err(|_| "prologue that does not parse")?;
        if open.reference.take().as_deref() != Some(&prologue.reference) {
            return Err("prologue under another name");
        }
        let challenge = open.challenge.take().filter(|(_, issued)| now.since(*issued) <= TTL);
        let account = open.account;
        let passkey = self.account(account).passkey.as_ref();
        let verified = challenge
            .and_then(|(challenge, _)| passkey?.verify(&said.credential, &said.assertion, &challenge));
        if verified.is_none() {
            // No misbehaviour of the client, which cannot know what the passkey did.
            self.emit(conn, Iq::error(&iq.id, 401, "not-authorized"), now);
            return Ok(());
        }
        self.emit(conn, Iq::result(&iq.id), now);
        let ephemeral = KeyPair::generate(&mut self.rng);
        let mut nonce = [0; 32];
        rand::Rng::fill_bytes(&mut self.rng, &mut nonce);
        let answer = Primary { public: ephemeral.public, nonce };
        if let Some(open) = self.passkey_ceremony(conn) {
            let handoff = Handoff::new(&open.secret);
            open.proved = said.proof.map(|proof| handoff.proves(&said.payload, &proof));
            open.step = Step::Begun { prologue, ephemeral, nonce };
        }
        let id = self.server_id();
        self.emit(conn, PasskeyNotice::Answered(answer.build()).build(&id, now.secs()), now);
        Ok(())
    }

    fn passkey_revealed(
        &mut self,
        conn: ConnId,
        iq: &Iq,
        revealed: &[u8; 32],
        now: Millis,
    ) -> Result<(), &'static str> {
        let Some(open) = self.passkey_ceremony(conn) else { return Ok(()) };
        let Step::Begun { prologue, ephemeral, nonce } = &open.step else {
            return Err("nonce of no prologue");
        };
        let agreement = prologue.agree(ephemeral, nonce, revealed);
        open.step = Step::Revealed(agreement.map_err(|_| "nonce that was not committed to")?);
        self.emit(conn, Iq::result(&iq.id), now);
        Ok(())
    }

    fn passkey_requested(
        &mut self,
        conn: ConnId,
        iq: &Iq,
        sealed: &[u8],
        now: Millis,
    ) -> Result<(), &'static str> {
        let Some(Conn { noise, state: ConnState::Pairing(pairing), .. }) = self.conns.get_mut(&conn) else {
            return Ok(());
        };
        let identity = pairing.identity();
        let Some(open) = &pairing.passkey else { return Ok(()) };
        let Step::Revealed(agreement) = &open.step else { return Err("pairing request before the nonce") };
        let request = agreement.open(sealed).map_err(|_| "pairing request that does not open")?;
        if request.noise != *noise || request.identity != identity {
            return Err("pairing request for another companion");
        }
        if *request.adv_secret == open.secret {
            return Err("pairing request with the old secret");
        }
        let (account, named) = (open.account, open.named);
        pairing.passkey = None;
        self.emit(conn, Iq::result(&iq.id), now);
        self.vouch(conn, account, named, &request.adv_secret, now).map_err(|_| "no device number is left")
    }
}
