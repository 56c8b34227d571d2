//! A teacher that is a model file: any network that the inference core runs, of whatever architecture.
//!
//! Such a file answers at full resolution alone. What it would say at the lower ones is the mean of its probabilities
//! over the voxels that a coarse voxel covers.

use crate::network::values;
use crate::plan::TrainingPlan;
use crate::targets::Heads;
use anyhow::{Context, Result};
use scanside::exit::{Exit, Failure, OrExit};
use scanside::threads::Threads;
use scanside_core::arch::Block;
use scanside_core::engine::Engine;
use scanside_core::executor::Executor;
use scanside_core::manifest::{Labels, Manifest};
use scanside_core::onnx::{self, OnnxEngine, Settings};
use scanside_core::patch::{Patch, PatchMut};
use std::path::Path;
use tch::{Device, Kind, TchError, Tensor};

/// A model file, read but not yet prepared for running.
#[derive(Debug)]
pub struct ModelFile {
    name: String,
    manifest: Manifest,
    proto: onnx::pb::ModelProto,
}

/// A model file that answers patches.
pub struct ModelTeacher {
    engine: OnnxEngine,
    folds: usize,
    threads: Threads,
    workspace: Vec<Block>,
    /// Voxels along each axis that one voxel of each resolution covers.
    strides: Vec<[i64; 3]>,
}

impl std::fmt::Debug for ModelTeacher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelTeacher").field("engine", &self.engine.name()).field("strides", &self.strides).finish()
    }
}

impl ModelFile {
    /// Reads the self-describing ONNX file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or does not describe itself.
    pub fn read(path: &Path) -> Result<ModelFile, Failure> {
        let loaded = onnx::load(path, None).or_exit(Exit::BadModel)?;
        Ok(ModelFile { name: path.display().to_string(), manifest: loaded.manifest, proto: loaded.proto })
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the model takes the patches that students are trained on, and says the same labels of them.
    ///
    /// # Errors
    /// It does not; the sentence says in what.
    pub fn check_fits(&self, plan: &TrainingPlan) -> Result<(), Failure> {
        let (theirs, ours) = (&self.manifest, &plan.manifest);
        let values = |labels: &Labels| -> (bool, Vec<u16>) {
            (matches!(labels, Labels::Regions { .. }), labels.heads().iter().map(|head| head.value).collect())
        };
        let normalizations = |m: &Manifest| m.channels.iter().map(|c| c.normalization.clone()).collect::<Vec<_>>();
        let facts = [
            ("labels", format!("{:?}", values(&theirs.labels).1), format!("{:?}", values(&ours.labels).1)),
            ("regions", format!("{}", values(&theirs.labels).0), format!("{}", values(&ours.labels).0)),
            ("normalisation", format!("{:?}", normalizations(theirs)), format!("{:?}", normalizations(ours))),
            ("patch", format!("{:?}", theirs.grid.patch_zyx), format!("{:?}", ours.grid.patch_zyx)),
            ("voxels in mm", format!("{:?}", theirs.grid.spacing_mm), format!("{:?}", ours.grid.spacing_mm)),
            ("axes", format!("{:?}", theirs.grid.transpose_forward), format!("{:?}", ours.grid.transpose_forward)),
        ];
        match facts.iter().find(|(_, theirs, ours)| theirs != ours) {
            None => Ok(()),
            Some((what, theirs, ours)) => Err(Failure::says(
                Exit::BadModel,
                format!("the teacher {} does not fit the plan: its {what}: {theirs}; the plan's: {ours}", self.name),
            )),
        }
    }
}

impl ModelTeacher {
    /// Prepares a model file for the patches of `plan`.
    ///
    /// # Errors
    /// It does not fit the plan or cannot be run, or there is no memory.
    pub fn new(file: ModelFile, plan: &TrainingPlan, threads: usize) -> Result<ModelTeacher, Failure> {
        file.check_fits(plan)?;
        let ModelFile { name, manifest, proto } = file;
        // In single precision, however the file stores its weights.
        let settings = Settings { half: Some(false), ..Settings::default() };
        let engine = OnnxEngine::new(proto, &manifest, settings)
            .or_exit_with(Exit::BadModel, || format!("{name} cannot be run"))?;
        let threads = Threads::new(threads)?;
        let workspace = vec![Block::ZERO; engine.footprint(threads.workers()).workspace_blocks];
        let mut covered = [1i64; 3];
        let mut strides = Vec::new();
        // The deepest stage has no logits of its own.
        for stage in &plan.unet.stages[..plan.unet.stages.len() - 1] {
            for (covered, stride) in covered.iter_mut().zip(&stage.stride) {
                *covered *= *stride as i64;
            }
            strides.push(covered);
        }
        Ok(ModelTeacher { engine, folds: manifest.folds, threads, workspace, strides })
    }

