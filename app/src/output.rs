//! Files that appear whole or not at all: written under another name beside their place, synced, then renamed.

use crate::error::{Error, ErrorKind, OrPathError};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// An output that exists already and was not to be replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} exists already{}", path.display(), why.map(|why| format!(" and {why}")).unwrap_or_default())]
pub struct Exists {
    /// The output.
    pub path: PathBuf,
    /// Why it is not taken for the result.
    pub why: Option<&'static str>,
}

/// Refuses to go on where `path` exists.
///
/// # Errors
/// [`Exists`].
pub fn refuse_existing(path: &Path, why: Option<&'static str>) -> Result<(), Error> {
    if path.exists() {
        return Err(Error::of(ErrorKind::Output, Exists { path: path.to_owned(), why }).about(path));
    }
    Ok(())
}

/// A file being written. Dropped before [`Self::publish`], it leaves nothing.
#[derive(Debug)]
pub struct PendingFile {
    target: PathBuf,
    partial: PathBuf,
    file: Option<File>,
}

const SUFFIX: &str = ".scanside-part";

impl PendingFile {
    /// Begins a file that will appear at `target`; its folder is made if need be.
    ///
    /// # Errors
    /// The target is no file name, or the folder cannot be made or written in.
    pub fn create(target: &Path) -> Result<Self, Error> {
        let name = target
            .file_name()
            .ok_or_else(|| Error::new(ErrorKind::Usage, format_args!("{} is not a file name", target.display())))?
            .to_string_lossy()
            .into_owned();
        let folder = match target.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(folder).or_cannot_write(target)?;
        remove_stale(folder, &name);
        let partial = folder.join(format!(".{name}.{}{SUFFIX}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&partial).or_cannot_write(target)?;
        Ok(PendingFile { target: target.to_owned(), partial, file: Some(file) })
    }

    /// Where the bytes lie until then, so that they can be checked before anybody sees them.
    pub fn partial_path(&self) -> &Path {
        &self.partial
    }

    /// A second handle to the file, for a writer that takes one of its own. All of its bytes must be with the system
    /// before [`Self::publish`].
    ///
    /// # Errors
    /// The system gives no second handle.
    pub fn handle(&self) -> Result<File, Error> {
        let closed = || io::Error::other("the file is closed");
        let handle = self.file.as_ref().ok_or_else(closed).and_then(File::try_clone);
        handle.or_cannot_write(&self.target)
    }

    /// Syncs the file to the disk and renames it to its target.
    ///
    /// # Errors
    /// The system could not do either; then the target is as it was.
    pub fn publish(mut self) -> Result<(), Error> {
        if let Some(file) = self.file.take() {
            file.sync_all().or_cannot_write(&self.target)?;
        }
        std::fs::rename(&self.partial, &self.target).or_cannot_write(&self.target)?;
        // The rename itself survives a power cut only once the folder is synced; where folders cannot be opened as
        // files, the system gives no such promise to keep.
        let folder = self.target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Ok(folder) = File::open(folder) {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::Error::other("the file is closed")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        // After publishing there is nothing under this name any more.
        let _ = std::fs::remove_file(&self.partial);
    }
}

/// Removes what a killed run left of the same file. Files of processes that still run are theirs.
fn remove_stale(folder: &Path, name: &str) {
    let prefix = format!(".{name}.");
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let process = file.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(SUFFIX));
        let Some(id) = process.and_then(|p| p.parse::<u32>().ok()) else { continue };
        let running = Path::new("/proc").is_dir() && Path::new(&format!("/proc/{id}")).exists();
        if !running || id == std::process::id() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Writes a whole small file.
///
/// # Errors
/// The file cannot be written; then the target is as it was.
pub fn write_whole(target: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = PendingFile::create(target)?;
    file.write_all(bytes).or_cannot_write(target)?;
    file.publish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("sub/labels.nii");
        let mut file = PendingFile::create(&target).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!target.exists());
        drop(file);
        assert_eq!(std::fs::read_dir(folder.path().join("sub")).unwrap().count(), 0);
        write_whole(&target, b"whole").unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(folder.path().join("sub")).unwrap().count(), 1);
    }

    #[test]
    fn leftovers_of_dead_runs_go() {
        let folder = tempfile::tempdir().unwrap();
        // Process numbers end well below this.
        std::fs::write(folder.path().join(format!(".a.nii.4294967294{SUFFIX}")), b"x").unwrap();
        std::fs::write(folder.path().join(format!(".b.nii.4294967294{SUFFIX}")), b"x").unwrap();
        write_whole(&folder.path().join("a.nii"), b"y").unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
