//! The linked device: its keys, and the account it belongs to once it is paired.

use rusqlite::{OptionalExtension as _, params};

use super::{Error, Tx};
use crate::{crypto::KeyPair, wire::Jid};

/// Keys that a device makes for itself before its first connection.
#[derive(Clone)]
pub struct Device {
    /// The server binds the device to this key.
    pub noise: KeyPair,
    /// The device's Signal identity.
    pub identity: KeyPair,
    /// 1 … 2^31−1.
    pub registration_id: u32,
    /// Travels in the QR code alone.
    pub adv_secret: [u8; 32],
    /// The Noise root of the network these keys were made for.
    pub server_root: [u8; 32],
    /// Logins so far.
    pub login_count: u32,
    /// To be sent in front of the next connection's first bytes.
    pub routing_info: Option<Vec<u8>>,
    /// Absent until a phone has linked the device.
    pub paired: Option<Paired>,
}

/// What the pairing brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paired {
    /// Own address by number, device included.
    pub jid: Jid,
    /// The same under the hidden identity.
    pub lid: Option<Jid>,
    /// The phone's platform, as WhatsApp names it.
    pub platform: Option<String>,
    /// Name of a business account.
    pub business_name: Option<String>,
    /// Serialized ADVSignedDeviceIdentity with both signatures.
    pub device_identity: Vec<u8>,
    /// The phone's Signal identity.
    pub account_key: [u8; 32],
    /// Index of this device in the account's list.
    pub key_index: u32,
    /// The account's own push name, once known.
    pub push_name: Option<String>,
}

/// Access to the device's row.
pub struct DeviceTable<'a>(&'a Tx<'a>);

impl Tx<'_> {
    /// The linked device.
    pub fn device(&self) -> DeviceTable<'_> {
        DeviceTable(self)
    }
}

fn array<const N: usize>(blob: Vec<u8>) -> rusqlite::Result<[u8; N]> {
    blob.try_into().map_err(|blob: Vec<u8>| {
        rusqlite::Error::FromSqlConversionFailure(
            blob.len(),
            rusqlite::types::Type::Blob,
            "a key of another length".into(),
        )
    })
}

/// A JID column; a text that is none reads as damage.
pub(super) fn jid(text: String) -> rusqlite::Result<Jid> {
    text.parse().map_err(|_| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, "not a JID".into())
    })
}

