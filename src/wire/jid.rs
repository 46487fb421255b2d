//! Addresses: `user@server` with a device number, as text and in logs.
//!
//! Text form: `user[_agent|.agent][:device]@server`; agents are historical and dropped. Third-party users carry their
//! integrator in front: `integrator-user[:device]@interop`.

use std::{fmt, hash::BuildHasher as _, str::FromStr, sync::LazyLock};

/// What stands behind the `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// `s.whatsapp.net`: a phone number; without a user, the server itself.
    Pn,
    /// `c.us`: the old spelling of the same; never on current stanzas.
    LegacyPn,
    /// `lid`: a hidden identity.
    Lid,
    /// `g.us`: a group; without a user, the group service.
    Group,
    /// `broadcast`: `status@broadcast` and broadcast lists.
    Broadcast,
    /// `newsletter`: a channel.
    Newsletter,
    /// `call`: the target of call signalling.
    Call,
    /// `bot`: an assistant.
    Bot,
    /// `hosted`: a device that WhatsApp itself runs for a phone-number account.
    Hosted,
    /// `hosted.lid`: the same for a hidden identity.
    HostedLid,
    /// `msgr`: a Messenger user.
    Messenger,
    /// `interop`: a user of another messenger, reached through an integrator.
    Interop {
        /// The number of that messenger.
        integrator: u16,
    },
}

impl Server {
    /// The name on the wire.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pn => "s.whatsapp.net",
            Self::LegacyPn => "c.us",
            Self::Lid => "lid",
            Self::Group => "g.us",
            Self::Broadcast => "broadcast",
            Self::Newsletter => "newsletter",
            Self::Call => "call",
            Self::Bot => "bot",
            Self::Hosted => "hosted",
            Self::HostedLid => "hosted.lid",
            Self::Messenger => "msgr",
            Self::Interop { .. } => "interop",
        }
    }

    /// The server of that name; an `interop` of integrator 0, which only a longer form can name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "s.whatsapp.net" => Self::Pn,
            "c.us" => Self::LegacyPn,
            "lid" => Self::Lid,
            "g.us" => Self::Group,
            "broadcast" => Self::Broadcast,
            "newsletter" => Self::Newsletter,
            "call" => Self::Call,
            "bot" => Self::Bot,
            "hosted" => Self::Hosted,
            "hosted.lid" => Self::HostedLid,
            "msgr" => Self::Messenger,
            "interop" => Self::Interop { integrator: 0 },
            _ => return None,
        })
    }

    /// Whether users of this server have several devices with numbers.
    pub const fn has_devices(&self) -> bool {
        match self {
            Self::Pn | Self::LegacyPn | Self::Lid | Self::Hosted | Self::HostedLid => true,
            Self::Messenger | Self::Interop { .. } => true,
            Self::Group | Self::Broadcast | Self::Newsletter | Self::Call | Self::Bot => false,
        }
    }

    const fn is_person(&self) -> bool {
        matches!(self, Self::Pn | Self::LegacyPn | Self::Lid | Self::Hosted | Self::HostedLid)
    }
}

/// One address. The device is 0 (the phone, or "no device") wherever the server has none or the user is empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jid {
    user: Box<str>,
    server: Server,
    device: u16,
}

/// The text is no address. It does not repeat the text, which may be somebody's number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a JID")]
pub struct JidError;

impl Jid {
    /// Device 0. The user is taken as it is; text from outside goes through `FromStr`.
    pub fn new(user: impl Into<Box<str>>, server: Server) -> Self {
        Self { user: user.into(), server, device: 0 }
    }

    /// `user@s.whatsapp.net`.
    pub fn pn(user: impl Into<Box<str>>) -> Self {
        Self::new(user, Server::Pn)
    }

    /// `user@lid`.
    pub fn lid(user: impl Into<Box<str>>) -> Self {
        Self::new(user, Server::Lid)
    }

    /// `user@g.us`.
    pub fn group(user: impl Into<Box<str>>) -> Self {
        Self::new(user, Server::Group)
    }

    /// The server itself: no user, s.whatsapp.net.
    pub fn server_itself() -> Self {
        Self::new("", Server::Pn)
    }

