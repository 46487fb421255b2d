//! What clients ask of newsletters. Documents are told apart by their numbers, those of all three published clients
//! (protocol 05, 13.1); an answer holds its data under every name that one of them reads.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use super::{Follower, LIVE, MAX_DESCRIPTION, MAX_NAME, Newsletter, Role, is_newsletter};
use crate::{
    clock::Millis,
    sandbox::core::{AccountId, DeviceRef, World},
    stanza::{NewsletterQuery, Post, build_posts, mex_answer, mex_errors},
    wire::{Jid, Node},
};

/// What a document asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Create,
    Info,
    List,
    Follow,
    Unfollow,
    Mute,
    Unmute,
    Setting,
    Update,
    Delete,
    ChangeOwner,
    Demote,
    Admins,
    Subscribers,
}

/// Baileys 7.0.0-rc14, whatsmeow, whatsapp-rust 0.7.
const DOCUMENTS: [(&str, Asked); 34] = [
    ("8823471724422422", Asked::Create),
    ("6234210096708695", Asked::Create),
    ("25149874324715067", Asked::Create),
    ("6563316087068696", Asked::Info),
    ("27456920720571478", Asked::Info),
    ("6388546374527196", Asked::List),
    ("25399611239711790", Asked::List),
    ("24404358912487870", Asked::Follow),
    ("9926858900719341", Asked::Follow),
    ("9767147403369991", Asked::Unfollow),
    ("6392786840836363", Asked::Unfollow),
    ("29766401636284406", Asked::Mute),
    ("6274038279359549", Asked::Mute),
    ("9864994326891137", Asked::Unmute),
    ("6068417879924485", Asked::Unmute),
    ("31938993655691868", Asked::Setting),
    ("24250201037901610", Asked::Update),
    ("7150902998257522", Asked::Update),
    ("30062808666639665", Asked::Delete),
    ("7341777602580933", Asked::ChangeOwner),
    ("9546742745432473", Asked::ChangeOwner),
    ("6551828931592903", Asked::Demote),
    ("9880997548630971", Asked::Demote),
    ("7130823597031706", Asked::Admins),
    ("26278439461859188", Asked::Admins),
    ("9783111038412085", Asked::Subscribers),
    ("9800646650009898", Asked::Subscribers),
    ("27472091235714801", Asked::Subscribers),
    // whatsmeow as a desktop client.
    ("9779843322044422", Asked::Info),
    ("27527996220149684", Asked::Create),
    ("8782612271820087", Asked::Unfollow),
    ("5971669009605755", Asked::Mute),
    ("6104029483058502", Asked::Unmute),
    ("7839742399440946", Asked::Update),
];

