//! How well a segmentation agrees with a reference: overlap, surface distances, and how sure the mean over cases is.
//!
//! | module | measures |
//! |---|---|
//! | [`overlap`](mod@overlap) | how many voxels agree: counts, Dice, volumes, and the box each class lies in |
//! | [`surface`] | how far apart the outlines are: robust Hausdorff distance, surface Dice |
//! | [`surfel`] | how much surface passes between eight voxels |
//! | [`edt`] | how far every point is from the nearest marked one |
//! | [`bootstrap`] | how far the mean over cases could be off |
//!
//! Arrays are `[z, y, x]` with `x` fastest; distances are millimetres, areas square millimetres.
//!
//! # When a class is absent
//!
//! | prediction | reference | Dice | surface Dice | Hausdorff distance |
//! |---|---|---|---|---|
//! | empty | empty | `None` | `None` | `None` |
//! | empty | present | 0 | 0 | infinite |
//! | present | empty | 0 | 0 | infinite |
//!
//! `None` means that the case says nothing about the class; it does not enter a mean. An infinite distance cannot enter
//! a mean either; whoever reports one says how many were left out.

use core::fmt;

pub mod bootstrap;
pub mod edt;
pub mod overlap;
pub mod surface;
pub mod surfel;

pub use bootstrap::{Bootstrap, Interval};
pub use overlap::{ClassOverlap, Counts, overlap, volume_ml};
pub use surface::{SurfaceDistances, surface_distances};

use crate::volume::{Box3, Index3, checked_voxels};

/// Why an agreement could not be computed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetricsError {
    /// An array does not hold as many voxels as its shape says.
    VoxelCount {
        /// The shape: `z, y, x`.
        shape: Index3,
        /// Voxels in the array.
        got: usize,
    },
    /// A distance between voxels is zero, negative or not a number.
    Spacing([f64; 3]),
    /// The box does not lie inside the array.
    Bounds {
        /// The box asked for.
        bounds: Box3,
        /// The shape: `z, y, x`.
        shape: Index3,
    },
    /// The first axis is longer than [`edt::MAX_PLANES`] points.
    TooManyPlanes(usize),
}

impl fmt::Display for MetricsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetricsError::VoxelCount { shape: [z, y, x], got } => {
                write!(f, "the array holds {got} voxels, its shape is {z} x {y} x {x}")
            }
            MetricsError::Spacing([z, y, x]) => {
                write!(f, "voxel distances must be positive, they are {z} x {y} x {x} mm")
            }
            MetricsError::Bounds { bounds, shape: [z, y, x] } => {
                write!(f, "the box {:?} does not lie in an array of {z} x {y} x {x} voxels", bounds.0)
            }
            MetricsError::TooManyPlanes(planes) => {
                write!(f, "{planes} planes along the first axis; distances are counted up to {}", edt::MAX_PLANES)
            }
        }
    }
}

impl core::error::Error for MetricsError {}

fn check_voxels(shape: Index3, got: usize) -> Result<(), MetricsError> {
    if checked_voxels(shape) == Some(got) { Ok(()) } else { Err(MetricsError::VoxelCount { shape, got }) }
}

fn check_spacing(spacing_mm: [f64; 3]) -> Result<(), MetricsError> {
    if spacing_mm.iter().all(|s| s.is_finite() && *s > 0.0) { Ok(()) } else { Err(MetricsError::Spacing(spacing_mm)) }
}
