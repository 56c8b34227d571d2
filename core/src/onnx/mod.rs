//! ONNX files: read safely, checked against their manifest, and run.
//!
//! [`load`] gives the graph and the manifest of a file; [`OnnxEngine`] runs it. A model file is one ONNX file with its
//! manifest inside; the manifest of another ONNX file is beside it (`model.scanside.json`), and perhaps its weights in a
//! second file of the same folder.
//!
//! tract and ONNX's protobuf are details of this module: no public signature of the crate names one of their types.

mod bounds;
mod compiled;
mod engine;
mod error;
mod external;
mod file;
pub(crate) mod foreign;
mod graph;
mod grid_op;
mod lower;
mod metadata;
mod model;
mod norm_op;
mod number;
mod outputs;
mod quantised;
mod resize;
#[cfg(test)]
mod tests;
mod tract_engine;
mod tract_plan;
mod widen;

pub use engine::{OnnxEngine, Settings};
pub use error::OnnxError;
pub use file::{LoadedModel, load};
pub use graph::Summary;
pub(crate) use model::GraphHash;
pub use model::OnnxModel;
