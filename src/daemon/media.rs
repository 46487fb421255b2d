//! Files: fetched, looked at, encrypted and uploaded before a message that carries them is stored; and the other way
//! round, downloaded, checked and handed out in parts. Every step goes piece by piece through files beside the
//! database, so that memory does not grow with the file.

mod files;

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::spawn_blocking,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

use self::files::{Depth, Wanted, encrypt, look, measure, seal, tidy, verify};
use super::Handle;
use crate::{
    account::{Attachment, Body, Media, Recipient, SendError, SendMessage, Sent, Shape},
    clock::Millis,
    crypto::media::{Encrypted, MediaError, MediaKind, Parts},
    media::{self, Documents, Format, MediaType},
    net::{
        fetch::{FetchError, Fetcher},
        media::{Cdn, CdnError, Upload, Uploaded},
    },
    stanza::MediaConn,
    store::{self, Store},
    wire::Server,
};

/// How long a downloaded file is kept after its last use (the contract's seven days for links).
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often that is looked at.
const TIDY: Duration = Duration::from_secs(3600);
/// Files under way at a time; each holds a connection and a few hundred KiB.
const AT_ONCE: usize = 4;
/// Fetching and uploading together (instance-api.md §7.2).
pub(super) const OVERALL: Duration = Duration::from_secs(120);
/// Read and written at a time.
const PIECE: usize = 64 << 10;
/// Largest blob downloaded where the message does not say how long its file is; the largest that may be sent.
const UNANNOUNCED: u64 = 100 << 20;
/// Largest blob downloaded at all, whatever is announced (WhatsApp's own bound for documents).
const LARGEST: u64 = 2 << 30;

/// Where a file to be sent comes from.
#[derive(Debug)]
pub enum Source {
    /// Fetched under the rules for callers' URLs.
    Url(String),
    /// Came with the request.
    File(Received),
}

/// A file that came with a request; gone with this value.
#[derive(Debug)]
pub struct Received {
    /// Where it lies.
    pub file: Scratch,
    /// As announced.
    pub content_type: Option<String>,
    /// As announced.
    pub name: Option<String>,
}

/// What is to be sent.
#[derive(Debug)]
pub struct SendMedia {
    /// Recipient, quote, key and so on; its body is replaced.
    pub message: SendMessage,
    /// The file.
    pub source: Source,
    /// As which kind.
    pub media_type: MediaType,
    /// As a webp without a frame.
    pub sticker: bool,
    /// Beside it.
    pub caption: Option<String>,
    /// Of a document.
    pub file_name: Option<String>,
    /// As a voice note; by default what is Ogg Opus.
    pub voice: Option<bool>,
    /// A film that plays by itself, in a loop.
    pub gif: bool,
    /// A round film.
    pub round: bool,
    /// May be looked at once.
    pub view_once: bool,
}

/// Why a file was not sent, or cannot be handed out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// As for every send.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The URL gave nothing.
    #[error("the file could not be fetched: {reason}")]
    Download {
        /// As asked for.
        url: String,
        /// In the words of the contract.
        reason: String,
    },
    /// Over the limit of its kind.
    #[error("the file is too large")]
    TooLarge {
        /// Bytes, if known.
        size: Option<u64>,
        /// Bytes.
        limit: u64,
    },
    /// Nothing that may be sent as this kind.
    #[error("the file is of another kind")]
    Unsupported {
        /// As asked for.
        media_type: &'static str,
        /// What it is.
        detected: String,
    },
    /// It took too long.
    #[error("fetching and uploading took too long")]
    Timeout,
    /// No such message, or none with a file.
    #[error("no such file")]
    Unknown,
    /// The servers do not have it any more, and the phone neither.
    #[error("the file is gone")]
    Gone,
    /// What came is not what the message announced.
    #[error("the file is not what was announced")]
    NotAuthentic(MediaError),
    /// WhatsApp's media servers took or gave nothing; another try may do better.
    #[error("the media servers failed")]
    Servers,
    /// A fault of ours.
    #[error("internal error")]
    Internal,
}

impl From<CdnError> for FileError {
    fn from(error: CdnError) -> Self {
        match error {
            CdnError::Read(_) | CdnError::Write(_) => Self::Internal,
            _ => Self::Servers,
        }
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        tracing::error!(%error, "a media file");
        Self::Internal
    }
}

impl From<store::Error> for FileError {
    fn from(error: store::Error) -> Self {
        tracing::error!(%error, "a media file's message");
        Self::Internal
    }
}

