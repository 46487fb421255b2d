//! Whose devices are whose. The server says which devices a person has; which of them are really theirs says the person's
//! phone: it signs the list of its companions' key indexes, and each companion's identity. A server that adds a device of its
//! own to somebody's can sign neither.
//!
//! The rules are WhatsApp Web's (its modules `WAWebHandleAdvKeyIndexResultApi`, `WAWebHandleAdvDeviceNotificationApi`,
//! `WAWebHandleAdvOmittedResultApi`, `WAWebAdvSignatureApi`), with one difference: it believes the key that a companion's
//! identity names even if it knows another one of that phone, and we do not.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Error,
    dispatch::{Account, Turn},
};
use crate::{
    clock::Millis,
    crypto::{
        PublicKey,
        adv::{self, AdvError, Vouched},
        app_state::Fingerprint,
    },
    stanza::DeviceAnswer,
    store::devices::Vouch,
    wire::Jid,
};

/// Device lists are kept true by notifications; one that was missed costs at most this.
pub(super) const FRESH: Duration = Duration::from_secs(24 * 3600);
/// What the server said could not be checked, or was old: it is asked again after so long.
const DOUBTED: Duration = Duration::from_secs(10 * 60);
/// Devices of one account that are written to. WhatsApp links four companions to a phone, and numbers devices up to 99.
const MAX_DEVICES: usize = 100;
/// Lists that may wait for the identity of the phone that is to have signed them. Eight of the largest groups at a time;
/// of whom is beyond that, only the phone is written to until they are asked for again.
const MAX_CLAIMS: usize = 8_192;

/// What the server says of the devices of somebody whose phone's identity is not known yet.
pub(super) struct Claim {
    answer: DeviceAnswer,
    /// The person's other name.
    other: Option<Jid>,
}

impl Claim {
    /// Devices whose keys are needed before it can be used, the phone first.
    pub(super) fn devices(&self) -> impl Iterator<Item = u16> {
        let companions = self.answer.devices.iter().filter(|device| device.id != 0 && !device.hosted);
        std::iter::once(0).chain(companions.map(|device| device.id).take(MAX_DEVICES))
    }
}

/// What comes of a list.
enum Verdict {
    /// These companions, by device number, with their key indexes.
    Good(BTreeMap<u16, u32>),
    /// It changes nothing: it is missing, old or not signed by the account's phone.
    Void(&'static str),
    /// The phone's identity has to be known first.
    TooSoon,
}

/// Why a companion is not believed to be one.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unvouched {
    /// Nothing says whose it is.
    #[error("no device identity")]
    Missing,
    /// Not signed by the phone.
    #[error(transparent)]
    Adv(#[from] AdvError),
    /// A newer list of the phone does not name it.
    #[error("the companion is not linked any more")]
    Unlinked,
}

/// What a companion's identity leads to, once what came with it proves to be the companion's.
pub(super) enum Admission {
    /// Nothing: known before, or no companion.
    Known,
    /// The account vouches for it.
    New(Vouched),
}

impl Account {
    /// Devices of a person that may be written to; `None` while they have to be asked for, or checked.
    pub(super) fn known_devices(&self, person: &Jid, turn: &Turn<'_>) -> Result<Option<Vec<u16>>, Error> {
        let known = turn.tx.people().devices(person)?;
        Ok(known.filter(|(_, at)| turn.now.since(*at) < FRESH).map(|(devices, _)| devices))
    }

    /// What the server says of a person's devices. It is checked now, or once the phone's identity is known.
    pub(super) fn consider_devices(
        &mut self,
        person: &Jid,
        other: Option<&Jid>,
        answer: Option<&DeviceAnswer>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(answer) = answer.filter(|answer| !answer.devices.is_empty()) else {
            // Nobody is there.
            return keep(person, other, &[], turn.now, turn);
        };
        let verdict = self.check_list(person, answer, turn)?;
        if matches!(verdict, Verdict::TooSoon) {
            let Some(conn) = &mut self.conn else { return Ok(()) };
            if conn.claims.len() < MAX_CLAIMS {
                let mut answer = answer.clone();
                answer.devices.truncate(MAX_DEVICES);
                let claim = Claim { answer, other: other.cloned() };
                conn.claims.insert(person.clone(), claim);
                if conn.doubtful_retries.iter().any(|(whose, _)| whose == person) {
                    self.ask_devices(person, turn);
                }
                return Ok(());
            }
        }
        self.settle_devices(person, other, verdict, turn)
    }

