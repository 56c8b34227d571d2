//! Models opened for running, whichever form they come in: self-describing ONNX files, nnU-Net v2 model folders, compiled
//! models.

mod convert;
mod options;
mod read;

pub use convert::{Written, compile, import};
pub use options::{DEFAULT_CHECKPOINT, EngineChoice, ModelOptions, PrecisionChoice, instruction_set};
pub use read::manifest;
pub(crate) use read::{Opened, open, open_undescribed, prepare};

use crate::digest;
use crate::error::{Error, ErrorKind, OrError};
use crate::machine;
use scanside_core::manifest::Manifest;
use scanside_core::nnunet::FoldChoice;
use scanside_core::onnx::{OnnxEngine, OnnxModel};
use std::path::Path;

/// How an engine stores its weights: `f32`, `f16` or `int8`.
pub(crate) fn precision_name(precision: PrecisionChoice, engine: &OnnxEngine) -> &'static str {
    match (precision.half(), engine.summary().precision) {
        (Some(true), "f32") => "f16",
        (Some(false), "f16") => "f32",
        (_, as_in_file) => as_in_file,
    }
}

/// A model with the engine that runs it.
pub struct Model {
    pub(crate) manifest: Manifest,
    pub(crate) engine: OnnxEngine,
    identity: String,
    graph_sha256: String,
    folds: Option<FoldChoice>,
    /// The precision that was asked for.
    pub(crate) precision: PrecisionChoice,
    /// Memory of the process once the model was loaded.
    pub(crate) process_bytes: usize,
    /// The most memory that the process took until then.
    pub(crate) loading_bytes: usize,
    /// What another process may take beyond `process_bytes`, so that a limit that is advised here suffices there.
    pub(crate) margin_bytes: usize,
}

impl Model {
    /// Opens a model of any form.
    ///
    /// # Errors
    /// It cannot be read or run, or the options contradict it.
    pub fn open(path: &Path, options: &ModelOptions) -> Result<Model, Error> {
        Model::of(open(path, options)?, options.precision)
    }

    /// A model whose graph is in memory; errors call it `name`.
    ///
    /// # Errors
    /// Its graph cannot be run.
    pub fn of_graph(name: &Path, manifest: Manifest, model: OnnxModel) -> Result<Model, Error> {
        let graph_sha256 = model.graph_sha256();
        let engine = prepare(name, model, &manifest, &ModelOptions::default())?;
        Model::of(Opened { manifest, engine, graph_sha256, folds: None }, PrecisionChoice::Auto)
    }

    fn of(opened: Opened, precision: PrecisionChoice) -> Result<Model, Error> {
        let Opened { manifest, engine, graph_sha256, folds } = opened;
        // Measurements change no label, and the hash inside the manifest repeats the graph's own.
        let facts = serde_json::to_string(&manifest.without_measurements()).or_error(ErrorKind::Internal)?;
        let identity = digest::facts_sha256([graph_sha256.as_str(), &facts, &format!("{precision:?}")]);
        machine::give_back();
        let (process_bytes, loading_bytes) = machine::resident_bytes().unwrap_or_else(|| {
            let held = machine::TYPICAL_PROCESS_BYTES + engine.weights_bytes();
            (held, 2 * held)
        });
        Ok(Model {
            manifest,
            engine,
            identity,
            graph_sha256,
            folds,
            precision,
            process_bytes,
            loading_bytes,
            margin_bytes: machine::BETWEEN_PROCESSES_BYTES,
        })
    }

    /// Adds what two processes that hold the same model may differ by, for a plan of a run in another process.
    #[must_use]
    pub fn for_another_process(mut self) -> Model {
        self.process_bytes += self.margin_bytes;
        self.loading_bytes += self.margin_bytes;
        self.margin_bytes = 0;
        self
    }

    /// The model's description of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The engine that runs its network.
    pub fn engine(&self) -> &OnnxEngine {
        &self.engine
    }

    /// How its weights are stored: `f32`, `f16` or `int8`.
    pub fn precision(&self) -> &'static str {
        precision_name(self.precision, &self.engine)
    }

    /// Number of parameters of its network.
    pub fn parameters(&self) -> u64 {
        self.engine.summary().parameters
    }

    /// The folds that are averaged of an nnU-Net folder, and those that are not.
    pub fn folds(&self) -> Option<&FoldChoice> {
        self.folds.as_ref()
    }

    /// Hash over graph and weights.
    pub fn graph_sha256(&self) -> &str {
        &self.graph_sha256
    }

    /// Hash over graph, weights and what the manifest says of both: the same for a folder and the ONNX file imported
    /// from it, and whatever was measured since.
    pub fn identity(&self) -> &str {
        &self.identity
    }
}
