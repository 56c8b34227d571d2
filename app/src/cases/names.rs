//! Names of files: case, channel, ending. Names are bytes; they need not be text.

use scanside_formats::{is_second_file, stem};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Splits `CASE_0001` into `CASE` and 1.
pub(super) fn split_channel(stem: &OsStr) -> Option<(&OsStr, usize)> {
    let bytes = stem.as_encoded_bytes();
    let (case, number) = bytes.split_at_checked(bytes.len().checked_sub(5)?)?;
    let digits = number.strip_prefix(b"_").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let number = digits.iter().fold(0, |sum, digit| 10 * sum + usize::from(digit - b'0'));
    if case.is_empty() { None } else { Some((front(stem, case.len())?, number)) }
}

/// The first `len` bytes of a name; what follows is ASCII.
#[cfg(unix)]
fn front(name: &OsStr, len: usize) -> Option<&OsStr> {
    use std::os::unix::ffi::OsStrExt;
    name.as_bytes().get(..len).map(OsStr::from_bytes)
}

/// The first `len` bytes of a name; what follows is ASCII.
#[cfg(not(unix))]
fn front(name: &OsStr, len: usize) -> Option<&OsStr> {
    name.to_str()?.get(..len).map(OsStr::new)
}

/// A file's name without the ending of a scan's format; all of it where it has none.
pub(super) fn scan_name(path: &Path) -> OsString {
    let whole = || path.file_name().map_or_else(|| "scan".into(), OsStr::to_owned);
    stem(path).map_or_else(whole, OsStr::to_owned)
}

/// The first of several channel files stands for all of them, where they are there.
pub(super) fn with_siblings(first: &Path, channels: usize) -> Vec<PathBuf> {
    let only = vec![first.to_owned()];
    let (Some(name), Some(stem)) = (first.file_name(), stem(first)) else { return only };
    let Some((case, 0)) = split_channel(stem) else { return only };
    let ending = String::from_utf8_lossy(&name.as_encoded_bytes()[stem.len()..]);
    let sibling = |channel: usize| {
        let mut name = case.to_owned();
        name.push(format!("_{channel:04}{ending}"));
        first.with_file_name(name)
    };
    let all: Vec<PathBuf> = (0..channels).map(sibling).collect();
    if all.iter().all(|path| path.is_file()) { all } else { only }
}

/// Whether a file holds the voxels of a scan whose header is the file beside it: `scan.img` beside `scan.hdr`.
pub(super) fn has_header(path: &Path) -> bool {
    let base = |path: &Path| path.file_stem().map(OsStr::to_owned);
    let beside = |base: OsString| {
        ["hdr", "nhdr", "mhd"].iter().any(|ending| {
            let mut name = base.clone();
            name.push(format!(".{ending}"));
            path.with_file_name(name).exists()
        })
    };
    // The voxels may be compressed: `scan.raw.gz`.
    let whole = base(path);
    let inner = whole.as_ref().and_then(|name| base(Path::new(name)));
    is_second_file(path) && [whole, inner].into_iter().flatten().any(beside)
}

/// What a file that is left out is called by: its ending, with that of the compression around it.
pub(super) fn ending(path: &Path) -> String {
    let text = |name: Option<&OsStr>| name.map(|n| n.to_string_lossy().to_ascii_lowercase());
    let Some(last) = text(path.extension()) else { return String::new() };
    let inner = text(path.file_stem().and_then(|stem| Path::new(stem).extension()));
    match inner {
        Some(inner) if ["gz", "bz2", "xz", "zst", "zip"].contains(&last.as_str()) => format!(".{inner}.{last}"),
        _ => format!(".{last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_channel() {
        let split = |name: &'static str| split_channel(OsStr::new(name)).map(|(case, n)| (case.to_str().unwrap(), n));
        assert_eq!(split("scan_0001"), Some(("scan", 1)));
        assert_eq!(split("a_b_2023"), Some(("a_b", 2023)));
        for whole in ["scan_001", "scan0001", "_0001", "scan_00a1", "0001", ""] {
            assert_eq!(split(whole), None, "{whole}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_name_need_not_be_text() {
        use std::os::unix::ffi::OsStrExt;
        let name = OsStr::from_bytes(b"M\xfcller_0000");
        assert_eq!(split_channel(name), Some((OsStr::from_bytes(b"M\xfcller"), 0)));
        assert_eq!(scan_name(Path::new(OsStr::from_bytes(b"x/M\xfcller.NII.gz"))), OsStr::from_bytes(b"M\xfcller"));
    }

    #[test]
    fn endings_keep_what_is_compressed() {
        assert_eq!(ending(Path::new("a.b.NRRD")), ".nrrd");
        assert_eq!(ending(Path::new("a.nii.BZ2")), ".nii.bz2");
        assert_eq!(ending(Path::new("a.gz")), ".gz");
        assert_eq!(ending(Path::new("IM0001")), "");
    }
}
