//! Scans from files, and label maps from and to files, in bounded memory.
//!
//! A program opens the files of a case as a [`Scan`] and writes labels through a [`LabelWriter`]; which file format is
//! behind either, it need not know. The formats are listed in one place, the module `known`: to add one, write a
//! module like `nrrd` and add it to that list. What all have in common is written once: bytes as a stream, stored
//! numbers, channels, label planes.
//!
//! | part | does |
//! |---|---|
//! | [`Scan`] | one case: its voxels, and where they lie |
//! | [`Geometry`] | where voxels lie, with what the scan's own format says beyond a [`Grid`](scanside_core::volume::Grid) |
//! | [`LabelWriter`], [`label_writer`] | labels out, plane by plane |
//! | [`LabelMap`], [`read_labels`] | a whole label map in memory, for comparison |
//! | [`stem`], [`endings`], [`is_second_file`], [`foreign_format`], [`check_label_name`] | names of files |
//! | [`recognise`] | what a foreign file is, by its content |
//! | [`nifti`] | the format NIfTI: headers, and images out |
//!
//! NIfTI (`.nii`, `.nii.gz`, `.hdr` with `.img`), NRRD (`.nrrd`, `.nhdr`), MetaImage (`.mha`, `.mhd`) and FreeSurfer's MGH
//! (`.mgh`, `.mgz`) are read and, in one file, written.
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

mod beside;
mod channels;
mod error;
mod format;
mod geometry;
mod known;
mod label_map;
mod labels;
mod metaimage;
mod mgh;
mod name;
pub mod nifti;
mod nrrd;
mod planes;
mod recognise;
mod resident;
mod scan;
mod sink;
mod stream;
mod streaming;
mod text_header;
mod volume_file;
mod voxels;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use error::FormatError;
pub use geometry::Geometry;
pub use known::{
    check_label_name, endings, foreign_format, is_complete, is_second_file, label_writer, read_labels, stem,
    written_endings,
};
pub use label_map::{LabelMap, LabelOptions, LabelOutput, LabelType, LabelWriter};
pub use recognise::recognise;
pub use scan::Scan;
