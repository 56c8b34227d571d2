//! nnU-Net v2 model folders: read without Python, turned into an ONNX model and its manifest.
//!
//! A folder holds `dataset.json`, `plans.json` and per fold a PyTorch checkpoint. [`import_folder`] reads them into the
//! same two things a model file of this project consists of. The weights come out of a pickle, which is read by a
//! [restricted reader](pickle) that has no way to run code. What a folder asks for and this program does not do is
//! refused with a sentence that names it; nothing is guessed.
//!
//! | module | holds |
//! |---|---|
//! | [`pickle`] | pickles as plain data |
//! | [`checkpoint`] | a checkpoint's tensors, read one by one |
//! | [`labels`] | `dataset.json` |
//! | [`plans`] | `plans.json` |
//! | [`trainers`] | what a trainer's name says about the network |
//! | [`architecture`] | the network as the plans describe it |
//! | [`layers`] | its layers in order, and their tensors' names |
//! | [`to_onnx`] | network and weights as an ONNX model |

pub mod architecture;
pub mod checkpoint;
mod error;
mod json;
pub mod labels;
pub mod layers;
pub mod pickle;
pub mod plans;
pub mod tensor;
#[cfg(test)]
mod tests;
pub mod to_onnx;
pub mod trainers;

pub use error::NnUnetError;

use crate::manifest::{Channel, Manifest, NetworkGrid};
use architecture::UNet;
use checkpoint::Checkpoint;
use labels::Dataset;
use layers::Layers;
use plans::{Configuration, Plans};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use to_onnx::ModelBuilder;
use tract_onnx::pb::ModelProto;
use trainers::Trainer;

/// A protobuf message ends at 2 GiB; 64 MiB are left for names and the manifest.
const MAX_WEIGHT_BYTES: u64 = (2 << 30) - (64 << 20);

/// A fold's name: `fold_0`, `fold_1` ... or `fold_all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FoldName {
    /// One of a cross-validation's folds.
    Number(u32),
    /// Trained on all cases.
    All,
}

impl fmt::Display for FoldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FoldName::Number(number) => write!(f, "{number}"),
            FoldName::All => f.write_str("all"),
        }
    }
}

impl FromStr for FoldName {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" { Ok(FoldName::All) } else { text.parse().map(FoldName::Number) }
    }
}

/// What to take from a model folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// The folds, in the order of the model's outputs. `None`: all numbered folds that have the checkpoint, ascending,
    /// or `fold_all` where there is no other.
    pub folds: Option<Vec<FoldName>>,
    /// Name of the checkpoint file in each fold.
    pub checkpoint: String,
    /// Take a trainer class that does not come with nnU-Net to build the network of the plans. If it builds another
    /// one that happens to have the same tensors, the labels are wrong without notice.
    pub trust_unknown_trainer: bool,
}

impl Default for ImportOptions {
    fn default() -> Self {
        ImportOptions { folds: None, checkpoint: "checkpoint_final.pth".into(), trust_unknown_trainer: false }
    }
}

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
/// The model's input is `input`, `[1, channels, z, y, x]` (without `z` for a 2d network), its outputs are `logits_0`,
/// `logits_1` ... in the order of the folds, `[1, heads, z, y, x]` each. Memory peaks at the returned weights plus the
/// largest tensor three times over.
///
/// # Errors
/// [`NnUnetError`]: a file is missing or damaged, contradicts another, or asks for something this program does not do.
pub fn import_folder(path: &Path, options: &ImportOptions) -> Result<(Manifest, ModelProto), NnUnetError> {
    let dataset = Dataset::read(&path.join("dataset.json"))?;
    let plans = Plans::read(&path.join("plans.json"))?;
    let folds = match &options.folds {
        Some(folds) => folds.clone(),
        None => folds_of(path, &options.checkpoint)?,
    };
    let files: Vec<PathBuf> = folds.iter().map(|fold| checkpoint_path(path, *fold, &options.checkpoint)).collect();
    let no_fold = || NnUnetError::NoFold { path: path.to_path_buf(), checkpoint: options.checkpoint.clone() };

    // As in nnU-Net, the first fold speaks for all but the weights.
    let mut first = Checkpoint::open(files.first().ok_or_else(no_fold)?)?;
    let trainer = check_trainer(&first, options)?;
    let channels = dataset.channels.len();
    let configuration = plans.configuration(first.configuration(), channels)?;
    let unet = UNet::from_plans(&configuration, trainer, channels, dataset.labels.heads().len())?;
    let layers = Layers::of(&unet);
    let bytes_per_fold = layers.bytes();
    if bytes_per_fold.saturating_mul(folds.len() as u64) > MAX_WEIGHT_BYTES {
        return Err(NnUnetError::TooLarge { bytes_per_fold, folds: folds.len(), limit: MAX_WEIGHT_BYTES });
    }
    let mirror_axes = mirror_axes(&first, unet.axes())?;

    let mut provenance = provenance(&dataset, &plans, &first, &folds, options);
    let mut builder = ModelBuilder::new(&unet, &configuration.patch);
    check_tensors(&first, &layers)?;
    builder.add_fold(&mut first)?;
    drop(first);
    for file in &files[1..] {
        let mut checkpoint = Checkpoint::open(file)?;
        check_tensors(&checkpoint, &layers)?;
        builder.add_fold(&mut checkpoint)?;
    }
    for (fold, file) in folds.iter().zip(&files) {
        provenance.insert(format!("checkpoint_sha256_fold_{fold}"), file_sha256(file)?);
    }

    let mut manifest = manifest(dataset, &plans, configuration);
    manifest.folds = folds.len();
    manifest.mirror_axes = mirror_axes;
    manifest.provenance = provenance;
    manifest.check().map_err(|source| NnUnetError::Manifest { path: path.to_path_buf(), source })?;
    let model = builder.finish(&manifest.name);
    Ok((manifest, model))
}

