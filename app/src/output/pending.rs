//! A file that appears whole or not at all.

use super::folder_of;
use super::scratch::{Name, PART, Scratch, name_of, random, remove_leftovers_beside};
use crate::error::{Error, ErrorKind, OrPathError};
use crate::input;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Names that are tried before a folder is given up.
const ATTEMPTS: usize = 16;

/// A file being written. Dropped before [`Self::publish`], it leaves nothing.
#[derive(Debug)]
pub struct PendingFile {
    target: PathBuf,
    file: File,
    scratch: Scratch,
    /// Whether the file system tells files apart reliably.
    told_apart: bool,
}

impl PendingFile {
    /// Begins a file that will appear at `target`; its folder is made if need be. What killed processes left there is
    /// removed the first time that this process writes into the folder.
    ///
    /// # Errors
    /// The target is no file name, is a folder, a pipe or a device, or its folder cannot be made or written in.
    pub fn create(target: &Path) -> Result<Self, Error> {
        check_target(target)?;
        let folder = folder_of(target);
        std::fs::create_dir_all(folder).or_cannot_write(target)?;
        remove_leftovers_beside(target);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        for _ in 0..ATTEMPTS {
            let path = folder.join(format!(".{:016x}{PART}", random()));
            let (file, scratch) = match Scratch::open(path, &options) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                opened => opened.or_cannot_write(target)?,
            };
            // Without locks there is no harm: then no process removes what another one left.
            let _ = file.lock();
            // Until the lock was ours, another process could take the file for a leftover.
            match name_of(&file, scratch.path()) {
                Name::Gone => scratch.forget(),
                // Nobody else makes a file of this name.
                name => {
                    let told_apart = name == Name::Same;
                    return Ok(PendingFile { target: target.to_owned(), file, scratch, told_apart });
                }
            }
        }
        let sentence = format!("{} cannot be written: its temporary file disappears at once", target.display());
        Err(Error::new(ErrorKind::Output, sentence).about(target))
    }

    /// Where the bytes are until then, so that they can be checked before anybody sees them.
    pub fn partial_path(&self) -> &Path {
        self.scratch.path()
    }

    /// A second handle to the file, for a writer that takes one of its own. All of its bytes must be with the system
    /// before [`Self::publish`].
    ///
    /// # Errors
    /// The system gives no second handle.
    pub fn handle(&self) -> Result<File, Error> {
        self.file.try_clone().or_cannot_write(&self.target)
    }

    /// Syncs the file to the disk and renames it to its target.
    ///
    /// # Errors
    /// The system could not do either, or the file has lost its temporary name to another program; then the target is as
    /// it was.
    pub fn publish(self) -> Result<(), Error> {
        let PendingFile { target, file, scratch, told_apart } = self;
        file.sync_all().or_cannot_write(&target)?;
        // Only the file that was written here may appear, never what another program put in its place.
        let name = name_of(&file, scratch.path());
        if name == Name::Gone || (name == Name::Other && told_apart) {
            scratch.forget();
            let sentence = format!(
                "{} cannot be written: another program removed its temporary file; run the command again",
                target.display()
            );
            return Err(Error::new(ErrorKind::Output, sentence).about(&target));
        }
        std::fs::rename(scratch.path(), &target).or_cannot_write(&target)?;
        scratch.forget();
        // The rename itself survives a power cut only once the folder is synced; where folders cannot be opened as
        // files, the system gives no such promise to keep.
        if let Ok(folder) = File::open(folder_of(&target)) {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

/// Refuses to put a file in the place of something else: renaming would replace a pipe or a device.
fn check_target(target: &Path) -> Result<(), Error> {
    if target.file_name().is_none() {
        return Err(Error::new(ErrorKind::Usage, format_args!("{} is not a file name", target.display())));
    }
    let Ok(about) = std::fs::metadata(target) else { return Ok(()) };
    let what = if about.is_dir() { Some("a folder") } else { input::special(about.file_type()) };
    match what {
        None => Ok(()),
        Some(what) => {
            let sentence = format!("{} cannot be written: it is {what}, not a regular file", target.display());
            Err(Error::new(ErrorKind::Output, sentence).about(target))
        }
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
    use super::super::scratch::{LOCK, remove_leftovers};
    use super::*;
    use std::fs;

    fn count(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("sub/labels.nii");
        let mut file = PendingFile::create(&target).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!target.exists());
        drop(file);
        assert_eq!(count(&folder.path().join("sub")), 0);
        write_whole(&target, b"whole").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert_eq!(count(&folder.path().join("sub")), 1);
    }

    /// Two writers of one target, as two containers are that share a folder and a process number.
    #[test]
    fn writers_of_one_file_do_not_disturb_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("labels.nii");
        let mut first = PendingFile::create(&target).unwrap();
        first.write_all(b"first, h").unwrap();
        let mut second = PendingFile::create(&target).unwrap();
        second.write_all(b"second, whole").unwrap();
        assert_ne!(first.partial_path(), second.partial_path());
        second.publish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"second, whole");
        first.write_all(b"alf").unwrap();
        first.publish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"first, half");
        assert_eq!(count(folder.path()), 1);
    }

    #[test]
    fn leftovers_are_what_nobody_has_locked() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let live = PendingFile::create(&at("a.nii")).unwrap();
        let names = [format!(".0{PART}"), format!(".1{LOCK}"), format!("2{PART}"), ".3.nii".to_owned()];
        names.iter().for_each(|name| fs::write(at(name), b"x").unwrap());
        remove_leftovers(folder.path());
        assert!(live.partial_path().exists(), "a file that is being written");
        assert_eq!(names.map(|name| at(&name).exists()), [false, false, true, true]);
    }

    #[test]
    #[cfg(unix)]
    fn only_the_file_that_was_written_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("labels.nii");
        for replace in [false, true] {
            let mut file = PendingFile::create(&target).unwrap();
            file.write_all(b"labels").unwrap();
            let temporary = file.partial_path().to_owned();
            fs::remove_file(&temporary).unwrap();
            if replace {
                fs::write(&temporary, b"").unwrap();
            }
            let error = file.publish().unwrap_err();
            assert!(error.kind() == ErrorKind::Output && error.to_string().contains("another program"), "{error}");
            assert!(!target.exists());
        }
    }

    #[test]
    #[cfg(unix)]
    fn devices_pipes_and_folders_are_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for place in [Path::new("/dev/null"), folder.path()] {
            let error = write_whole(place, b"x").unwrap_err();
            assert!(error.kind() == ErrorKind::Output && error.to_string().contains("not a regular file"), "{error}");
        }
        assert_eq!(count(folder.path()), 0);
    }
}
