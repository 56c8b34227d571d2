//! NIfTI: headers, and images out.
//!
//! Single files `.nii` and `.nii.gz` and pairs `.hdr` and `.img`, NIfTI-1 and NIfTI-2, either byte order. What a file means
//! (spacing, origin, direction, scaled values) is decided as ITK 5.4 decides it, since that is what nnU-Net mostly reads
//! with; or as nibabel decides it, for models that were trained with nnU-Net's other reader.
//!
//! | part | does |
//! |---|---|
//! | [`Header`] | parses and checks a header; keeps its bytes, so that labels carry the scan's geometry bit for bit |
//! | [`ImageWriter`] | an image out, plane by plane, under a [`Grid`](scanside_core::volume::Grid) |

mod error;
mod fields;
mod format;
mod geometry;
mod header;
mod image_writer;
mod layout;

pub use crate::voxels::Scaling;
pub use error::HeaderError;
pub use fields::Version;
pub(crate) use format::Nifti;
pub use header::{Files, Header};
pub use image_writer::ImageWriter;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
