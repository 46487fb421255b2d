//! Power cuts. A library that is loaded into the instance (`cut.c`) writes down what the process does to its database files;
//! from that a second copy of them is kept as the platter has it: with everything that was synced, and nothing else. A
//! power cut then is: kill the process, and give it the platter's copy, plus whatever part of the rest happened to get there.
//! Nothing in the instance knows of this.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rand::{Rng, RngExt as _};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
const NAMES: [&str; 2] = ["instance.db", "instance.db-wal"];

enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

/// The disk under an instance.
pub struct Power {
    library: PathBuf,
    journal: PathBuf,
    data: PathBuf,
    platter: PathBuf,
    /// Done to each file, and not synced since.
    pending: [Vec<Change>; 2],
    /// A disk that says to have synced, and has not: what the accounting must find.
    lies: bool,
    pub syncs: u64,
    /// Writes that were lost or torn.
    pub lost: u64,
}

impl Power {
    /// `None`: this machine has no compiler for C, or no libraries that can be preloaded. `data` is the folder of an instance
    /// that is not running and ended properly.
    pub fn new(folder: &Path, data: &Path, lies: bool) -> Option<Self> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        let library = folder.join("cut.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/cut.c");
        let built =
            Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
        if !built.is_ok_and(|status| status.success()) {
            return None;
        }
        let platter = folder.join("platter");
        fs::create_dir_all(&platter).unwrap();
        let power = Self {
            library,
            journal: folder.join("journal"),
            data: data.to_owned(),
            platter,
            pending: [Vec::new(), Vec::new()],
            lies,
            syncs: 0,
            lost: 0,
        };
        NAMES.iter().for_each(|name| copy(&power.data.join(name), &power.platter.join(name)));
        Some(power)
    }

    /// What to start the instance with; `after`: it dies at its so manieth write or sync.
    pub fn environment(&self, after: Option<u32>) -> Vec<(&'static str, OsString)> {
        let after = after.map(|after| ("CUT_AFTER", after.to_string().into()));
        let always =
            [("LD_PRELOAD", self.library.clone().into()), ("CUT_JOURNAL", self.journal.clone().into())];
        always.into_iter().chain(after).collect()
    }

    /// The process has ended, by whatever: takes in what it did.
    pub fn ended(&mut self) {
        // It may have died before it came to that.
        let Ok(journal) = File::open(&self.journal) else { return };
        let mut journal = io::BufReader::with_capacity(1 << 20, journal);
        let mut head = [0; 16];
        // The last record may be cut short: then the write was not made.
        while journal.read_exact(&mut head).is_ok() {
            let length = u32::from_ne_bytes(head[4..8].try_into().unwrap());
            let at = u64::from_ne_bytes(head[8..16].try_into().unwrap());
            let mut bytes = vec![0; length as usize];
            if journal.read_exact(&mut bytes).is_err() {
                break;
            }
            let file = usize::from(head[1]) - 1;
            match head[0] {
                b'w' => self.pending[file].push(Change::Write(at, bytes)),
                b't' => self.pending[file].push(Change::Truncate(at)),
                b's' => self.synced(file),
                b'u' => {
                    self.pending[file].clear();
                    let _ = fs::remove_file(self.platter.join(NAMES[file]));
                }
                other => panic!("{other} is no record"),
            }
        }
        fs::remove_file(&self.journal).unwrap();
    }

    fn synced(&mut self, file: usize) {
        self.syncs += 1;
        if !self.lies {
            let pending = std::mem::take(&mut self.pending[file]);
            let platter = open(&self.platter.join(NAMES[file]));
            pending.iter().for_each(|change| change.apply(&platter));
        }
    }

    /// The process has ended and was taken in; what it had not synced is lost, or some of it.
    pub fn cut(&mut self, rng: &mut impl Rng) {
        for (name, pending) in NAMES.iter().zip(&mut self.pending) {
            if pending.is_empty() && !self.platter.join(name).exists() {
                continue;
            }
            let platter = open(&self.platter.join(name));
            let changes = std::mem::take(pending);
            let before = changes.len();
            let survived = survivors(changes, rng);
            self.lost += (before - survived.len().min(before)) as u64;
            survived.iter().for_each(|change| change.apply(&platter));
        }
        for name in NAMES {
            copy(&self.platter.join(name), &self.data.join(name));
        }
        // An index of the log in shared memory; nobody relies on it after a cut.
        let _ = fs::remove_file(self.data.join("instance.db-shm"));
    }
}

impl Change {
    fn apply(&self, file: &File) {
        match self {
            Self::Write(at, bytes) => file.write_all_at(bytes, *at).unwrap(),
            Self::Truncate(length) => file.set_len(*length).unwrap(),
        }
    }
}

/// What of it got to the platter: nothing, a part in order of which the last write is torn, or any sectors at all.
fn survivors(changes: Vec<Change>, rng: &mut impl Rng) -> Vec<Change> {
    match rng.random_range(0..3) {
        0 => Vec::new(),
        1 => {
            let count = rng.random_range(0..=changes.len());
            let mut survived: Vec<Change> = changes.into_iter().take(count).collect();
            if let Some(Change::Write(at, bytes)) = survived.last_mut() {
                let sectors = bytes.len() / SECTOR;
                let end = SECTOR * rng.random_range(0..=sectors) + SECTOR - *at as usize % SECTOR;
                bytes.truncate(end);
            }
            survived
        }
        _ => {
            let chance = rng.random_range(0.05..0.95);
            let mut survived = Vec::new();
            for change in changes {
                match change {
                    Change::Truncate(length) if rng.random_bool(chance) => {
                        survived.push(Change::Truncate(length))
                    }
                    Change::Truncate(_) => {}
                    Change::Write(mut at, mut bytes) => {
                        while !bytes.is_empty() {
                            let length = (SECTOR - at as usize % SECTOR).min(bytes.len());
                            let rest = bytes.split_off(length);
                            if rng.random_bool(chance) {
                                survived.push(Change::Write(at, bytes));
                            }
                            at += length as u64;
                            bytes = rest;
                        }
                    }
                }
            }
            survived
        }
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap()
}

/// The copy is as the original is: perhaps not there.
fn copy(from: &Path, to: &Path) {
    match fs::copy(from, to) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let _ = fs::remove_file(to);
        }
        Err(error) => panic!("{}: {error}", from.display()),
    }
}
