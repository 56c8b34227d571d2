//! Segments 3D medical images with nnU-Net's labels, in memory that is bounded and known before the run.
//!
//! The crate is for programs that embed segmentation: a command line, a box beside a scanner, a microcontroller.
//! It is `no_std` + `alloc`; JSON and ONNX come with the features `std` and `tract`; files of scans are read by the crate `scanside-formats`.
//!
//! # Layers
//!
//! Each module knows only those above it.
//!
//! | module | holds |
//! |---|---|
//! | [`volume`] | voxel grids, boxes, and where voxels come from |
//! | [`executor`] | where threads come from |
//! | [`arch`] | instruction sets, chosen when the program runs, and the primitives kernels are made of; all `unsafe` code |
//! | [`kernels`] | the layers of a network as loops over tiles |
//! | [`network`] | compiled networks: their steps, their memory, their byte form |
//! | [`patch`] | a patch's voxels and logits, in single or half precision |
//! | [`engine`] | what runs a network on one patch |
//! | [`half_float`] | the fp16 roundings that the reference's arithmetic is made of |
//! | [`manifest`] | what a model file says of itself |
//! | [`tiling`] | tile starts, importance map, rolling accumulator |
//! | [`preprocess`] | crop, normalise, resample to the network grid, slab by slab |
//! | [`postprocess`] | logits back to the scan's grid, labels, un-crop |
//! | [`memory`] | the bytes a run takes, known before anything is allocated |
//! | [`pipeline`] | the run: scan planes in, finished label planes out |
//! | [`metrics`] | Dice, surface distances, bootstrap intervals |
//! | `onnx` | feature `tract`: ONNX files, their manifest, and the engine that runs them |
//! | `nnunet` | feature `tract`: nnU-Net v2 model folders, read without running pickle code |
//!
//! Axis order is `z, y, x` with `x` fastest everywhere inside; conversions happen at file borders.
#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod arch;
pub mod engine;
pub mod executor;
pub mod half_float;
pub mod kernels;
pub mod manifest;
pub mod memory;
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
