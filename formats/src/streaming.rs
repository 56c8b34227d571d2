//! Voxels streamed from their files.

use crate::channels::ChannelFiles;
use crate::volume_file::Cursor;
use scanside_core::volume::{Box3, Index3, SourceError, VoxelSource};

/// A scan that is read from its files box by box and never kept.
///
/// Every channel has its own position, so channels may be read in turn. Ascending `z` reads each file once; a compressed
/// file is read again from its start when a box goes back. Takes 256 KiB per channel, whatever the volume's size.
pub(crate) struct FileSource {
    files: ChannelFiles,
    cursors: Vec<Cursor>,
    scratch: Vec<u8>,
}

impl FileSource {
    /// Starts at the first plane of every channel; opens nothing yet.
    pub(crate) fn new(files: ChannelFiles) -> Self {
        let cursors = (0..files.channels()).map(|_| Cursor::new()).collect();
        FileSource { files, cursors, scratch: Vec::new() }
    }
}

/// Calls `each` with the first voxel of every run of a box that lies in one piece, and with the run's place in the output.
pub(crate) fn runs(
    shape: Index3,
    bounds: &Box3,
    out: &mut [f32],
    mut each: impl FnMut(usize, &mut [f32]) -> Result<(), SourceError>,
) -> Result<(), SourceError> {
    let [zs, ys, xs] = &bounds.0;
    let [_, ny, nx] = shape;
    if out.is_empty() {
        return Ok(());
    }
    // Rows, planes or the whole box are one piece as far as the faster axes are taken in full.
    let (whole_rows, whole_planes) = (xs.len() == nx, xs.len() == nx && ys.len() == ny);
    let run = match (whole_rows, whole_planes) {
        (_, true) => out.len(),
        (true, _) => ys.len() * nx,
        _ => xs.len(),
    };
    for (k, part) in out.chunks_mut(run).enumerate() {
        let rows = k * run / xs.len();
        let (z, y) = (zs.start + rows / ys.len(), ys.start + rows % ys.len());
        each((z * ny + y) * nx + xs.start, part)?;
    }
    Ok(())
}

impl VoxelSource for FileSource {
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
        let file = &self.files.files()[file];
        let (cursor, scratch) = (&mut self.cursors[channel], &mut self.scratch);
        runs(shape, bounds, out, |voxel, part| {
            cursor
                .seek(file, first + voxel)
                .and_then(|()| cursor.read(file, scratch, part))
                .map_err(|e| SourceError(e.to_string().into()))
        })
    }

    /// The most that is held once every channel was read from.
    fn resident_bytes(&self) -> usize {
        self.cursors.len() * Cursor::BYTES
    }

    fn kept_bytes(&self) -> Option<usize> {
        Some(usize::try_from(self.files.stored_bytes()).unwrap_or(usize::MAX))
    }
}
