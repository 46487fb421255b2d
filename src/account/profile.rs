//! What the account and others show of themselves: pictures, texts, privacy, who is blocked, businesses. Asked for on
//! request and kept for a while; notifications keep it true.

mod blocks;
mod commands;
mod notices;

pub(super) use commands::ProfileWork;
pub use commands::{BusinessView, PictureView, PrivacyView, ProfileAnswer, ProfileCommand};

/// Longest text, name and address of a picture that is believed, in bytes; the apps write 139 characters about oneself.
const MAX_TEXT: usize = 2_048;

/// A text of somebody else's, unless it is longer than any real one.
fn modest(text: String) -> Option<String> {
    Some(text).filter(|text| text.len() <= MAX_TEXT)
}

/// The account's text about itself, as last set or told.
pub const OWN_ABOUT: &str = "account.about";
