//! A model's manifest, graph and engine, read from any form of model.

use super::options::{EngineChoice, ModelOptions, PrecisionChoice};
use crate::digest;
use crate::error::{Error, ErrorKind, OrError, OrPathError};
use crate::input;
use scanside_core::manifest::Manifest;
use scanside_core::network::Image;
use scanside_core::nnunet::{self, FoldChoice, ModelFolder};
use scanside_core::onnx::{self, OnnxEngine, OnnxModel};
use scanside_core::workspace::{Block, blocks_for, numbers, numbers_mut};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A model's manifest and engine.
pub(crate) struct Opened {
    pub(crate) manifest: Manifest,
    pub(crate) engine: OnnxEngine,
    /// Hash over graph and weights.
    pub(crate) graph_sha256: String,
    /// The folds of an nnU-Net folder.
    pub(crate) folds: Option<FoldChoice>,
}

/// Opens a model of any form.
pub(crate) fn open(path: &Path, options: &ModelOptions) -> Result<Opened, Error> {
    check_files(path, options)?;
    if is_compiled(path) {
        return open_compiled(path, options);
    }
    if nnunet::is_model_folder(path) && options.engine != EngineChoice::Tract {
        // Not by way of an ONNX model, which would take several times the memory of the weights.
        let folder = ModelFolder::open(path, &options.import()).or_error(ErrorKind::Model)?;
        let folds = Some(folder.folds().clone());
        let made = folder.engine(options.settings()?).or_error(ErrorKind::Model)?;
        check_choice(path, &made.engine, options)?;
        return Ok(Opened { manifest: made.manifest, engine: made.engine, graph_sha256: made.graph_sha256, folds });
    }
    let Described { manifest, model, folds } = read(path, options)?;
    let graph_sha256 = model.graph_sha256();
    let engine = prepare(path, model, &manifest, options)?;
    Ok(Opened { manifest, engine, graph_sha256, folds })
}

/// As [`open`], and without a description where there is none: an ONNX file is then described by its graph alone, which
/// is enough to run a patch, and nothing is known of scans.
pub(crate) fn open_undescribed(path: &Path, options: &ModelOptions) -> Result<(Opened, bool), Error> {
    check_files(path, options)?;
    if path.is_dir() || is_compiled(path) {
        return Ok((open(path, options)?, true));
    }
    let model = OnnxModel::read(path).or_error(ErrorKind::Model)?;
    let found = model.find_manifest(path, options.manifest.as_deref()).or_error(ErrorKind::Model)?;
    let described = found.is_some();
    let manifest = match found {
        Some(manifest) => manifest,
        None => model.neutral_manifest().or_error_with(ErrorKind::Model, || {
            format!("{} has no manifest, and its graph alone does not tell how to run it", path.display())
        })?,
    };
    let graph_sha256 = model.graph_sha256();
    let engine = prepare(path, model, &manifest, options)?;
    Ok((Opened { manifest, engine, graph_sha256, folds: None }, described))
}

/// Refuses what cannot be read as a model and its manifest, before anything opens it. Of an nnU-Net folder, the files in
/// it and in the folders of its folds.
fn check_files(path: &Path, options: &ModelOptions) -> Result<(), Error> {
    let inside = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_fold = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"fold_"));
    input::check(ErrorKind::Model, path)?;
    options.manifest.iter().try_for_each(|path| input::check(ErrorKind::Model, path))?;
    if nnunet::is_model_folder(path) {
        let folds = inside(path).filter(is_fold).flat_map(|fold| inside(&fold));
        inside(path)
            .chain(folds)
            .filter(|file| file.exists())
            .try_for_each(|file| input::check(ErrorKind::Model, &file))?;
    }
    Ok(())
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
        EngineChoice::Auto | EngineChoice::Native => OnnxEngine::new(model, manifest, options.settings()?),
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
    let (manifest, engine) = OnnxEngine::compiled(bytes, options.isa()?)
        .or_error_with(ErrorKind::Model, || format!("{} cannot be run", path.display()))?;
    Ok(Opened { manifest, engine, graph_sha256: digest::sha256(bytes), folds: None })
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
pub fn manifest(path: &Path, options: &ModelOptions) -> Result<Manifest, Error> {
    check_files(path, options)?;
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
    Ok(read(path, options)?.manifest)
}

/// A model's manifest and graph.
pub(crate) struct Described {
    pub(crate) manifest: Manifest,
    pub(crate) model: OnnxModel,
    /// The folds of an nnU-Net folder.
    pub(crate) folds: Option<FoldChoice>,
}

/// Reads a model's manifest and graph.
pub(crate) fn read(path: &Path, options: &ModelOptions) -> Result<Described, Error> {
    if nnunet::is_model_folder(path) {
        let mut folder = ModelFolder::open(path, &options.import()).or_error(ErrorKind::Model)?;
        let model = folder.to_onnx().or_error(ErrorKind::Model)?;
        return Ok(Described { manifest: folder.manifest().clone(), model, folds: Some(folder.folds().clone()) });
    }
    if path.is_dir() {
        return Err(Error::new(ErrorKind::Model, not_a_model_folder(path)).about(path));
    }
    let loaded = onnx::load(path, options.manifest.as_deref()).or_error(ErrorKind::Model)?;
    Ok(Described { manifest: loaded.manifest, model: loaded.model, folds: None })
}

/// What a folder lacks to be a model, and where the model is instead.
fn not_a_model_folder(path: &Path) -> String {
    let is_fold = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("fold_"));
    if let Some(parent) = path.parent().filter(|parent| is_fold && nnunet::is_model_folder(parent)) {
        return format!("{} is one fold of a model; give {} and choose the fold", path.display(), parent.display());
    }
    let below = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut models: Vec<PathBuf> = below.filter(|folder| nnunet::is_model_folder(folder)).collect();
    models.sort();
    let what = if path.join("plans.pkl").is_file() {
        "is a model folder of nnU-Net v1, which is not supported"
    } else {
        "is not an nnU-Net v2 model folder: it must hold plans.json, dataset.json and fold_* folders"
    };
    let instead = models.first().map_or(String::new(), |model| format!("; {} is one", model.display()));
    format!("{} {what}{instead}", path.display())
}
