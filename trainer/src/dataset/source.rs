//! Hashes of the raw files when a dataset was prepared, and of the files written then: `source.json` of the work folder.

use super::raw::{RawCase, RawDataset};
use crate::work::Work;
use rayon::prelude::*;
use scanside_app::digest;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::output::write_whole;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The raw files of a dataset and their hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Folder of the dataset.
    pub folder: PathBuf,
    /// SHA-256 over the dataset that was examined without faults, and whose fingerprint is beside this file.
    pub examined: Option<String>,
    /// SHA-256 of files of the work folder as this program last wrote them, by name. A file that differs was edited.
    pub written: BTreeMap<String, String>,
    /// Every image and label file that can be read.
    files: BTreeMap<PathBuf, SourceFile>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SourceFile {
    bytes: u64,
    /// Nanoseconds since 1970.
    modified: u64,
    sha256: String,
}

impl Source {
    /// Hashes the files of a dataset on the threads of the current pool. Those that `known` has with the same size and
    /// time are not read again. A file that cannot be read is left out; examining the dataset reports it.
    pub fn of(raw: &RawDataset, known: Source) -> Source {
        let paths: BTreeSet<&Path> =
            raw.cases.iter().flat_map(|case| case.images.iter().chain([&case.label])).map(PathBuf::as_path).collect();
        let files = paths.into_par_iter().filter_map(|path| {
            let about = std::fs::metadata(path).ok()?;
            let modified = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let (bytes, modified) = (about.len(), modified.map_or(0, |time| time.as_nanos() as u64));
            let file = match known.files.get(path) {
                Some(file) if file.bytes == bytes && file.modified == modified && modified != 0 => file.clone(),
                _ => SourceFile { bytes, modified, sha256: digest::file_sha256(path).ok()? },
            };
            Some((path.to_path_buf(), file))
        });
        Source { files: files.collect(), folder: raw.folder.clone(), ..known }
    }

    /// Reads `source.json`.
    ///
    /// # Errors
    /// The file is missing or wrong.
    pub fn read(work: &Work) -> Result<Source, Error> {
        let path = work.source();
        let cannot = || format!("{} cannot be read; run scanside-train plan first", path.display());
        let text = std::fs::read_to_string(&path).or_error_with(ErrorKind::Input, cannot)?;
        serde_json::from_str(&text).or_error_with(ErrorKind::Input, cannot)
    }

    /// Writes `source.json`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, work: &Work) -> Result<(), Error> {
        let json = serde_json::to_vec_pretty(self).or_error(ErrorKind::Internal)?;
        write_whole(&work.source(), &json)
    }

    /// A hash over the contents of a case's files.
    pub fn case_sha256(&self, case: &RawCase) -> String {
        let mut hash = Sha256::new();
        for path in case.images.iter().chain([&case.label]) {
            hash.update(self.files.get(path).map_or("", |file| &file.sha256));
            hash.update(b"\n");
        }
        digest::hex(&hash.finalize())
    }

    /// A hash over a whole dataset: `dataset.json`, the cases' names and contents.
    pub fn dataset_sha256(&self, raw: &RawDataset) -> String {
        let mut hash = Sha256::new();
        hash.update(text_sha256(&raw.json));
        for case in &raw.cases {
            hash.update(text_sha256(&case.id));
            hash.update(self.case_sha256(case));
        }
        digest::hex(&hash.finalize())
    }

    /// Pairs of cases with the same images, byte for byte.
    pub fn twins<'a>(&self, raw: &'a RawDataset) -> Vec<(&'a str, &'a str)> {
        let mut seen: BTreeMap<Vec<&str>, &str> = BTreeMap::new();
        let mut twins = Vec::new();
        for case in &raw.cases {
            let hashes: Option<Vec<&str>> =
                case.images.iter().map(|path| self.files.get(path).map(|file| file.sha256.as_str())).collect();
            if let Some(other) = hashes.and_then(|hashes| seen.insert(hashes, &case.id)) {
                twins.push((other, case.id.as_str()));
            }
        }
        twins
    }
}

/// SHA-256 of a text, lower-case hex.
pub fn text_sha256(text: &str) -> String {
    digest::sha256(text.as_bytes())
}
