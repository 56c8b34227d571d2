//! Why a model folder cannot be imported.

use super::options::FoldName;
use super::pickle::PickleError;
use crate::manifest::ManifestError;
use crate::onnx::OnnxError;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a model folder cannot be imported. Each is a sentence that names the file.
///
/// A variant with a `source` does not repeat the source's words: print the whole chain.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NnUnetError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system reports.
        source: io::Error,
    },
    /// A JSON file is not JSON.
    #[error("{} is not valid JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// An entry of a JSON file is missing, or is something else than it should be.
    #[error("{}: `{field}` {problem}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The entry's keys, joined by dots.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The folder is sound, but asks for something this program does not do.
    #[error("{}: {what}", path.display())]
    Unsupported {
        /// The file that asks for it.
        path: PathBuf,
        /// What it asks for, and where possible what to do instead.
        what: String,
    },
    /// A checkpoint is not a zip archive, or a broken one.
    #[error("{} is not a readable PyTorch checkpoint", path.display())]
    Zip {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The pickle inside a checkpoint cannot be read, or is hostile.
    #[error("{} cannot be used", path.display())]
    Pickle {
        /// The checkpoint.
        path: PathBuf,
        /// Where and why.
        source: PickleError,
    },
    /// A checkpoint does not hold what it should.
    #[error("{}: {problem}", path.display())]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A checkpoint's tensors are not those of the planned network.
    #[error("{}", weights_sentence(path, missing, unexpected))]
    Weights {
        /// The checkpoint.
        path: PathBuf,
        /// Names the network needs and the checkpoint lacks.
        missing: Vec<String>,
        /// Names the checkpoint has and the network lacks.
        unexpected: Vec<String>,
    },
    /// A tensor has another shape than the planned network gives it.
    #[error("{}: `{name}` has shape {found:?}, but the network in plans.json needs {expected:?}", path.display())]
    TensorShape {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The network's shape.
        expected: Vec<usize>,
        /// The checkpoint's.
        found: Vec<usize>,
    },
    /// The folds together are larger than an ONNX file can be.
    #[error(
        "{folds} folds of {bytes_per_fold} bytes of weights exceed the {limit} bytes that one ONNX file can hold; \
         import fewer folds"
    )]
    TooLarge {
        /// Bytes of weights of one fold.
        bytes_per_fold: u64,
        /// Folds asked for.
        folds: usize,
        /// The most bytes an ONNX file may have.
        limit: u64,
    },
    /// The folder's files lead to a manifest that breaks a rule.
    #[error("the manifest made from the files of {} breaks a rule", path.display())]
    Manifest {
        /// The model folder.
        path: PathBuf,
        /// The rules that it breaks.
        source: ManifestError,
    },
    /// The network was read, and cannot be run.
    #[error("the network in {} cannot be run", path.display())]
    Engine {
        /// The model folder.
        path: PathBuf,
        /// Why.
        source: OnnxError,
    },
    /// The trainer does not come with nnU-Net, and was not trusted.
    #[error(
        "{}: the trainer {name} does not come with nnU-Net and may build another network than plans.json says; if it \
         changes only the training, trust it", path.display()
    )]
    UnknownTrainer {
        /// The checkpoint.
        path: PathBuf,
        /// The trainer's class.
        name: String,
    },
    /// There is no trained fold in the folder.
    #[error("{} has no fold_0, fold_1 ... or fold_all with a {checkpoint} in it{}", path.display(), instead(others))]
    NoFold {
        /// The model folder.
        path: PathBuf,
        /// The checkpoint file looked for in each fold.
        checkpoint: String,
        /// Checkpoints that are there.
        others: Vec<String>,
    },
    /// A fold that was named has no such checkpoint.
    #[error("{} has no {checkpoint}{}", path.display(), instead(others))]
    NoCheckpoint {
        /// The fold's folder.
        path: PathBuf,
        /// The checkpoint file looked for.
        checkpoint: String,
        /// Checkpoints that are there.
        others: Vec<String>,
    },
    /// No fold was named, and there is none of those that are taken then.
    #[error(
        "{} has no fold from 0 to 4, which are averaged where none is named; it has {}", path.display(), list(folds)
    )]
    OtherFolds {
        /// The model folder.
        path: PathBuf,
        /// The folds that it has.
        folds: Vec<FoldName>,
    },
}

fn list(parts: &[impl ToString]) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What is there instead of what was looked for.
fn instead(others: &[String]) -> String {
    match others {
        [] => String::new(),
        [one] => format!("; there is {one}"),
        several => format!("; there are {}", list(several)),
    }
}

impl NnUnetError {
    /// What the archive's reader reports about the checkpoint at `path`.
    pub(super) fn zip(path: &Path, source: zip::result::ZipError) -> NnUnetError {
        NnUnetError::Zip { path: path.to_path_buf(), source: source.into() }
    }
}

/// The first few names of a list, for a sentence.
fn few(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut text = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

fn weights_sentence(path: &Path, missing: &[String], unexpected: &[String]) -> String {
    let mut reasons = Vec::new();
    if !missing.is_empty() {
        reasons.push(format!("{} tensors are missing ({})", missing.len(), few(missing)));
    }
    if !unexpected.is_empty() {
        reasons.push(format!("{} are not part of it ({})", unexpected.len(), few(unexpected)));
    }
    format!("{} does not fit the network in plans.json: {}", path.display(), reasons.join(" and "))
}