    /// The phone's identity is known now, or cannot be had: what waited for it is checked.
    pub(super) fn settle_claim(&mut self, person: &Jid, turn: &mut Turn<'_>) -> Result<(), Error> {
        let claim = self.conn.as_mut().and_then(|conn| conn.claims.remove(person));
        let Some(Claim { answer, other }) = claim else { return Ok(()) };
        let mut verdict = self.check_list(person, &answer, turn)?;
        if matches!(verdict, Verdict::TooSoon) && self.learn_from_list(person, &answer, turn)? {
            verdict = self.check_list(person, &answer, turn)?;
        }
        self.settle_devices(person, other.as_ref(), verdict, turn)
    }

    /// A phone that has no keys on offer, and whose list names its own, as those of hosted accounts do: that it is its own is
    /// as good as the server's word, which is all that there ever is of somebody new.
    fn learn_from_list(&self, person: &Jid, answer: &DeviceAnswer, turn: &Turn<'_>) -> Result<bool, Error> {
        let Some((_, list)) = &answer.key_index_list else { return Ok(false) };
        let Ok(Some(signer)) = adv::named_signer(list) else { return Ok(false) };
        if adv::verify_key_index_list(list, &signer).is_err() {
            return Ok(false);
        }
        let address = turn.tx.people().signal_address(&person.bare())?;
        turn.tx.signal().set_identity(&address, &signer)?;
        Ok(true)
    }

    fn settle_devices(
        &mut self,
        person: &Jid,
        other: Option<&Jid>,
        verdict: Verdict,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let address = turn.tx.people().signal_address(&person.bare())?;
        let (companions, at) = match verdict {
            Verdict::Good(companions) => (companions, turn.now),
            Verdict::Void(reason) => {
                tracing::warn!(reason, %person, "a list of devices vouches for nobody");
                // As long ago as leaves it fresh for a moment only.
                let at = Millis(turn.now.0.saturating_sub(millis(FRESH) - millis(DOUBTED)));
                (turn.tx.devices().vouch(&address)?.unwrap_or_default().companions, at)
            }
            Verdict::TooSoon => {
                tracing::warn!(%person, "a list of devices cannot be checked");
                let at = Millis(turn.now.0.saturating_sub(millis(FRESH) - millis(DOUBTED)));
                (BTreeMap::new(), at)
            }
        };
        let devices: Vec<u16> = std::iter::once(0).chain(companions.into_keys()).take(MAX_DEVICES).collect();
        keep(person, other, &devices, at, turn)?;
        self.reconsider(&person.bare(), turn)
    }

    /// Checks a list, and takes it in if it is good.
    fn check_list(
        &mut self,
        person: &Jid,
        answer: &DeviceAnswer,
        turn: &mut Turn<'_>,
    ) -> Result<Verdict, Error> {
        let address = turn.tx.people().signal_address(&person.bare())?;
        let known = turn.tx.devices().vouch(&address)?;
        let listed = answer.devices.iter().filter(|device| device.id != 0);
        let Some((ts, list)) = answer.key_index_list.as_ref().filter(|(_, list)| !list.is_empty()) else {
            if listed.count() > 0 {
                return Ok(Verdict::Void("missing"));
            }
            // Nobody but the phone: that needs no signature.
            if let Some(known) = known.filter(|known| !known.companions.is_empty()) {
                self.part(&address, known.companions.keys(), turn)?;
                turn.tx.devices().set_vouch(&address, &Vouch { companions: BTreeMap::new(), ..known })?;
            }
            if self.is_own(person) {
                self.keep_fingerprint(None, turn)?;
            }
            return Ok(Verdict::Good(BTreeMap::new()));
        };
        if list.len() > adv::MAX_BYTES {
            return Ok(Verdict::Void("too large"));
        }
        if known.as_ref().is_some_and(|known| *ts < known.timestamp_secs) {
            return Ok(Verdict::Void("older than the one that is known"));
        }
        let Some(account) = self.account_key(&address, turn)? else { return Ok(Verdict::TooSoon) };
        let Ok(indexes) = adv::verify_key_index_list(list, &account) else {
            return Ok(Verdict::Void("not signed by the phone"));
        };
        if indexes.timestamp_secs != *ts {
            return Ok(Verdict::Void("of another time than announced"));
        }
        let hosted = answer.devices.iter().any(|device| device.hosted);
        if hosted && adv::named_signer(list).ok().flatten().is_some_and(|signer| signer != account) {
            return Ok(Verdict::Void("signed for another account"));
        }
        let known = match known {
            Some(known) if known.raw_id != indexes.raw_id => {
                self.registered_anew(&address, turn)?;
                None
            }
            known => known,
        };
        let before = known.map(|known| known.companions).unwrap_or_default();
        let mut companions: BTreeMap<u16, u32> = BTreeMap::new();
        let mut strangers = 0_usize;
        for device in listed {
            match device.key_index {
                // Devices that WhatsApp runs for a business are not written to.
                _ if device.hosted => {}
                Some(index) if indexes.valid.contains(&index) && companions.len() < MAX_DEVICES => {
                    companions.insert(device.id, index);
                }
                _ => strangers += 1,
            }
        }
        // Linked after the list was signed, and vouched for otherwise.
        let newer = before.iter().filter(|(_, index)| **index > indexes.current);
        companions.extend(newer.map(|(device, index)| (*device, *index)));
        if strangers > 0 {
            tracing::warn!(strangers, %person, "devices that the account's list does not name");
        }
        self.part(&address, before.keys().filter(|device| !companions.contains_key(device)), turn)?;
        let vouch = Vouch {
            raw_id: indexes.raw_id,
            timestamp_secs: indexes.timestamp_secs,
            current: indexes.current,
            valid: indexes.valid,
            companions: companions.clone(),
        };
        turn.tx.devices().set_vouch(&address, &vouch)?;
        if self.is_own(person) {
            let (raw_id, current) = (vouch.raw_id, vouch.current);
            // What is newer than the list its phone has not signed yet.
            let signed = companions.values().copied().filter(|index| *index <= current);
            let indexes = std::iter::once(0).chain(signed).collect();
            self.keep_fingerprint(Some(&Fingerprint { raw_id, current, indexes }), turn)?;
        }
        Ok(Verdict::Good(companions))
    }

