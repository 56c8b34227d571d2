//! Trains nnU-Net networks on libtorch, and hands them to the inference core and back to nnU-Net.
//!
//! # Layers
//!
//! Each module knows only those above it.
//!
//! | module | holds |
//! |---|---|
//! | [`exit`] | exit codes |
//! | [`stop`] | whether the user asked to stop |
//! | [`work`] | the folder that a training works in: where its files lie |
//! | [`targets`] | what the heads are trained to say |
//! | [`plan`] | nnU-Net's experiment planner: from a fingerprint to `plans.json`; a plan as training needs it |
//! | [`dataset`] | raw datasets checked, fingerprint, preprocessed cache, splits |
//! | [`augment`] | nnU-Net's default augmentations, in plain Rust, seeded |
//! | [`loader`] | patches sampled from the cache and augmented on worker threads |
//! | [`network`] | the networks on libtorch, with nnU-Net's parameter names |
//! | [`loss`] | Dice, cross entropy, deep supervision |
//! | [`optimise`] | SGD with Nesterov momentum, schedule, averaged weights |
//! | [`export`] | nnU-Net folders, ONNX, safetensors |
//! | [`validate`] | whole cases segmented by the inference core and measured |
//! | [`report`] | what runs write about themselves, and pages with curves and pictures |
//! | [`training`] | the training run: steps, log, checkpoints, resuming |
//! | [`distill`] | students, and what they learn from their teacher |
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
pub mod stop;
pub mod targets;
pub mod training;
pub mod validate;
pub mod work;
