//! Kinds of media. What a message calls gif, round video or voice note is a video or audio here.

/// What a media file is, as far as keys and the CDN tell kinds apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    Image,
    /// `image/webp` or lottie; keys and path of an image.
    Sticker,
    /// Also gif and round video (ptv).
    Video,
    /// Also voice notes (ptt).
    Audio,
    Document,
    /// A chunk of history sync.
    History,
    /// A snapshot or patch of app state that was too long for a stanza.
    AppState,
    /// The picture of a link preview.
    LinkThumbnail,
    ImageThumbnail,
    VideoThumbnail,
    DocumentThumbnail,
    /// A ZIP of stickers.
    StickerPack,
    StickerPackThumbnail,
    PaymentBackground,
}

impl MediaKind {
    /// All of them, for tables.
    pub const ALL: [Self; 14] = [
        Self::Image,
        Self::Sticker,
        Self::Video,
        Self::Audio,
        Self::Document,
        Self::History,
        Self::AppState,
        Self::LinkThumbnail,
        Self::ImageThumbnail,
        Self::VideoThumbnail,
        Self::DocumentThumbnail,
        Self::StickerPack,
        Self::StickerPackThumbnail,
        Self::PaymentBackground,
    ];

    /// HKDF info. Source: MEDIA_HKDF_KEY_MAPPING of npm baileys 7.0.0-rc14; sticker packs: wacore 0.7.
    pub fn info(self) -> &'static str {
        match self {
            Self::Image | Self::Sticker => "WhatsApp Image Keys",
            Self::Video => "WhatsApp Video Keys",
            Self::Audio => "WhatsApp Audio Keys",
            Self::Document => "WhatsApp Document Keys",
            Self::History => "WhatsApp History Keys",
            Self::AppState => "WhatsApp App State Keys",
            Self::LinkThumbnail => "WhatsApp Link Thumbnail Keys",
            Self::ImageThumbnail => "WhatsApp Image Thumbnail Keys",
            Self::VideoThumbnail => "WhatsApp Video Thumbnail Keys",
            Self::DocumentThumbnail => "WhatsApp Document Thumbnail Keys",
            Self::StickerPack => "WhatsApp Sticker Pack Keys",
            Self::StickerPackThumbnail => "WhatsApp Sticker Pack Thumbnail Keys",
            Self::PaymentBackground => "WhatsApp Payment Background Keys",
        }
    }

    /// The word after `/mms/` in an upload URL, and `mms-type` of a download. `None`: no client is known to upload
    /// this kind on its own.
    pub fn path_word(self) -> Option<&'static str> {
        match self {
            Self::Image | Self::Sticker => Some("image"),
            Self::Video => Some("video"),
            Self::Audio => Some("audio"),
            Self::Document => Some("document"),
            Self::History => Some("md-msg-hist"),
            Self::AppState => Some("md-app-state"),
            Self::LinkThumbnail => Some("thumbnail-link"),
            Self::StickerPack => Some("sticker-pack"),
            Self::StickerPackThumbnail => Some("thumbnail-sticker-pack"),
            Self::ImageThumbnail
            | Self::VideoThumbnail
            | Self::DocumentThumbnail
            | Self::PaymentBackground => None,
        }
    }

    /// Whether players verify this kind while they stream it, so that a sidecar is worth sending.
    pub fn is_streamed(self) -> bool {
        matches!(self, Self::Video | Self::Audio)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn only_stickers_share_keys_and_path_with_another_kind() {
        let infos: HashSet<_> = MediaKind::ALL.map(MediaKind::info).into();
        assert_eq!(infos.len(), MediaKind::ALL.len() - 1);
        let words: HashSet<_> = MediaKind::ALL.into_iter().filter_map(MediaKind::path_word).collect();
        assert_eq!(words.len(), 9);
        assert_eq!(MediaKind::Sticker.info(), MediaKind::Image.info());
    }
}
