//! A model folder: which of its folds are taken, and what they become.

use super::architecture::{Norm, UNet};
use super::checkpoint::Checkpoint;
use super::describe::{manifest, mirror_axes, provenance};
use super::error::NnUnetError;
use super::folds::{FoldChoice, checkpoint_path, fold_name};
use super::labels::Dataset;
use super::layers::Layers;
use super::options::ImportOptions;
use super::plans::Plans;
use super::skeleton::Skeleton;
use super::to_network::{Plan, Stop};
use super::to_onnx::ModelBuilder;
use super::trainers::{self, Trainer};
use super::training_data;
use crate::digest::file_sha256;
use crate::manifest::Manifest;
use crate::network::{NativeEngine, Network};
use crate::onnx::{OnnxEngine, OnnxModel, Settings};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

/// A protobuf message ends at 2 GiB; 64 MiB are left for names and the manifest.
const MAX_WEIGHT_BYTES: u64 = (2 << 30) - (64 << 20);

/// True if `path` looks like a trained model folder: both JSON files and at least one fold are there.
pub fn is_model_folder(path: &Path) -> bool {
    path.join("dataset.json").is_file()
        && path.join("plans.json").is_file()
        && fs::read_dir(path).is_ok_and(|entries| {
            entries.flatten().any(|entry| fold_name(&entry.file_name()).is_some() && entry.path().is_dir())
        })
}

/// Reads a model folder into a manifest and an ONNX model without metadata.
///
/// As [`ModelFolder::open`] and [`ModelFolder::to_onnx`].
///
/// # Errors
/// As theirs.
pub fn import_folder(path: &Path, options: &ImportOptions) -> Result<(Manifest, OnnxModel), NnUnetError> {
    let mut folder = ModelFolder::open(path, options)?;
    let model = folder.to_onnx()?;
    Ok((folder.manifest, model))
}

/// A model folder that was read, all but its weights.
#[derive(Debug)]
pub struct ModelFolder {
    path: PathBuf,
    manifest: Manifest,
    folds: FoldChoice,
    unet: UNet,
    layers: Layers,
    /// Voxels per tile: two axes or three, those of the network.
    patch: Vec<usize>,
    /// One a fold.
    files: Vec<PathBuf>,
    /// The first of them.
    first: Checkpoint<BufReader<File>>,
}

/// A model folder ready to run.
pub struct FolderEngine {
    /// The model's description.
    pub manifest: Manifest,
    /// The engine.
    pub engine: OnnxEngine,
    /// The hash of the graph and weights that [`ModelFolder::to_onnx`] would give.
    pub graph_sha256: String,
}

impl ModelFolder {
    /// Reads the folder's descriptions and finds the checkpoints of its folds. Weights are not read yet.
    ///
    /// # Errors
    /// [`NnUnetError`]: a file is missing or damaged, contradicts another, or asks for something this program does not
    /// do.
    pub fn open(path: &Path, options: &ImportOptions) -> Result<ModelFolder, NnUnetError> {
        let dataset = Dataset::read(&path.join("dataset.json"))?;
        let plans = Plans::read(&path.join("plans.json"))?;
        let choice = FoldChoice::new(path, options)?;
        let folds = &choice.averaged;
        let files: Vec<PathBuf> = folds.iter().map(|fold| checkpoint_path(path, *fold, &options.checkpoint)).collect();
        let no_fold = || NnUnetError::NoFold {
            path: path.to_path_buf(),
            checkpoint: options.checkpoint.clone(),
            others: Vec::new(),
        };

        // As in nnU-Net, everything but the weights is taken from the first fold.
        let first = Checkpoint::open(files.first().ok_or_else(no_fold)?)?;
        let trainer = check_trainer(&first, options)?;
        let channels = dataset.channels.len();
        let configuration = plans.configuration(first.configuration(), channels)?;
        let unet = UNet::from_plans(&configuration, trainer, channels, dataset.labels.heads().len())?;
        let layers = Layers::of(&unet);
        let bytes_per_fold = layers.bytes();
        if bytes_per_fold.saturating_mul(folds.len() as u64) > MAX_WEIGHT_BYTES {
            return Err(NnUnetError::TooLarge { bytes_per_fold, folds: folds.len(), limit: MAX_WEIGHT_BYTES });
        }
        check_tensors(&first, &layers)?;
        let mirror_axes = mirror_axes(&first, unet.axes())?;
        let mut provenance = provenance(&dataset, &plans, &first, folds, options);
        for (fold, file) in choice.averaged.iter().zip(&files) {
            let sha256 = file_sha256(file).map_err(|source| NnUnetError::Io { path: file.clone(), source })?;
            provenance.insert(format!("checkpoint_sha256_fold_{fold}"), sha256);
        }
        let patch = configuration.patch.clone();
        let mut manifest = manifest(dataset, &plans, configuration);
        manifest.folds = folds.len();
        manifest.mirror_axes = mirror_axes;
        manifest.provenance = provenance;
        manifest.envelope = training_data::envelope(path, channels);
        manifest.card = training_data::card(path);
        manifest.check().map_err(|source| NnUnetError::Manifest { path: path.to_path_buf(), source })?;
        Ok(ModelFolder { path: path.to_path_buf(), manifest, folds: choice, unet, layers, patch, files, first })
    }

    /// The model's description.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The folds that are averaged, and those that are not.
    pub fn folds(&self) -> &FoldChoice {
        &self.folds
    }

