//! Label maps: written plane by plane, read whole.

use crate::error::FormatError;
use crate::format;
use crate::geometry::Geometry;
use crate::scan::Scan;
use scanside_core::volume::{Box3, Grid};
use std::io::Write;
use std::path::Path;

/// The stored type of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelType {
    /// Labels up to 255.
    U8,
    /// Labels up to 65535.
    U16,
}

/// How a label map is written.
#[derive(Clone, Copy, Debug)]
pub struct LabelOptions<'a> {
    /// The name that the file will have; its ending says the format and whether it is compressed.
    pub path: &'a Path,
    /// The stored type.
    pub stored: LabelType,
    /// Free text, at most 80 bytes.
    pub description: &'a str,
}

/// A label map being written, in ascending `z`.
pub trait LabelWriter: Send {
    /// Writes the next plane: `y, x` with `x` fastest.
    ///
    /// # Errors
    /// A plane of the wrong length or one too many; a label that the stored type cannot hold; writing failed.
    fn write_plane(&mut self, labels: &[u16]) -> Result<(), FormatError>;

    /// Ends the file and hands every byte to the system.
    ///
    /// # Errors
    /// Planes are missing; writing failed.
    fn finish(self: Box<Self>) -> Result<(), FormatError>;
}

/// Begins a label map in `out`, which lies where `geometry` says. The same labels give the same bytes.
///
/// # Errors
/// The format does not hold label maps, or not on such a grid; writing failed.
pub fn label_writer(
    out: Box<dyn Write + Send>,
    geometry: &Geometry,
    options: &LabelOptions<'_>,
) -> Result<Box<dyn LabelWriter>, FormatError> {
    format::of_name(options.path).label_writer(out, geometry, options)
}

/// A whole label map.
#[derive(Clone, Debug)]
pub struct LabelMap {
    /// Where it lies.
    pub geometry: Geometry,
    /// One label per voxel, `z, y, x` with `x` fastest.
    pub labels: Vec<u32>,
}

impl LabelMap {
    /// Shape, spacing, origin and direction, in ITK's convention.
    pub fn grid(&self) -> &Grid {
        self.geometry.grid()
    }
}

/// Reads a label map of any stored type. Takes four bytes per voxel.
///
/// # Errors
/// A file that is missing, denied, cut off or malformed; more than one channel; a value that is no whole number from 0 to
/// `u32::MAX`.
pub fn read_labels(path: impl AsRef<Path>) -> Result<LabelMap, FormatError> {
    format::of_name(path.as_ref()).read_labels(path.as_ref())
}

/// Whether a file holds all of its voxels: a file that something else cut short still has the right header. Read plane by
/// plane.
pub fn is_complete(scan: &Scan) -> bool {
    let [planes, rows, columns] = scan.grid().shape_zyx;
    let mut source = scan.stream();
    let mut plane = vec![0.0; rows * columns];
    (0..planes).all(|z| source.read(0, &Box3([z..z + 1, 0..rows, 0..columns]), &mut plane).is_ok())
}
