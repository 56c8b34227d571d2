//! A model opened for running, whichever form it comes in.

use crate::args::{EngineChoice, PrecisionChoice, RunArgs};
use crate::exit::{Exit, Failure, OrExit};
use crate::process;
use scanside_core::arch::{Block, Isa, blocks_for, numbers_mut};
use scanside_core::manifest::Manifest;
use scanside_core::nnunet::{self, FoldName, ImportOptions};
use scanside_core::onnx::{self, OnnxEngine, Settings, pb::ModelProto};
use std::path::Path;

/// The checkpoint that nnU-Net's training ends with.
pub const DEFAULT_CHECKPOINT: &str = "checkpoint_final.pth";

/// How the arguments ask to prepare a network.
pub(crate) fn settings(how: &How<'_>) -> Settings {
    Settings { half: how.precision.half(), isa: how.isa }
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
pub struct Model {
    pub(crate) manifest: Manifest,
    pub(crate) engine: OnnxEngine,
    identity: String,
    graph_sha256: String,
    /// What was asked for.
    pub(crate) precision: PrecisionChoice,
    /// The process once the model was there, and the most it took until then.
    pub(crate) process_bytes: usize,
    pub(crate) loading_bytes: usize,
}

/// How to open a model.
#[derive(Debug)]
pub(crate) struct How<'a> {
    pub(crate) manifest: Option<&'a Path>,
    pub(crate) folds: &'a [String],
    pub(crate) checkpoint: &'a str,
    pub(crate) engine: EngineChoice,
    pub(crate) precision: PrecisionChoice,
    /// Instruction set of the kernels.
    pub(crate) isa: Isa,
}

impl Default for How<'_> {
    fn default() -> Self {
        How {
            manifest: None,
            folds: &[],
            checkpoint: DEFAULT_CHECKPOINT,
            engine: EngineChoice::Auto,
            precision: PrecisionChoice::Auto,
            isa: Isa::detect(),
        }
    }
}

/// A model's description and engine.
pub(crate) struct Opened {
    pub(crate) manifest: Manifest,
    pub(crate) engine: OnnxEngine,
    /// Hash over graph and weights.
    pub(crate) graph_sha256: String,
}

/// Opens a model of any form.
pub(crate) fn open(path: &Path, how: &How<'_>) -> Result<Opened, Failure> {
    if is_compiled(path) {
        return open_compiled(path, how);
    }
    let (manifest, proto) = read(path, how.manifest, how.folds, how.checkpoint)?;
    let graph_sha256 = onnx::graph_sha256(&proto);
    let engine = prepare(path, proto, &manifest, how)?;
    Ok(Opened { manifest, engine, graph_sha256 })
}

/// The engine for a graph.
pub(crate) fn prepare(
    path: &Path,
    proto: ModelProto,
    manifest: &Manifest,
    how: &How<'_>,
) -> Result<OnnxEngine, Failure> {
    let made = match how.engine {
        EngineChoice::Tract => OnnxEngine::tract(proto, manifest),
        EngineChoice::Auto | EngineChoice::Native => OnnxEngine::new(proto, manifest, settings(how)),
    };
    let made = made.or_exit_with(Exit::BadModel, || format!("{} cannot be run", path.display()))?;
    if let (EngineChoice::Native, Some(why)) = (how.engine, made.not_lowered()) {
        return Err(Failure::says(
            Exit::BadModel,
            format!("{} cannot run in our own kernels: {why}; use --engine auto or tract", path.display()),
        ));
    }
    Ok(made)
}

/// Whether a file starts as compiled models do.
pub(crate) fn is_compiled(path: &Path) -> bool {
    let mut start = [0u8; 8];
    let read = std::fs::File::open(path).and_then(|mut f| std::io::Read::read_exact(&mut f, &mut start));
    read.is_ok() && OnnxEngine::is_compiled(&start)
}

