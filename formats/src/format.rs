//! What a file format is to this crate.

use crate::error::FormatError;
use crate::geometry::Geometry;
use crate::label_map::{LabelOptions, LabelOutput, LabelWriter};
use crate::volume_file::VolumeFile;
use scanside_core::volume::Reader;
use std::path::Path;

/// A file format: how its files are named, and how they are read and written.
pub(crate) trait FileFormat: Sync {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// The endings of its files, dot included, in lower case, longest first.
    fn endings(&self) -> &'static [&'static str];

    /// The endings of files that hold the voxels of another file and are no scans by themselves, likewise.
    fn data_endings(&self) -> &'static [&'static str] {
        &[]
    }

    /// Those of [`Self::endings`] that label maps are written with.
    fn written_endings(&self) -> &'static [&'static str];

    /// Opens a file: reads its header, not its voxels.
    fn open(&self, path: &Path, reader: Reader) -> Result<VolumeFile, FormatError>;

    /// Begins a label map in `out`.
    fn label_writer(
        &self,
        out: Box<dyn LabelOutput>,
        geometry: &Geometry,
        options: &LabelOptions<'_>,
    ) -> Result<Box<dyn LabelWriter>, FormatError>;
}
