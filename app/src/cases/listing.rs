//! What is in the input: files of one case, a folder, a list. No file of a scan is opened.

use super::left_out::{Counter, Reason};
use super::{Part, Selection, names};
use crate::error::{Error, ErrorKind, OrPathError};
use crate::input::{self, KeptFiles};
use scanside_formats::stem;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of the longest list that is read.
const MOST_LIST_BYTES: u64 = 64 << 20;

/// A file that should be a scan or a channel of one.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    /// Why it cannot be read.
    pub(super) fault: Option<String>,
}

/// Where files come from.
#[derive(Debug)]
pub(super) enum Origin {
    /// The files of one case.
    Files(Vec<PathBuf>),
    /// A folder's files.
    Folder { root: PathBuf, entries: Vec<Entry> },
    /// A list of scans.
    List { file: PathBuf, entries: Vec<Entry> },
}

/// The files that were found; [`Listing::cases`] puts them together.
#[derive(Debug)]
pub struct Listing {
    pub(super) origin: Origin,
    pub(super) part: Option<Part>,
    pub(super) left_out: Counter,
    pub(super) kept: KeptFiles,
}

impl Selection {
    /// Looks which files there are.
    ///
    /// # Errors
    /// Something that was named does not exist, is no regular file and no folder, or cannot be read; folders and files are
    /// mixed; an option does not suit the input.
    pub fn list(&self) -> Result<Listing, Error> {
        let usage = |sentence: String| Err(Error::new(ErrorKind::Usage, sentence));
        let mut kept = KeptFiles::default();
        for path in self.input.iter().chain(&self.list) {
            let about = input::look(ErrorKind::Input, path)?;
            kept.add_known_input(path, &about);
        }
        let mut listing =
            Listing { origin: Origin::Files(Vec::new()), part: self.part, left_out: Counter::default(), kept };
        let folder = self.input.iter().find(|path| path.is_dir());
        listing.origin = match (&self.list, folder, self.input.as_slice()) {
            (Some(list), _, []) if !self.recursive => Origin::List { file: list.clone(), entries: listing.read(list)? },
            (Some(_), _, []) => return usage("a list names scans, so there are no sub-folders to search".into()),
            (Some(list), ..) => {
                return usage(format!("give either scans or a list of them, not both ({})", list.display()));
            }
            (None, Some(root), [_]) => {
                let entries = listing.walk(root, self.recursive)?;
                Origin::Folder { root: root.clone(), entries }
            }
            (None, None, []) => return usage("no scan was given".into()),
            (None, Some(folder), _) => {
                let sentence = "is a folder; give either one folder or the channel files of one scan";
                return usage(format!("{} {sentence}", folder.display()));
            }
            (None, None, [first, ..]) if self.recursive || self.part.is_some() => {
                return usage(format!("{} is one scan: there are no sub-folders and no parts", first.display()));
            }
            (None, None, files) => Origin::Files(files.to_vec()),
        };
        Ok(listing)
    }
}

impl Listing {
    /// The scans of a text file, one a line. Names are bytes; empty lines are left out.
    fn read(&mut self, list: &Path) -> Result<Vec<Entry>, Error> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(list).or_cannot_read(ErrorKind::Input, list)?;
        file.take(MOST_LIST_BYTES + 1).read_to_end(&mut bytes).or_cannot_read(ErrorKind::Input, list)?;
        if bytes.len() as u64 > MOST_LIST_BYTES {
            let sentence = format!("{} is larger than {MOST_LIST_BYTES} bytes; is it a list?", list.display());
            return Err(Error::new(ErrorKind::Input, sentence).about(list));
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let mut entries = Vec::new();
        for line in bytes.split(|&b| b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let Some(path) = path_of(line) else {
                let sentence = format!("{} names files in another encoding than UTF-8", list.display());
                return Err(Error::new(ErrorKind::Input, sentence).about(list));
            };
            let fault = match input::look(ErrorKind::Input, &path) {
                Ok(about) if about.is_dir() => Some(format!("{} is a folder, not a scan", path.display())),
                Ok(about) => {
                    self.kept.add_known_input(&path, &about);
                    None
                }
                Err(error) => Some(error.chain()),
            };
            entries.push(Entry { path, fault });
        }
        if entries.is_empty() {
            return Err(Error::new(ErrorKind::Input, format!("{} names no scan", list.display())).about(list));
        }
        Ok(entries)
    }

    /// The files of a folder that are named like scans, sub-folders included if asked for. Links are followed; each folder
    /// is searched once.
    fn walk(&mut self, root: &Path, recursive: bool) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        let mut seen = BTreeSet::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            if recursive && !seen.insert(std::fs::canonicalize(&folder).or_cannot_read(ErrorKind::Input, &folder)?) {
                self.left_out.add(Reason::SameFolder, &folder);
                continue;
            }
            let mut inside = Vec::new();
            for entry in std::fs::read_dir(&folder).or_cannot_read(ErrorKind::Input, &folder)? {
                inside.push(entry.or_cannot_read(ErrorKind::Input, &folder)?.path());
            }
            // The same order on every machine, also among the names of what is left out.
            inside.sort();
            for path in inside {
                match self.look_at(path, recursive) {
                    Some(Looked::Folder(path)) => folders.push(path),
                    Some(Looked::Scan(entry)) => entries.push(entry),
                    None => {}
                }
            }
        }
        Ok(entries)
    }

    fn look_at(&mut self, path: PathBuf, recursive: bool) -> Option<Looked> {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let named_as_scan = stem(&path).is_some();
        if hidden {
            // Other hidden files belong to systems and programs, this one included.
            if named_as_scan {
                self.left_out.add(Reason::Hidden, &path);
            }
            return None;
        }
        let looked = input::look(ErrorKind::Input, &path);
        match looked {
            Ok(about) if about.is_dir() && recursive => return Some(Looked::Folder(path)),
            Ok(about) if about.is_dir() => self.left_out.add(Reason::SubFolder, &path),
            Ok(about) if named_as_scan => {
                self.kept.add_known_input(&path, &about);
                return Some(Looked::Scan(Entry { path, fault: None }));
            }
            // It is read with its header, which is the scan.
            Ok(about) if names::has_header(&path) => self.kept.add_known_input(&path, &about),
            Err(error) if named_as_scan => {
                return Some(Looked::Scan(Entry { path, fault: Some(error.chain()) }));
            }
            _ => self.left_out.add(Reason::NotRead(names::ending(&path)), &path),
        }
        None
    }
}

/// What is in a folder and matters.
enum Looked {
    Folder(PathBuf),
    Scan(Entry),
}

#[cfg(unix)]
fn path_of(line: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Some(std::ffi::OsStr::from_bytes(line).into())
}

#[cfg(not(unix))]
fn path_of(line: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(line).ok().map(PathBuf::from)
}
