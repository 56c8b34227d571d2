//! Trains nnU-Net networks on libtorch, and exports them for the inference core and for nnU-Net.
//!
//! # Layers
//!
//! Each module knows only those above it.
//!
//! | module | holds |
//! |---|---|
//! | [`exit`] | exit codes |
//! | [`torch_error`] | errors of libtorch, with a kind |
//! | [`work`] | the work folder: where its files are |
//! | [`targets`] | the training targets of a network's heads |
//! | [`plan`] | nnU-Net's experiment planner: from a fingerprint to `plans.json`; a plan, as training needs it |
//! | [`dataset`] | raw datasets checked, fingerprint, preprocessed cache, splits |
//! | [`augment`] | nnU-Net's default augmentations, in plain Rust, seeded |
//! | [`loader`] | patches sampled from the cache and augmented on worker threads |
//! | [`network`] | the networks on libtorch, with nnU-Net's parameter names |
//! | [`loss`] | Dice, cross entropy, deep supervision |
//! | [`optimise`] | SGD with Nesterov momentum, schedule, averaged weights |
//! | [`export`] | nnU-Net folders, ONNX, safetensors |
//! | [`validate`] | whole cases segmented by the inference core and compared with their labels |
//! | [`report`] | the files of a run, and pages with curves and pictures |
//! | [`training`] | training runs: steps, log, checkpoints, resuming |
//! | [`distill`] | students, and how they learn from teachers |
//! | [`commands`] | the program's commands |
//!
//! Arrays are `[channels, z, y, x]` with `x` fastest, axes those of the network grid.

pub mod augment;
pub mod commands;
pub mod dataset;
pub mod distill;
pub mod exit;
pub mod export;
pub mod loader;
pub mod loss;
pub mod network;
pub mod optimise;
pub mod plan;
pub mod report;
pub mod targets;
pub mod torch_error;
pub mod training;
pub mod validate;
pub mod work;
