//! What no client of good manners sends: any bytes in place of a message, encrypted as every message is. For stories
//! about hostile peers.

use super::{AccountId, DeviceRef, Namespace, OperateError, World, phone::Kept};
use crate::{clock::Millis, stanza::Class};

impl World {
    /// Sends these bytes to a person's devices as if they were a serialized message; the id.
    pub(crate) fn forge(
        &mut self,
        from: AccountId,
        to: &str,
        plaintext: Vec<u8>,
        now: Millis,
    ) -> Result<String, OperateError> {
        let to = self.sends_to(from, to)?;
        let target = self.resolve(&to).ok_or(OperateError::NoSuchRecipient)?;
        let id = self.random_hex(16);
        let namespace = Namespace::of(&to);
        let chat = self.account(target.account).jid(namespace, 0);
        let class = Class::PLAIN;
        let mut stanza = class.stanza(id.clone(), chat.clone());
        for device in self.devices_of(target.account) {
            if let Some(enc) = self.phone_encrypts(from, device, plaintext.clone(), now) {
                stanza.participants.push((self.jid(device, namespace), Some(class.enc(enc))));
            }
        }
        let kept = Kept { to: chat, message: plaintext, peer: false, at: now };
        self.account_mut(from).phone.keep_sent(&id, kept);
        self.says(DeviceRef { account: from, device: 0 }, stanza.build());
        self.settle(now);
        Ok(id)
    }
}
