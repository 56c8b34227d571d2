//! The second file of a scan whose header and voxels are in two files: it is looked for in the same folder only.

use crate::error::FormatError;
use crate::name::{ending_of, without};
use std::io;
use std::path::{Component, Path, PathBuf};

/// The file of the same name with one of `others` for its own ending, in the order of the list; in lower or upper case.
///
/// # Errors
/// There is none.
pub(crate) fn with_ending(path: &Path, own: &[&'static str], others: &[&str]) -> Result<PathBuf, FormatError> {
    let stem = ending_of(path, own).and_then(|ending| without(path, ending)).unwrap_or_default();
    let named = |ending: &str| {
        let mut name = stem.to_os_string();
        name.push(ending);
        path.with_file_name(name)
    };
    let spelt = others.iter().flat_map(|ending| [ending.to_string(), ending.to_ascii_uppercase()]);
    match spelt.map(|ending| named(&ending)).find(|candidate| candidate.exists()) {
        Some(found) => Ok(found),
        None => Err(FormatError::header(
            path,
            format!(
                "it is one of two files, and the other one ({}) is not beside it; put both into one folder",
                others.iter().map(|ending| named(ending).display().to_string()).collect::<Vec<_>>().join(" or ")
            ),
        )),
    }
}

/// The file that a header names for its voxels.
///
/// # Errors
/// It is not there, or would be in another folder: a foreign header must not make the program read any file.
pub(crate) fn named(header: &Path, name: &str) -> Result<PathBuf, FormatError> {
    let mut parts = Path::new(name).components().filter(|part| *part != Component::CurDir);
    let (Some(Component::Normal(file)), None) = (parts.next(), parts.next()) else {
        return Err(FormatError::header(
            header,
            format!(
                "it names {name:?} for its voxels; only a file in the same folder is read, so put both into one folder"
            ),
        ));
    };
    let path = header.with_file_name(file);
    match path.metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(FormatError::header(
            header,
            format!("its voxels are in {}, which is not there; put both files into one folder", path.display()),
        )),
        _ => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_files_of_the_same_folder_are_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a.raw"), "").expect("a file");
        fs::write(at("A.IMG"), "").expect("a file");
        for name in ["a.raw", "./a.raw"] {
            assert_eq!(named(&at("a.mhd"), name).expect("beside"), at("a.raw"));
        }
        for name in ["../a.raw", "/etc/passwd", "x/a.raw", "", "."] {
            assert!(named(&at("a.mhd"), name).expect_err(name).to_string().contains("same folder"), "{name}");
        }
        assert!(named(&at("a.mhd"), "b.raw").expect_err("missing").to_string().contains("b.raw"));
        assert_eq!(with_ending(&at("A.hdr"), &[".hdr"], &[".img.gz", ".img"]).expect("beside"), at("A.IMG"));
        let error = with_ending(&at("b.hdr"), &[".hdr"], &[".img"]).expect_err("missing").to_string();
        assert!(error.contains("b.img"), "{error}");
    }
}