fn open_compiled(path: &Path, how: &How<'_>) -> Result<Opened, Failure> {
    let fixed = [
        (how.engine == EngineChoice::Tract, "--engine tract"),
        (how.precision != PrecisionChoice::Auto, "--precision"),
        (how.manifest.is_some(), "--manifest"),
        (!how.folds.is_empty(), "--folds"),
    ];
    if let Some((_, option)) = fixed.iter().find(|(given, _)| *given) {
        return Err(Failure::says(
            Exit::Usage,
            format!("{} is compiled, which fixed what {option} would choose; compile it anew", path.display()),
        ));
    }
    let cannot = || format!("{} cannot be read", path.display());
    let mut file = std::fs::File::open(path).or_exit_with(Exit::BadModel, cannot)?;
    let len = file.metadata().or_exit_with(Exit::BadModel, cannot)?.len() as usize;
    let mut blocks = Vec::new();
    blocks.try_reserve_exact(blocks_for(len)).or_exit_with(Exit::DoesNotFit, cannot)?;
    blocks.resize(blocks_for(len), Block::ZERO);
    // The networks read their weights where they lie, for as long as the program runs.
    let blocks: &'static mut [Block] = blocks.leak();
    let bytes = numbers_mut::<u8>(blocks);
    std::io::Read::read_exact(&mut file, &mut bytes[..len]).or_exit_with(Exit::BadModel, cannot)?;
    let (manifest, engine) = OnnxEngine::compiled(&bytes[..len], how.isa)
        .or_exit_with(Exit::BadModel, || format!("{} cannot be run", path.display()))?;
    let graph_sha256 = crate::digest::file_sha256(path).or_exit_with(Exit::BadModel, cannot)?;
    Ok(Opened { manifest, engine, graph_sha256 })
}

/// What a model says of itself.
pub(crate) fn manifest(path: &Path) -> Result<Manifest, Failure> {
    if is_compiled(path) {
        return Ok(open(path, &How::default())?.manifest);
    }
    Ok(read(path, None, &[], DEFAULT_CHECKPOINT)?.0)
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
        let how = How {
            manifest: args.manifest.as_deref(),
            folds: &args.folds,
            checkpoint: &args.checkpoint,
            engine: args.engine,
            precision: args.precision,
            ..How::default()
        };
        Model::of(open(&args.model, &how)?, args.precision)
    }

    /// Opens a self-describing ONNX file, an nnU-Net v2 model folder or a compiled model as it is.
    ///
    /// # Errors
    /// It cannot be read or run: a bad model.
    pub fn load(path: &Path) -> Result<Model, Failure> {
        Model::of(open(path, &How::default())?, PrecisionChoice::Auto)
    }

    /// A model that was just made; `name` is what errors call it.
    ///
    /// # Errors
    /// Its graph cannot be run: a bad model.
    pub fn of_graph(name: &Path, manifest: Manifest, proto: ModelProto) -> Result<Model, Failure> {
        let graph_sha256 = onnx::graph_sha256(&proto);
        let engine = prepare(name, proto, &manifest, &How::default())?;
        Model::of(Opened { manifest, engine, graph_sha256 }, PrecisionChoice::Auto)
    }

    fn of(opened: Opened, precision: PrecisionChoice) -> Result<Model, Failure> {
        let Opened { manifest, engine, graph_sha256 } = opened;
        // What was measured changes no label, and the hash inside the manifest says nothing new.
        let facts = serde_json::to_string(&manifest.without_measurements()).or_exit(Exit::BadModel)?;
        let identity = crate::digest::facts_sha256([graph_sha256.as_str(), &facts, &format!("{precision:?}")]);
        process::give_back();
        let (process_bytes, loading_bytes) = process::resident_bytes().unwrap_or_else(|| {
            let held = process::TYPICAL_PROCESS_BYTES + engine.weights_bytes();
            (held, 2 * held)
        });
        Ok(Model { manifest, engine, identity, graph_sha256, precision, process_bytes, loading_bytes })
    }

    /// What the model says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How many numbers its network learnt.
    pub fn parameters(&self) -> u64 {
        self.engine.summary().parameters
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
