//! Endings of file names, without regard to case.

use std::ffi::OsStr;
use std::path::Path;

/// The bytes of a file's name as the system's encoding has them: names need not be UTF-8.
fn name(path: &Path) -> &[u8] {
    path.file_name().map_or(&[], OsStr::as_encoded_bytes)
}

/// The ending that a file's name has, in the list's spelling.
pub(crate) fn ending_of(path: &Path, endings: &[&'static str]) -> Option<&'static str> {
    let name = name(path);
    endings.iter().copied().find(|ending| {
        let start = name.len().checked_sub(ending.len());
        start.is_some_and(|start| name[start..].eq_ignore_ascii_case(ending.as_bytes()))
    })
}

/// Whether a file's name has one of these endings.
pub(crate) fn ends_with(path: &Path, endings: &[&'static str]) -> bool {
    ending_of(path, endings).is_some()
}

/// Whether a file's name says that it is compressed with gzip.
pub(crate) fn is_gzip(path: &Path) -> bool {
    ends_with(path, &[".gz", ".mgz"])
}

/// A file's name without this ending, which it has; `None` where nothing is left.
pub(crate) fn without<'a>(path: &'a Path, ending: &str) -> Option<&'a OsStr> {
    let name = path.file_name()?;
    // An ending has as many parts as dots. A name that is an ending alone keeps its first part.
    let stem = ending.matches('.').try_fold(name, |stem, _| Path::new(stem).file_stem())?;
    (stem.len() + ending.len() == name.len()).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_found_in_any_case() {
        let endings = &[".nii.gz", ".nii"];
        for (name, ending, stem) in [
            ("x/B.NII.GZ", Some(".nii.gz"), Some("B")),
            ("a.b.Nii", Some(".nii"), Some("a.b")),
            (".nii.gz", Some(".nii.gz"), None),
            (".nii", Some(".nii"), None),
            ("a.gz", None, None),
            ("..", None, None),
        ] {
            let path = Path::new(name);
            assert_eq!(ending_of(path, endings), ending, "{name}");
            assert_eq!(ending.and_then(|e| without(path, e)), stem.map(OsStr::new), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn names_need_not_be_unicode() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(OsStr::from_bytes(b"p\xe4tient.nii.GZ"));
        assert_eq!(ending_of(path, &[".nii.gz"]), Some(".nii.gz"));
        assert_eq!(without(path, ".nii.gz"), Some(OsStr::from_bytes(b"p\xe4tient")));
    }
}
