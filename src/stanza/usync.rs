//! `usync`: who exists, under which names, with which devices.
//! Shapes: Baileys `WAUSync/`, whatsmeow `user.go`, whatsapp-rust `wacore/src/iq/usync.rs`.

use super::{
    Iq, IqKind, Malformed, jid,
    tokens::{shown_token, tctoken},
};
use crate::wire::{Jid, Node};

/// One user asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsyncUser {
    /// By address.
    Jid(Jid),
    /// By phone number as a person types it, digits only here.
    Phone(String),
}

/// Client → server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsyncQuery {
    /// Unique a query.
    pub sid: String,
    /// `interactive`, `background`, `message`.
    pub context: String,
    /// Asks for device lists.
    pub devices: bool,
    /// Asks for hidden identities.
    pub lid: bool,
    /// Asks whether phone numbers are registered.
    pub contact: bool,
    /// With `contact`: answer by LID, phone number beside it.
    pub by_lid: bool,
    /// Other protocols asked (`status`, `picture`, `business`, `disappearing_mode` …).
    pub others: Vec<String>,
    /// About whom.
    pub users: Vec<UsyncUser>,
    /// With one user asked about by address: their trusted-contact token (protocol 06, 3.4).
    pub token: Option<Vec<u8>>,
}

impl UsyncQuery {
    /// Device lists and hidden identities of these people.
    pub fn devices(sid: String, users: impl IntoIterator<Item = Jid>) -> Self {
        Self {
            sid,
            context: "message".into(),
            devices: true,
            lid: true,
            contact: false,
            by_lid: false,
            others: Vec::new(),
            users: users.into_iter().map(UsyncUser::Jid).collect(),
            token: None,
        }
    }

    /// What these people show of themselves: text, verified name and so on, by the names of the protocols.
    pub fn profiles(sid: String, users: impl IntoIterator<Item = Jid>, what: &[&str]) -> Self {
        Self {
            sid,
            context: "interactive".into(),
            devices: false,
            lid: false,
            contact: false,
            by_lid: false,
            others: what.iter().map(|name| (*name).to_owned()).collect(),
            users: users.into_iter().map(UsyncUser::Jid).collect(),
            token: None,
        }
    }

    /// Which of these numbers are on WhatsApp, and as whom.
    pub fn contacts(sid: String, numbers: impl IntoIterator<Item = String>) -> Self {
        Self {
            sid,
            context: "interactive".into(),
            devices: false,
            lid: true,
            contact: true,
            by_lid: false,
            others: Vec::new(),
            users: numbers.into_iter().map(UsyncUser::Phone).collect(),
            token: None,
        }
    }

    /// Builds the query.
    pub fn build(&self, id: &str) -> Node {
        let mut query = Node::new("query");
        if self.contact {
            query = query.child(Node::new("contact"));
        }
        if self.devices {
            query = query.child(Node::new("devices").attr("version", "2"));
        }
        if self.lid {
            query = query.child(Node::new("lid"));
        }
        for other in &self.others {
            let inside = (other == "business").then(|| Node::new("verified_name"));
            query = query.child(Node::new(other.clone()).child_opt(inside));
        }
        let users = self.users.iter().map(|user| match user {
            UsyncUser::Jid(jid) => {
                Node::new("user").attr("jid", jid).child_opt(self.token.as_deref().map(tctoken))
            }
            UsyncUser::Phone(digits) => {
                Node::new("user").child(Node::new("contact").bytes(format!("+{digits}")))
            }
        });
        let usync = Node::new("usync")
            .attr("sid", self.sid.clone())
            .attr("mode", "query")
            .attr("last", "true")
            .attr("index", "0")
            .attr("context", self.context.clone())
            .child(query)
            .child(Node::new("list").children_from(users));
        Iq::query(id, IqKind::Get, "usync").child(usync)
    }

