//! Where labels go: into one file, or into a folder.

use crate::cases::Case;
use crate::error::{Error, ErrorKind};
use crate::input;
use scanside_formats::{check_label_name, stem, written_endings};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Endings that no format of scans has and that are those of files all the same. A name with one of them is meant to be a file,
/// so no folder of that name is made.
const FILE_ENDINGS: [&str; 12] = ["bz2", "csv", "gii", "gz", "json", "obj", "onnx", "pdf", "stl", "txt", "xz", "zip"];

/// The ending of label files in a folder.
const IN_FOLDERS: &str = ".nii.gz";

/// Where labels go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    File(PathBuf),
    Folder(PathBuf),
}

impl Place {
    /// What `output` names, for one scan or for `many`.
    pub(super) fn of(output: &Path, many: bool) -> Result<Place, Error> {
        let shown = output.display();
        let usage = |sentence: String| Err(Error::new(ErrorKind::Usage, sentence).about(output));
        let known = || written_endings().collect::<Vec<_>>().join(", ");
        let text = output.to_string_lossy();
        if text == "-" {
            return usage("labels are not written to standard output; name a file or a folder".into());
        }
        let there = std::fs::metadata(output).ok();
        if let Some(what) = there.as_ref().and_then(|about| input::special(about.file_type())) {
            return usage(format!("{shown} is {what}; labels are written to a regular file or into a folder"));
        }
        if there.as_ref().is_some_and(|about| about.is_dir()) || text.ends_with(std::path::is_separator) {
            return Ok(Place::Folder(output.to_owned()));
        }
        if let Err(error) = check_label_name(output) {
            return Err(Error::of(ErrorKind::Usage, error).about(output));
        }
        if stem(output).is_some() {
            return if many {
                usage(format!("there can be several scans, so the output must be a folder, but {shown} names a file"))
            } else {
                Ok(Place::File(output.to_owned()))
            };
        }
        let trimmed = Path::new(text.trim_end());
        if trimmed != output && (stem(trimmed).is_some() || check_label_name(trimmed).is_err()) {
            return usage(format!("the name {text:?} ends with a blank; remove it"));
        }
        let ending = output.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        if ending.is_some_and(|ending| FILE_ENDINGS.contains(&ending.as_str())) {
            return usage(format!("labels are not written as {shown}; name a file with {}, or a folder", known()));
        }
        if there.is_some() {
            return usage(format!("{shown} is a file; name a new file with {}, or a folder", known()));
        }
        Ok(Place::Folder(output.to_owned()))
    }

    /// The label file of a case.
    pub(super) fn label_file(&self, case: &Case) -> PathBuf {
        match self {
            Place::File(path) => path.clone(),
            Place::Folder(folder) => {
                let mut name: OsString = folder.join(&case.label).into();
                name.push(IN_FOLDERS);
                name.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_that_are_not_written_make_no_folders() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("there.nrrd")).unwrap();
        std::fs::write(at("file"), b"x").unwrap();
        let refused = |name: &str| match Place::of(&at(name), false) {
            Err(error) => error.kind() == ErrorKind::Usage,
            Ok(_) => false,
        };
        for name in
            ["labels.png", "labels.GZ", "labels.nii.bz2", "l.hdr", "l.mhd", "x.nii.gz ", "x.npz ", "file", "a.json"]
        {
            assert!(refused(name), "{name}");
        }
        assert_eq!(Place::of(Path::new("-"), false).unwrap_err().kind(), ErrorKind::Usage);
        for name in ["labels", "results.2026", "there.nrrd", "new.nii/"] {
            assert_eq!(Place::of(&at(name), true).unwrap(), Place::Folder(at(name)), "{name}");
        }
        for name in ["l.nii", "L.NII.GZ", "l.nrrd"] {
            assert_eq!(Place::of(&at(name), false).unwrap(), Place::File(at(name)), "{name}");
            assert!(Place::of(&at(name), true).is_err());
        }
    }

    #[test]
    fn dots_in_a_cases_name_are_no_ending() {
        let place = Place::Folder("out".into());
        let label = place.label_file(&Case::new("sub/v1.2", Vec::new()));
        assert_eq!(label, Path::new("out/sub/v1.2.nii.gz"));
    }

    #[test]
    #[cfg(unix)]
    fn devices_are_no_place_for_labels() {
        let error = Place::of(Path::new("/dev/null"), false).unwrap_err();
        assert!(error.kind() == ErrorKind::Usage && error.to_string().contains("is a device"), "{error}");
    }
}
