//! The control API's operations, for whoever runs the sandbox in the same process. `control` gives them over HTTP.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use axum::body::Bytes;
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{
    core::{
        AppStateView, CallView, CodeOutcome, Defect, FaultView, GroupView, Intruder, ListShown, LogLine,
        MessageView, Namespace, NewsletterView, OperateError, Operation, PasskeyView, PhoneChange, PhoneView,
        ReceiptView, Sending, StandingChange, StatsView, World,
    },
    media::{self, FileError, FileToSend},
    shared::Shared,
};
use crate::{
    crypto::app_state::Collection,
    stanza::{MemberChange, ReceiptKind},
    wire::Jid,
};

/// Long polls end here at the latest.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// A companion answers a typed code within a second, or not at all.
const CODE_WAIT: Duration = Duration::from_secs(10);

/// Why an operation was refused, with the status the HTTP form gives it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AdminError {
    /// 4xx.
    pub status: u16,
    /// What is wrong.
    pub message: String,
}

impl From<OperateError> for AdminError {
    fn from(error: OperateError) -> Self {
        let status = match error {
            OperateError::BadRequest(_) => 400,
            OperateError::NoSuchPhone
            | OperateError::NoSuchDevice
            | OperateError::NoSuchMessage
            | OperateError::NoSuchRecipient
            | OperateError::NoSuchGroup
            | OperateError::NoSuchCall
            | OperateError::NoSocket => 404,
            OperateError::Expired | OperateError::Conflict(_) => 409,
        };
        Self { status, message: error.to_string() }
    }
}

/// What is to happen to a companion's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceCommand {
    /// Cut the TCP connection.
    Drop,
    /// End the stream with this code.
    StreamError(u16),
    /// Neither read nor write for so long.
    Freeze(Duration),
    /// Cut, and take no new connection for so long.
    Refuse(Duration),
}

/// A handle to a running sandbox. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    shared: Arc<Shared>,
}

type Reply<T> = Result<T, AdminError>;

impl Admin {
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// A new phone; number and name are made up where they are not given.
    pub fn create_phone(
        &self,
        number: Option<String>,
        name: Option<String>,
        platform: Option<String>,
    ) -> Reply<PhoneView> {
        self.shared.input(|world, now| {
            let phone = world.create_phone(number, name, platform, now)?;
            Ok(world.phone_view(phone))
        })
    }

    /// So many phones, each with so many companions that the sandbox plays itself.
    pub fn create_phones(&self, count: usize, devices: u16) -> Reply<Vec<PhoneView>> {
        self.shared.input(|world, now| {
            let made = world.create_phones(count, devices, now)?;
            Ok(made.into_iter().map(|phone| world.phone_view(phone)).collect())
        })
    }

    /// Links companions to a phone that the sandbox plays itself.
    pub fn play(&self, number: &str, devices: u16) -> Reply<PhoneView> {
        self.shared.input(|world, now| {
            let phone = world.phone(number)?;
            world.play(phone, devices, now)?;
            Ok(world.phone_view(phone))
        })
    }

    /// Which devices that the sandbox plays have decrypted this message, waiting until they are so many.
    pub async fn readers(&self, id: &str, count: usize, wait: Duration) -> Reply<Vec<String>> {
        let look = |world: &World| {
            let readers: Vec<String> = world.readers_of(id).iter().map(Jid::to_wire).collect();
            Ok(readers)
        };
        self.until(wait, look, |readers| readers.len() >= count).await
    }

    /// All phones.
    pub fn phones(&self) -> Vec<PhoneView> {
        self.shared.read(World::phone_views)
    }

    /// One phone, by its digits.
    pub fn phone(&self, number: &str) -> Reply<PhoneView> {
        self.shared.read(|world| Ok(world.phone_view(world.phone(number)?)))
    }

    /// The phone whose number derives from the waiting client's push name scans a pairing code.
    pub fn scan_qr(&self, qr: &str) -> Reply<PhoneView> {
        self.shared.input(|world, now| {
            let phone = world.scan_qr(qr, None, now)?;
            Ok(world.phone_view(phone))
        })
    }

    /// This phone scans a pairing code.
    pub fn phone_scans_qr(&self, number: &str, qr: &str) -> Reply<()> {
        self.shared.input(|world, now| {
            let phone = world.phone(number)?;
            world.scan_qr(qr, Some(phone), now)?;
            Ok(())
        })
    }

