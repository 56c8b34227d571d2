//! Voxels kept in memory as they are stored.

use crate::channels::ChannelFiles;
use crate::error::FormatError;
use crate::streaming::runs;
use crate::volume_file::VolumeFile;
use crate::voxels::Stored;
use scanside_core::volume::{Box3, Index3, SourceError, VoxelSource};

/// A scan that was read once and is kept in its stored type, so that boxes may be read in any order.
///
/// Takes [`ChannelFiles::stored_bytes`].
pub(crate) struct ResidentSource {
    files: ChannelFiles,
    stored: Vec<Stored>,
}

impl ResidentSource {
    /// Reads all voxels of all files.
    ///
    /// # Errors
    /// Truncated or damaged data; no memory for them.
    pub(crate) fn load(files: ChannelFiles) -> Result<Self, FormatError> {
        let stored = files.files().iter().map(load).collect::<Result<_, _>>()?;
        Ok(ResidentSource { files, stored })
    }
}

/// How many further voxels to make room for: what the file's length makes credible at first, then as much again as has
/// arrived, and never more than the header asks for.
pub(crate) fn further_room(file: &VolumeFile, there: usize) -> usize {
    let left = file.voxels() - there;
    if there > 0 {
        return left.min(there);
    }
    let backed = file.backed_bytes() / file.coding().voxel_type.bytes() as u64;
    left.min(usize::try_from(backed).unwrap_or(usize::MAX).max(1 << 16))
}

fn load(file: &VolumeFile) -> Result<Stored, FormatError> {
    let coding = file.coding();
    let mut stored = Stored::new(coding.voxel_type);
    file.read_all(|bytes| {
        let more = bytes.len() / coding.voxel_type.bytes();
        let (capacity, there) = stored.room();
        if capacity - there < more {
            let room = further_room(file, there).max(more);
            stored
                .reserve(room)
                .map_err(|_| FormatError::Memory { path: file.path().to_path_buf(), bytes: file.data_bytes() })?;
        }
        stored.extend(bytes, coding);
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
        let (stored, values) = (&self.stored[file], self.files.files()[file].coding().values);
        runs(shape, bounds, out, |voxel, part| {
            stored.copy_row(first + voxel, values, part);
            Ok(())
        })
    }

    fn resident_bytes(&self) -> usize {
        self.stored.iter().map(Stored::bytes).sum()
    }
}
