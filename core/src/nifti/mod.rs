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
//! | [`read_labels`] | a whole label volume, for evaluation |
//!
//! A malformed file gives an error: never a panic, and never an allocation that its content does not back.
//!

mod channels;
mod error;
mod file;
mod geometry;
mod header;
mod labels;
mod layout;
mod resident;
mod streaming;
mod voxels;

pub use channels::ChannelFiles;
pub use error::{HeaderError, NiftiError};
pub use file::NiftiFile;
pub use header::{Header, Scaling, Version};
pub use labels::{LabelVolume, read_labels};
pub use resident::ResidentSource;
pub use streaming::NiftiSource;