type Refused = (u16, &'static str);
const BAD_REQUEST: Refused = (400, "bad request");
const FORBIDDEN: Refused = (403, "forbidden");
const NOT_FOUND: Refused = (404, "not found");
const NOT_ACCEPTABLE: Refused = (406, "not acceptable");

impl World {
    /// The answer to a document about newsletters; `None`: it is about something else.
    pub(in crate::sandbox::core) fn newsletter_document(
        &mut self,
        device: DeviceRef,
        id: &str,
        (document, variables): (&str, &Value),
        now: Millis,
    ) -> Option<Node> {
        let asked = DOCUMENTS.iter().find(|(known, _)| *known == document)?.1;
        Some(match self.newsletter_asked(device.account, asked, variables, now) {
            Ok(data) => mex_answer(id, &data),
            Err((code, message)) => mex_errors(id, code, message),
        })
    }

    fn newsletter_asked(
        &mut self,
        who: AccountId,
        asked: Asked,
        variables: &Value,
        now: Millis,
    ) -> Result<Value, Refused> {
        let text = |path: &str| variables.pointer(path).and_then(Value::as_str);
        let named = text("/newsletter_id").or_else(|| text("/input/newsletter_id"));
        let named = named.and_then(|jid| jid.parse::<Jid>().ok()).filter(is_newsletter);
        let under = |names: &[&str], value: Value| {
            Value::Object(names.iter().map(|name| ((*name).to_owned(), value.clone())).collect::<Map<_, _>>())
        };
        let there = || named.clone().ok_or(BAD_REQUEST);
        Ok(match asked {
            Asked::Create => {
                let input = variables
                    .get("input")
                    .or_else(|| variables.get("newsletter_input"))
                    .ok_or(BAD_REQUEST)?;
                let name = input.get("name").and_then(Value::as_str).ok_or(BAD_REQUEST)?;
                let description = input.get("description").and_then(Value::as_str).unwrap_or_default();
                let jid = self.make_newsletter(who, name, description, now).ok_or(NOT_ACCEPTABLE)?;
                let object = self.newsletter(&jid).ok_or(NOT_FOUND)?.object(who);
                under(&["xwa2_newsletter_create"], object)
            }
            Asked::Info => {
                let key = text("/input/key").ok_or(BAD_REQUEST)?;
                let found = match text("/input/type") {
                    Some("INVITE") => self.newsletters.values().find(|one| one.invite == key),
                    _ => key.parse::<Jid>().ok().and_then(|jid| self.newsletter(&jid)),
                };
                under(&["xwa2_newsletter"], found.ok_or(NOT_FOUND)?.object(who))
            }
            Asked::List => {
                let mine = self.newsletters.values().filter(|one| one.followers.contains_key(&who));
                under(&["xwa2_newsletter_subscribed"], mine.map(|one| one.object(who)).collect())
            }
            Asked::Follow => {
                let object = self.follow(who, &there()?, now).ok_or(NOT_FOUND)?;
                under(&["xwa2_newsletter_join_v2", "xwa2_newsletter_follow"], object)
            }
            Asked::Unfollow => {
                let jid = there()?;
                let newsletter = self.newsletter(&jid).ok_or(NOT_FOUND)?;
                if newsletter.followers.get(&who).is_some_and(|one| one.role == Role::Owner) {
                    return Err(FORBIDDEN);
                }
                let object = self.unfollow(who, &jid, now).ok_or(NOT_FOUND)?;
                under(&["xwa2_newsletter_leave_v2", "xwa2_newsletter_unfollow"], object)
            }
            Asked::Mute | Asked::Unmute | Asked::Setting => {
                let on = match asked {
                    Asked::Setting => text("/input/value") == Some("ON"),
                    asked => asked == Asked::Mute,
                };
                let jid = there()?;
                let newsletter = self.newsletter_mut(&jid).ok_or(NOT_FOUND)?;
                newsletter.followers.get_mut(&who).ok_or(FORBIDDEN)?.muted = on;
                let object = newsletter.object(who);
                let word = if on { "ON" } else { "OFF" };
                let told = json!({
                    "xwa2_notify_newsletter_on_mute_change": { "id": jid.to_wire(), "mute": word },
                });
                self.tell_of_newsletter(who, "NotificationNewsletterMuteChange", &told, now);
                let names = [
                    "xwa2_newsletter_mute_v2",
                    "xwa2_newsletter_unmute_v2",
                    "xwa2_newsletter_update_user_setting",
                ];
                under(&names, object)
            }
            Asked::Update => {
                let jid = there()?;
                self.runs(&jid, who)?;
                let (name, description) = (text("/updates/name"), text("/updates/description"));
                let longest =
                    |text: Option<&str>, most: usize| text.is_none_or(|t| t.chars().count() <= most);
                if name == Some("") || !longest(name, MAX_NAME) || !longest(description, MAX_DESCRIPTION) {
                    return Err(NOT_ACCEPTABLE);
                }
                // Base64; an empty one takes the present picture away.
                let picture = match text("/updates/picture") {
                    None => None,
                    Some(jpeg) => {
                        let jpeg = BASE64_STANDARD.decode(jpeg).map_err(|_| BAD_REQUEST)?;
                        let jpeg = Some(jpeg).filter(|jpeg| !jpeg.is_empty());
                        let kept = self.keep_picture(jid.to_wire(), jpeg.as_deref(), now);
                        Some(kept.map_err(|_| NOT_ACCEPTABLE)?)
                    }
                };
                let newsletter = self.newsletter_mut(&jid).ok_or(NOT_FOUND)?;
                if let Some(picture) = picture {
                    newsletter.picture = picture;
                }
                newsletter.name = name.unwrap_or(&newsletter.name).to_owned();
                newsletter.description = description.unwrap_or(&newsletter.description).to_owned();
                newsletter.updated = now.0 * 1_000;
                let followers: Vec<AccountId> = newsletter.followers.keys().copied().collect();
                for follower in followers {
                    let object = self.newsletter(&jid).map(|one| one.object(follower));
                    let told = json!({ "xwa2_notify_newsletter_on_metadata_update": object });
                    self.tell_of_newsletter(follower, "NotificationNewsletterUpdate", &told, now);
                }
                under(&["xwa2_newsletter_update"], self.newsletter(&jid).ok_or(NOT_FOUND)?.object(who))
            }
            Asked::Delete => {
                let jid = there()?;
                self.owns(&jid, who)?;
                let gone = self.newsletters.remove(jid.user()).ok_or(NOT_FOUND)?;
                self.keep_picture(jid.to_wire(), None, now).map_err(|_| NOT_ACCEPTABLE)?;
                let state = json!({ "id": jid.to_wire(), "state": { "type": "DELETED" } });
                for follower in gone.followers.keys() {
                    let told = json!({ "xwa2_notify_newsletter_on_state_change": state });
                    self.tell_of_newsletter(*follower, "NotificationNewsletterStateChange", &told, now);
                }
                under(&["xwa2_newsletter_delete_v2"], state)
            }
            Asked::ChangeOwner | Asked::Demote => {
                let jid = there()?;
                self.owns(&jid, who)?;
                let user = text("/user_id").or_else(|| text("/input/user_id")).ok_or(BAD_REQUEST)?;
                let other = self.resolve_text(user).ok_or(NOT_FOUND)?.account;
                let newsletter = self.newsletter_mut(&jid).ok_or(NOT_FOUND)?;
                let known = newsletter.followers.get_mut(&other).ok_or(NOT_FOUND)?;
                if asked == Asked::Demote {
                    // Somebody has to own it.
                    if known.role == Role::Owner {
                        return Err(FORBIDDEN);
                    }
                    known.role = Role::Subscriber;
                } else {
                    known.role = Role::Owner;
                    if let Some(before) = newsletter.followers.get_mut(&who).filter(|_| who != other) {
                        before.role = Role::Admin;
                    }
                }
                let object = newsletter.object(who);
                let names = [
                    "xwa2_newsletter_change_owner",
                    "xwa2_newsletter_demote",
                    "xwa2_newsletter_admin_demote",
                ];
                under(&names, object)
            }
            Asked::Admins => {
                let newsletter = self.newsletter(&there()?).ok_or(NOT_FOUND)?;
                let admins = newsletter.followers.values().filter(|one| one.role != Role::Subscriber).count();
                under(
                    &["xwa2_newsletter_admin"],
                    json!({ "id": newsletter.jid.to_wire(), "admin_count": admins }),
                )
            }
            Asked::Subscribers => {
                let jid = there()?;
                self.runs(&jid, who)?;
                let newsletter = self.newsletter(&jid).ok_or(NOT_FOUND)?;
                self.subscribers(newsletter)
            }
        })
    }

    fn subscribers(&self, newsletter: &Newsletter) -> Value {
        use crate::sandbox::core::Namespace;
        let edges = newsletter.followers.iter().map(|(id, follower)| {
            let account = self.account(*id);
            json!({
                "node": {
                    "id": account.jid(Namespace::Lid, 0).to_wire(),
                    "pn": account.jid(Namespace::Pn, 0).to_wire(),
                    "display_name": account.name,
                },
                "role": follower.role.as_str(),
                "follow_time": newsletter.created.to_string(),
            })
        });
        let edges: Vec<Value> = edges.collect();
        json!({
            "xwa2_newsletter_subscribers": { "subscribers": { "edges": edges } },
            "xwa2_newsletter_followers": { "followers": { "edges": edges } },
        })
    }

    fn runs(&self, jid: &Jid, who: AccountId) -> Result<(), Refused> {
        let newsletter = self.newsletter(jid).ok_or(NOT_FOUND)?;
        if newsletter.may_post(who) { Ok(()) } else { Err(FORBIDDEN) }
    }

    fn owns(&self, jid: &Jid, who: AccountId) -> Result<(), Refused> {
        let newsletter = self.newsletter(jid).ok_or(NOT_FOUND)?;
        let owner = newsletter.followers.get(&who).is_some_and(|one| one.role == Role::Owner);
        if owner { Ok(()) } else { Err(FORBIDDEN) }
    }

    /// As the follower sees it then.
    pub(super) fn follow(&mut self, who: AccountId, jid: &Jid, now: Millis) -> Option<Value> {
        let newsletter = self.newsletter_mut(jid)?;
        newsletter.followers.entry(who).or_insert(Follower { role: Role::Subscriber, muted: false });
        let object = newsletter.object(who);
        let told = json!({ "xwa2_notify_newsletter_on_join": object });
        self.tell_of_newsletter(who, "NotificationNewsletterJoin", &told, now);
        Some(object)
    }

    pub(super) fn unfollow(&mut self, who: AccountId, jid: &Jid, now: Millis) -> Option<Value> {
        let newsletter = self.newsletter_mut(jid)?;
        newsletter.followers.remove(&who);
        newsletter.live.retain(|device, _| device.account != who);
        let object = newsletter.object(who);
        let told = json!({ "xwa2_notify_newsletter_on_leave": { "id": jid.to_wire(), "role": "GUEST" } });
        self.tell_of_newsletter(who, "NotificationNewsletterLeave", &told, now);
        Some(object)
    }

    /// `xmlns="newsletter"`; `Ok(None)`: nobody here knows this query.
    pub(in crate::sandbox::core) fn newsletter_query(
        &mut self,
        device: DeviceRef,
        id: &str,
        node: &Node,
        now: Millis,
    ) -> Result<Option<Node>, Refused> {
        let Some(query) = NewsletterQuery::parse(node).map_err(|_| BAD_REQUEST)? else { return Ok(None) };
        let answer = Node::new("iq")
            .attr("from", node.jid("to").unwrap_or_else(Jid::server_itself))
            .attr("type", "result")
            .attr("id", id.to_owned());
        let who = device.account;
        let last = |posts: Vec<Post>, count: u32| {
            let skip = posts.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
            posts.into_iter().skip(skip).collect::<Vec<_>>()
        };
        Ok(Some(match query {
            NewsletterQuery::Messages { newsletter, count, before } => {
                let known = self.newsletter(&newsletter).ok_or(NOT_FOUND)?;
                let older = known.posts.iter().filter(|kept| before.is_none_or(|b| kept.post.server_id < b));
                let posts = last(older.map(|kept| kept.seen_by(who)).collect(), count);
                answer.child(build_posts(&newsletter, now.secs(), &posts))
            }
            NewsletterQuery::Updates { newsletter, count, since, after } => {
                let known = self.newsletter(&newsletter).ok_or(NOT_FOUND)?;
                let changed = known.posts.iter().filter(|kept| {
                    since.is_none_or(|t| kept.changed >= t) && after.is_none_or(|n| kept.post.server_id > n)
                });
                let posts = last(changed.map(|kept| kept.seen_by(who)).collect(), count);
                let list = build_posts(&newsletter, now.secs(), &posts);
                answer.child(Node::new("message_updates").child(list))
            }
            NewsletterQuery::Live(newsletter) => {
                let known = self.newsletter_mut(&newsletter).ok_or(NOT_FOUND)?;
                known.live.insert(device, now + std::time::Duration::from_secs(LIVE));
                answer.child(Node::new("live_updates").attr("duration", LIVE))
            }
        }))
    }
}