/// The manifest of a model trained by these plans: one fold, no mirroring, unknown provenance.
pub fn manifest(dataset: Dataset, plans: &Plans, configuration: Configuration) -> Manifest {
    let grid = grid(plans, &configuration);
    let named = dataset.channels.into_iter().zip(configuration.normalization);
    let channels = named.map(|(name, normalization)| Channel { name, normalization }).collect();
    let mut manifest = Manifest::new(grid, channels, dataset.labels);
    manifest.name = format!("{} {}", plans.dataset_name, configuration.name);
    manifest.crop_to_nonzero = true;
    manifest.resample_data = configuration.resample_data;
    manifest.resample_logits = configuration.resample_logits;
    manifest
}

fn checkpoint_path(folder: &Path, fold: FoldName, checkpoint: &str) -> PathBuf {
    folder.join(format!("fold_{fold}")).join(checkpoint)
}

fn fold_name(file_name: &std::ffi::OsStr) -> Option<FoldName> {
    let fold: FoldName = file_name.to_str()?.strip_prefix("fold_")?.parse().ok()?;
    // `fold_007` would be looked for as `fold_7`.
    (file_name.to_str() == Some(format!("fold_{fold}").as_str())).then_some(fold)
}

/// The folds of a model folder that have a checkpoint of this name: all numbered ones, ascending, or `all` where there is
/// no other.
///
/// # Errors
/// There is none, or the folder cannot be read.
pub fn folds_of(path: &Path, checkpoint: &str) -> Result<Vec<FoldName>, NnUnetError> {
    let io = |source| NnUnetError::Io { path: path.to_path_buf(), source };
    let mut folds = BTreeSet::new();
    for entry in fs::read_dir(path).map_err(io)? {
        let fold = fold_name(&entry.map_err(io)?.file_name());
        folds.extend(fold.filter(|fold| checkpoint_path(path, *fold, checkpoint).is_file()));
    }
    if folds.len() > 1 {
        folds.remove(&FoldName::All);
    }
    if folds.is_empty() {
        return Err(NnUnetError::NoFold { path: path.to_path_buf(), checkpoint: checkpoint.into() });
    }
    Ok(folds.into_iter().collect())
}

fn check_trainer<R: Read + Seek>(checkpoint: &Checkpoint<R>, options: &ImportOptions) -> Result<Trainer, NnUnetError> {
    let name = checkpoint.trainer_name();
    let refuse = |what: String| Err(NnUnetError::Unsupported { path: checkpoint.path().to_path_buf(), what });
    match trainers::trainer(name) {
        Trainer::Unknown if options.trust_unknown_trainer => Ok(Trainer::Plain),
        Trainer::Unknown => refuse(format!(
            "the trainer {name} does not come with nnU-Net and may build another network than plans.json says; if it \
             changes only the training, import with unknown trainers trusted"
        )),
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

/// The mirror axes in the manifest's numbers, where a 2d network's two axes are the last of three.
fn mirror_axes<R: Read + Seek>(checkpoint: &Checkpoint<R>, axes: usize) -> Result<Vec<usize>, NnUnetError> {
    let allowed = checkpoint.mirror_axes();
    let distinct: BTreeSet<usize> = allowed.iter().copied().collect();
    if distinct.len() != allowed.len() || distinct.iter().any(|axis| *axis >= axes) {
        return Err(NnUnetError::Checkpoint {
            path: checkpoint.path().to_path_buf(),
            problem: format!("mirroring along {allowed:?} does not fit a network of {axes} axes"),
        });
    }
    Ok(allowed.iter().map(|axis| axis + 3 - axes).collect())
}

fn grid(plans: &Plans, configuration: &Configuration) -> NetworkGrid {
    let two_dimensional = configuration.patch.len() == 2;
    let mut patch_zyx = [1; 3];
    let mut spacing_mm = [None; 3];
    let missing = 3 - configuration.patch.len();
    for (axis, (voxels, mm)) in configuration.patch.iter().zip(&configuration.spacing_mm).enumerate() {
        patch_zyx[missing + axis] = *voxels;
        spacing_mm[missing + axis] = Some(*mm);
    }
    NetworkGrid { patch_zyx, two_dimensional, spacing_mm, transpose_forward: plans.transpose_forward }
}

fn provenance<R: Read + Seek>(
    dataset: &Dataset,
    plans: &Plans,
    first: &Checkpoint<R>,
    folds: &[FoldName],
    options: &ImportOptions,
) -> BTreeMap<String, String> {
    let folds: Vec<String> = folds.iter().map(FoldName::to_string).collect();
    let mut provenance = BTreeMap::from([
        ("source".to_string(), "nnU-Net v2 model folder".to_string()),
        ("dataset".to_string(), plans.dataset_name.clone()),
        ("plans".to_string(), plans.plans_name.clone()),
        ("configuration".to_string(), first.configuration().to_string()),
        ("trainer".to_string(), first.trainer_name().to_string()),
        ("checkpoint".to_string(), options.checkpoint.clone()),
        ("folds".to_string(), folds.join(" ")),
    ]);
    if let Some(licence) = &dataset.licence {
        provenance.insert("dataset_licence".into(), licence.clone());
    }
    provenance
}

fn file_sha256(path: &Path) -> Result<String, NnUnetError> {
    let io = |source| NnUnetError::Io { path: path.to_path_buf(), source };
    let mut hasher = Sha256::new();
    std::io::copy(&mut File::open(path).map_err(io)?, &mut hasher).map_err(io)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