/// A file beside the database that is removed with this value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A name of its own in a folder that is there.
    pub fn in_folder(folder: &Path) -> Self {
        Self(folder.join(uuid::Uuid::new_v4().to_string()))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Not there is as good as removed.
        let _ = fs::remove_file(&self.0);
    }
}

/// Sends files and hands them out. Cheap to clone.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    handle: Handle,
    store: Store,
    cdn: Cdn,
    fetcher: Fetcher,
    documents: Documents,
    /// Downloaded blobs, as encrypted as they travel.
    kept: PathBuf,
    /// Files under way.
    scratch: PathBuf,
    places: Semaphore,
}

impl Desk {
    /// Keeps its files in `media/` beside the database; what an earlier process left half-done there is removed.
    pub fn open(
        data: &Path,
        handle: Handle,
        store: Store,
        cdn: Cdn,
        fetcher: Fetcher,
        documents: Documents,
    ) -> io::Result<Self> {
        let kept = data.join("media");
        let scratch = kept.join("under-way");
        match fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(&scratch)?;
        let places = Semaphore::new(AT_ONCE);
        Ok(Self(Arc::new(Inner { handle, store, cdn, fetcher, documents, kept, scratch, places })))
    }

    /// Whom it sends through.
    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// How users' URLs are fetched.
    pub(super) fn fetcher(&self) -> &Fetcher {
        &self.0.fetcher
    }

