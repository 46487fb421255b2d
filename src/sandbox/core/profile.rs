//! What accounts and groups show of themselves: pictures, texts, block lists, businesses, when somebody was last there;
//! and who may see it.

mod query;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Cursor,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use image::{ImageFormat, ImageReader, Limits, codecs::jpeg::JpegEncoder};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use view::{BusinessSpec, ProductSpec, ProfileView};

use super::{AccountId, DeviceRef, Namespace, World};
use crate::{
    clock::Millis,
    crypto::app_state::Collection,
    stanza::{BlockNotice, Blocklist, PictureNotice, about_notice, presence::PresenceUpdate},
    wire::{Jid, Node},
};

/// What the apps start with.
const FIRST_ABOUT: &str = "Hey there! I am using WhatsApp.";
/// Longest text about oneself, in characters (the apps' limit).
const MAX_ABOUT: usize = 139;
/// Largest picture in bytes and pixels an edge; clients send 640 × 640 at some 50 KiB.
const MAX_PICTURE: usize = 1 << 20;
const MAX_EDGE: u32 = 4_096;
/// The small picture, in pixels an edge.
const PREVIEW: u32 = 96;
/// Pictures of a world, all accounts and groups together.
const MAX_PICTURES: usize = 1_000;
/// People in one block list.
const MAX_BLOCKED: usize = 10_000;
/// Where pictures are, in front of their names.
const FOLDER: &str = "/v/t61.24694-24/";

type Refused = (u16, &'static str);
const NOT_ACCEPTABLE: Refused = (406, "not-acceptable");

/// All of it.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Profiles {
    /// By number of the account.
    people: BTreeMap<usize, Person>,
    /// By address, of people by number.
    pictures: BTreeMap<String, Picture>,
    last_picture: u64,
    /// What is to be told once the answer is out.
    #[serde(skip)]
    news: Vec<(DeviceRef, Node)>,
}

/// What one account shows, where it is not as the apps start.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Person {
    about: Option<String>,
    blocked: BTreeSet<usize>,
    /// Unix milliseconds.
    last_seen: Option<u64>,
    /// Seconds.
    timer: u32,
    business: Option<BusinessSpec>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Picture {
    id: String,
    /// JPEGs, as base64.
    image: String,
    preview: String,
}

impl Profiles {
    /// Whether they name only accounts that exist, of so many.
    pub(super) fn fit(&self, accounts: usize) -> bool {
        self.people
            .iter()
            .all(|(id, person)| *id < accounts && person.blocked.iter().all(|blocked| *blocked < accounts))
    }
}

impl World {
    fn shown(&self, account: AccountId) -> Person {
        self.profiles.people.get(&account.0).cloned().unwrap_or_default()
    }

    fn shown_mut(&mut self, account: AccountId) -> &mut Person {
        self.profiles.people.entry(account.0).or_default()
    }

    fn about(&self, account: AccountId) -> String {
        self.shown(account).about.unwrap_or_else(|| FIRST_ABOUT.to_owned())
    }

    /// What a business says of itself; the phone's platform makes one, too.
    fn business(&self, account: AccountId) -> Option<BusinessSpec> {
        let known = self.account(account);
        let app = matches!(known.platform.as_str(), "smba" | "smbi");
        let plain = || BusinessSpec { name: Some(known.name.clone()), ..BusinessSpec::default() };
        self.shown(account).business.or_else(|| app.then(plain))
    }

    /// As it is told at a pairing.
    pub(super) fn business_name(&self, account: AccountId) -> Option<String> {
        self.business(account).and_then(|business| business.name)
    }

    pub(super) fn has_blocked(&self, account: AccountId, whom: AccountId) -> bool {
        self.profiles.people.get(&account.0).is_some_and(|person| person.blocked.contains(&whom.0))
    }

    /// Whether somebody is in the address book of an account's phone.
    fn knows(&self, account: AccountId, whom: AccountId) -> bool {
        let Some(shelf) = self.account(account).phone.app_state.get(&Collection::CriticalUnblockLow) else {
            return false;
        };
        let names = [Namespace::Pn, Namespace::Lid].map(|name| self.account(whom).jid(name, 0).to_wire());
        shelf.records().any(|record| match serde_json::from_slice::<Vec<String>>(&record.change.index) {
            Ok(index) => matches!(&index[..], [action, jid] if action == "contact" && names.contains(jid)),
            Err(_) => false,
        })
    }

    /// Whether a privacy setting of an account lets somebody see what it is about.
    fn may_see(&self, of: AccountId, viewer: AccountId, setting: &str) -> bool {
        if of == viewer {
            return true;
        }
        if self.has_blocked(of, viewer) {
            return false;
        }
        match self.account(of).privacy.get(setting).map(String::as_str) {
            Some("none") => false,
            Some("contacts") => self.knows(of, viewer),
            _ => true,
        }
    }

