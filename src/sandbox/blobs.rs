//! What the sandbox's media server keeps: encrypted blobs by their hash, as files, and the beginnings of broken uploads.
//!
//! In the state folder, or in a temporary one for as long as the sandbox runs. Bounded: the oldest give way.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

/// Largest blob taken.
pub(super) const MAX_BLOB: u64 = 512 << 20;
/// Of all blobs and beginnings together.
const MAX_TOTAL: u64 = 2 << 30;
/// Paths remembered as gone.
const MAX_GONE: usize = 10_000;

pub(super) type Hash = [u8; 32];

pub(super) struct Blobs {
    folder: PathBuf,
    temporary: bool,
    index: Mutex<Index>,
}

#[derive(Default)]
struct Index {
    next: u64,
    files: BTreeMap<(Form, Hash), File>,
    gone: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Whole,
    Part,
}

impl Form {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Whole => "blob",
            Self::Part => "part",
        }
    }
}

#[derive(Clone, Copy)]
struct File {
    length: u64,
    /// Order of arrival.
    seq: u64,
}

impl Blobs {
    pub(super) fn open(state: Option<&Path>) -> io::Result<Self> {
        let (folder, temporary) = match state {
            Some(state) => (state.join("media"), false),
            None => {
                let name = format!("wazap-sandbox-media-{}", uuid::Uuid::new_v4());
                (std::env::temp_dir().join(name), true)
            }
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(!temporary);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder)?;
        let index = Mutex::new(Index::read(&folder)?);
        Ok(Self { folder, temporary, index })
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, form: Form, hash: &Hash) -> PathBuf {
        self.folder.join(format!("{}.{}", hex::encode(hash), form.suffix()))
    }

    /// Length of a whole blob, if it is there.
    pub(super) fn length(&self, hash: &Hash) -> Option<u64> {
        self.index().files.get(&(Form::Whole, *hash)).map(|file| file.length)
    }

    /// The file of a whole blob.
    pub(super) fn file(&self, hash: &Hash) -> Option<PathBuf> {
        self.length(hash).map(|_| self.path(Form::Whole, hash))
    }

    /// How much of a blob a broken upload left behind.
    pub(super) fn part(&self, hash: &Hash) -> u64 {
        self.index().files.get(&(Form::Part, *hash)).map_or(0, |file| file.length)
    }

    /// A place to write a blob to; with an offset, behind what a broken upload left.
    pub(super) async fn begin(&self, known: Option<(&Hash, u64)>) -> io::Result<Writer> {
        let path = self.folder.join(format!("{}.new", uuid::Uuid::new_v4()));
        let mut hash = Sha256::new();
        let mut length = 0;
        if let Some((of, offset)) = known.filter(|(_, offset)| *offset > 0) {
            self.index().files.remove(&(Form::Part, *of));
            fs::rename(self.path(Form::Part, of), &path)?;
            let beginning = path.clone();
            let hashed = tokio::task::spawn_blocking(move || hash_beginning(&beginning, offset, hash)).await;
            hash = hashed.map_err(io::Error::other)??;
            length = offset;
        }
        let mut options = tokio::fs::OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        options.mode(0o600);
        let file = options.open(&path).await?;
        Ok(Writer { file, path: Some(path), hash, length })
    }

    /// Keeps a blob that a phone made: it is there before anybody hears of it.
    pub(super) fn put(&self, blob: &[u8]) -> io::Result<()> {
        let path = self.folder.join(format!("{}.new", uuid::Uuid::new_v4()));
        let mut options = OpenOptions::new();
        options.create_new(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path)?.write_all(blob)?;
        self.adopt(&path, Form::Whole, Sha256::digest(blob).into(), blob.len() as u64)
    }

    /// Keeps a finished blob under its hash, which is the answer's first part; the second is its length.
    pub(super) async fn keep(&self, writer: Writer) -> io::Result<(Hash, u64)> {
        let (path, hash, length) = writer.close().await?;
        self.adopt(&path, Form::Whole, hash, length)?;
        Ok((hash, length))
    }

    /// Keeps the beginning of a blob whose upload broke, if it is the longest so far.
    pub(super) async fn keep_part(&self, writer: Writer, hash: &Hash) -> io::Result<()> {
        let (path, _, length) = writer.close().await?;
        if length > self.part(hash) {
            self.adopt(&path, Form::Part, *hash, length)?;
        } else {
            fs::remove_file(&path)?;
        }
        Ok(())
    }

    fn adopt(&self, path: &Path, form: Form, hash: Hash, length: u64) -> io::Result<()> {
        fs::rename(path, self.path(form, &hash))?;
        let mut index = self.index();
        let seq = index.next;
        index.next += 1;
        index.files.insert((form, hash), File { length, seq });
        if form == Form::Whole && index.files.remove(&(Form::Part, hash)).is_some() {
            // It may be gone already.
            let _ = fs::remove_file(self.path(Form::Part, &hash));
        }
        while index.files.values().map(|file| file.length).sum::<u64>() > MAX_TOTAL {
            let oldest = index.files.iter().min_by_key(|(_, file)| file.seq).map(|(key, _)| *key);
            let Some((form, hash)) = oldest else { break };
            index.files.remove(&(form, hash));
            let _ = fs::remove_file(self.path(form, &hash));
        }
        Ok(())
    }

