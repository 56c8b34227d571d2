//! One case as a program sees it: voxels and where they lie, whatever the files are.

use crate::channels::ChannelFiles;
use crate::error::FormatError;
use crate::geometry::Geometry;
use crate::resident::ResidentSource;
use crate::streaming::FileSource;
use crate::volume_file::VolumeFile;
use scanside_core::volume::{Grid, Reader, VoxelSource};
use std::path::Path;

/// One case: its voxels, and where they lie.
pub struct Scan {
    files: ChannelFiles,
}

impl Scan {
    /// The scan in these files.
    pub(crate) fn of(files: ChannelFiles) -> Scan {
        Scan { files }
    }

    fn first(&self) -> &VolumeFile {
        &self.files.files()[0]
    }

    /// Where the voxels lie.
    pub fn geometry(&self) -> &Geometry {
        self.files.geometry()
    }

    /// Shape, spacing, origin and direction, in ITK's convention.
    pub fn grid(&self) -> &Grid {
        self.files.grid()
    }

    /// By whose rules the files were read.
    pub fn reader(&self) -> Reader {
        self.first().coding().values.reader
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.files.channels()
    }

    /// The files, in the order of their channels.
    pub fn paths(&self) -> Vec<&Path> {
        self.files.files().iter().map(VolumeFile::path).collect()
    }

    /// Every file that is read: those of [`Scan::paths`], each followed by the file that holds its voxels, where that is
    /// another one.
    pub fn files(&self) -> Vec<&Path> {
        self.files.files().iter().flat_map(VolumeFile::files).collect()
    }

    /// What is odd about the files without being an error, a sentence each: channels that differ in origin, voxels that
    /// are not finite and were read as 0 ... Such voxels are counted while a source of this scan goes through them for the
    /// first time, so ask behind that.
    pub fn warnings(&self) -> Vec<String> {
        self.files.warnings()
    }

    /// Voxels that were read as 0 so far because they are not finite: those of [`Scan::warnings`].
    pub fn voxels_read_as_zero(&self) -> u64 {
        self.files.files().iter().map(VolumeFile::repaired).sum()
    }

    /// Bytes of all voxels of all channels in their stored types, uncompressed: what [`Scan::load`] keeps.
    pub fn stored_bytes(&self) -> u64 {
        self.files.stored_bytes()
    }

    /// The files say that they hold labels, not a scan: what says so.
    pub fn marked_as_labels(&self) -> Option<&'static str> {
        self.first().about().marked_as_labels
    }

    /// The free text of the files' maker; empty where there is none.
    pub fn description(&self) -> &str {
        &self.first().about().description
    }

    /// Voxels read from the files box by box and never kept: memory does not grow with the scan.
    pub fn stream(&self) -> Box<dyn VoxelSource + Send> {
        Box::new(FileSource::new(self.files.clone()))
    }

    /// Voxels in memory in their stored types, so that boxes may be read in any order. Takes [`Scan::stored_bytes`].
    ///
    /// # Errors
    /// Cut-off or damaged data; no memory for them.
    pub fn load(&self) -> Result<Box<dyn VoxelSource + Send>, FormatError> {
        Ok(Box::new(ResidentSource::load(self.files.clone())?))
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("paths", &self.paths()).field("grid", self.grid()).finish_non_exhaustive()
    }
}