    /// Somebody's presence as somebody else is told of it; nothing for whoever is blocked.
    pub(super) fn presence_for(
        &self,
        of: AccountId,
        viewer: AccountId,
        namespace: Namespace,
    ) -> Option<Node> {
        if self.has_blocked(of, viewer) {
            return None;
        }
        let account = self.account(of);
        let shows_last = self.may_see(of, viewer, "last");
        let alike = account.privacy.get("online").is_some_and(|value| value == "match_last_seen");
        let available = account.devices.values().any(|d| d.available) && (shows_last || !alike);
        let last_seen = self.shown(of).last_seen.map(|at| Millis(at).secs());
        let update =
            PresenceUpdate { from: account.jid(namespace, 0), available, last_seen, hidden: !shows_last };
        Some(update.build())
    }

    /// The last of an account's devices went.
    pub(super) fn note_last_seen(&mut self, account: AccountId, now: Millis) {
        if !self.account(account).devices.values().any(|d| d.available) {
            self.shown_mut(account).last_seen = Some(now.0);
        }
    }

    fn owner_of(&self, jid: &Jid) -> Option<String> {
        if jid.is_group() {
            return self.group(jid).ok().map(|group| group.jid.to_wire());
        }
        self.resolve(jid).map(|found| self.account(found.account).jid(Namespace::Pn, 0).to_wire())
    }

    /// The file behind a picture's address.
    pub(crate) fn picture_file(&self, path: &str) -> Option<Vec<u8>> {
        let name = path.split('?').next()?.strip_prefix(FOLDER)?.strip_suffix(".jpg")?;
        let (id, size) = name.split_once('_')?;
        let picture = self.profiles.pictures.values().find(|picture| picture.id == id)?;
        let file = match size {
            "n" => &picture.image,
            "s" => &picture.preview,
            _ => return None,
        };
        BASE64_STANDARD.decode(file).ok()
    }

    /// Another picture of an account or a group, or none; its id.
    fn set_picture(
        &mut self,
        by: AccountId,
        of: &Jid,
        jpeg: Option<&[u8]>,
        now: Millis,
    ) -> Result<Option<String>, Refused> {
        let owner = self.owner_of(of).ok_or((404, "item-not-found"))?;
        let id = self.keep_picture(owner, jpeg, now)?;
        self.tell_picture(by, of, id.clone(), now);
        Ok(id)
    }

    /// Puts a picture in the place of an owner's present one, or takes that away; its id.
    pub(super) fn keep_picture(
        &mut self,
        owner: String,
        jpeg: Option<&[u8]>,
        now: Millis,
    ) -> Result<Option<String>, Refused> {
        match jpeg {
            Some(jpeg) => {
                let preview = preview(jpeg).ok_or(NOT_ACCEPTABLE)?;
                let known = self.profiles.pictures.contains_key(&owner);
                if !known && self.profiles.pictures.len() >= MAX_PICTURES {
                    return Err(NOT_ACCEPTABLE);
                }
                let number = now.secs().max(self.profiles.last_picture + 1);
                self.profiles.last_picture = number;
                let id = number.to_string();
                let [image, preview] = [jpeg, &preview].map(|file| BASE64_STANDARD.encode(file));
                self.profiles.pictures.insert(owner, Picture { id: id.clone(), image, preview });
                Ok(Some(id))
            }
            None => {
                self.profiles.pictures.remove(&owner);
                Ok(None)
            }
        }
    }

    /// Everybody whom a picture concerns, the device that set it among them.
    fn tell_picture(&mut self, by: AccountId, of: &Jid, id: Option<String>, now: Millis) {
        let (to, notice) = match self.group(of) {
            Ok(group) => {
                let author = Some(self.account(by).jid(group.namespace, 0));
                let members: Vec<AccountId> = group.members.keys().copied().collect();
                (members, PictureNotice { of: of.bare(), id, author })
            }
            Err(_) => {
                let everybody = (0..self.accounts.len()).map(AccountId);
                let concerned = |other: &AccountId| {
                    let known =
                        *other == by || self.account(by).peers.contains(other) || self.knows(*other, by);
                    known && self.may_see(by, *other, "profile")
                };
                let of = self.account(by).jid(Namespace::Pn, 0);
                (everybody.filter(concerned).collect(), PictureNotice { of, id, author: None })
            }
        };
        for account in to {
            for device in self.devices_of(account) {
                let id = self.server_id();
                self.profiles.news.push((device, notice.build(&id, now.secs())));
            }
        }
    }

