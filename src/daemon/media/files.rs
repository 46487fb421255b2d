//! What is done with a file where it lies: looked at, encrypted, checked, tidied away. Blocking; for a thread of its own.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
    time::UNIX_EPOCH,
};

use sha2::{Digest as _, Sha256};

use super::{FileError, KEPT, PIECE};
use crate::{
    account::Attachment,
    clock::Millis,
    crypto::media::{
        Claim, Encrypted, Encryptor, MediaError, MediaKeys, MediaKind, Parts, Sidecar, Verifier,
    },
    media::{self, Detected, Documents, Facts, Format, MediaType},
};

/// Removes kept files whose last use lies further back than [`KEPT`].
pub(super) fn tidy(folder: &Path, now: Millis) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let used = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let used = Millis::default() + used;
        if metadata.is_file() && now.since(used) > KEPT {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// As what a file is to be sent.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) media_type: MediaType,
    /// As an image without a frame.
    pub(super) sticker: bool,
}

impl Wanted {
    /// In the words of a request.
    fn word(self) -> &'static str {
        if self.sticker { "sticker" } else { self.media_type.word() }
    }
}

pub(super) fn look(
    path: &Path,
    content_type: Option<&str>,
    name: Option<&str>,
    wanted: Wanted,
    documents: Documents,
) -> Result<(Detected, Facts), FileError> {
    let media_type = wanted.media_type;
    let mut file = File::open(path)?;
    let detected = media::detect(&mut file, content_type, name)?;
    let unsupported =
        || FileError::Unsupported { media_type: wanted.word(), detected: detected.mime().to_owned() };
    if detected.check(media_type, documents).is_err() {
        return Err(unsupported());
    }
    let facts = match detected.format() {
        Some(format) if media_type != MediaType::Document => media::facts(&mut file, format),
        _ => Facts::default(),
    };
    // Phones show an image that they cannot read as a file to look at, and a sticker not at all.
    if wanted.sticker && (detected.format() != Some(Format::Webp) || facts.width.is_none()) {
        return Err(unsupported());
    }
    Ok((detected, facts))
}

pub(super) fn encrypt(
    source: &Path,
    target: &Path,
    key: &[u8; 32],
    kind: MediaKind,
) -> Result<Encrypted, FileError> {
    let sidecar = if kind.is_streamed() { Sidecar::On } else { Sidecar::Off };
    let mut encryptor = Encryptor::new(&MediaKeys::derive(key, kind), sidecar);
    let (mut source, mut target) = (File::open(source)?, File::create(target)?);
    let (mut piece, mut blob) = (vec![0; PIECE], Vec::with_capacity(PIECE + 32));
    loop {
        let read = source.read(&mut piece)?;
        if read == 0 {
            break;
        }
        encryptor.update(piece.get(..read).unwrap_or_default(), &mut blob);
        target.write_all(&blob)?;
        blob.clear();
    }
    let encrypted = encryptor.finish(&mut blob);
    target.write_all(&blob)?;
    Ok(encrypted)
}

/// What is to be known of a file that is uploaded as it is.
pub(super) fn measure(path: &Path) -> Result<Encrypted, FileError> {
    let (mut file, mut hash, mut length) = (File::open(path)?, Sha256::new(), 0);
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        hash.update(piece.get(..read).unwrap_or_default());
        length += read as u64;
    }
    let sha256: [u8; 32] = hash.finalize().into();
    Ok(Encrypted {
        file_sha256: sha256,
        file_enc_sha256: sha256,
        file_length: length,
        blob_length: length,
        sidecar: None,
    })
}

/// Checks a file that was downloaded as it is, and puts it into the form in which all files are kept.
pub(super) fn seal(path: &Path, announced: &Attachment) -> Result<(), FileError> {
    let found = measure(path)?;
    // The key is the hash that was announced.
    if found.file_sha256 != announced.media_key {
        return Err(FileError::NotAuthentic(MediaError::Hash));
    }
    let sealed = path.with_extension("sealed");
    encrypt(path, &sealed, &announced.media_key, announced.kind)?;
    fs::rename(sealed, path)?;
    Ok(())
}

/// How much of a blob is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Its hash and its MAC.
    Seal,
    /// What is in it, too: once, before it is kept.
    Whole,
}

/// Reads the whole blob: nothing of it is handed out before it is known to be what was announced.
pub(super) fn verify(path: &Path, announced: &Attachment, depth: Depth) -> Result<Parts, FileError> {
    let claim = Claim::new(
        announced.file_sha256.as_deref(),
        announced.file_enc_sha256.as_deref(),
        announced.file_length,
    )
    .map_err(FileError::NotAuthentic)?;
    let mut verifier = Verifier::new(MediaKeys::derive(&announced.media_key, announced.kind));
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        verifier.update(piece.get(..read).unwrap_or_default());
    }
    let verified = verifier.finish(claim).map_err(FileError::NotAuthentic)?;
    if depth == Depth::Whole {
        let mut decryptor = verified.decryptor();
        let mut plain = Vec::with_capacity(PIECE + 16);
        file.seek(SeekFrom::Start(0))?;
        loop {
            let read = file.read(&mut piece)?;
            if read == 0 {
                break;
            }
            let sealed = piece.get(..read).unwrap_or_default();
            decryptor.update(sealed, &mut plain).map_err(FileError::NotAuthentic)?;
            plain.clear();
        }
        decryptor.finish(&mut plain).map_err(FileError::NotAuthentic)?;
    }
    let range = verified.ending();
    let mut ending = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
    file.seek(SeekFrom::Start(range.start))?;
    file.read_exact(&mut ending)?;
    verified.parts(&ending).map_err(FileError::NotAuthentic)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_file_nobody_used_for_a_week_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let now = Millis(1_767_115_800_000);
        for (name, age) in [("old", KEPT + Duration::from_secs(1)), ("used", KEPT - Duration::from_secs(1))] {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_millis(now.0) - age).unwrap();
        }
        fs::create_dir(folder.path().join("under-way")).unwrap();
        tidy(folder.path(), now).unwrap();
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(!folder.path().join("old").exists());
    }
}
