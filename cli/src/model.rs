//! A model opened for running, whichever form it comes in.

use crate::args::{EngineChoice, PrecisionChoice, RunArgs};
use crate::exit::{Exit, Failure, OrExit};
use crate::process;
use scanside_core::engine::Engine;
use scanside_core::manifest::Manifest;
use scanside_core::nnunet::{self, FoldName, ImportOptions};
use scanside_core::onnx::{self, OnnxEngine, Settings, pb::ModelProto};
use std::path::Path;

/// The checkpoint that nnU-Net's training ends with.
pub(crate) const DEFAULT_CHECKPOINT: &str = "checkpoint_final.pth";

/// How the arguments ask to prepare a network.
pub(crate) fn settings(precision: PrecisionChoice) -> Settings {
    Settings { half: precision.half(), ..Settings::default() }
}

/// What an engine prepared so stores: `f32`, `f16` or `int8`.
pub(crate) fn precision_name(precision: PrecisionChoice, engine: &OnnxEngine) -> &'static str {
    match (precision.half(), engine.summary().precision) {
        (Some(true), "f32") => "f16",
        (Some(false), "f16") => "f32",
        (_, as_in_file) => as_in_file,
    }
}

/// A model with the engine that runs it.
pub(crate) struct Model {
    pub(crate) manifest: Manifest,
    pub(crate) engine: OnnxEngine,
    /// Hash over graph, weights and manifest: the same for a folder and the ONNX file imported from it.
    pub(crate) identity: String,
    /// The process once the model was there, and the most it took until then.
    pub(crate) process_bytes: usize,
    pub(crate) loading_bytes: usize,
}

/// Reads a model's description and graph.
pub(crate) fn read(
    path: &Path,
    manifest: Option<&Path>,
    folds: &[String],
    checkpoint: &str,
) -> Result<(Manifest, ModelProto), Failure> {
    if nnunet::is_model_folder(path) {
        let options = import_options(folds, checkpoint)?;
        return nnunet::import_folder(path, &options).or_exit(Exit::BadModel);
    }
    if path.is_dir() {
        return Err(Failure::says(
            Exit::BadModel,
            format!(
                "{} is not an nnU-Net v2 model folder: plans.json and dataset.json with fold_* folders beside them are \
                 expected in it",
                path.display()
            ),
        ));
    }
    let loaded = onnx::load(path, manifest).or_exit(Exit::BadModel)?;
    Ok((loaded.manifest, loaded.proto))
}

/// What to take from an nnU-Net folder.
pub(crate) fn import_options(folds: &[String], checkpoint: &str) -> Result<ImportOptions, Failure> {
    let folds = folds
        .iter()
        .map(|f| {
            f.parse::<FoldName>().map_err(|_| {
                Failure::says(Exit::Usage, format!("{f:?} is not a fold; folds are numbers from 0, or all"))
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let folds = (!folds.is_empty()).then_some(folds);
    Ok(ImportOptions { folds, checkpoint: checkpoint.to_owned(), ..Default::default() })
}

impl Model {
    /// Opens the model that the arguments name.
    pub(crate) fn open(args: &RunArgs) -> Result<Model, Failure> {
        let (manifest, proto) = read(&args.model, args.manifest.as_deref(), &args.folds, &args.checkpoint)?;
        let graph = onnx::graph_sha256(&proto);
        // The hash inside the manifest is there in a file and not in a folder; it says nothing new.
        let facts = Manifest { graph_sha256: None, ..manifest.clone() };
        let facts = serde_json::to_string(&facts).or_exit(Exit::BadModel)?;
        let identity = crate::digest::facts_sha256([graph.as_str(), &facts, &format!("{:?}", args.precision)]);
        let engine = match args.engine {
            EngineChoice::Tract => OnnxEngine::tract(&proto, &manifest),
            EngineChoice::Auto | EngineChoice::Native => OnnxEngine::new(&proto, &manifest, settings(args.precision)),
        };
        let engine = engine.or_exit_with(Exit::BadModel, || format!("{} cannot be run", args.model.display()))?;
        if let (EngineChoice::Native, Some(why)) = (args.engine, engine.not_lowered()) {
            return Err(Failure::says(
                Exit::BadModel,
                format!("{} cannot run in our own kernels: {why}; use --engine auto or tract", args.model.display()),
            ));
        }
        drop(proto);
        process::give_back();
        let (process_bytes, loading_bytes) = process::resident_bytes().unwrap_or_else(|| {
            let held = process::TYPICAL_PROCESS_BYTES + engine.footprint(1).shared_bytes;
            (held, 2 * held)
        });
        Ok(Model { manifest, engine, identity, process_bytes, loading_bytes })
    }
}
