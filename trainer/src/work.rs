//! The work folder of a training.
//!
//! ```text
//! WORK/
//!   plans.json dataset.json dataset_fingerprint.json splits_final.json     as nnU-Net writes them
//!   source.json                                                            where the raw dataset is
//!   cache/CASE.scase                                                       preprocessed cases
//!   soft/TEACHERS/CASE.ssoft                                               soft labels of whole cases
//!   runs/NAME/                                                             one folder per training run
//!   report.html                                                            the page that compares them
//! ```

use scanside_app::error::{Error, ErrorKind, OrPathError};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest size of a JSON file beside a network: `plans.json`, `dataset.json` and such.
const MAX_JSON: u64 = 64 << 20;

/// A work folder; its files need not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    root: PathBuf,
}

impl Work {
    /// The work folder at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Work {
        Work { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// nnU-Net's `plans.json`.
    pub fn plans(&self) -> PathBuf {
        self.root.join("plans.json")
    }

    /// nnU-Net's `dataset.json`.
    pub fn dataset(&self) -> PathBuf {
        self.root.join("dataset.json")
    }

    /// nnU-Net's `dataset_fingerprint.json`.
    pub fn fingerprint(&self) -> PathBuf {
        self.root.join("dataset_fingerprint.json")
    }

    /// nnU-Net's `splits_final.json`.
    pub fn splits(&self) -> PathBuf {
        self.root.join("splits_final.json")
    }

    /// Where the raw dataset is, and the hashes of its files.
    pub fn source(&self) -> PathBuf {
        self.root.join("source.json")
    }

    /// Folder of preprocessed cases.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// The preprocessed case `id`.
    pub fn case(&self, id: &str) -> PathBuf {
        self.cache().join(format!("{id}.scase"))
    }

    /// Folder of soft labels of whole cases; `teachers` names them.
    pub fn soft(&self, teachers: &str) -> PathBuf {
        self.root.join("soft").join(teachers)
    }

    /// The page that compares the runs.
    pub fn page(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// Folder of training runs.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }
}

/// A JSON file's text.
///
/// # Errors
/// It cannot be read, or is too large.
pub fn read_text(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let file = File::open(path).or_cannot_read(ErrorKind::Input, path)?;
    file.take(MAX_JSON + 1).read_to_string(&mut text).or_cannot_read(ErrorKind::Input, path)?;
    if text.len() as u64 > MAX_JSON {
        let sentence = format!("{} has more than {MAX_JSON} bytes", path.display());
        return Err(Error::new(ErrorKind::Input, sentence).about(path));
    }
    Ok(text)
}
