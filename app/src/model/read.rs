//! A model's manifest, graph and engine, read from any form of model.

use super::options::{EngineChoice, ModelOptions, PrecisionChoice};
use crate::digest;
use crate::error::{Error, ErrorKind, OrError, OrPathError};
use scanside_core::manifest::Manifest;
use scanside_core::network::Image;
use scanside_core::nnunet::{self, ModelFolder};
use scanside_core::onnx::{self, OnnxEngine, OnnxModel};
use scanside_core::workspace::{Block, blocks_for, numbers, numbers_mut};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A model's manifest and engine.
pub(crate) struct Opened {
    pub(crate) manifest: Manifest,
    pub(crate) engine: OnnxEngine,
    /// Hash over graph and weights.
    pub(crate) graph_sha256: String,
}

/// Opens a model of any form.
pub(crate) fn open(path: &Path, options: &ModelOptions) -> Result<Opened, Error> {
    if !path.exists() {
        return Err(Error::missing(ErrorKind::Model, path));
    }
    if is_compiled(path) {
        return open_compiled(path, options);
    }
    if nnunet::is_model_folder(path) && options.engine != EngineChoice::Tract {
        // Not by way of an ONNX model, which would take several times the memory of the weights.
        let folder = ModelFolder::open(path, &options.import()).or_error(ErrorKind::Model)?;
        let made = folder.engine(options.settings()).or_error(ErrorKind::Model)?;
        check_choice(path, &made.engine, options)?;
        return Ok(Opened { manifest: made.manifest, engine: made.engine, graph_sha256: made.graph_sha256 });
    }
    let (manifest, model) = read(path, options)?;
    let graph_sha256 = model.graph_sha256();
    let engine = prepare(path, model, &manifest, options)?;
    Ok(Opened { manifest, engine, graph_sha256 })
}

/// The engine for a graph.
pub(crate) fn prepare(
    path: &Path,
    model: OnnxModel,
    manifest: &Manifest,
    options: &ModelOptions,
) -> Result<OnnxEngine, Error> {
    let made = match options.engine {
        EngineChoice::Tract => OnnxEngine::tract(model, manifest),
        EngineChoice::Auto | EngineChoice::Native => OnnxEngine::new(model, manifest, options.settings()),
    };
    let made = made.or_error_with(ErrorKind::Model, || format!("{} cannot be run", path.display()))?;
    check_choice(path, &made, options)?;
    Ok(made)
}

/// Whether the engine is of the kind that was chosen.
fn check_choice(path: &Path, engine: &OnnxEngine, options: &ModelOptions) -> Result<(), Error> {
    if let (EngineChoice::Native, Some(why)) = (options.engine, engine.not_lowered()) {
        let sentence =
            format!("{} cannot run in Scanside's own kernels: {why}; choose the engine auto or tract", path.display());
        return Err(Error::new(ErrorKind::Model, sentence).about(path));
    }
    Ok(())
}

/// Whether a file starts as compiled models do.
pub(crate) fn is_compiled(path: &Path) -> bool {
    let mut start = [0u8; 8];
    let read = File::open(path).and_then(|mut f| f.read_exact(&mut start));
    read.is_ok() && OnnxEngine::is_compiled(&start)
}

fn open_compiled(path: &Path, options: &ModelOptions) -> Result<Opened, Error> {
    let fixed = [
        (options.engine == EngineChoice::Tract, "another engine"),
        (options.precision != PrecisionChoice::Auto, "another precision"),
        (options.manifest.is_some(), "another manifest"),
        (!options.folds.is_empty(), "a choice of folds"),
    ];
    if let Some((_, what)) = fixed.iter().find(|(asked, _)| *asked) {
        let sentence = format!(
            "{} is a compiled model, so {what} cannot be used with it: that was fixed when it was compiled; compile the \
             original model again with this option",
            path.display()
        );
        return Err(Error::new(ErrorKind::Usage, sentence).about(path));
    }
    let (blocks, len) = read_blocks(path)?;
    // The networks read their weights where they lie, for as long as the program runs.
    let bytes: &'static [u8] = &numbers::<u8>(blocks.leak())[..len];
    let (manifest, engine) = OnnxEngine::compiled(bytes, options.isa)
        .or_error_with(ErrorKind::Model, || format!("{} cannot be run", path.display()))?;
    Ok(Opened { manifest, engine, graph_sha256: digest::sha256(bytes) })
}

/// A file's bytes, aligned as compiled models are read in place, and their number.
fn read_blocks(path: &Path) -> Result<(Vec<Block>, usize), Error> {
    let mut file = File::open(path).or_cannot_read(ErrorKind::Model, path)?;
    let len = file.metadata().or_cannot_read(ErrorKind::Model, path)?.len() as usize;
    let mut blocks = Vec::new();
    blocks.try_reserve_exact(blocks_for(len)).map_err(|e| Error::cannot_read(ErrorKind::DoesNotFit, path, e))?;
    blocks.resize(blocks_for(len), Block::ZERO);
    let bytes = &mut numbers_mut::<u8>(&mut blocks)[..len];
    file.read_exact(bytes).or_cannot_read(ErrorKind::Model, path)?;
    Ok((blocks, len))
}

/// A model's manifest. Its engine is not prepared.
///
/// # Errors
/// The model cannot be read.
pub fn manifest(path: &Path) -> Result<Manifest, Error> {
    let options = ModelOptions::default();
    if is_compiled(path) {
        let (blocks, len) = read_blocks(path)?;
        let bad = || format!("{} is no usable compiled model", path.display());
        let image = Image::open(&numbers(&blocks)[..len]).or_error_with(ErrorKind::Model, bad)?;
        let json = image.manifest_json().or_error_with(ErrorKind::Model, bad)?;
        return Manifest::from_json(json).or_error_with(ErrorKind::Model, bad);
    }
    if nnunet::is_model_folder(path) {
        return Ok(ModelFolder::open(path, &options.import()).or_error(ErrorKind::Model)?.manifest().clone());
    }
    Ok(read(path, &options)?.0)
}

/// Reads a model's manifest and graph.
pub(crate) fn read(path: &Path, options: &ModelOptions) -> Result<(Manifest, OnnxModel), Error> {
    if nnunet::is_model_folder(path) {
        return nnunet::import_folder(path, &options.import()).or_error(ErrorKind::Model);
    }
    if path.is_dir() {
        let sentence = format!(
            "{} is not an nnU-Net v2 model folder: it must hold plans.json, dataset.json and fold_* folders",
            path.display()
        );
        return Err(Error::new(ErrorKind::Model, sentence).about(path));
    }
    let loaded = onnx::load(path, options.manifest.as_deref()).or_error(ErrorKind::Model)?;
    Ok((loaded.manifest, loaded.model))
}
