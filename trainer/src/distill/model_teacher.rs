//! A teacher that is a model file: any network that the inference core runs, of whatever architecture.
//!
//! Such a file answers at full resolution alone; what it would say at the lower ones follows from that ([`Levels`]).

use super::levels::Levels;
use crate::network::values;
use crate::plan::TrainingPlan;
use crate::targets::Heads;
use anyhow::{Context, Result};
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

/// A model file that answers patches.
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
    /// It cannot be read, or does not describe itself.
    pub fn read(path: &Path) -> Result<ModelFile, Error> {
        let loaded = onnx::load(path, None).or_error(ErrorKind::Model)?;
        Ok(ModelFile { name: path.display().to_string(), manifest: loaded.manifest, model: loaded.model })
    }

    /// SHA-256 over its graph and weights.
    pub fn graph_sha256(&self) -> String {
        self.model.graph_sha256()
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the model takes the patches that students are trained on, and says the same labels of them.
    ///
    /// # Errors
    /// It does not; the sentence says in what.
    pub fn check_fits(&self, plan: &TrainingPlan) -> Result<(), Error> {
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
            let shape = self.engine.shape();
            let mut logits = vec![0.0f32; voxels.len() / shape.channels * shape.heads];
            let each = logits.len() / samples as usize;
            for (image, logits) in
                voxels.chunks_exact(voxels.len() / samples as usize).zip(logits.chunks_exact_mut(each))
            {
                self.engine
                    .infer(fold, Patch::F32(image), PatchMut::F32(logits), &mut self.workspace, &self.threads)
                    .context("the teacher could not be run")?;
            }
            let full = Tensor::f_from_slice(&logits)?.f_view([samples, -1, size[2], size[3], size[4]])?;
            folds.push(self.levels.from_logits(heads, &full.f_to_device(device)?)?);
        }
        Ok(folds)
    }
}
