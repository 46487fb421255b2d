//! Companions that the sandbox plays itself, so that a person may have several devices without a client for each. They
//! read and send receipts, as their phone does while it is on; they write nothing.

use std::collections::BTreeMap;

use rand::Rng as _;

use super::{
    AccountId, DeviceRef, Namespace, OperateError, World,
    account::{Account, Device},
    phone::Phone,
};
use crate::{clock::Millis, crypto::adv, wire::Jid};

/// Companions that one phone may be given at once: WhatsApp links four.
const MAX_PLAYED: u16 = 4;
/// Phones made by one call.
const MAX_AT_ONCE: usize = 2_000;
/// Devices that read in one go; the others wait, so that no client is handed thousands of receipts at once.
const AT_ONCE: usize = 32;

impl Account {
    /// The Signal endpoint of a device that the sandbox plays: the phone, or one of its played companions.
    pub(super) fn endpoint(&self, device: u16) -> Option<&Phone> {
        if device == 0 { Some(&self.phone) } else { self.played.get(&device) }
    }

    pub(super) fn endpoint_mut(&mut self, device: u16) -> Option<&mut Phone> {
        if device == 0 { Some(&mut self.phone) } else { self.played.get_mut(&device) }
    }
}

impl World {
    pub(super) fn endpoint(&self, device: DeviceRef) -> Option<&Phone> {
        self.account(device.account).endpoint(device.device)
    }

    pub(super) fn endpoint_mut(&mut self, device: DeviceRef) -> Option<&mut Phone> {
        self.account_mut(device.account).endpoint_mut(device.device)
    }

    /// `POST /admin/phones` with `count`: phones with companions that the sandbox plays.
    pub(crate) fn create_phones(
        &mut self,
        count: usize,
        devices: u16,
        now: Millis,
    ) -> Result<Vec<AccountId>, OperateError> {
        if !(1..=MAX_AT_ONCE).contains(&count) {
            return Err(OperateError::BadRequest("count: 1 to 2000"));
        }
        let mut made = Vec::with_capacity(count);
        for _ in 0..count {
            let phone = self.create_phone(None, None, None, now)?;
            self.play(phone, devices, now)?;
            made.push(phone);
        }
        Ok(made)
    }

    /// Links so many companions to a phone that the sandbox plays, too.
    pub(crate) fn play(&mut self, phone: AccountId, devices: u16, now: Millis) -> Result<(), OperateError> {
        if devices > MAX_PLAYED {
            return Err(OperateError::BadRequest("devices: 0 to 4 companions"));
        }
        for _ in 0..devices {
            let id = self.next_device(phone).ok_or(OperateError::Conflict("no device number is left"))?;
            let Self { accounts, rng, .. } = self;
            let Some(account) = accounts.get_mut(phone.0) else { return Err(OperateError::NoSuchPhone) };
            account.key_index += 1;
            let (companion, keys) = Phone::generate(rng);
            let mut secret = [0; 32];
            rng.fill_bytes(&mut secret);
            let link = adv::Link {
                raw_id: account.raw_id,
                timestamp_secs: now.secs(),
                key_index: account.key_index,
                companion: &companion.identity.public,
                secret: &secret,
            };
            let container = adv::link(&account.phone.identity, &link, rng);
            let accepted = adv::accept(&container, &secret, &companion.identity, rng);
            let accepted =
                accepted.map_err(|_| OperateError::Conflict("the companion could not be linked"))?;
            let mut device = Device::new(id, keys);
            device.key_index = Some(account.key_index);
            device.identity = Some(accepted.signed);
            device.title = "Sandbox".into();
            account.devices.insert(id, device);
            account.played.insert(id, companion);
            account.sign_key_indexes(now, rng);
            let (device, key_index) = (DeviceRef { account: phone, device: id }, account.key_index);
            self.tell_device_change(device, key_index, true, now);
        }
        Ok(())
    }

    /// Something came for a played companion: it reads it soon.
    pub(super) fn rouse(&mut self, device: DeviceRef) {
        self.roused.insert(device);
    }

    /// Lets some of those read that something came for.
    pub(super) fn roused_read(&mut self, now: Millis) {
        for _ in 0..AT_ONCE {
            let Some(device) = self.roused.pop_first() else { return };
            self.wake(device, now);
        }
    }

    /// Which devices that the sandbox plays have decrypted the message with this id.
    pub(crate) fn readers_of(&self, id: &str) -> Vec<Jid> {
        let mut readers = Vec::new();
        for account in &self.accounts {
            let played = account.played.iter().map(|(device, endpoint)| (*device, endpoint));
            for (device, endpoint) in std::iter::once((0, &account.phone)).chain(played) {
                if endpoint.inbox.iter().rev().any(|message| message.id == id) {
                    readers.push(account.jid(Namespace::Pn, device));
                }
            }
        }
        readers
    }
}

/// By device number.
pub(super) type Played = BTreeMap<u16, Phone>;
