//! One case as a program sees it: voxels and where they lie, whatever the files are.

use crate::error::FormatError;
use crate::geometry::Geometry;
use scanside_core::volume::{Grid, VoxelSource};
use std::path::Path;

/// The files of one case in one format.
pub trait ScanFiles: Send + Sync {
    /// Where the voxels lie.
    fn geometry(&self) -> &Geometry;

    /// Number of channels.
    fn channels(&self) -> usize;

    /// The files, in the order of their channels.
    fn paths(&self) -> Vec<&Path>;

    /// Warnings about the files, one sentence each.
    fn warnings(&self) -> &[String];

    /// Bytes of all voxels of all channels in their stored types: what [`ScanFiles::load`] keeps.
    fn stored_bytes(&self) -> u64;

    /// The files say that they hold labels, not a scan: what says so.
    fn marked_as_labels(&self) -> Option<&'static str>;

    /// The free text of the files' maker; empty where there is none.
    fn description(&self) -> String;

    /// Voxels read from the files box by box and never kept.
    fn stream(&self) -> Box<dyn VoxelSource + Send>;

    /// Voxels in memory, in their stored types.
    fn load(&self) -> Result<Box<dyn VoxelSource + Send>, FormatError>;
}

/// One case: its voxels, and where they lie.
pub struct Scan {
    files: Box<dyn ScanFiles>,
}

impl Scan {
    /// The scan in the files of one format.
    pub fn of(files: Box<dyn ScanFiles>) -> Scan {
        Scan { files }
    }

    /// Where the voxels lie.
    pub fn geometry(&self) -> &Geometry {
        self.files.geometry()
    }

    /// Shape, spacing, origin and direction, in ITK's convention.
    pub fn grid(&self) -> &Grid {
        self.geometry().grid()
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.files.channels()
    }

    /// The files, in the order of their channels.
    pub fn paths(&self) -> Vec<&Path> {
        self.files.paths()
    }

    /// What is odd about the files without being an error, a sentence each: channels that differ in origin ...
    pub fn warnings(&self) -> &[String] {
        self.files.warnings()
    }

    /// Bytes of all voxels of all channels in their stored types, uncompressed: what [`Scan::load`] keeps.
    pub fn stored_bytes(&self) -> u64 {
        self.files.stored_bytes()
    }

    /// The files say that they hold labels, not a scan: what says so.
    pub fn marked_as_labels(&self) -> Option<&'static str> {
        self.files.marked_as_labels()
    }

    /// The free text of the files' maker; empty where there is none.
    pub fn description(&self) -> String {
        self.files.description()
    }

    /// Voxels read from the files box by box and never kept: memory does not grow with the scan.
    pub fn stream(&self) -> Box<dyn VoxelSource + Send> {
        self.files.stream()
    }

    /// Voxels in memory in their stored types, so that boxes may be read in any order. Takes [`Scan::stored_bytes`].
    ///
    /// # Errors
    /// Cut-off or damaged data; no memory for them.
    pub fn load(&self) -> Result<Box<dyn VoxelSource + Send>, FormatError> {
        self.files.load()
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("paths", &self.paths()).field("grid", self.grid()).finish_non_exhaustive()
    }
}
