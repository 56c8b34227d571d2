//! Scans from files, and label maps from and to files, in bounded memory.
//!
//! A program opens the files of a case as a [`Scan`] and writes labels through a [`LabelWriter`]; which file format is
//! behind either, it need not know. The formats are listed in one place, the module `known`: to add one, write a
//! module like [`nifti`] and add it to that list.
//!
//! | part | does |
//! |---|---|
//! | [`Scan`] | one case: its voxels, and where they lie |
//! | [`Geometry`] | where voxels lie, with what the scan's own format says beyond a [`Grid`](scanside_core::volume::Grid) |
//! | [`LabelWriter`], [`label_writer`] | labels out, plane by plane |
//! | [`LabelMap`], [`read_labels`] | a whole label map in memory, for comparison |
//! | [`stem`], [`endings`] | names of files |
//! | [`nifti`] | the format NIfTI |
//!
//! A malformed file gives an error: never a panic, and never an allocation that its content does not back.
//!
//! ```
//! use scanside_core::volume::{Box3, Grid, VoxelSource, VoxelType};
//! use scanside_formats::{LabelOptions, LabelType, Scan, label_writer, nifti::ImageWriter, read_labels};
//! use std::fs::File;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (image, labels) = (folder.path().join("scan_0000.nii.gz"), folder.path().join("scan.nii.gz"));
//! let grid = Grid {
//!     shape_zyx: [2, 3, 4],
//!     spacing_mm: [5.0, 0.75, 0.75],
//!     origin: [0.0; 3],
//!     direction: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
//! };
//! let mut writer = ImageWriter::create(File::create(&image)?, &grid, VoxelType::I16, true)?;
//! writer.write_plane(&[-1000.0; 12])?;
//! writer.write_plane(&[40.0; 12])?;
//! writer.finish()?;
//!
//! let scan = Scan::open(&[&image])?;
//! let mut plane = [0.0; 12];
//! scan.stream().read(0, &Box3([1..2, 0..3, 0..4]), &mut plane)?;
//! assert_eq!(plane, [40.0; 12]);
//!
//! let options = LabelOptions { path: &labels, stored: LabelType::U8, description: "an example" };
//! let mut writer = label_writer(Box::new(File::create(&labels)?), scan.geometry(), &options)?;
//! writer.write_plane(&[0; 12])?;
//! writer.write_plane(&[1; 12])?;
//! writer.finish()?;
//! assert_eq!(read_labels(&labels)?.grid(), &grid);
//! # Ok(())
//! # }
//! ```

mod error;
mod format;
mod geometry;
mod known;
mod label_map;
pub mod nifti;
mod scan;

pub use error::FormatError;
pub use geometry::Geometry;
pub use known::{endings, is_complete, label_writer, read_labels, stem};
pub use label_map::{LabelMap, LabelOptions, LabelType, LabelWriter};
pub use scan::{Scan, ScanFiles};
