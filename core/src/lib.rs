//! Segments 3D medical images with nnU-Net's labels, in memory that is bounded and known before the run.
//!
//! The crate is for programs that embed segmentation: a command line, a box beside a scanner, a microcontroller.
//! It is `no_std` + `alloc`; JSON and ONNX come with the features `std` and `tract`; files of scans are read by the crate
//! `scanside-formats`.
//!
//! A run has three steps: look at the scan, plan the memory, segment.
//!
//! ```
//! use scanside_core::volume::DenseScan;
//! use scanside_core::{engine::Engine, executor::Serial, manifest::Manifest, pipeline::*};
//!
//! /// Labels `[z, y, x]` of a CT in memory, voxels 1 x 0.75 x 0.75 mm apart, in at most 512 MiB.
//! fn labels(
//!     manifest: &Manifest,
//!     engine: &impl Engine,
//!     ct: &[i16],
//!     shape_zyx: [usize; 3],
//! ) -> Result<Vec<u16>, Box<dyn std::error::Error>> {
//!     let mut scan = DenseScan::new(ct, shape_zyx, [1.0, 0.75, 0.75])?;
//!     let run = Run::look(manifest, &mut scan, RunOptions::default())?;
//!     let planned = run.plan(engine, &Surroundings::default(), 1, Some(512 << 20))?;
//!     println!("{} network passes in {} bytes", planned.run().passes(), planned.memory.peak_bytes);
//!     let mut labels = Vec::new();
//!     planned.segment(&mut scan, &Serial, &mut labels, &mut ())?;
//!     Ok(labels)
//! }
//! ```
//!
//! A compiled model ([`network::Image`]) gives the engine ([`network::NativeEngine`]) without an operating system; an
//! ONNX file or an nnU-Net folder gives it with the feature `tract`. `docs/embedding.md` shows whole programs, and how much
//! memory a model needs.
//!
//! # Layers
//!
//! Each module knows only those above it.
//!
//! | module | holds |
//! |---|---|
//! | [`volume`] | voxel grids, boxes, and where voxels come from |
//! | [`half_float`] | the fp16 roundings that the reference's arithmetic is made of |
//! | [`executor`] | the interface through which a caller provides threads |
//! | `arch` | private: instruction sets, chosen when the program runs, and the primitives of kernels; all `unsafe` code |
//! | [`workspace`] | memory that a caller hands in |
//! | [`patch`] | a patch's voxels and logits, in single or half precision |
//! | [`manifest`] | the description that a model file carries, and its rules |
//! | `kernels` | private: the layers of a network as loops over tiles; feature `train`: gradients |
//! | [`engine`] | the interface of networks: one patch in, logits out |
//! | [`network`] | compiled networks: their steps, their memory, their byte form |
//! | [`tiling`] | tile starts, importance map, rolling accumulator |
//! | [`preprocess`] | crop, normalise, resample to the network grid, slab by slab |
//! | [`postprocess`] | logits back to the scan's grid, labels, un-crop |
//! | [`pipeline`] | the run: laid out, its memory planned, segmented slab by slab |
//! | [`metrics`] | Dice, surface distances, bootstrap intervals |
//! | `arrays` | feature `ndarray`: scans and label maps as arrays |
//! | `digest` | feature `tract`: SHA-256 as text |
//! | `onnx` | feature `tract`: ONNX files, their manifest, and the engine that runs them |
//! | `nnunet` | feature `tract`: nnU-Net v2 model folders, read without running pickle code |
//! | `raw` | hidden: instruction sets and kernels for the trainer and the tests |
//!
//! Axis order is `z, y, x` with `x` fastest everywhere inside; conversions happen at file borders.
#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![deny(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!(
    "scanside-core is for little-endian targets: compiled models and packed weights are little endian and used in place. \
     Choose a little-endian target, such as powerpc64le instead of powerpc64."
);

extern crate alloc;

pub(crate) mod arch;
#[cfg(feature = "ndarray")]
pub mod arrays;
#[cfg(feature = "tract")]
pub mod digest;
pub mod engine;
pub mod executor;
pub mod half_float;
pub(crate) mod kernels;
pub mod manifest;
pub mod metrics;
pub mod network;
#[cfg(feature = "tract")]
pub mod nnunet;
#[cfg(feature = "tract")]
pub mod onnx;
pub mod patch;
pub mod pipeline;
pub mod postprocess;
pub mod preprocess;
pub mod tiling;
pub mod volume;
pub mod workspace;

/// Instruction sets and kernels, for the trainer, the tests and the fuzzing of this workspace.
///
/// This is no part of the public interface: anything here may change at any time.
#[doc(hidden)]
pub mod raw {
    pub use crate::arch::*;
    pub use crate::kernels::*;
}