impl DeviceTable<'_> {
    /// The device, if keys were ever made.
    pub fn load(&self) -> Result<Option<Device>, Error> {
        let mut statement = self.0.conn().prepare_cached(
            "SELECT noise_private, identity_private, registration_id, adv_secret, server_root, login_count,
                    routing_info, jid, lid, platform, business_name, device_identity, account_key, key_index,
                    push_name
             FROM device",
        )?;
        let device = statement
            .query_row([], |row| {
                let own: Option<String> = row.get(7)?;
                let paired = match own {
                    None => None,
                    Some(own) => Some(Paired {
                        jid: jid(own)?,
                        lid: row.get::<_, Option<String>>(8)?.map(jid).transpose()?,
                        platform: row.get(9)?,
                        business_name: row.get(10)?,
                        device_identity: row.get(11)?,
                        account_key: array(row.get(12)?)?,
                        key_index: row.get(13)?,
                        push_name: row.get(14)?,
                    }),
                };
                Ok(Device {
                    noise: KeyPair::from_private(array(row.get(0)?)?),
                    identity: KeyPair::from_private(array(row.get(1)?)?),
                    registration_id: row.get(2)?,
                    adv_secret: array(row.get(3)?)?,
                    server_root: array(row.get(4)?)?,
                    login_count: row.get(5)?,
                    routing_info: row.get(6)?,
                    paired,
                })
            })
            .optional()?;
        Ok(device)
    }

    /// Keeps the keys of a device that was just made. Whatever was there is replaced.
    pub fn create(&self, device: &Device) -> Result<(), Error> {
        self.0.conn().prepare_cached(
            "INSERT OR REPLACE INTO device (id, noise_private, identity_private, registration_id, adv_secret, server_root)
             VALUES (1, ?1, ?2, ?3, ?4, ?5)",
        )?.execute(params![
            device.noise.private.as_bytes(),
            device.identity.private.as_bytes(),
            device.registration_id,
            device.adv_secret,
            device.server_root,
        ])?;
        Ok(())
    }

    /// Keeps what the pairing brought.
    pub fn pair(&self, paired: &Paired) -> Result<(), Error> {
        self.0
            .conn()
            .prepare_cached(
                "UPDATE device SET jid = ?1, lid = ?2, platform = ?3, business_name = ?4, device_identity = ?5,
                        account_key = ?6, key_index = ?7, push_name = coalesce(?8, push_name)",
            )?
            .execute(params![
                paired.jid.to_wire(),
                paired.lid.as_ref().map(Jid::to_wire),
                paired.platform,
                paired.business_name,
                paired.device_identity,
                paired.account_key,
                paired.key_index,
                paired.push_name,
            ])?;
        Ok(())
    }

    /// Own hidden identity, as a login told it.
    pub fn set_lid(&self, lid: &Jid) -> Result<(), Error> {
        self.0.conn().prepare_cached("UPDATE device SET lid = ?1")?.execute([lid.to_wire()])?;
        Ok(())
    }

    /// The account's own push name.
    pub fn set_push_name(&self, name: &str) -> Result<(), Error> {
        self.0.conn().prepare_cached("UPDATE device SET push_name = ?1")?.execute([name])?;
        Ok(())
    }

    /// Bytes for the front of the next connection.
    pub fn set_routing_info(&self, info: &[u8]) -> Result<(), Error> {
        self.0.conn().prepare_cached("UPDATE device SET routing_info = ?1")?.execute([info])?;
        Ok(())
    }

    /// Counts a login.
    pub fn count_login(&self) -> Result<(), Error> {
        self.0.conn().prepare_cached("UPDATE device SET login_count = login_count + 1")?.execute([])?;
        Ok(())
    }

    /// Takes `count` fresh one-time prekey ids, wrapping at 2^24 to 1.
    pub fn take_pre_key_ids(&self, count: u32) -> Result<Vec<u32>, Error> {
        const LAST: u32 = 0x00ff_ffff;
        let mut next: u32 = self
            .0
            .conn()
            .prepare_cached("SELECT next_pre_key_id FROM device")?
            .query_row([], |r| r.get(0))?;
        let mut ids = Vec::new();
        let mut taken = self.0.conn().prepare_cached("SELECT 1 FROM pre_key WHERE id = ?1")?;
        while ids.len() < count as usize {
            if !taken.exists([next])? {
                ids.push(next);
            }
            next = if next >= LAST { 1 } else { next + 1 };
        }
        self.0.conn().prepare_cached("UPDATE device SET next_pre_key_id = ?1")?.execute([next])?;
        Ok(ids)
    }

    /// Forgets the device with all its keys, sessions and lists. Messages, events and tokens stay.
    pub fn wipe(&self) -> Result<(), Error> {
        self.0.conn().execute_batch(
            "DELETE FROM device; DELETE FROM signed_pre_key; DELETE FROM pre_key; DELETE FROM session;
             DELETE FROM identity; DELETE FROM device_list; DELETE FROM number; DELETE FROM inbound_pending;
             DELETE FROM device_vouch;
             DELETE FROM app_state_key; DELETE FROM history_work;
             DELETE FROM history_request; DELETE FROM history_late; DELETE FROM resend;
             DELETE FROM app_state_version; DELETE FROM app_state_mac; DELETE FROM app_state_write;
             DELETE FROM sender_key; DELETE FROM sender_key_sent_to; DELETE FROM group_info;
             DELETE FROM status_audience; DELETE FROM profile; DELETE FROM business; DELETE FROM blocked;
             DELETE FROM watched; DELETE FROM privacy_token; DELETE FROM standing; DELETE FROM identity_news;
             DELETE FROM handled; DELETE FROM quick_reply; UPDATE chat SET favorite = 0;
             DELETE FROM setting WHERE name = 'blocklist.dhash' OR name GLOB 'account.*';",
        )?;
        Ok(())
    }
}
