//! Broadcast lists: one message of a phone to many people, each of whom gets it in the chat of two. Only phones send to
//! them (protocol 02, 6.10), to each device by itself; own companions are told whom it went to.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::{
    AccountId, DeviceRef, Namespace, OperateError, World,
    compose::Sending,
    messages::{Plan, Refusal, schema},
    phone::Kept,
};
use crate::{
    clock::Millis,
    stanza::{Class, MAX_AUDIENCE, Outgoing, device_sent},
    wire::Jid,
};

impl World {
    /// The phone's user sends to a list of these people; the id.
    pub(crate) fn send_list(
        &mut self,
        phone: AccountId,
        people: &[String],
        what: Sending,
        now: Millis,
    ) -> Result<String, OperateError> {
        let mut others = BTreeSet::new();
        for person in people {
            let to = self.sends_to(phone, person)?;
            let found = self.resolve(&to).filter(|_| to.is_user()).ok_or(OperateError::NoSuchRecipient)?;
            others.insert(found.account);
        }
        others.remove(&phone);
        if !(2..=MAX_AUDIENCE).contains(&others.len()) {
            return Err(OperateError::BadRequest("to: a broadcast list has 2 to 256 people"));
        }
        let list = list_of(phone, &others);
        let message = self.compose(phone, &list, what, now)?;
        let message = self.with_secret(message);
        let id = self.random_hex(16);
        let class = Class::of(&message);
        let mut stanza = class.stanza(id.clone(), list.clone());
        let copy = device_sent(&message, &list);
        let me = DeviceRef { account: phone, device: 0 };
        for account in others.into_iter().chain([phone]) {
            for device in self.devices_of(account).into_iter().filter(|device| *device != me) {
                let plaintext = if account == phone { copy.clone() } else { message.clone() };
                if let Some(enc) = self.phone_encrypts(phone, device, plaintext, now) {
                    stanza.participants.push((self.jid(device, Namespace::Lid), Some(class.enc(enc))));
                }
            }
        }
        self.account_mut(phone).phone.keep_sent(&id, Kept { to: list, message, peer: false, at: now });
        self.says(me, stanza.build());
        self.settle(now);
        Ok(id)
    }

    /// Who gets a message to a list: every device that it is encrypted for.
    pub(super) fn plan_list(&self, from: DeviceRef, out: &Outgoing) -> Result<Plan, Refusal> {
        if from.device != 0 {
            return Err(schema("a companion sends to a broadcast list"));
        }
        if let Some(asked_by) = &out.participant {
            return self.plan_resend(from, asked_by, out, |_| true);
        }
        let mut targets = Vec::new();
        for (jid, enc) in &out.participants {
            let enc = enc.clone().ok_or(schema("participant without enc"))?;
            if let Some(device) = self.resolve(jid).filter(|device| *device != from) {
                targets.push((device, vec![enc]));
            }
        }
        if targets.is_empty() {
            return Err(schema("message without ciphertext"));
        }
        Ok(Plan { targets, phash: None })
    }

    /// Whom a message to a list goes to, by number.
    pub(super) fn audience_of(&self, from: AccountId, out: &Outgoing) -> Vec<Jid> {
        let named = out.participants.iter().filter_map(|(jid, _)| self.resolve(jid));
        let people: BTreeSet<AccountId> =
            named.map(|device| device.account).filter(|account| *account != from).collect();
        people.into_iter().map(|account| self.account(account).jid(Namespace::Pn, 0)).collect()
    }

    /// Whether these have written with each other.
    pub(super) fn wrote_with(&self, one: AccountId, other: AccountId) -> bool {
        self.account(one).peers.contains(&other)
    }
}

/// The same people are the same list.
fn list_of(owner: AccountId, people: &BTreeSet<AccountId>) -> Jid {
    let mut sha = Sha256::new();
    for account in [&owner].into_iter().chain(people) {
        sha.update(account.0.to_be_bytes());
    }
    let digest: [u8; 32] = sha.finalize().into();
    let number = digest.iter().take(4).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    // Ten digits, as the apps make them from the time.
    Jid::list((1_000_000_000 + number).to_string())
}
