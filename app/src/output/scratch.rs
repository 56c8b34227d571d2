//! Files that exist only while their process works, and what is left of them when it was killed.

use super::folder_of;
use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How the names of files end that are being written.
pub(super) const PART: &str = ".scanside-part";
/// How the names of files end that are locked by who makes an output.
pub(super) const LOCK: &str = ".scanside-lock";

/// The scratch files of this process.
static ALIVE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
/// The folders in which this process looked for leftovers.
static CLEANED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn guard<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that no other process draws, from the system's randomness.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Whether this process has a file locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locked {
    /// It has.
    Here,
    /// Another one has.
    Elsewhere,
    /// The file system has no locks.
    Unsupported,
}

/// Tries to lock a file.
pub(super) fn try_lock(file: &File) -> Locked {
    match file.try_lock() {
        Ok(()) => Locked::Here,
        Err(TryLockError::WouldBlock) => Locked::Elsewhere,
        Err(TryLockError::Error(_)) => Locked::Unsupported,
    }
}

/// What a name leads to, compared with an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// To the open file.
    Same,
    /// To another file; some network file systems say so of one and the same.
    Other,
    /// To nothing.
    Gone,
}

/// What `path` leads to, compared with `file`. A link leads to itself.
pub(super) fn name_of(file: &File, path: &Path) -> Name {
    let Ok(there) = std::fs::symlink_metadata(path) else { return Name::Gone };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let same = file.metadata().is_ok_and(|here| (here.dev(), here.ino()) == (there.dev(), there.ino()));
        if same { Name::Same } else { Name::Other }
    }
    #[cfg(not(unix))]
    {
        // A file that is open keeps its name here.
        let _ = (file, there);
        Name::Same
    }
}

/// A scratch file's place in the list of this process; dropped, it removes the file.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Opens a file and puts it on the list, in one step as seen from [`abandon`].
    pub(super) fn open(path: PathBuf, options: &OpenOptions) -> io::Result<(File, Scratch)> {
        let mut alive = guard(&ALIVE);
        let file = options.open(&path)?;
        alive.insert(path.clone());
        Ok((file, Scratch { path }))
    }

    /// Puts a file on the list that this process has locked.
    pub(super) fn of_locked(path: PathBuf) -> Scratch {
        guard(&ALIVE).insert(path.clone());
        Scratch { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the file off the list without removing it: its name is gone, or is another one now.
    pub(super) fn forget(self) {
        let mut scratch = std::mem::ManuallyDrop::new(self);
        guard(&ALIVE).remove(&std::mem::take(&mut scratch.path));
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        guard(&ALIVE).remove(&self.path);
    }
}

/// Removes all unfinished files of this process, which is about to end without dropping anything. Whoever creates another
/// one waits for that end.
pub fn abandon() {
    let alive = guard(&ALIVE);
    for path in alive.iter() {
        let _ = std::fs::remove_file(path);
    }
    std::mem::forget(alive);
}

/// Removes files with our endings that nobody has locked. Nothing is removed where the file system has no locks.
pub(super) fn remove_leftovers(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = name.starts_with('.') && (name.ends_with(PART) || name.ends_with(LOCK));
        if !ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let path = entry.path();
        let Ok(file) = OpenOptions::new().write(true).open(&path) else { continue };
        if try_lock(&file) == Locked::Here && name_of(&file, &path) == Name::Same {
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Removes what processes that are gone left beside an output: unfinished files and locks that nobody has locked. Each
/// folder is looked through once in a process.
pub fn remove_leftovers_beside(output: &Path) {
    let folder = folder_of(output);
    if guard(&CLEANED).insert(folder.to_owned()) {
        remove_leftovers(folder);
    }
}
