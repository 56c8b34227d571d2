//! Why a model folder cannot be imported.

use super::pickle::PickleError;
use crate::manifest::ManifestError;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a model folder cannot be imported. Each is a sentence that names the file.
#[derive(Debug)]
#[non_exhaustive]
pub enum NnUnetError {
    /// A file cannot be read.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A JSON file is not JSON.
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A JSON file holds a number that JSON does not have; Python writes them nevertheless.
    NotFinite {
        /// The file.
        path: PathBuf,
        /// `NaN`, `Infinity` or `-Infinity`.
        literal: &'static str,
        /// Its line, counted from 1.
        line: usize,
    },
    /// An entry of a JSON file is missing, or is something else than it should be.
    Field {
        /// The file.
        path: PathBuf,
        /// The entry's keys, joined by dots.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The folder is sound, but asks for something this program does not do.
    Unsupported {
        /// The file that asks for it.
        path: PathBuf,
        /// What it asks for, and where possible what to do instead.
        what: String,
    },
    /// A checkpoint is not a zip archive, or a broken one.
    Zip {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        source: zip::result::ZipError,
    },
    /// The pickle inside a checkpoint cannot be read, or is hostile.
    Pickle {
        /// The checkpoint.
        path: PathBuf,
        /// Where and why.
        source: PickleError,
    },
    /// A checkpoint does not hold what it should.
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A checkpoint's tensors are not those of the planned network.
    Weights {
        /// The checkpoint.
        path: PathBuf,
        /// Names the network needs and the checkpoint lacks.
        missing: Vec<String>,
        /// Names the checkpoint has and the network lacks.
        unexpected: Vec<String>,
    },
    /// A tensor has another shape than the planned network gives it.
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
    TooLarge {
        /// Bytes of weights of one fold.
        bytes_per_fold: u64,
        /// Folds asked for.
        folds: usize,
        /// The most bytes an ONNX file may have.
        limit: u64,
    },
    /// The folder's files lead to a manifest that breaks a rule.
    Manifest {
        /// The model folder.
        path: PathBuf,
        /// The rules that it breaks.
        source: ManifestError,
    },
    /// There is no trained fold in the folder.
    NoFold {
        /// The model folder.
        path: PathBuf,
        /// The checkpoint file looked for in each fold.
        checkpoint: String,
    },
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

impl fmt::Display for NnUnetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NnUnetError::Io { path, source } => {
                write!(f, "{} cannot be read: {source}", path.display())
            }
            NnUnetError::Json { path, source } => {
                write!(f, "{} is not valid JSON: {source}", path.display())
            }
            NnUnetError::NotFinite { path, literal, line } => write!(
                f,
                "{} has {literal} on line {line}, which is not a number in JSON; replace it by a number",
                path.display()
            ),
            NnUnetError::Field { path, field, problem } => {
                write!(f, "{}: `{field}` {problem}", path.display())
            }
            NnUnetError::Unsupported { path, what } => write!(f, "{}: {what}", path.display()),
            NnUnetError::Zip { path, source } => {
                write!(f, "{} is not a readable PyTorch checkpoint: {source}", path.display())
            }
            NnUnetError::Pickle { path, source } => write!(f, "{}: {source}", path.display()),
            NnUnetError::Checkpoint { path, problem } => write!(f, "{}: {problem}", path.display()),
            NnUnetError::Weights { path, missing, unexpected } => {
                write!(f, "{} does not fit the network in plans.json:", path.display())?;
                if !missing.is_empty() {
                    write!(f, " {} tensors are missing ({})", missing.len(), few(missing))?;
                }
                if !missing.is_empty() && !unexpected.is_empty() {
                    f.write_str(" and")?;
                }
                if !unexpected.is_empty() {
                    write!(f, " {} are not part of it ({})", unexpected.len(), few(unexpected))?;
                }
                Ok(())
            }
            NnUnetError::TensorShape { path, name, expected, found } => write!(
                f,
                "{}: `{name}` has shape {found:?}, but the network in plans.json needs {expected:?}",
                path.display()
            ),
            NnUnetError::TooLarge { bytes_per_fold, folds, limit } => write!(
                f,
                "{folds} folds of {bytes_per_fold} bytes of weights do not fit one ONNX file, which ends at {limit} \
                 bytes; import fewer folds"
            ),
            NnUnetError::Manifest { path, source } => write!(f, "{}: {source}", path.display()),
            NnUnetError::NoFold { path, checkpoint } => {
                write!(f, "{} has no fold_0, fold_1 ... or fold_all with a {checkpoint} in it", path.display())
            }
        }
    }
}

impl std::error::Error for NnUnetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NnUnetError::Io { source, .. } => Some(source),
            NnUnetError::Json { source, .. } => Some(source),
            NnUnetError::Zip { source, .. } => Some(source),
            NnUnetError::Pickle { source, .. } => Some(source),
            NnUnetError::Manifest { source, .. } => Some(source),
            _ => None,
        }
    }
}
