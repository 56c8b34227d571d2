//! nnU-Net v2 model folders: read without Python, turned into a model with its manifest.
//!
//! A folder holds `dataset.json`, `plans.json` and per fold a PyTorch checkpoint. [`import_folder`] reads them into the
//! same two things a model file of this project consists of; [`ModelFolder::engine`] makes the engine that runs them. The
//! weights come out of a pickle, which is read by a [restricted reader](pickle) that has no way to run code. What a folder
//! asks for and this program does not do is refused with a sentence that names it; nothing is guessed.
//!
//! | module | holds |
//! |---|---|
//! | [`ModelFolder`] | a folder that is read: its manifest, model and engine |
//! | [`pickle`] | pickles as plain data |
//! | [`checkpoint`] | a checkpoint's tensors, read one by one |
//! | [`labels`] | `dataset.json` |
//! | [`plans`] | `plans.json` |
//! | [`trainers`] | what a trainer's name says about the network |
//! | [`architecture`] | the network as the plans describe it |
//! | [`layers`] | its layers in order, and their tensors' names |
//! | [`walk`] | the walk over the layers, which everything that uses a network follows |
//! | [`to_onnx`] | network and weights as an ONNX model |
//! | [`postprocessing`] | `postprocessing.pkl` |

pub mod architecture;
pub mod checkpoint;
mod contents;
mod describe;
mod error;
mod folder;
mod folds;
mod json;
pub mod labels;
pub mod layers;
mod old_plans;
mod options;
pub mod pickle;
pub mod plans;
pub mod postprocessing;
mod resampling;
mod skeleton;
mod storages;
pub mod tensor;
#[cfg(test)]
mod tests;
mod to_network;
pub mod to_onnx;
pub mod trainers;
mod training_data;
pub mod walk;

pub use describe::manifest;
pub use error::NnUnetError;
pub use folder::{FolderEngine, ModelFolder, import_folder, is_model_folder};
pub use folds::{FoldChoice, Folds};
pub use options::{FoldName, ImportOptions};