    /// `status@broadcast`.
    pub fn status_broadcast() -> Self {
        Self::new("status", Server::Broadcast)
    }

    /// A broadcast list: `<number>@broadcast`.
    pub fn list(user: impl Into<Box<str>>) -> Self {
        Self::new(user, Server::Broadcast)
    }

    /// The part in front of the device and the `@`.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The part behind the `@`.
    pub fn server(&self) -> Server {
        self.server
    }

    /// 0 is the phone itself; companions count from 1.
    pub fn device(&self) -> u16 {
        self.device
    }

    /// The same user's other device. Where the server has no devices the number stays 0.
    pub fn with_device(&self, device: u16) -> Self {
        let possible = self.server.has_devices() && !self.user.is_empty();
        Self { user: self.user.clone(), server: self.server, device: if possible { device } else { 0 } }
    }

    /// The account behind any of its devices: without the device, and on the ordinary server where that is hosted. The
    /// old `c.us` becomes `s.whatsapp.net`.
    pub fn bare(&self) -> Self {
        Self { user: self.user.clone(), server: self.ordinary_server(), device: 0 }
    }

    /// This device under the account's other name.
    pub fn under(&self, name: &Jid) -> Self {
        let server = match (self.server, name.server) {
            (Server::Hosted | Server::HostedLid, Server::Pn) => Server::Hosted,
            (Server::Hosted | Server::HostedLid, Server::Lid) => Server::HostedLid,
            (_, server) => server,
        };
        Self { user: name.user.clone(), server, device: self.device }
    }

    fn ordinary_server(&self) -> Server {
        match self.server {
            Server::LegacyPn | Server::Hosted => Server::Pn,
            Server::HostedLid => Server::Lid,
            server => server,
        }
    }

    /// Whether [`Self::bare`] would change nothing.
    pub fn is_bare(&self) -> bool {
        self.device == 0 && self.server == self.ordinary_server()
    }

    /// A phone-number user on `s.whatsapp.net`, any device.
    pub fn is_pn(&self) -> bool {
        self.server == Server::Pn && !self.user.is_empty()
    }

    /// A hidden identity on `lid`, any device.
    pub fn is_lid(&self) -> bool {
        self.server == Server::Lid && !self.user.is_empty()
    }

    /// One group (not the group service).
    pub fn is_group(&self) -> bool {
        self.server == Server::Group && !self.user.is_empty()
    }

    /// The server itself.
    pub fn is_server(&self) -> bool {
        self.server == Server::Pn && self.user.is_empty()
    }

    /// `status@broadcast`.
    pub fn is_status(&self) -> bool {
        self.server == Server::Broadcast && &*self.user == "status"
    }

    /// A broadcast list: one person's message to many, each by itself.
    pub fn is_list(&self) -> bool {
        self.server == Server::Broadcast && !self.is_status() && !self.user.is_empty()
    }

    /// A person: a phone number or hidden identity, old and hosted forms included.
    pub fn is_user(&self) -> bool {
        self.server.is_person() && !self.user.is_empty()
    }

    /// The same account, whatever the device; a phone number and a hidden identity never match each other here.
    pub fn same_user(&self, other: &Jid) -> bool {
        self.user == other.user && self.ordinary_server() == other.ordinary_server()
    }

    /// The raw text, for the wire, the database and payloads; `Display` is for logs.
    ///
    /// Device 0 is never written: Baileys would read `user:0@server` as a different form of address.
    pub fn to_wire(&self) -> String {
        let Self { user, server, device } = self;
        let integrator = match server {
            Server::Interop { integrator } => format!("{integrator}-"),
            _ => String::new(),
        };
        match device {
            0 => format!("{integrator}{user}@{}", server.as_str()),
            _ => format!("{integrator}{user}:{device}@{}", server.as_str()),
        }
    }

    /// Builds what a decoder read; `None` if the user could not be written as text again.
    pub(super) fn from_parts(user: &str, server: Server, device: u16) -> Option<Self> {
        // Like the text form, or what is stored as text could not be read again.
        let user = if server.is_person() { without_agent(user)? } else { user };
        let sound = is_user_text(user) && (device == 0 || (server.has_devices() && !user.is_empty()));
        sound.then(|| Self { user: user.into(), server, device })
    }
}