    /// What each fold says of `images`, `[n, channels, z, y, x]`: logits of all resolutions, the full one first.
    ///
    /// # Errors
    /// The network cannot be run, or libtorch refuses an operation.
    pub fn logits(&mut self, heads: &Heads, images: &Tensor) -> Result<Vec<Vec<Tensor>>> {
        let (device, size) = (images.device(), images.size());
        let samples = size[0];
        let voxels = values(images)?;
        let mut folds = Vec::with_capacity(self.folds);
        for fold in 0..self.folds {
            let mut logits = vec![0.0f32; voxels.len() / self.engine.channels() * self.engine.heads()];
            let each = logits.len() / samples as usize;
            for (image, logits) in
                voxels.chunks_exact(voxels.len() / samples as usize).zip(logits.chunks_exact_mut(each))
            {
                self.engine
                    .infer(fold, Patch::F32(image), PatchMut::F32(logits), &mut self.workspace, &self.threads)
                    .context("the teacher could not be run")?;
            }
            let full = Tensor::f_from_slice(&logits)?.f_view([samples, -1, size[2], size[3], size[4]])?;
            folds.push(self.resolutions(heads, &full, device)?);
        }
        Ok(folds)
    }

    fn resolutions(&self, heads: &Heads, full: &Tensor, device: Device) -> Result<Vec<Tensor>, TchError> {
        let full = full.f_to_device(device)?;
        self.strides
            .iter()
            .map(|stride| match stride {
                [1, 1, 1] => Ok(full.shallow_clone()),
                stride => coarse(heads, &full, *stride),
            })
            .collect()
    }
}

/// The logits of the mean probability of boxes of `stride` voxels.
fn coarse(heads: &Heads, logits: &Tensor, stride: [i64; 3]) -> Result<Tensor, TchError> {
    // A probability that single precision rounds to 0 keeps a logarithm.
    let mean =
        |p: Tensor| p.f_avg_pool3d(stride, stride, [0; 3], false, true, None::<i64>)?.f_clamp_min(1e-12)?.f_log();
    match heads {
        Heads::Labels(_) => mean(logits.f_softmax(1, Kind::Float)?),
        Heads::Regions(_) => mean(logits.f_sigmoid()?)?.f_sub(&mean(logits.f_neg()?.f_sigmoid()?)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_logits_are_those_of_mean_probabilities() {
        let logits = Tensor::randn([2, 3, 4, 2, 6], (Kind::Float, Device::Cpu)) * 4;
        let boxes = |p: &Tensor| {
            p.view([2i64, 3, 2, 2, 2, 1, 2, 3].as_slice()).mean_dim([3i64, 5, 7].as_slice(), false, Kind::Float)
        };
        let difference = |a: &Tensor, b: &Tensor| f64::try_from((a - b).abs().max()).unwrap();
        let labels = coarse(&Heads::Labels(3), &logits, [2, 1, 3]).unwrap();
        assert!(difference(&labels.softmax(1, Kind::Float), &boxes(&logits.softmax(1, Kind::Float))) < 1e-6);
        let regions = coarse(&Heads::Regions(vec![vec![1]; 3]), &logits, [2, 1, 3]).unwrap();
        assert!(difference(&regions.sigmoid(), &boxes(&logits.sigmoid())) < 1e-6);
    }
}