    /// From now on this name of a path answers 410, though the blob may have others.
    pub(super) fn retire(&self, name: &str) -> io::Result<()> {
        let mut index = self.index();
        if index.gone.len() < MAX_GONE && index.gone.insert(name.to_owned()) {
            fs::write(self.folder.join(format!("{name}.gone")), [])?;
        }
        Ok(())
    }

    pub(super) fn is_retired(&self, name: &str) -> bool {
        self.index().gone.contains(name)
    }
}

impl Drop for Blobs {
    fn drop(&mut self) {
        if self.temporary {
            // It may be gone already.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

impl Index {
    /// What an earlier start left, oldest first.
    fn read(folder: &Path) -> io::Result<Self> {
        let mut index = Self::default();
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some((stem, suffix)) = name.to_str().and_then(|name| name.rsplit_once('.')) else { continue };
            match suffix {
                "gone" => {
                    index.gone.insert(stem.to_owned());
                }
                // An upload that was under way when the process ended.
                "new" => fs::remove_file(entry.path())?,
                _ => {
                    let form = [Form::Whole, Form::Part].into_iter().find(|form| form.suffix() == suffix);
                    let mut hash = [0; 32];
                    if let Some(form) = form.filter(|_| hex::decode_to_slice(stem, &mut hash).is_ok()) {
                        let facts = entry.metadata()?;
                        found.push((facts.modified().ok(), form, hash, facts.len()));
                    }
                }
            }
        }
        found.sort();
        for (_, form, hash, length) in found {
            index.files.insert((form, hash), File { length, seq: index.next });
            index.next += 1;
        }
        Ok(index)
    }
}

/// Cuts a file at a length, and hashes what stays.
fn hash_beginning(path: &Path, length: u64, mut hash: Sha256) -> io::Result<Sha256> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.metadata()?.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    file.set_len(length)?;
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut piece)?;
        let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else { return Ok(hash) };
        hash.update(read);
    }
}

/// A blob being written. Dropped, it leaves nothing behind.
pub(super) struct Writer {
    file: tokio::fs::File,
    path: Option<PathBuf>,
    hash: Sha256,
    length: u64,
}

impl Writer {
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Of what was written so far.
    pub(super) fn hash(&self) -> Hash {
        self.hash.clone().finalize().into()
    }

    async fn close(mut self) -> io::Result<(PathBuf, Hash, u64)> {
        self.file.flush().await?;
        let hash = self.hash();
        let path = self.path.take().ok_or(io::ErrorKind::NotFound)?;
        Ok((path, hash, self.length))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn put(blobs: &Blobs, bytes: &[u8]) -> Hash {
        let mut writer = blobs.begin(None).await.unwrap();
        writer.write(bytes).await.unwrap();
        blobs.keep(writer).await.unwrap().0
    }

    #[tokio::test]
    async fn blobs_and_beginnings_outlive_a_restart_and_what_was_under_way_does_not() {
        let state = tempfile::tempdir().unwrap();
        let whole: Hash = Sha256::digest(b"hello media").into();
        {
            let blobs = Blobs::open(Some(state.path())).unwrap();
            assert_eq!(put(&blobs, b"hello ").await, <Hash>::from(Sha256::digest(b"hello ")));
            let mut broken = blobs.begin(None).await.unwrap();
            broken.write(b"hello m").await.unwrap();
            blobs.keep_part(broken, &whole).await.unwrap();
            let mut shorter = blobs.begin(None).await.unwrap();
            shorter.write(b"he").await.unwrap();
            blobs.keep_part(shorter, &whole).await.unwrap();
            blobs.retire("abc_1").unwrap();
            let mut under_way = blobs.begin(None).await.unwrap();
            under_way.write(b"x").await.unwrap();
            std::mem::forget(under_way);
        }
        let blobs = Blobs::open(Some(state.path())).unwrap();
        assert_eq!(fs::read_dir(state.path().join("media")).unwrap().count(), 3);
        assert_eq!((blobs.length(&whole), blobs.part(&whole)), (None, 7));
        assert!(blobs.is_retired("abc_1") && !blobs.is_retired("abc_2"));
        let mut rest = blobs.begin(Some((&whole, 5))).await.unwrap();
        rest.write(b" media").await.unwrap();
        assert_eq!(blobs.keep(rest).await.unwrap(), (whole, 11));
        assert_eq!((blobs.length(&whole), blobs.part(&whole)), (Some(11), 0));
        assert_eq!(fs::read(blobs.file(&whole).unwrap()).unwrap(), b"hello media");
        assert!(blobs.begin(Some((&[7; 32], 5))).await.is_err());
    }

    #[tokio::test]
    async fn without_a_state_folder_nothing_stays() {
        let blobs = Blobs::open(None).unwrap();
        let hash = put(&blobs, b"x").await;
        let file = blobs.file(&hash).unwrap();
        assert!(file.exists());
        drop(blobs);
        assert!(!file.parent().unwrap().exists());
    }
}
