//! A teacher that is a model file: a network of any architecture that the inference core runs.
//!
//! Such a file gives logits at full resolution only; those at the lower resolutions are computed from them ([`Levels`]).

use super::levels::Levels;
use crate::network::values;
use crate::plan::TrainingPlan;
use crate::targets::Heads;
use crate::torch_error::OrTorchError;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::machine::Threads;
use scanside_core::engine::Engine;
use scanside_core::executor::Executor;
use scanside_core::manifest::{Labels, Manifest};
use scanside_core::onnx::{self, OnnxEngine, OnnxModel, Settings};
use scanside_core::patch::{Patch, PatchMut};
use scanside_core::workspace::Block;
use std::path::Path;
use tch::Tensor;

/// A model file, read but not yet prepared for running.
#[derive(Debug)]
pub struct ModelFile {
    name: String,
    manifest: Manifest,
    model: OnnxModel,
}

/// A model file that is ready to run on patches.
pub struct ModelTeacher {
    engine: OnnxEngine,
    folds: usize,
    threads: Threads,
    workspace: Vec<Block>,
    levels: Levels,
}

impl std::fmt::Debug for ModelTeacher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelTeacher").field("engine", &self.engine.name()).field("levels", &self.levels).finish()
    }
}

impl ModelFile {
    /// Reads the self-describing ONNX file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or has no manifest.
    pub fn read(path: &Path) -> Result<ModelFile, Error> {
        let loaded = onnx::load(path, None).or_error(ErrorKind::Model)?;
        Ok(ModelFile { name: path.display().to_string(), manifest: loaded.manifest, model: loaded.model })
    }

    /// SHA-256 over its graph and weights.
    pub fn graph_sha256(&self) -> String {
        self.model.graph_sha256()
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Checks that the model takes the patches of the plan and predicts the plan's labels.
    ///
    /// # Errors
    /// It does not; the sentence names the difference.
    pub fn check_fits(&self, plan: &TrainingPlan) -> Result<(), Error> {
        let (theirs, ours) = (&self.manifest, &plan.manifest);
        let values = |labels: &Labels| -> (bool, Vec<u16>) {
            (matches!(labels, Labels::Regions { .. }), labels.heads().iter().map(|head| head.value).collect())
        };
        let normalizations = |m: &Manifest| m.channels.iter().map(|c| c.normalization.clone()).collect::<Vec<_>>();
        let outputs = |m: &Manifest| if m.probabilities { "probabilities" } else { "logits" }.to_owned();
        let facts = [
            ("outputs", outputs(theirs), outputs(ours)),
            ("labels", format!("{:?}", values(&theirs.labels).1), format!("{:?}", values(&ours.labels).1)),
            ("regions", format!("{}", values(&theirs.labels).0), format!("{}", values(&ours.labels).0)),
            ("normalisation", format!("{:?}", normalizations(theirs)), format!("{:?}", normalizations(ours))),
            ("patch", format!("{:?}", theirs.grid.patch_zyx), format!("{:?}", ours.grid.patch_zyx)),
            ("voxels in mm", format!("{:?}", theirs.grid.spacing_mm), format!("{:?}", ours.grid.spacing_mm)),
            ("axes", format!("{:?}", theirs.grid.transpose_forward), format!("{:?}", ours.grid.transpose_forward)),
        ];
        match facts.iter().find(|(_, theirs, ours)| theirs != ours) {
            None => Ok(()),
            Some((what, theirs, ours)) => Err(Error::new(
                ErrorKind::Model,
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
    pub fn new(file: ModelFile, plan: &TrainingPlan, threads: usize) -> Result<ModelTeacher, Error> {
        file.check_fits(plan)?;
        let ModelFile { name, manifest, model } = file;
        // In single precision, however the file stores its weights.
        let settings = Settings { half: Some(false), ..Settings::default() };
        let engine = OnnxEngine::new(model, &manifest, settings)
            .or_error_with(ErrorKind::Model, || format!("{name} cannot be run"))?;
        let threads = Threads::new(threads)?;
        let workspace = vec![Block::ZERO; engine.footprint(threads.workers()).workspace_blocks];
        Ok(ModelTeacher { engine, folds: manifest.folds, threads, workspace, levels: Levels::of(&plan.unet) })
    }

    /// The logits of each fold for `images`, `[n, channels, z, y, x]`, at all resolutions, the full one first.
    ///
    /// # Errors
    /// The network cannot be run, or libtorch fails.
    pub fn logits(&mut self, heads: &Heads, images: &Tensor) -> Result<Vec<Vec<Tensor>>, Error> {
        let (device, size) = (images.device(), images.size());
        let samples = size[0] as usize;
        let voxels = values(images).or_torch_error()?;
        let mut folds = Vec::with_capacity(self.folds);
        for fold in 0..self.folds {
            let logits = self.full_resolution(fold, &voxels, samples)?;
            let levels = Tensor::f_from_slice(&logits)
                .and_then(|logits| logits.f_view([size[0], -1, size[2], size[3], size[4]])?.f_to_device(device))
                .and_then(|full| self.levels.from_logits(heads, &full));
            folds.push(levels.or_torch_error()?);
        }
        Ok(folds)
    }

    /// The logits of a fold at full resolution, one sample after the other.
    fn full_resolution(&mut self, fold: usize, voxels: &[f32], samples: usize) -> Result<Vec<f32>, Error> {
        let shape = self.engine.shape();
        let mut logits = vec![0.0f32; voxels.len() / shape.channels * shape.heads];
        let (of_image, of_logits) = (voxels.len() / samples, logits.len() / samples);
        for (image, logits) in voxels.chunks_exact(of_image).zip(logits.chunks_exact_mut(of_logits)) {
            self.engine
                .infer(fold, Patch::F32(image), PatchMut::F32(logits), &mut self.workspace, &self.threads)
                .or_error_with(ErrorKind::Model, || "the teacher cannot be run")?;
        }
        Ok(logits)
    }
}
