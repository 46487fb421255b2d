//! What a person or a group shows of itself: the picture, the text about, who sees statuses, the timer of new chats.
//! Shapes: Baileys `Socket/chats.ts`, whatsmeow `user.go`, whatsapp-rust `wacore/src/iq/contacts.rs`, `profile.rs`.

use super::{
    Iq, IqKind, Malformed, Notification,
    tokens::{shown_token, tctoken},
};
use crate::wire::{Jid, Node};

/// Which picture is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureSize {
    /// A small one, for lists.
    Preview,
    /// As it was set.
    Image,
}

impl PictureSize {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Preview => "preview",
            Self::Image => "image",
        }
    }
}

/// Client → server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileQuery {
    /// Where is the picture of a person or a group?
    Picture {
        /// Whose.
        of: Jid,
        /// Which.
        size: PictureSize,
        /// The id of the one that is known already.
        known: Option<String>,
        /// The trusted-contact token of the person (protocol 06, 3.4).
        token: Option<Vec<u8>>,
    },
    /// Another picture, or none.
    SetPicture {
        /// Of this group; of the account where none is named.
        of: Option<Jid>,
        /// A JPEG; `None` takes the picture away.
        jpeg: Option<Vec<u8>>,
    },
    /// Another text about the account.
    SetAbout(String),
    /// Messages of new chats disappear after so many seconds; 0: never.
    SetTimer(u32),
    /// Who sees the account's statuses?
    StatusPrivacy,
}

impl ProfileQuery {
    /// Builds the query.
    pub fn build(&self, id: &str) -> Node {
        match self {
            Self::Picture { of, size, known, token } => {
                let picture = Node::new("picture")
                    .attr("type", size.as_str())
                    .attr("query", "url")
                    .attr_opt("id", known.clone())
                    .child_opt(token.as_deref().map(tctoken));
                Iq::query(id, IqKind::Get, "w:profile:picture").attr("target", of).child(picture)
            }
            Self::SetPicture { of, jpeg } => {
                let picture =
                    jpeg.as_ref().map(|jpeg| Node::new("picture").attr("type", "image").bytes(jpeg.clone()));
                Iq::query(id, IqKind::Set, "w:profile:picture")
                    .attr_opt("target", of.as_ref())
                    .child_opt(picture)
            }
            Self::SetAbout(text) => {
                Iq::query(id, IqKind::Set, "status").child(Node::new("status").bytes(text.as_bytes()))
            }
            Self::SetTimer(seconds) => Iq::query(id, IqKind::Set, "disappearing_mode")
                .child(Node::new("disappearing_mode").attr("duration", *seconds)),
            Self::StatusPrivacy => Iq::query(id, IqKind::Get, "status").child(Node::new("privacy")),
        }
    }

    /// Reads the query of any client; `None`: it is another.
    pub fn parse(node: &Node) -> Result<Option<Self>, Malformed> {
        let kind = Iq::parse(node)?.kind;
        let target = || node.jid("target").map(|jid| jid.bare());
        Ok(Some(match (kind, node.text("xmlns").unwrap_or_default()) {
            (IqKind::Get, "w:profile:picture") => {
                let picture = node.find("picture").ok_or(Malformed("picture"))?;
                Self::Picture {
                    of: target().ok_or(Malformed("target"))?,
                    size: match picture.text("type") {
                        Some("image") => PictureSize::Image,
                        _ => PictureSize::Preview,
                    },
                    known: picture.text("id").map(str::to_owned),
                    token: shown_token(picture),
                }
            }
            (IqKind::Set, "w:profile:picture") => {
                let jpeg = match node.find("picture") {
                    Some(picture) => Some(picture.content_bytes().ok_or(Malformed("picture"))?.into_owned()),
                    None => None,
                };
                Self::SetPicture { of: target(), jpeg }
            }
            (IqKind::Set, "status") => {
                let status = node.find("status").ok_or(Malformed("status"))?;
                // An empty text may come without any content.
                let text = status.content_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
                Self::SetAbout(String::from_utf8(text).map_err(|_| Malformed("status"))?)
            }
            (IqKind::Get, "status") if node.find("privacy").is_some() => Self::StatusPrivacy,
            (IqKind::Set, "disappearing_mode") => {
                let mode = node.find("disappearing_mode").ok_or(Malformed("disappearing_mode"))?;
                Self::SetTimer(mode.number("duration").ok_or(Malformed("duration"))?)
            }
            _ => return Ok(None),
        }))
    }
}

/// Where a picture is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Changes with the picture.
    pub id: String,
    /// Which.
    pub size: PictureSize,
    /// To be fetched as it is, for some days.
    pub url: String,
    /// The same without the host.
    pub direct_path: String,
}

/// What the server says of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PictureAnswer {
    /// There it is.
    Found(Picture),
    /// The one that is known already.
    Unchanged,
    /// There is none.
    Missing,
    /// There may be one, and the account may not see it.
    Hidden,
    /// WhatsApp refused, with this code.
    Refused(u16),
}

