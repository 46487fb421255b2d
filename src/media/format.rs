//! The table of the contract: which formats each media type takes, their mime types, and how large a file may be.

/// `media_type` of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaType {
    Image,
    Video,
    Audio,
    Document,
}

const MIB: u64 = 1 << 20;

impl MediaType {
    pub const ALL: [Self; 4] = [Self::Image, Self::Video, Self::Audio, Self::Document];

    /// The exact word of a request, in lower case.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|media_type| media_type.word() == word)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Document => "document",
        }
    }

    /// Bytes of the largest file that passes; one more does not.
    pub const fn max_bytes(self) -> u64 {
        match self {
            Self::Image | Self::Audio => 16 * MIB,
            Self::Video => 64 * MIB,
            Self::Document => 100 * MIB,
        }
    }
}

/// Whether a document may be a file of any format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Documents {
    Any,
    /// Only the listed formats, and any listed image, video or audio.
    Listed,
}

/// The file has no format that its media type takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file is not of a format that {} takes", .0.word())]
pub struct Unsupported(pub MediaType);

/// The listed formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Jpeg,
    Png,
    Gif,
    Webp,
    Mp4,
    ThreeGp,
    Mov,
    Avi,
    Mkv,
    Mp3,
    /// Ogg with anything but Opus in it.
    Ogg,
    /// Ogg Opus: what a voice note is made of.
    Opus,
    Wav,
    Aac,
    M4a,
    Pdf,
    Doc,
    Docx,
    Xls,
    Xlsx,
    Ppt,
    Pptx,
    Txt,
    Zip,
}

impl Format {
    pub const ALL: [Self; 24] = [
        Self::Jpeg,
        Self::Png,
        Self::Gif,
        Self::Webp,
        Self::Mp4,
        Self::ThreeGp,
        Self::Mov,
        Self::Avi,
        Self::Mkv,
        Self::Mp3,
        Self::Ogg,
        Self::Opus,
        Self::Wav,
        Self::Aac,
        Self::M4a,
        Self::Pdf,
        Self::Doc,
        Self::Docx,
        Self::Xls,
        Self::Xlsx,
        Self::Ppt,
        Self::Pptx,
        Self::Txt,
        Self::Zip,
    ];

    /// What the message carries.
    pub fn mime(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::Mp4 => "video/mp4",
            Self::ThreeGp => "video/3gpp",
            Self::Mov => "video/quicktime",
            Self::Avi => "video/x-msvideo",
            Self::Mkv => "video/x-matroska",
            Self::Mp3 => "audio/mpeg",
            Self::Ogg | Self::Opus => "audio/ogg; codecs=opus",
            Self::Wav => "audio/wav",
            Self::Aac => "audio/aac",
            Self::M4a => "audio/mp4",
            Self::Pdf => "application/pdf",
            Self::Doc => "application/msword",
            Self::Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Self::Xls => "application/vnd.ms-excel",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Ppt => "application/vnd.ms-powerpoint",
            Self::Pptx => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            Self::Txt => "text/plain",
            Self::Zip => "application/zip",
        }
    }

    /// Of a file that gets its name from us.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Webp => "webp",
            Self::Mp4 => "mp4",
            Self::ThreeGp => "3gp",
            Self::Mov => "mov",
            Self::Avi => "avi",
            Self::Mkv => "mkv",
            Self::Mp3 => "mp3",
            Self::Ogg => "ogg",
            Self::Opus => "opus",
            Self::Wav => "wav",
            Self::Aac => "aac",
            Self::M4a => "m4a",
            Self::Pdf => "pdf",
            Self::Doc => "doc",
            Self::Docx => "docx",
            Self::Xls => "xls",
            Self::Xlsx => "xlsx",
            Self::Ppt => "ppt",
            Self::Pptx => "pptx",
            Self::Txt => "txt",
            Self::Zip => "zip",
        }
    }

    /// From the extension of a name, in any case, without the dot.
    pub fn from_extension(extension: &str) -> Option<Self> {
        let extension = extension.to_ascii_lowercase();
        match &*extension {
            "jpeg" => Some(Self::Jpeg),
            _ => Self::ALL.into_iter().find(|format| format.extension() == extension),
        }
    }

    /// From an announced type, whose parameters do not count. Also the names that servers are known to use besides
    /// the registered ones.
    pub fn from_mime(mime: &str) -> Option<Self> {
        let mime = essence(mime);
        match &*mime {
            "image/jpg" | "image/pjpeg" => Some(Self::Jpeg),
            "video/3gp" => Some(Self::ThreeGp),
            "video/avi" | "video/msvideo" => Some(Self::Avi),
            "audio/mp3" => Some(Self::Mp3),
            "audio/ogg" | "application/ogg" => Some(Self::Ogg),
            "audio/opus" => Some(Self::Opus),
            "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => Some(Self::Wav),
            "audio/x-aac" | "audio/aacp" => Some(Self::Aac),
            "audio/x-m4a" | "audio/m4a" => Some(Self::M4a),
            "application/x-zip-compressed" => Some(Self::Zip),
            _ => Self::ALL.into_iter().find(|format| format.mime() == mime),
        }
    }

    /// The media type that names this format in the contract. A document may be any of them.
    pub fn home(self) -> MediaType {
        match self {
            Self::Jpeg | Self::Png | Self::Gif | Self::Webp => MediaType::Image,
            Self::Mp4 | Self::ThreeGp | Self::Mov | Self::Avi | Self::Mkv => MediaType::Video,
            Self::Mp3 | Self::Ogg | Self::Opus | Self::Wav | Self::Aac | Self::M4a => MediaType::Audio,
            Self::Pdf
            | Self::Doc
            | Self::Docx
            | Self::Xls
            | Self::Xlsx
            | Self::Ppt
            | Self::Pptx
            | Self::Txt
            | Self::Zip => MediaType::Document,
        }
    }

    pub fn fits(self, media_type: MediaType) -> bool {
        media_type == MediaType::Document || media_type == self.home()
    }
}

/// `type/subtype` of a mime type, in lower case.
pub(super) fn essence(mime: &str) -> String {
    mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_lead_back_to_their_format() {
        for format in Format::ALL {
            assert_eq!(Format::from_extension(&format.extension().to_uppercase()), Some(format));
            let back = Format::from_mime(&format!("{} ; x=y", format.mime().to_uppercase()));
            let expected = if format == Format::Opus { Format::Ogg } else { format };
            assert_eq!(back, Some(expected), "Opus and other Ogg share a type");
            assert!(format.fits(MediaType::Document));
            let homes = MediaType::ALL.into_iter().filter(|media_type| format.fits(*media_type)).count();
            assert_eq!(homes, if format.home() == MediaType::Document { 1 } else { 2 });
        }
        assert_eq!(Format::from_extension("JPEG"), Some(Format::Jpeg));
        assert_eq!(Format::from_extension("exe"), None);
        assert_eq!(Format::from_mime("application/octet-stream"), None);
    }

    #[test]
    fn media_types_are_exact_words_with_the_limits_of_the_contract() {
        assert_eq!(MediaType::parse("image"), Some(MediaType::Image));
        assert_eq!(MediaType::parse("Image"), None);
        assert_eq!(
            MediaType::ALL.map(MediaType::max_bytes),
            [16_777_216, 67_108_864, 16_777_216, 104_857_600]
        );
    }
}
