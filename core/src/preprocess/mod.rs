//! From a scan to the network grid: crop to nonzero, normalise, resample, slab by slab.
//!
//! The steps and their order are nnU-Net's. Nothing of the volume's size is held in floating point: statistics are
//! gathered plane by plane, and the cubic spline, whose filter reaches over the whole axis in principle, is evaluated
//! on a window beyond which its memory has faded below double precision.

mod axis;
mod column;
mod label_map;
mod mask;
mod normalize;
mod percentile;
mod plane;
mod samples;
mod scan;
mod slab;
mod spline;

pub use axis::{AxisMap, GridMap, LinearTap, SPLINE_PAD, separate_axis, target_shape};
pub use label_map::resample_labels;
pub use mask::NonzeroMask;
pub use normalize::{Normalizer, ValueRange};
pub(crate) use plane::{PlaneResampler, PlaneScratch, clip};
pub(crate) use samples::Samples;
pub(crate) use scan::working_bytes as statistics_bytes;
pub use scan::{ChannelFacts, ScanFacts, find_box, measure, nonzero_mask};
pub(crate) use slab::reader_bytes as slab_reader_bytes;
pub use slab::{SlabReader, SlabSettings};
#[cfg(test)]
pub(crate) use spline::filter_line;

use crate::volume::SourceError;
use core::fmt;

/// Why a scan could not be prepared.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PreprocessError {
    /// Voxels could not be read.
    Source(SourceError),
    /// A voxel is NaN or infinite.
    NotFinite {
        /// Input channel, from 0.
        channel: usize,
        /// Position in the file: z, y, x.
        position_zyx: [usize; 3],
        /// The value.
        value: f32,
    },
    /// A channel that must hold 0..255 does not.
    NotRgb {
        /// Input channel, from 0.
        channel: usize,
        /// Smallest and largest value found.
        range: [f32; 2],
    },
    /// The scan would have no voxels on the network grid.
    Vanishes {
        /// Extents on the network grid.
        shape: [usize; 3],
    },
}

impl fmt::Display for PreprocessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PreprocessError::Source(e) => e.fmt(f),
            PreprocessError::NotFinite { channel, position_zyx: [z, y, x], value } => write!(
                f,
                "channel {channel} holds {value} at voxel (x {x}, y {y}, z {z}); a scan must be finite everywhere, \
                 so replace such voxels (for a CT with -1024) and try again"
            ),
            PreprocessError::NotRgb { channel, range: [lo, hi] } => write!(
                f,
                "channel {channel} holds values from {lo} to {hi}, but the model expects colour values from 0 to 255"
            ),
            PreprocessError::Vanishes { shape } => write!(
                f,
                "the scan would be {} x {} x {} voxels on the model's grid; check its spacing",
                shape[0], shape[1], shape[2]
            ),
        }
    }
}

impl core::error::Error for PreprocessError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            PreprocessError::Source(e) => e.source(),
            _ => None,
        }
    }
}

impl From<SourceError> for PreprocessError {
    fn from(e: SourceError) -> Self {
        PreprocessError::Source(e)
    }
}
