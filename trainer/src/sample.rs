//! One training patch, as it passes from the loader to the network.

/// The label of voxels outside the nonzero mask and outside the case, as nnU-Net stores it.
pub const OUTSIDE: i16 = -1;

/// A patch of a case with its labels, on the network grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Extents: `z, y, x`.
    pub shape_zyx: [usize; 3],
    /// Normalised intensities, `[channels, z, y, x]`.
    pub image: Vec<f32>,
    /// Label values, `[z, y, x]`; [`OUTSIDE`] until augmentation ends.
    pub labels: Vec<i16>,
}

impl Sample {
    /// Voxels of one channel.
    pub fn voxels(&self) -> usize {
        self.shape_zyx.iter().product()
    }

    /// Channels of the image.
    pub fn channels(&self) -> usize {
        self.image.len() / self.voxels().max(1)
    }
}
