//! The inputs of training runs: settings, the network to train, and the context that runs share.

use crate::network::{Feature, Precision};
use crate::plan::TrainingPlan;
use crate::work::Work;
use scanside_app::interrupt::Stop;
use scanside_core::nnunet::FoldName;
use scanside_core::nnunet::architecture::UNet;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tch::Device;

/// What all runs that are trained together share.
#[derive(Clone, Copy, Debug)]
pub struct TrainingContext<'a> {
    /// The work folder with the prepared cases; runs are written into it.
    pub work: &'a Work,
    /// The plan of the work folder.
    pub plan: &'a TrainingPlan,
    /// How to train.
    pub settings: &'a RunSettings,
    /// Continue existing runs. Without it, a run of the same name is an error.
    pub resume: bool,
    /// A request to stop, checked before every batch.
    pub stop: &'a Stop,
}

/// Settings that networks trained together share. The plan decides everything else.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// Fold to train.
    pub fold: FoldName,
    /// Epochs of the whole run: the learning rate falls to zero over them.
    pub epochs: usize,
    /// Steps per epoch.
    pub steps_per_epoch: usize,
    /// Batches of validation patches after each epoch.
    pub validation_steps: usize,
    /// Patches per step; `None` for the plan's number.
    pub batch_size: Option<usize>,
    /// Learning rate of the first epoch.
    pub initial_lr: f64,
    /// Decay of the averaged weights per step, below 1; `None` for no average.
    pub average: Option<f64>,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Device that computes.
    pub device: Device,
    /// Number format of the network's convolutions.
    pub precision: Precision,
    /// libtorch's autograd computes everything. Required by losses that are differentiated twice.
    pub autograd: bool,
    /// Threads of the network.
    pub threads: usize,
}

/// One network to train.
#[derive(Clone, Debug)]
pub struct RunSpec {
    /// Name of the run and of its folder.
    pub name: String,
    /// The network.
    pub unet: UNet,
    /// Its weights before the first step.
    pub initial_weights: InitialWeights,
    /// Features that are projected to the teacher's channels; empty unless the network learns from features.
    pub projections: Vec<ProjectionSettings>,
    /// Further entries of the run's page and of `run.json`, by name.
    pub notes: BTreeMap<String, String>,
}

/// A projection from the student's channels to the teacher's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProjectionSettings {
    /// The feature that is projected.
    pub feature: Feature,
    /// Channels of the student's feature.
    pub student_channels: usize,
    /// Channels of the teacher's feature.
    pub teacher_channels: usize,
}

/// Weights before the first step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitialWeights {
    /// Random.
    Random,
    /// Those of a fold of an nnU-Net model folder.
    NnUnetFolder(PathBuf, FoldName),
}
