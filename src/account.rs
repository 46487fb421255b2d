//! What one linked device decides: functions of (state, input, time, randomness, transaction). Nothing here awaits,
//! reads a clock or opens a socket; what is to happen outside leaves as an [`Effect`] after the commit.

mod app_state;
mod ask;
mod calls;
mod changes;
mod code;
mod communities;
mod content;
mod devices;
mod dispatch;
mod early;
mod events;
mod evidence;
mod groups;
mod history;
mod identity;
mod link;
mod manners;
mod media;
mod newsletters;
mod notices;
mod pairing;
mod passkey;
mod payload;
mod peer;
mod prekeys;
mod presence;
mod profile;
mod props;
mod receipts;
mod receive;
mod schedule;
mod send;
mod sender_keys;
mod standing;
mod timer;
mod tokens;
mod trace;
mod view;

pub use crate::{
    stanza::{
        AddRequest, ChatState, GroupSetting, MemberChange, StatusAudience,
        business::{BusinessProfile, Catalogue, Hours, Product},
    },
    store::groups::{Group, Role},
};
pub use app_state::{AccountSetting, Blob, LabelChange, StateChange, settings_view};
pub use ask::{Ask, AskError, Question, Told};
pub use calls::{CallCommand, RejectCalls};
pub use code::CodeState;
pub use communities::{CommunityAnswer, CommunityCommand, SubGroup};
pub use content::text_of;
pub use dispatch::{Account, Answer, CloseCause, Command, Dial, Effect, Input, Settings, Ticket, Turn};
pub use evidence::{Ended, Evidence, Offline};
pub use groups::{GroupAnswer, GroupCommand, GroupMember, GroupRequest, GroupUpdate, GroupView};
pub use history::{
    HistoryFault, HistoryItem, HistoryJob, HistoryPart, HistoryReader, HistorySource, HistoryWanted,
    fuzz_history,
};
pub use media::Attachment;
pub use newsletters::{NewsletterAnswer, NewsletterCommand, NewsletterName, NewsletterView, PostName};
pub use passkey::{Assertion, Flaw, PasskeyCommand, PasskeyRefused, PasskeyState};
pub use profile::{BusinessView, OWN_ABOUT, PictureView, PrivacyView, ProfileAnswer, ProfileCommand};
pub use standing::standing_view;
pub use view::Viewer;

use std::time::Duration;

use serde_json::Value;

use crate::{
    clock::Millis,
    store::{self, Tx, access::IdempotencyKey, people::Number},
    wire::Jid,
};

/// Longest id of a message that is remembered; real ones have 20 to 32 characters.
const MAX_ID: usize = 128;

/// What stops a turn.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The transaction is rolled back; nothing of it was answered, so the server sends it again.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
}

/// States of an instance (instance-api.md §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Starting: no code yet, or not connected yet.
    Pending,
    /// A QR code waits to be scanned.
    QrReady,
    /// Linked, and logged in.
    Connected,
    /// Linked, the socket is down, retrying.
    Offline,
    /// Not trying.
    Disconnected,
}

impl Status {
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::QrReady => "qr_ready",
            Self::Connected => "connected",
            Self::Offline => "offline",
            Self::Disconnected => "disconnected",
        }
    }
}

/// What anybody may know of the link right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it stands.
    pub status: Status,
    /// Why, in the words of platform-webhooks.md §3.4 (`logged_out`, `replaced`, `requested` …).
    pub reason: Option<&'static str>,
    /// Whether a phone has linked this instance.
    pub paired: bool,
    /// Digits of the linked number.
    pub phone: Option<String>,
    /// The account's push name.
    pub name: Option<String>,
    /// The phone's platform, as WhatsApp names it.
    pub platform: Option<String>,
    /// The code to scan, with [`Status::QrReady`].
    pub qr: Option<Qr>,
    /// The code to type on a phone, if one was asked for.
    pub code: CodeState,
    /// A passkey is wanted besides.
    pub passkey: PasskeyState,
}

/// One pairing code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qr {
    /// What the picture encodes.
    pub text: String,
    /// When it was made.
    pub generated_at: Millis,
    /// When the next one takes its place.
    pub expires_at: Millis,
}

/// To whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// 8 to 15 digits with country code.
    Number(String),
    /// A person or a group.
    Jid(Jid),
    /// The account's status page, for these people; for everybody the account knows if there are none.
    Status(Vec<Jid>),
}

impl Recipient {
    /// The form in which the queue keeps it: a JID, or bare digits.
    fn to_row(&self) -> String {
        match self {
            Self::Number(digits) => digits.clone(),
            Self::Jid(jid) => jid.bare().to_wire(),
            Self::Status(_) => Jid::status_broadcast().to_wire(),
        }
    }

