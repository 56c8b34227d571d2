//! Raw datasets, and what is made of them before training.
//!
//! | module | holds |
//! |---|---|
//! | [`raw`] | the folder that nnU-Net calls raw: which files are a case |
//! | [`ready`] | all of it: from a raw dataset to a work folder |
//! | [`examine`] | every file read once: its faults, and the fingerprint |
//! | [`prepare`] | every case preprocessed into the cache |
//! | [`preprocess`] | one case on the network grid, with its labels |
//! | [`source`] | what the raw files were |
//! | [`cache`] | a preprocessed case in a file, read in place |
//! | [`soft`] | what teachers say of a case in a file |
//! | [`locations`] | where patches that must show a class are centred |
//! | [`splits`] | which cases a fold trains on |
//! | [`random`] | numpy's older random numbers, which decide both |

pub mod cache;
pub mod examine;
mod foreground;
pub mod locations;
mod mapping;
pub mod prepare;
pub mod preprocess;
pub mod random;
pub mod raw;
pub mod ready;
mod room;
pub mod soft;
pub mod source;
pub mod splits;
