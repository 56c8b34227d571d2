//! What a run is asked to do.

use crate::network::{Feature, Precision};
use scanside_core::nnunet::FoldName;
use scanside_core::nnunet::architecture::UNet;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tch::Device;

/// Settings that networks trained side by side share. The plan decides all else.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// Fold to train.
    pub fold: FoldName,
    /// Epochs of the whole run: the learning rate falls to zero over them.
    pub epochs: usize,
    /// Steps an epoch.
    pub steps_per_epoch: usize,
    /// Batches of validation patches after each epoch.
    pub validation_steps: usize,
    /// Patches a step; the plan's where nothing is said.
    pub batch_size: Option<usize>,
    /// Learning rate of the first epoch.
    pub initial_lr: f64,
    /// What one step keeps of the averaged weights; nothing: no average.
    pub average: Option<f64>,
    /// Where the random numbers start.
    pub seed: u64,
    /// What computes.
    pub device: Device,
    /// What the network's convolutions multiply.
    pub precision: Precision,
    /// libtorch's autograd computes everything, for losses that are differentiated twice.
    pub autograd: bool,
    /// Threads of the network.
    pub threads: usize,
}

/// One network of a run.
#[derive(Clone, Debug)]
pub struct Member {
    /// Name of its folder.
    pub name: String,
    /// The network.
    pub unet: UNet,
    /// Where its weights begin.
    pub start: Start,
    /// Places whose activations are brought to a teacher's channels; none unless it learns from these.
    pub lifts: Vec<LiftSettings>,
    /// What else its page says, by name.
    pub notes: BTreeMap<String, String>,
}

/// Activations brought to other channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiftSettings {
    /// Where they come from.
    pub feature: Feature,
    /// Channels there.
    pub from: usize,
    /// Channels of the teacher.
    pub to: usize,
}

/// Where weights begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Random.
    Fresh,
    /// Those of an nnU-Net model folder's fold.
    Folder(PathBuf, FoldName),
}
