//! Volumes from and to NIfTI files, slice by slice.
//!
//! Single files `.nii` and `.nii.gz`, NIfTI-1 and NIfTI-2, either byte order. What a file means (spacing, origin,
//! direction, scaled values) is decided as ITK 5.4 decides it, since that is what nnU-Net reads with.
//!
//! | part | does |
//! |---|---|
//! | [`Header`] | parses and checks a header; keeps its bytes, so that labels carry the scan's geometry bit for bit |
//! | [`NiftiFile`] | opens a file and reads its header alone |
//! | [`ChannelFiles`] | the files of one case, checked against each other |
//! | [`NiftiSource`] | voxels streamed from the files: memory does not grow with the volume |
//! | [`ResidentSource`] | voxels kept in memory in their stored type |
//! | [`LabelWriter`] | labels out, plane by plane, under the scan's header |
//! | [`ImageWriter`] | an image out, plane by plane, under a [`Grid`](scanside_core::volume::Grid) |
//!
//! A malformed file gives an error: never a panic, and never an allocation that its content does not back.
//!
//! ```
//! use scanside_formats::nifti::{ChannelFiles, ImageWriter, NiftiSource};
//! use scanside_core::volume::{Box3, Grid, VoxelSource, VoxelType};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("scan_0000.nii.gz");
//! let grid = Grid {
//!     shape_zyx: [2, 3, 4],
//!     spacing_mm: [5.0, 0.75, 0.75],
//!     origin: [0.0; 3],
//!     direction: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
//! };
//! let mut image = ImageWriter::create(std::fs::File::create(&path)?, &grid, VoxelType::I16, true)?;
//! image.write_plane(&[-1000.0; 12])?;
//! image.write_plane(&[40.0; 12])?;
//! image.finish()?;
//!
//! let files = ChannelFiles::open(&[path])?;
//! assert_eq!(files.grid(), &grid);
//! let mut scan = NiftiSource::new(files);
//! let mut plane = [0.0; 12];
//! scan.read(0, &Box3([1..2, 0..3, 0..4]), &mut plane)?;
//! assert_eq!(plane, [40.0; 12]);
//! # Ok(())
//! # }
//! ```

mod channels;
mod error;
mod fields;
mod file;
mod format;
mod geometry;
mod header;
mod image_writer;
mod label_writer;
mod labels;
mod layout;
mod resident;
mod sink;
mod streaming;
mod voxels;

pub use channels::ChannelFiles;
pub use error::{HeaderError, NiftiError};
pub use fields::Version;
pub use file::NiftiFile;
pub(crate) use format::Nifti;
pub use header::{Header, Scaling};
pub use image_writer::ImageWriter;
pub use label_writer::LabelWriter;
pub use resident::ResidentSource;
pub use streaming::NiftiSource;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
