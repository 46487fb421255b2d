//! Typed stanzas, one file a family, `parse()` beside `build()`: the instance reads what the sandbox builds, and the
//! other way round. Shapes only; what follows from a stanza is decided in `account` and in `sandbox`.

mod ack;
mod app_state;
mod blocklist;
pub mod business;
mod call;
mod class;
pub mod content;
mod groups;
pub mod history;
mod iq;
mod link_code;
mod media;
mod message;
mod mex;
mod newsletters;
mod notification;
mod pairing;
mod passkey;
mod prekeys;
pub mod presence;
mod privacy;
mod profile;
mod props;
mod receipt;
mod session;
mod tokens;
mod usync;

pub use ack::{Ack, Nack};
pub use app_state::{CollectionAnswer, CollectionQuery, server_sync};
pub use blocklist::{BlockNotice, BlockQuery, Blocklist};
pub use call::{Call, CallAction, CallOffer};
pub use class::Class;
pub use groups::{
    AddRequest, CommunityQuery, Place, SubGroup, Tie, read_link_errors, read_linked_group,
    read_linked_members, read_sub_groups,
};
pub use groups::{
    Description, GroupChange, GroupInfo, GroupNotice, GroupQuery, GroupSetting, JoinRequest, Member,
    MemberChange, MemberResult, Rank, group_answer, joined, participant_hash, read_groups, read_invite,
    read_join_requests, read_results,
};
pub use iq::{Iq, IqError, IqKind};
pub use link_code::{CompanionFinish, CompanionHello, LinkCodeNotice, LinkCodeQuery};
pub use media::{MediaConn, MediaHost, MediaOf, MediaRetryAnswer, MediaRetryRequest, media_conn_query};
pub use message::{Enc, EncKind, Incoming, MAX_AUDIENCE, Outgoing, device_sent};
pub use mex::{MexError, MexNotice, mex_answer, mex_errors, mex_query, read_mex_answer, read_mex_query};
pub use newsletters::{
    NewsletterQuery, Post, build_posts, newsletter_post, newsletter_reaction, newsletter_views, read_live,
    read_newsletter_views, read_posts,
};
pub use notification::{DeviceChange, ListedDevice, Notification, NotificationKind};
pub use pairing::{PairDevice, PairDeviceSign, PairSuccess, QrCode};
pub use passkey::{OPTIONS_MAX, PasskeyNotice, PasskeyPrologue, PasskeyQuery};
pub use prekeys::{
    BundleAnswer, BundleQuery, Digest, FetchedBundle, Upload, bundle_from_node, count_answer, count_query,
    digest_query, read_count_answer, read_signed, rotate,
};
pub use privacy::{privacy, privacy_change, privacy_query, read_privacy};
pub use profile::{
    Picture, PictureAnswer, PictureNotice, PictureSize, ProfileQuery, StatusAudience, about_notice,
    picture_set, read_about_notice, read_picture_set,
};
pub use props::{props_answer, props_query, read_props};
pub use receipt::{Receipt, ReceiptKind, Retry, RetryKeys};
pub use session::{
    ChatState, Failure, Info, StreamError, Success, active, chat_state, client_info, offline_batch, ping,
    presence, remove_companion, unified_session,
};
pub use tokens::{ContactToken, LONGEST_TOKEN, TokenNotice, cstoken, issue_tokens, read_issued, tctoken};
pub use usync::{
    About, ContactAnswer, DeviceAnswer, DeviceEntry, UsyncAnswer, UsyncProfile, UsyncQuery, UsyncUser,
    contact_digits,
};

use crate::wire::{Jid, Node};

/// A stanza lacks something, or carries it in a form that nobody documents. Names the part, never its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed stanza: {0}")]
pub struct Malformed(pub &'static str);

/// The attribute as an owned text, or what is missing.
fn text(node: &Node, key: &'static str) -> Result<String, Malformed> {
    node.text(key).map(str::to_owned).ok_or(Malformed(key))
}

fn jid(node: &Node, key: &'static str) -> Result<Jid, Malformed> {
    node.jid(key).ok_or(Malformed(key))
}

fn bytes(node: &Node, tag: &'static str) -> Result<Vec<u8>, Malformed> {
    let content = node.find(tag).ok_or(Malformed(tag))?.content_bytes().ok_or(Malformed(tag))?;
    Ok(content.into_owned())
}

/// A big-endian unsigned integer of at most four bytes, as `<id>` and `<registration>` carry them.
fn big_endian(node: &Node, tag: &'static str) -> Result<u32, Malformed> {
    let content = bytes(node, tag)?;
    if content.is_empty() || content.len() > 4 {
        return Err(Malformed(tag));
    }
    Ok(content.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)))
}
