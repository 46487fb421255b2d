//! Queries of clients. Every one is answered at once; what is unknown gets 501 and is counted as such.

use super::{DeviceRef, Namespace, World, account::MAX_POOL, faults::Kind, link::names_device};
use crate::{
    clock::Millis,
    stanza::{
        BundleAnswer, BundleQuery, ContactAnswer, DeviceAnswer, DeviceEntry, Digest, FetchedBundle, Iq,
        IqKind, Upload, UsyncAnswer, UsyncProfile, UsyncQuery, UsyncUser, contact_digits, count_answer,
        mex_errors, read_mex_query, read_privacy,
    },
    wire::{Jid, Node},
};

/// What a query is, for the counters: `get w:g2 query`.
pub(super) fn describe(node: &Node) -> String {
    let child = node.children().first().map_or("", |child| child.tag.as_ref());
    let part = |key| node.text(key).unwrap_or("?");
    format!("{} {} {child}", part("type"), part("xmlns"))
}

type Answer = Result<Node, (u16, &'static str)>;

const UNKNOWN: (u16, &str) = (501, "feature-not-implemented");
const BAD_REQUEST: (u16, &str) = (400, "bad-request");
const RATE_LIMIT: u16 = 429;

impl World {
    pub(super) fn iq(&mut self, device: DeviceRef, node: &Node, now: Millis) {
        let Ok(iq) = Iq::parse(node) else { return self.journal.refuse("iq without id or type") };
        if matches!(iq.kind, IqKind::Result | IqKind::Error) {
            return self.journal.refuse("answer to nothing that was asked");
        }
        if self.never_answered(device, &iq, node) {
            return;
        }
        let limited = self.limited(device, &iq);
        let answer = match limited.map_or_else(|| self.ask(device, &iq, node, now), Err) {
            Ok(answer) => answer,
            Err((code, text)) => {
                if limited.is_some() {
                    // Nobody's fault but the fault's.
                } else if code == UNKNOWN.0 {
                    self.journal.unknown_query(&describe(node));
                } else if code == BAD_REQUEST.0 {
                    self.journal.refuse("iq that does not parse");
                }
                Iq::error(&iq.id, code, text)
            }
        };
        self.answer(device, answer, now);
        if limited.is_some() {
            return;
        }
        self.after_answer(device, &iq, node, now);
    }

    fn ask(&mut self, device: DeviceRef, iq: &Iq, node: &Node, now: Millis) -> Answer {
        let child = node.children().first().map(|child| child.tag.as_ref());
        let empty = Ok(Iq::result(&iq.id));
        let limited = match (iq.kind, iq.xmlns.as_deref(), child) {
            (IqKind::Get, Some("usync"), _) => Some(Kind::Usync),
            (IqKind::Get, Some("encrypt"), Some("key")) => Some(Kind::PreKeys),
            (_, Some("w:g2"), _) => Some(Kind::Groups),
            _ => None,
        };
        if let Some(code) = limited.and_then(|kind| self.fault(kind, device)) {
            return Err((u16::try_from(code).unwrap_or(RATE_LIMIT), "rate-overlimit"));
        }
        match (iq.kind, iq.xmlns.as_deref().unwrap_or_default(), child) {
            (IqKind::Get, "w:p" | "urn:xmpp:ping", _) => Ok(Iq::result(&iq.id).attr("t", now.secs())),
            (IqKind::Set, "passive", Some("active" | "passive")) => empty,
            (_, "encrypt", _) => self.keys_query(device, iq, node, now),
            (IqKind::Get, "usync", _) => self.usync(device, iq, node),
            (IqKind::Get, "abt", _) => Ok(self.properties(device.account, &iq.id)),
            (_, "blocklist", _) => self.blocklist_query(device, &iq.id, node, now),
            (IqKind::Get, "privacy", Some("privacy")) => {
                Ok(Iq::result(&iq.id).child(self.privacy_of(device.account)))
            }
            (IqKind::Set, "privacy", Some("privacy")) => {
                let changed = self.change_privacy(device, read_privacy(node), now).ok_or(BAD_REQUEST)?;
                Ok(Iq::result(&iq.id).child(changed))
            }
            // Trusted-contact tokens: handed to the contact.
            (IqKind::Set, "privacy", Some("tokens")) => {
                self.hand_on_tokens(device, node, now).ok_or(BAD_REQUEST)?;
                empty
            }
            (IqKind::Set, "w:m", Some("media_conn")) => Ok(self.media_conn(device, &iq.id, now)),
            (IqKind::Set, "w:sync:app:state", Some("sync")) => {
                self.app_state(device, iq, node, now).ok_or(BAD_REQUEST)
            }
            (IqKind::Set, "urn:xmpp:whatsapp:dirty", Some("clean")) => empty,
            (IqKind::Set, "md", Some("remove-companion-device")) => self.logout(device, iq, node),
            (IqKind::Get, "w:profile:picture", _) if self.hides_picture(device, node, now) => {
                Err((401, "not-authorized"))
            }
            (_, "w:profile:picture" | "status" | "disappearing_mode", _) => {
                self.profile_query(device, &iq.id, node, now)?.ok_or(UNKNOWN)
            }
            (IqKind::Get, "w:biz" | "w:biz:catalog", _) => self.business_query(&iq.id, node)?.ok_or(UNKNOWN),
            (IqKind::Get, "w:mex", _) => {
                let (document, variables) = read_mex_query(node).ok_or(BAD_REQUEST)?;
                let known = match self.standing_document(device, &iq.id, &document, now) {
                    None => self.newsletter_document(device, &iq.id, (&document, &variables), now),
                    known => known,
                };
                // Not a time out, and not an error of the query: that is how the server answers (protocol 05, 14).
                Ok(known.unwrap_or_else(|| {
                    self.journal.unknown_query(&format!("w:mex {document}"));
                    mex_errors(&iq.id, 400, "unknown document")
                }))
            }
            (_, "newsletter", _) => self.newsletter_query(device, &iq.id, node, now)?.ok_or(UNKNOWN),
            (_, "w:g2", _) => self.group_query(device, &iq.id, node, now)?.ok_or(UNKNOWN),
            _ => Err(UNKNOWN),
        }
    }

    /// A query for the own picture that shows a token (protocol 06, 3.4): no client sends that.
    fn never_answered(&self, device: DeviceRef, iq: &Iq, node: &Node) -> bool {
        let whom = node.jid("target").and_then(|jid| self.resolve(&jid));
        iq.xmlns.as_deref() == Some("w:profile:picture")
            && whom.is_some_and(|whom| whom.account == device.account)
            && node.find("picture").is_some_and(|picture| picture.find("tctoken").is_some())
    }

    /// Whether the picture that is asked for is not to be seen by whoever asks.
    fn hides_picture(&self, device: DeviceRef, node: &Node, now: Millis) -> bool {
        let whom = node.jid("target").and_then(|jid| self.resolve(&jid));
        let picture = node.find("picture").unwrap_or(node);
        whom.is_some_and(|whom| self.hidden(device.account, whom.account, picture, now))
    }

    /// A fault refuses the query; never one without which there is no session.
    fn limited(&mut self, device: DeviceRef, iq: &Iq) -> Option<(u16, &'static str)> {
        if matches!(iq.xmlns.as_deref(), Some("w:p" | "urn:xmpp:ping" | "passive" | "md" | "encrypt") | None)
        {
            return None;
        }
        let code = u16::try_from(self.fault(Kind::Iq, device)?).ok()?;
        Some((code, if code == 429 { "rate-overlimit" } else { "service-unavailable" }))
    }

    /// What follows an answer, so that the answer stands in front of it.
    fn after_answer(&mut self, device: DeviceRef, iq: &Iq, node: &Node, now: Millis) {
        match iq.xmlns.as_deref() {
            Some("w:g2") => self.spread_news(now),
            Some("w:profile:picture" | "status" | "disappearing_mode" | "blocklist") => {
                self.spread_profiles(now);
            }
            Some("passive") if node.find("active").is_some() => self.activate(device, now),
            Some("md") if node.find("remove-companion-device").is_some() => {
                let own = self.jid(device, Namespace::Pn);
                let named = node.find("remove-companion-device").and_then(|n| n.jid("jid"));
                if named.is_some_and(|named| names_device(&named, &own)) {
                    self.unlink(device, now);
                }
            }
            Some("encrypt") if iq.kind == IqKind::Set => {
                self.warn_of_low_pool(device, false, now);
                self.bootstrap(device, now);
            }
            _ => {}
        }
    }

    fn logout(&self, device: DeviceRef, iq: &Iq, node: &Node) -> Answer {
        let named = node.find("remove-companion-device").and_then(|n| n.jid("jid")).ok_or(BAD_REQUEST)?;
        let own = [self.jid(device, Namespace::Pn), self.jid(device, Namespace::Lid)];
        if own.iter().any(|own| names_device(&named, own)) {
            Ok(Iq::result(&iq.id))
        } else {
            Err((403, "forbidden"))
        }
    }

    fn keys_query(&mut self, device: DeviceRef, iq: &Iq, node: &Node, now: Millis) -> Answer {
        let child = node.children().first().map(|child| child.tag.as_ref());
        match (iq.kind, child) {
            (IqKind::Get, Some("count")) => {
                let left = self.device(device).map_or(0, |d| d.keys.pool.len());
                Ok(count_answer(&iq.id, left))
            }
            (IqKind::Get, Some("digest")) => {
                let keys = &self.device(device).ok_or((404, "item-not-found"))?.keys;
                let digest = Digest {
                    registration_id: keys.registration_id,
                    identity: keys.identity,
                    signed: keys.signed.clone(),
                    one_time_ids: keys.pool.iter().map(|key| key.id).collect(),
                    hash: Digest::hash(&keys.identity, &keys.signed, keys.pool.iter().map(|key| &key.key)),
                };
                Ok(digest.build(&iq.id))
            }
            (IqKind::Get, Some("key")) => {
                let query = BundleQuery::parse(node).map_err(|_| BAD_REQUEST)?;
                Ok(self.bundles(&query, now).build(&iq.id))
            }
            (IqKind::Set, Some("rotate")) => {
                let rotate = node.find("rotate").ok_or(BAD_REQUEST)?;
                let signed = crate::stanza::read_signed(rotate).map_err(|_| BAD_REQUEST)?;
                let keys = &mut self.device_mut(device).ok_or((404, "item-not-found"))?.keys;
                if keys.identity.verify(&signed.key.to_signal(), &signed.signature).is_err() {
                    return Err(BAD_REQUEST);
                }
                keys.signed = signed;
                Ok(Iq::result(&iq.id))
            }
            (IqKind::Set, _) => {
                let upload = Upload::parse(node).map_err(|_| BAD_REQUEST)?;
                self.upload(device, upload).map(|()| Iq::result(&iq.id))
            }
            _ => Err(UNKNOWN),
        }
    }

    fn upload(&mut self, device: DeviceRef, upload: Upload) -> Result<(), (u16, &'static str)> {
        let keys = &mut self.device_mut(device).ok_or((404, "item-not-found"))?.keys;
        let signed = &upload.signed;
        if upload.identity != keys.identity
            || upload.identity.verify(&signed.key.to_signal(), &signed.signature).is_err()
            || upload.one_time.iter().any(|key| key.id == 0)
        {
            return Err(BAD_REQUEST);
        }
        keys.registration_id = upload.registration_id;
        keys.signed = upload.signed;
        let fresh: std::collections::BTreeSet<u32> = upload.one_time.iter().map(|key| key.id).collect();
        keys.pool.retain(|key| !fresh.contains(&key.id));
        keys.pool.extend(upload.one_time);
        keys.pool.truncate(MAX_POOL);
        Ok(())
    }

    /// Bundles of the devices asked for; a device that does not exist is left out.
    fn bundles(&mut self, query: &BundleQuery, now: Millis) -> BundleAnswer {
        let mut answers = Vec::new();
        for jid in &query.devices {
            let Some(target) = self.resolve(jid) else { continue };
            let Some(known) = self.device_mut(target) else { continue };
            let bundle = known.take_bundle();
            let identity = known.identity.clone();
            answers.push(FetchedBundle { device: jid.clone(), keys: Ok((bundle, identity)) });
            if self.endpoint(target).is_some() {
                self.refill_phone(target);
            } else {
                self.warn_of_low_pool(target, false, now);
            }
        }
        BundleAnswer(answers)
    }

    fn usync(&self, device: DeviceRef, iq: &Iq, node: &Node) -> Answer {
        let query = UsyncQuery::parse(node).map_err(|_| BAD_REQUEST)?;
        let answers: Vec<UsyncAnswer> =
            query.users.iter().filter_map(|user| self.usync_user(&query, user, device)).collect();
        Ok(UsyncAnswer::build_all(&iq.id, &query, &answers))
    }

    fn usync_user(&self, query: &UsyncQuery, user: &UsyncUser, asking: DeviceRef) -> Option<UsyncAnswer> {
        let (asked, who, contact) = match user {
            UsyncUser::Jid(jid) => (jid.clone(), self.resolve(jid), None),
            UsyncUser::Phone(text) => {
                let digits = contact_digits(text)?;
                let jid = Jid::pn(digits);
                let who = self.resolve(&jid);
                (jid, who, Some(ContactAnswer { registered: who.is_some(), query: text.clone() }))
            }
        };
        let contact = contact.or_else(|| {
            query.contact.then(|| ContactAnswer { registered: who.is_some(), query: String::new() })
        });
        let Some(who) = who else {
            // Whoever is asked for by number is told that there is nobody; an address nobody has gets no entry.
            return contact.map(|contact| UsyncAnswer {
                jid: asked,
                pn: None,
                lid: None,
                devices: None,
                contact: Some(contact),
                profile: UsyncProfile::default(),
            });
        };
        let account = self.account(who.account);
        let by_number = matches!(user, UsyncUser::Phone(_));
        let (jid, pn) = if by_number && query.by_lid {
            (account.jid(Namespace::Lid, 0), Some(account.jid(Namespace::Pn, 0)))
        } else {
            (asked.clone(), None)
        };
        // Baileys refetches bundles for every LID it is told: only those that asked by number are told.
        let lid = (query.lid && !asked.is_lid()).then(|| account.jid(Namespace::Lid, 0));
        let devices = query.devices.then(|| DeviceAnswer {
            devices: account
                .devices
                .values()
                .map(|d| DeviceEntry { id: d.id, key_index: d.key_index, hosted: false })
                .collect(),
            key_index_list: account.list_shown(),
        });
        let profile = self.usync_profile(query, asking.account, who.account);
        Some(UsyncAnswer { jid, pn, lid, devices, contact, profile })
    }
}
