//! The simulated WhatsApp without sockets, tasks or a clock: for stories that join it with a client in one process and
//! move the time themselves. The same seed and the same calls give the same answers.

use std::time::Duration;

use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::Value;

use super::{
    admin::{AdminError, DeviceCommand},
    core::{
        AppStateView, BusinessSpec, CallView, CodeOutcome, ConnId, Defect, Effect, GroupView, Intruder,
        ListShown, LogLine, MessageView, Namespace, NewsletterView, Operation, PasskeyView, PhoneChange,
        PhoneView, ProfileView, ReceiptView, Sending, Settings, StandingChange, StatsView, World,
    },
};
use crate::{
    clock::Millis,
    crypto::{PublicKey, app_state::Collection},
    proto::message::HistorySyncNotification,
    stanza::{MemberChange, ReceiptKind},
    wire::{Jid, Node},
};

/// What the server does to a connection.
#[derive(Debug)]
pub enum Out {
    /// Writes a stanza.
    Node(Node),
    /// Closes, after what was written before.
    Close,
    /// Cuts the connection.
    Cut,
    /// Neither reads nor writes for so long.
    Freeze(Duration),
}

/// A WhatsApp that only moves when it is called.
pub struct Lab {
    world: World,
    blobs: Vec<Vec<u8>>,
}

type Reply<T> = Result<T, AdminError>;

impl Lab {
    /// Nobody lives in it yet. Device signatures are checked.
    pub fn new(seed: u64, chatstate_ttl: Duration) -> Self {
        let settings = Settings { chatstate_ttl, adv_strict: true };
        Self { world: World::new(settings, StdRng::seed_from_u64(seed)), blobs: Vec::new() }
    }

    /// A client with this Noise key finished its handshake and sent this ClientPayload; the connection's number.
    pub fn opened(&mut self, noise: PublicKey, payload: &[u8], now: Millis) -> u64 {
        self.world.opened(noise, payload, now).0
    }

    /// A client's stanza.
    pub fn node(&mut self, connection: u64, node: Node, now: Millis) {
        self.world.node(ConnId(connection), node, now);
    }

    /// The connection is gone, whoever ended it.
    pub fn closed(&mut self, connection: u64, now: Millis) {
        self.world.closed(ConnId(connection), now);
    }

    /// When [`Lab::tick`] is due next.
    pub fn deadline(&self) -> Option<Millis> {
        self.world.deadline()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Millis) {
        self.world.tick(now);
    }

    /// What is to be done to which connection, in order.
    pub fn take(&mut self) -> Vec<(u64, Out)> {
        let effects = self.world.take_effects().into_iter();
        effects
            .filter_map(|effect| match effect {
                Effect::Send(id, node) => Some((id.0, Out::Node(node))),
                Effect::Close(id) => Some((id.0, Out::Close)),
                Effect::Drop(id) => Some((id.0, Out::Cut)),
                Effect::Freeze(id, time) => Some((id.0, Out::Freeze(time))),
                Effect::Keep(blob) => {
                    self.blobs.push(blob);
                    None
                }
            })
            .collect()
    }

    /// This phone announces a piece of history to a companion, whatever it is.
    pub fn announce(
        &mut self,
        number: &str,
        companion: &str,
        notification: HistorySyncNotification,
        now: Millis,
    ) -> Reply<String> {
        let phone = self.world.phone(number)?;
        let companion = self.world.companion(companion)?;
        Ok(self.world.announce(phone, companion, notification, now)?)
    }

