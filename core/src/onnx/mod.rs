//! ONNX files: read safely, checked against their manifest, and run.
//!
//! [`load`] gives the graph and the manifest of a file; [`OnnxEngine`] runs it. A model file is one ONNX file with its
//! manifest inside; a foreign ONNX file brings the manifest beside it (`model.scanside.json`).

mod compiled;
mod engine;
mod file;
mod graph;
mod grid_op;
mod lower;
mod metadata;
mod norm_op;
mod quantised;
mod resize;
mod tract_engine;
mod tract_plan;

use crate::manifest::ManifestError;
use std::fmt;
use std::path::PathBuf;

pub use engine::{OnnxEngine, Settings};
pub use file::{LoadedModel, graph_sha256, load, parse_model, write_model};
pub use graph::Summary;
pub use metadata::{embed, extract, manifest_check, neutral_manifest};
pub use tract_engine::TractEngine;
pub use tract_onnx::pb;

/// Why a model cannot be used. Each is a sentence for the user.
#[derive(Debug)]
#[non_exhaustive]
pub enum OnnxError {
    /// The file could not be read or written.
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are not an ONNX model this program reads.
    File(String),
    /// The bytes are not a compiled model this program reads.
    Compiled(String),
    /// The graph cannot be used.
    Graph(String),
    /// Operators without an implementation, by name and first node.
    Operators(String),
    /// The manifest is wrong or disagrees with the graph.
    Manifest(String),
    /// There is no manifest, or it leaves facts open.
    ManifestMissing(String),
    /// The graph is not the one that the manifest was written for.
    Changed,
}

impl OnnxError {
    fn graph(e: tract_core::internal::TractError) -> OnnxError {
        OnnxError::Graph(format!("{e:#}"))
    }
}

impl From<ManifestError> for OnnxError {
    fn from(e: ManifestError) -> Self {
        OnnxError::Manifest(e.to_string())
    }
}

impl fmt::Display for OnnxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OnnxError::Io { path, source } => write!(f, "{}: {source}", path.display()),
            OnnxError::File(why) => write!(f, "not a usable ONNX file: {why}"),
            OnnxError::Compiled(why) => f.write_str(why),
            OnnxError::Graph(why) => write!(f, "the network graph cannot be used: {why}"),
            OnnxError::Operators(list) => write!(f, "the network uses operators that are not supported: {list}"),
            OnnxError::Manifest(why) => write!(f, "the model's manifest is wrong: {why}"),
            OnnxError::ManifestMissing(why) => f.write_str(why),
            OnnxError::Changed => f.write_str(
                "the model file was changed after its manifest was written: the hash of its graph and weights differs; \
                 get the file again, or embed the manifest anew",
            ),
        }
    }
}

impl std::error::Error for OnnxError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OnnxError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
