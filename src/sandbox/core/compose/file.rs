//! Files as phones send them.

use crate::{
    clock::Millis,
    crypto::media::{Encrypted, MediaKind},
    proto::{
        self, ContextInfo,
        message::{
            AudioMessage, DocumentMessage, FutureProofMessage, ImageMessage, StickerMessage, VideoMessage,
        },
    },
};

/// What kind of message a file becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A picture.
    Image,
    /// A video.
    Video,
    /// A short video that repeats without sound.
    Gif,
    /// A round video note.
    Ptv,
    /// Music and the like.
    Audio,
    /// A voice note.
    Ptt,
    /// Any file.
    Document,
    /// WebP.
    Sticker,
}

/// A file that is uploaded, and what is said about it.
pub(crate) struct Uploaded {
    pub(crate) kind: FileKind,
    pub(crate) mimetype: String,
    pub(crate) caption: Option<String>,
    pub(crate) filename: Option<String>,
    pub(crate) seconds: Option<u32>,
    pub(crate) view_once: bool,
    pub(crate) quote: Option<String>,
    pub(crate) media_key: [u8; 32],
    pub(crate) encrypted: Encrypted,
}

impl FileKind {
    /// Reads the name that the control API uses.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "image" => Self::Image,
            "video" => Self::Video,
            "gif" => Self::Gif,
            "ptv" => Self::Ptv,
            "audio" => Self::Audio,
            "ptt" => Self::Ptt,
            "document" => Self::Document,
            "sticker" => Self::Sticker,
            _ => return None,
        })
    }

    /// Of uploads, as clients name it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Image | Self::Sticker => "image",
            Self::Video | Self::Gif | Self::Ptv => "video",
            Self::Audio | Self::Ptt => "audio",
            Self::Document => "document",
        }
    }

    pub(crate) const fn keys(self) -> MediaKind {
        match self {
            Self::Image => MediaKind::Image,
            Self::Sticker => MediaKind::Sticker,
            Self::Video | Self::Gif | Self::Ptv => MediaKind::Video,
            Self::Audio | Self::Ptt => MediaKind::Audio,
            Self::Document => MediaKind::Document,
        }
    }

    /// What phones send of this kind.
    pub(crate) const fn usual_mimetype(self) -> &'static str {
        match self {
            Self::Image => "image/jpeg",
            Self::Video | Self::Gif | Self::Ptv => "video/mp4",
            Self::Audio => "audio/mpeg",
            Self::Ptt => "audio/ogg; codecs=opus",
            Self::Document => "application/octet-stream",
            Self::Sticker => "image/webp",
        }
    }
}

impl Uploaded {
    pub(super) fn message(
        self,
        url: String,
        path: String,
        context_info: Option<Box<ContextInfo>>,
        now: Millis,
    ) -> proto::Message {
        let (kind, caption, seconds) = (self.kind, self.caption, self.seconds);
        let url = Some(url);
        let direct_path = Some(path);
        let mimetype = Some(self.mimetype);
        let media_key = Some(self.media_key.to_vec());
        let media_key_timestamp = i64::try_from(now.secs()).ok();
        let file_sha256 = Some(self.encrypted.file_sha256.to_vec());
        let file_enc_sha256 = Some(self.encrypted.file_enc_sha256.to_vec());
        let file_length = Some(self.encrypted.file_length);
        let streaming_sidecar = self.encrypted.sidecar;
        let view_once = self.view_once.then_some(true);
        let mut message = proto::Message::default();
        // The fields of each kind are the same, their numbers are not.
        macro_rules! file {
            ($message:ident { $($field:ident $(: $value:expr)?),* $(,)? }) => {
                Some(Box::new($message {
                    url,
                    direct_path,
                    mimetype,
                    media_key,
                    media_key_timestamp,
                    file_sha256,
                    file_enc_sha256,
                    file_length,
                    context_info,
                    $($field $(: $value)?,)*
                    ..Default::default()
                }))
            };
        }
        match kind {
            FileKind::Image => message.image_message = file!(ImageMessage { caption, view_once }),
            FileKind::Video | FileKind::Gif | FileKind::Ptv => {
                let gif_playback = (kind == FileKind::Gif).then_some(true);
                let video =
                    file!(VideoMessage { caption, seconds, gif_playback, streaming_sidecar, view_once });
                let member =
                    if kind == FileKind::Ptv { &mut message.ptv_message } else { &mut message.video_message };
                *member = video;
            }
            FileKind::Audio | FileKind::Ptt => {
                let ptt = Some(kind == FileKind::Ptt);
                message.audio_message = file!(AudioMessage { seconds, ptt, streaming_sidecar, view_once });
            }
            FileKind::Document => {
                let file_name = Some(self.filename.unwrap_or_else(|| "file".into()));
                let captioned = caption.is_some();
                message.document_message =
                    file!(DocumentMessage { title: file_name.clone(), file_name, caption });
                if captioned {
                    message = wrapped(message, |outer| &mut outer.document_with_caption_message);
                }
            }
            FileKind::Sticker => message.sticker_message = file!(StickerMessage {}),
        }
        if self.view_once
            && matches!(kind, FileKind::Image | FileKind::Video | FileKind::Audio | FileKind::Ptt)
        {
            message = wrapped(message, |outer| &mut outer.view_once_message_v2);
        }
        message
    }
}

fn wrapped(
    inner: proto::Message,
    member: impl FnOnce(&mut proto::Message) -> &mut Option<Box<FutureProofMessage>>,
) -> proto::Message {
    let mut outer = proto::Message::default();
    *member(&mut outer) = Some(Box::new(FutureProofMessage { message: Some(Box::new(inner)) }));
    outer
}
