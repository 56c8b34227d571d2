//! Voxel grids, boxes, and sources of voxels.

mod dense;

pub use dense::{DenseScan, Voxel};

use alloc::boxed::Box;
use core::fmt;
use core::ops::Range;
use serde::{Deserialize, Serialize};

/// Three extents or three positions, in the order of the array they belong to (slowest axis first).
pub type Index3 = [usize; 3];

/// The number of voxels of a box of this shape, or `None` where it does not fit `usize`.
pub fn checked_voxels(shape: Index3) -> Option<usize> {
    product(shape)
}

/// The product of counts of bytes or voxels, or `None` where it does not fit `usize`.
pub(crate) fn product(factors: impl IntoIterator<Item = usize>) -> Option<usize> {
    factors.into_iter().try_fold(1, usize::checked_mul)
}

/// The sum of counts of bytes; `None` where a part is not known to fit `usize`, or the sum does not.
pub(crate) fn sum(parts: impl IntoIterator<Item = Option<usize>>) -> Option<usize> {
    parts.into_iter().try_fold(0usize, |sum, part| sum.checked_add(part?))
}

/// Position of an image in the patient: ITK's convention, millimetres, LPS.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Voxels per axis, file order: `z, y, x`.
    pub shape_zyx: Index3,
    /// Distance between voxel centres in millimetres: `z, y, x`.
    pub spacing_mm: [f64; 3],
    /// Centre of the first voxel in millimetres: `x, y, z` in LPS.
    pub origin: [f64; 3],
    /// Direction cosines, row-major: column `k` is the direction of array axis `x, y, z`.
    pub direction: [[f64; 3]; 3],
}

/// By whose rules the files of a scan are read. nnU-Net has two readers, which differ in what they make of one NIfTI file;
/// a model is run on what the reader of its training made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reader {
    /// ITK's rules: units of length count, axes are perpendicular, stored voxels that are not finite are 0.
    #[default]
    #[serde(rename = "SimpleITKIO")]
    SimpleItk,
    /// nibabel's rules: units of length and directions do not count, scaling is in double precision.
    #[serde(rename = "NibabelIO")]
    Nibabel,
}

impl Reader {
    /// Whether it is the one that is meant where none is named.
    pub fn is_default(&self) -> bool {
        *self == Reader::default()
    }
}

/// A half-open box of voxels, one range per axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Box3(pub [Range<usize>; 3]);

impl Box3 {
    /// The box that covers a whole array of this shape.
    pub fn full(shape: Index3) -> Self {
        Box3(shape.map(|n| 0..n))
    }

    /// Extents per axis.
    pub fn shape(&self) -> Index3 {
        [self.0[0].len(), self.0[1].len(), self.0[2].len()]
    }

    /// Extents along these axes, in their order.
    pub fn shape_along(&self, axes: Index3) -> Index3 {
        let shape = self.shape();
        axes.map(|a| shape[a])
    }

    /// Voxels inside.
    pub fn voxels(&self) -> usize {
        self.shape().iter().product()
    }

    /// Checks what a caller asks of [`VoxelSource::read`], for sources to turn a caller's mistake into an error.
    ///
    /// # Errors
    /// There is no such channel, the box is not inside the scan, or the output has another length.
    pub fn check<S: VoxelSource + ?Sized>(&self, channel: usize, source: &S, out: &[f32]) -> Result<(), SourceError> {
        let (shape, channels) = (source.shape_zyx(), source.channels());
        let inside = self.0.iter().zip(shape).all(|(range, n)| range.start <= range.end && range.end <= n);
        if channel < channels && inside && out.len() == self.voxels() {
            return Ok(());
        }
        Err(SourceError(
            alloc::format!(
                "box {:?} of channel {channel} into {} values does not fit a scan of {shape:?} voxels and {channels} \
                 channels",
                self.0,
                out.len()
            )
            .into(),
        ))
    }
}

/// The element type of a stored volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum VoxelType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl VoxelType {
    /// Bytes per voxel.
    pub const fn bytes(self) -> usize {
        match self {
            VoxelType::U8 | VoxelType::I8 => 1,
            VoxelType::U16 | VoxelType::I16 => 2,
            VoxelType::U32 | VoxelType::I32 | VoxelType::F32 => 4,
            VoxelType::U64 | VoxelType::I64 | VoxelType::F64 => 8,
        }
    }
}

/// Why voxels could not be read. The sentence names the file, the numbers, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError(pub Box<str>);

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for SourceError {}

/// A scan that can be read box by box, as often as needed.
///
/// A source may keep the voxels in memory or read its file anew at each call; the values are the same.
pub trait VoxelSource {
    /// Voxels per axis of each channel: `z, y, x`.
    fn shape_zyx(&self) -> Index3;

    /// Distance between voxel centres in millimetres: `z, y, x`.
    fn spacing_mm(&self) -> [f64; 3];

    /// Number of channels.
    fn channels(&self) -> usize;

    /// Fills `out` with the voxels of `bounds` in channel `channel`, `x` fastest, scaled as the file asks and cast to
    /// `f32`. `out` has exactly `bounds.voxels()` elements; `bounds` lies inside [`Self::shape_zyx`].
    ///
    /// Reading boxes in ascending `z` is cheap for every source; going back may mean reading the file from its start.
    fn read(&mut self, channel: usize, bounds: &Box3, out: &mut [f32]) -> Result<(), SourceError>;

    /// Bytes this source keeps in memory, its file buffers included.
    fn resident_bytes(&self) -> usize;

    /// For a source that reads a file from its start again and again: the bytes that the scan would take if the caller
    /// loaded it into memory instead. `None`: any box is read at the same cost, as from memory.
    fn kept_bytes(&self) -> Option<usize> {
        None
    }
}
