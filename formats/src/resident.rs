//! Voxels kept in memory as they are stored.

use super::channels::ChannelFiles;
use super::error::NiftiError;
use super::file::NiftiFile;
use super::streaming::runs;
use super::voxels::Stored;
use scanside_core::volume::{Box3, Index3, SourceError, VoxelSource};

/// A scan that was read once and is kept in its stored type, so that boxes may be read in any order.
///
/// Takes [`ChannelFiles::stored_bytes`].
pub struct ResidentSource {
    files: ChannelFiles,
    stored: Vec<Stored>,
}

impl ResidentSource {
    /// Reads all voxels of all files.
    ///
    /// # Errors
    /// Truncated or damaged data; no memory for them.
    pub fn load(files: ChannelFiles) -> Result<Self, NiftiError> {
        let stored = files.files().iter().map(load).collect::<Result<_, _>>()?;
        Ok(ResidentSource { files, stored })
    }

    /// The files read from.
    pub fn files(&self) -> &ChannelFiles {
        &self.files
    }
}

/// How many further voxels to make room for: what the file's length makes credible at first, then as much again as has
/// arrived, and never more than the header asks for.
pub(super) fn further_room(file: &NiftiFile, there: usize) -> usize {
    let left = file.voxels() - there;
    if there > 0 {
        return left.min(there);
    }
    let backed = file.backed_bytes() / file.voxel_type().bytes() as u64;
    left.min(usize::try_from(backed).unwrap_or(usize::MAX).max(1 << 16))
}

fn load(file: &NiftiFile) -> Result<Stored, NiftiError> {
    let mut stored = Stored::new(file.voxel_type());
    file.read_all(|bytes| {
        let more = bytes.len() / file.voxel_type().bytes();
        let (capacity, there) = stored.room();
        if capacity - there < more {
            let room = further_room(file, there).max(more);
            stored
                .reserve(room)
                .map_err(|_| NiftiError::Memory { path: file.path().to_path_buf(), bytes: file.data_bytes() })?;
        }
        stored.extend(bytes, file.header().big_endian());
        Ok(())
    })?;
    Ok(stored)
}

impl VoxelSource for ResidentSource {
    fn shape_zyx(&self) -> Index3 {
        self.files.grid().shape_zyx
    }

    fn spacing_mm(&self) -> [f64; 3] {
        self.files.grid().spacing_mm
    }

    fn channels(&self) -> usize {
        self.files.channels()
    }

    fn read(&mut self, channel: usize, bounds: &Box3, out: &mut [f32]) -> Result<(), SourceError> {
        let shape = self.shape_zyx();
        bounds.check(channel, self, out)?;
        let (file, first) = self.files.place(channel);
        let (stored, by) = (&self.stored[file], self.files.files()[file].header().scaling());
        runs(shape, bounds, out, |voxel, part| {
            stored.copy_row(first + voxel, by, part);
            Ok(())
        })
    }

    fn resident_bytes(&self) -> usize {
        self.stored.iter().map(Stored::bytes).sum()
    }
}
