//! What a file format is to this crate.

use crate::error::FormatError;
use crate::geometry::Geometry;
use crate::label_map::{LabelMap, LabelOptions, LabelWriter};
use crate::scan::ScanFiles;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file format: how its files are named, and how scans and label maps are read from and written to them.
pub(crate) trait FileFormat: Sync {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// The endings of its files, dot included, longest first.
    fn endings(&self) -> &'static [&'static str];

    /// Opens the files of one case: reads headers, not voxels.
    fn open(&self, paths: &[PathBuf]) -> Result<Box<dyn ScanFiles>, FormatError>;

    /// Reads a whole label map.
    fn read_labels(&self, path: &Path) -> Result<LabelMap, FormatError>;

    /// Begins a label map in `out`.
    fn label_writer(
        &self,
        out: Box<dyn Write + Send>,
        geometry: &Geometry,
        options: &LabelOptions<'_>,
    ) -> Result<Box<dyn LabelWriter>, FormatError> {
        let _ = (out, geometry);
        Err(FormatError::NotWritten { path: options.path.to_owned(), format: self.name() })
    }
}