impl PictureAnswer {
    /// Reads the server's answer.
    pub fn parse(node: &Node) -> Self {
        let refused = |code| match code {
            404 => Self::Missing,
            401 | 403 => Self::Hidden,
            code => Self::Refused(code),
        };
        if let Some(refusal) = Iq::refusal(node) {
            return refused(refusal.code);
        }
        let Some(picture) = node.find("picture") else { return Self::Missing };
        if let Some(error) = picture.find("error") {
            return refused(error.number("code").unwrap_or(500));
        }
        match picture.text("status") {
            Some("304") => return Self::Unchanged,
            Some("204") => return Self::Missing,
            _ => {}
        }
        let (Some(id), Some(url)) = (picture.text("id"), picture.text("url")) else { return Self::Missing };
        Self::Found(Picture {
            id: id.to_owned(),
            size: match picture.text("type") {
                Some("image") => PictureSize::Image,
                _ => PictureSize::Preview,
            },
            url: url.to_owned(),
            direct_path: picture.text("direct_path").unwrap_or_default().to_owned(),
        })
    }

    /// Builds the server's answer.
    pub fn build(&self, id: &str) -> Node {
        match self {
            Self::Found(picture) => Iq::result(id).child(
                Node::new("picture")
                    .attr("id", picture.id.clone())
                    .attr("type", picture.size.as_str())
                    .attr("url", picture.url.clone())
                    .attr("direct_path", picture.direct_path.clone()),
            ),
            Self::Unchanged => Iq::result(id).child(Node::new("picture").attr("status", "304")),
            Self::Missing => Iq::error(id, 404, "item-not-found"),
            Self::Hidden => Iq::error(id, 401, "not-authorized"),
            Self::Refused(code) => Iq::error(id, *code, "refused"),
        }
    }
}

/// The server's answer to another picture: its id.
pub fn picture_set(id: &str, picture: &str) -> Node {
    Iq::result(id).child(Node::new("picture").attr("id", picture.to_owned()))
}

/// The id in the answer to another picture.
pub fn read_picture_set(node: &Node) -> Option<String> {
    node.find("picture").and_then(|picture| picture.text("id")).map(str::to_owned)
}

/// Somebody, or a group, has another picture, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureNotice {
    /// Whose it is.
    pub of: Jid,
    /// Names the new one; `None`: there is none any more.
    pub id: Option<String>,
    /// Who did it, in a group.
    pub author: Option<Jid>,
}

impl PictureNotice {
    /// Reads the server's stanza.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let from = super::jid(node, "from")?;
        let (set, gone) = (node.find("set"), node.find("delete"));
        let child = set.or(gone);
        // Whoever is not in the address book is named by a hash; the address of the stanza names it all the same.
        let named = child.and_then(|child| child.jid("jid")).filter(|jid| jid.is_user() || jid.is_group());
        Ok(Self {
            of: named.unwrap_or(from).bare(),
            id: set.and_then(|set| set.text("id")).map(str::to_owned),
            author: child.and_then(|child| child.jid("author")).map(|author| author.bare()),
        })
    }

    /// Builds the server's stanza.
    pub fn build(&self, id: &str, t: u64) -> Node {
        let change = match &self.id {
            Some(picture) => Node::new("set").attr("jid", &self.of).attr("id", picture.clone()),
            None => Node::new("delete").attr("jid", &self.of),
        };
        Notification::frame(id, &self.of, "picture", t).child(change.attr_opt("author", self.author.as_ref()))
    }
}

/// Somebody's text about themselves, as a notification tells it.
pub fn read_about_notice(node: &Node) -> Option<String> {
    let text = node.find("set")?.content_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
    String::from_utf8(text).ok()
}

/// The server's notification of another text.
pub fn about_notice(id: &str, from: &Jid, name: &str, text: &str, t: u64) -> Node {
    Notification::frame(id, from, "status", t)
        .attr("notify", name.to_owned())
        .child(Node::new("set").bytes(text.as_bytes()))
}

/// Who sees statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusAudience {
    /// `contacts`, `blacklist` (all but these) or `whitelist` (these alone).
    pub kind: String,
    /// Those who are named.
    pub people: Vec<Jid>,
}

impl StatusAudience {
    /// Reads the server's answer: the list in force. Nothing said is all contacts.
    pub fn parse(node: &Node) -> Self {
        let lists = node.find("privacy").into_iter().flat_map(|privacy| privacy.find_all("list"));
        let lists: Vec<&Node> = lists.collect();
        let chosen = lists.iter().find(|list| list.text("default") == Some("true")).or(lists.first());
        let named = chosen.into_iter().flat_map(|list| list.find_all("user"));
        Self {
            kind: chosen.and_then(|list| list.text("type")).unwrap_or("contacts").to_owned(),
            people: named.filter_map(|user| user.jid("jid")).map(|jid| jid.bare()).collect(),
        }
    }

    /// Builds the server's answer.
    pub fn build(&self, id: &str) -> Node {
        let people = self.people.iter().map(|jid| Node::new("user").attr("jid", jid));
        let list =
            Node::new("list").attr("type", self.kind.clone()).attr("default", "true").children_from(people);
        Iq::result(id).child(Node::new("privacy").child(list))
    }
}
