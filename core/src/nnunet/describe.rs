//! The manifest of a model folder.

use super::checkpoint::Checkpoint;
use super::error::NnUnetError;
use super::labels::Dataset;
use super::options::{FoldName, ImportOptions};
use super::plans::{Configuration, Plans};
use crate::manifest::{Channel, Manifest, NetworkGrid};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};

/// The manifest of a model trained by these plans: one fold, no mirroring, unknown provenance.
pub fn manifest(dataset: Dataset, plans: &Plans, configuration: Configuration) -> Manifest {
    let grid = grid(plans, &configuration);
    let named = dataset.channels.into_iter().zip(configuration.normalization);
    let channels = named.map(|(name, normalization)| Channel { name, normalization }).collect();
    let mut manifest = Manifest::new(grid, channels, dataset.labels);
    manifest.name = format!("{} {}", plans.dataset_name, configuration.name);
    manifest.reader = plans.reader;
    manifest.crop_to_nonzero = true;
    manifest.resample_data = configuration.resample_data;
    manifest.resample_logits = configuration.resample_logits;
    manifest
}

/// The mirror axes in the manifest's numbers, where a 2d network's two axes are the last of three.
pub(super) fn mirror_axes<R: Read + Seek>(checkpoint: &Checkpoint<R>, axes: usize) -> Result<Vec<usize>, NnUnetError> {
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

pub(super) fn provenance<R: Read + Seek>(
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
