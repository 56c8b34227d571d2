//! The folder that a training works in.
//!
//! ```text
//! WORK/
//!   plans.json dataset.json dataset_fingerprint.json splits_final.json     as nnU-Net writes them
//!   source.json                                                            where the raw dataset lies
//!   cache/CASE.scase                                                       preprocessed cases
//!   soft/TEACHERS/CASE.ssoft                                               what teachers say of whole cases
//!   runs/NAME/                                                             one folder per training run
//! ```

use std::path::{Path, PathBuf};

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

    /// Folder of training runs.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }
}