    /// These companions are linked no more. Whoever they were told a group's key with gets another one: their places in the
    /// list of devices say so.
    fn part<'d>(
        &self,
        person: &Jid,
        companions: impl Iterator<Item = &'d u16>,
        turn: &Turn<'_>,
    ) -> Result<(), Error> {
        for device in companions {
            let address = person.with_device(*device);
            turn.tx.signal().forget(&address)?;
            turn.tx.sender_keys().forget_sender(&address)?;
        }
        Ok(())
    }

    /// One companion was unlinked, by the server's word.
    pub(super) fn companion_gone(&self, device: &Jid, turn: &Turn<'_>) -> Result<(), Error> {
        let address = turn.tx.people().signal_address(device)?;
        turn.tx.signal().forget(&address)?;
        turn.tx.sender_keys().forget_sender(&address)?;
        let Some(mut vouch) = turn.tx.devices().vouch(&address)? else { return Ok(()) };
        if vouch.companions.remove(&address.device()).is_some() {
            turn.tx.devices().set_vouch(&address, &vouch)?;
        }
        Ok(())
    }

    /// Whether a change of this time is older than what the phone has vouched for since.
    pub(super) fn is_past(&self, person: &Jid, ts: Option<u64>, turn: &Turn<'_>) -> Result<bool, Error> {
        let Some(ts) = ts.filter(|ts| *ts > 0) else { return Ok(false) };
        let address = turn.tx.people().signal_address(&person.bare())?;
        Ok(turn.tx.devices().vouch(&address)?.is_some_and(|vouch| ts < vouch.timestamp_secs))
    }

    /// An account was registered anew: whatever was one of its companions is none any more. The phone is not meant.
    pub(super) fn registered_anew(&mut self, person: &Jid, turn: &mut Turn<'_>) -> Result<(), Error> {
        tracing::warn!(%person, "an account was registered anew: its companions are forgotten");
        let address = turn.tx.people().signal_address(&person.bare())?;
        turn.tx.signal().forget_companions(&address)?;
        turn.tx.sender_keys().forget_companions(&address)?;
        turn.tx.devices().forget(&address)?;
        turn.tx.people().forget_devices(&address)?;
        let other = turn.tx.people().other_name(&address)?;
        if let Some(conn) = &mut self.conn {
            let is_theirs = |device: &Jid| {
                device.same_user(&address) || other.as_ref().is_some_and(|other| device.same_user(other))
            };
            conn.barren.retain(|device| !is_theirs(device));
        }
        Ok(())
    }

    /// A device shows this identity. Another one than before of a phone means that its account was registered anew.
    pub(super) fn identity_seen(
        &mut self,
        address: &Jid,
        identity: &PublicKey,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        if address.device() == 0
            && turn.tx.signal().identity(address)?.is_some_and(|known| known != *identity)
        {
            self.registered_anew(address, turn)?;
            turn.tx.sender_keys().forget_device(address)?;
        }
        Ok(turn.tx.signal().set_identity(address, identity)?)
    }