    /// This phone types the code that a companion shows, and waits for what comes of it.
    pub async fn type_code(&self, number: &str, code: &str) -> Reply<()> {
        let mut changes = self.shared.watch();
        let phone = self.shared.read(|world| world.phone(number))?;
        let deadline = Instant::now() + CODE_WAIT;
        // Baileys shows a code before it has told the server.
        while !self.shared.read(|world| world.shows_code(phone)) {
            if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return Err(OperateError::NoSocket.into());
            }
        }
        let attempt = self.shared.input(|world, now| world.type_code(phone, code, now))?;
        loop {
            changes.mark_unchanged();
            match self.shared.read(|world| world.code_outcome(phone, attempt)) {
                Some(CodeOutcome::Linked) => return Ok(()),
                Some(CodeOutcome::WrongCode) => {
                    return Err(AdminError {
                        status: 409,
                        message: "the companion shows another code".into(),
                    });
                }
                Some(CodeOutcome::Waiting) => {}
                None => {
                    return Err(AdminError {
                        status: 409,
                        message: "another code was typed meanwhile".into(),
                    });
                }
            }
            if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return Err(AdminError { status: 408, message: "the companion does not answer".into() });
            }
        }
    }

    /// From now on this phone's account wants a passkey of whoever links a companion, or none any more.
    pub fn want_passkey(&self, number: &str, wanted: bool) -> Reply<()> {
        self.shared.input(|world, _| Ok(world.want_passkey(world.phone(number)?, wanted)?))
    }

    /// The passkey of this phone's account signs for these request options; the assertion.
    pub fn sign_with_passkey(
        &self,
        number: &str,
        options: &serde_json::Value,
        defect: Option<Defect>,
    ) -> Reply<serde_json::Value> {
        self.shared.input(|world, _| Ok(world.sign_with_passkey(world.phone(number)?, options, defect)?))
    }

    /// Where a linking with a passkey stands on this phone.
    pub fn passkey(&self, number: &str) -> Reply<PasskeyView> {
        self.shared.read(|world| Ok(world.passkey_view(world.phone(number)?)))
    }

    /// This phone's user does not want to link after all.
    pub fn decline_passkey(&self, number: &str) -> Reply<()> {
        self.shared.input(|world, now| Ok(world.decline_passkey(world.phone(number)?, now)?))
    }

    /// This phone logs a companion out.
    pub fn unlink(&self, number: &str, device: u16) -> Reply<()> {
        self.shared.input(|world, now| Ok(world.unlink_companion(world.phone(number)?, device, now)?))
    }

    /// From now on others are shown this list of the phone's companions.
    pub fn show_list(&self, number: &str, shown: ListShown) -> Reply<()> {
        self.shared.input(|world, _| {
            world.show_list(world.phone(number)?, shown);
            Ok(())
        })
    }

    /// Puts a device among the phone's that the phone does not vouch for; its number.
    pub fn intrude(&self, number: &str, intruder: Intruder) -> Reply<u16> {
        self.shared.input(|world, now| Ok(world.intrude(world.phone(number)?, intruder, now)?))
    }

    /// This phone's number is registered anew, with the identity of before or with another one. `quiet`: the server tells
    /// nobody.
    pub fn register_anew(&self, number: &str, same_identity: bool, quiet: bool) -> Reply<()> {
        self.shared.input(|world, now| {
            world.register_anew(world.phone(number)?, same_identity, quiet, now);
            Ok(())
        })
    }

    /// This phone sends; `to` is a number or a JID. The id.
    pub fn send(&self, number: &str, to: &str, what: Sending) -> Reply<String> {
        self.shared.input(|world, now| Ok(world.send_from(world.phone(number)?, to, what, now)?))
    }

    /// This phone sends to a broadcast list of these people. The id.
    pub fn send_list(&self, number: &str, people: &[String], what: Sending) -> Reply<String> {
        self.shared.input(|world, now| Ok(world.send_list(world.phone(number)?, people, what, now)?))
    }

    /// This phone uploads a file and sends it. The id.
    pub async fn send_file(&self, number: &str, to: &str, file: FileToSend) -> Reply<String> {
        // Nobody uploads for a chat that is not there.
        self.shared.read(|world| -> Reply<()> {
            world.sends_to(world.phone(number)?, to)?;
            Ok(())
        })?;
        let uploaded = media::take_in(&self.shared, file).await?;
        self.shared.input(|world, now| Ok(world.send_file(world.phone(number)?, to, uploaded, now)?))
    }

    /// The decrypted file of a message that this phone received or sent: its type, and the bytes.
    pub async fn file(&self, number: &str, id: &str) -> Reply<(String, mpsc::Receiver<io::Result<Bytes>>)> {
        let facts = self.shared.read(|world| world.media_of(world.phone(number)?, id))?;
        let facts = facts.ok_or(AdminError { status: 404, message: "the message has no file".into() })?;
        let mimetype = facts.mimetype.clone();
        let bytes = media::open(&self.shared, facts).await.map_err(|error| AdminError {
            status: if matches!(error, FileError::Missing) { 404 } else { 409 },
            message: error.to_string(),
        })?;
        Ok((mimetype, bytes))
    }

    /// What history a companion of this phone that is linked later is sent.
    pub fn history(
        &self,
        number: &str,
        (chats, groups): (u32, u32),
        messages: u32,
        recent: u32,
    ) -> Reply<()> {
        self.shared.input(|world, now| {
            Ok(world.set_past(world.phone(number)?, chats, messages, groups, recent, now)?)
        })
    }

    /// What this phone received and decrypted, oldest first, waiting until there is something.
    pub async fn messages(
        &self,
        number: &str,
        from: Option<&str>,
        after: Option<&str>,
        wait: Duration,
    ) -> Reply<Vec<MessageView>> {
        let look = |world: &World| Ok(world.message_views(world.phone(number)?, from, after)?);
        let mut found = self.until_some(wait, look).await?;
        for message in &mut found {
            let facts = self.shared.read(|world| world.media_of(world.phone(number)?, &message.id));
            if let Ok(Some(facts)) = facts {
                let host = self.shared.read(|world| world.media_host().to_owned());
                let url = format!("http://{host}/admin/phones/{number}/media/{}", message.id);
                message.media = Some(media::view(&self.shared, facts, url).await);
            }
        }
        Ok(found)
    }

    /// Receipts this phone got, oldest first, waiting until there is one.
    pub async fn receipts(
        &self,
        number: &str,
        after: Option<&str>,
        wait: Duration,
    ) -> Reply<Vec<ReceiptView>> {
        self.until_some(wait, |world| Ok(world.receipt_views(world.phone(number)?, after))).await
    }

    async fn until_some<T>(&self, wait: Duration, look: impl Fn(&World) -> Reply<Vec<T>>) -> Reply<Vec<T>> {
        self.until(wait, look, |found| !found.is_empty()).await
    }

    async fn until<T>(
        &self,
        wait: Duration,
        look: impl Fn(&World) -> Reply<Vec<T>>,
        enough: impl Fn(&[T]) -> bool,
    ) -> Reply<Vec<T>> {
        let mut changes = self.shared.watch();
        let deadline = Instant::now() + wait.min(MAX_WAIT);
        loop {
            changes.mark_unchanged();
            let found = self.shared.read(&look)?;
            if enough(&found) || self.shared.stop.is_cancelled() {
                return Ok(found);
            }
            tokio::select! {
                changed = timeout_at(deadline, changes.changed()) => {
                    if !matches!(changed, Ok(Ok(()))) {
                        return Ok(found);
                    }
                }
                () = self.shared.stop.cancelled() => return Ok(found),
            }
        }
    }

    /// The phone's user opens the chat with this message.
    pub fn read(&self, number: &str, id: &str) -> Reply<()> {
        self.shared
            .input(|world, now| Ok(world.receipt_from(world.phone(number)?, id, ReceiptKind::Read, now)?))
    }

    /// The phone's user plays this voice note.
    pub fn played(&self, number: &str, id: &str) -> Reply<()> {
        self.shared
            .input(|world, now| Ok(world.receipt_from(world.phone(number)?, id, ReceiptKind::Played, now)?))
    }

    /// The phone's user types: `composing`, `recording` or `paused`.
    pub fn typing(&self, number: &str, to: &str, state: &str) -> Reply<()> {
        self.shared.input(|world, now| Ok(world.type_in(world.phone(number)?, to, state, now)?))
    }

    /// The phone shows itself online, or not.
    pub fn presence(&self, number: &str, available: bool) -> Reply<()> {
        self.shared.input(|world, now| {
            world.show_presence(world.phone(number)?, available, now);
            Ok(())
        })
    }

    /// This phone calls somebody; the call's id.
    pub fn call(&self, number: &str, to: &str, video: bool) -> Reply<String> {
        self.shared.input(|world, now| Ok(world.start_call(world.phone(number)?, to, video, now)?))
    }

    /// This phone answers a call, or hangs up; what rings is rejected by that.
    pub fn decide_call(&self, number: &str, id: &str, answer: bool) -> Reply<()> {
        self.shared.input(|world, now| Ok(world.decide_call(world.phone(number)?, id, answer, now)?))
    }

    /// Calls of this phone, oldest first.
    pub fn calls(&self, number: &str) -> Reply<Vec<CallView>> {
        self.shared.read(|world| Ok(world.call_views(world.phone(number)?)))
    }

    /// Switches the phone on or off; switched off, what it is sent waits.
    pub fn online(&self, number: &str, online: bool) -> Reply<()> {
        self.shared.input(|world, now| {
            world.switch(world.phone(number)?, online, now);
            Ok(())
        })
    }

    /// The phone's user changes privacy settings.
    pub fn privacy(&self, number: &str, settings: &[(String, String)]) -> Reply<()> {
        self.shared.input(|world, now| {
            let phone = world.phone(number)?;
            for (name, value) in settings {
                world.set_privacy(phone, name, value, now)?;
            }
            Ok(())
        })
    }

    /// The phone's user changes something of its app state; companions hear of it.
    pub fn change(&self, number: &str, change: &PhoneChange) -> Reply<()> {
        self.shared.input(|world, now| Ok(world.change_app_state(world.phone(number)?, change, now)?))
    }

    /// The records of app state in force, as this phone has read them, and how many patches it found counted wrongly.
    pub fn app_state(&self, number: &str) -> Reply<(Vec<AppStateView>, u64)> {
        self.shared.read(|world| {
            let phone = world.phone(number)?;
            Ok((world.app_state_views(phone), world.app_state_diverged(phone)))
        })
    }

    /// The ids of the phone's app-state keys, oldest first.
    pub(super) fn sync_keys(&self, number: &str) -> Reply<Vec<String>> {
        self.shared.read(|world| Ok(world.sync_key_ids(world.phone(number)?)))
    }

    /// The phone makes a new app-state key, and tells its companions.
    pub fn rotate_key(&self, number: &str) -> Reply<()> {
        self.shared.input(|world, now| {
            let phone = world.phone(number)?;
            world.rotate_key(phone, now);
            Ok(())
        })
    }

    /// The phone uploads a snapshot of a collection for devices that are linked from now on; nothing where it is empty.
    pub(super) async fn snapshot(&self, number: &str, collection: Collection) -> Reply<()> {
        let sealed = self.shared.input(|world, now| {
            let phone = world.phone(number)?;
            let snapshot = world.phone_snapshot(phone, collection, now);
            Ok::<_, AdminError>(snapshot.map(|snapshot| (phone, world.seal_blob(&snapshot))))
        })?;
        let Some((phone, (blob, reference))) = sealed else { return Ok(()) };
        let failed = |error: io::Error| AdminError { status: 500, message: error.to_string() };
        let mut writer = self.shared.blobs.begin(None).await.map_err(failed)?;
        writer.write(&blob).await.map_err(failed)?;
        self.shared.blobs.keep(writer).await.map_err(failed)?;
        self.shared.input(|world, _| world.publish_snapshot(phone, collection, reference));
        Ok(())
    }

    /// A phone makes a group of people by number or JID, in which members go by LID or by number.
    pub fn create_group(
        &self,
        owner: &str,
        subject: &str,
        people: &[String],
        by_lid: bool,
    ) -> Reply<GroupView> {
        let namespace = if by_lid { Namespace::Lid } else { Namespace::Pn };
        self.shared.input(|world, now| {
            let jid = world.create_group(owner, subject, people, namespace, now)?;
            Ok(world.group_view(&jid)?)
        })
    }

    /// A group and its members.
    pub fn group(&self, jid: &str) -> Reply<GroupView> {
        let jid = Self::group_jid(jid)?;
        self.shared.read(|world| Ok(world.group_view(&jid)?))
    }

    /// Members of a group come, go, rise or fall, by whoever manages it.
    pub fn change_members(&self, jid: &str, change: MemberChange, people: &[String]) -> Reply<GroupView> {
        let jid = Self::group_jid(jid)?;
        self.shared.input(|world, now| {
            world.operate_group(&jid, change, people, now)?;
            Ok(world.group_view(&jid)?)
        })
    }

    /// A phone makes a newsletter.
    pub fn create_newsletter(&self, owner: &str, name: &str, description: &str) -> Reply<NewsletterView> {
        self.shared.input(|world, now| {
            let jid = world.create_newsletter(owner, name, description, now)?;
            Ok(world.newsletter_view(&jid)?)
        })
    }

    /// A newsletter, its followers and posts.
    pub fn newsletter(&self, jid: &str) -> Reply<NewsletterView> {
        self.shared.read(|world| Ok(world.newsletter_view(&world.newsletter_jid(jid)?)?))
    }

    /// A phone follows a newsletter, or not any more.
    pub fn follow_newsletter(&self, jid: &str, number: &str, on: bool) -> Reply<()> {
        self.shared.input(|world, now| {
            let jid = world.newsletter_jid(jid)?;
            Ok(world.phone_follows(number, &jid, on, now)?)
        })
    }

    /// A phone posts a text, edits the post with this id, or, without a text, takes it back. The id.
    pub fn post(&self, jid: &str, number: &str, text: Option<&str>, id: Option<&str>) -> Reply<String> {
        self.shared.input(|world, now| {
            let jid = world.newsletter_jid(jid)?;
            Ok(world.phone_posts(number, &jid, text, id, now)?)
        })
    }

    /// A phone reacts to a post.
    pub fn react_to_post(&self, jid: &str, number: &str, server_id: u64, emoji: &str) -> Reply<()> {
        self.shared.input(|world, now| {
            let jid = world.newsletter_jid(jid)?;
            Ok(world.phone_reacts_to_post(number, &jid, server_id, emoji, now)?)
        })
    }

    fn group_jid(text: &str) -> Reply<Jid> {
        let jid = text.parse::<Jid>().ok().filter(Jid::is_group);
        jid.ok_or(AdminError { status: 404, message: "no such group".into() })
    }

    /// Does something to a companion's connection.
    pub fn device(&self, jid: &str, command: DeviceCommand) -> Reply<()> {
        let operation = match command {
            DeviceCommand::Drop => Operation::Drop,
            DeviceCommand::StreamError(code) => Operation::StreamError(code),
            DeviceCommand::Freeze(time) => Operation::Freeze(time),
            DeviceCommand::Refuse(time) => Operation::Refuse(time),
        };
        self.shared.input(|world, now| Ok(world.operate(world.companion(jid)?, &operation, now)?))
    }

    /// The server changes what a phone's account may do.
    pub fn standing(&self, number: &str, change: StandingChange) -> Reply<()> {
        self.shared.input(|world, now| Ok(world.change_standing(world.phone(number)?, change, now)?))
    }

    /// Sets a server property for a phone's account, or takes it away; it counts from the next question on.
    pub fn property(&self, number: &str, code: u32, value: Option<String>) -> Reply<()> {
        self.shared.input(|world, _| Ok(world.set_property(world.phone(number)?, code, value)?))
    }

    /// The phone loses its Signal session with a companion, as one that was restored from a backup does.
    pub fn forget_session(&self, number: &str, jid: &str) -> Reply<()> {
        self.shared.input(|world, _| {
            let (phone, device) = (world.phone(number)?, world.companion(jid)?);
            world.forget_session(phone, device);
            Ok(())
        })
    }

    /// Replaces the faults in force.
    pub fn set_faults(&self, faults: &Value) -> Reply<()> {
        self.shared.input(|world, _| {
            world
                .faults()
                .replace(faults)
                .map_err(|error| AdminError { status: 400, message: error.to_string() })
        })
    }

    /// The faults in force.
    pub fn faults(&self) -> BTreeMap<&'static str, FaultView> {
        self.shared.read(World::fault_views)
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.shared.input(|world, _| world.faults().clear());
    }

    /// Counters.
    pub fn stats(&self) -> StatsView {
        self.shared.read(World::stats_view)
    }

    /// The last stanzas of a device, or of all.
    pub fn log(&self, device: Option<&str>) -> Reply<Vec<LogLine>> {
        self.shared.read(|world| Ok(world.log_view(device)?))
    }
}
