//! Why an ONNX or compiled model cannot be used.

use std::any::Any;
use std::io;
use std::path::PathBuf;

use crate::manifest::ManifestError;
use thiserror::Error;

/// Why a model cannot be used.
///
/// A variant with a `source` does not repeat the source's words: print the whole chain.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The file could not be read.
    #[error("{} cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system reports.
        source: io::Error,
    },
    /// The file was read, and cannot be used as a model.
    #[error("{} cannot be used as a model", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<OnnxError>,
    },
    /// The bytes are not an ONNX model this program reads.
    #[error("not a usable ONNX file: {0}")]
    File(String),
    /// The bytes are not a compiled model this program reads.
    #[error("{0}")]
    Compiled(String),
    /// The graph cannot be used.
    #[error("the network graph cannot be used: {0}")]
    Graph(String),
    /// The graph library refused the graph.
    #[error("the network graph cannot be used")]
    Library {
        /// What the library reports.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Operators without an implementation, by name and first node.
    #[error("the network uses operators that are not supported: {0}")]
    Operators(String),
    /// The manifest is wrong or disagrees with the graph.
    #[error("the model's manifest is wrong: {0}")]
    Manifest(String),
    /// There is no manifest, or it leaves facts open.
    #[error("{0}")]
    ManifestMissing(String),
    /// The graph is not the one that the manifest was written for.
    #[error(
        "the model file was changed after its manifest was written: the hash of its graph and weights differs; \
         get the file again, or write the manifest into it again"
    )]
    Changed,
}

impl From<ManifestError> for OnnxError {
    fn from(e: ManifestError) -> Self {
        OnnxError::Manifest(e.to_string())
    }
}

impl OnnxError {
    pub(super) fn graph(e: tract_core::internal::TractError) -> OnnxError {
        OnnxError::Library { source: e.into() }
    }

    /// The graph library panicked; `payload` is what it panicked with.
    pub(super) fn panicked(payload: &(dyn Any + Send)) -> OnnxError {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("without a message");
        OnnxError::Graph(format!("the graph library failed on it ({text})"))
    }
}