    /// A person's JID by number is looked up like the number itself.
    fn normalized(self) -> Self {
        match self {
            Self::Jid(jid) if jid.is_pn() => Self::Number(jid.user().to_owned()),
            other => other,
        }
    }

    /// The address of whom this names, as far as it is known without asking; bare.
    pub fn known_as(&self, tx: &Tx<'_>, now: Millis) -> Result<Jid, store::Error> {
        Ok(match self.clone().normalized() {
            Self::Jid(jid) => jid.bare(),
            Self::Status(_) => Jid::status_broadcast(),
            Self::Number(digits) => match tx.people().number(&digits, now)? {
                Number::Registered(jid) => jid.bare(),
                Number::Unknown | Number::NotRegistered => Jid::pn(digits),
            },
        })
    }

    fn from_row(row: &str) -> Self {
        match row.parse::<Jid>() {
            Ok(jid) if row.contains('@') => Self::Jid(jid),
            _ => Self::Number(row.to_owned()),
        }
    }
}

/// What a send says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// As given, white space included.
    Text(String),
    /// A text with what a page behind one of its links says of itself.
    Linked {
        /// As given, white space included.
        text: String,
        /// Of the page.
        preview: Box<Preview>,
    },
    /// A text on a coloured page, of a status.
    StatusText {
        /// As given.
        text: String,
        /// 0xAARRGGBB.
        background: Option<u32>,
        /// As WhatsApp numbers them.
        font: Option<u8>,
    },
    /// A place.
    Location {
        /// −90 … 90.
        latitude: f64,
        /// −180 … 180.
        longitude: f64,
        /// What stands there.
        name: Option<String>,
        /// Where that is.
        address: Option<String>,
    },
    /// One or more cards.
    Contacts(Vec<Card>),
    /// A question with options to choose from.
    Poll {
        /// The question.
        question: String,
        /// 2 to 12, all different.
        options: Vec<String>,
        /// More than one may be chosen.
        multiple: bool,
    },
    /// One emoji for a message; empty takes it back.
    Reaction {
        /// The message reacted to.
        target: Target,
        /// One grapheme, or nothing.
        emoji: String,
    },
    /// Another text for a message of the account.
    Edit {
        /// Its id.
        id: String,
        /// What it says from now on.
        text: String,
    },
    /// Takes a message of the account back, for everyone.
    Revoke {
        /// Its id.
        id: String,
    },
    /// A vote in a poll.
    Vote {
        /// The poll's id.
        id: String,
        /// The names chosen; none withdraws an earlier vote.
        options: Vec<String>,
    },
    /// A file that was encrypted and uploaded.
    Media(Box<Media>),
    /// Another message, said again. Its file, if it has one, is not uploaded anew.
    Forward {
        /// Its id, in whatever chat.
        id: String,
    },
    /// Shows a message at the top of its chat, or takes it from there.
    Pin {
        /// Its id, of whoever's.
        id: String,
        /// For so long; `None`: not any more.
        lasting: Option<Duration>,
    },
    /// An invitation into a group, for one whom the account may not add.
    GroupInvite {
        /// Which.
        group: Jid,
        /// Its name.
        name: String,
        /// What the server gave for this person.
        invite: AddRequest,
        /// Beside it.
        caption: Option<String>,
    },
}

impl Body {
    /// What it is, in a word.
    fn word(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Linked { .. } | Self::StatusText { .. } => "text",
            Self::Location { .. } => "location",
            Self::Contacts(_) => "contact",
            Self::Poll { .. } => "poll",
            Self::Reaction { .. } => "reaction",
            Self::Edit { .. } => "edit",
            Self::Revoke { .. } => "delete",
            Self::Media(_) => "media",
            Self::Forward { .. } => "forward",
            Self::Pin { .. } => "pin",
            Self::Vote { .. } => "vote",
            Self::GroupInvite { .. } => "group_invite",
        }
    }
}

/// How a file is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A picture.
    Image,
    /// A film; without sound and again and again, if it is a gif.
    Video {
        /// Plays by itself, in a loop.
        gif: bool,
    },
    /// A round film, recorded like a voice note.
    RoundVideo,
    /// Something to listen to.
    Audio {
        /// As a voice note.
        voice: bool,
        /// 64 levels of 0 to 100, of a voice note.
        waveform: Option<Vec<u8>>,
    },
    /// Anything, by name.
    Document {
        /// With its extension.
        file_name: String,
    },
    /// A webp picture without a frame.
    Sticker {
        /// It moves.
        animated: bool,
    },
}