/// Longest user part accepted; real ones stay below 40 bytes.
const MAX_USER: usize = 128;

/// No separators of the text form and nothing invisible.
fn is_user_text(user: &str) -> bool {
    user.len() <= MAX_USER
        && !user.contains(|c: char| c == '@' || c == ':' || c.is_control() || c.is_whitespace())
}

/// People's addresses may carry an agent (`user_0` or `user.0`), which says nothing; `None`: no number follows.
fn without_agent(user: &str) -> Option<&str> {
    match user.split_once(['_', '.']) {
        None => Some(user),
        Some((user, agent)) => decimal::<u8>(agent).map(|_| user),
    }
}

/// Digits only: `str::parse` would let a sign pass.
fn decimal<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl FromStr for Jid {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Self, JidError> {
        let Some((front, name)) = text.split_once('@') else {
            // Some clients write an empty user without the `@`.
            return match text {
                "s.whatsapp.net" => Ok(Self::server_itself()),
                "g.us" => Ok(Self::group("")),
                _ => Err(JidError),
            };
        };
        let mut server = Server::from_name(name).ok_or(JidError)?;
        let (mut user, device) = match front.split_once(':') {
            Some((user, device)) => (user, decimal::<u16>(device).ok_or(JidError)?),
            None => (front, 0),
        };
        if let Server::Interop { integrator } = &mut server
            && let Some((number, rest)) = user.split_once('-')
            && let Some(number) = decimal(number)
        {
            (*integrator, user) = (number, rest);
        }
        // Only a service is written without a user, and a service has no devices.
        Self::from_parts(user, server, device).ok_or(JidError)
    }
}

/// A short keyed hash for logs: equal texts are equal within one run of the program, and mean nothing outside it.
pub fn log_token(text: &str) -> u32 {
    static KEY: LazyLock<std::hash::RandomState> = LazyLock::new(std::hash::RandomState::new);
    // The low half of a keyed 64-bit hash.
    (KEY.hash_one(text) & u64::from(u32::MAX)) as u32
}

/// For logs and errors: a keyed token in place of the user.
impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = self.server.as_str();
        if self.user.is_empty() || self.is_status() {
            return write!(f, "{}@{server}", self.user);
        }
        write!(f, "#{:08x}", log_token(&self.user))?;
        if self.device != 0 {
            write!(f, ":{}", self.device)?;
        }
        write!(f, "@{server}")
    }
}