    fn set_about(&mut self, by: DeviceRef, text: String, now: Millis) -> Result<(), Refused> {
        if text.chars().count() > MAX_ABOUT {
            return Err(NOT_ACCEPTABLE);
        }
        self.shown_mut(by.account).about = Some(text.clone());
        let (from, name) =
            (self.account(by.account).jid(Namespace::Pn, 0), self.account(by.account).name.clone());
        let everybody = (0..self.accounts.len()).map(AccountId);
        let may_see = everybody.filter(|other| self.may_see(by.account, *other, "status"));
        // Every connected user is told, whoever it is (a convention of other clients' test suites).
        let devices: Vec<DeviceRef> = may_see.flat_map(|account| self.devices_of(account)).collect();
        for device in devices {
            if device != by && self.device(device).is_some_and(|known| known.conn.is_some()) {
                let id = self.server_id();
                self.profiles.news.push((device, about_notice(&id, &from, &name, &text, now.secs())));
            }
        }
        Ok(())
    }

    fn set_timer(&mut self, by: DeviceRef, seconds: u32, now: Millis) -> Result<(), Refused> {
        // Never, a day, a week, 90 days (protocol 05, 10.3).
        if ![0, 86_400, 604_800, 7_776_000].contains(&seconds) {
            return Err((400, "bad-request"));
        }
        self.shown_mut(by.account).timer = seconds;
        let mode = Node::new("disappearing_mode").attr("duration", seconds).attr("t", now.secs());
        self.tell_own(by, &mode, now);
        Ok(())
    }

    /// The other devices of an account, by `account_sync`.
    fn tell_own(&mut self, by: DeviceRef, what: &Node, now: Millis) {
        let own = self.account(by.account).jid(Namespace::Pn, 0);
        for device in self.devices_of(by.account) {
            if device != by && device.device != 0 {
                let id = self.server_id();
                let frame = crate::stanza::Notification::frame(&id, &own, "account_sync", now.secs());
                self.profiles.news.push((device, frame.child(what.clone())));
            }
        }
    }

    /// Tells what happened.
    pub(super) fn spread_profiles(&mut self, now: Millis) {
        for (device, node) in std::mem::take(&mut self.profiles.news) {
            self.enqueue(device, node, now);
        }
    }

    fn blocklist(&self, account: AccountId) -> Blocklist {
        let blocked = self.shown(account).blocked;
        let names = |id: &usize| {
            let account = self.account(AccountId(*id));
            (account.jid(Namespace::Lid, 0), Some(account.jid(Namespace::Pn, 0)))
        };
        let people: Vec<(Jid, Option<Jid>)> = blocked.iter().map(names).collect();
        let mut sha = Sha256::new();
        people.iter().for_each(|(jid, _)| sha.update(jid.to_wire()));
        let hash: [u8; 32] = sha.finalize().into();
        let dhash = hex::encode(hash.get(..8).unwrap_or_default());
        Blocklist { dhash: Some(dhash), people }
    }

    fn block(&mut self, by: DeviceRef, who: AccountId, block: bool, now: Millis) -> Result<(), Refused> {
        if who == by.account {
            return Err(NOT_ACCEPTABLE);
        }
        let previous = self.blocklist(by.account).dhash;
        let blocked = &mut self.shown_mut(by.account).blocked;
        if block && blocked.len() >= MAX_BLOCKED {
            return Err(NOT_ACCEPTABLE);
        }
        let changed = if block { blocked.insert(who.0) } else { blocked.remove(&who.0) };
        if !changed {
            return Ok(());
        }
        let names = |name| self.account(who).jid(name, 0);
        let changes = vec![(names(Namespace::Lid), Some(names(Namespace::Pn)), block)];
        let notice = BlockNotice { dhash: self.blocklist(by.account).dhash, previous, changes };
        let own = self.account(by.account).jid(Namespace::Pn, 0);
        for device in self.devices_of(by.account) {
            if device != by && device.device != 0 {
                let id = self.server_id();
                self.profiles.news.push((device, notice.build(&id, &own, now.secs())));
            }
        }
        Ok(())
    }
}

/// Where a picture is, `n` in its size or `s` small.
pub(super) fn picture_path(id: &str, letter: &str) -> String {
    format!("{FOLDER}{id}_{letter}.jpg?ccb=11-4")
}

/// The small picture of a JPEG; `None`: it is none, or too large.
fn preview(jpeg: &[u8]) -> Option<Vec<u8>> {
    if jpeg.len() > MAX_PICTURE {
        return None;
    }
    let mut reader = ImageReader::with_format(Cursor::new(jpeg), ImageFormat::Jpeg);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_EDGE);
    limits.max_image_height = Some(MAX_EDGE);
    reader.limits(limits);
    let small = reader.decode().ok()?.thumbnail(PREVIEW, PREVIEW).to_rgb8();
    let mut out = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut out, 60).encode_image(&small).ok()?;
    Some(out.into_inner())
}
