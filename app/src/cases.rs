//! Which files make which case: single scans, channel files, folders in nnU-Net's naming.

use crate::error::{Error, ErrorKind, OrPathError};
use scanside_core::volume::Reader;
use scanside_formats::{Scan, endings, stem};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// One scan: a name and its channel files in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The name that messages use.
    pub name: String,
    /// One file per channel, or one file with all of them.
    pub channels: Vec<PathBuf>,
}

impl Case {
    /// Opens its files by the rules of `reader`: reads headers, not voxels.
    ///
    /// # Errors
    /// A file is missing, denied, cut off or malformed, or the channels do not lie on one grid.
    pub fn open(&self, reader: Reader) -> Result<Scan, Error> {
        Scan::open_as(&self.channels, reader).map_err(|e| Error::of(ErrorKind::Input, e))
    }
}

/// The cases of an input, and what is wrong with files that make none.
#[derive(Debug, PartialEq, Eq)]
pub struct Cases {
    /// Cases whose files are all there.
    pub good: Vec<Case>,
    /// Files that belong to no complete case: a name, and the reason as a sentence.
    pub bad: Vec<(String, String)>,
    /// The input was a folder.
    pub folder: bool,
}

/// Splits `CASE_0001` into `CASE` and 1.
fn split_channel(stem: &str) -> Option<(&str, usize)> {
    let (case, digits) = stem.rsplit_once('_')?;
    let numbered = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()) && !case.is_empty();
    if numbered { Some((case, digits.parse().ok()?)) } else { None }
}

/// Whether all of the input exists.
///
/// # Errors
/// Something does not.
pub fn check_input(input: &[PathBuf]) -> Result<(), Error> {
    match input.iter().find(|path| !path.exists()) {
        Some(missing) => Err(Error::missing(ErrorKind::Input, missing)),
        None => Ok(()),
    }
}

/// Finds the cases of `input` for a model with `channels` channels: one folder of cases, or the files of one case.
///
/// # Errors
/// The input does not exist, mixes folders and files, cannot be read, or holds no scan.
pub fn find(input: &[PathBuf], channels: usize) -> Result<Cases, Error> {
    check_input(input)?;
    match input {
        [] => Err(Error::new(ErrorKind::Usage, "no scan was given")),
        [one] if one.is_dir() => from_folder(one, channels),
        [one] => Ok(single(with_siblings(one, channels))),
        several => {
            if let Some(folder) = several.iter().find(|p| p.is_dir()) {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!(
                        "{} is a folder; give either one folder or the channel files of one scan",
                        folder.display()
                    ),
                ));
            }
            Ok(single(several.to_vec()))
        }
    }
}

fn single(channels: Vec<PathBuf>) -> Cases {
    let stem = stem(&channels[0]).and_then(OsStr::to_str).map_or_else(
        || channels[0].file_name().map_or("scan".into(), |n| n.to_string_lossy().into_owned()),
        str::to_owned,
    );
    let name = split_channel(&stem).map_or(stem.as_str(), |(case, _)| case).to_owned();
    Cases { good: vec![Case { name, channels }], bad: Vec::new(), folder: false }
}

/// The first of several channel files stands for all of them.
fn with_siblings(first: &Path, channels: usize) -> Vec<PathBuf> {
    let only = vec![first.to_owned()];
    let Some((case, 0)) = stem(first).and_then(OsStr::to_str).and_then(split_channel) else { return only };
    let name = first.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let ending = endings().find(|ending| name.ends_with(ending)).unwrap_or_default();
    let all: Vec<PathBuf> = (0..channels).map(|c| first.with_file_name(format!("{case}_{c:04}{ending}"))).collect();
    if all.iter().all(|p| p.is_file()) { all } else { only }
}

fn from_folder(folder: &Path, channels: usize) -> Result<Cases, Error> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).or_cannot_read(ErrorKind::Input, folder)? {
        let path = entry.or_cannot_read(ErrorKind::Input, folder)?.path();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if path.is_file() && !hidden && stem(&path).is_some() {
            files.push(path);
        }
    }
    files.sort();
    let cases = group(&files, channels);
    if cases.good.is_empty() && cases.bad.is_empty() {
        return Err(Error::new(
            ErrorKind::Input,
            format!(
                "{} holds no scans ({}); cases are named CASE_0000.nii.gz, CASE_0001.nii.gz ...",
                folder.display(),
                endings().collect::<Vec<_>>().join(", ")
            ),
        ));
    }
    Ok(cases)
}

fn group(files: &[PathBuf], channels: usize) -> Cases {
    let mut found: BTreeMap<String, BTreeMap<usize, PathBuf>> = BTreeMap::new();
    let mut bad = Vec::new();
    for path in files {
        let Some(stem) = stem(path).and_then(OsStr::to_str) else { continue };
        match split_channel(stem) {
            Some((case, channel)) => {
                if let Some(twin) = found.entry(case.to_owned()).or_default().insert(channel, path.clone()) {
                    bad.push((
                        case.to_owned(),
                        format!("channel {channel} is given twice: {} and {}", twin.display(), path.display()),
                    ));
                }
            }
            None => bad.push((
                stem.to_owned(),
                format!("{} has no channel number; name it {stem}_0000 to segment it", path.display()),
            )),
        }
    }
    let twice: Vec<String> = bad.iter().map(|(name, _)| name.clone()).collect();
    let mut good = Vec::new();
    for (name, files) in found {
        let numbers: Vec<usize> = files.keys().copied().collect();
        if twice.contains(&name) {
            continue;
        }
        if numbers.iter().copied().eq(0..channels) {
            good.push(Case { name, channels: files.into_values().collect() });
        } else {
            let list = |numbers: &mut dyn Iterator<Item = usize>| {
                numbers.map(|c| format!("{c:04}")).collect::<Vec<_>>().join(", ")
            };
            let mut sentence = format!("the model takes {channels} channel(s); the folder has channel(s) ");
            sentence += &list(&mut numbers.iter().copied());
            let missing = list(&mut (0..channels).filter(|c| !numbers.contains(c)));
            if !missing.is_empty() {
                sentence += &format!("; missing: {missing}");
            }
            bad.push((name, sentence));
        }
    }
    bad.sort();
    Cases { good, bad, folder: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn channels_group_by_case_and_orphans_are_named() {
        let files = paths(&["a_0000.nii.gz", "a_0001.nii.gz", "b_0001.nii.gz", "c.nii.gz", "d_0000.nii", "d_0001.nii"]);
        let cases = group(&files, 2);
        let names: Vec<&str> = cases.good.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["a", "d"]);
        assert_eq!(cases.bad.len(), 2);
        assert!(cases.bad[0].1.contains("missing: 0000"), "{:?}", cases.bad);
        assert!(cases.bad[1].1.contains("no channel number"), "{:?}", cases.bad);
    }

    #[test]
    fn a_channel_given_twice_is_no_case() {
        let cases = group(&paths(&["a_0000.nii", "a_0000.nii.gz"]), 1);
        assert!(cases.good.is_empty());
        assert!(cases.bad[0].1.contains("twice"));
    }

    #[test]
    fn names_lose_their_channel() {
        assert_eq!(split_channel("scan_0001"), Some(("scan", 1)));
        assert_eq!(split_channel("scan_001"), None);
        assert_eq!(single(paths(&["p/q_0000.nii.gz"])).good[0].name, "q");
    }
}