/// An uploaded file, and what a message says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// How it is shown.
    pub shape: Shape,
    /// Where it was uploaded to, whole.
    pub url: String,
    /// The same without the host.
    pub direct_path: String,
    /// Uploaded as it is, as everything in a newsletter: no key opens it.
    pub open: bool,
    /// What opens it.
    pub media_key: [u8; 32],
    /// SHA-256 of the file.
    pub file_sha256: [u8; 32],
    /// SHA-256 of what was uploaded.
    pub file_enc_sha256: [u8; 32],
    /// Bytes of the file.
    pub file_length: u64,
    /// As the receiver is told.
    pub mimetype: String,
    /// Beside it.
    pub caption: Option<String>,
    /// Pixels.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// Of sound and film.
    pub seconds: Option<u32>,
    /// A small JPEG.
    pub thumbnail: Option<Vec<u8>>,
    /// For players that check while they play.
    pub sidecar: Option<Vec<u8>>,
    /// May be looked at once.
    pub view_once: bool,
}

/// What a page says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Its address, as the text has it.
    pub url: String,
    /// Its title.
    pub title: String,
    /// A sentence or two.
    pub description: Option<String>,
    /// A small JPEG.
    pub thumbnail: Option<Vec<u8>>,
}

/// A contact's card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// As shown.
    pub name: String,
    /// The vCard itself.
    pub vcard: String,
}

/// A message that something refers to. What the store knows of it wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The sender's id.
    pub id: String,
    /// Only used if the message is unknown.
    pub from_me: bool,
    /// Its author, if the message is unknown and of a group.
    pub participant: Option<Jid>,
}

/// One message to be sent.
#[derive(Clone, Debug)]
pub struct SendMessage {
    /// To whom.
    pub recipient: Recipient,
    /// What.
    pub body: Body,
    /// Id of a message of the same chat.
    pub reply_to: Option<String>,
    /// People named in the text, beside their `@number` there.
    pub mentions: Vec<Jid>,
    /// The caller's own key for a safe retry.
    pub idempotency: Option<IdempotencyKey>,
    /// `Prefer: respond-async`: answered as soon as the row is stored.
    pub respond_async: bool,
    /// When it is to leave; `None`: now.
    pub send_at: Option<Millis>,
    /// Only say whether it would be taken; nothing is stored. What costs a download is checked so first.
    pub dry: bool,
}

/// Many sends of one request.
#[derive(Clone, Debug)]
pub struct SendBatch {
    /// Each with its place in the request, and the caller's own word for what it is.
    pub sends: Vec<(u32, &'static str, SendMessage)>,
    /// What was refused before: place, and the refusal as `explain` would word it.
    pub rejected: Vec<(u32, Value)>,
    /// How a refusal is worded to the caller.
    pub explain: fn(SendError) -> Value,
    /// Between two sends.
    pub pace: Duration,
    /// When the first is to leave; `None`: now.
    pub send_at: Option<Millis>,
    /// The caller's own key for a safe retry.
    pub idempotency: Option<IdempotencyKey>,
}

/// An accepted batch; what became of each of its sends is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batched {
    /// Names it.
    pub id: String,
    /// The key was seen before; nothing was stored now.
    pub replayed: bool,
}

/// An accepted send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Final, fixed before anything leaves.
    pub message_id: String,
    /// When it was stored.
    pub timestamp: Millis,
    /// To be answered 202.
    pub queued: bool,
    /// It waits for this time.
    pub scheduled_at: Option<Millis>,
    /// The key was seen before; nothing was sent now.
    pub replayed: bool,
}

/// Why a send was not accepted, or what became of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Nothing was and nothing will be sent.
    #[error("the instance is not connected")]
    NotConnected(Status),
    /// `reply_to` names nothing in this chat.
    #[error("no such message in this chat")]
    UnknownMessage(String),
    /// The message cannot be forwarded; why, in words for the caller.
    #[error("the message cannot be forwarded")]
    NotForwardable(&'static str),
    /// The chat as given.
    #[error("no such chat")]
    UnknownChat(String),
    /// The recipient as given.
    #[error("the recipient is not on WhatsApp")]
    NotOnWhatsapp(String),
    /// As many sends wait for their time as may.
    #[error("too many sends wait for their time")]
    QueueFull,
    /// The key was used with another body.
    #[error("the idempotency key was used with another body")]
    IdempotencyConflict,
    /// A status for everybody, and there is nobody.
    #[error("nobody is known whom a status could be for")]
    NobodyKnown,
    /// WhatsApp answered with this code.
    #[error("WhatsApp refused the message")]
    Refused {
        /// As WhatsApp numbers it.
        code: u16,
        /// The id it had.
        message_id: String,
        /// The key was seen before.
        replayed: bool,
    },
    /// A fault of ours.
    #[error("internal error")]
    Internal,
}
