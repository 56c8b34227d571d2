//! A scan that lies in memory as `f32`.

use scanside_core::volume::{Box3, Index3, SourceError, VoxelSource};

/// Channels of voxels, `[channels, z, y, x]`.
#[derive(Clone, Debug)]
pub struct MemoryScan {
    /// Extents of a channel, `z, y, x`.
    pub shape: Index3,
    /// Voxels of all channels.
    pub voxels: Vec<f32>,
}

impl VoxelSource for MemoryScan {
    fn shape_zyx(&self) -> Index3 {
        self.shape
    }

    fn channels(&self) -> usize {
        self.voxels.len() / self.shape.iter().product::<usize>()
    }

    fn read(&mut self, channel: usize, bounds: &Box3, out: &mut [f32]) -> Result<(), SourceError> {
        let [n0, n1, n2] = self.shape;
        let [z, y, x] = &bounds.0;
        let mut rows = out.chunks_exact_mut(x.len());
        for k in z.clone() {
            for (j, row) in y.clone().zip(&mut rows) {
                let start = ((channel * n0 + k) * n1 + j) * n2 + x.start;
                row.copy_from_slice(&self.voxels[start..start + x.len()]);
            }
        }
        Ok(())
    }

    fn resident_bytes(&self) -> usize {
        4 * self.voxels.len()
    }
}
