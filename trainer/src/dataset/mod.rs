//! Raw datasets, and their preparation for training.
//!
//! | module | holds |
//! |---|---|
//! | [`raw`] | the folder that nnU-Net calls raw: which files belong to which case |
//! | [`ready`] | the whole preparation: from a raw dataset to a work folder |
//! | [`examine`] | every file read once: its faults, and the fingerprint |
//! | [`prepare`] | all cases preprocessed into the cache |
//! | [`preprocess`] | one case on the network grid, with its labels |
//! | [`source`] | the hashes of the raw files |
//! | [`cache`] | a preprocessed case in a file that is memory-mapped |
//! | [`soft`] | the soft labels of a case in a file that is memory-mapped |
//! | [`locations`] | voxels at which patches that must contain a class are centred |
//! | [`splits`] | the training and validation cases of each fold |
//! | [`random`] | numpy's legacy random numbers, which determine locations and folds |
//! | `memory_budget` | a budget of memory for cases that are processed in parallel |

pub mod cache;
pub mod examine;
mod foreground;
pub mod locations;
mod mapping;
mod memory_budget;
pub mod prepare;
pub mod preprocess;
pub mod random;
pub mod raw;
pub mod ready;
pub mod soft;
pub mod source;
pub mod splits;