    /// The network as an ONNX model without a manifest inside.
    ///
    /// The model's input is `input`, `[1, channels, z, y, x]` (without `z` for a 2d network), its outputs are `logits_0`,
    /// `logits_1` ... in the order of the folds, `[1, heads, z, y, x]` each. Memory peaks at the returned weights plus
    /// the largest tensor three times over.
    ///
    /// # Errors
    /// A checkpoint is missing or damaged, or does not hold the tensors of the network.
    pub fn to_onnx(&mut self) -> Result<OnnxModel, NnUnetError> {
        let mut builder = ModelBuilder::new(&self.unet, &self.patch);
        each_fold(&mut self.first, &self.files, &self.layers, |_, checkpoint| builder.add_fold(checkpoint))?;
        Ok(builder.finish(&self.manifest.name))
    }

    /// The engine that runs the network, and the manifest.
    ///
    /// A network whose layers all have kernels of this crate is compiled straight from the checkpoints: memory peaks at
    /// the engine's weights plus the largest tensor a few times over. Any other goes by [`Self::to_onnx`]. The engine is
    /// the same, to the byte, either way.
    ///
    /// # Errors
    /// As [`Self::to_onnx`], or [`NnUnetError::Engine`]: the network cannot be run.
    pub fn engine(mut self, settings: Settings) -> Result<FolderEngine, NnUnetError> {
        if let Some((engine, graph_sha256)) = self.compiled(settings)? {
            return Ok(FolderEngine { manifest: self.manifest, engine, graph_sha256 });
        }
        let model = self.to_onnx()?;
        let graph_sha256 = model.graph_sha256();
        let engine = OnnxEngine::new(model, &self.manifest, settings)
            .map_err(|source| NnUnetError::Engine { path: self.path, source })?;
        Ok(FolderEngine { manifest: self.manifest, engine, graph_sha256 })
    }

    /// The network compiled from the checkpoints; none where it has a layer that only the ONNX path knows.
    pub(super) fn compiled(&mut self, settings: Settings) -> Result<Option<(OnnxEngine, String)>, NnUnetError> {
        // Known before any weight is read.
        if matches!(self.unet.norm, Norm::Batch { .. }) {
            return Ok(None);
        }
        let skeleton = Skeleton::new(&self.unet, &self.patch, self.files.len(), &self.manifest.name)?;
        let plan = Plan {
            layers: &self.layers,
            channels: self.unet.input_channels,
            patch_zyx: self.manifest.grid.patch_zyx,
            half: settings.half.unwrap_or(false),
        };
        let mut hash = skeleton.hash();
        let mut networks = Vec::new();
        let compiled = each_fold(&mut self.first, &self.files, &self.layers, |fold, checkpoint| {
            let (graph, weights) = plan.compile(fold, &mut hash.reading(checkpoint))?;
            networks.push(Network::new(settings.isa, graph, weights)?);
            Ok(())
        });
        match compiled {
            Ok(()) => {}
            Err(Stop::NotCovered) => return Ok(None),
            Err(Stop::Failed(error)) => return Err(error),
        }
        let Some(engine) = NativeEngine::new(networks) else { return Ok(None) };
        let graph_sha256 = hash.finish();
        Ok(Some((OnnxEngine::native_only(engine, skeleton.model.summary()), graph_sha256)))
    }
}

/// Opens the checkpoints one after the other.
fn each_fold<E: From<NnUnetError>>(
    first: &mut Checkpoint<BufReader<File>>,
    files: &[PathBuf],
    layers: &Layers,
    mut work: impl FnMut(usize, &mut Checkpoint<BufReader<File>>) -> Result<(), E>,
) -> Result<(), E> {
    work(0, first)?;
    for (fold, file) in files.iter().enumerate().skip(1) {
        let mut checkpoint = Checkpoint::open(file)?;
        check_tensors(&checkpoint, layers)?;
        work(fold, &mut checkpoint)?;
    }
    Ok(())
}

fn check_trainer<R: Read + Seek>(checkpoint: &Checkpoint<R>, options: &ImportOptions) -> Result<Trainer, NnUnetError> {
    let name = checkpoint.trainer_name();
    let refuse = |what: String| Err(NnUnetError::Unsupported { path: checkpoint.path().to_path_buf(), what });
    match trainers::trainer(name) {
        Trainer::Unknown if options.trust_unknown_trainer => Ok(Trainer::Plain),
        Trainer::Unknown => {
            Err(NnUnetError::UnknownTrainer { path: checkpoint.path().to_path_buf(), name: name.to_string() })
        }
        Trainer::Primus => refuse(format!("the trainer {name} builds a Primus transformer, which is not supported")),
        known => Ok(known),
    }
}

fn check_tensors<R: Read + Seek>(checkpoint: &Checkpoint<R>, layers: &Layers) -> Result<(), NnUnetError> {
    let expected = layers.expected();
    let mut missing = Vec::new();
    let mut names = BTreeSet::new();
    for tensor in &expected {
        for name in &tensor.names {
            names.insert(name.as_str());
            match checkpoint.tensor(name) {
                None => missing.push(name.clone()),
                Some(found) if found.shape != tensor.shape => {
                    return Err(NnUnetError::TensorShape {
                        path: checkpoint.path().to_path_buf(),
                        name: name.clone(),
                        expected: tensor.shape.clone(),
                        found: found.shape.clone(),
                    });
                }
                Some(_) => {}
            }
        }
    }
    let unexpected: Vec<String> =
        checkpoint.weights().filter(|(name, _)| !names.contains(name)).map(|(name, _)| name.to_string()).collect();
    if missing.is_empty() && unexpected.is_empty() {
        Ok(())
    } else {
        Err(NnUnetError::Weights { path: checkpoint.path().to_path_buf(), missing, unexpected })
    }
}