    /// Reads the query of any client.
    pub fn parse(node: &Node) -> Result<Self, Malformed> {
        let usync = node.find("usync").ok_or(Malformed("usync"))?;
        let query = usync.find("query").ok_or(Malformed("query"))?;
        let list = usync.find("list").ok_or(Malformed("list"))?;
        let contact = query.find("contact");
        let known = ["devices", "lid", "contact"];
        let users = list
            .find_all("user")
            .map(|user| {
                if let Some(contact) = user.find("contact").and_then(Node::content_bytes) {
                    let text = String::from_utf8(contact.into_owned()).map_err(|_| Malformed("contact"))?;
                    return Ok(UsyncUser::Phone(text));
                }
                jid(user, "jid").map(UsyncUser::Jid)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            sid: usync.text("sid").unwrap_or_default().to_owned(),
            context: usync.text("context").unwrap_or_default().to_owned(),
            devices: query.find("devices").is_some(),
            lid: query.find("lid").is_some(),
            contact: contact.is_some(),
            by_lid: contact.is_some_and(|c| c.text("addressing_mode") == Some("lid")),
            others: query
                .children()
                .iter()
                .filter(|c| !known.contains(&c.tag.as_ref()))
                .map(|c| c.tag.to_string())
                .collect(),
            users,
            token: list.find("user").and_then(shown_token),
        })
    }
}

/// The digits of a `<contact>` query: `+123…`, or `+123…@c.us` as whatsmeow writes it.
pub fn contact_digits(content: &str) -> Option<String> {
    let number = content.trim().trim_end_matches("@c.us").trim_end_matches("@s.whatsapp.net");
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    (!digits.is_empty()).then_some(digits)
}

/// A device in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceEntry {
    /// 0 is the phone.
    pub id: u16,
    /// Absent on the phone.
    pub key_index: Option<u32>,
    /// Run by WhatsApp's hosted service.
    pub hosted: bool,
}

/// The devices of one user.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DeviceAnswer {
    /// The list.
    pub devices: Vec<DeviceEntry>,
    /// Serialized ADVSignedKeyIndexList with its time in Unix seconds.
    pub key_index_list: Option<(u64, Vec<u8>)>,
}

/// Whether a number is registered, with the text that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactAnswer {
    /// `in`, as opposed to `out`.
    pub registered: bool,
    /// The query's content, unchanged.
    pub query: String,
}

/// Somebody's text about themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// As written; may be empty.
    Text(String),
    /// Not for this account.
    Hidden,
}

/// What somebody shows, as far as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsyncProfile {
    /// The text.
    pub about: Option<About>,
    /// The id of the picture.
    pub picture: Option<String>,
    /// A serialized VerifiedNameCertificate, of a business.
    pub business: Option<Vec<u8>>,
    /// Messages of new chats disappear after so many seconds; 0: never.
    pub timer: Option<u32>,
}

impl UsyncProfile {
    fn build(&self) -> impl Iterator<Item = Node> {
        let about = self.about.as_ref().map(|about| match about {
            About::Text(text) => Node::new("status").bytes(text.as_bytes()),
            About::Hidden => Node::new("status").attr("code", "401"),
        });
        let picture = self.picture.as_ref().map(|id| Node::new("picture").attr("id", id.clone()));
        let business = self.business.as_ref().map(|certificate| {
            let name =
                Node::new("verified_name").attr("verified_level", "unknown").bytes(certificate.clone());
            Node::new("business").child(name)
        });
        let timer = self.timer.map(|timer| Node::new("disappearing_mode").attr("duration", timer));
        [about, picture, business, timer].into_iter().flatten()
    }

    fn parse(user: &Node) -> Self {
        let good = |tag| user.find(tag).filter(|child| child.find("error").is_none());
        let about = good("status").map(|status| match status.text("code") {
            Some("401") => About::Hidden,
            _ => {
                let text = status.content_bytes().unwrap_or_default();
                About::Text(String::from_utf8_lossy(&text).into_owned())
            }
        });
        let name = good("business").and_then(|business| business.find("verified_name"));
        Self {
            about,
            picture: good("picture").and_then(|picture| picture.text("id")).map(str::to_owned),
            business: name.map(|name| name.content_bytes().unwrap_or_default().into_owned()),
            timer: good("disappearing_mode").and_then(|mode| mode.number("duration")),
        }
    }
}