    /// Leave to work on a file; `None` at the end of the process.
    pub(super) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.0.places.acquire().await.ok()
    }

    /// A name for a file under way.
    pub fn scratch(&self) -> Scratch {
        Scratch::in_folder(&self.0.scratch)
    }

    /// Fetches, encrypts, uploads, and then sends like a text. The checks that cost nothing come first.
    pub async fn send(&self, send: SendMedia) -> Result<Sent, FileError> {
        if let Some(before) = self.0.handle.would_take(send.message.clone()).await? {
            return Ok(before);
        }
        timeout(OVERALL, async {
            let _place = self.0.places.acquire().await.map_err(|_| FileError::Internal)?;
            let message = send.message.clone();
            let media = self.upload_file(send).await?;
            Ok((message, media))
        })
        .await
        .unwrap_or(Err(FileError::Timeout))
        .map(|(message, media)| SendMessage { body: Body::Media(Box::new(media)), ..message })
        .map(|message| async move { Ok(self.0.handle.send_message(message).await?) })?
        .await
    }

    /// Removes, every hour until `stop`, what nobody has asked for in a week: the servers have it still, or the phone.
    pub async fn keep_house(self, stop: CancellationToken) {
        let mut hours = interval(TIDY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = hours.tick() => {}
            }
            let kept = self.0.kept.clone();
            let tidied = spawn_blocking(move || tidy(&kept, Millis::now())).await;
            if let Ok(Err(error)) = tidied {
                tracing::warn!(%error, "old media files could not be removed");
            }
        }
    }

    async fn upload_file(&self, send: SendMedia) -> Result<Media, FileError> {
        let limit = send.media_type.max_bytes();
        let plain = self.obtain(send.source, limit).await?;
        let looked = {
            let (path, documents) = (plain.file.0.clone(), self.0.documents);
            let (content_type, name) =
                (plain.content_type.clone(), send.file_name.clone().or(plain.name.clone()));
            let wanted = Wanted { media_type: send.media_type, sticker: send.sticker };
            spawn_blocking(move || look(&path, content_type.as_deref(), name.as_deref(), wanted, documents))
                .await
                .map_err(|_| FileError::Internal)??
        };
        let (detected, facts) = looked;
        let kind = match send.media_type {
            MediaType::Image if send.sticker => MediaKind::Sticker,
            MediaType::Image => MediaKind::Image,
            MediaType::Video => MediaKind::Video,
            MediaType::Audio => MediaKind::Audio,
            MediaType::Document => MediaKind::Document,
        };
        let open =
            matches!(&send.message.recipient, Recipient::Jid(jid) if jid.server() == Server::Newsletter);
        let media_key = crate::crypto::media::new_media_key(&mut rand::rng());
        let blob = self.scratch();
        let (source, target) = (plain.file.0.clone(), blob.0.clone());
        let (blob, encrypted) = if open {
            let encrypted =
                spawn_blocking(move || measure(&source)).await.map_err(|_| FileError::Internal)??;
            (&plain.file, encrypted)
        } else {
            let encrypted = spawn_blocking(move || encrypt(&source, &target, &media_key, kind))
                .await
                .map_err(|_| FileError::Internal)??;
            (&blob, encrypted)
        };
        let uploaded = self.upload(blob, &encrypted, kind).await?;
        let name = send.file_name.or(plain.name);
        Ok(Media {
            shape: match send.media_type {
                MediaType::Image if send.sticker => Shape::Sticker { animated: facts.animated },
                MediaType::Image => Shape::Image,
                MediaType::Video if send.round => Shape::RoundVideo,
                MediaType::Video => Shape::Video { gif: send.gif },
                MediaType::Audio => {
                    let voice = send.voice.unwrap_or(detected.format() == Some(Format::Opus));
                    let waveform = facts.waveform.filter(|_| voice).map(|levels| levels.to_vec());
                    Shape::Audio { voice, waveform }
                }
                MediaType::Document => Shape::Document {
                    file_name: media::document_name(name.as_deref(), None, None, &detected),
                },
            },
            url: uploaded.url,
            direct_path: uploaded.direct_path,
            open,
            media_key,
            file_sha256: encrypted.file_sha256,
            file_enc_sha256: encrypted.file_enc_sha256,
            file_length: encrypted.file_length,
            mimetype: detected.mime().to_owned(),
            caption: send.caption.filter(|_| send.media_type != MediaType::Audio && !send.sticker),
            width: facts.width,
            height: facts.height,
            seconds: facts.seconds(),
            thumbnail: facts.thumbnail,
            sidecar: encrypted.sidecar,
            view_once: send.view_once,
        })
    }

    /// The file itself, within its limit.
    pub(super) async fn obtain(&self, source: Source, limit: u64) -> Result<Received, FileError> {
        let url = match source {
            Source::File(received) => {
                let size = fs::metadata(received.file.path())?.len();
                if size > limit {
                    return Err(FileError::TooLarge { size: Some(size), limit });
                }
                return Ok(received);
            }
            Source::Url(url) => url,
        };
        let file = self.scratch();
        let mut writer = tokio::fs::File::create(file.path()).await?;
        let fetched = self.0.fetcher.fetch(&url, limit, &mut writer).await.map_err(|error| match error {
            FetchError::TooLarge { size, limit } => FileError::TooLarge { size, limit },
            error => match error.reason() {
                Some(reason) => FileError::Download { url: url.clone(), reason },
                None => {
                    tracing::error!(%error, "a URL could not be fetched");
                    FileError::Internal
                }
            },
        })?;
        Ok(Received {
            file,
            content_type: fetched.content_type,
            name: fetched.file_name.or(fetched.path_name),
        })
    }

    async fn upload(
        &self,
        blob: &Scratch,
        encrypted: &Encrypted,
        kind: MediaKind,
    ) -> Result<Uploaded, FileError> {
        let path = format!("/mms/{}", kind.path_word().unwrap_or("document"));
        let mut refresh = false;
        loop {
            let hosts = self.media_hosts(refresh).await?;
            let upload = Upload {
                auth: &hosts.auth,
                path: &path,
                sha256: encrypted.file_enc_sha256,
                length: encrypted.blob_length,
            };
            let mut file = tokio::fs::File::open(blob.path()).await?;
            match self.0.cdn.upload(&hosts.in_order(), &upload, &mut file).await {
                Ok(uploaded) => return Ok(uploaded),
                Err(CdnError::Refused(_)) if !refresh => refresh = true,
                Err(error) => {
                    tracing::warn!(%error, "a file could not be uploaded");
                    return Err(error.into());
                }
            }
        }
    }

    async fn media_hosts(&self, refresh: bool) -> Result<MediaConn, FileError> {
        self.0.handle.media_hosts(refresh).await.map_err(|error| match error {
            // Where the servers are was not answered, or with a refusal.
            SendError::Internal => FileError::Servers,
            error => error.into(),
        })
    }

    /// The file of a message, ready to be read in parts. Downloaded once, and then kept as it travelled.
    pub async fn file(&self, message_id: &str) -> Result<Stored, FileError> {
        let id = message_id.to_owned();
        let found = self.0.store.read(move |tx| {
            let Some(message) = tx.messages().find_anywhere(&id)? else { return Ok(None) };
            let chat = tx.messages().chat_by_id(message.key.chat)?;
            Ok::<_, store::Error>(chat.map(|chat| (message, chat)))
        });
        let (message, chat) = found.await?.ok_or(FileError::Unknown)?;
        let attachment = Attachment::of(&message.content).ok_or(FileError::Unknown)?;
        // Nowhere else does a file travel in the clear.
        if attachment.open && chat.jid.server() != Server::Newsletter {
            return Err(FileError::Unknown);
        }
        let path = self.0.kept.join(format!("{}.enc", message.uuid));
        if !path.exists() {
            let _place = self.0.places.acquire().await.map_err(|_| FileError::Internal)?;
            let part = self.scratch();
            let found = match self.download(&attachment.direct_path, &attachment, &part).await {
                Err(FileError::Gone) if !attachment.open => {
                    let again = self.0.handle.reupload(message.id).await.ok_or(FileError::Gone)?;
                    self.download(&again, &attachment, &part).await
                }
                outcome => outcome,
            };
            found?;
            if attachment.open {
                let (path, announced) = (part.path().to_owned(), attachment.clone());
                spawn_blocking(move || seal(&path, &announced)).await.map_err(|_| FileError::Internal)??;
            }
            let parts = checked(part.path(), &attachment, Depth::Whole).await?;
            fs::rename(part.path(), &path)?;
            return Ok(Stored { path, parts, attachment });
        }
        if let Ok(kept) = File::options().append(true).open(&path) {
            // Its time begins anew with each use.
            let _ = kept.set_modified(UNIX_EPOCH + Duration::from_millis(Millis::now().0));
        }
        let parts = checked(&path, &attachment, Depth::Seal).await;
        if let Err(FileError::NotAuthentic(_)) = &parts {
            // Kept, it would be refused for ever; the servers may have the right one.
            let _ = fs::remove_file(&path);
        }
        Ok(Stored { path, parts: parts?, attachment })
    }

    async fn download(
        &self,
        direct_path: &str,
        attachment: &Attachment,
        into: &Scratch,
    ) -> Result<(), FileError> {
        let sealed =
            |length| if attachment.open { length } else { crate::crypto::media::blob_length(length) };
        let announced = attachment.file_length.map(sealed);
        let limit = announced.unwrap_or(UNANNOUNCED).min(LARGEST);
        let mut refresh = false;
        loop {
            let hosts = self.media_hosts(refresh).await?;
            let mut file = tokio::fs::File::create(into.path()).await?;
            let mut download = self.0.cdn.download(&hosts.in_order(), direct_path, 0, None, limit);
            match download.save(&mut file).await {
                Ok(_) => return Ok(()),
                Err(CdnError::Refused(_)) if !refresh => refresh = true,
                // A path that no request can name leads nowhere, whoever wrote it.
                Err(CdnError::Refused(_) | CdnError::Gone(_) | CdnError::BadPath) => {
                    return Err(FileError::Gone);
                }
                Err(CdnError::TooLarge { .. }) => {
                    return Err(FileError::NotAuthentic(MediaError::AnnouncedLength));
                }
                Err(error) => {
                    tracing::warn!(%error, "a file could not be downloaded");
                    return Err(error.into());
                }
            }
        }
    }
}

