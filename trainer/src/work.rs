//! The folder that a training works in.
//!
//! ```text
//! WORK/
//!   plans.json dataset.json dataset_fingerprint.json splits_final.json     as nnU-Net writes them
//!   source.json                                                            where the raw dataset lies
//!   cache/CASE.scase                                                       preprocessed cases
//!   soft/TEACHERS/CASE.ssoft                                               what teachers say of whole cases
//!   runs/NAME/                                                             one folder per training run
//!   report.html                                                            the page that compares them
//! ```

use scanside_app::error::{Error, ErrorKind, OrError};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most bytes of a JSON file beside a network: `plans.json`, `dataset.json` and such.
const MAX_JSON: u64 = 64 << 20;

/// A work folder; its files may or may not be there yet.
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

    /// Where the raw dataset lies, and what its files were.
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

    /// Folder of what teachers say of whole cases; `teachers` names them.
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
/// It cannot be read, or is larger than such files are.
pub fn read_text(path: &Path) -> Result<String, Error> {
    let told = || format!("{} cannot be read", path.display());
    let mut text = String::new();
    let file = File::open(path).or_error_with(ErrorKind::Input, told)?;
    file.take(MAX_JSON + 1).read_to_string(&mut text).or_error_with(ErrorKind::Input, told)?;
    if text.len() as u64 > MAX_JSON {
        return Err(Error::new(ErrorKind::Input, format!("{} has more than {MAX_JSON} bytes", path.display())));
    }
    Ok(text)
}