    /// Encrypted files that phones put on the media server, which the story has to keep.
    pub fn take_blobs(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.blobs)
    }

    /// What companions of this phone that are linked later are told of the past: so many chats, some of them groups, with
    /// so many messages in all. `recent` of each chat, where a companion does not ask for everything.
    pub fn set_past(
        &mut self,
        number: &str,
        (chats, groups): (u32, u32),
        messages: u32,
        recent: u32,
        now: Millis,
    ) -> Reply<()> {
        let phone = self.world.phone(number)?;
        Ok(self.world.set_past(phone, chats, messages, groups, recent, now)?)
    }

    /// A new phone.
    pub fn create_phone(&mut self, number: &str, name: &str, now: Millis) -> Reply<PhoneView> {
        let phone = self.world.create_phone(Some(number.to_owned()), Some(name.to_owned()), None, now)?;
        Ok(self.world.phone_view(phone))
    }

    /// So many phones, each with so many companions that the sandbox plays itself; their numbers.
    pub fn create_phones(&mut self, count: usize, devices: u16, now: Millis) -> Reply<Vec<String>> {
        let made = self.world.create_phones(count, devices, now)?;
        Ok(made.into_iter().map(|phone| self.world.phone_view(phone).number).collect())
    }

    /// A phone makes a newsletter.
    pub fn create_newsletter(
        &mut self,
        owner: &str,
        name: &str,
        description: &str,
        now: Millis,
    ) -> Reply<NewsletterView> {
        let jid = self.world.create_newsletter(owner, name, description, now)?;
        self.newsletter(&jid)
    }

    /// A newsletter, its followers and posts.
    pub fn newsletter(&self, jid: &Jid) -> Reply<NewsletterView> {
        Ok(self.world.newsletter_view(jid)?)
    }

    /// A phone follows a newsletter, or not any more.
    pub fn follow_newsletter(&mut self, jid: &Jid, number: &str, on: bool, now: Millis) -> Reply<()> {
        Ok(self.world.phone_follows(number, jid, on, now)?)
    }

    /// A phone posts a text, edits the post with this id, or, without a text, takes it back. The id.
    pub fn post(
        &mut self,
        jid: &Jid,
        number: &str,
        text: Option<&str>,
        id: Option<&str>,
        now: Millis,
    ) -> Reply<String> {
        Ok(self.world.phone_posts(number, jid, text, id, now)?)
    }

    /// A phone reacts to a post.
    pub fn react_to_post(
        &mut self,
        jid: &Jid,
        number: &str,
        server_id: u64,
        emoji: &str,
        now: Millis,
    ) -> Reply<()> {
        Ok(self.world.phone_reacts_to_post(number, jid, server_id, emoji, now)?)
    }

    /// Which devices that the sandbox plays have decrypted this message.
    pub fn readers(&self, id: &str) -> Vec<Jid> {
        self.world.readers_of(id)
    }

    /// A phone and its companions.
    pub fn phone(&self, number: &str) -> Reply<PhoneView> {
        Ok(self.world.phone_view(self.world.phone(number)?))
    }

    /// This phone scans a pairing code.
    pub fn scan_qr(&mut self, number: &str, qr: &str, now: Millis) -> Reply<()> {
        let phone = self.world.phone(number)?;
        self.world.scan_qr(qr, Some(phone), now)?;
        Ok(())
    }

    /// This phone types a code that a companion shows; names the attempt.
    pub fn type_code(&mut self, number: &str, code: &str, now: Millis) -> Reply<u64> {
        let phone = self.world.phone(number)?;
        Ok(self.world.type_code(phone, code, now)?)
    }

    /// What came of the last code typed on this phone.
    pub fn code_outcome(&self, number: &str, attempt: u64) -> Reply<Option<CodeOutcome>> {
        Ok(self.world.code_outcome(self.world.phone(number)?, attempt))
    }

    /// The server calls the code that is on show for this phone worthless.
    pub fn refresh_code(&mut self, number: &str, by_hand: bool, now: Millis) -> Reply<()> {
        let phone = self.world.phone(number)?;
        Ok(self.world.refresh_code(phone, by_hand, now)?)
    }

    /// From now on this phone's account wants a passkey of whoever links a companion, or none any more.
    pub fn want_passkey(&mut self, number: &str, wanted: bool) -> Reply<()> {
        Ok(self.world.want_passkey(self.world.phone(number)?, wanted)?)
    }

    /// The passkey of this phone's account signs for these request options; the assertion.
    pub fn sign_with_passkey(
        &mut self,
        number: &str,
        options: &Value,
        defect: Option<Defect>,
    ) -> Reply<Value> {
        Ok(self.world.sign_with_passkey(self.world.phone(number)?, options, defect)?)
    }

    /// Where a linking with a passkey stands on this phone.
    pub fn passkey(&self, number: &str) -> Reply<PasskeyView> {
        Ok(self.world.passkey_view(self.world.phone(number)?))
    }

    /// This phone's user does not want to link after all.
    pub fn decline_passkey(&mut self, number: &str, now: Millis) -> Reply<()> {
        Ok(self.world.decline_passkey(self.world.phone(number)?, now)?)
    }

    /// This phone logs a companion out.
    pub fn unlink(&mut self, number: &str, device: u16, now: Millis) -> Reply<()> {
        let phone = self.world.phone(number)?;
        Ok(self.world.unlink_companion(phone, device, now)?)
    }

    /// Links companions to a phone that the sandbox plays itself.
    pub fn play(&mut self, number: &str, devices: u16, now: Millis) -> Reply<PhoneView> {
        let phone = self.world.phone(number)?;
        self.world.play(phone, devices, now)?;
        Ok(self.world.phone_view(phone))
    }

    /// From now on others are shown this list of the phone's companions.
    pub fn show_list(&mut self, number: &str, shown: ListShown) -> Reply<()> {
        let phone = self.world.phone(number)?;
        self.world.show_list(phone, shown);
        Ok(())
    }

    /// Puts a device among the phone's that the phone does not vouch for; its number.
    pub fn intrude(&mut self, number: &str, intruder: Intruder, now: Millis) -> Reply<u16> {
        let phone = self.world.phone(number)?;
        Ok(self.world.intrude(phone, intruder, now)?)
    }

    /// This phone's number is registered anew, with the identity of before or with another one. `quiet`: the server tells
    /// nobody.
    pub fn register_anew(
        &mut self,
        number: &str,
        same_identity: bool,
        quiet: bool,
        now: Millis,
    ) -> Reply<()> {
        let phone = self.world.phone(number)?;
        self.world.register_anew(phone, same_identity, quiet, now);
        Ok(())
    }

    /// A companion that the sandbox plays sends a person these bytes as a message; the id.
    pub fn companion_sends(
        &mut self,
        companion: &str,
        to: &str,
        plaintext: &[u8],
        now: Millis,
    ) -> Reply<String> {
        let companion = self.world.companion(companion)?;
        Ok(self.world.companion_sends(companion, to, plaintext, now)?)
    }

    /// This phone sends; `to` is a number or a JID. The id.
    pub fn send(&mut self, number: &str, to: &str, what: Sending, now: Millis) -> Reply<String> {
        let phone = self.world.phone(number)?;
        Ok(self.world.send_from(phone, to, what, now)?)
    }

    /// This phone sends to a broadcast list of these people. The id.
    pub fn send_list(&mut self, number: &str, people: &[&str], what: Sending, now: Millis) -> Reply<String> {
        let people: Vec<String> = people.iter().map(|&one| one.to_owned()).collect();
        Ok(self.world.send_list(self.world.phone(number)?, &people, what, now)?)
    }

    /// This phone sends a person any bytes in place of a message, as only a hostile client does. The id.
    pub fn forge(&mut self, number: &str, to: &str, plaintext: Vec<u8>, now: Millis) -> Reply<String> {
        let phone = self.world.phone(number)?;
        Ok(self.world.forge(phone, to, plaintext, now)?)
    }

    /// A phone makes a group of people by number, in which members go by LID or by number.
    pub fn create_group(
        &mut self,
        owner: &str,
        subject: &str,
        people: &[&str],
        by_lid: bool,
        now: Millis,
    ) -> Reply<GroupView> {
        let people: Vec<String> = people.iter().map(|who| (*who).to_owned()).collect();
        let namespace = if by_lid { Namespace::Lid } else { Namespace::Pn };
        let jid = self.world.create_group(owner, subject, &people, namespace, now)?;
        Ok(self.world.group_view(&jid)?)
    }

    /// A group and its members.
    pub fn group(&self, jid: &Jid) -> Reply<GroupView> {
        Ok(self.world.group_view(jid)?)
    }

    /// Members of a group come, go, rise or fall, by whoever manages it.
    pub fn change_members(
        &mut self,
        jid: &Jid,
        change: MemberChange,
        people: &[&str],
        now: Millis,
    ) -> Reply<()> {
        let people: Vec<String> = people.iter().map(|who| (*who).to_owned()).collect();
        Ok(self.world.operate_group(jid, change, &people, now)?)
    }

    /// What this phone received and decrypted, oldest first; at most 1,000, behind the id `after` if one is named.
    pub fn messages(&self, number: &str, after: Option<&str>) -> Reply<Vec<MessageView>> {
        Ok(self.world.message_views(self.world.phone(number)?, None, after)?)
    }

    /// Receipts this phone got, oldest first.
    pub fn receipts(&self, number: &str) -> Reply<Vec<ReceiptView>> {
        Ok(self.world.receipt_views(self.world.phone(number)?, None))
    }

    /// The phone's user opens the chat with this message.
    pub fn read(&mut self, number: &str, id: &str, now: Millis) -> Reply<()> {
        let phone = self.world.phone(number)?;
        Ok(self.world.receipt_from(phone, id, ReceiptKind::Read, now)?)
    }

    /// The phone's user changes a privacy setting.
    pub fn privacy(&mut self, number: &str, name: &str, value: &str, now: Millis) -> Reply<()> {
        let phone = self.world.phone(number)?;
        Ok(self.world.set_privacy(phone, name, value, now)?)
    }

    /// This phone calls somebody; the call's id.
    pub fn call(&mut self, number: &str, to: &str, video: bool, now: Millis) -> Reply<String> {
        let phone = self.world.phone(number)?;
        Ok(self.world.start_call(phone, to, video, now)?)
    }

    /// This phone answers a call, or hangs up; what rings is rejected by that.
    pub fn decide_call(&mut self, number: &str, id: &str, answer: bool, now: Millis) -> Reply<()> {
        let phone = self.world.phone(number)?;
        Ok(self.world.decide_call(phone, id, answer, now)?)
    }

    /// Calls of this phone, oldest first.
    pub fn calls(&self, number: &str) -> Reply<Vec<CallView>> {
        Ok(self.world.call_views(self.world.phone(number)?))
    }

    /// What a phone's account shows, and whom it has blocked.
    pub fn profile(&self, number: &str) -> Reply<ProfileView> {
        Ok(self.world.profile_view(self.world.phone(number)?))
    }

    /// The phone's user chooses another picture, a JPEG, or none; its id.
    pub fn set_picture(&mut self, number: &str, jpeg: Option<&[u8]>, now: Millis) -> Reply<Option<String>> {
        let phone = self.world.phone(number)?;
        Ok(self.world.phone_sets_picture(phone, jpeg, now)?)
    }

    /// The file behind the address of a picture, without the host.
    pub fn picture_file(&self, path: &str) -> Option<Vec<u8>> {
        self.world.picture_file(path)
    }

    /// The phone's user writes something else about themselves.
    pub fn set_about(&mut self, number: &str, text: &str, now: Millis) -> Reply<()> {
        let phone = self.world.phone(number)?;
        Ok(self.world.phone_sets_about(phone, text, now)?)
    }

    /// The phone's user blocks somebody, or no longer does.
    pub fn block(&mut self, number: &str, who: &str, block: bool, now: Millis) -> Reply<()> {
        let phone = self.world.phone(number)?;
        Ok(self.world.phone_blocks(phone, who, block, now)?)
    }

    /// The account is a business from now on, or no more.
    pub fn make_business(&mut self, number: &str, business: Option<BusinessSpec>) -> Reply<()> {
        let phone = self.world.phone(number)?;
        Ok(self.world.make_business(phone, business)?)
    }

    /// The phone's user types: `composing`, `recording` or `paused`.
    pub fn typing(&mut self, number: &str, to: &str, state: &str, now: Millis) -> Reply<()> {
        let phone = self.world.phone(number)?;
        Ok(self.world.type_in(phone, to, state, now)?)
    }

    /// The phone shows itself online, or not.
    pub fn presence(&mut self, number: &str, available: bool, now: Millis) -> Reply<()> {
        let phone = self.world.phone(number)?;
        self.world.show_presence(phone, available, now);
        Ok(())
    }

    /// Switches a phone on or off; switched off, what it is sent waits.
    pub fn online(&mut self, number: &str, online: bool, now: Millis) -> Reply<()> {
        let phone = self.world.phone(number)?;
        self.world.switch(phone, online, now);
        Ok(())
    }

    /// Does something to a companion's connection.
    pub fn device(&mut self, jid: &str, command: DeviceCommand, now: Millis) -> Reply<()> {
        let operation = match command {
            DeviceCommand::Drop => Operation::Drop,
            DeviceCommand::StreamError(code) => Operation::StreamError(code),
            DeviceCommand::Freeze(time) => Operation::Freeze(time),
            DeviceCommand::Refuse(time) => Operation::Refuse(time),
        };
        let device = self.world.companion(jid)?;
        Ok(self.world.operate(device, &operation, now)?)
    }

    /// The phone loses its Signal session with a companion, as one that was restored from a backup does.
    pub fn forget_session(&mut self, number: &str, jid: &str) -> Reply<()> {
        let phone = self.world.phone(number)?;
        let device = self.world.companion(jid)?;
        self.world.forget_session(phone, device);
        Ok(())
    }

    /// The phone's user changes something of its app state.
    pub fn change(&mut self, number: &str, change: &PhoneChange, now: Millis) -> Reply<()> {
        let phone = self.world.phone(number)?;
        Ok(self.world.change_app_state(phone, change, now)?)
    }

    /// The records of app state in force, as this phone has read them.
    pub fn app_state(&self, number: &str) -> Reply<Vec<AppStateView>> {
        Ok(self.world.app_state_views(self.world.phone(number)?))
    }

    /// The phone makes a new app-state key, and tells its companions.
    pub fn rotate_key(&mut self, number: &str, now: Millis) -> Reply<()> {
        let phone = self.world.phone(number)?;
        self.world.rotate_key(phone, now);
        Ok(())
    }

    /// The ids of the phone's app-state keys, oldest first, in hex.
    pub fn sync_keys(&self, number: &str) -> Reply<Vec<String>> {
        Ok(self.world.sync_key_ids(self.world.phone(number)?))
    }

    /// The phone makes a snapshot of a collection for devices that are linked from now on: its blob, which the story
    /// has to keep, being the media server.
    pub fn snapshot(&mut self, number: &str, collection: Collection, now: Millis) -> Reply<Vec<u8>> {
        let phone = self.world.phone(number)?;
        let empty = AdminError { status: 409, message: "the collection is empty".into() };
        let snapshot = self.world.phone_snapshot(phone, collection, now).ok_or(empty)?;
        let (blob, reference) = self.world.seal_blob(&snapshot);
        self.world.publish_snapshot(phone, collection, reference);
        Ok(blob)
    }

    /// The phone changes much at once: the patch's list is a blob, which the story has to keep.
    pub fn change_much(&mut self, number: &str, changes: &[PhoneChange], now: Millis) -> Reply<Vec<u8>> {
        let phone = self.world.phone(number)?;
        Ok(self.world.change_app_state_by_blob(phone, changes, now)?)
    }

    /// The last patch of a collection is damaged where the server keeps it.
    pub fn damage_app_state(&mut self, number: &str, collection: Collection) -> Reply<bool> {
        let phone = self.world.phone(number)?;
        Ok(self.world.damage_app_state(phone, collection))
    }

    /// The server changes what a phone's account may do.
    pub fn standing(&mut self, number: &str, change: StandingChange, now: Millis) -> Reply<()> {
        let phone = self.world.phone(number)?;
        Ok(self.world.change_standing(phone, change, now)?)
    }

    /// Sets a server property for a phone's account; it counts from the next question on.
    pub fn property(&mut self, number: &str, code: u32, value: &str) -> Reply<()> {
        let phone = self.world.phone(number)?;
        Ok(self.world.set_property(phone, code, Some(value.to_owned()))?)
    }

    /// Replaces the faults in force; an empty object ends all.
    pub fn set_faults(&mut self, faults: &Value) -> Reply<()> {
        let replaced = self.world.faults().replace(faults);
        replaced.map_err(|error| AdminError { status: 400, message: error.to_string() })
    }

    /// The last stanzas of a device, or of all.
    pub fn log(&self, device: Option<&str>) -> Reply<Vec<LogLine>> {
        Ok(self.world.log_view(device)?)
    }

    /// Every stanza that a device was sent or is to be sent, and has not answered: the device, and what it is.
    pub fn unanswered(&self) -> Vec<(String, Node)> {
        self.world.unanswered()
    }

    /// Counters.
    pub fn stats(&self) -> StatsView {
        self.world.stats_view()
    }
}