/// Like `Display`: no number ever reaches a log.
impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, Server, u16)> {
        text.parse::<Jid>().ok().map(|jid| (jid.user().to_owned(), jid.server(), jid.device()))
    }

    #[test]
    fn what_came_off_the_wire_can_be_stored_as_text_and_read_again() {
        for user in [
            "15551230001",
            "15551230001_0",
            "15551230001.2",
            "a_b",
            "a.b",
            "1_2_3",
            "1.",
            "a-b",
            "a@b",
            "1:2",
            "",
        ] {
            for server in [Server::Pn, Server::Lid, Server::Hosted, Server::Group, Server::Bot] {
                if let Some(jid) = Jid::from_parts(user, server, 0) {
                    assert_eq!(jid.to_wire().parse(), Ok(jid));
                }
            }
        }
        assert_eq!(Jid::from_parts("1_0", Server::Pn, 3), Some(Jid::pn("1").with_device(3)));
        assert_eq!(Jid::from_parts("a.b", Server::Pn, 0), None);
    }

    #[test]
    fn text_forms_of_every_server_are_read_and_written() {
        for (text, user, server, device) in [
            ("15551230001@s.whatsapp.net", "15551230001", Server::Pn, 0),
            ("15551230001:3@s.whatsapp.net", "15551230001", Server::Pn, 3),
            ("server@c.us", "server", Server::LegacyPn, 0),
            ("100000000000001:65535@lid", "100000000000001", Server::Lid, 65535),
            ("15551230001-1400000000@g.us", "15551230001-1400000000", Server::Group, 0),
            ("status@broadcast", "status", Server::Broadcast, 0),
            ("120363000000000001@newsletter", "120363000000000001", Server::Newsletter, 0),
            ("@call", "", Server::Call, 0),
            ("867051314767696@bot", "867051314767696", Server::Bot, 0),
            ("15551230001:99@hosted", "15551230001", Server::Hosted, 99),
            ("100000000000001:99@hosted.lid", "100000000000001", Server::HostedLid, 99),
            ("100:700@msgr", "100", Server::Messenger, 700),
            ("7-some-body_1:2@interop", "some-body_1", Server::Interop { integrator: 7 }, 2),
            ("@s.whatsapp.net", "", Server::Pn, 0),
            ("@g.us", "", Server::Group, 0),
        ] {
            assert_eq!(parsed(text), Some((user.into(), server, device)), "{text}");
            assert_eq!(text.parse::<Jid>().unwrap().to_wire(), text);
        }
    }

    #[test]
    fn other_spellings_lead_to_the_same_address() {
        for (text, same) in [
            ("s.whatsapp.net", "@s.whatsapp.net"),
            ("g.us", "@g.us"),
            ("15551230001_1:3@s.whatsapp.net", "15551230001:3@s.whatsapp.net"),
            ("15551230001.0:3@s.whatsapp.net", "15551230001:3@s.whatsapp.net"),
            ("15551230001:0@s.whatsapp.net", "15551230001@s.whatsapp.net"),
            ("somebody@interop", "0-somebody@interop"),
        ] {
            assert_eq!(text.parse::<Jid>().unwrap().to_wire(), same);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "@",
            "lid",
            "15551230001",
            "a@b.com",
            "1@lid@lid",
            "1:@lid",
            "1:+2@lid",
            "1:-2@lid",
            "1:2:3@lid",
            "1:65536@lid",
            "1 2@lid",
            "1\n@lid",
            "1_x@lid",
            "1_256@lid",
            "1:2@g.us",
            ":2@lid",
            "1:2@bot",
        ] {
            assert_eq!(text.parse::<Jid>(), Err(JidError), "{text:?}");
        }
        assert_eq!(format!("{}@lid", "1".repeat(129)).parse::<Jid>(), Err(JidError));
    }

    #[test]
    fn devices_and_old_spellings_do_not_make_another_user() {
        let phone: Jid = "15551230001@s.whatsapp.net".parse().unwrap();
        for same in ["15551230001:4@s.whatsapp.net", "15551230001@c.us", "15551230001:99@hosted"] {
            let other: Jid = same.parse().unwrap();
            assert!(phone.same_user(&other) && other.is_user() && !other.is_bare());
            assert_eq!(other.bare(), phone);
        }
        assert!(!phone.same_user(&Jid::lid("15551230001")));
        let hosted: Jid = "1:99@hosted".parse().unwrap();
        assert_eq!(hosted.under(&Jid::lid("2")).to_wire(), "2:99@hosted.lid");
        assert_eq!(Jid::pn("1").with_device(4).under(&Jid::lid("2")), Jid::lid("2").with_device(4));
        assert_eq!("1@c.us".parse::<Jid>().unwrap().bare(), Jid::pn("1"));
        assert!(phone.is_bare() && phone.is_pn() && !phone.is_lid() && !phone.is_server());
        assert!(Jid::server_itself().is_server() && !Jid::server_itself().is_user());
        assert!(Jid::status_broadcast().is_status() && Jid::group("1").is_group());
        assert_eq!(Jid::group("1").with_device(3).device(), 0);
    }

    #[test]
    fn logs_show_no_number_and_still_correlate() {
        let jid: Jid = "15551230001:3@s.whatsapp.net".parse().unwrap();
        let shown = format!("{jid} {jid:?}");
        assert!(!shown.contains("1555") && shown.contains(":3@s.whatsapp.net"), "{shown}");
        assert_eq!(jid.to_string(), jid.clone().to_string());
        assert_ne!(jid.to_string(), Jid::pn("15551230002").with_device(3).to_string());
        assert_eq!(Jid::status_broadcast().to_string(), "status@broadcast");
        assert_eq!(Jid::server_itself().to_string(), "@s.whatsapp.net");
    }
}