/// On a thread of its own.
async fn checked(blob: &Path, announced: &Attachment, depth: Depth) -> Result<Parts, FileError> {
    let (blob, announced) = (blob.to_owned(), announced.clone());
    spawn_blocking(move || verify(&blob, &announced, depth)).await.map_err(|_| FileError::Internal)?
}

/// A checked file, to be read in parts.
#[derive(Clone)]
pub struct Stored {
    path: PathBuf,
    parts: Parts,
    /// What its message says of it.
    pub attachment: Attachment,
}

impl Stored {
    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.parts.length()
    }

    /// Reads a part piece by piece on a thread of its own; `give` takes each piece and says whether more is wanted.
    pub async fn read(
        &self,
        range: Range<u64>,
        mut give: impl FnMut(Vec<u8>) -> bool + Send + 'static,
    ) -> Result<(), FileError> {
        if range.is_empty() {
            return Ok(());
        }
        let (path, parts) = (self.path.clone(), self.parts.clone());
        spawn_blocking(move || {
            let mut part = parts.part(range).map_err(FileError::NotAuthentic)?;
            let mut file = File::open(path)?;
            let mut left = part.blob().end - part.blob().start;
            file.seek(SeekFrom::Start(part.blob().start))?;
            let mut piece = vec![0; PIECE];
            while left > 0 {
                let want = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                let read = file.read(piece.get_mut(..want).unwrap_or_default())?;
                if read == 0 {
                    break;
                }
                left -= read as u64;
                let mut plain = Vec::with_capacity(read + 16);
                part.update(piece.get(..read).unwrap_or_default(), &mut plain)
                    .map_err(FileError::NotAuthentic)?;
                if !plain.is_empty() && !give(plain) {
                    return Ok(());
                }
            }
            part.finish().map_err(FileError::NotAuthentic)
        })
        .await
        .map_err(|_| FileError::Internal)?
    }
}
