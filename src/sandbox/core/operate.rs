//! What the control API can do to the world.

use std::time::Duration;

use super::{AccountId, DeviceRef, Effect, Namespace, World};
use crate::{
    clock::Millis,
    stanza::{Receipt, ReceiptKind, StreamError, presence},
    wire::{Jid, Node},
};

/// Why the control API refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OperateError {
    #[error("{0}")]
    BadRequest(&'static str),
    #[error("no such phone")]
    NoSuchPhone,
    #[error("no such device")]
    NoSuchDevice,
    #[error("no such message")]
    NoSuchMessage,
    #[error("no such call, or it is over")]
    NoSuchCall,
    #[error("no such group")]
    NoSuchGroup,
    #[error("no socket waits with that code")]
    NoSocket,
    #[error("the code has expired")]
    Expired,
    #[error("nobody has that number or JID")]
    NoSuchRecipient,
    #[error("{0}")]
    Conflict(&'static str),
}

/// Something to do to one device.
pub(crate) enum Operation {
    Drop,
    StreamError(u16),
    Freeze(Duration),
    Refuse(Duration),
}

impl World {
    pub(crate) fn phone(&self, number: &str) -> Result<AccountId, OperateError> {
        self.by_pn.get(number).copied().ok_or(OperateError::NoSuchPhone)
    }

    pub(crate) fn create_phone(
        &mut self,
        number: Option<String>,
        name: Option<String>,
        platform: Option<String>,
        now: Millis,
    ) -> Result<AccountId, OperateError> {
        let number = match number {
            None => self.free_number(),
            Some(n)
                if (8..=15).contains(&n.len())
                    && n.bytes().all(|b| b.is_ascii_digit())
                    && !n.starts_with('0') =>
            {
                n
            }
            Some(_) => return Err(OperateError::BadRequest("number: 8 to 15 digits with the country code")),
        };
        if self.by_pn.contains_key(&number) {
            return Err(OperateError::Conflict("a phone has that number already"));
        }
        let platform = platform.unwrap_or_else(|| "android".into());
        Ok(self.add_account(number, name.filter(|name| !name.is_empty()), None, platform, now))
    }

    pub(crate) fn scan_qr(
        &mut self,
        qr: &str,
        phone: Option<AccountId>,
        now: Millis,
    ) -> Result<AccountId, OperateError> {
        let account = self.scan(qr, phone, now);
        self.settle(now);
        account
    }

    pub(crate) fn unlink_companion(
        &mut self,
        phone: AccountId,
        device: u16,
        now: Millis,
    ) -> Result<(), OperateError> {
        let gone = self.unlink(DeviceRef { account: phone, device }, now);
        self.settle(now);
        if gone { Ok(()) } else { Err(OperateError::NoSuchDevice) }
    }

    pub(super) fn recipient(&self, to: &str) -> Result<Jid, OperateError> {
        if let Some(chat) = to.parse::<Jid>().ok().filter(|jid| jid.is_group() || jid.is_status()) {
            let exists = chat.is_status() || self.group(&chat).is_ok();
            return if exists { Ok(chat) } else { Err(OperateError::NoSuchGroup) };
        }
        let found = self.resolve_text(to).ok_or(OperateError::NoSuchRecipient)?;
        let lid = to.parse::<Jid>().is_ok_and(|jid| jid.is_lid());
        let namespace = if lid { Namespace::Lid } else { Namespace::Pn };
        Ok(self.account(found.account).jid(namespace, 0))
    }

    /// The phone's user opens the chat, or plays the voice note.
    pub(crate) fn receipt_from(
        &mut self,
        phone: AccountId,
        id: &str,
        kind: ReceiptKind,
        now: Millis,
    ) -> Result<(), OperateError> {
        let message = self.account(phone).phone.inbox.iter().rev().find(|m| m.id == id && !m.from_me);
        let message = message.ok_or(OperateError::NoSuchMessage)?;
        let kind = match kind {
            ReceiptKind::Read if self.reads_quietly(phone, &message.chat) => ReceiptKind::ReadSelf,
            ReceiptKind::Played if self.reads_quietly(phone, &message.chat) => ReceiptKind::PlayedSelf,
            kind => kind,
        };
        let receipt = Receipt {
            t: Some(now.secs()),
            participant: (!message.chat.is_user()).then(|| message.sender.clone()),
            ..Receipt::new(id.to_owned(), message.chat.clone(), kind)
        };
        self.as_phone(phone, receipt.build_to(), now);
        Ok(())
    }

    /// The phone's user changes a privacy setting.
    pub(crate) fn set_privacy(
        &mut self,
        phone: AccountId,
        name: &str,
        value: &str,
        now: Millis,
    ) -> Result<(), OperateError> {
        let device = DeviceRef { account: phone, device: 0 };
        let changed = self.change_privacy(device, vec![(name.to_owned(), value.to_owned())], now);
        self.settle(now);
        changed.map(drop).ok_or(OperateError::BadRequest("no such privacy setting, or no such value of it"))
    }

    pub(crate) fn type_in(
        &mut self,
        phone: AccountId,
        to: &str,
        state: &str,
        now: Millis,
    ) -> Result<(), OperateError> {
        let to = self.recipient(to)?;
        let state = match state {
            "composing" => Node::new("composing"),
            "recording" => Node::new("composing").attr("media", "audio"),
            "paused" => Node::new("paused"),
            _ => return Err(OperateError::BadRequest("state: composing, recording or paused")),
        };
        self.as_phone(phone, Node::new("chatstate").attr("to", to).child(state), now);
        Ok(())
    }

    pub(crate) fn show_presence(&mut self, phone: AccountId, available: bool, now: Millis) {
        self.as_phone(phone, presence(available, None), now);
    }

    pub(crate) fn switch(&mut self, phone: AccountId, online: bool, now: Millis) {
        self.switch_phone(phone, online, now);
        self.settle(now);
    }

    pub(super) fn as_phone(&mut self, phone: AccountId, node: Node, now: Millis) {
        self.outbox.push_back((DeviceRef { account: phone, device: 0 }, node));
        self.settle(now);
    }

    /// The phone's sessions with a companion are gone, as after a restore from a backup.
    pub(crate) fn forget_session(&mut self, phone: AccountId, companion: DeviceRef) {
        self.account_mut(phone).phone.forget(companion);
    }

    /// A companion by JID; without the device the newest.
    pub(crate) fn companion(&self, jid: &str) -> Result<DeviceRef, OperateError> {
        let mut device = self.resolve_text(jid).ok_or(OperateError::NoSuchDevice)?;
        if device.device == 0 {
            device.device = *self.account(device.account).devices.keys().last().unwrap_or(&0);
        }
        let exists = device.device != 0 && self.device(device).is_some();
        if exists { Ok(device) } else { Err(OperateError::NoSuchDevice) }
    }

    /// Does something to a companion. Only `refuse` is of use while it is not connected.
    pub(crate) fn operate(
        &mut self,
        device: DeviceRef,
        what: &Operation,
        now: Millis,
    ) -> Result<(), OperateError> {
        let known = self.device_mut(device).ok_or(OperateError::NoSuchDevice)?;
        if let Operation::Refuse(time) = what {
            known.refuse_until = now + *time;
        }
        let Some(conn) = known.conn else {
            return match what {
                Operation::Refuse(_) => Ok(()),
                _ => Err(OperateError::Conflict("the device is not connected")),
            };
        };
        match what {
            Operation::Drop | Operation::Refuse(_) => self.effects.push(Effect::Drop(conn)),
            Operation::StreamError(code) => {
                self.emit(conn, StreamError::Code(*code).build(), now);
                self.close_soon(conn, now);
            }
            Operation::Freeze(time) => self.effects.push(Effect::Freeze(conn, *time)),
        }
        Ok(())
    }
}
