//! Notifications: acknowledged always, after what they change is part of the turn.

use super::{
    Error,
    dispatch::{Account, Turn},
};
use crate::{
    stanza::{DeviceChange, LinkCodeNotice, Notification, NotificationKind},
    wire::Node,
};

impl Account {
    pub(super) fn notification(&mut self, node: &Node, turn: &mut Turn<'_>) -> Result<(), Error> {
        if self.passkey_noticed(node, turn)? {
            return Ok(());
        }
        match Notification::parse(node) {
            Ok(_) if node.text("type") == Some("mediaretry") => self.reuploaded(node, turn)?,
            _ if node.text("type") == Some(LinkCodeNotice::KIND) => self.link_code_noticed(node, turn),
            _ if node.text("type") == Some("w:gp2") => self.group_noticed(node, turn)?,
            _ if node.text("type") == Some("privacy_token") => self.tokens_came(node, turn)?,
            _ if node.text("type") == Some("newsletter") => self.newsletter_noticed(node, turn)?,
            _ if node.text("type") == Some("mex") => self.mex_noticed(node, turn)?,
            _ if self.profile_noticed(node, turn)? => {}
            Ok(notification) => self.noticed(&notification, turn)?,
            Err(error) => tracing::warn!(%error, "notification"),
        }
        self.ack(node, turn);
        self.continue_drain(turn);
        Ok(())
    }

    fn noticed(&mut self, notification: &Notification, turn: &mut Turn<'_>) -> Result<(), Error> {
        let from = &notification.from;
        match &notification.kind {
            NotificationKind::PreKeysLow { .. } => self.upload_pre_keys(turn),
            NotificationKind::IdentityChanged => {
                let phone = turn.tx.people().signal_address(&from.bare())?;
                turn.tx.signal().forget(&phone)?;
                turn.tx.sender_keys().forget_device(&from.bare())?;
                self.registered_anew(&phone, turn)?;
                self.issue_token_again(&from.bare(), turn)
            }
            NotificationKind::Devices(change) => {
                // Nothing is believed but that there is something new to be asked for, which is checked then.
                if let DeviceChange::Add { ts, .. } | DeviceChange::Remove { ts, .. } = change
                    && self.is_past(from, *ts, turn)?
                {
                    return Ok(());
                }
                if let DeviceChange::Remove { device, .. } = change
                    && device.device() != 0
                    && device.same_user(from)
                {
                    self.companion_gone(device, turn)?;
                }
                Ok(turn.tx.people().forget_devices(from)?)
            }
            NotificationKind::OwnDevices(_) => Ok(turn.tx.people().forget_devices(from)?),
            NotificationKind::PushName(name) => self.learn_own_name(name, turn),
            NotificationKind::Privacy(settings) => {
                self.learn_privacy(settings, turn)?;
                let settings = settings.iter().map(|(name, value)| (name.clone(), value.clone().into()));
                let settings = serde_json::Value::Object(settings.collect());
                self.report_own(serde_json::Map::from_iter([("privacy".to_owned(), settings)]), turn)
            }
            NotificationKind::ServerSync(moved) => self.app_state_moved(moved, turn),
            NotificationKind::PreKeyCheck | NotificationKind::Other(_) => Ok(()),
        }
    }

    /// The account's own push name, from whichever source.
    pub(super) fn learn_own_name(&mut self, name: &str, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(paired) = &mut self.device.paired else { return Ok(()) };
        if name.is_empty() || paired.push_name.as_deref() == Some(name) {
            return Ok(());
        }
        paired.push_name = Some(name.to_owned());
        turn.tx.device().set_push_name(name)?;
        self.refresh_link(turn);
        if self.can_send() {
            // Told also by who is not shown online: the server puts it beside every message.
            let stanza = match self.available {
                true => crate::stanza::presence(true, Some(name)),
                false => crate::stanza::presence::named(name),
            };
            turn.send(&stanza);
        }
        Ok(())
    }
}