/// What is said of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsyncAnswer {
    /// As asked; for a number its canonical address.
    pub jid: Jid,
    /// The phone number's address where `jid` is a LID.
    pub pn: Option<Jid>,
    /// The hidden identity.
    pub lid: Option<Jid>,
    /// If asked for.
    pub devices: Option<DeviceAnswer>,
    /// If asked for.
    pub contact: Option<ContactAnswer>,
    /// As far as asked for.
    pub profile: UsyncProfile,
}

impl UsyncAnswer {
    /// Builds the server's answer for all users.
    pub fn build_all(id: &str, query: &UsyncQuery, answers: &[Self]) -> Node {
        let mut result = Node::new("result");
        if query.devices {
            result = result.child(Node::new("devices"));
        }
        if query.lid {
            result = result.child(Node::new("lid"));
        }
        let usync = Node::new("usync")
            .attr("sid", query.sid.clone())
            .attr("index", "0")
            .attr("last", "true")
            .attr("mode", "query")
            .attr("context", query.context.clone())
            .child(result)
            .child(Node::new("list").children_from(answers.iter().map(Self::build)));
        Iq::result(id).child(usync)
    }

    fn build(&self) -> Node {
        let devices = self.devices.as_ref().map(|answer| {
            let list = answer.devices.iter().map(|device| {
                let entry = Node::new("device")
                    .attr("id", u32::from(device.id))
                    .attr_opt("key-index", device.key_index);
                if device.hosted { entry.attr("is_hosted", "true") } else { entry }
            });
            let index = answer
                .key_index_list
                .as_ref()
                .map(|(ts, bytes)| Node::new("key-index-list").attr("ts", *ts).bytes(bytes.clone()));
            Node::new("devices").child(Node::new("device-list").children_from(list)).child_opt(index)
        });
        let contact = self.contact.as_ref().map(|answer| {
            Node::new("contact")
                .attr("type", if answer.registered { "in" } else { "out" })
                .bytes(answer.query.as_bytes())
        });
        Node::new("user")
            .attr("jid", &self.jid)
            .attr_opt("pn_jid", self.pn.as_ref())
            .child_opt(devices)
            .child_opt(self.lid.as_ref().map(|lid| Node::new("lid").attr("val", lid)))
            .child_opt(contact)
            .children_from(self.profile.build())
    }

    /// Reads the server's answer; users it says nothing usable of are left out.
    pub fn parse_all(node: &Node) -> Result<Vec<Self>, Malformed> {
        let list = node.find("usync").and_then(|u| u.find("list")).ok_or(Malformed("usync list"))?;
        Ok(list.find_all("user").filter_map(Self::parse).collect())
    }

    fn parse(user: &Node) -> Option<Self> {
        let pn = user.jid("pn_jid");
        let jid = user.jid("jid").or_else(|| pn.clone())?;
        let devices = user.find("devices").filter(|d| d.find("error").is_none()).map(|devices| {
            let list = devices.find("device-list");
            DeviceAnswer {
                devices: list
                    .into_iter()
                    .flat_map(|list| list.find_all("device"))
                    .filter_map(|device| {
                        Some(DeviceEntry {
                            id: device.number("id")?,
                            key_index: device.number("key-index"),
                            hosted: device.text("is_hosted") == Some("true"),
                        })
                    })
                    .collect(),
                key_index_list: devices.find("key-index-list").and_then(|index| {
                    Some((index.number("ts").unwrap_or(0), index.content_bytes()?.into_owned()))
                }),
            }
        });
        let contact =
            user.find("contact").filter(|c| c.find("error").is_none()).map(|contact| ContactAnswer {
                registered: contact.text("type") == Some("in"),
                query: contact
                    .content_bytes()
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                    .unwrap_or_default(),
            });
        let lid = user.find("lid").and_then(|lid| lid.jid("val"));
        Some(Self { jid, pn, lid, devices, contact, profile: UsyncProfile::parse(user) })
    }
}
