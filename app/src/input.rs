//! Files that are read: whether they can be, and that no output replaces one.

use crate::error::{Error, ErrorKind};
use std::collections::HashMap;
use std::fs::{FileType, Metadata};
use std::io;
use std::path::Path;

/// Which file a path leads to, links followed. Two paths with one identity are one file, whatever they are called.
#[cfg(unix)]
type FileId = (u64, u64);

/// Which file a path leads to, links followed. Hard links are not recognised here.
#[cfg(not(unix))]
type FileId = std::path::PathBuf;

#[cfg(unix)]
fn identity(_path: &Path, about: &Metadata) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    Some((about.dev(), about.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path, _about: &Metadata) -> Option<FileId> {
    std::fs::canonicalize(path).ok()
}

/// Why a file must stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Input,
    Labels,
}

/// Files that no output of a run may replace: what the run reads, and the labels that it wrote before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptFiles(HashMap<FileId, Role>);

impl KeptFiles {
    /// Keeps a file that is read.
    pub fn add_input(&mut self, path: &Path) {
        if let Ok(about) = std::fs::metadata(path) {
            self.add_known_input(path, &about);
        }
    }

    /// Keeps a model. Of an nnU-Net folder, the files in it and in the folders of its folds.
    pub fn add_model(&mut self, path: &Path) {
        let inside = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
        self.add_input(path);
        for entry in inside(path) {
            self.add_input(&entry.path());
            if entry.file_name().as_encoded_bytes().starts_with(b"fold_") {
                inside(&entry.path()).for_each(|file| self.add_input(&file.path()));
            }
        }
    }

    /// Keeps a file that is read and was looked at already.
    pub(crate) fn add_known_input(&mut self, path: &Path, about: &Metadata) {
        if about.is_file() {
            self.0.extend(identity(path, about).map(|id| (id, Role::Input)));
        }
    }

    /// Keeps no longer what turned out to be no input.
    pub(crate) fn remove(&mut self, path: &Path) {
        if let Some(id) = std::fs::metadata(path).ok().and_then(|about| identity(path, &about)) {
            self.0.remove(&id);
        }
    }

    /// Keeps labels that this run wrote or found.
    pub fn add_labels(&mut self, path: &Path) {
        let about = std::fs::metadata(path).ok();
        self.0.extend(about.and_then(|about| identity(path, &about)).map(|id| (id, Role::Labels)));
    }

    /// Refuses an output that would replace a file that must stay. No option permits it.
    ///
    /// # Errors
    /// An error of kind [`ErrorKind::Usage`] that names the output.
    pub fn refuse(&self, output: &Path) -> Result<(), Error> {
        let Ok(about) = std::fs::metadata(output) else { return Ok(()) };
        let role = identity(output, &about).and_then(|id| self.0.get(&id));
        let why = match role {
            None => return Ok(()),
            Some(Role::Input) => "is one of the files that are read, and an output never replaces an input",
            Some(Role::Labels) => "holds the labels of another scan of this run",
        };
        let sentence = format!("{} {why}; choose another output", output.display());
        Err(Error::new(ErrorKind::Usage, sentence).about(output))
    }
}

/// What a thing is that is neither a regular file nor a folder.
pub(crate) fn special(kind: FileType) -> Option<&'static str> {
    if kind.is_file() || kind.is_dir() {
        return None;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Some("a pipe");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
        if kind.is_char_device() || kind.is_block_device() {
            return Some("a device");
        }
    }
    Some("not a regular file")
}

/// Looks at a file or folder that is to be read, without opening it: opening a pipe that nobody writes to never ends.
///
/// # Errors
/// It does not exist, is a link to nowhere, cannot be looked at, or is a pipe, a socket or a device.
pub(crate) fn look(kind: ErrorKind, path: &Path) -> Result<Metadata, Error> {
    let about = match std::fs::metadata(path) {
        Ok(about) => about,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(missing(kind, path)),
        Err(e) => return Err(Error::cannot_read(kind, path, e)),
    };
    match special(about.file_type()) {
        None => Ok(about),
        Some(what) => {
            let sentence =
                format!("{} is {what}; only regular files are read: save it as a file first", path.display());
            Err(Error::new(kind, sentence).about(path))
        }
    }
}

/// Refuses what cannot be read as a file or folder, before anything opens it.
///
/// # Errors
/// It does not exist, is a link to nowhere, cannot be looked at, or is a pipe, a socket or a device.
pub fn check(kind: ErrorKind, path: &Path) -> Result<(), Error> {
    look(kind, path).map(drop)
}

fn missing(kind: ErrorKind, path: &Path) -> Error {
    match std::fs::read_link(path) {
        Ok(target) => {
            let sentence = format!("{} is a link to {}, which does not exist", path.display(), target.display());
            Error::new(kind, sentence).about(path)
        }
        Err(_) => Error::missing(kind, path),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn an_input_is_recognised_by_what_it_is_not_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("scan.nii"), b"scan").unwrap();
        fs::hard_link(at("scan.nii"), at("hard.nii")).unwrap();
        symlink("scan.nii", at("soft.nii")).unwrap();
        fs::copy(at("scan.nii"), at("copy.nii")).unwrap();
        let mut kept = KeptFiles::default();
        kept.add_input(&at("soft.nii"));
        for name in ["scan.nii", "hard.nii", "soft.nii", "./scan.nii"] {
            let error = kept.refuse(&at(name)).unwrap_err();
            assert!(error.kind() == ErrorKind::Usage && error.to_string().contains("never replaces"), "{error}");
        }
        assert!(kept.refuse(&at("copy.nii")).is_ok() && kept.refuse(&at("new.nii")).is_ok());
        kept.remove(&at("hard.nii"));
        assert!(kept.refuse(&at("scan.nii")).is_ok());
    }

    #[test]
    fn the_files_of_a_model_folder_are_kept_and_results_in_it_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let files =
            ["plans.json", "fold_0/checkpoint_final.pth", "predicted/a.nii"].map(|name| folder.path().join(name));
        for file in &files {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, b"x").unwrap();
        }
        let mut kept = KeptFiles::default();
        kept.add_model(folder.path());
        assert_eq!(files.map(|file| kept.refuse(&file).is_err()), [true, true, false]);
    }

    #[test]
    fn labels_of_this_run_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nii");
        fs::write(&path, b"x").unwrap();
        let mut kept = KeptFiles::default();
        kept.add_labels(&path);
        assert!(kept.refuse(&path).unwrap_err().to_string().contains("another scan of this run"));
    }

    #[test]
    fn what_is_no_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let said = |path: &Path| check(ErrorKind::Input, path).unwrap_err().to_string();
        assert!(said(Path::new("/dev/null")).contains("is a device"));
        let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert!(said(&at("socket")).contains("is a socket"));
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().is_ok_and(|status| status.success()));
        assert!(said(&at("pipe")).contains("is a pipe"));
        symlink("nowhere", at("link")).unwrap();
        assert!(said(&at("link")).contains("is a link to nowhere, which does not exist"));
        assert!(said(&at("none")).ends_with("none does not exist"));
        assert!(check(ErrorKind::Input, folder.path()).is_ok());
    }
}