    /// A companion shows an identity that another phone has signed than the one that is known. Perhaps its account was
    /// registered anew and nobody said so: the server is asked, once a connection. If it says so, the companion is
    /// believed when it writes again, and the old phone is not.
    pub(super) fn doubt_phone(
        &mut self,
        address: &Jid,
        identity: &PublicKey,
        signed: Option<&[u8]>,
        turn: &mut Turn<'_>,
    ) {
        let phone = address.bare();
        let consistent = signed.is_some_and(|signed| adv::verify(signed, identity, None).is_ok());
        if !consistent || self.is_own(address) {
            return;
        }
        let Some(conn) = &mut self.conn else { return };
        if conn.doubted_phones.len() < MAX_CLAIMS && conn.doubted_phones.insert(phone.clone()) {
            self.ask_bundle(&phone, turn);
        }
    }

    /// Whether this is the identity of a phone of which another one is known, and that was asked for because of that.
    pub(super) fn is_new_phone(
        &self,
        address: &Jid,
        identity: &PublicKey,
        turn: &Turn<'_>,
    ) -> Result<bool, Error> {
        let doubted = self.conn.as_ref().is_some_and(|conn| conn.doubted_phones.contains(address));
        Ok(doubted && turn.tx.signal().identity(address)?.is_some_and(|known| known != *identity))
    }

    /// The key that must have signed a companion: the identity of its account's phone, as far as it is known.
    fn account_key(&self, address: &Jid, turn: &Turn<'_>) -> Result<Option<PublicKey>, Error> {
        if self.is_own(address) {
            return Ok(self.device.paired.as_ref().map(|p| PublicKey::from_bytes(p.account_key)));
        }
        let phone = address.bare();
        match turn.tx.signal().identity(&phone)? {
            Some(identity) => Ok(Some(identity)),
            None => Ok(turn.tx.signal().session(&phone)?.remote_identity()),
        }
    }

    /// Whether this identity is that of a device of the account that it claims to be of. `signed` is its
    /// `<device-identity>`. Changes nothing.
    pub(super) fn check_device(
        &self,
        address: &Jid,
        identity: &PublicKey,
        signed: Option<&[u8]>,
        turn: &Turn<'_>,
    ) -> Result<Result<Admission, Unvouched>, Error> {
        if address.device() == 0 && self.is_own(address) {
            // It signed this device when that was linked, and with another identity it would have to do so again.
            let ours = self.account_key(address, turn)?;
            let same = ours.is_none_or(|ours| ours == *identity);
            return Ok(if same { Ok(Admission::Known) } else { Err(AdvError::SignatureMismatch.into()) });
        }
        if address.device() == 0 || turn.tx.signal().identity(address)?.as_ref() == Some(identity) {
            return Ok(Ok(Admission::Known));
        }
        let Some(signed) = signed else { return Ok(Err(Unvouched::Missing)) };
        let account = self.account_key(address, turn)?;
        let vouched = match adv::verify(signed, identity, account.as_ref()) {
            Ok(vouched) => vouched,
            Err(error) => return Ok(Err(error.into())),
        };
        if let Some(known) = turn.tx.devices().vouch(address)? {
            let older = vouched.timestamp_secs <= known.timestamp_secs;
            let unlinked = known.raw_id == vouched.raw_id && !known.valid.contains(&vouched.key_index);
            // Of an earlier registration.
            let foreign = known.raw_id != vouched.raw_id;
            if older && (unlinked || foreign) {
                return Ok(Err(Unvouched::Unlinked));
            }
        }
        Ok(Ok(Admission::New(vouched)))
    }

    /// Takes in what a companion's identity says, now that it has proved to be that companion.
    pub(super) fn admit(
        &mut self,
        address: &Jid,
        identity: &PublicKey,
        admission: Admission,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        if let Admission::New(vouched) = admission {
            let phone = address.bare();
            if !self.is_own(address) && turn.tx.signal().identity(&phone)?.is_none() {
                // The first that is heard of that account: who signed is its phone.
                turn.tx.signal().set_identity(&phone, &vouched.account_key)?;
            }
            match turn.tx.devices().vouch(address)? {
                Some(known) if known.raw_id != vouched.raw_id => self.registered_anew(address, turn)?,
                Some(mut known) => {
                    let before = known.companions.insert(address.device(), vouched.key_index);
                    if before != Some(vouched.key_index) && known.companions.len() <= MAX_DEVICES {
                        turn.tx.devices().set_vouch(address, &known)?;
                        turn.tx.people().forget_devices(address)?;
                    }
                }
                None => {}
            }
        }
        self.identity_seen(address, identity, turn)
    }
}

/// Keeps a list of devices under both names of the person.
fn keep(
    person: &Jid,
    other: Option<&Jid>,
    devices: &[u16],
    at: Millis,
    turn: &Turn<'_>,
) -> Result<(), Error> {
    for name in [Some(person), other].into_iter().flatten() {
        turn.tx.people().set_devices(name, devices, at)?;
    }
    Ok(())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
