//! What clients ask of profiles, block lists and businesses.

use super::{Refused, picture_path};
use crate::{
    clock::Millis,
    sandbox::core::{AccountId, DeviceRef, World},
    stanza::{
        About, BlockQuery, Iq, Picture, PictureAnswer, PictureSize, ProfileQuery, StatusAudience,
        UsyncProfile, UsyncQuery,
        business::{BusinessProfile, Catalogue, name_certificate},
        picture_set,
    },
    wire::{Jid, Node},
};

const BAD_REQUEST: Refused = (400, "bad-request");
const NOT_FOUND: Refused = (404, "item-not-found");
/// Products on a page, whatever is asked for.
const MAX_PAGE: usize = 100;

impl World {
    /// The answer; `Ok(None)`: nobody here knows this query. What follows waits in the news.
    pub(in crate::sandbox::core) fn profile_query(
        &mut self,
        device: DeviceRef,
        id: &str,
        node: &Node,
        now: Millis,
    ) -> Result<Option<Node>, Refused> {
        let Some(query) = ProfileQuery::parse(node).map_err(|_| BAD_REQUEST)? else { return Ok(None) };
        let viewer = device.account;
        Ok(Some(match query {
            ProfileQuery::Picture { of, size, known, .. } => {
                self.picture_answer(viewer, &of, size, known.as_deref()).build(id)
            }
            ProfileQuery::SetPicture { of, jpeg } => {
                let own = self.account(viewer).jid(crate::sandbox::core::Namespace::Pn, 0);
                let of = of.unwrap_or(own);
                self.may_set_picture(viewer, &of)?;
                match self.set_picture(viewer, &of, jpeg.as_deref(), now)? {
                    Some(picture) => picture_set(id, &picture),
                    None => Iq::result(id),
                }
            }
            ProfileQuery::SetAbout(text) => {
                self.set_about(device, text, now)?;
                Iq::result(id)
            }
            ProfileQuery::SetTimer(seconds) => {
                self.set_timer(device, seconds, now)?;
                Iq::result(id)
            }
            ProfileQuery::StatusPrivacy => self.status_audience(viewer).build(id),
        }))
    }

    fn picture_answer(
        &self,
        viewer: AccountId,
        of: &Jid,
        size: PictureSize,
        known: Option<&str>,
    ) -> PictureAnswer {
        let sees = match self.group(of) {
            Ok(group) => group.members.contains_key(&viewer),
            Err(_) => {
                let Some(owner) = self.resolve(of) else { return PictureAnswer::Missing };
                self.may_see(owner.account, viewer, "profile")
            }
        };
        if !sees {
            return PictureAnswer::Hidden;
        }
        let picture = self.owner_of(of).and_then(|owner| self.profiles.pictures.get(&owner));
        let Some(picture) = picture else { return PictureAnswer::Missing };
        if known == Some(picture.id.as_str()) {
            return PictureAnswer::Unchanged;
        }
        let letter = if size == PictureSize::Image { "n" } else { "s" };
        let direct_path = picture_path(&picture.id, letter);
        let url = format!("https://{}{direct_path}", self.media_host());
        PictureAnswer::Found(Picture { id: picture.id.clone(), size, url, direct_path })
    }

    /// One's own; a group's where members may change what it is called.
    fn may_set_picture(&self, by: AccountId, of: &Jid) -> Result<(), Refused> {
        if of.is_group() {
            let group = self.group(of)?;
            return match group.members.get(&by) {
                None => Err((403, "forbidden")),
                Some(crate::stanza::Rank::Member) if group.locked => Err((401, "not-authorized")),
                Some(_) => Ok(()),
            };
        }
        match self.resolve(of) {
            Some(owner) if owner.account == by => Ok(()),
            _ => Err((403, "forbidden")),
        }
    }

    /// As app state says; all contacts where it says nothing.
    fn status_audience(&self, account: AccountId) -> StatusAudience {
        let index: &[u8] = br#"["status_privacy"]"#;
        let shelves = self.account(account).phone.app_state.values();
        let record = shelves.flat_map(|shelf| shelf.records()).find(|record| record.change.index == index);
        let chosen = record.and_then(|record| {
            let value: crate::proto::SyncActionValue = prost::Message::decode(&*record.change.value).ok()?;
            value.status_privacy
        });
        let Some(chosen) = chosen else {
            return StatusAudience { kind: "contacts".to_owned(), people: Vec::new() };
        };
        let kind = match chosen.mode {
            Some(0) => "whitelist",
            Some(1) => "blacklist",
            _ => "contacts",
        };
        let people = chosen.user_jid.iter().filter_map(|jid| jid.parse().ok()).collect();
        StatusAudience { kind: kind.to_owned(), people }
    }

    pub(in crate::sandbox::core) fn blocklist_query(
        &mut self,
        device: DeviceRef,
        id: &str,
        node: &Node,
        now: Millis,
    ) -> Result<Node, Refused> {
        if let BlockQuery::Change { who, block, .. } = BlockQuery::parse(node).map_err(|_| BAD_REQUEST)? {
            let who = self.resolve(&who).ok_or(NOT_FOUND)?;
            self.block(device, who.account, block, now)?;
        }
        Ok(self.blocklist(device.account).build(id))
    }

    pub(in crate::sandbox::core) fn business_query(
        &self,
        id: &str,
        node: &Node,
    ) -> Result<Option<Node>, Refused> {
        if let Some(asked) = node.find("business_profile") {
            let of = asked.find("profile").and_then(|profile| profile.jid("jid")).ok_or(BAD_REQUEST)?;
            let business = self.resolve(&of).and_then(|found| self.business(found.account));
            let profile = business.map(|business| business.profile());
            return Ok(Some(BusinessProfile::build(profile.as_ref(), id, &of)));
        }
        let Some(asked) = node.find("product_catalog") else { return Ok(None) };
        let of = asked.jid("jid").and_then(|jid| self.resolve(&jid)).ok_or(NOT_FOUND)?;
        let products = self.business(of.account).ok_or(NOT_FOUND)?.catalogue();
        let number = |tag| {
            let bytes = asked.find(tag)?.content_bytes()?;
            String::from_utf8_lossy(&bytes).parse::<usize>().ok()
        };
        let (start, limit) = (number("after").unwrap_or(0), number("limit").unwrap_or(10).clamp(1, MAX_PAGE));
        let end = start.saturating_add(limit);
        let after = (end < products.len()).then(|| end.to_string());
        let products = products.into_iter().skip(start).take(limit).collect();
        Ok(Some(Catalogue { products, after }.build(id)))
    }

    /// The parts of a usync answer that are about profiles.
    pub(in crate::sandbox::core) fn usync_profile(
        &self,
        query: &UsyncQuery,
        viewer: AccountId,
        of: AccountId,
    ) -> UsyncProfile {
        let asked = |name: &str| query.others.iter().any(|other| other == name);
        let about = asked("status").then(|| match self.may_see(of, viewer, "status") {
            true => About::Text(self.about(of)),
            false => About::Hidden,
        });
        let own = self.account(of).jid(crate::sandbox::core::Namespace::Pn, 0).to_wire();
        let picture = self.profiles.pictures.get(&own).filter(|_| asked("picture"));
        let name = self.business_name(of).filter(|_| asked("business"));
        UsyncProfile {
            about,
            picture: picture
                .filter(|_| self.may_see(of, viewer, "profile"))
                .map(|picture| picture.id.clone()),
            business: name.map(|name| name_certificate(&name)),
            timer: asked("disappearing_mode").then(|| self.shown(of).timer),
        }
    }
}
